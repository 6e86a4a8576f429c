"""Tests that share something costly, on one worker of pytest-xdist."""

import ast
import functools
import re
from pathlib import Path

from xdist.scheduler import LoadScopeScheduling

ROOT = Path(__file__).resolve().parents[1]


class Together(LoadScopeScheduling):
    """What `--dist loadgroup` says: the tests of one `xdist_group` go to one worker, all others one by one.

    So do the tests of one page, which is parsed once then. pytest 9.2 no longer takes the name of the group
    from xdist, without a word (pytest-xdist issue 1386), and what a group shares was then built by every
    worker. Here the marks are read from the files.
    """

    def _split_scope(self, nodeid: str) -> str:
        file, _, name = nodeid.partition("::")
        page = re.search(r"[\[-]([\w/]+\.html)[-\]]", name)
        alone = page[1] if page else nodeid
        return groups(file).get(re.split(r"[\[@]", name)[0], alone)  # where xdist adds it: name[id]@group


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
