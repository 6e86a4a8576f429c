"""The map of the book: one picture for each part, the road down, whose every stop is a link.

`page()` returns what stands between the markers of book/map.md. Titles come from the notebooks,
losses from the stored results. A new chapter is a new line in `PARTS`.
"""

import json
from html import escape
from textwrap import wrap
from typing import NamedTuple

from common.evaluate import Spread, spread
from common.pages.results import LECTURE, markdown_table, stored_results
from common.runs.provenance import ROOT


class Stop(NamedTuple):
    """A chapter on the road. `model` names the measured model, where the chapter brings a new one.

    `change` may hold {parameters} and {before}: the sizes of this stop's model and of the last one.
    `winner` names an entry of the challenge: a model that was trained in another way. `variant` names
    one of chapter 8's ablation: it is trained for too short a time to move the road. `uses` names the
    model of an earlier stop, where the chapter works with another than the last one.
    """

    page: str
    change: str
    model: str | None = None
    winner: str | None = None
    variant: str | None = None
    uses: str | None = None


PARTS = {
    "Part one: WaveNet": (
        Stop("wavenet/01_three_char_mlp", "The start: three characters, one hidden layer.", "mlp"),
        Stop("wavenet/02_pytorchified_layers", "The code: the same network, in layers of our own."),
        Stop("wavenet/03_eight_char_context", "The context: eight characters instead of three.", "flat"),
        Stop(
            "wavenet/04_flatten_consecutive",
            "The shape: neighbours are fused two at a time.",
            "hierarchical-bug",
        ),
        Stop(
            "wavenet/05_batchnorm_fix",
            "BatchNorm: one mean for each channel, no longer one for each position.",
            "hierarchical",
        ),
        Stop(
            "wavenet/06_scaling_up",
            "The size: {parameters:,} parameters instead of {before:,}.",
            "scaled",
        ),
        Stop(
            "wavenet/07_causal_convolutions",
            "The pass: the tree slid along the name, every node computed once.",
        ),
        Stop(
            "wavenet/08_wavenet_blocks",
            "The blocks: gates, sums and skips, each alone and all together; and sound.",
            variant="all",
        ),
        Stop(
            "wavenet/09_sampling",
            "The draws: temperature, cuts and constraints, and what they do to the names.",
        ),
        Stop(
            "wavenet/10_experiments",
            "The bench: optimisers, searches and a run explorer, and how not to be fooled by them.",
            uses="hierarchical",
        ),
        Stop(
            "wavenet/11_beating_1993",
            "The challenge: the same size, another optimiser, and teachers; and what a number is worth.",
            winner="small",
        ),
    ),
}


class Place(NamedTuple):
    """A stop with what is drawn of it. The road runs at `loss`; `own`: it is that of a new model.

    `says` is the loss in words; `lecture` is there for the lecture's own models only.
    """

    number: int
    title: str
    page: str
    change: str
    loss: float
    lecture: float | None
    own: bool
    says: str


def places(stops, stored: dict | None = None) -> list[Place]:
    """The stops with titles and losses. A stop without a model of its own stands where the last one stood.

    stored: results in place of the stored ones. ValueError where a stop's model is not among them.
    """
    found, models, at, size = [], (stored or stored_results())["models"], None, None
    for number, stop in enumerate(stops, start=1):
        change = stop.change
        if stop.model:
            if stop.model not in models:
                raise ValueError(f"{stop.page}: no stored results of {stop.model!r}")
            runs, before = models[stop.model]["runs"], size
            at, size = _measured(runs), runs[0]["parameters"]
            change = stop.change.format(parameters=size, before=before)
        elif stop.winner:
            at = _measured(_winner(stop))
        elif at is None:
            raise ValueError(f"{stop.page}: the first stop of a road needs a model")
        own, says = bool(stop.model or stop.winner), f"{at.mean:.3f}, the same model"
        if own:
            says = str(at)
        elif stop.variant:
            says = f"{_measured(_variant(stop))}, two epochs"
        elif stop.uses:
            used = _measured(models[stop.uses]["runs"])
            says = f"{used.mean:.3f}, chapter {_first(stops, stop.uses)}'s model"
        lecture = LECTURE[stop.model][1] if stop.model else None
        found.append(Place(number, _title(stop.page), stop.page, change, at.mean, lecture, own, says))
    return found


