# Exported from chapters/ by tools/export.py: edit the chapter, not this file.
"""Few places: one product of matrices for each place of the output.

Chapter "One function for every layer" builds this module. It needs NumPy alone. The order of
the sums is that of NumPy's products: the same call gives the same bits, whatever the number of
convlib's threads.
"""

import numpy as np

from convlib.numpy_kernels import _QUIET, _by_group, _meeting

__all__ = ["CHAIN", "suits", "forward", "input_grad", "weight_grad"]


# Chapter "One function for every layer" (chapters/one_function.ipynb)

CHAIN = 2**14  # so many products are added up in float32, and no more


def suits(geometry, dtype):
    """Tell whether a layer has no more places than taps.

    Source: chapter "One function for every layer".
    """
    g = geometry
    return g.out_height * g.out_width <= g.kernel_height * g.kernel_width


def _seen(p, q, geometry):
    """The cells that place (p, q) sees, and the taps that see them."""
    g = geometry
    starts = p * g.stride[0] - g.padding[0][0], q * g.stride[1] - g.padding[1][0]
    rows, down = _meeting(starts[0], g.dilation[0], g.height, g.kernel_height)
    columns, across = _meeting(starts[1], g.dilation[1], g.width, g.kernel_width)
    return (..., rows, columns), (..., down, across)


def _add(total, size, place, numbers):
    """Add numbers at a place; the first ones that fill everything are the total."""
    if total is None and numbers.shape == size:
        return numbers
    total = np.zeros(size, numbers.dtype) if total is None else total
    total[place] += numbers
    return total


def forward(input, weight, bias, geometry, jobs):
    """Return the output, place by place (chapter "One function for every layer")."""
    g = geometry
    grid, kernels = _by_group(input, g.groups), _by_kernel(weight, g.groups)
    output = np.empty((g.batch, g.out_channels, g.out_height, g.out_width), input.dtype)
    with np.errstate(**_QUIET):
        for p, q in np.ndindex(g.out_height, g.out_width):
            cells, taps = _seen(p, q, g)
            seen = _in_rows(grid[cells], 2).swapaxes(0, 1)
            products = _product(seen, _in_rows(kernels[taps], 2).swapaxes(1, 2))
            output[:, :, p, q] = products.swapaxes(0, 1).reshape(g.batch, -1) + bias
    return output


def _in_rows(array, axes):
    """The last axes of an array made one."""
    return array.reshape(*array.shape[:axes], -1)


def _product(left, right):
    """A product of matrices; in float32, sums of sums that are not too long."""
    length = left.shape[-1]
    if left.dtype != np.float32 or length <= CHAIN:
        return left @ right
    total = 0
    for first in range(0, length, CHAIN):
        some = slice(first, first + CHAIN)
        total = total + (left[..., some] @ right[..., some, :]).astype(np.float64)
    return total.astype(left.dtype)


def _by_kernel(weight, groups):
    """From (K, C / groups, kh, kw) to (groups, K / groups, C / groups, kh, kw)."""
    return weight.reshape(groups, -1, *weight.shape[1:])


def input_grad(weight, grad_output, geometry, jobs):
    """Return the learning flow, place by place (chapter "One function for every layer")."""
    g, total = geometry, None
    kernels, flow = _by_kernel(weight, g.groups), _by_group(grad_output, g.groups)
    size = g.batch, g.groups, g.in_channels // g.groups, g.height, g.width
    with np.errstate(**_QUIET):
        for p, q in np.ndindex(g.out_height, g.out_width):
            cells, taps = _seen(p, q, g)
            some = kernels[taps]
            here = np.ascontiguousarray(flow[..., p, q]).swapaxes(0, 1)
            products = _product(here, _in_rows(some, 2))
            products = products.swapaxes(0, 1).reshape(*size[:3], *some.shape[3:])
            total = _add(total, size, cells, products)
    return np.ascontiguousarray(total.reshape(g[:4]))


def weight_grad(input, grad_output, geometry, jobs):
    """Return the gradient of the weights, place by place.

    Source: chapter "One function for every layer".
    """
    g, total = geometry, None
    grid, flow = _by_group(input, g.groups), _by_group(grad_output, g.groups)
    channels = g.groups, g.out_channels // g.groups, g.in_channels // g.groups
    size = *channels, g.kernel_height, g.kernel_width
    with np.errstate(**_QUIET):
        for p, q in np.ndindex(g.out_height, g.out_width):
            cells, taps = _seen(p, q, g)
            seen = grid[cells]
            here = np.ascontiguousarray(flow[..., p, q]).transpose(1, 2, 0)
            products = _product(here, _in_rows(seen, 2).swapaxes(0, 1))
            products = products.reshape(*channels, *seen.shape[3:])
            total = _add(total, size, taps, products)
    return total.reshape(g.out_channels, *size[2:])
