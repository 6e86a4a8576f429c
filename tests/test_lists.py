"""Lists of names from elsewhere are read in every spelling, and refused with a reason."""

import os
import unicodedata
from pathlib import Path
from string import ascii_lowercase

import pytest

from common.data import SHIPPED_NAMES, load_names
from common.data.names import path_in_use
from common.runs.lists import load_list


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


@pytest.mark.parametrize("content", [b"", b"\xef\xbb\xbf"], ids=["empty", "only a bom"])
def test_an_empty_file_is_refused(written, content):
    path = written(content)
    with pytest.raises(ValueError, match="empty") as caught:
        load_list(path)
    assert str(path) in str(caught.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"nowhere\.txt: no such file"):
        load_list(tmp_path / "nowhere.txt")


def test_a_folder_is_refused(tmp_path):
    with pytest.raises(ValueError, match="is a folder") as caught:
        load_list(tmp_path)
    assert str(tmp_path) in str(caught.value)


def test_a_path_through_a_file_is_refused(written):
    with pytest.raises(ValueError, match=r"list\.txt"):
        load_list(written("emma\n") / "names.txt")


@pytest.mark.parametrize("alphabet", [ascii_lowercase, None])
def test_text_that_is_not_utf_8_is_refused(written, alphabet):
    with pytest.raises(ValueError, match=r"list\.txt: not UTF-8 text \(byte 7"):
        load_list(written(b"emma\nzo\xe9\n"), alphabet)


@pytest.mark.parametrize(
    "content, line",
    [("emma\n\nava\n", 2), ("\nemma\n", 1), ("emma\r\nava\r\n\r\nmia\r\n", 3), ("emma\n\n", 2), ("\n", 1)],
)
@pytest.mark.parametrize("alphabet", [ascii_lowercase, None])
def test_an_empty_line_is_named(written, content, line, alphabet):
    with pytest.raises(ValueError, match=rf"list\.txt, line {line}: empty line"):
        load_list(written(content), alphabet)


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
        load_list(path)
    assert f"{path}, line {line}: character '{character}'" in str(caught.value)
    assert repr(ascii_lowercase) in str(caught.value)


def test_an_alphabet_of_ones_own(written):
    path = written("Zoé\nAnne-Marie\nœdipe\n")
    names = ["Zoé", "Anne-Marie", "œdipe"]
    assert load_list(path, "".join(names)) == names
    with pytest.raises(ValueError, match=r"line 2: character '-'"):
        load_list(path, "ZoéAnneMarieœdipe")


def test_any_alphabet(written):
    names = ["Zoé", "Anne-Marie", "d'Arc", "Mary Jane", "Łukasz", "日本"]
    assert load_list(written("\n".join(names)), None) == names


@pytest.mark.parametrize(
    "content, character", [("j.r\n", "."), ("a\tb\n", "\\t"), ("a\x00\n", "\\x00"), ("a\u2028b\n", "\\u2028")]
)
def test_any_alphabet_has_limits(written, content, character):
    with pytest.raises(ValueError) as caught:
        load_list(written("emma\n" + content), None)
    assert f"line 2: character '{character}'" in str(caught.value)


def test_the_end_token_cannot_be_in_the_alphabet(written):
    with pytest.raises(ValueError, match="'.' marks the end"):
        load_list(written("emma\n"), "abcdefgm.")


def test_the_variable_NAMES_names_the_list(written, monkeypatch):
    path = written("emma\nava\n")
    assert path_in_use() == SHIPPED_NAMES
    monkeypatch.setenv("NAMES", str(path))
    assert path_in_use() == path
    assert load_list() == ["emma", "ava"]
    monkeypatch.setenv("NAMES", str(path) + "x")
    assert load_list(path) == ["emma", "ava"]
    with pytest.raises(ValueError, match=r"list\.txtx: no such file"):
        load_list()
    monkeypatch.setenv("NAMES", "")
    assert len(load_list()) == 32_178


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
    assert load_list(written(f"Emma\n{name}\n"), None) == ["Emma", name]


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
        load_list(written(f"ava\n{line}\n"), None)


