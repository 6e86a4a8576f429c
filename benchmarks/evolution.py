"""Seven models of names, from a table of counts to attention: what each sees, what it costs, its loss.

    .venv/bin/python benchmarks/evolution.py [--train [NAME ...]]

Writes data/results/evolution.json, which part two, chapter 6, draws. The networks have at most 76,579
parameters, those of the tree of chapter 6. Costs are counted by torch as a network runs. With --train
every network is trained, three seeds, by one recipe that is tuned for none; without it, the file keeps its
losses.
"""

import sys
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from common.data import examples, load_names, split_names, windows
from common.data.vocabulary import Vocabulary
from common.evaluate import mean_loss
from common.fast import fused
from common.models import MLP, Dilated, StatefulNetwork, Transformer, Tree, count_parameters
from common.nn import LSTM, RNN, CausalConv1d, Module, evaluating
from common.pages.results import RESULTS
from common.runs.files import read_json, write_json
from common.runs.provenance import provenance
from common.train import Config, composed_steps

STORE = RESULTS / "evolution.json"
V, SEEDS, WINDOW, LONG = 27, range(3), 8, 60
WINDOWED = {"mlp", "tree"}
BUILDS: dict[str, Callable[..., Module]] = {
    "mlp": lambda generator: MLP(V, WINDOW, 24, 342, generator=generator),
    "tree": lambda generator: Tree(n_embd=24, n_hidden=128, generator=generator),
    "convolution": lambda generator: Dilated(
        V, 24, 105, (1, 2, 4, 8), activation="silu", residual=True, generator=generator
    ),
    "rnn": lambda generator: StatefulNetwork(V, RNN, 32, 245, generator=generator),
    "lstm": lambda generator: StatefulNetwork(V, LSTM, 32, 117, generator=generator),
    "attention": lambda generator: Transformer(V, 44, 4, 3, length=LONG, generator=generator),
}
CONFIG = Config(steps=1_000, batch_size=128, lr=0.007, schedule="cosine", warmup=100, optimizer="muon",
                betas=(0.9, 0.99), weight_decay=0.05)  # fmt: skip


# ---- costs -----------------------------------------------------------------------


def longest_chain(loss: Tensor) -> int:
    """How many matrix products of a pass must follow one another: the longest path in the graph of a loss."""
    product = {"MmBackward0", "AddmmBackward0", "BmmBackward0"}
    depth: dict[Any, int] = {}
    waiting = [loss.grad_fn]
    while waiting:
        node = waiting[-1]
        before = [parent for parent, _ in node.next_functions if parent is not None]
        if todo := [parent for parent in before if parent not in depth]:
            waiting += todo
            continue
        depth[waiting.pop()] = max((depth[p] for p in before), default=0) + (node.name() in product)
    return depth[loss.grad_fn]


def passed(name: str, model: Module, T: int, B: int = 16) -> Tensor:
    """The loss of B random texts of T characters, all of them predicted."""
    x = torch.randint(V, (B, T), generator=torch.Generator().manual_seed(0))
    if name in WINDOWED:
        x = F.pad(x, (WINDOW - 1, 0)).unfold(1, WINDOW, 1).flatten(0, 1)
    return model(x).square().mean()


def multiply_adds(run: Callable[[], Any]) -> int:
    with FlopCounterMode(display=False) as counter:
        run()
    return counter.get_total_flops() // 2


def kept_for_backward(name: str, model: Module, T: int, B: int = 16) -> int:
    """Bytes that a forward pass leaves for the backward pass, the parameters not counted."""
    own = {t.untyped_storage().data_ptr() for t in model.state_dict().values()}
    found: dict[int, tuple[Tensor, int]] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            found[storage.data_ptr()] = (tensor, storage.nbytes())  # held, so that no address is used twice
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        passed(name, model, T, B)
    return sum(size for _, size in found.values())


def reach(name: str, model: Module, T: int) -> int:
    """How many of the last characters change a prediction."""
    x = torch.randint(1, V, (1, T), generator=torch.Generator().manual_seed(0))

    def last(x: Tensor) -> Tensor:
        return model(x[:, -WINDOW:]) if name in WINDOWED else model(x)[:, -1]

    seen = 0
    with evaluating(model):
        for back in range(1, T + 1):
            other = x.clone()
            other[0, -back] = (other[0, -back] + 1) % V
            if not torch.equal(last(x), last(other)):
                seen = back
    return seen


