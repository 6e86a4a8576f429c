"""The map of the book: one picture for each part, the road, whose every stop is a link.

`page()` returns what stands between the markers of book/map.md. Titles come from the notebooks; what
was measured, in which unit, and which way is better, from the stored results. A road runs to scale, to
the right for the better, where all of its stops measure the same; elsewhere it runs straight, and each
stop names its measure. A new chapter is a new line in `PARTS`.
"""

import json
import math
from functools import partial
from html import escape
from textwrap import wrap
from typing import NamedTuple

from chapters import link

from common.pages.measure import Measure, measure_of
from common.pages.results import LECTURE, markdown_table, stored_results
from common.runs.provenance import ROOT


class Stop(NamedTuple):
    """A chapter on the road. `model` names the measured model, where the chapter brings a new one.

    `change` may hold {parameters} and {before}: the sizes of this stop's model and of the last one.
    `winner` names an entry of the challenge: a model that was trained in another way. `variant` names
    one of chapter 8's ablation: it is trained for too short a time to move the road. `uses` names the
    model of an earlier stop, where the chapter works with another than the last one. `aside` names a model
    that is measured in another way than the road, and does not move it. `results` names the file in
    data/results/ that holds the stop's model.
    """

    page: str
    change: str
    model: str | None = None
    winner: str | None = None
    variant: str | None = None
    uses: str | None = None
    aside: str | None = None
    results: str = "shipped"


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
            "The blocks: gates, sums and skips, each alone and all together.",
            variant="all",
        ),
        Stop(
            "wavenet/09_sound",
            "The sound: the same blocks write notes, and a second input says what to write.",
            aside="long",
            results="sound",
        ),
        Stop(
            "wavenet/10_sampling",
            "The draws: temperature, cuts and constraints, and what they do to the names.",
        ),
        Stop(
            "wavenet/11_optimisers",
            "The optimisers: five, each the answer to what went wrong before; and schedules.",
            uses="hierarchical",
        ),
        Stop(
            "wavenet/12_searching",
            "The search: many runs, a run explorer, and how not to be fooled by them.",
            uses="hierarchical",
        ),
        Stop(
            "wavenet/13_beating_1993",
            "The challenge: the same size, another optimiser, and teachers; and what a number is worth.",
            winner="small",
        ),
    ),
    "Part two: Recurrent networks": (
        Stop(
            "rnn/01_sine_wave",
            "The state: a network that reads value by value, and continues waves on its own.",
            "chaos",
            results="rnn-01",
        ),
        Stop("rnn/02_memory", "The memory: why it fades, and the gates and the start that keep it."),
        Stop(
            "rnn/03_sentiment",
            "The words: sentences of different length, read in both directions, and classed.",
            "lstm",
            results="rnn-03",
        ),
        Stop(
            "rnn/04_shakespeare",
            "The text: an answer at every character, and a state that goes on from batch to batch.",
            "page",
            results="rnn-04",
        ),
        Stop(
            "rnn/05_translation",
            "The other language: an encoder, a decoder, and attention, which says where to look.",
            "translator",
            results="rnn-05",
        ),
        Stop(
            "rnn/06_attention_alone",
            "No recurrence: a letter reads all before it directly, by heads of attention.",
            "tiny",
            results="rnn-06",
        ),
    ),
}


class Place(NamedTuple):
    """A stop with what is drawn of it. The road runs at `value`; `own`: it is that of a new model.

    `says` is what was measured, in words; `lecture` is there for the lecture's own models only; `uses` is
    the page whose model the chapter works with, where it is not the last one's.
    """

    number: int
    title: str
    page: str
    change: str
    value: float
    measure: Measure
    lecture: float | None
    own: bool
    says: str
    uses: str | None = None


def places(stops, stored: dict | None = None) -> list[Place]:
    """The stops with titles and values. A stop without a model of its own stands where the last one stood,
    and says nothing where each stop measures something else.

    stored: results in place of the shipped ones. ValueError where a stop's model is not among them.
    """
    found, at, size, measure = [], None, None, None
    for number, stop in enumerate(stops, start=1):
        change, uses = stop.change, None
        entry = _entry(stop, stored)
        if stop.model or stop.winner:
            measure = measure_of(entry, stop.page)
            at, before = measure.one(entry["runs"]), size
            size = entry["runs"][0]["parameters"]
            change = stop.change.format(parameters=size, before=before)
        elif at is None:
            raise ValueError(f"{stop.page}: the first stop of a road needs a model")
        own, says = bool(stop.model or stop.winner), f"{measure.show(at.mean)}, the same model"
        if own:
            says = measure.show(at)
        elif stop.variant:
            says = f"{measure.show(measure.one(entry['runs']))}, two epochs"
        elif stop.aside:
            other = measure_of(entry, stop.page)
            says = f"{other.show(other.one(entry['runs']))} {other.unit} a {other.per}"
        elif stop.uses:
            uses = _first(stops, stop.uses)
            used = measure.show(measure.one(entry["runs"]).mean)
            says = f"{used}, chapter {_number(stops, uses)}'s model"
        lecture = LECTURE[stop.model][1] if stop.model in LECTURE else None
        found.append(
            Place(number, _title(stop.page), stop.page, change, at.mean, measure, lecture, own, says, uses)
        )
    if len({place.measure for place in found}) > 1:
        found = [place._replace(says=_named(place) if place.own else "") for place in found]
    return found


