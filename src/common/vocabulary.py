"""Characters to integers and back."""

from collections.abc import Iterable


class Vocabulary:
    """The characters that a model knows, numbered; index 0 is the end token.

    The end token closes every name and, repeated, pads the empty context in front of it.

    >>> vocabulary = Vocabulary("abc")
    >>> vocabulary.encode("cab.")
    [3, 1, 2, 0]
    >>> vocabulary.decode([3, 1, 2])
    'cab'

    Introduced in chapter 1.
    """

    def __init__(self, characters: Iterable[str], end: str = "."):
        distinct = sorted(set(characters))
        if not distinct:
            raise ValueError("a vocabulary needs at least one character, got none")
        if end in distinct:
            raise ValueError(f"{end!r} marks the end of a name and cannot also be a character of one")
        self.end = end
        self.characters = (end, *distinct)
        self._index = {character: i for i, character in enumerate(self.characters)}

    def encode(self, text: str) -> list[int]:
        """Text to integers. ValueError for a character outside the vocabulary."""
        try:
            return [self._index[character] for character in text]
        except KeyError as error:
            known = "".join(self.characters)
            raise ValueError(f"character {error.args[0]!r} of {text!r} is not one of {known!r}") from None

    def decode(self, indices: Iterable[int]) -> str:
        """Integers to text."""
        return "".join(self.characters[i] for i in indices)

    def __len__(self) -> int:
        return len(self.characters)

    def __eq__(self, other) -> bool:
        return isinstance(other, Vocabulary) and self.characters == other.characters

    def __hash__(self) -> int:
        return hash(self.characters)

    def __repr__(self) -> str:
        return f"Vocabulary({''.join(self.characters[1:])!r}, end={self.end!r})"
