"""Modules find what is inside them, store it, move it, change its mode; containers call it in order."""

import copy

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load, save
from small_tensors import EXACT, assert_all_close, double, generator, gradients, random

import common.nn
from common.nn import (
    GRU,
    BatchNorm1d,
    CausalConv1d,
    Embedding,
    Flatten,
    FlattenConsecutive,
    Linear,
    Module,
    Residual,
    Sequential,
    Tanh,
    TorchModule,
    evaluating,
)


def networks():
    """A layer of each kind, in a network inside a network."""
    g = generator(7)
    inner = Sequential([Linear(6, 5, bias=False, generator=g), BatchNorm1d(5), Tanh()])
    return Sequential(
        [Embedding(4, 3, generator=g), FlattenConsecutive(2), inner, Flatten(), Linear(10, 4, generator=g)]
    )


def flattened(model):
    """The model and every layer inside, at any depth."""
    return [model] + [layer for child in getattr(model, "layers", []) for layer in flattened(child)]


def test_a_network_agrees():
    ours = networks().to(dtype=torch.float64)
    inner = [torch.nn.Linear(6, 5, bias=False), torch.nn.BatchNorm1d(5), torch.nn.Tanh()]
    embedding, last = torch.nn.Embedding(4, 3), torch.nn.Linear(10, 4)
    theirs = torch.nn.ModuleList([embedding, *inner, last]).double()
    embedding.weight.data = ours.layers[0].weight.clone()
    inner[0].weight.data = ours.layers[2].layers[0].weight.T.clone()
    last.weight.data, last.bias.data = ours.layers[4].weight.T.clone(), ours.layers[4].bias.clone()

    def forward(x):
        pairs = embedding(x).unfold(1, 2, 2).transpose(2, 3).flatten(2)
        h = inner[2](inner[1](inner[0](pairs).transpose(1, 2)))
        return last(h.transpose(1, 2).flatten(1))

    for p in ours.parameters():
        p.requires_grad_()
    for step in range(3):
        x = torch.randint(0, 4, (6, 4), generator=generator(step))
        y, expected = ours(x), forward(x)
        torch.testing.assert_close(y, expected, **EXACT)
        grads = gradients(y, ours.parameters())
        assert_all_close(
            [g.T if g.shape in ((6, 5), (10, 4)) else g for g in grads],
            gradients(expected, list(theirs.parameters())),
        )
    ours.eval(), theirs.eval()
    torch.testing.assert_close(ours(x), forward(x), **EXACT)


class Record(Module):
    """Adds its name to a list."""

    def __init__(self, name):
        self.name = name

    def __call__(self, x):
        return [*x, self.name]


@pytest.mark.parametrize("kind", [list, iter, tuple])
def test_layers_are_called_in_order(kind):
    model = Sequential(kind([Record("first"), Record("second")]))
    assert model([]) == model([]) == ["first", "second"]
    assert [layer.name for layer in model.layers] == ["first", "second"]


def test_parameters_are_the_tensors_that_are_learned():
    model = networks()
    tensors = model.state_dict()
    assert list(tensors) == [
        "0.weight",
        "2.0.weight",
        "2.1.weight",
        "2.1.bias",
        "2.1.running_mean",
        "2.1.running_var",
        "4.weight",
        "4.bias",
    ]
    learned = [t for name, t in tensors.items() if "running" not in name]
    assert all(p is t for p, t in zip(model.parameters(), learned, strict=True))


def test_the_same_seed_gives_the_same_weights():
    def built(seed):
        g = generator(seed)
        return Sequential([Embedding(4, 3, generator=g), Linear(3, 5, generator=g)]).state_dict()

    a, b, c = built(3), built(3), built(4)
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert not torch.equal(a["0.weight"], c["0.weight"])
    assert not torch.equal(a["1.weight"], c["1.weight"])
    g = generator(3)
    assert torch.equal(a["0.weight"], torch.randn(4, 3, generator=g))
    assert torch.equal(a["1.weight"], torch.randn(3, 5, generator=g) / 3**0.5)


def test_a_generator_leaves_the_global_one_alone():
    before = torch.random.get_rng_state()
    networks()
    assert torch.equal(torch.random.get_rng_state(), before)


