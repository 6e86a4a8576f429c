"""The version stands in pyproject.toml, and whatever repeats it says the same."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
VERSION = PROJECT["version"]
CITATION = yaml.load((ROOT / "CITATION.cff").read_text(encoding="utf-8"), Loader=yaml.BaseLoader)
HEADING = re.compile(r"^## (\d+\.\d+\.\d+), (\d{4}-\d\d-\d\d)$", re.MULTILINE)  # "Unreleased" may stand above


def test_the_newest_version_of_the_changelog_is_the_projects():
    version, date = HEADING.search((ROOT / "CHANGELOG.md").read_text(encoding="utf-8")).groups()
    assert (version, date) == (VERSION, CITATION["date-released"])


def test_the_citation_is_of_this_version_and_of_these_authors():
    wanted = {"cff-version", "message", "title", "authors", "version", "date-released", "license"}
    assert wanted <= CITATION.keys() and CITATION["cff-version"] == "1.2.0"
    assert CITATION["version"] == VERSION
    assert CITATION["authors"] == PROJECT["authors"]
    assert CITATION["license"] in PROJECT["license"].split(" AND ")
    config = yaml.safe_load((ROOT / "book" / "_config.yml").read_text(encoding="utf-8"))
    assert CITATION["title"] == config["title"]


def test_no_other_file_for_readers_names_another_version():
    for name in ("README.md", "CONTRIBUTING.md"):
        text = (ROOT / name).read_text(encoding="utf-8")
        assert set(re.findall(r"wavenet-book-(\d+\.\d+\.\d+)", text)) <= {VERSION}


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> str:
    """The page of a book of one page, in the theme and with the footer of ours."""
    folder = tmp_path_factory.mktemp("book")
    (folder / "index.md").write_text("# Start\n", encoding="utf-8")
    settings = {
        "extensions": ["myst_parser", "book_version"], "html_theme": "sphinx_book_theme",
        "html_theme_options": {"extra_footer": "<p>Free.</p>"},
    }  # fmt: skip
    lines = ["import sys", f"sys.path.insert(0, {str(ROOT / 'book' / '_ext')!r})"]
    lines += [f"{name} = {value!r}" for name, value in settings.items()]
    (folder / "conf.py").write_text("\n".join(lines), encoding="utf-8")
    out = folder / "_build"
    subprocess.run([sys.executable, "-m", "sphinx", "-q", "-b", "html", folder, out], check=True)
    return (out / "index.html").read_text(encoding="utf-8")


def test_every_page_shows_the_version_at_its_foot(page):
    footer = page[page.index('class="extra_footer"') :]
    assert f'<p>Free.</p> <p class="book-version">Version {VERSION}.</p>' in footer
    assert "book_version: _ext" in (ROOT / "book" / "_config.yml").read_text(encoding="utf-8")
