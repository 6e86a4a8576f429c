"""Every optimiser takes the steps of torch.optim."""

import pytest
import torch

from common.models import RecurrentNetwork, Transformer, Tree
from common.optim import (
    SGD,
    Adam,
    AdamW,
    Muon,
    RMSprop,
    by_parameter,
    clip_gradients,
    ema_init,
    ema_update,
    ema_value,
    init_state,
    orthogonal,
    update_parameters,
)

PAIRS = [
    (SGD(), torch.optim.SGD, {}),
    (SGD(weight_decay=0.1), torch.optim.SGD, {"weight_decay": 0.1}),
    (SGD(momentum=0.9), torch.optim.SGD, {"momentum": 0.9}),
    (SGD(momentum=0.8, weight_decay=0.1), torch.optim.SGD, {"momentum": 0.8, "weight_decay": 0.1}),
    (RMSprop(), torch.optim.RMSprop, {}),
    (RMSprop(alpha=0.9, weight_decay=0.1), torch.optim.RMSprop, {"alpha": 0.9, "weight_decay": 0.1}),
    (Adam(), torch.optim.Adam, {}),
    (Adam((0.8, 0.95), weight_decay=0.1), torch.optim.Adam, {"betas": (0.8, 0.95), "weight_decay": 0.1}),
    (AdamW(), torch.optim.AdamW, {}),
    (AdamW(weight_decay=0.3), torch.optim.AdamW, {"weight_decay": 0.3}),
]  # fmt: skip


@pytest.mark.parametrize("ours, theirs, arguments", PAIRS, ids=lambda value: repr(value)[:50])
def test_it_takes_the_steps_of_torch(ours, theirs, arguments):
    g = torch.Generator().manual_seed(0)
    p = torch.randn((3, 4), generator=g, dtype=torch.float64)
    q, kept = p.clone().requires_grad_(True), ours.init(p)
    other = theirs([q], lr=0.1, **arguments)
    for step in range(20):
        lr = 0.1 / (1 + step)  # a schedule
        grad = torch.randn((3, 4), generator=g, dtype=torch.float64)
        p, kept = ours.update(p, grad, kept, lr)
        other.param_groups[0]["lr"] = lr
        q.grad = grad
        other.step()
        assert torch.allclose(p, q, atol=1e-12, rtol=0)


def test_nothing_changes_in_place():
    p, g = torch.ones(3), torch.full((3,), 2.0)
    for optimizer in (SGD(0.9), RMSprop(), Adam(), AdamW()):
        kept = optimizer.init(p)
        before = {slot: t.clone() for slot, t in kept.items()}
        new, _ = optimizer.update(p, g, kept, 0.1)
        assert torch.equal(p, torch.ones(3)) and not torch.equal(new, p)
        assert all(torch.equal(kept[slot], before[slot]) for slot in kept)


@pytest.mark.parametrize("max_norm", [0.5, 2.0, 100.0])
def test_clipping_is_torchs(max_norm):
    g = torch.Generator().manual_seed(0)
    grads = [torch.randn(size, generator=g) for size in ((3, 4), (5,))]
    others = [torch.zeros_like(t).requires_grad_(True) for t in grads]
    for other, grad in zip(others, grads, strict=True):
        other.grad = grad.clone()
    torch.nn.utils.clip_grad_norm_(others, max_norm)
    for ours, other in zip(clip_gradients(grads, max_norm), others, strict=True):
        assert torch.allclose(ours, other.grad, atol=1e-7)


@pytest.mark.parametrize(("inputs", "outputs"), [(24, 12), (12, 24)])
@pytest.mark.parametrize("outputs_first", [False, True])
def test_muon_takes_torchs_steps(inputs, outputs, outputs_first):
    g = torch.Generator().manual_seed(0)
    turned = (lambda t: t) if outputs_first else (lambda t: t.T)
    q = torch.randn((outputs, inputs), generator=g).requires_grad_(True)
    p, ours = turned(q.detach().clone()), Muon(weight_decay=0.2, transposed=outputs_first)
    kept = ours.init(p)
    other = torch.optim.Muon([q], lr=ours.factor * 0.01, weight_decay=0.2, adjust_lr_fn="original")
    for _ in range(5):
        q.grad = torch.randn((outputs, inputs), generator=g)
        p, kept = ours.update(p, turned(q.grad), kept, 0.01)
        other.step()
    # torch iterates in bfloat16
    assert torch.allclose(turned(p), q, atol=2e-3) and not torch.allclose(turned(p), q + 5e-3, atol=2e-3)


def test_orthogonal_evens_out_the_singular_values():
    x = torch.randn((30, 12), generator=torch.Generator().manual_seed(0)) * torch.logspace(-1, 1, 12)
    values = torch.linalg.svdvals(orthogonal(x))
    assert 0.6 < values.min() and values.max() < 1.3


def test_muon_is_for_the_matrices_inside():
    model = Tree(n_embd=4, n_hidden=6, levels=2)
    chosen = by_parameter(model, Muon(betas=(0.8, 0.9), weight_decay=0.2))
    assert chosen["embedding.weight"].betas == chosen["norm1.weight"].betas == (0.8, 0.9)
    kinds = {name: (type(own).__name__, own.weight_decay) for name, own in chosen.items()}
    assert kinds["embedding.weight"] == kinds["output.weight"] == ("AdamW", 0.2)
    assert kinds["linear1.weight"] == kinds["linear2.weight"] == ("Muon", 0.2)
    assert kinds["norm1.weight"] == kinds["output.bias"] == ("AdamW", 0.0)


