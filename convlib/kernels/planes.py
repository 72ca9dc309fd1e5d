# Exported from chapters/ by tools/export.py: edit the chapter, not this file.
"""A channel by itself: padded planes, kept flat and read where they lie. Depthwise, grouped, stems.

A plane is one row of numbers, `pitch` to a line, with the zeros around it; for stride s it is s x s
phase planes. A tap is then an offset, and a block takes whatever vectors come: the numbers between
the lines are dropped.
"""

from functools import lru_cache
from itertools import product
from typing import NamedTuple

import numpy as np

from convlib import parallel
from convlib.kernels.blocks import (
    SHAPE,
    dots,
    multiply,
    nought,
    put,
    share,
    slide,
    spread,
    take,
    together,
    weigh,
)
from convlib.kernels.shuffles import every_second, in_turns
from convlib.kernels.simd import (
    all_finite,
    compiled,
    inlined,
    lanes,
    lanes_of,
    load,
    load_some,
    store,
    store_some,
    total,
)
from convlib.kernels.tuning import BUNCH, DOTS, FEW, FLOW, LINES, PIECE, SPAN, SUMS, TALL

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
    lines: int  # output lines at a time,
    wide: int  # and the numbers of a row of them


class _Plan(NamedTuple):
    """Everything that sizes and settings decide."""

    sheet: _Sheet
    phases: np.ndarray  # first cell, place, lines, cells of a line
    table: np.ndarray  # of each tap: its offset, its weight
    parts: np.ndarray  # first and last tap, first line of the result, lines, numbers of a line
    order: np.ndarray  # of the taps of a kernel
    tall: tuple  # for each part in turn, as many zeros as `slide` has taps, and as it has phases
    space: int  # numbers a job needs


