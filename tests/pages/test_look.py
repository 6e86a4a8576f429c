"""How every page looks: its faces, boxes, folds, edges, pictures and the mark for checks."""

import io
import re

import nbformat
import pytest
import reading
from fontTools.ttLib import TTFont
from PIL import Image
from test_pages import CHAPTERS, PAGES, parsed

CHAPTER = next(rel for rel in CHAPTERS if "05_" in rel)
WITH_CHECKS = next(rel for rel in CHAPTERS if "01_" in rel)
every_page = pytest.mark.parametrize("rel", PAGES)
FONTS = "_static/vendor/fonts"
FACES = ("Book Serif", "Book Sans", "Book Mono")

# ---- faces --------------------------------------------------------------------------------

# Once with the face and once without it, the same line has two widths.
WIDTHS = """(face) => {
  const pen = document.createElement("canvas").getContext("2d");
  const line = "Its shape is (B, T, C); 0.125 ± 0.004";
  return [`"${face}", monospace`, "monospace", `"${face}", serif`].map((family) => {
    pen.font = `400 100px ${family}`;
    return pen.measureText(line).width;
  });
}"""


def test_the_faces_are_there_from_a_file(open_page):
    page = open_page(CHAPTER)
    for face in FACES:
        assert page.evaluate('f => document.fonts.check(`18px "${f}"`)', face)
        loaded = "f => [...document.fonts].some((x) => x.family.includes(f) && x.status === 'loaded')"
        assert page.evaluate(loaded, face), f"{face} was not loaded"
        with_face, without, other = page.evaluate(WIDTHS, face)
        assert with_face == other, f"{face} has no letter of this line"
        assert with_face != without
    used = page.evaluate("""() => ["article p", "article pre", "nav.bd-links a"].map((selector) =>
        getComputedStyle(document.querySelector(selector)).fontFamily.split(",")[0].replaceAll('"', ""))""")
    assert used == ["Book Serif", "Book Mono", "Book Sans"]


def test_a_server_sends_each_face_once_and_the_first_ones_early(open_page, served):
    page = open_page(f"{served}/{CHAPTER}")
    page.wait_for_timeout(300)
    asked = page.evaluate("""() => performance.getEntriesByType("resource")
        .filter((entry) => /fonts.(serif|sans|mono)/.test(entry.name))
        .map((entry) => [entry.name.split("/").pop(), entry.initiatorType])""")
    names = [name for name, _ in asked]
    assert len(names) == len(set(names)) >= 4
    assert {name for name, by in asked if by == "link"} == {"serif-400.woff2", "sans.woff2"}


def test_the_faces_are_light_and_come_with_their_licences(html):
    files = list((html / FONTS).iterdir())
    assert sum(file.stat().st_size for file in files) < 150_000
    style = (html / "_static" / "fonts.css").read_text(encoding="utf-8")
    assert {file.name for file in files} == set(re.findall(r"vendor/fonts/([\w.-]+)", style))
    assert style.count("url(") == style.count("font-display: swap")
    for package in ("source-serif-4", "source-sans-3", "source-code-pro"):
        licence = (html / "_static" / "vendor" / f"LICENSE-{package}.txt").read_text(encoding="utf-8")
        assert "SIL Open Font License" in licence or "SIL OPEN FONT LICENSE" in licence


def test_the_face_for_code_has_every_letter_that_a_page_shows_in_code(html):
    have = set(TTFont(html / FONTS / "mono.woff").getBestCmap())
    shown = {}
    for rel in PAGES:
        for code in parsed(html / rel).select("article pre, article code"):
            shown |= {letter: rel for letter in code.get_text() if letter.isprintable()}
    assert len(shown) > 80
    assert {letter: rel for letter, rel in shown.items() if ord(letter) not in have} == {}


def test_no_text_moves_when_the_faces_come(open_page):
    """The stand-in of this machine sets a chapter's paragraphs to the same height, within 2%."""
    page = open_page(CHAPTER)
    high = """() => [...document.querySelectorAll("article section > p")]
        .reduce((sum, p) => sum + p.getBoundingClientRect().height, 0)"""
    own = page.evaluate(high)
    page.evaluate("""() => {
        const root = document.documentElement;
        const family = getComputedStyle(root).getPropertyValue("--book-serif");
        root.style.setProperty("--book-serif", family.replace(/"Book (Serif|Signs)",/g, ""));
    }""")
    assert page.evaluate("getComputedStyle(document.querySelector('article p')).fontFamily").startswith(
        '"Serif like'
    )
    assert own > 1000 and abs(page.evaluate(high) - own) <= 0.02 * own


