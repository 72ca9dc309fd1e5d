"""The layer with any settings: against sliding windows, against Parts I and II, and its gradients exactly."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from convlib import reference, shapes
from convlib.reference import general_conv2d, general_conv2d_input_grad, general_conv2d_weight_grad


@st.composite
def layers(draw, largest_batch=2):
    """A layer with any settings, as whole numbers: input, weight, bias, flow at the output, settings."""
    small = st.integers(1, 2)
    groups = draw(st.integers(1, 3))
    channels, outputs = groups * draw(small), groups * draw(small)
    kernel = draw(st.tuples(st.integers(1, 3), st.integers(1, 4)))
    stride, dilation = (draw(st.tuples(st.integers(1, 3), st.integers(1, 3))) for _ in range(2))
    padding = draw(st.tuples(*[st.tuples(st.integers(0, 3), st.integers(0, 3))] * 2))
    least = [d * (m - 1) + 1 - sum(p) for d, m, p in zip(dilation, kernel, padding, strict=True)]
    grid = [draw(st.integers(max(each, 1), max(each, 1) + 3)) for each in least]
    batch = draw(st.one_of(st.just(()), st.tuples(st.integers(0, largest_batch))))
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    options = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    sizes = (*batch, channels, *grid), (outputs, channels // groups, *kernel)
    flow_size = shapes.output_shape(shapes.conv2d_geometry(*sizes, **options), batched=bool(batch))
    arrays = [random.integers(-9, 10, size=size) for size in (*sizes, (outputs,), flow_size)]
    return (*arrays, options)


def windows_conv2d(input, weight, bias, stride, padding, dilation, groups):
    """An independent way to the same numbers: pad with zeros, slide windows, thin them out, one sum a group."""
    padded = np.pad(input, [(0, 0)] * (input.ndim - 2) + list(padding))
    spread = [d * (m - 1) + 1 for d, m in zip(dilation, weight.shape[2:], strict=True)]
    windows = np.lib.stride_tricks.sliding_window_view(padded, spread, axis=(-2, -1))
    windows = windows[..., :: stride[0], :: stride[1], :: dilation[0], :: dilation[1]]
    parts = [
        np.einsum("...cpquv,kcuv->...kpq", part, kernels)
        for part, kernels in zip(np.split(windows, groups, axis=-5), np.split(weight, groups), strict=True)
    ]
    return np.concatenate(parts, axis=-3) + bias[:, np.newaxis, np.newaxis]


@settings(max_examples=300)
@given(layers())
def test_the_output_agrees_with_sliding_windows(layer):
    input, weight, bias, _, options = layer
    output = general_conv2d(input, weight, bias, **options)
    np.testing.assert_array_equal(output, windows_conv2d(input, weight, bias, **options))


@settings(max_examples=300)
@given(layers())
def test_all_three_gradients_are_what_sliding_windows_say(layer):
    """The layer is linear in each argument: adding 1 gives the exact derivative."""
    input, weight, bias, flow, options = layer
    told = {
        "input": general_conv2d_input_grad(input.shape, weight, flow, **options),
        "weight": general_conv2d_weight_grad(input, weight.shape, flow, **options),
        "bias": reference.conv2d_bias_grad(flow),
    }
    given_arrays = {"input": input, "weight": weight, "bias": bias}
    before = windows_conv2d(**given_arrays, **options)
    random = np.random.default_rng(input.size)
    for name, array in given_arrays.items():
        assert told[name].shape == array.shape
        for flat in random.permutation(array.size)[:12]:
            changed = array.copy()
            changed.flat[flat] += 1
            after = windows_conv2d(**given_arrays | {name: changed}, **options)
            assert (flow * (after - before)).sum() == told[name].flat[flat]


@settings(max_examples=300)
@given(layers())
def test_the_adjoint_identities(layer):
    """Flow times output is what the inputs are told times the inputs, and the same for the weights."""
    input, weight, _, flow, options = layer
    loss = (flow * general_conv2d(input, weight, **options)).sum()
    assert (general_conv2d_input_grad(input.shape, weight, flow, **options) * input).sum() == loss
    assert (general_conv2d_weight_grad(input, weight.shape, flow, **options) * weight).sum() == loss


@settings(max_examples=100)
@given(layers(largest_batch=3))
def test_a_batch_is_its_images_one_by_one(layer):
    input, weight, bias, flow, options = layer
    if input.ndim == 3:
        return
    for name, whole in (
        ("output", general_conv2d(input, weight, bias, **options)),
        ("input_grad", general_conv2d_input_grad(input.shape, weight, flow, **options)),
    ):
        for image, d, part in zip(input, flow, whole, strict=True):
            single = (
                general_conv2d(image, weight, bias, **options) if name == "output"
                else general_conv2d_input_grad(image.shape, weight, d, **options)
            )  # fmt: skip
            np.testing.assert_array_equal(part, single)
    added = sum(general_conv2d_weight_grad(image, weight.shape, d, **options)
                for image, d in zip(input, flow, strict=True))  # fmt: skip
    np.testing.assert_array_equal(general_conv2d_weight_grad(input, weight.shape, flow, **options), added)


@pytest.mark.parametrize("dtype", [np.int32, np.int64, np.float32, np.float64])
@pytest.mark.parametrize("padding", [0, 2])
def test_with_the_settings_of_part_1_it_is_the_layer_of_part_1(dtype, padding):
    random = np.random.default_rng(padding)
    sizes = (2, 3, 6, 5), (4, 3, 3, 2), (4,), (2, 4, 4 + 2 * padding, 4 + 2 * padding)
    x, w, b, d = (random.integers(0, 15, size=size).astype(dtype) for size in sizes)
    pairs = [
        (general_conv2d(x, w, b, padding=padding), reference.conv2d(x, w, b, padding=padding)),
        (general_conv2d(x, w, padding=padding), reference.conv2d(x, w, padding=padding)),
        (general_conv2d_input_grad(x.shape, w, d, padding=padding),
         reference.conv2d_input_grad(x.shape, w, d, padding=padding)),
        (general_conv2d_weight_grad(x, w.shape, d, padding=padding),
         reference.conv2d_weight_grad(x, w.shape, d, padding=padding)),
    ]  # fmt: skip
    for ours, known in pairs:
        assert ours.dtype == known.dtype
        np.testing.assert_array_equal(ours, known)


def test_small_integer_types_do_not_overflow():
    x, w = np.full((1, 3, 3), 200, dtype=np.uint8), np.full((1, 1, 3, 3), 200, dtype=np.uint8)
    d = np.full((1, 1, 1), 200, dtype=np.uint8)
    assert general_conv2d(x, w).tolist() == [[[9 * 200 * 200]]]
    assert general_conv2d_input_grad(x.shape, w, d).max() == 200 * 200
    assert general_conv2d_weight_grad(x, w.shape, d).max() == 200 * 200


def test_cells_that_no_output_touches_are_told_nothing():
    told = general_conv2d_input_grad((1, 8, 9), np.ones((1, 1, 3, 2)), np.ones((1, 3, 3)), stride=(2, 3))
    assert np.flatnonzero(told[0, :, 0] == 0).tolist() == [7]  # left over
    assert np.flatnonzero(told[0, 0] == 0).tolist() == [2, 5, 8]  # holes, the stride is larger than the kernel


def test_nothing_is_written_to_and_any_layout_will_do():
    random = np.random.default_rng(5)
    x, w, b, d = (random.integers(-9, 10, size=size) for size in ((2, 4, 5, 6), (4, 2, 3, 3), (4,), (2, 4, 2, 3)))
    options = {"stride": 2, "groups": 2, "padding": ((0, 0), (0, 1))}
    expected = general_conv2d(x, w, b, **options)
    told = general_conv2d_input_grad(x.shape, w, d, **options), general_conv2d_weight_grad(x, w.shape, d, **options)
    x, w, b, d = np.asfortranarray(x), w[::-1].copy()[::-1], b, d.transpose(3, 2, 1, 0).copy().transpose(3, 2, 1, 0)
    for array in (x, w, b, d):
        array.setflags(write=False)
    np.testing.assert_array_equal(general_conv2d(x, w, b.tolist(), **options), expected)
    np.testing.assert_array_equal(general_conv2d_input_grad(list(x.shape), w, d, **options), told[0])
    np.testing.assert_array_equal(general_conv2d_weight_grad(x, np.array(w.shape), d, **options), told[1])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x, w, d: general_conv2d(x[0, 0], w), r"input: expected shape .*got \(5, 5\)"),
        (lambda x, w, d: general_conv2d(x, w, np.zeros(3)), r"bias: expected shape \(2,\), got \(3,\)"),
        (lambda x, w, d: general_conv2d(x, w, 1.0), r"bias: expected shape \(2,\), got \(\)"),
        (lambda x, w, d: general_conv2d(x, w, stride=0), "stride: .*got 0"),
        (lambda x, w, d: general_conv2d_input_grad(x.shape, w[0], d), r"weight: expected shape .*got \(2, 3, 3\)"),
        (lambda x, w, d: general_conv2d_input_grad(x.shape, w, d[0]), r"grad_output: expected shape \(1, 2, 3, 3\)"),
        (lambda x, w, d: general_conv2d_input_grad(x.shape[1:], w, d), r"grad_output: expected shape \(2, 3, 3\)"),
        (lambda x, w, d: general_conv2d_weight_grad(x, w.shape[1:], d), r"weight: expected shape .*got \(2, 3, 3\)"),
        (lambda x, w, d: general_conv2d_weight_grad(x, w.shape, d[:, :1]), r"grad_output: .*got \(1, 1, 3, 3\)"),
        (lambda x, w, d: general_conv2d_weight_grad(x, w.shape, d, groups=2), "weight: expected 1 input channels"),
    ],
)
def test_what_does_not_belong_together_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call(np.zeros((1, 2, 5, 5)), np.zeros((2, 2, 3, 3)), np.zeros((1, 2, 3, 3)))
