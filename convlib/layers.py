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
from pathlib import Path
from typing import NamedTuple

import numpy as np

from convlib.functional import _together, conv2d, conv2d_bias_grad, conv2d_input_grad, conv2d_weight_grad
from convlib.pooling import max_pool2d, max_pool2d_input_grad
from convlib.shapes import _two, _whole, conv2d_geometry, max_pool2d_geometry, output_shape

__all__ = [
    "Parameter",
    "Layer",
    "ReLU",
    "MaxPool2d",
    "Flatten",
    "Linear",
    "Conv2d",
    "Sequential",
    "SummaryRow",
    "Summary",
    "summary",
    "save",
    "load",
]


# Chapter "Layers and models" (chapters/layers.ipynb)

class Parameter:
    """Numbers that a layer learns, and what they have been told.

    Parameters
    ----------
    data : array of float32 or float64
        The numbers; they are copied.

    Attributes
    ----------
    data : array
        The numbers. A step changes them in place.
    grad : array, or None
        How the loss changes with each number, summed over all backward passes since
        `zero_grad`; None before the first.

    Raises
    ------
    TypeError
        If `data` is not float32 or float64.

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
        """Add what the numbers are told now to what they have been told before."""
        if gradient.shape != self.shape:
            raise ValueError(f"gradient: expected shape {self.shape}, got {gradient.shape}")
        gradient = gradient.astype(self.data.dtype)
        self.grad = gradient if self.grad is None else self.grad + gradient

    def zero_grad(self):
        """Forget what the numbers have been told."""
        self.grad = None


def _named(layer, error):
    """The same error, with the layer's name in front."""
    kind = ValueError if isinstance(error, ValueError) else TypeError
    return kind(f"{layer}: {error}")


class _Remembers:
    """The part of a layer that remembers: `compute` before, `flow` after."""

    _memory = None  # of the last call: what `compute` kept, shape and data type of the output

    def __call__(self, input):
        """Compute the output, and remember what `backward` needs."""
        try:
            (input,) = _together(("input",), (input,))
            output, kept = self.compute(input)
        except (TypeError, ValueError) as error:
            raise _named(self, error) from error
        self._memory = kept, output.shape, output.dtype
        return output

    def backward(self, grad_output, *, input_grad=True):
        """Tell the parameters, and return the learning flow at the input.

        Without `input_grad` nothing is returned: the first layer of a model has nobody
        before it. Before the first call of the layer there is a RuntimeError.
        """
        if self._memory is None:
            raise RuntimeError(f"{self}: backward before forward: call the layer first, it remembers")
        kept, shape, dtype = self._memory
        try:
            (flow,) = _together(("grad_output",), (grad_output,))
            if flow.shape != shape:
                raise ValueError(f"grad_output: expected shape {shape}, as the output, got {flow.shape}")
            flow = flow.astype(dtype, copy=False) if dtype.kind == "f" else flow
            grad_input = self.flow(kept, flow) if input_grad else None
            self.tell(kept, flow)
        except (TypeError, ValueError) as error:
            raise _named(self, error) from error
        return grad_input

    def tell(self, kept, grad_output):
        """Tell the layer's own parameters: most layers have none."""


class _Learns(_Remembers):
    """The part of a layer that has parameters, and perhaps other layers inside."""

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
        """Forget what the parameters have been told."""
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


def _checked_state(parameters, state):
    """The arrays of a state, if they are just those that the parameters need."""
    if not isinstance(state, Mapping):
        raise TypeError(f"state: expected names and arrays, got {type(state).__name__}")
    missing, more = ([repr(name) for name in one if name not in other]
                     for one, other in ((parameters, state), (state, parameters)))
    if missing or more:
        raise ValueError(f"state: expected the names of this model; missing: {', '.join(missing) or 'none'}, "
                         f"unexpected: {', '.join(more[:9]) or 'none'}")
    arrays = {}
    for name, parameter in parameters.items():
        (array,) = _together((name,), (np.asarray(state[name]),))
        if array.shape != parameter.shape:
            raise ValueError(f"{name}: expected shape {parameter.shape}, got {array.shape}")
        with np.errstate(over="ignore"):
            arrays[name] = array.astype(parameter.data.dtype)
        if (np.isfinite(array) != np.isfinite(arrays[name])).any():
            raise ValueError(f"{name}: has numbers that do not fit into {parameter.data.dtype}")
    return arrays


