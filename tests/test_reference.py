"""The reference pages of the core: nothing public is missing on them, and the examples in it hold."""

import doctest
import importlib
import inspect
import pkgutil
import re
from pathlib import Path

import pytest
import yaml

import common

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted((ROOT / "book" / "reference").glob("*.md"))
OTHER_ROOMS = ("common.fast", "common.runs", "common.pages", "common.__main__")


def modules_of_the_core() -> list[str]:
    found = (module.name for module in pkgutil.walk_packages(common.__path__, "common."))
    return [name for name in found if not name.startswith(OTHER_ROOMS)]


CORE = modules_of_the_core()


def public(module, imported: bool = False) -> dict[str, object]:
    """The functions and classes that a module defines and does not keep to itself, by name."""
    return {
        name: thing
        for name, thing in vars(module).items()
        if (inspect.isclass(thing) or inspect.isfunction(thing))
        and (imported or thing.__module__ == module.__name__)
        and not name.startswith("_")
    }


def documented() -> list[object]:
    """What the pages show: modules, packages with what they import, and single functions."""
    shown = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        automodules = r"^\.\. automodule:: (\S+)\n   :members:\n(   :imported-members:)?"
        for address, imported in re.findall(automodules, text, re.MULTILINE):
            shown += public(importlib.import_module(address), bool(imported)).values()
        for address in re.findall(r"^\.\. autofunction:: (\S+)", text, re.MULTILINE):
            module, _, name = address.rpartition(".")
            shown.append(getattr(importlib.import_module(module), name))
    return shown


@pytest.mark.parametrize("name", CORE)
def test_every_public_function_and_class_is_on_a_page_and_explained(name):
    shown = [id(thing) for thing in documented()]
    for own, thing in public(importlib.import_module(name)).items():
        assert id(thing) in shown, f"{name}.{own} is on no page of book/reference/"
        assert (thing.__doc__ or "").strip(), f"{name}.{own} has no docstring"


def test_no_page_shows_a_thing_twice():
    shown = documented()
    assert len({id(thing) for thing in shown}) == len(shown)


def test_the_pages_stand_in_the_table_of_contents():
    toc = yaml.safe_load((ROOT / "book" / "_toc.yml").read_text(encoding="utf-8"))
    (reference,) = [part for part in toc["parts"] if part["caption"] == "Reference"]
    listed = {entry["file"] for entry in reference["chapters"]}
    assert {f"reference/{page.stem}" for page in PAGES} <= listed


# ---- examples --------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["common", *CORE])
def test_the_examples_in_the_docstrings_hold(name, capsys):
    failed, _ = doctest.testmod(importlib.import_module(name))
    assert failed == 0, capsys.readouterr().out


MOST_USED = """
    nn.Linear nn.Embedding nn.Flatten nn.FlattenConsecutive nn.BatchNorm1d nn.LayerNorm nn.CausalConv1d
    nn.Tanh nn.ReLU nn.SiLU nn.Gate nn.Dropout nn.VariationalDropout nn.PositionalEmbedding nn.Recurrent
    nn.MultiheadAttention nn.attention_weights nn.causal_mask
    nn.Cell nn.RNNCell nn.LSTMCell nn.GRUCell nn.RNN nn.LSTM nn.GRU nn.unroll nn.from_torch
    nn.Residual nn.Sequential nn.Module nn.TorchModule models.MLP models.Tree models.Dilated models.WaveNet
    models.RecurrentNetwork models.SentenceClassifier models.Transformer models.TransformerBlock
    data.Vocabulary data.windows data.sequences data.split_names optim.SGD optim.AdamW train.Config.lr_at
    evaluate.smooth evaluate.spread sampling.sample
    sampling.probabilities constraints.Automaton
""".split()


@pytest.mark.parametrize("address", MOST_USED)
def test_what_is_used_most_has_an_example(address):
    room, *names = address.split(".")
    thing = importlib.import_module(f"common.{room}")
    for name in names:
        thing = getattr(thing, name)
    assert ">>> " in thing.__doc__


def test_every_layer_is_among_what_is_used_most():
    from common import nn

    layers = {name for name, thing in vars(nn).items() if inspect.isclass(thing)}
    assert layers <= {address.removeprefix("nn.") for address in MOST_USED}
