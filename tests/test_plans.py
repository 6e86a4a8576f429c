"""The plans of what is stored, and their runner: what was planned is what is stored, and nothing is lost."""

import json
import math
import os
import re
import shutil
import sys
from concurrent.futures import Future
from dataclasses import asdict
from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from common.data import load_names, split_names
from common.evaluate import loss_by_position, spread, token_losses
from common.models import MODELS, count_parameters, tagged
from common.pages import results as results_module
from common.pages.results import stored_results
from common.runs import Run
from common.runs import command as command_line
from common.runs import run as train_run
from common.runs.folder import load_model
from common.runs.provenance import ROOT
from common.runs.sizes import build_model, checked_sizes
from common.runs.sweep import Sweep
from common.train import Config

sys.path.insert(0, str(ROOT / "tools"))
import collect  # noqa: E402
import experiments as runner  # noqa: E402
import tables  # noqa: E402

PLANS = {path.stem: runner.read_plan(path.stem) for path in sorted(runner.PLANS.glob("*.json"))}
CHALLENGE = PLANS["challenge"]["entries"]
NAMES = load_names()[:2_000]
BUDGET = 76_579
LARGE = {"very-large-flat", "teachers", "open"}


def read(path):
    return json.loads(path.read_text(encoding="utf-8"))


# ---- what is stored is what was planned ------------------------------------------


def recorded():
    """(plan, entry's key, what is stored of its settings) of all that is stored."""
    for name in ("shipped", "lecture", "distinct"):
        stored = stored_results(name)
        for key, entry in stored["models"].items():
            yield (
                "distinct" if name == "distinct" else "lecture",
                key,
                stored | entry | {"model": key, "sizes": {}, "list": name},
            )
    stored = stored_results("blocks")
    for key, entry in stored["variants"].items():
        yield "blocks", key, stored | entry
    for name, entries in stored_results("challenge").items():
        for key, entry in entries.items():
            yield "challenge", key, entry | {"list": name}
    for name, entries in stored_results("reseeded").items():
        for key, entry in entries.items():
            yield "reseeded", key, entry | {"list": name, "sizes": {}}
    sweep = stored_results("sweep")
    yield "sweep", "search", sweep["sweep"]["run"]
    about = {key: sweep["sweep"]["run"][key] for key in ("model", "sizes", "training")}
    yield "sweep", "before", about | {"runs": sweep["again"]["default"]["runs"]}


@pytest.mark.parametrize(
    "plan, key, stored", list(recorded()), ids=lambda value: value if type(value) is str else ""
)
def test_a_stored_entry_has_the_settings_of_its_plan(plan, key, stored):
    entry = PLANS[plan]["entries"][key]
    assert stored["model"] == entry["model"]
    recipe = MODELS[entry["model"]]
    assert checked_sizes(recipe, stored["sizes"]) == checked_sizes(recipe, entry["sizes"])
    planned = json.loads(json.dumps(asdict(Config(**entry["config"]))))
    assert stored["training"] == {name: planned[name] for name in stored["training"]}
    assert planned == json.loads(json.dumps(asdict(Config()))) | stored["training"]
    seeds = [run["seed"] for run in stored["runs"]] if "runs" in stored else stored["seeds"]
    assert seeds == entry["seeds"]
    assert stored.get("list", "shipped") in entry["lists"]
    for run in stored.get("runs", []):
        if "parameters" in run:
            assert run["parameters"] == count_parameters(build_model(recipe, 27, entry["sizes"]))
    if "curve" in stored:
        assert stored["curve"]["steps"][0] == entry["evaluate_every"]


def test_what_is_stored_is_all_that_was_planned():
    found = {plan: set() for plan in PLANS}
    for plan, key, stored in recorded():
        found[plan].add((stored.get("list", "shipped"), key))
    for plan in ("lecture", "distinct", "blocks", "challenge", "reseeded"):
        entries = PLANS[plan]["entries"].items()
        assert found[plan] == {(name, key) for key, entry in entries for name in entry["lists"]}


