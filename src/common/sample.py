"""Autoregressive sampling: a trained model in, names out."""

import torch

from .layers import evaluating
from .vocabulary import Vocabulary


def sample(
    model,
    vocabulary: Vocabulary,
    block_size: int,
    count: int = 1,
    *,
    generator: torch.Generator,
    prefix: str = "",
    temperature: float = 1.0,
    max_length: int = 40,
) -> list[str]:
    """Draw `count` names, one character at a time, each from the model's distribution.

    The model runs in evaluation mode; every layer's own mode is restored afterwards. Logits are
    divided by `temperature` (above 0; below 1 sharpens, above 1 flattens). Draws come from the
    CPU generator, whatever the model's device. A name that has not ended after `max_length`
    characters is cut there. ValueError for a prefix outside the vocabulary, a temperature or a
    count that is not positive. Introduced in chapter 1.
    """
    if not temperature > 0:
        raise ValueError(f"expected a temperature above 0, got {temperature}")
    if count < 1:
        raise ValueError(f"expected a count of at least 1, got {count}")
    if vocabulary.end in prefix:
        raise ValueError(f"expected a prefix without {vocabulary.end!r}, which ends a name, got {prefix!r}")
    start = vocabulary.encode(prefix)
    names = [list(start) for _ in range(count)]
    open_rows = list(range(count))
    with evaluating(model):
        place = next(iter(model.tensors().values())).device
        for _ in range(max_length - len(start)):
            recent = [([0] * block_size + names[row])[-block_size:] for row in open_rows]
            logits = model(torch.tensor(recent, device=place)).cpu()
            # the best logit at 0, so that no temperature overflows
            centred = logits - logits.max(dim=-1, keepdim=True).values
            probabilities = torch.softmax(centred / temperature, dim=-1)
            drawn = torch.multinomial(probabilities, 1, generator=generator).squeeze(1).tolist()
            for row, character in zip(open_rows, drawn, strict=True):
                if character:
                    names[row].append(character)
            open_rows = [row for row, character in zip(open_rows, drawn, strict=True) if character]
            if not open_rows:
                break
    return [vocabulary.decode(name) for name in names]
