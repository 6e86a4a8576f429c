"""Re-execute notebooks in place, then normalise them.

    python tools/notebooks.py                    every notebook under book/
    python tools/notebooks.py PATH ...           only these
    python tools/notebooks.py --normalise-only   no execution
    python tools/notebooks.py --check            name those that are not normalised

Every notebook runs in a fresh kernel, in its own folder, and keeps the state of
its widgets, so that the static page can show them. A notebook is written only
when all of its cells have run: an error, an interrupt or a kill leaves the file as it was.

What each took goes into data/costs.json, from there into the sentence at the top of the
chapter ("The cells run in about three minutes") and into the table of book/costs.md.

Normalising takes out what differs between two runs and says nothing: random cell
and widget ids, timings, versions of Python, machine paths in tracebacks; and what a cell
with a quiz shows, for the page reads the quiz's file. It also puts
the cell at the top of every notebook of the book that fetches the book where it is
missing, on Colab for instance, from the address in book/_config.yml, once in each; and
today's numbers into the links to chapters (tools/chapters.py), in the pages of Markdown too, what the cells
told into the text (tools/told.py), and the minutes to read (tools/reading.py) into the sentence at the top.
"""

import argparse
import ast
import json
import os
import re
import sys
import tempfile
import time
from concurrent.futures import BrokenExecutor, as_completed
from datetime import date
from pathlib import Path

import chapters
import nbformat
import reading
import stored
import told
import yaml
from workers import pool

ROOT = Path(__file__).resolve().parent.parent
BOOK = ROOT / "book"
LISTED = ROOT / "build" / "told.txt"  # see `common.pages.told.tell`
COSTS = ROOT / "data" / "costs.json"
CELL_TIMEOUT = 2400  # seconds

KERNELSPEC = {"display_name": "Python 3", "language": "python", "name": "python3"}
WIDGET_STATE = "application/vnd.jupyter.widget-state+json"
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
TIMINGS = ("execution", "ExecuteTime", "papermill")
# What nbformat (8 hex digits) and JupyterLab (a UUID) invent, and what this tool gives.
MACHINE_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9a-f]{8}|cell-\d+")
# In a traceback: the folders before an installed package's or this project's file.
FOLDERS = re.compile(r"(?:~|[A-Za-z]:|/)[^\s\x1b'\"]*?/(?=(?:site-packages|src/common)/)")
CELL_FILE = re.compile(r"\S*ipykernel_\d+/\d+\.py")


def find_notebooks(book: Path = BOOK) -> list[Path]:
    """Every notebook under ``book``, without what the build or Jupyter puts there."""
    parts_to_skip = {"_build", ".ipynb_checkpoints"}
    return sorted(p for p in book.rglob("*.ipynb") if not parts_to_skip & set(p.parts))


def shown(path: Path) -> str:
    return str(path.relative_to(ROOT) if path.is_relative_to(ROOT) else path)


# ---- normalising -----------------------------------------------------------------


def normalise_ids(nb) -> None:
    """Keep ids that a person gave, derive the others from the cell's place."""
    seen = set()
    for index, cell in enumerate(nb.cells):
        given = cell.get("id", "")
        if not given or MACHINE_ID.fullmatch(given) or given in seen:
            given = f"cell-{index:03d}"
        while given in seen:
            given += "-b"
        seen.add(given)
        cell["id"] = given


def merge_streams(outputs: list) -> list:
    """Join consecutive stream outputs of one name: how they were split is chance."""
    merged = []
    for output in outputs:
        last = merged[-1] if merged else None
        if (
            last is not None
            and output.output_type == last.output_type == "stream"
            and output.name == last.name
        ):
            last.text += output.text
        else:
            merged.append(output)
    return merged


