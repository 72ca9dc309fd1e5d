# Exported from chapters/ by tools/export.py: edit the chapter, not this file.
"""Depthwise layers: each input channel has kernels of its own.

Chapter "Thin layers" builds this module.
"""

from functools import lru_cache

import numpy as np

from convlib import parallel
from convlib.kernels import thin
from convlib.kernels.padded import fill_plane, plane_for
from convlib.kernels.shuffles import plus
from convlib.kernels.simd import (
    all_finite,
    broadcast,
    compiled,
    fma,
    inlined,
    lanes,
    load,
    load_some,
    store_some,
    total,
)

__all__ = [
    "correlate_3x3",
    "ROWS_SUMMED",
    "sum_products_3x3",
    "suits",
    "forward",
    "input_grad",
    "weight_grad",
]


# Chapter "Thin layers" (chapters/thin.ipynb)

@inlined
def _weights(array, w):
    """Three neighbouring weights."""
    return broadcast(array, w), broadcast(array, w + 1), broadcast(array, w + 2)


@inlined
def _seen(planes, x):
    """What three neighbouring weights meet."""
    return load(planes, x), load(planes, x + 1), load(planes, x + 2)


@inlined
def _times(k, s, a):
    """Add three products to one vector."""
    return fma(k[2], s[2], fma(k[1], s[1], fma(k[0], s[0], a)))


@inlined
def _four_rows(planes, x, width, upper, middle, lower, bias):
    """Four rows of results, a vector of each; every row is loaded once."""
    s = _seen(planes, x)
    a = _times(upper, s, bias)
    s = _seen(planes, x + width)
    a, b = _times(middle, s, a), _times(upper, s, bias)
    s = _seen(planes, x + 2 * width)
    a, b, c = _times(lower, s, a), _times(middle, s, b), _times(upper, s, bias)
    s = _seen(planes, x + 3 * width)
    b, c, d = _times(lower, s, b), _times(middle, s, c), _times(upper, s, bias)
    s = _seen(planes, x + 4 * width)
    c, d = _times(lower, s, c), _times(middle, s, d)
    return a, b, c, _times(lower, _seen(planes, x + 5 * width), d)


