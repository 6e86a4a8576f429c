"""The chapter is the source: a class or function that a chapter writes out, and `common` keeps, is the same.

Where the code can be the same it is compared as code: without docstrings, annotations, checks that raise,
and the names of local variables. Where it cannot, what both compute is compared, and KEPT says why they
differ, in the chapter's words. Nothing is executed but a chapter's imports from the core and
its definitions.
"""

import ast
import functools
import importlib
import inspect
import itertools
import re
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import nbformat
import pytest
import torch

from common import constraints, data, models, nn, optim, sampling, train

ROOT = Path(__file__).resolve().parent.parent
PARTS = {"wavenet": "", "rnn": "rnn-"}  # a chapter of part two has its folder's name before its number
CHAPTERS = {
    before + path.name[:2]: path
    for part, before in PARTS.items()
    for path in sorted((ROOT / "book" / part).glob("[0-9][0-9]_*.ipynb"))
}
ROOMS = (nn, models, data, optim, train, sampling, constraints)
IMPORTED = {
    "torch", "torch.nn.utils.rnn", "torch.utils.data", "math", "dataclasses", "common.nn", "common.models",
    "common.models.seq2seq", "common.data", "common.optim",
}  # fmt: skip
VOCABULARY = data.Vocabulary("abcdefghijklmnopqrstuvwxyz")


# ---- a chapter, read -------------------------------------------------------------------


def is_imported(node: ast.stmt) -> bool:
    if isinstance(node, ast.Import):
        return all(alias.name.partition(".")[0] in IMPORTED for alias in node.names)
    return isinstance(node, ast.ImportFrom) and node.module in IMPORTED


def is_defined(node: ast.stmt) -> bool:
    return isinstance(node, ast.ClassDef | ast.FunctionDef)


def is_given_to(classes: set[str], node: ast.stmt) -> bool:
    """Module.train = train: chapter 2 builds a class in steps."""
    targets = ast.walk(node.targets[0]) if isinstance(node, ast.Assign) else []
    return any(isinstance(t, ast.Attribute) and ast.unparse(t.value) in classes for t in targets)


@functools.cache
def chapter(number: str) -> tuple[str, dict[str, ast.stmt], dict]:
    """The chapter's text, its definitions as code, and as objects."""
    cells = nbformat.read(CHAPTERS[number], as_version=4).cells
    text = " ".join(word for cell in cells for word in cell.source.split())
    code = [re.sub(r"^[%!].*$", "", cell.source, flags=re.M) for cell in cells if cell.cell_type == "code"]
    nodes = [node for source in code for node in ast.parse(source).body]
    written = {node.name: node for node in nodes if is_defined(node)}
    classes = {name for name, node in written.items() if isinstance(node, ast.ClassDef)}
    steps = [node for node in nodes if is_defined(node) or is_given_to(classes, node)]
    space = {"vocabulary": VOCABULARY, "index_of": dict(zip(VOCABULARY.tokens, range(27), strict=True))}
    for node in [*filter(is_imported, nodes), *steps]:
        exec(compile(ast.Module([node], []), str(CHAPTERS[number]), "exec"), space)
    return text, written, space


def public_names() -> set[str]:
    """What the core has under a name of its own."""
    return {
        name
        for room in ROOMS
        for name, thing in vars(room).items()
        if (inspect.isclass(thing) or inspect.isfunction(thing))
        and thing.__module__.startswith("common.")
        and not name.startswith("_")
    }


# ---- the same code ---------------------------------------------------------------------


class Normal(ast.NodeTransformer):
    """Code without what a chapter leaves out, and with local variables named by their order."""

    def __init__(self, names: list[str]):
        self.names = {name: f"v{i}" for i, name in enumerate(names)}

    def visit_Expr(self, node):
        checks = isinstance(node.value, ast.Call) and ast.unparse(node.value.func).startswith(
            ("self.check", "config.check")
        )
        return None if checks or isinstance(node.value, ast.Constant) else self.generic_visit(node)

    def visit_If(self, node):
        raises = isinstance(node.body[0], ast.Raise) and not node.orelse
        return None if raises else self.generic_visit(node)

    def visit_arg(self, node):
        return ast.arg(self.names.get(node.arg, node.arg))

    def visit_Name(self, node):
        return ast.Name(self.names.get(node.id, node.id), ast.Load())

    def visit_AnnAssign(self, node):
        return self.generic_visit(ast.Assign([node.target], node.value)) if node.value else None

    def visit_FunctionDef(self, node):
        node.returns = None
        return self.generic_visit(node)


