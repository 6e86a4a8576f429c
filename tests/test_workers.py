"""Processes of a tool end with it, however it ends, and no notebook is damaged by that."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import psutil
import pytest

ROOT = Path(__file__).resolve().parent.parent
CELL = "import tempfile, time\ntempfile.mkstemp(prefix='begun-', dir='.')\ntime.sleep(600)"
SCRIPT = f"""
import subprocess, sys, time
from pathlib import Path
sys.path.insert(0, {str(ROOT / "tools")!r})
from workers import pool

def task():
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    Path("begun-1").touch()
    process.wait()

if __name__ == "__main__":
    with pool(1) as executor:
        executor.submit(task)
        raise ValueError("what runs is waited for")
"""
SERVER = f"""
import sys, time
from pathlib import Path
sys.path.insert(0, {str(ROOT / "book" / "_ext")!r})
import offline_pages
from sphinxcontrib import katex

offline_pages.use_own_node()
katex.KaTeXServer.start()
Path("begun-1").touch()
time.sleep(600)
"""
pytestmark = pytest.mark.skipif(os.name != "posix", reason="needs signals")


def begun(folder, *command, tasks=1):
    """A command in a session of its own that has begun so many tasks, and the processes that it started."""
    process = subprocess.Popen(
        [sys.executable, *map(str, command)], cwd=folder, env=os.environ | {"PYTHONPATH": str(ROOT / "src")},
        start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    until = time.monotonic() + 120
    while len(list(folder.glob("begun-*"))) < tasks:
        assert process.poll() is None and time.monotonic() < until, process.communicate()
        time.sleep(0.05)
    return process, psutil.Process(process.pid).children(recursive=True)


def ended(process, others):
    """The status with which it ends. AssertionError if some of them are there 15 seconds later."""
    try:
        status = process.wait(timeout=15)
        _, alive = psutil.wait_procs(others, timeout=15)
        assert [one.cmdline() for one in alive if one.status() != psutil.STATUS_ZOMBIE] == []
        return status
    finally:
        for one in [process, *others]:
            with contextlib.suppress(psutil.NoSuchProcess):
                one.kill()


@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_pool_ends_with_its_parent_and_so_does_what_it_started(tmp_path, sent):
    (tmp_path / "script.py").write_text(SCRIPT)
    process, others = begun(tmp_path, "script.py")
    process.send_signal(sent)
    assert ended(process, others) == -sent


def test_a_build_that_is_killed_leaves_no_server_of_formulas(tmp_path):
    (tmp_path / "script.py").write_text(SERVER)
    process, others = begun(tmp_path, "script.py")
    assert len(others) == 1
    process.kill()
    assert ended(process, others) == -signal.SIGKILL


@pytest.mark.parametrize(
    "sent, to, status",
    [
        (signal.SIGKILL, "parent", -signal.SIGKILL),
        (signal.SIGTERM, "parent", -signal.SIGTERM),
        (signal.SIGINT, "all", 130),  # control-C
        (signal.SIGKILL, "worker", 2),
    ],
)
def test_notebooks_that_are_stopped_stay_as_they_were_and_nothing_runs_on(tmp_path, sent, to, status):
    paths = [tmp_path / f"{name}.ipynb" for name in ("one", "two", "three")]
    for path in paths:
        cells = [nbformat.v4.new_markdown_cell("# Title"), nbformat.v4.new_code_cell(CELL)]
        nbformat.write(nbformat.v4.new_notebook(cells=cells), path)
    before = {path.name: path.read_bytes() for path in paths}
    at_once = 2 if to == "worker" else 1  # others wait, beside one that would run on
    command = [ROOT / "tools" / "notebooks.py", "--workers", at_once, *paths]
    process, others = begun(tmp_path, *command, tasks=at_once)
    assert sum("ipykernel_launcher" in one.cmdline() for one in others) == at_once
    if to == "all":
        os.killpg(process.pid, sent)
    else:
        worker = next(one for one in others if "--multiprocessing-fork" in one.cmdline())
        (worker if to == "worker" else process).send_signal(sent)
    assert ended(process, others) == status
    assert len(list(tmp_path.glob("begun-*"))) == at_once
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.suffix} == before
