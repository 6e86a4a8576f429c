"""docs/decisions: short pages of one form, listed once, that name files and commands which are there."""

import re
from pathlib import Path

import pytest
from test_workflows import TARGETS

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "docs" / "decisions"
PAGES = sorted(FOLDER.glob("[0-9]*.md"))
SECTIONS = ["Context", "Decision", "What follows", "What would change our mind"]
MADE = ("book/extra/",)  # by the set-up
every_page = pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)


def test_pages_are_numbered_and_listed_in_order():
    assert [int(path.name[:4]) for path in PAGES] == list(range(1, len(PAGES) + 1)) and len(PAGES) >= 8
    titles = [path.read_text(encoding="utf-8").splitlines()[0].removeprefix("# ") for path in PAGES]
    listed = re.findall(r"^- \[(.+)\]\((.+)\)$", (FOLDER / "README.md").read_text(encoding="utf-8"), re.M)
    assert listed == [(title, path.name) for title, path in zip(titles, PAGES, strict=True)]
    assert "(docs/decisions/README.md)" in (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")


@every_page
def test_a_page_is_short_and_says_four_things(path):
    text = path.read_text(encoding="utf-8")
    assert text.startswith(f"# {int(path.name[:4])}. ")
    assert re.search(r"^Decided \d{4}-\d\d-\d\d \(commits? `[0-9a-f]{7}`", text, re.MULTILINE)
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == SECTIONS
    assert 100 <= len(re.findall(r"\w[\w'-]*", re.sub(r"`[^`]*`", "code", text))) <= 250


@every_page
def test_a_page_names_files_and_commands_that_are_there(path):
    quoted = re.findall(r"`([^`\n]+)`", path.read_text(encoding="utf-8"))
    files = [name for name in quoted if re.fullmatch(r"[.\w-]+/[\w./-]*|[\w-]+\.(?:lock|toml)", name)]
    assert [name for name in files if not name.startswith(MADE) and not (ROOT / name).exists()] == []
    assert {name[5:] for name in quoted if re.fullmatch(r"make [a-z-]+", name)} <= TARGETS


def test_the_numbers_that_pages_repeat_are_those_of_the_code():
    def page(number: int) -> str:
        return PAGES[number - 1].read_text(encoding="utf-8")

    house = (ROOT / "tests" / "test_house.py").read_text(encoding="utf-8")
    core, part_one = re.search(r"CORE_LINES, PART_ONE_LINES = ([\d_]+), ([\d_]+)", house).groups()
    assert f"{int(core):,} lines" in page(11) and f"at most {int(part_one):,}" in page(11)
    loop = (ROOT / "src" / "common" / "fast" / "loop.py").read_text(encoding="utf-8")
    assert re.search(r"^(GROUP = \d+)", loop, re.MULTILINE)[1] in page(5)
