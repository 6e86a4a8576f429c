"""All that learns, predicts and draws runs on another device than the CPU, and gives the same numbers there.

The device is that of `tests/second_device.py`, which needs no hardware: a tensor in the wrong place raises as
it would on a GPU. Or it is a real one, which the variable BOOK_DEVICE names (`tools/gpu.py`); its numbers are
nearly the same. A test computes once on the CPU and once there, and gives back the tensors that must be on
the device, then those that must be on the CPU.
"""

import os
import re
from contextlib import nullcontext
from functools import partial
from string import ascii_lowercase

import pytest
import torch
from second_device import second_device
from small_tensors import generator, lively, random
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence

from common import nn, optim
from common.constraints import Alphabet, Automaton, Length, NotIn, Pattern, Prefix
from common.data import Vocabulary, examples
from common.evaluate import error_rate, mean_loss, smooth, token_losses
from common.fast import PlainLoop, Stacked, StackedLoop, fused, make_loop
from common.models import (
    MLP,
    MODELS,
    POOLS,
    STARTS,
    Dilated,
    SentenceClassifier,
    Seq2Seq,
    StatefulNetwork,
    Transformer,
    Tree,
    as_convolution,
    check_packing,
    packed,
    padded,
    predictions,
)
from common.models.seq2seq import SCORES
from common.runs.running import Run, run
from common.sampling import log_probabilities, probabilities, sample
from common.train import OPTIMIZERS, Config, Examples, TrainingState, composed_steps, find_device, plain_steps

VOCABULARY = Vocabulary(ascii_lowercase)
NAMES = ["anna", "chris", "bo", "max", "mia", "eve"]
CPU = torch.device("cpu")
REAL = os.environ.get("BOOK_DEVICE")
NEARLY = 1e-7 if REAL else 0.0  # in float64
pytestmark = pytest.mark.device


def other_device():
    """A second device in a `with` block; a real one with its number, as tensors there have it."""
    return nullcontext(torch.zeros(1, device=REAL).device) if REAL else second_device()


def on_both(compute, tolerance=0.0):
    """compute(device) -> tensors on the device, tensors on the CPU: there the same numbers, and in place."""
    expected = compute(CPU)
    with other_device() as device:
        found = compute(device)
        for ours, theirs, place in zip(found, expected, (device, CPU), strict=True):
            assert {t.device for t in ours} <= {place}
            ours, theirs = [t.detach().cpu() for t in ours], list(theirs)
            allowed = max(tolerance, NEARLY)
            torch.testing.assert_close(ours, theirs, atol=allowed, rtol=allowed)


def tensors_of(output):
    """All tensors of what a model returns."""
    if isinstance(output, PackedSequence):
        return [output.data]
    return [output] if isinstance(output, Tensor) else [t for part in output for t in tensors_of(part)]


def placed(values, device):
    """Copies of inputs on a device."""
    copies = [v.clone() if isinstance(v, Tensor) else v for v in values]
    return [v.to(device) if isinstance(v, Tensor | PackedSequence) else v for v in copies]


def learned(model, inputs):
    """Outputs of a second call in training mode, gradients, all tensors then, outputs of evaluation mode."""
    for module in model.train().requires_grad_().modules():
        if isinstance(module, nn.Dropout):
            module.generator = generator(3)
    leaves = [x.requires_grad_() for x in inputs if isinstance(x, Tensor) and x.is_floating_point()]
    model(*inputs)
    outputs = tensors_of(model(*inputs))
    flat = torch.cat([y.flatten() for y in outputs])
    wanted = [*leaves, *model.parameters()]
    loss = (flat * random(len(flat), seed=99).to(flat)).sum()
    gradients = torch.autograd.grad(loss, wanted, allow_unused=True) if wanted else ()
    after = tensors_of(model.eval().requires_grad_(False)(*inputs))
    return [*outputs, *(g for g in gradients if g is not None), *model.state_dict().values(), *after]


