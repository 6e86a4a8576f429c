"""Things to play with in the page: live models, with no kernel and no network.

Each function returns an anywidget. Its front end is plain JavaScript beside this file, its weights
and data are traits, so that a notebook which stores widget state stores all that the page needs:
JupyterLab runs it live, and the rendered page runs the same code by itself. What the reader does
comes back as traits too (`prefix`, `level`, `window`, ...), for a kernel that listens.
"""

import copy
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import anywidget
import torch
import traitlets
from torch import nn

from ...data import Vocabulary
from ...models import POOLS, Recipe, TransformerBlock, count_parameters, tagged
from ...models.seq2seq import Seq2Seq
from ...nn import (
    RNN,
    BatchNorm1d,
    CausalConv1d,
    Cell,
    Dropout,
    Embedding,
    Flatten,
    FlattenConsecutive,
    GRUCell,
    LayerNorm,
    Linear,
    LSTMCell,
    Module,
    PositionalEmbedding,
    Recurrent,
    Residual,
    RNNCell,
    Sequential,
    SiLU,
    Tanh,
)
from ..plots import BLUE, BROWN, DEEP, GREEN, INK, PINK, RED, SOFT, colour_of

Model = TypeVar("Model", bound=Module)

HERE = Path(__file__).parent
# What the style sheet calls the colours of models.
HUES = {BLUE: "blue", RED: "red", GREEN: "green", PINK: "pink", BROWN: "brown", DEEP: "deep",
        INK: "ink", SOFT: "soft"}  # fmt: skip
HALVE_ABOVE = 100_000  # a model of more parameters goes into the page with `rounded` weights
LARGEST = 1_200_000  # parameters: a model of more makes a page too heavy


def _source(*names: str) -> str:
    """The front end as one module: files in this order, the last of which exports it."""
    return "\n".join((HERE / f"{name}.js").read_text(encoding="utf-8") for name in names)


class Front(anywidget.AnyWidget):
    """What all of them share: the style, and a sentence where nothing can be drawn yet.

    The sentence is what a notebook stores as the widget's plain text. It is the same in every run, so
    nbval compares it; JupyterLab shows it before the cell has run.
    """

    _css = (HERE / "widgets.css").read_text(encoding="utf-8")
    shows = "a widget"

    @classmethod
    def sentence(cls) -> str:
        return f"Run this cell to see {cls.shows}."

    def __repr__(self) -> str:
        return self.sentence()


class Widget(Front):
    """One that computes: models as numbers."""

    stages = traitlets.List().tag(sync=True)
    weights = traitlets.Bytes().tag(sync=True)
    characters = traitlets.Unicode().tag(sync=True)
    seed = traitlets.Int(0).tag(sync=True)


class Playground(Widget):
    _esm = _source("page", "model", "constraints", "playground")
    shows = "a playground: type how a name begins, and trained models go on"
    names = traitlets.Unicode().tag(sync=True)
    prefix = traitlets.Unicode().tag(sync=True)
    temperature = traitlets.Float(1.0).tag(sync=True)
    top_k = traitlets.Int(0).tag(sync=True)
    top_p = traitlets.Float(1.0).tag(sync=True)
    pattern = traitlets.Unicode().tag(sync=True)
    alphabet = traitlets.Unicode().tag(sync=True)
    shortest = traitlets.Int(0).tag(sync=True)
    longest = traitlets.Int(0).tag(sync=True)  # 0: any
    only_new = traitlets.Bool(False).tag(sync=True)
    left = traitlets.Unicode().tag(sync=True)
    right = traitlets.Unicode().tag(sync=True)
    generated = traitlets.List().tag(sync=True)


class Tree(Widget):
    _esm = _source("page", "model", "tree")
    shows = "a tree that reads a name, to be fused level by level"
    text = traitlets.Unicode().tag(sync=True)
    level = traitlets.Int().tag(sync=True)


class Convolution(Widget):
    _esm = _source("page", "model", "convolution")
    shows = "a convolution that reads a name, letter by letter"
    text = traitlets.Unicode().tag(sync=True)
    step = traitlets.Int().tag(sync=True)


class ReceptiveField(Front):
    _esm = _source("page", "field")
    shows = "the receptive field of a stack of convolutions, to be drawn anew by sliders"
    vocabulary = traitlets.Int(27).tag(sync=True)
    kernel_size = traitlets.Int(2).tag(sync=True)
    layers = traitlets.Int(3).tag(sync=True)
    stacks = traitlets.Int(2).tag(sync=True)
    growth = traitlets.Unicode("doubling").tag(sync=True)
    block = traitlets.Unicode("skip").tag(sync=True)
    channels = traitlets.Int(45).tag(sync=True)
    back = traitlets.Int(0).tag(sync=True)


