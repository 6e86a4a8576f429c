"""Characters become integers and come back; index 0 is the end token."""

from string import ascii_lowercase

import pytest

from common.vocabulary import Vocabulary


def test_the_end_token_is_number_0_and_characters_follow_in_order():
    vocabulary = Vocabulary("cabca")
    assert vocabulary.characters == (".", "a", "b", "c")
    assert vocabulary.encode("cab.") == [3, 1, 2, 0]
    assert vocabulary.decode([3, 1, 2, 0]) == "cab."


def test_the_lecture_has_27():
    vocabulary = Vocabulary(ascii_lowercase)
    assert len(vocabulary) == 27
    assert (vocabulary.encode("a"), vocabulary.encode("z")) == ([1], [26])


@pytest.mark.parametrize("characters", [ascii_lowercase, "éàüßñ", "AaÅå", "-'’ abc", "日本語"])
def test_every_character_comes_back(characters):
    vocabulary = Vocabulary(characters)
    assert vocabulary.decode(range(len(vocabulary))) == "".join(vocabulary.characters)
    assert vocabulary.decode(vocabulary.encode(characters)) == characters


def test_no_text_is_no_numbers():
    assert Vocabulary("ab").encode("") == []
    assert Vocabulary("ab").decode([]) == ""


def test_an_unknown_character_is_named():
    with pytest.raises(ValueError, match="'é' of 'zoé' is not one of '.eoz'"):
        Vocabulary("zoe").encode("zoé")


@pytest.mark.parametrize("index", [4, 99])
def test_an_unknown_number_is_refused(index):
    with pytest.raises(IndexError):
        Vocabulary("abc").decode([1, index])


def test_no_characters_are_refused():
    with pytest.raises(ValueError, match="at least one character"):
        Vocabulary("")


def test_the_end_token_cannot_be_a_character():
    with pytest.raises(ValueError, match="'.' marks the end"):
        Vocabulary("ab.")
    with pytest.raises(ValueError, match="'b' marks the end"):
        Vocabulary("ab", end="b")


def test_another_end_token_frees_the_full_stop():
    vocabulary = Vocabulary("a.", end="\n")
    assert vocabulary.encode("a.\n") == [2, 1, 0]


def test_vocabularies_are_equal_by_their_characters():
    assert Vocabulary("abc") == Vocabulary(["c", "b", "a", "a"])
    assert hash(Vocabulary("abc")) == hash(Vocabulary("cba"))
    assert Vocabulary("abc") != Vocabulary("abd")
    assert Vocabulary("abc") != Vocabulary("abc", end="\n")
    assert Vocabulary("abc") != "abc"


def test_its_repr_builds_it_again():
    vocabulary = Vocabulary("b'a", end="\n")
    assert eval(repr(vocabulary)) == vocabulary
