"""Kill commands with SIGKILL at random moments, give the same command again, and look at the end.

    python tools/kills.py                                    all 60, an hour or more on a busy machine
    python tools/kills.py --only sweep "training, compiled"  some kinds
    python tools/kills.py --json FILE                        store the table, too

Each kind runs once undisturbed. Then it is killed at a moment drawn between its start and the time that it
took, alone or with all that it started, perhaps twice; a process that it leaves behind must end by itself.
What a reader finds then must be whole: nothing, or what stood there before, or something that loads. The
same command must then come to the same bytes as the undisturbed run. What differs by nature (the time, how
often a trial was begun) is left out of the comparison. A corpus is fetched over the network. A notebook and
the book are those of the last commit, in a clone; the book is built from nothing, as by make book.
"""

import argparse
import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import psutil
import torch
from safetensors.torch import load_file

from common.data import load_names
from common.runs.files import write_json
from common.runs.sweep import load

ROOT = Path(__file__).resolve().parent.parent
# the commands, but that a run is kept more often: a moment of a few seconds then falls between two of them
OFTEN = """
import sys
from functools import partial
from common.runs import command, training
training.CHUNK = 200
command.run = partial(command.run, checkpoint_every=200)
sys.exit(command.main())
"""
LEFT = 60  # seconds in which what a killed command started must end


@dataclass(frozen=True)
class Kind:
    """A command that writes into a folder, what must hold after a kill, and what the end is compared by."""

    kills: int
    command: Callable[[Path], list]
    whole: Callable[[Path], object]
    end: Callable[[Path], object]
    shared: bool = False  # the folder is a copy of the repository, which all moments share


def files(folder: Path, pattern: str = "*") -> dict[str, str]:
    """What stands in a folder: the place of each file, and its SHA-256. Locks say nothing."""
    found = sorted(path for path in folder.rglob(pattern) if path.is_file() and path.suffix != ".lock")
    return {path.relative_to(folder).as_posix(): sha256(path.read_bytes()).hexdigest() for path in found}


# ---- a training ------------------------------------------------------------------


def training(*more: str) -> Callable[[Path], list]:
    def command(folder: Path) -> list:
        return [
            "-c", OFTEN, "train", "--model", "mlp", "--data", folder / "short.txt", "--device", "cpu",
            "--seeds", "2", "--evaluate-every", "1000", "--out", folder / "run", *more,
        ]  # fmt: skip

    return command


def run_is_whole(folder: Path) -> None:
    """What a run has stored can be loaded; its results are there only with all of it."""
    run = folder / "run"
    for path in run.glob("*.safetensors"):
        load_file(path)
    if (run / "checkpoint.pt").exists():
        torch.load(run / "checkpoint.pt", weights_only=True)
    if (run / "results.json").exists():
        json.loads((run / "results.json").read_text(encoding="utf-8"))
        assert len(list(run.glob("model-*.safetensors"))) == 2, "results without models"


def end_of_run(folder: Path) -> object:
    results = json.loads((folder / "run" / "results.json").read_text(encoding="utf-8"))
    results.pop("provenance")
    return results, {name: sum_ for name, sum_ in files(folder / "run").items() if "json" not in name}


# ---- a sweep ---------------------------------------------------------------------


def sweep(folder: Path) -> list:
    space = folder / "space.json"
    space.write_text('{"lr": {"low": 0.01, "high": 1.0, "log": true}}', encoding="utf-8")
    return [
        "-m", "common", "sweep", "--space", space, "--model", "mlp", "--data", folder / "short.txt",
        "--steps", "1000", "--evaluate-every", "100", "--device", "cpu", "--trials", "4", "--processes", "1",
        "--out", folder / "sweep",
    ]  # fmt: skip


def sweep_is_whole(folder: Path) -> list[dict]:
    """The finished trials: none may be lost, or change, from here to the end."""
    return load(folder / "sweep")["trials"] if (folder / "sweep" / "trials.json").exists() else []


def end_of_sweep(folder: Path) -> object:
    # a trial that was killed before it had its parameters leaves its number unused
    own = ("state", "value", "params", "curve")
    return [{key: record[key] for key in own} for record in load(folder / "sweep")["trials"]]


# ---- a corpus, a notebook, the book --------------------------------------------------


def fetching(folder: Path) -> list:
    code = (
        "import os, sys; os.environ['COMMON_CACHE'] = sys.argv[1]\n"
        "from common.data import corpora; corpora.fetch('plays')"
    )
    return ["-c", code, folder / "cache"]


def cache_is_whole(folder: Path) -> None:
    """What stands under the archive's name is the archive."""
    code = "import sys; from common.data import corpora; print(corpora.state('plays'))"
    environment = os.environ | {"COMMON_CACHE": str(folder / "cache"), "PYTHONPATH": str(ROOT / "src")}
    said = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True
    ).stdout
    assert said.strip() in ("not fetched", "cached"), f"the cache holds half an archive: {said}"


def notebook(folder: Path) -> list:
    path = folder / "book" / "tensors.ipynb"
    stored = json.loads(path.read_text(encoding="utf-8"))
    for one in stored["cells"]:
        one |= {"outputs": []} if one["cell_type"] == "code" else {}
    path.write_text(json.dumps(stored), encoding="utf-8")  # so that there is something to come to
    return [folder / "tools" / "notebooks.py", folder / "book" / "tensors.ipynb"]


def notebook_is_whole(folder: Path) -> None:
    """It has all of its outputs, or none, as before."""
    has, wanted = (
        [bool(cell.get("outputs")) for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]]
        for path in (folder / "book" / "tensors.ipynb", ROOT / "book" / "tensors.ipynb")
    )
    assert has == wanted or not any(has), "some of the outputs"


