"""Names are read, split without a leak, and cut into the right windows."""

import os
import random
from collections import Counter
from hashlib import sha256
from pathlib import Path
from string import ascii_lowercase

import pytest
import torch

from common.data import (
    IGNORE_INDEX,
    SHIPPED_NAMES,
    Vocabulary,
    distinct_names,
    examples,
    load_names,
    sequences,
    split_names,
    windows,
)
from common.data.names import path_in_use
from common.runs.lists import load_list

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


both = pytest.mark.parametrize("read", [load_names, load_list])  # what they promise alike


@both
def test_the_shipped_list_is_as_stated(read):
    names = read()
    assert len(names) == 32_178
    assert len(set(names)) == 29_619
    assert set("".join(names)) == set(ascii_lowercase)
    assert names[:4] == ["emma", "olivia", "ava", "isabella"]


@both
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
def test_every_way_to_end_a_line_reads_the_same(written, content, read):
    assert read(written(content)) == ["emma", "ava"]


@both
def test_order_and_repetitions_stay(written, read):
    assert read(str(written("b\na\nb\n"))) == ["b", "a", "b"]


@pytest.mark.parametrize("content", [b"", b"\xef\xbb\xbf", b"\n"], ids=["empty", "only a bom", "a line"])
def test_an_empty_file_is_refused(written, content):
    path = written(content)
    with pytest.raises(ValueError) as caught:
        load_names(path)
    assert str(caught.value) == f"{path}, line 1: expected a name of {ascii_lowercase!r}, got ''"


def test_what_is_no_file_of_text_is_named(written, tmp_path):
    beside = written("emma\n") / "names.txt"
    for path in (tmp_path / "nowhere.txt", tmp_path, beside, written(b"emma\nzo\xe9\n")):
        with pytest.raises(ValueError, match="expected a text file in UTF-8 with one name a line") as caught:
            load_names(path)
        assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    "content, line, name",
    [
        ("emma\n\nava\n", 2, ""),
        ("emma\nzoé\n", 2, "zoé"),
        ("Emma\n", 1, "Emma"),
        ("emma \nava\n", 1, "emma "),
        ("emma\nava\nmary-jane\n", 3, "mary-jane"),
        ("emma\nj.r\n", 2, "j.r"),
        ("emma\n\n", 2, ""),
    ],
)
def test_a_line_that_is_no_name_of_the_alphabet_is_named(written, content, line, name):
    path = written(content)
    with pytest.raises(ValueError) as caught:
        load_names(path)
    assert str(caught.value) == f"{path}, line {line}: expected a name of {ascii_lowercase!r}, got {name!r}"


def test_an_alphabet_of_ones_own(written):
    path, names = written("Zoé\nAnne-Marie\nœdipe\n"), ["Zoé", "Anne-Marie", "œdipe"]
    assert load_names(path, "".join(names)) == names
    with pytest.raises(ValueError, match="line 2: expected a name of 'ZoéAnneMarieœdipe', got 'Anne-Marie'"):
        load_names(path, "ZoéAnneMarieœdipe")
    assert load_names(written("ab\n"), "ab") == ["ab"], "a name may hold every letter"


def test_the_variable_NAMES_names_the_list(written, monkeypatch):
    path = written("emma\nava\n")
    assert path_in_use() == SHIPPED_NAMES
    monkeypatch.setenv("NAMES", str(path))
    assert path_in_use() == path
    assert load_names() == ["emma", "ava"]
    monkeypatch.setenv("NAMES", str(path) + "x")
    assert load_names(path) == ["emma", "ava"]
    with pytest.raises(ValueError, match="list[.]txtx"):
        load_names()
    monkeypatch.setenv("NAMES", "")
    assert len(load_names()) == 32_178


# splitting


def test_the_split_is_the_lectures():
    names = load_names()
    shuffled = list(names)
    random.seed(42)
    random.shuffle(shuffled)
    first, second = int(0.8 * len(names)), int(0.9 * len(names))
    parts = split_names(names)
    assert parts == (shuffled[:first], shuffled[first:second], shuffled[second:])
    assert (parts.train, parts.val, parts.test) == tuple(parts)
    assert [len(part) for part in parts] == [25_742, 3_218, 3_218]


@pytest.mark.parametrize("count", [10, 11, 99, 100, 1_003])
def test_each_name_stands_in_one_part(count):
    rows = [f"row {i}" for i in range(count)]
    parts = split_names(rows)
    assert sorted(sum(parts, [])) == sorted(rows)
    assert len(parts.train) == int(0.8 * count)
    assert len(parts.val) == int(0.9 * count) - int(0.8 * count)


