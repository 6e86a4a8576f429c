"""Sampling feeds the model the right contexts, draws from its distribution, and leaves it as it was."""

import math
from itertools import product
from string import ascii_lowercase

import pytest
import torch
from small_tensors import generator

from common.constraints import Alphabet, Automaton, Length, NotIn, Pattern
from common.data import Vocabulary
from common.models import MODELS, as_convolution, tagged
from common.nn import BatchNorm1d, Embedding, Flatten, Module, Sequential
from common.sampling import log_probabilities, probabilities, sample

VOCABULARY = Vocabulary(ascii_lowercase)


class Fake(Module):
    """Writes down what it is asked, and answers with one row of logits for all or one a context."""

    def __init__(self, answer):
        self.table = torch.zeros(1)
        self.answer = answer
        self.asked, self.modes, self.grads = [], [], []

    def __call__(self, x):
        self.asked.append(x.tolist())
        self.modes.append(self.training)
        self.grads.append(torch.is_grad_enabled())
        rows = [self.answer(row) if callable(self.answer) else self.answer for row in x.tolist()]
        return torch.tensor(rows, dtype=torch.float32)


def certain(index, size=4):
    return [100.0 * (i == index) for i in range(size)]


def spelling(vocabulary, *texts):
    """A fake that spells texts: what follows a context of a text's beginning is its next character."""
    following = {}
    for text in texts:
        marked = [0, 0, 0] + vocabulary.encode(text) + [0]
        for i in range(3, len(marked)):
            following[tuple(marked[i - 3 : i])] = marked[i]
    return Fake(lambda row: certain(following[tuple(row)], len(vocabulary)))


def trained():
    """A model with running statistics of its own, so that both modes differ."""
    model = MODELS["mlp"].build(generator=generator(3))
    model.layers[-1].weight = 20 * model.layers[-1].weight
    for seed in range(20):
        model(torch.randint(0, 27, (32, 3), generator=generator(seed)))
    return model


def test_contexts_are_what_was_drawn_so_far():
    model = spelling(VOCABULARY, "abcde")
    assert sample(model, VOCABULARY, 3, generator=generator()) == ["abcde"]
    assert model.asked == [[[0, 0, 0]], [[0, 0, 1]], [[0, 1, 2]], [[1, 2, 3]], [[2, 3, 4]], [[3, 4, 5]]]


@pytest.mark.parametrize(
    "prefix, first", [("a", [0, 0, 1]), ("abc", [1, 2, 3]), ("abcd", [2, 3, 4]), ("abcde", [3, 4, 5])]
)
def test_contexts_start_with_the_end_of_the_prefix(prefix, first):
    model = spelling(VOCABULARY, "abcde")
    assert sample(model, VOCABULARY, 3, 2, generator=generator(), prefix=prefix) == ["abcde"] * 2
    assert model.asked[0] == [first] * 2


def test_every_name_keeps_its_own_context_and_ended_ones_are_asked_no_more():
    branches = {0: [0.0, 0.0, 0.0, -100.0], 1: certain(0), 2: certain(3), 3: certain(0)}
    model = Fake(lambda row: branches[row[-1]])
    names = sample(model, Vocabulary("abc"), 2, 60, generator=generator())
    assert set(names) == {"", "a", "bc"}
    assert [len(rows) for rows in model.asked[:2]] == [60, 60 - names.count("")]
    assert model.asked[2] == [[2, 3]] * names.count("bc")
    assert len(model.asked) == 3


def test_the_model_is_in_evaluation_mode_and_takes_no_gradients():
    model = Fake(certain(0))
    sample(model, Vocabulary("abc"), 3, generator=generator())
    assert model.modes == [False] and model.grads == [False]
    assert model.training


