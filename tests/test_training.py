"""Training of many seeds: looked at on the way, averaged, ended where a loss is no number."""

import contextlib
import io
import sys
import time
from functools import partial

import pytest
import torch
from small_runs import built, data, whole_names
from tqdm import tqdm

from common.fast import loop as loop_module
from common.models import MODELS
from common.runs import training
from common.runs.training import Diverged, EvaluationCallback, train
from common.train import Config, Examples, composed_steps


def test_the_average_is_the_mean_of_the_steps_weighted_towards_the_last(monkeypatch):
    config = Config(steps=6, ema_decay=0.5)
    monkeypatch.setattr(training, "CHUNK", 1)
    seen, steps = [], loop_module.PlainLoop.steps

    def watched(self, start, stop):
        losses = steps(self, start, stop)
        seen.append({name: t.clone() for name, t in self.models[0].state_dict().items()})
        return losses

    monkeypatch.setattr(loop_module.PlainLoop, "steps", watched)
    models, generators = built("hierarchical", [0])
    train(models, data(8), generators, config, compile=False)
    shares = [0.5 ** (6 - step) for step in range(6)]
    for name, t in models[0].state_dict().items():
        mean = sum(share * tensors[name] for share, tensors in zip(shares, seen, strict=True)) / sum(shares)
        assert torch.allclose(t, mean, atol=1e-12), name


def test_training_leaves_evaluation_mode_and_no_gradients():
    models, generators = built("mlp", [0])
    train(models, data(3), generators, Config(steps=3), compile=False)
    assert not models[0].training and not any(layer.training for layer in models[0].layers)
    assert not any(p.requires_grad for p in models[0].parameters())


@pytest.mark.parametrize("model", ["mlp", "hierarchical-bug"])
def test_a_training_that_must_stay_finite_ends_before_it_keeps_what_is_not(tmp_path, monkeypatch, model):
    monkeypatch.setattr(training, "CHUNK", 5)
    path, config = tmp_path / "checkpoint.pt", Config(steps=40, lr=1.0, schedule="constant")
    # the rate explodes at step 12
    monkeypatch.setattr(Config, "lr_at", lambda self, step: 1e200 if step >= 12 else self.lr)
    options = {"config": config, "compile": False, "checkpoint": path, "checkpoint_every": 5}
    said = []
    for _ in range(2):
        models, generators = built(model, [0, 1])
        with pytest.raises(Diverged, match="models 0, 1 diverged") as caught:
            train(models, data(MODELS[model].block_size), generators, **options, finite=True)
        said.append(str(caught.value))
        state = torch.load(path, weights_only=True)
        assert state["done"] == 10 and state["losses"].isfinite().all()
    assert said[0] == said[1] and caught.value.step in (14, 15)
    models, generators = built(model, [0, 1])
    losses = train(models, data(MODELS[model].block_size), generators, **options)
    assert losses.shape == (2, 40) and not losses.isfinite().all(), "whoever searches rates wants them all"
    models, generators = built(model, [0, 1])
    with pytest.raises(Diverged):  # a checkpoint of before, with NaN in it
        train(models, data(MODELS[model].block_size), generators, **options, finite=True)


def test_bad_input_is_refused():
    contexts, targets = data(3)
    models, generators = built("mlp", [0])
    for generators_, configs in (([], Config()), (generators, [Config(), Config()])):
        with pytest.raises(ValueError, match="one generator and one configuration a model, got 1 models"):
            train(models, (contexts, targets), generators_, configs)
    with pytest.raises(ValueError, match="one generator and one configuration a model, got 0 models"):
        train([], (contexts, targets), [])
    with pytest.raises(ValueError, match="agree in steps and batch_size"):
        models, generators = built("mlp", [0, 1])
        train(models, (contexts, targets), generators, [Config(steps=10), Config(steps=20)])
    with pytest.raises(ValueError, match="as many contexts as targets"):
        train(models, (contexts, targets[1:]), generators)
    with pytest.raises(ValueError, match="expected a teacher's probabilities where distill is above 0"):
        train(models, (contexts, targets), generators, Config(steps=1, distill=0.5))
    with pytest.raises(ValueError, match="expected checkpoint_every of at least 1 step, got 0"):
        train(models, (contexts, targets), generators, Config(steps=1), checkpoint_every=0)


def test_models_may_differ_in_the_learning_rate_and_its_schedule():
    models, generators = built("mlp", [0, 0])
    configs = [Config(steps=4, lr=0.3), Config(steps=4, lr=0.1, schedule="cosine", warmup=2)]
    losses = train(models, data(3), generators, configs, compile=False)
    for config, own in zip(configs, losses, strict=True):
        (model,), (generator,) = built("mlp", [0])
        assert torch.equal(own, composed_steps(model, data(3), generator, config, 0, 4))


def test_examples_with_a_teacher_are_trained_on():
    (x, y), ((model,), (g,)) = whole_names()
    soft = torch.softmax(torch.randn((*y.shape, 27), generator=torch.Generator().manual_seed(5)), -1).double()
    config = Config(steps=3, batch_size=4, distill=0.3)
    losses = train([model], Examples(x, y, soft), [g], config, compile=False)
    _, ((other,), (again,)) = whole_names()
    assert torch.equal(losses[0], composed_steps(other, Examples(x, y, soft), again, config, 0, 3))


