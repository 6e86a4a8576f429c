"""Recurrent cells from scratch, and the layers that carry them over a sequence.

A cell takes one step: an input and a state in, the next state out. A layer takes them all, a padded batch
(B, T, C) or torch's `PackedSequence`, in one direction or both. Equations, sizes, order of the gates and the
state's shapes are those of torch.nn with ``batch_first=True``; weights are (inputs, outputs), as in `Linear`.
The loops are in Python, to be read: `common.fast.fused` computes the same with torch's kernels.
"""

import re
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Generator, Tensor
from torch.nn.init import orthogonal_
from torch.nn.utils.rnn import PackedSequence

from .dropout import Dropout
from .linear import Linear
from .module import Module

State = Any  # a tensor h, or the LSTM's pair (h, c)


class Cell(Module):
    """What the cells share: one map of the input, one of the state, side by side for all gates.

    x: (..., input_size); the state's tensors: (..., hidden_size), zeros where none is given. Weights and
    biases start uniform between -1 / sqrt(hidden_size) and its opposite, as in torch.nn. ValueError for sizes
    below 1, and for inputs and states that do not fit. Introduced in part two, chapter 2.

    >>> class Adding(Cell):
    ...     def __call__(self, x, h=None):
    ...         return self.ready(x, h) + self.input(x)
    >>> Adding(10, 20)(torch.zeros(32, 10)).shape
    torch.Size([32, 20])
    """

    gates = 1
    tensors = 1  # in a state
    packable = False

    def __init__(self, input_size: int, hidden_size: int, bias: bool = True,
                 *, generator: Generator | None = None):  # fmt: skip
        if min(input_size, hidden_size) < 1:
            raise ValueError(f"expected sizes of at least 1, got {input_size} and {hidden_size}")
        self.input = Linear(input_size, self.gates * hidden_size, bias, generator=generator)
        self.recurrent = Linear(hidden_size, self.gates * hidden_size, bias, generator=generator)
        for p in self.parameters():
            p.uniform_(-(hidden_size**-0.5), hidden_size**-0.5, generator=generator)

    def __call__(self, x: Tensor, state: State = None) -> State:
        return super().__call__(x, state)

    def ready(self, x: Tensor, state: State | None) -> State:
        """The state to start from, checked. ValueError where it does not fit the input."""
        wanted = (*x.shape[:-1], len(self.recurrent.weight))
        if state is None:
            zeros = x.new_zeros(wanted)
            return zeros if self.tensors == 1 else (zeros,) * self.tensors
        state = _as_state(state, self.tensors)
        got = [(*part.shape,) for part in (state if isinstance(state, tuple) else (state,))]
        if got != [wanted] * self.tensors:
            raise ValueError(f"expected a state of {self.tensors} x {wanted}, got {got}")
        return state


class RNNCell(Cell):
    """h' = tanh(x W + b + h U + c) (Elman, 1990). (B, C), (B, H) -> (B, H).

    activation: torch.tanh, or another. Introduced in part two, chapter 1.

    >>> RNNCell(10, 20)(torch.zeros(32, 10)).shape
    torch.Size([32, 20])
    """

    def __init__(self, input_size: int, hidden_size: int, bias: bool = True,
                 activation: Callable[[Tensor], Tensor] = torch.tanh,
                 *, generator: Generator | None = None):  # fmt: skip
        super().__init__(input_size, hidden_size, bias, generator=generator)
        self.activation = activation

    def __call__(self, x: Tensor, h: Tensor | None = None) -> Tensor:
        h = self.ready(x, h)
        return self.activation(self.input(x) + self.recurrent(h))


