"""Reviews: read as they stand, labelled, and split so that no near-duplicate is on both sides."""

import random
from collections import Counter
from itertools import combinations

import pytest

from common.data import reviews
from common.data.reviews import (
    FILES,
    Labelled,
    Review,
    labelled,
    load_labelled,
    load_reviews,
    near_duplicates,
    parse_reviews,
    similarity,
    split_reviews,
    tokenize,
    words_of,
)

WORDS = "a the film is good bad of in and it".split()


def sentences(count: int, seed: int = 0) -> list[str]:
    """Short sentences of few words, so that many are alike."""
    draw = random.Random(seed)
    return [" ".join(draw.choices(WORDS, k=draw.randint(1, 6))) for _ in range(count)]


# ---- the corpus ------------------------------------------------------------------


@pytest.fixture(scope="module")
def films(fetched):
    fetched("reviews")
    return load_reviews()


def test_the_reviews_are_what_the_card_says(films):
    assert len(films) == 10_605 and len({review.id for review in films}) == 10_605
    signs = Counter((review.rating > 0) - (review.rating < 0) for review in films)
    assert signs == {1: 5_242, 0: 37, -1: 5_326}
    assert films[2] == Review("Effective but too tepid biopic", -0.6, "3")
    assert not any(set(review.text) & set("\r\n\t") for review in films)
    assert any("é" in review.text for review in films), "read as UTF-8"
    products = load_reviews("products")
    assert len(products) == 3_708 and sum(review.rating > 0 for review in products) == 2_128
    assert products[0].id == "1_1"


def test_their_order_is_no_random_one(films):
    halves = films[:5_302], films[5_302:]
    praise = [sum(review.rating > 0 for review in half) / len(half) for half in halves]
    assert praise[0] > 0.93 and praise[1] < 0.06


def test_they_are_split_without_near_duplicates_across_the_parts(films):
    parts = split_reviews(films)
    assert [len(part) for part in parts] == [8_484, 1_060, 1_061]
    assert sorted(review for part in parts for review in part) == sorted(films)
    part_of = {review.id: number for number, part in enumerate(parts) for review in part}
    pairs = near_duplicates([review.text for review in films])
    assert len(pairs) == 6
    assert all(part_of[films[i].id] == part_of[films[j].id] for i, j in pairs)
    assert all(abs(sum(r.rating > 0 for r in part) / len(part) - 0.494) < 0.03 for part in parts)


def test_reviews_of_something_else():
    with pytest.raises(ValueError, match="expected reviews of films or products, got 'books'"):
        load_reviews("books")
    assert set(FILES) == {"films", "products"}


@pytest.mark.parametrize(
    "line",
    ["2\t1.0", "2\tgood\tText.", "2\t1.0\tText.\tmore", "2\t4.5\tText.", "2\tnan\tText.", "2\t1.0\t", ""],
)
def test_a_malformed_line_is_named(line):
    data = f"1\t0.5\tFirst.\r\n{line}\r\n3\t0.5\tThird.".encode()
    with pytest.raises(
        ValueError, match="^line 2: expected an id, a tab, a rating from -4 to 4, a tab and a text"
    ):
        parse_reviews(data)


def test_a_line_break_of_another_kind_is_part_of_a_text():
    (review,) = parse_reviews("1\t0.5\tOne\u2028two\x85three".encode())
    assert review.text == "One\u2028two\x85three"


# ---- labels ----------------------------------------------------------------------


def test_where_the_line_is_drawn_and_what_is_left_out():
    reviews = [Review(str(rating), rating, "") for rating in (-1.0, -0.4, 0.0, 0.4, 1.0)]
    assert [one.label[:3] for one in labelled(reviews)] == ["neg", "neg", "neg", "pos", "pos"]
    assert [one.label[:3] for one in labelled(reviews, threshold=0.4)] == ["neg", "neg", "neg", "neg", "pos"]
    assert [one.text for one in labelled(reviews, margin=0.4)] == ["-1.0", "-0.4", "0.4", "1.0"]
    with pytest.raises(ValueError, match="expected a margin of at least 0, got -1"):
        labelled(reviews, margin=-1)