def _winner(stop) -> list[dict]:
    return stored_results("challenge")["shipped"][stop.winner]["runs"]


def _variant(stop) -> list[dict]:
    return stored_results("blocks")["variants"][stop.variant]["runs"]


def _first(stops, model: str) -> int:
    return next(number for number, stop in enumerate(stops, start=1) if stop.model == model)


def _measured(runs) -> Spread:
    return spread(run["val"] for run in runs)


def _title(page: str) -> str:
    notebook = json.loads((ROOT / "book" / f"{page}.ipynb").read_text(encoding="utf-8"))
    return "".join(notebook["cells"][0]["source"]).splitlines()[0].lstrip("# ").replace("`", "")


def page(stored: dict | None = None) -> str:
    """The text of the map: for each part its road, drawn wide and narrow, and the same in words."""
    parts = ["", _introduction(stored or stored_results())]
    for index, (caption, stops) in enumerate(PARTS.items()):
        road = places(stops, stored)
        drawings = "\n".join(draw(road, caption, f"road-{index}", narrow) for narrow in (False, True))
        parts += ["", f"## {caption}", "", "```{raw} html", drawings, "```", ""]
        parts += ["### In words", "", _in_words(road), ""]
    return "\n".join(parts)


def _introduction(stored) -> str:
    seeds = min(len(entry["runs"]) for entry in stored["models"].values())
    stops = [(number, stop) for stops in PARTS.values() for number, stop in enumerate(stops, start=1)]
    start = stops[0][1].model
    asides = [
        f"The networks of chapter {number} are trained for two epochs only: their loss, a mean over "
        f"{len(_variant(stop))} seeds, does not move the road. "
        for number, stop in stops
        if stop.variant
    ]
    asides += [
        f"Chapter {number} works with the model of chapter {_first([s for _, s in stops], stop.uses)}. "
        for number, stop in stops
        if stop.uses
    ]
    asides += [
        f"The model of chapter {number} was trained in another way; its loss is a mean over "
        f"{len(_winner(stop))} seeds. "
        for number, stop in stops
        if stop.winner
    ]
    return (
        "The road down, chapter by chapter. Each stop says what changes there, and a validation loss: "
        f"mean ± standard deviation over {seeds} seeds on this book's list. A diamond ◆ is the lecture's "
        "own figure for the same model, a single run on its own list; the lecture's road starts at "
        f"{LECTURE[start][1]:.3f}. At a hollow stop the road stays where it is. "
        f"{''.join(asides)}Every stop is a link."
    )


def _in_words(road) -> str:
    rows = [
        [
            place.number,
            f"[{place.title}]({place.page}.ipynb)",
            place.change,
            place.says,
            "" if place.lecture is None else f"{place.lecture:.3f}",
        ]
        for place in road
    ]
    return markdown_table(
        ["stop", "chapter", "what changes here", "validation loss", "lecture"], rows, "rllrr"
    )


# ---- the drawing -----------------------------------------------------------------


class Layout(NamedTuple):
    """Sizes of a drawing, in pixels where it is shown at its full width."""

    width: int
    left: int  # the road at the highest loss
    right: int  # and at the lowest
    text: int  # where the words begin
    title_length: int  # characters in a line
    change_length: int
    tick: float  # nats between two guide lines


WIDE = Layout(640, 34, 214, 252, 40, 52, 0.05)
NARROW = Layout(320, 20, 76, 104, 20, 27, 0.1)
LINE, TOP, GAP = 20, 62, 34