def test_the_optimisers_are_those_of_the_plan():
    stored, entries = stored_results("optimizers"), PLANS["optimizers"]["entries"]
    planned = {"rates": {}, "schedules": {}}
    for key, entry in entries.items():
        config = Config(**entry["config"])
        assert (entry["model"], entry["seeds"]) == (stored["model"], stored["seeds"])
        assert (config.steps, config.batch_size) == (stored["steps"], stored["batch_size"])
        decay = stored["weight_decay of adamw"] * (config.optimizer == "adamw")
        assert config.weight_decay == decay
        if entry["group"] == "rates":
            planned["rates"].setdefault(config.optimizer, []).append(f"{config.lr:g}")
            assert config == Config(
                steps=config.steps, lr=config.lr, optimizer=config.optimizer, weight_decay=decay,
                schedule="constant",
            )  # fmt: skip
        elif "of" in entry:
            averaged = entries[entry["of"]]["config"] | {"ema_decay": stored["schedules"]["average"]}
            assert entry["config"] == averaged
        else:
            planned["schedules"][key] = config
            name, _, rate = key.rpartition(" at ")
            assert (config.schedule, config.lr) == (name.partition(",")[0], float(rate))
            assert (config.warmup > 0) == ("warm-up" in name)
    assert planned["rates"] == {name: list(rates) for name, rates in stored["rates"].items()}
    assert list(planned["schedules"]) == list(stored["schedules"]["runs"])
    means = {float(lr): spread(one["val"]).mean for lr, one in stored["rates"]["adamw"].items()}
    best = min(means, key=means.get)
    assert stored["schedules"]["lr"] == best
    assert {config.lr for config in planned["schedules"].values()} == {best, 10 * best}
    averages = {entry["of"] for entry in entries.values() if "of" in entry}
    assert averages == set(planned["schedules"])


def test_the_optimisers_are_trained_again_at_the_rates_that_were_chosen_by_other_seeds():
    stored, entries = stored_results("optimizers"), PLANS["reseeded"]["entries"]
    assert list(entries) == list(stored["rates"])
    for name, rates in stored["rates"].items():
        best = min(rates, key=lambda lr, rates=rates: spread(rates[lr]["val"]).mean)
        chosen = PLANS["optimizers"]["entries"][f"{name} at {best}"]
        assert Config(**entries[name]["config"]) == Config(**chosen["config"])
        assert not set(entries[name]["seeds"]) & set(stored["seeds"])


def test_the_sweep_is_that_of_the_plan():
    stored, entries = stored_results("sweep"), PLANS["sweep"]["entries"]
    search, again = entries["search"], entries["again"]
    for key in ("space", "trials", "scheduler"):
        assert stored["sweep"][key] == search[key]
    every = Sweep.from_json(stored["sweep"]).evaluate_every
    assert every == search["evaluate_every"] == again["evaluate_every"]
    assert stored["again"]["seeds"] == again["seeds"] and len(stored["again"]["runs"]) == again["count"]


def built(entry):
    return build_model(MODELS[entry["model"]], 27, entry["sizes"])


@pytest.mark.parametrize("key", CHALLENGE)
def test_a_run_stays_within_its_league(key):
    parameters = count_parameters(built(CHALLENGE[key]))
    assert (parameters > BUDGET) == (key in LARGE)


@pytest.mark.parametrize("key", tagged("winner"))
def test_the_winners_of_the_playground_are_those_of_the_plan(key):
    planned = built(CHALLENGE[key]).state_dict()
    assert {name: t.shape for name, t in MODELS[key].build().state_dict().items()} == {
        name: t.shape for name, t in planned.items()
    }


def test_the_test_split_is_open_where_the_plan_says_so():
    for runs in stored_results("challenge").values():
        for key, entry in runs.items():
            opened = ["test" in run for run in entry["runs"]]
            assert opened == [CHALLENGE[key].get("final", False)] * len(opened)


