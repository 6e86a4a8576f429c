"""Properties of sampling on alphabets of two and three characters: every distribution against brute force."""

import math
import re
from itertools import product

import pytest
import torch
from hypothesis import assume, example, given
from hypothesis import strategies as st
from properties import cases, either, evenly, flags, names, seeds
from small_tensors import generator

from common import sampling
from common.constraints import All, Alphabet, Automaton, Length, NotIn, Pattern, Prefix
from common.data import Vocabulary
from common.nn import Module
from common.sampling import log_probabilities, probabilities, sample

COUNT = 300  # names drawn in a case

numbers = evenly([*(n / 4 for n in range(-20, 21)), -math.inf])  # exact, and some are equal
temperatures = either(st.just(1.0), st.floats(0.05, 20), evenly([1e-45, 1e30]))
top_ks, top_ps = evenly([None, *range(1, 7)]), either(st.none(), st.floats(0.01, 1))


@cases(200)
@given(st.lists(numbers, min_size=1, max_size=6), temperatures, top_ks, top_ps, flags)
@example([1.0, 0.0], 1e-45, None, None, True)
def test_probabilities_are_cut_as_their_definitions_say(logits, temperature, top_k, top_p, flushed):
    assume(max(logits) > -math.inf)
    if flushed:  # as after `torch.set_flush_denormal(True)`, which chapters set
        torch.set_flush_denormal(True)
    given_logits = torch.tensor(logits, dtype=torch.float32 if flushed else torch.float64)
    p = probabilities(given_logits, temperature=temperature, top_k=top_k, top_p=top_p).tolist()
    torch.set_flush_denormal(False)
    logits, near = given_logits.tolist(), 1e-5 if flushed else 1e-9
    bar = sorted(logits, reverse=True)[: top_k or len(logits)][-1]
    weights = [math.exp((one - max(logits)) / temperature) * (one >= bar) for one in logits]
    q = [weight / sum(weights) for weight in weights]
    kept = [i for i, one in enumerate(p) if one > 0]
    share = sum(q[i] for i in kept)
    assert p == pytest.approx([q[i] / share if i in kept else 0 for i in range(len(q))], abs=near)
    if top_p is None or top_p == 1:
        assert share == pytest.approx(1, abs=near)
    else:  # the fewest of the likeliest that together have at least this share
        assert share >= top_p - near and share - min(q[i] for i in kept) < top_p + near
        assert (
            min(q[i] for i in kept) >= max((q[i] for i in range(len(q)) if i not in kept), default=0) - near
        )


# ---- a model, and the probability of every name ------------------------------------


class Table(Module):
    """Logits that depend on the last two tokens; of windows, or of every position of whole names."""

    packable = False

    def __init__(self, vocabulary, whole, seed):
        V, self.begin, self.whole = len(vocabulary), vocabulary.begin_index, whole
        self.table = 1.5 * torch.randn((V, V, V), generator=generator(seed), dtype=torch.float64)

    def __call__(self, x):
        if not self.whole:
            return self.table[x[:, -2], x[:, -1]]
        before = torch.cat([torch.full_like(x[:, :1], self.begin), x[:, :-1]], 1)
        return self.table[before, x]


def shaped(model, vocabulary, name, how, allowed=None):
    """{token: p} of what follows a name, "" for its end, of those that are allowed."""
    begin, tokens = vocabulary.begin_index, ["", *(vocabulary.tokens[i] for i in vocabulary.ordinary)]
    a, b = ([begin, begin] + vocabulary.encode(name))[-2:]
    kept = [token for token in tokens if allowed is None or token in allowed]
    logits = model.table[a, b, [vocabulary.encode(token or [vocabulary.end])[0] for token in kept]]
    return dict(zip(kept, probabilities(logits, **how).tolist(), strict=True))


