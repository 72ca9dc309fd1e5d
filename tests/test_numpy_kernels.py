"""The layer in NumPy alone, tap by tap: against the sums of all loops, and its gradients against its output."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from convlib import numpy_kernels, reference, shapes


@st.composite
def layers(draw):
    """A layer with any settings: input, weight, bias, flow at the output (whole numbers), settings, geometry."""
    pairs = {name: st.tuples(*[st.integers(*range_)] * 2) for name, range_ in
             {"small": (1, 3), "padding": (0, 6), "kernel": (1, 4), "more": (0, 5)}.items()}  # fmt: skip
    groups = draw(st.integers(1, 3))
    outputs, channels = (groups * each for each in draw(pairs["small"]))
    stride, dilation, kernel, more = (draw(pairs[name]) for name in ("small", "small", "kernel", "more"))
    padding = draw(pairs["padding"]), draw(pairs["padding"])
    needed = [d * (m - 1) + 1 - sum(zeros) for d, m, zeros in zip(dilation, kernel, padding, strict=True)]
    grid = [max(least, 1) + extra for least, extra in zip(needed, more, strict=True)]
    sizes = (draw(st.integers(0, 3)), channels, *grid), (outputs, channels // groups, *kernel)
    options = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    geometry = shapes.conv2d_geometry(*sizes, **options)
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    arrays = [random.integers(-9, 10, size=size) for size in (*sizes, (outputs,), shapes.output_shape(geometry))]
    return (*arrays, options, geometry)


def all_three(input, weight, bias, flow, geometry):
    """Output, learning flow at the input, and what the weights are told."""
    return (
        numpy_kernels.conv2d(input, weight, bias, geometry),
        numpy_kernels.conv2d_input_grad(weight, flow, geometry),
        numpy_kernels.conv2d_weight_grad(input, flow, geometry),
    )


@settings(max_examples=300, deadline=None)
@given(layers())
def test_whole_numbers_agree_exactly_with_chapter_8(layer):
    input, weight, bias, flow, options, geometry = layer
    expected = (
        reference.general_conv2d(input, weight, bias, **options),
        reference.general_conv2d_input_grad(input.shape, weight, flow, **options),
        reference.general_conv2d_weight_grad(input, weight.shape, flow, **options),
    )
    for ours, known in zip(all_three(input, weight, bias, flow, geometry), expected, strict=True):
        assert ours.dtype == np.int64
        np.testing.assert_array_equal(ours, known)


@settings(max_examples=300, deadline=None)
@given(layers())
def test_the_adjoint_identities(layer):
    """Needs no other code: both gradients must give back flow times output."""
    input, weight, _, flow, _, geometry = layer
    output, input_grad, weight_grad = all_three(input, weight, None, flow, geometry)
    assert (flow * output).sum() == (input_grad * input).sum() == (weight_grad * weight).sum()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_floating_numbers_keep_their_type(dtype):
    random = np.random.default_rng(5)
    sizes = (3, 6, 11, 10), (9, 2, 3, 2), (9,), (3, 9, 6, 4)
    arrays = [random.normal(size=size).astype(dtype) for size in sizes]
    options = {"stride": (2, 3), "padding": ((1, 2), (0, 1)), "groups": 3}
    geometry = shapes.conv2d_geometry(*sizes[:2], **options)
    x, w, b, d = (array.astype(np.float64) for array in arrays)
    exact = (
        reference.general_conv2d(x, w, b, **options),
        reference.general_conv2d_input_grad(x.shape, w, d, **options),
        reference.general_conv2d_weight_grad(x, w.shape, d, **options),
    )
    for ours, known in zip(all_three(*arrays, geometry), exact, strict=True):
        assert ours.dtype == dtype
        np.testing.assert_allclose(ours, known, atol=50 * np.finfo(dtype).eps * abs(known).max(), rtol=0)


def layer_of_many_blocks():
    """More images than fit into one block of the batch, and not a multiple of it."""
    sizes = (11, 4, 60, 61), (8, 4, 3, 3)
    geometry = shapes.conv2d_geometry(*sizes, padding=1)
    random = np.random.default_rng(6)
    arrays = [random.integers(-9, 10, size=size) for size in (*sizes, (8,), shapes.output_shape(geometry))]
    return arrays, geometry


def test_a_large_batch_is_its_images_one_by_one():
    (input, weight, bias, flow), geometry = layer_of_many_blocks()
    assert 1 < len(numpy_kernels._blocks(geometry)) < len(input)
    output, input_grad, weight_grad = all_three(input, weight, bias, flow, geometry)
    one = geometry._replace(batch=1)
    singles = [all_three(input[n : n + 1], weight, bias, flow[n : n + 1], one) for n in range(len(input))]
    np.testing.assert_array_equal(output, np.concatenate([single[0] for single in singles]))
    np.testing.assert_array_equal(input_grad, np.concatenate([single[1] for single in singles]))
    np.testing.assert_array_equal(weight_grad, sum(single[2] for single in singles))


def test_any_memory_layout_and_nothing_is_written_to():
    (input, weight, bias, flow), geometry = layer_of_many_blocks()
    expected = all_three(input, weight, bias, flow, geometry)
    others = [np.asfortranarray(array[..., ::-1])[..., ::-1] for array in (input, weight, bias, flow)]
    for array in others:
        array.setflags(write=False)
    for ours, known in zip(all_three(*others, geometry), expected, strict=True):
        np.testing.assert_array_equal(ours, known)
        assert ours.flags.c_contiguous and ours.flags.writeable


@settings(max_examples=400, deadline=None)
@given(layers(), st.sampled_from([np.inf, -np.inf, np.nan]), st.integers(0, 3), st.integers(0))
def test_infinity_and_nan_arrive_where_the_sums_of_chapter_8_have_them(layer, value, which, place):
    """One number is not finite. It never meets the zeros of the padding, and nobody warns (a warning is an error)."""
    *arrays, options, geometry = layer
    arrays = [array.astype(np.float64) for array in arrays]
    if arrays[which].size:
        arrays[which].flat[place % arrays[which].size] = value
    input, weight, bias, flow = arrays
    with np.errstate(invalid="ignore"):
        expected = (
            reference.general_conv2d(input, weight, bias, **options),
            reference.general_conv2d_input_grad(input.shape, weight, flow, **options),
            reference.general_conv2d_weight_grad(input, weight.shape, flow, **options),
        )
    for ours, known in zip(all_three(*arrays, geometry), expected, strict=True):
        np.testing.assert_array_equal(ours, known)


def test_nobody_warns_of_infinity_minus_infinity():
    arrays = [np.full(size, 1e38, np.float32) for size in ((1, 2, 5, 5), (2, 2, 3, 3), (2,), (1, 2, 5, 5))]
    for array in arrays:
        array.flat[:2] = np.inf, -np.inf
    geometry = shapes.conv2d_geometry(arrays[0].shape, arrays[1].shape, padding=1)
    for result in all_three(*arrays, geometry):
        assert np.isnan(result).any()


def test_an_image_without_rows_between_rows_of_zeros():
    geometry = shapes.conv2d_geometry((1, 1, 0, 3), (1, 1, 2, 2), padding=((1, 1), (0, 0)))
    arrays = np.empty((1, 1, 0, 3)), np.ones((1, 1, 2, 2)), np.array([7.0]), np.ones((1, 1, 1, 2))
    output, input_grad, weight_grad = all_three(*arrays, geometry)
    assert (output == 7).all() and output.shape == (1, 1, 1, 2)
    assert input_grad.shape == (1, 1, 0, 3)
    assert (weight_grad == 0).all()


@pytest.mark.parametrize("kind", [np.float32, np.float64, np.int64])
@pytest.mark.parametrize(
    "shape", [(1, 2, 7, 7), (1, 3, 70, 70), (3, 2, 70, 70), (2, 3, 4, 4), (0, 3, 4, 4), (3, 2, 0, 5)])
def test_biases_are_sums_of_any_number_of_images_and_pieces(shape, kind):
    flow = (10 * np.random.default_rng(0).standard_normal(shape)).astype(kind)
    found, expected = numpy_kernels.bias_grad(flow, 1), flow.sum((0, 2, 3), dtype=np.float64)
    assert found.dtype == kind and found.shape == shape[1:2]
    assert np.allclose(found, expected, rtol=0, atol=1e-7 * abs(flow).sum() if flow.size else 0)


@pytest.mark.parametrize("images, size", [(1, 3e38), (2, 3e38), (2, 1.5e37)])  # the last: only both images are too much
def test_what_is_too_large_for_a_bias_is_infinite_and_no_warning(images, size):
    flow = np.full((images, 3, 4, 4), size, np.float32)
    flow[:, 1], flow[:, 2, 0, 0], flow[:, 2, 1, 1] = -np.inf, np.inf, -np.inf
    found = numpy_kernels.bias_grad(flow, 1)
    assert found[0] == np.inf and found[1] == -np.inf and np.isnan(found[2])
