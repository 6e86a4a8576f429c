"""Layers as a graph takes them: the same numbers, with all that a graph cannot do left outside of it.

A graph cannot look at numbers, draw any, or leave places out. So in the copy of a model that is traced an
embedding checks nothing, dropout takes its masks from outside, BatchNorm counts the places that are read, and
recurrent layers take a batch step by step. Explained in the chapter "Why the loop is slow, and what to do
about it".
"""

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ..nn import GRU, LSTM, RNN, BatchNorm1d, Dropout, Embedding, Linear, Module, VariationalDropout
from ..nn.recurrent import Cell, GRUCell, LSTMCell, RNNCell, unroll
from ..nn.torch_module import Recurrent


class Given:
    """What a model's layers are given in a step, beside their input. read: which places count in BatchNorm,
    None: all. rows: how many sequences a recurrent layer reads at each step."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """As before the first step."""
        self.mask: Callable[[Dropout, Tensor], Tensor] = _no_mask
        self.read: Tensor | None = None
        self.rows: list[int] = []


def _no_mask(layer: Dropout, input: Tensor) -> Tensor:
    raise RuntimeError(f"{layer!r} was given no mask")


def for_a_graph(model: Module, given: Given, whole_names: bool, one_use: bool) -> Module:
    """The model, changed in place, with layers for a graph. one_use: an optimiser uses a gradient once.

    ValueError for a layer that has no such form.
    """
    for module in model.modules():
        if type(module) is Embedding:
            module.__class__ = UncheckedEmbedding if one_use else OneHotEmbedding
        elif isinstance(module, Dropout) and module.p:
            if type(module) not in GIVEN_DROPOUT:
                raise ValueError(f"{module!r} draws in a way of its own")
            module.__class__, module.given = GIVEN_DROPOUT[type(module)], given  # type: ignore[attr-defined]
        elif isinstance(module, BatchNorm1d) and whole_names:
            if type(module) is not BatchNorm1d:
                raise ValueError(f"{module!r} takes its statistics in a way of its own")
            module.__class__, module.given = CountedBatchNorm1d, given  # type: ignore[attr-defined]
        elif type(module) in STEP_BY_STEP:
            module.__class__, module.given = STEP_BY_STEP[type(module)], given  # type: ignore[attr-defined]
        elif type(module) is Recurrent:
            tensors, cell = module.own_tensors(), CELLS[type(module.module)]
            vars(module).clear()
            module.__class__ = Unrolled  # type: ignore[assignment]
            vars(module).update(given=given, cell=cell, **{name: t.detach() for name, t in tensors.items()})
    return model


class UncheckedEmbedding(Embedding):
    """The same: all numbers that go in were looked at before."""

    def check_rows(self, input: Tensor) -> None:
        pass


class OneHotEmbedding(UncheckedEmbedding):
    """The same numbers by a product of matrices.

    An optimiser uses a gradient more than once. Where it was added up row by row, as an embedding's is,
    torch 2.13 compiles that into code which reads it before it is there: Adam would see zeros.
    """

    def __call__(self, input: Tensor) -> Tensor:
        tokens = torch.arange(len(self.weight), device=input.device)
        weight = self.weight
        if self.padding_idx is not None:  # its row gets no gradient
            weight = weight.where((tokens != self.padding_idx)[:, None], weight.detach())
        return (input[..., None] == tokens).to(weight.dtype) @ weight


class GivenDropout(Dropout):
    """Dropout whose mask comes from outside."""

    given: Given

    def __call__(self, input: Tensor) -> Tensor:
        return input * self.given.mask(self, input) / (1 - self.p)


class GivenVariationalDropout(GivenDropout, VariationalDropout):
    """The same with one mask a sequence."""


GIVEN_DROPOUT = {Dropout: GivenDropout, VariationalDropout: GivenVariationalDropout}


class CountedBatchNorm1d(BatchNorm1d):
    """BatchNorm over the places that are read: weighted sums, where the readable one leaves rows out."""

    given: Given

    def __call__(self, input: Tensor) -> Tensor:
        dims = self.reduced_dims(input)
        read = torch.ones_like(input[..., :1]) if self.given.read is None else self.given.read[..., None]
        read = read.to(input.dtype)
        count = read.sum()
        mean = (input * read).sum(dims) / count
        apart = input - mean
        var = (apart * apart * read).sum(dims) / count
        self._track(mean.detach(), var.detach() * count / (count - 1))
        return self.weight * apart / torch.sqrt(var + self.eps) + self.bias


def by_step(x: Tensor, rows: list[int]) -> tuple[Tensor, ...]:
    """A row of places (1, P, C), step after step -> the steps' inputs, (rows, C) each."""
    return x[0].split(rows)


def behind_its_input(cell: Cell) -> Cell:
    """A cell that is given what its input's map has made: of all steps at once, in one product."""
    cell = copy.copy(cell)
    cell.input = _same  # type: ignore[assignment]
    return cell


class StepByStep(RNN):
    """Recurrent layers over sequences that stand step after step in one row of places, (1, P, C).

    They begin without a state, and leave none.
    """

    given: Given

    def __call__(self, x: Any, state: None = None) -> tuple[Any, None]:
        for layer, cells in enumerate(self.layers):
            if layer:
                x = torch.cat([self.dropout[layer - 1](step) for step in by_step(x, self.given.rows)])[None]
            [cell] = cells.values()
            outputs, _ = unroll(behind_its_input(cell), by_step(cell.input(x), self.given.rows))
            x = torch.cat(outputs)[None]
        return x, None


class StepByStepLSTM(StepByStep, LSTM):
    """The same for LSTMs."""


class StepByStepGRU(StepByStep, GRU):
    """The same for GRUs."""


STEP_BY_STEP: dict[type, type] = {RNN: StepByStep, LSTM: StepByStepLSTM, GRU: StepByStepGRU}


class Unrolled(Module):
    """torch's RNN, LSTM or GRU of one layer, for a row of places as `StepByStep` takes it.

    Its tensors have torch.nn's names and shapes; what it computes with them is a cell of this book's.
    """

    given: Given
    cell: type[Cell]
    weight_ih_l0: Tensor
    weight_hh_l0: Tensor
    bias_ih_l0: Tensor
    bias_hh_l0: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        cell = object.__new__(self.cell)
        cell.recurrent = _linear(self.weight_hh_l0, self.bias_hh_l0)
        if self.cell is RNNCell:
            cell.activation = torch.tanh  # type: ignore[attr-defined]
        mapped = _linear(self.weight_ih_l0, self.bias_ih_l0)(x)
        return torch.cat(unroll(behind_its_input(cell), by_step(mapped, self.given.rows))[0])[None]


CELLS: dict[type, type[Cell]] = {torch.nn.RNN: RNNCell, torch.nn.LSTM: LSTMCell, torch.nn.GRU: GRUCell}


def _linear(weight: Tensor, bias: Tensor) -> Linear:
    """A layer with the tensors of one of torch.nn's."""
    layer = object.__new__(Linear)
    layer.weight, layer.bias = weight.T, bias
    return layer


def _same(x: Tensor) -> Tensor:
    return x