class BatchNormAxes(Widget):
    _esm = _source("page", "model", "batchnorm")
    shows = "a batch, and the means that BatchNorm takes of it with either choice of axes"
    contexts = traitlets.Bytes().tag(sync=True)
    axes = traitlets.Unicode("B").tag(sync=True)
    batch_size = traitlets.Int(32).tag(sync=True)
    channel = traitlets.Int(0).tag(sync=True)


class Listening(Front):
    _esm = _source("page", "listening")
    shows = "sounds side by side, each with its spectrogram, to be played"
    title = traitlets.Unicode().tag(sync=True)
    attempt = traitlets.Unicode().tag(sync=True)
    titles = traitlets.List().tag(sync=True)
    samples = traitlets.Bytes().tag(sync=True)  # one sound after the other, 8 bits a sample
    spectra = traitlets.Bytes().tag(sync=True)  # (sounds, bins, columns), how loud: 0 to 255
    rate = traitlets.Int().tag(sync=True)
    bins = traitlets.Int().tag(sync=True)
    highest = traitlets.Int().tag(sync=True)
    opening = traitlets.List().tag(sync=True)


class LossCurves(Front):
    _esm = _source("page", "curves")
    shows = "training losses, with a slider for the length of their average"
    losses = traitlets.Bytes().tag(sync=True)
    range = traitlets.List().tag(sync=True)
    labels = traitlets.List().tag(sync=True)
    hue = traitlets.Unicode("").tag(sync=True)
    drop = traitlets.Int(0).tag(sync=True)
    window = traitlets.Int(1_000).tag(sync=True)


class Valley(Front):
    _esm = _source("page", "valley")
    shows = "a valley, and the path of an optimiser through it"
    kind = traitlets.Unicode("sgd").tag(sync=True)
    rate = traitlets.Float(0.02).tag(sync=True)
    steep = traitlets.Int(30).tag(sync=True)
    unit = traitlets.Int(1).tag(sync=True)
    steps = traitlets.Int(40).tag(sync=True)


class RunExplorer(Front):
    _esm = _source("page", "explorer")
    shows = "the runs of a search, to compare and pin"
    runs = traitlets.List().tag(sync=True)
    axes = traitlets.List().tag(sync=True)
    unit = traitlets.Unicode().tag(sync=True)
    run = traitlets.Int(-1).tag(sync=True)
    pinned = traitlets.List().tag(sync=True)
    best = traitlets.Int(0).tag(sync=True)
    only = traitlets.Unicode().tag(sync=True)


class SentenceReader(Widget):
    _esm = _source("page", "model", "sentence")
    shows = "a sentence that is read word by word, with a probability after each"
    words = traitlets.Unicode().tag(sync=True)
    unknown = traitlets.Int(1).tag(sync=True)
    labels = traitlets.List().tag(sync=True)
    temperature = traitlets.Float(1.0).tag(sync=True)
    examples = traitlets.List().tag(sync=True)
    text = traitlets.Unicode().tag(sync=True)


class AttentionHeads(Widget):
    _esm = _source("page", "model", "heads")
    shows = "a name, and what each head of attention reads of it"
    text = traitlets.Unicode().tag(sync=True)
    block = traitlets.Int(0).tag(sync=True)
    head = traitlets.Int(0).tag(sync=True)
    place = traitlets.Int(-1).tag(sync=True)  # -1: the last


class Translator(Widget):
    _esm = _source("page", "model", "translate", "translator")
    shows = "a translator that you can type to, with a map of where each step looks"
    source = traitlets.Unicode().tag(sync=True)
    target = traitlets.Unicode().tag(sync=True)
    examples = traitlets.List().tag(sync=True)
    text = traitlets.Unicode().tag(sync=True)


class WaveDrawing(Widget):
    _esm = _source("page", "model", "wave")
    shows = "a wave that you can draw, continued by a network and by a weighted sum"
    linear = traitlets.List().tag(sync=True)
    units = traitlets.List().tag(sync=True)
    series = traitlets.List().tag(sync=True)
    wave = traitlets.List().tag(sync=True)
    preset = traitlets.Unicode("sum").tag(sync=True)
    network = traitlets.Int(0).tag(sync=True)
    noise = traitlets.Float(0.0).tag(sync=True)


