"""Corpora are fetched by pip, verified before anything in them runs, and whole or not there.

Most tests fetch a small package that they made themselves, with the real pip, from a folder or from a server
on this machine. Its build backend leaves a mark when any of it runs.
"""

import contextlib
import hashlib
import io
import os
import signal
import stat
import subprocess
import sys
import tarfile
import threading
import venv
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import platformdirs
import pytest

from common.data import corpora
from common.data.corpora import CORPORA, Corpus, archive_path, cache_folder, fetch, read, state, unpacked
from common.runs import command as command_line

ROOT = Path(__file__).resolve().parent.parent
SOURCE = Path(corpora.__file__).parents[2]
NOBODY = "http://127.0.0.1:9/simple"  # where nothing listens


# ---- a package of our own ----------------------------------------------------------


def tar(members: dict[str, bytes | tarfile.TarInfo]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        for name, content in members.items():
            if isinstance(content, tarfile.TarInfo):
                archive.addfile(content)
            else:
                info = tarfile.TarInfo(name)
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
    return stream.getvalue()


BACKEND = """
import pathlib
pathlib.Path({mark!r}).touch()

def prepare_metadata_for_build_wheel(folder, settings=None):
    about = pathlib.Path(folder, "toy-1.0.dist-info")
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\\nName: toy\\nVersion: 1.0\\n")
    return about.name

def build_wheel(folder, settings=None, metadata=None):
    raise NotImplementedError
"""
PROJECT = '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'


class Toy:
    """The corpus "toy": an archive of source with a text in it, and what is to be seen of its fetching."""

    def __init__(self, folder: Path, text: bytes, inner: bytes | None = None):
        self.mark, self.links, self.cache = folder / "mark", folder / "links", folder / "cache"
        self.archive = "toy-1.0.tar.gz"
        inner = tar({"texts/a.txt": text, "texts/b.md": b"no corpus"}) if inner is None else inner
        files = {
            "toy-1.0/PKG-INFO": b"Metadata-Version: 2.1\nName: toy\nVersion: 1.0\n",
            "toy-1.0/pyproject.toml": PROJECT.encode(),
            "toy-1.0/backend.py": BACKEND.format(mark=str(self.mark)).encode(),
            "toy-1.0/data/texts.tar.gz": inner,
        }
        self.content = tar(files)
        self.links.mkdir()
        (self.links / self.archive).write_bytes(self.content)

    def corpus(self, **other) -> Corpus:
        digest = hashlib.sha256(self.content).hexdigest()
        return Corpus(
            **{
                "package": "toy", "version": "1.0", "archive": self.archive, "sha256": digest,
                "size": len(self.content), "wanted": ("*/texts.tar.gz", "*.txt"), "about": "a text",
                "licence": "none",
            } | other
        )  # fmt: skip

    def kept(self) -> list[str]:
        """Every file in the cache folder, hidden ones too."""
        return sorted(path.name for path in self.cache.rglob("*") if not path.is_dir())


@pytest.fixture
def links_alone(monkeypatch):
    """pip asks no index and reads no settings."""
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    monkeypatch.delenv("PIP_CONSTRAINT", raising=False)


def published(monkeypatch, folder, text=b"a text", inner=None, **other) -> Toy:
    toy = Toy(folder, text, inner)
    monkeypatch.setitem(CORPORA, "toy", toy.corpus(**other))
    monkeypatch.setenv("PIP_FIND_LINKS", str(toy.links))
    monkeypatch.setenv("COMMON_CACHE", str(toy.cache))
    return toy


@pytest.fixture
def toy(monkeypatch, tmp_path, links_alone):
    return published(monkeypatch, tmp_path)


def sentence(error) -> str:
    """What an error says, which is one line that says how to go on."""
    said = str(error.value)
    assert said.startswith("toy: ") and "\n" not in said
    return said


# ---- fetched, kept, read -----------------------------------------------------------


def test_a_corpus_is_fetched_once_and_read_from_its_archive(toy, monkeypatch):
    assert state("toy") == "not fetched"
    assert read("toy") == {"texts/a.txt": b"a text"}
    assert toy.mark.exists(), "the mark says when something of the package runs"
    assert toy.kept() == [toy.archive] and state("toy") == "cached"
    assert archive_path("toy").read_bytes() == toy.content
    # from here on there is neither an index nor a pip
    monkeypatch.delenv("PIP_FIND_LINKS")
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.setenv("PIP_INDEX_URL", NOBODY)
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    assert read("toy") == {"texts/a.txt": b"a text"}


@pytest.mark.parametrize("name", CORPORA)
def test_what_was_published_comes_from_where_the_dependencies_come_from(name, monkeypatch, tmp_path, fetched):
    monkeypatch.setenv("COMMON_CACHE", str(tmp_path))
    path = fetched(name)
    assert path.stat().st_size == CORPORA[name].size
    assert [file for file in tmp_path.rglob("*") if file.is_file()] == [path]
    files = read(name)
    assert len(files) == {"reviews": 10, "plays": 38}[name] and all(files.values())


def test_a_wheel_is_fetched_and_nothing_of_it_is_built(toy, monkeypatch):
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as wheel:
        wheel.writestr("toy/texts/a.txt", "a text")
        wheel.writestr("toy-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: toy\nVersion: 1.0\n")
        wheel.writestr(
            "toy-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr("toy-1.0.dist-info/RECORD", "")
    name = "toy-1.0-py3-none-any.whl"
    (toy.links / name).write_bytes(content.getvalue())
    digest = hashlib.sha256(content.getvalue()).hexdigest()
    corpus = toy.corpus(archive=name, sha256=digest, wanted=("toy/texts/*",))
    monkeypatch.setitem(CORPORA, "toy", corpus)
    assert read("toy") == {"toy/texts/a.txt": b"a text"}
    assert toy.kept() == [name] and not toy.mark.exists()


def test_another_checksum_is_refused_before_anything_runs(toy, monkeypatch):
    monkeypatch.setitem(CORPORA, "toy", toy.corpus(sha256="0" * 64))
    with pytest.raises(ValueError) as error:
        fetch("toy")
    said = sentence(error)
    assert "expected toy-1.0.tar.gz with the SHA-256 " + "0" * 64 in said
    assert f"got {hashlib.sha256(toy.content).hexdigest()}" in said
    assert not toy.mark.exists(), "the archive's own code ran"
    assert toy.kept() == [] and state("toy") == "not fetched"


@pytest.mark.parametrize(
    "damage", [lambda whole: whole[:100], lambda whole: whole[:-1] + b"x", lambda whole: b""]
)
def test_what_is_damaged_in_the_cache_is_fetched_anew(toy, damage):
    path = fetch("toy")
    path.write_bytes(damage(toy.content))
    assert state("toy") == "damaged"
    assert read("toy") == {"texts/a.txt": b"a text"}
    assert state("toy") == "cached" and toy.kept() == [toy.archive]


def test_an_archive_that_was_put_there_by_hand_will_do(toy, monkeypatch):
    monkeypatch.delenv("PIP_FIND_LINKS")
    archive_path("toy").parent.mkdir(parents=True)
    archive_path("toy").write_bytes(toy.content)
    assert read("toy") == {"texts/a.txt": b"a text"}
    assert not toy.mark.exists()


def test_a_corpus_that_nobody_listed():
    with pytest.raises(ValueError, match="expected a corpus of reviews, plays.*, got 'poems'"):
        fetch("poems")


# ---- what can go wrong -------------------------------------------------------------


def test_no_network(toy, monkeypatch):
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.delenv("PIP_FIND_LINKS")
    monkeypatch.setenv("PIP_INDEX_URL", NOBODY)
    with pytest.raises(ConnectionError) as error:
        fetch("toy")
    assert "connect to the network, then `python -m common data fetch toy`" in sentence(error)
    assert str(archive_path("toy").parent) in str(error.value) and toy.kept() == []


def test_a_package_that_is_no_longer_there(toy):
    (toy.links / toy.archive).unlink()
    with pytest.raises(FileNotFoundError) as error:
        fetch("toy")
    assert "has no toy 1.0; set pip up for another one" in sentence(error) and toy.kept() == []


def test_a_python_without_pip(toy, monkeypatch, tmp_path):
    venv.create(tmp_path / "bare", with_pip=False, symlinks=os.name != "nt")
    python = Path("Scripts", "python.exe") if os.name == "nt" else Path("bin", "python")
    monkeypatch.setattr(sys, "executable", str(tmp_path / "bare" / python))
    with pytest.raises(FileNotFoundError) as error:
        fetch("toy")
    assert "has no pip; run `python -m ensurepip`" in sentence(error)


def test_a_package_that_cannot_be_built(toy, monkeypatch):
    broken = tar({"toy-1.0/pyproject.toml": b"[build-system]\nrequires = 3\n", "toy-1.0/PKG-INFO": b""})
    (toy.links / toy.archive).write_bytes(broken)
    monkeypatch.setitem(CORPORA, "toy", toy.corpus(sha256=hashlib.sha256(broken).hexdigest()))
    with pytest.raises(OSError) as error:
        fetch("toy")
    assert "pip did not bring toy 1.0 (" in sentence(error) and toy.kept() == []
    assert "it said nothing" not in str(error.value)


def test_a_file_stands_in_the_place_of_the_cache_folder(toy, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("mine")
    monkeypatch.setenv("COMMON_CACHE", str(tmp_path / "file"))
    assert state("toy") == "not fetched"
    with pytest.raises(OSError) as error:
        fetch("toy")
    assert "name another folder with the variable COMMON_CACHE" in sentence(error)
    assert (tmp_path / "file").read_text() == "mine"


def test_a_cache_folder_that_cannot_be_written_can_be_read(toy, monkeypatch, small_disk):
    monkeypatch.setenv("COMMON_CACHE", str(small_disk))
    path = fetch("toy")

    def remount(how):
        subprocess.run(["mount", "-o", f"remount,{how}", str(small_disk)], check=True)

    remount("ro")
    assert read("toy") == {"texts/a.txt": b"a text"}
    remount("rw")
    path.unlink()
    remount("ro")
    with pytest.raises(OSError) as error:
        fetch("toy")
    assert f"cannot be kept ({path.parent / '.toy'}" in sentence(error) and "Read-only file system)" in str(
        error.value
    )
    assert "COMMON_CACHE" in str(error.value)


def test_a_full_disk_leaves_nothing_half_written(monkeypatch, tmp_path, small_disk, links_alone):
    toy = published(monkeypatch, tmp_path, text=os.urandom(3_000_000))
    monkeypatch.setenv("COMMON_CACHE", str(small_disk))
    with pytest.raises(OSError) as error:
        fetch("toy")
    assert "No space left on device" in sentence(error) and "make room there" in str(error.value)
    assert [path for path in small_disk.rglob("*") if path.is_file()] == []
    assert state("toy") == "not fetched" and toy.mark.exists()


def test_a_full_disk_where_pip_works(monkeypatch, tmp_path, small_disk, links_alone):
    toy = published(monkeypatch, tmp_path, text=os.urandom(3_000_000))
    monkeypatch.setenv("TMPDIR", str(small_disk))
    monkeypatch.setattr(corpora.tempfile, "tempdir", str(small_disk))
    with pytest.raises(OSError) as error:
        fetch("toy")
    assert f"the disk of {small_disk} is full; make room there" in sentence(error)
    assert toy.kept() == []


def test_it_is_whole_before_it_has_its_name(toy, monkeypatch):
    move, seen = os.replace, []

    def look(partial, path):
        seen.append((Path(partial).read_bytes() == toy.content, path.exists()))
        move(partial, path)

    monkeypatch.setattr(corpora.os, "replace", look)
    fetch("toy")
    assert seen == [(True, False)] and toy.kept() == [toy.archive]


# ---- several at once, and killed ---------------------------------------------------


class Index(ThreadingHTTPServer):
    """An index of this one package; `hold` says what is done when half of the archive is sent."""

    daemon_threads = True

    def __init__(self, toy, hold):
        super().__init__(("127.0.0.1", 0), Page)
        self.toy, self.hold = toy, hold


class Page(BaseHTTPRequestHandler):
    def do_GET(self):
        toy, file = self.server.toy, self.path.endswith(".tar.gz")
        body = toy.content if file else f'<!DOCTYPE html><a href="/{toy.archive}">{toy.archive}</a>'.encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/gzip" if file else "text/html")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        half = len(body) // 2
        self.wfile.write(body[:half])
        self.wfile.flush()
        if file:
            self.server.hold()
        with contextlib.suppress(OSError):  # who asked may be dead
            self.wfile.write(body[half:])

    def log_message(self, *arguments):
        pass


@contextlib.contextmanager
def serving(toy, hold, monkeypatch):
    server = Index(toy, hold)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.delenv("PIP_FIND_LINKS")
    monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{server.server_port}/simple")
    monkeypatch.setenv("PIP_NO_CACHE_DIR", "1")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def fetching(toy) -> subprocess.Popen:
    """A process of its own that fetches the toy and says what it read."""
    code = f"""
from common.data.corpora import CORPORA, Corpus, read
CORPORA["toy"] = Corpus(**{toy.corpus()._asdict()!r})
print(read("toy"))
"""
    environment = os.environ | {"PYTHONPATH": str(SOURCE)}
    return subprocess.Popen(
        [sys.executable, "-c", code], env=environment, text=True, start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def test_a_fetch_that_is_killed_leaves_nothing_that_passes_for_whole(toy, monkeypatch):
    reached, go_on = threading.Event(), threading.Event()

    def hold():
        reached.set()
        assert go_on.wait(60)

    with serving(toy, hold, monkeypatch):
        process = fetching(toy)
        assert reached.wait(60)
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        assert toy.kept() == [] and state("toy") == "not fetched"
        go_on.set()
        assert read("toy") == {"texts/a.txt": b"a text"}
    assert toy.kept() == [toy.archive]


def test_two_processes_at_once(toy, monkeypatch):
    both = threading.Barrier(2)
    with serving(toy, lambda: both.wait(60), monkeypatch):
        processes = [fetching(toy), fetching(toy)]
        for process in processes:
            said, complaint = process.communicate(timeout=120)
            assert said.strip() == "{'texts/a.txt': b'a text'}", complaint
    assert toy.kept() == [toy.archive] and state("toy") == "cached"


# ---- archives that mean harm --------------------------------------------------------


def special(name, kind, target="") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def zipped(name: str, mode: int = 0) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        info = zipfile.ZipInfo(name)
        info.filename = name  # ZipInfo itself would turn a backslash round
        info.external_attr = mode << 16
        archive.writestr("good.txt", "good")
        archive.writestr(info, "out.txt")
    return stream.getvalue()


OUTSIDE = [
    "../out.txt",
    "texts/../../out.txt",
    "/tmp/out.txt",
    "C:\\out.txt",
    "..\\out.txt",
    "\\\\host\\out.txt",
]
HARMFUL = {
    **{f"tar {name}": tar({"good.txt": b"good", name: b"bad"}) for name in OUTSIDE},
    **{f"zip {name}": zipped(name) for name in OUTSIDE},
    "tar symlink": tar({"out.txt": special("out.txt", tarfile.SYMTYPE, "/etc/passwd")}),
    "tar symlink to a folder": tar({"out": special("out", tarfile.SYMTYPE, ".."), "out/out.txt": b"bad"}),
    "tar hard link": tar({"out.txt": special("out.txt", tarfile.LNKTYPE, "../out.txt")}),
    "tar device": tar({"out.txt": special("out.txt", tarfile.CHRTYPE)}),
    "tar pipe": tar({"out.txt": special("out.txt", tarfile.FIFOTYPE)}),
    "zip symlink": zipped("out.txt", stat.S_IFLNK | 0o777),
}  # fmt: skip


@pytest.mark.parametrize("name", HARMFUL)
def test_a_member_outside_its_folder_is_refused_and_nothing_is_written(
    name, monkeypatch, tmp_path, links_alone
):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        ValueError, match="expected an archive of files in its own folder, got the member 'o?"
    ):
        list(unpacked(HARMFUL[name], "*"))
    assert list(tmp_path.iterdir()) == []


def test_neither_is_anything_written_when_such_an_archive_is_fetched(monkeypatch, tmp_path, links_alone):
    toy = published(monkeypatch, tmp_path, inner=HARMFUL["tar texts/../../out.txt"])
    with pytest.raises(ValueError, match="got the member 'texts/../../out.txt'"):
        read("toy")
    assert toy.kept() == [toy.archive] and list(tmp_path.rglob("out.txt")) == []


def test_files_and_folders_are_read():
    folder = special("texts", tarfile.DIRTYPE)
    content = tar({"texts": folder, "texts/a.txt": b"one", "texts/b.md": b"two"})
    assert dict(unpacked(content, "*.txt")) == {"texts/a.txt": b"one"}
    assert dict(unpacked(zipped("texts/a.txt"), "*/a.txt")) == {"texts/a.txt": b"out.txt"}


# ---- the folder ----------------------------------------------------------------------


def test_a_checkout_keeps_all_in_its_own_folder_and_a_variable_moves_it(monkeypatch, tmp_path):
    monkeypatch.delenv("COMMON_CACHE", raising=False)
    assert cache_folder() == ROOT / "data" / "cache"
    monkeypatch.setenv("COMMON_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path
    assert archive_path("plays").parent == tmp_path / "corpora"


def test_installed_elsewhere_it_is_the_users_cache_folder(monkeypatch, tmp_path):
    monkeypatch.delenv("COMMON_CACHE", raising=False)
    monkeypatch.setattr(corpora, "__file__", str(tmp_path / "lib" / "common" / "data" / "corpora.py"))
    assert cache_folder() == Path(platformdirs.user_cache_dir("wavenet-book", appauthor=False))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "wavenet-book"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == tmp_path / ".cache" / "wavenet-book"
    monkeypatch.setattr(sys, "platform", "darwin")
    assert cache_folder() == tmp_path / "Library" / "Caches" / "wavenet-book"
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "Local"))
    assert cache_folder() == tmp_path / "Local" / "wavenet-book" / "Cache"
    monkeypatch.delenv("LOCALAPPDATA")
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert cache_folder() == tmp_path / "AppData" / "Local" / "wavenet-book" / "Cache"


# ---- python -m common data -------------------------------------------------------------


def data(*arguments: str) -> int:
    return command_line.main(["data", *arguments])


@pytest.fixture
def only_toy(toy, monkeypatch):
    for name in set(CORPORA) - {"toy"}:
        monkeypatch.delitem(CORPORA, name)
    return toy


def test_the_command_lists_fetches_and_verifies(only_toy, capsys):
    path = str(archive_path("toy"))
    for arguments, expected in [
        (
            ["list"],
            ["not fetched", "a text; none; from the package toy 1.0", str(archive_path("toy").parent)],
        ),
        (["verify"], ["not fetched"]),
        (["fetch"], ["fetched", path]),
        (["fetch", "toy", "toy"], ["already there", path]),
        (["list"], ["cached"]),
        (["verify", "toy"], ["as published"]),
    ]:
        assert data(*arguments) == 0
        printed = capsys.readouterr()
        assert printed.err == "" and all(part in printed.out for part in expected), arguments
    archive_path("toy").write_bytes(b"")
    assert data("list") == 0 and "damaged" in capsys.readouterr().out
    assert data("fetch") == 0 and "fetched" in capsys.readouterr().out
    assert data("verify") == 0


@pytest.mark.parametrize(
    "arguments, expected",
    [
        (["fetch", "toy", "poems"], "error: expected a corpus of toy, got 'poems'"),
        (["verify", "poems"], "error: expected a corpus of toy, got 'poems'"),
        (["verify", "toy"], "error: toy: not fetched ("),
    ],
)
def test_bad_input_ends_in_one_line_and_nothing_is_fetched(only_toy, capsys, arguments, expected):
    assert data(*arguments) == 2
    printed = capsys.readouterr()
    assert printed.err.startswith(expected) and len(printed.err.splitlines()) == 1
    assert only_toy.kept() == []


def test_a_damaged_corpus_fails_the_verification(only_toy, capsys):
    fetch("toy").write_bytes(b"half")
    assert data("verify") == 2
    printed = capsys.readouterr()
    assert "damaged" in printed.out
    again = "`python -m common data fetch toy` brings what was published"
    assert printed.err == f"error: toy: damaged ({archive_path('toy')}); {again}\n"
    assert archive_path("toy").read_bytes() == b"half", "verify changes nothing"


def test_no_network_is_one_line_and_exit_status_2(only_toy, capsys, monkeypatch):
    monkeypatch.delenv("PIP_FIND_LINKS")
    assert data("fetch") == 2
    printed = capsys.readouterr()
    assert printed.out == "" and printed.err.startswith("error: toy: ") and len(printed.err.splitlines()) == 1


def test_an_action_is_needed(capsys):
    with pytest.raises(SystemExit, match="2"):
        data()
    assert "{list,fetch,verify}" in capsys.readouterr().err
