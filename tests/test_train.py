"""The bare loop is gradient descent, and the composed one is the bare one with what a configuration names."""

import ast
import dataclasses
import inspect
import io
import tokenize
import warnings

import pytest
import torch
import torch.nn.functional as F
from small_runs import built, data, largest_difference, whole_names

from common import optim
from common.data import IGNORE_INDEX
from common.models import MODELS, predictions, tagged
from common.nn import Dropout, Embedding, Flatten, Linear, Module, Sequential
from common.optim import ema_value
from common.train import (
    BEYOND_PLAIN,
    Config,
    Examples,
    TrainingState,
    composed_steps,
    find_device,
    plain_steps,
    seeded,
)


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
    composed_steps(model, (contexts, targets), generator, config, 0, 5)
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


def test_the_loops_leave_neither_gradients_nor_a_generator_behind():
    (x, y), ((model,), (generator,)) = whole_names(dropout=0.2)
    composed_steps(model, (x, y), generator, Config(steps=2, batch_size=4), 0, 2)
    assert not any(t.requires_grad for t in model.state_dict().values()) and not model(x).requires_grad
    dropouts = [layer for layer in model.modules() if isinstance(layer, Dropout)]
    assert dropouts and all(layer.generator is None for layer in dropouts)
    (model,), (generator,) = built("mlp", [0])
    plain_steps(model, *data(3), generator, Config(steps=2), 0, 2)
    assert not any(t.requires_grad for t in model.state_dict().values())


def test_the_composed_loop_cleans_up_after_an_error_too():
    (x, y), ((model,), (generator,)) = whole_names(dropout=0.2)

    class Broken(Examples):
        def loss(self, model, batch, config):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        composed_steps(model, Broken(x, y), generator, Config(steps=2, batch_size=4), 0, 2)
    assert not any(t.requires_grad for t in model.state_dict().values())
    assert all(layer.generator is None for layer in model.modules() if isinstance(layer, Dropout))


# the two loops


@pytest.mark.parametrize("name", tagged("lecture"))
def test_the_composed_loop_with_sgd_is_the_plain_one_bit_for_bit(name):
    models, generators = (built(name, [0, 0])[i] for i in (0, 1))
    config, examples = Config(steps=12, lr=0.3, drop_at=0.5), data(MODELS[name].block_size)
    plain = plain_steps(models[0], *examples, generators[0], config, 0, 12)
    composed = composed_steps(models[1], examples, generators[1], config, 0, 12)
    assert plain.shape == (12,) and plain.device.type == "cpu" and torch.equal(plain, composed)
    assert largest_difference(*models) == 0
    assert torch.equal(generators[0].get_state(), generators[1].get_state())


@pytest.mark.parametrize(
    "loop", [plain_steps, lambda model, x, y, *rest: composed_steps(model, (x, y), *rest)]
)
def test_steps_go_on_where_others_ended(loop):
    models, generators = built("mlp", [0, 0])
    config = Config(steps=8, drop_at=0.5)
    whole = loop(models[0], *data(3), generators[0], config, 0, 8)
    parts = [loop(models[1], *data(3), generators[1], config, *ends) for ends in ((0, 3), (3, 8))]
    assert torch.equal(whole, torch.cat(parts)) and largest_difference(*models) == 0


def test_the_composed_loop_goes_on_from_its_state():
    config = Config(steps=8, lr=0.01, optimizer="adamw", ema_decay=0.5, schedule="cosine", max_grad_norm=0.1)
    models, generators = built("mlp", [0, 0])
    states = [TrainingState.fresh(model, config) for model in models]
    whole = composed_steps(models[0], data(3), generators[0], config, 0, 8, states[0])
    parts = [
        composed_steps(models[1], data(3), generators[1], config, *ends, states[1])
        for ends in ((0, 3), (3, 8))
    ]
    assert torch.equal(whole, torch.cat(parts)) and largest_difference(*models) == 0
    assert states[0].optimizer["hidden.weight"]["t"] == 8
    assert all(torch.equal(t, states[1].ema[name]) for name, t in states[0].ema.items())
    assert states[0].optimizer.keys() == dict(models[0].named_parameters()).keys()
    assert states[0].ema.keys() == models[0].state_dict().keys()


