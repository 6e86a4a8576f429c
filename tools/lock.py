"""Write the requirements' locks: what pyproject.toml leads to, at exact versions, and hashes.

A throw-away virtual environment gets every dependency and extra, and setuptools
(so that ``pip install --no-deps --no-build-isolation -e .`` works afterwards).
The torch version of the present lock is kept unless ``--torch`` names another:
a newer one can mean another CUDA build, and that is a decision, not an accident.
What the extra "cluster" brings beyond that stands in a file of its own, for few need it.
requirements-pure.lock is requirements.lock with the SHA-256 of each wheel that serves all platforms.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
import tomllib
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCK = ROOT / "requirements.lock"
CLUSTER_LOCK = ROOT / "requirements-cluster.lock"
PURE_LOCK = ROOT / "requirements-pure.lock"
HEADER = """\
# Exact versions of everything the book needs. Written by: make lock
# Do not edit by hand; change pyproject.toml and run make lock.
"""
CLUSTER_HEADER = """\
# What the extra "cluster" adds to requirements.lock (make cluster). Written by: make lock
# Do not edit by hand; change pyproject.toml and run make lock.
"""
PURE_HEADER = """\
# requirements.lock with the SHA-256 of what is one file for all platforms: {hashed} of {all} packages.
# The others, behind a #, are compiled for each platform, or come as source. Set-up installs this file first.
# Written by: make lock
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


@contextmanager
def newest_pip() -> Iterator[list[str]]:
    """The command of the newest pip, in a new environment."""
    with tempfile.TemporaryDirectory() as folder:
        venv.create(folder, with_pip=True)
        scripts = "Scripts" if sys.platform == "win32" else "bin"
        python = str(Path(folder) / scripts / "python")
        pip = [python, "-m", "pip", "--disable-pip-version-check"]
        subprocess.run([*pip, "install", "--quiet", "--upgrade", "pip"], check=True)
        yield pip


def freeze(torch: str | None, requirements: list[str]) -> list[str]:
    """Install into a new environment; return its ``name==version`` lines, without pip."""
    with newest_pip() as pip:
        install = [*pip, "install", "--quiet", "--progress-bar", "off"]
        if torch:
            subprocess.run([*install, torch], check=True)
        subprocess.run([*install, *([torch] if torch else []), *requirements], check=True)
        command = [*pip, "freeze", "--all", "--exclude", "pip"]
        lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    # A local version such as 2.13.0+cpu names one build of one index.
    return sorted((re.sub(r"\+.*$", "", line) for line in lines.split()), key=str.lower)


def plain(package: str) -> str:
    """A package's name as pip knows it, however it is written."""
    return re.sub(r"[-_.]+", "-", package).lower()


def hashes(report: dict) -> dict[str, str]:
    """Package -> SHA-256, of those in pip's report whose wheel is for every platform and every Python 3."""
    found = {}
    for package in report["install"]:
        file = package["download_info"]
        if file["url"].endswith("py3-none-any.whl"):
            found[plain(package["metadata"]["name"])] = file["archive_info"]["hashes"]["sha256"]
    return found


def pure(lines: list[str]) -> str:
    """requirements-pure.lock: a line for each of these, behind a # where no hash serves all platforms."""
    with newest_pip() as pip:
        ask = [*pip, *"install --quiet --dry-run --ignore-installed --no-deps --report -".split()]
        report = subprocess.run([*ask, *lines], check=True, stdout=subprocess.PIPE, text=True).stdout
    found = hashes(json.loads(report))
    text = PURE_HEADER.format(hashed=len(found), all=len(lines))
    for line in lines:
        sha256 = found.get(plain(line.partition("==")[0]))
        text += f"{line} --hash=sha256:{sha256}\n" if sha256 else f"# {line}\n"
    return text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--torch", default=locked_torch(), help="e.g. torch==2.13.0")
    parser.add_argument("--hashes", action="store_true", help=f"only write {PURE_LOCK.name} anew")
    args = parser.parse_args()
    if args.hashes:
        PURE_LOCK.write_text(pure([line for line in LOCK.read_text().split() if "==" in line]))
        return
    with open(ROOT / "pyproject.toml", "rb") as file:
        pyproject = tomllib.load(file)
    lines = freeze(args.torch, wanted(pyproject))
    with_cluster = freeze(args.torch, [*lines, *pyproject["project"]["optional-dependencies"]["cluster"]])
    more = [line for line in with_cluster if line not in lines]
    wrong = [line for line in [*lines, *more] if not re.fullmatch(r"[\w.-]+==[\w.!]+", line)]
    if wrong:
        sys.exit(f"not an exact version: {', '.join(wrong)}; {LOCK.name} is unchanged")
    with_hashes = pure(lines)
    for path, header, found in ((LOCK, HEADER, lines), (CLUSTER_LOCK, CLUSTER_HEADER, more)):
        path.write_text(header + "\n".join(found) + "\n")
        print(f"{path.name}: {len(found)} packages")
    PURE_LOCK.write_text(with_hashes)
    print(f"{PURE_LOCK.name}: {with_hashes.count('--hash')} hashes")


if __name__ == "__main__":
    main()
