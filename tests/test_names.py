"""Lists of names are read and checked, split without a leak, and cut into the right windows."""

import os
import random
import unicodedata
from collections import Counter
from hashlib import sha256
from pathlib import Path
from string import ascii_lowercase

import pytest
import torch

from common import names as names_module
from common.names import distinct, load, sequences, split, windows
from common.vocabulary import Vocabulary

VOCABULARY = Vocabulary(ascii_lowercase)


@pytest.fixture(autouse=True)
def no_list_of_the_user(monkeypatch):
    monkeypatch.delenv("NAMES", raising=False)


@pytest.fixture
def written(tmp_path):
    def write(content):
        path = tmp_path / "list.txt"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def lecture_list():
    beside = Path(__file__).resolve().parents[2] / "shared" / "data" / "names_lecture.txt"
    path = Path(os.environ.get("LECTURE_NAMES") or beside)
    if not path.exists():
        pytest.skip(f"the lecture's list is not here: set LECTURE_NAMES, or put it at {beside}")
    return path


# reading


def test_the_shipped_list_is_as_stated():
    names = load()
    assert len(names) == 32_178
    assert len(set(names)) == 29_619
    assert set("".join(names)) == set(ascii_lowercase)
    assert names[:4] == ["emma", "olivia", "ava", "isabella"]


@pytest.mark.parametrize(
    "content",
    [
        b"emma\nava\n",
        b"emma\nava",
        b"emma\r\nava\r\n",
        b"\xef\xbb\xbfemma\nava\n",
        b"\xef\xbb\xbfemma\r\nava",
        b"emma\rava\r",
    ],
    ids=["lf", "no last newline", "crlf", "bom", "bom and crlf", "cr"],
)
def test_every_way_to_end_a_line_reads_the_same(written, content):
    assert load(written(content)) == ["emma", "ava"]


def test_order_and_repetitions_stay(written):
    assert load(str(written("b\na\nb\n"))) == ["b", "a", "b"]


@pytest.mark.parametrize("content", [b"", b"\xef\xbb\xbf"], ids=["empty", "only a bom"])
def test_an_empty_file_is_refused(written, content):
    path = written(content)
    with pytest.raises(ValueError, match="empty") as caught:
        load(path)
    assert str(path) in str(caught.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"nowhere\.txt: no such file"):
        load(tmp_path / "nowhere.txt")


def test_a_folder_is_refused(tmp_path):
    with pytest.raises(ValueError, match="is a folder") as caught:
        load(tmp_path)
    assert str(tmp_path) in str(caught.value)


def test_a_path_through_a_file_is_refused(written):
    with pytest.raises(ValueError, match=r"list\.txt"):
        load(written("emma\n") / "names.txt")


@pytest.mark.parametrize("alphabet", [ascii_lowercase, None])
def test_text_that_is_not_utf_8_is_refused(written, alphabet):
    with pytest.raises(ValueError, match=r"list\.txt: not UTF-8 text \(byte 7"):
        load(written(b"emma\nzo\xe9\n"), alphabet)


@pytest.mark.parametrize(
    "content, line",
    [("emma\n\nava\n", 2), ("\nemma\n", 1), ("emma\r\nava\r\n\r\nmia\r\n", 3), ("emma\n\n", 2), ("\n", 1)],
)
@pytest.mark.parametrize("alphabet", [ascii_lowercase, None])
def test_an_empty_line_is_named(written, content, line, alphabet):
    with pytest.raises(ValueError, match=rf"list\.txt, line {line}: empty line"):
        load(written(content), alphabet)


@pytest.mark.parametrize(
    "content, line, character",
    [
        ("emma\nzoé\n", 2, "é"),
        ("Emma\nava\n", 1, "E"),
        ("emma\nava\nmary-jane\n", 3, "-"),
        ("emma\nmary jane\n", 2, " "),
        ("emma \nava\n", 1, " "),
        ("emma\nj.r\n", 2, "."),
        ("emma\nava\tx\n", 2, "\\t"),
        ("emma\n7of9\n", 2, "7"),
    ],
)
def test_a_strange_character_is_named(written, content, line, character):
    path = written(content)
    with pytest.raises(ValueError) as caught:
        load(path)
    assert f"{path}, line {line}: character '{character}'" in str(caught.value)
    assert repr(ascii_lowercase) in str(caught.value)


def test_an_alphabet_of_ones_own(written):
    path = written("Zoé\nAnne-Marie\nœdipe\n")
    names = ["Zoé", "Anne-Marie", "œdipe"]
    assert load(path, "".join(names)) == names
    with pytest.raises(ValueError, match=r"line 2: character '-'"):
        load(path, "ZoéAnneMarieœdipe")


