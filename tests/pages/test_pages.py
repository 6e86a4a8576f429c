"""Every page of the built book, as a reader finds it: offline, light, usable by keyboard and by ear."""

import copy
import functools
import re
import tomllib
import urllib.error
import urllib.request
from pathlib import Path
from urllib.parse import unquote, urlsplit

import nbformat
import pytest
import reading  # tools/, which conftest brings into reach
import yaml
from bs4 import BeautifulSoup

from conftest import HTML, ROOT, file_of

MEGABYTE = 1_000_000
FACES = {path.stem for path in (HTML / "_static" / "vendor" / "fonts").glob("*")}
WIDGET_STATE = re.compile(
    r'<script[^>]*type="application/vnd\.jupyter\.widget-state\+json"[^>]*>.*?</script>', re.DOTALL
)
FILE_NAME = re.compile(r"\S+\.(png|jpe?g|svg|ipynb|py)|_images/\S*|\S*/\S*", re.IGNORECASE)


def toc_pages() -> list[str]:
    """The pages of the table of contents, and the search page."""
    toc = (ROOT / "book" / "_toc.yml").read_text(encoding="utf-8")

    def files(node):
        for key, value in node.items() if isinstance(node, dict) else enumerate(node):
            if key in ("root", "file"):
                yield f"{value}.html"
            elif isinstance(value, (dict, list)):
                yield from files(value)

    return [*files(yaml.safe_load(toc)), "search.html"]


PAGES = toc_pages()
CHAPTERS = [page for page in PAGES if re.search(r"/\d\d_", page)]
every_page = pytest.mark.parametrize("rel", PAGES)


@functools.cache
def parsed(path: Path) -> BeautifulSoup:
    """A page's tree. Shared by the tests: look, and do not change it."""
    return BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")


# ---- what the files say; no browser is needed ------------------------------------------


@every_page
def test_internal_links_lead_somewhere(html, rel):
    """Every relative href and src exists, and so does the place in it that a #fragment names."""
    page, broken = html / rel, []
    ids = {}  # of each page that is linked to
    for element in parsed(page).find_all(["a", "link", "script", "img", "source", "form"]):
        address = element.get("href") or element.get("src") or element.get("action") or ""
        parts = urlsplit(address)
        if parts.scheme or parts.netloc or not address:
            continue
        target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
        if not target.is_file():
            broken.append(address)
        elif parts.fragment and target.suffix == ".html":
            if target not in ids:
                ids[target] = {tag["id"] for tag in parsed(target).find_all(id=True)}
            if unquote(parts.fragment) not in ids[target]:
                broken.append(address)
    assert not broken


@pytest.mark.parametrize(
    "rel", [page for page in PAGES if (ROOT / "book" / page).with_suffix(".ipynb").is_file()]
)
def test_a_page_folds_what_is_said_to_be_folded(html, rel):
    """`tools/reading.py` counts, and others judge, by the same function what a reader sees unfolded."""
    cells = nbformat.read((ROOT / "book" / rel).with_suffix(".ipynb"), as_version=4).cells
    code = [
        c for c in cells if c.cell_type == "code" and c.source.strip() and not reading.QUIZ.search(c.source)
    ]
    said = [(reading.fold(cell), cell.source) for cell in code]
    inputs = parsed(html / rel).select("article .cell .cell_input")
    shown = ["folded" if box.find_parent("details") else "open" for box in inputs]
    assert shown == [kind for kind, _ in said if kind != "removed"]


@every_page
def test_page_has_a_title_and_a_description(html, rel):
    page = parsed(html / rel)
    title = page.title.get_text()
    assert len(title) >= 5 and len(page.find_all("h1")) >= 1
    content = {m.get("name") or m.get("property"): m.get("content") for m in page.find_all("meta")}
    description = content.get("description", "")
    assert 50 <= len(description) <= 160, (
        f"{len(description)} characters: {description!r}; state one of 50 to 160 at the top of the page"
        " (myst: html_meta: description:)"
    )
    assert content["og:description"] == description
    assert content["og:title"] and title.startswith(content["og:title"])
    assert content["og:type"] in ("website", "article")
    # No address is set, so none may be claimed.
    if not settings()["book_site"]:
        assert not {"og:url", "og:image"} & set(content) and not page.find("link", rel="canonical")


