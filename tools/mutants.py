"""Change the core in one place at a time, and see which changes the unit tests notice.

    python tools/mutants.py cover             which test runs which line: the unit tests once, 20 minutes
    python tools/mutants.py sample            500 places of the core, seed 0, and one change at each
    python tools/mutants.py run               the tests of each change; a second call goes on
    python tools/mutants.py show              how many were noticed, and the others as differences
    python tools/mutants.py again ID ...      forget what came out of these; with no ID, of those not noticed

The changes are those of cosmic-ray, a library for this; coverage says which tests to run. Neither is in a
lock: both are installed into build/mutants on first use. A place is drawn evenly among all that can be
changed, then one of its changes: a binary operator would otherwise count eleven times. Annotations are left
out, for nothing runs them. A change is noticed where a test fails or never ends. The tests that run a changed
line are run from the most special on (those that run few lines of the core), up to 40 seconds of them. Every
process works in its own copy of the tracked files; a file of the folder itself is never touched.
"""

import argparse
import ast
import difflib
import json
import os
import random
import re
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
HOME = ROOT / "build" / "mutants"
COVER, SAMPLE, KEPT = HOME / "cover.json", HOME / "sample.json", HOME / "results"
ABOVE = {"fast", "runs", "pages"}  # rooms that are not the core (tests/test_house.py)
SECONDS = 40  # of tests for one change, as they took without it
GIGABYTES = 8
# Tests of tools and of whole commands: they take long, and would not tell what of the core they need.
LEFT_OUT = "bench check falsify gpu main makefile pdf publish sweep_ray wheel without_make".split()


def core() -> list[Path]:
    package = ROOT / "src" / "common"
    found = (path.relative_to(package) for path in sorted(package.rglob("*.py")))
    return [package / path for path in found if path.parts[0] not in ABOVE and path.name != "__main__.py"]


def needs(name: str, *packages: str) -> Path:
    """A folder with packages that no lock has; they are installed on first use, whole or not at all."""
    folder = HOME / name
    if not folder.is_dir():
        part = HOME / f"{name}.part"
        shutil.rmtree(part, ignore_errors=True)
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(part)]
        subprocess.run([*command, *packages], check=True)
        part.rename(folder)
    return folder


def copy(place: Path) -> Path:
    """The tracked files as they stand, in a folder of their own, with what was fetched before."""
    shutil.rmtree(place, ignore_errors=True)
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file():
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, place / name)
    if (ROOT / "data" / "cache").is_dir():
        shutil.copytree(
            ROOT / "data" / "cache", place / "data" / "cache",
            ignore=shutil.ignore_patterns("compiled"), dirs_exist_ok=True,
        )  # fmt: skip
    return place


def surroundings(place: Path) -> dict[str, str]:
    """Of a process whose `common` is the copy's."""
    path = str(place / "src")
    return os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}


# ---- which test runs which line ----------------------------------------------


def cover(workers: int) -> None:
    """Write down, for every line of the core, the tests that run it, and how long every test takes."""
    site = needs("coverage", "--no-deps", "coverage", "pytest-cov")
    place = copy(HOME / "covered")
    data = HOME / "cover.db"
    settings = HOME / "cover.ini"
    settings.write_text(f"[run]\nsource = {place}/src/common\ndata_file = {data}\n", encoding="utf-8")
    ignored = [f"--ignore=tests/test_{name}.py" for name in LEFT_OUT]
    command = [
        sys.executable, "-m", "pytest", "-p", "pytest_cov", "tests", "--ignore=tests/pages", *ignored,
        "-n", str(workers), f"--cov={place}/src/common", f"--cov-config={settings}", "--cov-context=test",
        "--cov-report=", "--durations=0", "-vv",
    ]  # fmt: skip
    log = HOME / "cover.log"
    with open(log, "w", encoding="utf-8") as said:
        own = surroundings(place)
        own["PYTHONPATH"] += os.pathsep + str(site)
        done = subprocess.run(command, cwd=place, env=own, stdout=said, stderr=said)
    if done.returncode:
        sys.exit(f"the unit tests fail without any change: see {log}")
    sys.path.append(str(site))
    keep(data, log, place)


