"""The models have the lecture's sizes, start near ln 27, see what they should, and the bug is the bug."""

import inspect
import math
from string import ascii_lowercase

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from common import models
from common import names as names_module
from common.evaluate import mean_loss, stored_results
from common.layers import (
    BatchNorm1d,
    CausalConv1d,
    Dropout,
    Embedding,
    Gate,
    Linear,
    Residual,
    Sequential,
    Skips,
    Tanh,
    every_layer,
)
from common.models import (
    MODELS,
    OUTPUT_SCALE,
    RECIPES,
    WINNERS,
    BatchOnlyBatchNorm1d,
    as_convolution,
    count_parameters,
    dilated,
    flat,
    hierarchical,
    predictions,
    pretrained,
    wavenet,
)
from common.vocabulary import Vocabulary

TREES = ("hierarchical-bug", "hierarchical", "scaled")


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def built(key, seed=0):
    return MODELS[key].build(generator=generator(seed))


def contexts(key, count=32, seed=5):
    return torch.randint(0, 27, (count, MODELS[key].block_size), generator=generator(seed))


def norms(model):
    return [layer for layer in model.layers if isinstance(layer, BatchNorm1d)]


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
    assert list(MODELS) == ["mlp", "flat", "hierarchical-bug", "hierarchical", "scaled"]


@pytest.mark.parametrize("key", MODELS)
@pytest.mark.parametrize("B", [1, 5])
def test_logits_are_one_row_a_context(key, B):
    assert built(key).eval()(contexts(key, B)).shape == (B, 27)
    larger = MODELS[key].build(40, generator=generator()).eval()
    assert larger(torch.full((B, MODELS[key].block_size), 39)).shape == (B, 40)


@pytest.mark.parametrize("key", MODELS)
def test_another_context_length_is_refused(key):
    with pytest.raises(ValueError, match="expected a last dimension of|T = 7 is not a multiple"):
        built(key)(torch.zeros(4, 7, dtype=torch.long))


@pytest.mark.parametrize("key", MODELS)
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
    assert last and OUTPUT_SCALE == 0.1
    assert torch.equal(layer.bias, torch.zeros(27))


@pytest.mark.parametrize("key", MODELS)
def test_a_seed_decides_the_weights(key):
    first, same, other = built(key, 1).state_dict(), built(key, 1).state_dict(), built(key, 2).state_dict()
    assert all(torch.equal(first[name], same[name]) for name in first)
    assert not torch.equal(first["0.weight"], other["0.weight"])


@pytest.mark.parametrize("key", MODELS)
def test_the_loss_starts_near_ln_27(key):
    vocabulary = Vocabulary(ascii_lowercase)
    x, y = windows(
        load_names(SHIPPED_NAMES)[:500], vocabulary, MODELS[key].block_size
    )
    loss = F.cross_entropy(built(key)(x), y).item()
    assert loss == pytest.approx(math.log(27), abs=0.03)


@pytest.mark.parametrize("key", MODELS)
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


