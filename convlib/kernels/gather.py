# Exported from chapters/ by tools/export.py: edit the chapter, not this file.
"""Strips of columns straight from the images: any stride, dilation, padding and batch.

A strip is as wide as a block. Its columns are places of the output, counted through the batch; its rows are
(channel, tap). A list says where the pieces of the rows come from, the same for all channels.
Chapter "Packing: the layer as a matrix product" builds this module.
"""

from convlib.kernels.blocks import SHAPE, every_second, prefetch
from convlib.kernels.simd import compiled, inlined, lanes, load, load_between, store
from convlib.kernels.tuning import AHEAD, VECTORS

__all__ = ["window_of", "in_one_line", "strip_room", "table_rows", "taps_met", "cells_at", "bring_strips"]


# Chapter "Packing: the layer as a matrix product" (chapters/packing.ipynb)

def window_of(g):
    """One group of a layer (chapter "Packing: the layer as a matrix product")."""
    cells = g.height * g.width
    one = {"height": 1, "width": cells, "out_height": 1, "out_width": cells}
    w = g._replace(in_channels=g.in_channels // g.groups)
    return w._replace(**one) if in_one_line(g) else w  # an image is one long line


def in_one_line(g):
    """Whether a place sees only its own cell (chapter "Packing: the layer as a matrix product")."""
    return g[5:9] == (1, 1, (1, 1), ((0, 0), (0, 0)))


@compiled
def strip_room(w, n):
    """How many numbers a strip takes (chapter "Packing: the layer as a matrix product")."""
    # What is written last may reach a vector further.
    return w.in_channels * w.kernel_height * w.kernel_width * VECTORS * n + n


def table_rows(w, strips, n):
    """How many rows a table of pieces needs (chapter "Packing: the layer as a matrix product")."""
    wide = VECTORS * n
    pieces = min(wide, VECTORS + (wide - 2) // w.out_width + 3)
    return strips * w.kernel_height * w.kernel_width * pieces


@inlined
def _inside(w, start, count):
    """The first of `count` places that sees a cell of a line, and the first behind them."""
    low, high = -start, w.width - start
    if w.stride[1] > 1:
        low, high = -(start // w.stride[1]), (w.width - 1 - start) // w.stride[1] + 1
    first = min(max(low, 0), count)
    return first, max(first, min(high, count))


@compiled
def _list_pieces(w, strips, taps, size, table):
    """List the pieces of a channel's rows: parts of vectors in front, whole ones at the end."""
    places, wide, parts, whole = w.out_height * w.out_width, VECTORS * size, 0, len(table)
    image_step = w.groups * w.in_channels * w.height * w.width
    for tap in range(taps[0], taps[1]):
        down = tap // w.kernel_width * w.dilation[0] - w.padding[0][0]
        right = tap % w.kernel_width * w.dilation[1] - w.padding[1][0]
        for s in range(strips[0], strips[1]):
            place = (tap - taps[0]) * wide + (s - strips[0]) * strip_room(w, size)
            n, p, end = s * wide // places, s * wide % places, place + wide
            y, x = p // w.out_width, p % w.out_width
            while place < end:
                row, start = y * w.stride[0] + down, x * w.stride[1] + right
                count, first, last = min(size, w.out_width - x), 0, 0
                if n >= w.batch:
                    count = size
                elif 0 <= row < w.height:
                    first, last = _inside(w, start, min(count, end - place))
                fits = last - first == size and w.stride[1] == 1
                e = whole - 1 if fits else parts
                parts, whole = (parts, e) if fits else (parts + 1, whole)
                table[e, 0] = n * image_step + row * w.width + start if first < last else 0
                table[e, 1], table[e, 2], table[e, 3] = first, last, place
                place, x = place + count, x + count
                if x == w.out_width:
                    x, y = 0, y + 1
                if y == w.out_height:
                    y, n = 0, n + 1
    return parts, whole


@compiled
def taps_met(w, strip, n):
    """The taps from the first to the last that see cells (chapter "Packing: the layer as a matrix product")."""
    wide, first, last = VECTORS * n, 0, w.kernel_height - 1
    p = strip * wide % (w.out_height * w.out_width)
    if w.kernel_height > 1 and p + wide <= w.out_height * w.out_width:  # all in one image
        lines = p // w.out_width, (p + wide - 1) // w.out_width
        first = max(0, -((lines[1] * w.stride[0] - w.padding[0][0]) // w.dilation[0]))
        last = min(last, (w.height - 1 + w.padding[0][0] - lines[0] * w.stride[0]) // w.dilation[0])
    return first * w.kernel_width, max(first, last + 1) * w.kernel_width


@inlined
def cells_at(data, at, step, first, last):
    """Cells, or every second one, in lanes first .. last - 1 (chapter "Packing: the layer as a matrix product")."""
    if step == 1:
        return load_between(data, at, first, last)
    n, a, b = lanes(data), 2 * first, 2 * last - 1  # no cell behind the last one is read
    return every_second(load_between(data, at, a, b), load_between(data, at + n, a - n, b - n))[0]


@compiled
def bring_strips(w, data, at, strips, taps, target, table):
    """Gather the rows of some taps for strips first .. last - 1, which lie behind each other.

    What a part of a vector writes too far is written anew by the pieces that come later.
    Source: chapter "Packing: the layer as a matrix product".
    """
    n, to, step = lanes(data), 0, w.stride[1]
    parts, whole = _list_pieces(w, strips, taps, n, table)
    for _ in range(w.in_channels):
        for e in range(parts):
            cell, place, first, last = at + table[e, 0], to + table[e, 3], table[e, 1], table[e, 2]
            if step <= 2:
                store(target, place, cells_at(data, cell, step, first, last))
            else:  # cells further apart, one by one
                for i in range(n):
                    target[place + i] = data[cell + i * step] if first <= i < last else 0
        for e in range(whole, len(table)):
            prefetch(data, at + table[e, 0] + AHEAD * w.height * w.width, 0, (SHAPE[0][:1],))
            store(target, to + table[e, 3], load(data, at + table[e, 0]))
        at, to = at + w.height * w.width, to + (taps[1] - taps[0]) * VECTORS * n
