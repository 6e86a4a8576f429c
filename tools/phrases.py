"""Compose the pairs of part two, chapter 5: calendar and travel sentences, English and French.

    .venv/bin/python tools/phrases.py            # writes data/phrases.zip
    .venv/bin/python tools/phrases.py --show 20  # some of them

Names of countries, months and days are those of the CLDR (Babel), numbers are written out by num2words, the
grammar is this file. French agrees in gender and number (with the participle, too, where its object stands
in front), elides (l', d', j', n', qu'), contracts (au, aux, du, des), and puts most adjectives and every
owner behind the noun, so that words cross.

Content is split, not only sentences: every *combination* of an adjective with a noun, a number with a noun,
and a day with a month has a part by lot, eight in ten training. A sentence of the test has at least one
combination of the test and none of validation; one for training has combinations of training alone.
"""

import argparse
import hashlib
import io
import random
import re
import sys
import zipfile
from datetime import date, timedelta
from typing import NamedTuple

from babel import Locale
from babel.dates import format_date
from num2words import num2words

from common.data import Splits
from common.runs.files import replace_files
from common.runs.provenance import ROOT

STORE = ROOT / "data" / "phrases.zip"
SIZES = Splits(100_000, 4_000, 4_000)
SEED = 42
EN, FR = Locale("en"), Locale("fr")


class Noun(NamedTuple):
    """singular and plural in English and in French, and the gender, "m" or "f"."""

    en: str
    ens: str
    fr: str
    frs: str
    gender: str


class Adjective(NamedTuple):
    """In French: masculine, feminine, their plurals, and the masculine before a vowel. front: before the
    noun."""

    en: str
    forms: tuple[str, str, str, str, str]
    front: bool


def noun(line: str) -> Noun:
    en, fr, gender = line.split(", ")
    ens = en + ("es" if en.endswith(("ch", "s")) else "s")
    ens = re.sub("([^aeiou])ys$", r"\1ies", ens)
    frs = fr if fr[-1] in "sxz" else fr[:-1] + "ux" if fr.endswith("al") else fr + "sx"[fr.endswith("eau")]
    return Noun(en, ens, fr, frs, gender)


def adjective(line: str, front: bool) -> Adjective:
    en, m, *rest = line.split(", ")
    f = rest[0] if rest else m + "e" * (m[-1] != "e")
    if m == "bon marché":
        return Adjective(en, (m, m, m, m, m), front)
    ms = m if m[-1] in "sx" else m + ("x" if m.endswith("eau") else "s")
    return Adjective(en, (m, f, ms, f + "s", rest[1] if len(rest) > 1 else m), front)


