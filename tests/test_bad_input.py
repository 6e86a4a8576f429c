"""What people type, write and hand over by mistake: commands, files and functions say what they expected.

A row is a mistake that was tried: its name, what is done, and a part of what has to be said. A command ends
with status 2 and one line on standard error, without a traceback, and every file stays as it was. A function
raises ValueError, or IndexError. What the other tests of each module refuse does not stand here again.
"""

import io
import json
import math
import os
import pickle
import re
import shutil
import subprocess
import sys
from functools import partial
from importlib import import_module
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from small_runs import labelled_file
from torch import Generator, tensor, zeros

from common import constraints, evaluate, nn, sampling, train
from common.data import (
    SHIPPED_NAMES,
    Vocabulary,
    corpora,
    load_names,
    memory,
    names,
    reviews,
    text,
    translation,
    waves,
)
from common.models import (
    MLP,
    Dilated,
    Seq2Seq,
    StatefulNetwork,
    Transformer,
    Tree,
    as_convolution,
    predictions,
    pretrained,
    tagged,
)
from common.pages import checks, results, told, widgets
from common.runs import Run, checkpoints, comparison, curves
from common.runs import command as command_line
from common.runs.folder import export_model, load_model
from common.runs.space import read_space
from common.runs.sweep import importance, load

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tools"))
import notebooks  # noqa: E402

NAN, INF = math.nan, math.inf
SMALL = ["--set", "n_embd=3", "n_hidden=4"]
STEPS = ["--steps", "5", "--device", "cpu", "--no-compile"]


# ---- the runs that the rows speak of -------------------------------------------------------------


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A finished run of each kind, a sweep, and files of every kind. Read only."""
    folder = tmp_path_factory.mktemp("made")
    names_file = folder / "names.txt"
    names_file.write_text("\n".join(load_names(SHIPPED_NAMES)[:60]) + "\n", encoding="utf-8")
    texts = labelled_file(folder / "texts.tsv", count=60)
    (folder / "space.json").write_text('{"lr": {"low": 0.01, "high": 0.1}}', encoding="utf-8")
    of_names = ["--names", names_file, *STEPS]
    few = ["--set", "n_channels=4", "heads=1", "blocks=1", "length=20"]
    for name, arguments in {
        "mlp": ["train", "--model", "mlp", *of_names, *SMALL],
        "transformer": ["train", "--model", "transformer", *of_names, *few],
        "echo": ["train", "--model", "lstm", "--task", "echo", "--delay", 2, *STEPS, *SMALL],
        "reviews": ["train", "--model", "sentences", "--task", "reviews", "--data", texts, *STEPS, *SMALL],
        "sweep": [
            "sweep",
            "--model",
            "mlp",
            "--space",
            folder / "space.json",
            "--trials",
            1,
            *of_names,
            *SMALL,
        ],
    }.items():
        with pytest.MonkeyPatch.context() as patch:
            patch.delenv("NAMES", raising=False)
            assert command_line.main([*map(str, arguments), "--out", str(folder / name)]) == 0
    (folder / "empty").write_bytes(b"")
    (folder / "binary").write_bytes(bytes(range(256)))
    (folder / "utf-16").write_text("emma\nava\n" * 9, encoding="utf-16")
    (folder / "latin-1").write_text("zoé\nanna\n" * 9, encoding="latin-1")
    (folder / "nul").write_bytes(b"em\0ma\nava\n" * 9)
    (folder / "list.json").write_text("[1, 2]", encoding="utf-8")
    (folder / "long").write_text("a" * 200_000 + "\n", encoding="utf-8")
    (folder / "one.tsv").write_text("good\ta film\n" * 20, encoding="utf-8")
    (folder / "columns.csv").write_text("name,count\nemma,3\nava,2\n" * 9, encoding="utf-8")
    return folder


@pytest.fixture(autouse=True)
def alone(monkeypatch, tmp_path):
    """No list, and no cache, of the user."""
    monkeypatch.delenv("NAMES", raising=False)
    monkeypatch.setenv("COMMON_CACHE", str(tmp_path / "cache"))


def content_of(*folders):
    """Every file and folder in some folders, with what it holds; not the locks, which say nothing."""
    found = sorted(path for folder in folders for path in folder.rglob("*") if path.suffix != ".lock")
    return {str(path): path.read_bytes() if path.is_file() else None for path in found}


def refused(capsys, arguments):
    """The one line of a command that is refused; argparse's usage, or a bar, may stand above it."""
    capsys.readouterr()
    try:
        status = command_line.main([str(argument) for argument in arguments])
    except SystemExit as error:
        status = error.code
    printed = capsys.readouterr()
    lines = [line for line in printed.err.splitlines() if not re.match(r"usage: | |$|.*step/s\]", line)]
    assert (status, printed.out, len(lines)) == (2, "", 1), printed
    assert "error: " in lines[0] and len(lines[0]) < 1_300
    return lines[0]


def ids(rows):
    """Rows with their first word as their name."""
    return [pytest.param(*row[1:], id=row[0]) for row in rows]


# ---- what is typed -------------------------------------------------------------------------------

