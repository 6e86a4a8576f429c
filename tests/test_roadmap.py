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

    stored = {"models": {name: {"runs": runs(n)} for n, name in enumerate(tagged("lecture"))}}
    (tmp_path / "shipped.json").write_text(json.dumps(stored), encoding="utf-8")
    for name in ("blocks.json", "challenge.json"):
        shutil.copy(results.RESULTS / name, tmp_path)
    monkeypatch.setattr(results, "RESULTS", tmp_path)
    own = [place for place in roadmap.places(STOPS) if place.own and place.lecture]
    shown = [f"{3.01 - n / 10:.3f} ± 0.014" for n in range(5)]  # 0.02 / √2
    assert [place.says for place in own] == shown
    assert [place.loss for place in own] == pytest.approx([3.01, 2.91, 2.81, 2.71, 2.61])
    assert [place.lecture for place in own] == [2.105, 2.027, 2.029, 2.022, 1.993]
    assert own[4].change == "The size: 400 parameters instead of 300."


def test_the_stops_are_the_models():
    assert [stop.model for stop in STOPS if stop.model] == list(tagged("lecture"))


def test_every_stop_says_a_loss_and_the_same_model_only_where_it_is_the_same(road):
    assert all(re.match(r"\d\.\d{3}\b", place.says) for place in road)
    same = [place.page[8:10] for place in road if "the same model" in place.says]
    assert same == ["02", "07", "09"]
    fifth = road[4].says.split()[0]
    assert road[9].says == f"{fifth}, chapter 5's model" and road[9].loss == road[8].loss and not road[9].own
    assert "Chapter 10 works with the model of chapter 5." in roadmap.page()
    blocks = spread(run["val"] for run in stored_results("blocks")["variants"]["all"]["runs"])
    assert road[7].says == f"{blocks}, two epochs"
    assert road[7].loss == road[6].loss and not road[7].own


def test_the_last_stop_is_the_small_winner_of_the_challenge(road):
    runs = stored_results("challenge")["shipped"]["small"]["runs"]
    assert road[-1].own and road[-1].says == str(spread(run["val"] for run in runs))
    assert road[-1].lecture is None and road[-1].loss < road[-2].loss
    assert f"a mean over {len(runs)} seeds" in roadmap.page()


def test_a_road_needs_every_stops_model():
    stored = stored_results()
    del stored["models"]["flat"]
    with pytest.raises(ValueError, match="03_eight_char_context: no stored results of 'flat'"):
        roadmap.places(STOPS, stored)


def test_a_stop_without_a_model_stands_where_the_last_one_stood(road):
    first, second = road[:2]
    assert not second.own and second.loss == first.loss


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
    pixels_a_nat = (xs[-1] - xs[0]) / (road[0].loss - road[-1].loss)
    assert pixels_a_nat > 0
    for x, place in zip(xs, road, strict=True):
        assert x == pytest.approx(xs[0] + (road[0].loss - place.loss) * pixels_a_nat, abs=0.1)


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
