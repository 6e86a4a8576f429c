"""Run the tests that a change can have touched, and say which ones are left out.

    python tools/check.py            what changed since it was last green (make check)
    python tools/check.py --list     only say what would run, and why
    python tools/check.py PATH ...   of what changed only these test files and notebooks
    python tools/check.py --pages    the pages in a browser as well (make check PAGES=1)
    python tools/check.py --all      everything, changed or not, and the pages

An item is a test file or a notebook. When it passes, the content of every file that
it depends on is kept in build/green.json. It is up to date while the files that it depends on now are
those files, with that content. It depends on

- the modules that it imports, and those that they import, inside functions too (`Tree.needs`). A name that
  a package hands on (`from common.nn import Linear`) leads to the module that defines it, and the rest
  of the package is left alone: `tests/test_check.py` holds that importing the rest does nothing;
- the files, folders, scripts and modules that strings in all of these name;
- what it was seen to open or list when it last ran (`tools/reads`), notebooks' kernels included;
- the settings of pytest, the commands in the Makefile, and the versions of Python and its packages.
"""

import argparse
import ast
import hashlib
import json
import os
import re
import subprocess
import sys
import sysconfig
import tempfile
import textwrap
import time
from collections.abc import Iterable
from functools import cache, cached_property
from importlib import metadata
from pathlib import Path, PurePosixPath

ROOT = Path(__file__).resolve().parent.parent
GREEN = Path("build") / "green.json"
SEARCHED = ("src", "tools", "benchmarks", "book/_ext", "tests", "")  # where tests and notebooks import from
# What an item rests on beside itself: pytest reads it.
UNIT = ("conftest.py", "tests/conftest.py", "tools/reads/__init__.py", "pyproject.toml", "requirements.lock")
NOTEBOOK = ("conftest.py", "tools/nbval_report.py", "tests/nbval_sanitize.cfg", *UNIT[2:])
PARTIAL = {"PYTEST_ADDOPTS", "NBVAL_FLAGS"}  # with these, a green run may not have run all of an item
COMMANDS, VERSIONS = "the commands of make", "Python or a package of it"
# Words that mean no files where they stand. The first three hand out files of a folder by name: who says
# the name depends on that file. The root's conftest.py takes from the costs the notebooks' order only.
MEAN_NOTHING = {
    "src/common/data/shipped.py": {"data"},
    "src/common/pages/results.py": {"results", "benchmarks"},
    "src/common/models/registry.py": {"models"},
    "src/common/data/corpora.py": {"src/common"},  # looks whether it is there
    "conftest.py": {"data/costs.json"},
    "tools/falsify.py": {"tests/test_"},  # what it runs by default; its own test runs others
    "tools/check.py": {"ls-files"},
}
IMPORTED_FROM = {"src", "tools", "benchmarks", "tests"}  # named to be searched; what is imported is followed
NAMED = re.compile(r"(?:data/(?:\w+/)?|benchmarks/)([^/]+)\.(?:json|safetensors|txt|zip)")
MADE = re.compile(r"(?:\.(?:git|venv|\w+_cache)|node_modules|build|runs|data/cache|book/_build|book/extra)/")
MODULE = re.compile(r"(?:\bimport|\bfrom|-m)\s+([A-Za-z_][\w.]*)")


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]


# ---- what depends on what --------------------------------------------------------------


def code_of(path: str, text: str) -> str:
    """A module's source, or what the code cells of a notebook are together."""
    if not path.endswith(".ipynb"):
        return text
    cells = (c for c in json.loads(text)["cells"] if c["cell_type"] == "code" and c.get("id") != "elsewhere")
    lines = "\n".join("".join(cell["source"]) for cell in cells).splitlines()
    return "\n".join("pass" if line.startswith(("%", "!")) else line for line in lines)


def joined(node: ast.AST, taken: set[int]) -> list[str]:
    """The paths in `a / "b" / "c" / d / "e"`: b/c and e. `taken` gets the strings that are part of them."""
    runs, parts = [[]], []
    while isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
        parts.insert(0, node.right)
        node = node.left
    for part in [] if isinstance(node, ast.Name) and node.id == "tmp_path" else parts:
        if isinstance(part, ast.Constant) and isinstance(part.value, str):
            runs[-1].append(part.value)
        else:
            runs.append([])
    taken |= {id(part) for part in parts}
    return ["/".join(run) for run in runs if run]


