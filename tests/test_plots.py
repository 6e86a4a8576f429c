"""Figures show the data that they were given."""

import io
import re
from base64 import b64decode

import matplotlib.pyplot as plt
import pytest
import torch
from IPython.core.pylabtools import retina_figure
from PIL import Image, ImageChops

from common.evaluate import Spread
from common.pages import plots


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
