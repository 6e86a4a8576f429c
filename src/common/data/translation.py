"""Sentences and their translations: read, and split so that no sentence stands on both sides."""

import fnmatch
import random
import re
import unicodedata
import zipfile
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from .names import Splits
from .shipped import shipped_folder
from .text import read_text

A_LINE = "a sentence, a tab and its translation on every line"


class Pair(NamedTuple):
    """A sentence, and a translation of it."""

    source: str
    target: str


def load_pairs(path: str | Path, member: str = "*") -> list[Pair]:
    """The pairs of a tab-separated file, or of the one in a zip that has tabs and this name; in its order.

    A third field, in which collections name the authors, is left out, and so is a pair that stood before.
    Spaces that do not break become plain ones. ValueError names the line that is no pair.
    """
    path = Path(path)
    found: dict[Pair, None] = {}
    for number, line in enumerate(_text(path, member).removesuffix("\n").split("\n"), start=1):
        fields = [" ".join(field.split()) for field in line.split("\t")]
        if not 2 <= len(fields) <= 3 or not all(fields[:2]):
            got = repr(line if len(line) <= 80 else line[:79] + "…")
            raise ValueError(f"{path}, line {number}: expected {A_LINE}, got {got}")
        found[Pair(*fields[:2])] = None
    return list(found)


def _text(path: Path, member: str) -> str:
    expected = f"a file in UTF-8 with {A_LINE}, or a zip that holds one"
    if not zipfile.is_zipfile(path):
        return read_text(path, expected)
    with zipfile.ZipFile(path) as archive:
        try:
            named = {name: archive.read(name) for name in fnmatch.filter(archive.namelist(), member)}
        except (zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:  # damaged, or locked
            raise ValueError(f"{path}: {error}; expected {expected}") from None
        files = [name for name, data in named.items() if b"\t" in data.partition(b"\n")[0]]
        if len(files) != 1:
            raise ValueError(f"{path}: expected {expected}, got {len(files)} whose first line has a tab")
        return read_text(zipfile.Path(archive, files[0]), expected)


def plain(sentence: str) -> str:
    """What makes two sentences the same: the words, without case and signs.

    >>> plain("Où est-elle ?")
    'où est elle'
    """
    return " ".join(re.findall(r"\w+", unicodedata.normalize("NFKC", sentence).lower()))


def components(pairs: Sequence[Pair]) -> list[list[int]]:
    """Pairs that share a sentence, in either language, and those that share one with them: indices, a list a
    group, by the first of each.

    >>> components([Pair("Hi.", "Salut !"), Pair("Run!", "Cours !"), Pair("Bye.", "Salut.")])
    [[0, 2], [1]]
    """
    sharing = defaultdict(list)
    for i, pair in enumerate(pairs):
        for key in enumerate(map(plain, pair)):
            sharing[key].append(i)
    seen, groups = set[int](), []
    for i in range(len(pairs)):
        group = [] if i in seen else [i]
        for j in group:  # it grows while it is read
            for key in enumerate(map(plain, pairs[j])):
                group += [k for k in sharing.pop(key, ()) if k not in group]
        seen.update(group)
        if group:
            groups.append(sorted(group))
    return groups


def split_pairs(pairs: Sequence[Pair], held: float = 0.1, seed: int = 42) -> Splits[Pair]:
    """For validation and for the test, at most this share of the pairs each: whole `components`, at random.

    So no sentence, English or French, stands in two parts. ValueError for too few to leave one in each.

    >>> pairs = [Pair(a, b) for a, b in ("Aa", "Ab", "Bc", "Cd", "De", "Ef")]
    >>> [len(part) for part in split_pairs(pairs, held=0.2)]
    [4, 1, 1]
    """
    if not 0 < held < 0.5:
        raise ValueError(f"expected to hold a share between 0 and 0.5, got {held}")
    parts: Splits[Pair] = Splits([], [], [])
    groups = components(pairs)
    random.Random(seed).shuffle(groups)
    for members in groups:
        room = (part for part in (parts.test, parts.val) if len(part) + len(members) <= held * len(pairs))
        next(room, parts.train).extend(pairs[i] for i in members)
    if not all(parts):
        raise ValueError(f"expected enough pairs to split, got {len(groups)} groups that share no sentence")
    return parts


def load_phrases() -> Splits[Pair]:
    """The composed sentences on calendars and travel that come with the book (`tools/phrases.py`).

    Split by content: an adjective with a noun, a number with a noun, a day with a month belong to one part.
    """
    return Splits(*(load_pairs(shipped_folder() / "phrases.zip", f"{part}.tsv") for part in Splits._fields))
