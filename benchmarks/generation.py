"""Generation: characters a second at a length, with what each kind of network keeps, and without.

    .venv/bin/python benchmarks/generation.py [rounds]

Writes data/results/generation.json, from which `make tables` fills benchmarks/README.md. WaveNet keeps queues
(chapter 9's own functions), a GRU its state, a Transformer its keys and values; without them the network
reads again what it can see. Beside them what a user would pick: `torch.nn.GRU` with its state, and the GPT-2
of the transformers library with its cache, of the same sizes. Nearly equal numbers of parameters, random
weights and texts that begin alike: a step costs the same whatever they are. One thread; medians of rounds
(5) in which all take turns.

A figure is what the one step costs that follows so many characters, for all texts of a batch.
"""

import statistics
import sys
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tools"))
from tables import generation_tables  # noqa: E402
from taught import definitions  # noqa: E402

from common.fast import fused  # noqa: E402
from common.models import StatefulNetwork, Transformer, WaveNet  # noqa: E402
from common.nn import GRU  # noqa: E402
from common.pages.results import RESULTS  # noqa: E402
from common.runs.files import write_json  # noqa: E402
from common.runs.provenance import ROOT, provenance  # noqa: E402

CHAPTER = ROOT / "book" / "wavenet" / "09_sound.ipynb"
LENGTHS, BATCHES, VOCABULARY = (16, 64, 256, 1_023), (1, 256), 65
MOST = 16_384  # characters of all texts that are read again in one step: more take too long
DILATIONS = tuple(2**i for i in range(9))  # sees 512 characters
Step = Callable[[], object]


def conv() -> WaveNet:
    return WaveNet(VOCABULARY, 69, 69, DILATIONS, generator=torch.Generator().manual_seed(0)).eval()


def gru() -> StatefulNetwork:
    return StatefulNetwork(VOCABULARY, GRU, 64, 256, generator=torch.Generator().manual_seed(0)).eval()


def transformer() -> Transformer:
    g = torch.Generator().manual_seed(0)
    return Transformer(VOCABULARY, 72, heads=4, blocks=3, length=1_024, generator=g).eval()


def with_queues(model: WaveNet, text: torch.Tensor) -> tuple[Step, Step]:
    taught = definitions(CHAPTER, {"start", "step"}, {"deque": deque})
    queues = taught["start"](model)
    for block, queue in zip(model.blocks, queues, strict=True):  # as full as after a long text
        channels = block.convolution.weight.shape[1]
        queue.extend([torch.zeros(len(text), channels)] * len(queue))
        while len(queue) > block.convolution.dilation:
            queue.popleft()
    return lambda: taught["step"](model, queues, text[:, -1]), lambda: model(text[:, -sum(DILATIONS) - 1 :])


def with_state(model: StatefulNetwork, text: torch.Tensor) -> tuple[Step, Step]:
    with fused(model):
        state = model.go_on(text[:1, :-1])[1].repeat_interleave(len(text), dim=1)

    def again() -> object:
        with fused(model):
            return model(text)

    return lambda: model.go_on(text[:, -1:], state), again


def with_cache(model: Transformer, text: torch.Tensor) -> tuple[Step, Step]:
    of_one = model.go_on(text[:1, :-1])[1]
    past = [(k.repeat_interleave(len(text), 0), v.repeat_interleave(len(text), 0)) for k, v in of_one]
    return lambda: model.go_on(text[:, -1:], past), lambda: model(text)


def torch_gru(text: torch.Tensor) -> Step:
    embedding, layer = torch.nn.Embedding(VOCABULARY, 64), torch.nn.GRU(64, 256, batch_first=True)
    output, state = torch.nn.Linear(256, VOCABULARY), torch.zeros(1, len(text), 256)
    return lambda: output(layer(embedding(text[:, -1:]), state)[0])


def gpt2_network() -> torch.nn.Module:
    from transformers import GPT2Config, GPT2LMHeadModel

    sizes = {"vocab_size": VOCABULARY, "n_positions": 1_024, "n_embd": 72, "n_layer": 3, "n_head": 4}
    sizes |= {"bos_token_id": None, "eos_token_id": None}
    return GPT2LMHeadModel(GPT2Config(**sizes)).eval()


def gpt2(text: torch.Tensor) -> Step:
    model = gpt2_network()
    past = model(text[:1, :-1], use_cache=True).past_key_values
    past.batch_repeat_interleave(len(text))

    def step() -> None:
        model(text[:, -1:], cache=past, use_cache=True)
        past.crop(-1)  # it grew in place

    return step


def contenders(length: int, batch: int) -> dict[str, Step]:
    text = torch.randint(VOCABULARY, (batch, length + 1), generator=torch.Generator().manual_seed(1))
    found: dict[str, Step] = {}
    for name, keep, model in (
        ("WaveNet, queues", with_queues, conv()),
        ("GRU, state", with_state, gru()),
        ("Transformer, keys and values", with_cache, transformer()),
    ):
        found[name], again = keep(model, text)  # type: ignore[operator]  # each takes its own network
        if batch * length <= MOST:
            found[f"{name.partition(',')[0]}, read again"] = again
    return found | {"torch.nn.GRU, state": torch_gru(text), "GPT-2 of transformers, its cache": gpt2(text)}


@torch.no_grad()
def seconds(length: int, batch: int, rounds: int) -> dict[str, float]:
    """Of one step of each, by turns: each for at least a fiftieth of a second a round."""
    taken: dict[str, list[float]] = {}
    steps = contenders(length, batch)
    for number in range(rounds + 1):
        for name, step in steps.items():
            began, count = time.perf_counter(), 0
            while (took := time.perf_counter() - began) < 0.02 or not count:
                step()
                count += 1
            if number:
                taken.setdefault(name, []).append(took / count)
    return {name: float(f"{statistics.median(times):.3g}") for name, times in taken.items()}


def main(rounds: int = 5) -> None:
    torch.set_num_threads(1)
    found = {str(batch): {str(n): seconds(n, batch, rounds) for n in LENGTHS} for batch in BATCHES}
    models = {"WaveNet": conv(), "GRU": gru(), "Transformer": transformer(), "GPT-2": gpt2_network()}
    content = {
        "made_by": "benchmarks/generation.py", "rounds": rounds,
        "parameters": {name: sum(p.numel() for p in model.parameters()) for name, model in models.items()},
        "seconds": found, "provenance": provenance(torch.device("cpu")),
    }  # fmt: skip
    write_json(RESULTS / "generation.json", content)
    print(generation_tables(content))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
