"""The tasks: the next character of a name, what needs a memory, and the label of a sentence."""

import json
from collections import Counter
from dataclasses import replace

import pytest
import torch
from safetensors import safe_open
from small_runs import NAMES, labelled_file

from common.data import IGNORE_INDEX, SHIPPED_NAMES
from common.data.corpora import CORPORA
from common.data.reviews import load_labelled, split_reviews, tokenize, words_of
from common.evaluate import error_rate, mean_loss
from common.models import MODELS, tagged
from common.nn import Module
from common.runs import Run, run, tasks
from common.runs.folder import export_model, load_model
from common.runs.running import soft_targets
from common.runs.tasks import SPLITS, TASKS, Sentences, digest, sentences, vocabulary_of
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


# ---- sentences and their labels ----------------------------------------------------------


@pytest.fixture
def mine(tmp_path):
    return labelled_file(tmp_path / "mine.tsv", labels=("bad", "good", "so so"))


def of_sentences(path, steps=12, **more):
    config = Config(steps=steps, batch_size=16, lr=1e-2, optimizer="adam")
    sizes = {"n_embd": 4, "n_hidden": 6, "layer": "gru"}
    return Run("sentences", config, sizes, **{"seeds": (0, 1), "data": path, "task": "reviews"} | more)


def test_sentences_are_read_split_and_say_where_they_are_from(mine):
    data = TASKS["reviews"].load(mine, CPU, words=400)
    parts = split_reviews(load_labelled(mine))._asdict()
    words = words_of(one.text for one in parts["train"])
    assert data.vocabulary == words and data.labels == ("bad", "good", "so so") and data.outputs == 3
    for split, (x, y) in data.splits.items():
        assert [data.labels[i] for i in y] == [one.label for one in parts[split]]
        for row, one in zip(x.tolist(), parts[split], strict=True):
            read = words.encode(tokenize(one.text))
            assert row == read + [0] * (len(row) - len(read))
    val = [words.encode([w])[0] for one in parts["val"] for w in tokenize(one.text) if w.isalnum()]
    assert data.about == {
        "reviews": {
            "file": "mine.tsv", "sha256": digest(mine), "words": 400, "cut": 0,
            "unknown_words": round(val.count(words.unknown_index) / len(val), 4),
            "texts": {split: Counter(one.label for one in part) for split, part in parts.items()},
        },
        "measure": {"name": "wrong answers", "better": "lower"},
        "labels": ["bad", "good", "so so"],
        "vocabulary": " ".join(words.tokens[2:]),
    }  # fmt: skip
    assert vocabulary_of(json.loads(json.dumps(data.about))) == words
    assert TASKS["reviews"].load(mine, CPU, words=400) is data
    assert type(data.to_train_on()) is Sentences
    short = TASKS["reviews"].load(mine, CPU, words=3)
    assert {x.shape[1] for x, _ in short.splits.values()} == {3}
    assert short.about["reviews"]["cut"] == sum(
        len(tokenize(one.text)) > 3 for part in parts.values() for one in part
    )


def test_a_file_of_sentences_that_has_changed_is_read_again(mine):
    first = TASKS["reviews"].load(mine, CPU, words=400)
    labelled_file(mine, count=200)
    assert TASKS["reviews"].load(mine, CPU, words=400).labels == ("bad", "good") != first.labels


def test_sentences_of_the_corpus_name_it(fetched):
    fetched("reviews")
    data = TASKS["reviews"].load(None, CPU, words=400)
    about = data.about["reviews"]
    assert about["sha256"] == CORPORA["reviews"].sha256 and about["file"] == CORPORA["reviews"].archive
    assert sum(sum(part.values()) for part in about["texts"].values()) == 10_605
    assert data.labels == ("negative", "positive") and 0 < about["unknown_words"] < 0.15


