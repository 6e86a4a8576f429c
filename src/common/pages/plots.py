"""One look for all figures of the book. Functions take data and an Axes, and return the Axes.

Figures are drawn in dark ink on white; the pages let the white vanish, and turn the ink light on
a dark page. The colours are those of Okabe and Ito, which colour-blind readers can tell apart.
"""

import io
import math
from base64 import b64encode
from collections.abc import Sequence
from typing import Any, NamedTuple

import matplotlib.pyplot as plt
import torch
from IPython import get_ipython
from IPython.core.pylabtools import retina_figure
from IPython.display import Markdown
from matplotlib.figure import Figure
from matplotlib_inline.backend_inline import set_matplotlib_formats
from PIL import Image

from ..evaluate import Spread, smooth
from .results import markdown_table, stored_results

BLUE, ORANGE, GREEN, PINK, SKY, RED = "#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00"
BROWN, DEEP = "#744e00", "#214c65"  # orange and sky, so dark that lines hold on white
INK, SOFT, FAINT = "#222222", "#6b6b6b", "#e3e3e3"


class Look(NamedTuple):
    """How a model is drawn: a family has one colour, a model in it a line and a marker of its own."""

    color: str
    line: str | tuple[int, tuple[int, ...]]
    marker: str


# A model looks the same in every figure of the book. Two colours of this table are told apart by readers
# who are blind to red or green, and each has a contrast of 3 to 1 on white: tests/test_plots.py.
LOOKS = {
    "baseline": Look(SOFT, ":", "x"),  # a blind guess, a figure from elsewhere
    "counts": Look(SOFT, "-", "P"),  # a table of counts, n-grams
    # flat networks on windows
    "mlp": Look(BROWN, "-", "s"),
    "flat": Look(BROWN, "--", "D"),
    # trees
    "hierarchical-bug": Look(BLUE, ":", "v"),
    "hierarchical": Look(BLUE, "--", "^"),
    "scaled": Look(BLUE, "-", "o"),
    # convolutions on whole names
    "dilated": Look(GREEN, "--", "^"),
    "wavenet": Look(GREEN, "-", "o"),
    "small": Look(GREEN, "-.", "s"),
    # recurrent networks
    "rnn": Look(RED, "-", "o"),
    "rnn-orthogonal": Look(RED, "--", "^"),
    "lstm": Look(PINK, "-", "o"),
    "lstm-orthogonal": Look(PINK, "--", "^"),
    "lstm-chrono": Look(PINK, ":", "v"),
    "gru": Look(DEEP, "-", "o"),
    "gru-orthogonal": Look(DEEP, "--", "^"),
    "gru-chrono": Look(DEEP, ":", "v"),
    "sentences": Look(PINK, "-.", "s"),  # an LSTM that reads sentences, of part two, chapter 3
    "recurrent": Look(DEEP, (0, (6, 1, 1, 1, 1, 1)), "D"),  # a GRU, as chapter 13 trains it
    "open": Look(DEEP, "-.", "s"),
    "transformer": Look(INK, "-", "o"),
}


def look_of(model: str) -> Look:
    """How a model is drawn everywhere. ValueError for a name that has no look."""
    if model not in LOOKS:
        raise ValueError(f"expected a model with a look in plots.LOOKS, one of {list(LOOKS)}, got {model!r}")
    return LOOKS[model]


def colour_of(model: str) -> str:
    """The colour of a model in every figure; ValueError as `look_of`."""
    return look_of(model).color


def style_of(model: str) -> dict[str, Any]:
    """Colour and line of a model, for `ax.plot(..., **style_of(model))`; ValueError as `look_of`.

    Its marker is ``look_of(model).marker``.
    """
    return {"color": look_of(model).color, "ls": look_of(model).line}


STYLE = {
    "figure.figsize": (6.4, 3.2),
    "figure.dpi": 110,
    "figure.constrained_layout.use": True,
    "font.size": 11,
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": SOFT,
    "axes.labelcolor": INK,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.prop_cycle": plt.cycler(color=[BLUE, RED, GREEN, ORANGE, PINK, SKY]),
    "grid.color": FAINT,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "text.color": INK,
    "legend.frameon": False,
    "svg.fonttype": "path",
    "svg.hashsalt": "wavenet",
    "lines.linewidth": 1.8,
}


