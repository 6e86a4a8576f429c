"""What a page folds, and how long a notebook takes to read.

    minutes = words / 200 + open lines of code / 10 + folded lines / 30 + figures and widgets / 2

`fold` is the one place that says how much of a code cell a page shows; whoever asks, asks it.
"""

import ast
import json
import math
import re
from pathlib import Path

LONGEST = 60  # minutes
OPEN_LINES, TAUGHT_LINES = 20, 40  # of an open cell; of one that is a class or a loop
WIDEST = 80  # characters that fit a page's column where a window is 1280 pixels wide
# Tags, of which Jupyter Book knows all but the last; a check shows as a small mark with its code behind it.
REMOVED = {"remove-cell", "remove-input"}
FOLDED = {"hide-cell", "hide-input", "check"}
OUTPUT_FOLDED = {"hide-cell", "hide-output", "remove-output"}
PICTURES = ("image/png", "image/svg+xml", "application/vnd.jupyter.widget-view+json")

OPTION = re.compile(r"^:[\w-]+:.*$|^\([\w-]+\)=$", re.MULTILINE)
CODE_FENCE = re.compile(r"^(?P<fence>`{3,})\w*\n(?P<code>.*?)^(?P=fence)\s*$", re.MULTILINE | re.DOTALL)
HTML = re.compile(r"^(?P<fence>`{3,})\{raw\}[^\n]*\n.*?^(?P=fence)\s*$|<[^>]+>", re.MULTILINE | re.DOTALL)
FENCE = re.compile(r"^\s*[`:]{3,}(?:\{(?:figure|image)\}.*|\{[\w:-]+\})?", re.MULTILINE)
DRAWN = re.compile(r"^[`:]{3,}\{(?:figure|image)\}|!\[|^\s*<svg", re.MULTILINE)
ROLE = re.compile(r"\{[\w:]+\}`([^`<]*)(?:<[^`]*>)?`")
LINK = re.compile(r"\[([^\]]*)\]\([^)]*\)")
QUIZ = re.compile(r'display_quiz\("([^"]+)"')


def fold(cell) -> str:
    """How a page shows the source of a code cell: "open", "folded" behind a button, or "removed"."""
    tags = set(cell["metadata"].get("tags", []))
    return "removed" if tags & REMOVED else "folded" if tags & FOLDED else "open"


def folds_output(cell) -> bool:
    """Whether what a code cell shows is folded too.

    That of a cell that the page removes is not: where there is any, in a notebook that runs, it is an error.
    """
    return bool(set(cell["metadata"].get("tags", [])) & OUTPUT_FOLDED)


def lines(source: str) -> int:
    """The lines of code that there are to read."""
    return sum(bool(line.strip()) for line in source.splitlines())


def lines_allowed(source: str) -> int:
    """How many lines an open cell may have: more where one class or one loop is most of it.

    A function counts as a loop where it holds one. A cell that draws teaches neither.
    """
    try:
        statements = [] if "plt." in source else ast.parse(source).body
    except SyntaxError:  # a magic
        statements = []
    loops = (ast.For, ast.While)
    for part in statements:
        taught = isinstance(part, (ast.ClassDef, *loops)) or (
            isinstance(part, ast.FunctionDef) and any(isinstance(inner, loops) for inner in ast.walk(part))
        )
        if taught and 2 * (part.end_lineno - part.lineno + 1) > len(source.splitlines()):
            return TAUGHT_LINES
    return OPEN_LINES


def too_long(nb) -> list[str]:
    """The open cells that have more lines than a page should show at once, each with how many."""
    counts = [
        (cell.id, len(cell.source.splitlines()), lines_allowed(cell.source))
        for cell in nb.cells
        if cell.cell_type == "code" and fold(cell) == "open"
    ]
    return [f"{name}: {count} lines, at most {most}" for name, count, most in counts if count > most]


def too_wide(nb) -> list[str]:
    """The cells whose code does not fit the column, open or folded, each with its widest line."""
    sources = {c.id: c.source for c in nb.cells if c.cell_type == "code" and fold(c) != "removed"}
    widest = {name: max(source.splitlines(), key=len, default="") for name, source in sources.items()}
    return [f"{name}: {len(line)} characters, {line}" for name, line in widest.items() if len(line) > WIDEST]


def words(text: str) -> int:
    """The words of a Markdown text that a page shows."""
    plain = ((CODE_FENCE, ""), (HTML, ""), (OPTION, ""), (FENCE, ""), (ROLE, r"\1"), (LINK, r"\1"))
    for pattern, shown in plain:
        text = pattern.sub(shown, text)
    return len(re.findall(r"[^\W_]+(?:[-'’.,_][^\W_]+)*", text))


def reading_minutes(nb, folder: Path) -> float:
    """The minutes that a notebook takes to read; its quizzes stand in files below `folder`."""
    text, code, pictures = 0, {"open": 0, "folded": 0, "removed": 0}, 0
    for cell in nb["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            text += words(source)
            code["open"] += sum(lines(fence["code"]) for fence in CODE_FENCE.finditer(source))
            pictures += len(DRAWN.findall(source))
        elif cell["cell_type"] == "code":
            for quiz in QUIZ.findall(source):  # the page has the questions in the cell's place
                text += quiz_words(folder / quiz)
            if not QUIZ.search(source):
                code[fold(cell)] += lines(source)
            text += words(cell["metadata"].get("mystnb", {}).get("figure", {}).get("caption", ""))
            shown = "remove-cell" not in cell["metadata"].get("tags", [])
            kinds = [kind for output in cell["outputs"] for kind in output.get("data", {})]
            pictures += sum(kind in PICTURES for kind in kinds) if shown else 0
    return text / 200 + code["open"] / 10 + code["folded"] / 30 + pictures / 2


def quiz_words(path: Path) -> int:
    """The words of a quiz: questions, answers, and of the explanations the one of each right answer."""
    questions = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else []
    shown = [question["question"] for question in questions]
    for question in questions:
        shown += [answer["answer"] for answer in question["answers"]]
        shown += [answer["feedback"] for answer in question["answers"] if answer["correct"]]
    return sum(words(text) for text in shown)


STATED = re.compile(r"about \d+ minutes to read")


def stated(minutes: float) -> str:
    """How a notebook tells its reader: up to the next five minutes, for one more is not known."""
    return f"about {max(5, 5 * math.ceil(minutes / 5))} minutes to read"
