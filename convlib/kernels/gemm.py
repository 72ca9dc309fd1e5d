# Exported from chapters/ by tools/export.py: edit the chapter, not this file.
"""The matrix product inside a layer: rows of weights times columns of inputs.

Chapter "The matrix product inside" builds this module.
"""

from typing import NamedTuple

import numpy as np

from convlib import parallel
from convlib.kernels.plans import backward_axis, plane_axis, round_up
from convlib.kernels.remember import remembered
from convlib.kernels.shuffles import every_second, fetch_early, in_order, in_turns, nothing, plus, transpose
from convlib.kernels.simd import (
    REGISTER_BYTES,
    all_finite,
    broadcast,
    compiled,
    fma,
    lanes,
    lanes_of,
    load,
    store,
)

__all__ = [
    "ROWS",
    "TAPS_AT_ONCE",
    "COLUMNS_AT_ONCE",
    "RESULTS_AT_ONCE",
    "NUMBERS_AT_ONCE",
    "FEW_WEIGHTS",
    "WEIGHTS_KEPT",
    "PIECE",
    "CorrelationPlan",
    "line_up",
    "weights_size",
    "correlate",
    "forward_plan",
    "input_grad_plan",
    "SECTIONS",
    "SUMS",
    "PLACES_AT_ONCE",
    "PLACES_SUMMED",
    "WeightGradPlan",
    "correlate_flow",
    "weight_grad_plan",
    "suits",
    "forward",
    "input_grad",
    "weight_grad",
]


# Chapter "The matrix product inside" (chapters/gemm.ipynb)

ROWS = 8 if REGISTER_BYTES == 64 else 4  # of a block: such processors have 32 registers, others 16


@compiled
def _first_4(weights, b):
    """The first vectors of four rows: each has one number in all lanes."""
    b0, b1, b2, b3 = b
    return (broadcast(weights, b0), broadcast(weights, b1),
            broadcast(weights, b2), broadcast(weights, b3))  # fmt: skip


@compiled
def _first_8(weights, b):
    """The same for eight rows."""
    return _first_4(weights, b[:4]) + _first_4(weights, b[4:])


@compiled
def _put(results, r, before, a, b, c, more):
    """Set a row of results, or add to it, unless it is the row before, taken again."""
    n = lanes(results)
    if r != before:
        if more:
            a, b = plus(load(results, r), a), plus(load(results, r + n), b)
            c = plus(load(results, r + 2 * n), c)
        store(results, r, a), store(results, r + n, b), store(results, r + 2 * n, c)


@compiled
def _block_8x3(weights, b, w, shifts, columns, x, ahead, results, r, more):
    """Eight rows of results, three vectors each: the products of some taps."""
    n = lanes(columns)
    r0, r1, r2, r3, r4, r5, r6, r7 = r
    a0, b0, c0, d0, e0, f0, g0, h0 = _first_8(weights, b)
    a1, b1, c1, d1, e1, f1, g1, h1 = a0, b0, c0, d0, e0, f0, g0, h0
    a2, b2, c2, d2, e2, f2, g2, h2 = a0, b0, c0, d0, e0, f0, g0, h0
    for t in range(shifts.size):
        s = x + shifts[t]
        s0, s1, s2 = load(columns, s), load(columns, s + n), load(columns, s + 2 * n)
        fetch_early(columns, s + ahead)
        k = broadcast(weights, w)
        a0, a1, a2 = fma(k, s0, a0), fma(k, s1, a1), fma(k, s2, a2)
        k = broadcast(weights, w + 1)
        b0, b1, b2 = fma(k, s0, b0), fma(k, s1, b1), fma(k, s2, b2)
        k = broadcast(weights, w + 2)
        c0, c1, c2 = fma(k, s0, c0), fma(k, s1, c1), fma(k, s2, c2)
        in_order()
        k = broadcast(weights, w + 3)
        d0, d1, d2 = fma(k, s0, d0), fma(k, s1, d1), fma(k, s2, d2)
        k = broadcast(weights, w + 4)
        e0, e1, e2 = fma(k, s0, e0), fma(k, s1, e1), fma(k, s2, e2)
        in_order()
        k = broadcast(weights, w + 5)
        f0, f1, f2 = fma(k, s0, f0), fma(k, s1, f1), fma(k, s2, f2)
        k = broadcast(weights, w + 6)
        g0, g1, g2 = fma(k, s0, g0), fma(k, s1, g1), fma(k, s2, g2)
        k = broadcast(weights, w + 7)
        h0, h1, h2 = fma(k, s0, h0), fma(k, s1, h1), fma(k, s2, h2)
        w += 8
    _put(results, r0, -1, a0, a1, a2, more)
    _put(results, r1, r0, b0, b1, b2, more)
    _put(results, r2, r1, c0, c1, c2, more)
    _put(results, r3, r2, d0, d1, d2, more)
    _put(results, r4, r3, e0, e1, e2, more)
    _put(results, r5, r4, f0, f1, f2, more)
    _put(results, r6, r5, g0, g1, g2, more)
    _put(results, r7, r6, h0, h1, h2, more)


@compiled
def _block_4x3(weights, b, w, shifts, columns, x, ahead, results, r, more):
    """The same for four rows."""
    n = lanes(columns)
    r0, r1, r2, r3 = r
    a0, b0, c0, d0 = _first_4(weights, b)
    a1, b1, c1, d1 = a0, b0, c0, d0
    a2, b2, c2, d2 = a0, b0, c0, d0
    for t in range(shifts.size):
        s = x + shifts[t]
        s0, s1, s2 = load(columns, s), load(columns, s + n), load(columns, s + 2 * n)
        fetch_early(columns, s + ahead)
        k = broadcast(weights, w)
        a0, a1, a2 = fma(k, s0, a0), fma(k, s1, a1), fma(k, s2, a2)
        k = broadcast(weights, w + 1)
        b0, b1, b2 = fma(k, s0, b0), fma(k, s1, b1), fma(k, s2, b2)
        in_order()
        k = broadcast(weights, w + 2)
        c0, c1, c2 = fma(k, s0, c0), fma(k, s1, c1), fma(k, s2, c2)
        in_order()
        k = broadcast(weights, w + 3)
        d0, d1, d2 = fma(k, s0, d0), fma(k, s1, d1), fma(k, s2, d2)
        w += 4
    _put(results, r0, -1, a0, a1, a2, more)
    _put(results, r1, r0, b0, b1, b2, more)
    _put(results, r2, r1, c0, c1, c2, more)
    _put(results, r3, r2, d0, d1, d2, more)


