"""What part two, chapter 6 was published with: trained by tools/attention.py, counted by the benchmarks."""

import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file

from common.models import Transformer, count_parameters
from common.nn import Embedding, Linear
from common.pages.results import RESULTS, stored_results

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tools"), str(ROOT / "benchmarks")]
import attention  # noqa: E402
import cache  # noqa: E402
import evolution  # noqa: E402


def test_windows_are_scored_as_each_alone():
    g = torch.Generator().manual_seed(0)
    model = Transformer(9, 8, 2, 1, length=6, generator=g)
    text = torch.randint(9, (23,), generator=g)
    total = 0.0
    for t in range(22):  # the window that scores t: the first, or the one whose last three hold it
        if t < 6:
            start = 0
        else:
            start = min(3 * ((t - 6) // 3 + 1), 22 - 6)
        logits = model(text[None, start : start + 6])[0, t - start]
        total += F.cross_entropy(logits, text[t + 1]).item()
    assert attention.loss_of(model, text, 6, 3) == pytest.approx(total / 22, rel=1e-6)


def test_a_training_goes_on_where_it_stopped(tmp_path, monkeypatch):
    monkeypatch.setattr(torch, "compile", lambda function: function)
    sizes = {"n_channels": 8, "heads": 2, "blocks": 1, "length": 8}
    recipe = attention.RECIPES["tiny"]._replace(sizes=sizes, batch_size=2, characters=16 * 120)
    text = torch.randint(9, (500,), generator=torch.Generator().manual_seed(1))
    whole, _ = attention.trained(recipe, text, 9, seed=0)
    kept, lr_at = tmp_path / "kept.pt", attention.Config.lr_at

    def stops(config, step):
        if step == 110:
            raise KeyboardInterrupt
        return lr_at(config, step)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(attention.Config, "lr_at", stops)
        attention.trained(recipe, text, 9, 0, kept)
    again, run = attention.trained(recipe, text, 9, 0, kept)
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), again.parameters(), strict=True))
    assert run["steps"] == 120 and len(run["curve"]) == 2


def test_without_its_text_the_tool_says_what_it_wants(capsys):
    assert attention.main(["--only", "tiny"]) == 2
    assert capsys.readouterr().err == "error: expected --text FILE, the tiny-Shakespeare file, got none\n"


def test_a_kept_text_is_the_one_computed_again():
    model = Transformer(9, 8, 2, 2, length=20, generator=torch.Generator().manual_seed(3))
    assert cache.generate(model, 20, keeps=True) == cache.generate(model, 20, keeps=False)


def test_the_longest_chain_is_counted():
    """Three products in a row, beside one alone."""
    a = [Linear(4, 4).requires_grad_() for _ in range(4)]
    x = torch.ones(2, 3, 4)
    assert evolution.longest_chain((a[0](a[1](a[2](x))) + a[3](x)).sum()) == 3


@pytest.mark.parametrize("name", evolution.BUILDS)
def test_a_network_of_the_evolution_has_the_size_and_sees_what_is_stored(name):
    model = evolution.BUILDS[name](torch.Generator().manual_seed(0))
    entry = stored_results("evolution")["models"][name]
    assert count_parameters(model) == entry["parameters"] <= 76_579
    assert evolution.reach(name, model, 20) == min(entry["sees"], 20)
    assert next(m for m in model.modules() if isinstance(m, Embedding)).weight.shape[0] == 27


@pytest.mark.skipif(not (RESULTS / "rnn-06.json").exists(), reason="the trainings are not finished")
def test_what_was_trained_is_stored_with_where_it_comes_from():
    stored = stored_results("rnn-06")
    for name, entry in stored["models"].items():
        assert [run["seed"] for run in entry["runs"]] == [0, 1, 2]
        assert all(made["commit"] and made["machine"] and made["date"] for made in entry["provenance"])
        sizes = attention.RECIPES[name].sizes
        assert entry["recipe"]["sizes"] == sizes
        assert not {found["seed"] for found in entry["search"]} & {0, 1, 2}
    tiny = stored["models"]["tiny"]["runs"]
    assert all(run["val_side_by_side"] < 1.88 and run["parameters"] <= 804_096 for run in tiny)
    weights = load_file(attention.WEIGHTS)
    assert set(weights) == set(Transformer(27, **attention.NAMES).state_dict())


def test_a_cache_is_five_times_as_fast_at_512_characters():
    stored = stored_results("cache")
    at = stored["lengths"].index(512)
    assert stored["seconds"]["computed again"][at] > 5 * stored["seconds"]["kept"][at]
