"""Train the translators of part two, chapter 5, and store what they reach: data/results/rnn-05.json.

    .venv/bin/python tools/translation.py train NAME [--file FILE] [--minutes 14]
    .venv/bin/python tools/translation.py test NAME [--file FILE]
    .venv/bin/python tools/translation.py store [--file FILE]

NAME: one of those in VARIANTS. A variant of "composed" reads data/phrases.zip, the others FILE: pairs
as `common.data.translation.load_pairs` reads them (English, a tab, French), of which those of at most ten
English words are taken. `train` goes on where it stopped, and stops after so many minutes, at the end of an
epoch; `test` translates the held-out sentences, once; `store` writes the results and the weights of what is
tested. What is finished lies in runs/rnn-05.
"""

import argparse
import io
import json
import math
import random
import re
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from safetensors.torch import save
from taught import definitions
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from common.data import Splits, Vocabulary
from common.data.translation import Pair, components, load_pairs, load_phrases, plain, split_pairs
from common.fast import fused
from common.models import count_parameters
from common.models.seq2seq import BEGIN, END, PAD, Seq2Seq
from common.nn import evaluating
from common.pages.widgets import rounded
from common.runs.files import read_json, replace_files, write_json
from common.runs.provenance import ROOT, provenance

CHAPTER = ROOT / "book" / "rnn" / "05_translation.ipynb"
STORE, RUNS = ROOT / "data" / "results" / "rnn-05.json", ROOT / "runs" / "rnn-05"
MODELS = ROOT / "data" / "models"
LONGEST = 10  # English words
HELD = 0.03  # for validation, and for the test


class Variant(NamedTuple):
    """What is trained. sizes: of `Seq2Seq`. pieces: sub-words a language, 0 for whole words. cut: the chance
    that a merge of an English sentence's pieces is left out in training. split: "component", "english" or
    "random". sampled: scheduled sampling, the share of the decoder's inputs that are its own at the end."""

    title: str
    sizes: dict[str, Any]
    epochs: int
    pieces: int = 2000
    cut: float = 0.0
    split: str = "component"
    corpus: str = "tatoeba"
    smoothing: float = 0.1
    lr: float = 5e-3
    seed: int = 0
    sampled: float = 0.0


LARGE = {"n_embd": 256, "n_hidden": 320, "dropout": 0.2}
COMPOSED = {"n_embd": 64, "n_hidden": 128, "dropout": 0.1}
SMALL = {"n_embd": 96, "n_hidden": 192, "dropout": 0.15}
VARIANTS = {
    "best": Variant("the largest", LARGE, 12, 3000, 0.1, lr=3e-3),
    "page": Variant("the one of the page", SMALL, 6),
    "page-1": Variant("the one of the page", SMALL, 6, seed=1),
    "page-2": Variant("the one of the page", SMALL, 6, seed=2),
    "part-all": Variant("all parts", SMALL, 3),
    "part-attention": Variant("without attention", SMALL | {"score": "none"}, 3),
    "part-pieces": Variant("words instead of sub-words", SMALL, 3, 0),
    "part-dropout": Variant("without dropout", SMALL | {"dropout": 0.0}, 3),
    "page-dropout": Variant("without dropout, for longer", SMALL | {"dropout": 0.0}, 6),
    "part-sampled": Variant("with scheduled sampling", SMALL, 3, sampled=0.25),
    "split-random": Variant("split at random", SMALL, 3, split="random"),
    "split-english": Variant("split by English sentence", SMALL, 3, split="english"),
    **{
        f"composed-{score}-{seed}": Variant(
            f"{score} attention",
            COMPOSED | {"score": score},
            4,
            0,
            corpus="composed",
            smoothing=0.0,
            seed=seed,
        )
        for score, seeds in (("general", 3), ("none", 3), ("dot", 1), ("additive", 1))
        for seed in range(seeds)
    },
}


# ---- the corpus ------------------------------------------------------------------


