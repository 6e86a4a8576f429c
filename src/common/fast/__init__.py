"""The same numbers sooner: what `common.train` computes, compiled and for S models at once.

``layouts``   how batches enter a graph, whole names and dropout's masks among them
``layers``    layers as a graph takes them
``stacked``   S models as stacked tensors, their step as a graph
``compiled``  the graph as C++ code, kept on disk
``loop``      stretches of steps: one model after the other, stacked, or shared out over processes
``fused``     recurrent layers by torch's own kernels
``cost``      what a step costs at least

Explained in the chapter "Why the loop is slow, and what to do about it".
"""

from .cost import flops, products_of
from .fused import fused
from .layouts import draw_batches
from .loop import PlainLoop, StackedLoop, WorkerDied, make_loop
from .stacked import Stacked
