"""PyTorch's own cases of its layers and optimisers, run through this book's: equal, or refused by a sentence.

`module_db` and `optim_db` are what PyTorch tests its modules with. Every case of a layer that has a
twin here is either computed, in float64, with outputs, gradients and running statistics of both
modes, or stands in REFUSED with what refuses it: a sentence of the layer's, or Python's own about arguments.
"""

import copy
import inspect

import pytest
import torch
from small_tensors import EXACT, double
from torch.testing._internal.common_modules import ModuleErrorEnum, module_db
from torch.testing._internal.common_optimizers import optim_db

from common import optim
from common.nn import (
    BatchNorm1d,
    CausalConv1d,
    Dropout,
    Embedding,
    Flatten,
    Linear,
    ReLU,
    SiLU,
    Tanh,
)

TWINS = {
    "Embedding": Embedding,
    "Linear": Linear,
    "BatchNorm1d": BatchNorm1d,
    "Conv1d": CausalConv1d,
    "ReLU": ReLU,
    "SiLU": SiLU,
    "Tanh": Tanh,
}
OF_ONE_VALUE = "more than 1 value per channel in training mode"
REFUSED = {  # (layer, case, training) -> what the sentence says; None stands for both modes
    ("BatchNorm1d", "affine_simple_average", None): "momentum in [0, 1], got None",
    ("BatchNorm1d", "not_affine", None): "takes from 2 to 4 positional arguments but 5 were given",
    ("BatchNorm1d", "3d_input_not_affine", None): "takes from 2 to 4 positional arguments but 5 were given",
    ("BatchNorm1d", "zero_batch", None): "takes from 2 to 4 positional arguments but 5 were given",
    ("BatchNorm1d", "not_tracking_stats", None): "takes from 2 to 4 positional arguments but 6 were given",
    ("BatchNorm1d", "affine_not_bias", None): "unexpected keyword argument 'bias'",
    ("Conv1d", "padding", None): "unexpected keyword argument 'padding'",
    ("Conv1d", "no_batch_dim", None): "expected (B, T, 4), got a tensor of shape (3, 4)",
    ("Conv1d", "no_batch_dim padding", None): "unexpected keyword argument 'padding'",
}


def cases(errors=False):
    for info in module_db:
        if info.name.removeprefix("nn.") not in TWINS:
            continue
        for training in (True, False):
            make = info.module_error_inputs_func if errors else info.module_inputs_func
            made = make and make(
                info, device="cpu", dtype=torch.float64, requires_grad=True, training=training
            )
            for number, case in enumerate(made or []):
                name, inner = info.name.removeprefix("nn."), getattr(case, "module_error_input", case)
                said = " ".join([inner.desc, *inner.constructor_input.kwargs]).strip()
                said = said.replace("num_embeddings embedding_dim", "").strip()
                said = said.removesuffix(" bias") if name != "Conv1d" else said
                mode = "training" if training else "evaluation"
                yield pytest.param(name, said, training, case, id=f"{name}-{number}-{said}-{mode}")


def layouts(name, x):
    """torch's (B, C, T) from or to this book's (B, T, C); other layers take what comes."""
    return x.transpose(-1, -2) if name in ("Conv1d", "BatchNorm1d") and x.ndim + (name == "Conv1d") > 2 else x


def put(name, ours, theirs):
    """Every number of torch's module into the layer."""
    turned = {"Linear": lambda w: w.T, "Conv1d": lambda w: w.permute(2, 1, 0)}.get(name, lambda w: w)
    tensors = {key: t.detach().clone() for key, t in theirs.state_dict().items()}
    tensors.pop("num_batches_tracked", None)
    if "weight" in tensors:
        tensors["weight"] = turned(tensors["weight"])
    if name == "Conv1d":
        tensors["before"] = torch.zeros(ours.weight.shape[1], dtype=torch.float64)
    ours.load_state_dict(tensors)
    return turned