class Layer(_Learns):
    """What all layers have in common; a layer of your own needs `compute` and `flow`.

    `compute(input)` returns the output and what is to be remembered. `flow(kept,
    grad_output)` gets that back and returns the learning flow at the input; `tell(kept,
    grad_output)` tells the layer's own parameters. Notes: chapter "Layers and models".
    """

    def state_dict(self):
        """Return copies of all parameters' numbers, by name."""
        return {name: each.data.copy() for name, each in self.named_parameters()}

    def load_state_dict(self, state):
        """Replace the parameters' numbers by those of a state, if all of them fit.

        A ValueError or TypeError names the first that does not, and nothing is changed.
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


class ReLU(Layer):
    """Replace every negative number by 0.

    Called with an array of any shape; NaN stays NaN, and lets its flow through.

    Notes
    -----
    Source: chapter "Layers and models", formulas eq-relu and eq-relu-flow.
    """

    def compute(self, input):
        return np.maximum(input, 0), ~(input <= 0)

    def flow(self, kept, grad_output):
        return np.where(kept, grad_output, 0)


def _pair(name, value, least):
    """A number or two as two whole numbers."""
    return tuple(_whole(name, each, least, value) for each in _two(name, value))


class MaxPool2d(Layer):
    """Keep the largest number of each window.

    Parameters
    ----------
    kernel_size, stride, padding
        As in `convlib.shapes.max_pool2d_geometry`.

    Notes
    -----
    Called with (N, C, H, W) or (C, H, W). Source: chapter "Layers and models", formulas
    eq-max-pool and eq-max-pool-flow.
    """

    def __init__(self, kernel_size, stride=None, padding=0):
        self.settings = kernel_size, stride, padding
        max_pool2d_geometry((1, *_pair("kernel_size", kernel_size, 1)), *self.settings)

    def compute(self, input):
        output, indices = max_pool2d(input, *self.settings, return_indices=True)
        return output, (input.shape, indices)

    def flow(self, kept, grad_output):
        return max_pool2d_input_grad(*kept, grad_output)

    def output_shape(self, input_size):
        geometry = max_pool2d_geometry(input_size, *self.settings)
        return (*input_size[:-2], geometry.out_height, geometry.out_width)

    def __repr__(self):
        kernel_size, stride, padding = self.settings
        return f"MaxPool2d({kernel_size}, stride={stride or kernel_size}, padding={padding})"


class Flatten(Layer):
    """Put the numbers of each image into one row.

    Called with (N, C, H, W) it returns (N, C * H * W); one image, (C, H, W), becomes
    (C * H * W,). (PyTorch's layer takes (C, H, W) for C images.) Rows stay rows.

    Notes
    -----
    Source: chapter "Layers and models".
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


def _generator(rng):
    """The generator of random numbers that was given, or a new one."""
    if isinstance(rng, np.random.Generator):
        return rng
    return np.random.default_rng(None if rng is None else _whole("rng", rng, 0))


class _Weighted(Layer):
    """What `Linear` and `Conv2d` have in common: a weight, and perhaps a bias."""

    def _start(self, size, bias, dtype, rng):
        """Begin with uniform random numbers, in the bounds that PyTorch uses, too."""
        if np.dtype(dtype) not in (np.float32, np.float64):
            raise TypeError(f"dtype: expected float32 or float64, got {np.dtype(dtype)}")
        rng, bound = _generator(rng), 1 / math.sqrt(math.prod(size[1:]))
        self.weight = Parameter(rng.uniform(-bound, bound, size).astype(dtype))
        self.bias = Parameter(rng.uniform(-bound, bound, size[0]).astype(dtype)) if bias else None

    def _settings(self):
        """What the layer's name says besides the numbers of channels or features."""
        return {}

    def __repr__(self):
        out, sources = self.weight.shape[:2]
        settings = self._settings() | ({} if self.bias else {"bias": False})
        words = [sources * settings.get("groups", 1), out, *(f"{k}={v}" for k, v in settings.items())]
        return f"{type(self).__name__}({', '.join(map(str, words))})"


class Linear(_Weighted):
    """Let every output look at all inputs: weight times input, plus bias.

    Parameters
    ----------
    in_features, out_features : int
        The lengths of an input and of an output.
    bias : bool
        Whether there is one number more for each output.
    dtype : data type
        float32 or float64.
    rng : int or numpy.random.Generator, optional
        For the first numbers: uniform, up to 1 / sqrt(in_features), as in PyTorch.

    Notes
    -----
    Called with (N, in_features) or (in_features,). Source: chapter "Layers and models",
    formulas eq-linear, eq-linear-flow and eq-linear-grads.
    """

    def __init__(self, in_features, out_features, bias=True, *, dtype=np.float32, rng=None):
        sizes = _whole("out_features", out_features, 1), _whole("in_features", in_features, 1)
        self._start(sizes, bias, dtype, rng)

    def compute(self, input):
        self.output_shape(input.shape)
        output = np.matmul(input, self.weight.data.T)
        return (output if self.bias is None else output + self.bias.data), input

    def flow(self, kept, grad_output):
        return np.matmul(grad_output, self.weight.data)

    def tell(self, kept, grad_output):
        rows, flows = (each.reshape(-1, each.shape[-1]) for each in (kept, grad_output))
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


class _Convolution(_Weighted):
    """What a convolution layer does: the four functions that the chapters before derived."""

    def _check(self, input_size):
        """Refuse what is no image, or has other channels than the kernels."""
        sources = self.weight.shape[1] * self._spread["groups"]
        if len(input_size) not in (3, 4) or input_size[-3] != sources:
            raise ValueError(f"input: expected shape (N, {sources}, H, W) or ({sources}, H, W), "
                             f"got {tuple(input_size)}")

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

    def output_shape(self, input_size):
        self._check(input_size)
        geometry = conv2d_geometry(tuple(input_size), self.weight.shape, **self._spread)
        return output_shape(geometry, len(input_size) == 4)

    def multiplications(self, input_size):
        return math.prod(self.output_shape(input_size)) * math.prod(self.weight.shape[1:])

    def _settings(self):
        defaults = {"stride": 1, "padding": 0, "dilation": 1, "groups": 1}
        kernel = self.weight.shape[2:]
        size = {"kernel_size": kernel[0] if kernel[0] == kernel[1] else kernel}
        return size | {name: each for name, each in self._spread.items() if each != defaults[name]}


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
        If a setting is out of range, or is not made of whole numbers.

    Notes
    -----
    Called with (N, C, H, W) or (C, H, W). Source: chapter "Layers and models", with the
    formulas F04, F12, F18 and F20.
    """

    def __init__(self, in_channels, out_channels, kernel_size, stride=1, padding=0, dilation=1,
                 groups=1, bias=True, *, dtype=np.float32, rng=None):
        sources, groups = _whole("in_channels", in_channels, 1), _whole("groups", groups, 1)
        kernel = _pair("kernel_size", kernel_size, 1)
        size = _whole("out_channels", out_channels, 1), sources // groups or 1, *kernel
        self._spread = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
        covered = [d * k for d, k in zip(_pair("dilation", dilation, 1), kernel, strict=True)]
        conv2d_geometry((sources, *covered), size, **self._spread)  # refuses what cannot be
        self._start(size, bias, dtype, rng)


def _all_inside(layers):
    """All layers, and those inside them."""
    for layer in layers:
        yield layer
        yield from _all_inside(layer._children().values())


def _at(place, function, *arguments, **settings):
    """Call a layer of a model; an error names its place."""
    try:
        return function(*arguments, **settings)
    except (TypeError, ValueError, RuntimeError) as error:
        kind = next(each for each in (TypeError, ValueError, RuntimeError) if isinstance(error, each))
        raise kind(f"[{place}] {error}") from error


class _Row(Layer):
    """What a row of layers does: forward in order, backward in the order reversed."""

    def __call__(self, input):
        self._memory = None  # if a layer refuses, the model remembers nothing
        for place, layer in enumerate(self._layers):
            input = _at(place, layer, input)
        self._memory = [layer._memory for layer in self._layers]
        return input

    def backward(self, grad_output, *, input_grad=True):
        if self._memory is None:
            raise RuntimeError("Sequential: backward before forward: call the model first, it remembers")
        for place, layer in enumerate(self._layers):
            if layer._memory is not self._memory[place]:
                raise RuntimeError(f"[{place}] {layer}: was called by itself since the model was called")
        for place in reversed(range(len(self._layers))):
            back, wanted = self._layers[place].backward, input_grad or place > 0
            grad_output = _at(place, back, grad_output, input_grad=wanted)
        return grad_output

    def output_shape(self, input_size):
        for place, layer in enumerate(self._layers):
            input_size = _at(place, layer.output_shape, input_size)
        return tuple(input_size)

    def multiplications(self, input_size):
        sizes = [input_size]
        for place, layer in enumerate(self._layers):
            sizes.append(_at(place, layer.output_shape, sizes[-1]))
        return sum(layer.multiplications(size) for layer, size in zip(self._layers, sizes, strict=False))


class Sequential(_Row):
    """A model: layers in a row, each looks at the output of the one before.

    Parameters
    ----------
    *layers : Layer
        In this order. Each remembers one call, so none may stand in two places.

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
        self._layers, inside = layers, [id(each) for each in _all_inside(layers)]
        if len(set(inside)) < len(inside):
            raise ValueError("layers: expected each layer once: it remembers only one call")

    def __len__(self):
        return len(self._layers)

    def __getitem__(self, place):
        found = self._layers[place]
        return Sequential(*found) if isinstance(place, slice) else found

    def _children(self):
        return {str(place): layer for place, layer in enumerate(self._layers)}

    def __repr__(self):
        return f"Sequential({', '.join(map(repr, self._layers))})"


class SummaryRow(NamedTuple):
    """One layer in a summary (chapter "Layers and models")."""

    layer: str
    output_shape: tuple
    parameters: int
    multiplications: int


class Summary(NamedTuple):
    """The layers of a model, one a row; made by `summary` (chapter "Layers and models").

    `str` makes a table of it, and a notebook shows one.
    """

    rows: list

    @property
    def parameters(self):
        """All parameters of the model."""
        return sum(row.parameters for row in self.rows)

    @property
    def multiplications(self):
        """All multiplications of a forward pass."""
        return sum(row.multiplications for row in self.rows)

    def _cells(self):
        """The table, as texts."""
        head = "layer", "output shape", "parameters", "multiplications"
        sums = "all", "", f"{self.parameters:,}", f"{self.multiplications:,}"
        rows = [(row.layer, str(row.output_shape), f"{row.parameters:,}", f"{row.multiplications:,}")
                for row in self.rows]
        return [head, *rows, sums]

    def __str__(self):
        cells = self._cells()
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        return "\n".join("  ".join(
            cell.ljust(width) if column < 2 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))) for row in cells)


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
        Nothing is computed: the shapes tell all.

    Raises
    ------
    ValueError, TypeError
        If the input does not fit; the message names the layer.

    Notes
    -----
    Source: chapter "Layers and models".
    """
    rows, size = [], tuple(input_size)
    for place, layer in enumerate(model if isinstance(model, Sequential) else [model]):
        out = _at(place, layer.output_shape, size)
        parameters = sum(each.data.size for each in layer.parameters())
        rows.append(SummaryRow(repr(layer), out, parameters, layer.multiplications(size)))
        size = out
    return Summary(rows)


def _check_name(name):
    """Refuse a name that a file cannot keep as it is."""
    if not isinstance(name, str):
        raise TypeError(f"state: expected names, got {name!r:.80}")
    if not (name and name.isprintable() and not set(name) & set('/\\:') and len(name) <= 200):
        raise ValueError(f"state: expected short names without slashes, got {name!r:.80}")


def save(path, state):
    """Save a state as .npz: all of it, or the file stays what it was.

    Parameters
    ----------
    path : str or path-like
        The file, usually .npz. It is replaced in one step.
    state : dict of str to array
        Real numbers of any type, as `state_dict` returns them.

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
        arrays[name] = np.ascontiguousarray(value).reshape(np.shape(value))
        if arrays[name].dtype.kind not in "biuf":
            raise TypeError(f"{name}: expected real numbers, got data type {arrays[name].dtype}")
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        with open(temporary, "xb") as file:
            _write(file, arrays)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _write(file, arrays):
    """Write arrays as NumPy's `savez` does: stored one after the other, without dates."""
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name, array in arrays.items():
            with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as entry:
                np.lib.format.write_array(entry, array, allow_pickle=False)
    file.flush()
    os.fsync(file.fileno())


