"""Recurrent cells and layers: PyTorch's own cases, torch.nn's layers on batches, the fused kernels."""

import copy
from contextlib import nullcontext

import pytest
import torch
from small_tensors import EXACT, assert_all_close, double, generator, gradients, lively, random
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence
from torch.testing._internal.common_modules import module_db

from common import nn
from common.fast import fused

KINDS = ("RNN", "LSTM", "GRU")
LENGTHS = [7, 2, 5, 5]
NAMES = [*KINDS, *(f"{kind}Cell" for kind in KINDS)]


def twins(name, *arguments, **options):
    """torch's module and ours, in float64, with the same numbers in them."""
    theirs = getattr(torch.nn, name)(*arguments, **options).double()
    for i, p in enumerate(theirs.parameters()):
        p.data = 0.5 * random(*p.shape, seed=i)
    options.pop("batch_first", None)
    if "nonlinearity" in options:
        options["activation"] = getattr(torch, options.pop("nonlinearity"))
    ours = double(getattr(nn, name)(*arguments, **options))
    ours.load_state_dict(nn.from_torch(theirs.state_dict())).requires_grad_()
    return theirs, ours


def parts(state):
    return list(state) if isinstance(state, tuple) else [state]


def laid(tensors):
    """torch's matrices under the names and in the order of ours."""
    return [g.T if g.ndim == 2 else g for g in tensors]


def assert_same(name, theirs, ours, called, expected, inputs, others):
    """Outputs, and the gradients of inputs and parameters."""
    assert_all_close(called, expected)
    own = [gradients(y, inputs + ours.parameters()) for y in called[:1]]
    given = torch.autograd.grad(
        (expected[0] * random(*expected[0].shape, seed=99)).sum(), others + list(theirs.parameters())
    )
    n, names = len(inputs), [name for name, _ in ours.named_parameters()]
    order = list(nn.from_torch(theirs.state_dict()))
    theirs_by_name = dict(zip(order, laid(given[n:]), strict=True))
    assert_all_close(own[0][:n], given[:n])
    assert_all_close(own[0][n:], [theirs_by_name[name] for name in names])


def cases():
    for info in module_db:
        name = info.name.removeprefix("nn.")
        if name in NAMES:
            made = info.module_inputs_func(
                info, device="cpu", dtype=torch.float64, requires_grad=True, training=True
            )
            for number, case in enumerate(made):
                options = case.constructor_input.kwargs
                if not options.get("proj_size"):
                    yield pytest.param(name, case, id=f"{name}-{number}")


@pytest.mark.parametrize("name, case", list(cases()))
def test_a_case_of_pytorch_is_computed(name, case):
    """None of them has a batch: ours get one."""
    options = {key: v for key, v in case.constructor_input.kwargs.items() if key != "proj_size"}
    theirs, ours = twins(name, *case.constructor_input.args, **options)
    x, *state = case.forward_input.args
    state = state[0] if state else None
    others = [x, *([] if state is None else parts(state))]
    inputs = [t.detach().clone().requires_grad_() for t in others]
    wide = [t[None] if name.endswith("Cell") or t is inputs[0] else t[:, None] for t in inputs]
    given = None if state is None else tuple(wide[1:]) if isinstance(state, tuple) else wide[1]
    expected, called = theirs(x, state), ours(wide[0], given)
    if name.endswith("Cell"):
        expected, called = parts(expected), [t[0] for t in parts(called)]
    else:
        expected = [expected[0], *parts(expected[1])]
        called = [called[0][0], *(t[:, 0] for t in parts(called[1]))]
    assert_same(name, theirs, ours, called, expected, inputs, others)


