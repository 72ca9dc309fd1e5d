# Exported from chapters/ by tools/export.py: edit the chapter, not this file.
"""The formulas of the course as plain Python loops, in the order of their sums.

Slow, and easy to compare with the text: every faster version is tested against these
functions.
"""

import operator

import numpy as np

from convlib.shapes import check_bias, check_grad_output, conv2d_geometry, max_pool2d_geometry, output_shape

__all__ = ["neuron", "correlate2d", "conv2d", "conv2d_input_grad", "conv2d_weight_grad", "conv2d_bias_grad",
    "general_conv2d", "general_conv2d_input_grad", "general_conv2d_weight_grad", "relu", "relu_input_grad",
    "max_pool2d", "max_pool2d_input_grad"]


# Chapter "One kernel, one neuron" (chapters/one_kernel.ipynb)

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
        If `channel` or `kernel` does not have two axes.

    Notes
    -----
    Source: chapter "One kernel, one neuron", formula F01.
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
    if np.ma.is_masked(value):
        raise TypeError(f"{name}: expected numbers without a mask, got masked ones")
    array = np.asarray(value)
    if array.dtype.kind == "u":  # beside int64, NumPy would make floats of them
        if array.max(initial=0) >= 2**63:
            raise ValueError(f"{name}: expected numbers below 2**63, got {array.max()}")
        array = array.astype(np.int64)
    axes = [len(shape.strip("(,)").split(",")) for shape in shapes]
    if shapes and array.ndim not in axes:
        expected = " or ".join(shapes)
        raise ValueError(f"{name}: expected shape {expected}, got {array.shape}")
    return array


# Chapter "From grids to a layer" (chapters/the_layer.ipynb)

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
        If `channel` or `kernel` does not have two axes, or the kernel is larger than
        the padded channel.

    Notes
    -----
    Source: chapter "From grids to a layer", formula F02.
    """
    channel = _as_array("channel", channel, "(H, W)")
    kernel = _as_array("kernel", kernel, "(kh, kw)")
    rows, columns = _output_size(channel.shape, kernel.shape, padding)
    grid = np.empty((rows, columns), dtype=np.result_type(channel, kernel))
    for p in range(rows):
        for q in range(columns):
            grid[p, q] = neuron(channel, kernel, p, q, padding)
    return grid


def _output_size(input_size, weight_size, padding):
    """Rows and columns of the places where the kernel fits into the padded channel."""
    if isinstance(padding, bool) or not isinstance(padding, (int, np.integer)):
        raise TypeError(f"padding: expected an int, got {padding!r}")
    if padding < 0:
        raise ValueError(f"padding: expected 0 or more, got {padding}")
    grid, kernel = tuple(input_size[-2:]), tuple(weight_size[-2:])
    sizes = tuple(grid[axis] + 2 * padding - kernel[axis] + 1 for axis in range(2))
    if min(sizes) < 1 or min(kernel) < 1:
        raise ValueError(
            "kernel: expected at least 1 x 1 and at most the size of the padded grid, "
            f"got {kernel} for a grid of {grid} and padding {padding}"
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
    Source: chapter "From grids to a layer", formulas F03 and F04.
    """
    input, weight, bias = _check_conv2d(input, weight, bias)
    if input.ndim == 3:
        return conv2d(input[np.newaxis], weight, bias, padding=padding)[0]
    size = _output_size(input.shape, weight.shape, padding)
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


# Chapter "The learning flow" (chapters/learning_flow.ipynb)

