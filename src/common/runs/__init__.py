"""Runs: many seeds at once, looked at on the way, kept in a folder; runs side by side.

Sweeps are in `sweep` and `cluster`, the command line in `command`.
"""

from .comparison import compare, curves
from .running import Run, run
from .training import Diverged, EvaluationCallback, train
