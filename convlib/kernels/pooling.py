# Exported from chapters/ by tools/export.py: edit the chapter, not this file.
"""Max pooling, compiled: one channel after the other.

Chapter "Layers and models" builds this module. An index counts the cells of a channel row by row, as in PyTorch.
"""

from convlib.kernels.simd import compiled

__all__ = ["max_pool2d", "max_pool2d_input_grad"]


# Chapter "Layers and models" (chapters/layers.ipynb)

@compiled
def max_pool2d(job, jobs, channels, window, output, indices, workspace):
    """Find the largest number of each window (chapter "Layers and models", formula eq-max-pool)."""
    kernel_size, stride, padding = window
    count, height, width = channels.shape
    for i in range(count * job // jobs, count * (job + 1) // jobs):
        for p in range(output.shape[1]):
            top = p * stride[0] - padding[0]
            first, last = max(top, 0), min(top + kernel_size[0], height)
            for q in range(output.shape[2]):
                left = q * stride[1] - padding[1]
                start, end = max(left, 0), min(left + kernel_size[1], width)
                best, index = channels[i, first, start], first * width + start
                for row in range(first, last):
                    for column in range(start, end):
                        number = channels[i, row, column]
                        if number > best or number != number:  # only NaN is not itself
                            best, index = number, row * width + column
                output[i, p, q], indices[i, p, q] = best, index


@compiled
def max_pool2d_input_grad(job, jobs, indices, grad_output, grad_input, workspace):
    """Add each flow to the cell that has won (chapter "Layers and models", formula eq-max-pool-flow)."""
    count, places = indices.shape
    for i in range(count * job // jobs, count * (job + 1) // jobs):
        for place in range(places):
            grad_input[i, indices[i, place]] += grad_output[i, place]