def docstrings(nodes: list[ast.AST]) -> set[int]:
    holders = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    bodies = (node.body[:1] for node in nodes if isinstance(node, holders))
    first = [body[0].value for body in bodies if body and isinstance(body[0], ast.Expr)]
    return {id(value) for value in first if isinstance(value, ast.Constant)}


def leftmost(node: ast.AST) -> ast.AST:
    while isinstance(node, ast.Attribute):
        node = node.value
    return node


def does_something(tree: ast.Module) -> bool:
    """Whether importing a module does more than define: whether a statement is neither name nor text."""
    quiet = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef, ast.Assign, ast.AnnAssign)
    return any(
        not isinstance(s, quiet) and not (isinstance(s, ast.Expr) and isinstance(s.value, ast.Constant))
        for s in tree.body
    )


class Tree:
    """The files of a repository that git knows or would add, and what each needs of the others."""

    def __init__(self, root: Path = ROOT):
        self.root = root
        command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
        try:
            listed = subprocess.run(command, cwd=root, capture_output=True, check=True).stdout
            names = set(listed.decode().split("\0")) - {""}
        except (OSError, subprocess.CalledProcessError):  # a copy without a history
            names = {path.relative_to(root).as_posix() for path in root.rglob("*")}
            names = {name for name in names if not MADE.match(name) and "__pycache__" not in name}
        files = [name for name in sorted(names) if (root / name).is_file()]
        self.hashes = {name: digest((root / name).read_bytes()) for name in files}
        self.kept: dict[str, set[str]] = {}
        self.meant, self.parsed = cache(self.meant), cache(self.parsed)

    def text(self, path: str) -> str:
        return (self.root / path).read_text(encoding="utf-8")

    def parsed(self, path: str) -> ast.Module:
        return ast.parse(code_of(path, self.text(path)))

    def below(self, folder: str) -> set[str]:
        return {name for name in self.hashes if name.startswith(f"{folder}/")}

    @cached_property
    def ends(self) -> dict[str, set[str]]:
        """Files by the ends of their paths, and what is stored by a name: rnn-01, rnn-01.json and so on."""
        found: dict[str, set[str]] = {}
        for name in self.hashes:
            parts, stored = name.split("/"), NAMED.fullmatch(name)
            ends = ["/".join(parts[at:]) for at in range(len(parts))] + ([stored[1]] if stored else [])
            for end in ends:
                found.setdefault(end, set()).add(name)
        return found

    # -- imports

    def modules(self, dotted: str) -> list[str]:
        """The files that a module's name may mean, wherever a test may find it."""
        inner = dotted.replace(".", "/")
        places = (f"{place}/{inner}".lstrip("/") for place in SEARCHED)
        return [
            file
            for place in places
            for file in (f"{place}.py", f"{place}/__init__.py")
            if file in self.hashes
        ]

    def imported(self, dotted: str, names: set[str] | None = None) -> set[str]:
        """What an import needs. names: of a package only these; None: all of it."""
        parts, found = dotted.split("."), set()
        for count in range(1, len(parts)):
            found |= {f"door {file}" for file in self.modules(".".join(parts[:count]))}
        files = self.modules(dotted)
        for file in files:
            package = file.endswith("__init__.py") and names is not None
            found |= self.through(file, dotted, names) if package else {file}
        if not files:  # a folder of modules that is no package
            for name in names or ():
                found |= self.imported(f"{dotted}.{name}") if self.modules(f"{dotted}.{name}") else set()
        return found

    def through(self, door: str, dotted: str, names: set[str]) -> set[str]:
        """The package's own file without what it imports, and the modules in which the names are defined."""
        tree, handed = self.parsed(door), {}
        for node in tree.body:
            if isinstance(node, ast.ImportFrom):
                source = self.absolute(door, node)
                handed |= {alias.asname or alias.name: (source, alias.name) for alias in node.names}
        found = {f"door {door}"} | ({door} if does_something(tree) else set())
        for name in names:
            if name in handed:
                source, inner = handed[name]
                beside = source == dotted  # from . import inner
                found |= self.imported(f"{source}.{inner}") if beside else self.imported(source, {inner})
            elif self.modules(f"{dotted}.{name}"):
                found |= self.imported(f"{dotted}.{name}")
            else:
                found.add(door)
        return found

    def absolute(self, path: str, node: ast.ImportFrom) -> str:
        """What `from .. import` names, written from the top."""
        if not node.level:
            return node.module or ""
        folder = PurePosixPath(path).parent
        for _ in range(node.level - 1):
            folder = folder.parent
        place = next((p for p in SEARCHED if p and folder.is_relative_to(p)), "")
        return ".".join([*folder.relative_to(place).parts, *([node.module] if node.module else [])])

    # -- all that one file needs

    def needs(self, path: str) -> set[str]:
        """What a file needs at first hand: files, and "door FILE" where only that file's own text counts."""
        if path not in self.kept:
            code = path.endswith((".py", ".ipynb")) and path in self.hashes
            self.kept[path] = (self.needed_by(path) if code else set()) - {path}
        return self.kept[path]

    def needed_by(self, path: str) -> set[str]:
        try:
            tree = self.parsed(path)
        except SyntaxError:
            return set(self.hashes)
        nodes = list(ast.walk(tree))
        found, taken, uses, ours = set(), docstrings(nodes), {}, set()
        for node in nodes:  # nn.Linear, nn.Tanh: {"nn": {"Linear", "Tanh"}}; nn by itself: {"nn": {None}}
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                uses.setdefault(node.value.id, set()).add(node.attr)
                taken.add(id(node.value))
            elif isinstance(node, ast.Name) and id(node) not in taken:
                uses.setdefault(node.id, set()).add(None)
        calls = (node.func for node in nodes if isinstance(node, ast.Call))
        called = {getattr(call, "attr", getattr(call, "id", None)) for call in calls}
        any_module = called & {"import_module", "__import__", "run_module", "run_path"}
        for node in nodes:
            if isinstance(node, ast.Import | ast.ImportFrom):
                for alias in node.names:
                    new = self.bound(path, node, alias, uses)
                    found |= new
                    ours |= {(alias.asname or alias.name).partition(".")[0]} if new else set()
            elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div) and id(node) not in taken:
                taken |= {id(inner) for inner in ast.walk(node) if isinstance(inner, ast.BinOp)}
                for place in joined(node, taken):
                    found |= self.named(path, place, joined=True)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in taken:
                found |= self.named(path, node.value)
                if any_module and re.fullmatch(r"[A-Za-z_][\w.]*", node.value):
                    found |= self.imported(node.value)
        for node in nodes:  # reads what lies beside a module
            if isinstance(node, ast.Attribute) and node.attr in ("__file__", "__path__"):
                found |= self.below("src/common") if getattr(leftmost(node), "id", None) in ours else set()
        if "__file__" in uses and path.startswith("src/"):
            beside = self.below(str(PurePosixPath(path).parent))
            found |= {name for name in beside if not name.endswith(".py")}
        return found

    def bound(self, path: str, node: ast.Import | ast.ImportFrom, alias: ast.alias, uses: dict) -> set[str]:
        """What one name of an import needs. uses: what the file takes of each name, None for the whole."""
        if isinstance(node, ast.Import):
            return self.imported(alias.name)
        source = self.absolute(path, node)
        inner = f"{source}.{alias.name}"
        if not any(file.endswith("__init__.py") for file in self.modules(inner)):
            return self.imported(source, {alias.name})
        attributes = uses.get(alias.asname or alias.name, {None})
        return self.imported(inner, None if None in attributes else attributes)

    def named(self, path: str, text: str, joined: bool = False) -> set[str]:
        """The files that a string names. joined: it is part of a path."""
        if len(text.split()) > 1:
            words = (word.strip("\"'(),") for word in text.split() if "/" in word)
            found = set().union(*(self.named(path, word) for word in words))
            for dotted in MODULE.findall(text):
                found |= self.imported(dotted)
            return found | (set(self.hashes) if "ls-files" in text else set())
        text = re.sub(r"^(?:\.{0,2}/)+|/+$", "", text.strip())
        return set() if text in MEAN_NOTHING.get(path, ()) else self.meant(text, joined)

    def meant(self, text: str, joined: bool) -> set[str]:
        """The files that one word may mean: of a module, of something stored, at a path or below it."""
        if text == "ls-files":  # asks git for all of them
            return set(self.hashes)
        if re.fullmatch(r"common(\.\w*)*", text):  # a module's name; `python -m common`
            if text == "common":
                return set(self.modules("common.__main__"))
            while "." in text and not self.modules(text):  # "common.sampling.DRAWN"; of "common." all
                text = text.rpartition(".")[0] if not text.endswith(".") else ""
            return set(self.modules(text)) if "." in text else self.below("src/common")
        if "*" in text:
            text, joined = text[: text.index("*")].rpartition("/")[0], True
        if not text or text in IMPORTED_FROM:
            return set()
        found = self.ends.get(text, set())
        if joined or "/" in text:  # a single word by itself is seldom a folder
            folders = (f"{text}/", f"data/{text}/", f"book/{text}/") + ((text,) if "/" in text else ())
            found = found | {name for name in self.hashes if name.startswith(folders)}
        return found

    def closure(self, roots) -> set[str]:
        found, left = set(), set(roots)
        while left:
            node = left.pop()
            found.add(node)
            left |= self.needs(node) - found
        return {node.removeprefix("door ") for node in found}

    # -- items

    @cached_property
    def items(self) -> dict[str, list[str]]:
        """By the command that runs them: test files, notebooks."""
        tests = [n for n in self.hashes if re.fullmatch(r"tests/(?!pages/)(?:.*/)?test_[^/]*\.py", n)]
        return {"unit": tests, "nbval": [n for n in self.hashes if re.fullmatch(r"book/.*\.ipynb", n)]}

    @cached_property
    def general(self) -> dict[str, str]:
        """What everything depends on and is no file of its own."""
        # where packages are installed, and not all of sys.path: importing setuptools adds its own copies
        places = sorted({sysconfig.get_path("purelib"), sysconfig.get_path("platlib")})
        versions = sorted(f"{d.metadata['Name']} {d.version}" for d in metadata.distributions(path=places))
        make = self.text("Makefile") if "Makefile" in self.hashes else ""
        return {
            COMMANDS: digest(commands(make).encode()),
            VERSIONS: digest("\n".join([sys.version, *versions]).encode()),
        }

    def state(self, item: str, reads: Iterable[str] = ()) -> dict[str, str]:
        """All that an item depends on, with its content.

        reads: what it was seen to open or, with a slash at the end, to list: of a folder the names count.
        """
        files = self.closure({item, *(NOTEBOOK if item.endswith(".ipynb") else UNIT)}) | set(reads)
        state = {name: self.hashes[name] for name in sorted(files & self.hashes.keys())}
        for folder in sorted(name for name in reads if name.endswith("/")):
            start = folder.lstrip("/")
            inside = {name[len(start) :].partition("/")[0] for name in self.hashes if name.startswith(start)}
            if inside:
                state[folder] = digest("\n".join(sorted(inside)).encode())
        return self.general | state