def normalise_metadata(nb) -> None:
    nb.metadata["kernelspec"] = dict(KERNELSPEC)
    nb.metadata["language_info"] = {"name": "python"}
    for cell in nb.cells:
        for key in TIMINGS:
            cell.metadata.pop(key, None)
        if cell.cell_type == "code":
            # A page reads the quiz's file (book/_ext/quizzes.py): what JupyterLab draws is not stored.
            cell.outputs = [] if "display_quiz(" in cell.source else merge_streams(cell.outputs)
            for output in cell.outputs:
                if output.output_type == "error":
                    frames = (CELL_FILE.sub("cell.py", line) for line in output.traceback)
                    output.traceback = [FOLDERS.sub("", line) for line in frames]


CHECKS = {"expect", "expect_true", "tell"}


def holds_only_checks(source: str, measured: bool) -> bool:
    """Whether every statement of a cell calls `expect` or `expect_true`.

    measured: the cell before shows what was measured; then values may be named first, to be checked.
    """
    try:
        statements = ast.parse(source).body
    except SyntaxError:  # a magic
        return False
    if measured:
        statements = [s for s in statements if not isinstance(s, ast.Assign)]
    calls = [s.value for s in statements if isinstance(s, ast.Expr) and isinstance(s.value, ast.Call)]
    names = [call.func.id for call in calls if isinstance(call.func, ast.Name)]
    return bool(statements) and len(names) == len(statements) and set(names) <= CHECKS


def gather_checks(outputs: list) -> list:
    """Lines that begin "held:" become the mark that `common.pages.checks` shows since it has one.

    So what was stored before needs no new execution.
    """
    held, rest = [], []
    for output in outputs:
        if output.output_type == "stream" and output.name == "stdout":
            lines = output.text.splitlines(keepends=True)
            held += [line.rstrip("\n") for line in lines if line.startswith("held: ")]
            output.text = "".join(line for line in lines if not line.startswith("held: "))
            if not output.text:
                continue
        rest.append(output)
    if held:
        from common.pages.checks import mark  # here, for it loads PyTorch

        rest.append(nbformat.v4.new_output("display_data", mark(held)))
    return rest


def normalise_checks(nb) -> None:
    measured = False
    for cell in nb.cells:
        tags = cell.metadata.get("tags", [])
        if cell.cell_type == "code":
            if "check" not in tags and holds_only_checks(cell.source, measured):
                cell.metadata["tags"] = tags = [*tags, "check"]
            cell.outputs = gather_checks(cell.outputs)
        measured = "nbval-ignore-output" in tags


def normalise_folds(nb) -> None:
    """What a page folds or leaves out is folded in JupyterLab too, and nothing else is.

    `reading.fold` reads the tags, which say what a page does with the source, the output or both.
    """
    for cell in nb.cells:
        if cell.cell_type == "code":
            hidden = {
                "source_hidden": reading.fold(cell) != "open",
                "outputs_hidden": reading.folds_output(cell),
            }
            others = {k: v for k, v in cell.metadata.get("jupyter", {}).items() if k not in hidden}
            cell.metadata["jupyter"] = others | {name: True for name, value in hidden.items() if value}
            if not cell.metadata["jupyter"]:
                del cell.metadata["jupyter"]


def normalise_random_names(nb) -> None:
    """Give widget models names that depend only on their order.

    A file's keys are sorted, so a model's new name must sort as it was created:
    then normalising a stored notebook changes nothing.
    """
    models = list(nb.metadata.get("widgets", {}).get(WIDGET_STATE, {}).get("state", {}))
    if not models:
        return
    names = {model: f"{index:032x}" for index, model in enumerate(models, start=1)}
    pattern = re.compile("|".join(map(re.escape, names)))

    def renamed(value):
        if isinstance(value, str):
            return pattern.sub(lambda match: names[match.group()], value)
        if isinstance(value, list):
            return [renamed(item) for item in value]
        if isinstance(value, dict):
            return type(value)({renamed(key): renamed(item) for key, item in value.items()})
        return value

    nb.metadata["widgets"] = renamed(nb.metadata["widgets"])
    for cell in nb.cells:
        if cell.cell_type == "code":
            cell.outputs = renamed(cell.outputs)


