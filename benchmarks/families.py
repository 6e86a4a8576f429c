"""What the benchmark trains: the lecture's models, and a network of each other family of the book."""

from typing import NamedTuple

import torch
from torch import Generator

from common.data import SHIPPED_NAMES, Vocabulary, examples, load_names, split_names
from common.models import MODELS, tagged
from common.nn import Module
from common.train import Config, Examples

ADAMW = {"optimizer": "adamw", "lr": 0.003, "weight_decay": 0.05, "betas": (0.9, 0.99)}


class Family(NamedTuple):
    """A network and what it is trained on: windows by plain gradient descent, or whole names by AdamW.

    sizes: beside the defaults of the model. context: in characters, where it is not the model's. taught: half
    of the loss comes from soft targets. peers: whether other libraries train it, too.
    """

    title: str
    model: str
    sizes: dict = {}
    context: int | None = None
    taught: bool = False
    peers: bool = True

    def build(self, *, generator: Generator | None = None) -> Module:
        return MODELS[self.model].build(generator=generator, **self.sizes)

    def examples(self, device: torch.device | str = "cpu") -> Examples:
        """The training split of the shipped list. Soft targets are drawn: any cost as much as a teacher's."""
        names = load_names(SHIPPED_NAMES)
        vocabulary = Vocabulary("".join(names))
        block_size = self.context or MODELS[self.model].block_size
        x, y = examples(split_names(names).train, vocabulary, block_size)
        scores = torch.Generator().manual_seed(0)
        soft = torch.randn(*y.shape, len(vocabulary), generator=scores).softmax(-1) if self.taught else None
        return Examples(x.to(device), y.to(device), None if soft is None else soft.to(device))

    def config(self, batch_size: int = 32) -> Config:
        whole_names = MODELS[self.model].block_size is None
        own = (ADAMW if whole_names else {}) | ({"distill": 0.5} if self.taught else {})
        return Config(steps=10**9, batch_size=batch_size, **own)


WITH_PEERS = ("hierarchical", "scaled")
FAMILIES = {
    **{name: Family(recipe.title, name, peers=name in WITH_PEERS)
       for name, recipe in tagged("lecture").items()},
    "dilated": Family("dilated convolutions", "dilated"),
    "taught": Family("the same, dropout, taught", "dilated", {"dropout": 0.1}, taught=True),
    "wavenet": Family("WaveNet blocks", "wavenet"),
    "gru": Family("GRU", "recurrent"),
    "lstm": Family("LSTM", "recurrent", {"cell": "lstm"}),
    "transformer": Family("Transformer", "transformer"),
}  # fmt: skip
