"""The layers agree with torch.nn in float64: forward, gradients, running statistics, both modes."""

import pytest
import torch
import torch.nn.functional as F

from common.layers import (
    BatchNorm1d,
    CausalConv1d,
    Dropout,
    Embedding,
    Flatten,
    FlattenConsecutive,
    Gate,
    Linear,
    ReLU,
    Residual,
    Sequential,
    SiLU,
    Skips,
    Tanh,
    WaveNetBlock,
    evaluating,
    every_layer,
    parameter_names,
)

EXACT = {"atol": 1e-12, "rtol": 1e-12}


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def random(*shape, seed=0):
    return torch.randn(shape, generator=generator(seed), dtype=torch.float64)


def double(layer):
    Sequential([layer]).to(dtype=torch.float64)
    return layer


def gradients(y, tensors):
    """Of a scalar that weighs every element of y differently."""
    return torch.autograd.grad((y * random(*y.shape, seed=99)).sum(), tensors)


def assert_all_close(ours, theirs):
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, **EXACT)


def networks():
    """A layer of each kind, in a network inside a network."""
    g = generator(7)
    inner = Sequential([Linear(6, 5, bias=False, generator=g), BatchNorm1d(5), Tanh()])
    return Sequential(
        [Embedding(4, 3, generator=g), FlattenConsecutive(2), inner, Flatten(), Linear(10, 4, generator=g)]
    )


def flattened(model):
    """The model and every layer inside, at any depth."""
    return [model] + [layer for child in getattr(model, "layers", []) for layer in flattened(child)]


# Linear


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(6,), (4, 6), (3, 4, 6), (2, 3, 4, 6), (1, 6), (0, 6)], ids=str)
def test_linear_agrees(shape, bias):
    ours = double(Linear(6, 5, bias=bias, generator=generator()))
    theirs = torch.nn.Linear(6, 5, bias=bias, dtype=torch.float64)
    theirs.weight.data = ours.weight.T.clone()
    if bias:
        ours.bias = random(5, seed=1)
        theirs.bias.data = ours.bias.clone()
    x, z = random(*shape).requires_grad_(), random(*shape).requires_grad_()
    for p in ours.parameters():
        p.requires_grad_()
    y, expected = ours(x), theirs(z)
    torch.testing.assert_close(y, expected, **EXACT)
    grads = gradients(y, [x, *ours.parameters()])
    expected = gradients(expected, [z, *theirs.parameters()])
    assert_all_close([grads[0], grads[1].T, *grads[2:]], expected)


def test_linear_lists_its_bias_only_if_it_has_one():
    assert [p.shape for p in Linear(6, 5).parameters()] == [(6, 5), (5,)]
    assert [p.shape for p in Linear(6, 5, bias=False).parameters()] == [(6, 5)]
    assert Linear(6, 5, bias=False).state_dict().keys() == {"weight"}


@pytest.mark.parametrize("shape", [(4, 5), (6, 4), (4, 1), (3, 6, 4), (3, 4, 7)], ids=str)
def test_linear_refuses_another_last_dimension(shape):
    with pytest.raises(ValueError) as caught:
        Linear(6, 5)(torch.ones(shape))
    assert f"last dimension of 6, got shape {shape}" in str(caught.value)


def test_linear_starts_with_outputs_of_standard_deviation_1():
    layer = Linear(300, 400, generator=generator())
    assert layer.weight.std().item() == pytest.approx(300**-0.5, rel=0.01)
    assert layer.weight.mean().item() == pytest.approx(0, abs=1e-3)
    assert torch.equal(layer.bias, torch.zeros(400))
    assert layer(torch.randn(500, 300, generator=generator(1))).std().item() == pytest.approx(1, rel=0.02)


# Embedding


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


# Flatten, Tanh


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


# FlattenConsecutive


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


# BatchNorm1d


def batch_norms(C, **options):
    """Ours and torch's, with the same weights, none of them special."""
    ours, theirs = double(BatchNorm1d(C, **options)), torch.nn.BatchNorm1d(C, dtype=torch.float64, **options)
    ours.weight, ours.bias = random(C, seed=1).requires_grad_(), random(C, seed=2).requires_grad_()
    theirs.weight.data, theirs.bias.data = ours.weight.detach().clone(), ours.bias.detach().clone()
    return ours, theirs


def in_our_layout(theirs, z):
    """torch's (B, C, T) from and to (B, T, C)."""
    return theirs(z.transpose(1, 2)).transpose(1, 2) if z.ndim == 3 else theirs(z)