class LSTMCell(Cell):
    """Input, forget and output gates around a memory c (Hochreiter and Schmidhuber, 1997; Gers et al., 2000).

    (B, C), a pair (h, c) of (B, H) -> the next pair. Introduced in part two, chapter 2.

    >>> h, c = LSTMCell(10, 20)(torch.zeros(32, 10))
    >>> h.shape, c.shape
    (torch.Size([32, 20]), torch.Size([32, 20]))
    """

    gates, tensors = 4, 2

    def __call__(self, x: Tensor, state: tuple[Tensor, Tensor] | None = None) -> tuple[Tensor, Tensor]:
        h, c = self.ready(x, state)
        i, f, g, o = (self.input(x) + self.recurrent(h)).chunk(4, -1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        return torch.sigmoid(o) * torch.tanh(c), c


class GRUCell(Cell):
    """Reset and update gates without a memory of its own (Cho et al., 2014). (B, C), (B, H) -> (B, H).

    The reset gate acts behind the recurrent map, as in torch.nn; in the paper it acts in front of it.
    Introduced in part two, chapter 2.

    >>> GRUCell(10, 20)(torch.zeros(32, 10)).shape
    torch.Size([32, 20])
    """

    gates = 3

    def __call__(self, x: Tensor, h: Tensor | None = None) -> Tensor:
        h = self.ready(x, h)
        r, z, n = self.input(x).chunk(3, -1)
        hr, hz, hn = self.recurrent(h).chunk(3, -1)
        r, z = torch.sigmoid(r + hr), torch.sigmoid(z + hz)
        return (1 - z) * torch.tanh(n + r * hn) + z * h


def unroll(cell: Cell, steps: Sequence[Tensor], state: State | None = None,
           backward: bool = False) -> tuple[list[Tensor], State]:  # fmt: skip
    """One cell over a sequence, first step first, or last step first: its outputs in order, its last state.

    steps: T inputs (B, C); a later one may have fewer rows, for sequences that have ended, longest first.
    Such a sequence keeps its last state; backward it starts at its own end. Introduced in part two, chapter
    1, for sequences of one length.

    >>> outputs, h = unroll(RNNCell(10, 20), torch.zeros(32, 8, 10).unbind(1))
    >>> len(outputs), outputs[0].shape
    (8, torch.Size([32, 20]))
    """
    state, outputs = cell.ready(steps[0], state), list[Tensor]()
    for x in reversed(steps) if backward else steps:
        n = len(x)
        now = cell(x, _each(lambda old: old[:n], state))  # noqa: B023
        outputs.append(now[0] if isinstance(now, tuple) else now)
        state = _each(lambda new, old: new if n == len(old) else torch.cat([new, old[n:]]), now, state)  # noqa: B023
    return outputs[::-1] if backward else outputs, state


def _as_state(state: State, tensors: int) -> State:
    """A state as cells and layers pass it on: a tensor, or a tuple of so many. ValueError for another."""
    state = tuple(state) if isinstance(state, list) else state
    parts = state if isinstance(state, tuple) else (state,)
    if len(parts) != tensors or isinstance(state, tuple) != (tensors > 1):
        wanted = "one tensor" if tensors == 1 else f"a tuple of {tensors} tensors"
        got = f"{len(parts)} of them" if isinstance(state, tuple) else type(state).__name__
        raise ValueError(f"expected as state {wanted}, got {got}")
    if not all(isinstance(part, Tensor) for part in parts):
        raise ValueError(f"expected a state of tensors, got {[type(part).__name__ for part in parts]}")
    return state


def _cell_by_cell(state: State) -> list[State]:
    """A layer's state, one cell at a time."""
    return list(zip(*state, strict=True) if isinstance(state, tuple) else state)


def _each(function: Callable[..., Tensor], *states: State) -> State:
    """A function of every tensor of a state."""
    if isinstance(states[0], tuple):
        return tuple(function(*parts) for parts in zip(*states, strict=True))
    return function(*states)


class RNN(Module):
    """Layers of `RNNCell` over a sequence: (B, T, C), or a `PackedSequence`, -> the same of H, and the state.

    The state is (layers x directions, B, H), as in torch.nn with ``batch_first=True``: zeros where none is
    given, and of a packed sequence the state at its own end. bidirectional: a second cell reads from the
    end; outputs (B, T, 2 H) hold both. dropout: between layers. options: the cell's bias and activation.
    ValueError for sizes below 1, no step, a batch of another form. Introduced in part two, chapter 1.

    >>> y, h = RNN(10, 20, num_layers=2)(torch.zeros(32, 8, 10))
    >>> y.shape, h.shape
    (torch.Size([32, 8, 20]), torch.Size([2, 32, 20]))
    """

    Cell: type[Cell] = RNNCell
    packable = False

    def __init__(self, input_size: int, hidden_size: int, num_layers: int = 1, *, bidirectional: bool = False,
                 dropout: float = 0.0, generator: Generator | None = None, **options: Any):  # fmt: skip
        if num_layers < 1:
            raise ValueError(f"expected at least 1 layer, got {num_layers}")
        if dropout and num_layers == 1:
            raise ValueError(f"expected at least 2 layers for a dropout of {dropout} between them, got 1")
        ways = ("forward", "backward")[: 1 + bidirectional]
        sizes = [input_size] + [len(ways) * hidden_size] * (num_layers - 1)
        self.layers = [
            {way: self.Cell(size, hidden_size, **options, generator=generator) for way in ways}
            for size in sizes
        ]
        self.dropout = [Dropout(dropout) for _ in range(num_layers - 1)]

    def __call__(self, x: Any, state: State = None) -> tuple[Any, State]:
        packed = isinstance(x, PackedSequence)
        if not packed and (x.ndim != 3 or not x.shape[1]):
            raise ValueError(f"expected (B, T, C) with at least one step, got shape {(*x.shape,)}")
        if state is not None:
            state = _as_state(state, self.Cell.tensors)
            wanted = (sum(map(len, self.layers)), int(x.batch_sizes[0]) if packed else len(x))
            got = [(*part.shape[:2],) for part in (state if isinstance(state, tuple) else (state,))]
            if got != [wanted] * len(got):
                cells, rows = wanted
                raise ValueError(f"expected a state for {cells} cells and {rows} sequences, got {got}")
        if packed:
            return self._packed(x, state)
        outputs, state = self.run(x.unbind(1), state)
        return torch.stack(outputs, 1), state

    def _packed(self, x: PackedSequence, state: State) -> tuple[PackedSequence, State]:
        """A packed sequence's rows stand longest first; its state in the order before the packing."""
        if state is not None and x.sorted_indices is not None:
            state = _each(lambda part: part[:, x.sorted_indices], state)
        outputs, state = self.run(x.data.split(x.batch_sizes.tolist()), state)
        if x.unsorted_indices is not None:
            state = _each(lambda part: part[:, x.unsorted_indices], state)
        return x._replace(data=torch.cat(outputs)), state

    def run(self, steps: Sequence[Tensor], state: State = None) -> tuple[list[Tensor], State]:
        """All layers over steps as in `unroll`: the last layer's outputs, and every cell's last state."""
        starts = iter([None] * len(recurrent_cells(self)) if state is None else _cell_by_cell(state))
        outputs, ends = list(steps), []
        for layer, cells in enumerate(self.layers):
            if layer:
                outputs = [self.dropout[layer - 1](step) for step in outputs]
            ways = [unroll(cell, outputs, next(starts), way == "backward") for way, cell in cells.items()]
            outputs = [torch.cat(both, -1) for both in zip(*(own for own, _ in ways), strict=True)]
            ends += [end for _, end in ways]
        return outputs, _each(lambda *parts: torch.stack(parts), *ends)

    def extra_repr(self) -> str:
        ways = " and ".join(self.layers[0])
        return f"{len(self.layers)} layer{'s' * (len(self.layers) > 1)}, {ways}"


class LSTM(RNN):
    """Layers of `LSTMCell`, as `RNN`; the state is a pair (h, c). Introduced in part two, chapter 2.

    >>> y, (h, c) = LSTM(10, 20, bidirectional=True)(torch.zeros(32, 8, 10))
    >>> y.shape, c.shape
    (torch.Size([32, 8, 40]), torch.Size([2, 32, 20]))
    """

    Cell = LSTMCell


class GRU(RNN):
    """Layers of `GRUCell`, as `RNN`. Introduced in part two, chapter 2.

    >>> y, h = GRU(10, 20)(torch.zeros(32, 8, 10))
    >>> y.shape
    torch.Size([32, 8, 20])
    """

    Cell = GRUCell


def recurrent_cells(model: Module) -> list[Cell]:
    """The cells of a model, however deep."""
    return [module for module in model.modules() if isinstance(module, Cell)]


def _cells_to_start(model: Module, kind: type | tuple[type, ...], wanted: str) -> list[Cell]:
    """The cells of a model, all checked before any is changed. ValueError where there are none, or others."""
    cells = recurrent_cells(model)
    if not cells:
        raise ValueError(f"expected {wanted}, got {type(model).__name__}")
    for cell in cells:
        without = [one for one in (cell.input, cell.recurrent) if one.bias is None]
        if not isinstance(cell, kind) or (without and kind is not Cell):
            raise ValueError(
                f"expected {wanted}, got {type(cell).__name__}{' without biases' * bool(without)}"
            )
    return cells


def _gates(linear: Linear, count: int) -> tuple[Tensor, ...]:
    """The bias of each gate."""
    return () if linear.bias is None else linear.bias.chunk(count)


@torch.no_grad()
def orthogonal_start(model: Module, generator: Generator | None = None) -> Module:
    """Every recurrent map of a model starts orthogonal, one matrix a gate: it leaves the length of what it is
    multiplied with (Saxe et al., 2014). Returns the model. ValueError for a model without cells. Introduced
    in part two, chapter 2."""
    for cell in _cells_to_start(model, Cell, "a model with recurrent cells"):
        for block in cell.recurrent.weight.chunk(cell.gates, -1):
            block.copy_(orthogonal_(torch.empty_like(block, device="cpu"), generator=generator))
    return model


@torch.no_grad()
def chrono_start(model: Module, longest: int, generator: Generator | None = None) -> Module:
    """Gates of LSTMs and GRUs start with memories of 2 to `longest` steps (Tallec and Ollivier, 2018).

    The bias of an LSTM's forget gate, and of a GRU's update gate, becomes log(u), u uniform from 1 to
    longest - 1, and that of an LSTM's input gate its opposite: with nothing coming in, such a gate keeps u /
    (1 + u) of the memory in a step. Returns the model. ValueError below 2 steps, and for cells without gates
    or biases. Introduced in part two, chapter 2.
    """
    if not 2 <= longest < 2**31:
        raise ValueError(f"expected a memory of at least 2 steps, got {longest}")
    for cell in _cells_to_start(model, (LSTMCell, GRUCell), "cells of an LSTM or a GRU, with biases"):
        drawn = torch.empty(len(cell.recurrent.weight)).uniform_(1, longest - 1, generator=generator).log_()
        for one, own in ((cell.input, drawn), (cell.recurrent, torch.zeros_like(drawn))):
            parts = _gates(one, cell.gates)
            parts[1].copy_(own)  # forget or update
            if isinstance(cell, LSTMCell):
                parts[0].copy_(-own)
    return model


@torch.no_grad()
def forget_bias_start(model: Module, bias: float = 1.0) -> Module:
    """Every LSTM's forget gate starts with this bias, and so nearly open (Gers et al., 2000); returns the
    model. ValueError for other cells, and for those without biases. Introduced in part two, chapter 2."""
    for cell in _cells_to_start(model, LSTMCell, "cells of an LSTM, with biases"):
        _gates(cell.input, 4)[1].fill_(bias)
        _gates(cell.recurrent, 4)[1].zero_()
    return model


def from_torch(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The state_dict of torch's RNN, LSTM, GRU, or of a cell of theirs, under the names used here; copies.

    >>> list(from_torch(torch.nn.GRU(2, 3, bias=False).state_dict()))
    ['layers.0.forward.input.weight', 'layers.0.forward.recurrent.weight']
    """
    ours = {}
    for name, tensor in state.items():
        found = re.fullmatch(r"(weight|bias)_([ih])h(?:_l(\d+)(_reverse)?)?", name)
        if not found:
            raise ValueError(f"expected names such as weight_ih_l0, got {name!r}")
        kind, source, layer, reverse = found.groups()
        where = "" if layer is None else f"layers.{layer}.{'backward' if reverse else 'forward'}."
        now = tensor.detach().mT if kind == "weight" else tensor.detach()
        name = f"{where}{'input' if source == 'i' else 'recurrent'}.{kind}"
        ours[name] = now.clone(memory_format=torch.contiguous_format)
    return ours
