"""Small things to play with, which work in a live notebook and in the static page alike."""

import base64
import html
import io
from collections.abc import Sequence

import ipywidgets
import matplotlib.pyplot as plt


def flipbook(figures: Sequence, labels: Sequence[str], description: str, start: int = 0) -> ipywidgets.VBox:
    """A slider that turns the pages of a stack of figures; closes the figures.

    labels: what each page shows, written below it; also its alternative text.

    The link between slider and pages runs in the browser, so that it needs no kernel.
    ValueError where figures and labels differ in number.
    """
    if len(figures) != len(labels) or not figures:
        raise ValueError(f"expected one label a figure, got {len(figures)} figures and {len(labels)} labels")
    pages = []
    for figure, label in zip(figures, labels, strict=True):
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=160)
        plt.close(figure)
        data, text = base64.b64encode(buffer.getvalue()).decode(), html.escape(label, quote=True)
        # not ipywidgets.Image, which has no alternative text
        image = f'<img alt="{text}" style="max-width: 100%" src="data:image/png;base64,{data}">'
        pages.append(ipywidgets.HTML(f"{image}<p><em>{text}</em></p>"))
    stack = ipywidgets.Stack(pages, selected_index=start)
    slider = ipywidgets.IntSlider(
        value=start, min=0, max=len(pages) - 1, description=description, readout=False,
        style={"description_width": "initial"}, layout={"width": "95%"},
    )  # fmt: skip
    ipywidgets.jslink((slider, "value"), (stack, "selected_index"))
    return ipywidgets.VBox([slider, stack], layout={"overflow": "hidden"})