def test_tensors_load_into_another_network():
    x = torch.randint(0, 4, (6, 4), generator=generator(1))
    trained, other = networks(), networks()
    trained(x)
    for layer in flattened(other):
        if "weight" in layer.state_dict():
            layer.weight = layer.weight + 1
    assert not torch.equal(other.eval()(x), trained.eval()(x))
    assert other.load_state_dict(trained.state_dict()) is other
    assert torch.equal(other(x), trained(x))
    assert all(torch.equal(t, trained.state_dict()[name]) for name, t in other.state_dict().items())
    layer = BatchNorm1d(3).load_state_dict(
        {name: torch.full((3,), 7.0) for name in BatchNorm1d(3).state_dict()}
    )
    assert all(t.tolist() == [7, 7, 7] for t in layer.state_dict().values())


@pytest.mark.parametrize("wrong", ["missing", "unknown", "renamed"])
@pytest.mark.parametrize("layer", [networks, lambda: BatchNorm1d(3)], ids=["network", "layer"])
def test_tensors_of_other_names_are_refused(layer, wrong):
    layer = layer()
    tensors = dict(layer.state_dict())
    before = dict(tensors)
    first = next(iter(tensors))
    if wrong == "unknown":
        tensors["extra"] = torch.ones(1)
    else:
        value = tensors.pop(first)
        if wrong == "renamed":
            tensors["extra"] = value
    said = {
        "missing": f"missing are ['{first}'], unknown are []",
        "unknown": "missing are [], unknown are ['extra']",
    }
    with pytest.raises(
        ValueError, match=r"expected tensors .*; missing are \[.*\], unknown are \[.*\]"
    ) as caught:
        layer.load_state_dict(tensors)
    assert said.get(wrong, f"missing are ['{first}'], unknown are ['extra']") in str(caught.value)
    assert all(t is before[name] for name, t in layer.state_dict().items())


def test_to_changes_every_tensor_and_no_value():
    model = networks()
    before = model.state_dict()
    assert model.to(dtype=torch.float64) is model
    assert {t.dtype for t in model.state_dict().values()} == {torch.float64}
    assert all(torch.equal(t.float(), before[name]) for name, t in model.state_dict().items())
    assert {t.device.type for t in model.to("meta").state_dict().values()} == {"meta"}
    assert {t.dtype for t in model.state_dict().values()} == {torch.float64}


def test_modes_reach_every_layer():
    model = networks()
    assert all(layer.training for layer in flattened(model))
    assert model.eval() is model
    assert not any(layer.training for layer in flattened(model))
    assert model.train() is model
    assert all(layer.training for layer in flattened(model))
    model.train(False)
    assert not any(layer.training for layer in flattened(model))
    layer = BatchNorm1d(3)
    assert layer.eval() is layer and not layer.training and BatchNorm1d(3).training


def mixed(model):
    """Some layers in training mode and some not."""
    for i, layer in enumerate(flattened(model)):
        layer.training = i % 3 != 1
    return [layer.training for layer in flattened(model)]


def flat_network():
    return Sequential([Linear(3, 3), BatchNorm1d(3), Tanh(), BatchNorm1d(3)])


@pytest.mark.parametrize(
    "build", [flat_network, networks, lambda: BatchNorm1d(3)], ids=["flat", "nested", "one"]
)
def test_evaluating_restores_each_layers_own_mode(build):
    model = build()
    before = mixed(model)
    with evaluating(model) as inside:
        assert inside is model
        assert not any(layer.training for layer in flattened(model))
    assert [layer.training for layer in flattened(model)] == before


@pytest.mark.parametrize("build", [flat_network, networks], ids=["flat", "nested"])
def test_evaluating_restores_after_an_exception(build):
    model = build()
    before = mixed(model)
    with pytest.raises(RuntimeError, match="inside"), evaluating(model):
        raise RuntimeError("inside")
    assert [layer.training for layer in flattened(model)] == before
    assert torch.is_grad_enabled()


def test_evaluating_takes_no_gradients():
    model = flat_network()
    for p in model.parameters():
        p.requires_grad_()
    with evaluating(model):
        assert not model(torch.ones(2, 3)).requires_grad
    assert model(torch.randn(4, 3, generator=generator())).requires_grad


