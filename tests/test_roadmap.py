import json
import re
import shutil
import sys
from xml.etree import ElementTree

import pytest

from common.evaluate import spread
from common.models import MODELS, count_parameters, tagged
from common.pages import results
from common.pages.results import stored_results
from common.runs.provenance import ROOT

sys.path.insert(0, str(ROOT / "tools"))
import roadmap  # noqa: E402

LOSS = {"name": "loss", "unit": "nats", "per": "character", "better": "lower", "digits": 3}
ACCURACY = {"name": "accuracy", "unit": "%", "better": "higher", "digits": 1}
HORIZON = {"name": "error", "better": "lower", "digits": 2}
HORIZON |= {"at": ["1 step", "50 steps"], "headline": "50 steps"}
STOPS = next(iter(roadmap.PARTS.values()))


@pytest.fixture(scope="module")
def road():
    return roadmap.places(STOPS)


@pytest.fixture(params=[False, True], ids=["wide", "narrow"])
def drawing(request, road):
    return ElementTree.fromstring(roadmap.draw(road, "Part one", "road", request.param))


def circles(drawing):
    return [(float(c.get("cx")), float(c.get("cy"))) for c in drawing.iter("circle")]


def test_stops_show_the_stored_losses(tmp_path, monkeypatch):
    def runs(n):
        losses = [{"val": 3 - n / 10, "train": 9, "test": 9}, {"val": 3.02 - n / 10, "train": 9, "test": 9}]
        return [loss | {"parameters": 100 * n} for loss in losses]

    stored = {
        "models": {name: {"runs": runs(n), "measure": LOSS} for n, name in enumerate(tagged("lecture"))}
    }
    (tmp_path / "shipped.json").write_text(json.dumps(stored), encoding="utf-8")
    for name in ("blocks.json", "challenge.json", "sound.json"):
        shutil.copy(results.RESULTS / name, tmp_path)
    monkeypatch.setattr(results, "RESULTS", tmp_path)
    own = [place for place in roadmap.places(STOPS) if place.own and place.lecture]
    shown = [f"{3.01 - n / 10:.3f} ± 0.014" for n in range(5)]  # 0.02 / √2
    assert [place.says for place in own] == shown
    assert [place.value for place in own] == pytest.approx([3.01, 2.91, 2.81, 2.71, 2.61])
    assert [place.lecture for place in own] == [2.105, 2.027, 2.029, 2.022, 1.993]
    assert own[4].change == "The size: 400 parameters instead of 300."


def test_the_stops_are_the_models():
    assert [stop.model for stop in STOPS if stop.model] == list(tagged("lecture"))


def test_every_stop_says_a_loss_and_the_same_model_only_where_it_is_the_same(road):
    assert all(re.match(r"\d\.\d{3}\b", place.says) for place in road)
    same = [place.page[8:10] for place in road if "the same model" in place.says]
    assert same == ["02", "07", "10"]
    sound = spread(run["val"] for run in stored_results("sound")["models"]["long"]["runs"])
    assert road[8].says == f"{sound} nats a sample"
    assert road[8].value == road[7].value and not road[8].own
    assert "is measured in nats per sample, which no loss on names can be compared with" in roadmap.page()
    fifth = road[4].says.split()[0]
    assert (
        road[10].says == f"{fifth}, chapter 5's model"
        and road[10].value == road[9].value
        and not road[10].own
    )
    assert (
        "[Part one, chapter 11](wavenet/11_optimisers.ipynb) works with the model of "
        "[part one, chapter 5](wavenet/05_batchnorm_fix.ipynb)." in roadmap.page()
    )
    blocks = spread(run["val"] for run in stored_results("blocks")["variants"]["all"]["runs"])
    assert road[7].says == f"{blocks}, two epochs"
    assert road[7].value == road[6].value and not road[7].own


