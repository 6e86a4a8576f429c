"""Train the Transformers of part two, chapter 6, and store them: data/results/rnn-06.json.

    .venv/bin/python tools/attention.py --text FILE [--only NAME ...] [--seeds N ...] [--search]

FILE is the tiny-Shakespeare file, which the book does not carry. Settings are chosen on text that is not
reported: the last tenth of the training text, and for the plays the two for validation. What is finished
lies in runs/rnn-06, a file a run, and is not trained again; the models of which all
seeds are there are written.
"""

import argparse
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from safetensors.torch import save
from stored import restore, unpack
from taught import definitions
from torch import Generator, Tensor

import common.nn
from common import optim
from common.data import Vocabulary, examples, load_names, split_names
from common.data.text import hold_out, plays, read_text
from common.evaluate import mean_loss
from common.models import Transformer, TransformerBlock, count_parameters, predictions
from common.nn import Embedding, Module, evaluating, instead
from common.runs.files import read_json, replace_files, write_json
from common.runs.provenance import ROOT, provenance
from common.train import Config, composed_steps

STORE, RUNS = ROOT / "data" / "results" / "rnn-06.json", ROOT / "runs" / "rnn-06"
CHAPTER = ROOT / "book" / "rnn" / "06_attention_alone.ipynb"
WEIGHTS = ROOT / "data" / "models" / "attention.safetensors"
SEEDS = range(3)
PARTS = ("nothing", "norms first", "positions", "norms", "sums")  # what a network of names lacks


class Recipe(NamedTuple):
    """A Transformer, what it reads, and how it learns. characters: seen in training, all batches together."""

    title: str
    text: str
    sizes: dict[str, Any]
    batch_size: int
    characters: int
    lr: float
    optimizer: str = "muon"
    weight_decay: float = 0.1
    start: float = 0.3

    def config(self) -> Config:
        steps = self.characters // (self.batch_size * self.sizes["length"])
        return Config(steps=steps, batch_size=self.batch_size, lr=self.lr, schedule="cosine",
                      warmup=steps // 20, optimizer=self.optimizer, betas=(0.9, 0.99),
                      weight_decay=self.weight_decay)  # fmt: skip


SMALL = {"n_channels": 124, "heads": 4, "blocks": 4, "length": 64}
MIDDLE = {"n_channels": 192, "heads": 4, "blocks": 2, "length": 128}
RECIPES = {
    "tiny": Recipe("Transformer", "tiny", SMALL, 12, 1_536_000, 0.006),
    "plays": Recipe("Transformer", "plays", MIDDLE, 32, 10_000_000, 0.01),
}
SEARCHED = {"tiny": 300_000, "plays": 1_000_000}  # characters, in a trial of a setting
SEARCH = {
    "tiny": [{}, {"lr": 0.015}, {"optimizer": "adamw", "lr": 0.003}],
    "plays": [{}, {"lr": 0.01}],
}


NAMES = {"n_channels": 64, "heads": 4, "blocks": 2, "length": 40}  # the network of the page
NAMES_CONFIG = Config(steps=1_000, batch_size=128, lr=0.007, schedule="cosine", warmup=100, optimizer="muon",
                      betas=(0.9, 0.99), weight_decay=0.05)  # fmt: skip


# ---- text ------------------------------------------------------------------------


class Text(NamedTuple):
    """Numbers of characters: to train on, to choose settings on, to report."""

    train: Tensor
    choose: Tensor
    report: dict[str, Tensor]
    characters: str


def load(name: str, file: Path | None) -> Text:
    if name == "plays":
        parts = ["\n".join(part) for part in hold_out(plays())]
        characters, every = "".join(sorted(set(parts[0]))), parts
    else:
        if file is None:
            raise ValueError("expected --text FILE, the tiny-Shakespeare file, got none")
        text = read_text(file)
        characters, cut = "".join(sorted(set(text))), int(0.9 * len(text))
        every = [text[:cut], text[cut:]]
    index = {c: i for i, c in enumerate(characters)}
    numbers = [torch.tensor([index[c] for c in part]) for part in every]
    if name == "plays":
        return Text(numbers[0], numbers[1], {"val": numbers[1], "test": numbers[2]}, characters)
    inner = int(0.9 * len(numbers[0]))
    return Text(numbers[0], numbers[0][inner:], {"val": numbers[1]}, characters)


