"""The README's commands where there is no make, as on Windows: the same steps, one after the other.

    python tools/without_make.py book            build the HTML
    python tools/without_make.py test            unit tests, pages and notebooks
    python tools/without_make.py book --dry-run  only print the steps

The names are those of make. Like make it sets up .venv/ first, where that has not been done or where what it
rests on has changed; `tests/test_without_make.py` holds the steps to the Makefile's. Needs Python alone.
"""

import argparse
import hashlib
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PY = ".venv/Scripts/python.exe" if os.name == "nt" else ".venv/bin/python"
PIP = [PY, "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
PYTEST = [PY, "-m", "pytest"]

VENV = [sys.executable, "-m", "venv", "--clear", ".venv"]
HASHED = "--progress-bar off --no-deps --require-hashes --only-binary :all: -r requirements-pure.lock".split()
SETUP = [
    [*PIP, *HASHED],
    [*PIP, "--progress-bar", "off", "-r", "requirements.lock"],
    [*PIP, "--no-deps", "--no-build-isolation", "-e", "."],
    [PY, "tools/vendor.py"],
]
BOOK = [PY, "-c", "from jupyter_book.cli.main import main; main()"] + "build book -W -n --keep-going".split()
UNIT = [*PYTEST, *"-p tools.reads -n 2 tests --ignore=tests/pages".split()]
PAGES = [*PYTEST, *"tests/pages -n 2 --dist loadgroup".split()]
NBVAL = [*PYTEST, *"--nbval --nbval-current-env --nbval-sanitize-with tests/nbval_sanitize.cfg".split()]
NBVAL += "-p tools.nbval_report --nbval-report build/nbval-report.html -p tools.reads".split()
NBVAL += "-n 2 --dist loadfile --no-loadscope-reorder book".split()
STEPS = {
    "setup": [],
    "book": [BOOK],
    "test": [UNIT, BOOK, PAGES, NBVAL],
    "unit": [UNIT],
    "pages": [BOOK, PAGES],
    "nbval": [NBVAL],
    "lab": [[PY, "tools/lab.py"]],
    "serve": [BOOK, [PY, "tools/serve.py", "8000"]],
    "pdf": [BOOK, [PY, "tools/pdf.py"]],
    "zip": [BOOK, [PY, "tools/zip_book.py"]],
}

STAMP = ROOT / ".venv" / ".without_make"
RESTS_ON = (
    "requirements-pure.lock", "requirements.lock", "pyproject.toml", "package-lock.json", "tools/vendor.py"
)  # fmt: skip
VENDORED = ROOT / "book" / "extra" / "_static" / "vendor" / "katex" / "katex.min.css"


def variables(command: list[str]) -> dict[str, str]:
    """What a step finds in its environment: one thread for small models, no progress bars in notebooks."""
    bars = {"TQDM_DISABLE": "1"} if command is NBVAL else {}
    threads = {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1")}
    return bars | threads if command in (UNIT, NBVAL) else bars


def written(command: list[str]) -> str:
    """A step as one would type it."""
    return " ".join([*(f"{k}={v}" for k, v in variables(command).items()), shlex.join(command)])


def run(command: list[str]) -> None:
    """A step, in the folder of the book. SystemExit with its code where it fails."""
    if command is BOOK:  # from nothing: a warning is never hidden by what an earlier build left
        shutil.rmtree(ROOT / "book" / "_build", ignore_errors=True)
    program, *rest = command
    done = subprocess.run([ROOT / program, *rest], cwd=ROOT, env=os.environ | variables(command))
    if done.returncode:
        sys.exit(done.returncode)


def set_up() -> None:
    """Make .venv/ and what the pages need of npm, unless an earlier call did."""
    rests_on = b"".join((ROOT / name).read_bytes() for name in RESTS_ON)
    wanted = f"{hashlib.sha256(rests_on).hexdigest()} {ROOT}"
    if VENDORED.exists() and STAMP.exists() and STAMP.read_text(encoding="utf-8") == wanted:
        return
    has_pip = [ROOT / PY, "-m", "pip", "--version"]
    if not (ROOT / PY).exists() or subprocess.run(has_pip, capture_output=True).returncode:
        run(VENV)
    STAMP.unlink(missing_ok=True)
    print("Installing requirements.lock into .venv (once; a few minutes) ...", flush=True)
    for command in SETUP:
        run(command)
    STAMP.write_text(wanted, encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition(":")[0])
    parser.add_argument("name", choices=STEPS, help="as beside make")
    parser.add_argument("--dry-run", action="store_true", help="only print the steps")
    given = parser.parse_args()
    if sys.version_info < (3, 11):  # noqa: UP036  (whoever starts it may have an older one)
        sys.exit(f"error: this book needs Python 3.11 or newer; this one is {sys.version.split()[0]}")
    if given.dry_run:
        print("\n".join(map(written, [VENV, *SETUP, *STEPS[given.name]])))
        return
    set_up()
    for command in STEPS[given.name]:
        run(command)
    if given.name == "book":
        print(f"\nOpen: {(ROOT / 'book' / '_build' / 'html' / 'index.html').as_uri()}")


if __name__ == "__main__":
    main()
