"""tools/falsify.py changes one figure at a time, and says truly which changes a check noticed."""

import json
import random
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tools"))

import falsify  # noqa: E402

PROSE = """# A chapter

Since 1998, chapter 3 says: the loss is 1.25, half of what it was, for 1,234 names and `x[3]`.
By {term}`ten eyes`, $n - 1$ is one less. Seven of eight seeds gain.
"""


def a_notebook():
    measured = new_code_cell("print(loss)", execution_count=1)
    measured.outputs = [new_output("stream", name="stdout", text="loss 2.015\n")]
    measured.metadata["mystnb"] = {
        "figure": {"caption": "The loss by step, 40 in all.", "name": "fig-03-loss"},
        "image": {"alt": "The largest loss is 3.5."},
    }
    check = new_code_cell('expect("loss", loss, 2.0, 0.5)', execution_count=2)
    check.outputs = [new_output("stream", name="stdout", text="held\n")]
    quiz = new_code_cell('display_quiz("quiz/03.json")', execution_count=3)
    return new_notebook(cells=[new_markdown_cell(PROSE), measured, check, quiz])


QUIZ = [{"question": "How many?", "answers": [{"answer": "12", "feedback": "Twice as many as that."}]}]


@pytest.fixture
def book(tmp_path, monkeypatch):
    """A small folder like this one, with one notebook and its quiz."""
    root = tmp_path / "my book"
    (root / "book" / "quiz").mkdir(parents=True)
    nbformat.write(a_notebook(), root / "book" / "03.ipynb")
    (root / "book" / "quiz" / "03.json").write_text(json.dumps(QUIZ, indent=1) + "\n", encoding="utf-8")
    monkeypatch.setattr(falsify, "NOT_COPIED", {root / ".venv"})
    monkeypatch.setattr(falsify, "ROOT", root)
    return root


def found(**options):
    kept, left = falsify.figures(a_notebook(), QUIZ, falsify.EXCLUDED, **options)
    return kept, left


def test_figures_are_numbers_and_words_wherever_a_reader_meets_them():
    kept, _ = found()
    assert [(figure.place, figure.old) for figure in kept] == [
        ("prose", "1.25"), ("prose", "half"), ("prose", "1,234"), ("prose", "Seven"), ("prose", "eight"),
        ("caption", "40"), ("alternative text", "largest"), ("alternative text", "3.5"),
        ("output", "2.015"), ("quiz", "12"), ("quiz", "Twice"),
    ]  # fmt: skip


def test_what_nobody_measured_is_left_with_its_reason():
    _, left = found()
    reasons = {figure.old: why for figure, why in left}
    assert reasons["1998"] == "a year" and reasons["3"] in ("a reference", "typed in code")
    assert "term" in reasons["ten"] and "formula" in reasons["1"] and "pronoun" in reasons["one"]
    kept, left = falsify.figures(a_notebook(), QUIZ, [])
    assert not left and "1998" in {figure.old for figure in kept}
    timed = a_notebook()
    timed.cells[1].metadata["tags"] = ["nbval-ignore-output"]
    kept, left = falsify.figures(timed, QUIZ, [])
    [(figure, why)] = left
    assert figure.old == "2.015" and "nbval ignores" in why


def test_a_change_is_another_figure_written_alike():
    chance = random.Random(0)
    for figure in found()[0] * 50:
        new = falsify.another(figure, chance)
        assert new != figure.old and new[0].isupper() == figure.old[0].isupper()
        if figure.kind == "number":
            assert ("." in new) == ("." in figure.old)
            old_value, new_value = (float(text.replace(",", "")) for text in (figure.old, new))
            assert abs(new_value - old_value) >= 0.049 * old_value
            if figure.place == "output":
                assert abs(new_value - old_value) > 0.5  # what the check after it allows


@pytest.mark.parametrize("old", ["0", "1", "0.0", "0.001", "999,999", "7"])
def test_small_numbers_change_too(old):
    for seed in range(200):
        new = falsify.another_number(old, 0.0, random.Random(seed))
        assert float(new.replace(",", "")) not in (float(old.replace(",", "")), -1)
        assert not new.startswith("-")


def test_the_same_seed_draws_the_same_changes_evenly():
    kept, _ = found()
    first = falsify.drawn(kept, 8, random.Random(3))
    assert first == falsify.drawn(kept, 8, random.Random(3)) != falsify.drawn(kept, 8, random.Random(4))
    assert len({(figure.place, figure.kind) for figure in first}) == 8  # all there are
    assert sorted(map(str, falsify.drawn(kept, 99, random.Random(3)))) == sorted(map(str, kept))


