"""What layers and models share: `Module` finds the tensors and the modules inside it from its attributes."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from textwrap import indent
from typing import Any, Self

import torch
from torch import Tensor


class Module:
    """A function with tensors, under the names of torch.nn.Module. Introduced in chapter 2.

    Whatever is an attribute counts: a tensor is a parameter, unless it came by `register_buffer`; a module,
    or one in a list or a dict, is a child. Nothing has to be declared, and `__init__` need not be called.
    A state that goes from call to call is no attribute but an input and an output.

    >>> class Scale(Module):
    ...     def __init__(self, factor):
    ...         self.factor = torch.tensor(factor)
    ...     def __call__(self, x):
    ...         return self.factor * x
    >>> Scale(2.0)(torch.ones(3))
    tensor([2., 2., 2.])
    >>> Scale(2.0).state_dict()
    {'factor': tensor(2.)}
    """

    training = True
    packable = True  # False: looks at other positions, and is no CausalConv1d; see `models.packing`
    _buffers: tuple[str, ...] = ()

    def __call__(self, *inputs: Any) -> Any:
        raise NotImplementedError(f"{type(self).__name__} says nowhere what it computes: __call__ is missing")

    # ---- what is inside --------------------------------------------------------------

    def register_buffer(self, name: str, tensor: Tensor) -> None:
        """A tensor that belongs to the module and is not learned, such as a running mean. ValueError for a
        name that a module needs itself, such as "to"."""
        if hasattr(type(self), name):
            raise ValueError(f"expected a name for a buffer, got {name!r}, which has another meaning")
        self._buffers = (*self._buffers, name)
        setattr(self, name, tensor)

    def named_children(self) -> Iterator[tuple[str, "Module"]]:
        """The modules directly inside, by attribute: "output", or "blocks.0" for one in a list or a dict."""
        yield from _modules_in(vars(self), "")

    def children(self) -> list["Module"]:
        """The modules directly inside."""
        return [child for _, child in self.named_children()]

    def named_modules(self, prefix: str = "") -> Iterator[tuple[str, "Module"]]:
        """This module under the name "", and all inside it, however deep: "blocks.0.convolution"."""
        yield prefix, self
        for name, child in self.named_children():
            yield from child.named_modules(f"{prefix}.{name}" if prefix else name)

    def modules(self) -> list["Module"]:
        """This module and all inside it."""
        return [module for _, module in self.named_modules()]

    def own_tensors(self) -> dict[str, Tensor]:
        """The tensors of this module alone, by attribute."""
        return {name: value for name, value in vars(self).items() if isinstance(value, Tensor)}

    def _named_tensors(self) -> Iterator[tuple[str, "Module", str, Tensor]]:
        for path, module in self.named_modules():
            for name, tensor in module.own_tensors().items():
                yield (f"{path}.{name}" if path else name), module, name, tensor

    def named_parameters(self) -> Iterator[tuple[str, Tensor]]:
        """What gradient descent changes; a tensor that stands in two places once, under its first name."""
        seen = set()
        for path, module, name, tensor in self._named_tensors():
            if name not in module._buffers and id(tensor) not in seen:
                seen.add(id(tensor))
                yield path, tensor

    def parameters(self) -> list[Tensor]:
        """The tensors that gradient descent changes."""
        return [tensor for _, tensor in self.named_parameters()]

    # ---- all tensors at once ---------------------------------------------------------

    def state_dict(self) -> dict[str, Tensor]:
        """Every tensor inside by name, such as "norm.running_mean": the form in which models are stored. The
        tensors are the model's own, and no copies: what changes them in place changes both."""
        return {path: tensor for path, _, _, tensor in self._named_tensors()}

    def load_state_dict(self, state: dict[str, Tensor]) -> Self:
        """Put tensors as from `state_dict` in place (torch's `assign=True`); returns the module.

        ValueError, before anything is changed, that says which names, shapes or types do not match.
        """
        own = {path: (module, name, tensor) for path, module, name, tensor in self._named_tensors()}
        missing, unknown = sorted(own.keys() - state.keys()), sorted(state.keys() - own.keys())
        if missing or unknown:
            raise ValueError(f"expected tensors {sorted(own)}; missing are {missing}, unknown are {unknown}")
        for path, (module, name, tensor) in own.items():
            now = state[path]
            if not module.fits(name, now):
                raise ValueError(f"expected {path} of shape {(*tensor.shape,)}, got {(*now.shape,)}")
            if tensor.is_floating_point() != now.is_floating_point():
                raise ValueError(f"expected {path} in {tensor.dtype}, got {now.dtype}")
        placed: dict[int, Tensor] = {}
        for path, (module, name, tensor) in own.items():  # a tensor in two places stays one
            module.assign(name, placed.setdefault(id(tensor), state[path]))
        return self

    def fits(self, name: str, tensor: Tensor) -> bool:
        """Whether a tensor may take the place of the one under this attribute."""
        return tensor.shape == self.own_tensors()[name].shape

    def assign(self, name: str, tensor: Tensor) -> None:
        """Put a tensor in the place of the one under this attribute."""
        setattr(self, name, tensor)

    @torch.no_grad()
    def to(self, device: torch.device | torch.dtype | str | None = None,
           dtype: torch.dtype | None = None) -> Self:  # fmt: skip
        """Move every tensor inside to a device, and those with fractions to a type of theirs, in place;
        returns the module."""
        device, dtype = (None, device) if isinstance(device, torch.dtype) else (device, dtype)
        for path, t in (now := self.state_dict()).items():  # what learns is a leaf of its graph there too
            now[path] = t.to(device, dtype if t.is_floating_point() else None).requires_grad_(t.requires_grad)
        return self.load_state_dict(now)

    @property
    def device(self) -> torch.device:
        """Where the first tensor is; the CPU where there is none."""
        return next((t.device for t in self.state_dict().values()), torch.device("cpu"))

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        """Whether operations on the parameters are recorded for gradients; returns the module."""
        for p in self.parameters():
            p.requires_grad_(requires_grad)
        return self

    # ---- mode and looks --------------------------------------------------------------

    def train(self, mode: bool = True) -> Self:
        """Training mode, or evaluation mode, for this module and all inside it; returns the module."""
        for module in self.modules():
            module.training = mode
        return self

    def eval(self) -> Self:
        """Evaluation mode."""
        return self.train(False)

    def extra_repr(self) -> str:
        """What `repr` says between the brackets."""
        return ""

    def __repr__(self) -> str:
        inside = "".join(f"({name}): {child!r},\n" for name, child in self.named_children())
        said = f"\n{indent(inside, '    ')}" if inside else ""
        return f"{type(self).__name__}({self.extra_repr()}{said})"


