"""The stacked step computes what the readable loop computes, operation by operation."""

import pytest
import torch
from small_runs import built, data, largest_difference

from common.fast import PlainLoop, Stacked, StackedLoop
from common.models import MODELS, tagged
from common.train import Config, Examples, TrainingState, plain_steps

OTHER_WAYS = [
    {"optimizer": "momentum", "weight_decay": 0.01},
    {"optimizer": "rmsprop", "lr": 0.001, "schedule": "linear"},
    {"optimizer": "adam", "lr": 0.003, "max_grad_norm": 0.5},
    {"optimizer": "muon", "lr": 0.005},
    {"optimizer": "adamw", "lr": 0.003, "weight_decay": 0.1, "ema_decay": 0.9, "label_smoothing": 0.1},
]


@pytest.mark.parametrize("model", tagged("lecture"))
def test_the_uncompiled_graph_equals_plain(model):
    contexts, targets = data(MODELS[model].block_size)
    config = Config(steps=200)
    expected_models, generators = built(model, [0, 3])
    pairs = zip(expected_models, generators, strict=True)
    expected = torch.stack([plain_steps(m, contexts, targets, g, config, 0, 200) for m, g in pairs])
    models, generators = built(model, [0, 3])
    loop = StackedLoop(models, (contexts, targets), generators, [config] * 2, compile=False)
    assert torch.allclose(loop.steps(0, 200), expected, atol=1e-8, rtol=0)
    for m, (tensors, beside), other in zip(models, loop.states(), expected_models, strict=True):
        assert largest_difference(m.load_state_dict(tensors), other) < 1e-8
        assert beside == TrainingState({name: {} for name, _ in m.named_parameters()}, {})


@pytest.mark.parametrize("how", OTHER_WAYS, ids=lambda how: how["optimizer"])
def test_the_graph_of_every_optimiser_equals_plain(how):
    # the buggy tree, for its statistics also grow
    config, model = Config(**{"steps": 25, "warmup": 10, **how}), "hierarchical-bug"
    examples = Examples(*data(MODELS[model].block_size))
    models, generators = built(model, [0, 3])
    plain = PlainLoop(models, examples, generators, [config] * 2)
    expected = plain.steps(0, 25)
    models, generators = built(model, [0, 3])
    loop = StackedLoop(models, examples, generators, [config] * 2, compile=False)
    assert torch.allclose(loop.steps(0, 25), expected, atol=1e-8, rtol=0)
    for ours, theirs in zip(map(flat, loop.states()), map(flat, plain.states()), strict=True):
        assert list(ours) == list(theirs)
        # the averages' own shapes grow with the statistics; the numbers are the same
        assert all((ours[name] - theirs[name]).abs().max() < 1e-8 for name in ours)


def flat(state):
    """{path: tensor} of a model's tensors and what stands beside them."""
    tensors, beside = state
    slots = {(n, slot): t for n, own in beside.optimizer.items() for slot, t in own.items()}
    return tensors | slots | {(name, "ema"): t for name, t in beside.ema.items()}


def test_what_was_stacked_comes_back_with_the_names_in_the_models_order():
    config = Config(optimizer="adamw", ema_decay=0.9)
    models, _ = built("hierarchical", range(3))
    stacked = Stacked(models, data(8), config)
    tensors = stacked.start(models)
    assert all(len(t) == 3 for t in tensors)
    for model, state in zip(models, stacked.unstack(tensors), strict=True):
        expected = flat((model.state_dict(), TrainingState.fresh(model, config)))
        assert list(flat(state)) == list(expected)
        assert all(torch.equal(t, expected[name]) for name, t in flat(state).items())


@pytest.mark.parametrize("wrong", [-1, 27])
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_contexts_that_a_model_refuses_are_refused(wrong, optimizer):
    models, _ = built("mlp", [0])
    contexts, targets = torch.tensor([[0, 1, 2], [0, 2, wrong]]), torch.tensor([1, 2])
    with pytest.raises(IndexError, match=r"expected integers in \[0, 27\)"):
        Stacked(models, (contexts, targets), Config(optimizer=optimizer))


@pytest.mark.parametrize("how", OTHER_WAYS[:1] + [{"optimizer": "sgd"}], ids=lambda how: how["optimizer"])
def test_the_row_of_a_pad_gets_no_gradient_in_the_graph_either(how):
    config, examples = Config(**{"steps": 20, **how, "weight_decay": 0.0}), Examples(*data(3))
    states = []
    for kind in (PlainLoop, StackedLoop):
        models, generators = built("mlp", [0, 3])
        for model in models:
            model.embedding.padding_idx = 0
        options = {"compile": False} if kind is StackedLoop else {}
        loop = kind(models, examples, generators, [config] * 2, **options)
        loop.steps(0, 20)
        states.append(loop.states())
        for model, (tensors, _) in zip(models, loop.states(), strict=True):
            assert torch.equal(tensors["embedding.weight"][0], model.embedding.weight[0])
            assert not torch.equal(tensors["embedding.weight"][1], model.embedding.weight[1])
    for ours, theirs in zip(*(map(flat, found) for found in states), strict=True):
        assert all((ours[name] - theirs[name]).abs().max() < 1e-8 for name in ours)
