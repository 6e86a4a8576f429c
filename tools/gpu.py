"""A GPU in ten minutes: all that this book has to learn from one, on a machine that is lent for a short time.

    python3 tools/gpu.py pack [--python 3.12]               what that machine may lack, into build/gpu
    python3 tools/gpu.py run [--minutes 10] [--device mps]  there: models, benchmark, tests, notebooks
    python3 tools/gpu.py show [FOLDER]                      at home: what was found, into the pages

`run` needs Linux or macOS and a Python with some PyTorch, neither a network nor pip: a wheel is an archive,
and is unpacked into a temporary folder. Every item is a process of its own with a limit of time, and its
outcome is in results.json before the next one begins. A second call does what is not recorded there for the
same code and device, and what had no time to end.
"""

import argparse
import hashlib
import importlib.metadata
import json
import os
import re
import shutil
import signal
import site
import subprocess
import sys
import tempfile
import time
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
CORPORA = Path(os.environ.get("COMMON_CACHE") or ROOT / "data" / "cache") / "corpora"
LIMIT = 60  # MiB that may travel
# What runs there; requirements.lock says the versions, and pip what these need.
WANTED = (
    "anywidget ipykernel ipywidgets jupyterquiz matplotlib nbclient nbval numpy optuna filelock loky psutil "
    "pytest sacrebleu safetensors scikit-learn sqlalchemy tqdm vadersentiment"
).split()
# What a machine with PyTorch has as a rule, and what would be large.
HAS = "torch numpy matplotlib pillow fonttools contourpy kiwisolver scikit-learn scipy".split()
LINUX = [f"manylinux{tag}_x86_64" for tag in ("_2_28", "_2_17", "2014", "_2_12", "2010", "_2_5", "1")]
BENCHED = "scaled hierarchical hierarchical-bug dilated gru transformer wavenet lstm flat mlp taught".split()
# Between the device and the CPU: of a loss, of twenty samples, of the losses of twenty steps.
TOLERANCE = {"loss": 1e-3, "samples": 10, "steps": 1e-2}
WORK = [sys.executable, str(Path(__file__).resolve()), "work"]
PYTEST = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist"]
MARKED = re.compile(r"(?m)^[@\w= ]+pytest\.mark\.device$")
NBVAL = ["--nbval", "--nbval-current-env", "--nbval-sanitize-with=tests/nbval_sanitize.cfg"]


# ---- what travels ----------------------------------------------------------------


def plain(package: str) -> str:
    """A package's name as pip knows it, however it is written."""
    return re.sub(r"[-_.]+", "-", package).lower()


def pack(out: Path, python: str | None, has: Iterable[str]) -> None:
    """Put wheels and the fetched corpora into a folder, in the place of those that it holds.

    python: that of a machine with Linux on x86-64, which has the packages `has`; None is this Python, with
    what it has. ValueError without a network, and for more than may travel.
    """
    if python is None:
        has = {plain(d.metadata["Name"] or "") for d in importlib.metadata.distributions()}
    with tempfile.TemporaryDirectory() as name:
        wheels, corpora = Path(name) / "wheels", Path(name) / "corpora"
        wheels.mkdir()
        if wanted := [package for package in WANTED if package not in has]:
            download(wanted, wheels, python)
        for wheel in wheels.iterdir():
            if plain(wheel.name.partition("-")[0]) in has:
                wheel.unlink()
        shutil.copytree(CORPORA, corpora) if CORPORA.is_dir() else corpora.mkdir()
        sizes = {path.name: path.stat().st_size / 2**20 for path in Path(name).glob("*/*")}
        if (size := sum(sizes.values())) > LIMIT:
            large = [f"{file} {mib:.1f}" for file, mib in sorted(sizes.items(), key=lambda i: -i[1])[:5]]
            raise ValueError(f"expected at most {LIMIT} MiB, got {size:.1f}; the largest: {', '.join(large)}")
        packed = out / "packed.json"  # there when all else is
        packed.unlink(missing_ok=True)
        for part in (wheels, corpora):
            shutil.rmtree(out / part.name, ignore_errors=True)
            shutil.copytree(part, out / part.name)
    packed.write_text(json.dumps(sorted(sizes)), encoding="utf-8")
    print(f"packed {len(sizes)} files, {size:.1f} MiB, into {out}")


