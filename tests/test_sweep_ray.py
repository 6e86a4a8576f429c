"""The same sweeps on Ray: on a cluster that loses a node and gets another, as a population, without Ray."""

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

import common
from common.data import load_names
from common.runs import command as command_line
from common.runs.sweep import load

NAMES = load_names()[:300]
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
        (Path(folder) / "short.txt").write_text("\n".join(NAMES) + "\n", encoding="utf-8")
        (Path(folder) / "space.json").write_text(json.dumps(SPACE), encoding="utf-8")
        yield Path(folder)


def command(place, trials, steps, every, *more):
    arguments = [
        "sweep", "--engine", "ray", "--space", place / "space.json", "--model", "mlp",
        "--data", place / "short.txt", "--steps", steps, "--evaluate-every", every, "--device", "cpu",
        "--trials", trials, "--out", place / "sweep", *more,
    ]  # fmt: skip
    return [str(argument) for argument in arguments]


def started(arguments, **more):
    return subprocess.Popen(
        [sys.executable, "-m", "common", *arguments],
        env=ENVIRONMENT | more, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, encoding="utf-8",
    )  # fmt: skip


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


@contextlib.contextmanager
def cluster():
    """A cluster on this machine; gives its address, and a function that adds a node of one processor.

    Its head runs no trial. So a test says itself where one runs: with a head that does, all trials may be
    over before a slow machine has started the second node's first process.
    """
    # the folder's name stands in the command line of every process of the cluster
    with tempfile.TemporaryDirectory(prefix="ray", dir="/tmp", ignore_cleanup_errors=True) as sockets:
        ours = lambda: [p for p, said in processes() if sockets in said]  # noqa: E731
        try:
            address = f"127.0.0.1:{free_port()}"
            head = ["--head", f"--port={address.split(':')[1]}", f"--temp-dir={sockets}", "--no-monitor"]
            node(ours, 0, [*head, "--include-dashboard=false"])
            yield address, lambda: node(ours, 1, [f"--address={address}"])
        finally:
            end(ours())
            assert not ours(), "a process of the cluster is left"


def node(ours, processors, arguments):
    """Start a node; returns its raylet. On a busy machine Ray may give up, after 15 seconds: then again."""
    before = ours()
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", *arguments]
    command += ["--node-ip-address=127.0.0.1", f"--num-cpus={processors}"]
    command += [f"--object-store-memory={100 << 20}"]
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


def finished(folder):
    return load(folder)["trials"] if (folder / "trials.json").exists() else []


def at_work(raylet):
    """Whether a node is in the middle of a trial; Ray writes what a process does into its title."""
    titles = []
    for worker in raylet.children():
        with contextlib.suppress(psutil.Error):
            titles += worker.cmdline()[:1]
    return any(title.startswith("ray::") and ".train" in title for title in titles)


@needs_ray
def test_a_cluster_loses_a_node_and_no_finished_trial(place):
    folder = place / "sweep"
    with cluster() as (address, add):
        lost = add()
        process = started(command(place, 6, 2000, 200, "--address", address, "--scheduler", "none"))
        try:
            until = time.monotonic() + 300
            while not ((before := finished(folder)) and at_work(lost)):
                assert process.poll() is None, process.communicate()
                assert time.monotonic() < until, "the node ran nothing"
                time.sleep(0.05)
            lost.send_signal(signal.SIGKILL)
            add()
            out, err = process.communicate(timeout=300)
        finally:
            process.kill()
    assert process.returncode == 0, err
    assert 1 <= len(before) < 6
    after = load(folder)["trials"]
    assert [record["number"] for record in after] == list(range(6))
    assert all(record in after for record in before)
    assert all(record["state"] == "complete" and len(record["curve"]) == 10 for record in after)
    assert max(record["attempt"] for record in after) == 2, out
    assert "its process is gone; it is run again" in out
    assert out.splitlines()[-1].startswith("6 trials finished, 0 of them pruned; the best is trial")


@needs_ray
def test_a_population_takes_over_the_best_and_its_checkpoint(place):
    """Hopeless rates are left for the best member's, with its weights; a finished one is not begun again."""
    space = {"lr": {"choices": [1e-6, 0.3]}, "weight_decay": {"low": 0.0, "high": 0.1}}
    (place / "space.json").write_text(json.dumps(space), encoding="utf-8")
    arguments = command(place, 4, 60, 20, "--scheduler", "pbt", "--processes", "1", "--search-seed", "1")
    process = started(arguments)
    out, err = process.communicate(timeout=400)
    assert process.returncode == 0, err
    found = load(place / "sweep")["trials"]
    assert [record["number"] for record in found] == [0, 1, 2, 3]
    assert all(record["state"] == "complete" for record in found)
    assert all([step for step, _ in record["curve"]] == [20, 40, 60] for record in found)
    taught = [record for record in found if len(record["schedule"]) > 1]
    assert taught, "nobody took over anything"
    best = min(record["curve"][0][1] for record in found)
    for record in taught:
        _, (step, params) = record["schedule"][:2]
        before = dict(map(tuple, record["curve"]))[step - 20]
        assert record["curve"][0][1] > best and params["lr"] in (1e-6, 0.3)
        assert dict(map(tuple, record["curve"]))[step] < before - 0.1  # its own 20 steps do not bring that
    assert command_line.main(arguments) == 0
    assert load(place / "sweep")["trials"] == found