def _named(place) -> str:
    """What was measured, where every stop of a road measures something else."""
    where = f" at {place.measure.headline}" if place.measure.headline else ""
    return f"{place.measure.title()}{where} {place.says}, {place.measure.direction}"


def _entry(stop, stored: dict | None = None) -> dict | None:
    """What is stored of a stop's model, or of the one that it shows or works with."""
    if stop.winner:
        return stored_results("challenge")["shipped"][stop.winner]
    if stop.variant:
        return stored_results("blocks")["variants"][stop.variant]
    model = stop.model or stop.uses or stop.aside
    if not model:
        return None
    models = (stored if stored and stop.results == "shipped" else stored_results(stop.results))["models"]
    if model not in models:
        raise ValueError(f"{stop.page}: no stored results of {model!r}")
    return models[model]


def _first(stops, model: str) -> str:
    return next(stop.page for stop in stops if stop.model == model)


def _number(stops, page: str) -> int:
    return next(number for number, stop in enumerate(stops, start=1) if stop.page == page)


def _title(page: str) -> str:
    notebook = json.loads((ROOT / "book" / f"{page}.ipynb").read_text(encoding="utf-8"))
    return "".join(notebook["cells"][0]["source"]).splitlines()[0].lstrip("# ").replace("`", "")


def page(stored: dict | None = None) -> str:
    """The text of the map: for each part its road, drawn wide and narrow, and the same in words."""
    parts = [
        "",
        "The road, chapter by chapter. Each stop says what changes there, and what was measured on the "
        "validation split: mean ± standard deviation over seeds. At a hollow stop the road stays where it "
        "is. Every stop is a link.",
    ]
    for index, (caption, stops) in enumerate(PARTS.items()):
        road = places(stops, stored)
        drawings = "\n".join(draw(road, caption, f"road-{index}", narrow) for narrow in (False, True))
        parts += ["", f"## {caption}", "", _introduction(stops, road, stored), ""]
        parts += ["```{raw} html", drawings, "```", "", "### In words", "", _in_words(road), ""]
    return "\n".join(parts)


def _introduction(stops, road, stored) -> str:
    """What a road shows, and which of its stops are not like the others."""
    text, seeds = "", lambda stop: len(_entry(stop, stored)["runs"])
    if one := _one_measure(road):
        fewest = min(seeds(stop) for stop in stops if stop.model)
        text = f"Here it is the {one.title()}, and {one.direction}. The mean is over {fewest} seeds"
        text += " on this book's list. " if _entry_is_of_names(stops, stored) else ". "
    lecture = [place.lecture for place in road if place.lecture is not None]
    if lecture:
        text += (
            "A diamond ◆ is the lecture's own figure for the same model, a single run on its own list; the "
            f"lecture's road starts at {lecture[0]:.3f}. "
        )
    for stop in stops:
        name = partial(link, page="map")
        if stop.variant:
            text += (
                f"The networks of {name(stop.page)} are trained for two epochs only: their "
                f"{measure_of(_entry(stop)).name}, a mean over {seeds(stop)} seeds, does not move the road. "
            )
        if stop.aside:
            text += (
                f"The network of {name(stop.page)} is measured {measure_of(_entry(stop)).sentence}, which no "
                "loss on names can be compared with; it does not move the road. "
            )
        if stop.uses:
            first = name(_first(stops, stop.uses))
            text += f"{name(stop.page, capital=True)} works with the model of {first}. "
        if stop.winner:
            text += (
                f"The model of {name(stop.page)} was trained in another way; its "
                f"{measure_of(_entry(stop)).name} is a mean over {seeds(stop)} seeds. "
            )
    return text.strip()


def _entry_is_of_names(stops, stored) -> bool:
    first = stops[0].results
    return "names" in (stored if stored and first == "shipped" else stored_results(first))


def _one_measure(road) -> Measure | None:
    """The measure that all stops of a road share."""
    measures = {place.measure for place in road}
    return measures.pop() if len(measures) == 1 else None


