"""What `import common.nn` costs above `import torch`: fresh processes in turns, the median of seven each.

On a busy machine the two scatter by more than their difference; the last line is measured within one process.
"""

import statistics
import subprocess
import sys

ROUNDS = 7
CLOCK = "import time{}; start = time.perf_counter(); import {}; print(time.perf_counter() - start)"
TORCH, MODULE, AFTER = ("", "torch"), ("", "common.nn"), (", torch", "common.nn")


def seconds(before: str, module: str) -> float:
    """What the import takes in a fresh process, the interpreter's own start left out."""
    command = [sys.executable, "-c", CLOCK.format(before, module)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def main() -> None:
    seconds(*MODULE)  # the first one reads from the disk
    rounds = [[seconds(*kind) for kind in (TORCH, MODULE, AFTER)] for _ in range(ROUNDS)]
    torch, module, after = (sorted(times) for times in zip(*rounds, strict=True))
    for name, times in (("torch", torch), ("common.nn", module)):
        print(f"import {name:9}   {statistics.median(times):.3f} s  ({times[0]:.3f} to {times[-1]:.3f})")
    print(f"difference         {statistics.median(module) - statistics.median(torch):+.3f} s")
    print(f"common.nn, after torch {statistics.median(after):.3f} s  ({after[0]:.3f} to {after[-1]:.3f})")


if __name__ == "__main__":
    main()
