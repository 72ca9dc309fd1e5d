"""The learning flow: turned product, taps added into padded phase planes.

A panel is ROWS channels at one tap; its product with a strip of the flow is added, in registers, to the cells that
the tap met. The flow's lines are as long as those of the planes, so that adding is one offset.
"""

from typing import NamedTuple

import numpy as np

from convlib.kernels.blocks import SHAPE, multiply, nought, put, share, take, together
from convlib.kernels.shuffles import in_turns
from convlib.kernels.simd import compiled, inlined, lanes, load, store, store_some
from convlib.parallel import aligned
from convlib.kernels.gather import Window, bring_strips
from convlib.kernels import product
from convlib.kernels.tuning import PIECE, ROWS, SET, SPAN, VECTORS


class Flat(NamedTuple):
    """How the planes of one channel lie: all images of a phase behind each other."""

    pitch: int
    lines: int
    phase: int
    channel: int


def flat_of(w, right, bottom):
    """The planes of a window, for all images."""
    pitch = -(-(w.left + w.width + right) // w.step_right)
    lines = -(-(w.top + w.height + bottom) // w.step_down)
    phase = w.batch * lines * pitch + w.kernel_height * w.dilation_down // w.step_down * pitch + 2 * SPAN
    return Flat(pitch, lines, phase, phase * w.step_down * w.step_right)


@inlined
def _tap_place(w, flat, tap):
    u, v = tap // w.kernel_width * w.dilation_down, tap % w.kernel_width * w.dilation_right
    phase = u % w.step_down * w.step_right + v % w.step_right
    return phase * flat.phase + u // w.step_down * flat.pitch + v // w.step_right


@compiled
def add_product(weights, i, depth, strip, planes, place, channel):
    """Add the product of a panel and a strip to ROWS planes."""
    (packed, j), wide = strip, VECTORS * lanes(planes)
    sums = take(planes, place, channel, SHAPE)
    for begin in range(0, depth, PIECE):
        part = nought(planes, SHAPE)
        for _ in range(min(PIECE, depth - begin)):
            part = multiply(part, weights, i, 1, packed, j)
            i, j = i + ROWS, j + wide
        sums = together(sums, part)
    put(planes, place, channel, sums)


@compiled
def put_channel(w, flat, planes, place, target, to):
    """Copy the cells of one channel's phase planes to one image of the input's gradient."""
    n, step = lanes(planes), w.step_right
    for y in range(w.height):
        line, down = (y + w.top) // w.step_down, (y + w.top) % w.step_down
        at = place + down * step * flat.phase + line * flat.pitch
        if step == 1:
            for x in range(0, w.width, n):
                store_some(target, to + x, load(planes, at + w.left + x), w.width - x)
        elif step == 2:
            even, odd = at + w.left // 2, at + flat.phase + w.left // 2
            if w.left % 2:
                even, odd = odd, even + 1
            for x in range(0, w.width, 2 * n):
                low, high = in_turns(load(planes, even + x // 2), load(planes, odd + x // 2))
                store_some(target, to + x, low, w.width - x)
                store_some(target, to + x + n, high, w.width - x - n)
        else:
            for x in range(w.width):
                right, column = (x + w.left) % step, (x + w.left) // step
                target[to + x] = planes[at + right * flat.phase + column]
        to += w.width


@compiled
def scatter(job, jobs, weights, flow, w, flat, target, work):
    """One job's blocks of ROWS channels: weights (numbers, depth), flow (window, numbers, origin)."""
    (numbers, depth), (v, data, origin), (packed, planes, table) = weights, flow, work
    (result, result_origin), taps, wide = target, w.kernel_height * w.kernel_width, VECTORS * lanes(data)
    room, strips = depth * wide + lanes(data), -(-v.batch * v.out_height * v.out_width // wide)
    some = max(1, SET // (depth * VECTORS * 16))
    for first in range(0, strips, some):
        bring_strips(v, data, origin, (first, min(first + some, strips)), packed[first * room :], table)
    begin, end = share(job, jobs, -(-w.channels // ROWS))
    for c in range(begin, end):
        planes[:] = 0
        for first in range(0, strips, some):
            for tap in range(taps):
                for s in range(first, min(first + some, strips)):
                    place = _tap_place(w, flat, tap) + s * wide
                    add_product(numbers, (c * taps + tap) * depth * ROWS, depth, (packed, s * room), planes, place, flat.channel)
        for n in range(w.batch):
            for channel in range(c * ROWS, min((c + 1) * ROWS, w.channels)):
                to = result_origin + n * w.image_step + channel * w.height * w.width
                place = (channel - c * ROWS) * flat.channel + n * flat.lines * flat.pitch
                put_channel(w, flat, planes, place, result, to)


def turned_panels(weight, taps):
    """The weights (K, C, taps) of a group as panels of ROWS channels at one tap."""
    K, C = weight.shape[0], weight.shape[1]
    blocks = -(-C // ROWS)
    panels = np.zeros((blocks, taps, K, ROWS), weight.dtype)
    some = C // ROWS
    three = weight.reshape(K, C, taps)
    panels[:some] = three[:, : some * ROWS].reshape(K, some, ROWS, taps).transpose(1, 3, 0, 2)
    if some < blocks:
        panels[some, :, :, : C - some * ROWS] = three[:, some * ROWS :].transpose(2, 0, 1)
    return panels.reshape(-1)


def input_grad(weight, grad_output, g, jobs):
    """Compute the gradient of a layer's input."""
    turned = product.turned(g)
    if turned is not None:
        return product.input_grad(weight, grad_output, turned)
    (top, bottom), (left, right) = g.padding
    C, K, dtype, taps = g.in_channels // g.groups, g.out_channels // g.groups, weight.dtype, g.kernel_height * g.kernel_width
    w = Window(g.batch, C, g.height, g.width, g.kernel_height, g.kernel_width, *g.stride, top, left, *g.dilation,
               g.out_height, g.out_width, g.in_channels * g.height * g.width)
    flat = flat_of(w, right, bottom)
    v = Window(g.batch, K, g.out_height, g.out_width, 1, 1, 1, 1, 0, 0, 1, 1, flat.lines, flat.pitch,
               g.out_channels * g.out_height * g.out_width)
    result = np.empty((g.batch, g.in_channels, g.height, g.width), dtype)
    n = 64 // dtype.itemsize
    strips, wide = -(-g.batch * flat.lines * flat.pitch // (2 * n // 4)) + 1, VECTORS * n
    packed = aligned(((g.batch * flat.lines * flat.pitch + 2 * wide) * (K + 1),), dtype)
    table = np.empty(((strips + 1) * (wide + 1), 4), np.int64)
    work = packed, aligned((ROWS * flat.channel + 4 * SPAN,), dtype), table
    for group in range(g.groups):
        panels = turned_panels(weight[group * K : (group + 1) * K], taps)
        flow = v, grad_output.reshape(-1), group * K * g.out_height * g.out_width
        scatter(0, 1, (panels, K), flow, w, flat, (result.reshape(-1), group * C * g.height * g.width), work)
    return result
