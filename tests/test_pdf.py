"""tools/pdf.py puts the pages on paper: links, ids and quizzes, and a small book in a real browser."""

import os
import re
import sys
from pathlib import Path

import pytest
from bs4 import BeautifulSoup
from pypdf import PdfReader

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tools"))

import browser  # noqa: E402
import pdf as tool  # noqa: E402

PAGES = {"index", "part/one", "part/two"}


def soup(html: str):
    return BeautifulSoup(html, "html.parser")


# ---- what stands where -----------------------------------------------------------------


def test_pages_come_in_the_order_of_the_toc():
    nested = {"file": "c", "sections": [{"file": "c/d"}]}
    toc = {"root": "a", "parts": [{"caption": "P", "chapters": [{"file": "b"}, nested]}, {"chapters": []}]}
    assert tool.parts_of(toc) == [(None, ["a"]), ("P", ["b", "c", "c/d"]), (None, [])]


def test_toc_without_parts():
    assert tool.parts_of({"root": "a", "chapters": [{"file": "b"}]}) == [(None, ["a"]), (None, ["b"])]


def test_ids_are_unique_in_the_book():
    article = soup(
        '<h2 id="a">x</h2><label for="a" aria-labelledby="a b"></label><p id="a"></p>'
        '<svg><clippath id="c"></clippath><g clip-path="url(#c)"><use xlink:href="#c"></use></g></svg>'
    )
    tool.unique_ids(article, "part/one")
    assert [element["id"] for element in article.select("[id]")] == ["part.one--a", "part.one--c"]
    assert article.label["for"] == "part.one--a"
    assert article.label["aria-labelledby"] == "part.one--a part.one--b"
    assert article.g["clip-path"] == "url(#part.one--c)"
    assert article.use["xlink:href"] == "#part.one--c"


@pytest.mark.parametrize(
    "href, target",
    [
        ("#here", "#part.one--here"),
        ("two.html", "#part.two"),
        ("two.html#there", "#part.two--there"),
        ("../index.html", "#index"),
        ("https://example.org/two.html", "https://example.org/two.html"),
        ("mailto:a@example.org", "mailto:a@example.org"),
        ("../search.html", None),
        ("../_images/two.png", None),
        ("two.ipynb", None),
    ],
)
def test_links_lead_into_the_pdf_or_outside(href, target):
    assert tool.link_target(href, "part/one", PAGES) == target


def test_link_that_leads_nowhere_leaves_its_content():
    article = soup('<p><a href="../_images/x.png"><img src="x"/></a> <a id="i" href="x.csv">y</a></p>')
    tool.rewrite_links(article, "part/one", PAGES)
    assert str(article) == '<p><img src="x"/> <a id="i">y</a></p>'


def test_pictures_are_found_from_the_one_document():
    article = soup('<img src="../_images/x.png" loading="lazy"/><img src="data:image/png;base64,AA"/>')
    tool.rewrite_pictures(article, "part/one", "../html")
    first, second = article.select("img")
    assert first.attrs == {"src": "../html/_images/x.png"}
    assert second["src"].startswith("data:")


# ---- what needs a screen -----------------------------------------------------------------

QUIZ = """
<div class="quiz">
 <fieldset class="quiz-question"><legend>Is <code>a</code> so?</legend>
  <label class="quiz-answer" data-mark="wrong"><input type="radio"/><span>no</span>
   <template>✗ No. Look <em>again</em>.</template></label>
  <label class="quiz-answer" data-mark="right"><input type="radio"/><span>yes</span>
   <template>✓ Right: it is.</template></label>
  <p class="quiz-feedback" role="status"></p>
 </fieldset>
</div>"""


def test_quiz_becomes_a_lettered_list_and_a_key():
    article = soup(QUIZ)
    (key,) = tool.quizzes_on_paper(article, article, "part/one")
    assert article.select_one(".asked").decode_contents() == "1. Is <code>a</code> so?"
    assert article.ol["type"] == "a"
    assert [choice.get_text() for choice in article.select("ol > li")] == ["no", "yes"]
    assert article.select_one(".where a")["href"] == "#answer-key--part.one"
    assert not article.select("input, template, fieldset, label, [role=status]")
    assert "again" not in article.get_text() and "it is" not in article.get_text()
    lines = [line.get_text() for line in soup(key).select("p")]
    assert lines == ["1. b", "a No. Look again.", "b Right: it is."]