def local_names(node: ast.FunctionDef) -> list[str]:
    stored = [n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)]
    arguments = [argument.arg for argument in ast.walk(node.args) if isinstance(argument, ast.arg)]
    return list(dict.fromkeys([*arguments, *stored]))


def normal(node: ast.stmt) -> dict[str, str]:
    """A function's code, or that of each method and field of a class, by name."""
    if isinstance(node, ast.FunctionDef):
        shown = Normal(local_names(node)).visit(ast.parse(ast.unparse(node)).body[0])
        return {node.name: ast.unparse(ast.fix_missing_locations(shown))}
    parts = {}
    for part in node.body:
        if isinstance(part, ast.FunctionDef):
            parts |= normal(part)
        elif isinstance(part, ast.AnnAssign | ast.Assign):
            target = part.target if isinstance(part, ast.AnnAssign) else part.targets[0]
            parts[ast.unparse(target)] = ast.unparse(part.value)
    return parts


def code_of(thing) -> dict[str, str]:
    return normal(ast.parse(textwrap.dedent(inspect.getsource(thing))).body[0])


# ---- the same numbers ------------------------------------------------------------------


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def tensors(module) -> dict[str, torch.Tensor]:
    if hasattr(module, "state_dict"):
        return dict(module.state_dict())
    return {name: value for name, value in vars(module).items() if isinstance(value, torch.Tensor)}


def same(ours, theirs, tolerance=0.0) -> None:
    torch.testing.assert_close(ours, theirs, rtol=0, atol=tolerance)


def layer(arguments: tuple, shape: tuple, tolerance=0.0, integers=False, **options) -> Callable:
    """A check of two layers: the same tensors at the start, the same outputs and tensors in both modes."""

    def check(own, core) -> None:
        drawn = {"generator": generator} if "generator" in inspect.signature(core.__init__).parameters else {}
        ours, theirs = (
            kind(*arguments, **{name: make() for name, make in drawn.items()}, **options)
            for kind in (own, core)
        )
        for mode in (True, False):
            ours.training = mode
            theirs.train(mode)
            x = torch.randint(0, 5, shape) if integers else torch.randn(shape, generator=generator())
            same(ours(x), theirs(x), tolerance)
            state = tensors(theirs)
            same(tensors(ours), {name: state[name] for name in tensors(ours)}, tolerance)

    return check


def modules_in_steps(own, core) -> None:
    """What chapter 2's class finds in a module of modules is what the core's finds."""
    _, _, space = chapter("02")
    ours = space["Sequential"]({"map": space["Linear"](2, 3), "norm": space["BatchNorm1d"](3)})
    theirs = nn.Sequential({"map": nn.Linear(2, 3), "norm": nn.BatchNorm1d(3)})
    for method in ("named_parameters", "state_dict"):
        assert list(dict(getattr(ours, method)())) == list(dict(getattr(theirs, method)()))
    assert len(list(ours.modules())) == len(theirs.modules())
    for switched in (ours.train(False), theirs.train(False)):
        assert [module.training for module in switched.modules()] == [False] * 3


def mlp(own, core) -> None:
    ours, theirs = own(chapter("02")[2]["BatchNorm1d"]), core(27, 3, 10, 200, generator=generator())
    same(ours.state_dict(), theirs.state_dict())
    x = torch.randint(0, 27, (8, 3), generator=generator())
    same(ours(x), theirs(x))


def sequential(own, core) -> None:
    _, _, space = chapter("02")
    ours = own([space["Linear"](2, 3, generator=generator()), space["Tanh"]()])
    theirs = core([nn.Linear(2, 3, generator=generator()), nn.Tanh()])
    same(ours.state_dict(), theirs.state_dict())
    same(ours(torch.ones(4, 2)), theirs(torch.ones(4, 2)))


def trained(own, core) -> None:
    x, y = data.windows(["emma", "olivia"], VOCABULARY, 8)
    ours, theirs = (models.Tree(generator=generator()) for _ in range(2))
    config = train.Config(steps=6, batch_size=8)
    losses = [steps(model, x, y, generator(), config, 0, 6) for steps, model in ((own, ours), (core, theirs))]
    same(*losses)
    same(ours.state_dict(), theirs.state_dict())


def cut_into_windows(own, core) -> None:
    same(own(["emma", "al"], 3), core(["emma", "al"], VOCABULARY, 3))


def residual(own, core) -> None:
    inside = [nn.Linear(3, 3, generator=generator()), nn.Tanh()]
    same(own(inside)(torch.ones(2, 3)), core(inside)(torch.ones(2, 3)))


