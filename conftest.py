"""For every pytest run: notebooks in a good order, what each one took, and drawings compared as drawings.

Under ``--dist loadfile`` a worker takes whole notebooks in the order in which they
were collected, so the longest come first. How long one takes is what it took last
time here, or else when it was last executed.
"""

import json
from pathlib import Path

import pytest

CACHE_KEY = "notebooks/seconds"


def notebook_of(nodeid: str) -> str | None:
    path = nodeid.partition("::")[0]
    return path if path.endswith(".ipynb") else None


def measured_seconds() -> dict[str, float]:
    """What each notebook took when `make notebooks` last executed it, in seconds, by its path."""
    path = Path(__file__).parent / "data" / "costs.json"
    costs = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    longest = {name: max(entry["seconds"] for entry in devices.values()) for name, devices in costs.items()}
    return {f"book/{name}.ipynb": seconds for name, seconds in longest.items()}


def pytest_collection_modifyitems(config, items):
    if not any(notebook_of(item.nodeid) for item in items):
        return
    cache = getattr(config, "cache", None)
    seconds = measured_seconds() | (cache.get(CACHE_KEY, {}) if cache else {})

    def order(item):
        name = notebook_of(item.nodeid)
        return (0, -seconds.get(name, 0.0), name) if name else (1, 0.0, "")

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
    if config.pluginmanager.hasplugin("nbval"):
        from nbval.plugin import IPyNbCell

        from tests.drawings import comparing_pictures

        IPyNbCell.compare_outputs = comparing_pictures(IPyNbCell.compare_outputs)
    if not hasattr(config, "workerinput"):  # not on a worker of pytest-xdist
        config.pluginmanager.register(NotebookTimes(config), "notebook-times")