def test_a_file_of_ones_own(tmp_path):
    path = tmp_path / "mine.tsv"
    path.write_bytes("\ufeffgood\tA fine day.\r\nbad\tToo é late. \r\ngood\tYes\r\nbad\tNo".encode())
    assert load_labelled(path) == [
        Labelled("A fine day.", "good"), Labelled("Too é late.", "bad"), Labelled("Yes", "good"),
        Labelled("No", "bad"),
    ]  # fmt: skip


GOOD = "good\tone\nbad\ttwo\ngood\tthree\nbad\tfour\n"
MALFORMED = {
    "no tab": (GOOD + "good five\n", "line 5: expected a label, a tab and a text .*, got 'good five'"),
    "two tabs": (GOOD + "good\tfive\tsix\n", "line 5: expected a label, a tab"),
    "no label": ("\tfive\n" + GOOD, "line 1: expected a label, a tab .*, got '.tfive'"),
    "no text": (GOOD + "good\t \n", "line 5: expected a label, a tab"),
    "empty line": ("good\tone\n\n" + GOOD, "line 2: expected .*, got an empty line"),
    "heading": ("label\ttext\n" + GOOD, "line 1: expected labels that repeat, got 'label' once"),
    "one label": ("good\tone\ngood\ttwo\n", "expected 2 to 20 labels that repeat, got 1, as 'good'"),
    "ratings": ("".join(f"{n / 10}\ttext\n" for n in range(30)), "got 30, as '0.0', '0.1', '0.2'"),
    "long line": (GOOD + "x" * 500, "line 5: .* got 'x{79}…'$"),
    "long label": (
        GOOD + "x" * 200 + "\tA film.\n",
        "line 5: expected a label of at most 60 characters, a tab",
    ),
    "empty file": ("\n", "the file is empty; expected a text file in UTF-8 with a label, a tab"),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_file_is_refused_by_its_line(tmp_path, name):
    content, expected = MALFORMED[name]
    path = tmp_path / "mine.tsv"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(ValueError, match=expected) as error:
        load_labelled(path)
    assert str(error.value).startswith(str(path)) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    "content, expected",
    [
        (GOOD.encode("utf-16"), "UTF-8"),
        (GOOD.encode("utf-16-le"), "UTF-16"),
        ("é\t\n".encode("latin-1"), "UTF-8"),
    ],
)
def test_a_file_that_is_not_utf_8(tmp_path, content, expected):
    path = tmp_path / "mine.tsv"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=expected):
        load_labelled(path)


# ---- duplicates --------------------------------------------------------------------


@pytest.mark.parametrize("threshold", [0.2, 0.3, 0.5, 0.58, 0.7, 1.0])
def test_near_duplicates_are_those_of_all_pairs(threshold):
    texts = sentences(150)
    pairs = [(i, j) for i, j in combinations(range(150), 2) if similarity(texts[i], texts[j]) >= threshold]
    assert near_duplicates(texts, threshold) == pairs and pairs


def test_case_and_punctuation_do_not_count():
    assert similarity("WOW!", "wow...") == 1 and similarity("wow", "no") == 0
    assert similarity("one two three four", "one two three five") == 1 / 3
    assert near_duplicates(["...", "!", "a"]) == [(0, 1)], "texts without a word are alike"
    for threshold in (0, -0.1, 1.1):
        with pytest.raises(ValueError, match="expected a threshold above 0 and at most 1"):
            near_duplicates(["a"], threshold)


