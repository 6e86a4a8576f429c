"""Widgets hold their pages, with alternative texts, and link them in the browser."""

import matplotlib.pyplot as plt
import pytest

from common.widgets import flipbook


def figures(count):
    return [plt.figure() for _ in range(count)]


def test_flipbook_links_slider_and_pages(monkeypatch):
    links = []
    monkeypatch.setattr("ipywidgets.jslink", lambda a, b: links.append((a, b)))
    book = flipbook(figures(3), ["one", "two", "<three>"], "page", start=1)
    slider, stack = book.children
    assert (slider.min, slider.max, slider.value, slider.description) == (0, 2, 1, "page")
    assert stack.selected_index == 1 and len(stack.children) == 3
    assert links == [((slider, "value"), (stack, "selected_index"))]
    assert 'alt="two"' in stack.children[1].value and "data:image/png;base64," in stack.children[1].value


def test_labels_are_never_html():
    book = flipbook(figures(1), ['<b>"x"'], "page")
    value = book.children[1].children[0].value
    assert "<b>" not in value and "&lt;b&gt;&quot;x&quot;" in value


def test_flipbook_closes_its_figures():
    before = set(plt.get_fignums())
    flipbook(figures(2), ["a", "b"], "page")
    assert set(plt.get_fignums()) == before


@pytest.mark.parametrize("count, labels", [(2, ["a"]), (0, [])])
def test_flipbook_wants_a_label_a_figure(count, labels):
    made = figures(count)
    with pytest.raises(ValueError, match="one label a figure"):
        flipbook(made, labels, "page")
    for figure in made:
        plt.close(figure)