@pytest.mark.parametrize("key", CHALLENGE)
def test_the_arguments_of_an_entry_are_those_that_are_stored_and_make_its_run(key):
    said = collect.arguments(CHALLENGE[key])
    assert all(runs[key]["arguments"] == said for runs in stored_results("challenge").values() if key in runs)
    options = command_line.parser().parse_args(["train", *said, "--out", "x"])
    run = command_line.run_of(options)
    assert (run.model, run.config) == (CHALLENGE[key]["model"], Config(**CHALLENGE[key]["config"]))
    assert dict(run.sizes) == checked_sizes(MODELS[run.model], CHALLENGE[key]["sizes"])
    assert options.evaluate_every == CHALLENGE[key]["evaluate_every"]


# ---- the runner ------------------------------------------------------------------


class Here:
    """A pool that runs what it is given in this process, at once."""

    def __init__(self, *how, **more):
        pass

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass

    def submit(self, work, *arguments):
        future = Future()
        try:
            future.set_result(work(*arguments))
        except Exception as error:
            future.set_exception(error)
        return future


@pytest.fixture
def house(tmp_path, monkeypatch):
    """A house with a short list in the place of the shipped one, plans and pages of its own."""
    (tmp_path / "short.txt").write_text("\n".join(NAMES[:300]) + "\n", encoding="utf-8")
    monkeypatch.setattr(runner, "SHIPPED_NAMES", tmp_path / "short.txt")
    results = tmp_path / "data" / "results"
    for module in (results_module, collect, tables):
        monkeypatch.setattr(module, "RESULTS", results)
    monkeypatch.setattr(collect, "PRETRAINED", tmp_path / "data" / "models")
    for module in (collect, tables):
        monkeypatch.setattr(module, "ROOT", tmp_path)
    monkeypatch.setattr(runner, "PLANS", tmp_path / "plans")
    monkeypatch.setattr(runner, "RUNS", tmp_path / "runs")
    monkeypatch.setattr(runner, "pool", Here)
    monkeypatch.setattr(runner, "run", partial(train_run, compile=False))
    (tmp_path / "plans").mkdir()
    results.mkdir(parents=True)
    text = "above\n<!-- results shipped -->\nold\n<!-- end of results -->\nbelow\n"
    (tmp_path / "README.md").write_text(text, encoding="utf-8")
    return tmp_path


def planned(house, plan, name="tiny"):
    (house / "plans" / f"{name}.json").write_text(json.dumps(plan), encoding="utf-8")


def execute(*arguments):
    return runner.main([str(argument) for argument in arguments])


def refused(capsys, *arguments):
    capsys.readouterr()
    assert execute(*arguments) == 2
    *above, line = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ") and not any("Traceback" in other for other in above)
    return line


