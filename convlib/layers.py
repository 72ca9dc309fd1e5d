# Exported from chapters/ by tools/export.py: edit the chapter, not this file.
"""Layers that remember, and models made of them: forward remembers, backward uses.

Chapter "Layers and models" builds this module. A layer remembers one call: use it from
one Python thread at a time.
"""

import math
import os
import secrets
import zipfile
from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import NamedTuple

import numpy as np

from convlib.functional import _together, conv2d, conv2d_bias_grad, conv2d_input_grad, conv2d_weight_grad
from convlib.pooling import max_pool2d, max_pool2d_input_grad
from convlib.shapes import _two, _whole, conv2d_geometry, max_pool2d_geometry, output_shape

__all__ = ["Parameter", "Layer", "ReLU", "MaxPool2d", "Conv2d", "Flatten", "Linear", "Sequential", "SummaryRow",
    "summary", "Summary", "save", "load", "Dropout"]


# Chapter "Layers and models" (chapters/layers.ipynb)

class Parameter:
    """Numbers that a layer learns, and how the loss changes with them.

    Attributes
    ----------
    data : array of float32 or float64
        The numbers: a copy of the argument. An update changes them in place.
    grad : array, or None
        How the loss changes with each number, summed over all backward passes since
        `zero_grad`; None before the first.

    Notes
    -----
    Source: chapter "Layers and models".
    """

    def __init__(self, data):
        (data,) = _together(("data",), (data,))
        if data.dtype.kind != "f":
            raise TypeError(f"data: expected float32 or float64, got {data.dtype}")
        self.data, self.grad = data.copy(), None

    shape = property(lambda self: self.data.shape, doc="The shape of the numbers.")

    def tell(self, gradient):
        """Add to the derivatives that have come since `zero_grad`."""
        if gradient.shape != self.shape:
            raise ValueError(f"gradient: expected shape {self.shape}, got {gradient.shape}")
        gradient = gradient.astype(self.data.dtype)
        self.grad = gradient if self.grad is None else self.grad + gradient

    def zero_grad(self):
        """Forget the derivatives."""
        self.grad = None


_QUIET = {"invalid": "ignore", "over": "ignore"}  # infinity is no reason to warn


class _Remembers:
    """What every layer does around its formula: `compute` there, `flow` and `tell` back."""

    _memory = None  # of the last call: what `compute` kept; shape and data type of the output

    def __call__(self, input):
        """Compute the output, and remember what `backward` needs."""
        try:
            (input,) = _together(("input",), (input,))
            with np.errstate(**_QUIET):
                output, kept = self.compute(input)
        except (TypeError, ValueError) as error:
            raise _named(self, error) from error
        self._memory = kept, output.shape, output.dtype
        return output

    def backward(self, grad_output, *, input_grad=True):
        """Compute the derivatives of the parameters; return the learning flow at the input.

        Without `input_grad` there is no flow to return: the first layer of a model has
        none before it. A layer that was never called raises a RuntimeError.
        """
        if self._memory is None:
            raise RuntimeError(f"{self}: backward before forward: call the layer first, it remembers")
        kept, shape, dtype = self._memory
        try:
            (flow,) = _together(("grad_output",), (grad_output,))
            if flow.shape != shape:
                raise ValueError(f"grad_output: expected shape {shape}, as the output, got {flow.shape}")
            flow = flow.astype(dtype, copy=False) if dtype.kind == "f" else flow
            with np.errstate(**_QUIET):
                grad_input = self.flow(kept, flow) if input_grad else None
                self.tell(kept, flow)
        except (TypeError, ValueError) as error:
            raise _named(self, error) from error
        return grad_input

    def tell(self, kept, grad_output):
        """Tell the layer's own parameters: most layers have none."""


def _named(layer, error):
    """The same error, with the layer's name in front."""
    kind = ValueError if isinstance(error, ValueError) else TypeError
    return kind(f"{layer}: {error}")


