"""Properties of training and of what is kept of it: the fast path is the plain loop, files give all back."""

import copy
import tempfile
from pathlib import Path

import torch
from hypothesis import given
from hypothesis import strategies as st
from properties import (
    VOCABULARY,
    V,
    alive,
    cases,
    evenly,
    flags,
    kernels,
    names,
    seeds,
    sizes,
    whole_name_models,
)
from safetensors.torch import load_file
from small_tensors import generator
from test_stacked import flat

from common.data import examples
from common.fast import PlainLoop, StackedLoop
from common.models import MLP, BatchOnlyBatchNorm1d, Dilated, RecurrentNetwork, StatefulNetwork, Tree, WaveNet
from common.nn import CELLS, GRU, LSTM, RNN, BatchNorm1d
from common.runs import EvaluationCallback, checkpoints, train
from common.runs.files import save_tensors
from common.train import OPTIMIZERS, SCHEDULES, Config, Examples, TrainingState

STEPS = 5
share = evenly([0.0, 0.1, 0.5, 0.9])


@st.composite
def configs(draw, count=1):
    """What `count` models are trained with that may differ in their learning rates alone."""
    some = {"batch_size": draw(evenly(range(2, 7))), "optimizer": draw(evenly(sorted(OPTIMIZERS)))}
    for name in ("momentum", "weight_decay", "label_smoothing", "max_grad_norm", "ema_decay"):
        some[name] = draw(share)
    some["betas"] = draw(share), draw(evenly([0.9, 0.99]))  # less would divide by what is almost 0
    return [
        Config(STEPS, **some, lr=draw(evenly([1e-3, 1e-2])), warmup=draw(evenly(range(4))),
               schedule=draw(evenly(sorted(SCHEDULES))), drop_at=draw(share),
               drop_factor=draw(share))
        for _ in range(count)
    ]  # fmt: skip


@st.composite
def builders(draw):
    """A function of a generator that builds a small network, and its block size."""
    (a, b, c), kernel, dropout = draw(st.tuples(sizes, sizes, sizes)), draw(kernels), draw(evenly([0.0, 0.3]))
    norm, layer = draw(evenly([BatchNorm1d, BatchOnlyBatchNorm1d])), draw(evenly([RNN, LSTM, GRU]))
    cell, parts = draw(evenly(sorted(CELLS))), draw(st.tuples(flags, flags, flags))
    return draw(evenly([
        (lambda g: MLP(V, kernel, a, b, generator=g), kernel),
        (lambda g: Tree(V, a, b, kernel, norm, generator=g), 2**kernel),
        (lambda g: Dilated(V, a, (b, b), (c, 1), kernel, "gate", True, dropout, dropout, generator=g), None),
        (lambda g: WaveNet(V, a, b, (c, 1), kernel, *parts, dropout, generator=g), None),
        (lambda g: RecurrentNetwork(V, cell, a, b, dropout, dropout, generator=g), None),
        (lambda g: StatefulNetwork(V, layer, a, b, 1, dropout, generator=g), None),
    ]))  # fmt: skip


def bits(tensors):
    """By name: type, shape and bytes, in which NaNs and zeros have their signs."""
    return {
        name: (t.dtype, tuple(t.shape), t.detach().contiguous().numpy().tobytes())
        for name, t in tensors.items()
    }


# ---- the fast path -------------------------------------------------------------------


class Eager(StackedLoop):
    """The stacked step, operation by operation: a graph of it takes ten times as long to trace."""

    def _run(self, tensors, compile):
        return lambda given: self.stacked.step_in(self.stacked.layout, *given)


@cases(20)
@given(builders(), evenly([1, 2, 3]), st.data(), names("ab", longest=5, fewest=2, most=8), seeds)
def test_the_stacked_step_of_any_network_equals_the_plain_loop(found, count, data, listed, seed):
    build, block_size = found
    x, y = examples(listed, VOCABULARY, block_size)
    settings, soft = data.draw(configs(count)), None
    if data.draw(flags):  # a teacher
        soft = torch.rand((*y.shape, V), generator=generator(seed), dtype=torch.float64)
        soft, taught = soft / soft.sum(-1, keepdim=True), data.draw(evenly([0.3, 1.0]))
        settings = [Config(**{**vars(config), "distill": taught}) for config in settings]
    after = []
    for kind, how in ((PlainLoop, {}), (Eager, {"compile": False})):
        generators = [generator(seed + i) for i in range(count)]
        models = [build(g).to(dtype=torch.float64) for g in generators]
        loop = kind(models, Examples(x, y, soft), generators, settings, **how)
        losses = torch.cat([loop.steps(0, 2), loop.steps(2, STEPS)], 1)
        tensors = [flat(state) for state in loop.states()]
        tensors += [model.state_dict() for model in loop.put_into(models, STEPS)]
        after.append((losses, tensors, [torch.rand((), generator=g) for g in generators]))
    (expected, their_tensors, their_draws), (losses, tensors, draws) = after
    assert (losses - expected).abs().max() < 1e-8 and draws == their_draws
    for ours, theirs in zip(tensors, their_tensors, strict=True):
        assert list(ours) == list(theirs)
        assert all((ours[name] - theirs[name]).abs().max() < 1e-7 for name in ours)


