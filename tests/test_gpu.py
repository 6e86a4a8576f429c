"""A GPU in ten minutes: what travels, what is recorded and when, what a second call does. No GPU, no network.

The processes are small ones in the place of the real items; `make gpu DEVICE=cpu` tries those.
"""

import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest

from common import evaluate, fast, sampling
from common.models import MODELS
from common.pages import results
from common.runs.provenance import ROOT

sys.path[:0] = [str(ROOT / "tools"), str(ROOT / "benchmarks")]
import gpu  # noqa: E402
import notebooks  # noqa: E402
import tables  # noqa: E402
from families import FAMILIES  # noqa: E402

MINOR, MACHINE = sys.version_info.minor, os.uname().machine
SYSTEM = f"macosx_11_0_{MACHINE}" if sys.platform == "darwin" else f"manylinux_2_17_{MACHINE}"


@pytest.fixture(autouse=True)
def own_path(monkeypatch):
    """What `run` puts before the path goes with the test."""
    monkeypatch.setattr(sys, "path", [*sys.path])


def wheel(folder, name, size=0, needs=()):
    """A small package as pip knows it, with so many bytes that cannot be packed."""
    package, version = name.split("-")[:2]
    tag = name.removesuffix(".whl").split("-", 2)[2]
    about = f"{package}-{version}.dist-info"
    metadata = [
        "Metadata-Version: 2.1",
        f"Name: {package}",
        f"Version: {version}",
        *(f"Requires-Dist: {n}" for n in needs),
    ]
    with zipfile.ZipFile(folder / name, "w") as archive:
        archive.writestr(f"{package}.py", f"version = {version!r}\n")
        archive.writestr(f"{package}.bin", os.urandom(size))
        archive.writestr(f"{about}/METADATA", "\n".join(metadata) + "\n")
        archive.writestr(f"{about}/WHEEL", f"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: {tag}\n")
        archive.writestr(f"{about}/RECORD", "")
    return folder / name


@pytest.fixture
def index(tmp_path, monkeypatch):
    """A folder of wheels in the place of the network, and a corpus that was fetched."""
    folder = tmp_path / "index"
    folder.mkdir()
    for name in ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_CONSTRAINT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setattr(gpu, "CORPORA", tmp_path / "corpora")
    (tmp_path / "corpora").mkdir()
    (tmp_path / "corpora" / "plays.zip").write_text("to be or")
    wheel(folder, "madeup_one-1.0-py3-none-any.whl", needs=["madeup-two", "madeup-large"])
    wheel(folder, "madeup_two-2.1-cp312-cp312-manylinux_2_17_x86_64.whl", size=60_000)
    wheel(folder, "madeup_large-3.0-py3-none-any.whl", size=200_000)
    monkeypatch.setattr(gpu, "WANTED", ["madeup-one", "madeup-large"])
    return folder


