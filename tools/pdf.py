"""Print the built book as one PDF: book/_build/wavenet-book.pdf. Run by ``make pdf``.

The articles of the built pages, in the order of book/_toc.yml, become one HTML document that
Chromium prints with tools/pdf.css. What needs a screen is put on paper: what is folded is
shown, a quiz becomes a list with an answer key at the end of the book, a widget a line that
says where it lives. Chromium prints twice: the first print tells on which page every heading
stands, the second has these numbers in its table of contents.
"""

import json
import logging
import os
import posixpath
import re
import sys
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from html import escape
from pathlib import Path
from urllib.parse import unquote, urlsplit

import browser
import yaml
import zip_book
from bs4 import BeautifulSoup
from pypdf import PdfReader, PdfWriter
from pypdf.generic import BooleanObject, DictionaryObject, Fit, NameObject, TextStringObject

# Chromium's list of objects is a little too short, and pypdf says so at every reading.
logging.getLogger("pypdf").setLevel(logging.ERROR)

ROOT = Path(__file__).resolve().parent.parent
STYLE = Path(__file__).with_suffix(".css")

START = "About this book"  # the start page's own title is the book's
KEY, KEY_ID = "Answers to the quizzes", "answer-key"
WIDGET = 'script[type="application/vnd.jupyter.widget-view+json"]'
ON_THE_COVER = "p.subtitle, svg.cover"  # of the start page
NOT_FOR_PAPER = "script, style, noscript, template, button, a.headerlink, .toctree-wrapper, .only-dark"
LONG = 18  # lines of code that may be divided between two pages

# Attributes that name ids of the same page.
NAMES_IDS = ("for", "headers", "aria-labelledby", "aria-describedby", "aria-controls")


@dataclass
class Heading:
    """A line of the table of contents and of the PDF's outline."""

    title: str
    id: str


@dataclass
class Chapter(Heading):
    html: str
    sections: list[Heading] = field(default_factory=list)


@dataclass
class Part:
    """Chapters under a caption of _toc.yml; the start page has none."""

    caption: str | None
    chapters: list[Chapter]


# ---- what to print, in which order ---------------------------------------------------


def parts_of(toc: dict) -> list[tuple[str | None, list[str]]]:
    """The captions of _toc.yml, each with the names of its pages; the root comes first."""

    def files(entries: list[dict]):
        for entry in entries:
            if "file" in entry:
                yield entry["file"]
            yield from files(entry.get("sections", []))

    parts = toc.get("parts") or [{"chapters": toc.get("chapters", [])}]
    return [(None, [toc["root"]])] + [(part.get("caption"), list(files(part["chapters"]))) for part in parts]


# ---- one page's article --------------------------------------------------------------


def prefix(name: str) -> str:
    """What a page's ids begin with, and the id of its chapter: ``wavenet/01_x`` -> ``wavenet.01_x``."""
    return name.replace("/", ".")


def unique_ids(article, name: str) -> None:
    """Put the page's prefix before every id, and wherever an id is named other than in a link.

    An id that stands twice in a page keeps its first place.
    """
    seen = set()
    for element in article.find_all(id=True):
        if element["id"] in seen:
            del element["id"]
            continue
        seen.add(element["id"])
        element["id"] = f"{prefix(name)}--{element['id']}"
    for element in article.find_all(True):
        for key, value in list(element.attrs.items()):
            if key in NAMES_IDS:
                words = value if isinstance(value, list) else value.split()
                element[key] = " ".join(f"{prefix(name)}--{word}" for word in words)
            elif isinstance(value, str) and "url(#" in value:  # clip paths and gradients in SVG
                element[key] = value.replace("url(#", f"url(#{prefix(name)}--")
            elif key in ("href", "xlink:href") and element.name != "a" and value.startswith("#"):
                element[key] = f"#{prefix(name)}--{value[1:]}"


def resolved(address: str, name: str) -> str:
    """A relative address in page ``name`` as a path from the folder of the HTML."""
    return posixpath.normpath(posixpath.join(posixpath.dirname(name), unquote(urlsplit(address).path)))