TRAIN = ["train", "--model", "mlp", "--out", "OUT/run", "--names", "IN/names.txt", *STEPS]
LSTM = ["train", "--model", "lstm", "--out", "OUT/run", *STEPS]
CLASSIFY = ["train", "--model", "sentences", "--task", "reviews", "--out", "OUT/run", *STEPS]
SAMPLE, PREDICT = ["sample", "--run", "IN/mlp"], ["predict", "--run", "IN/mlp"]
SWEEP = [
    "sweep",
    "--model",
    "mlp",
    "--names",
    "IN/names.txt",
    "--out",
    "OUT/run",
    "--trials",
    "1",
    *STEPS,
    *SMALL,
]
SEARCH = [*SWEEP, "--space", "IN/space.json"]
COMMANDS = [
    # options that contradict each other, or count for nothing
    ("momentum-of-sgd", [*TRAIN, "--momentum", "0.5"],
     "expected --momentum with --optimizer momentum, got it with sgd"),
    ("default-momentum-of-sgd", [*TRAIN, "--momentum", "0.9"], "with --optimizer momentum, got it with sgd"),
    ("momentum-of-adam", [*TRAIN, "--optimizer", "adam", "--momentum", "0.9"], "got it with adam"),
    ("betas-of-sgd", [*TRAIN, "--betas", "0.9", "0.99"],
     "expected --betas with --optimizer adam or adamw or muon"),
    ("drop-of-cosine", [*TRAIN, "--schedule", "cosine", "--drop-at", "0.5"],
     "--drop-at with --schedule drop"),
    ("factor-of-constant", [*TRAIN, "--schedule", "constant", "--drop-factor", "0.5"],
     "with --schedule drop, got"),
    ("momentum-in-space", [*SWEEP, "--space", "IN/space.json", "--momentum", "0.5"],
     "--optimizer momentum, got"),
    ("warmup-beyond", [*TRAIN, "--warmup", "6"],
     "expected at most 5 steps of warmup, as many as there are, got 6"),
    ("teacher-alone", [*TRAIN, "--teacher", "IN/mlp"],
     "expected --teacher and --distill together, got 1 teachers"),
    ("teacher-of-names", [*TRAIN, *SMALL, "--teacher", "IN/transformer", "--distill", "0.5"],
     "transformer: expected a teacher that reads windows of 3 characters, as mlp does, got transformer"),
    ("teacher-of-windows", [*TRAIN, "--model", "dilated", "--teacher", "IN/mlp", "--distill", "0.5"],
     "expected a teacher that reads whole names"),
    ("teacher-of-other-windows", [*TRAIN, "--model", "flat", "--teacher", "IN/mlp", "--distill", "0.5"],
     "reads windows of 8 characters"),
    ("teacher-is-a-sweep", [*TRAIN, "--teacher", "IN/sweep", "--distill", "1"],
     "sweep/results.json: no such file"),
    ("teacher-is-a-file", [*TRAIN, "--teacher", "IN/names.txt", "--distill", "1"],
     "results.json: no such file"),
    ("teacher-is-itself", [*TRAIN, "--teacher", "OUT/run", "--distill", "1"], "results.json: no such file"),
    ("data-of-echo", [*LSTM, "--task", "echo", "--data", "IN/names.txt"], "expected no file, no alphabet"),
    ("distinct-of-reviews", [*CLASSIFY, "--data", "IN/texts.tsv", "--distinct"], "reviews reads texts"),
    ("words-of-names", [*TRAIN, "--words", "3"],
     "expected --words with a task of reviews, got it with names"),
    ("processes-none", [*SEARCH, "--processes", "0"], "expected at least 1 process, got 0"),
    ("trials-none", [*SEARCH, "--trials", "0"], "expected at least 1 trial, got 0"),
    ("looks-of-a-sweep", [*SEARCH, "--evaluate-every", "6"], "expected 1 to 5 steps between two looks"),
    ("test-of-a-sweep", [*SEARCH, "--no-test"], "unrecognized arguments: --no-test"),
    # spellings and sizes
    ("steps-as-float", [*TRAIN, "--steps", "1e3"], "invalid int value: '1e3'"),
    ("steps-of-nothing", [*TRAIN, "--steps", ""], "invalid int value: ''"),
    ("rate-with-comma", [*TRAIN, "--lr", "0,1"], "invalid float value: '0,1'"),
    ("betas-alone", [*TRAIN, "--betas", "0.9"], "expected 2 arguments"),
    ("a-word-more", [*TRAIN, "more"], "unrecognized arguments: more"),
    ("size-without-value", [*TRAIN, "--set", "n_hidden"], "expected NAME=VALUE, got 'n_hidden'"),
    ("size-without-name", [*TRAIN, "--set", "=5"], "expected NAME=VALUE, got '=5'"),
    ("size-as-object", [*TRAIN, "--set", 'n_hidden={"a": 1}'],
     "n_hidden to be a whole number of at least 1, got {'a'"),
    ("size-nested-deeply", [*TRAIN, "--set", "n_hidden=" + "[" * 100_000], "n_hidden to be a whole number"),
    ("size-of-5000-digits", [*TRAIN, "--set", "n_hidden=" + "9" * 5_000], "n_hidden to be a whole number"),
    ("size-of-the-data", [*TRAIN, "--set", "block_size=5"],
     "expected sizes among n_embd, n_hidden, got block_size"),
    ("device-in-capitals", [*TRAIN, "--device", "CPU"], "device 'CPU' cannot be used here"),
    ("device-of-nothing", [*TRAIN, "--device", ""], "device '' cannot be used here"),
    ("alphabet-with-line", [*TRAIN, "--alphabet", "abc\n"],
     "--alphabet: the end of a line parts two names, got"),
    ("echo-of-windows", ["train", "--model", "mlp", "--task", "echo", "--out", "OUT/run"],
     "for echo a model among"),
    ("names-for-sentences", ["train", "--model", "sentences", "--out", "OUT/run"], "for names a model among"),
    ("length-as-float", [*SAMPLE, "--length", "3.5"], "--length: expected 5, 3-6 or 3-, got '3.5'"),
    ("length-of-5000-digits", [*SAMPLE, "--length", "9" * 5_000],
     "--length: expected 5, 3-6 or 3-, got '999"),
    ("count-as-float", [*SAMPLE, "-n", "1.5"], "invalid int value: '1.5'"),
    ("nucleus-of-nan", [*SAMPLE, "--top-p", "nan"], "expected a top_p above 0 and up to 1, got nan"),
    ("prefix-of-emoji", [*SAMPLE, "--prefix", "🙂"], "character '🙂' of '🙂' is not one of"),
    ("prefix-of-20000", [*SAMPLE, "--prefix", "a" * 20_000], "expected at most 10,000 characters, got 20000"),
    ("prefix-of-half-a-sign", [*SAMPLE, "--prefix", "a\udcff"], r"character '\udcff'"),
    ("pattern-of-two-lines", [*SAMPLE, "--pattern", "a\n*"], r"--pattern: the run knows no '\n'"),
    ("alphabet-and-pattern", [*SAMPLE, "--alphabet", "b", "--pattern", "a*"],
     "meets Alphabet('b') & Pattern('a*')"),
    ("model-seed-below-0", [*SAMPLE, "--model-seed", "-1"],
     "expected a finished run with a model for seed -1"),
    ("names-of-a-sweep", ["sample", "--run", "IN/sweep"],
     "expected a folder that `python -m common train` wrote"),
    ("names-of-reviews", ["sample", "--run", "IN/reviews"], "expected a run of names, got one of reviews"),
    ("run-is-its-weights", ["sample", "--run", "IN/mlp/model-0.safetensors"], "config.json: no such file"),
    ("predict-capitals", [*PREDICT, "Em"], "TEXT: the run knows no 'E', only 'abc"),
    ("predict-two-lines", [*PREDICT, "em\nma"], r"TEXT: the run knows no '\n'"),
    ("predict-right-to-left", [*PREDICT, "מרים"], "TEXT: the run knows no "),
    ("predict-beyond-places", ["predict", "--run", "IN/transformer", "a" * 20],
     "TEXT: expected at most 19 characters, got 20"),
    ("predict-bits-of-letters", ["predict", "--run", "IN/echo", "01a"], "the run knows no 'a', only '01'"),
    ("predict-blank-review", ["predict", "--run", "IN/reviews", "  "],
     "TEXT: expected at least one word, got '  '"),
    ("data-of-a-path", ["data", "verify", "../x"], "expected a corpus of reviews, plays, got '../x'"),
    ("data-of-nothing", ["data", "fetch", ""], "expected a corpus of reviews, plays, got ''"),
    ("data-without-action", ["data"], "required: {list,fetch,verify}"),
    # files of another kind
    ("list-is-empty", [*TRAIN, "--names", "IN/empty"], "empty: the file is empty; expected one name a line"),
    ("list-is-binary", [*TRAIN, "--names", "IN/binary"], "binary: not UTF-8 text"),
    ("list-in-utf-16", [*TRAIN, "--names", "IN/utf-16", "--alphabet", "any"], "looks like UTF-16"),
    ("list-in-latin-1", [*TRAIN, "--names", "IN/latin-1", "--alphabet", "any"], "save it as UTF-8"),
    ("list-with-nul", [*TRAIN, "--names", "IN/nul", "--alphabet", "any"], r"nul, line 1: character '\x00'"),
    ("list-of-weights", [*TRAIN, "--names", "IN/mlp/model-0.safetensors"], "model-0.safetensors"),
    ("list-of-columns", [*TRAIN, "--names", "IN/columns.csv", "--alphabet", "any"], "character ','"),
    ("list-is-an-address", [*TRAIN, "--names", "https://example.org/n.txt"], "no such file in"),
    ("list-is-a-dash", [*TRAIN, "--names", "-"], "-: no such file in"),
    ("name-is-long", [*TRAIN, "--names", "IN/long"], "expected at least 6 names to split 80/10/10, got 1"),
    ("path-is-long", [*TRAIN, "--names", "n" * 5_000], "File name too long"),
    ("texts-of-names", [*CLASSIFY, "--data", "IN/names.txt"], "line 1: expected a label, a tab and a text"),
    ("texts-with-nul", [*CLASSIFY, "--data", "IN/nul"], "nul: got zero bytes"),
    ("space-is-a-folder", [*SWEEP, "--space", "IN"], ": is a folder; expected the search space as JSON"),
    ("space-is-empty", [*SWEEP, "--space", "IN/empty"], "empty: not JSON (Expecting value"),
    ("space-is-a-list", [*SWEEP, "--space", "IN/list.json"], "list.json: expected a JSON object, got list"),
    ("space-is-a-list-of-names", [*SWEEP, "--space", "IN/names.txt"], "names.txt: not JSON"),
    ("space-is-weights", [*SWEEP, "--space", "IN/mlp/model-0.safetensors"], "expected UTF-8 text"),
    ("sweep-into-a-run", [*SEARCH, "--out", "IN/mlp"], "as the folder of a run; choose another --out"),
    ("run-into-a-sweep", [*TRAIN, "--out", "IN/sweep"], "holds sweep.json and no config.json"),
]  # fmt: skip


