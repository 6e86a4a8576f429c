"""docs/licences.md: every locked package is listed with its licence, and somebody has looked at it."""

import json
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tools"))
import licences  # noqa: E402

ROW = re.compile(r"^\| (\S+) \| (\S+) \| (.+) \|$", re.MULTILINE)


def test_every_package_of_the_locks_is_listed_with_a_licence():
    rows = [row for row in ROW.findall(licences.LIST.read_text("utf-8")) if row[1] not in ("---", "version")]
    npm = json.loads((ROOT / "package-lock.json").read_text("utf-8"))["packages"]
    of_npm = {path.rpartition("node_modules/")[2]: about["version"] for path, about in npm.items() if path}
    listed = {name: version for name, version, _ in rows}
    assert listed == licences.locked() | of_npm and len(rows) == len(listed) > 200
    assert licences.unknown(rows) == []


def test_a_licence_that_nobody_has_looked_at_is_named():
    rows = [("a", "1", "MIT License"), ("b", "1", "Commons Clause"), ("c", "1", "")]
    rows += [("d", "1", "MIT AND GPL-3.0"), ("num2words", "1", "LGPL")]
    told = ["b: Commons Clause", "c: no licence is stated", "d: MIT AND GPL-3.0"]
    assert licences.unknown(rows) == told


def test_what_a_package_states_is_found():
    assert licences.stated("numpy") and licences.KINDS.search(licences.stated("pytest"))


def test_a_package_that_is_not_installed_is_named(monkeypatch, capsys):
    monkeypatch.setattr(licences, "locked", lambda: {"no-such-package": "1"})
    assert licences.main([]) == 2
    assert capsys.readouterr().err == (
        "error: expected no-such-package, as requirements.lock says; run make setup\n"
    )


@pytest.mark.parametrize("said, shown", [("a|b", "a/b"), ("x" * 80, "x" * 70 + " …")])
def test_a_table_stays_a_table(said, shown):
    assert licences.table([("p", "1", said)])[2] == f"| p | 1 | {shown} |"
