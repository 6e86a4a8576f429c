"""Autoregressive sampling: a trained model in, names out."""

import math
from itertools import islice

import torch

from .constraints import Constraint, Machine
from .layers import evaluating
from .vocabulary import Vocabulary

ENUMERATED = 50_000  # exact=True scores every name where there are no more of them than this
TEMPERATURES = (1e-45, 1e30)  # by which float32 can divide
LONGEST = 10_000  # characters of a name at most
AT_ONCE = 8_192  # names that the model is asked about in one call; more would need too much memory
DRAWN = 100_000  # and otherwise draws so many names at most in search of those that meet the constraint


def sample(
    model,
    vocabulary: Vocabulary,
    block_size: int | None,
    count: int = 1,
    *,
    generator: torch.Generator,
    prefix: str = "",
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    constraint: Constraint | None = None,
    exact: bool = False,
    max_length: int = 40,
) -> list[str]:
    """Draw `count` names, one character at a time, each from the model's distribution.

    model: contexts (B, block_size) -> logits (B, V). With block_size None it takes whole names
        with a dot in front, (B, T) -> (B, T, V), as from `models.as_convolution`.
    temperature: logits are divided by it (above 0; below 1 sharpens, above 1 flattens).
    top_k, top_p: only the k likeliest characters, only the likeliest that together have the
        probability p. See `reshaped`.
    constraint: from `common.constraints`. Characters after which no name can meet it any more are
        masked before all else, so that every name meets it and ends within `max_length`.
    exact: masked steps do not draw from the model's distribution of names *given* the constraint.
        This does, with the same temperature and cuts: it scores all names where there are at most
        ENUMERATED of them, and otherwise draws without a mask and keeps what meets the constraint.

    The model runs in evaluation mode; every layer's own mode is restored afterwards. Draws come from
    the CPU generator, whatever the model's device. Without a constraint, a name that has not ended
    after `max_length` characters is cut there: one of that length has been cut. ValueError for a prefix
    outside the vocabulary or one that leaves no room, for settings out of range, for logits that are no
    numbers, for a constraint that no name meets, and where `exact` finds too few names.
    Introduced in chapter 1; top-k, nucleus and constraints in chapter 9.
    """
    _check(temperature, top_k, top_p)
    if count < 1:
        raise ValueError(f"expected a count of at least 1, got {count}")
    if vocabulary.end in prefix:
        raise ValueError(f"expected a prefix without {vocabulary.end!r}, which ends a name, got {prefix!r}")
    start = vocabulary.encode(prefix)
    if not 1 <= max_length <= LONGEST:
        raise ValueError(f"expected a max_length of 1 to {LONGEST:,}, got {max_length}")
    if len(start) >= max_length + (constraint is not None):  # a name may end there, if it must meet something
        room = "fewer than" if constraint is None else "at most"
        raise ValueError(
            f"expected a prefix of {room} max_length = {max_length:,} characters, got {len(start)}"
        )
    if exact and constraint is None:
        raise ValueError("exact=True says how a constraint is met; expected a constraint, got None")
    machine = None if constraint is None else Machine(constraint, vocabulary, max_length, prefix)
    ways = {"temperature": temperature, "top_k": top_k, "top_p": top_p}
    with evaluating(model):
        if exact:
            drawn = _exact(model, block_size, count, start, generator, ways, machine, max_length)
        else:
            steps = max_length - len(start)
            drawn = _draw(model, block_size, count, start, generator, ways, machine, steps)
    return [vocabulary.decode(name) for name in drawn]


def reshaped(
    logits: torch.Tensor, *, temperature: float = 1.0, top_k: int | None = None, top_p: float | None = None
) -> torch.Tensor:
    """From logits (..., V) to the probabilities that are drawn from: temperature, then top-k, then nucleus.

    top_k keeps the k largest, and all that tie with the last of them. top_p keeps the fewest of
    the likeliest that together have at least this share (the nucleus). What is kept is normalised
    again; a logit of -inf stays at zero. Introduced in chapter 9.
    """
    _check(temperature, top_k, top_p)
    # the best logit at 0, so that no temperature overflows
    centred = logits - logits.max(dim=-1, keepdim=True).values
    if top_k is not None and top_k < logits.shape[-1]:
        bar = centred.topk(top_k, dim=-1).values[..., -1:]
        centred = centred.masked_fill(centred < bar, -torch.inf)
    probabilities = torch.softmax(centred / temperature, dim=-1)
    if top_p is not None and top_p < 1:
        ordered, order = probabilities.sort(dim=-1, descending=True, stable=True)
        before = ordered.cumsum(-1) - ordered  # what the likelier ones have together
        kept = torch.zeros_like(ordered, dtype=torch.bool).scatter(-1, order, before < top_p)
        probabilities = probabilities * kept
        probabilities = probabilities / probabilities.sum(-1, keepdim=True)
    return probabilities


def log_probabilities(
    model,
    vocabulary: Vocabulary,
    block_size: int | None,
    names,
    *,
    prefix: str = "",
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
) -> torch.Tensor:
    """The logarithm of the probability of each whole name, its end included: (N,), float64.

    Given that the name begins with `prefix`, which all of them must do. Introduced in chapter 9.
    """
    names = list(names)
    for name in names:
        if vocabulary.end in name:
            raise ValueError(f"expected names without {vocabulary.end!r}, which ends a name, got {name!r}")
    encoded = [vocabulary.encode(name) for name in names]
    start = vocabulary.encode(prefix)
    if not all(name[: len(start)] == start for name in encoded):
        raise ValueError(f"expected names that begin with {prefix!r}")
    with evaluating(model):
        ways = {"temperature": temperature, "top_k": top_k, "top_p": top_p}
        return _score(model, block_size, encoded, len(start), ways)


