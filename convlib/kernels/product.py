"""The layer as a matrix product: one driver, one order of loops.

rows (output channels x depth) times strips (depth x columns). Strips outside, row panels inside.
"""

from typing import NamedTuple

import numpy as np

from convlib.kernels.blocks import SHAPE, multiply, nought, put, share, spread, together
from convlib.kernels.simd import compiled, inlined, lanes, load, store_some
from convlib.parallel import aligned
from convlib.kernels.gather import bring_strips, strip_room, window_of
from convlib.kernels.tuning import IN_PLACE, PIECE, ROWS, SET, VECTORS


class Rows(NamedTuple):
    """The left matrix: how its panels of ROWS rows are read."""

    data: np.ndarray
    origin: int
    count: int  # of rows
    depth: int  # of a span
    spans: int  # taps, where they are apart; else 1
    row_step: int
    depth_step: int
    panel_step: int  # 0: panels begin at their first row; else at a multiple of this


class Target(NamedTuple):
    """Where the product goes: (image, row, place), with a start for each row."""

    data: np.ndarray
    origin: int
    image_step: int
    places: int  # of an image
    start: np.ndarray
    first_start: int


class Strip(NamedTuple):
    """The right matrix of one strip: rows `step` apart from `place`."""

    data: np.ndarray
    place: int
    step: int
    alive: int  # a bit for each span that counts


@inlined
def first_row(rows, panel):
    """Where a panel begins: the last one, if it reads rows where they are, further back."""
    return panel * ROWS if rows.panel_step else max(0, min(panel * ROWS, rows.count - ROWS))


@compiled
def panel_product(rows, panel, strip, target):
    """The block that one panel of rows and one strip make, in chains of bounded length."""
    first = first_row(rows, panel)
    i = rows.origin + (panel * rows.panel_step if rows.panel_step else first * rows.row_step)
    j, step = strip.place, rows.depth_step
    start = min(1, target.start.size - 1)
    sums = spread(target.start, (target.first_start + first) * start, start, SHAPE)
    for span in range(rows.spans):
        for begin in range(0, rows.depth if strip.alive >> span & 1 else 0, PIECE):
            at, to = i + begin * step, j + begin * strip.step
            part = nought(strip.data, SHAPE)
            for _ in range(min(PIECE, rows.depth - begin)):
                part = multiply(part, rows.data, at, rows.row_step, strip.data, to)
                at, to = at + step, to + strip.step
            sums = together(sums, part)
        i, j = i + rows.depth * step, j + rows.depth * strip.step + lanes(strip.data)
    return sums


@compiled
def put_pieces(block_place, tile, column, columns, target, count):
    """Copy the rows of a tile to the images that its columns belong to."""
    wide, n, at = VECTORS * lanes(tile), lanes(tile), 0
    while at < columns:
        image, p = (column + at) // target.places, (column + at) % target.places
        size = min(columns - at, target.places - p)
        for r in range(count):
            to = target.origin + image * target.image_step + (block_place + r) * target.places + p
            for x in range(0, size, n):
                store_some(target.data, to + x, load(tile, r * wide + at + x), size - x)
        at += size


