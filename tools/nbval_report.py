"""A pytest plugin: a failed run of nbval ends in one HTML file that shows what changed.

    pytest -p tools.nbval_report --nbval --nbval-report build/nbval-report.html book

For each cell that failed: its chapter, the heading it stands under, its source (folded), the stored
and the new output side by side, and the command that accepts the new one. The file needs no other and
no network. A report of an earlier run is removed first, so a green run leaves none.

With pytest-xdist a worker runs the cells and another process reports: what a worker knows of a failed
cell (``cell_facts``) travels with its report, as plain values.
"""

import base64
import difflib
import html
import json
import re
import shlex
import time
from collections import Counter
from itertools import zip_longest
from pathlib import Path
from queue import Empty

import nbformat
import pytest

COLOURS = re.compile(r"\x1b\[[0-9;]*m")  # in a traceback
PICTURES = ("image/png", "image/jpeg", "image/gif", "image/svg+xml")
NOT_COMPARED = ("image/png", "image/jpeg")  # by nbval
WIDGET = "application/vnd.jupyter.widget-view+json"  # its name is chance
MOST_ROWS = 400  # of a diff; the rest is said to be there


# ---- on the process that runs the cells ----------------------------------------------


class KernelDied(Exception):
    pass


def pytest_addoption(parser):
    parser.getgroup("nbval").addoption(
        "--nbval-report", metavar="FILE", help="write failed cells to this HTML file; remove it first"
    )


def say_when_it_dies(kernel) -> None:
    """Stop waiting for a kernel that is gone: nbval would wait until the cell's time is over."""
    get_message = kernel.get_message

    def get_message_of_the_living(stream, timeout=None):
        end = None if timeout is None else time.monotonic() + timeout
        while True:
            left = 1.0 if end is None else min(1.0, end - time.monotonic())
            try:
                return get_message(stream, timeout=max(left, 0.0))
            except Empty:
                if not kernel.is_alive():
                    raise KernelDied("The kernel died while this cell ran") from None
                if end is not None and time.monotonic() >= end:
                    raise

    kernel.get_message = get_message_of_the_living


@pytest.hookimpl(trylast=True)
def pytest_runtest_setup(item):
    kernel = getattr(item.parent, "kernel", None)
    if kernel and "get_message" not in vars(kernel):
        say_when_it_dies(kernel)


def cell_facts(item, error: BaseException) -> dict:
    """What a worker knows of a cell that failed, as plain values."""
    message = str(error).strip() or type(error).__name__
    new = item.test_outputs or []
    raised = [output for output in new if output["output_type"] == "error"]
    if isinstance(error, KernelDied):
        kind = "died"
    elif message.startswith("Kernel dead"):
        kind = "after"
    elif message.startswith("Timeout"):
        kind = "timeout"
    elif message.startswith("Cell execution caused"):
        kind, message = "raised", f"It raised {raised[-1]['ename']}"
    elif message.startswith("Cell outputs differ"):
        kind, message = "differs", "Its output changed"
    else:
        kind = "other"
    clean = item.sanitize_outputs  # as nbval compares them
    facts = {"kind": kind, "message": message, "stored": clean(item.cell.outputs), "new": clean(new)}
    return json.loads(json.dumps(facts))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if not hasattr(item, "cell"):
        return report
    report.notebook = str(item.path)  # outside of the repository the report's name is no path
    if report.failed and call.excinfo is not None:
        if call.when == "setup":
            message = f"The kernel did not start: {call.excinfo.value}"
            report.cell_facts = {"kind": "setup", "message": message}
        else:
            report.cell_facts = cell_facts(item, call.excinfo.value)
    return report


# ---- on the process that reports -----------------------------------------------------


