"""A pytest plugin: which files every test file and notebook opens, and which of them passed.

    CHECK_READS=FOLDER pytest -p tools.reads ...

Without CHECK_READS it does nothing. Into FOLDER go `reads`, lines "item, tab, path" (a folder that was
listed ends with a slash), and `passed.json`, the items of which every test was run and none failed, with
their seconds. An item is a file. tools/check.py makes use of both.
"""

import json
import os
from pathlib import Path

import pytest

from tools.reads.sitecustomize import watch

HERE = Path(__file__).resolve().parent


class Reads:
    """On every process that runs tests: knows which item it runs, and hands the watch on to kernels."""

    def __init__(self, root: Path, folder: str):
        self.root, self.item, self.notes = root, None, str(Path(folder) / "reads")
        watch(str(root), self.notes, lambda: self.item)

    def name(self, node) -> str:
        return os.path.relpath(node.path, self.root).replace(os.sep, "/")

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_make_collect_report(self, collector):  # what a test file opens when it is imported
        self.item = self.name(collector) if isinstance(collector, pytest.File) else self.item
        try:
            return (yield)
        finally:
            self.item = None

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self, item):
        self.item, before = self.name(item), dict(os.environ)
        if hasattr(item, "cell"):  # of a notebook: nbval starts its kernel now
            os.environ["BOOK_READS"] = json.dumps([str(self.root), self.notes, self.item])
            path = [str(HERE), *filter(None, [os.environ.get("PYTHONPATH")])]
            os.environ["PYTHONPATH"] = os.pathsep.join(path)
        try:
            return (yield)
        finally:
            self.item = None
            for name in ("BOOK_READS", "PYTHONPATH"):
                os.environ.pop(name, None)
                os.environ |= {name: before[name]} if name in before else {}


class Passed:
    """On the process that reports."""

    def __init__(self, folder: str):
        self.folder, self.whole, self.failed = folder, {}, set()

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node):  # of pytest-xdist
        node.workerinput["check_reads"] = self.folder

    def pytest_deselected(self, items):
        self.failed |= {item.nodeid.partition("::")[0] for item in items}

    def pytest_collectreport(self, report):
        name = report.nodeid.partition("::")[0]
        if report.failed:
            self.failed.add(name)
        elif report.skipped:  # a whole file
            self.whole.setdefault(name, 0.0)

    def pytest_runtest_logreport(self, report):
        name = report.nodeid.partition("::")[0]
        self.whole[name] = self.whole.get(name, 0.0) + report.duration
        if report.failed:
            self.failed.add(name)

    def pytest_sessionfinish(self, session, exitstatus):
        stopped = exitstatus not in (0, 1) or session.shouldfail or session.shouldstop
        passed = {} if stopped else {n: round(s, 1) for n, s in self.whole.items() if n not in self.failed}
        Path(self.folder, "passed.json").write_text(json.dumps(passed), encoding="utf-8")


def pytest_configure(config):
    worker = getattr(config, "workerinput", None)
    # Taken out, so that a pytest which a test starts knows nothing of it.
    folder = os.environ.pop("CHECK_READS", None) if worker is None else worker.get("check_reads")
    if folder:
        config.pluginmanager.register(Reads(config.rootpath, folder), "reads")
        if worker is None:
            config.pluginmanager.register(Passed(folder), "passed")
