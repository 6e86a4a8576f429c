"""Every notebook of the book keeps the rules of CONTRIBUTING.md. Nothing is executed."""

import json
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
import yaml
from IPython.display import SVG

ROOT = Path(__file__).resolve().parent.parent
BOOK = ROOT / "book"
sys.path.insert(0, str(ROOT / "tools"))

import chapters  # noqa: E402
import notebooks as tool  # noqa: E402
import reading  # noqa: E402

NOTEBOOKS = tool.find_notebooks(BOOK)
CHAPTERS = [path for path in NOTEBOOKS if re.match(r"\d\d_", path.name)]

IGNORED_TAGS = {"nbval-ignore-output", "nbval-skip"}
IGNORED_COMMENT = re.compile(r"^\s*#+\s*NBVAL_(IGNORE_OUTPUT|SKIP)\s*$", re.MULTILINE)
MACHINE_PATH = re.compile(r"(?<![\w.:/-])/(?:home|Users|root|work|tmp|opt|usr|var)/[\w.]")
FILE_NAME = re.compile(r"\S+\.(png|jpe?g|svg|ipynb|py)|_images/\S*|\S*/\S*", re.IGNORECASE)
SECTIONS = ["Summary", "Quiz", "Exercises", "Where to go next"]


def notebook_id(path: Path) -> str:
    return path.relative_to(BOOK).as_posix()


every_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=notebook_id)
PRIMER = BOOK / "tensors.ipynb"  # what a reader needs before the chapters, and laid out like one
every_chapter = pytest.mark.parametrize("path", [*CHAPTERS, PRIMER], ids=notebook_id)
LESSONS = [p for p in NOTEBOOKS if p in CHAPTERS or p.parent.name == "appendix" or p == PRIMER]
every_lesson = pytest.mark.parametrize("path", LESSONS, ids=notebook_id)


def read(path: Path):
    return nbformat.read(path, as_version=4)


def code_cells(path: Path) -> list:
    """The notebook's code cells that hold code."""
    return [c for c in read(path).cells if c.cell_type == "code" and c.source.strip()]


def text(path: Path) -> str:
    return "\n\n".join(c.source for c in read(path).cells if c.cell_type == "markdown")


def tags(cell) -> set[str]:
    return set(cell.metadata.get("tags", []))


def label(cell) -> str:
    """How a message names a cell."""
    return f"[{cell.execution_count}] {cell.source.strip().splitlines()[0][:60]}"


def is_compared(cell) -> bool:
    """Whether nbval holds some of this cell's output to what is stored."""
    return not (tags(cell) & IGNORED_TAGS or IGNORED_COMMENT.search(cell.source))


def output_texts(cell):
    for output in cell.outputs:
        yield output.get("text", "")
        yield from output.get("traceback", [])
        yield output.get("evalue", "")
        for kind, data in output.get("data", {}).items():
            if kind.startswith("text/") and isinstance(data, str):
                yield data


@every_notebook
def test_cells_were_run_in_order(path):
    counts = [cell.execution_count for cell in code_cells(path)]
    assert counts == list(range(1, len(counts) + 1)), "run make notebooks"


@every_notebook
def test_most_outputs_are_compared(path):
    with_output = [cell for cell in code_cells(path) if cell.outputs]
    compared = [cell for cell in with_output if is_compared(cell)]
    assert len(compared) >= 0.7 * len(with_output), (
        f"{len(compared)} of {len(with_output)} cells with output are compared; not compared: "
        f"{[label(cell) for cell in with_output if not is_compared(cell)]}"
    )


@every_notebook
def test_errors_are_stored_where_they_are_meant(path):
    for cell in code_cells(path):
        stored = any(output.output_type == "error" for output in cell.outputs)
        meant = "raises-exception" in tags(cell)
        assert stored == meant, (
            f"{label(cell)}: tagged raises-exception, but stores no error"
            if meant
            else f"{label(cell)}: stores an error, but is not tagged raises-exception"
        )


@every_notebook
def test_no_cell_is_long(path):
    long = [label(cell) for cell in code_cells(path) if len(cell.source.splitlines()) > 40]
    assert not long


@every_notebook
def test_outputs_name_no_machine(path):
    for cell in code_cells(path):
        for output in output_texts(cell):
            found = MACHINE_PATH.search(output)
            assert not found, f"{label(cell)}: ...{output[found.start() :][:80]}"


