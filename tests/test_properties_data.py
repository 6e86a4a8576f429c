"""Properties of what turns texts into numbers and parts: vocabularies, windows, splits, tokens, n-grams."""

import itertools
import sys
from collections import Counter
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from properties import cases, either, evenly, flags, seeds, signs, vocabularies
from test_shakespeare import counted_by_hand

from common.data import IGNORE_INDEX, Vocabulary, examples, sequences, split_names, windows
from common.data.reviews import Labelled, near_duplicates, similarity, split_reviews, tokenize, words_of
from common.data.text import hold_out
from common.data.translation import Pair, components, load_phrases, plain, split_pairs

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tools"))
import shakespeare  # noqa: E402
from translation import CHAPTER, Pieces, Words  # noqa: E402

# ---- vocabularies ----------------------------------------------------------------


@cases(150)
@given(vocabularies(), st.data())
def test_tokens_come_back_and_nothing_else_is_taken(vocabulary, data):
    size, ordinary = len(vocabulary), [vocabulary.tokens[i] for i in vocabulary.ordinary]
    assert vocabulary.encode(vocabulary.tokens) == list(range(size)) and ordinary == sorted(set(ordinary))
    tokens = data.draw(st.lists(st.sampled_from(vocabulary.tokens), max_size=8))
    numbers = vocabulary.encode(tokens)
    text = vocabulary.decode(numbers)
    assert text == vocabulary.separator.join(tokens) and vocabulary.encode(text) == numbers
    assert eval(repr(vocabulary), {"Vocabulary": Vocabulary}) == vocabulary
    wrong = data.draw(evenly([*range(-2 * size, 0), *range(size, 2 * size), IGNORE_INDEX]))
    with pytest.raises(IndexError):
        vocabulary.decode([*numbers, wrong])


@cases(100)
@given(vocabularies(), st.text(signs, min_size=1, max_size=3), st.data())
def test_what_is_no_token_is_the_unknown_one_or_refused(vocabulary, other, data):
    tokens = data.draw(st.lists(st.sampled_from(vocabulary.tokens), max_size=4))
    with_other = [*tokens, other]
    if other in vocabulary.tokens:
        assert vocabulary.tokens[vocabulary.encode(with_other)[-1]] == other
    elif vocabulary.unknown is None:
        with pytest.raises(ValueError, match="is not one of"):
            vocabulary.encode(with_other)
    else:
        assert vocabulary.encode(with_other) == [*vocabulary.encode(tokens), vocabulary.unknown_index]


# ---- windows and whole names -----------------------------------------------------


@st.composite
def texts_of_a_vocabulary(draw):
    """A vocabulary, and texts of its ordinary tokens as lists."""
    vocabulary = draw(vocabularies())
    ordinary = [vocabulary.tokens[i] for i in vocabulary.ordinary]
    return vocabulary, draw(st.lists(st.lists(st.sampled_from(ordinary), max_size=6), min_size=1, max_size=5))


@cases(100)
@given(texts_of_a_vocabulary(), evenly(range(1, 10)))
def test_examples_are_those_of_the_definition(found, block_size):
    vocabulary, texts = found
    begin, end, number = vocabulary.begin_index, vocabulary.end_index, vocabulary.encode
    contexts, targets, rows = [], [], []
    for text in texts:
        for i, token in enumerate([*text, None]):
            before = number(text[:i])[-block_size:]
            contexts.append([begin] * (block_size - len(before)) + before)
            targets.append(end if token is None else number([token])[0])
        rows.append(([begin, *number(text)], [*number(text), end]))
    x, y = windows(iter(texts), vocabulary, block_size)
    assert (x.tolist(), y.tolist()) == (contexts, targets)
    x, y = examples(iter(texts), vocabulary, None)
    inputs, _, mask = sequences(texts, vocabulary, length=9)
    for i, (read, said) in enumerate(rows):
        n = len(read)
        assert x[i, :n].tolist() == inputs[i, :n].tolist() == read and y[i, :n].tolist() == said
        assert x[i, n:].eq(vocabulary.pad_index).all() and inputs[i, n:].eq(vocabulary.pad_index).all()
        assert y[i, n:].eq(IGNORE_INDEX).all() and mask[i].tolist() == [t < n for t in range(9)]


