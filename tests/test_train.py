"""The plain loop is gradient descent; checkpoints resume to the same end. The fast path: test_stacked."""

import dataclasses
import warnings

import pytest
import torch
from small_runs import built, data, largest_difference, needs_compiler

from common import names, stacked
from common import train as train_module
from common.layers import Dropout, every_layer
from common.models import MODELS, dilated, predictions
from common.train import Config, plain_steps, seeded, train
from common.vocabulary import Vocabulary


def test_learning_rate_drops_once():
    config = Config(steps=200_000)
    assert config.lr_at(0) == config.lr_at(149_999) == 0.1
    assert config.lr_at(150_000) == config.lr_at(199_999) == pytest.approx(0.01)


def test_schedules():
    cosine = Config(steps=110, lr=0.2, schedule="cosine", warmup=10)
    assert [cosine.lr_at(step) for step in (0, 4, 9)] == pytest.approx([0.02, 0.1, 0.2])
    assert [cosine.lr_at(step) for step in (10, 60, 110)] == pytest.approx([0.2, 0.1, 0.0])
    linear = Config(steps=100, lr=0.2, schedule="linear")
    assert [linear.lr_at(step) for step in (0, 25, 100)] == pytest.approx([0.2, 0.15, 0.0])
    assert Config(steps=100, schedule="constant").lr_at(99) == 0.1


def test_adamw_takes_torchs_steps_and_spares_biases():
    contexts, targets = data(3)
    (model,), (generator,) = built("mlp", [0])
    (other,), (again,) = built("mlp", [0])
    config = Config(steps=5, lr=0.01, optimizer="adamw", weight_decay=0.5, schedule="constant")
    plain_steps(model, contexts, targets, generator, config, 0, 5)
    for p in other.parameters():
        p.requires_grad_(True)
    matrices, others = [[p for p in other.parameters() if (p.ndim > 1) == many] for many in (True, False)]
    groups = [{"params": matrices, "weight_decay": 0.5}, {"params": others, "weight_decay": 0.0}]
    torchs = torch.optim.AdamW(groups, lr=0.01)
    other.train()
    for _ in range(5):
        batch = torch.randint(0, len(contexts), (32,), generator=again)
        torchs.zero_grad()
        torch.nn.functional.cross_entropy(other(contexts[batch]), targets[batch]).backward()
        torchs.step()
    assert largest_difference(model, other) < 1e-10


def test_the_average_is_the_mean_of_the_steps_weighted_towards_the_last(monkeypatch):
    config = Config(steps=6, ema_decay=0.5)
    monkeypatch.setattr(train_module, "CHUNK", 1)
    seen, steps = [], train_module.PlainLoop.steps

    def watched(self, start, stop):
        losses = steps(self, start, stop)
        seen.append({name: t.clone() for name, t in self.models[0].state_dict().items()})
        return losses

    monkeypatch.setattr(train_module.PlainLoop, "steps", watched)
    models, generators = built("hierarchical", [0])
    train(models, *data(8), generators, config, compile=False)
    shares = [0.5 ** (6 - step) for step in range(6)]
    for name, t in models[0].state_dict().items():
        mean = sum(share * tensors[name] for share, tensors in zip(shares, seen, strict=True)) / sum(shares)
        assert torch.allclose(t, mean, atol=1e-12), name


def whole_names(dropout=0.0):
    words = load_names(SHIPPED_NAMES)[:300]
    build = lambda generator: (  # noqa: E731
        Dilated(n_embd=4, n_hidden=8, dropout=dropout, generator=generator).to(dtype=torch.float64)
    )
    return examples(words, Vocabulary("".join(words)), None), seeded(build, [0])


def test_whole_names_end_to_end_give_the_logits_of_padded_rows():
    (x, y), ((model,), _) = whole_names()
    real = y != IGNORE_INDEX
    logits, wanted = predictions(model.train(), x, y)
    assert torch.equal(wanted, y[real])
    assert torch.allclose(logits, model(x, mask=real)[real], atol=1e-10)
    model.layers[0].packs = False  # as a recurrent layer says
    assert torch.allclose(predictions(model, x, y)[0], logits, atol=1e-10)


