"""Train the controls of part one's challenge at an eighth of its size: data/results/controls.json.

    .venv/bin/python tools/controls.py [--only KEY ...]

Whole runs take hours. Here the names, the parameters of every network and the steps are divided by eight, so
that a network goes through its names as often as in the challenge, and has as many parameters a name. All
ways to train are given the same: three rates, and one beyond where the best of them is the first or the last,
tried with a seed that is not reported, the best by one half of the validation names; then three seeds,
measured on the other half. What is finished lies in runs/controls, a file a training, and is kept;
what is finished is stored. One thread; all of it takes about a quarter of an hour on an idle core.
"""

import argparse
import sys
from typing import Any, NamedTuple

import torch

from common.data import IGNORE_INDEX, Vocabulary, examples, load_names, split_names
from common.evaluate import token_losses
from common.models import MODELS, count_parameters, predictions
from common.nn import evaluating
from common.runs.files import read_json, write_json
from common.runs.provenance import ROOT, provenance
from common.train import Config, Examples, composed_steps

STORE, RUNS = ROOT / "data" / "results" / "controls.json", ROOT / "runs" / "controls"
DIVIDED_BY = 8
SEEDS, SEARCHED_BY = 3, 100
STEPS, BATCH_SIZE = 2_200 // DIVIDED_BY, 128  # eleven times through the names
TIMES = (0.5, 1.0, 2.0)  # what a rate is multiplied by in the search
ALIKE = {"optimizer": "muon", "schedule": "cosine", "betas": (0.9, 0.99), "weight_decay": 0.05}
TREE = {"n_embd": 8, "n_hidden": 42, "activation": "silu", "residual": True}
TEACHER = {"cell": "gru", "n_embd": 16, "n_hidden": 132, "dropout": 0.5, "input_dropout": 0.1}


class Arm(NamedTuple):
    """One way to train: a network, how often it goes through the names (times eleven), and what is changed.

    teachers: how many networks teach it. start: what is done to its first weights.
    """

    title: str
    model: str = "dilated"
    sizes: dict[str, Any] = TREE
    length: int = 2
    lr: float = 0.0125
    weight_decay: float = 0.05
    teachers: int = 0
    start: str = "usual"
    optimizer: str = "muon"


def recurrent(cell: str, n_hidden: int) -> dict[str, Any]:
    return {"cell": cell, "n_embd": 11, "n_hidden": n_hidden, "dropout": 0.1}


DROPOUT = TREE | {"dropout": 0.1}
ARMS = {
    "letters": Arm("letters"),
    "letters-half": Arm("letters, half as long", length=1),
    "three": Arm("three teachers", teachers=3),
    "one": Arm("one teacher", teachers=1),
    "decay-16": Arm("weight decay × 16", weight_decay=0.8),
    "start-large": Arm("last layer not made small", length=1, start="large last layer"),
    "three-dropout": Arm("three teachers, dropout 0.1", sizes=DROPOUT, teachers=3),
    "dropout-longer": Arm("dropout 0.1, twice as long", sizes=DROPOUT, length=4),
    "decay-64": Arm("weight decay × 64", weight_decay=3.2),
    "three-decay-16": Arm("three teachers, weight decay × 16", weight_decay=0.8, teachers=3),
    "more-dropout-longer": Arm("dropout 0.2, twice as long", sizes=TREE | {"dropout": 0.2}, length=4),
    "adamw": Arm("AdamW", length=1, lr=0.01, optimizer="adamw"),
    "start-zero": Arm("residual branches start at zero", length=1, start="zero branches"),
    "rnn": Arm("RNN, 78 units", "recurrent", recurrent("rnn", 78), 1, 0.007),
    "lstm": Arm("LSTM, 39 units", "recurrent", recurrent("lstm", 39), 1, 0.007),
    "gru": Arm("GRU, 45 units", "recurrent", recurrent("gru", 45), 1, 0.007),
}


class Names(NamedTuple):
    """What everything is trained and measured on."""

    vocabulary: Vocabulary
    train: tuple[torch.Tensor, torch.Tensor]
    val: tuple[torch.Tensor, torch.Tensor]
    lengths: torch.Tensor  # predictions of each validation name
    choosing: torch.Tensor  # whether a validation name is of the half that chooses


