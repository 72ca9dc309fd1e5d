# Exported from chapters/ by tools/export.py: edit the chapter, not this file.
"""What each result of a layer reads, and how much less that is than what spreads its errors.

Chapter "Tiles in vectors" builds this module. It needs NumPy alone.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np

__all__ = ["RANGE", "Read", "enough_read", "excess", "largest_read", "least_of_blocks"]


# Chapter "Tiles in vectors" (chapters/tiles.ipynb)

RANGE = 128  # so many times what a result reads may be there: its errors are as large


def _axes(geometry):
    """For rows and for columns: sizes and settings."""
    g = geometry
    return zip((g.height, g.width), (g.out_height, g.out_width),
               (g.kernel_height, g.kernel_width), g.stride, g.dilation,
               (g.padding[0][0], g.padding[1][0]), strict=True)  # fmt: skip


def _taps_read(direction, size, places, taps, step, spacing, before):
    """Which taps each result reads; for the gradient of the weights, which places each tap."""
    cells = np.arange(places)[:, np.newaxis] * step + np.arange(taps) * spacing - before
    inside = (cells >= 0) & (cells < size)
    if direction == "forward":
        return inside
    if direction == "weight_grad":
        return inside.T
    reads = np.zeros((size, taps), bool)
    reads[cells[inside], np.nonzero(inside)[1]] = True
    return reads


class Read(NamedTuple):
    """What the results read along one axis (chapter "Tiles in vectors")."""

    enough: np.ndarray  # which results read at least a part of the most that one reads
    least: int  # of these, the fewest taps that one reads
    sets: np.ndarray  # a row of ones and zeros for each different set of taps that they read


@lru_cache(maxsize=1024)
def enough_read(direction, geometry, part):
    """Return what the results read of the second factor, for rows and columns.

    Source: chapter "Tiles in vectors".
    """
    both = []
    for axis in _axes(geometry):
        reads = _taps_read(direction, *axis)
        counts = reads.sum(axis=1)
        enough = (counts > 0) & (counts >= part * counts.max(initial=0))
        sets = np.unique(reads[enough], axis=0).astype(np.float32)
        common, own = sets @ sets.T, sets.sum(axis=1)
        holds = (common == own) & (own < own[:, np.newaxis])  # [i, j]: set i holds set j
        least = int(counts[enough].min(initial=counts.max(initial=0)))
        both.append(Read(enough, least, sets[~holds.any(axis=1)]))
    return tuple(both)


# Chapter "Choosing" (chapters/choosing.ipynb)

def excess(whole, sizes, rows, columns):
    """Return how many times the least that is read of sizes (K, rows, columns) the whole is.

    Of numbers `whole` (K,), the worst. Rows and columns as from `enough_read` (chapter "Choosing").
    """
    sums = np.einsum("ru,kuv->krv", rows.sets, sizes, dtype=sizes.dtype)
    sums = np.einsum("cv,krv->krc", columns.sets, sums, dtype=sizes.dtype)
    least = sums.min(axis=(1, 2), initial=np.inf)
    return (whole[whole > 0] / least[whole > 0]).max(initial=0)


def _along(axis, first, last=None, step=None):
    """The index of some rows (axis -2) or columns (axis -1)."""
    some = slice(first, last, step)
    return (..., some, slice(None)) if axis == -2 else (..., some)


def _slide(planes, axis, count, distance, before, places, step):
    """The largest of `count` numbers, for each of some places along an axis; zeros around."""
    zeros, size = max(0, before), list(planes.shape)
    some = planes[_along(axis, max(0, -before))]
    size[axis] = (places - 1) * step + (count - 1) * distance + 1
    inside = max(0, min(some.shape[axis], size[axis] - zeros))
    largest, covered = np.zeros(size, planes.dtype), 1
    largest[_along(axis, zeros, zeros + inside)] = some[_along(axis, 0, inside)]
    while covered < count:
        more = min(covered, count - covered)
        some = largest[_along(axis, 0, -more * distance)]
        largest = np.maximum(some, largest[_along(axis, more * distance)])
        covered += more
    return largest[_along(axis, 0, None, step)]


def largest_read(direction, geometry, planes):
    """Return the largest number that each result reads of planes (..., H, W), none below zero.

    The planes are those of the input; for the learning flow, those of the output, as far
    apart as the stride says, with zeros between (chapter "Choosing").
    """
    for axis, numbers in zip((-2, -1), _axes(geometry), strict=True):
        size, places, taps, step, spacing, before = numbers
        if direction == "forward":
            planes = _slide(planes, axis, taps, spacing, before, places, step)
        elif direction == "weight_grad":
            planes = _slide(planes, axis, places, step, before, taps, spacing)
        else:
            planes = _slide(planes, axis, taps, spacing, (taps - 1) * spacing - before, size, 1)
    return planes


def least_of_blocks(planes, lengths):
    """Return the largest number of each block, the least of them for each plane (chapter "Choosing").

    So many rows and columns side by side hold one of the blocks, wherever they lie.
    """
    for axis, length in zip((-2, -1), lengths, strict=True):
        block = 1
        while 4 * block - 1 <= length:  # a block of twice the size fits, wherever they lie
            even = planes.shape[axis] // 2 * 2
            first, second = (planes[_along(axis, k, even, 2)] for k in (0, 1))
            planes, block = np.maximum(first, second), 2 * block
    return planes.min(axis=(-2, -1))
