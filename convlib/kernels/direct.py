# Exported from chapters/ by tools/export.py: edit the chapter, not this file.
"""Direct convolution: the lanes are output channels, the rows of a block are places of a line.

The planes of a group are read cell by cell, at any stride. Chapter "A channel by itself" builds this module.
"""

import numpy as np

from convlib import parallel
from convlib.kernels import planes
from convlib.kernels.blocks import in_order, multiply, nought, put, share, take, together
from convlib.kernels.product import copy, packed, turn, turned
from convlib.kernels.simd import all_finite, compiled, inlined, lanes, lanes_of
from convlib.kernels.tuning import NEAR, PIECE, TALL, VECTORS
from convlib.remember import remembered

__all__ = ["suits", "forward", "input_grad"]


# Chapter "A channel by itself" (chapters/alone.ipynb)

@compiled
def _sizes(g, n):
    """Numbers of a line of a group's padded planes, of a plane, of all with what a block may read too far."""
    pitch = g.padding[1][0] + g.width + g.padding[1][1]
    plane = (g.padding[0][0] + g.height + g.padding[0][1]) * pitch
    return pitch, plane, -(-(g.in_channels // g.groups * plane + 2 * TALL * g.stride[1]) // n) * n


@remembered
def _plan(g, n, back):
    """The block, the places of the taps, and the room that a job needs; if back, of the kernel turned."""
    channels, rows, (pitch, plane, cells) = g.in_channels // g.groups, g.out_channels // g.groups, _sizes(g, n)
    vectors, blocks = 1 if -(-rows // n) % VECTORS else VECTORS, -(-g.out_width // TALL)
    tall = 2 * TALL if vectors == 1 and blocks % 2 == 0 else TALL  # two blocks of one vector are one
    shape = ((0,) * vectors,) * tall
    us, vs = (range(taps)[:: -1 if back else 1] for taps in (g.kernel_height, g.kernel_width))
    taps = [c * plane + u * g.dilation[0] * pitch + v * g.dilation[1]
            for c in range(channels) for u in us for v in vs]
    space = cells + g.out_height * blocks * TALL * vectors * n
    return shape, np.array(taps, np.int64), space


@inlined
def _make_places(g, shape, table, operands, unit, buffers):
    """A panel of output channels at all places of an image, some places of a line at a time."""
    (_, weights, start, result), (item, panel), (cells, tile) = operands, unit, buffers
    wide, depth, size = len(shape[0]) * lanes(cells), len(table), g.out_height * g.out_width
    rows, (pitch, _, _) = g.out_channels // g.groups, _sizes(g, lanes(cells))
    channel = (item % g.groups * -(-rows // wide) + panel) * wide
    line = -(-g.out_width // len(shape)) * len(shape)
    for tap in range(0, depth, PIECE):  # a chain: its weights and cells stay near for all places
        for y in range(g.out_height):
            for x in range(0, line, len(shape)):
                goal, place = (y * line + x) * wide, y * g.stride[0] * pitch + x * g.stride[1]
                sums = nought(cells, shape) if tap else take(start, channel, 0, shape)
                for k in range(tap, min(depth, tap + PIECE)):
                    in_order(cells)
                    weight = channel * depth + k * wide
                    sums = multiply(sums, cells, place + table[k], g.stride[1], weights, weight)
                if tap:
                    sums = together(take(tile, goal, wide, shape), sums)
                put(tile, goal, wide, sums)
    for y in range(1, g.out_height if line > g.out_width else 1):  # the lines close ranks
        copy(tile, y * line * wide, 0, tile, y * g.out_width * wide, 0, (1, g.out_width * wide))
    to = (item * rows + panel * wide) * size
    turn(tile, 0, wide, result, to, size, (size, min(wide, rows - panel * wide)))


@compiled
def _correlate_places(job, jobs, g, shape, table, operands, work):
    """One job's panels: the planes of a group of an image are brought, then computed."""
    n, size, before = lanes(work), g.height * g.width, -1
    (pitch, plane, room), sets = _sizes(g, n), -(-(g.out_channels // g.groups) // (len(shape[0]) * n))
    cells, tile, corner = work[:room], work[room:], g.padding[0][0] * pitch + g.padding[1][0]
    cells[:] = 0
    first, last = share(job, jobs, g.batch * g.groups * sets)
    for unit in range(first, last):
        if unit // sets != before:
            before, channels = unit // sets, g.in_channels // g.groups
            for c in range(channels):
                at = (before * channels + c) * size
                copy(operands[0], at, g.width, cells, corner + c * plane, pitch, (g.height, g.width))
        _make_places(g, shape, table, operands, (before, unit % sets), (cells, tile))


def _correlate(data, weight, bias, g, back, jobs):
    """The output of a layer, or of one that it was turned into; None if a weight is not finite."""
    flat, n = weight.reshape(-1), lanes_of(weight.dtype)
    if not all_finite(flat):  # zeros around the planes are no products
        return None
    (shape, table, space), rows = _plan(g, n, back), g.out_channels // g.groups
    wide = len(shape[0]) * n
    panels = packed(flat, g, back, (wide, False), jobs)
    start = np.zeros((g.groups, -(-rows // wide) * wide), flat.dtype)
    start[:, :rows] = bias.reshape(g.groups, -1)
    result = np.empty((g.batch, g.out_channels, g.out_height, g.out_width), flat.dtype)
    operands = data.reshape(-1), panels, start.reshape(-1), result.reshape(-1)
    parallel.run(_correlate_places, jobs, space, flat.dtype, g, shape, table, operands)
    parallel.give_back("panels", panels)
    return result


def suits(geometry, dtype):
    """Whether the planes of a group stay near, both ways (chapter "A channel by itself")."""
    g = geometry
    cells, places = g.in_channels * _sizes(g, 1)[1], g.out_channels * g.out_height * g.out_width
    return max(cells, places) <= NEAR * g.groups


def forward(input, weight, bias, geometry, jobs):
    """Return the output, or None if a weight is not finite (chapter "A channel by itself")."""
    return _correlate(input, weight, bias, geometry, False, jobs)


def input_grad(weight, grad_output, geometry, jobs):
    """Return the learning flow, or None if a weight is not finite (chapter "A channel by itself")."""
    layer, start = turned(geometry), np.zeros(geometry.in_channels, weight.dtype)
    if layer is None:
        return planes.input_grad(weight, grad_output, geometry, jobs)
    return _correlate(grad_output, weight, start, layer, True, jobs)
