"""Figures show the data that they were given."""

import ast
import io
import itertools
import json
import re
from base64 import b64decode
from pathlib import Path

import matplotlib.pyplot as plt
import pytest
import torch
from IPython.core.pylabtools import retina_figure
from matplotlib.colors import to_rgb
from PIL import Image, ImageChops

from common.evaluate import Spread
from common.models import MODELS
from common.pages import plots

BOOK = Path(__file__).resolve().parent.parent / "book"


@pytest.fixture
def ax():
    figure, ax = plt.subplots()
    yield ax
    plt.close(figure)


def test_loss_curve_averages_and_bands(ax):
    losses = torch.stack([torch.full((4_000,), 2.0), torch.full((4_000,), 3.0)])
    assert plots.loss_curve(ax, losses, window=1_000) is ax
    (line,) = ax.lines
    assert line.get_xdata().tolist() == [500, 1_500, 2_500, 3_500]
    assert line.get_ydata().tolist() == [2.5] * 4
    assert len(ax.collections) == 1  # the band
    plots.loss_curve(ax, losses[0])
    assert len(ax.collections) == 1  # one seed has none


def test_stored_curves_show_all_seeds(ax):
    assert plots.stored_curve(ax, "scaled", label="tree") is ax
    (line,) = ax.lines
    assert len(line.get_xdata()) == 200 and line.get_xdata()[0] == 500
    assert line.get_ydata()[-1] == pytest.approx(1.80, abs=0.05) and len(ax.collections) == 1


def test_dots_write_their_values(ax):
    plots.dots(ax, ["a", "b"], [1.0, 2.5])
    assert [text.get_text() for text in ax.texts] == ["1.000", "2.500"]
    assert [tick.get_text() for tick in ax.get_yticklabels()] == ["a", "b"]


def test_spreads_accept_single_values_and_gaps(ax):
    plots.spreads(ax, ["a", "b"], {"x": [Spread(1.0, 0.1), 2.0], "y": [None, Spread(3.0, 0.2)]})
    assert [len(container[0].get_xdata()) for container in ax.containers] == [2, 1]


@pytest.mark.parametrize("fan_in, boxes", [(2, 15), (8, 9)])
def test_tree_draws_every_node(ax, fan_in, boxes):
    levels = 4 if fan_in == 2 else 2
    plots.tree(ax, "isabella", [f"level {i}" for i in range(levels)], fan_in=fan_in)
    assert len(ax.patches) == boxes
    texts = [text.get_text() for text in ax.texts]
    assert "isabella" in texts and f"level {levels - 1}" in texts
    if fan_in == 2:
        assert {"is", "ab", "el", "la", "isab", "ella"} <= set(texts)


def test_tree_refuses_what_cannot_be_fused(ax):
    with pytest.raises(ValueError, match="power of 2"):
        plots.tree(ax, "abcdefg", [""] * 4)
    with pytest.raises(ValueError, match="expected 4 shapes"):
        plots.tree(ax, "abcdefgh", [""] * 3)


def test_matrix_shows_the_values(ax):
    image = plots.matrix(ax, torch.tensor([[0.0, 1.0], [2.0, 3.0]]), ["r", "s"], ["c", "d"], fmt="{:.0f}")
    assert image.get_array().tolist() == [[0, 1], [2, 3]]
    assert [text.get_text() for text in ax.texts] == ["0", "1", "2", "3"]


def test_road_names_every_stage(ax):
    plots.road(ax, ["a", "b"], [Spread(2.1, 0.01), Spread(2.0, 0.01)], [2.105, 1.993])
    assert [text.get_text() for text in ax.texts] == ["2.100", "2.000"]


def test_table_is_markdown():
    assert plots.table(["a", "b"], [[1, 2]], "lr").data == "| a | b |\n| :--- | ---: |\n| 1 | 2 |"


def trial(number, value, lr, c, curve):
    state = "pruned" if value is None else "complete"
    return {"number": number, "state": state, "value": value, "params": {"lr": lr, "c": c}, "curve": curve}


TRIALS = [
    trial(0, 2.2, 0.1, "a", [[10, 2.5], [20, 2.2]]),
    trial(1, None, 1.0, "b", [[10, 3.0]]),
    trial(2, 2.0, 0.01, "b", [[10, None], [20, 2.0]]),
]


def test_a_band_is_mean_and_deviation_over_seeds(ax):
    values = torch.tensor([[1.0, 2.0], [3.0, 2.0]])
    assert plots.run_curves(ax, {"val": ([10, 20], values), "train": ([5, 15], values[:1])}, "tree") is ax
    train, val = ax.lines
    assert train.get_label() == "tree training" and train.get_linestyle() == "--"
    assert val.get_ydata().tolist() == [2.0, 2.0] and val.get_color() == train.get_color()
    (band,) = ax.collections
    assert band.get_datalim(ax.transData).y1 == pytest.approx(2 + 2**0.5)