def test_any_alphabet(written):
    names = ["Zoé", "Anne-Marie", "d'Arc", "Mary Jane", "Łukasz", "日本"]
    assert load(written("\n".join(names)), None) == names


@pytest.mark.parametrize(
    "content, character", [("j.r\n", "."), ("a\tb\n", "\\t"), ("a\x00\n", "\\x00"), ("a\u2028b\n", "\\u2028")]
)
def test_any_alphabet_has_limits(written, content, character):
    with pytest.raises(ValueError) as caught:
        load(written("emma\n" + content), None)
    assert f"line 2: character '{character}'" in str(caught.value)


def test_the_end_token_cannot_be_in_the_alphabet(written):
    with pytest.raises(ValueError, match="'.' marks the end"):
        load(written("emma\n"), "abcdefgm.")


def test_the_variable_NAMES_names_the_list(written, monkeypatch):
    path = written("emma\nava\n")
    assert names_module.path_in_use() == names_module.SHIPPED
    monkeypatch.setenv("NAMES", str(path))
    assert names_module.path_in_use() == path
    assert load() == ["emma", "ava"]
    monkeypatch.setenv("NAMES", str(path) + "x")
    assert load(path) == ["emma", "ava"]
    with pytest.raises(ValueError, match=r"list\.txtx: no such file"):
        load()
    monkeypatch.setenv("NAMES", "")
    assert len(load()) == 32_178


JOINED = {
    "persian": "مهدی\u200cزاده",
    "sinhala": "ශ\u0dca\u200dරී",
    "hindi": "क्\u200dष",
    "malayalam": "രാജന\u0d4d\u200d",
}
KEPT = [
    "Mary Ann",
    "de la Cruz",
    "Mary-Ann",
    "O'Neil",
    "O’Neil",
    "Gal·la",
    "葛\U000e0100城",
    "Henry 8",
    "M̀bali",
]


@pytest.mark.parametrize("name", [*JOINED.values(), *KEPT], ids=[*JOINED, *KEPT])
def test_any_alphabet_takes_what_names_are_spelled_with(written, name):
    assert load(written(f"Emma\n{name}\n"), None) == ["Emma", name]


@pytest.mark.parametrize(
    "line, message",
    [
        ("emma,F,20355", "',' in 'emma,F,20355'; expected one name a line and nothing beside it"),
        ("emma\t20355", r"'\\t' in .*; expected one name a line and nothing beside it"),
        ("emma;F", "';' in"),
        ("| emma |", "[|]' in"),
        ('"emma"', "character '\"' in"),
        ("<p>emma</p>", "'<' in .*nothing beside it"),
        ('["emma", "ava"]', r"'\[' in"),
        ("# names of 2024", "begins with '#'; expected names alone, without comments"),
        (" emma", "' emma' begins or ends with a space"),
        ("emma  ", "'emma  ' begins or ends with a space"),
        (" ", "blank line; expected a name"),
        ("mary\xa0ann", r"'\\xa0' \(no-break space\) in .*; expected a plain space"),
        ("山田\u3000太郎", r"'\\u3000' \(ideographic space\) in .*; expected a plain space"),
        ("em\xadma", r"'\\xad' \(soft hyphen\) in"),
        ("em\u200bma", r"\(zero width space\) in"),
        ("\u200fאמה", r"\(right-to-left mark\) in"),
        ("emma\ufeff", r"\(zero width no-break space\) in"),
        ("\u200cemma", "begins with a mark that belongs to a letter in front of it"),
        ("\u0301emma", "begins with a mark that belongs to a letter in front of it"),
        ("Jr.", "'[.]' in 'Jr.'; expected a name without '[.]', which marks its end"),
    ],
    ids=ascii,
)
def test_what_is_no_list_of_names_is_refused_with_a_reason(written, line, message):
    with pytest.raises(ValueError, match=r"list\.txt, line 2: .*" + message):
        load(written(f"ava\n{line}\n"), None)


def test_an_alphabet_of_ones_own_takes_what_any_does_not(written):
    assert load(written("a,b\n#c\n"), "abc,#") == ["a,b", "#c"]
    with pytest.raises(ValueError, match="begins or ends with a space"):
        load(written("a b\n a\n"), "ab ")


def test_one_name_is_one_name_however_its_accents_are_stored(written):
    apart = unicodedata.normalize("NFD", "Zoé\nÅsa\n")
    for alphabet in (None, "ZoéÅsa"):
        assert load(written("Zoé\nÅsa\n" + apart), alphabet) == ["Zoé", "Åsa"] * 2
    assert load(written(apart), "".join(set(apart))) == apart.splitlines(), "as the alphabet has them"