def masked_norm(own, core) -> None:
    mask = torch.tensor([[True, True, False], [True, False, False]])
    ours, theirs = own(4), nn.BatchNorm1d(4)
    for mode in (True, False):
        ours.train(mode), theirs.train(mode)
        x = torch.randn(2, 3, 4, generator=generator())
        with core(theirs, mask):
            same(ours(x, mask), theirs(x))
    same(ours.state_dict(), theirs.state_dict())


def masks(own, core) -> None:
    for T, S in ((1, 1), (2, 5), (4, 4)):
        same(own(T, S), core(T, S))


def wavenet(own, core) -> None:
    """With the same tensors, the same logits; the core's last block has fewer."""
    ours = own(27, 6, 5, (1, 2), generator=generator())
    theirs = core(27, 6, 5, (1, 2), generator=generator())
    ours.load_state_dict(ours.state_dict() | theirs.state_dict())
    x = torch.randint(0, 27, (2, 7), generator=generator())
    same(ours(x), theirs(x), 1e-6)


def reshaping(name: str, value) -> Callable:
    def check(own, core) -> None:
        for logits in torch.randn(20, 27, generator=generator()):
            same(torch.softmax(own(logits, value), 0), core(logits, **{name: value}), 1e-6)

    return check


def machine(*arguments) -> Callable:
    """A check of two constraints: which of all short names meet them."""

    def meets(kind, name: str) -> bool:
        constraint = kind(*arguments)
        state = constraint.start()
        for character in name:
            state = constraint.step(state, character)
            if state is None:
                return False
        return constraint.accepts(state)

    def check(own, core) -> None:
        names = ["".join(letters) for n in range(5) for letters in itertools.product("ab", repeat=n)]
        ours = [meets(own, name) for name in names]
        assert ours == [meets(core, name) for name in names]
        assert 0 < sum(ours) < len(ours)

    return check


def both(own, core) -> None:
    parts = constraints.Length(2, 3), constraints.Pattern("a*")
    machine(*parts)(own, core)


def next_characters(own, core) -> None:
    automaton = core(constraints.Length(1, 2) & constraints.NotIn(["ab"]), VOCABULARY, 2)
    for state in (automaton.start, automaton.constraint.step(automaton.start, "a")):
        theirs = VOCABULARY.decode(sorted(automaton.allowed(state)))
        assert "".join(sorted(own(automaton.constraint, state, {}))) == "".join(sorted(theirs))


def optimizer(core_options: dict | None = None, **options) -> Callable:
    def check(own, core) -> None:
        g, ours, theirs = generator(), own(**options), core(**(core_options or options))
        p = q = torch.randn((3, 4), generator=g, dtype=torch.float64)
        ours_state, their_state = ours.init(p), theirs.init(q)
        for _ in range(10):
            gradient = torch.randn((3, 4), generator=g, dtype=torch.float64)
            p, ours_state = ours.update(p, gradient, ours_state, 0.1)
            q, their_state = theirs.update(q, gradient, their_state, 0.1)
        same(p, q, 1e-12)

    return check


def muon(own, core) -> None:
    p, g, b = torch.randn((3, 6, 4), generator=generator())
    ours, momentum = own(p, g, b, 0.1)
    theirs, state = core(weight_decay=0.0, factor=1.0).update(p, g, {"b": b}, 0.1)
    same((ours, momentum), (theirs, state["b"]), 1e-6)


def unrolled(own, core) -> None:
    cell, steps = nn.RNNCell(3, 5, generator=generator()), torch.randn((7, 4, 3), generator=generator())
    same(own(cell, steps), core(cell, steps))
    same(own(cell, steps, torch.ones(4, 5)), core(cell, steps, torch.ones(4, 5)))


def sentences(own, core) -> None:
    """Each way of pooling, each mode: the same logits, and the same tensors at the start."""
    x = torch.tensor([[3, 1, 4, 1, 5], [2, 0, 0, 0, 0], [6, 5, 3, 0, 0]])
    for options in ({}, {"pool": "last"}, {"pool": "max"}, {"bidirectional": False}, {"layer": nn.GRU}):
        ours, theirs = (
            kind(7, n_embd=4, n_hidden=3, **options, generator=generator()) for kind in (own, core)
        )
        same(ours.state_dict(), theirs.state_dict())
        for mode in (True, False):
            for model in (ours, theirs):
                model.train(mode).dropout.generator = generator()
            same(ours(x), theirs(x), 1e-6)


