# Exported from chapters/ by tools/export.py: edit the chapter, not this file.
"""Direct sums with output channels as lanes: any stride, any kernel.

Chapter 14 builds this module.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from convlib import parallel
from convlib.kernels import gemm
from convlib.kernels.blocks import (
    COLUMNS,
    add_products,
    channels_to_lanes,
    lanes_to_channels,
    load_block,
    store_block,
)
from convlib.kernels.planes import copy, fill
from convlib.kernels.plans import backward_axis, divide_up
from convlib.kernels.shuffles import transpose
from convlib.kernels.simd import REGISTER_BYTES, compiled, lanes, lanes_of, load, store

__all__ = [
    "ChannelPlan",
    "LONG",
    "MIDDLE",
    "SHORT",
    "ROWS",
    "LONG_ROW",
    "MIDDLE_ROW",
    "SHORT_ROW",
    "SINGLE",
    "line_up_weights",
    "correlate",
    "NUMBERS_AT_ONCE",
    "NUMBERS_IN_A_SET",
    "MANY_WEIGHTS",
    "suits",
    "forward",
    "input_grad",
    "weight_grad",
]


# Chapter "Tiles in vectors" (chapters/14_tiles.ipynb)

class ChannelPlan(NamedTuple):
    """What the kernels need to know of a layer (Chapter 14)."""

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
    weights: int  # lined up, of a group
    images: int  # computed together
    band: int  # rows of results of a phase at once
    rows: int  # of results, of a phase
    extent: int  # rows of a plane that one row of results sees
    parts: int  # of the panels, to be shared out among jobs


LONG, MIDDLE, SHORT = (14, 7, 4) if REGISTER_BYTES == 64 else (6, 4, 3)
ROWS = tuple((0,) * (rows * COLUMNS) for rows in (LONG, MIDDLE, SHORT, 1))
LONG_ROW, MIDDLE_ROW, SHORT_ROW, SINGLE = ROWS


@compiled
def _add_taps(block, planes, x, plane, step, shifts, weights, w, sources):
    """Add to a block the products of all sources and taps; the step is 1 or 2."""
    n = lanes(planes)
    for _ in range(sources):
        if step == 1:
            for t in range(shifts.size):
                block = add_products(block, planes, x + shifts[t], 1, weights, w, n)
                w += COLUMNS * n
        else:
            for t in range(shifts.size):
                block = add_products(block, planes, x + shifts[t], 2, weights, w, n)
                w += COLUMNS * n
        x += plane
    return block


@compiled
def _add_few(block, planes, x, plane, step, shifts, weights, w, sources):
    """The same for any step."""
    n = lanes(planes)
    for _ in range(sources):
        for t in range(shifts.size):
            block = add_products(block, planes, x + shifts[t], step, weights, w, n)
            w += COLUMNS * n
        x += plane
    return block


@compiled
def _add_row(planes, x, plane, step, shifts, weights, w, sources, results, r, r_step, count):
    """Add to a row of `count` results, a block at a time."""
    done = 0
    while done < count:
        left, begin, place = count - done, x + done * step, r + done * r_step
        if left >= LONG and step <= 2:
            long = load_block(results, place, r_step, LONG_ROW)
            long = _add_taps(long, planes, begin, plane, step, shifts, weights, w, sources)
            store_block(results, place, r_step, long)
            done += LONG
        elif left >= MIDDLE and step <= 2:
            middle = load_block(results, place, r_step, MIDDLE_ROW)
            middle = _add_taps(middle, planes, begin, plane, step, shifts, weights, w, sources)
            store_block(results, place, r_step, middle)
            done += MIDDLE
        elif left >= SHORT:
            short = load_block(results, place, r_step, SHORT_ROW)
            short = _add_few(short, planes, begin, plane, step, shifts, weights, w, sources)
            store_block(results, place, r_step, short)
            done += SHORT
        else:
            single = load_block(results, place, r_step, SINGLE)
            single = _add_few(single, planes, begin, plane, step, shifts, weights, w, sources)
            store_block(results, place, r_step, single)
            done += 1


@compiled
def _fill_band(images, base, first, height, p, planes):
    """Write some rows of all source planes of an image, with zeros around."""
    place, used = 0, min(p.width, p.line - p.left)
    begin, end = max(0, p.top - first), max(0, min(height, p.height + p.top - first))
    whole = used == p.line == p.width  # rows without zeros follow each other
    for c in range(p.sources):
        source = base + (c * p.height + first - p.top) * p.width
        behind = place + height * p.line
        fill(planes[place : place + begin * p.line], 0)
        if whole and end > begin:
            copy(images[source + begin * p.line : source + end * p.line],
                 planes[place + begin * p.line : place + end * p.line])
        elif end > begin:
            for r in range(begin, end):
                row, s = place + r * p.line, source + r * p.width
                fill(planes[row : row + p.left], 0)
                copy(images[s : s + used], planes[row + p.left : row + p.left + used])
                fill(planes[row + p.left + used : row + p.line], 0)
        fill(planes[place + max(begin, end) * p.line : behind], 0)
        place = behind


@compiled
def line_up_weights(job, jobs, weight, taps, phases, p, weights, workspace):
    """Write one job's share of weights[group][phase][panel][source][tap] (Chapter 14)."""
    n, vectors = lanes(weight), p.panels * COLUMNS
    for item in range(job, p.groups * vectors, jobs):
        group, k = item // vectors, item % vectors * n
        some = max(0, min(n, p.targets - k))
        first = group * p.sources * p.targets * p.kernel + k * p.target_step
        for source in range(p.sources):
            at = first + source * p.source_step
            if some == n and p.kernel < n and at + (n - 1) * p.target_step + n <= weight.size:
                transpose(weight, at, p.target_step, workspace, 0, n)
            else:
                channels_to_lanes(weight, at, p.target_step, some, p.kernel, workspace, 0)
            for f in range(phases.shape[0]):
                t0, t1, begin = phases[f, 0], phases[f, 1], phases[f, 2]
                row = (item % vectors // COLUMNS * p.sources + source) * (t1 - t0)
                w = group * p.weights + begin + (row * COLUMNS + item % COLUMNS) * n
                for t in range(t0, t1):
                    store(weights, w, load(workspace, taps[t] * n))
                    w += COLUMNS * n


@compiled
def correlate(job, jobs, images, weights, bias, output, phases, shifts, p, workspace):
    """Compute one job's bands of a forward pass or of a learning flow (Chapter 14)."""
    channels, bands = p.sources * p.groups, (p.rows + p.band - 1) // p.band
    batch = images.size // (channels * p.height * p.width)
    sets = (batch + p.images - 1) // p.images
    most = p.images * p.sources * ((p.band - 1) * p.step[0] + p.extent) * p.line
    planes, results = workspace[:most], workspace[most:]
    for item in range(job, sets * p.groups * bands * p.parts, jobs):
        part, rest = item % p.parts, item // p.parts
        band, rest = rest % bands, rest // bands
        group, first = rest % p.groups, rest // p.groups * p.images
        last = min(batch, first + p.images)
        rows = (band * p.band, min(p.rows, (band + 1) * p.band))
        height = (rows[1] - rows[0] - 1) * p.step[0] + p.extent
        for image in range(first, last):
            base = (image * channels + group * p.sources) * p.height * p.width
            at = (image - first) * p.sources * height * p.line
            _fill_band(images, base, rows[0] * p.step[0], height, p, planes[at:])
        for panel in range(p.panels * part // p.parts, p.panels * (part + 1) // p.parts):
            for image in range(first, last):
                at = (image - first) * p.sources * height * p.line
                _one_panel(planes, at, height * p.line, weights, bias, output, phases, shifts,
                           p, group, panel, image, rows, results)


@compiled
def _one_panel(planes, at, plane, weights, bias, output, phases, shifts, p, group, panel,
               image, rows, results):
    """Compute a panel of targets for a band of an image, and bring it to the output."""
    n, out_plane = lanes(planes), p.out_height * p.out_width
    begin, end = rows[0] * p.out_step[0], min(p.out_height, rows[1] * p.out_step[0])
    b = (group * p.panels + panel) * COLUMNS * n
    low, high = load(bias, b), load(bias, b + n)
    for r in range(0, (end - begin) * p.out_width * COLUMNS * n, COLUMNS * n):
        store(results, r, low), store(results, r + n, high)
    for f in range(phases.shape[0]):
        t0, t1, w, row, column, count, columns = phases[f]
        w += group * p.weights + panel * p.sources * (t1 - t0) * COLUMNS * n
        for y in range(rows[0], min(rows[1], count)):
            r = ((row + y * p.out_step[0] - begin) * p.out_width + column) * COLUMNS * n
            x = at + (y - rows[0]) * p.step[0] * p.line
            _add_row(planes, x, plane, p.step[1], shifts[t0:t1], weights, w, p.sources,
                     results, r, p.out_step[1] * COLUMNS * n, columns)
    for side in range(COLUMNS):
        k = (panel * COLUMNS + side) * n
        if k < p.targets:
            target = ((image * p.groups + group) * p.targets + k) * out_plane
            lanes_to_channels(results, side * n, COLUMNS * n, (end - begin) * p.out_width,
                              min(n, p.targets - k), output, target + begin * p.out_width,
                              out_plane)


NUMBERS_AT_ONCE = 60_000  # of the planes of a band: they stay in the cache
NUMBERS_IN_A_SET = 250_000  # of the planes of several images, for layers with many weights
MANY_WEIGHTS = 300_000


def _forward(g):
    """Sizes of a forward pass, and taps, shifts and phases: there is one."""
    line = (g.out_width - 1) * g.stride[1] + (g.kernel_width - 1) * g.dilation[1] + 1
    u, v = np.indices((g.kernel_height, g.kernel_width)).reshape(2, -1)
    shifts = u * g.dilation[0] * line + v * g.dilation[1]
    kernel = u.size
    sizes = (g.in_channels // g.groups, g.out_channels // g.groups, g.groups, g.height, g.width,
             g.out_height, g.out_width, line, g.padding[0][0], g.padding[1][0], g.stride, (1, 1),
             kernel, kernel, g.in_channels // g.groups * kernel)  # fmt: skip
    return sizes, range(kernel), shifts, [(0, kernel, 0, 0, 0, g.out_height, g.out_width)]


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
            phases.append((begin, len(taps), 0, row, column, rows, columns))
    kernel = g.kernel_height * g.kernel_width
    sizes = (g.out_channels // g.groups, g.in_channels // g.groups, g.groups, g.out_height,
             g.out_width, g.height, g.width, line, top, left, (1, 1), g.stride,
             kernel, g.in_channels // g.groups * kernel, kernel)  # fmt: skip
    return sizes, taps, shifts, phases


@lru_cache(maxsize=1024)
def _plan(geometry, lay_out, dtype, jobs):
    """The plan of a pass, its taps, shifts and phases, and the size of the workspace."""
    g, n = geometry, lanes_of(dtype)
    if (g.kernel_height, g.kernel_width, g.stride) == (1, 1, (1, 1)) and not any(sum(g.padding, ())):
        if g.height * g.width < 400:  # without rows there is less to do at their ends
            g = g._replace(height=1, width=g.height * g.width, out_height=1,
                           out_width=g.height * g.width)  # fmt: skip
    sizes, taps, shifts, phases = lay_out(g)
    sources, targets, line, step = sizes[0], sizes[1], sizes[7], sizes[10][0]
    panels, phases = divide_up(targets, COLUMNS * n), np.array(phases, np.int64)
    lengths = (phases[:, 1] - phases[:, 0]) * panels * sources * COLUMNS * n
    phases[:, 2] = np.cumsum(lengths) - lengths
    rows, extent = int(phases[:, 5].max()), max(shifts, default=0) // line + 1
    band = max(1, min(rows, (NUMBERS_AT_ONCE // (sources * line) - extent) // step + 1))
    band = divide_up(rows, divide_up(rows, band))  # all about equal
    size, images = ((band - 1) * step + extent) * line * sources, 1
    if band == rows and sources * targets * sizes[12] >= MANY_WEIGHTS:
        images = max(1, min(divide_up(g.batch, jobs), NUMBERS_IN_A_SET // size))
    items = divide_up(g.batch, images) * g.groups * divide_up(rows, band)
    parts = 1 if items >= jobs else min(panels, jobs)
    plan = ChannelPlan(*sizes, panels, int(lengths.sum()), images, band, rows, int(extent), parts)
    results = min(plan.out_height, band * plan.out_step[0]) * plan.out_width * COLUMNS * n
    tables = (np.array(each, np.int64) for each in (taps, shifts))
    return plan, *tables, phases, images * size + results


def suits(geometry, dtype):
    """Return whether channels as lanes can compute a layer: any, in float32 and float64.

    Notes
    -----
    Source: Chapter 14.
    """
    return np.dtype(dtype).char in "fd"


def _correlate(images, weight, bias, output, geometry, lay_out, jobs):
    """Line up the weights, and let the jobs correlate; None if a weight is not finite."""
    if not np.isfinite(weight).all():  # zeros around the image must not meet it
        return None
    dtype, n = images.dtype, lanes_of(images.dtype)
    p, taps, shifts, phases, space = _plan(geometry, lay_out, dtype, jobs)
    weights = parallel.kept("pieces", p.groups * p.weights, dtype)
    parallel.run(line_up_weights, jobs, max(n, p.kernel) * n, dtype,
                 weight.reshape(-1), taps, phases, p, weights)
    padded = np.zeros((p.groups, p.panels * COLUMNS * n), dtype)
    padded[:, : p.targets] = np.reshape(bias, (p.groups, -1))
    parallel.run(correlate, jobs, space, dtype, images.reshape(-1), weights,
                 padded.reshape(-1), output.reshape(-1), phases, shifts, p)
    return output


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
    Source: Chapter 14.
    """
    g = geometry
    output = np.empty((g.batch, g.out_channels, g.out_height, g.out_width), input.dtype)
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
    Source: Chapter 14.
    """
    g = geometry
    grad_input = np.empty((g.batch, g.in_channels, g.height, g.width), weight.dtype)
    no_bias = np.zeros(g.in_channels, weight.dtype)
    return _correlate(grad_output, weight, no_bias, grad_input, g, _backward, jobs)


def weight_grad(input, grad_output, geometry, jobs):
    """Compute the gradient of the weights by the matrix product (Chapters 11 and 14)."""
    return gemm.weight_grad(input, grad_output, geometry, jobs)
