"""A run is a dataclass and a folder: it is looked at on the way, stopped, and found again."""

import json
import math
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from small_runs import NAMES, small

from common.data import IGNORE_INDEX
from common.evaluate import mean_loss
from common.models import WaveNet
from common.runs import running, tasks
from common.runs.folder import load_model
from common.runs.running import Impossible, Run, run, settings, soft_targets, teachers_of
from common.train import Config

STEPS, EVERY = 60, 20


@pytest.fixture(scope="module")
def names(tmp_path_factory):
    path = tmp_path_factory.mktemp("list") / "short.txt"
    path.write_text("\n".join(NAMES[:300]) + "\n", encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def finished(names, tmp_path_factory):
    """A run of two seeds that was looked at every 20 steps. Read only."""
    folder = tmp_path_factory.mktemp("runs") / "two seeds"
    run(small(names, seeds=(0, 1)), folder, compile=False, evaluate_every=EVERY)
    return folder


def test_a_run_survives_its_json(names):
    what = Run("dilated", Config(betas=(0.8, 0.9)), {"dilations": [1, 2]}, (3, 4), names, None, True)
    assert Run.from_json(json.loads(json.dumps(what.to_json()))) == what
    assert hash(what) == hash(Run.from_json(what.to_json()))
    assert Run.from_json(Run("mlp").to_json()).data.name == "names.txt"


def test_values_change_by_their_names(names):
    changed = small(names).changed(lr=0.5, **{"model.n_embd": 4})
    assert changed.config == Config(steps=STEPS, lr=0.5)
    assert dict(changed.sizes) == {"n_hidden": 16, "n_embd": 4}
    with pytest.raises(ValueError, match="got depth"):
        small(names).changed(depth=3)
    with pytest.raises(ValueError, match="a model among"):
        Run("deep")


@pytest.mark.parametrize(
    "sizes, message",
    [
        ({"gate": "perhaps"}, "gate to be true or false, got 'perhaps'"),
        ({"n_channels": 0}, "n_channels to be a whole number of at least 1, got 0"),
        ({"dilations": 4}, "dilations to be a list"),
        ({"dropout": math.nan}, "dropout to be a number from 0 to below 1"),
        ({"depth": 3}, "sizes among"),
    ],
    ids=str,
)
def test_sizes_are_checked_wherever_they_come_from(sizes, message):
    with pytest.raises(ValueError, match=message):
        Run("wavenet", sizes=sizes)
    with pytest.raises(ValueError, match=message):
        Run("wavenet").changed(**{f"model.{name}": value for name, value in sizes.items()})
    with pytest.raises(ValueError, match=message):
        Run.from_json(Run("wavenet").to_json() | {"sizes": sizes})


def test_a_word_for_a_part_is_what_it_means():
    said, meant = (Run("wavenet", sizes={"gate": value}) for value in ("False", False))
    assert said == meant and said.to_json() == meant.to_json()
    assert repr(said.build(27)) == repr(WaveNet(gate=False))


@pytest.mark.parametrize("seeds", [3, (), (0, 0), (-1,), (2**64,), (1.5,), (True,)], ids=str)
def test_seeds_are_what_a_generator_takes_and_differ(seeds):
    with pytest.raises(ValueError, match="expected (at least 1 seed|seeds)"):
        Run("mlp", seeds=seeds)


def test_what_would_be_taken_for_something_else_is_refused():
    with pytest.raises(ValueError, match=r"expected config to be a Config, got \{'steps': 3\}"):
        Run("mlp", config={"steps": 3})
    for one in ("abc", Path("abc")):
        with pytest.raises(ValueError, match="expected teachers one by one, such as .*, got 'abc'"):
            Run("mlp", teachers=one)


@pytest.mark.parametrize(
    "wrong, message",
    [
        ({"splits": ("vall",)}, r"expected splits among \['train', 'val', 'test'\], got \['vall'\]"),
        ({"checkpoint_every": 0}, "expected checkpoint_every of at least 1 step, got 0"),
    ],
    ids=str,
)
def test_what_cannot_be_done_is_refused_before_training(names, tmp_path, wrong, message):
    with pytest.raises(ValueError, match=message):
        run(small(names), tmp_path / "run", compile=False, **wrong)
    assert not list(tmp_path.iterdir())


def held(folder):
    return {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.iterdir()}


def test_a_finished_run_is_said_again_and_nothing_is_written(names, finished, tmp_path, monkeypatch):
    folder, what = tmp_path / "run", small(names, seeds=(0, 1))
    shutil.copytree(finished, folder)
    before, heard = held(folder), []
    monkeypatch.setattr(running, "train", None)
    monkeypatch.setattr(tasks, "mean_loss", None)
    monkeypatch.setattr(running, "provenance", None)
    results = run(
        what, folder, compile=False, evaluate_every=EVERY, splits=("train", "val"),
        report=lambda *told: heard.append(told),
    )  # fmt: skip
    assert held(folder) == before and results == json.loads(before["results.json"][0])
    assert set(results["mean"]) == {"train", "val", "test"}
    assert [step for step, _ in heard] == [20, 40, 60]
    assert heard[-1][1] == pytest.approx(results["mean"]["val"])


def test_a_split_that_a_finished_run_lacks_is_measured(names, finished, tmp_path, monkeypatch):
    folder, what = tmp_path / "run", small(names, seeds=(0, 1))
    options = {"compile": False, "evaluate_every": EVERY}
    run(what, folder, **options, splits=("train", "val"))
    before = held(folder)
    monkeypatch.setattr(running, "train", None)
    monkeypatch.setattr(running, "provenance", None)
    results = run(what, folder, **options)
    after, whole = held(folder), json.loads((finished / "results.json").read_text(encoding="utf-8"))
    assert {name for name in after if after[name] != before[name]} == {"results.json"}
    assert results == json.loads(after["results.json"][0])
    assert results.pop("provenance") == json.loads(before["results.json"][0])["provenance"]
    del whole["provenance"]
    assert results == whole


def test_a_finished_run_that_was_looked_at_at_other_steps_is_another(names, finished, tmp_path):
    folder, what = tmp_path / "run", small(names, seeds=(0, 1))
    shutil.copytree(finished, folder)
    before = held(folder)
    for every in (0, 30):
        with pytest.raises(ValueError, match="results.json: the results of a run that differs in curve; "):
            run(what, folder, compile=False, evaluate_every=every)
    assert held(folder) == before


def test_two_at_once_train_once(names, tmp_path):
    folder, what = tmp_path / "run", small(names)

    def begin_again(step, value):
        with pytest.raises(ValueError, match="run: another command is at work in it; wait for its end"):
            run(what, folder, compile=False, evaluate_every=EVERY)
        heard.append(step)

    heard = []
    run(what, folder, compile=False, evaluate_every=EVERY, report=begin_again)
    assert heard == [20, 40, 60] and not (folder / ".lock").exists()


def test_who_listens_is_told_of_a_loss_that_is_no_number_and_decides(names, tmp_path):
    class Pruned(Exception):
        pass

    def stop(step, value):
        heard.append((step, math.isfinite(value)))
        raise Pruned

    heard, what = [], small(names, config=Config(steps=STEPS, lr=1e30))
    with pytest.raises(Pruned):
        run(what, tmp_path / "stopped", compile=False, evaluate_every=EVERY, report=stop)
    assert heard == [(EVERY, False)]
    results = run(
        what, tmp_path / "heard", compile=False, evaluate_every=EVERY, report=lambda step, value: None
    )
    assert not math.isfinite(results["mean"]["val"])
    with pytest.raises(ValueError, match="seed 0 diverged: .* from about step [2-9] on"):
        run(what, tmp_path / "alone", compile=False, evaluate_every=EVERY)
    assert not list(tmp_path.glob("*/results.json")) and not list(tmp_path.glob("*/model-*"))


@pytest.mark.parametrize("weight, loss", [(math.inf, 2.5), (1.0, math.nan)], ids=["weight", "loss"])
def test_a_step_too_far_at_the_very_end_is_no_result(names, tmp_path, monkeypatch, weight, loss):
    """The losses of all batches are finite; what the last step makes of the weights is not."""

    def training(models, examples, generators, config, **how):
        models[1].state_dict()["embedding.weight"][3, 2] = weight
        return torch.ones(2, config.steps)

    monkeypatch.setattr(running, "train", training)
    monkeypatch.setattr(tasks.TaskData, "metric", lambda self, model, split: loss)
    with pytest.raises(ValueError, match=f"seeds? .*1 diverged: .* from about step {STEPS} on"):
        run(small(names, seeds=(0, 1)), tmp_path / "run", compile=False)
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["config.json"]


def test_what_was_looked_at_is_the_loss_of_that_moment(names, finished, tmp_path):
    history = load_file(finished / "history.safetensors")
    assert history["val_steps"].tolist() == [20, 40, 60] and history["val"].shape == (2, 3)
    results = json.loads((finished / "results.json").read_text(encoding="utf-8"))
    assert history["val"][:, -1].tolist() == pytest.approx([one["val"] for one in results["runs"]])
    assert results["curve"]["steps"] == [20, 40, 60]
    # a constant rate, so that a run of 20 steps is the beginning of one of 60
    constant = Config(steps=60, schedule="constant", ema_decay=0.9)
    seen = {}
    run(
        small(names, config=constant),
        tmp_path / "a",
        compile=False,
        evaluate_every=20,
        report=seen.__setitem__,
    )
    short = Config(steps=20, schedule="constant", ema_decay=0.9)
    again = run(small(names, config=short), tmp_path / "b", compile=False)
    assert seen[20] == pytest.approx(again["mean"]["val"], abs=1e-6)


def test_looking_changes_nothing(names, tmp_path):
    what = small(names, seeds=(0, 1), config=Config(steps=STEPS, ema_decay=0.9, optimizer="adam"))
    seen = run(what, tmp_path / "seen", compile=False, evaluate_every=7)
    unseen = run(what, tmp_path / "unseen", compile=False)
    assert seen["runs"] == unseen["runs"]
    losses = [load_file(tmp_path / f / "history.safetensors")["losses"] for f in ("seen", "unseen")]
    assert torch.equal(*losses)


def test_a_report_stops_a_run_and_a_resumed_one_tells_it_all_again(names, finished, tmp_path):
    class Enough(Exception):
        pass

    def stop(step, value):
        heard.append((step, value))
        if step == 40:
            raise Enough

    heard, folder, what = [], tmp_path / "run", small(names, seeds=(0, 1))
    with pytest.raises(Enough):
        run(what, folder, compile=False, evaluate_every=EVERY, report=stop, checkpoint_every=EVERY)
    assert not (folder / "results.json").exists()
    first, heard = heard, []
    results = run(what, folder, compile=False, evaluate_every=EVERY, report=lambda *said: heard.append(said))
    assert [step for step, _ in heard] == [20, 40, 60] and heard[:2] == first
    assert results["runs"] == json.loads((finished / "results.json").read_text(encoding="utf-8"))["runs"]


def test_a_search_leaves_the_test_split_alone(names, tmp_path, monkeypatch):
    hidden = small(names).load(torch.device("cpu")).splits["test"][0]

    def watched(model, x, y):
        assert x is not hidden
        return mean_loss(model, x, y)

    monkeypatch.setattr(tasks, "mean_loss", watched)
    results = run(small(names), tmp_path / "run", compile=False, evaluate_every=EVERY, splits=("val",))
    assert set(results["mean"]) == {"val"} and set(results["runs"][0]) == {"seed", "parameters", "val"}


def test_a_run_that_cannot_be_trained_claims_no_folder(names, tmp_path):
    long = Run("transformer", Config(steps=2), {"length": 5, "n_channels": 8}, data=names)
    with pytest.raises(Impossible, match="takes at most 4; make it longer with --set length="):
        run(long, tmp_path / "long")
    with pytest.raises(Impossible, match="expected --teacher and --distill together, got 0 teachers"):
        run(small(names, config=Config(steps=2, distill=0.5)), tmp_path / "alone")
    assert not list(tmp_path.iterdir())


def test_the_settings_say_what_is_trained_on_what(names):
    what = small(names, seeds=(0, 1))
    asked = settings(what, what.load(torch.device("cpu")))
    assert list(asked) == ["model", "sizes", "seeds", "training", "names", "vocabulary"]
    assert asked["names"]["sha256"] == what.digest() and asked["names"]["rows"] == 300
    assert asked["training"]["max_grad_norm"] == asked["training"]["ema_decay"] == 0.0
    assert not {"clip", "average"} & asked["training"].keys()
    assert asked == json.loads(json.dumps(asked))


def test_a_task_that_is_none_is_refused():
    with pytest.raises(ValueError, match=r"expected a task among \['names', .*\], got 'sounds'"):
        Run("mlp", task="sounds")


def test_content_decides_what_a_list_is(names, tmp_path):
    copied = tmp_path / "other name.txt"
    copied.write_bytes(names.read_bytes())
    assert small(copied).digest() == small(names).digest() != ""
    copied.write_bytes(names.read_bytes() + b"zoe\n")
    assert small(copied).digest() != small(names).digest()
    assert small(tmp_path / "nowhere.txt").digest() == ""


# teachers


def student(names, **more):
    sizes = {"n_embd": 3, "n_hidden": 4, "dilations": [1]}
    return Run("dilated", Config(steps=2, batch_size=4), sizes, data=names, **more)


def test_teachers_teach_their_mean_and_belong_to_the_run(names, tmp_path):
    teacher = tmp_path / "teacher"
    results = run(student(names, seeds=(0, 1)), teacher)
    assert math.isfinite(results["sd"]["val"])
    assert run(student(names), tmp_path / "one")["sd"] is None
    taught = student(names, teachers=(teacher,))
    on = taught.load(torch.device("cpu"))
    x, y = on.splits["train"]
    with torch.no_grad():
        both = [torch.softmax(load_model(teacher, seed)(x), dim=-1) for seed in (0, 1)]
    soft, counted = soft_targets(taught, on), y != IGNORE_INDEX
    torch.testing.assert_close(soft[counted], (0.5 * (both[0] + both[1]))[counted], atol=1e-5, rtol=0)
    assert soft_targets(student(names), on) is None
    before = teachers_of(taught)
    assert before[0]["run"] == "teacher" and len(before[0]["models"]) == 2
    assert "teachers" not in settings(student(names), on) and settings(taught, on)["teachers"] == before
    (teacher / "model-1.safetensors").write_bytes((teacher / "model-0.safetensors").read_bytes())
    assert teachers_of(taught) != before  # the same folder, another teacher in it


def test_a_teacher_of_another_list_is_refused(names, tmp_path):
    run(student(names), tmp_path / "teacher")
    other = tmp_path / "other.txt"
    other.write_text(names.read_text(encoding="utf-8") + "zoe\n", encoding="utf-8")
    with pytest.raises(ValueError, match="teacher: expected a teacher with the names .*, got "):
        run(student(other, teachers=(tmp_path / "teacher",)).changed(distill=0.5), tmp_path / "run")
    assert not (tmp_path / "run").exists()
