"""Text in, integers out: vocabularies and lists of names."""

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

__all__ = [
    # in the order of the reference page
    "Vocabulary", "load_names", "distinct_names", "split_names", "Splits", "windows", "sequences", "examples",
    "END", "IGNORE_INDEX", "SHIPPED_NAMES",
]  # fmt: skip
