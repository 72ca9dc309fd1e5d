"""The matrix product inside a layer: rows of weights times columns of inputs.

Chapter 11 builds this module.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from llvmlite import ir
from numba import config, types
from numba.extending import intrinsic

from convlib import parallel
from convlib.kernels import simd
from convlib.kernels.plans import _backward_axis, _plane_axis
from convlib.kernels.simd import broadcast, compiled, fma, lanes, lanes_of, load, store

ROWS = 8 if simd.REGISTER_BYTES == 64 else 4  # of a block: 32 registers or 16
TAPS_AT_ONCE = 288  # so many taps of a panel stay in the nearest cache ...
PACKED_TAPS = 144  # ... or so many, where neighbouring taps do not share numbers
COLUMNS_AT_ONCE = 2400  # small images are computed together, about so many columns
RESULTS_AT_ONCE = 200_000
SECTIONS = 4
SUMS = 100_000
PLACES_AT_ONCE = 256
NUMBERS_AT_ONCE = 131_072  # numbers of all planes that are filled at once
WEIGHTS_KEPT = 400_000  # more weights do not stay in the cache


class Phase(NamedTuple):
    """The columns of one phase of the output (Chapter 11)."""

    first: int  # tap, in the table
    taps: int  # of each channel
    row: int  # the first in the output
    column: int
    rows: int  # of an image's results
    columns: int
    row_columns: int  # columns from one row to the next: more than there are, if some are nonsense
    image_columns: int  # from one image to the next
    length: int  # so many columns lie side by side in the planes
    runs: int  # of that length in an image


class CorrelationPlan(NamedTuple):
    """What `correlate` needs to know (Chapter 11)."""

    images: int  # computed together
    sources: int  # channels of a group that are read
    targets: int  # channels of a group that are written
    groups: int
    at_once: int  # channels whose planes are filled at once
    in_place: bool  # the channels serve as planes themselves
    plane: tuple  # rows and width of an image, zeros above and to the left, length
    step: tuple  # from one row and column of a plane to the next, in the source
    deals: np.ndarray  # the phases of the source: first row and column of each
    shifts: np.ndarray  # of each tap, in the planes
    where: np.ndarray  # of each tap, in the weights
    row_step: int  # from one target's weights to the next
    kernel: int  # weights of a channel
    phases: np.ndarray  # of the output, each a `Phase`
    direct: bool  # whole panels are stored in the output at once
    out_step: tuple
    parts: int  # of the targets, to be shared out among jobs
    room: int  # taps of a packed panel


@intrinsic
def _barrier(typing_context):
    """Fetch nothing that is written below before what is written above is done."""

    def generate(context, builder, signature, arguments):
        builder.fence("acq_rel", "singlethread")
        return context.get_dummy_value()

    return types.void(), generate


@compiled
def _block_8x3(weights, w, where, shifts, columns, x, results, r):
    n = lanes(columns)
    w0, w1, w2, w3, w4, w5, w6, w7 = w
    r0, r1, r2, r3, r4, r5, r6, r7 = r
    a0, a1, a2 = load(results, r0), load(results, r0 + n), load(results, r0 + 2 * n)
    b0, b1, b2 = load(results, r1), load(results, r1 + n), load(results, r1 + 2 * n)
    c0, c1, c2 = load(results, r2), load(results, r2 + n), load(results, r2 + 2 * n)
    d0, d1, d2 = load(results, r3), load(results, r3 + n), load(results, r3 + 2 * n)
    e0, e1, e2 = load(results, r4), load(results, r4 + n), load(results, r4 + 2 * n)
    f0, f1, f2 = load(results, r5), load(results, r5 + n), load(results, r5 + 2 * n)
    g0, g1, g2 = load(results, r6), load(results, r6 + n), load(results, r6 + 2 * n)
    h0, h1, h2 = load(results, r7), load(results, r7 + n), load(results, r7 + 2 * n)
    for t in range(where.size):
        s, at = x + shifts[t], where[t]
        s0, s1, s2 = load(columns, s), load(columns, s + n), load(columns, s + 2 * n)
        k = broadcast(weights, w0 + at)
        a0, a1, a2 = fma(k, s0, a0), fma(k, s1, a1), fma(k, s2, a2)
        k = broadcast(weights, w1 + at)
        b0, b1, b2 = fma(k, s0, b0), fma(k, s1, b1), fma(k, s2, b2)
        k = broadcast(weights, w2 + at)
        c0, c1, c2 = fma(k, s0, c0), fma(k, s1, c1), fma(k, s2, c2)
        _barrier()
        k = broadcast(weights, w3 + at)
        d0, d1, d2 = fma(k, s0, d0), fma(k, s1, d1), fma(k, s2, d2)
        k = broadcast(weights, w4 + at)
        e0, e1, e2 = fma(k, s0, e0), fma(k, s1, e1), fma(k, s2, e2)
        _barrier()
        k = broadcast(weights, w5 + at)
        f0, f1, f2 = fma(k, s0, f0), fma(k, s1, f1), fma(k, s2, f2)
        k = broadcast(weights, w6 + at)
        g0, g1, g2 = fma(k, s0, g0), fma(k, s1, g1), fma(k, s2, g2)
        k = broadcast(weights, w7 + at)
        h0, h1, h2 = fma(k, s0, h0), fma(k, s1, h1), fma(k, s2, h2)
    store(results, r0, a0), store(results, r0 + n, a1), store(results, r0 + 2 * n, a2)
    store(results, r1, b0), store(results, r1 + n, b1), store(results, r1 + 2 * n, b2)
    store(results, r2, c0), store(results, r2 + n, c1), store(results, r2 + 2 * n, c2)
    store(results, r3, d0), store(results, r3 + n, d1), store(results, r3 + 2 * n, d2)
    store(results, r4, e0), store(results, r4 + n, e1), store(results, r4 + 2 * n, e2)
    store(results, r5, f0), store(results, r5 + n, f1), store(results, r5 + 2 * n, f2)
    store(results, r6, g0), store(results, r6 + n, g1), store(results, r6 + 2 * n, g2)
    store(results, r7, h0), store(results, r7 + n, h1), store(results, r7 + 2 * n, h2)


@compiled
def _block_4x3(weights, w, where, shifts, columns, x, results, r):
    n = lanes(columns)
    w0, w1, w2, w3 = w
    r0, r1, r2, r3 = r
    a0, a1, a2 = load(results, r0), load(results, r0 + n), load(results, r0 + 2 * n)
    b0, b1, b2 = load(results, r1), load(results, r1 + n), load(results, r1 + 2 * n)
    c0, c1, c2 = load(results, r2), load(results, r2 + n), load(results, r2 + 2 * n)
    d0, d1, d2 = load(results, r3), load(results, r3 + n), load(results, r3 + 2 * n)
    for t in range(where.size):
        s, at = x + shifts[t], where[t]
        s0, s1, s2 = load(columns, s), load(columns, s + n), load(columns, s + 2 * n)
        k = broadcast(weights, w0 + at)
        a0, a1, a2 = fma(k, s0, a0), fma(k, s1, a1), fma(k, s2, a2)
        k = broadcast(weights, w1 + at)
        b0, b1, b2 = fma(k, s0, b0), fma(k, s1, b1), fma(k, s2, b2)
        _barrier()
        k = broadcast(weights, w2 + at)
        c0, c1, c2 = fma(k, s0, c0), fma(k, s1, c1), fma(k, s2, c2)
        _barrier()
        k = broadcast(weights, w3 + at)
        d0, d1, d2 = fma(k, s0, d0), fma(k, s1, d1), fma(k, s2, d2)
    store(results, r0, a0), store(results, r0 + n, a1), store(results, r0 + 2 * n, a2)
    store(results, r1, b0), store(results, r1 + n, b1), store(results, r1 + 2 * n, b2)
    store(results, r2, c0), store(results, r2 + n, c1), store(results, r2 + 2 * n, c2)
    store(results, r3, d0), store(results, r3 + n, d1), store(results, r3 + 2 * n, d2)


@compiled
def _rows(begin, end, place, step):
    """Where four rows begin; behind the last row, the last one again."""
    k1, k2, k3 = min(begin + 1, end - 1), min(begin + 2, end - 1), min(begin + 3, end - 1)
    return place + begin * step, place + k1 * step, place + k2 * step, place + k3 * step



@intrinsic
def _pick(typing_context, a, b):
    """Lanes 0, 2, 4, ... of two vectors."""

    def generate(context, builder, signature, arguments):
        count = arguments[0].type.count
        mask = ir.Constant(ir.VectorType(ir.IntType(32), count), list(range(0, 2 * count, 2)))
        return builder.shuffle_vector(*arguments, mask)

    return a(a, b), generate


@intrinsic
def _zip(typing_context, a, b):
    """The lanes of two vectors in turns: two vectors."""

    def generate(context, builder, signature, arguments):
        count = arguments[0].type.count
        turns = [lane + which * count for lane in range(count) for which in (0, 1)]
        halves = [
            builder.shuffle_vector(
                *arguments, ir.Constant(ir.VectorType(ir.IntType(32), count), half)
            )
            for half in (turns[:count], turns[count:])
        ]
        return context.make_tuple(builder, signature.return_type, halves)

    return types.UniTuple(a, 2)(a, b), generate


@intrinsic
def _transpose(typing_context, source, s, s_step, target, t, t_step):
    """Write a square of numbers, as many rows as lanes, with its rows as columns."""
    vector = simd.VectorType(source.dtype)

    def generate(context, builder, signature, arguments):
        kinds, kind = signature.args, context.get_value_type(vector)
        source, s, s_step, target, t, t_step = arguments
        rows = []
        for i in range(vector.lanes):
            row = simd._address(context, builder, kinds[0], source, s)
            rows.append(builder.load(builder.bitcast(row, kind.as_pointer())))
            rows[-1].align = source_align
            s = builder.add(s, s_step)
        half = vector.lanes // 2
        turns = [lane + which * 2 * half for lane in range(2 * half) for which in (0, 1)]
        picks = [ir.Constant(ir.VectorType(ir.IntType(32), 2 * half), part)
                 for part in (turns[: 2 * half], turns[2 * half :])]
        for _ in range(half.bit_length()):  # each time, the two halves of the rows in turns
            rows = [builder.shuffle_vector(rows[i], rows[i + half], pick)
                    for i in range(half) for pick in picks]
        for row in rows:
            place = simd._address(context, builder, kinds[3], target, t)
            builder.store(row, builder.bitcast(place, kind.as_pointer()), align=source_align)
            t = builder.add(t, t_step)
        return context.get_dummy_value()

    source_align = source.dtype.bitwidth // 8
    return types.void(source, types.intp, types.intp, target, types.intp, types.intp), generate


if config.DISABLE_JIT:

    def _barrier():
        pass

    def _transpose(source, s, s_step, target, t, t_step):
        n = lanes(source)
        square = np.array([load(source, s + i * s_step) for i in range(n)])
        for i in range(n):
            store(target, t + i * t_step, square[:, i])

    def _pick(a, b):
        return np.concatenate([a, b])[::2]

    def _zip(a, b):
        both = np.stack([a, b], axis=1).ravel()
        return both[: a.size], both[a.size :]


@compiled
def _multiply(weights, w, row_step, where, shifts, columns, x, results, r, pitch, rows):
    """results += weights times columns, for all rows of a panel."""
    k = 0
    while k < rows:
        w_low, r_low = _rows(k, rows, w, row_step), _rows(k, rows, r, pitch)
        if ROWS == 8 and k + 4 < rows:
            w_all = w_low + _rows(k + 4, rows, w, row_step)
            r_all = r_low + _rows(k + 4, rows, r, pitch)
            _block_8x3(weights, w_all, where, shifts, columns, x, results, r_all)
            k += 8
        else:
            _block_4x3(weights, w_low, where, shifts, columns, x, results, r_low)
            k += 4


@compiled
def _fill_planes(images, some, channels, plan, planes):
    """Write channels of some images into planes, a phase at a time, zeros around."""
    rows, width, top, left, length = plan.plane
    n, (row_step, step), flat = lanes(planes), plan.step, images.reshape(images.size)
    height, columns = images.shape[2:]
    zero = broadcast(np.zeros(1, planes.dtype), 0)
    place = 0
    for c in range(channels[0], channels[1]):
        for d in range(plan.deals.shape[0]):
            a, b = plan.deals[d, 0] - top, plan.deals[d, 1] - left
            begin = min(width, max(0, (-b + step - 1) // step))
            end = max(begin, min(width, (columns - 1 - b) // step + 1))
            last = place + length
            for image in range(some[0], some[1]):
                for r in range(rows):
                    row = r * row_step + a
                    if 0 <= row < height:
                        for q in range(0, begin, n):
                            store(planes, place + q, zero)
                        source = ((image * images.shape[1] + c) * height + row) * columns + b
                        _deal(flat, source + begin * step, step, planes, place + begin, end - begin)
                        q = end
                    else:
                        q = 0
                    while q < width:
                        store(planes, place + q, zero)
                        q += n
                    place += width
            while place < last:
                store(planes, place, zero)
                place += n
            place = last


@compiled
def _deal(source, s, step, target, place, count):
    """Copy every step-th number from number s on; vectors may hang over at the end."""
    n, q = lanes(target), 0
    if step == 1:
        while q < count and s + q + n <= source.size:
            store(target, place + q, load(source, s + q))
            q += n
    elif step == 2:
        while q < count and s + 2 * (q + n) <= source.size:
            two = _pick(load(source, s + 2 * q), load(source, s + 2 * q + n))
            store(target, place + q, two)
            q += n
    while q < count:
        target[place + q] = source[s + q * step]
        q += 1


@compiled
def _find_pieces(begin, end, length, runs, n, image_step, width, pieces):
    """The pieces of rows that make up the columns begin to end: source, column, count."""
    count, x = 0, begin
    while x < end:
        run, q = x // length, x % length
        piece = min(n, length - q, end - x)
        pieces[count, 0] = run // runs * image_step + run % runs * width + q
        pieces[count, 1], pieces[count, 2] = x - begin, piece
        x += piece
        count += 1
    return count


@compiled
def _pack(planes, base, shifts, farthest, pieces, count, panel):
    """Copy the pieces of all taps side by side, three vectors and a fourth to hang over into."""
    n = lanes(planes)
    for i in range(count):
        s, x, length = base + pieces[i, 0], pieces[i, 1], pieces[i, 2]
        if s + farthest + n <= planes.size:
            for t in range(shifts.size):
                store(panel, 4 * n * t + x, load(planes, s + shifts[t]))
        else:
            for t in range(shifts.size):
                for j in range(length):
                    panel[4 * n * t + x + j] = planes[s + shifts[t] + j]


@compiled
def correlate(job, jobs, images, weights, bias, output, plan, workspace):
    """Compute one job's share of a forward pass or of a learning flow (Chapter 11)."""
    sets, parts = (images.shape[0] + plan.images - 1) // plan.images, plan.parts
    panels = (plan.targets + 7) // 8
    for item in range(job, sets * plan.groups * parts, jobs):
        group, part = item // parts % plan.groups, item % parts
        first = item // (plan.groups * parts) * plan.images
        some = (first, min(images.shape[0], first + plan.images))
        k0 = min(plan.targets, panels * part // parts * 8)
        k1 = min(plan.targets, panels * (part + 1) // parts * 8)
        _one_item(images, weights, bias, output, plan, group, some, (k0, k1), workspace)


@compiled
def _one_item(images, weights, bias, output, plan, group, some, targets, workspace):
    """Compute some images and target channels of a group."""
    n, length, first = lanes(workspace), plan.plane[4], group * plan.sources
    panel, rest = workspace[: 4 * n * plan.room], workspace[4 * n * plan.room :]
    space = 0 if plan.in_place else plan.at_once * plan.deals.shape[0] * length + 3 * n
    planes, results = images.reshape(images.size) if plan.in_place else rest[:space], rest[space:]
    pieces = np.empty((3 * n, 3), np.int64)
    packed = np.arange(plan.room) * (4 * n)
    channel_step = plan.deals.shape[0] * length
    k = group * plan.targets + targets[0]
    w = k * plan.row_step if plan.row_step > plan.kernel else 0
    w = group * plan.targets * plan.sources * plan.kernel + targets[0] * plan.row_step
    for c in range(0, plan.sources, plan.at_once):
        channels = (c, min(plan.sources, c + plan.at_once))
        base, image_step = -c * channel_step, plan.plane[0] * plan.plane[1]
        if plan.in_place:
            image_step = images.shape[1] * channel_step
            base = some[0] * image_step + first * channel_step
        else:
            _fill_planes(images, some, (first + c, first + channels[1]), plan, planes)
        r = 0
        for i in range(plan.phases.shape[0]):
            r = _one_phase(planes, base, image_step, weights, w, bias, k, targets[1] - targets[0], plan, plan.phases[i],
                       channels, some, panel, packed, pieces, results, r, output)
    _collect(results, output, plan, some, k, targets[1] - targets[0])


@compiled
def _one_phase(planes, base, image_step, weights, w, bias, first_k, rows, plan, phase,
               channels, some, panel, packed, pieces, results, r, output):
    n, flat = lanes(panel), output.reshape(output.size)
    places = phase[4] * phase[5]
    end = (some[1] - some[0] - 1) * phase[7] + (phase[4] - 1) * phase[6] + phase[5]
    pitch = (end + 3 * n - 1) // (3 * n) * 3 * n
    length = phase[8]
    if length == 0:
        length = end
    t0, t1 = phase[0] + channels[0] * phase[1], phase[0] + channels[1] * phase[1]
    portions = max(1, (t1 - t0 + plan.room - 1) // plan.room)
    portion = max(1, (t1 - t0 + portions - 1) // portions)
    farthest = 0
    for t in range(t0, t1):
        farthest = max(farthest, plan.shifts[t])
    for x in range(0, end, 3 * n):
        target, at, step = results, r + x, pitch
        if plan.direct and x % places + 3 * n <= places:
            image, step = some[0] + x // places, places
            target, at = flat, (image * output.shape[1] + first_k) * places + x % places
        if channels[0] == 0:
            for k in range(rows):
                y, place = broadcast(bias, first_k + k), at + k * step
                store(target, place, y), store(target, place + n, y)
                store(target, place + 2 * n, y)
        run = x // length
        s = base + run // phase[9] * image_step + run % phase[9] * plan.plane[1] + x % length
        alone = x % length + min(3 * n, end - x) <= length and s + farthest + 3 * n <= planes.size
        if not alone:
            count = _find_pieces(x, min(end, x + 3 * n), length, phase[9], n, image_step, plan.plane[1], pieces)
        for t in range(t0, t1, portion):
            e = min(t1, t + portion)
            if alone:
                _multiply(weights, w, plan.row_step, plan.where[t:e], plan.shifts[t:e], planes, s, target, at, step, rows)
            else:
                _pack(planes, base, plan.shifts[t:e], farthest, pieces, count, panel)
                _multiply(weights, w, plan.row_step, plan.where[t:e], packed[: e - t], panel, 0, target, at, step, rows)
    return r + pitch * rows


@compiled
def _collect(results, output, plan, some, first_k, rows):
    """Copy to the output what has not been stored there."""
    n, r, p_step, q_step = lanes(results), 0, plan.out_step[0], plan.out_step[1]
    even, pitch_before, image_before, row_before = 0, 0, 0, 0
    for i in range(plan.phases.shape[0]):
        phase = plan.phases[i]
        _, _, row, column, height, width, row_columns, image_columns, _, _ = phase
        end = (some[1] - some[0] - 1) * image_columns + (height - 1) * row_columns + width
        pitch = (end + 3 * n - 1) // (3 * n) * 3 * n
        for image in range(some[0], some[1]):
            x = (image - some[0]) * image_columns
            if plan.direct:
                low, high = (x + 3 * n - 1) // (3 * n) * 3 * n - x, (x + width) // (3 * n) * 3 * n - x
                if low > high:
                    low = high = width
            else:
                low = high = width
            for k in range(rows):
                y = r + k * pitch + x
                for p in range(height):
                    target = output[image, first_k + k, row + p * p_step]
                    if q_step == 1:
                        _copy(results, y, target, 0, low)
                        _copy(results, y + high, target, high, width - high)
                    elif q_step == 2 and column == 1:
                        before = even + k * pitch_before + (image - some[0]) * image_before
                        _in_turns(results, before + p * row_before, y, target)
                    elif q_step != 2 or target.size == 1:
                        for q in range(width):
                            target[column + q * q_step] = results[y + q]
                    y += row_columns
        even, pitch_before, image_before, row_before = r, pitch, image_columns, row_columns
        r += pitch * rows


@compiled
def _copy(source, s, target, place, count):
    """Copy a row; the last vector overlaps the one before."""
    n, q = lanes(target), 0
    if count >= n:
        while q < count:
            q = min(q, count - n)
            store(target, place + q, load(source, s + q))
            q += n
    else:
        for q in range(count):
            target[place + q] = source[s + q]


@compiled
def _in_turns(source, even, odd, target):
    """Even and odd numbers of a row from two places."""
    n, q = lanes(target), 0
    while 2 * (q + n) <= target.size:
        low, high = _zip(load(source, even + q), load(source, odd + q))
        store(target, 2 * q, low), store(target, 2 * q + n, high)
        q += n
    for x in range(2 * q, target.size):
        target[x] = source[even + x // 2] if x % 2 == 0 else source[odd + x // 2]


def _round_up(number, step):
    return -(-number // step) * step


def _axis_forward(size, kernel_size, stride, padding, dilation, out_size):
    """The phases that the weights meet along one axis, and phase and shift of each weight."""
    at = [u * dilation for u in range(kernel_size)]
    used = sorted({a % stride for a in at})
    length = _plane_axis(size, padding, stride, out_size)
    return used, [(used.index(a % stride), a // stride) for a in at], length


@lru_cache(maxsize=1024)
def forward_plan(geometry, dtype, jobs):
    g = geometry
    settings = zip(g.stride, g.padding, g.dilation, strict=True)
    sizes = zip((g.height, g.width), (g.kernel_height, g.kernel_width), settings, (g.out_height, g.out_width), strict=True)
    (down, us, rows), (across, vs, width) = (_axis_forward(a, b, *c, d) for a, b, c, d in sizes)
    deals = [(a, b) for a in down for b in across]
    taps = [((a * len(across) + b), y * width + x) for a, y in us for b, x in vs]
    in_place = g.stride == (1, 1) and not any(sum(g.padding, ()))
    plane = rows, width, g.padding[0][0], g.padding[1][0]
    targets = g.out_channels // g.groups
    sources = g.in_channels // g.groups
    where = np.arange(len(taps))
    phases = [(where, taps, 0, 0, g.out_height, g.out_width)]
    return _plan(g, sources, targets, in_place, plane, g.stride, deals, len(taps), sources * len(taps), phases, (1, 1), jobs, lanes_of(dtype))


@lru_cache(maxsize=1024)
def input_grad_plan(geometry, dtype, jobs):
    g = geometry
    sources, targets = g.out_channels // g.groups, g.in_channels // g.groups
    down, top, rows = _backward_axis(g.height, g.kernel_height, g.stride[0], g.padding[0][0], g.dilation[0], g.out_height)
    across, left, width = _backward_axis(g.width, g.kernel_width, g.stride[1], g.padding[1][0], g.dilation[1], g.out_width)
    in_place = (rows, width, top, left) == (g.out_height, g.out_width, 0, 0)
    phases = []
    for row, height, us in down:
        for column, length, vs in across:
            taps = [(0, (a + top) * width + b + left) for _, a in us for _, b in vs]
            where = [u * g.kernel_width + v for u, _ in us for v, _ in vs]
            phases.append((np.array(where, int), taps, row, column, height, length))
    kernel = g.kernel_height * g.kernel_width
    return _plan(g, sources, targets, in_place, (rows, width, top, left), (1, 1), [(0, 0)], targets * kernel, kernel, phases, g.stride, jobs, lanes_of(dtype))


def _plan(g, sources, targets, in_place, plane, step, deals, source_step, row_step, phases, out_step, jobs, lanes):
    rows, width, top, left = plane
    kernel = g.kernel_height * g.kernel_width
    channel = np.arange(sources)[:, np.newaxis]
    farthest = max((shift for _, taps, *_ in phases for _, shift in taps), default=0)
    largest = phases[0][4] * phases[0][5]
    columns = min(COLUMNS_AT_ONCE, RESULTS_AT_ONCE // targets)
    if sources * kernel * targets > WEIGHTS_KEPT:
        columns *= 2
    images = max(1, min(g.batch, columns // largest))
    if sources * kernel * targets <= WEIGHTS_KEPT:
        images = min(images, -(-g.batch // jobs))
    sets = -(-g.batch // images)
    images = -(-g.batch // sets)
    items = sets * g.groups
    parts = 1 if items % jobs == 0 or items > 4 * jobs else min(jobs, -(-targets // 8))
    length = rows * width if in_place else _round_up(images * rows * width + farthest, 16)
    shifts, wheres, table = [], [], []
    begin, space = 0, 0
    packs = False
    for where, taps, row, column, height, columns in phases:
        at = np.array([deal * length + shift for deal, shift in taps], int)
        shifts.append((channel * (len(deals) * length) + at).ravel())
        wheres.append((channel * source_step + where).ravel())
        wide = (height - 1) * width + columns
        if in_place:
            layout = (width, wide, wide, 1)
        else:
            layout = (width, rows * width, 0, 1)
        pieces = 3 * lanes / columns + 3
        dense, sparse = height * columns * images, ((images - 1) * rows + height - 1) * width + columns
        block = 3 * lanes
        cost = lambda number: -(-number // block) * (targets + 7) // 8 * 12
        if width > columns and cost(dense) + -(-dense // block) * pieces * 7 < cost(sparse):
            layout = (columns, height * columns, columns, height)
        row_columns, image_columns, run, runs = layout
        if row_columns == columns and image_columns == height * columns and len(phases) == 1:
            height, columns = 1, height * columns
            row_columns = columns
        table.append((begin, len(taps), row, column, height, columns, row_columns, image_columns, run, runs))
        begin += sources * len(taps)
        end = (images - 1) * image_columns + (height - 1) * row_columns + columns
        space += _round_up(end, block) * _round_up(targets, 8)
        packs |= runs > 1
    direct = len(table) == 1 and out_step == (1, 1) and table[0][4] == 1
    most = max(len(taps) for _, taps, *_ in phases)
    room = PACKED_TAPS if packs else TAPS_AT_ONCE
    at_once = min(sources, max(1, NUMBERS_AT_ONCE // (len(deals) * length)))
    at_once = -(-sources // -(-sources // at_once))
    if in_place:
        at_once = sources
    plan = CorrelationPlan(images, sources, targets, g.groups, at_once, in_place, (*plane, length), step, np.array(deals, np.int64), np.concatenate(shifts).astype(np.int64),
        np.concatenate(wheres).astype(np.int64), row_step, kernel, np.array(table, np.int64), direct, out_step, parts, room)
    space += 4 * lanes * room + 3 * lanes
    if not in_place:
        space += at_once * len(deals) * length + 3 * lanes
    return plan, space


class WeightGradPlan(NamedTuple):
    """What `correlate_flow` needs to know (Chapter 11)."""

    images: int  # computed together
    sources: int
    targets: int
    groups: int
    at_once: int  # channels whose planes are filled at once
    in_place: bool
    plane: tuple
    step: tuple
    deals: np.ndarray
    shifts: np.ndarray  # of each tap
    stride: tuple
    rows_at_once: int  # rows of the flow
    parts: tuple  # of the output channels and of the input channels, to be shared out


@compiled
def _block_6x4(planes, places, starts, columns, step, flow, f, results, r):
    """Six taps by four vectors of output channels: add the products of some rows."""
    n = lanes(planes)
    p0, p1, p2, p3, p4, p5 = places
    q = r + 2 * n
    a0, a1, a2, a3 = load(results, r), load(results, r + n), load(results, q), load(results, q + n)
    r, q = r + 4 * n, q + 4 * n
    b0, b1, b2, b3 = load(results, r), load(results, r + n), load(results, q), load(results, q + n)
    r, q = r + 4 * n, q + 4 * n
    c0, c1, c2, c3 = load(results, r), load(results, r + n), load(results, q), load(results, q + n)
    r, q = r + 4 * n, q + 4 * n
    d0, d1, d2, d3 = load(results, r), load(results, r + n), load(results, q), load(results, q + n)
    r, q = r + 4 * n, q + 4 * n
    e0, e1, e2, e3 = load(results, r), load(results, r + n), load(results, q), load(results, q + n)
    r, q = r + 4 * n, q + 4 * n
    g0, g1, g2, g3 = load(results, r), load(results, r + n), load(results, q), load(results, q + n)
    for i in range(starts.size):
        x = starts[i]
        for _ in range(columns):
            f0, f1 = load(flow, f), load(flow, f + n)
            f2, f3 = load(flow, f + 2 * n), load(flow, f + 3 * n)
            k = broadcast(planes, p0 + x)
            a0, a1, a2, a3 = fma(k, f0, a0), fma(k, f1, a1), fma(k, f2, a2), fma(k, f3, a3)
            k = broadcast(planes, p1 + x)
            b0, b1, b2, b3 = fma(k, f0, b0), fma(k, f1, b1), fma(k, f2, b2), fma(k, f3, b3)
            _barrier()
            k = broadcast(planes, p2 + x)
            c0, c1, c2, c3 = fma(k, f0, c0), fma(k, f1, c1), fma(k, f2, c2), fma(k, f3, c3)
            k = broadcast(planes, p3 + x)
            d0, d1, d2, d3 = fma(k, f0, d0), fma(k, f1, d1), fma(k, f2, d2), fma(k, f3, d3)
            _barrier()
            k = broadcast(planes, p4 + x)
            e0, e1, e2, e3 = fma(k, f0, e0), fma(k, f1, e1), fma(k, f2, e2), fma(k, f3, e3)
            k = broadcast(planes, p5 + x)
            g0, g1, g2, g3 = fma(k, f0, g0), fma(k, f1, g1), fma(k, f2, g2), fma(k, f3, g3)
            x += step
            f += 4 * n
    store(results, r, g0), store(results, r + n, g1), store(results, q, g2), store(results, q + n, g3)
    r, q = r - 4 * n, q - 4 * n
    store(results, r, e0), store(results, r + n, e1), store(results, q, e2), store(results, q + n, e3)
    r, q = r - 4 * n, q - 4 * n
    store(results, r, d0), store(results, r + n, d1), store(results, q, d2), store(results, q + n, d3)
    r, q = r - 4 * n, q - 4 * n
    store(results, r, c0), store(results, r + n, c1), store(results, q, c2), store(results, q + n, c3)
    r, q = r - 4 * n, q - 4 * n
    store(results, r, b0), store(results, r + n, b1), store(results, q, b2), store(results, q + n, b3)
    r, q = r - 4 * n, q - 4 * n
    store(results, r, a0), store(results, r + n, a1), store(results, q, a2), store(results, q + n, a3)


@compiled
def _block_6x2(planes, places, starts, columns, step, flow, f, results, r):
    """Six taps by two vectors of output channels: add the products of some rows."""
    n = lanes(planes)
    p0, p1, p2, p3, p4, p5 = places
    a0, a1 = load(results, r), load(results, r + n)
    b0, b1 = load(results, r + 2 * n), load(results, r + 3 * n)
    c0, c1 = load(results, r + 4 * n), load(results, r + 5 * n)
    d0, d1 = load(results, r + 6 * n), load(results, r + 7 * n)
    e0, e1 = load(results, r + 8 * n), load(results, r + 9 * n)
    g0, g1 = load(results, r + 10 * n), load(results, r + 11 * n)
    for i in range(starts.size):
        x = starts[i]
        for _ in range(columns):
            f0, f1 = load(flow, f), load(flow, f + n)
            k = broadcast(planes, p0 + x)
            a0, a1 = fma(k, f0, a0), fma(k, f1, a1)
            k = broadcast(planes, p1 + x)
            b0, b1 = fma(k, f0, b0), fma(k, f1, b1)
            k = broadcast(planes, p2 + x)
            c0, c1 = fma(k, f0, c0), fma(k, f1, c1)
            _barrier()
            k = broadcast(planes, p3 + x)
            d0, d1 = fma(k, f0, d0), fma(k, f1, d1)
            k = broadcast(planes, p4 + x)
            e0, e1 = fma(k, f0, e0), fma(k, f1, e1)
            k = broadcast(planes, p5 + x)
            g0, g1 = fma(k, f0, g0), fma(k, f1, g1)
            x += step
            f += 2 * n
    store(results, r, a0), store(results, r + n, a1)
    store(results, r + 2 * n, b0), store(results, r + 3 * n, b1)
    store(results, r + 4 * n, c0), store(results, r + 5 * n, c1)
    store(results, r + 6 * n, d0), store(results, r + 7 * n, d1)
    store(results, r + 8 * n, e0), store(results, r + 9 * n, e1)
    store(results, r + 10 * n, g0), store(results, r + 11 * n, g1)


@compiled
def _panel(k, end, n):
    """How many channels lie side by side from channel k on."""
    return 4 * n if ROWS == 8 and k + 2 * n < end else 2 * n


@compiled
def _turn_flow(grad_output, some, targets, flow):
    """Write the flow of some images, place after place, a panel of channels side by side."""
    n, flat = lanes(flow), grad_output.reshape(grad_output.size)
    places = grad_output.shape[2] * grad_output.shape[3]
    total = (some[1] - some[0]) * places
    k = 0
    while k < targets[1] - targets[0]:
        panel = _panel(k, targets[1] - targets[0], n)
        for image in range(some[0], some[1]):
            begin = k * total + (image - some[0]) * places * panel
            for j in range(0, panel, n):
                first = targets[0] + k + j
                count = max(0, min(n, targets[1] - first))
                source, target = (image * grad_output.shape[1] + first) * places, begin + j
                whole = places // n * n if count == n else 0
                for x in range(0, whole, n):
                    _transpose(flat, source + x, places, flow, target + x * panel, panel)
                for lane in range(count):
                    for x in range(whole, places):
                        flow[target + x * panel + lane] = flat[source + lane * places + x]
                for lane in range(count, n):
                    for x in range(places):
                        flow[target + x * panel + lane] = 0
        k += panel


@compiled
def correlate_flow(job, jobs, images, grad_output, sums, plan, workspace):
    """Compute one job's share of the gradient of the weights (Chapter 11).

    `sums` has the axes section, output channel and tap.
    """
    sections, (k_parts, c_parts), n = sums.shape[0], plan.parts, lanes(workspace)
    panels = (plan.targets + 4 * n - 1) // (4 * n)
    for item in range(job, sections * plan.groups * k_parts * c_parts, jobs):
        section, rest = item // (plan.groups * k_parts * c_parts), item // (k_parts * c_parts)
        group, k, c = rest % plan.groups, item // c_parts % k_parts, item % c_parts
        first = group * plan.targets
        targets = (first + min(plan.targets, panels * k // k_parts * 4 * n),
                   first + min(plan.targets, panels * (k + 1) // k_parts * 4 * n))
        channels = plan.sources * c // c_parts, plan.sources * (c + 1) // c_parts
        some = (images.shape[0] * section // sections, images.shape[0] * (section + 1) // sections)
        _one_section(images, grad_output, sums[section], group, targets, channels, some,
                     plan, workspace)


@compiled
def _one_section(images, grad_output, sums, group, targets, channels, some, plan, workspace):
    """Sum over some images, for some output and input channels of a group."""
    n, count = lanes(workspace), targets[1] - targets[0]
    height, columns = grad_output.shape[2:]
    width, length = plan.plane[1], plan.plane[4]
    padded = (count + 2 * n - 1) // (2 * n) * 2 * n
    kernel = plan.shifts.size // plan.sources
    t0, t1 = channels[0] * kernel, channels[1] * kernel
    rows = (t1 - t0 + 5) // 6 * 6
    results, rest = workspace[: padded * rows], workspace[padded * rows :]
    results[:] = 0
    flow_size = plan.images * height * columns * padded
    flow, rest = rest[:flow_size], rest[flow_size:]
    planes = images.reshape(images.size) if plan.in_place else rest
    starts = np.empty(plan.images * height, np.int64)
    for first in range(some[0], some[1], plan.images):
        now = (first, min(some[1], first + plan.images))
        _turn_flow(grad_output, now, targets, flow)
        image_step = plan.plane[0] * width
        if plan.in_place:
            image_step = images.shape[1] * length
        for i in range((now[1] - now[0]) * height):
            starts[i] = i // height * image_step + i % height * plan.stride[0] * width
        for c in range(channels[0], channels[1], plan.at_once):
            c1 = min(channels[1], c + plan.at_once)
            base = -c * length
            if plan.in_place:
                base = first * image_step + group * plan.sources * length
            else:
                s = group * plan.sources
                _fill_planes(images, now, (s + c, s + c1), plan, planes)
            _add_products(planes, base, (c * kernel, c1 * kernel), starts[: (now[1] - now[0]) * height],
                          columns, flow, count, results, t0, rows, plan)
    _collect_sums(results, rows, sums, targets, t0, t1)


@compiled
def _add_products(planes, base, taps, starts, columns, flow, targets, results, t0, rows, plan):
    """Add the products of flow and planes to the results, some rows at a time."""
    n, last = lanes(planes), taps[1] - 1
    shifts = plan.shifts
    for i in range(0, starts.size, plan.rows_at_once):
        some = starts[i : i + plan.rows_at_once]
        k = 0
        while k < targets:
            panel = _panel(k, targets, n)
            f = k * starts.size * columns + i * columns * panel
            for t in range(taps[0], taps[1], 6):
                six = (base + shifts[t], base + shifts[min(t + 1, last)],
                       base + shifts[min(t + 2, last)], base + shifts[min(t + 3, last)],
                       base + shifts[min(t + 4, last)], base + shifts[min(t + 5, last)])
                r = k * rows + (t - t0) * panel
                if panel == 4 * n:
                    _block_6x4(planes, six, some, columns, plan.stride[1], flow, f, results, r)
                else:
                    _block_6x2(planes, six, some, columns, plan.stride[1], flow, f, results, r)
            k += panel


@compiled
def _collect_sums(results, rows, sums, targets, t0, t1):
    """Copy the sums to the gradient, output channel first."""
    n, count, taps, flat = lanes(results), targets[1] - targets[0], sums.shape[1], sums.reshape(sums.size)
    k = 0
    while k < count:
        panel = _panel(k, count, n)
        for j in range(k, min(k + panel, count), n):
            whole = (t1 - t0) // n * n if j + n <= count else 0
            source, target = k * rows + j - k, (targets[0] + j) * taps + t0
            for t in range(0, whole, n):
                _transpose(results, source + t * panel, panel, flat, target + t, taps)
            for lane in range(min(n, count - j)):
                for t in range(whole, t1 - t0):
                    flat[target + lane * taps + t] = results[source + t * panel + lane]
        k += panel


@lru_cache(maxsize=1024)
def weight_grad_plan(geometry, dtype, jobs):
    g, n = geometry, lanes_of(dtype)
    sources, targets = g.in_channels // g.groups, g.out_channels // g.groups
    rows = _plane_axis(g.height, g.padding[0], 1, 1)
    width = _plane_axis(g.width, g.padding[1], 1, 1)
    kernel = g.kernel_height * g.kernel_width
    in_place = not any(sum(g.padding, ()))
    places = g.out_height * g.out_width
    sums = sources * kernel * targets
    sections = min(SECTIONS, g.batch) if sums * g.groups <= SUMS else 1
    images = max(1, min(-(-g.batch // sections), RESULTS_AT_ONCE // (targets * places)))
    length = rows * width
    if not in_place:
        length = _round_up(images * rows * width + g.padding[0][1] * width + g.padding[1][1], 16)
    k_parts = c_parts = 1
    if sections == 1 and g.groups % jobs:
        k_parts = min(jobs, -(-targets // (4 * n)))
        c_parts = max(1, min(jobs // k_parts, sources))
    at_once = sources if in_place else min(sources, max(1, NUMBERS_AT_ONCE // length // 6) * 6)
    u, v = np.indices((g.kernel_height, g.kernel_width)).reshape(2, -1)
    shifts = u * g.dilation[0] * width + v * g.dilation[1]
    shifts = (np.arange(sources)[:, np.newaxis] * length + shifts).ravel()
    plan = WeightGradPlan(images, sources, targets, g.groups, at_once, in_place,
        (rows, width, g.padding[0][0], g.padding[1][0], length), (1, 1), np.zeros((1, 2), np.int64), shifts.astype(np.int64),
        g.stride, max(1, PLACES_AT_ONCE // g.out_width), (k_parts, c_parts))
    padded = _round_up(targets, 2 * n)
    space = padded * _round_up(sources * kernel, 6) + images * places * padded
    space += 0 if in_place else at_once * length + n
    return plan, sections, space


def weight_grad(input, grad_output, geometry, jobs):
    g = geometry
    plan, sections, space = weight_grad_plan(g, input.dtype, jobs)
    shape = (g.out_channels, g.in_channels // g.groups, g.kernel_height, g.kernel_width)
    sums = np.empty((sections, g.out_channels, plan.shifts.size), input.dtype)
    parallel.run(correlate_flow, jobs, space, input.dtype, input, grad_output, sums, plan)
    grad = sums[0] if sections == 1 else sums.sum(axis=0)
    return grad.reshape(shape) if np.isfinite(grad).all() else None


def suits(geometry, dtype):
    return np.dtype(dtype).char in "fd" and 0 not in geometry[:7]


def forward(input, weight, bias, geometry, jobs):
    g = geometry
    plan, space = forward_plan(g, input.dtype, jobs)
    output = np.empty((g.batch, g.out_channels, g.out_height, g.out_width), input.dtype)
    parallel.run(correlate, jobs, space, input.dtype, input, weight.reshape(-1), bias, output, plan)
    if _is_sound(output[0, :, :1, :1], weight):
        return output
    return None


def input_grad(weight, grad_output, geometry, jobs):
    g = geometry
    plan, space = input_grad_plan(g, weight.dtype, jobs)
    grad = np.empty((g.batch, g.in_channels, g.height, g.width), weight.dtype)
    bias = np.zeros(g.in_channels, weight.dtype)
    parallel.run(correlate, jobs, space, weight.dtype, grad_output, weight.reshape(-1), bias, grad, plan)
    if _is_sound(grad[0, :, : g.stride[0], : g.stride[1]], weight):
        return grad
    return None


def _is_sound(results, weight):
    return bool(np.isfinite(results).all() or np.isfinite(weight).all())
