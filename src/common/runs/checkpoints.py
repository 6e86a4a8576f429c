"""The state of a training in a file, from which it goes on bit for bit."""

import hashlib
import io
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from ..nn import Module
from ..train import Config, Examples, TrainingState, first_line
from .files import replace_file


def identity(
    model: Module, examples: Examples, configs: Sequence[Config], generators: Sequence[torch.Generator]
) -> dict[str, Any]:
    """What a checkpoint must share with the training that goes on from it."""
    parts = [examples.contexts, examples.targets]
    parts += [] if examples.soft_targets is None else [examples.soft_targets]
    digest = hashlib.sha256(b"".join(part.cpu().contiguous().numpy().tobytes() for part in parts))
    config = [asdict(config) for config in configs]
    seeds = [g.initial_seed() for g in generators]
    return {"model": repr(model), "seeds": seeds, "config": config, "data": digest.hexdigest()}


def save(path: Path, **content: Any) -> None:
    """Write a checkpoint: the old one or the new one is there, never half of it."""
    content["states"] = [
        {"model": _on_cpu(tensors), "optimizer": _on_cpu(beside.optimizer), "ema": _on_cpu(beside.ema)}
        for tensors, beside in content["states"]
    ]
    _store(path, content)


def _on_cpu(tensors: dict) -> dict:
    return {name: _on_cpu(t) if isinstance(t, dict) else t.cpu() for name, t in tensors.items()}


def _store(path: Path, content: dict) -> None:
    whole = io.BytesIO()  # torch reports a full disk as a RuntimeError without the file's name
    torch.save(content, whole)
    replace_file(path, lambda partial: partial.write_bytes(whole.getbuffer()))


def restore(path: Path, expected: dict[str, Any], device: torch.device) -> dict[str, Any]:
    """What `save` wrote, its tensors on a device.

    ValueError for a file of something else or one that does not add up, and for the checkpoint of another
    training.
    """
    try:
        content = torch.load(path, weights_only=True, map_location=device)
        before, states = dict(content["identity"]), content["states"]
        content["states"] = [(s["model"], TrainingState(s["optimizer"], s["ema"])) for s in states]
        if content["losses"].shape != (len(states), content["done"]):
            raise ValueError(f"expected the losses of {content['done']} steps of {len(states)} models")
        if len(content["generators"]) != len(states) or len(content["evaluated"]) != 2:
            raise ValueError(f"expected a generator for each of {len(states)} models, and what was evaluated")
    except Exception as error:
        raise ValueError(
            f"{path}: not a checkpoint of this book ({first_line(error)}); move it away to start afresh"
        ) from None
    for key, wanted in expected.items():
        if before.get(key) != wanted:
            raise ValueError(
                f"{path}: this checkpoint belongs to another run; expected {key} {wanted!r}, "
                f"got {before.get(key)!r}. Move it away, or write to another folder"
            )
    return content


def adopt(source: Path, target: Path, config: Config) -> int:
    """Copy a checkpoint so that a training of another configuration goes on from it; returns its steps.

    What is kept beside the parameters must stay what it is: ValueError where `config` differs in the
    number of steps, the optimiser, its momentum or the average. For training a population.
    """
    content = torch.load(source, weights_only=True)
    now = asdict(config)
    for before in content["identity"]["config"]:
        wrong = [k for k in ("steps", "optimizer", "momentum", "ema_decay") if before[k] != now[k]]
        if wrong:
            raise ValueError(f"expected the checkpoint's {', '.join(wrong)}, got {config}")
    content["identity"]["config"] = [now] * len(content["states"])
    _store(target, content)
    return content["done"]
