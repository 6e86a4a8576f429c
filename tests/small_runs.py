"""What the tests of training share: a short list, models in double precision, and how far two are apart."""

import pytest
import torch

from common.data import Vocabulary, load_names, windows
from common.models import MODELS
from common.train import seeded

NAMES = load_names()[:2_000]
VOCABULARY = Vocabulary("abcdefghijklmnopqrstuvwxyz")
needs_compiler = pytest.mark.skipif(
    " " in torch.__file__, reason="PyTorch's compiler cannot link from a folder with a space in its name"
)


def data(block_size):
    return windows(NAMES, VOCABULARY, block_size)


def built(model, seeds):
    return seeded(lambda generator: MODELS[model].build(generator=generator).to(dtype=torch.float64), seeds)


def largest_difference(a, b):
    a, b = a.state_dict(), b.state_dict()
    return max((a[name] - b[name]).abs().max().item() for name in a)