@every_notebook
def test_no_output_on_stderr(path):
    noisy = [
        label(cell)
        for cell in code_cells(path)
        if any(o.output_type == "stream" and o.name == "stderr" for o in cell.outputs)
    ]
    assert not noisy


@every_notebook
def test_every_widget_that_is_shown_is_stored(path):
    stored = read(path).metadata.get("widgets", {}).get(tool.WIDGET_STATE, {}).get("state", {})
    for cell in code_cells(path):
        for output in cell.outputs:
            view = output.get("data", {}).get("application/vnd.jupyter.widget-view+json")
            assert view is None or view["model_id"] in stored, f"{label(cell)}: run make notebooks"


@every_notebook
def test_pictures_have_an_alternative_text(path):
    for cell in code_cells(path):
        if any("image/png" in output.get("data", {}) for output in cell.outputs):
            image = cell.metadata.get("mystnb", {}).get("image", {})
            alt = str(image.get("alt", "")).strip()
            assert len(alt) >= 15 and not FILE_NAME.fullmatch(alt), (
                f"{label(cell)}: metadata mystnb.image.alt is {alt!r};"
                " say what the picture shows, in a sentence"
            )


@every_notebook
def test_file_is_normalised(path):
    assert tool.is_normalised(path), "run make normalise (or make notebooks)"


@every_notebook
def test_a_stored_drawing_is_the_one_of_its_file(path):
    for cell in read(path).cells:
        for name in re.findall(r'^SVG\("([^"]+\.svg)"\)', cell.source, re.MULTILINE):
            [stored] = [o.data["image/svg+xml"] for o in cell.outputs if "image/svg+xml" in o.get("data", {})]
            assert stored == SVG(filename=str(path.parent / name)).data, f"{name} has changed: make notebooks"


def admonitions(source: str, kind: str) -> list[str]:
    """The bodies of the admonitions of a class."""
    fence = r"^(?P<fence>[`:]{3,})\{(?:admonition|note|tip)\}[^\n]*\n(?P<body>.*?)^(?P=fence)\s*$"
    found = re.finditer(fence, source, re.MULTILINE | re.DOTALL)
    of_class = re.compile(rf"^:class:.*\b{kind}\b|^class:.*\b{kind}\b", re.MULTILINE)
    return [m["body"] for m in found if of_class.search(m["body"])]


@every_chapter
def test_chapter_states_its_aims_and_minutes(path):
    blocks = admonitions(text(path), "objectives")
    assert len(blocks) == 1, "one admonition with :class: objectives"
    assert re.search(r"^\s*[-*] ", blocks[0], re.MULTILINE), "list what the reader will be able to do"
    assert re.search(r"\d\s+(minutes?|seconds)", blocks[0]), "say how long the chapter runs on a CPU"


@every_lesson
def test_a_chapter_is_read_in_an_hour(path):
    minutes = reading.reading_minutes(read(path), path.parent)
    assert minutes <= reading.LONGEST, f"{minutes:.0f} minutes to read"


def test_what_is_needed_before_the_chapters_is_read_in_twenty_minutes():
    assert reading.reading_minutes(read(PRIMER), BOOK) <= 20


@every_lesson
def test_the_minutes_to_read_are_the_computed_ones(path):
    says = reading.stated(reading.reading_minutes(read(path), path.parent))
    assert reading.STATED.findall(text(path)) == [says], "run make normalise"


@every_notebook
def test_the_minutes_at_the_top_are_the_measured_ones(path):
    name = path.relative_to(BOOK).with_suffix("").as_posix()
    measured = tool.costs().get(name, {})
    assert "cpu" in measured, "run make notebooks"
    assert tool.stated(measured["cpu"]["seconds"]) in text(path)


def test_the_page_of_costs_is_current():
    page = (BOOK / "costs.md").read_text(encoding="utf-8")
    assert tool.with_table(page, tool.costs_table()) == page, "run make notebooks"


@every_chapter
def test_chapter_has_its_closing_sections(path):
    headings = re.findall(r"^## (.+?)\s*$", text(path), re.MULTILINE)
    closing = [heading for heading in headings if heading in SECTIONS]
    assert closing == SECTIONS
    assert headings[-1] == SECTIONS[-1]


@every_chapter
def test_chapter_has_a_quiz(path):
    (cell,) = [cell for cell in code_cells(path) if "display_quiz(" in cell.source]
    assert tags(cell) == {"nbval-ignore-output"} and not cell.outputs, "the page reads the quiz's file"


