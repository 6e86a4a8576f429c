"""The benchmark's networks as a user of JAX writes them: `jit` of a `scan` over the steps, seeds by `vmap`.

The same weights at the start, the same batches, losses and optimisers as in `common.train`. Names are padded
to the longest of all, for a shape that changes is compiled anew. Parameters keep this book's names.
"""

import os
from collections.abc import Callable, Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import torch
from jax import lax
from torch import Generator

from common.data import IGNORE_INDEX
from common.models import Dilated, RecurrentNetwork, Transformer, Tree, WaveNet
from common.nn import Module
from common.train import Config, Examples

CHUNK = 50  # steps a call: one length, for another one is compiled anew
Tensors = dict[str, jax.Array]


def one_core(number: int) -> None:
    """This process on one core, where the system can: XLA has a thread a core that it may run on."""
    if hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {cores[number % len(cores)]})


def peer(
    models: Sequence[Module], examples: Examples, generators: Sequence[Generator], config: Config
) -> Callable[[int, int], torch.Tensor]:
    """A function that runs steps start to stop of all models together; gives the losses (S, steps)."""
    whole_names = examples.targets.ndim == 2
    longest = int((examples.targets != IGNORE_INDEX).sum(1).max()) if whole_names else None
    data = {"x": examples.contexts, "y": examples.targets}
    if whole_names:
        data = {name: t[:, :longest] for name, t in data.items()}
    if examples.soft_targets is not None:
        data["soft"] = examples.soft_targets[:, :longest]
    data = {name: jnp.asarray(t.numpy()) for name, t in data.items()}
    states = [_start(model, seed) for seed, model in enumerate(models)]
    many = len(models) > 1
    state = jax.tree.map(lambda *same: jnp.stack(same), *states) if many else states[0]
    steps = partial(_steps, partial(_loss, NETWORKS[type(models[0])](models[0]), config.distill), config)
    train = jax.jit(jax.vmap(steps, in_axes=(0, None, 0, None)) if many else steps, donate_argnums=0)

    def run(start: int, stop: int) -> torch.Tensor:
        nonlocal state
        every = []
        for begin in range(start, stop, CHUNK):
            end = min(begin + CHUNK, stop)
            shape = (end - begin, config.batch_size)
            rows = [torch.randint(len(data["x"]), shape, generator=g).numpy() for g in generators]
            rates = np.array([config.lr_at(step) for step in range(begin, end)])
            state, losses = train(state, data, np.stack(rows) if many else rows[0], rates)
            every.append(losses)
        losses = np.concatenate(jax.block_until_ready(every), axis=-1)
        return torch.tensor(losses if many else losses[None])

    return run


def _start(model: Module, seed: int) -> dict:
    tensors = {name: jnp.asarray(t.detach().numpy()) for name, t in model.state_dict().items()}
    names = [name for name, _ in model.named_parameters()]
    p = {name: tensors.pop(name) for name in names}
    zeros = {name: jnp.zeros_like(t) for name, t in p.items()}
    key = jax.random.key(seed)
    return {"p": p, "buffers": tensors, "m": zeros, "v": jax.tree.map(jnp.copy, zeros), "t": 0, "key": key}


# ---- training --------------------------------------------------------------------


def _steps(loss_of: Callable, config: Config, state: dict, data: Tensors, rows, rates) -> tuple:
    """Steps with the batches rows (steps, B) at the rates (steps,)."""

    def step(state, given):
        row, lr = given
        key, own = jax.random.split(state["key"])
        batch = {name: of[row] for name, of in data.items()}
        gradient_of = jax.value_and_grad(loss_of, has_aux=True)
        (loss, buffers), g = gradient_of(state["p"], state["buffers"], batch, own)
        state = state | {"buffers": buffers, "key": key}
        return (_adamw if config.optimizer == "adamw" else _sgd)(config, state, g, lr), loss

    return lax.scan(step, state, (rows, rates))


def _sgd(config: Config, state: dict, g: Tensors, lr) -> dict:
    return state | {"p": jax.tree.map(lambda p, g: p - lr * g, state["p"], g)}


