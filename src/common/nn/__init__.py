"""Layers from scratch, on plain tensors, with the names and arguments of torch.nn.

Random numbers come from the CPU generator that is passed in, so that every device starts from the same
weights. Where a layer differs from torch.nn's its docstring says so, and the chapters say why.
"""

from .activation import Gate, ReLU, SiLU, Tanh
from .attention import LayerNorm, MultiheadAttention, PositionalEmbedding, attention_weights, causal_mask
from .container import Residual, Sequential
from .convolution import CausalConv1d
from .dropout import Dropout, VariationalDropout
from .embedding import Embedding
from .flatten import Flatten, FlattenConsecutive
from .linear import Linear
from .module import Module, evaluating, instead
from .norm import BatchNorm1d
from .recurrent import (
    GRU,
    LSTM,
    RNN,
    Cell,
    GRUCell,
    LSTMCell,
    RNNCell,
    chrono_start,
    forget_bias_start,
    from_torch,
    orthogonal_start,
    recurrent_cells,
    unroll,
)
from .torch_module import CELLS, Recurrent, TorchModule