def link_target(href: str, name: str, pages: set[str]) -> str | None:
    """Where a link of page ``name`` leads in the PDF; None if it leads nowhere.

    Outside addresses stay as they are. A page of the book becomes an id of the PDF. A local
    file, such as a picture or a download, is not there.
    """
    parts = urlsplit(href)
    if parts.scheme or parts.netloc:
        return href
    page = posixpath.splitext(resolved(href, name))[0] if parts.path else name
    if page not in pages or (parts.path and not parts.path.endswith(".html")):
        return None
    return f"#{prefix(page)}--{unquote(parts.fragment)}" if parts.fragment else f"#{prefix(page)}"


def rewrite_links(article, name: str, pages: set[str]) -> None:
    for link in article.select("a"):
        key = "xlink:href" if link.has_attr("xlink:href") else "href"
        target = link_target(link[key], name, pages) if link.has_attr(key) else None
        if target:
            link[key] = target
        elif not link.has_attr("id"):
            link.unwrap()
        else:
            link.attrs.pop(key, None)


def rewrite_pictures(article, name: str, base: str) -> None:
    """Let pictures be found from where the one document stands; ``base`` leads to the HTML."""
    for picture in article.select("[src]"):
        if not urlsplit(picture["src"]).scheme:
            picture["src"] = f"{base}/{resolved(picture['src'], name)}"
        for key in ("srcset", "loading"):
            picture.attrs.pop(key, None)


def unfold(article, soup) -> None:
    """Show what a page hides, under the name that its fold has; folded code needs no name."""
    for fold in article.select("details"):
        summary = fold.find("summary")
        named = summary and (summary.select_one(".collapsed, .sd-summary-text") or summary)
        label = re.sub(r"^Show (the )?", "", named.get_text(" ", strip=True)) if named else ""
        if summary:
            summary.decompose()
        fold.name, fold.attrs = "div", {"class": ["unfolded"]}
        if label and not label.startswith("code"):
            title = soup.new_tag("p", attrs={"class": "unfolded-title"})
            title.string = label[0].upper() + label[1:]
            fold.insert(0, title)
            fold["class"] += ["named", "solved"] if label == "solution" else ["named"]


def replace_widgets(article, soup, name: str, address: str | None = None) -> None:
    """One line for every widget: the page to open, and its address if the book has one."""
    for view in article.select(WIDGET):
        line = soup.new_tag("p", attrs={"class": "on-screen"})
        page = soup.new_tag("a", href=address) if address else soup.new_tag("code")
        page.string = address or f"{name}.html"
        line.extend(["Interactive: open the page ", page, " in a browser."])
        view.replace_with(line)


def quizzes_on_paper(article, soup, name: str) -> list[str]:
    """Turn the page's questions into lettered lists; return their answers as HTML, one a question."""
    keys = []
    for number, form in enumerate(article.select("fieldset.quiz-question"), start=1):
        question = soup.new_tag("div", attrs={"class": "paper-question"})
        asked = soup.new_tag("p", attrs={"class": "asked"})
        asked.extend([f"{number}. ", *form.legend.contents[:]])
        choices = soup.new_tag("ol", attrs={"type": "a", "class": "choices"})
        right, reasons = [], []
        for letter, label in zip("abcdefghijklmnop", form.select(".quiz-answer"), strict=False):
            reason = re.sub(r"^\s*[✓✗]\s*", "", label.template.decode_contents())
            if label["data-mark"] == "right":
                right.append(letter)
            reasons.append(f"<p><b>{letter}</b> {reason}</p>")
            choice = soup.new_tag("li")
            choice.extend(label.span.contents[:])
            choices.append(choice)
        question.extend([asked, choices])
        form.replace_with(question)
        answer = f'<p class="right">{number}. <b>{", ".join(right)}</b></p>'
        keys.append(f'<div class="key">{answer}{"".join(reasons)}</div>')
    if keys:
        where = soup.new_tag("a", href=f"#{KEY_ID}--{prefix(name)}")
        where.string = "at the end of the book"
        note = soup.new_tag("p", attrs={"class": "where"})
        note.extend(["The answers, with reasons, stand ", where, "."])
        question.insert_after(note)
    return keys


