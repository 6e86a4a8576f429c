"""How long a notebook takes to read, and what of its code a page folds."""

import json
import sys
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tools"))
import reading  # noqa: E402

v4 = nbformat.v4


def code(source, *tags, outputs=(), **metadata):
    made = [v4.new_output("display_data", data=dict.fromkeys(kinds, "")) for kinds in outputs]
    return v4.new_code_cell(source, metadata={"tags": list(tags), **metadata}, outputs=made)


def minutes(*cells, folder=Path()):
    return reading.reading_minutes(v4.new_notebook(cells=list(cells)), folder)


TEN = "\n\n".join(["x = 1"] * 10)  # lines; the blank ones between are not read


@pytest.mark.parametrize(
    "cell, expected",
    [
        (v4.new_markdown_cell("word " * 200), 1),
        (code(TEN), 1),
        (code(TEN, "hide-input"), 1 / 3),
        (code(TEN, "hide-cell"), 1 / 3),
        (code(TEN, "check"), 1 / 3),
        (code(TEN, "remove-input", outputs=[["image/png", "text/plain"]]), 1 / 2),
        (code(TEN, "remove-cell", outputs=[["image/png"]]), 0),
        (code("", outputs=[["image/svg+xml", "image/png"]]), 1),
        (code("", outputs=[["application/vnd.jupyter.widget-view+json"], ["text/plain"]]), 1 / 2),
        (code("", mystnb={"figure": {"caption": "word " * 20}}), 0.1),
        (v4.new_markdown_cell(f"```python\n{TEN}\n```"), 1),
        (v4.new_markdown_cell("```{figure} a.png\n:name: wavenet-01-fig-a\nTwo words.\n```"), 2 / 200 + 0.5),
        (v4.new_markdown_cell("```{raw} html\n<svg><text>not a word</text></svg>\n```"), 0.5),
    ],
)  # fmt: skip
def test_the_parts_of_the_formula(cell, expected):
    assert minutes(cell) == pytest.approx(expected)


@pytest.mark.parametrize(
    "text, count",
    [
        ("It's a well-kept word: 22,397 of them.", 7),
        ("A {term}`broken term <term>` and [a link](05_x.ipynb).", 6),
        (":::{admonition} Predict first\n:class: predict\nWhat?\n:::", 3),
        ("<!-- not shown -->", 0),
        ("`code_name` counts", 2),
    ],
)
def test_words_are_those_that_a_page_shows(text, count):
    assert reading.words(text) == count


def test_a_quiz_is_read_in_its_cells_place(tmp_path):
    answers = [{"answer": "two words", "correct": c, "feedback": "three words here"} for c in (True, False)]
    questions = [{"question": "One two three?", "type": "multiple_choice", "answers": answers}]
    (tmp_path / "q.json").write_text(json.dumps(questions), encoding="utf-8")
    assert minutes(code('display_quiz("q.json")'), folder=tmp_path) == pytest.approx((3 + 4 + 3) / 200)


@pytest.mark.parametrize("value, says", [(1, 5), (30.0, 30), (30.2, 35), (62, 65)])
def test_minutes_are_stated_up_to_the_next_five(value, says):
    assert reading.stated(value) == f"about {says} minutes to read"
    assert reading.STATED.fullmatch(reading.stated(value))
