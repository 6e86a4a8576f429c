"""Recurrent networks: part two's, and that of chapter 13, to compare with, whose cell comes from torch.nn."""

import math
from typing import Any

import torch
from torch import Generator, Tensor
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from ..nn import Dropout, Embedding, Linear, Module, Recurrent, Sequential, VariationalDropout
from ..nn.recurrent import GRU, LSTM, RNN, chrono_start, forget_bias_start, orthogonal_start

STARTS = ("usual", "orthogonal", "forget", "chrono")
POOLS = ("mean", "last", "max")


class RecurrentNetwork(Sequential):
    """A recurrent network with one layer, for whole names. x: (B, T) -> (B, T, V). Introduced in chapter 13.

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


class StatefulNetwork(Module):
    """An embedding, recurrent layers, a linear map. x: (B, T) -> (B, T, V).

    layer: `nn.RNN`, `nn.LSTM` or `nn.GRU`. dropout: on what each layer gives to the next. start: "usual", as
    torch.nn's; "orthogonal"; "forget" and "chrono", for cells with gates (see `nn.chrono_start`, whose
    longest memory is `memory` steps). Introduced in part two, chapter 2.

    ValueError for another start, and for one that the cell cannot have.

    >>> import torch
    >>> model = StatefulNetwork(vocab_size=27)
    >>> logits, state = model.go_on(torch.zeros((32, 9), dtype=torch.long))
    >>> logits.shape, model.go_on(torch.zeros((32, 1), dtype=torch.long), state)[0].shape
    (torch.Size([32, 9, 27]), torch.Size([32, 1, 27]))
    """

    def __init__(self, vocab_size: int = 27, layer: type[RNN] = LSTM, n_embd: int = 32, n_hidden: int = 64,
                 layers: int = 1, dropout: float = 0.0, start: str = "usual", memory: int = 100, *,
                 generator: Generator | None = None):  # fmt: skip
        self.embedding = Embedding(vocab_size, n_embd, generator=generator)
        self.recurrent = layer(n_embd, n_hidden, layers, dropout=dropout * (layers > 1), generator=generator)
        self.dropout = Dropout(dropout)
        self.output = Linear(n_hidden, vocab_size, generator=generator)
        if start not in STARTS:
            raise ValueError(f"expected a start among {list(STARTS)}, got {start!r}")
        gated = {"forget": (LSTM,), "chrono": (LSTM, GRU)}.get(start, (layer,))
        if layer not in gated:
            wanted = " or ".join(kind.__name__ for kind in gated)
            raise ValueError(f"expected a layer of {wanted} for the start {start!r}, got {layer.__name__}")
        if start == "orthogonal":
            orthogonal_start(self.recurrent, generator)
        elif start == "forget":
            forget_bias_start(self.recurrent)
        elif start == "chrono":
            chrono_start(self.recurrent, memory, generator)

    def __call__(self, x: Tensor) -> Tensor:
        return self.go_on(x)[0]

    def go_on(self, x: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        """The logits, and the state after the last step, from which the next call may go on."""
        h, state = self.recurrent(self.embedding(x), state)
        return self.output(self.dropout(h)), state


class SentenceClassifier(Module):
    """A sentence's class: an embedding, a recurrent layer, one vector a sentence, a linear map. x: (B, T) ->
    (B, classes).

    x: words' numbers, padded behind with 0, which is "<pad>". Pads change nothing, and those behind the
    longest sentence cost nothing: the layer reads a packed batch, and pools over the words alone. layer:
    `nn.RNN`, `nn.LSTM` or `nn.GRU`. pool: how its outputs become one vector: "mean", "max", or "last", the
    state at the last word, and of the backward direction that at the first. dropout: on embeddings and on
    that vector. Introduced in part two, chapter 3.

    ValueError for another pool, a sentence without words, and for pads in front of a word.

    >>> x = torch.tensor([[5, 2, 9], [7, 0, 0]])
    >>> SentenceClassifier(vocab_size=10)(x).shape
    torch.Size([2, 2])
    """

    def __init__(self, vocab_size: int, classes: int = 2, layer: type[RNN] = LSTM, n_embd: int = 64,
                 n_hidden: int = 64, bidirectional: bool = True, pool: str = "mean", dropout: float = 0.3,
                 *, generator: Generator | None = None):  # fmt: skip
        if pool not in POOLS:
            raise ValueError(f"expected a pool among {list(POOLS)}, got {pool!r}")
        self.pool = pool
        self.embedding = Embedding(vocab_size, n_embd, padding_idx=0, generator=generator)
        self.dropout = Dropout(dropout)
        self.recurrent = layer(n_embd, n_hidden, bidirectional=bidirectional, generator=generator)
        self.output = Linear(n_hidden * (1 + bidirectional), classes, generator=generator)

    def __call__(self, x: Tensor) -> Tensor:
        lengths = self.lengths(x)
        embedded = self.dropout(self.embedding(x[:, : int(lengths.max())]))
        packed = pack_padded_sequence(embedded, lengths.cpu(), batch_first=True, enforce_sorted=False)
        outputs, state = self.recurrent(packed)
        if self.pool == "last":
            h = state[0] if isinstance(state, tuple) else state  # (directions, B, H)
            pooled = torch.cat(h.unbind(), -1)
        elif self.pool == "max":
            pooled = pad_packed_sequence(outputs, batch_first=True, padding_value=-math.inf)[0].amax(1)
        else:
            pooled = pad_packed_sequence(outputs, batch_first=True)[0].sum(1) / lengths[:, None]
        return self.output(self.dropout(pooled))

    def lengths(self, x: Tensor) -> Tensor:
        """How many words each sentence has: (B,). ValueError where it has none, or a pad in front of one."""
        wanted = "sentences (B, T) of at least one word, padded behind with 0"
        if x.ndim != 2 or not len(x):
            raise ValueError(f"expected {wanted}, got shape {(*x.shape,)}")
        words = x != 0
        if not words.any(1).all():
            raise ValueError(f"expected {wanted}, got none in row {int(words.any(1).int().argmin())}")
        if not words[:, :-1].ge(words[:, 1:]).all():
            raise ValueError(f"expected {wanted}, got a 0 in front of a word")
        return words.sum(1)

    def extra_repr(self) -> str:
        return f"pool={self.pool}"
