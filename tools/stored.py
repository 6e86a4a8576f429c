"""What is stored, as the files that it came from: runs/ is not committed, and a fresh clone has none."""

import argparse
from pathlib import Path
from typing import Any

from common.runs.files import read_json, write_json


def unpack(store: Path, runs: Path) -> dict[str, Any]:
    """Write the runs in a file of results to files of their own, where these are missing; return the results.

    So a tool trains only what is stored nowhere. To train all anew, remove the stored file and its runs.
    runs: the folder of NAME-SEED.json. Without a stored file: nothing, and {}.
    """
    stored = read_json(store) if store.exists() else {}
    for name, model in stored.get("models", {}).items():
        for run, made in zip(model["runs"], model["provenance"], strict=True):
            restore(runs / f"{name}-{run['seed']}.json", run | {"provenance": made})
    return stored


def count(text: str) -> int:
    """How many seeds, processes or steps, as a command line says it: none would empty the stored results."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 1, got {text!r}")
    return int(text)


def restore(path: Path, content: Any) -> None:
    """Write a file, unless it is there."""
    if not path.exists():
        write_json(path, content)
