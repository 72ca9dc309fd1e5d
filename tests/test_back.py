"""Both gradients through the product: in whole numbers they must come out exactly, with any number of jobs.

The oracle is `convlib.numpy_kernels`. The work is also cut into small portions, so that every cut is met.
"""

import os

import numpy as np
import pytest

from convlib import algorithms, numpy_kernels, patches, shapes

if "product" not in algorithms.ALGORITHMS:
    pytest.skip("about compiled code", allow_module_level=True)

from convlib.kernels import product, scatter, weights

SLOW = os.environ.get("NUMBA_DISABLE_JIT", "0") != "0"
pytestmark = [pytest.mark.filterwarnings("ignore::RuntimeWarning")] if SLOW else []
JOBS = (1, 2, 3, 5)
SMALL = {weights: {"PIXELS": 9}, scatter: {"PIXELS": 20, "SET": 60, "SHARES": 1}}
FORMS = {"as it comes": {}, "small portions": SMALL}
LAYERS = {  # input, weight, stride, padding, dilation, groups
    "1x1": ((2, 40, 7, 7), (33, 40, 1, 1), 1, 0, 1, 1),
    "1x1, few outputs": ((3, 37, 5, 6), (9, 37, 1, 1), 1, 0, 1, 1),
    "1x1, few inputs": ((3, 9, 5, 6), (37, 9, 1, 1), 1, 0, 1, 1),
    "1x1, hardly any": ((2, 3, 2, 3), (2, 3, 1, 1), 1, 0, 1, 1),
    "1x1, one place": ((5, 20, 1, 1), (18, 20, 1, 1), 1, 0, 1, 1),
    "1x1, a long line": ((1, 9, 1, 1300), (10, 9, 1, 1), 1, 0, 1, 1),
    "1x1, padded": ((2, 9, 4, 5), (10, 9, 1, 1), 1, 2, 1, 1),
    "1x1, stride": ((2, 17, 9, 8), (20, 17, 1, 1), (2, 3), 0, 1, 1),
    "3x3": ((2, 17, 9, 8), (20, 17, 3, 3), 1, 1, 1, 1),
    "3x3, deep": ((2, 10, 6, 7), (100, 10, 3, 3), 1, 1, 1, 1),
    "3x3, dilated": ((2, 10, 8, 7), (12, 10, 3, 3), 1, 2, 2, 1),
    "3x3, stride": ((3, 17, 9, 8), (20, 17, 3, 3), 2, 1, 1, 1),
    "3x3, stride, wide": ((2, 50, 14, 14), (70, 50, 3, 3), 2, 1, 1, 1),
    "unequal": ((2, 16, 11, 6), (16, 16, 2, 5), (3, 1), ((2, 0), (1, 4)), (1, 2), 1),
    "much padding": ((2, 10, 4, 5), (11, 10, 3, 3), 1, 5, 1, 1),
    "taps without a cell": ((1, 10, 6, 6), (9, 10, 3, 3), 1, 7, 7, 1),
    "dilated, strided": ((1, 10, 13, 15), (9, 10, 3, 3), 2, 6, 6, 1),
    "a stride beyond the kernel": ((2, 8, 11, 11), (8, 8, 2, 2), 5, 0, 1, 1),
    "groups": ((2, 24, 9, 9), (36, 8, 3, 3), 2, 1, 1, 3),
    "alone": ((2, 6, 9, 9), (12, 1, 3, 3), 2, 1, 1, 6),
    "a deep chain": ((1, 600, 3, 3), (530, 600, 1, 1), 2, 0, 1, 1),
}

PADDED = ["3x3, stride", "unequal", "3x3, deep", "3x3, dilated", "much padding", "dilated, strided", "1x1, padded"]


@pytest.fixture(params=FORMS)
def form(request, monkeypatch):
    """Cut the work in other places."""
    forget()
    for module, numbers in FORMS[request.param].items():
        for name, value in numbers.items():
            assert hasattr(module, name)
            monkeypatch.setattr(module, name, value)
    yield request.param
    forget()


