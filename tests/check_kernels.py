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

from convlib import numpy_kernels, parallel, shapes
from convlib.kernels import depthwise, direct, gemm, loops, plans, small, thin, winograd

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
    """As `direct._correlate`, in the given memory."""
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
    row = direct._one_row(g)
    images = x.reshape(g.batch, g.in_channels, row.height, row.width)
    flows = d.reshape(g.batch, g.out_channels, row.out_height, row.out_width)
    kernels = direct._by_group(w, g)
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



def simply(memory, x, w, b, d, g, kernels):
    """The same by the seven loops, or by planes without plans."""
    output, grad_x, grad_w = (memory.array(each.shape, each.dtype) for each in (d, x, w))
    settings = small.settings(g)
    kernels.conv2d(x, w, b, *settings, output)
    if kernels is loops:
        loops.conv2d_backward(grad_x, w, d, *settings, True, grad_x)
        loops.conv2d_backward(x, grad_w, d, *settings, False, grad_w)
    else:
        small.conv2d_input_grad(w, d, *settings, grad_x)
        small.conv2d_weight_grad(x, d, *settings, grad_w)
    return output, grad_x, grad_w


def in_products(memory, x, w, b, d, g, jobs, missing=0):
    """The same by products of matrices (chapter "The matrix product inside")."""
    flat, zeros = w.reshape(-1), placed(memory, np.zeros(g.in_channels, x.dtype))
    forward, back = gemm.forward_plan(g, x.dtype, jobs), gemm.input_grad_plan(g, x.dtype, jobs)
    plan, sections, space = gemm.weight_grad_plan(g, x.dtype, jobs)

    def lined_up(weights, bias, plan):
        lined = memory.array(max(0, gemm.weights_size(plan) - missing), x.dtype)
        for job in range(jobs):
            gemm.line_up(job, jobs, weights, bias, plan, lined, memory.array(1, x.dtype))
        return lined

    def run(kernel, shape, space, *arguments):
        result = memory.array(shape, x.dtype)
        for job in range(jobs):
            kernel(job, jobs, *arguments[:-1], result, arguments[-1], memory.array(max(0, space - missing), x.dtype))
        return result

    yield lambda: run(gemm.correlate, d.shape, forward[1], x, lined_up(flat, b, forward[0]), forward[0])
    yield lambda: run(gemm.correlate, x.shape, back[1], d, lined_up(flat, zeros, back[0]), back[0])
    sums = sections, g.out_channels, w[0].size
    yield lambda: run(gemm.correlate_flow, sums, space, x, d, plan).sum(axis=0).reshape(w.shape)


class InMemory:
    """NumPy, but fresh arrays lie in the given memory: modules get it in place of `np`."""

    def __init__(self, memory):
        self.memory = memory

    def __getattr__(self, name):
        return getattr(np, name)

    def empty(self, shape, dtype):
        return self.memory.array(shape, dtype)

    def zeros(self, shape, dtype):
        return placed(self.memory, np.zeros(shape, dtype))

    def ascontiguousarray(self, array):
        return placed(self.memory, array)


def by_module(module, memory, x, w, b, d, g, jobs, missing=0):
    """Output, both gradients and that of the biases, by an algorithm of its own, all of it in the given memory."""

    def run(kernel, jobs, space, dtype, *arguments):
        for job in range(jobs):
            kernel(job, jobs, *arguments, memory.array(max(0, space - missing), dtype))

    def borrow(name, size, dtype):
        return memory.array(max(0, size - missing), dtype)

    def inside(function, *arguments):
        before = parallel.run, parallel.borrow, parallel.aligned, thin.np, module.np
        parallel.run, parallel.borrow, parallel.aligned = run, borrow, memory.array
        thin.np = module.np = InMemory(memory)
        try:
            return function(*arguments, jobs)
        finally:
            parallel.run, parallel.borrow, parallel.aligned, thin.np, module.np = before

    yield lambda: inside(module.forward, x, w, b, g)
    yield lambda: inside(module.input_grad, w, d, g)
    yield lambda: inside(module.weight_grad, x, d, g)
    yield lambda: inside(thin.bias_grad, d)


