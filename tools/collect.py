"""What is stored of finished runs: the parts that a plan names, in the layout of its file."""

import io
import json
import math
from collections.abc import Callable
from functools import cached_property, partial
from pathlib import Path
from tempfile import TemporaryDirectory

import matplotlib.pyplot as plt
import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file

from common.data import distinct_names, split_names
from common.evaluate import loss_by_position, smooth, spread, token_losses
from common.models import MODELS, PRETRAINED, predictions
from common.pages import plots
from common.pages.results import LECTURE, RESULTS
from common.runs.files import read_json
from common.runs.folder import export_model, load_model
from common.runs.lists import load_list
from common.runs.provenance import ROOT, provenance
from common.runs.tasks import TaskData
from common.sampling import sample

CURVE_POINTS = 200
WINDOW = 50  # steps, of the curves of chapter 11


class Trained:
    """The finished runs of an entry. ValueError where a loss is missing or no number."""

    def __init__(self, entry: dict, jobs: list):
        self.entry, self.jobs = entry, jobs
        self.reports = [read_json(job.folder / "results.json") for job in jobs]
        self.report = self.reports[0]
        self.runs = [run for report in self.reports for run in report["runs"]]
        for job, report in zip(jobs, self.reports, strict=True):
            for run, split in ((run, split) for run in report["runs"] for split in job.splits):
                if not math.isfinite(run.get(split, math.nan)):
                    raise ValueError(
                        f"{job.folder}: expected a finite {split} loss of seed {run['seed']}, got "
                        f"{run.get(split)}"
                    )

    @cached_property
    def models(self) -> list:
        return [load_model(job.folder, seed) for job in self.jobs for seed in job.run.seeds]

    @cached_property
    def data(self) -> TaskData:
        return self.jobs[0].run.load(torch.device("cpu"))

    @cached_property
    def histories(self) -> torch.Tensor:
        """The losses (S, steps) of all batches."""
        found = []
        for path in (job.folder / "history.safetensors" for job in self.jobs):
            try:
                found.append(load_file(path)["losses"].double())
            except (OSError, SafetensorError, KeyError) as error:
                raise ValueError(f"{path}: no losses of a run ({error})") from None
        return torch.cat(found)

    def by_position(self) -> list[torch.Tensor]:
        """The validation loss (P,) of every prediction, a model."""
        return [token_losses(model, *self.data.splits["val"]) for model in self.models]


# ---- the parts -------------------------------------------------------------------


def rounded(values) -> list[float]:
    return [round(value, 4) for value in values]


def curve(losses: torch.Tensor, window: int) -> dict:
    """Mean and standard deviation over S seeds of losses (S, steps), averaged over stretches of steps."""
    spreads = [spread(values) for values in smooth(losses, window).T.tolist()]
    sd = rounded(s.sd for s in spreads) if len(losses) > 1 else None
    return {"mean": rounded(s.mean for s in spreads), "sd": sd}


