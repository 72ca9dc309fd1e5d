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
from convlib.kernels import fourier

if COMPILED:
    from convlib.kernels import channels, gemm, plans, thin, winograd
pytestmark = [pytest.mark.filterwarnings("ignore::RuntimeWarning")] if SLOW else []
THREADS = (1, 2, 3) if SLOW else (1, 2, 3, 4, 5)
WORK = 2_000 if SLOW else 1_500_000  # multiplications of a random layer
CUTS = {"as it comes": {}, "small portions": {fourier: {
    "VALUES_AT_ONCE": 2000, "VALUES_NEARBY": 300, "KERNEL_VALUES": 500, "ROWS_AT_ONCE": 5, "SMALL_PRODUCT": 300,
}}}  # fmt: skip
if COMPILED:
    CUTS["small portions"] |= {
        gemm: {"TAPS_AT_ONCE": 20, "NUMBERS_AT_ONCE": 3000, "FEW_WEIGHTS": 50, "SUMS": 60, "PLACES_AT_ONCE": 16,
               "PLACES_SUMMED": 5, "PIECE": 0},
        plans: {"NUMBERS_IN_A_PLANE": 300, "TAPS_AT_ONCE": 5, "PLACES_AT_ONCE": 7, "SUMS": 60},
        thin: {"PLACES": 10},
        channels: {"PRODUCTS": 30, "NUMBERS_AT_ONCE": 3000},
        winograd: {"TILES_AT_ONCE": 5, "VECTORS_AT_ONCE": 1, "FEW_PIECES": 0},
    }  # fmt: skip


def forget(modules):
    """The plans of these modules."""
    for module in modules:
        for value in vars(module).values():
            if hasattr(value, "cache_clear"):
                value.cache_clear()


@contextlib.contextmanager
def cut(name):
    """Cut the work into portions of other sizes."""
    with pytest.MonkeyPatch.context() as patch:
        forget(CUTS[name])
        for module, values in CUTS[name].items():
            for each, value in values.items():
                patch.setattr(module, each, value)
        yield
    forget(CUTS[name])


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
        patch.setattr(algorithms, "FEW", 0)  # what is tiny is not shared
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


@pytest.mark.parametrize("portions", CUTS)
@examples(40)
@given(layers(), st.sampled_from("fd"), st.integers(0, 2**32 - 1))
def test_any_layer_by_any_algorithm(portions, geometry, dtype, seed):
    with cut(portions):
        check_layer(geometry, dtype, seed, [None, *algorithms.ALGORITHMS])


# Large enough for the portions as they come; what decides is said in each algorithm's plan.
LARGE = {
    "gemm, channels in two portions, few images": ((2, 200, 28, 28), (15, 200, 3, 3), {"padding": 1}, "gemm"),
    "gemm, flow of many channels": ((2, 15, 28, 28), (200, 15, 3, 3), {"padding": 1}, "gemm"),
    "gemm, stride, many images": ((5, 300, 20, 20), (10, 300, 3, 3), {"padding": 1, "stride": 2}, "gemm"),
    "gemm, flow in phases": ((5, 10, 20, 20), (300, 10, 3, 3), {"padding": 1, "stride": 2}, "gemm"),
    "gemm, groups": ((4, 400, 20, 20), (30, 200, 3, 3), {"padding": 1, "groups": 2}, "gemm"),
    "gemm, more weights than are kept": ((6, 240, 7, 7), (200, 240, 3, 3), {"padding": 1}, "gemm"),
    "gemm, in place": ((3, 130, 20, 20), (70, 130, 1, 1), {}, "gemm"),
    "gemm, long rows": ((1, 60, 9, 400), (21, 60, 3, 3), {}, "gemm"),
    "direct, small images, many taps": ((7, 50, 9, 9), (40, 50, 3, 3), {"padding": 1}, "direct"),
    "direct, one image": ((1, 50, 40, 40), (21, 50, 3, 3), {"stride": 2}, "direct"),
    "direct, sections": ((5, 20, 40, 41), (9, 20, 3, 3), {}, "direct"),
    "direct, one section for many weights": ((2, 430, 3, 3), (400, 430, 5, 5), {"padding": 2}, "direct"),
    "thin, long chains, many vectors": ((3, 40, 60, 60), (12, 40, 3, 3), {"padding": 1}, "thin"),
    "thin, few targets, flow scattered": ((3, 40, 60, 61), (5, 40, 3, 3), {"padding": 1, "stride": 2}, "thin"),
    "thin, one target": ((1, 40, 60, 61), (1, 40, 3, 3), {}, "thin"),
    "thin, many images": ((9, 17, 33, 70), (18, 17, 3, 3), {"dilation": 2}, "thin"),
    "depthwise": ((3, 17, 60, 63), (34, 1, 3, 3), {"padding": 1, "groups": 17}, "depthwise"),
    "depthwise, stride": ((3, 17, 60, 63), (17, 1, 5, 5), {"padding": 2, "stride": 2, "groups": 17}, "depthwise"),
    "winograd, few weights": ((2, 70, 28, 29), (70, 70, 3, 3), {"padding": 1}, "winograd"),
    "winograd, 5 x 5": ((2, 70, 20, 21), (70, 70, 5, 5), {"padding": 2}, "winograd"),
    "winograd, pieces of the weights are shared": ((2, 160, 36, 36), (160, 160, 3, 3), {"padding": 1}, "winograd"),
    "winograd, pieces of the images are shared": ((1, 160, 36, 36), (160, 160, 3, 3), {"padding": 1}, "winograd"),
    "winograd, pieces of the images are made twice": ((1, 160, 20, 20), (160, 160, 3, 3), {"padding": 1}, "winograd"),
    "channels, bands": ((2, 64, 70, 80), (40, 64, 3, 3), {"padding": 1}, "channels"),
    "channels, several images": ((7, 64, 9, 9), (70, 64, 3, 3), {"padding": 1, "stride": 2}, "channels"),
    "channels, without rows": ((7, 300, 9, 9), (40, 300, 1, 1), {}, "channels"),
    "fft": ((3, 8, 40, 40), (9, 8, 31, 31), {"padding": 15}, "fft"),
    "fft, several portions of images": ((50, 30, 32, 32), (30, 30, 7, 7), {}, "fft"),
    "fft, columns one by one": ((1, 2, 4, 400), (1, 2, 2, 333), {}, "fft"),
    "fft, each channel alone": ((2, 20, 40, 40), (20, 1, 31, 31), {"padding": 15, "groups": 20}, "fft"),
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
