"""What the book was published with: read back, with where it comes from, and tables made of it."""

import json
import math

import pytest

from common.evaluate import spread
from common.models import tagged
from common.pages import results
from common.pages.results import LECTURE, RESULTS, markdown_table, stored_results, stored_spread


def test_markdown_tables():
    assert markdown_table(["model", "loss"], iter([["mlp", spread([2.0])], ["flat", 3]])) == (
        "| model | loss |\n| :--- | :--- |\n| mlp | 2.000 |\n| flat | 3 |"
    )
    assert markdown_table("abc", [], "lrc").split("\n")[1] == "| :--- | ---: | :---: |"


def test_the_lecture_measured_every_model():
    assert list(LECTURE) == list(tagged("lecture"))
    assert [val for _, val in LECTURE.values()] == [2.105, 2.027, 2.029, 2.022, 1.993]
    assert all(train < val for train, val in LECTURE.values())


def test_stored_results_are_read_back(tmp_path, monkeypatch):
    monkeypatch.setattr(results, "RESULTS", tmp_path)
    runs = [{"seed": 0, "train": 1.0, "val": 2.0}, {"seed": 1, "train": 1.5, "val": 2.2}]
    stored = {"names": {"file": "é.txt"}, "models": {"mlp": {"runs": runs}}}
    (tmp_path / "shipped.json").write_text(json.dumps(stored, ensure_ascii=False), encoding="utf-8")
    assert stored_results() == stored_results("shipped") == stored
    assert stored_spread("mlp") == spread([2.0, 2.2])
    assert stored_spread("mlp", "train", name="shipped") == spread([1.0, 1.5])
    with pytest.raises(ValueError, match=r"no stored results for 'mine'; expected one of \['shipped'\]"):
        stored_results("mine")


# what chapters 11 and 12 read: whole, and from validation names alone

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
    from common.runs import sweep

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