@pytest.mark.parametrize("switch", [None, 2, 3])
def test_modes_and_statistics_are_restored(switch):
    model = trained()
    if switch:
        model.layers[switch].eval()
    modes = [layer.training for layer in model.layers]
    before = {name: t.clone() for name, t in model.state_dict().items()}
    sample(model, VOCABULARY, 3, 5, generator=generator())
    assert [layer.training for layer in model.layers] == modes and model.training
    assert all(torch.equal(t, before[name]) for name, t in model.state_dict().items())


def test_modes_are_restored_after_an_exception():
    model = trained()
    with pytest.raises(ValueError, match="last dimension"):
        sample(model, VOCABULARY, 4, generator=generator())  # made for 3 characters
    assert model.training and all(layer.training for layer in model.layers)


def test_both_modes_draw_the_same():
    model = trained()
    drawn = sample(model, VOCABULARY, 3, 10, generator=generator())
    assert sample(model.eval(), VOCABULARY, 3, 10, generator=generator()) == drawn
    assert not any(layer.training for layer in model.layers)


def test_a_name_does_not_depend_on_the_names_beside_it():
    model = trained()
    alone = sample(model, VOCABULARY, 3, 1, generator=generator(), prefix="em", temperature=1e-4)
    together = sample(model, VOCABULARY, 3, 7, generator=generator(), prefix="em", temperature=1e-4)
    assert together == alone * 7


def test_a_seed_decides_the_names():
    model = trained()
    first, same, other = (sample(model, VOCABULARY, 3, 20, generator=generator(s)) for s in (1, 1, 2))
    assert first == same != other


def test_draws_come_from_the_generator_alone():
    model, g = trained(), generator(1)
    torch.manual_seed(0)
    before = torch.random.get_rng_state()
    drawn = [sample(model, VOCABULARY, 3, 5, generator=g) for _ in range(2)]
    assert torch.equal(torch.random.get_rng_state(), before)
    assert drawn[0] != drawn[1]


def test_prefixes_stay():
    names = sample(trained(), VOCABULARY, 3, 20, generator=generator(), prefix="emm")
    assert len(names) == 20
    assert all(name.startswith("emm") for name in names)
    assert len(set(names)) > 1


def test_the_end_token_is_not_part_of_a_name():
    names = sample(Fake([0.0, 0.0, 0.0, 0.0]), Vocabulary("abc"), 3, 200, generator=generator())
    assert not any("." in name for name in names)
    assert "" in names and any(len(name) > 3 for name in names)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0, 1e6])
def test_frequencies_match_the_models_distribution(temperature):
    logits = torch.tensor([0.5, 0.3, 0.15, 0.05]).log()
    count = 20_000
    names = sample(
        Fake(logits.tolist()), Vocabulary("abc"), 3, count,
        generator=generator(4), temperature=temperature, max_length=1,
    )  # fmt: skip
    drawn = torch.tensor([names.count(text) for text in ("", "a", "b", "c")]) / count
    expected = torch.softmax(logits / temperature, 0)
    assert ((drawn - expected).abs() < 4 * (expected * (1 - expected) / count).sqrt()).all()


@pytest.mark.parametrize("temperature", [1e-4, 1e-10, 1e-45])
def test_no_temperature_to_speak_of_takes_the_likeliest(temperature):
    rows = {0: [0.0, 1.0, 1.2, 1.1], 2: [0.5, -3.0, 0.2, 0.6], 3: [-1.0, -3.0, -2.0, -2.0]}
    model = Fake(lambda row: rows[row[-1]])
    names = sample(model, Vocabulary("abc"), 3, 50, generator=generator(), temperature=temperature)
    assert names == ["bc"] * 50


@pytest.mark.parametrize("prefix, max_length", [("", 7), ("", 1), ("ab", 7), ("abab", 5)])
def test_names_without_an_end_are_cut(prefix, max_length):
    model = Fake([-100.0, 0.0, 0.0, 0.0])
    names = sample(
        model, Vocabulary("abc"), 3, 5, generator=generator(), prefix=prefix, max_length=max_length
    )
    assert [len(name) for name in names] == [max_length] * 5
    assert all(name.startswith(prefix) for name in names)


