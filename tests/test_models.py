"""The models by name: of the lecture's sizes, near ln 27 at the start, and the trained ones as they were."""

import math
import re
from string import ascii_lowercase

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load, save, save_file
from small_tensors import generator

from common.data import SHIPPED_NAMES, Vocabulary, load_names, split_names, windows
from common.evaluate import mean_loss
from common.models import (
    MLP,
    MODELS,
    RecurrentNetwork,
    Transformer,
    Tree,
    count_parameters,
    output_layer,
    pretrained,
    registry,
    tagged,
)
from common.nn import BatchNorm1d, Linear, TorchModule
from common.pages.results import stored_results

LECTURE, WHOLE_NAMES, WINNERS = (tagged(tag) for tag in ("lecture", "whole names", "winner"))


def built(key, seed=0):
    return MODELS[key].build(generator=generator(seed))


def contexts(key, count=32, seed=5):
    return torch.randint(0, 27, (count, MODELS[key].block_size), generator=generator(seed))


@pytest.mark.parametrize(
    "key, count",
    [
        ("mlp", 12_097),
        ("flat", 22_097),
        ("hierarchical-bug", 22_397),
        ("hierarchical", 22_397),
        ("scaled", 76_579),
    ],
)
def test_parameters_are_counted_as_in_the_lecture(key, count):
    assert count_parameters(built(key)) == count
    assert list(LECTURE) == ["mlp", "flat", "hierarchical-bug", "hierarchical", "scaled"]


@pytest.mark.parametrize("key", LECTURE)
@pytest.mark.parametrize("B", [1, 5])
def test_logits_are_one_row_a_context(key, B):
    assert built(key).eval()(contexts(key, B)).shape == (B, 27)
    larger = MODELS[key].build(40, generator=generator()).eval()
    assert larger(torch.full((B, MODELS[key].block_size), 39)).shape == (B, 40)


@pytest.mark.parametrize("key", LECTURE)
def test_another_context_length_is_refused(key):
    with pytest.raises(ValueError, match="expected a last dimension of|T = 7 is not a multiple"):
        built(key)(torch.zeros(4, 7, dtype=torch.long))


@pytest.mark.parametrize("key", LECTURE)
def test_only_the_last_layer_starts_scaled_down(key):
    g = generator(3)
    for layer in built(key, seed=3).layers:
        if "weight" not in layer.state_dict() or isinstance(layer, BatchNorm1d):
            continue
        drawn = torch.randn(layer.weight.shape, generator=g)
        if isinstance(layer, Linear):
            drawn = drawn / layer.weight.shape[0] ** 0.5
        last = layer.weight.shape[1] == 27
        torch.testing.assert_close(layer.weight, drawn * 0.1 if last else drawn)
    assert last
    assert torch.equal(layer.bias, torch.zeros(27))


@pytest.mark.parametrize("key", LECTURE)
def test_a_seed_decides_the_weights(key):
    first, same, other = built(key, 1).state_dict(), built(key, 1).state_dict(), built(key, 2).state_dict()
    assert all(torch.equal(first[name], same[name]) for name in first)
    assert not torch.equal(first["embedding.weight"], other["embedding.weight"])


@pytest.mark.parametrize("key", LECTURE)
def test_the_loss_starts_near_ln_27(key):
    vocabulary = Vocabulary(ascii_lowercase)
    x, y = windows(load_names(SHIPPED_NAMES)[:500], vocabulary, MODELS[key].block_size)
    loss = F.cross_entropy(built(key)(x), y).item()
    assert loss == pytest.approx(math.log(27), abs=0.03)


@pytest.mark.parametrize("key", LECTURE)
def test_every_character_of_the_context_counts_and_no_other_row(key):
    model = built(key).eval()
    x = contexts(key, 6)
    before = model(x)
    for position in range(x.shape[1]):
        changed = x.clone()
        changed[0, position] = (x[0, position] + 1) % 27
        moved = (model(changed) - before).abs().amax(1)
        assert moved[0] > 1e-5
        assert torch.equal(moved[1:], torch.zeros(5))


