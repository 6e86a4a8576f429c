"""What the property tests share: how many cases they try; vocabularies, names and small networks to try.

The cases are the same in every run. BOOK_EXAMPLES=20 tries twenty times as many, others in each run, and
prints how to repeat the one that failed.
"""

import os
import random
from collections.abc import Sequence
from pathlib import Path

from hypothesis import HealthCheck, configuration, settings
from hypothesis import strategies as st
from hypothesis.internal.conjecture import providers
from hypothesis.internal.constants_ast import Constants
from small_tensors import lively

from common.data import Vocabulary
from common.models import Dilated, RecurrentNetwork, StatefulNetwork, Transformer, WaveNet
from common.models.convolutional import ACTIVATIONS
from common.nn import CELLS, GRU, LSTM, RNN, BatchNorm1d

TIMES = int(os.environ.get("BOOK_EXAMPLES", "0"))
configuration.set_hypothesis_home_dir(Path(__file__).resolve().parent.parent / ".pytest_cache" / "hypothesis")
# It would also draw on the numbers and strings in all modules imported so far, and so on what ran before.
providers._get_local_constants = Constants


def cases(count: int) -> settings:
    """So many cases of a property, without a clock: a busy machine is no failure."""
    return settings(
        max_examples=count * max(1, TIMES), derandomize=not TIMES, database=None, deadline=None,
        print_blob=True, suppress_health_check=[HealthCheck.too_slow],
    )  # fmt: skip


seeds = st.integers(0, 2**32 - 1)
signs = st.characters(exclude_categories=["Cs"])  # whatever a text may hold: no halves of a character


def evenly(values: Sequence) -> st.SearchStrategy:
    """One of some values. `sampled_from` takes the first ones so often that fifty cases may miss the last."""
    return seeds.map(lambda seed: random.Random(seed).choice(values))


def either(*strategies: st.SearchStrategy) -> st.SearchStrategy:
    """What one of some strategies gives, each as often as the others."""
    return evenly(strategies).flatmap(lambda strategy: strategy)


flags = evenly([False, True])


@st.composite
def vocabularies(draw) -> Vocabulary:
    """Characters, or words with spaces between; with special tokens of their own, or shared, or none."""
    separator = draw(evenly(["", " "]))
    token = st.text(signs.filter(lambda c: c != " "), min_size=1, max_size=3) if separator else signs
    end, *special = draw(st.lists(token, min_size=4, max_size=4))
    begin, pad, unknown = (draw(evenly([None, one])) for one in special)
    distinct = draw(st.lists(token.filter(lambda t: t not in [end, *special]), min_size=1, max_size=6))
    return Vocabulary(distinct, end, begin=begin, pad=pad, unknown=unknown, separator=separator)


def names(characters="ab", longest=6, fewest=1, most=5):
    """Lists of names over an alphabet, the empty name among them."""
    return st.lists(st.text(characters, max_size=longest), min_size=fewest, max_size=most)


# ---- small networks ----------------------------------------------------------------

VOCABULARY = Vocabulary("ab", "$", begin="^", pad="_")
V, LONGEST = len(VOCABULARY), 12

sizes, kernels = evenly(range(1, 5)), evenly(range(1, 4))
dilations = st.lists(evenly(range(1, 6)), min_size=1, max_size=3).map(tuple)


@st.composite
def dilated(draw):
    widths = tuple(draw(st.lists(sizes, min_size=1, max_size=3)))
    how = {"activation": draw(evenly(sorted(ACTIVATIONS))), "residual": draw(flags)}
    steps = tuple(draw(evenly(range(1, 6))) for _ in widths)
    return Dilated(V, draw(sizes), widths, steps, draw(kernels), **how)


def whole_name_models():
    """Every family of networks of whole names, of any small sizes."""
    layers, cells = evenly([RNN, LSTM, GRU]), evenly(sorted(CELLS))
    return either(
        dilated(),
        st.builds(WaveNet, st.just(V), sizes, sizes, dilations, kernels, flags, flags, flags),
        st.builds(RecurrentNetwork, st.just(V), cells, sizes, sizes),
        st.builds(StatefulNetwork, st.just(V), layers, sizes, sizes, evenly([1, 2])),
        st.builds(lambda n, blocks: Transformer(V, 2 * n, n, blocks, length=LONGEST), kernels, kernels),
    )  # fmt: skip


def alive(model, seed):
    """In float64, every number another than at the start, and variances above 0."""
    lively(model, seed)
    for norm in model.modules():
        if isinstance(norm, BatchNorm1d):
            norm.running_var = norm.running_var.abs() + 0.1
    return model
