"""A second device for machines that have none: a tensor in the wrong place is found without a GPU.

Inside `with second_device()` torch's device "meta" holds numbers. Its tensors are `There`, shells around CPU
tensors, which torch takes for tensors of another device, in C++ too. What meets is checked as CUDA checks it:
`FROM_CPU` says what an operation takes from the CPU beside a tensor there, and all else raises. What may run
does so by the CPU's kernels and gives the CPU's numbers; but what draws without a CPU generator gives others
than on the CPU, as a GPU would. `tests/test_second_device.py` holds it to CUDA where there is one.

Not there: a graph of `make_fx`, which would be traced through the shells.
"""

import contextlib
import functools

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._mode_utils import no_dispatch
from torch.utils._python_dispatch import TorchDispatchMode

SECOND = torch.device("meta")  # the only one besides the CPU that autograd takes on every machine
aten = torch.ops.aten


class There(Tensor):
    """A tensor on the second device. Its numbers are in `inner`, a tensor on the CPU."""

    inner: Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, inner):
        place = {"strides": inner.stride(), "storage_offset": inner.storage_offset(), "device": SECOND}
        made = Tensor._make_wrapper_subclass(cls, inner.shape, dtype=inner.dtype, **place)
        made.inner = inner
        return made

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        raise RuntimeError(f"{func} of a tensor on the second device outside of `with second_device()`")

    def __repr__(self, **_):
        return f"There({self.inner!r})"


# ---- what may meet ---------------------------------------------------------------


def scalar(t):
    return t.ndim == 0


def whatever(t):
    return True


FROM_CPU = {  # what an operation takes from the CPU beside tensors there, by argument
    aten._to_copy: {"self": whatever},
    aten.copy_: {"self": whatever, "src": whatever},
    aten.index: {"indices": whatever},
    aten.index_put: {"indices": whatever, "values": scalar},
    aten.index_put_: {"indices": whatever, "values": scalar},
    aten._index_put_impl_: {"indices": whatever, "values": scalar},
    aten.fill_: {"value": scalar},
    aten.masked_fill: {"value": scalar},
    aten.masked_fill_: {"value": scalar},
    aten.where: {"condition": scalar, "self": scalar, "other": scalar},
}
NO_SCALAR = {aten.clamp, aten.clamp_}  # of two tensors, and yet with no number from the CPU
ALWAYS_CPU = {aten._pack_padded_sequence: ("lengths", 1)}  # an argument, and a result by its number


@functools.cache
def named(func):
    """The name of each argument of an operation, and whether the operation writes to it."""
    return [(a.name, a.alias_info is not None and a.alias_info.is_write) for a in func._schema.arguments]


def each(function, value):
    """A function of a tensor, or of every one in a list; whatever else comes back as it is."""
    if isinstance(value, list | tuple):
        return type(value)(each(function, item) for item in value)
    return function(value) if isinstance(value, Tensor) else value


def check(func, given):
    """RuntimeError where tensors meet that must not. given: an argument's name, whether it is written to, and
    its tensors."""
    op = func.overloadpacket
    takes, (apart, _) = FROM_CPU.get(op, {}), ALWAYS_CPU.get(op, ("", None))
    two = torch.Tag.pointwise in func.tags and sum(len(tensors) for *_, tensors in given) == 2
    for name, written, tensors in given:
        # a number may come from the CPU, to be read
        may = takes.get(name, scalar if two and not written and op not in NO_SCALAR else None)
        for t in tensors:
            here = not isinstance(t, There)
            if here != (name == apart) and not (here and may and may(t)):
                raise RuntimeError(f"{func}: tensors of two devices; {name} is on {t.device}")


# ---- the device ------------------------------------------------------------------


