"""The compiled path computes what the readable loop computes, however the models are shared out."""

import contextlib
import os
import signal
import subprocess
import sys
import time
import warnings

import psutil
import pytest
import torch
from small_runs import NAMES, built, data, largest_difference, needs_compiler

from common.fast import PlainLoop, StackedLoop, WorkerDied, draw_batches, loop, make_loop
from common.fast.loop import ending, shares
from common.models import MODELS, tagged
from common.nn import Embedding, Flatten, Linear, Sequential
from common.runs import EvaluationCallback, command, run, train, training
from common.train import Config, plain_steps, seeded


def one_by_one(model, seeds, configs):
    """What the plain loop makes of each seed: models, losses (S, steps)."""
    contexts, targets = data(MODELS[model].block_size)
    models, generators = built(model, seeds)
    losses = [
        plain_steps(m, contexts, targets, g, config, 0, config.steps)
        for m, g, config in zip(models, generators, configs, strict=True)
    ]
    return models, torch.stack(losses)


def assert_equal_to_plain(model, seeds, configs, **how):
    expected_models, expected = one_by_one(model, seeds, configs)
    models, generators = built(model, seeds)
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)  # no falling back
        losses = train(models, data(MODELS[model].block_size), generators, configs, **how)
    assert torch.allclose(losses, expected, atol=1e-8, rtol=0)
    assert all(largest_difference(a, b) < 1e-8 for a, b in zip(models, expected_models, strict=True))


@needs_compiler
@pytest.mark.parametrize("model", tagged("lecture"))
def test_stacked_and_compiled_equals_plain(model):
    assert_equal_to_plain(model, [0, 3], [Config(steps=200)] * 2)  # includes the drop of the rate


@needs_compiler
def test_a_compiled_optimiser_equals_plain():
    config = Config(
        steps=25, optimizer="adamw", lr=0.003, weight_decay=0.1, ema_decay=0.9, label_smoothing=0.1
    )
    plain, generators = built("mlp", [0, 3])
    expected = train(plain, data(3), generators, config, compile=False)
    models, generators = built("mlp", [0, 3])
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)  # no falling back
        losses = train(models, data(3), generators, config)
    assert torch.allclose(losses, expected, atol=1e-8, rtol=0)
    assert all(largest_difference(a, b) < 1e-8 for a, b in zip(models, plain, strict=True))


@needs_compiler
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_the_check_passes_in_single_precision_and_sees_a_wrong_step(monkeypatch, optimizer):
    config = Config(steps=20, optimizer=optimizer, lr=0.003)
    models, generators = seeded(lambda generator: MODELS["mlp"].build(generator=generator), [0, 3])
    arguments = (models, data(3), generators, [config] * 2)
    StackedLoop(*arguments)
    right = loop.loaded
    monkeypatch.setattr(loop, "loaded", lambda path: lambda given: [t + 0.01 for t in right(path)(given)])
    with pytest.raises(RuntimeError, match="something else than the eager one"):
        StackedLoop(*arguments)


@needs_compiler
def test_models_shared_over_two_processes_equal_separate_ones():
    # three models: a process with two, and one with one
    assert_equal_to_plain("mlp", range(3), [Config(steps=200)] * 3, workers=2)


@needs_compiler
def test_models_may_differ_in_their_learning_rates():
    configs = [Config(steps=200, lr=0.1), Config(steps=200, lr=0.02, drop_at=0.3, drop_factor=0.5)]
    assert_equal_to_plain("mlp", [0, 0], configs)


@needs_compiler
def test_groups_within_a_process_equal_separate_models(monkeypatch):
    monkeypatch.setattr(loop, "GROUP", 2)
    assert_equal_to_plain("mlp", range(4), [Config(steps=200)] * 4)


def test_chunked_draws_equal_separate_draws():
    a, b = torch.Generator().manual_seed(5), torch.Generator().manual_seed(5)
    together = draw_batches(182_625, 40, 32, a)
    assert torch.equal(
        together, torch.stack([torch.randint(0, 182_625, (32,), generator=b) for _ in range(40)])
    )


@pytest.mark.parametrize(
    "count, parts, expected", [(8, 2, [4, 4]), (8, 3, [3, 3, 2]), (2, 4, [1, 1]), (1, 1, [1]), (5, 2, [3, 2])]
)
def test_shares(count, parts, expected):
    assert shares(count, parts) == expected


