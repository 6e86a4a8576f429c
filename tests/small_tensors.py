"""What the tests of layers and models share: seeded numbers in float64, gradients."""

import torch

EXACT = {"atol": 1e-12, "rtol": 1e-12}


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def random(*shape, seed=0):
    return torch.randn(shape, generator=generator(seed), dtype=torch.float64)


def double(module):
    return module.to(dtype=torch.float64)


def gradients(y, tensors):
    """Of a scalar that weighs every element of y differently."""
    return torch.autograd.grad((y * random(*y.shape, seed=99)).sum(), tensors)


def assert_all_close(ours, theirs):
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, **EXACT)


def lengths_as_mask(lengths, T):
    return torch.arange(T) < torch.tensor(lengths)[:, None]


def lively(model, seed=5):
    """In float64, every number another than at the start, and learned."""
    double(model)
    model.load_state_dict({
        name: 0.5 * random(*t.shape, seed=seed + i) for i, (name, t) in enumerate(model.state_dict().items())
    })  # fmt: skip
    for p in model.parameters():
        p.requires_grad_()
    return model


def by_equations(cell, x, tensors):
    """h_t for every t, from the equations in the documentation of torch.nn.RNN, GRU and LSTM."""
    w, u = tensors["weight_ih_l0"], tensors["weight_hh_l0"]
    b, c = tensors["bias_ih_l0"], tensors["bias_hh_l0"]
    B, T, _ = x.shape
    h = state = torch.zeros(B, u.shape[1], dtype=x.dtype)
    outputs = []
    for t in range(T):
        a, r = x[:, t] @ w.T + b, h @ u.T + c
        if cell == "rnn":
            h = torch.tanh(a + r)
        elif cell == "gru":
            (a_r, a_z, a_n), (r_r, r_z, r_n) = a.chunk(3, 1), r.chunk(3, 1)
            reset, update = torch.sigmoid(a_r + r_r), torch.sigmoid(a_z + r_z)
            h = (1 - update) * torch.tanh(a_n + reset * r_n) + update * h
        else:
            i, f, g, o = (a + r).chunk(4, 1)
            state = torch.sigmoid(f) * state + torch.sigmoid(i) * torch.tanh(g)
            h = torch.sigmoid(o) * torch.tanh(state)
        outputs.append(h)
    return torch.stack(outputs, 1)