def _modules_in(things: dict, prefix: str) -> Iterator[tuple[str, Module]]:
    """The modules among some things by name, and those in lists and dicts of them."""
    for name, value in things.items():
        if isinstance(value, Module):
            yield f"{prefix}{name}", value
        elif isinstance(value, torch.nn.Module):
            raise ValueError(f"{prefix}{name} is a module of torch.nn; expected it inside nn.TorchModule")
        elif isinstance(value, dict | list | tuple):
            inside = value if isinstance(value, dict) else dict(enumerate(value))
            yield from _modules_in(inside, f"{prefix}{name}.")


@contextmanager
def evaluating(module: Module) -> Iterator[Module]:
    """Evaluation mode and no gradients inside a `with` block; afterwards every module's own mode again."""
    modes = [(each, each.training) for each in module.modules()]
    module.eval()
    try:
        with torch.no_grad():
            yield module
    finally:
        for each, mode in modes:
            each.training = mode


@contextmanager
def instead(model: Module, kind: type, name: str, method: Callable) -> Iterator[None]:
    """Another method for all modules of a kind, for the time of a `with` block."""
    layers = [module for module in model.modules() if isinstance(module, kind)]
    before = [{name: vars(layer)[name]} if name in vars(layer) else {} for layer in layers]
    try:
        for layer in layers:
            setattr(layer, name, partial(method, layer))
        yield
    finally:
        for layer, own in zip(layers, before, strict=True):
            vars(layer).pop(name, None)
            vars(layer).update(own)