def test_lines_have_about_seventy_characters(open_page):
    page = open_page(CHAPTER, width=1280)
    lengths = page.evaluate("""() => {
        const pen = document.createElement("canvas").getContext("2d");
        return [...document.querySelectorAll("article section > p")]
            .filter((p) => p.textContent.length > 150 && !p.querySelector("code, .math")).map((p) => {
                const style = getComputedStyle(p);
                pen.font = `${style.fontWeight} ${style.fontSize} ${style.fontFamily}`;
                return p.clientWidth * p.textContent.length / pen.measureText(p.textContent).width;
            });
    }""")
    assert len(lengths) > 8
    assert all(64 <= length <= 78 for length in lengths), lengths
    prose, code = (page.locator(f"article {kind}").first for kind in ("section > p", ".cell_input"))
    assert code.bounding_box()["width"] > prose.bounding_box()["width"] + 60


def test_code_as_wide_as_the_rule_allows_fits_the_column(open_page):
    page = open_page(CHAPTER, width=1280)
    fit = page.evaluate("""() => {
        const pre = document.querySelector("article .cell_input pre"), style = getComputedStyle(pre);
        const pen = document.createElement("canvas").getContext("2d");
        pen.font = `${style.fontWeight} ${style.fontSize} ${style.fontFamily}`;
        const inner = pre.clientWidth - parseFloat(style.paddingLeft) - parseFloat(style.paddingRight);
        return inner / pen.measureText("m").width;
    }""")
    assert reading.WIDEST <= fit < reading.WIDEST + 3, fit
    wide = "() => [...document.querySelectorAll('article pre')].filter((e) => e.scrollWidth > e.clientWidth)"
    assert page.evaluate(f"({wide})().length") == 0


# ---- boxes, folds, colours, focus ------------------------------------------------------------


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_boxes_have_one_shape(open_page, theme):
    page = open_page(CHAPTER, theme=theme)
    shapes = page.evaluate("""() => [...document.querySelectorAll(
        "article .admonition:not(details, p), article .quiz-question")].map((box) => {
        const style = getComputedStyle(box);
        return ["borderWidth", "borderStyle", "borderColor", "borderRadius", "boxShadow", "padding",
            "marginLeft"].map((name) => style[name]).join(" ");
    })""")
    assert len(shapes) > 8 and len(set(shapes)) == 1, set(shapes)
    icons = page.evaluate("""() => [...document.querySelectorAll("article .admonition-title")].filter(
        (title) => getComputedStyle(title, "::before").content !== "none"
            || getComputedStyle(title, "::after").content !== "none").length""")
    assert icons == 0


def test_a_fold_is_a_small_button_that_says_what_it_opens(open_page):
    page = open_page(CHAPTER)
    folds = page.locator("article :is(details.hide, details.sd-dropdown) > summary")
    assert folds.count() > 8
    looks = set()
    for fold in folds.all():
        box = fold.bounding_box()
        assert box["width"] < 260 and 24 <= box["height"] < 36
        assert re.fullmatch(r"▸?\s*(Show the [a-z]{4,12}|Hint|[A-Z].{3,40}\?)", fold.inner_text().strip())
        looks.add(
            fold.evaluate("""e => { const s = getComputedStyle(e);
            return [s.border, s.borderRadius, s.fontSize, s.fontWeight, s.padding, s.color].join(" ") }""")
        )
    assert len(looks) == 1, looks
    folds.first.click()
    assert folds.first.inner_text().strip() == "Hide the imports"


# Of the themes: pink, purple, turquoise, orange, and two blues, in light and dark.
LEFT_OVER = [
    "#c132af", "#e47fd7", "#8045e5", "#9c5ffd", "#0a7d91", "#3fb1c5", "#e89217", "#176de8", "#528fe4",
    "#276be9", "#79a3f2", "#007bff", "#448aff",
]  # fmt: skip


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("rel", ["index.html", CHAPTER, "search.html", "reference/nn.html"])
def test_no_colour_of_the_theme_is_left(open_page, rel, theme):
    page = open_page(rel, theme=theme)
    found = page.evaluate(
        """(hexes) => {
        const left = hexes.map((hex) => hex.match(/\\w\\w/g).map((part) => parseInt(part, 16)).join(", "));
        const of = (element, pseudo) => {
            const style = getComputedStyle(element, pseudo);
            if (pseudo && ["none", "normal"].includes(style.content)) return "";
            const parts = ["color", "backgroundColor", "borderTopColor", "borderLeftColor", "boxShadow"];
            return parts.map((name) => style[name]).join(" ");
        };
        return [...document.querySelectorAll("body, body *")].filter((element) =>
            [null, "::before", "::after"].some((pseudo) => left.some((c) => of(element, pseudo).includes(c))))
            .map((element) => element.outerHTML.slice(0, 100));
    }""",
        LEFT_OVER,
    )
    assert found == []


