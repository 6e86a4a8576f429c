"""What a page promises is held, in lines that are the same everywhere; answers are marked fairly."""

import math

import numpy as np
import pytest
import torch

from common.pages import checks
from common.pages.checks import expect, expect_true, grade, mark


def on_one_line(value):
    return " ".join(str(value).split())


@pytest.fixture(autouse=True)
def no_list_of_the_user(monkeypatch):
    monkeypatch.delenv("NAMES", raising=False)


# expect


@pytest.mark.parametrize("value", [2.1, 2.09, 2.11, 2.1049, torch.tensor(2.1)], ids=str)
def test_what_holds_prints_the_same_line_everywhere(value, capsys):
    expect("validation loss", value, 2.1, 0.012)
    assert capsys.readouterr().out == "held: validation loss is within 0.012 of 2.1\n"


@pytest.mark.parametrize("value", [2.1121, 2.0879, 3.0, -2.1, float("nan"), float("inf")])
def test_what_does_not_hold_raises(value, capsys):
    with pytest.raises(AssertionError, match=r"validation loss: expected 2.1 ± 0.012, got ") as caught:
        expect("validation loss", value, 2.1, 0.012)
    assert f"{value:g}" in str(caught.value)
    assert capsys.readouterr().out == ""


def test_the_tolerance_itself_is_inside():
    expect("count", 10, 8, 2)
    with pytest.raises(AssertionError):
        expect("count", 11, 8, 2)


@pytest.mark.parametrize("value", [2.1, 3.0])
def test_a_list_of_the_user_is_held_to_nothing(value, capsys, monkeypatch):
    monkeypatch.setenv("NAMES", "mine.txt")
    expect("validation loss", value, 2.1, 0.012)
    assert capsys.readouterr().out == (
        f"your list: validation loss {value:.3f} (this book's list: 2.1 ± 0.012)\n"
    )


def test_an_empty_variable_NAMES_is_none(monkeypatch):
    monkeypatch.setenv("NAMES", "")
    with pytest.raises(AssertionError):
        expect("loss", 3.0, 2.1, 0.012)
    with pytest.raises(AssertionError):
        expect_true("the loss falls", False)


def test_statements_are_held(capsys):
    expect_true("the loss falls", True)
    assert capsys.readouterr().out == "held: the loss falls\n"
    with pytest.raises(AssertionError, match="no longer true: the loss falls"):
        expect_true("the loss falls", False)


@pytest.mark.parametrize("condition, line", [(True, "held: "), (False, "your list: not so here: ")])
def test_statements_about_a_list_of_the_user_are_reported(condition, line, capsys, monkeypatch):
    monkeypatch.setenv("NAMES", "mine.txt")
    expect_true("the loss falls", condition)
    assert capsys.readouterr().out == f"{line}the loss falls\n"


@pytest.mark.parametrize("value", [True, np.bool_(True), torch.tensor(True), torch.tensor(2) > 1], ids=repr)
def test_truth_of_every_library_is_held(value, capsys):
    expect_true("the loss falls", value)
    assert capsys.readouterr().out == "held: the loss falls\n"


@pytest.mark.parametrize(
    "condition",
    [None, 1, "False", float("nan"), all, [False], torch.tensor(1.0), torch.tensor([True]), np.ones(1, bool)],
    ids=repr,
)
@pytest.mark.parametrize("names", ["", "mine.txt"])
def test_what_is_neither_true_nor_false_holds_nothing(condition, names, monkeypatch):
    monkeypatch.setenv("NAMES", names)
    with pytest.raises(ValueError, match="the loss falls: expected True or False, got "):
        expect_true("the loss falls", condition)


@pytest.mark.parametrize("tolerance", [float("inf"), float("nan"), -0.1])
def test_a_tolerance_that_cannot_decide_is_refused(tolerance):
    with pytest.raises(ValueError, match=f"expected a tolerance of at least 0, got {tolerance}"):
        expect("loss", 2.1, 2.1, tolerance)


# grade


@pytest.fixture
def printed(capsys):
    def line(answer, cases, **options):
        grade("4.1", answer, cases, **options)
        return capsys.readouterr().out

    return line