def test_the_last_stop_is_the_small_winner_of_the_challenge(road):
    runs = stored_results("challenge")["shipped"]["small"]["runs"]
    assert road[-1].own and road[-1].says == str(spread(run["val"] for run in runs))
    assert road[-1].lecture is None and road[-1].value < road[-2].value
    assert f"a mean over {len(runs)} seeds" in roadmap.page()


def test_a_road_needs_every_stops_model():
    stored = stored_results()
    del stored["models"]["flat"]
    with pytest.raises(ValueError, match="03_eight_char_context: no stored results of 'flat'"):
        roadmap.places(STOPS, stored)


def test_a_stop_without_a_model_stands_where_the_last_one_stood(road):
    first, second = road[:2]
    assert not second.own and second.value == first.value


def test_a_road_begins_with_a_measured_loss():
    with pytest.raises(ValueError, match="02_pytorchified_layers: the first stop of a road needs a model"):
        roadmap.places(STOPS[1:])


def test_titles_come_from_the_notebooks(road):
    assert [place.number for place in road] == list(range(1, len(STOPS) + 1))
    assert road[0].title == "Three characters, one hidden layer"


def test_sizes_are_counted_not_typed(road):
    scaled, before = (count_parameters(MODELS[name].build()) for name in ("scaled", "hierarchical"))
    (change,) = (place.change for place, stop in zip(road, STOPS, strict=True) if stop.model == "scaled")
    assert change == f"The size: {scaled:,} parameters instead of {before:,}."
    assert not any(re.search(r"\d", stop.change) for stop in STOPS if "{" not in stop.change)


def test_the_road_falls_to_the_right_to_scale(drawing, road):
    xs, ys = zip(*circles(drawing), strict=True)
    assert list(ys) == sorted(ys) and len(ys) == len(road)
    pixels_a_nat = (xs[-1] - xs[0]) / (road[0].value - road[-1].value)
    assert pixels_a_nat > 0
    for x, place in zip(xs, road, strict=True):
        assert x == pytest.approx(xs[0] + (road[0].value - place.value) * pixels_a_nat, abs=0.1)


def test_every_stop_is_a_link_that_its_words_name(drawing, road):
    links = list(drawing.iter("a"))
    assert [link.get("href") for link in links] == [f"{place.page}.html" for place in road]
    for link, place in zip(links, road, strict=True):
        loss = place.says if place.lecture is None else f"{place.says} ◆ {place.lecture:.3f}"
        name = " ".join("".join(link.itertext()).split())
        assert name == f"{place.number} {place.title} {place.change} {loss}"


def test_a_screen_reader_hears_what_it_is(drawing):
    assert drawing.get("role") == "group" and drawing.get("aria-label") == "The road of Part one"
    description = drawing.find(f"desc[@id='{drawing.get('aria-describedby')}']")
    assert f"A road of {len(STOPS)} stops" in description.text


def test_nothing_leaves_the_drawing(drawing):
    _, _, width, height = map(float, drawing.get("viewBox").split())
    for x, y in circles(drawing):
        assert 12 <= x <= width - 12 and 12 <= y <= height - 12
    for t in drawing.iter("text"):
        assert 0 <= float(t.get("x")) < width and 0 < float(t.get("y")) < height
    for part in drawing.iter():  # colours come from the style sheet, which knows the theme
        assert not {"fill", "stroke", "style"} & set(part.keys())


def test_what_is_drawn_is_escaped(road):
    odd = [road[0]._replace(title="a < b", change='"&"')]
    link = ElementTree.fromstring(roadmap.draw(odd, "<p>", "road")).find("a")
    assert 'a < b "&"' in "".join(link.itertext())


def test_the_page_has_both_drawings_and_the_words():
    page = roadmap.page()
    assert page.count("<svg") == 2 * len(roadmap.PARTS)
    assert "\n| 2 | [Layers like PyTorch's](wavenet/02_pytorchified_layers.ipynb) |" in page
    assert f"over {len(stored_results()['models']['mlp']['runs'])} seeds" in page
    assert "starts at 2.105" in page
    assert "| 2.110, the same model |" in page
    ids = re.findall(r' id="([^"]+)"', page)
    assert len(ids) == len(set(ids))


