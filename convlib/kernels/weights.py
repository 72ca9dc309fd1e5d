"""The gradient of the weights: the same block, over pixels.

The flow's strips are the left matrix, read number by number along the pixels; the input's strips are turned, so that
a vector holds neighbouring (channel, tap) of one pixel.
"""

import numpy as np

from convlib.kernels.blocks import SHAPE, multiply, nought, put, share, take, together
from convlib.kernels.shuffles import transpose
from convlib.kernels.simd import compiled, lanes
from convlib.parallel import aligned
from convlib.kernels.gather import Window, bring_strips, strip_room, window_of
from convlib.kernels.tuning import PIXELS, ROWS, SET, VECTORS


@compiled
def some_channels(w, count):
    """The window of `count` channels."""
    return Window(w.batch, count, w.height, w.width, w.kernel_height, w.kernel_width, w.step_down, w.step_right,
                  w.top, w.left, w.dilation_down, w.dilation_right, w.out_height, w.out_width, w.image_step, 0)


@compiled
def turn_strips(source, room, columns, strips, target):
    """Turn strips, each [column][pixel], to [panel of columns][pixel][column]."""
    n, wide = lanes(source), VECTORS * lanes(source)
    length = strips * wide * wide
    for strip in range(strips):
        for column in range(0, columns, n):
            to = column // wide * length + strip * wide * wide + column % wide
            for p in range(0, wide, n):
                transpose(source, strip * room + column * wide + p, wide, target, to + p * wide, wide)


@compiled
def add_pixels(left, i, room, strips, right, j, result):
    """Add what the pixels of some strips say: result is (sums, place, row step)."""
    wide, (sums, place, step) = VECTORS * lanes(right), result
    part = nought(right, SHAPE)
    for strip in range(strips):
        at = i + strip * room
        for p in range(wide):
            part = multiply(part, left, at + p, wide, right, j)
            j += wide
    put(sums, place, step, together(take(sums, place, step, SHAPE), part))


@compiled
def weight_product(job, jobs, v, w, flow, image, result, work):
    """One job's channels: v, w are the windows of the flow and of the input, each with (numbers, origin)."""
    left, right, turned, left_table, table = work
    sums, step, at_once, some = result
    apart = step // -(-w.channels // at_once)  # columns of a block of channels
    n, wide, taps = lanes(sums), VECTORS * lanes(sums), w.kernel_height * w.kernel_width
    strips, cells = -(-v.batch * v.out_height * v.out_width // wide), w.height * w.width
    begin, end = share(job, jobs, -(-w.channels // at_once))
    for block in range(begin, end):
        c = block * at_once
        part = some_channels(w, min(at_once, w.channels - c))
        columns, left_room, room = part.channels * taps, strip_room(v, n), strip_room(part, n)
        for first in range(0, strips, some):
            last = min(first + some, strips)
            bring_strips(v, flow[0], flow[1], (first, last), left, left_table)
            bring_strips(part, image[0], image[1] + c * cells, (first, last), right, table)
            turn_strips(right, room, columns, last - first, turned)
            for column in range(0, columns, wide):
                j = column * (last - first) * wide
                for k in range(0, v.channels, ROWS):
                    there = sums, k * step + block * apart + column, step
                    add_pixels(left, k * wide, left_room, last - first, turned, j, there)


def weight_grad(input, grad_output, g, jobs):
    """Compute the gradient of a layer's weights."""
    w, dtype, K = window_of(g), input.dtype, g.out_channels // g.groups
    v = Window(g.batch, K, w.out_height, w.out_width, 1, 1, 1, 1, 0, 0, 1, 1, w.out_height, w.out_width,
               g.out_channels * g.out_height * g.out_width)
    taps, n = w.kernel_height * w.kernel_width, 64 // dtype.itemsize
    wide, depth = VECTORS * n, w.channels * w.kernel_height * w.kernel_width
    some = PIXELS // wide
    at_once = max(1, min(w.channels, SET // (PIXELS * taps)))
    at_once = max(1, at_once * taps // wide * wide // taps) if at_once < w.channels else at_once
    blocks, apart = -(-w.channels // at_once), -(-at_once * taps // wide) * wide
    step = blocks * apart
    left = np.zeros(some * (K + ROWS + 1) * wide, dtype)
    right = np.zeros(some * (at_once * taps + 2 * n) * wide, dtype)
    turned = aligned((some * (at_once * taps + wide) * wide,), dtype)
    work = left, right, turned, np.empty((some * (wide + 1), 4), np.int64), np.empty((some * taps * (wide + 1), 4), np.int64)
    result = np.empty((g.out_channels, depth), dtype)
    for group in range(g.groups):
        sums = np.zeros((K + ROWS) * step, dtype)
        flow = grad_output.reshape(-1), group * K * g.out_height * g.out_width
        image = input.reshape(-1), group * w.channels * g.height * g.width
        weight_product(0, 1, v, w, flow, image, (sums, step, at_once, some), work)
        columns = sums.reshape(K + ROWS, blocks, apart)[:K, :, : at_once * taps].reshape(K, -1)
        result[group * K : (group + 1) * K] = columns[:, :depth]
    return result.reshape(g.out_channels, w.channels, g.kernel_height, g.kernel_width)
