"""Waves to forecast: sums of sines, a sine whose frequency wanders, and chaos. Without noise.

All are (count, steps), one wave a row, and float32. Time is counted in steps.
"""

import math
from collections.abc import Sequence

import torch
from torch import Generator, Tensor


def sums_of_sines(count: int, steps: int, periods: Sequence[float] = (20.0, 33.0),
                  generator: Generator | None = None) -> Tensor:  # fmt: skip
    """Sums of sines with the same periods (in steps), each wave with amplitudes and phases of its own.

    The amplitudes are uniform between 0.5 and 1, then divided by their sum: no wave leaves -1 to 1.
    ValueError for periods that are not above 2 steps, and for no wave or no step. Introduced in part two,
    chapter 1.

    >>> sums_of_sines(3, 100).shape
    torch.Size([3, 100])
    """
    _check(count, steps)
    if not periods or not all(2 < period < math.inf for period in periods):
        raise ValueError(f"expected periods above 2 steps, got {periods}")
    size = (count, len(periods), 1)
    amplitudes = torch.empty(size, dtype=torch.float64).uniform_(0.5, 1, generator=generator)
    phases = torch.empty(size, dtype=torch.float64).uniform_(0, 2 * math.pi, generator=generator)
    turns = torch.arange(steps) / torch.tensor(periods, dtype=torch.float64)[:, None]
    waves = amplitudes / amplitudes.sum(1, keepdim=True) * torch.sin(2 * math.pi * turns + phases)
    return waves.sum(1).float()


def wandering(count: int, steps: int, periods: tuple[float, float] = (12.0, 40.0), pull: float = 0.02,
              generator: Generator | None = None) -> Tensor:  # fmt: skip
    """Sines of amplitude 1 whose period wanders smoothly between two bounds.

    A random walk, pulled back to 0, has normal steps that keep its standard deviation at 1; its sine says
    where between the bounds the period is, on a logarithmic scale.

    periods: the bounds, in steps. pull: the share of the walk that is taken back at each step. ValueError
    for bounds that are not in order or not above 2 steps, for a pull outside (0, 1], and for no wave or no
    step. Introduced in part two, chapter 1.

    >>> wandering(3, 100).shape
    torch.Size([3, 100])
    """
    _check(count, steps)
    low, high = periods
    if not 2 < low < high < math.inf:
        raise ValueError(f"expected two periods above 2 steps, the shorter first, got {periods}")
    if not 0 < pull <= 1:
        raise ValueError(f"expected a pull above 0 and up to 1, got {pull}")
    pushes = torch.randn((steps + 1, count), dtype=torch.float64, generator=generator)
    walk, size = [pushes[0]], math.sqrt(1 - (1 - pull) ** 2)
    for push in pushes[1:steps]:
        walk.append((1 - pull) * walk[-1] + size * push)
    middle, reach = math.log(low * high) / 2, math.log(high / low) / 2
    period = torch.exp(middle + reach * torch.sin(torch.stack(walk, 1)))
    phase = torch.empty((count, 1), dtype=torch.float64).uniform_(0, 2 * math.pi, generator=generator)
    return torch.sin(phase + 2 * math.pi * (1 / period).cumsum(1)).float()


def mackey_glass(count: int, steps: int, tau: float = 17.0, generator: Generator | None = None,
                 *, skip: int = 2_000) -> Tensor:  # fmt: skip
    """A chaotic series: blood cells that are made after a delay (Mackey and Glass, 1977).

    dx/dt = 0.2 x(t - tau) / (1 + x(t - tau)^10) - 0.1 x(t)

    tau: the delay, in units of time; at 17 the series is chaotic. One value a unit. Each wave starts from
    a constant history, uniform between 0.5 and 1.3. skip: units that are left out first, for waves from
    like histories stay alike for hundreds of units. Integrated with the classical Runge-Kutta method (order
    4) in steps of 0.1, in float64; the delayed value in the middle of a step is interpolated with the slopes
    at its ends. ValueError for a delay that is not a multiple of 0.1 of at least 0.1, a negative skip, and
    for no wave or no step. Introduced in part two, chapter 1.

    >>> mackey_glass(3, 100).shape
    torch.Size([3, 100])
    """
    _check(count, steps)
    if not skip >= 0:
        raise ValueError(f"expected at least 0 units to skip, got {skip}")
    parts, delay = 10, round(10 * tau) if 0 < 10 * tau < math.inf else 0
    if not (delay >= 1 and math.isclose(tau * parts, delay)):
        raise ValueError(f"expected a delay of a multiple of {1 / parts}, got {tau}")
    step, last = 1 / parts, (skip + steps) * parts + delay
    xs = torch.empty((last + 1, count), dtype=torch.float64)
    xs[: delay + 1] = torch.empty(count, dtype=torch.float64).uniform_(0.5, 1.3, generator=generator)
    slopes = torch.zeros_like(xs)  # those of the history: it is constant

    def slope(x: Tensor, delayed: Tensor) -> Tensor:
        return 0.2 * delayed / (1 + delayed**10) - 0.1 * x

    for i in range(delay, last):
        x, start, end = xs[i], xs[i - delay], xs[i - delay + 1]
        middle = (start + end) / 2 + step / 8 * (slopes[i - delay] - slopes[i - delay + 1])
        a = slopes[i] = slope(x, start)
        b = slope(x + step / 2 * a, middle)
        c = slope(x + step / 2 * b, middle)
        xs[i + 1] = x + step / 6 * (a + 2 * b + 2 * c + slope(x + step * c, end))
    return xs[delay + skip * parts : last : parts].T.float().contiguous()


def _check(count: int, steps: int) -> None:
    if min(count, steps) < 1:
        raise ValueError(f"expected at least 1 wave and 1 step, got {count} and {steps}")
