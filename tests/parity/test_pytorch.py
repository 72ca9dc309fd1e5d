"""The same numbers as PyTorch, forward and all three gradients: `make parity`."""

import numpy as np
import pytest
import torch
from hypothesis import given
from test_functional import EVERY_MEANS, examples, layers, means, ours, some_layers
from torch.testing._internal.common_methods_invocations import op_db

from convlib import shapes

pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
TOLERANCE = {np.dtype("f"): 2e-5, np.dtype("d"): 1e-10}  # of the largest value
(CONV2D,) = [operation for operation in op_db if operation.name == "nn.functional.conv2d"]
SAMPLES = [
    (tuple(sample.input.shape), tuple(sample.args[0].shape), sample.args[1] is not None, sample.kwargs)
    for sample in CONV2D.sample_inputs("cpu", torch.float64)
]


def pytorchs(input, weight, bias, flow, options):
    """Output and gradients, by autograd."""
    x, w, b = (torch.tensor(array, requires_grad=True) for array in (input, weight, bias))
    output = torch.nn.functional.conv2d(x, w, b, **options)
    output.backward(torch.tensor(flow))
    return [each.detach().numpy() for each in (output, x.grad, w.grad, b.grad)]


def assert_close(results, expected, message):
    for name, result, known in zip(("output", "input", "weight", "bias"), results, expected, strict=True):
        assert result.shape == known.shape and result.dtype == known.dtype
        atol = TOLERANCE[known.dtype] * abs(known).max(initial=0)
        np.testing.assert_allclose(result, known, rtol=0, atol=atol, err_msg=f"{name}, {message}")


def plain(input, weight, options):
    """The settings as PyTorch takes them, or None: it knows no zeros on one side only, but in "same"."""
    geometry = shapes.conv2d_geometry(input.shape, weight.shape, **options)
    same = isinstance(options["padding"], str) and options["padding"] == "same"
    if not same and any(before != after for before, after in geometry.padding):
        return None
    padding = "same" if same else tuple(before for before, _ in geometry.padding)
    return {
        "stride": geometry.stride, "padding": padding, "dilation": geometry.dilation, "groups": geometry.groups,
    }  # fmt: skip


@pytest.mark.parametrize("means_name", ["as it comes", "planes", "planes, 2 threads"])
@pytest.mark.parametrize("dtype", "fd")
@pytest.mark.parametrize("index", range(len(SAMPLES)))
def test_pytorchs_own_sample_inputs(index, dtype, means_name):
    size, weight_size, has_bias, options = SAMPLES[index]
    random = np.random.default_rng(index)
    x, w = (random.normal(size=each).astype(dtype) for each in (size, weight_size))
    b = (random.normal(size=len(w)) if has_bias else np.zeros(len(w))).astype(dtype)
    shape = torch.nn.functional.conv2d(torch.tensor(x), torch.tensor(w), **options).shape
    arrays = x, w, b, random.normal(size=tuple(shape)).astype(dtype)
    with means(**EVERY_MEANS[means_name]):
        assert_close(ours(*arrays, options), pytorchs(*arrays, options), means_name)


@examples(500)
@given(layers(dtypes="d", batches=(None, 1, 2, 3)))
def test_random_layers(layer):
    *arrays, options = layer
    known = plain(*arrays[:2], options)
    if known is None:
        return
    random = np.random.default_rng(0)
    for dtype in "fd":
        arrays = [random.integers(-9, 10, array.shape).astype(dtype) for array in arrays]
        expected = pytorchs(*arrays, known)
        for name in ("as it comes", "planes"):
            with means(**EVERY_MEANS[name]):
                assert_close(ours(*arrays, options), expected, name)


@pytest.mark.parametrize("dtype", "fd")
@pytest.mark.parametrize("index", range(len(some_layers())))
def test_layers_with_broken_numbers(index, dtype):
    *arrays, options = some_layers()[index]
    known = plain(*arrays[:2], options)
    if known is None:
        pytest.skip("PyTorch knows no zeros on one side only")
    random = np.random.default_rng(index)
    arrays = [random.normal(size=array.shape).astype(dtype) for array in arrays]
    for name in EVERY_MEANS:
        with means(**EVERY_MEANS[name]):
            assert_close(ours(*arrays, options), pytorchs(*arrays, known), name)
