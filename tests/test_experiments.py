"""A run is a dataclass and a folder: it is looked at on the way, compared, stopped, and found again."""

import json
import math

import pytest
import torch
from safetensors.torch import load_file
from small_runs import NAMES

from common import experiments
from common import train as train_module
from common.evaluate import mean_loss
from common.experiments import Run, compare, curves, run
from common.models import wavenet
from common.train import Config

STEPS, EVERY = 60, 20


@pytest.fixture(scope="module")
def names(tmp_path_factory):
    path = tmp_path_factory.mktemp("list") / "short.txt"
    path.write_text("\n".join(NAMES[:300]) + "\n", encoding="utf-8")
    return path


def small(names, **more):
    return Run("mlp", **{"config": Config(steps=STEPS), "sizes": {"n_hidden": 16}, "names": names} | more)


@pytest.fixture(scope="module")
def finished(names, tmp_path_factory):
    """A run of two seeds that was looked at every 20 steps. Read only."""
    folder = tmp_path_factory.mktemp("runs") / "two seeds"
    run(small(names, seeds=(0, 1)), folder, compile=False, every=EVERY)
    return folder


def test_a_run_survives_its_json(names):
    what = Run("dilated", Config(betas=(0.8, 0.9)), {"dilations": [1, 2]}, (3, 4), names, None, True)
    assert Run.from_json(json.loads(json.dumps(what.to_json()))) == what
    assert hash(what) == hash(Run.from_json(what.to_json()))
    assert Run.from_json(Run("mlp").to_json()).names.name == "names.txt"


def test_the_identity_is_that_of_the_content(names, tmp_path):
    copied = tmp_path / "other name.txt"
    copied.write_bytes(names.read_bytes())
    assert small(copied).identity() == small(names).identity()
    copied.write_bytes(names.read_bytes() + b"zoe\n")
    others = [small(copied), small(names, seeds=(1,)), small(names).changed(lr=0.2)]
    assert len({what.identity() for what in [small(names), *others]}) == 4


def test_values_change_by_their_names(names):
    changed = small(names).changed(lr=0.5, **{"model.n_embd": 4})
    assert changed.config == Config(steps=STEPS, lr=0.5)
    assert dict(changed.sizes) == {"n_hidden": 16, "n_embd": 4}
    with pytest.raises(ValueError, match="got depth"):
        small(names).changed(depth=3)
    with pytest.raises(ValueError, match="a model among"):
        Run("deep")


@pytest.mark.parametrize(
    "sizes, message",
    [
        ({"gate": "perhaps"}, "gate to be true or false, got 'perhaps'"),
        ({"n_channels": 0}, "n_channels to be a whole number of at least 1, got 0"),
        ({"dilations": 4}, "dilations to be a list"),
        ({"dropout": math.nan}, "dropout to be a number from 0 to below 1"),
        ({"depth": 3}, "sizes among"),
    ],
    ids=str,
)
def test_sizes_are_checked_wherever_they_come_from(sizes, message):
    with pytest.raises(ValueError, match=message):
        Run("wavenet", sizes=sizes)
    with pytest.raises(ValueError, match=message):
        Run("wavenet").changed(**{f"model.{name}": value for name, value in sizes.items()})
    with pytest.raises(ValueError, match=message):
        Run.from_json(Run("wavenet").to_json() | {"sizes": sizes})


def test_a_word_for_a_part_is_what_it_means():
    said, meant = (Run("wavenet", sizes={"gate": value}) for value in ("False", False))
    assert said == meant and said.identity() == meant.identity()
    assert repr(said.build(27)) == repr(WaveNet(gate=False))


@pytest.mark.parametrize("seeds", [3, (), (0, 0), (-1,), (2**64,), (1.5,), (True,)], ids=str)
def test_seeds_are_what_a_generator_takes_and_differ(seeds):
    with pytest.raises(ValueError, match="expected (at least 1 seed|seeds)"):
        Run("mlp", seeds=seeds)


def test_who_listens_is_told_of_a_loss_that_is_no_number_and_decides(names, tmp_path):
    class Pruned(Exception):
        pass

    def stop(step, value):
        heard.append((step, math.isfinite(value)))
        raise Pruned

    heard, what = [], small(names, config=Config(steps=STEPS, lr=1e30))
    with pytest.raises(Pruned):
        run(what, tmp_path / "stopped", compile=False, every=EVERY, report=stop)
    assert heard == [(EVERY, False)]
    results = run(what, tmp_path / "heard", compile=False, every=EVERY, report=lambda step, value: None)
    assert not math.isfinite(results["mean"]["val"])
    with pytest.raises(ValueError, match="seed 0 diverged: .* from about step [2-9] on"):
        run(what, tmp_path / "alone", compile=False, every=EVERY)
    assert not list(tmp_path.glob("*/results.json")) and not list(tmp_path.glob("*/model-*"))


