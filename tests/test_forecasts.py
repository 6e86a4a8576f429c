"""What part two, chapter 1 was published with: the chapter's own code, run by tools/forecasts.py."""

import json
import sys
from pathlib import Path

import pytest
import torch

from common.evaluate import spread
from common.pages.measure import measure_of
from common.pages.results import stored_results

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tools"))
import forecasts  # noqa: E402

STORED = stored_results("rnn-01")
MODELS = STORED["models"]


@pytest.fixture(scope="module")
def taught():
    return forecasts.chapter()


def test_every_task_has_five_seeds_with_where_they_come_from():
    assert tuple(MODELS) == forecasts.TASKS
    for name, entry in MODELS.items():
        assert [run["seed"] for run in entry["runs"]] == [0, 1, 2, 3, 4]
        assert all(made["commit"] and made["machine"] and made["date"] for made in entry["provenance"])
        assert {run["noise"] for run in entry["runs"]} == {0.02 if name.endswith("-noise") else 0.0}
        assert measure_of(entry, name).headline == "50 steps"


@pytest.mark.parametrize("name", forecasts.TASKS)
def test_horizons_are_places_on_the_curves(name):
    for run in MODELS[name]["runs"]:
        for split in ("val", "test"):
            curve = run[f"{split}_curve"]
            assert len(curve) == forecasts.AHEAD
            assert run[split] == [curve[horizon - 1] for horizon in STORED["horizons"]]
            assert run[f"{split}_whole"] == pytest.approx(
                (sum(v * v for v in curve) / len(curve)) ** 0.5, rel=1e-3
            )


def test_the_figures_that_were_to_be_reached():
    assert max(run["test_whole"] for run in MODELS["sines"]["runs"]) < 0.05
    assert MODELS["sines"]["baselines"]["linear"]["test_whole"] < 1e-6
    base, runs = MODELS["chaos"]["baselines"], MODELS["chaos"]["runs"]
    for i, horizon in enumerate(STORED["horizons"]):
        linear = min(base["linear"]["test"][i], base["direct"]["test"][i])
        assert (spread(run["test"][i] for run in runs).mean < linear) == (horizon > 1)
    assert MODELS["noisy"]["baselines"]["linear"]["test_whole"] > STORED["noise"]


def test_a_stored_baseline_comes_out_again(taught):
    task = forecasts.make_task("sines", taught)
    assert forecasts.persistence(task) == MODELS["sines"]["baselines"]["persistence"]


def test_training_validation_and_test_waves_are_different_ones(taught):
    for name in ("sines", "wandering", "chaos"):
        task = forecasts.make_task(name, taught)
        starts = torch.cat([waves[:, :50] for waves in (task.fit, task.val, task.test)])
        apart = torch.cdist(starts, starts, compute_mode="donot_use_mm_for_euclid_dist") + 9 * torch.eye(
            len(starts)
        )
        assert apart.min() > 1e-3


def test_what_is_trained_is_kept_and_stored_when_all_is_there(tmp_path, monkeypatch, capsys, taught):
    monkeypatch.setattr(forecasts, "RUNS", tmp_path / "runs")
    monkeypatch.setattr(forecasts, "STORE", tmp_path / "rnn-01.json")
    monkeypatch.setattr(forecasts, "ROOT", tmp_path)
    monkeypatch.setattr(forecasts, "TASKS", ("sines", "noisy"))
    monkeypatch.setattr(forecasts, "ORDERS", (4,))
    made = []

    def trained(name, seed, taught):
        made.append((name, seed))
        return MODELS[name]["runs"][seed]

    monkeypatch.setattr(forecasts, "trained", trained)
    assert forecasts.main(["--only", "sines", "--seeds", "1"]) == 0
    assert "not stored yet, for 1 runs are missing" in capsys.readouterr().out
    assert forecasts.main(["--seeds", "1"]) == 0
    assert made == [("sines", 0), ("noisy", 0)]
    stored = json.loads((tmp_path / "rnn-01.json").read_text(encoding="utf-8"))
    assert stored["models"]["sines"]["runs"] == MODELS["sines"]["runs"][:1]


def test_a_chapter_without_a_definition_is_refused(monkeypatch):
    monkeypatch.setattr(forecasts, "CHAPTER", ROOT / "book" / "wavenet" / "05_batchnorm_fix.ipynb")
    with pytest.raises(ValueError, match="05_batchnorm_fix.ipynb: expected definitions of Forecaster"):
        forecasts.chapter()
