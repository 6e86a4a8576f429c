"""Chapter 5 in JupyterLab, as `make lab` starts it: opened in a real browser, run, and looked at."""

import contextlib
import importlib.util
import json
import os
import re
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import lab as starter
import nbformat
import notebooks
import pytest
import reading

ROOT = Path(__file__).resolve().parents[2]
PAGE = "wavenet/05_batchnorm_fix"
SOURCE = ROOT / "book" / f"{PAGE}.ipynb"
NOTEBOOKS = [path.relative_to(starter.BOOK).with_suffix("").as_posix() for path in notebooks.find_notebooks()]

pytestmark = [
    pytest.mark.xdist_group("lab"),  # one server for all
    pytest.mark.skipif(
        not all(map(importlib.util.find_spec, ("jupyterlab", "jupyterlab_myst"))),
        reason="JupyterLab is not installed (the extra lab)",
    ),
]


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """Where JupyterLab runs, with settings of its own: nobody's are read, and it saves nothing by itself."""
    folder = tmp_path_factory.mktemp("lab")
    settings = folder / "settings" / "@jupyterlab" / "docmanager-extension"
    settings.mkdir(parents=True)
    (settings / "plugin.jupyterlab-settings").write_text(json.dumps({"autosave": False}))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = os.environ | {
        "JUPYTERLAB_SETTINGS_DIR": str(folder / "settings"),
        "JUPYTERLAB_WORKSPACES_DIR": str(folder / "workspaces"),
        "JUPYTER_CONFIG_DIR": str(folder / "config"),
        "JUPYTER_DATA_DIR": str(folder / "data"),
        "JUPYTER_RUNTIME_DIR": str(folder / "runtime"),
        "OMP_NUM_THREADS": "1",
    }
    options = [f"--ServerApp.port={port}", "--ServerApp.port_retries=0", "--IdentityProvider.token="]
    options += ["--no-browser", "--allow-root", "--LabApp.expose_app_in_browser=True"]
    command = [sys.executable, str(ROOT / "tools" / "lab.py"), *options]
    with (folder / "log").open("w") as log:
        server = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=subprocess.STDOUT)
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(300):
            try:
                urllib.request.urlopen(f"{url}/api", timeout=5).close()
                break
            except OSError:
                assert server.poll() is None, (folder / "log").read_text()
                time.sleep(0.2)
        else:
            pytest.fail(f"JupyterLab did not start: {(folder / 'log').read_text()}")
        yield url
    finally:
        server.terminate()  # it ends its kernels
        server.wait(30)


# The notebook is drawn in a window so tall that JupyterLab draws all of it. It is drawn when every cell
# of Markdown is, with the words for its references.
DRAWN = """() => {
  const panel = window.jupyterapp?.shell.currentWidget;
  const cells = panel?.content?.widgets ?? [];
  return cells.length > 1 && panel.sessionContext.session?.kernel?.status === "idle"
    && cells.every((cell) => cell.model.type !== "markdown"
      || cell.node.querySelector(".jp-MarkdownOutput, .myst") && cell.node.innerText.trim());
}"""
RUN = """async (wanted) => {
  const panel = window.jupyterapp.shell.currentWidget;
  for (const cell of panel.content.widgets.filter((cell) => wanted.includes(cell.model.id))) {
    panel.content.activeCellIndex = panel.content.widgets.indexOf(cell);
    await window.jupyterapp.commands.execute("notebook:run-cell");
  }
}"""
CELLS = """() => window.jupyterapp.shell.currentWidget.content.widgets.map((cell) => ({
  id: cell.model.id,
  type: cell.model.type,
  source_hidden: Boolean(cell.inputHidden),
  outputs_hidden: Boolean(cell.outputHidden),
  count: cell.model.sharedModel.execution_count,
  errors: (cell.model.sharedModel.outputs ?? []).filter((output) => output.output_type === "error")
    .map((output) => `${output.ename}: ${output.evalue}`),
}))"""
DIRTY = "() => window.jupyterapp.shell.currentWidget.context.model.dirty"
# Margin notes that are cut, or on whose place something else lies.
COVERED = """() => [...document.querySelectorAll(".jp-Notebook .myst-aside")].filter((note) => {
  const box = note.getBoundingClientRect();
  const middle = box.left + box.width / 2;
  const places = [4, box.height / 2, box.height - 4].map((down) => [middle, box.top + down]);
  return box.height < 30 || note.scrollHeight > note.clientHeight + 1
    || note.parentElement.closest(".jp-Cell").getBoundingClientRect().bottom < box.bottom
    || places.some(([x, y]) => document.elementFromPoint(x, y)?.closest(".myst-aside") !== note);
}).map((note) => note.innerText)"""


