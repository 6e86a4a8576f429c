"""The same numbers sooner."""

from .loop import PlainLoop, make_loop

__all__ = ["PlainLoop", "make_loop"]