THINGS = [noun(line) for line in """car, voiture, f
suitcase, valise, f
ticket, billet, m
room, chambre, f
map, carte, f
key, clé, f
coat, manteau, m
boat, bateau, m
bicycle, vélo, m
passport, passeport, m
apartment, appartement, m
tent, tente, f
umbrella, parapluie, m
watch, montre, f
book, livre, m
letter, lettre, f
bag, sac, m
garden, jardin, m
house, maison, f
dictionary, dictionnaire, m
newspaper, journal, m
painting, tableau, m
lamp, lampe, f
chair, chaise, f
table, table, f
bottle, bouteille, f
photo, photo, f
shirt, chemise, f""".split("\n")]  # fmt: skip
PLACES = [noun(line) for line in """museum, musée, m
station, gare, f
airport, aéroport, m
school, école, f
church, église, f
bridge, pont, m
market, marché, m
beach, plage, f
castle, château, m
library, bibliothèque, f
hospital, hôpital, m
theater, théâtre, m
island, île, f
square, place, f
port, port, m
inn, auberge, f
restaurant, restaurant, m
bakery, boulangerie, f
hotel, hôtel, m
village, village, m""".split("\n")]  # fmt: skip
VEHICLES = [noun(line) for line in ("train, train, m", "bus, bus, m", "boat, bateau, m", "plane, avion, m")]
FRONT = [adjective(line, True) for line in """small, petit
big, grand
old, vieux, vieille, vieil
new, nouveau, nouvelle, nouvel
beautiful, beau, belle, bel
pretty, joli
good, bon, bonne
last, dernier, dernière
first, premier, première
long, long, longue""".split("\n")]  # fmt: skip
BEHIND = [adjective(line, False) for line in """red, rouge
blue, bleu
white, blanc, blanche
green, vert
black, noir
yellow, jaune
empty, vide
modern, moderne
comfortable, confortable
expensive, cher, chère
quiet, tranquille
heavy, lourd
light, léger, légère
clean, propre
famous, célèbre
round, rond
cheap, bon marché
free, gratuit
dry, sec, sèche
closed, fermé
open, ouvert
English, anglais, anglaise
Spanish, espagnol
German, allemand""".split("\n")]  # fmt: skip
OWNERS = {
    "Anna": "Anna", "Paul": "Paul", "Emma": "Emma", "Louis": "Louis", "Omar": "Omar", "Claire": "Claire",
    "Hugo": "Hugo", "Inès": "Inès", "my brother": "mon frère", "my sister": "ma sœur",
    "our uncle": "notre oncle", "their daughter": "leur fille", "the doctor": "le médecin",
    "the baker": "le boulanger", "the teacher": "le professeur", "the children": "les enfants",
    "our neighbors": "nos voisins", "his parents": "ses parents",
}  # fmt: skip
PLURAL = {"the children", "our neighbors", "his parents"}
PERSONS = {"I": "je", "he": "il", "she": "elle", "we": "nous", "they": "ils"}
MINE = {"my": "mon ma mes", "her": "son sa ses", "our": "notre notre nos", "their": "leur leur leurs"}
HAVE = {"je": "ai", "nous": "avons", "ils": "ont"}
DONE = {
    "bought": "acheté", "sold": "vendu", "lost": "perdu", "found": "trouvé", "seen": "vu",
    "forgotten": "oublié", "rented": "loué", "booked": "réservé", "cleaned": "nettoyé",
    "chosen": "choisi", "visited": "visité", "closed": "fermé",
}  # fmt: skip
COUNTRIES = """FR IT ES PT DE BE CH AT PL SE NO DK FI IE GR TR MA TN DZ EG SN ML KE ZA CM GH CN JP IN VN TH KH
 MX CA US BR AR CL PE CO BO EC UY AU NZ NL PH RU UA RO BG HR IS HU CZ SK SI LB IR IQ AO MZ NE TD TG""".split()
MASCULINE_IN_E = {"MX", "KH", "MZ"}
VOWELS = "aeiouhâàéèêëîïôöûùœæ"


# ---- French ----------------------------------------------------------------------


def vowel(text: str) -> bool:
    return text[0].lower() in VOWELS


def elided(word: str, rest: str) -> str:
    """`word` with its e or a cut off before a vowel: l'hôtel, j'ai, qu'elle."""
    return f"{word[:-1]}'{rest}" if vowel(rest) else f"{word} {rest}"


def of(rest: str, word: str = "de") -> str:
    """de or à before what begins with an article, or not: du train, de l'île, des États-Unis, d'Anna."""
    short = {"de": ("du", "des"), "à": ("au", "aux")}[word]
    for article, joined in zip(("le ", "les "), short, strict=True):
        if rest.startswith(article):
            return f"{joined} {rest[len(article) :]}"
    return elided(word, rest) if word == "de" else f"{word} {rest}"


def upper(text: str) -> str:
    return text[0].upper() + text[1:]


class Phrase(NamedTuple):
    """A phrase in both languages, with what agrees with it: the gender, whether it is plural, and what it
    combines."""

    en: str
    fr: str
    gender: str = "m"
    plural: bool = False
    combined: tuple[str, ...] = ()


def form(adjective: Adjective, gender: str, plural: bool, following: str = "") -> str:
    if gender == "m" and not plural and following and vowel(following):
        return adjective.forms[4]
    return adjective.forms[(gender == "f") + 2 * plural]


def agreeing(participle: str, gender: str, plural: bool) -> str:
    return participle + "e" * (gender == "f") + "s" * plural


# ---- phrases ---------------------------------------------------------------------


