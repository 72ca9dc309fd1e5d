"""Thin layers: any layer with few channels, against the sums of NumPy, and the promises that every algorithm makes."""

import numpy as np
import pytest
from hypothesis import given
from test_functional import SLOW, examples, layers, numbers

from convlib import numpy_kernels, shapes
from convlib.kernels import loops, thin


def geometry_of(x, w, options):
    return shapes.conv2d_geometry(x.shape, w.shape, **options)


def expected(x, w, b, d, g):
    grads = numpy_kernels.conv2d_input_grad(w, d, g), numpy_kernels.conv2d_weight_grad(x, d, g)
    return numpy_kernels.conv2d(x, w, b, g), *grads


def computed(module, x, w, b, d, g, jobs):
    return module.forward(x, w, b, g, jobs), module.input_grad(w, d, g, jobs), module.weight_grad(x, d, g, jobs)


def check_equal(module, layer):
    """Whole numbers: with any number of jobs exactly the sums of NumPy, in the layer's data type."""
    *arrays, options = layer
    g = geometry_of(arrays[0], arrays[1], options)
    known = expected(*arrays, g)
    for dtype in "fd":
        given_arrays = [each.astype(dtype) for each in arrays]
        for jobs in (1, 2, 3):
            for result, right in zip(computed(module, *given_arrays, g, jobs), known, strict=True):
                assert result.dtype == dtype and result.flags.c_contiguous
                np.testing.assert_array_equal(result, right)


def some_layer(module, seed, sizes=((7, 3, 19, 35), (10, 3, 3, 3)), **options):
    """Normally distributed numbers for a layer, and what the module makes of them with 1, 2, 3 and 5 jobs."""
    random = np.random.default_rng(seed)
    g = shapes.conv2d_geometry(*sizes, **options)
    arrays = [random.normal(size=size) for size in (*sizes, sizes[1][:1], shapes.output_shape(g))]
    singles = [each.astype("f") for each in arrays]
    return arrays, g, [computed(module, *singles, g, jobs) for jobs in (1, 2, 3, 5)]


def check_bits_and_errors(module, *layer, **options):
    """The same bits for any number of jobs, and close to the sums in float64."""
    arrays, g, answers = some_layer(module, *layer, **options)
    for other in answers[1:]:
        assert all(a.tobytes() == b.tobytes() for a, b in zip(answers[0], other, strict=True))
    for result, known in zip(answers[0], expected(*arrays, g), strict=True):
        assert np.abs(result - known).max() < 2e-6 * np.abs(known).max()


@examples(200)
@given(layers(dtypes=("d",), batches=(1, 2, 3)))
def test_any_layer(layer):
    check_equal(thin, layer)


@pytest.mark.parametrize("options", [{"padding": 1}, {"stride": 2, "padding": 2}], ids=str)
def test_same_bits_and_small_errors(options):
    check_bits_and_errors(thin, 1, **options)


@pytest.mark.parametrize("targets", [5, 9, 16, 23, 40])
@pytest.mark.parametrize("options", [{"padding": 1}, {"stride": 2, "padding": (3, 0)}, {"dilation": 3}], ids=str)
def test_output_channels_as_lanes(targets, options):
    """Vectors of channels full and in part, and rows shorter and longer than a vector."""
    for sides in ((8, 9), (9, 21), (19, 40)) if not SLOW else ((8, 9),):
        check_equal(thin, numbers((3, 4, *sides), (2 * targets, 2, 3, 3), {"groups": 2, **options}))


def test_a_row_longer_than_a_portion():
    check_equal(thin, numbers((2, 1, 3, 450), (16, 1, 2, 5), {"padding": 2}))


