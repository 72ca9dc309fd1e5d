"""What must come out: the three directions in float64, one matrix product for each place in the kernel.

Short, and independent of everybody who is measured. Results are tuples of arrays: the weight direction has
two.
"""

import numpy as np


def results(case, data):
    """Return the exact results of a case, by direction."""
    data = type(data)(*(array.astype(np.float64) for array in data))
    return {"forward": forward(case, data), "input_grad": input_grad(case, data),
            "weight_grad": weight_grad(case, data)}


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
    inside = (slice(case.padding, case.padding + side) for side in (case.height, case.width))
    return (target[(..., *inside)].reshape(case.input_shape),)


def weight_grad(case, data):
    source, flow = padded(case, data.input), columns_of(by_group(case, data.grad_output))
    grad = np.empty_like(grouped_weight(case, data.weight))
    for u, v, window in windows(case):
        grad[..., u, v] = (flow @ columns_of(source[window]).swapaxes(2, 3)).sum(axis=0)
    return grad.reshape(case.weight_shape), data.grad_output.sum(axis=(0, 2, 3))


def padded(case, images):
    """Return images with their ring of zeros, the channels split into groups."""
    ring = [(0, 0), (0, 0), *[(case.padding, case.padding)] * 2]
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
    rows, columns = case.output_shape[2:]
    for u, v in np.ndindex(case.kernel, case.kernel):
        yield u, v, (..., slice(u, u + (rows - 1) * case.stride + 1, case.stride),
                     slice(v, v + (columns - 1) * case.stride + 1, case.stride))
