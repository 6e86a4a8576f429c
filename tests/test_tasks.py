"""The tasks: the next character of a name, and what needs a memory."""

import json
from dataclasses import replace

import pytest
import torch
from small_runs import NAMES

from common.data import IGNORE_INDEX, SHIPPED_NAMES
from common.evaluate import mean_loss
from common.models import MODELS
from common.nn import Module
from common.runs import Run, run, tasks
from common.runs.folder import load_model
from common.runs.tasks import SPLITS, TASKS, digest
from common.train import Config, Examples

CPU = torch.device("cpu")


@pytest.fixture
def short_list(tmp_path):
    path = tmp_path / "names.txt"
    path.write_text("\n".join(NAMES[:60] + ["emma"] * 5) + "\n", encoding="utf-8")
    return path


def loaded(path, alphabet="abcdefghijklmnopqrstuvwxyz", distinct=False, block_size=None):
    return TASKS["names"].load(path, alphabet, distinct, block_size, CPU)


def test_distinct_names_count_once(short_list):
    every, once = (loaded(short_list, distinct=distinct) for distinct in (False, True))
    assert every.about["names"]["rows"] == 65 and once.about["names"]["rows"] == len({*NAMES[:60], "emma"})
    assert sum(len(x) for x, _ in once.splits.values()) == once.about["names"]["rows"] < 65


@pytest.mark.parametrize("block_size", [None, 3])
def test_what_is_read_is_split_and_says_where_it_is_from(short_list, block_size):
    data = loaded(short_list, block_size=block_size)
    assert tuple(data.splits) == SPLITS and data.longest == max(NAMES[:60], key=len)
    counted = {split: int((y != IGNORE_INDEX).sum()) for split, (_, y) in data.splits.items()}
    assert data.about == {
        "names": {
            "file": "names.txt", "sha256": digest(short_list), "rows": 65, "distinct_only": False,
            "windows": counted,
        },
        "vocabulary": "abcdefghijklmnopqrstuvwxyz",
    }  # fmt: skip
    assert sum(counted.values()) == sum(len(name) + 1 for name in NAMES[:60]) + 5 * 5


def test_any_alphabet_is_that_of_the_list(short_list):
    short_list.write_text("zoé\nanne-marie\n" * 6, encoding="utf-8")
    data = loaded(short_list, alphabet=None)
    assert data.about["vocabulary"] == "-aeimnorzé"
    with pytest.raises(ValueError, match="line 1: character 'é'"):
        loaded(short_list)


def test_its_examples_and_its_metric_are_those_of_the_splits(short_list):
    data = loaded(short_list, block_size=3)
    examples = data.to_train_on()
    assert isinstance(examples, Examples) and examples.soft_targets is None
    assert examples.contexts is data.splits["train"][0] and examples.targets is data.splits["train"][1]
    model = MODELS["mlp"].build(generator=torch.Generator().manual_seed(0))
    assert data.metric(model, "val") == mean_loss(model, *data.splits["val"])
    soft = torch.zeros(len(examples.targets), 27)
    assert data.to_train_on(soft).soft_targets is soft


def test_a_list_that_has_changed_is_read_again(short_list):
    first = loaded(short_list)
    assert loaded(short_list) is first
    short_list.write_text("\n".join(NAMES[60:90]) + "\n", encoding="utf-8")
    assert loaded(short_list).about["names"]["rows"] == 30


def test_a_digest_is_that_of_the_content(short_list, tmp_path):
    assert digest(short_list) == digest(short_list) != digest(SHIPPED_NAMES)
    assert digest(tmp_path) == digest(tmp_path / "nowhere") == ""
    assert list(tasks.TASKS) == ["names", "recall", "echo", "reviews"]


# ---- tasks that draw their data ----------------------------------------------------------


@pytest.mark.parametrize("task", ["recall", "echo"])
def test_a_task_draws_the_same_sequences_in_every_run(task):
    first, again = (TASKS[task].load(CPU, delay=7) for _ in range(2))
    other = TASKS[task].load(CPU, delay=8)
    assert tuple(first.splits) == SPLITS and first.about == again.about
    assert first.about[task]["delay"] == 7 and first.about[task]["sha256"] != other.about[task]["sha256"]
    for split, count in tasks.DRAWN.items():
        assert (
            torch.equal(first.splits[split][0], again.splits[split][0])
            and len(first.splits[split][0]) == count
        )
    assert not torch.equal(first.splits["val"][0], first.splits["test"][0])


def test_what_is_measured_is_the_share_of_wrong_answers():
    class Knows(Module):
        """Answers with the first token of a sequence, but for sequences that begin with "a"."""

        packable = False

        def __call__(self, x):
            right = torch.nn.functional.one_hot(x[:, :1].expand_as(x), len(data.vocabulary)).float()
            return torch.where((x[:, :1] == wrong)[..., None], 0.0, right)

    data = TASKS["recall"].load(CPU, delay=3)
    (wrong,) = data.vocabulary.encode("a")
    share = (data.splits["val"][0][:, 0] == wrong).double().mean().item()
    assert 0.08 < share < 0.18
    assert data.metric(Knows(), "val") == pytest.approx(share)


