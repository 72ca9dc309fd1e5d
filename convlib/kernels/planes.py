# Exported from chapters/ by tools/export.py: edit the chapter, not this file.
"""A channel by itself: padded planes, kept flat and read where they lie. Depthwise, grouped, stems.

A plane is one row of numbers, `pitch` to a line, with the zeros around it; for stride s it is s x s phase planes. A
tap is then an offset, and a block takes whatever vectors come: the numbers between the lines are dropped.
"""

from itertools import product
from typing import NamedTuple

import numpy as np

from convlib import parallel
from convlib.kernels.blocks import (
    SHAPE, dots, every_second, in_order, in_turns, multiply, nought, prefetch, put, share, slide, spread, take,
    together, weigh,
)
from convlib.kernels.product import put_some, turn
from convlib.kernels.simd import all_finite, compiled, inlined, lanes, lanes_of, load, load_between, store, total
from convlib.kernels.tuning import ABREAST, BUNCH, DOTS, FEW, FLOW, LINES, NEARBY, PIECE, SETS, SPAN, SUMS, TALL
from convlib.remember import remembered

__all__ = ["forward", "input_grad", "weight_grad", "suits"]


# Chapter "A channel by itself" (chapters/alone.ipynb)

_COLUMN = ((0,),) * TALL


class _Sheet(NamedTuple):
    """How the planes of one group lie, and what is made of them."""

    batch: int
    groups: int
    channels: int  # of a group
    height: int
    width: int
    down: int  # cells of a phase plane are so far apart
    right: int
    pitch: int  # numbers of a line,
    image: int  # of one image in a phase plane,
    phase: int  # of a phase plane with `bunch` images,
    cells: int  # of all planes of a group
    bunch: int  # images that are brought together
    rows: int  # output channels of a group
    out_height: int
    out_width: int
    turns_down: int  # parts that take turns in the result
    turns_right: int
    tap: int  # from a weight to the one below it, of those that meet the same part
    lines: int = 0  # output lines at a time,
    wide: int = 0  # the numbers of a row of them,
    panel: int = 1  # rows of the flow at a time,
    room: int = 0  # the numbers of all of them,
    sets: int = 1  # and such sets of rows that meet the planes while they are there
    abreast: int = 1  # channels side by side: so many numbers has a cell,
    items: int = 1  # and so many times are an image's planes filled
    by_tap: bool = False  # whether all planes meet a tap, then the next one: else a plane meets all its taps


