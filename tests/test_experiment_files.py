"""What chapter 10 reads from files: whole, from validation names alone, and with where it comes from."""

import json
import math

import pytest

from common.evaluate import RESULTS
from common.runs import sweep

FILES = [RESULTS / "optimizers.json", RESULTS / "sweep.json", RESULTS / "ray.json"]


def read(path):
    return json.loads(path.read_text(encoding="utf-8"))


def keys(value):
    """The names of everything in nested dicts and lists."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield key
            yield from keys(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from keys(inner)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_figure_says_where_it_comes_from(path):
    provenance = read(path)["provenance"]
    assert {"command", "commit", "date", "machine", "torch"} <= set(provenance)
    assert provenance["commit"] != "unknown"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_nothing_was_chosen_by_the_test_split(path):
    assert "test" not in set(keys(read(path)))


def test_every_optimiser_has_every_seed_at_every_rate():
    report = read(FILES[0])
    assert set(report["rates"]) == {"sgd", "momentum", "rmsprop", "adam", "adamw"}
    for rates in report["rates"].values():
        assert len(rates) == 8
        for entry in rates.values():
            assert len(entry["val"]) == len(report["seeds"]) == 8
            assert len(entry["curve"]["mean"]) == report["steps"] // report["window"]


def test_the_sweep_ran_every_trial_to_its_end_and_the_best_again_with_other_seeds():
    report = read(FILES[1])
    trials = report["trials"]
    assert len({trial["number"] for trial in trials}) == len(trials) == report["sweep"]["trials"]
    steps = report["sweep"]["run"]["training"]["steps"]
    assert all(trial["state"] == "complete" and trial["curve"][-1][0] == steps for trial in trials)
    assert {name for trial in trials for name in trial["params"]} == set(report["sweep"]["space"])
    assert not set(report["again"]["seeds"]) & set(report["sweep"]["run"]["seeds"])
    ranked = sorted(trials, key=lambda trial: trial["value"])
    assert report["again"]["runs"][0]["number"] == ranked[0]["number"] == sweep.best(trials)["number"]
    assert math.isclose(sum(sweep.importance(report).values()), 1)