def names(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


# ---- what travels ----------------------------------------------------------------


def test_packed_are_wheels_for_that_python_what_they_need_and_the_corpora(index, tmp_path, capsys):
    out = tmp_path / "packed"
    (out / "wheels").mkdir(parents=True)
    (out / "wheels" / "old-1.0-py3-none-any.whl").touch()
    (out / "results.json").write_text("{}")
    assert gpu.main(["pack", "--python", "3.12", "--has", "madeup-large", "--folder", str(out)]) == 0
    assert names(out) == [
        "corpora/plays.zip", "packed.json", "results.json", "wheels/madeup_one-1.0-py3-none-any.whl",
        "wheels/madeup_two-2.1-cp312-cp312-manylinux_2_17_x86_64.whl",
    ]  # fmt: skip
    assert capsys.readouterr().out.startswith("packed 3 files, 0.1 MiB, into ")


def test_for_this_python_what_it_has_is_not_packed(index, tmp_path, monkeypatch):
    monkeypatch.setattr(gpu, "WANTED", ["pytest", "torch", "nbval"])  # no index has these
    gpu.pack(tmp_path / "packed", None, ["madeup-one"])
    assert names(tmp_path / "packed") == ["corpora/plays.zip", "packed.json"]


def test_what_is_too_large_is_refused_with_the_largest_named(index, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(gpu, "LIMIT", 0.25)
    (tmp_path / "packed").mkdir()
    (tmp_path / "packed" / "packed.json").write_text("earlier")
    assert gpu.main(["pack", "--python", "3.12", "--folder", str(tmp_path / "packed")]) == 2
    assert capsys.readouterr().err == (
        "error: expected at most 0.25 MiB, got 0.3; the largest: madeup_large-3.0-py3-none-any.whl 0.2, "
        "madeup_two-2.1-cp312-cp312-manylinux_2_17_x86_64.whl 0.1, madeup_one-1.0-py3-none-any.whl 0.0, "
        "plays.zip 0.0\n"
    )
    assert names(tmp_path / "packed") == ["packed.json"]
    monkeypatch.setattr(gpu, "LIMIT", 0.26)
    gpu.pack(tmp_path / "packed", "3.12", [])


def test_without_a_network_pip_says_what_it_lacks(index, tmp_path, capsys):
    for path in index.iterdir():
        path.unlink()
    assert gpu.main(["pack", "--python", "3.12", "--folder", str(tmp_path / "packed")]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: expected wheels from pip, which needs a network, got: ERROR: ")
    assert "madeup-one" in error and error.count("\n") == 1
    assert not (tmp_path / "packed").exists()


@pytest.mark.parametrize(
    "tag, taken",
    [
        ("py3-none-any", True), ("py2.py3-none-any", True), ("py2-none-any", False),
        (f"cp3{MINOR}-cp3{MINOR}-{SYSTEM}", True), (f"cp3{MINOR}-none-any", True),
        (f"cp3{MINOR + 1}-cp3{MINOR + 1}-{SYSTEM}", False), (f"cp3{MINOR + 1}-abi3-{SYSTEM}", False),
        (f"cp3{MINOR - 1}-cp3{MINOR - 1}-{SYSTEM}", False), (f"cp36-abi3-{SYSTEM}", True),
        ("py3-none-win_amd64", False), (f"cp3{MINOR}-cp3{MINOR}-manylinux_2_17_sparc", False),
        (f"py3-none-{SYSTEM}.manylinux2014_x86_64", True),
    ],
)  # fmt: skip
def test_a_wheel_is_taken_by_its_tags(tag, taken):
    assert gpu.fits(f"madeup_two-2.1-{tag}.whl") is taken


def test_unpacked_is_what_fits(tmp_path):
    packed = tmp_path / "packed"
    for part in ("wheels", "corpora"):
        (packed / part).mkdir(parents=True)
    wheel(packed / "wheels", "madeup_one-1.0-py3-none-any.whl")
    wheel(packed / "wheels", f"madeup_two-2.1-cp3{MINOR + 1}-cp3{MINOR + 1}-{SYSTEM}.whl")
    (packed / "corpora" / "plays.zip").write_text("to be or")
    (packed / "packed.json").write_text("[]")
    gpu.unpack(packed, tmp_path / "there")
    assert "site/madeup_one.py" in names(tmp_path / "there") and "cache/corpora/plays.zip" in names(
        tmp_path / "there"
    )
    assert not list((tmp_path / "there").rglob("madeup_two*"))


# ---- a run -----------------------------------------------------------------------


@pytest.fixture
def packed(tmp_path):
    """A folder with nothing in it that had to travel."""
    for part in ("wheels", "corpora"):
        (tmp_path / "packed" / part).mkdir(parents=True)
    (tmp_path / "packed" / "packed.json").write_text("[]")
    return tmp_path / "packed"


def item(name, code, *files):
    return gpu.Item(name, [sys.executable, "-c", code], list(files))


def run(packed, *stages, minutes=1.0, device="cpu"):
    return gpu.run(packed, packed, minutes, device, lambda device: list(stages))


def recorded(folder):
    items = json.loads((folder / "results.json").read_text(encoding="utf-8"))["items"]
    return {name: (entry["outcome"], entry["result"], entry.get("error")) for name, entry in items.items()}


OUTCOMES = {
    "model right": (
        'print("said"); print(\'{"loss": 2.5, "far": NaN}\')',
        ("passed", {"loss": 2.5, "far": None}, None),
    ),
    "tests counted": ('print("3 passed, 1 skipped in 0.1s")', ("passed", {"passed": 3, "skipped": 1}, None)),
    "tests wrong": (
        'print("FAILED tests/test_a.py::test_b\\n1 failed, 2 passed in 0.1s"); exit(1)',
        ("failed", {"failed": 1, "passed": 2}, "FAILED tests/test_a.py::test_b"),
    ),
    "model crashed": ('raise TypeError("no such kernel")', ("failed", {}, "TypeError: no such kernel")),
    "model silent": ("exit(3)", ("failed", {}, "it said nothing")),
    "model killed": ("import os; os.kill(os.getpid(), 9)", ("failed", {}, "killed by SIGKILL")),
}


def test_what_becomes_of_an_item_is_recorded(packed, capsys):
    items = [item(name, code) for name, (code, _) in OUTCOMES.items()]
    assert not run(packed, (items, 1.0, True))
    assert recorded(packed) == {name: entry for name, (_, entry) in OUTCOMES.items()}
    said = capsys.readouterr().out
    assert "model crashed: failed, " in said and "TypeError: no such kernel\n" in said
    assert "6 of 6 in " in said and said.endswith("results.json; failed: 4\n")
    stored = json.loads((packed / "results.json").read_text(encoding="utf-8"))
    assert stored["about"]["device"] == "cpu" and stored["items"]["model crashed"]["tail"][0].startswith(
        "Traceback"
    )


def test_an_item_is_recorded_before_the_next_one_begins(packed):
    second = f"import json; print(json.load(open({str(packed / 'results.json')!r}))['items'].keys())"
    run(packed, ([item("model a", "print('{}')"), item("model b", f"{second}; print('{{}}')")], 1.0, False),
        ([item("model c", f"{second}; exit(1)")], 1.0, False))  # fmt: skip
    assert recorded(packed)["model c"][2] == "dict_keys(['model a', 'model b'])"


def test_a_time_that_is_over_is_no_failure_and_the_next_call_goes_on(packed, tmp_path, capsys):
    slow = f"import os, time; os.path.exists({str(tmp_path / 'now')!r}) or time.sleep(60)"
    items = [item("model slow", slow), item("model waiting", ""), item("model wrong", "exit(1)")]
    stages = (items[:1], 0.1, True), (items[2:], 1.0, True), (items[1:2], 0.0, True)
    began = time.monotonic()
    assert not run(packed, *stages, minutes=0.5)
    assert time.monotonic() - began < 20
    assert {name: entry[0] for name, entry in recorded(packed).items()} == {
        "model slow": "stopped",
        "model wrong": "failed",
    }
    said = capsys.readouterr().out
    assert "no time for 2, the same command goes on there: model slow, model waiting\n" in said
    assert "\n1 of 3 in " in said and said.endswith("results.json; failed: 1\n")
    (tmp_path / "now").touch()
    assert not run(packed, (items[:2], 1.0, True), (items[2:], 1.0, True))
    said = capsys.readouterr().out
    assert "2 of 2 items" in said and "model slow: passed" in said and "model waiting: passed" in said
    assert "model wrong: failed" not in said  # it is recorded
    assert run(packed, (items[:2], 1.0, True)) and "] model" not in capsys.readouterr().out


def test_a_process_ends_with_all_that_it_started(packed, tmp_path):
    child = f"import time, pathlib; time.sleep(3); pathlib.Path({str(tmp_path / 'left')!r}).touch()"
    code = (
        f"import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', {child!r}]); time.sleep(60)"
    )
    assert run(packed, ([item("model slow", code)], 0.04, True))
    assert recorded(packed)["model slow"][0] == "stopped"
    time.sleep(2)
    assert not (tmp_path / "left").exists()


def test_recorded_is_for_this_code_and_this_device_alone(packed, tmp_path, capsys):
    (tmp_path / "a.py").write_text("one")
    (tmp_path / "b.py").write_text("one")
    stage = [item("model a", "", tmp_path / "a.py"), item("model b", "", tmp_path / "b.py")], 1.0, True
    assert run(packed, stage) and run(packed, stage)
    assert capsys.readouterr().out.count("] model") == 2
    (tmp_path / "b.py").write_text("two")
    run(packed, stage)
    said = capsys.readouterr().out
    assert "device: 1 of 2 items" in said and "] model a" not in said and "] model b: passed" in said
    stored = json.loads((packed / "results.json").read_text(encoding="utf-8"))
    stored["about"]["machine"] = "another"
    (packed / "results.json").write_text(json.dumps(stored))
    run(packed, stage)
    said = capsys.readouterr().out
    assert "device: 0 of 2 items" in said and said.count("] model") == 2


def test_another_folder_goes_on_with_what_was_packed_beside(packed, tmp_path, capsys):
    stage = [item("model a", "")], 1.0, True
    run(packed, stage)
    gpu.run(packed, tmp_path / "out", 1.0, "cpu", lambda device: [stage, ([item("model b", "")], 1.0, True)])
    assert capsys.readouterr().out.count("] model a") == 1
    assert set(recorded(tmp_path / "out")) == {"model a", "model b"} and set(recorded(packed)) == {"model a"}


def test_processes_find_what_was_packed_and_write_nowhere_else(packed, tmp_path):
    wheel(packed / "wheels", "madeup_one-1.0-py3-none-any.whl")
    (packed / "corpora" / "plays.zip").write_text("to be or")
    code = (
        "import json, os, tempfile, madeup_one; from common.data.corpora import cache_folder as cache;"
        "folders = {tempfile.gettempdir(), os.path.expanduser('~'), str(cache().parent)};"
        "text = (cache() / 'corpora' / 'plays.zip').read_text();"
        "print(madeup_one.version, os.environ['BOOK_DEVICE'], text, len(folders)); exit(1)"
    )
    run(packed, ([item("model a", code)], 1.0, True))
    assert recorded(packed)["model a"][2] == "1.0 cpu to be or 1"


ENDLESS = """
import sys
sys.path.insert(0, {tools!r})
import gpu
wait = "import os, time; open({pid!r}, 'w').write(str(os.getpid())); time.sleep(60)"
codes = {{"model a": "", "model b": wait}}
items = [gpu.Item(name, [sys.executable, "-c", code], []) for name, code in codes.items()]
run = gpu.run
gpu.run = lambda *given: run(*given, lambda device: [(items, 1.0, False)])
sys.exit(gpu.main(["run", "--device", "cpu", "--folder", {packed!r}]))
"""


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_ends_what_runs_and_keeps_what_is_recorded(how, packed, tmp_path):
    pid = tmp_path / "pid"
    code = ENDLESS.format(tools=str(ROOT / "tools"), pid=str(pid), packed=str(packed))
    piped = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
    process, until = subprocess.Popen([sys.executable, "-c", code], **piped), time.monotonic() + 60
    while not pid.exists() or not pid.read_text():
        assert time.monotonic() < until and process.poll() is None
        time.sleep(0.1)
    process.send_signal(how)
    assert process.communicate(timeout=30)[1] == "stopped; the same command goes on\n"
    assert process.returncode == 130
    assert {name: entry[0] for name, entry in recorded(packed).items()} == {"model a": "passed"}
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)


def test_bad_input_is_one_line(packed, tmp_path, capsys, monkeypatch):
    def error(*arguments):
        assert gpu.main(["run", "--minutes", "0.01", *arguments]) == 2
        said = capsys.readouterr()
        assert said.out == "" and said.err.count("\n") == 1
        return said.err

    folder = ("--folder", str(packed))
    assert error("--folder", str(tmp_path / "none")) == (
        f"error: expected a folder that `tools/gpu.py pack` filled, got {tmp_path / 'none'}\n"
    )
    assert "device 'cuda:99' cannot be used here" in error(*folder, "--device", "cuda:99")
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: False)
    assert error(*folder) == (
        "error: expected a GPU, and a Python with PyTorch: neither CUDA nor MPS answers here; "
        "DEVICE=cpu tries everything in small\n"
    )
    assert "minutes above 0, got 0" in error(*folder, "--device", "cpu", "--minutes", "0")
    for text, wrong in (
        ('{"items": ', "not JSON"), ("[]", "expected a JSON object, got list"),
        ('{"about": {}}', "expected what `tools/gpu.py run` wrote, got something else"),
        ('{"about": {}, "code": "a", "items": {"model a": 3}}', "something else"),
        ('{"about": {}, "code": "a", "items": [1, 2]}', "something else"),
        ('{"about": {}, "code": "a", "items": {"model a": {}}}', "something else"),
    ):  # fmt: skip
        (packed / "results.json").write_text(text)
        said = error(*folder, "--device", "cpu")
        assert said.startswith(f"error: {packed / 'results.json'}: ") and wrong in said, text
        assert (packed / "results.json").read_text() == text
    (packed / "wheels" / "madeup_one-1.0-py3-none-any.whl").write_text("half")
    assert error(*folder) == "error: File is not a zip file\n"


# ---- the real items --------------------------------------------------------------


def test_the_plan_has_everything_and_the_longest_notebook_first():
    stages = gpu.plan("cuda")
    models, benched, tests, books = ([item.name for item in items] for items, _, _ in stages)
    assert set(models) == {f"model {name}" for name in MODELS} - {"model sentences"}
    assert benched[:2] == ["bench scaled", "bench hierarchical"] and not stages[1][2]
    assert set(benched) == {f"bench {name}" for name in FAMILIES}
    assert tests == ["tests test_device", "tests test_second_device"]
    assert books[0] == "notebook wavenet/06_scaling_up"
    paths = [path.relative_to(ROOT / "book").with_suffix("") for path in notebooks.find_notebooks()]
    assert set(books) == {f"notebook {path.as_posix()}" for path in paths}
    assert all(path.is_file() for items, _, _ in stages for item in items for path in item.files)
    for few, everything in zip(gpu.plan("cpu"), stages, strict=True):
        assert 0 < len(few[0]) <= len(everything[0])


def test_models_are_held_to_the_cpu(monkeypatch):
    monkeypatch.setattr(fast, "make_loop", fast.PlainLoop)
    found = gpu.model("cpu", "mlp")
    assert found["wrong"] == [] and found["differ"] == {"loss": 0.0, "samples": 0, "steps": 0.0}
    assert 2.0 < found["loss"] < 2.2 and len(found["samples"]) == 20


class OtherLoop(fast.PlainLoop):
    def steps(self, start, stop):
        return super().steps(start, stop) + 0.02


OTHERS = {  # what differs on the device: where it is, what it gives there
    "loss": (evaluate, "mean_loss", lambda *arguments: float("nan")),
    "samples": (sampling, "sample", lambda *arguments, generator: ["x"] * 20),
    "steps": (fast, "make_loop", OtherLoop),
}


@pytest.mark.parametrize("what", OTHERS)
def test_a_model_that_differs_is_wrong(what, monkeypatch):
    monkeypatch.setattr(fast, "make_loop", fast.PlainLoop)
    module, name, other = OTHERS[what]
    given = [other] if what == "steps" else [other, getattr(module, name)]  # the first call is for the CPU
    monkeypatch.setattr(module, name, lambda *arguments, **options: given.pop()(*arguments, **options))
    assert [line.partition(" differ by ")[0] for line in gpu.model("cpu", "mlp")["wrong"]] == [what]


def test_what_is_wrong_with_a_model_is_said_and_its_numbers_stay(monkeypatch, capsys):
    monkeypatch.setattr(gpu, "model", lambda device, name: {"loss": 2.5, "wrong": ["loss differ by 0.2"]})
    assert gpu.main(["work", "model", "cuda", "mlp"]) == 1
    entry = gpu.entry_of(1, capsys.readouterr().out, 2.0)
    assert entry["error"] == "error: loss differ by 0.2" and entry["result"]["loss"] == 2.5


def test_the_benchmark_is_that_of_the_book(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import bench

    def main(arguments):
        options = dict(zip(arguments[::2], arguments[1::2], strict=True))
        Path(options.pop("--json")).write_text(json.dumps(options))
        return 0

    monkeypatch.setattr(bench, "main", main)
    assert gpu.bench("cuda", "gru") == {
        "--device": "cuda", "--models": "gru", "--seeds": "64", "--rounds": "2", "--seconds": "1"
    }  # fmt: skip
    monkeypatch.setattr(bench, "main", lambda arguments: 2)
    with pytest.raises(SystemExit):
        gpu.bench("cuda", "gru")


# ---- at home ---------------------------------------------------------------------


def record(device="cuda"):
    costs = json.loads((ROOT / "benchmarks" / "cpu.json").read_text(encoding="utf-8"))
    one = {key: costs[key] for key in ("cores", "seeds", "seconds", "rounds")}
    models = {name: costs["models"][name] for name in ("scaled", "mlp")}
    bench = [one | {"models": {name: entry}, "families": {}, "growth": {}} for name, entry in models.items()]
    entries = {
        "model mlp": ("passed", {"differ": {"loss": 2e-6, "samples": 1, "steps": 3e-5}}),
        "model flat": ("passed", {"differ": {"loss": 1e-6, "samples": 0, "steps": 2e-5}}),
        "model gru": ("failed", {}),
        "bench scaled": ("passed", bench[0]), "bench mlp": ("passed", bench[1]), "bench gru": ("stopped", {}),
        "tests test_device": ("failed", {"passed": 130, "failed": 2}),
        "tests test_second_device": ("passed", {"passed": 9}),
        "notebook wavenet/06_scaling_up": ("passed", {"passed": 30}), "notebook tensors": ("stopped", {}),
    }  # fmt: skip
    items = {
        name: {"outcome": outcome, "seconds": 61.2, "result": result, "code": "abc"}
        | ({"error": "it went wrong"} if outcome == "failed" else {})
        for name, (outcome, result) in entries.items()
    }
    about = {
        "commit": "123abc",
        "date": "2027-01-02",
        "machine": "NVIDIA X",
        "device": device,
        "torch": "2.11.0",
    }
    return {"about": about, "code": "abc", "items": items}


@pytest.fixture
def house(tmp_path, monkeypatch):
    """The pages that a run is shown in, of benchmarks/README.md only what is about a GPU; and the costs."""
    for file in ("benchmarks/README.md", "book/costs.md", "book/_toc.yml", "data/costs.json"):
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).write_bytes((ROOT / file).read_bytes())
    page = tmp_path / "benchmarks" / "README.md"
    section = page.read_text(encoding="utf-8").partition("## On a GPU")[2].partition("\n## ")[0]
    for begin in ("<!-- gpu cuda -->", "<!-- gpu mps -->"):  # as before any was measured
        head, _, rest = section.partition(begin)
        section = f"{head}{begin}\n<!-- end of gpu -->{rest.partition('<!-- end of gpu -->')[2]}"
    page.write_text(f"Said before. No GPU has been measured yet.\n{section}", encoding="utf-8")
    costs = json.loads((tmp_path / "data" / "costs.json").read_text(encoding="utf-8"))
    costs = {name: {"cpu": places["cpu"]} for name, places in costs.items()}
    (tmp_path / "data" / "costs.json").write_text(json.dumps(costs))
    monkeypatch.setattr(gpu, "ROOT", tmp_path)
    monkeypatch.setattr(tables, "ROOT", tmp_path)
    monkeypatch.setattr(results, "COSTS", tmp_path / "benchmarks")
    monkeypatch.setattr(notebooks, "COSTS", tmp_path / "data" / "costs.json")
    monkeypatch.setattr(notebooks.costs, "__defaults__", (notebooks.COSTS,))
    return tmp_path


def show(house, found):
    (house / "results.json").write_text(json.dumps(found))
    code = gpu.main(["show", str(house)])
    return code, (house / "benchmarks" / "README.md").read_text(encoding="utf-8")


def test_what_was_found_stands_in_the_pages_with_where_it_comes_from(house):
    code, page = show(house, record())
    assert code == 0
    block = page.partition("<!-- gpu cuda -->")[2].partition("<!-- end of gpu -->")[0]
    assert (
        "| batch 32 | tree, scaled up | 3 characters, flat |" in block and "| plain loop, steps/s |" in block
    )
    for text in (
        "2 models agree with the CPU, 1 do not; at most losses differ by 2e-06, those of 20 fast steps by "
        "3e-05, and 1 of 20 names that are drawn. ", "139 tests passed on the device, 2 failed. ",
        "1 notebooks gave their stored outputs, 0 did not. ",
        "Failed: `model gru` (it went wrong), `tests test_device` (it went wrong). ",
        "Measured on 2027-01-02, commit `123abc`, NVIDIA X, torch 2.11.0.",
    ):  # fmt: skip
        assert text in block
    costs = (house / "book" / "costs.md").read_text(encoding="utf-8")
    row = next(line for line in costs.splitlines() if "(wavenet/06_scaling_up.ipynb)" in line)
    assert row.endswith("| 1.0 |") and "NVIDIA X (2027-01-02)" in costs
    assert "No GPU has been measured yet" not in page + costs
    stored = json.loads((house / "benchmarks" / "cuda.json").read_text(encoding="utf-8"))
    assert set(stored["models"]) == {"scaled", "mlp"} and stored["machine"] == "NVIDIA X"
    assert stored["gpu"]["items"] == record()["items"]
    assert show(house, record()) == (0, page)


def test_a_second_device_has_a_place_of_its_own_and_without_a_benchmark_there_is_no_table(house):
    found = record("mps")
    found["items"] = {name: entry for name, entry in found["items"].items() if not name.startswith("bench")}
    code, page = show(house, found)
    block = page.partition("<!-- gpu mps -->")[2].partition("<!-- end of gpu -->")[0]
    assert code == 0 and "Measured on" in block and "<!-- bench" not in block
    assert "<!-- gpu cuda -->\n<!-- end of gpu -->" in page


def test_a_copy_without_git_has_the_commit_of_the_same_code(house, monkeypatch):
    monkeypatch.setattr("common.runs.provenance.commit", lambda: "456def")
    monkeypatch.setattr(gpu, "code_of", lambda paths: "abc")
    found = record()
    found["about"]["commit"] = "unknown"
    assert "commit `456def`" in show(house, found)[1]
    found["code"] = "other"
    assert "commit `unknown`" in show(house, found)[1]


def test_what_the_cpu_stood_in_for_is_stored_nowhere(house, capsys):
    before = {path: path.read_bytes() for path in house.rglob("*") if path.is_file()}
    code, _ = show(house, record("cpu"))
    assert code == 2 and capsys.readouterr().err == (
        "error: expected the results of a GPU, got those of the CPU: nothing is stored\n"
    )
    (house / "results.json").unlink()
    assert {path: path.read_bytes() for path in house.rglob("*") if path.is_file()} == before


def test_where_there_is_nothing_to_show_one_line_says_so(house, capsys):
    assert gpu.main(["show", str(house)]) == 2
    assert "results.json: no such file; expected what `tools/gpu.py run` wrote" in capsys.readouterr().err
    page = house / "benchmarks" / "README.md"
    whole = page.read_text(encoding="utf-8")
    page.write_text("nothing\n")
    assert show(house, record()) == (2, "nothing\n")
    assert "expected '<!-- gpu cuda -->', and '<!-- end of gpu -->' after it" in capsys.readouterr().err
    assert not (house / "benchmarks" / "cuda.json").exists()
    page.write_text(f"{whole}<!-- generation -->\n", encoding="utf-8")
    assert show(house, record())[0] == 2 and "is not followed by" in capsys.readouterr().err


# ---- the command -----------------------------------------------------------------


def made(*arguments, cwd=ROOT):
    """The lines that make would run, also where make runs these tests itself."""
    given = ("MAKEFLAGS", "MAKELEVEL", "DEVICE", "MINUTES", "PACK", "PYTHON")
    clean = {name: value for name, value in os.environ.items() if name not in given}
    command = ["make", "-n", *arguments]
    done = subprocess.run(command, cwd=cwd, env=clean, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def test_make_packs_first_and_does_without_a_virtual_environment(tmp_path):
    (tmp_path / "Makefile").write_bytes((ROOT / "Makefile").read_bytes())
    pack = "[ -e build/gpu/packed.json ] || {0} tools/gpu.py pack"
    lines = [line.strip() for line in made("gpu", "PYTHON=python3.12", cwd=tmp_path)]
    assert lines == [pack.format("python3.12"), "python3.12 tools/gpu.py run --minutes 10"]
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv" / ".project").write_text(str(tmp_path))
    lines = [line.strip() for line in made("gpu", "DEVICE=mps", "MINUTES=3", cwd=tmp_path)]
    assert lines == [
        pack.format(".venv/bin/python"),
        ".venv/bin/python tools/gpu.py run --minutes 3 --device mps",
    ]
    lines = [line.strip() for line in made("gpu", "PACK=3.13", cwd=tmp_path)]
    assert [line for line in lines if line] == [".venv/bin/python tools/gpu.py pack --python 3.13"]


def test_the_module_that_runs_needs_nothing_that_is_packed(tmp_path):
    """On a machine with PyTorch alone the first import must not fail: the standard library is enough."""
    code = f"import sys; sys.path.insert(0, {str(ROOT / 'tools')!r}); import gpu; print(gpu.__doc__)"
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    done = subprocess.run(
        [sys.executable, "-I", "-S", ROOT / "tools" / "gpu.py", "run", "--folder", tmp_path],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2 and done.stderr.startswith("error: expected a folder that")
    for part in ("wheels", "corpora"):
        (tmp_path / part).mkdir()
    (Path(tmp_path) / "packed.json").write_text("[]")
    done = subprocess.run(
        [sys.executable, "-I", "-S", ROOT / "tools" / "gpu.py", "run", "--folder", tmp_path],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert "error: expected a GPU, and a Python with PyTorch: No module named" in done.stderr