# ---- splits ----------------------------------------------------------------------


@cases(200)
@given(st.integers(0, 3_000), seeds)
def test_a_split_is_a_partition_of_exact_sizes(count, seed):
    items = [f"name {i // 2}" for i in range(count)]  # each twice: the list may repeat itself
    if count < 6:
        with pytest.raises(ValueError, match=f"at least 6 names .* got {count}"):
            split_names(items, seed)
        return
    parts = split_names(items, seed)
    first, second = count * 8 // 10, count * 9 // 10
    assert [len(part) for part in parts] == [first, second - first, count - second]
    assert sum(map(Counter, parts), Counter()) == Counter(items) and split_names(items, seed) == parts


@cases(150)
@given(st.lists(st.tuples(*[evenly("a b c d e f g h A! B? c. é É".split())] * 2), max_size=16),
       evenly([0.1, 0.2, 0.34, 0.49]), seeds)  # fmt: skip
def test_no_sentence_stands_in_two_parts(sentences, held, seed):
    pairs = list(dict.fromkeys(Pair(*both) for both in sentences))
    keys = [{(side, plain(text)) for side, text in enumerate(pair)} for pair in pairs]
    group = list(range(len(pairs)))
    for _, (i, j) in itertools.product(pairs, itertools.combinations(range(len(pairs)), 2)):
        if keys[i] & keys[j]:
            group[i] = group[j] = min(group[i], group[j])
    wanted = [[i for i, own in enumerate(group) if own == first] for first in sorted(set(group))]
    assert components(pairs) == wanted
    try:
        parts = split_pairs(pairs, held, seed)
    except ValueError as error:
        assert f"got {len(wanted)} groups" in str(error)
        return
    part_of = {pair: number for number, part in enumerate(parts) for pair in part}
    assert len(part_of) == len(pairs) == sum(map(len, parts)) and all(parts)
    assert all(len({part_of[pairs[i]] for i in members}) == 1 for members in wanted)
    assert max(len(parts.val), len(parts.test)) <= held * len(pairs)
    assert split_pairs(pairs, held, seed) == parts


SHARES = sorted({a / b for b in range(1, 7) for a in range(1, b + 1)})  # what similarity may be, exactly
few_words = st.lists(evenly("abc"), min_size=3, max_size=6).map(" ".join)
alike_texts = either(few_words, few_words, few_words, evenly(["A, b, A!", "...", "c"]))


@cases(150)
@given(st.lists(alike_texts, min_size=8, max_size=24), evenly(SHARES), seeds)
def test_near_duplicates_are_those_of_all_pairs_and_stay_together(texts, threshold, seed):
    alike = [
        (i, j)
        for i, j in itertools.combinations(range(len(texts)), 2)
        if similarity(texts[i], texts[j]) >= threshold
    ]
    assert near_duplicates(texts, threshold) == alike
    items = [Labelled(text, str(i)) for i, text in enumerate(texts)]
    try:
        parts = split_reviews(items, seed, threshold)
    except ValueError as error:
        assert "expected enough texts" in str(error)
        return
    part_of = {int(item.label): number for number, part in enumerate(parts) for item in part}
    assert sorted(part_of) == list(range(len(texts))) == sorted(int(i.label) for part in parts for i in part)
    assert all(part_of[i] == part_of[j] for i, j in alike)
    first, second = len(texts) * 8 // 10, len(texts) * 9 // 10
    assert len(parts.val) <= second - first and len(parts.test) <= len(texts) - second
    assert split_reviews(items, seed, threshold) == parts