def placed(arguments, made, out):
    """Arguments whose IN and OUT are the folders of a test."""
    folders = {"IN": str(made), "OUT": str(out)}
    first = {str(word): str(word).partition("/")[0] for word in arguments}
    return [
        str(word).replace(first[str(word)], folders.get(first[str(word)], first[str(word)]), 1)
        for word in arguments
    ]


@pytest.mark.parametrize("arguments, said", ids(COMMANDS))
def test_a_mistyped_command_ends_in_one_line_and_changes_nothing(arguments, said, made, tmp_path, capsys):
    before = content_of(made, tmp_path)
    assert said in refused(capsys, placed(arguments, made, tmp_path))
    assert content_of(made, tmp_path) == before


@pytest.mark.parametrize(
    "given, said",
    ids([
        ("nothing", b"", "expected a TEXT, or lines on the standard input, got none"),
        ("utf-16", "emma\n".encode("utf-16"), "standard input: byte 0 is not UTF-8"),
        ("nul", b"em\0ma\n", r"TEXT: the run knows no '\x00'"),
        ("old-line-ends", b"em\rma\r", r"TEXT: the run knows no '\r'"),
        ("binary", bytes(range(256)), "standard input: byte 128 is not UTF-8"),
    ]),
)  # fmt: skip
def test_what_comes_through_a_pipe_is_refused_in_one_line(given, said, made, capsys, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(given)))
    assert said in refused(capsys, ["predict", "--run", made / "mlp"])