def test_names_are_40_characters_at_most():
    names = sample(Fake(certain(1)), Vocabulary("abc"), 3, generator=generator())
    assert names == ["a" * 40]


@pytest.mark.parametrize(
    "options, message",
    [
        ({"temperature": 0}, "temperature from 1e-45 to 1e.30, got 0"),
        ({"temperature": -1.0}, "temperature from 1e-45 to 1e.30, got -1"),
        ({"temperature": float("nan")}, "temperature from 1e-45 to 1e.30, got nan"),
        ({"count": 0}, "count of at least 1, got 0"),
        ({"count": -3}, "count of at least 1, got -3"),
        ({"prefix": "éa"}, "'é' of 'éa'"),
        ({"prefix": "Em"}, "'E' of 'Em'"),
        ({"prefix": "em."}, "prefix without '.'"),
        ({"prefix": "em" * 20}, "prefix of fewer than max_length = 40 characters, got 40"),
        ({"prefix": "em" * 30}, "prefix of fewer than max_length = 40 characters, got 60"),
        ({"prefix": "em" * 30, "constraint": Length(3)}, "prefix of at most max_length = 40 .* got 60"),
        ({"prefix": "emma", "max_length": 3}, "prefix of fewer than max_length = 3 characters, got 4"),
        ({"max_length": 0}, "max_length of 1 to 10,000, got 0"),
        ({"max_length": 10**11, "constraint": Length(10**10)}, "max_length of 1 to 10,000, got 1000"),
        ({"temperature": float("inf")}, "temperature from 1e-45 to 1e.30, got inf"),
        ({"temperature": float("inf"), "constraint": Length(3)}, "temperature from 1e-45 to 1e.30, got inf"),
    ],
    ids=lambda value: str(value)[:60],
)
def test_wrong_input_is_refused(options, message):
    model = trained()
    with pytest.raises(ValueError, match=message):
        sample(model, VOCABULARY, 3, generator=generator(), **options)
    assert model.training


@pytest.mark.parametrize("key", tagged("lecture"))
def test_every_model_of_the_book_can_be_sampled(key):
    recipe = MODELS[key]
    model = recipe.build(generator=generator())
    model(torch.randint(0, 27, (32, recipe.block_size), generator=generator()))
    assert any(isinstance(layer, BatchNorm1d) for layer in model.layers)
    names = sample(model, VOCABULARY, recipe.block_size, 3, generator=generator(), prefix="em")
    assert len(names) == 3 and all(name.startswith("em") for name in names)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize(
    "options", [{}, {"constraint": Length(2)}, {"constraint": Length(2, 3), "exact": True}], ids=str
)
def test_a_model_whose_logits_are_no_numbers_is_refused(bad, options):
    diverged = Fake([0.0, bad, 0.0, 0.0])
    with pytest.raises(ValueError, match="finite logits, got (nan|inf); .* training diverged"):
        sample(diverged, Vocabulary("abc"), 3, generator=generator(), **options)


def test_a_prefix_that_fills_max_length_may_meet_a_constraint():
    drawn = sample(
        Fake([0.0] * 4),
        Vocabulary("abc"),
        3,
        generator=generator(),
        prefix="ab",
        constraint=Pattern("ab"),
        max_length=2,
    )
    assert drawn == ["ab"]


def test_many_names_are_asked_for_in_parts(monkeypatch):
    whole = sample(trained(), VOCABULARY, 3, 300, generator=generator())
    monkeypatch.setattr("common.sampling.AT_ONCE", 64)
    model = Fake([0.0] * 27)
    sample(model, VOCABULARY, 3, 300, generator=generator())
    assert [len(rows) for rows in model.asked[:5]] == [64, 64, 64, 64, 44]
    assert sample(trained(), VOCABULARY, 3, 300, generator=generator()) == whole


def test_no_name_with_an_end_inside_has_a_probability():
    with pytest.raises(ValueError, match="names without '.', which ends a name, got 'a.b'"):
        log_probabilities(Fake([0.0] * 4), Vocabulary("abc"), 3, ["ab", "a.b"])


