"""A channel by itself: padded planes, read where they lie. Depthwise, grouped, stems.

A plane is kept as one row of numbers, `pitch` to a line, the zeros around it included; for stride s as s x s phase
planes. A tap is then an offset, and a block takes whatever vectors come: the numbers between the lines are dropped.
"""

from typing import NamedTuple

import numpy as np

from convlib.kernels.blocks import SHAPE, dots, multiply, nought, put, row_of, share, slide, spread, take, together
from convlib.kernels.simd import compiled, inlined, lanes, lanes_of, load, load_some, store, store_some, total
from convlib.parallel import aligned
from convlib.kernels.gather import Window, piece
from convlib.kernels.product import Rows, Target
from convlib.kernels.tuning import FLOW, PIECE, SPAN, TALL

COLUMN = ((0,),) * TALL


class Planes(NamedTuple):
    """How one channel's phase planes lie: line length, numbers of a phase, of a channel."""

    pitch: int
    phase: int
    channel: int


def planes_of(w, right, bottom):
    """The planes of a window."""
    down, across = w.step_down, w.step_right
    pitch = -(-(w.left + w.width + right) // across)
    if across == 1:  # the zeros at the right are those at the left of the next line
        pitch = max(w.width + max(w.left, right), w.out_width)
    lines = -(-(w.top + w.height + bottom) // down)
    phase = (lines + 1) * pitch + SPAN
    return Planes(pitch, phase, phase * down * across)


@compiled
def tap_places(w, planes, table):
    """Where, from an output place on, the number for (channel, tap) lies."""
    k = 0
    for c in range(w.channels):
        for u in range(w.kernel_height):
            row, down = u * w.dilation_down // w.step_down, u * w.dilation_down % w.step_down
            for v in range(w.kernel_width):
                column, right = v * w.dilation_right // w.step_right, v * w.dilation_right % w.step_right
                phase = c * planes.channel + (down * w.step_right + right) * planes.phase
                table[k] = phase + row * planes.pitch + column
                k += 1


@inlined
def fill_line(data, at, step, count, target, place):
    """Copy `count` cells that are `step` apart; the numbers up to the end of the vector become zeros."""
    n = lanes(data)
    if step == 1:
        for x in range(0, count, n):
            store(target, place + x, load_some(data, at + x, count - x))
    elif step == 2:
        for x in range(0, count, n):
            store(target, place + x, piece(data, at + 2 * x, 0, min(n, count - x), 2))
    else:
        for x in range(count):
            target[place + x] = data[at + x * step]


@compiled
def find_phases(w, planes, phases):
    """For each phase plane: its first cell in a channel, where it goes, how many lines and cells it has."""
    p = 0
    for down in range(w.step_down):
        for right in range(w.step_right):
            y, x = (down - w.top) % w.step_down, (right - w.left) % w.step_right
            place = (y + w.top) // w.step_down * planes.pitch + (x + w.left) // w.step_right
            phases[p, 0], phases[p, 1] = y * w.width + x, p * planes.phase + place
            phases[p, 2] = (w.height - y + w.step_down - 1) // w.step_down
            phases[p, 3] = (w.width - x + w.step_right - 1) // w.step_right
            p += 1


@compiled
def fill_channel(w, pitch, phases, data, at, target, place):
    """Copy one channel into its phase planes; the zeros around it are there already.

    Lines are written in turn: what is written behind one is zero, as it should be, or comes next.
    """
    for p in range(len(phases)):
        start, to = at + phases[p, 0], place + phases[p, 1]
        for _ in range(phases[p, 2]):
            fill_line(data, start, w.step_right, phases[p, 3], target, to)
            start, to = start + w.step_down * w.width, to + pitch


@compiled
def make_lines(rows, shape, at, begin, cells, table, lines):
    """Multiply a panel of rows by `count` cells: at is (row place, cell place, count), begin (numbers, place, step)."""
    step, wide = len(shape[0]) * lanes(cells), lines.size // len(shape)
    for q in range(0, at[2], step):
        sums = spread(begin[0], begin[1], begin[2], shape)
        for k in range(0, rows.depth, PIECE):
            part = nought(cells, shape)
            for tap in range(k, min(k + PIECE, rows.depth)):
                part = multiply(part, rows.data, at[0] + tap, rows.depth, cells, at[1] + q + table[tap])
            sums = together(sums, part)
        put(lines, q, wide, sums)


@inlined
def put_lines(lines, wide, pitch, size, target, to):
    """Copy output lines from flat ones: size is (rows, lines, width), `to` (place, row step)."""
    n = lanes(lines)
    for r in range(size[0]):
        at, place, left = r * wide, to[0] + r * to[1], size[1] * size[2]
        for _ in range(size[1]):
            for x in range(0, size[2], n):  # what reaches into the next line is overwritten there
                if left - x >= n:
                    store(target, place + x, load(lines, at + x))
                else:
                    store_some(target, place + x, load(lines, at + x), left - x)
            at, place, left = at + pitch, place + size[2], left - size[2]


@inlined
def plane_group(rows, w, layout, group, target, to, work):
    """All output channels of one group of one image, some output lines at a time."""
    (pitch, shape), (cells, lines, table) = layout, work
    height, start_step = len(shape), min(1, target.start.size - 1)
    wide, above = lines.size // height, group * max(height, rows.count)
    some = max(1, (wide - len(shape[0]) * lanes(cells)) // pitch)
    for y in range(0, w.out_height, some):
        count = min(some, w.out_height - y)
        for panel in range(0, rows.count, height):
            first = max(0, min(panel, rows.count - height))
            at = (above + first) * rows.depth, y * pitch, count * pitch
            begin = target.start, (group * rows.count + first) * start_step, start_step
            make_lines(rows, shape, at, begin, cells, table, lines)
            size = min(height, rows.count), count, w.out_width
            put_lines(lines, wide, pitch, size, target.data, (to + first * target.places + y * w.out_width, target.places))


@compiled
def plane_product(job, jobs, rows, w, layout, image, target, work):
    """One job's images and groups."""
    (planes, shape), (data, groups) = layout, image
    cells, lines, table, phases = work
    cells[:] = 0
    tap_places(w, planes, table)
    find_phases(w, planes, phases)
    first, last = share(job, jobs, w.batch * groups)
    for item in range(first, last):
        n, group = item // groups, item % groups
        at = n * w.image_step + group * w.channels * w.height * w.width
        for c in range(w.channels):
            fill_channel(w, planes.pitch, phases, data, at + c * w.height * w.width, cells, c * planes.channel)
        to = n * target.image_step + group * rows.count * target.places
        plane_group(rows, w, (planes.pitch, shape), group, target, to, (cells, lines, table))


@inlined
def slide_channel(weights, i, w, layout, cells, table, to):
    """All output lines of one depthwise channel: TALL lines at a time; `to` is (array, place, start)."""
    (planes, taps), (result, place, start), n = layout, to, lanes(cells)
    steps = planes.pitch, planes.phase * w.step_right, w.kernel_width
    for y in range(0, w.out_height, TALL):
        line = max(0, min(y, w.out_height - TALL))
        for x in range(0, w.out_width, n):
            sums = spread(start[0], start[1], 0, COLUMN)
            for v in range(w.kernel_width):
                at = line * planes.pitch + x + table[v]
                sums = slide(sums, cells, at, steps, weights, i + v, taps)
            for r in range(min(TALL, w.out_height)):
                store_some(result, place + (line + r) * w.out_width + x, row_of(sums, r), w.out_width - x)


@compiled
def slide_product(job, jobs, weights, w, layout, image, target, work):
    """One job's channels of a depthwise layer."""
    (planes, taps), (data, channels), (cells, table, phases) = layout, image, work
    cells[:] = 0
    tap_places(w, planes, table)
    find_phases(w, planes, phases)
    start_step = min(1, target.start.size - 1)
    first, last = share(job, jobs, w.batch * channels)
    for item in range(first, last):
        c = item % channels
        fill_channel(w, planes.pitch, phases, data, item * w.height * w.width, cells, 0)
        to = target.data, item * target.places, (target.start, c * start_step)
        slide_channel(weights, c * w.kernel_height * w.kernel_width, w, layout, cells, table, to)


def slides(g):
    """Whether a layer is depthwise, with kernels that slide."""
    return g.groups == g.in_channels == g.out_channels and g.dilation == (1, 1) and g.kernel_height <= 7 and g.stride[0] <= 2


def slide_forward(input, weight, bias, w, planes, g):
    """Compute a depthwise layer's output."""
    dtype, places = input.dtype, g.out_height * g.out_width
    output = np.empty((g.batch, g.out_channels, g.out_height, g.out_width), dtype)
    start = np.zeros(1, dtype) if bias is None else bias
    work = (aligned((planes.channel + TALL * w.step_down * planes.pitch + SPAN,), dtype),
            np.empty(g.kernel_height * g.kernel_width, np.int64), np.empty((g.stride[0] * g.stride[1], 4), np.int64))
    target = Target(output.reshape(-1), 0, g.out_channels * places, places, start, 0)
    taps = (0,) * g.kernel_height, (0,) * g.stride[0]
    slide_product(0, 1, weight.reshape(-1), w, (planes, taps), (input.reshape(-1), g.groups), target, work)
    return output


def shape_for(size, dtype):
    """The block for so many output channels in a group."""
    n = lanes_of(dtype)
    if size >= len(SHAPE):
        return SHAPE
    return ((0,) * (64 // n),) if size == 1 else ((0,) * 3,) * 4


def forward(input, weight, bias, g, jobs):
    """Compute a layer's output."""
    (top, bottom), (left, right) = g.padding
    w = Window(g.batch, g.in_channels // g.groups, g.height, g.width, g.kernel_height, g.kernel_width, *g.stride,
               top, left, *g.dilation, g.out_height, g.out_width, g.in_channels * g.height * g.width)
    planes, size, places = planes_of(w, right, bottom), g.out_channels // g.groups, g.out_height * g.out_width
    if slides(g):
        return slide_forward(input, weight, bias, w, planes, g)
    depth, dtype = w.channels * w.kernel_height * w.kernel_width, input.dtype
    output = np.empty((g.batch, g.out_channels, g.out_height, g.out_width), dtype)
    shape = shape_for(size, dtype)
    start = np.zeros(1, dtype) if bias is None else np.concatenate([bias, np.zeros(8, dtype)])
    rows = padded_rows(weight, g.groups, len(shape))
    lines = aligned((len(shape) * max(2 * planes.pitch + 2 * SPAN, 2048),), dtype)
    work = aligned((w.channels * planes.channel + SPAN,), dtype), lines, np.empty(depth, np.int64), np.empty((g.stride[0] * g.stride[1], 4), np.int64)
    target = Target(output.reshape(-1), 0, g.out_channels * places, places, start, 0)
    plane_product(0, 1, rows, w, (planes, shape), (input.reshape(-1), g.groups), target, work)
    return output


def padded_rows(weight, groups, height):
    """The weights of all groups as rows; fewer than `height` with zeros below."""
    size, depth = weight.shape[0] // groups, weight[0].size
    data = weight.reshape(groups, size, depth)
    if size < height:
        data = np.zeros((groups, height, depth), weight.dtype)
        data[:, :size] = weight.reshape(groups, size, depth)
    return Rows(data.reshape(-1), 0, size, depth, 1, depth, 1, max(size, height) * depth)


@inlined
def fill_flow(data, at, size, places, target, pitch, wide):
    """Copy some lines, size is (rows, lines, width), of the flow to flat ones, with zeros between and behind."""
    zero = load_some(data, 0, 0)
    for r in range(size[0]):
        start, to = at + r * places, r * wide
        for _ in range(size[1]):
            fill_line(data, start, 1, size[2], target, to)
            start, to = start + size[2], to + pitch
        store(target, to, zero)


@inlined
def add_dots(shape, lines, wide, length, cells, place, table, sums):
    """Add the dot products of all lines with the cells at all taps to sums of vectors."""
    n, height, width = lanes(cells), len(shape), len(shape[0])
    at = 0
    for r in range(0, lines.size // wide // height * height, height):
        for k in range(0, len(table), width):
            part = nought(cells, shape)
            for q in range(0, length, n):
                part = dots(part, lines, r * wide + q, wide, cells, place + q, table, k)
            put(sums, at, width * n, together(take(sums, at, width * n, shape), part))
            at += height * width * n


@compiled
def dot_planes(job, jobs, w, layout, image, flow, result, work):
    """One job's groups: the flow is (numbers, places, image step, channels of a group)."""
    (planes, shape), (data, groups), (grad, places, grad_step, count) = layout, image, flow
    cells, lines, table, phases, sums = work
    n, wide, cells_of_image = lanes(cells), lines.size // (-(-count // len(shape)) * len(shape)), w.height * w.width
    some = max(1, (wide - 2 * n) // planes.pitch)
    cells[:] = 0
    lines[:] = 0
    tap_places(w, planes, table)
    find_phases(w, planes, phases)
    first, last = share(job, jobs, groups)
    for group in range(first, last):
        sums[:] = 0
        for image_number in range(w.batch):
            at = image_number * w.image_step + group * w.channels * cells_of_image
            for c in range(w.channels):
                fill_channel(w, planes.pitch, phases, data, at + c * cells_of_image, cells, c * planes.channel)
            start = image_number * grad_step + group * count * places
            for y in range(0, w.out_height, some):
                size = count, min(some, w.out_height - y), w.out_width
                fill_flow(grad, start + y * w.out_width, size, places, lines, planes.pitch, wide)
                add_dots(shape, lines, wide, size[1] * planes.pitch, cells, y * planes.pitch, table, sums)
        for i in range(sums.size // n):
            result[group, i] = total(load(sums, i * n))


def weight_grad(input, grad_output, g, jobs):
    """Compute the gradient of a layer's weights."""
    (top, bottom), (left, right) = g.padding
    w = Window(g.batch, g.in_channels // g.groups, g.height, g.width, g.kernel_height, g.kernel_width, *g.stride,
               top, left, *g.dilation, g.out_height, g.out_width, g.in_channels * g.height * g.width)
    planes, K, places, dtype = planes_of(w, right, bottom), g.out_channels // g.groups, g.out_height * g.out_width, input.dtype
    shape, depth = ((0,) * 5,) if K == 1 else ((0,) * 4,) * 4, w.channels * w.kernel_height * w.kernel_width
    height, width, n = len(shape), len(shape[0]), lanes_of(dtype)
    panels, columns = -(-K // height), -(-depth // width)
    wide = max(planes.pitch, min(g.out_height * planes.pitch, FLOW // K)) + 4 * n
    lines = aligned((panels * height * wide,), dtype)
    sums = aligned((panels * height * columns * width * n,), dtype)
    work = (aligned((w.channels * planes.channel + SPAN,), dtype), lines, np.zeros(columns * width, np.int64),
            np.empty((g.stride[0] * g.stride[1], 4), np.int64), sums)
    result = np.empty((g.groups, sums.size // n), dtype)
    flow = grad_output.reshape(-1), places, g.out_channels * places, K
    dot_planes(0, 1, w, (planes, shape), (input.reshape(-1), g.groups), flow, result, work)
    blocks = result.reshape(g.groups, panels, columns, height, width).transpose(0, 1, 3, 2, 4)
    whole = blocks.reshape(g.groups, panels * height, columns * width)[:, :K, :depth]
    return np.ascontiguousarray(whole).reshape(g.out_channels, w.channels, g.kernel_height, g.kernel_width)


def turned_weight(weight, groups):
    """The weights with input and output channels exchanged in each group, and their taps turned."""
    K, C = weight.shape[0] // groups, weight.shape[1]
    parts = weight.reshape(groups, K, C, *weight.shape[2:])[..., ::-1, ::-1].transpose(0, 2, 1, 3, 4)
    return np.ascontiguousarray(parts).reshape(groups * C, K, *weight.shape[2:])


def _axis_phase(phase, axis, g, size, places):
    """Along one axis: first cell of a phase, number of cells, of taps, first flow place read, zeros before and after."""
    step, before, kernel = g.stride[axis], g.padding[axis][0], (g.kernel_height, g.kernel_width)[axis]
    first = (phase - before) % step
    count, taps = len(range(first, size, step)), len(range(phase, kernel, step))
    start = (first + before) // step - (taps - 1)
    end = start + count + taps - 1
    return first, count, taps, slice(max(start, 0), max(0, min(end, places))), (max(-start, 0), max(end - places, 0))


def input_grad(weight, grad_output, g, jobs):
    """Compute the gradient of a layer's input: each phase of its cells is a layer of stride 1."""
    result = np.zeros((g.batch, g.in_channels, g.height, g.width), weight.dtype)
    down, across = g.stride
    for u in range(min(down, g.kernel_height)):
        y, h, kh, rows, above = _axis_phase(u, 0, g, g.height, g.out_height)
        for v in range(min(across, g.kernel_width)):
            x, w, kw, columns, beside = _axis_phase(v, 1, g, g.width, g.out_width)
            flow = np.ascontiguousarray(grad_output[:, :, rows, columns])
            if h * w == 0 or flow.size == 0:
                continue
            t = g._replace(in_channels=g.out_channels, out_channels=g.in_channels, height=flow.shape[2], width=flow.shape[3],
                           kernel_height=kh, kernel_width=kw, stride=(1, 1), padding=(above, beside), out_height=h, out_width=w)
            part = forward(flow, turned_weight(weight[:, :, u::down, v::across], g.groups), None, t, jobs)
            result[:, :, y::down, x::across] = part
    return result


def suits(geometry, dtype):
    """Whether channels, or few of them, are computed by themselves."""
    return geometry.groups > 1 or geometry.in_channels <= 4
