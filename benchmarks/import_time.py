"""What `import common.nn` costs above `import torch`: fresh processes in turns, the median of seven each."""

import statistics
import subprocess
import sys

ROUNDS = 7
CLOCK = "import time; start = time.perf_counter(); import {}; print(time.perf_counter() - start)"


def seconds(module: str) -> float:
    """What the import takes in a fresh process, the interpreter's own start left out."""
    command = [sys.executable, "-c", CLOCK.format(module)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def main() -> None:
    modules = ("torch", "common.nn")
    for module in modules:
        seconds(module)  # the first one reads from the disk
    rounds = [{module: seconds(module) for module in modules} for _ in range(ROUNDS)]
    median = {module: statistics.median(times[module] for times in rounds) for module in modules}
    for module in modules:
        values = sorted(times[module] for times in rounds)
        print(f"import {module:10} {median[module]:.3f} s  ({values[0]:.3f} to {values[-1]:.3f})")
    print(f"difference        {median['common.nn'] - median['torch']:+.3f} s")


if __name__ == "__main__":
    main()