def _axis(g, axis, back):
    """One axis: parts of the result (first, count, [(tap, phase, place)]), zeros before, cells."""
    step, apart, before = g.stride[axis], g.dilation[axis], g.padding[axis][0]
    size, kernel, places = g[2 + axis], g[5 + axis], g[11 + axis]
    if not back:
        taps = [(u, u * apart % step, u * apart // step) for u in range(kernel)]
        return [(0, places, taps)], before, size
    parts, zeros = [], max(0, (kernel - 1) * apart - before) // step
    for first in range(min(step, size)):
        at = [(u, first + before - u * apart) for u in reversed(range(kernel))]
        taps = [(u, 0, place // step + zeros) for u, place in at if place % step == 0]
        parts.append((first, len(range(first, size, step)), taps))
    return parts, zeros, places


def _extent(parts, zeros, size, step):
    """How many lines of a plane, or numbers of a line; neighbours share their zeros."""
    most = max(count for _, count, _ in parts)
    seen = max((count + x for _, count, taps in parts for _, _, x in taps), default=0)
    if step > 1:
        return max(seen, most, -(-(zeros + size) // step))
    return max(size + max(zeros, seen - zeros - size), most)


def _phases(axes, steps, pitch, phase, abreast):
    """The table of the phase planes: first cell, place (and that of odd cells), lines, cells of a line."""
    (top, height), (left, width) = (each[1:] for each in axes)
    rows, (down, right) = [], steps
    for p in range(down * right):
        y, x = (p // right - top) % down, (p % right - left) % right
        place = (y + top) // down * pitch + (x + left) // right * abreast + p * phase
        size = len(range(y, height, down)), len(range(x, width, right))
        rows.append((y * width + x, place, place, *size))
    if right == 2 and abreast == 1:  # the even and the odd cells of a line are copied together
        pairs = [sorted(rows[p : p + 2]) for p in range(0, len(rows), 2)]
        rows = [(*even[:2], odd[1], even[3], width) for even, odd in pairs]
    return np.array(rows, np.int64)


def _slides(g, back):
    """Whether a layer is depthwise, with kernels that slide."""
    square = g.stride in ((1, 1), (2, 2)) and g.kernel_height <= 7
    whole = not back or min(g.kernel_height, g.kernel_width, g.height, g.width) >= g.stride[0]
    return g.groups == g.in_channels == g.out_channels and g.dilation == (1, 1) and square and whole


def _abreast(g, direction, n):
    """How many channels of a depthwise layer lie side by side: one, or a vector if its lines are short."""
    short = g.out_width <= n * ABREAST[2 * (direction == "weight_grad") + g.stride[1] - 1]
    narrow = short and (direction != "input_grad" or g.stride == (1, 1))
    return n if narrow and min(g.groups, g.height * g.width, g.out_height * g.out_width) >= n else 1


@remembered
def _plan(g, direction, char):
    """The plan of a pass: the sheet, the block's shape, `slide`'s for each part, tables, room."""
    back, weights, n = direction == "input_grad", direction == "weight_grad", lanes_of(char)
    axes, steps = [_axis(g, axis, back) for axis in (0, 1)], (1, 1) if back else g.stride
    image_lines, pitch = (_extent(*each, step) for each, step in zip(axes, steps, strict=True))
    sides = g.in_channels // g.groups, g.out_channels // g.groups
    channels, rows = reversed(sides) if back else sides
    lone = _slides(g, back)
    abreast = _abreast(g, direction, n) if lone else 1
    pitch *= abreast
    image = image_lines * pitch
    bunch = min(max(1, BUNCH // image), g.batch) if weights else 1
    phase = bunch * image + (axes[0][1] + 1) * pitch + SPAN
    cells = channels * steps[0] * steps[1] * phase + 3 * TALL * pitch + SPAN
    sheet = _Sheet(g.batch, g.groups, channels, axes[0][2], axes[1][2], *steps, pitch, image, phase, cells,
        bunch, rows, *(g[2:4] if back else g[11:13]), len(axes[0][0]), len(axes[1][0]),
        g.kernel_width * (-g.stride[0] if back else 1) * abreast,
        abreast=abreast, items=-(-g.groups // abreast), by_tap=back and g.groups > 1)  # fmt: skip
    table, parts, order = _tables(axes, sheet, g.kernel_width, lone)
    sheet, shape, sums = _with_room(sheet, weights, lone, len(table), n)
    tall = [(((0,),) * len(taps), (0,) * steps[0], (0,) * (abreast - 1)) for _, _, taps in axes[0][0]] if lone else []
    if weights:
        table = np.append(table, np.zeros(-len(table) % (1 if lone else DOTS[1]), np.int64))
        tall = [((0,),) * g.kernel_height, *tall]
    tables = _phases(axes, steps, pitch, phase, abreast), table, parts, order
    return sheet, shape, tuple(tall) if lone else None, tables, sheet.cells + sheet.room + sums


def _tables(axes, sheet, kernel_width, lone):
    """Offsets; parts (first, last tap, first line, lines, numbers of a line); the weights' order."""
    s, table, parts, order = sheet, [], [], []
    every = [c * s.down * s.right * s.phase for c in range(s.channels)]
    for first_line, lines, us in axes[0][0]:
        for _, count, vs in axes[1][0]:
            begin = len(table)
            at = [(p * s.right + q) * s.phase + y * s.pitch + x * s.abreast for _, p, y in us for _, q, x in vs]
            weights = [(u * kernel_width + v) * s.abreast for u, _, _ in us for v, _, _ in vs]
            if lone:  # an entry is a column of taps
                at, weights = at[: len(vs)], weights[: len(vs)]
            table += map(sum, product(at, every) if s.by_tap else product(every, at))
            order += weights
            parts.append((begin, len(table), first_line, lines, count))
    return [np.array(each, np.int64) for each in (table, parts, order)]


def _with_room(sheet, weights, lone, taps, n):
    """The sheet, with how much is made at a time, the shape of its blocks, and room for sums."""
    s, most = sheet, -(-sheet.out_height // sheet.turns_down)
    if lone:  # room for the flow, or for a tile
        wide = -(-s.out_width * s.abreast // n) * n if weights or s.abreast > 1 else 0
        room = (max(s.bunch * s.image // s.pitch, s.out_height) + 2 * TALL) * wide
        sums = taps * TALL * n + s.height * s.width * s.abreast
        return s._replace(lines=most, wide=wide, room=room), None, sums
    if not weights:
        filled = s.rows % len(SHAPE) == 0 or s.rows % len(FEW[1]) > 0  # by none better than by SHAPE
        shape = SHAPE if s.rows >= len(SHAPE) and filled else FEW[s.rows > 1]
        lines, block = max(1, min(most, LINES // s.pitch)), len(shape[0]) * n
        wide = -(-(lines * s.pitch + n) // block) * block  # the last block may reach over, and so may the last line
        return s._replace(lines=lines, wide=wide, room=len(shape) * s.turns_right * wide), shape, 0
    height, sums = DOTS[0], (taps + DOTS[1]) * n
    blocks = -(-s.rows // height)
    shared = s.groups * blocks // SETS
    panel = height * max(1, min(blocks, SUMS // (height * sums), shared))
    bunch = max(1, min(s.bunch, FLOW // (panel * s.image)))  # whole images, or parts of one
    lines = -(-most // (1 if bunch > 1 else -(-most * s.pitch * panel // FLOW)))
    wide = (bunch - 1) * s.image + lines * s.pitch + 2 * n
    in_place = bunch == 1 and s.out_width % n == s.rows % height == 0
    room = 0 if in_place else panel * wide
    sets = min(-(-s.rows // panel), max(1, SUMS // (panel * sums)))
    sheet = s._replace(bunch=bunch, lines=lines, wide=wide, panel=panel, room=room, sets=sets)
    return sheet, ((0,) * DOTS[1],) * height, sets * panel * sums


@inlined
def _fill_lines(steps, count, data, at, cells, places):
    """Copy lines in turn, count is (lines, cells): zeros behind one stay, or the next one comes.

    steps is (cell to cell, line to line, line to line of the plane, to what is copied next).
    """
    n = lanes(data)
    for y in range(count[0]):
        start, to, odd = at + y * steps[1], places[0] + y * steps[2], places[1] + y * steps[2]
        if steps[0] > 2:
            for x in range(count[1]):
                cells[to + x] = data[start + x * steps[0]]
        elif steps[0] == 2:
            for x in range(0, count[1], 2 * n):
                a, b = start + x, count[1] - x
                prefetch(data, a + steps[3], 0, SHAPE[:1])
                both = every_second(load_between(data, a, 0, b), load_between(data, a + n, 0, b - n))
                store(cells, to + x // 2, both[0])
                store(cells, odd + x // 2, both[1])
        else:
            for x in range(0, count[1], n):
                prefetch(data, start + x + steps[3], 0, _COLUMN[:1])
                store(cells, to + x, load_between(data, start + x, 0, count[1] - x))


@inlined
def _group_of(sheet, item):
    """The first group of an item, counted through the batch; the last ones of an image are moved back."""
    return item // sheet.items * sheet.groups + min(item % sheet.items * sheet.abreast, sheet.groups - sheet.abreast)


@inlined
def _fill_lanes(sheet, phases, dense, cells, place):
    """Copy cells that are vectors of channels, one by one."""
    n = lanes(cells)
    for p in range(len(phases)):
        for y in range(phases[p, 3]):
            i, j = phases[p, 0] + y * sheet.down * sheet.width, place + phases[p, 1] + y * sheet.pitch
            for x in range(phases[p, 4]):
                store(cells, j + x * n, load(dense, (i + x * sheet.right) * n))


@compiled
def _fill_group(sheet, phases, data, item, cells, slot, dense):
    """Copy the channels of a group of an image; `slot` is where the image lies in each plane."""
    steps = sheet.right, sheet.down * sheet.width, sheet.pitch, sheet.height * sheet.width
    if sheet.abreast > 1:  # as many channels as a vector has lanes
        turn(data, item * steps[3], steps[3], dense, 0, sheet.abreast, (sheet.abreast, steps[3]))
        _fill_lanes(sheet, phases, dense, cells, slot * sheet.image)
        return
    for c in range(sheet.channels):
        at = (item * sheet.channels + c) * steps[3]
        place = c * sheet.down * sheet.right * sheet.phase + slot * sheet.image
        for p in range(len(phases)):
            places, count = (place + phases[p, 1], place + phases[p, 2]), (phases[p, 3], phases[p, 4])
            _fill_lines(steps, count, data, at + phases[p, 0], cells, places)


@compiled
def _make_lines(shape, start, rows, at, cells, source, lines, target):
    """Multiply a panel, at is (place, row step, first, last tap), by cells, source is (place, count, table).

    start is (biases, the first one); target is (place, row step) and where that is copied to.
    """
    (begin, count, table), (place, step, (result, goal, size)) = source, target
    for tap in range(at[2], max(at[3], at[2] + 1), PIECE):  # a chain, even if no tap meets a cell
        for q in range(0, count, len(shape[0]) * lanes(cells)):
            prefetch(result, goal + q, size, shape)
            sums = nought(cells, shape) if tap > at[2] else spread(start[0], start[1], 1, shape)
            for k in range(tap, min(at[3], tap + PIECE)):
                in_order(cells)
                sums = multiply(sums, rows, at[0] + k, at[1], cells, begin + q + table[k])
            if tap > at[2]:
                sums = together(take(lines, place + q, step, shape), sums)
            put(lines, place + q, step, sums)


@inlined
def _put_turns(target, place, a, b, left):
    """Store what is left of a line in which two take turns."""
    both, n = in_turns(a, b), lanes(target)
    put_some(target, place, both[0], left)
    put_some(target, place + n, both[1], left - n)


@inlined
def _put_lines(sheet, lines, at, turn, size, target, to):
    """Copy flat lines, size is (lines, numbers); those `turn` apart take turns in the result's."""
    n, step, turns = lanes(lines), sheet.out_width * sheet.turns_down, sheet.turns_right
    for y in range(size[0]):
        place, begin = to + y * step, at + y * sheet.pitch
        if turns == 1 and step == size[1]:
            for x in range(0, size[1], n):  # what reaches into the next line is overwritten there
                put_some(target, place + x, load(lines, begin + x), (size[0] - y) * step - x)
        elif turns == 2:
            for x in range(0, size[1], 2 * n):
                a, b = load(lines, begin + x // 2), load(lines, begin + turn + x // 2)
                _put_turns(target, place + x, a, b, size[1] - x)
        else:
            for x in range(size[1]):
                target[place + x] = lines[begin + x % turns * turn + x // turns]


@compiled
def _plane_lines(sheet, shape, tables, operands, unit, buffers):
    """All channels of some lines, unit is (item, part, line), and of parts that take turns in them."""
    (_, table, parts, _), (_, rows, start, result), (item, a, y) = tables, operands, unit
    (cells, lines), height, depth = buffers, len(shape), len(table)
    count, turn, group = min(sheet.lines, parts[a, 3] - y), height * sheet.wide, item % sheet.groups
    source, lined = (y * sheet.pitch, count * sheet.pitch, table), (count, sheet.out_width)
    to, size = (parts[a, 2] + y * sheet.turns_down) * sheet.out_width, sheet.out_height * sheet.out_width
    for panel in range(0, sheet.rows, height):
        first = max(0, min(panel, sheet.rows - height))
        begin, at = (start, group * sheet.rows + first), group * max(height, sheet.rows)
        goal = (item * sheet.rows + first) * size + to
        for b in range(sheet.turns_right):
            taps = (at + first) * depth, depth, parts[a + b, 0], parts[a + b, 1]
            target = b * turn, sheet.wide, (result, goal, size)
            _make_lines(shape, begin, rows, taps, cells, source, lines, target)
        for r in range(min(height, sheet.rows)):
            _put_lines(sheet, lines, r * sheet.wide, turn, lined, result, goal + r * size)


@inlined
def _slide_lines(sheet, tables, a, operands, item, buffers, tall):
    """All lines of a part, or of two that take turns, TALL lines at a time; to a tile if channels are abreast."""
    (_, table, parts, order), (_, weights, start, result), (cells, tile) = tables, operands, buffers
    group, c, turns, lines = _group_of(sheet, item), item % sheet.items, sheet.turns_right, parts[a, 3]
    first, wide, n = c * (weights.size // sheet.items), sheet.out_width * sheet.abreast, lanes(cells)
    steps, line_step, size = (sheet.pitch, sheet.phase * sheet.right), sheet.turns_down * wide, sheet.out_height * wide
    to = parts[a, 2] * wide if len(tall[2]) else group * size + parts[a, 2] * wide
    begin = take(start, group % sheet.groups, 0, _COLUMN) if len(tall[2]) else spread(start, c, 0, _COLUMN)
    for line in range(0, lines, TALL):
        y = max(0, min(line, lines - TALL))
        for x in range((parts[a, 4] * sheet.abreast - 1) // n * n, -1, -n):
            place, sums, others = y * sheet.pitch + x, begin, begin
            for e in range(parts[a, 0], parts[a, 1]):
                i, step = first + order[e], sheet.tap
                factors = take(weights, i, step, tall[0]) if len(tall[2]) else spread(weights, i, step, tall[0])
                sums = slide(sums, cells, place + table[e], steps, factors, tall)
            goal, left = to + y * line_step + x * turns, wide - x * turns
            if len(tall[2]):
                put(tile, goal, line_step, sums)
                continue
            prefetch(result, goal + TALL * line_step, line_step, _COLUMN)
            if turns == 1:  # asked once, not for each line
                for r in range(TALL):
                    if r < lines:
                        put_some(result, goal + r * line_step, sums[r][0], (group + 1) * size - goal - r * line_step)
                continue
            for e in range(parts[a + 1, 0], parts[a + 1, 1]):
                factors = spread(weights, first + order[e], sheet.tap, tall[0])
                others = slide(others, cells, place + table[e], steps, factors, tall)
            for r in range(TALL):
                if r < lines:
                    _put_turns(result, goal + r * line_step, sums[r][0], others[r][0], left)


@compiled
def _correlate_planes(job, jobs, sheet, shape, tall, tables, operands, work):
    """One job's images, groups and lines: some planes are brought, then computed."""
    (phases, _, parts, _), cells, rest, before = tables, work[: sheet.cells], work[sheet.cells :], -1
    cells[:], chunks = 0, -(-parts[0, 3] // sheet.lines)
    first, last = share(job, jobs, sheet.batch * sheet.items * chunks)
    for unit in range(first, last):
        item, y = unit // chunks, unit % chunks * sheet.lines
        group = _group_of(sheet, item)
        if item != before:
            before = item
            _fill_group(sheet, phases, operands[0], group, cells, 0, rest[sheet.room :])
        if tall is not None:
            _slide_lines(sheet, tables, 0, operands, item, (cells, rest), tall[0])
            if sheet.turns_down == 2:
                _slide_lines(sheet, tables, sheet.turns_right, operands, item, (cells, rest), tall[-1])
            if sheet.abreast > 1:
                size, n = sheet.out_height * sheet.out_width, lanes(work)
                turn(rest, 0, n, operands[3], group * size, size, (size, n))
        if shape is not None:
            for a in range(0, len(parts), sheet.turns_right):
                if y < parts[a, 3]:
                    _plane_lines(sheet, shape, tables, operands, (item, a, y), (cells, rest))


def _correlate(g, back, data, weight, bias, jobs):
    """Compute the output of a layer, or the flow at its input."""
    dtype, rows = weight.dtype, weight
    sheet, shape, tall, tables, space = _plan(g, "input_grad" if back else "forward", dtype.char)
    if not all_finite(weight.reshape(-1)):  # zeros around the planes are no products
        return None
    if shape:
        rows = weight.reshape(g.groups, g.out_channels // g.groups, g.in_channels // g.groups, -1)
        if back and sheet.by_tap:  # a step through them takes less time than a list of places
            order = slice(None, None, -1) if g.stride == (1, 1) else tables[3]
            rows = rows[..., order].transpose(0, 2, 3, 1)
        elif back:  # the taps of each part of the result, plane by plane
            parts = [rows[..., tables[3][a // sheet.channels : b // sheet.channels]] for a, b in tables[2][:, :2]]
            rows = np.concatenate([part.transpose(0, 2, 1, 3).reshape(1, sheet.rows, -1) for part in parts], 2)
        rows = rows.reshape(g.groups, sheet.rows, -1)
        if sheet.rows < len(shape):
            rows = np.concatenate([rows, np.zeros((g.groups, len(shape) - sheet.rows, rows.shape[2]), dtype)], 1)
    if sheet.abreast > 1:
        begin = np.minimum(np.arange(sheet.items) * sheet.abreast, g.groups - sheet.abreast)
        rows = weight.reshape(g.groups, -1)[begin[:, None] + np.arange(sheet.abreast)].transpose(0, 2, 1)
    start = np.zeros(g.groups * sheet.rows + len(SHAPE), dtype)
    start[: len(bias)] = bias
    result = np.empty((g.batch, g.groups * sheet.rows, sheet.out_height, sheet.out_width), dtype)
    operands = data.reshape(-1), np.ascontiguousarray(rows).reshape(-1), start, result.reshape(-1)
    parallel.run(_correlate_planes, jobs, space, dtype, sheet, shape, tall, tables, operands)
    return result


def forward(input, weight, bias, geometry, jobs):
    """Return the output, or None if a weight is not finite (chapter "A channel by itself")."""
    return _correlate(geometry, False, input, weight, bias, jobs)


def input_grad(weight, grad_output, geometry, jobs):
    """Return the learning flow, or None if a weight is not finite (chapter "A channel by itself")."""
    return _correlate(geometry, True, grad_output, weight, (), jobs)


@compiled
def _fill_flow(sheet, flow, at, size, lines, pitch):
    """Copy lines of the flow, size is (rows, lines, images), to flat ones, with zeros between."""
    places, n = sheet.out_height * sheet.out_width, lanes(lines)
    steps = 1, sheet.out_width, pitch, places * sheet.rows
    for image in range(size[2]):
        for r in range(size[0]):
            start = at + (image * sheet.groups * sheet.rows + r) * places
            place = image * sheet.image // sheet.pitch * pitch + r * sheet.wide
            if sheet.abreast > 1:
                turn(flow, start, places, lines, place, n, (n, places))
                continue
            _fill_lines(steps, (size[1], sheet.out_width), flow, start, lines, (place, place))


@compiled
def _add_dots(shape, flow, rows, size, cells, place, table, sums):
    """Add the dot products of rows of the flow with the cells at all taps to sums of vectors.

    rows is (first place, from row to row); size is (rows, numbers of each, numbers of a line, what
    a line of the planes is longer).
    """
    (start, row_step), (count, length, line, longer) = rows, size
    n, step, some = lanes(cells), len(table) * lanes(cells), max(1, NEARBY * lanes(cells) // line) * line
    for begin in range(0, length, some):  # a chain: what meets in it stays near
        for r in range(0, count, len(shape)):
            for k in range(0, len(table), len(shape[0])):
                part = nought(cells, shape)
                for y in range(begin, min(length, begin + some), line):
                    at, cell = start + r * row_step, place + y // line * longer
                    for q in range(y, min(length, y + line), n):
                        part = dots(part, flow, (at + q, row_step), cells, cell + q, table, k)
                so_far = r * step + k * n
                put(sums, so_far, step, together(take(sums, so_far, step, shape), part))


@compiled
def _add_slides(sheet, tall, lines, count, cells, table, sums):
    """Add what the flow of `count` lines met at each tap to sums of vectors."""
    (column, taps), n, step = tall, lanes(cells), len(table) * lanes(cells)
    steps, some = (sheet.pitch, sheet.phase * sheet.right), max(1, PIECE * n // (TALL * sheet.wide)) * 2 * TALL
    for v in range(len(table)):
        for begin in range(0, count, some):
            part = other = nought(cells, column)  # two chains: one does not wait for the other
            for y in range(begin, min(count, begin + some), 2 * TALL):
                for x in range(0, sheet.wide, n):
                    at, place = y * sheet.wide + x, y * sheet.pitch + x + table[v]
                    part = weigh(part, take(lines, at, sheet.wide, _COLUMN), cells, place, steps, taps)
                    at, place = at + TALL * sheet.wide, place + TALL * sheet.pitch
                    other = weigh(other, take(lines, at, sheet.wide, _COLUMN), cells, place, steps, taps)
            put(sums, v * n, step, together(take(sums, v * n, step, column), together(part, other)))


@compiled
def _meet_planes(job, jobs, sheet, shape, tall, tables, operands, work):
    """One job's rows: some planes are brought, then the flow at some output channels meets them."""
    (phases, table, _, _), (data, flow, result), n = tables, operands, lanes(work)
    cells, rest, depth = work[: sheet.cells], work[sheet.cells :], result.size // (sheet.groups * sheet.rows)
    lines, sums, wide = rest[: sheet.room], rest[sheet.room :], depth if shape is None else len(table)
    sets, pitch = -(-sheet.rows // sheet.panel), sheet.wide if shape is None else sheet.pitch
    work[: sheet.cells + sheet.room] = 0
    begin, last = share(job, jobs, sheet.items * sets)
    while begin < last:
        group, some = _group_of(sheet, begin // sets), min(sheet.sets, last - begin, sets - begin % sets)
        sums[: some * sheet.panel * wide * n] = 0
        for image in range(0, sheet.batch, sheet.bunch):
            images = min(sheet.bunch, sheet.batch - image)
            for slot in range(images):
                place = (image + slot) * sheet.groups + group
                _fill_group(sheet, phases, data, place, cells, slot, sums[depth * n :])
            for part in range(-(-sheet.out_height // sheet.lines) * some):
                own, y = part % some, part // some * sheet.lines
                row = (begin + own) % sets * sheet.panel
                at = ((image * sheet.groups + group) * sheet.rows + row) * sheet.out_height + y
                high, line = min(sheet.lines, sheet.out_height - y), sheet.out_width
                numbers, rows, count = flow, (at * line, sheet.out_height * line), min(sheet.panel, sheet.rows - row)
                size = count, high * line, line, sheet.pitch - line
                if sheet.room:
                    if high < sheet.lines or images < sheet.bunch:  # the zeros between lines stay, but not those behind
                        lines[:] = 0
                    _fill_flow(sheet, flow, at * line, (count, high, images), lines, pitch)
                    length = (images - 1) * sheet.image + high * sheet.pitch
                    numbers, rows, size = lines, (0, sheet.wide), (sheet.panel, length, NEARBY * n, 0)
                so_far = sums[own * sheet.panel * wide * n :]
                if tall is not None:
                    _add_slides(sheet, tall, lines, size[1] // sheet.pitch, cells, table, so_far)
                if shape is not None:
                    _add_dots(shape, numbers, rows, size, cells, y * sheet.pitch, table, so_far)
        if sheet.abreast > 1:  # each lane is a channel's own sum
            for k in range(depth * n):
                result[(group + k % n) * depth + k // n] = sums[k]
        else:
            row = begin % sets * sheet.panel
            for r in range(min(some * sheet.panel, sheet.rows - row)):
                for k in range(depth):
                    result[(group * sheet.rows + row + r) * depth + k] = total(load(sums, (r * wide + k) * n))
        begin += some


def weight_grad(input, grad_output, geometry, jobs):
    """Return the gradient of the weights, or None if it is not finite (chapter "A channel by itself")."""
    g, dtype = geometry, input.dtype
    sheet, shape, tall, tables, space = _plan(g, "weight_grad", dtype.char)
    result = np.empty((g.out_channels, sheet.channels, g.kernel_height, g.kernel_width), dtype)
    operands = input.reshape(-1), grad_output.reshape(-1), result.reshape(-1)
    parallel.run(_meet_planes, jobs, space, dtype, sheet, shape, tall, tables, operands)
    return result if all_finite(operands[2]) else None


def suits(geometry, dtype):
    """Whether channels, or few of them, are computed by themselves (chapter "A channel by itself")."""
    return geometry.groups > 1 or geometry.in_channels <= 16
