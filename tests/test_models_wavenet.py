"""WaveNet and its blocks: the paper's equations, its three parts, and what the network sees."""

import math

import pytest
import torch
import torch.nn.functional as F
from small_tensors import EXACT, assert_all_close, double, generator, gradients, random

from common.models import WaveNet, WaveNetBlock, count_parameters
from common.nn import CausalConv1d, Dropout, Gate, Tanh

# the blocks


def block(residual=True, last=False, g=None, dilation=2, **parts):
    return WaveNetBlock(4, 3, 2, dilation, residual=residual, last=last, generator=g or generator(), **parts)


@pytest.mark.parametrize("gate", [True, False], ids=["gate", "tanh"])
@pytest.mark.parametrize("residual", [True, False], ids=["residual", "plain"])
def test_a_block_is_its_equations_with_torchs_convolutions(residual, gate):
    """z = tanh(a) * sigmoid(b), out = x + z W_out, skip = z W_skip, where a and b are the convolution's."""
    ours = double(block(residual, gate=gate))
    layers = (ours.convolution, ours.to_out, ours.to_skip)
    inside = 8 if gate else 4
    theirs = [torch.nn.Conv1d(4, inside, 2, dilation=2), torch.nn.Conv1d(4, 4, 1), torch.nn.Conv1d(4, 3, 1)]
    for module, layer in zip(theirs, layers, strict=True):
        module.double()
        layer.bias = random(len(layer.bias), seed=3)
        weight = layer.weight if layer is ours.convolution else layer.weight[None]
        module.weight.data, module.bias.data = weight.permute(2, 1, 0).clone(), layer.bias.clone()
        layer.weight.requires_grad_()
    x, z = random(3, 9, 4).requires_grad_(), random(3, 9, 4).requires_grad_()
    h = theirs[0](F.pad(z.transpose(1, 2), (2, 0)))
    h = torch.tanh(h[:, :4]) * torch.sigmoid(h[:, 4:]) if gate else torch.tanh(h)
    out, skip = theirs[1](h).transpose(1, 2), theirs[2](h).transpose(1, 2)
    out = out + z if residual else out
    y = ours(x)
    assert_all_close(y, (out, skip))
    ours_grads = gradients(torch.cat(y, 2), [x, *(layer.weight for layer in layers)])
    grads = gradients(torch.cat([out, skip], 2), [z, *(module.weight for module in theirs)])
    assert_all_close(ours_grads[:1], grads[:1])
    assert_all_close(ours_grads[1:2], [grads[1].permute(2, 1, 0)])
    assert_all_close(ours_grads[2:], [grad[..., 0].T for grad in grads[2:]])


def test_a_block_has_the_ends_that_are_asked_for():
    x = torch.randn((2, 5, 4), generator=generator())
    assert [None if y is None else y.shape[-1] for y in block()(x)] == [4, 3]
    assert [None if y is None else y.shape[-1] for y in block(last=True)(x)] == [None, 3]
    without = WaveNetBlock(4, None, 2, 1, last=True, generator=generator())  # somebody must hear of it
    assert [None if y is None else y.shape[-1] for y in without(x)] == [4, None]
    assert list(block().state_dict()) == [
        "convolution.weight", "convolution.bias", "convolution.before",
        "to_skip.weight", "to_skip.bias", "to_out.weight", "to_out.bias",
    ]  # fmt: skip
    assert list(dict(block(last=True).named_children())) == ["convolution", "activation", "to_skip"]


# the network


PARTS = {
    "all": {}, "none": {"gate": False, "residual": False, "skip": False},
    "no gate": {"gate": False}, "no residual": {"residual": False}, "no skip": {"skip": False},
}  # fmt: skip


@pytest.mark.parametrize("parts", PARTS.values(), ids=PARTS)
def test_wavenet_has_the_parts_that_are_asked_for(parts):
    model = WaveNet(n_channels=6, n_skip=5, generator=generator(), **parts)
    kinds = [type(layer) for layer in model.modules()]
    asked = {"gate": True, "residual": True, "skip": True} | parts
    assert kinds.count(Gate) == 6 * asked["gate"] and kinds.count(Tanh) == 6 * (not asked["gate"])
    assert all((block.to_skip is not None) == asked["skip"] for block in model.blocks)
    assert all(block.residual == asked["residual"] for block in model.blocks)
    assert [block.convolution.dilation for block in model.blocks] == [1, 2, 4, 1, 2, 4]


