# Exported from chapters/ by tools/export.py: edit the chapter, not this file.
"""The learning flow of strided layers: each tap's product is added where the tap looks.

A block is some places of the flow by neighbouring channels of the input. Its rows are added to the cells of a
plane whose channels lie side by side; that is turned. Chapter "Back through the product" builds this module.
"""

import numpy as np

from convlib import parallel
from convlib.kernels import product, weights
from convlib.kernels.blocks import SHAPE, multiply, nought, put, share, take, together
from convlib.kernels.simd import compiled, lanes, lanes_of
from convlib.kernels.tuning import DEEP, PIECE, PIXELS, PLANE, SET, SHARES, VECTORS
from convlib.remember import remembered

__all__ = ["input_grad"]


# Chapter "Back through the product" (chapters/back.ipynb)

@compiled
def _pack_flow(v, flow, origin, images, high, packed):
    """Bring the flow of some images: (block of places, channel, place)."""
    cells = v.out_height * v.out_width
    for first in range(0, images * cells, high):
        at = first
        while at < min(first + high, images * cells):  # the places that are in the same image
            some = min(first + high - at, cells - at % cells)
            i = origin + at // cells * v.groups * v.in_channels * cells + at % cells
            j = first * v.in_channels + at - first
            product.copy(flow, i, cells, packed, j, high, (v.in_channels, some))
            at += some


@compiled
def _find_cells(w, first, last, tap, cells):
    """Say which cell each place from the first on meets at a tap; -1: none."""
    line, x = first // w.out_width, first % w.out_width
    image, y = line // w.out_height, line % w.out_height
    for p in range(len(cells)):
        row, column = y * w.stride[0] + tap[0], x * w.stride[1] + tap[1]
        inside = first + p < last and 0 <= row < w.height and 0 <= column < w.width
        cells[p] = (image * w.height + row) * w.width + column if inside else -1
        x += 1
        if x == w.out_width:
            x, y = 0, y + 1
        if y == w.out_height:
            y, image = 0, image + 1


@compiled
def _add_places(cells, flow, weight, plane, tile, shape):
    """Add products of some places and one tap's weights to the cells that the places meet."""
    (packed, start, whole), (panel, begin, step, depth) = flow, weight
    high, wide, row = len(shape), len(shape[0]) * lanes(plane), shape[:1]
    for p in range(0, len(cells), high):
        most = -1
        for r in range(high):
            most = max(most, cells[p + r])
        if most >= 0:
            i, j, sums = start + p * whole, begin, nought(packed, shape)
            for _ in range(depth):  # one chain
                sums = multiply(sums, packed, i, 1, panel, j)
                i, j = i + high, j + step
            put(tile, 0, wide, sums)
            for r in range(high):
                if cells[p + r] >= 0:
                    at = cells[p + r] * wide
                    sum_there = together(take(plane, at, 0, row), take(tile, r * wide, 0, row))
                    put(plane, at, 0, sum_there)


@compiled
def _scatter_panel(windows, images, panel, tables, work, shape):
    """Compute the plane of one panel of channels, for some images."""
    (w, v), (taps, cells), (packed, plane, tile), (numbers, origin) = windows, tables, work, panel
    high, step, plane[:] = len(shape), len(taps) * len(shape[0]) * lanes(plane), 0
    last = images * w.out_height * w.out_width
    for first in range(0, last, len(cells)):
        count = min(len(cells), last - first)
        some = cells[: -(-count // high) * high]
        for t in range(len(taps)):
            _find_cells(w, first, last, (taps[t, 0], taps[t, 1]), some)
            for begin in range(0, v.in_channels, PIECE):
                depth = min(PIECE, v.in_channels - begin)
                flow = packed, first * v.in_channels + begin * high, v.in_channels
                weight = numbers, origin + begin * step + t * (step // len(taps)), step, depth
                _add_places(some, flow, weight, plane, tile, shape)


@compiled
def _scatter(job, jobs, windows, plan, arrays, tables, shape, work):
    """One job's panels of some images; plan: groups, panels of a group's channels, images behind each other."""
    (groups, panels, most), n = plan, lanes(work)
    (w, v), (flow, numbers, grad), (taps, cells) = windows, arrays, tables
    size, places, high = w.height * w.width, w.out_height * w.out_width, len(shape)
    room, wide = (most * places + high) * v.in_channels, len(shape[0]) * n
    square = room + most * size * wide
    packed, plane, tile = work[:room], work[room:square], work[square:]
    begin, end = share(job, jobs, -(-w.batch // most) * groups * panels)
    there = begin - begin - 1  # whose flow is packed
    for item in range(begin, end):
        image = item // panels // groups * most
        images, panel = min(most, w.batch - image), item % (groups * panels)
        group, first = panel // panels, panel % panels * wide
        if item // panels != there:
            there = item // panels
            place = (image * groups + group) * v.in_channels * places
            _pack_flow(v, flow, place, images, high, packed)
        own = numbers, panel * len(taps) * v.in_channels * wide
        some = packed, plane[: images * size * wide], tile
        _scatter_panel(windows, images, own, (taps, cells[job]), some, shape)
        count = min(wide, w.in_channels - first)
        for m in range(images):
            to = (((image + m) * groups + group) * w.in_channels + first) * size
            product.turn(plane, m * size * wide, wide, grad, to, size, (size, count))


@remembered
def _scattering(g, n):
    """Windows, plan, table of taps, block and sizes of a layer, with vectors of n numbers."""
    w, v = weights.layer_windows(g)
    narrow = -(-w.in_channels // n) < -(-w.in_channels // (VECTORS * n)) * VECTORS
    shape = weights.NARROW if narrow else SHAPE
    wide, high = len(shape[0]) * n, len(shape)
    panels, some = -(-w.in_channels // wide), max(1, min(PIXELS, SET // v.in_channels) // high) * high
    images = min(PLANE // (g.height * g.width * wide), g.batch * g.groups * panels // SHARES)
    images = max(1, min(images, g.batch))  # not by jobs: each sum has an order of its own
    images = -(-g.batch // -(-g.batch // images))  # all parts about as large
    flow = (images * g.out_height * g.out_width + high) * v.in_channels
    space = flow + images * g.height * g.width * wide + high * wide
    return (w, v), (g.groups, panels, images), weights.tap_table(w), shape, (some, wide, space)


def _pays(g):
    """Whether a layer of stride 1 is scattered, too: if it is deep, or its taps miss cells."""
    deep = g.out_channels // g.groups >= DEEP or max(g.dilation) > 1
    return deep and g.kernel_height * g.kernel_width > 1


def input_grad(weight, grad_output, g, jobs):
    """Return the learning flow, each sum in one order (chapter "Back through the product")."""
    turned = product.turned(g)
    if turned is not None and not _pays(g):
        return product.input_grad(weight, grad_output, turned, jobs)
    dtype, n = weight.dtype, lanes_of(weight.dtype)
    windows, plan, taps, shape, (some, wide, space) = _scattering(g, n)
    layer = g._replace(in_channels=g.out_channels, out_channels=g.in_channels)
    packed = product.packed(weight.reshape(-1), layer, True, (wide, False), jobs)
    grad = np.empty((g.batch, g.in_channels, g.height, g.width), dtype)
    arrays = grad_output.reshape(-1), packed, grad.reshape(-1)
    tables = taps, np.empty((jobs, some), np.int64)
    parallel.run(_scatter, jobs, space, dtype, windows, plan, arrays, tables, shape)
    parallel.give_back("panels", packed)
    return grad
