"""The plain loops: against an independent computation, on the house, and on input they must refuse."""

import numpy as np
import pytest

from convlib import datasets, reference
from convlib.reference import conv2d


def windows_conv2d(input, weight, bias, padding):
    """An independent way to the same numbers: sliding windows and one big sum."""
    padded = np.pad(input, [(0, 0), (0, 0), (padding, padding), (padding, padding)])
    windows = np.lib.stride_tricks.sliding_window_view(padded, weight.shape[-2:], axis=(2, 3))
    return np.einsum("ncpquv,kcuv->nkpq", windows, weight) + bias[:, np.newaxis, np.newaxis]


@pytest.fixture
def house_layer():
    house = datasets.house()
    return house.image, np.stack([[kernel] * 3 for kernel in house.kernels[:2]]), house.biases[:2]


SHAPES = [  # N, C, H, W, K, kh, kw, padding: nothing square, odd and even kernels, one of everything
    (2, 3, 7, 5, 4, 3, 2, 1),
    (1, 1, 1, 1, 1, 1, 1, 0),
    (3, 2, 4, 9, 1, 4, 5, 0),
    (1, 4, 3, 6, 2, 2, 4, 3),
    (0, 2, 5, 5, 3, 3, 3, 1),
    (2, 1, 2, 2, 5, 5, 3, 2),
]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", [np.int64, np.int16, np.uint8, np.float32, np.float64])
def test_conv2d_agrees_with_sliding_windows(shape, dtype):
    n, c, h, w, k, kh, kw, padding = shape
    random = np.random.default_rng(sum(shape))
    input, weight, bias = (
        random.integers(0, 200, size=size).astype(dtype) for size in [(n, c, h, w), (k, c, kh, kw), (k,)]
    )
    output = conv2d(input, weight, bias, padding=padding)
    expected = windows_conv2d(input.astype(np.int64), weight.astype(np.int64), bias.astype(np.int64), padding)
    assert output.dtype == (dtype if np.issubdtype(dtype, np.floating) else np.int64)
    assert output.shape == expected.shape
    np.testing.assert_array_equal(output, expected)  # integers this small are exact in float32, too


def test_one_image_is_a_batch_of_one_without_the_axis(house_layer):
    image, weight, bias = house_layer
    batch = conv2d(image[np.newaxis], weight, bias, padding=1)
    np.testing.assert_array_equal(conv2d(image, weight, bias, padding=1), batch[0])


def test_no_bias_means_zeros(house_layer):
    image, weight, _ = house_layer
    np.testing.assert_array_equal(conv2d(image, weight), conv2d(image, weight, np.zeros(2, dtype=int)))


def test_inputs_are_not_written_to(house_layer):
    copies = [array.copy() for array in house_layer]
    for array in house_layer:
        array.setflags(write=False)
    conv2d(*house_layer, padding=1)
    for array, copy in zip(house_layer, copies, strict=True):
        np.testing.assert_array_equal(array, copy)


def test_any_memory_layout(house_layer):
    image, weight, bias = house_layer
    expected = conv2d(image, weight, bias, padding=1)
    strided = np.zeros((3, 14, 21), dtype=int)[:, ::2, ::3]
    strided[:] = image
    for other in (np.asfortranarray(image), strided, image[::-1].copy()[::-1], image.tolist()):
        np.testing.assert_array_equal(conv2d(other, np.asfortranarray(weight), bias, padding=1), expected)


def test_published_numbers_of_the_house():
    house = datasets.house()
    grid = reference.correlate2d(house.image[0], house.kernels[0], padding=1)
    assert grid[6, 0] == 152
    assert grid[3, 3] == 53


# --- planted mistakes: the numbers of the house must tell each of them from the truth ---------------------------


