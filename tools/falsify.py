"""Change one figure of a notebook at a time, and see which changes a check notices.

    python tools/falsify.py book/wavenet/05_batchnorm_fix.ipynb -n 10 --seed 0
    python tools/falsify.py NOTEBOOK --list                    what could be changed, and what is excluded
    python tools/falsify.py NOTEBOOK --place prose --check 'figures={python} -m pytest -q tests/test_x.py'

A figure is a number, a number in words, or a comparison ("half", "the largest", "fewer"). It stands in
the prose, in a caption, in an alternative text, in the chapter's quiz, or in a stored output, where it is
changed by more than the tolerance of the check that follows. The changes are spread evenly over these
places, and within one drawn at random from the seed.

Each check is a command that runs in a copy of this folder: {python} is this Python, {notebook} the
notebook. It notices a change when it fails. First it must pass with nothing changed. (No make there: it
would set up anew.) `--check-outputs` is for a command that reads nothing of a notebook but its code cells
and their outputs, as nbval does: it is asked about outputs only. Without either, the tests that read
notebooks and nbval are asked.

Figures that nobody measured are counted, and not changed: EXCLUDED in tools/told.py says which and why;
`--except FILE` adds lines of the form `pattern -> reason`; `--all` takes the exceptions away. Nor are those
changed in an output that differs from run to run (a time, a sample), which nbval is told to ignore. Ends
with 0 when every change was noticed, else 1.
"""

import argparse
import ast
import json
import math
import os
import random
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import nbformat
from told import EXCLUDED, NUMBER, SWAPS, VERBAL, WORDS, read_notebook, read_quiz

ROOT = Path(__file__).resolve().parent.parent
NOT_COPIED = {ROOT / name for name in ".venv .git node_modules build runs book/_build data/cache".split()}
READING_TESTS = "book told stated quizzes references roadmap chapter_is_source"
TESTS = "{python} -m pytest -q --color=no -p no:cacheprovider " + " ".join(
    f"tests/test_{name}.py" for name in READING_TESTS.split()
)
NBVAL = (
    "{python} -m pytest -q --color=no -p no:cacheprovider --nbval --nbval-current-env "
    "--nbval-sanitize-with tests/nbval_sanitize.cfg {notebook}"
)

# ---- where figures stand ----------------------------------------------------------------


@dataclass(frozen=True)
class Figure:
    """One place where a figure stands."""

    place: str  # prose, caption, alternative text, quiz, output
    where: str  # how a person finds it
    keys: tuple  # the way to the text in the notebook, or in the quiz
    start: int
    end: int
    text: str  # of the whole cell
    tolerance: float = 0.0  # a change has to exceed it

    @property
    def old(self) -> str:
        return self.text[self.start : self.end]

    @property
    def kind(self) -> str:
        return "number" if self.old[0].isdigit() else "words"


def another_number(old: str, tolerance: float, chance: random.Random) -> str:
    """A number written alike, off by 5 to 50 per cent, and by more than twice the tolerance."""
    value = float(old.replace(",", ""))
    decimals = len(old.partition(".")[2])
    least = max(10.0**-decimals, 0.05 * value, 2.0 * tolerance)
    off = least + chance.random() * max(0.45 * value, 10.0**-decimals)
    new = value + off if value - off < 0 or chance.random() < 0.5 else value - off
    written = f"{new:,.{decimals}f}" if "," in old else f"{new:.{decimals}f}"
    return written if float(written.replace(",", "")) != value else f"{value + least:.{decimals}f}"


def another(figure: Figure, chance: random.Random) -> str:
    """What is put in a figure's place."""
    old = figure.old
    if figure.kind == "number":
        return another_number(old, figure.tolerance, chance)
    low = old.lower()
    if low in WORDS:
        at = WORDS.index(low)
        near = [WORDS[other] for other in range(max(0, at - 3), min(len(WORDS), at + 4)) if other != at]
        new = chance.choice(near)
    else:
        new = SWAPS[low]
    return new.capitalize() if old[0].isupper() else new