class _Learns(_Remembers):
    """What a layer does with its parameters, and with layers inside it."""

    training = True

    def _children(self):
        """The layers inside, by name."""
        return {name: each for name, each in vars(self).items() if isinstance(each, _Learns)}

    def named_parameters(self):
        """Return pairs of a name, as PyTorch gives it ("0.weight"), and a parameter."""
        named = [(name, each) for name, each in vars(self).items() if isinstance(each, Parameter)]
        for child, layer in self._children().items():
            named += [(f"{child}.{name}", each) for name, each in layer.named_parameters()]
        return named

    def parameters(self):
        """Return all parameters in a list."""
        return [parameter for _, parameter in self.named_parameters()]

    def zero_grad(self):
        """Forget the derivatives of all parameters."""
        for parameter in self.parameters():
            parameter.zero_grad()

    def train(self, training=True):
        """From now on learn: some layers do something else then. Return the layer."""
        self.training = bool(training)
        for layer in self._children().values():
            layer.train(training)
        return self

    def eval(self):
        """From now on only answer. Return the layer."""
        return self.train(False)


class Layer(_Learns):
    """What all layers have in common; a layer of your own needs `compute` and `flow`.

    `compute(input)` returns the output and what is to be remembered. `flow(kept,
    grad_output)` gets that back, and returns the learning flow at the input. `tell(kept,
    grad_output)`, if there is one, tells the layer's own parameters.

    Notes
    -----
    Source: chapter "Layers and models".
    """

    def state_dict(self):
        """Return copies of all parameters' numbers, by name."""
        return {name: each.data.copy() for name, each in self.named_parameters()}

    def load_state_dict(self, state):
        """Replace the parameters' numbers by those of a state, if all of them fit.

        Otherwise nothing is changed, and a ValueError or TypeError says what does not fit.
        """
        parameters = dict(self.named_parameters())
        arrays = _checked_state(parameters, state)
        for name, parameter in parameters.items():
            parameter.data[...] = arrays[name]

    def output_shape(self, input_size):
        """Return the shape of the output, without computing it."""
        return tuple(input_size)

    def multiplications(self, input_size):
        """Count the multiplications of a forward pass."""
        return 0

    def __repr__(self):
        return f"{type(self).__name__}()"


def _checked_state(parameters, state):
    """The arrays of a state, if they are just those that the parameters need."""
    if not isinstance(state, Mapping):
        raise TypeError(f"state: expected names and arrays, got {type(state).__name__}")
    missing, more = ([f"{name!r:.80}" for name in one if name not in other]
                     for one, other in ((parameters, state), (state, parameters)))
    if missing or more:
        raise ValueError(
            "state: expected the names of this model's parameters; missing: "
            f"{', '.join(missing) or 'none'}; unexpected: {', '.join(more[:9]) or 'none'}"
        )
    return {name: _fitting(name, state[name], each.data) for name, each in parameters.items()}


def _fitting(name, value, data):
    """A value as an array of the shape and the data type of a parameter's numbers."""
    (array,) = _together((name,), (np.asarray(value),))
    if array.shape != data.shape:
        raise ValueError(f"{name}: expected shape {data.shape}, got {array.shape}")
    with np.errstate(over="ignore"):
        fitting = array.astype(data.dtype)
    if (np.isfinite(array) != np.isfinite(fitting)).any():
        raise ValueError(f"{name}: expected numbers that fit into {data.dtype}, got larger ones")
    return fitting


class ReLU(Layer):
    """Replace every number below 0 by 0.

    Notes
    -----
    Called with an array of any shape. NaN stays NaN, and lets its flow through. Source:
    chapter "Layers and models", formulas eq-relu and eq-relu-flow.
    """

    def compute(self, input):
        return np.maximum(input, 0), ~(input <= 0)

    def flow(self, kept, grad_output):
        bits = grad_output.view(f"i{grad_output.itemsize}")
        return (bits & -kept.astype(bits.dtype)).view(grad_output.dtype)


