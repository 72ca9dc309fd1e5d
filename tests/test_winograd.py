"""Winograd's kernels: every shape they take, few and many weights, phases of a dilation, and what they refuse."""

import numpy as np
import pytest
from test_functional import COMPILED, REPEATED, SLOW

from convlib import numpy_kernels, ranges
from convlib.phases import phases_of
from convlib.shapes import conv2d_geometry, output_shape

if COMPILED:
    from convlib.kernels import winograd
pytestmark = pytest.mark.skipif(not COMPILED, reason="Numba is missing")
FLOAT = np.dtype(np.float32)


@pytest.fixture
def everything(monkeypatch):
    """Here the tiles compute whatever they can; the other tests are about what they leave to others."""
    monkeypatch.setattr(ranges, "RANGE", np.inf)


def some_geometries(count, seed):
    """Layers of awkward sizes: no whole tiles, no whole vectors, other zeros on each side, dilated."""
    random, n = np.random.default_rng(seed), winograd.N
    for number in range(seed, seed + count):
        size = int(random.choice([3, 3, 5]))
        most = (100, 220) if number % 7 == 0 and not SLOW else (n, 70 - 40 * SLOW)
        channels = random.integers(*most, 2)
        dilation = tuple(map(int, random.integers(1, 4, 2))) if number % 3 == 1 else (1, 1)
        sides = [int(random.integers((size - 1) * d + 1, 32 - 14 * SLOW)) for d in dilation]
        padding = tuple(tuple(map(int, random.integers(0, (size - 1) * d + 1, 2))) for d in dilation)
        batch, (sources, targets) = int(random.integers(1, 5 - 2 * SLOW)), map(int, channels)
        shapes = (batch, sources, *sides), (targets, sources, size, size)
        geometry = conv2d_geometry(*shapes, padding=padding, dilation=dilation)
        if winograd.suits(geometry, FLOAT):
            yield geometry


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


def check(computed, arrays, geometry, limit=3e-5):
    for ours, right in zip(computed, exact(*arrays, geometry), strict=True):
        assert ours.dtype == FLOAT and ours.shape == right.shape
        assert np.abs(ours - right).max() < limit * np.abs(right).max()


@pytest.mark.slow
@pytest.mark.parametrize("number", range(1 if SLOW else 10 if REPEATED else 30))
def test_close_to_the_exact_sums_and_the_same_bits_for_any_number_of_threads(number, everything):
    for geometry in some_geometries(1, number):
        arrays = data(geometry)
        computed = passes(*arrays, geometry)
        check(computed, arrays, geometry)
        for jobs in (2, 3):
            for one, other in zip(computed, passes(*arrays, geometry, jobs), strict=True):
                np.testing.assert_array_equal(one, other)


def test_enough_layers_were_tried():
    tried = [g for number in range(30) for g in some_geometries(1, number)]
    assert len(tried) == 30 and sum(g.dilation != (1, 1) for g in tried) > 5
    assert sum(g.kernel_height == 5 for g in tried) > 5


@pytest.fixture
def tuned(monkeypatch):
    """Set numbers of the table; the plans that are remembered follow."""

    def change(**numbers):
        for name, number in numbers.items():
            monkeypatch.setattr(winograd, name, number)
        winograd._order.cache_clear(), winograd._weights_order.cache_clear()

    yield change
    monkeypatch.undo()
    change()


@pytest.mark.skipif(SLOW, reason="large layers")
@pytest.mark.parametrize("size", [3, 5])
def test_few_and_many_weights_give_the_same(size, tuned, everything):
    g = conv2d_geometry((6, 90, 9, 11), (100, 90, size, size), padding=1)
    arrays = data(g)
    tuned(FEW_PIECES=10**9)
    assert winograd._order(g, "forward")[0].few
    few = passes(*arrays, g)
    for pieces in (10**9, 75_000):  # all tiles at once, and portion after portion
        tuned(FEW_PIECES=0, MANY_PIECES=pieces)
        plan = winograd._order(g, "forward")[0]
        assert not plan.few and (plan.portion < 6 * plan.tile_rows) == (pieces == 75_000)
        assert (winograd._images_at_once(g) < 6) == (pieces == 75_000)
        many = passes(*arrays, g)
        check(many, arrays, g)
        for jobs in (2, 5):
            for one, other in zip(many, passes(*arrays, g, jobs), strict=True):
                np.testing.assert_array_equal(one, other)
    for one, other in zip(few, many, strict=True):
        np.testing.assert_allclose(one, other, atol=3e-5 * np.abs(one).max())


