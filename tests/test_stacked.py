"""The fast path computes what the plain loop computes, however the models are shared out."""

import os
import signal
import warnings
from pathlib import Path

import pytest
import torch
from small_runs import NAMES, built, data, largest_difference, needs_compiler

from common import __main__ as command_line
from common import experiments, stacked
from common import train as train_module
from common.models import MODELS
from common.stacked import StackedLoop, draw_batches, shares
from common.train import Config, PlainLoop, Watch, plain_steps, seeded, train


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
        losses = train(models, *data(MODELS[model].block_size), generators, configs, **how)
    assert torch.allclose(losses, expected, atol=1e-8, rtol=0)
    assert all(largest_difference(a, b) < 1e-8 for a, b in zip(models, expected_models, strict=True))


@needs_compiler
@pytest.mark.parametrize("model", MODELS)
def test_stacked_and_compiled_equals_plain(model):
    assert_equal_to_plain(model, [0, 3], [Config(steps=200)] * 2)  # includes the drop of the rate


@pytest.mark.parametrize("model", MODELS)
def test_the_uncompiled_graph_equals_plain(model):
    contexts, targets = data(MODELS[model].block_size)
    config = Config(steps=200)
    expected_models, expected = one_by_one(model, [0, 3], [config] * 2)
    models, generators = built(model, [0, 3])
    rates = lambda step: [config.lr_at(step)] * 2  # noqa: E731
    loop = StackedLoop(models, contexts, targets, generators, 32, rates, compile=False)
    assert torch.allclose(loop.steps(0, 200), expected, atol=1e-8, rtol=0)
    for m, state, other in zip(models, loop.states(), expected_models, strict=True):
        assert largest_difference(m.load(state), other) < 1e-8


OTHER_WAYS = [
    {"optimizer": "momentum", "weight_decay": 0.01},
    {"optimizer": "rmsprop", "lr": 0.001, "schedule": "linear"},
    {"optimizer": "adam", "lr": 0.003, "clip": 0.5},
    {"optimizer": "muon", "lr": 0.005},
    {"optimizer": "adamw", "lr": 0.003, "weight_decay": 0.1, "average": 0.9, "label_smoothing": 0.1},
]


@pytest.mark.parametrize("how", OTHER_WAYS, ids=lambda how: how["optimizer"])
def test_the_graph_of_every_optimiser_equals_plain(how):
    # the buggy tree, for its statistics also grow
    config, model = Config(**{"steps": 25, "warmup": 10, **how}), "hierarchical-bug"
    contexts, targets = data(MODELS[model].block_size)
    plain, generators = built(model, [0, 3])
    expected = train(plain, contexts, targets, generators, config, compile=False)
    models, generators = built(model, [0, 3])
    loop = StackedLoop(
        models, contexts, targets, generators, 32, lambda step: [config.lr_at(step)] * 2, compile=False,
        optimizer=config.optimiser(), clip=config.clip, average=config.average,
        label_smoothing=config.label_smoothing,
    )  # fmt: skip
    assert torch.allclose(loop.steps(0, 25), expected, atol=1e-8, rtol=0)
    kept = PlainLoop(plain, contexts, targets, generators, [config] * 2)
    assert [list(state) for state in loop.states()] == [list(state) for state in kept.states()]


@needs_compiler
def test_a_compiled_optimiser_equals_plain():
    config = Config(**{"steps": 25, **OTHER_WAYS[-1]})
    plain, generators = built("mlp", [0, 3])
    expected = train(plain, *data(3), generators, config, compile=False)
    models, generators = built("mlp", [0, 3])
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)  # no falling back
        losses = train(models, *data(3), generators, config)
    assert torch.allclose(losses, expected, atol=1e-8, rtol=0)
    assert all(largest_difference(a, b) < 1e-8 for a, b in zip(models, plain, strict=True))


@needs_compiler
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_the_check_passes_in_single_precision_and_sees_a_wrong_step(monkeypatch, optimizer):
    config = Config(steps=20, optimizer=optimizer, lr=0.003)
    how = {"optimizer": config.optimiser(), "compile": True}
    models, generators = seeded(lambda generator: MODELS["mlp"].build(generator=generator), [0, 3])
    arguments = (models, *data(3), generators, 32, lambda step: [0.003] * 2)
    StackedLoop(*arguments, **how)
    run = stacked._loaded
    monkeypatch.setattr(stacked, "_loaded", lambda path: lambda given: [t + 0.01 for t in run(path)(given)])
    with pytest.raises(RuntimeError, match="something else than the eager one"):
        StackedLoop(*arguments, **how)


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
    monkeypatch.setattr(stacked, "GROUP", 2)
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


@needs_compiler
def test_compiled_code_is_kept_and_found_again(tmp_path, monkeypatch):
    monkeypatch.setattr(stacked, "CACHE", tmp_path)
    run = lambda: assert_equal_to_plain("mlp", [0], [Config(steps=20)])  # noqa: E731
    run()
    (package,) = tmp_path.iterdir()
    whole = package.read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(torch._inductor, "aoti_compile_and_package", None)  # it would raise
        run()

    def compiler(program, package_path, **options):  # says what the real one said, sooner
        Path(package_path).write_bytes(whole)
        return package_path

    monkeypatch.setattr(torch._inductor, "aoti_compile_and_package", compiler)
    package.write_bytes(whole[:1_000])  # as a full disk might leave it
    run()
    assert package.read_bytes() == whole and list(tmp_path.iterdir()) == [package]