def test_dark_code_is_quiet_and_its_words_differ(open_page):
    page = open_page(CHAPTER, theme="dark")
    color = "(kind) => getComputedStyle(document.querySelector(`.highlight .${kind}`)).color"
    word, text, number, name, ink = (page.evaluate(color, kind) for kind in ("kn", "s2", "mi", "n", "p"))
    assert len({word, text, number, ink}) == 4 and name == ink
    red, green, blue = (int(part) for part in re.findall(r"\d+", text)[:3])
    assert max(red, green, blue) - min(red, green, blue) < 60, "a colour that shouts"


# What shows that an element has the focus: an outline of its own, or of the part that stands for it.
RING = """() => {
  const at = document.activeElement;
  const shows = [at, at.closest("label"), at.querySelector(".road-hit")].filter(Boolean);
  return shows.some((element) => {
    const style = getComputedStyle(element);
    return (style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2)
      || (element.matches(".road-hit") && style.stroke !== "none");
  }) || at.outerHTML.slice(0, 120);
}"""


@pytest.mark.parametrize("rel", [CHAPTER, "map.html", "playground.html"])
def test_focus_is_seen_on_every_control(open_page, rel):
    page = open_page(rel, motion="reduce")
    page.wait_for_timeout(300)
    last, unseen, stops = "document.activeElement === document.body", set(), 0
    for _ in range(160):
        page.keyboard.press("Tab")
        if page.evaluate(last):
            break
        stops += 1
        ring = page.evaluate(RING)
        if ring is not True:
            unseen.add(ring)
    assert stops > 30 and unseen == set()


def test_a_click_draws_no_ring(open_page):
    page = open_page(CHAPTER)
    for selector in (
        ".theme-switch-button", ".primary-toggle", ".article-header-buttons .dropdown-toggle",
        "article summary", ".highlight button.copybtn", ".quiz-answer",
    ):  # fmt: skip
        control = page.locator(f"{selector} >> visible=true").first
        control.scroll_into_view_if_needed()
        control.hover()
        control.click()
        style = control.evaluate("e => [getComputedStyle(e).outlineStyle, getComputedStyle(e).boxShadow]")
        assert style == ["none", "none"], selector


BROKEN = "all => all.filter((one) => one.getClientRects().length > 1).map((one) => one.textContent)"


@pytest.mark.parametrize("width", [1280, 390])
def test_a_shape_and_a_few_words_of_code_stand_on_one_line(open_page, width):
    page = open_page("wavenet/05_batchnorm_fix.html", width=width)
    whole = page.locator("article .one-line")
    assert {"x - mean", "(B, T, C)", "(32, 4, 68)", "(1, 68)"} <= set(whole.all_text_contents())
    assert whole.evaluate_all(BROKEN) == []


@pytest.mark.parametrize("width", [320, 390])
def test_no_title_at_a_pages_end_breaks_in_a_word(open_page, width):
    page = open_page("wavenet/03_eight_char_context.html", width=width)
    tall = "all => all.map((one) => one.offsetHeight / parseFloat(getComputedStyle(one).lineHeight))"
    lines = page.locator(".prev-next-title").evaluate_all(tall)
    assert len(lines) == 2 and max(lines) < 1.5, "one line each, side by side or one above the other"
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_copy_buttons_have_a_name(open_page):
    page = open_page(CHAPTER)
    buttons = page.locator("button.copybtn")
    buttons.first.wait_for(state="attached")
    assert buttons.count() > 10
    assert page.get_by_role("button", name="Copy this code").count() >= 10


def test_code_in_a_quiz_looks_like_code(open_page):
    for number, where in (("04_", ".quiz-answer code"), ("02_", ".quiz-question legend code")):
        page = open_page(next(rel for rel in CHAPTERS if number in rel))
        family = page.locator(where).first.evaluate("e => getComputedStyle(e).fontFamily")
        assert family.startswith('"Book Mono"'), where


# ---- edges ------------------------------------------------------------------------------------


