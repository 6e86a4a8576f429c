"""Constraints on names, as small automata that read one character at a time, or one word of a text.

A constraint has a state for what it remembers of the name so far; `Automaton` works out from it which
characters leave a way to a name that meets the constraint. Introduced in chapter 10.
"""

from collections.abc import Hashable, Iterable, Iterator, Sequence
from itertools import combinations
from typing import Any

import torch
from torch import Tensor

from .data import Vocabulary

State = Any  # hashable: what a constraint remembers of the name so far


class Constraint:
    """What a name must be like. `a & b` asks for both.

    States are hashable, and there are finitely many for names of a bounded length. What is said of names and
    their characters holds for texts and their tokens, which stand in lists: ``Pattern(["to", "*"])``.
    """

    def start(self) -> State:
        """The state before the first character."""
        return ()

    def step(self, state: State, character: str) -> State:
        """The state after one more character, or None where no continuation can help any more."""
        raise NotImplementedError

    def accepts(self, state: State) -> bool:
        """Whether the name may end here."""
        return True

    def meets(self, name: Iterable[str]) -> bool:
        """Whether a whole name meets the constraint."""
        state = self.start()
        for character in name:
            state = self.step(state, character)
            if state is None:
                return False
        return self.accepts(state)

    def __and__(self, other: "Constraint") -> "All":
        return All(self, other)


class Alphabet(Constraint):
    """Only these characters. ValueError for none."""

    def __init__(self, characters: Iterable[str]):
        self.characters = frozenset(characters)
        if not self.characters:
            raise ValueError("expected an alphabet of at least one character, got none")

    def step(self, state: State, character: str) -> State:
        return state if character in self.characters else None

    def __repr__(self) -> str:
        return f"Alphabet({''.join(sorted(self.characters))!r})"


class Length(Constraint):
    """At least `shortest` and at most `longest` characters (None: any number). State: how many so far."""

    def __init__(self, shortest: int = 0, longest: int | None = None):
        whole = isinstance(shortest, int) and isinstance(longest, int | None)
        if not whole or shortest < 0 or longest is not None and longest < shortest:
            raise ValueError(f"expected whole numbers from 0 up, shortest first, got {shortest} to {longest}")
        self.shortest, self.longest = shortest, longest

    def start(self) -> State:
        return 0

    def step(self, state: State, character: str) -> State:
        if self.longest is None:
            return min(state + 1, self.shortest)  # enough is enough: fewer states
        return state + 1 if state < self.longest else None

    def accepts(self, state: State) -> bool:
        return state >= self.shortest

    def __repr__(self) -> str:
        return f"Length({self.shortest}, {self.longest})"


class Pattern(Constraint):
    """Letters as they stand, `?` for any one character, `*` for any number of them, none included.

    State: the positions in the pattern at which the name may be; more than one only behind a star.
    """

    def __init__(self, text: Sequence[str]):
        self.text = text

    def _past_stars(self, positions: Iterable[int]) -> frozenset[int]:
        reached = set(positions)
        for position in positions:
            while position < len(self.text) and self.text[position] == "*":  # it may stand for nothing
                position += 1
                reached.add(position)
        return frozenset(reached)

    def start(self) -> State:
        return self._past_stars({0})

    def step(self, state: State, character: str) -> State:
        after = set()
        for position in state - {len(self.text)}:
            if self.text[position] == "*":
                after.add(position)
            elif self.text[position] in ("?", character):
                after.add(position + 1)
        return self._past_stars(after) or None

    def accepts(self, state: State) -> bool:
        return len(self.text) in state

    def __repr__(self) -> str:
        return f"Pattern({self.text!r})"


class Prefix(Pattern):
    """Names that begin with a text."""

    def __init__(self, text: str):
        if set(text) & set("?*"):
            raise ValueError(f"expected a prefix of letters, got {text!r}; use Pattern for ? and *")
        super().__init__(text + "*")

    def __repr__(self) -> str:
        return f"Prefix({self.text[:-1]!r})"


class NotIn(Constraint):
    """No name of a list. State: the name so far while some listed name begins like it, then FREE."""

    FREE = "free"

    def __init__(self, names: Iterable[Iterable[str]]):
        self.names = frozenset(map(tuple, names))
        self.beginnings = {name[:n] for name in self.names for n in range(len(name) + 1)}

    def start(self) -> State:
        return () if self.names else self.FREE

    def step(self, state: State, character: str) -> State:
        longer = self.FREE if state == self.FREE else (*state, character)
        return longer if longer in self.beginnings else self.FREE

    def accepts(self, state: State) -> bool:
        return state not in self.names

    def __repr__(self) -> str:
        return f"NotIn({len(self.names):,} names)"


