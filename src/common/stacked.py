"""The old address of `common.fast`; goes with the last import of it."""

from .fast.loop import GROUP, WORTH_A_WORKER, StackedLoop, WorkerDied, draw_batches, ending, shares  # noqa: F401
from .fast.stacked import Stacked  # noqa: F401
