"""What a stored result measures comes with it: name, unit, which way is better."""

import pytest

from common.evaluate import spread
from common.pages.measure import measure_of
from common.pages.results import stored_results

LOSS = {"name": "loss", "unit": "nats", "per": "character", "better": "lower", "digits": 3}
ERROR = {"name": "error", "better": "lower", "digits": 1, "at": ["1", "50"], "headline": "50"}


def test_a_loss_and_an_accuracy_are_shown_alike():
    loss = measure_of({"measure": LOSS})
    assert (loss.title(), loss.sentence, loss.sign) == ("validation loss (nats)", "in nats per character", -1)
    assert loss.show(spread([1.0, 2.0])) == "1.500 ± 0.707" and loss.show(1.0) == "1.000"
    accuracy = measure_of({"measure": {"name": "accuracy", "unit": "%", "better": "higher", "digits": 1}})
    assert (accuracy.title("test"), accuracy.direction) == ("test accuracy (%)", "higher is better")
    assert accuracy.sign == 1 and accuracy.show(spread([90.0])) == "90.0"


def test_a_measure_at_several_places_has_one_that_stands_for_all():
    error = measure_of({"measure": ERROR})
    runs = [{"val": [1.0, 3.0]}, {"val": [2.0, 5.0]}]
    assert {place: value.mean for place, value in error.spreads(runs).items()} == {"1": 1.5, "50": 4.0}
    assert error.one(runs) == spread([3.0, 5.0])


@pytest.mark.parametrize(
    "wrong",
    [
        None,
        {},
        LOSS | {"better": "more"},
        LOSS | {"name": ""},
        LOSS | {"better than": 1},
        LOSS | {"headline": "50"},
        ERROR | {"headline": "7"},
    ],
)
def test_an_entry_without_its_measure_is_refused(wrong):
    with pytest.raises(ValueError, match='mine: expected a "measure" with a name.*got'):
        measure_of({"measure": wrong}, "mine")


@pytest.mark.parametrize("name", ["shipped", "lecture", "distinct"])
def test_the_stored_results_say_what_they_measure(name):
    assert {measure_of(entry).name for entry in stored_results(name)["models"].values()} == {"loss"}