def test_a_momentum_may_be_searched_beside_the_optimizers_that_have_one(made, tmp_path):
    space = {"momentum": {"low": 0.1, "high": 0.9}, "optimizer": {"choices": ["sgd", "momentum"]}}
    (tmp_path / "space.json").write_text(json.dumps(space), encoding="utf-8")
    arguments = placed([*SWEEP, "--space", "OUT/space.json", "--momentum", "0.5"], made, tmp_path)
    assert command_line.main(arguments) == 0


# ---- what lies in a folder -----------------------------------------------------------------------

SAME, AGAIN = [*TRAIN, *SMALL, "--out", "OUT/it"], [*SEARCH, "--out", "OUT/it"]
DRAW, ASK = ["sample", "--run", "OUT/it"], ["predict", "--run", "OUT/it", "good"]
NEW = [*DRAW, "--new", "--data", "IN/names.txt"]
CONFIG, WEIGHTS, RESULTS = "config.json", "model-0.safetensors", "results.json"


def wrote(content):
    return lambda path: path.write_bytes(content)


def cut(path):
    path.write_bytes(path.read_bytes()[:-7])


def folder(path):
    path.unlink()
    path.mkdir()


def removed(path):
    path.unlink()


def changed(**values):
    """Other values in a file of JSON; None takes one away."""

    def change(path):
        now = json.loads(path.read_text(encoding="utf-8")) | values
        path.write_text(json.dumps({k: v for k, v in now.items() if v is not None}), encoding="utf-8")

    return change


def as_types(*types):
    """The tensors with fractions as other types, in turns."""

    def change(path):
        tensors = load_file(path)
        save_file({name: t.to(types[i % len(types)]) for i, (name, t) in enumerate(tensors.items())}, path)

    return change


def unfinished(change):
    """A run that was interrupted: without its results, its checkpoint changed."""

    def of_checkpoint(path):
        path.with_name(RESULTS).unlink()
        change(path)

    return of_checkpoint


def stored(**values):
    """Other values in a checkpoint; None takes one away."""

    def change(path):
        content = torch.load(path, weights_only=True) | values
        torch.save({key: value for key, value in content.items() if value is not None}, path)

    return unfinished(change)


