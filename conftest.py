"""For every pytest run: notebooks in a good order, and what each one took.

Under ``--dist loadfile`` a worker takes whole notebooks in the order in which they
were collected, so the longest come first. How long one takes is what it took last
time here, or else what it tells its reader ("about 4 minutes on a CPU").
"""

import json
import re
from pathlib import Path

import pytest

CACHE_KEY = "notebooks/seconds"


def notebook_of(nodeid: str) -> str | None:
    path = nodeid.partition("::")[0]
    return path if path.endswith(".ipynb") else None


WORDS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]


def stated_seconds(path: Path) -> float:
    """How long the notebook tells its reader that its cells run, in seconds; 0 if it does not."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"][:4]
    text = " ".join("".join(c["source"]) for c in cells if c["cell_type"] == "markdown")
    found = re.search(r"\brun in (?:about |under )?(\w+) (minute|second)", text)
    if not found:
        found = re.search(r"(\d+) (minute|second)", text)
    if not found:
        return 0.0
    count = WORDS.index(found[1]) if found[1] in WORDS else found[1]
    return float(count if str(count).isdigit() else 1) * (60 if found[2] == "minute" else 1)


def pytest_collection_modifyitems(config, items):
    if not any(notebook_of(item.nodeid) for item in items):
        return
    cache = getattr(config, "cache", None)
    last = cache.get(CACHE_KEY, {}) if cache else {}
    seconds: dict[str, float] = {}
    for item in items:
        name = notebook_of(item.nodeid)
        if name and name not in seconds:
            seconds[name] = last.get(name) or stated_seconds(item.path)

    def order(item):
        name = notebook_of(item.nodeid)
        return (0, -seconds[name], name) if name else (1, 0.0, "")

    items.sort(key=order)  # stable: the cells of a notebook keep their order


class NotebookTimes:
    """Adds up the seconds of every notebook's cells, on the process that reports."""

    def __init__(self, config):
        self.config = config
        self.seconds: dict[str, float] = {}

    def pytest_runtest_logreport(self, report):
        name = notebook_of(report.nodeid)
        if name:
            self.seconds[name] = self.seconds.get(name, 0.0) + report.duration

    def pytest_terminal_summary(self, terminalreporter):
        if not self.seconds:
            return
        terminalreporter.section("slowest notebooks")
        for name, seconds in sorted(self.seconds.items(), key=lambda item: -item[1]):
            terminalreporter.write_line(f"{seconds:8.1f} s  {name}")
        terminalreporter.write_line(f"{sum(self.seconds.values()):8.1f} s  in all")

    def pytest_sessionfinish(self):
        cache = getattr(self.config, "cache", None)
        if cache and self.seconds:
            cache.set(CACHE_KEY, {**cache.get(CACHE_KEY, {}), **self.seconds})


@pytest.hookimpl(trylast=True)
def pytest_configure(config):
    if not hasattr(config, "workerinput"):  # not on a worker of pytest-xdist
        config.pluginmanager.register(NotebookTimes(config), "notebook-times")
