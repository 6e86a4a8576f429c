"""Train the networks of part two, chapter 4, and store them: data/results/rnn-04.json.

    .venv/bin/python tools/shakespeare.py [--only NAME ...] [--seeds N] [--tiny FILE]

The training loop, the n-grams and the measure are the chapter's own definitions, read from its notebook. A
run that is stored, or a file in runs/rnn-04, is not trained again; the results are written whenever one is
finished. Products are computed in bfloat16 while training, which is several times as fast where the CPU has
units for it, and in float32 while measuring. --tiny: the file of Tiny Shakespeare, which is not part of the
book; without it those runs are left as they are.
"""

import argparse
import lzma
import math
import sys
import time
from collections import Counter
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save
from stored import count, restore, unpack
from taught import definitions
from torch import Tensor

import common.fast
import common.nn
from common.data import Vocabulary
from common.data.text import hold_out, plays, python_source, read_text
from common.models import StatefulNetwork, count_parameters
from common.runs.files import read_json, replace_files, write_json
from common.runs.provenance import ROOT, provenance

CHAPTER = ROOT / "book" / "rnn" / "04_shakespeare.ipynb"
STORE, RUNS = (ROOT / "data" / "results" / "rnn-04.json", ROOT / "runs" / "rnn-04")
WEIGHTS = {"page": "shakespeare", "python": "python"}  # of seed 0, in data/models
TAUGHT = {"text_of", "characters_of", "numbers_of", "grams", "find", "estimated", "tune", "KneserNey",
          "streams", "chunks", "detached", "train_text", "surprise", "look_back"}  # fmt: skip
CONTEXTS = (1, 2, 3, 4, 5, 6, 7, 8, 12, 16, 24, 32, 64, 128, 256)
MEASURE = {"name": "cost", "unit": "bits", "per": "character", "better": "lower", "digits": 3}
MOST_ORDER = {"plays": 8, "python": 9}  # of the n-grams
CACHED = ("page", "large")  # networks that are also measured with a cache
SHARPNESS, SHARES = (10, 20, 30), (0.1, 0.15, 0.2, 0.25, 0.3, 0.4)  # settings of a cache that are tried
CHOSEN_ON = 60_000  # characters of the validation plays
LIMITED = 20_000  # characters that are predicted from contexts of a given length
LIMITED_IN = {"page": 256, "short": 8}  # up to which length


class Variant(NamedTuple):
    """What is trained on what. sizes: of a `StatefulNetwork`. characters: that are read in training."""

    title: str
    corpus: str
    sizes: dict[str, Any]
    characters: int
    rows: int = 32
    steps: int = 64
    lr: float = 4e-3
    keep: bool = True
    seeds: int = 3

    @property
    def updates(self) -> int:
        return self.characters // (self.rows * self.steps)


ONE, PAIR = {"n_embd": 64, "n_hidden": 448}, {"n_embd": 128, "n_hidden": 512, "layers": 2}
VARIANTS = {
    "large": Variant("LSTM, 2 layers of 512", "plays", PAIR | {"dropout": 0.3}, 25_000_000, lr=3e-3),
    "page": Variant("LSTM, 1 layer of 448", "plays", ONE | {"dropout": 0.05}, 12_000_000),
    "short": Variant("LSTM, 1 layer of 448, 8 characters at a time", "plays", ONE | {"dropout": 0.05},
                     12_000_000, rows=256, steps=8, keep=False, seeds=1),
    "python": Variant("LSTM, 1 layer of 384, on Python", "python", ONE | {"n_hidden": 384}, 10_000_000,
                      seeds=1),
    "tiny": Variant("LSTM, 1 layer of 400, as long as nanoGPT on a laptop", "tiny",
                    ONE | {"n_hidden": 400}, 2_000 * 12 * 64, rows=12, steps=64),
    "tiny-large": Variant("LSTM, 2 layers of 512", "tiny", PAIR | {"dropout": 0.5}, 12_000_000, lr=2e-3),
}  # fmt: skip
for steps in (16, 64, 256):  # as many updates of as many characters
    for keep, name in ((True, "keep"), (False, "reset")):
        VARIANTS[f"{name}-{steps}"] = Variant(
            f"LSTM, 1 layer of 256, {steps} characters, state {'kept' if keep else 'reset'}", "plays",
            {"n_embd": 64, "n_hidden": 256}, 3_000_000, rows=2_048 // steps, steps=steps, keep=keep,
        )  # fmt: skip


