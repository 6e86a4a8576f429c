"""book/_ext/quizzes.py: the directive that reads a quiz file, and the cell that it replaces."""

import json
import shutil
import sys
from io import StringIO
from pathlib import Path

import nbformat
import pytest
from bs4 import BeautifulSoup

ROOT = Path(__file__).resolve().parent.parent
QUESTIONS = [
    {
        "question": f"Is <code>{name}</code> so?",
        "type": "multiple_choice",
        "answers": [
            {"answer": "yes", "correct": True, "feedback": "Right. It is."},
            {"answer": "no", "correct": False, "feedback": "It is."},
        ],
    }
    for name in ("a", "b")
]


@pytest.fixture
def build(tmp_path):
    """A function that builds one page, a notebook or Markdown, beside quiz/01.json."""
    pytest.importorskip("myst_nb")
    from sphinx.application import Sphinx
    from sphinx.util.docutils import docutils_namespace

    def build_one(page: str, suffix: str, quiz: str) -> tuple[BeautifulSoup, str]:
        source = tmp_path / "book"
        (source / "quiz").mkdir(parents=True)
        shutil.copy(ROOT / "book" / "_ext" / "quizzes.py", source)
        (source / f"index.{suffix}").write_text(page, encoding="utf-8")
        (source / "quiz" / "01.json").write_text(quiz, encoding="utf-8")
        sys.path.insert(0, str(source))
        said = StringIO()
        try:
            with docutils_namespace():
                app = Sphinx(
                    source, None, tmp_path / "html", tmp_path / "trees", "html",
                    {"extensions": ["myst_nb", "quizzes"], "nb_execution_mode": "off"},
                    status=None, warning=said, freshenv=True,
                )  # fmt: skip
                app.build()
        finally:
            sys.path.remove(str(source))
            sys.modules.pop("quizzes", None)
        html = (tmp_path / "html" / "index.html").read_text(encoding="utf-8")
        return BeautifulSoup(html, "html.parser"), said.getvalue()

    return build_one


def check_form(page):
    legends = [legend.get_text() for legend in page.select(".quiz > fieldset.quiz-question > legend")]
    assert legends == ["Is a so?", "Is b so?"]
    names = [{radio["name"] for radio in form.select("[type=radio]")} for form in page.select("fieldset")]
    assert len(names) == 2 and all(len(name) == 1 for name in names) and names[0] != names[1]
    marks = {label.span.get_text(): label["data-mark"] for label in page.fieldset.select("label")}
    assert marks == {"yes": "right", "no": "wrong"}
    reasons = {label.span.get_text(): label.template.get_text() for label in page.fieldset.select("label")}
    assert reasons == {"yes": "✓ Right. It is.", "no": "✗ No. It is."}


def test_a_page_shows_the_questions_of_the_file(build):
    page, said = build("# Title\n\n```{quiz} quiz/01.json\n```\n", "md", json.dumps(QUESTIONS))
    assert said == ""
    check_form(page)


def test_two_quizzes_of_a_page_share_no_group(build):
    directive = "```{quiz} quiz/01.json\n```\n"
    page, _ = build(f"# Title\n\n{directive}\n{directive}", "md", json.dumps(QUESTIONS))
    assert len({radio["name"] for radio in page.select("[type=radio]")}) == 4


def test_a_notebook_shows_the_file_that_its_cell_names_and_no_code(build):
    v4 = nbformat.v4
    cell = v4.new_code_cell('from jupyterquiz import display_quiz\n\ndisplay_quiz("quiz/01.json")')
    cell.outputs = [v4.new_output("display_data", data={"text/html": "<b>drawn by jupyterquiz</b>"})]
    cells = [v4.new_markdown_cell("# Title"), cell, v4.new_code_cell("x = 1")]
    nb = v4.new_notebook(cells=cells, metadata={"language_info": {"name": "python"}})
    page, said = build(nbformat.writes(nb), "ipynb", json.dumps(QUESTIONS))
    assert said == ""
    check_form(page)
    assert "jupyterquiz" not in page.get_text() and "x = 1" in page.get_text()


@pytest.mark.parametrize(
    "quiz, says",
    [
        ("[{", "Expecting property name"),
        (json.dumps([QUESTIONS[0] | {"type": "numeric"}]), "type multiple_choice, got"),
        (json.dumps([QUESTIONS[0] | {"hint": "none"}]), "expected ['answers', 'question', 'type']"),
        (json.dumps([QUESTIONS[0] | {"answers": [{"answer": "yes"}]}]), "got {'answer': 'yes'}"),
    ],
)
def test_a_wrong_file_is_a_warning_that_says_what_is_wrong(build, quiz, says):
    page, said = build("# Title\n\n```{quiz} quiz/01.json\n```\n", "md", quiz)
    assert "index.md:3" in said and "quiz/01.json: " in said and says in said
    assert not page.select(".quiz")


def test_a_missing_file_is_a_warning(build):
    page, said = build("# Title\n\n```{quiz} quiz/02.json\n```\n", "md", "[]")
    assert "quiz/02.json" in said and "No such file" in said