@pytest.mark.parametrize("direction", [0, 1])
@pytest.mark.parametrize("few", [1, 3, 7])
def test_long_sums_are_added_up_in_portions(few, direction):
    """576 products: in one chain, the error is nearly half as large again as this bound."""
    channels = (few, 64) if direction else (64, few)
    side = 40 if not SLOW else 12
    sizes = (2, channels[0], side, side), (channels[1], channels[0], 3, 3)
    arrays, g, answers = some_layer(thin, 7, sizes, padding=1)
    known = expected(*arrays, g)[direction]
    error = np.sqrt(((answers[0][direction] - known) ** 2).mean() / (known**2).mean())
    assert error < 3e-7


@pytest.mark.skipif(SLOW, reason="the blocks are chosen when the module is compiled")
def test_blocks_for_sixteen_registers(monkeypatch):
    monkeypatch.setattr(thin, "EIGHT", 4)
    plans = thin._forward_plan, thin._input_grad_plan
    for plan in plans:
        plan.cache_clear()
    try:
        check_bits_and_errors(thin, 2, ((2, 3, 9, 17), (13, 3, 3, 3)), padding=1)
    finally:
        for plan in plans:
            plan.cache_clear()


def check_not_finite(module, g, x, w, b, d):
    """An infinite weight is declined; an infinite neuron or flow reaches what the seven loops say, nothing else."""
    settings = g.stride, (g.padding[0][0], g.padding[1][0]), g.dilation, g.groups
    for number in (np.inf, np.nan):
        bad = w.copy()
        bad.flat[-1] = number
        assert module.forward(x, bad, b, g, 1) is None and module.input_grad(bad, d, g, 1) is None
        for place in (0, x.shape[3] - 1, -1):
            bad, flow = x.copy(), d.copy()
            bad.flat[place] = flow.flat[min(place, d.shape[3] - 1)] = number
            output, grad = np.empty_like(d), np.empty_like(x)
            loops.conv2d(bad, w, b, *settings, output)
            loops.conv2d_backward(x, w, flow, *settings, True, grad)
            np.testing.assert_array_equal(module.forward(bad, w, b, g, 1), output)
            np.testing.assert_array_equal(module.input_grad(w, flow, g, 1), grad)
            assert module.weight_grad(bad, d, g, 1) is None and module.weight_grad(x, flow, g, 1) is None


@pytest.mark.parametrize("targets", [3, 17])
@pytest.mark.parametrize("stride", [1, 2])
def test_numbers_that_are_not_finite(stride, targets):
    random = np.random.default_rng(3)
    sizes = (2, 2, 8, 21), (targets, 2, 3, 3)
    g = shapes.conv2d_geometry(*sizes, stride=stride, padding=1)
    x, w, b, d = (random.integers(1, 4, size).astype("f") for size in (*sizes, (targets,), shapes.output_shape(g)))
    check_not_finite(thin, g, x, w, b, d)


@pytest.mark.parametrize("dtype", "fd")
@pytest.mark.parametrize("size", [(1, 1, 1, 1), (3, 5, 7, 9), (2, 3, 1, 64), (2, 4, 13, 29)])
def test_the_biases(size, dtype):
    flow = np.random.default_rng(4).integers(-9, 10, size).astype(dtype)
    for jobs in (1, 2, 7):
        result = thin.bias_grad(flow, jobs)
        assert result.dtype == dtype
        np.testing.assert_array_equal(result, flow.sum(axis=(0, 2, 3)))


def test_the_biases_are_added_up_carefully():
    """More numbers than float32 can count one by one."""
    flow = np.full((20, 1, 1000 if not SLOW else 10, 1000), np.float32(0.1))
    assert abs(thin.bias_grad(flow, 1)[0] / flow.sum(dtype="d") - 1) < 1e-6


def test_which_layers_are_thin():
    thin_one, thick = (shapes.conv2d_geometry((1, C, 9, 9), (K, C, 3, 3)) for C, K in ((8, 32), (64, 64)))
    assert thin.suits(thin_one, np.dtype("f")) and not thin.suits(thick, np.dtype("f"))