def of_names(model, vocabulary, prefix, longest, how, good=None, p=1.0):
    """{name: p} of names that begin with a prefix and end within `longest`: by masked steps, where only some
    are good. A name of that length that goes on is cut, where all are good."""
    ahead = None if good is None else {name[len(prefix) :][:1] for name in good if name.startswith(prefix)}
    if good is None and len(prefix) == longest:
        return {prefix: p}
    found = {}
    for token, q in shaped(model, vocabulary, prefix, how, ahead).items():
        longer = (
            of_names(model, vocabulary, prefix + token, longest, how, good, p * q)
            if token
            else {prefix: p * q}
        )
        found |= longer
    return found


def score(model, vocabulary, name, given_characters, how):
    """log p of a whole name after its first characters."""
    p = [
        shaped(model, vocabulary, name[:i], how)[name[i : i + 1]]
        for i in range(given_characters, len(name) + 1)
    ]
    return sum(math.log(one) if one else -math.inf for one in p)


def close_to(drawn, expected, count=COUNT):
    """Every name as often as its probability says, within five standard errors; none that has none."""
    assert len(drawn) == count and sum(expected.values()) == pytest.approx(1)
    assert {name for name in drawn if not expected.get(name)} == set()
    for name, p in expected.items():
        assert abs(drawn.count(name) - count * p) <= 5 * math.sqrt(count * p * (1 - p)) + 4, (name, p)


shapes = either(
    st.just({}),
    st.fixed_dictionaries({"temperature": evenly([0.4, 0.7, 1.5, 3.0]), "top_k": evenly([None, 1, 2, 3])}),
    st.fixed_dictionaries(
        {"temperature": evenly([0.5, 1.0, 2.0]), "top_p": evenly([0.3, 0.5, 0.7, 0.9, 1.0])}
    ),
    st.fixed_dictionaries({"top_k": evenly([2, 3]), "top_p": evenly([0.4, 0.8])}),
)
VOCABULARIES = (Vocabulary("ab"), Vocabulary("abc"), Vocabulary("ab", "$", begin="^", pad="_", unknown="-"))


@st.composite
def settings_of_a_draw(draw):
    """A model, its vocabulary and block size, a prefix, the greatest length, and how logits are shaped."""
    vocabulary, whole = draw(evenly(VOCABULARIES)), draw(flags)
    model = Table(vocabulary, whole, draw(seeds))
    prefix, longest = draw(evenly(["", "", "a", "ba"])), draw(evenly([2, 3, 4]))
    return model, vocabulary, None if whole else draw(evenly([2, 3, 5])), prefix, longest, draw(shapes)


@cases(50)
@given(settings_of_a_draw())
def test_log_probabilities_are_products_of_steps_and_add_up_to_one(found):
    model, vocabulary, block_size, prefix, longest, how = found
    letters = [vocabulary.tokens[i] for i in vocabulary.ordinary]
    rest = ["".join(some) for n in range(longest) for some in product(letters, repeat=n)]
    every = [prefix + name for name in rest]
    logs = log_probabilities(model, vocabulary, block_size, every, prefix=prefix, **how)
    assert logs.tolist() == pytest.approx(
        [score(model, vocabulary, name, len(prefix), how) for name in every], abs=1e-9
    )
    cut = of_names(model, vocabulary, prefix, len(prefix) + longest, how)
    goes_on = sum(p for name, p in cut.items() if len(name) == len(prefix) + longest)
    assert logs.exp().sum().item() + goes_on == pytest.approx(1)


@cases(60)
@given(settings_of_a_draw(), seeds)
def test_names_are_drawn_from_the_models_distribution(found, seed):
    model, vocabulary, block_size, prefix, longest, how = found
    assume(len(prefix) < longest)
    drawn = sample(model, vocabulary, block_size, COUNT, generator=generator(seed), prefix=prefix,
                   max_length=longest, **how)  # fmt: skip
    close_to(drawn, of_names(model, vocabulary, prefix, longest, how))


# ---- constraints -------------------------------------------------------------------


def pattern_rule(text):
    wanted = re.compile("".join({"?": ".", "*": ".*"}.get(sign, sign) for sign in text))
    return lambda name: wanted.fullmatch(name) is not None