def tolerance_after(cells: list, index: int) -> float:
    """The largest tolerance that `expect` states in the next cell of code."""
    following = next((cell for cell in cells[index + 1 :] if cell.cell_type == "code"), None)
    found = [0.0]
    for node in ast.walk(ast.parse(following.source)) if following else ():
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "expect" and len(node.args) == 4:
            if isinstance(node.args[3], ast.Constant):
                found.append(float(node.args[3].value))
    return max(found)


def texts(notebook, quiz) -> list[tuple[str, str, tuple, str, float]]:
    """Every text in which a figure may stand: place, where, keys, text, tolerance."""
    found: list[tuple[str, str, tuple, str, float]] = []
    for index, cell in enumerate(notebook.cells):
        if cell.cell_type == "markdown":
            found.append(("prose", f"cell {index}", ("cells", index, "source"), cell.source, 0.0))
        if cell.cell_type != "code":
            continue
        at = f"cell {index} [{cell.execution_count}]"
        for place, keys in (("caption", ("figure", "caption")), ("alternative text", ("image", "alt"))):
            text = cell.metadata.get("mystnb", {}).get(keys[0], {}).get(keys[1])
            if text:
                found.append((place, at, ("cells", index, "metadata", "mystnb", *keys), text, 0.0))
        for number, output in enumerate(cell.outputs):
            way: tuple = ("cells", index, "outputs", number)
            ignored = "nbval-ignore-output" in cell.metadata.get("tags", [])
            tolerance = math.inf if ignored else tolerance_after(notebook.cells, index)
            if output.output_type == "stream":
                found.append(("output", at, (*way, "text"), output.text, tolerance))
            for mime in ("text/markdown", "text/plain"):
                text = output.get("data", {}).get(mime, "")
                if text and not text.startswith("<"):  # the name of an object
                    found.append(("output", at, (*way, "data", mime), text, tolerance))
    for number, question in enumerate(quiz or []):
        at = f"question {number + 1}"
        found.append(("quiz", at, (number, "question"), question["question"], 0.0))
        for which, answer in enumerate(question["answers"]):
            for key in ("answer", "feedback"):
                if key in answer:
                    keys = (number, "answers", which, key)
                    found.append(("quiz", f"{at}, {key} {which + 1}", keys, str(answer[key]), 0.0))
    return found


def figures(notebook, quiz, excluded) -> tuple[list[Figure], list[tuple[Figure, str]]]:
    """All figures that may be changed, and those that may not with the reason."""
    kept, left = [], []
    for place, where, keys, text, tolerance in texts(notebook, quiz):
        spans = [
            (match.start(), match.end(), why)
            for pattern, why in excluded
            if place != "output"
            for match in re.finditer(pattern, text)
        ]
        matches = [*NUMBER.finditer(text), *(VERBAL.finditer(text) if place != "output" else ())]
        for match in sorted(matches, key=lambda match: match.start()):
            figure = Figure(place, where, keys, match.start(), match.end(), text, tolerance)
            why = next((why for a, b, why in spans if a <= figure.start and figure.end <= b), None)
            if tolerance == math.inf:
                why = "an output that differs from run to run, which nbval ignores"
            left.append((figure, why)) if why else kept.append(figure)
    return kept, left


def drawn(candidates: list[Figure], count: int, chance: random.Random) -> list[Figure]:
    """Figures without repetition, from each place and kind in turn."""
    groups: dict[tuple[str, str], list[Figure]] = {}
    for figure in chance.sample(candidates, len(candidates)):
        groups.setdefault((figure.place, figure.kind), []).append(figure)
    order = [groups[key] for key in sorted(groups)]
    turns = [group[turn] for turn in range(len(candidates)) for group in order if turn < len(group)]
    return turns[:count]


# ---- trying a change --------------------------------------------------------------------