def test_the_parts_add_up_to_the_list_with_its_repetitions():
    names = load_names()
    assert sum((Counter(part) for part in split_names(names)), Counter()) == Counter(names)


def test_distinct_names_do_not_leak():
    train, val, test = map(set, split_names(distinct_names(load_names())))
    assert not (train & val or train & test or val & test)
    assert len(train) + len(val) + len(test) == 29_619


def test_the_split_depends_on_the_seed_alone():
    rows = [f"row {i}" for i in range(100)]
    random.seed(1)
    before = random.getstate()
    again = split_names(tuple(rows))
    assert random.getstate() == before
    assert split_names(rows) == again == split_names(rows, seed=42)
    assert split_names(rows, seed=43) != split_names(rows)
    assert rows == [f"row {i}" for i in range(100)]


@pytest.mark.parametrize("count", [0, 1, 2, 5])
def test_a_list_too_short_for_three_parts_is_refused(count):
    with pytest.raises(ValueError, match=f"expected at least .* got {count}"):
        split_names(["emma"] * count)
    with pytest.raises(ValueError, match=f"^lists/mine.txt: expected at least 6 names .* got {count}"):
        split_names(["emma"] * count, listed="lists/mine.txt")


def test_distinct_keeps_the_first_of_each():
    assert distinct_names(["b", "a", "b", "c", "a"]) == ["b", "a", "c"]
    assert distinct_names([]) == []


# windows


def test_the_windows_of_one_name():
    contexts, targets = windows(["emma"], VOCABULARY, 3)
    assert contexts.tolist() == [[0, 0, 0], [0, 0, 5], [0, 5, 13], [5, 13, 13], [13, 13, 1]]
    assert targets.tolist() == [5, 13, 13, 1, 0]
    assert contexts.dtype == targets.dtype == torch.int64
    assert contexts.device.type == targets.device.type == "cpu"


@pytest.mark.parametrize("block_size", [1, 3, 8, 20])
def test_a_window_holds_what_precedes_its_target(block_size):
    names = load_names()[:50]
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
    names = load_names()[:200]
    contexts, targets = windows(names, VOCABULARY, block_size)
    lengths = torch.tensor([len(name) + 1 for name in names])
    assert len(contexts) == len(targets) == lengths.sum()
    last = lengths.cumsum(0) - 1
    assert not contexts[last - lengths + 1].any()
    assert (targets == 0).nonzero().flatten().tolist() == last.tolist()


def test_longer_windows_have_the_same_targets_and_the_same_recent_characters():
    names = load_names()[:200]
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
    names = load_names(path)
    assert (len(names), len(set(names))) == (32_033, 29_494)
    counts = [windows(part, VOCABULARY, 3)[0].shape for part in split_names(names)]
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
    words = load_names(SHIPPED_NAMES)[:500]
    vocabulary = Vocabulary("".join(words))
    contexts, expected = windows(words, vocabulary, 1)
    inputs, targets, mask = sequences(words, vocabulary)
    assert torch.equal(inputs[mask], contexts[:, 0]) and torch.equal(targets[mask], expected)


def test_sequences_refuse_no_name_and_too_little_room():
    with pytest.raises(ValueError, match="expected at least one name"):
        sequences([], Vocabulary("abc"))
    with pytest.raises(ValueError, match="length of at least 4, got 3"):
        sequences(["cab"], Vocabulary("abc"), length=3)


def test_targets_that_only_pad_are_marked_as_such():
    x, y = examples(["a", "cde"], Vocabulary("abcdefgh"), None)
    assert x.tolist() == [[0, 1, 0, 0], [0, 3, 4, 5]]
    assert y.tolist() == [[1, 0, IGNORE_INDEX, IGNORE_INDEX], [3, 4, 5, 0]]


def test_examples_are_windows_or_whole_names():
    names = ["emma", "bo"]
    for got, wanted in zip(examples(names, VOCABULARY, 3), windows(names, VOCABULARY, 3), strict=True):
        assert torch.equal(got, wanted)
    x, y = examples(names, VOCABULARY, None)
    inputs, targets, mask = sequences(names, VOCABULARY)
    assert torch.equal(x, inputs) and torch.equal(y[mask], targets[mask]) and (y[~mask] == IGNORE_INDEX).all()
