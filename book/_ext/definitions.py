"""A small Sphinx extension: a link to a term of the glossary carries the term's definition.

book/_static/book.js shows it on hover and on focus, with tippy.js from tools/vendor.py. The
definition is plain text in the link itself, so it needs no request and cannot go stale.
"""

import re
from html import escape

from docutils import nodes

TERM_LINK = re.compile(
    r'<a class="reference internal" (?=href="[^"]*#(?P<id>term-[^"]+)"[^>]*><span class="xref std std-term")'
)


def definitions(env) -> dict[str, str]:
    """Anchor of every term of the glossary -> its definition."""
    found = {}
    pages = {page for _, _, kind, page, _, _ in env.get_domain("std").get_objects() if kind == "term"}
    for page in pages:
        for item in env.get_doctree(page).findall(nodes.definition_list_item):
            text = "\n".join(part.astext() for part in item.findall(nodes.paragraph))
            for term in item.findall(nodes.term):
                found |= dict.fromkeys(term["ids"], text)
    return found


def define(app, pagename, templatename, context, doctree):
    if "std-term" not in context.get("body", ""):
        return
    known = definitions(app.env)

    def with_definition(link: re.Match) -> str:
        return f'{link[0]}data-definition="{escape(known[link["id"]])}" ' if link["id"] in known else link[0]

    context["body"] = TERM_LINK.sub(with_definition, context["body"])


def setup(app):
    app.connect("html-page-context", define)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