def with_text(document, keys: tuple, text: str):
    """A copy of a notebook or quiz with another text in one place."""
    changed = json.loads(json.dumps(document))
    inside = changed
    for key in keys[:-1]:
        inside = inside[key]
    inside[keys[-1]] = text
    return nbformat.from_dict(changed) if isinstance(document, nbformat.NotebookNode) else changed


class Copy:
    """A copy of this folder, in which one file is changed at a time."""

    def __init__(self, folder: Path, notebook: Path):
        self.root = folder / "copy"
        shutil.copytree(ROOT, self.root, ignore=self.ignored, symlinks=True)
        self.notebook = notebook.relative_to(ROOT).as_posix()
        self.environment = {
            **os.environ, "PYTHONPATH": str(self.root / "src"), "TQDM_DISABLE": "1",
            "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1"),
            "COMMON_CACHE": os.environ.get("COMMON_CACHE", str(ROOT / "data" / "cache")),
        }  # fmt: skip

    @staticmethod
    def ignored(folder: str, names: list[str]) -> list[str]:
        caches = {"__pycache__", ".pytest_cache", ".ruff_cache", ".mypy_cache"}
        return [name for name in names if name in caches or Path(folder, name) in NOT_COPIED]

    def failure(self, command: str) -> str | None:
        """Run a check; None when it passes, else what it said: the first line that names a failure."""
        filled = command.replace("{python}", shlex.quote(sys.executable))
        filled = filled.replace("{notebook}", shlex.quote(self.notebook))
        done = subprocess.run(
            filled, shell=True, cwd=self.root, env=self.environment, capture_output=True, text=True
        )
        if done.returncode == 0:
            return None
        lines = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
        named = [line for line in lines if line.startswith(("FAILED", "ERROR"))]
        return (named or lines[-1:] or [f"exit code {done.returncode}"])[0][:150]


def written(document) -> str:
    """The text of a file that holds a notebook or a quiz, laid out as the book's are."""
    if isinstance(document, nbformat.NotebookNode):
        return nbformat.writes(document) + "\n"
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


def line_of(figure: Figure, new: str) -> str:
    """The figure among its neighbours, old and new."""
    before = figure.text[max(0, figure.start - 40) : figure.start].replace("\n", " ")
    after = figure.text[figure.end : figure.end + 40].replace("\n", " ")
    return f"...{before}[{figure.old} -> {new}]{after}..."


def quiz_of(path: Path, notebook) -> Path | None:
    """The file of the quiz that a notebook shows."""
    for cell in notebook.cells:
        named = re.search(r"display_quiz\(\s*[\"']([^\"']+)", cell.source)
        if cell.cell_type == "code" and named:
            return path.parent / named[1]
    return None


def parsed(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Change one figure at a time; see which are noticed.")
    parser.add_argument("notebook", type=Path)
    parser.add_argument("-n", "--changes", type=int, default=10, metavar="N", help="how many (10)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--place", action="append", help="only there; may be given several times")
    parser.add_argument("--check", action="append", default=[], metavar="NAME=COMMAND")
    parser.add_argument("--check-outputs", action="append", default=[], metavar="NAME=COMMAND")
    parser.add_argument("--except", dest="exceptions", type=Path, metavar="FILE", help="pattern -> reason")
    parser.add_argument("--all", action="store_true", help="also what is excluded")
    parser.add_argument("--list", action="store_true", help="show what could be changed, run nothing")
    return parser.parse_args(arguments)


def exceptions_in(file: Path) -> list[tuple[str, str]]:
    found = []
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1):
        pattern, arrow, why = line.rpartition(" -> ")
        if not line.strip() or line.startswith("#"):
            continue
        if not arrow or not pattern.strip() or not why.strip():
            raise ValueError(f"{file}, line {number}: expected `pattern -> reason`, got {line!r}")
        try:
            re.compile(pattern)
        except re.error as error:
            raise ValueError(f"{file}, line {number}: expected a pattern, got {pattern!r}: {error}") from None
        found.append((pattern, why.strip()))
    return found