@needs_ray
@pytest.mark.parametrize("scheduler", ["none", "pbt"])
def test_an_impossible_trial_is_no_end_of_the_sweep(place, capsys, scheduler):
    """BatchNorm refuses a batch of one. The folder's name would say something else as a URL."""
    space = {"batch_size": {"choices": [32, 1]}, "lr": {"low": 0.1, "high": 0.3}}
    (place / "space.json").write_text(json.dumps(space), encoding="utf-8")
    folder = place / "a ?1 100%41 #x"
    arguments = [*command(place, 5, 40, 20, "--scheduler", scheduler), "--out", str(folder)]
    assert command_line.main(arguments) == 0
    report = load(folder)
    found, failed = report["trials"], report["failed"]
    assert sorted(record["number"] for record in found + failed) == [0, 1, 2, 3, 4]
    assert all("more than 1 value" in record["reason"] for record in failed)
    assert all(record["params"]["batch_size"] == 1 for record in failed)
    assert sum(record["state"] == "complete" for record in found) >= 2
    if scheduler == "none":
        assert failed and all(record["params"]["batch_size"] == 32 for record in found)
    printed = capsys.readouterr().out
    assert command_line.main(arguments) == 0 and load(folder) == report
    assert printed.splitlines()[-1] == capsys.readouterr().out.splitlines()[-1]
    assert sorted(path.name for path in place.iterdir()) == sorted([folder.name, "short.txt", "space.json"])


@needs_ray
def test_trials_of_another_sweep_are_not_taken_for_this_one(place, capsys):
    from common.runs.sweep import alone

    arguments = command(place, 2, 4, 2)
    for name in ("sweep", "other"):
        (place / name).mkdir()
    told = {"sweep": {"space": {}}, "trials": [{"number": 0, "params": {}, "state": "pruned"}]}
    (place / "sweep" / "trials.json").write_text(json.dumps(told), encoding="utf-8")
    assert command_line.main(arguments) == 2
    assert "holds trials.json with 1 finished trials and no sweep.json" in capsys.readouterr().err
    with alone(place / "other"):
        assert command_line.main([*arguments, "--out", str(place / "other")]) == 2
    assert "another command is at work on this sweep" in capsys.readouterr().err
    (place / "other" / "trials.json").write_text(json.dumps(told), encoding="utf-8")
    assert command_line.main([*arguments, "--out", str(place / "other")]) == 2
    assert "holds the trials of another sweep, which differs in" in capsys.readouterr().err
    assert load(place / "other") == load(place / "sweep") == told


@needs_ray
def test_a_trial_is_drawn_from_its_number():
    from common.runs.cluster import draw
    from common.runs.space import Choices, Range

    space = {
        "lr": Range(0.01, 1.0, log=True),
        "n": Range(8, 32, step=8, whole=True),
        "c": Choices(("a", [1])),
    }
    drawn = [draw(space, 0, number) for number in range(200)]
    assert drawn == [draw(space, 0, number) for number in range(200)]
    assert drawn[0] != draw(space, 1, 0)
    assert {one["n"] for one in drawn} == {8, 16, 24, 32} and {one["c"] for one in drawn} == {"a", "[1]"}
    rates = [one["lr"] for one in drawn]
    assert 0.01 <= min(rates) < 0.02 and 0.5 < max(rates) <= 1.0
    assert 60 < sum(rate < 0.1 for rate in rates) < 140  # half of them, by the logarithm


@needs_ray
def test_a_population_needs_something_to_change(place, capsys):
    (place / "space.json").write_text('{"model.n_hidden": {"choices": [8, 16]}}', encoding="utf-8")
    assert command_line.main(command(place, 4, 60, 20, "--scheduler", "pbt")) == 2
    assert "none of model.n_hidden can" in capsys.readouterr().err


def test_without_ray_the_command_says_what_brings_it(place):
    (place / "ray.py").write_text("raise ModuleNotFoundError(\"No module named 'ray'\")", encoding="utf-8")
    process = started(command(place, 4, 60, 20), PYTHONPATH=os.pathsep.join([str(place), str(SOURCE)]))
    out, err = process.communicate(timeout=200)
    assert (process.returncode, out) == (2, "") and len(err.splitlines()) == 1
    assert err.startswith("error: --engine ray needs Ray") and "pip install 'wavenet-book[cluster]'" in err
    assert not (place / "sweep").exists()


def test_an_address_is_for_ray(place, capsys):
    arguments = command(place, 4, 60, 20, "--engine", "optuna", "--address", "127.0.0.1:1")
    assert command_line.main(arguments) == 2
    assert "give --engine ray as well" in capsys.readouterr().err
    assert command_line.main(command(place, 4, 60, 20, "--sampler", "tpe")) == 2
    assert "sampler random, or tpe with Optuna" in capsys.readouterr().err
