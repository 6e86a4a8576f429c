"""The command that asks a trained run what comes next or which label fits, and the tasks beside names on the
command line."""

import io
import json
import subprocess
import sys

import pytest
import torch
from small_runs import labelled_file

from common.data import RECALL, corpora
from common.data.reviews import tokenize
from common.models import MODELS
from common.runs.command import main
from common.runs.folder import load_model
from common.runs.tasks import vocabulary_of

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


# ---- sentences ---------------------------------------------------------------------------

SMALL = ["--set", "n_embd=8", "n_hidden=8", "--steps", "150", "--batch-size", "16", "--lr", "2e-2",
         "--optimizer", "adam"]  # fmt: skip


def reviews(data, out, *more):
    return ["train", "--task", "reviews", "--model", "sentences", "--data", data, "--out", out, *more]


@pytest.fixture(scope="module")
def of_sentences(tmp_path_factory):
    """A finished run whose file is no longer there."""
    folder = tmp_path_factory.mktemp("runs")
    mine = labelled_file(folder / "mine.tsv")
    assert main(list(map(str, reviews(mine, folder / "run", "--seeds", 2, *SMALL)))) == 0
    mine.unlink()
    return folder / "run"


def given(monkeypatch, content):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content), encoding="ascii"))


def test_a_text_gets_labels_with_their_probabilities(of_sentences, capsys):
    texts = ["Good word1 word2.", "A  Bad   one", "word3"]
    status, out, _ = said(capsys, "predict", "--run", of_sentences, *texts, "--model-seed", 1)
    lines = out.splitlines()
    assert status == 0 and len(lines) == 3
    assert lines[0].startswith("Good word1 word2.  good ") and lines[1].startswith("A  Bad   one  bad ")
    settings = json.loads((of_sentences / "config.json").read_text(encoding="utf-8"))
    words, model = vocabulary_of(settings), load_model(of_sentences, 1)
    for text, line in zip(texts, lines, strict=True):
        with torch.no_grad():
            p = model(torch.tensor([words.encode(tokenize(text))])).softmax(-1)[0]
        likely = [f"{settings['labels'][i]} {p[i]:.1%}" for i in p.topk(2).indices]
        assert line == "  ".join([text, *likely])


def test_lines_of_the_standard_input_are_texts(of_sentences, capsys, monkeypatch):
    texts = [f"Good word{n}" if n % 3 else f"word{n} bad é" for n in range(600)]
    given(monkeypatch, ("\ufeff" + "\r\n".join(texts) + "\r\n").encode())
    status, out, _ = said(capsys, "predict", "--run", of_sentences, "--top", 1)
    lines = out.splitlines()
    assert status == 0 and len(lines) == 600
    assert lines[0].startswith("word0 bad é  bad ") and lines[599].startswith("Good word599  good ")
    one = said(capsys, "predict", "--run", of_sentences, "--top", 1, texts[300])[1]
    assert one.rstrip("\n") == lines[300]


def test_every_run_reads_the_standard_input(trained, of_names, capsys, monkeypatch):
    for folder in (trained, of_names):
        for content in (b"ab\ncd", b"ab\ncd\n"):
            given(monkeypatch, content)
            out = said(capsys, "predict", "--run", folder)[1]
            assert out == said(capsys, "predict", "--run", folder, "ab", "cd")[1] != ""


@pytest.mark.parametrize(
    "content, wanted",
    [
        (b"", "expected a TEXT, or lines on the standard input, got none"),
        (b"good\n\nbad\n", "standard input, line 2: expected at least one word, got ''"),
        (b"good\n\xff\n", "standard input: byte 5 is not UTF-8"),
        (None, "expected a TEXT, or lines on the standard input, got none"),
    ],
)
def test_input_that_is_no_text(of_sentences, capsys, monkeypatch, content, wanted):
    monkeypatch.setattr(sys, "stdin", None) if content is None else given(monkeypatch, content)
    assert said(capsys, "predict", "--run", of_sentences) == (2, "", f"error: {wanted}\n")


def test_whoever_sits_at_a_terminal_is_told_that_texts_are_awaited(of_sentences, capsys, monkeypatch):
    given(monkeypatch, b"good\n")
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
    status, out, err = said(capsys, "predict", "--run", of_sentences)
    assert status == 0 and out.startswith("good  good ") and err.startswith("note: expects a text a line")


def test_a_blank_text_has_no_label_and_labels_are_no_names(of_sentences, capsys):
    wanted = "error: TEXT: expected at least one word, got ' '\n"
    assert said(capsys, "predict", "--run", of_sentences, "good", " ") == (2, "", wanted)
    wanted = "error: expected a run of names, got one of reviews; predict asks it for answers\n"
    assert said(capsys, "sample", "--run", of_sentences) == (2, "", wanted)


