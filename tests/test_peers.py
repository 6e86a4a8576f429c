"""What the benchmark compares with computes the same: the losses of its first steps are the plain loop's."""

import copy
import sys
from functools import partial

import pytest
import torch
from small_runs import NAMES, VOCABULARY

from common.data import examples
from common.models import MODELS
from common.runs.provenance import ROOT
from common.train import Examples, composed_steps, seeded

sys.path.insert(0, str(ROOT / "benchmarks"))
import peers  # noqa: E402
from families import FAMILIES  # noqa: E402

SIZES = {  # small ones, and without dropout: each library draws masks of its own
    "hierarchical": {"n_embd": 4, "n_hidden": 8},
    "scaled": {"n_embd": 6, "n_hidden": 12},
    "dilated": {"n_embd": 4, "n_hidden": 8},
    "taught": {"n_embd": 4, "n_hidden": 8},
    "wavenet": {"n_channels": 6, "n_skip": 5, "dilations": (1, 2, 4)},
    "gru": {"n_embd": 4, "n_hidden": 8, "cell": "gru"},
    "lstm": {"n_embd": 4, "n_hidden": 8, "cell": "lstm"},
    "transformer": {"n_channels": 8, "heads": 2},
}
STEPS = 10


def start(name, seeds):
    """Models of a family, what they train on, the generators, how, and the losses of the plain loop."""
    family = FAMILIES[name]
    build = partial(MODELS[family.model].build, **SIZES[name])
    x, y = examples(NAMES, VOCABULARY, MODELS[family.model].block_size)
    scores = torch.randn(*y.shape, 27, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    given, config = Examples(x, y, scores.softmax(-1) if family.taught else None), family.config(16)
    models, generators = seeded(build, range(seeds))
    models = [model.to(dtype=torch.float64) for model in models]
    fresh = [torch.Generator().set_state(g.get_state()) for g in generators]
    losses = [
        composed_steps(copy.deepcopy(m), given, g, config, 0, STEPS)
        for m, g in zip(models, fresh, strict=True)
    ]
    return (models, given, generators, config), torch.stack(losses)


@pytest.mark.parametrize("name", SIZES)
def test_torch_nn_computes_the_same(name):
    arguments, expected = start(name, 1)
    assert torch.allclose(peers.peer(*arguments)(0, STEPS), expected[0], atol=1e-9, rtol=0)


@pytest.mark.parametrize("name", SIZES)
@pytest.mark.parametrize("seeds", [1, 2])
def test_jax_computes_the_same(name, seeds):
    jax = pytest.importorskip("jax", reason="needs JAX, of the extra `bench`")
    import peers_jax

    jax.config.update("jax_enable_x64", True)
    arguments, expected = start(name, seeds)
    losses = peers_jax.peer(*arguments)(0, STEPS)
    assert torch.allclose(losses, expected, atol=1e-6, rtol=0)  # its softmax in attention has 32 bits


def test_every_family_with_peers_is_compared():
    assert set(SIZES) == {name for name, family in FAMILIES.items() if family.peers}