def download(packages: list[str], wheels: Path, python: str | None) -> None:
    """Have pip fetch wheels of packages and of what they need, at the versions of the lock."""
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", "download"]
    command += ["--only-binary=:all:", f"--dest={wheels}", f"--constraint={ROOT / 'requirements.lock'}"]
    if python:
        command += [f"--python-version={python}", "--implementation=cp", *(f"--platform={t}" for t in LINUX)]
    done = subprocess.run([*command, *packages], capture_output=True, text=True, check=False)
    if done.returncode:
        said = telling(done.stderr.splitlines())
        raise ValueError(f"expected wheels from pip, which needs a network, got: {said}")


def fits(wheel: str) -> bool:
    """Whether this Python takes a wheel, by its name."""
    _, python, abi, system = wheel.removesuffix(".whl").rsplit("-", 3)
    minor, ours = sys.version_info.minor, "macosx" if sys.platform == "darwin" else "linux"
    takes = {"py3", f"cp3{minor}", *(f"cp3{older}" for older in range(2, minor) if abi == "abi3")}
    on = re.search(rf"^any$|{ours}.*({os.uname().machine}|universal2)", system)
    return bool(on and takes & set(python.split(".")))


def unpack(packed: Path, folder: Path) -> None:
    """The wheels that fit into folder/site, the corpora into folder/cache."""
    if not (packed / "packed.json").is_file():
        raise ValueError(f"expected a folder that `tools/gpu.py pack` filled, got {packed}")
    for wheel in filter(lambda wheel: fits(wheel.name), (packed / "wheels").glob("*.whl")):
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(folder / "site")
    shutil.copytree(packed / "corpora", folder / "cache" / "corpora")


class Item(NamedTuple):
    """One thing to find out. The last line that its process prints is JSON, or the counts of pytest.

    name: a kind, a space, and what it is of. files: the code that it runs, beside `common`.
    """

    name: str
    command: list[str]
    files: list[Path]


def code_of(paths: list[Path]) -> str:
    """A fingerprint of these and of `common`; there is not always a git that could say it."""
    paths = [*sorted((ROOT / "src" / "common").rglob("*.py")), *paths]
    return hashlib.sha256(b"\0".join(path.read_bytes() for path in paths)).hexdigest()[:12]


def plan(device: str) -> list[tuple[list[Item], float, bool]]:
    """Items in the order of what matters, the share that they get of the time that is left then, and whether
    they run side by side. The CPU, which stands in for a device, does a little of everything."""
    from common.models import MODELS, tagged

    costs = json.loads((ROOT / "data" / "costs.json").read_text(encoding="utf-8"))
    books = sorted(costs, key=lambda book: -max(cost["seconds"] for cost in costs[book].values()))
    models, benched = [name for name in MODELS if name not in tagged("sentences")], BENCHED
    if device == "cpu":
        models, benched, books = ["mlp", "scaled"], ["mlp"], books[-2:]
    bench, tests = (sorted((ROOT / folder).glob("*.py")) for folder in ("benchmarks", "tests"))
    marked = {path: ["-m", "device"] for path in tests if MARKED.search(path.read_text(encoding="utf-8"))}
    marked[ROOT / "tests" / "test_second_device.py"] = []  # asks for CUDA itself
    own, page = [Path(__file__)], {book: ROOT / "book" / f"{book}.ipynb" for book in books}
    return [
        ([Item(f"model {m}", [*WORK, "model", device, m], own) for m in models], 0.3, True),
        ([Item(f"bench {m}", [*WORK, "bench", device, m], own + bench) for m in benched], 0.5, False),
        ([Item(f"tests {p.stem}", [*PYTEST, *m, str(p)], [p]) for p, m in marked.items()], 0.4, True),
        ([Item(f"notebook {b}", [*PYTEST, *NBVAL, str(p)], [p]) for b, p in page.items()], 1.0, True),
    ]


