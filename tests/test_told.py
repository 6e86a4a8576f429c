"""Figures of the text: held by a run, filled in from it, and found where nothing holds them."""

import importlib
import json
import re
import sys
from pathlib import Path

import nbformat
import pytest

from common.pages.told import in_words, tell

ROOT = Path(__file__).parents[1]
BOOK = ROOT / "book"
sys.path.insert(0, str(ROOT / "tools"))
import told  # noqa: E402

NOTEBOOKS = sorted(
    path for path in BOOK.rglob("*.ipynb") if not {"_build", ".ipynb_checkpoints"} & set(path.parts)
)
every_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


@pytest.fixture(autouse=True)
def the_books_list(monkeypatch):
    monkeypatch.delenv("NAMES", raising=False)
    monkeypatch.setattr("common.pages.checks.get_ipython", lambda: None)  # as in a script


# ---- the book --------------------------------------------------------------------


@every_notebook
def test_the_text_states_what_the_cells_told(path):
    known = told.told(nbformat.read(path, as_version=4))
    every = list(told.texts(nbformat.read(path, as_version=4)))
    quiz = told.quiz_of(path)
    every += told.quiz_texts(json.loads(quiz.read_text(encoding="utf-8"))) if quiz else []
    for one in every:
        assert told.filled(one.text, known, one.place) == one.text, "run make normalise"


@every_notebook
def test_no_figure_of_the_text_stands_there_untold(path):
    found = told.all_unmarked(path)
    assert not found, "\n".join(found[:20])


@every_notebook
def test_what_is_told_is_used(path):
    nb = nbformat.read(path, as_version=4)
    quiz = told.quiz_of(path)
    whole = "".join(one.text for one in told.texts(nb)) + (quiz.read_text(encoding="utf-8") if quiz else "")
    assert {name for name in told.told(nb) if f"<!--{name}-->" not in whole} == set()


BEGINS_WITH_A_MARK = re.compile(r"^[ >]*(?:(?:[-*+]|\d+[.)]) +)*<!--.*", re.MULTILINE)


@every_notebook
def test_no_line_begins_with_a_mark(path):
    """Such a line is HTML in CommonMark: JupyterLab shows all other markup in it raw."""
    cells = nbformat.read(path, as_version=4).cells
    found = [(c.id, BEGINS_WITH_A_MARK.findall(c.source)) for c in cells if c.cell_type == "markdown"]
    assert [one for one in found if one[1]] == []


def test_a_line_that_begins_with_a_mark_is_found():
    begin = ["<!--given-->Two<!--/--> a", "- <!--x-->1<!--/-->", "> 1. <!--x-->1<!--/-->"]
    other = ["A <!--x-->1<!--/-->", "**<!--x-->Six<!--/--> of**", "| <!--x-->1<!--/--> |"]
    assert BEGINS_WITH_A_MARK.findall("\n".join([*begin, *other])) == begin


@pytest.mark.parametrize("name", ["mended_pages", "quizzes"])
def test_a_page_is_built_without_the_marks(name):
    sys.path.insert(0, str(BOOK / "_ext"))
    mark = importlib.import_module(name).MARK
    assert mark.pattern == told.MARK.pattern and mark.flags == told.MARK.flags


def test_one_widget_of_a_page_keeps_the_style_sheet_whichever_comes_first():
    sys.path.insert(0, str(BOOK / "_ext"))
    mended, bs4 = importlib.import_module("mended_pages"), importlib.import_module("bs4")
    sheet = "/* a comment */\n.wn {\n  color: red;\n}\n"
    states = {str(i): {"state": {"_css": sheet, "_esm": "// a comment\n  let x = 1;"}} for i in range(3)}
    states |= {"layout": {"state": {}}}
    kind = "application/vnd.jupyter.widget-state+json"
    page = bs4.BeautifulSoup(f'<script type="{kind}">{json.dumps({"state": states})}</script>', "html.parser")
    for _ in range(2):  # a page that is mended twice is as it was
        mended.widgets_weigh_less(page)
        found = [widget["state"] for widget in json.loads(page.script.string)["state"].values()]
        assert [state.get("_css") for state in found] == [".wn {\ncolor: red;\n}\n", "", "", None]
        assert [state.get("_esm") for state in found] == ["let x = 1;"] * 3 + [None]


