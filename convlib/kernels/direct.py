# Exported from chapters/ by tools/export.py: edit the chapter, not this file.
"""The direct algorithm: every convolution as shifted planes, multiplied and added.

Chapter "Planes and vectors" builds this module.
"""

import numpy as np

from convlib import parallel
from convlib.kernels import plans
from convlib.kernels.planes import collect, fill, fill_planes
from convlib.kernels.simd import broadcast, compiled, fma, lanes, load, store, total

__all__ = [
    "pack_weights",
    "correlate_images",
    "weight_grad_images",
    "suits",
    "forward",
    "input_grad",
    "weight_grad",
]


# Chapter "Planes and vectors" (chapters/planes.ipynb)

@compiled
def _block_4x3(planes, shifts, taps, weights, w, results, r, length, x):
    """Four planes of results, three vectors each: add the products of some taps."""
    n = lanes(planes)
    r0, r1, r2, r3 = r + x, r + length + x, r + 2 * length + x, r + 3 * length + x
    a0, a1, a2 = load(results, r0), load(results, r0 + n), load(results, r0 + 2 * n)
    b0, b1, b2 = load(results, r1), load(results, r1 + n), load(results, r1 + 2 * n)
    c0, c1, c2 = load(results, r2), load(results, r2 + n), load(results, r2 + 2 * n)
    d0, d1, d2 = load(results, r3), load(results, r3 + n), load(results, r3 + 2 * n)
    for t in range(taps[0], taps[1]):
        s = x + shifts[t]
        s0, s1, s2 = load(planes, s), load(planes, s + n), load(planes, s + 2 * n)
        k = broadcast(weights, w)
        a0, a1, a2 = fma(k, s0, a0), fma(k, s1, a1), fma(k, s2, a2)
        k = broadcast(weights, w + 1)
        b0, b1, b2 = fma(k, s0, b0), fma(k, s1, b1), fma(k, s2, b2)
        k = broadcast(weights, w + 2)
        c0, c1, c2 = fma(k, s0, c0), fma(k, s1, c1), fma(k, s2, c2)
        k = broadcast(weights, w + 3)
        d0, d1, d2 = fma(k, s0, d0), fma(k, s1, d1), fma(k, s2, d2)
        w += 4
    store(results, r0, a0), store(results, r0 + n, a1), store(results, r0 + 2 * n, a2)
    store(results, r1, b0), store(results, r1 + n, b1), store(results, r1 + 2 * n, b2)
    store(results, r2, c0), store(results, r2 + n, c1), store(results, r2 + 2 * n, c2)
    store(results, r3, d0), store(results, r3 + n, d1), store(results, r3 + 2 * n, d2)


@compiled
def _block_1x6(planes, shifts, taps, weights, w, results, x):
    """One plane of results, six vectors: the block of depthwise layers."""
    n = lanes(planes)
    x1, x2, x3, x4, x5 = x + n, x + 2 * n, x + 3 * n, x + 4 * n, x + 5 * n
    a0, a1, a2 = load(results, x), load(results, x1), load(results, x2)
    a3, a4, a5 = load(results, x3), load(results, x4), load(results, x5)
    for t in range(taps[0], taps[1]):
        s = shifts[t]
        k = broadcast(weights, w)
        a0, a1 = fma(k, load(planes, s + x), a0), fma(k, load(planes, s + x1), a1)
        a2, a3 = fma(k, load(planes, s + x2), a2), fma(k, load(planes, s + x3), a3)
        a4, a5 = fma(k, load(planes, s + x4), a4), fma(k, load(planes, s + x5), a5)
        w += 1
    store(results, x, a0), store(results, x1, a1), store(results, x2, a2)
    store(results, x3, a3), store(results, x4, a4), store(results, x5, a5)


@compiled
def _correlate_planes(planes, shifts, taps, weights, w, results, length, count, used, portion):
    """Add to `count` planes of results every tap's shifted plane times its weight."""
    n = lanes(planes)
    if count == 1:
        for x in range(0, used, 6 * n):
            _block_1x6(planes, shifts, taps, weights, w, results, x)
        return
    for begin in range(taps[0], taps[1], portion):
        some = (begin, min(begin + portion, taps[1]))
        for x in range(0, used, 3 * n):
            for k in range(0, count, 4):
                panel = w + k * (taps[1] - taps[0]) + 4 * (begin - taps[0])
                _block_4x3(
                    planes, shifts, some, weights, panel, results, k * length, length, x
                )


