# Exported from chapters/ by tools/export.py: edit the chapter, not this file.
"""The gradient of the weights: the same block, over pixels.

One side is turned, so that a vector holds neighbouring channels at one place: the flow, or in 1x1 layers
whichever is cheaper. The other side is read where it lies, at any stride and tap, and only inside the image.
Chapter "Back through the product" builds this module.
"""

import numpy as np

from convlib import parallel
from convlib.kernels.blocks import SHAPE, multiply, nought, put, share, take, together
from convlib.kernels.gather import in_one_line, window_of
from convlib.kernels.product import copy, turn
from convlib.kernels.simd import compiled, inlined, lanes, lanes_of
from convlib.kernels.tuning import PIXELS, ROWS, VECTORS
from convlib.remember import remembered

__all__ = ["NARROW", "layer_windows", "tap_table", "weight_grad"]


# Chapter "Back through the product" (chapters/back.ipynb)

NARROW = ((0,),) * (ROWS * VECTORS)  # a block of as many sums as SHAPE, one vector wide


@compiled
def _find_lines(v, first, last, table):
    """Say where places first .. last - 1 lie: (image, line, begin, end); count the lines."""
    lines = 0
    while first < last:
        line, x = first // v.out_width, first % v.out_width
        table[lines, 0], table[lines, 1] = line // v.out_height, line % v.out_height
        table[lines, 2], table[lines, 3] = x, min(v.out_width, x + last - first)
        first, lines = first + table[lines, 3] - x, lines + 1
    return lines


@compiled
def _turn_places(v, flow, panel, places, turned):
    """Turn some channels at some places of the batch, image by image."""
    (data, origin), (channels, wide), (first, last) = flow, panel, places
    place, cells = first, v.out_height * v.out_width
    while place < last:
        i, count = place % cells, min(last - place, cells - place % cells)
        i += origin + place // cells * v.groups * v.in_channels * cells
        turn(data, i, cells, turned, (place - first) * wide, wide, (channels, count))
        place += count


@inlined
def _over_places(w, data, rows, tap, table, turned, shape):
    """Cells of some rows times the turned side, at one tap: a sum over places with a cell."""
    (place, row_step), (down, across, low, high) = rows, tap
    sums, wide, there = nought(turned, shape), len(shape[0]) * lanes(turned), 0
    image_step = w.groups * w.in_channels * w.height * w.width
    for s in range(len(table)):
        y, x = table[s, 1] * w.stride[0] + down, table[s, 2]
        if 0 <= y < w.height:
            begin, end = max(x, low), min(table[s, 3], high)
            i = place + table[s, 0] * image_step + y * w.width + begin * w.stride[1] + across
            j = (there + begin - x) * wide
            for _ in range(begin, end):
                sums = multiply(sums, data, i, row_step, turned, j)
                i, j = i + w.stride[1], j + wide
        there += table[s, 3] - x
    return sums


@compiled
def _add_rows(w, image, channels, places, taps, panel, shape):
    """Add to a panel's sums, for some channels and all taps, what some places say."""
    (data, origin), (begin, end), cells = image, channels, w.height * w.width
    (table, fresh), (turned, sums), high = places, panel, len(shape)
    wide = len(shape[0]) * lanes(turned)
    height, row_step = (high, cells) if w.in_channels >= high else (1, 0)  # 0: all rows are one
    step = len(taps) * wide if row_step else 0
    for c in range(begin, end, height):
        rows = origin + min(c, w.in_channels - height) * cells, row_step
        for t in range(len(taps)):
            tap = taps[t, 0], taps[t, 1], taps[t, 2], taps[t, 3]
            part = _over_places(w, data, rows, tap, table, turned, shape)
            place = ((c - begin) * len(taps) + t) * wide
            if not fresh:
                part = together(take(sums, place, step, shape), part)
            put(sums, place, step, part)


@compiled
def _hand_over(all_channels, channels, panel, taps, sums, target):
    """Write a panel's sums to the gradient of the weights: (gradient, place, row step)."""
    (begin, end), (count, wide, exchanged), (grad, place, step) = channels, panel, target
    high = len(NARROW) if wide == lanes(sums) else ROWS
    height = high if all_channels >= high else 1
    whole = begin + (end - begin) // height * height
    again = height - (end - whole)  # rows of the last block that were in the one before, too
    for a, b, row in ((begin, whole, 0), (whole, end, (whole - begin + again) * taps)):
        if exchanged:
            copy(sums, row * wide, wide, grad, place + a * step, step, (b - a, count))
        else:
            turn(sums, row * wide, wide, grad, place + a * taps, step, ((b - a) * taps, count))


