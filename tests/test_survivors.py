"""Lines that could be broken without any other test noticing: found by breaking them, one by one."""

import pytest
import torch

from common import optim
from common.layers import BatchNorm1d, Dropout, every_layer
from common.models import BatchOnlyBatchNorm1d, flat, hierarchical, wavenet
from common.names import sequences
from common.stacked import Stacked
from common.train import Config, plain_steps
from common.vocabulary import Vocabulary


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


# the statistics of chapter 5's bug grow, and nothing else does


def test_statistics_of_the_bug_are_stored_and_put_back_though_they_grew():
    layer, x = BatchOnlyBatchNorm1d(3), torch.randn((5, 4, 3), generator=generator())
    layer(x)
    assert layer.running_mean.shape == (1, 4, 3)
    fresh = BatchOnlyBatchNorm1d(3).load(layer.tensors()).eval()
    assert torch.equal(fresh(x), layer.eval()(x))
    layer.load(BatchOnlyBatchNorm1d(3).tensors())  # and back to those of the start
    assert layer.running_mean.shape == (3,)


@pytest.mark.parametrize(
    "kind, name, shape",
    [
        (BatchOnlyBatchNorm1d, "running_mean", (1, 4, 2)),
        (BatchOnlyBatchNorm1d, "running_var", ()),
        (BatchOnlyBatchNorm1d, "weight", (1, 4, 3)),
        (BatchNorm1d, "running_mean", (1, 4, 3)),
    ],
)
def test_no_other_tensor_grows(kind, name, shape):
    layer = kind(3)
    with pytest.raises(ValueError, match=f"expected {name} of shape"):
        layer.load(layer.tensors() | {name: torch.ones(shape)})


def test_a_tree_with_the_bug_is_stored_and_put_back():
    build = lambda seed: hierarchical(  # noqa: E731
        9, n_embd=3, n_hidden=4, norm=BatchOnlyBatchNorm1d, generator=generator(seed)
    )
    model, other = build(0), build(1)
    x = torch.randint(0, 9, (6, 8), generator=generator())
    model(x)
    assert torch.equal(other.load(model.tensors()).eval()(x), model.eval()(x))


# the compiled path looks at its contexts once, for its graph cannot


@pytest.mark.parametrize("wrong", [-1, 9])
@pytest.mark.parametrize("optimizer", [None, optim.Adam()], ids=["sgd", "adam"])
def test_the_stacked_step_refuses_contexts_that_the_plain_one_refuses(wrong, optimizer):
    model = flat(9, block_size=2, n_embd=3, n_hidden=4, generator=generator())
    contexts, targets = torch.tensor([[0, 1], [2, wrong]]), torch.tensor([1, 2])
    with pytest.raises(IndexError, match=r"expected integers in \[0, 9\)"):
        model(contexts)
    with pytest.raises(IndexError, match=r"expected integers in \[0, 9\)"):
        Stacked([model], contexts, targets, 2, optimizer=optimizer)


# what a configuration hands to its optimiser


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
    assert config.optimiser() == expected


# what training leaves behind


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_a_trained_model_needs_no_gradients_and_keeps_no_generator(optimizer):
    g = generator()
    model = wavenet(9, n_channels=4, n_skip=4, dilations=(1, 2), dropout=0.25, generator=g)
    x, y, _ = sequences(["ab", "cd", "efg"], Vocabulary("abcdefgh"))
    plain_steps(model, x, y, g, Config(steps=2, batch_size=2, optimizer=optimizer), 0, 2)
    dropouts = [layer for layer in every_layer(model) if isinstance(layer, Dropout)]
    assert dropouts and all(layer.generator is None for layer in dropouts)
    assert not any(t.requires_grad for t in model.tensors().values())
    assert not model(x).requires_grad