def _in_words(road) -> str:
    one, lecture = _one_measure(road), any(place.lecture is not None for place in road)
    header = ["stop", "chapter", "what changes here", f"validation {one.name}" if one else "measured"]
    rows = []
    for place in road:
        says = place.says
        if place.uses:
            says = f"{says.partition(',')[0]}, {link(place.uses, 'map')}'s model"
        row = [place.number, f"[{place.title}]({place.page}.ipynb)", place.change, says]
        rows.append(row + ["" if place.lecture is None else f"{place.lecture:.3f}"] * lecture)
    return markdown_table(header + ["lecture"] * lecture, rows, "rllr" + "r" * lecture)


# ---- the drawing -----------------------------------------------------------------


class Layout(NamedTuple):
    """Sizes of a drawing, in pixels where it is shown at its full width."""

    width: int
    left: int  # the road at the worst value
    right: int  # and at the best
    text: int  # where the words begin
    title_length: int  # characters in a line
    change_length: int
    guides: int  # lines of equal value, at most


WIDE = Layout(640, 34, 214, 252, 40, 52, 4)
NARROW = Layout(320, 20, 76, 104, 20, 27, 2)
LINE, TOP, GAP = 20, 62, 34


def draw(road: list[Place], caption: str, name: str, narrow: bool = False) -> str:
    """One road as SVG: the chapters from top to bottom, what was measured to scale, better to the right."""
    layout = NARROW if narrow else WIDE
    name = f"{name}-{'narrow' if narrow else 'wide'}"
    measure, values = _one_measure(road), [place.value for place in road]
    worst, best = min(values, key=lambda v: v * road[0].measure.sign), None
    if measure:
        best = max(values, key=lambda v: v * measure.sign)
        scale = (layout.right - layout.left) / max(abs(best - worst), 10.0 ** (1 - measure.digits))
    x_of = lambda value: (  # noqa: E731
        layout.left + (value - worst) * measure.sign * scale if measure else (layout.left + layout.right) / 2
    )

    rows, y = [], TOP
    for place in road:
        lines = [
            *(("road-title", line) for line in wrap(place.title, layout.title_length)),
            *(("road-change", line) for line in wrap(place.change, layout.change_length)),
        ]
        rows.append((place, lines, y))
        y += LINE * (len(lines) + 1) + GAP
    height = y - GAP + 30
    points = [(x_of(place.value), y + 4) for place, _, y in rows]

    parts = [*_guides(layout, x_of, measure, values, height)] if measure else []
    parts += _surface(points, height)
    parts += [_stop(layout, place, lines, y, x_of, narrow) for place, lines, y in rows]
    says = f"{caption}. A road of {len(road)} stops, one for each chapter, "
    if measure:
        says += (
            f"from a validation {measure.name} of {measure.show(road[0].value)} {measure.unit}".rstrip()
            + f" at the top left {'up' if measure.sign > 0 else 'down'} to {measure.show(best)} "
            f"at the bottom right; {measure.direction}. "
        )
    else:
        says += "each with a measure of its own. "
    says += "Each stop is a link to its chapter."
    return "\n".join(
        [
            f'<svg class="road road-{"narrow" if narrow else "wide"}" viewBox="0 0 {layout.width} {height}" '
            f'role="group" aria-label="The road of {escape(caption)}" aria-describedby="{name}">',
            f'<desc id="{name}">{escape(says)}</desc>',
            *parts,
            "</svg>",
        ]
    )


def _guides(layout, x_of, measure, values, height):
    """Faint lines of equal value, with their values on top, and which way is better."""
    high, low = max(values), min(values)
    step = _step(high - low, layout.guides)
    digits = max(measure.digits - 1, math.ceil(-math.log10(step) - 1e-9), 0)
    title = f"{measure.title()}, better →"
    yield f'<text class="road-axis" x="{layout.left - 18}" y="14">{escape(title, quote=False)}</text>'
    for n in range(math.floor(high / step + 1e-9), math.ceil(low / step - 1e-9) - 1, -1):
        x = x_of(n * step)
        yield f'<path class="road-guide" d="M{x:.1f} 40V{height - 6}"/>'
        yield f'<text class="road-axis" x="{x:.1f}" y="34" text-anchor="middle">{n * step:.{digits}f}</text>'


def _step(extent: float, most: int) -> float:
    """The smallest of 1, 2 and 5 times a power of ten that parts an extent into at most so many pieces."""
    power = 10.0 ** math.floor(math.log10(extent / most)) if extent else 1.0
    return next(step for step in (power, 2 * power, 5 * power, 10 * power) if extent <= most * step)


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
    x, bottom = x_of(place.value), y + LINE * len(lines) + 9
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
