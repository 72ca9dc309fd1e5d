# Exported from chapters/ by tools/export.py: edit the chapter, not this file.
"""The layer as a matrix product: rows of weights times strips of columns.

A set of strips is packed; then one panel of rows is multiplied by all of them, then the next panel.
The learning flow of a layer of stride 1 is the same product, with the weights turned.
Chapter "Packing: the layer as a matrix product" builds this module.
"""

from functools import lru_cache
from math import gcd
from typing import NamedTuple

import numpy as np

from convlib import parallel
from convlib.kernels.blocks import SHAPE, multiply, nought, prefetch, put, share, spread, take, together, transpose
from convlib.kernels.gather import bring_strips, in_one_line, strip_room, table_rows, taps_met, window_of
from convlib.kernels.simd import all_finite, compiled, inlined, lanes, lanes_of, load, load_between, store, store_some
from convlib.kernels.tuning import AGAIN, APART, AT_ONCE, IN_PLACE, KEPT, PIECE, ROWS, SET, UNPACKED, VECTORS, WAYS

__all__ = ["put_some", "copy", "turn", "pack", "packed", "forward", "turned", "input_grad", "suits"]


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


_SLIM = ((0,),) * ROWS  # for a last strip of which one vector is enough


@inlined
def _make_block(shape, begin, left, right, goal, sizes):
    """Write a panel times a strip, chain by chain; begin and goal are (array, place, row step)."""
    (start, first, each), (weights, i), (numbers, j), (target, at, step) = begin, left, right, goal
    (depth, length, gap, piece), (row_step, on, down) = sizes
    prefetch(target, at, step, shape)
    for run in range(0, max(1, depth), piece):  # a chain, even if no tap meets a cell
        sums = nought(target, shape) if run else spread(start, first, each, shape)
        for k in range(run, min(depth, run + piece), length):
            for _ in range(min(length, depth - k)):
                sums = multiply(sums, weights, i, row_step, numbers, j)
                i, j = i + on, j + down
            i += gap * on
        if run:
            sums = together(take(target, at, step, shape), sums)
        put(target, at, step, sums)


@inlined
def put_some(target, place, vector, left):
    """Store what is left of a line (chapter "Packing: the layer as a matrix product")."""
    if left >= lanes(target):
        store(target, place, vector)
    else:
        store_some(target, place, vector, left)


@compiled
def copy(source, i, i_step, target, j, j_step, size):
    """Copy rows of numbers, size is (rows, numbers of each) (chapter "Packing: the layer as a matrix product")."""
    n = lanes(source)
    for row in range(size[0]):
        further = j_step == size[1] >= n // 2 and i_step >= n and row + 1 < size[0]  # the next row overwrites it
        for x in range(0, size[1], n):
            if further:
                store(target, j + x, load(source, i + x))
            else:
                put_some(target, j + x, load_between(source, i + x, 0, size[1] - x), size[1] - x)
        i, j = i + i_step, j + j_step


@inlined
def _put_pieces(tile, sizes, target, to):
    """Copy rows of a tile, but for those of the panel before, to the images that its columns belong to."""
    (skip, count, columns), (image, row, p), (result, image_step, places), at = sizes, to, target, 0
    while at < columns:
        size, place = min(columns - at, places - p), image * image_step + (row + skip) * places + p
        copy(tile, skip * VECTORS * lanes(tile) + at, VECTORS * lanes(tile), result, place, places, (count, size))
        at, image, p = at + size, image + 1, 0


