"""Whole names, dropout and teachers in the compiled path: what a plain loop computes, from the same draws."""

import pytest
import torch
from small_runs import NAMES, VOCABULARY, largest_difference, needs_compiler

from common.data import IGNORE_INDEX, examples
from common.fast import PlainLoop, StackedLoop, loop, make_loop
from common.fast.layouts import EndToEnd, Layout, StepByStep
from common.models import MODELS
from common.train import Config, Examples, seeded

X, Y = examples(NAMES, VOCABULARY, None)
SOFT = torch.rand(*Y.shape, 27, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).softmax(-1)
DILATED = {"n_embd": 4, "n_hidden": 8, "activation": "silu", "residual": True}
GRU = {"cell": "gru", "n_embd": 4, "n_hidden": 8}
CASES = {  # model, sizes, configuration, layout; all but the first with a teacher
    "dilated": ("dilated", {"n_embd": 4, "n_hidden": 8}, {}, EndToEnd),
    "dilated, dropout": ("dilated", DILATED | {"dropout": 0.1, "input_dropout": 0.1},
                         {"optimizer": "muon", "lr": 0.01, "weight_decay": 0.1}, EndToEnd),
    "wavenet": ("wavenet", {"n_channels": 6, "n_skip": 6, "dilations": (1, 2, 4), "dropout": 0.1},
                {"optimizer": "adamw", "lr": 0.003, "ema_decay": 0.9, "label_smoothing": 0.1,
                 "max_grad_norm": 0.5}, EndToEnd),
    "transformer": ("transformer", {"n_channels": 8, "heads": 2, "dropout": 0.1},
                    {"optimizer": "adam", "lr": 0.003}, Layout),
    "torch's GRU": ("recurrent", GRU | {"dropout": 0.2, "input_dropout": 0.1},
                    {"optimizer": "muon", "lr": 0.005}, StepByStep),
    "torch's LSTM": ("recurrent", GRU | {"cell": "lstm"}, {"optimizer": "rmsprop", "lr": 0.003}, StepByStep),
    "torch's RNN": ("recurrent", GRU | {"cell": "rnn"}, {"optimizer": "momentum", "lr": 0.003}, StepByStep),
    "LSTM": ("lstm", {"n_embd": 4, "n_hidden": 8, "layers": 2}, {"optimizer": "adamw", "lr": 0.003},
             StepByStep),
    "GRU": ("gru", {"n_embd": 4, "n_hidden": 8, "dropout": 0.1}, {}, StepByStep),
}  # fmt: skip


def both(case, seeds, steps, batch_size=32, **how):
    """The two loops after so many steps of a case, their losses, and the models that go into them."""
    name, sizes, config, _ = CASES[case]
    taught = case != "dilated"
    config = Config(steps=steps, batch_size=batch_size, distill=0.5 if taught else 0.0, **config)
    build = lambda generator: MODELS[name].build(generator=generator, **sizes).to(dtype=torch.float64)  # noqa: E731
    given, done = Examples(X, Y, SOFT if taught else None), []
    for kind, more in ((PlainLoop, {}), (StackedLoop, how)):
        models, generators = seeded(build, seeds)
        made = kind(models, given, generators, [config] * len(models), **more)
        try:
            losses = made.steps(0, steps)
            done.append((made, losses, made.put_into(models, steps), generators))
        finally:
            made.close()
    return done


def assert_same(done):
    (_, expected, plain, g), (_, losses, models, h) = done
    assert torch.allclose(losses, expected, atol=1e-8, rtol=0)
    assert all(largest_difference(a, b) < 1e-8 for a, b in zip(models, plain, strict=True))
    assert all(torch.equal(a.get_state(), b.get_state()) for a, b in zip(g, h, strict=True))


@pytest.mark.parametrize("case", CASES)
def test_the_uncompiled_graph_equals_plain(case):
    done = both(case, [0, 3], 50, compile=False)
    assert type(done[1][0].stacked.layout) is CASES[case][3]
    assert_same(done)


@needs_compiler
@pytest.mark.parametrize("case", ["dilated, dropout", "torch's GRU", "transformer"])
def test_the_compiled_step_equals_plain_over_two_processes(case):
    assert_same(both(case, [0, 3], 200, workers=2))


@pytest.mark.parametrize("case, batch_size", [("dilated, dropout", 6), ("torch's GRU", 12)])
def test_a_batch_that_finds_no_room_is_computed_without_the_graph(monkeypatch, case, batch_size):
    monkeypatch.setattr("common.fast.layouts.MARGIN", 0)
    seen, step_in = [], loop.Stacked.step_in

    def watched(self, layout, *arguments):
        seen.append(layout.widest)
        return step_in(self, layout, *arguments)

    monkeypatch.setattr(loop.Stacked, "step_in", watched)
    assert_same(both(case, [0], 40, batch_size=batch_size, compile=False))
    assert any(seen) and not all(seen)


@pytest.mark.parametrize("kind", [EndToEnd, StepByStep])
def test_every_character_of_a_batch_stands_in_one_place(kind):
    layout = kind(Examples(X, Y), 16)
    rows = torch.randint(len(X), (5, 16), generator=torch.Generator().manual_seed(1))
    numbers = layout.arrange(rows)
    assert layout.fits(rows).all() and numbers.shape == (5, *layout.shape)
    for batch, places in zip(rows, numbers, strict=True):
        counted = layout.data["y"][places] != IGNORE_INDEX
        found = torch.stack([layout.data[key][places][counted] for key in ("x", "y", "position")]).T.tolist()
        at = Y[batch] != IGNORE_INDEX
        position = torch.arange(Y.shape[1]).expand_as(Y)[batch][at]
        assert sorted(found) == sorted(torch.stack([X[batch][at], Y[batch][at], position]).T.tolist())
        assert (layout.data["read"][places] == counted).all()  # of names, all that is read counts


def test_what_no_graph_can_do_is_refused_with_the_reason():
    def loop_of(name, given, **sizes):
        models, generators = seeded(lambda generator: MODELS[name].build(generator=generator, **sizes), [0])
        return make_loop(models, given, generators, [Config(steps=5_000)])

    with pytest.warns(RuntimeWarning, match="uncompiled, and slower: dropout between recurrent layers"):
        made = loop_of("lstm", Examples(X, Y), n_embd=4, n_hidden=8, layers=2, dropout=0.1)
    assert isinstance(made, PlainLoop)
    sentences = Examples(X.clamp(min=1), X[:, 0] % 2)
    with pytest.warns(RuntimeWarning, match="SentenceClassifier takes as many steps as the longest"):
        made = loop_of("sentences", sentences, vocab_size=27)
    assert isinstance(made, PlainLoop)


def test_a_short_training_on_whole_names_is_not_compiled(monkeypatch):
    monkeypatch.setattr(loop, "StackedLoop", lambda *how, **more: pytest.fail("compiled"))
    models, generators = seeded(MODELS["dilated"].build, [0])
    assert isinstance(make_loop(models, Examples(X, Y), generators, [Config(steps=1_999)]), PlainLoop)
