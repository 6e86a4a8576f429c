"""S models of one architecture as one: their tensors stacked, their training step a graph of operations.

`torch.func.vmap` of `torch.func.grad` computes the steps of all models at once, and is traced once into a
graph. The modules stay as the chapters show them. Explained in the chapter "Why the loop is slow, and what
to do about it".
"""

import copy
import functools
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx

from ..nn import Dropout, Embedding, Module
from ..optim import SGD, by_parameter, clip_gradients, ema_update, update_parameters
from ..train import Config, Examples, TrainingState
from .layers import Given, for_a_graph
from .layouts import Data, Layout, Mask, layout_for

Snapshot = tuple[dict[str, Tensor], TrainingState]  # a model's tensors, and what stands beside them


class Stacked:
    """Models of one architecture as stacked tensors, and their training step as a graph over them.

    The tensors are the parameters, then the buffers (running statistics), then the optimisers' state and the
    averages of all these, each (S, ...). examples: also as a pair (contexts, targets). config: its learning
    rate and schedule do not count, a step is told its rates. IndexError for contexts that a model's embedding
    refuses; ValueError for a model that is no graph.
    """

    def __init__(
        self, models: Sequence[Module], examples: Examples | tuple[Tensor, Tensor], config: Config = Config()
    ):
        examples = Examples(*examples) if isinstance(examples, tuple | list) else examples
        self.config = config
        self.template = copy.deepcopy(models[0]).train()
        self.optimizers = by_parameter(self.template, config.make_optimizer())
        for module in self.template.modules():
            if type(module) is Embedding:
                module.check_rows(examples.contexts)
        self.given, self.layout = Given(), layout_for(self.template, examples, config.batch_size)
        for_a_graph(self.template, self.given, self.layout.whole_names, config.make_optimizer() == SGD())
        names, beside = list(self.template.state_dict()), TrainingState.fresh(self.template, config)
        self.parameters = [name for name, _ in self.template.named_parameters()]
        self.buffers = [name for name in names if name not in self.parameters]
        self.slots = {name: list(state) for name, state in beside.optimizer.items()}
        self.averaged = [name for name in names if name in beside.ema]
        self._find_masks()

    def _find_masks(self) -> None:
        """What the layers of dropout draw, in the order of their calls, in every layout."""
        dropouts = [m for m in self.template.modules() if isinstance(m, Dropout) and m.p]
        for layout in self.layouts() if dropouts else []:
            found: list[Mask] = []

            def mask(layer: Dropout, input: Tensor, at: Layout = layout, found: list = found) -> Tensor:
                found.append(at.mask_of(layer, input))
                return torch.ones_like(input)

            self.given.mask = mask
            before = {name: t.clone() for name, t in self.template.state_dict().items()}
            nothing = torch.zeros(layout.shape, dtype=torch.long, device=self.template.device)
            batch = {name: of[nothing] for name, of in layout.data.items()}
            with torch.no_grad():
                layout.loss(self.template, self.given, self.config, batch)
            self.template.load_state_dict(before)
            self.given.forget()
            layout.masks = found

    def layouts(self) -> list[Layout]:
        """The layout of the graph, and that of the batches which do not fit into it, where there is one."""
        return [layout for layout in (self.layout, self.layout.wider) if layout]

    def without_data(self) -> "Stacked":
        """A copy whose layouts hold nothing to gather from."""
        own = copy.copy(self)
        own.layout = copy.copy(self.layout)
        own.layout.wider = copy.copy(self.layout.wider)
        for layout in own.layouts():
            layout.data = {}
        return own

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
        """The step (*tensors, *data, numbers (S, ...), *masks, lr (S,)) -> (*tensors, losses (S,)).

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
        S, device, layout = len(tensors[0]), tensors[0].device, self.layout
        numbers = torch.zeros((S, *layout.shape), dtype=torch.long, device=device)
        masks = [torch.ones((S, *mask.shape), dtype=torch.bool, device=device) for mask in layout.masks]
        lr = torch.zeros(S, dtype=tensors[0].dtype, device=device)
        return [*tensors, *layout.data.values(), numbers, *masks, lr]

    def step_in(self, layout: Layout, *arguments: Tensor) -> list[Tensor]:
        """The step operation by operation, for a batch in a layout."""
        count, own, names = len(layout.masks), len(layout.data), list(layout.data)
        tensors, rest = arguments[: -2 - count - own], arguments[-2 - count - own :]
        data, numbers, masks, lr = rest[:own], rest[own], rest[own + 1 : -1], rest[-1]
        batch = {name: of[numbers] for name, of in zip(names, data, strict=True)}
        one = functools.partial(self._one_step, layout)
        new, losses = torch.func.vmap(one)(list(tensors), batch, list(masks), lr)
        return [*new, losses]

    def _step(self, *arguments: Tensor) -> list[Tensor]:
        return self.step_in(self.layout, *arguments)

    def _one_step(
        self, layout: Layout, tensors: Sequence[Tensor], batch: Data, masks: list[Tensor], lr: Tensor
    ) -> tuple[list[Tensor], Tensor]:
        """The step of a single model, as `composed_steps` takes it."""
        config = self.config
        parameters, buffers, optimizer, ema = self._named(tensors)

        def loss_of(parameters: dict) -> tuple[Tensor, Any]:
            left = iter(masks)
            self.given.mask = lambda layer, input: next(left)
            self.template.load_state_dict(parameters | buffers)
            loss = layout.loss(self.template, self.given, config, batch)
            after = self.template.state_dict()
            return loss, (loss, {name: after[name] for name in self.buffers})

        before = self.template.state_dict()
        grads, (loss, buffers) = torch.func.grad(loss_of, has_aux=True)(parameters)
        self.template.load_state_dict(before)  # no traced tensor stays behind
        self.given.forget()
        grads = list(grads.values())
        if config.max_grad_norm:
            grads = clip_gradients(grads, config.max_grad_norm)
        parameters, optimizer = update_parameters(self.optimizers, parameters, grads, optimizer, lr)
        if config.ema_decay:
            ema = ema_update(ema, parameters | buffers, config.ema_decay)
        return self._flat(parameters | buffers, optimizer, ema), loss