def test_options_are_checked():
    assert TASKS["recall"].checked({}) == {"delay": 100} and TASKS["echo"].checked({"delay": 3}) == {
        "delay": 3
    }
    with pytest.raises(ValueError, match=r"expected options among \['delay'\], got length"):
        TASKS["echo"].checked({"length": 3})
    with pytest.raises(ValueError, match="expected no options of the task, got delay"):
        TASKS["names"].checked({"delay": 3})
    for value in (0, -1, True, 2.5, "3", None, 10_001):
        with pytest.raises(ValueError, match="expected delay to be a whole number from 1 to 10,000, got"):
            TASKS["echo"].checked({"delay": value})


def described(task="recall", model="lstm", **more):
    config = Config(steps=12, batch_size=16, lr=1e-2, optimizer="adam")
    sizes = {"n_embd": 4, "n_hidden": 8}
    return Run(model, config, sizes, seeds=(0, 1), task=task, options={"delay": 4}, **more)


@pytest.mark.parametrize("model", ["rnn", "lstm", "gru"])
def test_a_run_of_a_task_without_a_file(tmp_path, model):
    results = run(described(model=model), tmp_path / "run")
    assert results["task"] == "recall" and results["recall"]["delay"] == 4
    assert results["measure"] == {"name": "wrong answers", "better": "lower"}
    assert all(0.5 < one["val"] <= 1 for one in results["runs"])
    again = run(described(model=model), tmp_path / "run")
    assert again["runs"] == results["runs"]
    loaded = load_model(tmp_path / "run", 1)
    data = TASKS["recall"].load(CPU, delay=4)
    assert data.metric(loaded, "val") == pytest.approx(results["runs"][1]["val"])
    with pytest.raises(ValueError, match="differs in recall"):
        run(replace(described(model=model), options={"delay": 5}), tmp_path / "run")


def test_a_run_comes_back_from_json():
    one = described()
    assert Run.from_json(json.loads(json.dumps(one.to_json()))) == one
    assert one.digest() == "" and one.data is None
    assert Run("mlp").to_json().keys() == Run("mlp").to_json().keys() - {"options"}


@pytest.mark.parametrize(
    "more, said",
    [
        ({"data": SHIPPED_NAMES}, "recall draws its data"),
        ({"distinct": True}, "expected no file, no alphabet and no --distinct"),
        ({"alphabet": "abc"}, "recall draws its data"),
        ({"model": "mlp"}, r"expected for recall a model among \['dilated', .*, got 'mlp'"),
    ],
)
def test_a_run_refuses_what_its_task_cannot_take(more, said):
    values = {"model": "lstm", "task": "recall"} | more
    with pytest.raises(ValueError, match=said):
        Run(**values)


def test_stretches_resume_to_the_same_models(tmp_path):
    """A recurrent run, interrupted and resumed, ends with the numbers of one that was not."""
    whole = run(replace(described(), config=replace(described().config, steps=1_400)), tmp_path / "whole")

    class Stop(Exception):
        pass

    def report(step, value):
        if step == 700:
            raise Stop

    long = replace(described(), config=replace(described().config, steps=1_400))
    with pytest.raises(Stop):
        run(long, tmp_path / "cut", evaluate_every=700, report=report, checkpoint_every=700)
    resumed = run(long, tmp_path / "cut", evaluate_every=700, checkpoint_every=700)
    assert [one["val"] for one in resumed["runs"]] == [one["val"] for one in whole["runs"]]
    assert whole["mean"]["val"] < 0.05, "a delay of 4 is easy"


def test_a_transformer_too_short_for_the_task_is_told_how_to_be_longer(tmp_path):
    wanted = "sequences of recall have 41 steps, and this transformer takes at most 40; .*--set length=41"
    long = Run("transformer", Config(steps=2), task="recall", options={"delay": 40})
    with pytest.raises(ValueError, match=wanted):
        run(long, tmp_path / "run")
    assert not (tmp_path / "run").exists()
    small = {"length": 41, "n_channels": 8, "heads": 1, "blocks": 1}
    run(replace(long, sizes=small), tmp_path / "run", splits=("val",))


def test_a_search_hears_of_a_task_that_diverges(tmp_path):
    one = Run("lstm", Config(steps=40, lr=3e38), task="recall", options={"delay": 3})
    heard = []
    run(
        one,
        tmp_path / "run",
        evaluate_every=20,
        report=lambda step, value: heard.append(value),
        splits=("val",),
    )
    assert heard[-1] != heard[-1], "NaN, and no share of answers"
    assert not (tmp_path / "run" / "results.json").exists()
