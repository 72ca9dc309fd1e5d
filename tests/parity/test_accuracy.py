"""How far from the sums in float64: convlib without Winograd beside PyTorch, all cases of the benchmarks."""

import numpy as np
import pytest
import torch
from test_functional import COMPILED

import convlib
from benchmarks.shapes import CASES, DIRECTIONS, random_data

# The largest result itself is only known to 6e-8 of it; below two such steps nothing is lost in the sums.
ROUNDING = 2.5e-7


def by_pytorch(direction, x, w, d, options):
    """What PyTorch computes, in the precision of the arrays."""
    x, w, d = (torch.from_numpy(each) for each in (x, w, d))
    if direction == "forward":
        return torch.nn.functional.conv2d(x, w, None, **options).numpy()
    mask = [direction == "input_grad", direction == "weight_grad", False]
    sizes = [(number, number) for number in (options["stride"], options["padding"], options["dilation"])]
    grads = torch.ops.aten.convolution_backward(d, x, w, None, *sizes, False, (0, 0), options["groups"], mask)
    return grads[mask.index(True)].numpy()


def by_convlib(direction, x, w, d, options):
    """The same by the library."""
    if direction == "forward":
        return convlib.conv2d(x, w, **options)
    if direction == "input_grad":
        return convlib.conv2d_input_grad(x.shape, w, d, **options)
    return convlib.conv2d_weight_grad(x, w.shape, d, **options)


@pytest.fixture
def plain_sums():
    """PyTorch with one thread (it adds up in other portions with more), convlib without Winograd."""
    before = torch.get_num_threads(), convlib.get_winograd()
    torch.set_num_threads(1), convlib.set_winograd(False)
    yield
    torch.set_num_threads(before[0]), convlib.set_winograd(before[1])


@pytest.mark.skipif(not COMPILED, reason="the kernels are compiled ones")
@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_no_further_from_the_truth_than_twice_pytorch(case, direction, plain_sums):
    data = random_data(case)
    arrays = data.input, data.weight, data.grad_output
    options = {"stride": case.stride, "padding": case.padding, "dilation": 1, "groups": case.groups}
    exact = by_pytorch(direction, *(each.astype(np.float64) for each in arrays), options)
    errors = [np.abs(each(direction, *arrays, options) - exact).max() / np.abs(exact).max()
              for each in (by_convlib, by_pytorch)]  # fmt: skip
    assert errors[0] <= max(2 * errors[1], ROUNDING), f"{errors[0]:.1e}, PyTorch {errors[1]:.1e}"
