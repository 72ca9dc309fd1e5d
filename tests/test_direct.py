"""Direct convolution against NumPy and the planes: settings, lines of any length, numbers that are not finite."""

import numpy as np
import pytest
from test_functional import COMPILED, SLOW

from convlib import algorithms, numpy_kernels
from convlib.shapes import conv2d_geometry, output_shape

if not COMPILED:
    pytest.skip("Numba is missing", allow_module_level=True)

from convlib.kernels import direct, planes
from convlib.kernels.simd import lanes_of
from convlib.kernels.tuning import NEAR, PIECE, TALL, VECTORS

N = lanes_of("f")
LAYERS = {
    "the house": ((1, 3, 7, 7), (2, 3, 3, 3), 1, 1),
    "one vector of channels": ((2, 5, 7, 14), (N, 5, 3, 3), 1, 1),
    "a block of channels": ((2, 5, 6, 9), (VECTORS * N, 5, 3, 3), 1, 1),
    "three vectors and one more channel": ((1, 4, 8, 8), (3 * N + 1, 4, 3, 3), 1, 1),
    "lines shorter than a block": ((3, 4, 9, TALL - 4), (N + 3, 4, 3, 1), 1, ((1, 1), (0, 0))),
    "lines one place longer": ((2, 4, 5, TALL + 1), (N, 4, 1, 1), 1, 0),
    "groups": ((2, 4 * 6, 7, 7), (4 * 2 * N, 6, 3, 3), 1, 1, 1, 4),
    "groups of few channels": ((2, 9, 7, 8), (6, 3, 3, 3), 1, 1, 1, 3),
    "each channel by itself": ((2, 5, 9, 7), (5, 1, 3, 3), 1, 1, 1, 5),
    "stride": ((2, 4, 15, 16), (2 * N, 4, 3, 3), 2, 1),
    "strides and groups": ((1, 8, 19, 23), (2 * N, 4, 3, 2), (2, 3), (1, 0), 1, 2),
    "dilation": ((2, 4, 13, 12), (N, 4, 3, 3), 1, 3, 3),
    "one-sided padding": ((2, 3, 7, 9), (N + 5, 3, 4, 5), 1, ((3, 0), (1, 4))),
    "no padding": ((2, 3, 9, 9), (N, 3, 3, 3), 1, 0),
    "longer than a chain": ((1, PIECE // 9 + 1, 7, 7), (N, PIECE // 9 + 1, 3, 3), 1, 1),
    "several chains": ((1, PIECE // 4, 3, 8), (N, PIECE // 4, 3, 3), 1, 1),
    "a single place": ((2, 6, 3, 3), (N, 6, 3, 3), 1, 0),
}


def layer_of(case):
    size, weight_size, *settings = LAYERS[case]
    return conv2d_geometry(size, weight_size, *settings)


def numbers_of(g, dtype, most=4):
    """Whole numbers, whose sums are exact in any order: input, weight, bias, flow."""
    random = np.random.default_rng(0)
    sizes = g[:4], (g.out_channels, g.in_channels // g.groups, *g[5:7]), g.out_channels, output_shape(g)
    return [random.integers(-most, most + 1, size).astype(dtype) for size in sizes]


@pytest.mark.parametrize("case", LAYERS)
@pytest.mark.parametrize("dtype", ["f", pytest.param("d", marks=pytest.mark.slow)])
@pytest.mark.parametrize("jobs", [1, pytest.param(3, marks=pytest.mark.slow)])
def test_output_and_learning_flow(case, dtype, jobs):
    g = layer_of(case)
    x, w, b, d = numbers_of(g, dtype)
    output, flow = direct.forward(x, w, b, g, jobs), direct.input_grad(w, d, g, jobs)
    assert output.dtype == flow.dtype == dtype
    np.testing.assert_array_equal(output, numpy_kernels.conv2d(x, w, b, g))
    np.testing.assert_array_equal(flow, numpy_kernels.conv2d_input_grad(w, d, g))


@pytest.mark.slow
@pytest.mark.parametrize("case", LAYERS)
def test_the_same_bits_for_any_number_of_jobs_and_as_the_planes(case):
    g, random = layer_of(case), np.random.default_rng(1)
    x, w, b, d = (random.normal(size=array.shape).astype("f") for array in numbers_of(g, "f"))
    outputs = [direct.forward(x, w, b, g, jobs) for jobs in (1, 2, 5)]
    flows = [direct.input_grad(w, d, g, jobs) for jobs in (1, 2, 5)]
    for results in (outputs, flows):
        assert all(np.array_equal(result, results[0]) for result in results)
    if not planes._slides(g, False):  # there the sums go column by column
        np.testing.assert_array_equal(outputs[0], planes.forward(x, w, b, g, 1))


@pytest.mark.slow
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@np.errstate(invalid="ignore")
def test_what_is_not_finite_arrives_where_it_is_seen(value):
    for case in ("the house", "groups", "stride", "one-sided padding"):
        g = layer_of(case)
        for which in range(4):
            x, w, b, d = arrays = numbers_of(g, "f")
            arrays[which].flat[arrays[which].size // 2] = value
            output, flow = direct.forward(x, w, b, g, 2), direct.input_grad(w, d, g, 2)
            if which == 1:
                assert output is flow is None  # it would be multiplied by the zeros of the padding
                continue
            np.testing.assert_array_equal(output, numpy_kernels.conv2d(x, w, b, g))
            np.testing.assert_array_equal(flow, numpy_kernels.conv2d_input_grad(w, d, g))


@pytest.mark.parametrize("width, vectors, tall", [
    (TALL, 1, 1), (2 * TALL, 1, 2), (2 * TALL + 1, 1, 1), (TALL + 1, 3, 2), (2 * TALL, 2, 1), (4 * TALL, 4, 1)])
def test_one_vector_of_channels_takes_twice_as_many_places_where_a_line_has_them(width, vectors, tall):
    g = conv2d_geometry((1, 4, 3, width), (vectors * N, 4, 3, 3), 1, 1)
    shape, _, room = direct._plan(g, N, False)
    assert len(shape) == tall * TALL and len(shape[0]) == (VECTORS if vectors % VECTORS == 0 else 1)
    line = -(-width // len(shape)) * len(shape)  # its blocks and the planes they read fit into a job's memory
    assert room == direct._sizes(g, N)[2] + 3 * line * len(shape[0]) * N
    assert direct._sizes(g, N)[2] >= 4 * direct._sizes(g, N)[1] + line - width


def test_only_planes_that_stay_near():
    side = int(NEAR**0.5)
    for channels, groups, near in ((1, 1, True), (2, 1, False), (4, 4, True)):
        g = conv2d_geometry((1, channels, side, side), (channels, channels // groups, 1, 1), groups=groups)
        assert direct.suits(g, np.float32) == near
    more = conv2d_geometry((1, 1, side, side), (3, 1, 1, 1))
    assert not direct.suits(more, np.float32)  # as the source of the learning flow


@pytest.mark.skipif(SLOW, reason="about what pays where it is compiled")
def test_it_pays_where_its_blocks_are_full(monkeypatch):
    def pays(size, weight_size, *settings):
        g = conv2d_geometry(size, weight_size, *settings)
        return algorithms.direct_pays(g, planes.suits(g, np.float32))

    wide = algorithms.tuning.REGISTERS == 32
    assert pays((4, 1024, 7, 7), (1024, 32, 3, 3), 1, 1, 1, 32) == wide
    assert pays((4, 64, 56, 56), (128, 64, 3, 3), 2, 1) == wide
    for lost in (((4, 3, 224, 224), (64, 3, 3, 3), 1, 1), ((4, 64, 17, 17), (128, 64, 3, 3), 1, 1),
                 ((4, 64, 28, 28), (4 * N + 1, 64, 3, 3), 1, 1), ((4, 64, 28, 28), (128, 64, 1, 1))):  # fmt: skip
        assert not pays(*lost)
    single = conv2d_geometry((1, 1024, 7, 7), (1024, 32, 3, 3), 1, 1, 1, 32)  # its weights are packed for few places
    assert not algorithms.direct_pays(single, True) and algorithms.direct_pays(single, True, back=True) == wide
    for long, paid in ((9 * 32, wide), (9 * 32 + 1, False)):
        monkeypatch.setattr(algorithms.tuning, "LONG", long)
        assert pays((4, 1024, 7, 7), (1024, 32, 3, 3), 1, 1, 1, 32) == paid
