# Exported from chapters/ by tools/export.py: edit the chapter, not this file.
"""Max pooling for any shape, and its learning flow: compiled where Numba is.

Chapter "Layers and models" builds this module. With and without Numba, and for any number
of threads, the results are the same bits.
"""

import math

import numpy as np

from convlib import parallel
from convlib.functional import _together
from convlib.shapes import _shape, max_pool2d_geometry

__all__ = ["max_pool2d", "max_pool2d_input_grad"]


# Chapter "Layers and models" (chapters/layers.ipynb)

try:
    from convlib.kernels import pooling as _compiled
except ImportError:
    _compiled = None


def _starts(axis, geometry):
    """Along one axis: the first cell of each window, which may lie outside."""
    g, places = geometry, (geometry.out_height, geometry.out_width)
    return np.arange(places[axis]) * g.stride[axis] - g.padding[axis]


def _largest(channels, geometry):
    """The largest number of each window and its index, in NumPy."""
    g, rows, columns = geometry, _starts(0, geometry)[:, np.newaxis], _starts(1, geometry)
    row, column = np.maximum(rows, 0), np.maximum(columns, 0)
    best = channels[:, row, column]
    index = np.broadcast_to(row * g.width + column, best.shape).copy()
    for u, v in np.ndindex(*g.kernel_size):
        row, column = rows + u, columns + v
        inside = (0 <= row) & (row < g.height) & (0 <= column) & (column < g.width)
        row, column = row.clip(0, g.height - 1), column.clip(0, g.width - 1)
        number = channels[:, row, column]
        better = inside & ((number > best) | (number != number))
        np.copyto(best, number, where=better)
        np.copyto(index, row * g.width + column, where=better)
    return best, index


def max_pool2d(input, kernel_size, stride=None, padding=0, *, return_indices=False):
    """Compute the output of a max pooling layer: the largest number of each window.

    Parameters
    ----------
    input : array of shape (N, C, H, W) or (C, H, W)
        float32, float64 or integers, in any memory layout.
    kernel_size, stride, padding
        As in `shapes.max_pool2d_geometry`.
    return_indices : bool
        Whether to return the indices, too.

    Returns
    -------
    array of shape (N, C, H', W') or (C, H', W')
        NaN wins against every number; what lies outside never wins. Integers give int64.
    int64 array of that shape, if wanted
        row * W + column of the winner: the first of equals, or the last NaN.

    Raises
    ------
    ValueError, TypeError
        If an argument cannot be used; the message names it, and what was expected.

    Notes
    -----
    Source: chapter "Layers and models", formula eq-max-pool.
    """
    (input,) = _together(("input",), (input,))
    g = max_pool2d_geometry(input.shape, kernel_size, stride, padding)
    channels, shape = input.reshape(-1, g.height, g.width), (g.out_height, g.out_width)
    if _compiled is None:
        output, indices = _largest(channels, g)
    else:
        output, indices = (np.empty((len(channels), *shape), kind) for kind in (input.dtype, np.int64))
        settings = g.kernel_size, g.stride, g.padding
        cells = output.size * math.prod(g.kernel_size)
        _run(_compiled.max_pool2d, cells, channels, settings, output, indices)
    output, indices = (each.reshape(*input.shape[:-2], *shape) for each in (output, indices))
    return (output, indices) if return_indices else output


def max_pool2d_input_grad(input_size, indices, grad_output):
    """Compute the learning flow at the input of a max pooling layer.

    Parameters
    ----------
    input_size : tuple of int
        Shape of the input, (N, C, H, W) or (C, H, W).
    indices : integer array of shape (N, C, H', W') or (C, H', W')
        Where the numbers came from, as returned by `max_pool2d`.
    grad_output : array of the shape of `indices`
        The learning flow at the output.

    Returns
    -------
    array of shape `input_size`
        What several windows tell one cell is added in their order.

    Raises
    ------
    ValueError, TypeError
        If an argument cannot be used; the message names it, and what was expected.

    Notes
    -----
    Source: chapter "Layers and models", formula eq-max-pool-flow.
    """
    size = tuple(_shape("input_size", input_size, "(N, C, H, W)", "(C, H, W)"))
    indices, (flow,) = _as_indices(indices, size), _together(("grad_output",), (grad_output,))
    if flow.shape != indices.shape:
        raise ValueError(f"grad_output: expected shape {indices.shape}, as indices, got {flow.shape}")
    grad_input = np.zeros((math.prod(size[:-2]), math.prod(size[-2:])), flow.dtype)
    lines = len(grad_input), math.prod(flow.shape[-2:])
    indices, flow = indices.reshape(lines), flow.reshape(lines)
    if _compiled is None:
        np.add.at(grad_input, (np.arange(len(indices))[:, np.newaxis], indices), flow)
    else:
        _run(_compiled.max_pool2d_input_grad, flow.size, indices, flow, grad_input)
    return grad_input.reshape(size)


def _as_indices(indices, size):
    """The indices as int64 in one piece, if each is a cell of its channel."""
    indices = np.asarray(indices)
    if indices.dtype.kind not in "iu":
        raise TypeError(f"indices: expected whole numbers, got data type {indices.dtype}")
    if indices.shape[:-2] != size[:-2] or indices.ndim != len(size):
        raise ValueError(
            f"indices: expected as many channels as input_size {size}, got shape {indices.shape}"
        )
    cells = math.prod(size[-2:])
    if indices.size and not 0 <= indices.min() <= indices.max() < cells:
        raise ValueError(
            f"indices: expected cells from 0 to {cells - 1}, "
            f"got {indices.min()} to {indices.max()}"
        )
    return np.array(indices, np.int64, order="C")


_ENOUGH = 1_000_000  # so many cells are worth a second thread


def _run(kernel, cells, *arguments):
    """Share the channels among as many threads as pay."""
    jobs = max(1, min(parallel.get_num_threads(), cells // _ENOUGH))
    parallel.run(kernel, jobs, 0, np.float64, *arguments)