def generation(name: str, model: Module, before: int) -> dict[str, int]:
    """Multiply-adds of the next character after `before` others, and the numbers kept for it from these."""
    x = torch.zeros(1, before, dtype=torch.long)
    with evaluating(model):
        if name in WINDOWED:  # the window itself is all that is kept
            return {"multiply_adds": multiply_adds(lambda: model(x[:, :WINDOW])), "kept": WINDOW}
        if name == "convolution":  # a position is computed once, and each level keeps what it looks back at
            levels = [m for m in model.modules() if isinstance(m, CausalConv1d)]
            kept = sum((len(m.weight) - 1) * m.dilation * len(m.before) for m in levels)
            return {"multiply_adds": multiply_adds(lambda: model(x)) // before, "kept": kept}
        _, state = model.go_on(x)  # type: ignore[attr-defined]
        one = x[:, :1]
        return {
            "multiply_adds": multiply_adds(lambda: model.go_on(one, state)),  # type: ignore[attr-defined]
            "kept": sum(t.numel() for t in _tensors(state)),
        }


def _tensors(state: Any) -> list[Tensor]:
    return [state] if isinstance(state, Tensor) else [t for part in state for t in _tensors(part)]


def costs(name: str) -> dict[str, Any]:
    model = BUILDS[name](torch.Generator().manual_seed(0)).requires_grad_()
    T, B = 16, 16

    def both_ways() -> None:
        torch.autograd.grad(passed(name, model, T, B), model.parameters())

    return {
        "parameters": count_parameters(model),
        "sees": reach(name, model, LONG - 1),
        "chain": {length: longest_chain(passed(name, model, length)) for length in (16, LONG)},
        "training": {"multiply_adds": multiply_adds(both_ways) // (B * T),
                     "bytes": kept_for_backward(name, model, T, B) // (B * T)},
        "generation": {length: generation(name, model, length) for length in (16, LONG - 1)},
    }  # fmt: skip


# ---- losses ----------------------------------------------------------------------


def counts(train: list[str], val: list[str], vocabulary: Vocabulary) -> dict[str, Any]:
    """A table of counts of so many characters and the next, mixed with the shorter ones' tables.

    p(c | context) = (count + strength * p(c | shorter context)) / (all counts + strength). The order is
    the one with the best loss here among 1 to 6, so the loss is a little better than it would be elsewhere.
    """
    best: dict[str, Any] = {}
    for order in range(1, 7):
        x, y = windows(train, vocabulary, order)
        a, b = windows(val, vocabulary, order)
        p, strength = torch.full((len(b), V), 1 / V, dtype=torch.float64), 5.0
        stored = 0
        for n in range(order + 1):
            weights = V ** torch.arange(n)
            keys, queries = ((t[:, order - n :] * weights).sum(1) for t in (x, a))
            found, at = keys.unique(return_inverse=True)
            table = torch.zeros(len(found), V, dtype=torch.float64)
            table.index_put_((at, y), torch.ones((), dtype=torch.float64), accumulate=True)
            where = torch.searchsorted(found, queries).clamp(max=len(found) - 1)
            rows = table[where] * (found[where] == queries)[:, None]
            p = (rows + strength * p) / (rows.sum(1, keepdim=True) + strength)
            stored += int((table > 0).sum())
        loss = -p.gather(1, b[:, None]).log().mean().item()
        if not best or loss < best["runs"][0]["val"]:
            best = {"order": order, "stored": stored, "runs": [{"val": round(loss, 5)}]}
    return best


def trained(name: str, train: list[str], val: list[str], vocabulary: Vocabulary) -> list[dict[str, Any]]:
    block_size = WINDOW if name in WINDOWED else None
    pairs, held_out = (examples(names, vocabulary, block_size) for names in (train, val))
    config = CONFIG
    if name in WINDOWED:  # as many predictions in a batch
        config = Config(**{**vars(CONFIG), "batch_size": CONFIG.batch_size * len(pairs[0]) // len(train)})
    runs = []
    for seed in SEEDS:
        g = torch.Generator().manual_seed(seed)
        model = BUILDS[name](g)
        with fused(model) if name in ("rnn", "lstm") else nullcontext():
            composed_steps(model, pairs, g, config, 0, config.steps)
            runs.append({"seed": seed, "val": round(mean_loss(model, *held_out), 5)})
        print(name, runs[-1], flush=True)
    return runs


def main(arguments: list[str]) -> None:
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    names = load_names()
    splits, vocabulary = split_names(names), Vocabulary("".join(names))
    models: dict[str, Any] = read_json(STORE)["models"] if STORE.exists() else {}
    for name in BUILDS:
        models[name] = models.get(name, {}) | costs(name)
        print(name, {key: value for key, value in models[name].items() if key != "runs"}, flush=True)
    if "--train" in arguments:
        asked = [name for name in arguments if name in (*BUILDS, "counts")] or [*BUILDS, "counts"]
        for name in asked:
            if name == "counts":
                models[name] = counts(splits.train, splits.val, vocabulary)
            else:
                models[name]["runs"] = trained(name, splits.train, splits.val, vocabulary)
    content = {
        "made_by": "benchmarks/evolution.py --train", "list": "shipped", "training": vars(CONFIG),
        "measure": {"name": "loss", "unit": "nats", "per": "character", "better": "lower", "digits": 3},
        "models": models, "provenance": provenance(torch.device("cpu")),
    }  # fmt: skip
    write_json(STORE, content)


if __name__ == "__main__":
    main(sys.argv[1:])
