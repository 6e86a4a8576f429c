"""Code on a page: what stands open is short, and what stands there at all fits the column."""

import sys
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).parents[1]
BOOK = ROOT / "book"
sys.path.insert(0, str(ROOT / "tools"))
import notebooks  # noqa: E402
import reading  # noqa: E402

# Cells with too many open lines, and cells with a line that is too wide, by notebook, until the notebook is
# brought to the pattern. They may become fewer, never more. A notebook that is not named here has none.
EXEMPT: dict[str, tuple[int, int]] = {
    "appendix/why_the_loop_is_slow": (1, 1),
}
NOTEBOOKS = sorted(notebooks.find_notebooks())


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_open_code_is_short_and_fits_the_column(path):
    page, nb = path.relative_to(BOOK).with_suffix("").as_posix(), notebooks.read(path)
    found = reading.too_long(nb), reading.too_wide(nb)
    counts, allowed = tuple(map(len, found)), EXEMPT.get(page, (0, 0))
    assert all(map(int.__le__, counts, allowed)), "\n".join([*found[0], *found[1]])
    assert counts == allowed, f"only {counts} are left: say so in EXEMPT"


def test_every_exempt_notebook_is_there():
    pages = {path.relative_to(BOOK).with_suffix("").as_posix() for path in NOTEBOOKS}
    assert set(EXEMPT) <= pages


# ---- the rule ------------------------------------------------------------------------


def cell(source: str, *tags: str):
    return nbformat.v4.new_code_cell(source, id="here", metadata={"tags": list(tags)})


def notebook(*cells):
    return nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("x" * 99), *cells])


def block(head: str, lines: int) -> str:
    """A statement of so many lines."""
    return "\n".join([head, *["    x = 1"] * (lines - 1)])


PLAIN = "\n".join(["x = 1"] * 12)
LOOP = "\n".join(["def f(x):", "    for y in x:", *["        y + 1"] * 20])


@pytest.mark.parametrize(
    ("source", "lines"),
    [
        ("", 20),
        ("%time x = 1", 20),
        (block("class A:", 13), 40),
        (block("for x in y:", 13), 40),
        (block("while x:", 13), 40),
        (LOOP, 40),
        (PLAIN + "\n" + LOOP, 40),
        (block("def f(x):", 13), 20),
        (block("with x:", 13), 20),
        (PLAIN + "\n" + block("class A:", 13), 40),
        (PLAIN + "\n" + block("class A:", 12), 20),  # half of it is something else
        (PLAIN + "\n" + block("for x in y:", 3), 20),
        (block("for x in y:", 13) + "\nplt.show()", 20),
    ],
)
def test_a_class_or_a_loop_may_be_longer(source, lines):
    assert reading.lines_allowed(source) == lines


def test_a_cell_is_held_to_its_lines():
    whole = "\n".join(["x = 1"] * 20)
    longer = whole + "\nx = 2"
    assert reading.too_long(notebook(cell(whole))) == []
    assert reading.too_long(notebook(cell(block("class A:", 40)))) == []
    assert reading.too_long(notebook(cell(longer))) == ["here: 21 lines, at most 20"]
    assert reading.too_long(notebook(cell(block("class A:", 41)))) == ["here: 41 lines, at most 40"]
    for tag in ("hide-input", "hide-cell", "check", "remove-cell"):
        assert reading.too_long(notebook(cell(longer, tag))) == []


def test_a_line_is_held_to_the_column():
    fits, wide = "x = 1 + " + "2" * 72, "x = 1 + " + "2" * 73
    assert (
        reading.too_wide(notebook(cell(fits))) == reading.too_wide(notebook(cell(wide, "remove-cell"))) == []
    )
    for tags in ((), ("hide-input",), ("check",)):
        found = reading.too_wide(notebook(cell(f"x = 0\n{wide}", *tags)))
        assert found == [f"here: 81 characters, {wide}"]