class MaxPool2d(Layer):
    """Keep the largest number of each window.

    Parameters
    ----------
    kernel_size, stride, padding
        As in `shapes.max_pool2d_geometry`.

    Notes
    -----
    Called with (N, C, H, W) or (C, H, W). Source: chapter "Layers and models", formulas
    eq-max-pool and eq-max-pool-flow.
    """

    def __init__(self, kernel_size, stride=None, padding=0):
        self._settings = kernel_size, stride, padding
        max_pool2d_geometry((1, *_pair("kernel_size", kernel_size)), *self._settings)

    def compute(self, input):
        output, indices = max_pool2d(input, *self._settings, return_indices=True)
        return output, (input.shape, indices)

    def flow(self, kept, grad_output):
        return max_pool2d_input_grad(*kept, grad_output)

    def output_shape(self, input_size):
        geometry = max_pool2d_geometry(tuple(input_size), *self._settings)
        return (*input_size[:-2], geometry.out_height, geometry.out_width)

    def __repr__(self):
        kernel_size, stride, padding = self._settings
        return f"MaxPool2d({kernel_size}, stride={stride or kernel_size}, padding={padding})"


def _pair(name, value):
    """A number or two, 1 or more, as two whole numbers."""
    return tuple(_whole(name, each, 1, value) for each in _two(name, value))


def _generator(rng):
    """The generator of random numbers that was given, or a new one."""
    if isinstance(rng, np.random.Generator):
        return rng
    return np.random.default_rng(None if rng is None else _whole("rng", rng, 0))


class _Weighted(Layer):
    """What `Conv2d` and `Linear` have in common: weights, and perhaps biases."""

    def _start(self, size, bias, dtype, rng):
        """Begin with random numbers, uniform in the bounds that PyTorch uses, too."""
        if np.dtype(dtype) not in (np.float32, np.float64):
            raise TypeError(f"dtype: expected float32 or float64, got {np.dtype(dtype)}")
        rng, bound = _generator(rng), 1 / math.sqrt(math.prod(size[1:]))
        self.weight = Parameter(rng.uniform(-bound, bound, size).astype(dtype))
        self.bias = Parameter(rng.uniform(-bound, bound, size[0]).astype(dtype)) if bias else None

    def _words(self):
        """What the layer's name says besides its numbers of channels or features."""
        return {}

    def __repr__(self):
        words = self._words() | ({} if self.bias is not None else {"bias": False})
        out, sources = self.weight.shape[:2]
        numbers = [str(sources * words.get("groups", 1)), str(out)]
        numbers += [f"{name}={value}" for name, value in words.items()]
        return f"{type(self).__name__}({', '.join(numbers)})"


class _Convolution(_Weighted):
    """What a convolution layer does with its weights, biases and settings."""

    def compute(self, input):
        self._check(input.shape)
        bias = None if self.bias is None else self.bias.data
        return conv2d(input, self.weight.data, bias, **self._spread), input

    def flow(self, kept, grad_output):
        return conv2d_input_grad(kept.shape, self.weight.data, grad_output, **self._spread)

    def tell(self, kept, grad_output):
        self.weight.tell(conv2d_weight_grad(kept, self.weight.shape, grad_output, **self._spread))
        if self.bias is not None:
            self.bias.tell(conv2d_bias_grad(grad_output))

    def _check(self, input_size):
        """Refuse what is no image, or has other channels than the kernels."""
        sources = self.weight.shape[1] * self._spread["groups"]
        if len(input_size) not in (3, 4) or input_size[-3] != sources:
            raise ValueError(f"input: expected shape (N, {sources}, H, W) or ({sources}, H, W), "
                             f"got {tuple(input_size)}")

    def output_shape(self, input_size):
        self._check(input_size)
        geometry = conv2d_geometry(tuple(input_size), self.weight.shape, **self._spread)
        return output_shape(geometry, len(input_size) == 4)

    def multiplications(self, input_size):
        return math.prod(self.output_shape(input_size)) * math.prod(self.weight.shape[1:])

    def _words(self):
        kernel = self.weight.shape[2:]
        usual = {"stride": 1, "padding": 0, "dilation": 1, "groups": 1}
        words = {name: value for name, value in self._spread.items() if value != usual[name]}
        return {"kernel_size": kernel[0] if kernel[0] == kernel[1] else kernel} | words


