"""Text in, integers out: vocabularies and lists of names. And waves to forecast."""

from .names import (
    END,
    IGNORE_INDEX,
    SHIPPED_NAMES,
    Splits,
    distinct_names,
    examples,
    load_names,
    sequences,
    split_names,
    windows,
)
from .vocabulary import Vocabulary
from .waves import mackey_glass, sums_of_sines, wandering
