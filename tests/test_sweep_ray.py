"""The same sweeps on Ray: on a cluster of two nodes that loses one, as a population, and without Ray."""

import contextlib
import importlib.util
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import pytest
from small_runs import NAMES

import common
from common.sweep import load

SOURCE = Path(common.__file__).parents[1]
MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
SPACE = {"lr": {"low": 0.01, "high": 1.0, "log": True}}
ENVIRONMENT = os.environ | {
    "PYTHONPATH": str(SOURCE), "OMP_NUM_THREADS": "1", "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32),
    "RAY_raylet_start_wait_time_s": "30",
}  # fmt: skip
pytestmark = pytest.mark.skipif(os.name != "posix", reason="needs SIGKILL")
needs_ray = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None, reason="needs Ray: make cluster installs it"
)


@pytest.fixture
def place():
    with tempfile.TemporaryDirectory(dir=MEMORY, ignore_cleanup_errors=True) as folder:
        (Path(folder) / "short.txt").write_text("\n".join(NAMES[:300]) + "\n", encoding="utf-8")
        (Path(folder) / "space.json").write_text(json.dumps(SPACE), encoding="utf-8")
        yield Path(folder)


def command(place, trials, steps, every, *more):
    arguments = [
        "sweep", "--engine", "ray", "--space", place / "space.json", "--model", "mlp",
        "--names", place / "short.txt", "--steps", steps, "--evaluate-every", every, "--device", "cpu",
        "--trials", trials, "--out", place / "sweep", *more,
    ]  # fmt: skip
    return [str(argument) for argument in arguments]


def started(arguments):
    return subprocess.Popen(
        [sys.executable, "-m", "common", *arguments],
        env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, encoding="utf-8",
    )  # fmt: skip


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


@contextlib.contextmanager
def cluster():
    """Two nodes of one processor each, on this machine; gives the address and the second node's raylet."""
    # the folder's name stands in the command line of every process of the cluster
    with tempfile.TemporaryDirectory(prefix="ray", dir="/tmp", ignore_cleanup_errors=True) as sockets:
        ours = lambda: [p for p, said in processes() if sockets in said]  # noqa: E731
        try:
            address = f"127.0.0.1:{free_port()}"
            head = ["--head", f"--port={address.split(':')[1]}", f"--temp-dir={sockets}", "--no-monitor"]
            first = node(ours, [*head, "--include-dashboard=false"])
            second = node(ours, [f"--address={address}"])
            assert first != second
            yield address, second
        finally:
            end(ours())
            assert not ours(), "a process of the cluster is left"


def node(ours, arguments):
    """Start a node; returns its raylet. On a busy machine Ray may give up, after 15 seconds: then again."""
    before = ours()
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", *arguments]
    command += ["--node-ip-address=127.0.0.1", "--num-cpus=1", f"--object-store-memory={100 << 20}"]
    command += ["--disable-usage-stats", "--include-log-monitor=false"]
    for _ in range(5):
        done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=120)
        new = [process for process in ours() if process not in before]
        if done.returncode == 0:
            return next(process for process in new if process.name() == "raylet")
        end(new)
    raise AssertionError(done.stderr)


def end(those):
    for process in those:
        with contextlib.suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(those, timeout=20)


def processes():
    """(process, command line) of all that run."""
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            said = " ".join(process.cmdline())
            if said and process.status() != psutil.STATUS_ZOMBIE:
                yield process, said


@needs_ray
def test_a_cluster_loses_a_node_and_no_finished_trial(place):
    folder = place / "sweep"
    with cluster() as (address, raylet):
        process = started(command(place, 6, 2000, 200, "--address", address, "--scheduler", "none"))
        try:
            until = time.monotonic() + 300
            while len(load(folder)["trials"] if (folder / "trials.json").exists() else []) < 2:
                assert process.poll() is None, process.communicate()
                assert time.monotonic() < until
                time.sleep(0.05)
            before = load(folder)["trials"]
            workers = raylet.children()
            raylet.send_signal(signal.SIGKILL)
            out, err = process.communicate(timeout=300)
        finally:
            process.kill()
    assert workers, "the second node ran nothing"
    assert process.returncode == 0, err
    after = load(folder)["trials"]
    assert [record["number"] for record in after] == list(range(6))
    assert all(record in after for record in before)
    assert all(record["state"] == "complete" and len(record["curve"]) == 10 for record in after)
    assert max(record["attempt"] for record in after) == 2, out
    assert "its process is gone; it is run again" in out
    assert out.splitlines()[-1].startswith("6 trials finished, 0 of them pruned; the best is trial")
