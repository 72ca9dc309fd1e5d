# Exported from chapters/ by tools/export.py: edit the chapter, not this file.
"""Thin layers: few channels, so nothing is copied that need not be.

Chapter "Thin layers" builds this module.
"""

from math import isfinite
from typing import NamedTuple

import numpy as np

from convlib import parallel
from convlib.kernels.padded import PaddedPlane, copy_row, fill_planes, forward_plane, plane_for
from convlib.kernels.plans import backward_axis, divide_up, round_up
from convlib.kernels.remember import remembered
from convlib.kernels.shuffles import plus, transpose
from convlib.kernels.simd import (
    REGISTER_BYTES,
    all_finite,
    broadcast,
    compiled,
    fma,
    inlined,
    lanes,
    lanes_of,
    load,
    load_some,
    store,
    store_some,
    total,
)

__all__ = [
    "TAPS_AT_ONCE",
    "VECTORS_AT_ONCE",
    "correlate",
    "EIGHT",
    "ThinPlan",
    "pack_panels",
    "LARGEST",
    "suits",
    "forward",
    "input_grad",
    "sum_products",
    "PLACES",
    "PLACES_TRANSPOSED",
    "IMAGES",
    "SECTIONS",
    "WeightPlan",
    "SIDE_BY_SIDE",
    "sum_products_transposed",
    "TransposedPlan",
    "weight_grad",
    "sum_channels",
    "bias_grad",
]


# Chapter "Thin layers" (chapters/thin.ipynb)

@inlined
def _times_3(k, s, a):
    """Add to three vectors the products of one vector with three."""
    return fma(k, s[0], a[0]), fma(k, s[1], a[1]), fma(k, s[2], a[2])


@inlined
def _start_3(bias, o):
    """Three vectors of results before the first tap."""
    k = broadcast(bias, o)
    return k, k, k


@inlined
def _keep_3(output, place, vectors, v, a):
    """Store three vectors, as many lanes as belong to their rows."""
    store_some(output, place + vectors[v, 1], a[0], vectors[v, 2])
    store_some(output, place + vectors[v + 1, 1], a[1], vectors[v + 1, 2])
    store_some(output, place + vectors[v + 2, 1], a[2], vectors[v + 2, 2])


@inlined
def _block_8x3(planes, shifts, taps, weights, w, vectors, v, bias, o, last, output, place,
               length):
    """Eight channels of results, three vectors each, from bias to output."""
    x, y, z = vectors[v, 0], vectors[v + 1, 0], vectors[v + 2, 0]
    a, b = _start_3(bias, o), _start_3(bias, min(o + 1, last))
    c, d = _start_3(bias, min(o + 2, last)), _start_3(bias, min(o + 3, last))
    e, f = _start_3(bias, min(o + 4, last)), _start_3(bias, min(o + 5, last))
    g, h = _start_3(bias, min(o + 6, last)), _start_3(bias, min(o + 7, last))
    for t in range(taps[0], taps[1]):
        shift = shifts[t]
        s = load(planes, x + shift), load(planes, y + shift), load(planes, z + shift)
        a = _times_3(broadcast(weights, w), s, a)
        b = _times_3(broadcast(weights, w + 1), s, b)
        c = _times_3(broadcast(weights, w + 2), s, c)
        d = _times_3(broadcast(weights, w + 3), s, d)
        e = _times_3(broadcast(weights, w + 4), s, e)
        f = _times_3(broadcast(weights, w + 5), s, f)
        g = _times_3(broadcast(weights, w + 6), s, g)
        h = _times_3(broadcast(weights, w + 7), s, h)
        w += 8
    _keep_3(output, place, vectors, v, a)
    _keep_3(output, place + length, vectors, v, b)  # there are at least five
    _keep_3(output, place + 2 * length, vectors, v, c)
    _keep_3(output, place + 3 * length, vectors, v, d)
    _keep_3(output, place + 4 * length, vectors, v, e)
    if o + 5 <= last:
        _keep_3(output, place + 5 * length, vectors, v, f)
    if o + 6 <= last:
        _keep_3(output, place + 6 * length, vectors, v, g)
    if o + 7 <= last:
        _keep_3(output, place + 7 * length, vectors, v, h)


@inlined
def _block_4x3(planes, shifts, taps, weights, w, vectors, v, bias, o, last, output, place,
               length):
    """Two to four channels of results, three vectors each."""
    x, y, z = vectors[v, 0], vectors[v + 1, 0], vectors[v + 2, 0]
    a, b = _start_3(bias, o), _start_3(bias, min(o + 1, last))
    c, d = _start_3(bias, min(o + 2, last)), _start_3(bias, min(o + 3, last))
    for t in range(taps[0], taps[1]):
        shift = shifts[t]
        s = load(planes, x + shift), load(planes, y + shift), load(planes, z + shift)
        a = _times_3(broadcast(weights, w), s, a)
        b = _times_3(broadcast(weights, w + 1), s, b)
        c = _times_3(broadcast(weights, w + 2), s, c)
        d = _times_3(broadcast(weights, w + 3), s, d)
        w += 4
    _keep_3(output, place, vectors, v, a)
    _keep_3(output, place + length, vectors, v, b)
    if o + 2 <= last:
        _keep_3(output, place + 2 * length, vectors, v, c)
    if o + 3 <= last:
        _keep_3(output, place + 3 * length, vectors, v, d)


