"""Figures in the text of notebooks: filled in from what the cells told, and found where none did.

    python tools/told.py PATH ...      names the figures in a notebook's text that stand between no marks

A figure stands between marks that no reader sees, ``<!--ratio-->1.75<!--/-->``, in Markdown, captions,
alternative texts and quizzes. Its name is one that a cell told (`common.pages.told.tell`), whose stored
output nbval compares; or ``given``, for what is not measured here: a year, a rule of arithmetic. `fill`
writes what was told into the text; tools/notebooks.py calls it.
"""

import json
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import nbformat

GIVEN = "given"
MARK = re.compile(r"<!--(\w+)-->(.*?)<!--/-->", re.DOTALL)
HELD = re.compile(
    r"^held: the text says “(?P<text>.*)” \((?P<name>[\w ]+)\), (?:exactly|within |for a value of )",
    re.MULTILINE,
)

# ---- what a figure is -------------------------------------------------------------------

NUMBER = re.compile(r"(?<![\w.,-])\d{1,3}(?:,\d{3})+(?![\w,])|(?<![\w.])\d+(?:\.\d+)?(?!\w|\.\d)")
WORDS = (
    "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
    "seventeen eighteen nineteen twenty"
).split()
BOTH_WAYS = (
    "half/twice halves/doubles larger/smaller largest/smallest higher/lower highest/lowest better/worse "
    "best/worst faster/slower fastest/slowest longer/shorter longest/shortest rises/falls rise/fall "
    "increases/decreases grows/shrinks improves/worsens third/quarter thousandths/hundredths "
    "hundred/thousand"
).split() + ["more than/less than"]
ONE_WAY = "fewer/more most/few bigger/smaller greater/smaller".split() + ["ahead of/behind"]
SWAPS = dict(pair.split("/") for pair in BOTH_WAYS + ONE_WAY)
SWAPS |= {old: new for new, old in (pair.split("/") for pair in BOTH_WAYS)}
VERBAL = re.compile(rf"\b(?:{'|'.join([*WORDS, *sorted(SWAPS, key=len, reverse=True)])})\b", re.IGNORECASE)

# Figures that nobody measured: a pattern over the text, and why what it covers is left alone.
EXCLUDED = [
    (rf"(?s)<!--{GIVEN}-->.*?<!--/-->", "marked as given: a rule, a year, an example"),
    (r"\A# .*\d.*", "the name of a page, which may hold a figure from elsewhere"),
    (r"(?ms)^(`{3,}|~{3,}).*?^\1", "typed in code"),
    (r"\{[\w:-]+\}`[^`]*`", "a role: a term or a reference, which the build holds"),
    (r"`[^`\n]+`", "typed in code"),
    (r"(?m)^:[\w-]+:.*$|^:{3,}.*$", "a directive's name, label or option"),
    (r"\]\([^)]*\)|https?://\S+", "the target of a link"),
    (r"\$\$[^$]+\$\$|\$[^$\n]+\$", "a formula: the parameters of a definition"),
    (r"\b(?:1[89]|20)\d\d\b", "a year"),
    (r"(?i)\b(?:chapters?|sections?|exercises?) [\d.]+(?:(?:,| and| to|, and) \d+)*", "a reference"),
    (r"(?i)\bparts? (?:one|two)\b", "a reference"),
    (r"(?i)\bdimensions? \d(?:(?:,| and) \d)*", "the name of a dimension"),
    (r"\*(?:Easy|Medium|Hard) · \d+ minutes\*", "an estimate for who does the exercise"),
    (r"(?i)\bone\b", "a pronoun more often than a number"),
    (r"(?i)\b(?:at most|at least|most often)\b", "not a comparison of two things"),
    (r"(?i)\bthe third\b", "an order, not a share"),
    (r"\b[A-Za-z]\w*\d\w*", "part of a name"),
    (r"<!--/?\w*-->", "the mark beside a figure"),
]


# What other tests hold: a page's title, which the table of costs repeats; the numbers of chapters in links;
# and the minutes at the top.
HELD_ELSEWHERE = re.compile(
    r"\A# [^\n]*|\[(?:[^\]]*[Cc]hapters? )?\d+\]\([^)]*\)"
    r"|\*\*Takes\*\* about [^.]*\.|The cells run in [^.]* on two CPU cores"
)


class Text(NamedTuple):
    """A text of a page: where it stands, what it says, and how to replace it."""

    place: str
    text: str
    put: Callable[[str], None]


def texts(nb) -> Iterator[Text]:
    """The Markdown, captions and alternative texts of a notebook."""
    for cell in nb.cells:
        if cell.cell_type == "markdown":
            yield Text(cell.id, cell.source, lambda new, cell=cell: cell.update(source=new))
        for part, key in (("figure", "caption"), ("image", "alt")):
            holder = cell.metadata.get("mystnb", {}).get(part, {})
            if key in holder:
                put = lambda new, holder=holder, key=key: holder.update({key: new})  # noqa: E731
                yield Text(f"{cell.id}, {key}", holder[key], put)


