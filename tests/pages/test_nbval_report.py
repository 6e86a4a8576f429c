"""A failed run of nbval ends in one page that shows what changed. Real runs, looked at in a browser."""

import base64
import io
import os
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from PIL import Image

pytestmark = pytest.mark.xdist_group("report")  # one failed run for all that look at its report

ROOT = Path(__file__).resolve().parents[2]
NAME = "nbval-report.html"
DRAW = """from IPython.display import Image
Image({data!r}, format="png")"""


def png(colour: str) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (320, 160), colour).save(out, "png")
    return out.getvalue()


def svg(colour: str) -> str:
    size = 'width="320" height="160"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size}><rect {size} fill="{colour}"/></svg>'


def cell(source: str, *outputs):
    made = new_code_cell(source, execution_count=1)
    made.outputs = list(outputs)
    return made


def printed(text: str):
    return new_output("stream", name="stdout", text=text)


def a_changed_notebook():
    old = base64.b64encode(png("navy")).decode()
    shown = {"image/png": old, "text/plain": "<an image>"}
    lines = "".join(f"step {step}\n" for step in range(20))
    return new_notebook(
        cells=[
            new_markdown_cell("# A chapter & its cells\n\nText."),
            cell("print('as it was')", printed("as it was\n")),
            new_markdown_cell("## Numbers\n\n```\n# no heading\n```\n\n### Of a loss"),
            cell(
                "for step in range(20):\n    print('step', step)\nprint('loss 1.25 <b>nats</b>')",
                printed(lines + "loss 1.50 <b>nats</b>\n"),
            ),
            new_markdown_cell("## Pictures"),
            cell(DRAW.format(data=png("maroon")), new_output("execute_result", shown, execution_count=1)),
            cell(
                f"from IPython.display import SVG\nSVG({svg('teal')!r})",
                new_output(
                    "execute_result",
                    {"image/svg+xml": svg("olive"), "text/plain": "<IPython.core.display.SVG object>"},
                    execution_count=1,
                ),
            ),
            new_markdown_cell("## Errors"),
            cell("1 / 0", printed("0.5\n")),
            cell("x = 1", printed("<b>gone</b>\n")),
        ]
    )


def nbval_command(folder: Path) -> list[str]:
    """What the Makefile calls, with two workers, on the notebooks of a folder."""
    return [
        sys.executable, "-m", "pytest", "-p", "tools.nbval_report", "--nbval-report", str(folder / NAME),
        "--nbval", "--nbval-current-env", "--nbval-sanitize-with", "tests/nbval_sanitize.cfg", "-n", "2",
        "--dist", "loadfile", "--no-loadscope-reorder", "-p", "no:cacheprovider", str(folder),
    ]  # fmt: skip


def nbval(folder: Path, *more: str) -> subprocess.CompletedProcess:
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [*nbval_command(folder), *more], cwd=ROOT, capture_output=True, text=True, env=environment
    )


def said_last(done: subprocess.CompletedProcess) -> str:
    return done.stdout.strip().splitlines()[-1]


@pytest.fixture(scope="module")
def html(tmp_path_factory) -> Path:
    """Where the report of a failed run lies (in place of the built book)."""
    folder = tmp_path_factory.mktemp("changed notebooks")
    nbformat.write(a_changed_notebook(), folder / "01 changed.ipynb")
    nbformat.write(new_notebook(cells=[cell("print(2)", printed("1\n"))]), folder / "02.ipynb")
    nbformat.write(new_notebook(cells=[cell("print(2)", printed("2\n"))]), folder / "03.ipynb")
    done = nbval(folder)
    assert done.returncode == 1, done.stdout + done.stderr
    assert said_last(done) == f"What changed: {(folder / NAME).as_uri()}"
    return folder


def sections(page) -> list[str]:
    return [part.inner_text() for part in page.locator("section.cell").all()]


def test_each_failed_cell_is_told_with_its_place(open_page, html):
    page = open_page(NAME)
    number, drawing, vectors, error, missing, other = sections(page)
    assert "6 cells in 2 notebooks" in page.locator("main").inner_text()
    assert page.locator("h2").all_inner_texts() == ["A chapter & its cells", "02"]
    assert "Numbers › Of a loss" in number and "Its output changed" in number
    assert "Pictures" in drawing and "not compared by nbval" in drawing
    assert "Pictures" in vectors and "not compared" not in vectors
    assert "Errors" in error and "It raised ZeroDivisionError" in error and "division by zero" in error
    assert "did not come" in missing
    assert "as it was" not in page.locator("main").inner_text()
    assert "03.ipynb" not in page.content()


def test_texts_stand_side_by_side_and_what_differs_is_marked(open_page):
    page = open_page(NAME)
    number = page.locator("section.cell").first
    assert number.locator("del").all_inner_texts() == ["1.50"]
    assert number.locator("ins").all_inner_texts() == ["1.25"]
    old, new = (number.locator(f"pre.{which}").bounding_box() for which in ("old", "new"))
    assert old["y"] == new["y"] and old["x"] + old["width"] <= new["x"]
    assert number.inner_text().count("<b>nats</b>") == 2  # what a cell prints is text
    assert "step 19" in number.inner_text() and "step 3\n" not in number.inner_text()
    assert "left out" in number.inner_text()
    assert "<b>gone</b>" in sections(page)[4]
    assert not number.locator("details").get_attribute("open")
    number.locator("summary").click()
    assert "for step in range(20)" in number.inner_text()


