# Exported from chapters/ by tools/export.py: edit the chapter, not this file.
"""The convolution layer for any shape: checked, then computed by the means that pays.

Chapter 10 builds this module.
"""

import warnings
from functools import lru_cache

import numpy as np

from convlib import numpy_kernels, parallel
from convlib.shapes import check_bias, check_grad_output, conv2d_geometry

__all__ = ["FEW", "ENOUGH", "MOVED", "conv2d", "conv2d_input_grad", "conv2d_weight_grad", "conv2d_bias_grad"]


# Chapter "Planes and vectors" (chapters/10_planes.ipynb)

try:
    from convlib.kernels import direct, loops, plans, small
except ImportError:
    direct = None
    warnings.warn("Numba is missing: convlib computes with NumPy alone", stacklevel=2)

FEW = 20_000  # up to so many multiplications, planes alone pay
ENOUGH = 4_000_000  # so many multiplications are worth the start of a thread
MOVED = 16  # moving a number takes as long as so many multiplications


def _as_numbers(name, value):
    """The argument as an array that can be computed with."""
    array = np.asarray(value)
    if array.dtype.char not in "fd" and array.dtype.kind not in "iub":
        raise TypeError(f"{name}: expected float32, float64 or integers, got {array.dtype}")
    return array


def _together(*arrays):
    """The arrays in their common data type, each in one piece; integers as int64.

    What is read-only or oddly aligned is copied: to Numba it would be another type.
    """
    dtype = arrays[0].dtype
    for array in arrays:
        if array.dtype is not dtype or not array.flags.carray:
            break
    else:
        if dtype.char in "fd" and dtype.isnative:
            return arrays
    dtype = np.result_type(*arrays)
    dtype = np.dtype(dtype.char if dtype.kind == "f" else np.int64)
    return [np.array(array, dtype, order="C") for array in arrays]


_remembered = lru_cache(maxsize=1024)(conv2d_geometry)


def _geometry(input_size, weight_size, stride, padding, dilation, groups):
    """The geometry; the plainest spelling of the settings is remembered."""
    plain = type(stride) is type(padding) is type(dilation) is type(groups) is int
    if plain and type(input_size) is type(weight_size) is tuple:
        return _remembered(input_size, weight_size, stride, padding, dilation, groups)
    return conv2d_geometry(input_size, weight_size, stride, padding, dilation, groups)


def _as_key(size):
    """A size that may be remembered: a tuple of plain ints. Others become lists."""
    if type(size) is tuple and {*map(type, size)} != {int}:
        return list(size)
    return size


@lru_cache(maxsize=1024)
def _work(geometry):
    """How many multiplications a layer takes."""
    g = geometry
    places = g.batch * g.out_height * g.out_width
    taps = g.in_channels // g.groups * g.kernel_height * g.kernel_width
    return places * g.out_channels * taps


