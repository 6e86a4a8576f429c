"""A sweep searches what it was told to, and loses nothing that was finished, whatever is killed or full."""

import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import pytest
from optuna.trial import TrialState

import common
from common.data import load_names
from common.runs import Run
from common.runs import command as command_line
from common.runs import sweep as sweep_module
from common.runs.space import Range, decoded, read_space
from common.runs.sweep import Sweep, alone, best, importance, load, opened, search, summary
from common.train import Config

NAMES = load_names()[:300]
SOURCE = Path(common.__file__).parents[1]
SPACE = {"lr": {"low": 0.001, "high": 1.0, "log": True}, "model.n_hidden": {"choices": [8, 16]}}
MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # a disk takes its time over SQLite's commits
quiet = lambda text: None  # noqa: E731


@pytest.fixture
def tmp_path():
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        yield Path(folder)


@pytest.fixture(scope="module")
def names(tmp_path_factory):
    path = tmp_path_factory.mktemp("list") / "short.txt"
    path.write_text("\n".join(NAMES) + "\n", encoding="utf-8")
    return path


def small(names, trials=4, steps=40, space=SPACE, **more):
    return Sweep(Run("mlp", Config(steps=steps), data=names), space, trials, **more)


@pytest.fixture(scope="module")
def finished(names):
    """A sweep of eight trials in one process. Read only."""
    with tempfile.TemporaryDirectory(dir=MEMORY) as place:
        folder = Path(place) / "finished"
        yield folder, search(small(names, 8), folder, say=quiet)


# what is searched


def test_a_space_is_read_by_the_types_of_its_fields(names):
    space = {
        "lr": {"low": 1, "high": 2},
        "batch_size": {"low": 8, "high": 32, "step": 8},
        "betas": {"choices": [[0.9, 0.99], [0.8, 0.9]]},
        "optimizer": {"choices": ["sgd", "adam"]},
        "model.n_embd": {"low": 2, "high": 20, "log": True},
    }
    read = read_space(space, small(names).run)
    assert not read["lr"].whole and read["batch_size"].whole and read["model.n_embd"].whole
    assert read["betas"].labels() == ["[0.9, 0.99]", "[0.8, 0.9]"]
    assert decoded({"betas": "[0.9, 0.99]", "optimizer": "sgd"}) == {
        "betas": [0.9, 0.99],
        "optimizer": "sgd",
    }


@pytest.mark.parametrize(
    "space, message",
    [
        ({}, "expected a space such as"),
        ({"depth": {"low": 1, "high": 2}}, "expected names among .*, got 'depth'"),
        (
            {"model.depth": {"low": 1, "high": 2}},
            "decay, model.n_embd, model.n_hidden, got 'model.depth'$",
        ),
        ({"model.vocab_size": {"low": 1, "high": 2}}, "model.n_hidden, got 'model.vocab_size'$"),
        ({"lr": 0.1}, "lr: expected"),
        ({"lr": {"low": 0.1}}, "lr: expected"),
        ({"lr": {"choices": []}}, "lr: expected"),
        ({"lr": {"low": 0.1, "high": 1, "base": 10}}, "lr: expected"),
        ({"lr": {"low": 1, "high": 0.1}}, "low < high"),
        ({"lr": {"low": 0, "high": 0.1, "log": True}}, "low above 0"),
        ({"lr": {"low": -1.0, "high": 0.1}}, "lr = -1.0: expected"),
        ({"batch_size": {"low": 1.5, "high": 4}}, "whole numbers"),
        ({"optimizer": {"choices": ["sgd", "magic"]}}, "optimizer = magic: expected optimizer"),
        ({"model.n_hidden": {"choices": ["many"]}}, "model.n_hidden = many"),
        ([{"lr": {"low": 0.1, "high": 1}}], r"expected a space such as .*, got \[\{"),
        ({"lr": {"choices": 5}}, "lr: expected a list of choices, got 5"),
        ({"lr": {"choices": {"a": 1}}}, "lr: expected a list of choices"),
        ({"lr": {"choices": "0.1"}}, "lr: expected a list of choices"),
        ({"lr": {"choices": [0.1, "0.2"]}}, "lr = 0.2: expected lr to be a number"),
        ({"lr": {"choices": [0.1, float("nan")]}}, "lr = nan: expected lr to be a number above 0"),
        ({"lr": {"choices": [0.1, None]}}, "lr = None: expected lr to be a number"),
        ({"lr": {"choices": [0.1, {"low": 1}]}}, "lr = .*: expected lr to be a number"),
        ({"lr": {"choices": [[0.1]]}}, r"lr = \[0.1\]: expected lr to be a number"),
        ({"lr": {"choices": [0.1, 0.3, 0.1]}}, "lr: expected choices that differ"),
        (
            {"batch_size": {"choices": [8, True]}},
            "batch_size = True: expected batch_size to be a whole",
        ),
        (
            {"batch_size": {"choices": [8, 16.5]}},
            "batch_size = 16.5: expected batch_size to be a whole",
        ),
        ({"betas": {"choices": [0.9, 0.99]}}, "betas = 0.9: expected betas to be two numbers"),
        ({"betas": {"choices": [["0.9", 0.99]]}}, "betas = .*: expected betas to be two numbers"),
        ({"lr": {"low": 0.1, "high": float("inf")}}, "lr: expected numbers"),
        ({"lr": {"low": 0.1, "high": 10**400}}, "lr: expected numbers"),
        ({"lr": {"low": "0.1", "high": 1}}, "lr: expected numbers"),
        ({"lr": {"low": False, "high": 1}}, "lr: expected numbers"),
        ({"lr": {"low": 0.1, "high": 0.1}}, "lr: expected low < high"),
        ({"lr": {"low": 0.1, "high": 1, "log": "yes"}}, "lr: expected log to be true or false, got 'yes'"),
        ({"lr": {"low": 0.1, "high": 1, "step": 0}}, "lr: expected a step above 0"),
        ({"lr": {"low": 0.1, "high": 1, "step": -0.1}}, "lr: expected a step above 0"),
        ({"lr": {"low": 0.1, "high": 1, "step": 2}}, "lr: expected a step above 0"),
        ({"lr": {"low": 0.1, "high": 1, "step": True}}, "lr: expected numbers"),
        (
            {"batch_size": {"low": 8, "high": 30, "step": 8}},
            "expected a step above 0 that leads from 8 to 30",
        ),
        ({"optimizer": {"low": 0, "high": 1}}, 'optimizer: has no range; expected {"choices"'),
        ({"betas": {"low": 0.8, "high": 0.9}}, 'betas: has no range; expected {"choices"'),
        ({"momentum": {"low": 0.5, "high": 1.5}}, "momentum = 1.5: expected"),
        ({"lr": {"low": -4, "high": 1}}, "lr = -4: expected"),
        ({"batch_size": {"low": 0, "high": 4}}, "batch_size = 0: expected"),
    ],
    ids=str,
)
def test_a_bad_space_is_refused(names, space, message):
    with pytest.raises(ValueError, match=message):
        small(names, space=space)


