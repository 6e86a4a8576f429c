"""Modules made of modules."""

from collections.abc import Mapping, Sequence
from textwrap import indent
from typing import TYPE_CHECKING, Any

from torch import Tensor

from .module import Module


class Sequential(Module):
    """Modules called one after the other. Introduced in chapter 2.

    layers: a list, or a dict with a name for each, under which it is an attribute. torch.nn's takes its
    modules one by one, or an OrderedDict.

    >>> from common.nn import Linear, Tanh
    >>> model = Sequential({"hidden": Linear(10, 20), "tanh": Tanh()})
    >>> model.hidden.weight.shape
    torch.Size([10, 20])
    >>> list(model.state_dict())
    ['hidden.weight', 'hidden.bias']
    """

    if TYPE_CHECKING:  # the modules, by their names

        def __getattr__(self, name: str) -> Any: ...

    def __init__(self, layers: Sequence[Module] | Mapping[str, Module]):
        named = layers if isinstance(layers, Mapping) else {str(i): layer for i, layer in enumerate(layers)}
        for name, layer in named.items():
            if not isinstance(layer, Module):
                raise ValueError(f"expected modules, got {layer!r}")
            if not name or "." in name or hasattr(type(self), name):
                raise ValueError(f"expected a name for a part, got {name!r}, which has another meaning")
            setattr(self, name, layer)

    @property
    def layers(self) -> list[Module]:
        """The modules in their order."""
        return self.children()

    def __call__(self, x: Tensor) -> Tensor:
        for layer in self.children():
            x = layer(x)
        return x

    def __repr__(self) -> str:
        named = [(name, f"{layer!r},\n") for name, layer in self.named_children()]
        inside = "".join(text if name.isdigit() else f"{name}: {text}" for name, text in named)
        return f"{type(self).__name__}([\n{indent(inside, '    ')}])"


class Residual(Sequential):
    """What goes in is added to what comes out: y = x + f(x), with f the modules inside.

    x: (..., C) -> (..., C); ValueError where f returns another shape, which addition might broadcast.
    (He et al., 2016.) Introduced in chapter 8.

    >>> import torch
    >>> from common.nn import Tanh
    >>> Residual([Tanh()])(torch.tensor([0.0, 1.0]))
    tensor([0.0000, 1.7616])
    """

    def __call__(self, x: Tensor) -> Tensor:
        y = super().__call__(x)
        if y.shape != x.shape:
            raise ValueError(f"expected layers that keep the shape {tuple(x.shape)}, got {tuple(y.shape)}")
        return x + y
