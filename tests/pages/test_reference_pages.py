"""The reference pages as built: everything that they should show is there, and nothing is shown raw."""

import re
import sys

from bs4 import BeautifulSoup

from conftest import ROOT

sys.path.insert(0, str(ROOT / "tests"))

from test_reference import PAGES, documented  # noqa: E402


def articles(html):
    for page in PAGES:
        built = html / "reference" / f"{page.stem}.html"
        yield BeautifulSoup(built.read_text(encoding="utf-8"), "html.parser").article


def test_every_thing_has_its_place_with_an_explanation(html):
    explained = {}
    for article in articles(html):
        for head in article.select("dl.py > dt[id]"):
            explained[head["id"].rpartition(".")[2]] = head.find_next_sibling("dd").get_text(strip=True)
    missing = [thing.__name__ for thing in documented() if not explained.get(thing.__name__)]
    assert missing == []


def test_signatures_say_what_a_class_takes(html):
    heads = [
        " ".join(head.get_text().split())
        for article in articles(html)
        for head in article.select("dl.py > dt[id]")
    ]
    assert any(head.startswith("class Linear(in_features, out_features, bias=True") for head in heads)
    assert not [head for head in heads if "<class" in head or "*arguments" in head or " at 0x" in head]


def test_no_mark_up_is_shown_raw(html):
    for article in articles(html):
        for code in article.select("code, pre, dt"):
            code.decompose()
        raw = re.findall(r".{0,30}(?:`|\*\*|:\w+:`|<-|->|\\).{0,30}", article.get_text())
        assert raw == []
