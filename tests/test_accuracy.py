"""How far from the truth on hostile numbers: outliers, windows of zeros, sums that cancel, huge and tiny numbers.

The truth is computed in float64, or for float64 in wider numbers. What a result reads is computed by the layer itself:
the sum of the sizes of all products, and how much of the second factor takes part.
"""

import math
from functools import cache
from typing import NamedTuple

import numpy as np
import pytest
from test_functional import COMPILED, SLOW, means

import convlib
from convlib import algorithms, functional, numpy_kernels, ranges, shapes

NAMES = tuple(algorithms.ALGORITHMS)
LOCAL = [name for name in NAMES if algorithms.LOCAL_ERROR[name]]
SPREADING = [name for name in NAMES if not algorithms.LOCAL_ERROR[name]]
DIRECTIONS = "forward", "input_grad", "weight_grad"
pytestmark = [pytest.mark.filterwarnings("ignore::RuntimeWarning")] if SLOW else []

LAYERS = {  # input, weight, options
    "3 x 3": ((2, 18, 13, 14), (20, 18, 3, 3), {"padding": 1}),
    "3 x 3, no padding": ((1, 17, 9, 11), (16, 17, 3, 3), {}),
    "5 x 5": ((2, 16, 11, 9), (17, 16, 5, 5), {"padding": ((2, 1), (0, 2))}),
    "large kernel": ((2, 3, 30, 28), (2, 3, 15, 17), {"padding": (7, 8)}),
    "each channel alone": ((2, 4, 20, 21), (8, 1, 9, 9), {"padding": 4, "groups": 4}),
    "no padding, large kernel": ((2, 3, 24, 24), (3, 3, 11, 11), {}),
    "all settings": ((2, 4, 15, 14), (6, 2, 3, 4),
                     {"padding": (2, 3), "stride": (2, 1), "dilation": (1, 2), "groups": 2}),
    "few places": ((2, 6, 12, 12), (5, 6, 11, 11), {}),
    "depthwise": ((2, 5, 17, 19), (5, 1, 3, 3), {"padding": 1, "groups": 5}),
    "a house": ((1, 3, 7, 7), (2, 3, 3, 3), {"padding": 1}),
    "one pixel": ((3, 40, 1, 1), (20, 40, 1, 1), {}),
    "patches": ((2, 3, 13, 12), (9, 3, 4, 4), {"stride": 4}),
}  # fmt: skip
IN_FLOAT64 = "5 x 5", "all settings", "depthwise", "few places", "a house", "one pixel", "patches"  # wider take long
WIDER = {np.dtype("f"): np.float64, np.dtype("d"): np.longdouble}


def exact(direction, a, b, g):
    """The layer in wider numbers, without bias."""
    a, b = (each.astype(WIDER[each.dtype]) if each.dtype in WIDER else each for each in (a, b))
    if direction == "forward":
        return numpy_kernels.conv2d(a, b, np.zeros(len(b), b.dtype), g)
    function = {"input_grad": numpy_kernels.conv2d_input_grad, "weight_grad": numpy_kernels.conv2d_weight_grad}
    return function[direction](a, b, g)


def call(direction, a, b, case, **how):
    size, weight_size, options = LAYERS[case] if isinstance(case, str) else case
    if direction == "forward":
        return convlib.conv2d(a, b, **options, **how)
    if direction == "input_grad":
        return convlib.conv2d_input_grad(size, a, b, **options, **how)
    return convlib.conv2d_weight_grad(a, weight_size, b, **options, **how)


def factors(direction, case, seed=0):
    """Two arrays of the layer, the image's side and the kernel's side, and how they are passed."""
    size, weight_size, options = LAYERS[case]
    g, random = shapes.conv2d_geometry(size, weight_size, **options), np.random.default_rng(seed)
    x, w, d = (random.standard_normal(each) for each in (size, weight_size, shapes.output_shape(g)))
    return g, {"forward": (x, w), "input_grad": (w, d), "weight_grad": (x, d)}[direction]


def images_first(direction, a, b):
    """The factor that is read in windows, and the one that slides over it; whichever was given first."""
    return (b, a) if direction == "input_grad" else (a, b)


