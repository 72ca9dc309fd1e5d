# Exported from chapters/ by tools/export.py: edit the chapter, not this file.
"""Direct sums with output channels as lanes: any stride, any kernel.

Chapter "Tiles in vectors" builds this module.
"""

from typing import NamedTuple

import numpy as np

from convlib import parallel
from convlib.kernels import gemm
from convlib.kernels.blocks import (
    COLUMNS,
    add_products,
    add_vectors,
    add_zero_times,
    channels_to_lanes,
    lanes_to_channels,
    load_block,
    store_block,
    zeros_like,
)
from convlib.kernels.planes import fill
from convlib.kernels.plans import backward_axis, divide_up, round_up
from convlib.kernels.remember import remembered
from convlib.kernels.shuffles import transpose
from convlib.kernels.simd import (
    REGISTER_BYTES,
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

__all__ = [
    "ChannelPlan",
    "LENGTHS",
    "LONG",
    "SHORT",
    "SINGLE",
    "correlate",
    "PRODUCTS",
    "NUMBERS_AT_ONCE",
    "suits",
    "forward",
    "input_grad",
    "weight_grad",
]


# Chapter "Tiles in vectors" (chapters/tiles.ipynb)

class ChannelPlan(NamedTuple):
    """What the kernels need to know of a layer (chapter "Tiles in vectors")."""

    sources: int  # channels of a group that are read
    targets: int  # channels of a group that are written
    groups: int
    height: int  # of a source image
    width: int
    out_height: int  # of a target image
    out_width: int
    line: int  # numbers in a row of a plane, zeros included
    top: int  # zeros above a source image
    left: int
    step: tuple  # from the numbers of one result to those of the next, down and across
    out_step: tuple  # from one result of a phase to the next, likewise
    kernel: int  # weights of a kernel for one channel
    source_step: int  # between the weights of two sources
    target_step: int
    panels: int  # of targets, COLUMNS vectors each
    portion: int  # sources whose products are added up before they meet the results
    images: int  # computed together
    band: int  # rows of results of a phase at once
    rows: int  # of results, of a phase
    extent: int  # rows of a plane that one row of results sees
    results: int  # numbers of a panel's results, for a band of so many images
    parts: int  # of the panels, to be shared out among jobs


LENGTHS = (7, 4, 1) if REGISTER_BYTES == 64 else (3, 2, 1)  # of the halves of a block
LONG, SHORT, SINGLE = tuple((0,) * (length * COLUMNS) for length in LENGTHS)


@inlined
def _two_halves(like, planes, x, y, plane, step, shifts, weights, w, sources):
    """Add up the products of some sources and all taps, for the results at x and at y."""
    n = lanes(planes)
    first = second = zeros_like(weights, like)
    for _ in range(sources):
        for t in range(shifts.size):
            first = add_products(first, planes, x + shifts[t], step, weights, w, n)
            second = add_products(second, planes, y + shifts[t], step, weights, w, n)
            w += COLUMNS * n
        x, y = x + plane, y + plane
    return first, second


@inlined
def _add_to_results(results, r, r_step, block):
    """Add the sums of a portion to the results."""
    store_block(results, r, r_step, add_vectors(load_block(results, r, r_step, block), block))


@compiled
def _add_blocks(like, planes, x, plane, step, shifts, weights, w, sources, places, results,
                r_step):
    """Add the products of some sources to the results at some places, two halves at a time."""
    for h in range(0, len(places), 2):
        k = min(h + 1, len(places) - 1)
        i, j = x + places[h, 0], x + places[k, 0]
        if step == 1:
            both = _two_halves(like, planes, i, j, plane, 1, shifts, weights, w, sources)
        elif step == 2:
            both = _two_halves(like, planes, i, j, plane, 2, shifts, weights, w, sources)
        else:
            both = _two_halves(like, planes, i, j, plane, step, shifts, weights, w, sources)
        _add_to_results(results, places[h, 1], r_step, both[0])
        if k > h:
            _add_to_results(results, places[k, 1], r_step, both[1])


@compiled
def _list_places(phases, p, rows, images, plane, row, places, ends):
    """List where the halves begin; ends[phase, k] is where those of LENGTHS[k] end."""
    begin, h = rows[0] * p.out_step[0], 0
    height = min(p.out_height, rows[1] * p.out_step[0]) - begin
    for f in range(phases.shape[0]):
        _, _, first, column, count, columns = phases[f]
        done = 0
        for k in range(len(LENGTHS)):
            end = done + (columns - done) // LENGTHS[k] * LENGTHS[k]
            for image in range(images):
                for y in range(rows[0], min(rows[1], count)):
                    x = image * p.sources * plane + (y - rows[0]) * p.step[0] * p.line
                    r = (image * height + first + y * p.out_step[0] - begin) * p.out_width
                    for place in range(done, end, LENGTHS[k]):
                        places[h, 0] = x + place * p.step[1]
                        places[h, 1] = (r + column + place * p.out_step[1]) * row
                        h += 1
            done = end
            ends[f, k] = h


@compiled
def _fill_band(images, base, first, height, p, planes):
    """Write some rows of all source planes of an image, with zeros around."""
    n, used = lanes(images), min(p.width, p.line - p.left)
    begin, end = max(0, p.top - first), max(0, min(height, p.height + p.top - first))
    fill(planes[: p.sources * height * p.line], 0)
    for c in range(p.sources):
        source = base + (c * p.height + first - p.top + begin) * p.width
        row = (c * height + begin) * p.line + p.left
        for _ in range(begin, end):
            for q in range(0, used, n):
                numbers = load_some(images, source + q, used - q)
                store_some(planes, row + q, numbers, used - q)
            source, row = source + p.width, row + p.line


@compiled
def _line_up(weight, at, targets, taps, phases, p, sources, weights, scratch):
    """Write a panel's weights[phase][source][tap]; return 0 if all are finite."""
    n, check = lanes(weight), zeros_like(weight, (0,))[0]
    for side in range(COLUMNS):
        some = max(0, min(n, targets - side * n))
        for source in range(sources):
            i = at + side * n * p.target_step + source * p.source_step
            if some == n and p.kernel < n and i + (n - 1) * p.target_step + n <= weight.size:
                transpose(weight, i, p.target_step, scratch, 0, n)
            else:
                channels_to_lanes(weight, i, p.target_step, some, p.kernel, scratch, 0)
            for f in range(phases.shape[0]):
                t0, t1 = phases[f, 0], phases[f, 1]
                w = ((sources * t0 + source * (t1 - t0)) * COLUMNS + side) * n
                for t in range(t0, t1):
                    vector = load(scratch, taps[t] * n)
                    check = add_zero_times(check, (vector,))
                    store(weights, w, vector)
                    w += COLUMNS * n
    return total(check)


@compiled
def _add_portion(planes, x, plane, weights, sources, phases, shifts, p, places, ends, results):
    """Add the products of some sources to all results of a panel."""
    done, row = 0, COLUMNS * lanes(planes)
    step, r_step = p.step[1], p.out_step[1] * row
    for f in range(phases.shape[0]):
        some, w = shifts[phases[f, 0] : phases[f, 1]], sources * phases[f, 0] * row
        long, short, single = ends[f]
        _add_blocks(LONG, planes, x, plane, step, some, weights, w, sources,
                    places[done:long], results, r_step)
        _add_blocks(SHORT, planes, x, plane, step, some, weights, w, sources,
                    places[long:short], results, r_step)
        _add_blocks(SINGLE, planes, x, plane, step, some, weights, w, sources,
                    places[short:single], results, r_step)
        done = single


@compiled
def _one_panel(planes, plane, weight, bias, taps, phases, shifts, p, group, panel, count,
               places, ends, workspace):
    """Compute `count` results of a panel of targets; return 0 if all weights are finite."""
    n = lanes(planes)
    results, weights = workspace[: p.results], workspace[p.results :]
    scratch = weights[p.portion * taps.size * COLUMNS * n :]
    b = (group * p.panels + panel) * COLUMNS * n
    low, high = load(bias, b), load(bias, b + n)
    for r in range(0, count * COLUMNS * n, COLUMNS * n):
        store(results, r, low), store(results, r + n, high)
    first, check = panel * COLUMNS * n, total(zeros_like(bias, (0,))[0])
    at = group * p.sources * p.targets * p.kernel + first * p.target_step
    for c in range(0, p.sources, p.portion):
        sources = min(p.portion, p.sources - c)
        check += _line_up(weight, at + c * p.source_step, p.targets - first, taps, phases, p,
                          sources, weights, scratch)
        _add_portion(planes, c * plane, plane, weights, sources, phases, shifts, p, places,
                     ends, results)
    return check


@compiled
def _to_output(results, p, group, panel, first, last, rows, output):
    """Bring the results of a panel, for some rows of some images, from lanes to channels."""
    n, plane = lanes(results), p.out_height * p.out_width
    begin = rows[0] * p.out_step[0] * p.out_width
    size = min(plane, rows[1] * p.out_step[0] * p.out_width) - begin
    for image in range(first, last):
        for side in range(COLUMNS):
            k = (panel * COLUMNS + side) * n
            if k < p.targets:
                target = ((image * p.groups + group) * p.targets + k) * plane
                r = ((image - first) * size * COLUMNS + side) * n
                lanes_to_channels(results, r, COLUMNS * n, size, min(n, p.targets - k),
                                  output, target + begin, plane)


@compiled
def correlate(job, jobs, images, weight, bias, output, checks, taps, phases, shifts, p,
              workspace):
    """Compute one job's bands of a forward pass or of a learning flow.

    Source: chapter "Tiles in vectors".
    """
    channels, bands, row = p.sources * p.groups, -(-p.rows // p.band), COLUMNS * lanes(images)
    batch = images.size // (channels * p.height * p.width)
    scratch = max(lanes(images), p.kernel) * lanes(images)
    planes = workspace[p.results + p.portion * taps.size * row + scratch :]
    places = np.empty((p.results // row, 2), np.int64)
    ends = np.empty((phases.shape[0], len(LENGTHS)), np.int64)
    for item in range(job, -(-batch // p.images) * p.groups * bands * p.parts, jobs):
        part, rest = item % p.parts, item // p.parts
        band, rest = rest % bands, rest // bands
        group, first = rest % p.groups, rest // p.groups * p.images
        last = min(batch, first + p.images)
        rows = (band * p.band, min(p.rows, (band + 1) * p.band))
        height = (rows[1] - rows[0] - 1) * p.step[0] + p.extent
        plane = height * p.line
        for image in range(first, last):
            base = (image * channels + group * p.sources) * p.height * p.width
            band_planes = planes[(image - first) * p.sources * plane :]
            _fill_band(images, base, rows[0] * p.step[0], height, p, band_planes)
        _list_places(phases, p, rows, last - first, plane, row, places, ends)
        out_rows = min(p.out_height, rows[1] * p.out_step[0]) - rows[0] * p.out_step[0]
        count = (last - first) * out_rows * p.out_width
        for panel in range(p.panels * part // p.parts, p.panels * (part + 1) // p.parts):
            checks[job] += _one_panel(planes, plane, weight, bias, taps, phases, shifts, p,
                                      group, panel, count, places, ends, workspace)
            _to_output(workspace, p, group, panel, first, last, rows, output)


PRODUCTS = 144  # of a portion: more are less exact, and their weights leave the nearest cache
NUMBERS_AT_ONCE = 350_000  # of planes and results: they stay in the second cache


def _forward(g):
    """Sizes of a forward pass, and taps, shifts and phases: there is one."""
    line = (g.out_width - 1) * g.stride[1] + (g.kernel_width - 1) * g.dilation[1] + 1
    u, v = np.indices((g.kernel_height, g.kernel_width)).reshape(2, -1)
    shifts = u * g.dilation[0] * line + v * g.dilation[1]
    kernel = u.size
    sizes = (g.in_channels // g.groups, g.out_channels // g.groups, g.groups, g.height, g.width,
             g.out_height, g.out_width, line, g.padding[0][0], g.padding[1][0], g.stride, (1, 1),
             kernel, kernel, g.in_channels // g.groups * kernel)  # fmt: skip
    return sizes, range(kernel), shifts, [(0, kernel, 0, 0, g.out_height, g.out_width)]


def _backward(g):
    """The same of a learning flow: a phase for each place in a step of the stride."""
    down, top, _ = backward_axis(g.height, g.kernel_height, g.stride[0], g.padding[0][0],
                                 g.dilation[0], g.out_height)
    across, left, width = backward_axis(g.width, g.kernel_width, g.stride[1], g.padding[1][0],
                                        g.dilation[1], g.out_width)
    line = max([width] + [left + shift + count for _, count, vs in across for _, shift in vs])
    taps, shifts, phases = [], [], []
    for row, rows, us in down:
        for column, columns, vs in across:
            begin = len(taps)
            taps += [u * g.kernel_width + v for u, _ in us for v, _ in vs]
            shifts += [(a + top) * line + b + left for _, a in us for _, b in vs]
            phases.append((begin, len(taps), row, column, rows, columns))
    kernel = g.kernel_height * g.kernel_width
    sizes = (g.out_channels // g.groups, g.in_channels // g.groups, g.groups, g.out_height,
             g.out_width, g.height, g.width, line, top, left, (1, 1), g.stride,
             kernel, g.in_channels // g.groups * kernel, kernel)  # fmt: skip
    return sizes, taps, shifts, phases


@remembered
def _plan(geometry, lay_out, dtype, jobs):
    """The plan of a pass, its taps, shifts and phases, and the size of the workspace."""
    g, n = geometry, lanes_of(dtype)
    if (g.kernel_height, g.kernel_width, g.stride) == (1, 1, (1, 1)) and not any(sum(g.padding, ())):
        if g.height * g.width < 400:  # without rows there is less to do at their ends
            g = g._replace(height=1, width=g.height * g.width, out_height=1,
                           out_width=g.height * g.width)  # fmt: skip
    sizes, taps, shifts, phases = lay_out(g)
    sources, targets, line, step, kernel = (sizes[i] for i in (0, 1, 7, 10, 12))
    panels, phases = divide_up(targets, COLUMNS * n), np.array(phases, np.int64)
    rows, extent = int(phases[:, 4].max()), int(max(shifts, default=0)) // line + 1
    portion = max(1, min(sources, PRODUCTS * len(phases) // max(1, len(taps))))
    of_a_row = sources * line * step[0] + sizes[11][0] * sizes[6] * COLUMNS * n
    more = sources * line * (extent - step[0])
    band = max(1, min(rows, (NUMBERS_AT_ONCE - more) // of_a_row))
    band = divide_up(rows, divide_up(rows, band))  # all about equal
    size, images = ((band - 1) * step[0] + extent) * line * sources, 1
    if band == rows:
        images = max(1, min(g.batch, NUMBERS_AT_ONCE // (band * of_a_row + more)))
        if images * size >= sources * targets * kernel:  # otherwise jobs share the weights
            images = divide_up(g.batch, round_up(divide_up(g.batch, images), jobs))
    items = divide_up(g.batch, images) * g.groups * divide_up(rows, band)
    parts = 1 if items % jobs == 0 or items > 4 * jobs else min(panels, jobs)
    results = images * min(sizes[5], band * sizes[11][0]) * sizes[6] * COLUMNS * n
    plan = ChannelPlan(*sizes, panels, portion, images, band, rows, extent, results, parts)
    tables = (np.array(each, np.int64) for each in (taps, shifts))
    space = results + (portion * len(taps) * COLUMNS + max(n, kernel)) * n + images * size
    return plan, *tables, phases, space


def suits(geometry, dtype):
    """Return whether channels as lanes can compute a layer: any, in float32 and float64.

    Notes
    -----
    Source: chapter "Tiles in vectors".
    """
    return np.dtype(dtype).char in "fd"


def _correlate(images, weight, bias, output, geometry, lay_out, jobs):
    """Let the jobs correlate; None if a weight is not finite."""
    dtype, n = images.dtype, lanes_of(images.dtype)
    p, taps, shifts, phases, space = _plan(geometry, lay_out, dtype, jobs)
    padded, checks = np.zeros((p.groups, p.panels * COLUMNS * n), dtype), np.zeros(jobs, dtype)
    padded[:, : p.targets] = np.reshape(bias, (p.groups, -1))
    parallel.run(correlate, jobs, space, dtype, images.reshape(-1), weight.reshape(-1),
                 padded.reshape(-1), output.reshape(-1), checks, taps, phases, shifts, p)
    return None if checks.any() else output  # zeros around an image meet every weight


def forward(input, weight, bias, geometry, jobs):
    """Compute the output of a layer with output channels as lanes.

    Parameters
    ----------
    input, weight, bias : arrays in one piece, (N, C, H, W), (K, C / groups, kh, kw), (K,)
        All float32 or all float64.
    geometry : convlib.shapes.Geometry
        The layer.
    jobs : int
        How many threads share the work; the result does not depend on it.

    Returns
    -------
    array of shape (N, K, H', W'), or None if a weight is not finite

    Notes
    -----
    Source: chapter "Tiles in vectors".
    """
    g = geometry
    size = g.batch, g.out_channels, g.out_height, g.out_width
    output = parallel.aligned(size, input.dtype)
    return _correlate(input, weight, bias, output, g, _forward, jobs)


def input_grad(weight, grad_output, geometry, jobs):
    """Compute the learning flow at the input with input channels as lanes.

    Parameters
    ----------
    weight, grad_output : arrays in one piece, (K, C / groups, kh, kw) and (N, K, H', W')
    geometry, jobs
        As in `forward`.

    Returns
    -------
    array of shape (N, C, H, W), or None if a weight is not finite

    Notes
    -----
    Source: chapter "Tiles in vectors".
    """
    g = geometry
    size = g.batch, g.in_channels, g.height, g.width
    grad_input = parallel.aligned(size, weight.dtype)
    no_bias = np.zeros(g.in_channels, weight.dtype)
    return _correlate(grad_output, weight, no_bias, grad_input, g, _backward, jobs)


def weight_grad(input, grad_output, geometry, jobs):
    """Compute the gradient of the weights by the matrix product.

    Source: chapters "The matrix product inside" and "Tiles in vectors".
    """
    return gemm.weight_grad(input, grad_output, geometry, jobs)