@pytest.mark.parametrize(
    "more",
    [
        {"optimizer": "adam"}, {"weight_decay": 0.1}, {"label_smoothing": 0.1}, {"distill": 0.5},
        {"max_grad_norm": 1.0}, {"ema_decay": 0.9},
    ],
    ids=str,
)  # fmt: skip
def test_the_plain_loop_refuses_a_configuration_that_asks_for_more(more):
    (model,), (generator,) = built("mlp", [0])
    before = {name: t.clone() for name, t in model.state_dict().items()}
    ((name, value),) = more.items()
    with pytest.raises(ValueError, match=f"plain gradient descent, got {name} = {value}; see composed_steps"):
        plain_steps(model, *data(3), generator, Config(steps=2, **more), 0, 2)
    assert all(torch.equal(t, before[name]) for name, t in model.state_dict().items())


def test_every_field_is_of_the_plain_loop_or_beyond_it():
    plain = {"steps", "batch_size", "lr", "schedule", "drop_at", "drop_factor", "warmup", "momentum", "betas"}
    assert plain | set(BEYOND_PLAIN) == {field.name for field in dataclasses.fields(Config)}


def test_the_plain_loop_refuses_dropout_whose_masks_no_seed_would_decide():
    model = Sequential([Embedding(27, 4), Flatten(), Dropout(0.5), Linear(12, 27)])
    with pytest.raises(ValueError, match=r"plain gradient descent, got Dropout\(0.5\); see composed_steps"):
        plain_steps(model, *data(3), torch.Generator(), Config(steps=2), 0, 2)


def test_the_plain_loop_takes_one_target_a_context():
    (x, y), ((model,), (generator,)) = whole_names()
    with pytest.raises(ValueError, match=r"targets of shape \(300,\), not empty, got \(300, "):
        plain_steps(model, x, y, generator, Config(steps=2), 0, 2)
    contexts, targets = data(3)
    with pytest.raises(ValueError, match=f"targets of shape .*, got .{len(targets) - 1},"):
        plain_steps(built("mlp", [0])[0][0], contexts, targets[1:], generator, Config(steps=2), 0, 2)
    with pytest.raises(ValueError, match=r"targets of shape \(0,\), not empty, got \(0,\)"):
        plain_steps(built("mlp", [0])[0][0], contexts[:0], targets[:0], generator, Config(steps=2), 0, 2)


@pytest.mark.parametrize("ends", [(0, 0), (3, 2), (-1, 2)])
@pytest.mark.parametrize(
    "loop", [plain_steps, lambda model, x, y, *rest: composed_steps(model, (x, y), *rest)]
)
def test_the_loops_take_at_least_one_step(loop, ends):
    (model,), (generator,) = built("mlp", [0])
    with pytest.raises(ValueError, match=f"expected at least one step, got {ends[0]} to {ends[1]}"):
        loop(model, *data(3), generator, Config(steps=2), *ends)


def test_the_average_is_one_of_numbers_with_fractions():
    class Counted(Module):
        def __init__(self):
            self.weight = torch.zeros(27, 27)
            self.register_buffer("calls", torch.tensor(0))

        def __call__(self, x):
            self.calls = self.calls + 1
            return self.weight[x[:, -1]]

    model, state = Counted(), TrainingState.fresh(Counted(), Config(steps=3, ema_decay=0.5))
    composed_steps(model, data(3), torch.Generator(), Config(steps=3, ema_decay=0.5), 0, 3, state)
    assert state.ema.keys() == {"weight"} and model.calls == 3 and model.calls.dtype == torch.int64


def lines_of_code(function):
    """Lines with code: without docstring, comments and blank ones."""
    source = inspect.getsource(function)
    node = ast.parse(source).body[0]
    doc = node.body[0] if ast.get_docstring(node) else None
    documented = set(range(doc.lineno, doc.end_lineno + 1)) if doc else set()
    beside = {
        tokenize.COMMENT,
        tokenize.NL,
        tokenize.NEWLINE,
        tokenize.INDENT,
        tokenize.DEDENT,
        tokenize.ENDMARKER,
    }
    tokens = [t for t in tokenize.generate_tokens(io.StringIO(source).readline) if t.type not in beside]
    return len({line for t in tokens for line in range(t.start[0], t.end[0] + 1)} - documented)