def test_whole_names_with_dropout_train_and_resume(tmp_path, monkeypatch):
    monkeypatch.setattr(train_module, "CHUNK", 5)
    config = Config(steps=20, batch_size=16, lr=0.01, optimizer="adamw", ema_decay=0.9)
    (x, y), (whole, generators) = whole_names(dropout=0.2)
    expected = train(whole, x, y, generators, config)
    assert expected[0, -1] < expected[0, 0]

    kind, path = train_module.PlainLoop, tmp_path / "checkpoint.pt"
    steps = kind.steps

    def stopped(self, start, stop):
        if start == 10:
            raise KeyboardInterrupt
        return steps(self, start, stop)

    _, (models, generators) = whole_names(dropout=0.2)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(kind, "steps", stopped)
        train(models, x, y, generators, config, checkpoint=path, every=5)
    _, (models, generators) = whole_names(dropout=0.2)
    losses = train(models, x, y, generators, config, checkpoint=path, every=5)
    assert torch.equal(losses, expected)
    assert largest_difference(models[0], whole[0]) == 0


def test_one_step_is_gradient_descent():
    contexts, targets = data(3)
    (model,), (generator,) = built("mlp", [0])
    (before,), (again,) = built("mlp", [0])
    plain_steps(model, contexts, targets, generator, Config(steps=1), 0, 1)
    batch = torch.randint(0, len(contexts), (32,), generator=again)
    for p in before.parameters():
        p.requires_grad_(True)
    torch.nn.functional.cross_entropy(before(contexts[batch]), targets[batch]).backward()
    for new, old in zip(model.parameters(), before.parameters(), strict=True):
        assert torch.allclose(new, old.detach() - 0.1 * old.grad, atol=1e-12)


def test_training_leaves_evaluation_mode_and_no_gradients():
    models, generators = built("mlp", [0])
    train(models, *data(3), generators, Config(steps=3), compile=False)
    assert not models[0].training and not any(layer.training for layer in models[0].layers)
    assert not any(p.requires_grad for p in models[0].parameters())


def test_plain_steps_leave_neither_gradients_nor_a_generator_behind():
    (x, y), ((model,), (generator,)) = whole_names(dropout=0.2)
    plain_steps(model, x, y, generator, Config(steps=2, batch_size=4), 0, 2)
    assert not any(t.requires_grad for t in model.state_dict().values()) and not model(x).requires_grad
    dropouts = [layer for layer in model.modules() if isinstance(layer, Dropout)]
    assert dropouts and all(layer.generator is None for layer in dropouts)


@pytest.mark.parametrize("model", ["mlp", "hierarchical-bug"])
def test_a_training_that_must_stay_finite_ends_before_it_keeps_what_is_not(tmp_path, monkeypatch, model):
    monkeypatch.setattr(train_module, "CHUNK", 5)
    path, config = tmp_path / "checkpoint.pt", Config(steps=40, lr=1.0, schedule="constant")
    # the rate explodes at step 12
    monkeypatch.setattr(Config, "lr_at", lambda self, step: 1e200 if step >= 12 else self.lr)
    options = {"config": config, "compile": False, "checkpoint": path, "every": 5}
    said = []
    for _ in range(2):
        models, generators = built(model, [0, 1])
        with pytest.raises(train_module.Diverged, match="models 0, 1 diverged") as caught:
            train(models, *data(MODELS[model].block_size), generators, **options, finite=True)
        said.append(str(caught.value))
        state = torch.load(path, weights_only=True)
        assert state["done"] == 10 and state["losses"].isfinite().all()
    assert said[0] == said[1] and caught.value.step in (14, 15)
    models, generators = built(model, [0, 1])
    losses = train(models, *data(MODELS[model].block_size), generators, **options)
    assert losses.shape == (2, 40) and not losses.isfinite().all(), "whoever searches rates wants them all"
    models, generators = built(model, [0, 1])
    with pytest.raises(train_module.Diverged):  # a checkpoint of before, with NaN in it
        train(models, *data(MODELS[model].block_size), generators, **options, finite=True)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), "0.1", None, True], ids=str)
@pytest.mark.parametrize("name", [f.name for f in dataclasses.fields(Config) if type(f.default) is float])
def test_every_number_of_a_configuration_is_a_finite_one(name, value):
    with pytest.raises(ValueError, match=name):
        Config(**{name: value})


@pytest.mark.parametrize(
    "name, value",
    [
        ("steps", 10.0), ("steps", True), ("steps", 2**63), ("batch_size", "32"), ("warmup", 1.5),
        ("betas", 0.9), ("betas", ("a", "b")), ("betas", [0.9, float("nan")]), ("drop_factor", -0.1),
        ("schedule", 3), ("optimizer", None),
    ],
    ids=str,
)  # fmt: skip
def test_a_configuration_is_checked_by_its_types(name, value):
    with pytest.raises(ValueError, match=name):
        Config(**{name: value})