# ---- layers ----------------------------------------------------------------------

X, TOKENS = random(3, 5, 4), torch.tensor([[1, 2, 0], [4, 0, 0]])
MASK = torch.rand((5, 2), generator=generator(2)) > 0.3
ROWS = pack_padded_sequence(X, [3, 5, 1], batch_first=True, enforce_sorted=False)
LAYERS = {  # how a layer is built, and what goes in
    "Linear": (lambda g: nn.Linear(4, 3, generator=g), X),
    "Linear without bias": (lambda g: nn.Linear(4, 3, bias=False, generator=g), X),
    "Embedding": (lambda g: nn.Embedding(5, 3, generator=g), TOKENS),
    "Embedding with pads": (lambda g: nn.Embedding(5, 3, padding_idx=0, generator=g), TOKENS),
    "PositionalEmbedding": (lambda g: nn.PositionalEmbedding(7, 4, generator=g), X, 2),
    "BatchNorm1d": (lambda g: nn.BatchNorm1d(4), X),
    "LayerNorm": (lambda g: nn.LayerNorm(4), X),
    "CausalConv1d": (lambda g: nn.CausalConv1d(4, 3, 2, 2, generator=g), X),
    "Tanh": (lambda g: nn.Tanh(), X),
    "ReLU": (lambda g: nn.ReLU(), X),
    "SiLU": (lambda g: nn.SiLU(), X),
    "Gate": (lambda g: nn.Gate(), X),
    "Dropout": (lambda g: nn.Dropout(0.5), X),
    "VariationalDropout": (lambda g: nn.VariationalDropout(0.5), X),
    "Flatten": (lambda g: nn.Flatten(), X),
    "FlattenConsecutive": (lambda g: nn.FlattenConsecutive(5), X),
    "Sequential": (lambda g: nn.Sequential([nn.Linear(4, 3, generator=g), nn.Tanh()]), X),
    "Residual": (lambda g: nn.Residual([nn.Linear(4, 4, generator=g)]), X),
    "MultiheadAttention": (lambda g: nn.MultiheadAttention(4, 2, generator=g), X),
    "MultiheadAttention of another": (
        lambda g: nn.MultiheadAttention(4, 2, generator=g), X, X[:, :2], None, MASK,
    ),
    "RNNCell": (lambda g: nn.RNNCell(4, 3, generator=g), X[0]),
    "GRUCell": (lambda g: nn.GRUCell(4, 3, generator=g), X[0]),
    "LSTMCell": (lambda g: nn.LSTMCell(4, 3, generator=g), X[0]),
    "RNN": (lambda g: nn.RNN(4, 3, 2, dropout=0.5, generator=g), X),
    "GRU": (lambda g: nn.GRU(4, 3, bidirectional=True, generator=g), X),
    "GRU of rows": (lambda g: nn.GRU(4, 3, 2, bidirectional=True, generator=g), ROWS),
    "GRU that goes on": (lambda g: nn.GRU(4, 3, generator=g), ROWS, random(1, 3, 3)),
    "LSTM": (lambda g: nn.LSTM(4, 3, 2, bidirectional=True, dropout=0.3, generator=g), ROWS),
    "Recurrent": (lambda g: nn.Recurrent("gru", 4, 3, generator=g), X),
    "TorchModule": (lambda g: nn.TorchModule(torch.nn.LayerNorm(4)), X),
}  # fmt: skip


def there(build, device):
    """A model whose numbers are none of the start's, moved."""
    model = lively(build(generator())).requires_grad_(False)
    state = {name: t.abs() if name.endswith("running_var") else t for name, t in model.state_dict().items()}
    model.load_state_dict(state).to(device)
    assert model.device == (device if model.state_dict() else CPU)
    return model


@pytest.mark.parametrize("name", LAYERS)
def test_layers(name):
    build, *inputs = LAYERS[name]
    on_both(lambda device: (learned(there(build, device), placed(inputs, device)), []), 1e-12)


