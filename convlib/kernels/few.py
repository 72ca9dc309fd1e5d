# Exported from chapters/ by tools/export.py: edit the chapter, not this file.
"""The least layers: images of one pixel, which are products of a few rows, and the smallest of all."""

from functools import lru_cache

import numpy as np

from convlib.kernels.blocks import load_between
from convlib.kernels.simd import all_finite, broadcast, compiled, fma, lanes, load_some, store_some, total
from convlib.kernels.tuning import PIECE, SERIAL, SMALL
from convlib.places import CHAIN

__all__ = ["suits", "forward", "input_grad", "weight_grad"]


# Chapter "A channel by itself" (chapters/alone.ipynb)

@compiled
def _look(data, weights, start, sizes, output):
    """Compute all lines of output, vector by vector."""
    (batch, channels, height, width), (rows, lines, places), window, steps = sizes
    (kh, kw, down, right, top, left), (begin, row_step, channel_step, tap_step) = window, steps
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
                            to = x - left + v * right
                            cells = load_between(data, at + to, max(0, -to), width - to)
                            sums = fma(broadcast(weights, k + (u * kw + v) * tap_step), cells, sums)
            store_some(output, line * places + x, sums, places - x)


@compiled
def _look_back(data, flow, sizes, result):
    """Compute each weight's gradient: the flow by the cells that the weight met."""
    (batch, channels, height, width), (rows, lines, places), window, _ = sizes
    kh, kw, down, right, top, left = window
    for k in range(rows * channels * kh * kw):
        row, c, u, v = k // kw // kh // channels, k // kw // kh % channels, k // kw % kh, k % kw
        number = total(load_some(data, 0, 0))
        for image in range(batch):
            sums = load_some(data, 0, 0)
            for y in range(max(0, top - u * down), min(lines, height + top - u * down)):
                at = ((image * channels + c) * height + y - top + u * down) * width
                line = ((image * rows + row) * lines + y) * places
                for x in range(0, places, lanes(data)):
                    to = x - left + v * right
                    cells = load_between(data, at + to, max(0, -to), width - to)
                    sums = fma(load_some(flow, line + x, places - x), cells, sums)
            number += total(sums)
        result[k] = number


@lru_cache(maxsize=1024)
def _sizes_of(g, back):
    """The sizes of a pass: source, result, kernel with its corner; steps between weights."""
    kernel, inputs, outputs = (g.kernel_height, g.kernel_width), g[1:4], (g.out_channels, *g[11:13])
    corner, taps = (g.padding[0][0], g.padding[1][0]), g.kernel_height * g.kernel_width
    if not back:
        steps = 0, g.in_channels * taps, taps, 1
        return (g.batch, *inputs), outputs, (*kernel, *g.dilation, *corner), steps
    corner = [(k - 1) * d - c for k, d, c in zip(kernel, g.dilation, corner, strict=True)]
    steps = taps - 1, taps, g.in_channels * taps, -1
    return (g.batch, *outputs), inputs, (*kernel, *g.dilation, *corner), steps


def _result_of(data, weight, start, g, back):
    """The output of a small layer, or the flow at its input; None if a weight is not finite."""
    sizes, flat = _sizes_of(g, back), weight.reshape(-1)
    if not all_finite(flat):
        return None
    result = np.empty((g.batch, *sizes[1]), weight.dtype)
    _look(data.reshape(-1), flat, start, sizes, result.reshape(-1))
    return result


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
    if not _is_pixel(geometry):
        return _result_of(input, weight, bias, geometry, False)
    output, images = np.empty((len(input), len(weight)), input.dtype), input[:, :, 0, 0].T
    some = max(1, SERIAL // max(1, input.size))  # rows, so few that BLAS needs no second thread
    with np.errstate(over="ignore", invalid="ignore"):
        for k in range(0, len(weight), some):
            rows = np.matmul(weight[k : k + some, :, 0, 0], images)
            np.add(rows.T, bias[k : k + some], out=output[:, k : k + some])
    return output[:, :, np.newaxis, np.newaxis]


def input_grad(weight, grad_output, geometry, jobs):
    """Return the learning flow, or None if a weight is not finite (chapter "A channel by itself")."""
    if not _is_pixel(geometry):
        start = np.zeros(geometry.in_channels, weight.dtype)
        return _result_of(grad_output, weight, start, geometry, True)
    with np.errstate(over="ignore", invalid="ignore"):
        return np.matmul(grad_output[:, :, 0, 0], weight[:, :, 0, 0])[:, :, np.newaxis, np.newaxis]


def weight_grad(input, grad_output, geometry, jobs):
    """Return the gradient of the weights, or None if it is not finite (chapter "A channel by itself")."""
    g = geometry
    if _is_pixel(g):
        with np.errstate(over="ignore", invalid="ignore"):
            return np.matmul(grad_output[:, :, 0, 0].T, input[:, :, 0, 0])[:, :, np.newaxis, np.newaxis]
    result = np.empty((g.out_channels, g.in_channels, g.kernel_height, g.kernel_width), input.dtype)
    _look_back(input.reshape(-1), grad_output.reshape(-1), _sizes_of(g, False), result.reshape(-1))
    return result if all_finite(result.reshape(-1)) else None
