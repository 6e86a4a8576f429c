"""The models by name: how each is built, what it takes, and the trained ones that come with the book."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from safetensors.torch import load_file

from ..data.shipped import shipped_folder
from ..nn import GRU, LSTM, RNN, Module
from .convolutional import Dilated
from .mlp import MLP
from .recurrent import RecurrentNetwork, SentenceClassifier, StatefulNetwork
from .transformer import Transformer
from .tree import BatchOnlyBatchNorm1d, Tree
from .wavenet import WaveNet

PRETRAINED = shipped_folder() / "models"


class Recipe(NamedTuple):
    """How to build a model: ``build(vocab_size=..., generator=..., **sizes)``, and its context length.

    The context is in characters; None is a network that takes whole names. tags: what kinds of models it is
    one of, see `tagged`.
    """

    build: Callable[..., Module]
    block_size: int | None
    title: str
    tags: frozenset[str] = frozenset()


LECTURE, TRAINED = frozenset({"lecture", "trainable", "pretrained"}), frozenset({"winner", "pretrained"})
WHOLE_NAMES, STATEFUL = frozenset({"whole names", "trainable"}), frozenset({"stateful", "trainable"})
SENTENCES = frozenset({"sentences", "trainable"})
MODELS = {
    # the stages of the lecture
    "mlp": Recipe(partial(MLP, block_size=3), 3, "3 characters, flat", LECTURE),
    "flat": Recipe(MLP, 8, "8 characters, flat", LECTURE),
    "hierarchical-bug": Recipe(partial(Tree, norm=BatchOnlyBatchNorm1d), 8, "tree, BatchNorm bug", LECTURE),
    "hierarchical": Recipe(Tree, 8, "tree, fixed", LECTURE),
    "scaled": Recipe(partial(Tree, n_embd=24, n_hidden=128), 8, "tree, scaled up", LECTURE),
    # of chapters 8 and 13
    "dilated": Recipe(Dilated, None, "dilated convolutions", WHOLE_NAMES),
    "wavenet": Recipe(WaveNet, None, "WaveNet blocks", WHOLE_NAMES),
    "recurrent": Recipe(RecurrentNetwork, None, "recurrent network", WHOLE_NAMES),
    "transformer": Recipe(Transformer, None, "Transformer", WHOLE_NAMES),
    # of part two
    "rnn": Recipe(partial(StatefulNetwork, layer=RNN), None, "plain recurrent network", STATEFUL),
    "lstm": Recipe(partial(StatefulNetwork, layer=LSTM), None, "LSTM", STATEFUL),
    "gru": Recipe(partial(StatefulNetwork, layer=GRU), None, "GRU", STATEFUL),
    "sentences": Recipe(SentenceClassifier, None, "classifier of sentences", SENTENCES),
    # of chapter 13, as they were trained
    "small": Recipe(
        partial(Dilated, activation="silu", residual=True), None, "small winner, SiLU and residuals", TRAINED
    ),
    "open": Recipe(partial(RecurrentNetwork, n_embd=48, n_hidden=384), None, "open winner, a GRU", TRAINED),
}


def tagged(tag: str) -> dict[str, Recipe]:
    """The models with a tag: "lecture", "whole names", "stateful", "sentences", "winner"; "trainable", by the
    command line; "pretrained", whose weights come with the book. ValueError for another."""
    known = sorted(set().union(*(recipe.tags for recipe in MODELS.values())))
    if tag not in known:
        raise ValueError(f"expected one of {known}, got {tag!r}")
    return {name: recipe for name, recipe in MODELS.items() if tag in recipe.tags}


def pretrained(name: str) -> Module:
    """A trained model of the book: seed 0 on the shipped list, in evaluation mode.

    ValueError for a name that is not tagged "pretrained", FileNotFoundError where its weights are not there.
    """
    known = tagged("pretrained")
    if name not in known:
        raise ValueError(f"expected one of {list(known)}, got {name!r}")
    weights = PRETRAINED / f"{name}.safetensors"
    if not weights.is_file():
        raise FileNotFoundError(f"expected the weights of {name!r} in {weights}, which is not there")
    return known[name].build().load_state_dict(load_file(weights)).eval()


def count_parameters(model: Module) -> int:
    """How many numbers gradient descent changes."""
    return sum(p.numel() for p in model.parameters())
