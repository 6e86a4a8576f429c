"""Figures say where they come from."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import torch

from common.fast import compiled
from common.runs import provenance

needs_git = pytest.mark.skipif(shutil.which("git") is None, reason="needs git")


def git(folder, *arguments):
    who = ["-c", "user.name=reader", "-c", "user.email=reader@localhost"]
    clean = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    done = subprocess.run(
        ["git", *who, *arguments], cwd=folder, env=clean, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def repository(folder: Path) -> str:
    """A repository with a module in src/ and one commit, whose digits are returned."""
    (folder / "src").mkdir(parents=True)
    (folder / "src" / "train.py").write_text("steps = 1\n", encoding="utf-8")
    git(folder, "init", "-q")
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", "one")
    return git(folder, "rev-parse", "--short=12", "HEAD")


@pytest.fixture
def book(tmp_path, monkeypatch):
    """The book as a repository of its own, and its commit."""
    monkeypatch.setattr(provenance, "ROOT", tmp_path / "book")
    return tmp_path / "book", repository(tmp_path / "book")


@needs_git
def test_the_commit_is_marked_where_the_module_was_changed(book):
    folder, head = book
    assert re.fullmatch("[0-9a-f]{12}", head) and provenance.commit() == head
    (folder / "notes.txt").write_text("beside the module\n", encoding="utf-8")
    assert provenance.commit() == head
    (folder / "src" / "train.py").write_text("steps = 2\n", encoding="utf-8")
    assert provenance.commit() == head + "+"


@needs_git
@pytest.mark.parametrize("inside", ["book", "runs/2024/book"])
def test_a_copy_inside_another_repository_has_no_commit(tmp_path, monkeypatch, inside):
    repository(tmp_path / "work")
    copy = tmp_path / "work" / inside
    (copy / "src").mkdir(parents=True)
    monkeypatch.setattr(provenance, "ROOT", copy)
    assert provenance.commit() == "unknown"


@needs_git
@pytest.mark.parametrize("installed", ["venv/lib/python3", ".venv/lib/python3"])
def test_an_installed_module_has_no_commit(book, monkeypatch, installed):
    folder, _ = book
    (folder / installed).mkdir(parents=True)
    monkeypatch.setattr(provenance, "ROOT", folder / installed)
    assert provenance.commit() == "unknown"


@needs_git
def test_a_worktree_and_a_link_have_their_commit(book, tmp_path, monkeypatch):
    folder, head = book
    git(folder, "worktree", "add", "-q", str(tmp_path / "tree"))
    monkeypatch.setattr(provenance, "ROOT", tmp_path / "tree")
    assert provenance.commit() == head
    (tmp_path / "link").symlink_to(folder, target_is_directory=True)
    monkeypatch.setattr(provenance, "ROOT", tmp_path / "link")
    assert provenance.commit() == head


@needs_git
def test_the_variables_that_git_gives_to_hooks_do_not_mislead(book, tmp_path, monkeypatch):
    folder, head = book
    repository(tmp_path / "other")
    (tmp_path / "other" / "src" / "more.py").write_text("", encoding="utf-8")
    git(tmp_path / "other", "add", "-A")
    git(tmp_path / "other", "commit", "-q", "-m", "two")
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "other" / ".git"))
    assert provenance.commit() == head
    monkeypatch.setenv("GIT_WORK_TREE", str(folder))
    monkeypatch.setenv("GIT_INDEX_FILE", str(tmp_path / "other" / ".git" / "index"))
    assert provenance.commit() == head


@needs_git
def test_a_repository_without_a_commit_has_none(tmp_path, monkeypatch):
    git(tmp_path, "init", "-q")
    monkeypatch.setattr(provenance, "ROOT", tmp_path)
    assert provenance.commit() == "unknown"


def test_without_git_the_commit_is_unknown(monkeypatch):
    def run(*arguments, **options):
        raise FileNotFoundError("git")

    monkeypatch.setattr(provenance.subprocess, "run", run)
    assert provenance.commit() == "unknown"


def test_the_machine_is_named_with_its_cores(tmp_path, monkeypatch):
    lines = "processor\t: 0\nmodel name\t: Abacus: 9 beads\n\nprocessor\t: 1\nmodel name\t: Abacus: 9 beads\n"
    (tmp_path / "cpuinfo").write_text(lines, encoding="utf-8")
    monkeypatch.setattr(compiled, "CPUINFO", tmp_path / "cpuinfo")
    monkeypatch.setattr(provenance.os, "cpu_count", lambda: 3)
    assert provenance.machine(torch.device("cpu")) == "Abacus: 9 beads, 3 cores"


@pytest.mark.parametrize("lines", ["processor\t: 0\n", None], ids=["no model name", "no such file"])
def test_a_processor_without_a_name_is_called_by_its_kind(tmp_path, monkeypatch, lines):
    if lines is not None:
        (tmp_path / "cpuinfo").write_text(lines, encoding="utf-8")
    monkeypatch.setattr(compiled, "CPUINFO", tmp_path / "cpuinfo")
    monkeypatch.setattr(provenance.platform, "processor", lambda: "")
    monkeypatch.setattr(provenance.platform, "machine", lambda: "abacus")
    assert provenance.processor() == "abacus"