@every_page
def test_a_page_says_at_its_foot_of_which_version_it_is(html, rel):
    (line,) = parsed(html / rel).select(".bd-footer-content .book-version")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert line.get_text() == f"Version {project['version']}."


@every_page
def test_a_page_states_what_may_run_in_it_before_anything_runs(html, rel):
    text = (html / rel).read_text(encoding="utf-8")
    (meta,) = parsed(html / rel).select('meta[http-equiv="Content-Security-Policy"]')
    assert "default-src 'self' file:; script-src" in meta["content"]
    assert text.index("Content-Security-Policy") < text.index("<script")


# What could get into a page by a mistake in how text is inserted, and what it would want. The browser lets
# the debugger, which runs this, use eval: but not after an await.
SMUGGLED = """async () => {
  const held = [], ran = [];
  document.addEventListener("securitypolicyviolation", (event) =>
    held.push(`${event.effectiveDirective} ${event.blockedURI.split("?")[0]}`));
  globalThis.run = (what) => ran.push(what);
  const place = document.querySelector("article").appendChild(document.createElement("div"));
  place.innerHTML = `<img src="data:," onerror="run('handler')"><svg onload="run('svg')"></svg>
    <iframe srcdoc="<script>parent.run('frame')</script>"></iframe>
    <object data="data:text/html,<script>parent.run('object')</script>"></object>
    <a href="javascript:run('address')">a</a>`;
  place.querySelector("a").click();
  const add = (name, values) => document.head.append(Object.assign(document.createElement(name), values));
  add("script", { textContent: "run('tag')" });
  add("script", { src: "data:text/javascript,run('data')" });
  add("script", { src: "http://127.0.0.2:9/x.js" });
  add("base", { href: "http://127.0.0.2:9/" });
  await fetch("http://127.0.0.2:9/y?names").catch(() => {});
  await new Promise((done) => setTimeout(done, 500));
  try { (0, eval)("run('eval')"); } catch {}
  return { ran, held, base: document.baseURI === location.href };
}"""


@pytest.mark.parametrize("where", ["a file", "a server"])
@pytest.mark.parametrize("rel", ["playground.html", "wavenet/09_sound.html"])
def test_a_page_runs_nothing_that_it_was_not_built_with(open_page, served, where, rel):
    page = open_page(rel if where == "a file" else f"{served}/{rel}")
    found = page.evaluate(SMUGGLED)
    page.noise.expected = True  # the browser tells of each
    assert found["ran"] == [] and found["base"]
    assert set(found["held"]) >= {
        "connect-src http://127.0.0.2:9/y", "script-src-elem http://127.0.0.2:9/x.js",
        "script-src-elem inline", "script-src-elem data", "script-src-attr inline", "object-src data",
        "base-uri http://127.0.0.2:9/",
    }  # fmt: skip


def test_the_button_that_prints_prints(open_page):
    page = open_page("index.html")
    page.evaluate("window.print = () => { document.body.dataset.printed = 'yes'; }")
    page.evaluate("document.querySelector('[data-print]').click()")
    assert page.evaluate("document.body.dataset.printed") == "yes"


def test_titles_and_descriptions_differ(html):
    for of in (
        lambda p: p.title.get_text(),
        lambda p: p.find("meta", attrs={"name": "description"})["content"],
    ):
        texts = [of(parsed(html / rel)) for rel in PAGES]
        assert len(set(texts)) == len(texts)


@every_page
def test_pictures_have_an_alternative_text(html, rel):
    for picture in parsed(html / rel).find_all("img"):
        alt = picture.get("alt", "").strip()
        assert len(alt) >= 10 and not FILE_NAME.fullmatch(alt), f"{picture.get('src')}: alt={alt!r}"


