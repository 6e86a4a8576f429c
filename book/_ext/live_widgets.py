"""Widgets live in the page, without a kernel and without a widget manager.

A notebook stores the state of its widgets, front end and data included, and MyST-NB writes it
into the page. `live_widgets.js` renders from it the views of anywidgets; a view of any other
widget gets a line that says where it works. This takes the place of the html-manager (3.6 MB,
which loads require.js and complains about its own schema in the console).
"""

from pathlib import Path

SCRIPT = (Path(__file__).parent / "live_widgets.js").read_text(encoding="utf-8")
VIEW = "application/vnd.jupyter.widget-view+json"


def add_script(app, pagename, templatename, context, doctree):
    if VIEW in context.get("body", ""):
        app.add_js_file(None, body=SCRIPT)


def setup(app):
    app.connect("html-page-context", add_script)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
