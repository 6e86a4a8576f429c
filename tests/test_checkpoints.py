"""Checkpoints resume to the same end, bit for bit, and belong to one training."""

import pytest
import torch
from small_runs import built, data, largest_difference, needs_compiler, whole_names
from small_tensors import generator

from common.data import Vocabulary, sequences
from common.fast import loop as loop_module
from common.models import MODELS, Dilated
from common.runs import checkpoints, training
from common.runs.training import EvaluationCallback, train
from common.train import Config, Examples, composed_steps


def test_whole_names_with_dropout_train_and_resume(tmp_path, monkeypatch):
    monkeypatch.setattr(training, "CHUNK", 5)
    config = Config(steps=20, batch_size=16, lr=0.01, optimizer="adamw", ema_decay=0.9)
    (x, y), (whole, generators) = whole_names(dropout=0.2)
    expected = train(whole, (x, y), generators, config)
    assert expected[0, -1] < expected[0, 0]

    kind, path = loop_module.PlainLoop, tmp_path / "checkpoint.pt"
    steps = kind.steps

    def stopped(self, start, stop):
        if start == 10:
            raise KeyboardInterrupt
        return steps(self, start, stop)

    _, (models, generators) = whole_names(dropout=0.2)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(kind, "steps", stopped)
        train(models, (x, y), generators, config, checkpoint=path, checkpoint_every=5)
    _, (models, generators) = whole_names(dropout=0.2)
    losses = train(models, (x, y), generators, config, checkpoint=path, checkpoint_every=5)
    assert torch.equal(losses, expected)
    assert largest_difference(models[0], whole[0]) == 0


@pytest.mark.parametrize("compile", [pytest.param(True, marks=needs_compiler), False])
def test_a_killed_run_resumes_to_the_same_end(tmp_path, monkeypatch, compile):
    monkeypatch.setattr(training, "CHUNK", 10)
    contexts, targets = data(8)
    whole, generators = built("hierarchical-bug", [0, 1])
    expected = train(whole, (contexts, targets), generators, Config(steps=60), compile=compile)

    kind = loop_module.StackedLoop if compile else loop_module.PlainLoop
    steps = kind.steps

    def stopped(self, start, stop):
        if start == 40:
            raise KeyboardInterrupt
        return steps(self, start, stop)

    path = tmp_path / "checkpoint.pt"
    arguments = {"config": Config(steps=60), "compile": compile, "checkpoint": path, "checkpoint_every": 30}
    models, generators = built("hierarchical-bug", [0, 1])
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(kind, "steps", stopped)
        train(models, (contexts, targets), generators, **arguments)
    assert torch.load(path, weights_only=True)["done"] == 30

    models, generators = built("hierarchical-bug", [0, 1])
    losses = train(models, (contexts, targets), generators, **arguments)
    assert torch.equal(losses, expected)
    assert all(largest_difference(a, b) == 0 for a, b in zip(models, whole, strict=True))


def test_half_written_checkpoints_are_never_loaded(tmp_path):
    path = tmp_path / "checkpoint.pt"
    path.write_bytes(b"the whole of another file")
    models, generators = built("mlp", [0])
    with pytest.raises(ValueError, match="not a checkpoint"):
        train(models, data(3), generators, Config(steps=3), compile=False, checkpoint=path)
    assert path.read_bytes() == b"the whole of another file"


@pytest.mark.parametrize(
    "changed", [{"config": Config(steps=30, lr=0.2)}, {"model": "flat"}, {"seeds": [0, 1]}], ids=str
)
def test_a_checkpoint_of_another_run_is_refused(tmp_path, changed):
    path = tmp_path / "checkpoint.pt"
    arguments = {"compile": False, "checkpoint": path}
    models, generators = built("mlp", [0])
    train(models, data(3), generators, Config(steps=30), **arguments)
    model = changed.get("model", "mlp")
    models, generators = built(model, changed.get("seeds", [0]))
    with pytest.raises(ValueError, match="belongs to another run"):
        train(
            models,
            data(MODELS[model].block_size),
            generators,
            changed.get("config", Config(steps=30)),
            **arguments,
        )


def test_a_checkpoint_is_adopted_by_another_configuration(tmp_path):
    path, other = tmp_path / "checkpoint.pt", tmp_path / "other.pt"
    config = Config(steps=30, schedule="constant", optimizer="adam")
    models, generators = built("mlp", [0])
    first = train(models, data(3), generators, config, compile=False, checkpoint=path)
    half = torch.load(path, weights_only=True)
    models, generators = built("mlp", [0])
    expected = composed_steps(models[0], data(3), generators[0], config, 0, 20)
    kept = {}

    # a checkpoint in the middle: the loop stops where the evaluation says so
    class Enough(Exception):
        pass

    def stop(step, values):
        kept[step] = values
        if step == 20:
            raise Enough

    path.unlink()
    models, generators = built("mlp", [0])
    evaluation = EvaluationCallback(10, lambda models: [0.0], stop)
    with pytest.raises(Enough):
        train(
            models, data(3), generators, config, compile=False, checkpoint=path, checkpoint_every=10,
            evaluation=evaluation,
        )  # fmt: skip
    changed = Config(steps=30, schedule="constant", optimizer="adam", lr=1e-9)
    assert checkpoints.adopt(path, other, changed) == 20
    models, generators = built("mlp", [0])
    looks = EvaluationCallback(10, lambda models: [0.0])
    losses = train(models, data(3), generators, changed, compile=False, checkpoint=other, evaluation=looks)
    assert looks.steps == [10, 20, 30]
    assert torch.equal(losses[0, :20], expected) and torch.equal(losses[0, :21], first[0, :21])
    assert not torch.equal(losses, first) and half["done"] == 30
    with pytest.raises(ValueError, match="expected the checkpoint's optimizer"):
        checkpoints.adopt(path, other, Config(steps=30))


