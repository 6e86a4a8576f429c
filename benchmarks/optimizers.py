"""What chapter 10 compares: optimisers at many learning rates, then schedules and the average of the weights.

    .venv/bin/python benchmarks/optimizers.py

Trains the tree of chapter 5 with every optimiser at eight rates and eight seeds, 2,000 steps each,
and writes `data/results/optimizers.json` with commit, machine and date. Models that share an optimiser
train side by side. The test split is not looked at.
"""

import json
from dataclasses import asdict
from datetime import date

import torch

from common import names
from common.evaluate import RESULTS, mean_loss, smooth
from common.files import replace_file
from common.models import MODELS, count_parameters
from common.optim import averaged
from common.provenance import commit, machine
from common.train import Config, make_loop, seeded, train
from common.vocabulary import Vocabulary

MODEL, STEPS, BATCH, SEEDS, WINDOW = "hierarchical", 2_000, 32, range(8), 50
RATES = {
    "sgd": (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0),
    "momentum": (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0),
    "rmsprop": (0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3),
    "adam": (0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3),
    "adamw": (0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3),
}
WEIGHT_DECAY = 0.01
AVERAGE = 0.99
SCHEDULES = {  # of adamw, at its best rate and at ten times that
    "constant": {},
    "drop": {"schedule": "drop"},
    "linear": {"schedule": "linear"},
    "cosine": {"schedule": "cosine"},
    "cosine, warm-up": {"schedule": "cosine", "warmup": 200},
}


def config(optimizer: str, lr: float, **how) -> Config:
    how = {"schedule": "constant", "weight_decay": WEIGHT_DECAY * (optimizer == "adamw")} | how
    return Config(steps=STEPS, batch_size=BATCH, lr=lr, optimizer=optimizer, **how)


def trained(build, configs, data):
    """Models of every seed for every configuration, configuration by configuration, and their losses."""
    models, generators = seeded(build, [seed for _ in configs for seed in SEEDS])
    every = [c for c in configs for _ in SEEDS]
    return models, train(models, *data, generators, every)


def curve(losses: torch.Tensor) -> dict:
    """Mean and standard deviation over seeds of the losses (S, steps), averaged over WINDOW steps."""
    means = smooth(losses.double(), WINDOW)
    rounded = lambda values: [round(v, 4) for v in values.tolist()]  # noqa: E731
    return {"mean": rounded(means.mean(0)), "sd": rounded(means.std(0))}


def main() -> None:
    words = names.load(names.SHIPPED)
    vocabulary, splits = Vocabulary("".join(words)), names.split(words)
    recipe = MODELS[MODEL]
    data, val = (names.examples(part, vocabulary, recipe.block_size) for part in (splits.train, splits.val))
    report = {
        "model": MODEL, "parameters": count_parameters(recipe.build()), "steps": STEPS, "batch_size": BATCH,
        "seeds": list(SEEDS), "window": WINDOW, "weight_decay of adamw": WEIGHT_DECAY, "rates": {},
    }  # fmt: skip
    S = len(SEEDS)
    for optimizer, rates in RATES.items():
        models, losses = trained(recipe.build, [config(optimizer, lr) for lr in rates], data)
        report["rates"][optimizer] = {
            f"{lr:g}": {
                "val": [round(mean_loss(m, *val), 4) for m in models[i * S : (i + 1) * S]],
                "curve": curve(losses[i * S : (i + 1) * S]),
            }
            for i, lr in enumerate(rates)
        }
        print(optimizer, {lr: min(r["val"]) for lr, r in report["rates"][optimizer].items()}, flush=True)

    mean = lambda entry: sum(entry["val"]) / S  # noqa: E731
    adamw = report["rates"]["adamw"]
    best = float(min(adamw, key=lambda lr: mean(adamw[lr]) if mean(adamw[lr]) == mean(adamw[lr]) else 9.0))
    report["schedules"] = {"average": AVERAGE, "lr": best, "runs": {}}
    for lr in (best, 10 * best):
        for name, how in SCHEDULES.items():
            each = [config("adamw", lr, average=AVERAGE, **how)] * S
            models, generators = seeded(recipe.build, SEEDS)
            loop = make_loop(models, *data, generators, each)
            losses, states = loop.steps(0, STEPS), loop.states()
            loop.close()
            found = {"curve": curve(losses), "val": [], "val of the average": []}
            for model, state in zip(models, states, strict=True):
                plain = {k: t for k, t in state.items() if "@" not in k}
                for key, tensors in (
                    ("val", plain),
                    ("val of the average", averaged(state, AVERAGE, STEPS)),
                ):
                    found[key].append(round(mean_loss(model.load(tensors), *val), 4))
            report["schedules"]["runs"][f"{name} at {lr:g}"] = found
            print(lr, name, mean(found), sum(found["val of the average"]) / S, flush=True)

    report["provenance"] = {
        "command": "benchmarks/optimizers.py", "commit": commit(), "date": date.today().isoformat(),
        "machine": machine(torch.device("cpu")), "torch": torch.__version__.partition("+")[0],
        "names": names.SHIPPED.name, "config": asdict(config("adamw", best)),
    }  # fmt: skip
    text = json.dumps(report) + "\n"
    replace_file(RESULTS / "optimizers.json", lambda partial: partial.write_text(text, encoding="utf-8"))


if __name__ == "__main__":
    main()
