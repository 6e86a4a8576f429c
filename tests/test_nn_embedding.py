"""Embedding is torch.nn's, and counts from the start alone."""

import pytest
import torch
from small_tensors import assert_all_close, double, generator, gradients

from common.nn import Embedding


@pytest.mark.parametrize("shape", [(7,), (4, 3), (2, 3, 4), (0, 3)], ids=str)
def test_embedding_agrees(shape):
    ours = double(Embedding(5, 3, generator=generator()))
    theirs = torch.nn.Embedding(5, 3, dtype=torch.float64)
    theirs.weight.data = ours.weight.clone()
    ours.weight.requires_grad_()
    x = torch.randint(0, 5, shape, generator=generator(1))
    y, expected = ours(x), theirs(x)
    assert y.shape == (*shape, 3)
    torch.testing.assert_close(y, expected, atol=0, rtol=0)
    assert_all_close(gradients(y, ours.parameters()), gradients(expected, [theirs.weight]))


@pytest.mark.parametrize("index", [5, 99])
def test_embedding_refuses_an_unknown_row(index):
    with pytest.raises(IndexError):
        Embedding(5, 3)(torch.tensor([0, index]))


def test_embedding_starts_with_standard_deviation_1():
    weight = Embedding(300, 400, generator=generator()).weight
    assert weight.std().item() == pytest.approx(1, rel=0.01)
    assert weight.mean().item() == pytest.approx(0, abs=0.01)


@pytest.mark.parametrize(
    "index, least, most", [([0, 5], 0, 5), ([-1, 0], -1, 0), ([[2], [99]], 2, 99), ([-6, 9], -6, 9)]
)
def test_embedding_counts_from_the_start_alone(index, least, most):
    with pytest.raises(IndexError, match=rf"expected integers in \[0, 5\), got {least} to {most}"):
        Embedding(5, 3)(torch.tensor(index))
    with pytest.raises(IndexError):
        torch.nn.Embedding(5, 3)(torch.tensor(index))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bool, torch.uint8, torch.int16], ids=str)
def test_embedding_refuses_what_counts_nothing(dtype):
    index = torch.ones(5).to(dtype)
    with pytest.raises(ValueError, match=f"expected integers of 64 or 32 bits, got {dtype}"):
        Embedding(5, 3)(index)
    with pytest.raises(RuntimeError):
        torch.nn.Embedding(5, 3)(index)


def test_embedding_takes_integers_of_32_bits():
    layer = Embedding(5, 3, generator=generator())
    assert torch.equal(layer(torch.tensor([4, 0], dtype=torch.int32)), layer.weight[[4, 0]])
