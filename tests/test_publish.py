"""tools/publish.py: a small release laid out, served on loopback, replaced, refused and interrupted."""

import contextlib
import functools
import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
import zipfile
from concurrent.futures import ThreadPoolExecutor
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urljoin

import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tools"))

import publish  # noqa: E402

PROJECT = {"name": "wavenet-book", "version": "1.2.3"}
START = """<!DOCTYPE html><html><head><link rel="stylesheet" href="_static/look.css"/>
<script src="_static/book.js"></script></head><body><a href="part/one.html">One</a>
<img src="_images/dot.svg" alt="a dot"/><p>Free.</p> <p class="book-version">Version 1.2.3.</p></body>
</html>"""
SMALL = {
    "index.html": START,
    "part/one.html": '<!DOCTYPE html><a href="../index.html">back</a>',
    "_static/look.css": "p { color: #123456 }",
    "_static/book.js": "const book = 1;",
    "_images/dot.svg": '<svg xmlns="http://www.w3.org/2000/svg"/>',
    ".buildinfo": "of the builder",
}
KINDS = {
    "html": "text/html", "css": "text/css", "js": "text/javascript", "svg": "image/svg+xml",
    "pdf": "application/pdf", "zip": "application/zip", "txt": "text/plain",
}  # fmt: skip


@pytest.fixture
def built(tmp_path):
    """What `lay_out` takes: the folder of a small built book, a PDF, a ZIP, and the project."""
    for name, text in SMALL.items():
        path = tmp_path / "html" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    (tmp_path / "printed.pdf").write_bytes(b"%PDF-1.7\n")
    with zipfile.ZipFile(tmp_path / "packed.zip", "w") as made:
        made.writestr("index.html", START)
    return tmp_path / "html", tmp_path / "printed.pdf", tmp_path / "packed.zip", PROJECT


@pytest.fixture
def site(tmp_path):
    """Where the release goes: a folder with room for nothing else, in a path with a space and an accent."""
    return tmp_path / "a sité" / "www"


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        """Say nothing."""


@pytest.fixture
def served(built, site):
    """The address of a release that http.server serves."""
    publish.lay_out(*built, site)
    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=site)) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/"
        server.shutdown()


def test_what_the_start_page_links_to_is_served_as_what_it_is(served):
    with urllib.request.urlopen(served) as answer:
        start = answer.read().decode()
    links = re.findall(r'(?:href|src)="([^"]+)"', start)
    assert {link.rpartition(".")[2] for link in links} == KINDS.keys()
    for link in links:
        with urllib.request.urlopen(urljoin(served, link)) as answer:
            assert answer.status == 200 and answer.read()
            assert answer.headers.get_content_type() == KINDS[link.rpartition(".")[2]]
    with pytest.raises(urllib.error.HTTPError, match="404"):
        urllib.request.urlopen(served + ".buildinfo")


def test_the_start_page_is_the_books_own_but_for_the_downloads(built, site):
    publish.lay_out(*built, site)
    text = (site / "index.html").read_text(encoding="utf-8")
    assert (
        re.sub(r': the whole book as <a href="wavenet-book-1\.2\.3\.pdf">PDF</a>.*?(?=\.</p>)', "", text)
        == START
    )


def test_the_sums_are_of_every_file_and_true(built, site):
    count = publish.lay_out(*built, site)
    lines = (site / publish.SUMS).read_text(encoding="utf-8").splitlines()
    sums = {line[66:]: line[:64] for line in lines}
    assert len(lines) == count and sums.keys() == files(site) - {publish.SUMS}
    assert list(sums)[:2] == ["wavenet-book-1.2.3-html.zip", "wavenet-book-1.2.3.pdf"]
    for name, told in sums.items():
        assert hashlib.sha256((site / name).read_bytes()).hexdigest() == told


