"""Where the lists, the trained models and the stored results lie that come with the book."""

from pathlib import Path


def shipped_folder() -> Path:
    """The folder `data/` of the repository, or where the book is installed, the package's own copy of it."""
    installed = Path(__file__).resolve().parents[1] / "shipped"
    return installed if installed.is_dir() else Path(__file__).resolve().parents[3] / "data"