@pytest.mark.parametrize("parts", PARTS.values(), ids=PARTS)
def test_wavenet_is_the_sum_of_its_skips_or_its_last_block_and_two_maps(parts):
    model = double(WaveNet(n_channels=6, n_skip=5, generator=generator(), **parts))
    x, total = torch.randint(0, 27, (2, 9), generator=generator(1)), 0
    h = model.embedding(x)
    for each in model.blocks:
        h, skip = each(h)
        total = total + skip if parts.get("skip", True) else h
    assert (h is None) == parts.get("skip", True), "the last block hands nothing on where there are skips"
    hidden, output = model.head.hidden, model.head.output
    expected = output(torch.relu(hidden(torch.relu(total))))
    torch.testing.assert_close(model(x), expected, **EXACT)


def test_wavenets_tensors_have_names_that_say_where_they_are():
    names = list(WaveNet(dilations=(1, 2)).state_dict())
    assert names == [
        "embedding.weight",
        "blocks.0.convolution.weight", "blocks.0.convolution.bias", "blocks.0.convolution.before",
        "blocks.0.to_skip.weight", "blocks.0.to_skip.bias", "blocks.0.to_out.weight", "blocks.0.to_out.bias",
        "blocks.1.convolution.weight", "blocks.1.convolution.bias", "blocks.1.convolution.before",
        "blocks.1.to_skip.weight", "blocks.1.to_skip.bias",
        "head.hidden.weight", "head.hidden.bias", "head.output.weight", "head.output.bias",
    ]  # fmt: skip


def test_a_wavenet_is_stored_and_put_back():
    a, b = (WaveNet(n_channels=6, n_skip=5, generator=generator(seed)) for seed in (0, 1))
    learned = list(dict(a.named_parameters()))
    assert "blocks.0.convolution.weight" in learned
    assert "blocks.0.convolution.before" in a.state_dict() and "blocks.0.convolution.before" not in learned
    assert len(learned) == len(a.parameters())
    x = torch.randint(0, 27, (2, 9), generator=generator(1))
    torch.testing.assert_close(b.load_state_dict(a.state_dict())(x), a(x))
    assert sum(isinstance(layer, CausalConv1d) for layer in a.modules()) == 6
    a.eval()
    assert not any(layer.training for layer in a.modules())


def test_wavenets_parameters_are_counted():
    # embedding; of a block the convolution, the way out and the way past; two maps at the end
    C, S, inside = 8, 5, 2 * 8 * 16 + 16
    expected = 27 * C + 6 * inside + 5 * (C * C + C) + 6 * (C * S + S) + S * S + S + S * 27 + 27
    assert count_parameters(WaveNet(n_channels=C, n_skip=S)) == expected
    assert count_parameters(WaveNet()) == 76_437, "about as many as the tree's 76,579"


@pytest.mark.parametrize("parts", PARTS.values(), ids=PARTS)
def test_wavenet_learns_with_all_its_parameters_and_looks_nowhere_ahead(parts):
    model = double(WaveNet(n_channels=6, n_skip=5, generator=generator(), **parts))
    for p in model.parameters():
        p.requires_grad_()
    x = torch.randint(0, 27, (4, 20), generator=generator(1))
    logits = model(x)
    assert logits.shape == (4, 20, 27)
    loss = F.cross_entropy(logits[:, :-1].flatten(0, 1), x[:, 1:].flatten())
    assert loss.item() == pytest.approx(math.log(27), abs=0.1)
    assert all(grad.abs().sum() > 0 for grad in torch.autograd.grad(loss, model.parameters()))
    other = x.clone()
    other[:, 10:] = (x[:, 10:] + 1) % 27
    changed = (model(other) - logits).abs().amax((0, 2)) > 0
    assert changed.tolist() == [False] * 10 + [True] * 10
    other = x.clone()
    other[:, 2] = (x[:, 2] + 1) % 27
    changed = (model(other) - logits).abs().amax((0, 2)) > 0
    assert changed.tolist() == [False] * 2 + [True] * 15 + [False] * 3, "a field of 15"


def test_wavenet_drops_out_inside_its_blocks():
    model = WaveNet(n_channels=6, n_skip=5, dropout=0.5, generator=generator())
    assert sum(isinstance(layer, Dropout) for layer in model.modules()) == 6
    x = torch.zeros((1, 9), dtype=torch.long)
    assert not torch.equal(model(x), model(x))
    assert torch.equal(model.eval()(x), model(x))


def test_wavenet_needs_a_block():
    with pytest.raises(ValueError, match="at least one dilation, got none"):
        WaveNet(dilations=())
