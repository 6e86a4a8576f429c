"""Properties of models: names packed and padded, a tree as a convolution, beam search against every text."""

import itertools
import math
from functools import cache

import pytest
import torch
import torch.nn.functional as F
from hypothesis import assume, given
from hypothesis import strategies as st
from properties import VOCABULARY, V, alive, cases, evenly, flags, names, seeds, sizes, whole_name_models
from small_tensors import generator
from test_models_seq2seq import beam_search, greedy, log_probability

from common.data import IGNORE_INDEX, Vocabulary, examples, sequences, windows
from common.evaluate import error_rate, mean_loss, token_losses
from common.models import as_convolution, predictions
from common.models.seq2seq import END, PAD, SCORES, Seq2Seq
from common.nn import BatchNorm1d, Embedding, FlattenConsecutive, Linear, Sequential, Tanh

CLOSE = {"atol": 1e-9, "rtol": 1e-9}


@st.composite
def batches(draw):
    """Whole names, of which some characters may not count."""
    x, y = examples(draw(names("ab", longest=6)), VOCABULARY, None)
    rows, columns = y.shape
    left_out = torch.rand(rows, columns, generator=generator(draw(seeds))) < draw(evenly([0, 0.3, 0.7]))
    y = y.masked_fill(left_out, IGNORE_INDEX)
    assume((y != IGNORE_INDEX).any())
    return x, y


# ---- packed and padded -------------------------------------------------------------


@cases(80)
@given(whole_name_models(), batches(), seeds)
def test_predictions_are_those_of_each_name_alone(model, batch, seed):
    x, y = batch
    alive(model, seed).eval()
    logits, wanted = predictions(model, x, y)
    rows = [(row, said[: len(row)] != IGNORE_INDEX) for row, said in zip(x, y, strict=True)]
    alone = torch.cat([model(row[None])[0][counted] for row, counted in rows])
    torch.testing.assert_close(logits, alone, **CLOSE)
    assert torch.equal(wanted, y[y != IGNORE_INDEX])


@cases(60)
@given(whole_name_models(), batches(), evenly(range(4)), flags, seeds)
def test_what_pads_and_the_order_of_names_change_nothing_in_training(model, batch, wider, in_rows, seed):
    x, y = batch
    model.embedding.packable = not in_rows
    read = (y != IGNORE_INDEX).flip(1).cummax(1).values.flip(1)
    assume(read.sum() > 1)  # BatchNorm refuses one value
    start = {name: t.detach().clone() for name, t in alive(model, seed).state_dict().items()}

    def trained(x, y):
        model.train().load_state_dict({name: t.clone() for name, t in start.items()}).requires_grad_()
        logits, wanted = predictions(model, x, y)
        gradients = torch.autograd.grad(
            F.cross_entropy(logits, wanted), model.parameters(), allow_unused=True
        )
        gradients = [torch.zeros(1) if g is None else g for g in gradients]
        return logits, wanted, gradients, {name: t.detach() for name, t in model.state_dict().items()}

    logits, wanted, *rest = trained(x, y)
    other = torch.randint(0, V, (len(x), x.shape[1] + wider), generator=generator(seed))
    other[:, : x.shape[1]] = x.where(read, other[:, : x.shape[1]])
    found = trained(other, F.pad(y, (0, wider), value=IGNORE_INDEX))
    torch.testing.assert_close(found, (logits, wanted, *rest), **CLOSE)
    order = torch.randperm(len(x), generator=generator(seed))
    found = trained(x[order], y[order])
    number = torch.full(y.shape, -1).masked_scatter(y != IGNORE_INDEX, torch.arange(len(wanted)))[order]
    number = number[number >= 0]
    torch.testing.assert_close(found, (logits[number], wanted[number], *rest), **CLOSE)


@cases(60)
@given(whole_name_models(), names("ab", longest=6), evenly(range(1, 5)), seeds)
def test_the_loss_of_a_batch_is_that_of_its_names(model, listed, chunk, seed):
    model, (x, y) = alive(model, seed), examples(listed, VOCABULARY, None)
    losses, wrong = [], 0
    for name in listed:
        numbers = VOCABULARY.encode(name)
        read, said = [VOCABULARY.begin_index, *numbers], torch.tensor([*numbers, VOCABULARY.end_index])
        logits = model.eval()(torch.tensor([read]))[0].detach()
        losses.append(F.cross_entropy(logits, said, reduction="none"))
        wrong += (logits.argmax(-1) != said).sum().item()
    expected = torch.cat(losses)
    torch.testing.assert_close(token_losses(model.train(), x, y, chunk), expected, **CLOSE)
    assert mean_loss(model, x, y) == pytest.approx(expected.mean().item())
    assert error_rate(model, x, y, chunk) == pytest.approx(wrong / len(expected)) and model.training


