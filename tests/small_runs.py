"""What the tests of training share: short lists, models in double precision, and how far two are apart."""

import random

import pytest
import torch

from common.data import SHIPPED_NAMES, Vocabulary, examples, load_names, windows
from common.models import MODELS, Dilated
from common.runs.running import Run
from common.train import Config, seeded

NAMES = load_names(SHIPPED_NAMES)[:2_000]
VOCABULARY = Vocabulary("abcdefghijklmnopqrstuvwxyz")
needs_compiler = pytest.mark.skipif(
    " " in torch.__file__, reason="PyTorch's compiler cannot link from a folder with a space in its name"
)


def small(names, **more):
    """A run of 60 steps on a list of one's own."""
    return Run("mlp", **{"config": Config(steps=60), "sizes": {"n_hidden": 16}, "data": names} | more)


def labelled_file(path, count=300, labels=("bad", "good"), seed=0):
    """A file of sentences of 2 to 12 words, the first or the last of which gives the label away."""
    draw, lines = random.Random(seed), []
    for number in range(count):
        words = draw.choices([f"word{n}" for n in range(40)], k=draw.randint(1, 11))
        words.insert(draw.choice([0, len(words)]), labels[number % len(labels)].title())
        lines.append(f"{labels[number % len(labels)]}\t{' '.join(words)}.\n")
    path.write_text("".join(lines), encoding="utf-8")
    return path


def data(block_size):
    """Contexts and targets of all windows."""
    return windows(NAMES, VOCABULARY, block_size)


def built(model, seeds):
    """Models and generators, one a seed."""
    return seeded(lambda generator: MODELS[model].build(generator=generator).to(dtype=torch.float64), seeds)


def whole_names(dropout=0.0):
    """Inputs and targets of 300 names, and a small network with its generator."""
    build = lambda generator: (  # noqa: E731
        Dilated(n_embd=4, n_hidden=8, dropout=dropout, generator=generator).to(dtype=torch.float64)
    )
    (models, generators) = seeded(build, [0])
    return examples(NAMES[:300], VOCABULARY, None), (models, generators)


def largest_difference(a, b):
    """Of all numbers of two models."""
    return max((a.state_dict()[name] - b.state_dict()[name]).abs().max().item() for name in a.state_dict())