class Conv2d(_Convolution):
    """The convolution layer: kernels look at an image, each output channel has a bias.

    Parameters
    ----------
    in_channels, out_channels : int
        The channels of an input and of an output.
    kernel_size : int or (int, int)
        Rows and columns of the kernels.
    stride, padding, dilation, groups
        As in `convlib.shapes.conv2d_geometry`.
    bias : bool
        Whether there is one number more for each output channel.
    dtype : data type
        float32 or float64.
    rng : int or numpy.random.Generator, optional
        For the first numbers: uniform, up to 1 / sqrt(products in a sum), as in PyTorch.

    Raises
    ------
    ValueError, TypeError
        If a setting is out of range, or not made of whole numbers.

    Notes
    -----
    Called with (N, C, H, W) or (C, H, W). Source: chapter "Layers and models", with the
    formulas F04, F12, F18 and F20.
    """

    def __init__(self, in_channels, out_channels, kernel_size, stride=1, padding=0, dilation=1,
                 groups=1, bias=True, *, dtype=np.float32, rng=None):
        sources, groups = _whole("in_channels", in_channels, 1), _whole("groups", groups, 1)
        kernel, spread = _pair("kernel_size", kernel_size), _pair("dilation", dilation)
        size = _whole("out_channels", out_channels, 1), max(1, sources // groups), *kernel
        self._spread = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
        covered = [d * k for d, k in zip(spread, kernel, strict=True)]
        conv2d_geometry((sources, *covered), size, **self._spread)  # refuses what cannot be
        self._start(size, bias, dtype, rng)


class Flatten(Layer):
    """Put the numbers of each image into one row.

    Notes
    -----
    Called with (N, C, H, W) it returns (N, C * H * W); one image, (C, H, W), becomes
    (C * H * W,). (PyTorch's layer takes (C, H, W) for C images.) Rows stay rows. Source:
    chapter "Layers and models".
    """

    def compute(self, input):
        return input.reshape(self.output_shape(input.shape)), input.shape

    def flow(self, kept, grad_output):
        return grad_output.reshape(kept)

    def output_shape(self, input_size):
        if len(input_size) not in (1, 2, 3, 4):
            raise ValueError(f"input: expected shape (N, C, H, W) or (C, H, W), got {tuple(input_size)}")
        front = tuple(input_size[:1]) if len(input_size) in (2, 4) else ()
        return (*front, math.prod(input_size[len(front):]))


class Linear(_Weighted):
    """Let every output look at all inputs.

    Parameters
    ----------
    in_features, out_features : int
        The lengths of an input and of an output.
    bias, dtype, rng
        As for `Conv2d`; the first numbers are at most 1 / sqrt(in_features).

    Notes
    -----
    Called with (N, in_features) or (in_features,). Source: chapter "Layers and models",
    formulas eq-linear, eq-linear-flow and eq-linear-grads.
    """

    def __init__(self, in_features, out_features, bias=True, *, dtype=np.float32, rng=None):
        size = _whole("out_features", out_features, 1), _whole("in_features", in_features, 1)
        self._start(size, bias, dtype, rng)

    def compute(self, input):
        self.output_shape(input.shape)
        output = np.matmul(input, self.weight.data.T)
        return (output if self.bias is None else output + self.bias.data), input

    def flow(self, kept, grad_output):
        return np.matmul(grad_output, self.weight.data)

    def tell(self, kept, grad_output):
        rows, flows = np.atleast_2d(kept, grad_output)
        self.weight.tell(np.matmul(flows.T, rows))
        if self.bias is not None:
            self.bias.tell(flows.sum(axis=0))

    def output_shape(self, input_size):
        out, sources = self.weight.shape
        if len(input_size) not in (1, 2) or input_size[-1] != sources:
            raise ValueError(f"input: expected shape (N, {sources}) or ({sources},), got {tuple(input_size)}")
        return (*input_size[:-1], out)

    def multiplications(self, input_size):
        return math.prod(input_size[:-1]) * math.prod(self.weight.shape)


class _Row(Layer):
    """What a row of layers does: forward in order, backward in the order reversed."""

    def __call__(self, input):
        """Compute the output; every layer remembers what its `backward` needs."""
        self._memory = None  # if a layer refuses, the row remembers nothing
        for place, layer in enumerate(self._layers):
            input = _at(place, layer, input)
        self._memory = [layer._memory for layer in self._layers]
        return input

    def backward(self, grad_output, *, input_grad=True):
        """Tell all parameters, from the last layer to the first; return the flow at the input."""
        if self._memory is None:
            raise RuntimeError("Sequential: backward before forward: call the model first, it remembers")
        for place, layer in enumerate(self._layers):
            if layer._memory is not self._memory[place]:
                raise RuntimeError(f"[{place}] {layer}: has been called by itself since the model was called")
        for place in reversed(range(len(self._layers))):
            back, wanted = self._layers[place].backward, input_grad or place > 0
            grad_output = _at(place, back, grad_output, input_grad=wanted)
        return grad_output

    def output_shape(self, input_size):
        """Return the shape of the output, without computing it."""
        for place, layer in enumerate(self._layers):
            input_size = _at(place, _shape_behind, layer, input_size)
        return tuple(input_size)

    def multiplications(self, input_size):
        """Count the multiplications of a forward pass."""
        count = 0
        for place, layer in enumerate(self._layers):
            behind = _at(place, _shape_behind, layer, input_size)
            count, input_size = count + layer.multiplications(input_size), behind
        return count


class Sequential(_Row):
    """A model: layers in a row, each looks at the output of the one before.

    Parameters
    ----------
    *layers : Layer
        In this order. Each remembers one call only, so none may stand in two places.

    Raises
    ------
    TypeError, ValueError
        If something is not a layer, or stands in two places.

    Notes
    -----
    `model[1]` is a layer, `model[:2]` a model of the same layers; `len` and `for` work, too.
    Source: chapter "Layers and models", formula eq-chain.
    """

    def __init__(self, *layers):
        for place, layer in enumerate(layers):
            if not isinstance(layer, Layer):
                raise TypeError(f"layers[{place}]: expected a Layer, got {type(layer).__name__}")
        inside = [id(layer) for layer in _all_inside(layers)]
        if len(set(inside)) < len(inside):
            raise ValueError("layers: expected each layer once, as it remembers only one call")
        self._layers = layers

    def __len__(self):
        return len(self._layers)

    def __getitem__(self, place):
        found = self._layers[place]
        return Sequential(*found) if isinstance(place, slice) else found

    def _children(self):
        return {str(place): layer for place, layer in enumerate(self._layers)}

    def __repr__(self):
        return f"Sequential({', '.join(map(repr, self._layers))})"


def _all_inside(layers):
    """All layers, and those inside them."""
    for layer in layers:
        yield layer
        yield from _all_inside(layer._children().values())


def _shape_behind(layer, input_size):
    """The shape of a layer's output; an error says which layer."""
    try:
        return layer.output_shape(input_size)
    except (TypeError, ValueError) as error:
        raise error if isinstance(layer, _Row) else _named(layer, error) from error


def _at(place, function, *arguments, **settings):
    """Call a layer of a model; an error says at which place it stands."""
    try:
        return function(*arguments, **settings)
    except (TypeError, ValueError, RuntimeError) as error:
        kinds = TypeError, ValueError, RuntimeError
        kind = next(each for each in kinds if isinstance(error, each))
        raise kind(f"[{place}] {error}") from error


class SummaryRow(NamedTuple):
    """One layer in a summary (chapter "Layers and models")."""

    layer: str
    output_shape: tuple
    parameters: int
    multiplications: int


def summary(model, input_size):
    """List the layers of a model: output shapes, parameters, multiplications.

    Parameters
    ----------
    model : Layer
        A model, or a single layer.
    input_size : tuple of int
        The shape of an input.

    Returns
    -------
    Summary

    Raises
    ------
    ValueError, TypeError
        If the input does not fit; the message names the layer.

    Notes
    -----
    Source: chapter "Layers and models".
    """
    if not isinstance(input_size, (tuple, list)):
        raise TypeError(f"input_size: expected a shape, got {input_size!r:.80}")
    rows, size = [], tuple(_whole("input_size", each, 0) for each in input_size)
    for place, layer in enumerate(model if isinstance(model, Sequential) else [model]):
        out = _at(place, _shape_behind, layer, size)
        parameters = sum(each.data.size for each in layer.parameters())
        rows.append(SummaryRow(repr(layer), out, parameters, layer.multiplications(size)))
        size = out
    return Summary(rows)


class Summary(NamedTuple):
    """The layers of a model as a table; made by `summary` (chapter "Layers and models")."""

    rows: list[SummaryRow]

    @property
    def parameters(self):
        """All parameters of the model."""
        return sum(row.parameters for row in self.rows)

    @property
    def multiplications(self):
        """All multiplications of a forward pass."""
        return sum(row.multiplications for row in self.rows)

    def _cells(self):
        head = "layer", "output shape", "parameters", "multiplications"
        rows = [(row.layer, str(row.output_shape), f"{row.parameters:,}", f"{row.multiplications:,}")
                for row in self.rows]
        return [head, *rows, ("all", "", f"{self.parameters:,}", f"{self.multiplications:,}")]

    def __str__(self):
        cells = self._cells()
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        form = "  ".join(f"{{:{side}{width}}}" for side, width in zip("<<>>", widths, strict=True))
        return "\n".join(form.format(*row) for row in cells)

    def _repr_html_(self):
        head, *rows = (
            "".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in row)
            for tag, row in zip(["th"] + ["td"] * (len(self.rows) + 1), self._cells(), strict=True)
        )
        body = "</tr><tr>".join(rows)
        return f"<table><thead><tr>{head}</tr></thead><tbody><tr>{body}</tr></tbody></table>"