@every_page
def test_mathematics_is_rendered_before_the_browser_sees_it(html, rel):
    article = copy.copy(parsed(html / rel).select_one(".bd-article-container"))
    for formula in article.select("span.math, div.math"):
        assert formula.select(".katex-html"), f"not rendered: {formula.get_text()[:60]}"
        assert formula.select(".katex-mathml math annotation"), "no MathML for those who listen"
    for hidden in article.select("pre, code, .math, script, style, template"):
        hidden.decompose()
    raw = re.findall(r"\\\(|\\\[|\$[^$\n]{1,80}\$|\\(?:frac|text|sum|mathbf)\b", article.get_text())
    assert not raw


def test_no_page_loads_a_script_for_mathematics(html):
    for rel in PAGES:
        text = (html / rel).read_text(encoding="utf-8")
        assert "mathjax" not in re.sub(r'class="[^"]*"', "", text).lower()
        for script in parsed(html / rel).find_all("script", src=True):
            assert "katex" not in script["src"]


def test_a_picture_is_loaded_when_its_reader_comes_near(open_page):
    page = open_page("wavenet/12_searching.html")
    loaded = "() => [...document.querySelectorAll('article img')].filter((img) => img.naturalWidth).length"
    page.wait_for_timeout(300)
    pictures = page.locator("article img")
    assert pictures.count() > 7 and page.evaluate(loaded) < 5
    pictures.last.scroll_into_view_if_needed()
    page.wait_for_function("() => [...document.querySelectorAll('article img')].at(-1).naturalWidth")


def settings() -> dict:
    config = (ROOT / "book" / "_config.yml").read_text(encoding="utf-8")
    return yaml.safe_load(config)["sphinx"]["config"]


def test_no_launch_button_without_an_address(html):
    if settings()["book_repository"]:
        pytest.skip("an address is set")
    for rel in PAGES:
        assert not re.search(
            r"mybinder|colab\.research|btn-source-repository", (html / rel).read_text("utf-8")
        )


# ---- in the browser: every page --------------------------------------------------------


@every_page
def test_page_works_offline_is_light_and_accessible(open_page, axe, rel):
    """No request leaves the machine, nothing is in the console, and the files are few and small."""
    page = open_page(rel, motion="reduce")
    page.wait_for_timeout(300)
    files = {file_of(url) for url in page.noise.loaded if url.startswith("file:")}
    sizes = {path: path.stat().st_size for path in files}
    state = sum(len(found.encode()) for found in WIDGET_STATE.findall((HTML / rel).read_text("utf-8")))
    faces = sum(size for path, size in sizes.items() if path.parent.name == "fonts" and path.stem in FACES)
    total = sum(sizes.values())
    largest = sorted(((size, path.name) for path, size in sizes.items()), reverse=True)[:6]
    assert len(files) > 10, "the files that the page loads were not seen"
    lean = total - state - faces  # the faces are the same on every page, and weighed in test_look.py
    assert lean <= 1.5 * MEGABYTE, f"{lean} bytes without widget data and faces; {largest}"
    assert total <= 4 * MEGABYTE, f"{total} bytes; {largest}"

    for theme in ("light", "dark"):
        page.emulate_media(color_scheme=theme)
        page.wait_for_function("(theme) => document.documentElement.dataset.theme === theme", arg=theme)
        assert axe(page) == [], theme


TOO_WIDE = """() => {
  // A box that scrolls or clips by itself keeps what is wide inside.
  const kept = (element) => {
    for (let box = element.parentElement; box && box !== document.body; box = box.parentElement) {
      if (/auto|scroll|hidden|clip/.test(getComputedStyle(box).overflowX)) return true;
    }
    return false;
  };
  const all = document.querySelectorAll(".bd-article-container *, .bd-footer-content *");
  const wide = [...all].filter((element) => {
    const box = element.getBoundingClientRect();
    return box.width && box.right > innerWidth + 1 && !kept(element);
  });
  return wide.map((element) => element.outerHTML.slice(0, 120));
}"""


@every_page
def test_nothing_is_wider_than_a_phone(open_page, rel):
    page = open_page(rel, width=360, height=740)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    assert page.evaluate(TOO_WIDE) == []
    # A formula that is too wide scrolls, but what sticks out at the left is out of reach.
    assert (
        page.evaluate("""() => [...document.querySelectorAll(".katex-display .katex-html")]
        .filter((formula) => formula.getBoundingClientRect().left < 0)
        .map((formula) => formula.textContent)""")
        == []
    )


