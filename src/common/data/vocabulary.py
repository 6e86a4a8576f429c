"""Tokens to integers and back."""

from collections.abc import Iterable


class Vocabulary:
    """The tokens that a model knows, numbered: the special ones first, then the others in their order.

    tokens: characters, or words, which `separator` parts in a text. end: the token that closes a sequence.
    begin stands in front of one, and pad where there is nothing; both are `end` unless they are given: in the
    lists of names the dot is all three. unknown: what stands for every other token; without it, such a token
    is a ValueError. ``end_index`` and so on are their numbers; ``never_drawn`` are those that no text holds.
    Introduced in chapter 1.

    >>> vocabulary = Vocabulary("abc")
    >>> vocabulary.encode("cab.")
    [3, 1, 2, 0]
    >>> vocabulary.decode([3, 1, 2])
    'cab'
    >>> words = Vocabulary(["to", "be"], end="</s>", pad="<pad>", unknown="<?>", separator=" ")
    >>> words.encode("to be wise")
    [4, 3, 2]
    """

    def __init__(self, tokens: Iterable[str], end: str = ".", *, begin: str | None = None,
                 pad: str | None = None, unknown: str | None = None, separator: str = ""):  # fmt: skip
        distinct = sorted(set(tokens))
        self.end, self.unknown, self.separator = end, unknown, separator
        self.begin, self.pad = end if begin is None else begin, end if pad is None else pad
        special = dict.fromkeys([self.pad, self.begin, end, *([] if unknown is None else [unknown])])
        if not distinct:
            raise ValueError("a vocabulary needs at least one token, got none")
        if clash := [token for token in distinct if token in special]:
            raise ValueError(f"expected tokens without the special ones, got {clash[0]!r}")
        self.tokens = (*special, *distinct)
        self._index = {token: i for i, token in enumerate(self.tokens)}
        self.ordinary = range(len(special), len(self.tokens))
        self.end_index, self.begin_index, self.pad_index = map(self.tokens.index, (end, self.begin, self.pad))
        self.never_drawn = [i for i in range(len(special)) if i != self.end_index]
        self.unknown_index = None if unknown is None else self._index[unknown]

    def encode(self, text: Iterable[str]) -> list[int]:
        """A text, or its tokens, to integers. ValueError for a token outside the vocabulary, unless there is
        one for the unknown."""
        if isinstance(text, str) and self.separator:
            text = text.split(self.separator) if text else []
        if self.unknown_index is not None:
            return [self._index.get(token, self.unknown_index) for token in text]
        try:
            return [self._index[token] for token in text]
        except KeyError as error:
            known = self.separator.join(self.tokens)
            raise ValueError(f"character {error.args[0]!r} of {text!r} is not one of {known!r}") from None

    def decode(self, indices: Iterable[int]) -> str:
        """Integers to text. IndexError for one that is no token's number, a negative one among them."""
        numbers, V = indices.tolist() if hasattr(indices, "tolist") else list(indices), len(self)
        if wrong := [i for i in numbers if not 0 <= i < V]:
            raise IndexError(f"expected integers in [0, {V}), got {wrong[0]}")
        return self.separator.join(self.tokens[i] for i in numbers)

    def __len__(self) -> int:
        return len(self.tokens)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Vocabulary) and vars(self) == vars(other)

    def __hash__(self) -> int:
        return hash(self.tokens)

    def __repr__(self) -> str:
        ordinary = [self.tokens[i] for i in self.ordinary]
        listed = "".join(ordinary) if set(map(len, ordinary)) == {1} else ordinary
        own, usual = vars(self), {"begin": self.end, "pad": self.end, "unknown": None, "separator": ""}
        extra = "".join(f", {name}={own[name]!r}" for name in usual if own[name] != usual[name])
        return f"Vocabulary({listed!r}, end={self.end!r}{extra})"