def _check(temperature, top_k, top_p) -> None:
    lowest, highest = TEMPERATURES
    if not lowest <= temperature <= highest:
        raise ValueError(f"expected a temperature from {lowest:g} to {highest:g}, got {temperature}")
    if top_k is not None and top_k < 1:
        raise ValueError(f"expected a top_k of at least 1, got {top_k}")
    if top_p is not None and not 0 < top_p <= 1:
        raise ValueError(f"expected a top_p above 0 and up to 1, got {top_p}")


def _next_logits(model, block_size, names) -> torch.Tensor:
    """Logits (B, V) of what follows names of one length, on the CPU."""
    parts = [names[at : at + AT_ONCE] for at in range(0, len(names), AT_ONCE)]
    logits = torch.cat([_logits(model, block_size, part) for part in parts])
    largest = logits.max().item()
    if not largest < math.inf:  # NaN is the largest of all
        raise ValueError(
            f"expected a model with finite logits, got {largest}; probably its training diverged"
        )
    return logits


def _logits(model, block_size, names) -> torch.Tensor:
    place = next(iter(model.tensors().values())).device
    if block_size is None:
        logits = model(torch.tensor([[0, *name] for name in names], device=place))
        if logits.dim() != 3:
            raise ValueError(
                f"expected logits (B, T, V) of whole names (block_size None), got {tuple(logits.shape)}"
            )
        return logits[:, -1].cpu()
    recent = [([0] * block_size + name)[-block_size:] for name in names]
    logits = model(torch.tensor(recent, device=place)).cpu()
    if logits.dim() != 2:
        raise ValueError(
            f"expected logits (B, V) for contexts of {block_size}, got {tuple(logits.shape)};"
            " block_size is None for a network that takes whole names"
        )
    return logits


def _draw(model, block_size, count, start, generator, ways, machine, steps) -> list[list[int]]:
    names = [list(start) for _ in range(count)]
    states = [machine.start] * count if machine else None
    open_rows = list(range(count))
    for _ in range(steps):
        logits = _next_logits(model, block_size, [names[row] for row in open_rows])
        if machine:
            masked = torch.full_like(logits, -torch.inf)
            for i, row in enumerate(open_rows):
                kept = list(machine.allowed(states[row]))
                masked[i, kept] = logits[i, kept]
            logits = masked
        probabilities = reshaped(logits, **ways)
        drawn = torch.multinomial(probabilities, 1, generator=generator).squeeze(1).tolist()
        for row, character in zip(open_rows, drawn, strict=True):
            if character:
                names[row].append(character)
                if machine:
                    states[row] = machine.allowed(states[row])[character]
        open_rows = [row for row, character in zip(open_rows, drawn, strict=True) if character]
        if not open_rows:
            break
    return names


def _exact(model, block_size, count, start, generator, ways, machine, max_length):
    """Names from the model's distribution given the constraint: by scoring all of them, or by rejection."""
    few = list(islice(machine.continuations(), ENUMERATED + 1))
    if len(few) <= ENUMERATED:
        candidates = [start + rest for rest in few]
        scores = _score(model, block_size, candidates, len(start), ways)
        if scores.max() == -torch.inf:
            raise ValueError(
                f"top_k or top_p cuts off each of the {len(few)} names that meet {machine.wanted}"
            )
        chosen = torch.multinomial((scores - scores.max()).exp(), count, True, generator=generator)
        return [candidates[i] for i in chosen.tolist()]
    found, tried = [], 0
    meets = machine.constraint.meets
    while len(found) < count and tried < DRAWN:
        batch = min(DRAWN - tried, max(100, min(5_000, 2 * count)))
        # one step more than the longest name has: what has not ended by then is too long
        names = _draw(model, block_size, batch, start, generator, ways, None, max_length - len(start) + 1)
        tried += batch
        found += [name for name in names if meets(machine.vocabulary.decode(name))]
    if len(found) < count:
        raise ValueError(
            f"{len(found)} of {tried:,} names drawn meet {machine.wanted}, too few for {count} exact ones;"
            " ask for fewer, loosen the constraint, or leave exact out"
        )
    return found[:count]


def _score(model, block_size, encoded, given, ways, chunk=4_096) -> torch.Tensor:
    """log p of encoded names after their first `given` characters, (N,), in float64."""
    scores = torch.zeros(len(encoded), dtype=torch.float64)
    for length in sorted({len(name) for name in encoded}):
        rows = [i for i, name in enumerate(encoded) if len(name) == length]
        for part in (rows[at : at + chunk] for at in range(0, len(rows), chunk)):
            for t in range(given, length + 1):
                logits = _next_logits(model, block_size, [encoded[i][:t] for i in part])
                target = torch.tensor([encoded[i][t] if t < length else 0 for i in part])
                p = reshaped(logits.double(), **ways).gather(1, target[:, None])
                scores[part] += p.log().squeeze(1)
    return scores