class TextWriter(Widget):
    _esm = _source("page", "model", "writer")
    shows = "a text that a model goes on with, character by character"
    tokens = traitlets.List().tag(sync=True)  # "" is one that no text holds
    units = traitlets.List().tag(sync=True)
    text = traitlets.Unicode().tag(sync=True)
    written = traitlets.Unicode().tag(sync=True)
    temperature = traitlets.Float(1.0).tag(sync=True)
    colour = traitlets.Unicode("").tag(sync=True)  # "surprise", the place of one of the units, "any"
    unit = traitlets.Int(0).tag(sync=True)


def steps_of(matrix: torch.Tensor) -> torch.Tensor:
    """For each row of a matrix the step of its 8-bit whole numbers: (rows, 1)."""
    return matrix.abs().amax(1, keepdim=True).clamp(min=1e-30) / 127


def rounded(model: Model, bits: int = 16) -> Model:
    """A copy with the weights that the page has of a large model: tables and matrices as floats of 16 bits,
    or as whole numbers of 8 bits with a step for each row."""

    def seen(t):
        if t.ndim < 2:
            return t.clone()
        return t.half().to(t.dtype) if bits == 16 else (t / steps_of(t)).round() * steps_of(t)

    return copy.deepcopy(model).load_state_dict({k: seen(t) for k, t in model.state_dict().items()})


def packed(
    models: Mapping[str, tuple[Recipe, Module]], halve_above: int = HALVE_ABOVE, bits: int = 16
) -> tuple[list[dict], bytes]:
    """Trained models as the front end reads them: a description of each, and all numbers in one string.

    Numbers are little-endian floats of 32 bits, and a tensor is written down as [start, length] in
    them. Tables and matrices of models with more than `halve_above` parameters have 16 bits a number,
    half the bytes: [start, length, 16], counted in 16-bit floats; or 8, a quarter: [start, length, 8, rows],
    a 32-bit step for each row at the start, and behind them whole numbers. BatchNorm goes in as what it is in
    evaluation mode, a scale and a shift a channel; Dropout, which is nothing then, not at all. A model
    that is no Sequential has an embedding, recurrent layers and a linear map, and in front of that perhaps
    a `pool` over the steps.
    ValueError for a layer that the front end does not know, a model that is too large for a page, and a
    number that does not fit.
    """
    numbers, stages, large = bytearray(), [], False

    def store(tensor):
        few = bits if large and tensor.ndim > 1 else 32
        kept = tensor.detach().cpu().to(torch.float16 if few == 16 else torch.float32)
        if not kept.isfinite().all():
            raise ValueError(f"expected finite numbers that {few} bits hold, got {tensor.abs().max():g}")
        start, form = len(numbers) * 8 // few, {8: "i1", 16: "<f2", 32: "<f4"}[few]
        if few == 8:
            start = len(numbers) // 4
            numbers.extend(steps_of(kept).numpy().astype("<f4").tobytes())
            kept = (kept / steps_of(kept)).round()
        numbers.extend(kept.numpy().astype(form).tobytes())
        numbers.extend(bytes(-len(numbers) % 4))  # the next tensor may have 32 bits
        return [start, kept.numel(), *([few] if few < 32 else []), *([len(kept)] if few == 8 else [])]

    def describe_all(layers):
        found = []
        for layer in layers:
            if isinstance(layer, RNN):
                found += [describe_ways(cells) for cells in layer.layers]
            elif not isinstance(layer, Dropout):
                found.append(layer if isinstance(layer, dict) else describe(layer))
        return found

    def describe_ways(cells):
        ways = [describe_cell(cell) | {"backward": way == "backward"} for way, cell in cells.items()]
        return {"kind": "ways", "layers": ways} if len(ways) > 1 else ways[0]

    def describe_cell(cell: Cell):
        kind = {RNNCell: "rnn", LSTMCell: "lstm", GRUCell: "gru"}.get(type(cell))
        if kind is None or getattr(cell, "activation", torch.tanh) is not torch.tanh:
            raise ValueError(f"expected a cell that the page can compute, got {cell!r}")
        inputs, outputs = cell.input.weight.shape
        biases = {"bias": cell.input.bias, "recurrentBias": cell.recurrent.bias}
        return {
            "kind": kind, "inputs": inputs, "hidden": outputs // cell.gates, "outputs": outputs,
            "weight": store(cell.input.weight), "recurrent": store(cell.recurrent.weight),
            **{name: store(bias) for name, bias in biases.items() if bias is not None},
        }  # fmt: skip

    def describe(layer):
        if isinstance(layer, PositionalEmbedding):
            return {"kind": "position", "weight": store(layer.weight)}
        if isinstance(layer, LayerNorm):
            return {
                "kind": "layernorm",
                "weight": store(layer.weight),
                "bias": store(layer.bias),
                "eps": 1e-5,
            }
        if isinstance(layer, TransformerBlock) and layer.norm_first:
            reads = [layer.norm1, layer.to_qkv, {"kind": "attention", "heads": layer.heads}, layer.to_out]
            thinks = [layer.norm2, layer.up, {"kind": "gelu"}, layer.down]
            parts = [{"kind": "residual", "layers": describe_all(part)} for part in (reads, thinks)]
            return {"kind": "block", "layers": parts}
        if isinstance(layer, Embedding):
            return {"kind": "embedding", "weight": store(layer.weight), "channels": layer.weight.shape[1]}
        if isinstance(layer, Flatten | FlattenConsecutive):
            return {"kind": "flatten", "n": getattr(layer, "n", 0)}
        if isinstance(layer, Linear):
            inputs, outputs = layer.weight.shape
            bias = {} if layer.bias is None else {"bias": store(layer.bias)}
            return {
                "kind": "linear", "weight": store(layer.weight), **bias, "inputs": inputs, "outputs": outputs
            }  # fmt: skip
        if isinstance(layer, CausalConv1d):
            taps, inputs, outputs = layer.weight.shape
            bias = {} if layer.bias is None else {"bias": store(layer.bias)}
            return {
                "kind": "convolution", "weight": store(layer.weight), **bias, "before": store(layer.before),
                "taps": taps, "dilation": layer.dilation, "inputs": inputs, "outputs": outputs,
            }  # fmt: skip
        if isinstance(layer, BatchNorm1d):
            scale = layer.weight.double() / torch.sqrt(layer.running_var.double() + layer.eps)
            shift = layer.bias - layer.running_mean * scale
            return {"kind": "affine", "scale": store(scale), "shift": store(shift)}
        if isinstance(layer, Tanh):
            return {"kind": "tanh"}
        if isinstance(layer, SiLU):
            return {"kind": "silu"}
        if isinstance(layer, Residual):
            return {"kind": "residual", "layers": describe_all(layer.layers)}
        if isinstance(layer, Recurrent) and isinstance(layer.module, nn.GRU):
            gru, H = layer.module, layer.module.hidden_size
            return {
                "kind": "gru", "inputs": gru.input_size, "hidden": H, "outputs": 3 * H,
                "weight": store(gru.weight_ih_l0.T), "bias": store(gru.bias_ih_l0),
                "recurrent": store(gru.weight_hh_l0.T), "recurrentBias": store(gru.bias_hh_l0),
            }  # fmt: skip
        raise ValueError(f"expected a layer that the page can compute, got {layer!r}")

    for name, (recipe, model) in models.items():
        large = count_parameters(model) > halve_above
        if count_parameters(model) > LARGEST:
            raise ValueError(f"expected at most {LARGEST:,} parameters, got {count_parameters(model):,}")
        stages.append({
            "name": name, "title": recipe.title, "blockSize": recipe.block_size,
            "parameters": count_parameters(model), "layers": describe_all(_in_order(model)),
        })  # fmt: skip
    return stages, bytes(numbers)


