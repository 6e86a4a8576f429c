"""The recurrent network is an embedding, torch's cell and a linear map; pads change no sentence's class."""

from contextlib import nullcontext

import pytest
import torch
from small_tensors import EXACT, by_equations, double, generator, gradients, lively

from common.fast import fused
from common.models import POOLS, RecurrentNetwork, SentenceClassifier
from common.nn import GRU, LSTM, RNN, Dropout, from_torch


def test_the_recurrent_network_is_embedding_cell_and_linear_map():
    ours = lively(RecurrentNetwork(vocab_size=9, cell="gru", n_embd=4, n_hidden=5, dropout=0.5)).eval()
    embedding, cell, _, last = ours.layers
    x = torch.randint(0, 9, (3, 6), generator=generator())
    h = by_equations("gru", embedding.weight[x], cell.state_dict())
    torch.testing.assert_close(ours(x), h @ last.weight + last.bias, **EXACT)


def test_its_dropout_is_one_mask_a_name_behind_the_cell_and_any_in_front():
    model = RecurrentNetwork(vocab_size=9, dropout=0.3, input_dropout=0.1)
    kinds = [(name, type(layer).__name__) for name, layer in model.named_children()]
    assert kinds == [
        ("embedding", "Embedding"), ("input_dropout", "Dropout"), ("recurrent", "Recurrent"),
        ("dropout", "VariationalDropout"), ("output", "Linear"),
    ]  # fmt: skip
    assert (model.input_dropout.p, model.dropout.p) == (0.1, 0.3)


def test_a_cell_that_is_none_is_refused():
    with pytest.raises(ValueError, match="expected one of .*'gru'.*, got 'abacus'"):
        RecurrentNetwork(cell="abacus")


# sentences

SENTENCES = [[5, 2, 9, 1], [7], [3, 3, 8, 4, 6, 2, 1], [1, 9]]
X = torch.tensor([row + [0] * (9 - len(row)) for row in SENTENCES])
LAYERS = {"RNN": RNN, "LSTM": LSTM, "GRU": GRU}
every_classifier = pytest.mark.parametrize("kind", LAYERS)
every_pool = pytest.mark.parametrize("pool", POOLS)
both_ways = pytest.mark.parametrize("bidirectional", [True, False])


def classifier(kind="LSTM", pool="mean", bidirectional=True, classes=3, **more):
    return SentenceClassifier(
        10, classes, LAYERS[kind], 4, 5, bidirectional, pool, generator=generator(), **more
    )


def lively_classifier(*arguments):
    """With another number in every place but the row of the pad, and learned."""
    model = lively(classifier(*arguments)).eval()
    with torch.no_grad():
        model.embedding.weight[0] = 0
    return model


@every_classifier
@every_pool
@both_ways
@pytest.mark.parametrize("by", ["loop", "kernels"])
def test_pads_change_nothing(kind, pool, bidirectional, by):
    """Neither logits nor gradients: a sentence alone, the batch, and the batch with more pads."""
    model = lively_classifier(kind, pool, bidirectional)
    learned = model.parameters()
    with fused(model) if by == "kernels" else nullcontext():
        alone = torch.cat([model(torch.tensor([row])) for row in SENTENCES])
        expected = gradients(alone, learned)
        for x in (X, X[:, :7]):
            together = model(x)
            torch.testing.assert_close(together, alone, atol=1e-12, rtol=1e-10)
            for ours, theirs in zip(gradients(together, learned), expected, strict=True):
                torch.testing.assert_close(ours, theirs, atol=1e-12, rtol=1e-10)


@every_classifier
@every_pool
@both_ways
def test_a_sentence_is_read_by_torchs_layer_and_pooled_over_its_words(kind, pool, bidirectional):
    theirs = getattr(torch.nn, kind)(4, 5, batch_first=True, bidirectional=bidirectional).double()
    model = lively_classifier(kind, pool, bidirectional)
    model.recurrent.load_state_dict(from_torch(theirs.state_dict()))
    with torch.no_grad():
        for row, logits in zip(SENTENCES, model(X), strict=True):
            outputs, _ = theirs(model.embedding.weight[row][None])
            forward, backward = outputs[0].split(5, 1) if bidirectional else (outputs[0], outputs[0][:, :0])
            pooled = {
                "mean": outputs[0].mean(0), "max": outputs[0].max(0).values,
                "last": torch.cat([forward[-1], backward[0]]),
            }[pool]  # fmt: skip
            expected = pooled @ model.output.weight + model.output.bias
            torch.testing.assert_close(logits, expected, atol=1e-12, rtol=1e-10)


@every_pool
def test_the_pads_embedding_is_zero_and_stays_so(pool):
    model = double(classifier(pool=pool, dropout=0.0))
    assert not model.embedding.weight[0].any() and model.embedding.weight[1:].all()
    model.requires_grad_()
    gradient = gradients(model(X), [model.embedding.weight])[0]
    assert not gradient[0].any() and gradient[1:].any(1).all()


def test_dropout_acts_on_embeddings_and_on_the_pooled_vector_with_draws_from_its_generator():
    model = double(classifier(dropout=0.5))
    drawn = []
    for module in model.modules():
        if isinstance(module, Dropout):
            module.generator = generator(7)
            shape_of = module.mask_shape
            module.mask_shape = lambda t, shape_of=shape_of: drawn.append(shape_of(t)) or shape_of(t)
    before = torch.get_rng_state()
    first, model.dropout.generator = model(X), generator(7)
    assert torch.equal(model(X), first) and not torch.equal(model(X), first)
    assert drawn[:2] == [(4, 7, 4), (4, 10)] and torch.equal(torch.get_rng_state(), before)
    model.eval()
    assert torch.equal(model(X), model(X))


def test_a_batch_may_have_one_sentence_of_one_word_and_its_longest_may_fill_it():
    model = classifier()
    assert model(torch.tensor([[4]])).shape == (1, 3)
    assert SentenceClassifier(10)(X[:, :7].int()).shape == (4, 2)


@pytest.mark.parametrize(
    "x, got",
    [
        ([[1, 2], [0, 0]], "got none in row 1"),
        ([[0, 1, 2]], "got a 0 in front of a word"),
        ([[1, 0, 2], [1, 2, 3]], "got a 0 in front of a word"),
        ([1, 2], r"got shape \(2,\)"),
        ([[[1]]], r"got shape \(1, 1, 1\)"),
        (torch.zeros((0, 3), dtype=torch.long), r"got shape \(0, 3\)"),
        (torch.zeros((3, 0), dtype=torch.long), "got none in row 0"),
    ],
    ids=str,
)
def test_what_is_no_padded_batch_of_sentences_is_refused(x, got):
    with pytest.raises(ValueError, match=rf"expected sentences \(B, T\) of at least one word, .*, {got}"):
        classifier()(torch.as_tensor(x))


def test_a_pool_that_is_none_is_refused():
    with pytest.raises(ValueError, match="expected a pool among .*'mean'.*, got 'sum'"):
        classifier(pool="sum")
