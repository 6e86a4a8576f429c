"""Moved to `common.runs.files`."""

from .runs.files import *  # noqa: F403
