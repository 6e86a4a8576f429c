"""Train the classifiers of part two, chapter 3, over five seeds, and store them: data/results/rnn-03.json.

    .venv/bin/python tools/sentences.py [--only NAME ...] [--seeds N]

Network, bugs, batches and training are the chapter's own definitions, read from its notebook. Settings
and epochs are chosen on validation sentences: first by a small search with one seed, then by the lowest
validation loss of each run. What is finished lies in runs/rnn-03, a file a run, and is not trained again;
when all of it is there, the results are written, and the weights of the first LSTM.
"""

import argparse
import json
import math
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from safetensors.torch import save
from stored import count, restore, unpack
from taught import definitions
from torch import Tensor
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence, pad_sequence
from torch.utils.data import DataLoader

import common.fast
import common.nn
from common.data import Vocabulary
from common.data.reviews import Labelled, labelled, load_reviews, split_reviews, tokenize, words_of
from common.models import count_parameters
from common.runs.files import read_json, replace_files, write_json
from common.runs.provenance import ROOT, provenance

CHAPTER = ROOT / "book" / "rnn" / "03_sentiment.ipynb"
STORE, RUNS = ROOT / "data" / "results" / "rnn-03.json", ROOT / "runs" / "rnn-03"
WEIGHTS = ROOT / "data" / "models" / "sentences.safetensors"
TAUGHT = {"collate", "SimilarLengths", "SentenceClassifier", "BagOfVectors", "train_classifier", "logits_of",
          "Careless", "last_at_a_pad", "pads_averaged_in", "backward_from_pads"}  # fmt: skip
SEARCH = [
    {"start": start, "n_embd": 64, "n_hidden": 64, "dropout": dropout}
    for start in (1.0, 0.1)
    for dropout in (0.5, 0.7)
]
GRID = {"ngrams": (1, 2, 3), "minimum": (1, 2), "C": (0.3, 1.0, 3.0, 10.0, 30.0, 100.0)}

Sentences = list[tuple[Tensor, int]]


class Variant(NamedTuple):
    """What is trained. options: of the classifier. bug: the chapter's function that reads the pads."""

    title: str
    options: dict[str, Any] = {}
    bug: str = ""
    shuffled: bool = False
    bag: bool = False


VARIANTS = {
    "lstm": Variant("bidirectional LSTM, mean"),
    "last-pad": Variant("the last output, at a pad", {"bidirectional": False, "pool": "last"},
                        "last_at_a_pad", True),
    "last-right": Variant("the last output, at the last word", {"bidirectional": False, "pool": "last"},
                          "", True),
    "mean-pad": Variant("pads averaged in", {}, "pads_averaged_in", True),
    "backward-pad": Variant("the backward direction starts on pads", {"pool": "last"},
                            "backward_from_pads", True),
    "backward-right": Variant("the backward direction starts on the last word", {"pool": "last"}, "", True),
    "bag": Variant("mean of word vectors, no order", bag=True),
    "forward": Variant("LSTM, forward only, mean", {"bidirectional": False}),
}  # fmt: skip


def chapter() -> dict[str, Any]:
    """The functions and classes of the chapter."""
    space: dict[str, Any] = {
        "torch": torch, "math": math, "F": F, "DataLoader": DataLoader, "fused": common.fast.fused,
        "pad_sequence": pad_sequence, "pack_padded_sequence": pack_padded_sequence,
        "pad_packed_sequence": pad_packed_sequence,
    }  # fmt: skip
    names = ("Module", "Embedding", "Dropout", "Linear", "LSTM", "evaluating")
    space |= {name: getattr(common.nn, name) for name in names}
    return definitions(CHAPTER, TAUGHT, space)


class Data(NamedTuple):
    """The three splits as sentences with labels, and as numbers; the words are those of training."""

    labelled: list[list[Labelled]]
    splits: list[Sentences]
    words: Vocabulary


def load() -> Data:
    parts = [labelled(part) for part in split_reviews(load_reviews())]
    words = words_of(one.text for one in parts[0])
    splits = [
        [(torch.tensor(words.encode(tokenize(one.text))), int(one.label == "positive")) for one in part]
        for part in parts
    ]
    return Data(parts, splits, words)


# ---- a run ----------------------------------------------------------------------


