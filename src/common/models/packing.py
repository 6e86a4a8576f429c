"""Predictions of a batch, windows or whole names; names of different lengths without a wasted position.

Whole names are put end to end in one row, without what pads them. Convolutions must then not reach from one
name into the one before; `packed` sees to that. A model that looks at other positions in another way, as a
recurrent one does, says ``packable = False`` and gets padded rows. Introduced in chapter 8.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from ..data import IGNORE_INDEX
from ..nn import BatchNorm1d, CausalConv1d, Module, evaluating, instead


def predictions(model: Module, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Logits (P, V) and targets (P,) of every prediction in a batch, name after name.

    Windows x (B, T) with targets y (B,) give one each, P = B. Of whole names, y (B, T), every
    character counts that is not IGNORE_INDEX; the model reads a name up to the last one that counts.
    BatchNorm never counts what pads. ValueError where nothing counts, or x and y differ in shape.
    """
    if y.ndim == 1:
        return model(x), y
    counted = y != IGNORE_INDEX
    if x.shape != y.shape or not counted.any():
        got = f"{(*x.shape,)} and {(*y.shape,)}" + ", of which none counts" * (x.shape == y.shape)
        raise ValueError(f"expected inputs and targets of one shape, some of which count, got {got}")
    read = counted.flip(1).cummax(1).values.flip(1)
    if is_packable(model):
        position = torch.arange(x.shape[1], device=x.device).expand_as(x)
        with packed(model, position[read][None]):
            return model(x[read][None])[0][counted[read]], y[counted]
    longest = int(read.sum(1).max())
    counted, read = counted[:, :longest], read[:, :longest]
    with padded(model, read):
        return model(x[:, :longest])[counted], y[:, :longest][counted]


def is_packable(model: Module) -> bool:
    """Whether all modules inside say that they are."""
    return all(module.packable for module in model.modules())


@contextmanager
def packed(model: Module, position: Tensor) -> Iterator[None]:
    """Inside a `with` block, several sequences stand in one row, and no convolution of the model mixes them.

    position: (B, T), how many positions of its own sequence stand before each.
    """
    with instead(model, CausalConv1d, "taps", lambda layer, x: _taps_within(layer, x, position)):
        yield


@contextmanager
def padded(model: Module, mask: Tensor) -> Iterator[None]:
    """Inside a `with` block, every BatchNorm of the model takes its statistics of the positions that count.

    mask: (B, T), False at positions that only pad. ValueError where it does not fit the input. Introduced in
    chapter 7.
    """
    with instead(model, BatchNorm1d, "counted", lambda layer, x: _kept(x, mask)):
        yield


def _taps_within(layer: CausalConv1d, x: Tensor, position: Tensor) -> list[Tensor]:
    if position.shape != x.shape[:2]:
        raise ValueError(f"expected positions of shape {tuple(x.shape[:2])}, got {tuple(position.shape)}")
    taps = CausalConv1d.taps(layer, x)
    back = [(len(taps) - 1 - k) * layer.dilation for k in range(len(taps))]
    return [torch.where((position >= back[k])[..., None], tap, layer.before) for k, tap in enumerate(taps)]


def _kept(x: Tensor, mask: Tensor) -> Tensor:
    """The rows of x, (B, T, C), at the positions where mask, (B, T), is True: (N, C)."""
    if mask.dtype != torch.bool or mask.shape != x.shape[:-1]:
        wanted = f"a mask of booleans of shape {tuple(x.shape[:-1])}"
        raise ValueError(f"expected {wanted}, got {mask.dtype} of shape {tuple(mask.shape)}")
    return x[mask]


def check_packing(model: Module, x: Tensor, y: Tensor) -> None:
    """ValueError for a model whose logits change when two names share a row. x, y: whole names (B, T)."""
    if y.ndim == 1 or not is_packable(model):
        return
    with evaluating(model):
        together, _ = predictions(model, x[:2], y[:2])
        alone = torch.cat([predictions(model, x[i : i + 1], y[i : i + 1])[0] for i in range(len(x[:2]))])
    if not torch.allclose(together, alone, rtol=1e-3, atol=1e-4, equal_nan=True):
        wanted = "a model whose logits for a name do not depend on the name before it in the row"
        raise ValueError(f"expected {wanted}; or `packable = False` in it")