@pytest.mark.parametrize("name", ["meta", "hpu", "", "cuda:99", "CPU"], ids=repr)
def test_a_device_that_cannot_train_is_refused(name):
    with pytest.raises(ValueError, match=f"device '{name}' cannot be used here"):
        train_module.device(name)


@pytest.mark.parametrize("compile", [pytest.param(True, marks=needs_compiler), False])
def test_a_killed_run_resumes_to_the_same_end(tmp_path, monkeypatch, compile):
    monkeypatch.setattr(train_module, "CHUNK", 10)
    contexts, targets = data(8)
    whole, generators = built("hierarchical-bug", [0, 1])
    expected = train(whole, contexts, targets, generators, Config(steps=60), compile=compile)

    kind = stacked.StackedLoop if compile else train_module.PlainLoop
    steps = kind.steps

    def stopped(self, start, stop):
        if start == 40:
            raise KeyboardInterrupt
        return steps(self, start, stop)

    path = tmp_path / "checkpoint.pt"
    arguments = {"config": Config(steps=60), "compile": compile, "checkpoint": path, "every": 30}
    models, generators = built("hierarchical-bug", [0, 1])
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(kind, "steps", stopped)
        train(models, contexts, targets, generators, **arguments)
    assert torch.load(path, weights_only=True)["done"] == 30

    models, generators = built("hierarchical-bug", [0, 1])
    losses = train(models, contexts, targets, generators, **arguments)
    assert torch.equal(losses, expected)
    assert all(largest_difference(a, b) == 0 for a, b in zip(models, whole, strict=True))


def test_half_written_checkpoints_are_never_loaded(tmp_path):
    path = tmp_path / "checkpoint.pt"
    path.write_bytes(b"the whole of another file")
    models, generators = built("mlp", [0])
    with pytest.raises(ValueError, match="not a checkpoint"):
        train(models, *data(3), generators, Config(steps=3), compile=False, checkpoint=path)
    assert path.read_bytes() == b"the whole of another file"


@pytest.mark.parametrize(
    "changed", [{"config": Config(steps=30, lr=0.2)}, {"model": "flat"}, {"seeds": [0, 1]}], ids=str
)
def test_a_checkpoint_of_another_run_is_refused(tmp_path, changed):
    path = tmp_path / "checkpoint.pt"
    arguments = {"compile": False, "checkpoint": path}
    models, generators = built("mlp", [0])
    train(models, *data(3), generators, Config(steps=30), **arguments)
    model = changed.get("model", "mlp")
    models, generators = built(model, changed.get("seeds", [0]))
    with pytest.raises(ValueError, match="belongs to another run"):
        train(
            models,
            *data(MODELS[model].block_size),
            generators,
            changed.get("config", Config(steps=30)),
            **arguments,
        )


def test_a_checkpoint_is_adopted_by_another_configuration(tmp_path):
    path, other = tmp_path / "checkpoint.pt", tmp_path / "other.pt"
    config = Config(steps=30, schedule="constant", optimizer="adam")
    models, generators = built("mlp", [0])
    first = train(models, *data(3), generators, config, compile=False, checkpoint=path)
    half = torch.load(path, weights_only=True)
    models, generators = built("mlp", [0])
    expected = plain_steps(models[0], *data(3), generators[0], config, 0, 20)
    kept = {}

    # a checkpoint in the middle: the loop stops where the watch says so
    class Enough(Exception):
        pass

    def stop(step, values):
        kept[step] = values
        if step == 20:
            raise Enough

    path.unlink()
    models, generators = built("mlp", [0])
    watch = train_module.Watch(10, lambda models: [0.0], stop)
    with pytest.raises(Enough):
        train(models, *data(3), generators, config, compile=False, checkpoint=path, every=10, watch=watch)
    changed = Config(steps=30, schedule="constant", optimizer="adam", lr=1e-9)
    assert train_module.adopt(path, other, changed) == 20
    models, generators = built("mlp", [0])
    losses = train(models, *data(3), generators, changed, compile=False, checkpoint=other)
    assert torch.equal(losses[0, :20], expected) and torch.equal(losses[0, :21], first[0, :21])
    assert not torch.equal(losses, first) and half["done"] == 30
    with pytest.raises(ValueError, match="expected the checkpoint's optimizer"):
        train_module.adopt(path, other, Config(steps=30))


def test_a_checkpoint_of_the_bug_is_not_one_of_its_repair(tmp_path):
    path = tmp_path / "checkpoint.pt"
    options = {"config": Config(steps=3), "compile": False, "checkpoint": path}
    models, generators = built("hierarchical-bug", [0])
    train(models, *data(8), generators, **options)
    models, generators = built("hierarchical", [0])
    with pytest.raises(ValueError, match="belongs to another run"):
        train(models, *data(8), generators, **options)


