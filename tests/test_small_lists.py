"""Chapters run with a list of the reader's own, however small, and with fewer letters than the book's."""

import inspect
import json
from pathlib import Path

import matplotlib
import pytest

from common import train
from common.fast import loop

PAGES = Path(__file__).resolve().parents[1] / "book" / "wavenet"
THIRTY = (  # no j, q or x among them
    "ada abe amy anna ben bea carl cleo dan dora ed eva finn gus hal ida kim kira leo lou mac mia nat noa"
    " otto pam ray sue tom zoe"
)


@pytest.mark.filterwarnings("ignore")  # of a standard deviation of one name, for instance
@pytest.mark.parametrize("chapter", ["13_beating_1993"])
def test_a_chapter_runs_with_thirty_names_that_lack_letters(chapter, tmp_path, monkeypatch):
    own = tmp_path / "own.txt"
    own.write_text("\n".join(THIRTY.split()) + "\n")

    def few(steps):
        """A loop that takes two steps where it is asked for many: what is tested is the cells."""
        take = inspect.signature(steps).bind

        def fewer(*given, **named):
            bound = take(*given, **named)
            bound.arguments["stop"] = min(bound.arguments["stop"], bound.arguments["start"] + 2)
            return steps(*bound.args, **bound.kwargs)

        return fewer

    for where, name in ((loop, "composed_steps"), (train, "composed_steps"), (train, "plain_steps")):
        monkeypatch.setattr(where, name, few(getattr(where, name)))
    monkeypatch.setenv("NAMES", str(own))
    monkeypatch.chdir(PAGES)
    matplotlib.use("Agg")
    notebook, names = json.loads((PAGES / f"{chapter}.ipynb").read_text(encoding="utf-8")), {}
    for number, cell in enumerate(notebook["cells"]):
        if cell["cell_type"] == "code":
            exec(compile("".join(cell["source"]), f"{chapter}, cell {number}", "exec"), names)