def save(path, state):
    """Save a state as .npz: all of it, or the file stays what it was.

    Parameters
    ----------
    path : str or path-like
        The file, usually .npz. It is replaced in one step.
    state : dict of str to array
        Real numbers of any type, for instance a `state_dict`.

    Raises
    ------
    ValueError, TypeError
        If something is no name, or no array of real numbers.
    OSError
        If the file cannot be written.

    Notes
    -----
    Source: chapter "Layers and models".
    """
    path, arrays = Path(path), {}
    for name, value in state.items():
        _check_name(name)
        arrays[name] = np.asarray(value, order="C")
        if arrays[name].dtype.kind not in "biuf":
            raise TypeError(f"{name}: expected real numbers, got data type {arrays[name].dtype}")
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        with open(temporary, "xb") as file:
            _write(file, arrays)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def load(path):
    """Load a state that `save`, or NumPy's `savez`, has written.

    Parameters
    ----------
    path : str or path-like
        The file. It may come from a stranger: nothing in it is executed, and it gets no
        more memory than it has bytes.

    Returns
    -------
    dict of str to array

    Raises
    ------
    ValueError
        If the file is damaged, or holds anything but names and arrays of real numbers,
        uncompressed; the message names the file and what is wrong.
    OSError
        If there is no such file, or it cannot be opened.

    Notes
    -----
    Source: chapter "Layers and models".
    """
    with open(path, "rb") as file:
        try:
            return _read(file, os.fstat(file.fileno()).st_size)
        except Exception as error:  # a damaged file can lead anywhere
            raise ValueError(f"{path}: expected a file of parameters, but {error}") from error