@pytest.mark.parametrize("options", [{}, {"eps": 0.1}, {"momentum": 0.3}, {"momentum": 1.0}], ids=str)
@pytest.mark.parametrize("shape", [(7, 5), (2, 5), (4, 6, 5), (1, 6, 5), (6, 1, 5), (5, 5, 5)], ids=str)
def test_batchnorm_agrees_while_training_and_after(shape, options):
    ours, theirs = batch_norms(5, **options)
    for step in range(4):
        x = 2 * random(*shape, seed=10 + step) + torch.arange(5) - 1
        x, z = x.clone().requires_grad_(), x.clone().requires_grad_()
        y, expected = ours(x), in_our_layout(theirs, z)
        torch.testing.assert_close(y, expected, **EXACT)
        assert_all_close(
            gradients(y, [x, *ours.parameters()]), gradients(expected, [z, *theirs.parameters()])
        )
        torch.testing.assert_close(ours.running_mean, theirs.running_mean, **EXACT)
        torch.testing.assert_close(ours.running_var, theirs.running_var, **EXACT)
    assert not ours.running_mean.requires_grad and not ours.running_var.requires_grad

    ours.eval(), theirs.eval()
    mean, var = ours.running_mean, ours.running_var
    x, z = random(*shape, seed=20).requires_grad_(), random(*shape, seed=20).requires_grad_()
    y, expected = ours(x), in_our_layout(theirs, z)
    torch.testing.assert_close(y, expected, **EXACT)
    assert_all_close(gradients(y, [x, *ours.parameters()]), gradients(expected, [z, *theirs.parameters()]))
    assert torch.equal(ours.running_mean, mean) and torch.equal(ours.running_var, var)

    ours.train(), theirs.train()
    torch.testing.assert_close(ours(x), in_our_layout(theirs, z), **EXACT)
    torch.testing.assert_close(ours.running_var, theirs.running_var, **EXACT)


@pytest.mark.parametrize("shape", [(50, 3), (10, 5, 3)], ids=str)
def test_batchnorm_normalises_every_channel_over_all_else(shape):
    y = double(BatchNorm1d(3, eps=1e-30))(5 * random(*shape) + 2).reshape(-1, 3)
    torch.testing.assert_close(y.mean(0), torch.zeros(3, dtype=torch.float64), **EXACT)
    torch.testing.assert_close(y.var(0, unbiased=False), torch.ones(3, dtype=torch.float64), **EXACT)


@pytest.mark.parametrize("shape", [(1, 5), (1, 1, 5)], ids=str)
def test_batchnorm_refuses_to_train_on_one_value_a_channel(shape):
    ours, theirs = batch_norms(5)
    with pytest.raises(ValueError) as caught:
        ours(random(*shape))
    assert f"more than 1 value per channel in training mode, got {shape}" in str(caught.value)
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        in_our_layout(theirs, random(*shape))
    assert torch.equal(ours.running_mean, torch.zeros(5)) and torch.equal(ours.running_var, torch.ones(5))
    ours.eval(), theirs.eval()
    torch.testing.assert_close(ours(random(*shape)), in_our_layout(theirs, random(*shape)), **EXACT)


