"""A small Sphinx extension: every page says at its foot of which version of the book it is.

The version is typed in pyproject.toml alone; tests/test_version.py holds what has to repeat it.
"""

import tomllib
from pathlib import Path

PYPROJECT = Path(__file__).resolve().parents[2] / "pyproject.toml"
LINE = '<p class="book-version">Version {}.</p>'  # tools/publish.py looks for it


def version() -> str:
    return tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["project"]["version"]


def show_version(app, config):
    config.version = config.release = version()
    options = config.html_theme_options
    options["extra_footer"] = f"{options.get('extra_footer', '')} {LINE.format(config.version)}".strip()


def setup(app):
    app.connect("config-inited", show_version)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