def test_pytorch_has_many_cases():
    assert {param.values[0] for param in cases()} == set(NAMES) and len(list(cases())) >= 70


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("how", ["padded", "sorted", "in any order"])
@pytest.mark.parametrize("layers, both", [(1, False), (1, True), (3, False), (2, True)])
@pytest.mark.parametrize("given", [False, True])
@pytest.mark.parametrize("by", ["loop", "kernels"])
def test_a_layer_is_torchs(kind, how, layers, both, given, by):
    theirs, ours = twins(kind, 3, 4, layers, bidirectional=both, batch_first=True)
    lengths = sorted(LENGTHS, reverse=True) if how == "sorted" else LENGTHS
    x, z = random(4, 7, 3).requires_grad_(), random(4, 7, 3).requires_grad_()
    h = [random(layers * (1 + both), 4, 4, seed=3 + i) for i in range(1 + (kind == "LSTM"))]
    state = None if not given else tuple(h) if kind == "LSTM" else h[0]

    def pack(t):
        return (
            t
            if how == "padded"
            else pack_padded_sequence(t, lengths, batch_first=True, enforce_sorted=how == "sorted")
        )

    def unpacked(result):
        y, after = result
        assert isinstance(y, PackedSequence) == (how != "padded")
        return [pad_packed_sequence(y, batch_first=True)[0] if how != "padded" else y, *parts(after)]

    if by == "kernels":
        with fused(ours):
            called = unpacked(ours(pack(x), state))
    else:
        called = unpacked(ours(pack(x), state))
    expected = unpacked(theirs(pack(z), state))
    assert_same(kind, theirs, ours, called, expected, [x], [z])


def test_fused_kernels_are_used_and_put_back(monkeypatch):
    layer = double(nn.LSTM(3, 4))
    with fused(layer):
        monkeypatch.setattr(nn.LSTMCell, "__call__", None)  # nobody takes a step
        layer(random(2, 5, 3))
    with pytest.raises(TypeError):
        layer(random(2, 5, 3))


def test_what_no_kernel_computes_keeps_its_loop():
    class Own(nn.LSTMCell):
        def __call__(self, x, state=None):
            h, c = super().__call__(x, state)
            return 2 * h, c

    class OwnLSTM(nn.LSTM):
        Cell = Own

    for layer in (OwnLSTM(3, 4), nn.RNN(3, 4, activation=torch.sin)):
        double(layer)
        x = random(2, 5, 3)
        with fused(layer):
            called = layer(x)[0]
        torch.testing.assert_close(called, layer(x)[0], **EXACT)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("how", ["padded", "packed"])
def test_dropout_between_layers_draws_from_its_generator_and_stops_in_evaluation(kind, how, monkeypatch):
    layer = double(getattr(nn, kind)(3, 4, num_layers=3, dropout=0.5, bidirectional=how == "packed"))
    x = random(2, 5, 3)
    if how == "packed":
        x = pack_padded_sequence(x, [5, 3], batch_first=True)

    def drawn():
        g = generator()
        for dropout in layer.dropout:
            dropout.generator = g
        y, state = layer(x)
        return [y.data if how == "packed" else y, *parts(state)]

    loop = drawn()
    with fused(layer), monkeypatch.context() as patch:
        patch.setattr(layer.Cell, "__call__", None)  # nobody takes a step
        torch.testing.assert_close(drawn(), loop, **EXACT)
    other = drawn()[0]
    layer.eval()
    still = drawn()
    assert not torch.equal(other, still[0])
    with fused(layer):
        torch.testing.assert_close(drawn(), still, **EXACT)


@pytest.mark.parametrize("kind", KINDS)
def test_a_state_goes_on_where_it_stopped(kind):
    layer = lively(getattr(nn, kind)(3, 4, num_layers=2))
    x = random(2, 9, 3)
    whole, end = layer(x)
    first, state = layer(x[:, :4])
    second, last = layer(x[:, 4:], state)
    torch.testing.assert_close(torch.cat([first, second], 1), whole, **EXACT)
    assert_all_close(parts(last), parts(end))