lengths = st.tuples(evenly(range(5)), evenly([None, *range(6)])).filter(
    lambda n: n[1] is None or n[0] <= n[1]
)
# a constraint, and its rule in plain Python
single = either(
    st.text("abz", min_size=1, max_size=2).map(lambda t: (Alphabet(t), lambda name: set(name) <= set(t))),
    lengths.map(lambda n: (Length(*n), lambda name: n[0] <= len(name) <= (9 if n[1] is None else n[1]))),
    st.text("ab?*", max_size=5).map(lambda t: (Pattern(t), pattern_rule(t))),
    st.text("ab", max_size=2).map(lambda t: (Prefix(t), lambda name: name.startswith(t))),
    names("ab", longest=3, fewest=0, most=8).map(
        lambda listed: (NotIn(listed), lambda name: name not in listed)
    ),
)
several = st.lists(single, min_size=1, max_size=3)


def good_names(vocabulary, parts, prefix, longest):
    letters = [vocabulary.tokens[i] for i in vocabulary.ordinary]
    every = ("".join(some) for n in range(longest + 1) for some in product(letters, repeat=n))
    return [name for name in every if name.startswith(prefix) and all(rule(name) for _, rule in parts)]


@cases(200)
@given(evenly(VOCABULARIES), several, st.text("ab", max_size=2), evenly(range(5)))
def test_an_automaton_allows_what_brute_force_finds(vocabulary, parts, prefix, longest):
    good = good_names(vocabulary, parts, prefix, longest)
    constraint = All(*(part for part, _ in parts))
    if not good:
        with pytest.raises(ValueError, match=f"no name of at most {longest} characters"):
            Automaton(constraint, vocabulary, longest, prefix)
        return
    automaton = Automaton(constraint, vocabulary, longest, prefix)
    ahead = [(prefix, automaton.start)]
    while ahead:
        text, state = ahead.pop()
        allowed = automaton.allowed(state)
        wanted = {name[len(text) :][:1] or vocabulary.end for name in good if name.startswith(text)}
        assert {vocabulary.tokens[i] for i in allowed} == wanted, text
        ahead += [(text + vocabulary.tokens[i], to) for i, to in allowed.items() if to is not None]
    found = sorted(prefix + vocabulary.decode(rest) for rest in automaton.continuations())
    assert found == sorted(good)


@cases(60)
@given(settings_of_a_draw(), several, seeds)
def test_masked_steps_draw_from_the_masked_distribution(found, parts, seed):
    model, vocabulary, block_size, prefix, longest, how = found
    good = good_names(vocabulary, parts, prefix, longest)
    assume(good)
    drawn = sample(model, vocabulary, block_size, COUNT, generator=generator(seed), prefix=prefix,
                   constraint=All(*(part for part, _ in parts)), max_length=longest, **how)  # fmt: skip
    close_to(drawn, of_names(model, vocabulary, prefix, longest, how, good))


@cases(60)
@given(settings_of_a_draw(), several, seeds, flags)
def test_exact_draws_are_the_models_given_the_constraint(found, parts, seed, rejected):
    model, vocabulary, block_size, prefix, longest, how = found
    good = good_names(vocabulary, parts, prefix, longest)
    assume(good)
    p = {name: math.exp(score(model, vocabulary, name, len(prefix), how)) for name in good}
    total = sum(p.values())
    assume(not rejected or total > 0.1)  # what is rejected takes its time
    settings = {"generator": generator(seed), "prefix": prefix, "max_length": longest, "exact": True, **how}
    settings["constraint"] = All(*(part for part, _ in parts))
    with pytest.MonkeyPatch.context() as patch:
        if rejected:
            patch.setattr(sampling, "ENUMERATED", 0)
        if not total:
            with pytest.raises(ValueError, match=f"cuts off each of the {len(good)} names"):
                sample(model, vocabulary, block_size, COUNT, **settings)
            return
        drawn = sample(model, vocabulary, block_size, COUNT, **settings)
    close_to(drawn, {name: one / total for name, one in p.items()})