def lighten_code(article) -> None:
    """Names and punctuation lose their span: half of the PDF's structure, for the colour of plain code."""
    for token in article.select("pre span:is(.n, .nn, .p, .w)"):
        token.unwrap()


def mark_short_code(article) -> None:
    """Code that fits on any page is not divided."""
    for pre in article.select("pre"):
        if pre.get_text().strip().count("\n") < LONG:
            pre["class"] = [*pre.get("class", []), "short"]


def headings(article) -> list[Heading]:
    """The sections below the title, with the ids under which they can be found."""
    found = article.select("section[id] > h2")
    return [Heading(" ".join(heading.get_text().split()), heading.parent["id"]) for heading in found]


def chapter(text: str, name: str, pages: set[str], base: str, title: str | None = None):
    """One built page as a chapter, and the answers to its quiz as HTML.

    ``title`` takes the place of the page's own; ``base`` leads to the folder of the HTML.
    """
    soup = BeautifulSoup(text, "html.parser")
    article = soup.select_one("article")
    if not article or not article.h1:
        raise ValueError(f"{name}.html has no article with a title")
    canonical = soup.select_one('link[rel="canonical"]')
    unique_ids(article, name)
    rewrite_links(article, name, pages)
    rewrite_pictures(article, name, base)
    replace_widgets(article, soup, name, canonical and canonical["href"])
    answers = quizzes_on_paper(article, soup, name)
    unfold(article, soup)
    for element in article.select(NOT_FOR_PAPER):
        element.decompose()
    for figure in article.select("figure"):
        figure["role"] = "group"  # the picture inside is the figure that carries the alternative text
    lighten_code(article)
    mark_short_code(article)
    if title:
        article.h1.string = title
        for element in article.select(ON_THE_COVER):
            element.decompose()
    html = article.decode_contents()
    return Chapter(" ".join(article.h1.get_text().split()), prefix(name), html, headings(article)), answers


def answer_key(answers: dict[str, list[str]], titles: dict[str, str]) -> Chapter:
    """The last chapter: for every quiz its answers, each with its reason."""
    key = Chapter(KEY, KEY_ID, f"<h1>{KEY}</h1>")
    for name, texts in answers.items():
        section = f"{KEY_ID}--{prefix(name)}"
        key.html += (
            f'<section id="{section}"><h2><a href="#{prefix(name)}">{escape(titles[name])}</a></h2>'
            f"{''.join(texts)}</section>"
        )
    return key


# ---- the whole book ------------------------------------------------------------------


def stylesheets(text: str, name: str, base: str) -> list[str]:
    """The stylesheets that a page links to, as seen from the one document."""
    links = BeautifulSoup(text, "html.parser").select('link[rel="stylesheet"]')
    return [f"{base}/{resolved(link['href'], name)}" for link in links]


def cover(about: dict) -> str:
    return (
        f'<section class="front"><p class="title">{about["title"]}</p>'
        f'<p class="subtitle">{about["subtitle"]}</p>{about["drawing"]}'
        f'<p class="about">{about["author"]}<br>Version {about["version"]}, {about["date"]}</p>'
        f'<div class="about">{about["licence"]}</div></section>'
    )


def contents(parts: list[Part], pages: dict[str, int]) -> str:
    """The table of contents; ``pages`` has the page of every id, or none of them before the first print."""

    def line(heading: Heading, level: str) -> str:
        page = pages.get(heading.id, "000")
        return (
            f'<li class="{level}"><a href="#{heading.id}"><span class="name">{escape(heading.title)}</span>'
            f'<span class="dots"></span><span class="page">{page}</span></a>'
        )

    html = ""
    for part in parts:
        html += f'<p class="part">{escape(part.caption)}</p>' if part.caption else ""
        html += "<ul>"
        for one in part.chapters:
            sections = "".join(f"{line(section, 'section')}</li>" for section in one.sections)
            html += line(one, "chapter") + (f"<ul>{sections}</ul>" if sections else "") + "</li>"
        html += "</ul>"
    return f'<nav class="book-contents"><h1>Contents</h1><div class="columns">{html}</div></nav>'


