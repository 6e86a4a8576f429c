"""Command line: python -m common train | sample | results | bench."""

import argparse
import json
import sys
import time
from dataclasses import asdict, fields
from datetime import date
from hashlib import sha256
from pathlib import Path
from string import ascii_lowercase

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from . import bench, roadmap
from . import names as names_module
from .evaluate import (
    LECTURE,
    RESULTS,
    loss_by_position,
    markdown_table,
    mean_loss,
    smooth,
    spread,
    stored_results,
    stored_spread,
    token_losses,
)
from .files import replace_file
from .models import MODELS, NETWORKS, PRETRAINED, RECIPES, count_parameters
from .provenance import ROOT, commit, machine
from .sample import sample
from .train import OPTIMIZERS, SCHEDULES, Config, device, seeded, train
from .vocabulary import Vocabulary

SPLITS = ("train", "val", "test")
CURVE_POINTS = 200
BLOCKS = "blocks"


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns the exit status. Bad input ends in one line, without a traceback."""
    options = _parser().parse_args(arguments)
    try:
        options.run(options)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\ninterrupted; the same command resumes from the last checkpoint", file=sys.stderr)
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m common", description="Train and sample the book's models."
    )
    commands = parser.add_subparsers(required=True)

    command = commands.add_parser("train", help="train one model for several seeds and write a run folder")
    command.add_argument("--model", choices=RECIPES, required=True)
    command.add_argument(
        "--set", nargs="+", type=_size, metavar="NAME=VALUE", default=[],
        help="sizes of the model, for instance n_hidden=96 dropout=0.1",
    )  # fmt: skip
    command.add_argument(
        "--names", type=Path, help="a list of your own, one name a line (default: the shipped list)"
    )
    command.add_argument("--alphabet", help='characters that a name may contain, or "any" (default: a to z)')
    command.add_argument("--distinct", action="store_true", help="use each name once")
    for field in fields(Config):
        _add_field(command, field)
    command.add_argument("--seeds", type=int, default=1, help="how many seeds")
    command.add_argument("--first-seed", type=int, default=0, help="the first of them")
    command.add_argument("--device", help="cuda, mps or cpu (default: the first of these that is there)")
    command.add_argument("--no-compile", action="store_true", help="run the plain loop")
    command.add_argument(
        "--out", type=Path, required=True, help="folder of the run; an unfinished one is resumed"
    )
    command.set_defaults(run=_train)

    command = commands.add_parser("sample", help="print names drawn from a trained run")
    command.add_argument("--run", dest="folder", type=Path, required=True, help="folder that train wrote")
    command.add_argument("--prefix", default="")
    command.add_argument("--temperature", type=float, default=1.0)
    command.add_argument("-n", "--count", type=int, default=20)
    command.add_argument("--seed", type=int, default=0, help="of the draws")
    command.add_argument("--model-seed", type=int, default=0, help="which of the run's models")
    command.set_defaults(run=_sample)

    command = commands.add_parser("results", help="collect runs into data/results and refresh the tables")
    command.add_argument(
        "--collect", nargs="+", type=Path, metavar="RUN", default=[], help="run folders of one list"
    )
    command.add_argument(
        "--name",
        choices=("shipped", "lecture", "distinct", BLOCKS),
        help=f"which list they were run on; {BLOCKS}: the ablation of chapter 8, a folder a variant",
    )
    command.add_argument("--names", type=Path, help="the list itself (default: the shipped one)")
    command.add_argument(
        "--check", action="store_true", help="fail where a table is out of date; write nothing"
    )
    command.set_defaults(run=_results)

    command = commands.add_parser("bench", help="measure the plain loop, the fast path and the floor")
    command.add_argument("--device", default="cpu", help="cpu (default), cuda or mps")
    command.add_argument("--json", type=Path, metavar="FILE", help="write the report here as well")
    command.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    command.add_argument("--seeds", type=int, help="models at once (default: 8, on a GPU 64)")
    command.add_argument("--rounds", type=int, default=3)
    command.add_argument("--seconds", type=float, default=3.0, help="of each measurement")
    command.add_argument(
        "--growth", action="store_true", help="cost against batch, width, context and seeds too"
    )
    command.add_argument("--task", type=json.loads, help=argparse.SUPPRESS)  # one measurement, for ourselves
    command.set_defaults(run=_bench)
    return parser


CHOICES = {"optimizer": OPTIMIZERS, "schedule": SCHEDULES}


def _add_field(command, field) -> None:
    """An argument for a field of `Config`."""
    flag, kind = "--" + field.name.replace("_", "-"), type(field.default)
    how = {"nargs": len(field.default), "type": float} if kind is tuple else {"type": kind}
    shown = " ".join(map(str, field.default)) if kind is tuple else field.default
    command.add_argument(
        flag, default=field.default, choices=CHOICES.get(field.name), help=f"default: {shown}", **how
    )


def _size(text: str) -> tuple[str, object]:
    """NAME=VALUE of a command line, the value read as JSON where it is some: 3, 0.1, [1, 2, 4], true."""
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise argparse.ArgumentTypeError(f"expected NAME=VALUE, got {text!r}")
    try:
        return name, json.loads(value)
    except json.JSONDecodeError:
        return name, value


def _bench(options) -> None:
    if options.task:
        print(json.dumps(bench.measure(options.task)))
        return
    place = device(options.device).type
    seeds = options.seeds or (8 if place == "cpu" else 64)
    if min(seeds, options.rounds) < 1 or not options.seconds > 0:
        raise ValueError(
            f"expected seeds and rounds of at least 1 and seconds above 0, got {seeds}, {options.rounds}, "
            f"{options.seconds}"
        )
    say = lambda text: print(text, file=sys.stderr, flush=True)  # noqa: E731
    report = bench.bench(options.models, place, options.seconds, options.rounds, seeds, say)
    if options.growth:
        report["growth"] = bench.growth(place, options.seconds / 2, options.rounds, say)
    if options.json:
        _write(options.json, report)
    print(bench.table(report))


def _train(options) -> None:
    if options.seeds < 1:
        raise ValueError(f"expected at least 1 seed, got {options.seeds}")
    config = Config(**{field.name: getattr(options, field.name) for field in fields(Config)})
    place, sizes = device(options.device), dict(options.set)
    path = options.names or names_module.path_in_use()
    alphabet = None if options.alphabet == "any" else options.alphabet or ascii_lowercase
    names = names_module.load(path, alphabet)
    vocabulary = Vocabulary("".join(names) if alphabet is None else alphabet)
    if options.distinct:
        names = names_module.distinct(names)
    recipe = RECIPES[options.model]
    build = lambda generator: recipe.sized(len(vocabulary), sizes, generator).to(place)  # noqa: E731
    seeds = range(options.first_seed, options.first_seed + options.seeds)
    models, generators = seeded(build, seeds)
    data = _examples(names, vocabulary, recipe.block_size, place)
    settings = {
        "model": options.model,
        "sizes": sizes,
        "seeds": list(seeds),
        "training": json.loads(json.dumps(asdict(config))),  # as it will be read
        "names": {
            "file": path.name,
            "sha256": sha256(path.read_bytes()).hexdigest(),
            "rows": len(names),
            "distinct_only": options.distinct,
            "windows": {name: int((data[name][1] != names_module.IGNORED).sum()) for name in SPLITS},
        },
        "vocabulary": "".join(vocabulary.characters[1:]),
    }
    out = options.out
    if (out / "config.json").exists():
        before = _read(out / "config.json")
        if before != settings:
            changed = sorted(key for key in settings if before.get(key) != settings[key])
            raise ValueError(
                f"{out} holds another run, which differs in {', '.join(changed)}; choose another --out"
            )
    _write(out / "config.json", settings)

    began = time.perf_counter()
    losses = train(
        models, *data["train"], generators, config,
        compile=not options.no_compile, checkpoint=out / "checkpoint.pt", progress=options.model,
    )  # fmt: skip
    seconds = time.perf_counter() - began
    runs = []
    for seed, model in zip(seeds, models, strict=True):
        run = {"seed": seed, "parameters": count_parameters(model)}
        run |= {name: mean_loss(model, *data[name]) for name in SPLITS}
        runs.append(run)
        tensors = {name: t.cpu().contiguous() for name, t in model.tensors().items()}
        replace_file(
            out / f"model-{seed}.safetensors", lambda partial, tensors=tensors: save_file(tensors, partial)
        )
        print(_line(f"seed {seed}", run["parameters"], {name: f"{run[name]:.4f}" for name in SPLITS}))
    replace_file(out / "history.safetensors", lambda partial: save_file({"losses": losses}, partial))
    summary = {name: spread(run[name] for run in runs) for name in SPLITS}
    print(_line("mean ± sd", runs[0]["parameters"], summary))
    report = {
        "runs": runs,
        "mean": {name: value.mean for name, value in summary.items()},
        "sd": {name: value.sd for name, value in summary.items()} if options.seeds > 1 else None,
        "provenance": {
            "commit": commit(), "date": date.today().isoformat(), "machine": machine(place),
            "device": place.type, "torch": torch.__version__.split("+")[0],
            "seconds_of_last_start": round(seconds, 1),
        },
    }  # fmt: skip
    _write(out / "results.json", settings | report)


def _examples(names, vocabulary, block_size, place) -> dict:
    """What a model is trained and measured on: the three parts of a list, on a device."""
    return {
        name: [t.to(place) for t in names_module.examples(part, vocabulary, block_size)]
        for name, part in names_module.split(names)._asdict().items()
    }


def _line(label, parameters, losses) -> str:
    return f"{label:>9}  {parameters:,} parameters  " + "  ".join(
        f"{name} {value}" for name, value in losses.items()
    )


def _sample(options) -> None:
    settings = _read(options.folder / "config.json")
    if settings.get("model") not in RECIPES:
        raise ValueError(f"{options.folder / 'config.json'}: names no model; expected one of {list(RECIPES)}")
    recipe, vocabulary = RECIPES[settings["model"]], Vocabulary(settings["vocabulary"])
    model = _load_model(options.folder, settings, options.model_seed)
    generator = torch.Generator().manual_seed(options.seed)
    for name in sample(
        model, vocabulary, recipe.block_size, options.count,
        generator=generator, prefix=options.prefix, temperature=options.temperature,
    ):  # fmt: skip
        print(name)


def _results(options) -> None:
    if options.collect:
        if options.check:
            raise ValueError("--collect writes and --check does not; give one of them")
        if not options.name:
            raise ValueError("--collect needs --name, the list that the runs were made on")
        collect = _ablation if options.name == BLOCKS else _collect
        _write(RESULTS / f"{options.name}.json", collect(options.collect, options.names))
        if options.name == "shipped":
            _publish(options.collect)
            if len(options.collect) == len(MODELS):
                _draw_road(ROOT / "book" / "images" / "road.png")
    for path, text in _pages().items():
        if path.read_text(encoding="utf-8") == text:
            continue
        if options.check:
            raise ValueError(f"{path.name}: its table is out of date; run `python -m common results`")
        replace_file(path, lambda partial, text=text: partial.write_text(text, encoding="utf-8"))
        print(f"refreshed {path.name}")


def _reports(folders, path):
    """The reports of runs on one list, what they share, and that list. ValueError where they differ."""
    reports = [_read(folder / "results.json") for folder in folders]
    shared = {key: reports[0][key] for key in ("names", "training", "vocabulary")}
    path = path or names_module.SHIPPED
    if sha256(path.read_bytes()).hexdigest() != shared["names"]["sha256"]:
        raise ValueError(
            f"{path} is not the list of these runs ({shared['names']['file']}); name it with --names"
        )
    names = names_module.load(path, shared["vocabulary"])
    if shared["names"]["distinct_only"]:
        names = names_module.distinct(names)
    for folder, report in zip(folders, reports, strict=True):
        for key, value in shared.items():
            if report[key] != value:
                raise ValueError(f"{folder}: expected the same {key} as {folders[0]}, got {report[key]}")
    return reports, shared, names


def _collect(folders, path) -> dict:
    reports, shared, names = _reports(folders, path)
    vocabulary, models = Vocabulary(shared["vocabulary"]), {}
    for folder, report in zip(folders, reports, strict=True):
        trained = [_load_model(folder, report, run["seed"]) for run in report["runs"]]
        models[report["model"]] = {
            "runs": report["runs"],
            "provenance": report["provenance"],
            "training_curve": _curve(folder),
            **_looks(trained, MODELS[report["model"]].block_size, names, vocabulary),
        }
    return shared | {"models": {name: models[name] for name in MODELS if name in models}}


def _ablation(folders, path) -> dict:
    """Variants of networks that take whole names, by the names of their folders.

    No test loss: the test names are for chapter 11.
    """
    reports, shared, names = _reports(folders, path)
    vocabulary, variants = Vocabulary(shared["vocabulary"]), {}
    val_words = names_module.split(names).val
    x, y = names_module.examples(val_words, vocabulary, None)
    for folder, report in zip(folders, reports, strict=True):
        if report["model"] not in NETWORKS:
            raise ValueError(f"{folder}: expected a run of one of {list(NETWORKS)}, got {report['model']!r}")
        trained = [_load_model(folder, report, run["seed"]) for run in report["runs"]]
        losses = torch.stack([token_losses(model, x, y) for model in trained])
        variants[folder.name] = {
            "model": report["model"],
            "sizes": report["sizes"],
            "runs": [{key: value for key, value in run.items() if key != "test"} for run in report["runs"]],
            "val_by_position": [[round(v, 4) for v in loss_by_position(each, val_words)] for each in losses],
            "training_curve": _curve(folder),
            "provenance": report["provenance"],
        }
    return shared | {"variants": variants}


def _publish(folders) -> None:
    """The models that the pages run live: seed 0 of every run, with where it comes from."""
    for folder in folders:
        report = _read(folder / "results.json")
        model = _load_model(folder, report, 0)
        about = {
            "model": report["model"], "seed": "0", "vocabulary": report["vocabulary"],
            "names": report["names"]["sha256"], "steps": str(report["training"]["steps"]),
            **{key: str(value) for key, value in report["provenance"].items()},
        }  # fmt: skip
        replace_file(
            PRETRAINED / f"{report['model']}.safetensors",
            lambda partial, model=model, about=about: save_file(model.tensors(), partial, about),
        )


def _looks(models, block_size, names, vocabulary) -> dict:
    """What the chapters show of trained models besides their losses."""
    val_words = names_module.split(names).val
    x, y = names_module.windows(val_words, vocabulary, block_size)
    losses = torch.stack([token_losses(model, x, y) for model in models]).mean(0)
    drawn = sample(models[0], vocabulary, block_size, 20, generator=torch.Generator().manual_seed(1))
    return {"val_by_position": [round(v, 4) for v in loss_by_position(losses, val_words)], "samples": drawn}


def _curve(folder) -> dict:
    """Training loss averaged over stretches of steps: mean and standard deviation over a run's seeds."""
    try:
        losses = load_file(folder / "history.safetensors")["losses"]
    except (OSError, SafetensorError, KeyError) as error:
        raise ValueError(f"{folder / 'history.safetensors'}: no losses of a run ({error})") from None
    window = max(1, losses.shape[1] // CURVE_POINTS)
    curves = smooth(losses.double(), window)
    spreads = [spread(values) for values in curves.T.tolist()]
    return {
        "window": window,
        "mean": [round(s.mean, 4) for s in spreads],
        "sd": [round(s.sd, 4) for s in spreads] if len(curves) > 1 else None,
    }


def _load_model(folder, settings, seed):
    """A trained model of a run, on the CPU, in evaluation mode."""
    path = folder / f"model-{seed}.safetensors"
    if not path.exists():
        raise ValueError(f"{path}: no such file; expected a finished run with a model for seed {seed}")
    try:
        tensors = load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{path}: not a file of parameters ({error})") from None
    recipe, V = RECIPES[settings["model"]], len(settings["vocabulary"]) + 1
    return recipe.sized(V, settings.get("sizes", {})).load(tensors).eval()


def _draw_road(path) -> None:
    """The cover: how the validation loss goes down from chapter to chapter."""
    import matplotlib.pyplot as plt  # here, for no other command draws

    from . import plots

    plots.use_style()
    figure, ax = plt.subplots(figsize=(6.4, 3.4))
    labels = [recipe.title.replace(", ", ",\n") for recipe in MODELS.values()]
    plots.road(ax, labels, [stored_spread(name) for name in MODELS], [val for _, val in LECTURE.values()])
    ax.tick_params(axis="x", labelsize=9)
    replace_file(path, lambda partial: figure.savefig(partial, format="png", dpi=200))
    plt.close(figure)


def _pages() -> dict[Path, str]:
    """Pages with made parts, as they ought to be: what stands between two markers is made here."""
    made = {
        f"results {stored.stem}": lambda name=stored.stem: _table(name) for stored in RESULTS.glob("*.json")
    }
    made |= {f"bench {place}": lambda place=place: bench.page(place) for place in bench.measured_on()}
    made["map"] = roadmap.page
    pages = {}
    for path in (
        ROOT / "README.md",
        ROOT / "book" / "index.md",
        ROOT / "book" / "map.md",
        ROOT / "book" / "results.md",
        ROOT / "book" / "costs.md",
        ROOT / "benchmarks" / "README.md",
    ):
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        for name, make in sorted(made.items()):
            begin, end = f"<!-- {name} -->", f"<!-- end of {name.split()[0]} -->"
            if begin in text:
                if end not in text.split(begin, 1)[1]:
                    raise ValueError(f"{path}: {begin!r} is not followed by {end!r}")
                head, rest = text.split(begin, 1)
                text = f"{head}{begin}\n{make()}\n{end}{rest.split(end, 1)[1]}"
        if text:
            pages[path] = text
    return pages


def _table(name: str) -> str:
    stored = stored_results(name)
    rows, provenance = [], []
    for key, entry in stored["models"].items():
        losses = {split: spread(run[split] for run in entry["runs"]) for split in SPLITS}
        lecture = "{:.3f} / {:.3f}".format(*LECTURE[key])
        rows.append([MODELS[key].title, f"{entry['runs'][0]['parameters']:,}", lecture, *losses.values()])
        provenance.append(entry["provenance"])
    header = ["model", "parameters", "lecture: train / val", "train", "validation", "test"]
    runs = {len(entry["runs"]) for entry in stored["models"].values()}
    listed, training = stored["names"], stored["training"]
    measured = {
        f"{p['date']}, commit `{p['commit']}`, {p['machine']}, torch {p['torch']}" for p in provenance
    }
    note = (
        f"Mean ± standard deviation over {'/'.join(map(str, sorted(runs)))} seeds, in nats per character. "
        f"{training['steps']:,} steps of batch {training['batch_size']}, learning rate {training['lr']:g}, "
        f"times {training['drop_factor']:g} from step {int(training['drop_at'] * training['steps']):,}. "
        f"List `{listed['file']}`, {listed['rows']:,} "
        f"{'distinct names' if listed['distinct_only'] else 'rows'}, SHA-256 `{listed['sha256'][:12]}`. "
        f"Measured on {'; '.join(sorted(measured))}."
    )
    return f"\n{markdown_table(header, rows, 'lrrrrr')}\n\n{note}\n"


def _read(path: Path) -> dict:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise ValueError(
            f"{path}: no such file; expected a folder that `python -m common train` wrote"
        ) from None
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}: not JSON ({error})") from None


def _write(path: Path, value: dict) -> None:
    text = json.dumps(value, indent=1, ensure_ascii=False) + "\n"
    replace_file(path, lambda partial: partial.write_text(text, encoding="utf-8"))


if __name__ == "__main__":
    sys.exit(main())