def build(
    variant: Variant, sizes: dict[str, Any], words: int, taught: dict[str, Any], g: torch.Generator
) -> Any:
    sizes = dict(sizes)
    start = sizes.pop("start")
    if variant.bag:
        model = taught["BagOfVectors"](words, sizes["n_embd"], sizes["dropout"], generator=g)
        model.embedding.weight *= start
        return model
    kind = taught["Careless"] if variant.bug else taught["SentenceClassifier"]
    options = dict(variant.options)
    if "layer" in options:
        options["layer"] = getattr(common.nn, options["layer"])
    model = kind(words, **sizes, **options, generator=g)
    model.embedding.weight *= start
    if variant.bug:
        model.pick = taught[variant.bug]
    return model


def alone(model: Any, data: Sentences, taught: dict[str, Any]) -> Tensor:
    """The logits of sentences that have no pads: those of one length are read together."""
    by_length = defaultdict(list)
    for i, (numbers, _) in enumerate(data):
        by_length[len(numbers)].append(i)
    logits = torch.zeros(len(data), 2)
    for rows in by_length.values():
        logits[rows] = taught["logits_of"](model, [data[i] for i in rows])
    return logits


def accuracy(logits: Tensor, data: Sentences) -> float:
    return round((logits.argmax(1) == torch.tensor([c for _, c in data])).double().mean().item(), 6)


def trained(
    name: str, seed: int, sizes: dict[str, Any], data: Data, taught: dict[str, Any]
) -> tuple[Any, dict[str, Any]]:
    variant, g = VARIANTS[name], torch.Generator().manual_seed(seed)
    train, val, test = data.splits
    model = build(variant, sizes, len(data.words), taught, g)
    loader = None
    if variant.shuffled:
        loader = DataLoader(train, 64, shuffle=True, generator=g, collate_fn=taught["collate"])
    epochs = 10 if variant.bag else 5
    history = taught["train_classifier"](model, train, val, g, epochs=epochs, loader=loader)
    run: dict[str, Any] = {
        "seed": seed, "parameters": count_parameters(model), "epochs": epochs,
        "epoch": 1 + history.index(min(history)), "history": [round(loss, 4) for loss in history],
    }  # fmt: skip
    for key, part in (("val", val), ("test", test)):
        logits = taught["logits_of"](model, part)
        run[key] = accuracy(logits, part)
        run[f"{key}_loss"] = round(F.cross_entropy(logits, torch.tensor([c for _, c in part])).item(), 4)
        if name == "lstm":
            run[f"{key}_logits"] = [round(v, 3) for v in (logits[:, 1] - logits[:, 0]).tolist()]
        if variant.bug:
            without, together = alone(model, part, taught), taught["logits_of"](model, part, len(part))
            run[f"{key}_alone"], run[f"{key}_together"] = accuracy(without, part), accuracy(together, part)
            differ = (without.argmax(1) != together.argmax(1)).double().mean().item()
            run[f"{key}_differ"] = round(differ, 6)
    return model, run


# ---- baselines -------------------------------------------------------------------