def model(device: str, name: str) -> dict:
    """A model on a device against the CPU: its loss, samples, and the first steps of training."""
    import torch

    from common import data, evaluate, fast, models, sampling, train

    recipe, names = models.MODELS[name], data.load_names(data.SHIPPED_NAMES)
    vocabulary, split = data.Vocabulary("".join(names)), data.split_names(names)
    parts = [data.examples(x, vocabulary, recipe.block_size) for x in (split.val, split.train[:2000])]

    def found(place, make):
        start, draw = (torch.Generator().manual_seed(seed) for seed in (0, 1))
        trained = name in models.tagged("pretrained")
        it = (models.pretrained(name) if trained else recipe.build(generator=start).eval()).to(place)
        val, rows = [[t.to(place) for t in part] for part in parts]
        built, generators = train.seeded(recipe.build, [0])
        built, config = [it.to(place) for it in built], train.Config(steps=100_000)
        steps = make(built, train.Examples(*rows), generators, [config]).steps(0, 20)
        samples = sampling.sample(it, vocabulary, recipe.block_size, 20, generator=draw)
        return evaluate.mean_loss(it, *val), samples, steps

    here, there = found("cpu", fast.PlainLoop), found(device, fast.make_loop)
    differ = {
        "loss": abs(there[0] - here[0]),
        "samples": sum(ours != theirs for ours, theirs in zip(here[1], there[1], strict=True)),
        "steps": (there[2] - here[2]).abs().max().item(),
    }
    wrong = [f"{key} differ by {value:g}" for key, value in differ.items() if not value <= TOLERANCE[key]]
    return {"loss": there[0], "samples": there[1], "differ": differ, "wrong": wrong}


def bench(device: str, name: str) -> dict:
    """The report of benchmarks/bench.py on one model."""
    sys.path.insert(0, str(ROOT / "benchmarks"))
    import bench

    from common.runs.files import read_json

    how = "--seeds 2 --rounds 1 --seconds 0.2" if device == "cpu" else "--seeds 64 --rounds 2 --seconds 1"
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        if code := bench.main(["--device", device, "--models", name, "--json", str(report), *how.split()]):
            sys.exit(code)
        return read_json(report)


# ---- a run, step by step ---------------------------------------------------------


def run_items(items: list[Item], end: float, at_once: int, env: dict, keep: Callable) -> None:
    """Run items, so many at once, until then. keep(item, code, printed, seconds) for each that ended, before
    the next one begins; its code is None where its time was over."""
    waiting, running = items[::-1], []
    try:
        while running or waiting and time.monotonic() < end - 1:
            while waiting and len(running) < at_once and time.monotonic() < end - 1:
                item, output = waiting.pop(), tempfile.TemporaryFile("w+", errors="replace")
                files = {"stdin": subprocess.DEVNULL, "stdout": output, "stderr": output}
                process = subprocess.Popen(item.command, cwd=ROOT, env=env, start_new_session=True, **files)
                running.append((item, process, output, time.monotonic()))
            time.sleep(0.05)
            over = time.monotonic() >= end
            for job in list(running):
                item, process, output, began = job
                code = process.poll()
                if over or code is not None:
                    kill(process)
                    running.remove(job)
                    output.seek(0)
                    keep(item, code, output.read(), time.monotonic() - began)
    finally:
        for _, process, *_ in running:
            kill(process)


