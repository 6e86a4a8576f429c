"""Two tasks that need a memory, drawn at any length: recall and echo. Introduced in part two, chapter 2."""

import torch
from torch import Generator, Tensor

from .names import IGNORE_INDEX
from .vocabulary import Vocabulary

SYMBOLS, DISTRACTORS, QUESTION = "abcdefgh", "01234567", "?"
RECALL, ECHO = Vocabulary(SYMBOLS + DISTRACTORS + QUESTION), Vocabulary("01")


def recall(count: int, delay: int, generator: Generator | None = None) -> tuple[Tensor, Tensor]:
    """A symbol, then distractors, then a question: what was the symbol? x, y: (count, delay + 1).

    The question comes `delay` steps after the symbol, and is the one position that counts in y; elsewhere
    stands IGNORE_INDEX. Chance is one in eight. ValueError for fewer than 1 sequence or step.

    >>> x, y = recall(1, 5, torch.Generator().manual_seed(0))
    >>> RECALL.decode(x[0].tolist()), RECALL.decode(y[0, -1:].tolist())
    ('e7503?', 'e')
    """
    _check(count, delay)
    symbols, distractors = (torch.tensor(RECALL.encode(text)) for text in (SYMBOLS, DISTRACTORS))
    x = torch.full((count, delay + 1), RECALL.encode(QUESTION)[0])
    y = torch.full_like(x, IGNORE_INDEX)
    x[:, 0] = y[:, -1] = symbols[torch.randint(len(symbols), (count,), generator=generator)]
    x[:, 1:-1] = distractors[torch.randint(len(distractors), (count, delay - 1), generator=generator)]
    return x, y


def echo(count: int, delay: int, generator: Generator | None = None) -> tuple[Tensor, Tensor]:
    """Bits that come back after a delay: y at step t is x at step t - delay. x, y: (count, 3 delay).

    The first `delay` positions of y do not count. Whoever answers right carries `delay` bits all the time.
    Chance is one in two. ValueError for fewer than 1 sequence or step.

    >>> x, y = echo(1, 2, torch.Generator().manual_seed(0))
    >>> ECHO.decode(x[0].tolist()), y[0].tolist()[:2], ECHO.decode(y[0, 2:].tolist())
    ('011011', [-100, -100], '0110')
    """
    _check(count, delay)
    x = torch.tensor(ECHO.encode("01"))[torch.randint(2, (count, 3 * delay), generator=generator)]
    y = torch.full_like(x, IGNORE_INDEX)
    y[:, delay:] = x[:, :-delay]
    return x, y


def _check(count: int, delay: int) -> None:
    if min(count, delay) < 1:
        raise ValueError(f"expected at least 1 sequence and 1 step, got {count} and {delay}")