def _in_order(model: Module) -> list:
    """The layers of a model as it calls them; between them the pooling of one that reads sentences."""
    if isinstance(model, Sequential):
        return list(model.layers)
    parts = [part for part in model.children() if not isinstance(part, Dropout)]
    recurrent = [part for part in parts if isinstance(part, RNN)]
    around = [type(part) for part in parts if not isinstance(part, RNN)]
    pool = getattr(model, "pool", "")
    if len(recurrent) != 1 or around != [Embedding, Linear] or pool not in ("", *POOLS):
        wanted = "a Sequential, or an embedding, an RNN and a linear map"
        raise ValueError(f"expected {wanted}, got {type(model).__name__}")
    forwards = len(recurrent[0].layers[-1]["forward"].recurrent.weight)
    pooling = [{"kind": "pool", "how": pool, "forwards": forwards}] if pool else []
    return [*parts[:2], *pooling, parts[2]]


def _named(models: Mapping[str, Sequential], tag: str = "lecture") -> dict[str, tuple[Recipe, Sequential]]:
    known = tagged(tag)
    unknown = [name for name in models if name not in known]
    if unknown or not models:
        raise ValueError(f"expected models named as in {list(known)}, got {list(models)}")
    return {name: (known[name], model) for name, model in models.items()}


