"""Recurrent layers by torch's kernels: one call for all steps, in place of a Python loop over them."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from ..nn import GRU, LSTM, RNN, Linear, Module, RNNCell, instead, recurrent_cells

KERNELS = {GRU: torch.gru, LSTM: torch.lstm}
OF_ACTIVATION = {torch.tanh: torch.rnn_tanh, torch.relu: torch.rnn_relu}


@contextmanager
def fused(model: Module) -> Iterator[Module]:
    """Inside a `with` block, the RNNs, LSTMs and GRUs of a model compute all steps in one call of torch's.

    Same weights, same outputs and gradients up to rounding; a layer of another class, or with another
    cell or activation, keeps its loop. With dropout between layers it is one call a layer, for the masks come
    from CPU generators. Copy a model outside of the block, for a copy would keep its way; torch.func needs
    the loop.
    """
    with instead(model, RNN, "run", run):
        yield model


def kernel_of(layer: RNN) -> Any:
    """torch's function for a layer; None where there is none."""
    cells = recurrent_cells(layer)
    maps = [part for cell in cells for part in (cell.input, cell.recurrent)]
    if {type(cell) for cell in cells} != {layer.Cell} or {type(part) for part in maps} != {Linear}:
        return None
    if len({part.bias is None for part in maps}) > 1:
        return None
    if type(layer) is RNN and layer.Cell is RNNCell:
        activations = {vars(cell)["activation"] for cell in cells}
        return OF_ACTIVATION.get(activations.pop()) if len(activations) == 1 else None
    return KERNELS.get(type(layer))


def run(layer: RNN, steps: Sequence[Tensor], state: Any = None) -> tuple[Sequence[Tensor], Any]:
    """`RNN.run` in one call. The cells check what they are given, as in the loop."""
    kernel = kernel_of(layer)
    if kernel is None:
        return type(layer).run(layer, steps, state)
    cells = recurrent_cells(layer)
    cells[0].input(steps[0][:0])
    one = isinstance(state, Tensor)
    for number, cell in enumerate(cells):
        cell.ready(
            steps[0], None if state is None else state[number] if one else tuple(s[number] for s in state)
        )
    if state is None:
        zeros = steps[0].new_zeros(len(cells), len(steps[0]), len(cells[0].recurrent.weight))
        state = zeros if cells[0].tensors == 1 else (zeros,) * cells[0].tensors
    sizes = [len(step) for step in steps]
    padded = sizes[0] == sizes[-1]
    data = torch.stack(list(steps)) if padded else torch.cat(list(steps))
    at_once = 1 if any(module.p and layer.training for module in layer.dropout) else len(layer.layers)
    ends, ways = [], len(layer.layers[0])
    for first in range(0, len(layer.layers), at_once):
        here = slice(first * ways, (first + at_once) * ways)
        if first:
            data = _dropped(layer.dropout[first - 1], data, sizes)
        start = state[here] if isinstance(state, Tensor) else tuple(part[here] for part in state)
        weights = [t.T if t.ndim == 2 else t for cell in cells[here] for t in _in_order(cell)]
        rest = (weights, cells[0].input.bias is not None, at_once, 0.0, layer.training, ways == 2)
        if padded:
            data, *after = kernel(data, start, *rest, False)
        else:
            data, *after = kernel(data, torch.tensor(sizes), start, *rest)
        ends.append(after)
    parts = [torch.cat(part) for part in zip(*ends, strict=True)]
    outputs = data.unbind(0) if padded else data.split(sizes)
    return outputs, parts[0] if len(parts) == 1 else tuple(parts)


def _dropped(dropout: Module, data: Tensor, sizes: list[int]) -> Tensor:
    """Dropout of all steps, whose masks are drawn step by step as in the loop."""
    steps = data.unbind(0) if data.ndim == 3 else data.split(sizes)
    dropped = [dropout(step) for step in steps]
    return torch.stack(dropped) if data.ndim == 3 else torch.cat(dropped)


def _in_order(cell: Any) -> list[Tensor]:
    """A cell's tensors as torch's kernels take them: both matrices, then both biases."""
    maps = (cell.input, cell.recurrent)
    return [one.weight for one in maps] + [one.bias for one in maps if one.bias is not None]
