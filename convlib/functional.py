# Exported from chapters/ by tools/export.py: edit the chapter, not this file.
"""The convolution layer for any shape: checked, then computed by the algorithm that pays.

Chapter "One function for every layer" builds this module.
"""

import os
import sys
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from convlib import algorithms, parallel
from convlib.reduction import Reduction, cut, embed, reduced
from convlib.shapes import Geometry, check_bias, check_grad_output, conv2d_geometry, output_shape

__all__ = ["ENOUGH", "MOVED", "ARGUMENTS", "LARGEST", "conv2d", "conv2d_input_grad", "conv2d_weight_grad",
    "conv2d_bias_grad", "Plan"]


# Chapter "One function for every layer" (chapters/one_function.ipynb)

ENOUGH = 2_500_000  # so many multiplications are worth a second thread
MOVED = 16  # moving a number takes as long as so many multiplications
ARGUMENTS = {
    "forward": ("input", "weight", "bias"),
    "input_grad": ("weight", "grad_output"),
    "weight_grad": ("input", "grad_output"),
}
LARGEST = 2.0**63 * (1 - 2.0**-20)  # what int64 holds; a bit less, as it meets rounded sums


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
    Source: chapter "One function for every layer"; the formulas F03 and F04 of chapter
    "From grids to a layer", generalised in chapter "Stride, padding, dilation, groups".
    """
    if bias is None:
        weight = weight if _is_ready((weight,)) else _as_numbers("weight", weight)
        bias = np.zeros(weight.shape[:1], weight.dtype)
    arrays = input, weight, bias = _together(ARGUMENTS["forward"], (input, weight, bias))
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
    Source: chapter "One function for every layer"; formula F12 of chapter
    "The learning flow", generalised in chapter "Stride, padding, dilation, groups".
    """
    arrays = weight, flow = _together(ARGUMENTS["input_grad"], (weight, grad_output))
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
    Source: chapter "One function for every layer"; formula F18 of chapter
    "The weights", generalised in chapter "Stride, padding, dilation, groups".
    """
    arrays = input, flow = _together(ARGUMENTS["weight_grad"], (input, grad_output))
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
    Source: chapter "One function for every layer"; formula F20 of chapter "The biases and the
    update".
    """
    (flow,) = _together(("grad_output",), (grad_output,))
    if flow.ndim not in (3, 4):
        raise ValueError(f"grad_output: expected shape (N, K, H, W) or (K, H, W), got {flow.shape}")
    flow, name = flow if flow.ndim == 4 else flow[np.newaxis], "numpy"
    if flow.dtype.kind == "i":
        sizes = abs(flow.astype(np.float64)).sum((0, 2, 3))
        if sizes.max(initial=0) >= LARGEST:
            raise ValueError("grad_output: expected whole numbers whose sums stay below 2**63")
    else:
        name = algorithms.RULES["bias_grad"](flow.size)
    jobs = max(1, min(parallel.get_num_threads(), MOVED * flow.size // ENOUGH))
    return algorithms.ALGORITHMS[name].bias_grad(flow, jobs)


@lru_cache(maxsize=1)
def _memory():
    """How many bytes an array can have at most: as many as the machine has, if it says so."""
    try:
        size, pages = os.sysconf("SC_PAGE_SIZE"), os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return sys.maxsize
    return min(size * pages, sys.maxsize) if min(size, pages) > 0 else sys.maxsize


def _check_room(name, shape, dtype):
    """Refuse an array that is larger than the machine's memory."""
    size = dtype.itemsize
    for count in shape:
        size *= max(1, count)
    if size > _memory():
        raise ValueError(
            f"{name}: expected sizes that fit into the memory of this machine, "
            f"got an array of 2**{size.bit_length() - 1} bytes or more"
        )


def _check_mask(name, value):
    """Refuse numbers that are masked, here or somewhere in a list."""
    if isinstance(value, (list, tuple)):
        for each in value:
            _check_mask(name, each)
    elif isinstance(value, np.ma.MaskedArray) and np.ma.is_masked(value):
        raise TypeError(f"{name}: expected numbers without a mask, got some that are masked")


def _converted(value):
    """The array that NumPy makes of a value; but not floats of a list of whole numbers."""
    array = np.asanyarray(value)
    if isinstance(value, (list, tuple)) and array.dtype == np.float64:
        numbers = np.array(value, object)
        if numbers.size and all(isinstance(each, (int, np.integer)) for each in numbers.flat):
            return numbers.astype(np.int64)
    return array


def _as_numbers(name, value):
    """The argument as an array that can be computed with."""
    _check_mask(name, value)
    try:
        array = _converted(value)
    except Exception as error:  # whatever its type says to that
        kind = ValueError if isinstance(error, (ValueError, OverflowError)) else TypeError
        got = f"{type(value).__name__} ({error})"
        if "inhomogeneous" in got:
            got = "rows of different lengths"
        raise kind(f"{name}: expected an array of numbers, got {got}") from error
    _check_mask(name, array)
    array = np.asarray(array)
    if array.dtype.char not in "fd" and array.dtype.kind not in "iub":
        raise TypeError(f"{name}: expected float32, float64 or integers, got {array.dtype}")
    _check_room(name, array.shape, array.dtype)
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
    dtype = np.dtype(np.int64)
    if any(array.dtype.kind == "f" for array in arrays):
        dtype = np.dtype(np.result_type(*arrays).char)
    for name, array in zip(names, arrays, strict=True):
        largest = array.max(initial=0) if array.dtype.kind == "u" and dtype.kind == "i" else 0
        if largest >= 2**63:
            raise ValueError(f"{name}: expected whole numbers below 2**63, got {largest}")
    return [np.array(array, dtype, order="C") for array in arrays]


class Plan(NamedTuple):
    """What a call does, as far as sizes and settings decide it.

    Source: chapter "One function for every layer".
    """

    geometry: Geometry
    batched: bool
    names: tuple  # of algorithms, to be tried one after the other
    jobs: int
    reduction: Reduction | None  # to the geometry above
    whole: bool  # numbers


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


def _check_sizes(direction, geometry, sizes, dtype):
    """Refuse a result that is too large, and arrays that do not belong to the layer."""
    g, batched = geometry, len(sizes[0]) == 4
    if direction == "forward":
        name = "padding" if any(g.padding[0] + g.padding[1]) else "input"
        _check_room(name, output_shape(g), dtype)
        return check_bias(g, sizes[2])
    which = 0 if direction == "input_grad" else 1
    _check_room(("input_size", "weight_size")[which], sizes[which], dtype)
    return check_grad_output(g, sizes[2], batched)


def _smallest(algorithm, geometry, dtype):
    """The smaller layer, if there is one that the algorithm, if one is named, can compute."""
    reduction = reduced(geometry)
    if reduction is None or algorithm is None:
        return reduction
    able = isinstance(algorithm, str) and algorithm in algorithms.ALGORITHMS
    able = able and algorithms.suits(algorithm, reduction.geometry, dtype)
    return reduction if able else None


def _make_plan(direction, algorithm, dtype, sizes, settings):
    """Check sizes and settings; take the algorithm that is named, or else the one that pays."""
    geometry, name = conv2d_geometry(*sizes[:2], *settings), algorithm
    _check_sizes(direction, geometry, sizes, dtype)
    reduction = _smallest(algorithm, geometry, dtype)
    geometry = reduction.geometry if reduction else geometry
    if algorithm is None:
        name = algorithms.choose(direction, geometry, dtype)
    else:
        algorithms.check_algorithm(algorithm, geometry, dtype)
        if 0 in geometry[:4]:  # nothing to compute
            name = "numpy"
    names = [name, "numpy"]
    if not algorithms.LOCAL_ERROR[name]:  # where it gives up, the next best
        names.insert(1, algorithms.choose(direction, geometry, dtype, local=True))
    names = (each for each in dict.fromkeys(names) if each in algorithms.ALGORITHMS)
    names = tuple(each for each in names if algorithms.suits(each, geometry, dtype))
    batched, jobs = len(sizes[0]) == 4, _jobs(geometry)
    return Plan(geometry, batched, names, jobs, reduction, dtype.kind == "i")


@lru_cache(maxsize=1024)
def _remembered(state, *arguments):
    """The plan, for as long as the switch and the number of threads are what they were."""
    return _make_plan(*arguments)


def _is_plain(setting):
    """Whether a setting is made of plain ints and tuples: then equal settings mean the same."""
    if type(setting) is tuple:
        return all(map(_is_plain, setting))
    return type(setting) is int


def _plan(direction, algorithm, dtype, sizes, stride, padding, dilation, groups):
    """The plan; that of plainly spelt settings is remembered."""
    settings = stride, padding, dilation, groups
    plain = type(sizes[0]) is type(sizes[1]) is tuple and _is_plain(settings)
    if plain and (algorithm is None or type(algorithm) is str):
        state = algorithms.only_local(), parallel.get_num_threads()
        return _remembered(state, direction, algorithm, dtype, sizes, settings)
    return _make_plan(direction, algorithm, dtype, sizes, settings)


def _as_key(size):
    """A size that may be remembered: a tuple of plain ints. Others become lists."""
    if type(size) is tuple:
        for number in size:
            if type(number) is not int:
                return list(size)
    return size


def _check_sums(direction, plan, arrays):
    """Refuse whole numbers whose sums may not fit into int64: int64 would wrap silently."""
    absolute = [abs(array.astype(np.float64)) for array in arrays]
    sums = _compute(direction, plan._replace(whole=False), absolute)
    if sums.max(initial=0) >= LARGEST:
        largest = [array.max(initial=0) for array in absolute]
        name = ARGUMENTS[direction][largest.index(max(largest))]
        raise ValueError(
            f"{name}: expected whole numbers whose sums of products stay below 2**63, "
            f"got numbers up to {max(largest):.3g}"
        )


def _compute(direction, plan, arrays):
    """The result by the first algorithm of the plan that can answer for it."""
    if plan.whole:
        _check_sums(direction, plan, arrays)
    if not plan.batched:
        arrays = [array[np.newaxis] if array.ndim == 3 else array for array in arrays]
    if plan.reduction is not None:
        arrays = cut(direction, plan.reduction, arrays)
    for name in plan.names:
        algorithm = algorithms.ALGORITHMS[name]
        result = getattr(algorithm, direction)(*arrays, plan.geometry, plan.jobs)
        if result is not None:
            break
    if plan.reduction is not None:
        result = embed(direction, plan.reduction, result, arrays[-1])
    return result if plan.batched or direction == "weight_grad" else result[0]
