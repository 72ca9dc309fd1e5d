# Exported from chapters/ by tools/export.py: edit the chapter, not this file.
"""Windows that tile the picture: once it is rearranged, it is a layer of one tap.

Chapter "Back through the product" builds this module.
"""

import numpy as np

from convlib.kernels import product, scatter, weights

__all__ = ["suits", "forward", "input_grad", "weight_grad"]


# Chapter "Back through the product" (chapters/back.ipynb)

def suits(geometry, dtype):
    """Whether windows stand side by side, inside (chapter "Back through the product")."""
    g = geometry
    side_by_side = (g.kernel_height, g.kernel_width) == g.stride != (1, 1)
    return (side_by_side and g.dilation == (1, 1) and g.padding == ((0, 0), (0, 0))
            and g.groups == 1 and product.suits(g, dtype))  # fmt: skip


def _one_tap(g):
    """The layer of one tap, with a channel for each tap of each channel."""
    channels = g.in_channels * g.kernel_height * g.kernel_width
    return g._replace(in_channels=channels, height=g.out_height, width=g.out_width,
                      kernel_height=1, kernel_width=1, stride=(1, 1))  # fmt: skip


def _patches(images, g):
    """A view of whole windows: image, channel, tap (row, column), window (row, column)."""
    rows, columns = g.out_height * g.kernel_height, g.out_width * g.kernel_width
    size = g.batch, g.in_channels, g.out_height, g.kernel_height, g.out_width, g.kernel_width
    return images[:, :, :rows, :columns].reshape(size).transpose(0, 1, 3, 5, 2, 4)


def _pixels(images, g):
    """The windows as pixels, with all their cells as channels."""
    return np.ascontiguousarray(_patches(images, g)).reshape(_one_tap(g)[:4])


def forward(input, weight, bias, geometry, jobs):
    """The output (chapter "Back through the product")."""
    return product.forward(_pixels(input, geometry), weight, bias, _one_tap(geometry), jobs)


def input_grad(weight, grad_output, geometry, jobs):
    """The learning flow (chapter "Back through the product")."""
    g = geometry
    flow = scatter.input_grad(weight, grad_output, _one_tap(g), jobs)
    if flow is None:
        return None
    grad = np.zeros(g[:4], flow.dtype)
    into = _patches(grad, g)
    into[...] = flow.reshape(into.shape)
    return grad


def weight_grad(input, grad_output, geometry, jobs):
    """The gradient of the weights (chapter "Back through the product")."""
    grad = weights.weight_grad(_pixels(input, geometry), grad_output, _one_tap(geometry), jobs)
    size = geometry.kernel_height, geometry.kernel_width
    return grad if grad is None else grad.reshape(-1, geometry.in_channels, *size)