def _jobs(geometry):
    """How many threads are worth their start."""
    g = geometry
    inputs = g.in_channels * g.height * g.width
    outputs = g.out_channels * g.out_height * g.out_width
    work = _work(g) + MOVED * g.batch * (inputs + outputs)
    return max(1, min(parallel.get_num_threads(), work // ENOUGH))


def _is_compiled(dtype, geometry):
    """Whether there is compiled code for these numbers, and anything to compute."""
    return direct is not None and dtype.char in "fd" and 0 not in geometry[:4]


def _one_row(geometry):
    """A 1 x 1 kernel does not care for rows: take the whole image as one."""
    g = geometry
    if (g.kernel_height, g.kernel_width, g.stride) == (1, 1, (1, 1)) and not any(
        sum(g.padding, ())
    ):
        numbers = g.height * g.width
        return g._replace(height=1, width=numbers, out_height=1, out_width=numbers)
    return g


def _correlate(images, weight, bias, shape, make_plan, geometry):
    """Pack the weights and let the jobs correlate."""
    jobs = _jobs(geometry)
    plan, taps, size, space = make_plan(geometry, images.dtype, jobs)
    packed = np.empty(size, images.dtype)
    direct.pack_weights(weight, taps, plan.phases, plan.group_weights, packed)
    output = np.empty(shape, images.dtype)
    parallel.run(
        direct.correlate_images, jobs, space, images.dtype,
        images, packed, bias, output, geometry.groups, plan,
    )  # fmt: skip
    return output


def conv2d(input, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
    """Compute the output of a convolution layer.

    Parameters
    ----------
    input : array of shape (N, C, H, W) or (C, H, W)
        float32, float64 or integers, in any memory layout.
    weight : array of shape (K, C / groups, kh, kw)
        The kernels.
    bias : array of shape (K,), optional
        One number for each output channel.
    stride, padding, dilation, groups
        As in `convlib.shapes.conv2d_geometry`.

    Returns
    -------
    array of shape (N, K, H', W') or (K, H', W')
        In NumPy's common data type of the arguments; integers alone give int64.

    Raises
    ------
    ValueError, TypeError
        If an argument cannot be used; the message names it, and what was expected.

    Notes
    -----
    Source: Chapter 10; the formulas F03 and F04 of Chapter 2, generalised in Chapter 8.
    """
    input, weight = _as_numbers("input", input), _as_numbers("weight", weight)
    geometry = _geometry(input.shape, weight.shape, stride, padding, dilation, groups)
    bias = np.zeros(len(weight), weight.dtype) if bias is None else _as_numbers("bias", bias)
    check_bias(geometry, bias.shape)
    batched = input.ndim == 4
    input, weight, bias = _together(input if batched else input[np.newaxis], weight, bias)
    output = _forward(input, weight, bias, geometry)
    return output if batched else output[0]


def _forward(input, weight, bias, geometry):
    """The output of a batch, by the means that pays."""
    g = geometry
    if not _is_compiled(input.dtype, g):
        return numpy_kernels.conv2d(input, weight, bias, g)
    shape = (g.batch, g.out_channels, g.out_height, g.out_width)
    large = _work(g) > FEW
    if large:
        row = _one_row(g)
        images = input.reshape(g.batch, g.in_channels, row.height, row.width)
        flat = (g.batch, g.out_channels, row.out_height, row.out_width)
        output = _correlate(images, _by_group(weight, g), bias, flat, plans.forward_plan, row)
        if _is_sound(output[0, :, :1, :1], weight):
            return output.reshape(shape)
    output = np.empty(shape, input.dtype)
    settings = g.stride, _corner(g), g.dilation, g.groups
    if large or not small.conv2d(input, weight, bias, *settings, output):
        loops.conv2d(input, weight, bias, *settings, output)
    return output


def _is_sound(results, weight):
    """Whether all weights are finite; if not, `results`, one of each phase, tell."""
    return bool(np.isfinite(results).all() or np.isfinite(weight).all())


def _corner(geometry):
    """Zeros above and to the left of the image."""
    return geometry.padding[0][0], geometry.padding[1][0]


def _by_group(weight, geometry):
    """The weights by group, output channel, input channel and tap."""
    g = geometry
    shape = (g.groups, g.out_channels // g.groups, g.in_channels // g.groups, -1)
    return weight.reshape(shape)


def conv2d_input_grad(
    input_size, weight, grad_output, stride=1, padding=0, dilation=1, groups=1
):
    """Compute the learning flow at the input of a convolution layer.

    Parameters
    ----------
    input_size : tuple of int
        Shape of the input, (N, C, H, W) or (C, H, W).
    weight : array of shape (K, C / groups, kh, kw)
        The kernels.
    grad_output : array of shape (N, K, H', W') or (K, H', W')
        The learning flow at the output.
    stride, padding, dilation, groups
        As in `convlib.shapes.conv2d_geometry`.

    Returns
    -------
    array of shape `input_size`

    Raises
    ------
    ValueError, TypeError
        If an argument cannot be used; the message names it, and what was expected.

    Notes
    -----
    Source: Chapter 10; formula F12 of Chapter 3, generalised in Chapter 8.
    """
    weight = _as_numbers("weight", weight)
    grad_output = _as_numbers("grad_output", grad_output)
    geometry = _geometry(_as_key(input_size), weight.shape, stride, padding, dilation, groups)
    batched = len(input_size) == 4
    check_grad_output(geometry, grad_output.shape, batched)
    flow = grad_output if batched else grad_output[np.newaxis]
    grad_input = _backward_input(*_together(weight, flow), geometry)
    return grad_input if batched else grad_input[0]


def _backward_input(weight, grad_output, geometry):
    """The learning flow of a batch, by the means that pays."""
    g = geometry
    if not _is_compiled(weight.dtype, g):
        return numpy_kernels.conv2d_input_grad(weight, grad_output, g)
    shape = (g.batch, g.in_channels, g.height, g.width)
    large = _work(g) > FEW
    if large:
        row = _one_row(g)
        flows = grad_output.reshape(g.batch, g.out_channels, row.out_height, row.out_width)
        kernels = _by_group(weight, g).swapaxes(1, 2)  # sources and targets change places
        no_bias = np.zeros(g.in_channels, weight.dtype)
        flat = (g.batch, g.in_channels, row.height, row.width)
        grad_input = _correlate(flows, kernels, no_bias, flat, plans.input_grad_plan, row)
        if _is_sound(grad_input[0, :, : g.stride[0], : g.stride[1]], weight):
            return grad_input.reshape(shape)
    grad_input = np.empty(shape, weight.dtype)
    settings = g.stride, _corner(g), g.dilation, g.groups
    if large or not small.conv2d_input_grad(
        weight, grad_output, *settings, grad_input
    ):
        loops.conv2d_backward(
            grad_input, weight, grad_output, *settings, True, grad_input
        )
    return grad_input


def conv2d_weight_grad(
    input, weight_size, grad_output, stride=1, padding=0, dilation=1, groups=1
):
    """Compute how the loss changes with each weight of a convolution layer.

    Parameters
    ----------
    input : array of shape (N, C, H, W) or (C, H, W)
        The layer's input.
    weight_size : tuple of int
        Shape of the kernels, (K, C / groups, kh, kw).
    grad_output : array of shape (N, K, H', W') or (K, H', W')
        The learning flow at the output.
    stride, padding, dilation, groups
        As in `convlib.shapes.conv2d_geometry`.

    Returns
    -------
    array of shape `weight_size`

    Raises
    ------
    ValueError, TypeError
        If an argument cannot be used; the message names it, and what was expected.

    Notes
    -----
    Source: Chapter 10; formula F18 of Chapter 4, generalised in Chapter 8.
    """
    input, grad_output = _as_numbers("input", input), _as_numbers("grad_output", grad_output)
    geometry = _geometry(input.shape, _as_key(weight_size), stride, padding, dilation, groups)
    batched = input.ndim == 4
    check_grad_output(geometry, grad_output.shape, batched)
    if not batched:
        input, grad_output = input[np.newaxis], grad_output[np.newaxis]
    return _backward_weight(*_together(input, grad_output), tuple(weight_size), geometry)


def _backward_weight(input, grad_output, shape, geometry):
    """The gradient of the weights, by the means that pays."""
    g = geometry
    if not _is_compiled(input.dtype, g):
        return numpy_kernels.conv2d_weight_grad(input, grad_output, g)
    grad_weight = np.empty(shape, input.dtype)
    large = _work(g) > FEW
    if large:
        row = _one_row(g)
        plan, sections, space = plans.weight_grad_plan(row, input.dtype)
        sums = np.empty((sections, g.out_channels, grad_weight[0].size), input.dtype)
        parallel.run(
            direct.weight_grad_images, _jobs(g), space, input.dtype,
            input.reshape(g.batch, g.in_channels, row.height, row.width),
            grad_output.reshape(g.batch, g.out_channels, row.out_height, row.out_width),
            sums, g.groups, plan,
        )  # fmt: skip
        grad_weight[:] = sums.sum(axis=0).reshape(shape)
        if np.isfinite(grad_weight).all():  # no zero of the planes has met infinity
            return grad_weight
    settings = g.stride, _corner(g), g.dilation, g.groups
    if large or not small.conv2d_weight_grad(
        input, grad_output, *settings, grad_weight
    ):
        loops.conv2d_backward(input, grad_weight, grad_output, *settings, False, grad_weight)
    return grad_weight


def conv2d_bias_grad(grad_output):
    """Compute how the loss changes with each bias of a convolution layer.

    Parameters
    ----------
    grad_output : array of shape (N, K, H', W') or (K, H', W')
        The learning flow at the output.

    Returns
    -------
    array of shape (K,)

    Raises
    ------
    ValueError, TypeError
        If `grad_output` has neither three nor four axes, or is not made of numbers.

    Notes
    -----
    Source: Chapter 10; formula F20 of Chapter 5.
    """
    grad_output = _as_numbers("grad_output", grad_output)
    if grad_output.ndim not in (3, 4):
        expected = "(N, K, H, W) or (K, H, W)"
        raise ValueError(f"grad_output: expected shape {expected}, got {grad_output.shape}")
    axes = (0, 2, 3) if grad_output.ndim == 4 else (1, 2)
    dtype = grad_output.dtype.char if grad_output.dtype.kind == "f" else np.int64
    with np.errstate(invalid="ignore"):  # infinity minus infinity is no reason to warn
        return grad_output.sum(axes, dtype=dtype)