def tfidf(data: Data) -> dict[str, Any]:
    """TF-IDF and logistic regression, the best of a grid on the validation sentences."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    texts = [[one.text for one in part] for part in data.labelled]
    targets = [[one.label == "positive" for one in part] for part in data.labelled]
    tried, best = [], None
    for ngrams in GRID["ngrams"]:
        for minimum in GRID["minimum"]:
            vectors = TfidfVectorizer(tokenizer=tokenize, token_pattern=None, lowercase=False,
                                      ngram_range=(1, ngrams), min_df=minimum)  # fmt: skip
            x = vectors.fit_transform(texts[0])
            others = [vectors.transform(part) for part in texts[1:]]
            for C in GRID["C"]:
                model = LogisticRegression(C=C, max_iter=1000).fit(x, targets[0])
                val = model.score(others[0], targets[1])
                tried.append({"ngrams": ngrams, "minimum": minimum, "C": C, "val": round(val, 6)})
                if best is None or val > best["val"]:
                    logits = [
                        [round(v, 3) for v in model.decision_function(part).tolist()] for part in others
                    ]
                    best = {"ngrams": ngrams, "minimum": minimum, "C": C, "val": val, "features": x.shape[1],
                            "test": model.score(others[1], targets[2]), "val_logits": logits[0],
                            "test_logits": logits[1]}  # fmt: skip
    assert best is not None
    best |= {key: round(best[key], 6) for key in ("val", "test")}
    return best | {"tried": tried}


def vader(data: Data) -> dict[str, Any]:
    """The VADER lexicon: positive above a score that is chosen on the validation sentences."""
    from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

    analyzer = SentimentIntensityAnalyzer()
    scores = [[analyzer.polarity_scores(one.text)["compound"] for one in part] for part in data.labelled]
    right = [[one.label == "positive" for one in part] for part in data.labelled]

    def score(part: int, threshold: float) -> float:
        pairs = zip(scores[part], right[part], strict=True)
        return sum((s > threshold) == r for s, r in pairs) / len(right[part])

    threshold = max((k / 100 for k in range(-50, 51)), key=lambda t: (score(1, t), -abs(t)))
    silent = sum(s == 0 for s in scores[2]) / len(scores[2])
    found = {key: round(score(part, threshold), 6) for key, part in (("val", 1), ("test", 2))}
    return found | {
        "threshold": threshold,
        "test_at_zero": round(score(2, 0.0), 6),
        "silent": round(silent, 6),
    }


def majority(data: Data) -> dict[str, Any]:
    """The class that is the more frequent one in training, for every sentence."""
    share = [sum(c for _, c in part) / len(part) for part in data.splits]
    positive = share[0] > 0.5
    val, test = (round(s if positive else 1 - s, 6) for s in share[1:])
    return {"class": "positive" if positive else "negative", "val": val, "test": test}


# ---- stored ----------------------------------------------------------------------

MEASURE = {"name": "accuracy", "better": "higher", "digits": 3}


def unpacked() -> None:
    """What is stored, as files of runs."""
    stored = unpack(STORE, RUNS)
    for path, entry in zip(search_paths(), stored.get("search", []), strict=False):
        restore(path, entry)
    if stored and not (weights := RUNS / WEIGHTS.name).exists():
        replace_files({weights: WEIGHTS.read_bytes()})


def collected(seeds: int, data: Data) -> dict[str, Any]:
    models = {}
    for name, variant in VARIANTS.items():
        runs = [read_json(RUNS / f"{name}-{seed}.json") for seed in range(seeds)]
        models[name] = {
            "title": variant.title, "measure": MEASURE,
            "runs": [{k: v for k, v in run.items() if k != "provenance"} for run in runs],
            "provenance": [run["provenance"] for run in runs],
        }  # fmt: skip
    return {
        "made_by": "tools/sentences.py",
        "training": {"batch_size": 64, "lr": 3e-3, "optimizer": "adam", **chosen()},
        "splits": {key: len(part) for key, part in zip(("train", "val", "test"), data.splits, strict=True)},
        "words": len(data.words),
        "search": [read_json(path) for path in search_paths()],
        "baselines": {"majority": majority(data), "vader": vader(data), "tfidf": tfidf(data)},
        "models": models,
    }  # fmt: skip


def search_paths() -> list[Path]:
    return [RUNS / f"search-{i}.json" for i in range(len(SEARCH))]


def chosen() -> dict[str, Any]:
    """The settings with the lowest validation loss of the search."""
    best = min(map(read_json, search_paths()), key=lambda entry: entry["val_loss"])
    return {key: best[key] for key in SEARCH[0]}


def missing(seeds: int) -> Iterator[tuple[str, int]]:
    for name in VARIANTS:
        for seed in range(seeds):
            if not (RUNS / f"{name}-{seed}.json").exists():
                yield name, seed


def search(data: Data, taught: dict[str, Any]) -> None:
    """Settings, compared by the validation loss of one seed, which no stored run has."""
    for sizes, path in zip(SEARCH, search_paths(), strict=True):
        if not path.exists():
            run = trained("lstm", 100, sizes, data, taught)[1]
            kept = {key: run[key] for key in ("seed", "parameters", "epoch", "val", "val_loss")}
            write_json(path, sizes | kept)
            print(f"{sizes}: {kept}", flush=True)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=list(VARIANTS), default=list(VARIANTS), metavar="NAME")
    parser.add_argument("--seeds", type=count, default=5)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    taught, data = chapter(), load()
    unpacked()
    search(data, taught)
    for name, seed in missing(options.seeds):
        if name in options.only:
            model, run = trained(name, seed, chosen(), data, taught)
            if (name, seed) == ("lstm", 0):
                half = {key: tensor.half().contiguous() for key, tensor in model.state_dict().items()}
                (RUNS / WEIGHTS.name).write_bytes(save(half))
            write_json(RUNS / f"{name}-{seed}.json", run | {"provenance": provenance(torch.device("cpu"))})
            print(f"{name}, seed {seed}: validation accuracy {run['val']:.3f}", flush=True)
    if left := list(missing(options.seeds)):
        print(f"not stored yet, for {len(left)} runs are missing")
        return 0
    content = (json.dumps(collected(options.seeds, data), indent=1) + "\n").encode()
    replace_files({STORE: content, WEIGHTS: (RUNS / WEIGHTS.name).read_bytes()})
    print(f"stored in {STORE.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