@pytest.fixture(scope="module")
def stored():
    return notebooks.read(SOURCE)


@contextlib.contextmanager
def in_lab(browser, address, name, height=14_000):
    """A page on which JupyterLab has opened and drawn a notebook of the book."""
    context = browser.new_context(viewport={"width": 1400, "height": height})
    context.set_default_timeout(60_000)
    page = context.new_page()
    page.errors = []
    page.on("pageerror", lambda error: page.errors.append(str(error)))
    page.goto(f"{address}/lab/tree/{name}.ipynb?reset")
    page.wait_for_function(DRAWN)
    page.wait_for_timeout(1500)  # what comes late would mark the notebook as changed
    try:
        yield page
    finally:
        context.close()


@pytest.fixture(scope="module")
def opened(browser, address):
    """Chapter 5, opened; the tests below look at it in turn, and the last ones run it."""
    with in_lab(browser, address, PAGE) as page:
        page.wait_for_selector(".book-caption")
        yield page


def shot(page, name: str) -> None:
    """A picture for those who look: WAVENET_SHOTS names the folder."""
    if folder := os.environ.get("WAVENET_SHOTS"):
        page.screenshot(path=Path(folder) / f"lab-{name}.png")


def count(stored, pattern: str) -> int:
    return sum(len(re.findall(pattern, c.source)) for c in stored.cells if c.cell_type == "markdown")


def test_a_notebook_is_not_changed_by_being_opened(opened):
    assert not opened.evaluate(DIRTY)
    assert not opened.errors


def test_margin_notes_do_not_lie_on_text(opened, stored):
    shot(opened, "light")
    assert opened.locator(".jp-Notebook .myst-aside").count() == count(stored, r":::\{margin\}") > 0
    assert opened.evaluate(COVERED) == []


def test_references_are_words(opened, stored):
    assert opened.locator('.jp-Notebook [title$="Not Found"]').count() == 0
    said = opened.locator(".jp-Notebook .book-reference").all_inner_texts()
    assert len(said) == count(stored, r"\{(?:cite|numref)\}`") > 0
    assert {"(Harris et al., 2020)", "(Student, 1908)", "Fig. 5.2"} <= set(said)
    text = opened.locator(".jp-Notebook").inner_text()
    assert ".ipynb" not in text and "In Scaling up we scale it up" in text


def test_an_exercise_has_its_number(opened, stored):
    said = opened.locator(".jp-Notebook .myst-exercise-title").all_inner_texts()
    titles = re.findall(r"\{exercise\} (.+)", "\n".join(cell.source for cell in stored.cells))
    assert said == [f"Exercise 5.{number} ({title})" for number, title in enumerate(titles, start=1)]
    assert len(said) >= 3


