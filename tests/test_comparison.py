"""Finished runs side by side."""

import json

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from small_runs import NAMES, small

from common.runs import tasks
from common.runs.comparison import compare, curves
from common.runs.folder import claimed, export_model
from common.runs.running import Run, run
from common.runs.tasks import digest
from common.train import Config


@pytest.fixture(scope="module")
def names(tmp_path_factory):
    path = tmp_path_factory.mktemp("list") / "short.txt"
    path.write_text("\n".join(NAMES[:300]) + "\n", encoding="utf-8")
    return path


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


def test_a_history_without_looks_has_no_validation_curve(tmp_path):
    history = {"losses": torch.ones(2, 300), "val_steps": torch.tensor([]), "val": torch.tensor([])}
    save_file(history, tmp_path / "history.safetensors")
    found = curves(tmp_path)
    assert found.keys() == {"train"} and len(found["train"].steps) == 100


def test_a_table_shows_what_runs_differ_in(names, finished, tmp_path):
    run(small(names).changed(lr=0.2, **{"model.n_hidden": 8}), tmp_path / "wide", compile=False)
    header, rows = compare([finished, tmp_path / "wide"])
    assert header == ["run", "model.n_hidden", "lr", "parameters", "seeds", "train", "validation"]
    assert rows[0][:3] == ["two seeds", "16", "0.1"] and rows[1][:3] == ["wide", "8", "0.2"]
    assert rows[0][4] == 2 and "±" in rows[0][-1] and "±" not in rows[1][-1]
    with pytest.raises(ValueError, match="no such file"):
        compare([tmp_path / "nowhere"])


def test_a_task_of_something_else_is_compared_and_exported(names, tmp_path, monkeypatch):
    """Numbers, say: its settings have no list of names."""

    def letters(path, *how):
        data = tasks.names(path, *how)
        about = {"letters": {"sha256": digest(path)}, "vocabulary": data.about["vocabulary"]}
        return data._replace(about=about)

    monkeypatch.setitem(tasks.TASKS, "letters", tasks.Task(letters))
    other = tmp_path / "other.txt"
    other.write_text(names.read_text(encoding="utf-8") + "zoe\n", encoding="utf-8")
    for path in (names, other):
        what = Run("mlp", Config(steps=2), {"n_hidden": 4}, data=path, task="letters")
        run(what, tmp_path / path.stem, compile=False)
    run(small(names, config=Config(steps=2), sizes={"n_hidden": 4}), tmp_path / "names", compile=False)
    header, rows = compare([tmp_path / name for name in ("short", "other", "names")])
    assert header[:3] == ["run", "task", "list"]
    lists = [digest(path)[:8] for path in (names, other, names)]
    assert [row[1:3] for row in rows] == [["letters", lists[0]], ["letters", lists[1]], ["names", lists[2]]]

    export_model(tmp_path / "short", 0, tmp_path / "model")
    with safe_open(tmp_path / "model", "pt") as file:
        assert file.metadata()["letters"] == digest(names) and "names" not in file.metadata()

    claim = tmp_path / "claim"
    asked = json.loads((tmp_path / "short" / "config.json").read_text(encoding="utf-8"))
    for seeds in ([0], [1]):  # one that never got to a checkpoint is taken over
        with claimed(claim, asked | {"seeds": seeds}):
            pass