@compiled
def _rows(begin, end, place, step):
    """Where four rows begin; behind the last row, the last one again."""
    k1, k2, k3 = min(begin + 1, end - 1), min(begin + 2, end - 1), min(begin + 3, end - 1)
    return place + begin * step, place + k1 * step, place + k2 * step, place + k3 * step


@compiled
def _announce(results, rows):
    """Let the memory bring what will be written when the block is done."""
    n = lanes(results)
    for r in rows:
        for last in (n, 2 * n, 3 * n):
            fetch_early(results, r + last - 1)


@compiled
def _multiply(weights, b, b_step, w, taps, t, shifts, columns, x, far, results, r, pitch, rows, more):
    """Weights times columns, for all rows of a panel: set the results, or add to them."""
    n, k = lanes(columns), 0
    while k < rows:
        ahead = far + (k // ROWS + 1) * n - 1 if far > 0 and k < 3 * ROWS else 0
        b_low, r_low = _rows(k, rows, b, b_step), _rows(k, rows, r, pitch)
        if ROWS == 8 and k + 4 < rows:
            b_all = b_low + _rows(k + 4, rows, b, b_step)
            r_all = r_low + _rows(k + 4, rows, r, pitch)
            if not more:
                _announce(results, r_all)
            _block_8x3(weights, b_all, w + k * taps + 8 * t, shifts, columns, x, ahead,
                       results, r_all, more)
            k += 8
        else:
            _block_4x3(weights, b_low, w + k * taps + 4 * t, shifts, columns, x, ahead,
                       results, r_low, more)
            k += 4


TAPS_AT_ONCE = 96  # one chain of sums; a panel of so many taps stays in the nearest cache
COLUMNS_AT_ONCE = 2400  # small images are computed together, about so many columns ...
RESULTS_AT_ONCE = 200_000  # ... if their results are not more than this
NUMBERS_AT_ONCE = 131_072  # numbers of all planes that are filled at once
FEW_WEIGHTS = 20_000  # so many are lined up by one thread: to share them out does not pay
WEIGHTS_KEPT = 400_000  # so many weights stay in the cache from image to image
PIECE = 7  # to pack a piece of a row takes as long as so many vectors take to load


class CorrelationPlan(NamedTuple):
    """What `correlate` needs to know (chapter "The matrix product inside")."""

    images: int  # computed together
    sources: int  # channels of a group that are read
    targets: int  # channels of a group that are written
    groups: int
    kernel: int  # weights of a kernel for one channel
    at_once: int  # channels whose planes are filled at once
    in_place: bool  # the channels themselves serve as planes
    plane: tuple  # rows and width of an image, zeros above and to the left, length
    step: tuple  # in the source, from one row and column of a plane to the next
    deals: np.ndarray  # first row and column of each phase of the source
    shifts: np.ndarray  # of each tap, in the planes
    where: np.ndarray  # of each tap, in the weights as they are given
    row_step: int  # from one target's weights to the next one's
    room: int  # taps that are multiplied at once
    first_weight: int  # where the weights begin when they are lined up
    group_weights: int  # how many there are of a group, the last block's repetitions included
    phases: np.ndarray  # of the output; `_phases` says what each row means
    direct: bool  # a whole panel is stored straight into the output
    overlap: bool  # and the last one, too: it overlaps the one before
    out_step: tuple  # in the output, from one row and column of a phase to the next
    parts: int  # of the targets, to be shared out among jobs


@compiled
def line_up(job, jobs, weights, bias, plan, lined_up, workspace):
    """Write one job's share of a zero, the biases, and the weights, block by block.

    Source: chapter "The matrix product inside".
    """
    blocks, taps, targets = (plan.targets + 7) // 8, plan.where.size, plan.targets
    if job == 0:
        lined_up[0] = 0
        for k in range(bias.size):
            lined_up[1 + k] = bias[k]
    for item in range(job, plan.groups * blocks, jobs):
        group, k = item // blocks, item % blocks * 8
        s = group * targets * plan.sources * plan.kernel
        w, end = plan.first_weight + group * plan.group_weights, min(k + 8, targets)
        while k < end:
            rows = 8 if ROWS == 8 and k + 4 < end else 4
            for t0 in range(0, taps, plan.room):
                for i in range(rows):
                    at, place = s + min(k + i, targets - 1) * plan.row_step, w + k * taps + i
                    for t in range(t0, min(taps, t0 + plan.room)):
                        lined_up[place + t * rows] = weights[at + plan.where[t]]
            k += rows


def weights_size(plan):
    """Return how many numbers `line_up` writes (chapter "The matrix product inside")."""
    return plan.first_weight + plan.groups * plan.group_weights


@compiled
def _find_pieces(begin, end, length, runs, image_step, width, n, pieces):
    """The pieces of rows that make up some columns: where, which column, how many."""
    count, x = 0, begin
    while x < end:
        run, q = x // length, x % length
        pieces[count, 0] = run // runs * image_step + run % runs * width + q
        pieces[count, 1], pieces[count, 2] = x - begin, min(n, length - q, end - x)
        x += pieces[count, 2]
        count += 1
    return pieces[:count]


@compiled
def _pack(planes, base, shifts, farthest, pieces, panel):
    """Copy the pieces side by side, tap by tap: three vectors, and a fourth to hang over."""
    n = lanes(planes)
    for i in range(pieces.shape[0]):
        s, x, length = base + pieces[i, 0], pieces[i, 1], pieces[i, 2]
        if s + farthest + n <= planes.size:
            for t in range(shifts.size):
                store(panel, 4 * n * t + x, load(planes, s + shifts[t]))
        else:  # at the very end of the images: number by number
            for t in range(shifts.size):
                for j in range(length):
                    panel[4 * n * t + x + j] = planes[s + shifts[t] + j]


@compiled
def _deal(source, s, step, target, place, count):
    """Copy every step-th number from number s on; the last vector may hang over."""
    n, q = lanes(target), 0
    if step == 1:
        while q < count and s + q + n <= source.size:
            store(target, place + q, load(source, s + q))
            q += n
    elif step == 2:
        while q < count and s + 2 * (q + n) <= source.size:
            a, b = load(source, s + 2 * q), load(source, s + 2 * q + n)
            store(target, place + q, every_second(a, b))
            q += n
    while q < count:
        target[place + q] = source[s + q * step]
        q += 1


@compiled
def _repeat(vector, target, place, end):
    """The same vector up to `end`; the last one may hang over."""
    for q in range(place, end, lanes(target)):
        store(target, q, vector)


@compiled
def _fill_planes(images, some, channels, plan, planes):
    """Write channels of some images into planes, a phase after the other, zeros around.

    From left to right: what hangs over is overwritten by what comes next.
    """
    rows, width, top, left, length = plan.plane
    (row_step, step), flat = plan.step, images.reshape(images.size)
    height, columns = images.shape[2:]
    zero, place = broadcast(np.zeros(1, planes.dtype), 0), 0
    for c in range(channels[0], channels[1]):
        for d in range(plan.deals.shape[0]):
            a, b = plan.deals[d, 0] - top, plan.deals[d, 1] - left
            begin = min(width, max(0, (-b + step - 1) // step))
            end = max(begin, min(width, (columns - 1 - b) // step + 1))
            behind = place + length
            for image in range(some[0], some[1]):
                for r in range(rows):
                    row, x = r * row_step + a, place
                    if 0 <= row < height:
                        _repeat(zero, planes, x, place + begin)
                        s = ((image * images.shape[1] + c) * height + row) * columns
                        _deal(flat, s + b + begin * step, step, planes, x + begin, end - begin)
                        x += end
                    _repeat(zero, planes, x, place + width)
                    place += width
            _repeat(zero, planes, place, behind)
            place = behind


@compiled
def correlate(job, jobs, images, weights, output, plan, workspace):
    """Compute one job's share of a forward pass or of a learning flow.

    Source: chapter "The matrix product inside".
    """
    sets, parts = (images.shape[0] + plan.images - 1) // plan.images, plan.parts
    panels = (plan.targets + 7) // 8
    for item in range(job, sets * plan.groups * parts, jobs):
        group, part = item // parts % plan.groups, item % parts
        first = item // (plan.groups * parts) * plan.images
        some = (first, min(images.shape[0], first + plan.images))
        k0 = min(plan.targets, panels * part // parts * 8)
        k1 = min(plan.targets, panels * (part + 1) // parts * 8)
        _one_item(images, weights, output, plan, group, some, (k0, k1), workspace)


@compiled
def _one_item(images, weights, output, plan, group, some, targets, workspace):
    """Compute some images, and some target channels of a group."""
    n, first, step = lanes(workspace), group * plan.sources, plan.deals.shape[0] * plan.plane[4]
    size = 0 if plan.in_place else plan.at_once * step + 3 * n
    panel, rest = workspace[: 4 * n * plan.room], workspace[4 * n * plan.room :]
    planes = images.reshape(images.size) if plan.in_place else rest[:size]
    memory = panel, np.arange(plan.room) * (4 * n), np.empty((3 * n, 3), np.int64), rest[size:]
    channels = (group * plan.targets + targets[0], targets[1] - targets[0])
    w = plan.first_weight + group * plan.group_weights + targets[0] * plan.where.size
    for c in range(0, plan.sources, plan.at_once):
        now = (c, min(plan.sources, c + plan.at_once))
        base, image_step = -c * step, plan.plane[0] * plan.plane[1]
        if plan.in_place:
            image_step = images.shape[1] * step
            base = some[0] * image_step + first * step
        else:
            _fill_planes(images, some, (first + c, first + now[1]), plan, planes)
        r = 0
        for i in range(plan.phases.shape[0]):
            r = _one_phase(planes, base, image_step, weights, w, output, plan,
                           plan.phases[i], some, now, channels, memory, r)
    _collect(rest[size:], output, plan, some, channels)


@compiled
def _pitch(columns, n):
    """The length of a row of results: whole panels."""
    return (columns + 3 * n - 1) // (3 * n) * 3 * n


@compiled
def _portion(taps, room):
    """Taps at once, so that all portions are about equal."""
    portions = max(1, (taps + room - 1) // room)
    return max(1, (taps + portions - 1) // portions)


@compiled
def _one_phase(planes, base, image_step, weights, w, output, plan,
               phase, some, now, channels, memory, r):
    """Add the products of some source channels to all results of a phase."""
    first, taps, _, _, rows, columns, row_columns, image_columns, length, runs = phase
    (panel, packed, pieces, results), flat = memory, output.reshape(output.size)
    n, places, (k, targets) = lanes(panel), rows * columns, channels
    end = (some[1] - some[0] - 1) * image_columns + (rows - 1) * row_columns + columns
    pitch, length = _pitch(end, n), length if length > 0 else end
    t0, t1 = first + now[0] * taps, first + now[1] * taps
    farthest, portion = 0, _portion(t1 - t0, plan.room)
    for t in range(t0, t1):
        farthest = max(farthest, plan.shifts[t])
    for x in range(0, end, 3 * n):
        if plan.overlap:
            x = min(x, end - 3 * n)
        target, at, step = results, r + x, pitch
        if plan.direct and x % places + 3 * n <= places:  # all of them belong to one image
            target, step = flat, places
            at = ((some[0] + x // places) * output.shape[1] + k) * places + x % places
        run, behind = x // length, min(end, x + 3 * n)
        s = base + run // runs * image_step + run % runs * plan.plane[1] + x % length
        whole = x % length + behind - x <= length and s + farthest + 3 * n <= planes.size
        found = pieces[:0]
        if not whole:
            found = _find_pieces(x, behind, length, runs, image_step, plan.plane[1], n, pieces)
        for t in range(t0, max(t1, t0 + 1), portion):  # without any tap, the biases alone
            e, b, more = min(t1, t + portion), (1 + k, 1), now[0] > 0 or t > t0
            if more:  # each chain of sums but the first begins with the zero
                b = (0, 0)
            shifts, source, place, far = plan.shifts[t:e], planes, s, 3 * n * plan.in_place
            if not whole:
                _pack(planes, base, shifts, farthest, found, panel)
                shifts, source, place, far = packed[: e - t], panel, 0, 0
            _multiply(weights, b[0], b[1], w, plan.where.size, t, shifts, source, place, far,
                      target, at, step, targets, more)
    return r + pitch * targets


@compiled
def _copy_row(source, s, target, begin, end):
    """Copy part of a row; the last vector overlaps the one before."""
    n, q = lanes(target), begin
    if end - begin >= n:
        while q < end:
            q = min(q, end - n)
            store(target, q, load(source, s + q))
            q += n
    while q < end:
        target[q] = source[s + q]
        q += 1


@compiled
def _mix_row(source, even, odd, target):
    """Write a row whose even and odd numbers come from two places."""
    n, q = lanes(target), 0
    while 2 * (q + n) <= target.size:
        low, high = in_turns(load(source, even + q), load(source, odd + q))
        store(target, 2 * q, low), store(target, 2 * q + n, high)
        q += n
    for x in range(2 * q, target.size):
        target[x] = source[(even if x % 2 == 0 else odd) + x // 2]


@compiled
def _collect(results, output, plan, some, channels):
    """Copy to the output what has not been stored there straight away."""
    if plan.overlap:
        return
    panel, r, (row_step, step) = 3 * lanes(results), 0, plan.out_step
    flat, (height, width) = output.reshape(output.size), output.shape[2:]
    before = (0, 0, 0, 0)  # of the phase before: first result, pitch, image and row
    for i in range(plan.phases.shape[0]):
        _, _, row, column, rows, columns, row_columns, image_columns, _, _ = plan.phases[i]
        end = (some[1] - some[0] - 1) * image_columns + (rows - 1) * row_columns + columns
        pitch = _pitch(end, lanes(results))
        for image in range(some[1] - some[0]):
            x, low, high = image * image_columns, columns, columns
            if plan.direct:  # only the beginning and the end of the image
                low, high = _pitch(x, lanes(results)) - x, (x + columns) // panel * panel - x
                low, high = (low, high) if low < high else (columns, columns)
            for k in range(channels[1]):
                y = r + k * pitch + x
                even = before[0] + k * before[1] + image * before[2]
                at = ((some[0] + image) * output.shape[1] + channels[0] + k) * height + row
                for p in range(rows):
                    begin = (at + p * row_step) * width
                    target = flat[begin : begin + max(width, columns)]
                    if step == 1:
                        _copy_row(results, y, target, 0, low)
                        _copy_row(results, y, target, high, columns)
                    elif step == 2 and column == 1:  # together with the even columns
                        _mix_row(results, even + p * before[3], y, target)
                    elif step > 2 or target.size == 1:
                        for q in range(columns):
                            target[column + q * step] = results[y + q]
                    y += row_columns
        before = (r, pitch, image_columns, row_columns)
        r += pitch * channels[1]


def _results(phase, width, height, images, in_place, alone, targets, panel):
    """How the results of a phase lie in rows, with or without nonsense behind each.

    Rows and columns of an image; results from row to row and from image to image; how
    many columns lie side by side in the planes (0: all), in so many runs an image.
    """
    rows, columns = phase[-2:]
    wide = (rows - 1) * width + columns
    layout = (width, wide, wide, 1) if in_place else (width, height * width, 0, 1)
    numbers = images * rows * columns
    most, least = (-(-count // panel) * (targets + 7) // 8 * 12
                   for count in ((images - 1) * height * width + wide, numbers))
    pieces = -(-numbers // panel) * (panel / columns + 3)
    if columns < width and least + pieces * PIECE < most:
        layout = (columns, rows * columns, columns, rows)  # to be packed
    if layout[:2] == (columns, rows * columns) and alone:  # as in the output
        rows, columns, layout = 1, rows * columns, (rows * columns, *layout[1:])
    return rows, columns, *layout


def _evenly(number, most):
    """A step, `most` at most, with which about equal steps reach a number."""
    return -(-number // -(-number // most))


def _images_together(geometry, sources, targets, largest, jobs):
    """How many images are computed together: at most, and shared out among so many jobs."""
    g = geometry
    columns = min(COLUMNS_AT_ONCE, RESULTS_AT_ONCE // targets)
    many = sources * g.kernel_height * g.kernel_width * targets > WEIGHTS_KEPT
    most = _evenly(g.batch, max(1, min(g.batch, (2 * columns if many else columns) // largest)))
    if many:  # they are better read once, for all images
        return most, most
    return most, _evenly(g.batch, min(most, -(-g.batch // jobs)))


def _channels_at_once(sources, taps, numbers):
    """How many channels, of so many taps and numbers in their planes, are filled at once."""
    least = TAPS_AT_ONCE // max(1, taps)  # or the blocks are too short
    return _evenly(sources, max(1, least, NUMBERS_AT_ONCE // numbers))


def _plan(geometry, channels, in_place, plane, step, deals, phases, steps, out_step, jobs, n):
    """The plan, and the size of the workspace.

    A phase is (weights, deals and shifts of its taps, first row, column, rows, columns).
    """
    g, (sources, targets), (height, width) = geometry, channels, plane[:2]
    most, images = _images_together(g, sources, targets, phases[0][-2] * phases[0][-1], jobs)
    farthest = max((shift for phase in phases for _, shift in phase[1]), default=0)
    length = height * width if in_place else round_up(images * height * width + farthest, 16)
    channel, alone = np.arange(sources)[:, np.newaxis], len(phases) == 1 and out_step == (1, 1)
    table, shifts, wheres, begin, space = [], [], [], 0, 0
    for phase in phases:
        where, at, row, column, *_ = phase
        at = np.array([deal * length + shift for deal, shift in at], np.int64)
        shifts.append((channel * (len(deals) * length) + at).ravel())
        wheres.append((channel * steps[0] + np.array(where, np.int64)).ravel())
        lie = _results(phase, width, height, images, in_place, alone, targets, 3 * n)
        table.append((begin, len(where), row, column, *lie))
        begin += sources * len(where)
        end = (images - 1) * lie[3] + (lie[0] - 1) * lie[2] + lie[1]
        space += round_up(end, 3 * n) * targets
    at_once, taps = sources, max(len(where) for where, *_ in phases)
    if not in_place:  # here chains of sums are cut: not knowing of `images`, which knows `jobs`
        at_once = _channels_at_once(sources, taps, len(deals) * (most * height * width + farthest))
        space += at_once * len(deals) * length + 3 * n
    items = -(-g.batch // images) * g.groups
    parts = 1 if items % jobs == 0 or items > 4 * jobs else min(jobs, -(-targets // 8))
    direct = alone and table[0][4] == 1 and table[0][7] == table[0][5]  # no nonsense at all
    plan = CorrelationPlan(
        images, sources, targets, g.groups, g.kernel_height * g.kernel_width, at_once, in_place,
        (*plane, length), step, np.array(deals, np.int64), np.concatenate(shifts),
        np.concatenate(wheres), steps[1], TAPS_AT_ONCE, round_up(1 + g.groups * targets, 16),
        round_up(targets, 8) * begin, np.array(table, np.int64),
        direct, direct and images == 1 and at_once == sources and table[0][5] >= 3 * n,
        out_step, parts,
    )  # fmt: skip
    return plan, space + 4 * n * TAPS_AT_ONCE


def _axis_forward(size, kernel_size, stride, padding, dilation, out_size):
    """The phases that the weights meet along one axis, phase and shift of each; the length."""
    at = [u * dilation for u in range(kernel_size)]
    used = sorted({a % stride for a in at})
    length = plane_axis(size, padding, stride, out_size)
    return used, [(used.index(a % stride), a // stride) for a in at], length


@remembered
def forward_plan(geometry, dtype, jobs):
    """Return the plan of a forward pass, and the size of its workspace.

    Source: chapter "The matrix product inside".
    """
    g = geometry
    down, us, rows = _axis_forward(g.height, g.kernel_height, g.stride[0], g.padding[0],
                                   g.dilation[0], g.out_height)
    across, vs, width = _axis_forward(g.width, g.kernel_width, g.stride[1], g.padding[1],
                                      g.dilation[1], g.out_width)
    deals = [(a, b) for a in down for b in across]
    taps = [(a * len(across) + b, y * width + x) for a, y in us for b, x in vs]
    in_place = g.stride == (1, 1) and not any(sum(g.padding, ()))
    plane = rows, width, g.padding[0][0], g.padding[1][0]
    sources, targets = g.in_channels // g.groups, g.out_channels // g.groups
    phase = range(len(taps)), taps, 0, 0, g.out_height, g.out_width
    steps = len(taps), sources * len(taps)
    return _plan(g, (sources, targets), in_place, plane, g.stride, deals, [phase], steps,
                 (1, 1), jobs, lanes_of(dtype))


@remembered
def input_grad_plan(geometry, dtype, jobs):
    """Return the plan of a learning flow, and the size of its workspace.

    Source: chapter "The matrix product inside".
    """
    g = geometry
    down, top, rows = backward_axis(g.height, g.kernel_height, g.stride[0],
                                     g.padding[0][0], g.dilation[0], g.out_height)
    across, left, width = backward_axis(g.width, g.kernel_width, g.stride[1],
                                         g.padding[1][0], g.dilation[1], g.out_width)
    in_place = (rows, width, top, left) == (g.out_height, g.out_width, 0, 0)
    phases = [
        ([u * g.kernel_width + v for u, _ in us for v, _ in vs],
         [(0, (a + top) * width + b + left) for _, a in us for _, b in vs],
         row, column, height, columns)
        for row, height, us in down for column, columns, vs in across
    ]  # fmt: skip
    sources, targets = g.out_channels // g.groups, g.in_channels // g.groups
    kernel = g.kernel_height * g.kernel_width
    return _plan(g, (sources, targets), in_place, (rows, width, top, left), (1, 1), [(0, 0)],
                 phases, (targets * kernel, kernel), g.stride, jobs, lanes_of(dtype))


@compiled
def _add_pair(results, r, a, b):
    """Add two vectors to the results; return where the next ones lie."""
    n = lanes(results)
    store(results, r, plus(load(results, r), a))
    store(results, r + n, plus(load(results, r + n), b))
    return r + 2 * n


@compiled
def _block_6x4(planes, places, lines, step, flow, f, results, r):
    """Six taps by four vectors of output channels: add the products of some lines."""
    n, (p0, p1, p2, p3, p4, p5) = lanes(planes), places
    m, zero = 2 * n, nothing(flow)
    a0 = a1 = a2 = a3 = zero
    b0 = b1 = b2 = b3 = zero
    c0 = c1 = c2 = c3 = zero
    d0 = d1 = d2 = d3 = zero
    e0 = e1 = e2 = e3 = zero
    g0 = g1 = g2 = g3 = zero
    for i in range(lines.shape[0]):
        x = lines[i, 0]
        for _ in range(lines[i, 1]):
            f0, f1, f2, f3 = load(flow, f), load(flow, f + n), load(flow, f + m), load(flow, f + m + n)
            k = broadcast(planes, p0 + x)
            a0, a1, a2, a3 = fma(k, f0, a0), fma(k, f1, a1), fma(k, f2, a2), fma(k, f3, a3)
            k = broadcast(planes, p1 + x)
            b0, b1, b2, b3 = fma(k, f0, b0), fma(k, f1, b1), fma(k, f2, b2), fma(k, f3, b3)
            in_order()
            k = broadcast(planes, p2 + x)
            c0, c1, c2, c3 = fma(k, f0, c0), fma(k, f1, c1), fma(k, f2, c2), fma(k, f3, c3)
            k = broadcast(planes, p3 + x)
            d0, d1, d2, d3 = fma(k, f0, d0), fma(k, f1, d1), fma(k, f2, d2), fma(k, f3, d3)
            in_order()
            k = broadcast(planes, p4 + x)
            e0, e1, e2, e3 = fma(k, f0, e0), fma(k, f1, e1), fma(k, f2, e2), fma(k, f3, e3)
            k = broadcast(planes, p5 + x)
            g0, g1, g2, g3 = fma(k, f0, g0), fma(k, f1, g1), fma(k, f2, g2), fma(k, f3, g3)
            x += step
            f += 4 * n
    r = _add_pair(results, r, a0, a1)
    r = _add_pair(results, r, a2, a3)
    r = _add_pair(results, r, b0, b1)
    r = _add_pair(results, r, b2, b3)
    r = _add_pair(results, r, c0, c1)
    r = _add_pair(results, r, c2, c3)
    r = _add_pair(results, r, d0, d1)
    r = _add_pair(results, r, d2, d3)
    r = _add_pair(results, r, e0, e1)
    r = _add_pair(results, r, e2, e3)
    r = _add_pair(results, r, g0, g1)
    r = _add_pair(results, r, g2, g3)


@compiled
def _block_6x2(planes, places, lines, step, flow, f, results, r):
    """Six taps by two vectors of output channels: add the products of some lines."""
    n, (p0, p1, p2, p3, p4, p5) = lanes(planes), places
    zero = nothing(flow)
    a0 = a1 = zero
    b0 = b1 = zero
    c0 = c1 = zero
    d0 = d1 = zero
    e0 = e1 = zero
    g0 = g1 = zero
    for i in range(lines.shape[0]):
        x = lines[i, 0]
        for _ in range(lines[i, 1]):
            f0, f1 = load(flow, f), load(flow, f + n)
            k = broadcast(planes, p0 + x)
            a0, a1 = fma(k, f0, a0), fma(k, f1, a1)
            k = broadcast(planes, p1 + x)
            b0, b1 = fma(k, f0, b0), fma(k, f1, b1)
            k = broadcast(planes, p2 + x)
            c0, c1 = fma(k, f0, c0), fma(k, f1, c1)
            in_order()
            k = broadcast(planes, p3 + x)
            d0, d1 = fma(k, f0, d0), fma(k, f1, d1)
            k = broadcast(planes, p4 + x)
            e0, e1 = fma(k, f0, e0), fma(k, f1, e1)
            k = broadcast(planes, p5 + x)
            g0, g1 = fma(k, f0, g0), fma(k, f1, g1)
            x += step
            f += 2 * n
    r = _add_pair(results, r, a0, a1)
    r = _add_pair(results, r, b0, b1)
    r = _add_pair(results, r, c0, c1)
    r = _add_pair(results, r, d0, d1)
    r = _add_pair(results, r, e0, e1)
    r = _add_pair(results, r, g0, g1)


@compiled
def _panel(k, end, n):
    """How many output channels lie side by side from channel k on."""
    return 4 * n if ROWS == 8 and k + 2 * n < end else 2 * n


@compiled
def _turn_flow(grad_output, some, targets, flow):
    """Write the flow of some images, place after place, a panel of channels side by side."""
    n, flat = lanes(flow), grad_output.reshape(grad_output.size)
    places = grad_output.shape[2] * grad_output.shape[3]
    k, end = 0, targets[1] - targets[0]
    while k < end:
        panel = _panel(k, end, n)
        begin = k * (some[1] - some[0]) * places
        for image in range(some[0], some[1]):
            for j in range(k, k + panel, n):
                s = (image * grad_output.shape[1] + targets[0] + j) * places
                _turn(flat, s, places, max(0, min(n, end - j)), flow, begin + j - k, panel)
            begin += places * panel
        k += panel


@compiled
def _turn(source, s, places, count, flow, f, panel):
    """The same for as many channels as lanes; `count` of them exist, the rest are zero."""
    n, x = lanes(flow), 0
    while count == n and x + n <= places:
        transpose(source, s + x, places, flow, f + x * panel, panel)
        x += n
    for place in range(x, places):
        for lane in range(n):
            number = source[s + lane * places + place] if lane < count else 0
            flow[f + place * panel + lane] = number


SECTIONS = 4  # of the images, for the gradient of the weights ...
SUMS = 100_000  # ... if there are no more of them than this
PLACES_AT_ONCE = 1024  # so many places of the flow at once: long rows are fetched in advance
PLACES_SUMMED = 128  # so many products are one chain of sums


class WeightGradPlan(NamedTuple):
    """What `correlate_flow` needs to know (chapter "The matrix product inside")."""

    images: int  # computed together
    sources: int  # input channels of a group
    targets: int  # output channels of a group
    groups: int
    at_once: int  # channels whose planes are filled at once
    in_place: bool  # the channels themselves serve as planes
    plane: tuple  # rows and width of an image, zeros above and to the left, length
    step: tuple  # always (1, 1), and one phase: here the stride is a matter of reading
    deals: np.ndarray
    shifts: np.ndarray  # of each tap, in the planes
    stride: tuple
    lines: np.ndarray  # the places of a flow: where a line begins in the planes, how many
    lines_at_once: int
    lines_summed: int  # in one chain of sums
    parts: tuple  # of the output and of the input channels, to be shared out among jobs


@compiled
def correlate_flow(job, jobs, images, grad_output, sums, plan, workspace):
    """Compute one job's share of the gradient of the weights (chapter "The matrix product inside").

    `sums` has the axes section, output channel and tap.
    """
    sections, (k_parts, c_parts), block = sums.shape[0], plan.parts, 4 * lanes(workspace)
    batch, panels = images.shape[0], (plan.targets + block - 1) // block
    for item in range(job, sections * plan.groups * k_parts * c_parts, jobs):
        c, k, rest = item % c_parts, item // c_parts % k_parts, item // (c_parts * k_parts)
        group, section = rest % plan.groups, rest // plan.groups
        first = group * plan.targets
        targets = (first + min(plan.targets, panels * k // k_parts * block),
                   first + min(plan.targets, panels * (k + 1) // k_parts * block))
        channels = plan.sources * c // c_parts, plan.sources * (c + 1) // c_parts
        some = batch * section // sections, batch * (section + 1) // sections
        _one_section(images, grad_output, sums[section], group, targets, channels, some,
                     plan, workspace)


@compiled
def _one_section(images, grad_output, sums, group, targets, channels, some, plan, workspace):
    """Sum over some images, for some output and input channels of a group."""
    n, count, width = lanes(workspace), targets[1] - targets[0], plan.plane[1]
    places = grad_output.shape[2] * grad_output.shape[3]
    kernel = plan.shifts.size // plan.sources
    padded, t0, t1 = (count + 2 * n - 1) // (2 * n) * 2 * n, channels[0] * kernel, channels[1] * kernel
    rows = (t1 - t0 + 5) // 6 * 6
    results, rest = workspace[: padded * rows], workspace[padded * rows :]
    results[:] = 0
    size, first_channel = plan.images * places * padded, group * plan.sources
    flow, planes = rest[:size], images.reshape(images.size) if plan.in_place else rest[size:]
    image_step = images.shape[1] * plan.plane[4] if plan.in_place else plan.plane[0] * width
    for first in range(some[0], some[1], plan.images):
        now = (first, min(some[1], first + plan.images))
        _turn_flow(grad_output, now, targets, flow)
        lines = _lines(plan.lines, now[1] - now[0], image_step)
        for c in range(channels[0], channels[1], plan.at_once):
            c1, base = min(channels[1], c + plan.at_once), -c * plan.plane[4]
            if plan.in_place:
                base = first * image_step + first_channel * plan.plane[4]
            else:
                _fill_planes(images, now, (first_channel + c, first_channel + c1), plan, planes)
            _add_products(planes, base, (c * kernel, c1 * kernel), lines, places, flow, count,
                          results, t0, rows, plan)
    _collect_sums(results, rows, sums, targets, t0, t1)


@compiled
def _lines(lines, images, image_step):
    """The lines of some images, one image after the other."""
    all_lines = np.empty((images * lines.shape[0], 2), np.int64)
    for i in range(all_lines.shape[0]):
        image, line = i // lines.shape[0], i % lines.shape[0]
        all_lines[i, 0] = image * image_step + lines[line, 0]
        all_lines[i, 1] = lines[line, 1]
    return all_lines


@compiled
def _add_products(planes, base, taps, lines, places, flow, targets, results, t0, rows, plan):
    """Add the products of flow and planes to the results, some lines at a time."""
    n, last, shifts, step, place = lanes(planes), taps[1] - 1, plan.shifts, plan.stride[1], 0
    all_places = lines.shape[0] // plan.lines.shape[0] * places
    for i in range(0, lines.shape[0], plan.lines_at_once):
        end, k = min(lines.shape[0], i + plan.lines_at_once), 0
        while k < targets:
            panel = _panel(k, targets, n)
            for t in range(taps[0], taps[1], 6):
                six = (base + shifts[t], base + shifts[min(t + 1, last)],
                       base + shifts[min(t + 2, last)], base + shifts[min(t + 3, last)],
                       base + shifts[min(t + 4, last)], base + shifts[min(t + 5, last)])
                r, f = k * rows + (t - t0) * panel, k * all_places + place * panel
                for j in range(i, end, plan.lines_summed):
                    some = lines[j : min(end, j + plan.lines_summed)]
                    if panel == 4 * n:
                        _block_6x4(planes, six, some, step, flow, f, results, r)
                    else:
                        _block_6x2(planes, six, some, step, flow, f, results, r)
                    f += some[:, 1].sum() * panel
            k += panel
        place += lines[i:end, 1].sum()


@compiled
def _collect_sums(results, rows, sums, targets, t0, t1):
    """Copy the sums to the gradient, output channel first."""
    n, taps, flat = lanes(results), sums.shape[1], sums.reshape(sums.size)
    k, end = 0, targets[1] - targets[0]
    while k < end:
        panel = _panel(k, end, n)
        for j in range(k, min(k + panel, end), n):
            source, target, x = k * rows + j - k, (targets[0] + j) * taps + t0, 0
            while j + n <= end and x + n <= t1 - t0:
                transpose(results, source + x * panel, panel, flat, target + x, taps)
                x += n
            for t in range(x, t1 - t0):
                for lane in range(min(n, end - j)):
                    flat[target + lane * taps + t] = results[source + t * panel + lane]
        k += panel


def _cut_lines(geometry, width, in_place):
    """The places of a flow as lines that are no longer than one chain of sums."""
    g, row_step = geometry, geometry.stride[0] * width
    lines, columns = g.out_height, g.out_width
    if in_place and columns == width and g.stride == (1, 1):  # rows follow each other
        lines, columns = 1, g.out_height * g.out_width
    length = -(-columns // -(-columns // PLACES_SUMMED))
    begins = np.arange(0, columns, length)
    counts = np.minimum(length, columns - begins)
    begins = np.arange(lines)[:, np.newaxis] * row_step + begins * g.stride[1]
    return np.stack([begins.ravel(), np.tile(counts, lines)], axis=1).astype(np.int64)


@remembered
def weight_grad_plan(geometry, dtype, jobs):
    """Return the plan of the weights' gradient, its sections, and its workspace.

    Source: chapter "The matrix product inside".
    """
    g, n = geometry, lanes_of(dtype)
    sources, targets = g.in_channels // g.groups, g.out_channels // g.groups
    rows, width = (plane_axis(*axis, 1, 1) for axis in
                   zip((g.height, g.width), g.padding, strict=True))  # fmt: skip
    in_place, length = not any(sum(g.padding, ())), rows * width
    u, v = np.indices((g.kernel_height, g.kernel_width)).reshape(2, -1)
    places, (zeros_below, zeros_behind) = g.out_height * g.out_width, np.array(g.padding)[:, 1]
    lines = _cut_lines(g, width, in_place)
    sections = min(SECTIONS, g.batch) if g.out_channels * sources * u.size <= SUMS else 1
    images = max(1, min(-(-g.batch // sections), RESULTS_AT_ONCE // (targets * places)))
    if not in_place:
        length = round_up(images * length + int(zeros_below * width + zeros_behind), 16)
    k_parts = c_parts = 1
    if sections == 1 and g.groups % jobs:
        k_parts = min(jobs, -(-targets // (4 * n)))
        c_parts = max(1, min(jobs // k_parts, sources))
    at_once = sources if in_place else min(sources, max(1, NUMBERS_AT_ONCE // length // 6) * 6)
    shifts = u * g.dilation[0] * width + v * g.dilation[1]
    shifts = (np.arange(sources)[:, np.newaxis] * length + shifts).ravel().astype(np.int64)
    padded, taps = round_up(targets, 2 * n), round_up(shifts.size, 6)
    space = padded * (taps + images * places) + (0 if in_place else at_once * length + n)
    plan = WeightGradPlan(
        images, sources, targets, g.groups, at_once, in_place,
        (rows, width, g.padding[0][0], g.padding[1][0], length), (1, 1),
        np.zeros((1, 2), np.int64), shifts, g.stride,
        lines, *(max(1, some // int(lines[0, 1])) for some in (PLACES_AT_ONCE, PLACES_SUMMED)),
        (k_parts, c_parts),
    )  # fmt: skip
    return plan, sections, space


def suits(geometry, dtype):
    """Return whether `forward`, `input_grad` and `weight_grad` can compute a layer.

    Notes
    -----
    Source: chapter "The matrix product inside".
    """
    return np.dtype(dtype).char in "fd" and 0 not in geometry[:7]


def _is_sound(results, weight):
    """Whether all weights are finite; if not, `results`, one of each phase, tell."""
    return bool(np.isfinite(results).all() or np.isfinite(weight).all())


def _correlate(images, weight, bias, output, plan, space, jobs):
    """Line up the weights, and let the jobs multiply."""
    lined_up = parallel.borrow("pieces", weights_size(plan), images.dtype)
    parallel.run(line_up, jobs if weight.size > FEW_WEIGHTS else 1, 1, images.dtype,
                 weight.reshape(-1), bias, plan, lined_up)  # fmt: skip
    parallel.run(correlate, jobs, space, images.dtype, images, lined_up, output, plan)
    parallel.give_back("pieces", lined_up)


def forward(input, weight, bias, geometry, jobs):
    """Compute the output of a layer by products of matrices.

    Parameters
    ----------
    input, weight, bias : arrays of shapes (N, C, H, W), (K, C / groups, kh, kw), (K,)
        Of one data type, float32 or float64, in one piece.
    geometry : convlib.shapes.Geometry
        The layer.
    jobs : int
        How many threads compute; the result does not depend on it.

    Returns
    -------
    array of shape (N, K, H', W'), or None
        None if a weight is not finite: then the seven loops must compute the layer.

    Notes
    -----
    Source: chapter "The matrix product inside".
    """
    g = geometry
    plan, space = forward_plan(g, input.dtype, jobs)
    size = g.batch, g.out_channels, g.out_height, g.out_width
    output = parallel.aligned(size, input.dtype)
    _correlate(input, weight, bias, output, plan, space, jobs)
    return output if _is_sound(output[0, :, :1, :1], weight) else None


def input_grad(weight, grad_output, geometry, jobs):
    """Compute the learning flow at the input of a layer by products of matrices.

    Parameters
    ----------
    weight, grad_output : arrays of shapes (K, C / groups, kh, kw), (N, K, H', W')
        Of one data type, float32 or float64, in one piece.
    geometry : convlib.shapes.Geometry
        The layer.
    jobs : int
        How many threads compute; the result does not depend on it.

    Returns
    -------
    array of shape (N, C, H, W), or None
        None if a weight is not finite: then the seven loops must compute the layer.

    Notes
    -----
    Source: chapter "The matrix product inside".
    """
    g = geometry
    plan, space = input_grad_plan(g, weight.dtype, jobs)
    grad = parallel.aligned((g.batch, g.in_channels, g.height, g.width), weight.dtype)
    no_bias = np.zeros(g.in_channels, weight.dtype)
    _correlate(grad_output, weight, no_bias, grad, plan, space, jobs)
    return grad if _is_sound(grad[0, :, : g.stride[0], : g.stride[1]], weight) else None


def weight_grad(input, grad_output, geometry, jobs):
    """Compute the gradient of a layer's weights by products of matrices.

    Parameters
    ----------
    input, grad_output : arrays of shapes (N, C, H, W), (N, K, H', W')
        Of one data type, float32 or float64, in one piece.
    geometry : convlib.shapes.Geometry
        The layer.
    jobs : int
        How many threads compute; the result does not depend on it.

    Returns
    -------
    array of shape (K, C / groups, kh, kw), or None
        None if a result is not finite: then the seven loops must compute the layer.

    Notes
    -----
    Source: chapter "The matrix product inside".
    """
    g = geometry
    plan, sections, space = weight_grad_plan(g, input.dtype, jobs)
    sums = np.empty((sections, g.out_channels, plan.shifts.size), input.dtype)
    parallel.run(correlate_flow, jobs, space, input.dtype, input, grad_output, sums, plan)
    grad = sums[0] if sections == 1 else sums.sum(axis=0)
    shape = g.out_channels, g.in_channels // g.groups, g.kernel_height, g.kernel_width
    return grad.reshape(shape) if all_finite(grad.reshape(-1)) else None
