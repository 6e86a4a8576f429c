"""Generation by a Transformer with and without kept keys and values: characters a second against length.

    .venv/bin/python benchmarks/cache.py [rounds]

Writes data/results/cache.json, which part two, chapter 6, draws. One thread, one text at a time; medians of
rounds (3) in which both ways take turns, in one process.
"""

import statistics
import sys
import time

import torch

from common.models import Transformer, count_parameters
from common.pages.results import RESULTS
from common.runs.files import write_json
from common.runs.provenance import provenance

LENGTHS = (32, 64, 128, 256, 512)
SIZES = {"vocab_size": 65, "n_channels": 128, "heads": 4, "blocks": 4, "length": 512}


@torch.no_grad()
def generate(model: Transformer, length: int, keeps: bool) -> list[int]:
    """The likeliest character, again and again, until there are `length`: with or without a cache."""
    text, past, new = [0], None, [0]
    while len(text) < length:
        logits, kept = model.go_on(torch.tensor([new if keeps else text]), past)
        past = kept if keeps else None
        new = [int(logits[0, -1].argmax())]
        text += new
    return text


def main(rounds: int = 3) -> None:
    torch.set_num_threads(1)
    model = Transformer(**SIZES, generator=torch.Generator().manual_seed(0)).eval()
    seconds: dict[str, list[float]] = {"kept": [], "computed again": []}
    for length in LENGTHS:
        taken: dict[str, list[float]] = {name: [] for name in seconds}
        for _ in range(rounds + 1):
            texts = []
            for name in seconds:
                began = time.perf_counter()
                texts.append(generate(model, length, name == "kept"))
                taken[name].append(time.perf_counter() - began)
            assert texts[0] == texts[1]
        for name, times in taken.items():
            seconds[name].append(round(statistics.median(times[1:]), 5))
        print(
            length,
            {name: f"{length / times[-1]:,.0f} characters a second" for name, times in seconds.items()},
        )
    content = {
        "made_by": "benchmarks/cache.py", "sizes": SIZES, "parameters": count_parameters(model),
        "lengths": LENGTHS, "seconds": seconds, "provenance": provenance(torch.device("cpu")),
    }  # fmt: skip
    write_json(RESULTS / "cache.json", content)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
