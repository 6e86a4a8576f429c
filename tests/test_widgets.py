import json
import re
import struct
import sys
from pathlib import Path

import anywidget
import nbformat
import pytest
import torch

from common import models, nn
from common.data import Vocabulary
from common.data.reviews import words_of
from common.nn import Module, Sequential
from common.pages import plots, widgets

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tools"))
from notebooks import WIDGET_STATE, WIDGET_VIEW, refresh_front_ends  # noqa: E402

VOCABULARY = Vocabulary("abcdefghijklmnopqrstuvwxyz")


def trained(name):
    """A model with running statistics that are not those of the start."""
    g = torch.Generator().manual_seed(1)
    model = models.MODELS[name].build(generator=g)
    for _ in range(3):
        model(torch.randint(0, 27, (64, models.MODELS[name].block_size), generator=g))
    return model


def read(stages, weights):
    """The front end's view of packed models: each layer with its numbers."""
    numbers = struct.unpack(f"<{len(weights) // 4}f", weights)
    for stage in stages:
        for layer in stage["layers"]:
            for key in ("weight", "bias", "before", "scale", "shift"):
                if key in layer:
                    start, length = layer[key]
                    layer[key] = torch.tensor(numbers[start : start + length])
    return stages


def forward(stage, x):
    """What model.js computes, written down once more with tensors."""
    for layer in stage["layers"]:
        match layer["kind"]:
            case "embedding":
                x = layer["weight"].view(-1, layer["channels"])[x]
            case "flatten":
                B, T, C = x.shape
                n = layer["n"] or T
                x = x.reshape(B, T // n, C * n).squeeze(1) if n == T else x.reshape(B, T // n, C * n)
            case "linear":
                x = x @ layer["weight"].view(layer["inputs"], layer["outputs"]) + layer.get("bias", 0)
            case "convolution":
                taps, inputs, T = layer["taps"], layer["inputs"], x.shape[1]
                front = layer["before"].expand(len(x), (taps - 1) * layer["dilation"], -1)
                x = torch.cat([front, x], dim=1)
                weight = layer["weight"].view(taps, inputs, layer["outputs"])
                each = [x[:, k * layer["dilation"] :][:, :T] @ weight[k] for k in range(taps)]
                x = sum(each) + layer.get("bias", 0)
            case "affine":
                x = (
                    x.flatten(1).view(len(x), -1, len(layer["scale"])) * layer["scale"] + layer["shift"]
                ).view(x.shape)
            case "tanh":
                x = x.tanh()
    return x


@pytest.mark.parametrize("name", models.tagged("lecture"))
def test_packed_models_compute_the_same(name):
    model = trained(name)
    [stage] = read(*widgets.packed({name: (models.MODELS[name], model)}))
    x = torch.randint(0, 27, (50, stage["blockSize"]), generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(forward(stage, x), model.eval()(x), atol=1e-5, rtol=1e-5)
    assert stage["parameters"] == models.count_parameters(model)
    assert stage["title"] == models.MODELS[name].title


def test_several_models_share_one_string_of_numbers():
    both = {name: trained(name) for name in ("mlp", "scaled")}
    widget = widgets.playground(both, VOCABULARY, ["emma"], compare=True)
    stages = read(json.loads(json.dumps(widget.stages)), widget.weights)
    for stage, (name, model) in zip(stages, both.items(), strict=True):
        x = torch.zeros((1, stage["blockSize"]), dtype=torch.long)
        torch.testing.assert_close(forward(stage, x), model.eval()(x), atol=1e-5, rtol=1e-5)
        assert stage["name"] == name
    assert (widget.left, widget.right) == ("mlp", "scaled")


def test_a_layer_that_the_page_does_not_know_is_refused():
    class Odd(Module):
        pass

    with pytest.raises(ValueError, match=r"layer that the page can compute, got Odd\(\)"):
        widgets.packed({"mlp": (models.MODELS["mlp"], Sequential([Odd()]))})


@pytest.mark.parametrize("given", [{}, {"unheard": None}])
def test_models_go_by_their_names(given):
    with pytest.raises(ValueError, match=r"expected models named as in \['mlp'"):
        widgets.playground(given, VOCABULARY, ["emma"])


def test_the_model_beside_the_first_may_be_named():
    three = {name: trained(name) for name in ("mlp", "flat", "scaled")}
    assert widgets.playground(three, VOCABULARY, ["emma"], compare="flat").right == "flat"
    with pytest.raises(ValueError, match=r"compare to be one of \['mlp', 'flat', 'scaled'\], got 'small'"):
        widgets.playground(three, VOCABULARY, ["emma"], compare="small")


def test_winners_stand_in_the_playground_and_in_no_tree():
    winner = {"small": models.MODELS["small"].build()}
    [stage] = widgets.playground(winner, VOCABULARY, ["emma"]).stages
    assert (stage["name"], stage["blockSize"]) == ("small", None)
    with pytest.raises(ValueError, match=r"expected models named as in \['mlp'.*'scaled'\], got \['small'\]"):
        widgets.tree(winner, VOCABULARY, "emma")


def test_playground_holds_the_training_names_once():
    widget = widgets.playground({"mlp": trained("mlp")}, VOCABULARY, ["emma", "ada", "emma"], prefix="em")
    assert (widget.names, widget.prefix, widget.right) == ("ada\nemma", "em", "")
    assert widget.characters == "." + "abcdefghijklmnopqrstuvwxyz"


def test_tree_starts_where_it_is_told():
    widget = widgets.tree({"hierarchical": trained("hierarchical")}, VOCABULARY, "emma", level=2)
    assert (widget.text, widget.level) == ("emma", 2)


@pytest.mark.parametrize("name", ["hierarchical", "scaled"])
def test_the_convolution_widget_holds_the_convolution(name):
    network = models.as_convolution(trained(name).eval())
    widget = widgets.convolution(network, VOCABULARY, "emma", step=2)
    [stage] = read(json.loads(json.dumps(widget.stages)), widget.weights)
    x = torch.randint(0, 27, (20, 9), generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(forward(stage, x), network(x), atol=1e-5, rtol=1e-5)
    assert (widget.text, widget.step) == ("emma", 2)
    assert [layer["dilation"] for layer in stage["layers"] if layer["kind"] == "convolution"] == [1, 2, 4]


def test_the_receptive_field_starts_where_it_is_told():
    widget = widgets.receptive_field(256, kernel_size=3, layers=5, stacks=1, channels=24)
    state = (widget.vocabulary, widget.kernel_size, widget.layers, widget.stacks, widget.channels)
    assert state == (256, 3, 5, 1, 24)
    assert (widget.growth, widget.block, widget.back) == ("doubling", "skip", 0)


def test_batchnorm_axes_holds_what_comes_before_the_first_norm():
    model = trained("hierarchical")
    x = torch.randint(0, 27, (20, 8), generator=torch.Generator().manual_seed(2))
    widget = widgets.batchnorm_axes(model, x, channel=5)
    [stage] = read(json.loads(json.dumps(widget.stages)), widget.weights)
    before = model.layers[2](model.layers[1](model.layers[0](x)))
    torch.testing.assert_close(forward(stage, x), before)
    assert torch.equal(torch.tensor(list(widget.contexts)).view(20, 8), x)
    assert widget.channel == 5


def test_loss_curves_keep_the_losses_to_a_thousandth_of_a_percent():
    losses = torch.rand(100, generator=torch.Generator().manual_seed(0)) * 3 + 1
    widget = widgets.loss_curves({"a": losses, "b": losses + 1}, drop=75)
    low, high = widget.range
    levels = struct.unpack("<200H", widget.losses)
    kept = torch.tensor([low + level / 65_535 * (high - low) for level in levels])
    torch.testing.assert_close(kept, torch.cat([losses, losses + 1]), atol=5e-5, rtol=0)
    assert (widget.labels, widget.drop, widget.hue) == (["a", "b"], 75, "")


def test_a_loss_curve_has_its_models_colour():
    losses = torch.ones(9)
    assert widgets.loss_curves({"a": losses}, model="mlp").hue == "brown"
    with pytest.raises(ValueError, match="expected one run in the colour of 'mlp', got 2"):
        widgets.loss_curves({"a": losses, "b": losses}, model="mlp")
    with pytest.raises(ValueError, match="expected a model with a look in plots.LOOKS"):
        widgets.loss_curves({"a": losses}, model="mpl")
    style = (Path(widgets.__file__).parent / "widgets.css").read_text(encoding="utf-8")
    assert set(widgets.HUES) == {look.color for look in plots.LOOKS.values()}
    for color, hue in widgets.HUES.items():
        assert f".wn-{hue} {{ --wn-colour: var(--wn-{hue}); }}" in style
        if hue not in ("soft", "ink", "pink"):  # which follow the page; darker, for small marks
            assert f"--wn-{hue}: {color.lower()};" in style


@pytest.mark.parametrize(
    "runs, message",
    [
        ({}, r"same number of steps, got \[\]"),
        ({"a": torch.ones(9), "b": torch.ones(8)}, r"same number of steps, got \[8, 9\]"),
        ({"a": torch.ones(4)}, "at least 5 steps, got 4"),
    ],
)
def test_loss_curves_refuse(runs, message):
    with pytest.raises(ValueError, match=message):
        widgets.loss_curves(runs)


def test_the_valley_knows_its_optimisers():
    assert widgets.valley("adam", rate=0.3).kind == "adam"
    with pytest.raises(ValueError, match="expected one of .*'adam'.*, got 'newton'"):
        widgets.valley("newton")


WORDS = words_of(["a good film", "a bad film"], minimum=1)


def test_the_sentence_reader_holds_the_words_and_starts_where_it_is_told():
    model = models.SentenceClassifier(len(WORDS), n_embd=4, n_hidden=3)
    widget = widgets.sentence_reader(model, WORDS, ["A good film.", "Bad."], temperature=1.3)
    assert widget.words.split("\n") == list(WORDS.tokens) == ["<pad>", "<unk>", "a", "bad", "film", "good"]
    assert (widget.text, widget.unknown, widget.temperature) == ("A good film.", 1, 1.3)
    assert [layer["kind"] for layer in widget.stages[0]["layers"]] == ["embedding", "ways", "pool", "linear"]
    assert widgets.sentence_reader(model, WORDS, text="bad").text == "bad"


@pytest.mark.parametrize(
    "sizes, given, message",
    [
        ({"classes": 3}, {}, "model of two classes and a name for each"),
        ({}, {"labels": ("bad",)}, r"model of two classes and a name for each, .*\('bad',\)"),
        ({"vocab_size": 7}, {}, "vocabulary of 7 words, one of them for the unknown, got 6"),
        ({}, {"temperature": 0.0}, "temperature above 0, got 0.0"),
    ],
)
def test_the_sentence_reader_refuses(sizes, given, message):
    model = models.SentenceClassifier(**{"vocab_size": len(WORDS), "n_embd": 4, "n_hidden": 3} | sizes)
    with pytest.raises(ValueError, match=message):
        widgets.sentence_reader(model, WORDS, **given)


def test_the_sentence_reader_takes_no_characters():
    with pytest.raises(ValueError, match="model of two classes"):
        widgets.sentence_reader(models.StatefulNetwork(2), WORDS)


LETTERS = Vocabulary("ab \n.", end="<end>")


def test_the_text_writer_holds_the_characters_and_starts_where_it_is_told():
    model = models.StatefulNetwork(len(LETTERS), n_embd=4, n_hidden=3)
    widget = widgets.text_writer(model, LETTERS, text="ab", units={"a blank": 2}, temperature=0.5)
    assert widget.tokens == ["", "\n", " ", ".", "a", "b"], "no text holds the end"
    assert (widget.text, widget.units, widget.temperature) == ("ab", [["a blank", 2]], 0.5)
    assert [layer["kind"] for layer in widget.stages[0]["layers"]] == ["embedding", "lstm", "linear"]
    dotted = models.StatefulNetwork(3, nn.GRU, n_embd=4, n_hidden=3)
    assert widgets.text_writer(dotted, Vocabulary("ab")).tokens == [".", "a", "b"], "the end is a character"


@pytest.mark.parametrize(
    "sizes, given, message",
    [
        ({"layers": 2}, {}, r"one recurrent layer that reads forwards, .*got \['embedding', 'lstm', 'lstm'"),
        ({"vocab_size": 7}, {}, "vocabulary of the model's characters, 7 in and 7 out, got Vocabulary"),
        ({}, {"units": {"a": 0, "b": 3}}, r"units from 0 to 2, got \[3\]"),
        ({}, {"units": {"a": -1}}, r"units from 0 to 2, got \[-1\]"),
        ({}, {"temperature": 0.0}, "temperature from 0.1 to 2, got 0.0"),
        ({}, {"temperature": 2.5}, "temperature from 0.1 to 2, got 2.5"),
        ({}, {"text": "a" * 1001}, "text of at most 1,000 characters, got 1,001"),
    ],
)
def test_the_text_writer_refuses(sizes, given, message):
    model = models.StatefulNetwork(**{"vocab_size": len(LETTERS), "n_embd": 4, "n_hidden": 3} | sizes)
    with pytest.raises(ValueError, match=message):
        widgets.text_writer(model, LETTERS, **given)


def test_the_text_writer_takes_no_words_and_no_model_that_reads_both_ways():
    with pytest.raises(ValueError, match="vocabulary of the model's characters, 6 in and 6 out"):
        widgets.text_writer(models.StatefulNetwork(len(WORDS), n_embd=4, n_hidden=3), WORDS)
    both = models.StatefulNetwork(len(LETTERS), n_embd=4, n_hidden=3)
    both.recurrent, both.output = nn.LSTM(4, 3, bidirectional=True), nn.Linear(6, len(LETTERS))
    with pytest.raises(ValueError, match=r"reads forwards, .*got \['embedding', 'ways', 'linear'\]"):
        widgets.text_writer(both, LETTERS)
    with pytest.raises(ValueError, match=r"got \['embedding', 'ways', 'pool', 'linear'\]"):
        widgets.text_writer(models.SentenceClassifier(len(LETTERS), n_embd=4, n_hidden=3), LETTERS)


NAMES = Vocabulary("abc")


def test_the_heads_know_their_blocks_and_start_where_they_are_told():
    model = models.Transformer(4, 8, 2, 3, length=9)
    widget = widgets.attention_heads(model, NAMES, "cab", block=2, head=1)
    assert (widget.text, widget.characters, widget.block, widget.head) == ("cab", ".abc", 2, 1)
    kinds = [layer["kind"] for layer in widget.stages[0]["layers"]]
    assert kinds == ["embedding", "position", "block", "block", "block", "layernorm", "linear"]


@pytest.mark.parametrize(
    "model, given, message",
    [
        (models.Transformer(4, 8, 2, 3), {"block": 3}, r"blocks with \[2, 2, 2\] heads, got block 3, head 0"),
        (models.Transformer(4, 8, 2, 3), {"head": 2}, r"blocks with \[2, 2, 2\] heads, got block 0, head 2"),
        (models.Transformer(5, 8, 2, 1), {}, "the characters that it says, got Transformer and 4 characters"),
        (models.StatefulNetwork(4), {}, "expected a Transformer .*, got StatefulNetwork"),
    ],
)
def test_heads_refuse(model, given, message):
    with pytest.raises(ValueError, match=message):
        widgets.attention_heads(model, NAMES, "cab", **given)


def free(inputs=1, outputs=1):
    return nn.RNN(inputs, 3), nn.Linear(3, outputs)


def test_the_wave_drawing_holds_its_forecasters():
    widget = widgets.wave_drawing(
        {"a": (*free(), torch.tensor([1.0, 2.0])), "b": (*free(), [0.5])}, torch.ones(300), units={"b": 0.6}
    )
    assert [stage["title"] for stage in widget.stages] == ["a", "b"]
    assert (widget.linear, widget.units, len(widget.series)) == ([[1.0, 2.0], [0.5]], [1.0, 0.6], 250)


@pytest.mark.parametrize(
    "forecasters, series, units, message",
    [
        ({"a": (*free(2), [1.0])}, [0.0] * 250, None, r"one input and one output a step, got \(2, 1\)"),
        ({"a": (*free(1, 3), [1.0])}, [0.0] * 250, None, r"one input and one output a step, got \(1, 3\)"),
        ({"a": (*free(), [])}, [0.0] * 250, None, r"with 1 to 150 weights, got \[0\]"),
        ({"a": (*free(), [0.0] * 151)}, [0.0] * 250, None, r"with 1 to 150 weights, got \[151\]"),
        ({}, [0.0] * 250, None, r"with 1 to 150 weights, got \[\]"),
        ({"a": (*free(), [1.0])}, [0.0] * 249, None, "250 steps and units of .*, got 249"),
        ({"a": (*free(), [1.0])}, [0.0] * 250, {"b": 1.0}, r"units of \['a'\], got 250 and {'b': 1.0}"),
    ],
)
def test_the_wave_drawing_refuses(forecasters, series, units, message):
    with pytest.raises(ValueError, match=message):
        widgets.wave_drawing(forecasters, series, units=units)


def searched(number, value, **params):
    """A run of a search, as `run_explorer` takes it."""
    return {"number": number, "value": value, "params": params, "steps": [10, 20], "val": [value + 1, value]}


def test_the_run_explorer_makes_an_axis_of_each_parameter():
    runs = [searched(0, 2.5, lr=0.1, kind="a", width=3), searched(4, 2.123456, lr=0.001, kind="b", width=8)]
    widget = widgets.run_explorer(
        runs, {"kind": "kind", "lr": "rate", "width": "width"}, log=["lr"], pinned=[4]
    )
    assert json.loads(json.dumps(widget.axes)) == [
        {"name": "kind", "label": "kind", "kind": "category", "values": ["a", "b"]},
        {"name": "lr", "label": "rate", "kind": "log", "range": [0.001, 0.1]},
        {"name": "width", "label": "width", "kind": "linear", "range": [3, 8]},
    ]
    assert [run["value"] for run in widget.runs] == [2.5, 2.1235]
    assert widget.runs[1]["val"] == [3.123, 2.123] and widget.pinned == [4]


@pytest.mark.parametrize(
    "runs, message",
    [
        ([searched(0, 2.0, lr=1.0)], "at least two runs, got 1"),
        ([searched(0, 2.0, lr=1.0), searched(1, 2.0)], "parameters and a curve of every run"),
        ([searched(0, 2.0, lr=1.0), searched(1, 2.0, lr=1.0) | {"val": [2.0]}], "parameters and a curve"),
        ([searched(0, 2.0, lr=0.0), searched(1, 2.0, lr=1.0)], "lr above 0 on a logarithmic scale, got 0.0"),
    ],
)
def test_the_run_explorer_refuses(runs, message):
    with pytest.raises(ValueError, match=message):
        widgets.run_explorer(runs, {"lr": "rate"}, log=["lr"])


FRONTS = [kind for kind in vars(widgets).values() if isinstance(kind, type) and "_esm" in vars(kind)]


@pytest.mark.parametrize("kind", FRONTS)
def test_front_ends_never_make_html_of_text(kind):
    source = kind._esm if isinstance(kind._esm, str) else Path(kind._esm).read_text()
    assert issubclass(kind, anywidget.AnyWidget)
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(", source)
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)|\bimport\b|fetch\(", source)
    assert source.rstrip().endswith("export default { render };")


@pytest.mark.parametrize("kind", FRONTS)
def test_a_widget_that_has_not_run_says_what_will_appear(kind):
    said = kind.sentence()
    assert re.fullmatch(r"Run this cell to see [^<>]{20,}\.", said) and len(said) < 110, "longer ones are cut"
    assert kind.shows != widgets.Front.shows


def test_the_sentence_is_what_a_notebook_stores():
    data, _ = widgets.valley()._repr_mimebundle_()
    assert data["text/plain"] == widgets.Valley.sentence() == repr(widgets.valley())


def test_stored_views_get_todays_sentence():
    def output():
        view = {WIDGET_VIEW: {"model_id": "a"}, "text/plain": "<common.pages.widgets.Valley object at 0x7f>"}
        return nbformat.v4.new_output("execute_result", view)

    nb = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("valley()", outputs=[output()])])
    state = {"_anywidget_id": "common.pages.widgets.Valley", "rate": 0.5}
    nb.metadata["widgets"] = {WIDGET_STATE: {"state": {"a": {"state": state}}}}
    refresh_front_ends(nb)
    assert nb.cells[0].outputs[0].data["text/plain"] == widgets.Valley.sentence()
    other = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1", outputs=[output()])])
    refresh_front_ends(other)  # a widget of someone else
    assert "0x7f" in other.cells[0].outputs[0].data["text/plain"]
