"""Checkpoints that a reader sees and the regression holds.

`expect` stands after a cell whose numbers depend on training: it raises where the page no longer
tells the truth, and says a line that is the same on every machine. A notebook shows the lines of a
cell as one small mark that opens; nbval compares them. `grade` marks an exercise.
"""

import math
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from html import escape
from itertools import islice

import numpy as np
import torch
from IPython import get_ipython
from IPython.display import display


def expect(what: str, value: float, target: float, tolerance: float) -> None:
    """Hold a measured value to within a tolerance of what the page says.

    Raises AssertionError outside. With a list of the reader's own (the variable NAMES) there is
    nothing to hold it to: the value is printed beside the book's. ValueError for a tolerance that is
    negative, infinite or not a number.
    """
    if os.environ.get("NAMES"):
        print(f"your list: {what} {value:.3f} (this book's list: {target:g} ± {tolerance:g})")
    elif not 0 <= tolerance < math.inf:
        raise ValueError(f"{what}: expected a tolerance of at least 0, got {tolerance}")
    elif abs(value - target) <= tolerance:
        hold(f"held: {what} is within {tolerance:g} of {target:g}")
    else:
        raise AssertionError(f"{what}: expected {target:g} ± {tolerance:g}, got {value:g}")


def expect_true(what: str, condition: bool) -> None:
    """Hold a statement of the page. Raises AssertionError where it is false.

    ValueError for what is neither true nor false: a list or a function would always hold.
    """
    if not _is_truth(condition):
        raise ValueError(f"{what}: expected True or False, got {condition!r}")
    if os.environ.get("NAMES") and not condition:
        print(f"your list: not so here: {what}")
    elif condition:
        hold(f"held: {what}")
    else:
        raise AssertionError(f"no longer true: {what}")


def mark(lines: Sequence[str]) -> dict[str, str]:
    """What a notebook stores for the checks of a cell that held: the lines, and a mark that opens on them."""
    count = f"{len(lines)} check{'s' * (len(lines) != 1)}"
    items = "".join(f"<li>{escape(line.removeprefix('held: '), quote=False)}</li>" for line in lines)
    page = f'<details class="checks"><summary>✓ {count}</summary><ul>{items}</ul></details>'
    return {"text/html": page, "text/plain": "\n".join(lines)}


_held: list[str] = []  # by the cell that runs now


def hold(line: str) -> None:
    """Say a line where there is no notebook; in one, keep it until the cell ends."""
    shell = get_ipython()
    if shell is None:
        print(line)
        return
    if not _held:
        shell.events.register("post_run_cell", _show_mark)
    _held.append(line)


def _show_mark(result=None) -> None:
    get_ipython().events.unregister("post_run_cell", _show_mark)
    lines, _held[:] = list(_held), []
    display(mark(lines), raw=True)


def grade(
    exercise: str, answer: Callable, cases: Iterable[tuple[tuple, object]], tolerance: float = 1e-6
) -> None:
    """Try an answer on cases ((arguments), expected); print what came of it.

    A function that returns None counts as not answered yet. A generator is marked by what it yields, up to
    a thousand values. Numbers may be off by `tolerance`. ValueError for no cases.
    """
    cases = list(cases)
    if not cases:
        raise ValueError(f"exercise {exercise}: expected at least one case, got none")
    for number, (arguments, expected) in enumerate(cases, start=1):
        shown = ", ".join(repr(a) if len(repr(a)) < 60 else "..." for a in arguments)
        try:
            got = answer(*arguments)
            if isinstance(got, Iterator):  # a generator: its errors are the answer's, and it may never end
                got = list(islice(got, 1_000))
        except Exception as error:
            print(f"exercise {exercise}: your function raised {type(error).__name__} on ({shown}): {error}")
            return
        if got is None:
            print(f"exercise {exercise}: not answered yet")
            return
        if not _same(got, expected, tolerance):
            where = f"exercise {exercise}: case {number} of {len(cases)}: for ({shown})"
            print(f"{where} expected {expected!r}, got {got!r}")
            return
    print(f"exercise {exercise}: correct ({len(cases)} case{'s' * (len(cases) != 1)})")


def _is_truth(value) -> bool:
    if isinstance(value, torch.Tensor):
        return value.dtype == torch.bool and value.ndim == 0
    return isinstance(value, bool | np.bool_)


def _same(got, expected, tolerance) -> bool:
    try:
        if isinstance(expected, torch.Tensor):
            close = max(tolerance, 1e-5)  # what float32 can hold
            return got.shape == expected.shape and torch.allclose(got.double(), expected.double(), 0, close)
        if isinstance(expected, (list, tuple)):
            if isinstance(got, str | dict | set):
                return False  # what they give one by one may look alike
            pairs = zip(got, expected, strict=True)
            return all(_same(g, e, tolerance) for g, e in pairs)
        if isinstance(expected, float):
            return bool(got == expected or abs(got - expected) <= tolerance)  # the former for infinity
        return bool(got == expected)
    except (AttributeError, TypeError, ValueError, RuntimeError, OverflowError):
        return False  # not even comparable
