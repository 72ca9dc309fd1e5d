# Exported from chapters/ by tools/export.py: edit the chapter, not this file.
"""Images of one pixel: a layer is then one product of matrices with a few rows.

Chapter "A channel by itself" builds this module.
"""

import numpy as np

from convlib.kernels import weights
from convlib.kernels.tuning import EACH, SMALL
from convlib.places import CHAIN

__all__ = ["suits", "forward", "input_grad", "weight_grad"]


# Chapter "A channel by itself" (chapters/alone.ipynb)

def suits(geometry, dtype):
    """Whether a layer is a product of rows, in sums for BLAS (chapter "A channel by itself")."""
    g, (_, middle, largest) = geometry, sorted((geometry.batch, geometry.in_channels, geometry.out_channels))
    sizes = g.height, g.width, g.kernel_height, g.kernel_width, g.out_height, g.out_width, g.groups
    # A matrix of a single number would only scale the other one, and BLAS may leave out a factor of zero.
    return 1 < middle <= largest <= CHAIN and sizes == (1,) * 7 and g.padding == ((0, 0), (0, 0))


def forward(input, weight, bias, geometry, jobs):
    """Return the output (chapter "A channel by itself")."""
    images, rows = input.reshape(len(input), -1), weight.reshape(len(weight), -1)
    count, depth = images.shape
    with np.errstate(over="ignore", invalid="ignore"):
        if images.size * len(rows) <= SMALL:
            output = np.dot(images, rows.T)
        elif count <= EACH:
            output = np.matmul(rows, images[:, :, np.newaxis])[:, :, 0]
        else:  # the bits would depend on BLAS's threads
            line = {"batch": 1, "in_channels": len(rows), "out_channels": count, "width": depth, "out_width": depth}
            output = weights.weight_grad(rows, images, geometry._replace(**line), jobs).reshape(count, -1)
        output += bias
    return output.reshape(*output.shape, 1, 1)


def input_grad(weight, grad_output, geometry, jobs):
    """Return the learning flow (chapter "A channel by itself")."""
    flow, rows = grad_output.reshape(len(grad_output), -1), weight.reshape(len(weight), -1)
    return np.dot(flow, rows).reshape(geometry[:4])


def weight_grad(input, grad_output, geometry, jobs):
    """Return the gradient of the weights (chapter "A channel by itself")."""
    flow, images = grad_output.reshape(len(grad_output), -1), input.reshape(len(input), -1)
    return np.dot(flow.T, images).reshape(*geometry[4:5], *geometry[1:2], 1, 1)