def keep(data: Path, log: Path, place: Path) -> None:
    """The database of coverage and the log of the run as one file that `run` reads."""
    from coverage.numbits import numbits_to_nums

    seconds: dict[str, float] = {}
    timed = re.compile(r"^ *([\d.]+)s (?:setup|call|teardown) +(.+)$", re.MULTILINE)
    for took, name in timed.findall(log.read_text(encoding="utf-8")):
        seconds[name] = seconds.get(name, 0.0) + float(took)
    contexts: list[str] = []
    number: dict[str, int] = {}
    lines: dict[str, dict[int, list[int]]] = {}
    query = """select file.path, context.context, line_bits.numbits from line_bits
        join file on file.id = line_bits.file_id join context on context.id = line_bits.context_id"""
    wanted = {str(path.relative_to(ROOT)) for path in core()}
    with sqlite3.connect(data) as base:
        for path, context, bits in base.execute(query):
            module = str(Path(path).relative_to(place))
            test = context.rpartition("|")[0]
            if module not in wanted or not test:
                continue
            if test not in number:
                number[test] = len(contexts)
                contexts.append(test)
            for line in numbits_to_nums(bits):
                lines.setdefault(module, {}).setdefault(line, []).append(number[test])
    COVER.write_text(json.dumps({"tests": contexts, "seconds": seconds, "lines": lines}), encoding="utf-8")
    print(f"{len(contexts)} tests run {sum(map(len, lines.values()))} lines of the core")


# ---- the changes ---------------------------------------------------------------


def annotations(source: str) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """Where annotations begin and end: (line, column) twice."""
    found = []
    for node in ast.walk(ast.parse(source)):
        for part in (getattr(node, "annotation", None), getattr(node, "returns", None)):
            if isinstance(part, ast.expr):
                found.append(((part.lineno, part.col_offset), (part.end_lineno, part.end_col_offset)))
    return found


def sample(n: int, seed: int) -> None:
    """Draw the changes; what came out of others is forgotten. Each is a whole module, as it stands today."""
    sys.path.append(str(needs("cosmic-ray", "cosmic-ray")))
    import cosmic_ray.plugins as plugins
    from cosmic_ray.ast import ast_nodes, get_ast
    from cosmic_ray.mutating import mutate_code

    operators = {}
    for name in plugins.operator_names():
        operator = plugins.get_operator(name)
        if not operator.arguments() and not name.endswith("NoOp"):
            operators[name] = operator()
    places: dict[tuple, list[tuple]] = {}
    for path in core():
        source = path.read_text(encoding="utf-8")
        tree = get_ast(source)
        apart = annotations(source)
        for name, operator in operators.items():
            at = (place for node in ast_nodes(tree) for place in operator.mutation_positions(node))
            for occurrence, (start, end) in enumerate(at):
                if not any(first <= tuple(start) and tuple(end) <= last for first, last in apart):
                    places.setdefault((path, tuple(start), tuple(end)), []).append((name, occurrence))
    rng = random.Random(seed)
    order = sorted(places)
    rng.shuffle(order)
    mutants: list[dict] = []
    for place in order:
        if len(mutants) == n:
            break
        path, start, _ = place
        operator, occurrence = rng.choice(places[place])
        source = path.read_text(encoding="utf-8")
        changed = mutate_code(source, operators[operator], occurrence)
        if changed is None or ast.dump(ast.parse(source)) == changed_tree(changed):
            continue  # nothing changed but its writing
        mutants.append(
            {"id": len(mutants), "module": str(path.relative_to(ROOT)), "line": start[0],
             "operator": operator, "source": changed}
        )  # fmt: skip
    HOME.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(KEPT, ignore_errors=True)
    SAMPLE.write_text(json.dumps({"seed": seed, "places": len(places), "mutants": mutants}), encoding="utf-8")
    print(f"{len(mutants)} of {len(places)} places, seed {seed}: {SAMPLE}")


def changed_tree(source: str) -> str:
    try:
        return ast.dump(ast.parse(source))
    except SyntaxError:
        return "no Python"


