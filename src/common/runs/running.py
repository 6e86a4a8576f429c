"""One run: what was asked for as a frozen dataclass, what came out as a folder. Introduced in chapter 12.

`run` is what the command line, a trial of a sweep and a notebook have in common. What a folder holds stands
in `folder`.
"""

import copy
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from string import ascii_lowercase
from typing import Any

import torch
from torch import Generator, Tensor

from ..data import IGNORE_INDEX, SHIPPED_NAMES
from ..data.names import path_in_use
from ..evaluate import spread
from ..models import count_parameters, longest_name, predictions, tagged
from ..nn import Dropout, Module, evaluating
from ..train import Config, first_line
from .files import plain
from .folder import claimed, load_model, looks, read_results, save_results, teachers_of_folder
from .provenance import provenance
from .sizes import build_model, checked_sizes
from .tasks import SPLITS, TASKS, TaskData, digest
from .training import Diverged, EvaluationCallback, check_steps, diverged_models, train

RECIPES = tagged("trainable")


@dataclass(frozen=True)
class Run:
    """What is trained, on what, and how.

    ValueError for a model or a size that is not there, a value that is not of its size's kind (see
    `sizes.checked_sizes`), a warm-up longer than the training, a task that is none, and seeds that torch's
    generators do not take, or that are the same twice.

    sizes: of the model, those that differ from its recipe's; a dict will do.
    data: the task's file, where it reads one; None is the list of names in use, or the corpus of reviews.
    alphabet: None takes whatever the list holds.
    options: of the task, such as the delay of recall, those that differ from its own; a dict will do.
    teachers: folders of finished runs on the same data; the mean of all their models' probabilities
        takes part in the loss, as ``config.distill`` says.
    """

    model: str
    config: Config = Config()
    sizes: Mapping[str, object] | tuple[tuple[str, object], ...] = ()
    seeds: Sequence[int] = (0,)
    data: Path | None = None
    alphabet: str | None = ascii_lowercase
    distinct: bool = False
    teachers: tuple[Path, ...] = ()
    task: str = "names"
    options: Mapping[str, int] | tuple[tuple[str, int], ...] = ()

    def __post_init__(self) -> None:
        if self.model not in RECIPES:
            raise ValueError(f"expected a model among {list(RECIPES)}, got {self.model!r}")
        if self.task not in TASKS:
            raise ValueError(f"expected a task among {list(TASKS)}, got {self.task!r}")
        sizes = checked_sizes(RECIPES[self.model], dict(self.sizes))
        if not isinstance(self.config, Config):
            raise ValueError(f"expected config to be a Config, got {self.config!r}")
        if self.config.warmup > self.config.steps:
            most = f"at most {self.config.steps:,} steps of warmup, as many as there are"
            raise ValueError(f"expected {most}, got {self.config.warmup:,}")
        if isinstance(self.teachers, str | Path):
            raise ValueError(f"expected teachers one by one, such as (folder,), got {str(self.teachers)!r}")
        task = TASKS[self.task]
        options = task.checked(dict(self.options))
        object.__setattr__(self, "options", tuple(sorted(options.items())))
        if self.model not in task.models():
            raise ValueError(f"expected for {self.task} a model among {task.models()}, got {self.model!r}")
        if task.reads == "names":
            object.__setattr__(self, "data", Path(self.data or path_in_use()))
        elif self.distinct or self.alphabet != ascii_lowercase or (self.data is not None and not task.reads):
            wanted, why = ("", "reads texts") if task.reads else ("no file, ", "draws its data")
            raise ValueError(f"expected {wanted}no alphabet and no --distinct: {self.task} {why}")
        elif self.data is not None:
            object.__setattr__(self, "data", Path(self.data))
        object.__setattr__(self, "sizes", tuple(sorted(sizes.items())))
        object.__setattr__(self, "seeds", checked_seeds(self.seeds))
        object.__setattr__(self, "teachers", tuple(map(Path, self.teachers)))

    def to_json(self) -> dict[str, Any]:
        """What `from_json` reads: the file by its path, and null for the shipped one, wherever that is."""
        path = self.data and self.data.resolve()
        return {
            "model": self.model, "sizes": plain(dict(self.sizes)), "training": plain(asdict(self.config)),
            "seeds": list(self.seeds), "data": None if path in (None, SHIPPED_NAMES) else str(path),
            "alphabet": self.alphabet, "distinct": self.distinct,
            "teachers": [str(folder.resolve()) for folder in self.teachers],
            **({} if self.task == "names" else {"task": self.task}),
            **({"options": dict(self.options)} if self.options else {}),
        }  # fmt: skip

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> "Run":
        """The inverse of `to_json`."""
        value = dict(value)
        path, reads = value.pop("data"), TASKS[value.get("task", "names")].reads
        path = path or (SHIPPED_NAMES if reads == "names" else None)
        return cls(config=Config(**value.pop("training")), data=path and Path(path), **value)

    def digest(self) -> str:
        """The SHA-256 of the file's content; empty where there is none."""
        return digest(self.data) if self.data else ""

    def changed(self, **values: Any) -> "Run":
        """This run with other values: fields of `Config` by their names, sizes as ``model.NAME``."""
        sizes = {name.removeprefix("model."): v for name, v in values.items() if name.startswith("model.")}
        fields = {name: v for name, v in values.items() if not name.startswith("model.")}
        unknown = sorted(set(fields) - set(asdict(self.config)))
        if unknown:
            raise ValueError(f"expected fields of Config or sizes as model.NAME, got {', '.join(unknown)}")
        return replace(self, config=replace(self.config, **fields), sizes=dict(self.sizes) | sizes)

    def build(self, vocab_size: int, generator: Generator | None = None, classes: int = 0) -> Module:
        """The model, with weights drawn by the generator. classes: as `sizes.build_model` takes them."""
        return build_model(RECIPES[self.model], vocab_size, dict(self.sizes), generator, classes)

    def load(self, device: torch.device) -> TaskData:
        """The task's data, checked, split and on the device."""
        task, options = TASKS[self.task], dict(self.options)
        if task.reads == "names":
            block_size = RECIPES[self.model].block_size
            return task.load(self.data, self.alphabet, self.distinct, block_size, device, **options)
        return task.load(self.data, device, **options) if task.reads else task.load(device, **options)


