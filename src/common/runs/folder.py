"""The folder of a run: who may write into it, and what it holds in the end.

``config.json`` (the settings), ``checkpoint.pt``, ``history.safetensors`` (the losses of all batches, and
the validation loss in the course of the training), a ``model-SEED.safetensors`` a seed and ``results.json``.
"""

import contextlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from ..models import Recipe, tagged
from ..nn import Module
from .files import check_folder, plain, read_json, save_tensors, write_json
from .sizes import build_model, checked_sizes
from .tasks import TASKS, digest, task_of, vocabulary_of

CLAIM = {"model", "seeds", "training"}  # what the settings of any run hold
BEGUN = ("checkpoint.pt", "history.safetensors", "results.json")


def refuse_other(folder: Path, asked: dict[str, Any], alone: bool = True) -> None:
    """ValueError for a folder that holds another run, unless that never got to a checkpoint.

    alone: whether no other process is at work in the folder, as far as is known.
    """
    check_folder(folder)
    path = folder / "config.json"
    if not path.exists():
        finished = ("history.safetensors", "results.json", "sweep.json")
        if left := [name for name in finished if (folder / name).exists()]:
            raise ValueError(f"{folder} holds {left[0]} and no config.json; choose another --out")
        return
    before = read_json(path)
    changed = sorted(key for key in before.keys() | asked.keys() if before.get(key) != asked.get(key))
    empty = before.keys() >= CLAIM and not any((folder / name).exists() for name in BEGUN)
    if changed and not (empty and alone):
        raise ValueError(
            f"{folder} holds another run, which differs in {', '.join(changed)}; choose another --out"
        )


def looks(evaluate_every: int, steps: int) -> list[int]:
    """The steps at which a training is evaluated: every so many (0: none), and after the last one."""
    return [*range(evaluate_every, steps, evaluate_every), steps] if evaluate_every else []


def differences(results: dict[str, Any], asked: dict[str, Any], looked: Sequence[int]) -> list[str]:
    """In which settings finished results are those of another run, or were looked at at other steps."""
    same_looks = results.get("curve", {}).get("steps", []) == list(looked)
    return sorted(key for key in asked if results.get(key) != asked[key]) + ["curve"] * (not same_looks)


def read_results(folder: Path) -> dict[str, Any]:
    """What the ``results.json`` of a finished run holds. ValueError where it is none of a run."""
    path = folder / "results.json"
    results = read_json(path)
    try:
        runs, measured = results["runs"], {"parameters", *results["mean"]}
        whole = [one["seed"] for one in runs] == results["seeds"] and all(
            one.keys() >= measured for one in runs
        )
    except (KeyError, TypeError, AttributeError):
        whole = False
    if not whole:
        raise ValueError(f"{path}: expected the seeds of a run, and what was measured of each")
    return results


@contextlib.contextmanager
def claimed(
    folder: Path, asked: dict[str, Any], looked: Sequence[int] = ()
) -> Iterator[dict[str, Any] | None]:
    """Write the settings into a folder for the time of a training; ValueError where it holds another run, or
    where another command is at work in it.

    looked: the steps of the looks at the validation loss. Gives the results where the run was finished
    before. A lock says that a command is at work; the system takes it back from a process that dies.
    """
    with contextlib.suppress(FileExistsError, NotADirectoryError):  # `refuse_other` says so
        folder.mkdir(parents=True, exist_ok=True)
    lock, alone = FileLock(folder / ".lock", timeout=0), False
    try:
        try:
            lock.acquire()
            alone = True
        except Timeout:
            refuse_other(folder, asked, alone)
            raise ValueError(
                f"{folder}: another command is at work in it; wait for its end, or choose another --out"
            ) from None
        except (OSError, NotImplementedError):  # no locks here
            pass
        refuse_other(folder, asked, alone)
        config, results = folder / "config.json", folder / "results.json"
        if not config.exists() or read_json(config) != asked:
            write_json(config, asked)
        found = read_results(folder) if results.exists() else None
        if found and (changed := differences(found, asked, looked)):
            raise ValueError(
                f"{results}: the results of a run that differs in {', '.join(changed)}; choose another --out"
            )
        yield found
    finally:
        if alone:  # removed while it is held: afterwards it might be another's
            with contextlib.suppress(OSError):
                (folder / ".lock").unlink(missing_ok=True)
        lock.release()