def named_checks(given: list[str]) -> dict[str, str]:
    for check in given:
        name, equals, command = check.partition("=")
        if not (name and equals and command.strip()):
            raise ValueError(f"expected a check as NAME=COMMAND, got {check!r}")
    return {name: command for name, _, command in (check.partition("=") for check in given)}


def run(arguments: list[str] | None = None) -> int:
    options = parsed(arguments)
    path = options.notebook.resolve()
    if options.changes < 1:
        raise ValueError(f"expected at least 1 change, got {options.changes}")
    if path.suffix != ".ipynb" or not path.is_file() or not path.is_relative_to(ROOT):
        raise ValueError(f"expected a notebook of this book, got {options.notebook}")
    for_all, for_outputs = named_checks(options.check), named_checks(options.check_outputs)
    if not for_all and not for_outputs:
        for_all, for_outputs = {"tests": TESTS}, {"nbval": NBVAL}
    exceptions = exceptions_in(options.exceptions) if options.exceptions else []

    notebook = read_notebook(path)
    quiz_file = quiz_of(path, notebook)
    quiz = read_quiz(quiz_file) if quiz_file else None
    kept, left = figures(notebook, quiz, exceptions if options.all else EXCLUDED + exceptions)
    places = Counter(figure.place for figure in kept)
    if options.place:
        unknown = sorted(set(options.place) - set(places))
        if unknown:
            raise ValueError(f"expected a place among {sorted(places)}, got {unknown[0]!r}")
        kept = [figure for figure in kept if figure.place in options.place]

    print(f"{options.notebook}: {sum(places.values())} figures may be changed")
    for place, count in sorted(places.items()):
        print(f"  {count:5} {place}")
    print(f"{len(left)} are excluded")
    for why, count in Counter(why for _, why in left).most_common():
        print(f"  {count:5} {why}")
    chance = random.Random(options.seed)
    if options.list:
        for figure in kept:
            print(f"{figure.place}, {figure.where}: {line_of(figure, another(figure, chance))}")
        for figure, why in left:
            print(f"excluded, {why}: {figure.place}, {figure.where}: {line_of(figure, '')}")
        return 0

    noticed, tried = Counter(), Counter()
    with tempfile.TemporaryDirectory() as folder:
        copy = Copy(Path(folder), path)
        for file, document in ((path, notebook), (quiz_file, quiz)):
            if file:  # as it will be written, so that no check notices the layout alone
                (copy.root / file.relative_to(ROOT)).write_text(written(document), encoding="utf-8")
        for name, command in {**for_all, **for_outputs}.items():
            said = copy.failure(command)
            if said:
                raise ValueError(f"check {name}: expected it to pass with nothing changed, got {said}")
        for number, figure in enumerate(drawn(kept, options.changes, chance), start=1):
            new = another(figure, chance)
            file, document = (quiz_file, quiz) if figure.place == "quiz" else (path, notebook)
            changed = with_text(
                document, figure.keys, figure.text[: figure.start] + new + figure.text[figure.end :]
            )
            target = copy.root / file.relative_to(ROOT)
            target.write_text(written(changed), encoding="utf-8")
            asked = for_all | (for_outputs if figure.place == "output" else {})
            said = {name: what for name, command in asked.items() if (what := copy.failure(command))}
            target.write_text(written(document), encoding="utf-8")
            verdict = "caught by " + ", ".join(said) if said else "not caught"
            print(f"{number:3}. {figure.place} ({figure.kind}), {figure.where}: {verdict}")
            print(f"     {line_of(figure, new)}")
            for what in said.values():
                print(f"     {what}")
            sys.stdout.flush()
            tried[figure.place] += 1
            noticed[figure.place] += bool(said)
    for place in sorted(tried):
        print(f"{noticed[place]:3} of {tried[place]:3} noticed: {place}")
    print(f"{noticed.total():3} of {tried.total():3} noticed")
    return 0 if noticed.total() == tried.total() else 1


def main() -> int:
    try:
        return run()
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