def playground(
    models: Mapping[str, Sequential],
    vocabulary: Vocabulary,
    training_names: Iterable[str],
    *,
    compare: bool | str = False,
    prefix: str = "",
    halve_above: int = HALVE_ABOVE,
    **rules,
) -> Playground:
    """Type a prefix, see what comes next, let the models write names; two of them side by side.

    models: trained models by their names among those tagged "pretrained"; the first is shown, and with
    `compare` the last beside it, or the one that it names.
    training_names: what a generated name must not be among to count as new.
    halve_above: as `packed` takes it, for a page that grows too large.
    rules: what is cut off at first: top_k (0: nothing), top_p, pattern, alphabet, shortest,
    longest (0: any), only_new.
    """
    unknown = set(rules) - {"top_k", "top_p", "pattern", "alphabet", "shortest", "longest", "only_new"}
    if unknown:
        raise ValueError(f"expected rules of the playground, got {sorted(unknown)}")
    stages, weights = packed(_named(models, "pretrained"), halve_above)
    right = stages[-1]["name"] if compare is True else compare or ""
    if right and right not in models:
        raise ValueError(f"expected compare to be one of {list(models)}, got {right!r}")
    return Playground(
        stages=stages, weights=weights, characters="".join(vocabulary.tokens), prefix=prefix,
        names="\n".join(sorted(set(training_names))), left=stages[0]["name"],
        right=right, **rules,
    )  # fmt: skip


def tree(
    models: Mapping[str, Sequential],
    vocabulary: Vocabulary,
    text: str,
    *,
    level: int = 0,
    halve_above: int = HALVE_ABOVE,
) -> Tree:
    """Watch a tree fuse the last characters of a text, level by level, and what its prediction depends on.

    models: trees by their names among those tagged "lecture". level: how far it is fused at first.
    halve_above: as `packed` takes it.
    """
    stages, weights = packed(_named(models), halve_above)
    return Tree(stages=stages, weights=weights, characters="".join(vocabulary.tokens), text=text, level=level)


def convolution(network: Sequential, vocabulary: Vocabulary, text: str, *, step: int = 0) -> Convolution:
    """Step through a name: which nodes are computed now, which are there already, and what each of them sees.

    network: convolutions of two taps as from `models.as_convolution`. step: the letter at which it starts.
    """
    stages, weights = packed({"": (Recipe(Sequential, 0, ""), network)})
    return Convolution(
        stages=stages, weights=weights, characters="".join(vocabulary.tokens), text=text, step=step
    )


def receptive_field(
    vocab_size: int = 27, *, kernel_size: int = 2, layers: int = 3, stacks: int = 2, channels: int = 45
) -> ReceptiveField:
    """Draw the receptive field of a stack of dilated convolutions, and count its paths and parameters.

    The sizes are those at which it starts: `stacks` times `layers` with dilations 1, 2, 4, and so on.
    The parameters are those of `models.WaveNet`, with n_skip = n_channels = channels.
    """
    return ReceptiveField(
        vocabulary=vocab_size, kernel_size=kernel_size, layers=layers, stacks=stacks, channels=channels
    )


def batchnorm_axes(
    model: Sequential, contexts: torch.Tensor, *, channel: int = 0, seed: int = 0
) -> BatchNormAxes:
    """What enters BatchNorm's means with either choice of axes, and how noisy they are.

    model: a tree, whose layers before its first BatchNorm make the activations. contexts: (N, T)
    examples to draw batches from.
    """
    first = next(i for i, layer in enumerate(model.layers) if isinstance(layer, BatchNorm1d))
    T = contexts.shape[1]
    stages, weights = packed({"": (Recipe(Sequential, T, ""), Sequential(model.layers[:first]))})
    return BatchNormAxes(
        stages=stages, weights=weights, channel=channel, seed=seed,
        contexts=contexts.to("cpu", torch.uint8).numpy().tobytes(),
    )  # fmt: skip


