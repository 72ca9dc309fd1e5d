# Exported from chapters/ by tools/export.py: edit the chapter, not this file.
"""Max pooling, compiled: one plane after the other.

Chapter "Layers and models" builds this module. An index counts the cells of a plane row by
row, as in PyTorch.
"""

from convlib.kernels.simd import compiled

__all__ = ["max_pool2d", "max_pool2d_input_grad"]


# Chapter "Layers and models" (chapters/layers.ipynb)

@compiled
def max_pool2d(job, jobs, planes, kernel_size, stride, padding, output, indices, workspace):
    """Find the largest number of each window, in one job's share of the planes.

    Notes
    -----
    Source: chapter "Layers and models", formula eq-max-pool.
    """
    count, height, width = planes.shape
    for i in range(count * job // jobs, count * (job + 1) // jobs):
        for p in range(output.shape[1]):
            top = p * stride[0] - padding[0]
            first, last = max(top, 0), min(top + kernel_size[0], height)
            for q in range(output.shape[2]):
                left = q * stride[1] - padding[1]
                start, end = max(left, 0), min(left + kernel_size[1], width)
                best, index = planes[i, first, start], first * width + start
                for row in range(first, last):
                    for column in range(start, end):
                        number = planes[i, row, column]
                        if number > best or number != number:  # the latter: NaN
                            best, index = number, row * width + column
                output[i, p, q], indices[i, p, q] = best, index


@compiled
def max_pool2d_input_grad(job, jobs, indices, grad_output, grad_input, workspace):
    """Add each flow to the cell that won, in one job's share of the planes.

    Notes
    -----
    Source: chapter "Layers and models", formula eq-max-pool-flow.
    """
    count, places = indices.shape
    for i in range(count * job // jobs, count * (job + 1) // jobs):
        grad_input[i] = 0
        for place in range(places):
            grad_input[i, indices[i, place]] += grad_output[i, place]