def document(parts: list[Part], about: dict, styles: list[str], pages: dict[str, int]) -> str:
    """The one HTML document that is printed."""
    chapters = [one for part in parts for one in part.chapters]
    footers = "".join(
        f"@page chapter-{i} {{ @bottom-left {{ content: {json.dumps(one.title, ensure_ascii=False)} }} }}\n"
        for i, one in enumerate(chapters)
    )
    bodies = "".join(
        f'<article class="bd-article chapter" id="{one.id}" style="page: chapter-{i}">{one.html}</article>'
        for i, one in enumerate(chapters)
    )
    links = "".join(f'<link rel="stylesheet" href="{style}">' for style in styles)
    return (
        f'<!DOCTYPE html><html lang="{about["language"]}" data-theme="light" data-mode="light"><head>'
        f'<meta charset="utf-8"><title>{about["title"]}</title>{links}'
        f"<style>{STYLE.read_text(encoding='utf-8')}\n{footers}</style></head>"
        f'<body>{cover(about)}{contents(parts, pages)}<main class="bd-main"><div class="bd-content">'
        f'<div class="bd-article-container">{bodies}</div></div></main></body></html>'
    )


# ---- the browser ---------------------------------------------------------------------

# A table or a formula that is wider than the paper is set smaller, down to half its size.
FIT = """() => {
  for (const box of document.querySelectorAll("table, .katex-display")) {
    const room = box.parentElement.clientWidth, need = box.scrollWidth;
    if (need > room + 1) box.style.zoom = Math.max(0.5, room / need);
  }
}"""


def print_page(page, source: Path, target: Path) -> None:
    """Print an HTML file as PDF; OSError if something that it needs could not be loaded."""
    page.goto(source.as_uri())
    page.evaluate("document.fonts.ready")
    page.evaluate(FIT)
    page.pdf(path=target, prefer_css_page_size=True, print_background=True, tagged=True)


def page_numbers(path: Path) -> dict[str, int]:
    """The page, counted from 1, of every id that a link of the PDF leads to."""
    reader = PdfReader(path)
    places = reader.named_destinations.items()
    return {name.lstrip("/"): reader.get_destination_page_number(place) + 1 for name, place in places}


def finish(printed: Path, target: Path, parts: list[Part], about: dict) -> None:
    """Add the outline and what the PDF says about itself."""
    reader = PdfReader(printed)
    places = {name.lstrip("/"): place for name, place in reader.named_destinations.items()}
    writer = PdfWriter(clone_from=reader)

    def add(heading: Heading, parent=None):
        place = places[heading.id]
        fit = Fit.xyz(left=0, top=place.top)
        page = reader.get_destination_page_number(place)
        return writer.add_outline_item(title=heading.title, page_number=page, parent=parent, fit=fit)

    writer.add_outline_item(title="Contents", page_number=1)  # after the cover
    for part in parts:
        above = part.caption and add(Heading(part.caption, part.chapters[0].id))
        for one in part.chapters:
            entry = add(one, above)
            for section in one.sections:
                add(section, entry)
    writer.add_metadata({"/Title": about["title"], "/Author": about["author"], "/Subject": about["subtitle"]})
    catalogue = writer.root_object
    catalogue[NameObject("/Lang")] = TextStringObject(about["language"])
    catalogue[NameObject("/PageMode")] = NameObject("/UseOutlines")
    catalogue[NameObject("/ViewerPreferences")] = DictionaryObject(
        {NameObject("/DisplayDocTitle"): BooleanObject(True)}
    )
    staged = target.with_suffix(".part")
    writer.write(staged)
    os.replace(staged, target)