# ---- top-k and nucleus ---------------------------------------------------------------------

SHARES = [0.5, 0.3, 0.15, 0.05]


@pytest.mark.parametrize(
    "options, expected",
    [
        ({}, SHARES),
        ({"top_k": 1}, [1, 0, 0, 0]),
        ({"top_k": 2}, [0.625, 0.375, 0, 0]),
        ({"top_k": 4}, SHARES),
        ({"top_k": 99}, SHARES),
        ({"top_p": 1e-9}, [1, 0, 0, 0]),
        ({"top_p": 0.49}, [1, 0, 0, 0]),
        ({"top_p": 0.51}, [0.625, 0.375, 0, 0]),
        ({"top_p": 0.79}, [0.625, 0.375, 0, 0]),
        ({"top_p": 0.9}, [0.5 / 0.95, 0.3 / 0.95, 0.15 / 0.95, 0]),
        ({"top_p": 1}, SHARES),
        ({"top_k": 2, "top_p": 0.55}, [1, 0, 0, 0]),  # 0.5 / 0.8 is above 0.55, 0.5 is not
        ({"top_p": 0.4, "temperature": 3.0}, None),
    ],
    ids=str,
)
def test_probabilities_are_reshaped(options, expected):
    order = [2, 0, 3, 1]  # nothing may rest on the characters' order
    logits = torch.tensor(SHARES, dtype=torch.float64).log()[order]
    if expected is None:  # heated, 0.35 and 0.29 together: two characters where one had been enough
        p = torch.softmax(logits / 3, 0)
        kept = p * (p >= p.sort().values[-2])
        expected = (kept / kept.sum())[torch.tensor(order).argsort()].tolist()
    both = torch.stack([logits, logits + 7])
    p = probabilities(both, **options)
    wanted = torch.tensor(expected, dtype=torch.float64)[order]
    torch.testing.assert_close(p, torch.stack([wanted, wanted]))


def test_equal_characters_stay_together_in_top_k_and_in_order_in_the_nucleus():
    even = torch.zeros(4)
    assert probabilities(even, top_k=2).tolist() == [0.25] * 4
    assert probabilities(even, top_p=0.5).tolist() == [0.5, 0.5, 0, 0]


def test_a_masked_logit_stays_at_zero():
    logits = torch.tensor([-torch.inf, 1e-3, -torch.inf, -500.0])
    assert probabilities(logits, temperature=0.01).tolist() == [0, 1, 0, 0]
    assert probabilities(logits, top_k=3)[0] == 0


@pytest.mark.parametrize("options, kept", [({"top_k": 2}, {"", "a"}), ({"top_p": 0.9}, {"", "a", "b"})])
def test_names_are_drawn_from_what_is_kept(options, kept):
    model = Fake(torch.tensor(SHARES).log().tolist())
    names = sample(model, Vocabulary("abc"), 3, 500, generator=generator(), max_length=1, **options)
    assert set(names) == kept


# ---- whole names -----------------------------------------------------------------------------


def test_a_network_of_whole_names_writes_what_the_tree_writes():
    tree = MODELS["hierarchical"].build(generator=generator(1))
    tree.layers[-1].weight = 30 * tree.layers[-1].weight
    tree(torch.randint(0, 27, (64, 8), generator=generator()))
    network = as_convolution(tree)
    for options in ({}, {"prefix": "em"}, {"constraint": Length(9, 12)}, {"top_p": 0.8, "temperature": 0.7}):
        by_tree = sample(tree, VOCABULARY, 8, 20, generator=generator(5), **options)
        assert sample(network, VOCABULARY, None, 20, generator=generator(5), **options) == by_tree
    names = ["emma", "bartholomew", ""]
    torch.testing.assert_close(
        log_probabilities(network, VOCABULARY, None, names), log_probabilities(tree, VOCABULARY, 8, names),
        atol=1e-4, rtol=1e-4,
    )  # fmt: skip


