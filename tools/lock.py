"""Write requirements.lock and requirements-cluster.lock: what pyproject.toml leads to, at exact versions.

A throw-away virtual environment gets every dependency and extra, and setuptools
(so that ``pip install --no-deps --no-build-isolation -e .`` works afterwards).
The torch version of the present lock is kept unless ``--torch`` names another:
a newer one can mean another CUDA build, and that is a decision, not an accident.
What the extra "cluster" brings beyond that stands in a file of its own, for few need it.
"""

import argparse
import re
import subprocess
import sys
import tempfile
import tomllib
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCK = ROOT / "requirements.lock"
CLUSTER_LOCK = ROOT / "requirements-cluster.lock"
HEADER = """\
# Exact versions of everything the book needs. Written by: make lock
# Do not edit by hand; change pyproject.toml and run make lock.
"""
CLUSTER_HEADER = """\
# What the extra "cluster" adds to requirements.lock (make cluster). Written by: make lock
# Do not edit by hand; change pyproject.toml and run make lock.
"""


def wanted(pyproject: dict) -> list[str]:
    """Every requirement of pyproject.toml, those of its build and of its extras but "cluster" included.

    An extra that is made of others names the project itself; the others are here anyway.
    """
    project = pyproject["project"]
    extras = {k: v for k, v in project.get("optional-dependencies", {}).items() if k != "cluster"}
    lines = [*project["dependencies"], *(line for extra in extras.values() for line in extra)]
    others = [line for line in lines if not line.startswith(f"{project['name']}[")]
    return [*others, *pyproject["build-system"]["requires"]]


def locked_torch() -> str | None:
    if not LOCK.exists():
        return None
    found = re.search(r"^torch==\S+", LOCK.read_text(), re.MULTILINE)
    return found.group() if found else None


def freeze(torch: str | None, requirements: list[str]) -> list[str]:
    """Install into a new environment; return its ``name==version`` lines, without pip."""
    with tempfile.TemporaryDirectory() as folder:
        venv.create(folder, with_pip=True)
        scripts = "Scripts" if sys.platform == "win32" else "bin"
        python = str(Path(folder) / scripts / "python")
        pip = [python, "-m", "pip", "--disable-pip-version-check"]
        subprocess.run([*pip, "install", "--quiet", "--upgrade", "pip"], check=True)
        install = [*pip, "install", "--quiet", "--progress-bar", "off"]
        if torch:
            subprocess.run([*install, torch], check=True)
        subprocess.run([*install, *([torch] if torch else []), *requirements], check=True)
        command = [*pip, "freeze", "--all", "--exclude", "pip"]
        lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    # A local version such as 2.13.0+cpu names one build of one index.
    return sorted((re.sub(r"\+.*$", "", line) for line in lines.split()), key=str.lower)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--torch", default=locked_torch(), help="e.g. torch==2.13.0")
    torch = parser.parse_args().torch
    with open(ROOT / "pyproject.toml", "rb") as file:
        pyproject = tomllib.load(file)
    lines = freeze(torch, wanted(pyproject))
    with_cluster = freeze(torch, [*lines, *pyproject["project"]["optional-dependencies"]["cluster"]])
    more = [line for line in with_cluster if line not in lines]
    wrong = [line for line in [*lines, *more] if not re.fullmatch(r"[\w.-]+==[\w.!]+", line)]
    if wrong:
        sys.exit(f"not an exact version: {', '.join(wrong)}; {LOCK.name} is unchanged")
    for path, header, found in ((LOCK, HEADER, lines), (CLUSTER_LOCK, CLUSTER_HEADER, more)):
        path.write_text(header + "\n".join(found) + "\n")
        print(f"{path.name}: {len(found)} packages")


if __name__ == "__main__":
    main()
