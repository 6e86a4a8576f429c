"""requirements-pure.lock says what requirements.lock says, and pip takes no file with another hash."""

import hashlib
import os
import re
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import pytest
from packaging.tags import platform_tags
from test_packaging import ROOT, lock_lines

sys.path.insert(0, str(ROOT / "tools"))
import lock  # noqa: E402
import without_make  # noqa: E402

LINE = re.compile(r"(# )?(?P<pinned>[\w.-]+==[\w.!]+)(?(1)| --hash=sha256:[0-9a-f]{64})")
TEXT = lock.PURE_LOCK.read_text(encoding="utf-8")
HEAD = len(lock.PURE_HEADER.splitlines())
PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-cache-dir", "install"]
REPAIR = "run make lock, or tools/lock.py --hashes"
HASHED = without_make.HASHED[:-2]  # as the set-up asks, for another file


def test_the_hashes_are_those_of_the_lock():
    lines = TEXT.splitlines()[HEAD:]
    wrong = [line for line in lines if not LINE.fullmatch(line)]
    assert not wrong, f"neither name==version with one SHA-256, nor # name==version: {wrong}"
    pinned = {LINE.fullmatch(line)["pinned"] for line in lines}
    differ = sorted(pinned ^ set(lock_lines()))
    assert not differ, f"requirements-pure.lock and requirements.lock differ in {differ}: {REPAIR}"
    assert len(pinned) == len(lines), "a package stands twice in requirements-pure.lock"


def test_its_head_says_how_many_packages_have_one():
    lines = TEXT.splitlines()
    hashed = [line for line in lines[HEAD:] if not line.startswith("#")]
    assert len(hashed) > len(lock_lines()) / 2
    head = lock.PURE_HEADER.format(hashed=len(hashed), all=len(lock_lines()))
    assert lines[:HEAD] == head.splitlines(), REPAIR


def test_only_a_file_for_every_platform_and_every_python_3_gets_a_hash():
    files = {
        "Pure_One": "pure_one-1-py3-none-any.whl",
        "old": "old-1-py2.py3-none-any.whl",
        "compiled": "compiled-1-cp311-cp311-manylinux_2_28_x86_64.whl",
        "tool": "tool-1-py3-none-win_amd64.whl",
        "one.python": "one_python-1-cp311-none-any.whl",
        "source": "source-1.tar.gz",
    }
    install = [
        {
            "metadata": {"name": name, "version": "1"},
            "download_info": {"url": f"file:///{file}", "archive_info": {"hashes": {"sha256": name}}},
        }
        for name, file in files.items()
    ]
    assert lock.hashes({"install": install}) == {"pure-one": "Pure_One", "old": "old"}


def wheel(folder: Path, tag: str, text: str) -> tuple[str, str]:
    """A wheel of the package `probe`: its name and its SHA-256."""
    path = folder / f"probe-1-py3-none-{tag}.whl"
    about = {"METADATA": "Metadata-Version: 2.1\nName: probe\nVersion: 1\n", "RECORD": ""}
    about["WHEEL"] = f"Wheel-Version: 1.0\nGenerator: a test\nRoot-Is-Purelib: true\nTag: py3-none-{tag}\n"
    with ZipFile(path, "w") as file:
        file.writestr("probe.py", text)
        for name, content in about.items():
            file.writestr(f"probe-1.dist-info/{name}", content)
    return path.name, hashlib.sha256(path.read_bytes()).hexdigest()


def offer(folder: Path, files: list[tuple[str, str]]) -> None:
    """A page of an index: files, and what it says of their hashes."""
    links = (f'<a href="{name}{f"#sha256={said}" if said else ""}">{name}</a>' for name, said in files)
    page = f"<!DOCTYPE html><html><body>{''.join(links)}</body></html>"
    (folder / "index.html").write_text(page, encoding="utf-8")


def install(folder: Path, options: list[str], wanted: str) -> subprocess.CompletedProcess:
    """Install what a requirements file wants from the page, into the folder `here`, by this Python's pip."""
    (folder / "wanted.txt").write_text(wanted + "\n", encoding="utf-8")
    target = ["--no-index", f"--find-links={folder / 'index.html'}", f"--target={folder / 'here'}"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")}
    return subprocess.run(
        [*PIP, *target, *options, "-r", folder / "wanted.txt"], capture_output=True, text=True,
        env=environment | {"PIP_CONFIG_FILE": os.devnull},
    )  # fmt: skip


@pytest.mark.parametrize("options, taken", [([], "of this platform"), (HASHED, "of all")])
def test_the_file_for_all_platforms_is_taken_where_there_is_one_for_this(tmp_path, options, taken):
    files = [wheel(tmp_path, "any", "of all"), wheel(tmp_path, next(platform_tags()), "of this platform")]
    offer(tmp_path, files)
    done = install(tmp_path, options, f"probe==1 --hash=sha256:{files[0][1]}" if options else "probe==1")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "here" / "probe.py").read_text(encoding="utf-8") == taken


@pytest.mark.parametrize("said", ["the old hash", "the new hash", "nothing"])
def test_another_file_than_the_locked_one_is_refused(tmp_path, said):
    _, locked = wheel(tmp_path, "any", "as it was")
    name, new = wheel(tmp_path, "any", "replaced")
    offer(tmp_path, [(name, {"the old hash": locked, "the new hash": new}.get(said, ""))])
    done = install(tmp_path, HASHED, f"probe==1 --hash=sha256:{locked}")
    assert done.returncode != 0 and not (tmp_path / "here").exists()
    assert "THESE PACKAGES DO NOT MATCH THE HASHES" in done.stderr
    assert f"Expected sha256 {locked}" in done.stderr and f"Got        {new}" in done.stderr