@compiled
def _multiply_strips(left, panels, columns, right, target, work):
    """Multiply panels by the strips of some columns: one panel by all strips, then the next.

    right: numbers; first place, from strip to strip, from row to row; how many rows count, how long
    their runs are, how many numbers of the depth lie before the first one and after each.
    """
    (tile, piece), weights, (result, image_step, places, start, above) = work, left.data, target
    numbers, (origin, room, down), (depth, length, skip, gap) = right
    wide, each = VECTORS * lanes(tile), min(1, start.size - 1)
    sizes = (depth, length, gap, max(1, piece // length) * length), (left.row_step, left.depth_step, down)
    for panel in range(panels[0], panels[1]):
        row, i = panel * ROWS, left.origin + panel * left.panel_step + skip * left.depth_step
        if not left.panel_step:
            row = min(row, left.rows - ROWS)
            i += row * left.row_step
        image, p, j = columns[0] // places, columns[0] % places, origin
        for column in range(columns[0], columns[1], wide):
            begin, at = (start, (above + row) * each, each), image * image_step + (above + row) * places + p
            whole = p + wide <= places and (panel + 1) * ROWS <= left.rows
            goal = (result, at, places) if whole else (tile, 0, wide)
            if columns[1] - column > lanes(tile):
                _make_block(SHAPE, begin, (weights, i), (numbers, j), goal, sizes)
            else:
                _make_block(_SLIM, begin, (weights, i), (numbers, j), goal, sizes)
            if not whole:
                size = panel * ROWS - row, min(ROWS, left.rows - panel * ROWS), min(wide, columns[1] - column)
                _put_pieces(tile, size, target[:3], (image, above + row, p))
            p, j = p + wide, j + room
            while p >= places:
                image, p = image + 1, p - places


@compiled
def _product(job, jobs, left, w, image, target, sets, work):
    """One job's part of a product: some of the strips, or some of the rows.

    sets: how many strips are packed, and read in place, at a time; how long a chain is; tables.
    target: result, from image to image, places of an image, where rows begin, the first row.
    """
    (data, origin), (gathered, in_place, piece, tables), places = image, sets, target[2]
    wide, room, panels = VECTORS * lanes(data), strip_room(w, lanes(data)), -(-left.rows // ROWS)
    every, taps = w.batch * places, w.kernel_height * w.kernel_width
    strips, tile, packed = -(-every // wide), work, work[ROWS * wide + lanes(data) :]
    (first, last), mine = share(job, jobs, strips), (0, panels)
    if strips * (-(-panels // jobs) + 1) < -(-strips // jobs) * (panels + 1):
        first, last, mine = 0, strips, share(job, jobs, panels)
    while first < last:
        n, p = first * wide // places, first * wide % places
        some = min((places - p) // wide, in_place)
        if some > 0:
            some = min(some, last - first)
            place = origin + n * w.groups * w.in_channels * w.width + p
            right = data, (place, wide, w.width), (left.depth, piece, 0, 0)
        else:
            met, end, some = taps_met(w, first, lanes(data)), min(last, first + gathered), 1
            while first + some < end and taps_met(w, first + some, lanes(data)) == met:
                some += 1
            bring_strips(w, data, origin, (first, first + some), met, packed, tables[job])
            gap = taps - (met[1] - met[0])
            depth, length = w.in_channels * (taps - gap), max(1, taps - gap) if gap else piece
            right = packed, (0, room, wide), (depth, length, met[0], gap)
        columns = first * wide, min((first + some) * wide, every)
        _multiply_strips(left, mine, columns, right, target, (tile, piece))
        first += some


@lru_cache(maxsize=1024)
def _plan(g, n):
    """What depends on sizes: window, strips packed and in place, a job's memory and table."""
    w, wide = window_of(g), VECTORS * n
    some = max(1, SET // (w.in_channels * w.kernel_height * w.kernel_width * wide))
    lines = w.in_channels * max(APART, gcd(w.width, AGAIN)) / AGAIN  # at a place of the first cache, as they lie
    fits = lines <= WAYS and lines * (g.out_channels // g.groups) <= KEPT * IN_PLACE
    in_place = in_one_line(g) and fits and g.out_channels // g.groups <= IN_PLACE
    gathered = 1 if in_place else min(some, -(-w.batch * w.out_height * w.out_width // wide))
    space = ROWS * wide + n + gathered * strip_room(w, n)
    return w, (gathered, some if in_place else 0), space, table_rows(w, gathered, n)


def _multiply(weight, data, start, g, turned, jobs):
    """The product of the weights, turned or not, and a layer's strips: a fresh array, or None."""
    (w, strips, space, entries), flat = _plan(g, lanes_of(data.dtype)), weight.reshape(-1)
    rows, depth = g.out_channels // g.groups, weight.size // g.out_channels
    left, group_step = _Left(flat, 0, rows, depth, depth, 1, 0), rows * depth
    if turned and in_one_line(g) and depth * gcd(rows, AGAIN) <= UNPACKED * AGAIN:
        left = left._replace(row_step=1, depth_step=rows)  # of turned weights, a row is a column
    if rows < ROWS or turned and left.row_step > 1:
        panels, group_step = packed(flat, g, turned, (ROWS, turned), jobs), -(-rows // ROWS) * ROWS * depth
        left = _Left(panels, 0, rows, depth, 1, ROWS, ROWS * depth)
    output = np.empty((g.batch, g.out_channels, g.out_height, g.out_width), data.dtype)
    numbers = parallel.borrow("pieces", jobs * entries * 4, np.dtype(np.int64))
    sets = *strips, PIECE, numbers[: jobs * entries * 4].reshape(jobs, entries, 4)
    places = g.out_height * g.out_width
    for group in range(g.groups):
        image = data.reshape(-1), group * w.in_channels * w.height * w.width
        target = output.reshape(-1), g.out_channels * places, places, start, group * rows
        part = left._replace(origin=group * group_step)
        parallel.run(_product, jobs, space, data.dtype, part, w, image, target, sets)
    parallel.give_back("pieces", numbers)
    if left.panel_step:
        parallel.give_back("panels", left.data)
    # An infinite weight may have met a zero of the padding, which is no product.
    return output if not any(g.padding[0] + g.padding[1]) or all_finite(flat) else None


@compiled
def turn(source, s, s_step, target, t, t_step, size):
    """Turn a matrix of size (rows, columns), square by square (chapter "Packing: the layer as a matrix product")."""
    n, (rows, columns) = lanes(source), size
    if rows >= n and columns >= n:
        for i in range(0, rows, n):
            for j in range(0, columns, n):
                r, c = min(i, rows - n), min(j, columns - n)
                transpose(source, s + r * s_step + c, s_step, target, t + c * t_step + r, t_step)
    else:  # less than a square: vectors of one number, whose indices need not be looked at
        for r in range(rows):
            for c in range(columns):
                store_some(target, t + c * t_step + r, load_between(source, s + r * s_step + c, 0, 1), 1)


@compiled
def pack(job, jobs, weight, sizes, form, panels, work):
    """One job's weights (group, number of the depth, row, tap) as panels, `wide` rows side by side.

    Some numbers of the depth are taken through all panels: so the weights are read in runs. If there is
    only one, jobs share the panels. Source: chapter "Packing: the layer as a matrix product".
    """
    (groups, depth, rows, taps, run), (wide, backwards), n = sizes, form, lanes(weight)
    parts, padded, sets = -(-depth // run), -(-rows // wide) * wide, -(-rows // wide) if depth == 1 else 1
    first, last = share(job, jobs, groups * parts * sets)
    for item in range(first, last):
        group, begin, low = item // sets // parts, item // sets % parts * run, item % sets * wide
        for row in range(low, rows if sets == 1 else low + 1, wide):
            count, some = min(wide, rows - row), min(run, depth - begin)
            i = ((group * depth + begin) * rows + row) * taps
            j = ((group * padded + row) * depth + begin * wide) * taps
            if count < wide:
                panels[j : j + some * taps * wide] = 0
            if taps == 1:
                copy(weight, i, rows, panels, j, wide, (some, count))
                continue
            for k in range(some):
                to, step = (j + (taps - 1) * wide, -wide) if backwards else (j, wide)
                # A square may write further, where the next numbers of the depth are yet to come.
                further = count >= n and not backwards and (some - k) * taps >= n
                turn(weight, i, taps, panels, to, step, (count, max(taps, n) if further else taps))
                i, j = i + rows * taps, j + taps * wide


def packed(weight, g, turned, form, jobs):
    """The weights of a layer, or of one that it was turned into, in panels of a form as in `pack`.

    They are borrowed: `give_back("panels", ...)`. Source: chapter "Packing: the layer as a matrix product".
    """
    rows, depth = g.out_channels // g.groups, weight.size // g.out_channels
    taps = g.kernel_height * g.kernel_width if turned else depth  # not turned: one long row of taps
    panels = parallel.borrow("panels", g.groups * -(-rows // form[0]) * form[0] * depth, weight.dtype)
    sizes = g.groups, depth // taps, rows, taps, AT_ONCE[taps > 1]
    parallel.run(pack, jobs, 0, weight.dtype, weight, sizes, form, panels)
    return panels


def forward(input, weight, bias, geometry, jobs):
    """The output, or None if it is unsound (chapter "Packing: the layer as a matrix product")."""
    start = np.concatenate([bias, np.zeros(ROWS, bias.dtype)])
    return _multiply(weight, input, start, geometry, False, jobs)


@lru_cache(maxsize=1024)
def turned(g):
    """The layer that computes a layer's learning flow, or None (chapter "Packing: the layer as a matrix product")."""
    (top, bottom), (left, right) = g.padding
    down, across = g.dilation[0] * (g.kernel_height - 1), g.dilation[1] * (g.kernel_width - 1)
    if g.stride != (1, 1) or max(top, bottom) > down or max(left, right) > across:
        return None
    return g._replace(in_channels=g.out_channels, out_channels=g.in_channels, height=g.out_height,
                      width=g.out_width, out_height=g.height, out_width=g.width,
                      padding=((down - top, down - bottom), (across - left, across - right)))


def input_grad(weight, grad_output, geometry, jobs):
    """The learning flow, None if unsound (chapter "Packing: the layer as a matrix product")."""
    return _multiply(weight, grad_output, np.zeros(1, weight.dtype), geometry, True, jobs)


def suits(geometry, dtype):
    """Any layer of floating-point numbers (chapter "Packing: the layer as a matrix product")."""
    return np.dtype(dtype).char in "fd"