@pytest.mark.parametrize("mode", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize("shape", [(5,), (4, 6), (4, 1), (4, 5, 6), (4, 6, 1), (2, 3, 4, 5)], ids=str)
def test_batchnorm_refuses_another_shape(shape, mode):
    with pytest.raises(ValueError) as caught:
        BatchNorm1d(5).train(mode)(torch.ones(shape))
    assert f"expected (B, 5) or (B, T, 5), got a tensor of shape {shape}" in str(caught.value)


def test_batchnorm_starts_as_torchs():
    ours, theirs = BatchNorm1d(5), torch.nn.BatchNorm1d(5)
    assert (ours.eps, ours.momentum) == (theirs.eps, theirs.momentum)
    for name in ("weight", "bias", "running_mean", "running_var"):
        assert torch.equal(getattr(ours, name), getattr(theirs, name))
    assert [p is q for p, q in zip(ours.parameters(), (ours.weight, ours.bias), strict=True)] == [True, True]


# BatchNorm1d with a mask


def lengths_as_mask(lengths, T):
    return torch.arange(T) < torch.tensor(lengths)[:, None]


def test_a_masked_batchnorm_is_one_over_the_places_that_count():
    mask = lengths_as_mask([6, 2, 3, 1], 6)
    ours, plain = batch_norms(5)[0], batch_norms(5)[0]
    for step in range(3):
        x = (2 * random(4, 6, 5, seed=step) + 1).requires_grad_()
        z = x.detach()[mask].requires_grad_()
        y, expected = ours(x, mask), plain(z)
        torch.testing.assert_close(y[mask], expected, **EXACT)
        torch.testing.assert_close(ours.running_mean, plain.running_mean, **EXACT)
        torch.testing.assert_close(ours.running_var, plain.running_var, **EXACT)
        grads = gradients(y[mask], [x, *ours.parameters()])
        expected = gradients(expected, [z, *plain.parameters()])
        assert_all_close([grads[0][mask], *grads[1:]], expected)
        assert torch.equal(grads[0][~mask], torch.zeros_like(grads[0][~mask]))


def test_what_pads_changes_nothing_that_counts():
    mask = lengths_as_mask([6, 2, 3, 1], 6)
    x = random(4, 6, 5)
    noisy = torch.where(mask[..., None], x, 1e3 * random(4, 6, 5, seed=1))
    first, second = batch_norms(5)[0], batch_norms(5)[0]
    assert torch.equal(first(x, mask)[mask], second(noisy, mask)[mask])
    assert torch.equal(first.running_var, second.running_var)
    assert not torch.allclose(batch_norms(5)[0](x)[mask], batch_norms(5)[0](noisy)[mask])


def test_a_mask_of_ones_and_evaluation_mode_change_nothing():
    x, everything = random(4, 6, 5), torch.ones(4, 6, dtype=torch.bool)
    ours, plain = batch_norms(5)[0], batch_norms(5)[0]
    torch.testing.assert_close(ours(x, everything), plain(x), **EXACT)
    torch.testing.assert_close(ours.running_var, plain.running_var, **EXACT)
    ours.eval()
    assert torch.equal(ours(x, lengths_as_mask([1, 2, 3, 4], 6)), ours(x))


@pytest.mark.parametrize(
    "mask, got",
    [
        (torch.ones(4, 6), r"float32 of shape \(4, 6\)"),
        (torch.ones(6, 4, dtype=torch.bool), r"bool of shape \(6, 4\)"),
        (torch.ones(4, 6, 5, dtype=torch.bool), r"bool of shape \(4, 6, 5\)"),
    ],
)
def test_batchnorm_refuses_another_mask(mask, got):
    with pytest.raises(ValueError, match=rf"mask of booleans of shape \(4, 6\), got torch.{got}"):
        BatchNorm1d(5)(torch.ones(4, 6, 5), mask)


def test_batchnorm_refuses_a_mask_that_leaves_one_value():
    with pytest.raises(ValueError, match=r"more than 1 value per channel in training mode, got \(1, 5\)"):
        BatchNorm1d(5)(torch.ones(2, 3, 5), lengths_as_mask([1, 0], 3))


def test_a_network_hands_the_mask_to_its_batchnorms():
    build = lambda: Sequential([Linear(3, 4, generator=generator()), Sequential([BatchNorm1d(4)]), Tanh()])  # noqa: E731
    mask, x = lengths_as_mask([5, 2], 5), torch.randn((2, 5, 3), generator=generator(1))
    ours, plain = build(), build()
    torch.testing.assert_close(ours(x, mask)[mask], plain(x[mask]), atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(ours.state_dict(), plain.state_dict())


# CausalConv1d


def convolutions(kernel_size, dilation, bias=True):
    """Ours and torch's, with the same weights."""
    g = generator(3)
    ours = double(CausalConv1d(4, 5, kernel_size, dilation=dilation, bias=bias, generator=g))
    theirs = torch.nn.Conv1d(4, 5, kernel_size, dilation=dilation, bias=bias, dtype=torch.float64)
    if bias:
        ours.bias = random(5, seed=1)
        theirs.bias.data = ours.bias.clone()
    theirs.weight.data = ours.weight.permute(2, 1, 0).clone()
    for p in ours.parameters():
        p.requires_grad_()
    front = (kernel_size - 1) * dilation
    return ours, lambda z: theirs(F.pad(z.transpose(1, 2), (front, 0))).transpose(1, 2), theirs


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("T", [1, 2, 9])
@pytest.mark.parametrize("kernel_size", [1, 2, 3, 5])
@pytest.mark.parametrize("dilation", [1, 2, 4, 7])
def test_causal_convolution_agrees(kernel_size, dilation, T, bias):
    ours, padded, theirs = convolutions(kernel_size, dilation, bias)
    x, z = random(3, T, 4).requires_grad_(), random(3, T, 4).requires_grad_()
    y, expected = ours(x), padded(z)
    assert y.shape == (3, T, 5)
    torch.testing.assert_close(y, expected, **EXACT)
    grads = gradients(y, [x, *ours.parameters()])
    expected = gradients(expected, [z, *theirs.parameters()])
    assert_all_close([grads[0], grads[1].permute(2, 1, 0), *grads[2:]], expected)


@pytest.mark.parametrize("kernel_size, dilation", [(1, 3), (2, 1), (2, 4), (3, 2)])
def test_causal_convolution_sees_its_taps_and_nothing_else(kernel_size, dilation):
    layer, x = double(CausalConv1d(4, 5, kernel_size, dilation, generator=generator())), random(1, 12, 4)
    before = layer(x)
    for changed in range(12):
        z = x.clone()
        z[0, changed] += 1
        moved = (layer(z) - before).abs().amax(2)[0].nonzero().flatten().tolist()
        assert moved == [t for k in range(kernel_size) if (t := changed + k * dilation) < 12]


@pytest.mark.parametrize("kernel_size, dilation", [(2, 1), (2, 4), (3, 2)])
def test_what_stands_before_is_as_if_it_were_there(kernel_size, dilation):
    layer, x = double(CausalConv1d(4, 5, kernel_size, dilation, generator=generator())), random(3, 6, 4)
    zeros = layer(x)
    front = (kernel_size - 1) * dilation
    layer.before = random(4, seed=5)
    longer = torch.cat([layer.before.expand(3, front, 4), x], dim=1)
    torch.testing.assert_close(layer(x), layer(longer)[:, front:], **EXACT)
    assert not torch.allclose(layer(x)[:, 0], zeros[:, 0])


def test_causal_convolution_of_neighbours_is_a_linear_layer_of_them():
    layer, linear = CausalConv1d(4, 5, 2, bias=False), Linear(8, 5, bias=False, generator=generator())
    layer.weight = linear.weight.view(2, 4, 5)
    x = torch.randn((3, 2, 4), generator=generator(1))
    torch.testing.assert_close(layer(x)[:, 1], linear(x.flatten(1)))


def test_causal_convolution_lists_what_it_learns():
    layer = CausalConv1d(4, 5, 2, dilation=3)
    assert [p.shape for p in layer.parameters()] == [(2, 4, 5), (5,)]
    assert layer.state_dict().keys() == {"weight", "bias", "before"}
    assert [p.shape for p in CausalConv1d(4, 5, 2, bias=False).parameters()] == [(2, 4, 5)]
    assert repr(layer) == "CausalConv1d(4, 5, 2, dilation=3)"
    assert repr(CausalConv1d(4, 5, 2, bias=False)) == "CausalConv1d(4, 5, 2, dilation=1, bias=False)"


def test_causal_convolution_starts_with_outputs_of_standard_deviation_1():
    layer = CausalConv1d(200, 300, 3, generator=generator())
    assert layer.weight.std().item() == pytest.approx(600**-0.5, rel=0.01)
    assert torch.equal(layer.bias, torch.zeros(300)) and torch.equal(layer.before, torch.zeros(200))


@pytest.mark.parametrize("shape", [(4,), (7, 4), (3, 4, 7), (3, 7, 5), (2, 3, 7, 4)], ids=str)
def test_causal_convolution_refuses_another_shape(shape):
    with pytest.raises(ValueError) as caught:
        CausalConv1d(4, 5, 2)(torch.ones(shape))
    assert f"expected (B, T, 4), got a tensor of shape {shape}" in str(caught.value)


@pytest.mark.parametrize("kernel_size, dilation", [(0, 1), (2, 0), (-1, 1)])
def test_causal_convolution_refuses_no_tap_and_no_distance(kernel_size, dilation):
    with pytest.raises(ValueError, match=f"of at least 1, got {kernel_size} and {dilation}"):
        CausalConv1d(4, 5, kernel_size, dilation)


# a network of them


def test_a_network_agrees():
    ours = networks().to(dtype=torch.float64)
    inner = [torch.nn.Linear(6, 5, bias=False), torch.nn.BatchNorm1d(5), torch.nn.Tanh()]
    embedding, last = torch.nn.Embedding(4, 3), torch.nn.Linear(10, 4)
    theirs = torch.nn.ModuleList([embedding, *inner, last]).double()
    embedding.weight.data = ours.layers[0].weight.clone()
    inner[0].weight.data = ours.layers[2].layers[0].weight.T.clone()
    last.weight.data, last.bias.data = ours.layers[4].weight.T.clone(), ours.layers[4].bias.clone()

    def forward(x):
        pairs = embedding(x).unfold(1, 2, 2).transpose(2, 3).flatten(2)
        h = inner[2](inner[1](inner[0](pairs).transpose(1, 2)))
        return last(h.transpose(1, 2).flatten(1))

    for p in ours.parameters():
        p.requires_grad_()
    for step in range(3):
        x = torch.randint(0, 4, (6, 4), generator=generator(step))
        y, expected = ours(x), forward(x)
        torch.testing.assert_close(y, expected, **EXACT)
        grads = gradients(y, ours.parameters())
        assert_all_close(
            [g.T if g.shape in ((6, 5), (10, 4)) else g for g in grads],
            gradients(expected, list(theirs.parameters())),
        )
    ours.eval(), theirs.eval()
    torch.testing.assert_close(ours(x), forward(x), **EXACT)


def test_layers_are_called_in_order():
    def record(name):
        return lambda x: x + [name]

    layers = iter([record("first"), record("second")])
    model = Sequential(layers)
    assert model([]) == model([]) == ["first", "second"]


def test_parameters_are_the_tensors_that_are_learned():
    model = networks()
    tensors = model.state_dict()
    assert list(tensors) == [
        "0.weight",
        "2.0.weight",
        "2.1.weight",
        "2.1.bias",
        "2.1.running_mean",
        "2.1.running_var",
        "4.weight",
        "4.bias",
    ]
    learned = [t for name, t in tensors.items() if "running" not in name]
    assert all(p is t for p, t in zip(model.parameters(), learned, strict=True))


def test_the_same_seed_gives_the_same_weights():
    def built(seed):
        g = generator(seed)
        return Sequential([Embedding(4, 3, generator=g), Linear(3, 5, generator=g)]).state_dict()

    a, b, c = built(3), built(3), built(4)
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert not torch.equal(a["0.weight"], c["0.weight"])
    assert not torch.equal(a["1.weight"], c["1.weight"])
    g = generator(3)
    assert torch.equal(a["0.weight"], torch.randn(4, 3, generator=g))
    assert torch.equal(a["1.weight"], torch.randn(3, 5, generator=g) / 3**0.5)


def test_a_generator_leaves_the_global_one_alone():
    before = torch.random.get_rng_state()
    networks()
    assert torch.equal(torch.random.get_rng_state(), before)


def test_tensors_load_into_another_network():
    x = torch.randint(0, 4, (6, 4), generator=generator(1))
    trained, other = networks(), networks()
    trained(x)
    for layer in flattened(other):
        if "weight" in layer.state_dict():
            layer.weight = layer.weight + 1
    assert not torch.equal(other.eval()(x), trained.eval()(x))
    assert other.load_state_dict(trained.state_dict()) is other
    assert torch.equal(other(x), trained(x))
    assert all(torch.equal(t, trained.state_dict()[name]) for name, t in other.state_dict().items())
    layer = BatchNorm1d(3).load_state_dict({name: torch.full((3,), 7.0) for name in BatchNorm1d(3).state_dict()})
    assert all(t.tolist() == [7, 7, 7] for t in layer.state_dict().values())


@pytest.mark.parametrize("wrong", ["missing", "unknown", "renamed"])
@pytest.mark.parametrize("layer", [networks, lambda: BatchNorm1d(3)], ids=["network", "layer"])
def test_tensors_of_other_names_are_refused(layer, wrong):
    layer = layer()
    tensors = dict(layer.state_dict())
    before = dict(tensors)
    first = next(iter(tensors))
    if wrong == "unknown":
        tensors["extra"] = torch.ones(1)
    else:
        value = tensors.pop(first)
        if wrong == "renamed":
            tensors["extra"] = value
    with pytest.raises(ValueError, match="expected tensors .*, got "):
        layer.load_state_dict(tensors)
    assert all(t is before[name] for name, t in layer.state_dict().items())


def test_to_changes_every_tensor_and_no_value():
    model = networks()
    before = model.state_dict()
    assert model.to(dtype=torch.float64) is model
    assert {t.dtype for t in model.state_dict().values()} == {torch.float64}
    assert all(torch.equal(t.float(), before[name]) for name, t in model.state_dict().items())
    assert {t.device.type for t in model.to("meta").state_dict().values()} == {"meta"}
    assert {t.dtype for t in model.state_dict().values()} == {torch.float64}


def test_modes_reach_every_layer():
    model = networks()
    assert all(layer.training for layer in flattened(model))
    assert model.eval() is model
    assert not any(layer.training for layer in flattened(model))
    assert model.train() is model
    assert all(layer.training for layer in flattened(model))
    model.train(False)
    assert not any(layer.training for layer in flattened(model))
    layer = BatchNorm1d(3)
    assert layer.eval() is layer and not layer.training and BatchNorm1d(3).training


def mixed(model):
    """Some layers in training mode and some not."""
    for i, layer in enumerate(flattened(model)):
        layer.training = i % 3 != 1
    return [layer.training for layer in flattened(model)]


def flat_network():
    return Sequential([Linear(3, 3), BatchNorm1d(3), Tanh(), BatchNorm1d(3)])


@pytest.mark.parametrize(
    "build", [flat_network, networks, lambda: BatchNorm1d(3)], ids=["flat", "nested", "one"]
)
def test_evaluating_restores_each_layers_own_mode(build):
    model = build()
    before = mixed(model)
    with evaluating(model) as inside:
        assert inside is model
        assert not any(layer.training for layer in flattened(model))
    assert [layer.training for layer in flattened(model)] == before


@pytest.mark.parametrize("build", [flat_network, networks], ids=["flat", "nested"])
def test_evaluating_restores_after_an_exception(build):
    model = build()
    before = mixed(model)
    with pytest.raises(RuntimeError, match="inside"), evaluating(model):
        raise RuntimeError("inside")
    assert [layer.training for layer in flattened(model)] == before
    assert torch.is_grad_enabled()


def test_evaluating_takes_no_gradients():
    model = flat_network()
    for p in model.parameters():
        p.requires_grad_()
    with evaluating(model):
        assert not model(torch.ones(2, 3)).requires_grad
    assert model(torch.randn(4, 3, generator=generator())).requires_grad


def test_reprs_show_the_sizes():
    assert repr(networks()).split("\n")[1].strip() == "Embedding(4, 3),"
    shown = [repr(layer) for layer in (Linear(6, 5), Linear(6, 5, bias=False), BatchNorm1d(5), Tanh())]
    assert shown == ["Linear(6, 5)", "Linear(6, 5, bias=False)", "BatchNorm1d(5)", "Tanh()"]
    assert repr(FlattenConsecutive(2)) == "FlattenConsecutive(2)"
    assert repr(Sequential([Flatten()])) == "Sequential([\n    Flatten(),\n])"


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


def test_names_end_to_end_in_one_row_are_convolved_apart():
    g = torch.Generator().manual_seed(0)
    conv = CausalConv1d(3, 5, 3, 2, generator=g)
    conv.before = torch.randn(3, generator=g)
    parts = [torch.randn((1, T, 3), generator=g) for T in (1, 4, 9, 2)]
    place = torch.cat([torch.arange(part.shape[1]) for part in parts])[None]
    apart = torch.cat([conv(part) for part in parts], dim=1)
    assert torch.allclose(conv(torch.cat(parts, dim=1), place=place), apart, atol=1e-6)


# WaveNet's parts


@pytest.mark.parametrize("shape", [(2,), (4, 6), (2, 5, 8)], ids=str)
def test_a_gate_is_tanh_times_sigmoid(shape):
    x, z = random(*shape).requires_grad_(), random(*shape).requires_grad_()
    y, H = Gate()(x), shape[-1] // 2
    # glu multiplies the first half by the second's sigmoid
    expected = F.glu(torch.cat([torch.tanh(z[..., :H]), z[..., H:]], dim=-1), dim=-1)
    torch.testing.assert_close(y, expected, **EXACT)
    assert_all_close(gradients(y, [x]), gradients(expected, [z]))


def test_a_gate_refuses_half_a_channel():
    with pytest.raises(ValueError, match=r"an even number of channels, got shape \(4, 5\)"):
        Gate()(torch.ones(4, 5))


def test_relu_agrees():
    x, z = random(4, 6).requires_grad_(), random(4, 6).requires_grad_()
    torch.testing.assert_close(ReLU()(x), torch.relu(z), **EXACT)
    assert_all_close(gradients(ReLU()(x), [x]), gradients(F.relu(z), [z]))


def test_a_residual_adds_its_input():
    inner = double(Linear(6, 6, generator=generator()))
    x = random(2, 5, 6).requires_grad_()
    y = Residual([inner, Tanh()])(x)
    torch.testing.assert_close(y, x + torch.tanh(inner(x)), **EXACT)
    inner.weight = torch.zeros_like(inner.weight)
    assert_all_close(gradients(Residual([inner])(x), [x]), [random(2, 5, 6, seed=99)])


@pytest.mark.parametrize("out", [1, 5])
def test_a_residual_refuses_what_addition_would_broadcast(out):
    with pytest.raises(ValueError, match=rf"keep the shape \(2, 6\), got \(2, {out}\)"):
        Residual([Linear(6, out)])(torch.ones(2, 6))


def block(residual=True, last=False, g=None, dilation=2):
    g = g or generator()
    body = [CausalConv1d(4, 10, 2, dilation, generator=g), Gate()]
    return WaveNetBlock(
        body, None if last else Linear(5, 4, generator=g), Linear(5, 3, generator=g), residual
    )


@pytest.mark.parametrize("residual", [True, False])
def test_a_block_agrees_with_one_of_torchs_convolutions(residual):
    ours = double(block(residual))
    conv, _ = ours.body.layers
    theirs = [torch.nn.Conv1d(4, 10, 2, dilation=2), torch.nn.Conv1d(5, 4, 1), torch.nn.Conv1d(5, 3, 1)]
    for module, layer in zip(theirs, (conv, ours.to_out, ours.to_skip), strict=True):
        module.double()
        layer.bias = random(len(layer.bias), seed=3)
        weight = layer.weight if layer is conv else layer.weight[None]
        module.weight.data, module.bias.data = weight.permute(2, 1, 0).clone(), layer.bias.clone()
        layer.weight.requires_grad_()
    x, z = random(3, 9, 4).requires_grad_(), random(3, 9, 4).requires_grad_()
    h = F.pad(z.transpose(1, 2), (2, 0))
    h = theirs[0](h)
    h = torch.tanh(h[:, :5]) * torch.sigmoid(h[:, 5:])
    out, skip = theirs[1](h).transpose(1, 2), theirs[2](h).transpose(1, 2)
    out = out + z if residual else out
    y = ours(x)
    assert_all_close(y, (out, skip))
    ours_grads = gradients(torch.cat(y, 2), [x, conv.weight, ours.to_out.weight, ours.to_skip.weight])
    grads = gradients(torch.cat([out, skip], 2), [z, *(module.weight for module in theirs)])
    assert_all_close(ours_grads[:1], grads[:1])
    assert_all_close(ours_grads[1:2], [grads[1].permute(2, 1, 0)])
    assert_all_close(ours_grads[2:], [grad[..., 0].T for grad in grads[2:]])


def stack():
    g = generator(3)
    blocks = [block(g=g, dilation=1), block(g=g, dilation=2), block(last=True, g=g, dilation=4)]
    return double(Skips(blocks))


def test_skips_are_summed_and_the_last_block_hands_nothing_on():
    skips, x, total = stack(), random(2, 9, 4), 0
    for each in skips.layers:
        out, skip = each(x)
        x, total = out, total + skip
    assert out is None
    torch.testing.assert_close(skips(random(2, 9, 4)), total, **EXACT)


def test_every_parameter_of_a_stack_learns():
    skips = stack()
    for p in skips.parameters():
        p.requires_grad_()
    grads = torch.autograd.grad(skips(random(2, 9, 4)).square().sum(), skips.parameters())
    assert len(grads) == 3 * 2 + 2 * 2 + 3 * 2 and all(grad.abs().sum() > 0 for grad in grads)


def test_a_stack_is_stored_and_put_back():
    a, b = stack(), double(Skips([block(), block(), block(last=True)]))
    b.layers[0].body.layers[0].dilation, b.layers[2].body.layers[0].dilation = 1, 4
    names = list(dict(a.named_parameters()))
    assert "0.0.0.weight" in names and "0.0.0.before" in a.state_dict() and "0.0.0.before" not in names
    assert len(names) == len(a.parameters())
    torch.testing.assert_close(b.load_state_dict(a.state_dict())(random(2, 9, 4)), a(random(2, 9, 4)), **EXACT)
    assert sum(isinstance(layer, CausalConv1d) for layer in a.modules()) == 3
    a.eval()
    assert not any(layer.training for layer in a.modules())


def test_blocks_hand_on_where_names_begin():
    skips = stack()
    parts = [random(1, T, 4, seed=T) for T in (1, 4, 9, 2)]
    place = torch.cat([torch.arange(part.shape[1]) for part in parts])[None]
    apart = torch.cat([skips(part) for part in parts], dim=1)
    torch.testing.assert_close(skips(torch.cat(parts, dim=1), place=place), apart, **EXACT)
    residual = double(Residual([CausalConv1d(4, 4, 2, 3, generator=generator())]))
    apart = torch.cat([residual(part) for part in parts], dim=1)
    torch.testing.assert_close(residual(torch.cat(parts, dim=1), place=place), apart, **EXACT)


def test_a_residual_shows_what_is_inside():
    assert repr(Residual([Tanh()])) == "Residual([\n    Tanh(),\n])"
    assert "\n    WaveNetBlock([\n        Sequential([\n            CausalConv1d(4, 10, 2" in repr(stack())


# tensors of other shapes


@pytest.mark.parametrize(
    "layer, name, shape",
    [
        (Linear(3, 4), "weight", (4, 3)),
        (Linear(3, 4), "bias", (1,)),
        (Linear(3, 4), "bias", (1, 4)),
        (Embedding(5, 3), "weight", (6, 3)),
        (BatchNorm1d(4), "running_var", (1, 4)),
        (CausalConv1d(3, 4, 2), "before", ()),
    ],
    ids=lambda value: repr(value),
)
@pytest.mark.parametrize("inside", [False, True], ids=["alone", "in a network"])
def test_tensors_of_another_shape_are_refused(layer, name, shape, inside):
    # in a network, behind a layer that must not change either
    model = Sequential([Linear(3, 3), Residual([layer])]) if inside else layer
    name = f"1.0.{name}" if inside else name
    before = model.state_dict()
    wrong = {key: torch.full_like(t, 7.0) for key, t in before.items()} | {name: torch.zeros(shape)}
    expected = f"expected {name} of shape {tuple(before[name].shape)}, got {shape}"
    with pytest.raises(ValueError) as caught:
        model.load_state_dict(wrong)
    assert str(caught.value) == expected
    assert all(t is before[key] for key, t in model.state_dict().items())


# what goes in


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


@pytest.mark.parametrize("layer", [Linear(1, 3), Embedding(5, 3)], ids=repr)
def test_a_single_number_goes_in_where_torch_takes_it(layer):
    if isinstance(layer, Embedding):
        assert torch.equal(layer(torch.tensor(2)), layer.weight[2])
    else:
        with pytest.raises(ValueError, match=r"a last dimension of 1, got shape \(\)"):
            layer(torch.tensor(2.0))


@pytest.mark.parametrize("kernel_size, dilation", [(2.0, 1), (2, 1.5), ("2", 1), (None, 1)])
def test_causal_convolution_wants_whole_numbers(kernel_size, dilation):
    with pytest.raises(ValueError, match=f"of at least 1, got {kernel_size} and {dilation}"):
        CausalConv1d(4, 5, kernel_size, dilation)


@pytest.mark.parametrize("p", [float("nan"), -0.1, 1.0, float("inf")])
def test_dropout_refuses_what_is_no_probability(p):
    with pytest.raises(ValueError, match=rf"expected p in \[0, 1\), got {p}"):
        Dropout(p)


@pytest.mark.parametrize("shape", [(0, 5), (0, 4, 5), (4, 0, 5)], ids=str)
def test_an_empty_batch_has_no_statistics(shape):
    layer = BatchNorm1d(5)
    with pytest.raises(ValueError, match="more than 1 value per channel in training mode, got"):
        layer(torch.ones(shape))
    assert torch.equal(layer.running_mean, torch.zeros(5)) and torch.equal(layer.running_var, torch.ones(5))
    assert layer.eval()(torch.ones(shape)).shape == shape


def test_no_channels_are_refused_as_one_value_is():
    with pytest.raises(ValueError, match=r"more than 1 value per channel in training mode, got \(4, 0\)"):
        BatchNorm1d(0)(torch.ones(4, 0))


def test_what_is_no_number_is_seen_as_in_torch():
    x = random(6, 5)
    x[2, 3] = float("nan")
    ours, theirs = batch_norms(5)
    torch.testing.assert_close(ours(x), theirs(x), **EXACT, equal_nan=True)
    torch.testing.assert_close(ours.running_var, theirs.running_var, **EXACT, equal_nan=True)
    assert ours.running_mean.isnan().tolist() == [False, False, False, True, False]


@pytest.mark.parametrize("lengths, kept", [([1, 0], 1), ([0, 0], 0)])
def test_a_mask_that_leaves_too_little_is_refused_and_changes_nothing(lengths, kept):
    layer = BatchNorm1d(5)
    with pytest.raises(ValueError, match=rf"1 value per channel in training mode, got \({kept}, 5\)"):
        layer(torch.ones(2, 3, 5), lengths_as_mask(lengths, 3))
    assert torch.equal(layer.running_mean, torch.zeros(5)) and torch.equal(layer.running_var, torch.ones(5))
    assert layer.eval()(torch.ones(2, 3, 5), lengths_as_mask(lengths, 3)).shape == (2, 3, 5)


# masks and places through every container


def normed_block(g, last=False):
    body = [CausalConv1d(4, 10, 2, 2, generator=g), BatchNorm1d(10), Gate()]
    return WaveNetBlock(body, None if last else Linear(5, 4, generator=g), Linear(5, 4, generator=g))


CONTAINERS = {
    "Sequential": lambda g: Sequential([CausalConv1d(4, 4, 2, generator=g), BatchNorm1d(4), SiLU()]),
    "Residual": lambda g: Residual([CausalConv1d(4, 4, 2, 2, generator=g), BatchNorm1d(4), Tanh()]),
    "WaveNetBlock": lambda g: Sequential([Skips([normed_block(g, last=True)])]),
    "Skips": lambda g: Skips([normed_block(g), normed_block(g), normed_block(g, last=True)]),
    "all": lambda g: Sequential(
        [Residual([Skips([normed_block(g), normed_block(g, True)])]), BatchNorm1d(4)]
    ),
}


@pytest.mark.parametrize("name", CONTAINERS)
def test_a_padded_batch_with_a_mask_is_its_names_end_to_end(name):
    lengths, g = [7, 1, 4], generator(3)
    padded, packed = double(CONTAINERS[name](g)), double(CONTAINERS[name](generator(3)))
    assert_all_close(padded.state_dict().values(), packed.state_dict().values())
    mask = lengths_as_mask(lengths, 7)
    x = torch.where(mask[..., None], random(3, 7, 4), 50.0)  # what pads is loud
    z = x[mask][None]
    place = torch.cat([torch.arange(length) for length in lengths])[None]
    for model in (padded, packed):
        for p in model.parameters():
            p.requires_grad_()
    for _ in range(2):
        y, expected = padded(x, mask=mask)[mask], packed(z, place=place)[0]
        torch.testing.assert_close(y, expected, **EXACT)
    assert_all_close(
        [t for key, t in padded.state_dict().items() if "running" in key],
        [t for key, t in packed.state_dict().items() if "running" in key],
    )
    assert_all_close(gradients(y, padded.parameters()), gradients(expected, packed.parameters()))
    assert not torch.allclose(padded(x)[mask], expected)  # without the mask it is something else
    padded.eval()
    alone = [padded(x[i : i + 1, :length])[0] for i, length in enumerate(lengths)]
    torch.testing.assert_close(padded(x, mask=mask)[mask], torch.cat(alone), **EXACT)


@pytest.mark.parametrize("size", [0.1, 30.0, 800.0])
def test_silu_agrees(size):
    x, z = (size * random(40)).requires_grad_(), (size * random(40)).requires_grad_()
    torch.testing.assert_close(SiLU()(x), F.silu(z), **EXACT)
    assert_all_close(gradients(SiLU()(x), [x]), gradients(F.silu(z), [z]))