def windows(text: Tensor, starts: Tensor, length: int) -> tuple[Tensor, Tensor]:
    """Pieces of a text and what follows each of their characters: both (B, length)."""
    at = starts[:, None] + torch.arange(length)
    return text[at], text[at + 1]


@torch.no_grad()
def loss_of(model: Module, text: Tensor, length: int, stride: int) -> float:
    """Mean loss in nats of all characters but the first, each counted once.

    Windows begin `stride` apart. In each the last `stride` predictions count, so that every one has seen at
    least length - stride characters, but for those at the text's beginning. stride = length: windows side by
    side, whose first prediction has seen one character.
    """
    last = len(text) - 1 - length
    starts = torch.tensor([*range(0, last, stride), last])
    counted, total = 0, 0.0
    with evaluating(model):
        for some in starts.split(64):
            x, y = windows(text, some, length)
            losses = F.cross_entropy(model(x).flatten(0, 1), y.flatten(), reduction="none").view_as(y)
            for start, row in zip(some.tolist(), losses.double(), strict=True):
                new = start + length - counted  # predictions that no window before has made
                total, counted = total + row[-new:].sum().item(), counted + new
    return total / counted


# ---- a training ------------------------------------------------------------------


def built(recipe: Recipe, vocab_size: int, g: Generator) -> Transformer:
    model = Transformer(vocab_size, **recipe.sizes, generator=g)
    for table in (model.embedding, model.position):
        table.weight *= recipe.start
    model.output.weight *= 0.1
    return model


