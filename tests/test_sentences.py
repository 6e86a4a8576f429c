"""What part two, chapter 3 was published with: the chapter's own code, run by tools/sentences.py."""

import json
import sys
from pathlib import Path

import pytest
import torch

from common.data import corpora
from common.evaluate import spread
from common.pages.measure import measure_of
from common.pages.results import stored_results

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tools"))
import sentences  # noqa: E402

STORED = stored_results("rnn-03")
MODELS, BASE = STORED["models"], STORED["baselines"]


@pytest.fixture(scope="module")
def taught():
    return sentences.chapter()


@pytest.fixture(scope="module")
def loaded():
    try:
        corpora.fetch("reviews")
    except (ConnectionError, FileNotFoundError) as error:
        pytest.skip(f"the reviews are not here: {error}")
    return sentences.load()


def test_every_variant_has_five_seeds_with_where_they_come_from():
    assert tuple(MODELS) == tuple(sentences.VARIANTS)
    for name, entry in MODELS.items():
        assert [run["seed"] for run in entry["runs"]] == [0, 1, 2, 3, 4]
        assert all(made["commit"] and made["machine"] and made["date"] for made in entry["provenance"])
        assert measure_of(entry, name).better == "higher"
        for run in entry["runs"]:
            assert run["history"].index(min(run["history"])) == run["epoch"] - 1
            assert min(run["history"]) == pytest.approx(run["val_loss"], abs=1e-4)


def test_nothing_was_chosen_on_the_test_sentences():
    """The search has no test figure, nor a stored seed, and its best is what was trained."""
    for entry in [*STORED["search"], *BASE["tfidf"]["tried"]]:
        assert not any("test" in key for key in entry)
    assert not {entry["seed"] for entry in STORED["search"]} & {0, 1, 2, 3, 4}
    best = min(STORED["search"], key=lambda entry: entry["val_loss"])
    assert {key: STORED["training"][key] for key in sentences.SEARCH[0]} == {
        key: best[key] for key in sentences.SEARCH[0]
    }
    assert BASE["tfidf"]["val"] == max(entry["val"] for entry in BASE["tfidf"]["tried"])


def test_what_each_sentence_got_gives_the_stored_accuracy(loaded):
    for part, key in zip(loaded.splits[1:], ("val", "test"), strict=True):
        truth = torch.tensor([c for _, c in part])
        entries = [*MODELS["lstm"]["runs"], BASE["tfidf"]]
        for entry in entries:
            right = (torch.tensor(entry[f"{key}_logits"]) > 0) == truth
            assert right.double().mean().item() == pytest.approx(entry[key], abs=1e-3)


def test_the_figures_that_were_to_be_reached():
    """The LSTM lies within the interval of TF-IDF, or above it, and the pads cost what the chapter says."""
    n, p = STORED["splits"]["test"], BASE["tfidf"]["test"]
    reached = {name: spread(run["test"] for run in entry["runs"]).mean for name, entry in MODELS.items()}
    assert reached["lstm"] > p - 1.96 * (p * (1 - p) / n) ** 0.5
    assert reached["lstm"] > BASE["vader"]["test"] > BASE["majority"]["test"]
    for bug, right in (("last-pad", "last-right"), ("mean-pad", "lstm")):
        assert reached[bug] < reached[right]


def test_the_stored_weights_are_those_of_the_first_lstm(loaded, taught):
    from safetensors.torch import load_file

    sizes = {key: STORED["training"][key] for key in ("n_embd", "n_hidden", "dropout")}
    model = taught["SentenceClassifier"](len(loaded.words), **sizes)
    model.load_state_dict({k: t.float() for k, t in load_file(sentences.WEIGHTS).items()})
    logits = taught["logits_of"](model, loaded.splits[2])
    stored = torch.tensor(MODELS["lstm"]["runs"][0]["test_logits"])
    assert (logits[:, 1] - logits[:, 0] - stored).abs().max() < 0.05
    assert sum(t.numel() for t in model.parameters()) == MODELS["lstm"]["runs"][0]["parameters"] < 1_200_000


def test_a_stored_baseline_comes_out_again(loaded):
    assert sentences.majority(loaded) == BASE["majority"]


@pytest.mark.parametrize("bug", ["last_at_a_pad", "pads_averaged_in", "backward_from_pads"])
def test_a_bug_depends_on_company_and_its_repair_does_not(taught, bug):
    data = [(torch.tensor([3, 4]), 1), (torch.tensor([5, 6, 2, 1, 3]), 0)]
    sizes = {"start": 1.0, "n_embd": 4, "n_hidden": 3, "dropout": 0.0}
    (name,) = (name for name, variant in sentences.VARIANTS.items() if variant.bug == bug)
    right = "lstm" if name == "mean-pad" else name.replace("-pad", "-right")
    for variant, same in ((name, False), (right, True)):
        g = torch.Generator().manual_seed(0)
        model = sentences.build(sentences.VARIANTS[variant], sizes, 7, taught, g)
        together = taught["logits_of"](model, data)
        assert torch.allclose(sentences.alone(model, data, taught), together, atol=1e-6) == same


def test_what_is_trained_is_kept_and_stored_when_all_is_there(tmp_path, monkeypatch, capsys, taught):
    monkeypatch.setattr(sentences, "RUNS", tmp_path / "runs")
    monkeypatch.setattr(sentences, "STORE", tmp_path / "rnn-03.json")
    monkeypatch.setattr(sentences, "WEIGHTS", tmp_path / "sentences.safetensors")
    monkeypatch.setattr(sentences, "ROOT", tmp_path)
    names = ("lstm", "bag")
    monkeypatch.setattr(sentences, "VARIANTS", {name: sentences.VARIANTS[name] for name in names})
    monkeypatch.setattr(sentences, "load", lambda: None)
    monkeypatch.setattr(sentences, "collected", lambda seeds, data: {"seeds": seeds})
    made = []

    def trained(name, seed, sizes, data, taught):
        made.append((name, seed))
        model = taught["SentenceClassifier"](7, n_embd=4, n_hidden=3)
        return model, {"val": 0.5, "val_loss": float(seed), "seed": seed, "parameters": 1, "epoch": 1}

    monkeypatch.setattr(sentences, "trained", trained)
    assert sentences.main(["--only", "lstm", "--seeds", "1"]) == 0
    assert "not stored yet, for 1 runs are missing" in capsys.readouterr().out
    assert not (tmp_path / "rnn-03.json").exists()
    assert sentences.main(["--seeds", "1"]) == 0
    assert made == [*[("lstm", 100)] * len(sentences.SEARCH), ("lstm", 0), ("bag", 0)]
    assert json.loads((tmp_path / "rnn-03.json").read_text(encoding="utf-8")) == {"seeds": 1}
    assert (tmp_path / "sentences.safetensors").stat().st_size > 100


def test_a_chapter_without_a_definition_is_refused(monkeypatch):
    monkeypatch.setattr(sentences, "CHAPTER", ROOT / "book" / "wavenet" / "05_batchnorm_fix.ipynb")
    with pytest.raises(ValueError, match="05_batchnorm_fix.ipynb: expected definitions of BagOfVectors"):
        sentences.chapter()
