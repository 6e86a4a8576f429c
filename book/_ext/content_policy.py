"""What a browser may load and run in a page: its content security policy, which stands in the page itself.

So it holds from file:// and on any server. A script runs if it is a file (of the server that the page comes
from, or of the machine that it lies on), or if the page was built with it: then its hash is in the policy.
What a reader types and what a list of names holds is inserted as text; were a tag to get through one day,
the browser would refuse to run what is in it, and to load or fetch anything from another server.

``file:`` is written out, for some browsers take ``'self'`` for no file at all. ``blob:`` is needed for the
front ends of widgets, which a page keeps as text (live_widgets.js), and for sound. Styles may stand in a
page and in attributes: figures, formulas, widgets and the theme use them.
"""

import base64
import hashlib
from collections.abc import Iterable

POLICY = "; ".join([
    "default-src 'self' file:",
    "script-src 'self' file: blob:{scripts}",
    "style-src 'self' file: 'unsafe-inline'",
    "img-src 'self' file: data: blob:",
    "media-src 'self' file: data: blob:",
    "object-src 'none'",
    "frame-src 'none'",
    "worker-src 'none'",
    "base-uri 'none'",
    "form-action 'self' file:",
])  # fmt: skip
META = "Content-Security-Policy"
RUNS = {None, "", "text/javascript", "application/javascript", "module", "importmap"}  # other types are data


def inline_scripts(page) -> list[str]:
    """The texts of a parsed page that a browser would run."""
    return [tag.string for tag in page.find_all("script", src=None) if tag.get("type") in RUNS and tag.string]


def policy(scripts: Iterable[str]) -> str:
    """What a page may load and run, its own scripts by their SHA-256."""
    digests = sorted({hashlib.sha256(text.encode("utf-8")).digest() for text in scripts})
    return POLICY.format(scripts="".join(f" 'sha256-{base64.b64encode(d).decode()}'" for d in digests))


def state_policy(page) -> None:
    """Write its policy into a parsed page that is finished, before all that it holds for.

    ValueError for a page that has no place for it, and for a handler in an attribute, which it would stop.
    """
    for old in page.select(f'meta[http-equiv="{META}"]'):
        old.decompose()
    handlers = [
        f"<{tag.name} {name}=...>" for tag in page.find_all(True) for name in tag.attrs if name[:2] == "on"
    ]
    if handlers:
        raise ValueError(f"code in an attribute would not run: {', '.join(handlers)}")
    place = page.select_one("head > meta[charset]")
    if place is None:
        raise ValueError("expected a <meta charset> in the page's head: its policy goes behind it")
    said = {"http-equiv": META, "content": policy(inline_scripts(page))}
    place.insert_after(page.new_tag("meta", attrs=said))
