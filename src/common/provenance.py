"""Moved to `common.runs.provenance`."""

from .runs.provenance import *  # noqa: F403
