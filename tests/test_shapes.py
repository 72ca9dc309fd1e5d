"""Sizes and settings: every spelling is understood, every size is what counting gives, nonsense is refused by name."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from convlib import shapes

IMAGE, WEIGHT = (3, 7, 7), (2, 3, 3, 3)


def places_found_by_trying(size, kernel_size, stride, padding, dilation):
    """How often the kernel fits, by laying it down."""
    cells = range(-padding[0], size + padding[1])
    starts = range(-padding[0], size + padding[1], stride)
    return sum(all(start + u * dilation in cells for u in range(kernel_size)) for start in starts)


@given(
    st.integers(0, 12), st.integers(1, 5), st.integers(1, 6), st.tuples(st.integers(0, 4), st.integers(0, 4)),
    st.integers(1, 4),
)  # fmt: skip
def test_the_output_size_is_what_counting_gives(size, kernel_size, stride, padding, dilation):
    expected = places_found_by_trying(size, kernel_size, stride, padding, dilation)
    if expected:
        assert shapes.output_size(size, kernel_size, stride, padding, dilation) == expected
    else:
        with pytest.raises(ValueError, match="kernel_size"):
            shapes.output_size(size, kernel_size, stride, padding, dilation)


def test_rows_and_columns_have_settings_of_their_own():
    geometry = shapes.conv2d_geometry((5, 4, 9, 14), (6, 2, 3, 4), (2, 3), ((1, 2), (0, 3)), (3, 2), 2)
    assert geometry == shapes.Geometry(
        batch=5, in_channels=4, height=9, width=14, out_channels=6, kernel_height=3, kernel_width=4,
        stride=(2, 3), padding=((1, 2), (0, 3)), dilation=(3, 2), groups=2,
        out_height=shapes.output_size(9, 3, 2, (1, 2), 3), out_width=shapes.output_size(14, 4, 3, (0, 3), 2),
    )  # fmt: skip
    assert shapes.output_shape(geometry) == (5, 6, 3, 4)
    assert shapes.output_shape(geometry, batched=False) == (6, 3, 4)


@pytest.mark.parametrize(
    ("spelling", "expected"),
    [
        (2, ((2, 2), (2, 2))),
        ((1, 2), ((1, 1), (2, 2))),
        ([1, 2], ((1, 1), (2, 2))),
        (((1, 2), (3, 4)), ((1, 2), (3, 4))),
        (((1, 2), 3), ((1, 2), (3, 3))),
        (np.array([[1, 2], [3, 4]]), ((1, 2), (3, 4))),
        (np.uint8(2), ((2, 2), (2, 2))),
        ("valid", ((0, 0), (0, 0))),
        ("same", ((1, 1), (1, 1))),
    ],
)
def test_every_spelling_of_padding(spelling, expected):
    assert shapes.conv2d_geometry(IMAGE, WEIGHT, padding=spelling).padding == expected


@pytest.mark.parametrize("spelling", [2, (2, 2), [2, 2], np.int64(2), np.array([2, 2]), np.array(2)])
def test_every_spelling_of_a_step(spelling):
    geometry = shapes.conv2d_geometry(IMAGE, WEIGHT, stride=spelling, dilation=spelling)
    assert geometry.stride == geometry.dilation == (2, 2)


def test_everything_is_a_plain_int():
    geometry = shapes.conv2d_geometry(
        np.array(IMAGE), [np.int8(size) for size in WEIGHT], np.int16(1), np.array([1, 2]), np.uint8(1), np.int32(1)
    )
    numbers = [part for field in geometry for part in (field if isinstance(field, tuple) else (field,))]
    numbers = [part for field in numbers for part in (field if isinstance(field, tuple) else (field,))]
    assert len(numbers) == 18 and {type(number) for number in numbers} == {int}
    hash(geometry)


@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 6), st.integers(1, 6), st.integers(1, 4), st.integers(1, 4))
def test_same_keeps_the_size_and_puts_the_extra_zero_after(height, width, kh, kw, dh, dw):
    geometry = shapes.conv2d_geometry((1, height, width), (1, 1, kh, kw), padding="same", dilation=(dh, dw))
    assert (geometry.out_height, geometry.out_width) == (height, width)
    for (before, after), size, step in zip(geometry.padding, (kh, kw), (dh, dw), strict=True):
        assert before + after == step * (size - 1) and after - before in (0, 1)


def test_same_for_an_even_kernel_is_pytorchs():
    # torch.nn.functional.conv2d(arange(4).view(1, 1, 1, 4), ones(1, 1, 1, 4), padding="same") gives 3, 6, 6, 5
    [_, (before, after)] = shapes.conv2d_geometry((1, 1, 4), (1, 1, 1, 4), padding="same").padding
    assert np.convolve(np.pad(range(4), (before, after)), np.ones(4), "valid").tolist() == [3, 6, 6, 5]


def test_an_empty_batch_and_an_empty_image_with_room_around_it():
    assert shapes.output_shape(shapes.conv2d_geometry((0, 3, 7, 7), WEIGHT)) == (0, 2, 5, 5)
    assert shapes.output_shape(shapes.conv2d_geometry((1, 3, 0, 7), WEIGHT, padding=(2, 0))) == (1, 2, 2, 5)


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"input_size": (7, 7)}, ValueError, ["input", "(N, C, H, W) or (C, H, W)", "(7, 7)"]),
        ({"input_size": (1, 1, 3, 7, 7)}, ValueError, ["input", "(N, C, H, W) or (C, H, W)", "(1, 1, 3, 7, 7)"]),
        ({"input_size": 7}, TypeError, ["input", "(N, C, H, W) or (C, H, W)", "got 7"]),
        ({"input_size": (3, 7.0, 7)}, TypeError, ["input", "whole number", "(3, 7.0, 7)"]),
        ({"input_size": (3, -7, 7)}, ValueError, ["input", "0 or more", "(3, -7, 7)"]),
        ({"input_size": (0, 7, 7)}, ValueError, ["input", "at least 1 channel", "(0, 7, 7)"]),
        ({"input_size": (3, 7, 0)}, ValueError, ["weight columns", "at most 0 cells", "got 3"]),
        ({"weight_size": (3, 3)}, ValueError, ["weight", "(K, C / groups, kh, kw)", "(3, 3)"]),
        ({"weight_size": (2, 4, 3, 3)}, ValueError, ["weight", "3 input channels", "(2, 4, 3, 3)"]),
        ({"weight_size": (0, 3, 3, 3)}, ValueError, ["weight", "at least 1", "(0, 3, 3, 3)"]),
        ({"weight_size": (2, 3, 0, 3)}, ValueError, ["weight", "at least 1", "(2, 3, 0, 3)"]),
        ({"weight_size": (2, 3, 8, 3)}, ValueError, ["weight rows", "at most 7 cells", "(0, 0)", "got 8"]),
        ({"weight_size": (2, 3, 3, 10), "padding": 1}, ValueError, ["weight columns", "at most 9", "(1, 1)", "got 10"]),
        ({"dilation": (1, 4)}, ValueError, ["weight columns", "at most 7", "dilation 4", "cover 9"]),
        ({"groups": 2}, ValueError, ["groups", "divides the 3 input channels", "got 2"]),
        ({"groups": 3, "weight_size": (2, 1, 3, 3)}, ValueError, ["groups", "divides the 2 output channels", "got 3"]),
        ({"groups": 3, "weight_size": (3, 3, 3, 3)}, ValueError, ["weight", "1 input channels", "(3, 3, 3, 3)"]),
        ({"groups": 0}, ValueError, ["groups", "1 or more", "got 0"]),
        ({"groups": 1.0}, TypeError, ["groups", "whole number", "got 1.0"]),
        ({"groups": True}, TypeError, ["groups", "whole number", "got True"]),
        ({"stride": 0}, ValueError, ["stride", "1 or more", "got 0"]),
        ({"stride": (1, -2)}, ValueError, ["stride", "1 or more", "got (1, -2)"]),
        ({"stride": (1, 2, 3)}, ValueError, ["stride", "one number or a pair", "got (1, 2, 3)"]),
        ({"stride": 1.5}, TypeError, ["stride", "whole number", "got 1.5"]),
        ({"stride": "2"}, TypeError, ["stride", "whole number", "got '2'"]),
        ({"stride": np.True_}, TypeError, ["stride", "whole number", "True"]),
        ({"dilation": 0}, ValueError, ["dilation", "1 or more", "got 0"]),
        ({"dilation": (1, True)}, TypeError, ["dilation", "whole number", "got (1, True)"]),
        ({"dilation": None}, TypeError, ["dilation", "whole number", "got None"]),
        ({"padding": -1}, ValueError, ["padding", "0 or more", "got -1"]),
        ({"padding": ((0, 1), (-1, 0))}, ValueError, ["padding", "0 or more", "got ((0, 1), (-1, 0))"]),
        ({"padding": (1, 2, 3, 4)}, ValueError, ["padding", "one number or a pair", "got (1, 2, 3, 4)"]),
        ({"padding": ((1, 2), (3,))}, ValueError, ["padding", "one number or a pair", "got (3,)"]),
        ({"padding": np.float64(1)}, TypeError, ["padding", "whole number", "1.0"]),
        ({"padding": np.array([1.0, 2.0])}, TypeError, ["padding", "whole number", "got array([1., 2.])"]),
        ({"padding": False}, TypeError, ["padding", "whole number", "got False"]),
        ({"padding": "full"}, ValueError, ["padding", '"valid" or "same"', "got 'full'"]),
        ({"padding": "Same"}, ValueError, ["padding", '"valid" or "same"', "got 'Same'"]),
        ({"padding": "VALID"}, ValueError, ["padding", '"valid" or "same"', "got 'VALID'"]),
        ({"padding": "same", "stride": (1, 2)}, ValueError, ["padding", '"same"', "stride 1", "got stride (1, 2)"]),
        ({"padding": ("same", 1)}, TypeError, ["padding", "whole number", "got ('same', 1)"]),
    ],
)
def test_a_geometry_that_cannot_be_is_refused_by_name(arguments, error, words):
    with pytest.raises(error) as caught:
        shapes.conv2d_geometry(**{"input_size": IMAGE, "weight_size": WEIGHT} | arguments)
    assert str(caught.value).startswith(words[0])
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((-1, 3), ValueError, "size: expected a whole number, 0 or more, got -1"),
        ((5, 0), ValueError, "kernel_size: expected a whole number, 1 or more, got 0"),
        ((5, 3.0), TypeError, "kernel_size: expected a whole number, 1 or more, got 3.0"),
        ((5, 3, 0), ValueError, "stride: expected a whole number, 1 or more, got 0"),
        ((5, 3, 1, (0, -1)), ValueError, r"padding: expected a whole number, 0 or more, got \(0, -1\)"),
        ((5, 3, 1, 0, 0), ValueError, "dilation: expected a whole number, 1 or more, got 0"),
        ((5, 6), ValueError, r"kernel_size: expected to cover at most 5 cells \(5 and padding \(0, 0\)\), got 6"),
    ],
)
def test_an_output_size_that_cannot_be_is_refused_by_name(arguments, error, message):
    with pytest.raises(error, match=f"^{message}"):
        shapes.output_size(*arguments)


def test_a_flow_and_biases_of_another_shape_are_refused():
    geometry = shapes.conv2d_geometry((4, *IMAGE), WEIGHT)
    shapes.check_grad_output(geometry, (4, 2, 5, 5))
    shapes.check_grad_output(geometry, (2, 5, 5), batched=False)
    shapes.check_bias(geometry, (2,))
    with pytest.raises(ValueError, match=r"grad_output: expected shape \(4, 2, 5, 5\), .*got \(2, 5, 5\)"):
        shapes.check_grad_output(geometry, (2, 5, 5))
    with pytest.raises(ValueError, match=r"grad_output: expected shape \(2, 5, 5\), .*got \(2, 5, 6\)"):
        shapes.check_grad_output(geometry, (2, 5, 6), batched=False)
    with pytest.raises(ValueError, match=r"bias: expected shape \(2,\), got \(3,\)"):
        shapes.check_bias(geometry, (3,))
