"""How a batch enters a graph, whose shapes are fixed: windows as they are, whole names laid out in places.

A graph of a fixed shape has no use for the longest name of a batch, or for how many letters it holds. So
whole names are laid out in as many places as nearly every batch needs, and the places left over count
nowhere. A rare batch that does not fit is computed without the graph, in as many places as any batch needs.

The masks of dropout come in from outside, drawn as the readable loop draws them: for each model, layer and
step, from the run's generator on the CPU.

Explained in the chapter "Why the loop is slow, and what to do about it".
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from ..data import IGNORE_INDEX
from ..models import packed
from ..models.packing import is_packable
from ..nn import GRU, LSTM, RNN, Dropout, Module, VariationalDropout
from ..nn.recurrent import Cell
from ..nn.torch_module import Recurrent
from ..train import Config, Examples
from .layers import Given

MARGIN = 4  # standard deviations above the mean of a batch that find room
AT_ONCE = 64  # steps that are laid out together
WITH_MASKS = 8  # the same where each step has its masks: they take room
Data = dict[str, Tensor]  # x, y, and what else is known of every place


def draw_batches(size: int, steps: int, batch_size: int, generator: torch.Generator) -> torch.Tensor:
    """Indices of the next batches (steps, B): the same numbers as `steps` separate draws."""
    return torch.randint(0, size, (steps, batch_size), generator=generator)


@dataclass
class Mask:
    """What a layer of dropout draws in a step. shape: as one model's graph takes it. a_name: one mask for all
    positions of a name."""

    p: float
    shape: tuple[int, ...]
    a_name: bool


class Layout:
    """Rows as they are: windows (N, T) with targets (N,), or names padded to one length, both (N, T).

    data: what a batch is gathered from, by name. shape: of the numbers that gather it, one model's. masks:
    what the model's dropout draws, in the order of its calls; `Stacked` finds them. wider: a layout that
    any batch fits into, or None, where this is one.
    """

    wider: "Layout | None" = None

    def __init__(self, examples: Examples, batch_size: int):
        x, y = examples.contexts, examples.targets
        self.size, self.batch_size, self.whole_names = len(x), batch_size, y.ndim == 2
        self.masks: list[Mask] = []
        self.shape: tuple[int, ...] = (batch_size,)
        self.data: Data = {"x": x, "y": y}
        if examples.soft_targets is not None:
            self.data["soft"] = examples.soft_targets
        if self.whole_names:
            read = (y != IGNORE_INDEX).flip(1).cummax(1).values.flip(1)  # up to the last one that counts
            self.lengths = read.sum(1).cpu()
            self.data["read"] = read
            if "soft" in self.data:  # nothing is to be learned where nothing counts
                self.data["soft"] = self.data["soft"] * (y != IGNORE_INDEX)[..., None]
            self.data = {name: of[:, : int(self.lengths.max())] for name, of in self.data.items()}

    # ---- in the graph, for one model --------------------------------------------------

    def loss(self, model: Module, given: Given, config: Config, batch: Data) -> Tensor:
        """The mean loss of a batch, in nats, as `Examples.loss` has it."""
        given.read = batch.get("read")
        y, logits = batch["y"].flatten(), self.logits(model, given, batch).flatten(0, -2)
        loss = F.cross_entropy(logits, y, ignore_index=IGNORE_INDEX, label_smoothing=config.label_smoothing)
        if "soft" not in batch:
            return loss
        taught = -(batch["soft"].flatten(0, -2) * F.log_softmax(logits, -1)).sum()
        return (1 - config.distill) * loss + config.distill * taught / (y != IGNORE_INDEX).sum()

    def logits(self, model: Module, given: Given, batch: Data) -> Tensor:
        return model(batch["x"])

    # ---- outside ----------------------------------------------------------------------

    def fits(self, rows: Tensor) -> Tensor:
        """Which of the batches (R, B) find room: (R,)."""
        return torch.ones(len(rows), dtype=torch.bool)

    def arrange(self, rows: Tensor) -> Tensor:
        """Batches (R, B) of the examples' rows -> the numbers that gather them from `data`, (R, *shape)."""
        return rows

    def mask_of(self, layer: Dropout, input: Tensor) -> Mask:
        """What a layer of dropout will be given for an input of this shape."""
        a_name = isinstance(layer, VariationalDropout)
        B, *_, C = input.shape
        return Mask(layer.p, (B, 1, C) if a_name else tuple(input.shape), a_name)

    def drawn_shape(self, mask: Mask, rows: Tensor) -> tuple[int, ...]:
        """In which shape the readable loop draws a mask for the batch (B,)."""
        if mask.a_name or not self.whole_names:
            return mask.shape
        return (self.batch_size, int(self.lengths[rows].max()), *mask.shape[2:])

    def place(self, kept: Tensor, mask: Mask, rows: Tensor) -> Tensor:
        """A mask as it was drawn -> as the graph takes it."""
        if kept.shape == mask.shape:
            return kept
        placed = torch.zeros(mask.shape, dtype=torch.bool)
        placed[:, : kept.shape[1]] = kept
        return placed

    def draws(self, generators: Sequence[Generator], steps: int) -> Iterator[tuple["Layout", list[Tensor]]]:
        """The next batches of S models, made of what their plain loops would draw, a step each.

        The layout that the batch is in, this one or `wider`; the numbers (S, *shape) and the masks (S, ...).
        """
        at_once = WITH_MASKS if self.masks else AT_ONCE
        for done in range(0, steps, at_once):
            count = min(at_once, steps - done)
            masks: list[list[list[Tensor]]] = []
            if self.masks:
                drawn = [[self._one_by_one(g) for g in generators] for _ in range(count)]
                rows = torch.stack([torch.stack([own for own, _ in step]) for step in drawn])
                masks = [[kept for _, kept in step] for step in drawn]
            else:
                every = [draw_batches(self.size, count, self.batch_size, g) for g in generators]
                rows = torch.stack(every, dim=1)
            fits = self.fits(rows.flatten(0, 1)).view(rows.shape[:2]).all(1).tolist()
            together = self._arranged(rows) if all(fits) else None
            for step, own in enumerate(rows):
                layout = self if fits[step] or self.wider is None else self.wider
                numbers = layout._arranged(own[None])[0] if together is None else together[step]
                yield layout, [numbers, *(layout._placed(masks[step], own) if masks else [])]

    def _arranged(self, rows: Tensor) -> Sequence[Tensor]:
        return self.arrange(rows.flatten(0, 1)).view(*rows.shape[:2], *self.shape).unbind()

    def _one_by_one(self, g: Generator) -> tuple[Tensor, list[Tensor]]:
        """A batch and its masks, as they follow one another in the readable loop."""
        rows = torch.randint(0, self.size, (self.batch_size,), generator=g)
        every = [torch.rand(self.drawn_shape(mask, rows), generator=g) >= mask.p for mask in self.masks]
        return rows, every

    def _placed(self, kept: list[list[Tensor]], rows: Tensor) -> list[Tensor]:
        return [
            torch.stack([self.place(own[i], mask, r) for own, r in zip(kept, rows, strict=True)])
            for i, mask in enumerate(self.masks)
        ]