def everything(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


SMALL = {"n_embd": 4, "n_hidden": 6}
TINY = {
    "layout": "lists",
    "collect": ["model", "losses", "together"],
    "shared": {
        "model": "dilated", "sizes": SMALL, "config": {"steps": 4, "batch_size": 8}, "seeds": [0, 1],
        "side_by_side": False,
    },
    "entries": {"pupil": {"teachers": "one", "config": {"distill": 1.0}}, "one": {"final": True}},
}  # fmt: skip


def changed(**more):
    """The tiny plan with another "one"."""
    return TINY | {"entries": TINY["entries"] | {"one": TINY["entries"]["one"] | more}}


@pytest.fixture
def trained(house, monkeypatch):
    """The folders that are trained into, in their order."""
    planned(house, TINY)
    begun, real = [], runner.run

    def run(what, folder, **how):
        begun.append(Path(folder).relative_to(house / "runs" / "tiny" / "shipped").as_posix())
        return real(what, folder, **how)

    monkeypatch.setattr(runner, "run", run)
    return begun


def test_teachers_are_trained_first_and_a_finished_run_never_again(house, trained):
    for _ in range(2):
        assert execute("tiny") == 0
    assert trained == ["one/0", "one/1", "pupil/0", "pupil/1"]
    assert read(house / "runs" / "tiny" / "shipped" / "pupil" / "0" / "results.json")["teachers"]
    stored = read(house / "data" / "results" / "tiny.json")["shipped"]
    assert set(stored) == {"pupil", "one"}
    assert [run["seed"] for run in stored["one"]["runs"]] == [0, 1]
    assert not any("test" in run for entry in stored.values() for run in entry["runs"])


@pytest.mark.parametrize(
    "more, message",
    [
        ({"config": {"lr": 0.2}}, "differs from the plan in training"),
        ({"sizes": {"n_hidden": 8}}, "differs from the plan in sizes"),
        ({"evaluate_every": 2}, "differs from the plan in curve"),
        ({"side_by_side": True}, None),
    ],
    ids=str,
)
def test_a_finished_run_of_another_plan_is_not_taken(house, trained, capsys, more, message):
    assert execute("tiny", "--only", "one") == 0
    planned(house, changed(**more))
    before = everything(house)
    if message:
        assert f"{message}; move it away" in refused(capsys, "tiny", "--only", "one")
        assert everything(house) == before and len(trained) == 2
    else:
        assert execute("tiny", "--only", "one") == 0 and trained[2:] == ["one"]


def test_a_finished_run_on_another_list_is_not_taken(house, trained, capsys):
    assert execute("tiny", "--only", "one") == 0
    (house / "short.txt").write_text("\n".join(NAMES[300:600]) + "\n", encoding="utf-8")
    assert "differs from the plan in names; move it away" in refused(capsys, "tiny", "--only", "one")


def test_a_pupil_learns_from_no_teacher_of_another_plan(house, trained, capsys):
    assert "one" in refused(capsys, "tiny", "--only", "pupil") and not trained
    assert execute("tiny", "--only", "one") == 0
    planned(house, changed(config={"lr": 0.2}))
    line = refused(capsys, "tiny", "--only", "pupil")
    assert re.search(r"one.*differs from the plan in training", line)
    planned(house, TINY)
    assert execute("tiny", "--only", "pupil") == 0
    assert trained == ["one/0", "one/1", "pupil/0", "pupil/1"]
    assert set(read(house / "data" / "results" / "tiny.json")["shipped"]) == {"one", "pupil"}


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["tiny", "--list", "lecture"], "expected keys of tiny for lecture"),
        (["lecture", "--list", "lecture"], "lecture needs --names"),
        (["lecture", "--list", "lecture", "--names", "other.txt"], "other.txt is not the list"),
        (["tiny", "--names", "other.txt"], "other.txt is not the list"),
        (["tiny", "--names", "nowhere.txt"], "nowhere.txt is not the list"),
        (["tiny", "--workers", "0"], "at least 1 worker, got 0"),
        (["tiny", "--only", "nothing"], "expected keys"),
        (["fly"], "expected the name of a plan among lecture, tiny, got 'fly'"),
    ],
    ids=str,
)
def test_bad_arguments_train_nothing_and_end_in_one_line(
    house, trained, monkeypatch, capsys, arguments, message
):
    planned(house, PLANS["lecture"], "lecture")
    shutil.copy(ROOT / "data" / "results" / "lecture.json", house / "data" / "results")
    (house / "other.txt").write_text("emma\nava\n", encoding="utf-8")
    monkeypatch.chdir(house)
    before = everything(house)
    assert message in refused(capsys, *arguments)
    assert not trained and everything(house) == before


@pytest.mark.parametrize("workers", [1, 2])
def test_when_a_run_fails_what_has_not_begun_stays_so(house, monkeypatch, capsys, workers):
    """Two workers: the second run goes on while the first fails, and the third does not begin."""
    begun = []

    class Pool(Here):
        def submit(self, work, job):
            begun.append(job.folder.name)
            future = Future()
            if len(begun) == workers:  # by now as many as may run are running
                future.set_exception(ValueError(f"{job.folder}: no space"))
            return future

    monkeypatch.setattr(runner, "pool", Pool)
    planned(house, TINY | {"entries": {"one": {"seeds": [0, 1, 2, 3]}}})
    assert "no space" in refused(capsys, "tiny", "--workers", workers)
    assert begun == ["0", "1"][:workers]
    assert not (house / "data" / "results" / "tiny.json").exists()


