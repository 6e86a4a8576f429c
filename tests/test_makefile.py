"""What is typed beside make reaches the commands as it was meant, from every folder."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PROBE = """
.PHONY: probe
probe:
\t@printf '%s|%s|%s\\n' "$$NAMES" "$$CHROMIUM" "$$DIR"
"""
GIVEN = ("NAMES", "CHROMIUM", "DIR")

pytestmark = pytest.mark.skipif(
    os.name != "posix" or not shutil.which("make"), reason="needs make and a shell"
)


@pytest.fixture
def beside(tmp_path):
    """A folder in which the Makefile's own lies, and lists beside it. Names with what shells dislike."""
    odd = tmp_path / "my lists, $x's"
    (odd / "book repo").mkdir(parents=True)
    (odd / "mine").mkdir()
    (odd / "mine" / "a list.txt").write_text("emma\n", encoding="utf-8")
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    (odd / "book repo" / "Makefile").write_text(text + PROBE, encoding="utf-8")
    folder = odd / "book repo"
    for stamp in (".python", ".packages", ".project", ".cluster", ".vendor"):  # set up long ago
        (folder / ".venv").mkdir(exist_ok=True)
        (folder / ".venv" / stamp).write_text(str(folder), encoding="utf-8")
    for file in ("requirements-pure.lock", "requirements.lock", "pyproject.toml"):
        (folder / file).touch()
        os.utime(folder / file, (0, 0))
    (folder / ".venv" / "bin").mkdir()
    (folder / ".venv" / "bin" / "python").write_text("#!/bin/sh\necho trained\n", encoding="utf-8")
    (folder / ".venv" / "bin" / "python").chmod(0o755)
    return odd


def make(folder, *arguments, pwd=None, **environment):
    """Run make in a folder, as a shell there would."""
    clean = {k: v for k, v in os.environ.items() if k not in (*GIVEN, "MAKEFLAGS", "MAKELEVEL")}
    return subprocess.run(
        ["make", *arguments], cwd=folder, capture_output=True, text=True,
        env=clean | {"PWD": str(pwd or folder)} | environment,
    )  # fmt: skip


def reached(*arguments, variable="NAMES", **environment):
    done = make(*arguments, "probe", **environment)
    assert done.returncode == 0, done.stderr
    text = next(line for line in done.stdout.splitlines() if "|" in line)
    return text.split("|")[GIVEN.index(variable)]


def test_a_list_is_looked_for_where_make_was_called(beside):
    inside, wanted = beside / "book repo", str(beside / "mine" / "a list.txt")
    for given in ("../mine/a list.txt", wanted):
        assert Path(reached(inside, NAMES=given)).samefile(wanted)
    assert os.path.isabs(reached(inside, NAMES="../mine/a list.txt"))
    assert Path(reached(inside, "NAMES=../mine/a list.txt")).samefile(wanted)
    assert reached(beside, "-C", "book repo", NAMES="mine/a list.txt") == wanted
    assert reached(beside, "-C", "book repo", "--no-print-directory", NAMES="mine/a list.txt") == wanted


def test_a_folder_that_the_shell_remembers_wrongly_does_not_matter(beside):
    inside = beside / "book repo"
    (inside / "mine").mkdir()
    (inside / "mine" / "a list.txt").write_text("ava\n", encoding="utf-8")
    found = reached(inside, pwd=beside, NAMES="mine/a list.txt")
    assert found == str(inside / "mine" / "a list.txt")


def test_no_list_stays_none_and_a_missing_one_is_named_where_it_would_be(beside):
    inside = beside / "book repo"
    assert reached(inside) == reached(inside, NAMES="") == ""
    assert reached(inside, NAMES="nowhere.txt") == str(inside / "nowhere.txt")
    assert reached(inside, NAMES="~/mine.txt", HOME="/home of/me") == "/home of/me/mine.txt"


def test_a_browser_is_a_path_or_a_name(beside):
    assert reached(beside / "book repo", variable="CHROMIUM", CHROMIUM="chrome") == "chrome"
    found = reached(beside / "book repo", variable="CHROMIUM", CHROMIUM="../mine/a list.txt")
    assert os.path.isabs(found) and Path(found).samefile(beside / "mine" / "a list.txt")


def test_a_folder_to_publish_in_is_meant_from_where_make_was_called(beside):
    inside = beside / "book repo"
    assert reached(inside, variable="DIR") == ""
    assert reached(inside, variable="DIR", DIR="my site") == str(inside / "my site")
    assert reached(beside, "-C", "book repo", "DIR=my site", variable="DIR") == str(beside / "my site")
    wanted = "/home of/me/my site"
    assert reached(inside, variable="DIR", DIR="~/my site", HOME="/home of/me") == wanted


def test_the_list_reaches_the_command_in_one_piece(beside):
    done = make(
        beside / "book repo", "-n", "experiments", "PLAN=blocks", "LIST=lecture", NAMES="../mine/a list.txt"
    )
    lines = [line for line in done.stdout.splitlines() if "--names" in line]
    assert lines and all('--names "$NAMES"' in line for line in lines)


@pytest.mark.parametrize("name, message", [("mine", "got mine"), ("lecture", "NAMES=path")])
def test_a_list_without_a_name_of_its_own_is_refused_before_anything_is_trained(beside, name, message):
    done = make(beside / "book repo", "experiments", "PLAN=blocks", f"LIST={name}")
    assert done.returncode != 0 and "trained" not in done.stdout
    assert message in done.stderr and "Makefile" in done.stderr


def test_a_list_of_ones_own_is_not_stored_as_the_books(beside):
    done = make(beside / "book repo", "experiments", "PLAN=blocks", NAMES="../mine/a list.txt")
    assert done.returncode != 0 and "trained" not in done.stdout
    assert "NAMES goes with LIST=lecture" in done.stderr


def test_a_plan_is_wanted_and_the_rest_goes_on_to_the_command(beside):
    done = make(ROOT, "-n", "experiments")
    assert done.returncode != 0 and "PLAN is one of blocks challenge distinct" in done.stderr
    how = ("PLAN=challenge", "LIST=distinct", "ONLY=one two", "FINAL=1", "WORKERS=3")
    said = " ".join(make(beside / "book repo", "-n", "experiments", *how).stdout.replace("\\\n", " ").split())
    assert said.endswith("tools/experiments.py challenge --list distinct --only one two --final --workers 3")
