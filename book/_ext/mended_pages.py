"""A small Sphinx extension: mends what the theme and other extensions leave inaccessible.

Each function mends one fault in a finished page; tests/pages/ would find it again.
"""

import json
import re
from pathlib import Path
from urllib.parse import unquote

from bs4 import BeautifulSoup, NavigableString
from bs4.element import Script
from content_policy import state_policy
from offline_pages import quiet_script
from PIL import Image

MARK = re.compile(r"<!--(\w+)-->(.*?)<!--/-->", re.DOTALL)  # as tools/told.py has it


def icons_are_a_font(page):
    """The theme draws its icons from a font already; its script of 1.5 MB is for others."""
    for script in page.find_all("script", src=re.compile(r"/fontawesome\.js")):
        script.decompose()


def one_viewport(page):
    """Three templates state the viewport; one is enough."""
    for meta in page.find_all("meta", attrs={"name": "viewport"})[1:]:
        meta.decompose()


def labels_say_what_is_seen(page):
    """A label that differs from the visible text hides that text from those who listen or speak."""
    for element in page.select("summary[aria-label], .search-button-field[aria-label]"):
        del element["aria-label"]


def bibliography_is_a_list(page):
    """docutils gives the list's entries a role that a list may not hold."""
    for entry in page.select('[role="list"] > [role="doc-biblioentry"]'):
        entry["role"] = "listitem"


def title_once(page):
    """The start page's title is the book's, so the theme would write it twice."""
    title, _, book = page.title.get_text().partition(" — ")
    if title == book:
        page.title.string = title


def scripts_are_quiet(page):
    """The search page has a script of its own that logs."""
    for script in page.find_all("script", src=None, type=None):
        if script.string:
            script.string = quiet_script(script.string)


def printing_needs_no_handler(page):
    """A page's policy forbids code in attributes (content_policy.py); book.js does the same."""
    for button in page.select('[onclick="window.print()"]'):
        del button["onclick"]
        button["data-print"] = ""


def checks_open_on_their_code(page):
    """A mark for checks opens on one box: what is held, and, of a cell of nothing else, its code."""
    for mark in page.select("article details.checks"):
        cell = mark.find_parent("div", class_="cell")
        code = cell.select_one(":scope > .cell_input") if "tag_check" in cell["class"] else None
        shown = page.new_tag("div", attrs={"class": "checks-shown"})
        for part in [*mark.select(":scope > ul"), *filter(None, [code])]:
            shown.append(part.extract())
        mark.append(shown)


SIGN = re.compile(r"^[.,:;!?)\]]+")


def signs_stay_with_their_formula(page):
    """A browser would break the line between a formula and the full stop that follows it."""
    for formula in page.select("article span.math"):
        text = formula.next_sibling
        sign = SIGN.match(text) if isinstance(text, NavigableString) else None
        if sign and len(formula.select(".base")) <= 3:  # a longer one has to break somewhere
            text.replace_with(text[sign.end() :])
            both = formula.wrap(page.new_tag("span", attrs={"class": "formula-and-sign"}))
            both.append(sign[0])


def scatter_stays_with_its_sign(page):
    """On a phone a table may break a measured number before its ±, not after it."""
    for text in page.find_all(string=re.compile("± ")):
        if text.find_parent("td"):
            text.replace_with(text.replace("± ", "±\N{NO-BREAK SPACE}"))


SHAPE = re.compile(r"\((?:(?:\d+|[A-Z]), ?)+(?:\d+|[A-Z])\)")  # (B, T, C), or (32, 4, 68)


def short_code_stays_on_one_line(page):
    """A browser would break a shape, or a few words of code, at each space."""
    for code in page.select("article code"):
        if len(code.get_text()) <= 20:
            code["class"] = [*code.get("class", []), "one-line"]
    for text in [text for article in page.select("article") for text in article.find_all(string=SHAPE)]:
        if not text.find_parent(["p", "li", "td"]) or text.find_parent(["pre", "code", "script"]):
            continue
        parts = re.split(f"({SHAPE.pattern})", text)  # every second part is a shape
        for at, part in enumerate(parts):
            text.insert_before(part)
            if at % 2:
                text.previous_sibling.wrap(page.new_tag("span", attrs={"class": "one-line"}))
        text.extract()


def lean(style: str) -> str:
    """A style sheet without comments, indents and blank lines."""
    bare = re.sub(r"/\*.*?\*/", "", style, flags=re.DOTALL)
    return "\n".join(line.strip() for line in bare.splitlines() if line.strip()) + "\n"


