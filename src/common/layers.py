"""Layers from scratch, on plain tensors, with the names and arguments of torch.nn.

Two conventions differ from torch.nn, and the chapters say why:

* ``Linear.weight`` has the shape (in_features, out_features), so that ``x @ weight`` reads from
  left to right, and starts as a normal with standard deviation 1 / sqrt(in_features).
* Sequences are laid out (B, T, C). torch's ``BatchNorm1d`` wants (B, C, T).

Arguments that torch.nn's layers have and these do not are refused with a ValueError, never passed over.

Random numbers come from the CPU generator that is passed in, so that every device starts from
the same weights. Introduced in chapter 2; ``FlattenConsecutive`` in chapter 4; ``CausalConv1d`` in chapter 7;
``Gate``, ``Residual`` and the blocks of WaveNet in chapter 8.
"""

import inspect
from contextlib import contextmanager
from textwrap import indent

import torch


class Layer:
    """What all layers share: a mode, and tensors that move together.

    ``takes`` names what a layer is called with besides its input: ``mask``, ``place``. See Sequential.
    """

    training = True
    takes: tuple[str, ...] = ()

    def __new__(cls, *arguments, **options):
        """ValueError for arguments that a layer does not have, such as those of torch.nn's alone."""
        own = cls.__init__ is not object.__init__
        known = dict(list(inspect.signature(cls.__init__).parameters.items())[1:]) if own else {}
        kinds = [parameter.kind for parameter in known.values()]
        others = list(map(repr, arguments[kinds.count(inspect.Parameter.POSITIONAL_OR_KEYWORD) :]))
        others += [f"{name}={value!r}" for name, value in options.items() if name not in known]
        passes_on = {inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD} & set(kinds)
        if others and not passes_on:
            wanted = f"only {', '.join(known)}" if known else "no arguments"
            raise ValueError(f"{cls.__name__}: expected {wanted}, got {', '.join(others)}")
        return super().__new__(cls)

    def parameters(self) -> list[torch.Tensor]:
        """The tensors that gradient descent changes."""
        return []

    def tensors(self) -> dict[str, torch.Tensor]:
        """Every tensor of the layer by attribute name: parameters, then running statistics."""
        return {name: value for name, value in vars(self).items() if isinstance(value, torch.Tensor)}

    def load(self, tensors: dict[str, torch.Tensor]):
        """Put tensors as from `tensors()` in place. ValueError where names or shapes do not match."""
        self.check(tensors)
        for name, tensor in tensors.items():
            setattr(self, name, tensor)
        return self

    def check(self, tensors: dict[str, torch.Tensor]):
        """ValueError where tensors have other names than `tensors()`, or other shapes."""
        own = self.tensors()
        if tensors.keys() != own.keys():
            raise ValueError(f"expected tensors {sorted(own)}, got {sorted(tensors)}")
        for name, tensor in tensors.items():
            if not self.fits(name, tensor):
                shapes = tuple(own[name].shape), tuple(tensor.shape)
                raise ValueError(f"expected {name} of shape {shapes[0]}, got {shapes[1]}")

    def fits(self, name: str, tensor: torch.Tensor) -> bool:
        """Whether a tensor may stand under that name."""
        return tensor.shape == self.tensors()[name].shape

    def train(self, mode=True):
        """Switch to training mode, or to evaluation mode; returns the layer."""
        self.training = mode
        return self

    def eval(self):
        return self.train(False)

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


class Embedding(Layer):
    """A table of learned vectors, one row a character.

    input: (...) integers in [0, num_embeddings) -> (..., embedding_dim)
    IndexError for other integers, as in torch.nn; ValueError for numbers of another type.
    """

    def __init__(self, num_embeddings, embedding_dim, *, generator=None):
        self.weight = torch.randn((num_embeddings, embedding_dim), generator=generator)

    def __call__(self, input):
        self.check_rows(input)
        return self.weight[input]

    def check_rows(self, input):
        # plain indexing would count -1 from the end, and take booleans as a mask
        if input.dtype not in (torch.int64, torch.int32):
            raise ValueError(f"expected integers of 64 or 32 bits, got {input.dtype}")
        least, most = map(int, input.aminmax()) if input.numel() else (0, 0)
        if least < 0 or most >= len(self.weight):
            raise IndexError(f"expected integers in [0, {len(self.weight)}), got {least} to {most}")

    def parameters(self):
        return [self.weight]

    def __repr__(self):
        return f"Embedding({self.weight.shape[0]}, {self.weight.shape[1]})"


class Flatten(Layer):
    """Concatenate the vectors of all positions. input: (B, T, C) -> (B, T * C)"""

    def __call__(self, input):
        return input.flatten(1)


