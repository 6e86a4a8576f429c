"""The command line trains, resumes to the same result, samples, and refuses bad input in one line."""

import errno
import io
import json
import os
import re
import signal
import subprocess
import sys
import tomllib
import unicodedata
from dataclasses import asdict, replace
from hashlib import sha256
from pathlib import Path

import pytest
import torch
from filelock import FileLock
from safetensors.torch import load_file, save_file
from small_runs import labelled_file

import common
from common import fast
from common.data import SHIPPED_NAMES, Vocabulary, load_names, split_names, windows
from common.evaluate import mean_loss, spread
from common.models import MODELS
from common.runs import command as command_line
from common.runs import running, training
from common.runs.lists import load_list
from common.train import OPTIMIZERS, SCHEDULES, Config

SOURCE = Path(common.__file__).parents[1]
SPLITS = ("train", "val", "test")
STEPS = 40


@pytest.fixture(autouse=True)
def no_list_of_the_user(monkeypatch):
    monkeypatch.delenv("NAMES", raising=False)


def write_list(folder, count=300):
    path = folder / "short.txt"
    path.write_text("\n".join(load_names(SHIPPED_NAMES)[:count]) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def short_list(tmp_path):
    return write_list(tmp_path)


def run(*arguments):
    return command_line.main([str(argument) for argument in arguments])


def arguments_of(names, out, *more, model="mlp", steps=STEPS):
    arguments = ["train", "--model", model, "--names", names, "--steps", steps, "--out", out]
    return [*arguments, "--device", "cpu", "--no-compile", *more]


def train(names, out, *more, model="mlp", steps=STEPS):
    return run(*arguments_of(names, out, *more, model=model, steps=steps))


def read(path):
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished run of the model with the most peculiar tensors, for two seeds. Read only."""
    folder = tmp_path_factory.mktemp("finished")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("NAMES", raising=False)
        assert train(write_list(folder), folder / "run", "--seeds", 2, model="hierarchical-bug") == 0
    return folder / "run"


def windows_of(names, key, vocabulary):
    block_size = MODELS[key].block_size
    parts = split_names(names)
    return {split: windows(part, vocabulary, block_size) for split, part in zip(SPLITS, parts, strict=True)}


# train


def test_a_run_can_be_taught_by_another_and_leave_the_test_split_closed(tmp_path, short_list, capsys):
    small = ["--set", "n_embd=4", "n_hidden=8", "--batch-size", 8, "--optimizer", "muon", "--lr", 0.01]
    teacher, out = tmp_path / "teacher", tmp_path / "taught"
    assert train(short_list, teacher, *small, "--no-test", model="dilated", steps=6) == 0
    assert "test" not in capsys.readouterr().out and "test" not in read(teacher / "results.json")["mean"]
    taught = [*small, "--teacher", teacher, "--distill", 0.9]
    assert train(short_list, out, *taught, model="dilated", steps=6) == 0
    assert read(out / "results.json")["teachers"][0]["run"] == "teacher"
    a, b = (load_file(folder / "model-0.safetensors") for folder in (teacher, out))
    assert any(not torch.equal(a[name], b[name]) for name in a)
    (tmp_path / "other").mkdir()
    other = write_list(tmp_path / "other", count=200)
    assert train(other, tmp_path / "third", *taught, model="dilated", steps=6) == 2
    assert "expected a teacher with the names" in capsys.readouterr().err
    assert train(short_list, tmp_path / "fourth", "--set", "n_hiden=8", model="dilated") == 2
    assert "expected sizes among" in capsys.readouterr().err


def test_a_run_leaves_all_its_files(finished):
    assert sorted(path.name for path in finished.iterdir()) == [
        "checkpoint.pt",
        "config.json",
        "history.safetensors",
        "model-0.safetensors",
        "model-1.safetensors",
        "results.json",
    ]
    losses = load_file(finished / "history.safetensors")["losses"]
    assert losses.shape == (2, STEPS)
    assert losses[:, -5:].mean() < losses[:, :5].mean()
    assert not torch.equal(losses[0], losses[1])


def test_results_say_what_was_run(finished):
    results, path = read(finished / "results.json"), finished.parent / "short.txt"
    names = load_list(path)
    assert results["model"] == "hierarchical-bug" and results["seeds"] == [0, 1]
    assert results["training"] == {**asdict(Config(steps=STEPS)), "betas": [0.9, 0.999]}
    assert results["sizes"] == {}
    assert results["names"] == {
        "file": "short.txt",
        "sha256": sha256(path.read_bytes()).hexdigest(),
        "rows": 300,
        "distinct_only": False,
        "windows": {
            split: sum(len(name) + 1 for name in part)
            for split, part in zip(SPLITS, split_names(names), strict=True)
        },
    }
    assert results["vocabulary"] == "abcdefghijklmnopqrstuvwxyz"
    assert [run["seed"] for run in results["runs"]] == [0, 1]
    assert [run["parameters"] for run in results["runs"]] == [22_397] * 2
    for split in SPLITS:
        expected = spread(run[split] for run in results["runs"])
        assert (results["mean"][split], results["sd"][split]) == expected
    provenance = results["provenance"]
    assert set(provenance) >= {"commit", "date", "machine", "device", "torch", "seconds_of_last_start"}
    assert provenance["device"] == "cpu" and provenance["torch"] == torch.__version__.split("+")[0]
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", provenance["date"])
    settings = read(finished / "config.json")
    assert settings == {key: results[key] for key in settings}
    assert set(settings) == {"model", "sizes", "seeds", "training", "names", "vocabulary"}


def test_results_are_those_of_the_saved_parameters(finished):
    results = read(finished / "results.json")
    vocabulary = Vocabulary(results["vocabulary"])
    names = load_list(finished.parent / "short.txt")
    data = windows_of(names, "hierarchical-bug", vocabulary)
    for stored in results["runs"]:
        tensors = load_file(finished / f"model-{stored['seed']}.safetensors")
        model = MODELS["hierarchical-bug"].build(len(vocabulary)).load_state_dict(tensors)
        assert {split: stored[split] for split in SPLITS} == pytest.approx(
            {split: mean_loss(model, *data[split]) for split in SPLITS}, abs=1e-6
        )
    assert results["runs"][0]["val"] != results["runs"][1]["val"]


def test_seed_0_of_many_is_seed_0_alone(finished, tmp_path, capsys):
    names = finished.parent / "short.txt"
    assert train(names, tmp_path / "one", model="hierarchical-bug") == 0
    alone, among = read(tmp_path / "one" / "results.json"), read(finished / "results.json")
    assert alone["runs"][0] == pytest.approx(among["runs"][0], abs=1e-6)
    assert alone["sd"] is None
    lines = capsys.readouterr().out.splitlines()
    assert re.search(r"mean ± sd .* train \d\.\d{3}  val \d\.\d{3}  test \d\.\d{3}$", lines[1])


def test_one_line_a_seed_and_the_mean_are_printed(short_list, tmp_path, capsys):
    assert train(short_list, tmp_path / "run", "--seeds", 3) == 0
    *lines, last = capsys.readouterr().out.splitlines()
    results = read(tmp_path / "run" / "results.json")
    for line, stored in zip(lines, results["runs"], strict=True):
        losses = "  ".join(f"{split} {stored[split]:.4f}" for split in SPLITS)
        assert line.split(None, 2) == ["seed", str(stored["seed"]), f"12,097 parameters  {losses}"]
    summary = "  ".join(
        f"{split} {results['mean'][split]:.3f} ± {results['sd'][split]:.3f}" for split in SPLITS
    )
    assert last.strip() == f"mean ± sd  12,097 parameters  {summary}"


def test_a_finished_run_is_not_trained_again(short_list, tmp_path, monkeypatch, capsys):
    out = tmp_path / "run"
    assert train(short_list, out) == 0
    said, before = capsys.readouterr().out, (out / "results.json").read_bytes()

    def never(*arguments):
        raise AssertionError("trained again")

    monkeypatch.setattr(fast.PlainLoop, "steps", never)
    assert train(short_list, out) == 0
    assert capsys.readouterr().out == said != ""
    assert train(short_list, out, "--no-test") == 0
    assert "test" not in capsys.readouterr().out and (out / "results.json").read_bytes() == before
    assert "differs in curve" in refused(capsys, *arguments_of(short_list, out, "--evaluate-every", 10))
    assert (out / "results.json").read_bytes() == before


@pytest.mark.parametrize("more, compile", [([], True), (["--no-compile"], False)])
def test_the_loop_is_compiled_unless_asked_not_to(short_list, tmp_path, monkeypatch, more, compile):
    asked = {}

    def spy(models, examples, generators, config, **options):
        asked.update(options, config=config, device=examples.contexts.device.type)
        return torch.zeros(len(models), config.steps)

    monkeypatch.setattr(running, "train", spy)
    out = tmp_path / "run"
    arguments = ["train", "--model", "mlp", "--names", short_list, "--out", out, "--device", "cpu"]
    assert run(*arguments, *more) == 0
    assert asked["compile"] is compile
    assert asked["config"].steps == 200_000
    assert asked["checkpoint"] == out / "checkpoint.pt"
    assert asked["device"] == "cpu"


@pytest.mark.parametrize(
    "changed, key",
    [
        (["--steps", STEPS + 1], "training"),
        (["--seeds", 2], "seeds"),
        (["--model", "flat"], "model"),
        (["--distinct"], "names"),
        (["--alphabet", "any"], "vocabulary"),
    ],
    ids=str,
)
def test_another_run_into_the_same_folder_is_refused(short_list, tmp_path, capsys, changed, key):
    names = ["emma", "ava", "mia", "amelia", "anna", "ella", "lea", "emilia", "lila", "mila", "elma", "ima"]
    short_list.write_text("\n".join(names * 2) + "\n", encoding="utf-8")
    out = tmp_path / "run"
    assert train(short_list, out) == 0
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    capsys.readouterr()
    assert train(short_list, out, *changed) == 2
    printed = capsys.readouterr()
    assert re.fullmatch(rf"error: .*holds another run, which differs in .*\b{key}\b.*\n", printed.err)
    assert printed.out == ""
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


def test_a_changed_list_is_another_run(short_list, tmp_path, capsys):
    assert train(short_list, tmp_path / "run") == 0
    text = short_list.read_text(encoding="utf-8")
    short_list.write_text(text.replace("emma", "emmo", 1), encoding="utf-8")
    assert train(short_list, tmp_path / "run") == 2
    assert "differs in names" in capsys.readouterr().err


def test_distinct_names_are_used_once(tmp_path):
    path = tmp_path / "list.txt"
    names = ["emma", "ava", "mia"] + [f"n{letter}" for letter in "abcdefghijklmnop"]
    path.write_text("\n".join(names * 3) + "\n", encoding="utf-8")
    assert train(path, tmp_path / "run", "--distinct", steps=2) == 0
    stored = read(tmp_path / "run" / "results.json")["names"]
    assert stored["rows"] == len(names) and stored["distinct_only"] is True
    assert sum(stored["windows"].values()) == sum(len(name) + 1 for name in names)


def test_the_variable_NAMES_names_the_list(short_list, tmp_path, monkeypatch):
    monkeypatch.setenv("NAMES", str(short_list))
    out = tmp_path / "run"
    options = ["--steps", 2, "--device", "cpu", "--no-compile"]
    assert run("train", "--model", "mlp", "--out", out, *options) == 0
    assert read(out / "config.json")["names"]["file"] == "short.txt"


def test_a_list_of_ones_own_is_named_by_either_word(finished, short_list, tmp_path, capsys):
    options = ["--steps", 2, "--device", "cpu", "--no-compile"]
    assert run("train", "--model", "mlp", "--data", short_list, "--out", tmp_path / "run", *options) == 0
    assert read(tmp_path / "run" / "config.json")["names"]["file"] == "short.txt"
    path = finished.parent / "short.txt"
    one, other = (sampled(capsys, finished, "--new", word, path) for word in ("--data", "--names"))
    assert one == other


def test_a_list_with_accents(tmp_path, capsys):
    names = ["Zoé", "Anne-Marie", "Łukasz", "d'Arc", "Jürgen", "Ève", "Noël", "Mary Jane", "Ömer", "Ana"]
    path, out = tmp_path / "liste.txt", tmp_path / "run"
    path.write_text("\r\n".join(names * 2) + "\r\n", encoding="utf-8-sig")
    assert train(path, out, steps=5) == 2
    assert "line 1: character 'Z' in 'Zoé'" in capsys.readouterr().err
    assert not out.exists()
    assert train(path, out, "--alphabet", "any", steps=5) == 0
    characters = "".join(sorted(set("".join(names))))
    assert read(out / "results.json")["vocabulary"] == characters
    capsys.readouterr()
    assert run("sample", "--run", out, "--prefix", "Zoé", "-n", 5) == 0
    drawn = capsys.readouterr().out.splitlines()
    assert len(drawn) == 5 and all(name.startswith("Zoé") for name in drawn)
    assert set("".join(drawn)) <= set(characters)
    other = tmp_path / "other"
    assert train(path, other, "--alphabet", characters + "Q", steps=5) == 0
    assert "Q" in read(other / "config.json")["vocabulary"]


# sizes


TINY = {
    "mlp": ["n_embd=4"],
    "dilated": ["n_embd=4"],
    "wavenet": ["n_channels=4", "n_skip=4"],
    "recurrent": ["n_embd=4"],
    "transformer": ["blocks=1"],
}


@pytest.mark.parametrize("word", ["False", "no", "OFF", "true", "Yes", "on"])
def test_a_part_is_switched_by_its_word(short_list, tmp_path, word):
    asked = word.lower() in ("true", "yes", "on")
    sizes = [*TINY["wavenet"], f"gate={word}"]
    assert train(short_list, tmp_path / "run", "--set", *sizes, model="wavenet", steps=1) == 0
    assert read(tmp_path / "run" / "config.json")["sizes"]["gate"] is asked
    tensors = load_file(tmp_path / "run" / "model-0.safetensors")
    widths = {t.shape[-1] for name, t in tensors.items() if t.ndim == 3}  # of the convolutions
    assert widths == {8 if asked else 4}
    assert run("sample", "--run", tmp_path / "run", "-n", 2) == 0


@pytest.mark.parametrize(
    "model, size, message",
    [
        ("mlp", "n_hidden=abc", "n_hidden to be a whole number of at least 1, got 'abc'"),
        ("mlp", "n_hidden=", "n_hidden to be a whole number of at least 1, got ''"),
        ("mlp", "n_hidden=20.5", "n_hidden to be a whole number"),
        ("mlp", "n_hidden=-3", "n_hidden to be a whole number"),
        ("mlp", "n_hidden=0", "n_hidden to be a whole number"),
        ("mlp", "n_hidden=true", "n_hidden to be a whole number .*, got True"),
        ("mlp", "n_hidden=1e999", "n_hidden to be a whole number .*, got inf"),
        ("mlp", "n_hidden=[8,8]", "n_hidden to be a whole number"),
        ("mlp", "n_hidden=2000000000", "no model of the sizes .*'n_hidden': 2000000000.* can be built"),
        ("mlp", "n_embd=8", "--set: expected one value for n_embd, got 4 and 8"),
        ("wavenet", "gate=maybe", "gate to be true or false, got 'maybe'"),
        ("wavenet", "gate=0", "gate to be true or false, got 0"),
        ("wavenet", "dilations=2", "dilations to be a list of whole numbers"),
        ("wavenet", "dilations=[1,2,4", "dilations to be a list of whole numbers"),
        ("wavenet", "dilations=[1,0]", "dilations to be a list of whole numbers"),
        ("wavenet", "dilations=[]", "at least one dilation, got none"),
        ("wavenet", "dropout=NaN", "dropout to be a number from 0 to below 1, got nan"),
        ("wavenet", "dropout=1", "dropout to be a number from 0 to below 1"),
        ("wavenet", "kernel_size=0", "kernel_size to be a whole number"),
        ("dilated", "n_hidden=[8,0,8]", "n_hidden to be a whole number of at least 1, or a list of them"),
        ("dilated", "activation=3", "activation to be a word, got 3"),
        ("dilated", "activation=step", "expected one of .*'tanh'"),
        ("recurrent", "cell=1", "cell to be a word"),
        ("transformer", "heads=0", "heads to be a whole number"),
        ("transformer", "heads=5", "channels that 5 heads can share, got 48"),
    ],
    ids=lambda value: value if "=" in value or value in TINY else "",
)
def test_a_size_that_is_none_leaves_no_folder(short_list, tmp_path, capsys, model, size, message):
    sizes = ["--set", *TINY[model], size]
    line = refused(capsys, *arguments_of(short_list, tmp_path / "run", *sizes, model=model))
    assert re.search(message, line)
    assert not (tmp_path / "run").exists()


def test_an_option_given_twice_adds_up(short_list, tmp_path):
    teachers = [tmp_path / name for name in ("a", "b")]
    small = ["--set", "n_hidden=4", "--set", "n_embd=3"]
    for seed, folder in enumerate(teachers):
        assert train(short_list, folder, *small, "--first-seed", seed, steps=2) == 0
        assert read(folder / "config.json")["sizes"] == {"n_hidden": 4, "n_embd": 3}
    taught = ["--distill", 0.5, *(part for folder in teachers for part in ("--teacher", folder))]
    assert train(short_list, tmp_path / "taught", *small, *taught, steps=2) == 0
    assert [one["run"] for one in read(tmp_path / "taught" / "config.json")["teachers"]] == ["a", "b"]


# names that are too long


def test_a_name_that_a_transformer_has_no_place_for_fails_before_training(short_list, tmp_path, capsys):
    long = "ab" * 22
    short_list.write_text(short_list.read_text(encoding="utf-8") + long + "\n", encoding="utf-8")
    small = ["--set", "n_channels=8", "heads=2", "blocks=1"]
    arguments = arguments_of(short_list, tmp_path / "run", *small, model="transformer", steps=2)
    line = refused(capsys, *arguments)
    assert str(short_list) in line and repr(long) in line
    assert "has 44 characters, and this transformer takes at most 39" in line and "--set length=45" in line
    assert not (tmp_path / "run").exists()
    assert train(short_list, tmp_path / "run", *small, "length=45", model="transformer", steps=2) == 0


def test_a_transformer_is_sampled_as_far_as_it_goes(short_list, tmp_path, capsys):
    few = [name for name in short_list.read_text(encoding="utf-8").split() if len(name) < 6]
    short_list.write_text("\n".join(few) + "\n", encoding="utf-8")
    small = ["--set", "n_channels=8", "heads=2", "blocks=1", "length=6"]
    assert train(short_list, tmp_path / "run", *small, model="transformer", steps=2) == 0
    for more in ([], ["--pattern", "a*"], ["--pattern", "a*", "--exact"]):
        names = sampled(capsys, tmp_path / "run", "-n", 100, *more)
        assert len(names) == 100 and max(map(len, names)) == 6 - ("--exact" in more)
    assert "prefix of fewer than max_length = 6" in refused(
        capsys, "sample", "--run", tmp_path / "run", "--prefix", "abcdef"
    )


# a folder is claimed last


@pytest.mark.parametrize(
    "wrong",
    [
        ["--batch-size", 1],
        ["--distill", 0.5],
        ["--teacher", "nowhere", "--distill", 0.5],
        ["--set", "n_hidden=0"],
        ["--evaluate-every", -5],
    ],
    ids=str,
)
def test_a_start_that_fails_claims_no_folder(short_list, tmp_path, capsys, wrong):
    refused(capsys, *arguments_of(short_list, tmp_path / "run", *wrong))
    assert not (tmp_path / "run").exists()
    assert train(short_list, tmp_path / "run", steps=2) == 0


def test_a_claim_with_nothing_in_it_is_taken_over_unless_somebody_is_at_work(short_list, tmp_path, capsys):
    out = tmp_path / "run"
    assert train(short_list, out, "--lr", 0.2, steps=2) == 0
    for path in out.iterdir():
        if path.name != "config.json":
            path.unlink()
    with FileLock(out / ".lock"):
        assert "holds another run" in refused(capsys, *arguments_of(short_list, out, steps=2))
    assert read(out / "config.json")["training"]["lr"] == 0.2
    assert train(short_list, out, steps=2) == 0
    assert read(out / "results.json")["training"]["lr"] == 0.1
    assert not (out / ".lock").exists()


def test_a_config_of_something_else_is_left_alone(short_list, tmp_path, capsys):
    (tmp_path / "config.json").write_text('{"theme": "dark"}', encoding="utf-8")
    assert "holds another run" in refused(capsys, *arguments_of(short_list, tmp_path, steps=2))
    assert read(tmp_path / "config.json") == {"theme": "dark"}


# divergence


DIVERGING = ["--lr", 1e30, "--seeds", 2, "--schedule", "constant"]


def test_a_run_that_diverges_stops_says_so_and_leaves_no_results(short_list, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(training, "CHUNK", 5)
    taken, steps = [], fast.PlainLoop.steps
    monkeypatch.setattr(fast.PlainLoop, "steps", lambda self, *ends: taken.append(ends) or steps(self, *ends))
    out = tmp_path / "run"
    lines = []
    for _ in range(2):
        assert train(short_list, out, *DIVERGING) == 2
        printed = capsys.readouterr()
        lines.append(printed.err.splitlines()[-1])  # a bar may stand above it
        assert printed.out == "" and lines[-1].startswith("error: ")
    assert lines[0] == lines[1]
    found = re.search(r"seeds 0, 1 diverged: .* from about step (\d) on\. Lower --lr", lines[0])
    assert found and 1 < int(found[1]) <= 5
    assert taken == [(0, 5), (0, 5)], "it stops within a chunk, and does not resume from NaN"
    assert [path.name for path in out.iterdir()] == ["config.json"]
    assert train(short_list, out) == 0, "the corrected command may have the folder"


def test_a_model_whose_weights_are_no_numbers_is_not_sampled(finished, tmp_path, capsys):
    (tmp_path / "config.json").write_bytes((finished / "config.json").read_bytes())
    tensors = load_file(finished / "model-0.safetensors")
    tensors["embedding.weight"][3, 2] = float("nan")
    save_file(tensors, tmp_path / "model-0.safetensors")
    line = refused(capsys, "sample", "--run", tmp_path)
    assert "model-0.safetensors: some weights are NaN or infinite" in line


@pytest.mark.parametrize("text", ["[]", '{"model": "mlp"}', '{"model": "mlp", "vocabulary": "", "sizes": 3}'])
def test_a_config_that_says_too_little_is_refused(tmp_path, capsys, text):
    (tmp_path / "config.json").write_text(text, encoding="utf-8")
    (tmp_path / "model-0.safetensors").write_bytes(b"")
    assert f"{tmp_path / 'config.json'}: expected" in refused(capsys, "sample", "--run", tmp_path)


# printing


class Output(io.TextIOWrapper):
    """A stream that fails as a closed pipe or a full disk does."""

    def __init__(self, number):
        super().__init__(io.BytesIO(), encoding="utf-8")
        self.number = number

    def write(self, text):
        raise OSError(self.number, os.strerror(self.number))


@pytest.mark.parametrize(
    "number, status, said",
    [
        (errno.EPIPE, 141, ""),
        (errno.ENOSPC, 2, "error: standard output: No space left on device\n"),
    ],
    ids=["closed pipe", "full disk"],
)
def test_no_result_is_lost_where_nothing_can_be_printed(
    short_list, tmp_path, capsys, monkeypatch, number, status, said
):
    monkeypatch.setattr(sys, "stdout", Output(number))
    assert train(short_list, tmp_path / "run", "--seeds", 2, steps=2) == status
    printed = capsys.readouterr().err
    assert printed.endswith(said) and ("error" in printed) == bool(said)
    assert set(read(tmp_path / "run" / "results.json")["mean"]) == set(SPLITS)
    assert (tmp_path / "run" / "model-1.safetensors").exists()
    assert run("sample", "--run", tmp_path / "run", "-n", 3) == status


def test_what_an_encoding_lacks_is_printed_in_what_it_has(short_list, tmp_path, monkeypatch):
    short_list.write_text("zoé\néva\nanna\n" * 10, encoding="utf-8")
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding="ascii"))
    arguments = ["--seeds", 2, "--alphabet", "any"]
    assert train(short_list, tmp_path / "run", *arguments, steps=2) == 0
    assert run("sample", "--run", tmp_path / "run", "--prefix", "zoé", "-n", 1) == 0
    printed = sys.stdout.buffer.getvalue().decode("ascii").splitlines()
    assert printed[2].startswith("mean +/- sd") and printed[3].startswith("zo\\xe9")
    assert read(tmp_path / "run" / "results.json")["sd"]["val"] >= 0


# interrupted


# the command, but that it keeps a checkpoint every 10 steps, and sends itself a signal after its first
IMPATIENT = """
import os, sys
from functools import partial
from common.runs import checkpoints, command as command_line, training

def store_and_signal(*arguments):
    store(*arguments)
    os.kill(os.getpid(), number)

training.CHUNK, store, number = 10, checkpoints._store, int(sys.argv.pop(1))
checkpoints._store = store_and_signal if number else store
command_line.run = partial(command_line.run, checkpoint_every=10)
sys.exit(command_line.main())
"""


def started(number, *arguments):
    environment = {key: value for key, value in os.environ.items() if key != "NAMES"}
    return subprocess.Popen(
        [sys.executable, "-c", IMPATIENT, *map(str, [int(number), *arguments])],
        env=environment | {"PYTHONPATH": str(SOURCE), "OMP_NUM_THREADS": "1", "TQDM_DISABLE": "1"},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, encoding="utf-8",
    )  # fmt: skip


def ended(process):
    out, err = process.communicate(timeout=300)
    return process.returncode, out, err


def mlp_of_names(folder):
    return write_list(folder), "mlp", ()


def classifier_of_sentences(folder):
    """With dropout, and batches that are drawn by length."""
    sizes = ("--set", "n_embd=4", "n_hidden=6", "pool=max")
    return labelled_file(folder / "mine.tsv"), "sentences", ("--task", "reviews", *sizes)


@pytest.mark.skipif(os.name != "posix", reason="needs SIGKILL")
@pytest.mark.parametrize("of", [mlp_of_names, classifier_of_sentences])
def test_a_run_killed_and_interrupted_ends_as_one_that_was_not(of, tmp_path):
    steps, out = 100, tmp_path / "run"
    path, model, more = of(tmp_path)
    whole = started(0, *arguments_of(path, tmp_path / "whole", *more, model=model, steps=steps))
    arguments = arguments_of(path, out, *more, model=model, steps=steps)
    interrupted = "\ninterrupted; the same command resumes from the last checkpoint\n"
    for number, expected in (
        (signal.SIGKILL, (-signal.SIGKILL, "", "")),
        (signal.SIGINT, (130, "", interrupted)),
    ):
        assert ended(started(number, *arguments)) == expected
        assert torch.load(out / "checkpoint.pt", weights_only=True)["done"] == (10 if expected[0] < 0 else 20)
        assert not (out / "results.json").exists()

    for process in (started(0, *arguments), whole):
        status, printed, message = ended(process)
        assert (status, message, len(printed.splitlines())) == (0, "", 2)
    for name in ("history", "model-0"):
        a, b = (load_file(folder / f"{name}.safetensors") for folder in (out, tmp_path / "whole"))
        assert a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)
    a, b = (read(folder / "results.json") for folder in (out, tmp_path / "whole"))
    assert a.pop("provenance") and b.pop("provenance")
    assert a == b
    assert load_file(out / "history.safetensors")["losses"].shape == (1, steps)


@pytest.mark.parametrize("arguments", [["-m", "common"], ["-c", "SCRIPT"]], ids=["module", "script"])
def test_without_the_extra_one_line_says_what_to_install(tmp_path, arguments):
    """As after `pip install wavenet-book`: the packages of the extra are not there."""
    (tmp_path / "filelock.py").write_text("raise ModuleNotFoundError(\"No module named 'filelock'\")\n")
    pyproject = tomllib.loads((SOURCE.parent / "pyproject.toml").read_text(encoding="utf-8"))
    module, _, function = pyproject["project"]["scripts"]["wavenet-book"].partition(":")
    script = f"import sys; from {module} import {function}; sys.exit({function}())"
    arguments = [script if argument == "SCRIPT" else argument for argument in arguments]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(SOURCE)])}
    done = subprocess.run(
        [sys.executable, *arguments, "train"], env=environment, capture_output=True, text=True, cwd=tmp_path
    )
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: No module named 'filelock'; pip install 'wavenet-book[runs]'")


def test_an_interrupt_ends_in_one_line(short_list, tmp_path, monkeypatch, capsys):
    def interrupt(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(running, "train", interrupt)
    try:
        status = train(short_list, tmp_path / "run")
    except KeyboardInterrupt:
        pytest.fail("the interrupt came through")
    assert status == 130
    assert capsys.readouterr().err.strip().startswith("interrupted; the same command resumes")


def test_an_interrupt_promises_a_checkpoint_only_where_there_are_some(finished, monkeypatch, capsys):
    def interrupt(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(command_line, "sample", interrupt)
    assert run("sample", "--run", finished) == 130
    assert capsys.readouterr().err.strip() == "interrupted"


# sample


def sampled(capsys, folder, *arguments):
    capsys.readouterr()
    assert run("sample", "--run", folder, *arguments) == 0
    return capsys.readouterr().out.splitlines()


def test_names_are_printed_one_a_line(finished, capsys):
    assert len(sampled(capsys, finished)) == 20
    names = sampled(capsys, finished, "--prefix", "em", "--temperature", 0.8, "-n", 7, "--seed", 1)
    assert len(names) == 7
    assert all(name.startswith("em") for name in names)


def test_a_seed_decides_the_names(finished, capsys):
    first = sampled(capsys, finished, "--seed", 1)
    assert sampled(capsys, finished, "--seed", 1) == first
    assert sampled(capsys, finished, "--seed", 2) != first
    assert sampled(capsys, finished, "--seed", 0) == sampled(capsys, finished)


def test_each_seeds_model_can_be_sampled(finished, capsys):
    vocabulary = Vocabulary("abcdefghijklmnopqrstuvwxyz")
    names = load_list(finished.parent / "short.txt")
    data = windows_of(names, "hierarchical-bug", vocabulary)["val"]
    models = [load_file(finished / f"model-{seed}.safetensors") for seed in (0, 1)]
    losses = [
        mean_loss(MODELS["hierarchical-bug"].build().load_state_dict(tensors), *data) for tensors in models
    ]
    assert losses[0] != losses[1]
    drawn = [sampled(capsys, finished, "--model-seed", seed) for seed in (0, 1)]
    assert drawn[0] != drawn[1]
    assert drawn[0] == sampled(capsys, finished)


def test_a_low_temperature_prints_one_name(finished, capsys):
    assert len(set(sampled(capsys, finished, "--temperature", 1e-6))) == 1
    assert len(set(sampled(capsys, finished, "--temperature", 2))) > 10


def test_names_keep_to_constraints(finished, capsys):
    asked = ["--pattern", "a*", "--length", "3-5", "--alphabet", "aeimnr", "--top-k", 20, "--top-p", 0.95]
    for more in ([], ["--exact"]):
        names = sampled(capsys, finished, *asked, "-n", 30, *more)
        assert len(names) == 30
        assert all(re.fullmatch("a[aeimnr]{2,4}", name) for name in names)
    assert {len(name) for name in sampled(capsys, finished, "--length", 4)} == {4}
    assert min(len(name) for name in sampled(capsys, finished, "--length", "12-")) >= 12


def test_new_names_are_not_of_the_training_list(finished, capsys):
    path = finished.parent / "short.txt"
    known = set(split_names(load_list(path)).train)
    asked = ["--pattern", "em*", "--temperature", 0.4, "-n", 200, "--length", "4-5"]
    assert known & set(sampled(capsys, finished, *asked))
    assert not known & set(sampled(capsys, finished, *asked, "--new", "--names", path))


def test_new_names_need_a_run_of_names(finished, tmp_path, capsys):
    (tmp_path / "model-0.safetensors").write_bytes((finished / "model-0.safetensors").read_bytes())
    settings = {name: value for name, value in read(finished / "config.json").items() if name != "names"}
    (tmp_path / "config.json").write_text(json.dumps(settings), encoding="utf-8")
    assert "--new: expected a run of a list of names" in refused(capsys, "sample", "--run", tmp_path, "--new")


# bad input


OTHERS = {"momentum": 0.5, "betas": (0.5, 0.5), "drop_at": 0.25, "drop_factor": 0.5}  # than by default


@pytest.mark.parametrize("option", command_line.COUNTS_WITH)
def test_an_option_counts_with_that_in_which_it_changes_something(option):
    of, wanted = command_line.COUNTS_WITH[option]
    names = {"optimizer": OPTIMIZERS, "schedule": SCHEDULES}[of]

    def made(config):
        return config.make_optimizer() if of == "optimizer" else [config.lr_at(n) for n in range(8)]

    def changes(name):
        plain = Config(steps=8, **{of: name})
        return made(plain) != made(replace(plain, **{option: OTHERS[option]}))

    assert [name for name in names if changes(name)] == list(wanted)


def refused(capsys, *arguments):
    """The one line of a refusal. argparse's own may stand below a line of usage."""
    capsys.readouterr()
    try:
        status = run(*arguments)
    except SystemExit as error:
        status = error.code
    printed = capsys.readouterr()
    assert status == 2
    assert printed.out == ""
    *usage, line = printed.err.splitlines()
    assert not usage or usage[0].startswith("usage: python -m common")
    assert "error: " in line
    return line


TRAIN = ["train", "--model", "mlp", "--out", "OUT", "--names", "NAMES"]
SAMPLE = ["sample", "--run", "RUN"]


@pytest.mark.parametrize(
    "arguments, message",
    [
        ([], "the following arguments are required"),
        (["fly"], "invalid choice: 'fly'"),
        (["train"], "required: --model, --out"),
        ([*TRAIN, "--model", "deep"], "invalid choice: 'deep'"),
        ([*TRAIN, "--steps", "many"], "invalid int value: 'many'"),
        ([*TRAIN, "--steps", "0"], "steps"),
        ([*TRAIN, "--steps", "-5"], "steps"),
        ([*TRAIN, "--seeds", "0"], "at least 1 seed, got 0"),
        ([*TRAIN, "--seeds", "-3"], "at least 1 seed, got -3"),
        ([*TRAIN, "--seeds", "1" + "0" * 12], "at most 10,000 seeds"),
        ([*TRAIN, "--seed", "5"], "unrecognized arguments: --seed 5"),
        ([*TRAIN, "--first-seed", "9" * 20], r"expected seeds from 0 to 2\*\*64 - 1, got 9+"),
        ([*TRAIN, "--first-seed", "-1"], r"expected seeds from 0 to 2\*\*64 - 1, got -1"),
        ([*TRAIN, "--first-seed", str(2**64 - 1), "--seeds", "2"], "seeds from 0 to 2..64 - 1"),
        ([*TRAIN, "--steps", "9" * 400], "steps to be a whole number .*, got 9+"),
        ([*TRAIN, "--batch-size", "9" * 12], "batch_size 999999999999 cannot be trained: .*memory"),
        ([*TRAIN, "--lr", "inf"], "lr to be a number above 0, got inf"),
        ([*TRAIN, "--max-grad-norm", "nan"], "max_grad_norm to be a number of at least 0, got nan"),
        ([*TRAIN, "--betas", "0.9", "nan"], r"betas to be two numbers in \[0, 1\), got .0\.9, nan"),
        ([*TRAIN, "--drop-factor", "-1"], "drop_factor to be a number of at least 0, got -1"),
        ([*TRAIN, "--evaluate-every", "-5"], "evaluate_every of at least 1 step, got -5"),
        ([*TRAIN, "--alphabet", ""], "expected an alphabet of at least one character, got none"),
        ([*TRAIN, "--out", ""], "--out: expected a path"),
        ([*TRAIN, "--device", "abacus"], "device 'abacus' cannot be used"),
        ([*TRAIN, "--device", "meta"], "device 'meta' cannot be used"),
        ([*TRAIN, "--device", "hpu"], "device 'hpu' cannot be used"),
        ([*TRAIN, "--names", "nowhere.txt"], "nowhere.txt: no such file"),
        ([*TRAIN, "--names", "NAMES/x"], "short.txt/x"),
        ([*TRAIN, "--names", "FOLDER"], "is a folder"),
        ([*TRAIN, "--names", "BAD"], "bad.txt, line 2: character '3' in 'av3'"),
        ([*TRAIN, "--names", "FEW"], "few.txt|expected at least"),
        ([*TRAIN, "--alphabet", "abc"], "line 1: character 'e'"),
        ([*TRAIN, "--alphabet", "abc."], "'.' marks the end"),
        ([*TRAIN, "--out", "NAMES"], "short.txt"),
        ([*TRAIN, "--out", "NAMES/run"], "short.txt"),
        (SAMPLE[:1], "required: --run"),
        (["sample", "--run", "nowhere"], "nowhere.config.json: no such file"),
        (["sample", "--run", "NAMES"], "short.txt"),
        ([*SAMPLE, "--prefix", "Em"], "'E' of 'Em'"),
        ([*SAMPLE, "--prefix", "em."], "prefix without '.'"),
        ([*SAMPLE, "--temperature", "0"], "a temperature from 1e-45 to 1e.30, got 0"),
        ([*SAMPLE, "--temperature", "nan"], "a temperature from 1e-45 to 1e.30, got nan"),
        ([*SAMPLE, "--temperature", "inf"], "a temperature from 1e-45 to 1e.30, got inf"),
        ([*SAMPLE, "--temperature", "1e-320"], "a temperature from 1e-45 to 1e.30"),
        ([*SAMPLE, "--temperature", "1e300", "--length", "3"], "a temperature from 1e-45 to 1e.30"),
        ([*SAMPLE, "-n", "1" + "0" * 12], "a count of at most 1,000,000"),
        ([*SAMPLE, "-n", "0"], "count of at least 1, got 0"),
        ([*SAMPLE, "--top-k", "0"], "top_k of at least 1"),
        ([*SAMPLE, "--top-p", "1.5"], "top_p above 0 and up to 1"),
        ([*SAMPLE, "--alphabet", ""], "alphabet of at least one character"),
        ([*SAMPLE, "--alphabet", "abß"], "the run knows no 'ß'"),
        ([*SAMPLE, "--length", "six"], "--length: expected 5, 3-6 or 3-, got 'six'"),
        ([*SAMPLE, "--length", "6-3"], "shortest first, got 6 to 3"),
        ([*SAMPLE, "--pattern", "a?", "--alphabet", "b"], "no name of .* meets Alphabet.*Pattern"),
        ([*SAMPLE, "--pattern", "a?", "--prefix", "b"], "begins with 'b' meets Pattern"),
        ([*SAMPLE, "--new"], "is not the list of the run .short.txt.; name it with --data"),
        ([*SAMPLE, "--new", "--names", "BAD"], "bad.txt is not the list of the run"),
        ([*SAMPLE, "--exact"], "expected a constraint, got None"),
        ([*SAMPLE, "--model-seed", "7"], "model-7.safetensors: no such file"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_arguments_end_in_one_line(arguments, message, finished, short_list, tmp_path, capsys):
    (tmp_path / "bad.txt").write_text("emma\nav3\n", encoding="utf-8")
    (tmp_path / "few.txt").write_text("emma\nava\n", encoding="utf-8")
    places = {
        "OUT": tmp_path / "out",
        "NAMES": short_list,
        "FOLDER": tmp_path,
        "BAD": tmp_path / "bad.txt",
        "FEW": tmp_path / "few.txt",
        "RUN": finished,
        "NAMES/x": short_list / "x",
        "NAMES/run": short_list / "run",
    }
    before = {path.name: path.stat().st_mtime_ns for path in finished.iterdir()}
    line = refused(capsys, *(places.get(argument, argument) for argument in arguments))
    assert re.search(message, line)
    assert not (tmp_path / "out" / "config.json").exists()
    assert {path.name: path.stat().st_mtime_ns for path in finished.iterdir()} == before


def test_a_broken_run_folder_is_refused(finished, tmp_path, capsys):
    (tmp_path / "config.json").write_text("{", encoding="utf-8")
    assert "config.json: not JSON" in refused(capsys, "sample", "--run", tmp_path)
    (tmp_path / "config.json").write_bytes((finished / "config.json").read_bytes())
    assert "model-0.safetensors: no such file" in refused(capsys, "sample", "--run", tmp_path)


def test_the_exit_status_reaches_the_shell(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "common", "sample", "--run", str(tmp_path / "nowhere")],
        env=os.environ | {"PYTHONPATH": str(SOURCE)}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith("error: ") and len(done.stderr.splitlines()) == 1


# sample: as people type it


@pytest.fixture(scope="module")
def accented(tmp_path_factory):
    """A run on names with accents and a joiner, of a model that hardly ever ends a name. Read only."""
    folder = tmp_path_factory.mktemp("accented")
    names = ["Zoé", "Anne-Marie", "Jürgen", "Ève", "مهدی\u200cزاده", "Ana", "Lea", "Mary Ann"]
    (folder / "list.txt").write_text("\n".join(names * 2) + "\n", encoding="utf-8")
    assert train(folder / "list.txt", folder / "run", "--alphabet", "any", steps=2) == 0
    tensors = load_file(folder / "run" / "model-0.safetensors")
    bias = [
        name
        for name in tensors
        if tensors[name].shape == (len(read(folder / "run" / "config.json")["vocabulary"]) + 1,)
    ]
    tensors[bias[-1]][0] = -30
    save_file(tensors, folder / "run" / "model-0.safetensors")
    return folder / "run"


def noted(capsys, folder, *arguments):
    """The names that are printed, and what is said beside them."""
    capsys.readouterr()
    assert run("sample", "--run", folder, *arguments) == 0
    printed = capsys.readouterr()
    return printed.out.splitlines(), printed.err


def test_names_that_are_cut_are_counted(accented, finished, capsys):
    names, note = noted(capsys, accented, "-n", 5)
    assert {len(name) for name in names} == {40}
    assert (
        note == "note: 5 of 5 names had not ended after 40 characters and are cut there; see --max-length\n"
    )
    names, note = noted(capsys, accented, "-n", 5, "--max-length", 90)
    assert {len(name) for name in names} == {90} and "5 of 5 names" in note and "90 characters" in note
    assert noted(capsys, accented, "-n", 5, "--length", "3-40")[1] == ""
    assert noted(capsys, finished, "-n", 5)[1] == ""


@pytest.mark.parametrize(
    "asked, length",
    [
        (["--length", "50"], 50),
        (["--length", "45-60", "--max-length", "60"], 60),
        (["--length", "30-60"], 60),
        (["--length", "41-"], 81),
        (["--prefix", "A" * 45], 85),
        (["--pattern", "A" * 45 + "*"], 85),
        (["--prefix", "A" * 39], 40),
    ],
    ids=str,
)
def test_there_is_room_for_what_is_asked(accented, capsys, asked, length):
    names, _ = noted(capsys, accented, "-n", 3, *asked)
    assert {len(name) for name in names} == {length}


def test_a_letter_in_two_parts_is_the_letter_that_the_run_knows(accented, capsys):
    apart = unicodedata.normalize("NFD", "Zoé")
    assert all(name.startswith("Zoé") for name in sampled(capsys, accented, "--prefix", apart, "-n", 3))
    drawn = sampled(capsys, accented, "--pattern", apart + "??", "--alphabet", apart + "a", "-n", 3)
    assert all(re.fullmatch("Zoé[Zoéa]{2}", name) for name in drawn)
    joined = sampled(capsys, accented, "--prefix", "مهدی\u200c", "-n", 3)
    assert all(name.startswith("مهدی\u200c") for name in joined)


def test_a_transformers_names_have_no_more_characters_than_it_has_places(short_list, tmp_path, capsys):
    sizes = ["--set", "length=16", "n_channels=4", "heads=1", "blocks=1"]
    assert train(short_list, tmp_path / "run", *sizes, model="transformer", steps=2) == 0
    names, _ = noted(capsys, tmp_path / "run", "-n", 200)
    assert max(map(len, names)) == 16
    for more in ([], ["--exact"]):
        assert max(map(len, noted(capsys, tmp_path / "run", "-n", 50, "--pattern", "*e*", *more)[0])) <= 16


def test_a_reader_that_goes_away_is_told_nothing(finished, capsys, monkeypatch):
    read_end, write_end = os.pipe()
    os.close(read_end)
    capsys.readouterr()
    with open(write_end, "w", encoding="utf-8") as closed:
        monkeypatch.setattr(sys, "stdout", closed)
        assert run("sample", "--run", finished) == command_line.CLOSED_PIPE
        monkeypatch.undo()
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--max-length", "0"], "a max_length of 1 to 10,000, got 0"),
        (["--max-length", "5", "--prefix", "emmalina"], "prefix of fewer than max_length = 5 .* got 8"),
        (["--max-length", "5", "--length", "6-8"], "at most 5 characters meets Length"),
        (["--length", "99999999999"], "expected at most 10,000 characters, got 99999999999"),
        (["--pattern", ""], "--pattern: expected at least one character, got none"),
        (["--pattern", "A*"], "--pattern: the run knows no 'A'"),
        (["--pattern", "em."], "--pattern: the run knows no '.'"),
        (["--alphabet", "a-m"], "the alphabet's 'a-m' would be three characters"),
        (["--names", "NAMES"], "--data is the list that --new keeps away from; give --new as well"),
        (["--new", "--names", "nowhere.txt"], "nowhere.txt: no such file in "),
        (["--new", "--names", "FOLDER"], "is a folder"),
        (["--seed", "9" * 30], r"--seed: expected 0 to 2\*\*64 - 1, got 9+"),
    ],
    ids=str,
)
def test_what_sample_cannot_do_ends_in_one_line(arguments, message, finished, short_list, tmp_path, capsys):
    places = {"NAMES": short_list, "FOLDER": tmp_path}
    line = refused(capsys, *SAMPLE[:1], "--run", finished, *(places.get(a, a) for a in arguments))
    assert re.search(message, line)


def test_any_alphabet_is_any_for_sample_as_for_train(finished, capsys):
    free = sampled(capsys, finished, "-n", 30)
    assert sampled(capsys, finished, "-n", 30, "--alphabet", "any") == free
    assert not set("".join(free)) <= set("any")
    assert set("".join(sampled(capsys, finished, "-n", 30, "--alphabet", "yna"))) <= set("any")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs a pipe in a folder")
def test_a_pipe_is_not_waited_for_as_the_list_of_a_run(finished, tmp_path, capsys):
    os.mkfifo(tmp_path / "pipe")
    for command in (["sample", "--run", finished, "--new"], [*TRAIN[:3], "--out", tmp_path / "run"]):
        assert "pipe: expected a file" in refused(capsys, *command, "--names", tmp_path / "pipe")


def test_a_list_that_is_too_short_is_named(tmp_path, capsys):
    (tmp_path / "few.txt").write_text("emma\nava\n" * 6, encoding="utf-8")
    line = refused(capsys, *arguments_of(tmp_path / "few.txt", tmp_path / "o", "--distinct"))
    assert f"{tmp_path / 'few.txt'}, each name once: expected at least 6 names" in line
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize("out", ["NAMES", "NAMES/run"])
def test_a_file_where_a_folder_is_wanted_is_named(short_list, capsys, out):
    line = refused(capsys, *arguments_of(short_list, out.replace("NAMES", str(short_list)), steps=2))
    assert line.endswith(f"{short_list} is no folder; choose another --out") and "partial" not in line


def test_a_training_needs_no_standard_error(short_list, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "stderr", None)  # as Python has it after 2>&-
    assert train(short_list, tmp_path / "run", steps=4) == 0
    assert (tmp_path / "run" / "results.json").exists()


def test_names_are_drawn_where_nobody_can_read_the_note(short_list, tmp_path, monkeypatch, capsys):
    train(short_list, tmp_path / "run", steps=4)

    class Full(io.StringIO):
        def write(self, text):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(sys, "stderr", Full())
    assert run("sample", "--run", tmp_path / "run", "--max-length", 2) == 0