@inlined
def _block_1x6(planes, shifts, taps, weights, w, vectors, v, bias, o, output, place):
    """One channel of results, six vectors."""
    x, y, z = vectors[v, 0], vectors[v + 1, 0], vectors[v + 2, 0]
    p, q, r = vectors[v + 3, 0], vectors[v + 4, 0], vectors[v + 5, 0]
    a, b = _start_3(bias, o), _start_3(bias, o)
    for t in range(taps[0], taps[1]):
        shift = shifts[t]
        k = broadcast(weights, w)
        s = load(planes, x + shift), load(planes, y + shift), load(planes, z + shift)
        a = _times_3(k, s, a)
        s = load(planes, p + shift), load(planes, q + shift), load(planes, r + shift)
        b = _times_3(k, s, b)
        w += 1
    _keep_3(output, place, vectors, v, a)
    _keep_3(output, place, vectors, v + 3, b)


@compiled
def _panel(planes, shifts, taps, weights, w, vectors, some, side, bias, o, last, output,
           place, length):
    """Some vectors of a panel: the products of some taps, on top of the bias."""
    if side == 8:
        for v in range(some[0], some[1], 3):
            _block_8x3(planes, shifts, taps, weights, w, vectors, v, bias, o, last, output,
                       place, length)
    elif side == 4:
        for v in range(some[0], some[1], 3):
            _block_4x3(planes, shifts, taps, weights, w, vectors, v, bias, o, last, output,
                       place, length)
    else:
        for v in range(some[0], some[1], 6):
            _block_1x6(planes, shifts, taps, weights, w, vectors, v, bias, o, output, place)


@compiled
def _add_row(sums, s, count, output, place, one):
    """Add `count` neighbouring sums to the output."""
    n = lanes(sums)
    for q in range(0, count, n):
        old = load_some(output, place + q, count - q)
        store_some(output, place + q, fma(one, old, load(sums, s + q)), count - q)


TAPS_AT_ONCE = 150  # in a sum that begins at zero
VECTORS_AT_ONCE = 48  # of a panel, while its sums are added to the output


