"""How quickly the playground answers in the page, beside PyTorch on the same machine.

Run after `make book`, in the virtual environment: .venv/bin/python benchmarks/pages.py
It opens the built page in Chromium, types ten prefixes and has 100 names written, by every stage
of the book and by the winners of chapter 11; PyTorch does the same through common.sampling. Medians of
several rounds, taken in turn.
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


if __name__ == "__main__":
    main()