def conv2d_input_grad(input_size, weight, grad_output, *, padding=0):
    """Compute the learning flow at the input of a convolution layer.

    Parameters
    ----------
    input_size : tuple of int
        Shape of the layer's input, (N, C, H, W) or (C, H, W).
    weight : array of shape (K, C, kh, kw)
        The kernels.
    grad_output : array of shape (N, K, H', W') or (K, H', W')
        The learning flow at the layer's output.
    padding : int
        Width of the ring of zeros around each channel in the forward pass.

    Returns
    -------
    array of shape `input_size`

    Raises
    ------
    ValueError
        If the shapes do not belong together.
    TypeError
        If a size or `padding` is not made of whole numbers.

    Notes
    -----
    Source: chapter "The learning flow", formula F12, in gather form.
    """
    weight = _as_array("weight", weight, "(K, C, kh, kw)")
    input_size = _as_size("input_size", input_size, "(N, C, H, W)", "(C, H, W)")
    grad_output = _check_grad_output(input_size, weight.shape, grad_output, padding)
    grad_input = np.zeros(input_size, dtype=_sum_dtype(weight, grad_output))
    weight = weight.astype(grad_input.dtype)
    batch, flows = _as_batch(grad_input), _as_batch(grad_output)
    for n in range(batch.shape[0]):
        for i in range(batch.shape[1]):
            for r in range(batch.shape[2]):
                for s in range(batch.shape[3]):
                    batch[n, i, r, s] = _gather(flows[n], weight[:, i], r, s, padding)
    return grad_input


def _gather(flow, kernels, r, s, padding):
    """The learning flow at input (r, s): the sums of F12 over o, u and v."""
    _, rows, columns = flow.shape
    total = 0
    for o in range(kernels.shape[0]):
        for u in range(kernels.shape[1]):
            for v in range(kernels.shape[2]):
                p, q = r + padding - u, s + padding - v
                if 0 <= p < rows and 0 <= q < columns:
                    total = total + flow[o, p, q] * kernels[o, u, v]
    return total


def _check_grad_output(input_size, weight_size, grad_output, padding):
    """The flow at the output as an array, if it has the shape of the output."""
    if input_size[-3] != weight_size[1]:
        raise ValueError(
            f"weight: expected {input_size[-3]} input channels on axis 1, "
            f"as in input_size {input_size}, got shape {weight_size}"
        )
    places = _output_size(input_size, weight_size, padding)
    expected = (*input_size[:-3], weight_size[0], *places)
    grad_output = _as_array("grad_output", grad_output)
    if grad_output.shape != expected:
        raise ValueError(
            f"grad_output: expected shape {expected}, the output's shape for input "
            f"{input_size}, weight {weight_size}, got {grad_output.shape}"
        )
    return grad_output


def _as_size(name, value, *shapes):
    """The shape as a tuple of int, if it has as many numbers as one of the `shapes`."""
    expected = f"{name}: expected whole numbers {' or '.join(shapes)}, got {value!r:.80}"
    try:
        size = tuple(operator.index(number) for number in value)
    except TypeError:
        raise TypeError(expected) from None
    if len(size) not in [shape.count(",") + 1 for shape in shapes]:
        raise ValueError(expected)
    return size


def _as_batch(array):
    """The array with four axes: one image becomes a batch of one."""
    return array if array.ndim == 4 else array[np.newaxis]


def _sum_dtype(*arrays):
    """The data type in which sums of products of these arrays are kept."""
    dtype = np.result_type(*arrays)
    return dtype if np.issubdtype(dtype, np.inexact) else np.dtype(np.int64)


# Chapter "The weights" (chapters/weights.ipynb)

def conv2d_weight_grad(input, weight_size, grad_output, *, padding=0):
    """Compute how the loss changes with each weight of a convolution layer.

    Parameters
    ----------
    input : array of shape (N, C, H, W) or (C, H, W)
        The layer's input.
    weight_size : tuple of int
        Shape of the kernels, (K, C, kh, kw).
    grad_output : array of shape (N, K, H', W') or (K, H', W')
        The learning flow at the layer's output.
    padding : int
        Width of the ring of zeros around each channel in the forward pass.

    Returns
    -------
    array of shape `weight_size`

    Raises
    ------
    ValueError
        If the shapes do not belong together.
    TypeError
        If a size or `padding` is not made of whole numbers.

    Notes
    -----
    Source: chapter "The weights", formula F18, added up over a batch.
    """
    input = _as_array("input", input, "(N, C, H, W)", "(C, H, W)")
    weight_size = _as_size("weight_size", weight_size, "(K, C, kh, kw)")
    grad_output = _check_grad_output(input.shape, weight_size, grad_output, padding)
    grad_weight = np.zeros(weight_size, dtype=_sum_dtype(input, grad_output))
    for image, flows in zip(_as_batch(input), _as_batch(grad_output), strict=True):
        for o in range(grad_weight.shape[0]):
            for i in range(grad_weight.shape[1]):
                channel = image[i].astype(grad_weight.dtype)
                grad_weight[o, i] += correlate2d(channel, flows[o], padding)
    return grad_weight