def test_page_without_a_quiz_has_no_key():
    article = soup("<p>text</p>")
    assert tool.quizzes_on_paper(article, article, "part/one") == []


def test_answers_stand_in_the_last_chapter():
    chapter = tool.answer_key({"part/one": ["<p>1. b</p>"]}, {"part/one": "One & all"})
    article = soup(chapter.html)
    assert article.section["id"] == "answer-key--part.one"
    assert article.h2.a["href"] == "#part.one"
    assert article.h2.get_text() == "One & all"
    assert article.p.get_text() == "1. b"


@pytest.mark.parametrize(
    "summary, title",
    [
        ('<p class="collapsed">Show the solution</p><p class="expanded">Hide the solution</p>', "Solution"),
        ('<span class="sd-summary-text">Hint</span><span><svg></svg></span>', "Hint"),
        ('<p class="collapsed">Show the code</p><p class="expanded">Hide the code</p>', None),
        ("<span>Show code cell output</span>", None),
    ],
)
def test_what_is_folded_is_shown_under_its_name(summary, title):
    article = soup(f"<details><summary>{summary}</summary><p>inside</p></details>")
    tool.unfold(article, article)
    assert not article.select("details, summary")
    assert "inside" in article.get_text()
    found = article.select_one(".unfolded-title")
    assert (found.get_text() if found else None) == title


def test_widget_becomes_a_line_that_names_the_page():
    view = '<script type="application/vnd.jupyter.widget-view+json">{"model_id": "1"}</script>'
    article = soup(view)
    tool.replace_widgets(article, article, "part/one")
    assert article.get_text() == "Interactive: open the page part/one.html in a browser."
    article = soup(view)
    tool.replace_widgets(article, article, "part/one", "https://example.org/part/one.html")
    assert article.a["href"] == article.a.get_text() == "https://example.org/part/one.html"


def test_only_long_code_may_be_divided():
    short, long = "x\n" * tool.LONG, "x\n" * (tool.LONG + 1)
    article = soup(f"<pre>{short}</pre><pre>{long}</pre>")
    tool.mark_short_code(article)
    assert [pre.get("class") for pre in article.select("pre")] == [["short"], None]


def test_code_keeps_its_text_and_its_colours():
    article = soup(
        '<pre><span class="k">def</span><span class="w"> </span>'
        '<span class="nf">f</span><span class="p">(</span></pre>'
    )
    tool.lighten_code(article)
    assert str(article) == '<pre><span class="k">def</span> <span class="nf">f</span>(</pre>'


def test_page_without_a_title_is_refused():
    with pytest.raises(ValueError, match="part/one.html has no article"):
        tool.chapter("<html><body><h1>x</h1></body></html>", "part/one", PAGES, "..")


# ---- a small book in a real browser --------------------------------------------------------

DOT = '<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><circle r="4" cx="4" cy="4"/></svg>'
ABOUT = {
    "title": "A small book",
    "subtitle": "On paper",
    "drawing": DOT,
    "author": "Somebody",
    "language": "en",
    "licence": "<p>Free</p>",
    "version": "1",
    "date": "1 January 2026",
}
FILLER = "<p>Something to read, and more of it. </p>" * 60  # two pages or so

SMALL = {
    "index": '<h1>A small book</h1><p>Begin with <a href="part/one.html#deep">One</a>.</p>',
    "part/one": f'<h1>One</h1>{FILLER}<section id="deep"><h2>Deep</h2><p>down</p></section>{QUIZ}',
    "part/two": '<h1>Two</h1><p>Back to <a href="../index.html">the start</a>, or'
    ' <a href="https://example.org/">out</a>.</p><img src="../dot.svg" alt="a dot"/>',
}