# ---- a part whose networks are measured in another way ---------------------------------


@pytest.fixture
def other_results(tmp_path, monkeypatch):
    """Results of three networks, under results "other"; a function stores them with their measures."""
    for path in results.RESULTS.glob("*.json"):
        shutil.copy(path, tmp_path)
    monkeypatch.setattr(results, "RESULTS", tmp_path)

    def store(*measures):
        models = {}
        for n, measure in enumerate(measures):
            values = [90 + 2 * n, 91 + 2 * n]
            runs = [{"parameters": 7, "val": [v / 100, v] if "at" in measure else v} for v in values]
            models[f"m{n}"] = {"runs": runs, "measure": measure}
        (tmp_path / "other.json").write_text(json.dumps({"models": models}), encoding="utf-8")
        return [
            roadmap.Stop(stop.page, "It changes.", f"m{n}", results="other")
            for n, stop in zip(range(len(measures)), STOPS, strict=False)
        ]

    return store


def test_a_road_of_accuracies_runs_to_the_right_as_they_rise(other_results):
    road = roadmap.places(other_results(ACCURACY, ACCURACY, ACCURACY))
    assert [place.says for place in road] == ["90.5 ± 0.7", "92.5 ± 0.7", "94.5 ± 0.7"]
    drawn = ElementTree.fromstring(roadmap.draw(road, "Part two", "road"))
    xs = [x for x, _ in circles(drawn)]
    assert xs[0] == roadmap.WIDE.left and xs[-1] == roadmap.WIDE.right and xs[1] == sum(xs) / 3
    axis = [t.text for t in drawn.iter("text") if t.get("class") == "road-axis"]
    assert axis == ["validation accuracy (%), better →", "94", "93", "92", "91"]
    words = drawn.find("desc").text
    assert "from a validation accuracy of 90.5 % at the top left up to 94.5 at the bottom right" in words
    assert "nats" not in "".join(drawn.itertext()) and "◆" not in "".join(drawn.itertext())


def test_where_stops_measure_different_things_each_names_its_own(other_results):
    road = roadmap.places(other_results(HORIZON, ACCURACY))
    assert road[0].says == "validation error at 50 steps 90.50 ± 0.71, lower is better"
    assert road[1].says == "validation accuracy (%) 92.5 ± 0.7, higher is better"
    drawn = ElementTree.fromstring(roadmap.draw(road, "Part two", "road"))
    assert len({x for x, _ in circles(drawn)}) == 1 and not list(drawn.iter("road-axis"))
    assert "each with a measure of its own" in drawn.find("desc").text


def test_the_page_says_what_each_part_measures(other_results, monkeypatch):
    monkeypatch.setitem(roadmap.PARTS, "Part two: others", other_results(ACCURACY, ACCURACY))
    first, second = roadmap.page().split("## Part two: others")
    assert "the validation loss (nats), and lower is better. The mean is over 8 seeds on this book's" in first
    assert "the validation accuracy (%), and higher is better. The mean is over 2 seeds." in second
    assert "| stop | chapter | what changes here | validation accuracy |\n" in second


def test_a_result_without_its_measure_is_refused(other_results):
    with pytest.raises(ValueError, match='01_three_char_mlp: expected a "measure" with a name'):
        roadmap.places(other_results({"name": "accuracy"}))


@pytest.mark.parametrize("most", [2, 4])
@pytest.mark.parametrize("extent", [0.003, 0.171, 1.0, 4.0, 37.0])
def test_guide_lines_stand_at_round_values(extent, most):
    step = roadmap._step(extent, most)
    assert extent / step <= most + 1e-9 and f"{step:.0e}"[0] in "125"