def _adamw(config: Config, state: dict, g: Tensors, lr) -> dict:
    (b1, b2), t = config.betas, state["t"] + 1
    m = jax.tree.map(lambda m, g: b1 * m + (1 - b1) * g, state["m"], g)
    v = jax.tree.map(lambda v, g: b2 * v + (1 - b2) * g * g, state["v"], g)

    def moved(p, m, v):
        p = p * (1 - lr * config.weight_decay) if p.ndim > 1 else p
        return p - lr * (m / (1 - b1**t)) / (jnp.sqrt(v / (1 - b2**t)) + 1e-8)

    return state | {"p": jax.tree.map(moved, state["p"], m, v), "m": m, "v": v, "t": t}


def _loss(network: Callable, distill: float, p: Tensors, buffers: Tensors, batch: Tensors, key) -> tuple:
    """The mean loss of what counts, with a teacher's share in it where there is one."""
    y = batch["y"]
    read = y != IGNORE_INDEX
    logits, buffers = network(p, buffers, batch["x"], read, key)
    log_p = jax.nn.log_softmax(logits)
    wanted = jnp.take_along_axis(log_p, jnp.where(read, y, 0)[..., None], -1)[..., 0]
    loss = -jnp.where(read, wanted, 0).sum() / read.sum()
    if "soft" in batch:
        taught = -jnp.where(read, (batch["soft"] * log_p).sum(-1), 0).sum() / read.sum()
        loss = (1 - distill) * loss + distill * taught
    return loss, buffers


# ---- layers ----------------------------------------------------------------------


def linear(p: Tensors, name: str, x):
    y = x @ p[f"{name}.weight"]
    return y + p[f"{name}.bias"] if f"{name}.bias" in p else y


def causal_convolution(p: Tensors, name: str, dilation: int, x):
    """By one product: a convolution of XLA's takes many times as long on a CPU."""
    K, C, H = p[f"{name}.weight"].shape
    back = [(K - 1 - k) * dilation for k in range(K)]
    taps = [jnp.pad(x, ((0, 0), (n, 0), (0, 0)))[:, : x.shape[1]] for n in back]
    y = jnp.concatenate(taps, -1) @ p[f"{name}.weight"].reshape(K * C, H)
    return y + p[f"{name}.bias"] if f"{name}.bias" in p else y


def batch_norm(p: Tensors, buffers: Tensors, name: str, x, read):
    """x (B, T, C), read (B, T) -> the same normalised, and the buffers then."""
    read = read[..., None].astype(x.dtype)
    count = read.sum()
    mean = (x * read).sum((0, 1)) / count
    apart = x - mean
    var = (apart * apart * read).sum((0, 1)) / count
    kept = {f"{name}.running_mean": mean, f"{name}.running_var": var * count / (count - 1)}
    kept = {of: 0.9 * buffers[of] + 0.1 * lax.stop_gradient(now) for of, now in kept.items()}
    scale = p[f"{name}.weight"] * lax.rsqrt(var + 1e-5)
    return apart * scale + p[f"{name}.bias"], buffers | kept


def layer_norm(p: Tensors, name: str, x):
    apart = x - x.mean(-1, keepdims=True)
    scale = lax.rsqrt((apart * apart).mean(-1, keepdims=True) + 1e-5)
    return p[f"{name}.weight"] * apart * scale + p[f"{name}.bias"]


def dropout(rate: float, key, x):
    return jnp.where(jax.random.bernoulli(key, 1 - rate, x.shape), x / (1 - rate), 0) if rate else x


# ---- networks --------------------------------------------------------------------
# (parameters, buffers, numbers (B, T), which are read, a key) -> logits and buffers.