GOOD = "good\tA fine film.\nbad\tA dull film.\n" * 3
BAD_FILES = {
    "no tabs": (
        b"a good film\n",
        "line 1: expected a label, a tab and a text on every line, got 'a good film'",
    ),
    "one label": (b"good\ta film\n" * 9, "expected 2 to 20 labels that repeat, got 1, as 'good'"),
    "empty": (b"", "the file is empty; expected a text file in UTF-8 with a label, a tab and a text"),
    "only a mark": (b"\xef\xbb\xbf", "the file is empty"),
    "a long label": (
        GOOD.encode() + b"x" * 200 + b"\tz\n",
        "line 7: expected a label of at most 60 characters",
    ),
    "a heading": (b"label\ttext\n" + GOOD.encode(), "line 1: expected labels that repeat, got 'label' once"),
    "two tabs": (GOOD.encode() + b"1\tgood\tz\n", "line 7: expected a label, a tab and a text on every line"),
    "utf-16": (GOOD.encode("utf-16"), "byte 0 is not UTF-8"),
    "few": (GOOD.encode(), "expected enough texts to split 80/10/10, got 2 that differ"),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_a_file_that_is_none_of_sentences_is_refused_in_one_line(tmp_path, capsys, name):
    content, wanted = BAD_FILES[name]
    path = tmp_path / "mine.tsv"
    path.write_bytes(content)
    status, out, err = said(capsys, *reviews(path, tmp_path / "run"))
    assert (status, out) == (2, "") and err.startswith(f"error: {path}") and wanted in err
    assert err.count("\n") == 1 and sorted(tmp_path.iterdir()) == [path] and path.read_bytes() == content


def test_lines_of_windows_with_a_mark_in_front_are_the_same_sentences(tmp_path):
    mine = labelled_file(tmp_path / "mine.tsv")
    (tmp_path / "windows.tsv").write_bytes(b"\xef\xbb\xbf" + mine.read_bytes().replace(b"\n", b"\r\n"))
    quick = ["--steps", 2, "--set", "n_embd=2", "n_hidden=2"]
    for path in (mine, tmp_path / "windows.tsv"):
        assert main(list(map(str, reviews(path, tmp_path / path.stem, *quick)))) == 0
    ours, theirs = (
        json.loads((tmp_path / name / "results.json").read_text(encoding="utf-8"))
        for name in ("mine", "windows")
    )
    assert ours["labels"] == theirs["labels"] == ["bad", "good"] and ours["runs"] == theirs["runs"]
    assert ours["vocabulary"] == theirs["vocabulary"]


@pytest.mark.parametrize(
    "arguments, wanted",
    [
        (["--data", "FOLDER"], "FOLDER: Is a directory; expected a text file in UTF-8 with a label"),
        (["--data", "FOLDER/nowhere"], "nowhere: No such file or directory; expected a text file"),
        (["--words", "0"], "expected words to be a whole number from 1 to 10,000, got 0"),
        (["--delay", "3"], "expected --delay with a task of recall, echo, got it with reviews"),
        (["--alphabet", "any"], "expected no alphabet and no --distinct: reviews reads texts"),
        (["--model", "hierarchical"], "expected for reviews a model among ['sentences'], got 'hierarchical'"),
        (["--set", "pool=sum"], "expected a pool among ['mean', 'last', 'max'], got 'sum'"),
        (["--set", "layer=conv"], "expected layer to be one of rnn, lstm, gru, got 'conv'"),
        (
            ["--set", "classes=3"],
            "expected sizes among bidirectional, dropout, layer, n_embd, n_hidden, pool",
        ),
        (["--task", "names"], "expected for names a model among ['mlp', "),
        (["--task", "echo"], "expected for echo a model among ['dilated', "),
    ],
)
def test_what_sentences_cannot_take_leaves_nothing(tmp_path, capsys, arguments, wanted):
    mine = labelled_file(tmp_path / "mine.tsv")
    arguments = [str(one).replace("FOLDER", str(tmp_path)) for one in arguments]
    status, out, err = said(capsys, *reviews(mine, tmp_path / "run"), *arguments)
    assert (status, out) == (2, "") and wanted.replace("FOLDER", str(tmp_path)) in err
    assert err.startswith("error: ") and err.count("\n") == 1 and not (tmp_path / "run").exists()


def test_without_a_network_one_line_says_what_to_do(tmp_path, capsys, monkeypatch):
    def unreachable(name):
        raise ConnectionError(f"{name}: no network; try again")

    monkeypatch.setattr(corpora, "fetch", unreachable)
    arguments = [
        "train",
        "--task",
        "reviews",
        "--model",
        "sentences",
        "--words",
        7,
        "--out",
        tmp_path / "run",
    ]
    assert said(capsys, *arguments) == (2, "", "error: reviews: no network; try again\n")
    assert list(tmp_path.iterdir()) == []


def test_a_language_without_blanks_is_said_to_have_unknown_words(tmp_path, capsys):
    path = tmp_path / "mine.tsv"
    signs = "这部电影很好不太糟糕演员故事"
    path.write_text("".join(
        f"{'ab'[n % 2]}\t{''.join(signs[n * k % 14] for k in range(1, 4 + n % 5))}{n}。\n" for n in range(80)
    ), encoding="utf-8")  # fmt: skip
    status, out, err = said(capsys, *reviews(path, tmp_path / "run", "--steps", 2))
    assert status == 0 and "note: 100% of the words in the validation texts" in err