def widgets_weigh_less(page):
    """Widgets bring their style each, and scripts with comments and indents: a page needs less of both."""
    for script in page.find_all("script", type="application/vnd.jupyter.widget-state+json"):
        stored, styles = json.loads(script.string), set()
        for state in (widget["state"] for widget in stored["state"].values()):
            if state.get("_css"):
                first = state["_css"] not in styles
                styles.add(state["_css"])
                state["_css"] = lean(state["_css"]) if first else ""  # live_widgets.js takes the first
            if "_esm" in state:
                lines = map(str.strip, state["_esm"].splitlines())
                state["_esm"] = "\n".join(line for line in lines if line and not line.startswith("//"))
        script.string = Script(json.dumps(stored, separators=(",", ":")).replace("</", "<\\/"))


def pictures_load_when_near(page, folder):
    """A long chapter has two megabytes of pictures; a phone needs those that its reader comes to.

    Each reserves its place, so that the page does not grow while it is read.
    """
    for picture in page.select("article img"):
        picture["loading"] = "lazy"
        picture["width"], picture["height"] = size_of(picture, folder)


STYLED = re.compile(r"(?<![\w-])(width|height):\s*([\d.]+)px")
SVG_TAG = re.compile(r"<svg\b[^>]*>")
SVG_SIDE = re.compile(r'\s(width|height)="([\d.]+)pt"')  # as matplotlib states them


def size_of(picture, folder: Path) -> tuple[int, int]:
    """A picture's width and height in pixels: those that its style states, or those of its file.

    ValueError for an SVG that states none.
    """
    stated = dict(STYLED.findall(picture.get("style", "")))
    if len(stated) == 2:
        return round(float(stated["width"])), round(float(stated["height"]))
    file = folder / unquote(picture["src"])
    if file.suffix != ".svg":
        with Image.open(file) as image:
            return image.size
    tag = SVG_TAG.search(file.read_text(encoding="utf-8"))
    sides = dict(SVG_SIDE.findall(tag[0])) if tag else {}
    if len(sides) != 2:
        raise ValueError(f"{file.name}: expected an <svg> with a width and a height in pt, got {sides}")
    return round(float(sides["width"]) * 96 / 72), round(float(sides["height"]) * 96 / 72)


MENDS = [
    icons_are_a_font,
    one_viewport,
    labels_say_what_is_seen,
    bibliography_is_a_list,
    title_once,
    scripts_are_quiet,
    printing_needs_no_handler,
    checks_open_on_their_code,
    signs_stay_with_their_formula,
    scatter_stays_with_its_sign,
    short_code_stays_on_one_line,
    widgets_weigh_less,
]


NUMBER = re.compile(r"(?!(?:19|20)\d\d$)\d")  # what begins with a digit, but for a year


def search_weighs_less(folder: Path):
    """Every page loads the index of the search. Nobody searches for the thousand numbers of the outputs."""
    path = folder / "searchindex.js"
    before, index, after = re.fullmatch(
        r"(\w+\.setIndex\()(.*)(\);?\s*)", path.read_text("utf-8"), re.S
    ).groups()
    index = json.loads(index)
    for terms in ("terms", "titleterms"):
        index[terms] = {term: pages for term, pages in index[terms].items() if not NUMBER.match(term)}
    path.write_text(before + json.dumps(index, ensure_ascii=False, separators=(",", ":")) + after, "utf-8")


def mend(app, exception):
    if exception or app.builder.format != "html":
        return
    if (Path(app.outdir) / "searchindex.js").exists():
        search_weighs_less(Path(app.outdir))
    for path in (Path(app.outdir) / "_static").rglob("*.css"):
        path.write_text(lean(path.read_text(encoding="utf-8")), encoding="utf-8")
    for path in Path(app.outdir).rglob("*.html"):
        if "_static" in path.relative_to(app.outdir).parts:
            continue
        page = BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")
        for mend_one in MENDS:
            mend_one(page)
        pictures_load_when_near(page, path.parent)
        try:
            state_policy(page)
        except ValueError as error:
            raise ValueError(f"{path.relative_to(app.outdir)}: {error}") from None
        path.write_text(str(page), encoding="utf-8")


def take_marks_out(app, docname, source):
    """The marks around a figure are for tools/told.py; a page holds the figure alone."""
    source[0] = MARK.sub(r"\2", source[0])


def setup(app):
    app.connect("source-read", take_marks_out)
    app.connect("build-finished", mend)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