def test_a_checkpoint_of_other_names_is_refused(tmp_path):
    options = {"config": Config(steps=3), "compile": False, "checkpoint": tmp_path / "checkpoint.pt"}
    contexts, targets = data(3)
    models, generators = built("mlp", [0])
    train(models, contexts, targets, generators, **options)
    models, generators = built("mlp", [0])
    with pytest.raises(ValueError, match="belongs to another run; expected data"):
        train(models, contexts, (targets + 1) % 27, generators, **options)


def test_a_file_of_tensors_is_no_checkpoint(tmp_path):
    path = tmp_path / "checkpoint.pt"
    torch.save({"weight": torch.ones(3)}, path)
    models, generators = built("mlp", [0])
    with pytest.raises(ValueError, match="not a checkpoint"):
        train(models, *data(3), generators, Config(steps=3), compile=False, checkpoint=path)


@pytest.mark.parametrize(
    "cuda, mps, expected",
    [(True, True, "cuda"), (False, True, "mps"), (False, False, "cpu")],
    ids=["cuda", "mps", "cpu"],
)
def test_the_best_device_is_chosen_unless_one_is_asked_for(monkeypatch, cuda, mps, expected):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    monkeypatch.setattr(torch, "zeros", lambda *size, device: torch.ones(1))
    assert train_module.device().type == expected
    assert train_module.device("cpu").type == "cpu"


def test_bad_input_is_refused():
    contexts, targets = data(3)
    models, generators = built("mlp", [0])
    with pytest.raises(ValueError, match="one generator and one configuration a model"):
        train(models, contexts, targets, [])
    with pytest.raises(ValueError, match="one generator and one configuration a model"):
        train(models, contexts, targets, generators, [Config(), Config()])
    with pytest.raises(ValueError, match="agree in steps and batch_size"):
        models, generators = built("mlp", [0, 1])
        train(models, contexts, targets, generators, [Config(steps=10), Config(steps=20)])
    with pytest.raises(ValueError, match="as many contexts as targets"):
        train(models, contexts, targets[1:], generators)
    for wrong in (
        {"steps": 0},
        {"batch_size": 0},
        {"lr": 0.0},
        {"lr": float("nan")},
        {"drop_at": 2.0},
    ):
        with pytest.raises(ValueError, match="expected steps"):
            Config(**wrong)
    for wrong, said in (
        ({"optimizer": "magic"}, "expected optimizer to be one of"),
        ({"schedule": "magic"}, "expected schedule to be one of"),
        ({"betas": (0.9, 1.0)}, "two betas"),
        ({"betas": (0.9,)}, "two betas"),
        ({"average": 1.0}, "average in"),
        ({"clip": -1.0}, "no negative"),
    ):
        with pytest.raises(ValueError, match=said):
            Config(**wrong)
    with pytest.raises(ValueError, match="device 'abacus' cannot be used"):
        train_module.device("abacus")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert train_module.device("cpu").type == "cpu"


def test_a_teacher_takes_part_in_the_loss(tmp_path):
    (x, y), ((model,), (g,)) = whole_names()
    soft = torch.softmax(torch.randn((*y.shape, 27), generator=torch.Generator().manual_seed(5)), -1).double()
    config = Config(steps=1, batch_size=4, distill=0.3)
    _, ((other,), (again,)) = whole_names()
    loss = train([model], x, y, [g], config, soft=soft)
    batch = torch.randint(0, len(x), (4,), generator=again)
    logits, wanted = predictions(other.train(), x[batch], y[batch])
    hard = torch.nn.functional.cross_entropy(logits, wanted)
    taught = -(soft[batch][y[batch] != IGNORE_INDEX] * logits.log_softmax(-1)).sum(-1).mean()
    assert loss.item() == pytest.approx(float(0.7 * hard + 0.3 * taught))
    for wrong in ({"config": Config(steps=1)}, {"soft": None}, {"soft": soft[:-1]}):
        with pytest.raises(ValueError, match="expected a teacher's probabilities"):
            train([model], x, y, [g], **({"config": config, "soft": soft} | wrong))


@pytest.mark.parametrize("name, value", [("lr", -1.0), ("steps", 0), ("average", 2.0), ("clip", -0.5)])
def test_a_wrong_value_is_said_without_all_the_others(name, value):
    with pytest.raises(ValueError, match=rf"expected .*\b{name}\b.*, got .*\b{name} = {value}\b") as error:
        Config(**{name: value})
    assert "schedule" not in str(error.value)
