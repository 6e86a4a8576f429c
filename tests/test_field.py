"""The networks of the field see no later character, and train and store like the book's own."""

import pytest
import torch

from common.field import VariationalDropout, longest_name, recurrent, transformer
from common.layers import every_layer
from common.optim import Muon, by_parameter

BUILDS = [
    lambda g: RecurrentNetwork(cell="rnn", n_embd=5, n_hidden=7, generator=g),
    lambda g: RecurrentNetwork(cell="lstm", n_embd=5, n_hidden=7, generator=g),
    lambda g: RecurrentNetwork(cell="gru", n_embd=5, n_hidden=7, dropout=0.3, input_dropout=0.1, generator=g),
    lambda g: Transformer(n_channels=8, heads=2, blocks=2, dropout=0.1, generator=g),
]


def built(build, seed=0):
    return build(torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("build", BUILDS)
def test_no_prediction_depends_on_a_later_character(build):
    model = built(build).eval()
    x = torch.randint(0, 27, (2, 9), generator=torch.Generator().manual_seed(1))
    changed = x.clone()
    changed[:, 5:] = (changed[:, 5:] + 1) % 27
    with torch.no_grad():
        before, after = model(x), model(changed)
    assert before.shape == (2, 9, 27)
    assert torch.equal(before[:, :5], after[:, :5]) and not torch.allclose(before[:, 5:], after[:, 5:])


@pytest.mark.parametrize("build", BUILDS)
def test_weights_come_from_the_generator_and_go_where_they_are_put(build):
    a, b, other = built(build), built(build), built(build, seed=1)
    assert all(torch.equal(t, b.state_dict()[name]) for name, t in a.state_dict().items())
    assert any(not torch.equal(t, other.state_dict()[name]) for name, t in a.state_dict().items())
    x = torch.randint(0, 27, (2, 6))
    other.load_state_dict({name: t.clone() for name, t in a.state_dict().items()}).eval()
    with torch.no_grad():
        assert torch.equal(a.eval()(x), other(x))
    inner = next(layer for layer in a.layers if hasattr(layer, "module") or hasattr(layer, "layers"))
    with pytest.raises(ValueError, match="expected tensors"):
        inner.load_state_dict({})


def test_a_name_keeps_its_mask_at_every_place():
    layer = next(x for x in every_layer(built(BUILDS[2])) if isinstance(x, VariationalDropout))
    y = layer(torch.ones(4, 6, 50))
    assert torch.equal(y, y[:, :1].expand_as(y)) and 0 < (y == 0).float().mean() < 1


def test_muon_leaves_embeddings_of_places_to_adamw():
    kinds = {name: type(own).__name__ for name, own in by_parameter(built(BUILDS[3]), Muon()).items()}
    assert kinds["0.weight"] == kinds["1.weight"] == "AdamW" and kinds["2.1.weight"] == "Muon"


def test_muon_knows_that_borrowed_matrices_have_their_outputs_first():
    gru, ours = by_parameter(built(BUILDS[2]), Muon()), by_parameter(built(BUILDS[3]), Muon())
    borrowed = [own for name, own in gru.items() if "weight_ih" in name or "weight_hh" in name]
    assert len(borrowed) == 2 and all(own.outputs_first for own in borrowed)
    assert not ours["2.1.weight"].outputs_first


def test_bad_sizes_are_refused():
    with pytest.raises(ValueError, match="expected one of"):
        RecurrentNetwork(cell="abacus")
    with pytest.raises(ValueError, match="heads can share"):
        Transformer(n_channels=10, heads=4)
    with pytest.raises(ValueError, match="0 heads"):
        Transformer(heads=0)
    with pytest.raises(ValueError, match="at most 3 characters"):
        Transformer(length=3)(torch.zeros((1, 4), dtype=torch.long))


def test_a_model_says_how_long_a_name_may_be():
    assert longest_name(built(BUILDS[2])) is None
    model = Transformer(n_channels=8, heads=2, length=7).eval()
    assert longest_name(model) == 6
    assert model(torch.zeros((1, 6 + 1), dtype=torch.long)).shape == (1, 7, 27)  # a dot stands in front