# ---- running them --------------------------------------------------------------


def tests_of(mutant: dict, covered: dict) -> list[str]:
    """The tests that can notice a change, the most special first.

    A line that runs on import belongs to no test: then those of the function whose head it is, or else those
    that run anything of its module.
    """
    lines = {int(line): tests for line, tests in covered["lines"].get(mutant["module"], {}).items()}
    chosen = set(lines.get(mutant["line"], ()))
    if not chosen:
        original = ast.parse((ROOT / mutant["module"]).read_text(encoding="utf-8"))
        around = [
            node for node in ast.walk(original)
            if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.stmt)
            and min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", []))])
            <= mutant["line"] <= node.end_lineno
        ]  # fmt: skip
        for node in sorted(around, key=lambda node: node.end_lineno - node.lineno):
            chosen = {t for line in range(node.lineno, node.end_lineno + 1) for t in lines.get(line, ())}
            if chosen:
                break
    if not chosen:
        chosen = {test for tests in lines.values() for test in tests}
    weight = covered["weight"]
    picked, total = [], 0.0
    for test in sorted(chosen, key=lambda test: weight[test]):
        took = covered["seconds"].get(covered["tests"][test], 0.005)
        if total + took <= SECONDS:
            picked.append(covered["tests"][test])
            total += took
    return picked


class Chosen:
    """A plugin of pytest: the chosen tests in the chosen order, and the name of the one that failed.

    also: files of which all tests are chosen.
    """

    def __init__(self, tests: list[str], also: list[str]):
        self.order = {test: i for i, test in enumerate(tests)}
        self.also = also
        self.failed = ""

    def pytest_collection_modifyitems(self, items):
        for item in items:
            if item.nodeid.partition("::")[0] in self.also:
                self.order.setdefault(item.nodeid, len(self.order))
        chosen = [item for item in items if item.nodeid in self.order]
        items[:] = sorted(chosen, key=lambda item: self.order[item.nodeid])

    def pytest_runtest_logreport(self, report):
        if report.failed and not self.failed:
            self.failed = report.nodeid


