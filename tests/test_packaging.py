"""pyproject.toml, requirements.lock and environment.yml say the same, and name no machine."""

import json
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parent.parent
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PROJECT = PYPROJECT["project"]
EXTRAS = PROJECT["optional-dependencies"]


def requirements() -> list[str]:
    extras = {name: lines for name, lines in EXTRAS.items() if name not in ("bench", "cluster", "all")}
    build = PYPROJECT["build-system"]["requires"]
    return [*PROJECT["dependencies"], *(line for extra in extras.values() for line in extra), *build]


def lock_lines(name="requirements.lock") -> list[str]:
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line.strip() and not line.startswith("#")]


def locked(name="requirements.lock") -> dict[str, Version]:
    pairs = (line.split("==") for line in lock_lines(name))
    return {canonicalize_name(name): Version(version) for name, version in pairs}


def environment() -> dict:
    return yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))


def tracked_texts():
    """(path, text) of every text file that git knows or would add."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    try:
        listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a git checkout")
    for name in listed.decode().split("\0"):
        path = ROOT / name
        if name and path.is_file():
            data = path.read_bytes()
            if b"\0" not in data[:8000]:
                yield name, data.decode("utf-8", errors="replace")


@pytest.mark.parametrize("line", requirements())
def test_lock_satisfies_requirement(line):
    requirement = Requirement(line)
    version = locked().get(canonicalize_name(requirement.name))
    assert version is not None, f"{requirement.name} is not in requirements.lock: run make lock"
    assert requirement.specifier.contains(version, prereleases=True), (
        f"requirements.lock has {requirement.name} {version}, pyproject.toml asks for"
        f" {requirement.specifier}: run make lock"
    )


def test_what_the_chapters_teach_needs_three_packages():
    assert {Requirement(line).name for line in PROJECT["dependencies"]} == {"numpy", "safetensors", "torch"}


def test_all_is_made_of_extras_that_are_there():
    (line,) = EXTRAS["all"]
    requirement = Requirement(line)
    assert requirement.name == PROJECT["name"]
    assert requirement.extras == {"runs", "pages"} <= set(EXTRAS)


def test_the_cluster_has_a_lock_of_its_own():
    (line,) = EXTRAS["cluster"]
    requirement, more = Requirement(line), locked("requirements-cluster.lock")
    assert requirement.specifier.contains(more[canonicalize_name(requirement.name)])
    assert canonicalize_name(requirement.name) not in locked(), "Ray is for those who ask for it"


def test_locks_have_only_exact_versions():
    lines = lock_lines() + lock_lines("requirements-cluster.lock")
    wrong = [line for line in lines if not re.fullmatch(r"[\w.-]+==[\w.!]+", line)]
    assert not wrong, f"not of the form name==version: {wrong}"
    names = [canonicalize_name(line.split("==")[0]) for line in lines]
    assert len(names) == len(set(names)), "a package stands twice in the lock files"


def test_lock_leaves_out_the_project_and_pip():
    assert not {"wavenet-book", "pip"} & set(locked())


def test_environment_python_is_allowed():
    pins = [d for d in environment()["dependencies"] if isinstance(d, str)]
    (python,) = (d for d in pins if re.match(r"python\b", d))
    version = re.fullmatch(r"python=(\d+\.\d+)", python).group(1)
    assert SpecifierSet(PROJECT["requires-python"]).contains(version)


def test_environment_installs_the_lock_and_the_project():
    dependencies = environment()["dependencies"]
    by_conda = {re.split(r"[=<> ]", d)[0] for d in dependencies if isinstance(d, str)}
    assert by_conda == {"python", "pip"}, "every other package comes from requirements.lock"
    (by_pip,) = (d["pip"] for d in dependencies if isinstance(d, dict))
    assert by_pip == ["-r requirements.lock", "-e ."]


def test_browser_packages_are_locked():
    package = json.loads((ROOT / "package.json").read_text())
    lock = json.loads((ROOT / "package-lock.json").read_text())
    assert lock["packages"][""]["dependencies"] == package["dependencies"]
    for name, version in package["dependencies"].items():
        entry = lock["packages"][f"node_modules/{name}"]
        assert entry["version"] == version, f"{name}: run make lock"
        assert entry["integrity"].startswith("sha512-")
    assert not [name for name, entry in lock["packages"].items() if "resolved" in entry]


# Written in two halves, or this file would name them itself.
HOSTS = [
    "pypi" + ".org",
    "pythonhosted" + ".org",
    "npmjs" + ".org",
    "npmjs" + ".com",
    "yarnpkg" + ".com",
    "anaconda" + ".org",
    "deb.debian" + ".org",
    "download.pytorch" + ".org",
]


def test_no_file_names_a_package_registry():
    hosts = re.compile("|".join(map(re.escape, HOSTS)))
    found = [f"{name}: {m.group()}" for name, text in tracked_texts() for m in hosts.finditer(text)]
    assert not found


def test_no_file_names_a_path_of_one_machine():
    paths = re.compile(r"(?<![\w./~-])/(?:home|Users|root|work)/\w[^\s\"']*")
    found = []
    for name, text in tracked_texts():
        found += [f"{name}: {m.group()}" for m in paths.finditer(text)]
        if str(ROOT) in text:
            found.append(f"{name}: {ROOT}")
    assert not found