def test_reprs_show_the_sizes():
    assert repr(networks()).split("\n")[1].strip() == "Embedding(4, 3),"
    shown = [repr(layer) for layer in (Linear(6, 5), Linear(6, 5, bias=False), BatchNorm1d(5), Tanh())]
    assert shown == ["Linear(6, 5)", "Linear(6, 5, bias=False)", "BatchNorm1d(5)", "Tanh()"]
    assert repr(FlattenConsecutive(2)) == "FlattenConsecutive(2)"
    layers = [GRU(3, 4, num_layers=n, bidirectional=n == 2, generator=generator()) for n in (1, 2)]
    assert [layer.extra_repr() for layer in layers] == ["1 layer, forward", "2 layers, forward and backward"]
    assert repr(Sequential([Flatten()])) == "Sequential([\n    Flatten(),\n])"


def test_layers_that_look_at_other_positions_say_so():
    """Names share a row only in a model without one of them (`common.models.packing`)."""
    kinds = [kind for kind in vars(common.nn).values() if isinstance(kind, type)]
    apart = {kind for kind in kinds if issubclass(kind, Module) and not kind.packable}
    assert {kind.__name__ for kind in apart} == {
        "Cell", "Flatten", "FlattenConsecutive", "GRU", "GRUCell", "LSTM", "LSTMCell", "MultiheadAttention",
        "PositionalEmbedding", "RNN", "RNNCell", "Recurrent", "VariationalDropout",
    }  # fmt: skip


@pytest.mark.parametrize(
    "layer, name, shape",
    [
        (Linear(3, 4), "weight", (4, 3)),
        (Linear(3, 4), "bias", (1,)),
        (Linear(3, 4), "bias", (1, 4)),
        (Embedding(5, 3), "weight", (6, 3)),
        (BatchNorm1d(4), "running_var", (1, 4)),
        (CausalConv1d(3, 4, 2), "before", ()),
    ],
    ids=lambda value: repr(value),
)
@pytest.mark.parametrize("inside", [False, True], ids=["alone", "in a network"])
def test_tensors_of_another_shape_are_refused(layer, name, shape, inside):
    # in a network, behind a layer that must not change either
    model = Sequential([Linear(3, 3), Residual([layer])]) if inside else layer
    name = f"1.0.{name}" if inside else name
    before = model.state_dict()
    wrong = {key: torch.full_like(t, 7.0) for key, t in before.items()} | {name: torch.zeros(shape)}
    expected = f"expected {name} of shape {tuple(before[name].shape)}, got {shape}"
    with pytest.raises(ValueError) as caught:
        model.load_state_dict(wrong)
    assert str(caught.value) == expected
    assert all(t is before[key] for key, t in model.state_dict().items())


# containers


def test_a_residual_adds_its_input():
    inner = double(Linear(6, 6, generator=generator()))
    x = random(2, 5, 6).requires_grad_()
    y = Residual([inner, Tanh()])(x)
    torch.testing.assert_close(y, x + torch.tanh(inner(x)), **EXACT)
    inner.weight = torch.zeros_like(inner.weight)
    assert_all_close(gradients(Residual([inner])(x), [x]), [random(2, 5, 6, seed=99)])


@pytest.mark.parametrize("out", [1, 5])
def test_a_residual_refuses_what_addition_would_broadcast(out):
    with pytest.raises(ValueError, match=rf"keep the shape \(2, 6\), got \(2, {out}\)"):
        Residual([Linear(6, out)])(torch.ones(2, 6))


def test_a_residual_shows_what_is_inside():
    assert repr(Residual([Tanh()])) == "Residual([\n    Tanh(),\n])"
    assert repr(Residual({"tanh": Tanh()})) == "Residual([\n    tanh: Tanh(),\n])"


# named parts


def test_a_dict_names_the_parts():
    g = generator()
    model = Sequential({"hidden": Linear(4, 3, generator=g), "norm": BatchNorm1d(3), "tanh": Tanh()})
    assert model.layers == [model.hidden, model.norm, model.tanh] == model.children()
    assert [name for name, _ in model.named_children()] == ["hidden", "norm", "tanh"]
    assert list(model.state_dict()) == [
        "hidden.weight", "hidden.bias", "norm.weight", "norm.bias", "norm.running_mean", "norm.running_var",
    ]  # fmt: skip
    x = torch.randn((5, 4), generator=g)
    torch.testing.assert_close(model(x), Sequential([model.hidden, BatchNorm1d(3), Tanh()])(x))
    model.tanh = Flatten()  # a part is an attribute, which can be replaced
    assert model.layers[2] is model.tanh


