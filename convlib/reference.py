# Exported from chapters/ by tools/export.py: edit the chapter, not this file.
"""The formulas of the course as plain Python loops, in the order of their sums.

Slow, and easy to compare with the text: every faster version is tested against these
functions.
"""

import numpy as np

__all__ = ["neuron", "correlate2d", "conv2d"]


# Chapter "One kernel, one neuron" (chapters/01_one_kernel.ipynb)

def neuron(channel, kernel, p, q, padding=0):
    """Compute one temporary neuron: the sum of a kernel times the neurons it covers.

    Parameters
    ----------
    channel : array of shape (H, W)
        The grid the kernel looks at; zeros outside.
    kernel : array of shape (kh, kw)
        The weights.
    p, q : int
        Its place: `kernel[0, 0]` lies on `channel[p - padding, q - padding]`.
    padding : int
        Width of the ring of zeros around the channel.

    Returns
    -------
    number

    Raises
    ------
    ValueError
        If `channel` or `kernel` has not two axes.

    Notes
    -----
    Source: Chapter 1, formula F01.
    """
    channel = _as_array("channel", channel, "(H, W)")
    kernel = _as_array("kernel", kernel, "(kh, kw)")
    total = 0
    for u in range(kernel.shape[0]):
        for v in range(kernel.shape[1]):
            row, column = p + u - padding, q + v - padding
            if 0 <= row < channel.shape[0] and 0 <= column < channel.shape[1]:
                total = total + channel[row, column] * kernel[u, v]
    return total


def _as_array(name, value, *shapes):
    """The argument as an array, if it has as many axes as one of the `shapes`."""
    array = np.asarray(value)
    if array.ndim not in [len(shape.strip("(,)").split(",")) for shape in shapes]:
        expected = " or ".join(shapes)
        raise ValueError(f"{name}: expected shape {expected}, got {array.shape}")
    return array


# Chapter "From grids to a layer" (chapters/02_the_layer.ipynb)

def correlate2d(channel, kernel, padding=0):
    """Apply one kernel to one channel: the grid of all its temporary neurons.

    Parameters
    ----------
    channel : array of shape (H, W)
        The grid the kernel looks at; zeros outside.
    kernel : array of shape (kh, kw)
        The weights.
    padding : int
        Width of the ring of zeros around the channel.

    Returns
    -------
    array of shape (H + 2 * padding - kh + 1, W + 2 * padding - kw + 1)

    Raises
    ------
    ValueError
        If `channel` or `kernel` has not two axes, or the kernel is larger than the
        padded channel.

    Notes
    -----
    Source: Chapter 2, formula F02.
    """
    channel = _as_array("channel", channel, "(H, W)")
    kernel = _as_array("kernel", kernel, "(kh, kw)")
    rows, columns = _output_size(channel, kernel, padding)
    grid = np.empty((rows, columns), dtype=np.result_type(channel, kernel))
    for p in range(rows):
        for q in range(columns):
            grid[p, q] = neuron(channel, kernel, p, q, padding)
    return grid


def _output_size(channel, kernel, padding):
    """Rows and columns of the places where the kernel fits into the padded channel."""
    if isinstance(padding, bool) or not isinstance(padding, (int, np.integer)):
        raise TypeError(f"padding: expected an int, got {padding!r}")
    if padding < 0:
        raise ValueError(f"padding: expected 0 or more, got {padding}")
    sizes = tuple(channel.shape[axis] + 2 * padding - kernel.shape[axis] + 1
                  for axis in (-2, -1))
    if min(sizes) < 1 or min(kernel.shape[-2:]) < 1:
        raise ValueError(
            "kernel: expected at least 1 x 1 and at most the size of the padded grid, "
            f"got {kernel.shape[-2:]} for {channel.shape[-2:]} and padding {padding}"
        )
    return sizes


def conv2d(input, weight, bias=None, *, padding=0):
    """Compute the output of a convolution layer.

    Parameters
    ----------
    input : array of shape (N, C, H, W) or (C, H, W)
        A batch of N images, or one image, with C input channels; zeros outside.
    weight : array of shape (K, C, kh, kw)
        The kernels: K output channels, C input channels.
    bias : array of shape (K,), optional
        One number for each output channel; none means zeros.
    padding : int
        Width of the ring of zeros around each channel.

    Returns
    -------
    array of shape (N, K, H + 2 * padding - kh + 1, W + 2 * padding - kw + 1), or
    without N
        Integers are summed as int64; otherwise the data type is NumPy's common type of
        the arguments.

    Raises
    ------
    ValueError
        If an argument has the wrong shape, the channels of `input` and `weight` differ,
        or the kernel is larger than the padded image.
    TypeError
        If `padding` is not an int.

    Notes
    -----
    Source: Chapter 2, formulas F03 and F04.
    """
    input, weight, bias = _check_conv2d(input, weight, bias)
    if input.ndim == 3:
        return conv2d(input[np.newaxis], weight, bias, padding=padding)[0]
    size = _output_size(input, weight, padding)
    output = np.zeros((input.shape[0], weight.shape[0], *size), dtype=input.dtype)
    for n in range(input.shape[0]):
        for o in range(weight.shape[0]):
            for i in range(weight.shape[1]):
                output[n, o] += correlate2d(input[n, i], weight[o, i], padding)
            output[n, o] += bias[o]
    return output


def _check_conv2d(input, weight, bias):
    """The arguments as arrays of one data type, if their shapes belong together."""
    input = _as_array("input", input, "(N, C, H, W)", "(C, H, W)")
    weight = _as_array("weight", weight, "(K, C, kh, kw)")
    if weight.shape[1] != input.shape[-3]:
        raise ValueError(
            f"weight: expected {input.shape[-3]} input channels on axis 1, "
            f"as in input of shape {input.shape}, got shape {weight.shape}"
        )
    bias = np.zeros(len(weight), weight.dtype) if bias is None else bias
    bias = _as_array("bias", bias, "(K,)")
    if bias.shape != weight.shape[:1]:
        raise ValueError(
            f"bias: expected shape {weight.shape[:1]}, "
            f"as in weight of shape {weight.shape}, got {bias.shape}"
        )
    dtype = np.result_type(input, weight, bias)
    if not np.issubdtype(dtype, np.inexact):
        dtype = np.int64
    return input.astype(dtype), weight.astype(dtype), bias.astype(dtype)