def test_a_release_takes_the_place_of_the_one_before(built, site):
    publish.lay_out(*built, site)
    html = built[0]
    (html / "part" / "one.html").rename(html / "part" / "two.html")
    (html / "index.html").write_text(START.replace("1.2.3", "1.3.0"), encoding="utf-8")
    publish.lay_out(*built[:3], PROJECT | {"version": "1.3.0"}, site)
    assert "part/two.html" in files(site) and "part/one.html" not in files(site)
    assert {name for name in files(site) if "1.2.3" in name} == set()
    assert list(site.parent.iterdir()) == [site]


@pytest.mark.parametrize("there", ["nothing", "an empty folder"])
def test_a_folder_that_is_empty_or_not_there_is_filled(built, site, there):
    if there == "an empty folder":
        site.mkdir(parents=True)
    publish.lay_out(*built, site)
    assert "index.html" in files(site)


MINE = "thesis.tex"
ISO = f"{'0' * 64}  {MINE}\n"  # a mirror's sums, of files that are not ours
FOREIGN = {
    "a file of another": (
        {MINE: "years of work"},
        "expected an empty folder, or one that make publish wrote",
    ),
    "another's sums": ({MINE: "years of work", publish.SUMS: ISO}, "expected an empty folder"),
    "a hidden folder": ({".git/HEAD": "ref"}, "expected an empty folder"),
    "a file beside ours": (None, f"make publish did not write {MINE}"),
}


@pytest.mark.parametrize("case", FOREIGN)
def test_a_folder_with_something_of_somebody_else_is_refused_and_left_alone(built, site, case):
    held, message = FOREIGN[case]
    if held is None:
        publish.lay_out(*built, site)
    for name, text in (held or {MINE: "years of work"}).items():
        (site / name).parent.mkdir(parents=True, exist_ok=True)
        (site / name).write_text(text)
    before = {name: (site / name).read_bytes() for name in files(site)}
    with pytest.raises(ValueError, match=message):
        publish.lay_out(*built, site)
    assert {name: (site / name).read_bytes() for name in files(site)} == before
    assert list(site.parent.iterdir()) == [site]


def test_a_file_and_a_folder_of_the_build_are_no_place(built, tmp_path):
    (tmp_path / "file").write_text("text")
    with pytest.raises(ValueError, match="expected a folder, got the file"):
        publish.lay_out(*built, tmp_path / "file")
    for inside in (built[0], built[0] / "site"):
        with pytest.raises(ValueError, match="outside of the built pages"):
            publish.lay_out(*built, inside)
    assert files(built[0]) == SMALL.keys()


def test_a_link_to_the_folder_stays_and_one_inside_is_somebody_elses(built, site, tmp_path):
    publish.lay_out(*built, site)
    (tmp_path / "current").symlink_to(site, target_is_directory=True)
    publish.lay_out(*built, tmp_path / "current")
    assert (tmp_path / "current").is_symlink() and "index.html" in files(site)
    (site / "mine").symlink_to(tmp_path, target_is_directory=True)
    with pytest.raises(ValueError, match="did not write mine in"):
        publish.lay_out(*built, site)


def test_a_reader_gets_one_release_or_the_other_while_they_change(built, served, site):
    whole = {(site / "index.html").read_bytes()}
    other = built[0].parent / "other"
    shutil.copytree(built[0], other)
    (other / "index.html").write_text(START.replace("One", "Two" * 100_000), encoding="utf-8")
    publish.lay_out(other, *built[1:], site)
    whole.add((site / "index.html").read_bytes())
    releases = [built[0], other] * 10
    got = set()
    with ThreadPoolExecutor() as pool:
        publishing = pool.submit(lambda: [publish.lay_out(html, *built[1:], site) for html in releases])
        while not publishing.done():
            with contextlib.suppress(urllib.error.HTTPError):  # between the two renames
                got.add(urllib.request.urlopen(served).read())
        assert len(publishing.result()) == len(releases)
    assert got and got | {(site / "index.html").read_bytes()} <= whole