def quiz_of(path: Path) -> Path | None:
    """The quiz of a notebook, where there is one: quiz/05.json beside 05_batchnorm_fix.ipynb, and
    quiz/tensors.json beside tensors.ipynb."""
    quiz = path.parent / "quiz" / f"{path.stem if path.stem.isalpha() else path.name[:2]}.json"
    return quiz if quiz.is_file() else None


def quiz_texts(questions: list) -> Iterator[Text]:
    """What a quiz says: its questions, and the answers with what is said of them."""

    def within(value, place: str) -> Iterator[Text]:
        pairs = value.items() if isinstance(value, dict) else enumerate(value)
        for key, one in list(pairs):
            here = f"{place}, {key}"
            if isinstance(one, str) and key in ("question", "answer", "feedback"):
                yield Text(here, one, lambda new, value=value, key=key: value.__setitem__(key, new))
            elif isinstance(one, dict | list):
                yield from within(one, here)

    yield from within(questions, "quiz")


def told(nb) -> dict[str, str]:
    """What the stored outputs of a notebook tell, by name. ValueError for a name that is told twice."""
    found: dict[str, str] = {}
    for cell in nb.cells:
        for output in cell.get("outputs", []):
            said = output.get("text") or output.get("data", {}).get("text/plain", "")
            for held in HELD.finditer("".join(said)):
                name, text = held["name"].replace(" ", "_"), held["text"]
                if found.setdefault(name, text) != text or name == GIVEN:
                    raise ValueError(f"{cell.id}: {name} is told already, as {found[name]!r}")
    return found


def filled(text: str, known: dict[str, str], place: str) -> str:
    """The text with what was told between its marks. ValueError for a name that nothing tells."""

    def fill_one(mark: re.Match) -> str:
        name = mark[1]
        if name != GIVEN and name not in known:
            raise ValueError(f"{place}: nothing tells {name!r}; expected one of {sorted(known)}")
        return mark[0] if name == GIVEN else f"<!--{name}-->{known[name]}<!--/-->"

    return MARK.sub(fill_one, text)


def fill(nb, path: Path | None = None) -> None:
    """Write what was told into a notebook's text and, where its path is given, into its quiz."""
    known = told(nb)
    for one in texts(nb):
        one.put(filled(one.text, known, one.place))
    quiz = quiz_of(path) if path else None
    if quiz:
        before = quiz.read_text(encoding="utf-8")
        questions = json.loads(before)
        for one in quiz_texts(questions):
            one.put(filled(one.text, known, f"{quiz.name}: {one.place}"))
        after = json.dumps(questions, indent=1, ensure_ascii=False) + "\n"
        if MARK.search(before) and after != before:
            quiz.write_text(after, encoding="utf-8")


def unmarked(text: str) -> list[str]:
    """The figures of a text that stand between no marks, each with what is around it."""
    beside = [MARK, HELD_ELSEWHERE, *(re.compile(pattern) for pattern, _ in EXCLUDED)]
    spans = [match.span() for pattern in beside for match in pattern.finditer(text)]
    figures = sorted([*NUMBER.finditer(text), *VERBAL.finditer(text)], key=lambda match: match.start())
    found = []
    for match in figures:
        if not any(start <= match.start() and match.end() <= end for start, end in spans):
            around = text[max(0, match.start() - 25) : match.end() + 25].replace("\n", " ")
            found.append(f"{match[0]!r} in …{around}…")
    return found


def read_notebook(path: Path):
    """A notebook. ValueError, with the file's name, for what is none."""
    try:
        return nbformat.read(path, as_version=4)
    except (OSError, ValueError, AttributeError, nbformat.ValidationError) as error:
        said = " ".join(str(error).split())[:200]
        raise ValueError(f"{path}: expected a notebook ({said})") from None


def read_quiz(path: Path) -> list:
    """A quiz. ValueError, with its name, for what is none."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: expected a quiz in JSON ({error})") from None


def all_unmarked(path: Path) -> list[str]:
    """The unmarked figures of a notebook and its quiz."""
    every = list(texts(read_notebook(path)))
    quiz = quiz_of(path)
    if quiz:
        every += quiz_texts(read_quiz(quiz))
    return [f"{one.place}: {figure}" for one in every for figure in unmarked(one.text)]


def main(arguments: list[str]) -> int:
    if not arguments:
        print("error: expected the paths of notebooks, got none", file=sys.stderr)
        return 2
    found = 0
    for path in map(Path, arguments):
        try:
            figures = all_unmarked(path)
        except (OSError, ValueError) as error:
            print(f"error: {error}", file=sys.stderr)
            return 2
        found += len(figures)
        print("\n".join(f"{path.name}: {figure}" for figure in figures))
    print(f"{found} figures stand between no marks")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