def test_the_plain_loop_fits_on_a_page():
    assert lines_of_code(plain_steps) <= 25
    parts = [line.strip() for line in inspect.getsource(plain_steps).splitlines() if line.strip()[:1] == "#"]
    assert parts == ["# minibatch", "# forward", "# backward", "# update", "# track"]


def test_dropout_draws_from_the_runs_generator():
    config = Config(steps=5, batch_size=8)
    losses = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        examples, ((model,), (generator,)) = whole_names(dropout=0.5)
        before = torch.random.get_rng_state()
        losses.append(composed_steps(model, examples, generator, config, 0, 5))
        assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.equal(*losses)


def test_the_average_is_kept_by_name_and_is_that_of_the_steps():
    config, examples = Config(steps=4, ema_decay=0.5), data(8)
    (model,), (generator,) = built("hierarchical", [0])
    state, seen = TrainingState.fresh(model, config), []
    for step in range(4):
        composed_steps(model, examples, generator, config, step, step + 1, state)
        seen.append({name: t.clone() for name, t in model.state_dict().items()})
    shares = [0.5 ** (3 - step) for step in range(4)]
    for name, t in ema_value(state.ema, 0.5, 4).items():
        mean = sum(share * tensors[name] for share, tensors in zip(shares, seen, strict=True)) / sum(shares)
        torch.testing.assert_close(t, mean)


def test_a_long_gradient_is_cut_and_a_short_one_is_not():
    losses = {}
    for norm in (0.0, 1e-3, 1e9):
        (model,), (generator,) = built("mlp", [0])
        before = torch.cat([p.flatten() for p in model.parameters()])
        config = Config(steps=1, max_grad_norm=norm)
        composed_steps(model, data(3), generator, config, 0, 1)
        losses[norm] = (torch.cat([p.flatten() for p in model.parameters()]) - before).norm().item()
    assert losses[1e-3] == pytest.approx(0.1 * 1e-3, rel=1e-2) and losses[0.0] == pytest.approx(losses[1e9])


def test_an_objective_of_ones_own_is_trained_on():
    """What a later part needs: other batches and another loss, in the same loop."""

    class Pairs(Examples):
        def draw(self, generator, batch_size):
            return torch.randint(0, len(self.contexts), (2, batch_size), generator=generator)

        def loss(self, model, batch, config):
            first, second = (F.cross_entropy(model(self.contexts[b]), self.targets[b]) for b in batch)
            return torch.maximum(first, second)

    (model,), (generator,) = built("mlp", [0])
    losses = composed_steps(model, Pairs(*data(3)), generator, Config(steps=40), 0, 40)
    assert losses[-5:].mean() < losses[:5].mean()


def test_seeds_decide_weights_and_batches():
    build = lambda generator: Linear(3, 2, generator=generator)  # noqa: E731
    models, generators = seeded(build, iter([3, 4, 3]))
    assert torch.equal(models[0].weight, models[2].weight) and not torch.equal(
        models[0].weight, models[1].weight
    )
    assert torch.equal(generators[0].get_state(), generators[2].get_state())
    assert torch.equal(models[0].weight, build(torch.Generator().manual_seed(3)).weight)


# configurations


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
        find_device(name)


@pytest.mark.parametrize(
    "cuda, mps, expected",
    [(True, True, "cuda"), (False, True, "mps"), (False, False, "cpu")],
    ids=["cuda", "mps", "cpu"],
)
def test_the_best_device_is_chosen_unless_one_is_asked_for(monkeypatch, cuda, mps, expected):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    monkeypatch.setattr(torch, "zeros", lambda *size, device: torch.ones(1))
    assert find_device().type == expected
    assert find_device("cpu").type == "cpu"


@pytest.mark.parametrize(
    "name, value", [("lr", -1.0), ("steps", 0), ("ema_decay", 2.0), ("max_grad_norm", -0.5)]
)
def test_a_wrong_value_is_said_without_all_the_others(name, value):
    with pytest.raises(ValueError, match=rf"expected {name} to be .*, got {value}$") as error:
        Config(**{name: value})
    assert "schedule" not in str(error.value)


