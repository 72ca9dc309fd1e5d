# Exported from chapters/ by tools/export.py: edit the chapter, not this file.
"""Large kernels: the layer as a product of values at many points (FFT).

Chapter "Choosing" builds this module. It needs NumPy alone.

The error at a result is bounded by the whole image: by 16 e A B (measured against float64,
on hostile numbers, too; in theory it grows with the logarithm of the points and with the
channels). e is 2**-24 or 2**-53; A is the root of the sum of squares of an image's group of
channels, B that of the second factor, a kernel or a channel's flow. Where A B is more
than `ranges.RANGE` times the largest number that a result reads, times the sum of the sizes of
what it is multiplied with, the functions return None. A result at the rim that reads less than
half of the rows or columns that others read may have the image's mean size for the largest
number, and the whole second factor.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from convlib import parallel
from convlib.kernels import ranges
from convlib.kernels.remember import remembered
from convlib.shapes import output_shape

__all__ = [
    "VALUES_AT_ONCE",
    "VALUES_NEARBY",
    "KERNEL_VALUES",
    "ROWS_AT_ONCE",
    "SMALL_PRODUCT",
    "HALF",
    "FourierPlan",
    "suits",
    "points_for",
    "points",
    "fourier_plan",
    "forward",
    "input_grad",
    "weight_grad",
]


# Chapter "Choosing" (chapters/choosing.ipynb)

VALUES_AT_ONCE = 2**21  # so many values of images are kept at a time
VALUES_NEARBY = 2**16  # so many stay in the small cache
KERNEL_VALUES = 2**18  # so many values of kernels in the large one
ROWS_AT_ONCE = 32  # rows of points
SMALL_PRODUCT = 2**16  # a product of matrices with more multiplications starts BLAS's threads
HALF = 0.5  # of the most rows that a result reads, and of the most columns


class FourierPlan(NamedTuple):
    """The points of a layer, and the powers for its weights (chapter "Choosing")."""

    rows: int  # points for the rows
    columns: int  # points for the columns ...
    half: int  # ... of which so many are enough for real numbers
    down: np.ndarray  # powers for each row of points and row of the kernel
    across: np.ndarray  # powers for each column of points and column of the kernel


def suits(geometry, dtype):
    """Tell whether values can compute a layer: in float32 and float64 (chapter "Choosing")."""
    return np.dtype(dtype).char in "fd"


@lru_cache(maxsize=4096)
def points_for(number):
    """Return the next number that is a product of 2, 3 and 5 (chapter "Choosing")."""
    for candidate in range(number, 2 * number + 1):
        rest = candidate
        for prime in (2, 3, 5):
            while rest % prime == 0:
                rest //= prime
        if rest == 1:
            return candidate


def points(geometry):
    """Return how many points a layer needs for its rows and columns (chapter "Choosing")."""
    g = geometry
    return tuple(
        points_for(max(size + max(zeros), (places - 1) * step + 1))
        for size, zeros, places, step in zip(
            (g.height, g.width), g.padding, (g.out_height, g.out_width), g.stride,
            strict=True,
        )
    )  # fmt: skip


def _powers(points, count, shifts):
    """Powers of the first `count` points on the circle, one for each shift."""
    turns = np.outer(np.arange(count), shifts) % points / points
    return np.exp(2j * np.pi * turns)


@remembered
def fourier_plan(geometry, char):
    """Return the plan of a layer with numbers of data type `char` (chapter "Choosing")."""
    g = geometry
    (rows, columns), half = points(g), points(g)[1] // 2 + 1
    dtype = np.complex64 if char == "f" else np.complex128
    us = g.dilation[0] * np.arange(g.kernel_height) - g.padding[0][0]
    vs = g.dilation[1] * np.arange(g.kernel_width) - g.padding[1][0]
    down, across = _powers(rows, rows, us), _powers(columns, half, vs)
    return FourierPlan(rows, columns, half, down.astype(dtype), across.astype(dtype))


def _spread(images, step):
    """Images whose numbers are so far apart, with zeros between."""
    if step == (1, 1):
        return images
    *front, rows, columns = images.shape
    size = (rows - 1) * step[0] + 1, (columns - 1) * step[1] + 1
    spread = np.zeros((*front, *size), images.dtype)
    spread[..., :: step[0], :: step[1]] = images
    return spread


def _values(images, step, plan):
    """The values of images; `step` is the distance of their numbers, with zeros between."""
    return np.fft.rfft2(_spread(images, step), s=(plan.rows, plan.columns))


def _numbers(values, step, size, plan):
    """The numbers that have these values: `size` of them, `step` apart."""
    numbers = np.fft.irfft2(values, s=(plan.rows, plan.columns))
    rows, columns = (size[0] - 1) * step[0] + 1, (size[1] - 1) * step[1] + 1
    return numbers[..., : rows : step[0], : columns : step[1]]


def _product(a, b, out=None):
    """A product of matrices in portions so small that BLAS stays in this thread."""
    rows, sums, columns = a.shape[-2], a.shape[-1], b.shape[-1]
    if out is None:
        many = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
        out = np.empty((*many, rows, columns), a.dtype)
    step = max(1, SMALL_PRODUCT // (rows * sums))
    for first in range(0, columns, step):
        some = slice(first, first + step)
        np.matmul(a, b[..., some], out=out[..., some])
    return out


def _is_finite(array):
    """Whether all numbers are finite: then their sum is."""
    with np.errstate(all="ignore"):
        return bool(np.isfinite(array.sum()))


def _kernel_values(weight, plan):
    """The values of kernels (..., kh, kw) at all points."""
    return _product(_product(plan.down, weight.astype(plan.down.dtype)), plan.across.T)


def _channels_of(job, jobs, geometry, plan):
    """A job's input channels, some at a time, and the output channels that belong to them."""
    g, each = geometry, geometry.out_channels // geometry.in_channels
    step = max(1, VALUES_NEARBY // (plan.rows * plan.half * (1 + each)))
    for first in range(job * step, g.in_channels, jobs * step):
        last = min(first + step, g.in_channels)
        yield slice(first, last), slice(first * each, last * each)


def _forward_alone(job, jobs, input, weight, bias, geometry, plan, output, workspace):
    """One job's channels of the output, where each kernel has one channel."""
    g = geometry
    with np.errstate(all="ignore"):
        for sources, targets in _channels_of(job, jobs, g, plan):
            kernels = _kernel_values(weight[targets, 0], plan)
            kernels = kernels.reshape(sources.stop - sources.start, -1, plan.rows, plan.half)
            for n in range(g.batch):
                values = _values(input[n, sources], (1, 1), plan)[:, np.newaxis] * kernels
                values = values.reshape(-1, plan.rows, plan.half)
                numbers = _numbers(values, g.stride, (g.out_height, g.out_width), plan)
                output[n, targets] = numbers + bias[targets, np.newaxis, np.newaxis]


def _input_grad_alone(job, jobs, weight, grad_output, geometry, plan, grad_input, workspace):
    """One job's channels of the learning flow, where each kernel has one channel."""
    g = geometry
    with np.errstate(all="ignore"):
        for sources, targets in _channels_of(job, jobs, g, plan):
            kernels = _kernel_values(weight[targets, 0], plan).conj()
            for n in range(g.batch):
                values = _values(grad_output[n, targets], g.stride, plan) * kernels
                count = sources.stop - sources.start
                values = values.reshape(count, -1, plan.rows, plan.half).sum(axis=1)
                grad_input[n, sources] = _numbers(values, (1, 1), (g.height, g.width), plan)


def _read_off(plan):
    """The powers with which a weight is read off the values, rows and columns."""
    twice = np.full((plan.half, 1), 2.0)  # each column but these has a mirror image
    twice[0] = 1
    if plan.columns % 2 == 0:
        twice[-1] = 1
    return plan.down / plan.rows, plan.across * (twice / plan.columns).astype(plan.across.dtype)


def _weight_grad_alone(job, jobs, input, grad_output, geometry, plan, grad_weight, workspace):
    """One job's share of the gradient of the weights, where each kernel has one channel."""
    g, (down, across) = geometry, _read_off(plan)
    with np.errstate(all="ignore"):
        for sources, targets in _channels_of(job, jobs, g, plan):
            total = 0
            for n in range(g.batch):
                flow = _values(grad_output[n, targets], g.stride, plan).conj()
                count = sources.stop - sources.start
                flow = flow.reshape(count, -1, plan.rows, plan.half)
                total = total + _values(input[n, sources], (1, 1), plan)[:, np.newaxis] * flow
            total = total.reshape(-1, plan.rows, plan.half)
            grad_weight[targets, 0] = _product(_product(down.T, total), across).real


def _sort_values(job, jobs, images, step, plan, values, workspace):
    """Write the values of a job's images, sorted by point, group, image and channel."""
    groups, count, channels = values.shape[2:]
    with np.errstate(all="ignore"):
        for n in range(job, count, jobs):
            each = _values(images[n], step, plan)
            each = each.reshape(groups, channels, plan.rows, plan.half)
            values[:, :, :, n] = each.transpose(2, 3, 0, 1)


def _multiply(job, jobs, values, parts, down, across, results, workspace):
    """Multiply values with the kernels' values: a job's rows of points, part by part."""
    items = [(k, first) for k in range(len(parts)) for first in range(0, len(down), ROWS_AT_ONCE)]
    with np.errstate(all="ignore"):
        for k, first in items[job::jobs]:
            height, width, *shape = parts[k].shape
            count, powers = parts[k][0, 0].size, down[first : first + ROWS_AT_ONCE]
            space = workspace[: len(powers) * width * count].reshape(len(powers), -1)
            rows = _product(powers, parts[k].reshape(height, -1), space)
            space = workspace[space.size : space.size + len(across) * count]
            at = k * parts[0].shape[-1]
            for row, numbers in enumerate(rows.reshape(len(powers), width, -1), first):
                matrices = _product(across, numbers, space.reshape(len(across), -1))
                matrices = matrices.reshape(len(across), *shape)
                _product(values[row], matrices, results[row, ..., at : at + shape[-1]])


def _collect(job, jobs, results, bias, step, plan, output, workspace):
    """Turn the results of a job's images into numbers."""
    with np.errstate(all="ignore"):
        for n in range(job, len(output), jobs):
            values = results[:, :, :, n].transpose(2, 3, 0, 1)
            values = np.ascontiguousarray(values).reshape(-1, plan.rows, plan.half)
            numbers = _numbers(values, step, output.shape[2:], plan)
            output[n] = numbers + bias[:, np.newaxis, np.newaxis]


def _contract(job, jobs, values, flows, step, plan, sums, workspace):
    """Add to `sums` the products of images and flows, `step` input channels at a time."""
    (down, across), half, rows = _read_off(plan), plan.half, plan.rows
    height, width, groups, sources, targets = sums.shape
    with np.errstate(all="ignore"):
        for channel in range(job * step, sources, jobs * step):
            some = slice(channel, min(channel + step, sources))
            shape = groups, some.stop - channel, targets
            count = shape[0] * shape[1] * shape[2]
            told = workspace[: half * count].reshape(half, *shape)
            block = workspace[half * count :][: ROWS_AT_ONCE * width * count]
            block = block.reshape(ROWS_AT_ONCE, width, count)
            for top in range(0, rows, ROWS_AT_ONCE):
                powers = down[top : top + ROWS_AT_ONCE].T
                for row in range(top, min(top + ROWS_AT_ONCE, rows)):
                    _product(values[row, ..., some].swapaxes(-1, -2), flows[row], told)
                    _product(across.T, told.reshape(half, -1), block[row - top])
                numbers = block[: powers.shape[1]].reshape(powers.shape[1], -1)
                total = _product(powers, numbers).real
                sums[:, :, :, some] += total.reshape(height, width, *shape)


def _portions(geometry, plan):
    """Some images at a time."""
    g = geometry
    of_an_image = (g.in_channels + g.out_channels) * plan.rows * plan.half
    step = max(1, VALUES_AT_ONCE // of_an_image)
    return [slice(n, min(n + step, g.batch)) for n in range(0, g.batch, step)]


def _sorted_values(images, step, geometry, plan, jobs):
    """The values of some images, sorted by point, group, image and channel."""
    count, channels = images.shape[:2]
    size = plan.rows, plan.half, geometry.groups, count, channels // geometry.groups
    values = np.empty(size, plan.down.dtype)
    parallel.run(_sort_values, jobs, 0, images.dtype, images, step, plan, values)
    return values


def _parts(kernels, images, plan):
    """Parts of the kernels' targets, so small that their values stay in the cache."""
    groups, sources, targets = kernels.shape[2:]
    step = min(SMALL_PRODUCT // (images * sources), KERNEL_VALUES // (plan.half * groups * sources))
    step = max(1, min(step, targets))
    return [np.ascontiguousarray(kernels[..., k : k + step]) for k in range(0, targets, step)]


def _correlate(images, steps, kernels, powers, bias, geometry, plan, output, jobs):
    """Images to values, times kernels, to numbers: some images at a time."""
    some_images = _portions(geometry, plan)
    parts = _parts(kernels, some_images[0].stop, plan)
    space = parts[0][0, 0].size * (ROWS_AT_ONCE * kernels.shape[1] + plan.half)
    for some in some_images:
        values = _sorted_values(images[some], steps[0], geometry, plan, jobs)
        results = np.empty((*values.shape[:4], kernels.shape[-1]), values.dtype)
        parallel.run(_multiply, jobs, space, values.dtype, values, parts, *powers, results)
        parallel.run(_collect, jobs, 0, images.dtype, results, bias, steps[1], plan, output[some])
        del values, results  # before the next ones are made


def _by_tap(weight, geometry, axes, plan):
    """The weights as complex numbers, by row, column, group and then as the axes say."""
    g = geometry
    shape = g.groups, g.out_channels // g.groups, *weight.shape[1:]
    kernels = weight.astype(plan.down.dtype).reshape(shape)
    return kernels.transpose(3, 4, 0, *axes)


def _least_read(direction, geometry, planes, means):
    """The largest number that a result reads, the least of these; and if some read only zeros."""
    rows, columns = ranges.enough_read(direction, geometry, HALF)
    whole = rows.enough.all() and columns.enough.all()
    if geometry.stride == geometry.dilation == (1, 1):
        least = ranges.least_of_blocks(planes, (rows.least, columns.least))
        if least.all() and (whole or planes.all()):
            return least if whole else np.minimum(least, means), False
    step = geometry.stride if direction == "input_grad" else (1, 1)
    reads = ranges.largest_read(direction, geometry, _spread(planes, step))
    silent = (reads == 0).any(axis=(1, 2))
    reads[reads == 0] = np.inf
    least = reads[:, rows.enough][..., columns.enough].min(axis=(1, 2), initial=np.inf)
    return least if whole else np.minimum(least, means), silent


def _look(job, jobs, images, direction, geometry, apart, silent, workspace):
    """For a job's share of the images: how many times what is read there is."""
    step = max(1, VALUES_NEARBY // images[0, 0].size)
    items = [(n, k) for n in range(len(images)) for k in range(0, images.shape[1], step)]
    with np.errstate(all="ignore"):
        for n, k in items[job::jobs]:
            some = n, slice(k, k + step)
            sizes = np.abs(images[some])
            sums, planes = sizes.sum(axis=(1, 2, 3)), sizes.max(axis=1)
            whole = np.sqrt(planes.max(axis=(1, 2))) * np.sqrt(sums)
            least, silent[some] = _least_read(direction, geometry, planes, sums / sizes[0].size)
            apart[some] = np.where(sums == 0, 0, whole / least)


def _excess(direction, geometry, kernels):
    """The same for kernels (K, numbers that meet a number of an image, rows, columns)."""
    with np.errstate(all="ignore"):
        sizes = largest = 0
        for n in range(kernels.shape[1]):
            some = np.abs(kernels[:, n])
            sizes, largest = sizes + some, np.maximum(largest, some.max(axis=(1, 2)))
        whole = np.sqrt(largest) * np.sqrt(sizes.sum(axis=(1, 2)))
        return ranges.excess(whole, sizes, *ranges.enough_read(direction, geometry, HALF))


def _zeros_read(direction, images, kernels, geometry, jobs):
    """Where results read nothing but zeros; None if values would not be exact enough."""
    apart, silent = np.empty(images.shape[:2]), np.empty(images.shape[:2], bool)
    parallel.run(_look, jobs, 0, images.dtype, images, direction, geometry, apart, silent)
    if not apart.max(initial=0) * _excess(direction, geometry, kernels) <= ranges.RANGE:
        return None
    step, zeros = geometry.stride if direction == "input_grad" else (1, 1), []
    for n, k in np.argwhere(silent):
        planes = _spread(np.abs(images[n, k]).max(axis=0), step)
        zeros.append((n, k, ranges.largest_read(direction, geometry, planes) == 0))
    return zeros


def forward(input, weight, bias, geometry, jobs):
    """Return the output, or None if it is not finite or not exact enough (chapter "Choosing")."""
    g, plan = geometry, fourier_plan(geometry, input.dtype.char)
    images = input.reshape(g.batch, g.groups, -1, g.height, g.width)
    zeros = _zeros_read("forward", images, weight, g, jobs)
    if zeros is None:
        return None
    output = np.empty(output_shape(g), input.dtype)
    if g.in_channels == g.groups:
        arguments = input, weight, bias, g, plan, output
        parallel.run(_forward_alone, jobs, 0, input.dtype, *arguments)
    else:
        kernels, powers = _by_tap(weight, g, (2, 1), plan), (plan.down, plan.across)
        _correlate(input, ((1, 1), g.stride), kernels, powers, bias, g, plan, output, jobs)
    results = output.reshape(g.batch, g.groups, -1, g.out_height, g.out_width)
    for n, k, nothing in zeros:
        results[n, k][:, nothing] = bias.reshape(g.groups, -1, 1)[k]
    return output if _is_finite(output) else None


def input_grad(weight, grad_output, geometry, jobs):
    """Return the learning flow, or None if it is not finite or not exact enough.

    Source: chapter "Choosing".
    """
    g, plan = geometry, fourier_plan(geometry, weight.dtype.char)
    images = grad_output.reshape(g.batch, g.groups, -1, g.out_height, g.out_width)
    kernels = weight.reshape(g.groups, -1, *weight.shape[1:]).swapaxes(1, 2)
    kernels = kernels.reshape(g.in_channels, -1, g.kernel_height, g.kernel_width)
    zeros = _zeros_read("input_grad", images, kernels, g, jobs)
    if zeros is None:
        return None
    grad_input = np.empty(g[:4], weight.dtype)
    if g.in_channels == g.groups:
        arguments = weight, grad_output, g, plan, grad_input
        parallel.run(_input_grad_alone, jobs, 0, weight.dtype, *arguments)
    else:
        kernels, powers = _by_tap(weight, g, (1, 2), plan), (plan.down.conj(), plan.across.conj())
        steps, no_bias = (g.stride, (1, 1)), np.zeros(g.in_channels, weight.dtype)
        _correlate(grad_output, steps, kernels, powers, no_bias, g, plan, grad_input, jobs)
    results = grad_input.reshape(g.batch, g.groups, -1, g.height, g.width)
    for n, k, nothing in zeros:
        results[n, k][:, nothing] = 0
    return grad_input if _is_finite(grad_input) else None


def _sum_over_images(input, grad_output, geometry, plan, jobs):
    """The gradient of the weights, some images at a time."""
    g, sources, targets = geometry, *(len(x[0]) // geometry.groups for x in (input, grad_output))
    sums = np.zeros((g.kernel_height, g.kernel_width, g.groups, sources, targets), input.dtype)
    some_images = _portions(g, plan)
    step = max(1, min(16, SMALL_PRODUCT // (some_images[0].stop * targets)))
    space = step * sums[0, 0, :, 0].size * (ROWS_AT_ONCE * g.kernel_width + plan.half)
    for some in some_images:
        values = _sorted_values(input[some], (1, 1), g, plan, jobs)
        flows = _sorted_values(grad_output[some], g.stride, g, plan, jobs)
        np.conj(flows, out=flows)
        parallel.run(_contract, jobs, space, values.dtype, values, flows, step, plan, sums)
        del values, flows  # before the next ones are made
    return sums.transpose(2, 4, 3, 0, 1)


def weight_grad(input, grad_output, geometry, jobs):
    """Return the gradient of the weights; None if not finite or exact enough.

    Source: chapter "Choosing".
    """
    g, plan = geometry, fourier_plan(geometry, input.dtype.char)
    images, kernels = input.swapaxes(0, 1)[np.newaxis], grad_output.swapaxes(0, 1)
    zeros = _zeros_read("weight_grad", images, kernels, g, jobs)
    if zeros is None:
        return None
    sources = g.in_channels // g.groups
    grad_weight = np.empty((g.out_channels, sources, g.kernel_height, g.kernel_width), input.dtype)
    by_group = grad_weight.reshape(g.groups, -1, *grad_weight.shape[1:])
    if g.in_channels == g.groups:
        arguments = input, grad_output, g, plan, grad_weight
        parallel.run(_weight_grad_alone, jobs, 0, input.dtype, *arguments)
    else:
        by_group[:] = _sum_over_images(input, grad_output, g, plan, jobs)
    for _, k, nothing in zeros:
        by_group[k // sources, :, k % sources][:, nothing] = 0
    return grad_weight if _is_finite(grad_weight) else None