# ---- in the browser: what a reader does ------------------------------------------------------


def visible_text(page, selector: str) -> str:
    return page.locator(selector).first.inner_text().strip()


def test_icons_are_drawn(open_page):
    """Each icon's sign has a glyph in the font that was cut down to what is used."""
    page = open_page(CHAPTERS[0])
    drawn = page.evaluate("""() => [...document.querySelectorAll("main i[class*=fa-], main span[class*=fa-]")]
        .filter((icon) => icon.offsetParent)
        .map((icon) => [icon.className, getComputedStyle(icon, "::before").content, icon.offsetWidth])""")
    assert len(drawn) >= 4
    for name, content, width in drawn:
        assert re.fullmatch(r'"[\ue000-\uf8ff]"', content) and width > 5, name
    assert page.evaluate(
        "[...document.fonts].some((f) => f.family.includes('Awesome') && f.status === 'loaded')"
    )


def test_search_page_works_offline(open_page):
    page = open_page("search.html")
    page.locator("main input[type=search], .bd-content input[type=search]").first.fill("broadcasting")
    page.keyboard.press("Enter")
    page.locator("#search-results ul.search li a").first.wait_for()
    titles = page.locator("#search-results ul.search li a").all_inner_texts()
    assert any("BatchNorm" in title for title in titles), titles


def test_search_dialog_opens_by_keyboard(open_page):
    page = open_page(CHAPTERS[0])
    page.keyboard.press("Control+k")
    field = page.locator("#pst-search-dialog input[type=search]")
    field.wait_for(state="visible")
    field.fill("perplexity")
    page.keyboard.press("Enter")
    page.locator("#search-results ul.search li a").first.wait_for()
    page.locator("#search-results ul.search li a", has_text="Glossary").first.wait_for()


def test_theme_switch_changes_the_page_and_is_remembered(open_page):
    page = open_page("index.html")
    ground = "getComputedStyle(document.body).backgroundColor"
    before = page.evaluate(ground)
    switch = page.locator(".theme-switch-button").first
    for _ in range(3):  # auto, light, dark
        if page.evaluate("document.documentElement.dataset.theme") == "dark":
            break
        switch.focus()
        page.keyboard.press("Enter")
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    assert page.evaluate(ground) != before
    page.reload()
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"


def test_skip_link_is_the_first_stop_and_leads_to_the_text(open_page):
    page = open_page(CHAPTERS[0])
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to main content"
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert page.evaluate("document.querySelector('#main-content').contains(document.activeElement)")


@pytest.mark.parametrize("rel", CHAPTERS)
def test_quiz_is_a_group_of_named_choices(open_page, rel):
    page = open_page(rel)
    questions = page.locator("fieldset.quiz-question")
    assert questions.count() >= 4
    for question in questions.all():
        name = question.locator("legend").inner_text()
        assert page.get_by_role("group", name=name, exact=True).count() == 1
        assert question.locator("label:has(input[type=radio])").count() >= 2
        marks = [label.get_attribute("data-mark") for label in question.locator("label").all()]
        assert marks.count("right") == 1
        reasons = question.locator("template").evaluate_all("all => all.map(t => t.content.textContent)")
        assert all(len(reason) > 10 for reason in reasons)
    first = page.locator("fieldset.quiz-question").evaluate_all(
        "all => all.map(q => q.querySelector('label').dataset.mark)"
    )
    assert "wrong" in first, "the right answer always stands first"


def test_quiz_marks_an_answer_given_by_keyboard(open_page, axe):
    page = open_page(CHAPTERS[0])
    question = page.locator("fieldset.quiz-question").first
    status = question.get_by_role("status")
    assert status.get_attribute("aria-live") == "polite" and status.inner_text() == ""
    question.locator("input").first.focus()
    page.keyboard.press("Space")
    outline = "label => getComputedStyle(label).outlineStyle"
    assert question.locator("label").first.evaluate(outline) == "solid", "the focus cannot be seen"
    seen = set()
    for _ in range(question.locator("label").count()):
        chosen = question.locator("label:has(input:checked)")
        mark = chosen.get_attribute("data-mark")
        seen.add(mark)
        sign = {"right": "✓", "wrong": "✗"}[mark]
        assert status.inner_text().startswith(sign)
        assert chosen.evaluate("label => getComputedStyle(label, '::after').content") == f'"{sign}"'
        page.keyboard.press("ArrowDown")
    assert seen == {"right", "wrong"}
    assert axe(page) == []


