"""Neighbours side by side, in their order."""

import pytest
import torch
from small_tensors import assert_all_close, gradients, random

from common.nn import Flatten, FlattenConsecutive, Tanh


@pytest.mark.parametrize("shape", [(4, 3), (4, 3, 2), (2, 3, 4, 5), (1, 3, 2)], ids=str)
@pytest.mark.parametrize("ours, theirs", [(Flatten(), torch.nn.Flatten()), (Tanh(), torch.nn.Tanh())])
def test_flatten_and_tanh_agree(ours, theirs, shape):
    x, z = random(*shape).requires_grad_(), random(*shape).requires_grad_()
    y, expected = ours(x), theirs(z)
    torch.testing.assert_close(y, expected, atol=0, rtol=0)
    assert_all_close(gradients(y, [x]), gradients(expected, [z]))
    assert ours.parameters() == [] and ours.state_dict() == {}


def test_flatten_keeps_the_order_of_positions():
    x = torch.arange(12).reshape(2, 3, 2)
    assert Flatten()(x).tolist() == [[0, 1, 2, 3, 4, 5], [6, 7, 8, 9, 10, 11]]


@pytest.mark.parametrize("T, n", [(8, 1), (8, 2), (8, 4), (8, 8), (6, 3), (2, 2), (1, 1)])
@pytest.mark.parametrize("contiguous", [True, False])
def test_flatten_consecutive_concatenates_neighbours_in_order(T, n, contiguous):
    x = random(3, T, 5) if contiguous else random(3, 5, T).transpose(1, 2)
    x.requires_grad_()
    y = FlattenConsecutive(n)(x)
    groups = [torch.cat([x[:, n * i + k] for k in range(n)], dim=1) for i in range(T // n)]
    expected = groups[0] if T == n else torch.stack(groups, dim=1)
    torch.testing.assert_close(y, expected, atol=0, rtol=0)
    assert_all_close(gradients(y, [x]), gradients(expected, [x]))


def test_flatten_consecutive_by_hand():
    x = torch.tensor([[[1, 2], [3, 4], [5, 6], [7, 8]]])
    assert FlattenConsecutive(2)(x).tolist() == [[[1, 2, 3, 4], [5, 6, 7, 8]]]
    assert FlattenConsecutive(4)(x).tolist() == [[1, 2, 3, 4, 5, 6, 7, 8]]


@pytest.mark.parametrize("B, C", [(1, 5), (3, 1), (1, 1)])
def test_flatten_consecutive_drops_the_time_dimension_only(B, C):
    assert FlattenConsecutive(2)(torch.ones(B, 2, C)).shape == (B, 2 * C)
    assert FlattenConsecutive(2)(torch.ones(B, 4, C)).shape == (B, 2, 2 * C)


@pytest.mark.parametrize("T, n", [(7, 2), (8, 3), (2, 4), (1, 2)])
def test_flatten_consecutive_refuses_a_length_that_n_does_not_divide(T, n):
    with pytest.raises(ValueError, match=f"T = {T} is not a multiple of n = {n}"):
        FlattenConsecutive(n)(torch.ones(3, T, 5))


@pytest.mark.parametrize("shape", [(4,), (4, 8), (4, 8, 3, 2)], ids=str)
def test_flatten_consecutive_wants_three_dimensions(shape):
    with pytest.raises(ValueError) as caught:
        FlattenConsecutive(2)(torch.ones(shape))
    assert f"expected (B, T, C), got a tensor of shape {shape}" in str(caught.value)


@pytest.mark.parametrize("n", [0, -2])
def test_flatten_consecutive_groups_at_least_one(n):
    with pytest.raises(ValueError, match=f"n of at least 1, got {n}"):
        FlattenConsecutive(n)
