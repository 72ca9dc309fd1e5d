"""The same numbers give the same bits: for any number of threads, and whatever was left in memory.

Threads may share out whole results. Where a chain of sums is cut and in which order it is added up must not depend on
how many there are. Whole numbers cannot tell, because their sums are exact in any order. So here are real ones, and
bytes are compared. Work of any size is shared, and the memory for it is full of NaN.
"""

import contextlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_functional import COMPILED, SLOW, examples

import convlib
from convlib import algorithms, functional, parallel, shapes

pytestmark = [pytest.mark.filterwarnings("ignore::RuntimeWarning")] if SLOW else []
THREADS = (1, 2, 3) if SLOW else (1, 2, 3, 4, 5)
WORK = 2_000 if SLOW else 1_500_000  # multiplications of a random layer


def forget(modules):
    """The plans of these modules."""
    for module in modules:
        for value in vars(module).values():
            if hasattr(value, "cache_clear"):
                value.cache_clear()


def spoilt(array):
    if array.dtype.kind in "fc":
        array.fill(np.nan)
    return array


@contextlib.contextmanager
def threads(number):
    """Share any work among so many threads, in memory that was left full of NaN."""
    before, borrow = convlib.get_num_threads(), parallel.borrow
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(functional, "ENOUGH", 1)
        patch.setattr(parallel, "borrow", lambda *arguments: spoilt(borrow(*arguments)))
        convlib.set_num_threads(number)
        forget([functional])
        yield
    convlib.set_num_threads(before)
    forget([functional])


def check(computations, dtype, what):
    """Each computation, by each number of threads."""
    for direction, compute in computations.items():
        answers = []
        for number in THREADS:
            with threads(number):
                answers.append(compute().tobytes())
            assert answers[-1] == answers[0], f"{direction} of {what} in {dtype} by {number} threads"


def real_numbers(geometry, dtype, seed):
    """Input, weight, bias and flow."""
    g, random = geometry, np.random.default_rng(seed)
    weight_size = g.out_channels, g.in_channels // g.groups, g.kernel_height, g.kernel_width
    sizes = g[:4], weight_size, (g.out_channels,), shapes.output_shape(g)
    return [random.standard_normal(size).astype(dtype) for size in sizes]


def check_layer(geometry, dtype, seed, names):
    """All passes, by each algorithm that suits."""
    g, (x, w, b, d) = geometry, real_numbers(geometry, dtype, seed)
    check({"bias gradient": lambda: convlib.conv2d_bias_grad(d)}, dtype, d.shape)
    for name in names:
        if name is None or algorithms.suits(name, g, x.dtype):
            settings = {"stride": g.stride, "padding": g.padding, "dilation": g.dilation, "groups": g.groups,
                        "algorithm": name}  # fmt: skip
            computations = {
                "output": lambda s=settings: convlib.conv2d(x, w, b, **s),
                "input gradient": lambda s=settings: convlib.conv2d_input_grad(x.shape, w, d, **s),
                "weight gradient": lambda s=settings: convlib.conv2d_weight_grad(x, w.shape, d, **s),
            }
            check(computations, dtype, f"{g} by {name}")