def exercises(path: Path) -> dict[str, list]:
    """Label of every exercise -> the cells from its own to the next exercise or section."""
    found, current = {}, None
    for cell in read(path).cells:
        label_line = re.search(r"\{exercise(?:-start)?\}.*?^:label: (\S+)", cell.source, re.M | re.S)
        if cell.cell_type == "markdown" and label_line:
            current = found.setdefault(label_line.group(1), [])
        elif cell.cell_type == "markdown" and re.match(r"## ", cell.source):
            current = None
        if current is not None:
            current.append(cell)
    return found


@every_chapter
def test_exercises_have_hidden_solutions(path):
    assert exercises(path), "no exercise"
    directive = re.compile(r"\{solution(?:-start)?\} \S+\n((?:^:.*\n)*)", re.M)
    for name, cells in exercises(path).items():
        options = [o for c in cells if c.cell_type == "markdown" for o in directive.findall(c.source)]
        assert all("dropdown" in o for o in options), f"{name}: its solution is not hidden"
        folded = any(c.cell_type == "code" and reading.fold(c) == "folded" for c in cells)
        assert options or folded, (
            f"{name}: no solution; add a code cell with the tag hide-cell, or a solution directive"
        )


LABEL = re.compile(r"^:(?:label|name): (\S+)|^\((\S+)\)=|^\$\$ *\(([^)\s]+)\)", re.MULTILINE)


def labels(path: Path) -> list[str]:
    """What text may refer to: exercises, sections, equations; and the figures, in the cells' metadata."""
    found = ["".join(groups) for groups in LABEL.findall(text(path))]
    figures = (cell.metadata.get("mystnb", {}).get("figure", {}) for cell in read(path).cells)
    return found + [figure["name"] for figure in figures if "name" in figure]


@every_notebook
def test_labels_begin_with_part_and_number(path):
    number = re.match(r"\d\d", path.stem)
    begin = f"{path.parent.name}-{number[0]}-" if number else f"{path.parent.name}-"
    assert not [label for label in labels(path) if not label.startswith(begin)], f"they begin with {begin}"


# ---- learning aids: chapters, appendix, and the page before them -------------------

DIFFICULTY = re.compile(r"^\*(Easy|Medium|Hard) · \d+ minutes\*$", re.MULTILINE)
HINT = re.compile(r"^[`:]{3,}\{dropdown\} Hint\n(?:\s*:.*\n)*\s*\S", re.MULTILINE)
TERM = re.compile(r"\{term\}`(?:[^`<]*<([^`>]+)>|([^`]+))`")
MARGIN = re.compile(r"^[`:]{3,}\{margin\}", re.MULTILINE)


@every_lesson
def test_exercises_say_how_hard_and_how_long_they_are(path):
    found = exercises(path)
    assert found, "no exercise"
    for name, cells in found.items():
        assert len(DIFFICULTY.findall(cells[0].source)) == 1, f"{name}: no line like *Easy · 5 minutes*"


def is_solution(cell) -> bool:
    if cell.cell_type == "code":
        return reading.fold(cell) == "folded"
    return bool(re.search(r"\{solution(?:-start)?\}", cell.source))


@every_lesson
def test_a_hint_stands_before_each_solution(path):
    for name, cells in exercises(path).items():
        hints = [i for i, c in enumerate(cells) if c.cell_type == "markdown" and HINT.search(c.source)]
        solutions = [i for i, c in enumerate(cells) if is_solution(c)]
        assert hints and solutions and hints[0] < solutions[0], (
            f"{name}: put :::{{dropdown}} Hint before the solution"
        )


@every_lesson
def test_solutions_are_marked_correct(path):
    for name, cells in exercises(path).items():
        shown = [o for c in cells if is_solution(c) and c.cell_type == "code" for o in output_texts(c)]
        marks = re.findall(r"^exercise \S+: (.*)$", "\n".join(shown), re.MULTILINE)
        assert marks and all(mark.startswith("correct") for mark in marks), f"{name}: {marks}"


def quizzes(path: Path) -> list[Path]:
    calls = (re.findall(r'display_quiz\("([^"]+)"', cell.source) for cell in code_cells(path))
    return [path.parent / name for names in calls for name in names]


