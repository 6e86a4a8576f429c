"""What a sweep searches: a range or a choice of values for each name. Introduced in chapter 12.

A name is a field of `Config`, or ``model.NAME`` for a size of the model. `read_space` turns the JSON of a
search space into `Range` and `Choices`, and refuses whatever would make no run.
"""

import inspect
import json
import math
import random
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from ..train import Config, first_line
from .running import RECIPES, Run
from .sizes import FIXED

LARGEST = 2**53  # up to here whole numbers survive a file and a database
BUILDING = (ValueError, TypeError, RuntimeError, ArithmeticError, LookupError)  # what a bad size may raise


@dataclass(frozen=True)
class Range:
    """Numbers from low to high, both included: evenly, by their logarithm, or in steps."""

    low: float
    high: float
    log: bool = False
    step: float | None = None
    whole: bool = False

    def ends(self) -> list:
        return [self.low, self.high]

    def distribution(self) -> BaseDistribution:
        kind: Any = IntDistribution if self.whole else FloatDistribution
        return kind(self.low, self.high, log=self.log, step=self.step or (1 if self.whole else None))

    def draw(self, chance: random.Random) -> float:
        if self.log:
            value = math.exp(chance.uniform(math.log(self.low), math.log(self.high)))
            return min(max(round(value) if self.whole else value, self.low), self.high)
        if self.whole or self.step:
            step = self.step or 1
            drawn = self.low + step * chance.randint(0, int((self.high - self.low) / step + 1e-9))
            return min(drawn, self.high)  # a sum of steps may be a little more
        return chance.uniform(self.low, self.high)


@dataclass(frozen=True)
class Choices:
    """One of some values; lists, such as dilations, are among them by their JSON."""

    values: tuple

    def ends(self) -> list:
        return list(self.values)

    def distribution(self) -> BaseDistribution:
        return CategoricalDistribution(self.labels())

    def labels(self) -> list:
        return [json.dumps(v) if isinstance(v, (list, tuple)) else v for v in self.values]

    def draw(self, chance: random.Random) -> Any:
        return chance.choice(self.labels())


def decoded(params: dict) -> dict:
    """Parameters as a run takes them: lists from their JSON."""
    return {n: json.loads(v) if isinstance(v, str) and v[:1] == "[" else v for n, v in params.items()}


def read_space(space: dict, base: Run) -> dict[str, Range | Choices]:
    """A search space from its JSON: name -> {"low", "high", "log", "step"} or {"choices": [...]}.

    A name is a field of `Config`, or ``model.NAME`` for a size of the model. ValueError where it is
    neither, where a value is not of its type, and where an end of a range makes no run.
    """
    if not isinstance(space, dict) or not space:
        raise ValueError(
            'expected a space such as {"lr": {"low": 0.01, "high": 1, "log": true}}, got '
            f"{json.dumps(space)[:60]}"
        )
    parsed: dict[str, Range | Choices] = {}
    for name, said in space.items():
        default = _default(name, base)
        keys = set(said) if isinstance(said, dict) else set()
        if keys == {"choices"}:
            parsed[name] = _choices(name, said["choices"], default)
        elif {"low", "high"} <= keys <= {"low", "high", "log", "step"}:
            parsed[name] = _range(name, said, default)
        else:
            raise ValueError(
                f'{name}: expected {{"low": .., "high": ..}}, with "log" or "step" where wanted, or '
                f'{{"choices": [..]}}, got {json.dumps(said)}'
            )
    for name, wanted in parsed.items():
        for end in wanted.ends():
            _check_end(name, end, parsed, base)
        if any(one == other for one, other in combinations(wanted.ends(), 2)):  # as 1 and 1.0
            raise ValueError(f"{name}: expected choices that differ, got {json.dumps(space[name])}")
    return parsed


def _check_end(name, end, parsed, base: Run) -> None:
    """ValueError where a value makes no run, neither with the base nor with other values of the space."""
    chance, mistake = random.Random(0), None
    for attempt in range(20):
        others = {n: wanted.draw(chance) for n, wanted in parsed.items() if n != name} if attempt else {}
        try:
            base.changed(**decoded(others), **{name: end}).build(27)
            return
        except BUILDING as error:
            mistake = mistake or f"{name} = {end}: {first_line(error)}"
    raise ValueError(mistake)


def _default(name, base: Run):
    """What a field or a size is where nobody says otherwise; its type is the type of the search."""
    sizes = inspect.signature(RECIPES[base.model].build).parameters
    known = asdict(Config()) | {f"model.{n}": p.default for n, p in sizes.items() if n not in FIXED}
    if name not in known:
        raise ValueError(f"expected names among {', '.join(known)}, got {name!r}")
    return known[name]


def _choices(name, values, default) -> Choices:
    if not isinstance(values, (list, tuple)) or not values:
        raise ValueError(f"{name}: expected a list of choices, got {json.dumps(values)}")
    if isinstance(default, bool) and not all(isinstance(value, bool) for value in values):
        raise ValueError(f"{name}: expected true or false, got {json.dumps(values)}")  # and not "no"
    return Choices(tuple(values))


def _range(name, said: dict, default) -> Range:
    if type(default) not in (int, float):
        raise ValueError(f'{name}: has no range; expected {{"choices": [..]}}')
    wanted = Range(**said, whole=type(default) is int)
    low, high, step = wanted.low, wanted.high, wanted.step
    numbers = [low, high, *([] if step is None else [step])]
    if not all(type(n) in {int, type(default)} and abs(n) <= LARGEST for n in numbers):
        raise ValueError(f"{name}: expected {'whole ' * wanted.whole}numbers, got {json.dumps(said)[:90]}")
    if not isinstance(wanted.log, bool):
        raise ValueError(f"{name}: expected log to be true or false, got {wanted.log!r}")
    if not low < high or (wanted.log and (low <= 0 or step is not None)):
        raise ValueError(
            f"{name}: expected low < high, and with log a low above 0 and no step, got {numbers}"
        )
    if step is not None and not (step > 0 and abs((high - low) / step - round((high - low) / step)) < 1e-6):
        raise ValueError(f"{name}: expected a step above 0 that leads from {low} to {high}, got {step}")
    return wanted
