"""The functions and classes that a chapter teaches, read from its notebook without running it."""

import ast
from pathlib import Path
from typing import Any

import nbformat


def definitions(notebook: Path, names: set[str], space: dict[str, Any]) -> dict[str, Any]:
    """Those of these names, made where `space` has what they use. ValueError where one is missing."""
    space = dict(space)
    for cell in nbformat.read(notebook, as_version=4).cells:
        if cell.cell_type == "code" and not cell.source.startswith(("%", "!")):
            for node in ast.parse(cell.source).body:
                if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name in names:
                    exec(compile(ast.Module([node], []), notebook.name, "exec"), space)
    if missing := names - space.keys():
        raise ValueError(f"{notebook.name}: expected definitions of {', '.join(sorted(missing))}")
    return space


def constants(notebook: Path, names: set[str]) -> dict[str, Any]:
    """The numbers and lists that a chapter writes down under these names. ValueError where one is missing."""
    found: dict[str, Any] = {}
    for cell in nbformat.read(notebook, as_version=4).cells:
        if cell.cell_type == "code" and not cell.source.startswith(("%", "!")):
            for node in ast.parse(cell.source).body:
                target = node.targets[0] if isinstance(node, ast.Assign) else None
                if isinstance(target, ast.Name) and target.id in names - found.keys():
                    found[target.id] = ast.literal_eval(node.value)  # type: ignore[attr-defined]
    if missing := names - found.keys():
        raise ValueError(f"{notebook.name}: expected constants {', '.join(sorted(missing))}")
    return found