@pytest.mark.parametrize("rel", CHAPTERS)
def test_hidden_solutions_open_by_keyboard(open_page, rel):
    page = open_page(rel)
    outermost = "article details:not(details details) > summary"
    hidden = page.locator(f"{outermost}, article button.toggle-button")
    assert hidden.count() >= 1
    for element in {0: hidden.first, 1: hidden.last}.values():
        element.focus()
        page.keyboard.press("Enter")
        opened = "e => e.parentElement.open || e.getAttribute('aria-expanded') === 'true'"
        assert element.evaluate(opened)
    for summary in page.locator(outermost).all():
        assert summary.inner_text().strip() and not summary.get_attribute("aria-label")


def test_boxes_that_scroll_can_be_reached_by_keyboard(open_page):
    page = open_page("results.html", width=360, height=740)
    stuck = page.evaluate("""() => [...document.querySelectorAll("article pre, article div")]
        .filter((box) => /auto|scroll/.test(getComputedStyle(box).overflowX))
        .filter((box) => box.scrollWidth > box.clientWidth + 1)
        .filter((box) => box.tabIndex < 0 && !box.querySelector("a, button, input, [tabindex='0']"))
        .map((box) => box.outerHTML.slice(0, 100))""")
    assert stuck == []


def test_next_and_previous_lead_through_the_book(html, open_page):
    book = [rel for rel in PAGES if rel != "search.html"]
    for here, then in zip(book, book[1:], strict=False):
        (next_one,) = parsed(html / here).select("a.right-next")
        (previous,) = parsed(html / then).select("a.left-prev")
        assert (html / here).parent.joinpath(next_one["href"]).resolve() == html / then
        assert (html / then).parent.joinpath(previous["href"]).resolve() == html / here
    page = open_page("index.html")
    page.locator("a.right-next").click()
    page.wait_for_url(f"**/{book[1]}")
    page.locator("a.left-prev").click()
    page.wait_for_url("**/index.html")


def test_movement_stops_for_those_who_ask_for_it(open_page):
    page = open_page(CHAPTERS[0], motion="reduce")
    assert page.evaluate("getComputedStyle(document.documentElement).scrollBehavior") == "auto"
    moving = page.evaluate("""() => [...document.querySelectorAll("body *")].filter((element) => {
        const style = getComputedStyle(element);
        return parseFloat(style.transitionDuration) > 0.02 || parseFloat(style.animationDuration) > 0.02;
    }).map((element) => element.outerHTML.slice(0, 80))""")
    assert moving == []


# ---- pages elsewhere than at the root of a file system ---------------------------------------


@pytest.mark.parametrize("address", ["nowhere.html", "wavenet/nowhere.html", "a/b/c"])
def test_a_wrong_address_gets_the_404_page(html, served, address):
    with pytest.raises(urllib.error.HTTPError) as answer:
        urllib.request.urlopen(f"{served}/{address}")
    assert answer.value.code == 404
    assert answer.value.read() == (html / "404.html").read_bytes()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_404_page_leads_on(open_page, axe, served, theme):
    page = open_page(f"{served}/404.html", theme=theme)
    assert visible_text(page, "article h1") == "Page not found"
    assert axe(page) == []
    leads = page.locator("article a").evaluate_all("all => all.map(a => a.href)")
    assert leads == [f"{served}/index.html", f"{served}/search.html"]
    page.locator("article a").first.click()
    page.wait_for_load_state()
    assert page.url == leads[0] and visible_text(page, "article h1") != "Page not found"