class Operations(TorchDispatchMode):
    """Every operation with a tensor there, and every one that makes one there, autograd's own among them."""

    drawn = 0

    @classmethod
    def _should_skip_dynamo(cls):
        return False  # torch would import its compiler, for seconds, to leave this alone

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs, there = dict(kwargs or {}), any(issubclass(kind, There) for kind in types)
        onto = kwargs.get("device")
        if not there and onto != SECOND:
            return func(*args, **kwargs)
        given = [(*which, value) for which, value in zip(named(func), args, strict=False)]
        given += [(*which, kwargs[which[0]]) for which in named(func)[len(args) :] if which[0] in kwargs]
        if there:
            check(func, [(name, written, tensors_in(value)) for name, written, value in given])
        if onto is not None:
            kwargs["device"] = torch.device("cpu")
        stays = onto is not None and onto != SECOND
        if not stays and any(isinstance(value, torch.Generator) for *_, value in given):
            raise RuntimeError(f"{func}: expected a generator of {SECOND}, got one of the CPU")
        with self.other_numbers() if torch.Tag.nondeterministic_seeded in func.tags else nothing:
            result = func(*each(inner, args), **{name: each(inner, value) for name, value in kwargs.items()})
        if torch.Tag.inplace_view in func.tags:  # the shell takes the new shape, too
            with no_dispatch():
                func(*args, **kwargs)
        if func._schema.is_mutable:
            changed = [value for _, written, value in given if written]
            return result if result is None else changed[0] if isinstance(result, Tensor) else changed
        if func.overloadpacket in ALWAYS_CPU:
            _, number = ALWAYS_CPU[func.overloadpacket]
            return tuple(one if i == number else There(one) for i, one in enumerate(result))
        return result if stays else each(There, result)

    @contextlib.contextmanager
    def other_numbers(self):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(10_000 + self.drawn)
            self.drawn += 1
            yield


nothing = contextlib.nullcontext()


def inner(t):
    return t.inner if isinstance(t, There) else t


def tensors_in(value):
    """The tensors of an argument."""
    if isinstance(value, list | tuple):
        return [t for t in value if isinstance(t, Tensor)]
    return [value] if isinstance(value, Tensor) else []


class Functions(TorchFunctionMode):
    """What does not reach `Operations` as it would with a GPU, since for torch "meta" has no numbers."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        if func is Tensor.new_tensor:
            kwargs = {"dtype": args[0].dtype, "device": args[0].device} | kwargs
            func, args = torch.tensor, args[1:]
        if func in (torch.tensor, torch.as_tensor) and torch.device(kwargs.get("device") or "cpu") == SECOND:
            requires_grad = kwargs.pop("requires_grad", False)
            return func(*args, **kwargs | {"device": "cpu"}).to(SECOND).requires_grad_(requires_grad)
        if func in (Tensor.__getitem__, Tensor.__setitem__) and isinstance(args[0], There):
            index = args[1] if isinstance(args[1], tuple) else (args[1],)
            index = tuple(torch.tensor(one) if isinstance(one, list) else one for one in index)
            return func(args[0], index, *args[2:])
        if func is Tensor.tolist:
            return func(args[0].cpu())
        if func in (Tensor.numpy, Tensor.__array__) and isinstance(args[0], There):
            raise TypeError(f"expected a tensor on the CPU for an array, got one on {SECOND}; use cpu()")
        if func == Tensor.is_meta.__get__ and isinstance(args[0], There):
            return False
        if func == Tensor.data.__set__:
            return put(*args)
        return func(*args, **kwargs)


def put(t, value):
    """`t.data = value`, also from one device to the other."""
    if isinstance(t, There) == isinstance(value, There):
        Tensor.data.__set__(t, value)
        if isinstance(t, There):
            t.inner = value.inner
        return
    kind = torch.nn.Parameter if isinstance(t, torch.nn.Parameter) else Tensor.requires_grad_
    other = kind(value.detach(), t.requires_grad)
    # as torch.utils.swap_tensors, but for the parameters that an RNN of torch.nn has weak references to, too
    t.__class__, other.__class__ = other.__class__, t.__class__
    t.__dict__, other.__dict__ = other.__dict__, t.__dict__
    torch._C._swap_tensor_impl(t, other)


@contextlib.contextmanager
def second_device():
    """Inside a `with` block there is a second device, `SECOND`; gives it."""
    with Operations(), Functions():
        yield SECOND