@pytest.mark.parametrize(
    "space, message",
    [
        ({"model.gate": {"low": 0, "high": 1}}, 'model.gate: has no range; expected {"choices"'),
        ({"model.gate": {"choices": ["no", True]}}, "model.gate: expected true or false, got .*no"),
        ({"model.gate": {"choices": [0, 1]}}, "model.gate: expected true or false, got .*0"),
        (
            {"model.dilations": {"choices": [2]}},
            "dilations = 2: expected dilations to be a list of whole",
        ),
        ({"model.dilations": {"choices": [[1, 2.5]]}}, "dilations to be a list of whole numbers"),
        ({"model.dilations": {"choices": [[1, 2], []]}}, r"model.dilations = \[\]: expected at least one"),
    ],
    ids=str,
)
def test_a_size_of_a_network_is_held_to_its_type(names, space, message):
    with pytest.raises(ValueError, match=message):
        read_space(space, Run("wavenet", data=names))


def test_a_value_that_goes_with_some_others_of_the_space_is_no_mistake(names):
    space = {"model.heads": {"choices": [4, 5]}, "model.n_channels": {"choices": [40, 48]}}
    base = Run("transformer", data=names)
    assert read_space(space, base)["model.heads"].values == (4, 5)  # 48 channels are not shared by 5
    with pytest.raises(ValueError, match="model.heads = 7"):
        read_space(space | {"model.heads": {"choices": [4, 7]}}, base)


@pytest.mark.parametrize(
    "more, message",
    [
        ({"seed": -1}, "expected a seed of the search from 0 to 4294967295, got -1"),
        ({"seed": 2**32}, "expected a seed of the search from 0"),
        ({"evaluate_every": -5}, "steps between two looks at the validation loss, got "),
        ({"evaluate_every": 41}, "expected 1 to 40 steps between two looks at the validation loss, got 41"),
    ],
    ids=str,
)
def test_what_a_sweep_cannot_do_is_refused_before_it_begins(names, more, message):
    with pytest.raises(ValueError, match=message):
        small(names, **more)


def test_every_seed_of_a_search_draws_something_of_its_own(names):
    drawn = []
    for seed in (0, 4_295, 2**32 - 1):
        sampler = sweep_module._sampler(small(names, seed=seed), 3)
        study = sweep_module.optuna.create_study(sampler=sampler)
        drawn.append(study.ask({"x": Range(0.0, 1.0).distribution()}).params["x"])
    assert len(set(drawn)) == 3


def test_a_scheduler_fits_its_engine(names):
    with pytest.raises(ValueError, match="with the engine 'optuna', got the scheduler 'pbt'"):
        small(names, scheduler="pbt")
    with pytest.raises(ValueError, match="at least 1 trial"):
        small(names, trials=0)


# one process