@pytest.mark.parametrize(
    "build, said",
    [
        (lambda: SGD(momentum=-0.1), "SGD: expected momentum of at least 0, got -0.1"),
        (lambda: SGD(momentum=float("nan")), "expected momentum of at least 0, got nan"),
        (lambda: SGD(weight_decay=float("inf")), "expected weight_decay of at least 0, got inf"),
        (lambda: RMSprop(alpha=1.0), r"RMSprop: expected alpha in \[0, 1\), got 1.0"),
        (lambda: RMSprop(eps=-1e-8), "RMSprop: expected eps of at least 0, got -1e-08"),
        (lambda: Adam(betas=(0.9, 1.0)), r"Adam: expected betas in \[0, 1\), got \(0.9, 1.0\)"),
        (lambda: AdamW((-0.5, 0.9)), r"AdamW: expected betas in \[0, 1\), got \(-0.5, 0.9\)"),
        (lambda: Muon(factor=float("nan")), "Muon: expected factor of at least 0, got nan"),
    ],
)  # fmt: skip
def test_settings_that_cannot_be_meant_are_refused(build, said):
    with pytest.raises(ValueError, match=said):
        build()


def test_a_setting_that_only_torch_has_is_refused():
    with pytest.raises(TypeError, match="unexpected keyword argument 'nesterov'"):
        SGD(nesterov=True)


def test_muon_leaves_embeddings_of_positions_to_adamw():
    chosen = by_parameter(Transformer(n_channels=8, heads=2, blocks=2), Muon())
    kinds = {name: type(own).__name__ for name, own in chosen.items()}
    assert kinds["embedding.weight"] == kinds["position.weight"] == kinds["output.weight"] == "AdamW"
    assert kinds["block1.to_qkv.weight"] == "Muon" and kinds["block1.norm1.weight"] == "AdamW"


def test_muon_knows_that_the_matrices_of_torch_have_their_outputs_first():
    recurrent = by_parameter(RecurrentNetwork(n_embd=5, n_hidden=7), Muon(momentum=0.5, factor=3.0))
    transformer = by_parameter(Transformer(n_channels=8, heads=2, blocks=2), Muon())
    torchs = [own for name, own in recurrent.items() if "weight_ih" in name or "weight_hh" in name]
    assert len(torchs) == 2 and all(own.transposed for own in torchs)
    assert all((own.momentum, own.factor) == (0.5, 3.0) for own in torchs)
    assert type(transformer["block1.to_qkv.weight"]) is Muon


# all parameters of a model


def test_a_step_of_a_model_is_a_step_of_each_parameter():
    model, g = Tree(n_embd=4, n_hidden=6, levels=2), torch.Generator().manual_seed(0)
    chosen, parameters = by_parameter(model, AdamW(weight_decay=0.2)), dict(model.named_parameters())
    before = {name: p.clone() for name, p in parameters.items()}
    gradients = [torch.randn(p.shape, generator=g) for p in parameters.values()]
    state = init_state(chosen, parameters)
    assert state.keys() == parameters.keys() and state["linear1.weight"].keys() == {"m", "v", "t"}
    after, states = update_parameters(chosen, parameters, gradients, state, 0.1)
    for (name, p), grad in zip(parameters.items(), gradients, strict=True):
        wanted, kept = chosen[name].update(before[name], grad, chosen[name].init(p), 0.1)
        assert torch.equal(after[name], wanted) and torch.equal(p, before[name])
        assert all(torch.equal(states[name][slot], t) for slot, t in kept.items())
    with pytest.raises(ValueError, match="shorter"):
        update_parameters(chosen, parameters, gradients[:-1], state, 0.1)


def test_a_parameter_that_stands_in_two_places_has_one_optimiser():
    model = Tree(n_embd=4, n_hidden=8, levels=2)
    model.linear2.weight = torch.zeros(16, 8)
    model.linear1.weight = model.linear2.weight
    assert "linear2.weight" not in by_parameter(model, SGD())


@pytest.mark.parametrize("decay", [0.5, 0.99])
def test_the_average_of_what_stays_is_what_stays_and_of_steps_their_weighted_mean(decay):
    tensors = {"a": torch.randn(3, dtype=torch.float64), "b": torch.ones((), dtype=torch.float64)}
    steps = [{name: t * (step + 1) for name, t in tensors.items()} for step in range(5)]
    still = moving = ema_init(tensors)
    assert all(not t.any() for t in still.values())
    for step in steps:
        still, moving = ema_update(still, tensors, decay), ema_update(moving, step, decay)
    shares = [decay ** (4 - step) for step in range(5)]
    mean = sum(share * (step + 1) for step, share in enumerate(shares)) / sum(shares)
    for name, t in tensors.items():
        torch.testing.assert_close(ema_value(still, decay, 5)[name], t)
        torch.testing.assert_close(ema_value(moving, decay, 5)[name], t * mean)


def test_gradients_that_are_short_enough_stay_and_long_ones_keep_their_direction():
    grads = [torch.tensor([3.0]), torch.tensor([[4.0]])]
    assert [g.item() for g in clip_gradients(iter(grads), 6.0)] == [3.0, 4.0]
    torch.testing.assert_close(
        torch.cat([g.flatten() for g in clip_gradients(grads, 1.0)]), torch.tensor([0.6, 0.8])
    )
