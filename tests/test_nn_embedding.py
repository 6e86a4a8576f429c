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


@pytest.mark.parametrize("row", [0, 3])
def test_the_row_of_a_pad_starts_at_zero_and_gets_no_gradient_as_torchs(row):
    ours = double(Embedding(5, 3, row, generator=generator()))
    theirs = torch.nn.Embedding(5, 3, padding_idx=row, dtype=torch.float64)
    assert not ours.weight[row].any() and not theirs.weight[row].any()
    kept = [i for i in range(5) if i != row]
    assert torch.equal(ours.weight[kept], double(Embedding(5, 3, generator=generator())).weight[kept])
    theirs.weight.data = ours.weight.clone()
    ours.weight.requires_grad_()
    x = torch.tensor([[0, 3, 1, 0], [3, 3, 0, 4]])
    y, expected = ours(x), theirs(x)
    assert torch.equal(y, expected)
    (gradient,), theirs_too = gradients(y, [ours.weight]), gradients(expected, [theirs.weight])
    assert_all_close([gradient], theirs_too)
    assert not gradient[row].any()
    ours.weight.data[row] = 1.0  # only the start is zero: what is put there is read, in torch.nn too
    theirs.weight.data[row] = 1.0
    assert torch.equal(ours(x), theirs(x))
    assert repr(ours) == repr(theirs) == f"Embedding(5, 3, padding_idx={row})"


@pytest.mark.parametrize("row", [-1, 5])
def test_the_row_of_a_pad_is_counted_from_the_start(row):
    with pytest.raises(IndexError, match=rf"expected integers in \[0, 5\), got {row}"):
        Embedding(5, 3, row)
