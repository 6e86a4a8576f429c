"""A small Sphinx extension: chapters and their figures are numbered within their part.

Sphinx numbers the figures of all fifth chapters in one row, so that part two's chapter 5 would begin
with "Fig. 5.4"; here each page begins anew. And a chapter's title says which part it is in, since two
chapters have its number: "Part one, 5".
"""

import re
from html import escape

TITLE = re.compile(r'<h1><span class="section-number">(\d+)\. ?</span>')


def number_figures_by_page(app, env):
    """Shift the numbers of a page's figures, exercises and so on, so that each kind begins at 1."""
    for kinds in env.toc_fignumbers.values():
        for kind, numbers in kinds.items():
            first = min((number[-1] for number in numbers.values()), default=1)
            kinds[kind] = {name: (*number[:-1], number[-1] - first + 1) for name, number in numbers.items()}
    return []


def part_of(app, pagename) -> str:
    """The part of a numbered chapter, by the first words of its caption: "Part one · WaveNet"."""
    site = app.config.external_site_map
    for part in site[app.config.root_doc].subtrees:
        if part.caption and part.numbered and pagename in part.files():
            return part.caption.partition(" · ")[0]
    return ""


def name_the_part(app, pagename, templatename, context, doctree):
    """Write the part before the number in a chapter's title."""
    part = part_of(app, pagename)
    if part and "body" in context:
        title = rf'<h1><span class="section-number part-number">{escape(part)}, \1 </span>'
        context["body"] = TITLE.sub(title, context["body"], count=1)


def setup(app):
    app.connect("env-get-updated", number_figures_by_page, priority=900)  # after Sphinx has numbered them
    app.connect("html-page-context", name_the_part)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
