"""Where the book's own data lies: the list of names, the stored results and the trained models."""

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parents[1]
# A wheel has a copy of the repository's data/ in it (setup.py); a checkout and an editable install have none.
INSTALLED = (_PACKAGE / "shipped").is_dir()


def shipped_folder() -> Path:
    """The folder that holds names.txt, models/ and results/: the repository's data/, or the wheel's copy.

    It is there to read from: an installed package is nobody's place to write.
    """
    return _PACKAGE / "shipped" if INSTALLED else _PACKAGE.parents[1] / "data"
