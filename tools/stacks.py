"""Train the deep stacks and the norms of part one, chapter 8, and store them: data/results/stacks.json.

    .venv/bin/python tools/stacks.py [--only NAME ...] [--seeds N]

24 gated blocks in a row, with a sum around each, with BatchNorm before each gate, each for 300 steps and for
2,000; and WaveNet with layer normalisation before each convolution, trained as the ablation in blocks.json
is. Stacks, sums and norms are the chapter's own definitions, read from its notebook. What is finished lies in
runs/stacks, a file a run; what is stored is not trained again.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from stored import count, unpack
from taught import definitions

from common import nn
from common.data import IGNORE_INDEX, Vocabulary, examples, load_names, split_names
from common.evaluate import mean_loss, smooth
from common.models import WaveNet, count_parameters
from common.runs.files import read_json, replace_files, write_json
from common.runs.provenance import ROOT, provenance
from common.train import Config, composed_steps

CHAPTER = ROOT / "book" / "wavenet" / "08_wavenet_blocks.ipynb"
STORE, RUNS = ROOT / "data" / "results" / "stacks.json", ROOT / "runs" / "stacks"
DEEP: dict[str, tuple[str, dict[str, Any]]] = {
    "gates": ("24 gates in a row", {}),
    "residual": ("24 gates, a sum around each block", {"wrap": "Residual"}),
    "batchnorm": ("24 gates, BatchNorm before each", {"norm": True}),
}
LONGER = 2_000  # steps
DEEP |= {
    f"{name}-longer": (f"{title}, {LONGER:,} steps", options | {"steps": LONGER})
    for name, (title, options) in DEEP.items()
}
NORMED = {
    "wavenet-layernorm": ("WaveNet, LayerNorm in each block", nn.LayerNorm),
}
STEPS, WINDOW = 300, 20
MEASURE = {"name": "loss", "unit": "nats", "per": "character", "better": "lower", "digits": 3}


def chapter() -> dict[str, Any]:
    """The functions and classes of the chapter, with the names that it trains on."""
    splits = split_names(words := load_names())
    space: dict[str, Any] = {"torch": torch, "F": F, "Config": Config, "composed_steps": composed_steps}
    space |= {"IGNORE_INDEX": IGNORE_INDEX, "vocabulary": Vocabulary("".join(words))}
    layers = ("BatchNorm1d", "CausalConv1d", "Embedding", "Gate", "Linear", "Module", "Sequential", "Tanh")
    space |= {name: getattr(nn, name) for name in layers}
    for part in ("train", "val"):
        pair = examples(getattr(splits, part), space["vocabulary"], None)
        space |= {f"X_{part}": pair[0], f"Y_{part}": pair[1]}
    return definitions(CHAPTER, {"stack", "learn", "Residual", "gradient_norms", "with_norm"}, space)


def of_stack(name: str, seed: int, taught: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """A deep stack, and how its training went: means of so many steps, and its gradients before and after."""
    options = dict(DEEP[name][1])
    steps = options.pop("steps", STEPS)
    if "wrap" in options:
        options["wrap"] = taught[options["wrap"]]
    model = taught["stack"](24, seed=seed, **options)
    ratios = [taught["gradient_norms"](model)]
    losses = taught["learn"](model, steps, seed=seed)
    ratios.append(taught["gradient_norms"](model))
    first = [float(f"{(norms[0] / norms[-1]).item():.4g}") for norms in ratios]
    curve = [round(loss, 4) for loss in smooth(losses, WINDOW).tolist()]
    return model, {"first_against_last": first, "window": WINDOW, "curve": curve}


def of_norm(name: str, seed: int, taught: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """WaveNet with a norm in its blocks, trained as the variants of the ablation."""
    g = torch.Generator().manual_seed(seed)
    model = taught["with_norm"](WaveNet(generator=g), NORMED[name][1])
    config = Config(**read_json(ROOT / "data" / "results" / "blocks.json")["training"])
    composed_steps(model, (taught["X_train"], taught["Y_train"]), g, config, 0, config.steps)
    return model, {}


def trained(name: str, seed: int, taught: dict[str, Any]) -> dict[str, Any]:
    model, extra = (of_stack if name in DEEP else of_norm)(name, seed, taught)
    val = mean_loss(model.eval(), taught["X_val"], taught["Y_val"])
    return {"seed": seed, "parameters": count_parameters(model), "val": round(val, 4), **extra}


def path_of(name: str, seed: int) -> Path:
    return RUNS / f"{name}-{seed}.json"


def collected(seeds: int) -> dict[str, Any]:
    models = {}
    for name, (title, _) in (DEEP | NORMED).items():
        runs = [read_json(path_of(name, seed)) for seed in range(seeds)]
        models[name] = {
            "title": title, "measure": MEASURE,
            "runs": [{key: value for key, value in run.items() if key != "provenance"} for run in runs],
            "provenance": [run["provenance"] for run in runs],
        }  # fmt: skip
    return {"made_by": "tools/stacks.py", "steps": STEPS, "models": models}


def main(arguments: list[str] | None = None) -> int:
    known = [*DEEP, *NORMED]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=known, default=known, metavar="NAME")
    parser.add_argument("--seeds", type=count, default=3)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    taught = chapter()
    unpack(STORE, RUNS)
    for seed in range(options.seeds):
        for name in options.only:
            if not path_of(name, seed).exists():
                run = trained(name, seed, taught)
                write_json(path_of(name, seed), run | {"provenance": provenance(torch.device("cpu"))})
                print(f"{name}, seed {seed}: validation loss {run['val']:.3f}", flush=True)
    left = [(name, s) for name in known for s in range(options.seeds) if not path_of(name, s).exists()]
    if left:
        print(f"not stored yet, for {len(left)} runs are missing")
        return 0
    replace_files({STORE: (json.dumps(collected(options.seeds), indent=1) + "\n").encode()})
    print(f"stored in {STORE.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