@pytest.mark.parametrize("by", ["loop", "kernels"])
@pytest.mark.parametrize(
    "shapes, said",
    [
        (((2, 5, 4),), "expected a last dimension of 3, got shape"),
        (((5, 3),), r"expected \(B, T, C\) with at least one step, got shape \(5, 3\)"),
        (((2, 0, 3),), r"at least one step, got shape \(2, 0, 3\)"),
        (((2, 5, 3), (1, 2, 4)), "expected as state a tuple of 2 tensors, got Tensor"),
        (((2, 5, 3), (1, 2, 4), (1, 2, 4), (1, 2, 4)), "a tuple of 2 tensors, got 3 of them"),
        (((2, 5, 3), (2, 2, 4), (2, 2, 4)), r"a state for 1 cells and 2 sequences, got \[\(2, 2\)"),
        (((2, 5, 3), (1, 1, 4), (1, 1, 4)), r"a state for 1 cells and 2 sequences, got \[\(1, 1\)"),
        (((2, 5, 3), (1, 2, 5), (1, 2, 5)), r"got \[\(2, 5\), \(2, 5\)\]"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(by, shapes, said):
    x, *state = map(torch.zeros, shapes)
    given = (state[0] if len(state) == 1 else tuple(state),) if state else ()
    layer = nn.LSTM(3, 4)
    with pytest.raises(ValueError, match=said), fused(layer) if by == "kernels" else nullcontext():
        layer(x, *given)


def test_sizes_and_arguments_that_are_none():
    for build in (lambda: nn.GRU(0, 4), lambda: nn.GRU(3, 0), lambda: nn.LSTMCell(3, -1)):
        with pytest.raises(ValueError, match="expected sizes of at least 1, got"):
            build()
    with pytest.raises(ValueError, match="expected at least 1 layer, got 0"):
        nn.RNN(3, 4, num_layers=0)
    with pytest.raises(TypeError, match="proj_size"):
        nn.LSTM(3, 4, proj_size=2)
    with pytest.raises(ValueError, match="expected names such as weight_ih_l0, got 'weight_hr_l0'"):
        nn.from_torch(torch.nn.LSTM(3, 4, proj_size=2).state_dict())


def test_weights_start_as_torchs_and_come_from_the_generator():
    layer = nn.LSTM(3, 64, generator=generator())
    assert all(p.abs().max() <= 64**-0.5 for p in layer.parameters())
    assert layer.layers[0]["forward"].recurrent.weight.std() == pytest.approx(64**-0.5 / 3**0.5, rel=0.02)
    again = nn.LSTM(3, 64, generator=generator())
    assert_all_close(layer.parameters(), again.parameters())
    assert set(nn.LSTM(3, 4, 2, bidirectional=True).state_dict()) == set(
        nn.from_torch(torch.nn.LSTM(3, 4, 2, bidirectional=True).state_dict())
    )


@pytest.mark.parametrize("kind", KINDS)
def test_an_orthogonal_start_leaves_lengths(kind):
    layer = nn.orthogonal_start(getattr(nn, kind)(3, 6), generator())
    for block in layer.layers[0]["forward"].recurrent.weight.chunk(layer.Cell.gates, -1):
        torch.testing.assert_close(block @ block.T, torch.eye(6), atol=1e-5, rtol=0)
    again = nn.orthogonal_start(copy.deepcopy(layer), generator())
    assert_all_close(layer.parameters(), again.parameters())


def test_a_chrono_start_remembers_for_one_to_longest_steps():
    cell = nn.chrono_start(nn.LSTMCell(3, 500), 100, generator())
    total = cell.input.bias + cell.recurrent.bias
    i, f, _, _ = total.chunk(4)
    steps = f.exp()
    assert 1 <= steps.min() and steps.max() <= 99 and abs(steps.mean() - 50) < 4
    torch.testing.assert_close(i, -f)
    gru = nn.chrono_start(nn.GRUCell(3, 500), 100, generator())
    r, z, _ = (gru.input.bias + gru.recurrent.bias).chunk(3)
    torch.testing.assert_close(z, f)
    assert r.abs().max() <= 2 * 500**-0.5
    # with nothing in, a unit keeps 1 - 1 / (1 + steps) of what it holds
    silent = nn.chrono_start(nn.GRU(1, 8), 50, generator())
    bias = silent.layers[0]["forward"].input.bias.chunk(3)[1]
    torch.testing.assert_close(torch.sigmoid(bias), 1 - 1 / (1 + bias.exp()))


def test_starts_refuse_what_they_cannot_set():
    nn.chrono_start(nn.GRU(3, 4), 2)
    with pytest.raises(ValueError, match="a memory of at least 2 steps, got 1"):
        nn.chrono_start(nn.GRU(3, 4), 1)
    with pytest.raises(ValueError, match="expected cells of an LSTM or a GRU, with biases, got RNNCell"):
        nn.chrono_start(nn.RNN(3, 4), 10)
    with pytest.raises(ValueError, match="with biases, got LSTMCell without biases"):
        nn.chrono_start(nn.LSTM(3, 4, bias=False), 10)


def test_the_forget_gate_starts_open():
    layer = nn.forget_bias_start(nn.LSTM(3, 4, num_layers=2), 1.5)
    for cell in nn.recurrent_cells(layer):
        assert (cell.input.bias + cell.recurrent.bias).chunk(4)[1].tolist() == [1.5] * 4
    with pytest.raises(ValueError, match="expected cells of an LSTM, with biases, got GRUCell"):
        nn.forget_bias_start(nn.GRU(3, 4))


@pytest.mark.parametrize("by", ["loop", "kernels"])
@pytest.mark.parametrize("rows", [1, 5])
def test_a_packed_batch_refuses_a_state_of_other_rows(by, rows):
    layer = nn.GRU(3, 4)
    x = pack_padded_sequence(torch.zeros(2, 3, 3), [1, 3], batch_first=True, enforce_sorted=False)
    with pytest.raises(ValueError, match="a state for 1 cells and 2 sequences, got"):
        with fused(layer) if by == "kernels" else nullcontext():
            layer(x, torch.zeros(1, rows, 4))


def test_layers_that_differ_inside_keep_their_loop():
    class Doubled(nn.Linear):
        def __call__(self, input):
            return 2 * super().__call__(input)

    first, second, third = double(nn.RNN(3, 4, 2)), double(nn.GRU(3, 4)), double(nn.LSTM(3, 4))
    first.layers[1]["forward"].activation = torch.relu
    second.layers[0]["forward"].recurrent.__class__ = Doubled
    third.layers[0]["forward"].recurrent.bias = None
    x = random(2, 5, 3)
    for layer in (first, second, third):
        with fused(layer):
            inside = layer(x)[0]
        torch.testing.assert_close(inside, layer(x)[0], **EXACT)


def test_weights_from_torch_are_copies():
    theirs = torch.nn.GRU(2, 3)
    before = [p.detach().clone() for p in theirs.parameters()]
    ours = nn.GRU(2, 3)
    ours.load_state_dict(nn.from_torch(theirs.state_dict()))
    for p in ours.parameters():
        p.add_(1)
    assert_all_close([p.detach() for p in theirs.parameters()], before)


def test_starts_change_what_is_learned_all_or_nothing():
    layer = nn.chrono_start(nn.LSTM(3, 4).requires_grad_(), 10)
    assert nn.forget_bias_start(layer).layers[0]["forward"].input.bias.requires_grad

    class Both(nn.Module):
        def __init__(self):
            self.first, self.second = nn.LSTM(3, 4), nn.RNN(3, 4)

    both = Both()
    before = copy.deepcopy(both).parameters()
    for start in (lambda m: nn.chrono_start(m, 10), nn.forget_bias_start):
        with pytest.raises(ValueError, match="got RNNCell"):
            start(both)
    assert_all_close(both.parameters(), before)
    for start in (lambda m: nn.chrono_start(m, 10), nn.forget_bias_start, nn.orthogonal_start):
        with pytest.raises(ValueError, match="got Linear"):
            start(nn.Linear(3, 4))
    with pytest.raises(ValueError, match="a memory of at least 2 steps, got inf"):
        nn.chrono_start(nn.LSTM(3, 4), float("inf"))


def test_a_state_may_be_a_list_and_is_made_of_tensors():
    layer, cell = nn.LSTM(3, 4), nn.GRUCell(3, 4)
    h, c = torch.ones(1, 2, 4), torch.ones(1, 2, 4)
    x = torch.zeros(2, 5, 3)
    torch.testing.assert_close(layer(x, [h, c])[0], layer(x, (h, c))[0])
    for call in (lambda: nn.GRU(3, 4)(x, 0), lambda: cell(x[:, 0], 0), lambda: layer(x, (1, 2))):
        with pytest.raises(ValueError, match="expected a state of tensors, got"):
            call()
    with pytest.raises(ValueError, match="expected as state one tensor, got 1 of them"):
        cell(x[:, 0], [h[0]])


def test_dropout_between_layers_needs_two():
    with pytest.raises(
        ValueError, match="expected at least 2 layers for a dropout of 0.5 between them, got 1"
    ):
        nn.GRU(3, 4, dropout=0.5)