@compiled
def correlate_3x3(job, jobs, images, weights, bias, output, size, layout, workspace):
    """Compute one job's share of the output channels (chapter "Thin layers")."""
    channels, multiplier, height, width, rows, columns = size
    planes, n, step = images.size // (height * width), lanes(images), layout.width
    for item in range(planes * job // jobs, planes * (job + 1) // jobs):
        start = item * height * width
        fill_plane(images, start, height, width, layout, workspace, 0)
        for j in range(multiplier):
            o = item % channels * multiplier + j
            w, first = 9 * o, (item * multiplier + j) * rows * columns
            upper, middle = _weights(weights, w), _weights(weights, w + 3)
            lower, start_with = _weights(weights, w + 6), broadcast(bias, o)
            for p in range(0, rows, 4):
                for q in range(0, columns, n):
                    a, b, c, d = _four_rows(
                        workspace, p * step + q, step, upper, middle, lower, start_with
                    )
                    place, count = first + p * columns + q, columns - q
                    store_some(output, place, a, count)
                    if p + 1 < rows:
                        store_some(output, place + columns, b, count)
                    if p + 2 < rows:
                        store_some(output, place + 2 * columns, c, count)
                    if p + 3 < rows:
                        store_some(output, place + 3 * columns, d, count)


@inlined
def _add(f, s, a):
    """Add to three vectors the products of one with three."""
    return fma(f, s[0], a[0]), fma(f, s[1], a[1]), fma(f, s[2], a[2])


@inlined
def _add_four_rows(planes, x, width, flow, upper, middle, lower):
    """Add the products of four rows of flow to the sums of the nine weights."""
    s = _seen(planes, x)
    upper = _add(flow[0], s, upper)
    s = _seen(planes, x + width)
    upper, middle = _add(flow[1], s, upper), _add(flow[0], s, middle)
    s = _seen(planes, x + 2 * width)
    upper, middle = _add(flow[2], s, upper), _add(flow[1], s, middle)
    lower = _add(flow[0], s, lower)
    s = _seen(planes, x + 3 * width)
    upper, middle = _add(flow[3], s, upper), _add(flow[2], s, middle)
    lower = _add(flow[1], s, lower)
    s = _seen(planes, x + 4 * width)
    middle, lower = _add(flow[3], s, middle), _add(flow[2], s, lower)
    return upper, middle, _add(flow[3], _seen(planes, x + 5 * width), lower)


@inlined
def _some_row(array, place, row, rows, columns, q):
    """A vector of the flow's row, or zeros behind the last row."""
    return load_some(array, place + row * columns + q, columns - q if row < rows else 0)


@inlined
def _sum_rows(planes, flow, f, some, size, step):
    """The sums of the nine weights for some rows of flow: they begin at zero."""
    (rows, columns), zero = size, load_some(planes, 0, 0)
    upper = zero, zero, zero
    middle, lower = upper, upper
    for p in range(some[0], some[1], 4):
        for q in range(0, columns, lanes(planes)):
            four = (_some_row(flow, f, p, rows, columns, q),
                    _some_row(flow, f, p + 1, rows, columns, q),
                    _some_row(flow, f, p + 2, rows, columns, q),
                    _some_row(flow, f, p + 3, rows, columns, q))
            upper, middle, lower = _add_four_rows(
                planes, p * step + q, step, four, upper, middle, lower
            )
    return upper, middle, lower


@inlined
def _plus_3(a, b):
    return plus(a[0], b[0]), plus(a[1], b[1]), plus(a[2], b[2])


ROWS_SUMMED = 1000  # of one vector of flow, in sums that begin at zero


@compiled
def sum_products_3x3(job, jobs, images, grad_output, sums, size, layout, workspace):
    """Compute the sums of one job's share of the output channels (chapter "Thin layers")."""
    channels, multiplier, height, width, rows, columns = size
    batch, step = images.size // (channels * height * width), layout.width
    n, outputs = lanes(images), channels * multiplier
    portion = max(1, ROWS_SUMMED // ((columns + n - 1) // n) // 4) * 4
    for o in range(outputs * job // jobs, outputs * (job + 1) // jobs):
        zero = load_some(images, 0, 0)
        upper = zero, zero, zero
        middle, lower = upper, upper
        for i in range(batch):
            start = (i * channels + o // multiplier) * height * width
            fill_plane(images, start, height, width, layout, workspace, 0)
            f = (i * outputs + o) * rows * columns
            for p in range(0, rows, portion):
                a, b, c = _sum_rows(workspace, grad_output, f, (p, min(rows, p + portion)),
                                    (rows, columns), step)
                upper, middle, lower = _plus_3(upper, a), _plus_3(middle, b), _plus_3(lower, c)
        w = 9 * o
        sums[w], sums[w + 1], sums[w + 2] = total(upper[0]), total(upper[1]), total(upper[2])
        w += 3
        sums[w], sums[w + 1] = total(middle[0]), total(middle[1])
        sums[w + 2], w = total(middle[2]), w + 3
        sums[w], sums[w + 1], sums[w + 2] = total(lower[0]), total(lower[1]), total(lower[2])


def suits(geometry, dtype):
    """Whether each input channel has kernels of its own (chapter "Thin layers")."""
    return geometry.groups == geometry.in_channels > 1


def _is_plain(geometry):
    """Whether the kernels of 3 x 3 can be used."""
    g = geometry
    kernel = g.kernel_height, g.kernel_width
    return kernel == (3, 3) and g.stride == g.dilation == (1, 1)


@lru_cache(maxsize=1024)
def _layout(size, corner, results, dtype):
    """The plane for channels of that size; whole blocks of four rows are computed."""
    rows = (results[0] + 3) // 4 * 4
    height = max(size[0] + corner[0], results[0] + 2)
    width = max(size[1] + corner[1], results[1] + 2)
    return plane_for(height, width, corner, (1, 1), (rows, results[1]), 2 * width + 2, dtype)


def _correlate(images, weight, bias, shape, corner, jobs):
    """Let the jobs correlate with kernels of 3 x 3."""
    if not all_finite(weight.reshape(-1)):
        return None
    channels = images.shape[1]
    layout = _layout(images.shape[2:], corner, shape[2:], images.dtype)
    size = channels, shape[1] // channels, *images.shape[2:], *shape[2:]
    output = parallel.aligned(shape, images.dtype)
    space = layout.length + thin.lanes_of(images.dtype)
    parallel.run(correlate_3x3, jobs, space, images.dtype, images.reshape(-1),
                 weight.reshape(-1), bias, output.reshape(-1), size, layout)
    return output


def forward(input, weight, bias, geometry, jobs):
    """Compute the output of a depthwise layer; as `convlib.kernels.thin.forward`.

    Notes
    -----
    Source: chapter "Thin layers".
    """
    g = geometry
    if not _is_plain(g):
        return thin.forward(input, weight, bias, g, jobs)
    shape = g.batch, g.out_channels, g.out_height, g.out_width
    corner = g.padding[0][0], g.padding[1][0]
    return _correlate(input, weight, bias, shape, corner, jobs)


def input_grad(weight, grad_output, geometry, jobs):
    """Compute the learning flow at its input; as `convlib.kernels.thin.input_grad`.

    Notes
    -----
    Source: chapter "Thin layers".
    """
    g = geometry
    if not _is_plain(g) or g.in_channels != g.out_channels:
        return thin.input_grad(weight, grad_output, g, jobs)
    turned = np.ascontiguousarray(weight[:, :, ::-1, ::-1])  # Chapter "Why the kernel turns"
    no_bias = np.zeros(g.in_channels, weight.dtype)
    shape = g.batch, g.in_channels, g.height, g.width
    corner = 2 - g.padding[0][0], 2 - g.padding[1][0]
    return _correlate(grad_output, turned, no_bias, shape, corner, jobs)


def weight_grad(input, grad_output, geometry, jobs):
    """Compute how the loss changes with its weights; as `convlib.kernels.thin.weight_grad`.

    Notes
    -----
    Source: chapter "Thin layers".
    """
    g = geometry
    if not _is_plain(g):
        return thin.weight_grad(input, grad_output, g, jobs)
    results, corner = (g.out_height, g.out_width), (g.padding[0][0], g.padding[1][0])
    layout = _layout((g.height, g.width), corner, results, input.dtype)
    size = g.in_channels, g.out_channels // g.in_channels, g.height, g.width, *results
    grad = np.empty((g.out_channels, 1, 3, 3), input.dtype)
    space = layout.length + thin.lanes_of(input.dtype)
    parallel.run(sum_products_3x3, jobs, space, input.dtype, input.reshape(-1),
                 grad_output.reshape(-1), grad.reshape(-1), size, layout)
    return grad if all_finite(grad.reshape(-1)) else None