def test_trials_are_drawn_by_how_they_ended(ax):
    plots.trial_curves(ax, TRIALS)
    lines = [line for line in ax.lines if line.get_marker() != "x"]
    assert [line.get_color() for line in lines] == [plots.BLUE, plots.SOFT, plots.RED]
    assert lines[2].get_xdata().tolist() == [20]
    (cross,) = [line for line in ax.lines if line.get_marker() == "x"]
    assert cross.get_xydata().tolist() == [[10, 3.0]]


def test_progress_keeps_the_best(ax):
    plots.progress(ax, TRIALS)
    (best,) = [line for line in ax.lines if line.get_label() == "best so far"]
    assert best.get_xydata().tolist() == [[0, 2.2], [2, 2.0]]


def test_parallel_coordinates(ax):
    plots.parallel(ax, TRIALS, log=["lr"], highlight=1)
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["lr", "c", "validation loss"]
    lines = [line for line in ax.lines if len(line.get_xdata()) == 3]
    assert [line.get_ydata().tolist() for line in lines] == [[1, 0, 1], [0, 1, 0]]
    assert [line.get_color() for line in lines] == [plots.BLUE, plots.RED]
    assert {"0.01", "0.1", "a", "b", "2", "2.2"} == {text.get_text() for text in ax.texts}
    with pytest.raises(ValueError, match="at least one complete trial"):
        plots.parallel(ax, TRIALS[1:2])


def test_importances(ax):
    plots.importances(ax, {"lr": 0.75, "c": 0.25})
    assert [patch.get_width() for patch in ax.patches] == [0.75, 0.25]


def test_pictures_of_notebooks_are_light_and_look_the_same():
    plots.use_style()
    figure, ax = plt.subplots()
    ax.plot(torch.randn(200, generator=torch.Generator().manual_seed(0)).cumsum(0))
    full, size = retina_figure(figure, base64=False)
    encoded, same_size = plots.light_png(figure)
    light = b64decode(encoded)
    assert same_size == size and len(light) < 0.6 * len(full)
    before, after = (Image.open(io.BytesIO(png)).convert("RGB") for png in (full, light))
    assert before.size == after.size
    assert max(high for _, high in ImageChops.difference(before, after).getextrema()) < 24
    plt.close(figure)
    assert plots.light_png(plt.figure()) is None  # nothing drawn, nothing shown


def test_a_picture_as_svg_is_the_same_in_every_run():
    def draw():
        figure, ax = plt.subplots()
        ax.plot([3, 1, 2], label="loss")
        ax.scatter([0, 1, 2], [1, 2, 3])
        ax.legend()
        svg = plots.steady_svg(figure)
        plt.close(figure)
        return svg

    plots.use_style("svg")
    first = draw()
    assert first == draw()
    assert "<dc:date>" not in first and "Matplotlib" not in first and "<text" not in first
    assert re.search(r'<svg [^>]*width="[\d.]+pt"', first)  # book/_ext/mended_pages.py reads the size there
    assert plots.steady_svg(plt.figure()) is None
    with pytest.raises(ValueError, match="expected a picture as 'png' or 'svg', got 'gif'"):
        plots.use_style("gif")
    plots.use_style()


def test_every_model_has_a_look_of_its_own():
    assert set(MODELS) <= set(plots.LOOKS) and {"counts", "baseline"} <= set(plots.LOOKS)
    looks = list(plots.LOOKS.values())
    assert len({(look.color, look.line) for look in looks}) == len(looks), "a line a model"
    assert len({(look.color, look.marker) for look in looks}) == len(looks), "a marker a model"
    families = {name.split("-")[0] for name in ("rnn", "lstm-chrono", "gru-chrono", "rnn-orthogonal")}
    assert all(
        plots.colour_of(name) == plots.colour_of(name.split("-")[0])
        for name in plots.LOOKS
        if name.split("-")[0] in families
    )
    with pytest.raises(ValueError, match=r"one of \['baseline', .* got 'lstn'"):
        plots.style_of("lstn")


# What those see who lack a kind of cone, for linear RGB: Machado and others (2009), at full strength.
EYES = {
    "all cones": torch.eye(3).tolist(),
    "no red": [[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]],
    "no green": [[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]],
}
TO_XYZ = torch.tensor([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])


def linear(color):
    rgb = torch.tensor(to_rgb(color))
    return torch.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)


def contrast(color, paper):
    low, high = sorted((TO_XYZ @ linear(each))[1].item() + 0.05 for each in (color, paper))
    return high / low