def test_every_finished_trial_is_in_the_file(names, finished):
    folder, found = finished
    report = load(folder)
    assert report["trials"] == found and [record["number"] for record in found] == list(range(8))
    assert report["sweep"]["space"] == SPACE and report["sweep"]["run"]["data"] == "short.txt"
    assert str(names) not in (folder / "trials.json").read_text(encoding="utf-8")
    for record in found:
        assert set(record["params"]) == set(SPACE) and record["provenance"]["commit"]
        assert record["state"] in ("complete", "pruned")
        if record["state"] == "complete":
            own = json.loads((folder / f"trial-{record['number']:04}" / "results.json").read_text())
            assert record["value"] == own["mean"]["val"] == record["curve"][-1][1]
            assert own["training"]["lr"] == record["params"]["lr"]
            assert own["sizes"]["n_hidden"] == record["params"]["model.n_hidden"]
            assert [step for step, _ in record["curve"]] == list(range(4, 41, 4))
            assert "test" not in own["mean"] and "test" not in own["runs"][0]
    assert not list(folder.glob("trial-*/checkpoint.pt"))
    top = best(found)
    assert top["value"] == min(r["value"] for r in found if r["value"] is not None)
    assert f"the best is trial {top['number']} with {top['value']:.4f}" in summary(found)


def test_a_sweep_that_stops_goes_on_as_if_it_had_not(names, finished, tmp_path):
    first = search(small(names, 3), tmp_path, say=quiet)
    assert len(first) == 3
    whole = search(small(names, 8), tmp_path, say=quiet)
    assert whole[:3] == first
    keys = ("number", "params", "value", "curve", "state")
    assert [[r[k] for k in keys] for r in whole] == [[r[k] for k in keys] for r in finished[1]]
    written = (tmp_path / "study.db").stat().st_mtime_ns
    assert search(small(names, 8), tmp_path, say=quiet) == whole
    assert (tmp_path / "study.db").stat().st_mtime_ns == written


def test_a_sweep_of_before_goes_on(names, finished, tmp_path):
    """What is `evaluate_every` was called `every` in its files."""
    folder, trials = tmp_path / "sweep", finished[1]
    shutil.copytree(finished[0], folder)
    for path, name in ((folder / "sweep.json", None), (folder / "trials.json", "sweep")):
        whole = json.loads(path.read_text(encoding="utf-8"))
        said = whole if name is None else whole[name]
        said["every"] = said.pop("evaluate_every")
        path.write_text(json.dumps(whole), encoding="utf-8")
    assert Sweep.from_json(json.loads((folder / "sweep.json").read_text())) == small(names, 8)
    assert search(small(names, 9), folder, say=quiet)[:8] == trials
    assert "every" not in load(folder)["sweep"]
    with pytest.raises(ValueError, match="differs in evaluate_every; "):
        search(small(names, 9, evaluate_every=5), folder, say=quiet)


def test_another_sweep_into_the_same_folder_is_refused(names, finished):
    folder, found = finished
    with pytest.raises(
        ValueError, match="holds another sweep, which differs in evaluate_every, run; choose another --out"
    ):
        search(small(names, 8, steps=50), folder, say=quiet)
    assert load(folder)["trials"] == found


def test_a_list_that_changed_is_another_sweep(names, finished, tmp_path):
    path = tmp_path / "list.txt"
    path.write_bytes(names.read_bytes())
    search(small(path, 1, steps=4), tmp_path / "sweep", say=quiet)
    path.write_bytes(names.read_bytes() + b"zoe\n")
    with pytest.raises(ValueError, match="differs in list"):
        search(small(path, 2, steps=4), tmp_path / "sweep", say=quiet)


@pytest.mark.parametrize("scheduler", ["median", "asha"])
def test_hopeless_trials_are_stopped_early(names, tmp_path, scheduler):
    space = {"lr": {"choices": [1e-6, 1e-5, 0.3]}}
    wanted = small(names, 12, 60, space, evaluate_every=6, scheduler=scheduler, sampler="random")
    found = search(wanted, tmp_path, say=quiet)
    pruned = [record for record in found if record["state"] == "pruned"]
    assert pruned and all(record["params"]["lr"] < 0.3 for record in pruned)
    assert all(record["value"] is None and len(record["curve"]) < 10 for record in pruned)
    assert best(found)["params"]["lr"] == 0.3


def test_a_trial_that_diverges_counts_as_pruned(names, tmp_path):
    said = []
    space = {"lr": {"choices": [1e30, 0.1]}}
    found = search(small(names, 6, 20, space, scheduler="none", sampler="random"), tmp_path, say=said.append)
    assert {(r["params"]["lr"], r["state"]) for r in found} == {(1e30, "pruned"), (0.1, "complete")}
    assert json.loads((tmp_path / "trials.json").read_text())["trials"] == found  # and no NaN in it
    assert any("pruned at step 2" in text for text in said)


def test_a_mistake_ends_the_sweep_with_its_message(names, tmp_path, monkeypatch):
    def fails(*arguments, **options):
        raise ValueError("no such thing")

    with monkeypatch.context() as patch, pytest.raises(ValueError, match="no such thing"):
        patch.setattr(sweep_module, "run", fails)
        search(small(names, 2, 4), tmp_path, say=quiet)
    assert load(tmp_path)["trials"] == []
    assert len(search(small(names, 2, 4), tmp_path, say=quiet)) == 2


