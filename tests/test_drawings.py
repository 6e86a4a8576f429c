"""Two drawings of the same are the same to nbval, however a processor rounds; any other two are not."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from drawings import SVG, comparing_pictures, same_picture

ROOT = Path(__file__).resolve().parent.parent
DRAWN = '<svg width="100.5pt"><path d="M 104.081561 212.5 L 1.0 2.0"/><text>0.25 nats</text></svg>'


@pytest.mark.parametrize(
    "old, new, same",
    [
        ("104.081561", "104.081604", True),
        ("104.081561", "104.1", False),  # a reader might see it
        ("0.25 nats", "0.26 nats", False),
        ("M 104", "L 104", False),
        (" L 1.0 2.0", "", False),
    ],
)
def test_only_what_nobody_sees_may_differ(old, new, same):
    assert same_picture(DRAWN.replace(old, new), DRAWN) is same


def test_what_stands_beside_a_picture_is_compared_as_ever():
    def outputs(picture, text="a"):
        return [{"output_type": "display_data", "data": {SVG: picture, "text/plain": text}}]

    compare = comparing_pictures(lambda cell, test, ref, skip: test == ref)
    moved = DRAWN.replace("104.081561", "104.081604")
    assert compare(None, outputs(moved), outputs(DRAWN))
    assert not compare(None, outputs(moved, "b"), outputs(DRAWN))
    assert not compare(None, outputs(DRAWN.replace("212.5", "213.5")), outputs(DRAWN))
    assert not compare(None, [*outputs(moved), *outputs(DRAWN)], outputs(DRAWN))


@pytest.mark.parametrize("stored, passes", [("1.000001", True), ("1.5", False)])
def test_nbval_compares_so(tmp_path, stored, passes):
    source = "from IPython.display import SVG\nSVG('<svg><path d=\"M 1.0 2.0\"/></svg>')"
    svg = f'<svg><path d="M {stored} 2.0"/></svg>'
    output = nbformat.v4.new_output("execute_result", {SVG: svg, "text/plain": "x"}, execution_count=1)
    cell = nbformat.v4.new_code_cell(source, outputs=[output], execution_count=1)
    notebook = tmp_path / "drawn.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), notebook)
    (tmp_path / "clean.cfg").write_text("[object]\nregex: <IPython[^>]*>\nreplace: x\n")
    shutil.copy(ROOT / "conftest.py", tmp_path)
    how = ["--nbval", "--nbval-current-env", "--nbval-sanitize-with", tmp_path / "clean.cfg"]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *how, notebook]
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=env)
    assert (done.returncode == 0) is passes, done.stdout