def save_results(
    folder: Path, results: dict[str, Any], history: dict[str, Tensor], models: dict[int, Module]
) -> None:
    """What a finished run leaves behind; the results last, which say that all the rest is there.

    history: empty where that, and the models, are there already.
    """
    for seed, model in models.items() if history else ():
        save_tensors(folder / f"model-{seed}.safetensors", model.state_dict())
    if history:
        save_tensors(folder / "history.safetensors", history)
    write_json(folder / "results.json", results)


def load_model(folder: Path, seed: int) -> Module:
    """A trained model of a run's folder, on the CPU, in evaluation mode.

    ValueError, with the file's name, where there is none, for settings that `train` does not write, for
    weights that are NaN or infinite or of several types, and for weights under the names that an earlier
    version gave them.
    """
    config, path = folder / "config.json", folder / f"model-{seed}.safetensors"
    report = read_json(config)
    try:
        recipe, V, sizes, classes = _described(report)
    except ValueError as error:
        raise ValueError(f"{config}: {error}") from None
    if not path.is_file():
        raise ValueError(f"{path}: no such file; expected a finished run with a model for seed {seed}")
    try:
        tensors = load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{path}: not a file of parameters ({error})") from None
    if not all(bool(t.isfinite().all()) for t in tensors.values()):
        raise ValueError(
            f"{path}: some weights are NaN or infinite, so its training diverged; train again, with a lower "
            "--lr or with --max-grad-norm"
        )
    if any(name.partition(".")[0].isdigit() for name in tensors):
        raise ValueError(
            f"{path}: its tensors have the names of an earlier version; tools/rename_weights.py of the "
            "repository gives them the new ones"
        )
    try:
        if len(types := {str(t.dtype) for t in tensors.values() if t.is_floating_point()}) > 1:
            raise ValueError(f"expected weights of one type, got {', '.join(sorted(types))}")
        return build_model(recipe, V, sizes, classes=classes).load_state_dict(tensors).eval()
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _described(report: dict[str, Any]) -> tuple[Recipe, int, dict[str, Any], int]:
    """What a run's settings say of its model: recipe, size of the vocabulary, sizes, classes. ValueError for
    settings that `train` does not write."""
    recipes, model, sizes = tagged("trainable"), report.get("model"), report.get("sizes", {})
    if model not in list(recipes):
        raise ValueError(f"names no model; expected one of {list(recipes)}")
    if not isinstance(report.get("vocabulary"), str) or not isinstance(sizes, dict):
        raise ValueError("expected a vocabulary and sizes, as `train` writes them")
    task, labels = task_of(report), report.get("labels", [])
    if not isinstance(labels, list) or bool(labels) != ("sentences" in recipes[model].tags):
        raise ValueError("expected labels with a model of sentences, and no other")
    if task not in list(TASKS) or model not in TASKS[task].models():
        raise ValueError(f"expected a task that suits {model!r}, got {task!r}")
    about = report.get(task)
    for name in TASKS[task].options:
        TASKS[task].checked({name: about.get(name) if isinstance(about, dict) else None})
    for name, value in plain(checked_sizes(recipes[model], sizes)).items():
        if value != sizes[name]:  # a word, which once was true whatever it said
            raise ValueError(
                f"{name} is {sizes[name]!r}, which an earlier version took as true; train again, into "
                "another folder"
            )
    return recipes[model], len(vocabulary_of(report)), sizes, len(labels)


def export_model(folder: Path, seed: int, path: Path) -> None:
    """A trained model of a run's folder as one file, with where it comes from. For what pages run live."""
    report, model = read_results(folder), load_model(folder, seed)
    task = task_of(report)
    about = {
        "model": report["model"], "seed": str(seed), "vocabulary": report["vocabulary"],
        task: report[task]["sha256"], "steps": str(report["training"]["steps"]),
        **{key: str(value) for key, value in report["provenance"].items()},
        **({"labels": json.dumps(report["labels"])} if "labels" in report else {}),
    }  # fmt: skip
    save_tensors(path, model.state_dict(), about)


def teachers_of_folder(folder: Path) -> dict[str, Any]:
    """A finished run as a teacher: its name, and a digest of each model."""
    models = sorted(folder.glob("model-*.safetensors"))
    return {"run": folder.name, "models": [digest(path)[:16] for path in models]}
