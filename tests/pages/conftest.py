"""Fixtures for tests that look at the built book in a real browser, as a reader would.

The browser is the machine's own Chromium, driven by playwright. Where there is none the tests
are skipped; with BOOK_BROWSER=required in the environment, as in .ci/run, they fail instead.
CHROMIUM names another binary.
"""

import functools
import os
import re
import shutil
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from http.server import ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
HTML = ROOT / "book" / "_build" / "html"
AXE = Path(sys.prefix) / "share" / "wavenet-book" / "axe.min.js"

sys.path.insert(0, str(ROOT / "tools"))
import browser as machine  # noqa: E402
import serve  # noqa: E402


@pytest.fixture(scope="session")
def browser():
    """A running Chromium, shared by all tests of a worker."""
    if not machine.chromium():  # an error where CHROMIUM names one that is not there
        if os.environ.get("BOOK_BROWSER") == "required":
            pytest.fail(machine.MISSING)
        pytest.skip(machine.MISSING)
    with machine.started() as running:
        yield running


@pytest.fixture(scope="session")
def html() -> Path:
    """The folder of the built book."""
    if not (HTML / "index.html").is_file():
        pytest.fail("the book is not built: run make pages, or make book")
    return HTML


@dataclass
class Noise:
    """What a page did that a reader should never meet."""

    requests: list[str] = field(default_factory=list)  # that left the machine; all were aborted
    console: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)  # local files that could not be loaded
    loaded: set[str] = field(default_factory=set)  # addresses of everything that was loaded
    expected: bool = False  # whether the test provoked it, and looks at it itself


@pytest.fixture
def open_page(browser, html):
    """A function that opens a page of the book, and returns playwright's Page.

    ``open_page("wavenet/01_x.html", theme="dark", width=360)`` opens it from file:// with no
    network. ``folder`` names another built book, and a ``rel`` that begins with http:// is
    opened as it stands. ``scripts=False`` switches JavaScript off, ``touch=True`` makes it a phone.
    The page carries its ``noise``.
    When the test ends, it fails if any page that it opened asked for something outside, missed a
    file, wrote to the console or raised an error.
    """
    contexts, opened = [], []

    def open_one(
        rel, *, theme="light", width=1200, height=900, folder=html, motion="no-preference", scripts=True,
        touch=False,
    ):  # fmt: skip
        context = browser.new_context(
            viewport={"width": width, "height": height}, color_scheme=theme, reduced_motion=motion,
            java_script_enabled=scripts, has_touch=touch, is_mobile=touch,
        )  # fmt: skip
        contexts.append(context)
        noise = Noise()
        base = rel if rel.startswith("http://127.0.0.1") else "file:"
        local = re.compile(
            r"^(file|data|blob):" if base == "file:" else r"^(http://127\.0\.0\.1|data:|blob:)"
        )

        def stop(route):
            noise.requests.append(route.request.url)
            route.abort()

        context.route(lambda url: not local.match(url), stop)
        context.set_default_timeout(30_000)  # of a busy machine
        context.set_default_navigation_timeout(60_000)  # a page of several MB on a busy machine
        page = context.new_page()
        page.noise = noise
        page.on("console", lambda message: noise.console.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: noise.errors.append(str(error)))
        wanted = lambda url: scripts or ".js" not in url  # noqa: E731
        page.on(
            "requestfailed",
            lambda request: noise.missing.append(request.url) if wanted(request.url) else None,
        )
        page.on("requestfinished", lambda request: noise.loaded.add(request.url))
        page.goto(rel if base == rel else (folder / rel).as_uri())
        if scripts:
            page.evaluate("document.fonts.ready")
        opened.append((rel, noise))
        return page

    yield open_one
    for context in contexts:
        context.close()
    for rel, noise in [(rel, noise) for rel, noise in opened if not noise.expected]:
        assert not noise.requests, f"{rel} asked for {noise.requests}"
        assert not noise.errors, f"{rel}: {noise.errors}"
        assert not noise.missing, f"{rel}: could not load {noise.missing}"
        assert not noise.console, f"{rel} wrote to the console: {noise.console}"


# Colours that are on their way from light to dark would be found wanting.
STILL = """async () => {
  const frame = () => new Promise(requestAnimationFrame);
  for (let calm = 0; calm < 3; calm++) {
    await frame();
    const moving = document.getAnimations();
    if (moving.length) calm = 0;
    await Promise.allSettled(moving.map((animation) => animation.finished));
  }
}"""


@pytest.fixture
def axe():
    """A function that returns the serious and critical findings of axe-core on an open page."""

    def findings(page) -> list[str]:
        page.evaluate(STILL)
        page.evaluate(AXE.read_text(encoding="utf-8"))  # the page's own policy forbids a tag
        found = page.evaluate("axe.run(document, { resultTypes: ['violations'], preload: false })")[
            "violations"
        ]
        return [
            f"{finding['id']}: {finding['help']}; {node['html'][:160]} {node['any'][:1]}"
            for finding in found
            if finding["impact"] in ("serious", "critical")
            for node in finding["nodes"]
        ]

    return findings


@pytest.fixture(scope="session")
def served(html):
    """The address at which tools/serve.py serves the book."""
    handler = functools.partial(serve.Handler, directory=html)
    # Its threads are daemons: a connection that the browser opens in advance ends with them.
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def file_of(url: str) -> Path:
    """The file behind a file:// address."""
    return Path(unquote(urlsplit(url).path))


@pytest.fixture(scope="session")
def build_small(tmp_path_factory):
    """A function that builds a book of a few pages with this book's settings.

    ``build_small({"index.md": "# Title"}, book_site="https://...")`` changes those settings,
    and returns the folder of the HTML and what the build said; the folder is None when the
    build failed. The first page is the root, the others its chapters.
    """

    def build(pages: dict[str, str], **settings) -> tuple[Path | None, str]:
        book = tmp_path_factory.mktemp("small") / "book"
        book.mkdir()
        for name in ("_ext", "_static", "images"):
            shutil.copytree(ROOT / "book" / name, book / name)
        shutil.copy(ROOT / "book" / "references.bib", book)
        shutil.copy(ROOT / "pyproject.toml", book.parent)  # has the version that pages show
        (book / "extra").symlink_to(ROOT / "book" / "extra")
        config = yaml.safe_load((ROOT / "book" / "_config.yml").read_text(encoding="utf-8"))
        config["sphinx"]["config"] |= settings
        (book / "_config.yml").write_text(yaml.safe_dump(config, allow_unicode=True), encoding="utf-8")
        root, *chapters = [name.rpartition(".")[0] for name in pages]
        toc = {"format": "jb-book", "root": root, "chapters": [{"file": name} for name in chapters]}
        (book / "_toc.yml").write_text(yaml.safe_dump(toc), encoding="utf-8")
        for name, text in pages.items():
            (book / name).write_text(text, encoding="utf-8")
        command = "from jupyter_book.cli.main import main; main()"
        done = subprocess.run(
            [sys.executable, "-c", command, "build", str(book), "-W", "-n", "--keep-going"],
            capture_output=True,
            text=True,
        )
        out = book / "_build" / "html"
        return (out if done.returncode == 0 else None), done.stdout + done.stderr

    return build
