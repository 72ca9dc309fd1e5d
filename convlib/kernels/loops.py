# Exported from chapters/ by tools/export.py: edit the chapter, not this file.
"""The seven loops, compiled: slow, and right even where numbers are infinite.

Chapter "Planes and vectors" builds this module; the relation is that of chapter "Stride, padding,
dilation, groups".
"""

import numpy as np

from convlib.kernels.simd import compiled
from convlib.shapes import output_shape

__all__ = ["conv2d", "conv2d_backward", "suits", "forward", "input_grad", "weight_grad"]


# Chapter "Planes and vectors" (chapters/planes.ipynb)

@compiled
def _inside(start, step, kernel_size, size):
    """The first weight whose cell lies inside the grid, and the first behind it that does not."""
    first = 0 if start >= 0 else (step - 1 - start) // step
    last = min(kernel_size, (size - 1 - start) // step + 1)
    return first, max(first, last)


@compiled
def conv2d(input, weight, bias, stride, corner, dilation, groups, output):
    """Write the output of a layer (chapter "Planes and vectors")."""
    sources, targets = weight.shape[1], weight.shape[0] // groups
    for n in range(output.shape[0]):
        for o in range(output.shape[1]):
            first = o // targets * sources
            for p in range(output.shape[2]):
                row = p * stride[0] - corner[0]
                u0, u1 = _inside(row, dilation[0], weight.shape[2], input.shape[2])
                for q in range(output.shape[3]):
                    column = q * stride[1] - corner[1]
                    v0, v1 = _inside(column, dilation[1], weight.shape[3], input.shape[3])
                    total = bias[o]
                    for i in range(sources):
                        for u in range(u0, u1):
                            r = row + u * dilation[0]
                            for v in range(v0, v1):
                                c = column + v * dilation[1]
                                total += input[n, first + i, r, c] * weight[o, i, u, v]
                    output[n, o, p, q] = total


@compiled
def conv2d_backward(input, weight, grad_output, stride, corner, dilation, groups, of_input, grad):
    """Write the gradient of the input, or else of the weights, in scatter form.

    Source: chapter "Planes and vectors".
    """
    grad[:] = 0
    sources, targets = weight.shape[1], weight.shape[0] // groups
    for n in range(grad_output.shape[0]):
        for o in range(grad_output.shape[1]):
            first = o // targets * sources
            for p in range(grad_output.shape[2]):
                row = p * stride[0] - corner[0]
                u0, u1 = _inside(row, dilation[0], weight.shape[2], input.shape[2])
                for q in range(grad_output.shape[3]):
                    column = q * stride[1] - corner[1]
                    v0, v1 = _inside(column, dilation[1], weight.shape[3], input.shape[3])
                    flow = grad_output[n, o, p, q]
                    for i in range(sources):
                        for u in range(u0, u1):
                            r = row + u * dilation[0]
                            for v in range(v0, v1):
                                c = column + v * dilation[1]
                                if of_input:
                                    grad[n, first + i, r, c] += flow * weight[o, i, u, v]
                                else:
                                    grad[o, i, u, v] += flow * input[n, first + i, r, c]


# Chapter "Choosing" (chapters/choosing.ipynb)

def _settings(geometry):
    """Stride, zeros above and to the left, dilation and groups."""
    g = geometry
    return g.stride, (g.padding[0][0], g.padding[1][0]), g.dilation, g.groups


def suits(geometry, dtype):
    """Tell whether the loops can compute a layer: in float32 and float64 (chapter "Choosing")."""
    return np.dtype(dtype).char in "fd"


def forward(input, weight, bias, geometry, jobs):
    """Return the output, whatever the numbers; one job does it all (chapter "Choosing")."""
    output = np.empty(output_shape(geometry), input.dtype)
    conv2d(input, weight, bias, *_settings(geometry), output)
    return output


def input_grad(weight, grad_output, geometry, jobs):
    """Return the learning flow, whatever the numbers (chapter "Choosing")."""
    grad_input = np.empty(geometry[:4], weight.dtype)
    conv2d_backward(
        grad_input, weight, grad_output, *_settings(geometry), True, grad_input
    )
    return grad_input


def weight_grad(input, grad_output, geometry, jobs):
    """Return the gradient of the weights, whatever the numbers (chapter "Choosing")."""
    g = geometry
    size = g.out_channels, g.in_channels // g.groups, g.kernel_height, g.kernel_width
    grad_weight = np.empty(size, input.dtype)
    conv2d_backward(
        input, grad_weight, grad_output, *_settings(geometry), False, grad_weight
    )
    return grad_weight