def test_whole_names_begin_with_a_dot():
    inner = spelling(VOCABULARY, "abc")
    model = Fake(None)

    def whole(x):
        model.asked.append(x.tolist())
        rows = [[0, 0, *row[: t + 1]][-3:] for row in x.tolist() for t in range(x.shape[1])]
        return inner(torch.tensor(rows)).view(*x.shape, -1)

    model.__class__ = type("Whole", (Fake,), {"__call__": lambda self, x: whole(x)})
    assert sample(model, VOCABULARY, None, generator=generator(), prefix="a") == ["abc"]
    assert model.asked == [[[0, 1]], [[0, 1, 2]], [[0, 1, 2, 3]]]


def test_the_two_kinds_of_models_are_told_apart():
    tree = MODELS["hierarchical"].build(generator=generator())
    with pytest.raises(ValueError, match=r"logits \(B, T, V\) of whole names .* got \(1, 27\)"):
        sample(Fake([0.0] * 27), VOCABULARY, None, generator=generator())
    with pytest.raises(ValueError, match="block_size is None for a network that takes whole names"):
        sample(as_convolution(tree.eval()), VOCABULARY, 8, generator=generator())


# ---- constraints -------------------------------------------------------------------------------

ABC = Vocabulary("abc")


MOODS = (1.5 * torch.stack([torch.randn(4, generator=generator(600 + i)) for i in range(16)])).tolist()


def moody(row):
    """Four logits that depend on the last two characters, far from even."""
    return MOODS[4 * row[-2] + row[-1]]


def every_name(longest):
    return ["".join(letters) for n in range(longest + 1) for letters in product("abc", repeat=n)]


def close_to(names, expected, count):
    """Frequencies within four standard errors of probabilities by name."""
    assert len(names) == count and set(names) <= set(expected)
    for name, p in expected.items():
        assert abs(names.count(name) / count - p) < 4.5 * (p * (1 - p) / count) ** 0.5 + 1e-9, name


def probabilities_of(names, **ways):
    """p(name) of the moody model, a product of steps, computed here."""
    found = {}
    for name in names:
        p, row = 1.0, [0, 0]
        for index in ABC.encode(name) + [0]:
            p *= probabilities(torch.tensor(moody(row), dtype=torch.float64), **ways)[index].item()
            row = [row[1], index]
        found[name] = p
    return found


def masked_probabilities(automaton, state=None, row=(0, 0), text="", p=1.0, **ways):
    """What masking step by step draws: every step normalised over the allowed characters."""
    allowed = automaton.allowed(automaton.start if state is None else state)
    logits = torch.full((4,), -torch.inf, dtype=torch.float64)
    for index in allowed:
        logits[index] = moody(row)[index]
    found = {}
    for index, after in allowed.items():
        q = p * probabilities(logits, **ways)[index].item()
        if index == 0:
            found[text] = q
        else:
            longer = text + ABC.tokens[index]
            found |= masked_probabilities(automaton, after, (row[1], index), longer, q, **ways)
    return found


CONSTRAINT = Pattern("a*") & Length(2, 3) & NotIn(["ab", "abc", "aaa"])


@pytest.mark.parametrize("ways", [{}, {"temperature": 1.7}, {"top_k": 2}, {"top_p": 0.7}], ids=str)
def test_masked_steps_draw_from_the_masked_distribution(ways):
    automaton = Automaton(CONSTRAINT, ABC, 40)
    expected = masked_probabilities(automaton, **ways)
    assert sum(expected.values()) == pytest.approx(1)
    drawn = sample(Fake(moody), ABC, 2, 8_000, generator=generator(), constraint=CONSTRAINT, **ways)
    close_to(drawn, {name: p for name, p in expected.items() if p}, 8_000)


