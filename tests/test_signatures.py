"""The signatures of the core: a default that changes, changes the numbers of whoever relied on it.

They are stored in signatures.txt. Where one is meant to change, `BOOK_SIGNATURES=write make unit
TESTS=tests/test_signatures.py` stores today's; the difference is then read like any other, and said in the
changelog.
"""

import inspect
import os
from importlib import import_module
from pathlib import Path

from test_house import MODULES, room

STORED = Path(__file__).with_name("signatures.txt")


def lines(name: str, thing) -> list[str]:
    """A function, or a class with its own methods, without annotations, which Pythons write differently."""
    if inspect.isclass(thing):
        own = [part for part in vars(thing).items() if not part[0].startswith("_") or part[0] in SPECIAL]
        return [line for key, part in own for line in lines(f"{name}.{key}", getattr(part, "__func__", part))]
    return [f"{name}{plain(thing)}"] if inspect.isfunction(thing) else []


SPECIAL = ("__init__", "__call__", "__new__")


def plain(function) -> str:
    parameters = [
        p.replace(annotation=p.empty, default=p.default if p.default is p.empty else Shown(p.default))
        for p in inspect.signature(function).parameters.values()
    ]
    return str(inspect.Signature(parameters))


class Shown:
    """A default as it is typed: a class or a function by its name."""

    def __init__(self, value):
        self.text = getattr(value, "__name__", None) or repr(value)

    def __repr__(self):
        return self.text


def signatures() -> str:
    found = []
    for module in sorted(name for name in MODULES if room(name) == "core"):
        for name, thing in sorted(vars(import_module(module)).items()):
            if not name.startswith("_") and getattr(thing, "__module__", None) == module:
                found += lines(f"{module}.{name}", thing)
    return "\n".join(found) + "\n"


def test_no_default_of_the_core_has_changed_unseen():
    if os.environ.get("BOOK_SIGNATURES") == "write":
        STORED.write_text(signatures(), encoding="utf-8")
    stored, today = STORED.read_text(encoding="utf-8").splitlines(), signatures().splitlines()
    changed = [f"- {line}" for line in stored if line not in today]
    changed += [f"+ {line}" for line in today if line not in stored]
    assert not changed, "\n".join(changed)
