"""The benchmark's networks as a user of torch.nn writes them: eager, and with torch.compile.

The same weights at the start, the same batches, losses and optimisers as in `common.train`. Names are padded:
in eager mode to the longest of the batch, compiled to the longest of all, for a shape that changes is
compiled anew. torch.compile has its default mode, and torch's fused optimiser beside it: "max-autotune" and a
compiled optimiser took as long here, "reduce-overhead" is for a GPU.
"""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from common.data import IGNORE_INDEX
from common.models import Dilated, RecurrentNetwork, Transformer, Tree, WaveNet
from common.nn import Module
from common.train import Config, Examples


def peer(
    models: Sequence[Module], examples: Examples, generators: Sequence[Generator], config: Config,
    compiled: bool = False,
) -> Callable[[int, int], Tensor]:  # fmt: skip
    """A function that runs steps start to stop of one model, and gives its losses (steps,)."""
    [own], [generator] = models, generators
    network = NETWORKS[type(own)](own)
    loss_of = torch.compile(taught_loss) if compiled else taught_loss
    whole_names = examples.targets.ndim == 2
    if config.optimizer == "adamw":
        matrices = [p for p in network.parameters() if p.ndim > 1]
        vectors = [p for p in network.parameters() if p.ndim == 1]
        groups = [{"params": matrices}, {"params": vectors, "weight_decay": 0.0}]
        settings = {"betas": config.betas, "weight_decay": config.weight_decay}
        optimizer = torch.optim.AdamW(groups, lr=config.lr, fused=True, **settings)
    else:
        optimizer = torch.optim.SGD(network.parameters(), lr=config.lr, fused=True)

    def run(start: int, stop: int) -> Tensor:
        losses = []
        for step in range(start, stop):
            batch = torch.randint(len(examples.contexts), (config.batch_size,), generator=generator)
            x, y = examples.contexts[batch], examples.targets[batch]
            soft = None if examples.soft_targets is None else examples.soft_targets[batch]
            if whole_names and not compiled:
                longest = int((y != IGNORE_INDEX).sum(1).max())
                x, y = x[:, :longest], y[:, :longest]
                soft = None if soft is None else soft[:, :longest]
            loss = loss_of(network, x, y, soft, config.distill)
            optimizer.zero_grad()
            loss.backward()
            for group in optimizer.param_groups:
                group["lr"] = config.lr_at(step)
            optimizer.step()
            losses.append(loss.detach())
        return torch.stack(losses)

    return run


def taught_loss(network: nn.Module, x: Tensor, y: Tensor, soft: Tensor | None, distill: float) -> Tensor:
    """The mean loss of what counts, with a teacher's share in it where there is one."""
    logits, counted = network(x, y != IGNORE_INDEX).flatten(0, -2), (y != IGNORE_INDEX).flatten()
    loss = F.cross_entropy(logits, y.flatten(), ignore_index=IGNORE_INDEX)
    if soft is None:
        return loss
    taught = F.cross_entropy(logits, soft.flatten(0, -2), reduction="none")
    return (1 - distill) * loss + distill * (taught * counted).sum() / counted.sum()


# ---- layers ----------------------------------------------------------------------


class CausalConv1d(nn.Conv1d):
    """A convolution that looks back: x (B, C, T) -> (B, C', T)."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(F.pad(x, ((self.kernel_size[0] - 1) * self.dilation[0], 0)))


class CountedBatchNorm1d(nn.BatchNorm1d):
    """BatchNorm over the places that count: x (B, C, T), read (B, T)."""

    def forward(self, x: Tensor, read: Tensor) -> Tensor:
        read = read[:, None].to(x.dtype)
        count = read.sum()
        mean = (x * read).sum((0, 2)) / count
        apart = x - mean[:, None]
        var = (apart.square() * read).sum((0, 2)) / count
        with torch.no_grad():
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(var * count / (count - 1), self.momentum)
        return apart * (self.weight * torch.rsqrt(var + self.eps))[:, None] + self.bias[:, None]


def like(own: Module, kind: type[nn.Module], *sizes, **more) -> nn.Module:
    """A layer of torch.nn with the tensors of one of this book's, whose matrices are the transposes."""
    layer = kind(*sizes, **more).to(own.device, dtype=next(iter(own.parameters())).dtype)
    tensors = dict(own.state_dict())
    if isinstance(layer, nn.Linear | nn.Conv1d):
        weight = tensors["weight"]
        tensors["weight"] = weight.permute(*reversed(range(weight.ndim))).reshape(layer.weight.shape)
    layer.load_state_dict(tensors, strict=False)  # how many batches a BatchNorm has seen is not known
    return layer


def embedding(own: Module) -> nn.Embedding:
    return like(own, nn.Embedding, *own.weight.shape)


def linear(own: Module) -> nn.Linear:
    return like(own, nn.Linear, *own.weight.shape, bias=own.bias is not None)


def pointwise(own: Module) -> nn.Conv1d:
    """A linear map of every position, where channels come before positions."""
    return like(own, nn.Conv1d, *own.weight.shape, 1, bias=own.bias is not None)


def convolution(own) -> CausalConv1d:
    kernel_size, inputs, outputs = own.weight.shape
    more = {"dilation": own.dilation, "bias": own.bias is not None}
    return like(own, CausalConv1d, inputs, outputs, kernel_size, **more)


