"""The tree fuses neighbours level by level, and the bug of chapter 5 is the bug."""

import pytest
import torch
from small_tensors import double, generator

from common.models import MODELS, BatchOnlyBatchNorm1d, Tree
from common.nn import BatchNorm1d, Sequential

TREES = ("hierarchical-bug", "hierarchical", "scaled")


def built(key, seed=0):
    return MODELS[key].build(generator=generator(seed))


def contexts(key, count=32, seed=5):
    return torch.randint(0, 27, (count, MODELS[key].block_size), generator=generator(seed))


def norms(model):
    return [layer for layer in model.layers if isinstance(layer, BatchNorm1d)]


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
    bug, fixed = (double(layer)(x) for layer in layers)
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


def test_statistics_of_the_bug_are_stored_and_put_back_though_they_grew():
    layer, x = BatchOnlyBatchNorm1d(3), torch.randn((5, 4, 3), generator=generator())
    layer(x)
    assert layer.running_mean.shape == (1, 4, 3)
    fresh = BatchOnlyBatchNorm1d(3).load_state_dict(layer.state_dict()).eval()
    assert torch.equal(fresh(x), layer.eval()(x))
    layer.load_state_dict(BatchOnlyBatchNorm1d(3).state_dict())  # and back to those of the start
    assert layer.running_mean.shape == (3,)


@pytest.mark.parametrize(
    "kind, name, shape",
    [
        (BatchOnlyBatchNorm1d, "running_mean", (1, 4, 2)),
        (BatchOnlyBatchNorm1d, "running_var", ()),
        (BatchOnlyBatchNorm1d, "weight", (1, 4, 3)),
        (BatchNorm1d, "running_mean", (1, 4, 3)),
    ],
)
def test_no_other_tensor_grows(kind, name, shape):
    layer = kind(3)
    with pytest.raises(ValueError, match=f"expected {name} of shape"):
        layer.load_state_dict(layer.state_dict() | {name: torch.ones(shape)})


def test_a_tree_with_the_bug_is_stored_and_put_back():
    build = lambda seed: Tree(  # noqa: E731
        9, n_embd=3, n_hidden=4, norm=BatchOnlyBatchNorm1d, generator=generator(seed)
    )
    model, other = build(0), build(1)
    x = torch.randint(0, 9, (6, 8), generator=generator())
    model(x)
    assert torch.equal(other.load_state_dict(model.state_dict()).eval()(x), model.eval()(x))


def test_the_levels_of_a_tree_say_what_they_are():
    names = [name for name, _ in Tree(levels=2).named_children()]
    assert names == [
        "embedding", "fuse1", "linear1", "norm1", "tanh1", "fuse2", "linear2", "norm2", "tanh2", "output"
    ]  # fmt: skip