def trained(
    recipe: Recipe, text: Tensor, vocab_size: int, seed: int, kept: Path | None = None
) -> tuple[Transformer, dict[str, Any]]:
    """A model after its training, in bfloat16 by torch's compiler; its figures. The weights are float32.

    kept: a file in which it leaves where it is, now and then, and goes on from there.
    """
    g, config, length = Generator().manual_seed(seed), recipe.config(), recipe.sizes["length"]
    model = built(recipe, vocab_size, g).requires_grad_()
    parameters = dict(model.named_parameters())
    optimizers = optim.by_parameter(model, config.make_optimizer())
    state = optim.init_state(optimizers, parameters)

    def loss(x: Tensor, y: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            logits = model(x)
        return F.cross_entropy(logits.float().flatten(0, 1), y.flatten())

    losses, seconds, waited, compiled = list[float](), 0.0, 0.0, torch.compile(loss)
    if kept and kept.exists():
        found = torch.load(kept)
        losses, seconds, waited, state = (found[key] for key in ("losses", "seconds", "waited", "state"))
        g.set_state(found["generator"])
        for name, p in parameters.items():
            p.data.copy_(found["parameters"][name])
    began_at = len(losses)
    with instead(model, Embedding, "check_rows", lambda layer, x: None):  # a graph cannot look
        for step in range(began_at, config.steps):
            began, wall = time.process_time(), time.monotonic()
            starts = torch.randint(len(text) - length, (config.batch_size,), generator=g)
            value = compiled(*windows(text, starts, length))
            gradients = torch.autograd.grad(value, list(parameters.values()))
            with torch.no_grad():
                now = {name: p.data for name, p in parameters.items()}
                after, state = optim.update_parameters(optimizers, now, gradients, state, config.lr_at(step))
                for name, p in parameters.items():
                    p.data.copy_(after[name])
            losses.append(value.item())
            if step > began_at + 1:  # the first two compile
                seconds, waited = seconds + time.process_time() - began, waited + time.monotonic() - wall
            if step % 500 == 0:
                print(f"  step {step} of {config.steps}: {losses[-1]:.3f}, {seconds:.0f} s", flush=True)
            if kept and step % 100 == 99:
                now = {name: p.detach() for name, p in parameters.items()}
                torch.save({"losses": losses, "seconds": seconds, "waited": waited, "state": state,
                            "parameters": now, "generator": g.get_state()}, kept)  # fmt: skip
    run = {
        "seed": seed, "parameters": count_parameters(model), "steps": config.steps, "seconds": round(waited),
        "processor_seconds": round(seconds), "characters": config.steps * config.batch_size * length,
        "curve": [round(sum(losses[i : i + 50]) / 50, 4) for i in range(0, len(losses) - 49, 50)],
    }  # fmt: skip
    return model.requires_grad_(False), run


def measured(model: Module, recipe: Recipe, texts: dict[str, Tensor]) -> dict[str, float]:
    """Losses in nats: with at least half of the context, and in windows side by side."""
    found, length = {}, recipe.sizes["length"]
    for name, text in texts.items():
        found[name] = round(loss_of(model, text, length, length // 2), 5)
        found[f"{name}_side_by_side"] = round(loss_of(model, text, length, length), 5)
    return found


def of_names() -> None:
    """The network that the page holds: the shipped names, one seed. Kept are the weights that go in there."""
    names = load_names()
    splits, vocabulary, g = split_names(names), Vocabulary("".join(names)), Generator().manual_seed(0)
    model = Transformer(len(vocabulary), **NAMES, generator=g)
    composed_steps(model, examples(splits.train, vocabulary, None), g, NAMES_CONFIG, 0, NAMES_CONFIG.steps)
    halves = {key: tensor.half().contiguous() for key, tensor in model.state_dict().items()}
    model.load_state_dict({key: tensor.float() for key, tensor in halves.items()})
    run = {"seed": 0, "parameters": count_parameters(model), "training": vars(NAMES_CONFIG),
           "val": round(mean_loss(model, *examples(splits.val, vocabulary, None)), 5)}  # fmt: skip
    write_json(RUNS / "names.json", run | {"provenance": provenance(torch.device("cpu"))})
    (RUNS / WEIGHTS.name).write_bytes(save(halves))
    print(f"names: {run}", flush=True)


def parts() -> None:
    """Networks of names that lack a part, as the chapter defines and trains them."""
    taught = definitions(CHAPTER, {"NoMask", "NoSums", "Nothing", "transformer_without", "train_on_names"}, {
        "torch": torch, "F": F, "nn": common.nn, "Block": TransformerBlock, "Module": Module,
        "Transformer": Transformer, "predictions": predictions,
    })  # fmt: skip
    names = load_names()
    splits, vocabulary = split_names(names), Vocabulary("".join(names))
    train, val = (examples(part, vocabulary, None) for part in (splits.train, splits.val))
    for part in PARTS:
        for blocks in (2, 6):
            path = RUNS / f"part-{part}-{blocks}.json"
            if path.exists():
                continue
            runs = []
            for seed in SEEDS:
                g = Generator().manual_seed(seed)
                model = taught["transformer_without"](part, g, blocks)
                loss = taught["train_on_names"](model, train, g)
                runs.append({"seed": seed, "train": round(loss, 5), "val": round(mean_loss(model, *val), 5)})
            write_json(path, {"runs": runs})
            print(f"{part}, {blocks} blocks: {runs}", flush=True)


# ---- stored ----------------------------------------------------------------------


def search(name: str, text: Text) -> None:
    for number, change in enumerate(SEARCH[name]):
        path = RUNS / f"search-{name}-{number}.json"
        if not path.exists():
            recipe = RECIPES[name]._replace(characters=SEARCHED[name], **change)
            cut = len(text.train) - (len(text.choose) if name == "tiny" else 0)
            model, run = trained(recipe, text.train[:cut], len(text.characters), seed=100)
            run["chosen_on"] = measured(model, recipe, {"val": text.choose[:60_000]})["val"]
            write_json(path, change | {key: v for key, v in run.items() if key != "curve"})
            print(f"{name} {change}: {run['chosen_on']}, {run['seconds']} s", flush=True)


def missing() -> Iterator[tuple[str, int]]:
    for name in RECIPES:
        for seed in SEEDS:
            if not (RUNS / f"{name}-{seed}.json").exists():
                yield name, seed


def unpacked() -> None:
    """What is stored, as files of runs."""
    stored = unpack(STORE, RUNS)
    for name, model in stored.get("models", {}).items():
        for number, entry in enumerate(model["search"]):
            restore(RUNS / f"search-{name}-{number}.json", entry)
    for name, runs in stored.get("parts", {}).items():
        restore(RUNS / f"part-{name}.json", {"runs": runs})
    if stored:
        restore(RUNS / "names.json", stored["names"])
        if not (weights := RUNS / WEIGHTS.name).exists():
            replace_files({weights: WEIGHTS.read_bytes()})


def collected() -> dict[str, Any]:
    """What there is of it: a model of which a run is missing is left out."""
    models, left = {}, {name for name, _ in missing()}
    for name, recipe in RECIPES.items():
        if name in left:
            continue
        runs = [read_json(RUNS / f"{name}-{seed}.json") for seed in SEEDS]
        models[name] = {
            "title": recipe.title, "recipe": recipe._asdict(),
            "measure": {"name": "loss", "unit": "nats", "per": "character", "better": "lower", "digits": 3},
            "runs": [{k: v for k, v in run.items() if k != "provenance"} for run in runs],
            "provenance": [run["provenance"] for run in runs],
            "search": [read_json(p) for p in sorted(RUNS.glob(f"search-{name}-*.json"))],
        }  # fmt: skip
    lacking = {f"{part}-{blocks}": read_json(RUNS / f"part-{part}-{blocks}.json")["runs"]
               for part in PARTS for blocks in (2, 6)}  # fmt: skip
    return {"made_by": "tools/attention.py", "models": models, "names": read_json(RUNS / "names.json"),
            "parts": lacking}  # fmt: skip


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--text", type=Path, help="the tiny-Shakespeare file")
    parser.add_argument("--only", nargs="*", choices=list(RECIPES), default=list(RECIPES), metavar="NAME")
    parser.add_argument("--seeds", nargs="+", type=int, default=list(SEEDS))
    parser.add_argument("--search", action="store_true", help="compare settings, and stop")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    try:
        texts = {name: load(RECIPES[name].text, options.text) for name in options.only}
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    unpacked()
    for name, text in texts.items():
        if options.search:
            search(name, text)
            continue
        for seed in options.seeds:
            if (name, seed) in set(missing()):
                RUNS.mkdir(parents=True, exist_ok=True)
                kept = RUNS / f"{name}-{seed}.pt"
                model, run = trained(RECIPES[name], text.train, len(text.characters), seed, kept)
                run |= measured(model, RECIPES[name], text.report)
                half = {key: tensor.half().contiguous() for key, tensor in model.state_dict().items()}
                (RUNS / f"{name}-{seed}.safetensors").write_bytes(save(half))
                run["provenance"] = provenance(torch.device("cpu"))
                write_json(RUNS / f"{name}-{seed}.json", run)
                print(f"{name}, seed {seed}: {run}", flush=True)
    if options.search:
        return 0
    if not (RUNS / "names.json").exists():
        of_names()
    parts()
    content = (json.dumps(collected(), indent=1) + "\n").encode()
    replace_files({STORE: content, WEIGHTS: (RUNS / WEIGHTS.name).read_bytes()})
    left = [f"{name}, seed {seed}" for name, seed in missing()]
    print(f"stored in {STORE.relative_to(ROOT)}" + (f", without {'; '.join(left)}" if left else ""))
    return 0


if __name__ == "__main__":
    sys.exit(main())