def write_small(folder: Path, **changed: str) -> tuple[list, list[str], Path]:
    """A built book of three pages in ``folder``: its parts and styles, and where to print it."""
    book, html, out = folder / "book", folder / "html", folder / "pdf"
    for place in (book, html / "part", out):
        place.mkdir(parents=True)
    (book / "_toc.yml").write_text(
        "root: index\nparts:\n- caption: All of it\n  chapters:\n  - file: part/one\n  - file: part/two\n"
    )
    (html / "look.css").write_text("h1 { color: #123456 }")
    (html / "dot.svg").write_text(DOT)
    for name, body in (SMALL | changed).items():
        style = "../look.css" if "/" in name else "look.css"
        head = f'<head><link rel="stylesheet" href="{style}?v=1"/></head>'
        page = f"<!DOCTYPE html><html>{head}<body><article>{body}</article></body></html>"
        (html / f"{name}.html").write_text(page, encoding="utf-8")
    return *tool.read_book(book, html, "../html"), out


def skip_without_browser() -> None:
    if not browser.chromium():
        if os.environ.get("BOOK_BROWSER") == "required":
            pytest.fail(browser.MISSING)
        pytest.skip(browser.MISSING)


def text_of(page) -> str:
    return " ".join(page.extract_text().split())


def test_small_book_is_printed(tmp_path):
    skip_without_browser()
    parts, styles, out = write_small(tmp_path)
    assert styles == ["../html/look.css"]
    target = tmp_path / "small.pdf"
    count = tool.print_book(parts, ABOUT, styles, out, target)
    reader = PdfReader(target)
    texts = [text_of(page) for page in reader.pages]
    assert len(texts) == count >= 7

    # Every chapter begins on a page of its own, and the table of contents names it. The footer,
    # page and chapter, comes first in a page's text.
    starts = {}
    for title in ("About this book", "One", "Two", "Answers to the quizzes"):
        (starts[title],) = (n for n, text in enumerate(texts, 1) if text.startswith(f"{n}{title} {title}"))
        assert re.search(rf"{title} {starts[title]}\b", texts[1]), texts[1]
    starts["Deep"] = next(n for n, text in enumerate(texts, 1) if "Deep down" in text)
    assert f"Deep {starts['Deep']}" in texts[1]
    assert starts["Two"] > starts["Deep"] > starts["One"] + 1 > starts["About this book"] + 1

    # Links lead where they say.
    def leads_to(number: int) -> list:
        found = []
        for note in reader.pages[number - 1].get("/Annots", []):
            note = note.get_object()
            if "/Dest" in note:
                place = reader.named_destinations[note["/Dest"]]
                found.append(reader.get_destination_page_number(place) + 1)
            else:
                found.append(note["/A"]["/URI"])
        return found

    assert leads_to(2) == [starts[title] for title in ("About this book", "One", "Deep")] + [
        starts["Two"],
        starts["Answers to the quizzes"],
    ]
    assert leads_to(starts["About this book"]) == [starts["Deep"]]
    assert leads_to(starts["Two"]) == [starts["About this book"], "https://example.org/"]

    # The outline has the parts, the chapters below them, and their sections.
    def titles(entries):
        return [titles(entry) if isinstance(entry, list) else entry.title for entry in entries]

    assert titles(reader.outline) == [
        "Contents",
        "About this book",
        "All of it",
        ["One", ["Deep"], "Two", "Answers to the quizzes"],
    ]
    assert reader.metadata.title == "A small book" and reader.metadata.author == "Somebody"
    catalogue = reader.trailer["/Root"]
    assert catalogue["/Lang"] == "en" and catalogue["/MarkInfo"]["/Marked"]


def test_nothing_is_fetched_from_the_network(tmp_path):
    skip_without_browser()
    picture = "<h1>One</h1><img src='https://example.org/x.png' alt='elsewhere'/>"
    parts, styles, out = write_small(tmp_path, **{"part/one": picture})
    with pytest.raises(OSError, match="could not be loaded.*https://example.org/x.png"):
        tool.print_book(parts, ABOUT, styles, out, tmp_path / "small.pdf")
    assert not (tmp_path / "small.pdf").exists()


def test_without_a_browser_it_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.delenv("CHROMIUM", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    parts, styles, out = write_small(tmp_path)
    with pytest.raises(FileNotFoundError, match="install the package chromium, or set CHROMIUM"):
        tool.print_book(parts, ABOUT, styles, out, tmp_path / "small.pdf")