def test_a_right_answer_is_correct(printed):
    assert printed(lambda a, b: a + b, [((1, 2), 3), ((0, 0), 0)]) == "exercise 4.1: correct (2 cases)\n"


def test_a_wrong_answer_is_shown_with_its_case(printed):
    cases = iter([((1, 1), 1), ((2, 3), 6), ((3, 4), 7)])
    assert printed(lambda a, b: a, cases) == "exercise 4.1: case 2 of 3: for (2, 3) expected 6, got 2\n"


def test_no_answer_is_not_wrong(printed):
    assert printed(lambda a: None, [((1,), 1), ((2,), 1)]) == "exercise 4.1: not answered yet\n"


@pytest.mark.parametrize("error", [ValueError, ZeroDivisionError, NotImplementedError, IndexError])
def test_an_answer_that_raises_is_reported(error, printed):
    def answer(a):
        raise error("of no use")

    assert printed(answer, [(([1, 2],), 1)]) == (
        f"exercise 4.1: your function raised {error.__name__} on ([1, 2]): of no use\n"
    )


def test_an_answer_of_too_few_arguments_is_reported(printed):
    assert "raised TypeError" in printed(lambda: 1, [((1,), 1)])


def test_what_a_generator_yields_is_marked_and_shown(printed):
    def pairs(series):
        for i in range(len(series)):
            yield series[i], series[i + 1]

    cases = [(([1, 2, 3],), [(1, 2), (2, 3)])]
    assert printed(lambda s: zip(s, s[1:], strict=False), cases) == "exercise 4.1: correct (1 case)\n"
    assert "expected [(1, 2), (2, 3)], got [(1, 3)]" in printed(lambda s: iter([(1, 3)]), cases)
    assert "raised IndexError on ([1, 2, 3]): list index" in printed(pairs, cases)
    assert "got [1, 1, 1" in printed(lambda s: iter(lambda: 1, 2), cases), "it never ends"


@pytest.mark.parametrize(
    "got, expected",
    [
        (3, 3),
        (3.0, 3),
        (0.1 + 0.2, 0.3),
        (1.0000005, 1.0),
        (torch.tensor(0.3), 0.3),
        (True, True),
        ("emma", "emma"),
        ([1, 2], [1, 2]),
        ((1, 2), [1, 2]),
        ([1, 2], (1, 2)),
        (torch.Size([4, 8]), (4, 8)),
        ([0.1 + 0.2, "a"], [0.3, "a"]),
        ([[1.0, 2.0], [3.0]], [[1.0, 2.0], [3.0]]),
        (torch.tensor([[1.0, 2.0], [3.0, 4.0]]), [[1.0, 2.0], [3.0, 4.0]]),
        (torch.tensor([1, 2]), [1, 2]),
        (torch.tensor([1.0, 2.0]), torch.tensor([1.0, 2.0])),
        (torch.tensor([[1, 2]]), torch.tensor([[1, 2]])),
        (torch.tensor([1, 2]), torch.tensor([1.0, 2.0])),
        (torch.tensor([0.1]) + torch.tensor([0.2]), torch.tensor([0.3])),
        ([torch.tensor([1.0, 2.0]), 3], [torch.tensor([1.0, 2.0]), 3]),
        ({"a": 1}, {"a": 1}),
        (math.inf, math.inf),
    ],
    ids=on_one_line,
)
def test_these_are_the_same(got, expected, printed):
    assert printed(lambda: got, [((), expected)]) == "exercise 4.1: correct (1 case)\n"


