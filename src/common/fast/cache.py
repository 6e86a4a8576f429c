"""Where compiled code is kept for the next start."""

import os
from pathlib import Path

from platformdirs import user_cache_path

from ..data.shipped import INSTALLED, shipped_folder


def cache_folder() -> Path:
    """The folder that the variable COMMON_CACHE names, else one that follows from where the package lies.

    In a checkout that is data/cache; an installed package is nobody's place to write, and takes the user's
    cache folder as the platform has it, such as ~/.cache/wavenet-book.
    """
    if named := os.environ.get("COMMON_CACHE"):
        return Path(named)
    caches = user_cache_path("wavenet-book", appauthor=False) if INSTALLED else shipped_folder() / "cache"
    return caches / "compiled"
