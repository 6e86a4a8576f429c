"""The benchmark measures what it says: the counts, the ratios, and the processes that it starts."""

import errno
import json
import math
import os
import re
import subprocess
import sys
from collections import Counter

import pytest
import torch

from common.data import Vocabulary, load_names, windows
from common.fast import cost
from common.models import MODELS
from common.pages import results
from common.runs.files import write_json
from common.runs.provenance import ROOT

sys.path.insert(0, str(ROOT / "benchmarks"))
import bench  # noqa: E402

DATA = windows(load_names()[:200], Vocabulary("abcdefghijklmnopqrstuvwxyz"), 8)


def built(model, seeds=1):
    return [MODELS[model].build(generator=torch.Generator().manual_seed(s)) for s in range(seeds)]


@pytest.mark.parametrize("seeds", [1, 3])
def test_operations_of_the_tree_are_counted(seeds):
    products = cost.products_of(built("hierarchical", seeds), *DATA, batch_size=32)
    layers = ((128, 20, 68), (64, 136, 68), (32, 136, 68), (32, 68, 27))
    assert len(products) == 3 * len(layers)
    assert cost.flops(products) == seeds * sum(3 * 2 * n * k * m for n, k, m in layers)


def test_products_are_those_of_the_step():
    """Two linear layers: each forwards, and its gradients by its weight and by its input."""
    models, (x, y) = built("flat", 2), DATA
    products = cost.products_of(models, x, y, batch_size=4)
    shapes = Counter()
    for n, k, m in ((4, 80, 200), (4, 200, 27)):
        shapes.update(tuple(sorted(sizes)) for sizes in ((n, k, m), (k, n, m), (n, m, k)))
    assert Counter(tuple(sorted((*a.shape[1:], b.shape[2]))) for a, b, _ in products) == shapes
    for a, b, out in products:
        assert len(a) == len(b) == 2 and a.shape[2] == b.shape[1]
        assert out.shape == (2, a.shape[1], b.shape[2]) and torch.isfinite(torch.bmm(a, b)).all()
    first, weights = products[0], [model.hidden.weight for model in models]
    assert torch.equal(first[1], torch.stack(weights))
    rows = [model.embedding.weight[x[:1]].flatten(1).expand(4, -1) for model in models]
    assert torch.equal(first[0], torch.stack(rows))
    last = products[1]
    assert torch.equal(last[1], torch.stack([model.output.weight for model in models]))


def test_a_step_of_products_runs_every_one_of_them(monkeypatch):
    products = cost.products_of(built("flat", 2), *DATA, batch_size=4)
    monkeypatch.setattr(cost, "products_of", lambda *arguments: products)
    for _, _, out in products:
        out.fill_(torch.nan)
    cost.matrix_products(None, None, None, 4)(0, 1)
    for a, b, out in products:
        assert torch.equal(out, torch.bmm(a, b))