def seen(color, eye):
    """A place in CIELAB, where two colours of a distance of 2 can just be told apart side by side."""
    white = TO_XYZ.sum(1)
    x, y, z = (TO_XYZ @ (torch.tensor(EYES[eye]) @ linear(color)).clamp(0, 1) / white) ** (1 / 3)
    return torch.tensor([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def turned_over(color):
    """As a dark page shows it: invert(1) hue-rotate(180deg), and screened over the page."""
    inverse = 1 - torch.tensor(to_rgb(color))
    grey = (inverse * torch.tensor([0.213, 0.715, 0.072])).sum()
    drawn, page = (2 * grey - inverse).clamp(0, 1), torch.tensor(to_rgb("#14181d"))
    return tuple((1 - (1 - drawn) * (1 - page)).tolist())


@pytest.mark.parametrize("color", sorted({look.color for look in plots.LOOKS.values()}))
def test_a_models_colour_stands_out_on_both_pages(color):
    assert contrast(color, "white") >= 3
    assert contrast(turned_over(color), "#14181d") >= 3


@pytest.mark.parametrize("eye", EYES)
def test_every_eye_tells_the_models_colours_apart(eye):
    colors = {look.color for look in plots.LOOKS.values()}
    for one, other in itertools.combinations(sorted(colors), 2):
        assert (seen(one, eye) - seen(other, eye)).norm() > 13, (one, other)


def test_figures_draw_a_model_as_the_table_has_it(ax):
    plots.stored_curve(ax, "hierarchical")
    plots.loss_curve(ax, torch.rand(4_000), model="mlp")
    plots.loss_curve(ax, torch.rand(4_000), model="mlp", color=plots.INK)
    assert [(line.get_color(), line.get_linestyle()) for line in ax.lines] == [
        (plots.BLUE, "--"), (plots.BROWN, "-"), (plots.INK, "-"),
    ]  # fmt: skip
    plots.dots(ax, ["a", "b"], [1.0, 2.0], models=["counts", "flat"])
    assert [(line.get_color(), line.get_marker()) for line in ax.lines[-2:]] == [
        (plots.SOFT, "P"), (plots.BROWN, "D"),
    ]  # fmt: skip
    with pytest.raises(ValueError, match="expected 2 models, one a label, got 1"):
        plots.dots(ax, ["a", "b"], [1.0, 2.0], models=["flat"])


def test_spreads_and_road_take_a_models_colour(ax):
    groups = {"train": [1.0, 2.0], "validation": [1.5, Spread(2.5, 0.1)]}
    plots.spreads(ax, ["a", "b"], groups, models=["flat", "scaled"])
    points = [container[0] for container in ax.containers]
    assert [point.get_color() for point in points] == [plots.BROWN, plots.BLUE, plots.INK] * 2
    assert [point.get_markerfacecolor() == "white" for point in points] == [True] * 3 + [False] * 3
    with pytest.raises(ValueError, match="expected 2 models"):
        plots.spreads(ax, ["a", "b"], groups, models=["flat"])
    figure, ax = plt.subplots()
    plots.road(ax, ["a", "b"], [Spread(2.1, 0.01), Spread(2.0, 0.01)], [2.1, 2.0], ["flat", "scaled"])
    assert [c[0].get_color() for c in ax.containers[:2]] == [plots.BROWN, plots.BLUE]
    plt.close(figure)


HUES = {"BLUE", "RED", "GREEN", "ORANGE", "PINK", "SKY", "BROWN", "DEEP"}
READS_THE_TABLE = re.compile(r"(colour|style|look)_of\(|stored_curve\(|\bmodels?=")
# Cells that name a model in another role.
OTHER_ROLE = {
    ("why_the_loop_is_slow", "cell-030"),  # rows are models, colours are ways to train them
    ("03_eight_char_context", "cell-020"),  # a heat map
}


def wrong_colours(source):
    """What a cell of a notebook that draws models has against the rule of one look a model."""
    source = re.sub(r"^\s*[%!].*$", "", source, flags=re.MULTILINE)
    nodes = list(ast.walk(ast.parse(source)))
    names = {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    by_title = re.search(r"\b(MODELS|stages)\[\w+\]\.title|\bstored_curve\(", source)
    if "plt.subplots" not in source or not (by_title or names & set(plots.LOOKS)):
        return []
    raw = sorted({node.attr for node in nodes if isinstance(node, ast.Attribute)} & HUES)
    raw += sorted(name for name in names if re.fullmatch(r"#[0-9a-fA-F]{6}|C\d|tab:\w+", name))
    return raw or ([] if READS_THE_TABLE.search(source) else ["the default cycle"])


def test_no_figure_of_the_book_gives_a_model_another_colour():
    found = {}
    for path in sorted(BOOK.rglob("*.ipynb")):
        if "_build" in path.parts or ".ipynb_checkpoints" in path.parts:
            continue
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
            if cell["cell_type"] == "code" and (path.stem, cell["id"]) not in OTHER_ROLE:
                if wrong := wrong_colours("".join(cell["source"])):
                    found[f"{path.stem}, {cell['id']}"] = wrong
    assert found == {}, "draw a model with plots.colour_of or plots.style_of"


@pytest.mark.parametrize(
    "drawn, wrong",
    [
        ('ax.plot(loss["scaled"], color=plots.RED)', ["RED"]),
        ('ax.plot(loss["gru"], color="#0072B2")', ["#0072B2"]),
        ("ax.plot(loss[name], label=MODELS[name].title)", ["the default cycle"]),
        ('ax.plot(loss["gru"], **plots.style_of("gru"))', []),
        ("ax.plot(loss[rate], color=plots.RED)", []),  # no model
    ],
)
def test_the_rule_finds_a_raw_colour(drawn, wrong):
    assert wrong_colours(f"fig, ax = plt.subplots()\n{drawn}") == wrong
