"""Store what `common` computes, for the tests of the pages' engine in node (tests/engine).

    python tools/engine_vectors.py            write tests/engine/vectors.json
    python tools/engine_vectors.py --check    only say whether it is what `common` computes today

Small models with weights that 16 bits hold exactly, as the pages have them, and what comes out of each in
floats of 64 bits. What is drawn is drawn here by the engine's generator of random numbers, from the
probabilities of `common.sampling`.
"""

import argparse
import base64
import copy
import io
import json
import math
import sys
import wave
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from translation import Pieces, taught

from common import constraints, models, nn, optim
from common.data import Vocabulary
from common.data.reviews import tokenize
from common.models import Recipe, SentenceClassifier, StatefulNetwork, Transformer, TransformerBlock, WaveNet
from common.models.seq2seq import Seq2Seq
from common.models.tree import BatchOnlyBatchNorm1d
from common.nn import (
    BatchNorm1d,
    CausalConv1d,
    Embedding,
    FlattenConsecutive,
    Linear,
    Module,
    Recurrent,
    Residual,
    Sequential,
    SiLU,
    Tanh,
    evaluating,
)
from common.pages import widgets
from common.sampling import probabilities, sample

FILE = Path(__file__).resolve().parent.parent / "tests" / "engine" / "vectors.json"
LETTERS = Vocabulary("abcde")
V = len(LETTERS)
Numbers = Callable[[], float]  # draws from [0, 1)


# ---- models and numbers --------------------------------------------------------------------------