def attention(own, core) -> None:
    """Each score: the same tensors at the start, contexts and weights."""
    words = torch.tensor([[True, True, False], [True, True, True]])
    queries, outputs = torch.randn((2, 2, 3, 4), generator=generator())
    for score in ("none", "dot", "general", "additive"):
        ours, theirs = (kind(4, score, generator=generator()) for kind in (own, core))
        same(ours.state_dict(), theirs.state_dict())
        same(ours(queries, outputs, words), theirs(queries, outputs, words))


def translators(own, core) -> None:
    """The same tensors at the start, logits, states and weights."""
    source, target = torch.tensor([[3, 1, 4, 2], [5, 2, 0, 0]]), torch.tensor([[1, 3, 5], [1, 4, 0]])
    for score in ("none", "general"):
        ours, theirs = (kind(7, 6, score, 4, 6, generator=generator()) for kind in (own, core))
        same(ours.state_dict(), theirs.state_dict())
        for mode in (True, False):
            for model in (ours, theirs):
                model.train(mode).dropout.generator = generator()
            same(ours(source, target), theirs(source, target), 1e-6)
        looked = [one.decode(target, *one.encode(source))[2] for one in (ours, theirs)]
        same(*looked, 1e-6)


# ---- what is kept ----------------------------------------------------------------------


class Kept(NamedTuple):
    """Where the core keeps it, and how the two are compared.

    check: None compares the code. said: what the chapter says of the difference, where there is one.
    """

    address: str
    check: Callable | None = None
    said: str = ""


ERRORS = "the same arithmetic, and errors that say what was expected"  # chapter 2 of all its layers
MORE_CASES = "The classes in `common.nn` are these, with more cases"  # of part two, chapter 1
KEPT = {
    ("01", "windows"): Kept("data.windows", cut_into_windows, "They return the same tensors"),
    ("02", "Module"): Kept("nn.Module", modules_in_steps, ERRORS),
    ("02", "Linear"): Kept("nn.Linear", layer((4, 3), (2, 4)), ERRORS),
    ("02", "Embedding"): Kept("nn.Embedding", layer((5, 3), (2, 4), integers=True), ERRORS),
    ("02", "Tanh"): Kept("nn.Tanh"),
    ("02", "Flatten"): Kept("nn.Flatten"),
    ("02", "BatchNorm1d"): Kept("nn.BatchNorm1d", layer((3,), (8, 3)), "Its `BatchNorm1d` differs further"),
    ("02", "Sequential"): Kept("nn.Sequential", sequential, ERRORS),
    ("02", "build"): Kept("models.MLP", mlp),
    ("02", "plain_steps"): Kept("train.plain_steps", trained, "holds this loop as `plain_steps`"),
    ("04", "FlattenConsecutive"): Kept(
        "nn.FlattenConsecutive", layer((2,), (3, 8, 5)), "module's version says what is wrong"
    ),
    ("05", "FixedBatchNorm1d"): Kept(
        "nn.BatchNorm1d", layer((3,), (8, 4, 3)), "common.nn.BatchNorm1d does the same"
    ),
    ("07", "CausalConv1d"): Kept(
        "nn.CausalConv1d", layer((4, 3, 2, 2), (2, 9, 4), 1e-6), "It is the same layer"
    ),
    ("07", "MaskedBatchNorm1d"): Kept("models.padded", masked_norm, "In the module BatchNorm takes no mask"),
    ("08", "Gate"): Kept("nn.Gate"),
    ("08", "Residual"): Kept("nn.Residual", residual),
    ("08", "WaveNetBlock"): Kept(
        "models.WaveNetBlock",
        layer((4, 3, 2, 2), (2, 9, 4)),
        "The module's classes are these, with more cases",
    ),
    ("08", "WaveNet"): Kept("models.WaveNet", wavenet, "a last block that hands nothing on"),
    ("10", "top_k"): Kept("sampling.probabilities", reshaping("top_k", 5), "works on whole batches"),
    ("10", "nucleus"): Kept("sampling.probabilities", reshaping("top_p", 0.6), "works on whole batches"),
    ("10", "Length"): Kept("constraints.Length", machine(1, 3), "holds the same machines"),
    ("10", "Pattern"): Kept("constraints.Pattern", machine("a?b"), "Its `Pattern` also knows `*`"),
    ("10", "NotIn"): Kept("constraints.NotIn", machine(["ab", "a", ""]), "holds the same machines"),
    ("10", "Both"): Kept("constraints.All", both, "`&` joins them"),
    ("10", "allowed"): Kept("constraints.Automaton", next_characters, "holds the same machines"),
    ("11", "SGD"): Kept("optim.SGD", optimizer(), "with the same functions"),
    ("11", "Momentum"): Kept("optim.SGD", optimizer({"momentum": 0.9}), "with the same functions"),
    ("11", "RMSprop"): Kept("optim.RMSprop", optimizer(), "with the same functions"),
    ("11", "Adam"): Kept("optim.Adam", optimizer(weight_decay=0.1), "with the same functions"),
    ("11", "AdamW"): Kept("optim.AdamW", optimizer(weight_decay=0.1), "with the same functions"),
    ("rnn-01", "RNNCell"): Kept("nn.RNNCell", layer((3, 5), (2, 3)), MORE_CASES),
    ("rnn-01", "unroll"): Kept("nn.unroll", unrolled, MORE_CASES),
    ("rnn-01", "RNN"): Kept("nn.RNN", layer((3, 5), (2, 4, 3)), MORE_CASES),
    ("rnn-02", "LSTMCell"): Kept("nn.LSTMCell"),
    ("rnn-02", "GRUCell"): Kept("nn.GRUCell"),
    ("rnn-02", "LayerNorm"): Kept("nn.LayerNorm"),
    ("rnn-03", "SentenceClassifier"): Kept(
        "models.SentenceClassifier", sentences, "is this class, with errors that say what was expected"
    ),
    ("rnn-05", "Attention"): Kept("models.Attention", attention, "with errors that say what was expected"),
    ("rnn-05", "Seq2Seq"): Kept("models.Seq2Seq", translators, "with errors that say what was expected"),
    ("rnn-06", "attention_weights"): Kept("nn.attention_weights"),
    ("rnn-06", "causal_mask"): Kept(
        "nn.causal_mask", masks, "`causal_mask` in `common.nn` also takes a device"
    ),
    ("rnn-06", "MultiheadAttention"): Kept(
        "nn.MultiheadAttention",
        layer((8, 2), (3, 5, 8)),
        "computes the same, and refuses sizes that do not fit",
    ),
    ("rnn-06", "TransformerBlock"): Kept(
        "models.TransformerBlock", layer((8, 2), (3, 5, 8)), "in `common.models` also keeps keys and values"
    ),
    ("13", "orthogonal"): Kept("optim.orthogonal"),
    ("13", "muon_step"): Kept("optim.Muon", muon, "multiplies the rate of the matrices by"),
}
# Another thing under a name that the core has.
ANOTHER = {
    ("01", "examples"): "an exercise: windows of one name, as letters",
}


