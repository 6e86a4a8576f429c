"""Figures that a page's text states, held by the run that the page shows.

The text has them between marks that no reader sees, ``<!--ratio-->1.75<!--/-->``. `tell` says in a
cell what stands there and why it is true; nbval compares what it says, tools/told.py writes it into the text,
and a test finds a figure that is told nowhere.
"""

import os
import re

from .checks import hold

NUMBER = re.compile(r"[-−]?\d[\d,]*(?:\.\d+)?%?")


def tell(name: str, text: str, value: float | None = None, within: float | tuple[float, float] = 0.0) -> None:
    """Say what the text states under a name, and hold it.

    The name is what the text speaks of: a reader who opens the mark reads “1.75” (noise ratio), within 0.1.
    Without a value, the text is made of what was computed: ``tell("ratio", f"{ratio:.2f}")``, the same on
    every machine. With one, the number in the text is held to it within a tolerance:
    ``tell("loss", "2.015", loss, within=0.012)``; or the value to a range, for words:
    ``tell("gain", "more than four times", ratio, within=(4, 5))``.

    AssertionError where the text is no longer true. With a list of the reader's own (the variable NAMES)
    there is nothing to hold it to: the value is printed beside the book's text. ValueError for a name that is
    none, an empty text, a negative tolerance, and a text without a number where one is compared.

    A number that is within its tolerance, and yet not what the value is rounded to here, is listed in the
    file that the variable TOLD names: `make notebooks` shows it to whoever writes the page.
    """
    if not name.isidentifier():
        raise ValueError(f"expected a name such as val_loss, got {name!r}")
    if not text.strip() or "<!--" in text:
        raise ValueError(f"{name}: expected the words that stand in the text, got {text!r}")
    said = f"held: the text says “{text}” ({name.replace('_', ' ')})"  # tools/told.py reads it
    if value is None:
        hold(f"{said}, exactly")
        return
    low, high = within if isinstance(within, tuple) else _around(name, text, within)
    if (listed := os.environ.get("TOLD")) and not isinstance(within, tuple) and not _is_rounded(text, value):
        with open(listed, "a", encoding="utf-8") as file:
            file.write(f"{name}: the text says {text}, the value is {value:.6g}\n")
    if os.environ.get("NAMES"):
        print(f"your list: {name} {value:.4g} (this book's list: {text})")
    elif low <= value <= high:
        held_by = f"for a value of {low:g} to {high:g}" if isinstance(within, tuple) else f"within {within:g}"
        hold(f"{said}, {held_by}")
    else:
        raise AssertionError(f"{name}: the text says {text}, expected {low:g} to {high:g}, got {value:g}")


def _around(name: str, text: str, tolerance: float) -> tuple[float, float]:
    """The range of a tolerance around the number in a text."""
    found = NUMBER.search(text)
    if found is None or not tolerance >= 0:
        raise ValueError(f"{name}: expected a number in the text and a tolerance, got {text!r}, {tolerance}")
    number = float(found[0].strip("%").replace(",", "").replace("−", "-")) / (100 if "%" in found[0] else 1)
    return number - tolerance, number + tolerance


def _is_rounded(text: str, value: float) -> bool:
    """Whether the number in a text is a value rounded to the text's last digit, zeros at the end left out."""
    digits = NUMBER.search(text)[0].strip("%").replace(",", "")  # type: ignore[index]  # there is one
    number, scale = float(digits.replace("−", "-")), 100 if "%" in text else 1
    whole, _, decimals = digits.partition(".")
    unit = 10.0 ** (-len(decimals) if decimals else len(whole) - len(whole.rstrip("0") or whole))
    return abs(value * scale - number) <= 0.5001 * unit


WORDS = "no one two three four five six seven eight nine ten eleven twelve".split()


def in_words(number: int) -> str:
    """A count as text has it: in words up to twelve, and with digits from there.

    >>> in_words(7), in_words(1500)
    ('seven', '1,500')
    """
    return WORDS[number] if 0 <= number < len(WORDS) else f"{number:,}"
