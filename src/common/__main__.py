"""Command line: python -m common train | sample | sweep | results | bench."""

import argparse
import contextlib
import json
import math
import os
import re
import sys
from dataclasses import fields
from functools import partial
from hashlib import sha256
from pathlib import Path
from string import ascii_lowercase
from tempfile import TemporaryDirectory

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from . import bench, constraints, experiments, roadmap
from . import names as names_module
from .evaluate import (
    LECTURE,
    RESULTS,
    loss_by_position,
    markdown_table,
    smooth,
    spread,
    stored_results,
    token_losses,
)
from .experiments import SPLITS, Run, load_model, publish
from .field import longest_name
from .files import read_json, replace_files, write_json
from .models import MODELS, NETWORKS, PRETRAINED, RECIPES, WINNERS
from .provenance import ROOT
from .sample import LONGEST, sample
from .stacked import WorkerDied
from .train import OPTIMIZERS, SCHEDULES, Config, device
from .vocabulary import Vocabulary

CURVE_POINTS = 200
CLOSED_PIPE = 141  # the exit status that a shell reports of one
MOST_SEEDS = 10_000  # models that are trained side by side
MOST_NAMES = 1_000_000  # that are drawn side by side
CUT = 40  # characters of a drawn name, where nothing longer is asked for
BLOCKS = "blocks"


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns the exit status. Bad input ends in one line, without a traceback."""
    options, status = _parser().parse_args(arguments), 0
    options.say = say = Printer()
    try:
        options.run(options)
    except (ValueError, OSError, WorkerDied) as error:
        status = _failed(error)
    except (RuntimeError, MemoryError) as error:
        if not isinstance(error, MemoryError) and not re.search("memory|allocate", str(error)):
            raise
        status = _failed(f"not enough memory: {(str(error) or 'none is left').splitlines()[0]}")
    except KeyboardInterrupt:
        resumes = options.run in (_train, _sweep)
        goes_on = "; the same command resumes from the last checkpoint" * resumes
        print(f"\ninterrupted{goes_on}", file=sys.stderr)
        status = 130
    say.flush()
    if status or say.error is None:
        return status
    if isinstance(say.error, BrokenPipeError):
        return CLOSED_PIPE
    return _failed(f"standard output: {say.error.strerror or say.error}")


def _failed(error) -> int:
    with contextlib.suppress(OSError):  # nobody can be told
        print(f"error: {error}", file=sys.stderr, flush=True)
    return 2


class Printer:
    """Prints lines as they come. A closed pipe or a full disk ends no work: `error` keeps it for later.

    What the encoding of the output lacks is written in characters that it has.
    """

    error: OSError | None = None

    def __call__(self, text: str) -> None:
        if self.error is not None:
            return
        encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
        try:
            text.encode(encoding)
        except UnicodeEncodeError:
            text = text.replace("±", "+/-").encode(encoding, "backslashreplace").decode(encoding)
        try:
            print(text, flush=True)
        except OSError as error:
            self._stop(error)

    def flush(self) -> None:
        """Whatever was printed past this object."""
        try:
            if self.error is None and sys.stdout is not None:
                sys.stdout.flush()
        except OSError as error:
            self._stop(error)

    def _stop(self, error) -> None:
        self.error = error
        with contextlib.suppress(OSError, ValueError):  # Python tries once more at its end
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m common", description="Train and sample the book's models."
    )
    # no abbreviations: --seed would be taken for --seeds
    commands = parser.add_subparsers(
        required=True, parser_class=partial(argparse.ArgumentParser, allow_abbrev=False)
    )

    command = commands.add_parser("train", help="train one model for several seeds and write a run folder")
    _add_run(command)
    command.add_argument(
        "--evaluate-every", type=_whole, default=0, metavar="STEPS",
        help="between two looks at the validation loss, for its curve (default: at the end only)",
    )  # fmt: skip
    command.add_argument("--no-test", action="store_true", help="leave the test split closed")
    command.add_argument(
        "--out", type=_path, required=True, help="folder of the run; an unfinished one is resumed"
    )
    command.set_defaults(run=_train)

    command = commands.add_parser("sample", help="print names drawn from a trained run")
    command.add_argument("--run", dest="folder", type=_path, required=True, help="folder that train wrote")
    command.add_argument("--prefix", default="")
    command.add_argument("--temperature", type=_number, default=1.0)
    command.add_argument("--top-k", type=int, metavar="K", help="only the K likeliest characters")
    command.add_argument("--top-p", type=_number, metavar="P", help="only the likeliest with probability P")
    command.add_argument("--alphabet", metavar="LETTERS", help='only these characters; "any": all')
    command.add_argument("--length", metavar="N", help="how long: 5, 3-6 or 3-")
    command.add_argument(
        "--max-length", type=int, metavar="N",
        help="where a name that has not ended is cut (default: 40, or 40 beyond a longer --prefix, --length "
        "or --pattern; no more than a transformer has places for)",
    )  # fmt: skip
    command.add_argument("--pattern", help='"?" for any character, "*" for any number of them, as in "a???n"')
    command.add_argument("--new", action="store_true", help="no name of the training list")
    command.add_argument(
        "--names", type=_path, help="with --new: the list of the run (default: the shipped list)"
    )
    command.add_argument(
        "--exact", action="store_true", help="from the model's distribution given the constraints"
    )
    command.add_argument("-n", "--count", type=int, default=20)
    command.add_argument("--seed", type=_seed, default=0, help="of the draws")
    command.add_argument("--model-seed", type=_seed, default=0, help="which of the run's models")
    command.set_defaults(run=_sample)

    command = commands.add_parser("sweep", help="train many runs of a search space; the same command goes on")
    command.add_argument(
        "--space", type=_path, metavar="FILE", required=True,
        help='JSON: {"lr": {"low": 0.01, "high": 1, "log": true}, "model.n_hidden": {"choices": [64, 128]}}',
    )  # fmt: skip
    _add_run(command)
    command.add_argument(
        "--trials", type=int, default=20, help="how many in all, failed ones included; default: 20"
    )
    command.add_argument(
        "--processes", type=int,
        help="how many trials at once, one thread each (default: 1, on a cluster what it has room for)",
    )  # fmt: skip
    command.add_argument(
        "--evaluate-every", type=_whole, default=0, metavar="STEPS",
        help="between two looks at the validation loss (default: a tenth of the steps)",
    )  # fmt: skip
    command.add_argument("--engine", choices=("optuna", "ray"), default="optuna")
    command.add_argument(
        "--scheduler", choices=("median", "asha", "pbt", "none"),
        help="which trials are stopped early: default median, on Ray asha; pbt trains a population, on Ray",
    )  # fmt: skip
    command.add_argument("--sampler", choices=("tpe", "random"), help="default: tpe; on Ray random")
    command.add_argument("--search-seed", type=_seed, default=0, help="of what is drawn from the space")
    command.add_argument("--address", help="of a Ray cluster (default: Ray starts on this machine)")
    command.add_argument("--out", type=_path, required=True, help="folder of the sweep")
    command.set_defaults(run=_sweep)

    command = commands.add_parser("results", help="collect runs into data/results and refresh the tables")
    command.add_argument(
        "--collect",
        nargs="+",
        action="extend",
        type=_path,
        metavar="RUN",
        default=[],
        help="run folders of one list",
    )
    command.add_argument(
        "--name",
        choices=("shipped", "lecture", "distinct", BLOCKS),
        help=f"which list they were run on; {BLOCKS}: the ablation of chapter 8, a folder a variant",
    )
    command.add_argument("--names", type=_path, help="the list itself (default: the shipped one)")
    command.add_argument(
        "--check", action="store_true", help="fail where a table is out of date; write nothing"
    )
    command.set_defaults(run=_results)

    command = commands.add_parser("bench", help="measure the plain loop, the fast path and the floor")
    command.add_argument("--device", default="cpu", help="cpu (default), cuda or mps")
    command.add_argument("--json", type=_path, metavar="FILE", help="write the report here as well")
    command.add_argument("--models", nargs="+", action="extend", choices=MODELS, help="default: all")
    command.add_argument("--seeds", type=int, help="models at once (default: 8, on a GPU 64)")
    command.add_argument("--rounds", type=int, default=3)
    command.add_argument("--seconds", type=_number, default=3.0, help="of each measurement")
    command.add_argument(
        "--growth", action="store_true", help="cost against batch, width, context and seeds too"
    )
    command.add_argument("--task", type=json.loads, help=argparse.SUPPRESS)  # one measurement, for ourselves
    command.set_defaults(run=_bench)
    return parser


def _add_run(command) -> None:
    """The arguments that describe a run."""
    command.add_argument("--model", choices=RECIPES, required=True)
    command.add_argument(
        "--set", nargs="+", action="extend", type=_size, metavar="NAME=VALUE", default=[],
        help="sizes of the model, for instance n_hidden=96 dropout=0.1",
    )  # fmt: skip
    command.add_argument(
        "--names", type=_path, help="a list of your own, one name a line (default: the shipped list)"
    )
    command.add_argument(
        "--alphabet", default=ascii_lowercase,
        help='characters that a name may contain, or "any" (default: a to z)',
    )  # fmt: skip
    command.add_argument("--distinct", action="store_true", help="use each name once")
    for field in fields(Config):
        _add_field(command, field)
    command.add_argument("--seeds", type=int, default=1, help="how many seeds")
    command.add_argument("--first-seed", type=_seed, default=0, help="the first of them")
    command.add_argument("--device", help="cuda, mps or cpu (default: the first of these that is there)")
    command.add_argument("--no-compile", action="store_true", help="run the plain loop")
    command.add_argument(
        "--teacher", nargs="+", action="extend", type=_path, metavar="RUN", default=[],
        help="folders of runs whose probabilities take part in the loss; --distill says how much",
    )  # fmt: skip


CHOICES = {"optimizer": OPTIMIZERS, "schedule": SCHEDULES}


def _add_field(command, field) -> None:
    """An argument for a field of `Config`."""
    flag, kind = "--" + field.name.replace("_", "-"), type(field.default)
    how = {"nargs": len(field.default), "type": _number} if kind is tuple else {"type": kind}
    how = {"type": _number} if kind is float else how
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
    except (ValueError, RecursionError):
        return name, value


def _number(text: str) -> float:
    """A finite number of a command line."""
    with contextlib.suppress(ValueError):
        if math.isfinite(value := float(text)):
            return value
    raise argparse.ArgumentTypeError(f"expected a finite number, got {text!r}")


def _whole(text: str, bits: int = 63) -> int:
    """A whole number of a command line, of at least 0."""
    with contextlib.suppress(ValueError):
        if 0 <= (value := int(text)) < 2**bits:
            return value
    raise argparse.ArgumentTypeError(
        f"expected a whole number of at least 0 and below 2**{bits}, got {text!r}"
    )


_seed = partial(_whole, bits=64)  # what torch's generators take


def _path(text: str) -> Path:
    """A path of a command line; an empty one, as from a variable that is not set, would be this folder."""
    if not text:
        raise argparse.ArgumentTypeError("expected a path, got ''")
    return Path(text)


def _bench(options) -> None:
    if options.task:
        print(json.dumps(bench.measure(options.task)))
        return
    place = device(options.device).type
    seeds = options.seeds if options.seeds is not None else 8 if place == "cpu" else 64
    models = list(dict.fromkeys(options.models or MODELS))
    if min(seeds, options.rounds) < 1 or not options.seconds > 0:
        raise ValueError(
            f"expected seeds and rounds of at least 1 and seconds above 0, got {seeds}, {options.rounds}, "
            f"{options.seconds}"
        )
    if options.growth and not options.json:
        raise ValueError("--growth stands in the report alone; give --json FILE as well")
    if options.json:  # it is written after minutes
        above = next(path for path in options.json.absolute().parents if path.exists())
        if options.json.is_dir() or not above.is_dir():
            raise ValueError(f"--json: expected a file that can be written, got {options.json}")

    def progress(text):
        with contextlib.suppress(OSError):  # no reason to end a measurement
            print(text, file=sys.stderr, flush=True)

    report = bench.bench(models, place, options.seconds, options.rounds, seeds, progress)
    _keep(options, report)  # before the rest is measured, too
    if options.growth:
        report["growth"] = bench.growth(place, options.seconds / 2, options.rounds, progress)
        _keep(options, report)
    options.say(bench.table(report))


def _keep(options, report) -> None:
    """Write a report where that was asked for; where it cannot be, it is printed after all."""
    try:
        if options.json:
            write_json(options.json, report)
    except OSError:
        options.say(bench.table(report))
        raise


def _run_of(options) -> Run:
    """The run that the arguments describe."""
    if not 1 <= options.seeds <= MOST_SEEDS:
        expected = "at least 1 seed" if options.seeds < 1 else f"at most {MOST_SEEDS:,} seeds"
        raise ValueError(f"expected {expected}, got {options.seeds}")
    sizes = dict(options.set)
    for name, value in options.set:
        if json.dumps(sizes[name]) != json.dumps(value):
            raise ValueError(f"--set: expected one value for {name}, got {value!r} and {sizes[name]!r}")
    return Run(
        options.model,
        Config(**{field.name: getattr(options, field.name) for field in fields(Config)}),
        sizes,
        range(options.first_seed, options.first_seed + options.seeds),
        options.names,
        None if options.alphabet == "any" else options.alphabet,
        options.distinct,
        tuple(options.teacher),
    )


def _train(options) -> None:
    experiments.run(
        _run_of(options), options.out, place=device(options.device), compile=not options.no_compile,
        every=options.evaluate_every, say=options.say, splits=SPLITS[:2] if options.no_test else SPLITS,
    )  # fmt: skip


def _sweep(options) -> None:
    from . import sweep  # here, for Optuna takes a second

    ray = options.engine == "ray"
    if options.address and not ray:
        raise ValueError("--address is that of a Ray cluster; give --engine ray as well")
    wanted = sweep.Sweep(
        _run_of(options),
        _space(options.space),
        options.trials,
        options.evaluate_every,
        options.scheduler or ("asha" if ray else "median"),
        options.sampler or ("random" if ray else "tpe"),
        options.search_seed,
        options.engine,
        device(options.device).type,
        not options.no_compile and options.steps >= sweep.WORTH_COMPILING,
    )
    if ray:
        from . import sweep_ray

        found = sweep_ray.search(wanted, options.out, options.processes, options.address, options.say)
    else:
        found = sweep.search(
            wanted, options.out, 1 if options.processes is None else options.processes, options.say
        )
    options.say(sweep.summary(found, sweep.load(options.out)["failed"]))


def _space(path) -> dict:
    def once(pairs):
        """A name that stands there twice is a mistake, which JSON would not mind."""
        names = [name for name, _ in pairs]
        if twice := [name for name in names if names.count(name) > 1]:
            raise ValueError(f"{twice[0]!r} stands there twice")
        return dict(pairs)

    def refuse(text):
        raise ValueError(f"{text} is no number of JSON")

    try:
        text = path.read_bytes().decode("utf-8-sig")
        if "\0" in text:
            raise ValueError("expected UTF-8 text")
        return json.loads(text, object_pairs_hook=once, parse_constant=refuse)
    except (FileNotFoundError, IsADirectoryError):
        raise ValueError(f"{path}: no such file; expected the search space as JSON") from None
    except UnicodeDecodeError:
        raise ValueError(f"{path}: expected UTF-8 text") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}: not JSON ({error})") from None
    except RecursionError:
        raise ValueError(f"{path}: nested too deeply") from None
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _sample(options) -> None:
    model = load_model(options.folder, options.model_seed)
    settings = read_json(options.folder / "config.json")
    recipe, vocabulary = RECIPES[settings["model"]], Vocabulary(settings["vocabulary"])
    if options.count > MOST_NAMES:
        raise ValueError(f"expected a count of at most {MOST_NAMES:,}, got {options.count}")
    if options.names and not options.new:
        raise ValueError("--names is the list that --new keeps away from; give --new as well")
    prefix = names_module.spelled(options.prefix, settings["vocabulary"])
    constraint, longest = _constraint(options, settings), _max_length(options, model)
    drawn = sample(
        model, vocabulary, recipe.block_size, options.count,
        generator=torch.Generator().manual_seed(options.seed), prefix=prefix,
        temperature=options.temperature, top_k=options.top_k, top_p=options.top_p,
        constraint=constraint, exact=options.exact, max_length=longest,
    )  # fmt: skip
    options.say("\n".join(drawn))
    cut = 0 if constraint else sum(len(name) == longest for name in drawn)
    if cut:
        with contextlib.suppress(OSError):  # the names are drawn
            print(
                f"note: {cut} of {len(drawn)} names had not ended after {longest} characters and are cut "
                "there; see --max-length",
                file=sys.stderr,
                flush=True,
            )


def _max_length(options, model) -> int:
    """Where a name is cut. As asked, or else with room for all that the other options ask for."""
    if options.max_length is not None:
        return options.max_length
    shortest, longest = _lengths(options.length) if options.length is not None else (0, 0)
    pattern = (options.pattern or "").replace("*", "")
    asked = max(len(options.prefix), shortest, longest or 0, len(pattern))
    if asked > LONGEST - CUT:
        raise ValueError(
            f"expected at most {LONGEST:,} characters, got {asked}; name the room with --max-length"
        )
    room, most = CUT if asked < CUT else asked + CUT, longest_name(model)
    # A drawn name may fill every place; an exact draw looks at one character more, to see whether it ends.
    return room if most is None else min(room, max(1, most + (not options.exact)))


def _lengths(text) -> tuple[int, int | None]:
    """Shortest and longest of --length; None: any."""
    found = re.fullmatch(r"(\d+)(-(\d*))?", text)
    if not found:
        raise ValueError(f"--length: expected 5, 3-6 or 3-, got {text!r}")
    longest = (int(found[3]) if found[3] else None) if found[2] else int(found[1])
    return int(found[1]), longest


def _constraint(options, settings):
    """What the options ask of a name, or None."""
    asked, known = [], settings["vocabulary"]
    if options.alphabet not in (None, "any"):  # as in training, the word is not three letters
        alphabet = names_module.spelled(options.alphabet, known)
        names_module.check_alphabet(alphabet)
        _check_known("--alphabet", alphabet, known)
        asked.append(constraints.Alphabet(alphabet))
    if options.length is not None:
        asked.append(constraints.Length(*_lengths(options.length)))
    if options.pattern is not None:
        pattern = names_module.spelled(options.pattern, known + "?*")
        if not pattern:
            raise ValueError("--pattern: expected at least one character, got none")
        _check_known("--pattern", pattern, known + "?*")
        asked.append(constraints.Pattern(pattern))
    if options.new:
        path = options.names or names_module.path_in_use()
        asked.append(constraints.NotIn(names_module.split(_listed(path, settings)).train))
    return constraints.All(*asked) if asked else None


def _check_known(option, text, known) -> None:
    """ValueError for what the run cannot write."""
    unknown = sorted(set(text) - set(known))
    if unknown:
        raise ValueError(f"{option}: the run knows no {unknown[0]!r}, only {known!r}")


def _listed(path, report) -> list[str]:
    """The names of a list as a run takes them. ValueError where the list is another one."""
    listed = report["names"]
    if _digest(path) != listed["sha256"]:
        raise ValueError(f"{path} is not the list of the run ({listed['file']}); name it with --names")
    names = names_module.load(path, report["vocabulary"])
    return names_module.distinct(names) if listed["distinct_only"] else names


def _digest(path) -> str:
    """The SHA-256 of a list. ValueError where there is none to read."""
    if not path.is_file():
        names_module.load(path)  # says what is wrong with it
    return sha256(path.read_bytes()).hexdigest()


def _results(options) -> None:
    """Everything is checked and made before anything is written, and then all of it is or nothing."""
    made, collected = {}, {}
    for option in ("name", "names"):
        if getattr(options, option) and not options.collect:
            raise ValueError(f"--{option} goes with --collect, and there is none")
    if options.collect:
        if options.check:
            raise ValueError("--collect writes and --check does not; give one of them")
        if not options.name:
            raise ValueError("--collect needs --name, the list that the runs were made on")
        made = _collected(options.collect, options.name, options.names)
        collected[options.name] = json.loads(made[RESULTS / f"{options.name}.json"])
    pages = {
        path: text for path, text in _pages(collected).items() if path.read_text(encoding="utf-8") != text
    }
    if options.check and pages:
        raise ValueError(f"{min(pages).name}: its table is out of date; run `python -m common results`")
    replace_files(made | {path: text.encode() for path, text in pages.items()})
    for path in pages:
        options.say(f"refreshed {path.name}")


def _collected(folders, name, path) -> dict[Path, bytes]:
    """The files that come of runs: their results and, for the shipped list, the weights and the cover."""
    with TemporaryDirectory() as staged:
        stored = _ablation(folders, path) if name == BLOCKS else _collect(folders, path, name)
        write_json(Path(staged) / "results.json", stored)
        made = {RESULTS / f"{name}.json": Path(staged) / "results.json"}
        if name == "shipped":
            for folder in folders:
                weights = f"{read_json(folder / 'results.json')['model']}.safetensors"
                publish(folder, 0, Path(staged) / weights)
                made[PRETRAINED / weights] = Path(staged) / weights
            _draw_road(stored, Path(staged) / "road.png")
            made[ROOT / "book" / "images" / "road.png"] = Path(staged) / "road.png"
        return {target: file.read_bytes() for target, file in made.items()}


def _reports(folders, path):
    """The reports of runs on one list, what they share, and that list. ValueError where they differ."""
    reports = [_report(folder) for folder in folders]
    shared = {key: reports[0][key] for key in ("names", "training", "vocabulary")}
    names = _listed(path or names_module.SHIPPED, shared)
    for folder, report in zip(folders, reports, strict=True):
        for key, value in shared.items():
            if report[key] != value:
                raise ValueError(f"{folder}: expected the same {key} as {folders[0]}, got {report[key]}")
    return reports, shared, names


def _report(folder) -> dict:
    """The results of a finished run. ValueError for a file of something else, or a loss that is no number."""
    path = folder / "results.json"
    report = read_json(path)
    for key in ("model", "names", "training", "vocabulary", "runs", "provenance"):
        if not isinstance(report, dict) or not report.get(key):
            raise ValueError(f"{path}: not the results of a run; it has no {key}")
    for run in report["runs"]:
        for split in SPLITS:
            if split in run and not (isinstance(run[split], float | int) and math.isfinite(run[split])):
                raise ValueError(f"{folder}: expected a finite {split} loss, got {run[split]}")
    return report


def _collect(folders, path, name) -> dict:
    """Runs of the book's five models on one list, one run each."""
    reports, shared, names = _reports(folders, path)
    _check_list(name, shared["names"])
    vocabulary, models = Vocabulary(shared["vocabulary"]), {}
    for folder, report in zip(folders, reports, strict=True):
        key = report["model"]
        if key not in MODELS:
            raise ValueError(f"{folder}: expected a run of one of {list(MODELS)}, got {key!r}")
        if key in models:
            raise ValueError(f"{folder}: a second run of {key}; expected one")
        if report.get("sizes"):  # `pretrained` builds the recipe's
            raise ValueError(f"{folder}: expected the sizes of the lecture, got {report['sizes']}")
        for run in report["runs"]:
            lacking = [split for split in SPLITS if split not in run]
            if lacking:
                raise ValueError(
                    f"{folder}: expected train, val and test losses of seed {run['seed']}, got no "
                    f"{', '.join(lacking)} (was it trained with --no-test?)"
                )
        trained = [load_model(folder, run["seed"]) for run in report["runs"]]
        models[key] = {
            "runs": report["runs"],
            "provenance": report["provenance"],
            "training_curve": _curve(folder),
            **_looks(trained, MODELS[key].block_size, names, vocabulary),
        }
    missing = [key for key in MODELS if key not in models]
    if missing:
        raise ValueError(f"expected one run of each of the five models; missing: {', '.join(missing)}")
    return shared | {"models": {key: models[key] for key in MODELS}}