def test_several_processes_train_and_tell_what_went_wrong_in_a_line(house, monkeypatch, capsys):
    monkeypatch.undo()  # a process of a pool has nothing of what is replaced here
    run = Run("dilated", Config(steps=4, batch_size=8), SMALL, data=house / "short.txt")
    wrong = run.changed(batch_size=1)
    jobs = [
        runner.Job(one, house / name, 0, ("val",)) for name, one in (("a", run), ("b", run), ("c", wrong))
    ]
    runner.train_all(jobs[:2], 2)
    a, b = (load_file(house / name / "model-0.safetensors") for name in "ab")
    assert all(torch.equal(a[name], b[name]) for name in a)
    jobs[2] = jobs[2]._replace(run=run.changed(lr=1e30, schedule="constant", steps=400))
    with pytest.raises(ValueError, match=r"c: seed 0 diverged"):
        runner.train_all(jobs, 2)


def test_opened_test_losses_are_kept_where_the_runs_are_the_same(house, trained):
    assert execute("tiny", "--final") == 0
    stored = read(house / "data" / "results" / "tiny.json")["shipped"]
    assert all("test" in run for run in stored["one"]["runs"]) and "test" in stored["one"]["together"]
    assert not any("test" in run for run in stored["pupil"]["runs"])
    assert execute("tiny") == 0
    assert read(house / "data" / "results" / "tiny.json")["shipped"] == stored
    models = [load_model(house / "runs" / "tiny" / "shipped" / "one" / str(seed), seed) for seed in (0, 1)]
    what = Run("dilated", sizes=SMALL, data=house / "short.txt")
    x, y = what.load(torch.device("cpu")).splits["test"]
    for model, run in zip(models, stored["one"]["runs"], strict=True):
        assert run["test"] == pytest.approx(token_losses(model, x, y).mean().item(), abs=1e-5)


def test_other_runs_have_their_own_test_losses():
    runs = [{"seed": 0, "val": 2.0, "test": 2.1}]
    before = {"runs": runs, "together": {"val": 1.9, "test": 2.0}}
    same = {"runs": [{"seed": 0, "val": 2.0}], "together": {"val": 1.9}, "title": "new"}
    other = {"runs": [{"seed": 0, "val": 2.2}], "together": {"val": 2.1}}
    assert collect.with_what_was_opened(same, before) == before | {"title": "new"}
    assert collect.with_what_was_opened(other, before) == other
    assert collect.with_what_was_opened(other, {}) == other


# ---- what is stored has the form of what was stored before -----------------------


def cut(name, keys=None, **shared):
    """A plan of the book with smaller runs, and some of its entries."""
    plan = read(ROOT / "data" / "plans" / f"{name}.json")
    plan["entries"] = {key: entry for key, entry in plan["entries"].items() if keys is None or key in keys}
    for entry in plan["entries"].values():
        for key in set(shared) - {"config"}:
            entry.pop(key, None)
        entry["config"] = entry.get("config", {}) | shared.get("config", {})
    config = plan["shared"].get("config", {}) | shared.get("config", {})
    plan["shared"] |= shared | {"config": config}
    return plan


def unlike(stored, made, at="") -> list[str]:
    """Where keys or kinds of two values differ. Sizes and the fields of a training have come and gone."""
    if isinstance(stored, dict) and isinstance(made, dict):
        if at.endswith(("/training", "/sizes", "/config", "/params")):
            return []
        found = [f"{at}: {key}" for key in stored.keys() ^ made.keys()]
        both = [key for key in stored if key in made]
        return found + [line for key in both for line in unlike(stored[key], made[key], f"{at}/{key}")]
    if isinstance(stored, list) and isinstance(made, list):
        return unlike(stored[0], made[0], f"{at}[]") if stored and made else []
    kinds = [float if type(value) is int else type(value) for value in (stored, made)]
    return [] if kinds[0] == kinds[1] else [f"{at}: {kinds[0]} and {kinds[1]}"]


