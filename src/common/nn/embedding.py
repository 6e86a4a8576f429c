"""Tables of learned vectors."""

import torch
from torch import Generator, Tensor

from .module import Module


class Embedding(Module):
    """A table of learned vectors, one row a token. Introduced in chapter 2.

    input: (...) integers in [0, num_embeddings) -> (..., embedding_dim)
    IndexError for other integers, as in torch.nn; ValueError for numbers of another type.

    padding_idx: a row, such as that of "<pad>", that starts as zeros and gets no gradient. It is counted from
    the start, where torch.nn takes -1 as well. Introduced in part two, chapter 3.

    >>> Embedding(27, 10)(torch.tensor([[0, 5, 13]])).shape
    torch.Size([1, 3, 10])
    """

    def __init__(self, num_embeddings: int, embedding_dim: int, padding_idx: int | None = None,
                 *, generator: Generator | None = None):  # fmt: skip
        self.weight = torch.randn((num_embeddings, embedding_dim), generator=generator)
        self.padding_idx = padding_idx
        if padding_idx is not None:
            self.check_rows(torch.tensor(padding_idx))
            self.weight[padding_idx] = 0

    def __call__(self, input: Tensor) -> Tensor:
        self.check_rows(input)
        rows, pad = self.weight[input], self.padding_idx
        return rows if pad is None else rows.where((input != pad)[..., None], rows.detach())

    def check_rows(self, input: Tensor) -> None:
        """IndexError or ValueError for what indexing would take: -1 as the last row, booleans as a mask."""
        if input.dtype not in (torch.int64, torch.int32):
            raise ValueError(f"expected integers of 64 or 32 bits, got {input.dtype}")
        least, most = map(int, input.aminmax()) if input.numel() else (0, 0)
        if least < 0 or most >= len(self.weight):
            raise IndexError(f"expected integers in [0, {len(self.weight)}), got {least} to {most}")

    def extra_repr(self) -> str:
        padding = "" if self.padding_idx is None else f", padding_idx={self.padding_idx}"
        return f"{self.weight.shape[0]}, {self.weight.shape[1]}{padding}"