def use_style(picture: str = "png") -> None:
    """Give every figure of this session the book's look.

    picture: "png", at twice the density where a notebook shows it, or "svg", for drawings and curves:
    it stays sharp, and nbval compares it. Thousands of points weigh ten times as much as in a PNG.
    ValueError for another.
    """
    if picture not in ("png", "svg"):
        raise ValueError(f"expected a picture as 'png' or 'svg', got {picture!r}")
    plt.rcParams.update(STYLE)  # type: ignore[arg-type]  # names that mypy wants spelled out
    set_matplotlib_formats("retina" if picture == "png" else "svg")
    if shell := get_ipython():
        formatters = shell.display_formatter.formatters
        if picture == "png":
            formatters["image/png"].for_type(Figure, light_png)
        else:
            formatters["image/svg+xml"].for_type(Figure, steady_svg)


def light_png(figure):
    """A figure as a PNG of 256 colours at twice the density, and its size: a third of the bytes."""
    drawn = retina_figure(figure, base64=False)
    if drawn is None:  # an empty figure
        return None
    png, size = drawn
    small = io.BytesIO()
    picture = Image.open(io.BytesIO(png)).convert("RGB")
    picture.quantize(256, dither=Image.Dither.NONE).save(small, "PNG", optimize=True)
    return b64encode(small.getvalue()).decode("ascii"), size


def steady_svg(figure) -> str | None:
    """A figure as an SVG that is the same in every run: no date, no version, no ids by chance.

    Letters are outlines, so that it looks alike with every reader's fonts. White paper, as in a PNG:
    the page lets it vanish.
    """
    if not figure.axes and not figure.lines:  # an empty figure
        return None
    drawn = io.StringIO()
    figure.savefig(drawn, format="svg", bbox_inches="tight", metadata={"Creator": None, "Date": None})
    return drawn.getvalue()


def table(header: Sequence[str], rows, align: str | None = None):
    """A table for a notebook and its page, from rows of cells; `align` as in `results.markdown_table`."""
    return Markdown(markdown_table(header, rows, align))