def _check_name(name):
    """Refuse a name that a file cannot keep as it is."""
    if not isinstance(name, str):
        raise TypeError(f"state: expected names, got {name!r:.80}")
    if not (name.isprintable() and 0 < len(name) <= 200) or set(name) & set("/\\:"):
        raise ValueError(f"state: expected short names without slashes, got {name!r:.80}")


def _write(file, arrays):
    """Write arrays as NumPy's `savez` does: uncompressed and without dates."""
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name, array in arrays.items():
            with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as entry:
                np.lib.format.write_array(entry, array, allow_pickle=False)
    file.flush()
    os.fsync(file.fileno())  # it is on the disk before it takes the old one's place


def _read(file, size):
    """All arrays of a file of so many bytes, if they are stored as `save` stores them."""
    arrays = {}
    with zipfile.ZipFile(file) as archive:
        entries = archive.infolist()
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
            raise ValueError("an array in it is compressed")
        if sum(entry.file_size for entry in entries) > size:
            raise ValueError("it claims to hold more than it does")
        for entry in entries:
            name = entry.filename.removesuffix(".npy")
            if name in arrays or name == entry.filename:
                raise ValueError(f"{entry.filename!r:.80} stands there twice, or is no .npy")
            _check_name(name)
            with archive.open(entry) as content:
                arrays[name] = _read_array(content)
    return arrays


