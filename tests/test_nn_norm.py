"""BatchNorm1d is torch.nn's in another layout; LayerNorm is torch's."""

import pytest
import torch
import torch.nn.functional as F
from small_tensors import EXACT, assert_all_close, double, gradients, random

from common.nn import BatchNorm1d, LayerNorm


def batch_norms(C, **options):
    """Ours and torch's, with the same weights, none of them special."""
    ours, theirs = double(BatchNorm1d(C, **options)), torch.nn.BatchNorm1d(C, dtype=torch.float64, **options)
    ours.weight, ours.bias = random(C, seed=1).requires_grad_(), random(C, seed=2).requires_grad_()
    theirs.weight.data, theirs.bias.data = ours.weight.detach().clone(), ours.bias.detach().clone()
    return ours, theirs


def in_our_layout(theirs, z):
    """torch's (B, C, T) from and to (B, T, C)."""
    return theirs(z.transpose(1, 2)).transpose(1, 2) if z.ndim == 3 else theirs(z)


@pytest.mark.parametrize("options", [{}, {"eps": 0.1}, {"momentum": 0.3}, {"momentum": 1.0}], ids=str)
@pytest.mark.parametrize("shape", [(7, 5), (2, 5), (4, 6, 5), (1, 6, 5), (6, 1, 5), (5, 5, 5)], ids=str)
def test_batchnorm_agrees_while_training_and_after(shape, options):
    ours, theirs = batch_norms(5, **options)
    for step in range(4):
        x = 2 * random(*shape, seed=10 + step) + torch.arange(5) - 1
        x, z = x.clone().requires_grad_(), x.clone().requires_grad_()
        y, expected = ours(x), in_our_layout(theirs, z)
        torch.testing.assert_close(y, expected, **EXACT)
        assert_all_close(
            gradients(y, [x, *ours.parameters()]), gradients(expected, [z, *theirs.parameters()])
        )
        torch.testing.assert_close(ours.running_mean, theirs.running_mean, **EXACT)
        torch.testing.assert_close(ours.running_var, theirs.running_var, **EXACT)
    assert not ours.running_mean.requires_grad and not ours.running_var.requires_grad

    ours.eval(), theirs.eval()
    mean, var = ours.running_mean, ours.running_var
    x, z = random(*shape, seed=20).requires_grad_(), random(*shape, seed=20).requires_grad_()
    y, expected = ours(x), in_our_layout(theirs, z)
    torch.testing.assert_close(y, expected, **EXACT)
    assert_all_close(gradients(y, [x, *ours.parameters()]), gradients(expected, [z, *theirs.parameters()]))
    assert torch.equal(ours.running_mean, mean) and torch.equal(ours.running_var, var)

    ours.train(), theirs.train()
    torch.testing.assert_close(ours(x), in_our_layout(theirs, z), **EXACT)
    torch.testing.assert_close(ours.running_var, theirs.running_var, **EXACT)


@pytest.mark.parametrize("shape", [(50, 3), (10, 5, 3)], ids=str)
def test_batchnorm_normalises_every_channel_over_all_else(shape):
    y = double(BatchNorm1d(3, eps=1e-30))(5 * random(*shape) + 2).reshape(-1, 3)
    torch.testing.assert_close(y.mean(0), torch.zeros(3, dtype=torch.float64), **EXACT)
    torch.testing.assert_close(y.var(0, unbiased=False), torch.ones(3, dtype=torch.float64), **EXACT)


@pytest.mark.parametrize("shape", [(1, 5), (1, 1, 5)], ids=str)
def test_batchnorm_refuses_to_train_on_one_value_a_channel(shape):
    ours, theirs = batch_norms(5)
    with pytest.raises(ValueError) as caught:
        ours(random(*shape))
    assert f"more than 1 value per channel in training mode, got {shape}" in str(caught.value)
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        in_our_layout(theirs, random(*shape))
    assert torch.equal(ours.running_mean, torch.zeros(5)) and torch.equal(ours.running_var, torch.ones(5))
    ours.eval(), theirs.eval()
    torch.testing.assert_close(ours(random(*shape)), in_our_layout(theirs, random(*shape)), **EXACT)


@pytest.mark.parametrize("mode", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize("shape", [(5,), (4, 6), (4, 1), (4, 5, 6), (4, 6, 1), (2, 3, 4, 5)], ids=str)
def test_batchnorm_refuses_another_shape(shape, mode):
    with pytest.raises(ValueError) as caught:
        BatchNorm1d(5).train(mode)(torch.ones(shape))
    assert f"expected (B, 5) or (B, T, 5), got a tensor of shape {shape}" in str(caught.value)


def test_batchnorm_starts_as_torchs():
    ours, theirs = BatchNorm1d(5), torch.nn.BatchNorm1d(5)
    assert (ours.eps, ours.momentum) == (theirs.eps, theirs.momentum)
    for name in ("weight", "bias", "running_mean", "running_var"):
        assert torch.equal(getattr(ours, name), getattr(theirs, name))
    assert [p is q for p, q in zip(ours.parameters(), (ours.weight, ours.bias), strict=True)] == [True, True]


@pytest.mark.parametrize("shape", [(0, 5), (0, 4, 5), (4, 0, 5)], ids=str)
def test_an_empty_batch_has_no_statistics(shape):
    layer = BatchNorm1d(5)
    with pytest.raises(ValueError, match="more than 1 value per channel in training mode, got"):
        layer(torch.ones(shape))
    assert torch.equal(layer.running_mean, torch.zeros(5)) and torch.equal(layer.running_var, torch.ones(5))
    assert layer.eval()(torch.ones(shape)).shape == shape


def test_no_channels_are_refused_as_one_value_is():
    with pytest.raises(ValueError, match=r"more than 1 value per channel in training mode, got \(4, 0\)"):
        BatchNorm1d(0)(torch.ones(4, 0))


def test_what_is_no_number_is_seen_as_in_torch():
    x = random(6, 5)
    x[2, 3] = float("nan")
    ours, theirs = batch_norms(5)
    torch.testing.assert_close(ours(x), theirs(x), **EXACT, equal_nan=True)
    torch.testing.assert_close(ours.running_var, theirs.running_var, **EXACT, equal_nan=True)
    assert ours.running_mean.isnan().tolist() == [False, False, False, True, False]


def test_layer_norm_is_torchs():
    ours, x = double(LayerNorm(5)), random(4, 3, 5)
    weight, bias = random(5, seed=1), random(5, seed=2)
    ours.load_state_dict({"weight": weight, "bias": bias})
    torch.testing.assert_close(ours(x), F.layer_norm(x, (5,), weight, bias, 1e-5), **EXACT)