def refresh_front_ends(nb) -> None:
    """Stored widgets run today's JavaScript and style: a change there needs no new execution.

    A trait that a widget has got since it was stored stands at its default. The plain text of its views is
    the sentence that it has today.
    """
    state = nb.metadata.get("widgets", {}).get(WIDGET_STATE, {}).get("state", {})
    sentences = {}
    for name, model in state.items():
        module, _, kind = model["state"].get("_anywidget_id", "").rpartition(".")
        if module == "common.pages.widgets":
            from common.pages import widgets  # here, for it loads PyTorch

            front = getattr(widgets, kind)
            sentences[name] = front.sentence()
            later = {
                trait_name: trait.default_value
                for trait_name, trait in front.class_traits(sync=True).items()
                if not trait_name.startswith("_")
                and isinstance(trait.default_value, bool | int | float | str)
            }
            model["state"] = later | model["state"] | {"_esm": front._esm, "_css": front._css}
    for cell in nb.cells if sentences else []:
        for output in cell.get("outputs", []):
            view = output.get("data", {}).get(WIDGET_VIEW, {})
            if view.get("model_id") in sentences:
                output.data["text/plain"] = sentences[view["model_id"]]


# ---- the first cell: what a notebook needs where the book is not installed --------------

ELSEWHERE = "elsewhere"  # the cell's id, by which it is found again
ELSEWHERE_SOURCE = """\
# Where the book is not installed, as on Colab: fetch it, and install it.
import importlib.util
import os

found = importlib.util.find_spec("common")
folders = list(getattr(found, "submodule_search_locations", None) or [])
if found is None:
    import subprocess
    import sys

    address = "{repository}"
    if not address:
        raise RuntimeError(
            "The package `common` is missing, and the book has no address to"
            " fetch it from. Run this in a copy of the repository: make lab"
        )
    clone = ["git", "clone", "--depth=1", "--branch={branch}", address, "book"]
    subprocess.run(clone, check=True)
    pip = [sys.executable, "-m", "pip", "install", "--quiet"]
    subprocess.run([*pip, "--editable=book", "jupyterquiz"], check=True)
    sys.path.insert(0, os.path.abspath("book/src"))
    os.chdir("book/{folder}")
elif not any(os.path.exists(f + "/models/wavenet.py") for f in folders):
    raise RuntimeError(
        "The package `common` that Python finds here is not this book's: "
        + str(folders or found.origin)
        + ". Run the notebook in the book's own environment (make lab), or"
        " take the other package away first: pip uninstall common"
    )
"""
# The number of a cell in a traceback, among colours: Cell In[3], line 1
CELL_NUMBER = re.compile(r"(Cell (?:\x1b\[[\d;]*m)*In ?\[)(\d+)(\])")


def addresses(config: Path = BOOK / "_config.yml") -> dict[str, str]:
    """The repository and its branch, from the one place where they stand."""
    settings = yaml.safe_load(config.read_text(encoding="utf-8"))["sphinx"]["config"]
    return {"repository": settings["book_repository"], "branch": settings["book_branch"]}


def elsewhere_source(path: Path) -> str:
    folder = path.parent.relative_to(ROOT).as_posix()
    return ELSEWHERE_SOURCE.format(folder=folder, **addresses()).rstrip("\n")


def count_on(cells: list, by: int = 1) -> None:
    """Move the number of every cell that ran up or down, in its outputs and tracebacks too."""

    def next_number(match: re.Match) -> str:
        return f"{match[1]}{int(match[2]) + by}{match[3]}"

    for cell in cells:
        if cell.cell_type == "code" and cell.execution_count:
            cell.execution_count += by
            for output in cell.outputs:
                if output.get("execution_count"):
                    output.execution_count += by
                if output.output_type == "error":
                    output.traceback = [CELL_NUMBER.sub(next_number, line) for line in output.traceback]


