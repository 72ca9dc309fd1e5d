"""Winograd's kernels: every shape they take, both orders of the work, and what they refuse."""

import numpy as np
import pytest
from test_functional import COMPILED, SLOW

from convlib import numpy_kernels
from convlib.shapes import conv2d_geometry, output_shape

if COMPILED:
    from convlib.kernels import winograd
pytestmark = pytest.mark.skipif(not COMPILED, reason="Numba is missing")
FLOAT = np.dtype(np.float32)


@pytest.fixture(autouse=True)
def nothing_is_too_far_apart(monkeypatch):
    """Here the tiles compute whatever they can; tests/test_accuracy.py is about what they leave to others."""
    monkeypatch.setattr(winograd.ranges, "RANGE", np.inf)


def some_geometries(count, seed):
    """Layers of awkward sizes: no whole tiles, no whole vectors, other zeros on each side."""
    random = np.random.default_rng(seed)
    for number in range(count):
        size = int(random.choice([3, 3, 5]))
        channels = random.integers(100, 220, 2) if number % 7 == 0 and not SLOW else random.integers(1, 70, 2)
        height, width = (int(side) for side in random.integers(size, 30 - 18 * SLOW, 2))
        padding = tuple(tuple(int(zeros) for zeros in random.integers(0, size, 2)) for _ in range(2))
        batch, sources, targets = int(random.integers(1, 5 - 2 * SLOW)), *map(int, channels // (1 + 5 * SLOW) + 1)
        yield conv2d_geometry((batch, sources, height, width), (targets, sources, size, size), padding=padding)


def data(geometry, seed=0):
    random, g = np.random.default_rng(seed), geometry
    sizes = g[:4], (g.out_channels, g.in_channels, *g[5:7]), (g.out_channels,), output_shape(g)
    return [random.standard_normal(size, dtype=FLOAT) for size in sizes]


def passes(x, w, b, d, g, jobs=1):
    return (winograd.forward(x, w, b, g, jobs), winograd.input_grad(w, d, g, jobs),
            winograd.weight_grad(x, d, g, jobs))  # fmt: skip


def exact(x, w, b, d, g):
    x, w, b, d = (array.astype(np.float64) for array in (x, w, b, d))
    return (numpy_kernels.conv2d(x, w, b, g), numpy_kernels.conv2d_input_grad(w, d, g),
            numpy_kernels.conv2d_weight_grad(x, d, g))  # fmt: skip


@pytest.mark.parametrize("geometry", [*some_geometries(5 if SLOW else 60, 1)], ids=str)
def test_close_to_the_exact_sums_and_the_same_bits_for_any_number_of_threads(geometry):
    arrays = data(geometry)
    computed = passes(*arrays, geometry)
    for ours, right in zip(computed, exact(*arrays, geometry), strict=True):
        assert ours.dtype == FLOAT and ours.shape == right.shape
        assert np.abs(ours - right).max() < 3e-5 * np.abs(right).max()
    for jobs in (2, 3):
        for one, other in zip(computed, passes(*arrays, geometry, jobs), strict=True):
            np.testing.assert_array_equal(one, other)


@pytest.fixture
def few_pieces(monkeypatch):
    """Set what counts as few pieces; the orders that are remembered follow."""
    def forget():
        winograd._order.cache_clear(), winograd._weights_order.cache_clear()

    def change(number):
        monkeypatch.setattr(winograd, "FEW_PIECES", number)
        forget()

    yield change
    monkeypatch.undo()
    forget()


def kernels_of(function, monkeypatch, *arguments):
    """The names of the kernels that are run, and the result."""
    used, run = [], winograd.parallel.run
    with monkeypatch.context() as patch:
        patch.setattr(winograd.parallel, "run", lambda kernel, *a: used.append(kernel.__name__) or run(kernel, *a))
        result = function(*arguments)
        return [name for name in used if not name.startswith("look_at")], result


@pytest.mark.skipif(SLOW, reason="large layers")
@pytest.mark.parametrize("size", [3, 5])
def test_both_orders_give_the_same(size, monkeypatch, few_pieces):
    g = conv2d_geometry((6, 90, 9, 11), (100, 90, size, size), padding=1)
    arrays = data(g)
    few_pieces(10**9)
    used, tiles_outside = kernels_of(lambda: passes(*arrays, g), monkeypatch)
    assert used == ["tiles_outside", "tiles_outside", "sum_sections", "add_sections"]
    few_pieces(0)
    used, panels_outside = kernels_of(lambda: passes(*arrays, g), monkeypatch)
    assert set(used) >= {"panels_outside", "weights_outside"}, "the second order was not taken"
    for one, other in zip(tiles_outside[:2], panels_outside[:2], strict=True):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_allclose(tiles_outside[2], panels_outside[2], atol=3e-5 * np.abs(tiles_outside[2]).max())


@pytest.mark.skipif(SLOW, reason="large layers")
@pytest.mark.parametrize(("few", "input_size", "filters", "expected"), [
    (0, (4, 20, 40, 40), 30, {"transform_all_weights", "tiles_outside"}),
    (10**6, (4, 20, 40, 40), 30, {"tiles_outside"}),
    (0, (6, 90, 9, 11), 100, {"transform_all_images", "panels_outside"}),
    (0, (1, 90, 5, 5), 100, {"panels_outside"}),
])  # fmt: skip
def test_pieces_shared_and_pieces_of_ones_own(few, input_size, filters, expected, monkeypatch, few_pieces):
    g = conv2d_geometry(input_size, (filters, input_size[1], 3, 3), padding=1)
    few_pieces(few)
    x, w, b, d = arrays = data(g)
    for right, function in (
        (exact(*arrays, g)[0], lambda jobs: winograd.forward(x, w, b, g, jobs)),
        (exact(*arrays, g)[1], lambda jobs: winograd.input_grad(w, d, g, jobs)),
    ):
        used, one = kernels_of(function, monkeypatch, 1)
        assert set(used) == expected
        assert np.abs(one - right).max() < 3e-5 * np.abs(right).max()
        for jobs in (2, 3, 5):
            np.testing.assert_array_equal(function(jobs), one)


@pytest.mark.skipif(SLOW, reason="large layers")
@pytest.mark.parametrize("batch", [1, 8])
def test_pieces_of_images_for_the_gradient_of_the_weights(batch, monkeypatch, few_pieces):
    g = conv2d_geometry((batch, 90, 5, 5), (100, 90, 3, 3), padding=1)
    few_pieces(0)
    x, _, _, d = arrays = data(g)
    used, one = kernels_of(lambda: winograd.weight_grad(x, d, g, 1), monkeypatch)
    right = exact(*arrays, g)[2]
    assert used == ["transform_all_images"] * (batch == 8) + ["weights_outside"]
    assert np.abs(one - right).max() < 3e-5 * np.abs(right).max()
    for jobs in (2, 3):
        np.testing.assert_array_equal(winograd.weight_grad(x, d, g, jobs), one)


@pytest.mark.skipif(SLOW, reason="large layers")
@pytest.mark.parametrize("scale", [1e-3, 1, 1e3])
@pytest.mark.parametrize("channels", [16, 64, 512])
@pytest.mark.parametrize("size", [3, 5])
def test_the_promised_accuracy(size, channels, scale):
    """Below a ten thousandth of the largest value, also for numbers that are not around zero."""
    g = conv2d_geometry((2, channels, 14, 14), (32, channels, size, size), padding=size // 2)
    x, w, b, d = data(g, 3)
    arrays = x * np.float32(scale) + np.float32(scale), w, b, d
    for ours, right in zip(passes(*arrays, g), exact(*arrays, g), strict=True):
        assert np.abs(ours - right).max() < 1e-4 * np.abs(right).max()


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan, 3e38])
def test_what_is_not_finite_is_left_to_others(value):
    g = conv2d_geometry((2, 5, 9, 8), (6, 5, 3, 3), padding=1)
    x, w, b, d = data(g)
    bad_x, bad_w, bad_b, bad_d = (array.copy() for array in (x, w, b, d))
    bad_x[1, 4, 8, 7], bad_w[5, 4, 0, 2], bad_d[1, 5, 0, 7] = value, value, value
    for arrays in ((bad_x, w, b), (x, bad_w, b)):
        assert winograd.forward(*arrays, g, 2) is None
    for arrays in ((bad_w, d), (w, bad_d)):
        assert winograd.input_grad(*arrays, g, 2) is None
    for arrays in ((bad_x, d), (x, bad_d)):
        assert winograd.weight_grad(*arrays, g, 2) is None
    if abs(value) != 3e38:  # as a bias it is harmless
        bad_b[5] = value
        assert winograd.forward(x, w, bad_b, g, 2) is None


