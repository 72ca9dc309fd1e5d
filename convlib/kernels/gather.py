"""Strips of columns straight from the images: any stride, dilation, padding; small images in one strip.

A strip is as wide as a block. Its columns are output places of the batch, counted through; its rows are
(channel, tap). A table, made once for a strip, says where the pieces of the rows come from: the same for all channels.
"""

from typing import NamedTuple

from convlib.kernels.blocks import load_between
from convlib.kernels.shuffles import every_second
from convlib.kernels.simd import compiled, inlined, lanes, load, store
from convlib.kernels.tuning import VECTORS


class Window(NamedTuple):
    """One group of a layer: sizes and steps, as plain numbers."""

    batch: int
    channels: int  # of the group
    height: int
    width: int
    kernel_height: int
    kernel_width: int
    step_down: int
    step_right: int
    top: int
    left: int
    dilation_down: int
    dilation_right: int
    out_height: int
    out_width: int
    image_step: int  # from image to image in the input
    apart: int = 0  # 1: strips are ordered (tap, channel), and taps without a cell are left out


def window_of(g):
    """The window of a layer; one tap that sees all of an image sees it as one long row."""
    (top, bottom), (left, right) = g.padding
    w = Window(g.batch, g.in_channels // g.groups, g.height, g.width, g.kernel_height, g.kernel_width, *g.stride,
               top, left, *g.dilation, g.out_height, g.out_width, g.in_channels * g.height * g.width)
    if (g.kernel_height, g.kernel_width, *g.stride, top, bottom, left, right) == (1, 1, 1, 1, 0, 0, 0, 0):
        cells = g.height * g.width
        w = w._replace(height=1, width=cells, out_height=1, out_width=cells)
    return w


@compiled
def _find_piece(w, tap, place, count):
    """Where a tap's piece of an output row begins, and which of its lanes are inside the image."""
    n, y, x = place
    u, v = tap // w.kernel_width, tap % w.kernel_width
    row = y * w.step_down - w.top + u * w.dilation_down
    start = v * w.dilation_right - w.left
    low = max(0, -(start // w.step_right))  # the first place not left of the image
    high = (w.width - 1 - start) // w.step_right + 1
    if row < 0 or row >= w.height:
        high = 0
    first = min(max(low - x, 0), count)
    at = n * w.image_step + row * w.width + x * w.step_right + start
    return at, first, max(first, min(high - x, count))


@compiled
def find_pieces(w, column, size, table):
    """Fill the table of a strip: (offset, first lane, last lane, place); return how many pieces a tap has."""
    places = w.out_height * w.out_width
    taps, wide, used, at = w.kernel_height * w.kernel_width, VECTORS * size, 0, 0
    pieces, last = 0, min(wide, w.batch * places - column)
    while at < wide:  # how many
        at += size if at >= last else min(size, w.out_width - (column + at) % places % w.out_width, last - at)
        pieces += 1
    at = 0
    for piece in range(pieces):
        p, count = (column + at) % places, size
        place = (column + at) // places, p // w.out_width, p % w.out_width
        if at < last:
            count = min(size, w.out_width - place[2], last - at)
        for tap in range(taps):
            e = tap * pieces + piece
            table[e, 0], table[e, 1], table[e, 2], table[e, 3] = 0, 0, 0, at
            if at < last:
                table[e, 0], table[e, 1], table[e, 2] = _find_piece(w, tap, place, count)
        at += count
    return pieces


@inlined
def piece(data, at, first, last, step):
    """A vector of cells, side by side or two apart."""
    n = lanes(data)
    if step == 1:
        return load_between(data, at, first, last)
    a, b = 2 * first, 2 * last - 1  # no cell behind the last one is read
    return every_second(load_between(data, at, min(a, n), min(b, n)),
                        load_between(data, at + n, max(a - n, 0), max(b - n, 0)))


@compiled
def _copy_apart(data, entry, base, step, size, to):
    """Cells further apart, one by one: (target, place)."""
    target, place = to
    for i in range(size):
        inside = entry[1] <= i < entry[2]
        target[place + i] = data[base + entry[0] + i * step] if inside else 0


@inlined
def _fill_tap(w, data, base, pieces, target, place):
    """Write one row of a strip from pieces that may lie partly outside the image."""
    for entry in pieces:
        at, to = base + entry[0], place + entry[3]
        if w.step_right <= 2:
            store(target, to, piece(data, at, entry[1], entry[2], w.step_right))
        else:
            _copy_apart(data, entry, base, w.step_right, VECTORS * lanes(data) - entry[3], (target, to))


@inlined
def tap_step(w, n):
    """From tap to tap in a strip; a row's last store may reach a vector further."""
    return w.channels * VECTORS * n + n if w.apart else VECTORS * n


@inlined
def _fill_channel(w, data, base, table, pieces, target, place):
    """Write the rows of one channel, a row for each tap."""
    taps, step = w.kernel_height * w.kernel_width, tap_step(w, lanes(data))
    if pieces < 0:  # all inside the image, and side by side
        for e in range(taps * -pieces):
            store(target, place + table[e, 3], load(data, base + table[e, 0]))
    else:
        for tap in range(taps):
            if not w.apart or table[len(table) - 1, 1] >> tap & 1:
                _fill_tap(w, data, base, table[tap * pieces : (tap + 1) * pieces], target, place + tap * step)


@compiled
def _make_table(w, column, size, table):
    """Fill the table of a strip; return how many pieces a tap has, below zero if all are plain copies."""
    pieces, taps = find_pieces(w, column, size, table), w.kernel_height * w.kernel_width
    whole, alive = w.step_right == 1, column - column
    for e in range(taps * pieces):
        whole = whole and table[e, 1] == 0 and table[e, 2] == size
        if table[e, 1] < table[e, 2]:
            alive |= 1 << e // pieces
    table[len(table) - 1, 1] = alive if w.apart else 1
    if not whole:
        return pieces
    for e in range(taps * pieces):
        table[e, 3] += e // pieces * tap_step(w, size)
    return -pieces


@compiled
def strip_room(w, n):
    """How many numbers a strip takes: a row's last store may reach a vector further."""
    taps = w.kernel_height * w.kernel_width
    return taps * tap_step(w, n) if w.apart else w.channels * taps * VECTORS * n + n


@compiled
def bring_strips(w, data, origin, strips, target, table):
    """Gather strips first .. last - 1 behind each other, channel by channel."""
    n, taps, cells = lanes(data), w.kernel_height * w.kernel_width, w.height * w.width
    wide, count = VECTORS * n, strips[1] - strips[0]
    room = taps * (wide + 1)
    for s in range(count):
        part = table[s * room : (s + 1) * room]
        part[room - 1, 0] = _make_table(w, (strips[0] + s) * wide, n, part)
    for c in range(w.channels):
        for s in range(count):
            part = table[s * room : (s + 1) * room]
            place = s * strip_room(w, n) + c * (wide if w.apart else taps * wide)
            _fill_channel(w, data, origin + c * cells, part, part[room - 1, 0], target, place)