def test_no_layer_is_left_out():
    kinds = {kind for kind in vars(nn).values() if isinstance(kind, type) and issubclass(kind, nn.Module)}
    assert {kind.__name__ for kind in kinds - {nn.Module, nn.Cell}} == {name.split()[0] for name in LAYERS}


@pytest.mark.parametrize("name", ["RNN", "GRU", "GRU of rows", "GRU that goes on", "LSTM"])
def test_recurrent_layers_by_torchs_kernels(name):
    build, *inputs = LAYERS[name]

    def compute(device):
        with fused(there(build, device)) as layer:
            return learned(layer, placed(inputs, device)), []

    on_both(compute, 1e-12)


def test_functions_beside_the_layers():
    def compute(device):
        x, mask = placed([X, MASK], device)
        weights = nn.attention_weights(x, x[:, :2], mask), nn.causal_mask(2, 5, device)
        outputs, (h, c) = nn.unroll(there(lambda g: nn.LSTMCell(4, 3, generator=g), device), x.unbind(1))
        named = nn.from_torch({"weight_ih_l0": x[0], "bias_hh_l0": x[0, 0]})
        return [*weights, *outputs, h, c, *named.values()], []

    on_both(compute)


STARTED = {
    "orthogonal": lambda model: nn.orthogonal_start(model, generator(4)),
    "forget": lambda model: nn.forget_bias_start(model),
    "chrono": lambda model: nn.chrono_start(model, 10, generator(4)),
}


@pytest.mark.parametrize("start", STARTED)
def test_a_model_that_has_moved_can_be_started_anew(start):
    def compute(device):
        model = STARTED[start](there(lambda g: nn.LSTM(4, 3, 2, generator=g), device))
        return list(model.state_dict().values()), []

    on_both(compute)


@pytest.mark.parametrize("build", [lambda: nn.Linear(2, 3), lambda: nn.Recurrent("gru", 2, 3)])
def test_what_learns_may_move_and_comes_back(build):
    with other_device() as device:
        layer = build().requires_grad_()
        before = {name: t.clone() for name, t in layer.state_dict().items()}
        layer.to(device)
        assert all(t.device == device and t.is_leaf and t.requires_grad for t in layer.parameters())
        layer.to(CPU)
        assert all(torch.equal(t, before[name]) for name, t in layer.state_dict().items())
        assert find_device(device.type).type == device.type
    here = layer.parameters()
    assert all(p is q for p, q in zip(layer.to(CPU).parameters(), here, strict=True))
    assert all(p.is_leaf and p.requires_grad for p in layer.to(torch.float64).parameters())
    assert not any(p.requires_grad for p in layer.requires_grad_(False).to(torch.float32).parameters())


# ---- models ----------------------------------------------------------------------

SMALL = {name: {"n_embd": 4, "n_hidden": 6} for name in MODELS} | {
    "wavenet": {"n_channels": 4, "n_skip": 5, "dilations": (1, 2)},
    "transformer": {"n_channels": 4, "heads": 2},
}  # fmt: skip
MORE = {
    "dilated": lambda g: Dilated(
        9, 4, 4, (1, 2), activation="gate", residual=True, dropout=0.2, input_dropout=0.1, generator=g
    ),
    "transformer": lambda g: Transformer(9, 4, 2, dropout=0.1, norm_first=False, generator=g),
    "convolutions of a tree": lambda g: as_convolution(Tree(9, 3, 4, 2, generator=g)),
} | {
    f"sentences, {pool}": lambda g, pool=pool: SentenceClassifier(9, 3, nn.GRU, 4, 3, pool=pool, generator=g)
    for pool in POOLS
}


def tokens(*shape, least=1, most=9):
    return torch.randint(least, most, shape, generator=generator(5))


