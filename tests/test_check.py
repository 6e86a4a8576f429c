"""What `make check` runs after a change, in a small repository with the real Makefile; and what it keeps."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tools"))
import check  # noqa: E402

pytestmark = pytest.mark.skipif(
    os.name != "posix" or not all(map(shutil.which, ("make", "git"))), reason="needs make, git and a shell"
)
FILES = {
    "pyproject.toml": "[tool.pytest.ini_options]\npythonpath = ['src']\n",
    "requirements-pure.lock": "",
    "requirements.lock": "",
    "README.md": "A house.\n",
    "src/common/__init__.py": "",
    "src/common/nn/__init__.py": "from .linear import linear\nfrom .norm import norm\n",
    "src/common/nn/linear.py": "def linear(x):\n    return 2 * x\n",
    "src/common/nn/norm.py": "def norm(x):\n    return x / 2\n",
    "src/common/models.py": "def model(x):\n    from .nn import norm\n    return norm(x) + 1\n",
    "data/results/seeds.json": "[1, 2]\n",
    "data/results/unread.json": "[3]\n",
    "data/deep.txt": "deep\n",
    "tests/test_linear.py": "from common.nn import linear\n\ndef test_it():\n    assert linear(1) == 2\n",
    "tests/test_norm.py": "from common import nn\n\ndef test_it():\n    assert nn.norm(4) == 2\n",
    "tests/test_model.py": "import common.models\n\ndef test_it():\n    assert common.models.model(2) == 2\n",
    "tests/test_pages.py": (
        "from pathlib import Path\n\nROOT = Path(__file__).parent.parent\n\n"
        "def test_it():\n    assert all(p.stat().st_size for p in (ROOT / 'book').glob('*'))\n"
    ),
    "tests/test_deep.py": (  # a name that no string says, in a folder that it lists
        "from pathlib import Path\n\nROOT = Path(__file__).parent.parent\n\n"
        "def test_it():\n    (file,) = [p for p in (ROOT / ''.join('data')).iterdir() if p.is_file()]\n"
        "    assert file.read_text() == 'deep\\n'\n"
    ),
    "book/notes.md": "Notes.\n",
}
# What names a folder of notebooks may run them.
FIRST, SECOND = {"first", "test_pages"}, {"second", "test_pages"}
TESTS_OF_COMMON = {"test_norm", "test_linear", "test_model"}
NOTEBOOKS = {
    "book/first.ipynb": ["from common.nn import linear\nlinear(3)"],
    "book/second.ipynb": [
        "from common.models import model\nmodel(4)",
        "open(''.join(['../da', 'ta/results/seeds.json'])).read()",  # a name that no string says
    ],
}


def put(folder: Path, name: str, text: str) -> None:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text, encoding="utf-8")


def notebook(*cells: str) -> str:
    """A notebook whose cells show what they show when they run."""
    made = [nbformat.v4.new_code_cell(source, id=f"cell-{n}") for n, source in enumerate(cells)]
    for number, cell in enumerate(made, start=1):
        shown = {"linear(3)": "6", "model(4)": "3.0"}.get(cell.source.splitlines()[-1], "'[1, 2]\\n'")
        output = nbformat.v4.new_output("execute_result", {"text/plain": shown}, execution_count=number)
        cell.outputs, cell.execution_count = [output], number
    return nbformat.writes(nbformat.v4.new_notebook(cells=made))


@pytest.fixture(scope="module")
def green(tmp_path_factory):
    """A repository in which everything has just been green, and what was said."""
    folder = tmp_path_factory.mktemp("green") / "book repo"
    for name, text in FILES.items():
        put(folder, name, text)
    for name, cells in NOTEBOOKS.items():
        put(folder, name, notebook(*cells))
    for name in (
        "Makefile", ".gitignore", "conftest.py", "tests/drawings.py", "tests/nbval_sanitize.cfg",
        "tools/nbval_report.py",
        "tools/reads/__init__.py", "tools/reads/sitecustomize.py",
    ):  # fmt: skip
        put(folder, name, (ROOT / name).read_text(encoding="utf-8"))
    put(folder, ".venv/bin/python", f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    (folder / ".venv/bin/python").chmod(0o755)
    for stamp in (".python", ".packages", ".project"):
        put(folder, f".venv/{stamp}", str(folder))
    subprocess.run(["git", "init", "--quiet"], cwd=folder, check=True)
    done = run(folder, WORKERS="2")
    assert done.returncode == 0, done.stdout + done.stderr
    return folder, done.stdout


@pytest.fixture
def house(green, tmp_path):
    folder = tmp_path / "book repo"
    shutil.copytree(green[0], folder, symlinks=True)
    put(folder, ".venv/.project", str(folder))
    return folder


def run(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess:
    """The tool on a folder, as make starts it there."""
    code = "import sys, check; sys.exit(check.main(sys.argv[2:], check.Path(sys.argv[1])))"
    of_this_run = ("PYTEST", "MAKE", "MFLAGS", "NBVAL", "BOOK_READS")
    clean = {k: v for k, v in os.environ.items() if not k.startswith(of_this_run)}
    path = os.pathsep.join([str(folder / "src"), str(ROOT / "tools")])
    return subprocess.run(
        [sys.executable, "-c", code, str(folder), *arguments], capture_output=True, text=True, cwd=folder,
        env=clean | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1", "WORKERS": "0"} | environment,
    )  # fmt: skip


def touched(folder: Path) -> dict[str, str]:
    found = check.touched(check.Tree(folder), check.green(folder))
    return {Path(item).stem: why for item, why in found.items()}


def edit(folder: Path, name: str, old: str, new: str) -> None:
    text = (folder / name).read_text(encoding="utf-8")
    assert old in text
    put(folder, name, text.replace(old, new))


# ---- what is chosen ----------------------------------------------------------------------


def test_the_first_run_is_of_everything_and_after_it_nothing_runs(green):
    folder, said = green
    assert "never green here: 5 test files (deep, linear, model, norm, pages) and 2 notebooks" in said
    assert "5 passed" in said and "3 passed" in said and "left out: the pages in a browser" in said
    assert touched(folder) == {}
    again = run(folder)
    assert again.returncode == 0 and "passed" not in again.stdout
    words = " ".join(again.stdout.split())
    assert "has changed: 5 test files (deep, linear, model, norm, pages) and 2 notebooks" in words


@pytest.mark.parametrize(
    "name, old, new, expected",
    [
        # imported directly, inside a function of another module, and by a notebook; not what imports the rest
        ("src/common/nn/norm.py", "x / 2", "x * 0.5", {"test_norm", "test_model"} | SECOND),
        ("src/common/nn/linear.py", "2 * x", "x + x", {"test_linear"} | FIRST),
        ("src/common/nn/__init__.py", "", "#\n", TESTS_OF_COMMON | FIRST | SECOND),
        ("src/common/models.py", "+ 1", "+ 1.0", {"test_model"} | SECOND),
        ("book/first.ipynb", "linear(3)", "linear(3) ", FIRST),
        ("book/notes.md", "Notes", "Words", {"test_pages"}),
        ("data/deep.txt", "deep", "deeper", {"test_deep"}),  # seen while it ran
        ("data/results/seeds.json", "2", "4", {"second"}),  # seen in the kernel
        ("data/results/unread.json", "3", "4", set()),
        ("README.md", "house", "home", set()),
    ],
)
def test_a_change_runs_what_can_have_been_touched(house, name, old, new, expected):
    edit(house, name, old, new) if old else put(house, name, new + (house / name).read_text())
    found = touched(house)
    assert set(found) == expected
    assert {why.partition(",")[0] for why in found.values()} <= {f"{name} changed"}


@pytest.mark.parametrize("name", ["conftest.py", "pyproject.toml", "requirements.lock"])
def test_settings_run_everything(house, name):
    put(house, name, (house / name).read_text() + "# more\n")
    assert len(touched(house)) == 7


def test_of_the_makefile_only_what_tests_run_by(house):
    edit(house, "Makefile", "tools/serve.py", "tools/serve.py --quiet")
    put(house, "Makefile", (house / "Makefile").read_text() + "\n.PHONY: new\nnew: ## a new one\n\techo\n")
    assert touched(house) == {}
    edit(house, "Makefile", "--dist loadfile", "--dist loadscope")
    assert set(touched(house).values()) == {"the commands of make changed"} and len(touched(house)) == 7


def test_another_version_runs_everything(house):
    record = check.green(house)
    for entry in record.values():
        entry["state"][check.VERSIONS] = "of yesterday"
    check.keep(house, record)
    assert set(touched(house).values()) == {"Python or a package of it changed"} and len(touched(house)) == 7


def test_packages_are_those_that_are_installed_whatever_a_test_puts_on_the_path(house, tmp_path, monkeypatch):
    put(tmp_path, "copied-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: copied\nVersion: 1.0\n")
    monkeypatch.syspath_prepend(tmp_path)  # as setuptools does with its own copies of packages
    assert touched(house) == {}


def test_new_files(house):
    put(house, "tests/test_new.py", "def test_it():\n    pass\n")
    put(house, "book/new.md", "New.\n")
    assert touched(house) == {"test_new": "never green here", "test_pages": "book/new.md is new, and 1 more"}
    put(house, "data/more.txt", "more\n")  # in a folder that is listed
    assert touched(house)["test_deep"] == "data/ changed"


def test_files_that_are_gone(house):
    (house / "book" / "notes.md").unlink()
    (house / "tests" / "test_linear.py").unlink()
    assert touched(house) == {"test_pages": "book/notes.md is gone, and 1 more"}
    (house / "src" / "common" / "models.py").unlink()
    without = {name for name, why in touched(house).items() if "models.py is gone" in why}
    assert without == {"test_model", "second"}  # test_pages names the other first


def test_a_module_with_a_new_name(house):
    (house / "src/common/nn/norm.py").rename(house / "src/common/nn/scale.py")
    assert {"test_norm", "test_model", "second"} <= set(touched(house))
    edit(house, "src/common/nn/__init__.py", ".norm", ".scale")
    assert {"test_norm", "test_model", "second"} <= set(touched(house))
    assert "src/common/nn/scale.py" in check.Tree(house).state("tests/test_norm.py")


def test_untracked_files_count_unless_they_are_ignored(house):
    put(house, "book/_build/page.md", "built\n")
    assert touched(house) == {}


# ---- what is recorded --------------------------------------------------------------------


def test_what_failed_runs_again_and_what_passed_beside_it_does_not(house):
    edit(house, "src/common/nn/linear.py", "2 * x", "x + x")
    edit(house, "tests/test_norm.py", "== 2", "== 3")
    before = touched(house)
    done = run(house)
    assert done.returncode == 1 and "NOT green: make unit failed" in done.stdout
    after = touched(house)
    assert set(before) == {"test_linear", "test_norm"} | FIRST and set(after) == {"test_norm", "first"}
    edit(house, "tests/test_norm.py", "== 3", "== 2")  # as it was when it was green
    assert set(touched(house)) == {"first"}
    done = run(house)
    assert done.returncode == 0 and "1 passed" in done.stdout and touched(house) == {}


def test_a_notebook_that_shows_something_else_is_not_green(house):
    edit(house, "src/common/nn/linear.py", "2 * x", "2.0 * x")
    done = run(house, "book/first.ipynb")
    assert done.returncode == 1 and "make nbval failed" in done.stdout
    assert "first" in touched(house)


def test_a_dependent_that_was_left_out_stays_to_be_run(house):
    edit(house, "src/common/nn/norm.py", "x / 2", "x * 0.5")
    done = run(house, "tests/test_norm.py", "tests/test_linear.py")
    assert done.returncode == 0 and "all of these but 1 test file (norm)" in done.stdout
    assert set(touched(house)) == {"test_model"} | SECOND


def test_what_changes_while_the_tests_run_is_not_recorded(house):
    code = "def test_it():\n    open('src/common/nn/linear.py', 'a').write('# more')\n"
    put(house, "tests/test_linear.py", f"from common.nn import linear\n\n{code}")
    assert run(house, "tests/test_linear.py").returncode == 0
    assert "test_linear" in touched(house)


def test_a_run_of_some_tests_of_a_file_is_not_recorded(house):
    edit(house, "tests/test_linear.py", "def", "def test_other():\n    pass\n\n\ndef")
    done = run(house, PYTEST_ADDOPTS="-k other")
    assert done.returncode == 0 and "nothing is recorded" in done.stdout
    assert set(touched(house)) == {"test_linear"}


def test_a_record_that_cannot_be_read_is_none(house):
    put(house, "build/green.json", '{"tests/test_norm')
    assert set(touched(house).values()) == {"never green here"}


def test_the_record_is_whole_at_any_time(house):
    with pytest.raises(TypeError):
        check.keep(house, {"tests/test_norm.py": object()})
    assert touched(house) == {} and not list((house / "build").glob("green-*"))


def test_without_git_what_is_ours_is_known_by_its_folder(house):
    shutil.rmtree(house / ".git")
    put(house, "runs/one.txt", "a run\n")
    assert touched(house) == {}
    edit(house, "book/notes.md", "Notes", "Words")
    assert set(touched(house)) == {"test_pages"}


def test_what_is_no_item_is_refused(house):
    done = run(house, "tests/test_nowhere.py")
    assert done.returncode == 2 and "neither test file nor notebook: tests/test_nowhere.py" in done.stderr


# ---- in this repository ------------------------------------------------------------------


@pytest.fixture(scope="module")
def tree():
    return check.Tree()


def test_packages_may_be_entered_for_one_name(tree):
    """What a package imports beside the name that is wanted has no effect: it only defines."""
    doors = [name for name in tree.hashes if name.startswith("src/common/") and name.endswith("__init__.py")]
    modules = {name for name in tree.closure(doors) if name.startswith("src/") and name.endswith(".py")}
    # Said by a text, and not imported.
    modules -= {"src/common/__main__.py", "src/common/runs/sweep.py", "src/common/runs/cluster.py"}
    assert [name for name in sorted(modules) if check.does_something(tree.parsed(name))] == []
    assert check.does_something(check.ast.parse("torch.manual_seed(0)"))


@pytest.mark.parametrize(
    "item, among, not_among",
    [
        ("tests/test_nn_norm.py", "src/common/nn/norm.py tests/small_tensors.py", "src/common/runs/sweep.py"),
        ("tests/test_models_tree.py", "src/common/nn/norm.py src/common/models/tree.py", "book/index.md"),
        ("tests/test_main.py", "src/common/runs/sweep.py src/common/constraints.py", "tools/sound.py"),
        ("tests/test_roadmap.py", "tools/roadmap.py data/results/shipped.json", "CHANGELOG.md"),
        ("tests/test_told.py", "book/rnn/01_sine_wave.ipynb book/_ext/mended_pages.py", "tools/sound.py"),
        ("tests/test_rename_weights.py", "tools/rename_weights.py", "tools/sound.py"),
        ("tests/test_model_js.py", "src/common/pages/widgets/model.js", "book/index.md"),
        ("tests/test_packaging.py", "book/index.md tools/sound.py setup.py .ci/run", "build/green.json"),
        ("book/wavenet/10_sampling.ipynb", "src/common/constraints.py data/names.txt", "data/costs.json"),
        ("book/rnn/05_translation.ipynb", "data/results/rnn-05.json data/phrases.zip", "data/costs.json"),
        ("book/rnn/05_translation.ipynb", "data/models/translator.safetensors", "data/results/rnn-04.json"),
        ("book/rnn/01_sine_wave.ipynb", "src/common/data/waves.py conftest.py", "src/common/constraints.py"),
        ("book/rnn/01_sine_wave.ipynb", "src/common/pages/widgets/page.js", "tests/conftest.py"),
    ],
)
def test_what_items_of_this_repository_depend_on(tree, item, among, not_among):
    state = tree.state(item)
    assert set(among.split()) <= state.keys() and not_among not in state


def parsed_as(code, others):
    return lambda path: check.ast.parse(code) if path == "tests/test_some.py" else others(path)


@pytest.mark.parametrize(
    "code, expected",
    [
        ("ROOT / 'data' / 'plans' / 'blocks.json'", {"data/plans/blocks.json"}),
        ("ROOT / 'data' / 'plans' / f'{name}.json'", "data/plans"),
        ("f'data/plans/{name}.json'", "data/plans"),
        ("tmp_path / 'data' / 'plans'", set()),
        ("take('data')", set()),
        ("take('plans')", set()),
        ("stored_results('rnn-05')", {"data/results/rnn-05.json"}),
        ("run('from common.data import load_names')", "src/common/"),
        ("[sys.executable, ROOT / 'tools' / 'sound.py']", {"tools/sound.py"}),
        ("run('tools/sound.py --only {names} data/costs.json')", {"tools/sound.py", "data/costs.json"}),
        ("'''a docstring that names data/costs.json'''", set()),
        ("sys.path.insert(0, ROOT / 'tools')", set()),
        ("import_module(name); 'mended_pages'", {"book/_ext/mended_pages.py"}),
        ("show('../images/road.png')", {"book/images/road.png"}),
    ],
)
def test_what_a_text_names(tree, monkeypatch, code, expected):
    monkeypatch.setattr(tree, "parsed", parsed_as(code, tree.parsed))
    found = tree.needed_by("tests/test_some.py")
    if isinstance(expected, str):
        assert found and all(name.removeprefix("door ").startswith(expected) for name in found)
    else:
        assert found == expected


def test_a_cell_that_is_no_python_depends_on_everything(tree, monkeypatch):
    monkeypatch.setattr(tree, "parsed", parsed_as("def", tree.parsed))
    assert tree.needed_by("tests/test_some.py") == set(tree.hashes)


def test_magics_are_passed_over():
    text = json.dumps({"cells": [{"cell_type": "code", "source": ["%matplotlib inline\n", "import os"]}]})
    assert check.code_of("a.ipynb", text) == "pass\nimport os"