def some_of(stored, keys):
    return {key: stored[key] for key in keys}


def test_the_models_are_stored_as_before(house, capsys):
    planned(house, cut("lecture", config={"steps": 2}, seeds=[0, 1]), "lecture")
    shutil.copy(ROOT / "data" / "results" / "blocks.json", house / "data" / "results")
    assert execute("lecture") == 0
    made = read(house / "data" / "results" / "shipped.json")
    before = read(ROOT / "data" / "results" / "shipped.json")
    assert unlike(before, made) == [] and list(made["models"]) == list(tagged("lecture"))
    runs = house / "runs" / "lecture" / "shipped"
    for key, entry in made["models"].items():
        report = read(runs / key / "results.json")
        assert (entry["runs"], entry["provenance"]) == (report["runs"], report["provenance"])
        models = [load_model(runs / key, seed) for seed in (0, 1)]
        what = Run(key, data=house / "short.txt")
        x, y = what.load(torch.device("cpu")).splits["val"]
        losses = sum(token_losses(model, x, y) for model in models) / 2
        val = split_names(load_names(house / "short.txt")).val
        assert entry["val_by_position"] == pytest.approx(loss_by_position(losses, val), abs=1e-4)
        capsys.readouterr()
        assert command_line.main(["sample", "--run", str(runs / key), "--seed", "1"]) == 0
        assert entry["samples"] == capsys.readouterr().out.splitlines()
        published = load_file(house / "data" / "models" / f"{key}.safetensors")
        tensors = models[0].state_dict()
        assert published.keys() == tensors.keys()
        assert all(torch.equal(published[name], tensors[name]) for name in published)
        history = load_file(runs / key / "history.safetensors")["losses"].double()
        curve = entry["training_curve"]
        assert curve["window"] == 1 and curve["mean"] == pytest.approx(history.mean(0).tolist(), abs=1e-4)
        assert curve["sd"] == pytest.approx(history.std(0).tolist(), abs=1e-4)
    assert (house / "book" / "images" / "road.png").read_bytes().startswith(b"\x89PNG")
    row = next(line for line in (house / "README.md").read_text().splitlines() if MODELS["mlp"].title in line)
    assert str(spread(run["val"] for run in made["models"]["mlp"]["runs"])) in row


def test_the_ablation_is_stored_as_before(house):
    small = {"n_channels": 4, "n_skip": 4, "dilations": [1, 2]}
    plan = cut("blocks", ["all", "no-gate"], config={"steps": 4, "batch_size": 8}, seeds=[0, 1], sizes=small)
    plan["entries"]["no-gate"]["sizes"] = small | {"gate": False}
    planned(house, plan, "blocks")
    assert execute("blocks") == 0
    made = read(house / "data" / "results" / "blocks.json")
    before = read(ROOT / "data" / "results" / "blocks.json")
    before["variants"] = some_of(before["variants"], ["all", "no-gate"])
    assert unlike(before, made) == []
    assert not (house / "data" / "models").exists(), "an ablation publishes no model"
    val = split_names(load_names(house / "short.txt")).val
    places = [sum(len(name) >= t for name in val) for t in range(max(map(len, val)) + 1)]
    for entry in made["variants"].values():
        for run, by_position in zip(entry["runs"], entry["val_by_position"], strict=True):
            mean = sum(n * loss for n, loss in zip(places, by_position, strict=True)) / sum(places)
            assert mean == pytest.approx(run["val"], abs=1e-4)
    plan["shared"]["config"]["steps"] = 6
    for entry in plan["entries"].values():
        entry["config"]["steps"] = 6
    shutil.rmtree(house / "runs")
    planned(house, plan, "blocks")
    assert execute("blocks", "--only", "all") == 2, "the other one was trained for fewer steps"
    assert read(house / "data" / "results" / "blocks.json") == made


