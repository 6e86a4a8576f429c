"""What a step costs at least: the matrix products in its graph, and the operations in those.

Introduced in the chapter "Why the loop is slow, and what to do about it".
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from ..nn import Module
from ..train import Config
from .stacked import Stacked


class Products(torch.fx.Interpreter):
    """Runs a graph and keeps the operands of its matrix products."""

    def __init__(self, graph: torch.fx.GraphModule):
        super().__init__(graph)
        self.found: list[tuple[Tensor, ...]] = []

    def run_node(self, node: torch.fx.Node) -> Any:
        result = super().run_node(node)
        if node.op == "call_function" and node.target in (
            torch.ops.aten.bmm.default,
            torch.ops.aten.mm.default,
        ):
            a, b = self.fetch_args_kwargs_from_env(node)[0]
            self.found.append((a.clone() if a.is_contiguous() else a, b, torch.empty_like(result)))
        return result


def products_of(
    models: Sequence[Module], contexts: Tensor, targets: Tensor, batch_size: int
) -> list[tuple[Tensor, ...]]:
    """(a, b, room for a @ b) of every matrix product in a step of stacked models."""
    stacked = Stacked(models, (contexts, targets), Config(batch_size=batch_size))
    tensors = stacked.start(models)
    interpreter = Products(stacked.graph(tensors))
    interpreter.run(*stacked.arguments(tensors))
    return interpreter.found


def flops(products: Sequence[tuple[Tensor, ...]]) -> int:
    """Floating-point operations: a multiplication and an addition for each term."""
    return sum(2 * a.numel() * b.shape[-1] for a, b, _ in products)


def matrix_products(
    models: Sequence[Module], contexts: Tensor, targets: Tensor, batch_size: int
) -> Callable[[int, int], None]:
    """A function (start, stop) that runs nothing but the products of so many steps: the floor."""
    products = products_of(models, contexts, targets, batch_size)

    def run(start: int, stop: int) -> None:
        for _ in range(start, stop):
            for a, b, out in products:
                torch.bmm(a, b, out=out)

    return run