def test_a_trial_that_is_ended_again_and_again_is_given_up(names, tmp_path, monkeypatch):
    def interrupt(*arguments, **options):
        raise KeyboardInterrupt

    said = []
    with monkeypatch.context() as patch:
        patch.setattr(sweep_module, "run", interrupt)
        for _ in range(sweep_module.ATTEMPTS):
            with pytest.raises(KeyboardInterrupt):
                search(small(names, 1, 4), tmp_path, say=said.append)
    found = search(small(names, 2, 4), tmp_path, say=said.append)
    assert [text for text in said if "run again" in text] == [
        "trial 0: its process is gone; it is run again from its last checkpoint"
    ] * (sweep_module.ATTEMPTS - 1)
    assert "trial 0: its process was ended 3 times; given up" in said
    assert len(found) == 1 and found[0]["number"] > 0
    (failed,) = load(tmp_path)["failed"]
    assert failed["number"] == 0 and failed["reason"] == "its process was ended 3 times"


def test_a_trial_is_taken_from_no_process_that_lives(names, tmp_path):
    sweep = small(names, 2, 4)
    with opened(tmp_path) as study:
        trial, held = sweep_module._next(study, sweep, tmp_path)
        with held:  # whatever its process does meanwhile, and however long it sleeps
            assert sweep_module.requeue(study, tmp_path, say=quiet) == 0
        assert sweep_module.requeue(study, tmp_path, say=quiet) == 1
        again, held = sweep_module._next(study, sweep, tmp_path)
        assert again.params == trial.params and again.number > trial.number
        held.lock.release()


def test_a_trial_that_is_killed_but_gets_on_is_not_given_up(names, tmp_path, monkeypatch):
    """Every start is ended after one more look: five looks, five starts."""
    real, said = sweep_module.run, []

    def interrupted(*arguments, report, **options):
        def once(step, value):
            report(step, value)
            if step not in told:
                told.append(step)
                raise KeyboardInterrupt

        return real(*arguments, report=once, **options)

    told = []
    with monkeypatch.context() as patch:
        patch.setattr(sweep_module, "run", interrupted)
        for _ in range(5):
            with pytest.raises(KeyboardInterrupt):
                search(small(names, 1, 20, evaluate_every=4), tmp_path, say=said.append)
    (record,) = search(small(names, 1, 20, evaluate_every=4), tmp_path, say=said.append)
    assert told == list(range(4, 21, 4)) and not any("given up" in text for text in said)
    assert record["number"] == 0 and record["attempt"] == 6


IMPOSSIBLE = {"batch_size": {"choices": [1, 32]}}  # BatchNorm refuses a batch of one


@pytest.mark.parametrize("processes", [1, 2])
def test_an_impossible_trial_is_recorded_as_failed_and_the_sweep_goes_on(names, tmp_path, processes, capsys):
    arguments = command_of(tmp_path, names, tmp_path / "sweep")
    Path(arguments[arguments.index("--space") + 1]).write_text(json.dumps(IMPOSSIBLE), encoding="utf-8")
    arguments += ["--trials", "6", "--sampler", "random", "--steps", "8", "--processes", str(processes)]
    assert command_line.main(arguments) == 0
    printed = capsys.readouterr()
    report = load(tmp_path / "sweep")
    failed, found = report["failed"], report["trials"]
    assert failed and found and len(failed) + len(found) == 6
    assert {record["params"]["batch_size"] for record in failed} == {1}
    assert {record["params"]["batch_size"] for record in found} == {32}
    assert all(record["state"] == "failed" and "more than 1 value" in record["reason"] for record in failed)
    assert {record["number"] for record in failed + found} == set(range(6))
    assert f"trial {failed[0]['number']:3}  failed: batch_size 1 cannot be trained: expected" in printed.out
    assert f"{len(found)} trials finished, 0 of them pruned; {len(failed)} failed" in printed.out
    assert best(found)["params"] == {"batch_size": 32}
    again = (tmp_path / "sweep" / "study.db").stat().st_mtime_ns
    assert command_line.main(arguments) == 0 and load(tmp_path / "sweep") == report
    assert (tmp_path / "sweep" / "study.db").stat().st_mtime_ns == again


def test_a_transformer_too_short_for_the_longest_name_is_a_failed_trial(names, tmp_path):
    space = {"model.length": {"choices": [max(map(len, NAMES)), 20]}}
    base = Run("transformer", Config(steps=2), {"n_channels": 4, "heads": 1, "blocks": 1}, data=names)
    found = search(Sweep(base, space, 5, sampler="random"), tmp_path, say=quiet)
    failed = load(tmp_path)["failed"]
    assert found and failed and len(found) + len(failed) == 5
    assert {record["params"]["model.length"] for record in found} == {20}
    assert all("this transformer takes at most" in record["reason"] for record in failed)


def test_a_sweep_in_which_every_trial_fails_ends_with_an_error(names, tmp_path):
    wanted = small(names, 3, 8, {"batch_size": {"choices": [1]}})
    for _ in range(2):
        with pytest.raises(ValueError, match="all 3 trials failed; the last one: .*more than 1 value"):
            search(wanted, tmp_path, say=quiet)
    report = load(tmp_path)
    assert report["trials"] == [] and len(report["failed"]) == 3