def at_the_right_edge(page, box) -> tuple:
    """The colour just inside the right edge of a box, half way down a line's gap."""
    picture = Image.open(io.BytesIO(box.screenshot())).convert("RGB")
    return picture.getpixel((picture.width - 3, 4))


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize(
    "rel, what", [(CHAPTER, "div.highlight pre"), ("results.html", ".pst-scrollable-table-container")]
)
def test_an_edge_with_more_behind_it_has_a_shadow(open_page, rel, what, theme):
    page = open_page(rel, width=360, height=740, theme=theme)
    index = page.evaluate(
        """(what) => [...document.querySelectorAll("article " + what)]
        .findIndex((box) => box.scrollWidth > box.clientWidth + 20 && !box.closest("details:not([open])"))""",
        what,
    )
    box = page.locator(f"article {what}").nth(index)
    box.scroll_into_view_if_needed()
    before = at_the_right_edge(page, box)
    box.evaluate("box => (box.scrollLeft = 10_000)")
    page.wait_for_timeout(100)
    after = at_the_right_edge(page, box)
    assert sum(after) - sum(before) > (60 if theme == "light" else 20), (before, after)


# ---- pictures ------------------------------------------------------------------------------------


@every_page
def test_pictures_state_their_size(html, rel):
    for picture in parsed(html / rel).select("article img"):
        assert int(picture["width"]) > 20 and int(picture["height"]) > 20


@pytest.mark.parametrize("width", [1280, 390])
def test_a_page_does_not_grow_while_it_is_read(open_page, width):
    page = open_page("wavenet/12_searching.html", width=width)
    page.wait_for_timeout(500)
    high = "document.documentElement.scrollHeight"
    before = page.evaluate(high)
    for picture in page.locator("article img").all():
        picture.scroll_into_view_if_needed()
    page.wait_for_function("() => [...document.querySelectorAll('article img')].every((i) => i.naturalWidth)")
    assert abs(page.evaluate(high) - before) <= 4
    shapes = page.evaluate("""() => [...document.querySelectorAll("article img")].map((i) =>
        i.clientWidth / i.clientHeight / (i.naturalWidth / i.naturalHeight))""")
    assert all(0.98 < shape < 1.02 for shape in shapes), shapes


SVG = """<svg xmlns="http://www.w3.org/2000/svg" width="144pt" height="72pt" viewBox="0 0 144 72">
<path d="M 0 0 L 144 0 L 144 72 L 0 72 z" fill="#ffffff"/>
<path d="M 9 9 L 90 63" stroke="#222222" stroke-width="6"/></svg>"""


@pytest.fixture(scope="session")
def drawn(build_small):
    """A book with a notebook whose output is an SVG."""
    cell = nbformat.v4.new_code_cell("figure", execution_count=1, id="b")
    cell.metadata["mystnb"] = {"image": {"alt": "A line that falls to the right."}}
    cell.outputs = [nbformat.v4.new_output("display_data", {"image/svg+xml": SVG, "text/plain": "<Figure>"})]
    title = nbformat.v4.new_markdown_cell("# A notebook\n\nOne cell, which draws a line that falls.", id="a")
    nb = nbformat.v4.new_notebook(cells=[title, cell])
    nb.metadata["kernelspec"] = {"display_name": "Python 3", "language": "python", "name": "python3"}
    index = "# A small book\n\nIt has a notebook with a drawing, and says nothing else of interest.\n"
    out, said = build_small({"index.md": index, "chapter.ipynb": nbformat.writes(nb)})
    assert out, said
    return out


@pytest.mark.xdist_group("drawn")
@pytest.mark.parametrize("theme, ground", [("light", "#ffffff"), ("dark", "#14181d")])
def test_a_drawing_as_svg_follows_the_page(drawn, open_page, theme, ground):
    page = open_page("chapter.html", folder=drawn, theme=theme)
    picture = page.locator("article img")
    assert (picture.get_attribute("width"), picture.get_attribute("height")) == ("192", "96")
    picture.scroll_into_view_if_needed()
    page.wait_for_function("() => document.querySelector('article img').naturalWidth")
    seen = Image.open(io.BytesIO(picture.screenshot())).convert("RGB")
    paper, ink = seen.getpixel((160, 20)), seen.getpixel((66, 48))
    assert paper == tuple(bytes.fromhex(ground[1:]))
    assert abs(sum(ink) - sum(paper)) > 300


def test_a_phone_shows_the_table_of_gains_whole(open_page):
    page = open_page(CHAPTER, width=390)
    boxes = page.locator("article .pst-scrollable-table-container")
    assert boxes.count() >= 2
    assert boxes.evaluate_all("all => all.filter((box) => box.scrollWidth > box.clientWidth).length") == 0
    cells = boxes.locator("td.text-right").all_text_contents()
    assert any("±\N{NO-BREAK SPACE}" in cell for cell in cells) and not any("± " in cell for cell in cells)


