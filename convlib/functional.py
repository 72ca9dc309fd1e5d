# Exported from chapters/ by tools/export.py: edit the chapter, not this file.
"""The convolution layer for any shape: checked, then computed by the algorithm that pays.

Chapter 15 builds this module.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from convlib import algorithms, parallel
from convlib.shapes import Geometry, check_bias, check_grad_output, conv2d_geometry

__all__ = ["ENOUGH", "MOVED", "Plan", "conv2d", "conv2d_input_grad", "conv2d_weight_grad", "conv2d_bias_grad"]


# Chapter "Choosing" (chapters/15_choosing.ipynb)

ENOUGH = 2_500_000  # so many multiplications are worth a second thread
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


def _is_ready(arrays):
    """Whether the arrays can be computed with as they are: one data type, each in one piece.

    What is read-only or oddly aligned cannot: to Numba it would be another type.
    """
    dtype = arrays[0].dtype if type(arrays[0]) is np.ndarray else None
    for array in arrays:
        if type(array) is not np.ndarray or array.dtype is not dtype or not array.flags.carray:
            return False
    return dtype.char in "fd" and dtype.isnative


def _together(names, arrays):
    """The arrays in their common data type, each in one piece; integers as int64."""
    if _is_ready(arrays):
        return arrays
    arrays = [_as_numbers(name, array) for name, array in zip(names, arrays, strict=True)]
    dtype = np.result_type(*arrays)
    dtype = np.dtype(dtype.char if dtype.kind == "f" else np.int64)
    return [np.array(array, dtype, order="C") for array in arrays]


class Plan(NamedTuple):
    """What a call does, as far as sizes and settings decide it (Chapter 15)."""

    geometry: Geometry
    batched: bool
    names: tuple  # of algorithms, to be tried one after the other
    jobs: int


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


def _make_plan(direction, algorithm, dtype, sizes, settings):
    """Check sizes and settings; take the algorithm that is named, or else the one that pays."""
    input_size, weight_size, other_size = sizes
    geometry = conv2d_geometry(input_size, weight_size, *settings)
    batched, name = len(input_size) == 4, algorithm
    if direction == "forward":
        check_bias(geometry, other_size)
    else:
        check_grad_output(geometry, other_size, batched)
    if algorithm is None:
        name = algorithms.choose(direction, geometry, dtype)
    else:
        algorithms.check_algorithm(algorithm, geometry, dtype)
        if 0 in geometry[:4]:  # nothing to compute
            name = "numpy"
    names = [name, "direct", "loops", "numpy"]
    if not algorithms.LOCAL_ERROR[name]:  # where it gives up, the next best
        names.insert(1, algorithms.choose(direction, geometry, dtype, local=True))
    names = tuple(each for each in dict.fromkeys(names) if each in algorithms.ALGORITHMS)
    return Plan(geometry, batched, names, 1 if name == "tiny" else _jobs(geometry))


@lru_cache(maxsize=1024)
def _remembered(state, *arguments):
    """The plan, for as long as the switch and the number of threads are what they were."""
    return _make_plan(*arguments)


def _plan(direction, algorithm, dtype, sizes, stride, padding, dilation, groups):
    """The plan; that of the plainest spelling of the settings is remembered."""
    settings = stride, padding, dilation, groups
    plain = type(stride) is type(padding) is type(dilation) is type(groups) is int
    plain = plain and type(sizes[0]) is type(sizes[1]) is tuple
    if plain and (algorithm is None or type(algorithm) is str):
        state = algorithms.get_winograd(), parallel.get_num_threads()
        return _remembered(state, direction, algorithm, dtype, sizes, settings)
    return _make_plan(direction, algorithm, dtype, sizes, settings)


def _as_key(size):
    """A size that may be remembered: a tuple of plain ints. Others become lists."""
    if type(size) is tuple:
        for number in size:
            if type(number) is not int:
                return list(size)
    return size


def _compute(direction, plan, arrays):
    """The result by the first algorithm of the plan that can answer for it."""
    if not plan.batched:
        arrays = [array[np.newaxis] if array.ndim == 3 else array for array in arrays]
    for name in plan.names:
        algorithm = algorithms.ALGORITHMS[name]
        result = getattr(algorithm, direction)(*arrays, plan.geometry, plan.jobs)
        if result is not None:
            return result if plan.batched or direction == "weight_grad" else result[0]


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
    if bias is None:
        weight = _as_numbers("weight", weight)
        bias = np.zeros(weight.shape[:1], weight.dtype)
    arrays = input, weight, bias = _together(("input", "weight", "bias"), (input, weight, bias))
    sizes = input.shape, weight.shape, bias.shape
    plan = _plan("forward", algorithm, input.dtype, sizes, stride, padding, dilation, groups)
    return _compute("forward", plan, arrays)


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
    arrays = weight, flow = _together(("weight", "grad_output"), (weight, grad_output))
    sizes = _as_key(input_size), weight.shape, flow.shape
    plan = _plan("input_grad", algorithm, flow.dtype, sizes, stride, padding, dilation, groups)
    return _compute("input_grad", plan, arrays)


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
    arrays = input, flow = _together(("input", "grad_output"), (input, grad_output))
    sizes = input.shape, _as_key(weight_size), flow.shape
    plan = _plan("weight_grad", algorithm, flow.dtype, sizes, stride, padding, dilation, groups)
    return _compute("weight_grad", plan, arrays)


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
    (flow,) = _together(("grad_output",), (grad_output,))
    if flow.ndim not in (3, 4):
        raise ValueError(f"grad_output: expected shape (N, K, H, W) or (K, H, W), got {flow.shape}")
    flow = flow if flow.ndim == 4 else flow[np.newaxis]
    name = "tiny" if flow.size <= algorithms.FEW else "thin"
    if name in algorithms.ALGORITHMS and flow.dtype.char in "fd":
        jobs = max(1, min(parallel.get_num_threads(), MOVED * flow.size // ENOUGH))
        return algorithms.ALGORITHMS[name].bias_grad(flow, jobs)
    with np.errstate(invalid="ignore"):  # infinity minus infinity is no reason to warn
        return flow.sum((0, 2, 3), dtype=flow.dtype)