def spectrum(wave: torch.Tensor, bins: int = 128, window: int = 512) -> torch.Tensor:
    """How loud each frequency of a sound is at each time, in decibels: (T,) -> (bins, columns)."""
    hann = torch.hann_window(window)
    power = torch.stft(wave, window, hop_length=window // 4, window=hann, return_complex=True).abs()
    return 20 * (power[:bins] + 1e-3).log10()


def listening(
    clips: Mapping[str, torch.Tensor], rate: int, *, title: str, attempt: str,
    openings: Mapping[str, float] = {},  # noqa: B006 (is only read)
) -> Listening:  # fmt: skip
    """Sounds side by side, to be played from one place.

    clips: waves (T,) of one length, between -1 and 1, by title. rate: samples a second. title and attempt:
    the widget's heading, and what to try. openings: the second from which on a clip is a network's own.
    ValueError for sounds of different lengths.
    """
    lengths = {len(wave) for wave in clips.values()}
    if len(lengths) != 1:
        raise ValueError(f"expected sounds of the same length, got {sorted(lengths)}")
    loud = torch.stack([spectrum(wave) for wave in clips.values()])
    levels = ((loud + 5) / 45 * 255).clamp(0, 255)  # from -5 to 40 decibels, as the figure has it
    samples = ((torch.stack(list(clips.values())) + 1) * 127.5).clamp(0, 255)
    return Listening(
        title=title, attempt=attempt, titles=list(clips), rate=rate, bins=loud.shape[1],
        highest=loud.shape[1] * rate // 512, opening=[openings.get(name, 0.0) for name in clips],
        samples=samples.round().to(torch.uint8).numpy().tobytes(),
        spectra=levels.round().to(torch.uint8).numpy().tobytes(),
    )  # fmt: skip


def loss_curves(
    runs: Mapping[str, torch.Tensor], *, drop: int = 0, window: int = 1_000, model: str = ""
) -> LossCurves:
    """Training losses with a slider for the length of the average.

    runs: losses (steps,) by label, equally many of each. drop: the step at which the learning rate
    drops, marked. window: the length at first. model: whose run it is, where there is one: it has this
    model's colour, as in figures. ValueError for runs of different lengths, and for several of a model.
    """
    lengths = {len(losses) for losses in runs.values()}
    if len(lengths) != 1:
        raise ValueError(f"expected runs of the same number of steps, got {sorted(lengths)}")
    if max(lengths) < 5:
        raise ValueError(f"expected at least 5 steps, got {max(lengths)}")
    if model and len(runs) > 1:
        raise ValueError(f"expected one run in the colour of {model!r}, got {len(runs)}")
    losses = torch.cat([losses.detach().cpu().double() for losses in runs.values()])
    low, high = losses.min().item(), losses.max().item()
    levels = (losses - low) / max(high - low, 1e-12) * 65_535  # two bytes a loss: half the page
    return LossCurves(
        losses=levels.round().numpy().astype("<u2").tobytes(), range=[low, high],
        labels=list(runs), drop=drop, window=window, hue=HUES[colour_of(model)] if model else "",
    )  # fmt: skip


def valley(kind: str = "sgd", rate: float = 0.02, steps: int = 40) -> Valley:
    """A long valley, and the path of an optimiser through it: sliders for the rate, the valley and the steps.

    kind: "sgd", "momentum", "rmsprop" or "adam", with the settings of `common.optim`. ValueError for another.
    """
    known = ("sgd", "momentum", "rmsprop", "adam")
    if kind not in known:
        raise ValueError(f"expected one of {known}, got {kind!r}")
    return Valley(kind=kind, rate=rate, steps=steps)


def run_explorer(
    runs: Sequence[Mapping],
    labels: Mapping[str, str],
    *,
    log: Iterable[str] = (),
    unit: str = "validation loss",
    pinned: Iterable[int] = (),
) -> RunExplorer:
    """The runs of a search as lines through what was chosen for them, with their curves, to pick and pin.

    runs: for each its ``number``, ``value`` (low is good), ``params`` by name, and the curve, ``steps``
    and ``val``. labels: the parameters that get an axis, in this order, with the words for them.
    log: those among them on a logarithmic scale; one whose values are no numbers is drawn by
    categories. pinned: numbers of runs that are pinned at first. ValueError for fewer than two runs, for one
    without its curve or parameters, or for numbers that no logarithm takes.
    """
    if len(runs) < 2:
        raise ValueError(f"expected at least two runs, got {len(runs)}")
    kept = [
        {
            "number": run["number"], "value": round(run["value"], 4), "steps": list(run["steps"]),
            "params": {name: run["params"].get(name) for name in labels},
            "val": [round(loss, 3) for loss in run["val"]],
        }
        for run in runs
    ]  # fmt: skip
    for run in kept:
        lacking = [name for name, value in run["params"].items() if value is None]
        if lacking or not run["val"] or len(run["val"]) != len(run["steps"]):
            raise ValueError(f"expected parameters and a curve of every run, got {run}")
    axes = []
    for name, label in labels.items():
        values = [run["params"][name] for run in kept]
        if any(isinstance(value, str | bool) for value in values):
            axes.append({"name": name, "label": label, "kind": "category", "values": sorted(set(values))})
            continue
        if name in log and min(values) <= 0:
            raise ValueError(f"expected {name} above 0 on a logarithmic scale, got {min(values)}")
        kind = "log" if name in log else "linear"
        axes.append({"name": name, "label": label, "kind": kind, "range": [min(values), max(values)]})
    return RunExplorer(runs=kept, axes=axes, unit=unit, pinned=list(pinned))


def sentence_reader(
    model: Module,
    vocabulary: Vocabulary,
    examples: Sequence[str] = (),
    *,
    text: str | None = None,
    labels: tuple[str, str] = ("negative", "positive"),
    temperature: float = 1.0,
    halve_above: int = HALVE_ABOVE,
) -> SentenceReader:
    """Type a sentence, and see after each word what a classifier would say had the sentence ended there.

    model: a `SentenceClassifier` of two classes. vocabulary: as from `data.words_of`. examples: sentences to
    choose from; the first stands there at first, unless there is a text. labels: the names of the classes in
    the order of the logits; of the second the probability is shown. temperature: what the logits are divided
    by, for a calibrated probability. halve_above: as `packed` takes it.
    ValueError for another number of classes, and for a vocabulary that is not the model's.
    """
    stages, weights = packed({"": (Recipe(type(model), None, ""), model)}, halve_above)
    first, last = stages[0]["layers"][0], stages[0]["layers"][-1]
    pools = "pool" in [each["kind"] for each in stages[0]["layers"]]
    if not pools or last["outputs"] != 2 or len(labels) != 2:
        got = f"{type(model).__name__} and {labels}"
        raise ValueError(f"expected a model of two classes and a name for each, got {got}")
    rows = first["weight"][1] // first["channels"]
    if len(vocabulary) != rows or vocabulary.unknown_index is None:
        got = f"{len(vocabulary)}, for the unknown {vocabulary.unknown!r}"
        raise ValueError(f"expected a vocabulary of {rows} words, one of them for the unknown, got {got}")
    if not 0 < temperature < float("inf"):
        raise ValueError(f"expected a temperature above 0, got {temperature}")
    return SentenceReader(
        stages=stages, weights=weights, words="\n".join(vocabulary.tokens), labels=list(labels),
        unknown=vocabulary.unknown_index, temperature=temperature, examples=list(examples),
        text=text if text is not None else (examples[0] if examples else ""),
    )  # fmt: skip


def attention_heads(
    model: Module,
    vocabulary: Vocabulary,
    text: str,
    *,
    block: int = 0,
    head: int = 0,
    halve_above: int = HALVE_ABOVE,
) -> AttentionHeads:
    """Type a name, and see what each head of a `Transformer` reads at each of its letters.

    block, head: what is shown at first. halve_above: as `packed` takes it. ValueError for a model without
    attention, for a vocabulary that is not its own, and for a block or a head that it lacks.
    """
    stages, weights = packed({"": (Recipe(type(model), None, ""), model)}, halve_above)
    layers = stages[0]["layers"]
    blocks = [layer["layers"][0]["layers"][2]["heads"] for layer in layers if layer["kind"] == "block"]
    if not blocks or layers[-1]["outputs"] != len(vocabulary):
        got = f"{type(model).__name__} and {len(vocabulary)} characters"
        raise ValueError(f"expected a Transformer and the characters that it says, got {got}")
    if not 0 <= block < len(blocks) or not 0 <= head < blocks[block]:
        raise ValueError(f"expected one of blocks with {blocks} heads, got block {block}, head {head}")
    return AttentionHeads(
        stages=stages,
        weights=weights,
        characters="".join(vocabulary.tokens),
        text=text,
        block=block,
        head=head,
    )


def translator(
    model: Seq2Seq, source: Sequence[str], target: Sequence[str], examples: Sequence[str] = ()
) -> Translator:
    """Type an English sentence, read it in French, and see where each step of the decoder looked.

    model: with the score "general" and one layer. source, target: the pieces of both languages by number, as
    byte-pair encoding made them, the special ones first. examples: sentences to choose from; the first stands
    there at first. Tables and matrices have 8 bits a number in the page, as `rounded` has them.
    ValueError for another score, more layers, pieces that are not the model's, and too many parameters.
    """
    if model.attention.score != "general" or len(model.encoder.layers) != 1:
        got = f"{model.attention.score!r} and {len(model.encoder.layers)} layers"
        raise ValueError(f"expected attention by the score 'general' and 1 layer, got {got}")
    for pieces, table in ((source, model.source), (target, model.target)):
        if len(pieces) != len(table.weight):
            raise ValueError(f"expected {len(table.weight)} pieces, got {len(pieces)}")
    if count_parameters(model) > LARGEST:
        raise ValueError(f"expected at most {LARGEST:,} parameters, got {count_parameters(model):,}")
    parts: dict[str, list[Module]] = {
        "encoder": [model.source, model.encoder], "start": [model.start, Tanh()],
        "reader": [model.target, model.reader], "key": [model.attention.key], "writer": [model.writer],
        "output": [model.output, Tanh()],
    }  # fmt: skip
    named = {name: (Recipe(Sequential, 0, ""), Sequential(layers)) for name, layers in parts.items()}
    stages, weights = packed(named, halve_above=0, bits=8)
    return Translator(
        stages=stages, weights=weights, source="\n".join(source), target="\n".join(target),
        examples=list(examples), text=examples[0] if examples else "",
    )  # fmt: skip


def wave_drawing(
    forecasters: Mapping[str, tuple[RNN, Linear, Sequence[float] | torch.Tensor]],
    series: Sequence[float] | torch.Tensor,
    *,
    units: Mapping[str, float] | None = None,
) -> WaveDrawing:
    """Draw a wave: a network reads it and runs free, beside a linear autoregression.

    forecasters: by what they were fitted to, a network's recurrent layers and its linear map, from one number
    a step to one, and the weights of the autoregression, that of the oldest value first. series: a chaotic
    one of 250 steps, to begin with. units: how high a 1 of a forecaster is drawn, where it is not 1; the
    drawing reaches from -1.5 to 1.5. ValueError for networks of other sizes, for more weights than the 150
    steps that are drawn, and for too short a series.
    """
    stages, weights = packed({
        title: (Recipe(Sequential, None, title), Sequential([rnn, out]))
        for title, (rnn, out, _) in forecasters.items()
    })  # fmt: skip
    for stage in stages:
        first, last = stage["layers"][0], stage["layers"][-1]
        sizes = (first.get("layers", [first])[0]["inputs"], last["outputs"])
        if sizes != (1, 1):
            raise ValueError(f"expected a network of one input and one output a step, got {sizes}")
    linear = [[float(weight) for weight in own] for *_, own in forecasters.values()]
    if not linear or not all(1 <= len(own) <= 150 for own in linear):
        raise ValueError(f"expected forecasters with 1 to 150 weights, got {list(map(len, linear))}")
    if len(series) < 250 or not set(units or {}) <= set(forecasters):
        wanted = f"250 steps and units of {list(forecasters)}"
        raise ValueError(f"expected {wanted}, got {len(series)} and {units}")
    return WaveDrawing(
        stages=stages, weights=weights, linear=linear, series=[round(float(v), 4) for v in series[:250]],
        units=[(units or {}).get(title, 1.0) for title in forecasters],
    )  # fmt: skip


def text_writer(
    model: Module,
    vocabulary: Vocabulary,
    *,
    text: str = "",
    units: Mapping[str, int] | None = None,
    temperature: float = 1.0,
    halve_above: int = HALVE_ABOVE,
) -> TextWriter:
    """Begin a text, and a model goes on: what each character cost, and what a unit of its state does.

    model: a `StatefulNetwork` of one layer. vocabulary: its characters. text: the beginning that stands
    there at first; what the vocabulary lacks is named and left out. units: those that can colour the text,
    by what they seem to follow; any other goes by its number. temperature: that at which it writes at first.
    halve_above: as `packed` takes it, with 8 bits.
    ValueError for another model or vocabulary, for a unit that the layer lacks, and for a temperature or a
    text that the page's controls do not hold.
    """
    stages, weights = packed({"": (Recipe(type(model), None, ""), model)}, halve_above, bits=8)
    layers = stages[0]["layers"]
    kinds = [layer["kind"] for layer in layers]
    if len(kinds) != 3 or kinds[1] not in ("rnn", "lstm", "gru"):
        wanted = "an embedding, one recurrent layer that reads forwards, and a linear map"
        raise ValueError(f"expected {wanted}, got {kinds}")
    tokens = [
        token if len(token) == 1 and i not in vocabulary.never_drawn else ""
        for i, token in enumerate(vocabulary.tokens)
    ]
    rows, H = layers[0]["weight"][1] // layers[0]["channels"], layers[1]["hidden"]
    sizes = f"{rows} in and {layers[2]['outputs']} out"
    if not len(tokens) == rows == layers[2]["outputs"] or not all(tokens[i] for i in vocabulary.ordinary):
        raise ValueError(f"expected a vocabulary of the model's characters, {sizes}, got {vocabulary!r}")
    if beyond := [unit for unit in (units or {}).values() if not 0 <= unit < H]:
        raise ValueError(f"expected units from 0 to {H - 1}, got {beyond}")
    if not 0.1 <= temperature <= 2:
        raise ValueError(f"expected a temperature from 0.1 to 2, got {temperature}")
    if len(text) > 1000:
        raise ValueError(f"expected a text of at most 1,000 characters, got {len(text):,}")
    return TextWriter(
        stages=stages, weights=weights, tokens=tokens, text=text, temperature=temperature,
        units=[[title, int(unit)] for title, unit in (units or {}).items()],
    )  # fmt: skip