@pytest.mark.parametrize("key", TREES)
def test_neighbours_meet_level_by_level(key):
    model = built(key).eval()
    x = contexts(key, 1)
    for level in (1, 2):
        below = Sequential(model.layers[: 1 + 4 * level]).eval()  # the embedding, then 4 layers a level
        before = below(x)
        assert before.shape[1] == 8 // 2**level
        for position in range(8):
            changed = x.clone()
            changed[0, position] = (x[0, position] + 1) % 27
            moved = (below(changed) - before).abs().amax(2)[0]
            assert moved.nonzero().flatten().tolist() == [position // 2**level]


@pytest.mark.parametrize("key", ("hierarchical", "scaled"))
def test_the_tree_is_what_its_picture_says(key):
    model = built(key)
    x = contexts(key)
    embedding, *levels, last = [layer for layer in model.layers if hasattr(layer, "weight")]
    h = embedding.weight[x]
    for linear in levels[::2]:
        h = torch.cat([h[:, 0::2], h[:, 1::2]], dim=2) @ linear.weight
        mean, var = h.mean((0, 1)), h.var((0, 1), unbiased=False)
        h = torch.tanh((h - mean) / (var + 1e-5).sqrt())
    torch.testing.assert_close(model(x), h[:, 0] @ last.weight + last.bias, atol=1e-5, rtol=1e-5)


def test_levels_and_sizes_can_be_chosen():
    model = Tree(5, n_embd=3, n_hidden=4, levels=4, generator=generator()).eval()
    assert model(torch.zeros(2, 16, dtype=torch.long)).shape == (2, 5)
    assert count_parameters(model) == 5 * 3 + 6 * 4 + 8 + 3 * (8 * 4 + 8) + 4 * 5 + 5
    model = MLP(5, block_size=2, n_embd=3, n_hidden=4, generator=generator()).eval()
    assert model(torch.zeros(2, 2, dtype=torch.long)).shape == (2, 5)
    assert count_parameters(model) == 5 * 3 + 6 * 4 + 8 + 4 * 5 + 5


# the bug of chapter 5


@pytest.mark.parametrize(
    "key, shapes",
    [
        ("hierarchical-bug", [(1, 4, 68), (1, 2, 68), (1, 68)]),
        ("hierarchical", [(68,), (68,), (68,)]),
        ("scaled", [(128,), (128,), (128,)]),
    ],
)
def test_running_statistics_grow_in_the_bug_alone(key, shapes):
    model = built(key)
    assert [norm.running_mean.shape for norm in norms(model)] == [shapes[-1][-1:]] * 3
    for _ in range(2):
        model(contexts(key))
        assert [norm.running_mean.shape for norm in norms(model)] == shapes
        assert [norm.running_var.shape for norm in norms(model)] == shapes
    assert model.eval()(contexts(key, 1)).shape == (1, 27)


def test_the_bug_normalises_each_position_by_itself():
    x = torch.randn(64, 4, 3, generator=generator(), dtype=torch.float64)
    x = x * torch.tensor([1.0, 2.0, 3.0, 4.0])[:, None] + torch.tensor([0.0, 5.0, -5.0, 9.0])[:, None]
    layers = [BatchOnlyBatchNorm1d(3, eps=1e-30), BatchNorm1d(3, eps=1e-30)]
    bug, fixed = (Sequential([layer]).to(dtype=torch.float64)(x) for layer in layers)
    torch.testing.assert_close(bug, (x - x.mean(0)) / x.std(0, unbiased=False))
    torch.testing.assert_close(fixed, (x - x.mean((0, 1))) / x.std((0, 1), unbiased=False))
    assert fixed.mean(0).abs().min() > 0.01


def test_the_bug_tracks_each_position_by_itself():
    x = torch.randn(64, 4, 3, generator=generator())
    bug, fixed = BatchOnlyBatchNorm1d(3), BatchNorm1d(3)
    bug(x), fixed(x)
    torch.testing.assert_close(bug.running_mean, 0.1 * x.mean(0, keepdim=True))
    torch.testing.assert_close(bug.running_var, 0.9 + 0.1 * x.var(0, keepdim=True))
    torch.testing.assert_close(fixed.running_var, 0.9 + 0.1 * x.var((0, 1)))


def test_the_bug_is_none_in_two_dimensions():
    x = torch.randn(64, 3, generator=generator())
    bug, fixed = BatchOnlyBatchNorm1d(3), BatchNorm1d(3)
    torch.testing.assert_close(bug(x), fixed(x))
    torch.testing.assert_close(bug.running_var, fixed.running_var[None])
    torch.testing.assert_close(bug.eval()(x), fixed.eval()(x))


def test_the_bug_has_a_name_of_its_own():
    assert "BatchOnlyBatchNorm1d(68)" in repr(built("hierarchical-bug"))
    assert "BatchOnlyBatchNorm1d" not in repr(built("hierarchical"))


def test_the_bug_refuses_what_the_layer_refuses():
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        BatchOnlyBatchNorm1d(3)(torch.ones(1, 4, 3))  # 4 values, but each normalised alone
    with pytest.raises(ValueError, match=r"expected \(B, 3\) or \(B, T, 3\)"):
        BatchOnlyBatchNorm1d(3)(torch.ones(2, 4, 5))


@pytest.mark.parametrize("name", MODELS)
def test_pretrained_models_have_their_stored_loss(name):
    words = load_names(SHIPPED_NAMES)
    data = windows(
        split_names(words).val, Vocabulary("".join(words)), MODELS[name].block_size
    )
    stored = stored_results()["models"][name]["runs"][0]
    assert stored["seed"] == 0
    assert mean_loss(pretrained(name), *data) == pytest.approx(stored["val"], abs=1e-4)


def test_pretrained_refuses_an_unknown_name():
    with pytest.raises(ValueError, match="expected one of .*'mlp'.*'small', 'open'.*, got 'tree'"):
        pretrained("tree")


@pytest.mark.parametrize("name, count", [("small", 76_579), ("open", 511_659)])
def test_a_winner_is_loaded_as_it_was_trained(tmp_path, monkeypatch, name, count):
    monkeypatch.setattr(models, "PRETRAINED", tmp_path)
    with pytest.raises(FileNotFoundError, match=f"the weights of '{name}' in .*{name}.safetensors, which is"):
        pretrained(name)
    recipe = WINNERS[name]
    assert recipe.block_size is None and count_parameters(recipe.build()) == count
    trained = recipe.build(generator=generator(3))
    save_file({key: t.contiguous() for key, t in trained.state_dict().items()}, tmp_path / f"{name}.safetensors")
    loaded, x = pretrained(name), torch.randint(0, 27, (4, 9), generator=generator())
    torch.testing.assert_close(loaded(x), trained.eval()(x))


# the tree as a convolution


@pytest.mark.parametrize("key", ("hierarchical", "scaled"))
def test_the_convolution_has_the_trees_logits_at_every_position_of_every_validation_name(key):
    words = load_names(SHIPPED_NAMES)
    vocabulary, val = Vocabulary("".join(words)), split_names(words).val
    tree = pretrained(key)
    convolution = as_convolution(tree)
    windows, _ = windows(val, vocabulary, 8)
    x, _, mask = sequences(val, vocabulary)
    logits = convolution(x)
    assert logits.shape == (*x.shape, 27)
    torch.testing.assert_close(logits[mask], tree(windows), atol=1e-5, rtol=0)


@pytest.mark.parametrize("levels", [1, 2, 4])
def test_any_tree_can_be_slid(levels):
    tree = Tree(levels=levels, n_embd=3, n_hidden=4, generator=generator())
    T = 2**levels
    x = torch.randint(0, 27, (50, T), generator=generator(1))
    tree(x)  # running statistics that are not those of the start
    tree.to(dtype=torch.float64).eval()
    convolution = as_convolution(tree)
    assert [layer.dilation for layer in convolution.layers if isinstance(layer, CausalConv1d)] == [
        2**level for level in range(levels)
    ]
    sequence = torch.cat([torch.zeros(1, dtype=torch.long), x.flatten()])
    padded = torch.cat([torch.zeros(T - 1, dtype=torch.long), sequence])
    torch.testing.assert_close(convolution(sequence[None])[0], tree(padded.unfold(0, T, 1)))


def test_the_convolution_is_a_copy():
    tree = pretrained("scaled").train()
    convolution = as_convolution(tree)
    assert count_parameters(convolution) == count_parameters(tree)
    assert all(layer.training for layer in tree.layers)
    assert not any(layer.training for layer in convolution.layers)
    ours = {t.data_ptr() for t in convolution.state_dict().values()}
    assert not ours & {t.data_ptr() for t in tree.state_dict().values()}


@pytest.mark.parametrize("key", ("mlp", "flat", "hierarchical-bug"))
def test_what_is_no_tree_is_not_slid(key):
    with pytest.raises(ValueError, match="a tree with one BatchNorm1d a level, got the layer"):
        as_convolution(pretrained(key))


def test_layers_that_are_no_levels_are_not_slid():
    with pytest.raises(ValueError, match="got the layer Sequential"):
        as_convolution(Sequential([Embedding(27, 3), Sequential([Tanh()])]))


# WaveNet

PARTS = {
    "all": {}, "none": {"gate": False, "residual": False, "skip": False},
    "no gate": {"gate": False}, "no residual": {"residual": False}, "no skip": {"skip": False},
}  # fmt: skip


@pytest.mark.parametrize("parts", PARTS.values(), ids=PARTS)
def test_wavenet_has_the_parts_that_are_asked_for(parts):
    model = WaveNet(n_channels=6, n_skip=5, generator=generator(), **parts)
    kinds = [type(layer) for layer in model.modules()]
    asked = {"gate": True, "residual": True, "skip": True} | parts
    assert kinds.count(Gate) == 6 * asked["gate"] and kinds.count(Tanh) == 6 * (not asked["gate"])
    assert (Skips in kinds) == asked["skip"]
    assert kinds.count(Residual) == 6 * (asked["residual"] and not asked["skip"])
    if asked["skip"]:
        assert all(block.residual == asked["residual"] for block in model.layers[1].layers)


def test_wavenets_parameters_are_counted():
    # embedding; of a block the convolution, the way out and the way past; two maps at the end
    C, S, inside = 8, 5, 2 * 8 * 16 + 16
    expected = 27 * C + 6 * inside + 5 * (C * C + C) + 6 * (C * S + S) + S * S + S + S * 27 + 27
    assert count_parameters(WaveNet(n_channels=C, n_skip=S)) == expected
    assert count_parameters(WaveNet()) == 76_437, "about as many as the tree's 76,579"


@pytest.mark.parametrize("parts", PARTS.values(), ids=PARTS)
def test_wavenet_learns_with_all_its_parameters_and_looks_nowhere_ahead(parts):
    model = WaveNet(n_channels=6, n_skip=5, generator=generator(), **parts).to(dtype=torch.float64)
    for p in model.parameters():
        p.requires_grad_()
    x = torch.randint(0, 27, (4, 20), generator=generator(1))
    logits = model(x)
    assert logits.shape == (4, 20, 27)
    loss = F.cross_entropy(logits[:, :-1].flatten(0, 1), x[:, 1:].flatten())
    assert loss.item() == pytest.approx(math.log(27), abs=0.1)
    assert all(grad.abs().sum() > 0 for grad in torch.autograd.grad(loss, model.parameters()))
    other = x.clone()
    other[:, 10:] = (x[:, 10:] + 1) % 27
    changed = (model(other) - logits).abs().amax((0, 2)) > 0
    assert changed.tolist() == [False] * 10 + [True] * 10
    other = x.clone()
    other[:, 2] = (x[:, 2] + 1) % 27
    changed = (model(other) - logits).abs().amax((0, 2)) > 0
    assert changed.tolist() == [False] * 2 + [True] * 15 + [False] * 3, "a field of 15"


def test_wavenet_takes_names_end_to_end():
    names = ["anna", "christopher", "bo", "maximilian"]
    x, y = examples(names, Vocabulary(ascii_lowercase), None)
    model = WaveNet(n_channels=6, n_skip=5, generator=generator()).to(dtype=torch.float64)
    logits, wanted = predictions(model, x, y)
    torch.testing.assert_close(logits, model(x)[y != IGNORE_INDEX])
    assert len(logits) == len(wanted) == sum(len(name) + 1 for name in names)


def test_wavenet_drops_out_inside_its_blocks():
    model = WaveNet(n_channels=6, n_skip=5, dropout=0.5, generator=generator())
    assert sum(isinstance(layer, Dropout) for layer in model.modules()) == 6
    x = torch.zeros((1, 9), dtype=torch.long)
    assert not torch.equal(model(x), model(x))
    assert torch.equal(model.eval()(x), model(x))


def test_wavenet_needs_a_block():
    with pytest.raises(ValueError, match="at least one dilation, got none"):
        WaveNet(dilations=())


def test_levels_of_a_dilated_tree_may_differ_in_width():
    model = Dilated(n_hidden=(8, 8, 16), residual=True, generator=torch.Generator().manual_seed(0))
    assert model(torch.zeros((2, 5), dtype=torch.long)).shape == (2, 5, 27)
    kinds = [type(layer).__name__ for layer in model.layers]
    assert kinds.count("Residual") == 1  # around the one level whose input is as wide as its output
    with pytest.raises(ValueError, match="expected one n_hidden a dilation, 3, got"):
        Dilated(n_hidden=(8, 8))


# sizes


@pytest.mark.parametrize(
    "model, sizes, expected",
    [
        ("wavenet", {"gate": "No", "skip": "TRUE"}, {"gate": False, "skip": True}),
        ("wavenet", {"dilations": [1, 2], "dropout": 0}, {"dilations": (1, 2), "dropout": 0.0}),
        ("dilated", {"n_hidden": 8, "activation": "gate"}, {"n_hidden": 8, "activation": "gate"}),
        ("dilated", {"n_hidden": [8, 8, 16]}, {"n_hidden": (8, 8, 16)}),
        ("transformer", {"blocks": 0, "length": 50}, {"blocks": 0, "length": 50}),
    ],
    ids=str,
)
def test_sizes_are_taken_by_the_types_of_their_defaults(model, sizes, expected):
    taken = RECIPES[model].checked(sizes)
    assert taken == expected and list(map(type, taken.values())) == list(map(type, expected.values()))
    assert repr(RECIPES[model].sized(27, sizes)) == repr(RECIPES[model].build(27, **expected))


@pytest.mark.parametrize("model", RECIPES)
def test_no_size_takes_what_is_not_of_its_kind(model):
    wrong = {bool: (1, "", "maybe"), int: (-1, 2.0, True, "3", None), float: (-0.1, 1, True, "0.1")}
    wrong |= {str: (1, True), tuple: (2, "[1]", [0], [1.5], [True])}
    for name, parameter in inspect.signature(RECIPES[model].build).parameters.items():
        if name in ("vocab_size", "block_size", "levels", "norm", "generator"):
            continue
        for value in wrong[type(parameter.default)]:
            with pytest.raises(ValueError, match=f"expected {name} to be"):
                RECIPES[model].sized(27, {name: value})


def test_sizes_that_no_memory_holds_are_refused():
    with pytest.raises(ValueError, match="no model of the sizes .*2147483647.* can be built here"):
        RECIPES["dilated"].sized(27, {"n_hidden": 2**31 - 1})
