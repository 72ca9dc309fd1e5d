# Exported from chapters/ by tools/export.py: edit the chapter, not this file.
"""Sizes and settings of the convolution layer, in every spelling, checked in one place.

A function that computes a layer first calls `conv2d_geometry`; what comes back has been checked.
"""

import operator
from typing import NamedTuple

import numpy as np

__all__ = ["Geometry", "output_size", "conv2d_geometry", "output_shape", "check_grad_output", "check_bias",
    "PoolGeometry", "max_pool2d_geometry"]


# Chapter "Stride, padding, dilation, groups" (chapters/general.ipynb)

def _places(name, size, kernel_size, stride, padding, dilation):
    """The size of the output along one axis; `name` is the argument to blame if it has none."""
    room, covered = size + sum(padding), dilation * (kernel_size - 1) + 1
    if covered > room:
        raise ValueError(
            f"{name}: expected to cover at most {room} cells ({size} and padding "
            f"{tuple(padding)}), got {kernel_size} with dilation {dilation}, which "
            f"cover {covered}"
        )
    return (room - covered) // stride + 1


class Geometry(NamedTuple):
    """The sizes and settings of a convolution layer, all plain ints.

    Made by `conv2d_geometry`, which checks them. `stride` and `dilation` are (rows,
    columns), `padding` is ((top, bottom), (left, right)); one image is a batch of 1.

    Notes
    -----
    Source: chapter "Stride, padding, dilation, groups".
    """

    batch: int
    in_channels: int
    height: int
    width: int
    out_channels: int
    kernel_height: int
    kernel_width: int
    stride: tuple[int, int]
    padding: tuple[tuple[int, int], tuple[int, int]]
    dilation: tuple[int, int]
    groups: int
    out_height: int
    out_width: int


def output_size(size, kernel_size, stride=1, padding=(0, 0), dilation=1):
    """Count the places where a kernel fits into one line of cells.

    Parameters
    ----------
    size : int
        The number of cells.
    kernel_size : int
        The number of weights.
    stride : int
        The step from place to place.
    padding : int or (int, int)
        Zeros at each end, or before and after the line.
    dilation : int
        The step from weight to weight.

    Returns
    -------
    int

    Raises
    ------
    ValueError
        If a number is out of range, or the kernel does not fit.
    TypeError
        If something is not a whole number.

    Notes
    -----
    Source: chapter "Stride, padding, dilation, groups", the size of the output.
    """
    size = _whole("size", size, 0)
    kernel_size = _whole("kernel_size", kernel_size, 1)
    stride, dilation = _whole("stride", stride, 1), _whole("dilation", dilation, 1)
    padding = [_whole("padding", each, 0, padding) for each in _two("padding", padding)]
    return _places("kernel_size", size, kernel_size, stride, padding, dilation)


def _whole(name, value, least, given=None):
    """The value as a plain int, if it is a whole number and not below `least`."""
    given = value if given is None else given
    expected = f"{name}: expected a whole number, {least} or more"
    try:
        number = None if isinstance(value, (bool, np.bool_)) else operator.index(value)
    except TypeError:
        number = None
    if number is None:
        raise TypeError(f"{expected}, got {given!r}")
    if number.bit_length() > 1000:  # Python itself refuses to print much longer ones
        raise ValueError(f"{expected} and below 2**1000, got one of {number.bit_length()} bits")
    if number < least:
        raise ValueError(f"{expected}, got {given!r}")
    return number


def _two(name, value):
    """A pair as it is; anything else counts for both."""
    value = value.tolist() if isinstance(value, np.ndarray) else value
    if not isinstance(value, (tuple, list)):
        return value, value
    if len(value) != 2:
        raise ValueError(f"{name}: expected one number or a pair, got {value!r}")
    return tuple(value)