def test_memory_is_what_is_taken_above_the_start():
    with bench.Memory(torch.device("cpu")) as memory:
        taken = torch.ones(64 * 2**20 // 4)
        for _ in range(200):
            if memory.peak() > 48:
                break
            memory.stop.wait(0.05)
    assert 48 < memory.peak() < 256 and taken.sum() > 0


HEADER = {
    "date": "2026-11-23", "commit": "abc", "machine": "here", "torch": "2", "device": "cpu", "jax": None,
    "cores": 2, "seeds": 8, "seconds": 1, "rounds": 3,
}  # fmt: skip


def report(**rates):
    rates = {"plain, 1 thread": 500, "plain, 2 threads": 400, "fast, 1 model": 2_000} | rates
    rates |= {"fast, 8 models": 8_000, "products, 1 model": 4_000, "products, 8 models": 10_000}
    results = {name: {"rate": rate, "memory": 100.0, "start": [1.0]} for name, rate in rates.items()}
    entry = {"parameters": 12_097, "compile": {"first": 15.0, "later": 1.5}, "results": results}
    return HEADER | {"models": {"mlp": entry}}


@pytest.mark.parametrize("two_threads, better", [(400, 500), (1_000, 1_000)])
def test_ratios_are_against_the_better_plain_loop(two_threads, better):
    found = results.cost_ratios(report(**{"plain, 2 threads": two_threads}), "mlp")
    assert found["plain"] == better
    assert found["one ratio"] == 2_000 / better and found["many ratio"] == 8_000 / better
    assert found["one floor"] == 0.5 and found["many floor"] == 0.8


def test_memory_that_cannot_be_read_spoils_no_report(tmp_path, monkeypatch):
    one = {"rate": 500.0, "memory": math.nan, "start": 1.0}
    monkeypatch.setattr(bench, "_together", lambda tasks, environment=None: [one for _ in tasks])
    found = bench.begun(None, HEADER, ["mlp"], with_growth=False)
    assert list(bench.bench(found, ["mlp"], False, lambda text: None)) == [None]
    write_json(tmp_path / "report.json", found)
    assert found["models"]["mlp"]["results"]["fast, 8 models"]["memory"] is None
    assert "| 8 models, memory above idle, MiB | unknown |" in results.cost_table(found)


def test_the_table_shows_the_ratios():
    text = results.cost_table(report())
    for cell in (
        "| 3 characters, flat |",
        "| 500 |",
        "| **4.0** |",
        "| **16.0** |",
        "| 80% |",
        "| 10,000 |",
        "| 12,097 |",
    ):
        assert cell in text


def test_a_stored_benchmark_is_found_or_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(results, "COSTS", tmp_path)
    (tmp_path / "cpu.json").write_text(json.dumps(report()))
    assert results.stored_costs() == report() and results.measured_on() == ["cpu"]
    with pytest.raises(ValueError, match="no stored benchmark for 'cuda'; expected one of"):
        results.stored_costs("cuda")
    (tmp_path / "cpu.json").write_text('{"models": ')
    with pytest.raises(ValueError, match="cpu.json: not JSON"):
        results.stored_costs()


def test_a_contender_runs_in_a_process_of_its_own():
    task = {"kind": "products", "threads": 1, "workers": 0, "seeds": 2, "seconds": 0.05, "device": "cpu"}
    first, second = bench._together([task | {"model": "mlp"}] * 2)
    assert first["rate"] > 0 and second["rate"] > 0
    assert set(first) == {"rate", "memory", "start"} and first["start"] > 0


def test_plain_steps_are_measured_at_any_size():
    task = {"kind": "plain", "threads": 1, "workers": 0, "seeds": 1, "seconds": 0.01, "device": "cpu"}
    threads = torch.get_num_threads()
    try:
        assert bench.measure(task | {"batch size": 4, "width": 8, "context": 16})["rate"] > 0
    finally:
        torch.set_num_threads(threads)


def test_a_failed_measurement_is_an_error(capfd):
    with pytest.raises(RuntimeError, match="a measurement ended with code"):
        bench._together([{"threads": 1, "device": "abacus"}])
    capfd.readouterr()


@pytest.mark.skipif(os.name != "posix", reason="needs SIGKILL")
def test_a_measurement_that_is_killed_ends_in_one_line_and_leaves_no_other(monkeypatch, capsys):
    started, real = [], subprocess.Popen

    def popen(command, **how):
        if "--task" not in command:
            return real(command, **how)
        code = "import os; os.kill(os.getpid(), 9)" if not started else "import time; time.sleep(60)"
        started.append(real([sys.executable, "-c", code], **how))
        return started[-1]

    monkeypatch.setattr(bench.subprocess, "Popen", popen)
    monkeypatch.setattr(
        bench.Bench, "add", lambda self, name, kind, **how: self.contenders.update({name: TWO})
    )
    assert bench.main(["--models", "mlp", "--rounds", "1", "--seconds", "0.01"]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    *progress, error = printed.err.splitlines()
    assert error == "error: a measurement ended with code -9 (SIGKILL)"
    assert len([line for line in progress if not line.startswith("JAX is not installed")]) == 1
    assert len(started) == 2 and all(process.poll() is not None for process in started)


TWO = [{"threads": 1}] * 2


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--seeds", "0"], "seeds and rounds of at least 1 .*, got 0"),
        (["--seconds", "inf"], "seconds above 0, got .*inf"),
        (["--seconds", "nan"], "seconds above 0, got .*nan"),
        (["--json", "FOLDER"], "--json: expected a file that can be written"),
        (["--json", "FILE/x"], "--json: expected a file that can be written"),
        (["--growth"], "give --json FILE as well"),
        (["--device", "abacus"], "device 'abacus' cannot be used"),
    ],
    ids=str,
)
def test_bad_arguments_measure_nothing_and_end_in_one_line(tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.setattr(bench, "bench", None)
    (tmp_path / "file").write_text("")
    places = {"FOLDER": str(tmp_path), "FILE/x": str(tmp_path / "file" / "x")}
    assert bench.main([places.get(argument, argument) for argument in arguments]) == 2
    printed = capsys.readouterr()
    assert printed.out == "" and len(printed.err.splitlines()) == 1
    assert printed.err.startswith("error: ") and re.search(message, printed.err)


@pytest.fixture
def measured(monkeypatch):
    """What is measured, in order: no process is started."""
    names = []

    def of_model(name, report, progress):
        names.append(name)
        return globals()["report"]()["models"]["mlp"] | {"title": name, "starts": {}}

    monkeypatch.setattr(bench, "of_model", of_model)
    monkeypatch.setattr(bench, "growth", lambda axis, report, progress: names.append(axis) or {})
    monkeypatch.setattr(bench, "provenance", lambda device: dict(HEADER))
    return names


def test_a_model_that_is_named_twice_is_measured_once(measured):
    assert bench.main(["--models", "mlp", "--models", "flat", "mlp"]) == 0
    assert measured == ["mlp", "flat"]


def test_a_benchmark_that_cannot_be_kept_is_printed(tmp_path, monkeypatch, capsys, measured):
    def full(path, value):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    monkeypatch.setattr(bench, "write_json", full)
    assert bench.main(["--models", "mlp", "--json", str(tmp_path / "report.json")]) == 2
    printed = capsys.readouterr()
    assert "| plain loop, steps/s | 500 |" in printed.out and "No space left" in printed.err


def test_a_benchmark_that_was_stopped_goes_on_where_it_was(tmp_path, monkeypatch, measured):
    path, of_model = tmp_path / "report.json", bench.of_model
    command = ["--models", "mlp", "gru", "--growth", "--json", str(path)]

    def stopped(name, report, progress):
        if name == "gru":
            raise KeyboardInterrupt
        return of_model(name, report, progress)

    with monkeypatch.context() as change, pytest.raises(KeyboardInterrupt):
        change.setattr(bench, "of_model", stopped)
        bench.main(command)
    assert measured == ["mlp"]
    assert bench.main(command) == 0
    assert measured == ["mlp", "gru", *bench.GROWTH]
    kept = json.loads(path.read_text())
    assert set(kept["models"]) == {"mlp"} and set(kept["families"]) == {"gru"}


@pytest.mark.parametrize("other", [{"commit": "abd"}, {"machine": "there"}, {"seconds": 2}, {"jax": "0.9"}])
def test_a_benchmark_of_another_kind_begins_anew(tmp_path, other):
    path, kept = tmp_path / "report.json", {"models": {"mlp": 1}, "families": {}, "growth": {}}
    write_json(path, HEADER | kept)
    assert bench.begun(path, HEADER | other, ["mlp", "flat"], False)["models"] == {}
    assert bench.begun(path, HEADER | {"date": "later"}, ["mlp", "flat"], False)["models"] == {"mlp": 1}


def test_code_that_is_not_committed_is_measured_anew(tmp_path):
    path, changed = tmp_path / "report.json", HEADER | {"commit": "abc+"}
    write_json(path, changed | {"models": {"mlp": 1}, "families": {}, "growth": {}})
    assert bench.begun(path, changed, ["mlp", "flat"], False)["models"] == {}


def test_the_table_of_peers_shows_who_is_ahead():
    found = report(**{"torch.nn, 1 model": 1_000, "JAX, 1 model": 2_500, "JAX, 8 models": 5_000,
                      "JAX, 8 models by vmap": 6_000})  # fmt: skip
    assert results.peer_table(found) == ""
    entry = found["models"].pop("mlp")
    found["families"] = {"gru": entry | {"title": "GRU", "starts": {"torch.nn": 0.1, "JAX": None}}}
    text = results.peer_table(found)
    for line in (
        "| plain loop, steps/s | 500 |",
        "| 1 model, fast path | **4.0** (2,000) |",
        "| 1 model, torch.compile | - |",
        "| 1 model, JAX | **5.0** (2,500) |",
        "| fast path to the best of these | 0.80 |",
        "| 8 models, JAX | **12.0** (6,000) |",
        "| fast path to the best of these | 1.33 |",
        "| first start, fast path, s | 15.0 |",
        "| first start, torch.nn, s | 0.1 |",
        "| first start, JAX, s | - |",
    ):
        assert line in text, line
    assert results.cost_table(found) == ""
    for name in [name for name in entry["results"] if name.startswith("JAX")]:
        del entry["results"][name]  # as on one core, where nobody else trains several at once
    assert "| fast path to the best of these | - |" in results.peer_table(found)
