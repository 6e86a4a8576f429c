"""CausalConv1d is torch's Conv1d with zeros in front."""

import pytest
import torch
import torch.nn.functional as F
from small_tensors import EXACT, assert_all_close, double, generator, gradients, random

from common.nn import CausalConv1d, Linear


def convolutions(kernel_size, dilation, bias=True):
    """Ours and torch's, with the same weights."""
    g = generator(3)
    ours = double(CausalConv1d(4, 5, kernel_size, dilation=dilation, bias=bias, generator=g))
    theirs = torch.nn.Conv1d(4, 5, kernel_size, dilation=dilation, bias=bias, dtype=torch.float64)
    if bias:
        ours.bias = random(5, seed=1)
        theirs.bias.data = ours.bias.clone()
    theirs.weight.data = ours.weight.permute(2, 1, 0).clone()
    for p in ours.parameters():
        p.requires_grad_()
    front = (kernel_size - 1) * dilation
    return ours, lambda z: theirs(F.pad(z.transpose(1, 2), (front, 0))).transpose(1, 2), theirs


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("T", [1, 2, 9])
@pytest.mark.parametrize("kernel_size", [1, 2, 3, 5])
@pytest.mark.parametrize("dilation", [1, 2, 4, 7])
def test_causal_convolution_agrees(kernel_size, dilation, T, bias):
    ours, padded, theirs = convolutions(kernel_size, dilation, bias)
    x, z = random(3, T, 4).requires_grad_(), random(3, T, 4).requires_grad_()
    y, expected = ours(x), padded(z)
    assert y.shape == (3, T, 5)
    torch.testing.assert_close(y, expected, **EXACT)
    grads = gradients(y, [x, *ours.parameters()])
    expected = gradients(expected, [z, *theirs.parameters()])
    assert_all_close([grads[0], grads[1].permute(2, 1, 0), *grads[2:]], expected)


@pytest.mark.parametrize("kernel_size, dilation", [(1, 3), (2, 1), (2, 4), (3, 2)])
def test_causal_convolution_sees_its_taps_and_nothing_else(kernel_size, dilation):
    layer, x = double(CausalConv1d(4, 5, kernel_size, dilation, generator=generator())), random(1, 12, 4)
    before = layer(x)
    for changed in range(12):
        z = x.clone()
        z[0, changed] += 1
        moved = (layer(z) - before).abs().amax(2)[0].nonzero().flatten().tolist()
        assert moved == [t for k in range(kernel_size) if (t := changed + k * dilation) < 12]


@pytest.mark.parametrize("kernel_size, dilation", [(2, 1), (2, 4), (3, 2)])
def test_what_stands_before_is_as_if_it_were_there(kernel_size, dilation):
    layer, x = double(CausalConv1d(4, 5, kernel_size, dilation, generator=generator())), random(3, 6, 4)
    zeros = layer(x)
    front = (kernel_size - 1) * dilation
    layer.before = random(4, seed=5)
    longer = torch.cat([layer.before.expand(3, front, 4), x], dim=1)
    torch.testing.assert_close(layer(x), layer(longer)[:, front:], **EXACT)
    assert not torch.allclose(layer(x)[:, 0], zeros[:, 0])


def test_causal_convolution_of_neighbours_is_a_linear_layer_of_them():
    layer, linear = CausalConv1d(4, 5, 2, bias=False), Linear(8, 5, bias=False, generator=generator())
    layer.weight = linear.weight.view(2, 4, 5)
    x = torch.randn((3, 2, 4), generator=generator(1))
    torch.testing.assert_close(layer(x)[:, 1], linear(x.flatten(1)))


def test_causal_convolution_lists_what_it_learns():
    layer = CausalConv1d(4, 5, 2, dilation=3)
    assert [p.shape for p in layer.parameters()] == [(2, 4, 5), (5,)]
    assert layer.state_dict().keys() == {"weight", "bias", "before"}
    assert [p.shape for p in CausalConv1d(4, 5, 2, bias=False).parameters()] == [(2, 4, 5)]
    assert repr(layer) == "CausalConv1d(4, 5, 2, dilation=3)"
    assert repr(CausalConv1d(4, 5, 2, bias=False)) == "CausalConv1d(4, 5, 2, dilation=1, bias=False)"


def test_causal_convolution_starts_with_outputs_of_standard_deviation_1():
    layer = CausalConv1d(200, 300, 3, generator=generator())
    assert layer.weight.std().item() == pytest.approx(600**-0.5, rel=0.01)
    assert torch.equal(layer.bias, torch.zeros(300)) and torch.equal(layer.before, torch.zeros(200))


@pytest.mark.parametrize("shape", [(4,), (7, 4), (3, 4, 7), (3, 7, 5), (2, 3, 7, 4)], ids=str)
def test_causal_convolution_refuses_another_shape(shape):
    with pytest.raises(ValueError) as caught:
        CausalConv1d(4, 5, 2)(torch.ones(shape))
    assert f"expected (B, T, 4), got a tensor of shape {shape}" in str(caught.value)


@pytest.mark.parametrize("kernel_size, dilation", [(0, 1), (2, 0), (-1, 1)])
def test_causal_convolution_refuses_no_tap_and_no_distance(kernel_size, dilation):
    with pytest.raises(ValueError, match=f"of at least 1, got {kernel_size} and {dilation}"):
        CausalConv1d(4, 5, kernel_size, dilation)


@pytest.mark.parametrize("kernel_size, dilation", [(2.0, 1), (2, 1.5), ("2", 1), (None, 1)])
def test_causal_convolution_wants_whole_numbers(kernel_size, dilation):
    with pytest.raises(ValueError, match=f"of at least 1, got {kernel_size} and {dilation}"):
        CausalConv1d(4, 5, kernel_size, dilation)
