"""torch's cells compute the equations of their documentation."""

import pytest
import torch
from small_tensors import EXACT, by_equations, generator, lively, random

from common.nn import Recurrent, Sequential


@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
@pytest.mark.parametrize("T", [1, 6])
def test_a_cell_computes_its_equations(cell, T):
    ours = lively(Sequential([Recurrent(cell, 4, 5, generator=generator())]))
    x, z = random(3, T, 4).requires_grad_(), random(3, T, 4).requires_grad_()
    tensors = {
        n.removeprefix("0."): t.detach().clone().requires_grad_() for n, t in ours.state_dict().items()
    }
    y, expected = ours(x), by_equations(cell, z, tensors)
    torch.testing.assert_close(y, expected, **EXACT)
    weighed = random(*y.shape, seed=9)
    own = torch.autograd.grad((y * weighed).sum(), [x, *ours.parameters()])
    other = torch.autograd.grad((expected * weighed).sum(), [z, *tensors.values()])
    for a, b in zip(own, other, strict=True):
        torch.testing.assert_close(a, b, **EXACT)


def test_a_borrowed_layer_refuses_tensors_of_other_shapes():
    layer = Recurrent("gru", 4, 5)
    wrong = dict(layer.state_dict()) | {"weight_hh_l0": torch.zeros(15, 4)}
    with pytest.raises(ValueError, match=r"expected weight_hh_l0 of shape \(15, 5\), got \(15, 4\)"):
        layer.load_state_dict(wrong)
    assert layer.state_dict()["weight_hh_l0"].shape == (15, 5)
