"""What part two, chapter 2 was published with: the chapter's own code, run by tools/memory.py."""

import sys
from pathlib import Path

import pytest
import torch

from common.evaluate import spread
from common.pages.results import stored_results

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tools"))
import memory  # noqa: E402

STORED = stored_results("rnn-02")
TASKS = STORED["tasks"]
ENTRIES = [
    pytest.param(task, key, entry, id=f"{task} {key}")
    for task, entries in TASKS.items()
    for key, entry in entries.items()
]


def right(task: str, key: str) -> float:
    return spread(1 - run["test"] for run in TASKS[task][key]["runs"]).mean


def test_all_that_is_compared_is_stored():
    wanted = {
        (f"{task}-{delay}", key) for each in memory.DELAYS for key, task, delay in memory.compared(each)
    }
    assert {(task, key) for task, entries in TASKS.items() for key in entries} == wanted


@pytest.mark.parametrize("task, key, entry", ENTRIES)
def test_an_entry_has_five_seeds_one_size_and_the_rate_that_was_best(task, key, entry):
    assert [run["seed"] for run in entry["runs"]] == [0, 1, 2, 3, 4]
    assert {run["parameters"] for run in entry["runs"]} == {entry["runs"][0]["parameters"]}
    assert 16_000 < entry["runs"][0]["parameters"] <= memory.PARAMETERS
    assert entry["search"][f"{entry['lr']:g}"] == min(entry["search"].values())
    assert entry["provenance"]["commit"] and memory.SEARCHED_BY not in range(memory.SEEDS)


def test_the_figures_that_were_to_be_reached():
    for key in ("lstm-chrono", "gru-chrono"):
        assert right("recall-100", key) >= 0.99
    assert max(right("echo-50", key) for key in TASKS["echo-50"]) > 0.99
    for key in ("lstm", "gru"):
        assert abs(right("recall-100", key) - 1 / 8) < 0.03, "with the usual start they guess"


@pytest.mark.parametrize("key", memory.VARIANTS)
def test_a_network_is_the_widest_that_the_parameters_allow(key):
    stored = next(entries[key] for task, entries in TASKS.items() if key in entries)
    assert stored["n_hidden"] == memory.widest(memory.VARIANTS[key], "recall")


def test_a_training_is_stored_with_what_it_measured(tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "RUNS", tmp_path)
    monkeypatch.setattr(memory, "STEPS", 20)
    monkeypatch.setattr(torch, "set_num_threads", lambda count: None)
    monkeypatch.setattr(torch, "set_flush_denormal", lambda flush: True)
    one = memory.Job("lstm-chrono", "recall", 10, 3e-3, 0)
    memory.train(one)
    found = one.result
    assert 0 <= found["test"] <= 1 and len(found["curve"]) == 20 and len(found["factor"]) == 2
    searched = one._replace(seed=memory.SEARCHED_BY)
    memory.train(searched)
    assert "test" not in searched.result, "a search looks at validation sequences alone"