# ---- tell ------------------------------------------------------------------------


def said(capsys) -> str:
    return capsys.readouterr().out.rstrip("\n")


def test_a_computed_text_is_told_as_it_is(capsys):
    tell("noise_ratio", f"{1.7468:.2f}")
    assert said(capsys) == "held: the text says “1.75” (noise ratio), exactly"


@pytest.mark.parametrize(
    ("text", "value", "within", "by"),
    [
        ("2.015", 2.02, 0.012, "within 0.012"),
        ("about 22,397", 22_400, 5, "within 5"),
        ("54%", 0.5401, 0.01, "within 0.01"),
        ("−0.3", -0.31, 0.05, "within 0.05"),
        ("half", 0.52, (0.45, 0.55), "for a value of 0.45 to 0.55"),
    ],
)
def test_a_text_is_held_to_a_value(capsys, text, value, within, by):
    tell("it", text, value, within)
    assert said(capsys) == f"held: the text says “{text}” (it), {by}"


@pytest.mark.parametrize(
    ("text", "value", "within"),
    [("2.015", 2.03, 0.012), ("54%", 54.0, 0.01), ("half", 0.6, (0.45, 0.55)), ("2.0", float("nan"), 1.0)],
)
def test_a_text_that_is_no_longer_true_raises(text, value, within):
    with pytest.raises(AssertionError, match=f"it: the text says {text}, expected .* got"):
        tell("it", text, value, within)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("val loss", "2.0"), "expected a name such as val_loss, got 'val loss'"),
        (("it", " "), "expected the words that stand in the text, got ' '"),
        (("it", "2<!--/-->"), "expected the words that stand in the text"),
        (("it", "half", 0.5, 0.1), "expected a number in the text and a tolerance, got 'half', 0.1"),
        (("it", "2", 2.0, -1.0), "expected a number in the text and a tolerance, got '2', -1.0"),
    ],
)
def test_what_cannot_be_told_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        tell(*arguments)


def test_with_a_readers_own_list_the_value_is_printed(capsys, monkeypatch):
    monkeypatch.setenv("NAMES", "mine.txt")
    tell("loss", "2.015", 2.3, within=0.01)
    assert said(capsys) == "your list: loss 2.3 (this book's list: 2.015)"


@pytest.mark.parametrize(
    "text, value, listed",
    [("0.02", 0.0278, True), ("0.03", 0.0278, False), ("about 27%", 0.266, False), ("77,000", 76_579, False),
     ("1,995", 1_996, True), ("\N{MINUS SIGN}0.5", -0.46, False)],
)  # fmt: skip
def test_a_figure_that_is_rounded_to_something_else_is_listed(tmp_path, monkeypatch, text, value, listed):
    monkeypatch.setenv("TOLD", str(tmp_path / "told.txt"))
    tell("share", text, value, within=1_000)
    wanted = f"share: the text says {text}, the value is {value:.6g}\n"
    assert listed == (tmp_path / "told.txt").exists()
    assert not listed or (tmp_path / "told.txt").read_text() == wanted


def test_counts_in_words():
    assert [in_words(n) for n in (0, 1, 12, 13, 32_033)] == ["no", "one", "twelve", "13", "32,033"]


@pytest.mark.parametrize("within", [None, 0.1, 1e-6, (1.7, 2.5), (-0.5, 1e30)])
def test_the_tool_reads_what_is_told(capsys, within):
    text = "1.75 “more” (than that), within 2"
    arguments = () if within is None else (1.75, within)
    tell("noise_ratio_2", text, *arguments)
    assert told.told(notebook("", said(capsys))) == {"noise_ratio_2": text}


# ---- the tool --------------------------------------------------------------------


