# Exported from chapters/ by tools/export.py: edit the chapter, not this file.
"""How much of what spreads its errors a result of Winograd's algorithm reads itself.

Chapter "Tiles in vectors" builds this module. It needs NumPy alone.
"""

from functools import lru_cache

import numpy as np

__all__ = ["RANGE", "apart", "sets_read", "kernels_apart", "tiles_apart", "inner", "is_near"]


# Chapter "Tiles in vectors" (chapters/tiles.ipynb)

RANGE = 128  # so many times what a result reads may be there: its errors are as large


def apart(whole, read):
    """Return how many times what is read there is, at most; where there is nothing, 0.

    Source: chapter "Tiles in vectors".
    """
    times = np.where(whole > 0, np.inf, 0)
    return np.divide(whole, read, out=times, where=read > 0).max(initial=0)


@lru_cache(maxsize=1024)
def sets_read(size, places, taps, before):
    """Return the sets of taps that results read on one axis, a row of ones and zeros for each.

    Sets that hold another one are left out (chapter "Tiles in vectors").
    """
    cells = np.arange(places)[:, np.newaxis] + np.arange(taps) - before
    sets = np.unique((cells >= 0) & (cells < size), axis=0).astype(np.float32)
    common, own = sets @ sets.T, sets.sum(axis=1)
    holds = (common == own) & (own < own[:, np.newaxis])  # [i, j]: set i holds set j
    return sets[~holds.any(axis=1)]


def kernels_apart(sizes, rows, columns):
    """Return how many times the part of a kernel that a result reads the whole one is, at most.

    Of sums of sizes (..., taps, taps, lanes); rows and columns as from `sets_read` (chapter
    "Tiles in vectors").
    """
    some = np.einsum("ru,...uvn->...rvn", rows, sizes)
    least = np.einsum("cv,...rvn->...rcn", columns, some).min(axis=(-3, -2))
    return apart(sizes.sum(axis=(-3, -2)), least)


def _slide(planes, axis, count):
    """The largest of `count` numbers side by side, at each place along an axis."""
    places = planes.shape[axis] - count + 1
    some = (np.take(planes, range(first, first + places), axis) for first in range(count))
    return np.maximum.reduce(list(some))


def tiles_apart(images, tiles, taps, corner, out_size):
    """Return how many times what its results read a tile holds, at most; and what they read.

    Of images (N, C, H, W), in so many rows and columns of tiles of 4 x 4 results; `corner` counts
    the zeros above and to the left (chapter "Tiles in vectors").
    """
    sizes = np.maximum(images.max(axis=1), -images.min(axis=1))
    lines = [4 * count + taps - 1 for count in tiles]
    planes, (top, left) = np.zeros((len(images), *lines), sizes.dtype), corner
    sizes = sizes[:, : lines[0] - top, : lines[1] - left]
    planes[:, top : top + sizes.shape[1], left : left + sizes.shape[2]] = sizes
    reads = _slide(_slide(planes, 1, taps), 2, taps)
    holds = reads.reshape(-1, tiles[0], 4, tiles[1], 4).max(axis=(2, 4))
    least = np.where(reads > 0, reads, np.inf)
    least[:, out_size[0] :] = least[:, :, out_size[1] :] = np.inf
    least = least.reshape(-1, tiles[0], 4, tiles[1], 4).min(axis=(2, 4))
    return (holds / least).max(), reads[:, : out_size[0], : out_size[1]]


def inner(size, places, taps, before):
    """Return the cells that every tap reads, and the places that every tap reads for, on one axis.

    First and behind the last of both (chapter "Tiles in vectors").
    """
    cell, place = min(size, max(0, taps - 1 - before)), min(places, before)
    last = min(size, places - before), min(places, size - taps + 1 + before)
    return (cell, max(cell, last[0])), (place, max(place, last[1]))


def is_near(s, images, seen, sizes, bias, output):
    """Tell whether all results read about what their tiles hold; set those to zero that read only zeros.

    `s` is a plan of `kernels.winograd`; `seen` has each job's least and largest pixel; the sizes of the
    weights are (vectors of targets, tap, tap, lane) (chapter "Tiles in vectors").
    """
    taps, turn = sizes.shape[1], -1 if s.turned else 1
    rows = sets_read(s.height, s.out_height, taps, s.top)[:, ::turn]
    columns = sets_read(s.width, s.out_width, taps, s.left)[:, ::turn]
    far = kernels_apart(sizes, rows, columns)
    if far * seen[:, 1].max() <= RANGE * seen[:, 0].min():
        return True
    tiles, size = (s.tile_rows, s.tile_columns), (s.out_height, s.out_width)
    times, reads = tiles_apart(images, tiles, taps, (s.top, s.left), size)
    np.copyto(output, bias[:, np.newaxis, np.newaxis], where=reads[:, np.newaxis] == 0)
    return far * times <= RANGE
