"""The layer as a product of matrices: in whole numbers it must come out exactly, in all three directions.

The oracle is `convlib.numpy_kernels`. Sizes at which the work is cut are made small, too, so that every cut is met.
"""

import numpy as np
import pytest
from check_kernels import random_layer
from test_functional import COMPILED, SLOW

from convlib import numpy_kernels, shapes

if not COMPILED:
    pytest.skip("about compiled code", allow_module_level=True)

from convlib.kernels import gemm, loops

pytestmark = [pytest.mark.filterwarnings("ignore::RuntimeWarning")] if SLOW else []
JOBS = (1, 2, 3, 5)
SMALL = {"TAPS_AT_ONCE": 7, "COLUMNS_AT_ONCE": 200, "RESULTS_AT_ONCE": 400, "NUMBERS_AT_ONCE": 900,
         "WEIGHTS_KEPT": 40, "SUMS": 60, "PLACES_AT_ONCE": 16,
         "PLACES_SUMMED": 5, "FEW_WEIGHTS": 50}  # fmt: skip
FORMS = {"as it comes": {}, "small portions": SMALL, "always packed": {**SMALL, "PIECE": 0}}


@pytest.fixture(params=FORMS)
def form(request, monkeypatch):
    """Cut the work in other places."""
    forget()
    for name, value in FORMS[request.param].items():
        assert hasattr(gemm, name)
        monkeypatch.setattr(gemm, name, value)
    yield request.param
    forget()


def forget():
    for plan in (gemm.forward_plan, gemm.input_grad_plan, gemm.weight_grad_plan):
        plan.cache_clear()


def layer_of(*sizes, **settings):
    return shapes.conv2d_geometry(*sizes, **settings)