def test_a_term_says_on_hover_what_it_means(opened, stored):
    terms = opened.locator(".jp-Notebook .book-term")
    meanings = terms.evaluate_all("terms => terms.map((term) => term.title)")
    assert len(meanings) == count(stored, r"\{term\}") > 10 and all(meanings)
    assert terms.first.inner_text() == "BatchNorm"
    assert meanings[0].startswith("Batch normalisation: in training, every channel")
    assert terms.first.evaluate("term => getComputedStyle(term).textDecorationStyle") == "dotted"
    terms.first.hover()
    opened.wait_for_timeout(600)
    card = "[...document.querySelectorAll('.hover-card-content')].map((card) => card.innerText)"
    assert opened.evaluate(card) == [], "the card that knows nothing of the glossary"


def test_one_text_is_not_shown_for_two_terms(monkeypatch):
    assert starter.glossary()["minibatch"] == starter.glossary()["batch"].replace("`", "")
    assert all(word["title"] for word in starter.term_words().values())
    entries = starter.glossary() | {"layer": "Another one."}
    cells = [nbformat.v4.new_markdown_cell("{term}`it <layer>` and {term}`it <batch>`")]
    monkeypatch.setattr(starter, "glossary", lambda: entries)
    monkeypatch.setattr(notebooks, "read", lambda path: nbformat.v4.new_notebook(cells=cells))
    with pytest.raises(ValueError, match="expected one term behind 'it' in all notebooks, got two"):
        starter.term_words()


def test_a_figure_has_its_number_and_caption(opened, stored):
    captions = opened.locator(".jp-Notebook .book-caption").all_inner_texts()
    figures = [c.metadata.get("mystnb", {}).get("figure") for c in stored.cells]
    wanted = [re.sub("<!--.*?-->", "", figure.caption) for figure in figures if figure]
    assert captions == [f"Fig. 5.{number} {text}" for number, text in enumerate(wanted, start=1)]
    assert opened.locator(".jp-Notebook .jp-RenderedSVG :is(img, svg)").count() >= len(wanted)


def test_marks_around_figures_are_not_seen(opened):
    text = opened.locator(".jp-Notebook").inner_text()
    assert "<!--" not in text and "-->" not in text
    assert "all pairs together, by 1.75" in text


def test_what_the_page_folds_is_folded(opened, stored):
    for cell, shown in zip(stored.cells, opened.evaluate(CELLS), strict=True):
        if cell.cell_type == "code":
            wanted = (reading.fold(cell) != "open", reading.folds_output(cell))
            assert (shown["source_hidden"], shown["outputs_hidden"]) == wanted, cell.id


def test_the_mark_of_checks_stays_where_a_notebook_is_not_trusted(opened):
    mark = opened.locator(".jp-Notebook .jp-OutputArea details.checks").first
    assert re.fullmatch(r"✓ \d+ checks?", mark.inner_text())
    opened.evaluate(
        "() => { for (const cell of window.jupyterapp.shell.currentWidget.content.widgets)"
        " if (cell.model.type === 'code') cell.model.trusted = false; }"
    )
    opened.wait_for_timeout(500)
    marks = opened.get_by_text(re.compile(r"^✓ \d+ checks?$"))
    assert marks.count() > 5
    marks.first.click()
    assert "the text says “three” (layers), exactly" in opened.locator(".jp-Notebook").inner_text()


def test_all_but_the_training_runs(opened, stored):
    code = [cell for cell in stored.cells if cell.cell_type == "code"]
    tags = [set(cell.metadata.get("tags", [])) for cell in code]
    # The training takes minutes, and the check after it looks at what it measured.
    left = [
        "nbval-ignore-output" in own or "check" in own and "nbval-ignore-output" in before
        for own, before in zip(tags, [set(), *tags], strict=False)
    ]
    wanted = [cell.id for cell, without in zip(code, left, strict=True) if not without]
    assert len(wanted) > len(code) - 4
    opened.evaluate(RUN, wanted)
    opened.wait_for_timeout(1000)
    shot(opened, "run")
    cells = opened.evaluate(CELLS)
    assert {cell["id"]: cell["errors"] for cell in cells if cell["errors"]} == {}
    ran = [cell["count"] for cell in cells if cell["id"] in wanted]
    assert ran == list(range(1, len(wanted) + 1))  # in a new kernel, one after the other
    assert opened.evaluate(COVERED) == []
    assert not opened.errors


