"""A network that reads a sentence and writes another: encoder, attention, decoder."""

import math
from typing import Any

import torch
from torch import Generator, Tensor
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from ..nn import GRU, Dropout, Embedding, Linear, Module

PAD, BEGIN, END = 0, 1, 2  # the numbers of the special tokens, in both languages
SCORES = ("none", "dot", "general", "additive")


class Attention(Module):
    """How much each output of the encoder counts for each step of the decoder.

    queries (B, T, H), outputs (B, S, H), words (B, S), which is False at pads -> contexts (B, T, H), weights
    (B, T, S), which are 0 there. score: "dot" and "general" (Luong et al., 2015), "additive" (Bahdanau et
    al., 2015), or "none", which looks at all words alike. Introduced in part two, chapter 5.

    >>> words = torch.tensor([[True, True, False]])
    >>> Attention(4)(torch.ones(1, 1, 4), torch.ones(1, 3, 4), words)[1]
    tensor([[[0.5000, 0.5000, 0.0000]]])
    """

    packable = False

    def __init__(self, n_hidden: int, score: str = "general", *, generator: Generator | None = None):
        if score not in SCORES:
            raise ValueError(f"expected a score among {list(SCORES)}, got {score!r}")
        self.score = score
        if score in ("general", "additive"):
            self.key = Linear(n_hidden, n_hidden, bias=False, generator=generator)
        if score == "additive":
            self.query = Linear(n_hidden, n_hidden, generator=generator)
            self.sum = Linear(n_hidden, 1, bias=False, generator=generator)

    def __call__(self, queries: Tensor, outputs: Tensor, words: Tensor) -> tuple[Tensor, Tensor]:
        weights = self.scores(queries, outputs).masked_fill(~words[:, None], -math.inf).softmax(-1)
        return weights @ outputs, weights

    def scores(self, queries: Tensor, outputs: Tensor) -> Tensor:
        """How well each output fits each query: (B, T, H), (B, S, H) -> (B, T, S)."""
        if self.score == "none":
            return torch.zeros_like(queries @ outputs.transpose(1, 2))
        keys = outputs if self.score == "dot" else self.key(outputs)
        if self.score == "additive":
            return self.sum(torch.tanh(self.query(queries)[:, :, None] + keys[:, None]))[..., 0]
        return queries @ keys.transpose(1, 2) / queries.shape[-1] ** 0.5


class Seq2Seq(Module):
    """Reads a sentence in both directions, then writes another, a token at a time.

    source: (B, S), target: (B, T), numbers padded behind with 0 -> logits (B, T, V) of the token that follows
    each of the target's, which begins with `BEGIN`. A GRU asks, attention answers, a second GRU, which
    remembers the answers so far, writes. The embedding of the target is its output's matrix too.
    ValueError for a sentence without a word, or with a pad in front of one. Introduced in part two,
    chapter 5.

    >>> model = Seq2Seq(10, 12)
    >>> model(torch.tensor([[5, 2, 9], [7, 2, 0]]), torch.tensor([[1, 4], [1, 8]])).shape
    torch.Size([2, 2, 12])
    """

    def __init__(self, source_size: int, target_size: int, score: str = "general", n_embd: int = 64,
                 n_hidden: int = 128, layers: int = 1, dropout: float = 0.1, *,
                 generator: Generator | None = None):  # fmt: skip
        self.source = Embedding(source_size, n_embd, padding_idx=PAD, generator=generator)
        self.target = Embedding(target_size, n_embd, padding_idx=PAD, generator=generator)
        self.encoder = GRU(n_embd, n_hidden // 2, layers, bidirectional=True, generator=generator)
        self.start = Linear(n_hidden, 2 * n_hidden, generator=generator)
        self.reader = GRU(n_embd, n_hidden, generator=generator)
        self.attention = Attention(n_hidden, score, generator=generator)
        self.writer = GRU(2 * n_hidden, n_hidden, generator=generator)
        self.output = Linear(2 * n_hidden, n_embd, generator=generator)
        self.dropout = Dropout(dropout)
        self.source.weight *= 0.5
        self.target.weight *= 0.5

    def __call__(self, source: Tensor, target: Tensor) -> Tensor:
        return self.decode(target, *self.encode(source))[0]

    def encode(self, source: Tensor) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor]]:
        """Read sentences: outputs (B, S, H); where words are, (B, S); the states that writing starts from."""
        words = source != PAD
        if source.ndim != 2 or not words.any(1).all() or (words[:, 1:] > words[:, :-1]).any():
            wanted = f"sentences (B, S), padded behind with {PAD}, of at least one word"
            raise ValueError(f"expected {wanted}, got shape {(*source.shape,)}")
        vectors, lengths = self.dropout(self.source(source)), words.sum(1).cpu()
        outputs, ends = self.encoder(pack_padded_sequence(vectors, lengths, True, enforce_sorted=False))
        both = self.start(torch.cat(ends[-2:].unbind(), -1))  # of each direction's state at its own end
        asks, writes = torch.tanh(both)[None].chunk(2, -1)
        outputs, _ = pad_packed_sequence(outputs, batch_first=True, total_length=source.shape[1])
        return outputs, words, (asks.contiguous(), writes.contiguous())

    def decode(self, target: Tensor, outputs: Tensor, words: Tensor,
               state: Any) -> tuple[Tensor, Any, Tensor]:  # fmt: skip
        """Logits of the tokens that follow, the state to go on from, where each step looked: (B, T, S)."""
        asks, writes = state
        queries, asks = self.reader(self.dropout(self.target(target)), asks)
        contexts, weights = self.attention(queries, outputs, words)
        h, writes = self.writer(torch.cat([queries, contexts], -1), writes)
        said = self.dropout(torch.tanh(self.output(torch.cat([h, contexts], -1))))
        return said @ self.target.weight.T, (asks, writes), weights