@compiled
def put_block(rows, panel, block, column, target, tile):
    """Write a block where it belongs: straight, or by way of a tile."""
    wide = VECTORS * lanes(tile)
    image, p = column // target.places, column % target.places
    first = first_row(rows, panel)
    count = min(ROWS, rows.count - first)
    if p + wide <= target.places and count == ROWS:
        to = target.origin + image * target.image_step + first * target.places + p
        put(target.data, to, target.places, block)
    else:
        put(tile, 0, wide, block)
        columns = min(wide, target.data.size // target.image_step * target.places - column)
        put_pieces(first, tile, column, columns, target, count)


@compiled
def multiply_strips(rows, w, panels, strips, target, work):
    """Multiply the rows of some panels by packed strips: one panel by all strips, then the next."""
    packed, tile, table = work
    wide, room = VECTORS * lanes(packed), strip_room(w, lanes(packed))
    entries = w.kernel_height * w.kernel_width * (wide + 1)
    for panel in range(panels[0], panels[1]):
        for s in range(strips[0], strips[1]):
            at = s - strips[0]
            strip = Strip(packed, at * room, wide, table[(at + 1) * entries - 1, 1])
            sums = panel_product(rows, panel, strip, target)
            put_block(rows, panel, sums, s * wide, target, tile)


@compiled
def multiply_in_place(rows, w, image, strips, target, work):
    """Multiply by strips where they are, but gather those that reach over an image's end."""
    (data, origin), (packed, tile, table) = image, work
    wide, panels = VECTORS * lanes(packed), -(-rows.count // ROWS)
    for s in range(strips[0], strips[1]):
        n, p = s * wide // w.out_width, s * wide % w.out_width
        strip = Strip(data, origin + n * w.image_step + p, w.width, 1)
        if p + wide > w.out_width:
            bring_strips(w, data, origin, (s, s + 1), packed, table)
            strip = Strip(packed, 0, wide, 1)
        for panel in range(panels):
            put_block(rows, panel, panel_product(rows, panel, strip, target), s * wide, target, tile)


@compiled
def product(job, jobs, rows, w, image, target, work):
    """One job's part of a product: its strips, or where there are few, its rows."""
    (data, origin), (packed, tile, table) = image, work
    wide, panels = VECTORS * lanes(data), -(-rows.count // ROWS)
    strips, some = -(-w.batch * target.places // wide), max(1, SET // (rows.depth * rows.spans * VECTORS * 16))
    mine, my_panels = share(job, jobs, strips), (0, panels)
    if strips < 4 * jobs:
        mine, my_panels = (0, strips), share(job, jobs, panels)
    if rows.count <= IN_PLACE and w.height == 1 and w.out_width == w.width:
        return multiply_in_place(rows, w, image, mine, target, work)
    for first in range(mine[0], mine[1], some):
        bunch = first, min(first + some, mine[1])
        bring_strips(w, data, origin, bunch, packed, table)
        multiply_strips(rows, w, my_panels, bunch, target, work)


def workspace(depth, taps, dtype):
    """Memory for one job: strips, a tile, a table."""
    n = 64 // np.dtype(dtype).itemsize  # enough for any machine
    strips = max(1, SET // (depth * VECTORS * 16))
    table = np.empty((strips * taps * (VECTORS * n + 1), 4), np.int64)
    return aligned((strips * (depth * VECTORS + taps + 1) * n,), dtype), np.empty((ROWS + 1) * VECTORS * n, dtype), table


def taps_apart(g):
    """How many taps a layer has whose taps often meet only zeros; 0 for other layers."""
    taps = g.kernel_height * g.kernel_width
    return taps if 1 < taps < 60 and max(g.dilation) > 1 and g.groups == 1 else 0


def apart_window(g):
    return window_of(g)._replace(apart=1 if taps_apart(g) else 0)


def weight_rows(weight, group, size, apart):
    """The weights of a group as rows, where they are; fewer than ROWS with zeros below."""
    K, depth = size, weight[0].size
    if apart:
        weight = np.ascontiguousarray(weight.transpose(0, 2, 3, 1))
    span = depth // apart if apart else depth
    if size >= ROWS:
        return Rows(weight.reshape(-1), group * size * depth, size, span, depth // span, depth, 1, 0)
    data = np.zeros((ROWS, depth), weight.dtype)
    data[:size] = weight.reshape(-1, depth)[group * size:][:size]
    return Rows(data.reshape(-1), 0, K, span, depth // span, depth, 1, 0)


def multiply_image(rows_of, input, w, start, shape, groups):
    """Multiply the rows of each group by the group's part of all images."""
    output = np.empty(shape, input.dtype)
    taps, size = w.kernel_height * w.kernel_width, shape[1] // groups
    work, places = workspace(w.channels * taps, taps, input.dtype), shape[2] * shape[3]
    for group in range(groups):
        image = input.reshape(-1), group * w.channels * input.shape[2] * input.shape[3]
        target = Target(output.reshape(-1), group * size * places, shape[1] * places, places, start, group * size)
        product(0, 1, rows_of(group), w, image, target, work)
    return output


def forward(input, weight, bias, g, jobs):
    """Compute a layer's output."""
    size, start = g.out_channels // g.groups, np.zeros(1, input.dtype)
    if bias is not None:
        start = np.concatenate([bias, np.zeros(ROWS, bias.dtype)])
    shape = g.batch, g.out_channels, g.out_height, g.out_width
    return multiply_image(lambda group: weight_rows(weight, group, size, taps_apart(g)), input, apart_window(g), start, shape, g.groups)


def turned_rows(weight, group, size, apart):
    """The turned weights of a group as packed panels: a row for each input channel."""
    part = weight[group * size : (group + 1) * size, :, ::-1, ::-1]
    K, C, kh, kw = part.shape
    panels = np.zeros((-(-C // ROWS), K * kh * kw, ROWS), weight.dtype)
    for first in range(0, C, ROWS):
        some = part[:, first : first + ROWS]
        panels[first // ROWS, :, : some.shape[1]] = some.transpose(*((2, 3, 0, 1) if apart else (0, 2, 3, 1))).reshape(-1, some.shape[1])
    spans = apart or 1
    return Rows(panels.reshape(-1), 0, C, K * kh * kw // spans, spans, 1, ROWS, K * kh * kw * ROWS)


def turned(g):
    """The layer of stride 1 that computes the input's gradient, or None if there is none."""
    (top, bottom), (left, right) = g.padding
    down, across = g.dilation[0] * (g.kernel_height - 1), g.dilation[1] * (g.kernel_width - 1)
    if g.stride != (1, 1) or max(top, bottom) > down or max(left, right) > across:
        return None
    return g._replace(in_channels=g.out_channels, out_channels=g.in_channels, height=g.out_height, width=g.out_width,
                      out_height=g.height, out_width=g.width,
                      padding=((down - top, down - bottom), (across - left, across - right)))


def input_grad(weight, grad_output, t):
    """Compute the gradient of a layer's input, given the layer that is turned."""
    size, start = t.in_channels // t.groups, np.zeros(1, weight.dtype)
    shape = t.batch, t.out_channels, t.out_height, t.out_width
    return multiply_image(lambda group: turned_rows(weight, group, size, taps_apart(t)), grad_output, apart_window(t), start, shape, t.groups)


def suits(geometry, dtype):
    """Any layer of floating-point numbers."""
    return True
