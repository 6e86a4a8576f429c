"""Recall and echo: what is drawn, and how a model reads a sequence of which one answer counts."""

import math

import pytest
import torch
from small_tensors import EXACT, double, generator

from common.data import ECHO, IGNORE_INDEX, RECALL, echo, recall
from common.evaluate import error_rate
from common.models import MODELS, StatefulNetwork, predictions


def test_recall_asks_for_the_first_symbol_at_the_end():
    x, y = recall(500, 9, generator())
    assert x.shape == y.shape == (500, 10)
    texts = [RECALL.decode(row) for row in x.tolist()]
    assert {text[-1] for text in texts} == {"?"} and {text[0] for text in texts} == set("abcdefgh")
    assert set("".join(text[1:-1] for text in texts)) == set("01234567")
    assert (y[:, :-1] == IGNORE_INDEX).all() and torch.equal(y[:, -1], x[:, 0])


def test_echo_comes_back_after_the_delay():
    x, y = echo(200, 5, generator())
    assert x.shape == y.shape == (200, 15) and (y[:, :5] == IGNORE_INDEX).all()
    assert torch.equal(y[:, 5:], x[:, :10]) and set(x.unique().tolist()) == set(ECHO.encode("01"))


@pytest.mark.parametrize("draw", [recall, echo])
def test_what_cannot_be_drawn_is_refused(draw):
    for count, delay in ((0, 5), (3, 0)):
        with pytest.raises(
            ValueError, match=f"expected at least 1 sequence and 1 step, got {count} and {delay}"
        ):
            draw(count, delay)
    assert recall(2, 1)[0].shape == (2, 2)
    torch.testing.assert_close(draw(3, 4, generator())[0], draw(3, 4, generator())[0])


@pytest.mark.parametrize("name", ["dilated", "wavenet", "recurrent", "transformer", "rnn", "lstm", "gru"])
@pytest.mark.parametrize("draw", [recall, echo])
def test_an_answer_rests_on_all_that_came_before_it(name, draw):
    """Packed, padded or neither: the prediction is that of the whole sequence, read alone."""
    vocabulary = RECALL if draw is recall else ECHO
    model = double(MODELS[name].build(len(vocabulary), generator=generator())).eval()
    x, y = draw(6, 5, generator())
    y[2:4, -1] = IGNORE_INDEX  # sequences that end earlier, or never answer
    logits, wanted = predictions(model, x, y)
    counted = y != IGNORE_INDEX
    alone = torch.cat([model(row[None, : int(c.nonzero().max()) + 1])[0][c[: int(c.nonzero().max()) + 1]]
                       for row, c in zip(x, counted, strict=True) if c.any()])  # fmt: skip
    torch.testing.assert_close(logits, alone, **EXACT)
    assert torch.equal(wanted, y[counted])


@pytest.mark.parametrize("name", ["rnn", "lstm", "gru"])
def test_a_network_goes_on_where_it_stopped(name):
    model = double(MODELS[name].build(9, layers=2, generator=generator())).eval()
    x = torch.randint(9, (3, 8), generator=generator())
    first, state = model.go_on(x[:, :3])
    second, _ = model.go_on(x[:, 3:], state)
    torch.testing.assert_close(torch.cat([first, second], 1), model(x), **EXACT)


@pytest.mark.parametrize(
    "name, sizes, said",
    [
        (
            "lstm",
            {"start": "other"},
            r"expected a start among \['usual', 'orthogonal', 'forget', 'chrono'\], got",
        ),
        ("gru", {"start": "forget"}, "expected a layer of LSTM for the start 'forget', got GRU"),
        ("rnn", {"start": "chrono"}, "expected a layer of LSTM or GRU for the start 'chrono', got RNN"),
        ("lstm", {"start": "chrono", "memory": 1}, "a memory of at least 2 steps, got 1"),
    ],
)
def test_a_start_that_a_cell_cannot_have(name, sizes, said):
    with pytest.raises(ValueError, match=said):
        MODELS[name].build(9, **sizes)


def test_starts_reach_the_cell():
    one = StatefulNetwork(9, n_hidden=32, start="forget").recurrent.layers[0]["forward"]
    assert (one.input.bias + one.recurrent.bias).chunk(4)[1].tolist() == [1.0] * 32
    rotated = (
        MODELS["rnn"]
        .build(9, n_hidden=16, start="orthogonal")
        .recurrent.layers[0]["forward"]
        .recurrent.weight
    )
    torch.testing.assert_close(rotated @ rotated.T, torch.eye(16), atol=1e-5, rtol=0)
    gate = (
        MODELS["gru"]
        .build(9, start="chrono", memory=50)
        .recurrent.layers[0]["forward"]
        .input.bias.chunk(3)[1]
    )
    assert gate.max() <= torch.tensor(49.0).log()


@pytest.mark.parametrize("name", ["dilated", "recurrent", "transformer", "lstm"])
def test_a_batch_without_an_answer_is_refused(name):
    model, (x, y) = MODELS[name].build(len(RECALL)), recall(3, 4, generator())
    with pytest.raises(ValueError, match="some of which count, got .* of which none counts"):
        predictions(model, x, torch.full_like(y, IGNORE_INDEX))
    with pytest.raises(ValueError, match=r"of one shape, .*got \(3, 4\) and \(3, 5\)"):
        predictions(model, x[:, 1:], y)


def test_no_finite_answer_is_no_answer():
    model, (x, y) = MODELS["gru"].build(len(RECALL)), recall(30, 4, generator())
    assert 0 < error_rate(model, x, y) <= 1
    model.output.weight[0, 0] = float("nan")
    assert math.isnan(error_rate(model, x, y))