def test_what_was_left_in_the_memory_does_not_matter():
    """The workspaces are kept: fill them with NaN in between."""
    from convlib import parallel

    g = conv2d_geometry((2, 5, 9, 8), (6, 5, 3, 3), padding=1)
    arrays = data(g)
    before = passes(*arrays, g)
    for numbers in vars(parallel._kept).values():
        if numbers.dtype.kind == "f":
            numbers.fill(np.nan)
    for one, other in zip(before, passes(*arrays, g), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("options, dtype, suits", [
    ({"padding": 1}, "f", True),
    ({"padding": 2}, "f", True),
    ({"padding": ((0, 2), (1, 0))}, "f", True),
    ({"padding": 3}, "f", False),
    ({"padding": 1}, "d", False),
    ({"stride": 2}, "f", False),
    ({"stride": (1, 2)}, "f", False),
    ({"dilation": 2}, "f", False),
    ({"groups": 2}, "f", False),
])  # fmt: skip
def test_which_layers_suit(options, dtype, suits):
    weight_size = 6, 6 // options.get("groups", 1), 3, 3
    geometry = conv2d_geometry((1, 6, 9, 9), weight_size, **options)
    assert winograd.suits(geometry, np.dtype(dtype)) is suits


@pytest.mark.parametrize("kernel, suits", [((3, 3), True), ((5, 5), True), ((1, 1), False), ((3, 5), False),
                                           ((4, 4), False), ((7, 7), False)])  # fmt: skip
def test_which_kernels_suit(kernel, suits):
    geometry = conv2d_geometry((1, 6, 9, 9), (6, 6, *kernel))
    assert winograd.suits(geometry, FLOAT) is suits
