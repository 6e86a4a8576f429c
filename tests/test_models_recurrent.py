"""The recurrent network is an embedding, torch's cell and a linear map."""

import pytest
import torch
from small_tensors import EXACT, by_equations, generator, lively

from common.models import RecurrentNetwork


def test_the_recurrent_network_is_embedding_cell_and_linear_map():
    ours = lively(RecurrentNetwork(vocab_size=9, cell="gru", n_embd=4, n_hidden=5, dropout=0.5)).eval()
    embedding, cell, _, last = ours.layers
    x = torch.randint(0, 9, (3, 6), generator=generator())
    h = by_equations("gru", embedding.weight[x], cell.state_dict())
    torch.testing.assert_close(ours(x), h @ last.weight + last.bias, **EXACT)


def test_its_dropout_is_one_mask_a_name_behind_the_cell_and_any_in_front():
    model = RecurrentNetwork(vocab_size=9, dropout=0.3, input_dropout=0.1)
    kinds = [(name, type(layer).__name__) for name, layer in model.named_children()]
    assert kinds == [
        ("embedding", "Embedding"), ("input_dropout", "Dropout"), ("recurrent", "Recurrent"),
        ("dropout", "VariationalDropout"), ("output", "Linear"),
    ]  # fmt: skip
    assert (model.input_dropout.p, model.dropout.p) == (0.1, 0.3)


def test_a_cell_that_is_none_is_refused():
    with pytest.raises(ValueError, match="expected one of .*'gru'.*, got 'abacus'"):
        RecurrentNetwork(cell="abacus")
