# Exported from chapters/ by tools/export.py: edit the chapter, not this file.
"""The seven loops, compiled: slow, and right even where numbers are infinite.

Chapter "Choosing" builds this module; the meetings are those of chapter "Stride, padding, dilation,
groups".
"""

import numpy as np

from convlib.kernels.simd import compiled
from convlib.shapes import output_shape

__all__ = ["OUTPUT", "INPUT", "WEIGHT", "meet", "suits", "forward", "input_grad", "weight_grad"]


# Chapter "Choosing" (chapters/choosing.ipynb)

OUTPUT, INPUT, WEIGHT = range(3)  # which of the three is asked


@compiled
def _inside(start, step, kernel_size, size):
    """The first weight whose cell lies inside the grid, and the first behind it that does not."""
    first = 0 if start >= 0 else (step - 1 - start) // step
    last = min(kernel_size, (size - 1 - start) // step + 1)
    return first, max(first, last)


@compiled
def meet(asked, images, kernels, flows, settings):
    """Add to the one that is asked the products of the two others, meeting by meeting (chapter "Choosing")."""
    stride, corner, dilation, groups = settings
    sources, targets = kernels.shape[1], kernels.shape[0] // groups
    for n in range(flows.shape[0]):
        for o in range(flows.shape[1]):
            first = o // targets * sources
            for p in range(flows.shape[2]):
                row = p * stride[0] - corner[0]
                u0, u1 = _inside(row, dilation[0], kernels.shape[2], images.shape[2])
                for q in range(flows.shape[3]):
                    column = q * stride[1] - corner[1]
                    v0, v1 = _inside(column, dilation[1], kernels.shape[3], images.shape[3])
                    total = flows[n, o, p, q]
                    for i in range(sources):
                        for u in range(u0, u1):
                            r = row + u * dilation[0]
                            for v in range(v0, v1):
                                c = column + v * dilation[1]
                                if asked == OUTPUT:
                                    total += images[n, first + i, r, c] * kernels[o, i, u, v]
                                elif asked == INPUT:
                                    images[n, first + i, r, c] += total * kernels[o, i, u, v]
                                else:
                                    kernels[o, i, u, v] += total * images[n, first + i, r, c]
                    if asked == OUTPUT:
                        flows[n, o, p, q] = total


def suits(geometry, dtype):
    """Tell whether the loops can compute a layer: in float32 and float64 (chapter "Choosing")."""
    return np.dtype(dtype).char in "fd"


def _settings(geometry):
    """Stride, zeros above and to the left, dilation and groups."""
    g = geometry
    return g.stride, (g.padding[0][0], g.padding[1][0]), g.dilation, g.groups


def forward(input, weight, bias, geometry, jobs):
    """Return the output, whatever the numbers; one job does it all (chapter "Choosing")."""
    output = np.empty(output_shape(geometry), input.dtype)
    output[:] = bias[:, np.newaxis, np.newaxis]
    meet(OUTPUT, input, weight, output, _settings(geometry))
    return output


def input_grad(weight, grad_output, geometry, jobs):
    """Return the learning flow, whatever the numbers (chapter "Choosing")."""
    grad_input = np.zeros(geometry[:4], weight.dtype)
    meet(INPUT, grad_input, weight, grad_output, _settings(geometry))
    return grad_input


def weight_grad(input, grad_output, geometry, jobs):
    """Return the gradient of the weights, whatever the numbers (chapter "Choosing")."""
    g = geometry
    size = g.out_channels, g.in_channels // g.groups, g.kernel_height, g.kernel_width
    grad_weight = np.zeros(size, input.dtype)
    meet(WEIGHT, input, grad_weight, grad_output, _settings(g))
    return grad_weight