# ---- files ---------------------------------------------------------------------------

kinds = evenly([torch.float32, torch.float64, torch.float16, torch.int64, torch.uint8, torch.bool])


@st.composite
def any_tensors(draw):
    """Tensors of any bits, NaNs among them; some are turned, and one may stand under two names."""
    found = {}
    for name in draw(st.lists(st.text("ab.é", min_size=1, max_size=4), min_size=1, max_size=4, unique=True)):
        shape, kind = draw(st.lists(st.integers(0, 3), max_size=3)), draw(kinds)
        raw = torch.randint(0, 2 if kind == torch.bool else 256, (*shape, kind.itemsize), dtype=torch.uint8,
                            generator=generator(draw(seeds)))  # fmt: skip
        t = raw.view(kind)[..., 0]
        found[name] = t.mT if t.ndim > 1 and draw(flags) else t
    return found | ({"again": t} if draw(flags) else {})


@cases(100)
@given(any_tensors(), st.dictionaries(st.text("ab", max_size=2), st.text(max_size=5), max_size=2))
def test_tensors_come_back_bit_for_bit(tensors, about):
    with tempfile.TemporaryDirectory() as folder:
        save_tensors(Path(folder) / "a.safetensors", tensors, about)
        assert bits(load_file(Path(folder) / "a.safetensors")) == bits(tensors)


@cases(60)
@given(whole_name_models(), seeds)
def test_a_model_comes_back_bit_for_bit(model, seed):
    other = copy.deepcopy(model)
    alive(model, seed).to(dtype=torch.float32).eval()
    with tempfile.TemporaryDirectory() as folder:
        save_tensors(Path(folder) / "a.safetensors", model.state_dict())
        other.load_state_dict(load_file(Path(folder) / "a.safetensors")).eval()
    assert bits(other.state_dict()) == bits(model.state_dict())
    x = torch.randint(0, V, (3, 7), generator=generator(seed))
    with torch.no_grad():
        assert torch.equal(other(x), model(x))


@cases(40)
@given(any_tensors(), any_tensors(), any_tensors(), seeds)
def test_a_checkpoint_gives_every_bit_back(tensors, slots, ema, seed):
    identity = {"model": "a", "seeds": [seed]}
    states = [(tensors, TrainingState({"p": slots, "q": {}}, ema)), (ema, TrainingState())]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "checkpoint.pt"
        drawn = torch.rand(2, 3, generator=generator(seed))
        whole = {"done": 3, "losses": drawn, "generators": [generator(seed).get_state()] * 2}
        checkpoints.save(path, identity=identity, states=states, evaluated=([], []), **whole)
        found = checkpoints.restore(path, identity, torch.device("cpu"))
    assert found["done"] == 3 and found["identity"] == identity and torch.equal(found["losses"], drawn)
    for (ours, beside), (theirs, their_beside) in zip(found["states"], states, strict=True):
        assert bits(ours) == bits(theirs) and bits(beside.ema) == bits(their_beside.ema)
        assert {name: bits(own) for name, own in beside.optimizer.items()} == {
            name: bits(own) for name, own in their_beside.optimizer.items()
        }


stretches = evenly(range(1, STEPS + 1))


class Stopped(Exception):
    pass


@cases(15)
@given(builders(), evenly([1, 2]), st.data(), names("ab", longest=5, fewest=2, most=8),
       stretches, stretches, st.lists(stretches, max_size=2), seeds,
)  # fmt: skip
def test_a_training_that_is_stopped_anywhere_ends_as_if_it_had_not_been(
    found, count, data, listed, every, kept_every, stops, seed
):
    build, block_size = found
    x, y = examples(listed, VOCABULARY, block_size)
    settings = data.draw(configs(count))
    settings = [Config(**{**vars(config), "steps": 2 * STEPS}) for config in settings]

    def trained(path=None, stop=None):
        def report(step, values):
            heard.append((step, values))
            if step == stop:
                raise Stopped

        heard = []
        generators = [generator(seed + i) for i in range(count)]
        models = [build(g).to(dtype=torch.float64) for g in generators]
        looks = EvaluationCallback(every, lambda models: [m.parameters()[0].sum() for m in models], report)
        losses = train(models, (x, y), generators, settings, compile=False, checkpoint=path,
                       checkpoint_every=kept_every, evaluation=looks)  # fmt: skip
        return (
            bits({"losses": losses}),
            [bits(m.state_dict()) for m in models],
            looks.steps,
            looks.values,
            heard,
        )

    expected = trained()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "checkpoint.pt"
        for stop in sorted(stops):
            try:
                assert trained(path, every * stop) == expected
            except Stopped:
                assert path.exists() or kept_every > every * stop
        assert trained(path) == expected
        assert trained(path) == expected, "and once more, when all is done"