def whole(low: int, high: int, *shape: int, seed: int) -> Tensor:
    return torch.randint(low, high, shape, generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def filled(model: Module, seed: int = 1, parts: int = 16) -> Module:
    """The model with weights that are 16ths, or other parts, and running variances above 0."""
    for k, (name, t) in enumerate(model.state_dict().items()):
        if t.is_floating_point():
            low, high = (8, 40) if "running_var" in name else (-20, 21)
            t.copy_(whole(low, high, *t.shape, seed=100 * seed + k) / parts)
    return model.eval()


def in_double(model: Module) -> Any:
    """What computes the same in floats of 64 bits. (Any: a layer may return its state as well.)"""
    return copy.deepcopy(model).to(torch.float64)


def held(model: Module, block_size: int | None = None, **how: int) -> dict:
    """A model as a page holds it."""
    stages, weights = widgets.packed({"": (Recipe(type(model), block_size, ""), model)}, **how)
    return {"stages": stages, "weights": base64.b64encode(weights).decode()}


def plain(value: Any) -> Any:
    """As JSON has it: tensors as lists, fractions with eight digits."""
    if isinstance(value, Tensor):
        return plain(value.tolist())
    if isinstance(value, dict):
        return {key: plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    return float(f"{value:.8g}") if isinstance(value, float) and math.isfinite(value) else value


def flat(x: Tensor) -> dict:
    return {"data": x.flatten(), "shape": list(x.shape)}


def random(seed: int) -> Numbers:
    """mulberry32, with numbers of 32 bits."""
    mask = 2**32 - 1

    def times(a: int, b: int) -> int:
        return a * b & mask

    def draw() -> float:
        nonlocal seed
        seed = seed + 0x6D2B79F5 & mask
        t = times(seed ^ seed >> 15, 1 | seed)
        t = t + times(t ^ t >> 7, 61 | t) & mask ^ t
        return (t ^ t >> 14) / 2**32

    return draw


def tree() -> Module:
    """Four letters, pair by pair, and a norm a level."""
    return filled(Sequential([
        Embedding(V, 3), FlattenConsecutive(2), Linear(6, 4, bias=False), BatchNorm1d(4), Tanh(),
        FlattenConsecutive(2), Linear(8, 5), BatchNorm1d(5), Tanh(), Linear(5, V),
    ]))  # fmt: skip


def sliding() -> Module:
    """Whole names: kernels of three and two, something other than zeros before a name."""
    return filled(Sequential([
        Embedding(V, 3), CausalConv1d(3, 3, 3, 2), SiLU(),
        Residual([CausalConv1d(3, 3, 2, 1, bias=False), Tanh()]), Linear(3, V),
    ]))  # fmt: skip


def with_state() -> Module:
    return filled(Sequential([Embedding(V, 2), Recurrent("gru", 2, 3), Linear(3, V)]))


def mixed() -> Module:
    """A state that a convolution stands before, so that nothing may be kept."""
    layers = [Embedding(V, 2), CausalConv1d(2, 2, 2), Recurrent("gru", 2, 3), Linear(3, V)]
    return filled(Sequential(layers))


WHOLE_NAMES = {"sliding": sliding, "state": with_state, "mixed": mixed}
BUILT = {"tree": tree, **WHOLE_NAMES}
BLOCK = {"tree": 4}


# ---- what is stored, by section ------------------------------------------------------------------


def layers() -> Iterator[dict]:
    """One layer or a few, what goes in and what comes out, and the states before and behind."""
    B, T, C = 2, 5, 4
    x, ids = whole(-32, 33, B, T, C, seed=7) / 16, whole(0, V, B, T, seed=8)
    around = [CausalConv1d(C, C, 2), SiLU()]
    made: dict[str, tuple[list[Module], Tensor]] = {
        "embedding": ([Embedding(V, C)], ids),
        "flatten 2": ([FlattenConsecutive(2)], x[:, :4]),
        "flatten all": ([FlattenConsecutive(2)], x[:, :2]),
        "linear": ([Linear(C, 3)], x),
        "linear without a bias": ([Linear(C, 3, bias=False)], x),
        "convolution": ([CausalConv1d(C, 3, 3, 2)], x),
        "convolution without a bias": ([CausalConv1d(C, 2, 2, 1, bias=False)], x),
        "batch norm": ([BatchNorm1d(C)], x),
        "batch norm, the bug": ([BatchOnlyBatchNorm1d(C)], x),
        "tanh": ([Tanh()], x),
        "silu": ([SiLU()], x),
        "residual": ([Residual(around)], x),
        "position": ([nn.PositionalEmbedding(7, C)], x),
        "layer norm": ([nn.LayerNorm(C)], x),
        "several": ([Linear(C, 3), Tanh(), Linear(3, 2)], x),
        "part one's gru": ([Recurrent("gru", C, 3)], x),
        "block": ([TransformerBlock(C, 2)], x[:, :3]),
        "block of one head": ([TransformerBlock(C, 1)], x[:, :3]),
    }
    for name, (parts, value) in made.items():
        model = Sequential(parts)
        if name == "batch norm, the bug":
            model.train()(value)  # its statistics take their shape from a batch
        filled(model)
        double = value if value.dtype == torch.int64 else value.double()
        yield {"name": name, **held(model), "x": flat(value), "y": flat(in_double(model)(double))}
    for bits in (16, 8):
        model = filled(Sequential([Linear(C, 3), Tanh()]), parts=7)
        rounded = in_double(widgets.rounded(model, bits))
        y = flat(rounded(x.double()))
        yield {"name": f"{bits} bits", **held(model, halve_above=1, bits=bits), "x": flat(x), "y": y}
    for kind, deep, both in ((nn.RNN, 1, False), (nn.LSTM, 2, False), (nn.GRU, 1, True), (nn.LSTM, 1, True)):
        rnn = filled(kind(C, 3, deep, bidirectional=both, bias=kind is not nn.RNN))
        cells = nn.recurrent_cells(rnn)
        start = [
            [whole(-16, 17, B, 3, seed=i + 9 * k) / 16 for k in range(cell.tensors)]
            for i, cell in enumerate(cells)
        ]
        joined = [torch.stack([own[k] for own in start]).double() for k in range(cells[0].tensors)]
        y, end = in_double(rnn)(x.double(), joined[0] if len(joined) == 1 else tuple(joined))
        ends = end if isinstance(end, tuple) else (end,)
        yield {
            "name": f"{kind.__name__} of {deep}{', both ways' if both else ''}",
            **held(Sequential([rnn])), "x": flat(x), "y": flat(y),
            "start": [[part.flatten() for part in own] for own in start],
            "end": [[part[i].flatten() for part in ends] for i in range(len(cells))],
        }  # fmt: skip


def activations() -> Iterator[dict]:
    x = [-6.0, -3.5, -2.0, -1.0, -0.5, -0.0625, 0.0, 0.0625, 0.5, 1.0, 2.0, 3.5, 6.0]
    found = torch.tensor(x, dtype=torch.float64)
    yield {"kind": "gelu", "x": x, "y": torch.nn.functional.gelu(found)}
    yield {"kind": "silu", "x": x, "y": SiLU()(found)}
    yield {"kind": "tanh", "x": x, "y": Tanh()(found)}


def numbers() -> Iterator[dict]:
    """Floats of 16 bits."""
    bits = [0x0000, 0x8000, 0x0001, 0x03FF, 0x0400, 0x3C00, 0xBC01, 0x3555, 0x7BFF, 0xFBFF, 0x4248, 0x8401]
    signed = torch.tensor([b - 2**16 if b >= 2**15 else b for b in bits], dtype=torch.int16)
    yield {"bits": bits, "halves": signed.view(torch.float16).double()}


def networks() -> Iterator[dict]:
    """Whole models of names, to which other sections refer: logits everywhere, and what a character moves."""
    for name, build in BUILT.items():
        model, T = build(), BLOCK.get(name, 7)
        x, double = whole(0, V, 3, T, seed=5), in_double(build())
        moved = []
        for chosen in (0, 2):
            for context in (x[0], x[1]) if name in BLOCK else (x[0], x[1, :3], x[2, :1]):
                vectors = double.layers[0](context[None]).detach().requires_grad_()
                logits = Sequential(double.layers[1:])(vectors).reshape(-1, V)[-1]
                torch.log_softmax(logits, -1)[chosen].backward()
                row = {"context": context, "chosen": chosen, "influence": vectors.grad[0].norm(dim=1)}
                moved.append(row)
        yield {
            "name": name, **held(model, BLOCK.get(name)), "x": x.flatten(), "T": T,
            "logits": flat(double(x)), "moved": moved,
        }  # fmt: skip
    model = filled(Transformer(V, 4, 2, 2, length=8))
    x, double = whole(0, V, 2, 6, seed=5), in_double(model)
    h, read = double.position(double.embedding(x)), []
    for block in (double.block1, double.block2):
        q, k, _ = block.split(block.norm1(h))
        read.append(nn.attention_weights(q, k, nn.causal_mask(6, 6)).flatten())
        h = block(h)
    yield {
        "name": "transformer", **held(model), "x": x.flatten(), "T": 6,
        "logits": flat(double(x)), "read": read, "moved": [],
    }  # fmt: skip


def next_logits(model: Module, block_size: int | None, names: list[list[int]]) -> Tensor:
    rows = [([0, *name] if block_size is None else ([0] * block_size + name)[-block_size:]) for name in names]
    found = model(torch.tensor(rows))
    return found[:, -1] if block_size is None else found


def growing() -> Iterator[dict]:
    """Logits of names that grow a letter at a time, while some of them end (0)."""
    steps = [[1, 2, 3], [4, 0, 5], [2, 2], [0, 3], [1], [5]]
    stacked = filled(StatefulNetwork(V, nn.LSTM, 2, 3, layers=2), parts=8)
    for name, model in ({name: build() for name, build in BUILT.items()} | {"stacked": stacked}).items():
        double, names, rows = in_double(model), [[3, 1], [3, 1], [3, 1]], []
        for letters in steps:
            rows.append(next_logits(double, BLOCK.get(name), names))
            names = [[*one, letter] for one, letter in zip(names, letters, strict=True) if letter]
        own = held(model) if name == "stacked" else {"model": name}
        yield {"name": name, **own, "start": [3, 1], "steps": steps, "rows": rows}


def sentences() -> Iterator[dict]:
    """Logits after each word, had the sentence ended there."""
    words = [4, 1, 6, 2, 2, 5]
    made = (
        (nn.LSTM, "mean", False), (nn.RNN, "max", False), (nn.GRU, "last", False),
        (nn.LSTM, "last", True), (nn.GRU, "mean", True), (nn.RNN, "max", True),
    )  # fmt: skip
    for kind, pool, both in made:
        model = filled(SentenceClassifier(7, 2, kind, 2, 3, both, pool), parts=8)
        double = in_double(model)
        rows = [double(torch.tensor([words[:end]]))[0] for end in range(1, len(words) + 1)]
        name = f"{kind.__name__}, {pool}{', both ways' if both else ''}"
        yield {"name": name, **held(model), "words": words, "rows": rows}


def shares() -> Iterator[dict]:
    """common.sampling.probabilities."""
    rows = {
        "plain": [1.5, -0.25, 3.0, 0.0, 2.5],
        "ties": [1.0, 2.0, 2.0, 0.5, 2.0],
        "far": [900.0, 0.0, 899.0],
    }
    shapes = [
        ("plain", {}), ("plain", {"temperature": 0.5}), ("plain", {"temperature": 2.0, "top_k": 3}),
        ("plain", {"top_k": 1}), ("plain", {"top_p": 0.9}), ("plain", {"top_p": 0.5}),
        ("plain", {"temperature": 1.5, "top_k": 4, "top_p": 0.75}), ("plain", {"top_p": 1e-9}),
        ("plain", {"top_k": 5, "top_p": 1.0}), ("ties", {"top_k": 2}), ("ties", {"top_p": 0.3}),
        ("ties", {"top_p": 0.7}), ("far", {}), ("far", {"temperature": 0.01}),
        ("far", {"temperature": 100.0}),
        ("plain", {"top_k": 2, "allowed": [0, 1, 3]}), ("plain", {"top_p": 0.6, "allowed": [0, 1, 3, 4]}),
        ("ties", {"allowed": [3]}),
    ]  # fmt: skip
    for row, shape in shapes:
        logits = torch.tensor(rows[row], dtype=torch.float64)
        open_ = torch.full_like(logits, -torch.inf)
        kept = shape.get("allowed", list(range(len(logits))))
        open_[kept] = logits[kept]
        settings = {name: value for name, value in shape.items() if name != "allowed"}
        yield {"row": logits, **shape, "p": probabilities(open_, **settings)}


def drawn() -> Iterator[dict]:
    for seed in (1, 7, 12345, 2**31 - 1, -5):
        draw = random(seed)
        yield {"seed": seed, "numbers": [int(2**32 * draw()) for _ in range(6)]}


def rule(parts: list) -> constraints.Constraint:
    kinds: dict[str, Callable[..., constraints.Constraint]] = {
        "pattern": constraints.Pattern, "alphabet": constraints.Alphabet,
        "length": constraints.Length, "notIn": constraints.NotIn,
    }  # fmt: skip
    return constraints.All(*(kinds[kind](*given) for kind, *given in parts))


def names() -> Iterator[dict]:
    """Names that the engine's random numbers draw from the probabilities of common.sampling."""
    ways: list[dict] = [
        {"model": "state", "seed": 3}, {"model": "state", "seed": 4, "temperature": 2.0, "prefix": "ab"},
        {"model": "sliding", "seed": 5, "top_k": 3}, {"model": "tree", "seed": 6, "top_p": 0.7},
        {"model": "mixed", "seed": 8, "max_length": 3}, {"model": "tree", "seed": 9, "prefix": "dad"},
        {"model": "state", "seed": 10, "parts": [["pattern", "a?*e"], ["length", 3, None]], "max_length": 6},
        {"model": "sliding", "seed": 11, "parts": [["alphabet", "abc"], ["length", 2, 4]], "prefix": "a"},
        {"model": "tree", "seed": 12, "parts": [["length", 5, None]], "max_length": 5, "temperature": 3.0},
    ]  # fmt: skip
    for way in ways:
        double, draw = in_double(BUILT[way["model"]]()), random(way["seed"])
        block = BLOCK.get(way["model"])
        longest, start = way.get("max_length", 40), LETTERS.encode(way.get("prefix", ""))
        rules = way.get("parts")
        machine = None if rules is None else constraints.Automaton(
            rule(rules), LETTERS, longest, way.get("prefix", ""))  # fmt: skip
        shape = {key: way[key] for key in ("temperature", "top_k", "top_p") if key in way}
        found = [list(start) for _ in range(6)]
        states = [machine.start if machine else None for _ in found]
        going = list(range(6))
        for _ in range(len(start), longest + (machine is not None)):
            logits = next_logits(double, block, [found[i] for i in going])
            if machine:
                logits = machine.process_logits(logits, [states[i] for i in going])
            ends = []
            for i, p in zip(going, probabilities(logits, **shape), strict=True):
                index = int((draw() >= p.cumsum(0)).sum())
                if machine:
                    states[i] = machine.allowed(states[i])[index]
                ends += [i] if index == 0 else []
                found[i] += [index] if index else []
            going = [i for i in going if i not in ends]
            if not going:
                break
        yield {**way, "start": start, "names": found}
    for name, build in BUILT.items():  # one that draws nothing: the likeliest, by common.sampling.sample
        [likeliest] = sample(
            build(), LETTERS, BLOCK.get(name), generator=torch.Generator(), top_k=1, prefix="b", max_length=7
        )
        indices = LETTERS.encode(likeliest)
        yield {"model": name, "seed": 1, "top_k": 1, "max_length": 7, "start": LETTERS.encode("b"),
               "names": [indices] * 6}  # fmt: skip


def rules() -> Iterator[dict]:
    """Every name over a small alphabet that meets the rules; or which of them clash."""
    vocabulary = Vocabulary("abc")
    some = ["alphabet", "ab"]
    cases: list[tuple[list, str, int]] = [
        ([], "", 2), ([some], "", 3), ([some], "b", 3), ([some], "c", 3),
        ([["length", 2, 3]], "", 9), ([["length", 2, None]], "", 3), ([["length", 0, 1]], "", 9),
        ([["length", 0, 0]], "", 9), ([["length", 4, None]], "", 3), ([["length", 1, 2]], "abc", 9),
        ([["pattern", "a*"]], "", 3), ([["pattern", "*a"]], "", 3), ([["pattern", "?b?"]], "", 9),
        ([["pattern", "a**b"]], "", 4), ([["pattern", "*a*b*"]], "", 3), ([["pattern", "ab"]], "a", 9),
        ([["pattern", "ab"]], "b", 9), ([["pattern", "*"]], "", 2),
        ([["pattern", "a?*c"], ["alphabet", "ac"]], "", 5), ([["pattern", "b*"], ["alphabet", "ac"]], "", 5),
        ([["notIn", ["a", "ab", "c"]]], "", 2), ([["notIn", []]], "", 2), ([["notIn", ["ab"]]], "ab", 2),
        ([["notIn", ["ab", "cb"]], ["pattern", "?b"]], "", 4),
        ([["notIn", ["ab"]], ["pattern", "ab"]], "", 4),
        ([["alphabet", "a"], ["length", 2, 3], ["notIn", ["aa"]]], "", 9),
        ([["alphabet", "a"], ["length", 2, 2], ["notIn", ["aa"]]], "", 9),
        ([["pattern", "*"], ["length", 3, None], ["pattern", "??"]], "", 9),
        ([["alphabet", "b"], ["pattern", "*"], ["pattern", "a"]], "", 9),
        ([["pattern", "b*"], ["alphabet", "ac"], ["length", 1, None]], "", 9),
    ]  # fmt: skip
    for parts, prefix, longest in cases:
        case: dict = {"parts": parts, "prefix": prefix, "longest": longest}
        wanted = rule(parts)
        try:
            automaton = constraints.Automaton(wanted, vocabulary, longest, prefix)
            every = [prefix + vocabulary.decode(rest) for rest in automaton.continuations()]
            yield {**case, "names": sorted(every)}
        except ValueError:
            clash = constraints._clash(wanted, vocabulary, longest, prefix)
            yield {**case, "clash": [wanted.parts.index(part) for part in clash]}


def texts() -> Iterator[dict]:
    some = [
        "It's GREAT, isn't it?!", "rock ’n’ roll’s 'quoted' words'", "naïve  café\tx",
        "snake_case 1,000 ½ ٣ _", "👍🏽 good 👨\u200d👩\u200d👧 x",
        "ΟΔΟΣ İstanbul ẞ", "电影很好看。",
        "a\u00a0b\u2003c\u3000d\u200be\x1cg\x85h\x0bi\x1fj",
        "k\u1680l\u2028m\u2029n\u202fo\u205fp\u2000q\u200ar\x0es\x08t",
        "", "  \n\t", "... …—!", "don''t o'o''o",
    ]  # fmt: skip
    for text in some:
        yield {"text": text, "words": tokenize(text)}


def translation() -> Iterator[dict]:
    model = filled(Seq2Seq(9, 8, n_embd=3, n_hidden=4), seed=18)
    rounded = in_double(widgets.rounded(model, 8)).eval()
    page = widgets.translator(model, ["x"] * 9, ["y"] * 8)
    for source, tokens in (([5, 6, 7, 2], [1, 4, 5, 3]), ([8, 2], [1, 7]), ([2], [1, 6, 6])):
        with evaluating(rounded):
            logits, _, weights = rounded.decode(
                torch.tensor([tokens]), *rounded.encode(torch.tensor([source]))
            )
        written = taught()["greedy"](rounded, torch.tensor([source]), 6)[0].tolist()
        written = [token for token in written if token]
        with evaluating(rounded):
            own, _, theirs = rounded.decode(
                torch.tensor([[1, *written[:-1]]]), *rounded.encode(torch.tensor([source]))
            )
        shares = own[0].softmax(-1).gather(1, torch.tensor(written)[:, None])[:, 0]
        yield {
            "stages": page.stages, "weights": base64.b64encode(page.weights).decode(), "source": source,
            "tokens": tokens, "logits": logits[0], "looked": weights[0],
            "written": written, "sure": shares, "writing": theirs[0],
        }  # fmt: skip


def pieces() -> Iterator[dict]:
    said = ["the red house", "a red hat in the house", "the hat", "reread the other thread", "heat the earth"]
    made = Pieces(said, 32)
    some = [*said, "", "  ", "a", " two  spaces ", "Zoë ate the hats", "thehat", "éà the", "<s> </s>", "▁"]
    yield {"pieces": made.tokens(), "texts": some, "numbers": made.encode(some)}


def paths() -> Iterator[dict]:
    """A 1 through convolutions whose weights are 1 counts the paths to it."""
    cases = (
        (2, 3, 2, "doubling", 3), (3, 2, 1, "doubling", 2), (2, 2, 2, "one", 1), (3, 1, 3, "one", 0),
        (4, 2, 1, "doubling", 3),
    )  # fmt: skip
    for kernel, each, stacks, growth, block in cases:
        dilations = [1 if growth == "one" else 2**i for i in range(each)] * stacks
        x = torch.zeros((1, 1 + (kernel - 1) * sum(dilations), 1), dtype=torch.float64)
        x[0, 0, 0], skips = 1, torch.zeros(())
        for dilation in dilations:
            convolution = CausalConv1d(1, 1, kernel, dilation)
            convolution.weight.fill_(1)
            z = in_double(convolution)(x)
            x, skips = (x + z if block >= 2 else z), skips + z
        channels = 5 + kernel
        parts = {"gate": block >= 1, "residual": block >= 2, "skip": block >= 3}
        model = WaveNet(27, channels, channels, tuple(dilations), kernel, **parts)
        counted = (skips if block >= 3 else x).flatten().long()
        yield {
            "kernelSize": kernel, "layers": each, "stacks": stacks, "growth": growth, **parts,
            "channels": channels, "dilations": dilations, "paths": counted,
            "parameters": models.count_parameters(model),
        }  # fmt: skip


def descents() -> Iterator[dict]:
    """Optimisers of common.optim in the valley x² / 2 + steep y² / 2."""
    kinds: dict[str, optim.Optimizer] = {
        "sgd": optim.SGD(), "momentum": optim.SGD(momentum=0.9), "rmsprop": optim.RMSprop(),
        "adam": optim.Adam(),
    }  # fmt: skip
    for kind, optimizer in kinds.items():
        for lr, steep, unit in ((0.05, 30, 1), (0.2, 3, 10)):
            p = torch.tensor([-4.0, 1.2], dtype=torch.float64)
            state, points = optimizer.init(p), [p]
            for _ in range(4):
                g = unit * torch.tensor([1.0, steep], dtype=torch.float64) * p
                p, state = optimizer.update(p, g, state, lr)
                points.append(p)
            yield {"kind": kind, "lr": lr, "steep": steep, "unit": unit, "points": points}


def forecasts() -> Iterator[dict]:
    """A network that runs free, and a weighted sum that does."""
    model = filled(Sequential([nn.LSTM(1, 3), Linear(3, 1)]))
    rnn, out = in_double(model).layers
    values = torch.tensor([0.5, -0.25, 1.0, 0.75], dtype=torch.float64)
    h, state = rnn(values[None, :, None])
    free = [out(h)[0, -1, 0]]
    while len(free) < 5:
        h, state = rnn(free[-1].view(1, 1, 1), state)
        free.append(out(h)[0, -1, 0])
    weights, run = torch.tensor([0.25, -0.5, 1.25], dtype=torch.float64), list(values)
    for _ in range(5):
        run.append(weights @ torch.stack(run[-3:]))
    yield {
        **held(model),
        "values": values,
        "free": torch.stack(free),
        "linear": weights,
        "run": torch.stack(run[-5:]),
    }


def writing() -> Iterator[dict]:
    """A text read on: logits, the state, and what each character cost in bits."""
    for kind in (nn.RNN, nn.LSTM, nn.GRU):
        model = filled(StatefulNetwork(V, kind, 2, 3), parts=8)
        double, indices = in_double(model), [0, 3, 5, 1, 1]
        rows, states, state = [], [], None
        for index in indices:
            logits, state = double.go_on(torch.tensor([[index]]), state)
            rows.append(logits[0, 0])
            states.append([part.flatten() for part in (state if isinstance(state, tuple) else (state,))])
        bits = [
            -torch.log2(probabilities(row)[index]) for row, index in zip(rows[:-1], indices[1:], strict=True)
        ]
        yield {
            "name": kind.__name__,
            **held(model),
            "indices": indices,
            "rows": rows,
            "states": states,
            "bits": bits,
        }


def sounds() -> Iterator[dict]:
    samples, file = bytes([0, 1, 127, 128, 200, 255]), io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setparams((1, 1, 16_000, 0, "NONE", ""))
        out.writeframes(samples)
    yield {"samples": list(samples), "rate": 16_000, "file": base64.b64encode(file.getvalue()).decode()}


SECTIONS = [layers, activations, numbers, networks, growing, sentences, shares, drawn, names, rules, texts,
            translation, pieces, paths, descents, forecasts, writing, sounds]  # fmt: skip


# ---- the file ------------------------------------------------------------------------------------


def computed() -> dict[str, list]:
    return {section.__name__: [plain(case) for case in section()] for section in SECTIONS}


def written(vectors: dict[str, list]) -> str:
    """A case a line."""
    sections = (
        f'"{name}": [\n'
        + ",\n".join(json.dumps(case, ensure_ascii=False, separators=(",", ":")) for case in cases)
        + "\n]"
        for name, cases in vectors.items()
    )
    return "{" + ",\n".join(sections) + "}\n"


def differences(stored: Any, now: Any, at: str = "") -> Iterator[str]:
    """Where two sets of vectors are not the same: in fractions, by more than rounding."""
    if isinstance(stored, dict) and isinstance(now, dict) and stored.keys() == now.keys():
        for key in stored:
            yield from differences(stored[key], now[key], f"{at}.{key}")
    elif isinstance(stored, list) and isinstance(now, list) and len(stored) == len(now):
        for i, (one, other) in enumerate(zip(stored, now, strict=True)):
            yield from differences(one, other, f"{at}[{i}]")
    elif isinstance(stored, float) and isinstance(now, float):
        if not math.isclose(stored, now, rel_tol=1e-7, abs_tol=1e-8):
            yield f"{at[1:]}: stored {stored}, computed {now}"
    elif stored != now:
        yield f"{at[1:]}: stored {stored!s:.60}, computed {now!s:.60}"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description="Store what `common` computes, for the engine's tests in node."
    )
    parser.add_argument("--check", action="store_true", help="only say whether the stored vectors still hold")
    options, now = parser.parse_args(arguments), computed()
    if not options.check:
        FILE.write_text(written(now), encoding="utf-8")
        print(f"{FILE.name}: {sum(map(len, now.values()))} cases, {FILE.stat().st_size / 1000:.0f} kB")
        return 0
    found = list(differences(json.loads(FILE.read_text(encoding="utf-8")), json.loads(written(now))))
    for line in found[:20]:
        print(line)
    print(f"{len(found)} numbers differ" if found else f"{sum(map(len, now.values()))} cases hold")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