def _check_list(name, listed) -> None:
    """ValueError where runs on a list cannot be the stored results of this name."""
    if listed["distinct_only"] != (name == "distinct"):
        wanted = "of each name once (--distinct)" if name == "distinct" else "without --distinct"
        raise ValueError(f"expected runs {wanted} for {name}.json")
    if (listed["sha256"] == _digest(names_module.SHIPPED)) == (name == "lecture"):
        got, wanted = ("the", "the lecture's") if name == "lecture" else ("not the", "that one")
        raise ValueError(f"{listed['file']} is {got} shipped list; expected {wanted} for {name}.json")


def _ablation(folders, path) -> dict:
    """Variants of networks that take whole names, by the names of their folders.

    No test loss: the test names are for chapter 11.
    """
    reports, shared, names = _reports(folders, path)
    _check_list(BLOCKS, shared["names"])
    vocabulary, variants = Vocabulary(shared["vocabulary"]), {}
    val_words = names_module.split(names).val
    x, y = names_module.examples(val_words, vocabulary, None)
    for folder, report in zip(folders, reports, strict=True):
        if report["model"] not in NETWORKS:
            raise ValueError(f"{folder}: expected a run of one of {list(NETWORKS)}, got {report['model']!r}")
        if folder.name in variants:
            raise ValueError(f"{folder}: a second run of {folder.name}; the folder's name is the variant's")
        trained = [load_model(folder, run["seed"]) for run in report["runs"]]
        losses = torch.stack([token_losses(model, x, y) for model in trained])
        variants[folder.name] = {
            "model": report["model"],
            "sizes": report.get("sizes", {}),
            "runs": [{key: value for key, value in run.items() if key != "test"} for run in report["runs"]],
            "val_by_position": [[round(v, 4) for v in loss_by_position(each, val_words)] for each in losses],
            "training_curve": _curve(folder),
            "provenance": report["provenance"],
        }
    return shared | {"variants": variants}


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