def test_pictures_are_shown_as_pictures(open_page):
    page = open_page(NAME)
    colours = page.evaluate(
        """async () => Promise.all([...document.images].map(async (image) => {
          await image.decode();
          const canvas = document.createElement('canvas');
          const pen = canvas.getContext('2d');
          pen.drawImage(image, 0, 0);
          return [...pen.getImageData(9, 9, 1, 1).data].slice(0, 3).join();
        }))"""
    )
    assert colours == ["0,0,128", "128,0,0", "128,128,0", "0,128,128"]


def test_the_command_that_accepts_names_the_notebook(open_page, html):
    page = open_page(NAME)
    number, _, _, error, _, other = page.locator("section.cell").all()
    accept = number.locator(".command").inner_text()
    assert accept == f"make notebooks NB='{html / '01 changed.ipynb'}'"
    assert "First mend what else failed" in number.inner_text()  # else make notebooks stops at the error
    assert other.locator(".command").inner_text() == f"make notebooks NB='{html / '02.ipynb'}'"
    assert "First mend" not in other.inner_text()
    assert "make notebooks NB" not in error.inner_text() and "make nbval NB=" in error.inner_text()


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_it_reads_well_everywhere(open_page, axe, theme, width):
    page = open_page(NAME, theme=theme, width=width)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    paper = page.evaluate("getComputedStyle(document.body).backgroundColor.match(/\\d+/)[0]")
    assert (int(paper) < 64) == (theme == "dark")
    assert not axe(page)
    folder = os.environ.get("SCREENSHOTS")
    if folder:
        page.screenshot(path=f"{folder}/report-{theme}-{width}.png", full_page=True)


def test_a_green_run_leaves_no_report_and_removes_an_old_one(tmp_path):
    nbformat.write(new_notebook(cells=[cell("print(2)", printed("2\n"))]), tmp_path / "green.ipynb")
    (tmp_path / NAME).write_text("of an earlier run", encoding="utf-8")
    done = nbval(tmp_path)
    assert done.returncode == 0, done.stdout
    assert not (tmp_path / NAME).exists() and "What changed" not in done.stdout


def test_a_cell_that_takes_too_long_and_a_kernel_that_dies_are_told(tmp_path):
    after = [cell("print(1)", printed("1\n")), cell("print(2)", printed("1\n"))]
    slow = [cell("import time\ntime.sleep(60)"), *after]
    dies = [new_markdown_cell("# Memory"), cell("import os\nos._exit(1)"), *after]
    nbformat.write(new_notebook(cells=slow), tmp_path / "slow.ipynb")
    nbformat.write(new_notebook(cells=dies), tmp_path / "dies.ipynb")
    done = nbval(tmp_path, "--nbval-cell-timeout", "8")
    page = (tmp_path / NAME).read_text(encoding="utf-8")
    assert "2 cells in 2 notebooks" in page
    assert "Timeout of 8 seconds exceeded" in page
    assert "The kernel died while this cell ran" in page
    assert page.count("2 cells after it were not judged") == 2, done.stdout


def test_a_notebook_that_cannot_be_read_is_told(tmp_path):
    (tmp_path / "broken.ipynb").write_text('{"cells": [', encoding="utf-8")
    nbformat.write(new_notebook(cells=[cell("print(2)", printed("2\n"))]), tmp_path / "green.ipynb")
    done = nbval(tmp_path)
    page = (tmp_path / NAME).read_text(encoding="utf-8")
    assert "The notebook could not be read" in page and "broken.ipynb" in page
    assert "NotJSONError" in page and "NB=" not in page
    assert said_last(done).startswith("What changed: file:")


@pytest.mark.skipif(not shutil.which("make"), reason="needs make")
def test_make_says_where_the_report_is(tmp_path):
    says = subprocess.run(["make", "-n", "nbval"], cwd=ROOT, capture_output=True, text=True).stdout
    assert "-p tools.nbval_report --nbval-report build/nbval-report.html" in says


def test_a_kernel_that_does_not_start_is_told_once(tmp_path):
    cells = [cell("print(2)", printed("2\n")), cell("print(3)", printed("3\n"))]
    notebook = new_notebook(cells=cells)
    notebook.metadata["kernelspec"] = {"name": "no-such-kernel", "display_name": "?", "language": "python"}
    nbformat.write(notebook, tmp_path / "kernel.ipynb")
    command = [arg for arg in nbval_command(tmp_path) if arg != "--nbval-current-env"]
    subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    page = (tmp_path / NAME).read_text(encoding="utf-8")
    assert "1 cell in 1 notebook" in page and page.count("The kernel did not start: ") == 1
    assert "no-such-kernel" in page and "1 cell after it was not judged" in page