def for_winograd(random):
    """A layer of few or many channels that Winograd's algorithm takes."""
    size, most = int(random.choice([3, 5])), 4 if numba.config.DISABLE_JIT else 70
    sources, targets = map(int, random.integers(1, most, 2))
    padding = tuple(tuple(map(int, random.integers(0, size, 2))) for _ in range(2))
    grid = map(int, random.integers(size, size + most // 4 + 3, 2))
    sizes = (int(random.integers(1, 4)), sources, *grid), (targets, sources, size, size)
    return shapes.conv2d_geometry(*sizes, padding=padding)


def by_winograd(random, memory, jobs):
    """One layer by Winograd's algorithm; return how often memory that is too small was noticed."""
    g, noticed = for_winograd(random), 0
    winograd.FEW_PIECES = int(random.choice([800_000, 0]))
    winograd.ranges.RANGE = np.inf  # nothing is left to others
    winograd._order.cache_clear(), winograd._weights_order.cache_clear()
    sizes = (g[:4], (g.out_channels, g.in_channels, *g[5:7]), (g.out_channels,), shapes.output_shape(g))
    x, w, b, d = (placed(memory, random.integers(-3, 4, size).astype("f")) for size in sizes)
    expected = (
        numpy_kernels.conv2d(x, w, b, g), numpy_kernels.conv2d_input_grad(w, d, g),
        numpy_kernels.conv2d_weight_grad(x, d, g),
    )  # fmt: skip
    passes = itertools.islice(by_module(winograd, memory, x, w, b, d, g, jobs), 3)
    for function, known in zip(passes, expected, strict=True):
        assert np.abs(function() - known).max() <= 1e-4 * np.abs(known).max(), (g, jobs)
    memory.check()
    if CHECKED:
        for function in itertools.islice(by_module(winograd, Margins(), x, w, b, d, g, jobs, missing=1), 3):
            try:
                function()
            except (IndexError, ValueError):
                noticed += 1
    return noticed


def as_depthwise(random, g):
    """The same layer with one input channel in each group, half of the time with plain kernels of 3 x 3."""
    channels, plain = g.in_channels, random.random() < 0.5
    sizes = (*g[:2], g.height + 2, g.width + 2), (channels * int(random.choice([1, 1, 2])), 1, 3, 3)
    settings = (1, g.padding, 1) if plain else (g.stride, g.padding, 1)
    return shapes.conv2d_geometry(*sizes, *settings, channels)


def main(kind, layers):
    random = np.random.default_rng(4)
    memories = itertools.cycle([Margins()] if kind == "margins" else [Pages(True), Pages(False)])
    noticed = 0
    for number in range(layers):
        g = random_layer(random, 3 if numba.config.DISABLE_JIT else 8)
        g = as_depthwise(random, g) if number % 3 == 2 and g.in_channels > 1 else g
        dtype = np.dtype("fd"[number // 2 % 2])
        plans.NUMBERS_IN_A_PLANE, plans.TAPS_AT_ONCE, plans.PLACES_AT_ONCE = [(2000, 300, 192), (90, 7, 16)][number % 2]
        gemm.TAPS_AT_ONCE, gemm.PLACES_SUMMED, gemm.COLUMNS_AT_ONCE = [(96, 128, 2400), (7, 5, 100)][number % 2]
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
        computed = [function() for means in both for function in means(memory, x, w, b, d, g, jobs)]
        modules = [thin, depthwise] if depthwise.suits(g, dtype) else [thin]
        for module in modules:
            *others, biases = [function() for function in by_module(module, memory, x, w, b, d, g, jobs)]
            np.testing.assert_array_equal(biases, d.sum(axis=(0, 2, 3)))
            computed += others
        computed = [computed[k : k + 3] for k in range(0, len(computed), 3)]
        for results in (*computed, *(simply(memory, x, w, b, d, g, kernels) for kernels in (loops, small))):
            for result, known in zip(results, expected, strict=True):
                np.testing.assert_array_equal(result, known, err_msg=str((g, dtype, jobs)))
        memory.check()
        if CHECKED:
            missing = 60 + max(g.kernel_width, g.out_channels)
            functions = [means(Margins(), x, w, b, d, g, jobs, missing) for means in both]
            functions += [by_module(module, Margins(), x, w, b, d, g, jobs, missing) for module in modules]
            for function in itertools.chain(*functions):
                try:
                    function()
                except (IndexError, ValueError):  # plain slices of NumPy raise ValueError
                    noticed += 1
    for number in range(-(-layers // 8)):
        noticed += by_winograd(random, Margins() if kind == "margins" else next(memories), number % 3 + 1)
    assert not CHECKED or noticed > 2 * layers, f"too little memory was noticed {noticed} times only"
    print(f"{layers} layers computed inside their memory; too small memory noticed {noticed} times")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