@pytest.mark.parametrize("name, letter", [("Emma", "E"), ("zoé", "é"), ("mary ann", " ")])
def test_a_letter_outside_the_alphabet_is_refused_with_the_way_to_take_it(written, name, letter):
    with pytest.raises(ValueError, match=rf"'{letter}' in .*--alphabet any.*alphabet=None"):
        load(written(f"ava\n{name}\n"))


def test_what_no_alphabet_takes_is_not_recommended_one(written):
    for text in ("j.r\n", "emma,F\n"):
        with pytest.raises(ValueError) as caught:
            load(written(text))
        assert "any" not in str(caught.value)


@pytest.mark.parametrize(
    "alphabet, range_", [("a-z", "a-z"), ("a-zåäö", "a-z"), ("'A-Za-z", "A-Z"), ("а-я", "а-я")]
)
def test_a_range_is_not_an_alphabet(written, alphabet, range_):
    with pytest.raises(ValueError, match=f"'{range_}' .* three characters; expected all letters written out"):
        load(written("a-z\n"), alphabet)


def test_an_alphabet_has_a_letter(written):
    with pytest.raises(ValueError, match="alphabet of at least one character, got none"):
        load(written("emma\n"), "")


@pytest.mark.parametrize(
    "text", ["emma\nava\n", "анна\nмария\n", "emma\r\nzoé"], ids=["latin", "cyrillic", "crlf"]
)
@pytest.mark.parametrize("code", ["utf-16-le", "utf-16-be", "utf-16"])
def test_utf_16_is_recognised(written, text, code):
    for alphabet in (ascii_lowercase, None):
        with pytest.raises(
            ValueError, match=r"list\.txt: not UTF-8 text \(looks like UTF-16\); save it as UTF-8"
        ):
            load(written(text.encode(code)), alphabet)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs a pipe in a folder")
def test_a_pipe_is_refused_rather_than_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ValueError, match="pipe: expected a file, .* got a pipe or a device"):
        load(tmp_path / "pipe")


