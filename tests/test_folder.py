"""The folder of a run: who may write into it, and what is read back from it."""

import json

import pytest
import torch
from filelock import FileLock
from safetensors.torch import load_file, save_file
from small_runs import NAMES

from common.models import MODELS
from common.runs.files import save_tensors
from common.runs.folder import claimed, export_model, load_model, refuse_other
from common.runs.running import Run, run
from common.train import Config


@pytest.fixture(scope="module")
def names(tmp_path_factory):
    path = tmp_path_factory.mktemp("list") / "short.txt"
    path.write_text("\n".join(NAMES[:300]) + "\n", encoding="utf-8")
    return path


@pytest.mark.parametrize("size", ["gate", "residual"])
def test_a_run_whose_false_was_once_taken_as_true_is_not_read_as_another_network(names, tmp_path, size):
    run(Run("wavenet", Config(steps=2), data=names), tmp_path, compile=False)
    path = tmp_path / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"sizes": {size: "False"}}))
    with pytest.raises(ValueError, match=f"config.json: {size} is 'False'.*train again"):
        load_model(tmp_path, 0)


SIZES = {"n_embd": 3, "n_hidden": 4}


@pytest.fixture(scope="module")
def finished(names, tmp_path_factory):
    """A run of two seeds. Read only."""
    folder = tmp_path_factory.mktemp("runs") / "two"
    run(Run("recurrent", Config(steps=2), SIZES, (0, 3), names), folder, compile=False)
    return folder


def test_a_finished_run_holds_its_settings_losses_models_and_results(finished):
    held = sorted(path.name for path in finished.iterdir())
    assert held == [
        "checkpoint.pt", "config.json", "history.safetensors", "model-0.safetensors", "model-3.safetensors",
        "results.json",
    ]  # fmt: skip
    config = json.loads((finished / "config.json").read_text(encoding="utf-8"))
    results = json.loads((finished / "results.json").read_text(encoding="utf-8"))
    assert config.items() <= results.items() and [one["seed"] for one in results["runs"]] == [0, 3]
    assert load_file(finished / "history.safetensors")["losses"].shape == (2, 2)


def test_a_model_is_read_back_as_it_was_trained(finished):
    stored = load_file(finished / "model-3.safetensors")
    model = load_model(finished, 3)
    assert not any(module.training for module in model.modules())
    assert list(model.state_dict()) == list(MODELS["recurrent"].build(**SIZES).state_dict())
    assert all(torch.equal(t, stored[name]) for name, t in model.state_dict().items())
    with pytest.raises(
        ValueError, match="model-7.safetensors: no such file; expected a finished run with a model"
    ):
        load_model(finished, 7)


@pytest.fixture
def copied(finished, tmp_path):
    for path in finished.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    return tmp_path


def test_weights_under_the_names_of_before_are_refused_with_the_way_to_rename_them(copied):
    path = copied / "model-0.safetensors"
    numbers = {"embedding": "0", "recurrent": "1", "output": "2"}
    old = {
        f"{numbers[name.partition('.')[0]]}.{name.partition('.')[2]}": t
        for name, t in load_file(path).items()
    }
    save_file(old, path)
    with pytest.raises(ValueError, match="names of an earlier version; tools/rename_weights.py"):
        load_model(copied, 0)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_refused(copied, value):
    path = copied / "model-0.safetensors"
    tensors = load_file(path)
    tensors["output.bias"][2] = value
    save_file(tensors, path)
    with pytest.raises(ValueError, match="NaN or infinite, so its training diverged.*--max-grad-norm"):
        load_model(copied, 0)


@pytest.mark.parametrize(
    "name, content, said",
    [
        ("model-0.safetensors", b"nothing", "not a file of parameters"),
        ("config.json", b"[]", "expected a JSON object"),
        ("config.json", b"{}", "names no model"),
        ("config.json", b'{"model": "small", "vocabulary": "ab"}', "names no model"),
        ("config.json", b'{"model": "mlp", "vocabulary": 3}', "expected a vocabulary and sizes"),
        ("config.json", b'{"model": "mlp", "vocabulary": "abc"}', "expected tensors"),
    ],
    ids=str,
)
def test_a_folder_of_something_else_is_refused_by_name(copied, name, content, said):
    (copied / name).write_bytes(content)
    with pytest.raises(ValueError, match=said) as caught:
        load_model(copied, 0)
    assert "\n" not in str(caught.value)