def checker(book, body: str) -> str:
    """A check: Python that sees the notebook's text, its quiz's, and the original ones."""
    script = book / "check.py"
    script.write_text(
        "import sys, json, pathlib\n"
        f"there = pathlib.Path({str(book)!r})\n"
        "names = ('03.ipynb', 'quiz/03.json')\n"
        "def read(root): return [(root / 'book' / name).read_text() for name in names]\n"
        "new, old = read(pathlib.Path('.')), read(there)\n" + body,
        encoding="utf-8",
    )
    return "mine={python} check.py {notebook}"


def test_what_a_check_notices_is_said_and_nothing_is_written_here(book, capsys):
    before = {path: path.read_bytes() for path in book.rglob("*") if path.is_file()}
    (book / ".venv").mkdir()
    notices = checker(
        book,
        "assert not pathlib.Path('.venv').exists()\n"
        "assert sys.argv[1] == 'book/03.ipynb' and pathlib.Path('.').resolve() != there\n"
        "print('FAILED the quiz') if new[1] != old[1] else None\n"
        "sys.exit(new[1] != old[1])\n",
    )
    before[book / "check.py"] = (book / "check.py").read_bytes()
    assert falsify.run([str(book / "book" / "03.ipynb"), "-n", "11", "--check", notices]) == 1
    said = capsys.readouterr().out
    assert "11 figures may be changed" in said and "2 of  11 noticed" in said
    assert "2 of   2 noticed: quiz" in said and "0 of   5 noticed: prose" in said
    assert said.count("caught by mine") == said.count("FAILED the quiz") == 2 and "not caught" in said
    assert re.search(r"\[half -> twice\] of what it was", said)
    assert {path: path.read_bytes() for path in book.rglob("*") if path.is_file()} == before


def test_one_text_alone_is_changed_at_a_time(book, capsys):
    one = checker(
        book,
        "import difflib\n"
        "lines = [line for a, b in zip(old, new) for line in difflib.ndiff(a.split('\\n'), b.split('\\n'))]\n"
        "sys.exit(sum(line.startswith('- ') for line in lines) == 1)\n",
    )
    assert falsify.run([str(book / "book" / "03.ipynb"), "-n", "11", "--check", one]) == 0, "all noticed"
    assert "11 of  11 noticed" in capsys.readouterr().out


def test_a_check_of_outputs_is_asked_about_outputs_alone(book, capsys):
    command = checker(book, "sys.exit(new != old)\n").replace("mine", "cells")
    assert falsify.run([str(book / "book" / "03.ipynb"), "-n", "11", "--check-outputs", command]) == 1
    said = capsys.readouterr().out
    assert "1 of   1 noticed: output" in said and "1 of  11 noticed" in said


def test_places_and_exceptions_narrow_the_choice(book, capsys):
    (book / "except.txt").write_text("# names\n1,234 names -> counted by hand\n", encoding="utf-8")
    more = ["--list", "--place", "prose", "--except", str(book / "except.txt")]
    assert falsify.run([str(book / "book" / "03.ipynb"), *more]) == 0
    said = capsys.readouterr().out
    assert "1 counted by hand" in said and "excluded, counted by hand: prose" in said
    assert "\nprose, cell 0: " in said and "\nquiz," not in said


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["missing.ipynb"], "expected a notebook of this book, got missing.ipynb"),
        (["book/03.ipynb", "-n", "0"], "expected at least 1 change, got 0"),
        (["book/03.ipynb", "--check", "pytest"], "expected a check as NAME=COMMAND, got 'pytest'"),
        (["book/03.ipynb", "--place", "footnote"], "expected a place among"),
        (["book/03.ipynb", "--check", "mine=false"], "expected it to pass with nothing changed"),
        (["book/03.ipynb", "--except", "no arrow"], "expected `pattern -> reason`, got 'years'"),
    ],
)
def test_what_cannot_be_done_is_refused(book, monkeypatch, capsys, arguments, said):
    monkeypatch.chdir(book)
    (book / "no arrow").write_text("years\n", encoding="utf-8")
    monkeypatch.setattr(sys, "argv", ["falsify.py", *arguments])
    assert falsify.main() == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and said in error and error.count("\n") == 1


def test_it_runs_as_a_command():
    tool = [sys.executable, str(ROOT / "tools" / "falsify.py")]
    done = subprocess.run([*tool, str(ROOT / "README.md")], capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr.startswith("error: expected a notebook")