def _draw_road(stored, path) -> None:
    """The cover: how the validation loss goes down from chapter to chapter."""
    import matplotlib.pyplot as plt  # here, for no other command draws

    from . import plots

    plots.use_style()
    figure, ax = plt.subplots(figsize=(6.4, 3.4))
    labels = [recipe.title.replace(", ", ",\n") for recipe in MODELS.values()]
    losses = [spread(run["val"] for run in stored["models"][name]["runs"]) for name in MODELS]
    plots.road(ax, labels, losses, [val for _, val in LECTURE.values()])
    ax.tick_params(axis="x", labelsize=9)
    figure.savefig(path, format="png", dpi=200)
    plt.close(figure)


def _pages(collected: dict[str, dict]) -> dict[Path, str]:
    """Pages with made parts, as they ought to be: what stands between two markers is made here.

    collected: results that take the place of the stored ones, by their names.
    """
    lists = {stored.stem for stored in RESULTS.glob("*.json")} | set(collected)
    made = {f"results {name}": lambda name=name: _table(name, collected.get(name)) for name in lists}
    made["results challenge"] = _winners
    made |= {f"bench {place}": lambda place=place: bench.page(place) for place in bench.measured_on()}
    made["map"] = lambda: roadmap.page(collected.get("shipped"))
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


