"""Output channels as lanes: any layer, in bands of any size, exactly, for any number of threads."""

import numpy as np
import pytest
from test_functional import COMPILED, SLOW

from convlib import numpy_kernels
from convlib.shapes import conv2d_geometry, output_shape

if COMPILED:
    from convlib.kernels import channels
pytestmark = pytest.mark.skipif(not COMPILED, reason="Numba is missing")


def some_layers(count):
    """Geometries and data types; whole numbers so small that every sum is exact."""
    random = np.random.default_rng(5)
    pair = lambda low, high: tuple(map(int, random.integers(low, high + 1, 2)))  # noqa: E731
    for number in range(count):
        groups, batch = int(random.choice([1, 1, 2])), int(random.integers(1, 4))
        sources, targets = map(int, random.integers(1, 6 if SLOW else 50, 2))
        padding = pair(0, 3), pair(0, 3)
        sizes = (batch, sources * groups, *pair(10, 23)), (targets * groups, sources, *pair(1, 5))
        yield conv2d_geometry(*sizes, pair(1, 3), padding, pair(1, 2), groups), "fd"[number % 2]


@pytest.mark.parametrize("numbers_at_once", [300, 350_000])
def test_in_bands_of_any_size(numbers_at_once, monkeypatch):
    monkeypatch.setattr(channels, "NUMBERS_AT_ONCE", numbers_at_once)
    channels._plan.cache_clear()
    random, bands = np.random.default_rng(6), 0
    for g, dtype in some_layers(3 if SLOW else 60):
        weight_size = g.out_channels, g.in_channels // g.groups, g.kernel_height, g.kernel_width
        sizes = g[:4], weight_size, (g.out_channels,), output_shape(g)
        x, w, b, d = (random.integers(-3, 4, size).astype(dtype) for size in sizes)
        output, flow = numpy_kernels.conv2d(x, w, b, g), numpy_kernels.conv2d_input_grad(w, d, g)
        for jobs in (1, 2, 3):
            np.testing.assert_array_equal(channels.forward(x, w, b, g, jobs), output, err_msg=str(g))
            np.testing.assert_array_equal(channels.input_grad(w, d, g, jobs), flow, err_msg=str(g))
        plan = channels._plan(g, channels._forward, x.dtype, 1)[0]
        bands = max(bands, -(-plan.rows // plan.band))
    channels._plan.cache_clear()
    assert (bands > 3) == (numbers_at_once == 300), "the layers are cut into bands, or not"


@pytest.mark.parametrize("stride", [1, 2])
def test_no_long_chains(stride):
    """One chain of thousands of products is wrong by more than 1.5e-6 of the largest result."""
    random = np.random.default_rng(7)
    channels_in, channels_out = (24, 16) if SLOW else (512, 480)
    shapes = (1, channels_in, 7, 7), (channels_out, channels_in, 3, 3)
    g = conv2d_geometry(*shapes, stride, 1)
    x, w = (random.standard_normal(shape, dtype=np.float32) for shape in shapes)
    d = random.standard_normal(output_shape(g), dtype=np.float32)
    b, exact = np.zeros(channels_out), [array.astype("d") for array in (x, w, d)]
    pairs = [(channels.forward(x, w, b.astype("f"), g, 1),
              numpy_kernels.conv2d(exact[0], exact[1], b, g)),
             (channels.input_grad(w, d, g, 2), numpy_kernels.conv2d_input_grad(*exact[1:], g))]
    for result, right in pairs:
        assert np.abs(result - right).max() < (6e-7 if stride == 1 else 7e-7) * np.abs(right).max()


@pytest.mark.parametrize("number", [np.inf, -np.inf, np.nan])
def test_weights_that_are_not_finite(number):
    """Every weight is looked at, whatever the jobs and panels."""
    random = np.random.default_rng(8)
    g = conv2d_geometry((3, 5, 6, 6), (37, 5, 3, 3), 2, 1)
    x, d = (random.standard_normal(size).astype("f") for size in (g[:4], output_shape(g)))
    for place in [(0, 0, 0, 0), (36, 4, 2, 2), (20, 2, 1, 1)]:
        w = random.standard_normal((37, 5, 3, 3)).astype("f")
        assert channels.input_grad(w, d, g, 2) is not None
        w[place] = number
        assert channels.forward(x, w, np.zeros(37, "f"), g, 2) is None
        assert channels.input_grad(w, d, g, 3) is None