def test_a_part_of_a_residual_has_a_name_too():
    model = Residual({"linear": Linear(3, 3)})
    assert list(dict(Sequential({"level1": model}).named_parameters())) == [
        "level1.linear.weight",
        "level1.linear.bias",
    ]


@pytest.mark.parametrize("name", ["layers", "train", "training", "parameters", "_buffers", "a.b", ""])
def test_a_part_is_not_named_like_what_every_module_has(name):
    with pytest.raises(ValueError, match=f"a name for a part, got {name!r}"):
        Sequential({name: Tanh()})


@pytest.mark.parametrize("layer", [torch.nn.Tanh(), torch.tanh, None], ids=["torch's", "function", "none"])
def test_what_is_no_module_of_this_book_is_refused(layer):
    with pytest.raises(ValueError, match="expected modules, got"):
        Sequential([Tanh(), layer])


# modules of one's own


class Block(Module):
    def __init__(self, g):
        self.linear, self.norm = Linear(4, 4, generator=g), BatchNorm1d(4)

    def __call__(self, x):
        return x + self.norm(self.linear(x))


class Network(Module):
    """A list of modules, a pair of them, one alone, a tensor of its own, and one that is not learned."""

    def __init__(self):
        g = generator()
        self.scale = torch.ones(1)
        self.blocks = [Block(g) for _ in range(2)]
        self.heads = (Linear(4, 2, generator=g), Sequential({"out": Linear(4, 3, generator=g)}))
        self.nothing, self.size, self.names = None, 4, ["a", "b"]
        self.register_buffer("steps", torch.zeros(1))

    def __call__(self, x):
        for block in self.blocks:
            x = self.scale * block(x)
        return [head(x) for head in self.heads]


def test_what_is_inside_is_found_from_attributes():
    model = Network()
    assert dict(model.named_children()) == {
        "blocks.0": model.blocks[0], "blocks.1": model.blocks[1],
        "heads.0": model.heads[0], "heads.1": model.heads[1],
    }  # fmt: skip
    assert [name for name, _ in model.named_modules()] == [
        "", "blocks.0", "blocks.0.linear", "blocks.0.norm", "blocks.1", "blocks.1.linear", "blocks.1.norm",
        "heads.0", "heads.1", "heads.1.out",
    ]  # fmt: skip
    assert model.modules()[0] is model and len(model.modules()) == 10
    names = ("weight", "bias")
    assert list(dict(model.named_parameters())) == [
        "scale",
        *(f"blocks.{i}.{part}.{t}" for i in (0, 1) for part in ("linear", "norm") for t in names),
        "heads.0.weight", "heads.0.bias", "heads.1.out.weight", "heads.1.out.bias",
    ]  # fmt: skip
    assert model.parameters()[0] is model.scale and len(model.parameters()) == 13
    learned = set(dict(model.named_parameters()))
    assert set(model.state_dict()) - learned == {
        "steps", *(f"blocks.{i}.norm.running_{t}" for i in (0, 1) for t in ("mean", "var"))
    }  # fmt: skip


def test_buffers_stay_buffers_when_they_are_assigned():
    model = Network()
    model.steps = model.steps + 1
    model.load_state_dict({name: t + 1 for name, t in model.state_dict().items()})
    assert "steps" in model.state_dict() and "steps" not in dict(model.named_parameters())
    assert model.steps.tolist() == [2] and Network()._buffers == ("steps",) and Module._buffers == ()


def test_what_is_inside_follows_the_attributes():
    model = Network()
    model.blocks.append(Block(generator(1)))
    model.extra, model.scale = torch.zeros(2), None
    names = dict(model.named_parameters())
    assert "blocks.2.linear.weight" in names and "extra" in names and "scale" not in names


def tied():
    """One tensor under two names: the weights of two maps are the same."""
    model = Sequential({"first": Linear(3, 3, bias=False, generator=generator()), "second": Linear(3, 3)})
    model.second.weight = model.first.weight
    return model


