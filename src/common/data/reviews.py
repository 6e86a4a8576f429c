"""Sentences and what people think of them: read, labelled, split without duplicates across the parts."""

import random
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import NamedTuple, Protocol, TypeVar

from . import corpora
from .names import Splits
from .text import read_text
from .vocabulary import Vocabulary

FILES = {"films": "movieReviewSnippets_GroundTruth.txt", "products": "amazonReviewSnippets_GroundTruth.txt"}
MOST_LABELS, LONGEST_LABEL = 20, 60
ONE_A_LINE = "a label, a tab and a text on every line"
TOKEN = re.compile(r"\w+(?:['’]\w+)*|[^\w\s]")


class Review(NamedTuple):
    """A sentence, the mean of what 15 to 29 people gave it, from -4 to 4, and its id in the corpus."""

    text: str
    rating: float
    id: str


class Labelled(NamedTuple):
    """A sentence and its class."""

    text: str
    label: str


class HasText(Protocol):
    """What can be split: a `Review`, a `Labelled`."""

    @property
    def text(self) -> str: ...


Item = TypeVar("Item", bound=HasText)


# ---- reading ---------------------------------------------------------------------


def load_reviews(about: str = "films") -> list[Review]:
    """The rated sentences as they stand, in the corpus' order; fetched at first use (`common.data.corpora`).

    about: "films" (10,605) or "products" (3,708). The order is no random one: of the films, the first half is
    mostly praise and the second mostly blame. What else is known of them stands in data/README.md.
    """
    if about not in FILES:
        raise ValueError(f"expected reviews of {' or '.join(FILES)}, got {about!r}")
    files = corpora.read("reviews")
    return parse_reviews(next(data for name, data in files.items() if name.endswith(f"/{FILES[about]}")))


def parse_reviews(data: bytes) -> list[Review]:
    """Rated sentences from lines of id, rating and text with tabs between. ValueError names a malformed line.

    >>> parse_reviews(b"7\\t-1.5\\tToo long.\\r\\n")
    [Review(text='Too long.', rating=-1.5, id='7')]
    """
    found = []
    lines = data.decode("utf-8").replace("\r\n", "\n").rstrip("\n").split("\n")
    for number, line in enumerate(lines, start=1):
        try:
            name, rating, text = line.split("\t")
            found.append(Review(text, float(rating), name))
            if not (-4 <= found[-1].rating <= 4 and text):
                raise ValueError
        except ValueError:
            wanted = "an id, a tab, a rating from -4 to 4, a tab and a text"
            raise ValueError(f"line {number}: expected {wanted}, got {_short(line)}") from None
    return found


def labelled(reviews: Iterable[Review], threshold: float = 0.0, margin: float = 0.0) -> list[Labelled]:
    """Ratings cut into two classes: "positive" above the threshold, otherwise "negative".

    margin: reviews whose rating is nearer to the threshold than this are left out.

    >>> labelled([Review("Good.", 2.1, "1"), Review("A film.", 0.0, "2")])
    [Labelled(text='Good.', label='positive'), Labelled(text='A film.', label='negative')]
    >>> labelled([Review("Good.", 2.1, "1"), Review("A film.", 0.0, "2")], margin=0.5)
    [Labelled(text='Good.', label='positive')]
    """
    if not (margin >= 0 and -4 <= threshold <= 4):
        raise ValueError(
            f"expected a margin of at least 0, got {margin}, and a threshold of -4 to 4, got {threshold}"
        )
    kept = (review for review in reviews if abs(review.rating - threshold) >= margin)
    return [Labelled(r.text, "positive" if r.rating > threshold else "negative") for r in kept]


def load_labelled(path: str | Path) -> list[Labelled]:
    """A file of one's own: on every line a label, a tab and a text, in UTF-8.

    ValueError names the file, and the line where there is one: for a file that is no text, a line of another
    form, a label that stands in one line alone (a heading, say) or has more than 60 characters, and for fewer
    than 2 labels or more than 20.
    """
    path = Path(path)
    lines = read_text(path, f"a text file in UTF-8 with {ONE_A_LINE}").removesuffix("\n").split("\n")
    found: list[Labelled] = []
    for number, line in enumerate(lines, start=1):
        label, *texts = (part.strip() for part in line.split("\t"))
        if len(texts) != 1 or not label or not texts[0]:
            raise ValueError(f"{path}, line {number}: expected {ONE_A_LINE}, got {_short(line)}")
        if len(label) > LONGEST_LABEL:
            wanted = f"a label of at most {LONGEST_LABEL} characters, a tab and a text"
            raise ValueError(f"{path}, line {number}: expected {wanted}, got {_short(line)}")
        found.append(Labelled(texts[0], label))
    counts = Counter(one.label for one in found)
    if not 2 <= len(counts) <= MOST_LABELS:
        got = f"{len(counts)}, as {', '.join(map(repr, list(counts)[:3]))}"
        raise ValueError(f"{path}: expected 2 to {MOST_LABELS} labels that repeat, got {got}")
    for number, one in enumerate(found, start=1):
        if counts[one.label] == 1:
            raise ValueError(f"{path}, line {number}: expected labels that repeat, got {one.label!r} once")
    return found


def _short(line: str) -> str:
    return repr(line if len(line) <= 80 else line[:79] + "…") if line.strip() else "an empty line"