@every_lesson
def test_a_quiz_has_four_questions_and_explains_every_answer(path):
    assert quizzes(path), "no quiz in a file of its own"
    for quiz in quizzes(path):
        questions = json.loads(quiz.read_text(encoding="utf-8"))
        assert len(questions) >= 4
        for question in questions:
            answers = question["answers"]
            right = [answer for answer in answers if answer.get("correct")]
            assert right and len(right) < len(answers), f"{question['question']}: right and wrong answers"
            silent = [a.get("answer") for a in answers if len(a.get("feedback", "").strip()) < 10]
            assert not silent, f"{question['question']}: no feedback for {silent}"
            assert len({a["feedback"] for a in answers}) == len(answers), "one feedback for two answers"


def glossary() -> set[str]:
    """The terms of the glossary, in lower case."""
    page = (BOOK / "glossary.md").read_text(encoding="utf-8")
    body = re.search(r"```\{glossary\}\n(.*?)```", page, re.DOTALL)[1]
    return {line.lower() for line in body.splitlines() if line and not line.startswith(" ")}


def terms(source: str) -> list[str]:
    """The glossary's entries that a text points to, in order."""
    return [(entry or shown).strip().lower() for entry, shown in TERM.findall(source)]


@every_lesson
def test_terms_link_to_the_glossary(path):
    used, known = terms(text(path)), glossary()
    assert not set(used) - known, "not in the glossary"
    assert len(set(used)) >= 5, f"only {sorted(set(used))}"
    assert all(a != b for a, b in zip(used, used[1:], strict=False)), "a term twice in a row"
    assert not re.search(r"^#.*\{term\}", text(path), re.MULTILINE), "a term in a heading"


def test_the_glossary_is_sorted():
    page = (BOOK / "glossary.md").read_text(encoding="utf-8")
    entries = re.findall(r"(?:^|\n\n)(\S[^\n]*)(?=\n)", page.split("```{glossary}\n")[1])
    assert len(entries) > 50
    assert entries == sorted(entries, key=str.lower)


@every_lesson
def test_there_are_margin_notes(path):
    assert 2 <= len(MARGIN.findall(text(path))) <= 6


# ---- the map -----------------------------------------------------------------------


def test_every_chapter_is_a_stop_of_the_map():
    page = (BOOK / "map.md").read_text(encoding="utf-8")
    for path in CHAPTERS:
        name = path.relative_to(BOOK).with_suffix("").as_posix()
        assert page.count(f'href="{name}.html"') == 2, f"{name}: add a Stop to PARTS in tools/roadmap.py"
        assert f"]({name}.ipynb)" in page
    links = re.findall(r'href="([^"]+)\.html"', page)
    assert all((BOOK / f"{link}.ipynb").is_file() for link in links)


# ---- numbers of chapters ---------------------------------------------------------------

NUMBERED = chapters.chapters()
TWO_PARTS = {
    "wavenet/05_x": chapters.Chapter("wavenet/05_x", "part one", 5),
    "rnn/04_y": chapters.Chapter("rnn/04_y", "part two", 4),
}


def prose(path: Path) -> str:
    """What links can stand in: a page's Markdown, a notebook's, and its captions. Not code, nor what code
    prints or draws with the text that says what is drawn, nor docstrings, which stay plain."""
    if path.suffix == ".md":
        return path.read_text(encoding="utf-8")
    figures = (cell.metadata.get("mystnb", {}).get("figure", {}) for cell in read(path).cells)
    return "\n\n".join([text(path), *(figure.get("caption", "") for figure in figures)])


@pytest.mark.parametrize("path", [*NOTEBOOKS, *tool.find_pages()], ids=notebook_id)
def test_no_number_of_a_chapter_is_typed(path):
    assert not chapters.typed(prose(path)), "link to the chapter: tools/chapters.py"


def test_no_quiz_holds_backticks():
    """Questions and answers are HTML, on the page and in jupyterquiz: code stands in <code>."""
    files = [BOOK / "quiz" / "tensors.json", *(quiz for path in LESSONS for quiz in quizzes(path))]
    assert [path.name for path in files if "`" in path.read_text(encoding="utf-8")] == []


def test_no_quiz_types_the_number_of_a_chapter():
    quiz_files = [quiz for path in LESSONS for quiz in quizzes(path)]
    assert not [path for path in quiz_files if chapters.typed(path.read_text(encoding="utf-8"))]


@pytest.mark.parametrize("path", tool.find_pages(), ids=notebook_id)
def test_pages_link_to_chapters_by_todays_numbers(path):
    assert tool.normalised_page(path) == path.read_text(encoding="utf-8"), "run make normalise"


