# Exported from chapters/ by tools/export.py: edit the chapter, not this file.
"""The layer and its gradients in NumPy alone: one product of matrices for each tap.

convlib uses these functions where Numba does not exist. They check nothing: `geometry`
comes from `convlib.shapes.conv2d_geometry`, and the arrays are as it says.
"""

import numpy as np

__all__ = ["conv2d", "conv2d_input_grad", "conv2d_weight_grad", "suits", "forward", "input_grad", "weight_grad",
    "ADDED", "bias_grad"]


# Chapter "From loops to machine code" (chapters/machine_code.ipynb)

def _meeting(shift, stride, size, places):
    """Along one axis: the cells place * stride + shift of the grid, and their places."""
    first = max(0, -(shift // stride))  # the first place whose cell is not below 0
    last = min(places, (size - 1 - shift) // stride + 1)
    count = max(0, last - first)
    start = first * stride + shift
    return slice(start, start + count * stride, stride), slice(first, first + count)


def _meetings(u, v, geometry):
    """The cells that tap (u, v) sees, and the output places that see them."""
    g = geometry
    shifts = u * g.dilation[0] - g.padding[0][0], v * g.dilation[1] - g.padding[1][0]
    rows, output_rows = _meeting(shifts[0], g.stride[0], g.height, g.out_height)
    columns, output_columns = _meeting(shifts[1], g.stride[1], g.width, g.out_width)
    return (..., rows, columns), (..., output_rows, output_columns)


def _by_group(array, groups):
    """From (N, C, H, W) to (N, groups, C / groups, H, W)."""
    N, C, H, W = array.shape
    return array.reshape(N, groups, C // groups, H, W)


def _by_tap(weight, groups):
    """From (K, C / groups, kh, kw) to a new (kh, kw, groups, K / groups, C / groups)."""
    K, C, kh, kw = weight.shape
    taps = weight.reshape(groups, K // groups, C, kh, kw).transpose(3, 4, 0, 1, 2)
    return np.ascontiguousarray(taps)


def _columns(array):
    """The places of each image as columns: (N, groups, channels, H * W)."""
    *front, H, W = array.shape
    return array.reshape(*front, H * W)


def _blocks(geometry):
    """The batch in slices, so short that their products need little memory."""
    channels = max(geometry.in_channels, geometry.out_channels)
    places = geometry.out_height * geometry.out_width
    step = max(1, 2**17 // (channels * places))
    return [slice(n, n + step) for n in range(0, geometry.batch, step)]


_QUIET = {"invalid": "ignore", "over": "ignore"}  # infinity is no reason to warn


def conv2d(input, weight, bias, geometry):
    """Compute the output of a convolution layer, tap by tap.

    Parameters
    ----------
    input : array of shape (N, C, H, W)
        The images.
    weight : array of shape (K, C / groups, kh, kw)
        The kernels.
    bias : array of shape (K,), or None
        One number for each output channel; None means zeros.
    geometry : convlib.shapes.Geometry
        The sizes and settings; nothing is checked here.

    Returns
    -------
    array of shape (N, K, H', W')
        In the data type in which NumPy adds up the arguments.

    Notes
    -----
    Source: chapter "From loops to machine code", one product of matrices for each tap.
    """
    bias = np.zeros(len(weight), weight.dtype) if bias is None else bias
    kernels = _by_tap(weight, geometry.groups)
    shape = len(input), len(weight), geometry.out_height, geometry.out_width
    output = np.zeros(shape, np.result_type(input, weight, bias))
    grid, sums = (_by_group(each, geometry.groups) for each in (input, output))
    with np.errstate(**_QUIET):
        for images in _blocks(geometry):
            for u, v in np.ndindex(kernels.shape[:2]):
                cells, places = _meetings(u, v, geometry)
                target = sums[images][places]
                products = kernels[u, v] @ _columns(grid[images][cells])
                target += products.reshape(target.shape)
        output += bias[:, np.newaxis, np.newaxis]
    return output


def conv2d_input_grad(weight, grad_output, geometry):
    """Compute the learning flow at the input of a convolution layer, tap by tap.

    Parameters
    ----------
    weight : array of shape (K, C / groups, kh, kw)
        The kernels.
    grad_output : array of shape (N, K, H', W')
        The learning flow at the layer's output.
    geometry : convlib.shapes.Geometry
        The sizes and settings; nothing is checked here.

    Returns
    -------
    array of shape (N, C, H, W)

    Notes
    -----
    Source: chapter "From loops to machine code", one product of matrices for each tap.
    """
    kernels = _by_tap(weight, geometry.groups).swapaxes(-1, -2)
    grad_input = np.zeros(geometry[:4], np.result_type(weight, grad_output))
    flow, sums = (_by_group(each, geometry.groups) for each in (grad_output, grad_input))
    with np.errstate(**_QUIET):
        for images in _blocks(geometry):
            for u, v in np.ndindex(kernels.shape[:2]):
                cells, places = _meetings(u, v, geometry)
                target = sums[images][cells]
                products = kernels[u, v] @ _columns(flow[images][places])
                target += products.reshape(target.shape)
    return grad_input


def conv2d_weight_grad(input, grad_output, geometry):
    """Compute how the loss changes with each weight of a convolution layer, tap by tap.

    Parameters
    ----------
    input : array of shape (N, C, H, W)
        The images.
    grad_output : array of shape (N, K, H', W')
        The learning flow at the layer's output.
    geometry : convlib.shapes.Geometry
        The sizes and settings; nothing is checked here.

    Returns
    -------
    array of shape (K, C / groups, kh, kw)

    Notes
    -----
    Source: chapter "From loops to machine code", one product of matrices for each tap.
    """
    groups, C, K = geometry.groups, geometry.in_channels, geometry.out_channels
    kh, kw = geometry.kernel_height, geometry.kernel_width
    grid, flow = (_by_group(each, groups) for each in (input, grad_output))
    dtype = np.result_type(input, grad_output)
    grad_weight = np.zeros((groups, K // groups, C // groups, kh, kw), dtype)
    with np.errstate(**_QUIET):
        for images in _blocks(geometry):
            for u, v in np.ndindex(kh, kw):
                cells, places = _meetings(u, v, geometry)
                seen = _columns(grid[images][cells]).swapaxes(-1, -2)
                products = _columns(flow[images][places]) @ seen
                grad_weight[..., u, v] += products.sum(axis=0)
    return grad_weight.reshape(K, C // groups, kh, kw)


# Chapter "One function for every layer" (chapters/one_function.ipynb)

def suits(geometry, dtype):
    """Tell whether NumPy can compute a layer: always.

    Source: chapter "One function for every layer".
    """
    return True


def forward(input, weight, bias, geometry, jobs):
    """Return the output; one job does it all (chapter "One function for every layer")."""
    return conv2d(input, weight, bias, geometry)


def input_grad(weight, grad_output, geometry, jobs):
    """Return the learning flow; one job does it all.

    Source: chapter "One function for every layer".
    """
    return conv2d_input_grad(weight, grad_output, geometry)


def weight_grad(input, grad_output, geometry, jobs):
    """Return the gradient of the weights; one job does it all.

    Source: chapter "One function for every layer".
    """
    return conv2d_weight_grad(input, grad_output, geometry)


ADDED = 2**12  # so many numbers of a channel are added up in float32, and no more


def bias_grad(grad_output, jobs):
    """Return the gradient of the biases, a plain sum; one job does it all.

    Source: chapter "One function for every layer".
    """
    batch, count, height, width = grad_output.shape
    channels = grad_output.reshape(batch, count, height * width)
    if batch == 1 and height * width <= ADDED:  # nothing is added twice
        return np.einsum("kp->k", channels[0])
    wide = np.float64 if grad_output.dtype.kind == "f" else grad_output.dtype
    pieces = (channels[:, :, first : first + ADDED] for first in range(0, height * width, ADDED))
    with np.errstate(**_QUIET):  # images, too, may be many: their sums are added in float64
        sums = [np.add.reduce(np.einsum("nkp->nk", piece), 0, wide) for piece in pieces]
        total = sums[0] if len(sums) == 1 else np.sum(sums or [np.zeros(count, wide)], 0)
        return total.astype(channels.dtype)
