"""Pairs of sentences: what is read, what is refused, and that no sentence stands in two parts."""

import random
import zipfile

import pytest

from common.data.translation import Pair, components, load_pairs, load_phrases, plain, split_pairs

GOOD = "Hi.\tSalut !\nRun!\tCours\u202f!\tCC-BY 2.0 (France)\nHi.\tSalut !\n"


def test_pairs_are_read_once_each_without_authors_or_spaces_that_do_not_break(tmp_path):
    path = tmp_path / "pairs.tsv"
    path.write_text("\ufeff" + GOOD.replace("\n", "\r\n"), encoding="utf-8", newline="")
    assert load_pairs(path) == [Pair("Hi.", "Salut !"), Pair("Run!", "Cours !")]


def zipped(path, files):
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return path


def test_a_zip_is_read_as_the_file_in_it(tmp_path):
    path = zipped(tmp_path / "fra.zip", {"_about.txt": "no pairs\n", "fra.txt": GOOD.encode()})
    assert load_pairs(path) == [Pair("Hi.", "Salut !"), Pair("Run!", "Cours !")]
    two = zipped(tmp_path / "two.zip", {"a.tsv": "a\tb", "b.tsv": "c\td"})
    assert load_pairs(two, "b.*") == [Pair("c", "d")]
    with pytest.raises(ValueError, match="two.zip: expected .* or a zip that holds one, got 2 whose first"):
        load_pairs(two)
    with pytest.raises(ValueError, match="got 0 whose first line has a tab"):
        load_pairs(two, "c.tsv")
    path.write_bytes(path.read_bytes().replace(b"Salut", b"Sapin"))
    with pytest.raises(ValueError, match="fra.zip: Bad CRC"):
        load_pairs(path)


@pytest.mark.parametrize("line, got", [
    ("alone", "'alone'"), ("", "''"), ("a\tb\tc\td", r"'a\\tb\\tc\\td'"), ("\tb", r"'\\tb'"),
    ("a\t \t", r"'a\\t \\t'"), ("x" * 100, "'" + "x" * 79 + "…'"),
])  # fmt: skip
def test_a_line_that_is_no_pair_is_named(tmp_path, line, got):
    path = tmp_path / "pairs.tsv"
    path.write_text(f"Hi.\tSalut !\n{line}\nRun!\tCours !\n", encoding="utf-8")
    with pytest.raises(ValueError, match=f"line 2: expected a sentence, a tab and .* every line, got {got}$"):
        load_pairs(path)


def test_a_file_that_is_not_there_or_no_text_is_refused(tmp_path):
    (tmp_path / "latin").write_bytes("é\tè".encode("latin-1"))
    for name, why in (("none", "No such file"), ("latin", "is not UTF-8"), ("", "Is a directory")):
        with pytest.raises(ValueError, match=f"{why}.*expected a file in UTF-8 with a sentence, a tab"):
            load_pairs(tmp_path / name)


def some_pairs(count=400, seed=0):
    """Many short sentences that repeat, in either language, with other signs and letters."""
    g, signs = random.Random(seed), (".", "!", "?", " ?")
    return [
        Pair(*(f"{word} {g.randrange(150)}{g.choice(signs)}" for word in (g.choice(["Run", "run"]), "va")))
        for _ in range(count)
    ]


def test_no_sentence_of_either_language_stands_in_two_parts():
    pairs = some_pairs(120)
    parts = split_pairs(pairs, held=0.1)
    assert sorted(p for part in parts for p in part) == sorted(pairs)
    for side in (0, 1):
        seen = [{plain(pair[side]) for pair in part} for part in parts]
        assert not seen[0] & seen[1] and not seen[0] & seen[2] and not seen[1] & seen[2]
    assert 0 < len(parts.test) <= 12 and 0 < len(parts.val) <= 12
    assert split_pairs(pairs, held=0.1) == parts and split_pairs(pairs, held=0.1, seed=1) != parts


def test_components_are_those_of_a_search_from_pair_to_pair():
    pairs = some_pairs(90, seed=3)
    keys = [{(side, plain(text)) for side, text in enumerate(pair)} for pair in pairs]
    left, wanted = set(range(len(pairs))), []
    while left:
        group, edge = set(), {min(left)}
        while edge:
            group |= edge
            edge = {j for j in left - group for i in edge if keys[i] & keys[j]}
        left -= group
        wanted.append(sorted(group))
    assert components(pairs) == wanted and max(map(len, wanted)) > 2


def test_too_few_pairs_or_another_share_are_refused():
    with pytest.raises(ValueError, match="got 1 groups that share no sentence"):
        split_pairs([Pair("a", "b"), Pair("A!", "c")])
    for held in (0, 0.5, -1):
        with pytest.raises(ValueError, match=f"expected to hold a share between 0 and 0.5, got {held}"):
            split_pairs(some_pairs(), held=held)


def test_the_books_own_pairs_are_there_and_no_sentence_stands_in_two_parts():
    parts = load_phrases()
    assert [len(part) for part in parts] == [100_000, 4_000, 4_000]
    for side in (0, 1):
        sentences = [pair[side] for part in parts for pair in part]
        assert len(set(sentences)) == len(sentences)
