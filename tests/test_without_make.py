"""tools/without_make.py takes the Makefile's steps: what it would run is what `make -n` prints."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tools"))

import without_make  # noqa: E402

TOOL = ROOT / "tools" / "without_make.py"
needs_make = pytest.mark.skipif(os.name != "posix" or not shutil.which("make"), reason="needs make")


def clean() -> dict[str, str]:
    mine = ("NB", "TESTS", "PORT", "WORKERS", "OMP_NUM_THREADS", "MAKEFLAGS", "MAKELEVEL")
    return {name: value for name, value in os.environ.items() if name not in mine}


def dry(name: str, folder: Path = ROOT) -> list[str]:
    command = [sys.executable, TOOL, name, "--dry-run"]
    done = subprocess.run(command, cwd=folder, env=clean(), capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


@pytest.fixture(scope="module")
def fresh(tmp_path_factory) -> Path:
    """A folder in which nothing is set up, with the files that the Makefile looks for."""
    folder = tmp_path_factory.mktemp("fresh")
    for name in ("Makefile", *without_make.RESTS_ON):
        (folder / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    return folder


def steps_of_make(name: str, folder: Path) -> list[str]:
    """The commands that `make -n` prints after those of the set-up, without the shell's around them."""
    command = ["make", "-n", *dict.fromkeys(["setup", name]), f"PYTHON={sys.executable}"]
    done = subprocess.run(command, cwd=folder, env=clean(), capture_output=True, text=True, check=True)
    text = done.stdout.replace("\\\n", " ").replace("${OMP_NUM_THREADS:-1}", "1")
    lines = [" ".join(re.split(r"\|\| | fi; ", line)[-1].split()) for line in text.splitlines()]
    shell = ("echo", "touch ", "rm -", "pwd ", "{ echo")
    return [line for line in lines if line and not line.startswith(shell)]


@needs_make
@pytest.mark.parametrize("name", without_make.STEPS)
def test_the_steps_are_those_of_make(fresh, name):
    assert dry(name) == steps_of_make(name, fresh)


@needs_make
def test_the_book_is_built_from_nothing_as_by_make(fresh):
    done = subprocess.run(["make", "-n", "book"], cwd=fresh, capture_output=True, text=True, check=True)
    assert "rm -rf book/_build\n" in done.stdout


def test_it_works_from_any_folder_and_needs_no_package(tmp_path):
    here = dry("test", tmp_path)
    assert here == dry("test") and len(here) == 9
    alone = [sys.executable, "-I", "-S", TOOL, "book", "--dry-run"]
    assert subprocess.run(alone, cwd=tmp_path, capture_output=True, text=True, check=True).stdout


def test_the_readmes_commands_are_there():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    asked = set(re.findall(r"(?:^|`)make ([a-z]+)", readme, re.MULTILINE))
    alone = {"check", "experiments", "bench"}  # for those who work on the book, and have make
    assert {"book", "test", "lab"} <= asked and asked - alone <= without_make.STEPS.keys()


@pytest.fixture
def copied(tmp_path) -> Path:
    """The tool in a book of its own, in a path with a space, whose Python only notes what it was asked."""
    root = tmp_path / "my book"
    for name in without_make.RESTS_ON:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, root / name)
    shutil.copy(TOOL, root / "tools")
    vendored = root / without_make.VENDORED.relative_to(ROOT)
    vendored.parent.mkdir(parents=True)
    vendored.touch()
    python = root / without_make.PY
    python.parent.mkdir(parents=True)
    python.write_text('#!/bin/sh\necho "$PWD|$OMP_NUM_THREADS|$*" >> asked\nexit ${FAILS:-0}\n')
    python.chmod(0o755)
    return root


def asked(root: Path, *arguments: str, **environment: str) -> tuple[int, list[str]]:
    """The exit code of the tool, and what the Python of that book was asked: folder|threads|arguments."""
    (root / "asked").unlink(missing_ok=True)
    tool = [sys.executable, root / "tools" / "without_make.py", *arguments]
    done = subprocess.run(tool, cwd=root.parent, env=clean() | environment, capture_output=True, text=True)
    noted = root / "asked"
    return done.returncode, noted.read_text(encoding="utf-8").splitlines() if noted.exists() else []


@pytest.mark.skipif(os.name != "posix", reason="its Python is a script of the shell")
def test_it_sets_up_once_and_again_when_a_lock_changes(copied):
    (copied / "book" / "_build").mkdir()
    code, first = asked(copied, "book")
    assert code == 0 and len(first) == 5  # four steps of the set-up, and the book
    assert all(line.startswith(f"{copied}|") for line in first)
    assert not (copied / "book" / "_build").exists()
    assert [line.partition("|-c ")[1] for line in asked(copied, "book")[1]] == ["|-c "]
    assert asked(copied, "setup") == (0, [])
    (copied / "requirements.lock").write_text("", encoding="utf-8")
    again = asked(copied, "unit", OMP_NUM_THREADS="3")[1]
    assert len(again) == 5 and again[-1].startswith(f"{copied}|3|-m pytest")
    assert asked(copied, "unit")[1][0].startswith(f"{copied}|1|-m pytest")


@pytest.mark.skipif(os.name != "posix", reason="its Python is a script of the shell")
def test_it_stops_at_the_first_step_that_fails_with_its_code(copied):
    asked(copied, "setup")
    code, lines = asked(copied, "test", FAILS="7")
    assert code == 7 and len(lines) == 1
