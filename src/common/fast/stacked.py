"""S models of one architecture as one: their tensors stacked, their training step a graph of operations.

`torch.func.vmap` of `torch.func.grad` computes the steps of all models at once, and is traced once into a
graph. The modules stay as the chapters show them. Explained in the chapter "Why the loop is slow, and what
to do about it".
"""

import copy
from collections.abc import Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx

from ..nn import Embedding, Module
from ..optim import SGD, by_parameter, clip_gradients, ema_update, update_parameters
from ..train import Config, Examples, TrainingState

Snapshot = tuple[dict[str, Tensor], TrainingState]  # a model's tensors, and what stands beside them


class Stacked:
    """Models of one architecture as stacked tensors, and their training step as a graph over them.

    The tensors are the parameters, then the buffers (running statistics), then the optimisers' state and the
    averages of all these, each (S, ...). examples: windows, also as a pair (contexts, targets). config: its
    learning rate and schedule do not count, a step is told its rates. IndexError for contexts that a model's
    embedding refuses.
    """

    def __init__(
        self, models: Sequence[Module], examples: Examples | tuple[Tensor, Tensor], config: Config = Config()
    ):
        self.examples = Examples(*examples) if isinstance(examples, tuple | list) else examples
        self.config = config
        self.template = copy.deepcopy(models[0]).train()
        self.optimizers = by_parameter(self.template, config.make_optimizer())
        for module in self.template.modules():
            if type(module) is Embedding:
                module.check_rows(self.examples.contexts)
                plain = config.make_optimizer() == SGD()
                module.__class__ = _UncheckedEmbedding if plain else _OneHotEmbedding
        names, beside = list(self.template.state_dict()), TrainingState.fresh(self.template, config)
        self.parameters = [name for name, _ in self.template.named_parameters()]
        self.buffers = [name for name in names if name not in self.parameters]
        self.slots = {name: list(state) for name, state in beside.optimizer.items()}
        self.averaged = [name for name in names if name in beside.ema]

    # ---- to and from stacked tensors -------------------------------------------------

    def _flat(self, tensors: dict, optimizer: dict, ema: dict) -> list[Tensor]:
        """All tensors in their order: of a model, or of S stacked ones."""
        return [
            *(tensors[name] for name in self.parameters + self.buffers),
            *(optimizer[name][slot] for name, slots in self.slots.items() for slot in slots),
            *(ema[name] for name in self.averaged),
        ]

    def _named(self, flat: Sequence[Tensor]) -> tuple[dict, dict, dict, dict]:
        """The inverse of `_flat`: parameters, buffers, the optimisers' state, averages."""
        left: Iterator[Tensor] = iter(flat)
        return (
            {name: next(left) for name in self.parameters},
            {name: next(left) for name in self.buffers},
            {name: {slot: next(left) for slot in slots} for name, slots in self.slots.items()},
            {name: next(left) for name in self.averaged},
        )

    def start(self, models: Sequence[Module]) -> list[Tensor]:
        """The stacked tensors of models before their first step."""
        return self.stack([(m.state_dict(), TrainingState.fresh(m, self.config)) for m in models])

    def stack(self, states: Sequence[Snapshot]) -> list[Tensor]:
        """One state a model -> the stacked tensors, in the shapes that a step leaves behind."""
        flat = [self._flat(tensors, beside.optimizer, beside.ema) for tensors, beside in states]
        stacked = [torch.stack([t.detach() for t in same]) for same in zip(*flat, strict=True)]
        # Statistics whose shape grows by broadcasting in the first step (the bug of chapter 5)
        # take their final shape now, for a graph has fixed shapes.
        after = self._step(*self.arguments(stacked))[:-1]
        for i, (old, new) in enumerate(zip(stacked, after, strict=True)):
            ones = (1,) * (new.ndim - old.ndim)
            stacked[i] = old.reshape(len(old), *ones, *old.shape[1:]).expand(new.shape).clone()
        return stacked

    def unstack(self, stacked: Sequence[Tensor]) -> list[Snapshot]:
        """The inverse of `stack`, with the names in the model's order."""
        states = []
        for s in range(len(stacked[0])):
            parameters, buffers, optimizer, ema = self._named([t[s].clone() for t in stacked])
            tensors = parameters | buffers
            ordered = {name: tensors[name] for name in self.template.state_dict()}
            states.append((ordered, TrainingState(optimizer, ema)))
        return states

    # ---- the step --------------------------------------------------------------------

    def graph(self, tensors: Sequence[Tensor]) -> torch.fx.GraphModule:
        """The step (*tensors, contexts, targets, batch (S, B), lr (S,)) -> (*tensors, losses (S,)).

        ValueError for a module whose step changes something else than tensors, such as a count of its calls:
        a graph would keep it as it is.
        """
        before = self._beside_tensors()
        graph = make_fx(self._step)(*self.arguments(tensors))
        after = self._beside_tensors().items()
        if changed := ", ".join(name for name, value in after if before.get(name) != value):
            raise ValueError(f"expected steps that change tensors alone, got a change of {changed}")
        return graph

    def _beside_tensors(self) -> dict[str, str]:
        """What the modules hold beside tensors and other modules, in words."""
        return {
            f"{path}.{name}".lstrip("."): repr(value)
            for path, module in self.template.named_modules()
            for name, value in vars(module).items()
            if isinstance(value, bool | int | float | str | list | dict | tuple | None)
        }

    def arguments(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """Arguments of a step with the right shapes."""
        S, x, y = len(tensors[0]), self.examples.contexts, self.examples.targets
        batch = torch.zeros((S, self.config.batch_size), dtype=torch.long, device=x.device)
        return [*tensors, x, y, batch, torch.zeros(S, dtype=tensors[0].dtype, device=x.device)]

    def _step(self, *arguments: Tensor) -> list[Tensor]:
        *tensors, contexts, targets, batch, lr = arguments
        new, losses = torch.func.vmap(self._one_step)(tensors, contexts[batch], targets[batch], lr)
        return [*new, losses]

    def _one_step(
        self, tensors: Sequence[Tensor], x: Tensor, y: Tensor, lr: Tensor
    ) -> tuple[list[Tensor], Tensor]:
        """The step of a single model, as `composed_steps` takes it."""
        config = self.config
        parameters, buffers, optimizer, ema = self._named(tensors)

        def loss_of(parameters: dict) -> tuple[Tensor, Any]:
            logits = self.template.load_state_dict(parameters | buffers)(x)
            loss = F.cross_entropy(logits, y, label_smoothing=config.label_smoothing)
            after = self.template.state_dict()
            return loss, (loss, {name: after[name] for name in self.buffers})

        before = self.template.state_dict()
        grads, (loss, buffers) = torch.func.grad(loss_of, has_aux=True)(parameters)
        self.template.load_state_dict(before)  # no traced tensor stays behind
        grads = list(grads.values())
        if config.max_grad_norm:
            grads = clip_gradients(grads, config.max_grad_norm)
        parameters, optimizer = update_parameters(self.optimizers, parameters, grads, optimizer, lr)
        if config.ema_decay:
            ema = ema_update(ema, parameters | buffers, config.ema_decay)
        return self._flat(parameters | buffers, optimizer, ema), loss


class _UncheckedEmbedding(Embedding):
    """The same: a graph cannot look at numbers, and all that go in were looked at before."""

    def check_rows(self, input: Tensor) -> None:
        pass


class _OneHotEmbedding(Embedding):
    """The same numbers by a product of matrices.

    An optimiser uses a gradient more than once. Where it was added up row by row, as an embedding's is,
    torch 2.13 compiles that into code which reads it before it is there: Adam would see zeros.
    """

    def __call__(self, input: Tensor) -> Tensor:
        tokens = torch.arange(len(self.weight), device=input.device)
        weight = self.weight
        if self.padding_idx is not None:  # its row gets no gradient
            weight = weight.where((tokens != self.padding_idx)[:, None], weight.detach())
        return (input[..., None] == tokens).to(weight.dtype) @ weight