@cases(60)
@given(st.dictionaries(st.text("abc", min_size=1), st.text("xy"), min_size=3, max_size=8), st.data())
def test_whole_texts_are_held_out(texts, data):
    held = data.draw(
        st.lists(st.sampled_from(sorted(texts)), min_size=2, max_size=len(texts) - 1, unique=True)
    )
    cut = data.draw(st.integers(1, len(held) - 1))
    parts = hold_out(texts, held[:cut], held[cut:])
    assert parts.val + parts.test == [texts[title] for title in held]
    assert parts.train == [text for title, text in texts.items() if title not in held]


# ---- tokens of part two ----------------------------------------------------------

any_text = st.lists(either(signs, evenly(" '’.,-_aÀéßİΣ\u0301\n\u2028")), max_size=12).map("".join)


@cases(150)
@given(st.lists(any_text, min_size=1, max_size=4), evenly([1, 2, 3]))
def test_words_and_signs_leave_out_spaces_alone(texts, minimum):
    for text in texts:
        tokens = tokenize(text)
        assert "".join(tokens) == "".join(text.lower().split()) and tokenize(" ".join(tokens)) == tokens
    counts = Counter(token for text in texts for token in tokenize(text))
    known = {token for token, count in counts.items() if count >= minimum}
    if not known:
        with pytest.raises(ValueError, match=f"expected a word that stands {minimum} times"):
            words_of(texts, minimum)
        return
    vocabulary = words_of(texts, minimum)
    assert vocabulary.tokens == ("<pad>", "<unk>", *sorted(known))
    for text in texts:
        kept = [token if token in known else "<unk>" for token in tokenize(text)]
        assert vocabulary.decode(vocabulary.encode(tokenize(text))) == " ".join(kept)


@cases(150)
@given(st.lists(any_text.map(lambda text: " ".join(text.split())), min_size=1, max_size=4))
def test_words_with_their_spaces_give_every_text_back(texts):
    words = Words([*texts, "."], minimum=1)
    assert words.decode(words.encode(texts)) == texts
    assert all("".join(taught_tokenize()(text)) == f" {text}".rstrip() for text in texts)


@cache
def taught_tokenize():
    """The chapter's own."""
    import re

    from taught import definitions

    return definitions(CHAPTER, {"tokenize"}, {"re": re})["tokenize"]


@cache
def pieces():
    texts = [pair.target for pair in load_phrases().train[::400]]
    return Pieces(texts, 300), sorted(set("".join(texts)) - {" "})


@cases(100)
@given(st.data(), evenly([0.0, 0.3, 0.9]))
def test_pieces_give_back_what_they_never_saw(data, cut):
    made, letters = pieces()
    words = st.lists(st.lists(evenly(letters), min_size=1, max_size=6).map("".join), max_size=5)
    texts = data.draw(st.lists(words.map(" ".join), min_size=1, max_size=3))
    rows = made.encode(texts, cut)
    assert made.decode(rows) == texts
    assert all(3 < piece < len(made) for row in rows for piece in row), "no special piece, none unknown"


# ---- n-grams ---------------------------------------------------------------------


@cases(60)
@given(evenly([1, 2, 3]), evenly(range(1, 5)), st.data())
def test_ngrams_are_those_of_the_definition_in_every_context(V, order, data):
    text = data.draw(st.lists(evenly(range(V)), min_size=order, max_size=30))
    model = shakespeare.chapter()["KneserNey"](np.array(text), order, V)
    if data.draw(flags):  # any discounts that may come out of tuning
        share = st.floats(0.01, 0.99)
        model.discounts = [
            torch.tensor([k * data.draw(share) for k in (1, 2, 3)]).double() for _ in range(order)
        ]
    p = counted_by_hand(text, order, V, model.discounts)
    for context in itertools.product(range(V), repeat=order - 1):
        every = [model.probabilities(model.counts(np.array([*context, c]))).item() for c in range(V)]
        assert sum(every) == pytest.approx(1, abs=1e-12)
        assert every == pytest.approx([p(c, context) for c in range(V)], abs=1e-12)
