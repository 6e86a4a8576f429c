"""The browser is the one that was asked for, or an error says which was not found."""

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tools"))

import browser  # noqa: E402


def test_a_browser_that_was_named_and_is_not_there_is_an_error(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CHROMIUM", "bin/chrome")
    with pytest.raises(FileNotFoundError, match="CHROMIUM=bin/chrome: no such program in ") as caught:
        browser.chromium()
    assert str(Path.cwd()) in str(caught.value)


def test_none_named_and_none_there_is_none(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CHROMIUM", raising=False)
    assert browser.chromium() is None
    monkeypatch.setenv("CHROMIUM", "")
    assert browser.chromium() is None


def test_a_named_browser_is_found_from_every_folder(monkeypatch, tmp_path):
    (tmp_path / "chrome").write_text("#!/bin/sh\n", encoding="utf-8")
    (tmp_path / "chrome").chmod(0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CHROMIUM", "./chrome")
    assert browser.chromium() == str(tmp_path.resolve() / "chrome")