def test_in_the_dark(opened):
    opened.evaluate("window.jupyterapp.commands.execute('apputils:change-theme', {theme: 'JupyterLab Dark'})")
    opened.wait_for_selector('[data-jp-theme-light="false"]', state="attached")
    opened.wait_for_timeout(1000)
    shot(opened, "dark")
    light = "(line) => getComputedStyle(line).color.match(/[0-9.]+/g).slice(0, 3).every((part) => part > 160)"
    for kind in (".book-caption", ".myst-aside", ".book-reference", ".book-term"):
        assert opened.locator(f".jp-Notebook {kind}").first.evaluate(light), kind


@pytest.mark.skipif("BOOK_LAB" not in os.environ, reason="takes minutes: BOOK_LAB=open, or BOOK_LAB=run")
@pytest.mark.parametrize("name", NOTEBOOKS)
def test_every_notebook_reads_in_lab_and_runs(browser, address, name):
    stored = notebooks.read(starter.BOOK / f"{name}.ipynb")
    with in_lab(browser, address, name, height=40_000) as page:
        assert not page.evaluate(DIRTY)
        assert page.locator(".jp-Notebook .myst-aside").count() == count(stored, r":::\{margin\}")
        assert page.evaluate(COVERED) == []
        assert page.locator('.jp-Notebook [title$="Not Found"]').all_inner_texts() == []
        said = page.locator(".jp-Notebook .book-reference").all_inner_texts()
        assert len(said) >= count(stored, r"\{(?:cite|numref)[:a-z]*\}`")
        text = page.locator(".jp-Notebook").inner_text()
        assert "<!--" not in text and ".ipynb)" not in text
        if os.environ["BOOK_LAB"] == "run":
            page.set_default_timeout(600_000)
            page.evaluate("window.jupyterapp.commands.execute('notebook:run-all-cells')")
            page.wait_for_timeout(2000)
            may = {cell.id for cell in stored.cells if "raises-exception" in cell.metadata.get("tags", [])}
            cells = page.evaluate(CELLS)
            assert {c["id"]: c["errors"] for c in cells if c["errors"] and c["id"] not in may} == {}
            assert all(cell["count"] for cell in cells if cell["type"] == "code")
            assert page.evaluate(COVERED) == []
        assert not page.errors


def test_the_words_are_those_of_the_page(html):
    """Numbers of figures and labels of citations, as Sphinx wrote them."""
    figures, cited, exercises = starter.figure_words(), starter.citation_words(), starter.exercise_words()
    for path in [html / f"{name}.html" for name in NOTEBOOKS]:
        text = path.read_text(encoding="utf-8")
        figure = r'<figure[^>]* id="([^"]+)">.*?caption-number">([^<]+)<'
        for name, number in re.findall(figure, text, re.DOTALL):
            assert figures[name]["text"] == number.strip(), (path.name, name)
        exercise = r'<div class="exercise[^"]*" id="([^"]+)">.*?Exercise ([\d.]+)'
        for name, number in re.findall(exercise, text, re.DOTALL):
            assert exercises.pop(name)["text"] == f"Exercise {number}", path.name
    assert not exercises
    page = re.sub(r"<[^>]+>", "", (html / f"{PAGE}.html").read_text(encoding="utf-8"))
    for key in ("harris2020array", "ioffe2015batch", "student1908probable"):
        assert f"[{cited[key]['text'].strip('()')}]" in page
    assert cited["student1908probable"]["inSentence"] == "Student (1908)"
    page = re.sub(r"<[^>]+>", "", (html / "rnn" / "02_memory.html").read_text(encoding="utf-8"))
    assert f"So {cited['cooijmans2017recurrent']['inSentence'].replace('(', '[').replace(')', ']')}" in page
