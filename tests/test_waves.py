"""Waves to forecast: what a generator gives, and that chaos is integrated as exactly as it says."""

import math
from itertools import pairwise

import pytest
import torch

from common.data import mackey_glass, sums_of_sines, wandering

KINDS = (sums_of_sines, wandering, mackey_glass)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("kind", KINDS)
def test_a_seed_gives_the_same_waves_again_and_another_seed_gives_others(kind):
    first, again, other = (kind(3, 40, generator=seeded(s)) for s in (0, 0, 1))
    assert first.shape == (3, 40) and first.dtype == torch.float32 and first.is_contiguous()
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert not torch.equal(first[0], first[1])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [(0, 5), (5, 0)])
def test_no_wave_and_no_step_are_refused(kind, size):
    with pytest.raises(ValueError, match=f"at least 1 wave and 1 step, got {size[0]} and {size[1]}"):
        kind(*size)


@pytest.mark.parametrize("periods", [(20.0,), (20.0, 33.0), (9.0, 20.0, 33.0)])
def test_a_sum_of_sines_obeys_two_terms_a_sine(periods):
    """Each sine is 2 cos(w) times its last value minus the one before: the filter of all gives nothing."""
    waves = sums_of_sines(5, 80, periods, generator=seeded(0)).double()
    assert waves.abs().max() <= 1 + 1e-6
    for period in periods:
        waves = waves[:, 2:] - 2 * math.cos(2 * math.pi / period) * waves[:, 1:-1] + waves[:, :-2]
    assert waves.abs().max() < 1e-5


@pytest.mark.parametrize("periods", [(), (2.0,), (20.0, -3.0), (math.inf,), (math.nan,)])
def test_periods_that_no_step_can_show_are_refused(periods):
    with pytest.raises(ValueError, match="periods above 2 steps"):
        sums_of_sines(1, 5, periods)
    sums_of_sines(1, 5, (2.1,))


def test_wandering_waves_begin_anywhere():
    start = wandering(1_000, 1, generator=seeded(0)).mean().item()
    assert abs(start) < 3 * 0.5**0.5 / 1_000**0.5  # three standard errors of a sine's mean


def test_a_wandering_period_stays_between_its_bounds_and_visits_both_ends():
    waves = wandering(40, 2_000, (12.0, 40.0), generator=seeded(0)).double()
    rising = (waves[:, :-1] < 0) & (waves[:, 1:] >= 0)
    spans = torch.cat([row.nonzero()[:, 0].diff() for row in rising])
    assert waves.abs().max() <= 1 and 11 <= spans.min() < 14 and 36 < spans.max() <= 41


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"periods": (40.0, 12.0)}, "the shorter first"),
        ({"periods": (2.0, 12.0)}, "above 2 steps"),
        ({"pull": 0.0}, "a pull above 0 and up to 1, got 0.0"),
        ({"pull": 1.5}, "got 1.5"),
    ],
)
def test_what_cannot_wander_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        wandering(1, 5, **options)


def euler(start: float, units: int, tau: int, parts: int) -> list[float]:
    """Mackey and Glass's equation in tiny steps of the simplest method: one value a unit."""
    delay, x = tau * parts, [start] * (tau * parts + 1)
    for i in range(delay, delay + units * parts):
        late = x[i - delay]
        x.append(x[i] + (0.2 * late / (1 + late**10) - 0.1 * x[i]) / parts)
    return x[delay::parts]


def test_chaos_is_integrated_as_another_method_in_tiny_steps_has_it():
    start = torch.empty(1, dtype=torch.float64).uniform_(0.5, 1.3, generator=seeded(3)).item()
    found = [euler(start, 60, 17, parts)[40:60] for parts in (50, 100, 200, 400)]
    for order in (1, 2, 3):  # with half the step the largest part of the error is 2^order times smaller
        pairs = [zip(coarse, fine, strict=True) for coarse, fine in pairwise(found)]
        found = [[(2**order * fine - coarse) / (2**order - 1) for coarse, fine in pair] for pair in pairs]
    ours = mackey_glass(1, 20, generator=seeded(3), skip=40)[0].tolist()
    assert ours == pytest.approx(found[0], abs=3e-5)  # with one slope of the method wrong: 4e-4


def test_with_a_delay_of_4_it_comes_to_rest_and_with_17_it_does_not():
    rest, chaos = (mackey_glass(8, 900, tau, generator=seeded(0))[:, -100:] for tau in (4.0, 17.0))
    assert rest.sub(1).abs().max() < 1e-3  # 0.2 x / (1 + x^10) = 0.1 x at x = 1
    assert 0.2 < chaos.min() < 0.6 and 1.2 < chaos.max() < 1.5 and chaos.std(1).min() > 0.1


def test_no_wave_of_a_batch_is_nearly_another_one():
    """From like histories: after 300 units some still were, and a split by waves would have leaked."""
    for skip, alike in ((300, True), (2_000, False)):
        waves = mackey_glass(240, 50, generator=seeded(1001), skip=skip).double()
        apart = torch.cdist(waves, waves, compute_mode="donot_use_mm_for_euclid_dist")
        assert (apart.fill_diagonal_(9).min() < 0.01) == alike


def test_a_negative_skip_is_refused():
    with pytest.raises(ValueError, match="at least 0 units to skip, got -1"):
        mackey_glass(1, 5, skip=-1)


@pytest.mark.parametrize("tau", [0.0, -1.0, 0.25])
def test_a_delay_between_two_steps_of_the_integration_is_refused(tau):
    with pytest.raises(ValueError, match=f"a delay of a multiple of 0.1, got {tau}"):
        mackey_glass(1, 5, tau=tau)