def test_an_alphabet_of_ones_own_takes_what_any_does_not(written):
    assert load_list(written("a,b\n#c\n"), "abc,#") == ["a,b", "#c"]
    with pytest.raises(ValueError, match="begins or ends with a space"):
        load_list(written("a b\n a\n"), "ab ")


def test_one_name_is_one_name_however_its_accents_are_stored(written):
    apart = unicodedata.normalize("NFD", "Zoé\nÅsa\n")
    for alphabet in (None, "ZoéÅsa"):
        assert load_list(written("Zoé\nÅsa\n" + apart), alphabet) == ["Zoé", "Åsa"] * 2
    assert load_list(written(apart), "".join(set(apart))) == apart.splitlines(), "as the alphabet has them"


@pytest.mark.parametrize("name, letter", [("Emma", "E"), ("zoé", "é"), ("mary ann", " ")])
def test_a_letter_outside_the_alphabet_is_refused_with_the_way_to_take_it(written, name, letter):
    with pytest.raises(ValueError, match=rf"'{letter}' in .*--alphabet any.*alphabet=None"):
        load_list(written(f"ava\n{name}\n"))


def test_what_no_alphabet_takes_is_not_recommended_one(written):
    for text in ("j.r\n", "emma,F\n"):
        with pytest.raises(ValueError) as caught:
            load_list(written(text))
        assert "any" not in str(caught.value)


@pytest.mark.parametrize(
    "alphabet, range_", [("a-z", "a-z"), ("a-zåäö", "a-z"), ("'A-Za-z", "A-Z"), ("а-я", "а-я")]
)
def test_a_range_is_not_an_alphabet(written, alphabet, range_):
    with pytest.raises(ValueError, match=f"'{range_}' .* three characters; expected all letters written out"):
        load_list(written("a-z\n"), alphabet)


def test_an_alphabet_has_a_letter(written):
    with pytest.raises(ValueError, match="alphabet of at least one character, got none"):
        load_list(written("emma\n"), "")


@pytest.mark.parametrize(
    "text", ["emma\nava\n", "анна\nмария\n", "emma\r\nzoé"], ids=["latin", "cyrillic", "crlf"]
)
@pytest.mark.parametrize("code", ["utf-16-le", "utf-16-be", "utf-16"])
def test_utf_16_is_recognised(written, text, code):
    for alphabet in (ascii_lowercase, None):
        with pytest.raises(
            ValueError, match=r"list\.txt: not UTF-8 text \(looks like UTF-16\); save it as UTF-8"
        ):
            load_list(written(text.encode(code)), alphabet)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs a pipe in a folder")
def test_a_pipe_is_refused_rather_than_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ValueError, match="pipe: expected a file, .* got a pipe or a device"):
        load_list(tmp_path / "pipe")


def test_a_relative_path_is_refused_with_the_folder_it_was_looked_up_in(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NAMES", "lists/mine.txt")
    with pytest.raises(ValueError) as caught:
        load_list()
    assert f"lists/mine.txt: no such file in {Path.cwd()}" in str(caught.value)


def test_spaces_around_a_name_are_not_a_matter_of_the_alphabet(written):
    for text in ("ava\nemma \n", "ava\n \n"):
        with pytest.raises(
            ValueError, match="line 2: character ' ' .* and no space before or after"
        ) as caught:
            load_list(written(text))
        assert "any" not in str(caught.value)


def test_a_line_without_end_is_not_printed_whole(written):
    with pytest.raises(ValueError, match=r"line 1: character 'E' in 'emma+…'; expected") as caught:
        load_list(written("emm" + "a" * 100_000 + "E"))
    assert len(str(caught.value)) < 500


def test_a_table_of_frequencies_is_refused(written):
    with pytest.raises(ValueError, match=r"list\.txt: every line ends in a number; expected one name a line"):
        load_list(written("emma 20355\nava 16033\n"), None)
    assert load_list(written("Henry 8\nHenry\n"), None) == ["Henry 8", "Henry"]
    assert load_list(written("Henry 8\n" * 3), None) == ["Henry 8"] * 3


def test_the_book_reads_its_list_as_the_command_line_does():
    assert load_list() == load_names() == load_names(SHIPPED_NAMES)
