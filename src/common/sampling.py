"""Autoregressive sampling: a trained model in, names out, or texts of words."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch
from torch import Generator, Tensor

from .constraints import Automaton, Constraint
from .data import Vocabulary, examples
from .models import predictions
from .nn import Module, evaluating

ENUMERATED = 50_000  # exact=True scores every name where there are no more of them than this
COLDEST, HOTTEST = 1e-45, 1e30  # within what float32 can hold
LONGEST = 10_000  # characters of a name at most
AT_ONCE = 8_192  # names that the model is asked about in one call; more would need too much memory
SCORED = 1_024  # names that are scored in one call
DRAWN = 100_000  # and otherwise draws so many names at most in search of those that meet the constraint


def sample(model: Module, vocabulary: Vocabulary, block_size: int | None, count: int = 1, *,
           generator: Generator, prefix: str = "", temperature: float = 1.0, top_k: int | None = None,
           top_p: float | None = None, constraint: Constraint | None = None, exact: bool = False,
           max_length: int = 40) -> list[str]:  # fmt: skip
    """Draw `count` names, one character at a time, each from the model's distribution.

    model: contexts (B, block_size) -> logits (B, V). With block_size None it takes whole names
        with a dot in front, (B, T) -> (B, T, V), as from `models.as_convolution`.
    temperature: logits are divided by it (above 0; below 1 sharpens, above 1 flattens).
    top_k, top_p: only the k likeliest characters, only the likeliest that together have the
        probability p. See `probabilities`.
    constraint: from `common.constraints`. Characters after which no name can meet it any more are
        masked before all else, so that every name meets it and ends within `max_length`.
    exact: masked steps do not draw from the model's distribution of names *given* the constraint.
        This does, with the same temperature and cuts: it scores all names where there are at most
        ENUMERATED of them, and otherwise draws without a mask and keeps what meets the constraint.

    The model runs in evaluation mode; every layer's own mode is restored afterwards. Draws come from
    the CPU generator, whatever the model's device. Of the vocabulary's special tokens only the end can be
    drawn. Without a constraint, a name that has not ended
    after `max_length` characters is cut there: one of that length has been cut. ValueError for a prefix
    outside the vocabulary or one that leaves no room, for settings out of range, for logits that are no
    numbers, for a constraint that no name meets, and where `exact` finds too few names.
    Introduced in chapter 1; top-k, nucleus and constraints in chapter 10.

    >>> from string import ascii_lowercase
    >>> from common.models import pretrained
    >>> model, g = pretrained("scaled"), torch.Generator().manual_seed(0)
    >>> sample(model, Vocabulary(ascii_lowercase), 8, count=3, prefix="ma", generator=g)
    ['makayna', 'mattleyda', 'madilynn']
    """
    shape: dict[str, Any] = {"temperature": temperature, "top_k": top_k, "top_p": top_p}
    probabilities(torch.zeros(len(vocabulary)), **shape)  # says what is wrong with them
    if count < 1:
        raise ValueError(f"expected a count of at least 1, got {count}")
    if vocabulary.end in prefix:
        raise ValueError(f"expected a prefix without {vocabulary.end!r}, which ends a name, got {prefix!r}")
    start = vocabulary.encode(prefix)
    if not 1 <= max_length <= LONGEST:
        raise ValueError(f"expected a max_length of 1 to {LONGEST:,}, got {max_length}")
    if len(start) >= max_length + (constraint is not None):  # a name may end there, if it must meet something
        room = f"{'fewer than' if constraint is None else 'at most'} max_length = {max_length:,} characters"
        raise ValueError(f"expected a prefix of {room}, got {len(start)}")
    if exact and constraint is None:
        raise ValueError("exact=True says how a constraint is met; expected a constraint, got None")
    automaton = None if constraint is None else Automaton(constraint, vocabulary, max_length, prefix)
    with evaluating(model):
        sampler = _Sampler(model, vocabulary, block_size, shape)
        if exact and automaton is not None:
            drawn = sampler.draw_exactly(count, start, generator, automaton, max_length)
        else:
            drawn = sampler.draw(count, start, generator, automaton, max_length - len(start))
    return [vocabulary.decode(name) for name in drawn]


def probabilities(logits: Tensor, *, temperature: float = 1.0, top_k: int | None = None,
                  top_p: float | None = None) -> Tensor:  # fmt: skip
    """From logits (..., V) to the probabilities that are drawn from: temperature, then top-k, then nucleus.

    top_k keeps the k largest, and all that tie with the last of them. top_p keeps the fewest of
    the likeliest that together have at least this share (the nucleus). What is kept is normalised
    again; a logit of -inf stays at zero. Introduced in chapter 10.

    >>> probabilities(torch.tensor([2.0, 1.0, 0.0]), top_k=2)
    tensor([0.7311, 0.2689, 0.0000])
    """
    if not COLDEST <= temperature <= HOTTEST:
        raise ValueError(f"expected a temperature from {COLDEST:g} to {HOTTEST:g}, got {temperature}")
    if top_k is not None and top_k < 1:
        raise ValueError(f"expected a top_k of at least 1, got {top_k}")
    if top_p is not None and not 0 < top_p <= 1:
        raise ValueError(f"expected a top_p above 0 and up to 1, got {top_p}")
    # the best logit at 0, so that no temperature overflows
    centred = logits - logits.max(dim=-1, keepdim=True).values
    if top_k is not None and top_k < logits.shape[-1]:
        bar = centred.topk(top_k, dim=-1).values[..., -1:]
        centred = centred.masked_fill(centred < bar, -torch.inf)
    # what is below the least normal number may be flushed to zero
    p = torch.softmax(centred / max(temperature, torch.finfo(torch.float32).tiny), dim=-1)
    if top_p is not None and top_p < 1:
        ordered, order = p.sort(dim=-1, descending=True, stable=True)
        before = ordered.cumsum(-1) - ordered  # what the likelier ones have together
        kept = torch.zeros_like(ordered, dtype=torch.bool).scatter(-1, order, before < top_p)
        p = p * kept
        p = p / p.sum(-1, keepdim=True)
    return p


def log_probabilities(model: Module, vocabulary: Vocabulary, block_size: int | None, names: Iterable[str], *,
                      prefix: str = "", temperature: float = 1.0, top_k: int | None = None,
                      top_p: float | None = None) -> Tensor:  # fmt: skip
    """The logarithm of the probability of each whole name, its end included: (N,), float64.

    Given that the name begins with `prefix`, which all of them must do. Introduced in chapter 10.
    """
    names, start = list(names), vocabulary.encode(prefix)
    for name in names:
        if vocabulary.end in name:
            raise ValueError(f"expected names without {vocabulary.end!r}, which ends a name, got {name!r}")
        if vocabulary.encode(name)[: len(start)] != start:
            raise ValueError(f"expected names that begin with {prefix!r}, got {name!r}")
    with evaluating(model):
        shape = {"temperature": temperature, "top_k": top_k, "top_p": top_p}
        return _Sampler(model, vocabulary, block_size, shape).score(names, len(start))


@dataclass(frozen=True)
class _Sampler:
    """A model with its vocabulary, and how its logits are shaped: the arguments of `probabilities`."""

    model: Module
    vocabulary: Vocabulary
    block_size: int | None
    shape: dict[str, Any]

    def next_logits(self, names: list[list[int]]) -> Tensor:
        """Logits (B, V) of what follows names of one length, on the CPU."""
        T, begin, logits = self.block_size, self.vocabulary.begin_index, []
        for at in range(0, len(names), AT_ONCE):
            part = names[at : at + AT_ONCE]
            rows = [[begin, *name] if T is None else ([begin] * T + name)[-T:] for name in part]
            found = self.model(torch.tensor(rows, device=self.model.device))
            if found.dim() != (3 if T is None else 2):
                wanted = "(B, T, V) of whole names" if T is None else f"(B, V) for contexts of {T}"
                got = f"{tuple(found.shape)}; block_size is None for a network that takes whole names"
                raise ValueError(f"expected logits {wanted} (block_size {T}), got {got}, and for no other")
            logits.append(found[:, -1] if T is None else found)
        return self.drawable(torch.cat(logits))

    def drawable(self, logits: Tensor) -> Tensor:
        """Logits (..., V) on the CPU, -inf for what is never drawn. ValueError for what are none."""
        if logits.shape[-1] != len(self.vocabulary):
            raise ValueError(f"expected {len(self.vocabulary)} logits, one a token, got {logits.shape[-1]}")
        if not (largest := logits.max().item()) < math.inf:  # NaN is the largest of all
            raise ValueError(f"expected finite logits, got {largest}; probably the model's training diverged")
        never = torch.zeros(len(self.vocabulary), dtype=torch.bool)
        never[self.vocabulary.never_drawn] = True
        return logits.cpu().masked_fill(never, -torch.inf)

    def draw(self, count: int, start: list[int], generator: Generator, automaton: Automaton | None,
             steps: int) -> list[list[int]]:  # fmt: skip
        """Names that begin with `start`, of at most so many characters more."""
        names = [list(start) for _ in range(count)]
        states = [automaton.start if automaton else None] * count
        open_rows, end = list(range(count)), self.vocabulary.end_index
        for _ in range(steps):
            logits = self.next_logits([names[row] for row in open_rows])
            if automaton:
                logits = automaton.process_logits(logits, [states[row] for row in open_rows])
            chances = probabilities(logits, **self.shape)
            drawn = torch.multinomial(chances, 1, generator=generator).squeeze(1).tolist()
            going_on = [(row, token) for row, token in zip(open_rows, drawn, strict=True) if token != end]
            for row, token in going_on:
                names[row].append(token)
                states[row] = automaton.allowed(states[row])[token] if automaton else None
            if not (open_rows := [row for row, _ in going_on]):
                break
        return names

    def draw_exactly(self, count: int, start: list[int], generator: Generator, automaton: Automaton,
                     max_length: int) -> list[list[int]]:  # fmt: skip
        """From the model's distribution given the constraint: by scoring all names, or by rejection."""
        every = list(islice(automaton.continuations(), ENUMERATED + 1))
        if len(every) <= ENUMERATED:
            candidates = [start + rest for rest in every]
            scores = self.score([self.vocabulary.decode(name) for name in candidates], len(start))
            if scores.max() == -torch.inf:
                cut = f"each of the {len(every)} names that meet {automaton.wanted}"
                raise ValueError(f"top_k or top_p cuts off {cut}")
            chosen = torch.multinomial((scores - scores.max()).exp(), count, True, generator=generator)
            return [candidates[i] for i in chosen.tolist()]
        found: list[list[int]] = []
        tried, tokens = 0, self.vocabulary.tokens
        while len(found) < count and tried < DRAWN:
            batch = min(DRAWN - tried, max(100, min(5_000, 2 * count)))
            # one step more than the longest name has: what has not ended by then is too long
            names = self.draw(batch, start, generator, None, max_length - len(start) + 1)
            tried += batch
            found += [name for name in names if automaton.constraint.meets(tokens[i] for i in name)]
        if len(found) < count:
            few = f"{len(found)} of {tried:,} names drawn meet {automaton.wanted}, too few for {count} exact"
            raise ValueError(f"{few} ones; ask for fewer, loosen the constraint, or leave exact out")
        return found[:count]

    def score(self, names: list[str], given: int) -> Tensor:
        """log p of names after their first `given` characters, (N,), in float64."""
        self.next_logits([[]])  # says what is wrong with the model, if anything is
        scores = []
        for at in range(0, len(names), SCORED):
            x, y = examples(names[at : at + SCORED], self.vocabulary, self.block_size)
            logits, wanted = predictions(self.model, x.to(self.model.device), y.to(self.model.device))
            p = probabilities(self.drawable(logits).double(), **self.shape).gather(1, wanted.cpu()[:, None])
            counts = [len(self.vocabulary.encode(name)) + 1 for name in names[at : at + SCORED]]
            scores += [part[given:].sum() for part in p.log().squeeze(1).split(counts)]
        return torch.stack(scores)