@pytest.mark.parametrize("name, said, training, case", list(cases()))
def test_a_case_of_pytorch_is_computed_or_refused(name, said, training, case):
    arguments, given = case.constructor_input, case.forward_input
    build = lambda: TWINS[name](*arguments.args, **arguments.kwargs)  # noqa: E731
    inputs = [*given.args, *given.kwargs.values()]
    leaves = [x.detach().clone().requires_grad_(x.is_floating_point()) for x in inputs]

    def called(layer):
        laid, n = [layouts(name, x) for x in leaves], len(given.args)
        return layer(*laid[:n], **dict(zip(given.kwargs, laid[n:], strict=True)))

    refused = REFUSED.get((name, said, None), REFUSED.get((name, said, training)))
    if refused:
        with pytest.raises((ValueError, TypeError)) as caught:
            called(double(build()).train(training))
        assert refused in str(caught.value)
        assert isinstance(caught.value, TypeError) == ("argument" in refused)
        return
    theirs = getattr(torch.nn, name)(*arguments.args, **arguments.kwargs).double().train(training)
    for tensor in theirs.state_dict().values():
        if tensor.is_floating_point():  # none of them as it starts
            tensor.copy_(torch.rand(tensor.shape, generator=torch.Generator().manual_seed(tensor.numel())))
    ours = build().train(training)
    turned = put(name, ours, theirs)
    for p in ours.parameters():
        p.requires_grad_()
    for _ in range(2):  # twice, for statistics that go on from those before
        y, expected = layouts(name, called(ours)), theirs(*inputs[: len(given.args)], **given.kwargs)
        if name == "Conv1d":  # torch gives only what saw a whole kernel
            y = y[..., ours.weight.shape[0] - 1 :]
        torch.testing.assert_close(y, expected, **EXACT)
        if name == "BatchNorm1d":
            torch.testing.assert_close(ours.running_mean, theirs.running_mean, **EXACT)
            torch.testing.assert_close(ours.running_var, theirs.running_var, **EXACT)
    weighed = torch.rand(y.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    learned, wanted = ours.parameters(), list(theirs.parameters())
    before = [x for x in inputs if x.requires_grad]
    own = torch.autograd.grad((y * weighed).sum(), [*(x for x in leaves if x.requires_grad), *learned])
    other = torch.autograd.grad((expected * weighed).sum(), [*before, *wanted])
    other = [*other[: len(before)], *(turned(g) if g.ndim > 1 else g for g in other[len(before) :])]
    for a, b in zip(own, other, strict=True):
        torch.testing.assert_close(a, b, **EXACT)


def test_every_layer_with_a_twin_has_cases_and_no_refusal_is_left_over():
    listed = [param.values for param in cases()]
    assert {name for name, *_ in listed} == set(TWINS)
    seen = {(name, said, None) for name, said, *_ in listed}
    assert set(REFUSED) <= seen, "REFUSED names a case that PyTorch no longer has"
    assert len(listed) >= 54 and sum((*case[:2], None) not in REFUSED for case in listed) >= 36


# what PyTorch's own cases of errors say


def errors():
    listed = [param for param in cases(errors=True) if param.values[2]]
    return [pytest.param(param.values[0], param.values[3], id=param.id) for param in listed]


@pytest.mark.parametrize("name, case", errors())
def test_what_pytorch_refuses_is_refused(name, case):
    arguments, given = case.module_error_input.constructor_input, case.module_error_input.forward_input
    kinds = (ValueError, case.error_type)
    if case.error_on == ModuleErrorEnum.CONSTRUCTION_ERROR:
        with pytest.raises(kinds):
            TWINS[name](*arguments.args, **arguments.kwargs)
        return
    with pytest.raises(kinds, match="expected .*, got "):
        double(TWINS[name](*arguments.args, **arguments.kwargs))(*given.args, **given.kwargs)


def test_a_layer_of_ones_own_may_pass_its_arguments_on():
    class Mine(BatchNorm1d):
        def __init__(self, *arguments, **options):
            super().__init__(*arguments, **options)

    assert Mine(3, momentum=0.5).momentum == 0.5
    assert copy.deepcopy(Mine(3)).weight.shape == (3,)
    with pytest.raises(TypeError, match="takes no arguments"):
        Flatten(3)


@pytest.mark.parametrize(
    "build, said",
    [
        (lambda: Embedding(4, 3, max_norm=1.0), "argument 'max_norm'"),
        (lambda: Linear(4, 3, dtype=torch.float64), "argument 'dtype'"),
        (lambda: Linear(4, 3, bais=False), "argument 'bais'"),
        (lambda: ReLU(inplace=True), "takes no arguments"),
        (lambda: SiLU(inplace=True), "takes no arguments"),
        (lambda: Dropout(0.5, inplace=True), "argument 'inplace'"),
        (lambda: Flatten(start_dim=0), "takes no arguments"),
        (lambda: CausalConv1d(4, 5, 3, stride=2), "argument 'stride'"),
    ],
)  # fmt: skip
def test_arguments_that_only_pytorch_takes_are_refused(build, said):
    with pytest.raises(TypeError, match=said):
        build()


@pytest.mark.parametrize(
    "build, said",
    [
        (lambda: BatchNorm1d(4, momentum=1.5), r"momentum in \[0, 1\], got 1.5"),
        (lambda: BatchNorm1d(4, momentum=float("nan")), r"momentum in \[0, 1\], got nan"),
        (lambda: BatchNorm1d(4, eps=float("nan")), "eps above 0, got nan"),
    ],
)
def test_values_that_cannot_be_meant_are_refused_by_a_sentence(build, said):
    with pytest.raises(ValueError, match=said):
        build()


# the optimisers

OWN = {own.__name__: own for own in (optim.SGD, optim.RMSprop, optim.Adam, optim.AdamW, optim.Muon)}
REFUSED_OPTIONS = {"maximize", "amsgrad", "centered", "dampening", "nesterov", "ns_steps", "ns_coefficients"}


def optimiser_cases():
    for info in optim_db:
        name = info.optim_cls.__name__
        for case in info.optim_inputs_func(device="cpu") if name in OWN else ():
            yield pytest.param(info.optim_cls, case.kwargs, id=f"{name}-{case.desc}")


@pytest.mark.parametrize("theirs, options", list(optimiser_cases()))
def test_an_optimiser_takes_the_steps_of_pytorchs_cases_or_refuses_the_option(theirs, options):
    name = theirs.__name__
    own = {key: value for key, value in options.items() if key != "lr"}
    if name == "RMSprop" and "momentum" in own or REFUSED_OPTIONS & own.keys():
        with pytest.raises((TypeError, ValueError), match="unexpected keyword argument|expected .*, got "):
            OWN[name](**own)
        return
    g, dtype = torch.Generator().manual_seed(0), torch.float32 if name == "Muon" else torch.float64
    p = torch.randn((6, 4), generator=g, dtype=dtype)
    ours, q = OWN[name](**own), torch.nn.Parameter(p.clone())
    rate = float(options.get("lr", inspect.signature(theirs).parameters["lr"].default))
    if name == "Muon":  # matrices are (inputs, outputs) in this book, and its rate is a factor of lr
        ours = optim.Muon(**own, factor=1.0, transposed=True)
        other = theirs([q], **options, weight_decay=ours.weight_decay) if "weight_decay" not in own else None
        other = other or theirs([q], **options)
    else:
        other = theirs([q], **options)
    kept = ours.init(p)
    for _ in range(5):
        q.grad = torch.randn((6, 4), generator=g, dtype=dtype)
        p, kept = ours.update(p, q.grad, kept, rate)
        other.step()
        close = {"atol": 0.1 * rate, "rtol": 0} if name == "Muon" else EXACT  # torch has 16 bits there
        torch.testing.assert_close(p, q.detach(), **close)