def test_batches_have_sentences_of_similar_length_and_every_row_its_chance():
    generator = torch.Generator().manual_seed(0)
    lengths = torch.randint(1, 41, (400,), generator=generator)
    x = (torch.arange(40) < lengths[:, None]).int()
    examples = Sentences(x, torch.zeros(400, dtype=torch.long))
    drawn = [examples.draw(generator, 16) for _ in range(2_000)]
    assert all(rows.shape == (16,) for rows in drawn)
    spreads = [float(lengths[rows].max() - lengths[rows].min()) for rows in drawn]
    assert sum(spreads) / len(spreads) < 8, "of 36 or so in a batch that is not sorted"
    counts = torch.cat(drawn).bincount(minlength=400).double()
    assert counts.mean() == 80 and counts.min() > 40 and counts.max() < 130
    long = lengths > 30
    assert counts[long].mean() / counts.mean() == pytest.approx(1, abs=0.05)
    again = torch.Generator().manual_seed(3), torch.Generator().manual_seed(3)
    assert all(torch.equal(examples.draw(again[0], 4), examples.draw(again[1], 4)) for _ in range(20))


def test_no_text_without_a_word_becomes_a_row():
    words = words_of(["good good film"])
    assert sentences(["film", "good film good"], words, 2).tolist() == [[1, 0], [2, 1]]
    with pytest.raises(ValueError, match="expected texts of at least one word"):
        sentences(["good", " "], words, 5)


def test_a_run_of_sentences_learns_and_keeps_what_a_prediction_needs(mine, tmp_path):
    what = of_sentences(mine, steps=150).changed(lr=3e-2)
    results = run(what, tmp_path / "run", compile=False)
    assert results["measure"]["name"] == "wrong answers" and results["labels"] == ["bad", "good", "so so"]
    assert all(one["val"] <= 0.1 for one in results["runs"]), "one of three labels would be guessed"
    data = what.load(CPU)
    mine.unlink()
    model = load_model(tmp_path / "run", 1)
    assert error_rate(model, *data.splits["test"]) == results["runs"][1]["test"]
    assert type(model.recurrent).__name__ == "GRU" and model.output.weight.shape == (12, 3)
    export_model(tmp_path / "run", 0, tmp_path / "model.safetensors")
    with safe_open(tmp_path / "model.safetensors", "pt") as file:
        about = file.metadata()
    assert json.loads(about["labels"]) == ["bad", "good", "so so"]
    assert about["reviews"] == results["reviews"]["sha256"] and about["vocabulary"] == results["vocabulary"]


def test_sentences_resume_to_the_same_models(mine, tmp_path):
    class Stop(Exception):
        pass

    def report(step, value):
        if step == 20:
            raise Stop

    long = of_sentences(mine, steps=40)
    whole = run(long, tmp_path / "whole", evaluate_every=20)
    with pytest.raises(Stop):
        run(long, tmp_path / "cut", evaluate_every=20, report=report, checkpoint_every=20)
    resumed = run(long, tmp_path / "cut", evaluate_every=20, checkpoint_every=20)
    assert resumed["runs"] == whole["runs"] and resumed["curve"] == whole["curve"]
    for seed in (0, 1):
        ours, theirs = (load_model(tmp_path / name, seed).state_dict() for name in ("whole", "cut"))
        assert all(torch.equal(tensor, theirs[name]) for name, tensor in ours.items())
        assert not ours["embedding.weight"][0].any()


def test_a_folder_of_other_sentences_is_left_as_it_is(mine, tmp_path):
    run(of_sentences(mine), tmp_path / "run")
    before = {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()}
    with pytest.raises(ValueError, match="holds another run, which differs in reviews; choose another"):
        run(of_sentences(mine, options={"words": 5}), tmp_path / "run")
    with pytest.raises(ValueError, match="holds another run, which differs in .*model.*task.*vocabulary"):
        run(described(), tmp_path / "run")
    assert {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()} == before