def test_levels_and_sizes_can_be_chosen():
    model = Tree(5, n_embd=3, n_hidden=4, levels=4, generator=generator()).eval()
    assert model(torch.zeros(2, 16, dtype=torch.long)).shape == (2, 5)
    assert count_parameters(model) == 5 * 3 + 6 * 4 + 8 + 3 * (8 * 4 + 8) + 4 * 5 + 5
    model = MLP(5, block_size=2, n_embd=3, n_hidden=4, generator=generator()).eval()
    assert model(torch.zeros(2, 2, dtype=torch.long)).shape == (2, 5)
    assert count_parameters(model) == 5 * 3 + 6 * 4 + 8 + 4 * 5 + 5


# networks of whole names

BUILDS = {
    "rnn": lambda g: RecurrentNetwork(cell="rnn", n_embd=5, n_hidden=7, generator=g),
    "lstm": lambda g: RecurrentNetwork(cell="lstm", n_embd=5, n_hidden=7, generator=g),
    "gru": lambda g: RecurrentNetwork(
        cell="gru", n_embd=5, n_hidden=7, dropout=0.3, input_dropout=0.1, generator=g
    ),
    "transformer": lambda g: Transformer(n_channels=8, heads=2, blocks=2, dropout=0.1, generator=g),
    "dilated": lambda g: MODELS["dilated"].build(n_embd=5, n_hidden=7, generator=g),
    "wavenet": lambda g: MODELS["wavenet"].build(n_channels=5, n_skip=7, generator=g),
}


@pytest.mark.parametrize("name", BUILDS)
def test_no_prediction_depends_on_a_later_character(name):
    model = BUILDS[name](generator()).eval()
    x = torch.randint(0, 27, (2, 9), generator=generator(1))
    changed = x.clone()
    changed[:, 5:] = (changed[:, 5:] + 1) % 27
    with torch.no_grad():
        before, after = model(x), model(changed)
    assert before.shape == (2, 9, 27)
    assert torch.equal(before[:, :5], after[:, :5]) and not torch.allclose(before[:, 5:], after[:, 5:])


@pytest.mark.parametrize("name", BUILDS)
def test_weights_come_from_the_generator_and_go_where_they_are_put(name):
    a, b, other = (BUILDS[name](generator(seed)) for seed in (0, 0, 1))
    assert all(torch.equal(t, b.state_dict()[name]) for name, t in a.state_dict().items())
    assert any(not torch.equal(t, other.state_dict()[name]) for name, t in a.state_dict().items())
    x = torch.randint(0, 27, (2, 6), generator=generator())
    other.load_state_dict({name: t.clone() for name, t in a.state_dict().items()}).eval()
    with torch.no_grad():
        assert torch.equal(a.eval()(x), other(x))
    inner = next((m for m in a.children() if isinstance(m, TorchModule) or m.children()), a)
    with pytest.raises(ValueError, match="expected tensors"):
        inner.load_state_dict({})


# all of them


def contexts_of(name, count=4):
    pad = int(name == "sentences")  # which has no 0 among its words
    return torch.randint(pad, 27, (count, MODELS[name].block_size or 9), generator=generator(5))


@pytest.mark.parametrize("name", MODELS)
def test_every_model_is_stored_in_a_file_and_put_back(name):
    a, b = (MODELS[name].build(27, generator=generator(seed)) for seed in (0, 1))
    x = contexts_of(name)
    a(x)  # running statistics, also the growing ones of the bug, that are not those of the start
    file = save({key: t.contiguous() for key, t in a.state_dict().items()})
    b.load_state_dict(load(file))
    assert list(a.state_dict()) == list(b.state_dict())
    assert torch.equal(a.eval()(x), b.eval()(x))


@pytest.mark.parametrize("name", MODELS)
def test_every_tensor_of_a_model_has_a_name_that_says_what_it_is(name):
    model = MODELS[name].build(27)
    state, learned = model.state_dict(), dict(model.named_parameters())
    assert not any(
        part.isdigit() for path in state for part in re.sub(r"\b(blocks|layers)\.\d+", "", path).split(".")
    )
    assert list(state)[0] == "embedding.weight" and list(state)[-1].endswith("output.bias")
    buffers = {path.rpartition(".")[2] for path in state.keys() - learned.keys()}
    assert buffers <= {"running_mean", "running_var", "before"}
    assert all(p is q for p, q in zip(model.parameters(), learned.values(), strict=True))