# looks on the way


def test_an_evaluation_looks_at_least_every_step():
    assert EvaluationCallback(3, list).due(2) == 3 and EvaluationCallback(3, list).due(3) == 6
    with pytest.raises(ValueError, match="evaluate_every of at least 1 step, got 0"):
        EvaluationCallback(0, list)


def test_an_evaluation_measures_every_model():
    evaluation = EvaluationCallback(3, lambda models: [1.0])
    models, generators = built("mlp", [0, 1])
    with pytest.raises(ValueError, match="expected 2 numbers of measure, one a model, got 1"):
        train(models, data(3), generators, Config(steps=3), compile=False, evaluation=evaluation)
    assert evaluation.steps == evaluation.values == []


def test_an_evaluation_sees_the_models_of_that_moment_in_evaluation_mode():
    seen, heard = [], []

    def measure(models):
        assert not any(module.training for model in models for module in model.modules())
        seen.append([model.hidden.weight.clone() for model in models])
        return [1.0, 2.0]

    models, generators = built("mlp", [0, 1])
    evaluation = EvaluationCallback(4, measure, lambda step, values: heard.append((step, values)))
    train(models, data(3), generators, Config(steps=10), compile=False, evaluation=evaluation)
    assert evaluation.steps == [4, 8, 10] and evaluation.values == [[1.0, 2.0]] * 3
    assert heard == [(4, [1.0, 2.0]), (8, [1.0, 2.0]), (10, [1.0, 2.0])]
    for own, (model, generator) in zip(seen[0], zip(*built("mlp", [0, 1]), strict=True), strict=True):
        composed_steps(model, data(3), generator, Config(steps=10), 0, 4)
        assert torch.equal(own, model.hidden.weight)
    assert all(torch.equal(own, model.hidden.weight) for own, model in zip(seen[-1], models, strict=True))


def test_the_bar_stands_before_the_loop_is_made_and_goes_on_where_a_training_stopped(monkeypatch, tmp_path):
    text, made, taken = io.StringIO(), [], []

    class Bar(tqdm):
        def update(self, n=1):
            taken.append(self.n - self.last_print_n)
            return super().update(n)

    def making(*arguments):
        made.append(text.getvalue())
        return loop_module.make_loop(*arguments)

    def stop(step, values):
        if step == 2 and len(made) == 1:
            raise InterruptedError

    monkeypatch.setattr(training, "make_loop", making)
    monkeypatch.setattr(training, "tqdm", partial(Bar, file=text, mininterval=0))
    monkeypatch.setitem(sys.modules, "ipykernel", sys)  # where a bar is shown though this is no terminal
    for ending in (pytest.raises(InterruptedError), contextlib.nullcontext()):
        models, generators = built("mlp", [0])
        looks = EvaluationCallback(2, lambda models: [0.0], stop)
        with ending:
            train(models, data(3), generators, Config(steps=4), compile=False, checkpoint=tmp_path / "c",
                  checkpoint_every=2, progress="it", evaluation=looks)  # fmt: skip
    assert "it, getting ready:   0%" in made[0] and "it:" not in made[0]
    resumed = text.getvalue()[len(made[1]) :]
    assert taken == [0, 0]  # what was done before is nothing that this session did
    assert "getting ready:   0%" in made[1].rpartition("\r")[2]
    assert "it:  50%" in resumed and "it: 100%" in resumed and "it:   0%" not in resumed


def test_while_a_first_start_compiles_the_clock_goes_on(monkeypatch):
    text = io.StringIO()

    def making(*arguments):
        until = time.monotonic() + 60
        while "[00:02<" not in text.getvalue() and time.monotonic() < until:
            time.sleep(0.05)
        return loop_module.make_loop(*arguments)

    monkeypatch.setattr(training, "make_loop", making)
    monkeypatch.setattr(training, "tqdm", partial(tqdm, file=text))
    monkeypatch.setitem(sys.modules, "ipykernel", sys)
    models, generators = built("mlp", [0])
    train(models, data(3), generators, Config(steps=2), compile=False, progress="it")
    assert "it, getting ready:   0%" in text.getvalue() and "[00:02<" in text.getvalue()
    written = text.getvalue()
    time.sleep(1.2)
    assert text.getvalue() == written


def test_who_diverged_is_said():
    assert str(Diverged(1_234, [1], [7, 8])).startswith("seed 8 diverged: ")
    assert "from about step 1,234 on" in str(Diverged(1_234, [0, 1]))
    assert "models 0, 1" in str(Diverged(1_234, [0, 1])) and isinstance(Diverged(1, [0]), ValueError)


@pytest.mark.parametrize("compile", [True, False])
def test_an_objective_of_ones_own_is_what_is_trained_on_compiled_or_not(compile):
    class Doubled(Examples):
        def loss(self, model, batch, config):
            return 2 * super().loss(model, batch, config)

    models, generators = built("mlp", [0])
    losses = train(models, Doubled(*data(3)), generators, Config(steps=3), compile=compile)
    (other,), (generator,) = built("mlp", [0])
    assert torch.equal(losses[0], composed_steps(other, Doubled(*data(3)), generator, Config(steps=3), 0, 3))
