# Exported from chapters/ by tools/export.py: edit the chapter, not this file.
"""The same layer with smaller numbers: what no product needs is left out.

Chapter "One function for every layer" builds this module. It needs NumPy alone.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from convlib.shapes import Geometry, output_shape

__all__ = ["Line", "Reduction", "reduced", "cut", "embed", "WIDE", "is_wide"]


# Chapter "One function for every layer" (chapters/one_function.ipynb)

class Line(NamedTuple):
    """One axis: tap u of place p lies on cell p * stride + u * dilation - before.

    Source: chapter "One function for every layer".
    """

    size: int
    kernel_size: int
    stride: int
    before: int
    after: int
    dilation: int
    places: int


def _met(count, step, other_count, other_step, before, size):
    """Those of `count` taps (or places), `step` apart, that can meet a cell."""
    first = max(0, -(((other_count - 1) * other_step - before) // step))
    last = min(count, (size - 1 + before) // step + 1)
    return first, max(first, last)


def _without_zeros(line):
    """A line without taps and places that meet zeros alone; which of them are left."""
    n, m, s, before, _, d, count = line
    taps, places = (0, m), (0, count)
    for _ in range(4):  # fewer places may leave fewer taps, and so on
        u0, u1 = _met(m, d, count, s, before, n)
        before, m, taps = before - u0 * d, u1 - u0, (taps[0] + u0, taps[0] + u1)
        p0, p1 = _met(count, s, m, d, before, n)
        before, count, places = before - p0 * s, p1 - p0, (places[0] + p0, places[0] + p1)
        if m == 0 or count == 0:  # nothing meets anything: one tap of one place, on a zero
            return Line(0, 1, 1, 1, 0, 1, 1), (0, 1), (0, 1)
        s, d = 1 if count == 1 else s, 1 if m == 1 else d
    after = (count - 1) * s + (m - 1) * d - before - (n - 1)
    return Line(n, m, s, before, after, d, count), taps, places


def _read(line):
    """The cells that a line reads, if windows do not overlap, or the taps' cells do not."""
    n, m, s, before, _, d, places = line
    if 2 * (m * places - 2 * max(m, places)) >= n:  # too many to be worth it
        return None
    if s > (m - 1) * d:  # window by window
        cells = [p * s + u * d - before for p in range(places) for u in range(m)]
        steps = m, 1
    elif d > (places - 1) * s:  # tap by tap
        cells = [u * d + p * s - before for u in range(m) for p in range(places)]
        steps = 1, places
    else:
        return None
    inside = [cell for cell in cells if 0 <= cell < n]
    above = sum(cell < 0 for cell in cells)
    below = len(cells) - len(inside) - above
    return inside, Line(len(inside), m, steps[0], above, below, steps[1], places)


def _smaller(line):
    """The smaller line, and what is left of its cells, taps and places."""
    everything = slice(0, line.size), slice(0, line.kernel_size), slice(0, line.places)
    short, taps, places = _without_zeros(line)
    found = _read(short) if short.size else None
    if found and 2 * len(found[0]) < line.size:
        return found[1], (np.array(found[0]), slice(*taps), slice(*places))
    if short[1:3] == line[1:3] and short[5:] == line[5:]:
        return line, everything
    first, last = max(0, -short.before), short.size + min(0, short.after)
    short = short._replace(
        size=last - first, before=max(0, short.before), after=max(0, short.after)
    )
    return short, (slice(first, last), slice(*taps), slice(*places))


class Reduction(NamedTuple):
    """A layer, a smaller one with the same sums, and what is left of the arrays.

    Source: chapter "One function for every layer".
    """

    full: Geometry
    geometry: Geometry
    cells: tuple  # an index for rows and columns of the images ...
    taps: tuple  # ... of the kernels ...
    places: tuple  # ... and of the output


def _index(rows, columns):
    """An index for the last two axes; rows or columns may be listed one by one."""
    if isinstance(rows, slice) and isinstance(columns, slice):
        return ..., rows, columns
    rows, columns = (np.r_[each] for each in (rows, columns))
    return ..., rows[:, np.newaxis], columns


@lru_cache(maxsize=1024)
def reduced(geometry):
    """Return the `Reduction` of a layer, or None if there is nothing to leave out.

    Source: chapter "One function for every layer".
    """
    g = geometry
    if 0 in g[:4]:
        return None
    lines = [
        Line(g[2 + k], g[5 + k], g.stride[k], *g.padding[k], g.dilation[k], g[11 + k])
        for k in (0, 1)
    ]
    (rows, of_rows), (columns, of_columns) = (_smaller(line) for line in lines)
    if [rows, columns] == lines:
        return None
    smaller = g._replace(
        height=rows.size, width=columns.size,
        kernel_height=rows.kernel_size, kernel_width=columns.kernel_size,
        stride=(rows.stride, columns.stride), dilation=(rows.dilation, columns.dilation),
        padding=((rows.before, rows.after), (columns.before, columns.after)),
        out_height=rows.places, out_width=columns.places,
    )  # fmt: skip
    indices = (_index(*pair) for pair in zip(of_rows, of_columns, strict=True))
    return Reduction(g, smaller, *indices)


def cut(direction, reduction, arrays):
    """Return what is left of the arrays of a call.

    Source: chapter "One function for every layer".
    """
    r = reduction
    indices = {
        "forward": (r.cells, r.taps, ...),
        "input_grad": (r.taps, r.places),
        "weight_grad": (r.cells, r.places),
    }[direction]
    return [
        np.ascontiguousarray(array[index])
        for array, index in zip(arrays, indices, strict=True)
    ]


def embed(direction, reduction, result, bias):
    """Return the result of the whole layer: elsewhere are the biases, or zeros.

    Source: chapter "One function for every layer".
    """
    g = reduction.full
    size, index, rest = {
        "forward": (output_shape(g), reduction.places, bias),
        "input_grad": (g[:4], reduction.cells, 0),
        "weight_grad": ((g.out_channels, g.in_channels // g.groups, *g[5:7]), reduction.taps, 0),
    }[direction]
    if result.shape == size:
        return result
    whole = np.zeros(size, result.dtype)
    if direction == "forward":
        whole += rest[:, np.newaxis, np.newaxis]
    whole[index] = result
    return whole


WIDE = 16  # an image with its zeros may be so many times larger than what is in it


def is_wide(geometry):
    """Tell whether planes of a layer with all their zeros would be out of proportion.

    The zeros around the images, or between the taps, would then take far more memory than
    input, weights and output; only algorithms that leave them out may compute it.

    Source: chapter "One function for every layer".
    """
    g, area = geometry, 1
    for k in (0, 1):
        covered = (g[11 + k] - 1) * g.stride[k] + (g[5 + k] - 1) * g.dilation[k] + 1
        area *= max(covered, g[2 + k] + sum(g.padding[k]), g.stride[k], g.dilation[k])
    numbers = g.height * g.width + g.kernel_height * g.kernel_width + g.out_height * g.out_width
    return area > WIDE * (numbers + 2**10)
