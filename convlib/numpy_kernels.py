# Exported from chapters/ by tools/export.py: edit the chapter, not this file.
"""The layer and its gradients in NumPy alone: one product of matrices for each tap.

convlib uses these functions where Numba does not exist. They check nothing: `geometry`
comes from `convlib.shapes.conv2d_geometry`, and the arrays are as it says.
"""

import numpy as np

__all__ = [
    "conv2d",
    "conv2d_input_grad",
    "conv2d_weight_grad",
    "suits",
    "forward",
    "input_grad",
    "weight_grad",
]


# Chapter "From loops to machine code" (chapters/09_machine_code.ipynb)

def _seen(padded, u, v, geometry):
    """The cells that tap (u, v) sees, one for each output place: a view."""
    (sh, sw), (dh, dw) = geometry.stride, geometry.dilation
    top, left = u * dh, v * dw
    bottom = top + sh * (geometry.out_height - 1) + 1
    right = left + sw * (geometry.out_width - 1) + 1
    return padded[..., top:bottom:sh, left:right:sw]


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
    Source: Chapter 9, one product of matrices for each tap.
    """
    bias = np.zeros(len(weight), weight.dtype) if bias is None else bias
    padded = np.pad(input, ((0, 0), (0, 0), *geometry.padding))
    padded = _by_group(padded, geometry.groups)
    kernels = _by_tap(weight, geometry.groups)
    shape = len(input), len(weight), geometry.out_height, geometry.out_width
    output = np.zeros(shape, np.result_type(input, weight, bias))
    sums = _columns(_by_group(output, geometry.groups))
    for images in _blocks(geometry):
        for u, v in np.ndindex(kernels.shape[:2]):
            seen = _seen(padded[images], u, v, geometry)
            sums[images] += kernels[u, v] @ _columns(seen)
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
    Source: Chapter 9, one product of matrices for each tap.
    """
    (top, bottom), (left, right) = geometry.padding
    N, C, H, W = geometry[:4]
    shape = N, C, top + H + bottom, left + W + right
    padded = np.zeros(shape, np.result_type(weight, grad_output))
    told = _by_group(padded, geometry.groups)
    kernels = _by_tap(weight, geometry.groups).swapaxes(-1, -2)
    flow = _columns(_by_group(grad_output, geometry.groups))
    for images in _blocks(geometry):
        for u, v in np.ndindex(kernels.shape[:2]):
            seen = _seen(told[images], u, v, geometry)
            seen += (kernels[u, v] @ flow[images]).reshape(seen.shape)
    return np.ascontiguousarray(padded[:, :, top : top + H, left : left + W])


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
    Source: Chapter 9, one product of matrices for each tap.
    """
    groups, C, K = geometry.groups, geometry.in_channels, geometry.out_channels
    kh, kw = geometry.kernel_height, geometry.kernel_width
    padded = np.pad(input, ((0, 0), (0, 0), *geometry.padding))
    padded = _by_group(padded, groups)
    flow = _columns(_by_group(grad_output, groups))
    dtype = np.result_type(input, grad_output)
    grad_weight = np.zeros((groups, K // groups, C // groups, kh, kw), dtype)
    for images in _blocks(geometry):
        for u, v in np.ndindex(kh, kw):
            seen = _columns(_seen(padded[images], u, v, geometry)).swapaxes(-1, -2)
            grad_weight[..., u, v] += (flow[images] @ seen).sum(axis=0)
    return grad_weight.reshape(K, C // groups, kh, kw)


# Chapter "Choosing" (chapters/14_choosing.ipynb)

def suits(geometry, dtype):
    """Tell whether NumPy can compute a layer: always (Chapter 14)."""
    return True


def forward(input, weight, bias, geometry, jobs):
    """Return the output, or None if a weight is not finite (Chapter 14)."""
    if not np.isfinite(weight).all():  # it would meet the zeros of the padding
        return None
    return conv2d(input, weight, bias, geometry)


def input_grad(weight, grad_output, geometry, jobs):
    """Return the learning flow, or None if a weight is not finite (Chapter 14)."""
    if not np.isfinite(weight).all():
        return None
    return conv2d_input_grad(weight, grad_output, geometry)


def weight_grad(input, grad_output, geometry, jobs):
    """Return the gradient of the weights, or None if the flow is not finite (Chapter 14)."""
    if not np.isfinite(grad_output).all():
        return None
    return conv2d_weight_grad(input, grad_output, geometry)
