"""Tokens become integers and come back; the special ones come first."""

from string import ascii_lowercase

import pytest

from common.data import Vocabulary, sequences, windows


def test_the_end_token_is_number_0_and_characters_follow_in_order():
    vocabulary = Vocabulary("cabca")
    assert vocabulary.tokens == (".", "a", "b", "c")
    assert vocabulary.encode("cab.") == [3, 1, 2, 0]
    assert vocabulary.decode([3, 1, 2, 0]) == "cab."


def test_the_lecture_has_27():
    vocabulary = Vocabulary(ascii_lowercase)
    assert len(vocabulary) == 27
    assert (vocabulary.encode("a"), vocabulary.encode("z")) == ([1], [26])


@pytest.mark.parametrize("characters", [ascii_lowercase, "éàüßñ", "AaÅå", "-'’ abc", "日本語"])
def test_every_character_comes_back(characters):
    vocabulary = Vocabulary(characters)
    assert vocabulary.decode(range(len(vocabulary))) == "".join(vocabulary.tokens)
    assert vocabulary.decode(vocabulary.encode(characters)) == characters


def test_no_text_is_no_numbers():
    assert Vocabulary("ab").encode("") == []
    assert Vocabulary("ab").decode([]) == ""


def test_an_unknown_character_is_named():
    with pytest.raises(ValueError, match="'é' of 'zoé' is not one of '.eoz'"):
        Vocabulary("zoe").encode("zoé")


@pytest.mark.parametrize("index", [4, 99, -1, -100])
def test_an_unknown_number_is_refused(index):
    with pytest.raises(IndexError, match=rf"expected integers in \[0, 4\), got {index}"):
        Vocabulary("abc").decode([1, index, 7])


def test_no_characters_are_refused():
    with pytest.raises(ValueError, match="at least one token"):
        Vocabulary("")


def test_the_end_token_cannot_be_a_character():
    with pytest.raises(ValueError, match="expected tokens without the special ones, got '.'"):
        Vocabulary("ab.")
    with pytest.raises(ValueError, match="expected tokens without the special ones, got 'b'"):
        Vocabulary("ab", end="b")
    with pytest.raises(ValueError, match="got 'a'"):  # the first of two
        Vocabulary("abc", end="b", pad="a")


def test_another_end_token_frees_the_full_stop():
    vocabulary = Vocabulary("a.", end="\n")
    assert vocabulary.encode("a.\n") == [2, 1, 0]


def test_vocabularies_are_equal_by_their_tokens():
    assert Vocabulary("abc") == Vocabulary(["c", "b", "a", "a"])
    assert hash(Vocabulary("abc")) == hash(Vocabulary("cba"))
    assert Vocabulary("abc") != Vocabulary("abd")
    assert Vocabulary("abc") != Vocabulary("abc", end="\n")
    assert Vocabulary("abc") != "abc"


SPECIAL = {"end": "</s>", "begin": "<s>", "pad": "<pad>", "unknown": "<?>"}
WORDS = Vocabulary("to be or not to be".split(), separator=" ", **SPECIAL)


@pytest.mark.parametrize(
    "vocabulary",
    [
        Vocabulary("b'a", end="\n"), Vocabulary("ab", begin="^", pad="_"), Vocabulary("ab", unknown="?"),
        WORDS, Vocabulary(["ab", "c"]), Vocabulary(["a", "b"], separator=" "), Vocabulary(["New York"]),
    ],
    ids=repr,
)  # fmt: skip
def test_its_repr_builds_it_again(vocabulary):
    again = eval(repr(vocabulary))
    assert again == vocabulary and hash(again) == hash(vocabulary)
    assert vars(again) == vars(vocabulary)


def test_tokens_that_look_alike_together_are_not_the_same():
    assert Vocabulary(["ab", "c"]) != Vocabulary(["a", "bc"]) != Vocabulary("abc")
    assert Vocabulary(["a", "b"], separator=" ") != Vocabulary("ab")
    assert Vocabulary("ab", pad="_") != Vocabulary("ab", begin="_")
    assert len({Vocabulary("ab"), Vocabulary("ba"), Vocabulary("ab", unknown="?")}) == 2


# words, and special tokens of their own


def test_words_have_numbers_behind_the_special_ones():
    assert WORDS.tokens == ("<pad>", "<s>", "</s>", "<?>", "be", "not", "or", "to")
    assert (WORDS.pad_index, WORDS.begin_index, WORDS.end_index, WORDS.unknown_index) == (0, 1, 2, 3)
    assert [WORDS.tokens[i] for i in WORDS.ordinary] == ["be", "not", "or", "to"]
    assert len(WORDS) == 8
    assert (WORDS.pad, WORDS.begin, WORDS.end, WORDS.unknown) == ("<pad>", "<s>", "</s>", "<?>")


@pytest.mark.parametrize(
    "text", ["to be", ["to", "be"], iter(["to", "be"])], ids=["text", "words", "iterator"]
)
def test_a_text_of_words_is_taken_apart_where_they_part(text):
    assert WORDS.encode(text) == [7, 4]
    assert WORDS.decode([7, 4]) == "to be"


def test_no_text_of_words_is_no_numbers():
    assert WORDS.encode("") == WORDS.encode([]) == []
    assert WORDS.decode([]) == ""


def test_every_other_word_is_the_unknown_one():
    assert WORDS.encode("to be wise") == [7, 4, 3]
    assert WORDS.decode([7, 4, 3]) == "to be <?>"
    certain = Vocabulary(["to", "be"], separator=" ")
    with pytest.raises(ValueError, match="'wise' of .*'to', 'be', 'wise'.* is not one of '. be to'"):
        certain.encode("to be wise")


def test_the_dot_of_names_is_end_begin_and_pad():
    names = Vocabulary("ab")
    assert (names.end_index, names.begin_index, names.pad_index, names.unknown_index) == (0, 0, 0, None)
    assert (names.end, names.begin, names.pad, names.unknown) == (".", ".", ".", None)
    assert list(names.ordinary) == [1, 2] and names.separator == ""


@pytest.mark.parametrize("wrong", ["</s>", "<s>", "<pad>", "<?>"])
def test_no_special_token_is_a_word(wrong):
    with pytest.raises(ValueError) as caught:
        Vocabulary(["to", wrong], **SPECIAL)
    assert str(caught.value) == f"expected tokens without the special ones, got {wrong!r}"


def test_sentences_begin_end_and_are_padded_by_their_own_tokens():
    inputs, targets, mask = sequences(["to be", "not"], WORDS)
    assert inputs.tolist() == [[1, 7, 4], [1, 5, 0]]
    assert targets.tolist() == [[7, 4, 2], [5, 2, 0]]
    assert mask.tolist() == [[True, True, True], [True, True, False]]
    contexts, following = windows(["to be"], WORDS, 2)
    assert contexts.tolist() == [[1, 1], [1, 7], [7, 4]] and following.tolist() == [7, 4, 2]
