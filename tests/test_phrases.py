"""The composed corpus: its French agrees, its parts share no combination, the tool makes the file anew."""

import random
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tools"))
import phrases  # noqa: E402
from phrases import Composer, Phrase, Splits, adjective, compose, elided, noun, of, packed, part_of  # noqa: E402


def test_the_stored_file_begins_with_what_the_tool_composes(tmp_path):
    """All of it takes half a minute; the first are enough, for one generator draws them all."""
    from common.data.translation import load_phrases

    stored = load_phrases()
    for part, again in zip(stored, compose(Splits(3000, 100, 100)), strict=True):
        assert set(again) <= set(part)
    small = compose(Splits(50, 5, 5))
    assert packed(small) == packed(small)


def test_parts_share_no_combination():
    composer = Composer(7)
    for _ in range(300):
        phrase = composer.sentence()
        assert all(part_of(one) in (0, 1, 2) for one in phrase.combined)
    lots = [part_of(str(n)) for n in range(3000)]
    assert [lots.count(part) / 3000 for part in (0, 1, 2)] == pytest.approx([0.8, 0.1, 0.1], abs=0.03)


def test_the_words_of_a_test_combination_stand_in_training_and_the_combination_does_not():
    parts = compose(Splits(6000, 300, 300))
    pairs = [f"{a.en} {n.en}" for a in phrases.FRONT + phrases.BEHIND for n in phrases.THINGS]
    held = [one for one in pairs if part_of(one) == 2]
    text = " ".join(en for en, _ in parts.train)
    assert len(held) > 20
    for one in held:
        assert not re.search(rf"\b{one}\b", text), one
    assert sum(any(re.search(rf"\b{one}\b", en) for one in held) for en, _ in parts.test) > 30
    known = set(re.findall(r"\w+", text.lower()))
    unknown = {w for en, _ in parts.test for w in re.findall(r"\w+", en.lower())} - known
    assert len(unknown) < 5


@pytest.mark.parametrize("line, plural, french", [
    ("car, voiture, f", "cars", "voitures"), ("key, clé, f", "keys", "clés"),
    ("library, b, f", "libraries", "bs"),
    ("bus, bus, m", "buses", "bus"), ("watch, montre, f", "watches", "montres"),
    ("boat, bateau, m", "boats", "bateaux"), ("newspaper, journal, m", "newspapers", "journaux"),
])  # fmt: skip
def test_plurals(line, plural, french):
    assert (noun(line).ens, noun(line).frs) == (plural, french)


def test_adjectives_have_their_forms():
    assert adjective("old, vieux, vieille, vieil", True).forms == (
        "vieux", "vieille", "vieux", "vieilles", "vieil"
    )  # fmt: skip
    assert adjective("beautiful, beau, belle, bel", True).forms[2:4] == ("beaux", "belles")
    assert adjective("red, rouge", False).forms == ("rouge", "rouge", "rouges", "rouges", "rouge")
    assert adjective("English, anglais, anglaise", False).forms[2] == "anglais"


@pytest.mark.parametrize("what, with_de, with_a", [
    ("le train", "du train", "au train"), ("les îles", "des îles", "aux îles"),
    ("la gare", "de la gare", "à la gare"),
    ("l'île", "de l'île", "à l'île"), ("Anna", "d'Anna", "à Anna"),
    ("le 3 mars", "du 3 mars", "au 3 mars"),
    ("leur fille", "de leur fille", "à leur fille"),
])  # fmt: skip
def test_de_and_a_join_with_articles(what, with_de, with_a):
    assert (of(what), of(what, "à")) == (with_de, with_a)


def test_what_is_elided():
    assert [elided(*words) for words in (("que", "Anna"), ("ne", "part"), ("je", "ai"))] == [
        "qu'Anna", "ne part", "j'ai"
    ]  # fmt: skip


WRONG = [r"\b(de|à) les?\b", r"\b[ldjnq]e (hôtel|île|église|école|auberge|avion|ai|a|est|elle|il|ils|Anna)\b",
         r"\bla (île|église|école|auberge)\b", r"\bvieux (hôtel|hôpital|aéroport|avion|appartement)\b",
         r"  ", r"\bun (vieille|petite|belle|nouvelle)\b",
         r"\bvingt et un (petites|chambres|voitures)\b"]  # fmt: skip


def test_no_sentence_breaks_a_rule_that_can_be_seen_on_its_surface():
    composer = Composer(11)
    for _ in range(3000):
        phrase = composer.sentence()
        assert not [rule for rule in WRONG if re.search(rule, phrase.fr)], phrase.fr
        assert phrase.en[0].isupper() and phrase.en[-1] in ".?" and phrase.fr[-1] in ".?"


def test_a_participle_agrees_with_an_object_in_front_and_not_with_one_behind():
    composer = Composer(0)
    composer.who = lambda: Phrase("Anna", "Anna")
    composer.draw = random.Random(4)
    keys = Phrase("the keys", "les clés", "f", True)
    found = {composer.has_done(phrases.THINGS, keys)[2].split()[-1] for _ in range(60)}
    assert found == {participle + "es" for participle in phrases.DONE.values()}
    assert {composer.has_done(phrases.THINGS)[2].split()[-1] for _ in range(60)} == set(phrases.DONE.values())