@compiled
def _all_panels(planes, shifts, taps, weights, w, vectors, some, starts, o, last, panels,
                output, place, length, sums):
    """All output channels of a group, for some of the vectors.

    Behind the biases, `starts` holds eight zeros and a one.
    """
    zero, one = starts.size - 9, broadcast(starts, starts.size - 1)
    number, step = taps[1] - taps[0], VECTORS_AT_ONCE * lanes(planes)
    portions = max(1, (number + TAPS_AT_ONCE - 1) // TAPS_AT_ONCE)
    at_once = VECTORS_AT_ONCE if portions > 1 else max(1, some[1] - some[0])
    for i in range(panels.shape[0]):
        k, side = panels[i, 0], panels[i, 1]
        begin, here, more = w + k * number, place + k * length, min(last - o - k, side - 1)
        for v in range(some[0], some[1], at_once):
            few = v, min(v + at_once, some[1])
            end = few[1] - 1
            while vectors[end, 2] == 0:  # it only fills up
                end -= 1
            first, end = vectors[v, 1], vectors[end, 1] + vectors[end, 2]
            t = 0
            for portion in range(portions):
                t, at = number * (portion + 1) // portions, t
                part = taps[0] + at, taps[0] + t
                if portion == 0:
                    _panel(planes, shifts, part, weights, begin, vectors, few, side, starts,
                           o + k, last, output, here, length)
                    continue
                _panel(planes, shifts, part, weights, begin + at * side, vectors, few, side,
                       starts, zero, zero + more, sums, -first, step)
                for c in range(more + 1):
                    _add_row(sums, c * step, end - first, output, here + c * length + first,
                             one)


@compiled
def correlate(job, jobs, images, packed, output, size, plan, workspace):
    """Compute one job's share of a forward pass or of a learning flow (chapter "Thin layers")."""
    layout, shifts, vectors, phases, panels, unit, group_weights, parts = plan
    groups, sources, targets, height, width, out_length = size
    weights, starts = packed[: groups * group_weights], packed[groups * group_weights :]
    starts = starts[: groups * targets + 9]
    batch = images.size // (groups * sources * height * width)
    phase_length = layout.row_phases * layout.column_phases * layout.length
    sums = workspace[sources * phase_length + lanes(images) :]
    results = sums[8 * VECTORS_AT_ONCE * lanes(images) :]
    for item in range(job, batch * groups * parts, jobs):
        part, plane = item % parts, item // parts  # the planes of image and group
        fill_planes(images, plane * sources, sources, height, width, layout, workspace)
        group, first = plane % groups, plane * targets * out_length
        o, last = group * targets, (group + 1) * targets - 1
        for i in range(phases.shape[0]):
            t0, t1, w, v0, v1, length, step = phases[i]
            blocks = (v1 - v0) // unit
            some = (v0 + blocks * part // parts * unit,
                    v0 + blocks * (part + 1) // parts * unit)
            w += group * group_weights
            if step == 0:
                _all_panels(workspace, shifts, (t0, t1), weights, w, vectors, some, starts,
                            o, last, panels, output, first, out_length, sums)
            else:
                _all_panels(workspace, shifts, (t0, t1), weights, w, vectors, some, starts,
                            o, last, panels, results, 0, length, sums)
                for k in range(targets):
                    _scatter(results, k * length, vectors, some, step,
                             output, first + k * out_length)


@compiled
def _scatter(results, x, vectors, some, step, output, place):
    """Copy results to every `step`-th place of the output."""
    for v in range(some[0], some[1]):
        source, target = x + vectors[v, 1], place + vectors[v, 3]
        for j in range(vectors[v, 2]):
            output[target + j * step] = results[source + j]


EIGHT = 8 if REGISTER_BYTES == 64 else 4  # channels of a block: 32 registers, or 16


class ThinPlan(NamedTuple):
    """What `correlate` needs to know (chapter "Thin layers")."""

    layout: PaddedPlane
    shifts: np.ndarray  # of each tap
    vectors: np.ndarray  # place in the plane, in the results, lanes, place in the output
    phases: np.ndarray  # taps, first weight, vectors, length of results, step if scattered
    panels: np.ndarray  # first channel, and channels at once
    unit: int  # vectors come in threes, or in sixes
    group_weights: int  # packed weights of a group
    parts: int  # of an image, to be shared out among jobs


def _vectors(phase, width, out_width, lanes, unit):
    """The vectors of a phase."""
    row, column, row_step, column_step, rows, columns = phase
    p, q = np.arange(rows)[:, np.newaxis], np.arange(0, columns, lanes)
    inside = np.minimum(lanes, columns - q)
    written = (row + p * row_step) * out_width + column + q * column_step
    found = [each.ravel() for each in np.broadcast_arrays(
        p * width + q, p * columns + q, inside, written)]  # fmt: skip
    return np.pad(np.stack(found, axis=1), ((0, -found[0].size % unit), (0, 0)))


def _panels(targets):
    """First channel and size of each panel."""
    found, k = [], 0
    while k < targets:
        side = EIGHT if targets - k > 4 else 4 if targets - k > 1 else 1
        found.append((k, side))
        k += side
    return found


def _plan(geometry, layout, taps, shifts, phases, channels, out_width, dtype, jobs):
    """The plan, its taps, and the size of the workspace."""
    (sources, targets), lanes = channels, lanes_of(dtype)
    panels, vectors, table, first = _panels(targets), [], [], 0
    w, results, unit = 0, 0, 6 if panels[-1][1] == 1 else 3
    for t0, t1, *phase in phases:
        some = _vectors(phase, layout.width, out_width, lanes, unit)
        length, scattered = phase[4] * phase[5], phase[2:4] != [1, 1]
        step = phase[3] if scattered else 0
        table.append((t0, t1, w, first, first + len(some), length, step))
        vectors.append(some)
        first += len(some)
        w += (t1 - t0) * sum(side for _, side in panels)
        results = max(results, targets * length * scattered)
    items = geometry.batch * geometry.groups
    parts = 1 if items % jobs == 0 or items > 4 * jobs else jobs
    tables = shifts, np.concatenate(vectors), table, panels
    arrays = (np.array(each, dtype=np.int64) for each in tables)
    planes = sources * layout.row_phases * layout.column_phases * layout.length
    plan = ThinPlan(layout, *arrays, unit, w, parts)
    results += (8 * VECTORS_AT_ONCE + 1) * lanes
    return plan, np.array(taps, dtype=np.int64), planes + lanes + results


@remembered
def _forward_plan(geometry, dtype, jobs):
    g = geometry
    sources, targets = g.in_channels // g.groups, g.out_channels // g.groups
    layout, phase, shift = forward_plane(g, dtype)
    channel = np.arange(sources)[:, np.newaxis] * (g.stride[0] * g.stride[1])
    shifts = ((channel + phase) * layout.length + shift).ravel()
    taps = np.tile(np.arange(phase.size), sources)
    phases = [(0, len(taps), 0, 0, 1, 1, g.out_height, g.out_width)]
    plan = _plan(g, layout, taps, shifts, phases, (sources, targets), g.out_width, dtype, jobs)
    size = g.groups, sources, targets, g.height, g.width, g.out_height * g.out_width
    shape = g.batch, g.out_channels, g.out_height, g.out_width
    kernel = g.kernel_height * g.kernel_width
    return *plan, size, shape, (kernel, sources * kernel)


@compiled
def _pack_group(weight, w, steps, taps, phases, panels, size, packed, place):
    """Lay out the weights of a group; also return whether all are finite."""
    (sources, targets), finite = size, True
    for i in range(phases.shape[0]):
        t0, t1 = phases[i, 0], phases[i, 1]
        for j in range(panels.shape[0]):
            k, side = panels[j, 0], panels[j, 1]
            for source in range(sources):
                for t in range(t0, t0 + (t1 - t0) // sources):
                    for lane in range(side):
                        o = k + lane if k + lane < targets else k  # any: nobody looks at it
                        number = weight[w + source * steps[0] + o * steps[1] + taps[t]]
                        packed[place] = number
                        finite = finite and isfinite(number)
                        place += 1
    return place, finite


@compiled
def pack_panels(weight, steps, bias, taps, phases, panels, size, packed):
    """Lay out weights and biases; return whether all weights are finite (chapter "Thin layers")."""
    groups, sources, targets = size[:3]
    place, all_are = 0, True
    for group in range(groups):
        w = group * (weight.size // groups)
        place, finite = _pack_group(weight, w, steps, taps, phases, panels, (sources, targets),
                                    packed, place)
        all_are = all_are and finite
    for k in range(groups * targets + 8):
        packed[place + k] = bias[k] if k < bias.size else 0
    packed[place + groups * targets + 8] = 1
    return all_are


LARGEST = 20_000  # weights of a group, in a thin layer


def suits(geometry, dtype):
    """Whether a layer is thin (chapter "Thin layers")."""
    g = geometry
    channels = g.in_channels // g.groups * (g.out_channels // g.groups)
    return channels * g.kernel_height * g.kernel_width <= LARGEST


def _correlate(images, weight, bias, planned, jobs):
    """Pack the weights and let the jobs correlate."""
    plan, taps, space, size, shape, steps = planned
    room = size[0] * plan.group_weights + shape[1] + 9
    packed = parallel.borrow("pieces", room, images.dtype)
    if not pack_panels(weight.reshape(-1), steps, bias, taps, plan.phases, plan.panels, size, packed):
        return None
    output = parallel.aligned(shape, images.dtype)
    parallel.run(correlate, jobs, space, images.dtype, images.reshape(-1), packed,
                 output.reshape(-1), size, plan)
    parallel.give_back("pieces", packed)
    return output


def forward(input, weight, bias, geometry, jobs):
    """Compute the output of a layer.

    Parameters
    ----------
    input : array of shape (N, C, H, W)
        All arrays of one data type, float32 or float64, each in one piece.
    weight : array of shape (K, C / groups, kh, kw)
        The kernels.
    bias : array of shape (K,)
        One number for each output channel.
    geometry : convlib.shapes.Geometry
        The sizes and settings; nothing is checked here.
    jobs : int
        How many threads to use; the result does not depend on it.

    Returns
    -------
    array of shape (N, K, H', W'), or None
        None if a weight is not finite: zeros around the image must not meet it.

    Notes
    -----
    Source: chapter "Thin layers".
    """
    return _correlate(input, weight, bias, _forward_plan(geometry, input.dtype, jobs), jobs)


@remembered
def _input_grad_plan(geometry, dtype, jobs):
    g = geometry
    sources, targets = g.out_channels // g.groups, g.in_channels // g.groups
    down, top, rows = backward_axis(g.height, g.kernel_height, g.stride[0],
                                     g.padding[0][0], g.dilation[0], g.out_height)
    across, left, width = backward_axis(g.width, g.kernel_width, g.stride[1],
                                         g.padding[1][0], g.dilation[1], g.out_width)
    lowest = max((a for _, _, taps in down for _, a in taps), default=0) + top
    rightmost = max((b for _, _, taps in across for _, b in taps), default=0) + left
    results = down[0][1], across[0][1]
    layout = plane_for(rows, width, (top, left), (1, 1), results,
                       lowest * width + rightmost, dtype)
    taps, shifts, phases = [], [], []
    for row, height, us in down:
        for column, columns, vs in across:
            places = [(u * g.kernel_width + v, (a + top) * width + b + left)
                      for u, a in us for v, b in vs]
            begin = len(taps)
            for source in range(sources):
                taps += [tap for tap, _ in places]
                shifts += [source * layout.length + shift for _, shift in places]
            phases.append((begin, len(taps), row, column, *g.stride, height, columns))
    plan = _plan(g, layout, taps, shifts, phases, (sources, targets), g.width, dtype, jobs)
    size = g.groups, sources, targets, g.out_height, g.out_width, g.height * g.width
    shape, kernel = (g.batch, g.in_channels, g.height, g.width), g.kernel_height * g.kernel_width
    return *plan, size, shape, (targets * kernel, kernel)


def input_grad(weight, grad_output, geometry, jobs):
    """Compute the learning flow at the input of a layer.

    Parameters
    ----------
    weight : array of shape (K, C / groups, kh, kw)
        The kernels.
    grad_output : array of shape (N, K, H', W')
        The learning flow at the output.
    geometry, jobs
        As in `forward`.

    Returns
    -------
    array of shape (N, C, H, W), or None
        None if a weight is not finite.

    Notes
    -----
    Source: chapter "Thin layers".
    """
    planned, no_bias = _input_grad_plan(geometry, weight.dtype, jobs), np.empty(0, weight.dtype)
    return _correlate(grad_output, weight, no_bias, planned, jobs)


@inlined
def _load_4(array, x):
    n = lanes(array)
    a, b = load(array, x), load(array, x + n)
    return a, b, load(array, x + 2 * n), load(array, x + 3 * n)


@inlined
def _add_4(array, x, a):
    """Add four vectors to those in memory."""
    n, (b0, b1, b2, b3) = lanes(array), _load_4(array, x)
    store(array, x, plus(b0, a[0])), store(array, x + n, plus(b1, a[1]))
    store(array, x + 2 * n, plus(b2, a[2])), store(array, x + 3 * n, plus(b3, a[3]))


@inlined
def _times_4(f, s, a):
    """Add to four vectors the products of four with one."""
    a0, a1 = fma(f[0], s, a[0]), fma(f[1], s, a[1])
    return a0, a1, fma(f[2], s, a[2]), fma(f[3], s, a[3])


@inlined
def _five(shifts, t):
    """The shifts of five taps; behind the last tap, the last once more."""
    last = shifts.size - 1
    a, b, c = shifts[t], shifts[min(t + 1, last)], shifts[min(t + 2, last)]
    return a, b, c, shifts[min(t + 3, last)], shifts[min(t + 4, last)]


@inlined
def _products_4x5(planes, five, flow, f, channels, rows, columns, width, sums, r):
    """Four channels of flow times five shifted planes: add the products of some rows."""
    step, (begin, end, length) = 4 * lanes(planes), rows
    f1, f2 = f + min(1, channels - 1) * length, f + min(2, channels - 1) * length
    f3 = f + min(3, channels - 1) * length
    zero = load_some(planes, 0, 0)
    a = zero, zero, zero, zero
    b, c, d, e = a, a, a, a
    for p in range(begin, end):
        for column in range(0, columns, lanes(planes)):
            x, q, count = p * width + column, p * columns + column, columns - column
            k = (load_some(flow, f + q, count), load_some(flow, f1 + q, count),
                 load_some(flow, f2 + q, count), load_some(flow, f3 + q, count))
            a = _times_4(k, load(planes, x + five[0]), a)
            b = _times_4(k, load(planes, x + five[1]), b)
            c = _times_4(k, load(planes, x + five[2]), c)
            d = _times_4(k, load(planes, x + five[3]), d)
            e = _times_4(k, load(planes, x + five[4]), e)
    _add_4(sums, r, a), _add_4(sums, r + step, b), _add_4(sums, r + 2 * step, c)
    _add_4(sums, r + 3 * step, d), _add_4(sums, r + 4 * step, e)


@inlined
def _products_1x5(planes, five, flow, f, rows, columns, width, sums, r):
    """The same for one channel of flow."""
    step, a = 4 * lanes(planes), load_some(planes, 0, 0)
    b, c, d, e = a, a, a, a
    for p in range(rows[0], rows[1]):
        for q in range(0, columns, lanes(planes)):
            x, k = p * width + q, load_some(flow, f + p * columns + q, columns - q)
            a = fma(k, load(planes, x + five[0]), a)
            b = fma(k, load(planes, x + five[1]), b)
            c = fma(k, load(planes, x + five[2]), c)
            d = fma(k, load(planes, x + five[3]), d)
            e = fma(k, load(planes, x + five[4]), e)
    for s in (a, b, c, d, e):
        store(sums, r, plus(load(sums, r), s))
        r += step


@inlined
def _add_image(planes, shifts, flow, f, size, width, portion, r):
    """Add the products of one image to the sums, a portion of rows at a time."""
    targets, rows, columns = size
    length, n, fives = rows * columns, lanes(planes), (shifts.size + 4) // 5
    for p in range(0, rows, portion):
        some = (p, min(p + portion, rows), length)
        for k in range(0, targets, 4):
            for t in range(fives):
                x, five = r + (k // 4 * fives + t) * 20 * n, _five(shifts, 5 * t)
                if targets == 1:
                    _products_1x5(planes, five, flow, f, some, columns, width, planes, x)
                else:
                    _products_4x5(planes, five, flow, f + k * length, min(4, targets - k),
                                  some, columns, width, planes, x)


@compiled
def sum_products(job, jobs, images, grad_output, sums, size, plan, workspace):
    """Compute one job's share of the gradient of the weights (chapter "Thin layers").

    `sums` has the axes section, output channel and tap, in one long row.
    """
    layout, shifts, portion = plan
    groups, sources, targets, height, width, rows, columns, sections = size
    batch = images.size // (groups * sources * height * width)
    phase_length = layout.row_phases * layout.column_phases * layout.length
    n, fives, fours = lanes(images), (shifts.size + 4) // 5, (targets + 3) // 4
    r = sources * phase_length + n  # the vectors of sums stand behind the planes
    for item in range(job, sections * groups, jobs):
        section, group = item // groups, item % groups
        place, behind = item * targets * shifts.size, batch * (section + 1) // sections
        sums[place : place + targets * shifts.size] = 0
        for begin in range(batch * section // sections, behind, IMAGES):
            copy_row(images, 0, 0, 1, workspace, r, fours * fives * 20 * n)
            for i in range(begin, min(behind, begin + IMAGES)):
                first = (i * groups + group) * sources
                fill_planes(images, first, sources, height, width, layout, workspace)
                f = (i * groups + group) * targets * rows * columns
                _add_image(workspace, shifts, grad_output, f, (targets, rows, columns),
                           layout.width, portion, r)
            for k in range(targets):
                for t in range(shifts.size):
                    x = (k // 4 * fives + t // 5) * 20 + t % 5 * 4 + k % 4
                    sums[place + k * shifts.size + t] += total(load(workspace, r + x * n))


PLACES = 1000  # of the flow, in sums that begin at zero
PLACES_TRANSPOSED = 200  # of the transposed flow, likewise
IMAGES = 256  # in sums that begin at zero
SECTIONS = 4  # of the images


class WeightPlan(NamedTuple):
    """What `sum_products` needs to know (chapter "Thin layers")."""

    layout: PaddedPlane
    shifts: np.ndarray  # of each tap of each channel
    portion: int  # rows at once


@remembered
def _weight_grad_plan(geometry, dtype):
    g, lanes = geometry, lanes_of(dtype)
    sources, targets = g.in_channels // g.groups, g.out_channels // g.groups
    layout, phase, shift = forward_plane(g, dtype)
    channel = np.arange(sources)[:, np.newaxis] * (g.stride[0] * g.stride[1])
    shifts = ((channel + phase) * layout.length + shift).ravel().astype(np.int64)
    planes = sources * g.stride[0] * g.stride[1] * layout.length
    sums = -(-targets // 4) * -(-shifts.size // 5) * 20 * lanes
    plan = WeightPlan(layout, shifts, max(1, PLACES // g.out_width))
    return plan, min(SECTIONS, g.batch), planes + sums + 2 * lanes


@inlined
def _neurons(planes, x, a, b, c):
    """Three neurons, each in all lanes."""
    return broadcast(planes, x + a), broadcast(planes, x + b), broadcast(planes, x + c)


@inlined
def _add_3(sums, r, one, a):
    """Add three vectors to neighbouring ones in memory."""
    n = lanes(sums)
    store(sums, r, fma(one, load(sums, r), a[0]))
    store(sums, r + n, fma(one, load(sums, r + n), a[1]))
    store(sums, r + 2 * n, fma(one, load(sums, r + 2 * n), a[2]))


@inlined
def _nine(shifts, t):
    """The shifts of nine taps; behind the last tap, the last once more."""
    last = shifts.size - 1
    return (shifts[t], shifts[min(t + 1, last)], shifts[min(t + 2, last)],
            shifts[min(t + 3, last)], shifts[min(t + 4, last)], shifts[min(t + 5, last)],
            shifts[min(t + 6, last)], shifts[min(t + 7, last)], shifts[min(t + 8, last)])


@inlined
def _products_9x2(memory, x, nine, flow, step, count, r, r_step, one):
    """Nine taps times two vectors of channels: add the products of `count` places."""
    n, (s0, s1, s2, s3, s4, s5, s6, s7, s8) = lanes(memory), nine
    zero = load_some(memory, 0, 0)
    a = zero, zero, zero
    b, c, d, e, f = a, a, a, a, a
    for q in range(x, x + count):
        k, m = load(memory, flow), load(memory, flow + n)
        s = _neurons(memory, q, s0, s1, s2)
        a, d = _times_3(k, s, a), _times_3(m, s, d)
        s = _neurons(memory, q, s3, s4, s5)
        b, e = _times_3(k, s, b), _times_3(m, s, e)
        s = _neurons(memory, q, s6, s7, s8)
        c, f = _times_3(k, s, c), _times_3(m, s, f)
        flow += step
    _add_3(memory, r, one, a), _add_3(memory, r + 3 * n, one, b)
    _add_3(memory, r + 6 * n, one, c)
    r += r_step
    _add_3(memory, r, one, d), _add_3(memory, r + 3 * n, one, e)
    _add_3(memory, r + 6 * n, one, f)


@inlined
def _products_9x1(memory, x, nine, flow, step, count, r, one):
    """The same for one vector of channels."""
    n, (s0, s1, s2, s3, s4, s5, s6, s7, s8) = lanes(memory), nine
    zero = load_some(memory, 0, 0)
    a = zero, zero, zero
    b, c = a, a
    for q in range(x, x + count):
        k = load(memory, flow)
        a = _times_3(k, _neurons(memory, q, s0, s1, s2), a)
        b = _times_3(k, _neurons(memory, q, s3, s4, s5), b)
        c = _times_3(k, _neurons(memory, q, s6, s7, s8), c)
        flow += step
    _add_3(memory, r, one, a), _add_3(memory, r + 3 * n, one, b)
    _add_3(memory, r + 6 * n, one, c)


SIDE_BY_SIDE = 2 if REGISTER_BYTES == 64 else 1  # vectors of channels in a block


@compiled
def _add_portion(memory, x, shifts, flow, vectors, count, r, one):
    """Add the products of `count` places of transposed flow to the sums."""
    n, nines, one = lanes(memory), (shifts.size + 8) // 9, broadcast(memory, one)
    step, r_step = vectors * n, nines * 9 * n
    for v in range(0, vectors, SIDE_BY_SIDE):
        for t in range(nines):
            at, here, nine = r + v * r_step + t * 9 * n, flow + v * n, _nine(shifts, 9 * t)
            if SIDE_BY_SIDE == 2 and v + 1 < vectors:
                _products_9x2(memory, x, nine, here, step, count, at, r_step, one)
            else:
                _products_9x1(memory, x, nine, here, step, count, at, one)


@compiled
def _transpose_rows(flow, f, size, rows, width, memory, target, square):
    """Write rows of flow, transposed: `width` places each, zeros behind the end."""
    targets, length, columns = size
    n, vectors = lanes(memory), (targets + lanes(memory) - 1) // lanes(memory)
    for v in range(vectors):
        channels = min(n, targets - v * n)
        for p in range(rows[0], rows[1]):
            source = f + v * n * length + p * columns
            place = target + ((p - rows[0]) * width * vectors + v) * n
            for q in range(0, width, n):
                if channels == n and columns - q >= n:
                    transpose(flow, source + q, length, memory, place + q * vectors * n,
                              vectors * n)
                else:
                    for k in range(n):
                        count = columns - q if k < channels else 0
                        some = load_some(flow, source + k * length + q, count)
                        store(memory, square + k * n, some)
                    transpose(memory, square, n, memory, place + q * vectors * n,
                              vectors * n)


@compiled
def _add_transposed(memory, shifts, flow, f, size, width, plan):
    """Add the products of one image to the sums, some rows of transposed flow at a time."""
    targets, rows, columns = size
    n, vectors = lanes(memory), (targets + lanes(memory) - 1) // lanes(memory)
    for p in range(0, rows, plan.together):
        end = min(rows, p + plan.together)
        _transpose_rows(flow, f, (targets, rows * columns, columns), (p, end), width, memory,
                        plan.transposed, plan.square)
        places = (end - p - 1) * width + columns
        portions = (places + PLACES_TRANSPOSED - 1) // PLACES_TRANSPOSED
        for portion in range(portions):
            a, b = places * portion // portions, places * (portion + 1) // portions
            _add_portion(memory, p * width + a, shifts, plan.transposed + a * vectors * n,
                         vectors, b - a, plan.sums, plan.one)


@compiled
def sum_products_transposed(job, jobs, images, grad_output, sums, size, plan, workspace):
    """Compute one job's share of the gradient with channels as lanes (chapter "Thin layers").

    `sums` has the axes section, output channel and tap, in one long row.
    """
    layout, shifts, r, one = plan.layout, plan.shifts, plan.sums, plan.one
    groups, sources, targets, height, width, rows, columns, sections = size
    batch, length = images.size // (groups * sources * height * width), rows * columns
    n, of_vector = lanes(images), (shifts.size + 8) // 9 * 9 * lanes(images)
    vectors = (targets + n - 1) // n
    for item in range(job, sections * groups, jobs):
        section, group = item // groups, item % groups
        behind, taps = batch * (section + 1) // sections, shifts.size
        sums[item * targets * taps : (item + 1) * targets * taps] = 0
        for begin in range(batch * section // sections, behind, IMAGES):
            copy_row(images, 0, 0, 1, workspace, r, vectors * of_vector)
            workspace[one] = 1
            for i in range(begin, min(behind, begin + IMAGES)):
                first = (i * groups + group) * sources
                fill_planes(images, first, sources, height, width, layout, workspace)
                f = (i * groups + group) * targets * length
                _add_transposed(workspace, shifts, grad_output, f, (targets, rows, columns),
                                layout.width, plan)
            for k in range(targets):
                for t in range(taps):
                    x = r + k // n * of_vector + t * n + k % n
                    sums[(item * targets + k) * taps + t] += workspace[x]


class TransposedPlan(NamedTuple):
    """What `sum_products_transposed` needs to know (chapter "Thin layers")."""

    layout: PaddedPlane
    shifts: np.ndarray  # of each tap of each channel
    together: int  # rows of flow, transposed at once
    sums: int  # places in the workspace: of the sums, of the number 1, ...
    one: int
    square: int  # ... of a square of numbers to be transposed, and of the transposed flow
    transposed: int


@remembered
def _transposed_plan(geometry, dtype):
    g, lanes = geometry, lanes_of(dtype)
    plan, sections, _ = _weight_grad_plan(g, dtype)
    layout, shifts, _ = plan
    vectors = divide_up(g.out_channels // g.groups, lanes)
    together = max(1, min(g.out_height, PLACES_TRANSPOSED // layout.width))
    sums = g.in_channels // g.groups * g.stride[0] * g.stride[1] * layout.length + lanes
    one = sums + vectors * round_up(shifts.size, 9) * lanes + lanes
    square = one + lanes
    transposed = square + lanes * lanes
    space = transposed + (together * layout.width + lanes) * vectors * lanes
    plan = TransposedPlan(layout, shifts, together, sums, one, square, transposed)
    return plan, sections, space


def weight_grad(input, grad_output, geometry, jobs):
    """Compute how the loss changes with each weight of a layer.

    Parameters
    ----------
    input : array of shape (N, C, H, W)
        The layer's input.
    grad_output : array of shape (N, K, H', W')
        The learning flow at the output.
    geometry, jobs
        As in `forward`.

    Returns
    -------
    array of shape (K, C / groups, kh, kw), or None
        None if a sum is not finite: a zero around the image may have met infinity.

    Notes
    -----
    Source: chapter "Thin layers".
    """
    g = geometry
    channels = g.in_channels // g.groups, g.out_channels // g.groups
    many = channels[1] > lanes_of(input.dtype) // 2  # more than half of the lanes have work
    kernel, planned = (sum_products, _weight_grad_plan)
    if many:
        kernel, planned = (sum_products_transposed, _transposed_plan)
    plan, sections, space = planned(g, input.dtype)
    size = g.groups, *channels, g.height, g.width, g.out_height, g.out_width, sections
    sums = np.empty((sections, g.out_channels * plan.shifts.size), input.dtype)
    parallel.run(kernel, jobs, space, input.dtype, input.reshape(-1),
                 grad_output.reshape(-1), sums.reshape(-1), size, plan)
    grad = sums.sum(axis=0)
    shape = g.out_channels, channels[0], g.kernel_height, g.kernel_width
    return grad.reshape(shape) if all_finite(grad) else None


@compiled
def _sum_piece(array, place, end, one):
    """The sum of the numbers from `place` to before `end`."""
    n = lanes(array)
    whole = place + (end - place) // (4 * n) * 4 * n
    a = load_some(array, 0, 0)
    b, c, d = a, a, a
    for x in range(place, whole, 4 * n):
        y = x + 2 * n
        a, b = fma(one, load(array, x), a), fma(one, load(array, x + n), b)
        c, d = fma(one, load(array, y), c), fma(one, load(array, y + n), d)
    for x in range(whole, end, n):
        a = fma(one, load_some(array, x, end - x), a)
    return total(fma(one, fma(one, a, b), fma(one, c, d)))


@compiled
def sum_channels(job, jobs, array, size, sums, workspace):
    """Compute the sums of one job's share of the channels (chapter "Thin layers")."""
    batch, channels, length = size
    piece = 256 * lanes(array)  # short enough for float32
    workspace[0] = 1
    one = broadcast(workspace, 0)
    for k in range(channels * job // jobs, channels * (job + 1) // jobs):
        result = 0.0
        for i in range(batch):
            place = (i * channels + k) * length
            for x in range(place, place + length, piece):
                result += _sum_piece(array, x, min(x + piece, place + length), one)
        sums[k] = result


def bias_grad(grad_output, jobs):
    """Compute how the loss changes with each bias of a layer.

    Parameters
    ----------
    grad_output : array of shape (N, K, H', W')
        The learning flow at the output, in one piece, float32 or float64.
    jobs : int
        How many threads to use; the result does not depend on it.

    Returns
    -------
    array of shape (K,)

    Notes
    -----
    Source: chapter "Thin layers"; formula F20 of chapter "The biases and the update".
    """
    batch, channels, rows, columns = grad_output.shape
    sums = np.empty(channels, grad_output.dtype)
    parallel.run(sum_channels, jobs, 1, grad_output.dtype, grad_output.reshape(-1),
                 (batch, channels, rows * columns), sums)
    return sums
