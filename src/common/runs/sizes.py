"""Sizes of a model as people write them: words for booleans, lists for tuples, clear errors for the rest."""

import inspect
import numbers
from typing import Any

from torch import Generator

from ..models import Recipe
from ..models.convolutional import OneOrMany
from ..nn import GRU, LSTM, RNN, Module

FIXED = {"vocab_size", "block_size", "classes", "levels", "norm", "generator"}  # by the data, or the recipe
LAYERS = {"rnn": RNN, "lstm": LSTM, "gru": GRU}
WORDS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
MAY_BE_ZERO = {"blocks"}  # without one, a Transformer still is a network


def checked_sizes(recipe: Recipe, sizes: dict[str, Any]) -> dict[str, Any]:
    """Sizes as `recipe.build` takes them: a boolean by its word, a list as a tuple.

    ValueError for a size that the recipe does not have, and for a value that is not of its kind.
    """
    known = known_sizes(recipe)
    unknown = sorted(set(sizes) - set(known))
    if unknown:
        raise ValueError(f"expected sizes among {', '.join(sorted(known))}, got {', '.join(unknown)}")
    return {name: _size(value, known[name]) for name, value in sizes.items()}


def known_sizes(recipe: Recipe) -> dict[str, inspect.Parameter]:
    """What can be set of a recipe's model, by name. A layer can, unless the recipe is that of the layer."""
    fixed = FIXED | ({"layer"} & set(getattr(recipe.build, "keywords", {})))
    found = inspect.signature(recipe.build).parameters
    return {name: parameter for name, parameter in found.items() if name not in fixed}


def build_model(
    recipe: Recipe, vocab_size: int, sizes: dict[str, Any], generator: Generator | None = None,
    classes: int = 0,
) -> Module:  # fmt: skip
    """A model of other sizes than the recipe's. classes: of a model that says one of these, and no token.

    ValueError for sizes that make none.
    """
    sizes = checked_sizes(recipe, sizes)
    built = {name: LAYERS[value] if name == "layer" else value for name, value in sizes.items()}
    built |= {"classes": classes} if classes else {}
    try:
        return recipe.build(vocab_size, generator=generator, **built)
    except (RuntimeError, MemoryError) as error:
        said = str(error).splitlines()[0] if str(error) else "no memory"
        raise ValueError(f"no model of the sizes {sizes} can be built here: {said}") from None


def _size(value: Any, parameter: inspect.Parameter) -> Any:
    """A value for a parameter of a builder, by the type of its default. ValueError for any other kind."""
    default, several = parameter.default, parameter.annotation == OneOrMany
    least = int(parameter.name not in MAY_BE_ZERO)

    def whole(number: Any) -> bool:
        return _is(number, numbers.Integral) and least <= number < 2**31

    if isinstance(default, bool):
        kind = "true or false"
        if str(value).lower() in WORDS:
            return WORDS[str(value).lower()]
    elif isinstance(default, int):
        kind = f"a whole number of at least {least}" + ", or a list of them" * several
        if whole(value):
            return int(value)
        if several and isinstance(value, list | tuple) and all(map(whole, value)):
            return tuple(map(int, value))
    elif isinstance(default, float):  # every one is the rate of a dropout
        kind = "a number from 0 to below 1"
        if _is(value, numbers.Real) and 0 <= value < 1:
            return float(value)
    elif isinstance(default, type):
        kind = f"one of {', '.join(LAYERS)}"
        if isinstance(value, str) and value in LAYERS:
            return value
    elif isinstance(default, str):
        kind = "a word"
        if isinstance(value, str):
            return value
    else:
        kind = "a list of whole numbers of at least 1, such as [1, 2, 4]"
        if isinstance(value, list | tuple) and all(map(whole, value)):
            return tuple(map(int, value))
    raise ValueError(f"expected {parameter.name} to be {kind}, got {value!r}")


def _is(value: Any, kind: type) -> bool:
    """Whether a value is a number of a kind; true and false are none."""
    return isinstance(value, kind) and not isinstance(value, bool)