class Composer:
    """Draws phrases and sentences; `draw` is the only source of chance."""

    def __init__(self, seed: int):
        self.draw = random.Random(seed)
        self.months = [(EN.months["format"]["wide"][m], FR.months["format"]["wide"][m]) for m in range(1, 13)]
        self.countries = [self.country(code) for code in COUNTRIES]

    def some(self, chance: float) -> bool:
        return self.draw.random() < chance

    def country(self, code: str) -> Phrase:
        en, fr = EN.territories[code], FR.territories[code]
        plural = code in {"US", "NL", "PH"}
        gender = "f" if fr.endswith("e") and code not in MASCULINE_IN_E else "m"
        article = "les " if plural else "l'" if vowel(fr) else "la " if gender == "f" else "le "
        return Phrase("the " * plural + en, article + fr, gender, plural)

    def described(self, nouns: list[Noun], plural: bool, most: int = 2) -> Phrase:
        """A noun with up to two adjectives, without an article."""
        one = self.draw.choice(nouns)
        number = self.draw.choices(range(most + 1), (2, 4, 3)[: most + 1])[0]
        kinds = {0: [], 1: [self.draw.choice([FRONT, BEHIND])], 2: [FRONT, BEHIND]}[number]
        drawn = [self.draw.choice(kind) for kind in kinds]
        if one in PLACES + VEHICLES:
            drawn = [a for a in drawn if a.en not in {"dry", "heavy", "light", "closed", "open"}]
        else:
            drawn = [a for a in drawn if a.en not in {"closed", "open", "free"}]
        fr = one.frs if plural else one.fr
        for a in drawn:
            agreed = form(a, one.gender, plural, fr if a.front else "")
            fr = f"{agreed} {fr}" if a.front else f"{fr} {agreed}"
        en = " ".join([*(a.en for a in drawn), one.ens if plural else one.en])
        return Phrase(en, fr, one.gender, plural, tuple(f"{a.en} {one.en}" for a in drawn))

    def counted(self, nouns: list[Noun]) -> Phrase:
        """twenty-one small rooms, vingt et une petites chambres."""
        n = self.draw.randrange(2, 100)
        rest = self.described(nouns, True, most=1)
        fr = num2words(n, lang="fr")
        fr = fr + "e" if fr.endswith("un") and rest.gender == "f" else fr
        return Phrase(f"{num2words(n)} {rest.en}", f"{fr} {rest.fr}", rest.gender, True,
                      (*rest.combined, f"{n} {rest.en.split()[-1]}"))  # fmt: skip

    def definite(self, nouns: list[Noun], owner: float = 0.4) -> Phrase:
        """the blue car, my blue car, Anna's blue car: la, ma voiture bleue, la voiture bleue d'Anna."""
        plural = self.some(0.35)
        en, fr, gender, _, combined = self.described(nouns, plural)
        article = "les " if plural else "l'" if vowel(fr) else "la " if gender == "f" else "le "
        if self.some(owner):
            who, whose = self.draw.choice(list(OWNERS.items()))
            mark = "'" if who in PLURAL and who.endswith("s") else "'s"
            return Phrase(f"{who}{mark} {en}", f"{article}{fr} {of(whose)}", gender, plural, combined)
        if self.some(0.3):
            whose_en = self.draw.choice(list(MINE))
            m, f, s = MINE[whose_en].split()
            whose = s if plural else m if gender == "m" or vowel(fr) else f
            return Phrase(f"{whose_en} {en}", f"{whose} {fr}", gender, plural, combined)
        return Phrase(f"the {en}", article + fr, gender, plural, combined)

    def indefinite(self, nouns: list[Noun]) -> Phrase:
        if self.some(0.5):
            return self.counted(nouns)
        en, fr, gender, _, combined = self.described(nouns, False)
        return Phrase(f"{'an' if en[0] in 'aeiou' else 'a'} {en}", f"un{'e' * (gender == 'f')} {fr}", gender,
                      False, combined)  # fmt: skip

    def day(self, weekday: float = 0.4, year: float = 0.4) -> Phrase:
        """Tuesday, March 3, 2020: mardi 3 mars 2020."""
        when = date(1950, 1, 1) + timedelta(self.draw.randrange(36_500))
        en, fr = "MMMM d", "d MMMM"
        if self.some(weekday):
            en, fr = f"EEEE, {en}", f"EEEE {fr}"
        if self.some(year):
            en, fr = f"{en}, y", f"{fr} y"
        first = "1er" if when.day == 1 else str(when.day)
        french = format_date(when, fr.replace("d M", f"'{first}' M"), "fr")
        return Phrase(format_date(when, en, "en"), french, combined=(f"{when.day} {when:%m}",))

    def hour(self) -> Phrase:
        """nine twenty-five: neuf heures vingt-cinq."""
        h, m = self.draw.randrange(1, 12), 5 * self.draw.randrange(1, 12)
        fr = num2words(h, lang="fr") + "e" * (h == 1)
        return Phrase(f"{num2words(h)} {num2words(m)}",
                      f"{fr} heure{'s' * (h > 1)} {num2words(m, lang='fr')}")  # fmt: skip

    def where(self) -> Phrase:
        if self.some(0.5):
            land = self.draw.choice(self.countries)
            name = land.fr.split(" ", 1)[-1].removeprefix("l'")
            one = land.gender == "m" and not land.plural and not vowel(name)
            return Phrase(f"in {land.en}", of(land.fr, "à") if one or land.plural else f"en {name}")
        place = self.definite(PLACES, owner=0.15)
        en, fr = self.draw.choice([("near", ""), ("in front of", "devant"), ("behind", "derrière"),
                                   ("far from", "loin")])  # fmt: skip
        french = f"{fr} {place.fr}" if fr in ("devant", "derrière") else f"{fr or 'près'} {of(place.fr)}"
        return place._replace(en=f"{en} {place.en}", fr=french)

    def when(self) -> Phrase:
        kind = self.draw.randrange(4)
        if kind == 0:
            one, other = self.day(0.15, 0), self.day(0.15, 0.2)
            return Phrase(f"from {one.en} to {other.en}", f"{of('le ' + one.fr)} {of('le ' + other.fr, 'à')}",
                          combined=one.combined + other.combined)  # fmt: skip
        day = self.day()
        if kind == 1:
            hour = self.hour()
            return Phrase(f"on {day.en} at {hour.en}", f"le {day.fr} à {hour.fr}", combined=day.combined)
        return Phrase(f"on {day.en}", f"le {day.fr}", combined=day.combined)

    def who(self) -> Phrase:
        """A subject; plural where its verb is."""
        if self.some(0.6):
            en, fr = self.draw.choice(list(PERSONS.items()))
            return Phrase(en, fr, plural=fr == "ils")
        en, fr = self.draw.choice(list(OWNERS.items()))
        return Phrase(en, fr, plural=en in PLURAL)

    # ---- sentences -------------------------------------------------------------------

    def has_done(self, objects: list[Noun], agrees: Phrase | None = None) -> tuple[Phrase, str, str]:
        """Who, and "has bought", "a acheté", agreeing with an object in front."""
        who = self.who()
        en, fr = self.draw.choice(list(DONE.items()))
        has = "have" if who.plural or who.en in ("I", "we") else "has"
        avoir = HAVE.get(who.fr, "ont" if who.plural else "a")
        if agrees:
            fr = agreeing(fr, agrees.gender, agrees.plural)
        not_en, no, pas = (" not", "ne", " pas") if self.some(0.25) else ("", "", "")
        verb = f"{elided(no, avoir) if no else avoir}{pas} {fr}"
        both = elided("je", verb) if who.fr == "je" else f"{who.fr} {verb}"
        return who, f"{who.en} {has}{not_en} {en}", both

    def parts(self, *wanted: tuple[float, str]) -> list[Phrase]:
        return [getattr(self, name)() for chance, name in wanted if self.some(chance)]

    def joined(self, en: list[str], fr: list[str], phrases: list[Phrase], sign: str = ".") -> Phrase:
        combined = tuple(c for phrase in phrases for c in phrase.combined)
        french = " ?" if sign == "?" else sign
        return Phrase(upper(" ".join(en)) + sign, upper(" ".join(fr)) + french, combined=combined)

    def bought(self) -> Phrase:
        _, en, fr = self.has_done(THINGS)
        thing = self.definite(THINGS + PLACES) if " not " in en or self.some(0.5) else self.indefinite(THINGS)
        rest = self.parts((0.5, "where"), (0.5, "when"))
        return self.joined([en, thing.en, *(r.en for r in rest)], [fr, thing.fr, *(r.fr for r in rest)],
                           [thing, *rest])  # fmt: skip

    def clause(self) -> Phrase:
        """Anna's suitcases are empty: les valises d'Anna sont vides."""
        thing, is_not = self.definite(THINGS + PLACES), self.some(0.3)
        how = self.draw.choice(BEHIND)
        rest = self.parts((0.2, "where"))
        be, etre = ("are", "sont") if thing.plural else ("is", "est")
        if is_not:
            be, etre = f"{be} not", f"{elided('ne', etre)} pas"
        fr = [thing.fr, *(r.fr for r in rest), etre, form(how, thing.gender, thing.plural)]
        key = f"{how.en} {self.singular(thing)}"
        combined = (*thing.combined, key, *(c for r in rest for c in r.combined))
        en = [thing.en, *(r.en for r in rest), be, how.en]
        return Phrase(" ".join(en), " ".join(fr), combined=combined)

    @staticmethod
    def singular(thing: Phrase) -> str:
        last = thing.en.split()[-1]
        return next(one.en for one in THINGS + PLACES + VEHICLES if last in (one.en, one.ens))

    def is_so(self) -> Phrase:
        first = self.clause()
        if self.some(0.5):
            return self.joined([first.en], [first.fr], [first])
        second = self.clause()
        en, fr = self.draw.choice([("and", "et"), ("but", "mais")])
        return self.joined([first.en, en, second.en], [first.fr, fr, second.fr], [first, second])

    def that_was_bought(self) -> Phrase:
        """The blue car that Anna has bought is empty: la voiture bleue qu'Anna a achetée est vide."""
        thing = self.definite(THINGS, owner=0.1)
        _, en, fr = self.has_done(THINGS, thing)
        rest = self.parts((0.6, "where"), (0.3, "when"))
        how = self.draw.choice([a for a in BEHIND if a.en not in {"closed", "open", "free"}])
        be, etre = ("are", "sont") if thing.plural else ("is", "est")
        return self.joined(
            [thing.en, "that", en, *(r.en for r in rest), be, how.en],
            [thing.fr, elided("que", fr), *(r.fr for r in rest), etre, form(how, thing.gender, thing.plural)],
            [thing, *rest, Phrase("", "", combined=(f"{how.en} {self.singular(thing)}",))],
        )

    def travel(self) -> Phrase:
        """The last train from the castle to Portugal leaves on March 3."""
        vehicle, place = self.definite(VEHICLES, owner=0), self.definite(PLACES, owner=0.1)
        en, fr = [vehicle.en, "from", place.en], [vehicle.fr, of(place.fr)]
        if self.some(0.6):
            land = self.draw.choice(self.countries)
            en += ["to", land.en]
            fr += ["pour", land.fr]
        verbs = [("leave", "part", "partent"), ("arrive", "arrive", "arrivent")]
        verb, one, many = self.draw.choice(verbs)
        now = many if vehicle.plural else one
        if self.some(0.3):
            en += ["do" if vehicle.plural else "does", "not", verb]
            fr += [elided("ne", now), "pas"]
        else:
            en += [verb if vehicle.plural else verb + "s"]
            fr += [now]
        rest = self.parts((0.8, "when"))
        en, fr = [*en, *(r.en for r in rest)], [*fr, *(r.fr for r in rest)]
        return self.joined(en, fr, [vehicle, place, *rest])

    def costs(self) -> Phrase:
        thing, price = self.definite(THINGS), self.draw.randrange(2, 1000)
        rest = self.parts((0.4, "where"))
        cost = ("cost", "coûtent") if thing.plural else ("costs", "coûte")
        euros = num2words(price).replace(" and ", " ").replace(",", "")
        return self.joined([thing.en, *(r.en for r in rest), cost[0], euros, "euros"],
                           [thing.fr, *(r.fr for r in rest), cost[1], num2words(price, lang="fr"), "euros"],
                           [thing, *rest])  # fmt: skip

    def wants(self) -> Phrase:
        who_en, who_fr = self.draw.choice([
            ("I am looking for", "je cherche"), ("we are looking for", "nous cherchons"),
            ("she would like", "elle voudrait"), ("we would like", "nous voudrions"),
            ("they need", "il leur faut"), ("I need", "il me faut"), ("do you have", "avez-vous"),
        ])  # fmt: skip
        phrases = [self.indefinite(THINGS + PLACES), *self.parts((0.6, "where"), (0.4, "when"))]
        sign = "?" if who_en.startswith("do") else "."
        en, fr = [who_en, *(p.en for p in phrases)], [who_fr, *(p.fr for p in phrases)]
        return self.joined(en, fr, phrases, sign)

    def asks(self) -> Phrase:
        thing = self.definite(THINGS + PLACES)
        if self.some(0.5):
            be, etre = ("are", "sont") if thing.plural else ("is", "est")
            return self.joined(["where", be, thing.en], ["où", etre, thing.fr], [thing], "?")
        do, cost = ("do", "coûtent") if thing.plural else ("does", "coûte")
        return self.joined(["how much", do, thing.en, "cost"], ["combien", cost, thing.fr], [thing], "?")

    def closed(self) -> Phrase:
        place, rest = self.definite(PLACES, owner=0.1), [self.when()]
        be, etre = ("are", "sont") if place.plural else ("is", "est")
        en, fr = self.draw.choice([("closed", "fermé"), ("open", "ouvert")])
        return self.joined([place.en, be, en, rest[0].en],
                           [place.fr, etre, agreeing(fr, place.gender, place.plural), rest[0].fr],
                           [place, *rest])  # fmt: skip

    def dated(self) -> Phrase:
        day = self.day(0.7, 0.7)
        return self.joined([day.en], [day.fr], [day])

    def sentence(self) -> Phrase:
        kinds = {
            self.bought: 5, self.is_so: 4, self.that_was_bought: 4, self.travel: 4, self.costs: 2,
            self.wants: 4, self.asks: 2, self.closed: 2, self.dated: 1,
        }  # fmt: skip
        return self.draw.choices(list(kinds), list(kinds.values()))[0]()