def test_a_tensor_in_two_places_counts_once():
    model = tied()
    assert list(dict(model.named_parameters())) == ["first.weight", "second.bias"]
    assert list(model.state_dict()) == ["first.weight", "second.weight", "second.bias"]
    shared = Linear(3, 3)
    assert len(Sequential([shared, Tanh(), shared]).parameters()) == 2
    model.requires_grad_()
    (grad,) = torch.autograd.grad(model(torch.eye(3)).sum(), [model.first.weight])
    # d/dW of sum((x W) W) with x = 1: what both places contribute
    ones = torch.ones(3, 3)
    torch.testing.assert_close(grad, ones @ model.second.weight.T + model.first.weight.T @ ones)


@pytest.mark.parametrize(
    "change",
    [
        lambda model: model.to(dtype=torch.float64),
        lambda model: model.load_state_dict({name: t.clone() for name, t in model.state_dict().items()}),
        copy.deepcopy,
    ],
    ids=["to", "load_state_dict", "deepcopy"],
)
def test_a_tensor_in_two_places_stays_one(change):
    model = change(tied())
    assert model.first.weight is model.second.weight and len(model.parameters()) == 2


def test_a_module_can_be_copied_stored_and_put_back():
    model, x = Network(), random(6, 4).float()
    model(x)
    other = copy.deepcopy(model)
    assert not {id(t) for t in other.state_dict().values()} & {id(t) for t in model.state_dict().values()}
    model(x)  # moves running means
    assert not torch.equal(other.blocks[0].norm.running_mean, model.blocks[0].norm.running_mean)
    other.load_state_dict(load(save({n: t.contiguous() for n, t in model.state_dict().items()})))
    for a, b in zip(other.eval()(x), model.eval()(x), strict=True):
        assert torch.equal(a, b)


def test_only_what_has_fractions_changes_its_type():
    model = Network()
    model.register_buffer("seen", torch.tensor([2**40 + 1]))
    model.to(dtype=torch.float32)
    assert model.seen.dtype == torch.int64 and model.seen.tolist() == [2**40 + 1]
    model.to(torch.device("cpu"), torch.float16)
    assert model.seen.dtype == torch.int64 and model.scale.dtype == torch.float16
    assert model.device == torch.device("cpu") and Tanh().device == torch.device("cpu")


def test_gradients_are_recorded_for_parameters_alone():
    model = Network()
    assert model.requires_grad_() is model
    assert {n for n, t in model.state_dict().items() if t.requires_grad} == set(
        dict(model.named_parameters())
    )
    assert not any(t.requires_grad for t in model.requires_grad_(False).state_dict().values())


def test_a_module_shows_its_parts():
    class Pair(Module):
        def __init__(self):
            self.left, self.maps = Tanh(), [Linear(2, 3)]

        def extra_repr(self):
            return "two"

    assert repr(Pair()) == "Pair(two\n    (left): Tanh(),\n    (maps.0): Linear(2, 3),\n)"
    assert repr(Module()) == "Module()"
    with pytest.raises(NotImplementedError, match="Pair says nowhere what it computes"):
        Pair()(1)


# two inputs and a state


class Cell(Module):
    """A recurrent cell: h' = tanh(x W + b + h U + c)."""

    def __init__(self, input_size, hidden_size, *, generator):
        self.from_input = Linear(input_size, hidden_size, generator=generator)
        self.from_state = Linear(hidden_size, hidden_size, generator=generator)

    def __call__(self, x, h):
        return torch.tanh(self.from_input(x) + self.from_state(h))


class Reader(Module):
    def __init__(self, tokens, hidden_size, *, generator):
        self.embedding = Embedding(tokens, 8, generator=generator)
        self.cell = Cell(8, hidden_size, generator=generator)
        self.output = Linear(hidden_size, tokens, generator=generator)
        self.register_buffer("start", torch.zeros(hidden_size))

    def __call__(self, x):
        h, logits = self.start.expand(len(x), -1), []
        for token in self.embedding(x).unbind(1):
            h = self.cell(token, h)
            logits.append(self.output(h))
        return torch.stack(logits, 1)


