"""Give stored weights the names that say what they are: "0.weight" of before becomes "embedding.weight".

    .venv/bin/python tools/rename_weights.py FILE.safetensors MODEL [NAME=VALUE ...]

MODEL is its name in `common.models.MODELS`, with the sizes that differ from the recipe's. The numbers and the
file's notes stay. An error, and the file as it was, where it does not hold the tensors of such a model under
their old names.
"""

import json
import sys
from collections.abc import Iterable
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file

from common.models import MODELS
from common.nn import Module
from common.runs.files import save_tensors
from common.runs.sizes import build_model


def by_layer(names: Iterable[str]) -> dict[str, set[str]]:
    """The tensors of each layer, by where it stands: {"embedding": {"weight"}}, in the order of the names."""
    found: dict[str, set[str]] = {}
    for name in names:
        where, _, own = name.rpartition(".")
        found.setdefault(where, set()).add(own)
    return found


def new_names(old: Iterable[str], model: Module) -> dict[str, str]:
    """What each tensor is called now: layers stand in the order in which they stood, under other names.

    ValueError where these are not the tensors of such a model by their numbers.
    """
    try:
        numbered = sorted(old, key=lambda name: [int(number) for number in name.split(".")[:-1]])
    except ValueError:
        raise ValueError(f"expected names such as 0.weight, got {sorted(old)}") from None
    before, after = by_layer(numbered), by_layer(model.state_dict())
    if list(before.values()) != list(after.values()):
        raise ValueError(f"expected as many layers with tensors as {list(after)}, got {numbered}")
    layers = zip(before, after.items(), strict=True)
    return {f"{was}.{own}": f"{now}.{own}" for was, (now, tensors) in layers for own in tensors}


def rename(path: Path, name: str, sizes: dict) -> None:
    """Write a file of weights anew, under the new names."""
    if name not in MODELS:
        raise ValueError(f"expected one of {list(MODELS)}, got {name!r}")
    try:
        tensors = load_file(path)
        with safe_open(path, "pt") as file:
            about = file.metadata()
    except (OSError, SafetensorError) as error:
        raise ValueError(f"{path}: {error}") from None
    vocab_size = len(tensors["0.weight"]) if "0.weight" in tensors else 27
    model = build_model(MODELS[name], vocab_size, sizes)
    try:
        names = new_names(tensors, model)
        model.load_state_dict({names[old]: tensor for old, tensor in tensors.items()})
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    save_tensors(path, model.state_dict(), about)


def value_of(text: str) -> object:
    """A number or a list as JSON has it; a word as it stands."""
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def main(arguments: list[str]) -> int:
    try:
        if len(arguments) < 2 or not all("=" in pair for pair in arguments[2:]):
            raise ValueError("expected FILE.safetensors MODEL [NAME=VALUE ...]")
        sizes = dict(pair.split("=", 1) for pair in arguments[2:])
        rename(Path(arguments[0]), arguments[1], {size: value_of(text) for size, text in sizes.items()})
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