def test_the_challenge_is_stored_as_before(house):
    config = {"steps": 4, "warmup": 1, "batch_size": 8}
    plan = cut("challenge", ["teachers", "small"], config=config, seeds=[0, 1], evaluate_every=2)
    plan["entries"]["teachers"]["sizes"] = {"cell": "gru", "n_embd": 4, "n_hidden": 6}
    plan["entries"]["small"]["sizes"] |= SMALL
    planned(house, plan, "challenge")
    assert execute("challenge", "--final") == 0
    made = read(house / "data" / "results" / "challenge.json")
    before = read(ROOT / "data" / "results" / "challenge.json")
    assert unlike({"shipped": some_of(before["shipped"], ["teachers", "small"])}, made) == []
    published = load_file(house / "data" / "models" / "small.safetensors")
    first = load_file(house / "runs" / "challenge" / "shipped" / "small" / "0" / "model-0.safetensors")
    assert all(torch.equal(published[name], first[name]) for name in published)
    assert [path.stem for path in (house / "data" / "models").iterdir()] == ["small"]


def test_the_optimisers_are_stored_as_before(house):
    keys = ["sgd at 0.1", "adamw at 0.003", "constant at 0.003", "constant at 0.003, average"]
    plan = cut("optimizers", keys, config={"steps": 100, "batch_size": 8}, seeds=[0, 1], sizes=SMALL)
    planned(house, plan, "optimizers")
    assert execute("optimizers") == 0
    made = read(house / "data" / "results" / "optimizers.json")
    before = read(ROOT / "data" / "results" / "optimizers.json")
    before["rates"] = {
        "sgd": some_of(before["rates"]["sgd"], ["0.1"]),
        "adamw": some_of(before["rates"]["adamw"], ["0.003"]),
    }
    before["schedules"]["runs"] = some_of(before["schedules"]["runs"], ["constant at 0.003"])
    assert unlike(before, made) == []
    one = made["schedules"]["runs"]["constant at 0.003"]
    assert one["val"] == made["rates"]["adamw"]["0.003"]["val"] != one["val of the average"]
    assert (made["schedules"]["lr"], made["schedules"]["average"]) == (0.003, 0.99)
    assert len(one["curve"]["mean"]) == 2 and made["steps"] == 100


def test_the_sweep_is_stored_as_before(house):
    plan = cut("sweep", config={"steps": 4, "batch_size": 8}, evaluate_every=2)
    plan["entries"]["search"] |= {
        "trials": 3,
        "space": {"lr": {"low": 0.01, "high": 0.1}, "model.n_hidden": {"choices": [4, 6]}},
    }
    plan["entries"]["again"]["count"] = 2
    planned(house, plan, "sweep")
    assert execute("sweep") == 0
    made = read(house / "data" / "results" / "sweep.json")
    before = read(ROOT / "data" / "results" / "sweep.json")
    before["sweep"]["space"] = made["sweep"]["space"]
    before["sweep"]["evaluate_every"] = before["sweep"].pop("every")  # its name then
    assert (
        made.pop("failed") == [] and made["sweep"]["run"].pop("teachers") == []
    )  # younger than what is stored
    assert unlike(before, made) == []
    best = sorted(made["trials"], key=lambda trial: trial["value"])[:2]
    assert [run["number"] for run in made["again"]["runs"]] == [trial["number"] for trial in best]
    assert [run["seed"] for run in made["again"]["runs"][0]["runs"]] == [1, 2, 3, 4]
    assert made["again"]["default"]["runs"][0]["val"] > 0 and len(made["trials"]) == 3


# ---- all of it or nothing --------------------------------------------------------


@pytest.fixture(scope="module")
def five(tmp_path_factory):
    """Finished runs of the five models on a short list, of a plan of two steps. Read only."""
    folder = tmp_path_factory.mktemp("five")
    (folder / "short.txt").write_text("\n".join(NAMES[:300]) + "\n", encoding="utf-8")
    for key in tagged("lecture"):
        run = Run(key, Config(steps=2), data=folder / "short.txt")
        train_run(run, folder / "shipped" / key, compile=False)
    return folder