@pytest.mark.parametrize("ways", [{}, {"temperature": 1.7}, {"top_p": 0.9}], ids=str)
@pytest.mark.parametrize("most", [50_000, 0], ids=["scored", "rejected"])
def test_exact_draws_from_the_model_given_the_constraint(monkeypatch, ways, most):
    monkeypatch.setattr("common.sampling.ENUMERATED", most)
    good = probabilities_of([name for name in every_name(3) if CONSTRAINT.meets(name)], **ways)
    total = sum(good.values())
    expected = {name: p / total for name, p in good.items() if p}
    count = 2_000 if most else 500  # what is rejected takes its time
    drawn = sample(
        Fake(moody), ABC, 2, count, generator=generator(1), constraint=CONSTRAINT, exact=True,
        max_length=3, **ways,
    )  # fmt: skip
    close_to(drawn, expected, count)
    masked = masked_probabilities(Automaton(CONSTRAINT, ABC, 40), **ways)
    assert sum(abs(masked[name] - p) for name, p in expected.items()) / 2 > 0.1  # the test can tell


@pytest.mark.parametrize("most", [50_000, 0], ids=["scored", "rejected"])
def test_exact_names_may_be_as_long_as_max_length_and_begin_with_the_prefix(monkeypatch, most):
    monkeypatch.setattr("common.sampling.ENUMERATED", most)
    constraint = Alphabet("ab")
    good = [name for name in every_name(3) if set(name) <= set("ab") and name.startswith("b")]
    weighed = probabilities_of(good)
    expected = {name: p / sum(weighed.values()) for name, p in weighed.items()}
    drawn = sample(
        Fake(moody), ABC, 2, 2_000, generator=generator(), prefix="b", constraint=constraint, exact=True,
        max_length=3,
    )  # fmt: skip
    close_to(drawn, expected, 2_000)


def test_log_probabilities_are_products_of_steps():
    names = every_name(3)
    expected = torch.tensor(list(probabilities_of(names).values()), dtype=torch.float64).log()
    torch.testing.assert_close(log_probabilities(Fake(moody), ABC, 2, names), expected)
    begun = [name for name in names if name.startswith("ca")]
    together = log_probabilities(Fake(moody), ABC, 2, [*begun, "ca"], prefix="ca")
    first = (
        probabilities_of(["ca"])["ca"] / probabilities(torch.tensor(moody([3, 1]), dtype=torch.float64))[0]
    )
    expected = torch.tensor([probabilities_of([name])[name] for name in [*begun, "ca"]]).double() / first
    torch.testing.assert_close(together, expected.log())
    with pytest.raises(ValueError, match="expected names that begin with 'ca'"):
        log_probabilities(Fake(moody), ABC, 2, ["ab"], prefix="ca")


def test_every_constrained_name_meets_the_constraint_and_ends():
    known = ["emma", "anna", "em", "e"]
    constraint = Alphabet("aemn") & Length(1, 5) & NotIn(known)
    drawn = sample(trained(), VOCABULARY, 3, 300, generator=generator(), prefix="e", constraint=constraint)
    assert all(constraint.meets(name) and name.startswith("e") for name in drawn)
    endless = Fake([-100.0, 0.0, 0.0, 0.0])
    drawn = sample(endless, ABC, 3, 30, generator=generator(), constraint=Length(2), max_length=7)
    assert {len(name) for name in drawn} == {7}


def test_a_mask_comes_before_top_k_so_that_nothing_gets_stuck():
    drawn = sample(
        Fake(certain(3)), ABC, 3, 5, generator=generator(), constraint=Pattern("ab"), top_k=1, top_p=0.1
    )
    assert drawn == ["ab"] * 5


