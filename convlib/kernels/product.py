# Exported from chapters/ by tools/export.py: edit the chapter, not this file.
"""The layer as a matrix product: rows of weights times strips of columns.

A set of strips is packed; then one panel of rows is multiplied by all of them, then the next panel.
The learning flow of a layer of stride 1 is the same product, with the weights turned.

Chapter "Packing: the layer as a matrix product" builds this module.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from convlib import parallel
from convlib.kernels.blocks import SHAPE, multiply, nought, put, share, spread, together
from convlib.kernels.gather import bring_strips, in_one_line, strip_room, table_rows, taps_met, window_of
from convlib.kernels.simd import all_finite, compiled, inlined, lanes, lanes_of, load, load_some, store_some
from convlib.kernels.tuning import AT_ONCE, IN_PLACE, PIECE, ROWS, SET, VECTORS

__all__ = ["forward", "turned", "input_grad", "suits"]


# Chapter "Packing: the layer as a matrix product" (chapters/packing.ipynb)

class _Left(NamedTuple):
    """The left matrix: rows in panels of ROWS."""

    data: np.ndarray
    origin: int
    rows: int
    depth: int
    row_step: int
    depth_step: int
    panel_step: int  # 0: rows are read where they are, and the last panel is moved back


class _Right(NamedTuple):
    """Strips of the right matrix, `room` apart, and the runs of rows that count in them."""

    data: np.ndarray
    place: int
    room: int
    step: int  # from row to row
    runs: int
    length: int  # of a run
    skip: int  # numbers of the depth before the first run
    gap: int  # and after each


class _Target(NamedTuple):
    """Where the product goes: (image, row, place), and where each row begins."""

    data: np.ndarray
    origin: int
    image_step: int
    places: int  # of an image
    start: np.ndarray
    first: int


@inlined
def _add_product(sums, left, i, right, j, sizes):
    """Add a panel times a strip, in chains of bounded length; the first begins at the sums."""
    (runs, length, gap, piece), (row_step, on, down) = sizes
    total, chains, room = nought(right, SHAPE), 0, piece
    for _ in range(runs):
        for begin in range(0, length, piece):
            count = min(piece, length - begin)
            if count > room:
                total, sums = together(total, sums), nought(right, SHAPE)
                chains, room = chains + 1, piece
            for _ in range(count):
                sums = multiply(sums, left, i, row_step, right, j)
                i, j = i + on, j + down
            room -= count
        i += gap * on
    return together(total, sums) if chains else sums


@compiled
def _put_pieces(tile, sizes, target, to):
    """Copy the rows of a tile to the images that its columns belong to."""
    (count, columns), (image, row, p) = sizes, to
    wide, n, at = VECTORS * lanes(tile), lanes(tile), 0
    while at < columns:
        size = min(columns - at, target.places - p)
        place = target.origin + image * target.image_step + row * target.places + p
        for r in range(count):
            for x in range(0, size, n):
                store_some(target.data, place + x, load(tile, r * wide + at + x), size - x)
            place += target.places
        at, image, p = at + size, image + 1, 0


@compiled
def _multiply_strips(left, panels, columns, right, target, work):
    """Multiply panels by the strips of some columns: one panel by all strips, then the next."""
    (tile, piece), weights, numbers = work, left.data, right.data
    start, result, places = target.start, target.data, target.places
    wide, begin = VECTORS * lanes(tile), min(1, target.start.size - 1)
    sizes = right.runs, right.length, right.gap, piece
    steps = left.row_step, left.depth_step, right.step
    for panel in range(panels[0], panels[1]):
        row, i = panel * ROWS, left.origin + panel * left.panel_step + right.skip * left.depth_step
        if not left.panel_step:
            row = min(row, left.rows - ROWS)
            i += row * left.row_step
        image, p, j = columns[0] // places, columns[0] % places, right.place
        for column in range(columns[0], columns[1], wide):
            sums = spread(start, (target.first + row) * begin, begin, SHAPE)
            sums = _add_product(sums, weights, i, numbers, j, (sizes, steps))
            if p + wide <= places and row + ROWS <= left.rows:
                to = target.origin + image * target.image_step + row * places + p
                put(result, to, places, sums)
            else:
                put(tile, 0, wide, sums)
                size = min(ROWS, left.rows - row), min(wide, columns[1] - column)
                _put_pieces(tile, size, target, (image, row, p))
            p, j = p + wide, j + right.room
            while p >= places:
                image, p = image + 1, p - places


@compiled
def _product(job, jobs, left, w, image, target, sets, work):
    """One job's part of a product: some of the strips, or some of the rows.

    sets: how many strips are packed, and read in place, at a time; how long a chain is; tables.
    """
    (data, origin), (gathered, in_place, piece, tables) = image, sets
    wide, room, panels = VECTORS * lanes(data), strip_room(w, lanes(data)), -(-left.rows // ROWS)
    every, taps = w.batch * target.places, w.kernel_height * w.kernel_width
    strips, tile, packed = -(-every // wide), work, work[ROWS * wide + lanes(data) :]
    (first, last), mine = share(job, jobs, strips), (0, panels)
    if strips * (-(-panels // jobs) + 1) < -(-strips // jobs) * (panels + 1):
        first, last, mine = 0, strips, share(job, jobs, panels)
    while first < last:
        n, p = first * wide // target.places, first * wide % target.places
        some = min((target.places - p) // wide, in_place)
        if some > 0:
            some = min(some, last - first)
            place = origin + n * w.image_step + p
            right = _Right(data, place, wide, w.width, 1, left.depth, 0, 0)
        else:
            met, end, some = taps_met(w, first, lanes(data)), min(last, first + gathered), 1
            while first + some < end and taps_met(w, first + some, lanes(data)) == met:
                some += 1
            bring_strips(w, data, origin, (first, first + some), met, packed, tables[job])
            gap = taps - (met[1] - met[0])
            runs, length = (w.channels, taps - gap) if gap else (1, left.depth)
            right = _Right(packed, 0, room, wide, runs, length, met[0], gap)
        columns = first * wide, min((first + some) * wide, every)
        _multiply_strips(left, mine, columns, right, target, (tile, piece))
        first += some


@lru_cache(maxsize=1024)
def _plan(g, n):
    """What depends on sizes: window, strips packed and in place, a job's memory and table."""
    w, wide = window_of(g), VECTORS * n
    some = max(1, SET // (w.channels * w.kernel_height * w.kernel_width * wide))
    in_place = in_one_line(g) and g.out_channels // g.groups <= IN_PLACE
    gathered = 1 if in_place else min(some, -(-w.batch * w.out_height * w.out_width // wide))
    space = ROWS * wide + n + gathered * strip_room(w, n)
    return w, (gathered, some if in_place else 0), space, table_rows(w, gathered, n)


def _multiply(left, group_step, data, start, g, jobs):
    """The product of the left matrix and the strips of a layer, in a fresh array."""
    w, strips, space, entries = _plan(g, lanes_of(data.dtype))
    output = np.empty((g.batch, g.out_channels, g.out_height, g.out_width), data.dtype)
    numbers = parallel.borrow("pieces", jobs * entries * 4, np.dtype(np.int64))
    sets = *strips, PIECE, numbers[: jobs * entries * 4].reshape(jobs, entries, 4)
    places = g.out_height * g.out_width
    for group in range(g.groups):
        image = data.reshape(-1), group * w.channels * w.height * w.width
        target = _Target(output.reshape(-1), group * left.rows * places, g.out_channels * places,
                         places, start, group * left.rows)
        part = left._replace(origin=group * group_step)
        parallel.run(_product, jobs, space, data.dtype, part, w, image, target, sets)
    parallel.give_back("pieces", numbers)
    return output


@inlined
def _pack_rows(weights, at, step, panels, to, count):
    """Write `count` weights side by side, and zeros up to ROWS."""
    if step == 1:
        for x in range(0, ROWS, lanes(weights)):
            store_some(panels, to + x, load_some(weights, at + x, count - x), ROWS - x)
        return
    for r in range(count):  # a vector of one number: its index need not be looked at
        store_some(panels, to + r, load_some(weights, at + r * step, 1), 1)
    for r in range(count, ROWS):
        panels[to + r] = 0


@compiled
def _pack_panels(job, jobs, weights, sizes, steps, panels, work):
    """One job's weights as panels: for each number and tap, ROWS side by side, turned or not.

    Some numbers of the depth are taken through all panels: so the weights are read in runs.
    """
    (groups, rows, depth, taps), (row_step, depth_step, turned) = sizes, steps
    parts = -(-depth // AT_ONCE)
    first, last = share(job, jobs, groups * parts)
    for item in range(first, last):
        group, begin = item // parts, item % parts * AT_ONCE
        to = group * -(-rows // ROWS) * depth * taps * ROWS
        for row in range(0, rows, ROWS):
            count, at = min(ROWS, rows - row), group * rows * depth * taps + row * row_step
            for k in range(begin, min(begin + AT_ONCE, depth)):
                for tap in range(taps):
                    place = to + (k * taps + (taps - 1 - tap if turned else tap)) * ROWS
                    _pack_rows(weights, at + k * depth_step + tap, row_step, panels, place, count)
            to += depth * taps * ROWS


def _packed(weight, g, turned, jobs):
    """The weights as packed panels, for a layer or for one that a layer was turned into."""
    rows, depth = g.out_channels // g.groups, g.in_channels // g.groups
    taps = g.kernel_height * g.kernel_width
    steps = (taps, rows * taps, True) if turned else (depth * taps, taps, False)
    group = -(-rows // ROWS) * depth * taps * ROWS
    panels = parallel.borrow("panels", g.groups * group, weight.dtype)
    parallel.run(_pack_panels, jobs, 1, weight.dtype,
                 weight.reshape(-1), (g.groups, rows, depth, taps), steps, panels)
    return _Left(panels, 0, rows, depth * taps, 1, ROWS, depth * taps * ROWS), group


def _is_sound(output, weight, g):
    """Whether no infinite weight can have met a zero of the padding, which is no product."""
    return not any(g.padding[0] + g.padding[1]) or all_finite(weight.reshape(-1))


def forward(input, weight, bias, geometry, jobs):
    """Compute the output of a layer, or None if an infinite weight may have met the padding.

    Source: chapter "Packing: the layer as a matrix product".
    """
    g, rows, depth = geometry, geometry.out_channels // geometry.groups, weight[0].size
    left = _Left(weight.reshape(-1), 0, rows, depth, depth, 1, 0), rows * depth
    if rows < ROWS:
        left = _packed(weight, g, False, jobs)
    start = np.concatenate([bias, np.zeros(ROWS, bias.dtype)])
    output = _multiply(*left, input, start, g, jobs)
    if left[0].panel_step:
        parallel.give_back("panels", left[0].data)
    return output if _is_sound(output, weight, g) else None


@lru_cache(maxsize=1024)
def turned(g):
    """The layer that computes the learning flow of a layer of stride 1, or None if there is none.

    Source: chapter "Packing: the layer as a matrix product".
    """
    (top, bottom), (left, right) = g.padding
    down, across = g.dilation[0] * (g.kernel_height - 1), g.dilation[1] * (g.kernel_width - 1)
    if g.stride != (1, 1) or max(top, bottom) > down or max(left, right) > across:
        return None
    return g._replace(in_channels=g.out_channels, out_channels=g.in_channels, height=g.out_height,
                      width=g.out_width, out_height=g.height, out_width=g.width,
                      padding=((down - top, down - bottom), (across - left, across - right)))


def input_grad(weight, grad_output, geometry, jobs):
    """Compute the learning flow by the layer that is `turned`, or None as `forward`.

    Source: chapter "Packing: the layer as a matrix product".
    """
    left = _packed(weight, geometry, True, jobs)
    result = _multiply(*left, grad_output, np.zeros(1, weight.dtype), geometry, jobs)
    parallel.give_back("panels", left[0].data)
    return result if _is_sound(result, weight, geometry) else None


def suits(geometry, dtype):
    """Tell whether a product can compute a layer: any of floating-point numbers.

    Source: chapter "Packing: the layer as a matrix product".
    """
    return np.dtype(dtype).char in "fd"
