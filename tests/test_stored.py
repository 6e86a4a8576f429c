"""In a fresh clone, without runs/: what a tool would store is what is stored, but for what it trains anew."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

TOOLS = Path(__file__).resolve().parent.parent / "tools"
sys.path.insert(0, str(TOOLS))
import attention  # noqa: E402
import controls  # noqa: E402
import shakespeare  # noqa: E402
import sound  # noqa: E402
import stacks  # noqa: E402
from stored import restore, unpack  # noqa: E402


@pytest.fixture
def empty(tmp_path, monkeypatch):
    runs = tmp_path / "runs"
    for tool in (attention, controls, shakespeare, sound, stacks):
        monkeypatch.setattr(tool, "RUNS", runs)
    return runs


def in_json(content):
    return json.loads(json.dumps(content))


def test_shakespeare(empty, monkeypatch):
    stored = json.loads(shakespeare.STORE.read_text())

    class Characters:
        tokens, ordinary = stored["python_characters"], range(len(stored["python_characters"]))

    monkeypatch.setattr(shakespeare, "load", lambda corpus: (Characters, None))
    shakespeare.unpacked()
    assert in_json(shakespeare.collected()) == stored
    with_cache = {
        f"cached-{m}-{run['seed']}.json" for m in shakespeare.CACHED for run in stored["models"][m]["runs"]
    }
    assert {path.name for path in empty.glob("cached-*")} == with_cache | {"cached-ngram.json"}


def test_attention(empty):
    attention.unpacked()
    assert in_json(attention.collected()) == json.loads(attention.STORE.read_text())
    assert (empty / attention.WEIGHTS.name).read_bytes() == attention.WEIGHTS.read_bytes()


@pytest.mark.parametrize("tool", [sound, stacks])
def test_what_has_runs_alone(tool, empty):
    stored = unpack(tool.STORE, tool.RUNS)
    assert in_json(tool.collected(seeds=3)) == stored and stored["models"]


def test_a_run_that_is_there_stays_and_no_file_is_nothing(tmp_path):
    path = tmp_path / "runs" / "a-0.json"
    restore(path, {"val": 1})
    restore(path, {"val": 2})
    assert json.loads(path.read_text()) == {"val": 1}
    assert unpack(tmp_path / "none.json", tmp_path / "runs") == {}


def test_controls_keeps_the_arms_that_are_stored(monkeypatch):
    chosen, choosing = torch.tensor([5.0, 6.0]), torch.tensor([True, False, False])
    names = SimpleNamespace(choosing=choosing, lengths=torch.tensor([4.0, 5.0, 6.0]), train=([1], [2]))
    stored = json.loads(controls.STORE.read_text())
    kept = controls.collected(names, {}, {})
    assert [kept[key] for key in ("arms", "teachers", "provenance")] == [
        stored[key] for key in ("arms", "teachers", "provenance")
    ]
    run = {"seed": 0, "lr": 1.0, "steps": 2, "parameters": 3, "chosen_by": 2.0, "train": 1.0, "val": 1.5}
    run["of_names"] = [1.0, *chosen.tolist()]
    new = controls.collected(names, {}, {"rnn": ([run], [run])})
    assert new["arms"].pop("rnn")["provenance"]["commit"] and new["provenance"] == stored["provenance"]
    assert new["arms"] == {key: arm for key, arm in stored["arms"].items() if key != "rnn"}


@pytest.mark.parametrize("arm", ["letters", "a new pupil"])
def test_controls_does_not_train_beside_what_it_could_not_be_compared_with(arm, empty, monkeypatch, capsys):
    monkeypatch.setitem(controls.ARMS, "a new pupil", controls.ARMS["three"])
    with pytest.raises(SystemExit):
        controls.main(["--only", arm])
    said = " ".join(capsys.readouterr().err.split())
    assert "expected arms that are not stored, and have no teachers" in said and said.endswith(f"got {arm}")