class OneRow(Layout):
    """Whole names in one row of P places. data is that of all names end to end, and of one place more, which
    counts nowhere. widest: as many places as any batch may need."""

    def __init__(self, examples: Examples, batch_size: int, widest: bool = False):
        super().__init__(examples, batch_size)
        read, x = self.data.pop("read"), self.data["x"]
        self.longest, self.widest = x.shape[1], widest
        self.starts = self.lengths.cumsum(0) - self.lengths
        self.data["position"] = torch.arange(self.longest, device=x.device).expand_as(x)
        self.data = {
            name: torch.cat([of[read], torch.zeros_like(of[:1, 0])]) for name, of in self.data.items()
        }
        self.nowhere = len(self.data["x"]) - 1
        self.data["y"][-1] = IGNORE_INDEX
        self.data["read"] = torch.arange(len(self.data["x"]), device=x.device) < self.nowhere
        self.lay_out()
        if not widest:
            self.wider = type(self)(examples, batch_size, widest=True)

    def lay_out(self) -> None:
        """Choose the places."""
        raise NotImplementedError

    def room(self, expected: float, variance: float, most: int) -> int:
        """Places for what comes up so often in a batch."""
        return most if self.widest else min(most, math.ceil(expected + MARGIN * math.sqrt(variance)))


