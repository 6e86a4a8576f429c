"""Write what the pages show of the stored results: the tables, the map and the costs.

    .venv/bin/python tools/tables.py [--check]

A made part stands between two markers, `<!-- results shipped -->` and `<!-- end of results -->`. With
--check nothing is written; a page whose part is out of date ends the command with code 2.
"""

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path

import roadmap

from common.models import MODELS, tagged
from common.pages.measure import measure_of
from common.pages.results import (
    LECTURE,
    RESULTS,
    cost_table,
    markdown_table,
    measured_on,
    peer_table,
    stored_costs,
    stored_results,
)
from common.runs.files import read_json, replace_files
from common.runs.provenance import ROOT
from common.runs.tasks import SPLITS

PAGES = (
    "README.md",
    "book/index.md",
    "book/map.md",
    "book/results.md",
    "book/costs.md",
    "benchmarks/README.md",
)


SPLIT_NAMES = {"train": "train", "val": "validation", "test": "test"}


def made_pages(collected: Mapping[str, dict] | None = None) -> dict[Path, str]:
    """The pages whose made parts are out of date, as they ought to be.

    collected: results that take the place of the stored ones, by their names. ValueError for a first
    marker without its second.
    """
    collected = collected or {}
    get = lambda name: collected.get(name) or stored_results(name)  # noqa: E731
    lists = {stored.stem for stored in RESULTS.glob("*.json")} | set(collected)
    made = {f"results {name}": lambda name=name: results_table(get(name)) for name in lists}
    made["results challenge"] = lambda: winners_table(get("challenge"))
    made |= {f"bench {device}": lambda device=device: costs(stored_costs(device)) for device in measured_on()}
    made |= {f"peers {device}": lambda device=device: peers(stored_costs(device)) for device in measured_on()}
    made["generation"] = generation
    made["map"] = lambda: roadmap.page(collected.get("shipped"))
    pages = {}
    for path in (ROOT / page for page in PAGES):
        before = text = path.read_text(encoding="utf-8") if path.exists() else ""
        for name, make in sorted(made.items()):
            begin, end = f"<!-- {name} -->", f"<!-- end of {name.split()[0]} -->"
            head, found, rest = text.partition(begin)
            if found and end not in rest:
                raise ValueError(f"{path}: {begin!r} is not followed by {end!r}")
            if found:
                text = f"{head}{begin}\n{make()}\n{end}{rest.partition(end)[2]}"
        if text != before:
            pages[path] = text
    return pages


def results_table(stored: dict) -> str:
    """Models side by side on one list or corpus. The lecture's column where these are its models.

    What is measured comes with the entries; one that is taken at several places has a column for each.
    """
    entries, titled = stored["models"], {}
    measures = {measure_of(entry, key) for key, entry in entries.items()}
    if len(measures) != 1:
        raise ValueError(f"expected one measure in a table, got {sorted(m.title('') for m in measures)}")
    [measure] = measures
    lecture = [key for key in entries if key in LECTURE]
    splits = [split for split in SPLITS if all(split in r for e in entries.values() for r in e["runs"])]
    rows, provenance = [], []
    for key, entry in entries.items():
        row = [entry.get("title") or MODELS[key].title, f"{entry['runs'][0]['parameters']:,}"]
        row += ["{:.3f} / {:.3f}".format(*LECTURE[key]) if key in LECTURE else ""] * bool(lecture)
        for split in splits:
            for place, value in measure.spreads(entry["runs"], split).items():
                titled[SPLIT_NAMES[split] + f", {place}" * bool(place)] = None
                row.append(measure.show(value))
        rows.append(row)
        provenance.append(entry["provenance"])
    header = ["model", "parameters", *["lecture: train / val"] * bool(lecture), *titled]
    runs = {len(entry["runs"]) for entry in entries.values()}
    training = stored["training"]
    note = (
        f"Mean ± standard deviation over {'/'.join(map(str, sorted(runs)))} seeds, {measure.sentence}"
        f"; {measure.direction}. "
        f"{training['steps']:,} steps of batch {training['batch_size']}, learning rate {training['lr']:g}, "
        f"times {training['drop_factor']:g} from step {int(training['drop_at'] * training['steps']):,}. "
        f"{_listed(stored)}{_measured(provenance)}"
    )
    return f"\n{markdown_table(header, rows, 'lr' + 'r' * (len(header) - 2))}\n\n{note}\n"


