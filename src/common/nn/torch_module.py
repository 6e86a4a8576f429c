"""A module of torch.nn inside a model of this book, for what a chapter compares with and does not teach."""

from collections.abc import Iterator
from typing import Any

from torch import Generator, Tensor, nn

from .module import Module


class TorchModule(Module):
    """A module of torch.nn with the interface of this book's. Its matrices are (outputs, inputs).

    Inputs and outputs are those of the module. Introduced in chapter 13.

    >>> layer = TorchModule(nn.Linear(10, 20))
    >>> layer.state_dict()["weight"].shape
    torch.Size([20, 10])
    """

    def __init__(self, module: nn.Module):
        self.module = module.requires_grad_(False)
        self._buffers = tuple(name for name, _ in module.named_buffers())

    @property
    def training(self) -> bool:  # type: ignore[override]
        """The mode is that of the module inside, all the way down."""
        return self.module.training

    @training.setter
    def training(self, mode: bool) -> None:
        self.module.train(mode)

    def __call__(self, *inputs: Any) -> Any:
        return self.module(*inputs)

    def named_children(self) -> Iterator[tuple[str, Module]]:
        yield from ()

    def own_tensors(self) -> dict[str, Tensor]:
        return dict(self.module.named_parameters()) | dict(self.module.named_buffers())

    def assign(self, name: str, tensor: Tensor) -> None:
        self.own_tensors()[name].data = tensor.detach()

    def extra_repr(self) -> str:
        return repr(self.module)


CELLS = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}


class Recurrent(TorchModule):
    """torch's RNN, LSTM or GRU with one layer. x: (B, T, C) -> (B, T, H). Introduced in chapter 13.

    cell: rnn, lstm or gru; ValueError for another.

    >>> import torch
    >>> Recurrent("gru", 10, 20)(torch.zeros(32, 8, 10)).shape
    torch.Size([32, 8, 20])
    """

    packable = False

    def __init__(self, cell: str, input_size: int, hidden_size: int, *, generator: Generator | None = None):
        if cell not in CELLS:
            raise ValueError(f"expected one of {list(CELLS)}, got {cell!r}")
        super().__init__(CELLS[cell](input_size, hidden_size, batch_first=True))
        for p in self.parameters():
            p.uniform_(-(hidden_size**-0.5), hidden_size**-0.5, generator=generator)

    def __call__(self, x: Tensor) -> Tensor:
        return self.module(x)[0]