@cache
def chapter() -> Mapping[str, Any]:
    """The functions and classes of the chapter."""
    space = {
        "np": np, "torch": torch, "math": math, "F": F, "fused": common.fast.fused, "Counter": Counter,
        "evaluating": common.nn.evaluating, "Vocabulary": Vocabulary, "hold_out": hold_out, "plays": plays,
        "python_source": python_source, "read_text": read_text, "Path": Path,
    }  # fmt: skip
    return definitions(CHAPTER, TAUGHT, space)


@cache
def load(corpus: str, tiny: Path | None = None) -> tuple[Vocabulary, dict[str, Tensor]]:
    """The vocabulary of the training text, and the three parts as numbers. Tiny Shakespeare has no third."""
    if corpus == "tiny":
        assert tiny is not None
        text = read_text(tiny)
        cut = int(0.9 * len(text))
        parts = {"train": [text[:cut]], "val": [text[cut:]]}
    else:
        parts = chapter()["text_of"](corpus)._asdict()
    vocabulary = chapter()["characters_of"](parts["train"])
    return vocabulary, {key: chapter()["numbers_of"](part, vocabulary) for key, part in parts.items()}


# ---- a run ----------------------------------------------------------------------


def trained(name: str, seed: int, tiny: Path | None) -> tuple[StatefulNetwork, dict[str, Any]]:
    """A model, and what is stored of its run; bits a character."""
    variant, taught = VARIANTS[name], chapter()
    vocabulary, parts = load(variant.corpus, tiny)
    g = torch.Generator().manual_seed(seed)
    model = StatefulNetwork(len(vocabulary), **variant.sizes, generator=g)
    for module in model.modules():
        if isinstance(module, common.nn.Dropout):
            module.generator = g
    model.train().requires_grad_()
    began, busy = time.monotonic(), time.process_time()
    with common.fast.fused(model):
        losses = taught["train_text"](model, parts["train"], variant.rows, variant.steps, variant.updates, g,
                                      variant.lr, variant.keep, half=True)  # fmt: skip
    model.requires_grad_(False)
    fifty = torch.tensor(losses).tensor_split(50)
    run: dict[str, Any] = {
        "seed": seed, "parameters": count_parameters(model), "characters": variant.updates * variant.rows
        * variant.steps, "seconds": round(time.monotonic() - began),
        "processor_seconds": round(time.process_time() - busy),
        "history": [round(part.mean().item() / math.log(2), 4) for part in fifty],
    }  # fmt: skip
    for key in [key for key in parts if key != "train"]:
        run[key] = mean(taught["surprise"](model, parts[key]))
        if name.startswith(("keep", "reset", "tiny")):  # the state as it was in training, and the other way
            run[f"{key}_reset"] = mean(taught["surprise"](model, parts[key], 8, variant.steps, False))
    return model, run


def mean(bits: Tensor) -> float:
    return round(bits.double().mean().item(), 5)


def sampled(numbers: Tensor) -> Tensor:
    """The places of the characters that are predicted from limited contexts."""
    return torch.linspace(max(CONTEXTS), len(numbers) - 1, LIMITED).long()


