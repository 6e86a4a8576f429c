"""Two checkouts are measured with their own code, in turns."""

import sys
from pathlib import Path

import pytest

import common
from common.runs.provenance import ROOT

sys.path.insert(0, str(ROOT / "benchmarks"))
import in_turns  # noqa: E402

PLAIN = "mlp, plain steps"


def test_who_begins_changes_and_the_ratio_is_that_of_a_round(monkeypatch, capsys):
    taken, rates = [], iter([100, 110, 99, 90, 100, 120])

    def in_process(checkout, contender, seconds):
        taken.append(checkout.name)
        return next(rates)

    monkeypatch.setattr(in_turns, "in_process", in_process)
    found = in_turns.compare(Path("a"), Path("b"), [PLAIN], 1, 3)
    assert taken == ["a", "b", "b", "a", "a", "b"]
    assert found == {PLAIN: {"old": [100, 90, 100], "new": [110, 99, 120]}}
    assert in_turns.table(found).endswith(f"| {PLAIN} | 100 | 110 | **1.100** | 1.100 | 1.200 |")


@pytest.mark.parametrize("contender", [PLAIN, "mlp, loop, not compiled", "dilated, whole names, adamw"])
def test_a_checkout_is_measured_with_its_own_code(contender):
    assert in_turns.in_process(Path(common.__file__).parents[2], contender, 0.01) > 0


def test_the_code_of_another_checkout_is_refused(tmp_path):
    with pytest.raises(RuntimeError, match=f"expected the code of {tmp_path}, got that of "):
        in_turns.in_process(tmp_path, PLAIN, 0.01)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ([], "expected two checkouts of this repository, got None"),
        (["ROOT"], "expected two checkouts of this repository, got None"),
        (["ROOT", "EMPTY"], "expected two checkouts"),
        (["ROOT", "ROOT", "--rounds", "0"], "at least 1 round"),
        (["ROOT", "ROOT", "--seconds", "nan"], "seconds above 0"),
    ],
    ids=str,
)
def test_bad_arguments_measure_nothing_and_end_in_one_line(tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.setattr(in_turns, "in_process", None)
    places = {"ROOT": str(ROOT), "EMPTY": str(tmp_path)}
    assert in_turns.main([places.get(argument, argument) for argument in arguments]) == 2
    printed = capsys.readouterr()
    assert printed.out == "" and len(printed.err.splitlines()) == 1 and message in printed.err