@pytest.mark.parametrize("seeds", [1, 5])
def test_without_a_compiler_the_same_is_computed_and_it_says_so_once(monkeypatch, tmp_path, seeds):
    _, expected = one_by_one("mlp", range(seeds), [Config(steps=20)] * seeds)

    def no_compiler(*arguments, **options):
        raise RuntimeError("no C++ compiler found")

    monkeypatch.setenv("COMMON_CACHE", str(tmp_path))
    monkeypatch.setattr(torch._inductor, "aoti_compile_and_package", no_compiler)
    models, generators = built("mlp", range(seeds))
    with pytest.warns(RuntimeWarning, match="uncompiled.*no C.. compiler found") as record:
        losses = train(models, data(3), generators, Config(steps=20))
    assert len(record) == 1
    assert torch.allclose(losses, expected, atol=1e-10)


# ---- processes -------------------------------------------------------------------


def workers_of(process):
    """The pool's processes among its children; others keep count of locks and shared memory."""
    found = []
    for child in process.children(recursive=True):
        with contextlib.suppress(psutil.Error):
            found += [child] if "popen_loky" in " ".join(child.cmdline()) else []
    return found


def over_two_processes():
    models, generators = built("mlp", [0, 1])
    made = StackedLoop(models, data(3), generators, [Config()] * 2, workers=2)
    return made, [process.pid for process in workers_of(psutil.Process())]


def all_end(processes, seconds=20):
    """Whether they all end soon: a process that was killed stays in the list until its parent has asked."""
    until = time.monotonic() + seconds
    while any(psutil.pid_exists(process) for process in processes):
        if time.monotonic() > until:
            return False
        time.sleep(0.05)
    return True


@needs_compiler
@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_process_is_reported_and_leaves_no_other_behind(sent):
    made, processes = over_two_processes()
    try:
        made.steps(0, 10)
        assert len(processes) == 2
        os.kill(processes[0], sent)
        message = rf"a training process ended with code -{sent.value} \({sent.name}\)$"
        with pytest.raises(RuntimeError, match=message) as caught:
            for start in range(10, 10_000, 10):  # the other process may have done the first of them alone
                made.steps(start, start + 10)
        assert caught.type is WorkerDied
    finally:
        made.close()
    assert all_end(processes)
    assert not os.path.exists(made.pool.folder.name)


@needs_compiler
def test_an_error_in_a_process_comes_back_as_one_here():
    made, processes = over_two_processes()
    try:
        future = made.pool.submit("no such package", [], [], torch.zeros(1))
        with pytest.raises(WorkerDied, match="a training process failed: RuntimeError"):
            made.pool.answer(future)
    finally:
        made.close()
    assert all_end(processes)


@needs_compiler
def test_a_process_has_one_thread_for_torch():
    made, _ = over_two_processes()
    try:
        assert made.pool.answer(made.pool.executor.submit(torch.get_num_threads)) == 1
    finally:
        made.close()


SCRIPT = """
import sys

from small_runs import built, data

from common.fast import StackedLoop
from common.train import Config

models, generators = built("mlp", [0, 1])
loop = StackedLoop(models, data(3), generators, [Config(steps=10**9)] * 2, workers=2)
loop.steps(0, 10)
print(loop.pool.folder.name, flush=True)
try:
    while len(sys.argv) > 1:
        loop.steps(0, 1_000)
finally:
    loop.close()
print("done")
"""


def started(tmp_path, *arguments):
    """A script without a main guard, that trains over two processes; it, its processes, their folder."""
    (tmp_path / "script.py").write_text(SCRIPT)
    path = os.pathsep.join([os.path.dirname(__file__), *filter(None, [os.environ.get("PYTHONPATH")])])
    script = subprocess.Popen(
        [sys.executable, "script.py", *arguments], cwd=tmp_path, env=os.environ | {"PYTHONPATH": path},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    folder = script.stdout.readline().strip()
    assert folder, script.communicate()
    try:
        return script, workers_of(psutil.Process(script.pid)), folder
    except psutil.NoSuchProcess:
        return script, [], folder


@needs_compiler
def test_a_script_needs_no_main_guard(tmp_path):
    script, _, folder = started(tmp_path)
    output, errors = script.communicate(timeout=120)
    assert (output, script.returncode) == ("done\n", 0), errors
    assert not os.path.exists(folder)


@needs_compiler
@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGKILL])
def test_processes_end_with_their_parent_whatever_ends_it(tmp_path, sent):
    script, processes, folder = started(tmp_path, "for ever")
    assert len(processes) == 2
    if sent == signal.SIGINT:  # as control-C does, to all of them
        for process in processes:
            process.send_signal(sent)
    time.sleep(0.5)
    script.send_signal(sent)
    _, errors = script.communicate(timeout=60)
    assert script.returncode in ((-sent,) if sent == signal.SIGKILL else (-sent, 1)), errors
    _, alive = psutil.wait_procs(processes, timeout=60)
    assert not alive and not os.path.exists(folder)
    if sent == signal.SIGINT:
        assert errors.count("Traceback") == 1 and errors.rstrip().endswith("KeyboardInterrupt")