def test_a_cell_with_two_inputs_is_torchs():
    ours, theirs = double(Cell(3, 5, generator=generator())), torch.nn.RNNCell(3, 5, dtype=torch.float64)
    pairs = list(zip(
        [theirs.weight_ih, theirs.bias_ih, theirs.weight_hh, theirs.bias_hh], ours.parameters(), strict=True
    ))  # fmt: skip
    for own, p in pairs:
        own.data = (p.T if p.ndim > 1 else p).clone()
    ours.requires_grad_()
    x, h = random(4, 3), random(4, 5, seed=1)
    y, expected = ours(x, h), theirs(x, h)
    torch.testing.assert_close(y, expected, **EXACT)
    grads = gradients(expected, [own for own, _ in pairs])
    assert_all_close(gradients(y, ours.parameters()), [g.T if g.ndim > 1 else g for g in grads])


def test_a_cell_with_a_state_learns_in_a_loop_of_ones_own():
    g = generator(2)
    model = Reader(5, 16, generator=g).requires_grad_()
    assert [name for name, _ in model.named_modules()] == [
        "", "embedding", "cell", "cell.from_input", "cell.from_state", "output"
    ]  # fmt: skip
    losses = []
    for _ in range(150):  # the token before is to be said: what only the state knows
        x = torch.randint(0, 5, (32, 6), generator=g)
        loss = F.cross_entropy(model(x)[:, 1:].flatten(0, 1), x[:, :-1].flatten())
        parameters = model.parameters()
        for p, grad in zip(parameters, torch.autograd.grad(loss, parameters), strict=True):
            p.data -= 0.5 * grad
        losses.append(loss.item())
    assert losses[-1] < 0.3 < 1.5 < losses[0]
    with evaluating(model):
        x = torch.randint(0, 5, (8, 6), generator=g)
        assert (model(x)[:, 1:].argmax(-1) == x[:, :-1]).float().mean() > 0.95


# a module of torch.nn inside


def test_a_module_of_torch_takes_part():
    torch.manual_seed(0)
    inner = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.BatchNorm1d(3), torch.nn.Dropout(0.5))
    model = Sequential({"ours": Linear(4, 4, generator=generator()), "theirs": TorchModule(inner)})
    assert list(dict(model.named_parameters())) == [
        "ours.weight", "ours.bias", "theirs.0.weight", "theirs.0.bias", "theirs.1.weight", "theirs.1.bias",
    ]  # fmt: skip
    buffers = set(model.state_dict()) - set(dict(model.named_parameters()))
    assert buffers == {f"theirs.1.{name}" for name in ("running_mean", "running_var", "num_batches_tracked")}
    assert not any(p.requires_grad for p in inner.parameters())
    x = torch.randn((6, 4), generator=generator(1))
    model(x)
    state = {name: t.clone() + 1 for name, t in model.state_dict().items()}
    assert torch.equal(
        copy.deepcopy(model).load_state_dict(state).theirs.module[0].weight, state["theirs.0.weight"]
    )
    model.to(dtype=torch.float64)
    assert inner[0].weight.dtype == torch.float64 and inner[1].num_batches_tracked.dtype == torch.int64
    assert "theirs: TorchModule(Sequential(" in repr(model)


def test_modes_reach_into_a_module_of_torch():
    model = Sequential([TorchModule(torch.nn.Sequential(torch.nn.Dropout(0.5), torch.nn.BatchNorm1d(4)))])
    inner = model.layers[0].module
    with evaluating(model):
        assert not inner.training and not inner[0].training and not inner[1].training
        x = torch.ones(5, 4)
        assert torch.equal(model(x), model(x))
    assert inner[0].training and inner[1].training
    model.eval()
    with evaluating(model):
        pass
    assert not inner[0].training
    model.train()
    assert inner[0].training and not torch.equal(model(x), model(x))


def test_a_buffer_has_a_name_of_its_own():
    with pytest.raises(ValueError, match="a name for a buffer, got 'to', which has another meaning"):
        Module().register_buffer("to", torch.zeros(1))


def test_whole_numbers_do_not_take_the_place_of_others():
    model = Linear(2, 3)
    state = model.state_dict() | {"bias": torch.zeros(3, dtype=torch.int64)}
    with pytest.raises(ValueError, match=r"expected bias in torch.float32, got torch.int64"):
        model.load_state_dict(state)
    assert (
        model.load_state_dict(model.state_dict() | {"bias": torch.zeros(3).double()}).bias.dtype
        == torch.float64
    )
