# Exported from chapters/ by tools/export.py: edit the chapter, not this file.
"""The least layers, in which next to nothing is to do.

Chapter "A channel by itself" builds this module.
"""

import math
from functools import lru_cache

import numpy as np

from convlib.kernels.blocks import SHAPE, spread, together
from convlib.kernels.simd import all_finite, broadcast, compiled, fma, lanes, load_between, store_some
from convlib.kernels.tuning import PIECE, SMALL
from convlib.shapes import output_shape

__all__ = ["suits", "forward", "input_grad", "weight_grad"]


# Chapter "A channel by itself" (chapters/alone.ipynb)

_VECTOR = (SHAPE[0][:1],)  # the least block


@compiled
def _look(data, factors, start, sizes, result):
    """Write all lines of a result, vector by vector: sums of factors times the cells they meet."""
    (items, rows, lines, places), (channels, height, width), (kh, kw, top, left), steps = sizes
    (item_step, channel_step), (begin, row_step, depth_step, tap_step), (to_item, to_row) = steps
    for line in range(items * rows * lines):
        y, row, item = line % lines, line // lines % rows, line // lines // rows
        for x in range(0, places, lanes(data)):
            sums = spread(start, row, 0, _VECTOR)
            for c in range(channels):
                part, k = load_between(data, 0, 0, 0), begin + row * row_step + c * depth_step
                for u in range(max(0, top - y), min(kh, height + top - y)):
                    at = item * item_step + c * channel_step + (y - top + u) * width
                    for v in range(kw):
                        to = x - left + v
                        cells = load_between(data, at + to, max(0, -to), width - to)
                        part = fma(broadcast(factors, k + (u * kw + v) * tap_step), cells, part)
                sums = together(sums, ((part,),))
            place = item * to_item + row * to_row + y * places + x
            store_some(result, place, sums[0][0], places - x)


@lru_cache(maxsize=1024)
def _sizes_of(g, direction):
    """The sizes of a pass: result, cells, kernel with its corner; steps in cells, factors, result."""
    (batch, sources, *size), (targets, *kernel), out = g[:4], g[4:7], g[-2:]
    cells, places, taps = (math.prod(each) for each in (size, out, kernel))
    corner, inside, outside = [p[0] for p in g.padding], (sources * cells, cells), (targets * places, places)
    if direction == "forward":
        steps = inside, (0, sources * taps, taps, 1), outside
        return (batch, targets, *out), (sources, *size), (*kernel, *corner), steps
    if direction == "input_grad":  # the weights turned
        corner = [k - 1 - before for k, before in zip(kernel, corner, strict=True)]
        steps = outside, (taps - 1, taps, sources * taps, -1), inside
        return (batch, sources, *size), (targets, *out), (*kernel, *corner), steps
    steps = inside[::-1], (0, *outside[::-1], 1), (taps, sources * taps)
    return (sources, targets, *kernel), (batch, *size), (*out, *corner), steps  # the flow as weights


def _result_of(direction, data, factors, start, shape, g):
    """A result of a small layer; None if a factor is not finite: a zero outside is no product."""
    flat, result = factors.reshape(-1), np.empty(shape, data.dtype)
    if not all_finite(flat):
        return None
    _look(data.reshape(-1), flat, start, _sizes_of(g, direction), result.reshape(-1))
    return result


def suits(geometry, dtype):
    """Whether next to nothing is to do (chapter "A channel by itself")."""
    g, taps = geometry, geometry.in_channels * geometry.kernel_height * geometry.kernel_width
    places = g.out_height * g.out_width
    small = g.stride == g.dilation == (1, 1) and g.groups == 1 and max(taps, places, g.height * g.width) <= PIECE
    return small and g.batch * places * g.out_channels * taps <= SMALL


def forward(input, weight, bias, geometry, jobs):
    """Return the output, or None if a weight is not finite (chapter "A channel by itself")."""
    return _result_of("forward", input, weight, bias, output_shape(geometry), geometry)


def input_grad(weight, grad_output, geometry, jobs):
    """Return the learning flow, or None if a weight is not finite (chapter "A channel by itself")."""
    start = np.zeros(geometry.in_channels, weight.dtype)
    return _result_of("input_grad", grad_output, weight, start, geometry[:4], geometry)


def weight_grad(input, grad_output, geometry, jobs):
    """Return the gradient of the weights, or None if a flow is not finite (chapter "A channel by itself")."""
    g, start = geometry, np.zeros(geometry.out_channels, input.dtype)
    return _result_of("weight_grad", input, grad_output, start, (g.out_channels, g.in_channels, *g[5:7]), g)
