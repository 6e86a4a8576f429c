"""Linear is torch.nn's, its weight transposed."""

import pytest
import torch
from small_tensors import EXACT, assert_all_close, double, generator, gradients, random

from common.nn import Embedding, Linear


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(6,), (4, 6), (3, 4, 6), (2, 3, 4, 6), (1, 6), (0, 6)], ids=str)
def test_linear_agrees(shape, bias):
    ours = double(Linear(6, 5, bias=bias, generator=generator()))
    theirs = torch.nn.Linear(6, 5, bias=bias, dtype=torch.float64)
    theirs.weight.data = ours.weight.T.clone()
    if bias:
        ours.bias = random(5, seed=1)
        theirs.bias.data = ours.bias.clone()
    x, z = random(*shape).requires_grad_(), random(*shape).requires_grad_()
    for p in ours.parameters():
        p.requires_grad_()
    y, expected = ours(x), theirs(z)
    torch.testing.assert_close(y, expected, **EXACT)
    grads = gradients(y, [x, *ours.parameters()])
    expected = gradients(expected, [z, *theirs.parameters()])
    assert_all_close([grads[0], grads[1].T, *grads[2:]], expected)


def test_linear_lists_its_bias_only_if_it_has_one():
    assert [p.shape for p in Linear(6, 5).parameters()] == [(6, 5), (5,)]
    assert [p.shape for p in Linear(6, 5, bias=False).parameters()] == [(6, 5)]
    assert Linear(6, 5, bias=False).state_dict().keys() == {"weight"}


@pytest.mark.parametrize("shape", [(4, 5), (6, 4), (4, 1), (3, 6, 4), (3, 4, 7)], ids=str)
def test_linear_refuses_another_last_dimension(shape):
    with pytest.raises(ValueError) as caught:
        Linear(6, 5)(torch.ones(shape))
    assert f"last dimension of 6, got shape {shape}" in str(caught.value)


def test_linear_starts_with_outputs_of_standard_deviation_1():
    layer = Linear(300, 400, generator=generator())
    assert layer.weight.std().item() == pytest.approx(300**-0.5, rel=0.01)
    assert layer.weight.mean().item() == pytest.approx(0, abs=1e-3)
    assert torch.equal(layer.bias, torch.zeros(400))
    assert layer(torch.randn(500, 300, generator=generator(1))).std().item() == pytest.approx(1, rel=0.02)


@pytest.mark.parametrize("layer", [Linear(1, 3), Embedding(5, 3)], ids=repr)
def test_a_single_number_goes_in_where_torch_takes_it(layer):
    if isinstance(layer, Embedding):
        assert torch.equal(layer(torch.tensor(2)), layer.weight[2])
    else:
        with pytest.raises(ValueError, match=r"a last dimension of 1, got shape \(\)"):
            layer(torch.tensor(2.0))
