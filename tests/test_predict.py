"""The command that asks a trained run what comes next, and the tasks without a file on the command line."""

import subprocess
import sys

import pytest
import torch

from common.data import RECALL
from common.models import MODELS
from common.runs.command import main
from common.runs.folder import load_model

QUICK = ["--steps", "20", "--batch-size", "8", "--lr", "1e-2", "--optimizer", "adam"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "recall"
    sizes = ["--set", "n_hidden=8", "n_embd=4"]
    assert (
        main(
            [
                "train",
                "--task",
                "recall",
                "--delay",
                "3",
                "--model",
                "gru",
                "--out",
                str(folder),
                *sizes,
                *QUICK,
            ]
        )
        == 0
    )
    return folder


@pytest.fixture(scope="module")
def of_names(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "names"
    assert main(["train", "--model", "mlp", "--steps", "5", "--out", str(folder), "--no-compile"]) == 0
    return folder


def said(capsys, *arguments):
    capsys.readouterr()
    status = main(list(map(str, arguments)))
    heard = capsys.readouterr()
    return status, heard.out, heard.err


def test_a_run_says_what_it_expects_behind_a_text(trained, capsys):
    status, out, _ = said(capsys, "predict", "--run", trained, "c40?", "e", "--top", 2)
    first, second = out.splitlines()
    with torch.no_grad():
        p = load_model(trained, 0)(torch.tensor([RECALL.encode("c40?")]))[0, -1].softmax(-1)
    likely = [f"{RECALL.tokens[i]} {p[i]:.1%}" for i in p.topk(2).indices]
    assert status == 0 and first == "  ".join(["c40?", *likely]) and second.startswith("e  ")


def test_names_begin_with_their_dots(of_names, capsys):
    status, out, _ = said(capsys, "predict", "--run", of_names, "", "emma", "--top", 30)
    empty, emma = (line.split("  ") for line in out.splitlines())
    assert status == 0 and len(empty) == len(emma) == 28 and emma[0] == "emma"
    with torch.no_grad():
        p = load_model(of_names, 0)(torch.zeros(1, 3, dtype=torch.long))[0].softmax(-1)
    assert empty[1].endswith(f"{p.max():.1%}")
    assert MODELS["mlp"].block_size == 3


@pytest.mark.parametrize(
    "arguments, wanted",
    [
        (["a", "z"], "error: TEXT: the run knows no 'z', only '01234567?abcdefgh'"),
        ([""], "error: TEXT: expected at least one character, got none"),
        (["a", "--top", "0"], "error: expected --top of at least 1, got 0"),
        (["a", "--model-seed", "7"], "expected a finished run with a model for seed 7"),
    ],
)
def test_what_cannot_be_asked(trained, capsys, arguments, wanted):
    status, out, err = said(capsys, "predict", "--run", trained, *arguments)
    assert (status, out) == (2, "") and wanted in err and err.count("\n") == 1


def test_a_run_of_answers_is_not_sampled(trained, capsys):
    status, out, err = said(capsys, "sample", "--run", trained)
    assert (status, out) == (2, "")
    assert err == "error: expected a run of names, got one of recall; predict asks it for answers\n"


@pytest.mark.parametrize(
    "arguments, wanted",
    [
        (["--task", "echo", "--delay", "0"], "expected delay to be a whole number from 1 to 10,000, got 0"),
        (["--delay", "3"], "expected --delay with a task of recall, echo, got it with names"),
        (["--task", "echo", "--data", "x"], "echo draws its data"),
        (["--task", "echo", "--distinct"], "expected no file, no alphabet and no --distinct"),
    ],
)
def test_what_a_task_cannot_take_leaves_nothing(tmp_path, capsys, arguments, wanted):
    status, out, err = said(capsys, "train", "--model", "gru", "--out", tmp_path / "run", *arguments, *QUICK)
    assert (status, out) == (2, "") and wanted in err and err.startswith("error: ")
    assert not (tmp_path / "run").exists()


def test_a_training_says_what_it_measures(trained, capsys):
    _, out, _ = said(
        capsys, "train", "--task", "recall", "--delay", 3, "--model", "gru", "--out", trained,
        "--set", "n_hidden=8", "n_embd=4", *QUICK,
    )  # fmt: skip
    assert out.splitlines()[-1].endswith("(wrong answers)")


def test_a_run_of_recall_in_a_process_of_its_own(tmp_path):
    ended = subprocess.run(
        [sys.executable, "-m", "common", "train", "--task", "recall", "--model", "lstm", "--seeds", "2",
         "--delay", "2", "--out", str(tmp_path / "run"), *QUICK],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert ended.stdout.count("seed") == 2 and (tmp_path / "run" / "model-1.safetensors").exists()