def _read_array(entry):
    """The array in an entry, if it is just that."""
    if np.lib.format.read_magic(entry) != (1, 0):
        raise ValueError("an array is not in NumPy's format 1.0")
    shape, is_fortran, dtype = np.lib.format.read_array_header_1_0(entry)
    if dtype.kind not in "biuf":
        raise ValueError(f"an array holds no real numbers, but {dtype}")
    content, expected = entry.read(), math.prod(shape) * dtype.itemsize
    if len(content) != expected or min(shape, default=0) < 0:
        raise ValueError(f"an array of shape {shape} has {len(content)} bytes, not {expected}")
    array = np.frombuffer(content, dtype).reshape(shape, order="F" if is_fortran else "C")
    return np.array(array, dtype.newbyteorder("="), order="C")


# Chapter "A first deep model on real digits" (chapters/digits.ipynb)

class Dropout(Layer):
    """While learning, replace each number by 0 with some probability; else do nothing.

    Parameters
    ----------
    p : float
        The probability, at least 0 and below 1. What is kept is divided by 1 - p.
    rng : int or numpy.random.Generator, optional
        Where chance comes from.

    Raises
    ------
    ValueError, TypeError
        If `p` is out of range, or no number.

    Notes
    -----
    A layer as in the chapter "Layers and models", for arrays of any shape. Source: chapter
    "A first deep model on real digits", formula eq-dropout.
    """

    def __init__(self, p=0.5, *, rng=None):
        if isinstance(p, bool) or np.shape(p) != () or np.asarray(p).dtype.kind not in "iuf":
            raise TypeError(f"p: expected a number, got {p!r}")
        if not 0 <= p < 1:
            raise ValueError(f"p: expected a number from 0 to 1, but not 1, got {p!r}")
        self.p, self.rng = float(p), _generator(rng)

    def compute(self, input):
        if not self.training or self.p == 0:
            return input.copy(), None
        scale = np.where(self.rng.random(input.shape) < self.p, 0, 1 / (1 - self.p))
        scale = scale.astype(input.dtype if input.dtype.kind == "f" else np.float64)
        return input * scale, scale

    def flow(self, kept, grad_output):
        return grad_output.copy() if kept is None else grad_output * kept

    def __repr__(self):
        return f"Dropout({self.p:g})"