@pytest.mark.parametrize("began, went_on", [(10, 4), (10, None), (None, 10)], ids=str)
def test_a_training_is_looked_at_as_it_began(tmp_path, monkeypatch, began, went_on):
    """Or a curve would have looks at the steps of both, or lose those of before."""
    monkeypatch.setattr(training, "CHUNK", 5)
    path, steps = tmp_path / "checkpoint.pt", loop_module.PlainLoop.steps

    def stopped(self, start, stop):
        if start == 20:
            raise KeyboardInterrupt
        return steps(self, start, stop)

    def run(every):
        models, generators = built("mlp", [0])
        evaluation = every and EvaluationCallback(every, lambda models: [0.0])
        options = {"compile": False, "checkpoint": path, "checkpoint_every": 5, "evaluation": evaluation}
        train(models, data(3), generators, Config(steps=30), **options)
        return evaluation.steps if evaluation else None

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(loop_module.PlainLoop, "steps", stopped)
        run(began)
    before = path.read_bytes()
    with pytest.raises(
        ValueError, match=f"expected the evaluate_every that .* began with, got {went_on or 0};"
    ):
        run(went_on)
    assert path.read_bytes() == before
    assert run(began) == (began and [10, 20, 30])


def test_a_checkpoint_of_the_bug_is_not_one_of_its_repair(tmp_path):
    path = tmp_path / "checkpoint.pt"
    options = {"config": Config(steps=3), "compile": False, "checkpoint": path}
    models, generators = built("hierarchical-bug", [0])
    train(models, data(8), generators, **options)
    models, generators = built("hierarchical", [0])
    with pytest.raises(ValueError, match="belongs to another run"):
        train(models, data(8), generators, **options)


def test_a_checkpoint_of_other_names_is_refused(tmp_path):
    options = {"config": Config(steps=3), "compile": False, "checkpoint": tmp_path / "checkpoint.pt"}
    contexts, targets = data(3)
    models, generators = built("mlp", [0])
    train(models, (contexts, targets), generators, **options)
    models, generators = built("mlp", [0])
    with pytest.raises(ValueError, match="belongs to another run; expected data"):
        train(models, (contexts, (targets + 1) % 27), generators, **options)


def test_a_file_of_tensors_is_no_checkpoint(tmp_path):
    path = tmp_path / "checkpoint.pt"
    torch.save({"weight": torch.ones(3)}, path)
    models, generators = built("mlp", [0])
    with pytest.raises(ValueError, match="not a checkpoint"):
        train(models, data(3), generators, Config(steps=3), compile=False, checkpoint=path)


def test_a_checkpoint_belongs_to_its_teachers():
    model = Dilated(9, 4, 4, dilations=(1,), generator=generator())
    x, y, _ = sequences(["ab", "cd"], Vocabulary("abcdefgh"))
    soft = torch.rand((2, 3, 9), generator=generator())
    said = [
        checkpoints.identity(model, Examples(x, y, taught), [Config()], [])
        for taught in (soft, soft + 1, None)
    ]
    assert len({each["data"] for each in said}) == 3


def test_a_checkpoint_holds_tensors_by_name_as_they_are_beside_the_model(tmp_path):
    path, config = tmp_path / "checkpoint.pt", Config(steps=3, optimizer="adamw", ema_decay=0.9)
    models, generators = built("mlp", [0, 1])
    train(models, data(3), generators, config, compile=False, checkpoint=path)
    content = torch.load(path, weights_only=True)
    assert content["done"] == 3 and content["losses"].shape == (2, 3) and len(content["states"]) == 2
    state = content["states"][0]
    assert state.keys() == {"model", "optimizer", "ema"}
    assert (
        list(state["model"]) == list(models[0].state_dict()) and state["ema"].keys() == state["model"].keys()
    )
    assert state["optimizer"].keys() == dict(models[0].named_parameters()).keys()
    assert state["optimizer"]["hidden.weight"].keys() == {"m", "v", "t"}
    assert not [file for file in tmp_path.iterdir() if file != path]


def test_a_file_of_before_with_other_names_is_no_checkpoint_of_now(tmp_path):
    path = tmp_path / "checkpoint.pt"
    torch.save({"identity": {}, "done": 1, "state": {}}, path)
    with pytest.raises(ValueError, match="not a checkpoint of this book .*; move it away to start afresh"):
        checkpoints.restore(path, {}, torch.device("cpu"))


def test_a_checkpoint_belongs_to_its_seeds():
    model, (x, y) = MODELS["mlp"].build(), data(3)
    said = [
        checkpoints.identity(model, Examples(x, y), [Config()], [torch.Generator().manual_seed(seed)])
        for seed in (0, 1)
    ]
    assert said[0] != said[1]
