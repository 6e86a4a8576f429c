"""Functions of single elements are torch's; a gate is tanh times sigmoid."""

import pytest
import torch
import torch.nn.functional as F
from small_tensors import EXACT, assert_all_close, gradients, random

from common.nn import Gate, ReLU, SiLU


@pytest.mark.parametrize("shape", [(2,), (4, 6), (2, 5, 8)], ids=str)
def test_a_gate_is_tanh_times_sigmoid(shape):
    x, z = random(*shape).requires_grad_(), random(*shape).requires_grad_()
    y, H = Gate()(x), shape[-1] // 2
    # glu multiplies the first half by the second's sigmoid
    expected = F.glu(torch.cat([torch.tanh(z[..., :H]), z[..., H:]], dim=-1), dim=-1)
    torch.testing.assert_close(y, expected, **EXACT)
    assert_all_close(gradients(y, [x]), gradients(expected, [z]))


def test_a_gate_refuses_half_a_channel():
    with pytest.raises(ValueError, match=r"an even number of channels, got shape \(4, 5\)"):
        Gate()(torch.ones(4, 5))


def test_relu_agrees():
    x, z = random(4, 6).requires_grad_(), random(4, 6).requires_grad_()
    torch.testing.assert_close(ReLU()(x), torch.relu(z), **EXACT)
    assert_all_close(gradients(ReLU()(x), [x]), gradients(F.relu(z), [z]))


@pytest.mark.parametrize("size", [0.1, 30.0, 800.0])
def test_silu_agrees(size):
    x, z = (size * random(40)).requires_grad_(), (size * random(40)).requires_grad_()
    torch.testing.assert_close(SiLU()(x), F.silu(z), **EXACT)
    assert_all_close(gradients(SiLU()(x), [x]), gradients(F.silu(z), [z]))