def small(name, vocab_size=27, g=None):
    return MODELS[name].build(vocab_size, **SMALL[name], generator=g or generator())


@pytest.mark.parametrize("name", [*MODELS, *(f"more {name}" for name in MORE)])
def test_models(name):
    more = MORE.get(name.removeprefix("more "))
    build = more if name.startswith("more ") else lambda g: small(name, 9, g)
    x = tokens(3, MODELS[name].block_size or 5 if name in MODELS else 5)
    x[1, 3:] = 0  # pads of a sentence
    on_both(lambda device: (learned(there(build, device), placed([x], device)), []), 1e-12)


@pytest.mark.parametrize("tree", ["moved first", "moved as convolutions"])
def test_a_tree_as_convolutions(tree):
    def compute(device):
        model = there(lambda g: Tree(9, 3, 4, 2, generator=g), device if tree == "moved first" else CPU)
        slid = as_convolution(model).to(device)
        return [slid(tokens(3, 7).to(device)), *slid.state_dict().values()], []

    on_both(compute)


@pytest.mark.parametrize(
    "build",
    [
        lambda g: Transformer(9, 4, 2, generator=g),
        lambda g: StatefulNetwork(9, nn.GRU, 4, 3, 2, generator=g),
        lambda g: StatefulNetwork(9, nn.LSTM, 4, 3, 2, generator=g),
    ],
)
def test_models_that_go_on(build):
    def compute(device):
        model, x = there(build, device).eval(), tokens(3, 6).to(device)
        first, past = model.go_on(x[:, :2])
        second, past = model.go_on(x[:, 2:4], past)
        return tensors_of([first, second, past, model.go_on(x[:, 4:], past)[0]]), []

    on_both(compute, 1e-12)


@pytest.mark.parametrize("start", STARTS)
def test_stateful_networks_by_their_starts(start):
    build = partial(StatefulNetwork, 9, nn.LSTM, 4, 3, start=start)
    on_both(lambda device: (list(build(generator=generator()).to(device).state_dict().values()), []))


SOURCE, TARGET = torch.tensor([[5, 6, 7, 2], [8, 2, 0, 0]]), torch.tensor([[1, 4, 5], [1, 7, 0]])


@pytest.mark.parametrize("score", SCORES)
def test_translators(score):
    def compute(device):
        model = there(lambda g: Seq2Seq(9, 9, score, 4, 6, dropout=0.2, generator=g), device)
        x, y = placed([SOURCE, TARGET], device)
        found = learned(model, [x, y])
        with fused(model):
            *read, state = model.encode(x)
            logits, state, weights = model.decode(y, *read, state)
            return [*found, *read, logits, *state, weights], []

    on_both(compute, 1e-12)


# ---- predictions of names, packed and padded --------------------------------------

KINDS = ["mlp", "dilated", "wavenet", "recurrent", "transformer", "gru"]  # windows, packed rows, padded rows


def data(name):
    return examples(NAMES, VOCABULARY, MODELS[name].block_size)


@pytest.mark.parametrize("name", KINDS)
def test_predictions(name):
    def compute(device):
        model, batch = there(lambda g: small(name, g=g), device), placed(data(name), device)
        check_packing(model, *batch)
        model.train()
        return [*predictions(model, *batch), *model.state_dict().values()], []

    on_both(compute, 1e-12)


def test_packed_and_padded_rows():
    position, mask = torch.tensor([[0, 1, 2, 0, 1]] * 3), torch.tensor([[True] * 3 + [False] * 2] * 3)

    def compute(device):
        convolution = there(lambda g: nn.CausalConv1d(4, 4, 3, generator=g), device)
        norm, (at, kept, x) = there(lambda g: nn.BatchNorm1d(4), device), placed([position, mask, X], device)
        with packed(convolution, at), padded(norm, kept):
            return [convolution(x), norm(x), norm.running_mean, norm.running_var], []

    on_both(compute)


# ---- training --------------------------------------------------------------------


