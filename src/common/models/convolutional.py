"""The tree as causal convolutions: a trained one slid along a name, and one to be trained on whole names."""

import copy

import torch
from torch import Generator

from .. import nn
from .mlp import output_layer

OneOrMany = int | tuple[int, ...]
ACTIVATIONS: dict[str, type[nn.Module]] = {"tanh": nn.Tanh, "relu": nn.ReLU, "silu": nn.SiLU, "gate": nn.Gate}


class Dilated(nn.Sequential):
    """The tree as a network of dilated causal convolutions, to be trained on whole names.

    x: (B, T) -> (B, T, V). With kernels of two and dilations 1, 2, 4 it has the tree's parameters and
    sees eight characters. Introduced in chapter 8; for chapter 13 it also takes another activation, and
    `residual` adds to what a level makes what it was made of, where both have the same size.
    n_hidden: of all levels, or one a level. ValueError where these are not as many as the dilations,
    and for an activation that is none of ACTIVATIONS.

    >>> Dilated()(torch.zeros((32, 9), dtype=torch.long)).shape
    torch.Size([32, 9, 27])
    """

    def __init__(self, vocab_size: int = 27, n_embd: int = 24, n_hidden: OneOrMany = 128,
                 dilations: tuple[int, ...] = (1, 2, 4), kernel_size: int = 2, activation: str = "tanh",
                 residual: bool = False, dropout: float = 0.0, input_dropout: float = 0.0, *,
                 generator: Generator | None = None):  # fmt: skip
        if activation not in ACTIVATIONS:
            raise ValueError(f"expected one of {list(ACTIVATIONS)}, got {activation!r}")
        widths = [n_hidden] * len(dilations) if isinstance(n_hidden, int) else list(n_hidden)
        if len(widths) != len(dilations):
            raise ValueError(f"expected one n_hidden a dilation, {len(dilations)}, got {n_hidden!r}")
        parts: dict[str, nn.Module] = {"embedding": nn.Embedding(vocab_size, n_embd, generator=generator)}
        parts |= {"input_dropout": nn.Dropout(input_dropout)} if input_dropout else {}
        before = n_embd
        for i, (dilation, width) in enumerate(zip(dilations, widths, strict=True), start=1):
            wide = width * (2 if activation == "gate" else 1)
            convolution = nn.CausalConv1d(before, wide, kernel_size, dilation, False, generator=generator)
            norm, active = nn.BatchNorm1d(wide), ACTIVATIONS[activation]()
            level: dict[str, nn.Module] = {"convolution": convolution, "norm": norm, activation: active}
            adds = residual and before == width
            parts |= {f"level{i}": nn.Residual(level)} if adds else {f"{k}{i}": v for k, v in level.items()}
            parts |= {f"dropout{i}": nn.Dropout(dropout)} if dropout else {}
            before = width
        super().__init__(parts | {"output": output_layer(before, vocab_size, generator=generator)})


def as_convolution(tree: nn.Sequential) -> nn.Sequential:
    """A trained tree, slid along whole names: the same numbers as dilated causal convolutions.

    The result is in evaluation mode and takes names with one dot in front, x: (B, T) -> (B, T, V).
    Its logits at t are the tree's for the eight characters that end at t, where dots stand before
    the first. Every level keeps what a node makes of dots alone as the ``before`` of the next one:
    it holds as long as the weights do. ValueError for a model that is no `Tree`, or one with the bug of
    chapter 5. Introduced in chapter 7.
    """
    fan_in, dilation = 1, 1
    layers: dict[str, nn.Module] = {}
    dots = torch.zeros((1, 1), dtype=torch.long, device=tree.device)  # what every level makes of dots alone
    for name, layer in tree.named_children():
        if isinstance(layer, nn.FlattenConsecutive):
            fan_in *= layer.n
            continue
        if type(layer) not in (nn.Embedding, nn.Linear, nn.BatchNorm1d, nn.Tanh):
            raise ValueError(f"expected a tree with one BatchNorm1d a level, got the layer {layer!r}")
        own = copy.deepcopy(layer)
        if isinstance(layer, nn.Linear) and fan_in > 1:
            inputs, outputs = layer.weight.shape
            own = nn.CausalConv1d(inputs // fan_in, outputs, fan_in, dilation, bias=layer.bias is not None)
            copied = {name: tensor.clone() for name, tensor in layer.state_dict().items()}
            copied["weight"] = copied["weight"].view(fan_in, inputs // fan_in, outputs)
            own.load_state_dict({**copied, "before": dots[0, 0]})
            fan_in, dilation = 1, dilation * fan_in
            name = name.replace("linear", "convolution")
        with nn.evaluating(own):
            dots = own(dots)
        layers[name] = own
    return nn.Sequential(layers).eval()