def test_a_chapters_number_is_the_one_of_its_file():
    for page, chapter in NUMBERED.items():
        assert f"{chapter.number:02d}_" == Path(page).name[:3]
    assert {page.parent.name for page in CHAPTERS} == {Path(page).parent.name for page in NUMBERED}


@pytest.mark.parametrize(
    "page, before, after",
    [
        ("wavenet/06_z", "[chapter 3](05_x.ipynb)", "[chapter 5](05_x.ipynb)"),
        ("wavenet/06_z", "[Part one, chapter 3](05_x.ipynb#a)", "[Chapter 5](05_x.ipynb#a)"),
        ("wavenet/06_z", "[chapters 1](../rnn/04_y.ipynb)", "[part two, chapters 4](../rnn/04_y.ipynb)"),
        ("map", "[Chapter 1](wavenet/05_x.ipynb)", "[Part one, chapter 5](wavenet/05_x.ipynb)"),
        ("map", "to [1](rnn/04_y.ipynb)", "to [4](rnn/04_y.ipynb)"),
        ("map", "[The bug](wavenet/05_x.ipynb)", "[The bug](wavenet/05_x.ipynb)"),
        ("map", "[1](costs.ipynb)", "[1](costs.ipynb)"),
        ("map", "`[1](rnn/04_y.ipynb)`", "`[1](rnn/04_y.ipynb)`"),
    ],
)  # fmt: skip
def test_a_link_shows_todays_number(page, before, after):
    assert chapters.linked(before, page, TWO_PARTS) == after


def test_typed_numbers_are_found():
    source = "See Chapter 5.\n```python\n# chapter 1\n```\n:::{note}\nof chapters two\n:::\n`chapter 3` "
    source += "x [chapter 4](a.ipynb)"
    assert [found.split()[-1] for found in chapters.typed(source)] == ["5", "two"]


# ---- the table of contents ---------------------------------------------------------


def toc_files() -> list[str]:
    toc = yaml.safe_load((BOOK / "_toc.yml").read_text(encoding="utf-8"))

    def files(node):
        if isinstance(node, dict):
            yield from (node[key] for key in ("root", "file") if key in node)
            for value in node.values():
                yield from files(value)
        elif isinstance(node, list):
            for item in node:
                yield from files(item)

    return list(files(toc))


@pytest.mark.parametrize("name", toc_files())
def test_toc_entry_exists(name):
    assert any((BOOK / f"{name}{suffix}").is_file() for suffix in (".md", ".ipynb", ""))


@every_notebook
def test_notebook_stands_in_the_toc(path):
    assert path.relative_to(BOOK).with_suffix("").as_posix() in toc_files()


def test_toc_names_nothing_twice():
    assert len(toc_files()) == len(set(toc_files()))


# ---- the tools that the rules rest on --------------------------------------------------


def small_notebook():
    v4 = nbformat.v4
    stream = {"output_type": "stream", "name": "stdout"}
    cells = [
        v4.new_markdown_cell("# Title", id="title"),
        v4.new_code_cell("print(1)\nprint(2)", execution_count=1, id="0123abcd"),
        v4.new_code_cell("1 / 0", execution_count=2, id="0123abcd-0000-0000-0000-000000000000"),
    ]
    cells[1].outputs = [
        nbformat.from_dict({**stream, "text": "1\n"}),
        nbformat.from_dict({**stream, "text": "2\n"}),
    ]
    trace = ["File \x1b[32m~/x/.venv/lib/python3.11/site-packages/torch/nn.py:3\x1b[39m, in f"]
    error = {"output_type": "error", "ename": "E", "evalue": "", "traceback": trace}
    cells[2].outputs = [nbformat.from_dict(error)]
    cells[2].metadata["execution"] = {"iopub.execute_input": "2026-11-22"}
    return v4.new_notebook(cells=cells, metadata={"language_info": {"name": "python", "version": "3.11.7"}})


def test_normalising_takes_out_chance():
    nb = nbformat.reads(tool.normalised_text(small_notebook()), as_version=4)
    assert [cell.id for cell in nb.cells] == ["title", "cell-001", "cell-002"]
    assert [output.text for output in nb.cells[1].outputs] == ["1\n2\n"]
    assert nb.cells[2].outputs[0].traceback == ["File \x1b[32msite-packages/torch/nn.py:3\x1b[39m, in f"]
    assert "execution" not in nb.cells[2].metadata
    assert nb.metadata == {
        "kernelspec": tool.KERNELSPEC,
        "language_info": {"name": "python"},
    }


