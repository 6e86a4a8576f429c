"""What a chapter states of a setting that stands elsewhere: a default of `common`, or of a library.

The chapter's text marks such a figure as given, so no cell of it holds it. Here it is read from the code.
"""

import inspect
import re
from types import SimpleNamespace

import nbformat
import optuna
import pytest

from common.models import mlp
from common.optim import Muon
from common.pages import plots
from common.pages.told import in_words
from common.runs import sweep
from common.runs.provenance import ROOT
from common.sampling import sample


def default(function, name):
    return inspect.signature(function).parameters[name].default


def before_pruning():
    asked = SimpleNamespace(scheduler="median", evaluate_every=1)
    return sweep._pruner(asked)._n_startup_trials


STATED = {  # a page of part one, and its words with the figure left open -> the figure
    ("02", "averaged over a (.*?) steps"): {1_000: "thousand"}[default(plots.loss_curve, "window")],
    ("10", r"until the limit \((.*?)\) forces an x"): str(default(sample, "max_length")),
    ("12", "its first (.*?) trials are drawn at random"): in_words(
        default(optuna.samplers.TPESampler, "n_startup_trials")
    ),
    ("12", "Once (.*?) are completed, it is stopped"): in_words(before_pruning()),
    ("12", "the leading runs, here a (.*?), lie"): {0.25: "quarter"}[default(sweep.importance, "share")],
    ("13", "multiplies the rate of the matrices by (.*?),"): in_words(int(Muon.factor)),
    ("13", r"with a last layer that is multiplied by (.*?)\. Left"): str(mlp.OUTPUT_SCALE),
}


@pytest.mark.parametrize("place", STATED, ids=lambda place: f"{place[0]}: {place[1][:30]}")
def test_a_setting_is_the_one_of_the_code(place):
    chapter, words = place
    [path] = (ROOT / "book" / "wavenet").glob(f"{chapter}_*.ipynb")
    cells = nbformat.read(path, as_version=4).cells
    texts = [c.source for c in cells if c.cell_type == "markdown"]
    texts += [c.metadata.get("mystnb", {}).get("figure", {}).get("caption", "") for c in cells]
    found = re.findall(words, "\n".join(texts))
    assert [re.sub(r"<!--.*?-->", "", text) for text in found] == [STATED[place]]