def child(tests: list[str], also: list[str], place: Path, out: Path) -> None:
    """Runs in a process of its own: what came out is written to `out`."""
    import pytest

    os.setsid()
    limit = GIGABYTES << 30
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    log = os.open(out.with_suffix(".log"), os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.chdir(place)
    chosen = Chosen(tests, also)
    files = list(dict.fromkeys([*(test.partition("::")[0] for test in tests), *also]))
    code = pytest.main(["-x", "-q", "-p", "no:cacheprovider", *files], plugins=[chosen])
    out.write_text(json.dumps({"code": int(code), "by": chosen.failed}), encoding="utf-8")
    os._exit(0)


def worker(number: int, workers: int, also: list[str]) -> None:
    """Every `workers`-th change. PyTorch is loaded once; each change gets a process forked from here."""
    import hypothesis  # noqa: F401
    import numpy  # noqa: F401
    import pytest  # noqa: F401
    import torch

    torch.set_num_threads(1)
    covered = json.loads(COVER.read_text(encoding="utf-8"))
    covered["weight"] = [0] * len(covered["tests"])
    for lines in covered["lines"].values():
        for tests in lines.values():
            for test in tests:
                covered["weight"][test] += 1
    place = HOME / f"copy{number}"
    unchanged = run_one(covered["tests"][:20], also, place, KEPT / f"unchanged{number}", 600)
    if unchanged["what"] != "survived":  # what fails without a change would be taken for a kill
        sys.exit(f"without any change: {unchanged}")
    for mutant in json.loads(SAMPLE.read_text(encoding="utf-8"))["mutants"]:
        out = KEPT / f"{mutant['id']}.json"
        if mutant["id"] % workers != number or out.exists():
            continue
        tests = tests_of(mutant, covered)
        expected = sum(covered["seconds"].get(test, 0.005) for test in tests)
        path = place / mutant["module"]
        original = (ROOT / mutant["module"]).read_text(encoding="utf-8")
        part = out.with_suffix(".part")
        path.write_text(mutant["source"], encoding="utf-8")
        try:
            came = run_one(tests, also, place, part, 40 + 4 * expected + 60 * len(also))
        finally:
            path.write_text(original, encoding="utf-8")
        part.unlink(missing_ok=True)
        out.write_text(json.dumps(came | {"tests": len(tests)}), encoding="utf-8")
        print(mutant["id"], mutant["module"], mutant["line"], came["what"], came.get("by", ""), flush=True)


def run_one(tests: list[str], also: list[str], place: Path, part: Path, limit: float) -> dict:
    part.unlink(missing_ok=True)
    begun = time.monotonic()
    pid = os.fork()
    if not pid:
        try:
            child(tests, also, place, part)
        finally:
            os._exit(3)
    ended = 0
    while not ended and time.monotonic() - begun < limit:
        time.sleep(0.1)
        ended, status = os.waitpid(pid, os.WNOHANG)
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    if not ended:
        os.waitpid(pid, 0)
        return {"what": "killed", "by": f"no end in {limit:.0f} s"}
    took = round(time.monotonic() - begun, 1)
    if not part.exists():
        what = "killed" if os.WIFSIGNALED(status) else "error"  # of this tool
        return {"what": what, "by": "the process died", "seconds": took}
    came = json.loads(part.read_text(encoding="utf-8"))
    # 4: the change broke what every test imports; 5: nothing was run
    what = {0: "survived", 5: "no test"}.get(came["code"], "killed")
    return {"what": what, "by": came["by"] or f"pytest {came['code']}", "seconds": took}


def run(workers: int, also: list[str]) -> None:
    KEPT.mkdir(parents=True, exist_ok=True)
    running = []
    for number in range(workers):
        place = copy(HOME / f"copy{number}")
        command = [sys.executable, __file__, "worker", str(number), f"--workers={workers}", "--also", *also]
        running.append(subprocess.Popen(command, env=surroundings(place)))
    for one in running:
        one.wait()
    show()


def came_out() -> tuple[dict, dict]:
    drawn = json.loads(SAMPLE.read_text(encoding="utf-8"))
    results = KEPT.glob("*.json")
    return drawn, {int(path.stem): json.loads(path.read_text(encoding="utf-8")) for path in results}


def show() -> None:
    drawn, found = came_out()
    counts: dict[str, int] = {}
    for mutant in drawn["mutants"]:
        came = found.get(mutant["id"], {"what": "not run"})
        counts[came["what"]] = counts.get(came["what"], 0) + 1
        if came["what"] not in ("killed", "not run"):
            print(f"\n#{mutant['id']} {mutant['operator'].rpartition('/')[2]}, {came['tests']} tests")
            print(difference(mutant))
    print(", ".join(f"{n} {what}" for what, n in sorted(counts.items())), f"of {len(drawn['mutants'])}")


def difference(mutant: dict) -> str:
    original = (ROOT / mutant["module"]).read_text(encoding="utf-8").splitlines()
    lines = difflib.unified_diff(
        original, mutant["source"].splitlines(), mutant["module"], "", lineterm="", n=1
    )
    return "\n".join(line for line in lines if not line.startswith("+++"))


def again(which: list[int]) -> None:
    for number, came in came_out()[1].items():
        if number in which or not which and came["what"] != "killed":
            (KEPT / f"{number}.json").unlink()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("what", choices=["cover", "sample", "run", "show", "again", "worker"])
    parser.add_argument("which", nargs="*", type=int)
    parser.add_argument("-n", type=int, default=500, help="how many places")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument(
        "--also", nargs="*", default=[], help="files with tests that `cover` does not know yet"
    )
    chosen = parser.parse_args()
    if chosen.what == "cover":
        cover(chosen.workers)
    elif chosen.what == "sample":
        sample(chosen.n, chosen.seed)
    elif chosen.what == "run":
        run(chosen.workers, chosen.also)
    elif chosen.what == "show":
        show()
    elif chosen.what == "again":
        again(chosen.which)
    else:
        worker(chosen.which[0], chosen.workers, chosen.also)


if __name__ == "__main__":
    main()
