"""One run: what was asked for as a frozen dataclass, what came out as a folder. Introduced in chapter 10.

`run` is what the command line, a trial of a sweep and a notebook have in common. A folder holds
``config.json`` (the settings), ``checkpoint.pt``, ``history.safetensors`` (the losses of all batches, and
the validation loss in the course of the training), a ``model-SEED.safetensors`` a seed and
``results.json``. `compare` and `curves` read folders.
"""

import contextlib
import copy
import json
import math
import sqlite3
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import date
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from string import ascii_lowercase
from typing import NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save

from . import names as names_module
from .evaluate import mean_loss, smooth, spread
from .field import longest_name
from .files import check_folder, read_json, replace_file, write_json
from .layers import Dropout, evaluating, every_layer
from .models import RECIPES, count_parameters, predictions
from .provenance import commit, machine
from .train import Config, Diverged, Watch, first_line, seeded, train
from .vocabulary import Vocabulary

SPLITS = ("train", "val", "test")
DEFAULT = Config()


@dataclass(frozen=True)
class Run:
    """What is trained, on what, and how.

    ValueError for a model or a size that is not there, a value that is not of its size's kind (see
    `Recipe.checked`), and seeds that torch's generators do not take, or that are the same twice.

    sizes: of the model, those that differ from its recipe's; a dict will do.
    names: the list; None is the one in use. alphabet: None takes whatever the list holds.
    teachers: folders of finished runs on the same list; the mean of all their models' probabilities
        takes part in the loss, as ``config.distill`` says.
    """

    model: str
    config: Config = Config()
    sizes: tuple[tuple[str, object], ...] = ()
    seeds: tuple[int, ...] = (0,)
    names: Path | None = None
    alphabet: str | None = ascii_lowercase
    distinct: bool = False
    teachers: tuple[Path, ...] = ()

    def __post_init__(self):
        if self.model not in RECIPES:
            raise ValueError(f"expected a model among {list(RECIPES)}, got {self.model!r}")
        if isinstance(self.seeds, int):
            raise ValueError(f"expected seeds one by one, such as (0,) or range(3), got {self.seeds}")
        if not self.seeds:
            raise ValueError("expected at least 1 seed, got 0")
        seeds = tuple(self.seeds)
        for seed in seeds:
            if not isinstance(seed, int) or isinstance(seed, bool) or not 0 <= seed < 2**64:
                raise ValueError(f"expected seeds from 0 to 2**64 - 1, got {seed!r}")
        if len(set(seeds)) < len(seeds):
            raise ValueError(f"expected seeds that differ, got {list(seeds)}")
        sizes = RECIPES[self.model].checked(dict(self.sizes))
        object.__setattr__(self, "names", Path(self.names or names_module.path_in_use()))
        object.__setattr__(self, "sizes", tuple(sorted(sizes.items())))
        object.__setattr__(self, "seeds", seeds)
        object.__setattr__(self, "teachers", tuple(map(Path, self.teachers)))

    def to_json(self) -> dict:
        """What `from_json` reads: the list by its path, and null for the shipped one, wherever that is."""
        path = self.names.resolve()
        return {
            "model": self.model, "sizes": _plain(dict(self.sizes)), "training": _plain(asdict(self.config)),
            "seeds": list(self.seeds), "names": None if path == names_module.SHIPPED else str(path),
            "alphabet": self.alphabet, "distinct": self.distinct,
            "teachers": [str(folder.resolve()) for folder in self.teachers],
        }  # fmt: skip

    @classmethod
    def from_json(cls, value: dict) -> "Run":
        """The inverse of `to_json`."""
        value = dict(value)
        path = Path(value.pop("names") or names_module.SHIPPED)
        return cls(config=Config(**value.pop("training")), names=path, **value)

    def identity(self) -> str:
        """Sixteen digits that two runs share where they train the same on a list of the same content."""
        said = self.to_json() | {"names": self.digest(), "teachers": _teachers(self)}
        return sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:16]

    def digest(self) -> str:
        """The SHA-256 of the list's content; empty where there is none."""
        return _digest(self.names)

    def changed(self, **values) -> "Run":
        """This run with other values: fields of `Config` by their names, sizes as ``model.NAME``."""
        sizes = {name.removeprefix("model."): v for name, v in values.items() if name.startswith("model.")}
        fields = {name: v for name, v in values.items() if not name.startswith("model.")}
        unknown = sorted(set(fields) - set(asdict(self.config)))
        if unknown:
            raise ValueError(f"expected fields of Config or sizes as model.NAME, got {', '.join(unknown)}")
        return replace(self, config=replace(self.config, **fields), sizes=dict(self.sizes) | sizes)

    def build(self, vocab_size: int, generator=None):
        """The model, with weights drawn by the generator."""
        return RECIPES[self.model].sized(vocab_size, dict(self.sizes), generator)


