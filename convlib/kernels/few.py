# Exported from chapters/ by tools/export.py: edit the chapter, not this file.
"""The least layers: images of one pixel, which are products of a few rows, and the smallest of all."""

from functools import lru_cache

import numpy as np

from convlib.kernels.blocks import load_between
from convlib.kernels.simd import (
    all_finite,
    broadcast,
    compiled,
    fma,
    inlined,
    lanes,
    load_some,
    store_some,
    total,
)
from convlib.kernels.tuning import PIECE, SERIAL, SMALL
from convlib.places import CHAIN

__all__ = ["suits", "forward", "input_grad", "weight_grad"]


# Chapter "A channel by itself" (chapters/alone.ipynb)

@inlined
def _cells_of(data, at, x, width):
    """A vector of cells x, x + 1, ... of a line; zeros for those outside."""
    return load_between(data, at + x, max(0, -x), width - x)


@compiled
def _look(data, weights, steps, start, sizes, output):
    """Compute all lines of output, vector by vector; steps: first weight, channel, channel, tap."""
    (batch, channels, height, width), (rows, lines, places), (kh, kw, down, right, top, left) = sizes
    begin, row_step, channel_step, tap_step = steps
    for line in range(batch * rows * lines):
        y, row, image = line % lines, line // lines % rows, line // lines // rows
        for x in range(0, places, lanes(data)):
            sums = broadcast(start, row)
            for c in range(channels):
                k = begin + row * row_step + c * channel_step
                for u in range(kh):
                    cell = y - top + u * down
                    if 0 <= cell < height:
                        at = ((image * channels + c) * height + cell) * width
                        for v in range(kw):
                            cells = _cells_of(data, at, x - left + v * right, width)
                            sums = fma(broadcast(weights, k + (u * kw + v) * tap_step), cells, sums)
            store_some(output, line * places + x, sums, places - x)


@compiled
def _look_back(data, flow, sizes, result):
    """Compute each weight's gradient: the flow by the cells that the weight met."""
    (batch, channels, height, width), (rows, lines, places), (kh, kw, down, right, top, left) = sizes
    for k in range(rows * channels * kh * kw):
        row, c, u, v = k // kw // kh // channels, k // kw // kh % channels, k // kw % kh, k % kw
        number = total(load_some(data, 0, 0))
        for image in range(batch):
            sums = load_some(data, 0, 0)
            for y in range(max(0, -(u * down - top)), min(lines, height - u * down + top)):
                at = ((image * channels + c) * height + y - top + u * down) * width
                to = ((image * rows + row) * lines + y) * places
                for x in range(0, places, lanes(data)):
                    cells = _cells_of(data, at, x - left + v * right, width)
                    sums = fma(load_some(flow, to + x, places - x), cells, sums)
            number += total(sums)
        result[k] = number


@lru_cache(maxsize=1024)
def _sizes_of(g, back):
    """The sizes of a pass: source, result, and kernel with its corner."""
    kernel, corner = (g.kernel_height, g.kernel_width, *g.dilation), (g.padding[0][0], g.padding[1][0])
    if not back:
        return g[:4], (g.out_channels, *g[11:13]), (*kernel, *corner)
    corner = (kernel[0] - 1) * kernel[2] - corner[0], (kernel[1] - 1) * kernel[3] - corner[1]
    return (g.batch, g.out_channels, *g[11:13]), g[1:4], (*kernel, *corner)


def _is_pixel(g):
    """Whether a layer is one matrix product of a few rows, in sums that BLAS may add up."""
    short = max(g.batch, g.in_channels, g.out_channels) <= CHAIN
    sizes = g.height, g.width, g.kernel_height, g.kernel_width, g.out_height, g.out_width, g.groups
    return short and sizes == (1,) * 7 and g.padding == ((0, 0), (0, 0))


def suits(geometry, dtype):
    """Whether images have one pixel, or next to nothing is to do (chapter "A channel by itself")."""
    g, taps = geometry, geometry.in_channels * geometry.kernel_height * geometry.kernel_width
    places = g.out_height * g.out_width
    small = g.stride == (1, 1) and g.groups == 1 and max(taps, places, g.height * g.width) <= PIECE
    return _is_pixel(g) or small and g.batch * places * g.out_channels * taps <= SMALL


def forward(input, weight, bias, geometry, jobs):
    """Return the output, or None if a weight is not finite (chapter "A channel by itself")."""
    g, dtype = geometry, input.dtype
    output = np.empty((g.batch, g.out_channels, g.out_height, g.out_width), dtype)
    if _is_pixel(g):
        weight, images, output = weight[:, :, 0, 0], input[:, :, 0, 0].T, output[:, :, 0, 0]
        with np.errstate(over="ignore", invalid="ignore"):
            some = max(1, SERIAL // max(1, input.size))  # rows, so few that BLAS needs no second thread
            for k in range(0, g.out_channels, some):
                rows = np.matmul(weight[k : k + some], images)
                np.add(rows.T, bias[k : k + some], out=output[:, k : k + some])
        return output[:, :, np.newaxis, np.newaxis]
    taps, flat = g.kernel_height * g.kernel_width, weight.reshape(-1)
    if not all_finite(flat):
        return None
    steps = 0, g.in_channels * taps, taps, 1
    _look(input.reshape(-1), flat, steps, bias, _sizes_of(g, False), output.reshape(-1))
    return output


def input_grad(weight, grad_output, geometry, jobs):
    """Return the learning flow, or None if a weight is not finite (chapter "A channel by itself")."""
    g, result = geometry, np.empty(geometry[:4], weight.dtype)
    if _is_pixel(g):
        with np.errstate(over="ignore", invalid="ignore"):
            np.matmul(grad_output[:, :, 0, 0], weight[:, :, 0, 0], out=result[:, :, 0, 0])
        return result
    taps, flat = g.kernel_height * g.kernel_width, weight.reshape(-1)
    if not all_finite(flat):
        return None
    steps, start = (taps - 1, taps, g.in_channels * taps, -1), np.zeros(g.in_channels, weight.dtype)
    _look(grad_output.reshape(-1), flat, steps, start, _sizes_of(g, True), result.reshape(-1))
    return result


def weight_grad(input, grad_output, geometry, jobs):
    """Return the gradient of the weights, or None if it is not finite (chapter "A channel by itself")."""
    g = geometry
    result = np.empty((g.out_channels, g.in_channels, g.kernel_height, g.kernel_width), input.dtype)
    if _is_pixel(g):
        with np.errstate(over="ignore", invalid="ignore"):
            np.matmul(grad_output[:, :, 0, 0].T, input[:, :, 0, 0], out=result[:, :, 0, 0])
        return result
    _look_back(input.reshape(-1), grad_output.reshape(-1), _sizes_of(g, False), result.reshape(-1))
    return result if all_finite(result.reshape(-1)) else None
