"""The compiled kernels in memory that ends exactly where it should: tests/test_bounds.py runs this as a program.

    python tests/check_kernels.py margins|pages LAYERS [NAME=VALUE ...]

All arrays are exactly as large as the kernels ask for. With `margins` they lie between other numbers, which must stay
as they are. With `pages` they end (or begin) at a page that nobody may touch: one step outside ends the process. What
is written to begins as NaN, so that nothing is read before it was written. With NUMBA_BOUNDSCHECK=1 or
NUMBA_DISABLE_JIT=1 a step outside is noticed at once; there, memory that is too small must raise an error.
Numbers of the table of tuning can be given, for small portions: then the compile cache must be one of its own.
"""

import contextlib
import ctypes
import itertools
import mmap
import sys

import numba
import numpy as np
import pytest

from convlib.kernels import tuning

for pair in sys.argv[3:]:  # before the kernels read them
    name, value = pair.split("=")
    assert hasattr(tuning, name), name
    setattr(tuning, name, int(value))

from convlib import algorithms, numpy_kernels, parallel, shapes  # noqa: E402
from convlib.kernels import few, gather, planes, product, scatter, weights, winograd  # noqa: E402

MARGIN = 200
CHECKED = bool(numba.config.DISABLE_JIT or numba.config.BOUNDSCHECK)


def nonsense(dtype):
    """What memory is full of at first."""
    return np.nan if np.dtype(dtype).kind == "f" else np.iinfo(dtype).min


class Margins:
    """Arrays between other numbers."""

    def __init__(self):
        self.kept = []

    def array(self, shape, dtype):
        size = int(np.prod(shape))
        whole = np.full(size + 2 * MARGIN, 77, dtype)
        self.kept.append(whole)
        inner = whole[MARGIN : MARGIN + size]
        inner[:] = nonsense(dtype)
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
        inner[:] = nonsense(dtype)
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


class InMemory:
    """NumPy, but fresh arrays lie in the given memory: modules get it in place of `np`."""

    def __init__(self, memory):
        self.memory = memory

    def __getattr__(self, name):
        return getattr(np, name)

    def empty(self, shape, dtype=float):
        return self.memory.array(shape, dtype)

    def zeros(self, shape, dtype=float):
        return placed(self.memory, np.zeros(shape, dtype))

    def ascontiguousarray(self, array):
        return placed(self.memory, array)


@contextlib.contextmanager
def inside(memory, missing=0):
    """All memory that the kernels get lies where it is watched; `missing` numbers of it are not there."""

    def run(kernel, jobs, space, dtype, *arguments):
        for job in range(jobs):
            kernel(job, jobs, *arguments, memory.array(max(0, space - missing), dtype))

    def borrow(name, size, dtype):
        return memory.array(max(0, size - missing), dtype)

    modules = few, gather, planes, product, scatter, weights, winograd
    with pytest.MonkeyPatch.context() as patch:
        for name, function in (("run", run), ("borrow", borrow), ("aligned", memory.array)):
            patch.setattr(parallel, name, function)
        for module in modules:
            if hasattr(module, "np"):
                patch.setattr(module, "np", InMemory(memory))
        forget(modules)
        yield
    forget(modules)


def forget(modules):
    """Plans are made anew, so that their tables lie in the memory that is watched."""
    for module in modules:
        for value in list(vars(module).values()):
            if hasattr(value, "cache_clear"):
                value.cache_clear()


def numbers(memory, random, g, dtype):
    """Input, weight, bias, flow in whole numbers, and what must come out."""
    sizes = (g[:4], (g.out_channels, g.in_channels // g.groups, *g[5:7]), (g.out_channels,), shapes.output_shape(g))
    x, w, b, d = (placed(memory, random.integers(-3, 4, size).astype(dtype)) for size in sizes)
    passes = {"forward": (x, w, b), "input_grad": (w, d), "weight_grad": (x, d)}
    oracle = numpy_kernels.conv2d, numpy_kernels.conv2d_input_grad, numpy_kernels.conv2d_weight_grad
    return passes, [function(*arguments, g) for function, arguments in zip(oracle, passes.values(), strict=True)]


def check_layer(memory, random, g, dtype, jobs, names):
    """One layer by each algorithm that can; return how often memory that is too small was noticed."""
    passes, expected = numbers(memory, random, g, dtype)
    noticed = 0
    for name in names:
        if not algorithms.suits(name, g, dtype):
            continue
        for (direction, arguments), known in zip(passes.items(), expected, strict=True):
            function = getattr(algorithms.ALGORITHMS[name], direction)
            with inside(memory):
                result = function(*arguments, g, jobs)
            assert result is not None, (name, direction, g)
            allowed = 1e-4 * np.abs(known).max() if name == "winograd" else 0
            assert np.abs(result - known).max() <= allowed, (name, direction, g, dtype, jobs)
            if CHECKED and name not in ("numpy", "places"):
                try:
                    with inside(Margins(), missing=60 + max(g.kernel_width, g.out_channels)):
                        function(*arguments, g, jobs)
                except (IndexError, ValueError):  # plain slices of NumPy raise ValueError
                    noticed += 1
    memory.check()
    return noticed


def for_winograd(random):
    """A layer of few or many channels that Winograd's algorithm takes."""
    size, most = int(random.choice([3, 5])), 4 if numba.config.DISABLE_JIT else 70
    sources, targets = map(int, random.integers(1, most, 2))
    padding = tuple(tuple(map(int, random.integers(0, size, 2))) for _ in range(2))
    grid = map(int, random.integers(size, size + most // 4 + 3, 2))
    sizes = (int(random.integers(1, 4)), sources, *grid), (targets, sources, size, size)
    return shapes.conv2d_geometry(*sizes, padding=padding)


def as_depthwise(random, g):
    """The same layer with one input channel in each group, half of the time with plain kernels of 3 x 3."""
    channels, plain = g.in_channels, random.random() < 0.5
    sizes = (*g[:2], g.height + 2, g.width + 2), (channels * int(random.choice([1, 1, 2])), 1, 3, 3)
    settings = (1, g.padding, 1) if plain else (g.stride, g.padding, 1)
    return shapes.conv2d_geometry(*sizes, *settings, channels)


def main(kind, layers):
    random, noticed = np.random.default_rng(4), 0
    winograd.ranges.RANGE = np.inf  # nothing is left to others
    memories = itertools.cycle([Margins()] if kind == "margins" else [Pages(True), Pages(False)])
    for number in range(layers):
        g = random_layer(random, 3 if numba.config.DISABLE_JIT else 8)
        g = as_depthwise(random, g) if number % 3 == 2 and g.in_channels > 1 else g
        memory = Margins() if kind == "margins" else next(memories)
        dtype, jobs = np.dtype("fd"[number // 2 % 2]), number % 3 + 1
        noticed += check_layer(memory, random, g, dtype, jobs, [n for n in algorithms.ALGORITHMS if n != "winograd"])
    for number in range(-(-layers // 8)):
        memory = Margins() if kind == "margins" else next(memories)
        noticed += check_layer(memory, random, for_winograd(random), np.dtype("f"), number % 3 + 1, ["winograd"])
    assert not CHECKED or noticed > layers, f"too little memory was noticed {noticed} times only"
    print(f"{layers} layers computed inside their memory; too small memory noticed {noticed} times")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
