"""Tasks: what a run is trained on, how that is split, what a batch and its loss are, and what is measured.

A task reads a file into `TaskData`, or draws its data. The list of names is the first one.
"""

from collections.abc import Callable
from functools import lru_cache, partial
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..data import ECHO, IGNORE_INDEX, RECALL, Vocabulary, distinct_names, echo, examples, recall, split_names
from ..evaluate import error_rate, mean_loss
from ..fast import fused
from ..nn import Module
from ..train import Examples
from .lists import load_list

SPLITS = ("train", "val", "test")


class TaskData(NamedTuple):
    """The data of a task on a device: tensors (x, y) by split, and where they come from."""

    splits: dict[str, tuple[Tensor, Tensor]]
    vocabulary: Vocabulary
    about: dict[str, Any]  # what a run's settings say of it: its "vocabulary", and under the task's name the
    # file with its "sha256"
    longest: str = ""  # of the names
    measured: Callable[[Module, Tensor, Tensor], float] = mean_loss

    def to_train_on(self, soft_targets: Tensor | None = None) -> Examples:
        """What is trained on: batches, and their loss."""
        return Examples(*self.splits["train"], soft_targets)

    def metric(self, model: Module, split: str) -> float:
        """What is measured of a model on a split: low is good. For names the mean loss in nats."""
        with fused(model):
            return self.measured(model, *self.splits[split])


def digest(path: Path) -> str:
    """The SHA-256 of a file's content; empty where there is none."""
    try:  # a pipe would be waited for
        return sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
    except OSError:
        return ""  # whoever reads it says what is wrong with it


def names(
    path: Path, alphabet: str | None, distinct: bool, block_size: int | None, device: torch.device
) -> TaskData:
    """The next character of a name, from a list with one a line; the last two that were read are kept."""
    return _names(path, digest(path), alphabet, distinct, block_size, device)


@lru_cache(maxsize=2)
def _names(
    path: Path,
    content: str,
    alphabet: str | None,
    distinct: bool,
    block_size: int | None,
    device: torch.device,
) -> TaskData:
    listed = load_list(path, alphabet)
    vocabulary = Vocabulary("".join(listed) if alphabet is None else alphabet)
    listed = distinct_names(listed) if distinct else listed
    parts = split_names(listed, listed=f"{path}, each name once" if distinct else path)._asdict()
    splits = {}
    for split, part in parts.items():
        x, y = examples(part, vocabulary, block_size)
        splits[split] = (x.to(device), y.to(device))
    windows = {split: int((y != IGNORE_INDEX).sum()) for split, (_, y) in splits.items()}
    about = {
        "names": {
            "file": path.name, "sha256": content, "rows": len(listed), "distinct_only": distinct,
            "windows": windows,
        },
        "vocabulary": "".join(vocabulary.tokens[i] for i in vocabulary.ordinary),
    }  # fmt: skip
    return TaskData(splits, vocabulary, about, max(listed, key=len))


MOST_STEPS = 10_000  # of a delay: more would not fit into memory
DRAWN = {"train": 20_000, "val": 1_000, "test": 1_000}  # sequences a split


def drawn(task: str, device: torch.device, delay: int) -> TaskData:
    """Sequences of a task of `data.memory`, the same in every run. Measured is the share of wrong answers."""
    draw, vocabulary = {"recall": (recall, RECALL), "echo": (echo, ECHO)}[task]
    splits, content = {}, sha256()
    for seed, (split, count) in enumerate(DRAWN.items()):
        x, y = draw(count, delay, torch.Generator().manual_seed(seed))
        content.update(x.numpy().tobytes())
        splits[split] = (x.to(device), y.to(device))
    about = {
        task: {"delay": delay, "sha256": content.hexdigest(), "sequences": dict(DRAWN)},
        "measure": {"name": "wrong answers", "better": "lower"},
        "vocabulary": "".join(vocabulary.tokens[i] for i in vocabulary.ordinary),
    }
    return TaskData(splits, vocabulary, about, measured=error_rate)


class Task(NamedTuple):
    """How the data of a task comes: ``load(...)``, from a file or from its options, whole numbers by name."""

    load: Callable[..., TaskData]
    reads_a_file: bool = True
    options: dict[str, int] = {}

    def checked(self, options: dict[str, Any]) -> dict[str, int]:
        """All options, with what was not given as it is by default. ValueError for one that is not there, and
        for no whole number of at least 1."""
        if unknown := sorted(options.keys() - self.options.keys()):
            wanted = f"options among {sorted(self.options)}" if self.options else "no options of the task"
            raise ValueError(f"expected {wanted}, got {', '.join(unknown)}")
        for name, value in options.items():
            if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= MOST_STEPS:
                raise ValueError(
                    f"expected {name} to be a whole number from 1 to {MOST_STEPS:,}, got {value!r}"
                )
        return self.options | options


TASKS = {
    "names": Task(names),
    "recall": Task(partial(drawn, "recall"), False, {"delay": 100}),
    "echo": Task(partial(drawn, "echo"), False, {"delay": 10}),
}


def task_of(report: dict[str, Any]) -> str:
    """The name of the task that a run's settings or results are of."""
    return report.get("task", "names")