def test_a_trial_without_the_memory_it_needs_is_recorded_as_failed(names, tmp_path, monkeypatch):
    real = sweep_module.run

    def run(what, *arguments, **options):
        if dict(what.sizes)["n_hidden"] == 16:
            raise RuntimeError("out of memory\nand a long story")
        return real(what, *arguments, **options)

    monkeypatch.setattr(sweep_module, "run", run)
    space = {"model.n_hidden": {"choices": [8, 16]}}
    found = search(small(names, 6, 8, space, sampler="random"), tmp_path, say=quiet)
    failed = load(tmp_path)["failed"]
    assert len(found) + len(failed) == 6 and {record["reason"] for record in failed} == {"out of memory"}
    assert {record["params"]["model.n_hidden"] for record in failed} == {16}


def test_processes_that_die_before_they_begin_end_the_sweep(names, tmp_path, monkeypatch):
    monkeypatch.setattr(sweep_module, "START", "import sys; sys.exit(3)")
    with pytest.raises(ValueError, match="ended with code 3 before .* a trial"):
        search(small(names, 4, 8), tmp_path, processes=2, say=quiet)


def test_no_more_processes_are_started_than_trials_are_left(names, tmp_path, monkeypatch):
    started = []
    monkeypatch.setattr(
        sweep_module, "_supervise", lambda study, folder, processes, say: started.append(processes)
    )
    search(small(names, 3, 8), tmp_path, processes=1_000, say=quiet)
    assert started == [3]


# two folders, and what lies in them


@pytest.mark.parametrize(
    "first, second",
    [("a?1", "a?2"), ("100%41", "100A"), ("{0} 'é' [b]#", "plain")],
    ids=str,
)
def test_a_study_stays_in_its_own_folder(names, tmp_path, first, second):
    one = search(small(names, 1, 4, seed=1), tmp_path / first, say=quiet)
    two = search(small(names, 2, 4, seed=2), tmp_path / second, say=quiet)
    assert (len(one), len(two)) == (1, 2)
    assert not {r["params"]["lr"] for r in one} & {r["params"]["lr"] for r in two}
    for folder in (first, second):
        assert (tmp_path / folder / "study.db").stat().st_size
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([first, second])


def test_a_trial_takes_no_results_of_another_run(names, tmp_path):
    folder = tmp_path / "trial-0000"
    first, params = small(names, steps=4), {"lr": 0.1, "model.n_hidden": 8}
    wrong = {"lr": 0.2, "model.n_hidden": 8}
    sweep_module.perform(first, wrong, folder, lambda step, value: None)
    before = (folder / "results.json").read_bytes()
    with pytest.raises(ValueError, match="trial-0000 holds another run, which differs in training"):
        sweep_module.perform(first, params, folder, lambda step, value: None)
    assert (folder / "results.json").read_bytes() == before


def test_a_trial_that_was_finished_but_not_told_is_not_trained_again(names, tmp_path):
    """Its process ended between the one and the other."""
    sweep, params, told = small(names, steps=40), {"lr": 0.1, "model.n_hidden": 8}, ([], [])
    tell = lambda place: lambda step, value: place.append((step, value))  # noqa: E731
    stored = sweep_module.perform(sweep, params, tmp_path, tell(told[0]))
    written = (tmp_path / "checkpoint.pt").stat().st_mtime_ns
    again = sweep_module.perform(sweep, params, tmp_path, tell(told[1]))
    assert (tmp_path / "checkpoint.pt").stat().st_mtime_ns == written
    assert told[0] == told[1] and [step for step, _ in told[0]] == list(range(4, 41, 4))
    assert {key for key in stored if stored[key] != again[key]} <= {"provenance"}


def everything(folder):
    return {
        path.relative_to(folder): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in ("study.lock", ".running")
    }


@pytest.fixture(scope="module")
def three(names):
    """A sweep of three short trials. To be copied."""
    with tempfile.TemporaryDirectory(dir=MEMORY) as place:
        folder = Path(place) / "three"
        search(small(names, 3, 4), folder, say=quiet)
        yield folder


def empty(path):
    path.write_bytes(b"")


