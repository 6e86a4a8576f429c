"""The book's models, made of the layers in `common.nn`: a file a family, and a registry of all by name.

Each takes token indices and returns logits. Sizes default to the lecture's.
"""

from .convolutional import ACTIVATIONS, Dilated, as_convolution
from .mlp import MLP, output_layer
from .packing import check_packing, packed, padded, predictions
from .recurrent import POOLS, STARTS, RecurrentNetwork, SentenceClassifier, StatefulNetwork
from .registry import MODELS, PRETRAINED, Recipe, count_parameters, pretrained, tagged
from .seq2seq import Attention, Seq2Seq
from .transformer import Transformer, TransformerBlock, longest_name
from .tree import BatchOnlyBatchNorm1d, Tree
from .wavenet import WaveNet, WaveNetBlock
