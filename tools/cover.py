"""The cover: the letters of a name, fused pair by pair into a guess at the next.

    .venv/bin/python tools/cover.py

It writes the drawing of the start page, between two markers of book/index.md, and draws
book/images/cover.png, the card for link previews, with the Chromium of this machine.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import browser

ROOT = Path(__file__).resolve().parent.parent
START = ROOT / "book" / "index.md"
TITLE, SUBTITLE = "WaveNet, one layer at a time", "A course in executable PyTorch notebooks"
NAME, BEFORE = "charlotte", 3  # the last letter is predicted; so many dots stand before the first
STEP, RISE, LEFT, BOTTOM = 52, 68, 34, 268  # between columns, between levels; the first column, the letters
CARD = ROOT / "book" / "images" / "cover.png"
COLORS = {
    "--cover-ink": "#1b1f24",
    "--cover-soft": "#57606a",
    "--cover-line": "#d8dee4",
    "--aid-blue": "#0072b2",
    "--aid-red": "#d55e00",
}


def block() -> str:
    """The picture as it stands on the start page."""
    return f"\n```{{raw}} html\n{art()}\n```\n"


def art() -> str:
    """The picture as SVG. Its colours are CSS variables, so that it follows the page's theme."""
    context, target = NAME[:-1], NAME[-1]
    columns, levels = BEFORE + len(context), (len(context) - 1).bit_length()
    # in the tree: every node that the last one rests on, counted back from the last letter
    tree = {level: range(columns - 1, BEFORE - 1, -(2**level)) for level in range(levels + 1)}
    faint, lit, nodes = [], {level: [] for level in range(1, levels + 1)}, {True: [], False: []}
    for level in range(1, levels + 1):
        for node in range(columns):
            inside = node in tree[level]
            for child in (node - 2 ** (level - 1), node):
                if child >= 0:
                    (lit[level] if inside else faint).append(_edge(child, node, level))
            kind = ("top" if level == levels else "lit") if inside else "faint"
            size = 5 + 3 * level if inside else 3
            circle = f'<circle class="cover-{kind}" cx="{_x(node)}" cy="{_y(level)}" r="{size}"/>'
            nodes[inside].append(circle)
    x, y = _x(columns), BOTTOM
    top_x, top_y = _x(columns - 1), _y(levels)
    guess = f"M{top_x + 18} {top_y}C{x} {top_y} {x} {top_y + 40} {x} {y - 52}"
    label = (
        f"The letters of {context} stand in a row. Lines fuse them two at a time, level by level, into one "
        f"node. From it a dotted arrow leads to the letter that comes next: {target}."
    )
    return "\n".join(
        [
            f'<svg class="cover" viewBox="0 0 {x + LEFT} {y + 24}" role="img" aria-label="{label}">',
            f'<path class="cover-lattice" d="{"".join(faint)}"/>',
            *(f'<path class="cover-edge cover-edge-{level}" d="{"".join(lit[level])}"/>' for level in lit),
            *nodes[False],
            *nodes[True],
            *(_letter("cover-dot", column, "·") for column in range(BEFORE)),
            *(_letter("cover-letter", BEFORE + i, letter) for i, letter in enumerate(context)),
            f'<path class="cover-guess" d="{guess}"/>',
            f'<path class="cover-arrow" d="M{x - 6} {y - 54}h12l-6 9z"/>',
            f'<circle class="cover-ring" cx="{x}" cy="{y - 9}" r="24"/>',
            _letter("cover-letter cover-next", columns, target),
            "</svg>",
        ]
    )


def _x(column: int) -> int:
    return LEFT + STEP * column


def _y(level: int) -> int:
    return BOTTOM - 40 - RISE * level if level else BOTTOM - 34


def _edge(child: int, parent: int, level: int) -> str:
    (a, b), (c, d) = (_x(child), _y(level - 1)), (_x(parent), _y(level))
    return f"M{a} {b}C{a} {(b + d) / 2:g} {c} {(b + d) / 2:g} {c} {d}"


def _letter(kind: str, column: int, letter: str) -> str:
    return f'<text class="{kind}" x="{_x(column)}" y="{BOTTOM}" text-anchor="middle">{letter}</text>'


def card(style: str) -> str:
    """The card for link previews, a page of 1200 by 630 pixels; `style` is the book's for the picture."""
    colors = ";".join(f"{name}:{value}" for name, value in COLORS.items())
    return (
        f"<!doctype html><meta charset=utf-8><style>{style}\n:root{{{colors}}}"
        "body{margin:0;width:1200px;height:630px;background:#fff;color:#1b1f24;box-sizing:border-box;"
        "padding:56px 72px;font-family:system-ui,sans-serif}"
        "h1{font-size:66px;letter-spacing:-.02em;margin:0}p{font-size:30px;color:#57606a;margin:14px 0 0}"
        "svg.cover{position:absolute;left:172px;bottom:34px;width:856px;margin:0}</style>"
        f"<h1>{TITLE}</h1><p>{SUBTITLE}</p>{art()}"
    )


def with_picture(page: str) -> str:
    """The start page with today's picture between its markers. ValueError for a page without both."""
    begin, end = "<!-- cover -->", "<!-- end of cover -->"
    head, _, rest = page.partition(begin)
    _, found, tail = rest.partition(end)
    if not found:
        raise ValueError(f"expected {begin} and, after it, {end}")
    return f"{head}{begin}\n{block()}\n{end}{tail}"


def main(arguments: Sequence[str] = ()) -> int:
    """Both are made before either is written."""
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args(list(arguments))
    try:
        start = with_picture(START.read_text(encoding="utf-8"))
        style = (ROOT / "book" / "_static" / "aids.css").read_text(encoding="utf-8")
        with browser.started() as chromium:
            page = chromium.new_page(viewport={"width": 1200, "height": 630})
            page.set_content(card(style))
            drawn = page.screenshot()
    except (OSError, ValueError) as error:
        print(f"error: {error}; the drawing and the card stay as they are", file=sys.stderr)
        return 2
    START.write_text(start, encoding="utf-8")
    CARD.write_bytes(drawn)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