def test_models_go_by_their_tags():
    assert list(WHOLE_NAMES) == ["dilated", "wavenet", "recurrent", "transformer"]
    assert list(WINNERS) == ["small", "open"]
    assert list(tagged("stateful")) == ["rnn", "lstm", "gru"]
    assert list(tagged("sentences")) == ["sentences"]
    assert list(tagged("trainable")) == [*LECTURE, *WHOLE_NAMES, *tagged("stateful"), *tagged("sentences")]
    assert list(tagged("pretrained")) == [*LECTURE, *WINNERS]
    assert all((recipe.block_size is None) == (name not in LECTURE) for name, recipe in MODELS.items())
    with pytest.raises(
        ValueError, match="expected one of .*'lecture', .*'sentences', .*'winner'], got 'best'"
    ):
        tagged("best")


def test_the_last_layer_starts_at_a_tenth():
    drawn = torch.randn((4, 3), generator=generator()) / 2
    torch.testing.assert_close(output_layer(4, 3, generator=generator()).weight, drawn / 10)


# trained models

LOGITS = {  # of the models as they were trained: sums of the logits times cos(token), one a row of contexts
    "mlp": (0.4433, 9.8679, 9.0723, 4.8880, 6.3900, 6.7729),
    "flat": (-3.4959, 2.5831, 4.0568, 2.3174, 10.3839, 5.7209),
    "hierarchical-bug": (-6.3791, -2.9611, -1.0385, 8.3511, 5.0443, 3.6399),
    "hierarchical": (8.6792, 4.1848, 3.5931, 13.9348, 18.0791, 4.6003),
    "scaled": (-3.6231, -2.7402, 0.2094, 10.9050, 3.0652, 13.1829),
    "small": (56.5675, 35.1524, 31.9174, 41.3348, 52.2433, 45.1402),
    "open": (74.0118, 55.1482, 53.4871, 40.5040, 66.5447, 62.6689),
}


@pytest.mark.parametrize("name", LOGITS)
def test_the_stored_weights_are_those_that_were_trained(name):
    T = torch.arange(MODELS[name].block_size or 9)
    x = (7 * torch.arange(6)[:, None] + 5 * T + T**2) % 27
    with torch.no_grad():
        logits = pretrained(name)(x).double()
    sums = (logits @ torch.cos(torch.arange(27).double())).view(6, -1).sum(1)
    assert sums.tolist() == pytest.approx(LOGITS[name], abs=1e-3 if name == "open" else 2e-4)
    assert list(LOGITS) == list(tagged("pretrained"))


@pytest.mark.parametrize("name", LECTURE)
def test_pretrained_models_have_their_stored_loss(name):
    words = load_names(SHIPPED_NAMES)
    data = windows(split_names(words).val, Vocabulary("".join(words)), MODELS[name].block_size)
    stored = stored_results()["models"][name]["runs"][0]
    assert stored["seed"] == 0
    assert mean_loss(pretrained(name), *data) == pytest.approx(stored["val"], abs=1e-4)


def test_pretrained_refuses_an_unknown_name():
    with pytest.raises(ValueError, match="expected one of .*'mlp'.*'small', 'open'.*, got 'tree'"):
        pretrained("tree")


@pytest.mark.parametrize("name, count", [("small", 76_579), ("open", 511_659)])
def test_a_winner_is_loaded_as_it_was_trained(tmp_path, monkeypatch, name, count):
    monkeypatch.setattr(registry, "PRETRAINED", tmp_path)
    with pytest.raises(FileNotFoundError, match=f"the weights of '{name}' in .*{name}.safetensors, which is"):
        pretrained(name)
    recipe = WINNERS[name]
    assert recipe.block_size is None and count_parameters(recipe.build()) == count
    trained = recipe.build(generator=generator(3))
    save_file(
        {key: t.contiguous() for key, t in trained.state_dict().items()}, tmp_path / f"{name}.safetensors"
    )
    loaded, x = pretrained(name), torch.randint(0, 27, (4, 9), generator=generator())
    torch.testing.assert_close(loaded(x), trained.eval()(x))
