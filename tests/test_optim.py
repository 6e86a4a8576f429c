"""Every optimiser takes the steps of torch.optim."""

import pytest
import torch

from common.models import hierarchical
from common.optim import SGD, Adam, AdamW, Muon, RMSprop, by_parameter, clipped, orthogonal

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
    q, kept = p.clone().requires_grad_(True), ours.start(p)
    other = theirs([q], lr=0.1, **arguments)
    for step in range(20):
        lr = 0.1 / (1 + step)  # a schedule
        grad = torch.randn((3, 4), generator=g, dtype=torch.float64)
        p, kept = ours.step(p, grad, kept, lr)
        other.param_groups[0]["lr"] = lr
        q.grad = grad
        other.step()
        assert torch.allclose(p, q, atol=1e-12, rtol=0)


def test_nothing_changes_in_place():
    p, g = torch.ones(3), torch.full((3,), 2.0)
    for optimizer in (SGD(0.9), RMSprop(), Adam(), AdamW()):
        kept = optimizer.start(p)
        before = {slot: t.clone() for slot, t in kept.items()}
        new, _ = optimizer.step(p, g, kept, 0.1)
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
    p, ours = turned(q.detach().clone()), Muon(weight_decay=0.2, outputs_first=outputs_first)
    kept = ours.start(p)
    other = torch.optim.Muon([q], lr=ours.factor * 0.01, weight_decay=0.2, adjust_lr_fn="original")
    for _ in range(5):
        q.grad = torch.randn((outputs, inputs), generator=g)
        p, kept = ours.step(p, turned(q.grad), kept, 0.01)
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
    assert chosen["0.weight"].betas == chosen["3.weight"].betas == (0.8, 0.9)
    kinds = {name: (type(own).__name__, own.weight_decay) for name, own in chosen.items()}
    assert kinds["0.weight"] == kinds["9.weight"] == ("AdamW", 0.2)
    assert kinds["2.weight"] == kinds["6.weight"] == ("Muon", 0.2)
    assert kinds["3.weight"] == kinds["9.bias"] == ("AdamW", 0.0)


@pytest.mark.parametrize(
    "build, said",
    [
        (lambda: SGD(momentum=-0.1), "SGD: expected momentum of at least 0, got -0.1"),
        (lambda: SGD(momentum=float("nan")), "expected momentum of at least 0, got nan"),
        (lambda: SGD(weight_decay=float("inf")), "expected weight_decay of at least 0, got inf"),
        (lambda: RMSprop(eps=-1e-8), "RMSprop: expected eps of at least 0, got -1e-08"),
        (lambda: Adam(betas=(0.9, 1.0)), r"Adam: expected betas in \[0, 1\), got \(0.9, 1.0\)"),
        (lambda: AdamW((-0.5, 0.9)), r"AdamW: expected betas in \[0, 1\), got \(-0.5, 0.9\)"),
        (lambda: Muon(factor=float("nan")), "Muon: expected factor of at least 0, got nan"),
        (lambda: SGD(nesterov=True), "SGD: expected only momentum, weight_decay, got nesterov=True"),
    ],
)  # fmt: skip
def test_settings_that_cannot_be_meant_are_refused(build, said):
    with pytest.raises(ValueError, match=said):
        build()