def test_normalising_twice_changes_nothing():
    once = tool.normalised_text(small_notebook())
    assert tool.normalised_text(nbformat.reads(once, as_version=4)) == once


def test_normalising_renames_widgets_by_their_order():
    def notebook(first, second):
        cell = nbformat.v4.new_code_cell("x", execution_count=1)
        cell.outputs = [nbformat.v4.new_output("display_data", data={"text/plain": f"IPY_MODEL_{first}"})]
        state = {first: {"state": {"children": [f"IPY_MODEL_{second}"]}}, second: {"state": {}}}
        widgets = {tool.WIDGET_STATE: {"version_major": 2, "version_minor": 0, "state": state}}
        return nbformat.v4.new_notebook(cells=[cell], metadata={"widgets": widgets})

    texts = {
        tool.normalised_text(notebook("f" * 32, "a" * 32)),
        tool.normalised_text(notebook("0" * 32, "b" * 32)),
    }
    assert len(texts) == 1


def test_normalising_stores_nothing_of_a_quiz():
    cell = nbformat.v4.new_code_cell('display_quiz("quiz/01.json")', execution_count=1)
    cell.outputs = [nbformat.v4.new_output("display_data", data={"text/html": "<div></div>"})]
    nb = nbformat.v4.new_notebook(cells=[cell])
    tool.normalised_text(nb)
    assert not nb.cells[0].outputs


def elsewhere_cell(path: Path) -> str:
    """The source of the cell that fetches the book where it is missing."""
    (cell,) = [cell for cell in code_cells(path) if cell.id == tool.ELSEWHERE]
    assert tags(cell) == {"remove-cell"} and not cell.outputs and cell.execution_count == 1
    assert read(path).cells[1].id == tool.ELSEWHERE
    return cell.source


@every_notebook
def test_notebook_can_fetch_what_it_needs(path):
    assert elsewhere_cell(path) == tool.elsewhere_source(path), "run make normalise"


@every_notebook
def test_notebook_fetches_the_book_once(path):
    first = tool.ELSEWHERE_SOURCE.splitlines()[0]
    assert sum(first in cell.source for cell in read(path).cells) == 1, "run make normalise"


def test_first_cell_moves_the_numbers_of_the_others(tmp_path, monkeypatch):
    monkeypatch.setattr(tool, "ROOT", tmp_path)
    monkeypatch.setattr(tool, "BOOK", tmp_path / "book")
    monkeypatch.setattr(tool, "addresses", lambda: {"repository": "https://example.org/x", "branch": "b"})
    path = tmp_path / "book" / "wavenet" / "nb.ipynb"
    nb = small_notebook()
    nb.cells[2].outputs[0].traceback = ["Cell \x1b[32mIn[2]\x1b[39m, line 1"]
    tool.put_elsewhere_cell(nb, path)
    tool.put_elsewhere_cell(nb, path)
    assert [c.execution_count for c in nb.cells if c.cell_type == "code"] == [1, 2, 3]
    assert nb.cells[3].outputs[0].traceback == ["Cell \x1b[32mIn[3]\x1b[39m, line 1"]
    assert 'address = "https://example.org/x"' in nb.cells[1].source
    assert 'os.chdir("book/book/wavenet")' in nb.cells[1].source


@pytest.mark.parametrize("kept", ["the one with the id", "the one without"])
def test_an_older_copy_of_the_first_cell_goes(kept, tmp_path, monkeypatch):
    monkeypatch.setattr(tool, "ROOT", tmp_path)
    monkeypatch.setattr(tool, "BOOK", tmp_path / "book")
    monkeypatch.setattr(tool, "addresses", lambda: {"repository": "https://example.org/x", "branch": "b"})
    path = tmp_path / "book" / "nb.ipynb"
    nb = small_notebook()
    nb.cells[2].outputs[0].traceback = ["Cell \x1b[32mIn[2]\x1b[39m, line 1"]
    tool.put_elsewhere_cell(nb, path)
    once = tool.normalised_text(nb)
    source = tool.ELSEWHERE_SOURCE.splitlines()[0] + "\nprint('as it was a year ago')"
    old = nbformat.v4.new_code_cell(source, id="cell-002", execution_count=2)
    tool.count_on(nb.cells[2:])
    nb.cells.insert(2, old)
    nb.cells[3].source += "\n# " + tool.ELSEWHERE_SOURCE.splitlines()[0]  # quoted, not a copy
    if kept == "the one without":
        del nb.cells[1]
        tool.count_on(nb.cells, -1)
    tool.put_elsewhere_cell(nb, path)
    assert [c.execution_count for c in nb.cells if c.cell_type == "code"] == [1, 2, 3]
    nb.cells[2].source = nb.cells[2].source.splitlines()[0] + "\nprint(2)"
    assert tool.normalised_text(nb) == once


