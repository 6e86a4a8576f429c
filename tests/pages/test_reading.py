"""Progress through the chapters: kept in this browser and nowhere else, and cleared by one button."""

import json

import pytest
import yaml

from conftest import ROOT

KEY = "wavenet-book-progress"
FIRST, SECOND = "wavenet/01_three_char_mlp", "wavenet/02_pytorchified_layers"
PARTS = yaml.safe_load((ROOT / "book/_toc.yml").read_text())["parts"]
CHAPTERS = sum(len(part["chapters"]) for part in PARTS if part.get("numbered"))
STORED = f"JSON.parse(localStorage.getItem('{KEY}'))"
READ = """async ([from, to]) => {  // the sections from one to another
  const headings = [...document.querySelectorAll("article section[id] > h2")];
  for (const heading of headings.slice(from, to)) {
    heading.scrollIntoView({ behavior: "instant" });
    await new Promise(requestAnimationFrame);
    await new Promise(requestAnimationFrame);
  }
}"""


def visit(page, address, new=False):
    """The page at an address, with the storage of those before.

    Chromium gives about one page in a hundred from file:// another, empty storage, whatever the page
    does: what was stored is there again on the next one. A key tells which of the two it is. A new
    browser has no key yet: it is stored until a later page finds it.
    """
    for _ in range(10):
        page.goto(address)
        if page.evaluate("localStorage.getItem('same-storage')"):
            return page
        if new:
            page.evaluate("localStorage.setItem('same-storage', '1')")
    raise AssertionError("ten pages in a row with another storage")


@pytest.fixture
def start(open_page, html):
    """Opens a first page, in a browser with these settings, that stores nothing of progress."""

    def opened(**settings):
        page = open_page("glossary.html", **settings)
        return visit(page, (html / "glossary.html").as_uri(), new=True)

    return opened


@pytest.fixture
def go(start, html):
    """A function that goes to a page, always in the same window."""
    page = start()
    return lambda rel: visit(page, (html / f"{rel}.html").as_uri())


def entry(page, name):
    """What the contents say of a chapter, as one hears it."""
    return page.locator(f".bd-sidebar-primary .toctree-l1 > a:has-text('{name}')").first.text_content()


def test_a_chapter_is_marked_as_opened_and_then_as_read(go):
    page = go(FIRST)
    assert entry(page, "Three characters") == "1. Three characters, one hidden layer (opened)"
    assert entry(page, "Layers like") == "2. Layers like PyTorch’s"
    for _ in range(20):  # a jump to the end is no reading; a page that still grows has its end further down
        page.keyboard.press("End")
        page.wait_for_timeout(250)
        if page.evaluate(f"{STORED}.pages['{FIRST}'].length > 1"):
            break
    assert page.evaluate(f"{STORED}.pages['{FIRST}'].length > 1")
    assert page.evaluate(f"{STORED}.pages['{FIRST}']") is not True
    page.evaluate(READ, [0, 99])
    page.wait_for_function(f"() => {STORED}.pages['{FIRST}'] === true")
    assert entry(page, "Three characters") == "1. Three characters, one hidden layer (read to the end)"
    assert entry(go(SECOND), "Three characters").endswith("(read to the end)")
    go(FIRST)
    kept = page.evaluate(STORED)
    assert kept["last"] == FIRST and set(kept["pages"]) == {FIRST, SECOND} and kept["pages"][FIRST] is True


def test_a_reader_can_read_a_chapter_in_two_sittings(go):
    page = go(FIRST)
    page.evaluate(READ, [0, 4])
    page.wait_for_function(f"() => {STORED}.pages['{FIRST}'].length >= 4")
    go("glossary")
    page = go(FIRST)
    page.evaluate(READ, [4, 99])
    page.wait_for_function(f"() => {STORED}.pages['{FIRST}'] === true")


def test_the_start_page_says_where_to_go_on(go):
    page = go("index")
    assert page.locator(".reading, .reading-mark").count() == 0, "nothing to say yet"
    go(FIRST).evaluate(READ, [0, 99])
    page.wait_for_function(f"() => {STORED}.pages['{FIRST}'] === true")
    go("index")
    box = page.get_by_role("group", name="Your progress")
    assert (
        f"You have read 1 of {CHAPTERS} chapters to the end. Go on with 2. Layers like PyTorch’s."
        in box.inner_text()
    )
    assert "This is kept in this browser and never leaves it." in box.inner_text()
    assert page.locator("#the-road dt").first.text_content().endswith("layer (read to the end)")
    box.get_by_role("link").click()
    page.wait_for_url("**/02_pytorchified_layers.html")
    go("index")
    assert (
        f"1 of {CHAPTERS} chapters to the end, and opened 1 more. Go on with 2. Layers like PyTorch’s."
        in box.inner_text()
    )


def test_one_button_clears_it(go):
    go(FIRST)
    page = go("index")
    page.get_by_role("button", name="Clear my progress").focus()
    page.keyboard.press("Enter")
    assert page.evaluate("Object.keys(localStorage).filter((key) => key.includes('progress'))") == []
    assert page.locator(".reading-mark").count() == 0
    assert page.evaluate("document.activeElement.textContent").startswith("Cleared.")
    page.reload()
    assert page.locator(".reading, .reading-mark").count() == 0


@pytest.mark.parametrize("method", ["setItem", "getItem"])
def test_where_nothing_can_be_stored_nothing_is_said(go, method):
    page = go("glossary")
    page.context.add_init_script(f"""const real = Storage.prototype.{method};
        Storage.prototype.{method} = function (key, ...value) {{
          if (key.includes("progress")) throw new DOMException("denied");
          return real.call(this, key, ...value);
        }};""")  # of the book's own key: the theme keeps what it keeps
    go(FIRST)
    assert page.locator(".reading, .reading-mark").count() == 0
    go("index")
    assert page.locator(".reading, .reading-mark").count() == 0


@pytest.mark.parametrize("kept", ["{", "[]", "null", "7", '{"pages": 3}', '{"pages": {"x": "y"}}'])
def test_what_is_no_progress_does_no_harm(go, kept):
    page = go("glossary")
    page.evaluate(f"localStorage.setItem('{KEY}', {json.dumps(kept)})")
    assert entry(go(FIRST), "Three characters").endswith("(opened)")
    assert go("index").locator(".reading").count() == 1


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_progress_is_accessible_and_fits(start, axe, html, theme, width):
    page = start(theme=theme, width=width, motion="reduce")
    page.evaluate(f"""localStorage.setItem('{KEY}', JSON.stringify({{
        pages: {{ '{FIRST}': true, '{SECOND}': [] }}, last: '{SECOND}' }}))""")
    visit(page, (html / "index.html").as_uri())
    page.locator(".reading").wait_for()
    assert axe(page) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    shapes = page.locator("#the-road .reading-mark path").evaluate_all(
        "all => all.map((p) => p.getAttribute('d'))"
    )
    assert len(set(shapes)) == 4, "opened and read differ in shape"


def test_it_is_kept_nowhere_else():
    script = (ROOT / "book" / "_static" / "reading.js").read_text(encoding="utf-8")
    for way_out in (
        "fetch",
        "XMLHttpRequest",
        "sendBeacon",
        "WebSocket",
        "cookie",
        "sessionStorage",
        "indexedDB",
    ):
        assert way_out not in script
