# Exported from chapters/ by tools/export.py: edit the chapter, not this file.
"""The convolution layer for any shape: checked, then computed by the algorithm that pays.

Chapter 15 builds this module.
"""

from functools import lru_cache

import numpy as np

from convlib import algorithms, parallel
from convlib.shapes import check_bias, check_grad_output, conv2d_geometry

__all__ = ["ENOUGH", "MOVED", "conv2d", "conv2d_input_grad", "conv2d_weight_grad", "conv2d_bias_grad"]


# Chapter "Choosing" (chapters/15_choosing.ipynb)

ENOUGH = 4_000_000  # so many multiplications are worth a second thread
MOVED = 16  # moving a number takes as long as so many multiplications


def _as_numbers(name, value):
    """The argument as an array that can be computed with."""
    try:
        array = np.asarray(value)
    except ValueError as error:  # a list whose rows differ in length
        message = f"{name}: expected an array of numbers, got rows of different lengths"
        raise ValueError(message) from error
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
def _effort(geometry):
    """How long a layer takes, counted in multiplications."""
    g = geometry
    inputs = g.in_channels * g.height * g.width
    outputs = g.out_channels * g.out_height * g.out_width
    return algorithms.work(g) + MOVED * g.batch * (inputs + outputs)


def _jobs(geometry):
    """How many threads pay."""
    return max(1, min(parallel.get_num_threads(), _effort(geometry) // ENOUGH))


def _compute(direction, algorithm, arrays, geometry):
    """The result by the algorithm that is named, or else by the one that pays."""
    name, dtype, known = algorithm, arrays[0].dtype, algorithms.ALGORITHMS
    if algorithm is None:
        name = algorithms.choose(direction, geometry, dtype)
    else:
        algorithms.check_algorithm(algorithm, geometry, dtype)
        if 0 in geometry[:4]:  # nothing to compute
            name = "numpy"
    jobs = 1 if name == "tiny" else _jobs(geometry)
    for each in (name, "direct", "loops", "numpy"):
        if each in known:
            result = getattr(known[each], direction)(*arrays, geometry, jobs)
            if result is not None:
                return result


def conv2d(
    input, weight, bias=None, stride=1, padding=0, dilation=1, groups=1, *, algorithm=None
):
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
    algorithm : str, optional
        A name of `convlib.algorithms.ALGORITHMS`; None chooses the one that pays.

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
    Source: Chapter 15; the formulas F03 and F04 of Chapter 2, generalised in Chapter 8.
    """
    input, weight = _as_numbers("input", input), _as_numbers("weight", weight)
    geometry = _geometry(input.shape, weight.shape, stride, padding, dilation, groups)
    bias = np.zeros(len(weight), weight.dtype) if bias is None else _as_numbers("bias", bias)
    check_bias(geometry, bias.shape)
    batched = input.ndim == 4
    arrays = _together(input if batched else input[np.newaxis], weight, bias)
    output = _compute("forward", algorithm, arrays, geometry)
    return output if batched else output[0]


def conv2d_input_grad(
    input_size, weight, grad_output, stride=1, padding=0, dilation=1, groups=1, *,
    algorithm=None,
):  # fmt: skip
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
    algorithm : str, optional
        A name of `convlib.algorithms.ALGORITHMS`; None chooses the one that pays.

    Returns
    -------
    array of shape `input_size`

    Raises
    ------
    ValueError, TypeError
        If an argument cannot be used; the message names it, and what was expected.

    Notes
    -----
    Source: Chapter 15; formula F12 of Chapter 3, generalised in Chapter 8.
    """
    weight = _as_numbers("weight", weight)
    grad_output = _as_numbers("grad_output", grad_output)
    geometry = _geometry(_as_key(input_size), weight.shape, stride, padding, dilation, groups)
    batched = len(input_size) == 4
    check_grad_output(geometry, grad_output.shape, batched)
    flow = grad_output if batched else grad_output[np.newaxis]
    grad_input = _compute("input_grad", algorithm, _together(weight, flow), geometry)
    return grad_input if batched else grad_input[0]


def conv2d_weight_grad(
    input, weight_size, grad_output, stride=1, padding=0, dilation=1, groups=1, *,
    algorithm=None,
):  # fmt: skip
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
    algorithm : str, optional
        A name of `convlib.algorithms.ALGORITHMS`; None chooses the one that pays.

    Returns
    -------
    array of shape `weight_size`

    Raises
    ------
    ValueError, TypeError
        If an argument cannot be used; the message names it, and what was expected.

    Notes
    -----
    Source: Chapter 15; formula F18 of Chapter 4, generalised in Chapter 8.
    """
    input, grad_output = _as_numbers("input", input), _as_numbers("grad_output", grad_output)
    geometry = _geometry(input.shape, _as_key(weight_size), stride, padding, dilation, groups)
    batched = input.ndim == 4
    check_grad_output(geometry, grad_output.shape, batched)
    if not batched:
        input, grad_output = input[np.newaxis], grad_output[np.newaxis]
    return _compute("weight_grad", algorithm, _together(input, grad_output), geometry)


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
    Source: Chapter 15; formula F20 of Chapter 5.
    """
    grad_output = _as_numbers("grad_output", grad_output)
    if grad_output.ndim not in (3, 4):
        expected = "(N, K, H, W) or (K, H, W)"
        raise ValueError(f"grad_output: expected shape {expected}, got {grad_output.shape}")
    known, size = algorithms.ALGORITHMS, grad_output.size
    name = "tiny" if size <= algorithms.FEW else "thin"
    if name in known and grad_output.dtype.char in "fd":
        (flow,) = _together(grad_output if grad_output.ndim == 4 else grad_output[np.newaxis])
        jobs = max(1, min(parallel.get_num_threads(), MOVED * size // ENOUGH))
        return known[name].bias_grad(flow, jobs)
    axes = (0, 2, 3) if grad_output.ndim == 4 else (1, 2)
    dtype = grad_output.dtype.char if grad_output.dtype.kind == "f" else np.int64
    with np.errstate(invalid="ignore"):  # infinity minus infinity is no reason to warn
        return grad_output.sum(axes, dtype=dtype)