@pytest.mark.parametrize(
    "got, expected",
    [
        (4, 3),
        (0.3001, 0.3),
        (float("nan"), 0.3),
        ("0.3", 0.3),
        ([0.3], 0.3),
        (torch.tensor([0.3, 0.3]), 0.3),
        (torch.tensor([3, 3]), 3),
        ("Emma", "emma"),
        (False, True),
        ([1, 2, 3], [1, 2]),
        ([1], [1, 2]),
        ([2, 1], [1, 2]),
        (7, [1, 2]),
        ([], [1]),
        ([[1.0], [2.1]], [[1.0], [2.0]]),
        (torch.tensor([1.0, 2.1]), [1.0, 2.0]),
        (torch.tensor(1.0), [1.0]),
        (torch.tensor([[1.0, 2.0], [1.0, 2.0]]), [1.0, 2.0]),
        (torch.tensor([1.0, 2.1]), torch.tensor([1.0, 2.0])),
        (torch.tensor([1, 3]), torch.tensor([1.0, 2.0])),
        (torch.tensor([1.0, 2.0, 3.0]), torch.tensor([1.0, 2.0])),
        (torch.tensor([[1.0, 1.0]]), torch.tensor([[1.0], [1.0]])),
        (torch.tensor([1.0, 1.0]), torch.tensor(1.0)),
        ([1.0, 2.0, 3.0], torch.tensor([1.0, 2.0])),
        ("emma", torch.tensor([1.0, 2.0])),
        ([torch.tensor([1.0, 2.0]), 3], [torch.tensor([1.0, 9.0]), 3]),
        ("em", ["e", "m"]),
        ({1: "a", 2: "b"}, [1, 2]),
        ({1, 2}, [1, 2]),
        pytest.param(math.factorial(200), 0.5, id="too large for a float"),
        (torch.tensor([float("nan")]), torch.tensor([0.0])),
    ],
    ids=on_one_line,
)
def test_these_are_not_the_same(got, expected, printed):
    line = printed(lambda: got, [((), expected)])
    assert line == f"exercise 4.1: case 1 of 1: for () expected {expected!r}, got {got!r}\n"


@pytest.mark.parametrize("wrap", [float, lambda x: [x], lambda x: torch.tensor([x])])
def test_the_tolerance_can_be_chosen(wrap, printed):
    cases = [((), wrap(2.0))]
    assert "correct" in printed(lambda: wrap(2.02), cases, tolerance=0.05)
    assert "expected" in printed(lambda: wrap(2.02), cases, tolerance=0.01)
    assert "expected" in printed(lambda: wrap(2.001), cases)


def test_long_arguments_are_left_out(printed):
    line = printed(lambda x, n: 0, [((torch.zeros(50), 2), 1)])
    assert line == "exercise 4.1: case 1 of 1: for (..., 2) expected 1, got 0\n"


def test_an_answer_is_not_correct_on_no_cases():
    with pytest.raises(ValueError, match="exercise 4.1: expected at least one case, got none"):
        grade("4.1", lambda: 1, [])


# the mark of a cell


class Shell:
    """As much of IPython's shell as a cell of checks meets."""

    def __init__(self):
        self.events, self.waiting = self, []

    def register(self, event, function):
        assert event == "post_run_cell"
        self.waiting.append(function)

    def unregister(self, event, function):
        self.waiting.remove(function)

    def end_of_cell(self):
        for function in list(self.waiting):
            function(None)


def test_a_notebook_shows_one_mark_a_cell(monkeypatch, capsys):
    shell, shown = Shell(), []
    monkeypatch.setattr(checks, "get_ipython", lambda: shell)
    monkeypatch.setattr(checks, "display", lambda data, raw: shown.append((data, raw)))
    expect("loss < 3", 2.1, 2.1, 0.012)
    expect_true("it falls", True)
    assert not shown, "before the cell ends"
    shell.end_of_cell()
    lines = ["held: loss < 3 is within 0.012 of 2.1", "held: it falls"]
    assert shown == [(mark(lines), True)] and capsys.readouterr().out == ""
    shell.end_of_cell()
    assert len(shown) == 1, "a cell without checks has no mark"
    expect_true("it falls", True)
    with pytest.raises(AssertionError):  # what held before is still said
        expect_true("it rises", False)
    shell.end_of_cell()
    assert shown[1:] == [(mark(["held: it falls"]), True)]


def test_a_mark_holds_the_lines_as_text_and_as_a_fold():
    one, two = mark(["held: a < b"]), mark(["held: a", "held: b is within 0.1 of 2"])
    assert one["text/plain"] == "held: a < b"
    assert "<summary>✓ 1 check</summary><ul><li>a &lt; b</li></ul>" in one["text/html"]
    assert two["text/plain"] == "held: a\nheld: b is within 0.1 of 2"
    assert "<summary>✓ 2 checks</summary>" in two["text/html"]