def tree(own: Tree) -> Callable:
    levels = range(1, 1 + sum(name.startswith("fuse") for name, _ in own.named_children()))

    def network(p, buffers, x, read, key):
        h = p["embedding.weight"][x]
        for i in levels:
            h = linear(p, f"linear{i}", h.reshape(len(h), h.shape[1] // 2, -1))
            h, buffers = batch_norm(p, buffers, f"norm{i}", h, jnp.ones(h.shape[:2], bool))
            h = jnp.tanh(h)
        return linear(p, "output", h[:, 0]), buffers

    return network


def dilated(own: Dilated) -> Callable:
    of = dict(own.named_children())
    dilations = [m.dilation for name, m in of.items() if name.startswith("convolution")]
    rate = of["dropout1"].p if "dropout1" in of else 0.0

    def network(p, buffers, x, read, key):
        h = p["embedding.weight"][x]
        for i, dilation in enumerate(dilations, 1):
            h = causal_convolution(p, f"convolution{i}", dilation, h)
            h, buffers = batch_norm(p, buffers, f"norm{i}", h, read)
            h = dropout(rate, jax.random.fold_in(key, i), jnp.tanh(h))
        return linear(p, "output", h), buffers

    return network


def wavenet(own: WaveNet) -> Callable:
    dilations = [block.convolution.dilation for block in own.blocks]

    def network(p, buffers, x, read, key):
        h, skips = p["embedding.weight"][x], 0
        for i, dilation in enumerate(dilations):
            signal, gate = jnp.split(causal_convolution(p, f"blocks.{i}.convolution", dilation, h), 2, -1)
            z = jnp.tanh(signal) * jax.nn.sigmoid(gate)
            skips = skips + linear(p, f"blocks.{i}.to_skip", z)
            h = h + linear(p, f"blocks.{i}.to_out", z) if i + 1 < len(dilations) else h
        h = jax.nn.relu(linear(p, "head.hidden", jax.nn.relu(skips)))
        return linear(p, "head.output", h), buffers

    return network


def recurrent(own: RecurrentNetwork) -> Callable:
    cell = {torch.nn.GRU: gru, torch.nn.LSTM: lstm}[type(own.recurrent.module)]

    def network(p, buffers, x, read, key):
        of = {name.removeprefix("recurrent."): t for name, t in p.items()}
        mapped = p["embedding.weight"][x] @ of["weight_ih_l0"].T + of["bias_ih_l0"]  # of all steps at once
        zeros = jnp.zeros((len(x), of["weight_hh_l0"].shape[1]), mapped.dtype)
        step = partial(cell, of["weight_hh_l0"].T, of["bias_hh_l0"])
        _, h = lax.scan(step, (zeros, zeros) if cell is lstm else zeros, mapped.swapaxes(0, 1))
        return linear(p, "output", h.swapaxes(0, 1)), buffers

    return network


def gru(weight, bias, h, i):
    ir, iz, new = jnp.split(i, 3, -1)
    hr, hz, hn = jnp.split(h @ weight + bias, 3, -1)
    r, z = jax.nn.sigmoid(ir + hr), jax.nn.sigmoid(iz + hz)
    n = jnp.tanh(new + r * hn)
    h = n + z * (h - n)
    return h, h


def lstm(weight, bias, state, i):
    h, c = state
    i, f, g, o = jnp.split(i + h @ weight + bias, 4, -1)
    c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
    h = jax.nn.sigmoid(o) * jnp.tanh(c)
    return (h, c), h


def transformer(own: Transformer) -> Callable:
    blocks = [(name, m.heads) for name, m in own.named_children() if name.startswith("block")]

    def network(p, buffers, x, read, key):
        B, T = x.shape
        h = p["embedding.weight"][x] + p["position.weight"][:T]
        for name, heads in blocks:
            qkv = linear(p, f"{name}.to_qkv", layer_norm(p, f"{name}.norm1", h))
            q, k, v = jnp.moveaxis(qkv.reshape(B, T, 3, heads, -1), 2, 0)
            seen = jax.nn.dot_product_attention(q, k, v, is_causal=True)
            h = h + linear(p, f"{name}.to_out", seen.reshape(B, T, -1))
            up = linear(p, f"{name}.up", layer_norm(p, f"{name}.norm2", h))
            h = h + linear(p, f"{name}.down", jax.nn.gelu(up, approximate=False))
        return linear(p, "output", layer_norm(p, "norm", h)), buffers

    return network


NETWORKS: dict[type[Module], Callable[[Module], Callable]] = {
    Tree: tree, Dilated: dilated, WaveNet: wavenet, RecurrentNetwork: recurrent, Transformer: transformer,
}  # fmt: skip