class All(Constraint):
    """Several constraints at once. State: the states of its parts."""

    parts: tuple[Constraint, ...]

    def __init__(self, *parts: Constraint):
        self.parts = tuple(p for part in parts for p in (part.parts if isinstance(part, All) else (part,)))

    def start(self) -> State:
        return tuple(part.start() for part in self.parts)

    def step(self, state: State, character: str) -> State:
        after = tuple(part.step(own, character) for part, own in zip(self.parts, state, strict=True))
        return None if None in after else after

    def accepts(self, state: State) -> bool:
        return all(part.accepts(own) for part, own in zip(self.parts, state, strict=True))

    def __repr__(self) -> str:
        return " & ".join(map(repr, self.parts))


class Automaton:
    """A constraint over a vocabulary, for names of at most `max_length` characters, without dead ends.

    `allowed(state)` holds the indices of the characters, the end's among them, after which a name that meets
    the constraint is still possible. `start` is the state after `prefix`. ValueError where no name that
    begins with the prefix meets the constraint; the message names the parts that clash.

    >>> automaton = Automaton(Length(2) & Pattern("a*"), Vocabulary("ab"), max_length=3)
    >>> [automaton.vocabulary.decode(name) for name in automaton.continuations()]
    ['aa', 'aaa', 'aab', 'ab', 'aba', 'abb']
    """

    def __init__(self, constraint: Constraint, vocabulary: Vocabulary, max_length: int, prefix: str = ""):
        self.wanted = constraint
        self.constraint = All(Length(0, max_length), constraint)
        self.vocabulary = vocabulary
        self._alive: dict[State, bool] = {}
        self._allowed: dict[State, dict[int, State]] = {}
        self.start = self.constraint.start()
        for token in (vocabulary.tokens[index] for index in vocabulary.encode(prefix)):
            self.start = None if self.start is None else self.constraint.step(self.start, token)
        if self.start is None or not self.alive(self.start):
            within = f"at most {max_length} characters" + (f" that begins with {prefix!r}" if prefix else "")
            clash = " & ".join(map(repr, _clash(constraint, vocabulary, max_length, prefix)))
            raise ValueError(f"no name of {within} meets {clash}")

    def alive(self, state: State) -> bool:
        """Whether some continuation, the empty one included, meets the constraint."""
        path = [state]  # depth first; a loop, for recursion ends at a thousand characters
        while state not in self._alive:
            ends = self.constraint.accepts(path[-1])
            after = [] if ends else [after for _, after in self._steps(path[-1])]
            unknown = [one for one in after if one not in self._alive]
            if ends or any(self._alive.get(one) for one in after):
                self._alive[path.pop()] = True
            elif unknown:
                path.append(unknown[0])
            else:
                self._alive[path.pop()] = False
        return self._alive[state]

    def _steps(self, state: State) -> Iterator[tuple[int, State]]:
        for index in self.vocabulary.ordinary:
            after = self.constraint.step(state, self.vocabulary.tokens[index])
            if after is not None:
                yield index, after

    def allowed(self, state: State) -> dict[int, State]:
        """Index of each character that may come -> the state after it; the end leads to None."""
        if state not in self._allowed:
            ends = {self.vocabulary.end_index: None} if self.constraint.accepts(state) else {}
            self._allowed[state] = ends | {i: after for i, after in self._steps(state) if self.alive(after)}
        return self._allowed[state]

    def process_logits(self, logits: Tensor, states: Sequence[Hashable]) -> Tensor:
        """Logits (B, V) with -inf for characters that a row's state does not allow: a logits processor."""
        masked = torch.full_like(logits, -torch.inf)
        for row, state in enumerate(states):
            kept = list(self.allowed(state))
            masked[row, kept] = logits[row, kept]
        return masked

    def continuations(self, state: State = None) -> Iterator[list[int]]:
        """Every way to go on from a state (the start), as lists of indices without the end.

        No step is in vain: the work is in proportion to what comes out.
        """
        rest: list[int] = []
        path = [iter(self.allowed(self.start if state is None else state).items())]
        while path:  # a loop, for recursion ends at a thousand characters
            index, after = next(path[-1], (None, None))
            if index == self.vocabulary.end_index:
                yield list(rest)
            elif index is not None:
                rest.append(index)
                path.append(iter(self.allowed(after).items()))
            else:
                path.pop()
                del rest[-1:]


def _clash(constraint: Constraint, vocabulary: Vocabulary, longest: int, prefix: str) -> Sequence[Constraint]:
    """The fewest parts of a constraint, up to two, that cannot be met together; otherwise all of them."""
    parts = constraint.parts if isinstance(constraint, All) else (constraint,)
    for few in (1, 2):
        for chosen in combinations(parts, few) if few < len(parts) else ():
            try:
                Automaton(All(*chosen), vocabulary, longest, prefix)
            except ValueError:
                return chosen
    return parts