def test_a_run_of_sentences_comes_back_from_json(mine):
    one = of_sentences(mine)
    assert Run.from_json(json.loads(json.dumps(one.to_json()))) == one and one.digest() == digest(mine)
    corpus = of_sentences(None)
    assert Run.from_json(json.loads(json.dumps(corpus.to_json()))) == corpus and corpus.data is None


def test_teachers_of_sentences_teach_labels(mine, tmp_path):
    results = run(of_sentences(mine), tmp_path / "teacher")
    taught = of_sentences(mine, teachers=(tmp_path / "teacher",), seeds=(3,))
    taught = taught.changed(distill=0.5)
    data = taught.load(CPU)
    soft = soft_targets(taught, data)
    x, y = data.splits["train"]
    with torch.no_grad():
        both = [load_model(tmp_path / "teacher", seed)(x).softmax(-1) for seed in (0, 1)]
    torch.testing.assert_close(soft, (both[0] + both[1]) / 2)
    assert run(taught, tmp_path / "student")["teachers"][0]["run"] == "teacher" and results["seeds"] == [0, 1]
    other = labelled_file(tmp_path / "other.tsv", seed=1)
    wrong = of_sentences(other, teachers=(tmp_path / "teacher",)).changed(distill=0.5)
    with pytest.raises(ValueError, match="expected a teacher with the reviews") as error:
        run(wrong, tmp_path / "wrong")
    assert len(str(error.value)) < 1_500


@pytest.mark.parametrize("model", tagged("trainable"))
def test_a_model_goes_with_the_tasks_that_suit_it(model):
    whole = MODELS[model].block_size is None
    expected = {"names": True, "recall": whole, "echo": whole, "reviews": False}
    if model == "sentences":
        expected = {task: task == "reviews" for task in TASKS}
    for task, fits in expected.items():
        if fits:
            assert Run(model, task=task).task == task
        else:
            with pytest.raises(ValueError, match=rf"expected for {task} a model among \[.*\], got '{model}'"):
                Run(model, task=task)


@pytest.mark.parametrize("more", [{"alphabet": "abc"}, {"alphabet": None}, {"distinct": True}])
def test_sentences_have_no_alphabet(more):
    with pytest.raises(ValueError, match="expected no alphabet and no --distinct: reviews reads texts"):
        Run("sentences", task="reviews", **more)


UNSPLIT = {
    "too few": ("a\tone\nb\ttwo\n" * 2, "expected enough texts to split 80/10/10, got 2 that differ"),
    "too few words": (
        "".join(f"{'ab'[n % 2]}\tword{n}\n" for n in range(40)),
        "expected a word that stands 2 times, got 32 words that do not",
    ),
    "a label that is not trained": (
        "".join(f"{'ab'[n % 2]}\tthe word{n} word{n}\n" for n in range(400)) + "c\tthe end\nc\tthe End!\n",
        "expected more texts with the label 'c', got none to train on",
    ),
}


@pytest.mark.parametrize("name", UNSPLIT)
def test_what_cannot_be_split_is_refused_with_the_files_name(tmp_path, name):
    content, wanted = UNSPLIT[name]
    path = tmp_path / "mine.tsv"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(ValueError, match=wanted) as error:
        run(of_sentences(path), tmp_path / "run")
    assert str(error.value).startswith(f"{path}: ") and not (tmp_path / "run").exists()


def test_settings_without_labels_are_no_run_of_sentences(mine, tmp_path):
    run(of_sentences(mine), tmp_path / "run")
    config = tmp_path / "run" / "config.json"
    settings = json.loads(config.read_text(encoding="utf-8"))
    for labels in ({}, {"labels": []}, {"labels": "good"}):
        config.write_text(json.dumps({k: v for k, v in settings.items() if k != "labels"} | labels))
        with pytest.raises(ValueError, match="expected labels with a model of sentences"):
            load_model(tmp_path / "run", 0)