NO_CHECKPOINT = "checkpoint.pt: not a checkpoint of this book ("
NO_TRIALS = "trials.json: expected trials, each with a number and parameters"
DAMAGED = [
    ("config-is-a-folder", "mlp", CONFIG, folder, DRAW, "config.json: is a folder; expected a folder that"),
    ("config-is-empty", "mlp", CONFIG, wrote(b""), SAME, "config.json: not JSON"),
    ("config-is-nested-deeply", "mlp", CONFIG, wrote(b'{"a":' + b"[" * 200_000), DRAW, "config.json: n"),
    ("model-in-a-list", "mlp", CONFIG, changed(model=["mlp"]), DRAW,
     "config.json: names no model; expected one of"),
    ("another-model", "mlp", CONFIG, changed(model="flat"), DRAW,
     "model-0.safetensors: expected hidden.weight of"),
    ("another-kind-of-model", "mlp", CONFIG, changed(model="dilated", sizes={}), ASK,
     "safetensors: expected tensors"),
    ("vocabulary-is-short", "mlp", CONFIG, changed(vocabulary="ab"), DRAW,
     "safetensors: expected embedding.weight of"),
    ("vocabulary-is-empty", "mlp", CONFIG, changed(vocabulary=""), DRAW,
     "config.json: a vocabulary needs at least"),
    ("vocabulary-with-a-dot", "mlp", CONFIG, changed(vocabulary="ab."), DRAW,
     "config.json: expected tokens without"),
    ("size-is-a-word", "mlp", CONFIG, changed(sizes={"n_hidden": "4"}), DRAW,
     "config.json: expected n_hidden to be"),
    ("task-is-unknown", "mlp", CONFIG, changed(task="sorting"), ASK,
     "config.json: expected a task that suits 'mlp'"),
    ("task-is-a-list", "mlp", CONFIG, changed(task=["names"]), DRAW,
     "config.json: expected a task that suits 'mlp'"),
    ("task-of-another-model", "mlp", CONFIG, changed(task="reviews"), ASK,
     "a task that suits 'mlp', got 'reviews'"),
    ("list-is-a-word", "mlp", CONFIG, changed(names="short.txt"), NEW,
     "--new: expected a run of a list of names"),
    ("list-says-nothing", "mlp", CONFIG, changed(names={}), NEW, "--new: expected a run of a list of names"),
    ("texts-say-nothing", "reviews", CONFIG, changed(reviews={}), ASK,
     "config.json: expected words to be a whole"),
    ("texts-are-a-word", "reviews", CONFIG, changed(reviews="x"), ASK,
     "config.json: expected words to be a whole"),
    ("words-below-0", "reviews", CONFIG, changed(reviews={"words": -1}), ASK,
     "config.json: expected words to be"),
    ("texts-without-task", "reviews", CONFIG, changed(task=None), ASK,
     "config.json: expected a task that suits"),
    ("labels-of-another-run", "reviews", CONFIG, changed(labels=["a", "b", "c"]), ASK,
     "expected output.weight of"),
    ("weights-are-a-folder", "mlp", WEIGHTS, folder, DRAW, "model-0.safetensors: no such file"),
    ("weights-are-empty", "mlp", WEIGHTS, wrote(b""), DRAW, "model-0.safetensors: not a file of parameters"),
    ("weights-are-cut", "mlp", WEIGHTS, cut, ASK, "model-0.safetensors: not a file of parameters"),
    ("weights-are-a-pickle", "mlp", WEIGHTS, partial(torch.save, {}), DRAW,
     "safetensors: not a file of parameters"),
    ("weights-are-none", "mlp", WEIGHTS, partial(save_file, {}), DRAW,
     "model-0.safetensors: expected tensors"),
    ("weights-of-two-types", "mlp", WEIGHTS, as_types(torch.float64, torch.float32), DRAW,
     "model-0.safetensors: expected weights of one type, got torch.float32, torch.float64"),
    ("weights-are-whole", "mlp", WEIGHTS, as_types(torch.int64), DRAW,
     "embedding.weight in torch.float32, got"),
    ("results-say-nothing", "mlp", RESULTS, wrote(b"{}"), SAME, "results.json: expected the seeds of a run"),
    ("results-without-runs", "mlp", RESULTS, changed(runs=[]), SAME,
     "results.json: expected the seeds of a run"),
    ("results-without-mean", "mlp", RESULTS, changed(mean=None), SAME, "what was measured of each"),
    ("results-of-a-seed-alone", "mlp", RESULTS, changed(runs=[{"seed": 0}]), SAME,
     "what was measured of each"),
    ("results-of-another-seed", "mlp", RESULTS, changed(runs=[{"seed": 3}]), SAME,
     "what was measured of each"),
    ("checkpoint-is-empty", "mlp", "checkpoint.pt", unfinished(wrote(b"")), SAME,
     NO_CHECKPOINT + "EOFError)"),
    ("checkpoint-is-cut", "mlp", "checkpoint.pt", unfinished(cut), SAME, NO_CHECKPOINT),
    ("checkpoint-is-a-list", "mlp", "checkpoint.pt", unfinished(partial(torch.save, [1])), SAME,
     NO_CHECKPOINT),
    ("checkpoint-is-beyond", "mlp", "checkpoint.pt", stored(done=99), SAME,
     NO_CHECKPOINT + "expected the losses"),
    ("checkpoint-counts-in-words", "mlp", "checkpoint.pt", stored(done="5"), SAME, NO_CHECKPOINT),
    ("checkpoint-without-losses", "mlp", "checkpoint.pt", stored(losses=None), SAME, NO_CHECKPOINT),
    ("checkpoint-with-few-losses", "mlp", "checkpoint.pt", stored(losses=zeros(1, 2)), SAME, NO_CHECKPOINT),
    ("checkpoint-not-looked-at", "mlp", "checkpoint.pt", stored(evaluated=None), SAME, NO_CHECKPOINT),
    ("checkpoint-without-chance", "mlp", "checkpoint.pt", stored(generators=[]), SAME, NO_CHECKPOINT),
    ("checkpoint-without-states", "mlp", "checkpoint.pt", stored(states=[]), SAME, NO_CHECKPOINT),
    ("checkpoint-of-nobody", "mlp", "checkpoint.pt", stored(identity=[]), SAME, "belongs to another run"),
]  # fmt: skip


@pytest.mark.parametrize("kind, file, change, arguments, said", ids(DAMAGED))
def test_a_damaged_folder_is_refused_by_name_and_left_as_it_is(
    kind, file, change, arguments, said, made, tmp_path, capsys
):
    shutil.copytree(made / kind, tmp_path / "it")
    change(tmp_path / "it" / file)
    before = content_of(made, tmp_path)
    assert said in refused(capsys, placed(arguments, made, tmp_path))
    assert content_of(made, tmp_path) == before


@pytest.mark.parametrize("value", ["x", 3, [{}], [{"number": 0}], {}, [None]], ids=str)
@pytest.mark.parametrize("key", ["trials", "failed"])
def test_trials_that_are_none_are_written_anew_from_the_study(key, value, made, tmp_path, capsys):
    shutil.copytree(made / "sweep", tmp_path / "it")
    path = tmp_path / "it" / "trials.json"
    before = json.loads(path.read_text(encoding="utf-8"))
    changed(**{key: value})(path)
    with pytest.raises(ValueError, match=NO_TRIALS):
        load(tmp_path / "it")
    assert command_line.main(placed(AGAIN, made, tmp_path)) == 0
    assert json.loads(path.read_text(encoding="utf-8")) == before


def test_a_checkpoint_runs_no_code(made, tmp_path, capsys):
    """A pickle that would make a folder, where a checkpoint is expected."""

    class Harm:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "harm"),)

    shutil.copytree(made / "mlp", tmp_path / "it")
    unfinished(wrote(pickle.dumps(Harm(), protocol=2)))(tmp_path / "it" / "checkpoint.pt")
    assert NO_CHECKPOINT in refused(capsys, placed(SAME, made, tmp_path))
    assert not (tmp_path / "harm").exists()


# ---- what a function is given --------------------------------------------------------------------