@pytest.mark.parametrize("seed", range(5))
def test_what_is_linked_stays_together(seed):
    texts = sentences(400, seed)
    items = [Labelled(text, str(number)) for number, text in enumerate(texts)]
    parts = split_reviews(items, seed)
    part_of = {int(item.label): number for number, part in enumerate(parts) for item in part}
    assert sorted(part_of) == list(range(400)), "each is in one part"
    assert len({part_of[i] for i in part_of}) == 3
    assert all(part_of[i] == part_of[j] for i, j in near_duplicates(texts))
    # a random split would part some of them
    shuffled = random.Random(seed).sample(range(400), 400)
    where = {i: (at >= 320) + (at >= 360) for at, i in enumerate(shuffled)}
    assert any(where[i] != where[j] for i, j in near_duplicates(texts))


def test_texts_that_stand_many_times_are_compared_once():
    """Thirty thousand of one text have half a billion pairs."""
    items = [Labelled(text, "") for text in ["ok", "OK!"] * 15_000 + [f"word{n}" for n in range(30_000)]]
    parts = split_reviews(items)
    assert len({n for n, part in enumerate(parts) for item in part if item.text in ("ok", "OK!")}) == 1
    assert [len(part) for part in parts] == [48_000, 6_000, 6_000]


def test_texts_of_one_pattern_are_one_group_before_all_pairs_are_compared(monkeypatch):
    compared, shared = [], reviews._shared
    monkeypatch.setattr(reviews, "_shared", lambda *two: compared.append(two) or shared(*two))
    texts = [f"I would rate this film that I saw last week with {n} points" for n in range(300)]
    parts = split_reviews([Labelled(text, "") for text in texts + [f"word{n}" for n in range(300)]])
    assert len({n for n, part in enumerate(parts) for item in part if "points" in item.text}) == 1
    assert 299 <= len(compared) < 600


def test_a_chain_of_near_duplicates_is_one_group():
    chain = ["a b c d", "b c d e", "c d e f", "d e f g"]  # each is like the next alone
    others = [f"word{n}" for n in range(16)]
    parts = split_reviews([Labelled(text, "") for text in chain + others], threshold=0.3)
    assert len({n for n, part in enumerate(parts) for item in part if item.text in chain}) == 1


def test_the_seed_decides_and_the_sizes_stay():
    items = [Labelled(f"text number{n}", "") for n in range(100)]
    first, again, other = split_reviews(items, 1), split_reviews(items, 1), split_reviews(items, 2)
    assert first == again != other
    assert [len(part) for part in first] == [len(part) for part in other] == [80, 10, 10]
    assert items == [Labelled(f"text number{n}", "") for n in range(100)]


@pytest.mark.parametrize("texts", [[], ["one"], ["same"] * 50])
def test_too_few_to_split(texts):
    with pytest.raises(ValueError, match=r"expected enough texts to split 80/10/10, got [01] that differ"):
        split_reviews([Labelled(text, "") for text in texts])


# ---- words -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text, tokens",
    [
        ("Isn’t it? It's", ["isn’t", "it", "?", "it's"]),
        ("'quoted' ''Conan''", ["'", "quoted", "'", "'", "'", "conan", "'", "'"]),
        ("2.5 stars -- naïve", ["2", ".", "5", "stars", "-", "-", "naïve"]),
        ("", []),
        (" \n", []),
    ],
)
def test_words_and_signs(text, tokens):
    assert tokenize(text) == tokens


def test_words_of_the_training_split_alone():
    vocabulary = words_of(["good good film", "bad film"])
    assert vocabulary.tokens == ("<pad>", "<unk>", "film", "good")
    assert (vocabulary.pad_index, vocabulary.unknown_index) == (0, 1)
    assert vocabulary.encode(tokenize("A GOOD film")) == [1, 3, 2]
    assert words_of(["<pad> <unk>"], 1).encode(tokenize("<pad>")) == [2, 4, 3], (
        "a text cannot write the special ones"
    )
    assert len(words_of(["good good film", "bad film"], minimum=1)) == 5
    with pytest.raises(ValueError, match="expected a word that stands 3 times, got 3 words that do not"):
        words_of(["good good film", "bad film"], minimum=3)
    with pytest.raises(ValueError, match="expected a minimum of at least 1, got 0"):
        words_of(["good"], minimum=0)
