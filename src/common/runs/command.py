"""The command line: python -m common train | sample | predict | sweep | data.

The arguments that describe a run are named after the fields of `Run` and `Config`, which check them.
"""

import argparse
import contextlib
import json
import os
import re
import sys
from collections.abc import Collection, Iterable, Sequence
from dataclasses import fields
from functools import partial
from pathlib import Path
from string import ascii_lowercase
from typing import Any

import torch

from .. import constraints
from ..data import Vocabulary, corpora, distinct_names, split_names
from ..data.names import path_in_use
from ..fast import fused
from ..fast.loop import WorkerDied
from ..models import longest_name
from ..nn import evaluating
from ..sampling import LONGEST, sample
from ..train import OPTIMIZERS, SCHEDULES, Config, find_device
from .files import read_json
from .folder import load_model
from .lists import check_alphabet, load_list, spelled
from .running import RECIPES, Run, run
from .tasks import OPTIONS, SPLITS, TASKS, digest, sentences, task_of, vocabulary_of

CLOSED_PIPE = 141  # the exit status that a shell reports of one
MOST_SEEDS = 10_000  # models that are trained side by side
MOST_NAMES = 1_000_000  # that are drawn side by side
AT_ONCE = 256  # texts that are labelled side by side
MANY_UNKNOWN = 0.5  # a share of words at which a run says so
CUT = 40  # characters of a drawn name, where nothing longer is asked for
SAID = 1_000  # characters of an error, at most
COUNTS_WITH = {  # an option, and what it does something with; with anything else it would be passed over
    "momentum": ("optimizer", ("momentum",)),
    "betas": ("optimizer", ("adam", "adamw", "muon")),
    "drop_at": ("schedule", ("drop",)),
    "drop_factor": ("schedule", ("drop",)),
}


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns the exit status. Bad input ends in one line, without a traceback."""
    options, say = parser().parse_args(arguments), Printer()
    try:
        options.command(options, say)
        if isinstance(say.error, BrokenPipeError):
            return CLOSED_PIPE
        said: object = say.error and f"standard output: {say.error.strerror or say.error}"
    except (ValueError, OSError, WorkerDied) as error:
        said = error
    except (RuntimeError, MemoryError) as error:
        if not isinstance(error, MemoryError) and not re.search("memory|allocate", str(error)):
            raise
        said = f"not enough memory: {(str(error) or 'none is left').splitlines()[0]}"
    except KeyboardInterrupt:
        resumes = options.command in (_train, _sweep)
        goes_on = "; the same command resumes from the last checkpoint" * resumes
        print(f"\ninterrupted{goes_on}", file=sys.stderr)
        return 130
    if said is None:
        return 0
    line = f"error: {said}"
    _tell(line if len(line) <= SAID else f"{line[: SAID - 200]} … {line[-200:]}")
    return 2


def _tell(line: str) -> None:
    """A line on standard error, where there is somebody to read it."""
    with contextlib.suppress(OSError):
        print(line, file=sys.stderr, flush=True)


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
            try:
                print(text, flush=True)
            except UnicodeEncodeError:
                plain = text.replace("±", "+/-").encode(encoding, "backslashreplace")
                print(plain.decode(encoding), flush=True)
        except OSError as error:
            self.error = error
            with contextlib.suppress(OSError, ValueError):  # Python tries once more at its end
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


# ---- the arguments ---------------------------------------------------------------


def parser() -> argparse.ArgumentParser:
    """What the command line takes."""
    whole = argparse.ArgumentParser(
        prog="python -m common", description="Train and sample the book's models; fetch its corpora."
    )
    # no abbreviations: --seed would be taken for --seeds
    commands = whole.add_subparsers(  # type: ignore[call-overload]  # a partial of the class
        required=True, parser_class=partial(argparse.ArgumentParser, allow_abbrev=False)
    )

    command = commands.add_parser("train", help="train one model for several seeds and write a run folder")
    command.set_defaults(command=_train)
    add = command.add_argument
    _add_run(add)
    add(
        "--evaluate-every", type=int, default=0, metavar="STEPS",
        help="between two looks at the validation loss, for its curve (default: at the end only)",
    )  # fmt: skip
    add("--no-test", action="store_true", help="leave the test split closed")
    add("--out", type=_path, required=True, help="folder of the run; an unfinished one is resumed")

    command = commands.add_parser("sample", help="print names drawn from a trained run")
    command.set_defaults(command=_sample)
    add = command.add_argument
    add("--run", dest="folder", type=_path, required=True, help="folder that train wrote")
    add("--prefix", default="")
    add("--temperature", type=float, default=1.0)
    add("--top-k", type=int, metavar="K", help="only the K likeliest characters")
    add("--top-p", type=float, metavar="P", help="only the likeliest with probability P")
    add("--alphabet", metavar="LETTERS", help='only these characters; "any": all')
    add("--length", metavar="N", help="how long: 5, 3-6 or 3-")
    add(
        "--max-length", type=int, metavar="N",
        help="where a name that has not ended is cut (default: 40, or 40 beyond a longer --prefix, --length "
        "or --pattern; no more than a transformer has places for)",
    )  # fmt: skip
    add("--pattern", help='"?" for any character, "*" for any number of them, as in "a???n"')
    add("--new", action="store_true", help="no name of the training list")
    add(
        "--data", "--names", type=_path, metavar="FILE",
        help="with --new: the list of the run (default: the shipped list)",
    )  # fmt: skip
    add("--exact", action="store_true", help="from the model's distribution given the constraints")
    add("-n", "--count", type=int, default=20)
    add("--seed", type=int, default=0, help="of the draws")
    add("--model-seed", type=int, default=0, help="which of the run's models")

    command = commands.add_parser(
        "predict", help="print what a trained run expects behind a text, or which label it gives one"
    )
    command.set_defaults(command=_predict)
    add = command.add_argument
    add(
        "texts", nargs="*", metavar="TEXT",
        help='such as emm for names, c4071? for recall, 0110 for echo, "a fine film" for reviews (default: '
        "the lines of the standard input)",
    )  # fmt: skip
    add("--run", dest="folder", type=_path, required=True, help="folder that train wrote")
    add("--top", type=int, default=3, metavar="K", help="only the K likeliest; default: 3")
    add("--model-seed", type=int, default=0, help="which of the run's models")

    command = commands.add_parser("sweep", help="train many runs of a search space; the same command goes on")
    command.set_defaults(command=_sweep)
    add = command.add_argument
    add(
        "--space", type=_path, metavar="FILE", required=True,
        help='JSON: {"lr": {"low": 0.01, "high": 1, "log": true}, "model.n_hidden": {"choices": [64, 128]}}',
    )  # fmt: skip
    _add_run(add)
    add("--trials", type=int, default=20, help="how many in all, failed ones included; default: 20")
    add(
        "--processes", type=int,
        help="how many trials at once, one thread each (default: 1, on a cluster what it has room for)",
    )  # fmt: skip
    add(
        "--evaluate-every", type=int, default=0, metavar="STEPS",
        help="between two looks at the validation loss (default: a tenth of the steps)",
    )  # fmt: skip
    add("--engine", choices=("optuna", "ray"), default="optuna")
    add(
        "--scheduler", choices=("median", "asha", "pbt", "none"),
        help="which trials are stopped early: default median, on Ray asha; pbt trains a population, on Ray",
    )  # fmt: skip
    add("--sampler", choices=("tpe", "random"), help="default: tpe; on Ray random")
    add("--search-seed", type=int, default=0, help="of what is drawn from the space")
    add("--address", help="of a Ray cluster (default: Ray starts on this machine)")
    add("--out", type=_path, required=True, help="folder of the sweep")

    command = commands.add_parser("data", help="list, fetch and verify the corpora of part two")
    actions = command.add_subparsers(required=True)
    command = actions.add_parser(
        "list", help="say what there is, how large, and what of it is on this machine"
    )
    command.set_defaults(command=_list_corpora)
    for name, action, help in (
        ("fetch", _fetch_corpora, "fetch what is not on this machine, or not whole; needs the network"),
        ("verify", _verify_corpora, "compare what is on this machine with what was published"),
    ):
        command = actions.add_parser(name, help=help)
        command.set_defaults(command=action)
        command.add_argument("names", nargs="*", metavar="NAME", help="of a corpus (default: all)")
    return whole


def _add_run(add) -> None:
    """The arguments that describe a run: each is stored under the name of a field of `Run` or `Config`."""
    add("--model", choices=RECIPES, required=True)
    add(
        "--set", dest="sizes", nargs="+", action=Sizes, type=_size, metavar="NAME=VALUE", default={},
        help="sizes of the model, for instance n_hidden=96 dropout=0.1",
    )  # fmt: skip
    add(
        "--data", "--names", type=_path, metavar="FILE",
        help="a list of your own, one name a line (default: the shipped list); for reviews a label, a tab "
        "and a text a line (default: the corpus of reviews)",
    )  # fmt: skip
    add(
        "--task", choices=TASKS, default="names",
        help="what is trained: names and reviews are read, the others are drawn; default: names",
    )  # fmt: skip
    for option in sorted({name for task in TASKS.values() for name in task.options}):
        of = [f"{name} ({task.options[option]})" for name, task in TASKS.items() if option in task.options]
        add(f"--{option}", type=int, help=f"{OPTIONS[option]}, for {', '.join(of)}")
    add(
        "--alphabet", default=ascii_lowercase,
        help='characters that a name may contain, or "any" (default: a to z)',
    )  # fmt: skip
    add("--distinct", action="store_true", help="use each name once")
    add(
        "--teacher", dest="teachers", nargs="+", action="extend", type=_path, metavar="RUN", default=[],
        help="folders of runs whose probabilities take part in the loss; --distill says how much",
    )  # fmt: skip
    add("--seeds", type=int, default=1, help="how many seeds")
    add("--first-seed", type=int, default=0, help="the first of them")
    choices = {"optimizer": OPTIMIZERS, "schedule": SCHEDULES}
    for field in fields(Config):
        default: Any = field.default
        several = len(default) if isinstance(default, tuple) else None
        add(
            "--" + field.name.replace("_", "-"), type=float if several else type(default),
            nargs=several, default=argparse.SUPPRESS, choices=choices.get(field.name),
            help=f"default: {' '.join(map(str, default)) if several else default}",
        )  # fmt: skip
    add("--device", help="cuda, mps or cpu (default: the first of these that is there)")
    add("--no-compile", action="store_true", help="run the plain loop")


def _path(text: str) -> Path:
    """A path of a command line; an empty one, as from a variable that is not set, would be this folder."""
    if not text:
        raise argparse.ArgumentTypeError("expected a path, got ''")
    return Path(text)


def _size(text: str) -> tuple[str, object]:
    """NAME=VALUE of a command line, the value read as JSON where it is some: 3, 0.1, [1, 2, 4], true."""
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise argparse.ArgumentTypeError(f"expected NAME=VALUE, got {text!r}")
    try:
        return name, json.loads(value)
    except (ValueError, RecursionError):
        return name, value


class Sizes(argparse.Action):
    """Collects NAME=VALUE of all --set; a size has one value."""

    def __call__(self, parser, options, pairs, flag=None):
        sizes = dict(options.sizes)
        for name, value in pairs:
            if repr(sizes.setdefault(name, value)) != repr(value):
                message = f"expected one value for {name}, got {sizes[name]!r} and {value!r}"
                raise argparse.ArgumentError(self, message)
        options.sizes = sizes


def run_of(options: argparse.Namespace) -> Run:
    """The run that the arguments describe."""
    if not 1 <= options.seeds <= MOST_SEEDS:
        expected = "at least 1 seed" if options.seeds < 1 else f"at most {MOST_SEEDS:,} seeds"
        raise ValueError(f"expected {expected}, got {options.seeds}")
    if set("\r\n") & set(options.alphabet):
        raise ValueError(f"--alphabet: the end of a line parts two names, got {options.alphabet!r}")
    said = vars(options) | {"seeds": range(options.first_seed, options.first_seed + options.seeds)}
    said |= {"alphabet": None if options.alphabet == "any" else options.alphabet}
    known = {name for task in TASKS.values() for name in task.options}
    for name in known - set(TASKS[options.task].options):
        if said[name] is not None:
            of = [task for task, described in TASKS.items() if name in described.options]
            raise ValueError(f"expected --{name} with a task of {', '.join(of)}, got it with {options.task}")
    said |= {"options": {name: said[name] for name in known if said[name] is not None}}
    said |= {"config": Config(**given(options))}
    return Run(**{field.name: said[field.name] for field in fields(Run)})


def given(options: argparse.Namespace) -> dict[str, Any]:
    """The fields of `Config` that were given, though perhaps as they are by default."""
    return {
        field.name: getattr(options, field.name) for field in fields(Config) if hasattr(options, field.name)
    }


def check_counts(names: Iterable[str], config: Config, searched: Collection[str] = ()) -> None:
    """ValueError for an option that counts for nothing, such as --momentum with plain SGD.

    searched: what a sweep varies, for it may come to a value with which the option counts.
    """
    for name in names:
        of, wanted = COUNTS_WITH.get(name, ("", ()))
        if of and of not in searched and getattr(config, of) not in wanted:
            option, other = name.replace("_", "-"), f"--{of} {' or '.join(wanted)}"
            raise ValueError(f"expected --{option} with {other}, got it with {getattr(config, of)}")


# ---- train and sweep -------------------------------------------------------------


def _train(options, say) -> None:
    device, splits = find_device(options.device), SPLITS[:2] if options.no_test else SPLITS
    asked = run_of(options)
    check_counts(given(options), asked.config)
    results = run(
        asked, options.out, device=device, compile=not options.no_compile,
        evaluate_every=options.evaluate_every, splits=splits,
    )  # fmt: skip
    for one in results["runs"]:
        say(_line(f"seed {one['seed']}", one["parameters"], {split: f"{one[split]:.4f}" for split in splits}))
    summary = {split: f"{results['mean'][split]:.3f}" for split in splits}
    if results["sd"]:
        summary = {split: f"{mean} ± {results['sd'][split]:.3f}" for split, mean in summary.items()}
    what = f"  ({results['measure']['name']})" if "measure" in results else ""
    say(_line("mean ± sd", results["runs"][0]["parameters"], summary) + what)
    unknown = results.get(task_of(results), {}).get("unknown_words", 0)
    if unknown > MANY_UNKNOWN:
        _tell(
            f"note: {unknown:.0%} of the words in the validation texts stand in the training texts once or "
            "never, so they are one to the model; a word is what stands between blanks or signs"
        )


def _line(label: str, parameters: float, losses: dict[str, Any]) -> str:
    said = "  ".join(f"{split} {value}" for split, value in losses.items())
    return f"{label:>9}  {parameters:,} parameters  {said}"


def _sweep(options, say) -> None:
    from . import sweep  # here, for Optuna takes a second

    ray = options.engine == "ray"
    if options.address and not ray:
        raise ValueError("--address is that of a Ray cluster; give --engine ray as well")
    asked, space = run_of(options), read_json(options.space, "the search space as JSON")
    check_counts([*given(options), *space], asked.config, space)
    wanted = sweep.Sweep(
        asked,
        space,
        trials=options.trials,
        evaluate_every=options.evaluate_every,
        scheduler=options.scheduler or ("asha" if ray else "median"),
        sampler=options.sampler or ("random" if ray else "tpe"),
        seed=options.search_seed,
        engine=options.engine,
        device=find_device(options.device).type,
        compile=not options.no_compile and asked.config.steps >= sweep.WORTH_COMPILING,
    )
    if ray:
        from . import cluster

        found = cluster.search(wanted, options.out, options.processes, options.address, say)
    else:
        processes = 1 if options.processes is None else options.processes
        found = sweep.search(wanted, options.out, processes, say)
    say(sweep.summary(found, sweep.load(options.out)["failed"]))


# ---- sample ----------------------------------------------------------------------


def _sample(options, say) -> None:
    model = load_model(options.folder, options.model_seed)
    settings = read_json(options.folder / "config.json")
    if TASKS[task_of(settings)].reads != "names":
        raise ValueError(
            f"expected a run of names, got one of {task_of(settings)}; predict asks it for answers"
        )
    if options.count > MOST_NAMES:
        raise ValueError(f"expected a count of at most {MOST_NAMES:,}, got {options.count}")
    if not 0 <= options.seed < 2**64:
        raise ValueError(f"--seed: expected 0 to 2**64 - 1, got {options.seed}")
    if options.data and not options.new:
        raise ValueError("--data is the list that --new keeps away from; give --new as well")
    constraint, longest = _constraint(options, settings), _max_length(options, model)
    drawn = sample(
        model, Vocabulary(settings["vocabulary"]), RECIPES[settings["model"]].block_size, options.count,
        generator=torch.Generator().manual_seed(options.seed),
        prefix=spelled(options.prefix, settings["vocabulary"]),
        temperature=options.temperature, top_k=options.top_k, top_p=options.top_p,
        constraint=constraint, exact=options.exact, max_length=longest,
    )  # fmt: skip
    say("\n".join(drawn))
    cut = 0 if constraint else sum(len(name) == longest for name in drawn)
    if cut:
        _tell(
            f"note: {cut} of {len(drawn)} names had not ended after {longest} characters and are cut "
            "there; see --max-length"
        )


def _predict(options, say) -> None:
    model = load_model(options.folder, options.model_seed)
    settings = read_json(options.folder / "config.json")
    if options.top < 1:
        raise ValueError(f"expected --top of at least 1, got {options.top}")
    texts = options.texts or _lines_of_input()
    if "labels" in settings:
        _predict_labels(options, model, settings, texts, say)
        return
    vocabulary, T = Vocabulary(settings["vocabulary"]), RECIPES[settings["model"]].block_size
    begins = [vocabulary.begin_index] * (T or TASKS[task_of(settings)].reads == "names")
    texts, most = [spelled(text, settings["vocabulary"]) for text in texts], longest_name(model)
    for text in texts:
        _check_known("TEXT", text, settings["vocabulary"])
        if not begins and not text:
            raise ValueError("TEXT: expected at least one character, got none")
        if most is not None and len(text) > most + 1 - len(begins):
            raise ValueError(f"TEXT: expected at most {most + 1 - len(begins)} characters, got {len(text):,}")
    for text in texts:
        read = begins + vocabulary.encode(text)
        with evaluating(model):
            logits = model(torch.tensor([read[-T:] if T else read]))
        p = (logits if T else logits[:, -1])[0].softmax(-1)
        say("  ".join([text, *_likeliest(p, vocabulary.tokens, options.top)]))


def _predict_labels(options, model, settings, texts, say) -> None:
    """The likeliest labels of whole texts."""
    for number, text in enumerate(texts, start=1):
        if not text.strip():
            where = "TEXT" if options.texts else f"standard input, line {number}"
            raise ValueError(f"{where}: expected at least one word, got {text!r}")
    vocabulary, labels = vocabulary_of(settings), settings["labels"]
    for first in range(0, len(texts), AT_ONCE):
        some = texts[first : first + AT_ONCE]
        with evaluating(model), fused(model):
            p = model(sentences(some, vocabulary, settings[task_of(settings)]["words"])).softmax(-1)
        for text, row in zip(some, p, strict=True):
            say("  ".join([text, *_likeliest(row, labels, options.top)]))


def _likeliest(p: torch.Tensor, tokens: Sequence[str], top: int) -> list[str]:
    """The K likeliest of probabilities (V,), in words."""
    values, which = p.topk(min(top, len(tokens)))
    return [f"{tokens[i]} {x:.1%}" for x, i in zip(values.tolist(), which.tolist(), strict=True)]


def _lines_of_input() -> list[str]:
    """The lines of the standard input. ValueError for none, and for what is not UTF-8."""
    if sys.stdin and sys.stdin.isatty():
        _tell("note: expects a text a line, until the end of the input (Ctrl-D)")
    try:
        given = sys.stdin.buffer.read() if sys.stdin else b""  # None: it is closed
        lines = given.decode("utf-8-sig").replace("\r\n", "\n").removesuffix("\n")
    except UnicodeDecodeError as error:
        raise ValueError(f"standard input: byte {error.start} is not UTF-8") from None
    if not lines:
        raise ValueError("expected a TEXT, or lines on the standard input, got none")
    return lines.split("\n")


def _max_length(options, model) -> int:
    """Where a name is cut. As asked, or else with room for all that the other options ask for."""
    if options.max_length is not None:
        return options.max_length
    shortest, longest = _lengths(options.length)
    pattern = (options.pattern or "").replace("*", "")
    asked = max(len(options.prefix), shortest, longest or 0, len(pattern))
    if asked > LONGEST - CUT:
        raise ValueError(
            f"expected at most {LONGEST:,} characters, got {asked}; name the room with --max-length"
        )
    room, most = CUT if asked < CUT else asked + CUT, longest_name(model)
    # A drawn name may fill every place; an exact draw looks at one character more, to see whether it ends.
    return room if most is None else min(room, max(1, most + (not options.exact)))


def _lengths(text: str | None) -> tuple[int, int | None]:
    """Shortest and longest of --length; None: any."""
    found = re.fullmatch(r"(\d{1,20})(-?)(\d{0,20})", "0-" if text is None else text)
    if not found:
        raise ValueError(f"--length: expected 5, 3-6 or 3-, got {text!r}")
    shortest, dash, longest = found.groups()
    return int(shortest), (int(longest) if longest else None) if dash else int(shortest)


def _constraint(options, settings) -> constraints.All | None:
    """What the options ask of a name."""
    asked: list[constraints.Constraint] = []
    known = settings["vocabulary"]
    if options.alphabet not in (None, "any"):  # as in training, the word is not three letters
        alphabet = spelled(options.alphabet, known)
        check_alphabet(alphabet)
        _check_known("--alphabet", alphabet, known)
        asked.append(constraints.Alphabet(alphabet))
    if options.length is not None:
        asked.append(constraints.Length(*_lengths(options.length)))
    if options.pattern is not None:
        pattern = spelled(options.pattern, known + "?*")
        if not pattern:
            raise ValueError("--pattern: expected at least one character, got none")
        _check_known("--pattern", pattern, known + "?*")
        asked.append(constraints.Pattern(pattern))
    if options.new:
        asked.append(constraints.NotIn(_trained_on(options.data or path_in_use(), settings)))
    return constraints.All(*asked) if asked else None


def _check_known(option, text, known) -> None:
    """ValueError for what the run cannot write."""
    unknown = sorted(set(text) - set(known))
    if unknown:
        raise ValueError(f"{option}: the run knows no {unknown[0]!r}, only {known!r}")


def _trained_on(path: Path, settings) -> list[str]:
    """The names that a run was trained on. ValueError where the list is another one."""
    listed = settings.get("names")
    if not isinstance(listed, dict) or not listed.keys() >= {"file", "sha256", "distinct_only"}:
        raise ValueError("--new: expected a run of a list of names, got one of something else")
    if not path.is_file():
        load_list(path)  # says what is wrong with it
    if digest(path) != listed["sha256"]:
        raise ValueError(f"{path} is not the list of the run ({listed['file']}); name it with --data")
    names = load_list(path, settings["vocabulary"])
    return split_names(distinct_names(names) if listed["distinct_only"] else names).train


# ---- data ------------------------------------------------------------------------


def _list_corpora(options, say) -> None:
    for name, corpus in corpora.CORPORA.items():
        said = f"{corpus.about}; {corpus.licence}; from the package {corpus.package} {corpus.version}"
        say(f"{name:8}  {corpus.size / 1e6:.1f} MB  {corpora.state(name):11}  {said}")
    say(f"kept in {corpora.archive_path(name).parent}")


def _named(options) -> list[str]:
    """The corpora that are asked for. ValueError for one that is unknown, before anything is done."""
    for name in options.names:
        corpora.archive_path(name)
    return list(dict.fromkeys(options.names or corpora.CORPORA))


def _fetch_corpora(options, say) -> None:
    for name in _named(options):
        before = corpora.state(name)
        path = corpora.fetch(name)
        say(f"{name:8}  {'already there' if before == 'cached' else 'fetched'}  {path}")


def _verify_corpora(options, say) -> None:
    states = {name: corpora.state(name) for name in _named(options)}
    for name, state in states.items():
        say(f"{name:8}  {'as published' if state == 'cached' else state}")
    missing = ["not fetched"] if options.names else []
    if wrong := [name for name, state in states.items() if state in ["damaged", *missing]]:
        raise ValueError(
            f"{wrong[0]}: {states[wrong[0]]} ({corpora.archive_path(wrong[0])}); "
            f"`python -m common data fetch {' '.join(wrong)}` brings what was published"
        )
