"""What must come out: the three directions in float64, one matrix product for each place in the kernel.

The whole way back is both gradients together.

Short, and independent of everybody who is measured. Results are tuples of arrays: the weight direction has
two.
"""

import numpy as np


def results(case, data):
    """Return the exact results of a case, by direction."""
    data = type(data)(*(array.astype(np.float64) for array in data))
    found = {"forward": forward(case, data), "input_grad": input_grad(case, data),
             "weight_grad": weight_grad(case, data)}
    return {**found, "backward": found["input_grad"] + found["weight_grad"]}


def forward(case, data):
    source, weight = padded(case, data.input), grouped_weight(case, data.weight)
    images, filters, rows, columns = case.output_shape
    sums = np.zeros((images, case.groups, filters // case.groups, rows * columns))
    for u, v, window in windows(case):
        sums += weight[..., u, v] @ columns_of(source[window])
    return (sums.reshape(case.output_shape) + data.bias[:, np.newaxis, np.newaxis],)


def input_grad(case, data):
    target, weight = padded(case, np.zeros(case.input_shape)), grouped_weight(case, data.weight)
    flow = columns_of(by_group(case, data.grad_output))
    for u, v, window in windows(case):
        target[window] += (weight[..., u, v].swapaxes(1, 2) @ flow).reshape(target[window].shape)
    inside = (slice(ring, ring + side) for ring, side in zip(case.pairs[2], case.input_shape[2:], strict=True))
    return (target[(..., *inside)].reshape(case.input_shape),)


def weight_grad(case, data):
    source, flow = padded(case, data.input), columns_of(by_group(case, data.grad_output))
    grad = np.empty_like(grouped_weight(case, data.weight))
    for u, v, window in windows(case):
        grad[..., u, v] = (flow @ columns_of(source[window]).swapaxes(2, 3)).sum(axis=0)
    return grad.reshape(case.weight_shape), data.grad_output.sum(axis=(0, 2, 3))


def padded(case, images):
    """Return images with their ring of zeros, the channels split into groups."""
    ring = [(0, 0), (0, 0), *((ring, ring) for ring in case.pairs[2])]
    return by_group(case, np.pad(images, ring))


def by_group(case, images):
    return images.reshape(images.shape[0], case.groups, -1, *images.shape[2:])


def grouped_weight(case, weight):
    return weight.reshape(case.groups, -1, *weight.shape[1:])


def columns_of(images):
    """Return images with all their pixels along one axis."""
    return images.reshape(*images.shape[:3], -1)


def windows(case):
    """Yield each place (u, v) of the kernel, with the index of the padded pixels that it meets."""
    kernel, strides, _, dilations = case.pairs
    for place in np.ndindex(kernel):
        starts = (step * each for step, each in zip(dilations, place, strict=True))
        yield *place, (..., *(slice(start, start + (count - 1) * stride + 1, stride)
                              for start, count, stride in zip(starts, case.output_shape[2:], strides, strict=True)))