def _shape(name, value, *layouts):
    """A shape as plain ints, if it has as many axes as one of the `layouts`."""
    value = value.tolist() if isinstance(value, np.ndarray) else value
    expected = f"{name}: expected shape {' or '.join(layouts)}"
    if not isinstance(value, (tuple, list)):
        raise TypeError(f"{expected}, got {value!r}")
    if len(value) not in [layout.count(",") + 1 for layout in layouts]:
        raise ValueError(f"{expected}, got {value!r}")
    return [_whole(f"{name} shape", each, 0, value) for each in value]


def _padding(padding, kernel_size, stride, dilation):
    """Every spelling of padding as ((top, bottom), (left, right))."""
    if not isinstance(padding, str):
        return tuple(
            tuple(_whole("padding", each, 0, padding) for each in _two("padding", side))
            for side in _two("padding", padding)
        )
    if padding == "valid":
        return (0, 0), (0, 0)
    if padding != "same":
        expected = 'padding: expected numbers, "valid" or "same"'
        raise ValueError(f"{expected}, got {padding!r}")
    if stride != (1, 1):
        raise ValueError(f'padding: "same" expects stride 1, got stride {stride}')
    totals = [d * (m - 1) for d, m in zip(dilation, kernel_size, strict=True)]
    return tuple((total // 2, total - total // 2) for total in totals)


def _check_groups(in_channels, weight_size, groups):
    """Refuse channels that the groups cannot share out, and kernels for others."""
    for count, kind in ((in_channels, "input"), (weight_size[0], "output")):
        if count % groups:
            raise ValueError(
                f"groups: expected a number that divides the {count} {kind} channels, "
                f"got {groups}"
            )
    if weight_size[1] != in_channels // groups:
        raise ValueError(
            f"weight: expected {in_channels // groups} input channels on axis 1 "
            f"(input has {in_channels}, groups is {groups}), "
            f"got shape {tuple(weight_size)}"
        )


def conv2d_geometry(input_size, weight_size, stride=1, padding=0, dilation=1, groups=1):
    """Check the settings of a convolution layer and work out its sizes.

    Parameters
    ----------
    input_size : tuple of int
        (N, C, H, W), or (C, H, W) for one image. N may be 0; H and W may be 0 if the
        padding makes room for the kernel (PyTorch refuses that).
    weight_size : tuple of int
        (K, C / groups, kh, kw).
    stride, dilation : int or (int, int)
        Steps from place to place, and from weight to weight: (rows, columns).
    padding : int, (int, int), ((top, bottom), (left, right)), "valid" or "same"
        Zeros around the image. "same" keeps its size and needs stride 1; an odd zero
        goes to the bottom and to the right.
    groups : int
        Parts of the channels that share nothing.

    Returns
    -------
    Geometry

    Raises
    ------
    ValueError
        If a number is out of range or the sizes do not belong together.
    TypeError
        If something is not a whole number.

    Notes
    -----
    Source: chapter "Stride, padding, dilation, groups".
    """
    sizes = _shape("input", input_size, "(N, C, H, W)", "(C, H, W)")
    weight = _shape("weight", weight_size, "(K, C / groups, kh, kw)")
    return _geometry(sizes, weight, stride, padding, dilation, groups)


def _geometry(sizes, weight, stride, padding, dilation, groups):
    """The second half of `conv2d_geometry`: the numbers are whole, do they fit?"""
    if sizes[-3] == 0:
        raise ValueError(f"input: expected at least 1 channel, got {tuple(sizes)}")
    if 0 in weight:
        raise ValueError(f"weight: expected at least 1 of each, got {tuple(weight)}")
    stride = tuple(_whole("stride", each, 1, stride) for each in _two("stride", stride))
    dilation = tuple(
        _whole("dilation", each, 1, dilation) for each in _two("dilation", dilation)
    )
    padding = _padding(padding, weight[2:], stride, dilation)
    groups = _whole("groups", groups, 1)
    _check_groups(sizes[-3], weight, groups)
    out = [
        _places(f"weight {('rows', 'columns')[axis]}", sizes[axis - 2], weight[axis + 2],
                stride[axis], padding[axis], dilation[axis])
        for axis in (0, 1)
    ]
    batch = sizes[0] if len(sizes) == 4 else 1
    settings = stride, padding, dilation, groups
    return Geometry(batch, *sizes[-3:], weight[0], *weight[2:], *settings, *out)


def output_shape(geometry, batched=True):
    """Return the shape of a layer's output.

    Parameters
    ----------
    geometry : Geometry
        The layer.
    batched : bool
        Whether the input has an axis for the images of a batch.

    Returns
    -------
    (N, K, H', W') or (K, H', W')

    Notes
    -----
    Source: chapter "Stride, padding, dilation, groups".
    """
    shape = (geometry.out_channels, geometry.out_height, geometry.out_width)
    return (geometry.batch, *shape) if batched else shape


def check_grad_output(geometry, shape, batched=True):
    """Refuse a learning flow that does not have the shape of the layer's output.

    Parameters
    ----------
    geometry : Geometry
        The layer.
    shape : tuple of int
        The shape of the learning flow.
    batched : bool
        Whether the input has an axis for the images of a batch.

    Raises
    ------
    ValueError
        If the shapes differ.

    Notes
    -----
    Source: chapter "Stride, padding, dilation, groups".
    """
    expected = output_shape(geometry, batched)
    if tuple(shape) != expected:
        raise ValueError(
            f"grad_output: expected shape {expected}, as the layer's output, "
            f"got {tuple(shape)}"
        )


def check_bias(geometry, shape):
    """Refuse biases that are not one number for each output channel.

    Parameters
    ----------
    geometry : Geometry
        The layer.
    shape : tuple of int
        The shape of the biases.

    Raises
    ------
    ValueError
        If the shape is another.

    Notes
    -----
    Source: chapter "Stride, padding, dilation, groups".
    """
    expected = (geometry.out_channels,)
    if tuple(shape) != expected:
        raise ValueError(f"bias: expected shape {expected}, got {tuple(shape)}")


# Chapter "Layers and models" (chapters/layers.ipynb)

class PoolGeometry(NamedTuple):
    """The sizes and settings of a pooling layer, all plain ints.

    Made by `max_pool2d_geometry`, which checks them. `kernel_size`, `stride` and
    `padding` are (rows, columns); one image is a batch of 1.

    Notes
    -----
    Source: chapter "Layers and models".
    """

    batch: int
    channels: int
    height: int
    width: int
    kernel_size: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]
    out_height: int
    out_width: int


def max_pool2d_geometry(input_size, kernel_size, stride=None, padding=0):
    """Check the settings of a pooling layer and work out its sizes.

    Parameters
    ----------
    input_size : tuple of int
        (N, C, H, W), or (C, H, W) for one image. N may be 0.
    kernel_size : int or (int, int)
        Rows and columns of the window.
    stride : int or (int, int), optional
        The step from window to window; by default `kernel_size`.
    padding : int or (int, int)
        How far a window may stick out: at most half of it.

    Returns
    -------
    PoolGeometry

    Raises
    ------
    ValueError
        If a number is out of range or the sizes do not belong together.
    TypeError
        If something is not a whole number.

    Notes
    -----
    Source: chapter "Layers and models", formula eq-max-pool.
    """
    sizes = _shape("input", input_size, "(N, C, H, W)", "(C, H, W)")
    if 0 in sizes[-3:]:
        raise ValueError(f"input: expected numbers in the image, got shape {tuple(sizes)}")
    step = kernel_size if stride is None else stride
    kernel = tuple(_whole("kernel_size", each, 1) for each in _two("kernel_size", kernel_size))
    step = tuple(_whole("stride", each, 1) for each in _two("stride", step))
    around = tuple(_whole("padding", each, 0) for each in _two("padding", padding))
    if any(2 * p > k for p, k in zip(around, kernel, strict=True)):
        raise ValueError(f"padding: expected at most half of kernel_size {kernel}, got {around}")
    out = [_places("kernel_size", sizes[axis - 2], kernel[axis], step[axis], (around[axis],) * 2, 1)
           for axis in (0, 1)]
    batch = sizes[0] if len(sizes) == 4 else 1
    return PoolGeometry(batch, *sizes[-3:], kernel, step, around, *out)
