"""The Transformer is torch's own of the same weights, and GPT-2; it sees nothing that comes later.

It goes on from kept keys and values.
"""

import pytest
import torch
import torch.nn.functional as F
from small_tensors import EXACT, generator, lively, random

from common.models import RecurrentNetwork, Transformer, TransformerBlock, longest_name


def encoder_layer(ours):
    """torch's layer of the same weights, with GELU, seeing only what came before."""
    norm, to_qkv, to_out = ours.norm1, ours.to_qkv, ours.to_out
    norm2, up, down = ours.norm2, ours.up, ours.down
    C = to_out.weight.shape[0]
    theirs = torch.nn.TransformerEncoderLayer(
        C, ours.heads, 4 * C, dropout=0.0, activation=F.gelu, batch_first=True, norm_first=ours.norm_first
    ).double()
    attention = theirs.self_attn
    pairs = [
        (theirs.norm1.weight, norm.weight), (theirs.norm1.bias, norm.bias),
        (attention.in_proj_weight, to_qkv.weight.T), (attention.in_proj_bias, to_qkv.bias),
        (attention.out_proj.weight, to_out.weight.T), (attention.out_proj.bias, to_out.bias),
        (theirs.norm2.weight, norm2.weight), (theirs.norm2.bias, norm2.bias),
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


@pytest.mark.parametrize("norm_first", [True, False], ids=["norm first", "norm last"])
@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize("heads", [1, 2, 4])
@pytest.mark.parametrize("T", [1, 7])
def test_a_block_is_torchs_encoder_layer(heads, T, training, norm_first):
    ours = lively(TransformerBlock(8, heads, norm_first=norm_first)).train(training)
    theirs, weights = encoder_layer(ours)
    theirs.train(training)
    x, z = random(3, T, 8).requires_grad_(), random(3, T, 8).requires_grad_()
    later = torch.ones(T, T, dtype=torch.bool).triu(1)
    y, expected = ours(x), theirs(z, src_mask=later, is_causal=True)
    torch.testing.assert_close(y, expected, **EXACT)
    assert_same_gradients(y, expected, [x, *ours.parameters()], [z, *weights])


def test_what_pads_behind_a_name_changes_nothing_before_it():
    ours = lively(TransformerBlock(8, 2)).eval()
    theirs, _ = encoder_layer(ours)
    x, lengths = random(3, 6, 8), torch.tensor([6, 2, 4])
    pads = torch.arange(6) >= lengths[:, None]
    noisy = torch.where(pads[..., None], 1e3, x)
    later = torch.ones(6, 6, dtype=torch.bool).triu(1)
    expected = theirs(x, src_mask=later, src_key_padding_mask=pads)
    torch.testing.assert_close(ours(noisy)[~pads], expected[~pads], **EXACT)


def test_the_transformer_is_torchs_of_the_same_weights():
    ours = lively(Transformer(vocab_size=9, n_channels=8, heads=2, blocks=3, length=6)).eval()
    embedding, position, *blocks, norm, last = ours.layers
    x = torch.randint(0, 9, (4, 5), generator=generator())
    h = F.embedding(x, embedding.weight) + position.weight[:5]
    for block in blocks:
        h = encoder_layer(block)[0](h, src_mask=torch.ones(5, 5, dtype=torch.bool).triu(1))
    h = F.layer_norm(h, (8,), norm.weight, norm.bias)
    torch.testing.assert_close(ours(x), h @ last.weight + last.bias, **EXACT)


def gpt2(ours, heads):
    """GPT-2 of the library of that name, with these weights; its matrices are (inputs, outputs) as ours."""
    library = pytest.importorskip("transformers")
    embedding, position, *blocks, norm, output = ours.layers
    length, C = position.weight.shape
    config = library.GPT2Config(
        vocab_size=len(embedding.weight), n_positions=length, n_embd=C, n_layer=len(blocks), n_head=heads,
        activation_function="gelu", resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0,
        tie_word_embeddings=False, bos_token_id=0, eos_token_id=0,
    )  # fmt: skip
    theirs = library.GPT2LMHeadModel(config).double().eval()
    state = {"transformer.wte": embedding, "transformer.wpe": position, "transformer.ln_f": norm}
    for i, block in enumerate(blocks):
        parts = {"ln_1": block.norm1, "attn.c_attn": block.to_qkv, "attn.c_proj": block.to_out,
                 "ln_2": block.norm2, "mlp.c_fc": block.up, "mlp.c_proj": block.down}  # fmt: skip
        state |= {f"transformer.h.{i}.{name}": part for name, part in parts.items()}
    tensors = {f"{name}.{own}": t for name, part in state.items() for own, t in part.own_tensors().items()}
    tensors["lm_head.weight"] = output.weight.T.contiguous()
    theirs.load_state_dict({name: t.detach() for name, t in tensors.items()})
    return theirs


def test_the_transformer_is_gpt_2_of_the_same_weights():
    ours = lively(Transformer(vocab_size=9, n_channels=8, heads=2, blocks=3, length=6)).eval()
    ours.output.bias = torch.zeros(9, dtype=torch.float64)  # GPT-2 has none there
    x = torch.randint(0, 9, (4, 6), generator=generator())
    torch.testing.assert_close(ours(x), gpt2(ours, heads=2)(x).logits, **EXACT)


@pytest.mark.parametrize("norm_first", [True, False], ids=["norm first", "norm last"])
def test_kept_keys_and_values_give_the_same_logits(norm_first):
    sizes = {"vocab_size": 9, "n_channels": 8, "heads": 2, "blocks": 3, "length": 12}
    ours = lively(Transformer(**sizes, norm_first=norm_first)).eval()
    x = torch.randint(0, 9, (4, 12), generator=generator())
    past, found = None, []
    for part in x.split([5, 1, 1, 3, 2], 1):
        logits, past = ours.go_on(part, past)
        found.append(logits)
    torch.testing.assert_close(torch.cat(found, 1), ours(x), **EXACT)
    assert [k.shape for k, _ in past] == [(4, 2, 12, 4)] * 3
    with pytest.raises(ValueError, match="at most 12 characters in front of a prediction, got 13"):
        ours.go_on(x[:, :1], past)


def test_bad_sizes_are_refused():
    with pytest.raises(ValueError, match="heads can share"):
        Transformer(n_channels=10, heads=4)
    with pytest.raises(ValueError, match="0 heads"):
        Transformer(heads=0)
    with pytest.raises(ValueError, match="at most 3 characters"):
        Transformer(length=3)(torch.zeros((1, 4), dtype=torch.long))


def test_its_parts_say_what_they_are():
    model = Transformer(blocks=2)
    assert [name for name, _ in model.named_children()] == [
        "embedding", "position", "block1", "block2", "norm", "output"
    ]  # fmt: skip
    assert [name for name, _ in model.block1.named_children()] == [
        "norm1", "to_qkv", "to_out", "norm2", "up", "down", "dropout"
    ]  # fmt: skip


def test_a_model_says_how_long_a_name_may_be():
    assert longest_name(RecurrentNetwork()) is None
    model = Transformer(n_channels=8, heads=2, length=7).eval()
    assert longest_name(model) == 6
    assert model(torch.zeros((1, 6 + 1), dtype=torch.long)).shape == (1, 7, 27)  # a dot stands in front