def forget():
    for plan in (weights._sides, scatter._scattering):
        plan.cache_clear()


def layer_of(sizes, numbers):
    """Geometry, input, weight and flow."""
    g = shapes.conv2d_geometry(*sizes)
    return g, *(numbers(shape) for shape in (sizes[0], sizes[1], shapes.output_shape(g)))


def whole(seed, dtype=np.float32):
    random = np.random.default_rng(seed)
    return lambda shape: random.integers(-3, 4, shape).astype(dtype)


@pytest.mark.slow
@pytest.mark.parametrize("name", LAYERS)
def test_whole_numbers_come_out_exactly(name, form):
    for dtype in (np.float32, np.float64):
        g, x, w, d = layer_of(LAYERS[name], whole(1, dtype))
        told = numpy_kernels.conv2d_weight_grad(x, d, g)
        back = numpy_kernels.conv2d_input_grad(w, d, g)
        for jobs in JOBS:
            for result, known in ((weights.weight_grad(x, d, g, jobs), told),
                                  (scatter.input_grad(w, d, g, jobs), back)):  # fmt: skip
                assert result.dtype == dtype and result.shape == known.shape
                np.testing.assert_array_equal(result, known, err_msg=f"{name}, {jobs} jobs")


@pytest.mark.slow
@pytest.mark.parametrize("name", LAYERS)
def test_the_bits_do_not_depend_on_jobs(name, form):
    random = np.random.default_rng(2)
    g, x, w, d = layer_of(LAYERS[name], lambda shape: random.standard_normal(shape).astype(np.float32))
    for function, left in ((weights.weight_grad, x), (scatter.input_grad, w)):
        results = [function(left, d, g, jobs) for jobs in JOBS]
        assert all(result.tobytes() == results[0].tobytes() for result in results)


TILED = {  # input, weight, stride: windows side by side, and perhaps cells behind the last one
    "squares": ((2, 3, 32, 48), (20, 3, 16, 16), 16),
    "cells left over": ((3, 5, 13, 11), (9, 5, 3, 2), (3, 2)),
    "one window": ((2, 1, 5, 6), (2, 1, 5, 5), 5),
    "in one direction": ((2, 3, 9, 9), (4, 3, 1, 2), (1, 2)),
}


@pytest.mark.parametrize("name", TILED)
def test_windows_that_tile_the_picture_come_out_exactly(name):
    for dtype in (np.float32, np.float64):
        g, x, w, d = layer_of(TILED[name], whole(4, dtype))
        assert patches.suits(g, dtype)
        bias = whole(5, dtype)(g.out_channels)
        known = (numpy_kernels.conv2d(x, w, bias, g), numpy_kernels.conv2d_input_grad(w, d, g),
                 numpy_kernels.conv2d_weight_grad(x, d, g))  # fmt: skip
        for jobs in JOBS[:2]:
            given = (patches.forward(x, w, bias, g, jobs), patches.input_grad(w, d, g, jobs),
                     patches.weight_grad(x, d, g, jobs))  # fmt: skip
            for result, expected in zip(given, known, strict=True):
                assert result.dtype == dtype and result.shape == expected.shape
                np.testing.assert_array_equal(result, expected, err_msg=f"{name}, {jobs} jobs")


@pytest.mark.parametrize("setting", [
    ((2, 3, 9, 9), (4, 3, 3, 3), 2), ((2, 3, 9, 9), (4, 3, 3, 3), 3, 1), ((2, 3, 9, 9), (4, 3, 1, 1), 1),
    ((2, 3, 9, 9), (4, 3, 3, 3), 3, 0, 2), ((2, 4, 9, 9), (4, 2, 3, 3), 3, 0, 1, 2),
])  # fmt: skip
def test_other_windows_are_refused(setting):
    assert not patches.suits(shapes.conv2d_geometry(*setting), np.float32)


