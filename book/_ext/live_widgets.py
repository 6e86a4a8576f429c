"""Widgets live in the page, without a kernel and without a widget manager.

A notebook stores the state of its widgets, front end and data included, and MyST-NB writes it
into the page. `live_widgets.js` renders from it the views of anywidgets; a view of any other
widget gets a line that says where it works, and without JavaScript each of them gets one that
says what is missing. This takes the place of the html-manager (3.6 MB, which loads require.js and
complains about its own schema in the console).
"""

import json
import re
from pathlib import Path

from myst_nb.sphinx_ import NbMetadataCollector

SCRIPT = (Path(__file__).parent / "live_widgets.js").read_text(encoding="utf-8")
VIEW = "application/vnd.jupyter.widget-view+json"
STATE = "application/vnd.jupyter.widget-state+json"
SHOWN = re.compile(rf'<script type="{re.escape(VIEW)}">(.*?)</script>', re.DOTALL)
NEEDS_SCRIPTS = "To play with this, switch JavaScript on in this browser. The text and the figures need none."
NEEDS_KERNEL = "This control talks to Python. It comes alive when the notebook runs in JupyterLab."


def add_script(app, pagename, templatename, context, doctree):
    body = context.get("body", "")
    if VIEW not in body:
        return
    app.add_js_file(None, body=SCRIPT)
    states = {}
    for _, script in NbMetadataCollector.get_js_files(app.env, pagename).values():
        if script.get("type") == STATE:
            states |= json.loads(script["body"])["state"]

    def with_line(view: re.Match) -> str:
        widget = states.get(json.loads(view[1])["model_id"], {})
        line = NEEDS_SCRIPTS if "_esm" in widget.get("state", {}) else NEEDS_KERNEL
        return f'{view[0]}<noscript><p class="needs-kernel">{line}</p></noscript>'

    context["body"] = SHOWN.sub(with_line, body)


def setup(app):
    app.connect("html-page-context", add_script)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