# ---- a tree as a convolution -------------------------------------------------------


@cases(60)
@given(st.lists(evenly([2, 3]), min_size=1, max_size=3), st.data(), names("ab", longest=9), seeds)
def test_any_tree_slid_along_a_name_has_its_logits(groups, data, listed, seed):
    """Of any groups, with linear maps between the levels, biases, and norms where there are any."""
    width = data.draw(sizes)
    parts = {"embedding": Embedding(V, width)}
    for level, n in enumerate(groups):
        parts[f"fuse{level}"], width = FlattenConsecutive(n), width * n
        for i in range(data.draw(evenly(range(3)))):
            wider = data.draw(sizes)
            parts[f"linear{level}_{i}"] = Linear(width, wider, bias=data.draw(flags))
            parts |= {f"norm{level}_{i}": BatchNorm1d(wider)} if data.draw(flags) else {}
            parts |= {f"tanh{level}_{i}": Tanh()} if data.draw(flags) else {}
            width = wider
    tree = alive(Sequential(parts | {"output": Linear(width, V)}), seed).eval()
    vocabulary = Vocabulary("abc")  # the dot stands in front, and is number 0
    contexts, _ = windows(listed, vocabulary, math.prod(groups))
    x, _, mask = sequences(listed, vocabulary)
    torch.testing.assert_close(as_convolution(tree)(x)[mask], tree(contexts), **CLOSE)


# ---- search --------------------------------------------------------------------------


@st.composite
def translators(draw):
    """A network of two to four target tokens that a text may hold, and some sentences to read."""
    model = Seq2Seq(6, 3 + draw(evenly([1, 2, 3])), draw(evenly(SCORES)), 3, 4)
    alive(model, draw(seeds)).eval()
    model.requires_grad_(False).target.weight *= 4  # far from even
    lists = st.lists(st.lists(evenly([3, 4, 5]), min_size=1, max_size=4), min_size=1, max_size=3)
    rows = [torch.tensor([*row, END]) for row in draw(lists)]
    return model, torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)


def scored(model, x, tokens, power):
    return log_probability(model, x, list(tokens)) / len(tokens) ** power


def searched(model, x, longest, beam, power):
    """Beam search with lists: of all ways to go on with each of the best, the best, ended ones among them."""
    best, score = [()], cache(lambda tokens: scored(model, x, tokens, power))
    for _ in range(longest):
        ahead = [one for one in best if one[-1:] == (END,)]
        goes_on = [one for one in best if one[-1:] != (END,)]
        ahead += [(*one, token) for one in goes_on for token in range(2, len(model.target.weight))]
        best = sorted(ahead, key=score, reverse=True)[:beam]
    return best[0]


def without_pads(row):
    return tuple(token for token in row.tolist() if token != PAD)


powers = evenly([0.0, 0.6, 1.0])


@cases(25)
@given(translators(), evenly(range(1, 5)), evenly(range(1, 5)), powers)
def test_beam_search_is_that_of_its_definition_whatever_stands_beside_a_sentence(found, longest, beam, power):
    model, source = found
    for x, row in zip(source, beam_search(model, source, longest, beam, power), strict=True):
        assert without_pads(row) == searched(model, x[x != PAD], longest, beam, power)
    if beam == 1:
        rows = [without_pads(row) for row in greedy(model, source, longest)]
        assert rows == [without_pads(row) for row in beam_search(model, source, longest, 1, power)]


@cases(25)
@given(translators(), evenly(range(1, 4)), powers)
def test_a_beam_that_holds_every_sentence_finds_the_best(found, longest, power):
    model, source = found
    x, tokens = source[:1], range(2, len(model.target.weight))
    ended = [(*some, END) for n in range(longest) for some in itertools.product(tokens[1:], repeat=n)]
    every = ended + list(itertools.product(tokens[1:], repeat=longest))
    best = max(every, key=lambda some: scored(model, x[0], some, power))
    (row,) = beam_search(model, x, longest, len(every), power)
    assert without_pads(row) == best
