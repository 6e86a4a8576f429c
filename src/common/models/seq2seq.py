"""A network that reads a sequence and writes another: encoder, attention, decoder, and two ways to search."""

import math
from typing import Any, NamedTuple

import torch
from torch import Generator, Tensor
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from ..nn import GRU, Dropout, Embedding, Linear, Module, evaluating

PAD, BEGIN, END = 0, 1, 2  # the numbers of the special tokens, in both languages
SCORES = ("none", "dot", "general", "additive")


class Memory(NamedTuple):
    """What the decoder may look at. outputs: (B, S, H) of the encoder; words: (B, S), False at pads."""

    outputs: Tensor
    words: Tensor
    state: Tensor


class Attention(Module):
    """How much each output of the encoder counts for each step of the decoder.

    queries (B, T, H), a `Memory` of (B, S, H) -> contexts (B, T, H), weights (B, T, S), which are 0 at pads.
    score: "dot" and "general" (Luong et al., 2015), "additive" (Bahdanau et al., 2015), or "none", which
    looks at all words alike. Introduced in part two, chapter 5.

    >>> memory = Memory(torch.ones(1, 3, 4), torch.tensor([[True, True, False]]), torch.zeros(1, 1, 4))
    >>> Attention(4)(torch.ones(1, 1, 4), memory)[1]
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

    def __call__(self, queries: Tensor, memory: Memory) -> tuple[Tensor, Tensor]:
        scores = self.scores(queries, memory.outputs)
        weights = scores.masked_fill(~memory.words[:, None], -math.inf).softmax(-1)
        return weights @ memory.outputs, weights

    def scores(self, queries: Tensor, outputs: Tensor) -> Tensor:
        """How well each output fits each query: (B, T, H), (B, S, H) -> (B, T, S)."""
        if self.score == "none":
            return queries.new_zeros(*queries.shape[:2], outputs.shape[1])
        keys = outputs if self.score == "dot" else self.key(outputs)
        if self.score == "additive":
            return self.sum(torch.tanh(self.query(queries)[:, :, None] + keys[:, None]))[..., 0]
        return queries @ keys.transpose(1, 2) / queries.shape[-1] ** 0.5

    def extra_repr(self) -> str:
        return self.score


class Seq2Seq(Module):
    """Reads a sentence in both directions, then writes another, a token at a time.

    source: (B, S), target: (B, T), numbers padded behind with 0 -> logits (B, T, V) of the token that follows
    each of the target's, which begins with `BEGIN`. A GRU asks, attention answers, a second GRU, which
    remembers the answers so far, writes. The embedding of the target is its output's matrix too.
    Introduced in part two, chapter 5.

    >>> model = Seq2Seq(10, 12)
    >>> model(torch.tensor([[5, 2, 9], [7, 2, 0]]), torch.tensor([[1, 4], [1, 8]])).shape
    torch.Size([2, 2, 12])
    """

    def __init__(self, source_size: int, target_size: int, score: str = "general", n_embd: int = 64,
                 n_hidden: int = 128, layers: int = 1, dropout: float = 0.2, *,
                 generator: Generator | None = None):  # fmt: skip
        g = generator
        self.source = Embedding(source_size, n_embd, padding_idx=PAD, generator=g)
        self.target = Embedding(target_size, n_embd, padding_idx=PAD, generator=g)
        self.encoder = GRU(n_embd, n_hidden // 2, layers, bidirectional=True,
                           dropout=dropout if layers > 1 else 0.0, generator=g)  # fmt: skip
        self.start = Linear(n_hidden, 2 * n_hidden, generator=g)
        self.reader = GRU(n_embd, n_hidden, generator=g)
        self.attention = Attention(n_hidden, score, generator=g)
        self.writer = GRU(2 * n_hidden, n_hidden, generator=g)
        self.output = Linear(2 * n_hidden, n_embd, generator=g)
        self.dropout = Dropout(dropout)
        for table in (self.source, self.target):
            table.weight *= 0.5

    def __call__(self, source: Tensor, target: Tensor) -> Tensor:
        return self.decode(target, self.encode(source))[0]

    def encode(self, source: Tensor) -> Memory:
        """Read sentences. ValueError for one without a word."""
        words = source != PAD
        lengths = words.sum(1)
        if source.ndim != 2 or not lengths.all():
            raise ValueError(f"expected sentences (B, S) of at least one word, got shape {(*source.shape,)}")
        packed = pack_padded_sequence(self.dropout(self.source(source)), lengths.cpu(), batch_first=True,
                                      enforce_sorted=False)  # fmt: skip
        outputs, state = self.encoder(packed)
        outputs, _ = pad_packed_sequence(outputs, batch_first=True)
        both = torch.cat(state[-2:].unbind(), -1)  # each direction's state at its own end
        return Memory(outputs, words[:, : outputs.shape[1]], self.start(both).tanh()[None])

    def decode(self, target: Tensor, memory: Memory, state: Any = None) -> tuple[Tensor, Any, Tensor]:
        """Logits of the tokens that follow, the state to go on from, where each step looked: (B, T, S)."""
        asks, writes = memory.state.chunk(2, -1) if state is None else state
        queries, asks = self.reader(self.dropout(self.target(target)), asks.contiguous())
        contexts, weights = self.attention(queries, memory)
        h, writes = self.writer(torch.cat([queries, contexts], -1), writes.contiguous())
        said = self.dropout(self.output(torch.cat([h, contexts], -1)).tanh())
        return said @ self.target.weight.T, (asks, writes), weights


def greedy(model: Seq2Seq, source: Tensor, longest: int) -> Tensor:
    """The most probable token at each step: (B, T), pads after the end. Introduced in part two, chapter 5."""
    with evaluating(model):
        memory, state = model.encode(source), None
        written = source.new_full((len(source), 1), BEGIN)
        for _ in range(longest):
            logits, state, _ = model.decode(written[:, -1:], memory, state)
            ended = (written[:, -1] == END) | (written[:, -1] == PAD)
            written = torch.cat([written, logits[:, -1].argmax(-1).where(~ended, PAD)[:, None]], 1)
            if ended.all():
                break
    return written[:, 1:]


def beam_search(model: Seq2Seq, source: Tensor, longest: int, beam: int = 5, power: float = 1.0) -> Tensor:
    """The best of `beam` sentences that are written side by side: (B, T), pads after the end.

    A sentence counts by its log-probability, divided by its length to this power. Introduced in part two,
    chapter 5.
    """
    B = len(source)
    with evaluating(model):
        read = model.encode(source)
        outputs, words = (part.repeat_interleave(beam, 0) for part in read[:2])
        memory, state = Memory(outputs, words, read.state.repeat_interleave(beam, 1)), None
        written = source.new_full((B * beam, 1), BEGIN)
        total = torch.tensor([0.0] + [-math.inf] * (beam - 1)).repeat(B)[:, None]  # one beginning, not five
        first = torch.arange(B)[:, None] * beam
        for _ in range(longest):
            logits, state, _ = model.decode(written[:, -1:], memory, state)
            steps, V = logits[:, -1].log_softmax(-1), logits.shape[-1]
            ended = (written[:, -1] == END) | (written[:, -1] == PAD)
            steps[ended] = -math.inf
            steps[ended, PAD] = 0  # an ended sentence goes on as it is
            lengths = (written[:, 1:] != PAD).sum(1) + (~ended).int()
            ranked = ((total + steps) / lengths[:, None] ** power).view(B, -1).topk(beam)
            rows = (first + ranked.indices // V).flatten()
            tokens = ranked.indices.flatten() % V
            total = (total + steps)[rows, tokens][:, None]
            written = torch.cat([written[rows], tokens[:, None]], 1)
            state = tuple(part[:, rows] for part in state)
            if ended.all():
                break
    return written[::beam, 1:]
