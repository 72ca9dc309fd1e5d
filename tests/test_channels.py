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


@pytest.mark.parametrize("numbers_at_once", [300, 60_000])
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