def run_elsewhere(tmp_path, repository: str, branch: str = "main", path: Path | None = None):
    """Run the cell in an empty folder, by a Python that does not see the book, with pip replaced.

    path: a folder from which that Python may import.
    """
    source = tool.ELSEWHERE_SOURCE.format(repository=repository, branch=branch, folder="book/wavenet")
    stub = "import subprocess\nrun = subprocess.run\n"
    stub += "subprocess.run = lambda c, **k: print(c[-4:]) if 'pip' in c else run(c, **k)\n"
    stub = f"import sys; sys.path.insert(0, {str(path)!r})\n{stub}" if path else stub
    show = "\nimport os; print(os.getcwd()); import common; print(common.__file__)"
    command = [sys.executable, "-S", "-I", "-c", stub + source + show]
    return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)


def test_first_cell_says_so_where_the_book_cannot_be_fetched(tmp_path):
    done = run_elsewhere(tmp_path, "")
    assert done.returncode and "has no address to fetch it from" in done.stderr


@pytest.mark.parametrize("kind", ["package", "folder", "module"])
def test_first_cell_says_so_where_another_package_has_the_name(kind, tmp_path):
    place = tmp_path / ("common.py" if kind == "module" else "common")
    if kind != "module":
        place.mkdir()
    if kind != "folder":
        (place if kind == "module" else place / "__init__.py").write_text("raise SystemExit('it ran')")
    done = run_elsewhere(tmp_path, "https://example.org/x", path=tmp_path)
    *_, last = done.stderr.strip().splitlines()
    assert done.returncode == 1 and "it ran" not in done.stderr
    assert last.startswith("RuntimeError: The package `common` that Python finds here is not this book's: ")
    assert str(place) in last and "make lab" in last and "pip uninstall common" in last


def test_first_cell_does_nothing_where_the_book_is_installed(tmp_path):
    done = run_elsewhere(tmp_path, "", path=ROOT / "src")
    folder, package = done.stdout.splitlines()
    assert Path(folder) == tmp_path and Path(package) == ROOT / "src" / "common" / "__init__.py"


def test_first_cell_fetches_the_book(tmp_path):
    origin, work = tmp_path / "origin", tmp_path / "work"
    (origin / "src" / "common").mkdir(parents=True)
    (origin / "book" / "wavenet").mkdir(parents=True)
    (origin / "src" / "common" / "__init__.py").touch()
    (origin / "book" / "wavenet" / "nb.ipynb").touch()
    git = ["git", "-C", str(origin), "-c", "user.name=x", "-c", "user.email=x@example.org"]
    for command in (["init", "-q", "-b", "main"], ["add", "."], ["commit", "-qm", "x"]):
        subprocess.run([*git, *command], check=True)
    work.mkdir()
    done = run_elsewhere(work, origin.as_uri())
    assert done.returncode == 0, done.stderr
    installed, folder, package = done.stdout.splitlines()
    assert installed == "['install', '--quiet', '--editable=book', 'jupyterquiz']"
    assert Path(folder) == work / "book" / "book" / "wavenet"
    assert Path(package) == work / "book" / "src" / "common" / "__init__.py"


def test_failed_write_leaves_the_file(tmp_path, monkeypatch):
    path = tmp_path / "nb.ipynb"
    path.write_text("old")

    def refuse(*args):
        raise OSError("disk full")

    monkeypatch.setattr(tool.os, "replace", refuse)
    with pytest.raises(OSError, match="disk full"):
        tool.write(path, "new")
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["nb.ipynb"]


@pytest.mark.parametrize(
    "seconds, words",
    [
        (20, "under a minute"),
        (50, "about one minute"),
        (155, "about three minutes"),
        (900, "about 15 minutes"),
    ],
)
def test_costs_are_stated_in_words(seconds, words):
    assert tool.stated(seconds) == f"The cells run in {words} on two CPU cores"
    assert tool.STATED.fullmatch(tool.stated(seconds))


