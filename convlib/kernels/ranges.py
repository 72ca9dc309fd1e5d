# Exported from chapters/ by tools/export.py: edit the chapter, not this file.
"""What each result of a layer reads, and how much less that is than what spreads its errors.

Chapter 14 builds this module. It needs NumPy alone.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np

__all__ = ["RANGE", "Read", "enough_read"]


# Chapter "Tiles in vectors" (chapters/14_tiles.ipynb)

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
    """What the results read along one axis (Chapter 14)."""

    enough: np.ndarray  # which results read at least a part of the most that one reads
    least: int  # of these, the fewest taps that one reads
    sets: np.ndarray  # a row of ones and zeros for each different set of taps that they read


@lru_cache(maxsize=1024)
def enough_read(direction, geometry, part):
    """Return what the results read of the second factor, for rows and columns (Chapter 14)."""
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