def draw(road: list[Place], caption: str, name: str, narrow: bool = False) -> str:
    """One road as SVG: the chapters from top to bottom, the loss to scale, falling from left to right."""
    layout = NARROW if narrow else WIDE
    name = f"{name}-{'narrow' if narrow else 'wide'}"
    high, low = max(place.loss for place in road), min(place.loss for place in road)
    scale = (layout.right - layout.left) / max(high - low, 0.01)
    x_of = lambda loss: layout.left + (high - loss) * scale  # noqa: E731

    rows, y = [], TOP
    for place in road:
        lines = [
            *(("road-title", line) for line in wrap(place.title, layout.title_length)),
            *(("road-change", line) for line in wrap(place.change, layout.change_length)),
        ]
        rows.append((place, lines, y))
        y += LINE * (len(lines) + 1) + GAP
    height = y - GAP + 30
    points = [(x_of(place.loss), y + 4) for place, _, y in rows]

    parts = [*_guides(layout, x_of, high, low, height), *_surface(points, height)]
    parts += [_stop(layout, place, lines, y, x_of, narrow) for place, lines, y in rows]
    best = min(road, key=lambda place: place.loss)
    says = (
        f"{caption}. A road of {len(road)} stops, one for each chapter, from a validation loss of "
        f"{road[0].loss:.3f} nats at the top left down to {best.loss:.3f} at the bottom right. "
        "Each stop is a link to its chapter."
    )
    return "\n".join(
        [
            f'<svg class="road road-{"narrow" if narrow else "wide"}" viewBox="0 0 {layout.width} {height}" '
            f'role="group" aria-label="The road of {escape(caption)}" aria-describedby="{name}">',
            f'<desc id="{name}">{escape(says)}</desc>',
            *parts,
            "</svg>",
        ]
    )


def _guides(layout, x_of, high, low, height):
    """Faint lines of equal loss, with their values on top."""
    first = int(high / layout.tick + 1e-9)
    values = [n * layout.tick for n in range(first, int(low / layout.tick), -1)]
    yield f'<text class="road-axis" x="{layout.left - 18}" y="14">validation loss (nats)</text>'
    for value in values:
        x = x_of(value)
        yield f'<path class="road-guide" d="M{x:.1f} 40V{height - 6}"/>'
        yield f'<text class="road-axis" x="{x:.1f}" y="34" text-anchor="middle">{value:.2f}</text>'


def _surface(points, height):
    """The road itself, and a dashed piece that says that it goes on."""
    (x, y), path = points[0], ""
    path = f"M{x:.1f} {y - 22}V{y}"
    for x2, y2 in points[1:]:
        middle = (y + y2) / 2
        path += f"C{x:.1f} {middle:.1f} {x2:.1f} {middle:.1f} {x2:.1f} {y2}"
        x, y = x2, y2
    yield f'<path class="road-surface" d="{path}"/>'
    yield f'<path class="road-middle" d="{path}"/>'
    yield f'<path class="road-onward" d="M{x:.1f} {y + 20}V{height - 6}"/>'


def _stop(layout, place, lines, y, x_of, narrow) -> str:
    """One stop: a link around its mark on the road and its words, which are the link's name."""
    x, bottom = x_of(place.loss), y + LINE * len(lines) + 9
    kind = "own" if place.own else "same"
    loss = place.says
    if place.lecture is not None:
        loss += f' <tspan class="road-lecture" dx="8">◆ {place.lecture:.3f}</tspan>'
    parts = [
        f'<a href="{place.page}.html">',
        f'<rect class="road-hit" x="2" y="{y - 17}" width="{layout.width - 4}" height="{bottom - y + 29}"/>',
        f'<circle class="road-{kind}" cx="{x:.1f}" cy="{y + 4}" r="12"/>',
        f'<text class="road-number road-number-{kind}" x="{x:.1f}" y="{y + 9}">{place.number}</text>',
    ]
    if place.lecture is not None and not narrow:  # on a narrow drawing it would lie under the circle
        parts.append(f'<path class="road-diamond" d="M{x_of(place.lecture):.1f} {y + 19}l5 5-5 5-5-5z"/>')
    for index, (style, line) in enumerate(lines):
        text = escape(line, quote=False)
        parts.append(f'<text class="{style}" x="{layout.text}" y="{y + LINE * index + 9}">{text}</text>')
    parts.append(f'<text class="road-loss" x="{layout.text}" y="{bottom}">{loss}</text></a>')
    return " ".join(parts)  # the spaces part the words of the name