def _digest(path: Path) -> str:
    try:  # a pipe would be waited for
        return sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
    except OSError:
        return ""  # whoever reads it says what is wrong with it


def _plain(value):
    """As it will be read from a file: lists for tuples."""
    return json.loads(json.dumps(value))


class Data(NamedTuple):
    """What a run is trained and measured on: tensors (x, y) by split, and where they come from."""

    splits: dict[str, tuple[torch.Tensor, torch.Tensor]]
    vocabulary: Vocabulary
    rows: int
    digest: str
    longest: str  # of the names


def data(what: Run, place: torch.device) -> Data:
    """The list of a run, checked, split and on its device; the last two are kept."""
    block_size = RECIPES[what.model].block_size
    return _data(what.names, what.digest(), what.alphabet, what.distinct, block_size, str(place))


@lru_cache(maxsize=2)
def _data(path, digest, alphabet, distinct, block_size, place) -> Data:
    names = names_module.load(path, alphabet)
    vocabulary = Vocabulary("".join(names) if alphabet is None else alphabet)
    listed = f"{path}, each name once" if distinct else path
    if distinct:
        names = names_module.distinct(names)
    splits = {
        name: tuple(t.to(place) for t in names_module.examples(part, vocabulary, block_size))
        for name, part in names_module.split(names, listed=listed)._asdict().items()
    }
    return Data(splits, vocabulary, len(names), digest, max(names, key=len))


class Impossible(ValueError):
    """A run that cannot be trained, as is found out before it claims its folder."""


def settings(what: Run, on: Data) -> dict:
    """What a folder's ``config.json`` holds."""
    counted = {name: int((y != names_module.IGNORED).sum()) for name, (_, y) in on.splits.items()}
    return {
        "model": what.model,
        "sizes": _plain(dict(what.sizes)),
        "seeds": list(what.seeds),
        "training": _plain(asdict(what.config)),
        "names": {
            "file": what.names.name, "sha256": on.digest, "rows": on.rows, "distinct_only": what.distinct,
            "windows": counted,
        },
        "vocabulary": "".join(on.vocabulary.characters[1:]),
        **({"teachers": _teachers(what)} if what.teachers else {}),
    }  # fmt: skip


def differences(results: dict, what: Run, on: Data, every: int) -> list[str]:
    """In which settings finished results are those of another run, or of other looks: every so many steps."""
    asked, steps = settings(what, on), what.config.steps
    looked = [*range(every, steps, every), steps] if every else []
    same_looks = results.get("curve", {}).get("steps", []) == looked
    return sorted(key for key in asked if results.get(key) != asked[key]) + ["curve"] * (not same_looks)


def load_model(folder: Path, seed: int):
    """A trained model of a run's folder, on the CPU, in evaluation mode.

    ValueError where there is none, and for weights that are NaN or infinite.
    """
    report, path = read_json(folder / "config.json"), folder / f"model-{seed}.safetensors"
    if report.get("model") not in RECIPES:
        raise ValueError(f"{folder / 'config.json'}: names no model; expected one of {list(RECIPES)}")
    if not isinstance(report.get("vocabulary"), str) or not isinstance(report.get("sizes", {}), dict):
        raise ValueError(f"{folder / 'config.json'}: expected a vocabulary and sizes, as `train` writes them")
    if not path.exists():
        raise ValueError(f"{path}: no such file; expected a finished run with a model for seed {seed}")
    try:
        tensors = load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{path}: not a file of parameters ({error})") from None
    if not _finite(tensors):
        raise ValueError(
            f"{path}: some weights are NaN or infinite, so its training diverged; train again, with a lower "
            "--lr or with --clip"
        )
    recipe, V, sizes = RECIPES[report["model"]], len(report["vocabulary"]) + 1, report.get("sizes", {})
    for name, value in _plain(recipe.checked(sizes)).items():
        if value != sizes[name]:  # a word, which once was true whatever it said
            raise ValueError(
                f"{folder / 'config.json'}: {name} is {sizes[name]!r}, which an earlier version took as "
                "true; train again, into another folder"
            )
    return recipe.sized(V, sizes).load(tensors).eval()