def test_a_relative_path_is_refused_with_the_folder_it_was_looked_up_in(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NAMES", "lists/mine.txt")
    with pytest.raises(ValueError) as caught:
        load()
    assert f"lists/mine.txt: no such file in {Path.cwd()}" in str(caught.value)


def test_spaces_around_a_name_are_not_a_matter_of_the_alphabet(written):
    for text in ("ava\nemma \n", "ava\n \n"):
        with pytest.raises(
            ValueError, match="line 2: character ' ' .* and no space before or after"
        ) as caught:
            load(written(text))
        assert "any" not in str(caught.value)


def test_a_line_without_end_is_not_printed_whole(written):
    with pytest.raises(ValueError, match=r"line 1: character 'E' in 'emma+…'; expected") as caught:
        load(written("emm" + "a" * 100_000 + "E"))
    assert len(str(caught.value)) < 500


def test_a_table_of_frequencies_is_refused(written):
    with pytest.raises(ValueError, match=r"list\.txt: every line ends in a number; expected one name a line"):
        load(written("emma 20355\nava 16033\n"), None)
    assert load(written("Henry 8\nHenry\n"), None) == ["Henry 8", "Henry"]
    assert load(written("Henry 8\n" * 3), None) == ["Henry 8"] * 3


# splitting


def test_the_split_is_the_lectures():
    names = load()
    shuffled = list(names)
    random.seed(42)
    random.shuffle(shuffled)
    first, second = int(0.8 * len(names)), int(0.9 * len(names))
    parts = split(names)
    assert parts == (shuffled[:first], shuffled[first:second], shuffled[second:])
    assert (parts.train, parts.val, parts.test) == tuple(parts)
    assert [len(part) for part in parts] == [25_742, 3_218, 3_218]


@pytest.mark.parametrize("count", [10, 11, 99, 100, 1_003])
def test_each_name_stands_in_one_part(count):
    rows = [f"row {i}" for i in range(count)]
    parts = split(rows)
    assert sorted(sum(parts, [])) == sorted(rows)
    assert len(parts.train) == int(0.8 * count)
    assert len(parts.val) == int(0.9 * count) - int(0.8 * count)


def test_the_parts_add_up_to_the_list_with_its_repetitions():
    names = load()
    assert sum((Counter(part) for part in split(names)), Counter()) == Counter(names)


def test_distinct_names_do_not_leak():
    train, val, test = map(set, split(distinct(load())))
    assert not (train & val or train & test or val & test)
    assert len(train) + len(val) + len(test) == 29_619


def test_the_split_depends_on_the_seed_alone():
    rows = [f"row {i}" for i in range(100)]
    random.seed(1)
    before = random.getstate()
    again = split(tuple(rows))
    assert random.getstate() == before
    assert split(rows) == again == split(rows, seed=42)
    assert split(rows, seed=43) != split(rows)
    assert rows == [f"row {i}" for i in range(100)]


@pytest.mark.parametrize("count", [0, 1, 2, 5])
def test_a_list_too_short_for_three_parts_is_refused(count):
    with pytest.raises(ValueError, match=f"expected at least .* got {count}"):
        split(["emma"] * count)
    with pytest.raises(ValueError, match=f"^lists/mine.txt: expected at least 6 names .* got {count}"):
        split(["emma"] * count, listed="lists/mine.txt")


def test_distinct_keeps_the_first_of_each():
    assert distinct(["b", "a", "b", "c", "a"]) == ["b", "a", "c"]
    assert distinct([]) == []


# windows


def test_the_windows_of_one_name():
    contexts, targets = windows(["emma"], VOCABULARY, 3)
    assert contexts.tolist() == [[0, 0, 0], [0, 0, 5], [0, 5, 13], [5, 13, 13], [13, 13, 1]]
    assert targets.tolist() == [5, 13, 13, 1, 0]
    assert contexts.dtype == targets.dtype == torch.int64
    assert contexts.device.type == targets.device.type == "cpu"


@pytest.mark.parametrize("block_size", [1, 3, 8, 20])
def test_a_window_holds_what_precedes_its_target(block_size):
    names = load()[:50]
    contexts, targets = windows(iter(names), VOCABULARY, block_size)
    expected = []
    for name in names:
        marked = "." * block_size + name + "."
        expected += [(marked[i : i + block_size], marked[i + block_size]) for i in range(len(name) + 1)]
    shown = [
        (VOCABULARY.decode(x), VOCABULARY.decode([y]))
        for x, y in zip(contexts.tolist(), targets.tolist(), strict=True)
    ]
    assert shown == expected
    assert contexts.shape == (len(expected), block_size)


@pytest.mark.parametrize("block_size", [3, 8])
def test_every_name_starts_from_nothing_and_ends_once(block_size):
    names = load()[:200]
    contexts, targets = windows(names, VOCABULARY, block_size)
    lengths = torch.tensor([len(name) + 1 for name in names])
    assert len(contexts) == len(targets) == lengths.sum()
    last = lengths.cumsum(0) - 1
    assert not contexts[last - lengths + 1].any()
    assert (targets == 0).nonzero().flatten().tolist() == last.tolist()


def test_longer_windows_have_the_same_targets_and_the_same_recent_characters():
    names = load()[:200]
    short, targets = windows(names, VOCABULARY, 3)
    long, same = windows(names, VOCABULARY, 8)
    assert torch.equal(targets, same)
    assert torch.equal(long[:, -3:], short)


@pytest.mark.parametrize("block_size", [0, -1])
def test_a_window_holds_at_least_one_character(block_size):
    with pytest.raises(ValueError, match=f"block_size of at least 1, got {block_size}"):
        windows(["emma"], VOCABULARY, block_size)


def test_a_name_outside_the_vocabulary_is_refused():
    with pytest.raises(ValueError, match="'m' of 'emma'"):
        windows(["ea", "emma"], Vocabulary("ae"), 3)


def test_the_lectures_list_gives_the_lectures_windows():
    path = lecture_list()
    assert sha256(path.read_bytes()).hexdigest().startswith("0a30b555")
    names = load(path)
    assert (len(names), len(set(names))) == (32_033, 29_494)
    counts = [windows(part, VOCABULARY, 3)[0].shape for part in split(names)]
    assert counts == [(182_625, 3), (22_655, 3), (22_866, 3)]


# whole names


def test_sequences_by_hand():
    inputs, targets, mask = sequences(["cab", "b"], Vocabulary("abc"))
    assert inputs.tolist() == [[0, 3, 1, 2], [0, 2, 0, 0]]
    assert targets.tolist() == [[3, 1, 2, 0], [2, 0, 0, 0]]
    assert mask.tolist() == [[True] * 4, [True, True, False, False]]
    assert inputs.dtype == targets.dtype == torch.int64
    longer, _, counts = sequences(["cab", "b"], Vocabulary("abc"), length=6)
    assert longer.shape == (2, 6) and torch.equal(longer[:, :4], inputs) and counts.sum() == mask.sum()


def test_sequences_predict_what_windows_predict():
    words = load(names_module.SHIPPED)[:500]
    vocabulary = Vocabulary("".join(words))
    contexts, expected = windows(words, vocabulary, 1)
    inputs, targets, mask = sequences(words, vocabulary)
    assert torch.equal(inputs[mask], contexts[:, 0]) and torch.equal(targets[mask], expected)


def test_sequences_refuse_no_name_and_too_little_room():
    with pytest.raises(ValueError, match="expected at least one name"):
        sequences([], Vocabulary("abc"))
    with pytest.raises(ValueError, match="length of at least 4, got 3"):
        sequences(["cab"], Vocabulary("abc"), length=3)