def loss_curve(
    ax, losses: torch.Tensor, window: int = 1_000, label: str | None = None, color=None, *,
    model: str | None = None,
):  # fmt: skip
    """Training loss against steps, averaged over `window` steps; a band shows the spread over seeds.

    losses: (steps,) of one model or (S, steps) of S seeds, in nats. model: its name in `LOOKS`, which
    gives colour and line; `color` overrules it.
    """
    averaged = smooth(losses, window).reshape(-1, losses.shape[-1] // window)
    sd = averaged.std(0).tolist() if len(averaged) > 1 else None
    return _curve(ax, averaged.mean(0).tolist(), sd, window, label, color, model)


def stored_curve(ax, model: str, label: str | None = None, color=None):
    """The same from the results that the book was published with: all of their seeds."""
    curve = stored_results()["models"][model]["training_curve"]
    return _curve(ax, curve["mean"], curve["sd"], curve["window"], label, color, model)


def _curve(ax, means, sds, window, label, color, model):
    style = style_of(model) if model else {}
    if color is not None:
        style["color"] = color
    steps = [(i + 0.5) * window for i in range(len(means))]
    (line,) = ax.plot(steps, means, label=label, **style)
    if sds is not None:
        low, high = ([m + sign * sd for m, sd in zip(means, sds, strict=True)] for sign in (-1, 1))
        ax.fill_between(steps, low, high, color=line.get_color(), alpha=0.25, lw=0)
    ax.set(ylabel="training loss (nats)")
    return steps_axis(ax)


def band(ax, steps: Sequence[float], values: torch.Tensor, label: str | None = None, color=None, **style):
    """A loss in the course of a training: the mean over seeds, and one standard deviation as a band.

    steps: (K,); values: (S, K) of S seeds, in nats, as from `runs.curves`.
    """
    values = torch.as_tensor(values, dtype=torch.float64)
    mean = values.mean(0)
    (line,) = ax.plot(steps, mean.tolist(), label=label, color=color, **style)
    if len(values) > 1:
        sd = values.std(0)
        low, high = (mean - sd).tolist(), (mean + sd).tolist()
        ax.fill_between(steps, low, high, color=line.get_color(), alpha=0.25, lw=0)
    ax.set(ylabel="loss (nats)")
    return steps_axis(ax)


def run_curves(ax, curves: dict, label: str = "", color=None):
    """Training (dashed) and validation loss of one run, as from `runs.curves`."""
    for split, title, style in (("train", "training", "--"), ("val", "validation", "-")):
        if split in curves:
            steps, losses = curves[split]
            band(ax, steps, losses, f"{label} {title}".strip(), color, ls=style)
            color = color or ax.lines[-1].get_color()
    return ax


def trial_curves(ax, trials: Sequence[dict]):
    """The validation loss of a sweep's trials: pruned ones end in a cross, the best one is red.

    trials: records of ``trials.json``.
    """
    best = _best(trials)
    for record in trials:
        points = [(step, value) for step, value in record["curve"] if value is not None]
        if not points:
            continue
        pruned = record["state"] != "complete"
        color, width = (RED, 2.2) if record is best else (SOFT, 0.8) if pruned else (BLUE, 1.0)
        ax.plot(*zip(*points, strict=True), color=color, lw=width, zorder=3 if record is best else 2)
        if pruned:
            ax.plot(*points[-1], "x", color=SOFT, markersize=5)
    ax.set(ylabel="validation loss (nats)")
    return steps_axis(ax)


def _best(trials):
    complete = [record for record in trials if record["state"] == "complete"]
    return min(complete, key=lambda record: record["value"], default=None)


def progress(ax, trials: Sequence[dict]):
    """What every trial of a sweep came to, in their order, and the best so far as a line."""
    complete = [record for record in trials if record["state"] == "complete"]
    numbers, values = [r["number"] for r in complete], [r["value"] for r in complete]
    ax.plot(numbers, values, "o", color=BLUE, markersize=5, label="complete")
    for record in trials:
        if record["state"] != "complete":
            ax.axvline(record["number"], color=FAINT, lw=3, zorder=0)
    lowest = [min(values[: i + 1]) for i in range(len(values))]
    ax.step(numbers, lowest, where="post", color=RED, label="best so far")
    ax.set(xlabel="trial", ylabel="validation loss (nats)")
    ax.legend()
    return ax


def parallel(ax, trials: Sequence[dict], log: Sequence[str] = (), highlight: int = 3):
    """Parallel coordinates: an axis a parameter and one for the loss, a line a complete trial.

    The axes run from the lowest to the highest value that was tried, those named in `log` by their
    logarithm; the `highlight` best trials are red.
    """
    complete = sorted((r for r in trials if r["state"] == "complete"), key=lambda record: -record["value"])
    if not complete:
        raise ValueError("expected at least one complete trial, got none")
    names = list(complete[0]["params"])
    columns = [[r["params"][name] for r in complete] for name in names] + [[r["value"] for r in complete]]
    heights = []
    for x, (name, column) in enumerate(zip([*names, "loss"], columns, strict=True)):
        places, marks = _places(column, name in log)
        heights.append(places)
        ax.plot([x, x], [0, 1], color=SOFT, lw=1, zorder=1)
        for height, text in marks:  # at the ends beyond all lines, else beside the axis on white
            away, va, ha = (4, 0), "center", "left"
            if height in (0, 1):
                away, va, ha = ((0, 4), "bottom", "center") if height else ((0, -4), "top", "center")
            ax.annotate(
                text, (x, height), xytext=away, textcoords="offset points", fontsize=10, va=va, ha=ha,
                zorder=5, bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.5},
            )  # fmt: skip
    for i, line in enumerate(zip(*heights, strict=True)):
        top = i >= len(complete) - highlight
        ax.plot(range(len(line)), line, color=RED if top else BLUE, lw=1.6 if top else 0.8, alpha=0.8)
    ax.set_xticks(range(len(heights)), [*names, "validation loss"])
    ax.set(yticks=[], xlim=(-0.2, len(heights) - 0.8), ylim=(-0.1, 1.1))
    ax.grid(False)
    ax.spines[["left", "bottom"]].set_visible(False)
    return ax


def _places(column, log: bool) -> tuple[list[float], list[tuple[float, str]]]:
    """Heights between 0 and 1 of the values of an axis, and what is written beside it."""
    if any(isinstance(value, (str, list, tuple, bool)) for value in column):
        kinds = sorted({str(value) for value in column})
        height = {kind: i / max(1, len(kinds) - 1) for i, kind in enumerate(kinds)}
        return [height[str(value)] for value in column], [(h, kind) for kind, h in height.items()]
    numbers = [math.log(value) if log else value for value in column]
    low, high = min(numbers), max(numbers)
    heights = [(n - low) / (high - low) if high > low else 0.5 for n in numbers]
    return heights, sorted(
        {(h, f"{v:.3g}") for h, v in zip(heights, column, strict=True) if h in (0, 0.5, 1)}
    )


