"""Names without a wasted position: the same numbers as name by name, and what was changed is put back."""

from string import ascii_lowercase

import pytest
import torch
import torch.nn.functional as F
from small_tensors import EXACT, assert_all_close, double, generator, gradients, lengths_as_mask, random

from common.data import IGNORE_INDEX, Vocabulary, examples
from common.models import MODELS, WaveNetBlock, check_packing, packed, padded, predictions, tagged
from common.models.packing import is_packable
from common.nn import (
    BatchNorm1d,
    CausalConv1d,
    Dropout,
    Embedding,
    Linear,
    Module,
    Residual,
    Sequential,
    SiLU,
    Tanh,
    evaluating,
)

NAMES = ["anna", "christopher", "bo", "maximilian", "mia"]


def whole_names(names=NAMES):
    return examples(names, Vocabulary(ascii_lowercase), None)


def positions(lengths):
    """How many of its own sequence stand before each, for sequences end to end in one row: (1, T)."""
    return torch.cat([torch.arange(length) for length in lengths])[None]


def norm(seed=1):
    layer = double(BatchNorm1d(5))
    layer.weight, layer.bias = (random(5, seed=seed + i).requires_grad_() for i in (0, 1))
    return layer


# a BatchNorm among what pads


def test_a_padded_batchnorm_is_one_over_the_positions_that_count():
    mask = lengths_as_mask([6, 2, 3, 1], 6)
    ours, plain = norm(), norm()
    for step in range(3):
        x = (2 * random(4, 6, 5, seed=step) + 1).requires_grad_()
        z = x.detach()[mask].requires_grad_()
        with padded(ours, mask):
            y = ours(x)
        expected = plain(z)
        torch.testing.assert_close(y[mask], expected, **EXACT)
        torch.testing.assert_close(ours.running_mean, plain.running_mean, **EXACT)
        torch.testing.assert_close(ours.running_var, plain.running_var, **EXACT)
        grads = gradients(y[mask], [x, *ours.parameters()])
        expected = gradients(expected, [z, *plain.parameters()])
        assert_all_close([grads[0][mask], *grads[1:]], expected)
        assert torch.equal(grads[0][~mask], torch.zeros_like(grads[0][~mask]))


def test_what_pads_changes_nothing_that_counts():
    mask = lengths_as_mask([6, 2, 3, 1], 6)
    x = random(4, 6, 5)
    noisy = torch.where(mask[..., None], x, 1e3 * random(4, 6, 5, seed=1))
    first, second = norm(), norm()
    with padded(first, mask), padded(second, mask):
        assert torch.equal(first(x)[mask], second(noisy)[mask])
    assert torch.equal(first.running_var, second.running_var)
    assert not torch.allclose(norm()(x)[mask], norm()(noisy)[mask])


def test_a_mask_of_ones_and_evaluation_mode_change_nothing():
    x, everything = random(4, 6, 5), torch.ones(4, 6, dtype=torch.bool)
    ours, plain = norm(), norm()
    with padded(ours, everything):
        torch.testing.assert_close(ours(x), plain(x), **EXACT)
    torch.testing.assert_close(ours.running_var, plain.running_var, **EXACT)
    expected = ours.eval()(x)
    with padded(ours, lengths_as_mask([1, 2, 3, 4], 6)):
        assert torch.equal(ours(x), expected)


@pytest.mark.parametrize(
    "mask, got",
    [
        (torch.ones(4, 6), r"float32 of shape \(4, 6\)"),
        (torch.ones(6, 4, dtype=torch.bool), r"bool of shape \(6, 4\)"),
        (torch.ones(4, 6, 5, dtype=torch.bool), r"bool of shape \(4, 6, 5\)"),
    ],
)
def test_another_mask_is_refused(mask, got):
    layer = BatchNorm1d(5)
    with pytest.raises(ValueError, match=rf"mask of booleans of shape \(4, 6\), got torch.{got}"):
        with padded(layer, mask):
            layer(torch.ones(4, 6, 5))
    assert layer(torch.randn(4, 6, 5)).shape == (4, 6, 5)


