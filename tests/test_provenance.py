"""Figures say where they come from."""

import subprocess

import torch

from common import provenance


def test_the_commit_is_marked_where_the_module_was_changed(monkeypatch):
    said = {"rev-parse": "0123456789ab\n", "status": ""}

    def run(command, **options):
        return subprocess.CompletedProcess(command, 0, stdout=said[command[3]])

    monkeypatch.setattr(provenance.subprocess, "run", run)
    assert provenance.commit() == "0123456789ab"
    said["status"] = " M src/common/train.py\n"
    assert provenance.commit() == "0123456789ab+"


def test_without_git_the_commit_is_unknown(monkeypatch):
    def run(*arguments, **options):
        raise FileNotFoundError("git")

    monkeypatch.setattr(provenance.subprocess, "run", run)
    assert provenance.commit() == "unknown"


def test_the_machine_is_named_with_its_cores():
    said = provenance.machine(torch.device("cpu"))
    assert said.endswith(" cores") and said.startswith(provenance.processor())
