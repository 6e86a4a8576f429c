"""Encoder, attention and decoder: pads change nothing, steps are those of all at once, search finds it."""

import itertools
import math
import sys
from pathlib import Path

import pytest
import torch

from common.fast import fused
from common.models import count_parameters
from common.models.seq2seq import BEGIN, END, PAD, SCORES, Attention, Seq2Seq

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tools"))
from translation import taught  # noqa: E402

beam_search, greedy = (taught()[name] for name in ("beam_search", "greedy"))

X = torch.tensor([[5, 6, 7, 2], [8, 2, 0, 0], [9, 10, 2, 0]])
Y = torch.tensor([[1, 4, 5, 6], [1, 7, 0, 0], [1, 3, 8, 0]])


def model(score="general", sizes=(12, 11), seed=1, **options):
    made = Seq2Seq(*sizes, score, 6, 8, generator=torch.Generator().manual_seed(seed), **options)
    return made.to(torch.float64).eval()


@pytest.mark.parametrize("score", SCORES)
def test_pads_change_nothing(score):
    one = model(score, layers=2)
    together, weights = one(X, Y), one.decode(Y, *one.encode(X))[2]
    for row, (x, y) in enumerate(zip(X, Y, strict=True)):
        n, t = int((x != PAD).sum()), int((y != PAD).sum())
        torch.testing.assert_close(one(x[None, :n], y[None, :t])[0], together[row, :t])
        assert (weights[row, :, n:] == 0).all()
    torch.testing.assert_close(weights.sum(-1), torch.ones(3, 4, dtype=torch.float64))


@pytest.mark.parametrize("score", SCORES)
def test_step_by_step_is_all_at_once_and_torchs_kernels_agree(score):
    one = model(score)
    *read, state = one.encode(X)
    steps = []
    for t in range(Y.shape[1]):
        logits, state, _ = one.decode(Y[:, t : t + 1], *read, state)
        steps.append(logits)
    torch.testing.assert_close(torch.cat(steps, 1), one(X, Y))
    with fused(one):
        torch.testing.assert_close(one(X, Y), torch.cat(steps, 1))


def test_the_scores_are_those_of_the_papers():
    g = torch.Generator().manual_seed(0)
    q, h = torch.randn(1, 3, 4, generator=g), torch.randn(1, 5, 4, generator=g)
    words = torch.ones(1, 5, dtype=torch.bool)
    for t, s in itertools.product(range(3), range(5)):
        a, b = q[0, t], h[0, s]
        for score in ("dot", "general", "additive"):
            attention = Attention(4, score, generator=torch.Generator().manual_seed(2))
            if score == "additive":
                both = attention.query.weight.T @ a + attention.query.bias + attention.key.weight.T @ b
                wanted = attention.sum.weight[:, 0] @ torch.tanh(both)
            else:
                wanted = a @ (b if score == "dot" else attention.key.weight.T @ b) / 2
            torch.testing.assert_close(attention.scores(q, h)[0, t, s], wanted)
            torch.testing.assert_close(attention(q, h, words)[0], attention(q, h, words)[1] @ h)


def test_without_attention_every_step_sees_the_mean_of_the_words():
    weights = model("none").decode(Y, *model("none").encode(X))[2]
    assert weights[1, :, :2].eq(0.5).all() and weights[0].eq(0.25).all()


def log_probability(one, x, tokens):
    rows = one(x[None], torch.tensor([[BEGIN, *tokens[:-1]]]))[0].log_softmax(-1)
    return rows[range(len(tokens)), tokens].sum().item()


@pytest.mark.parametrize("power", [0.0, 1.0])
def test_a_beam_that_holds_every_sentence_finds_the_best_of_them(power):
    one = model(sizes=(12, 5), seed=3)
    one.target.weight *= 3
    for x in X:
        x = x[x != PAD]
        found = [t for t in beam_search(one, x[None], 3, beam=200, power=power)[0].tolist() if t != PAD]
        every = [s for n in (1, 2, 3) for s in itertools.product(range(2, 5), repeat=n)]
        ended = [s for s in every if (s[-1] == END or len(s) == 3) and not {END} & set(s[:-1])]
        best = max(ended, key=lambda s: log_probability(one, x, list(s)) / len(s) ** power)
        assert log_probability(one, x, found) / len(found) ** power == pytest.approx(
            log_probability(one, x, list(best)) / len(best) ** power
        )


def test_greedy_takes_the_most_probable_token_and_a_beam_of_one_does_the_same():
    one = model()
    written = greedy(one, X, 6)
    for x, row in zip(X, written, strict=True):
        x, tokens = x[x != PAD], [BEGIN]
        while len(tokens) < 7 and tokens[-1] != END:
            tokens.append(2 + int(one(x[None], torch.tensor([tokens]))[0, -1, 2:].argmax()))
        assert row[: len(tokens) - 1].tolist() == tokens[1:] and not row[len(tokens) - 1 :].any()
    assert torch.equal(beam_search(one, X, 6, beam=1)[:, : written.shape[1]], written)


def test_a_longer_beam_is_no_less_probable_and_every_row_is_alone():
    one = model(seed=5)
    rows = beam_search(one, X, 5, beam=4, power=0.0)
    for x, row in zip(X, rows, strict=True):
        alone = beam_search(one, x[x != PAD][None], 5, beam=4, power=0.0)[0]
        assert [t for t in row.tolist() if t] == [t for t in alone.tolist() if t]


def test_what_cannot_be_read_is_refused():
    with pytest.raises(ValueError, match="expected a score among .*, got 'cosine'"):
        Attention(4, "cosine")
    with pytest.raises(ValueError, match="of at least one word, got shape"):
        model()(torch.tensor([[0, 0]]), Y[:1])


def test_gradients_reach_every_parameter_and_the_output_shares_the_embedding():
    one = model().requires_grad_()
    one(X, Y).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in one.parameters())
    sizes = (12 + 11) * 6
    assert count_parameters(one) - sizes == count_parameters(model(sizes=(20, 30))) - 50 * 6
    assert math.isfinite(one(X, Y).sum().item())
