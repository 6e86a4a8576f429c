"""The book's models: functions that return a Sequential of the layers in `common.layers`.

Each takes contexts (B, T) of character indices and returns logits (B, V). Sizes default to the
lecture's; `MODELS` names them as the command line and the tables do.
"""

import copy
import inspect
import numbers
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from safetensors.torch import load_file

from . import field
from .data.shipped import shipped_folder
from .layers import (
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
)
from .names import IGNORED

PRETRAINED = shipped_folder() / "models"
OUTPUT_SCALE = 0.1  # the lecture's: a less confident last layer at the start


def _with_soft_output(layers) -> Sequential:
    layers[-1].weight *= OUTPUT_SCALE
    return Sequential(layers)


def flat(vocab_size=27, block_size=8, n_embd=10, n_hidden=200, *, generator=None) -> Sequential:
    """All characters into one hidden layer at once (Bengio et al., 2003). Introduced in chapter 3.

    With three characters of context it is the model of chapters 1 and 2.
    """
    g = generator
    return _with_soft_output([
        Embedding(vocab_size, n_embd, generator=g), Flatten(),
        Linear(block_size * n_embd, n_hidden, bias=False, generator=g), BatchNorm1d(n_hidden), Tanh(),
        Linear(n_hidden, vocab_size, generator=g),
    ])  # fmt: skip


def hierarchical(
    vocab_size=27, n_embd=10, n_hidden=68, levels=3, norm=BatchNorm1d, *, generator=None
) -> Sequential:
    """A tree that fuses two neighbours a level: 2**levels characters of context. Introduced in chapter 4."""
    g = generator
    layers, width = [Embedding(vocab_size, n_embd, generator=g)], n_embd
    for _ in range(levels):
        layers += [
            FlattenConsecutive(2),
            Linear(2 * width, n_hidden, bias=False, generator=g), norm(n_hidden), Tanh(),
        ]  # fmt: skip
        width = n_hidden
    return _with_soft_output([*layers, Linear(n_hidden, vocab_size, generator=g)])


class BatchOnlyBatchNorm1d(BatchNorm1d):
    """The bug of chapter 5, kept so that its cost can be measured: statistics over B alone.

    x: (B, T, C) -> (B, T, C), every position normalised by its own mean and variance; the running
    statistics grow from (C,) to (1, T, C) by broadcasting, and nothing complains.
    """

    def reduced_dims(self, x):
        super().reduced_dims(x)
        return 0

    def fits(self, name, tensor):
        own = getattr(self, name)
        return (
            tensor.shape == own.shape or name.startswith("running_") and tensor.shape[-1:] == own.shape[-1:]
        )

    def _track(self, mean, var):
        # the lecture's version keeps the reduced dimension: (1, C), or (1, T, C)
        super()._track(mean[None], var[None])