def norm(own, kind: type[nn.Module]) -> nn.Module:
    return like(own, kind, len(own.weight))


# ---- networks --------------------------------------------------------------------
# Each takes one of this book's, and is called with numbers x (B, T) and which of them are read (B, T).


class TorchTree(nn.Module):
    def __init__(self, own: Tree):
        super().__init__()
        levels = range(1, 1 + sum(name.startswith("fuse") for name, _ in own.named_children()))
        self.embedding = embedding(own.embedding)
        self.linears = nn.ModuleList(linear(getattr(own, f"linear{i}")) for i in levels)
        self.norms = nn.ModuleList(norm(getattr(own, f"norm{i}"), nn.BatchNorm1d) for i in levels)
        self.output = linear(own.output)

    def forward(self, x: Tensor, read: Tensor) -> Tensor:
        h = self.embedding(x)
        for linear, norm in zip(self.linears, self.norms, strict=True):
            h = linear(h.view(len(h), h.shape[1] // 2, -1))
            h = torch.tanh(norm(h.flatten(0, 1))).view_as(h)
        return self.output(h[:, 0])


class TorchDilated(nn.Module):
    def __init__(self, own: Dilated):
        super().__init__()
        of = dict(own.named_children())
        levels = range(1, 1 + sum(name.startswith("convolution") for name in of))
        self.embedding = embedding(own.embedding)
        self.convolutions = nn.ModuleList(convolution(of[f"convolution{i}"]) for i in levels)
        self.norms = nn.ModuleList(norm(of[f"norm{i}"], CountedBatchNorm1d) for i in levels)
        self.dropout = nn.Dropout(of["dropout1"].p if "dropout1" in of else 0.0)
        self.output = pointwise(own.output)

    def forward(self, x: Tensor, read: Tensor) -> Tensor:
        h = self.embedding(x).mT
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            h = self.dropout(torch.tanh(norm(convolution(h), read)))
        return self.output(h).mT


class TorchBlock(nn.Module):
    def __init__(self, own):
        super().__init__()
        self.convolution, self.to_skip = convolution(own.convolution), pointwise(own.to_skip)
        self.to_out = None if own.to_out is None else pointwise(own.to_out)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        signal, gate = self.convolution(x).chunk(2, dim=1)
        z = torch.tanh(signal) * torch.sigmoid(gate)
        return x if self.to_out is None else x + self.to_out(z), self.to_skip(z)


class TorchWaveNet(nn.Module):
    def __init__(self, own: WaveNet):
        super().__init__()
        self.embedding = embedding(own.embedding)
        self.blocks = nn.ModuleList(TorchBlock(block) for block in own.blocks)
        self.head = nn.Sequential(
            nn.ReLU(), pointwise(own.head.hidden), nn.ReLU(), pointwise(own.head.output)
        )

    def forward(self, x: Tensor, read: Tensor) -> Tensor:
        h, skips = self.embedding(x).mT, []
        for block in self.blocks:
            h, skip = block(h)
            skips.append(skip)
        return self.head(sum(skips)).mT


class TorchRecurrent(nn.Module):
    def __init__(self, own: RecurrentNetwork):
        super().__init__()
        self.embedding, self.output = embedding(own.embedding), linear(own.output)
        layer = own.recurrent.module
        self.recurrent = like(
            own.recurrent, type(layer), layer.input_size, layer.hidden_size, batch_first=True
        )

    def forward(self, x: Tensor, read: Tensor) -> Tensor:
        return self.output(self.recurrent(self.embedding(x))[0])


class TorchTransformerBlock(nn.Module):
    def __init__(self, own):
        super().__init__()
        self.heads = own.heads
        self.norm1, self.norm2 = norm(own.norm1, nn.LayerNorm), norm(own.norm2, nn.LayerNorm)
        self.to_qkv, self.to_out = linear(own.to_qkv), linear(own.to_out)
        self.up, self.down = linear(own.up), linear(own.down)

    def forward(self, x: Tensor) -> Tensor:
        B, T, C = x.shape
        q, k, v = self.to_qkv(self.norm1(x)).view(B, T, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        seen = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.to_out(seen.transpose(1, 2).reshape(B, T, C))
        return x + self.down(F.gelu(self.up(self.norm2(x))))


class TorchTransformer(nn.Module):
    def __init__(self, own: Transformer):
        super().__init__()
        blocks = [TorchTransformerBlock(m) for name, m in own.named_children() if name.startswith("block")]
        self.embedding, self.position = embedding(own.embedding), embedding(own.position)
        self.blocks, self.norm = nn.Sequential(*blocks), norm(own.norm, nn.LayerNorm)
        self.output = linear(own.output)

    def forward(self, x: Tensor, read: Tensor) -> Tensor:
        h = self.embedding(x) + self.position.weight[: x.shape[1]]
        return self.output(self.norm(self.blocks(h)))


NETWORKS: dict[type[Module], Callable[[Module], nn.Module]] = {
    Tree: TorchTree, Dilated: TorchDilated, WaveNet: TorchWaveNet, RecurrentNetwork: TorchRecurrent,
    Transformer: TorchTransformer,
}  # fmt: skip
