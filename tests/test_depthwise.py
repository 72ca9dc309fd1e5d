"""Depthwise layers: exact with whole numbers, same bits for any number of threads, right about infinities."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_functional import SLOW, examples, numbers
from test_thin import check_bits_and_errors, check_equal, check_not_finite

from convlib import shapes
from convlib.kernels import depthwise, thin


@st.composite
def depthwise_layers(draw):
    """Half of them 3 x 3 without stride or dilation, for which there are kernels of their own."""
    pair = lambda low, high: draw(st.tuples(st.integers(low, high), st.integers(low, high)))  # noqa: E731
    channels, multiplier = draw(st.integers(2, 5)), draw(st.sampled_from([1, 1, 2, 3]))
    plain = draw(st.booleans())
    kernel, stride, dilation = ((3, 3), (1, 1), (1, 1)) if plain else (pair(1, 5), pair(1, 3), pair(1, 2))
    padding = draw(st.sampled_from([((0, 0), (0, 0)), ((1, 1), (1, 1)), (pair(0, 5), pair(0, 5))]))
    least = [d * (m - 1) + 1 - sum(zeros) for d, m, zeros in zip(dilation, kernel, padding, strict=True)]
    grid = [max(each, 1) + extra for each, extra in zip(least, pair(0, 12 if SLOW else 40), strict=True)]
    sizes = (draw(st.integers(1, 3)), channels, *grid), (channels * multiplier, 1, *kernel)
    options = {"stride": stride, "padding": padding, "dilation": dilation, "groups": channels}
    return numbers(*sizes, options, seed=draw(st.integers(0)))


@examples(300)
@given(depthwise_layers())
def test_any_depthwise_layer(layer):
    check_equal(depthwise, layer)


@pytest.mark.parametrize("multiplier", [1, 2])
@pytest.mark.parametrize("stride", [1, 2])
def test_same_bits_and_small_errors(multiplier, stride):
    sizes = (5, 6, 13, 29), (6 * multiplier, 1, 3, 3)
    check_bits_and_errors(depthwise, multiplier, sizes, stride=stride, padding=1, groups=6)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("multiplier", [1, 2])
def test_numbers_that_are_not_finite(multiplier, stride):
    random = np.random.default_rng(5)
    sizes = (2, 2, 6, 19), (2 * multiplier, 1, 3, 3)
    g = shapes.conv2d_geometry(*sizes, stride=stride, padding=1, groups=2)
    x, w, b, d = (random.integers(1, 4, size).astype("f") for size in (*sizes, sizes[1][:1], shapes.output_shape(g)))
    check_not_finite(depthwise, g, x, w, b, d)


@given(st.integers(1, 4), st.integers(1, 4), st.integers(1, 4))
def test_which_layers_are_depthwise(groups, sources, targets):
    g = shapes.conv2d_geometry((1, groups * sources, 5, 5), (groups * targets, sources, 3, 3), groups=groups)
    assert depthwise.suits(g, np.dtype("f")) == (sources == 1 and groups > 1)


def test_the_kernels_for_three_by_three_are_used_where_they_can(monkeypatch):
    """Without them, 3 x 3 would be right but slow."""
    def refuse(*arguments):
        raise AssertionError("the kernels for any size were called")

    for name in ("forward", "input_grad", "weight_grad"):
        monkeypatch.setattr(thin, name, refuse)
    layer = numbers((2, 3, 9, 9), (3, 1, 3, 3), {"padding": 1, "groups": 3})
    check_equal(depthwise, layer)
