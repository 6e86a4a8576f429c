"""The networks of the field are what they are called: torch's own Transformer, and the equations of cells."""

import pytest
import torch
import torch.nn.functional as F

from common.field import Attention, Norm, Recurrent, recurrent, transformer
from common.layers import Sequential

EXACT = {"atol": 1e-12, "rtol": 1e-12}


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def random(*shape, seed=0):
    return torch.randn(shape, generator=generator(seed), dtype=torch.float64)


def lively(model, seed=5):
    """In float64, every number another than at the start, and learned."""
    model.to(dtype=torch.float64)
    model.load_state_dict({
        name: 0.5 * random(*t.shape, seed=seed + i) for i, (name, t) in enumerate(model.state_dict().items())
    })  # fmt: skip
    for p in model.parameters():
        p.requires_grad_()
    return model


def encoder_layer(ours):
    """torch's layer of the same weights: normalised before, GELU, seeing only what came before."""
    norm, to_qkv, to_out, norm2, up, down, _ = ours.layers
    C = to_out.weight.shape[0]
    theirs = torch.nn.TransformerEncoderLayer(
        C, ours.heads, 4 * C, dropout=0.0, activation=F.gelu, batch_first=True, norm_first=True
    ).double()
    attention = theirs.self_attn
    pairs = [
        (theirs.norm1.weight, norm.module.weight), (theirs.norm1.bias, norm.module.bias),
        (attention.in_proj_weight, to_qkv.weight.T), (attention.in_proj_bias, to_qkv.bias),
        (attention.out_proj.weight, to_out.weight.T), (attention.out_proj.bias, to_out.bias),
        (theirs.norm2.weight, norm2.module.weight), (theirs.norm2.bias, norm2.module.bias),
        (theirs.linear1.weight, up.weight.T), (theirs.linear1.bias, up.bias),
        (theirs.linear2.weight, down.weight.T), (theirs.linear2.bias, down.bias),
    ]  # fmt: skip
    for own, weight in pairs:
        own.data = weight.detach().clone()
    return theirs, [own for own, _ in pairs]


def assert_same_gradients(y, expected, ours, theirs):
    weighed = random(*y.shape, seed=99)
    own = torch.autograd.grad((y * weighed).sum(), ours)
    other = torch.autograd.grad((expected * weighed).sum(), theirs)
    for a, b in zip(own, other, strict=True):
        torch.testing.assert_close(a, b.T if b.ndim == 2 else b, **EXACT)


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize("heads", [1, 2, 4])
@pytest.mark.parametrize("T", [1, 7])
def test_attention_is_torchs_encoder_layer(heads, T, training):
    ours = lively(Attention(8, heads)).train(training)
    theirs, weights = encoder_layer(ours)
    theirs.train(training)
    x, z = random(3, T, 8).requires_grad_(), random(3, T, 8).requires_grad_()
    later = torch.ones(T, T, dtype=torch.bool).triu(1)
    y, expected = ours(x), theirs(z, src_mask=later, is_causal=True)
    torch.testing.assert_close(y, expected, **EXACT)
    assert_same_gradients(y, expected, [x, *ours.parameters()], [z, *weights])


def test_what_pads_behind_a_name_changes_nothing_before_it():
    ours = lively(Attention(8, 2)).eval()
    theirs, _ = encoder_layer(ours)
    x, lengths = random(3, 6, 8), torch.tensor([6, 2, 4])
    pads = torch.arange(6) >= lengths[:, None]
    noisy = torch.where(pads[..., None], 1e3, x)
    later = torch.ones(6, 6, dtype=torch.bool).triu(1)
    expected = theirs(x, src_mask=later, src_key_padding_mask=pads)
    torch.testing.assert_close(ours(noisy)[~pads], expected[~pads], **EXACT)


