"""The plan of chapter 11: every run is one that `python -m common train` takes, within its league."""

import json
import sys
from argparse import Namespace

import pytest
from small_runs import NAMES

from common import __main__ as command_line
from common.evaluate import stored_results
from common.models import RECIPES, WINNERS, count_parameters
from common.provenance import ROOT

sys.path.insert(0, str(ROOT / "tools"))
import challenge  # noqa: E402

PLAN = json.loads((ROOT / "data" / "challenge.json").read_text())
BUDGET = 76_579
LARGE = {"very-large-flat", "teachers", "open"}


def sizes_of(entry):
    options = command_line._parser().parse_args(["train", *entry["arguments"], "--out", "x"])
    return options.model, dict(options.set)


@pytest.mark.parametrize("key", PLAN)
def test_a_run_stays_within_its_league(key):
    model, sizes = sizes_of(PLAN[key])
    parameters = count_parameters(RECIPES[model].sized(27, sizes))
    assert (parameters > BUDGET) == (key in LARGE)
    assert all(run["parameters"] == parameters for run in stored_results("challenge")["lecture"][key]["runs"])


@pytest.mark.parametrize("key", WINNERS)
def test_the_winners_of_the_playground_are_those_of_the_plan(key):
    model, sizes = sizes_of(PLAN[key])
    planned = RECIPES[model].sized(27, sizes).tensors()
    assert {name: t.shape for name, t in WINNERS[key].build().tensors().items()} == {
        name: t.shape for name, t in planned.items()
    }


def test_what_is_stored_is_what_was_planned():
    for name, runs in stored_results("challenge").items():
        assert set(runs) == {key for key, entry in PLAN.items() if name in entry["lists"]}
        for key, entry in runs.items():
            assert entry["arguments"] == PLAN[key]["arguments"] and len(entry["runs"]) == PLAN[key]["seeds"]
            opened = ["test" in run for run in entry["runs"]]
            assert opened == [PLAN[key].get("final", False)] * len(opened)


ENTRY = {"arguments": "--model mlp --steps 4 --device cpu --no-compile --lr 0.1".split(), "seeds": 1}


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Runs in this process, into a folder of their own."""
    (tmp_path / "short.txt").write_text("\n".join(NAMES[:300]) + "\n", encoding="utf-8")
    monkeypatch.setattr(challenge, "RUNS", tmp_path / "runs")
    monkeypatch.setattr(challenge, "STORED", tmp_path / "challenge.json")
    trained, real = [], challenge.subprocess.run

    def run(command, **how):
        if "train" not in command:
            return real(command, **how)
        trained.append(command)
        assert command_line.main(command[3:]) == 0

    monkeypatch.setattr(challenge.subprocess, "run", run)
    return Namespace(list="shipped", names=tmp_path / "short.txt", final=False), trained


def test_a_finished_run_is_not_trained_again(place):
    options, trained = place
    for _ in range(2):
        challenge.train("one", 0, {"one": ENTRY}, options)
    assert len(trained) == 1


@pytest.mark.parametrize(
    "more, message",
    [
        (["--lr", "0.2"], "differs from the plan in training"),
        (["--set", "n_hidden=8"], "differs from the plan in sizes"),
        (["--evaluate-every", "2"], "differs from the plan in curve"),
    ],
    ids=str,
)
def test_a_finished_run_of_another_plan_is_not_taken(place, more, message):
    options, trained = place
    challenge.train("one", 0, {"one": ENTRY}, options)
    changed = {"one": ENTRY | {"arguments": ENTRY["arguments"] + more}}
    with pytest.raises(ValueError, match=message):
        challenge.train("one", 0, changed, options)


def test_a_finished_run_on_another_list_is_not_taken(place):
    options, trained = place
    challenge.train("one", 0, {"one": ENTRY}, options)
    options.names.write_text("\n".join(NAMES[300:600]) + "\n", encoding="utf-8")
    with pytest.raises(ValueError, match="differs from the plan in names; move it away"):
        challenge.train("one", 0, {"one": ENTRY}, options)


def test_a_pupil_learns_from_no_teacher_of_another_plan(place):
    options, trained = place
    pupil = {"arguments": [*ENTRY["arguments"], "--distill", "1"], "seeds": 1, "teachers": "one"}
    with pytest.raises(ValueError, match="no such file"):
        challenge.train("pupil", 0, {"one": ENTRY, "pupil": pupil}, options)
    challenge.train("one", 0, {"one": ENTRY}, options)
    changed = ENTRY | {"arguments": [*ENTRY["arguments"], "--lr", "0.2"]}
    with pytest.raises(ValueError, match="one.*differs from the plan in training"):
        challenge.train("pupil", 0, {"one": changed, "pupil": pupil}, options)
    challenge.train("pupil", 0, {"one": ENTRY, "pupil": pupil}, options)
    assert len(trained) == 2


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["lecture"], "lecture needs --names"),
        (["lecture", "--names", "short.txt"], "short.txt is not the list"),
        (["shipped", "--names", "short.txt"], "short.txt is not the list"),
        (["shipped", "--processes", "0"], "at least 1 process, got 0"),
        (["shipped", "--only", "nothing"], "expected keys among"),
    ],
    ids=str,
)
def test_bad_arguments_train_nothing_and_end_in_one_line(place, monkeypatch, capsys, arguments, message):
    options, trained = place
    monkeypatch.chdir(options.names.parent)
    assert challenge.main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and len(error.splitlines()) == 1 and message in error
    assert not trained


def test_a_run_that_fails_ends_the_command_in_one_line(place, monkeypatch, capsys):
    begun = []

    def run(command, **how):
        begun.append(command)
        raise challenge.subprocess.CalledProcessError(2, command)

    monkeypatch.setattr(challenge.subprocess, "run", run)
    assert challenge.main(["shipped"]) == 2
    assert "ended with code 2" in capsys.readouterr().err and len(begun) == 1


def test_opened_test_losses_are_kept_where_the_runs_are_the_same():
    runs = [{"seed": 0, "val": 2.0, "test": 2.1}]
    before = {"runs": runs, "together": {"val": 1.9, "test": 2.0}}
    same = {"runs": [{"seed": 0, "val": 2.0}], "together": {"val": 1.9}, "title": "new"}
    other = {"runs": [{"seed": 0, "val": 2.2}], "together": {"val": 2.1}}
    assert challenge.with_what_was_opened(same, before) == before | {"title": "new"}
    assert challenge.with_what_was_opened(other, before) == other
    assert challenge.with_what_was_opened(other, {}) == other
