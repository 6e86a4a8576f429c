"""A tree slid along a name has its logits everywhere; the dilated network has the parts asked for."""

import pytest
import torch
from small_tensors import double, generator

from common.data import SHIPPED_NAMES, Vocabulary, load_names, sequences, split_names, windows
from common.models import Dilated, Tree, as_convolution, count_parameters, pretrained
from common.nn import CausalConv1d, Dropout, Embedding, Residual, Sequential, SiLU, Tanh


@pytest.mark.parametrize("key", ("hierarchical", "scaled"))
def test_the_convolution_has_the_trees_logits_at_every_position_of_every_validation_name(key):
    words = load_names(SHIPPED_NAMES)
    vocabulary, val = Vocabulary("".join(words)), split_names(words).val
    tree = pretrained(key)
    convolution = as_convolution(tree)
    contexts, _ = windows(val, vocabulary, 8)
    x, _, mask = sequences(val, vocabulary)
    logits = convolution(x)
    assert logits.shape == (*x.shape, 27)
    torch.testing.assert_close(logits[mask], tree(contexts), atol=1e-5, rtol=0)


@pytest.mark.parametrize("levels", [1, 2, 4])
def test_any_tree_can_be_slid(levels):
    tree = Tree(levels=levels, n_embd=3, n_hidden=4, generator=generator())
    T = 2**levels
    x = torch.randint(0, 27, (50, T), generator=generator(1))
    tree(x)  # running statistics that are not those of the start
    double(tree).eval()
    convolution = as_convolution(tree)
    assert [layer.dilation for layer in convolution.layers if isinstance(layer, CausalConv1d)] == [
        2**level for level in range(levels)
    ]
    sequence = torch.cat([torch.zeros(1, dtype=torch.long), x.flatten()])
    padded = torch.cat([torch.zeros(T - 1, dtype=torch.long), sequence])
    torch.testing.assert_close(convolution(sequence[None])[0], tree(padded.unfold(0, T, 1)))


def test_the_convolution_is_a_copy():
    tree = pretrained("scaled").train()
    convolution = as_convolution(tree)
    assert count_parameters(convolution) == count_parameters(tree)
    assert all(layer.training for layer in tree.layers)
    assert not any(layer.training for layer in convolution.layers)
    ours = {t.data_ptr() for t in convolution.state_dict().values()}
    assert not ours & {t.data_ptr() for t in tree.state_dict().values()}


@pytest.mark.parametrize("key", ("mlp", "flat", "hierarchical-bug"))
def test_what_is_no_tree_is_not_slid(key):
    with pytest.raises(ValueError, match="a tree with one BatchNorm1d a level, got the layer"):
        as_convolution(pretrained(key))


def test_layers_that_are_no_levels_are_not_slid():
    with pytest.raises(ValueError, match="got the layer Sequential"):
        as_convolution(Sequential([Embedding(27, 3), Sequential([Tanh()])]))


# trained on whole names


def test_levels_of_a_dilated_tree_may_differ_in_width():
    model = Dilated(n_hidden=(8, 8, 16), residual=True, generator=generator())
    assert model(torch.zeros((2, 5), dtype=torch.long)).shape == (2, 5, 27)
    kinds = [type(layer).__name__ for layer in model.layers]
    assert kinds.count("Residual") == 1  # around the one level whose input is as wide as its output
    with pytest.raises(ValueError, match="expected one n_hidden a dilation, 3, got"):
        Dilated(n_hidden=(8, 8))


def test_dilated_puts_dropout_before_its_levels_and_behind_each():
    build = lambda **sizes: Dilated(9, 4, 4, dilations=(1, 2), generator=generator(), **sizes)  # noqa: E731
    shares = lambda model: [layer.p for layer in model.modules() if isinstance(layer, Dropout)]  # noqa: E731
    assert shares(build()) == []
    assert shares(build(dropout=0.25)) == [0.25, 0.25]
    assert shares(build(input_dropout=0.5)) == [0.5]
    assert [type(layer) for layer in build(input_dropout=0.5).layers][:2] == [Embedding, Dropout]


def test_a_dilated_tree_has_the_trees_numbers():
    model, tree = Dilated(generator=generator()), Tree(n_embd=24, n_hidden=128, generator=generator())
    assert count_parameters(model) == count_parameters(tree) == 76_579
    with torch.no_grad():
        for ours, theirs in zip(model.parameters(), tree.parameters(), strict=True):
            torch.testing.assert_close(ours.reshape(theirs.shape), theirs)


def test_the_parts_of_a_dilated_network_say_what_they_are():
    plain = Dilated(dilations=(1, 2))
    assert [name for name, _ in plain.named_children()] == [
        "embedding", "convolution1", "norm1", "tanh1", "convolution2", "norm2", "tanh2", "output"
    ]  # fmt: skip
    model = Dilated(n_embd=8, n_hidden=8, dilations=(1, 2), activation="silu", residual=True, dropout=0.1)
    assert [name for name, _ in model.named_children()] == [
        "embedding", "level1", "dropout1", "level2", "dropout2", "output"
    ]  # fmt: skip
    assert isinstance(model.level1, Residual) and isinstance(model.level1.silu, SiLU)
    with pytest.raises(ValueError, match="expected one of .*'gate'.*, got 'step'"):
        Dilated(activation="step")


def test_the_convolution_of_a_tree_keeps_its_names():
    names = [name for name, _ in as_convolution(Tree(levels=2, generator=generator())).named_children()]
    assert names == [
        "embedding", "convolution1", "norm1", "tanh1", "convolution2", "norm2", "tanh2", "output"
    ]  # fmt: skip