def notebook(text: str, *lines: str):
    output = nbformat.v4.new_output("display_data", {"text/plain": "\n".join(lines)})
    cell = nbformat.v4.new_code_cell("tell(...)", outputs=[output], id="told")
    cell.metadata["mystnb"] = {"image": {"alt": text}, "figure": {"caption": text, "name": "fig"}}
    return nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell(text, id="text"), cell])


def test_what_was_told_is_written_into_text_captions_and_alternatives():
    nb = notebook(
        "It is <!--ratio-->9<!--/--> times, from <!--given-->1908<!--/-->.",
        "held: the text says “1.75” (ratio), exactly",
    )
    told.fill(nb)
    wanted = "It is <!--ratio-->1.75<!--/--> times, from <!--given-->1908<!--/-->."
    assert [one.text for one in told.texts(nb)] == [wanted] * 3


@pytest.mark.parametrize(("quiz", "page"), [("05.json", "05_x.ipynb"), ("tensors.json", "tensors.ipynb")])
def test_a_quiz_is_filled_in_too(tmp_path, quiz, page):
    (tmp_path / "quiz").mkdir()
    quiz, path = tmp_path / "quiz" / quiz, tmp_path / page
    answer = {"answer": "<!--n-->3<!--/-->", "correct": True, "feedback": "Right."}
    quiz.write_text(json.dumps([{"question": "How many?", "answers": [answer]}]), encoding="utf-8")
    told.fill(notebook("", "held: the text says “128” (n), exactly"), path)
    assert json.loads(quiz.read_text(encoding="utf-8"))[0]["answers"][0]["answer"] == "<!--n-->128<!--/-->"


@pytest.mark.parametrize(
    ("nb", "message"),
    [
        (
            notebook("<!--loss-->2<!--/-->", "held: the text says “1.75” (ratio), exactly"),
            "nothing tells 'loss'; expected one of",
        ),
        (
            notebook("", "held: the text says “1” (n), exactly", "held: the text says “2” (n), within 0.1"),
            "n is told already, as '1'",
        ),
    ],
)
def test_a_mark_without_a_teller_is_an_error_and_so_are_two_tellers(nb, message):
    with pytest.raises(ValueError, match=message):
        told.fill(nb)


@pytest.mark.parametrize(
    ("text", "figures"),
    [
        ("A loss of 2.015 nats, and 32 names.", ["2.015", "32"]),
        (
            "Four times as large, half the noise, seven of eight seeds.",
            ["Four", "half", "seven", "eight"],
        ),
        ("It is the largest, and better than before.", ["largest", "better"]),
        ("Marked: <!--a-->2.015<!--/-->, <!--given-->1908<!--/-->, <!--b-->half<!--/-->.", []),
        ("Code `x[:32]`, a [chapter 7](07_x.ipynb), {cite}`smith1908`, {numref}`wavenet-05-fig-1`.", []),
        ("```python\nx = 32\n```\n\n*Easy · 5 minutes*", []),
        ("Dimension 0, section 3.2, and BatchNorm1d.", []),
        ("[chapter 5](05_x.ipynb), [chapters 2](02_x.ipynb) and [4](04_x.ipynb)", []),
        ("**Takes** about 35 minutes to read. The cells run in about three minutes on two CPU cores.", []),
        ("[a page of 99 lines](07_x.ipynb)", ["99"]),
        ("# Beating 1.993\n\nA loss of 1.993.", ["1.993"]),
    ],
)
def test_figures_outside_marks_are_found(text, figures):
    assert [found.split(" in …")[0].strip("'") for found in told.unmarked(text)] == figures


def test_the_command_names_them(tmp_path, capsys):
    path = tmp_path / "09_x.ipynb"
    nbformat.write(notebook("A loss of 2.015."), path)
    assert told.main([str(path)]) == 1
    assert "text: '2.015' in …A loss of 2.015.…" in capsys.readouterr().out
    assert told.main([]) == 2 and told.main([str(tmp_path / "none.ipynb")]) == 2
