"""Give stored weights the names that say what they are: "0.weight" of before becomes "embedding.weight".

    .venv/bin/python tools/rename_weights.py FILE.safetensors MODEL [NAME=VALUE ...]

MODEL is its name in `common.models.MODELS`, with the sizes that differ from the recipe's. The numbers, their
order and the file's notes stay. ValueError where the file does not hold the tensors of such a model.
"""

import json
import sys
from pathlib import Path

from safetensors import safe_open
from safetensors.torch import load_file, save_file

from common.models import MODELS
from common.nn import Residual


def old_names(model) -> dict[str, str]:
    """The names that a model's tensors had before, in terms of those that they have: new -> old."""
    parts = list(model.children())
    if hasattr(model, "blocks"):
        raise ValueError("no weights of WaveNet were stored under the old names")
    found = {}
    for i, (name, part) in enumerate(model.named_children()):
        inner = {}
        if isinstance(part, Residual):
            for j, (own, layer) in enumerate(part.named_children()):
                inner |= {f"{own}.{t}": f"{j}.{t}" for t in layer.state_dict()}
        else:
            inner = {t: t for t in part.state_dict()}
        found |= {f"{name}.{new}": f"{i}.{old}" for new, old in inner.items()}
    assert len(parts) and list(found) == list(model.state_dict())
    return found


def rename(path: Path, name: str, sizes: dict) -> None:
    """Write a file of weights anew, under the new names."""
    tensors = load_file(path)
    with safe_open(path, "pt") as file:
        about = file.metadata()
    recipe = MODELS[name]
    vocabulary = tensors["0.weight"].shape[0] if "0.weight" in tensors else 0
    if not vocabulary:
        raise ValueError(f"{path}: has no tensor 0.weight; its names are not the old ones")
    names = old_names(recipe.sized(vocabulary, sizes))
    if set(names.values()) != set(tensors):
        raise ValueError(f"{path}: expected the tensors of {name}, got {sorted(tensors)}")
    save_file({new: tensors[old] for new, old in names.items()}, path, about)


if __name__ == "__main__":
    given = dict(pair.split("=", 1) for pair in sys.argv[3:])
    rename(
        Path(sys.argv[1]),
        sys.argv[2],
        {k: json.loads(v) if v[:1] in "[0123456789" else v for k, v in given.items()},
    )