def publish(folder: Path, seed: int, path: Path) -> None:
    """A trained model of a run's folder as one file, with where it comes from. For what pages run live."""
    report, model = read_json(folder / "results.json"), load_model(folder, seed)
    about = {
        "model": report["model"], "seed": str(seed), "vocabulary": report["vocabulary"],
        "names": report["names"]["sha256"], "steps": str(report["training"]["steps"]),
        **{key: str(value) for key, value in report["provenance"].items()},
    }  # fmt: skip
    _save(path, model.tensors(), about)


def _teachers(what: Run) -> list[dict]:
    """Who taught: the folders' names, and a digest of each model."""
    return [
        {
            "run": folder.name,
            "models": [_digest(path)[:16] for path in sorted(folder.glob("model-*.safetensors"))],
        }
        for folder in what.teachers
    ]


def teachers_of(what: Run, on: Data) -> list[dict]:
    """The results of a run's teachers.

    ValueError for one that was trained on another list, or reads its names in another form.
    """
    expected, reports = settings(what, on), []
    for folder in what.teachers:
        reports.append(read_json(folder / "results.json"))
        for key in ("names", "vocabulary"):
            if reports[-1].get(key) != expected[key]:
                raise ValueError(
                    f"{folder}: expected a teacher with the {key} {expected[key]}, got {reports[-1].get(key)}"
                )
    return reports


def taught(what: Run, on: Data) -> torch.Tensor | None:
    """The teachers' probabilities for every target of the training split, the mean over all their models.

    ValueError for a teacher that does not fit; see `teachers_of`.
    """
    if not what.teachers:
        return None
    x, y = on.splits["train"]
    soft, count = torch.zeros((*y.shape, len(on.vocabulary)), device=y.device), 0
    for folder, report in zip(what.teachers, teachers_of(what, on), strict=True):
        for seed in report["seeds"]:
            model = load_model(folder, seed).to(y.device)
            with evaluating(model):
                for rows in torch.arange(len(x)).split(1_024):
                    logits, _ = predictions(model, x[rows], y[rows])
                    part = soft[rows]
                    part[y[rows] != names_module.IGNORED] += torch.softmax(logits, dim=-1)
                    soft[rows] = part
            count += 1
    return soft / count