def largest_read(direction, images, g):
    """The largest size that each result reads of the images, tap by tap; broadcasts to the results."""
    batch, channels, *size = images.shape
    by_group = abs(images).reshape(batch, g.groups, -1, *size).max(axis=2)
    if direction == "weight_grad":
        largest = np.zeros((channels, g.kernel_height, g.kernel_width))
    else:
        largest = np.zeros((*by_group.shape[:2], *((g.out_height, g.out_width) if direction == "forward" else g[2:4])))
    for u, v in np.ndindex(g.kernel_height, g.kernel_width):
        cells, places = numpy_kernels._meetings(u, v, g)
        if direction == "forward":
            largest[places] = np.maximum(largest[places], by_group[cells])
        elif direction == "input_grad":
            largest[cells] = np.maximum(largest[cells], by_group[places])
        else:
            largest[:, u, v] = abs(images)[cells].max(axis=(0, 2, 3), initial=0)
    if direction == "weight_grad":
        largest = np.repeat(largest.reshape(g.groups, 1, -1, *largest.shape[1:]), g.out_channels // g.groups, axis=1)
        return largest.reshape(g.out_channels, -1, *largest.shape[3:])
    return np.repeat(largest, (g.out_channels if direction == "forward" else g.in_channels) // g.groups, axis=1)


def hostile(kind, images, kernels, random):
    """Two arrays after which nothing is of one size any more."""
    if kind == "outlier in a corner":
        images[0, 0, 0, 0] = 1e10
    elif kind == "outlier inside":
        images[0, 0, images.shape[2] // 2, images.shape[3] // 2] = -1e10
    elif kind == "outlier in the other factor":
        kernels[0, 0, 0, 0] = 1e10
    elif kind == "a small half":
        images[..., : images.shape[-1] // 2] *= 1e-9
    elif kind == "zeros beside an outlier":
        images[:] = 0
        images[:, :, images.shape[2] // 2, images.shape[3] // 2] = 1e10
    elif kind == "taps of zero":
        kernels[..., 1:] = 0
    elif kind == "sums that cancel":
        images[:] = np.where(random.random(images.shape) < 0.5, 1, -1) * (1 + 1e-3 * random.random(images.shape))
        kernels[:] = 1 + 1e-3 * random.random(kernels.shape)
    elif kind == "one sign, one size":
        images[:], kernels[:] = 1 / 3, 1 / 3
    elif kind == "sparse":
        images *= random.random(images.shape) < 0.02
    else:
        images *= np.exp(4 * random.standard_normal(images.shape))


KINDS = ("outlier in a corner", "outlier inside", "outlier in the other factor", "a small half",
         "zeros beside an outlier", "taps of zero", "sums that cancel", "one sign, one size", "sparse", "heavy tails")


@cache
def prepared(direction, case, kind, dtype="f"):
    """A layer with hostile numbers: geometry, factors, results, and for each result its products' number and sizes."""
    g, (a, b) = factors(direction, case)
    if kind is not None:
        hostile(kind, *images_first(direction, a, b), np.random.default_rng(1))
    a, b = a.astype(dtype), b.astype(dtype)
    count = exact(direction, *(np.ones(each.shape) for each in (a, b)), g)
    return Prepared(g, a, b, exact(direction, a, b, g), count, exact(direction, abs(a), abs(b), g))


class Prepared(NamedTuple):
    g: shapes.Geometry
    a: np.ndarray
    b: np.ndarray
    right: np.ndarray
    count: np.ndarray  # products of each result
    products: np.ndarray  # the sum of their sizes


# --- plain sums -----------------------------------------------------------------------------------------------------


@pytest.mark.skipif(SLOW, reason="takes long where nothing is compiled")
@pytest.mark.parametrize("dtype", "fd")
@pytest.mark.parametrize("name", LOCAL)
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_the_error_of_a_plain_sum_is_bounded_by_its_own_products(direction, name, dtype):
    """At most n e times the sum of the sizes of the n products that the result reads."""
    unit, checked = np.finfo(dtype).eps / 2, 0
    for case in LAYERS if dtype == "f" else IN_FLOAT64:
        for kind in KINDS[::3] if dtype == "f" else KINDS[:4:3]:
            it = prepared(direction, case, kind, dtype)
            if algorithms.suits(name, it.g, np.dtype(dtype)):
                error = abs(call(direction, it.a, it.b, case, algorithm=name) - it.right)
                assert (error <= it.count * unit * it.products).all(), (case, kind)
                checked += 1
    assert checked


@pytest.mark.skipif(SLOW, reason="takes long where nothing is compiled")
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_the_switch_keeps_to_plain_sums(direction, monkeypatch):
    """Whatever is chosen then, and whatever the fallbacks: no name of the other kind."""
    asked = []
    monkeypatch.setattr(functional, "_compute", lambda _, plan, arrays: asked.extend(plan.names))
    before = convlib.get_winograd()
    try:
        convlib.set_winograd(False)
        for size, weight_size, options in LAYERS.values():
            for batch in (1, 40):
                g = shapes.conv2d_geometry((batch, *size[1:]), weight_size, **options)
                layer = (batch, *size[1:]), weight_size, options
                x, w, d = (np.ones(each, "f") for each in (*layer[:2], shapes.output_shape(g)))
                call(direction, *{"forward": (x, w), "input_grad": (w, d), "weight_grad": (x, d)}[direction], layer)
    finally:
        convlib.set_winograd(before)
    assert len(asked) >= 2 * len(LAYERS) and not set(asked) & set(SPREADING)


def test_each_algorithm_says_whether_its_error_is_local():
    assert set(algorithms.LOCAL_ERROR) >= set(NAMES)
    assert SPREADING == [name for name in ("winograd",) if name in NAMES]


# --- tiles ------------------------------------------------------------------------------------------------


def promised(g, direction):
    """How many units of 2**-24 the error may be, times what is read."""
    chain = {"forward": g.in_channels, "input_grad": g.out_channels,
             "weight_grad": g.batch * -(-g.out_height // 4) * -(-g.out_width // 4)}[direction]
    return ranges.RANGE * (chain + 16 if g.kernel_height == 3 else 4 * (chain + 32))


@pytest.mark.skipif(SLOW, reason="takes long where nothing is compiled")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("name", SPREADING)
def test_the_error_of_the_others_is_bounded_by_what_is_read(name, direction, kind):
    """By the largest number that a result reads times the sum of what it meets; and zero is zero."""
    unit, checked = np.finfo("f").eps / 2, 0
    for case in LAYERS:
        g, a, b, right, *_ = prepared(direction, case, kind)
        if not algorithms.suits(name, g, np.dtype("f")):
            continue
        images, kernels = images_first(direction, a, b)
        ones, largest = np.ones_like(images), largest_read(direction, images, g)
        sums = exact(direction, *images_first(direction, ones, abs(kernels)), g)
        error = abs(call(direction, a, b, case, algorithm=name) - right)
        bound = promised(g, direction) * unit * largest * sums
        assert (error <= bound).all(), case
        assert not error[largest == 0].any(), case
        checked += 1
    assert checked


@pytest.mark.skipif(SLOW, reason="takes long where nothing is compiled")
@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("kind, falls_back", [(None, False), ("one sign, one size", False), ("sums that cancel", False),
                                              ("outlier in a corner", True), ("a small half", True)])  # fmt: skip
@pytest.mark.parametrize("name", SPREADING)
def test_who_falls_back(name, kind, falls_back, direction):
    """Numbers of one size are computed, an outlier is left to others; both are right."""
    case = "3 x 3"
    g, a, b, right, _, products = prepared(direction, case, kind)
    arguments = (a, b, np.zeros(len(b), "f")) if direction == "forward" else (a, b)
    if direction == "weight_grad" and kind == "a small half":
        return  # every tap reads both halves
    result = getattr(algorithms.ALGORITHMS[name], direction)(*arguments, g, 1)
    assert (result is None) == falls_back
    assert (abs(call(direction, a, b, case) - right) <= 1e-4 * products).all()


@pytest.mark.skipif(SLOW or not COMPILED, reason="about compiled tiles")
def test_the_next_best_comes_after_tiles():
    for case, name in (("3 x 3", "winograd"), ("5 x 5", "winograd")):
        size, weight_size, options = LAYERS[case]
        size = (8, *size[1:])
        g = shapes.conv2d_geometry(size, weight_size, **options)
        for direction in DIRECTIONS:
            after = algorithms.choose(direction, g, np.float32, local=True)
            sizes = size, weight_size, weight_size[:1] if direction == "forward" else shapes.output_shape(g)
            settings = 1, options["padding"], 1, 1
            plan = functional._make_plan(direction, name, np.dtype("f"), sizes, settings)
            assert plan.names[:2] == (name, after) and len(set(plan.names)) == len(plan.names)
            assert algorithms.LOCAL_ERROR[after]


@pytest.mark.skipif(SLOW, reason="takes long where nothing is compiled")
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_a_window_of_zeros_gives_the_bias(direction, name):
    """Not nearly, whatever lies beside it; sparse images, too, and those full of zeros."""
    for case in LAYERS:
        for kind in ("sparse", "zeros beside an outlier", "nothing"):
            g, a, b, *_ = prepared(direction, case, "sparse" if kind == "nothing" else kind)
            images, kernels = images_first(direction, a, b)
            images = images * np.float32(kind != "nothing")
            a, b = images_first(direction, images, kernels)
            if not algorithms.suits(name, g, np.dtype("f")):
                continue
            how = {"algorithm": name}
            if direction == "forward":
                how["bias"] = bias = np.arange(1, len(b) + 1).astype("f")
            result = call(direction, a, b, case, **how)
            seen = exact(direction, *images_first(direction, (images != 0).astype("f"), np.ones_like(kernels)), g)
            expected = bias[:, None, None] if direction == "forward" else 0
            assert (np.where(seen == 0, result, expected) == expected).all(), (case, kind)


@pytest.mark.skipif(SLOW, reason="takes long where nothing is compiled")
@pytest.mark.parametrize("scales", [(1e30, 1e-30), (1e19, 1e17), (1e-20, 1e-15), (1e-42, 1e30), (3e37, 1e-3)])
@pytest.mark.parametrize("name", NAMES)
def test_huge_and_tiny_numbers(name, scales):
    """What is finite stays finite; the error is what it is for others, and some of the smallest numbers."""
    unit, tiny = np.finfo("f").eps / 2, float(np.finfo("f").tiny)
    for direction in DIRECTIONS:
        for case in ("3 x 3", "large kernel", "each channel alone"):
            g, (a, b) = factors(direction, case)
            a, b = (a * scales[0]).astype("f"), (b * scales[1]).astype("f")
            if not algorithms.suits(name, g, np.dtype("f")):
                continue
            right, result = exact(direction, a, b, g), call(direction, a, b, case, algorithm=name)
            assert np.isfinite(right.astype("f")).all() and np.isfinite(result).all(), (direction, case)
            count = exact(direction, np.ones_like(a), np.ones_like(b), g)
            largest = np.maximum(abs(a).max(), tiny) * np.maximum(abs(b).max(), tiny)
            assert (abs(result - right) <= 64 * unit * count * np.maximum(largest, tiny)).all(), (direction, case)


# --- long sums --------------------------------------------------------------------------------------------------------

LONG = {  # input, weight, options: millions of products in each gradient
    "1 x 1, one large image": ((1, 2, 1500, 1600), (2, 2, 1, 1), {}),
    "one channel": ((1, 1, 1500, 1600), (1, 1, 3, 3), {}),
    "one column": ((1, 1, 1_000_000, 1), (1, 1, 3, 1), {}),
    "a million images of one pixel": ((1_000_000, 2, 1, 1), (3, 2, 1, 1), {}),
    "many images, many outputs": ((60_000, 1, 5, 5), (20, 1, 3, 3), {}),
    "depthwise, one large image": ((1, 2, 1500, 1600), (2, 1, 3, 3), {"groups": 2}),
    "depthwise, many images": ((20_000, 2, 7, 7), (2, 1, 3, 3), {"groups": 2, "padding": 1}),
}  # fmt: skip


@pytest.mark.skipif(SLOW or not COMPILED, reason="millions of products")
@pytest.mark.parametrize("case", LONG)
def test_gradients_over_millions_of_products(case):
    """Of positive numbers: nothing cancels, and one long chain would lose the small ones."""
    size, weight_size, options = LONG[case]
    g, random = shapes.conv2d_geometry(size, weight_size, **options), np.random.default_rng(0)
    x, d = (random.random(each, dtype="f") for each in (size, shapes.output_shape(g)))
    right = numpy_kernels.conv2d_weight_grad(x.astype("d"), d.astype("d"), g)
    with means(threads=2):
        error = abs(convlib.conv2d_weight_grad(x, weight_size, d, **options) - right) / right
        of_bias = abs(convlib.conv2d_bias_grad(d) / d.sum((0, 2, 3), dtype="d") - 1)
    assert error.max() < 1e-5 and of_bias.max() < 1e-6


@pytest.mark.skipif(SLOW or not COMPILED, reason="millions of products")
def test_outputs_of_a_million_products():
    x = np.random.default_rng(0).random((1, 1_000_000, 1, 1), dtype="f")
    w = np.random.default_rng(1).random((2, 1_000_000, 1, 1), dtype="f")
    right = np.array([math.fsum(row) for row in (x.astype("d") * w.astype("d"))[:, :, 0, 0]])
    assert (abs(convlib.conv2d(x, w)[0, :, 0, 0] / right - 1) < 1e-5).all()


def test_a_kernel_as_large_as_its_image_shares_no_tiles():
    """An image and a kernel that are never both nonzero: each product is zero, and so is the sum."""
    for channels in (32, 320):
        image = np.ones((1, channels, 5, 5), "f")
        image[:, :, :2] = image[:, :, :, :2] = 0
        g = shapes.conv2d_geometry(image.shape, (32, channels, 5, 5))
        assert not {algorithms.choose(direction, g, np.float32) for direction in DIRECTIONS} & set(SPREADING)
        assert not convlib.conv2d(image, np.repeat(1 - image, 32, axis=0)).any()
