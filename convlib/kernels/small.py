# Exported from chapters/ by tools/export.py: edit the chapter, not this file.
"""Planes without plans and blocks: for layers so small that nothing else pays.

Chapter "Planes and vectors" builds this module.
"""

import numpy as np

from convlib.kernels.simd import all_finite, broadcast, compiled, fma, lanes, load, store, total

__all__ = [
    "conv2d",
    "conv2d_input_grad",
    "conv2d_weight_grad",
    "conv2d_bias_grad",
    "suits",
    "settings",
    "forward",
    "input_grad",
    "weight_grad",
    "bias_grad",
]


# Chapter "Planes and vectors" (chapters/planes.ipynb)

@compiled
def _sizes(input, weight, output, stride, corner, dilation):
    """Height and width of a plane, and the length of a row of results."""
    rows, columns = output.shape[2] - 1, output.shape[3] - 1
    height = rows * stride[0] + (weight.shape[2] - 1) * dilation[0] + 1
    width = columns * stride[1] + (weight.shape[3] - 1) * dilation[1] + 1
    height, width = max(height, corner[0] + input.shape[2]), max(width, corner[1] + input.shape[3])
    return height, width, rows * stride[0] * width + columns * stride[1] + 1


@compiled
def _row_of_results(length, like):
    """A row with room for whole blocks of four vectors."""
    block = 4 * lanes(like)
    return np.empty((length + block - 1) // block * block, like.dtype)


@compiled
def _fill(image, first, corner, planes):
    """Write the channels of an image, from channel `first` on, into planes."""
    for i in range(planes.shape[0]):
        for p in range(image.shape[1]):
            for q in range(image.shape[2]):
                planes[i, corner[0] + p, corner[1] + q] = image[first + i, p, q]


@compiled
def _correlate(rows, shifts, weights, w, places, start, o, results):
    """results[x] = start[o] + the sum over t of weights[w + places[t]] * rows[x + shifts[t]]."""
    n = lanes(rows)
    for x in range(0, results.size, 4 * n):
        a = broadcast(start, o)
        b, c, d = a, a, a
        for t in range(shifts.size):
            k, s = broadcast(weights, w + places[t]), x + shifts[t]
            a, b = fma(k, load(rows, s), a), fma(k, load(rows, s + n), b)
            c, d = fma(k, load(rows, s + 2 * n), c), fma(k, load(rows, s + 3 * n), d)
        store(results, x, a), store(results, x + n, b)
        store(results, x + 2 * n, c), store(results, x + 3 * n, d)


@compiled
def conv2d(input, weight, bias, stride, corner, dilation, groups, output):
    """Write the output of a small layer; return whether all weights are finite.

    Source: chapter "Planes and vectors".
    """
    if not all_finite(weight.reshape(weight.size)):
        return False
    targets, (sources, down, across) = weight.shape[0] // groups, weight.shape[1:]
    height, width, length = _sizes(input, weight, output, stride, corner, dilation)
    plane, results = height * width, _row_of_results(length, input)
    rows = np.zeros(sources * plane + results.size - length, input.dtype)
    planes = rows[: sources * plane].reshape(sources, height, width)
    taps, weights = sources * down * across, weight.reshape(weight.size)
    shifts, places, t = np.empty(taps, np.int64), np.arange(taps), 0
    for i in range(sources):
        for u in range(down):
            for v in range(across):
                shifts[t] = i * plane + u * dilation[0] * width + v * dilation[1]
                t += 1
    for n in range(input.shape[0]):
        for o in range(weight.shape[0]):
            if o % targets == 0:
                _fill(input[n], o // targets * sources, corner, planes)
            _correlate(rows, shifts, weights, o * taps, places, bias, o, results)
            for p in range(output.shape[2]):
                for q in range(output.shape[3]):
                    output[n, o, p, q] = results[p * stride[0] * width + q * stride[1]]
    return True


@compiled
def _spread(flow, stride, width, row, begin):
    """Write a channel of flow into a row, where its results stood."""
    for p in range(flow.shape[0]):
        for q in range(flow.shape[1]):
            row[begin + p * stride[0] * width + q * stride[1]] = flow[p, q]


@compiled
def conv2d_input_grad(weight, grad_output, stride, corner, dilation, groups, grad_input):
    """Write a small layer's learning flow; return whether all weights are finite.

    Source: chapter "Planes and vectors".
    """
    if not all_finite(weight.reshape(weight.size)):
        return False
    targets, (sources, down, across) = weight.shape[0] // groups, weight.shape[1:]
    height, width, _ = _sizes(grad_input, weight, grad_output, stride, corner, dilation)
    results, kernel = _row_of_results(height * width, weight), down * across
    before = (down - 1) * dilation[0] * width + (across - 1) * dilation[1]
    room, nothing = before + results.size, np.zeros(1, weight.dtype)
    rows, weights = np.zeros(targets * room, weight.dtype), weight.reshape(weight.size)
    (shifts, places), t = np.empty((2, targets * kernel), np.int64), 0
    for o in range(targets):
        for u in range(down):
            for v in range(across):
                shifts[t] = o * room + before - u * dilation[0] * width - v * dilation[1]
                places[t] = o * sources * kernel + u * across + v
                t += 1
    for n in range(grad_output.shape[0]):
        for i in range(groups * sources):
            group, source = i // sources, i % sources
            if source == 0:
                for o in range(targets):
                    flow = grad_output[n, group * targets + o]
                    _spread(flow, stride, width, rows, o * room + before)
            w = (group * targets * sources + source) * kernel
            _correlate(rows, shifts, weights, w, places, nothing, 0, results)
            for p in range(grad_input.shape[2]):
                begin = (corner[0] + p) * width + corner[1]
                for q in range(grad_input.shape[3]):
                    grad_input[n, i, p, q] = results[begin + q]
    return True


@compiled
def conv2d_weight_grad(input, grad_output, stride, corner, dilation, groups, grad_weight):
    """Write the gradient of small weights; return whether it is finite.

    Source: chapter "Planes and vectors".
    """
    sources, targets = grad_weight.shape[1], grad_weight.shape[0] // groups
    height, width, length = _sizes(input, grad_weight, grad_output, stride, corner, dilation)
    lane_count, plane = lanes(input), height * width
    rows = np.zeros(sources * plane + lane_count, input.dtype)  # a vector may hang over
    planes = rows[: sources * plane].reshape(sources, height, width)
    flow = np.zeros(length + lane_count, input.dtype)
    nothing = broadcast(np.zeros(1, input.dtype), 0)
    grad_weight[:] = 0
    for n in range(input.shape[0]):
        for o in range(grad_weight.shape[0]):
            if o % targets == 0:
                _fill(input[n], o // targets * sources, corner, planes)
            _spread(grad_output[n, o], stride, width, flow, 0)
            for i in range(sources):
                for u in range(grad_weight.shape[2]):
                    for v in range(grad_weight.shape[3]):
                        shift = i * plane + u * dilation[0] * width + v * dilation[1]
                        sums = nothing
                        for x in range(0, length, lane_count):
                            sums = fma(load(flow, x), load(rows, shift + x), sums)
                        grad_weight[o, i, u, v] += total(sums)
    return all_finite(grad_weight.reshape(grad_weight.size))


@compiled
def conv2d_bias_grad(grad_output, grad_bias):
    """Write the gradient of a few biases: what flows through each channel.

    Source: chapter "Planes and vectors".
    """
    for o in range(grad_output.shape[1]):
        sums = 0.0
        for n in range(grad_output.shape[0]):
            for p in range(grad_output.shape[2]):
                for q in range(grad_output.shape[3]):
                    sums += grad_output[n, o, p, q]
        grad_bias[o] = sums


# Chapter "Choosing" (chapters/choosing.ipynb)

def suits(geometry, dtype):
    """Tell whether tiny planes can compute a layer: in float32 and float64 (chapter "Choosing")."""
    return np.dtype(dtype).char in "fd"


def settings(geometry):
    """Return stride, zeros above and to the left, dilation and groups (chapter "Choosing")."""
    g = geometry
    return g.stride, (g.padding[0][0], g.padding[1][0]), g.dilation, g.groups


def forward(input, weight, bias, geometry, jobs):
    """Return the output, or None if a weight is not finite; one job does it all.

    Source: chapter "Choosing".
    """
    g = geometry
    output = np.empty((g.batch, g.out_channels, g.out_height, g.out_width), input.dtype)
    sound = conv2d(input, weight, bias, *settings(geometry), output)
    return output if sound else None


def input_grad(weight, grad_output, geometry, jobs):
    """Return the learning flow, or None if a weight is not finite (chapter "Choosing")."""
    grad_input = np.empty(geometry[:4], weight.dtype)
    sound = conv2d_input_grad(weight, grad_output, *settings(geometry), grad_input)
    return grad_input if sound else None


def weight_grad(input, grad_output, geometry, jobs):
    """Return the gradient of the weights, or None if it is not finite (chapter "Choosing")."""
    g = geometry
    size = g.out_channels, g.in_channels // g.groups, g.kernel_height, g.kernel_width
    grad_weight = np.empty(size, input.dtype)
    sound = conv2d_weight_grad(input, grad_output, *settings(geometry), grad_weight)
    return grad_weight if sound else None


def bias_grad(grad_output, jobs):
    """Return the gradient of the biases, whatever the numbers (chapter "Choosing")."""
    grad_bias = np.empty(grad_output.shape[1], grad_output.dtype)
    conv2d_bias_grad(grad_output, grad_bias)
    return grad_bias