@pytest.mark.skipif(SLOW, reason="large layers")
def test_channels_in_parts_where_the_weights_are_many(tuned, everything):
    """The last part holds what is left; a vector that moves back stays in it."""
    tuned(FEW_PIECES=0, PART=32)
    for sources in (32, 63, 64, 70, 97):
        g = conv2d_geometry((2, sources, 9, 7), (40, sources, 3, 3), padding=1)
        assert winograd._order(g, "forward")[0].parts == sources // 32
        arrays = data(g)
        check(passes(*arrays, g, 2), arrays, g)


@pytest.mark.skipif(SLOW, reason="large layers")
@pytest.mark.parametrize("scale", [1e-3, 1, 1e3])
@pytest.mark.parametrize("channels", [16, 64, 512])
@pytest.mark.parametrize("size", [3, 5])
def test_the_promised_accuracy(size, channels, scale):
    """Below a ten thousandth of the largest value, also for numbers that are not around zero."""
    g = conv2d_geometry((2, channels, 14, 14), (32, channels, size, size), padding=size // 2)
    x, w, b, d = data(g, 3)
    arrays = x * np.float32(scale) + np.float32(scale), w, b, d
    check(passes(*arrays, g), arrays, g, 1e-4)


@pytest.mark.parametrize("dilation", [1, pytest.param(2, marks=pytest.mark.slow)])
@pytest.mark.parametrize("value", [
    np.nan, 3e38, *(pytest.param(each, marks=pytest.mark.slow) for each in (np.inf, -np.inf))])
def test_what_is_not_finite_is_left_to_others(value, dilation, everything):
    g = conv2d_geometry((2, 17, 9, 8), (18, 17, 3, 3), padding=dilation, dilation=dilation)
    x, w, b, d = data(g)
    bad_x, bad_w, bad_b, bad_d = (array.copy() for array in (x, w, b, d))
    bad_x[1, 16, 8, 7], bad_w[17, 16, 0, 2], bad_d[1, 17, 0, 7] = value, value, value
    for arrays in ((bad_x, w, b), (x, bad_w, b)):
        assert winograd.forward(*arrays, g, 2) is None
    for arrays in ((bad_w, d), (w, bad_d)):
        assert winograd.input_grad(*arrays, g, 2) is None
    for arrays in ((bad_x, d), (x, bad_d)):
        assert winograd.weight_grad(*arrays, g, 2) is None
    if abs(value) != 3e38:  # as a bias it is harmless
        bad_b[17] = value
        assert winograd.forward(x, w, bad_b, g, 2) is None


def spoiled(direction, g, place):
    """A layer's arguments with one number of 1e10 in the factor that is read in windows."""
    x, w, b, d = data(g)
    images = d if direction == "input_grad" else x
    images[place] = 1e10
    return {"forward": (x, w, b), "input_grad": (w, d), "weight_grad": (x, d)}[direction]


@pytest.mark.parametrize("jobs", [1, pytest.param(3, marks=pytest.mark.slow)])
@pytest.mark.parametrize("dilation", [1, pytest.param(2, marks=pytest.mark.slow)])
@pytest.mark.parametrize("place", [
    (0, 0, 0, 0), *(pytest.param(each, marks=pytest.mark.slow) for each in ((1, 16, 11, 13), (1, 3, 0, 6)))])
@pytest.mark.parametrize("direction", ["forward", "input_grad", "weight_grad"])
def test_an_outlier_is_left_to_others(direction, place, dilation, jobs):
    """At the rim, where not every tap reads it; the other results would suffer."""
    g = conv2d_geometry((2, 17, 12, 14), (18, 17, 3, 3), padding=dilation, dilation=dilation)
    assert getattr(winograd, direction)(*spoiled(direction, g, place), g, jobs) is None
    clean = spoiled(direction, g, place)
    clean[1 if direction == "input_grad" else 0][place] = 1
    assert getattr(winograd, direction)(*clean, g, jobs) is not None


@pytest.mark.parametrize("direction", ["forward", "input_grad"])
def test_taps_that_some_results_do_not_read(direction):
    """The corner of the output reads the rest of the kernel alone: its errors would be those of the large weight."""
    g = conv2d_geometry((2, 17, 12, 14), (18, 17, 3, 3), padding=1)
    x, w, b, d = data(g)
    for u, v, far in ((1, 1, False), (0, 1, True), (2, 2, True)):
        large = w.copy()
        large[:, :, u, v] *= 1000
        arrays = (x, large, b) if direction == "forward" else (large, d)
        assert (getattr(winograd, direction)(*arrays, g, 1) is None) == far


def test_a_rim_of_flow_that_not_every_tap_reads():
    g = conv2d_geometry((2, 17, 12, 14), (18, 17, 3, 3), padding=1)
    x, _, _, d = data(g)
    assert winograd.weight_grad(x, d, g, 1) is not None
    d[:, 4, :, 0] *= 3000
    assert winograd.weight_grad(x, d, g, 1) is None


def test_a_window_of_zeros_gives_the_bias():
    g = conv2d_geometry((2, 17, 12, 14), (18, 17, 3, 3), padding=1)
    x, w, b, _ = data(g)
    x[:, :, :6, :6] = 0
    output = winograd.forward(x, w, b, g, 1)
    np.testing.assert_array_equal(output[:, :, :5, :5], np.broadcast_to(b[:, None, None], (2, 18, 5, 5)))
    right = exact(x, w, b, np.zeros_like(output), g)[0]
    assert np.abs(output - right).max() < 3e-5 * np.abs(right).max()


@pytest.mark.slow
def test_what_was_left_in_the_memory_does_not_matter(everything):
    """The workspaces are kept: fill them with NaN in between."""
    from convlib import parallel

    for size, filters in (((2, 17, 9, 8), 18), ((2, 150, 9, 8), 170)):
        g = conv2d_geometry(size, (filters, size[1], 3, 3), padding=1)
        arrays = data(g)
        before = passes(*arrays, g)
        for numbers in vars(parallel._kept).values():
            if numbers.dtype.kind == "f":
                numbers.fill(np.nan)
        for one, other in zip(before, passes(*arrays, g), strict=True):
            np.testing.assert_array_equal(one, other)


def test_the_phases_of_a_dilation_cover_everything_once():
    g = conv2d_geometry((2, 20, 17, 13), (24, 20, 3, 3), padding=((1, 4), (3, 0)), dilation=(3, 2))
    cells, places = np.zeros((17, 13), int), np.zeros((g.out_height, g.out_width), int)
    for layer, some_cells, some_places in phases_of(g):
        assert layer.batch == 2 * len(some_cells) and layer.dilation == (1, 1) and min(sum(layer.padding, ())) >= 0
        for one, other in zip(some_cells, some_places, strict=True):
            assert cells[one].shape == (layer.height, layer.width)
            assert places[other].shape == (layer.out_height, layer.out_width)
            cells[one] += 1
            places[other] += 1
    assert (cells == 1).all() and (places == 1).all()


@pytest.mark.parametrize("options, dtype, suits", [
    ({"padding": 1}, "f", True),
    ({"padding": 2}, "f", True),
    ({"padding": ((0, 2), (1, 0))}, "f", True),
    ({"padding": 3}, "f", False),
    ({"padding": 1}, "d", False),
    ({"stride": 2}, "f", False),
    ({"stride": (1, 2)}, "f", False),
    ({"dilation": 2}, "f", True),
    ({"dilation": 2, "padding": 4}, "f", True),
    ({"dilation": 2, "padding": 5}, "f", False),
    ({"dilation": 10, "padding": 10}, "f", False),
    ({"groups": 2}, "f", False),
])  # fmt: skip
def test_which_layers_suit(options, dtype, suits):
    weight_size = 32, 32 // options.get("groups", 1), 3, 3
    geometry = conv2d_geometry((1, 32, 9, 9), weight_size, **options)
    assert winograd.suits(geometry, np.dtype(dtype)) is suits


@pytest.mark.parametrize("kernel, suits", [((3, 3), True), ((5, 5), True), ((1, 1), False), ((3, 5), False),
                                           ((4, 4), False), ((7, 7), False)])  # fmt: skip
def test_which_kernels_suit(kernel, suits):
    geometry = conv2d_geometry((1, 16, 9, 9), (16, 16, *kernel))
    assert winograd.suits(geometry, FLOAT) is suits


def test_a_vector_of_channels_is_needed_on_each_side():
    n = winograd.N
    for sources, targets, suits in ((n, n, True), (n - 1, n, False), (n, n - 1, False)):
        assert winograd.suits(conv2d_geometry((1, sources, 9, 9), (targets, sources, 3, 3)), FLOAT) is suits
