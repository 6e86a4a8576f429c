"""The ZIP for readers who have no Python: packed, unpacked somewhere awkward, and read in a browser."""

import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from bs4 import BeautifulSoup
from fontTools.misc.timeTools import epoch_diff
from fontTools.ttLib import TTFont

pytestmark = pytest.mark.xdist_group("packed")  # once for all

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))

import zip_book  # noqa: E402


@pytest.fixture(scope="module")
def packed(html, tmp_path_factory) -> Path:
    return zip_book.pack(html, tmp_path_factory.mktemp("packed"))


@pytest.fixture(scope="module")
def unpacked(packed, tmp_path_factory) -> Path:
    """The top folder, in a path with spaces and accents."""
    place = tmp_path_factory.mktemp("Für später, l'été (2) 100%")
    with zipfile.ZipFile(packed) as made:
        made.extractall(place)
    (top,) = place.iterdir()
    return top


def test_one_folder_holds_the_pages_and_says_what_to_open(packed, unpacked):
    assert re.fullmatch(r"wavenet-book-\d+\.\d+\.\d+-html", unpacked.name)
    assert packed.name == f"{unpacked.name}.zip"
    assert (unpacked / "index.html").is_file()
    letter = (unpacked / "READ-ME-FIRST.txt").read_text(encoding="utf-8")
    assert "Open the file index.html" in letter
    assert len(list(unpacked.iterdir())) <= 25, "index.html is to be seen at once"


def test_the_readme_names_the_file_and_its_size(packed):
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert packed.name in readme, "the version has changed"
    stated = int(re.search(re.escape(packed.name) + r"` \(about (\d+) MB\)", readme)[1])
    assert abs(packed.stat().st_size / 1e6 - stated) <= 2


def test_nothing_is_in_it_that_a_reader_does_not_need(unpacked):
    kinds = {path.suffix for path in unpacked.rglob("*") if path.is_file()}
    assert kinds <= {".html", ".css", ".js", ".png", ".svg", ".woff", ".woff2", ".txt"}
    assert not (unpacked / "_sources").exists() and not (unpacked / "404.html").exists()


def test_no_link_leads_nowhere(html, unpacked):
    dangling = []
    for page in unpacked.rglob("*.html"):
        soup = BeautifulSoup(page.read_bytes(), "html.parser")
        assert not soup.select(".btn-download-source-button")
        for element in soup.select("[href], [src]"):
            link = urlsplit(element.get("href") or element.get("src"))
            if not link.scheme and not link.netloc and link.path:
                if not (page.parent / unquote(link.path)).exists():
                    dangling.append(f"{page.relative_to(unpacked)}: {link.path}")
    assert not dangling
    pages = {path.relative_to(html) for path in html.rglob("*.html") if "_static" not in path.parts}
    assert {path.relative_to(unpacked) for path in unpacked.rglob("*.html")} == pages - {Path("404.html")}


def test_the_same_pages_give_the_same_zip(html, packed, tmp_path):
    again = shutil.copytree(html, tmp_path / "html")  # with other dates
    for path in again.rglob("*"):
        os.utime(path, (0, 0))
        path.chmod(0o700)
    assert zip_book.pack(again, tmp_path).read_bytes() == packed.read_bytes()
    with zipfile.ZipFile(packed) as made:
        names = made.namelist()
        assert names == sorted(names) and {entry.date_time for entry in made.infolist()} == {zip_book.DATE}


def test_no_font_holds_the_time_of_the_build(html, unpacked):
    """Nothing else differed between two builds."""
    built = (html / "index.html").stat().st_mtime
    fonts = list((unpacked / "_static" / "vendor" / "fontawesome").rglob("*.woff"))
    assert fonts
    for font in fonts:
        changed = TTFont(font)["head"].modified + epoch_diff  # a font counts from 1904
        assert changed < built - 86_400, f"{font.name}: saved with the time of the build"


def test_it_is_read_like_the_book(open_page, unpacked):
    page = open_page("index.html", folder=unpacked)
    assert "WaveNet" in page.locator("h1").first.inner_text()
    page.locator(".bd-article a[href='playground.html']").first.click()
    page.wait_for_url("**/playground.html")
    playground = page.locator(".wn-playground")
    playground.get_by_label("A name begins with").fill("mar")
    playground.get_by_role("button", name="Write 20 names").click()
    playground.locator(".wn-names li", has_text="mar").first.wait_for()
    page.goto((unpacked / "wavenet" / "05_batchnorm_fix.html").as_uri())
    load = "(image) => { image.loading = 'eager'; return image.decode().then(() => image.naturalWidth); }"
    widths = page.evaluate(f"Promise.all([...document.images].map({load}))")
    assert widths and all(widths)
    page.get_by_role("button", name="Download this page").click()
    assert page.locator(".dropdown-download-buttons .dropdown-item").all_inner_texts() == [".pdf"]
    page.goto((unpacked / "search.html").as_uri() + "?q=BatchNorm")
    page.locator("#search-results li a").first.wait_for()


def test_a_folder_without_a_book_is_refused(tmp_path):
    tool = [sys.executable, str(ROOT / "tools" / "zip_book.py")]
    for arguments, said in (([tmp_path], "expected a built book"), (["a", "b", "c"], "at most two folders")):
        done = subprocess.run([*tool, *map(str, arguments)], capture_output=True, text=True)
        assert done.returncode == 2 and not done.stdout
        assert done.stderr.startswith("error: ") and said in done.stderr and done.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())