def print_book(parts: list[Part], about: dict, styles: list[str], folder: Path, target: Path) -> int:
    """Print twice in ``folder``, from where ``styles`` and pictures are found; return the number of pages."""
    source, printed = folder / "book.html", folder / "book.pdf"
    pages: dict[str, int] = {}
    lost = []
    with browser.started() as chromium:
        if int(chromium.version.partition(".")[0]) < 131:
            raise ValueError(f"Chromium {chromium.version} prints no page numbers: 131 or newer is needed")
        context = chromium.new_context(viewport={"width": 643, "height": 900}, color_scheme="light")
        context.route(lambda url: not url.startswith(("file:", "data:")), lambda route: route.abort())
        page = context.new_page()
        page.on("requestfailed", lambda request: lost.append(request.url))
        page.emulate_media(media="print")
        for _ in range(3):
            source.write_text(document(parts, about, styles, pages), encoding="utf-8")
            print_page(page, source, printed)
            if lost:
                raise OSError(f"could not be loaded: {sorted(set(lost))}")
            before, pages = pages, page_numbers(printed)
            if before == pages:
                break
        else:
            raise ValueError("the page numbers do not settle")
    finish(printed, target, parts, about)
    return len(PdfReader(target).pages)


def about_the_book(config: dict, project: dict, start: str) -> dict:
    """What the cover and the PDF's metadata say; ``start`` is the start page, which has the drawing.

    SOURCE_DATE_EPOCH fixes the date.
    """
    subtitle, drawing = (BeautifulSoup(start, "html.parser").select_one(s) for s in ON_THE_COVER.split(", "))
    sphinx = config["sphinx"]["config"]
    day = datetime.fromtimestamp(float(os.environ.get("SOURCE_DATE_EPOCH", time.time())), UTC)
    return {
        "title": config["title"],
        "subtitle": subtitle.get_text() if subtitle else "",
        "drawing": str(drawing or ""),
        "author": config["author"],
        "language": sphinx["language"],
        "licence": sphinx["html_theme_options"]["extra_footer"],
        "version": project["version"],
        "date": f"{day.day} {day:%B %Y}",
    }


def read_book(book: Path, html: Path, base: str) -> tuple[list[Part], list[str]]:
    """The chapters by parts, the answer key last, and the stylesheets of all pages, each once."""
    listed = parts_of(yaml.safe_load((book / "_toc.yml").read_text(encoding="utf-8")))
    pages = {name for _, names in listed for name in names}
    parts, styles, answers, titles = [], {}, {}, {}
    for caption, names in listed:
        chapters = []
        for name in names:
            text = (html / f"{name}.html").read_text(encoding="utf-8")
            title = START if name == listed[0][1][0] else None
            one, key = chapter(text, name, pages, base, title)
            chapters.append(one)
            titles[name] = one.title
            if key:
                answers[name] = key
            styles |= dict.fromkeys(stylesheets(text, name, base))
        parts.append(Part(caption, chapters))
    if answers:
        parts[-1].chapters.append(answer_key(answers, titles))
    return parts, list(styles)


def main() -> None:
    book, html = ROOT / "book", ROOT / "book" / "_build" / "html"
    folder, target = book / "_build" / "pdf", book / "_build" / "wavenet-book.pdf"
    began = time.time()
    folder.mkdir(parents=True, exist_ok=True)
    try:
        about = about_the_book(
            yaml.safe_load((book / "_config.yml").read_text(encoding="utf-8")),
            zip_book.read_project(),
            (html / "index.html").read_text(encoding="utf-8"),
        )
        parts, styles = read_book(book, html, "../html")
        pages = print_book(parts, about, styles, folder, target)
    except (OSError, ValueError) as error:
        sys.exit(f"make pdf: {error}")
    size = target.stat().st_size / 1e6
    print(f"{target.relative_to(ROOT)}: {pages} pages, {size:.1f} MB, {time.time() - began:.0f} s")


if __name__ == "__main__":
    main()