class Words:
    """Whole words and signs, each with the space in front of it, so that joining them gives the sentence."""

    def __init__(self, texts: Sequence[str], minimum: int = 2):
        counts = Counter(token for text in texts for token in self.cut(text))
        kept = [token for token, count in counts.items() if count >= minimum]
        self.vocabulary = Vocabulary(kept, end="</s>", begin="<s>", pad="<pad>", unknown="<unk>")

    @staticmethod
    def cut(text: str) -> list[str]:
        return re.findall(r" ?\w+| ?[^\w\s]", " " + text)

    def encode(self, texts: Sequence[str], cut: float = 0.0) -> list[list[int]]:
        return [self.vocabulary.encode(self.cut(text)) for text in texts]

    def decode(self, rows: list[list[int]]) -> list[str]:
        return [self.vocabulary.decode(row).strip() for row in rows]

    def __len__(self) -> int:
        return len(self.vocabulary)


class Pieces:
    """Sub-words by byte-pair encoding, made by the library sentencepiece from the training sentences."""

    def __init__(self, texts: Sequence[str], size: int):
        import sentencepiece

        made = io.BytesIO()
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(texts), model_writer=made, vocab_size=size, model_type="bpe",
            character_coverage=1.0, normalization_rule_name="identity", num_threads=1,
            pad_id=PAD, bos_id=BEGIN, eos_id=END, unk_id=3, minloglevel=2,
        )  # fmt: skip
        self.model = sentencepiece.SentencePieceProcessor(model_proto=made.getvalue())
        sentencepiece.set_random_generator_seed(0)

    def encode(self, texts: Sequence[str], cut: float = 0.0) -> list[list[int]]:
        if not cut:
            return self.model.encode(list(texts))
        return [self.model.encode(text, enable_sampling=True, alpha=cut) for text in texts]

    def decode(self, rows: list[list[int]]) -> list[str]:
        return self.model.decode(rows)

    def tokens(self) -> list[str]:
        return [self.model.id_to_piece(i) for i in range(len(self.model))]

    def __len__(self) -> int:
        return len(self.model)


class Data(NamedTuple):
    splits: Splits[Pair]
    source: Any
    target: Any


def split(pairs: list[Pair], how: str) -> Splits[Pair]:
    """By component of shared sentences; or as one should not: by English sentence, or pair by pair."""
    if how == "component":
        return split_pairs(pairs, HELD)
    together = defaultdict(list)
    for i, pair in enumerate(pairs):
        together[pair.source if how == "english" else i].append(pair)
    groups = list(together.values())
    random.Random(42).shuffle(groups)
    parts: Splits[Pair] = Splits([], [], [])
    for group in groups:
        room = (part for part in (parts.test, parts.val) if len(part) < HELD * len(pairs))
        next(room, parts.train).extend(group)
    return parts


def load(variant: Variant, file: Path | None) -> Data:
    if variant.corpus == "composed":
        splits = load_phrases()
    elif file is None:
        raise ValueError("expected --file with the pairs of Tatoeba, got none")
    else:
        pairs = [pair for pair in load_pairs(file) if len(pair.source.split()) <= LONGEST]
        splits = split(pairs, variant.split)
    languages = list(zip(*splits.train, strict=True))
    made = [Pieces(texts, variant.pieces) if variant.pieces else Words(texts) for texts in languages]
    return Data(splits, *made)


# ---- training --------------------------------------------------------------------