def test_a_command_whose_process_is_killed_ends_in_one_line_and_goes_on(tmp_path, monkeypatch, capsys):
    class Dies(PlainLoop):
        """As a loop over processes, of which one is killed in the third part."""

        def steps(self, start, stop):
            if start == 20:
                raise WorkerDied(f"a training process {ending(-9)}")
            return super().steps(start, stop)

    monkeypatch.setattr(training, "CHUNK", 10)
    # the module, whose name the function hides in its package
    folder = sys.modules[run.__module__]
    monkeypatch.setattr(folder, "train", lambda *a, **how: train(*a, **how | {"checkpoint_every": 10}))
    (tmp_path / "short.txt").write_text("\n".join(NAMES[:300]) + "\n", encoding="utf-8")
    arguments = ["train", "--model", "mlp", "--steps", "40", "--device", "cpu", "--no-test", "--no-compile"]
    arguments += ["--out", str(tmp_path / "run"), "--data", str(tmp_path / "short.txt")]
    with monkeypatch.context() as patch:
        patch.setattr(training, "make_loop", lambda models, *how: Dies(models, *how[:3]))
        assert command.main(arguments) == 2
    told = capsys.readouterr().err.splitlines()[-1]  # above it the bar
    assert told == "error: a training process ended with code -9 (SIGKILL)"
    assert torch.load(tmp_path / "run" / "checkpoint.pt", weights_only=True)["done"] == 20
    assert command.main(arguments) == 0
    assert (tmp_path / "run" / "results.json").exists()


@needs_compiler
def test_a_run_over_two_processes_resumes_in_one(tmp_path):
    path = tmp_path / "checkpoint.pt"
    expected_models, expected = one_by_one("mlp", [0, 1], [Config(steps=40)] * 2)

    def stop(step, values):
        raise KeyboardInterrupt

    evaluation = EvaluationCallback(20, lambda models: [0.0] * len(models), stop)
    models, generators = built("mlp", [0, 1])
    with pytest.raises(KeyboardInterrupt):
        train(
            models, data(3), generators, Config(steps=40), workers=2, checkpoint=path, checkpoint_every=20,
            evaluation=evaluation,
        )  # fmt: skip
    saved = torch.load(path, weights_only=True)
    assert saved["done"] == 20 and torch.allclose(saved["losses"], expected[:, :20], atol=1e-8, rtol=0)
    models, generators = built("mlp", [0, 1])
    evaluation = EvaluationCallback(20, lambda models: [0.0] * len(models))
    losses = train(
        models, data(3), generators, Config(steps=40), workers=0, checkpoint=path, evaluation=evaluation
    )
    assert torch.equal(losses[:, :20], saved["losses"])
    assert torch.allclose(losses, expected, atol=1e-8, rtol=0)
    assert all(largest_difference(a, b) < 1e-8 for a, b in zip(models, expected_models, strict=True))


def test_a_layer_that_counts_in_python_is_trained_uncompiled():
    """A graph would hold the count of its first step for ever, and nobody would hear of it."""

    class Warming(Linear):
        calls = 0

        def __init__(self, *sizes, generator):
            super().__init__(*sizes, generator=generator)
            self.calls = 0

        def __call__(self, x):
            self.calls += 1
            return super().__call__(x) * min(1.0, self.calls / 10)

    def build(generator):
        parts = [Embedding(27, 4, generator=generator), Flatten(), Warming(12, 27, generator=generator)]
        return Sequential(parts)

    examples, config = data(3), Config(steps=12)
    (plain,), (g,) = seeded(build, [0])
    expected = plain_steps(plain, *examples, g, config, 0, 12)
    models, generators = seeded(build, [0])
    said = "uncompiled, .* steps that change tensors alone, got a change of 2.calls"
    with pytest.warns(RuntimeWarning, match=said):
        trained = make_loop(models, examples, generators, [config])
    assert torch.equal(trained.steps(0, 12)[0], expected)