class FlattenConsecutive(Layer):
    """Concatenate the vectors of every n neighbours; a single remaining group loses its dimension.

    x: (B, T, C) -> (B, T // n, C * n), or (B, C * n) where T = n
    ValueError where n does not divide T.
    """

    def __init__(self, n):
        if n < 1:
            raise ValueError(f"expected n of at least 1, got {n}")
        self.n = n

    def __call__(self, x):
        if x.ndim != 3:
            raise ValueError(f"expected (B, T, C), got a tensor of shape {tuple(x.shape)}")
        B, T, C = x.shape
        if T % self.n:
            raise ValueError(f"T = {T} is not a multiple of n = {self.n}")
        x = x.reshape(B, T // self.n, C * self.n)
        return x.squeeze(1) if T == self.n else x

    def __repr__(self):
        return f"FlattenConsecutive({self.n})"


class Linear(Layer):
    """An affine map of the last dimension: y = x W + b.

    input: (..., in_features) -> (..., out_features); ValueError for another last dimension.
    """

    def __init__(self, in_features, out_features, bias=True, *, generator=None):
        self.weight = torch.randn((in_features, out_features), generator=generator) / in_features**0.5
        self.bias = torch.zeros(out_features) if bias else None

    def __call__(self, input):
        if input.shape[-1:] != self.weight.shape[:1]:
            raise ValueError(
                f"expected a last dimension of {self.weight.shape[0]}, got shape {tuple(input.shape)}"
            )
        y = input @ self.weight
        return y if self.bias is None else y + self.bias

    def parameters(self):
        return [self.weight] if self.bias is None else [self.weight, self.bias]

    def __repr__(self):
        in_features, out_features = self.weight.shape
        return f"Linear({in_features}, {out_features}{'' if self.bias is not None else ', bias=False'})"


class BatchNorm1d(Layer):
    """Normalise every channel over the batch (Ioffe and Szegedy, 2015, algorithm 1).

    input: (B, C) -> (B, C), statistics over B; or (B, T, C) -> (B, T, C), statistics over B and T

    Training mode uses the batch's mean and its biased variance, and moves the running statistics
    towards them (the variance in its unbiased form), as torch.nn does. Evaluation mode uses the
    running statistics. ValueError in training mode for a single value a channel, and for a momentum of
    None, with which torch.nn takes a plain average.
    mask: (B, T), False at places that only pad: they are left out of the statistics (chapter 7).
    """

    takes = ("mask",)

    def __init__(self, num_features, eps=1e-5, momentum=0.1):
        if not eps > 0:
            raise ValueError(f"expected eps above 0, got {eps}")
        if momentum is None or not 0 <= momentum <= 1:
            raise ValueError(f"expected momentum in [0, 1], got {momentum}")
        self.eps, self.momentum = eps, momentum
        self.weight, self.bias = torch.ones(num_features), torch.zeros(num_features)
        self.running_mean, self.running_var = torch.zeros(num_features), torch.ones(num_features)

    def __call__(self, input, mask=None):
        dims, mean, var = self.reduced_dims(input), self.running_mean, self.running_var
        if self.training:
            counted = input if mask is None else _kept(input, mask)
            dims = dims if mask is None else 0
            mean = counted.mean(dims)
            count = counted.numel() // max(mean.numel(), 1)
            if count < 2:
                raise ValueError(
                    f"expected more than 1 value per channel in training mode, got {tuple(counted.shape)}"
                )
            var = counted.var(dims, unbiased=False)
            self._track(mean.detach(), var.detach() * count / (count - 1))
        return self.weight * (input - mean) / torch.sqrt(var + self.eps) + self.bias

    def reduced_dims(self, x):
        """The dimensions that are averaged away: every one but the channels'."""
        if x.ndim not in (2, 3) or x.shape[-1] != self.weight.shape[0]:
            C = self.weight.shape[0]
            raise ValueError(f"expected (B, {C}) or (B, T, {C}), got a tensor of shape {tuple(x.shape)}")
        return tuple(range(x.ndim - 1))

    def _track(self, mean, var):
        # assigned, not changed in place: the graph of common.stacked relies on it
        self.running_mean = (1 - self.momentum) * self.running_mean + self.momentum * mean
        self.running_var = (1 - self.momentum) * self.running_var + self.momentum * var

    def parameters(self):
        return [self.weight, self.bias]

    def __repr__(self):
        return f"{type(self).__name__}({self.weight.shape[0]})"


def _kept(x, mask):
    """The rows of x, (B, T, C), at the places where mask, (B, T), is True: (N, C)."""
    if mask.dtype != torch.bool or mask.shape != x.shape[:-1]:
        raise ValueError(
            f"expected a mask of booleans of shape {tuple(x.shape[:-1])}, "
            f"got {mask.dtype} of shape {tuple(mask.shape)}"
        )
    return x[mask]


class CausalConv1d(Layer):
    """One small linear map at every place of a sequence, which looks at that place and back.

    y_t = sum over k of x_(t - (kernel_size - 1 - k) dilation) W_k + b

    input: (B, T, in_channels) -> (B, T, out_channels), whatever T; ValueError for another shape.

    ``weight`` is (kernel_size, in_channels, out_channels), and tap 0 is the oldest: a Linear over
    kernel_size concatenated neighbours has the same numbers, ``linear.weight.view(kernel_size, C, H)``,
    and torch.nn.Conv1d has them as ``weight.permute(2, 1, 0)``. ``before`` (in_channels,) stands at
    every place in front of the sequence: zeros unless set, and not learned. Introduced in chapter 7.
    place: (B, T), how many characters of its own name stand before each, where several names stand
        in one row: no tap reaches into the name before (chapter 8).
    """

    takes = ("place",)

    def __init__(self, in_channels, out_channels, kernel_size, dilation=1, bias=True, *, generator=None):
        if not all(isinstance(size, int) and size >= 1 for size in (kernel_size, dilation)):
            raise ValueError(
                f"expected a whole kernel_size and dilation of at least 1, got {kernel_size} and {dilation}"
            )
        shape, self.dilation = (kernel_size, in_channels, out_channels), dilation
        self.weight = torch.randn(shape, generator=generator) / (kernel_size * in_channels) ** 0.5
        self.bias = torch.zeros(out_channels) if bias else None
        self.before = torch.zeros(in_channels)

    def __call__(self, input, place=None):
        kernel_size, in_channels, _ = self.weight.shape
        if input.ndim != 3 or input.shape[-1] != in_channels:
            raise ValueError(f"expected (B, T, {in_channels}), got a tensor of shape {tuple(input.shape)}")
        B, T, _ = input.shape
        x = torch.cat([self.before.expand(B, (kernel_size - 1) * self.dilation, -1), input], dim=1)
        taps = [x[:, k * self.dilation : k * self.dilation + T] for k in range(kernel_size)]
        if place is not None:
            back = [(kernel_size - 1 - k) * self.dilation for k in range(kernel_size)]
            taps = [
                torch.where((place >= b)[..., None], tap, self.before) if b else tap
                for b, tap in zip(back, taps, strict=True)
            ]
        y = torch.cat(taps, dim=2) @ self.weight.flatten(0, 1)
        return y if self.bias is None else y + self.bias

    def parameters(self):
        return [self.weight] if self.bias is None else [self.weight, self.bias]

    def __repr__(self):
        sizes = ", ".join(str(size) for size in (*self.weight.shape[1:], self.weight.shape[0]))
        extra = f", dilation={self.dilation}" + ("" if self.bias is not None else ", bias=False")
        return f"CausalConv1d({sizes}{extra})"


class Tanh(Layer):
    """The hyperbolic tangent of every element. input: (...) -> (...)"""

    def __call__(self, input):
        return torch.tanh(input)


class ReLU(Layer):
    """What is negative becomes 0. input: (...) -> (...)"""

    def __call__(self, input):
        return torch.relu(input)


class SiLU(Layer):
    """A number times its own sigmoid: a ReLU without a corner (Hendrycks and Gimpel, 2016).

    input: (...) -> (...)
    """

    def __call__(self, input):
        return input * torch.sigmoid(input)


class Gate(Layer):
    """One half of the channels is the signal, the other says how much of it goes through.

    y = tanh(a) * sigmoid(b), where x is a and b side by side.

    x: (..., 2 H) -> (..., H); ValueError for an odd number of channels. (van den Oord et al., 2016,
    equation 2.) Introduced in chapter 8.
    """

    def __call__(self, x):
        if x.shape[-1] % 2:
            raise ValueError(f"expected an even number of channels, got shape {tuple(x.shape)}")
        signal, gate = x.chunk(2, dim=-1)
        return torch.tanh(signal) * torch.sigmoid(gate)


class Dropout(Layer):
    """In training, every element is 0 with probability p, the others grow by 1 / (1 - p).

    input: (...) -> (...) (Srivastava et al., 2014). Evaluation mode changes nothing. The draws come
    from `generator`, on the CPU whatever the input's device; training sets it to the run's. Introduced in
    chapter 11.
    """

    generator: torch.Generator | None = None

    def __init__(self, p):
        if not 0 <= p < 1:
            raise ValueError(f"expected p in [0, 1), got {p}")
        self.p = p

    def __call__(self, input):
        if not self.training or self.p == 0:
            return input
        kept = torch.rand(input.shape, generator=self.generator) >= self.p
        return input * kept.to(input.device) / (1 - self.p)

    def __repr__(self):
        return f"Dropout({self.p:g})"


class Sequential(Layer):
    """Layers called one after the other.

    Like torch.nn.Sequential, but it takes one list, and `train()` and `eval()` set the mode of
    every layer inside. What is given besides the input goes to the layers that take it:
    mask (B, T), False at places that only pad, to the BatchNorms; place (B, T), where several names
    stand in one row, to the convolutions.
    """

    takes = ("mask", "place")

    def __init__(self, layers):
        self.layers = list(layers)

    def __call__(self, input, mask=None, place=None):
        x, given = input, {"mask": mask, "place": place}
        for layer in self.layers:
            x = layer(
                x, **{name: given[name] for name in getattr(layer, "takes", ()) if given[name] is not None}
            )
        return x

    def parameters(self):
        return [p for layer in self.layers for p in layer.parameters()]

    def tensors(self):
        """Every tensor inside as {"position.attribute": tensor}, the form in which it is stored."""
        return {
            f"{i}.{name}": t for i, layer in enumerate(self.layers) for name, t in layer.tensors().items()
        }

    def load(self, tensors):
        self.check(tensors)  # all, before any is changed
        for i, layer in enumerate(self.layers):
            layer.load({name: tensors[f"{i}.{name}"] for name in layer.tensors()})
        return self

    def fits(self, name, tensor):
        i, _, inner = name.partition(".")
        return self.layers[int(i)].fits(inner, tensor)

    def to(self, device=None, dtype=None):
        """Move every tensor inside to a device or a floating-point type, in place; returns self."""
        return self.load({key: t.to(device=device, dtype=dtype) for key, t in self.tensors().items()})

    def train(self, mode=True):
        for layer in self.layers:
            layer.train(mode)
        return super().train(mode)

    def __repr__(self):
        inside = "".join(f"{layer!r},\n" for layer in self.layers)
        return f"{type(self).__name__}([\n{indent(inside, '    ')}])"


class Residual(Sequential):
    """What goes in is added to what comes out: y = x + f(x), with f the layers inside.

    x: (..., C) -> (..., C); ValueError where f returns another shape, which addition might broadcast.
    (He et al., 2016.) Introduced in chapter 8.
    """

    def __call__(self, x, mask=None, place=None):
        y = super().__call__(x, mask=mask, place=place)
        if y.shape != x.shape:
            raise ValueError(f"expected layers that keep the shape {tuple(x.shape)}, got {tuple(y.shape)}")
        return x + y


class WaveNetBlock(Sequential):
    """A block with two ends: one goes on to the next block, the other skips to the output.

    z = body(x), out = x + z W_out, skip = z W_skip (van den Oord et al., 2016, figure 4).

    x: (B, T, C) -> out (B, T, C) and skip (B, T, n_skip). body: layers from C channels to those of z;
    to_out, to_skip: a layer each. Without `to_out`, as in the last block, out is None; with
    `residual=False` it is z W_out alone. Introduced in chapter 8.
    """

    def __init__(self, body, to_out, to_skip, residual=True):
        self.body, self.to_out, self.to_skip, self.residual = Sequential(body), to_out, to_skip, residual
        super().__init__([layer for layer in (self.body, to_skip, to_out) if layer is not None])

    def __call__(self, x, mask=None, place=None):
        z = self.body(x, mask=mask, place=place)
        out = None if self.to_out is None else self.to_out(z)
        return (x + out if self.residual and out is not None else out), self.to_skip(z)


class Skips(Sequential):
    """Blocks one after the other, and the sum of what skips from each to the output.

    x: (B, T, C) -> (B, T, n_skip). The layers are blocks as `WaveNetBlock`. Introduced in chapter 8.
    """

    def __call__(self, x, mask=None, place=None):
        skips = []
        for block in self.layers:
            x, skip = block(x, mask=mask, place=place)
            skips.append(skip)
        return sum(skips)


def every_layer(layer: Layer):
    """A layer, and all layers inside it."""
    yield layer
    for inner in getattr(layer, "layers", []):
        yield from every_layer(inner)


def parameter_names(model: Layer) -> list[str]:
    """The names among `tensors()` that gradient descent changes."""
    learned = {id(p) for p in model.parameters()}
    return [name for name, t in model.tensors().items() if id(t) in learned]


@contextmanager
def evaluating(model):
    """Evaluation mode and no gradients inside a `with` block; afterwards every layer's own mode again."""
    layers = list(every_layer(model))
    modes = [layer.training for layer in layers]
    model.eval()
    try:
        with torch.no_grad():
            yield model
    finally:
        for layer, mode in zip(layers, modes, strict=True):
            layer.training = mode