class Smoothed(torch.autograd.Function):
    """`F.cross_entropy` with label smoothing, pads left out, in fewer passes over the (N, V) logits."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, targets: Tensor, smoothing: float) -> Tensor:
        real = (targets != PAD).float()
        p = logits.float()
        top = p.logsumexp(-1)
        own = p.gather(1, targets[:, None])[:, 0]
        loss = ((top - (1 - smoothing) * own - smoothing * p.mean(-1)) * real).sum() / real.sum()
        p = (p - top[:, None]).exp_().sub_(smoothing / p.shape[1])
        p[torch.arange(len(p)), targets] -= 1 - smoothing
        ctx.save_for_backward(p.mul_((real / real.sum())[:, None]).to(logits.dtype))
        return loss

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        return ctx.saved_tensors[0] * gradients[0].to(ctx.saved_tensors[0].dtype), None, None


def padded(rows: list[list[int]]) -> Tensor:
    return pad_sequence([torch.tensor(row) for row in rows], batch_first=True, padding_value=PAD)


def batches(source: list[list[int]], target: list[list[int]], g: random.Random,
            size: int = 256) -> Iterator[tuple[Tensor, Tensor]]:  # fmt: skip
    """Sentences of one length in English and a similar one in French, in random order."""
    order = list(range(len(source)))
    g.shuffle(order)
    order.sort(key=lambda i: (len(source[i]), len(target[i])))
    cut = []
    for _, group in groupby(order, key=lambda i: len(source[i])):
        rows = list(group)
        cut += [rows[i : i + size] for i in range(0, len(rows), size)]
    g.shuffle(cut)
    for rows in cut:
        yield (padded([[*source[i], END] for i in rows]),
               padded([[BEGIN, *target[i], END] for i in rows]))  # fmt: skip


def train(name: str, data: Data, minutes: float, say: Callable[[str], None]) -> None:
    """A variant's epochs, from where it stopped."""
    variant, path = VARIANTS[name], RUNS / f"{name}.pt"
    g = torch.Generator().manual_seed(variant.seed)
    model = Seq2Seq(len(data.source), len(data.target), **variant.sizes, generator=g)
    kept: dict[str, Any] = {"epoch": 0, "step": 0, "seconds": 0.0, "history": []}
    if path.exists():
        kept = torch.load(path)
        model.load_state_dict(kept["model"])
        g.set_state(kept["generator"])
    model.requires_grad_()
    for module in model.modules():
        if hasattr(module, "p"):
            module.generator = g
    optimizer = torch.optim.AdamW(model.parameters(), lr=variant.lr, weight_decay=0.01, fused=True)
    if "optimizer" in kept:
        optimizer.load_state_dict(kept["optimizer"])
    target = data.target.encode([pair.target for pair in data.splits.train])
    texts = [pair.source for pair in data.splits.train]
    total = variant.epochs * math.ceil(len(texts) / 256)
    began, lasted = time.monotonic(), 0.0
    for epoch in range(kept["epoch"], variant.epochs):
        if time.monotonic() - began + 1.1 * lasted > 60 * minutes:
            break
        start, cpu, losses = time.monotonic(), time.process_time(), []
        source = data.source.encode(texts, variant.cut)
        with fused(model):
            for x, y in batches(source, target, random.Random(1000 * variant.seed + epoch)):
                kept["step"] += 1
                warm, done = min(1.0, kept["step"] / 200), min(1.0, kept["step"] / total)
                for group in optimizer.param_groups:
                    group["lr"] = variant.lr * warm * (1 + math.cos(math.pi * max(0, 2 * done - 1))) / 2
                share = variant.sampled * done
                given = mixed(model, x, y[:, :-1], share, g) if share else y[:, :-1]
                with torch.autocast("cpu", torch.bfloat16):
                    logits = model(x, given)
                loss = Smoothed.apply(logits.flatten(0, 1), y[:, 1:].flatten(), variant.smoothing)
                optimizer.zero_grad()
                loss.backward()
                torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                optimizer.step()
                losses.append(loss.item())
            val = held_out_loss(model, data)
        lasted = time.monotonic() - start
        kept["seconds"] += time.process_time() - cpu  # of this process: the machine may be shared
        kept["history"].append({"train": round(sum(losses) / len(losses), 4), "val": round(val, 4)})
        say(f"{name}, epoch {epoch + 1} of {variant.epochs}: {kept['history'][-1]}, {lasted:.0f} s")
        state = {key: tensor.detach() for key, tensor in model.state_dict().items()}
        kept |= {"epoch": epoch + 1, "model": state, "optimizer": optimizer.state_dict(),
                 "generator": g.get_state()}  # fmt: skip
        RUNS.mkdir(parents=True, exist_ok=True)
        torch.save(kept, path.with_suffix(".new"))
        path.with_suffix(".new").replace(path)