def checked_seeds(seeds: Any) -> tuple[int, ...]:
    """Seeds as torch's generators take them. ValueError for others, and for the same twice."""
    if isinstance(seeds, int):
        raise ValueError(f"expected seeds one by one, such as (0,) or range(3), got {seeds}")
    if not seeds:
        raise ValueError("expected at least 1 seed, got 0")
    seeds = tuple(seeds)
    for seed in seeds:
        if not isinstance(seed, int) or isinstance(seed, bool) or not 0 <= seed < 2**64:
            raise ValueError(f"expected seeds from 0 to 2**64 - 1, got {seed!r}")
    if len(set(seeds)) < len(seeds):
        raise ValueError(f"expected seeds that differ, got {list(seeds)}")
    return seeds


class Impossible(ValueError):
    """A run that cannot be trained, as is found out before it claims its folder."""


def settings(what: Run, data: TaskData) -> dict[str, Any]:
    """What a folder's ``config.json`` holds."""
    return {
        "model": what.model,
        "sizes": plain(dict(what.sizes)),
        "seeds": list(what.seeds),
        "training": plain(asdict(what.config)),
        **data.about,
        **({} if what.task == "names" else {"task": what.task}),
        **({"teachers": teachers_of(what)} if what.teachers else {}),
    }


# ---- teachers --------------------------------------------------------------------


def teachers_of(what: Run) -> list[dict[str, Any]]:
    """Who teaches: the folders' names, and a digest of each model."""
    return [teachers_of_folder(folder) for folder in what.teachers]


