"""S models of one architecture as one: their tensors stacked, their training step a graph of operations.

`torch.func.vmap` of `torch.func.grad` computes the steps of all models at once, and is traced once into a
graph. The layers stay as the chapters show them. Explained in the chapter "Why the loop is slow, and what
to do about it".
"""

import copy
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch.fx.experimental.proxy_tensor import make_fx

from ..layers import Embedding, every_layer, parameter_names
from ..optim import SGD, assigned, beside, clipped, descend, follow


class Stacked:
    """Models of one architecture as stacked tensors, and their training step as a graph over them.

    The tensors are the parameters, then the running statistics, then what the optimiser keeps and
    the averages of all these, each (S, ...).
    """

    def __init__(
        self, models, contexts, targets, batch_size: int,
        *, optimizer=None, clip: float = 0.0, average: float = 0.0, label_smoothing: float = 0.0,
    ):  # fmt: skip
        self.template = copy.deepcopy(models[0]).train()
        plain = optimizer in (None, SGD())
        for layer in every_layer(self.template):
            if type(layer) is Embedding:
                layer.check_rows(contexts)
                layer.__class__ = _UncheckedEmbedding if plain else _OneHotEmbedding
        self.learned = parameter_names(self.template)
        self.kept = [name for name in self.template.tensors() if name not in self.learned]
        self.contexts, self.targets, self.batch_size = contexts, targets, batch_size
        self.optimizers = assigned(self.template, optimizer or SGD())
        self.clip, self.average = clip, average
        self.label_smoothing = label_smoothing
        self.beside = list(beside(self.template, self.optimizers, average > 0))
        self.names = self.learned + self.kept + self.beside

    def stack(self, states: Sequence[dict[str, torch.Tensor]]) -> list[torch.Tensor]:
        """One {name: tensor} a model -> the stacked tensors, in the shapes that a step leaves behind."""
        start = beside(self.template, self.optimizers, self.average > 0)
        states = [start | state for state in states]
        tensors = [torch.stack([state[name].detach() for state in states]) for name in self.names]
        # Statistics whose shape grows by broadcasting in the first step (the bug of chapter 5)
        # take their final shape now, for a graph has fixed shapes.
        after = self._step(*self.arguments(tensors))[:-1]
        for i, (old, new) in enumerate(zip(tensors, after, strict=True)):
            ones = (1,) * (new.ndim - old.ndim)
            tensors[i] = old.reshape(len(old), *ones, *old.shape[1:]).expand(new.shape).clone()
        return tensors

    def unstack(self, tensors: Sequence[torch.Tensor]) -> list[dict[str, torch.Tensor]]:
        """The inverse of `stack`, with the names in the model's order."""
        stacked = dict(zip(self.names, tensors, strict=True))
        names, S = [*self.template.tensors(), *self.beside], len(tensors[0])
        return [{name: stacked[name][s].clone() for name in names} for s in range(S)]

    def graph(self, tensors: Sequence[torch.Tensor]) -> torch.fx.GraphModule:
        """The step (*tensors, contexts, targets, batch (S, B), lr (S,)) -> (*tensors, losses (S,))."""
        return make_fx(self._step)(*self.arguments(tensors))

    def arguments(self, tensors) -> list[torch.Tensor]:
        """Arguments of a step with the right shapes."""
        S, (x, y) = len(tensors[0]), (self.contexts, self.targets)
        batch = torch.zeros((S, self.batch_size), dtype=torch.long, device=x.device)
        return [*tensors, x, y, batch, torch.zeros(S, dtype=tensors[0].dtype, device=x.device)]

    def _step(self, *arguments):
        *tensors, contexts, targets, batch, lr = arguments
        new, losses = torch.func.vmap(self._one_step)(tensors, contexts[batch], targets[batch], lr)
        return [*new, losses]

    def _one_step(self, tensors, x, y, lr):
        """The step of a single model, as `plain_steps` takes it."""
        named = dict(zip(self.names, tensors, strict=True))
        model = {name: named[name] for name in self.learned + self.kept}
        kept = {name: named[name] for name in self.beside}
        parameters = {name: named[name] for name in self.learned}

        def loss_of(parameters):
            logits = self.template.load(model | parameters)(x)
            loss = F.cross_entropy(logits, y, label_smoothing=self.label_smoothing)
            after = self.template.tensors()
            return loss, (loss, {name: after[name] for name in self.kept})

        before = self.template.tensors()
        grads, (loss, statistics) = torch.func.grad(loss_of, has_aux=True)(parameters)
        self.template.load(before)  # no traced tensor stays behind
        grads = list(grads.values())
        grads = clipped(grads, self.clip) if self.clip else grads
        parameters, kept = descend(self.optimizers, parameters, grads, kept, lr)
        if self.average:
            kept = follow(parameters | statistics, kept, self.average)
        after = parameters | statistics | kept
        return [after[name] for name in self.names], loss


class _UncheckedEmbedding(Embedding):
    """The same: a graph cannot look at numbers, and all that go in were looked at before."""

    def __call__(self, x):
        return self.weight[x]


class _OneHotEmbedding(Embedding):
    """The same numbers by a product of matrices.

    An optimiser uses a gradient more than once. Where it was added up row by row, as an embedding's is,
    torch 2.13 compiles that into code which reads it before it is there: Adam would see zeros.
    """

    def __call__(self, x):
        characters = torch.arange(len(self.weight), device=x.device)
        return (x[..., None] == characters).to(self.weight.dtype) @ self.weight
