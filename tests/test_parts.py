"""Two parts with chapters of the same number: each numbers its figures from 1, and a title names its part."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
EXTENSIONS = str(ROOT / "book" / "_ext")

TOC = """\
format: jb-book
root: index
parts:
  - caption: "Part one · A"
    numbered: 1
    chapters: [{file: a/01_x}, {file: a/02_y}]
  - caption: "Part two · B"
    numbered: 1
    chapters: [{file: b/01_x}, {file: b/02_y}]
  - caption: More
    chapters: [{file: more}]
"""
PICTURE = "```{{figure}} x.png\n:name: {}\nA caption.\n```"


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """The pages of a small book, by name."""
    folder = tmp_path_factory.mktemp("book")
    (folder / "_toc.yml").write_text(TOC, encoding="utf-8")
    (folder / "index.md").write_text("# Start\n", encoding="utf-8")
    (folder / "more.md").write_text("# More\n", encoding="utf-8")
    for name in ("a/01_x", "a/02_y", "b/01_x", "b/02_y"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).with_name("x.png").touch()
        pictures = "\n\n".join(PICTURE.format(f"{name.replace('/', '-')}-{n}") for n in "pq")
        text = f"# Title\n\n{{numref}}`a-02_y-q`\n\n{pictures}\n"
        (folder / f"{name}.md").write_text(text, encoding="utf-8")
    settings = {
        "extensions": ["myst_parser", "sphinx_external_toc", "parts"],
        "numfig": True, "use_multitoc_numbering": False, "html_theme": "basic",
    }  # fmt: skip
    lines = [f"{name} = {value!r}" for name, value in settings.items()]
    lines = ["import sys", f"sys.path.insert(0, {EXTENSIONS!r})", *lines]
    (folder / "conf.py").write_text("\n".join(lines), encoding="utf-8")
    out = folder / "_build"
    # a process of its own, for extensions leave things behind that other tests' builds would find
    subprocess.run([sys.executable, "-m", "sphinx", "-q", "-b", "html", folder, out], check=True)
    return {p.relative_to(out).with_suffix("").as_posix(): p.read_text() for p in out.rglob("*.html")}


@pytest.mark.parametrize("page, number", [("a/01_x", 1), ("a/02_y", 2), ("b/01_x", 1), ("b/02_y", 2)])
def test_a_chapters_figures_begin_at_one(pages, page, number):
    captions = re.findall(r'caption-number">Fig. (\S+)', pages[page])
    assert captions == [f"{number}.1", f"{number}.2"]
    assert ">Fig. 2.2</span>" in pages[page]  # the reference


def test_a_title_names_its_part(pages):
    titles = {
        page: re.search(r"<h1>(.*?)<a", text)[1]
        for page, text in pages.items()
        if re.search("<h1>.*<a", text)
    }
    number = lambda says: f'<span class="section-number part-number">{says} </span>Title'  # noqa: E731
    assert titles["a/02_y"] == number("Part one, 2") and titles["b/01_x"] == number("Part two, 1")
    assert titles["more"] == "More"


def test_the_book_numbers_within_parts():
    assert "use_multitoc_numbering: false" in (ROOT / "book" / "_config.yml").read_text(encoding="utf-8")
