"""book/_ext/docstrings.py: docstrings in plain text become reStructuredText."""

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "book" / "_ext"))

from docstrings import inline, skip, to_rst  # noqa: E402


def converted(text: str) -> str:
    """The result without the blank lines, which part paragraphs."""
    return "\n".join(line for line in to_rst(text) if line)


@pytest.mark.parametrize(
    "text, shown",
    [
        ("(B, T, C) -> (B, T // n, C * n)", "``(B, T, C) → (B, T // n, C * n)``"),
        ("(..., 2 H) -> (..., H); more", "``(..., 2 H) → (..., H)``; more"),
        ("x (B, T) with y (B,)", "x ``(B, T)`` with y ``(B,)``"),
        ("integers in [0, n)", "integers in ``[0, n)``"),
        ("(B, T) -> logits (B, V)", "``(B, T)`` → logits ``(B, V)``"),
        ("`place` and ``name``", "``place`` and ``name``"),
        ("every `Layer`s own", "every ``Layer``\\ s own"),
        ("of torch.nn, for block_size", "of ``torch.nn``, for ``block_size``"),
        ('such as "norm.running_mean".', 'such as "``norm.running_mean``".'),
        ("what is *given*", "what is *given*"),
        ("2**levels, a * b, |c|", "``2**levels``, a \\* b, \\|c\\|"),
        ("a <- b", "a ← b"),
    ],
)
def test_what_is_code_in_a_sentence_is_shown_as_code(text, shown):
    assert inline(text) == shown


@pytest.mark.parametrize(
    "text", ["(Polyak, 1964)", "(He et al., 2016.)", "(n - 1)", "len(name) + 1", "f(a, b)"]
)
def test_what_only_looks_like_a_shape_stays_prose(text):
    assert inline(text) == text


def test_arguments_become_a_definition_list():
    text = """Read a list.

    path: a text file;
        None reads another.
    top_k, top_p: cuts.
    ValueError for a folder.
    """.replace("\n    ", "\n")
    assert converted(text) == (
        "Read a list.\n``path``\n    a text file; None reads another.\n``top_k``, ``top_p``\n    cuts.\n"
        "``ValueError`` for a folder."
    )


def test_an_argument_behind_a_sentence_is_found_and_a_word_with_a_colon_is_none():
    assert converted("All of them. input: (B, T) -> (B,). State: how many.") == (
        "All of them.\n``input``\n    ``(B, T) → (B,)``. State: how many."
    )


def test_where_it_was_introduced_comes_last():
    text = "A map. Introduced in\nchapter 2, its axes in chapter 5.\n\nx: (B, T) -> (B,)"
    assert converted(text) == (
        "A map.\n``x``\n    ``(B, T) → (B,)``\nIntroduced in chapter 2, its axes in chapter 5."
    )


def test_each_equation_has_a_line():
    text = (
        "b <- m b + g;  p <- p - lr b\n\ny = tanh(a) * s(b), where x is a.\n\nz = f(x) (Oord et al., 2016)."
    )
    assert converted(text).split("\n") == [
        "| ``b ← m b + g``",
        "| ``p ← p - lr b``",
        "| ``y = tanh(a) * s(b)``, where x is a.",
        "| ``z = f(x)`` (Oord et al., 2016).",
    ]


def test_an_example_stays_as_it_is():
    example = ">>> f(1) * 2  # a_b\n(1, 2)"
    assert converted(f"Text.\n\n{example}") == f"Text.\n{example}"


def test_fields_of_a_namedtuple_are_left_out_unless_someone_explained_them():
    from collections import namedtuple

    pair = namedtuple("pair", "first")
    assert skip(None, "class", "first", pair.first, False, None) is True
    assert skip(None, "class", "index", pair.index, False, None) is None