def put_elsewhere_cell(nb, path: Path) -> None:
    """Write the cell into a notebook of the book, after its title. It counts as run: it has no output.

    What was there before goes, whatever its id: a cell that begins as this one does is an older copy.
    """
    if not path.is_relative_to(BOOK):
        return
    first, ran = ELSEWHERE_SOURCE.splitlines()[0], any(cell.get("execution_count") for cell in nb.cells)
    for index, cell in reversed(list(enumerate(nb.cells))):
        if cell.get("id") == ELSEWHERE or cell.cell_type == "code" and cell.source.startswith(first):
            del nb.cells[index]
            if cell.get("execution_count"):
                count_on(nb.cells[index:], -1)
    count_on(nb.cells)
    new = nbformat.v4.new_code_cell(elsewhere_source(path), id=ELSEWHERE, execution_count=1 if ran else None)
    new.metadata["tags"] = ["remove-cell"]
    nb.cells.insert(1, new)


def bring_in_what_others_say(nb, path: Path) -> None:
    """Write into a notebook of the book what is known elsewhere: addresses, the numbers of chapters, and
    the minutes to read."""
    put_elsewhere_cell(nb, path)
    if path.is_relative_to(BOOK):
        page = path.relative_to(BOOK).with_suffix("").as_posix()
        for cell in nb.cells:
            if cell.cell_type == "markdown":
                cell.source = chapters.linked(cell.source, page)
        says = reading.stated(reading.reading_minutes(nb, path.parent))
        state(nb, reading.STATED, says)


def state(nb, pattern: re.Pattern, says: str) -> None:
    """Bring a sentence at the top of a notebook up to date, in whichever cell of Markdown it stands."""
    for cell in nb.cells[:4]:
        if cell.cell_type == "markdown":
            cell.source = pattern.sub(says, cell.source)


def find_pages(book: Path = BOOK) -> list[Path]:
    """Every page of Markdown that is in the book."""
    files = re.findall(r"\b(?:file|root): (\S+)", (book / "_toc.yml").read_text(encoding="utf-8"))
    return [page for file in files if (page := book / f"{file}.md").is_file()]


def normalised_page(path: Path) -> str:
    """A page of Markdown as it is to be stored."""
    page = path.relative_to(BOOK).with_suffix("").as_posix()
    return chapters.linked(path.read_text(encoding="utf-8"), page)


def normalised_text(nb) -> str:
    """The notebook's file as it is to be stored. Changes ``nb``."""
    normalise_ids(nb)
    normalise_metadata(nb)
    normalise_checks(nb)
    normalise_folds(nb)
    normalise_random_names(nb)
    refresh_front_ends(nb)
    nb["nbformat"], nb["nbformat_minor"] = 4, 5
    nbformat.validate(nb)
    return nbformat.writes(nb, indent=1).rstrip("\n") + "\n"


def read(path: Path):
    return told.read_notebook(path)


def is_normalised(path: Path) -> bool:
    nb = read(path)
    bring_in_what_others_say(nb, path)
    told.fill(nb)
    return path.read_text(encoding="utf-8") == normalised_text(nb)