def training_curve(trained: Trained) -> dict:
    window = max(1, trained.histories.shape[1] // CURVE_POINTS)
    return {"window": window} | curve(trained.histories, window)


def val_words(trained: Trained) -> list[str]:
    run = trained.jobs[0].run
    names = load_list(run.data, run.alphabet)
    return split_names(distinct_names(names) if run.distinct else names).val


def mean_by_position(trained: Trained) -> list[float]:
    losses = torch.stack(trained.by_position()).mean(0)
    return rounded(loss_by_position(losses, val_words(trained)))


def each_by_position(trained: Trained) -> list[list[float]]:
    words = val_words(trained)
    return [rounded(loss_by_position(losses, words)) for losses in trained.by_position()]


def samples(trained: Trained) -> list[str]:
    chance, block_size = torch.Generator().manual_seed(1), MODELS[trained.entry["model"]].block_size
    return sample(trained.models[0], trained.data.vocabulary, block_size, 20, generator=chance)


def looks(trained: Trained) -> dict | None:
    """The validation loss in the course of the training, where it was looked at."""
    if "curve" not in trained.report:
        return None
    values = [report["curve"]["val"] for report in trained.reports]
    return {"steps": trained.report["curve"]["steps"], "val": values}


def together(trained: Trained, split: str = "val") -> dict:
    """The loss of the mean of all models' probabilities, in nats."""
    return {split: losses_of(trained.models, *trained.data.splits[split])[1]}


def losses_of(models: list, x: torch.Tensor, y: torch.Tensor) -> tuple[list[float], float]:
    """Each model's mean loss, and the loss of the mean of their probabilities, in nats."""
    each, mean = [], 0
    with torch.no_grad():
        for model in models:
            parts = [predictions(model, *rows) for rows in zip(x.split(1_024), y.split(1_024), strict=True)]
            wanted = torch.cat([part for _, part in parts])
            logits = torch.cat([part for part, _ in parts])
            each.append(F.cross_entropy(logits, wanted).item())
            mean = mean + torch.softmax(logits, dim=-1) / len(models)
        return each, F.nll_loss(mean.log(), wanted).item()


def arguments(entry: dict) -> list[str]:
    """The arguments of `python -m common train` that describe the run of an entry."""
    written = partial(json.dumps, separators=(",", ":"))
    plain = lambda value: value if isinstance(value, str) else written(value)  # noqa: E731
    found = ["--model", entry["model"]]
    found += ["--set"] * bool(entry["sizes"]) + [f"{k}={plain(v)}" for k, v in entry["sizes"].items()]
    for name, value in entry["config"].items():
        several = value if isinstance(value, list) else [value]
        found += ["--" + name.replace("_", "-"), *map(str, several)]
    return found + ["--evaluate-every", str(entry["evaluate_every"])] * bool(entry["evaluate_every"])


PARTS: dict[str, tuple[str, Callable]] = {
    "losses": ("runs", lambda trained: trained.runs),
    "training curve": ("training_curve", training_curve),
    "looks": ("curve", looks),
    "by position": ("val_by_position", mean_by_position),
    "by position, each seed": ("val_by_position", each_by_position),
    "samples": ("samples", samples),
    "together": ("together", together),
    "arguments": ("arguments", lambda trained: arguments(trained.entry)),
}  # any other is taken from the entry or from the runs' results as it stands there


def parts(trained: Trained, wanted: list[str], final: bool) -> dict:
    """What is stored of an entry. The test split is opened where `final` and the entry say so."""
    stored = {}
    for name in wanted:
        key, made = PARTS.get(name, (name, lambda t, name=name: t.entry.get(name, t.report.get(name))))
        stored[key] = made(trained)
    if final and trained.entry.get("final"):
        each, stored["together"]["test"] = losses_of(trained.models, *trained.data.splits["test"])
        stored["runs"] = [run | {"test": loss} for run, loss in zip(trained.runs, each, strict=True)]
    return {key: value for key, value in stored.items() if value is not None}


# ---- the layouts -----------------------------------------------------------------


def by_key(group: str, plan: dict, trained: dict[str, Trained], found: dict, before: dict) -> dict:
    """Entries under one name, and what they all share: the list, the training and the vocabulary.

    before: what is stored; the entries of it that were not trained now are kept.
    """
    reports = {key: each.report for key, each in trained.items()}
    shared = {name: next(iter(reports.values()))[name] for name in ("names", "training", "vocabulary")}
    kept = {key: entry for key, entry in before.get(group, {}).items() if key not in found}
    for key, other in (reports | dict.fromkeys(kept, before)).items():
        if any(other[name] != shared[name] for name in shared):
            raise ValueError(f"{key}: expected the list and the training of the other entries, {shared}")
    return shared | {group: {key: (kept | found)[key] for key in plan["entries"] if key in kept | found}}


def by_list(name: str, found: dict[str, dict], before: dict) -> dict:
    """Entries of one list after another. Test losses that were opened stay so; the rest is kept."""
    kept = before.get(name, {})
    opened = {key: with_what_was_opened(entry, kept.get(key, {})) for key, entry in found.items()}
    return before | {name: kept | opened}


def with_what_was_opened(one: dict, before: dict) -> dict:
    """An entry with the test losses that are stored of the very same runs."""
    closed = [{name: v for name, v in run.items() if name != "test"} for run in before.get("runs", [])]
    if one["runs"] != closed:
        return one
    return one | {"runs": before["runs"], "together": before["together"]}


def optimizers(plan: dict, trained: dict[str, Trained]) -> dict:
    """Chapter 11: optimisers at many rates; schedules, with and without the average of the weights."""
    one = next(iter(trained.values()))
    training, rates, schedules = one.entry["config"], {}, {}
    for key, each in trained.items():
        config, val = each.entry["config"], rounded(run["val"] for run in each.runs)
        if each.entry["group"] == "rates":
            one_rate = {"val": val, "curve": curve(each.histories, WINDOW)}
            rates.setdefault(config["optimizer"], {})[f"{config['lr']:g}"] = one_rate
        elif "ema_decay" not in config:
            schedules[key] = {"curve": curve(each.histories, WINDOW), "val": val}
        else:
            schedules[each.entry["of"]]["val of the average"] = val
            average = config["ema_decay"]
    config = trained[next(iter(schedules))].report["training"]
    about = provenance(torch.device("cpu")) | {"names": one.jobs[0].run.data.name, "config": config}
    about.pop("device")
    return {
        "model": one.entry["model"], "parameters": one.runs[0]["parameters"], "steps": training["steps"],
        "batch_size": training["batch_size"], "seeds": one.entry["seeds"], "window": WINDOW,
        "weight_decay of adamw": config["weight_decay"], "rates": rates,
        "schedules": {"average": average, "lr": config["lr"], "runs": schedules},
        "provenance": {"command": plan["command"], **about},
    }  # fmt: skip


def searched(plan: dict, trained: dict[str, Trained], folder: Path) -> dict:
    """Chapter 12: all trials of a sweep, the best of them again with other seeds, and what was before."""
    [searched_as] = [key for key, entry in plan["entries"].items() if "space" in entry]
    report = read_json(folder / searched_as / "trials.json")
    for trial in report["trials"]:
        trial["curve"] = [[step, v if v is None else round(v, 4)] for step, v in trial["curve"]]
        trial["value"] = trial["value"] if trial["value"] is None else round(trial["value"], 4)
        for key in ("runs", "provenance"):
            trial.pop(key, None)
    values = {trial["number"]: trial["value"] for trial in report["trials"]}

    def again(each: Trained) -> dict:
        looked = [rounded(values) for values in each.report["curve"]["val"]]
        return {
            "runs": [{"seed": run["seed"], "val": round(run["val"], 4)} for run in each.runs],
            "curve": {"steps": each.report["curve"]["steps"], "val": looked},
        }

    best = [each for each in trained.values() if "trial" in each.entry]
    numbers = [each.entry["trial"] for each in best]
    report["again"] = {
        "seeds": best[0].entry["seeds"],
        "runs": [
            {"number": n, "value": values[n], **again(each)} for n, each in zip(numbers, best, strict=True)
        ],
        "default": again(trained["before"]),
    }
    about = {"command": plan["command"], "script": "tools/experiments.py"}
    report["provenance"] = about | provenance(torch.device("cpu"))
    return report


# ---- the files -------------------------------------------------------------------


def files(plan: dict, trained: dict[str, Trained], options, folder: Path) -> tuple[dict, dict]:
    """What comes of finished runs: the files with their contents, and the results among them by name.

    folder: of all the plan's runs. Besides the results these are, for the shipped list, the weights of
    the entries that are marked "publish", and the picture of the road. Nothing is written here.
    """
    layout, found = plan["layout"], {}
    name = options.list if layout == "models" else options.plan
    path = RESULTS / f"{name}.json"
    before = read_json(path) if path.exists() else {}
    if layout in ("optimizers", "sweep"):  # their figures belong together
        if options.only:
            return {}, {}
        stored = optimizers(plan, trained) if layout == "optimizers" else searched(plan, trained, folder)
        text = json.dumps(stored, allow_nan=False)
    else:
        found = {key: parts(each, plan["collect"], options.final) for key, each in trained.items()}
        if layout == "lists":
            stored = by_list(options.list, found, before)
        else:
            stored = by_key(layout, plan, trained, found, before)
        text = json.dumps(stored, indent=1, ensure_ascii=False, allow_nan=False)
    made = {path: (text + "\n").encode()}
    if options.list == "shipped":
        for key, each in trained.items():
            if each.entry.get("publish") and (options.final or not each.entry.get("final")):
                made[PRETRAINED / f"{key}.safetensors"] = weights(each)
        if layout == "models":
            made[ROOT / "book" / "images" / "road.png"] = picture(stored)
    return made, {name: stored}


def weights(trained: Trained) -> bytes:
    """The model of the first seed, as `export_model` writes it."""
    with TemporaryDirectory() as folder:
        path, job = Path(folder) / "model", trained.jobs[0]
        export_model(job.folder, job.run.seeds[0], path)
        return path.read_bytes()


def picture(stored: dict) -> bytes:
    """How the validation loss goes down from chapter to chapter, as a PNG."""
    plots.use_style()
    drawn, (figure, ax) = io.BytesIO(), plt.subplots(figsize=(6.4, 3.4))
    labels = [MODELS[key].title.replace(", ", ",\n") for key in stored["models"]]
    losses = [spread(run["val"] for run in entry["runs"]) for entry in stored["models"].values()]
    models = list(stored["models"])
    plots.road(ax, labels, losses, [LECTURE[key][1] for key in models], models)
    ax.tick_params(axis="x", labelsize=9)
    figure.savefig(drawn, format="png", dpi=200)
    plt.close(figure)
    return drawn.getvalue()
