"""The readable loop for several models in turn; the stacked, compiled one beside it."""

import copy
from collections.abc import Sequence

import torch
from torch import Generator, Tensor

from ..nn import Module
from ..train import Config, Examples, TrainingState, composed_steps

State = tuple[dict[str, Tensor], TrainingState]  # a model's tensors, and what stands beside them


class PlainLoop:
    """The readable loop for each of S models in turn, with the interface of StackedLoop."""

    def __init__(
        self, models: Sequence[Module], examples: Examples, generators: Sequence[Generator],
        configs: Sequence[Config],
    ):  # fmt: skip
        self.models = [copy.deepcopy(model) for model in models]
        self.beside = [TrainingState.fresh(m, c) for m, c in zip(models, configs, strict=True)]
        self.examples, self.device = examples, examples.contexts.device
        self.generators, self.configs = generators, configs

    def load(self, states: Sequence[State]) -> None:
        """Put the tensors of each model, and what stands beside them, in place."""
        for model, (tensors, _) in zip(self.models, states, strict=True):
            model.load_state_dict(tensors)
        self.beside = [copy.copy(beside) for _, beside in states]

    def states(self) -> list[State]:
        """The inverse of `load`."""
        return [
            ({name: t.detach().clone() for name, t in model.state_dict().items()}, copy.copy(beside))
            for model, beside in zip(self.models, self.beside, strict=True)
        ]

    def steps(self, start: int, stop: int) -> Tensor:
        """Run steps start to stop; returns the losses (S, stop - start) in nats."""
        each = zip(self.models, self.generators, self.configs, self.beside, strict=True)
        return torch.stack(
            [composed_steps(m, self.examples, g, config, start, stop, state) for m, g, config, state in each]
        )

    def close(self) -> None:
        """Nothing to end here."""


def make_loop(models, examples, generators, configs, compile=True, workers=0):
    return PlainLoop(models, examples, generators, configs)
