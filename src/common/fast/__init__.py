"""The same numbers sooner."""

from .loop import PlainLoop, make_loop