@pytest.mark.parametrize(
    "name, expected",
    [
        ("sgd", optim.SGD(weight_decay=0.25)),
        ("momentum", optim.SGD(0.75, 0.25)),
        ("rmsprop", optim.RMSprop(weight_decay=0.25)),
        ("adam", optim.Adam((0.5, 0.625), weight_decay=0.25)),
        ("adamw", optim.AdamW((0.5, 0.625), weight_decay=0.25)),
        ("muon", optim.Muon(betas=(0.5, 0.625), weight_decay=0.25)),
    ],
)
def test_a_configuration_hands_all_its_settings_to_the_optimiser(name, expected):
    config = Config(optimizer=name, momentum=0.75, betas=(0.5, 0.625), weight_decay=0.25)
    assert config.make_optimizer() == expected


@pytest.mark.parametrize(
    "wrong, said",
    [
        ({"steps": 0}, "expected steps to be a whole number of at least 1, got 0"),
        ({"batch_size": 0}, "expected batch_size to be a whole number of at least 1, got 0"),
        ({"lr": 0.0}, "expected lr to be a number above 0, got 0.0"),
        ({"drop_at": 2.0}, r"expected drop_at to be a number in \[0, 1\], got 2.0"),
        ({"optimizer": "magic"}, "expected optimizer to be one of .*'sgd'.*, got 'magic'"),
        ({"schedule": "magic"}, "expected schedule to be one of .*'drop'.*, got 'magic'"),
        ({"betas": (0.9, 1.0)}, r"expected betas to be two numbers in \[0, 1\), got \(0.9, 1.0\)"),
        ({"betas": (0.9,)}, "two numbers"),
        ({"ema_decay": 1.0}, r"expected ema_decay to be a number in \[0, 1\), got 1.0"),
        ({"max_grad_norm": -1.0}, "expected max_grad_norm to be a number of at least 0, got -1.0"),
    ],
    ids=str,
)
def test_a_configuration_that_cannot_be_meant_is_refused(wrong, said):
    with pytest.raises(ValueError, match=said):
        Config(**wrong)


def test_a_device_may_be_asked_for_by_name():
    with pytest.raises(ValueError, match="device 'abacus' cannot be used"):
        find_device("abacus")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert find_device("cpu").type == "cpu"


# examples


@pytest.mark.parametrize("contexts, targets", [(3, 2), (3, 0), (0, 0)])
def test_examples_are_as_many_contexts_as_targets(contexts, targets):
    with pytest.raises(ValueError, match=f"as many contexts as targets, got {contexts} and {targets}"):
        Examples(torch.zeros(contexts, 4), torch.zeros(targets))


def test_a_teacher_takes_part_in_the_loss(tmp_path):
    (x, y), ((model,), (g,)) = whole_names()
    soft = torch.softmax(torch.randn((*y.shape, 27), generator=torch.Generator().manual_seed(5)), -1).double()
    config = Config(steps=1, batch_size=4, distill=0.3)
    _, ((other,), (again,)) = whole_names()
    loss = composed_steps(model, Examples(x, y, soft), g, config, 0, 1)
    batch = torch.randint(0, len(x), (4,), generator=again)
    logits, wanted = predictions(other.train(), x[batch], y[batch])
    hard = F.cross_entropy(logits, wanted)
    taught = -(soft[batch][y[batch] != IGNORE_INDEX] * logits.log_softmax(-1)).sum(-1).mean()
    assert loss.item() == pytest.approx(float(0.7 * hard + 0.3 * taught))
    wanted = "a teacher's probabilities where distill is above 0, and none where it is 0"
    for given, own, got in ((soft, Config(steps=1), "some and distill = 0.0"), (None, config, "none and")):
        with pytest.raises(ValueError, match=f"expected {wanted}, got {got}"):
            composed_steps(model, Examples(x, y, given), g, own, 0, 1)
    with pytest.raises(ValueError, match="expected a teacher's probabilities for targets of shape"):
        Examples(x, y, soft[:-1])
    with pytest.raises(dataclasses.FrozenInstanceError):
        Examples(x, y, soft).soft_targets = None


def test_a_model_that_mixes_names_is_not_trained():
    class Shift(Module):
        def __call__(self, x):
            return torch.cat([torch.zeros_like(x[:, :1]), x[:, :-1]], dim=1)

    (x, y), _ = whole_names()
    model = Sequential([Embedding(27, 27), Shift()])
    with pytest.raises(ValueError, match="or `packable = False` in it"):
        composed_steps(model, (x, y), torch.Generator(), Config(steps=1), 0, 1)