def halve(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def scribble(path):
    path.write_bytes(b"no database" * 1_000)


def older(path):
    """What a copy from before the last trial holds."""
    with sqlite3.connect(path) as connection:
        number = connection.execute("SELECT max(trial_id) FROM trials").fetchone()[0]
        connection.execute("DELETE FROM trials WHERE trial_id = ?", [number])
    connection.close()


@pytest.mark.parametrize(
    "file, harm, message",
    [
        ("study.db", Path.unlink, "holds trials.json with 3 finished trials, .* but there is no study"),
        ("study.db", empty, "holds trials.json with 3 finished trials, .* but there is no study"),
        ("study.db", older, "holds trial 2, which the study .* does not know"),
        ("study.db", halve, "study.db is damaged .* holds .*trials.json with 3 finished trials"),
        ("study.db", scribble, "study.db is damaged .* holds .*trials.json with 3 finished trials"),
        ("sweep.json", Path.unlink, "holds .*study.db.* and no sweep.json"),
        ("sweep.json", halve, "sweep.json: not JSON"),
        ("sweep.json", empty, "sweep.json: not JSON"),
    ],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_a_damaged_folder_is_refused_and_left_as_it_is(names, three, tmp_path, file, harm, message):
    folder = tmp_path / "sweep"
    shutil.copytree(three, folder)
    harm(folder / file)
    before = everything(folder)
    for trials in (3, 5):
        with pytest.raises((ValueError, OSError), match=message) as caught:
            search(small(names, trials, 4), folder, say=quiet)
        text = str(caught.value)
        assert "\n" not in text and "choose another --out" in text and "the same command goes on" not in text
        assert everything(folder) == before


def test_a_deleted_study_does_not_mix_two_spaces(names, three, tmp_path):
    folder = tmp_path / "sweep"
    shutil.copytree(three, folder)
    for name in ("study.db", "sweep.json", "trials.json"):
        (folder / name).unlink()
    with pytest.raises(ValueError, match="holds 3 trial folders and no sweep.json"):
        search(small(names, 2, 4, {"lr": {"choices": [0.5]}}), folder, say=quiet)
    assert not (folder / "study.db").exists() and not (folder / "sweep.json").exists()


def test_a_damaged_list_of_trials_is_written_anew_from_the_study(names, three, tmp_path):
    folder = tmp_path / "sweep"
    shutil.copytree(three, folder)
    whole = (folder / "trials.json").read_bytes()
    halve(folder / "trials.json")
    search(small(names, 3, 4), folder, say=quiet)
    assert (folder / "trials.json").read_bytes() == whole


def test_the_trials_of_another_sweep_are_not_replaced(names, three, tmp_path):
    folder = tmp_path / "sweep"
    search(small(names, 3, 4, seed=1), folder, say=quiet)
    shutil.copy(three / "trials.json", folder)
    before = everything(folder)
    with pytest.raises(ValueError, match="trials.json holds the trials of another sweep, .* in seed"):
        search(small(names, 4, 4, seed=1), folder, say=quiet)
    assert everything(folder) == before


def test_what_a_lock_holds_does_not_matter(names, three, tmp_path):
    folder = tmp_path / "sweep"
    shutil.copytree(three, folder)
    (folder / "study.lock").write_bytes(b"junk" * 1_000)
    assert len(search(small(names, 3, 4), folder, say=quiet)) == 3


def test_a_study_of_another_optuna_is_refused_in_one_line(names, three, tmp_path):
    folder = tmp_path / "sweep"
    shutil.copytree(three, folder)
    with sqlite3.connect(folder / "study.db") as connection:
        connection.execute("UPDATE alembic_version SET version_num = 'v0.9.0.a'")
    connection.close()
    with pytest.raises(ValueError, match="study.db: The runtime optuna version") as caught:
        search(small(names, 3, 4), folder, say=quiet)
    assert "\n" not in str(caught.value)


def test_a_list_that_changes_in_the_middle_ends_the_sweep(names, tmp_path):
    path = tmp_path / "list.txt"
    path.write_bytes(names.read_bytes())
    with pytest.raises(ValueError, match="list.txt has changed since the sweep began"):
        search(small(path, 3, 4), tmp_path / "sweep", say=lambda text: path.write_bytes(b"zoe\nann\n" * 50))
    assert len(load(tmp_path / "sweep")["trials"]) == 1


def test_importance_finds_the_parameter_that_decides(names):
    space = {"lr": {"low": 0.0, "high": 1.0}, "model.n_hidden": {"low": 8, "high": 64}}
    space["lr"]["low"] = 0.01
    wanted = small(names, space=space)
    chance = random.Random(0)
    trials = []
    for number in range(40):
        lr, width = chance.uniform(0.01, 1), chance.randint(8, 64)
        params = {"lr": lr, "model.n_hidden": width}
        trials.append({"number": number, "state": "complete", "value": (lr - 0.3) ** 2, "params": params})
    shares = importance({"sweep": wanted.to_json(), "trials": trials})
    assert list(shares) == ["lr", "model.n_hidden"] and shares["lr"] > 0.8
    assert sum(shares.values()) == pytest.approx(1)
    with pytest.raises(ValueError, match="at least 4 complete trials, got 3"):
        importance({"sweep": wanted.to_json(), "trials": trials[:3]})


# the command, and what can befall it


def command(names, folder, trials, processes, steps=1000, every=100):
    space = folder.parent / "space.json"
    space.write_text(json.dumps(SPACE), encoding="utf-8")
    arguments = [
        "sweep", "--space", space, "--model", "mlp", "--data", names, "--steps", steps, "--device", "cpu",
        "--trials", trials, "--processes", processes, "--evaluate-every", every, "--scheduler", "none",
        "--out", folder,
    ]  # fmt: skip
    return [str(argument) for argument in arguments]


def started(arguments):
    environment = os.environ | {"PYTHONPATH": str(SOURCE), "OMP_NUM_THREADS": "1", "TQDM_DISABLE": "1"}
    return subprocess.Popen(
        [sys.executable, "-m", "common", *arguments],
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, encoding="utf-8",
    )  # fmt: skip


def ended(process, timeout=300):
    out, err = process.communicate(timeout=timeout)
    return process.returncode, out, err


def in_the_middle(folder, process):
    """Wait until a trial is finished and another one has a checkpoint; the latter's process, suspended."""
    until = time.monotonic() + 200
    while True:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until
        time.sleep(0.05)
        if not (folder / "trials.json").exists() or not load(folder)["trials"]:
            continue
        for trial in running(folder):
            if not trial.user_attrs.get("process"):
                continue
            first = trial.user_attrs.get("first", trial.number)
            if not (folder / f"trial-{first:04}" / "checkpoint.pt").exists():
                continue
            worker = psutil.Process(trial.user_attrs["process"][0])
            with alone(folder):  # not while it holds the study
                worker.suspend()
            if trial.number in [still.number for still in running(folder)]:
                return worker, first
            worker.resume()  # it was done before it could be stopped


def running(folder):
    with opened(folder) as study:
        return study.get_trials(states=[TrialState.RUNNING])


posix = pytest.mark.skipif(os.name != "posix", reason="needs SIGKILL")


@posix
def test_a_killed_worker_costs_no_trial(names, tmp_path):
    folder = tmp_path / "sweep"
    process = started(command(names, folder, trials=4, processes=2))
    worker, number = in_the_middle(folder, process)
    before = load(folder)["trials"]
    assert worker.pid != process.pid and worker.ppid() == process.pid
    worker.kill()
    status, out, err = ended(process)
    assert (status, err) == (0, "")
    assert f"process {worker.pid} of the sweep ended with code -9\n" in out
    assert f"trial {number}: its process is gone; it is run again from its last checkpoint\n" in out
    after = load(folder)["trials"]
    assert len(after) == 4 and all(record in after for record in before)
    again = {record["number"]: record for record in after}[number]
    assert again["attempt"] == 2 and len(again["curve"]) == 10
    assert out.splitlines()[-1].startswith("4 trials finished, 0 of them pruned; the best is trial")


@posix
def test_a_killed_sweep_goes_on_by_the_same_command(names, tmp_path):
    folder = tmp_path / "sweep"
    arguments = command(names, folder, trials=4, processes=2)
    process = started(arguments)
    worker, _ = in_the_middle(folder, process)
    crew = psutil.Process(process.pid).children()
    process.send_signal(signal.SIGKILL)
    worker.resume()
    ended(process)
    gone, alive = psutil.wait_procs(crew, timeout=20)
    assert len(crew) == 2 and not alive, "a worker outlived its parent"
    before = load(folder)["trials"]
    assert 1 <= len(before) < 4
    # two commands at once share what is left
    processes = [started(command(names, folder, 4, 1)), started(command(names, folder, 4, 1))]
    for process in processes:
        status, out, err = ended(process)
        assert (status, err) == (0, "")
    after = load(folder)["trials"]
    assert len(after) == 4 and all(record in after for record in before)
    assert len({record["number"] for record in after}) == 4
    assert len({record["params"]["lr"] for record in after}) == 4
    with opened(folder) as study:
        states = [trial.state for trial in study.get_trials()]
    assert states.count(TrialState.COMPLETE) == 4 and TrialState.RUNNING not in states


@posix
def test_what_a_killed_command_leaves_is_taken_by_one_that_is_still_running(names, tmp_path):
    folder = tmp_path / "sweep"
    arguments = command(names, folder, trials=2, processes=1, steps=2000)
    one, other = started(arguments), started(arguments)
    worker, number = in_the_middle_of_two(folder, [one, other])
    (left,) = [process for process in (one, other) if process.pid != worker.pid]
    worker.kill()
    status, out, err = ended(left)
    assert (status, err) == (0, "")
    assert f"trial {number}: its process is gone; it is run again from its last checkpoint\n" in out
    assert {record["number"] for record in load(folder)["trials"]} == {0, 1}
    for process in (one, other):
        process.communicate()


def in_the_middle_of_two(folder, processes):
    """Wait until both commands have a trial with a checkpoint; the process and number of one of them."""
    until = time.monotonic() + 200
    while time.monotonic() < until:
        time.sleep(0.05)
        assert all(process.poll() is None for process in processes)
        trials = running(folder) if (folder / "study.db").exists() else []
        begun = [t for t in trials if (folder / f"trial-{t.number:04}" / "checkpoint.pt").exists()]
        if len(begun) == 2:
            return psutil.Process(begun[0].user_attrs["process"][0]), begun[0].number
    raise AssertionError("two trials never ran side by side")


def fill(place, spare):
    """Leave so many bytes of a disk."""
    with open(place / "ballast", "wb") as file:
        free = os.statvfs(place).f_bavail * os.statvfs(place).f_frsize
        file.write(b"\0" * max(0, free - spare))


@pytest.mark.parametrize(
    "spare, file", [(0, "study.db"), (44_000, "checkpoint.pt|safetensors|trials.json|study.db")], ids=str
)
def test_a_full_disk_is_named_and_costs_no_finished_trial(names, small_disk, capsys, spare, file):
    folder = small_disk / "sweep"
    finished = []

    def say(text):
        finished.append(text)
        if len(finished) == 2:
            fill(small_disk, spare)

    with pytest.raises(OSError, match=file) as caught:
        search(small(names, 5, scheduler="none"), folder, say=say)
    assert "\n" not in str(caught.value)
    assert "full" in str(caught.value) or "No space" in str(caught.value)
    before = load(folder)["trials"]
    assert len(before) >= 2
    # still full: the same command says so, in one line
    (folder.parent / "ballast").unlink()
    fill(small_disk, 0)
    capsys.readouterr()
    assert command_line.main(command_of(small_disk, names, folder)) == 2
    printed = capsys.readouterr()
    assert printed.out == "" and len(printed.err.splitlines()) == 1
    assert printed.err.startswith("error: ") and str(folder) in printed.err
    assert load(folder)["trials"] == before
    (small_disk / "ballast").unlink()
    after = search(small(names, 5, scheduler="none"), folder, say=quiet)
    assert len(after) == 5 and all(record in after for record in before)


def command_of(place, names, folder):
    space = Path(names).parent / "space.json"
    space.write_text(json.dumps(SPACE), encoding="utf-8")
    arguments = ["sweep", "--space", space, "--model", "mlp", "--data", names, "--steps", 40]
    arguments += ["--trials", 5, "--scheduler", "none", "--device", "cpu", "--out", folder]
    return [str(argument) for argument in arguments]


def test_a_full_disk_leaves_the_results_file_whole(names, finished, small_disk):
    folder, found = small_disk, finished[1]
    sweep_module.publish(folder, small(names, 8), found)
    before = (folder / "trials.json").read_bytes()
    fill(small_disk, 0)
    with pytest.raises(OSError, match=r"No space left on device: '.*trials\.json'"):
        sweep_module.publish(folder, small(names, 8), found * 100)
    assert (folder / "trials.json").read_bytes() == before
    assert sorted(path.name for path in folder.iterdir()) == ["ballast", "trials.json"]


@pytest.mark.parametrize(
    "more, message",
    [
        (["--space", "nowhere.json"], "nowhere.json: no such file; expected the search space as JSON"),
        (["--trials", "0"], "at least 1 trial, got 0"),
        (["--processes", "0"], "at least 1 process, got 0"),
        (["--scheduler", "pbt"], "got the scheduler 'pbt'"),
        (["--data", "nowhere.txt"], "nowhere.txt: no such file"),
        (["--processes", "-1"], "at least 1 process, got -1"),
        (["--search-seed", "4294967296"], "seed of the search"),
        (["--evaluate-every", "5000"], "steps between two looks at the validation loss, got "),
        (["--space", "."], "expected the search space as JSON"),
        (["--teacher", "nowhere", "--distill", "1"], "no such file"),
    ],
    ids=str,
)
def test_bad_arguments_end_in_one_line(names, tmp_path, capsys, more, message):
    folder = tmp_path / "sweep"
    assert command_line.main([*command_of(tmp_path, names, folder), *more]) == 2
    printed = capsys.readouterr()
    assert printed.out == "" and len(printed.err.splitlines()) == 1 and message in printed.err
    assert not folder.exists()  # the corrected command finds no other sweep there


@pytest.mark.parametrize("below", ["", "sweep"])
def test_a_file_where_a_sweeps_folder_is_wanted_is_named(names, tmp_path, below):
    (tmp_path / "afile").write_text("mine", encoding="utf-8")
    with pytest.raises(ValueError, match="afile is no folder; choose another --out$"):
        sweep_module.search(small(names), tmp_path / "afile" / below)
    assert (tmp_path / "afile").read_text(encoding="utf-8") == "mine"


@pytest.mark.parametrize(
    "written, message",
    [
        (b'{"lr": {"low": 0.1, "high": 1e999}}', "lr: expected numbers"),
        (b'{"lr": {"low": 0.1, "high": Infinity}}', "Infinity is no number of JSON"),
        (b'{"lr": {"choices": [0.1, NaN]}}', "NaN is no number of JSON"),
        (b'{"lr": {"low": 0.1, "high": 1}, "lr": {"choices": [1]}}', "'lr' stands there twice"),
        (b'{"lr": {"low": 0.1, "low": 0.2, "high": 1}}', "'low' stands there twice"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"lr": {"low": 0.1, "high": 1' + b"0" * 5_000 + b"}}", "space.json"),
        (b"", "not JSON"),
        (b'{"lr": {"low"', "not JSON"),
        ('{"lr": {"low": 0.1, "high": 1}}'.encode("utf-16"), "expected UTF-8"),
        ('{"lr": {"low": 0.1, "high": 1}}'.encode("utf-16-le"), "expected UTF-8"),
        (bytes(range(256)), "expected UTF-8"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_space_that_is_none_is_refused_in_one_line(names, tmp_path, capsys, written, message):
    arguments = command_of(tmp_path, names, tmp_path / "sweep")
    path = Path(arguments[arguments.index("--space") + 1]).with_name("bad-space.json")
    path.write_bytes(written)
    assert command_line.main([*arguments, "--space", str(path)]) == 2
    printed = capsys.readouterr()
    assert printed.out == "" and len(printed.err.splitlines()) == 1
    assert printed.err.startswith("error: ") and message in printed.err
    assert not (tmp_path / "sweep").exists()


def test_a_space_may_begin_with_a_byte_order_mark(names, tmp_path):
    arguments = command_of(tmp_path, names, tmp_path / "sweep")
    path = Path(arguments[arguments.index("--space") + 1]).with_name("marked-space.json")
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps(SPACE).encode())
    assert command_line.main([*arguments, "--space", str(path), "--trials", "1", "--steps", "4"]) == 0