def as_convolution(tree: Sequential) -> Sequential:
    """A trained tree, slid along whole names: the same numbers as dilated causal convolutions.

    The result is in evaluation mode and takes names with one dot in front, x: (B, T) -> (B, T, V).
    Its logits at t are the tree's for the eight characters that end at t, where dots stand before
    the first. Every level keeps what a node makes of dots alone as the ``before`` of the next one:
    it holds as long as the weights do. ValueError for a model that is no tree of
    `hierarchical`, or one with the bug of chapter 5. Introduced in chapter 7.
    """
    fan_in, dilation, layers = 1, 1, []
    place = tree.layers[0].weight.device
    dots = torch.zeros((1, 1), dtype=torch.long, device=place)  # what every level makes of dots alone
    for layer in tree.layers:
        if isinstance(layer, FlattenConsecutive):
            fan_in *= layer.n
            continue
        if type(layer) not in (Embedding, Linear, BatchNorm1d, Tanh):
            raise ValueError(f"expected a tree with one BatchNorm1d a level, got the layer {layer!r}")
        own = copy.deepcopy(layer)
        if isinstance(layer, Linear) and fan_in > 1:
            inputs, outputs = layer.weight.shape
            own = CausalConv1d(inputs // fan_in, outputs, fan_in, dilation, bias=layer.bias is not None)
            copied = {name: tensor.clone() for name, tensor in layer.tensors().items()}
            copied["weight"] = copied["weight"].view(fan_in, inputs // fan_in, outputs)
            own.load({**copied, "before": dots[0, 0]})
            fan_in, dilation = 1, dilation * fan_in
        with evaluating(own):
            dots = own(dots)
        layers.append(own)
    return Sequential(layers).eval()


OneOrMany = int | tuple[int, ...]
ACTIVATIONS = {"tanh": Tanh, "relu": ReLU, "silu": SiLU, "gate": Gate}


def dilated(
    vocab_size=27, n_embd=24, n_hidden: OneOrMany = 128, dilations=(1, 2, 4), kernel_size=2,
    activation="tanh", residual=False, dropout=0.0, input_dropout=0.0, *, generator=None,
) -> Sequential:  # fmt: skip
    """The tree as a network of dilated causal convolutions, to be trained on whole names.

    x: (B, T) -> (B, T, V). With kernels of two and dilations 1, 2, 4 it has the tree's parameters and
    sees eight characters. Introduced in chapter 8; for chapter 11 it also takes another activation, and
    `residual` adds to what a level makes what it was made of, where both have the same size.
    n_hidden: of all levels, or one a level. ValueError where these are not as many as the dilations,
    and for an activation that is none of ACTIVATIONS.
    """
    if activation not in ACTIVATIONS:
        raise ValueError(f"expected one of {list(ACTIVATIONS)}, got {activation!r}")
    widths = [n_hidden] * len(dilations) if isinstance(n_hidden, int) else list(n_hidden)
    if len(widths) != len(dilations):
        raise ValueError(f"expected one n_hidden a dilation, {len(dilations)}, got {n_hidden!r}")
    g, before = generator, n_embd
    layers = [Embedding(vocab_size, n_embd, generator=g)]
    layers += [Dropout(input_dropout)] if input_dropout else []
    for dilation, width in zip(dilations, widths, strict=True):
        wide = width * (2 if activation == "gate" else 1)
        level = [
            CausalConv1d(before, wide, kernel_size, dilation, bias=False, generator=g),
            BatchNorm1d(wide), ACTIVATIONS[activation](),
        ]  # fmt: skip
        layers += [Residual(level)] if residual and before == width else level
        layers += [Dropout(dropout)] if dropout else []
        before = width
    return _with_soft_output([*layers, Linear(before, vocab_size, generator=g)])


def wavenet(
    vocab_size=27, n_channels=45, n_skip=45, dilations=(1, 2, 4, 1, 2, 4), kernel_size=2,
    gate=True, residual=True, skip=True, dropout=0.0, *, generator=None,
) -> Sequential:  # fmt: skip
    """The network of van den Oord et al. (2016), in which each of its three parts can be left out.

    x: (B, T) -> (B, T, V), to be trained on whole sequences: names, or sound. A block a dilation, all
    of `n_channels`; their skips, or without these the last block's output, go through two maps of
    single places, with ReLU before each.

    gate: tanh times sigmoid; False is tanh alone, of half as many channels.
    residual: a block adds to its input; False replaces it.
    skip: every block contributes to the output; False: the last one alone.
    dropout: of each block's z, before it leaves the block.

    ValueError for no dilation. Introduced in chapter 8.
    """
    if not dilations:
        raise ValueError("expected at least one dilation, got none")
    g, C, blocks = generator, n_channels, []
    for i, dilation in enumerate(dilations):
        body = [CausalConv1d(C, 2 * C if gate else C, kernel_size, dilation, generator=g)]
        body += [Gate() if gate else Tanh(), *([Dropout(dropout)] if dropout else [])]
        last = i == len(dilations) - 1
        to_skip = Linear(C, n_skip, generator=g) if skip else None
        to_out = None if skip and last else Linear(C, C, generator=g)
        if skip:
            blocks.append(WaveNetBlock(body, to_out, to_skip, residual))
        else:
            blocks.append((Residual if residual else Sequential)([*body, to_out]))
    return _with_soft_output([
        Embedding(vocab_size, C, generator=g), Skips(blocks) if skip else Sequential(blocks),
        ReLU(), Linear(n_skip if skip else C, n_skip, generator=g),
        ReLU(), Linear(n_skip, vocab_size, generator=g),
    ])  # fmt: skip


class Recipe(NamedTuple):
    """How to build a model: ``build(vocab_size=..., generator=..., **sizes)``, and its context length.

    The context is in characters; None is a network that takes whole names.
    """

    build: Callable[..., Sequential]
    block_size: int | None
    title: str

    def checked(self, sizes: dict) -> dict:
        """Sizes as `build` takes them: a boolean by its word, a list as a tuple.

        ValueError for a size that the recipe does not have, and for a value that is not of its kind.
        """
        fixed = {"vocab_size", "block_size", "levels", "norm", "generator"}  # by the list, or by the recipe
        parameters = inspect.signature(self.build).parameters
        known = sorted(set(parameters) - fixed)
        unknown = sorted(set(sizes) - set(known))
        if unknown:
            raise ValueError(f"expected sizes among {', '.join(known)}, got {', '.join(unknown)}")
        return {name: _size(value, parameters[name]) for name, value in sizes.items()}

    def sized(self, vocab_size: int, sizes: dict, generator=None) -> Sequential:
        """A model of other sizes than the recipe's. ValueError for sizes that make none; see `checked`."""
        sizes = self.checked(sizes)
        try:
            return self.build(vocab_size, generator=generator, **sizes)
        except (RuntimeError, MemoryError) as error:
            said = str(error).splitlines()[0] if str(error) else "no memory"
            raise ValueError(f"no model of the sizes {sizes} can be built here: {said}") from None


WORDS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
MAY_BE_ZERO = {"blocks"}  # without one, a Transformer still is a network


def _size(value, parameter: inspect.Parameter):
    """A value for a parameter of a builder, by the type of its default. ValueError for any other kind."""
    default, several = parameter.default, parameter.annotation == OneOrMany
    least = int(parameter.name not in MAY_BE_ZERO)

    def whole(number) -> bool:
        return _is(number, numbers.Integral) and least <= number < 2**31

    if isinstance(default, bool):
        kind = "true or false"
        if str(value).lower() in WORDS:
            return WORDS[str(value).lower()]
    elif isinstance(default, int):
        kind = f"a whole number of at least {least}" + ", or a list of them" * several
        if whole(value):
            return int(value)
        if several and isinstance(value, (list, tuple)) and all(map(whole, value)):
            return tuple(map(int, value))
    elif isinstance(default, float):  # every one is the rate of a dropout
        kind = "a number from 0 to below 1"
        if _is(value, numbers.Real) and 0 <= value < 1:
            return float(value)
    elif isinstance(default, str):
        kind = "a word"
        if isinstance(value, str):
            return value
    else:
        kind = "a list of whole numbers of at least 1, such as [1, 2, 4]"
        if isinstance(value, (list, tuple)) and all(map(whole, value)):
            return tuple(map(int, value))
    raise ValueError(f"expected {parameter.name} to be {kind}, got {value!r}")


def _is(value, kind) -> bool:
    """Whether a value is a number of a kind; true and false are none."""
    return isinstance(value, kind) and not isinstance(value, bool)


MODELS = {
    "mlp": Recipe(partial(flat, block_size=3), 3, "3 characters, flat"),
    "flat": Recipe(flat, 8, "8 characters, flat"),
    "hierarchical-bug": Recipe(partial(hierarchical, norm=BatchOnlyBatchNorm1d), 8, "tree, BatchNorm bug"),
    "hierarchical": Recipe(hierarchical, 8, "tree, fixed"),
    "scaled": Recipe(partial(hierarchical, n_embd=24, n_hidden=128), 8, "tree, scaled up"),
}  # the stages of the lecture
NETWORKS = {
    "dilated": Recipe(dilated, None, "dilated convolutions"),
    "wavenet": Recipe(wavenet, None, "WaveNet blocks"),
    "recurrent": Recipe(field.recurrent, None, "recurrent network"),
    "transformer": Recipe(field.transformer, None, "Transformer"),
}  # of chapters 8 and 11
RECIPES = MODELS | NETWORKS
WINNERS = {
    "small": Recipe(
        partial(dilated, activation="silu", residual=True), None, "small winner, SiLU and residuals"
    ),
    "open": Recipe(partial(field.recurrent, n_embd=48, n_hidden=384), None, "open winner, a GRU"),
}  # of chapter 11, as they were trained; they are kept in `data/models` beside the stages


def pretrained(name: str) -> Sequential:
    """A trained model of the book: seed 0 on the shipped list, from `data/models`, in evaluation mode.

    ValueError for a name that is neither in `MODELS` nor in `WINNERS`, FileNotFoundError where its
    weights are not there.
    """
    known = MODELS | WINNERS
    if name not in known:
        raise ValueError(f"expected one of {list(known)}, got {name!r}")
    weights = PRETRAINED / f"{name}.safetensors"
    if not weights.is_file():
        raise FileNotFoundError(f"expected the weights of {name!r} in {weights}, which is not there")
    return known[name].build().load(load_file(weights)).eval()


def count_parameters(model: Sequential) -> int:
    """How many numbers gradient descent changes."""
    return sum(p.numel() for p in model.parameters())


def predictions(model: Sequential, x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits (P, V) and targets (P,) of every prediction in a batch, name after name.

    Windows x (B, T) with targets y (B,) give one each, P = B. Of whole names, y (B, T), every
    character counts: they are put end to end in one row, without what pads them, and the layers are
    told where a name begins. A model with a layer that cannot be told (``packs = False``) gets
    the padded rows, cut to the longest, and a mask.
    """
    if y.ndim == 1:
        return model(x), y
    counted = y != IGNORED
    place = torch.arange(x.shape[1], device=x.device).expand_as(x)
    if all(getattr(layer, "packs", True) for layer in every_layer(model)):
        return model(x[counted][None], place=place[counted][None])[0], y[counted]
    longest = int(counted.sum(1).max())
    counted = counted[:, :longest]
    return model(x[:, :longest], mask=counted)[counted], y[:, :longest][counted]