def teacher_reports(what: Run, data: TaskData) -> list[dict[str, Any]]:
    """The results of a run's teachers.

    ValueError for one that was trained on another list, or reads its names in another form.
    """
    reports, block_size = [], RECIPES[what.model].block_size
    for folder in what.teachers:
        reports.append(read_results(folder))
        if (model := reports[-1].get("model")) not in list(RECIPES):
            raise ValueError(f"{folder / 'results.json'}: names no model; expected one of {list(RECIPES)}")
        if RECIPES[model].block_size != block_size:
            form = "whole names" if block_size is None else f"windows of {block_size} characters"
            raise ValueError(
                f"{folder}: expected a teacher that reads {form}, as {what.model} does, got {model}"
            )
        for key, wanted in data.about.items():
            if reports[-1].get(key) != wanted:
                told = f"the {key} {wanted}, got {reports[-1].get(key)}"
                if len(told) > 1_000:  # as words of a vocabulary
                    told = f"the {key} of this run's data, got another"
                raise ValueError(f"{folder}: expected a teacher with {told}")
    return reports


def soft_targets(what: Run, data: TaskData) -> Tensor | None:
    """The teachers' probabilities for every target of the training split, the mean over all their models.

    ValueError for a teacher that does not fit; see `teacher_reports`.
    """
    if not what.teachers:
        return None
    x, y = data.splits["train"]
    soft, count = torch.zeros((*y.shape, data.outputs), device=y.device), 0
    for folder, report in zip(what.teachers, teacher_reports(what, data), strict=True):
        for seed in report["seeds"]:
            with evaluating(load_model(folder, seed).to(y.device)) as model:
                for rows in torch.arange(len(x)).split(1_024):
                    logits, _ = predictions(model, x[rows], y[rows])
                    part = soft[rows]
                    part[y[rows] != IGNORE_INDEX] += torch.softmax(logits, dim=-1)
                    soft[rows] = part
            count += 1
    return soft / count


# ---- running ---------------------------------------------------------------------