def test_plain_steps():
    def compute(device):
        model = there(lambda g: small("hierarchical-bug", g=g), device)
        losses = plain_steps(model, *placed(data("flat"), device), generator(1), Config(batch_size=5), 0, 3)
        return list(model.state_dict().values()), [losses]

    on_both(compute)


def trained(build, config, device, soft=False):
    """A model after two stretches, what stands beside it, the losses."""
    model, g = there(build, device), generator(1)
    contexts, targets = examples(NAMES, VOCABULARY, 3 if isinstance(model, MLP) else None)
    taught = torch.rand((*targets.shape, 27), generator=generator(7), dtype=torch.float64).softmax(-1)
    batch = Examples(*placed([contexts, targets, taught if soft else None], device))
    state = TrainingState.fresh(model, config)
    losses = [composed_steps(model, batch, g, config, *part, state) for part in ((0, 2), (2, 3))]
    beside = [t for slots in state.optimizer.values() for t in slots.values()]
    average = optim.ema_value(state.ema, config.ema_decay, 3) if config.ema_decay else {}
    return [*model.state_dict().values(), *beside, *state.ema.values(), *average.values()], losses


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_composed_steps_by_their_optimisers(optimizer):
    config = Config(batch_size=5, lr=0.01, optimizer=optimizer, weight_decay=0.1)
    on_both(lambda device: trained(lambda g: small("mlp", g=g), config, device))


DROPPED = {  # windows, packed rows, padded rows
    "mlp": lambda g: small("mlp", g=g),
    "dilated": lambda g: Dilated(27, 4, 5, (1, 2), dropout=0.2, generator=g),
    "wavenet": lambda g: MODELS["wavenet"].build(**SMALL["wavenet"], dropout=0.2, generator=g),
    "recurrent": lambda g: MODELS["recurrent"].build(
        n_embd=4, n_hidden=6, dropout=0.2, input_dropout=0.1, generator=g
    ),
    "lstm": lambda g: StatefulNetwork(27, nn.LSTM, 4, 5, 2, 0.2, generator=g),
}


@pytest.mark.parametrize("soft", [False, True], ids=["alone", "with a teacher"])
@pytest.mark.parametrize("name", DROPPED)
def test_composed_steps_with_all_that_they_have(name, soft):
    config = Config(
        batch_size=4, lr=0.01, optimizer="muon", distill=0.3 * soft, label_smoothing=0.1, max_grad_norm=0.5,
        ema_decay=0.9, warmup=2, schedule="cosine",
    )  # fmt: skip
    on_both(lambda device: trained(DROPPED[name], config, device, soft=soft), 1e-9)


# ---- evaluation, sampling --------------------------------------------------------


@pytest.mark.parametrize("name", KINDS)
def test_losses(name):
    def compute(device):
        model, batch = there(lambda g: small(name, g=g), device), placed(data(name), device)
        losses = token_losses(model, *batch)
        values = torch.tensor([mean_loss(model, *batch), error_rate(model, *batch)])
        return [smooth(losses.to(device), 3)], [losses, values]

    on_both(compute, 1e-12)


SAMPLED = [
    {}, {"temperature": 0.7, "top_k": 5, "prefix": "an"}, {"top_p": 0.8}, {"top_k": 3, "top_p": 0.5},
    {"constraint": Length(3, 6) & Prefix("a") & NotIn(["anna"])},
    {"constraint": Pattern("a?b") & Alphabet("abc"), "exact": True},  # scores all names that meet it
    {"constraint": Length(1, 30), "exact": True},  # draws until enough do
]  # fmt: skip


@pytest.mark.parametrize("options", SAMPLED, ids=" ".join)
@pytest.mark.parametrize("name", ["mlp", "dilated"])
def test_samples(name, options, monkeypatch):
    monkeypatch.setattr("common.sampling.ENUMERATED", 50)

    def drawn(device):
        model = there(lambda g: small(name, g=g), device)
        options_now = {"generator": generator(2), "max_length": 6} | options
        return sample(model, VOCABULARY, MODELS[name].block_size, 4, **options_now)

    with other_device() as device:
        assert drawn(device) == drawn(CPU)


