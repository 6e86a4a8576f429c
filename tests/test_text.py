"""Texts: Shakespeare's plays, Python's own source, any file; whole texts are held out."""

import ast

import pytest

from common.data.text import TEST_PLAYS, VAL_PLAYS, hold_out, plain, plays, python_source, read_text


@pytest.fixture(scope="module")
def shakespeare(fetched):
    fetched("plays")
    return plays()


def test_the_plays_are_what_the_card_says(shakespeare):
    assert len(shakespeare) == 38 and list(shakespeare) == sorted(shakespeare)
    assert {
        "Hamlet",
        "Macbeth",
        "Measure for Measure",
        "Henry IV, Part 2",
        "A Winter's Tale",
    } <= shakespeare.keys()
    assert sum(map(len, shakespeare.values())) == 4_987_030
    assert min(map(len, shakespeare.values())) > 87_000
    assert shakespeare["Measure for Measure"].startswith("ACT I\n")
    opening = ("ACT I", "SCENE I. A desert place.", "Thunder and lightning. Enter three Witches")
    assert shakespeare["Macbeth"].startswith("\n\n".join(opening) + "\n\nFirst Witch:\nWhen shall we three")


def test_no_marks_of_markdown_are_left(shakespeare):
    text = "".join(shakespeare.values())
    assert not set("*_#\\\r\t") & set(text)
    assert " \n" not in text


def test_whole_plays_are_held_out(shakespeare):
    parts = hold_out(shakespeare)
    assert [len(part) for part in parts] == [34, len(VAL_PLAYS), len(TEST_PLAYS)] == [34, 2, 2]
    assert parts.test == [shakespeare[title] for title in TEST_PLAYS]
    assert sorted(text for part in parts for text in part) == sorted(shakespeare.values())
    held = sum(map(len, parts.val + parts.test)) / sum(map(len, shakespeare.values()))
    assert 0.08 < held < 0.12


def test_marks_are_taken_away_and_words_stay():
    source = "# Title  \r\n\n**FIRST LORD**  \n[Aside]_ 'Tis \\--so  \n_Exeunt,\nall_\n"
    assert plain(source) == "Title\n\nFIRST LORD:\n[Aside] 'Tis --so\nExeunt,\nall\n"


TEXTS = {"a": "one", "b": "two", "c": "three"}


@pytest.mark.parametrize(
    "val, test, expected",
    [
        (["d"], ["a"], "expected titles of a, b, c; got 'd'"),
        (["a"], ["a"], "expected every title held out once, got 'a' twice"),
        (["a", "a"], ["b"], "expected every title held out once, got 'a' twice"),
        (["a"], [], r"expected at least one text in each part, got \[2, 1, 0\]"),
        (["a", "b"], ["c"], r"expected at least one text in each part, got \[0, 2, 1\]"),
    ],
)
def test_titles_that_cannot_be_held_out(val, test, expected):
    with pytest.raises(ValueError, match=expected):
        hold_out(TEXTS, val, test)


def test_pythons_own_source_is_read_in_the_encoding_that_each_file_names():
    source = python_source()
    assert list(source) == sorted(source) and len(source) > 400
    assert {"ast.py", "json/decoder.py", "asyncio/events.py"} <= source.keys()
    assert not any(name.startswith(("test/", "site-packages/")) or "/tests/" in name for name in source)
    assert source["ast.py"] == open(ast.__file__, encoding="utf-8").read()


def test_a_python_without_its_source(monkeypatch, tmp_path):
    monkeypatch.setattr("sysconfig.get_path", lambda name: str(tmp_path))
    with pytest.raises(ValueError, match=r"expected Python's own source in .*, got no file \*\.py"):
        python_source()


def test_any_file(tmp_path):
    path = tmp_path / "mine.txt"
    path.write_bytes("\ufeffé one\r\ntwo\rthree\u2028".encode())
    assert read_text(path) == read_text(str(path)) == "é one\ntwo\nthree\u2028"


@pytest.mark.parametrize(
    "content, expected",
    [
        (None, "No such file or directory; expected a text file in UTF-8"),
        (b"", "the file is empty; expected a text file in UTF-8"),
        (b" \n", "the file is empty"),
        (b"abc\xe9", "byte 3 is not UTF-8; expected a text file in UTF-8"),
        ("ab".encode("utf-16-le"), "got zero bytes, as UTF-16 has them"),
    ],
)
def test_a_file_that_is_no_text(tmp_path, content, expected):
    path = tmp_path / "mine.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ValueError) as error:
        read_text(path)
    assert str(error.value).startswith(f"{path}: {expected}")


def test_a_folder_is_no_text(tmp_path):
    with pytest.raises(ValueError, match="Is a directory; expected a text file"):
        read_text(tmp_path)
