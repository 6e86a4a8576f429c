"""The tree of chapter 6 against the same weights as a causal convolution: time for each prediction.

    .venv/bin/python benchmarks/convolution.py [rounds]

Prints two Markdown tables: the validation split, predicted in five ways, and sequences of growing
length. One thread; medians of rounds (7) in which the contenders take turns, in one process.
"""

import statistics
import sys
import time

import torch
import torch.nn.functional as F

from common.data import SHIPPED_NAMES, Vocabulary, load_names, sequences, split_names, windows
from common.models import as_convolution, pretrained
from common.pages.results import markdown_table
from common.runs.provenance import commit, machine

LENGTHS = [8, 16, 32, 64, 125, 250, 500, 1_000]


def medians(contenders, rounds: int) -> dict[str, float]:
    """Seconds of one call of each."""
    taken = {name: [] for name in contenders}
    with torch.no_grad():
        for _ in range(rounds):
            for name, run in contenders.items():
                began = time.perf_counter()
                run()
                taken[name].append(time.perf_counter() - began)
    return {name: statistics.median(each) for name, each in taken.items()}


def on_the_validation_split(tree, network, words, vocabulary, rounds) -> str:
    contexts, _ = windows(words, vocabulary, 8)
    in_order = sorted(words, key=len)
    groups = [in_order[i : i + 64] for i in range(0, len(in_order), 64)]
    whole = [sequences([word], vocabulary)[0] for word in words]
    together = [sequences(group, vocabulary)[0] for group in groups]
    by_name = [windows([word], vocabulary, 8)[0] for word in words]
    some = contexts.split(256)
    took = medians(
        {
            "tree, window by window": lambda: [tree(x[None]) for x in contexts],
            "tree, a name's windows at once": lambda: [tree(x) for x in by_name],
            "convolution, a name at once": lambda: [network(x) for x in whole],
            "tree, 256 windows at once": lambda: [tree(x) for x in some],
            "convolution, 64 names at once": lambda: [network(x) for x in together],
        },
        rounds,
    )
    first = took["tree, window by window"]
    rows = [[what, f"{1e6 * each / len(contexts):.1f}", f"{first / each:.1f}"] for what, each in took.items()]
    return markdown_table(["validation split", "microseconds a prediction", "times as fast"], rows, "lrr")


def as_the_sequence_grows(tree, network, words, vocabulary, rounds) -> str:
    stream, rows = vocabulary.encode(".".join(words)), []
    for T in LENGTHS:
        x = torch.tensor([[0, *stream[: T - 1]]])
        contexts = F.pad(x[0], (7, 0)).unfold(0, 8, 1)
        took = medians(
            {
                "one": lambda c=contexts: [tree(window[None]) for window in c],
                "all": lambda c=contexts: tree(c),
                "convolution": lambda x=x: network(x),
            },
            rounds,
        )
        one, everything, slid = (1e6 * each / T for each in took.values())
        rows.append([
            f"{T:,}", f"{one:.1f}", f"{everything:.1f}", f"{slid:.1f}",
            f"{one / slid:.1f}", f"{everything / slid:.1f}",
        ])  # fmt: skip
    header = [
        "characters", "tree, window by window", "tree, all windows at once", "convolution",
        "ratio to the first", "to the second",
    ]  # fmt: skip
    return markdown_table(header, rows, "rrrrrr")


def main() -> None:
    said = sys.argv[1] if len(sys.argv) > 1 else "7"
    if not said.isdecimal() or int(said) < 1:
        print(f"error: expected a number of rounds of at least 1, got {said!r}", file=sys.stderr)
        sys.exit(2)
    rounds = int(said)
    torch.set_num_threads(1)
    words = load_names(SHIPPED_NAMES)
    vocabulary, val = Vocabulary("".join(words)), split_names(words).val
    tree = pretrained("scaled")
    network = as_convolution(tree)
    print(on_the_validation_split(tree, network, val, vocabulary, rounds), end="\n\n")
    print(as_the_sequence_grows(tree, network, words, vocabulary, rounds), end="\n\n")
    where = f"{machine(torch.device('cpu'))}, torch {torch.__version__.partition('+')[0]}"
    print(f"Medians of {rounds} rounds in turn, one thread. Commit `{commit()}`, {where}.")


if __name__ == "__main__":
    main()
