# Exported from chapters/ by tools/export.py: edit the chapter, not this file.
"""Channels with zeros around them, in memory that stays in the cache.

Chapter "Thin layers" builds this module.
"""

from typing import NamedTuple

import numpy as np

from convlib.kernels.plans import plane_axis, round_up
from convlib.kernels.shuffles import every_second
from convlib.kernels.simd import compiled, inlined, lanes, lanes_of, load, load_some, store

__all__ = ["PaddedPlane", "copy_row", "fill_plane", "fill_planes", "plane_for", "forward_plane"]


# Chapter "Thin layers" (chapters/thin.ipynb)

class PaddedPlane(NamedTuple):
    """How one channel of one image lies in memory.

    Notes
    -----
    Source: chapter "Thin layers".
    """

    rows: int
    width: int  # numbers in a row, zeros included
    top: int  # rows of zeros before the first row; below 0: rows left out
    left: int
    row_phases: int  # the stride: the channel is dealt out to so many planes
    column_phases: int
    length: int  # numbers in a plane


@inlined
def copy_row(images, start, count, step, planes, place, width):
    """Write `count` numbers, `step` apart, then zeros up to `width` or a bit more.

    Source: chapter "Thin layers".
    """
    n, done = lanes(planes), 0
    if step == 2:
        for q in range(0, width, n):
            x, left = start + 2 * q, 2 * (count - q) - 1  # so many numbers are left
            first = load_some(images, x, left)
            second = load_some(images, x + n, left - n)
            store(planes, place + q, every_second(first, second))
        return
    if step > 2:
        done = count
        for q in range(count):
            planes[place + q] = images[start + step * q]
    for q in range(done, width, n):
        store(planes, place + q, load_some(images, start + q, count - q))


@compiled
def fill_plane(images, start, height, width, layout, planes, place):
    """Write the channel that begins at `start`, with zeros around it (chapter "Thin layers")."""
    step, down = layout.column_phases, layout.row_phases
    for a in range(down):
        above = max(0, (layout.top - a + down - 1) // down)  # rows of zeros
        above = min(layout.rows, above)
        row = a - layout.top + above * down  # the row that comes first
        inside = max(0, min(layout.rows - above, (height - 1 - row) // down + 1))
        for b in range(step):
            zeros = max(0, (layout.left - b + step - 1) // step)
            zeros = min(layout.width, zeros)
            first = b - layout.left + zeros * step  # the column that comes first
            count = (width - 1 - first) // step + 1
            count = max(0, min(layout.width - zeros, count))
            end, here = place + layout.length, start + row * width + first
            before = above * layout.width + zeros
            copy_row(images, 0, 0, 1, planes, place, before)
            place += before
            for _ in range(inside):
                copy_row(images, here, count, step, planes, place, layout.width)
                place += layout.width
                here += down * width
            copy_row(images, 0, 0, 1, planes, place, end - place)
            place = end


@compiled
def _fill_single_phases(images, start, count, height, width, layout, planes):
    """Write so many channels, from number `start` on, where rows and columns have one phase."""
    n, zero = lanes(planes), load_some(images, 0, 0)
    above, left = min(layout.rows, layout.top), min(layout.width, layout.left)
    inside, used = min(layout.rows - above, height), max(0, min(layout.width - left, width))
    whole = used // n * n
    for begin in range(0, count * layout.length, layout.length):
        place = begin + above * layout.width + left
        for x in range(begin, place, n):
            store(planes, x, zero)
        for row in range(start, start + inside * width, width):
            for q in range(0, whole, n):
                store(planes, place + q, load(images, row + q))
            for q in range(whole, layout.width, n):
                store(planes, place + q, load_some(images, row + q, used - q))
            place += layout.width
        for x in range(place, begin + layout.length, n):
            store(planes, x, zero)
        start += height * width


@compiled
def fill_planes(images, first, count, height, width, layout, planes):
    """Write so many channels, from channel `first` on, one behind the other.

    Source: chapter "Thin layers".
    """
    start, length = first * height * width, layout.row_phases * layout.column_phases * layout.length
    if length == layout.length:
        _fill_single_phases(images, start, count, height, width, layout, planes)
    else:
        for c in range(count):
            here = start + c * height * width
            fill_plane(images, here, height, width, layout, planes, c * length)


def plane_for(rows, width, corner, phases, results, farthest, dtype):
    """The plane for results of so many rows and columns, computed in vectors.

    Source: chapter "Thin layers".
    """
    last = (results[0] - 1) * width + round_up(results[1], lanes_of(dtype))
    written = rows * width + max(0, corner[1])
    length = round_up(max(written, last + farthest), 16)
    return PaddedPlane(rows, width, *corner, *phases, length)


def forward_plane(geometry, dtype):
    """The plane of a forward pass, and phase and shift of each tap (chapter "Thin layers")."""
    g = geometry
    (sh, sw), (dh, dw) = g.stride, g.dilation
    rows = plane_axis(g.height, g.padding[0], sh, g.out_height)
    width = plane_axis(g.width, g.padding[1], sw, g.out_width)
    u, v = np.indices((g.kernel_height, g.kernel_width)).reshape(2, -1)
    shift = u * dh // sh * width + v * dw // sw
    corner, results = (g.padding[0][0], g.padding[1][0]), (g.out_height, g.out_width)
    plane = plane_for(rows, width, corner, g.stride, results, int(shift.max()), dtype)
    return plane, (u * dh % sh) * sw + v * dw % sw, shift