WORDS, CHANCE = Vocabulary("abc"), Generator().manual_seed(0)
FLAT, WHOLE = MLP(4, 3, 4, 8).eval(), Dilated(4, 4, 8, (1, 2)).eval()
X, Y = names.windows(["ab", "c"], WORDS, 3)
LONG = partial(torch.zeros, dtype=torch.long)
FEW = train.Config(steps=3, batch_size=2)
FALLING = train.Config(steps=3, batch_size=2, schedule="linear")
draw = partial(sampling.sample, FLAT, WORDS, 3, generator=CHANCE)
CALLS = [
    # data
    ("decode-tensor", lambda: WORDS.decode(tensor([-1])), IndexError, "expected integers in [0, 4), got -1"),
    ("encode-numbers", lambda: WORDS.encode([1]), ValueError, "character 1 of [1] is not one of"),
    ("windows-of-0", lambda: names.windows(["a"], WORDS, 0), ValueError, "block_size of at least 1, got 0"),
    ("names-too-short-a-batch", lambda: names.sequences(["abc"], WORDS, -1),
     ValueError, "length of at least 4, got -1"),
    ("recall-of-none", lambda: memory.recall(0, 3),
     ValueError, "at least 1 sequence and 1 step, got 0 and 3"),
    ("waves-of-nan", lambda: waves.sums_of_sines(2, 5, (NAN,)),
     ValueError, "periods above 2 steps, got (nan,)"),
    ("waves-pulled-by-nan", lambda: waves.wandering(2, 5, pull=NAN),
     ValueError, "a pull above 0 and up to 1, got nan"),
    ("chaos-of-inf", lambda: waves.mackey_glass(2, 5, INF), ValueError, "a multiple of 0.1, got inf"),
    ("chaos-of-nan", lambda: waves.mackey_glass(2, 5, NAN), ValueError, "a multiple of 0.1, got nan"),
    ("ratings-of-nan", lambda: reviews.parse_reviews(b"7\tnan\tToo long.\n"),
     ValueError, "line 1: expected an id, a tab"),
    ("threshold-of-nan", lambda: reviews.labelled([], NAN), ValueError, "a threshold of -4 to 4, got nan"),
    ("margin-of-nan", lambda: reviews.labelled([], 0, NAN), ValueError, "a margin of at least 0, got nan"),
    ("alike-by-nan", lambda: reviews.near_duplicates(["a"], NAN),
     ValueError, "threshold above 0 and at most 1, got nan"),
    ("text-is-a-folder", lambda: text.read_text(ROOT),
     ValueError, "Is a directory; expected a text file in UTF-8"),
    ("titles-twice", lambda: text.hold_out({"a": "1", "b": "2"}, ["a"], ["a"]), ValueError, "got 'a' twice"),
    ("pairs-held-nan", lambda: translation.split_pairs([], NAN),
     ValueError, "a share between 0 and 0.5, got nan"),
    ("pairs-are-none", lambda: translation.load_pairs(ROOT / "README.md"),
     ValueError, "README.md, line 1: expected"),
    ("corpus-unknown", lambda: corpora.read("bible"),
     ValueError, "expected a corpus of reviews, plays, got 'bible'"),
    # layers and models
    ("norm-broadcasts", lambda: nn.LayerNorm(3)(zeros(2, 1)),
     ValueError, "a last dimension of 3, got shape (2, 1)"),
    ("norm-of-one", lambda: nn.LayerNorm(1)(zeros(2, 5)),
     ValueError, "a last dimension of 1, got shape (2, 5)"),
    ("norm-of-others", lambda: nn.LayerNorm(3)(zeros(2, 4)),
     ValueError, "a last dimension of 3, got shape (2, 4)"),
    ("places-broadcast", lambda: nn.PositionalEmbedding(4, 3)(zeros(1, 2, 1)),
     ValueError, "expected (B, T, 3) behind"),
    ("places-of-rows", lambda: nn.PositionalEmbedding(4, 3)(zeros(2, 3)),
     ValueError, "expected (B, T, 3) behind"),
    ("places-before-0", lambda: nn.PositionalEmbedding(4, 3)(zeros(1, 2, 3), -1),
     ValueError, "got (1, 2, 3) behind -1"),
    ("attention-of-rows", lambda: nn.MultiheadAttention(8, 2)(zeros(3, 8)), ValueError, "expected 3, got 2"),
    ("gate-of-3", lambda: nn.Gate()(zeros(2, 3)), ValueError, "an even number of channels, got shape (2, 3)"),
    ("dropout-of-nan", lambda: nn.Dropout(NAN), ValueError, "expected p in [0, 1), got nan"),
    ("norm-moves-by-nan", lambda: nn.BatchNorm1d(3, momentum=NAN), ValueError, "momentum in [0, 1], got nan"),
    ("kernel-of-fractions", lambda: nn.CausalConv1d(2, 3, 2.0), ValueError, "whole kernel_size and dilation"),
    ("weights-complex", lambda: nn.Linear(2, 2).load_state_dict(
        {"weight": zeros(2, 2, dtype=torch.complex64), "bias": zeros(2)}),
     ValueError, "torch.float32, got torch.complex64"),
    ("whole-model", lambda: nn.Linear(2, 2).to(torch.int64),
     ValueError, "weight in torch.float32, got torch.int64"),
    ("memory-of-nan", lambda: nn.chrono_start(nn.LSTM(2, 3), NAN),
     ValueError, "a memory of at least 2 steps, got nan"),
    ("projected-lstm", lambda: nn.from_torch(torch.nn.LSTM(3, 4, proj_size=2).state_dict()),
     ValueError, "weight_hr_l0"),
    ("pads-in-front", lambda: Seq2Seq(5, 6)(tensor([[0, 1]]), tensor([[1]])),
     ValueError, "padded behind with 0, of at least one word, got"),
    ("translation-in-a-row", lambda: Seq2Seq(5, 6)(tensor([1]), tensor([[1]])), ValueError, "got shape (1,)"),
    ("tree-of-7", lambda: Tree(4)(LONG(2, 7)), ValueError, "T = 7 is not a multiple of n = 2"),
    ("slid-mlp", lambda: as_convolution(FLAT), ValueError, "expected a tree with one BatchNorm1d a level"),
    ("past-too-long", lambda: Transformer(4, length=5).go_on(LONG(1, 3), Transformer(4).go_on(LONG(1, 4))[1]),
     ValueError, "expected at most 5 characters in front of a prediction, got 7"),
    ("state-of-others", lambda: StatefulNetwork(4).go_on(LONG(2, 3), (zeros(1, 1, 64), zeros(1, 1, 64))),
     ValueError, "expected a state for 1 cells and 2 sequences"),
    ("nothing-counts", lambda: predictions(WHOLE, LONG(2, 3), LONG(2, 3) - 100),
     ValueError, "of which none counts"),
    ("untrained", lambda: pretrained("dilated"), ValueError, "expected one of ['mlp',"),
    ("no-such-tag", lambda: tagged("best"), ValueError, "expected one of ['lecture',"),
    # training and measuring
    ("steps-beyond", lambda: train.plain_steps(FLAT, X, Y, CHANCE, FEW, 0, 4), ValueError,
     "expected at least one step, got 0 to 4 of 3"),
    ("rate-below-0", lambda: train.composed_steps(FLAT, (X, Y), CHANCE, FALLING, 3, 5),
     ValueError, "got 3 to 5 of 3"),
    ("rate-as-text", lambda: train.Config(lr="0.1"), ValueError, "lr to be a number above 0, got '0.1'"),
    ("rate-as-tensor", lambda: train.Config(lr=tensor(0.1)),
     ValueError, "lr to be a number above 0, got tensor(0.1"),
    ("three-betas", lambda: train.Config(betas=(0.1, 0.2, 0.3)),
     ValueError, "betas to be two numbers in [0, 1)"),
    ("no-optimizer", lambda: train.Config(optimizer=None), ValueError, "optimizer to be one of ['sgd'"),
    ("windows-as-fractions", lambda: evaluate.mean_loss(FLAT, X.float(), Y),
     ValueError, "integers of 64 or 32 bits"),
    ("swapped", lambda: evaluate.mean_loss(FLAT, Y, X),
     ValueError, "expected inputs and targets of one shape"),
    ("target-beyond", lambda: evaluate.mean_loss(FLAT, X, Y + 99), IndexError, "out of bounds"),
    ("soft-of-others", lambda: train.Examples(X, Y, zeros(3, 4)),
     ValueError, "a teacher's probabilities for targets"),
    ("smooth-nothing", lambda: evaluate.smooth(tensor([]), 1), ValueError, "a window of 1 to 0 steps, got 1"),
    # drawing
    ("temperature-below-0", lambda: draw(temperature=-1), ValueError, "expected a temperature from"),
    ("best-minus-1", lambda: draw(top_k=-1), ValueError, "a top_k of at least 1, got -1"),
    ("prefix-unknown", lambda: draw(prefix="x"), ValueError, "character 'x' of 'x' is not one of"),
    ("another-context", lambda: sampling.sample(FLAT, WORDS, 4, generator=CHANCE),
     ValueError, "a last dimension of 12"),
    ("another-vocabulary", lambda: sampling.sample(FLAT, Vocabulary("ab"), 3, generator=CHANCE), ValueError,
     "expected 3 logits, one a token, got 4"),
    ("whole-names-in-windows", lambda: sampling.sample(WHOLE, WORDS, 3, generator=CHANCE),
     ValueError, "block_size is None"),
    ("length-of-fractions", lambda: constraints.Length(1.5),
     ValueError, "from 0 up, shortest first, got 1.5 to None"),
    ("length-of-nan", lambda: constraints.Length(NAN),
     ValueError, "from 0 up, shortest first, got nan to None"),
    ("length-up-to-nan", lambda: constraints.Length(1, NAN), ValueError, "shortest first, got 1 to nan"),
    ("length-as-text", lambda: constraints.Length("3"), ValueError, "shortest first, got 3 to None"),
    ("prefix-with-star", lambda: constraints.Prefix("a*"), ValueError, "use Pattern for ? and *"),
    # runs
    ("warmup-of-a-run", lambda: Run("mlp", train.Config(steps=3, warmup=4)),
     ValueError, "at most 3 steps of warmup"),
    ("seeds-as-a-number", lambda: Run("mlp", seeds=3), ValueError, "expected seeds one by one"),
    ("seeds-of-truth", lambda: Run("mlp", seeds=(True,)), ValueError, "seeds from 0 to 2**64 - 1, got True"),
    ("space-of-equals", lambda: read_space({"lr": {"choices": [1, 1.0]}}, Run("mlp")),
     ValueError, "choices that differ"),
    ("space-warms-long", lambda: read_space({"warmup": {"low": 0, "high": 9}}, Run("mlp", FEW)), ValueError,
     "warmup = 9: expected at most 3 steps of warmup"),
    ("compare-a-plan", lambda: comparison.compare([ROOT / "data" / "plans"]),
     ValueError, "results.json: no such file"),
    ("curves-of-nothing", lambda: curves(ROOT / "data"),
     ValueError, "history.safetensors: no losses of a run"),
    ("model-of-nothing", lambda: load_model(ROOT / "data", 0), ValueError, "config.json: no such file"),
    ("export-of-nothing", lambda: export_model(ROOT / "data", 0, ROOT / "nowhere"),
     ValueError, "results.json: no such file"),
    ("checkpoint-of-text", lambda: checkpoints.restore(ROOT / "README.md", {}, torch.device("cpu")),
     ValueError,
     "README.md: not a checkpoint of this book"),
    ("importance-of-none", lambda: importance({"trials": []}),
     ValueError, "at least 4 complete trials, got 0"),
    # pages
    ("tolerance-of-nan", lambda: checks.expect("it", 1.0, 1.0, NAN),
     ValueError, "a tolerance of at least 0, got nan"),
    ("truth-of-a-list", lambda: checks.expect_true("it", [1]), ValueError, "expected True or False, got [1]"),
    ("graded-by-nothing", lambda: checks.grade("one", len, []),
     ValueError, "expected at least one case, got none"),
    ("told-of-nothing", lambda: told.tell("loss", " "),
     ValueError, "loss: expected the words that stand in the text"),
    ("told-without-number", lambda: told.tell("loss", "less", 2.0),
     ValueError, "loss: expected a number in the text"),
    ("results-unknown", lambda: results.stored_results("best"),
     ValueError, "no stored results for 'best'; expected one"),
    ("costs-unknown", lambda: results.stored_costs("tpu"),
     ValueError, "no stored benchmark for 'tpu'; expected one"),
    ("valley-of-ftrl", lambda: widgets.valley("ftrl"), ValueError, "got 'ftrl'"),
]  # fmt: skip


