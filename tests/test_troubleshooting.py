"""The page on what breaks quotes messages that the code, or a cell of a chapter, really gives."""

import re
from pathlib import Path

import nbformat
import pytest
import torch
import torch.nn.functional as F

from common.runs.command import parser

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "book" / "troubleshooting.md").read_text(encoding="utf-8")
SOURCE = "\n".join(
    path.read_text(encoding="utf-8")
    for folder in ("src/common", "tools")
    for path in sorted((ROOT / folder).rglob("*.py"))
)
STORED = [  # the errors that cells of the book reproduce
    output.evalue
    for path in [*sorted((ROOT / "book").glob("*/[0-9][0-9]_*.ipynb")), ROOT / "book" / "tensors.ipynb"]
    for cell in nbformat.read(path, as_version=4).cells
    for output in cell.get("outputs", [])
    if output.output_type == "error"
]
MISTAKES = [  # those of PyTorch that no cell reproduces
    lambda: torch.nn.Conv1d(10, 4, 2)(torch.zeros(32, 8, 10)),
    lambda: torch.zeros(2, 3, 4).mT.view(2, -1),
    lambda: F.cross_entropy(torch.zeros(4, 1, 27), torch.zeros(4, dtype=torch.long)),
]


def message_of(mistake) -> str:
    with pytest.raises((RuntimeError, ValueError)) as raised:
        mistake()
    return str(raised.value)


SOURCE = "\n".join([SOURCE, *STORED, *map(message_of, MISTAKES)])
HEADS = re.findall(r"^\*\*(.+?)\*\*", PAGE, re.MULTILINE)
QUOTED = [found for head in HEADS for found in re.findall(r'"([^"]+)"|^`([^`]+)`[.]$', head)]
QUOTED = ["".join(found) for found in QUOTED]


def pieces(message: str) -> list[str]:
    """The words of a message between what differs from case to case: numbers, names in quotes, ellipses."""
    found = re.split(r"'[^']*'|line \d+|-?\d[\d,]*|\(\w+\)|[`:;=]|\.\.\.", message)
    return [piece.strip() for piece in found if len(piece.strip()) > 6]


def test_the_page_quotes_messages():
    assert len(QUOTED) >= 8


def test_errors_that_cells_reproduce_are_read():
    assert any("must be equal to input_size" in error for error in STORED)


@pytest.mark.parametrize("message", QUOTED)
def test_a_quoted_message_stands_in_the_code(message):
    said = SOURCE.replace("training process {how}", "training process ended with code")  # by `loop.ending`
    code = re.sub(r'"\s*\n\s*f?"', "", said)  # strings that go on in the next line
    for piece in pieces(message):
        assert piece in code, f"{piece!r} of {message!r} is said nowhere"


def test_the_page_names_options_that_the_command_has():
    spans = [span for span in re.findall(r"`([^`]+)`", PAGE) if span.startswith(("--", "python -m common"))]
    named = {option for span in spans for option in re.findall(r"--[a-z-]+", span)}
    [commands] = parser()._subparsers._group_actions
    known = {option for command in commands.choices.values() for option in command._option_string_actions}
    assert len(named) > 4 and named <= known