def _read_array(entry, size):
    """The array in an entry of so many bytes, if it is just that."""
    if np.lib.format.read_magic(entry) != (1, 0):
        raise ValueError("expected NumPy's format 1.0")
    shape, is_fortran, dtype = np.lib.format.read_array_header_1_0(entry)
    if dtype.kind not in "biuf":
        raise ValueError(f"expected real numbers, got data type {dtype}")
    content, expected = entry.read(), math.prod(shape) * dtype.itemsize
    if len(content) != expected or min(shape, default=1) < 0:
        raise ValueError(f"expected {expected} bytes for shape {shape}, got {len(content)}")
    array = np.frombuffer(content, dtype).reshape(shape, order="F" if is_fortran else "C")
    return np.array(array, dtype.newbyteorder("="), order="C")


def _read(file, size):
    """All arrays of a file, if they are stored as `save` stores them."""
    arrays, room = {}, size
    with zipfile.ZipFile(file) as archive:
        for entry in archive.infolist():
            name, room = entry.filename.removesuffix(".npy"), room - entry.file_size
            if entry.compress_type != zipfile.ZIP_STORED or room < 0:
                raise ValueError(f"{name!r:.80}: expected it uncompressed, and no more than the file holds")
            if name in arrays or name == entry.filename:
                raise ValueError(f"{name!r:.80}: expected names ending in .npy, each once")
            _check_name(name)
            with archive.open(entry) as content:
                arrays[name] = _read_array(content, entry.file_size)
    return arrays


def load(path):
    """Load a state that `save` or NumPy's `savez` has written.

    Parameters
    ----------
    path : str or path-like
        The file. It may come from a stranger: nothing in it is ever executed, and it is
        not given more memory than it has bytes.

    Returns
    -------
    dict of str to array

    Raises
    ------
    ValueError
        If the file is damaged, or holds anything but names and arrays of real numbers,
        uncompressed; the message names the file and what is wrong.
    OSError
        If there is no such file, or it cannot be read.

    Notes
    -----
    Source: chapter "Layers and models".
    """
    with open(path, "rb") as file:
        try:
            return _read(file, os.fstat(file.fileno()).st_size)
        except Exception as error:  # of many kinds, as a damaged file can lead anywhere
            raise ValueError(f"{path}: is no file of parameters: {error}") from error