@pytest.mark.parametrize("call, error, said", ids(CALLS))
def test_a_function_says_what_it_expected(call, error, said):
    with pytest.raises(error) as caught:
        call()
    assert said in str(caught.value)
    assert not (ROOT / "nowhere").exists()


# ---- the tools -----------------------------------------------------------------------------------

TOOLS = [
    ("no-seeds", ["forecasts", "--seeds", "0"], "expected a whole number of at least 1, got '0'"),
    ("seeds-below-0", ["stacks", "--seeds", "-1"], "expected a whole number of at least 1, got '-1'"),
    ("seeds-in-words", ["sound", "--seeds", "two"], "expected a whole number of at least 1, got 'two'"),
    ("no-classifiers", ["sentences", "--seeds", "0"], "expected a whole number of at least 1, got '0'"),
    ("no-plays", ["shakespeare", "--seeds", "0"], "expected a whole number of at least 1, got '0'"),
    ("no-processes", ["memory", "--workers", "0"], "expected a whole number of at least 1, got '0'"),
    ("plan-is-a-path", ["experiments", "../plans/blocks"], "expected the name of a plan among blocks,"),
    ("no-workers", ["experiments", "blocks", "--workers", "0"], "expected at least 1 worker, got 0"),
    ("text-is-a-folder", ["attention", "--text", "."], "expected a text file in UTF-8"),
    ("trains-by-an-option", ["causality", "--steps", "3"], "unrecognized arguments: --steps 3"),
    ("draws-by-a-word", ["cover", "now"], "unrecognized arguments: now"),
    ("told-of-nothing", ["told"], "expected the paths of notebooks, got none"),
    ("told-of-json", ["told", "OBJECT"], "object.ipynb: expected a notebook ("),
    ("told-of-a-list", ["told", "LIST"], "list.ipynb: expected a notebook ("),
    (
        "told-of-text",
        ["told", "TEXT"],
        "text.ipynb: expected a notebook (Notebook does not appear to be JSON",
    ),
    ("told-of-nowhere", ["told", "nowhere.ipynb"], "nowhere.ipynb: expected a notebook ("),
    ("told-of-a-folder", ["told", "."], ".: expected a notebook ("),
    ("weights-of-text", ["rename_weights", "TEXT", "mlp"], "text.ipynb: "),
    ("weights-alone", ["rename_weights", "TEXT"], "expected FILE.safetensors MODEL [NAME=VALUE ...]"),
    (
        "translation-of-nowhere",
        ["translation", "train", "page", "--file", "nowhere"],
        "nowhere: No such file",
    ),
]


