"""Recurrent layers; those of torch.nn until part two builds them."""

from torch import Generator, Tensor, nn

from .torch_module import TorchModule

CELLS = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}


class Recurrent(TorchModule):
    """torch's RNN, LSTM or GRU with one layer. x: (B, T, C) -> (B, T, H). Introduced in chapter 11.

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
