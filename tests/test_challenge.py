"""The plan of chapter 11: every run is one that `python -m common train` takes, within its league."""

import json

import pytest

from common import __main__ as command_line
from common.evaluate import stored_results
from common.models import RECIPES, WINNERS, count_parameters
from common.provenance import ROOT

PLAN = json.loads((ROOT / "data" / "challenge.json").read_text())
BUDGET = 76_579
LARGE = {"very-large-flat", "teachers", "open"}


def sizes_of(entry):
    options = command_line._parser().parse_args(["train", *entry["arguments"], "--out", "x"])
    return options.model, dict(options.set)


@pytest.mark.parametrize("key", PLAN)
def test_a_run_stays_within_its_league(key):
    model, sizes = sizes_of(PLAN[key])
    parameters = count_parameters(RECIPES[model].sized(27, sizes))
    assert (parameters > BUDGET) == (key in LARGE)
    assert all(run["parameters"] == parameters for run in stored_results("challenge")["lecture"][key]["runs"])


@pytest.mark.parametrize("key", WINNERS)
def test_the_winners_of_the_playground_are_those_of_the_plan(key):
    model, sizes = sizes_of(PLAN[key])
    planned = RECIPES[model].sized(27, sizes).tensors()
    assert {name: t.shape for name, t in WINNERS[key].build().tensors().items()} == {
        name: t.shape for name, t in planned.items()
    }


def test_what_is_stored_is_what_was_planned():
    for name, runs in stored_results("challenge").items():
        assert set(runs) == {key for key, entry in PLAN.items() if name in entry["lists"]}
        for key, entry in runs.items():
            assert entry["arguments"] == PLAN[key]["arguments"] and len(entry["runs"]) == PLAN[key]["seeds"]
            opened = ["test" in run for run in entry["runs"]]
            assert opened == [PLAN[key].get("final", False)] * len(opened)
