"""What a stored result measures: its name, its unit, which way is better. Stored with it, not assumed."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from ..evaluate import Spread, spread


class Measure(NamedTuple):
    """A measure as results and plans hold it, under "measure".

    {"name": "loss", "unit": "nats", "per": "character", "better": "lower", "digits": 3}

    per: what the mean is over, where that is worth a word. at: places at which it was taken, such as
    the horizons of a forecast; then a run holds one value a place, and `headline` names the place that
    stands for all where there is room for one number.
    """

    name: str
    unit: str = ""
    per: str = ""
    better: str = "lower"
    digits: int = 3
    at: tuple[str, ...] = ()
    headline: str = ""

    @property
    def sign(self) -> int:
        """1 where more is better, -1 where less is."""
        return 1 if self.better == "higher" else -1

    @property
    def direction(self) -> str:
        return f"{self.better} is better"

    def title(self, split: str = "validation") -> str:
        """How an axis or a column is called: "validation loss (nats)"."""
        return f"{split} {self.name}" + f" ({self.unit})" * bool(self.unit)

    @property
    def sentence(self) -> str:
        """How a note below a table says it: "in nats per character"."""
        return f"in {self.unit}" + f" per {self.per}" * bool(self.per) if self.unit else self.name

    def show(self, value: Spread | float) -> str:
        """A value, or a mean with its spread, in this measure's digits."""
        if not isinstance(value, Spread):
            return f"{value:.{self.digits}f}"
        mean = f"{value.mean:.{self.digits}f}"
        return mean if math.isnan(value.sd) else f"{mean} ± {value.sd:.{self.digits}f}"

    def spreads(self, runs: Sequence[dict[str, Any]], split: str = "val") -> dict[str, Spread]:
        """{place: mean and spread over seeds}; the one place is "" where the measure is a single number."""
        if not self.at:
            return {"": spread(run[split] for run in runs)}
        return {place: spread(run[split][i] for run in runs) for i, place in enumerate(self.at)}

    def one(self, runs: Sequence[dict[str, Any]], split: str = "val") -> Spread:
        """The number that stands for all."""
        return self.spreads(runs, split)[self.headline]


def measure_of(entry: dict[str, Any], name: str = "an entry") -> Measure:
    """The measure that is stored with an entry of results or of a plan.

    ValueError where none is, or one that says nothing of what a reader has to know.
    """
    stored = entry.get("measure")
    if not isinstance(stored, dict) or not _says_enough(stored):
        raise ValueError(
            f'{name}: expected a "measure" with a name, "better" as lower or higher, and a headline'
            f' among "at" where there are several; got {stored!r}'
        )
    return Measure(**stored | {"at": tuple(stored.get("at", ()))})


def _says_enough(stored: dict[str, Any]) -> bool:
    places, headline = stored.get("at", []), stored.get("headline", "")
    return (
        set(stored) <= set(Measure._fields)
        and bool(stored.get("name"))
        and stored.get("better") in ("lower", "higher")
        and (headline in places if places else headline == "")
    )