@compiled
def _weight_product(job, jobs, windows, plan, images, grad, tables, work):
    """One job's part of the gradient: panels of the turned side by channels of the other.

    plan: groups, whether the sides are exchanged (the input's is turned), places in one chain.
    """
    (w, v), (image, flow), (taps, lines), n = windows, images, tables, lanes(work)
    (groups, exchanged, chain), cells, wide = plan, v.out_height * v.out_width, VECTORS * n
    units, panels = -(-w.in_channels // len(NARROW)), -(-v.in_channels // wide)
    turned, sums = work[: chain * wide], work[chain * wide :]
    begin, end = share(job, jobs, groups * panels * units)
    while begin < end:
        low, until = begin % units * len(NARROW), min(end, (begin // units + 1) * units)
        channels = low, min(low + (until - begin) * len(NARROW), w.in_channels)
        group, first = begin // units // panels, begin // units % panels * VECTORS * n
        count, begin, turned[:] = min(VECTORS * n, v.in_channels - first), until, 0
        wide = n if count <= n and w.in_channels >= len(NARROW) else VECTORS * n
        side = image, group * w.in_channels * w.height * w.width
        other, panel = (flow, (group * v.in_channels + first) * cells), (turned, sums)
        for place in range(0, v.batch * cells, chain):
            last = min(place + chain, v.batch * cells)
            places = lines[job, : _find_lines(v, place, last, lines[job])], place == 0
            _turn_places(v, other, (count, wide), (place, last), turned)
            if wide == n:
                _add_rows(w, side, channels, places, taps, panel, NARROW)
            else:
                _add_rows(w, side, channels, places, taps, panel, SHAPE)
        panel, depth = (count, wide, exchanged), w.in_channels * len(taps)
        target = grad, (group * v.in_channels + first) * depth, depth
        if exchanged:
            target = grad, group * depth * v.in_channels + first, v.in_channels
        _hand_over(w.in_channels, channels, panel, len(taps), sums, target)


def layer_windows(g):
    """Return one group's sizes, for input and flow (chapter "Back through the product")."""
    w = window_of(g)
    return w, w._replace(in_channels=g.out_channels // g.groups)


def tap_table(w):
    """Each tap's looks down and right, first place, end (chapter "Back through the product")."""
    step = w.stride[1]
    looks = [(u * w.dilation[0] - w.padding[0][0], v * w.dilation[1] - w.padding[1][0])
             for u in range(w.kernel_height) for v in range(w.kernel_width)]
    return np.array([(down, right, max(0, -(right // step)), (w.width - 1 - right) // step + 1)
                     for down, right in looks], np.int64)


def _cost(rows, columns, n):
    """Instructions for one place with so many channels in rows, so many turned."""
    width = 1 if rows >= len(NARROW) else VECTORS
    return -(-columns // (width * n)) * width * (-(-rows // ROWS) * ROWS + 6)


@remembered
def _sides(g, n):
    """Windows, plan, table of taps and memory of a layer, with vectors of n numbers."""
    w, v = layer_windows(g)
    exchanged = in_one_line(g) and _cost(v.in_channels, w.in_channels, n) < _cost(w.in_channels, v.in_channels, n)
    if exchanged:
        w, v = v, w
    places = g.batch * g.out_height * g.out_width
    places = -(-places // -(-places // PIXELS))  # all chains about as long
    rows = (w.in_channels + len(NARROW)) * w.kernel_height * w.kernel_width
    return (w, v), (g.groups, exchanged, places), tap_table(w), (places + rows) * VECTORS * n


def weight_grad(input, grad_output, g, jobs):
    """Return the gradient of the weights, each sum in one order (chapter "Back through the product")."""
    windows, plan, taps, space = _sides(g, lanes_of(input.dtype))
    (_, v), (_, exchanged, places) = windows, plan
    size = g.out_channels, g.in_channels // g.groups, g.kernel_height, g.kernel_width
    images, grad = (input.reshape(-1), grad_output.reshape(-1)), np.empty(size, input.dtype)
    lines = np.empty((jobs, min(places, places // v.out_width + 2), 4), np.int64)
    tables, images = (taps, lines), images[:: 1 - 2 * exchanged]
    parallel.run(_weight_product, jobs, space, input.dtype, windows, plan, images, grad.reshape(-1), tables)
    return grad