@torch.no_grad()
def mixed(model: Seq2Seq, x: Tensor, y: Tensor, share: float, g: torch.Generator) -> Tensor:
    """Scheduled sampling in two passes (Mihaylova and Martins, 2019): a share of the decoder's inputs y are
    replaced by what the model itself says there, given the right beginning."""
    with torch.autocast("cpu", torch.bfloat16):
        own = model(x, y)[:, :-1].argmax(-1)
    replaced = (torch.rand(own.shape, generator=g) < share) & (y[:, 1:] != PAD)
    return torch.cat([y[:, :1], own.where(replaced, y[:, 1:])], 1)


def held_out_loss(model: Seq2Seq, data: Data) -> float:
    """Nats a token, pads left out, no smoothing, over the validation pairs."""
    source, target = encoded(data, data.splits.val)
    total = count = 0.0
    with evaluating(model):
        for x, y in batches(source, target, random.Random(0)):
            logits = model(x, y[:, :-1]).flatten(0, 1)
            total += F.cross_entropy(logits, y[:, 1:].flatten(), ignore_index=PAD, reduction="sum").item()
            count += (y[:, 1:] != PAD).sum().item()
    return total / count


def encoded(data: Data, pairs: Sequence[Pair]) -> tuple[list[list[int]], list[list[int]]]:
    return (data.source.encode([pair.source for pair in pairs]),
            data.target.encode([pair.target for pair in pairs]))  # fmt: skip


# ---- the test --------------------------------------------------------------------


def taught() -> dict[str, Any]:
    """Greedy search and beam search, as the chapter writes them out."""
    space = {"torch": torch, "math": math, "evaluating": evaluating, "PAD": PAD, "BEGIN": BEGIN, "END": END}
    return definitions(CHAPTER, {"next_steps", "greedy", "beam_search"}, space)


def references(pairs: Sequence[Pair]) -> dict[str, list[str]]:
    """Every translation of each sentence."""
    found: dict[str, list[str]] = defaultdict(list)
    for pair in pairs:
        found[pair.source].append(pair.target)
    return dict(found)


def translate(model: Seq2Seq, data: Data, texts: Sequence[str], beam: int = 1) -> list[str]:
    """Those of similar length together; a sentence may get twice its number of tokens and ten more."""
    rows = data.source.encode(texts)
    order = sorted(range(len(texts)), key=lambda i: len(rows[i]))
    search, found = taught(), {}
    with fused(model):
        for i in range(0, len(order), 100):
            some = order[i : i + 100]
            x = padded([[*rows[j], END] for j in some])
            longest = 2 * x.shape[1] + 10
            if beam == 1:
                y = search["greedy"](model, x, longest)
            else:
                y = search["beam_search"](model, x, longest, beam)
            cut = [[t for t in row if t not in (PAD, END)] for row in y.tolist()]
            found |= dict(zip(some, data.target.decode(cut), strict=True))
    return [found[i] for i in range(len(texts))]


def scores(said: Sequence[str], right: Sequence[Sequence[str]]) -> dict[str, Any]:
    """BLEU and chrF against all references, with half the width of their 95% intervals, and the share of
    sentences that are one of them."""
    from sacrebleu.metrics.bleu import BLEU
    from sacrebleu.metrics.chrf import CHRF

    streams = [[refs[k] if k < len(refs) else None for refs in right] for k in range(max(map(len, right)))]
    found: dict[str, Any] = {"sentences": len(said)}
    for key, metric in (("bleu", BLEU()), ("chrf", CHRF())):
        score = metric.corpus_score(list(said), streams, n_bootstrap=1000)
        found |= {key: round(score.score, 2), f"{key}_ci": round(float(score._ci), 2)}
    exact = sum(one in refs for one, refs in zip(said, right, strict=True)) / len(said)
    return found | {"exact": round(exact, 4)}


def pair_by_pair(said: dict[str, str], pairs: Sequence[Pair]) -> dict[str, Any]:
    """The scores of a test that does not look for other translations: each pair counts, with its own."""
    return scores([said[pair.source] for pair in pairs], [[pair.target] for pair in pairs])


