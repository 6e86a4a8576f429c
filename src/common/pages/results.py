"""What the book was published with: measured results, stored with their provenance, and tables of them."""

import json
from collections.abc import Iterable, Sequence

from ..data.shipped import shipped_folder
from ..evaluate import Spread, spread

RESULTS = shipped_folder() / "results"

# The lecture's own figures: training and validation loss of single runs, on the first release of the list.
LECTURE = {
    "mlp": (2.058, 2.105),
    "flat": (1.918, 2.027),
    "hierarchical-bug": (1.941, 2.029),
    "hierarchical": (1.912, 2.022),
    "scaled": (1.769, 1.993),
}


def stored_results(name: str = "shipped") -> dict:
    """The measured results that the book was published with, with their provenance.

    name: "shipped" (the book's list), "lecture" (the lecture's list) or "distinct" (the shipped
    list with each name once). ValueError for a list that was not measured.
    """
    path = RESULTS / f"{name}.json"
    if not path.exists():
        known = sorted(p.stem for p in RESULTS.glob("*.json"))
        raise ValueError(f"no stored results for {name!r}; expected one of {known}")
    return json.loads(path.read_text(encoding="utf-8"))


def stored_spread(model: str, split: str = "val", name: str = "shipped") -> Spread:
    """Mean and standard deviation over seeds of one stored loss, in nats."""
    return spread(run[split] for run in stored_results(name)["models"][model]["runs"])


def markdown_table(header: Sequence[str], rows: Iterable[Sequence], align: str | None = None) -> str:
    """A table in Markdown; `align` has one of "l", "r", "c" a column."""
    marks = {"l": ":---", "r": "---:", "c": ":---:"}
    lines = [header, [marks[a] for a in align or "l" * len(header)], *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)