# Chapter "The biases and the update" (chapters/biases.ipynb)

def conv2d_bias_grad(grad_output):
    """Compute how the loss changes with each bias of a convolution layer.

    Parameters
    ----------
    grad_output : array of shape (N, K, H', W') or (K, H', W')
        The learning flow at the layer's output.

    Returns
    -------
    array of shape (K,)

    Raises
    ------
    ValueError
        If `grad_output` has neither three nor four axes.

    Notes
    -----
    Source: chapter "The biases and the update", formula F20, added up over a batch.
    """
    shapes = "(N, K, H, W)", "(K, H, W)"
    grad_output = _as_batch(_as_array("grad_output", grad_output, *shapes))
    batch, channels, rows, columns = grad_output.shape
    grad_bias = np.zeros(channels, dtype=_sum_dtype(grad_output))
    for n in range(batch):
        for o in range(channels):
            for p in range(rows):
                for q in range(columns):
                    grad_bias[o] += grad_output[n, o, p, q]
    return grad_bias


# Chapter "Stride, padding, dilation, groups" (chapters/general.ipynb)

def _line_meetings(places, kernel_size, size, S, P, D):
    """All (r, u, p) with r = p * S + u * D - P on the line."""
    return [
        (p * S + u * D - P, u, p)
        for p in range(places)
        for u in range(kernel_size)
        if 0 <= p * S + u * D - P < size
    ]


