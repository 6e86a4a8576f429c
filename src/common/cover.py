"""The cover: the letters of a name, fused pair by pair into a guess at the next.

    python -m common.cover      draw book/images/cover.png, the card for link previews, anew

The picture on the start page stands between two markers of book/index.md and is written by
`python -m common results`. The card needs a Chromium on this machine, and playwright.
"""

import shutil
import sys
from pathlib import Path

from .provenance import ROOT

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
    """The picture as it stands in book/index.md."""
    return f"\n```{{raw}} html\n{art()}\n```\n"


def art() -> str:
    """The picture as SVG. Its colours are CSS variables, so that it follows the page's theme."""
    context, target = NAME[:-1], NAME[-1]
    columns, levels = BEFORE + len(context), (len(context) - 1).bit_length()
    x_of = lambda column: LEFT + STEP * column  # noqa: E731
    y_of = lambda level: BOTTOM - 40 - RISE * level if level else BOTTOM - 34  # noqa: E731

    def edge(child, parent, level):
        (a, b), (c, d) = (x_of(child), y_of(level - 1)), (x_of(parent), y_of(level))
        middle = (b + d) / 2
        return f"M{a} {b}C{a} {middle:g} {c} {middle:g} {c} {d}"

    # In the tree: every node that the last one rests on, counted back from the last letter.
    tree = {level: range(columns - 1, BEFORE - 1, -(2**level)) for level in range(levels + 1)}
    faint, lit, nodes = [], {level: [] for level in range(1, levels + 1)}, []
    for level in range(1, levels + 1):
        for node in range(columns):
            inside = node in tree[level]
            for child in (node - 2 ** (level - 1), node):
                if child >= 0:
                    (lit[level] if inside else faint).append(edge(child, node, level))
            kind = "top" if level == levels and inside else "lit" if inside else "faint"
            size = 5 + 3 * level if inside else 3
            nodes.append((inside, f'<circle class="cover-{kind}" cx="{x_of(node)}" cy="{y_of(level)}" r="{size}"/>'))
    letters = "".join(
        f'<text class="{"cover-letter" if column >= BEFORE else "cover-dot"}" x="{x_of(column)}" y="{BOTTOM}" '
        f'text-anchor="middle">{letter}</text>'
        for column, letter in enumerate("·" * BEFORE + context)
    )
    x, y = x_of(columns), BOTTOM
    top = x_of(columns - 1), y_of(levels)
    guess = f"M{top[0] + 18} {top[1]}C{x} {top[1]} {x} {top[1] + 40} {x} {y - 52}"
    return "\n".join(
        [
            f'<svg class="cover" viewBox="0 0 {x + LEFT} {BOTTOM + 24}" role="img" aria-label="The letters of '
            f"{context} stand in a row. Lines fuse them two at a time, through three levels, into one node. "
            f'From it a dashed arrow leads to the letter that comes next: {target}.">',
            f'<path class="cover-lattice" d="{"".join(faint)}"/>',
            *(f'<path class="cover-edge cover-edge-{level}" d="{"".join(lit[level])}"/>' for level in lit),
            *(node for _, node in sorted(nodes)),
            letters,
            f'<path class="cover-guess" d="{guess}"/>',
            f'<path class="cover-arrow" d="M{x - 6} {y - 54}h12l-6 9z"/>',
            f'<circle class="cover-ring" cx="{x}" cy="{y - 9}" r="24"/>',
            f'<text class="cover-letter cover-next" x="{x}" y="{y}" text-anchor="middle">{target}</text>',
            "</svg>",
        ]
    )


def card(style: str) -> str:
    """The card for link previews as a page of 1200 by 630 pixels; `style` is the book's style of the picture."""
    colors = ";".join(f"{name}:{value}" for name, value in COLORS.items())
    return (
        f"<!doctype html><meta charset=utf-8><style>{style}\n:root{{{colors}}}"
        "body{margin:0;width:1200px;height:630px;background:#fff;color:#1b1f24;box-sizing:border-box;"
        "padding:56px 72px;font-family:system-ui,sans-serif}"
        "h1{font-size:66px;letter-spacing:-.02em;margin:0}p{font-size:30px;color:#57606a;margin:14px 0 0}"
        "svg.cover{position:absolute;left:172px;bottom:34px;width:856px;margin:0}</style>"
        f"<h1>{TITLE}</h1><p>{SUBTITLE}</p>{art()}"
    )


def main() -> int:
    """Draw the card with the browser of this machine."""
    from playwright.sync_api import sync_playwright

    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if not browser:
        print("error: no Chromium on this machine; the card stays as it is", file=sys.stderr)
        return 2
    style = (Path(ROOT) / "book" / "_static" / "aids.css").read_text(encoding="utf-8")
    with sync_playwright() as playwright:
        page = playwright.chromium.launch(executable_path=browser, args=["--no-sandbox"]).new_page(
            viewport={"width": 1200, "height": 630}
        )
        page.set_content(card(style))
        page.screenshot(path=CARD)
    return 0


if __name__ == "__main__":
    sys.exit(main())