@needs_compiler
def test_code_is_kept_apart_for_another_graph_type_and_batch():
    fingerprints = set()
    for model, dtype, batch_size in (
        ("mlp", torch.float32, 32),
        ("mlp", torch.float64, 32),
        ("mlp", torch.float32, 16),
        ("flat", torch.float32, 32),
    ):
        one = MODELS[model].build(generator=torch.Generator().manual_seed(0)).to(dtype=dtype)
        step = stacked.Stacked([one], *data(MODELS[model].block_size), batch_size)
        tensors = step.stack([one.tensors()])
        fingerprints.add(stacked._fingerprint(step.graph(tensors), step.arguments(tensors)))
        again = stacked._fingerprint(step.graph(tensors), step.arguments(tensors))
        assert again in fingerprints
    assert len(fingerprints) == 4


@pytest.mark.parametrize("seeds", [1, 5])
def test_without_a_compiler_the_same_is_computed_and_it_says_so_once(monkeypatch, tmp_path, seeds):
    contexts, targets = data(3)
    _, expected = one_by_one("mlp", range(seeds), [Config(steps=20)] * seeds)

    def no_compiler(*arguments, **options):
        raise RuntimeError("no C++ compiler found")

    monkeypatch.setattr(stacked, "CACHE", tmp_path)
    monkeypatch.setattr(torch._inductor, "aoti_compile_and_package", no_compiler)
    models, generators = built("mlp", range(seeds))
    with pytest.warns(RuntimeWarning, match="uncompiled.*no C.. compiler found") as record:
        losses = train(models, contexts, targets, generators, Config(steps=20))
    assert len(record) == 1
    assert torch.allclose(losses, expected, atol=1e-10)


def over_two_processes():
    models, generators = built("mlp", [0, 1])
    return StackedLoop(models, *data(3), generators, 32, lambda step: [0.1] * 2, workers=2)


@needs_compiler
def test_a_killed_process_is_reported_and_leaves_no_other_behind():
    loop = over_two_processes()
    try:
        loop.steps(0, 10)
        first, second = (part.process for part in loop.parts)
        os.kill(first.pid, signal.SIGKILL)
        with pytest.raises(RuntimeError, match=r"a training process ended with code -9 \(SIGKILL\)$"):
            loop.steps(10, 20)
    finally:
        loop.close()
    assert first.poll() is not None and second.poll() is not None


def test_a_command_whose_process_is_killed_ends_in_one_line_and_goes_on(tmp_path, monkeypatch, capsys):
    class Dies(PlainLoop):
        """As a loop over processes, of which one is killed in the third part."""

        def steps(self, start, stop):
            if start == 20:
                raise stacked.WorkerDied(f"a training process {stacked.ending(-9)}")
            return super().steps(start, stop)

    def loop(models, contexts, targets, generators, configs, *how):
        return Dies(models, contexts, targets, generators, configs)

    monkeypatch.setattr(train_module, "CHUNK", 10)
    monkeypatch.setattr(experiments, "train", lambda *a, **how: train(*a, **how | {"every": 10}))
    (tmp_path / "short.txt").write_text("\n".join(NAMES[:300]) + "\n", encoding="utf-8")
    arguments = ["train", "--model", "mlp", "--steps", "40", "--device", "cpu", "--no-test", "--no-compile"]
    arguments += ["--out", str(tmp_path / "run"), "--names", str(tmp_path / "short.txt")]
    with monkeypatch.context() as patch:
        patch.setattr(train_module, "make_loop", loop)
        assert command_line.main(arguments) == 2
    told = capsys.readouterr().err.splitlines()[-1]  # above it the bar
    assert told == "error: a training process ended with code -9 (SIGKILL)"
    assert torch.load(tmp_path / "run" / "checkpoint.pt", weights_only=True)["done"] == 20
    assert command_line.main(arguments) == 0
    assert (tmp_path / "run" / "results.json").exists()


@needs_compiler
def test_an_error_in_a_process_comes_back_as_one_here():
    loop = over_two_processes()
    try:
        with pytest.raises(RuntimeError, match="a training process failed: AttributeError"):
            loop.parts[0].ask("no_such_thing")
            loop.parts[0].answer()
    finally:
        loop.close()


@needs_compiler
def test_a_run_over_two_processes_resumes_in_one(tmp_path):
    contexts, targets = data(3)
    path = tmp_path / "checkpoint.pt"
    expected_models, expected = one_by_one("mlp", [0, 1], [Config(steps=40)] * 2)

    def stop(step, values):
        raise KeyboardInterrupt

    watch = Watch(20, lambda models: [0.0] * len(models), stop)
    models, generators = built("mlp", [0, 1])
    with pytest.raises(KeyboardInterrupt):
        train(
            models, contexts, targets, generators, Config(steps=40), workers=2, checkpoint=path, every=20,
            watch=watch,
        )  # fmt: skip
    saved = torch.load(path, weights_only=True)
    assert saved["done"] == 20 and torch.allclose(saved["losses"], expected[:, :20], atol=1e-8, rtol=0)
    models, generators = built("mlp", [0, 1])
    losses = train(models, contexts, targets, generators, Config(steps=40), workers=0, checkpoint=path)
    assert torch.equal(losses[:, :20], saved["losses"])
    assert torch.allclose(losses, expected, atol=1e-8, rtol=0)
    assert all(largest_difference(a, b) < 1e-8 for a, b in zip(models, expected_models, strict=True))