@compiled
def pack_weights(weight, taps, phases, group_weights, packed):
    """Lay the weights out in the order in which the blocks read them (chapter "Planes and vectors").

    `weight` is indexed by group, target channel, source channel and tap. For each group
    and phase follow panels of four target channels; in a panel, source after source and
    tap after tap, the weights of the four channels side by side.
    """
    groups, targets, sources, _ = weight.shape
    side = 1 if targets == 1 else 4
    for g in range(groups):
        for i in range(phases.shape[0]):
            t0, t1, w = phases[i, 0], phases[i, 1], phases[i, 2]
            for k in range(0, targets, side):
                place = g * group_weights + w + k * (t1 - t0)
                for source in range(sources):
                    for t in range(t0, t0 + (t1 - t0) // sources):
                        tap = taps[t]
                        if side == 4 and k + 4 <= targets:  # spelt out: it is quicker
                            packed[place] = weight[g, k, source, tap]
                            packed[place + 1] = weight[g, k + 1, source, tap]
                            packed[place + 2] = weight[g, k + 2, source, tap]
                            packed[place + 3] = weight[g, k + 3, source, tap]
                        else:
                            packed[place : place + side] = 0
                            for lane in range(min(side, targets - k)):
                                packed[place + lane] = weight[g, k + lane, source, tap]
                        place += side


@compiled
def correlate_images(job, jobs, images, weights, bias, output, groups, plan, workspace):
    """Compute one job's share of a forward pass or of a learning flow.

    Source: chapter "Planes and vectors".
    """
    layout, shifts, phases, group_weights, portion, parts = plan
    sources, targets = images.shape[1] // groups, output.shape[1] // groups
    size = sources * layout.row_phases * layout.column_phases * layout.length
    planes, results = workspace[:size], workspace[size:]
    panels = (targets + 3) // 4
    sets = (images.shape[0] + layout.images - 1) // layout.images
    for item in range(job, sets * groups * parts, jobs):
        group, part = item // parts % groups, item % parts
        first = item // (groups * parts) * layout.images
        last = min(images.shape[0], first + layout.images)
        channels = (group * sources, (group + 1) * sources)
        fill_planes(images, first, last, channels, layout, planes)
        k0 = min(targets, panels * part // parts * 4)
        k1 = min(targets, panels * (part + 1) // parts * 4)
        for i in range(phases.shape[0]):
            begin = group * group_weights + phases[i, 2] + k0 * (phases[i, 1] - phases[i, 0])
            _one_phase(
                planes, shifts, phases[i], weights, begin, bias, results, layout, portion,
                output, (first, last), (k0, k1), group * targets, targets == 1,
            )


@compiled
def _one_phase(planes, shifts, phase, weights, w, bias, results, layout, portion,
               output, images, channels, offset, depthwise):
    """Compute the results of some images and channels, and copy them to the output."""
    t0, t1, _, row, column, row_step, column_step, rows, columns = phase
    count = channels[1] - channels[0]
    used = ((images[1] - images[0] - 1) * layout.rows + rows - 1) * layout.width + columns
    for k in range(count):
        place = k * layout.result_length
        fill(results[place : place + used], bias[offset + channels[0] + k])
    if t1 > t0 and count > 0:
        _correlate_planes(
            planes, shifts, (t0, t1), weights, w, results, layout.result_length,
            1 if depthwise else (count + 3) // 4 * 4, used, portion,
        )
    for k in range(count):
        for n in range(images[0], images[1]):
            place = (n - images[0]) * layout.rows * layout.width
            collect(
                results, k * layout.result_length + place, layout.width,
                output, n, offset + channels[0] + k,
                (row, row_step, rows), (column, column_step, columns),
            )


@compiled
def _fill_flow(grad_output, first, last, k0, layout, panel, flow):
    """Write the flow of some images, place after place, `panel` channels side by side."""
    targets, rows, columns = k0[1] - k0[0], grad_output.shape[2], grad_output.shape[3]
    for begin in range(0, targets, panel):
        place = begin * layout.result_length
        fill(flow[place : place + panel * layout.result_length], 0)
        for n in range(first, last):
            for p in range(rows):
                x = place + ((n - first) * layout.rows + p) * layout.width * panel
                for k in range(min(panel, targets - begin)):
                    source, target = grad_output[n, k0[0] + begin + k, p], flow[x + k :]
                    for q in range(columns):
                        target[q * panel] = source[q]


@compiled
def _block_6x2(planes, shifts, x, flow, f, count, results, r):
    """Six taps by two vectors of output channels: add the products of some places."""
    n = lanes(planes)
    p0, p1, p2, p3, p4, p5 = shifts
    a0, a1 = load(results, r), load(results, r + n)
    b0, b1 = load(results, r + 2 * n), load(results, r + 3 * n)
    c0, c1 = load(results, r + 4 * n), load(results, r + 5 * n)
    d0, d1 = load(results, r + 6 * n), load(results, r + 7 * n)
    e0, e1 = load(results, r + 8 * n), load(results, r + 9 * n)
    g0, g1 = load(results, r + 10 * n), load(results, r + 11 * n)
    for i in range(x, x + count):
        f0, f1 = load(flow, f), load(flow, f + n)
        f += 2 * n
        k = broadcast(planes, p0 + i)
        a0, a1 = fma(k, f0, a0), fma(k, f1, a1)
        k = broadcast(planes, p1 + i)
        b0, b1 = fma(k, f0, b0), fma(k, f1, b1)
        k = broadcast(planes, p2 + i)
        c0, c1 = fma(k, f0, c0), fma(k, f1, c1)
        k = broadcast(planes, p3 + i)
        d0, d1 = fma(k, f0, d0), fma(k, f1, d1)
        k = broadcast(planes, p4 + i)
        e0, e1 = fma(k, f0, e0), fma(k, f1, e1)
        k = broadcast(planes, p5 + i)
        g0, g1 = fma(k, f0, g0), fma(k, f1, g1)
    store(results, r, a0), store(results, r + n, a1)
    store(results, r + 2 * n, b0), store(results, r + 3 * n, b1)
    store(results, r + 4 * n, c0), store(results, r + 5 * n, c1)
    store(results, r + 6 * n, d0), store(results, r + 7 * n, d1)
    store(results, r + 8 * n, e0), store(results, r + 9 * n, e1)
    store(results, r + 10 * n, g0), store(results, r + 11 * n, g1)


@compiled
def _sums_1x6(planes, shifts, flow, used, sums):
    """One plane of flow times six shifted planes: six sums, added to `sums`."""
    n = lanes(planes)
    p0, p1, p2, p3, p4, p5 = shifts
    zero = broadcast(sums, 6)
    a0, a1, a2, a3, a4, a5 = zero, zero, zero, zero, zero, zero
    for x in range(0, used, n):
        f = load(flow, x)
        a0, a1 = fma(f, load(planes, p0 + x), a0), fma(f, load(planes, p1 + x), a1)
        a2, a3 = fma(f, load(planes, p2 + x), a2), fma(f, load(planes, p3 + x), a3)
        a4, a5 = fma(f, load(planes, p4 + x), a4), fma(f, load(planes, p5 + x), a5)
    sums[0], sums[1], sums[2] = total(a0), total(a1), total(a2)
    sums[3], sums[4], sums[5] = total(a3), total(a4), total(a5)


@compiled
def _six(t, taps, shifts, phases, length):
    """The shifts of the taps t to t + 5; behind the last tap, the last once more."""
    m = shifts.size
    t0, t1, t2 = t, min(t + 1, taps - 1), min(t + 2, taps - 1)
    t3, t4, t5 = min(t + 3, taps - 1), min(t + 4, taps - 1), min(t + 5, taps - 1)
    step = phases * length  # from one input channel to the next
    return (
        t0 // m * step + shifts[t0 % m], t1 // m * step + shifts[t1 % m],
        t2 // m * step + shifts[t2 % m], t3 // m * step + shifts[t3 % m],
        t4 // m * step + shifts[t4 % m], t5 // m * step + shifts[t5 % m],
    )  # fmt: skip


@compiled
def weight_grad_images(job, jobs, images, grad_output, sums, groups, plan, workspace):
    """Compute one job's share of the gradient of the weights (chapter "Planes and vectors").

    `sums` has the axes section, output channel and tap.
    """
    layout, shifts, portion = plan
    sources, sections = images.shape[1] // groups, sums.shape[0]
    parts = min(jobs, sources) if sections == 1 else 1
    sets = (images.shape[0] + layout.images - 1) // layout.images
    for item in range(job, sections * groups * parts, jobs):
        section, group, part = item // (groups * parts), item // parts % groups, item % parts
        channels = (group * sources + sources * part // parts,
                    group * sources + sources * (part + 1) // parts)
        some = (sets * section // sections, sets * (section + 1) // sections)
        _one_section(images, grad_output, sums[section], group, groups, channels, some,
                     layout, shifts, portion, workspace)


@compiled
def _one_section(images, grad_output, sums, group, groups, channels, sets,
                 layout, shifts, portion, workspace):
    """Sum over some sets of images, for some input channels of a group."""
    targets, first_source = grad_output.shape[1] // groups, group * (images.shape[1] // groups)
    panel = 1 if targets == 1 else 2 * lanes(images)
    flow_size = (targets + panel - 1) // panel * panel * layout.result_length
    phases = layout.row_phases * layout.column_phases
    size = (channels[1] - channels[0]) * phases * layout.length
    planes, flow = workspace[:size], workspace[size : size + flow_size]
    results = workspace[size + flow_size :]
    k0 = (group * targets, (group + 1) * targets)
    taps = ((channels[0] - first_source) * shifts.size, (channels[1] - first_source) * shifts.size)
    grad = sums[k0[0] : k0[1], taps[0] : taps[1]]
    grad[:] = 0
    fill(results[: flow_size // layout.result_length * (grad.shape[1] + 5)], 0)
    for first in range(sets[0] * layout.images, sets[1] * layout.images, layout.images):
        last = min(images.shape[0], first + layout.images)
        fill_planes(images, first, last, channels, layout, planes)
        _fill_flow(grad_output, first, last, k0, layout, panel, flow)
        rows = (last - first - 1) * layout.rows + grad_output.shape[2] - 1
        used = rows * layout.width + grad_output.shape[3]
        if panel == 1:
            _add_depthwise(planes, shifts, layout, flow, used, grad)
        else:
            _add_products(planes, shifts, layout, flow, used, panel, portion, grad, results)
    if panel > 1:
        _collect_weights(results, panel, grad)


@compiled
def _add_products(planes, shifts, layout, flow, used, panel, portion, grad, results):
    """Add the products of flow and planes to the results, a portion of places at a time."""
    phases, (targets, taps) = layout.row_phases * layout.column_phases, grad.shape
    for x in range(0, used, portion):
        count = min(portion, used - x)
        for k in range(0, targets, panel):
            f = k * layout.result_length + x * panel
            for t in range(0, taps, 6):
                six = _six(t, taps, shifts, phases, layout.length)
                r = (k // panel * ((taps + 5) // 6 * 6) + t) * panel
                _block_6x2(planes, six, x, flow, f, count, results, r)


@compiled
def _add_depthwise(planes, shifts, layout, flow, used, grad):
    """The same for one output channel."""
    sums = np.zeros(7, grad.dtype)  # the seventh stays zero
    phases, taps = layout.row_phases * layout.column_phases, grad.shape[1]
    for t in range(0, taps, 6):
        six = _six(t, taps, shifts, phases, layout.length)
        _sums_1x6(planes, six, flow, used, sums)
        for j in range(min(6, taps - t)):
            grad[0, t + j] += sums[j]


@compiled
def _collect_weights(results, panel, grad):
    """Copy the sums to the gradient, output channel first."""
    targets, taps = grad.shape
    for k in range(targets):
        place = k // panel * ((taps + 5) // 6 * 6) * panel + k % panel
        for t in range(taps):
            grad[k, t] = results[place + t * panel]


def suits(geometry, dtype):
    """Tell whether planes can compute a layer: every one in float32 and float64.

    Source: chapter "Planes and vectors".
    """
    return np.dtype(dtype).char in "fd"


def _one_row(geometry):
    """A 1 x 1 kernel does not care for rows: take the whole image as one."""
    g = geometry
    if (g.kernel_height, g.kernel_width, g.stride) == (1, 1, (1, 1)) and not any(
        sum(g.padding, ())
    ):
        numbers = g.height * g.width
        return g._replace(height=1, width=numbers, out_height=1, out_width=numbers)
    return g


def _by_group(weight, geometry):
    """The weights by group, output channel, input channel and tap."""
    g = geometry
    shape = (g.groups, g.out_channels // g.groups, g.in_channels // g.groups, -1)
    return weight.reshape(shape)


def _correlate(images, weight, bias, shape, make_plan, geometry, jobs):
    """Pack the weights and let the jobs correlate."""
    plan, taps, size, space = make_plan(geometry, images.dtype, jobs)
    packed = np.empty(size, images.dtype)
    pack_weights(weight, taps, plan.phases, plan.group_weights, packed)
    output = np.empty(shape, images.dtype)
    parallel.run(
        correlate_images, jobs, space, images.dtype,
        images, packed, bias, output, geometry.groups, plan,
    )  # fmt: skip
    return output


def _is_sound(results, weight):
    """Whether all weights are finite; if not, `results`, one of each phase, tell."""
    return bool(np.isfinite(results).all() or np.isfinite(weight).all())


def forward(input, weight, bias, geometry, jobs):
    """Return the output of a batch, or None if a weight is not finite.

    Source: chapter "Planes and vectors".
    """
    g, row = geometry, _one_row(geometry)
    images = input.reshape(g.batch, g.in_channels, row.height, row.width)
    flat = (g.batch, g.out_channels, row.out_height, row.out_width)
    output = _correlate(
        images, _by_group(weight, g), bias, flat, plans.forward_plan, row, jobs
    )
    if not _is_sound(output[0, :, :1, :1], weight):
        return None
    return output.reshape(g.batch, g.out_channels, g.out_height, g.out_width)


def input_grad(weight, grad_output, geometry, jobs):
    """Return the learning flow of a batch, or None if a weight is not finite.

    Source: chapter "Planes and vectors".
    """
    g, row = geometry, _one_row(geometry)
    flows = grad_output.reshape(g.batch, g.out_channels, row.out_height, row.out_width)
    kernels = _by_group(weight, g).swapaxes(1, 2)  # sources and targets change places
    no_bias = np.zeros(g.in_channels, weight.dtype)
    flat = (g.batch, g.in_channels, row.height, row.width)
    grad_input = _correlate(flows, kernels, no_bias, flat, plans.input_grad_plan, row, jobs)
    if not _is_sound(grad_input[0, :, : g.stride[0], : g.stride[1]], weight):
        return None
    return grad_input.reshape(g.batch, g.in_channels, g.height, g.width)


def weight_grad(input, grad_output, geometry, jobs):
    """Return the gradient of the weights, or None if it is not finite.

    Source: chapter "Planes and vectors".
    """
    g, row = geometry, _one_row(geometry)
    plan, sections, space = plans.weight_grad_plan(row, input.dtype)
    size = g.in_channels // g.groups, g.kernel_height, g.kernel_width
    sums = np.empty((sections, g.out_channels, size[0] * size[1] * size[2]), input.dtype)
    parallel.run(
        weight_grad_images, jobs, space, input.dtype,
        input.reshape(g.batch, g.in_channels, row.height, row.width),
        grad_output.reshape(g.batch, g.out_channels, row.out_height, row.out_width),
        sums, g.groups, plan,
    )  # fmt: skip
    grad_weight = sums.sum(axis=0).reshape(g.out_channels, *size)
    # Where it is finite, no zero of the planes has met infinity.
    return grad_weight if np.isfinite(grad_weight).all() else None
