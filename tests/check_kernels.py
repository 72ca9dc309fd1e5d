"""The compiled kernels in memory that ends exactly where it should: tests/test_bounds.py runs this as a program.

    python tests/check_kernels.py margins|pages LAYERS

All arrays are exactly as large as the plans say. With `margins` they lie between other numbers, which must stay as they
are. With `pages` they end (or begin) at a page that nobody may touch: one step outside ends the process. What is
written to begins as NaN, so that nothing is read before it was written. With NUMBA_BOUNDSCHECK=1 or NUMBA_DISABLE_JIT=1
a step outside is noticed at once; there, memory that is too small must raise an error.
"""

import ctypes
import itertools
import mmap
import sys

import numba
import numpy as np

from convlib import functional, numpy_kernels, shapes
from convlib.kernels import direct, gemm, loops, plans, small

MARGIN = 200
CHECKED = bool(numba.config.DISABLE_JIT or numba.config.BOUNDSCHECK)


class Margins:
    """Arrays between other numbers."""

    def __init__(self):
        self.kept = []

    def array(self, shape, dtype):
        size = int(np.prod(shape))
        whole = np.full(size + 2 * MARGIN, 77, dtype)
        self.kept.append(whole)
        inner = whole[MARGIN : MARGIN + size]
        inner[:] = np.nan
        return inner.reshape(shape)

    def check(self):
        for whole in self.kept:
            assert (whole[:MARGIN] == 77).all() and (whole[-MARGIN:] == 77).all(), "written outside"