def kill(process: subprocess.Popen) -> None:
    """End a process with all that it started; a kernel ends with the pytest that started it."""
    with suppress(OSError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def entry_of(code: int | None, printed: str, seconds: float) -> dict:
    """What to record of a process."""
    lines = [line.strip() for line in printed.splitlines() if line.strip()] or ["it said nothing"]
    counts = re.findall(r"(\d+) (passed|failed|skipped|error)", lines[-1])
    result = {kind: int(count) for count, kind in counts}
    with suppress(ValueError):
        result = json.loads(lines[-1], parse_constant=lambda name: None)  # NaN
    outcome = "stopped" if code is None else "failed" if code else "passed"
    entry = {"outcome": outcome, "seconds": round(seconds, 1), "result": result}
    if code:
        error = f"killed by {signal.Signals(-code).name}" if code < 0 else telling(lines)
        entry |= {"error": error, "tail": lines[-60:]}
    return entry


def telling(lines: list[str]) -> str:
    """The line of an output that says most."""
    return next((line for line in lines if line.lower().startswith(("error", "failed"))), lines[-1])[:200]


def machine(device: str | None) -> dict:
    """What this machine is. ValueError where it has no PyTorch, or no such device."""
    try:
        from common.runs.provenance import provenance
        from common.train import find_device

        if (found := find_device(device)).type == "cpu" and not device:
            raise ValueError("neither CUDA nor MPS answers here")
    except (ImportError, ValueError) as error:
        small = "DEVICE=cpu tries everything in small"
        raise ValueError(f"expected a GPU, and a Python with PyTorch: {error}; {small}") from None
    return provenance(found)


def read_record(path: Path) -> dict:
    from common.runs.files import read_json

    record = read_json(path, expected := "what `tools/gpu.py run` wrote")
    match record:
        case {"about": dict(), "code": str(), "items": dict(items)}:
            if all(isinstance(entry, dict) and "outcome" in entry for entry in items.values()):
                return record
    raise ValueError(f"{path}: expected {expected}, got something else")


def run(folder: Path, out: Path, minutes: float, device: str | None, plan: Callable = plan) -> bool:
    """Find out everything on a device, as far as the minutes go; whether nothing failed, now or before.

    folder: what was packed, and the record to go on with where `out` has none.
    """
    if not minutes > 0:
        raise ValueError(f"expected minutes above 0, got {minutes:g}")
    began = time.monotonic()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        unpack(folder, Path(name))
        sys.path[:0] = paths = [f"{name}/site", str(ROOT / "src")]
        about, items = machine(device), {}
        from common.runs.files import write_json

        stages = plan(about["device"])
        codes = {item.name: code_of(item.files) for stage in stages for item in stage[0]}
        if path := next((p for f in (out, folder) if (p := f / "results.json").exists()), None):
            stored = read_record(path)
            if all(stored["about"].get(key) == about[key] for key in ("device", "machine", "torch")):
                items = {k: e for k, e in stored["items"].items() if codes.get(k) == e.get("code")}
            print(f"recorded for this code and device: {len(items)} of {len(stored['items'])} items")
        env = {"OMP_NUM_THREADS": "1", **os.environ, "PYTHONUSERBASE": site.getuserbase(), "HOME": name}
        paths += filter(None, [os.environ.get("PYTHONPATH")])
        env |= {"PYTHONPATH": os.pathsep.join(paths), "TMPDIR": name}
        env |= {"PYTHONPYCACHEPREFIX": name, "COMMON_CACHE": f"{name}/cache", "TQDM_DISABLE": "1"}
        env |= {"BOOK_DEVICE": about["device"], **({"CUDA_VISIBLE_DEVICES": ""} if device == "cpu" else {})}

        def keep(item, code, printed, seconds):
            items[item.name] = entry = entry_of(code, printed, seconds) | {"code": codes[item.name]}
            write_json(out / "results.json", {"about": about, "code": code_of([]), "items": items})
            said = f"{item.name}: {entry['outcome']}, {seconds:.0f} s {entry.get('error', '')}"
            print(f"[{(time.monotonic() - began) / 60:4.1f} min] {said}", flush=True)

        done = lambda name: items.get(name, {}).get("outcome") in ("passed", "failed")  # noqa: E731
        for stage, share, parallel in stages:
            now, todo = time.monotonic(), [item for item in stage if not done(item.name)]
            end = now + (began + 60 * minutes - now) * share
            run_items(todo, end, (os.cpu_count() or 1) if parallel else 1, env, keep)
    failed = [name for name in items if items[name]["outcome"] == "failed"]
    left = [name for name in codes if not done(name)]
    if left:
        print(f"no time for {len(left)}, the same command goes on there: {', '.join(left)}")
    print(f"{len(codes) - len(left)} of {len(codes)} in {out / 'results.json'}; failed: {len(failed)}")
    return not failed


# ---- at home, and the command ----------------------------------------------------


def report_of(record: dict) -> dict:
    """What benchmarks/DEVICE.json holds: the models' reports as one, and the whole record."""
    from common.runs.provenance import commit

    report: dict = {"models": {}, "families": {}, "growth": {}}
    for name, entry in record["items"].items():
        if name.startswith("bench ") and entry["outcome"] == "passed":
            one = entry["result"]
            report |= one | {key: report[key] | one[key] for key in ("models", "families")}
    if record["about"]["commit"] == "unknown" and record["code"] == code_of([]):
        record["about"]["commit"] = commit()  # what ran was a copy of this code, without a git
    return report | record["about"] | {"gpu": {key: record[key] for key in ("code", "items")}}


SAID = {
    "model": "{} models agree with the CPU, {} do not",
    "test": "{} tests passed on the device, {} failed",
    "notebook": "{} notebooks gave their stored outputs, {} did not",
}


def shown(report: dict) -> str:
    """What stands in the page: the benchmark's place, then the rest in words."""
    count, most, failed = Counter(), dict.fromkeys(TOLERANCE, 0), []
    for name, entry in report["gpu"]["items"].items():
        kind, outcome, result = name.split()[0], entry["outcome"], entry["result"]
        count.update({(kind, outcome): 1} if kind != "tests" else {("test", k): n for k, n in result.items()})
        if kind == "model" and outcome == "passed":
            most = {key: max(most[key], result["differ"][key]) for key in most}
        failed += [f"`{name}` ({entry['error']})"] if outcome == "failed" else []
    place = f"<!-- bench {report['device']} -->\n<!-- end of bench -->\n\n" if report["models"] else ""
    says = [form.format(count[kind, "passed"], count[kind, "failed"]) for kind, form in SAID.items()]
    says[0] += "; at most losses differ by {loss:.0e}, those of 20 fast steps by {steps:.0e}, ".format(**most)
    says[0] += f"and {most['samples']} of 20 names that are drawn"
    says += [f"Failed: {', '.join(failed)}"] if failed else []
    says.append("Measured on {date}, commit `{commit}`, {machine}, torch {torch}.".format(**report))
    return place + ". ".join(says)


def show(folder: Path) -> int:
    """Results into benchmarks/ and its page, and what the notebooks took into the page of costs."""
    import notebooks
    import tables

    from common.runs.files import replace_files, write_json

    report = report_of(read_record(folder / "results.json"))
    device, text, kept = report["device"], shown(report), notebooks.costs()
    print(text)
    if device == "cpu":
        raise ValueError("expected the results of a GPU, got those of the CPU: nothing is stored")
    page, costs = ROOT / "benchmarks" / "README.md", ROOT / "book" / "costs.md"
    begin, end = f"<!-- gpu {device} -->", "<!-- end of gpu -->"
    head, _, rest = page.read_text(encoding="utf-8").partition(begin)
    if end not in rest:
        raise ValueError(f"{page}: expected {begin!r}, and {end!r} after it")
    for name, entry in report["gpu"]["items"].items():
        if name.startswith("notebook ") and entry["outcome"] == "passed":
            where = {"date": report["date"], "machine": report["machine"]}
            kept.setdefault(name.split()[1], {})[device] = {"seconds": round(entry["seconds"]), **where}
    write_json(ROOT / "benchmarks" / f"{device}.json", report)
    write_json(notebooks.COSTS, kept)
    pages = {page: f"{head}{begin}\n\n{text}\n\n{end}{rest.partition(end)[2]}"}
    pages[costs] = notebooks.with_table(costs.read_text(encoding="utf-8"), notebooks.costs_table())
    replace_files({p: re.sub(" ?No GPU has been measured yet. ?", "", t).encode() for p, t in pages.items()})
    return tables.main([])


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("command", choices=("pack", "run", "show", "work"))
    parser.add_argument("arguments", nargs="*", help="of show: the folder with results.json")
    parser.add_argument("--folder", type=Path, default=ROOT / "build" / "gpu", help="of what is packed")
    parser.add_argument("--python", help="pack for this one, on Linux and x86-64 (default: for this Python)")
    parser.add_argument("--has", nargs="+", default=HAS, help=f"packages of that machine ({' '.join(HAS)})")
    parser.add_argument("--device", help="cuda, mps or cpu (default: the GPU that is here)")
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--out", type=Path, help="where results.json goes (default: --folder)")
    options = parser.parse_args(arguments)
    folder, out = options.folder.absolute(), (options.out or options.folder).absolute()
    try:
        if options.command == "pack":
            pack(folder, options.python, options.has)
        elif options.command == "show":
            return show(Path(*options.arguments or [out]))
        elif options.command == "work":
            kind, *arguments = options.arguments
            found = {"model": model, "bench": bench}[kind](*arguments)
            wrong = found.get("wrong")
            print(f"error: {'; '.join(wrong)}" if wrong else "", json.dumps(found), sep="\n")
            return int(bool(wrong))
        else:
            signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends as an interrupt does
            return int(not run(folder, out, options.minutes, options.device))
    except KeyboardInterrupt:
        print("stopped; the same command goes on", file=sys.stderr)
        return 130
    except (ValueError, OSError, zipfile.BadZipFile) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
