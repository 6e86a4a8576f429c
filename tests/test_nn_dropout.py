"""Dropout keeps the mean, draws from its generator, and one mask a name where that is asked for."""

import pytest
import torch
from small_tensors import generator

from common.nn import Dropout, VariationalDropout


def test_dropout_keeps_the_mean_and_draws_from_its_generator():
    layer = Dropout(0.25)
    x = torch.ones(200, 300)
    layer.generator = torch.Generator().manual_seed(0)
    y = layer(x)
    assert sorted(y.unique().tolist()) == pytest.approx([0, 4 / 3])
    assert float(y.mean()) == pytest.approx(1, abs=0.01)
    layer.generator = torch.Generator().manual_seed(0)
    assert torch.equal(layer(x), y)
    assert torch.equal(layer.eval()(x), x)
    for p in (-0.1, 1.0):
        with pytest.raises(ValueError, match="expected p in"):
            Dropout(p)


@pytest.mark.parametrize("p", [float("nan"), -0.1, 1.0, float("inf")])
def test_dropout_refuses_what_is_no_probability(p):
    with pytest.raises(ValueError, match=rf"expected p in \[0, 1\), got {p}"):
        Dropout(p)


def test_a_name_keeps_its_mask_at_every_place():
    layer = VariationalDropout(0.3)
    layer.generator = generator()
    y = layer(torch.ones(4, 6, 50))
    assert torch.equal(y, y[:, :1].expand_as(y)) and 0 < (y == 0).float().mean() < 1


def test_dropout_of_whole_names_keeps_the_mean_and_draws_from_its_generator():
    layer, x = VariationalDropout(0.75), torch.ones(300, 2, 200)
    layer.generator = generator(1)
    y = layer(x)
    assert sorted(y.unique().tolist()) == [0, 4] and abs(y.mean().item() - 1) < 0.02
    layer.generator = generator(1)
    assert torch.equal(layer(x), y)
    assert torch.equal(layer.eval()(x), x)
