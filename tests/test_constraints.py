"""Allowed characters are those after which some name meets the constraint: held to brute force."""

from itertools import combinations, product

import pytest

from common.constraints import All, Alphabet, Automaton, Constraint, Length, NotIn, Pattern, Prefix
from common.data import Vocabulary

VOCABULARY = Vocabulary("abc")
LONGEST = 4
NAMES = ["".join(letters) for n in range(LONGEST + 1) for letters in product("abc", repeat=n)]

# each beside a rule of its own, written without states
SINGLE = {
    "alphabet": (Alphabet("ac"), lambda name: set(name) <= set("ac")),
    "short": (Length(0, 2), lambda name: len(name) <= 2),
    "between": (Length(2, 3), lambda name: 2 <= len(name) <= 3),
    "long": (Length(3), lambda name: len(name) >= 3),
    "letters": (Pattern("ab"), lambda name: name == "ab"),
    "wildcards": (Pattern("a??"), lambda name: len(name) == 3 and name[0] == "a"),
    "inner": (Pattern("?b?c"), lambda name: len(name) == 4 and name[1] == "b" and name[3] == "c"),
    "star": (Pattern("a*b"), lambda name: len(name) >= 2 and name[0] == "a" and name[-1] == "b"),
    "stars": (Pattern("*aa*"), lambda name: "aa" in name),
    "star and wildcard": (Pattern("*a?"), lambda name: len(name) >= 2 and name[-2] == "a"),
    "star twice": (Pattern("**"), lambda name: True),
    "nothing": (Pattern(""), lambda name: name == ""),
    "prefix": (Prefix("ca"), lambda name: name.startswith("ca")),
    "no prefix": (Prefix(""), lambda name: True),
    "new": (NotIn(["a", "ab", "abc", "b", "ca", ""]), lambda n: n not in {"a", "ab", "abc", "b", "ca", ""}),
    "not short": (
        NotIn(name for name in NAMES if len(name) < 4 and name != "bbb"),
        lambda name: len(name) == 4 or name == "bbb",
    ),
    "no list": (NotIn([]), lambda name: True),
}


def expected(prefix, rule):
    """Indices of the next characters (0: the end) by trying all names."""
    good = [name for name in NAMES if rule(name) and name.startswith(prefix)]
    return {VOCABULARY.encode(name + ".")[len(prefix)] for name in good}


def reachable(automaton):
    """Every name so far that the automaton lets one write, with its state."""
    found, ahead = [], [("", automaton.start)]
    while ahead:
        text, state = ahead.pop()
        found.append((text, state))
        ahead += [
            (text + VOCABULARY.tokens[i], after)
            for i, after in automaton.allowed(state).items()
            if after is not None
        ]
    return found


@pytest.mark.parametrize("name", SINGLE)
def test_a_constraint_is_met_by_the_names_of_its_rule(name):
    constraint, rule = SINGLE[name]
    assert [n for n in NAMES if constraint.meets(n)] == [n for n in NAMES if rule(n)]


@pytest.mark.parametrize("size", [1, 2, 3])
def test_allowed_is_what_brute_force_finds_for_every_combination(size):
    satisfiable = 0
    for few in combinations(SINGLE, size):
        constraint = All(*(SINGLE[name][0] for name in few))
        rule = lambda text, few=few: all(SINGLE[name][1](text) for name in few)  # noqa: E731
        good = [name for name in NAMES if rule(name)]
        if not good:
            with pytest.raises(ValueError, match="no name of at most 4 characters meets "):
                Automaton(constraint, VOCABULARY, LONGEST)
            continue
        satisfiable += 1
        automaton = Automaton(constraint, VOCABULARY, LONGEST)
        reached = reachable(automaton)
        assert {text for text, _ in reached} == {name[:n] for name in good for n in range(len(name) + 1)}
        for text, state in reached:
            assert set(automaton.allowed(state)) == expected(text, rule), (few, text)
        found = sorted(VOCABULARY.decode(rest) for rest in automaton.continuations())
        assert found == sorted(good), few
    assert satisfiable > 0.4 * len(list(combinations(SINGLE, size)))