def run(
    what: Run,
    folder: str | Path,
    *,
    place: torch.device | str = "cpu",
    compile: bool = True,
    workers: int | None = None,
    every: int = 0,
    report: Callable[[int, float], None] | None = None,
    splits: Sequence[str] = SPLITS,
    say: Callable[[str], None] = lambda line: None,
    checkpoint_every: int = 10_000,
) -> dict:
    """Train a run into its folder, or go on where it was interrupted; returns what ``results.json`` holds.

    every: steps between two looks at the validation loss (0: none).
    report: called after each look, as report(step, mean over the seeds); it may raise to stop the run. It
        hears of a loss that is NaN as well, and decides. Without it such a run ends with Diverged.
    splits: what the trained models are measured on. A search leaves the test split out.
    compile, workers: as in `train.train`.

    ValueError where the folder holds another run, OSError with the file's name where a disk is full.
    Impossible, a ValueError, for a run that cannot be trained, before it claims the folder. Nothing is said
    before all is written. A run that diverged leaves no results: the same command finds so again.
    """
    folder, place = Path(folder), torch.device(place)
    on = data(what, place)
    asked = settings(what, on)
    _refuse_other(folder, asked)
    build = lambda generator: what.build(len(on.vocabulary), generator).to(place)  # noqa: E731
    try:
        models, generators = seeded(build, what.seeds)
        _check_fit(what, on, models[0])
    except ValueError as error:
        raise Impossible(error) from None
    soft, watch = taught(what, on), None
    if every:
        tell = lambda step, values: report(step, statistics.fmean(values)) if report else None  # noqa: E731
        watch = Watch(every, lambda models: [mean_loss(m, *on.splits["val"]) for m in models], tell)
    with _claimed(folder, asked):
        began = time.perf_counter()
        try:
            losses = train(
                models, *on.splits["train"], generators, what.config, compile=compile, workers=workers,
                watch=watch, soft=soft, finite=report is None,
                checkpoint=folder / "checkpoint.pt", every=checkpoint_every, progress=what.model,
            )  # fmt: skip
        except Diverged as error:
            raise Diverged(error.step, error.models, what.seeds) from None
        seconds = time.perf_counter() - began
        runs = []
        for seed, model in zip(what.seeds, models, strict=True):
            one = {"seed": seed, "parameters": count_parameters(model)}
            runs.append(one | {name: mean_loss(model, *on.splits[name]) for name in splits})
        summary = {name: spread(one[name] for one in runs) for name in splits}
        results = asked | {
            "runs": runs,
            "mean": {name: value.mean for name, value in summary.items()},
            "sd": {name: value.sd for name, value in summary.items()} if len(runs) > 1 else None,
            "provenance": provenance(place) | {"seconds_of_last_start": round(seconds, 1)},
        }
        if watch:
            results["curve"] = {"steps": watch.steps, "val": watch.values}
        diverged = [
            i
            for i, (one, model) in enumerate(zip(runs, models, strict=True))
            if not all(math.isfinite(one[name]) for name in splits) or not _finite(model.tensors())
        ]
        if diverged and report is None:
            raise Diverged(what.config.steps, diverged, what.seeds)
        if diverged:
            return results  # who was told decides; in the folder it would look finished
        for seed, model in zip(what.seeds, models, strict=True):
            _save(folder / f"model-{seed}.safetensors", model.tensors())
        history = {"losses": losses}
        if watch:
            history |= {"val_steps": torch.tensor(watch.steps), "val": torch.tensor(watch.values).T}
        _save(folder / "history.safetensors", history)
        write_json(folder / "results.json", results)
    for one in runs:
        losses_of = {name: f"{one[name]:.4f}" for name in splits}
        say(_line(f"seed {one['seed']}", one["parameters"], losses_of))
    say(_line("mean ± sd", runs[0]["parameters"], summary))
    return results


def _finite(tensors: dict[str, torch.Tensor]) -> bool:
    return all(bool(t.isfinite().all()) for t in tensors.values())


def _check_fit(what: Run, on: Data, model) -> None:
    """ValueError for a run that could not be trained to its end: its longest name, batch, teachers."""
    most = longest_name(model)
    if most is not None and len(on.longest) > most:
        raise ValueError(
            f"{what.names}: {on.longest!r} has {len(on.longest)} characters, and this {what.model} takes at "
            f"most {most}; make it longer with --set length={len(on.longest) + 1}, or take another model"
        )
    if bool(what.teachers) != (what.config.distill > 0):
        raise ValueError(
            f"expected --teacher and --distill together, got {len(what.teachers)} teachers and distill = "
            f"{what.config.distill:g}"
        )
    (x, y), model = on.splits["train"], copy.deepcopy(model).train()
    for layer in every_layer(model):
        if isinstance(layer, Dropout):
            layer.generator = torch.Generator()  # torch's own stays as it is
    try:
        rows = torch.arange(what.config.batch_size, device=x.device) % len(x)
        with torch.no_grad():
            predictions(model, x[rows], y[rows])
    except (ValueError, RuntimeError, MemoryError) as error:
        cannot = f"batch_size {what.config.batch_size} cannot be trained"
        raise ValueError(f"{cannot}: {first_line(error)}") from None


CLAIM = {"model", "seeds", "training", "names", "vocabulary"}  # what the settings of any run hold
BEGUN = ("checkpoint.pt", "history.safetensors", "results.json")


def _refuse_other(folder: Path, asked: dict, alone: bool = True) -> None:
    """ValueError for a folder that holds another run, unless that never got to a checkpoint.

    alone: whether no other process is at work in the folder, as far as is known.
    """
    check_folder(folder)
    path = folder / "config.json"
    if not path.exists():
        return
    before = read_json(path)
    changed = sorted(key for key in before.keys() | asked.keys() if before.get(key) != asked.get(key))
    empty = before.keys() >= CLAIM and not any((folder / name).exists() for name in BEGUN)
    if changed and not (empty and alone):
        raise ValueError(
            f"{folder} holds another run, which differs in {', '.join(changed)}; choose another --out"
        )