@pytest.mark.parametrize(
    "mistake",
    {
        "kernel turned": lambda x, w, b: conv2d(x, w[..., ::-1, ::-1], b, padding=1),
        "kernel rows and columns swapped": lambda x, w, b: conv2d(x, w.transpose(0, 1, 3, 2), b, padding=1),
        "output channels swapped": lambda x, w, b: conv2d(x, w[::-1], b, padding=1),
        "image rows and columns swapped": lambda x, w, b: conv2d(x.transpose(0, 2, 1), w, b, padding=1),
        "centre shifted": lambda x, w, b: np.roll(conv2d(x, w, b, padding=1), 1, axis=-1),
        "no padding, zeros added after": lambda x, w, b: np.pad(conv2d(x, w, b), [(0, 0), (1, 1), (1, 1)]),
        "border wrapped around": lambda x, w, b: conv2d(np.pad(x, [(0, 0), (1, 1), (1, 1)], mode="wrap"), w, b),
        "bias added once per input channel": lambda x, w, b: conv2d(x, w, 3 * b, padding=1),
        "a channel forgotten": lambda x, w, b: conv2d(x[:2], w[:, :2], b, padding=1),
    }.items(),
    ids=lambda item: item[0],
)
def test_the_numbers_of_chapter_2_catch(mistake, house_layer):
    image, weight, bias = house_layer
    wrong = mistake[1](image, weight, bias)
    shown_in_chapter_2 = {(0, 1, 2): 1, (0, 2, 1): 1, (1, 1, 4): 1, (1, 2, 5): 1, (0, 3, 3): -1004, (0, 0, 0): -902}
    right = conv2d(image, weight, bias, padding=1)
    assert all(right[place] == value for place, value in shown_in_chapter_2.items())
    assert any(wrong[place] != value for place, value in shown_in_chapter_2.items())


# --- refusals ---------------------------------------------------------------------------------------------------

IMAGE, WEIGHT = np.zeros((3, 7, 7)), np.zeros((2, 3, 3, 3))


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"input": np.zeros((7, 7))}, ValueError, ["input", "(N, C, H, W)", "(C, H, W)", "(7, 7)"]),
        ({"input": np.zeros((1, 1, 3, 7, 7))}, ValueError, ["input", "(1, 1, 3, 7, 7)"]),
        ({"weight": np.zeros((3, 3))}, ValueError, ["weight", "(K, C, kh, kw)", "(3, 3)"]),
        ({"weight": np.zeros((2, 4, 3, 3))}, ValueError, ["weight", "3 input channels", "(3, 7, 7)", "(2, 4, 3, 3)"]),
        ({"weight": np.zeros((2, 3, 8, 3))}, ValueError, ["kernel", "(8, 3)", "(7, 7)", "padding 0"]),
        ({"weight": np.zeros((2, 3, 0, 3))}, ValueError, ["kernel", "(0, 3)"]),
        ({"bias": np.zeros(3)}, ValueError, ["bias", "(2,)", "(2, 3, 3, 3)", "(3,)"]),
        ({"bias": 1.0}, ValueError, ["bias", "(K,)", "()"]),
        ({"padding": -1}, ValueError, ["padding", "-1"]),
        ({"padding": 1.5}, TypeError, ["padding", "1.5"]),
        ({"padding": True}, TypeError, ["padding", "True"]),
    ],
)
def test_conv2d_refuses_and_says_why(arguments, error, words):
    with pytest.raises(error) as caught:
        conv2d(**{"input": IMAGE, "weight": WEIGHT} | arguments)
    for word in words:
        assert word in str(caught.value)


def test_neuron_and_correlate2d_refuse_a_wrong_rank():
    with pytest.raises(ValueError, match=r"channel: expected shape \(H, W\), got \(3, 7, 7\)"):
        reference.neuron(IMAGE, WEIGHT[0, 0], 3, 3)
    with pytest.raises(ValueError, match=r"kernel: expected shape \(kh, kw\), got \(2, 3, 3, 3\)"):
        reference.correlate2d(IMAGE[0], WEIGHT)