SMALL = {
    "index.md": """# A small book

It explains a {term}`batch`, and says that $a_1 = \\frac12$, so that there is something to see.

```{figure} images/road.png
:alt: Five points that fall.

A road.
```
""",
    "glossary.md": """# Glossary

A few words that stand for more, and what they mean in this book.

```{glossary}
batch
  The *examples* of one step.
```
""",
}


def notebook() -> str:
    cells = [
        nbformat.v4.new_markdown_cell(
            "# A notebook\n\nOne cell, which adds two numbers and prints their sum.", id="a"
        ),
        nbformat.v4.new_code_cell("1 + 1", execution_count=1, id="b"),
    ]
    nb = nbformat.v4.new_notebook(cells=cells)
    nb.metadata["kernelspec"] = {"display_name": "Python 3", "language": "python", "name": "python3"}
    return nbformat.writes(nb)


@pytest.fixture(scope="session")
def small(build_small):
    """A small book with all addresses set."""
    out, said = build_small(
        SMALL | {"chapter.ipynb": notebook()},
        book_repository="https://github.com/someone/a-book.git",
        book_site="https://example.org/read",
    )
    assert out, said
    return out


@pytest.mark.xdist_group("small")
def test_addresses_bring_launch_buttons_and_link_previews(small):
    page = parsed(small / "chapter.html")
    links = {a["href"] for a in page.select(".bd-header-article a[href]")}
    assert "https://mybinder.org/v2/gh/someone/a-book/main?urlpath=lab/tree/book/chapter.ipynb" in links
    assert "https://colab.research.google.com/github/someone/a-book/blob/main/book/chapter.ipynb" in links
    assert "https://github.com/someone/a-book" in links
    assert not parsed(small / "index.html").select('a[href*="mybinder"]'), "no notebook, nothing to launch"
    content = {m.get("property"): m.get("content") for m in page.find_all("meta")}
    assert content["og:url"] == "https://example.org/read/chapter.html"
    assert page.find("link", rel="canonical")["href"] == content["og:url"]
    picture = content["og:image"].removeprefix("https://example.org/read/")
    assert (small / picture).is_file()
    assert parsed(small / "404.html").select_one("article a")["href"] == "/read/index.html"


@pytest.mark.xdist_group("small")
def test_pages_with_addresses_are_accessible_and_ask_for_nothing(small, open_page, axe):
    page = open_page("chapter.html", folder=small)
    assert axe(page) == []


@pytest.mark.xdist_group("small")
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_term_shows_its_definition_on_hover_and_on_focus(small, open_page, axe, theme):
    page = open_page("index.html", folder=small, theme=theme)
    term, tip = page.locator("article a:has(.std-term)"), page.locator(".tippy-box")
    assert tip.count() == 0
    term.hover()
    tip.wait_for(state="visible")
    assert "The examples of one step." in tip.inner_text()
    assert axe(page) == []
    page.keyboard.press("Escape")
    tip.wait_for(state="detached")
    page.mouse.move(0, 0)
    for _ in range(60):
        page.keyboard.press("Tab")
        if term.evaluate("a => a === document.activeElement"):
            break
    tip.wait_for(state="visible")
    described = term.get_attribute("aria-describedby")
    assert "The examples of one step." in page.locator(f"#{described}").inner_text()
    page.keyboard.press("Escape")
    tip.wait_for(state="detached")


@pytest.mark.xdist_group("small")
def test_only_terms_show_a_definition(small, open_page):
    page = open_page("glossary.html", folder=small)
    page.locator("h1 a.headerlink").hover(force=True)
    page.locator("a.left-prev").hover()
    page.wait_for_timeout(400)
    assert page.locator(".tippy-box").count() == 0


@pytest.mark.xdist_group("wrong")
def test_mistakes_fail_the_build(build_small):
    """A formula that KaTeX does not know, and a term that the glossary does not have."""
    pages = dict(SMALL)
    pages["index.md"] = pages["index.md"].replace("\\frac12", "\\fraction12")
    out, said = build_small(pages)
    assert out is None and "fraction" in said
    pages["index.md"] = SMALL["index.md"].replace("{term}`batch`", "{term}`botch`")
    out, said = build_small(pages)
    assert out is None and "botch" in said