# ---- duplicates, and a split that keeps them together -------------------------------


def similarity(first: str, second: str) -> float:
    """How alike two texts are, from 0 to 1: of all their runs of three words, the share that both have.

    This is Jaccard's measure of their sets of runs. Case and punctuation do not count, and a text of fewer
    than three words is one run.

    >>> similarity("A small movie with a big heart.", "a small movie with a big impact")
    0.6666666666666666
    """
    return _shared(_runs(first), _runs(second))


Runs = frozenset[tuple[str, ...]]


def _shared(one: Runs, other: Runs) -> float:
    return len(one & other) / len(one | other)


def _runs(text: str) -> Runs:
    words = [token for token in tokenize(text) if token[0].isalnum()]
    return frozenset(tuple(words[i : i + 3]) for i in range(max(1, len(words) - 2)))


def near_duplicates(texts: Sequence[str], threshold: float = 0.5) -> list[tuple[int, int]]:
    """The pairs whose `similarity` is at least the threshold, as indices. At 1.0, the texts that differ in
    case and punctuation alone.

    >>> near_duplicates(["Wow!", "A film.", "wow"])
    [(0, 2)]
    """
    runs = [_runs(text) for text in texts]
    return sorted((i, j) for i, j in _candidates(runs, threshold) if _shared(runs[i], runs[j]) >= threshold)


def _candidates(runs: Sequence[Runs], threshold: float) -> Iterator[tuple[int, int]]:
    """The pairs that are worth a comparison. Two sets of which so much is shared have one of their rarest
    runs in common: "prefix filtering" (Chaudhuri, Ganti and Kaushik, 2006)."""
    if not 0 < threshold <= 1:
        raise ValueError(f"expected a threshold above 0 and at most 1, got {threshold}")
    counts = Counter(chain.from_iterable(runs))
    seen: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for i, own in enumerate(runs):
        rarest = sorted(own, key=lambda run: (counts[run], run))[: len(own) - int(threshold * len(own)) + 1]
        yield from ((j, i) for j in {j for run in rarest for j in seen[run]})
        for run in rarest:
            seen[run].append(i)


def split_reviews(reviews: Sequence[Item], seed: int = 42, threshold: float = 0.5) -> Splits[Item]:
    """Shuffle, then cut 80 / 10 / 10; near-duplicates, and what is linked by them, stay in one part.

    threshold: of `near_duplicates`. ValueError for too few to leave one in each part.

    >>> texts = ["Wow!", "Good.", "wow", "Bad.", "Poor.", "Fine."]
    >>> [len(part) for part in split_reviews([Labelled(text, "") for text in texts])]
    [4, 1, 1]
    """
    same: dict[Runs, int] = {}  # of texts that are the same but for signs, one is compared
    # the group of each: one of its members, which stands for it
    group = [same.setdefault(_runs(review.text), i) for i, review in enumerate(reviews)]

    def of(i: int) -> int:
        while group[i] != i:
            group[i] = group[group[i]]  # the next time it is nearer
            i = group[i]
        return i

    runs, number = list(same), list(same.values())
    for a, b in _candidates(runs, threshold):
        i, j = of(number[a]), of(number[b])
        if i != j and _shared(runs[a], runs[b]) >= threshold:
            group[j] = i
    together = defaultdict(list)
    for i, review in enumerate(reviews):
        together[of(i)].append(review)
    groups = list(together.values())
    random.Random(seed).shuffle(groups)
    parts: Splits[Item] = Splits([], [], [])
    first, second = int(0.8 * len(reviews)), int(0.9 * len(reviews))
    for members in groups:  # to the test, or else to the validation texts, where there is room for all
        if len(parts.test) + len(members) <= len(reviews) - second:
            parts.test.extend(members)
        elif len(parts.val) + len(members) <= second - first:
            parts.val.extend(members)
        else:
            parts.train.extend(members)
    if not all(parts):
        raise ValueError(f"expected enough texts to split 80/10/10, got {len(groups)} that differ")
    return parts


# ---- words to integers -------------------------------------------------------------


def tokenize(text: str) -> list[str]:
    """A text in lower case, cut into words and signs; an apostrophe within a word belongs to it.

    >>> tokenize("It's GREAT, isn't it?!")
    ["it's", 'great', ',', "isn't", 'it', '?', '!']
    """
    return TOKEN.findall(text.lower())


def words_of(texts: Iterable[str], minimum: int = 2) -> Vocabulary:
    """The words and signs that stand at least so many times in the texts, which are those of training alone.

    "<pad>" has the number 0 and "<unk>", for every other word, 1. Encode with ``encode(tokenize(text))``.

    >>> words = words_of(["good good film", "film noir"])
    >>> words.tokens, words.encode(tokenize("Good noir!"))
    (('<pad>', '<unk>', 'film', 'good'), [3, 1, 1])
    """
    if minimum < 1:
        raise ValueError(f"expected a minimum of at least 1, got {minimum}")
    counts = Counter(chain.from_iterable(map(tokenize, texts)))
    kept = [token for token, count in counts.items() if count >= minimum]
    if not kept:
        raise ValueError(f"expected a word that stands {minimum} times, got {len(counts)} words that do not")
    return Vocabulary(kept, end="<pad>", unknown="<unk>", separator=" ")
