"""Finished runs side by side."""

import pytest
import torch
from safetensors.torch import load_file
from small_runs import NAMES

from common.runs.compare import compare, curves
from common.runs.run import Run, run
from common.train import Config


@pytest.fixture(scope="module")
def names(tmp_path_factory):
    path = tmp_path_factory.mktemp("list") / "short.txt"
    path.write_text("\n".join(NAMES[:300]) + "\n", encoding="utf-8")
    return path


def small(names, **more):
    return Run("mlp", **{"config": Config(steps=60), "sizes": {"n_hidden": 16}, "data": names} | more)


@pytest.fixture(scope="module")
def finished(names, tmp_path_factory):
    """A run of two seeds that was looked at every 20 steps. Read only."""
    folder = tmp_path_factory.mktemp("runs") / "two seeds"
    run(small(names, seeds=(0, 1)), folder, compile=False, evaluate_every=20)
    return folder


def test_curves_of_a_run(finished):
    found = curves(finished)
    history = load_file(finished / "history.safetensors")
    assert found["val"].steps == [20, 40, 60] and found["val"].values.shape == (2, 3)
    assert found["train"].steps == [10, 30, 50]
    expected = history["losses"].double()[:, :20].mean(1)
    assert torch.allclose(found["train"].values[:, 0], expected)
    assert len(curves(finished, window=10)["train"].steps) == 6
    with pytest.raises(ValueError, match="no losses of a run"):
        curves(finished.parent)


def test_a_table_shows_what_runs_differ_in(names, finished, tmp_path):
    run(small(names).changed(lr=0.2, **{"model.n_hidden": 8}), tmp_path / "wide", compile=False)
    header, rows = compare([finished, tmp_path / "wide"])
    assert header == ["run", "model.n_hidden", "lr", "parameters", "seeds", "train", "validation"]
    assert rows[0][:3] == ["two seeds", "16", "0.1"] and rows[1][:3] == ["wide", "8", "0.2"]
    assert rows[0][4] == 2 and "±" in rows[0][-1] and "±" not in rows[1][-1]
    with pytest.raises(ValueError, match="no such file"):
        compare([tmp_path / "nowhere"])
