"""What the book was published with: measured results, stored with their provenance, and tables of them."""

from collections.abc import Iterable, Sequence

from ..data.shipped import shipped_folder
from ..evaluate import Spread, spread
from ..models import MODELS
from ..runs.files import read_json
from ..runs.provenance import ROOT

RESULTS = shipped_folder() / "results"
COSTS = ROOT / "benchmarks"

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
    return read_json(path)


def stored_spread(model: str, split: str = "val", name: str = "shipped") -> Spread:
    """Mean and standard deviation over seeds of one stored loss, in nats."""
    return spread(run[split] for run in stored_results(name)["models"][model]["runs"])


def markdown_table(header: Sequence[str], rows: Iterable[Sequence], align: str | None = None) -> str:
    """A table in Markdown; `align` has one of "l", "r", "c" a column."""
    marks = {"l": ":---", "r": "---:", "c": ":---:"}
    lines = [header, [marks[a] for a in align or "l" * len(header)], *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def measured_on() -> list[str]:
    """The devices with a stored benchmark."""
    return sorted(path.stem for path in COSTS.glob("*.json"))


def stored_costs(device: str = "cpu") -> dict:
    """The benchmark that the book was published with, as `benchmarks/bench.py` wrote it.

    ValueError for a device that was not measured. Introduced in the appendix.
    """
    path = COSTS / f"{device}.json"
    if not path.exists():
        raise ValueError(f"no stored benchmark for {device!r}; expected one of {measured_on()}")
    return read_json(path)


def cost_ratios(report: dict, model: str) -> dict[str, float]:
    """The figures of one model that a reader compares: steps a second, ratios, shares of the floor."""
    results, seeds = report["models"][model]["results"], report["seeds"]
    rate = {name: entry["rate"] for name, entry in results.items()}
    found = {"plain": max(value for name, value in rate.items() if name.startswith("plain"))}
    for key, label in (("one", "1 model"), ("many", f"{seeds} models")):
        found[key], found[f"{key} alone"] = rate[f"fast, {label}"], rate[f"products, {label}"]
        found[f"{key} ratio"] = found[key] / found["plain"]
        found[f"{key} floor"] = found[key] / found[f"{key} alone"]
    return found | {"memory": results[f"fast, {seeds} models"]["memory"]}


def cost_table(report: dict) -> str:
    """The report as a table in Markdown, a column a model of the lecture; "" where none was measured."""
    models, seeds = list(report["models"]), report["seeds"]
    if not models:
        return ""
    figures = [cost_ratios(report, model) for model in models]
    starts = [report["models"][model]["compile"] for model in models]

    def row(label, form, key, entries=figures):
        return [label, *("unknown" if entry[key] is None else form.format(entry[key]) for entry in entries)]

    return markdown_table(
        ["batch 32", *(MODELS[model].title for model in models)],
        [
            row("parameters", "{:,}", "parameters", list(report["models"].values())),
            row("plain loop, steps/s", "{:,.0f}", "plain"),
            row("one model, steps/s", "{:,.0f}", "one"),
            row("ratio to the plain loop", "**{:.1f}**", "one ratio"),
            row("floor, steps/s", "{:,.0f}", "one alone"),
            row("share of the floor", "{:.0%}", "one floor"),
            row(f"{seeds} models, seeds × steps/s", "{:,.0f}", "many"),
            row("ratio to the plain loop", "**{:.1f}**", "many ratio"),
            row("floor, seeds × steps/s", "{:,.0f}", "many alone"),
            row("share of the floor", "{:.0%}", "many floor"),
            row(f"{seeds} models, memory above idle, MiB", "{:,.0f}", "memory"),
            row("first start with compiling, s", "{:.0f}", "first", starts),
            row("later starts, s", "{:.1f}", "later", starts),
        ],
        "l" + "r" * len(models),
    )


def peer_table(report: dict) -> str:
    """The fast path beside other libraries as a table in Markdown, a column a model.

    Ratios to the plain loop, and steps a second. "-" stands where nothing was measured, as without JAX. Where
    a library can train many models in several ways, the fastest counts. "" where no other library was asked.
    """
    peers, many = ("torch.nn", "torch.compile", "JAX"), f"{report['seeds']} models"
    entries = [e for e in (report["models"] | report.get("families", {})).values() if e.get("starts")]
    if not entries:
        return ""

    def rate(entry, begins):
        found = [one["rate"] for name, one in entry["results"].items() if name.startswith(begins)]
        return max(found, default=None)

    def ratio(entry, begins):
        own, plain = rate(entry, begins), rate(entry, "plain")
        return "-" if own is None else f"**{own / plain:.1f}** ({own:,.0f})"

    def row(label, begins):
        return [label, *(ratio(entry, begins) for entry in entries)]

    def ahead(of):
        best = [max(rate(entry, f"{peer}, {of}") or 0 for peer in peers) for entry in entries]
        fast = [rate(entry, f"fast, {of}") for entry in entries]
        return [
            "fast path to the best of these",
            *(f"{f / b:.2f}" if b else "-" for f, b in zip(fast, best, strict=True)),
        ]

    def start(label, seconds):
        return [label, *("-" if s is None else f"{s:.1f}" for s in map(seconds, entries))]

    rows = [
        ["parameters", *(f"{entry['parameters']:,}" for entry in entries)],
        ["plain loop, steps/s", *(f"{rate(entry, 'plain'):,.0f}" for entry in entries)],
    ]
    for of in ("1 model", many):
        rows += [row(f"{of}, fast path", f"fast, {of}"), row(f"{of}, floor", f"products, {of}")]
        rows += [row(f"{of}, {peer}", f"{peer}, {of}") for peer in peers]
        rows.append(ahead(of))
    rows.append(start("first start, fast path, s", lambda entry: entry["compile"]["first"]))
    for peer in peers:
        rows.append(start(f"first start, {peer}, s", lambda entry, peer=peer: entry["starts"].get(peer)))
    return markdown_table(["batch 32", *(e["title"] for e in entries)], rows, "l" + "r" * len(entries))