class Report:
    """Collects what failed, and writes it down when the run is over."""

    def __init__(self, config):
        self.config = config
        self.file = Path(config.option.nbval_report)
        self.cells: dict[Path, dict[int, dict]] = {}  # notebook: number of the cell: facts
        self.unread: dict[Path, str] = {}  # notebook: why it could not be read

    def pytest_sessionstart(self):
        self.file.unlink(missing_ok=True)

    def pytest_collectreport(self, report):
        if report.failed and report.nodeid.endswith(".ipynb"):
            self.unread[self.config.rootpath / report.nodeid] = str(report.longrepr)

    def pytest_runtest_logreport(self, report):
        notebook, _, cell = report.nodeid.partition("::Cell ")
        if not notebook.endswith(".ipynb") or not cell.isdecimal():
            return
        cells = self.cells.setdefault(Path(getattr(report, "notebook", self.config.rootpath / notebook)), {})
        if report.failed:
            facts = getattr(report, "cell_facts", None)
            if facts is None:  # a worker crashed, or a cell passed after one that took too long
                kind = "after" if "XPASS" in str(report.longrepr) else "other"
                facts = {"kind": kind, "message": str(report.longrepr)}
            cells.setdefault(int(cell), facts)
        elif hasattr(report, "wasxfail"):  # after one that took too long
            cells.setdefault(int(cell), {"kind": "after"})

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_sessionfinish(self):
        yield  # pytest's own last line comes first
        cells = {notebook: one for notebook, one in self.cells.items() if one}
        for one in cells.values():  # a kernel that does not start is told at every cell
            for number in sorted(number for number, facts in one.items() if facts["kind"] == "setup")[1:]:
                one[number] = {"kind": "after"}
        if cells or self.unread:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            page = whole_page(self.config.rootpath, cells, self.unread)
            self.file.write_text(page, encoding="utf-8")
            self.config.get_terminal_writer().line(f"What changed: {self.file.resolve().as_uri()}")


def pytest_configure(config):
    if config.option.nbval_report and not hasattr(config, "workerinput"):
        config.pluginmanager.register(Report(config), "nbval-report-file")


# ---- what a page says of a notebook ----------------------------------------------------


def places(path: Path) -> tuple[str, list[dict]]:
    """A notebook's title, and of each code cell the headings above it, its source and its count."""
    notebook = nbformat.read(path, as_version=4)
    trail: dict[int, str] = {}
    title, found = "", []
    for cell in notebook.cells:
        if cell.cell_type == "code":
            above = [text for level, text in sorted(trail.items()) if level > 1]
            found.append({"above": above, "source": cell.source, "count": cell.execution_count})
            continue
        fenced = False
        for line in cell.source.splitlines() if cell.cell_type == "markdown" else []:
            fenced ^= line.lstrip().startswith(("```", "~~~"))
            heading = re.match(r"(#{1,6})\s+(.*?)\s*#*$", line)
            if heading and not fenced:
                level = len(heading[1])
                trail = {above: text for above, text in trail.items() if above < level} | {level: heading[2]}
                title = title or heading[2]
    return title or path.stem, found


def by_kind(outputs: list[dict]) -> dict[str, list[str]]:
    """The outputs' texts and pictures by their kind, as nbval compares them."""
    kinds: dict[str, list[str]] = {}
    for output in outputs:
        if output["output_type"] == "stream":
            kinds.setdefault(output["name"], []).append(output["text"])
        elif output["output_type"] == "error":
            frames = COLOURS.sub("", "\n".join(output["traceback"]))
            kinds.setdefault("error", []).append(f"{output['ename']}: {output['evalue']}\n\n{frames}")
        else:
            for kind, data in output.get("data", {}).items():
                text = data if isinstance(data, str) else json.dumps(data, indent=1, sort_keys=True)
                kinds.setdefault(kind, []).append(text)
    for name in {"stdout", "stderr"} & kinds.keys():  # how a stream was split is chance
        kinds[name] = ["".join(kinds[name])]
    return kinds


def marked(old: str, new: str) -> tuple[str, str]:
    """Two lines as HTML, with what one has and the other has not marked."""
    words = [re.findall(r"[\w.]+|\s+|.", line) for line in (old, new)]
    left = right = ""
    for how, a, b, c, d in difflib.SequenceMatcher(None, *words, autojunk=False).get_opcodes():
        gone, come = html.escape("".join(words[0][a:b])), html.escape("".join(words[1][c:d]))
        left += gone if how == "equal" or not gone else f"<del>{gone}</del>"
        right += come if how == "equal" or not come else f"<ins>{come}</ins>"
    return left, right