@pytest.mark.parametrize("name", ["mlp", "dilated", "recurrent"])
def test_probabilities_of_names(name):
    shape = {"temperature": 0.7, "top_k": 20, "top_p": 0.9}

    def compute(device):
        model, block_size = there(lambda g: small(name, g=g), device), MODELS[name].block_size
        whole = log_probabilities(model, VOCABULARY, block_size, NAMES)
        return [], [whole, log_probabilities(model, VOCABULARY, block_size, ["anna"], prefix="an", **shape)]

    on_both(compute, 1e-9)
    on_both(lambda device: ([probabilities(random(4, 27).to(device), **shape)], []))


def test_a_logits_processor():
    automaton = Automaton(Length(2, 4) & Alphabet("abc"), VOCABULARY, 9)
    states = [automaton.start, automaton.allowed(automaton.start)[1]]
    on_both(lambda device: ([automaton.process_logits(random(2, 27).to(device), states)], []))


# ---- the same sooner -------------------------------------------------------------


@pytest.mark.parametrize("name, optimizer", [("mlp", "sgd"), ("mlp", "adamw"), ("hierarchical-bug", "muon")])
@pytest.mark.parametrize("loop", [PlainLoop, StackedLoop])
def test_loops(loop, name, optimizer, monkeypatch):
    monkeypatch.setattr(Stacked, "graph", lambda stacked, tensors: stacked._step)  # no graph there
    how = {"batch_size": 4, "optimizer": optimizer, "ema_decay": 0.5, "max_grad_norm": 1.0}
    configs = [Config(lr=lr, **how) for lr in (0.1, 0.2)]
    options = {"compile": False} if loop is StackedLoop else {}

    def compute(device):
        built = [there(lambda g: small(name, g=g), device) for _ in configs]
        batch = Examples(*placed(data(name), device))
        run = loop(built, batch, [generator(1), generator(2)], configs, **options)
        losses = [run.steps(0, 2)]
        run.load(run.states())
        losses.append(run.steps(2, 3))
        return [t for model in run.put_into(built, 3) for t in model.state_dict().values()], losses

    on_both(compute, 1e-12)


def test_the_readable_loop_is_what_recurrent_models_get():
    def compute(device):
        built = [there(DROPPED["lstm"], device)]
        run = make_loop(built, tuple(placed(data("lstm"), device)), [generator(1)], [Config(batch_size=4)])
        return [t for tensors, _ in run.states() for t in tensors.values()], [run.steps(0, 2)]

    on_both(compute, 1e-12)


def test_a_whole_run_with_a_teacher(tmp_path):
    names = tmp_path / "names.txt"
    names.write_text("\n".join(NAMES * 2) + "\n")
    teacher = tmp_path / "teacher"
    run(Run("flat", Config(steps=2, batch_size=4), {"n_hidden": 5}, data=names), teacher, compile=False)
    config = Config(steps=4, batch_size=4, optimizer="adamw", lr=0.01, distill=0.3, ema_decay=0.5)
    taught = Run("flat", config, {"n_hidden": 6}, (0, 1), names, teachers=(teacher,))
    figures = []
    with other_device() as device:
        for name, place in (("here", CPU), ("there", device)):
            results = run(taught, tmp_path / name, device=place, compile=False, evaluate_every=2)
            assert results["provenance"]["device"] == place.type
            figures.append((results["runs"], results["curve"]))
    if REAL:
        figures = [[float(n) for n in re.findall(r"-?\d[\d.e+-]*", repr(one))] for one in figures]
    assert figures[1] == (pytest.approx(figures[0], abs=1e-3) if REAL else figures[0])