def test_what_a_notebook_took_is_written_at_its_top(tmp_path):
    v4 = nbformat.v4
    top = v4.new_markdown_cell("# Title\n\nThe cells run in about nine minutes on two CPU cores.")
    path = tmp_path / "nb.ipynb"
    nbformat.write(v4.new_notebook(cells=[top, v4.new_code_cell("1 + 1")]), path)
    tool.state_minutes(path, 20.0)
    assert "The cells run in under a minute on two CPU cores." in read(path).cells[0].source


def test_failing_cell_leaves_the_notebook(tmp_path):
    v4 = nbformat.v4
    cells = [v4.new_markdown_cell("text"), v4.new_code_cell("x = 0"), v4.new_code_cell("1 / x")]
    path = tmp_path / "nb.ipynb"
    nbformat.write(v4.new_notebook(cells=cells), path)
    before = path.read_text()
    with pytest.raises(tool.CellFailed, match=r"code cell 2 of 2 \('1 / x'\)"):
        tool.execute(path)
    assert path.read_text() == before


def test_normalising_brings_todays_front_ends():
    from common.pages import widgets

    def notebook(source):
        state = {"_anywidget_id": "common.pages.widgets.Tree", "_esm": source, "_css": source, "text": "emma"}
        stored = {"state": {"1" * 32: {"state": state}}, "version_major": 2, "version_minor": 0}
        return nbformat.v4.new_notebook(metadata={"widgets": {tool.WIDGET_STATE: stored}})

    [model] = json.loads(tool.normalised_text(notebook("old")))["metadata"]["widgets"][tool.WIDGET_STATE][
        "state"
    ].values()
    assert model["state"]["_esm"] == widgets.Tree._esm
    assert model["state"]["_css"] == widgets.Tree._css
    assert model["state"]["text"] == "emma"


# ---- checks ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "source, measured, only",
    [
        ('expect("loss", loss, 2.1, 0.01)', False, True),
        ('expect("loss", loss, 2.1, 0.01)\nexpect_true("falls", a > b)', False, True),
        ('ratio = a / b\nexpect("ratio", ratio, 2, 0.1)', True, True),
        ('ratio = a / b\nexpect("ratio", ratio, 2, 0.1)', False, False),
        ('print(loss)\nexpect("loss", loss, 2.1, 0.01)', True, False),
        ("ratio = a / b", True, False),
        ("", True, False),
        ("%time expect(1)", True, False),
    ],
)
def test_a_cell_of_nothing_but_checks_is_found(source, measured, only):
    assert tool.holds_only_checks(source, measured) is only


def test_lines_that_were_printed_become_the_mark_of_today():
    stream = nbformat.v4.new_output("stream", name="stdout", text="a\nheld: x\nb\nheld: y\n")
    alone = nbformat.v4.new_output("stream", name="stdout", text="held: x\nheld: y\n")
    text, mark = tool.gather_checks([stream])
    assert text.text == "a\nb\n" and mark.data["text/plain"] == "held: x\nheld: y"
    assert tool.gather_checks([alone]) == [mark]
    assert tool.gather_checks([text, mark]) == [text, mark]


@pytest.mark.parametrize(
    ("given", "source", "output"),
    [
        ([], False, False),
        (["hide-input"], True, False),
        (["remove-input", "nbval-ignore-output"], True, False),
        (["check"], True, False),
        (["hide-cell"], True, True),
        (["hide-output"], False, True),
        (["remove-cell"], True, False),  # an error of the cell that fetches the book is seen
    ],
)
def test_jupyterlab_folds_what_the_page_folds(given, source, output):
    stale = {"source_hidden": True, "outputs_hidden": True, "of_another": 1}
    cell = nbformat.v4.new_code_cell("x", metadata={"tags": given, "jupyter": stale})
    tool.normalise_folds(nbformat.v4.new_notebook(cells=[cell]))
    wanted = {"source_hidden": source, "outputs_hidden": output}
    assert cell.metadata["jupyter"] == {"of_another": 1} | {name: True for name in wanted if wanted[name]}


def test_a_cell_that_is_open_has_no_mark_for_jupyterlab():
    cell = nbformat.v4.new_code_cell("x")
    tool.normalise_folds(nbformat.v4.new_notebook(cells=[cell]))
    assert "jupyter" not in cell.metadata


@every_notebook
def test_checks_are_folded_in_jupyterlab_too(path):
    for cell in code_cells(path):
        if "check" in tags(cell):
            assert cell.metadata["jupyter"]["source_hidden"] is True, label(cell)
            assert all("text/html" in output.get("data", {}) for output in cell.outputs), label(cell)