@torch.no_grad()
def limited(model: StatefulNetwork, numbers: Tensor, length: int) -> float:
    """Bits a character where each is predicted from so many characters before it, and no more."""
    at, bits = sampled(numbers), []
    with common.nn.evaluating(model), common.fast.fused(model):
        for some in at.split(max(1, 65_536 // length)):
            x = numbers[some[:, None] + torch.arange(-length, 0)]
            log_p = F.log_softmax(model(x)[:, -1], -1)
            bits.append(-log_p.gather(1, numbers[some, None])[:, 0] / math.log(2))
    return mean(torch.cat(bits))


def choose_cache(model: StatefulNetwork, numbers: Tensor) -> dict[str, float]:
    """The sharpness and the share with which a cache costs least."""
    costs = {}
    for sharpness in SHARPNESS:
        bits = chapter()["look_back"](model, numbers[:CHOSEN_ON], sharpness, torch.tensor(SHARES))
        for share, cost in zip(SHARES, bits.double().mean(0).tolist(), strict=True):
            costs[cost] = {"sharpness": sharpness, "share": share}
    return costs[min(costs)]


def with_cache(name: str, seed: int) -> dict[str, Any]:
    """Bits a character of a stored network with a cache, whose settings were chosen with seed 0."""
    variant = VARIANTS[name]
    vocabulary, parts = load(variant.corpus)
    model = StatefulNetwork(len(vocabulary), **variant.sizes)
    weights = load_file(RUNS / f"{name}-{seed}.safetensors")
    model.load_state_dict({key: tensor.float() for key, tensor in weights.items()})
    first = RUNS / f"cached-{name}-0.json"
    found = choose_cache(model, parts["val"]) if seed == 0 else read_json(first)
    found = {key: found[key] for key in ("sharpness", "share")}
    for key in ("val", "test"):
        share = torch.tensor([found["share"]])
        found[key] = mean(chapter()["look_back"](model, parts[key], found["sharpness"], share))
    return found


# ---- baselines -------------------------------------------------------------------


def ngrams(corpus: str, tiny: Path | None = None) -> list[dict[str, Any]]:
    """Bits a character of Kneser-Ney n-grams by order, with discounts estimated, and tuned on validation."""
    vocabulary, parts = load(corpus, tiny)
    texts = {key: part.numpy() for key, part in parts.items()}
    rows = []
    for order in range(1, MOST_ORDER[corpus] + 1):
        model = chapter()["KneserNey"](texts["train"], order, len(vocabulary))
        row: dict[str, Any] = {"order": order}
        for tuned in ("_estimated", ""):
            if not tuned:
                chapter()["tune"](model, texts["val"])
            for key in [key for key in texts if key != "train"]:
                bits = -model.probabilities(model.counts(texts[key])).log2()
                row[key + tuned] = mean(bits)
                if key == "val":
                    row["limited" + tuned] = mean(bits[sampled(parts["val"]) - order + 1])
        rows.append(row)
        print(f"{corpus}: {row}", flush=True)
    return rows


def adapted(p: np.ndarray, numbers: np.ndarray, order: int, strength: float) -> np.ndarray:
    """Probabilities p of the characters of a text, moved towards what followed the same `order` characters
    in the text so far, as if p stood for `strength` characters that were seen before."""
    contexts, whole = Counter[bytes](), Counter[bytes]()
    seen = np.zeros((2, len(numbers)))
    text = numbers.astype(np.uint8).tobytes()
    for i in range(order, len(text)):
        context, longer = text[i - order : i], text[i - order : i + 1]
        seen[:, i] = contexts[context], whole[longer]
        contexts[context] += 1
        whole[longer] += 1
    return (seen[1] + strength * p) / (seen[0] + strength)


def ngram_with_cache() -> dict[str, Any]:
    """Kneser-Ney of the highest order, adapted to each text as it is read; settings of least cost in
    validation."""
    vocabulary, parts = load("plays")
    texts = {key: part.numpy() for key, part in parts.items()}
    model = chapter()["KneserNey"](texts["train"], MOST_ORDER["plays"], len(vocabulary))
    chapter()["tune"](model, texts["val"])

    def cost(key: str, order: int, strength: float) -> float:
        p = np.full(len(texts[key]), 1 / len(vocabulary))
        p[model.order - 1 :] = model.probabilities(model.counts(texts[key])).numpy()
        return mean(torch.from_numpy(-np.log2(adapted(p, texts[key], order, strength)))[model.order - 1 :])

    tried = {(order, strength): cost("val", order, strength) for order in (3, 4, 5, 6, 7)
             for strength in (2, 4, 8, 16, 32)}  # fmt: skip
    order, strength = min(tried, key=lambda which: tried[which])
    return {"order": order, "strength": strength, "val": tried[order, strength],
            "test": cost("test", order, strength)}  # fmt: skip


def xz() -> float:
    """Bits a character of the test plays, compressed behind the training plays."""
    train, _, test = ("".join(part) for part in chapter()["text_of"]("plays"))
    both, first = (len(lzma.compress(text.encode(), preset=9)) for text in (train + test, train))
    return round(8 * (both - first) / len(test), 4)


# ---- stored ----------------------------------------------------------------------


def path_of(name: str, seed: int) -> Path:
    return RUNS / f"{name}-{seed}.json"


def unpacked() -> None:
    """What is stored, as files of runs."""
    stored = unpack(STORE, RUNS)
    for name, model in stored.get("models", {}).items():
        for run in model["runs"]:
            if "cached" in run:
                restore(RUNS / f"cached-{name}-{run['seed']}.json", run["cached"])
    if stored:
        restore(RUNS / "baselines.json", {key: stored[key] for key in ("ngrams", "xz")})
        restore(RUNS / "cached-ngram.json", stored["cached"])


def collected() -> dict[str, Any]:
    """What is there of every variant, in the order of the seeds."""
    models = {}
    for name, variant in VARIANTS.items():
        paths = [path for seed in range(variant.seeds) if (path := path_of(name, seed)).exists()]
        runs = [read_json(path) for path in paths]
        for run in runs:
            if (path := RUNS / f"cached-{name}-{run['seed']}.json").exists():
                run["cached"] = read_json(path)
        if runs:
            kept = {key: value for key, value in variant._asdict().items() if key != "seeds"}
            models[name] = kept | {
                "measure": MEASURE,
                "runs": [{k: v for k, v in run.items() if k != "provenance"} for run in runs],
                "provenance": [run["provenance"] for run in runs],
            }  # fmt: skip
    baselines = read_json(RUNS / "baselines.json") if (RUNS / "baselines.json").exists() else {}
    if (RUNS / "cached-ngram.json").exists():
        baselines["cached"] = read_json(RUNS / "cached-ngram.json")
    vocabulary = load("python")[0]
    signs = "".join(vocabulary.tokens[i] for i in vocabulary.ordinary)  # they depend on the Python that runs
    return {
        "made_by": "tools/shakespeare.py", **baselines, "python_characters": signs, "models": models
    }  # fmt: skip


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=list(VARIANTS), default=list(VARIANTS), metavar="NAME")
    parser.add_argument("--seeds", type=count, default=3)
    parser.add_argument("--tiny", type=Path, metavar="FILE")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    unpacked()
    if not (RUNS / "baselines.json").exists():
        counted = {corpus: ngrams(corpus) for corpus in ("plays", "python")}
        write_json(RUNS / "baselines.json", {"ngrams": counted, "xz": xz()})
    for name in options.only:
        variant = VARIANTS[name]
        for seed in range(min(options.seeds, variant.seeds)):
            if path_of(name, seed).exists() or (variant.corpus == "tiny" and options.tiny is None):
                continue
            model, run = trained(name, seed, options.tiny)
            if name in LIMITED_IN and seed == 0:
                numbers = load(variant.corpus)[1]["val"]
                lengths = [length for length in CONTEXTS if length <= LIMITED_IN[name]]
                run["limited"] = {length: limited(model, numbers, length) for length in lengths}
            half = {key: tensor.half().contiguous() for key, tensor in model.state_dict().items()}
            RUNS.mkdir(parents=True, exist_ok=True)
            (RUNS / f"{name}-{seed}.safetensors").write_bytes(save(half))
            write_json(path_of(name, seed), run | {"provenance": provenance(torch.device("cpu"))})
            print(f"{name}, seed {seed}: {run['val']:.4f} bits a character of validation texts,"
                  f" {run['seconds']} s", flush=True)  # fmt: skip
    for name in set(CACHED) & set(options.only):
        for seed in range(VARIANTS[name].seeds):
            path = RUNS / f"cached-{name}-{seed}.json"
            if path_of(name, seed).exists() and not path.exists():
                write_json(path, with_cache(name, seed))
                print(f"{name}, seed {seed}, with a cache: {read_json(path)}", flush=True)
    if not (RUNS / "cached-ngram.json").exists():
        write_json(RUNS / "cached-ngram.json", ngram_with_cache())
    write_json(STORE, collected())
    for name, file in WEIGHTS.items():
        if (path := RUNS / f"{name}-0.safetensors").exists():
            replace_files({ROOT / "data" / "models" / f"{file}.safetensors": path.read_bytes()})
    print(f"stored in {STORE.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
