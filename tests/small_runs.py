"""What the tests of training share: a short list, models in double precision, and how far two are apart."""

import pytest
import torch

from common import names as names_module
from common.models import MODELS
from common.train import seeded
from common.vocabulary import Vocabulary

NAMES = names_module.load()[:2_000]
VOCABULARY = Vocabulary("abcdefghijklmnopqrstuvwxyz")
needs_compiler = pytest.mark.skipif(
    " " in torch.__file__, reason="PyTorch's compiler cannot link from a folder with a space in its name"
)


def data(block_size):
    return names_module.windows(NAMES, VOCABULARY, block_size)


def built(model, seeds):
    return seeded(lambda generator: MODELS[model].build(generator=generator).to(dtype=torch.float64), seeds)


def largest_difference(a, b):
    return max((a.tensors()[name] - b.tensors()[name]).abs().max().item() for name in a.tensors())