def _table(name: str, stored: dict | None = None) -> str:
    stored = stored or stored_results(name)
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


def _winners() -> str:
    """Chapter 11's last table: both winners on all three lists."""
    stored = stored_results("challenge")
    lists = {"lecture": "the lecture's", "shipped": "this book's", "distinct": "this book's, each name once"}
    rows, measured, seeds, training = [], set(), set(), {}
    for key in WINNERS:
        for name, title in lists.items():
            entry = stored[name][key]
            runs = entry["runs"]
            losses = [spread(run[split] for run in runs) for split in SPLITS]
            rows.append([entry["title"], f"{runs[0]['parameters']:,}", title, *losses])
            seeds.add(str(len(runs)))
            how = entry["training"]
            training[key] = f"{key} winner {how['steps']:,} steps of {how['batch_size']} names"
            p = entry["provenance"]
            measured.add(f"{p['date']}, commit `{p['commit']}`, {p['machine']}, torch {p['torch']}")
    header = ["network", "parameters", "list", "train", "validation", "test"]
    teachers = stored["lecture"]["teachers"]["runs"]
    note = (
        f"Mean ± standard deviation over {'/'.join(sorted(seeds))} seeds, in nats per character. "
        f"Trained for: {', '.join(training.values())}; {how['optimizer']}, "
        f"taught by {len(teachers)} networks of {teachers[0]['parameters']:,} parameters. "
        "Chosen on the validation split; the test split was opened once. "
        f"Measured on {'; '.join(sorted(measured))}."
    )
    return f"\n{markdown_table(header, rows, 'lrlrrr')}\n\n{note}\n"


if __name__ == "__main__":
    sys.exit(main())