def text_diff(old: str | None, new: str | None) -> str:
    """Two texts side by side, what is alike left out but for three lines around a change."""
    lines = [(text or "").splitlines() for text in (old, new)]
    rows = []
    for group in difflib.SequenceMatcher(None, *lines, autojunk=False).get_grouped_opcodes(3):
        if rows or group[0][1] or group[0][3]:
            rows.append('<p class="gap">lines that are alike are left out</p>')
        for how, a, b, c, d in group:
            for left, right in zip_longest(lines[0][a:b], lines[1][c:d]):
                if how == "equal":
                    same = html.escape(left)
                    rows.append(f'<div class="row"><pre>{same}</pre><pre class="again">{same}</pre></div>')
                    continue
                both = marked(left, right) if left is not None and right is not None else None
                gone, come = both or (left and html.escape(left), right and html.escape(right))
                rows.append(
                    '<div class="row">'
                    + ('<pre class="void"></pre>' if left is None else f'<pre class="old">{gone}</pre>')
                    + ('<pre class="void"></pre>' if right is None else f'<pre class="new">{come}</pre>')
                    + "</div>"
                )
    if len(rows) > MOST_ROWS:
        left_out = len(rows) - MOST_ROWS
        rows = rows[:MOST_ROWS] + [f'<p class="gap">and {left_out} lines more</p>']
    return f'<div class="diff">{"".join(rows)}</div>'


def picture(kind: str, data: str | None, what: str) -> str:
    if data is None:
        return f'<figure><p class="none">no picture</p><figcaption>{what}</figcaption></figure>'
    if kind == "image/svg+xml":  # as an image, in which no script runs
        data = base64.b64encode(data.encode()).decode()
    source = f"data:{kind};base64,{''.join(data.split())}"
    return f'<figure><img src="{source}" alt="{what} picture"><figcaption>{what}</figcaption></figure>'


def compared(kind: str, old: str | None, new: str | None) -> str:
    """One output of a kind, as stored and as it came."""
    name = "printed" if kind == "stdout" else kind
    if old is None:
        name += ": was not there"
    elif new is None:
        name += ": did not come"
    if kind in PICTURES:
        same = old is not None and new is not None and old.split() == new.split()
        if same:
            name += ": the same"
        elif kind in NOT_COMPARED:
            name += ", not compared by nbval"
        pair = picture(kind, old, "stored") + picture(kind, new, "new")
        text = ""
        if kind == "image/svg+xml" and not same:  # compared as text: what differs may not be seen
            text = f"<details><summary>The same as text</summary>{text_diff(old, new)}</details>"
        return f'<h4>{html.escape(name)}</h4><div class="pair">{pair}</div>{text}'
    if old == new:
        return (
            f"<details><summary>{html.escape(name)}: the same</summary>"
            f'<pre class="code">{html.escape(old or "")}</pre></details>'
        )
    return f"<h4>{html.escape(name)}</h4>{text_diff(old, new)}"


def outputs_side_by_side(stored: list[dict], new: list[dict]) -> str:
    old_kinds, new_kinds = by_kind(stored), by_kind(new)
    parts = []
    for kind in dict.fromkeys([*old_kinds, *new_kinds]):  # as they came
        if kind != WIDGET:
            pairs = zip_longest(old_kinds.get(kind, []), new_kinds.get(kind, []))
            parts += [compared(kind, old, new) for old, new in pairs]
    if not parts:
        return '<p class="none">No output, neither stored nor new.</p>'
    heads = '<div class="heads" aria-hidden="true"><span>stored</span><span>new</span></div>'
    return heads + "".join(parts)


def shown(root: Path, notebook: Path) -> str:
    """How a command names a notebook from the repository's root."""
    inside = notebook.is_relative_to(root)
    return notebook.relative_to(root).as_posix() if inside else str(notebook)


def command(text: str) -> str:
    return f'<pre class="command">{html.escape(text)}</pre>'


NOTHING_TO_ACCEPT = {
    "timeout": "a cell that was stopped has no result. Make it faster",
    "died": "the kernel is gone, often for want of memory. Mend the cell",
    "setup": "no cell has run. Set up anew (<code>make setup</code>)",
    "raised": "<code>make notebooks</code> would stop here too. Mend the code (or, where the error is meant, "
    "give the cell the tag <code>raises-exception</code>)",
    "other": "see what was said. Mend it",
}


