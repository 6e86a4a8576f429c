"""What chapters 8 and 9 were published with: their own code, run by tools/stacks.py and tools/sound.py."""

import base64
import re
import sys

import pytest
import torch

from common.data import SHIPPED_NAMES, load_names
from common.evaluate import spread
from common.pages import widgets
from common.pages.measure import measure_of
from common.pages.results import stored_results
from common.runs.provenance import ROOT

sys.path.insert(0, str(ROOT / "tools"))
import sound  # noqa: E402
import stacks  # noqa: E402

MODELS = stored_results("sound")["models"]


@pytest.fixture(scope="module")
def taught():
    return sound.chapter()


@pytest.mark.parametrize("stored, tool", [("sound", sound), ("stacks", stacks)])
def test_every_network_has_three_seeds_with_where_they_come_from(stored, tool):
    content = stored_results(stored)
    known = [*sound.NETWORKS, *sound.NAMES] if tool is sound else [*stacks.DEEP, *stacks.NORMED]
    assert list(content["models"]) == known and content["made_by"] == f"tools/{stored}.py"
    for name, entry in content["models"].items():
        assert [run["seed"] for run in entry["runs"]] == [0, 1, 2]
        assert measure_of(entry, name).unit == "nats"
        assert all({"commit", "date", "machine"} <= set(each) for each in entry["provenance"])


def test_the_control_has_the_size_of_the_long_network_and_the_field_of_the_short_one():
    fields = {name: 1 + sum(MODELS[name]["dilations"]) for name in sound.NETWORKS}
    assert fields == {"long": 1024, "near": 16, "short": 16}
    sizes = {name: {run["parameters"] for run in MODELS[name]["runs"]} for name in sound.NETWORKS}
    assert sizes["near"] == sizes["long"] != sizes["short"]
    assert len(MODELS["near"]["dilations"]) == len(MODELS["long"]["dilations"]) == 10


def test_a_stored_clip_is_of_classes_and_begins_with_the_true_sound(taught):
    g = torch.Generator().manual_seed(0)
    _, (held_out, _) = taught["rows_of"](taught["melody"](72, g), g)
    for name in sound.NETWORKS:
        clip = base64.b64decode(MODELS[name]["runs"][0]["clip"])
        assert len(clip) == sound.LENGTH
        assert list(clip[: sound.OPENING]) == held_out[0, : sound.OPENING].tolist()


def test_mu_law_comes_back_within_half_a_step(taught):
    x = torch.linspace(-1, 1, 4001)
    classes = taught["encode"](x)
    assert classes.min() == 0 and classes.max() == 255
    back = taught["decode"](torch.arange(256))
    assert taught["encode"](back).tolist() == list(range(256))
    assert (taught["decode"](classes) - x).abs().max() < 0.03


def test_girls_stand_first_and_the_card_says_where_the_boys_begin(taught):
    words, first = load_names(SHIPPED_NAMES), taught["FIRST_BOY"]
    girls, boys = words[:first], words[first:]
    assert (boys[0], girls[-1]) == ("liam", "zyona")
    # names of one frequency stand in the order of the alphabet: it restarts where the second list begins
    assert girls[-500:] == sorted(girls[-500:]) and boys[-500:] == sorted(boys[-500:])
    assert len(set(girls)) == len(girls) and len(set(boys)) == len(boys)
    assert set(girls) & set(boys), "so one place further, either way, a list would hold a name twice"
    card = (ROOT / "data" / "README.md").read_text(encoding="utf-8")
    counts = re.search(r"row ([\d,]+), counted from 0: ([\d,]+) names of girls, then ([\d,]+) of boys", card)
    assert [int(n.replace(",", "")) for n in counts.groups()] == [first, len(girls), len(boys)]


def test_a_fresh_condition_changes_nothing_and_the_same_row_is_the_same_shift(taught):
    model = taught["Conditioned"](sound.WaveNet(generator=torch.Generator().manual_seed(0)), 2)
    X, _ = taught["with_condition"]([("emma", 0), ("noah", 0)])
    assert torch.equal(model(X), model(X + 27)) and torch.equal(model(X), model.wavenet(X))
    model.shifts[0].weight[1] += 1.0
    assert not torch.allclose(model(X), model(X + 27))


def test_the_condition_lowers_the_loss_in_every_seed_more_than_seeds_scatter():
    gains = [
        constant["val"] - told["val"]
        for told, constant in zip(MODELS["condition"]["runs"], MODELS["constant"]["runs"], strict=True)
    ]
    assert min(gains) > 0.02 and spread(gains).sd < 0.01


def test_sounds_side_by_side_have_one_length_and_their_spectra():
    wave = torch.sin(torch.arange(4_000) * 2 * torch.pi * 440 / 8_000)
    widget = widgets.listening(
        {"a": wave, "b": 0 * wave}, 8_000, title="Two", attempt="press", openings={"b": 0.1}
    )
    assert len(widget.samples) == 8_000 and set(widget.samples[4_000:]) == {128}
    assert widget.opening == [0.0, 0.1] and widget.highest == 2_000
    levels = torch.frombuffer(bytearray(widget.spectra), dtype=torch.uint8).view(2, widget.bins, -1)
    assert levels[0, :, 10].argmax() == round(440 / 8_000 * 512) and levels[1].max() == 0
    with pytest.raises(ValueError, match="sounds of the same length"):
        widgets.listening({"a": wave, "b": wave[1:]}, 8_000, title="Two", attempt="press")
