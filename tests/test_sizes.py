"""Sizes as people write them become what the models take, or are refused by name."""

import pytest

from common.models import tagged
from common.nn import RNN
from common.runs.sizes import LAYERS, build_model, checked_sizes, known_sizes

RECIPES = tagged("trainable")


@pytest.mark.parametrize(
    "model, sizes, expected",
    [
        ("wavenet", {"gate": "No", "skip": "TRUE"}, {"gate": False, "skip": True}),
        ("wavenet", {"dilations": [1, 2], "dropout": 0}, {"dilations": (1, 2), "dropout": 0.0}),
        ("dilated", {"n_hidden": 8, "activation": "gate"}, {"n_hidden": 8, "activation": "gate"}),
        ("dilated", {"n_hidden": [8, 8, 16]}, {"n_hidden": (8, 8, 16)}),
        ("transformer", {"blocks": 0, "length": 50}, {"blocks": 0, "length": 50}),
    ],
    ids=str,
)
def test_sizes_are_taken_by_the_types_of_their_defaults(model, sizes, expected):
    taken = checked_sizes(RECIPES[model], sizes)
    assert taken == expected and list(map(type, taken.values())) == list(map(type, expected.values()))
    assert repr(build_model(RECIPES[model], 27, sizes)) == repr(RECIPES[model].build(27, **expected))


@pytest.mark.parametrize("model", RECIPES)
def test_no_size_takes_what_is_not_of_its_kind(model):
    wrong = {bool: (1, "", "maybe"), int: (-1, 2.0, True, "3", None), float: (-0.1, 1, True, "0.1")}
    wrong |= {str: (1, True), tuple: (2, "[1]", [0], [1.5], [True]), type: (1, RNN, "RNN", "Module", ["gru"])}
    for name, parameter in known_sizes(RECIPES[model]).items():
        for value in wrong[type(parameter.default)]:
            with pytest.raises(ValueError, match=f"expected {name} to be"):
                build_model(RECIPES[model], 27, {name: value})


def test_sizes_that_no_memory_holds_are_refused():
    with pytest.raises(ValueError, match="no model of the sizes .*2147483647.* can be built here"):
        build_model(RECIPES["dilated"], 27, {"n_hidden": 2**31 - 1})


def test_a_size_that_a_model_does_not_have_is_refused_with_those_that_it_has():
    with pytest.raises(ValueError, match="expected sizes among cell, .*n_embd, n_hidden, got depth, levels"):
        checked_sizes(RECIPES["recurrent"], {"depth": 3, "levels": 2})


@pytest.mark.parametrize("word, layer", LAYERS.items())
def test_a_layer_is_chosen_by_a_word(word, layer):
    recipe, sizes = RECIPES["sentences"], {"layer": word, "pool": "max", "bidirectional": "no"}
    assert checked_sizes(recipe, sizes) == {"layer": word, "pool": "max", "bidirectional": False}
    built = build_model(recipe, 27, sizes, classes=5)
    expected = recipe.build(27, 5, layer, pool="max", bidirectional=False)
    assert repr(built) == repr(expected) and type(built.recurrent) is layer
    assert built.output.weight.shape == (64, 5)


def test_a_layer_cannot_be_chosen_where_the_models_name_says_it():
    assert "layer" in known_sizes(RECIPES["sentences"])
    for model in ("rnn", "lstm", "gru"):
        with pytest.raises(ValueError, match="expected sizes among dropout, .*, got layer"):
            checked_sizes(RECIPES[model], {"layer": "gru"})
    for fixed in ("classes", "vocab_size", "generator"):
        with pytest.raises(ValueError, match=f"got {fixed}"):
            checked_sizes(RECIPES["sentences"], {fixed: 3})