def advice(facts: dict, name: str, only_differs: bool) -> str:
    """What to do about a cell, with the command."""
    given = shlex.quote(name)
    if facts["kind"] != "differs":
        what = f"Nothing to accept: {NOTHING_TO_ACCEPT[facts['kind']]}, then look again:"
        return f"<p>{what}</p>" + command(f"make nbval NB={given}")
    first = "" if only_differs else " First mend what else failed in this notebook."
    what = f"If the new output is right, this runs the whole notebook and accepts it.{first}"
    return f"<p>{what}</p>" + command(f"make notebooks NB={given}")


def cell_part(number: int, place: dict, facts: dict, what_to_do: str) -> str:
    above = " › ".join(html.escape(text) for text in place["above"]) or "before the first heading"
    count = place["count"]
    title = f"Cell [{count}]" if count is not None else f"Cell {number}, not run"
    lines = len(place["source"].splitlines())
    many = "1 line" if lines == 1 else f"{lines} lines"
    body = f'<p class="where">{above}</p><h3>{title}: {html.escape(facts["message"])}</h3>'
    body += (
        f"<details><summary>The cell, {many}</summary>"
        f'<pre class="code">{html.escape(place["source"])}</pre></details>'
    )
    if "new" in facts:
        body += outputs_side_by_side(facts["stored"], facts["new"])
    return f'<section class="cell">{body}{what_to_do}</section>'


def notebook_part(root: Path, notebook: Path, cells: dict[int, dict]) -> str:
    given = shown(root, notebook)
    title, found = places(notebook)
    parts, after = [], 0
    only_differs = {facts["kind"] for facts in cells.values()} == {"differs"}
    for number in sorted(cells):
        facts = cells[number]
        if facts["kind"] == "after":
            after += 1
        else:
            parts.append(cell_part(number, found[number], facts, advice(facts, given, only_differs)))
    if after:
        what = "cell after it was" if after == 1 else "cells after it were"
        parts.append(f'<p class="after">{after} {what} not judged.</p>')
    return (
        f"<article><h2>{html.escape(title)}</h2>"
        f'<p class="file">{html.escape(given)}</p>{"".join(parts)}</article>'
    )


def unread_part(root: Path, notebook: Path, why: str) -> str:
    given = shown(root, notebook)
    reason = COLOURS.sub("", why).strip().splitlines()
    return (
        f'<article><h2>{html.escape(given)}</h2><section class="cell">'
        f"<h3>The notebook could not be read</h3><p>{html.escape(reason[-1] if reason else '')}</p>"
        f'<details><summary>What was said</summary><pre class="code">{html.escape(why)}</pre></details>'
        "<p>No notebook was run. What changed in the file since the last commit:</p>"
        + command(f"git diff --stat -- {shlex.quote(given)}")
        + "</section></article>"
    )


def whole_page(root: Path, cells: dict[Path, dict[int, dict]], unread: dict[Path, str]) -> str:
    kinds = Counter(facts["kind"] for one in cells.values() for facts in one.values())
    failed = sum(kinds.values()) - kinds["after"]
    notebooks = len(cells) + len(unread)
    many = f"{failed} cell{'s' if failed != 1 else ''} in {notebooks} notebook{'s' if notebooks != 1 else ''}"
    parts = [unread_part(root, name, why) for name, why in sorted(unread.items())]
    parts += [notebook_part(root, name, one) for name, one in sorted(cells.items())]
    changed = [
        shown(root, name)
        for name, one in sorted(cells.items())
        if {facts["kind"] for facts in one.values()} == {"differs"}
    ]
    together = ""
    if len(changed) > 1:
        names = shlex.quote(" ".join(changed))
        together = "<p>Notebooks in which nothing but output changed, all at once:</p>" + command(
            f"make notebooks NB={names}"
        )
    intro = (
        f"<h1>What changed</h1><p>{many} did not give what the notebook stores. What is stored is marked "
        "with −, what came with +.</p>"
        if failed
        else "<h1>What changed</h1><p>A notebook could not be read.</p>"
    )
    return PAGE.format(
        style=STYLE, when=time.strftime("%Y-%m-%d %H:%M"), intro=intro + together, parts="".join(parts)
    )


PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<link rel="icon" href="data:,">
<title>nbval: what changed</title>
<style>{style}</style>
</head>
<body>
<main>
{intro}
{parts}
<p class="when">Run of {when}.</p>
</main>
</body>
</html>
"""

STYLE = """
:root { --ink: #1b1f24; --soft: #57606a; --line: #d8dee4; --tint: #f6f8fa; --paper: #fff;
  --old: #fdeceb; --old-ink: #7a1a12; --old-word: #f6c3bf; --new: #e6f5ea; --new-ink: #0f4d22;
  --new-word: #a9dfb9; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e3e7ec; --soft: #a3adb8; --line: #39424c; --tint: #1c232b; --paper: #12161b;
    --old: #351d1c; --old-ink: #f5c0ba; --old-word: #6b2c27; --new: #17301f; --new-ink: #b3e6c2;
    --new-word: #22592f; }
}
* { box-sizing: border-box; }
body { background: var(--paper); color: var(--ink); line-height: 1.5; margin: 0;
  font-family: system-ui, -apple-system, "Segoe UI", Roboto, "Liberation Sans", Arial, sans-serif; }
main { margin: 0 auto; max-width: 80rem; padding: 1.5rem clamp(0.75rem, 3vw, 2.5rem); }
h1 { font-size: 1.9rem; margin: 0 0 0.5rem; }
h2 { border-top: 2px solid var(--ink); font-size: 1.4rem; margin: 2.5rem 0 0; padding-top: 0.6rem; }
h3 { font-size: 1.1rem; margin: 0.1rem 0 0.75rem; overflow-wrap: anywhere; }
h4 { color: var(--soft); font-size: 0.85rem; margin: 1rem 0 0.3rem; }
pre, code { font-family: ui-monospace, "SF Mono", Menlo, Consolas, "Liberation Mono", monospace;
  font-size: 0.82rem; }
pre { margin: 0; white-space: pre-wrap; overflow-wrap: anywhere; }
.file, .where, .when, .after, .none { color: var(--soft); font-size: 0.9rem; margin: 0.2rem 0; }
.file { font-family: ui-monospace, Menlo, Consolas, "Liberation Mono", monospace; overflow-wrap: anywhere; }
.cell { border: 1px solid var(--line); border-radius: 6px; margin: 1.25rem 0; padding: 0.9rem 1rem; }
summary { color: var(--soft); cursor: pointer; font-size: 0.9rem; }
summary:focus-visible { outline: 2px solid currentcolor; outline-offset: 2px; }
.code, .command { background: var(--tint); border-radius: 4px; padding: 0.6rem 0.75rem; }
.command { border-left: 3px solid var(--ink); user-select: all; }
.heads, .row, .pair { display: grid; gap: 0 0.6rem; grid-template-columns: 1fr 1fr; }
.heads { color: var(--soft); font-size: 0.85rem; margin-top: 1rem; }
.diff { border: 1px solid var(--line); border-radius: 4px; padding: 0.3rem 0; }
.row > pre { min-height: 1.5em; min-width: 0; padding: 0 0.6rem 0 1.5rem; text-indent: -0.9rem; }
.row > pre::before { content: " "; display: inline-block; text-indent: 0; width: 0.9rem; }
.row > .old { background: var(--old); color: var(--old-ink); }
.row > .new { background: var(--new); color: var(--new-ink); }
.row > .old::before { content: "\\2212"; }
.row > .new::before { content: "+"; }
del, ins { border-radius: 2px; text-decoration: none; }
del { background: var(--old-word); }
ins { background: var(--new-word); }
.gap { color: var(--soft); font-size: 0.8rem; margin: 0; padding: 0.1rem 0.6rem; }
figure { border: 1px solid var(--line); border-radius: 4px; margin: 0; min-width: 0; }
figure img { background: #fff; border-radius: 4px 4px 0 0; display: block; height: auto; width: 100%; }
figure .none { padding: 2rem; text-align: center; }
figcaption { color: var(--soft); font-size: 0.8rem; padding: 0.2rem 0.6rem; }
@media (max-width: 45rem) {
  .heads { display: none; }
  .row, .pair { gap: 0.4rem; grid-template-columns: 1fr; }
  .row { gap: 0; }
  .row > .again, .row > .void { display: none; }
  .cell { padding: 0.7rem 0.6rem; }
}
"""
