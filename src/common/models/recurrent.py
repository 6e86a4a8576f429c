"""The recurrent network of chapter 11, to compare with: its cell comes from torch.nn."""

from torch import Generator

from ..nn import Dropout, Embedding, Linear, Module, Recurrent, Sequential, VariationalDropout


class RecurrentNetwork(Sequential):
    """A recurrent network with one layer, for whole names. x: (B, T) -> (B, T, V). Introduced in chapter 11.

    dropout: on its outputs, one mask a name. input_dropout: on its inputs.

    ValueError for a cell that is none of `nn.CELLS`.

    >>> import torch
    >>> RecurrentNetwork()(torch.zeros((32, 9), dtype=torch.long)).shape
    torch.Size([32, 9, 27])
    """

    def __init__(self, vocab_size: int = 27, cell: str = "gru", n_embd: int = 32, n_hidden: int = 128,
                 dropout: float = 0.0, input_dropout: float = 0.0, *,
                 generator: Generator | None = None):  # fmt: skip
        parts: dict[str, Module] = {"embedding": Embedding(vocab_size, n_embd, generator=generator)}
        parts |= {"input_dropout": Dropout(input_dropout)} if input_dropout else {}
        parts["recurrent"] = Recurrent(cell, n_embd, n_hidden, generator=generator)
        parts |= {"dropout": VariationalDropout(dropout)} if dropout else {}
        super().__init__(parts | {"output": Linear(n_hidden, vocab_size, generator=generator)})