@pytest.mark.parametrize("name", SINGLE)
@pytest.mark.parametrize("prefix", ["a", "ca", "bbb"])
def test_a_automaton_starts_behind_the_prefix(name, prefix):
    constraint, rule = SINGLE[name]
    good = [n[len(prefix) :] for n in NAMES if rule(n) and n.startswith(prefix)]
    if not good:
        with pytest.raises(ValueError, match=f"that begins with '{prefix}' meets"):
            Automaton(constraint, VOCABULARY, LONGEST, prefix)
    else:
        automaton = Automaton(constraint, VOCABULARY, LONGEST, prefix)
        assert sorted(map(VOCABULARY.decode, automaton.continuations())) == sorted(good)


def test_and_joins_and_flattens():
    both = Alphabet("ab") & Length(1, 2) & Pattern("a*")
    assert [type(part) for part in both.parts] == [Alphabet, Length, Pattern]
    assert repr(both) == "Alphabet('ab') & Length(1, 2) & Pattern('a*')"
    assert both.meets("ab") and not both.meets("abb") and not both.meets("b")
    assert repr(NotIn(["emma", "ava"]) & Prefix("e")) == "NotIn(2 names) & Prefix('e')"


@pytest.mark.parametrize(
    "constraint, named",
    [
        (Pattern("a??é"), r"Pattern\('a\?\?é'\)"),
        (Length(5) & Alphabet("ab"), r"Length\(5, None\)"),
        (Alphabet("xyz") & Length(1), r"Alphabet\('xyz'\) & Length\(1, None\)"),
        (Length(2) & Pattern("c?") & Alphabet("ab"), r"Pattern\('c\?'\) & Alphabet\('ab'\)"),
        (NotIn(["aa", "ab", "ac"]) & Pattern("a?") & Length(1), r"NotIn\(3 names\) & Pattern\('a\?'\)"),
        (
            Pattern("a?") & Alphabet("ab") & NotIn(["aa", "ab"]),
            r"Pattern\('a\?'\) & Alphabet\('ab'\) & NotIn\(2 names\)",
        ),
    ],
    ids=str,
)
def test_what_cannot_be_met_is_named(constraint, named):
    with pytest.raises(ValueError, match=f"no name of at most 4 characters meets {named}$"):
        Automaton(constraint, VOCABULARY, LONGEST)


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: Alphabet(""), "at least one character, got none"),
        (lambda: Length(3, 2), "shortest first, got 3 to 2"),
        (lambda: Length(-1), "from 0 up, shortest first, got -1"),
        (lambda: Prefix("a?"), "prefix of letters, got 'a\\?'"),
    ],
)
def test_wrong_input_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_constraint_of_ones_own_needs_a_step_only():
    class NoDoubles(Constraint):
        def step(self, state, character):
            return None if state == character else character

    automaton = Automaton(NoDoubles() & Length(3, 3), VOCABULARY, LONGEST)
    found = [VOCABULARY.decode(rest) for rest in automaton.continuations()]
    assert len(found) == 3 * 2 * 2
    assert all(a != b for name in found for a, b in zip(name, name[1:], strict=False))


def test_long_names_and_long_lists_are_no_trouble():
    letters = Vocabulary("abcdefghijklmnopqrstuvwxyz")
    listed = ["".join(p) for p in product("abcdefghijklmnop", repeat=4)]
    automaton = Automaton(NotIn(listed) & Pattern("*a*e*"), letters, 200)
    state = automaton.start
    for _ in range(150):
        state = automaton.allowed(state)[5]
    assert set(automaton.allowed(state)) == set(range(1, 27))  # an a must still come
    endless = Automaton(Pattern("*z"), letters, 5_000)
    assert set(endless.allowed(endless.start)) == set(range(1, 27))


def test_names_of_thousands_of_characters_are_listed_too():
    automaton = Automaton(Pattern("ab" * 2_000), VOCABULARY, 4_000)
    assert list(automaton.continuations()) == [[1, 2] * 2_000]


def test_a_constraint_remembers_no_more_than_it_needs():
    at_least = Length(3)
    state = at_least.start()
    for _ in range(9):
        state = at_least.step(state, "a")
    assert state == 3  # and not 9: enough is enough
    other = NotIn(["emma"])
    state = other.start()
    for character in "emil":
        state = other.step(state, character)
    assert state == NotIn.FREE


def test_a_length_may_be_given_from_one_side():
    assert Length(longest=2).meets("ab") and not Length(longest=2).meets("abc")
    assert Length(2).meets("abc") and not Length(2).meets("a")
