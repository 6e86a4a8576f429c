"""How quickly the playground and the BatchNorm widget answer in the page, beside PyTorch on the same machine.

Run after `make book`, in the virtual environment: .venv/bin/python benchmarks/pages.py
It opens the built page in Chromium, types ten prefixes and has 100 names written, by every stage
of the book and by the winners of chapter 13; PyTorch does the same through common.sampling. Then it moves
the BatchNorm widget's sliders to their ends; PyTorch computes the means of 200 batches of the largest size.
Medians of several rounds, taken in turn.
"""

import statistics
import sys
import time
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tools"))

import browser  # noqa: E402

from common.data import SHIPPED_NAMES, Vocabulary, load_names  # noqa: E402
from common.models import pretrained, tagged  # noqa: E402
from common.nn import evaluating  # noqa: E402
from common.pages.results import markdown_table  # noqa: E402
from common.sampling import sample  # noqa: E402

ROUNDS = 7
TYPE = """(text) => {
  const input = document.querySelector(".wn-playground input[type=text]");
  input.value = text;
  const began = performance.now();
  input.dispatchEvent(new Event("input"));
  document.body.offsetHeight; // lay out
  return performance.now() - began;
}"""
WRITE = """() => {
  const began = performance.now();
  [...document.querySelectorAll(".wn-playground .wn-buttons button")].at(-1).click();
  document.body.offsetHeight;
  return performance.now() - began;
}"""

MOVE = """(label) => {
  const input = document.querySelector(`.wn-batchnorm input[aria-label=${label}]`);
  const to = (position) => {
    const began = performance.now();
    input.value = position;
    input.dispatchEvent(new Event("input"));
    document.body.offsetHeight; // lay out
    return performance.now() - began;
  };
  to(input.max - 1);
  return to(input.max);
}"""


def clock(function) -> float:
    """Milliseconds of one call."""
    began = time.perf_counter()
    function()
    return 1_000 * (time.perf_counter() - began)


def main() -> None:
    torch.set_num_threads(1)
    words = load_names(SHIPPED_NAMES)
    vocabulary = Vocabulary("".join(words))
    rows = []
    with browser.started() as chromium:
        page = chromium.new_page()
        page.goto((ROOT / "book" / "_build" / "html" / "playground.html").as_uri())
        playground = page.locator(".wn-playground")
        playground.get_by_label("Beside it").select_option("")
        for name, recipe in tagged("pretrained").items():
            playground.get_by_label("Model", exact=True).select_option(name)
            model, generator = pretrained(name), torch.Generator().manual_seed(0)
            context = torch.zeros((1, recipe.block_size or 8), dtype=torch.long)
            keys, writing, forward, sampling = [], [], [], []
            for _ in range(ROUNDS):
                keys += [page.evaluate(TYPE, "annabelle"[:n]) for n in range(10)]
                with evaluating(model):
                    forward += [clock(lambda m=model, x=context: m(x)) for _ in range(10)]
                page.evaluate(TYPE, "")
                writing.append(page.evaluate(WRITE))
                draw = lambda m=model, r=recipe, g=generator: sample(  # noqa: E731
                    m, vocabulary, r.block_size, 100, generator=g
                )
                sampling.append(clock(draw))
            key, one, hundred, torchs = map(statistics.median, (keys, forward, writing, sampling))
            rows.append([
                recipe.title, f"{key:.1f}", f"{max(keys):.1f}", f"{one:.1f}",
                f"{hundred:.0f}", f"{torchs:.0f}", f"{hundred / torchs:.1f}",
            ])  # fmt: skip
    header = [
        "stage", "a key, ms", "slowest key", "PyTorch, one context", "100 names, ms", "PyTorch", "ratio",
    ]  # fmt: skip
    print(markdown_table(header, rows, "lrrrrrr"))


def sliders() -> None:
    """The steps of the BatchNorm widget of chapter 5."""
    tree, g = pretrained("hierarchical"), torch.Generator().manual_seed(0)
    contexts = torch.randint(0, 27, (200 * 128, 8), generator=g)
    first_level = lambda: tree.linear1(tree.fuse1(tree.embedding(contexts))).view(200, 128, 4, -1).mean(1)  # noqa: E731
    with browser.started() as chromium, evaluating(tree):
        page = chromium.new_page()
        page.goto((ROOT / "book" / "_build" / "html" / "wavenet" / "05_batchnorm_fix.html").as_uri())
        page.locator(".wn-batchnorm").scroll_into_view_if_needed()
        page.locator(".wn-batchnorm input[aria-label=Batch]").wait_for()
        moves: dict[str, list[float]] = {"Batch": [], "Channel": [], "PyTorch": []}
        for _ in range(ROUNDS):
            for label in ("Batch", "Channel"):
                moves[label].append(page.evaluate(MOVE, label))
            moves["PyTorch"].append(clock(first_level))
    middle = {label: statistics.median(found) for label, found in moves.items()}
    rows = [
        [f"BatchNorm widget, {label.lower()}", f"{middle[label]:.1f}", f"{middle['PyTorch']:.1f}",
         f"{middle[label] / middle['PyTorch']:.2f}"]
        for label in ("Batch", "Channel")
    ]  # fmt: skip
    print(markdown_table(["slider", "a step, ms", "PyTorch, ms", "ratio"], rows, "lrrr"))


if __name__ == "__main__":
    main()
    sliders()