def test_the_transformer_is_torchs_of_the_same_weights():
    ours = lively(Transformer(vocab_size=9, n_channels=8, heads=2, blocks=3, length=6)).eval()
    embedding, places, *blocks, norm, last = ours.layers
    x = torch.randint(0, 9, (4, 5), generator=generator())
    h = F.embedding(x, embedding.weight) + places.weight[:5]
    for block in blocks:
        h = encoder_layer(block)[0](h, src_mask=torch.ones(5, 5, dtype=torch.bool).triu(1))
    h = F.layer_norm(h, (8,), norm.module.weight, norm.module.bias)
    torch.testing.assert_close(ours(x), h @ last.weight + last.bias, **EXACT)


def test_norm_is_torchs_layer_norm():
    ours, x = lively(Sequential([Norm(5)])), random(4, 3, 5)
    weight, bias = ours.parameters()
    torch.testing.assert_close(ours(x), F.layer_norm(x, (5,), weight, bias, 1e-5), **EXACT)


# recurrent cells, by their equations


def by_equations(cell, x, tensors):
    """h_t for every t, from the equations in the documentation of torch.nn.RNN, GRU and LSTM."""
    w, u = tensors["weight_ih_l0"], tensors["weight_hh_l0"]
    b, c = tensors["bias_ih_l0"], tensors["bias_hh_l0"]
    B, T, _ = x.shape
    h = state = torch.zeros(B, u.shape[1], dtype=x.dtype)
    outputs = []
    for t in range(T):
        a, r = x[:, t] @ w.T + b, h @ u.T + c
        if cell == "rnn":
            h = torch.tanh(a + r)
        elif cell == "gru":
            (a_r, a_z, a_n), (r_r, r_z, r_n) = a.chunk(3, 1), r.chunk(3, 1)
            reset, update = torch.sigmoid(a_r + r_r), torch.sigmoid(a_z + r_z)
            h = (1 - update) * torch.tanh(a_n + reset * r_n) + update * h
        else:
            i, f, g, o = (a + r).chunk(4, 1)
            state = torch.sigmoid(f) * state + torch.sigmoid(i) * torch.tanh(g)
            h = torch.sigmoid(o) * torch.tanh(state)
        outputs.append(h)
    return torch.stack(outputs, 1)


@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
@pytest.mark.parametrize("T", [1, 6])
def test_a_cell_computes_its_equations(cell, T):
    ours = lively(Sequential([Recurrent(cell, 4, 5, generator=generator())]))
    x, z = random(3, T, 4).requires_grad_(), random(3, T, 4).requires_grad_()
    tensors = {n.removeprefix("0."): t.detach().clone().requires_grad_() for n, t in ours.state_dict().items()}
    y, expected = ours(x), by_equations(cell, z, tensors)
    torch.testing.assert_close(y, expected, **EXACT)
    weighed = random(*y.shape, seed=9)
    own = torch.autograd.grad((y * weighed).sum(), [x, *ours.parameters()])
    other = torch.autograd.grad((expected * weighed).sum(), [z, *tensors.values()])
    for a, b in zip(own, other, strict=True):
        torch.testing.assert_close(a, b, **EXACT)


def test_the_recurrent_network_is_embedding_cell_and_linear_map():
    ours = lively(RecurrentNetwork(vocab_size=9, cell="gru", n_embd=4, n_hidden=5, dropout=0.5)).eval()
    embedding, cell, _, last = ours.layers
    x = torch.randint(0, 9, (3, 6), generator=generator())
    h = by_equations("gru", embedding.weight[x], cell.state_dict())
    torch.testing.assert_close(ours(x), h @ last.weight + last.bias, **EXACT)


def test_a_borrowed_layer_refuses_tensors_of_other_shapes():
    layer = Recurrent("gru", 4, 5)
    wrong = dict(layer.state_dict()) | {"weight_hh_l0": torch.zeros(15, 4)}
    with pytest.raises(ValueError, match=r"expected weight_hh_l0 of shape \(15, 5\), got \(15, 4\)"):
        layer.load_state_dict(wrong)
    assert layer.state_dict()["weight_hh_l0"].shape == (15, 5)
