"""Train what part one, chapter 9 compares, over three seeds, and store it: data/results/sound.json.

    .venv/bin/python tools/sound.py [--only NAME ...] [--seeds N]

Three networks of sound: ten blocks that see 1,024 samples, ten that see 16, and four that see 16. Two
networks of names: with the sex as a condition, and with a constant in its place. Networks, sound and
training are the chapter's own definitions, read from its notebook. What is finished lies in runs/sound, a
file a run, and is not trained again; when all of it is there, the results are written.
"""

import argparse
import base64
import json
import math
import sys
from collections import deque
from typing import Any

import torch
import torch.nn.functional as F
from stored import count, unpack
from taught import constants, definitions
from torch import Tensor

from common.data import SHIPPED_NAMES, Vocabulary, examples, load_names, split_names
from common.evaluate import mean_loss
from common.models import WaveNet, count_parameters
from common.nn import Embedding, Module
from common.runs.files import read_json, replace_files, write_json
from common.runs.provenance import ROOT, provenance
from common.train import Config, composed_steps

CHAPTER = ROOT / "book" / "wavenet" / "09_sound.ipynb"
STORE, RUNS = ROOT / "data" / "results" / "sound.json", ROOT / "runs" / "sound"
TAUGHT = {"pluck", "melody", "encode", "decode", "rows_of", "listener", "start", "step", "draw", "free",
          "near_a_note", "in_tune", "with_condition", "Conditioned", "learn_names",
          "name_losses"}  # fmt: skip
CONSTANTS = {"RATE", "SCALE", "MU", "FIRST_BOY"}
NETWORKS = {
    "long": ("ten blocks, 1,024 samples in view", tuple(2**i for i in range(10))),
    "near": ("ten blocks, 16 samples in view", (1, 2) * 5),
    "short": ("four blocks, 16 samples in view", (1, 2, 4, 8)),
}
NAMES = {"condition": "names, the sex as a condition", "constant": "names, a constant condition"}
LENGTH, OPENING, CLIPS = 12_000, 1_024, 8
SOUND = {"name": "loss", "unit": "nats", "per": "sample", "better": "lower", "digits": 3}
LETTERS = SOUND | {"per": "character"}


def chapter() -> dict[str, Any]:
    """The functions, classes and constants of the chapter, and the names that they use."""
    space: dict[str, Any] = {
        "torch": torch, "math": math, "F": F, "deque": deque, "WaveNet": WaveNet, "Config": Config,
        "composed_steps": composed_steps, "Module": Module, "Embedding": Embedding, "examples": examples,
    }  # fmt: skip
    space |= constants(CHAPTER, CONSTANTS)
    words = load_names(SHIPPED_NAMES)
    space["vocabulary"] = Vocabulary("".join(words))
    space["words"] = words
    return definitions(CHAPTER, TAUGHT, space)


# ---- a run ----------------------------------------------------------------------


def of_sound(name: str, seed: int, taught: dict[str, Any]) -> dict[str, Any]:
    """A network of sound: its losses, how much of what it writes is in the scale, and a clip."""
    g = torch.Generator().manual_seed(0)
    sound = taught["melody"](72, g)
    rows, held_out = taught["rows_of"](sound, g)
    model = taught["listener"](rows, NETWORKS[name][1], seed)
    openings = held_out[0][0].unfold(0, OPENING, 2_000)[:CLIPS]
    clips = taught["free"](model, openings, LENGTH, seed)
    run = {
        "seed": seed,
        "parameters": count_parameters(model),
        "train": round(mean_loss(model, *(one[::4] for one in rows)), 4),
        "val": round(mean_loss(model, *held_out), 4),
        "in_tune": round(taught["in_tune"](clips), 4),
    }
    if seed == 0:
        run["clip"] = base64.b64encode(clips[0].to(torch.uint8).numpy().tobytes()).decode()
    return run


def of_names(name: str, seed: int, taught: dict[str, Any]) -> dict[str, Any]:
    """A network of names: its losses on held-out names, and how often it tells the sex of one."""
    words, first = taught["words"], taught["FIRST_BOY"]
    splits = split_names(list(zip(words, [0] * first + [1] * (len(words) - first), strict=True)))  # type: ignore
    known = {word for word, _ in splits.train}
    new = [pair for pair in splits.val if pair[0] not in known]  # type: ignore[misc]
    constant = name == "constant"
    losses: dict[str, Tensor] = {}
    model = taught["learn_names"](taught["with_condition"](splits.train, constant), seed)
    run: dict[str, Any] = {"seed": seed, "parameters": count_parameters(model)}
    for key, pairs in (("train", splits.train[:6_000]), ("val", splits.val), ("val_new", new)):
        run[key] = round(mean_loss(model, *taught["with_condition"](pairs, constant)), 4)
    if not constant:
        for key, pairs in (("val", splits.val), ("val_new", new)):
            names, sexes = zip(*pairs, strict=True)
            girl, boy = (taught["name_losses"](model, names, sex) for sex in (0, 1))
            losses[key] = (boy < girl).long() == torch.tensor(sexes)
            run[f"{key}_told_apart"] = round(losses[key].double().mean().item(), 4)
            run[f"{key}_girls"] = round(1 - sum(sexes) / len(sexes), 4)
    return run


# ---- stored ----------------------------------------------------------------------


def path_of(name: str, seed: int) -> Any:
    return RUNS / f"{name}-{seed}.json"


def collected(seeds: int) -> dict[str, Any]:
    models = {}
    for name in (*NETWORKS, *NAMES):
        runs = [read_json(path_of(name, seed)) for seed in range(seeds)]
        models[name] = {
            "title": NAMES.get(name) or NETWORKS[name][0],
            "measure": LETTERS if name in NAMES else SOUND,
            "runs": [{key: value for key, value in run.items() if key != "provenance"} for run in runs],
            "provenance": [run["provenance"] for run in runs],
        }
        if name in NETWORKS:
            models[name]["dilations"] = NETWORKS[name][1]
    clips = {"length": LENGTH, "opening": OPENING, "clips": CLIPS}
    return {"made_by": "tools/sound.py", "written": clips, "models": models}


def main(arguments: list[str] | None = None) -> int:
    known = [*NETWORKS, *NAMES]
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
                run = (of_names if name in NAMES else of_sound)(name, seed, taught)
                write_json(path_of(name, seed), run | {"provenance": provenance(torch.device("cpu"))})
                print(f"{name}, seed {seed}: validation loss {run['val']:.3f}", flush=True)
    left = [(n, s) for n in known for s in range(options.seeds) if not path_of(n, s).exists()]
    if left:
        print(f"not stored yet, for {len(left)} runs are missing")
        return 0
    replace_files({STORE: (json.dumps(collected(options.seeds), indent=1) + "\n").encode()})
    print(f"stored in {STORE.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