class EndToEnd(OneRow):
    """Whole names one after the other, for models that `models.packed` keeps from mixing them."""

    def lay_out(self) -> None:
        lengths, B = self.lengths.double(), self.batch_size
        mean, variance = lengths.mean().item(), lengths.var(correction=0).item()
        places = self.room(B * mean, B * variance, B * self.longest)
        self.shape = (places if self.widest else min(16 * math.ceil(places / 16), B * self.longest),)

    def fits(self, rows: Tensor) -> Tensor:
        return self.lengths[rows].sum(1) <= self.shape[0]

    def arrange(self, rows: Tensor) -> Tensor:
        lengths, P = self.lengths[rows], self.shape[0]
        left = P - lengths.sum(1, keepdim=True)
        lengths = torch.cat([lengths, left], 1)
        starts = torch.cat([self.starts[rows], torch.full_like(left, self.nowhere)], 1)
        shift = starts - lengths.cumsum(1) + lengths  # from a place to the number of what stands there
        shift = shift.flatten().repeat_interleave(lengths.flatten()).view(len(rows), P)
        return (shift + torch.arange(P)).clamp_(max=self.nowhere)

    def logits(self, model: Module, given: Given, batch: Data) -> Tensor:
        with packed(model, batch["position"][None]):
            return model(batch["x"][None])[0]

    def drawn_shape(self, mask: Mask, rows: Tensor) -> tuple[int, ...]:
        return (1, int(self.lengths[rows].sum()), *mask.shape[2:])


class StepByStep(OneRow):
    """Whole names, their first letters, then their second ones, and so on, the longest name first: for
    recurrent layers, which then read at every step no more names than there are so long."""

    def lay_out(self) -> None:
        B = self.batch_size
        shares = [(self.lengths > t).double().mean().item() for t in range(self.longest)]
        rows = [self.room(B * p + 2, B * p * (1 - p) + B * p / 16, B) for p in shares]
        self.rows = [B, *rows[1:]]
        self.shape = (sum(self.rows),)
        self.step = torch.arange(self.longest).repeat_interleave(torch.tensor(self.rows))
        self.rank = torch.cat([torch.arange(n) for n in self.rows])

    def fits(self, rows: Tensor) -> Tensor:
        counts = (self.lengths[rows][..., None] > torch.arange(self.longest)).sum(1)
        return (counts <= torch.tensor(self.rows)).all(1)

    def arrange(self, rows: Tensor) -> Tensor:
        lengths, order = self.lengths[rows].sort(dim=1, descending=True, stable=True)
        starts = self.starts[rows].gather(1, order)
        here = starts[:, self.rank] + self.step
        return here.where(self.step < lengths[:, self.rank], self.nowhere)

    def logits(self, model: Module, given: Given, batch: Data) -> Tensor:
        given.rows = self.rows
        return model(batch["x"][None])[0]

    def mask_of(self, layer: Dropout, input: Tensor) -> Mask:
        if input.ndim != 3:
            raise ValueError(
                "dropout between recurrent layers draws a mask a step, as many as there are steps"
            )
        return Mask(layer.p, tuple(input.shape), isinstance(layer, VariationalDropout))

    def drawn_shape(self, mask: Mask, rows: Tensor) -> tuple[int, ...]:
        steps = 1 if mask.a_name else int(self.lengths[rows].max())
        return (self.batch_size, steps, mask.shape[-1])

    def place(self, kept: Tensor, mask: Mask, rows: Tensor) -> Tensor:
        order = self.lengths[rows].sort(descending=True, stable=True).indices
        return kept[order[self.rank], self.step.clamp(max=kept.shape[1] - 1)][None]


STEPWISE = (RNN, LSTM, GRU, Recurrent, VariationalDropout)  # beside cells


def layout_for(model: Module, examples: Examples, batch_size: int) -> Layout:
    """The layout in which a model's graph wastes least. ValueError for a model that reads sequences of any
    length and gives one answer for each: how many steps it takes is no shape."""
    if examples.targets.ndim == 1:
        if any(isinstance(module, RNN | Recurrent) for module in model.modules()):
            raise ValueError(
                f"{type(model).__name__} takes as many steps as the longest sequence of a batch has"
            )
        return Layout(examples, batch_size)
    if is_packable(model):
        return EndToEnd(examples, batch_size)
    apart = [module for module in model.modules() if not type(module).packable]
    one_way = all(len(m.layers[0]) == 1 for m in apart if isinstance(m, RNN))
    stepwise = all(type(module) in STEPWISE or isinstance(module, Cell) for module in apart)
    return (StepByStep if stepwise and one_way else Layout)(examples, batch_size)
