"""The controls of the challenge at an eighth of its size: what is stored is what tools/controls.py says."""

import sys
from pathlib import Path

import pytest
import torch

from common.models import MODELS, count_parameters
from common.pages.results import stored_results

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tools"))
import controls  # noqa: E402

STORED = stored_results("controls")


def built(arm):
    return MODELS[arm.model].build(27, **arm.sizes, generator=torch.Generator().manual_seed(0))


def test_every_network_has_about_an_eighth_of_the_parameters():
    counts = {key: count_parameters(built(arm)) for key, arm in controls.ARMS.items()}
    assert {key: n for key, n in counts.items() if not 0.9 < 8 * n / 76_579 < 1.0} == {}


@pytest.mark.parametrize("key", STORED["arms"])
def test_what_is_stored_is_the_arm_of_the_tool(key):
    stored, arm = STORED["arms"][key], controls.ARMS[key]
    said = (arm.title, arm.weight_decay, arm.teachers, arm.start, arm.optimizer)
    assert tuple(stored[k] for k in ("title", "weight_decay", "teachers", "start", "optimizer")) == said
    assert stored["steps"] == controls.STEPS * arm.length
    assert [run["seed"] for run in stored["runs"]] == list(range(controls.SEEDS))
    assert stored["parameters"] == count_parameters(built(arm))
    best = min(stored["search"], key=stored["search"].get)
    assert float(best) == pytest.approx(stored["lr"]) and len(stored["search"]) >= len(controls.TIMES)


def test_a_start_changes_what_it_says():
    usual = controls.ARMS["start-large"]
    large, plain = controls.started(built(usual), "large last layer"), built(usual)
    torch.testing.assert_close(large.output.weight, 10 * plain.output.weight)
    zero = controls.started(built(usual), "zero branches")
    assert not zero.level2.norm.weight.any() and not zero.level3.norm.weight.any()
    assert zero.norm1.weight.all()


def test_the_best_rate_is_chosen_by_the_half_that_chooses():
    assert controls.best_of({0.5: {"chosen_by": 2.1, "val": 1.9}, 1.0: {"chosen_by": 2.0, "val": 2.2}}) == 1.0