def building(folder: Path) -> list:
    shutil.rmtree(folder / "book" / "_build", ignore_errors=True)  # as make book does
    code = "from jupyter_book.cli.main import main; main()"
    return ["-c", code, "build", folder / "book", "-W", "-n", "--keep-going"]


KINDS = {
    "training, plain loop": Kind(14, training("--steps", "6000", "--no-compile"), run_is_whole, end_of_run),
    "training, compiled": Kind(14, training("--steps", "20000"), run_is_whole, end_of_run),
    "sweep": Kind(10, sweep, sweep_is_whole, end_of_sweep),
    "fetching a corpus": Kind(8, fetching, cache_is_whole, lambda folder: files(folder / "cache")),
    "executing a notebook": Kind(
        8, notebook, notebook_is_whole, lambda folder: files(folder / "book", "tensors.ipynb"), shared=True
    ),
    "building the book": Kind(
        6, building, lambda folder: None, lambda folder: files(folder / "book/_build/html"), shared=True
    ),
}


def start(kind: Kind, folder: Path, where: Path) -> subprocess.Popen:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "TQDM_DISABLE": "1"}
    environment |= {"PYTHONPATH": str((where if kind.shared else ROOT) / "src")}
    with (folder / "said.txt").open("w") as said:
        return subprocess.Popen(
            [sys.executable, *map(str, kind.command(folder))], cwd=where, env=environment,
            stdout=said, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip


def finish(kind: Kind, folder: Path, where: Path) -> None:
    """Run the command to its end. RuntimeError where it fails."""
    if status := start(kind, folder, where).wait():
        raise RuntimeError(f"the command ended with {status}: {(folder / 'said.txt').read_text()[-500:]}")


def kill(process: subprocess.Popen, after: float, with_all: bool) -> list[float]:
    """Wait, and kill it, alone or with its session; if it still ran, the seconds that others lived on.

    AssertionError if some stay, which are killed then.
    """
    try:
        process.wait(after)
        return []
    except subprocess.TimeoutExpired:
        pass
    others = psutil.Process(process.pid).children(recursive=True)
    if with_all:
        os.killpg(process.pid, signal.SIGKILL)
        for other in others:  # some may have a session of their own
            with contextlib.suppress(psutil.NoSuchProcess):
                other.kill()
    else:
        process.kill()
    process.wait()
    began = time.monotonic()
    _, alive = psutil.wait_procs(others, timeout=LEFT)
    names = []
    for one in alive:
        with contextlib.suppress(psutil.NoSuchProcess):
            names += [one.name()] if one.status() != psutil.STATUS_ZOMBIE else []
            one.kill()
    assert not names, f"left behind: {names}"
    return [time.monotonic() - began]


def moment(kind: Kind, folder: Path, where: Path, chance: random.Random, took: float) -> list[float]:
    """One or two kills, then the same command to its end; what lived on after those that found it at work."""
    lived, seen = [], []

    def look() -> None:
        now = kind.whole(folder) or []
        assert all(record in now for record in seen), "what was finished is lost"
        seen[:] = now

    for _ in range(chance.choice([1, 1, 2])):
        lived += kill(start(kind, folder, where), chance.uniform(0, took), chance.random() < 0.5)
        look()
    finish(kind, folder, where)
    look()
    return lived


def tried(kind: Kind, seed: int, say: Callable[[str], None]) -> dict:
    """All moments of a kind: {"moments", "hit", "seconds", "lived_on", "failed": [why]}."""
    chance = random.Random(seed)
    with tempfile.TemporaryDirectory(prefix="kills-") as name:
        top = Path(name)

        def fresh(number: object) -> tuple[Path, Path]:
            """Where the command writes, and where it runs."""
            if kind.shared:
                copy = top / "copy"
                if not copy.exists():
                    clone = ["git", "clone", "--quiet", "--local", str(ROOT), str(copy)]
                    subprocess.run(clone, check=True)
                    shutil.copytree(ROOT / "book" / "extra", copy / "book" / "extra")
                return copy, copy
            folder = top / str(number)
            folder.mkdir()
            (folder / "short.txt").write_text("\n".join(load_names()[:300]) + "\n", encoding="utf-8")
            return folder, folder

        folder, where = fresh("undisturbed")
        finish(kind, folder, where)  # what is compiled is there from now on
        if not kind.shared:
            folder, where = fresh("measured")
        began = time.monotonic()
        finish(kind, folder, where)
        took, wanted = time.monotonic() - began, kind.end(folder)
        failed, lived = [], []
        for number in range(kind.kills):
            folder, where = fresh(number)
            try:
                lived += moment(kind, folder, where, chance, took)
                assert kind.end(folder) == wanted, "the end differs from the undisturbed one"
            except Exception as error:  # whatever a damaged file makes of itself
                failed.append(f"{number}: {type(error).__name__}: {error}")
                say(failed[-1])
    return {
        "moments": kind.kills, "hit": len(lived), "seconds": round(took, 1),
        "lived_on": round(max(lived, default=0.0), 1), "failed": failed,
    }  # fmt: skip


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition(".")[0])
    parser.add_argument("--only", nargs="+", choices=list(KINDS), default=list(KINDS), metavar="KIND")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args(arguments)
    table = {}
    for name in options.only:
        print(f"{name} ...", flush=True)
        table[name] = found = tried(KINDS[name], options.seed, lambda line: print(f"  {line}", flush=True))
        print(
            f"  {found['moments']} moments, {found['hit']} kills of a command of {found['seconds']} s; "
            f"others lived on for {found['lived_on']} s at most; {len(found['failed'])} failed", flush=True,
        )  # fmt: skip
        if options.json:
            write_json(options.json, table)
    return 1 if any(found["failed"] for found in table.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
