"""Train chapter 7's network with and without normalisation, and store it: data/results/causality.json.

    .venv/bin/python tools/causality.py

Three networks that differ in what stands after each convolution, BatchNorm, layer normalisation or nothing,
three seeds each, with batches of 1 to 8 whole names; with 8 also at other rates. Of each run: its losses, and
on the same batches of validation names of one length the loss in training mode, in evaluation mode, and in
training mode with the letters after each prediction taken from other names. Every run is one thread's work of
some seconds.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from string import ascii_lowercase
from typing import Any

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from common.data import Vocabulary, examples, load_names, sequences, split_names
from common.evaluate import mean_loss
from common.models import Dilated
from common.nn import BatchNorm1d, LayerNorm, Sequential
from common.runs.files import write_json
from common.runs.provenance import ROOT, provenance
from common.train import Config, composed_steps

STORE = ROOT / "data" / "results" / "causality.json"
TITLES = {"batch": "BatchNorm", "layer": "layer normalisation", "none": "no normalisation"}
SIZES = [1, 2, 8]  # names in a batch
STEPS, SEEDS, LR = 1_000, 3, 0.1
OTHER_RATES = [0.03, 0.3]  # with the most names in a batch
LENGTH, COMPARED = 6, 640  # letters of the names that are compared, and how many of these, drawn


def build(norm: str, generator: Generator) -> Dilated:
    """The network of the chapter; the weights that a seed draws are the same whatever the norm."""
    network = Dilated(generator=generator)
    for name, module in list(network.named_children()):
        if isinstance(module, BatchNorm1d) and norm != "batch":
            setattr(network, name, LayerNorm(len(module.weight)) if norm == "layer" else Sequential([]))
    return network


@torch.no_grad()
def in_both_modes(network: Dilated, names: list[str], vocabulary: Vocabulary, size: int) -> dict[str, float]:
    """The mean loss on the same batches, in nats: in each mode, and with the later letters of other names.

    Training mode moves the running statistics of the network.
    """
    (x, y, _), g = sequences(names, vocabulary), Generator().manual_seed(0)
    batches = [torch.randint(0, len(x), (2, size), generator=g) for _ in range(COMPARED // size)]

    def later_swapped(own: Tensor, other: Tensor) -> Tensor:
        """The logits at each place, where its own name goes on after it as another one does."""
        rows = [torch.cat([x[own, : t + 1], x[other, t + 1 :]], dim=1) for t in range(x.shape[1])]
        return torch.stack([network(row)[:, t] for t, row in enumerate(rows)], dim=1)

    def loss(forward: Callable[[Tensor, Tensor], Tensor]) -> float:
        found = [F.cross_entropy(forward(*rows).flatten(0, 1), y[rows[0]].flatten()) for rows in batches]
        return torch.stack(found).mean().item()

    network.eval()
    losses = {"eval_mode": loss(lambda own, _: network(x[own]))}
    network.train()
    return losses | {"train_mode": loss(lambda own, _: network(x[own])), "later_swapped": loss(later_swapped)}


def trained(norm: str, size: int, lr: float, seed: int, data: dict[str, Any]) -> dict[str, Any]:
    """One run: what it learned, and how its modes compare."""
    generator = Generator().manual_seed(seed)
    network = build(norm, generator)
    config = Config(steps=STEPS, batch_size=size, lr=lr)
    composed_steps(network, data["train"], generator, config, 0, STEPS)
    found = {"val": mean_loss(network, *data["val"])}
    found |= in_both_modes(network, data["names"], data["vocabulary"], size)
    return {"seed": seed} | {name: round(value, 4) for name, value in found.items()}


def main(arguments: Sequence[str] = ()) -> int:
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args(
        list(arguments)
    )  # --help trains nothing
    torch.set_num_threads(1)
    splits, vocabulary = split_names(load_names()), Vocabulary(ascii_lowercase)
    data = {
        "vocabulary": vocabulary,
        "names": [name for name in splits.val if len(name) == LENGTH],
        "train": examples(splits.train, vocabulary, None),
        "val": examples(splits.val, vocabulary, None),
    }
    networks: dict[float, list] = {LR: [], **{lr: [] for lr in OTHER_RATES}}
    for lr, entries in networks.items():
        for size in SIZES if lr == LR else SIZES[-1:]:
            for norm, title in TITLES.items():
                runs = [trained(norm, size, lr, seed, data) for seed in range(SEEDS)]
                entries.append({"norm": norm, "title": title, "batch_size": size, "runs": runs})
                print(lr, size, title, [run["val"] for run in runs], flush=True)
    stored = {
        "made_by": "tools/causality.py", "steps": STEPS, "lr": LR,
        "compared": {"length": LENGTH, "names": len(data["names"]), "drawn": COMPARED},
        "networks": networks[LR], "other_rates": {f"{lr}": networks[lr] for lr in OTHER_RATES},
        "provenance": provenance(torch.device("cpu")),
    }  # fmt: skip
    write_json(STORE, stored)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