def run(
    what: Run,
    folder: str | Path,
    *,
    device: torch.device | str = "cpu",
    compile: bool = True,
    workers: int | None = None,
    evaluate_every: int = 0,
    report: Callable[[int, float], None] | None = None,
    splits: Sequence[str] = SPLITS,
    checkpoint_every: int = 10_000,
) -> dict[str, Any]:
    """Train a run into its folder, or go on where it was interrupted; returns what ``results.json`` holds.

    Where that is there already, nothing is trained, and nothing is written but the losses on a split that it
    lacks, of the stored models.

    evaluate_every: steps between two looks at the validation loss (0: none).
    report: called after each look, as report(step, mean over the seeds); it may raise to stop the run. It
        hears of a loss that is NaN as well, and decides. Without it such a run ends with Diverged.
    splits: what the trained models are measured on. A search leaves the test split out.
    compile, workers: as in `training.train`.

    ValueError where the folder holds another run, or one that was looked at at other steps, and where
    another command is at work in it; OSError with the file's name where a disk is full. Impossible, a
    ValueError, for a run that cannot be trained, before it claims the folder. A run that diverged leaves no
    results: the same command finds so again.
    """
    folder, device = Path(folder), torch.device(device)
    if unknown := [split for split in splits if split not in SPLITS]:
        raise ValueError(f"expected splits among {list(SPLITS)}, got {unknown}")
    check_steps("checkpoint_every", checkpoint_every)
    data = what.load(device)
    asked = settings(what, data)
    try:
        generators = [torch.Generator().manual_seed(seed) for seed in what.seeds]
        models = [
            what.build(len(data.vocabulary), generator, len(data.labels)).to(device)
            for generator in generators
        ]
        _check_fit(what, data, models[0])
    except ValueError as error:
        raise Impossible(error) from None
    soft, evaluation = soft_targets(what, data), None
    examples = data.to_train_on(soft)
    if evaluate_every:
        evaluation = EvaluationCallback(
            evaluate_every,
            lambda models: [data.metric(model, "val") for model in models],
            lambda step, values: report(step, statistics.fmean(values)) if report else None,
        )
    with claimed(folder, asked, looks(evaluate_every, what.config.steps)) as results:
        missing = [split for split in splits if not results or split not in results["mean"]]
        history: dict[str, Tensor] = {}
        if results:  # finished before
            if evaluation:
                for told in zip(results["curve"]["steps"], results["curve"]["val"], strict=True):
                    evaluation.report(*told)
            if missing:
                models = [load_model(folder, seed).to(device) for seed in what.seeds]
        else:
            began = time.perf_counter()
            history["losses"] = train(
                models, examples, generators, what.config, compile=compile, workers=workers,
                evaluation=evaluation, finite=report is None, checkpoint=folder / "checkpoint.pt",
                checkpoint_every=checkpoint_every, progress=what.model, labels=what.seeds,
            )  # fmt: skip
            seconds = round(time.perf_counter() - began, 1)
            runs = [
                {"seed": seed, "parameters": count_parameters(model)}
                for seed, model in zip(what.seeds, models, strict=True)
            ]
            results = asked | {"runs": runs, "mean": {}, "sd": None}
            results["provenance"] = provenance(device) | {"seconds_of_last_start": seconds}
            if evaluation:
                results["curve"] = {"steps": evaluation.steps, "val": evaluation.values}
                history["val_steps"] = torch.tensor(evaluation.steps)
                history["val"] = torch.tensor(evaluation.values).T
        if missing:
            for one, model in zip(results["runs"], models, strict=True):
                one |= {split: data.metric(model, split) for split in missing}
            spreads = {
                s: spread(one[s] for one in results["runs"]) for s in SPLITS if s in results["runs"][0]
            }
            results["mean"] = {split: value.mean for split, value in spreads.items()}
            results["sd"] = {s: value.sd for s, value in spreads.items()} if len(what.seeds) > 1 else None
            losses = [[one[split] for split in missing] for one in results["runs"]]
            if diverged := diverged_models(models, losses):
                if report is None:
                    raise Diverged(what.config.steps, diverged, what.seeds)
                return results  # who was told decides; in the folder it would look finished
            save_results(folder, results, history, dict(zip(what.seeds, models, strict=True)))
    return results


def _check_fit(what: Run, data: TaskData, model: Module) -> None:
    """ValueError for a run that could not be trained to its end: its longest name, batch, teachers."""
    most, steps = longest_name(model), data.splits["train"][0].shape[1]
    if most is not None and not data.longest and steps > most + 1:
        raise ValueError(
            f"sequences of {what.task} have {steps} steps, and this {what.model} takes at most {most + 1}; "
            f"make it longer with --set length={steps}, or take another model"
        )
    if most is not None and len(data.longest) > most:
        raise ValueError(
            f"{what.data}: {data.longest!r} has {len(data.longest)} characters, and this {what.model} takes "
            f"at most {most}; make it longer with --set length={len(data.longest) + 1}, or take another model"
        )
    if bool(what.teachers) != (what.config.distill > 0):
        raise ValueError(
            f"expected --teacher and --distill together, got {len(what.teachers)} teachers and distill = "
            f"{what.config.distill:g}"
        )
    (x, y), model = data.splits["train"], copy.deepcopy(model).train()
    for layer in model.modules():
        if isinstance(layer, Dropout):
            layer.generator = torch.Generator()  # torch's own stays as it is
    try:
        rows = torch.arange(what.config.batch_size, device=x.device) % len(x)
        with torch.no_grad():
            predictions(model, x[rows], y[rows])
    except (ValueError, RuntimeError, MemoryError) as error:
        cannot = f"batch_size {what.config.batch_size} cannot be trained"
        raise ValueError(f"{cannot}: {first_line(error)}") from None