def load() -> Names:
    splits = split_names(load_names())
    vocabulary = Vocabulary("".join(load_names()))
    some = splits.train[: len(splits.train) // DIVIDED_BY]
    lengths = torch.tensor([len(name) + 1 for name in splits.val])
    choosing = torch.arange(len(splits.val)) % 2 == 0
    train, val = (examples(part, vocabulary, None) for part in (some, splits.val))
    return Names(vocabulary, train, val, lengths, choosing)


def started(model: Any, start: str) -> Any:
    """A network with its first weights, as an arm wants them."""
    if start == "large last layer":  # common.models.mlp.output_layer made it ten times as small
        model.output.weight = model.output.weight * 10
    elif start == "zero branches":
        levels = [part for name, part in model.named_children() if name.startswith("level")]
        for level in levels:
            level.norm.weight = torch.zeros_like(level.norm.weight)
    return model


def trained(model: str, sizes: dict[str, Any], config: Config, names: Names, seed: int,
            soft: torch.Tensor | None = None, start: str = "usual") -> Any:  # fmt: skip
    g = torch.Generator().manual_seed(seed)
    network = started(MODELS[model].build(len(names.vocabulary), **sizes, generator=g), start)
    composed_steps(network, Examples(*names.train, soft), g, config, 0, config.steps)
    return network


def sums(model: Any, names: Names) -> torch.Tensor:
    """The sum of the losses of each validation name."""
    owner = torch.arange(len(names.lengths)).repeat_interleave(names.lengths)
    losses = token_losses(model, *names.val).double()
    return torch.zeros(len(names.lengths), dtype=torch.double).index_add(0, owner, losses)


def halves(of_names: torch.Tensor, names: Names) -> dict[str, float]:
    """The mean loss on the half that chooses, and on the other."""
    return {
        key: (of_names[some].sum() / names.lengths[some].sum()).item()
        for key, some in (("chosen_by", names.choosing), ("val", ~names.choosing))
    }


def probabilities(model: Any, names: Names) -> torch.Tensor:
    """What a teacher expects at every place of the training names, (N, T, V)."""
    x, y = names.train
    soft = torch.zeros((*y.shape, len(names.vocabulary)))
    with evaluating(model):
        logits, _ = predictions(model, x, y)
    soft[y != IGNORE_INDEX] = torch.softmax(logits, dim=-1)
    return soft


def teach(names: Names) -> tuple[list[torch.Tensor], dict[str, Any]]:
    """The probabilities of three teachers, trained as the challenge trains them, and what they came to."""
    softs, about = RUNS / "teachers.pt", RUNS / "teachers.json"
    if about.exists():
        return torch.load(softs), read_json(about)
    config = Config(2_000 // DIVIDED_BY, 256, lr=0.005, warmup=100 // DIVIDED_BY, **ALIKE)
    models = [trained("recurrent", TEACHER, config, names, seed) for seed in range(3)]
    runs = [{"seed": seed} | halves(sums(model, names), names) for seed, model in enumerate(models)]
    entry = {"parameters": count_parameters(models[0]), "sizes": TEACHER, "steps": config.steps, "runs": runs}
    RUNS.mkdir(parents=True, exist_ok=True)
    made = [probabilities(model, names) for model in models]
    torch.save(made, softs)
    write_json(about, entry)
    return made, entry


def train(arm: Arm, times: float, seed: int, names: Names, soft: torch.Tensor | None) -> dict[str, Any]:
    """One training of an arm, with its rate multiplied."""
    changed = ALIKE | {"weight_decay": arm.weight_decay, "optimizer": arm.optimizer}
    steps = STEPS * arm.length
    config = Config(
        steps, BATCH_SIZE, lr=arm.lr * times, warmup=steps // 20, distill=float(soft is not None), **changed
    )
    model = trained(arm.model, arm.sizes, config, names, seed, soft, arm.start)
    of_names = sums(model, names)
    found = {"seed": seed, "lr": config.lr, "steps": steps, "parameters": count_parameters(model)}
    found["train"] = token_losses(model, *names.train).double().mean().item()
    return found | halves(of_names, names) | {"of_names": [round(one, 5) for one in of_names.tolist()]}


def kept(key: str, times: float, seed: int, names: Names, soft: torch.Tensor | None) -> dict[str, Any]:
    """A training's results, from its file where it was finished before."""
    path = RUNS / key / f"{times:g}-{seed}.json"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, train(ARMS[key], times, seed, names, soft))
    return read_json(path)


def best_of(tried: dict[float, dict[str, Any]]) -> float:
    """What the rate is multiplied by where the half of the names that chooses has the lowest loss."""
    return min(tried, key=lambda times: tried[times]["chosen_by"])


def error_of(sums: torch.Tensor, lengths: torch.Tensor) -> float:
    """The standard error of a mean loss a character, for the choice of names."""
    off = sums - sums.sum() / lengths.sum() * lengths
    return (off.std() * len(off) ** 0.5 / lengths.sum()).item()


def collected(names: Names, teachers: dict[str, Any], found: dict[str, tuple[list, list]]) -> dict[str, Any]:
    """What was found here, and of what is stored the other arms, with their own provenance."""
    stored = read_json(STORE) if STORE.exists() else {}
    kept = {key: arm for key, arm in stored.get("arms", {}).items() if key not in found}
    here = provenance(torch.device("cpu"))
    mean = {
        key: torch.tensor([run["of_names"] for run in runs], dtype=torch.double).mean(0)[~names.choosing]
        for key, (_, runs) in found.items()
    }
    lengths, arms = names.lengths[~names.choosing], {}
    for key, (tried, runs) in found.items():
        arm = ARMS[key]
        arms[key] = {
            "title": arm.title, "model": arm.model, "sizes": arm.sizes, "weight_decay": arm.weight_decay,
            "teachers": arm.teachers, "start": arm.start, "optimizer": arm.optimizer,
            "lr": runs[0]["lr"], "steps": runs[0]["steps"], "parameters": runs[0]["parameters"],
            "search": {f"{run['lr']:g}": run["chosen_by"] for run in tried},
            "runs": [{k: run[k] for k in ("seed", "train", "val")} for run in runs],
            "against": {
                other: {
                    "difference": ((mean[key] - mean[other]).sum() / lengths.sum()).item(),
                    "error": error_of(mean[key] - mean[other], lengths),
                }
                for other in ("letters", "letters-half", "three") if other in mean and other != key
            },
            **({"provenance": here} if kept else {}),
        }  # fmt: skip
    x, _ = names.train
    return {
        "made_by": "tools/controls.py",
        "measure": {
            "name": "loss", "unit": "nats", "per": "character", "better": "lower", "digits": 3},
        "names": {"train": len(x), "divided_by": DIVIDED_BY, "chosen_by": int(names.choosing.sum()),
                  "val": int((~names.choosing).sum())},
        "training": {"batch_size": BATCH_SIZE, **ALIKE},
        "search": {"times": list(TIMES), "seed": SEARCHED_BY},
        "provenance": stored["provenance"] if kept else here,
        "teachers": stored["teachers"] if kept else teachers,
        "arms": {key: kept.get(key) or arms[key] for key in ARMS if key in kept or key in arms},
    }  # fmt: skip


def finished(key: str) -> bool:
    """Whether an arm has been searched and trained."""
    return len(list((RUNS / key).glob("*.json"))) >= len(TIMES) + SEEDS


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--only", nargs="+", metavar="KEY", choices=ARMS, default=list(ARMS))
    wanted = parser.parse_args(arguments).only
    stored = read_json(STORE)["arms"] if STORE.exists() else {}
    elsewhere = [key for key in stored if key not in wanted and not finished(key)]
    if clash := [key for key in wanted if elsewhere and (key in stored or ARMS[key].teachers)]:
        parser.error(
            f"expected arms that are not stored, and have no teachers, where {RUNS} lacks the runs of "
            f"{', '.join(elsewhere)}: they could not be compared; got {', '.join(clash)}"
        )
    torch.set_num_threads(1)
    names, found = load(), {}
    taught = any(ARMS[key].teachers for key in ARMS if key in wanted or finished(key))
    softs, teachers = teach(names) if taught else ([], {})
    for key in ARMS:
        if key not in wanted and not finished(key):
            continue
        arm = ARMS[key]
        soft = torch.stack(softs[: arm.teachers]).mean(0) if arm.teachers else None
        tried = {times: kept(key, times, SEARCHED_BY, names, soft) for times in TIMES}
        best = best_of(tried)
        if best in (min(tried), max(tried)):  # there may be a better one beyond
            beyond = best / 2 if best == min(tried) else best * 2
            tried[beyond] = kept(key, beyond, SEARCHED_BY, names, soft)
            best = best_of(tried)
        runs = [kept(key, best, seed, names, soft) for seed in range(SEEDS)]
        found[key] = [tried[times] for times in sorted(tried)], runs
        print(key, best, [round(run["val"], 4) for run in runs], flush=True)
    write_json(STORE, collected(names, teachers, found))
    print(f"stored in {STORE.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
