"""A small Sphinx extension: where the book lives, and what search engines and link previews read.

The addresses stand in one place, book/_config.yml:

book_repository  https address of the repository; with it come the buttons for Binder, Colab
                 and the repository, and the first cell of the notebooks (make normalise)
book_branch      the branch that they use
book_site        address at which the pages are served; with it come canonical links,
                 a picture in link previews, and the prefix of the 404 page's links
book_picture     the picture of link previews
"""

import re
import shutil
from html import escape
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from docutils import nodes
from sphinx.errors import ConfigError

SHORTEST, LONGEST = 50, 160  # characters of a description
# Pages without a paragraph of prose.
WITHOUT_PROSE = {
    "glossary": "The terms of the book in alphabetical order, each explained in a sentence or two.",
    "references": "The papers, lectures and documentation that the book leans on, with links to them.",
    "search": "Search all chapters of the book, offline as well: names, layers, terms and figures.",
    "genindex": "All terms of the book in alphabetical order, each with a link to its definition.",
    "404": "There is no page at this address. The start page and the search lead on from here.",
}


def set_addresses(app, config):
    """Turn the addresses into the settings of theme and extensions."""
    for name in ("book_repository", "book_site"):
        if config[name] and not config[name].startswith("https://"):
            raise ConfigError(f"{name} must begin with https://, not {config[name]!r}")
    repository = config.book_repository.removesuffix("/").removesuffix(".git")
    if repository:
        launch = {"binderhub_url": "https://mybinder.org", "notebook_interface": "jupyterlab"}
        if urlsplit(repository).hostname == "github.com":  # the only host that Colab opens
            launch["colab_url"] = "https://colab.research.google.com"
        config.html_theme_options |= {
            "repository_url": repository,
            "repository_branch": config.book_branch,
            "path_to_docs": "book",
            "use_repository_button": True,
            "launch_buttons": launch,
        }
    site = config.book_site.rstrip("/") + "/" if config.book_site else ""
    prefix = urlsplit(site).path or "/"
    config.html_baseurl = site
    config.notfound_urls_prefix = prefix
    config.notfound_context = {
        "title": "Page not found",
        "body": (
            "<h1>Page not found</h1><p>There is no page at this address. It may have moved.</p>"
            f'<ul><li><a href="{prefix}index.html">To the start of the book</a></li>'
            f'<li><a href="{prefix}search.html">Search the book</a></li></ul>'
        ),
    }


def shortened(text: str) -> str:
    """As many whole sentences as fit into a description, or else as many words."""
    text = " ".join(text.split())
    if len(text) <= LONGEST:
        return text
    ends = [match.start() + 1 for match in re.finditer(r"[.?!](?= )", text[: LONGEST + 1])]
    if ends and ends[-1] >= SHORTEST:
        return text[: ends[-1]]
    return text[: LONGEST - 1].rsplit(" ", 1)[0].rstrip(" ,;:") + "…"


def own_description(doctree) -> str:
    """The page's first paragraphs, not those in boxes, figures or tables."""
    text = ""
    for paragraph in doctree.findall(nodes.paragraph):
        if isinstance(paragraph.parent, (nodes.section, nodes.document)):
            text = f"{text} {paragraph.astext()}".strip()
            if len(text) >= SHORTEST:
                break
    return shortened(text)


def describe(app, pagename, templatename, context, doctree):
    """Add the description and the link preview to a page's head."""
    config = app.config
    is_start = pagename == config.root_doc
    metas = doctree.findall(nodes.meta) if doctree else []
    stated = [meta["content"] for meta in metas if meta.get("name") == "description"]
    prose = own_description(doctree) if doctree else ""
    description = stated[0] if stated else prose or WITHOUT_PROSE.get(pagename, "")
    title = re.sub(r"<[^>]*>", "", context.get("title") or pagename.title())
    tags = {
        "og:title": title,
        "og:type": "website" if is_start else "article",
        "og:site_name": config.html_title,
    }
    if description:
        tags["og:description"] = description
    if config.book_site:
        picture = PurePosixPath(config.book_picture).name
        tags["og:url"] = config.html_baseurl + app.builder.get_target_uri(pagename)
        tags["og:image"] = f"{config.html_baseurl}_images/{picture}"
    head = [f'<meta property="{name}" content="{escape(text)}" />' for name, text in tags.items()]
    if description and not stated:
        head.insert(0, f'<meta name="description" content="{escape(description)}" />')
    context["metatags"] = context.get("metatags", "") + "\n" + "\n".join(head)


def bring_picture(app, exception):
    """The picture of link previews, which no page need show."""
    if not exception and app.builder.format == "html" and app.config.book_picture:
        picture = Path(app.srcdir) / app.config.book_picture
        images = Path(app.outdir) / "_images"
        images.mkdir(exist_ok=True)
        shutil.copy(picture, images)


def setup(app):
    for name, default in {
        "book_repository": "",
        "book_branch": "main",
        "book_site": "",
        "book_picture": "",
    }.items():
        app.add_config_value(name, default, "html", str)
    app.connect("config-inited", set_addresses, priority=100)
    app.connect("html-page-context", describe)
    app.connect("build-finished", bring_picture)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