@pytest.mark.parametrize("weight, loss", [(math.inf, 2.5), (1.0, math.nan)], ids=["weight", "loss"])
def test_a_step_too_far_at_the_very_end_is_no_result(names, tmp_path, monkeypatch, weight, loss):
    """The losses of all batches are finite; what the last step makes of the weights is not."""

    def training(models, x, y, generators, config, **how):
        models[1].state_dict()["0.weight"][3, 2] = weight
        return torch.ones(2, config.steps)

    monkeypatch.setattr(experiments, "train", training)
    monkeypatch.setattr(experiments, "mean_loss", lambda model, x, y: loss)
    with pytest.raises(ValueError, match=f"seeds? .*1 diverged: .* from about step {STEPS} on"):
        run(small(names, seeds=(0, 1)), tmp_path / "run", compile=False)
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["config.json"]


def test_nothing_is_said_before_all_is_written(names, tmp_path):
    folder, said = tmp_path / "run", []

    def say(line):
        assert (folder / "results.json").exists() and (folder / "model-1.safetensors").exists()
        said.append(line)

    run(small(names, seeds=(0, 1)), folder, compile=False, say=say)
    assert len(said) == 3


def test_what_was_looked_at_is_the_loss_of_that_moment(names, finished, tmp_path):
    history = load_file(finished / "history.safetensors")
    assert history["val_steps"].tolist() == [20, 40, 60] and history["val"].shape == (2, 3)
    results = json.loads((finished / "results.json").read_text(encoding="utf-8"))
    assert history["val"][:, -1].tolist() == pytest.approx([one["val"] for one in results["runs"]])
    assert results["curve"]["steps"] == [20, 40, 60]
    # a constant rate, so that a run of 20 steps is the beginning of one of 60
    constant = Config(steps=60, schedule="constant", ema_decay=0.9)
    seen = {}
    run(small(names, config=constant), tmp_path / "a", compile=False, every=20, report=seen.__setitem__)
    short = Config(steps=20, schedule="constant", ema_decay=0.9)
    again = run(small(names, config=short), tmp_path / "b", compile=False)
    assert seen[20] == pytest.approx(again["mean"]["val"], abs=1e-6)


def test_looking_changes_nothing(names, tmp_path):
    what = small(names, seeds=(0, 1), config=Config(steps=STEPS, ema_decay=0.9, optimizer="adam"))
    seen = run(what, tmp_path / "seen", compile=False, every=7)
    unseen = run(what, tmp_path / "unseen", compile=False)
    assert seen["runs"] == unseen["runs"]
    losses = [load_file(tmp_path / f / "history.safetensors")["losses"] for f in ("seen", "unseen")]
    assert torch.equal(*losses)


def test_a_report_stops_a_run_and_a_resumed_one_tells_it_all_again(names, finished, tmp_path):
    class Enough(Exception):
        pass

    def stop(step, value):
        heard.append((step, value))
        if step == 40:
            raise Enough

    heard, folder, what = [], tmp_path / "run", small(names, seeds=(0, 1))
    with pytest.raises(Enough):
        run(what, folder, compile=False, every=EVERY, report=stop, checkpoint_every=EVERY)
    assert not (folder / "results.json").exists()
    first, heard = heard, []
    results = run(what, folder, compile=False, every=EVERY, report=lambda *said: heard.append(said))
    assert [step for step, _ in heard] == [20, 40, 60] and heard[:2] == first
    assert results["runs"] == json.loads((finished / "results.json").read_text(encoding="utf-8"))["runs"]


def test_a_search_leaves_the_test_split_alone(names, tmp_path, monkeypatch):
    hidden = experiments.data(small(names), torch.device("cpu")).splits["test"][0]

    def watched(model, x, y):
        assert x is not hidden
        return mean_loss(model, x, y)

    monkeypatch.setattr(experiments, "mean_loss", watched)
    results = run(small(names), tmp_path / "run", compile=False, every=EVERY, splits=("val",))
    assert set(results["mean"]) == {"val"} and set(results["runs"][0]) == {"seed", "parameters", "val"}


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


def test_a_watch_looks_at_least_every_step():
    assert train_module.Watch(3, list).due(2) == 3 and train_module.Watch(3, list).due(3) == 6
    with pytest.raises(ValueError, match="every = 0"):
        train_module.Watch(0, list)


@pytest.mark.parametrize("size", ["gate", "residual"])
def test_a_run_whose_false_was_once_taken_as_true_is_not_read_as_another_network(names, tmp_path, size):
    run(Run("wavenet", Config(steps=2), names=names), tmp_path, compile=False)
    path = tmp_path / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"sizes": {size: "False"}}))
    with pytest.raises(ValueError, match=f"config.json: {size} is 'False'.*train again"):
        experiments.load_model(tmp_path, 0)
