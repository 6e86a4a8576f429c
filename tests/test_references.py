"""The bibliography: every entry complete and cited, every citation resolved, every label distinct."""

import re
from collections import defaultdict
from functools import cache
from pathlib import Path

import nbformat
import pytest
from pybtex.database import parse_file
from sphinxcontrib.bibtex.style.referencing.basic_author_year import (
    BasicAuthorYearParentheticalReferenceStyle,
)
from sphinxcontrib.bibtex.style.template import join, year

BOOK = Path(__file__).resolve().parent.parent / "book"
ENTRIES = parse_file(str(BOOK / "references.bib")).entries
VENUES = ("journal", "booktitle", "publisher", "howpublished")
CITE = re.compile(r"\{cite(?::\w+)?\}`([^`]+)`")

every_entry = pytest.mark.parametrize("key", list(ENTRIES))


def pages() -> dict[str, str]:
    """The text that readers see of every page and notebook, by path."""
    found = {}
    for path in sorted([*BOOK.rglob("*.md"), *BOOK.rglob("*.ipynb")]):
        if {"_build", ".ipynb_checkpoints", "extra"} & set(path.relative_to(BOOK).parts):
            continue
        if path.suffix == ".md":
            found[path.relative_to(BOOK).as_posix()] = path.read_text(encoding="utf-8")
        else:
            cells = nbformat.read(path, as_version=4).cells
            texts = [c.source for c in cells if c.cell_type == "markdown"]
            texts += [str(c.metadata.get("mystnb", "")) for c in cells]
            found[path.relative_to(BOOK).as_posix()] = "\n\n".join(texts)
    return found


@cache
def cited() -> dict[str, set[str]]:
    """Which pages cite each key."""
    places = defaultdict(set)
    for page, text in pages().items():
        for keys in CITE.findall(text):
            for key in keys.split(","):
                places[key.strip()].add(page)
    return places


def printed_label(entry) -> str:
    """What a citation of the entry looks like: the style of bibtex_reference_style in _config.yml."""
    style = BasicAuthorYearParentheticalReferenceStyle()
    node = join(sep=style.author_year_sep)[style.person.author_or_editor_or_title(full=False), year]
    return str(node.format_data({"entry": entry, "style": style}))


def plain(text: str) -> str:
    return re.sub(r"[^a-z0-9 ]", "", re.sub(r"\s+", " ", text.lower()))


def test_the_labels_are_those_of_the_book():
    assert "bibtex_reference_style: author_year" in (BOOK / "_config.yml").read_text(encoding="utf-8")
    assert printed_label(ENTRIES["robbins1951stochastic"]) == "Robbins and Monro, 1951"


@every_entry
def test_an_entry_says_who_what_where_and_when(key):
    entry = ENTRIES[key]
    assert entry.persons.get("author"), "an author"
    assert entry.fields.get("title"), "a title"
    assert re.fullmatch(r"(19|20)\d\d[a-z]?", entry.fields.get("year", "")), "a year"
    assert any(entry.fields.get(name) for name in VENUES), f"a venue: one of {', '.join(VENUES)}"


@every_entry
def test_nobody_is_left_out_as_others(key):
    assert "others" not in {" ".join(p.last_names) for p in ENTRIES[key].persons["author"]}


@every_entry
def test_an_article_has_its_volume_and_pages(key):
    entry = ENTRIES[key]
    journal = entry.fields.get("journal", "")
    if entry.type == "article" and not journal.startswith("arXiv"):
        assert {"volume", "pages"} <= set(entry.fields), f"{journal} has volumes and pages"
    if "pages" in entry.fields:
        first, last = map(int, entry.fields["pages"].split("--"))
        assert first < last


@every_entry
def test_an_entry_can_be_found(key):
    fields = ENTRIES[key].fields
    assert fields.get("doi") or fields.get("url"), "a doi or a url"
    if "doi" in fields:
        assert re.fullmatch(r"10\.\d{4,9}/[^\s{}]+", fields["doi"]), "a DOI is 10.<number>/<name>"
    if "url" in fields:
        assert re.fullmatch(r"https?://[^\s{}]+", fields["url"]), "a URL has a scheme and no spaces"


@every_entry
def test_an_arxiv_number_is_the_same_everywhere(key):
    fields = ENTRIES[key].fields
    text = " ".join(fields.get(name, "") for name in ("journal", "url", "doi"))
    numbers = set(re.findall(r"(?i)arxiv(?::|\.org/abs/|\.)(\d{4}\.\d{4,5})", text))
    assert len(numbers) < 2, f"{numbers} are different papers"


def test_no_two_entries_share_a_label():
    keys = defaultdict(list)
    for key, entry in ENTRIES.items():
        keys[printed_label(entry)].append(key)
    assert not {label: found for label, found in keys.items() if len(found) > 1}


def test_a_year_has_a_letter_only_where_labels_would_be_shared():
    lettered = defaultdict(list)
    for entry in ENTRIES.values():
        letters = re.findall(r"\d([a-z])$", entry.fields["year"])
        bare = re.sub(r"[a-z]$", "", printed_label(entry))
        lettered[bare] += letters or [""]
    for label, letters in lettered.items():
        expected = [""] if len(letters) == 1 else [chr(ord("a") + i) for i in range(len(letters))]
        assert sorted(letters) == expected, label


@pytest.mark.parametrize("field", ["title", "doi", "url"])
def test_no_two_entries_are_the_same_work(field):
    keys = defaultdict(list)
    for key, entry in ENTRIES.items():
        if field in entry.fields:
            keys[plain(entry.fields[field])].append(key)
    assert not {value: found for value, found in keys.items() if len(found) > 1}


def test_every_citation_has_an_entry():
    assert not {key: places for key, places in cited().items() if key not in ENTRIES}


@every_entry
def test_every_entry_is_cited(key):
    assert key in cited(), "cite it where it is used, or remove it"


def test_the_lecture_is_the_lecture():
    lecture, code = ENTRIES["karpathy2022wavenet"].fields, ENTRIES["karpathy2022makemore"].fields
    assert lecture["url"] == "https://www.youtube.com/watch?v=t3YJ5hKiMQ0"
    assert "karpathy/nn-zero-to-hero" in lecture["note"]
    assert code["url"] == "https://github.com/karpathy/makemore"


def test_the_names_say_which_revision():
    assert "32,178 rows" in ENTRIES["ssa2018names"].fields["note"]