@pytest.mark.parametrize(
    "options, message",
    [
        ({"top_k": 0}, "top_k of at least 1, got 0"),
        ({"top_p": 0}, "top_p above 0 and up to 1, got 0"),
        ({"top_p": 1.5}, "top_p above 0 and up to 1, got 1.5"),
        ({"exact": True}, "expected a constraint, got None"),
        ({"constraint": Pattern("a?") & Alphabet("b")}, r"meets Pattern\('a\?'\) & Alphabet\('b'\)"),
        ({"constraint": Pattern("a?"), "prefix": "b"}, r"begins with 'b' meets Pattern\('a\?'\)"),
        ({"constraint": Length(9, 9), "max_length": 8}, "at most 8 characters meets Length"),
    ],
    ids=str,
)
def test_wrong_settings_are_refused_before_anything_is_drawn(options, message):
    model, g = Fake([0.0] * 4), generator()
    before = g.get_state()
    with pytest.raises(ValueError, match=message):
        sample(model, ABC, 3, generator=g, **options)
    assert model.asked == [] and torch.equal(g.get_state(), before)


def test_exact_says_when_it_finds_too_few(monkeypatch):
    monkeypatch.setattr("common.sampling.DRAWN", 1_000)
    never = Fake([0.0, 0.0, 0.0, -60.0])
    with pytest.raises(ValueError, match=r"0 of 1,000 names drawn meet Pattern\('\*cccc\*'\), too few for 5"):
        sample(never, ABC, 3, 5, generator=generator(), constraint=Pattern("*cccc*"), exact=True)
    with pytest.raises(ValueError, match=r"cuts off each of the 1 names that meet Pattern\('cc'\)"):
        sample(never, ABC, 3, 5, generator=generator(), constraint=Pattern("cc"), exact=True, top_k=2)


def test_modes_are_restored_after_constrained_draws():
    model = trained()
    sample(model, VOCABULARY, 3, 2, generator=generator(), constraint=Pattern("a?"), exact=True)
    sample(model, VOCABULARY, 3, 2, generator=generator(), constraint=Pattern("a?"))
    log_probabilities(model, VOCABULARY, 3, ["a"])
    assert model.training and all(layer.training for layer in model.layers)


def test_scores_are_computed_in_double_precision():
    model = Sequential([Embedding(3, 3), Flatten()])
    model.layers[0].weight = torch.tensor([[0.0, 40.0, 0.0], [50.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    (score,) = log_probabilities(model, Vocabulary("ab"), 1, ["b"])
    assert abs(float(score) - (-40 - math.log(3))) < 1e-12


def test_a_network_for_another_vocabulary_is_refused():
    g = torch.Generator().manual_seed(0)
    with pytest.raises(ValueError, match="expected 4 logits, one a token, got 27"):
        sample(MODELS["mlp"].build(), Vocabulary("abc"), 3, generator=g)


WORDS = Vocabulary(["to", "be", "or"], end="</s>", begin="<s>", pad="<pad>", unknown="<?>", separator=" ")


def test_of_the_special_tokens_only_the_end_is_drawn():
    liked = [5.0 if token in ("<s>", "<pad>", "<?>") else 0.0 for token in WORDS.tokens]
    drawn = sample(Fake(liked), WORDS, 2, 200, generator=generator(), max_length=3)
    assert {word for text in drawn for word in text.split()} == {"to", "be", "or"}
    together = log_probabilities(Fake(liked), WORDS, 2, ["to be", "to <?>"]).tolist()
    assert together == [pytest.approx(3 * math.log(1 / 4)), -math.inf]


@pytest.mark.parametrize("exact", [False, True])
def test_constraints_read_the_words_of_a_text(exact):
    constraint = Pattern(["to", "*"]) & Length(2, 3) & NotIn([["to", "be"]])
    drawn = sample(
        Fake([0.0] * len(WORDS)), WORDS, 2, 300, generator=generator(), constraint=constraint, exact=exact
    )
    texts = [" ".join(["to", *rest]) for n in (1, 2) for rest in product(["to", "be", "or"], repeat=n)]
    assert set(drawn) == set(texts) - {"to be"}
    begun = sample(
        Fake([0.0] * len(WORDS)), WORDS, 2, 50, generator=generator(), prefix="to or", constraint=constraint
    )
    assert set(begun) == {"to or", "to or to", "to or be", "to or or"}
