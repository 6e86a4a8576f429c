"""Tasks: what a run is trained on, how that is split, what a batch and its loss are, and what is measured.

A task reads a file into `TaskData`, or draws its data. The list of names is the first one.
"""

from collections import Counter
from collections.abc import Callable, Iterable
from functools import lru_cache, partial
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Generator, Tensor
from torch.nn.utils.rnn import pad_sequence

from ..data import ECHO, IGNORE_INDEX, RECALL, Vocabulary, distinct_names, echo, examples, recall, split_names
from ..data.corpora import CORPORA
from ..data.reviews import labelled, load_labelled, load_reviews, split_reviews, tokenize, words_of
from ..evaluate import error_rate, mean_loss
from ..fast import fused
from ..models import tagged
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
    examples: type[Examples] = Examples
    labels: tuple[str, ...] = ()  # the classes, where a model says one of these and no token

    @property
    def outputs(self) -> int:
        """Of how many a model says one."""
        return len(self.labels) or len(self.vocabulary)

    def to_train_on(self, soft_targets: Tensor | None = None) -> Examples:
        """What is trained on: batches, and their loss."""
        return self.examples(*self.splits["train"], soft_targets)

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


# ---- sequences that are drawn ----------------------------------------------------

MOST_STEPS = 10_000  # of a delay, or words of a text: more would not fit into memory
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


# ---- sentences and their labels --------------------------------------------------

BATCHES = 8  # that are drawn together, so that each can have sentences of similar length


class Sentences(Examples):
    """Batches of sentences of similar length: what takes time is the longest, and what is wasted its pads.

    Contexts (N, T), padded behind with 0, and targets (N,).
    """

    def draw(self, generator: Generator, batch_size: int) -> Tensor:
        """The rows of the next batch (B,): of eight batches, sorted by length, any one. So every row has the
        same chance, and nothing has to be remembered from step to step."""
        rows = super().draw(generator, BATCHES * batch_size)
        shortest_first = rows[(self.contexts[rows] != 0).sum(1).argsort(stable=True)]
        which = int(torch.randint(BATCHES, (), generator=generator))
        return shortest_first.view(BATCHES, batch_size)[which]


def sentences(texts: Iterable[str], vocabulary: Vocabulary, words: int) -> Tensor:
    """The numbers of the first words of each text: (N, T), padded behind with 0. ValueError for no word."""
    read = [vocabulary.encode(tokenize(text)[:words]) for text in texts]
    if not all(read):
        raise ValueError("expected texts of at least one word, got one without")
    return pad_sequence([torch.tensor(row, dtype=torch.int32) for row in read], batch_first=True)


def reviews(path: Path | None, device: torch.device, words: int) -> TaskData:
    """The label of a sentence: from a file with a label, a tab and a text a line, or from the corpus of
    reviews of films. Measured is the share of wrong answers. The last two that were read are kept."""
    return _reviews(path, CORPORA["reviews"].sha256 if path is None else digest(path), device, words)


@lru_cache(maxsize=2)
def _reviews(path: Path | None, content: str, device: torch.device, words: int) -> TaskData:
    found = labelled(load_reviews()) if path is None else load_labelled(path)
    labels = tuple(sorted({one.label for one in found}))
    try:
        parts = split_reviews(found)._asdict()
        vocabulary = words_of(one.text for one in parts["train"])
        if unseen := sorted(set(labels) - {one.label for one in parts["train"]}):
            raise ValueError(f"expected more texts with the label {unseen[0]!r}, got none to train on")
    except ValueError as error:
        raise ValueError(f"{path or 'reviews'}: {error}") from None
    splits = {}
    for split, part in parts.items():
        x = sentences((one.text for one in part), vocabulary, words)
        y = torch.tensor([labels.index(one.label) for one in part])
        splits[split] = (x.to(device), y.to(device))
    read = [word for one in parts["val"] for word in tokenize(one.text) if word[0].isalnum()]
    unknown = vocabulary.encode(read).count(1) / max(1, len(read))  # 1 is "<unk>"
    about = {
        "reviews": {
            "file": CORPORA["reviews"].archive if path is None else path.name, "sha256": content,
            "words": words, "cut": sum(len(tokenize(one.text)) > words for one in found),
            "unknown_words": round(unknown, 4),  # the share of them in the validation texts
            "texts": {
                split: dict(sorted(Counter(one.label for one in part).items()))
                for split, part in parts.items()
            },
        },
        "measure": {"name": "wrong answers", "better": "lower"},
        "labels": list(labels),
        "vocabulary": " ".join(vocabulary.tokens[i] for i in vocabulary.ordinary),
    }  # fmt: skip
    return TaskData(splits, vocabulary, about, measured=error_rate, examples=Sentences, labels=labels)


# ---- all of them -----------------------------------------------------------------

SEQUENCES = ("whole names", "stateful")  # models that predict the next token, at every step


class Task(NamedTuple):
    """How the data of a task comes: ``load(...)``, from a file or from its options, whole numbers by name.

    reads: what stands in its file, "names" or "texts", each with a label; "" where the data are drawn.
    tags: of the models that suit it, see `models.tagged`.
    """

    load: Callable[..., TaskData]
    reads: str = "names"
    tags: tuple[str, ...] = ("lecture", *SEQUENCES)
    options: dict[str, int] = {}

    def models(self) -> list[str]:
        """The names of the models that suit it."""
        return [name for tag in self.tags for name in tagged(tag)]

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
    "recall": Task(partial(drawn, "recall"), "", SEQUENCES, {"delay": 100}),
    "echo": Task(partial(drawn, "echo"), "", SEQUENCES, {"delay": 10}),
    "reviews": Task(reviews, "texts", ("sentences",), {"words": 400}),
}
OPTIONS = {"delay": "steps until the answer", "words": "of a text that are read"}  # what they are


def task_of(report: dict[str, Any]) -> str:
    """The name of the task that a run's settings or results are of."""
    return report.get("task", "names")


def vocabulary_of(report: dict[str, Any]) -> Vocabulary:
    """The vocabulary that a run's settings hold: characters, or words with blanks between."""
    if "labels" not in report:
        return Vocabulary(report["vocabulary"])
    return Vocabulary(report["vocabulary"].split(" "), end="<pad>", unknown="<unk>", separator=" ")
