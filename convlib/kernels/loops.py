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
def meet(asked, images, kernels, flows, g):
    """Add to the one that is asked all products of the two others (chapter "Choosing")."""
    sources, targets = g.in_channels // g.groups, g.out_channels // g.groups
    for n in range(g.batch):
        for o in range(g.out_channels):
            first = o // targets * sources
            for p in range(g.out_height):
                row = p * g.stride[0] - g.padding[0][0]
                u0 = max(0, -(row // g.dilation[0]))  # the first whose cell lies inside
                u1 = min(g.kernel_height, (g.height - 1 - row) // g.dilation[0] + 1)
                for q in range(g.out_width):
                    column = q * g.stride[1] - g.padding[1][0]
                    v0 = max(0, -(column // g.dilation[1]))
                    v1 = min(g.kernel_width, (g.width - 1 - column) // g.dilation[1] + 1)
                    total = flows[n, o, p, q]
                    for i in range(sources):
                        for u in range(u0, u1):
                            r = row + u * g.dilation[0]
                            for v in range(v0, v1):
                                c = column + v * g.dilation[1]
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


def forward(input, weight, bias, geometry, jobs):
    """Return the output, whatever the numbers; one job does it all (chapter "Choosing")."""
    output = np.empty(output_shape(geometry), input.dtype)
    output[:] = bias[:, np.newaxis, np.newaxis]
    meet(OUTPUT, input, weight, output, geometry)
    return output


def input_grad(weight, grad_output, geometry, jobs):
    """Return the learning flow, whatever the numbers (chapter "Choosing")."""
    grad_input = np.zeros(geometry[:4], weight.dtype)
    meet(INPUT, grad_input, weight, grad_output, geometry)
    return grad_input


def weight_grad(input, grad_output, geometry, jobs):
    """Return the gradient of the weights, whatever the numbers (chapter "Choosing")."""
    g = geometry
    size = g.out_channels, g.in_channels // g.groups, g.kernel_height, g.kernel_width
    grad_weight = np.zeros(size, input.dtype)
    meet(WEIGHT, input, grad_weight, grad_output, g)
    return grad_weight