@contextlib.contextmanager
def _claimed(folder: Path, asked: dict):
    """Write the settings into a folder for the time of a training; ValueError where it holds another run.

    A lock, SQLite's own as in `common.sweep`, says that somebody is at work. A process that dies gives it up.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path, lock, alone = folder / ".lock", None, False
    try:
        with contextlib.suppress(sqlite3.Error):  # taken, or a file system without locks
            lock = sqlite3.connect(path, timeout=0, isolation_level=None)
            lock.execute("BEGIN EXCLUSIVE")
            alone = True
        _refuse_other(folder, asked, alone)
        write_json(folder / "config.json", asked)
        yield
    finally:
        if lock is not None:
            lock.close()
        if alone:
            with contextlib.suppress(OSError):
                path.unlink()


def _save(path: Path, tensors: dict[str, torch.Tensor], about: dict[str, str] | None = None) -> None:
    whole = save({name: t.detach().cpu().contiguous() for name, t in tensors.items()}, about)
    replace_file(path, lambda partial: partial.write_bytes(whole))


def _line(label, parameters, losses) -> str:
    return f"{label:>9}  {parameters:,} parameters  " + "  ".join(
        f"{name} {value}" for name, value in losses.items()
    )


def provenance(place: torch.device) -> dict:
    """Commit, date and machine, for whatever is measured now."""
    return {
        "commit": commit(), "date": date.today().isoformat(), "machine": machine(place),
        "device": place.type, "torch": torch.__version__.split("+")[0],
    }  # fmt: skip


# ---- runs side by side -----------------------------------------------------------


def compare(folders: Iterable[str | Path]) -> tuple[list[str], list[list]]:
    """Header and rows of a table of runs: what they differ in, and their losses. For `plots.table`.

    The test split is left out: a table to choose from must not show it.
    """
    folders = [Path(folder) for folder in folders]
    reports = [read_json(folder / "results.json") for folder in folders]
    flat = [_flat(report) for report in reports]
    names = [
        name
        for name in dict.fromkeys(n for one in flat for n in one)
        if len({one.get(name) for one in flat}) > 1
    ]
    header = ["run", *names, "parameters", "seeds", "train", "validation"]
    rows = []
    for folder, report, one in zip(folders, reports, flat, strict=True):
        losses = [
            str(spread(r[s] for r in report["runs"])) if s in report["runs"][0] else ""
            for s in ("train", "val")
        ]
        parameters = f"{report['runs'][0]['parameters']:,}"
        rows.append(
            [folder.name, *(one.get(name, "") for name in names), parameters, len(report["runs"]), *losses]
        )
    return header, rows


def _flat(report: dict) -> dict[str, str]:
    """The settings that can differ, by the names that `Run.changed` takes."""
    values = {"model": report["model"], "list": report["names"]["sha256"][:8]}
    values["distinct"] = report["names"]["distinct_only"]
    values |= {f"model.{name}": value for name, value in report.get("sizes", {}).items()}
    values |= report["training"]
    return {name: _cell(value) for name, value in values.items()}


def _cell(value) -> str:
    return (
        value if isinstance(value, str) else f"{value:.4g}" if isinstance(value, float) else json.dumps(value)
    )


class Curve(NamedTuple):
    """Losses (S, K) of S seeds at K steps."""

    steps: list[float]
    values: torch.Tensor


def curves(folder: str | Path, window: int | None = None) -> dict[str, Curve]:
    """The training and, where it was looked at, the validation loss in the course of a run.

    window: steps over which training losses are averaged; by default those between two looks at the
    validation loss, or a hundredth of all.
    """
    path = Path(folder) / "history.safetensors"
    try:
        history = load_file(path)
        losses = history["losses"].double()
    except (OSError, SafetensorError, KeyError) as error:
        raise ValueError(f"{path}: no losses of a run ({error})") from None
    found, steps = {}, losses.shape[1]
    if "val" in history:
        found["val"] = Curve(history["val_steps"].tolist(), history["val"].double())
        window = window or int(history["val_steps"][0])
    window = window or max(1, steps // 100)
    averaged = smooth(losses, window)
    found["train"] = Curve([(i + 0.5) * window for i in range(averaged.shape[1])], averaged)
    return found