@pytest.mark.parametrize(
    "fault, said",
    [
        ("no PDF", "No such file.*printed.pdf"),
        ("pages of another version", "expected pages of version 9.9.9"),
        ("a full disk", "No space left"),
        ("no move", "No such file.*new"),
    ],
)
def test_what_fails_leaves_the_release_before_and_nothing_beside_it(
    built, request, monkeypatch, site, fault, said
):
    if fault == "a full disk":
        site = request.getfixturevalue("small_disk") / "www"
    publish.lay_out(*built, site)
    before = {name: (site / name).read_bytes() for name in files(site)}
    html, printed, packed, project = built
    if fault == "no PDF":
        printed.unlink()
    elif fault == "a full disk":
        printed.write_bytes(bytes(3_000_000))
    elif fault == "no move":
        move = Path.rename
        monkeypatch.setattr(Path, "rename", lambda a, b: move(a, b / "no" if a.name == "new" else b))
    else:
        project = project | {"version": "9.9.9"}
    with pytest.raises((OSError, ValueError), match=said):
        publish.lay_out(html, printed, packed, project, site)
    assert {name: (site / name).read_bytes() for name in files(site)} == before
    assert list(site.parent.iterdir()) == [site]


def test_an_interrupt_between_the_two_renames_leaves_what_is_served(built, site, monkeypatch):
    publish.lay_out(*built, site)
    before, rename = {name: (site / name).read_bytes() for name in files(site)}, Path.rename

    def interrupted(path, target):
        done = rename(path, target)
        if path == site:
            raise KeyboardInterrupt
        return done

    monkeypatch.setattr(Path, "rename", interrupted)
    with pytest.raises(KeyboardInterrupt):
        publish.lay_out(*built, site)
    assert {name: (site / name).read_bytes() for name in files(site)} == before


def test_a_killed_command_leaves_what_is_served(built, site):
    """Killed while it fills the new folder, by a signal that nothing can answer to."""
    publish.lay_out(*built, site)
    before = {name: (site / name).read_bytes() for name in files(site)}
    html, printed, packed, project = built
    for n in range(5_000):
        (html / f"{n}.txt").touch()
    code = (
        f"import sys; sys.path.insert(0, {str(ROOT / 'tools')!r}); import publish; from pathlib import Path\n"
        "html, printed, packed, site = map(Path, sys.argv[1:])\n"
        f"publish.lay_out(html, printed, packed, {project!r}, site)"
    )
    process = subprocess.Popen([sys.executable, "-c", code, html, printed, packed, site])
    while not any(site.parent.glob(".www-*/new/*.txt")):
        assert process.poll() is None
        time.sleep(0.001)
    process.kill()
    assert process.wait() == -getattr(signal, "SIGKILL", 9)
    assert {name: (site / name).read_bytes() for name in files(site)} == before
    assert publish.lay_out(*built, site) > 5_000


@pytest.mark.parametrize(
    "arguments, said",
    [
        ([""], "make publish DIR=path"),
        (["--look", "."], "DIR=path"),
        (["--look", "tests"], "expected an empty folder"),
        (["--look", "book/_build/site"], "make book removes"),
    ],
)
def test_the_command_refuses_in_one_line_before_anything_is_built(arguments, said):
    tool = [sys.executable, str(ROOT / "tools" / "publish.py")]
    done = subprocess.run([*tool, *arguments], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2 and not done.stdout
    assert done.stderr.startswith("error: ") and said in done.stderr and done.stderr.count("\n") == 1


@pytest.mark.skipif(os.name != "posix", reason="needs make")
def test_make_looks_before_it_builds():
    """The first command is the look; the last lays out."""
    done = subprocess.run(["make", "-n", "publish", "DIR=site"], cwd=ROOT, capture_output=True, text=True)
    lines = [line for line in done.stdout.splitlines() if "jupyter_book" in line or "publish.py" in line]
    assert ["--look" in lines[0], "build book" in lines[1], len(lines)] == [True, True, 3]
    assert lines[2].endswith('tools/publish.py "$DIR"')
