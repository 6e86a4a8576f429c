"""Train the networks that part one, chapter 1, compares, and store them: data/results/wavenet-01.json.

    .venv/bin/python tools/first_network.py [--seeds N] [--steps N] [--store FILE]

Four networks on three characters, each with the chapter's training: without tanh; with it; and with hidden
weights that were not divided by the square root of the number of inputs, without BatchNorm and with it.
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from stored import count
from torch import Generator

from common.data import Vocabulary, load_names, split_names, windows
from common.evaluate import mean_loss
from common.models import count_parameters
from common.nn import BatchNorm1d, Embedding, Flatten, Linear, Module, Sequential, Tanh
from common.runs import train
from common.runs.files import write_json
from common.runs.provenance import ROOT, provenance
from common.train import Config, seeded

STORE = ROOT / "data" / "results" / "wavenet-01.json"
N_EMBD, N_HIDDEN, BLOCK_SIZE, OUTPUT_SCALE = 10, 200, 3, 0.1


class Variant(NamedTuple):
    """A network of the comparison."""

    title: str
    tanh: bool = True
    norm: bool = False
    large: bool = False


VARIANTS = {
    "linear": Variant("without tanh", tanh=False),
    "plain": Variant("with tanh"),
    "plain-large": Variant("with tanh, large hidden weights", large=True),
    "norm-large": Variant("with tanh and BatchNorm, large hidden weights", norm=True, large=True),
}


def builder(variant: Variant) -> Callable[..., Module]:
    """What makes the network before its training."""

    def build(generator: Generator) -> Module:
        inputs = BLOCK_SIZE * N_EMBD
        layers: dict[str, Module] = {
            "embedding": Embedding(27, N_EMBD, generator=generator),
            "flatten": Flatten(),
            "hidden": Linear(inputs, N_HIDDEN, bias=not variant.norm, generator=generator),
        }
        if variant.norm:
            layers["norm"] = BatchNorm1d(N_HIDDEN)
        if variant.tanh:
            layers["tanh"] = Tanh()
        layers["output"] = Linear(N_HIDDEN, 27, generator=generator)
        layers["output"].weight *= OUTPUT_SCALE
        if variant.large:
            layers["hidden"].weight *= inputs**0.5
        return Sequential(layers)

    return build


def measured(variant: Variant, seeds: int, config: Config) -> dict[str, Any]:
    """The losses of a network on both parts of the book's list, by seed."""
    splits, vocabulary = split_names(words := load_names()), Vocabulary("".join(words))
    x, y = windows(splits.train, vocabulary, BLOCK_SIZE)
    x_val, y_val = windows(splits.val, vocabulary, BLOCK_SIZE)
    models, generators = seeded(builder(variant), range(seeds))
    train(models, (x, y), generators, config)
    runs = [
        {"seed": seed, "train": mean_loss(model, x, y), "val": mean_loss(model, x_val, y_val)}
        for seed, model in enumerate(models)
    ]
    return {
        "title": variant.title,
        "parameters": count_parameters(models[0]),
        "provenance": provenance(torch.device("cpu")),
        "runs": [{k: round(v, 4) if k != "seed" else v for k, v in run.items()} for run in runs],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seeds", type=count, default=4)
    parser.add_argument("--steps", type=count, default=Config().steps)
    parser.add_argument("--store", type=Path, default=STORE)
    options = parser.parse_args()
    config = Config(steps=options.steps)
    result = {"list": "shipped", "steps": config.steps, "batch_size": config.batch_size, "models": {}}
    for name, variant in VARIANTS.items():
        result["models"][name] = measured(variant, options.seeds, config)
        print(name, result["models"][name]["runs"], flush=True)
        write_json(options.store, result)


if __name__ == "__main__":
    main()
