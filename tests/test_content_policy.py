"""book/_ext/content_policy.py: what a page may run is what it was built with."""

import base64
import hashlib
import sys
from pathlib import Path

import pytest
from bs4 import BeautifulSoup

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "book" / "_ext"))
import content_policy  # noqa: E402

PAGE = """<html><head><meta charset="utf-8"/>
<script>first()</script>
<script type="text/javascript" src="a.js"></script>
<script type="application/json">{"a": 1}</script>
<script type="application/javascript">second()</script>
<script data-type="text/x" type="module">
 third("<p onclick='x'>")
</script></head><body><p>a &lt;b onload="x"</p></body></html>"""
SCRIPTS = ["first()", "second()", "\n third(\"<p onclick='x'>\")\n"]


def parsed(text):
    return BeautifulSoup(text, "html.parser")


def hashed(text):
    return "'sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() + "'"


def allowed(page, directive="script-src"):
    (meta,) = page.select('meta[http-equiv="Content-Security-Policy"]')
    parts = [part.split() for part in meta["content"].split(";")]
    return {name: set(sources) for name, *sources in parts}[directive]


def test_a_policy_names_each_script_that_runs_and_no_data():
    page = parsed(PAGE)
    content_policy.state_policy(page)
    assert content_policy.inline_scripts(page) == SCRIPTS
    assert allowed(page) == {"'self'", "file:", "blob:", *map(hashed, SCRIPTS)}
    assert allowed(page, "default-src") == {"'self'", "file:"} and allowed(page, "object-src") == {"'none'"}


def test_the_policy_stands_before_all_that_it_holds_for_and_changes_nothing_else():
    page = parsed(PAGE)
    content_policy.state_policy(page)
    once = str(page)
    assert once.index("Content-Security-Policy") < once.index("<script")
    content_policy.state_policy(page)  # a second build of the same page
    assert str(page) == once
    page.select_one('meta[http-equiv="Content-Security-Policy"]').decompose()
    assert str(page) == str(parsed(PAGE))


def test_a_page_without_a_script_has_a_policy_too():
    page = parsed('<head><meta charset="utf-8"></head>')
    content_policy.state_policy(page)
    assert allowed(page) == {"'self'", "file:", "blob:"}


@pytest.mark.parametrize(
    "page, told",
    [
        ("<html><head></head></html>", "expected a <meta charset>"),
        ('<head><meta charset="utf-8"/></head><p class="a" onclick="x()">', "would not run: <p onclick=...>"),
        ("<head><meta charset='utf-8'/></head><b ONLOAD = x>", "would not run: <b onload=...>"),
    ],
)
def test_what_the_policy_would_break_is_named(page, told):
    with pytest.raises(ValueError, match=told):
        content_policy.state_policy(parsed(page))
