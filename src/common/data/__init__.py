"""Text in, integers out: vocabularies and lists of names."""

from .memory import ECHO, RECALL, echo, recall
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