@pytest.mark.slow
@pytest.mark.parametrize("name", PADDED)
@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
def test_no_zero_of_the_padding_is_multiplied(name, number):
    g, x, w, d = layer_of(LAYERS[name], whole(3))
    assert product.turned(g) is None or scatter._pays(g)
    with np.errstate(invalid="ignore"):
        for array in (x, w, d):
            kept, array.flat[array.size // 3] = array.flat[array.size // 3], number
            np.testing.assert_array_equal(weights.weight_grad(x, d, g, 1), numpy_kernels.weight_grad(x, d, g, 1))
            np.testing.assert_array_equal(scatter.input_grad(w, d, g, 1), numpy_kernels.input_grad(w, d, g, 1))
            array.flat[array.size // 3] = kept


def test_infinite_numbers_of_a_1x1_layer_stay_in_their_channels():
    for name in ("1x1, few outputs", "1x1, few inputs", "1x1"):
        g, x, _, d = layer_of(LAYERS[name], whole(4))
        x[1, 5, 2, 3], d[0, 7, 1, 1] = np.inf, np.nan
        with np.errstate(invalid="ignore"):
            np.testing.assert_array_equal(weights.weight_grad(x, d, g, 2), numpy_kernels.weight_grad(x, d, g, 1))


def test_both_sides_get_turned():
    """The cheaper one: without lanes for nobody, or the smaller."""
    n = weights.lanes_of(np.float32)
    for columns, turned in ((2 * n, 2 * n), (64 * n, 8 * n)):
        g = shapes.conv2d_geometry((1, 8 * n, 9, 9), (columns, 8 * n, 1, 1))
        (_, v), (_, exchanged, _), *_ = weights._sides(g, n)
        assert v.in_channels == turned and exchanged == (turned != columns)


def in_one_chain(number, count):
    """The error of adding a square so often, one by one, in float32."""
    chain = np.cumsum(np.full(count, np.float32(number) ** 2, np.float32), dtype=np.float32)
    return abs(chain[-1] - np.float64(np.float32(number)) ** 2 * count)


@pytest.mark.skipif(SLOW, reason="many numbers")
def test_chains_are_short():
    exact = np.float64(np.float32(0.1)) ** 2
    x, d = np.full((1, 8, 300, 300), 0.1, np.float32), np.full((1, 8, 300, 300), 0.1, np.float32)
    g = shapes.conv2d_geometry(x.shape, (8, 8, 1, 1))
    error = np.abs(weights.weight_grad(x, d, g, 1) - exact * 90_000).max()
    assert error < in_one_chain(0.1, 90_000) / 30
    w, d = np.full((20_000, 8, 1, 1), 0.1, np.float32), np.full((1, 20_000, 2, 2), 0.1, np.float32)
    g = shapes.conv2d_geometry((1, 8, 3, 3), w.shape, 2)
    error = np.abs(scatter.input_grad(w, d, g, 1)[..., ::2, ::2] - exact * 20_000).max()
    assert error < in_one_chain(0.1, 20_000) / 5


@pytest.mark.parametrize("rows", [1, 3, 16, 17, 40])
@pytest.mark.parametrize("columns", [1, 5, 16, 23, 33])
def test_turning_writes_the_matrix_and_nothing_else(rows, columns):
    source = np.arange(rows * (columns + 2) + 7.0)
    target = np.full(columns * (rows + 3) + 11, -1.0)
    product.turn(source, 7, columns + 2, target, 11, rows + 3, (rows, columns))
    known = np.full_like(target, -1)
    matrix = source[7:].reshape(rows, columns + 2)[:, :columns]
    known[11:].reshape(columns, rows + 3)[:, :rows] = matrix.T
    assert (target == known).all()


def test_scattered_images_are_shared_in_parts_about_as_large():
    """Three images for one thread and one for the other would take three quarters of the time of a single one."""
    for batch in range(1, 9):
        g = shapes.conv2d_geometry((batch, 192, 17, 17), (192, 192, 7, 1), 1, (3, 0))
        images = scatter._scattering(g, 16)[1][2]
        parts = [min(images, batch - first) for first in range(0, batch, images)]
        assert max(parts) - min(parts) <= 1 or len(parts) > 2
