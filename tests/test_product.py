"""The layer as a matrix product: in whole numbers it must come out exactly, whatever is packed and whoever computes.

The oracle is `convlib.numpy_kernels`. Portions are made small, too, so that every cut is met.
"""

import numpy as np
import pytest
from test_functional import SLOW

from convlib import algorithms, numpy_kernels
from convlib.shapes import conv2d_geometry, output_shape

if "product" not in algorithms.ALGORITHMS:
    pytest.skip("about compiled code", allow_module_level=True)

from convlib.kernels import gather, product
from convlib.kernels.simd import lanes_of
from convlib.kernels.tuning import AGAIN, APART, IN_PLACE, KEPT, ROWS, VECTORS, WAYS

pytestmark = [pytest.mark.filterwarnings("ignore::RuntimeWarning")] if SLOW else []
JOBS = (1, 3) if SLOW else (1, 2, 3, 5)
FORMS = {"as it comes": {}, "small portions": {"SET": 700, "PIECE": 5}, "strips outside": {"SET": 1},
         "always packed": {"IN_PLACE": 0}, "always in place": {"IN_PLACE": 10**6, "SET": 2000}}  # fmt: skip


@pytest.fixture(params=FORMS)
def form(request, monkeypatch):
    """Cut the work in other places."""
    product._plan.cache_clear()
    for name, value in FORMS[request.param].items():
        monkeypatch.setattr(product, name, value)
    yield request.param
    product._plan.cache_clear()


def pair(random, low, high):
    return tuple(map(int, random.integers(low, high + 1, 2)))


def any_layer(random, largest):
    """Sizes and settings of some layer."""
    counts = [1, 1, 2, 3], [1, 2, 5, 8, largest], [1, 4, 8, 9, 17]
    groups, sources, targets = (int(random.choice(each)) for each in counts)
    kernel = [pair(random, 1, 5), (3, 3), (1, 1), (1, 1)][random.integers(4)]
    stride = [(1, 1), (1, 1), (2, 2), pair(random, 1, 4)][random.integers(4)]
    dilation = [(1, 1), pair(random, 1, 5)][random.integers(2)]
    padding = [((0, 0), (0, 0)), (pair(random, 0, 4), pair(random, 0, 4))][random.integers(2)]
    least = [d * (m - 1) + 1 - sum(zeros) for d, m, zeros in zip(dilation, kernel, padding, strict=True)]
    grid = [max(each, 1) + extra for each, extra in zip(least, pair(random, 0, 2 * largest), strict=True)]
    sizes = (int(random.integers(1, 4)), groups * sources, *grid), (groups * targets, sources, *kernel)
    return conv2d_geometry(*sizes, stride, padding, dilation, groups)