def commands(makefile: str) -> str:
    """What of the Makefile the tests run by: all but comments and the rules of other targets."""
    kept = []
    for part in re.split(r"\n\s*\n", re.sub(r"^#.*\n|\s+## .*", "", makefile, flags=re.M)):
        rule = re.search(r"^(?!\.PHONY|ifn?eq)([\w.-][^:=#\t\n]*):(?!=)", part, flags=re.M)
        if not rule or rule[1] in ("unit", "nbval"):
            kept.append(part)
    return "\n\n".join(kept)


# ---- what was green ----------------------------------------------------------------------


def green(root: Path) -> dict[str, dict]:
    """{item: {"state", "reads", "seconds"}} of the last run in which it passed."""
    try:
        return json.loads((root / GREEN).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def keep(root: Path, items: dict[str, dict]) -> None:
    """Replace the record in one step: it is whole at any time."""
    text = json.dumps(items, indent=0)
    (root / GREEN).parent.mkdir(exist_ok=True)
    handle, name = tempfile.mkstemp(dir=root / GREEN.parent, prefix="green-")
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(text)
    os.replace(name, root / GREEN)


def why(now: dict[str, str], then: dict[str, str] | None, item: str) -> str | None:
    """The first thing that differs from when an item was green; None where nothing does."""
    if then is None:
        return "never green here"
    differ = [name for name in now.keys() | then.keys() if now.get(name) != then.get(name)]
    if not differ:
        return None
    first = min(differ, key=lambda n: (n != item, n not in (COMMANDS, VERSIONS), n.endswith("/"), n))
    more = f", and {len(differ) - 1} more" if len(differ) > 1 else ""
    return f"{first} {'is new' if first not in then else 'changed' if first in now else 'is gone'}{more}"


def touched(tree: Tree, record: dict[str, dict]) -> dict[str, str]:
    """{item: why it has to run}."""
    entries = {item: record.get(item, {}) for item in sum(tree.items.values(), [])}
    reasons = {i: why(tree.state(i, e.get("reads", ())), e.get("state"), i) for i, e in entries.items()}
    return {item: reason for item, reason in reasons.items() if reason}


def run(tree: Tree, kind: str, chosen: list[str]) -> bool:
    """Run `make unit` or `make nbval` on these items, and record those that passed."""
    variable = {"unit": "TESTS", "nbval": "NB"}[kind]
    some = [f"{variable}={' '.join(chosen)}"] if chosen != tree.items[kind] else []
    with tempfile.TemporaryDirectory() as folder:
        command = ["make", "--no-print-directory", kind, *some]
        done = subprocess.run(command, cwd=tree.root, env=os.environ | {"CHECK_READS": folder})
        files = [Path(folder, "reads"), Path(folder, "passed.json")]
        reads_text, passed_text = (f.read_text(encoding="utf-8") if f.exists() else "" for f in files)
    if PARTIAL & {name for name, value in os.environ.items() if value}:
        print(f"check: nothing is recorded, for {' or '.join(sorted(PARTIAL))} may have left tests out")
        return done.returncode == 0
    seen: dict[str, set[str]] = {}
    for line in reads_text.splitlines():
        item, _, name = line.partition("\t")
        seen.setdefault(item, set()).add(name)
    record, after = green(tree.root), Tree(tree.root)
    after = tree if after.hashes == tree.hashes else after
    for item, seconds in json.loads(passed_text or "{}").items():
        reads = seen.get(item, set()) | set(record.get(item, {}).get("reads", ()))
        state = tree.state(item, reads)
        if item in chosen and state == after.state(item, reads):  # nothing was edited meanwhile
            reads = sorted(name for name in reads if name in state)
            record[item] = {"state": state, "reads": reads, "seconds": seconds}
    keep(tree.root, {item: entry for item, entry in record.items() if item in sum(after.items.values(), [])})
    return done.returncode == 0


# ---- what is said ------------------------------------------------------------------------


def named(items: Iterable[str]) -> str:
    """2 test files (nn, optim) and 1 notebook (05_batchnorm_fix)."""
    items, parts = sorted(items), []
    for kind, end in (("test file", ".py"), ("notebook", ".ipynb")):
        names = [PurePosixPath(item).stem.removeprefix("test_") for item in items if item.endswith(end)]
        if names:
            parts.append(f"{len(names)} {kind}{'s' * (len(names) > 1)} ({', '.join(names)})")
    return " and ".join(parts) or "nothing"


def say(text: str) -> None:
    print(textwrap.fill(text, 110, subsequent_indent="    ", break_on_hyphens=False), flush=True)


def main(arguments: list[str] | None = None, root: Path = ROOT) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("items", nargs="*", help="of what changed only these test files and notebooks")
    parser.add_argument("--all", action="store_true", help="everything, changed or not, and the pages")
    parser.add_argument("--pages", action="store_true", help="the pages in a browser as well")
    parser.add_argument("--list", action="store_true", help="only say what would run, and why")
    options = parser.parse_args(arguments)
    began, tree, record = time.monotonic(), Tree(root), green(root)
    everything = sum(tree.items.values(), [])
    asked = dict.fromkeys(everything, "asked for") if options.all else touched(tree, record)
    reasons: dict[str, list[str]] = {}
    for item, reason in asked.items():
        reasons.setdefault(reason, []).append(item)
    changed = set(asked)
    if strange := set(options.items) - set(everything):
        parser.error(f"neither test file nor notebook: {', '.join(sorted(strange))}")
    chosen = changed & set(options.items or changed)
    for reason, items in sorted(reasons.items(), key=lambda one: -len(one[1])):
        say(f"check: {reason}: {named(items)}")
    if changed - chosen:
        say(f"check: left out, though changed: all of these but {named(chosen)}")
    if left := set(everything) - changed:
        say(f"check: left out, as nothing that they depend on has changed: {named(left)}")
    if not (options.all or options.pages):
        say("check: left out: the pages in a browser (make check PAGES=1)")
    took = sum(record[item]["seconds"] for item in chosen if item in record)
    if known := sum(item in record for item in chosen):
        say(
            f"check: {known} of the {len(chosen)} took {took / 60:.1f} minutes last time, one after the other"
        )
    green_so_far = True
    for kind in () if options.list else ("unit", "pages", "nbval"):
        if kind == "pages":
            if options.all or options.pages:
                done = subprocess.run(["make", "--no-print-directory", "pages"], cwd=root)
                green_so_far = done.returncode == 0
        elif some := [item for item in tree.items[kind] if item in chosen]:
            green_so_far = run(tree, kind, some)
        if not green_so_far:
            break
    if not options.list:
        ending = "green" if green_so_far else f"NOT green: make {kind} failed"
        say(f"check: {ending}, after {(time.monotonic() - began) / 60:.1f} minutes")
    return int(not green_so_far)


if __name__ == "__main__":
    sys.exit(main())
