"""In a checkout and in an editable install the data is the repository's; test_wheel.py does the rest."""

from pathlib import Path

from common.data.shipped import INSTALLED, shipped_folder


def test_a_checkout_reads_the_repositorys_data():
    assert not INSTALLED
    assert shipped_folder() == Path(__file__).resolve().parent.parent / "data"
    assert (shipped_folder() / "names.txt").is_file()