def test_code_that_nearly_fits_a_phone_fits_it(open_page):
    page = open_page(CHAPTER, width=390)
    over = page.evaluate("""() => [...document.querySelectorAll("article .cell_input pre")]
        .map((pre) => pre.scrollWidth - pre.clientWidth).filter((over) => over > 0)""")
    assert over and min(over) > 30, "a line that is cut by a few letters does not look as if it scrolled"


def test_a_question_has_no_empty_strip_below_its_answers(open_page):
    page = open_page(CHAPTER, width=390)
    question = page.locator(".quiz-question").first
    feedback, last = question.locator(".quiz-feedback"), question.locator(".quiz-answer").last
    bottom = lambda part: part.bounding_box()["y"] + part.bounding_box()["height"]  # noqa: E731
    assert bottom(question) - bottom(last) < 24
    last.click()
    assert feedback.inner_text() and feedback.bounding_box()["height"] > 20


# ---- terms and checks ------------------------------------------------------------------------------


def test_a_tap_on_a_term_stays_in_the_chapter(open_page, axe):
    page = open_page(CHAPTER, width=390, height=780, touch=True)
    here, term, tip = page.url, page.locator("[data-definition]").first, page.locator(".tippy-box")
    term.scroll_into_view_if_needed()
    term.tap()
    tip.wait_for(state="visible")
    assert term.get_attribute("data-definition")[:40] in tip.inner_text() and page.url == here
    assert tip.bounding_box()["x"] >= 0 and tip.bounding_box()["width"] <= 390
    assert axe(page) == []
    page.touchscreen.tap(380, 770)
    tip.wait_for(state="detached")
    term.tap()
    tip.wait_for(state="visible")
    page.keyboard.press("Escape")
    tip.wait_for(state="detached")
    term.tap()
    tip.locator("a").tap()
    page.wait_for_url("**/glossary.html#term-*")


def test_a_click_on_a_term_leads_to_the_glossary(open_page):
    page = open_page(CHAPTER)
    page.locator("[data-definition]").first.click()
    page.wait_for_url("**/glossary.html#term-*")


@pytest.mark.parametrize("rel", CHAPTERS)
def test_no_line_of_a_check_stands_on_a_page(html, rel):
    page = parsed(html / rel)
    assert not [pre for pre in page.select("article pre") if pre.get_text().startswith("held: ")]
    for cell in page.select("article .cell.tag_check"):
        assert not cell.select(":scope > .cell_input"), "the code of a check is not folded"
        assert cell.select("details.checks .cell_input")
    for mark in page.select("details.checks"):
        count = int(re.fullmatch(r"✓ (\d+) checks?", mark.summary.get_text())[1])
        assert len(mark.select(".checks-shown > ul > li")) == count


def test_a_mark_opens_on_hover_on_focus_and_on_a_click(open_page, axe):
    page = open_page(WITH_CHECKS)
    mark = page.locator(".tag_check details.checks").first
    summary, items, code = (mark.locator(part) for part in ("summary", "li", ".cell_input"))
    summary.scroll_into_view_if_needed()
    assert mark.bounding_box()["height"] < 30 and not items.first.is_visible()
    output = page.locator(".cell:has(+ .tag_check)").first.bounding_box()
    box = summary.bounding_box()
    assert box["x"] + box["width"] > output["x"] + output["width"] - 8, "not at the right end"
    assert 0 <= box["y"] - (output["y"] + output["height"]) < 30
    summary.hover()
    items.first.wait_for(state="visible")
    assert re.search("exactly|within|for a value of", items.first.inner_text()) and not code.is_visible()
    assert axe(page) == []
    summary.click()
    code.wait_for(state="visible")
    page.mouse.move(5, 5)
    assert items.first.is_visible(), "a click keeps it open"
    page.keyboard.press("Escape")
    assert not items.first.is_visible()
    summary.focus()
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Tab")
    items.first.wait_for(state="visible")
    page.keyboard.press("Enter")
    code.wait_for(state="visible")
    page.keyboard.press("Enter")
    assert not items.first.is_visible()


def test_a_mark_opens_without_scripts(open_page):
    page = open_page(WITH_CHECKS, scripts=False)
    mark = page.locator(".tag_check details.checks").first
    mark.locator("summary").click()
    assert mark.locator("li").first.is_visible() and mark.locator(".cell_input").is_visible()


@pytest.mark.parametrize("width", [1280, 360])
def test_an_open_mark_fits_the_page(open_page, width):
    page = open_page(WITH_CHECKS, width=width)
    for mark in page.locator("details.checks").all():
        mark.locator("summary").click()
        box = mark.locator(".checks-shown").bounding_box()
        assert box["x"] >= 0 and box["x"] + box["width"] <= width
        page.keyboard.press("Escape")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