def by_length(said: Sequence[str], right: dict[str, list[str]]) -> dict[int, list[int]]:
    """By the number of English words: how many sentences, and how many of them came out as a reference."""
    found: dict[int, list[int]] = defaultdict(lambda: [0, 0])
    for one, (text, refs) in zip(said, right.items(), strict=True):
        found[len(text.split())][0] += 1
        found[len(text.split())][1] += one in refs
    return dict(sorted(found.items()))


def load_model(name: str, data: Data) -> Seq2Seq:
    variant = VARIANTS[name]
    model = Seq2Seq(len(data.source), len(data.target), **variant.sizes)
    return model.load_state_dict(torch.load(RUNS / f"{name}.pt")["model"]).eval()


def test(name: str, data: Data, say: Callable[[str], None]) -> None:
    """Greedy and with a beam: on the validation sentences, then on those of the test."""
    variant, kept = VARIANTS[name], torch.load(RUNS / f"{name}.pt")
    if kept["epoch"] < variant.epochs:
        got = f"{kept['epoch']} of {variant.epochs} epochs"
        raise ValueError(f"expected {name} trained to its end, got {got}")
    model = load_model(name, data)
    found: dict[str, Any] = {
        "title": variant.title, "seed": variant.seed, "parameters": count_parameters(model),
        "settings": variant._asdict(), "vocabulary": [len(data.source), len(data.target)],
        "seconds": round(kept["seconds"]), "steps": kept["step"], "history": kept["history"],
        "pairs": [len(part) for part in data.splits],
    }  # fmt: skip
    for key, pairs in (("val", data.splits.val), ("test", data.splits.test)):
        right = references(pairs)
        for way, beam in (("greedy", 1), ("beam", 5)):
            said = translate(model, data, list(right), beam)
            found[f"{key}_{way}"] = scores(said, list(right.values()))
            say(f"{name}, {key}, {way}: {found[f'{key}_{way}']}")
        found[f"{key}_by_length"] = by_length(said, right)
        found[f"{key}_pairs"] = pair_by_pair(dict(zip(right, said, strict=True)), pairs)
    if name == "page":  # with the weights that the chapter's page has
        seen = translate(rounded(model, 8), data, list(right))
        found["test_in_the_page"] = scores(seen, list(right.values()))
    if name in ("best", "page"):  # a few at even distances, each with one of its references
        both = [[text, one, refs[0]] for one, (text, refs) in zip(said, right.items(), strict=True)]
        found["examples"] = both[100 :: len(both) // 10]
    write_json(RUNS / f"{name}.json", found | {"provenance": provenance(torch.device("cpu"))})


# ---- what a practitioner would try first -------------------------------------------


def remembered(train: Sequence[Pair], texts: Sequence[str]) -> list[str]:
    """A translation memory: the French of the training sentence that is nearest by TF-IDF of words."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    vectors = TfidfVectorizer(token_pattern=r"\w+|[^\w\s]", ngram_range=(1, 2))
    known = vectors.fit_transform(pair.source for pair in train)
    found = []
    for i in range(0, len(texts), 500):
        nearest = (vectors.transform(texts[i : i + 500]) @ known.T).tocsr()
        for row in nearest:
            found.append(train[row.indices[row.data.argmax()]].target if row.nnz else "")
    return found


def word_by_word(train: Sequence[Pair], texts: Sequence[str], rounds: int = 5) -> list[str]:
    """IBM's first model (Brown et al., 1993): a dictionary learned from the pairs, in English order."""
    some = random.Random(0).sample(train, min(40_000, len(train)))  # the composed ones are sorted
    pairs = [(sorted(set(Words.cut(a))), sorted(set(Words.cut(b)))) for a, b in some]
    chance: dict[tuple[str, str], float] = defaultdict(lambda: 1.0)
    for _ in range(rounds):
        counts: dict[tuple[str, str], float] = defaultdict(float)
        totals: dict[str, float] = defaultdict(float)
        for english, french in pairs:
            for f in french:
                whole = sum(chance[e, f] for e in english)
                for e in english:
                    share = chance[e, f] / whole
                    counts[e, f] += share
                    totals[e] += share
        chance = defaultdict(float, {(e, f): c / totals[e] for (e, f), c in counts.items()})
    best: dict[str, tuple[float, str]] = {}
    for (e, f), share in chance.items():
        best[e] = max(best.get(e, (0.0, "")), (share, f))
    return ["".join(best.get(token, (0, token))[1] for token in Words.cut(text)).strip() for text in texts]


def baselines(data: Data) -> dict[str, Any]:
    right = references(data.splits.test)
    ways = {"memory": remembered, "words": word_by_word}
    return {
        name: scores(way(data.splits.train, list(right)), list(right.values())) for name, way in ways.items()
    }


# ---- stored ----------------------------------------------------------------------


def leaks(file: Path) -> dict[str, Any]:
    """What the pairs share; which share of the test pairs has a sentence in training, by kind of split."""
    pairs = load_pairs(file)
    short = [pair for pair in pairs if len(pair.source.split()) <= LONGEST]
    counts = Counter(pair.source for pair in pairs)
    found: dict[str, Any] = {
        "pairs": len(pairs), "short": len(short), "distinct": len(counts),
        "shared": sum(n for n in counts.values() if n > 1),
        "groups": len(groups := components(short)), "largest": max(map(len, groups)),
    }  # fmt: skip
    for how in ("random", "english", "component"):
        parts = split(short, how)
        known = [{plain(pair[side]) for pair in parts.train} for side in (0, 1)]
        seen = [[plain(pair[side]) in known[side] for pair in parts.test] for side in (0, 1)]
        found[how] = {
            key: round(sum(flags) / len(flags), 4)
            for key, flags in (("english", seen[0]), ("french", seen[1]), ("either", list(map(max, *seen))))
        }
        texts = list(references(parts.test))
        memory = dict(zip(texts, remembered(parts.train, texts), strict=True))
        found[how]["memory"] = pair_by_pair(memory, parts.test)["bleu"]
    return found


def store(file: Path | None, say: Callable[[str], None]) -> None:
    """The results of all that is tested; of the corpora, what is there already unless it can be made anew."""
    content = read_json(STORE) if STORE.exists() else {}
    runs = {name: read_json(path) for name in VARIANTS if (path := RUNS / f"{name}.json").exists()}
    content = {"made_by": "tools/translation.py"} | content
    content["models"] = content.get("models", {}) | runs
    content["models"]["translator"] = {  # what the map of the book shows
        "measure": {"name": "BLEU", "better": "higher", "digits": 1},
        "runs": [
            {"seed": run["seed"], "parameters": run["parameters"], "val": run["val_beam"]["bleu"],
             "test": run["test_beam"]["bleu"]}
            for name, run in content["models"].items() if name in ("page", "page-1", "page-2")
        ],
    }  # fmt: skip
    content.setdefault("baselines", {})
    if "composed" not in content["baselines"]:
        content["baselines"]["composed"] = baselines(load(VARIANTS["composed-general-0"], None))
    if file is not None and "leaks" not in content:
        content["leaks"] = leaks(file)
        content["baselines"]["tatoeba"] = baselines(load(VARIANTS["page"], file))
    made = {}
    if "page" in runs and file:
        data = load(VARIANTS["page"], file)
        state = {key: t.half().contiguous() for key, t in load_model("page", data).state_dict().items()}
        made[MODELS / "translator.safetensors"] = save(state)
        content["pieces"] = [data.source.tokens(), data.target.tokens()]
    made[STORE] = (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode()
    replace_files(made)
    say(f"stored: {', '.join(path.name for path in made)}")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("do", choices=("train", "test", "store"))
    parser.add_argument("name", nargs="?", choices=list(VARIANTS))
    parser.add_argument("--file", type=Path)
    parser.add_argument("--minutes", type=float, default=14)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)

    def say(line: str) -> None:
        print(line, flush=True)

    if options.do == "store":
        store(options.file, say)
        return 0
    if options.name is None:
        parser.error(f"expected the name of a variant to {options.do}")
    try:
        data = load(VARIANTS[options.name], options.file)
    except ValueError as error:
        parser.error(str(error))
    if options.do == "train":
        train(options.name, data, options.minutes, say)
    else:
        test(options.name, data, say)
    return 0


if __name__ == "__main__":
    sys.exit(main())