@st.composite
def layers(draw):
    """Some layer, with as many channels as WORK allows."""
    pair = lambda low, high: draw(st.tuples(st.integers(low, high), st.integers(low, high)))  # noqa: E731
    choice = lambda *values: draw(st.sampled_from(values))  # noqa: E731
    kernel = choice((3, 3), (5, 5), (1, 1), pair(1, 7))
    stride, dilation = choice((1, 1), (1, 1), (2, 2), pair(1, 3)), choice((1, 1), (1, 1), pair(1, 3))
    padding = choice(((0, 0), (0, 0)), ((1, 1), (1, 1)), (pair(0, 3), pair(0, 3)))
    least = [d * (m - 1) + 1 - sum(zeros) for d, m, zeros in zip(dilation, kernel, padding, strict=True)]
    grid = [max(each, 1) + extra for each, extra in zip(least, pair(0, 5 if SLOW else 25), strict=True)]
    batch, groups = choice(1, 2, 3, 7), choice(1, 1, 2, 3)
    numbers = (batch, 1, *grid), (1, 1, *kernel)
    left = WORK // (algorithms.work(shapes.conv2d_geometry(*numbers, stride, padding, dilation)) * groups)
    if draw(st.integers(0, 5)) == 0:  # depthwise
        groups, sources, targets = min(choice(2, 5, 40), 1 + left), 1, choice(1, 2)
    else:
        sources = max(1, min(choice(1, 3, 18, 70, 300), left))
        targets = max(1, min(choice(1, 4, 9, 35, 70), left // sources))
    sizes = (batch, groups * sources, *grid), (groups * targets, sources, *kernel)
    return shapes.conv2d_geometry(*sizes, stride, padding, dilation, groups)


@pytest.mark.slow
@examples(80)
@given(layers(), st.sampled_from("fd"), st.integers(0, 2**32 - 1))
def test_any_layer_by_any_algorithm(geometry, dtype, seed):
    check_layer(geometry, dtype, seed, [None, *algorithms.ALGORITHMS])


# Large enough for several sets of strips, chains and portions.
LARGE = {
    "product, several chains, few images": ((2, 200, 28, 28), (15, 200, 3, 3), {"padding": 1}, "product"),
    "product, flow of many channels": ((2, 15, 28, 28), (200, 15, 3, 3), {"padding": 1}, "product"),
    "product, stride, many images": ((5, 300, 20, 20), (10, 300, 3, 3), {"padding": 1, "stride": 2}, "product"),
    "product, flow in phases": ((5, 10, 20, 20), (300, 10, 3, 3), {"padding": 1, "stride": 2}, "product"),
    "product, groups": ((4, 400, 20, 20), (30, 200, 3, 3), {"padding": 1, "groups": 2}, "product"),
    "product, few strips": ((1, 240, 7, 7), (200, 240, 3, 3), {"padding": 1}, "product"),
    "product, one tap": ((3, 130, 20, 20), (70, 130, 1, 1), {}, "product"),
    "product, one tap, few rows": ((3, 130, 20, 20), (10, 130, 1, 1), {}, "product"),
    "product, one tap, one image": ((1, 300, 7, 7), (300, 300, 1, 1), {}, "product"),
    "product, long rows": ((1, 60, 9, 400), (21, 60, 3, 3), {}, "product"),
    "product, dilation": ((2, 60, 30, 31), (40, 60, 3, 3), {"dilation": 12, "padding": 12}, "product"),
    "product, small images": ((7, 50, 9, 9), (40, 50, 3, 3), {"padding": 1}, "product"),
    "planes, stem": ((3, 3, 60, 60), (12, 3, 7, 7), {"padding": 3, "stride": 2}, "planes"),
    "planes, patches": ((3, 3, 60, 60), (12, 3, 4, 4), {"stride": 4}, "planes"),
    "planes, groups": ((2, 64, 28, 28), (64, 16, 3, 3), {"padding": 1, "groups": 4}, "planes"),
    "planes, depthwise": ((3, 17, 60, 63), (34, 1, 3, 3), {"padding": 1, "groups": 17}, "planes"),
    "planes, depthwise, small images": ((9, 40, 7, 7), (40, 1, 5, 5), {"padding": 2, "groups": 40}, "planes"),
    "planes, depthwise, stride": ((3, 17, 60, 63), (17, 1, 5, 5), {"padding": 2, "stride": 2, "groups": 17}, "planes"),
    "winograd, few weights": ((2, 70, 28, 29), (70, 70, 3, 3), {"padding": 1}, "winograd"),
    "winograd, 5 x 5": ((2, 70, 20, 21), (70, 70, 5, 5), {"padding": 2}, "winograd"),
    "winograd, dilation": ((2, 70, 30, 31), (70, 70, 3, 3), {"padding": 2, "dilation": 2}, "winograd"),
    "winograd, many tiles": ((2, 160, 36, 36), (160, 160, 3, 3), {"padding": 1}, "winograd"),
    "winograd, few tiles": ((1, 160, 20, 20), (160, 160, 3, 3), {"padding": 1}, "winograd"),
    "one pixel": ((5, 70, 1, 1), (90, 70, 1, 1), {}, "pixels"),
}  # fmt: skip


@pytest.mark.skipif(SLOW or not COMPILED, reason="too large for plain Python")
@pytest.mark.parametrize("dtype", "fd")
@pytest.mark.parametrize("name", LARGE)
def test_large_layers(name, dtype):
    *sizes, settings, algorithm = LARGE[name]
    check_layer(shapes.conv2d_geometry(*sizes, **settings), dtype, 1, [algorithm])


@pytest.mark.parametrize("dtype", "fd")
@pytest.mark.parametrize("size", [(5, 3, 9, 11), (2, 7, 90, 101), (1, 1, 130, 140)])
def test_gradients_of_biases(size, dtype):
    """One piece of a channel and several, and fewer channels than threads."""
    flow = np.random.default_rng(2).standard_normal(size).astype(dtype)
    check({"bias gradient": lambda: convlib.conv2d_bias_grad(flow)}, dtype, size)