def importances(ax, shares: dict[str, float]):
    """How much each parameter matters, as from `sweep.importance`: a bar each, the largest on top."""
    bars = ax.barh(list(shares), list(shares.values()), color=BLUE, height=0.6)
    ax.bar_label(bars, [f"{share:.2f}" for share in shares.values()], padding=4)
    ax.invert_yaxis()
    ax.set(xlabel="importance (shares of 1)", xlim=(0, max([*shares.values(), 0.01]) * 1.15))
    ax.grid(axis="y", visible=False)
    return ax


def steps_axis(ax):
    """Label the x axis as steps, in thousands."""
    ax.set(xlabel="step (thousands)")
    ax.xaxis.set_major_formatter(lambda x, _: f"{x / 1_000:g}")
    return ax


def dots(
    ax, labels: Sequence[str], values: Sequence[float], *, models: Sequence[str] | None = None,
    highlight: Sequence[int] = (), fmt: str = "{:.3f}",
):  # fmt: skip
    """One value a row as a point with its number beside it, the first on top.

    models: names in `LOOKS`, one a row, which give colours and markers.
    """
    for i, (value, model) in enumerate(zip(values, _one_each(models, labels), strict=True)):
        color, marker = (RED, "D") if i in highlight else (BLUE, "o")
        if model is not None:
            color, _, marker = look_of(model)
        ax.plot(value, i, marker, color=color, markersize=7)
        ax.annotate(fmt.format(value), (value, i), xytext=(8, 0), textcoords="offset points", va="center")
    ax.set_yticks(range(len(labels)), labels)
    ax.invert_yaxis()
    ax.margins(x=0.15, y=0.1)
    return ax


def _one_each(models: Sequence[str] | None, labels: Sequence[str]) -> Sequence[str | None]:
    if models is not None and len(models) != len(labels):
        raise ValueError(f"expected {len(labels)} models, one a label, got {len(models)}")
    return models or [None] * len(labels)


def spreads(
    ax, labels: Sequence[str], groups: dict[str, Sequence[Spread | float | None]], *,
    models: Sequence[str] | None = None,
):  # fmt: skip
    """Points with error bars (one standard deviation), a row a label and a colour a group.

    models: names in `LOOKS`, one a row. Then the colour is the row's, and of several groups the first is
    hollow.
    """
    _one_each(models, labels)
    step = 0.5 / max(1, len(groups) - 1) if len(groups) > 1 else 0
    styles = zip((BLUE, RED, GREEN, ORANGE), ("o", "D", "s", "^"), strict=True)
    for g, ((name, values), (color, marker)) in enumerate(zip(groups.items(), styles, strict=False)):
        style: dict[str, Any] = {"fmt": marker, "capsize": 3}
        if models and len(groups) > 1 and g == 0:
            style["mfc"] = "white"
        rows = [(i, v) for i, v in enumerate(values) if v is not None]
        means = [v.mean if isinstance(v, Spread) else v for _, v in rows]
        errors = [v.sd if isinstance(v, Spread) else 0 for _, v in rows]
        heights = [i + (g - (len(groups) - 1) / 2) * step for i, _ in rows]
        if not models:
            ax.errorbar(means, heights, xerr=errors, color=color, label=name, **style)
            continue
        for (i, _), mean, height, error in zip(rows, means, heights, errors, strict=True):
            ax.errorbar(mean, height, xerr=error, color=colour_of(models[i]), **style)
        ax.errorbar([], [], xerr=[], color=INK, label=name, **style)  # for the legend
    ax.set_yticks(range(len(labels)), labels)
    ax.invert_yaxis()
    ax.grid(axis="y", visible=False)
    return ax


def matrix(
    ax, values: torch.Tensor, rows=None, columns=None, *, diverging: bool = False, fmt: str | None = None
):
    """A heat map of (R, C) values with optional tick labels, and numbers in the cells where fmt is given."""
    values = values.detach().cpu()
    limit = values.abs().max().item()
    scale = {"cmap": "RdBu_r", "vmin": -limit, "vmax": limit} if diverging else {"cmap": "Blues"}
    image = ax.imshow(values.numpy(), aspect="auto", **scale)
    ax.grid(False)
    if rows is not None:
        ax.set_yticks(range(len(rows)), rows)
    if columns is not None:
        ax.set_xticks(range(len(columns)), columns)
    if fmt is not None:
        for r in range(values.shape[0]):
            for c in range(values.shape[1]):
                dark = image.norm(values[r, c].item()) > 0.6 and not diverging
                text = fmt.format(values[r, c].item())
                ax.text(c, r, text, ha="center", va="center", color="white" if dark else INK, fontsize=9)
    return image