def numbers(random, g, dtype, whole=True):
    """Input, weights, biases and flow."""
    sizes = g[:4], (g.out_channels, g.in_channels // g.groups, *g[5:7]), (g.out_channels,), output_shape(g)
    return [(random.integers(-3, 4, size) if whole else random.normal(size=size)).astype(dtype) for size in sizes]


def check(random, g, dtype):
    x, w, b, d = numbers(random, g, dtype)
    output, told, turned = numpy_kernels.conv2d(x, w, b, g), numpy_kernels.conv2d_input_grad(w, d, g), product.turned(g)
    for jobs in JOBS:
        np.testing.assert_array_equal(product.forward(x, w, b, g, jobs), output, err_msg=str((g, dtype, jobs)))
        if turned:
            np.testing.assert_array_equal(product.input_grad(w, d, turned, jobs), told, err_msg=str((g, dtype, jobs)))


def test_any_layer(form):
    random = np.random.default_rng(len(form))
    for number in range(5 if SLOW else 80):
        check(random, any_layer(random, 3 if SLOW else [8, 20][number % 2]), np.dtype("fd"[number // 2 % 2]))


SPECIAL = {
    "1 x 1, images end within strips": ((3, 40, 11, 13), (70, 40, 1, 1), {}),
    "1 x 1, few rows": ((2, 40, 9, 30), (3, 40, 1, 1), {}),
    "1 x 1 with padding is no long line": ((2, 9, 5, 6), (9, 9, 1, 1), {"padding": 1}),
    "1 x 1, stride 2": ((2, 9, 14, 15), (20, 9, 1, 1), {"stride": 2}),
    "a line of cells": ((2, 5, 1, 40), (9, 5, 1, 3), {"padding": (0, 1)}),
    "one place": ((9, 6, 7, 7), (17, 6, 7, 7), {}),
    "a large kernel": ((1, 2, 40, 40), (3, 2, 31, 29), {"padding": 15}),
    "far away taps": ((2, 3, 30, 31), (9, 3, 3, 3), {"padding": 12, "dilation": 12}),
    "places that see padding only": ((2, 3, 5, 6), (4, 3, 1, 2), {"padding": 3}),
    "stride beyond the kernel": ((2, 3, 17, 19), (4, 3, 2, 1), {"stride": (5, 3), "padding": 1}),
    "a longer sum than a chain": ((1, 1100, 3, 3), (9, 1100, 1, 1), {}),
    "groups": ((2, 12, 9, 9), (24, 4, 3, 3), {"groups": 3, "padding": 1}),
    "groups of few rows": ((2, 12, 9, 9), (15, 4, 3, 3), {"groups": 3, "padding": (2, 0)}),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", SPECIAL)
def test_special_layers(name, form):
    sizes, settings = SPECIAL[name][:2], SPECIAL[name][2]
    check(np.random.default_rng(3), conv2d_geometry(*sizes, **settings), np.dtype("f"))


def test_the_bits_depend_on_nothing_but_the_numbers(monkeypatch):
    """Not on jobs, nor on what is packed at a time."""
    random = np.random.default_rng(1)
    for _ in range(3 if SLOW else 30):
        g = any_layer(random, 3 if SLOW else 20)
        x, w, b, d = numbers(random, g, np.float32, whole=False)
        turned, seen = product.turned(g), set()
        for jobs in JOBS:
            for numbers_at_a_time in (1, 3000, 100_000):
                monkeypatch.setattr(product, "SET", numbers_at_a_time)
                product._plan.cache_clear()
                results = [product.forward(x, w, b, g, jobs)]
                results += [product.input_grad(w, d, turned, jobs)] if turned else []
                seen.add(b"".join(each.tobytes() for each in results))
        product._plan.cache_clear()
        assert len(seen) == 1, g


def test_a_long_sum_is_cut():
    """Positive numbers: in one chain of float32 the sums would lose ten times as much."""
    random, depth = np.random.default_rng(2), 2000 if SLOW else 30_000
    x, w = (random.random(size).astype(np.float32) for size in ((1, depth, 1, 9), (8, depth, 1, 1)))
    g = conv2d_geometry(x.shape, w.shape)
    exact = np.einsum("cx,kc->kx", x[0, :, 0].astype(float), w[:, :, 0, 0].astype(float))
    assert np.abs(product.forward(x, w, np.zeros(8, np.float32), g, 1)[0, :, 0] / exact - 1).max() < 1e-6
    turned = product.turned(conv2d_geometry((1, 8, 1, 9), (depth, 8, 1, 1)))
    told = product.input_grad(np.ascontiguousarray(w.swapaxes(0, 1)), x, turned, 1)
    assert np.abs(told[0, :, 0] / exact - 1).max() < 1e-6


def test_not_finite_weights_and_the_padding():
    """None, or what NumPy gives, tap by tap."""
    random, given_up = np.random.default_rng(4), 0
    for number in range(4 if SLOW else 60):
        g = any_layer(random, 3 if SLOW else 12)
        x, w, b, d = numbers(random, g, np.float32)
        w.flat[random.integers(w.size)] = [np.inf, -np.inf, np.nan][number % 3]
        results = [(product.forward(x, w, b, g, 2), numpy_kernels.forward(x, w, b, g, 1))]
        if product.turned(g):
            results.append((product.input_grad(w, d, product.turned(g), 2), numpy_kernels.input_grad(w, d, g, 1)))
        for result, expected in results:
            given_up += result is None
            assert result is None or np.array_equal(result, expected, equal_nan=True), g
        assert any(g.padding[0] + g.padding[1]) or results[0][0] is not None
    assert given_up > 0


def test_not_finite_cells_stay_where_they_are():
    random = np.random.default_rng(5)
    for number in range(4 if SLOW else 60):
        g = any_layer(random, 3 if SLOW else 12)
        x, w, b, d = numbers(random, g, np.float32)
        x.flat[random.integers(x.size)] = d.flat[random.integers(d.size)] = [np.inf, -np.inf, np.nan][number % 3]
        assert np.array_equal(product.forward(x, w, b, g, 2), numpy_kernels.forward(x, w, b, g, 1), equal_nan=True), g
        if turned := product.turned(g):
            told = product.input_grad(w, d, turned, 2)
            assert np.array_equal(told, numpy_kernels.input_grad(w, d, g, 1), equal_nan=True), g


def columns_of(x, g):
    """X, written down: [channel, tap, place]."""
    (top, bottom), (left, right) = g.padding
    padded = np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)))
    taps = [padded[:, :, u * g.dilation[0] :, v * g.dilation[1] :]
            [:, :, :: g.stride[0], :: g.stride[1]][:, :, : g.out_height, : g.out_width]
            for u in range(g.kernel_height) for v in range(g.kernel_width)]  # fmt: skip
    return np.stack(taps, axis=2).transpose(1, 2, 0, 3, 4).reshape(g.in_channels, len(taps), -1)


def test_strips_are_the_columns_of_x():
    """And the table and the room are as large as they have to be; rows that are left out are zero."""
    random, n = np.random.default_rng(6), lanes_of(np.float32)
    wide = VECTORS * n
    for _ in range(4 if SLOW else 60):
        g = any_layer(random, 3 if SLOW else 12)._replace(groups=1)
        x, w = random.normal(size=g[:4]).astype(np.float32), gather.window_of(g)
        expected = columns_of(x, g)
        expected = np.pad(expected, ((0, 0), (0, 0), (0, -expected.shape[2] % wide)))
        for strip in range(expected.shape[2] // wide):
            taps = gather.taps_met(w, strip, n)
            table = np.zeros((gather.table_rows(w, 1, n), 4), np.int64)
            parts, whole = gather._list_pieces(w, (strip, strip + 1), taps, n, table)
            assert 0 <= parts <= whole <= len(table), g
            room = np.full(gather.strip_room(w, n) + 1, 77, np.float32)
            gather.bring_strips(w, x.reshape(-1), 0, (strip, strip + 1), taps, room, table)
            there, count = expected[:, :, strip * wide : (strip + 1) * wide], taps[1] - taps[0]
            got = room[: g.in_channels * count * wide].reshape(g.in_channels, count, wide)
            assert np.array_equal(got, there[:, taps[0] : taps[1]]) and room[-1] == 77, g
            assert not there[:, : taps[0]].any() and not there[:, taps[1] :].any(), g


def test_far_away_taps_are_left_out():
    n = lanes_of(np.float32)
    g = conv2d_geometry((1, 4, 64, 64), (8, 4, 3, 3), 1, 24, 24)
    met = [gather.taps_met(gather.window_of(g), strip, n) for strip in range(64 * 64 // (VECTORS * n))]
    assert met[0] == (3, 9) and met[-1] == (0, 6) and (0, 9) in met


@pytest.mark.parametrize("kernel", [(3, 2), (1, 1)])
@pytest.mark.parametrize("turned", [False, True])
def test_packed_panels(turned, kernel):
    """Each panel: for every number and tap ROWS weights side by side, zeros below the last row."""
    random, taps = np.random.default_rng(7), kernel[0] * kernel[1]
    weight = random.normal(size=(2 * 13, 11, *kernel)).astype(np.float32)
    g = conv2d_geometry((1, 2 * 11, 5, 4), weight.shape, groups=2)
    layer, rows, depth, parts = g, 13, 11, weight.reshape(2, 13, 11, taps)
    if turned:
        layer, rows, depth, parts = product.turned(g), 11, 13, parts[..., ::-1].swapaxes(1, 2)
    padded = np.zeros((2, -(-rows // ROWS) * ROWS, depth, taps), np.float32)
    padded[:, :rows] = parts
    expected = padded.reshape(2, -1, ROWS, depth * taps).swapaxes(2, 3).ravel()
    for jobs in JOBS:
        panels = product.packed(weight.reshape(-1), layer, turned, (ROWS, turned), jobs)
        assert np.array_equal(panels[: expected.size], expected)


@pytest.mark.slow
@pytest.mark.parametrize("taps", [1, 4, 9, 20])
@pytest.mark.parametrize("vectors", [0, 1, 2])
def test_each_job_packs_its_own_numbers(taps, vectors):
    """Squares write too far, and so do rows, but no further than what the same job writes anew."""
    n, run = product.lanes_of(np.dtype(np.float32)), product.AT_ONCE[taps > 1]
    for rows, depth, backwards in ((3 * n + 5, 2 * run + 3, False), (2 * n, 5, True), (n - 1, 9, False)):
        wide = vectors * n or ROWS
        weight = np.random.default_rng(9).normal(size=(2, depth, rows, taps)).astype(np.float32)
        known = np.zeros((2, depth, -(-rows // wide) * wide, taps), np.float32)
        known[:, :, :rows] = weight[..., ::-1] if backwards else weight
        known = known.reshape(2, depth, -1, wide, taps).transpose(0, 2, 1, 4, 3).ravel()
        for jobs in JOBS:
            written = np.zeros(known.size, int)
            for job in range(jobs):
                panels = np.full(known.size, np.nan, np.float32)
                work = np.empty(2 * n * n, np.float32)
                product.pack(job, jobs, weight.ravel(), (2, depth, rows, taps, run), (wide, backwards), panels, work)
                own = np.isfinite(panels)
                written += own
                assert np.array_equal(panels[own], known[own])
            assert (written == 1).all()


@pytest.mark.skipif(SLOW, reason="about jobs at the same time")
@pytest.mark.parametrize("dtype", "fd")
def test_what_two_jobs_write_is_not_added_twice(dtype):
    """The last panel is moved back onto rows of the one before, while sums of several chains wait in memory."""
    wide = VECTORS * lanes_of(dtype)  # one strip, which lies in one image: so jobs share the panels
    g = conv2d_geometry((1, 40, 3, wide + 2), (ROWS + 1, 40, 3, 3))
    x, w, b, _ = numbers(np.random.default_rng(11), g, dtype, whole=False)
    expected = product.forward(x, w, b, g, 1)
    for _ in range(3000):
        assert np.array_equal(product.forward(x, w, b, g, 2), expected)


def test_one_small_image_is_enough_for_two_jobs(monkeypatch):
    """49 places are two strips: then jobs share them; four jobs share the rows."""
    g = conv2d_geometry((1, 16, 7, 7), (64, 16, 1, 1))
    x, w, b, _ = numbers(np.random.default_rng(8), g, np.float32, whole=False)
    for jobs in (2, 4):
        written = []
        for job in range(jobs):

            def run(kernel, jobs, space, dtype, *arguments, job=job):
                arguments[3][0][:] = np.nan  # the result
                kernel(job, jobs, *arguments, np.zeros(space, dtype))

            monkeypatch.setattr(product.parallel, "run", run)
            written.append(np.isfinite(product.forward(x, w, b, g, jobs)))
        assert (np.sum(written, axis=0) == 1).all(), "each result by one job"
        assert max(map(np.sum, written)) <= 1.4 * w.shape[0] * 49 / jobs


def test_what_can_be_turned():
    make = lambda **settings: conv2d_geometry((2, 3, 9, 9), (5, 3, 3, 3), **settings)  # noqa: E731
    assert product.turned(make(stride=2)) is None and product.turned(make(padding=3)) is None
    back = product.turned(make(padding=((2, 0), (1, 1))))
    assert back.padding == ((0, 2), (1, 1)) and (back.in_channels, back.out_channels) == (5, 3)
    assert product.suits(make(), np.float32) and not product.suits(make(), np.int64)


def test_strips_are_read_in_place_where_they_fit_into_the_first_cache():
    def in_place(channels, size, targets=8):
        g = conv2d_geometry((1, channels, size, size), (targets, channels, 1, 1))
        return product._plan(g, lanes_of("f"))[1][1] > 0

    assert in_place(8, 14, IN_PLACE) and not in_place(8, 14, IN_PLACE + 1)
    rows = WAYS * AGAIN // 64  # images of 56 x 56 numbers begin at multiples of 64 numbers
    assert 56 * 56 % 128 == 64 and in_place(rows, 56) and not in_place(rows + 1, 56)
    rows = KEPT * AGAIN // 64  # so many for the most output channels
    assert in_place(rows, 56, IN_PLACE) and not in_place(rows + 1, 56, IN_PLACE)
    rows = WAYS * AGAIN // APART  # images of 13 x 13 numbers begin anywhere
    assert in_place(rows, 13) and not in_place(rows + 1, 13)