def kept(number: str, name: str) -> tuple:
    """The chapter's object, and the core's."""
    room, _, inside = KEPT[number, name].address.partition(".")
    return chapter(number)[2][name], getattr(importlib.import_module(f"common.{room}"), inside)


@pytest.mark.parametrize("number", CHAPTERS)
def test_what_has_a_name_of_the_core_is_compared_with_it(number):
    shared = {name for name in chapter(number)[1] if name in public_names()}
    unknown = [name for name in sorted(shared) if (number, name) not in KEPT | ANOTHER]
    assert not unknown, f"chapter {number} writes out {unknown}, which common keeps: list them in KEPT"


@pytest.mark.parametrize("number, name", [*KEPT, *ANOTHER])
def test_what_is_listed_is_written_out_in_the_chapter(number, name):
    assert name in chapter(number)[1]


@pytest.mark.parametrize("number, name", [key for key, entry in KEPT.items() if entry.check is None])
def test_the_code_is_the_same(number, name):
    written, (_, core) = normal(chapter(number)[1][name]), kept(number, name)
    theirs = code_of(core)
    assert written == {part: theirs.get(part) for part in written}


@pytest.mark.parametrize("number, name", [key for key, entry in KEPT.items() if entry.check])
def test_what_is_computed_is_the_same(number, name):
    KEPT[number, name].check(*kept(number, name))


@pytest.mark.parametrize("number, name", [key for key, entry in KEPT.items() if entry.said])
def test_the_chapter_says_what_differs(number, name):
    assert KEPT[number, name].said in chapter(number)[0]


def test_a_difference_in_the_code_is_found():
    """What the comparison passes over, and what it does not."""

    def written(x, n):
        total = x + n
        return total * 2

    def checked(input: int, n: int) -> int:
        """Twice the sum."""
        if n < 0:
            raise ValueError(n)
        sum_ = input + n
        return sum_ * 2

    def another(x, n):
        total = x - n
        return total * 2

    ours, theirs, other = (
        code_of(function)[function.__name__].partition("(")[2] for function in (written, checked, another)
    )
    assert ours == theirs and ours != other