@pytest.fixture
def furnished(house, five):
    """A house with results, weights and a picture from before, and finished runs."""
    planned(house, cut("lecture", config={"steps": 2}, seeds=[0]), "lecture")
    for name in ("shipped", "distinct", "blocks", "challenge"):
        shutil.copy(ROOT / "data" / "results" / f"{name}.json", house / "data" / "results")
    for rel in ("data/models/mlp.safetensors", "book/images/road.png"):
        (house / rel).parent.mkdir(parents=True, exist_ok=True)
        (house / rel).write_bytes(b"the old one")
    shutil.copytree(five / "shipped", house / "runs" / "lecture" / "shipped")
    return house


def rewritten(folder, change):
    """Apply a function to a run's results."""
    report = read(folder / "results.json")
    change(report)
    (folder / "results.json").write_text(json.dumps(report), encoding="utf-8")


DAMAGE = {
    "no test losses": (
        lambda runs: rewritten(runs / "flat", lambda report: report["runs"][0].pop("test")),
        r"flat: expected a finite test loss of seed 0, got None",
    ),
    "a loss that is no number": (
        lambda runs: rewritten(runs / "flat", lambda report: report["runs"][0].update(val=math.nan)),
        "flat.results.json: NaN is no number",
    ),
    "a model is gone": (
        lambda runs: (runs / "scaled" / "model-0.safetensors").unlink(),
        "model-0.safetensors: no such file",
    ),
    "a history is gone": (
        lambda runs: (runs / "scaled" / "history.safetensors").unlink(),
        "history.safetensors: no losses",
    ),
    "results of something else": (
        lambda runs: (runs / "mlp" / "results.json").write_text("{}", encoding="utf-8"),
        "mlp holds a run that differs from the plan in model",
    ),
    "another model": (
        lambda runs: rewritten(runs / "mlp", lambda report: report.update(model="wavenet")),
        "mlp holds a run that differs from the plan in model",
    ),
    "a model of other sizes": (
        lambda runs: rewritten(runs / "mlp", lambda report: report.update(sizes={"n_embd": 4})),
        "mlp holds a run that differs from the plan in sizes",
    ),
    "another seed": (
        lambda runs: rewritten(runs / "mlp", lambda report: report.update(seeds=[3])),
        "mlp holds a run that differs from the plan in seeds",
    ),
    "a page without its second marker": (
        lambda runs: (runs.parents[2] / "README.md").write_text("<!-- results shipped -->\n"),
        "README.md: .* is not followed by",
    ),
}  # fmt: skip


@pytest.mark.parametrize("damage, message", DAMAGE.values(), ids=DAMAGE)
def test_what_cannot_be_collected_leaves_everything_as_it_was(furnished, capsys, damage, message):
    damage(furnished / "runs" / "lecture" / "shipped")
    before = everything(furnished)
    assert re.search(message, refused(capsys, "lecture"))
    assert everything(furnished) == before


def test_a_disk_that_fails_half_way_leaves_everything_as_it_was(furnished, capsys, monkeypatch):
    before, replace, done = everything(furnished), os.replace, []

    def fails_once(source, target):
        done.extend([target] if furnished in Path(target).parents else [])
        if len(done) == 5:
            raise OSError(28, "No space left on device")
        replace(source, target)

    monkeypatch.setattr(os, "replace", fails_once)
    assert "No space left on device" in refused(capsys, "lecture")
    assert len(done) > 5 and everything(furnished) == before
    monkeypatch.setattr(os, "replace", replace)
    assert execute("lecture") == 0
    after = everything(furnished)
    new = [Path("README.md"), Path("book/images/road.png"), Path("data/results/shipped.json")]
    new += [Path(f"data/models/{key}.safetensors") for key in tagged("lecture")]
    assert {path for path in after if after[path] != before.get(path)} == set(new)
