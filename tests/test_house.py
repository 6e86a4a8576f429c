"""The rooms of the house: who may import whom, how long the core is, and words that have left its signatures.

The core is everything in `common` but fast, runs and pages. The rule and its reasons stand in CONTRIBUTING.
"""

import ast
import inspect
import io
import sys
import tokenize
from functools import cache
from importlib import import_module
from pathlib import Path

import pytest

import common

ROOT = Path(common.__file__).resolve().parent
MODULES = {
    ".".join(("common", *path.relative_to(ROOT).with_suffix("").parts)).removesuffix(".__init__"): path
    for path in sorted(ROOT.rglob("*.py"))
    if path.name != "__main__.py"  # the door
}
MAY_IMPORT = {  # room: the rooms that it may import beside itself
    "core": set(), "fast": {"core"}, "runs": {"core", "fast"}, "pages": {"core", "fast", "runs"},
}  # fmt: skip
CORE_LIBRARIES = {"torch", "numpy", "safetensors"}
CORE_LINES, PART_ONE_LINES = 2_400, 1_390  # with all of it; of the modules that part one teaches
PART_TWO = {  # what part two teaches, and the networks of torch.nn that it will replace
    "common.data.corpora", "common.data.memory", "common.data.reviews", "common.data.text",
    "common.data.translation", "common.data.waves", "common.models.recurrent", "common.models.seq2seq",
    "common.models.transformer", "common.nn.attention", "common.nn.recurrent", "common.nn.torch_module",
}  # fmt: skip
LEFT = {"mask", "place", "takes", "packs", "outputs_first"}  # what a layer is no longer told


def room(module: str) -> str:
    part = (module.split(".") + [""])[1]
    return part if part in MAY_IMPORT else "core"


def is_package(module: str) -> bool:
    return MODULES[module].name == "__init__.py"


@cache
def imported(module: str) -> frozenset[str]:
    """Modules and packages that a module names in its imports, those inside functions among them."""
    found = set()
    for node in ast.walk(ast.parse(MODULES[module].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            parts = module.split(".") + ([""] if is_package(module) else [])
            above = parts[: len(parts) - node.level] if node.level else []
            source = ".".join([*above, *([node.module] if node.module else [])])
            # what is imported may itself be a module: from . import optim
            inner = {f"{source}.{alias.name}" for alias in node.names}
            found |= inner & MODULES.keys() or {source}
            if inner - MODULES.keys():
                found.add(source)
    return frozenset(found)


def own(names) -> set[str]:
    return {name for name in names if name.split(".")[0] == "common"}


def test_relative_imports_are_resolved():
    """What the tests below rest on."""
    assert {"common.optim", "common.data", "common.models", "common.nn", "torch"} <= imported("common.train")
    assert "common.nn.module" in imported("common.nn.linear") and "common.nn.linear" in imported("common.nn")
    assert "common.nn" in imported("common.models.mlp") and "common.models.mlp" in imported(
        "common.models.tree"
    )
    assert all(name in MODULES for module in MODULES for name in own(imported(module)))


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_from_its_own_room_and_those_below(module):
    here = room(module)
    entered = {name: room(name) for name in own(imported(module))}
    assert {name: there for name, there in entered.items() if there not in MAY_IMPORT[here] | {here}} == {}


@pytest.mark.parametrize("module", [module for module in MODULES if room(module) == "core"])
def test_the_core_needs_torch_numpy_safetensors_and_nothing_else(module):
    libraries = {name.split(".")[0] for name in imported(module)} - {"common"}
    assert libraries <= CORE_LIBRARIES | sys.stdlib_module_names


def test_no_module_imports_itself_by_way_of_others():
    """No circles: modules can be put in an order in which each comes after all that it imports."""
    left = {module: own(imported(module)) - {module} for module in MODULES}
    while free := [module for module, needs in left.items() if not needs & left.keys()]:
        for module in free:
            del left[module]
    assert left == {}, f"a circle among {sorted(left)}"


def lines_of_code(path: Path) -> int:
    """Lines with code on them: no docstring, no comment, none that is blank."""
    source = path.read_text(encoding="utf-8")
    documented = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            if ast.get_docstring(node) is not None:
                documented |= set(range(node.body[0].lineno, node.body[0].end_lineno + 1))
    beside = {
        tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER,
    }  # fmt: skip
    tokens = [t for t in tokenize.generate_tokens(io.StringIO(source).readline) if t.type not in beside]
    return len({line for t in tokens for line in range(t.start[0], t.end[0] + 1)} - documented)


def test_lines_of_code_are_counted_without_what_explains_them(tmp_path):
    path = tmp_path / "module.py"
    path.write_text(
        '"""Two\n\nlines."""\n\n# one\nx = [\n    1,  # a\n]\n\n\ndef f():\n    """Doc."""\n    return x\n'
    )
    assert lines_of_code(path) == 5


def test_the_core_can_be_read_in_a_week():
    core = {module: path for module, path in MODULES.items() if room(module) == "core"}
    lines = {module: lines_of_code(path) for module, path in core.items()}
    assert lines.keys() >= PART_TWO
    longest = sorted(lines, key=lines.get, reverse=True)[:5]
    assert sum(lines.values()) <= CORE_LINES, {name: lines[name] for name in longest}
    part_one = {module for module in lines if module not in PART_TWO and not is_package(module)}
    assert sum(lines[module] for module in part_one) <= PART_ONE_LINES


def signatures(tree: ast.AST):
    """The parameters' names of every function, method and lambda."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            given = node.args
            every = [*given.posonlyargs, *given.args, *given.kwonlyargs, given.vararg, given.kwarg]
            yield getattr(node, "name", "lambda"), {one.arg for one in every if one is not None}


@pytest.mark.parametrize("module", [m for m in MODULES if m.startswith(("common.nn", "common.models"))])
def test_a_layer_is_told_nothing_of_padding_and_packing(module):
    if module == "common.models.packing":
        return
    found = dict(signatures(ast.parse(MODULES[module].read_text(encoding="utf-8"))))
    assert {name: LEFT & given for name, given in found.items() if LEFT & given} == {}


def test_every_layer_takes_its_input_alone_or_with_a_state():
    """But for attention, which may read another sequence than the one that it is for."""
    nn = import_module("common.nn")
    layers = [kind for kind in vars(nn).values() if isinstance(kind, type) and issubclass(kind, nn.Module)]
    assert len(layers) > 15
    for kind in layers:
        given = list(inspect.signature(kind.__call__).parameters.values())[1:]
        goes_on = issubclass(kind, nn.Cell | nn.RNN | nn.PositionalEmbedding)
        wanted = 4 if kind is nn.MultiheadAttention else 1 + goes_on
        assert len(given) == wanted, f"{kind.__name__} takes {given}"
