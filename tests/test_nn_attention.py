"""Attention is torch.nn's of the same weights, to rounding in float64; so are its gradients."""

import pytest
import torch
import torch.nn.functional as F
from small_tensors import EXACT, generator, lively, random

from common.nn import LayerNorm, MultiheadAttention, PositionalEmbedding, attention_weights, causal_mask


def torchs(ours):
    """torch's layer of the same weights, and these in the order of ours."""
    C = ours.to_out.weight.shape[0]
    theirs = torch.nn.MultiheadAttention(C, ours.heads, batch_first=True).double()
    pairs = [
        (theirs.in_proj_weight, ours.to_qkv.weight.T), (theirs.in_proj_bias, ours.to_qkv.bias),
        (theirs.out_proj.weight, ours.to_out.weight.T), (theirs.out_proj.bias, ours.to_out.bias),
    ]  # fmt: skip
    for own, weight in pairs:
        own.data = weight.detach().clone()
    return theirs, [own for own, _ in pairs]


MASKS = {
    "none": None,
    "causal": causal_mask(6, 6),
    "any": torch.tensor([[True, False, True, True, False, True]]).expand(6, 6),
    "of every sequence": (torch.arange(6) < torch.tensor([6, 2, 4])[:, None])[:, None, None],
}


@pytest.mark.parametrize("attn_mask", MASKS.values(), ids=MASKS)
@pytest.mark.parametrize("heads", [1, 2, 4])
def test_self_attention_is_torchs(heads, attn_mask):
    ours = lively(MultiheadAttention(8, heads))
    theirs, weights = torchs(ours)
    x, z = random(3, 6, 8).requires_grad_(), random(3, 6, 8).requires_grad_()
    refused = {}  # torch's layer takes what may not be read
    if attn_mask is not None and attn_mask.dim() == 4:
        refused["key_padding_mask"] = ~attn_mask[:, 0, 0]
    elif attn_mask is not None:
        refused["attn_mask"] = ~attn_mask
    y, (expected, shares) = ours(x, attn_mask=attn_mask), theirs(z, z, z, **refused)
    torch.testing.assert_close(y, expected, **EXACT)
    q, k, _ = ours.split(x)
    torch.testing.assert_close(attention_weights(q, k, attn_mask).mean(1), shares, **EXACT)
    weighed = random(*y.shape, seed=99)
    own = torch.autograd.grad((y * weighed).sum(), [x, *ours.parameters()])
    other = torch.autograd.grad((expected * weighed).sum(), [z, *weights])
    for a, b in zip(own, other, strict=True):
        torch.testing.assert_close(a, b.T if b.ndim == 2 else b, **EXACT)


def test_one_sequence_reads_another():
    ours = lively(MultiheadAttention(8, 2))
    theirs, _ = torchs(ours)
    query, key, value = random(3, 4, 8), random(3, 6, 8, seed=1), random(3, 6, 8, seed=2)
    torch.testing.assert_close(ours(query, key, value), theirs(query, key, value)[0], **EXACT)
    torch.testing.assert_close(ours(query, key), theirs(query, key, key)[0], **EXACT)


def test_weights_are_those_of_torchs_function():
    q, k, v = random(2, 5, 3), random(2, 7, 3, seed=1), random(2, 7, 4, seed=2)
    attn_mask = random(5, 7, seed=3) > -0.5
    assert attn_mask.any(1).all()
    shares = attention_weights(q, k, attn_mask)
    torch.testing.assert_close(shares @ v, F.scaled_dot_product_attention(q, k, v, attn_mask), **EXACT)
    torch.testing.assert_close(shares.sum(-1), torch.ones(2, 5).double(), **EXACT)
    assert (shares[:, ~attn_mask] == 0).all()


def test_the_last_positions_read_what_came_before():
    assert torch.equal(causal_mask(5, 5)[-2:], causal_mask(2, 5))
    assert causal_mask(1, 4).all()


def test_positions_go_on_where_others_ended():
    table = PositionalEmbedding(6, 3, generator=generator())
    x = torch.zeros(2, 6, 3)
    assert torch.equal(torch.cat([table(x[:, :4]), table(x[:, 4:], before=4)], 1), table(x))
    with pytest.raises(ValueError, match="at most 6 characters in front of a prediction, got 7"):
        table(x[:, :3], before=4)


def test_heads_that_cannot_share_are_refused():
    for channels, heads in ((10, 4), (8, 0)):
        with pytest.raises(ValueError, match=f"channels that {heads} heads can share, got {channels}"):
            MultiheadAttention(channels, heads)


def test_layer_norms_gradients_are_torchs():
    ours = lively(LayerNorm(5))
    x, z = random(4, 3, 5).requires_grad_(), random(4, 3, 5).requires_grad_()
    weight, bias = (p.detach().clone().requires_grad_() for p in ours.parameters())
    weighed = random(4, 3, 5, seed=99)
    own = torch.autograd.grad((ours(x) * weighed).sum(), [x, *ours.parameters()])
    other = torch.autograd.grad((F.layer_norm(z, (5,), weight, bias) * weighed).sum(), [z, weight, bias])
    for a, b in zip(own, other, strict=True):
        torch.testing.assert_close(a, b, **EXACT)