def _meetings(geometry):
    """The places (input cell, weight, output cell) of all products of a layer."""
    _, C, H, W, K, kh, kw, S, P, D, G, places_h, places_w = geometry
    rows = _line_meetings(places_h, kh, H, S[0], P[0][0], D[0])
    columns = _line_meetings(places_w, kw, W, S[1], P[1][0], D[1])
    for o in range(K):
        for j in range(C // G):
            i = o // (K // G) * (C // G) + j
            for r, u, p in rows:
                for s, v, q in columns:
                    # The dots stand for the images of a batch, if there is one.
                    yield (..., i, r, s), (o, j, u, v), (..., o, p, q)


def general_conv2d(input, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
    """Compute the output of a convolution layer with any settings.

    Parameters
    ----------
    input : array of shape (N, C, H, W) or (C, H, W)
        A batch of images, or one image; zeros outside.
    weight : array of shape (K, C / groups, kh, kw)
        The kernels.
    bias : array of shape (K,), optional
        One number for each output channel; none means zeros.
    stride, padding, dilation, groups
        The settings, in any spelling of `convlib.shapes.conv2d_geometry`.

    Returns
    -------
    array of shape (N, K, H', W') or (K, H', W')

    Raises
    ------
    ValueError, TypeError
        If the arguments do not belong together.

    Notes
    -----
    Source: chapter "Stride, padding, dilation, groups", the forward sum over the meetings.
    """
    input, weight = _as_array("input", input), _as_array("weight", weight)
    settings = stride, padding, dilation, groups
    geometry = conv2d_geometry(input.shape, weight.shape, *settings)
    bias = _as_array("bias", np.zeros(len(weight), weight.dtype) if bias is None else bias)
    check_bias(geometry, bias.shape)
    dtype = _sum_dtype(input, weight, bias)
    input, weight = input.astype(dtype), weight.astype(dtype)
    output = np.zeros(output_shape(geometry, input.ndim == 4), dtype)
    output += bias.astype(dtype)[:, np.newaxis, np.newaxis]
    for x, w, y in _meetings(geometry):
        output[y] += input[x] * weight[w]
    return output


def general_conv2d_input_grad(
    input_size, weight, grad_output, stride=1, padding=0, dilation=1, groups=1
):
    """Compute the learning flow at the input of a convolution layer with any settings.

    Parameters
    ----------
    input_size : tuple of int
        Shape of the layer's input, (N, C, H, W) or (C, H, W).
    weight : array of shape (K, C / groups, kh, kw)
        The kernels.
    grad_output : array of shape (N, K, H', W') or (K, H', W')
        The learning flow at the layer's output.
    stride, padding, dilation, groups
        The settings, in any spelling of `convlib.shapes.conv2d_geometry`.

    Returns
    -------
    array of shape `input_size`

    Raises
    ------
    ValueError, TypeError
        If the arguments do not belong together.

    Notes
    -----
    Source: chapter "Stride, padding, dilation, groups", the learning flow as a sum over the
    meetings.
    """
    weight = _as_array("weight", weight)
    grad_output = _as_array("grad_output", grad_output)
    settings = stride, padding, dilation, groups
    geometry = conv2d_geometry(input_size, weight.shape, *settings)
    check_grad_output(geometry, grad_output.shape, len(input_size) == 4)
    dtype = _sum_dtype(weight, grad_output)
    weight, grad_output = weight.astype(dtype), grad_output.astype(dtype)
    grad_input = np.zeros(input_size, dtype)
    for x, w, y in _meetings(geometry):
        grad_input[x] += weight[w] * grad_output[y]
    return grad_input


def general_conv2d_weight_grad(
    input, weight_size, grad_output, stride=1, padding=0, dilation=1, groups=1
):
    """Compute how the loss changes with each weight of a layer with any settings.

    Parameters
    ----------
    input : array of shape (N, C, H, W) or (C, H, W)
        The layer's input.
    weight_size : tuple of int
        Shape of the kernels, (K, C / groups, kh, kw).
    grad_output : array of shape (N, K, H', W') or (K, H', W')
        The learning flow at the layer's output.
    stride, padding, dilation, groups
        The settings, in any spelling of `convlib.shapes.conv2d_geometry`.

    Returns
    -------
    array of shape `weight_size`

    Raises
    ------
    ValueError, TypeError
        If the arguments do not belong together.

    Notes
    -----
    Source: chapter "Stride, padding, dilation, groups", the weights' sum over the meetings.
    """
    input, grad_output = _as_array("input", input), _as_array("grad_output", grad_output)
    settings = stride, padding, dilation, groups
    geometry = conv2d_geometry(input.shape, weight_size, *settings)
    check_grad_output(geometry, grad_output.shape, input.ndim == 4)
    dtype = _sum_dtype(input, grad_output)
    input, grad_output = input.astype(dtype), grad_output.astype(dtype)
    grad_weight = np.zeros(weight_size, dtype)
    for x, w, y in _meetings(geometry):
        grad_weight[w] += (input[x] * grad_output[y]).sum()
    return grad_weight


# Chapter "Layers and models" (chapters/layers.ipynb)

def relu(input):
    """Replace every number below 0 by 0.

    Parameters
    ----------
    input : array of any shape
        The numbers.

    Returns
    -------
    array of the shape of `input`
        NaN stays NaN.

    Notes
    -----
    Source: chapter "Layers and models", formula eq-relu.
    """
    input = _as_array("input", input)
    output = np.zeros(input.shape, dtype=_sum_dtype(input))
    for place in np.ndindex(*input.shape):
        output[place] = 0 if input[place] <= 0 else input[place]
    return output


def relu_input_grad(input, grad_output):
    """Compute the learning flow at the input of a ReLU.

    Parameters
    ----------
    input : array of any shape
        What the ReLU looked at.
    grad_output : array of the same shape
        The learning flow at its output.

    Returns
    -------
    array of the same shape

    Raises
    ------
    ValueError
        If the shapes differ.

    Notes
    -----
    Source: chapter "Layers and models", formula eq-relu-flow.
    """
    input, grad_output = _as_array("input", input), _as_array("grad_output", grad_output)
    if grad_output.shape != input.shape:
        raise ValueError(f"grad_output: expected shape {input.shape}, got {grad_output.shape}")
    grad_input = np.zeros(input.shape, dtype=_sum_dtype(grad_output))
    for place in np.ndindex(*input.shape):
        grad_input[place] = 0 if input[place] <= 0 else grad_output[place]
    return grad_input


def _window(p, size, kernel_size, stride, padding):
    """Along one axis: the cells of window p that do not lie outside."""
    start = p * stride - padding
    return range(max(start, 0), min(start + kernel_size, size))


def _winner(channel, rows, columns):
    """The place of the largest number in a window: the first of equals, or the last NaN."""
    best = rows[0], columns[0]
    for row in rows:
        for column in columns:
            number = channel[row, column]
            if number > channel[best] or number != number:  # only NaN is not itself
                best = row, column
    return best


def _winners(batch, geometry):
    """For each output (n, i, p, q): where its number stands, (n, i, row, column)."""
    g, winners = geometry, {}
    for n, i, p, q in np.ndindex(g.batch, g.channels, g.out_height, g.out_width):
        rows = _window(p, g.height, g.kernel_size[0], g.stride[0], g.padding[0])
        columns = _window(q, g.width, g.kernel_size[1], g.stride[1], g.padding[1])
        winners[n, i, p, q] = n, i, *_winner(batch[n, i], rows, columns)
    return winners


def max_pool2d(input, kernel_size, stride=None, padding=0):
    """Compute the output of a max pooling layer: the largest number of each window.

    Parameters
    ----------
    input : array of shape (N, C, H, W) or (C, H, W)
        A batch of images, or one image.
    kernel_size, stride, padding
        As in `shapes.max_pool2d_geometry`.

    Returns
    -------
    array of shape (N, C, H', W') or (C, H', W')
        NaN wins against every number; what lies outside never wins.

    Raises
    ------
    ValueError, TypeError
        If an argument cannot be used; the message names it.

    Notes
    -----
    Source: chapter "Layers and models", formula eq-max-pool.
    """
    input = _as_array("input", input, "(N, C, H, W)", "(C, H, W)")
    g = max_pool2d_geometry(input.shape, kernel_size, stride, padding)
    output = np.zeros((*input.shape[:-2], g.out_height, g.out_width), _sum_dtype(input))
    for place, winner in _winners(_as_batch(input), g).items():
        _as_batch(output)[place] = _as_batch(input)[winner]
    return output


def max_pool2d_input_grad(input, grad_output, kernel_size, stride=None, padding=0):
    """Compute the learning flow at the input of a max pooling layer.

    Parameters
    ----------
    input : array of shape (N, C, H, W) or (C, H, W)
        What the layer looked at.
    grad_output : array of shape (N, C, H', W') or (C, H', W')
        The learning flow at its output.
    kernel_size, stride, padding
        As in `shapes.max_pool2d_geometry`.

    Returns
    -------
    array of the shape of `input`

    Raises
    ------
    ValueError, TypeError
        If an argument cannot be used, or `grad_output` does not have the shape of the output.

    Notes
    -----
    Source: chapter "Layers and models", formula eq-max-pool-flow.
    """
    input = _as_array("input", input, "(N, C, H, W)", "(C, H, W)")
    g = max_pool2d_geometry(input.shape, kernel_size, stride, padding)
    grad_output = _as_array("grad_output", grad_output)
    expected = (*input.shape[:-2], g.out_height, g.out_width)
    if grad_output.shape != expected:
        raise ValueError(f"grad_output: expected shape {expected}, got {grad_output.shape}")
    grad_input = np.zeros(input.shape, dtype=_sum_dtype(grad_output))
    for place, winner in _winners(_as_batch(input), g).items():
        _as_batch(grad_input)[winner] += _as_batch(grad_output)[place]
    return grad_input