def write(path: Path, text: str) -> None:
    """Replace the file in one step: a reader sees the old text or the new one."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}-", suffix=".tmp")
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
        os.chmod(name, path.stat().st_mode & 0o777 if path.exists() else 0o644)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


# ---- what a notebook costs --------------------------------------------------------

NUMBERS = ["no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]
STATED = re.compile(r"The cells run in (?:about \w+ minutes?|under a minute) on two CPU cores")


def stated(seconds: float) -> str:
    """How a chapter tells its reader what it costs."""
    minutes = round(seconds / 60)
    if seconds < 45:
        return "The cells run in under a minute on two CPU cores"
    word = NUMBERS[max(minutes, 1)] if minutes < len(NUMBERS) else str(minutes)
    return f"The cells run in about {word} minute{'s' * (minutes > 1)} on two CPU cores"


def costs(path: Path = COSTS) -> dict:
    """{notebook: {device: {"seconds", "date", "machine"}}}, as measured by the last runs."""
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def title_of(notebook: Path) -> str:
    """The first heading of a notebook."""
    return read(notebook).cells[0].source.splitlines()[0].lstrip("# ")


def in_order(kept: dict) -> list[tuple[str, dict]]:
    """As the book has them; what it does not have comes last."""
    pages = re.findall(r"\bfile: (\S+)", (BOOK / "_toc.yml").read_text(encoding="utf-8"))
    place = {page: index for index, page in enumerate(pages)}
    return sorted(kept.items(), key=lambda item: (place.get(item[0], len(place)), item[0]))


def costs_table(book: Path = BOOK) -> str:
    """The table of book/costs.md."""
    lines = ["| chapter | minutes on two CPU cores | minutes on a GPU |", "| :--- | ---: | ---: |"]
    for name, devices in in_order(costs()):
        cells = [
            f"{devices[place]['seconds'] / 60:.1f}" if place in devices else "not measured"
            for place in ("cpu", "cuda")
        ]
        link = f"[{title_of(book / f'{name}.ipynb')}]({name}.ipynb)"
        lines.append(f"| {link} | {cells[0]} | {cells[1]} |")
    total = sum(devices["cpu"]["seconds"] for devices in costs().values() if "cpu" in devices)
    lines.append(f"| all, one after the other | {total / 60:.1f} | |")
    entries = [entry for devices in costs().values() for entry in devices.values()]
    where = sorted({f"{entry['machine']} ({entry['date']})" for entry in entries})
    return "\n".join([*lines, "", f"Measured on {'; '.join(where)}."])


def with_table(text: str, table: str) -> str:
    """A page with the table between its two markers."""
    begin, end = "<!-- costs -->", "<!-- end of costs -->"
    head, _, rest = text.partition(begin)
    return f"{head}{begin}\n\n{table}\n\n{end}{rest.partition(end)[2]}"


def state_minutes(path: Path, seconds: float) -> None:
    """Bring the sentence at the top of a notebook up to date."""
    nb = read(path)
    state(nb, STATED, stated(seconds))
    write(path, normalised_text(nb))


def keep_costs(seconds: dict[Path, float]) -> None:
    """Record what notebooks of the book took, and bring their first cells and the page up to date."""
    from common.runs.provenance import machine
    from common.train import find_device

    device, kept = find_device(), costs()
    for path, took in seconds.items():
        if path.is_relative_to(BOOK):
            name = path.relative_to(BOOK).with_suffix("").as_posix()
            entry = {"seconds": round(took), "date": date.today().isoformat(), "machine": machine(device)}
            kept.setdefault(name, {})[device.type] = entry
            if device.type == "cpu":
                state_minutes(path, took)
    known = {path.relative_to(BOOK).with_suffix("").as_posix() for path in find_notebooks()}
    kept = {name: kept[name] for name in sorted(kept) if name in known}
    write(COSTS, json.dumps(kept, indent=1) + "\n")
    page = BOOK / "costs.md"
    write(page, with_table(page.read_text(encoding="utf-8"), costs_table()))


# ---- executing -------------------------------------------------------------------


class CellFailed(Exception):
    """A cell raised. The message says which one, and what it raised."""


def where(nb) -> str:
    """The code cell that ran last: its place among the code cells, and its first line."""
    code = [cell for cell in nb.cells if cell.cell_type == "code" and cell.source.strip()]
    ran = [i for i, cell in enumerate(code) if any(o.output_type == "error" for o in cell.outputs)]
    ran = [i for i in ran if "raises-exception" not in code[i].metadata.get("tags", [])]
    if not ran:
        return "before the first cell ended, or between two cells"
    source = code[ran[-1]].source.strip().splitlines()
    return f"code cell {ran[-1] + 1} of {len(code)} ({source[0]!r})"


def execute(path: Path) -> float:
    """Run one notebook and write it; return the seconds it took."""
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

    started = time.perf_counter()
    nb = read(path)
    for cell in nb.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    bring_in_what_others_say(nb, path)
    nb.metadata.pop("widgets", None)
    client = NotebookClient(
        nb,
        timeout=CELL_TIMEOUT,
        kernel_name="python3",
        store_widget_state=True,
        record_timing=False,
        extra_arguments=["--IPKernelApp.log_level=ERROR"],
        resources={"metadata": {"path": str(path.parent)}},
    )
    try:
        client.execute()
    except (CellExecutionError, CellTimeoutError, DeadKernelError) as error:
        message = f"{shown(path)}: {where(nb)}\n{error}"
        raise CellFailed(message) from None
    seconds = time.perf_counter() - started
    try:
        told.fill(nb, path)
    except ValueError as error:
        raise CellFailed(f"{shown(path)}: {error}") from None
    write(path, normalised_text(nb))
    return seconds


def execute_all(paths: list[Path], workers: int) -> int:
    """Run the notebooks, some at a time; return how many failed."""
    os.environ.setdefault("TQDM_DISABLE", "1")
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    LISTED.parent.mkdir(exist_ok=True)
    LISTED.write_text("", encoding="utf-8")
    os.environ["TOLD"] = str(LISTED)
    failed, seconds = 0, {}
    with pool(workers) as executor:
        running = {executor.submit(execute, path): path for path in paths}
        for number, future in enumerate(as_completed(running), start=1):
            name = shown(running[future])
            try:
                seconds[running[future]] = future.result()
                print(f"[{number}/{len(paths)}] {name}: {future.result():.1f} s", flush=True)
            except CellFailed as error:
                failed += 1
                print(f"[{number}/{len(paths)}] {name}: FAILED, left as it was", flush=True)
                print(error, file=sys.stderr, flush=True)
    keep_costs(seconds)
    if rounded := LISTED.read_text(encoding="utf-8"):
        print(f"within their tolerance, and yet rounded to something else:\n{rounded}", end="")
    return failed


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("paths", nargs="*", type=Path, help="notebooks (default: all of book/)")
    parser.add_argument("--normalise-only", action="store_true", help="do not execute")
    parser.add_argument("--check", action="store_true", help="only say what is not normalised")
    parser.add_argument("--workers", type=stored.count, default=2, help="notebooks at a time (2)")
    options = parser.parse_args()

    paths = [path.resolve() for path in options.paths] or find_notebooks()
    missing = [str(path) for path in paths if not path.is_file()]
    if missing:
        parser.error(f"no such notebook: {', '.join(missing)}")
    try:
        if options.check:
            untidy = [path for path in paths if not is_normalised(path)]
            for path in untidy:
                print(f"not normalised: {shown(path)}")
            return int(bool(untidy))
        for path in paths:  # all, before one of them is changed
            read(path)
    except ValueError as error:
        parser.error(str(error))
    if options.normalise_only:
        for path in paths:
            nb = read(path)
            bring_in_what_others_say(nb, path)
            told.fill(nb, path)
            write(path, normalised_text(nb))
        for path in [] if options.paths else find_pages():
            write(path, normalised_page(path))
        return 0
    try:
        failed = execute_all(paths, options.workers)
    except BrokenExecutor:
        print("error: a process that ran notebooks was killed; what it ran is as it was", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\ninterrupted; what had not ended is as it was", file=sys.stderr)
        return 130
    if failed:
        print(f"{failed} of {len(paths)} notebooks failed and were left as they were.")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