def box(ax, x: float, y: float, text: str, *, color=BLUE, width=0.8, height=0.5, on: bool = True):
    """A rounded box with a text in it, for diagrams."""
    from matplotlib.patches import FancyBboxPatch

    shape = FancyBboxPatch(
        (x - width / 2, y - height / 2), width, height, boxstyle="round,pad=0.02,rounding_size=0.08",
        facecolor=color if on else "white", edgecolor=color if on else SOFT, alpha=1 if on else 0.5, lw=1.2,
    )  # fmt: skip
    ax.add_patch(shape)
    ax.text(x, y, text, ha="center", va="center", color="white" if on else SOFT, fontsize=10)
    return ax


def tree(ax, characters: str, shapes: Sequence[str], *, upto: int | None = None, fan_in: int = 2):
    """The tree of chapter 4: characters at the bottom, fused `fan_in` at a time; a shape beside each level.

    characters: one a leaf, a power of `fan_in` many. shapes: a text a level, leaves first.
    upto: the last level drawn in colour (None: all).
    """
    levels = [len(characters)]
    while levels[-1] > 1:
        if levels[-1] % fan_in:
            raise ValueError(f"expected a power of {fan_in} characters, got {len(characters)}")
        levels.append(levels[-1] // fan_in)
    if len(shapes) != len(levels):
        raise ValueError(f"expected {len(levels)} shapes, one a level, got {len(shapes)}")
    upto = len(levels) - 1 if upto is None else upto
    below: list[float] | None = None
    colors = (SOFT, BLUE, GREEN, RED, PINK, SKY)
    for level, (count, shape) in enumerate(zip(levels, shapes, strict=True)):
        span = len(characters) / count
        xs = [(i + 0.5) * span - 0.5 for i in range(count)]
        lit = level <= upto
        for i, x in enumerate(xs):
            first = i * fan_in**level
            text = characters[i] if level == 0 else characters[first : first + fan_in**level]
            for child in [] if below is None else below[i * fan_in : (i + 1) * fan_in]:
                ax.plot(
                    [child, x], [level - 0.75, level - 0.25], color=SOFT if lit else FAINT, lw=1, zorder=0
                )
            box(
                ax,
                x,
                level,
                text,
                color=colors[level % len(colors)],
                on=lit,
                width=min(0.9 * span, 0.7 + 0.14 * len(text)),
            )
        ax.text(
            len(characters) - 0.2,
            level,
            shape,
            va="center",
            color=INK if lit else SOFT,
            family="monospace",
            fontsize=9.5,
        )
        below = xs
    ax.set(xlim=(-0.8, len(characters) + 1.9), ylim=(-0.5, len(levels) - 0.5))
    ax.axis("off")
    return ax


def road(
    ax, labels: Sequence[str], measured: Sequence[Spread], lecture: Sequence[float],
    models: Sequence[str] | None = None,
):  # fmt: skip
    """The way down: validation loss stage by stage, measured with its spread, and the lecture's.

    models: names in `LOOKS`, one a stage, which give the points their colours.
    """
    x = range(len(labels))
    means = [m.mean for m in measured]
    ax.axhline(2.0, color=SOFT, ls=":", lw=1.2)
    ax.plot(x, means, color=SOFT, lw=1.2, zorder=1)
    for i, (m, model) in enumerate(zip(measured, _one_each(models, labels), strict=True)):
        color = BLUE if model is None else colour_of(model)
        ax.errorbar(i, m.mean, yerr=m.sd, fmt="o", color=color, capsize=4, markersize=8)
    ax.errorbar([], [], yerr=[], fmt="o", color=INK, capsize=4, label="this book, mean ± sd")
    ax.plot(x, lecture, "D", color=SOFT, mfc="white", markersize=6, label="the lecture, one run")
    for i, mean in enumerate(means):
        away = (0, 10) if mean > lecture[i] else (0, -18)  # from the lecture's mark
        ax.annotate(f"{mean:.3f}", (i, mean), xytext=away, textcoords="offset points", ha="center")
    ax.set_xticks(x, labels)
    ax.margins(y=0.15)
    ax.set(ylabel="validation loss (nats)")
    ax.grid(axis="x", visible=False)
    ax.legend(loc="upper right")
    return ax