def test_a_folder_of_another_run_is_refused(finished, tmp_path):
    asked = json.loads((finished / "config.json").read_text(encoding="utf-8"))
    refuse_other(finished, asked)
    refuse_other(tmp_path / "new", asked)
    with pytest.raises(
        ValueError, match="two holds another run, which differs in model, seeds; choose another"
    ):
        refuse_other(finished, asked | {"model": "mlp", "seeds": [1]})
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="is no folder; choose another --out"):
        refuse_other(tmp_path / "file" / "run", asked)


def test_a_claim_is_one_process_long_and_an_empty_one_is_taken_over(finished, tmp_path):
    asked = json.loads((finished / "config.json").read_text(encoding="utf-8"))
    other = asked | {"seeds": [9]}
    with claimed(tmp_path / "run", asked):
        with pytest.raises(ValueError, match="differs in seeds"), claimed(tmp_path / "run", other):
            pass  # somebody is at work
        with pytest.raises(ValueError, match="another command is at work"), claimed(tmp_path / "run", asked):
            pass
        assert (tmp_path / "run" / ".lock").exists()
        assert json.loads((tmp_path / "run" / "config.json").read_text(encoding="utf-8")) == asked
    with claimed(tmp_path / "run", other):
        pass
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["config.json"]
    (tmp_path / "run" / "checkpoint.pt").write_bytes(b"")
    with pytest.raises(ValueError, match="differs in seeds"), claimed(tmp_path / "run", asked):
        pass


def test_a_claim_is_gone_before_somebody_else_can_hold_it(finished, tmp_path, monkeypatch):
    asked = json.loads((finished / "config.json").read_text(encoding="utf-8"))
    release = FileLock.release

    def released(lock, *how):
        assert not (tmp_path / ".lock").exists(), "what is removed now may be another's"
        return release(lock, *how)

    monkeypatch.setattr(FileLock, "release", released)
    with claimed(tmp_path, asked):
        pass


def test_a_file_of_tensors_is_whole_and_carries_its_notes(tmp_path):
    from safetensors import safe_open

    path = tmp_path / "deep" / "tensors.safetensors"
    save_tensors(path, {"a": torch.ones(4, 2).T, "b": torch.ones(2).requires_grad_()}, {"seed": "3"})
    assert load_file(path)["a"].shape == (2, 4) and [one.name for one in path.parent.iterdir()] == [path.name]
    with safe_open(path, "pt") as file:
        assert file.metadata() == {"seed": "3"}


def test_a_published_model_says_where_it_comes_from(finished, tmp_path):
    from safetensors import safe_open

    path = tmp_path / "published.safetensors"
    export_model(finished, 3, path)
    with safe_open(path, "pt") as file:
        about = file.metadata()
    results = json.loads((finished / "results.json").read_text(encoding="utf-8"))
    assert (about["model"], about["seed"], about["steps"]) == ("recurrent", "3", "2")
    assert about["names"] == results["names"]["sha256"] and about["commit"] == results["provenance"]["commit"]
    assert all(
        torch.equal(t, load_file(finished / "model-3.safetensors")[n]) for n, t in load_file(path).items()
    )


@pytest.mark.parametrize("left", ["results.json", "history.safetensors", "sweep.json"])
def test_what_is_left_of_another_run_or_sweep_is_not_written_over(tmp_path, left):
    (tmp_path / left).write_text("{}")
    with (
        pytest.raises(ValueError, match=f"holds {left} and no config.json"),
        claimed(tmp_path, {"model": "mlp"}),
    ):
        pass
    assert not (tmp_path / "config.json").exists()


def test_a_checkpoint_alone_is_gone_on_from(tmp_path):
    """A member of a population begins with another's."""
    (tmp_path / "checkpoint.pt").write_text("")
    with claimed(tmp_path, {"model": "mlp"}):
        assert (tmp_path / "config.json").exists()