class Pages:
    """Arrays at the edge of pages that must not be touched."""

    def __init__(self, at_the_end):
        self.at_the_end = at_the_end

    def array(self, shape, dtype):
        size, page = int(np.prod(shape)), mmap.PAGESIZE
        inside = -(-size * np.dtype(dtype).itemsize // page) * page
        memory = mmap.mmap(-1, inside + 2 * page)
        whole = np.frombuffer(memory, np.uint8)
        protect = ctypes.CDLL(None, use_errno=True).mprotect
        protect.argtypes = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int
        for begin in (0, page + inside):
            assert protect(whole.ctypes.data + begin, page, 0) == 0, "mprotect failed"
        offset = page + (inside - size * np.dtype(dtype).itemsize if self.at_the_end else 0)
        inner = np.frombuffer(memory, dtype, size, offset)
        inner[:] = np.nan
        return inner.reshape(shape)

    def check(self):
        pass


def random_layer(random, largest):
    """Sizes and settings of some layer."""
    pair = lambda low, high: tuple(map(int, random.integers(low, high + 1, 2)))  # noqa: E731
    groups = int(random.choice([1, 1, 2, 3]))
    sources, targets = int(random.integers(1, largest)), int(random.choice([1, 2, 4, 5, 9, 33][: largest]))
    kernel = [pair(1, 5), (3, 3), (1, 1)][random.integers(3)]
    stride = [(1, 1), (1, 1), (2, 2), pair(1, 4)][random.integers(4)]
    dilation = [(1, 1), pair(1, 3)][random.integers(2)]
    padding = [((0, 0), (0, 0)), (pair(0, 4), pair(0, 4))][random.integers(2)]
    least = [d * (m - 1) + 1 - sum(zeros) for d, m, zeros in zip(dilation, kernel, padding, strict=True)]
    grid = [max(each, 1) + extra for each, extra in zip(least, pair(0, 3 * largest), strict=True)]
    sizes = (int(random.integers(1, 4)), groups * sources, *grid), (groups * targets, sources, *kernel)
    return shapes.conv2d_geometry(*sizes, stride, padding, dilation, groups)


def placed(memory, array):
    copy = memory.array(array.shape, array.dtype)
    copy[...] = array
    return copy


def correlate(memory, images, weight, bias, shape, make_plan, geometry, jobs, missing=0):
    """As `functional._correlate`, in the given memory."""
    plan, taps, size, space = make_plan(geometry, images.dtype, jobs)
    packed = memory.array(size, images.dtype)
    direct.pack_weights(weight, taps, plan.phases, plan.group_weights, packed)
    output = memory.array(shape, images.dtype)
    for job in range(jobs):
        workspace = memory.array(space - missing, images.dtype)
        direct.correlate_images(job, jobs, images, packed, bias, output, geometry.groups, plan, workspace)
    return output


def in_planes(memory, x, w, b, d, g, jobs, missing=0):
    """Output and both gradients."""
    row = functional._one_row(g)
    images = x.reshape(g.batch, g.in_channels, row.height, row.width)
    flows = d.reshape(g.batch, g.out_channels, row.out_height, row.out_width)
    kernels = functional._by_group(w, g)
    shape = g.batch, g.out_channels, row.out_height, row.out_width
    yield lambda: correlate(memory, images, kernels, b, shape, plans.forward_plan, row, jobs, missing).reshape(d.shape)
    turned, zeros = kernels.swapaxes(1, 2), placed(memory, np.zeros(g.in_channels, x.dtype))
    make_plan = plans.input_grad_plan
    yield lambda: correlate(memory, flows, turned, zeros, images.shape, make_plan, row, jobs, missing).reshape(x.shape)

    def weight_grad():
        plan, sections, space = plans.weight_grad_plan(row, x.dtype)
        grad = memory.array((sections, g.out_channels, w[0].size), x.dtype)
        for job in range(jobs):
            workspace = memory.array(space - missing, x.dtype)
            direct.weight_grad_images(job, jobs, images, flows, grad, g.groups, plan, workspace)
        return grad.sum(axis=0).reshape(w.shape)

    yield weight_grad


def in_products(memory, x, w, b, d, g, jobs, missing=0):
    """The same by products of matrices (Chapter 11)."""
    flat, zeros = w.reshape(-1), placed(memory, np.zeros(g.in_channels, x.dtype))
    forward, back = gemm.forward_plan(g, x.dtype, jobs), gemm.input_grad_plan(g, x.dtype, jobs)
    plan, sections, space = gemm.weight_grad_plan(g, x.dtype, jobs)

    def run(kernel, shape, space, *arguments):
        result = memory.array(shape, x.dtype)
        for job in range(jobs):
            kernel(job, jobs, *arguments[:-1], result, arguments[-1], memory.array(max(0, space - missing), x.dtype))
        return result

    yield lambda: run(gemm.correlate, d.shape, forward[1], x, flat, b, forward[0])
    yield lambda: run(gemm.correlate, x.shape, back[1], d, flat, zeros, back[0])
    sums = sections, g.out_channels, w[0].size
    yield lambda: run(gemm.correlate_flow, sums, space, x, d, plan).sum(axis=0).reshape(w.shape)


def simply(memory, x, w, b, d, g, kernels):
    """The same by the seven loops, or by planes without plans."""
    output, grad_x, grad_w = (memory.array(each.shape, each.dtype) for each in (d, x, w))
    settings = g.stride, functional._corner(g), g.dilation, g.groups
    kernels.conv2d(x, w, b, *settings, output)
    if kernels is loops:
        loops.conv2d_backward(grad_x, w, d, *settings, True, grad_x)
        loops.conv2d_backward(x, grad_w, d, *settings, False, grad_w)
    else:
        small.conv2d_input_grad(w, d, *settings, grad_x)
        small.conv2d_weight_grad(x, d, *settings, grad_w)
    return output, grad_x, grad_w


def main(kind, layers):
    random = np.random.default_rng(4)
    memories = itertools.cycle([Margins()] if kind == "margins" else [Pages(True), Pages(False)])
    noticed = 0
    for number in range(layers):
        g = random_layer(random, 3 if numba.config.DISABLE_JIT else 8)
        dtype = np.dtype("fd"[number // 2 % 2])
        plans.NUMBERS_IN_A_PLANE, plans.TAPS_AT_ONCE, plans.PLACES_AT_ONCE = [(2000, 300, 192), (90, 7, 16)][number % 2]
        gemm.TAPS_AT_ONCE, gemm.PACKED_TAPS, gemm.COLUMNS_AT_ONCE = [(288, 144, 2400), (7, 5, 100)][number % 2]
        gemm.NUMBERS_AT_ONCE, gemm.PLACES_AT_ONCE, gemm.PIECE = [(100_000, 256, 7), (900, 16, 0)][number % 2]
        memory = Margins() if kind == "margins" else next(memories)
        sizes = (g[:4], (g.out_channels, g.in_channels // g.groups, *g[5:7]), (g.out_channels,), shapes.output_shape(g))
        x, w, b, d = (placed(memory, random.integers(-3, 4, size).astype(dtype)) for size in sizes)
        expected = (
            numpy_kernels.conv2d(x, w, b, g), numpy_kernels.conv2d_input_grad(w, d, g),
            numpy_kernels.conv2d_weight_grad(x, d, g),
        )  # fmt: skip
        jobs = number % 3 + 1
        both = in_planes, in_products
        computed = [[function() for function in means(memory, x, w, b, d, g, jobs)] for means in both]
        for results in (*computed, *(simply(memory, x, w, b, d, g, kernels) for kernels in (loops, small))):
            for result, known in zip(results, expected, strict=True):
                np.testing.assert_array_equal(result, known, err_msg=str((g, dtype, jobs)))
        memory.check()
        if CHECKED:
            missing = 60 + max(g.kernel_width, g.out_channels)
            too_small = itertools.chain(*(means(Margins(), x, w, b, d, g, jobs, missing) for means in both))
            for function in too_small:
                try:
                    function()
                except (IndexError, ValueError):  # plain slices of NumPy raise ValueError
                    noticed += 1
    assert not CHECKED or noticed > layers / 2, f"too little memory was noticed {noticed} times only"
    print(f"{layers} layers computed inside their memory; too small memory noticed {noticed} times")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