def numbers(random, g, dtype):
    """Whole numbers for input, weights, biases and flow."""
    sizes = g[:4], (g.out_channels, g.in_channels // g.groups, *g[5:7]), (g.out_channels,), shapes.output_shape(g)
    return [random.integers(-3, 4, size).astype(dtype) for size in sizes]


def computed(x, w, b, d, g, jobs):
    return gemm.forward(x, w, b, g, jobs), gemm.input_grad(w, d, g, jobs), gemm.weight_grad(x, d, g, jobs)


def check(random, g, dtype):
    x, w, b, d = numbers(random, g, dtype)
    expected = (numpy_kernels.conv2d(x, w, b, g), numpy_kernels.conv2d_input_grad(w, d, g),
                numpy_kernels.conv2d_weight_grad(x, d, g))  # fmt: skip
    for jobs in JOBS:
        for result, known in zip(computed(x, w, b, d, g, jobs), expected, strict=True):
            assert result.dtype == dtype
            np.testing.assert_array_equal(result, known, err_msg=str((g, dtype, jobs)))


def test_any_layer(form):
    random = np.random.default_rng(len(form))
    for number in range(6 if SLOW else 120):
        check(random, random_layer(random, 3 if SLOW else [8, 20][number % 2]), np.dtype("fd"[number // 2 % 2]))


SPECIAL = {
    "1 x 1": ((3, 40, 11, 13), (70, 40, 1, 1), {}),
    "1 x 1, stride 2": ((2, 9, 14, 15), (20, 9, 1, 1), {"stride": 2}),
    "no padding: the input serves as planes": ((2, 5, 12, 60), (9, 5, 3, 3), {}),
    "as large as the picture": ((9, 6, 7, 7), (17, 6, 7, 7), {}),
    "a large kernel": ((1, 2, 40, 40), (3, 2, 31, 29), {"padding": 15}),
    "far away weights": ((1, 3, 30, 31), (4, 3, 3, 3), {"padding": 9, "dilation": 9}),
    "padding beyond the kernel": ((2, 3, 5, 6), (4, 3, 1, 2), {"padding": 3}),
    "stride beyond the kernel": ((2, 3, 17, 19), (4, 3, 2, 1), {"stride": (5, 3), "padding": 1}),
    "small pictures, many channels": ((5, 70, 4, 4), (140, 70, 3, 3), {"padding": 1}),
    "uneven padding": ((2, 6, 9, 20), (50, 6, 3, 2), {"padding": ((0, 2), (3, 1))}),
    "depthwise": ((2, 6, 9, 9), (6, 1, 3, 3), {"padding": 1, "groups": 6}),
    "one column, stride beyond": ((2, 3, 17, 1), (15, 1, 1, 1), {"stride": (1, 3), "groups": 3}),
    "one row of outputs, several pictures": ((3, 4, 4, 71), (14, 2, 4, 2), {"stride": (4, 2), "groups": 2}),
    "one column": ((3, 4, 50, 1), (9, 4, 3, 1), {"padding": (1, 0)}),
}


@pytest.mark.skipif(SLOW, reason="too large for plain Python")
@pytest.mark.parametrize("name", SPECIAL)
def test_special_layers(name, form):
    *sizes, settings = SPECIAL[name]
    for dtype in ("f", "d"):
        check(np.random.default_rng(1), layer_of(*sizes, **settings), np.dtype(dtype))


LONG = {  # a sum of 4608, of 256, of 4 x 3136 and of 2 x 4000 products
    "3 x 3, 512 channels": (((2, 512, 7, 7), (512, 512, 3, 3)), {"padding": 1}, ("output", "input")),
    "1 x 1, 256 channels": (((1, 256, 28, 28), (256, 256, 1, 1)), {}, ("output", "input")),
    "many places": (((4, 8, 56, 56), (8, 8, 3, 3)), {"padding": 1}, ("weights",)),
    "a single long row": (((2, 4, 1, 4000), (4, 4, 1, 3)), {"padding": (0, 1)}, ("weights",)),
}


@pytest.mark.skipif(SLOW, reason="too large for plain Python")
@pytest.mark.parametrize("name", LONG)
def test_long_sums_stay_exact(name):
    """Chains of sums are short: one chain of thousands is two to ten times less exact."""
    sizes, settings, directions = LONG[name]
    g = layer_of(*sizes, **settings)
    random = np.random.default_rng(4)
    arrays = [random.normal(size=each.shape) for each in numbers(random, g, "d")]
    arrays[2][:] = 0
    x, w, b, d = (each.astype("f") for each in arrays)
    exact = computed(*(each.astype("d") for each in (x, w, b, d)), g, 1)
    for direction, result, known in zip(("output", "input", "weights"), computed(x, w, b, d, g, 1), exact, strict=True):
        if direction in directions:
            assert np.abs(result - known).max() <= 4e-7 * np.abs(known).max(), direction


def test_what_is_not_finite_is_given_back_or_right():
    random = np.random.default_rng(3)
    for stride in (1, 2):
        g = layer_of((2, 3, 8, 9), (4, 3, 3, 3), stride=stride, padding=1)
        x, w, b, d = numbers(random, g, "f")
        for bad in (np.inf, -np.inf, np.nan):
            for place in np.ndindex(w.shape):
                spoilt = w.copy()
                spoilt[place] = bad
                assert gemm.forward(x, spoilt, b, g, 1) is None
                assert gemm.input_grad(spoilt, d, g, 1) is None
            spoilt = x.copy()
            spoilt[1, 2, 3, 4] = bad
            output = np.empty_like(d)
            loops.conv2d(spoilt, w, b, g.stride, (1, 1), g.dilation, g.groups, output)
            np.testing.assert_array_equal(gemm.forward(spoilt, w, b, g, 1), output)
            spoilt = d.copy()
            spoilt[1, 2, 0, 0] = bad  # there the kernel looks at zeros of the padding
            assert gemm.weight_grad(x, spoilt, g, 1) is None


def test_what_it_suits():
    g = layer_of((2, 3, 8, 9), (4, 3, 3, 3))
    assert gemm.suits(g, np.float32) and gemm.suits(g, np.float64) and not gemm.suits(g, np.int64)
    assert not gemm.suits(layer_of((0, 3, 8, 9), (4, 3, 3, 3)), np.float32)
