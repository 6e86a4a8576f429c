"""Read and check a list of names, split it, cut it into windows."""

import os
import random
from collections.abc import Iterable, Sequence
from pathlib import Path
from string import ascii_lowercase
from typing import Generic, NamedTuple, TypeVar

import torch
from torch import Tensor

from .shipped import shipped_folder
from .vocabulary import Vocabulary

SHIPPED_NAMES = shipped_folder() / "names.txt"
END = "."
IGNORE_INDEX = -100  # the target of a position that only pads; torch's cross-entropy passes over it


Item = TypeVar("Item")


class Splits(NamedTuple, Generic[Item]):
    """Three lists, of names for instance, in the order in which they are used."""

    train: list[Item]
    val: list[Item]
    test: list[Item]


def path_in_use() -> Path:
    """The list that `load_names()` reads: the file that the variable NAMES names, else the shipped one."""
    return Path(os.environ.get("NAMES") or SHIPPED_NAMES)


def load_names(path: str | Path | None = None, alphabet: str = ascii_lowercase) -> list[str]:
    """Read a list of names, one a line, and check every character of it.

    path: a text file in UTF-8; None reads the file named by the environment variable NAMES, or else the list
    shipped with the book. alphabet: the characters that a name may contain.

    ValueError names the file for one that is missing, empty or not UTF-8, and the line for an empty one and
    for a character outside the alphabet. What lists from elsewhere are like, and how they are spelled, is
    for `runs.lists.load_list`, which the command line uses. Introduced in chapter 1.
    """
    path = path_in_use() if path is None else Path(path)
    try:
        names = path.read_text(encoding="utf-8-sig").removesuffix("\n").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: {error}; expected a text file in UTF-8 with one name a line") from None
    for number, name in enumerate(names, start=1):
        if not name or not set(name) <= set(alphabet):
            raise ValueError(f"{path}, line {number}: expected a name of {alphabet!r}, got {name!r}")
    return names


def split_names(names: Sequence[str], seed: int = 42, *, listed: str | Path = "") -> Splits[str]:
    """Shuffle a copy, then cut it 80 / 10 / 10 into training, validation and test names.

    With seed 42 on the lecture's list this is the lecture's split. ValueError for a list too
    short to leave a name in each part; `listed` is where it comes from. Introduced in chapter 1.

    >>> [len(part) for part in split_names(["ada", "bea", "cleo", "dora", "eve", "fay"])]
    [4, 1, 1]
    """
    shuffled = list(names)
    random.Random(seed).shuffle(shuffled)
    first, second = int(0.8 * len(shuffled)), int(0.9 * len(shuffled))
    parts = Splits(shuffled[:first], shuffled[first:second], shuffled[second:])
    if not all(parts):
        where = f"{listed}: " if str(listed) else ""
        raise ValueError(f"{where}expected at least 6 names to split 80/10/10, got {len(shuffled)}")
    return parts


def distinct_names(names: Iterable[str]) -> list[str]:
    """Each name once, in the order of its first appearance."""
    return list(dict.fromkeys(names))


def windows(names: Iterable[str], vocabulary: Vocabulary, block_size: int) -> tuple[Tensor, Tensor]:
    """Cut names into (context, next character) pairs.

    A name of n characters gives n + 1 windows: one for each character and one for the end.
    Returns contexts (N, T = block_size) and targets (N,), both int64, on the CPU.
    Introduced in chapter 1.

    >>> contexts, targets = windows(["ab"], Vocabulary("ab"), block_size=3)
    >>> contexts.tolist(), targets.tolist()
    ([[0, 0, 0], [0, 0, 1], [0, 1, 2]], [1, 2, 0])
    """
    if block_size < 1:
        raise ValueError(f"expected block_size of at least 1, got {block_size}")
    stream: list[int] = []
    starts: list[int] = []
    for name in names:
        padded = [vocabulary.begin_index] * block_size + vocabulary.encode(name) + [vocabulary.end_index]
        starts += range(len(stream), len(stream) + len(padded) - block_size)
        stream += padded
    if not starts:
        raise ValueError("expected at least one name to cut into windows, got none")
    rows = torch.tensor(stream)[torch.tensor(starts)[:, None] + torch.arange(block_size + 1)]
    return rows[:, :-1].contiguous(), rows[:, -1].contiguous()


def sequences(names: Iterable[str], vocabulary: Vocabulary,
              length: int | None = None) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """Whole names for a network that predicts every character at once.

    Returns inputs and targets (B, T), int64, and a mask (B, T), True where a prediction counts, on
    the CPU. The inputs are a dot and the name, the targets the name and a dot; shorter ones are
    padded with dots behind, to the longest or to `length`. ValueError for no name, or for one that
    does not fit. Introduced in chapter 7.

    >>> inputs, targets, mask = sequences(["ab", "a"], Vocabulary("ab"))
    >>> inputs.tolist(), targets.tolist()
    ([[0, 1, 2], [0, 1, 0]], [[1, 2, 0], [1, 0, 0]])
    >>> mask.tolist()
    [[True, True, True], [True, True, False]]
    """
    encoded = [vocabulary.encode(name) for name in names]
    if not encoded:
        raise ValueError("expected at least one name to put into a batch, got none")
    longest = 1 + max(map(len, encoded))
    T = longest if length is None else length
    if T < longest:
        raise ValueError(f"expected a length of at least {longest}, got {T}")
    inputs = torch.full((len(encoded), T), vocabulary.pad_index)
    targets = inputs.clone()
    for row, indices in enumerate(encoded):
        inputs[row, : len(indices) + 1] = torch.tensor([vocabulary.begin_index, *indices])
        targets[row, : len(indices) + 1] = torch.tensor([*indices, vocabulary.end_index])
    mask = torch.arange(T) <= torch.tensor([len(indices) for indices in encoded])[:, None]
    return inputs, targets, mask


def examples(names: Iterable[str], vocabulary: Vocabulary, block_size: int | None) -> tuple[Tensor, Tensor]:
    """What a model trains on: windows (N, T) and targets (N,), or whole names where block_size is None.

    Whole names are inputs and targets, both (N, T), the targets IGNORE_INDEX where they only pad.
    """
    if block_size is not None:
        return windows(names, vocabulary, block_size)
    inputs, targets, mask = sequences(names, vocabulary)
    return inputs, targets.masked_fill(~mask, IGNORE_INDEX)