# ---- the corpus ------------------------------------------------------------------


def part_of(combination: str) -> int:
    """0 for training, 1 for validation, 2 for the test: by lot, the same everywhere."""
    lot = hashlib.sha256(combination.encode()).digest()[0] % 10
    return max(0, lot - 7)


def compose(sizes: Splits, seed: int = SEED) -> Splits[tuple[str, str]]:
    """Distinct pairs for each part. An English sentence has one French one, and each stands in one part."""
    composer, seen = Composer(seed), set()
    parts: Splits[tuple[str, str]] = Splits([], [], [])
    while any(len(part) < size for part, size in zip(parts, sizes, strict=True)):
        en, fr, *_, combined = composer.sentence()
        kinds = {part_of(combination) for combination in combined} - {0}
        if len(kinds) > 1 or en in seen or fr in seen:
            continue
        part = kinds.pop() if kinds else 0
        if len(parts[part]) < sizes[part]:
            seen |= {en, fr}
            parts[part].append((en, fr))
    return parts


def packed(parts: Splits[tuple[str, str]]) -> bytes:
    """A zip with a file for each part, the same bytes for the same pairs; sorted, so that it is small."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_LZMA) as archive:
        for name, pairs in parts._asdict().items():
            text = "".join(f"{en}\t{fr}\n" for en, fr in sorted(pairs))
            archive.writestr(zipfile.ZipInfo(f"{name}.tsv"), text.encode(), zipfile.ZIP_LZMA)
    return made.getvalue()


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--show", type=int, default=0)
    options = parser.parse_args(arguments)
    if options.show:
        composer = Composer(SEED)
        for _ in range(options.show):
            phrase = composer.sentence()
            print(f"{phrase.en}\n    {phrase.fr}")
        return 0
    parts = compose(SIZES)
    replace_files({STORE: packed(parts)})
    print(f"{', '.join(f'{len(part):,}' for part in parts)} pairs, {STORE.stat().st_size:,} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