@pytest.mark.parametrize("lengths, kept", [([1, 0], 1), ([0, 0], 0)])
def test_a_mask_that_leaves_too_little_is_refused_and_changes_nothing(lengths, kept):
    layer = BatchNorm1d(5)
    with pytest.raises(ValueError, match=rf"1 value per channel in training mode, got \({kept}, 5\)"):
        with padded(layer, lengths_as_mask(lengths, 3)):
            layer(torch.ones(2, 3, 5))
    assert torch.equal(layer.running_mean, torch.zeros(5)) and torch.equal(layer.running_var, torch.ones(5))
    with padded(layer.eval(), lengths_as_mask(lengths, 3)):
        assert layer(torch.ones(2, 3, 5)).shape == (2, 3, 5)


def test_every_batchnorm_of_a_network_hears_of_the_mask():
    build = lambda: Sequential([Linear(3, 4, generator=generator()), Sequential([BatchNorm1d(4)]), Tanh()])  # noqa: E731
    mask, x = lengths_as_mask([5, 2], 5), torch.randn((2, 5, 3), generator=generator(1))
    ours, plain = build(), build()
    with padded(ours, mask):
        torch.testing.assert_close(ours(x)[mask], plain(x[mask]), atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(ours.state_dict(), plain.state_dict())


# convolutions among names end to end


@pytest.mark.parametrize("kernel_size, dilation", [(1, 1), (2, 1), (3, 2), (2, 5)])
def test_names_end_to_end_in_one_row_are_convolved_apart(kernel_size, dilation):
    conv = double(CausalConv1d(3, 5, kernel_size, dilation, generator=generator()))
    conv.before, lengths = random(3, seed=5), (1, 4, 9, 2)
    parts = [random(1, T, 3, seed=T) for T in lengths]
    apart = torch.cat([conv(part) for part in parts], dim=1)
    with packed(conv, positions(lengths)):
        torch.testing.assert_close(conv(torch.cat(parts, dim=1)), apart, **EXACT)
    together = conv(torch.cat(parts, dim=1))
    assert torch.allclose(together, apart) == (kernel_size == 1)


@pytest.mark.parametrize("shape", [(1, 5), (2, 6), (6,)], ids=str)
def test_other_positions_are_refused(shape):
    conv = CausalConv1d(3, 5, 2)
    with pytest.raises(ValueError) as caught, packed(conv, torch.zeros(shape, dtype=torch.long)):
        conv(torch.ones(1, 6, 3))
    assert f"expected positions of shape (1, 6), got {shape}" in str(caught.value)


# both, in every container


class Blocks(Module):
    """WaveNet's blocks with a BatchNorm behind each."""

    def __init__(self, g):
        self.blocks = [
            WaveNetBlock(4, 4, 2, dilation, last=dilation == 4, generator=g) for dilation in (1, 2, 4)
        ]
        self.norms = [BatchNorm1d(4) for _ in self.blocks]

    def __call__(self, x):
        total = 0
        for block, own in zip(self.blocks, self.norms, strict=True):
            x, skip = block(x)
            total = total + own(skip)
        return total


CONTAINERS = {
    "Sequential": lambda g: Sequential([CausalConv1d(4, 4, 2, generator=g), BatchNorm1d(4), SiLU()]),
    "Residual": lambda g: Residual([CausalConv1d(4, 4, 2, 2, generator=g), BatchNorm1d(4), Tanh()]),
    "WaveNetBlock": Blocks,
    "all": lambda g: Sequential([Residual([Blocks(g)]), BatchNorm1d(4), CausalConv1d(4, 4, 3, generator=g)]),
}


@pytest.mark.parametrize("name", CONTAINERS)
def test_a_padded_batch_is_its_names_end_to_end(name):
    lengths = [7, 1, 4]
    rows, row = double(CONTAINERS[name](generator(3))), double(CONTAINERS[name](generator(3)))
    mask = lengths_as_mask(lengths, 7)
    x = torch.where(mask[..., None], random(3, 7, 4), 50.0)  # what pads is loud
    z = x[mask][None]
    for model in (rows, row):
        model.requires_grad_()
    for _ in range(2):
        with padded(rows, mask), packed(row, positions(lengths)):
            y, expected = rows(x)[mask], row(z)[0]
        torch.testing.assert_close(y, expected, **EXACT)
    torch.testing.assert_close(rows.state_dict(), row.state_dict(), **EXACT)
    assert_all_close(gradients(y, rows.parameters()), gradients(expected, row.parameters()))
    assert not torch.allclose(rows(x)[mask], expected)  # without the mask it is something else
    assert not torch.allclose(row(z)[0], expected)  # and without the positions
    rows.eval()
    alone = torch.cat([rows(x[i : i + 1, :length])[0] for i, length in enumerate(lengths)])
    with padded(rows, mask):
        torch.testing.assert_close(rows(x)[mask], alone, **EXACT)


def altered(model):
    """The modules with an attribute beside those that their class gives them."""
    return [name for name, module in model.named_modules() if {"taps", "counted"} & set(vars(module))]


@pytest.mark.parametrize("way", ["packed", "padded"])
@pytest.mark.parametrize("wrong", [False, True], ids=["returned", "raised"])
def test_what_was_changed_for_a_block_is_put_back(way, wrong):
    model, x = double(CONTAINERS["all"](generator(3))), random(1, 6, 4)
    before = model.eval()(x)
    inside = packed(model, positions([2, 4])) if way == "packed" else padded(model, lengths_as_mask([6], 6))
    try:
        with inside:
            assert altered(model)
            if wrong:
                raise KeyError("inside")
    except KeyError:
        assert wrong
    assert not altered(model) and torch.equal(model(x), before)


# predictions


@pytest.mark.parametrize("name", tagged("whole names"))
def test_predictions_are_those_of_each_name_alone(name):
    """In evaluation mode, where no name hears of the others: logits, and the gradients of their loss."""
    model = double(MODELS[name].build(generator=generator())).eval().requires_grad_()
    x, y = whole_names()
    logits, wanted = predictions(model, x, y)
    parts = [predictions(model, x[i : i + 1], y[i : i + 1])[0] for i in range(len(x))]
    alone = torch.cat(parts)
    torch.testing.assert_close(logits, alone, **EXACT)
    torch.testing.assert_close(parts[2], model(x[2:3, : len(NAMES[2]) + 1])[0], **EXACT)
    assert torch.equal(wanted, y[y != IGNORE_INDEX])
    assert len(logits) == len(wanted) == sum(len(name) + 1 for name in NAMES)
    own = torch.autograd.grad(F.cross_entropy(logits, wanted), model.parameters())
    loss = sum(
        F.cross_entropy(p, w[w != IGNORE_INDEX], reduction="sum") for p, w in zip(parts, y, strict=True)
    )
    assert_all_close(own, torch.autograd.grad(loss / len(wanted), model.parameters()))
    assert not altered(model)


@pytest.mark.parametrize("name", tagged("whole names"))
def test_whole_names_end_to_end_give_the_logits_of_padded_rows(name):
    """In training mode, where BatchNorm counts what does not pad."""
    model, (x, y) = double(MODELS[name].build(generator=generator())).requires_grad_(), whole_names()
    real, start = y != IGNORE_INDEX, {key: t.detach().clone() for key, t in model.state_dict().items()}
    logits, wanted = predictions(model, x, y)
    grads, after = (
        gradients(logits, model.parameters()),
        {k: t.detach() for k, t in model.state_dict().items()},
    )
    model.load_state_dict(start).requires_grad_()
    with padded(model, real):
        expected = model(x)[real]
    torch.testing.assert_close(logits, expected, **EXACT)
    assert torch.equal(wanted, y[real])
    assert_all_close(grads, gradients(expected, model.parameters()))
    torch.testing.assert_close(after, {k: t.detach() for k, t in model.state_dict().items()}, **EXACT)


def test_a_model_that_is_not_packable_gets_padded_rows_and_gives_the_same():
    model, (x, y) = double(MODELS["dilated"].build(generator=generator())), whole_names()
    assert is_packable(model)
    logits, _ = predictions(model, x, y)
    model.embedding.packable = False  # as a recurrent layer says
    assert not is_packable(model)
    torch.testing.assert_close(predictions(model, x, y)[0], logits, **EXACT)


def test_rows_are_no_longer_than_their_longest_name():
    class Longest(Module):
        packable = False

        def __init__(self):
            self.asked = []

        def __call__(self, x):
            self.asked.append(tuple(x.shape))
            return torch.zeros(*x.shape, 3)

    model, (x, y) = Longest(), whole_names()
    predictions(model, x[[0, 2]], y[[0, 2]])  # anna and bo, padded for christopher
    assert x.shape[1] == 12 and model.asked == [(2, 5)]


def test_windows_are_one_prediction_each():
    model = MODELS["mlp"].build(generator=generator()).eval()
    x, y = examples(NAMES, Vocabulary(ascii_lowercase), 3)
    logits, wanted = predictions(model, x, y)
    assert wanted is y and torch.equal(logits, model(x))


def test_the_models_of_whole_names_say_how_they_look_at_other_positions():
    packable = {name: is_packable(MODELS[name].build()) for name in tagged("whole names")}
    assert packable == {"dilated": True, "wavenet": True, "recurrent": False, "transformer": False}
    assert is_packable(Sequential([Embedding(3, 2), Dropout(0.5)]))


# who mixes names


class Shift(Module):
    """Every position sees the one before it, and nobody is told."""

    def __init__(self, share):
        self.share = share

    def __call__(self, x):
        return x + self.share * torch.cat([torch.zeros_like(x[:, :1]), x[:, :-1]], dim=1)


@pytest.mark.parametrize("share", [1, 0.01])
def test_a_module_that_mixes_names_is_found_out(share):
    x, y = whole_names()
    model = Sequential(
        [Embedding(27, 4, generator=generator()), Shift(share), Linear(4, 27, generator=generator(1))]
    )
    with pytest.raises(ValueError, match="or `packable = False` in it"):
        check_packing(model, x, y)
    assert model.training
    model.layers[1].packable = False
    check_packing(model, x, y)


@pytest.mark.parametrize("name", tagged("whole names"))
def test_the_models_of_the_book_mix_no_names(name):
    model, (x, y) = MODELS[name].build(generator=generator()), whole_names()
    before = {key: t.clone() for key, t in model.state_dict().items()}
    check_packing(model, x, y)
    assert all(torch.equal(t, before[key]) for key, t in model.state_dict().items()) and model.training


def test_windows_need_no_such_check():
    check_packing(Sequential([Shift(1)]), torch.zeros((4, 3)), torch.zeros(4))


def test_a_model_that_draws_or_counts_in_training_is_checked_as_it_will_be_used():
    model = MODELS["dilated"].build(dropout=0.5, generator=generator())
    state = torch.random.get_rng_state()
    check_packing(model, *whole_names())
    assert torch.equal(torch.random.get_rng_state(), state)
    with evaluating(model):
        check_packing(model, *whole_names())
        assert not model.training


def test_a_network_that_diverged_is_not_called_one_that_mixes_names():
    model = MODELS["dilated"].build(n_embd=4, n_hidden=8)
    model.output.weight = model.output.weight * float("nan")
    x, y = examples(["emma", "ava"], Vocabulary("aemv"), None)
    check_packing(model, x, y)