def _listed(stored: dict) -> str:
    """The file that was trained on, which a task describes under a name of its own."""
    [(task, listed)] = [(k, v) for k, v in stored.items() if isinstance(v, dict) and "sha256" in v]
    rows = "distinct names" if listed.get("distinct_only") else "rows"
    count = f", {listed['rows']:,} {rows}" if "rows" in listed else ""
    kind = "List" if task == "names" else "File"
    return f"{kind} `{listed['file']}`{count}, SHA-256 `{listed['sha256'][:12]}`. "


def winners_table(stored: dict) -> str:
    """Chapter 13's last table: both winners on all three lists."""
    lists = {"lecture": "the lecture's", "shipped": "this book's", "distinct": "this book's, each name once"}
    rows, provenance, seeds, training = [], [], set(), {}
    for key in tagged("winner"):
        for name, title in lists.items():
            entry = stored[name][key]
            runs, how = entry["runs"], entry["training"]
            measure = measure_of(entry, key)
            values = [measure.show(measure.one(runs, split)) for split in SPLITS]
            rows.append([entry["title"], f"{runs[0]['parameters']:,}", title, *values])
            seeds.add(str(len(runs)))
            training[key] = f"{key} winner {how['steps']:,} steps of {how['batch_size']} names"
            provenance.append(entry["provenance"])
    header = ["network", "parameters", "list", "train", "validation", "test"]
    teachers = stored["lecture"]["teachers"]["runs"]
    note = (
        f"Mean ± standard deviation over {'/'.join(sorted(seeds))} seeds, {measure.sentence}; "
        f"{measure.direction}. "
        f"Trained for: {', '.join(training.values())}; {how['optimizer']}, "
        f"taught by {len(teachers)} networks of {teachers[0]['parameters']:,} parameters. "
        f"Chosen on the validation split; the test split was opened once. {_measured(provenance)}"
    )
    return f"\n{markdown_table(header, rows, 'lrlrrr')}\n\n{note}\n"


def _measured(provenance: list[dict]) -> str:
    where = {f"{p['date']}, commit `{p['commit']}`, {p['machine']}, torch {p['torch']}" for p in provenance}
    return f"Measured on {'; '.join(sorted(where))}."


def costs(report: dict) -> str:
    """What a step costs, and how that was measured."""
    how = (
        f"Median of {report['rounds']} interleaved rounds of {report['seconds']:g} s a contender, each in a "
        f"process of its own; batch 32. The plain loop at its better of 1 and {report['cores']} threads. "
        f"{_measured([report])}"
    )
    return f"\n{cost_table(report)}\n\n{how}\n"


def peers(report: dict) -> str:
    """What other libraries take for a step, or that they were not measured."""
    return f"\n{peer_table(report) or 'Not measured yet: `make bench`.'}\n"


def generation() -> str:
    """What one character takes, or that it was not measured."""
    path = RESULTS / "generation.json"
    missing = "\nNot measured yet: `.venv/bin/python benchmarks/generation.py`.\n"
    return generation_tables(read_json(path)) if path.exists() else missing


def generation_tables(stored: dict) -> str:
    """Characters a second against length, a table a size of batch."""
    tables = []
    for batch, lengths in stored["seconds"].items():
        names = dict.fromkeys(name for taken in lengths.values() for name in taken)
        rows = [
            [
                name,
                *(f"{int(batch) / taken[name]:,.0f}" if name in taken else "-" for taken in lengths.values()),
            ]
            for name in names
        ]
        header = [f"{batch} text{'s' * (batch != '1')}, characters before", *(f"{int(n):,}" for n in lengths)]
        tables.append(markdown_table(header, rows, "l" + "r" * len(lengths)))
    sizes = ", ".join(f"{name} {count:,}" for name, count in stored["parameters"].items())
    how = f"Medians of {stored['rounds']} rounds in turn, one thread. Parameters: {sizes}. "
    return "\n" + "\n\n".join([*tables, how + _measured([stored["provenance"]])]) + "\n"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--check", action="store_true", help="fail where a part is out of date; write none")
    options = parser.parse_args(arguments)
    try:
        pages = made_pages()
        if options.check and pages:
            raise ValueError(f"{min(pages).name}: a made part is out of date; run `make tables`")
        replace_files({path: text.encode() for path, text in pages.items()})
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    for path in pages:
        print(f"refreshed {path.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