def _axis(g, axis, back):
    """One axis: parts of the result (first, count, [(tap, phase, place)]), zeros before, cells."""
    step, apart, before = g.stride[axis], g.dilation[axis], g.padding[axis][0]
    size, kernel, places = g[2 + axis], g[5 + axis], g[11 + axis]
    if not back:
        taps = [(u, u * apart % step, u * apart // step) for u in range(kernel)]
        return [(0, places, taps)], before, size
    parts, zeros = [], 0
    for first in range(min(step, size)):
        at = [(u, first + before - u * apart) for u in reversed(range(kernel))]
        taps = [(u, 0, place // step) for u, place in at if place % step == 0]
        zeros = max(zeros, -min((place for _, _, place in taps), default=0))
        parts.append((first, len(range(first, size, step)), taps))
    return [(*each, [(u, p, x + zeros) for u, p, x in taps]) for *each, taps in parts], zeros, places


def _extent(parts, zeros, size, step):
    """How many lines of a plane, or numbers of a line; neighbours share their zeros."""
    seen = max((count + x for _, count, taps in parts for _, _, x in taps), default=0)
    most = max(count for _, count, _ in parts)
    if step > 1:
        return max(seen, most, -(-(zeros + size) // step))
    return max(size + max(zeros, seen - zeros - size), most)


def _phases(axes, steps, g, pitch, phase):
    """The table of the phase planes."""
    (top, height), (left, width) = (each[1:] for each in axes)
    rows, (down, right) = [], steps
    for p in range(down * right):
        y, x = (p // right - top) % down, (p % right - left) % right
        place = (y + top) // down * pitch + (x + left) // right + p * phase
        rows.append((y * width + x, place, len(range(y, height, down)), len(range(x, width, right))))
    return np.array(rows, np.int64)


def _slides(g, back):
    """Whether a layer is depthwise, with kernels that slide."""
    square = g.stride in ((1, 1), (2, 2)) and g.kernel_height <= 7
    whole = not back or min(g.kernel_height, g.kernel_width, g.height, g.width) >= g.stride[0]
    return g.groups == g.in_channels == g.out_channels and g.dilation == (1, 1) and square and whole


@lru_cache(maxsize=512)
def _plan(g, direction, char):
    """Make the plan of a pass."""
    back, lone, n = direction == "input_grad", _slides(g, direction == "input_grad"), lanes_of(char)
    axes, steps = [_axis(g, axis, back) for axis in (0, 1)], (1, 1) if back else g.stride
    image_lines, pitch = (_extent(*each, step) for each, step in zip(axes, steps, strict=True))
    channels, rows = g.in_channels // g.groups, g.out_channels // g.groups
    if back:
        channels, rows = rows, channels
    image, top = image_lines * pitch, axes[0][1]
    bunch = 1 if direction != "weight_grad" and not lone else max(1, BUNCH // image)
    if direction == "weight_grad":
        bunch = min(g.batch, max(1, min(bunch, PIECE * n // image)))
    phase = bunch * image + (top + 1) * pitch + SPAN
    cells = channels * steps[0] * steps[1] * phase + 3 * TALL * pitch + SPAN
    table, parts, order = _tables(axes, g, lone, back, (channels, steps, pitch, phase))
    sheet = _Sheet(
        g.batch, g.groups, channels, axes[0][2], axes[1][2], *steps, pitch, image, phase, cells,
        bunch, rows, *(g[2:4] if back else g[11:13]), len(axes[0][0]), len(axes[1][0]), 0, 0,
    )  # fmt: skip
    sheet, space = _with_room(sheet, direction, lone, len(table), max(parts[:, 3]), n)
    tall = tuple(((0,) * len(taps), (0,) * steps[0]) for _, _, taps in axes[0][0]) if lone else ()
    return _Plan(sheet, _phases(axes, steps, g, pitch, phase), table, parts, order, tall, space)


def _tables(axes, g, lone, back, layout):
    """The tables of taps and parts, and the order in which weights are read."""
    (channels, steps, pitch, phase), table, parts, order = layout, [], [], []
    for first_line, lines, us in axes[0][0]:
        for _, count, vs in axes[1][0]:
            begin, first = len(table), len(order)
            at = {(u, v): (p * steps[1] + q) * phase + y * pitch + x
                  for u, p, y in us for v, q, x in vs}  # fmt: skip
            every = [c * steps[0] * steps[1] * phase for c in range(channels)]
            if lone:  # an entry is a column of taps
                weights = range(first, first + len(vs) * len(us), len(us)) if back else range(len(vs))
                table += [(at[us[0][0], v[0]], i) for v, i in zip(vs, weights, strict=True)]
                order += [u[0] * g.kernel_width + v[0] for v in vs for u in us]
            else:
                pairs = product(at.values(), every) if back else product(every, at.values())
                table += [(offset + other, 0) for offset, other in pairs]
                order += [u * g.kernel_width + v for u, v in at]
            parts.append((begin, len(table), first_line, lines, count))
    return np.array(table, np.int64).reshape(-1, 2), np.array(parts, np.int64), np.array(order, np.int64)


def _shape_for(rows):
    """The block for so many output channels of a group."""
    return SHAPE if rows >= len(SHAPE) else FEW[rows > 1]


def _with_room(sheet, direction, lone, taps, most, n):
    """The sheet, with how many lines are made at a time, and the numbers that a job needs."""
    s, lines = sheet, max(1, min(most, LINES // sheet.pitch))
    if direction != "weight_grad":
        shape = _shape_for(s.rows)
        block = len(shape[0]) * n  # the last one may reach over, and so may the last line
        wide = -(-(lines * s.pitch + n) // block) * block
        room = 0 if lone else len(shape) * s.turns_right * wide
        return s._replace(lines=lines, wide=wide), s.cells + room
    if lone:
        wide = -(-s.out_width // n) * n
        flow = (s.bunch * s.image // s.pitch + 2 * TALL) * wide
        return s._replace(lines=s.out_height, wide=wide), s.cells + flow + taps * TALL * n
    panels = -(-s.rows // DOTS[0])
    some = max(1, min(panels, SUMS // (DOTS[0] * (taps + DOTS[1]) * n)))
    rows = some * DOTS[0]
    bunch = max(1, min(s.bunch, FLOW // (rows * s.image)))  # whole images, or parts of one
    lines = -(-most // (1 if bunch > 1 else -(-most * s.pitch * rows // FLOW)))
    length = (bunch - 1) * s.image + lines * s.pitch + 2 * n
    sheet = s._replace(bunch=bunch, lines=lines, wide=length, turns_down=some)
    return sheet, s.cells + rows * (length + (taps + DOTS[1]) * n)


@inlined
def _cells_at(data, at, step, left):
    """A vector of cells that are one or two apart; zeros behind the last one."""
    if step == 1:
        return load_some(data, at, left)
    last = 2 * left - 1
    return every_second(load_some(data, at, last), load_some(data, at + lanes(data), last - lanes(data)))


@compiled
def _fill_lines(steps, count, data, at, cells, place):
    """Copy lines, count is (lines, cells): steps is (cell to cell, line to line, line to line of the plane).

    Lines are written in turn: the zeros that are written behind one stay there, or the next line comes.
    """
    n = lanes(data)
    if steps[0] <= 2 and count[1] <= n:
        for y in range(count[0]):
            store(cells, place + y * steps[2], _cells_at(data, at + y * steps[1], steps[0], count[1]))
    elif steps[0] <= 2:
        for y in range(count[0]):
            start, to = at + y * steps[1], place + y * steps[2]
            for x in range(0, count[1], n):
                store(cells, to + x, _cells_at(data, start + x * steps[0], steps[0], count[1] - x))
    else:
        for y in range(count[0]):
            for x in range(count[1]):
                cells[place + y * steps[2] + x] = data[at + y * steps[1] + x * steps[0]]


@inlined
def _fill_channel(steps, phases, data, at, cells, place):
    """Copy one channel into its phase planes; the zeros around it are there already."""
    for p in range(len(phases)):
        _fill_lines(steps, (phases[p, 2], phases[p, 3]), data, at + phases[p, 0], cells, place + phases[p, 1])


@inlined
def _fill_group(sheet, phases, data, item, cells, slot):
    """Copy the channels of a group of an image; `slot` is where the image lies in each plane."""
    size, steps = sheet.height * sheet.width, (sheet.right, sheet.down * sheet.width, sheet.pitch)
    for c in range(sheet.channels):
        place = c * len(phases) * sheet.phase + slot * sheet.image
        _fill_channel(steps, phases, data, (item * sheet.channels + c) * size, cells, place)


@inlined
def _chain(sums, rows, at, table, some, cells, place):
    """Add a chain of products: at is (place of the first weight, row step), some (first, last) tap."""
    for k in range(some[0], some[1]):
        sums = multiply(sums, rows, at[0] + k, at[1], cells, place + table[k, 0])
    return sums


@compiled
def _make_lines(start, rows, at, table, cells, source, lines, target):
    """Multiply a panel, at is (place, row step, first, last tap), by cells, source is (place, count)."""
    first, last, panel = at[2], at[3], (at[0], at[1])
    for q in range(0, source[1], len(start[0]) * lanes(cells)):
        place, until = source[0] + q, min(last, first + PIECE)
        sums = _chain(start, rows, panel, table, (first, until), cells, place)
        for k in range(until, last, PIECE):
            part = nought(cells, start)
            sums = together(sums, _chain(part, rows, panel, table, (k, min(last, k + PIECE)), cells, place))
        put(lines, target[0] + q, target[1], sums)


@inlined
def _put_lines(sheet, lines, at, turn, size, target, to):
    """Copy flat lines, size is (lines, numbers); those `turn` apart take turns in the result's."""
    n, step, left = lanes(lines), sheet.out_width * sheet.turns_down, size[0] * size[1]
    for y in range(size[0]):
        place, begin = to + y * step, at + y * sheet.pitch
        if sheet.turns_right == 1 and step == size[1]:
            for x in range(0, size[1], n):  # what reaches into the next line is overwritten there
                if left - x >= n:
                    store(target, place + x, load(lines, begin + x))
                else:
                    store_some(target, place + x, load(lines, begin + x), left - x)
            left -= size[1]
        elif sheet.turns_right == 2:
            for x in range(0, size[1], 2 * n):
                both = in_turns(load(lines, begin + x // 2), load(lines, begin + turn + x // 2))
                store_some(target, place + x, both[0], size[1] - x)
                store_some(target, place + x + n, both[1], size[1] - x - n)
        else:
            for x in range(size[1]):
                target[place + x] = lines[begin + x % sheet.turns_right * turn + x // sheet.turns_right]


@inlined
def _plane_lines(sheet, shape, tables, a, y, operands, cells, lines):
    """All channels of some lines of the result, for the parts that take turns in them."""
    (table, parts), (rows, group, start, result, to) = tables, operands
    height, places, depth = len(shape), sheet.out_height * sheet.out_width, len(table)
    count, step, turn = min(sheet.lines, parts[a, 3] - y), min(1, start.size - 1), height * sheet.wide
    for panel in range(0, sheet.rows, height):
        first = max(0, min(panel, sheet.rows - height))
        begin = spread(start, (group * sheet.rows + first) * step, step, shape)
        for b in range(sheet.turns_right):
            at = (group * max(height, sheet.rows) + first) * depth, depth, parts[a + b, 0], parts[a + b, 1]
            source = y * sheet.pitch, count * sheet.pitch
            _make_lines(begin, rows, at, table, cells, source, lines, (b * turn, sheet.wide))
        for r in range(min(height, sheet.rows)):
            place = to + (first + r) * places + (parts[a, 2] + y * sheet.turns_down) * sheet.out_width
            _put_lines(sheet, lines, r * sheet.wide, turn, (count, sheet.out_width), result, place)


@compiled
def _plane_product(job, jobs, sheet, shape, tables, operands, result, work):
    """One job's images, groups and lines."""
    (phases, table, parts), (data, rows, start) = tables, operands
    cells, lines, before = work[: sheet.cells], work[sheet.cells :], -1
    cells[:] = 0
    chunks, size = -(-parts[0, 3] // sheet.lines), sheet.rows * sheet.out_height * sheet.out_width
    first, last = share(job, jobs, sheet.batch * sheet.groups * chunks)
    for unit in range(first, last):
        item, y = unit // chunks, unit % chunks * sheet.lines
        if item != before:
            _fill_group(sheet, phases, data, item, cells, 0)
            before = item
        for a in range(0, len(parts), sheet.turns_right):
            told = rows, item % sheet.groups, start, result, item * size
            if y < parts[a, 3]:
                _plane_lines(sheet, shape, (table, parts), a, y, told, cells, lines)


@inlined
def _columns(sums, weights, at, table, cells, place, steps, tall):
    """Add columns of taps, at is (first weight, first, last column), to output lines below each other."""
    for e in range(at[1], at[2]):
        sums = slide(sums, cells, place + table[e, 0], steps, weights, at[0] + table[e, 1], tall)
    return sums


@inlined
def _put_some(target, place, vector, left):
    """Store what is left of a line; masks cost time where registers are small."""
    if left >= lanes(target):
        store(target, place, vector)
    else:
        store_some(target, place, vector, left)


@inlined
def _slide_lines(sheet, kernel, tables, a, source, target, tall):
    """All lines of a part, or of two that take turns, TALL lines at a time."""
    (weights, i, tap, start, s), (table, parts), (cells, at), (result, to) = kernel, tables, source, target
    n, wide, lines = lanes(cells), sheet.out_width, parts[a, 3]
    steps, begin = (sheet.pitch, sheet.phase * sheet.right, tap), spread(start, s, 0, _COLUMN)
    for line in range(0, lines, TALL):
        y = max(0, min(line, lines - TALL))
        for x in range(0, parts[a, 4], n):
            place, left = at + y * sheet.pitch + x, wide - x * sheet.turns_right
            goal = to + (parts[a, 2] + y * sheet.turns_down) * wide + x * sheet.turns_right
            sums = _columns(begin, weights, (i, parts[a, 0], parts[a, 1]), table, cells, place, steps, tall)
            if sheet.turns_right == 1:
                for r in range(TALL):
                    if r < lines:
                        _put_some(result, goal + r * sheet.turns_down * wide, sums[r][0], left)
            else:
                some = i, parts[a + 1, 0], parts[a + 1, 1]
                others = _columns(begin, weights, some, table, cells, place, steps, tall)
                for r in range(TALL):
                    if r < lines:
                        both = in_turns(sums[r][0], others[r][0])
                        _put_some(result, goal + r * sheet.turns_down * wide, both[0], left)
                        _put_some(result, goal + r * sheet.turns_down * wide + n, both[1], left - n)


@compiled
def _slide_product(job, jobs, sheet, tall, tables, operands, result, work):
    """One job's channels of a depthwise layer: some are brought, then computed."""
    (phases, table, parts), (data, weights, tap, start) = tables, operands
    cells, taps, size = work[: sheet.cells], weights.size // sheet.groups, sheet.height * sheet.width
    cells[:] = 0
    step, places = min(1, start.size - 1), sheet.out_height * sheet.out_width
    lines = sheet.right, sheet.down * sheet.width, sheet.pitch
    first, last = share(job, jobs, sheet.batch * sheet.groups)
    for base in range(first, last, sheet.bunch):
        until = min(last, base + sheet.bunch)
        for item in range(base, until):
            _fill_channel(lines, phases, data, item * size, cells, (item - base) * sheet.image)
        for item in range(base, until):
            c, source = item % sheet.groups, (cells, (item - base) * sheet.image)
            kernel = weights, c * taps, tap, start, c * step
            _slide_lines(sheet, kernel, (table, parts), 0, source, (result, item * places), tall[0])
            if sheet.turns_down == 2:
                a = sheet.turns_right
                _slide_lines(sheet, kernel, (table, parts), a, source, (result, item * places), tall[-1])


def _correlate(g, back, data, weight, start, jobs):
    """Compute the output of a layer, or the flow at its input."""
    direction, dtype = "input_grad" if back else "forward", weight.dtype
    sheet, phases, table, parts, order, tall, space = _plan(g, direction, dtype.char)
    if not all_finite(weight.reshape(-1)):  # zeros around the planes are no products
        return None
    result = np.empty((g.batch, sheet.groups * sheet.rows, sheet.out_height, sheet.out_width), dtype)
    tables, data, flat = (phases, table, parts), data.reshape(-1), result.reshape(-1)
    if tall:
        weight = weight.reshape(g.groups, -1)
        rows, tap = (weight[:, order], 1) if back else (weight, g.kernel_width)
        operands = data, rows.reshape(-1), tap, start
        parallel.run(_slide_product, jobs, space, dtype, sheet, tall, tables, operands, flat)
        return result
    shape = _shape_for(sheet.rows)
    rows = weight.reshape(g.groups, g.out_channels // g.groups, g.in_channels // g.groups, -1)
    if back:
        rows = rows[..., order].transpose(0, 2, 3, 1)
    rows = rows.reshape(g.groups, sheet.rows, -1)
    if sheet.rows < len(shape):  # with zeros below
        rows = np.concatenate([rows, np.zeros((g.groups, len(shape) - sheet.rows, len(table)), dtype)], 1)
    operands = data, np.ascontiguousarray(rows).reshape(-1), start
    parallel.run(_plane_product, jobs, space, dtype, sheet, shape, tables, operands, flat)
    return result


def forward(input, weight, bias, geometry, jobs):
    """Return the output, or None if a weight is not finite (chapter "A channel by itself")."""
    start = np.concatenate([bias, np.zeros(len(SHAPE), bias.dtype)])
    return _correlate(geometry, False, input, weight, start, jobs)


def input_grad(weight, grad_output, geometry, jobs):
    """Return the learning flow, or None if a weight is not finite (chapter "A channel by itself")."""
    return _correlate(geometry, True, grad_output, weight, np.zeros(1, weight.dtype), jobs)


@inlined
def _fill_flow(sheet, flow, at, size, lines, place, pitch):
    """Copy lines of the flow, size is (rows, lines, images), to flat ones, with zeros between."""
    places, steps = sheet.out_height * sheet.out_width, sheet.groups * sheet.rows
    line = 1, sheet.out_width, pitch
    for n in range(size[2]):
        to = place + n * sheet.image // sheet.pitch * pitch
        for r in range(size[0]):
            start, goal = at + (n * steps + r) * places, to + r * sheet.wide
            _fill_lines(line, (size[1], sheet.out_width), flow, start, lines, goal)


@inlined
def _add_dots(shape, sheet, lines, length, cells, place, table, sums):
    """Add the dot products of all rows of lines with the cells at all taps to sums of vectors."""
    n, height, width, at = lanes(cells), len(shape), len(shape[0]), 0
    for r in range(0, sheet.turns_down * height, height):
        for k in range(0, len(table), width):
            so_far = take(sums, at, width * n, shape)
            for begin in range(0, length, PIECE * n):
                part = nought(cells, shape)
                for q in range(begin, min(length, begin + PIECE * n), n):
                    part = dots(part, lines, (r * sheet.wide + q, sheet.wide), cells, place + q, table, k)
                so_far = together(so_far, part)
            put(sums, at, width * n, so_far)
            at += height * width * n


@compiled
def _dot_planes(job, jobs, sheet, shape, tables, operands, result, work):
    """One job's rows: the flow at some output channels by what their taps met."""
    (phases, table), (data, flow), (height, width) = tables, operands, (len(shape), len(shape[0]))
    n, some, depth = lanes(work), sheet.turns_down, result.size // (sheet.groups * sheet.rows)
    cells, rest = work[: sheet.cells], work[sheet.cells :]
    lines, sums = rest[: some * height * sheet.wide], rest[some * height * sheet.wide :]
    sums = sums[: some * height * len(table) * n]
    sets = -(-sheet.rows // (some * height))
    cells[:] = 0
    first, last = share(job, jobs, sheet.groups * sets)
    for unit in range(first, last):
        group, row = unit // sets, unit % sets * some * height
        count = min(some * height, sheet.rows - row)
        sums[:] = 0
        for image in range(0, sheet.batch, sheet.bunch):
            images = min(sheet.bunch, sheet.batch - image)
            for slot in range(images):
                _fill_group(sheet, phases, data, (image + slot) * sheet.groups + group, cells, slot)
            for y in range(0, sheet.out_height, sheet.lines):
                lines[:] = 0
                at = ((image * sheet.groups + group) * sheet.rows + row) * sheet.out_height + y
                high = min(sheet.lines, sheet.out_height - y)
                _fill_flow(sheet, flow, at * sheet.out_width, (count, high, images), lines, 0, sheet.pitch)
                length = (images - 1) * sheet.image + high * sheet.pitch
                _add_dots(shape, sheet, lines, length, cells, y * sheet.pitch, table, sums)
        for r in range(count):
            for k in range(depth):
                at = (r // height * (len(table) // width) + k // width) * height + r % height
                at = at * width + k % width
                result[(group * sheet.rows + row + r) * depth + k] = total(load(sums, at * n))


@inlined
def _add_slides(sheet, tall, lines, count, cells, table, sums):
    """Add what the flow of `count` lines met at each tap to sums of vectors."""
    column, taps = tall
    n, steps = lanes(cells), (sheet.pitch, sheet.phase * sheet.right)
    some = max(1, PIECE * n // (TALL * sheet.wide)) * 2 * TALL
    for v in range(len(table)):
        for begin in range(0, count, some):
            part = other = nought(cells, column)  # two chains: one does not wait for the other
            for y in range(begin, min(count, begin + some), 2 * TALL):
                for x in range(0, sheet.wide, n):
                    at, place = y * sheet.wide + x, y * sheet.pitch + x + table[v, 0]
                    part = weigh(part, take(lines, at, sheet.wide, _COLUMN), cells, place, steps, taps)
                    at, place = at + TALL * sheet.wide, place + TALL * sheet.pitch
                    other = weigh(other, take(lines, at, sheet.wide, _COLUMN), cells, place, steps, taps)
            at = v * len(column) * n
            put(sums, at, n, together(take(sums, at, n, column), together(part, other)))


@compiled
def _slide_flow(job, jobs, sheet, tall, tables, operands, result, work):
    """One job's channels of a depthwise layer: some images are brought, then their flow meets them."""
    (phases, table), (data, flow), n = tables, operands, lanes(work)
    height, width = len(tall[0]), len(table)
    size, high = sheet.bunch * sheet.image // sheet.pitch, sheet.image // sheet.pitch
    cells, lines = work[: sheet.cells], work[sheet.cells : sheet.cells + (size + 2 * TALL) * sheet.wide]
    sums = work[sheet.cells + (size + 2 * TALL) * sheet.wide :]
    cells[:] = 0
    first, last = share(job, jobs, sheet.groups)
    for c in range(first, last):
        sums[: height * width * n] = 0
        for image in range(0, sheet.batch, sheet.bunch):
            images = min(sheet.bunch, sheet.batch - image)
            lines[:] = 0
            for slot in range(images):
                _fill_group(sheet, phases, data, (image + slot) * sheet.groups + c, cells, slot)
            at = (image * sheet.groups + c) * sheet.out_height * sheet.out_width
            _fill_flow(sheet, flow, at, (1, sheet.out_height, images), lines, 0, sheet.wide)
            _add_slides(sheet, tall, lines, images * high, cells, table, sums)
        for v in range(width):
            for u in range(height):
                result[(c * height + u) * width + v] = total(load(sums, (v * height + u) * n))


def weight_grad(input, grad_output, geometry, jobs):
    """Return the gradient of the weights, or None if it is not finite (chapter "A channel by itself")."""
    g, dtype = geometry, input.dtype
    sheet, phases, table, _, _, tall, space = _plan(g, "weight_grad", dtype.char)
    result = np.empty((g.out_channels, sheet.channels, g.kernel_height, g.kernel_width), dtype)
    operands, flat = (input.reshape(-1), grad_output.reshape(-1)), result.reshape(-1)
    if tall:
        column = ((0,),) * g.kernel_height, tall[0]
        parallel.run(_slide_flow, jobs, space, dtype, sheet, column, (phases, table), operands, flat)
    else:
        shape, table = ((0,) * DOTS[1],) * DOTS[0], np.ascontiguousarray(table[:, 0])
        table = np.concatenate([table, np.zeros(-len(table) % DOTS[1], np.int64)])
        parallel.run(_dot_planes, jobs, space, dtype, sheet, shape, (phases, table), operands, flat)
    return result if all_finite(flat) else None


def suits(geometry, dtype):
    """Whether channels, or few of them, are computed by themselves (chapter "A channel by itself")."""
    return geometry.groups > 1 or geometry.in_channels <= 16
