"""Finished runs side by side. Introduced in chapter 12."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from ..evaluate import smooth, spread
from .folder import read_results
from .tasks import TASKS, task_of


def compare(folders: Iterable[str | Path]) -> tuple[list[str], list[list]]:
    """Header and rows of a table of runs: what they differ in, and their losses. For `plots.table`.

    The test split is left out: a table to choose from must not show it. ValueError for a folder without the
    results of a run.
    """
    paths = [Path(folder) for folder in folders]
    reports = [read_results(path) for path in paths]
    flat = [_flat(report) for report in reports]
    names = [
        name
        for name in dict.fromkeys(n for one in flat for n in one)
        if len({one.get(name) for one in flat}) > 1
    ]
    header = ["run", *names, "parameters", "seeds", "train", "validation"]
    rows = []
    for path, report, one in zip(paths, reports, flat, strict=True):
        losses = [
            str(spread(r[s] for r in report["runs"])) if s in report["runs"][0] else ""
            for s in ("train", "val")
        ]
        parameters = f"{report['runs'][0]['parameters']:,}"
        rows.append(
            [path.name, *(one.get(name, "") for name in names), parameters, len(report["runs"]), *losses]
        )
    return header, rows


def _flat(report: dict) -> dict[str, str]:
    """The settings that can differ, by the names that `Run.changed` takes."""
    task = task_of(report)
    values = {"model": report["model"], "task": task, "list": report[task]["sha256"][:8]}
    values |= {option: report[task][option] for option in TASKS[task].options}
    values["distinct"] = report[task].get("distinct_only", False)
    values |= {f"model.{name}": value for name, value in report.get("sizes", {}).items()}
    values |= report["training"]
    return {name: _cell(value) for name, value in values.items()}


def _cell(value: object) -> str:
    return (
        value if isinstance(value, str) else f"{value:.4g}" if isinstance(value, float) else json.dumps(value)
    )


class Curve(NamedTuple):
    """Losses (S, K) of S seeds at K steps."""

    steps: list[float]
    values: Tensor


def curves(folder: str | Path, window: int | None = None) -> dict[str, Curve]:
    """The training and, where it was looked at, the validation loss in the course of a run.

    window: steps over which training losses are averaged; by default those between two looks at the
    validation loss, or a hundredth of all.
    """
    path = Path(folder) / "history.safetensors"
    try:
        history = load_file(path)
        losses = history["losses"].double()
    except (OSError, SafetensorError, KeyError) as error:
        raise ValueError(f"{path}: no losses of a run ({error})") from None
    found, steps = {}, losses.shape[1]
    if "val" in history and len(history["val_steps"]):
        found["val"] = Curve(history["val_steps"].tolist(), history["val"].double())
        window = window or int(history["val_steps"][0])
    window = window or max(1, steps // 100)
    averaged = smooth(losses, window)
    found["train"] = Curve([(i + 0.5) * window for i in range(averaged.shape[1])], averaged)
    return found