@pytest.fixture
def none_of_them(tmp_path):
    """Files that are called notebooks, and are none."""
    content = {"OBJECT": '{"a": 1}', "LIST": "[]", "TEXT": "no JSON", "EMPTY": ""}
    for name, written in content.items():
        (tmp_path / f"{name.lower()}.ipynb").write_text(written, encoding="utf-8")
    return {name: tmp_path / f"{name.lower()}.ipynb" for name in content}


@pytest.mark.parametrize("arguments, said", ids(TOOLS))
def test_a_tool_says_what_it_expected_and_writes_nothing(arguments, said, none_of_them, capsys, monkeypatch):
    """With its own module: what it stores would stand in the repository."""
    tool, *rest = [str(none_of_them.get(word, word)) for word in arguments]
    module = import_module(tool)

    def never(*arguments, **named):
        raise AssertionError("it wrote")

    for writer in ("write_json", "replace_files", "chapter", "unpack"):
        if hasattr(module, writer):
            monkeypatch.setattr(module, writer, never)
    capsys.readouterr()
    try:
        status = module.main(rest)
    except SystemExit as error:
        status = error.code
    printed = capsys.readouterr()
    assert (status, printed.out) == (2, "") and said in printed.err.splitlines()[-1]


@pytest.mark.parametrize("how", [["--check"], ["--normalise-only"], ["--workers", "1"], []], ids=str)
@pytest.mark.parametrize("kind", ["OBJECT", "LIST", "TEXT", "EMPTY"])
def test_what_is_no_notebook_is_neither_run_nor_put_in_order(kind, how, none_of_them, capsys, monkeypatch):
    path = none_of_them[kind]
    before = path.read_bytes()
    monkeypatch.setattr(sys, "argv", ["notebooks.py", *how, str(path)])
    with pytest.raises(SystemExit, match="2"):
        notebooks.main()
    assert f"{path}: expected a notebook (" in capsys.readouterr().err.splitlines()[-1]
    assert path.read_bytes() == before


def test_a_tool_ends_in_one_line_where_it_is_run():
    command = [sys.executable, str(ROOT / "tools" / "told.py"), str(ROOT / "README.md")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
