"""The three gradients: against experiments on random shapes, against PyTorch, and on input they must refuse."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from test_reference import windows_conv2d

from convlib.reference import conv2d, conv2d_bias_grad, conv2d_input_grad, conv2d_weight_grad

GRADIENTS = (conv2d_input_grad, conv2d_weight_grad, conv2d_bias_grad)


def three_gradients(input, weight, grad_output, padding, functions=GRADIENTS):
    """The gradients with respect to input, weight and bias."""
    input_grad, weight_grad, bias_grad = functions
    return (
        input_grad(input.shape, weight, grad_output, padding=padding),
        weight_grad(input, weight.shape, grad_output, padding=padding),
        bias_grad(grad_output),
    )


# --- against experiments ----------------------------------------------------------------------------------------


@st.composite
def layers(draw):
    """Input, weight, bias, grad_output and padding: not square, odd and even kernels, without any symmetry."""
    n, c, k = (draw(st.integers(1, 3)) for _ in range(3))
    padding = draw(st.integers(0, 3))
    h, w = (draw(st.integers(1, 5)) for _ in range(2))
    kh, kw = (draw(st.integers(1, min(4, size + 2 * padding))) for size in (h, w))
    return random_layer(n, c, h, w, k, kh, kw, padding, seed=draw(st.integers(0, 2**32 - 1)))


def random_layer(n, c, h, w, k, kh, kw, padding, seed=0):
    random = np.random.default_rng(seed)
    sizes = (n, c, h, w), (k, c, kh, kw), (k,), (n, k, h + 2 * padding - kh + 1, w + 2 * padding - kw + 1)
    return *(random.integers(-9, 10, size=size) for size in sizes), padding


def by_experiment(arrays, grad_output, padding, step=1):
    """The three gradients of the sum of grad_output times output, by a step up and a step down of each number.

    The layer is linear in each of its three arguments. So with integers a step of 1 gives the exact derivatives.
    """
    gradients = []
    for array in arrays:
        gradient = np.empty_like(array)
        for place in np.ndindex(*array.shape):
            value, losses = array[place], []
            for array[place] in (value + step, value - step):
                losses.append((grad_output * windows_conv2d(*arrays, padding)).sum())
            array[place] = value
            gradient[place] = (losses[0] - losses[1]) / (2 * step)
        gradients.append(gradient)
    return gradients


LAYERS = settings(max_examples=100, deadline=None, derandomize=True)


@LAYERS
@given(layers())
@example(random_layer(1, 3, 7, 7, 2, 3, 3, 1))
@example(random_layer(0, 2, 4, 3, 2, 3, 2, 1))  # an empty batch
@example(random_layer(2, 2, 3, 5, 3, 4, 2, 3))
def test_integer_gradients_are_exactly_the_experiments(layer):
    *arrays, grad_output, padding = layer
    gradients = three_gradients(*arrays[:2], grad_output, padding)
    for gradient, expected in zip(gradients, by_experiment(arrays, grad_output, padding), strict=True):
        assert gradient.dtype == np.int64
        np.testing.assert_array_equal(gradient, expected)


@LAYERS
@given(layers())
def test_float_gradients_are_near_the_central_differences(layer):
    *arrays, grad_output, padding = layer
    arrays = [array / 7 for array in arrays]
    gradients = three_gradients(*arrays[:2], grad_output / 3, padding)
    for gradient, expected in zip(gradients, by_experiment(arrays, grad_output / 3, padding, 1e-4), strict=True):
        assert gradient.dtype == np.float64
        np.testing.assert_allclose(gradient, expected, rtol=1e-8, atol=1e-8)


@LAYERS
@given(layers())
def test_the_gradients_of_one_image_without_the_axis(layer):
    input, weight, _, grad_output, padding = layer
    alone = three_gradients(input[0], weight, grad_output[0], padding)
    in_batch = three_gradients(input[:1], weight, grad_output[:1], padding)
    np.testing.assert_array_equal(alone[0], in_batch[0][0])
    for one, other in zip(alone[1:], in_batch[1:], strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int16, np.float32])
def test_other_data_types(dtype):
    *arrays, grad_output, padding = random_layer(2, 3, 5, 4, 2, 3, 2, 1)
    input, weight, _, grad_output = (np.abs(array) * 11 for array in (*arrays, grad_output))  # products beyond int8
    expected = three_gradients(input, weight, grad_output, padding)
    gradients = three_gradients(*(array.astype(dtype) for array in (input, weight, grad_output)), padding)
    for gradient, right in zip(gradients, expected, strict=True):
        assert gradient.dtype == (dtype if np.issubdtype(dtype, np.floating) else np.int64)
        np.testing.assert_array_equal(gradient, right)  # integers this small are exact in float32, too


def test_arguments_are_not_written_to_and_any_memory_layout_will_do():
    input, weight, _, grad_output, padding = random_layer(2, 3, 5, 4, 2, 3, 2, 1)
    expected = three_gradients(input, weight, grad_output, padding)
    others = [np.asfortranarray(array) for array in (input, weight, grad_output)]
    for array in others:
        array.setflags(write=False)
    for gradient, right in zip(three_gradients(*others, padding), expected, strict=True):
        np.testing.assert_array_equal(gradient, right)


# --- against PyTorch --------------------------------------------------------------------------------------------

with np.load(Path(__file__).parent / "data" / "pytorch_gradients.npz") as file:
    PYTORCH = dict(file)
CASES = sorted(name.removesuffix(" padding") for name in PYTORCH if name.endswith(" padding"))
TOLERANCE = {"float32": 2e-5, "float64": 1e-12}  # relative to the largest value


def stored(case, dtype, *names):
    return [PYTORCH[f"{dtype} {case} {name}"] for name in names]


def assert_near(value, expected, dtype):
    assert value.dtype == expected.dtype == dtype and value.shape == expected.shape
    np.testing.assert_allclose(value, expected, rtol=0, atol=TOLERANCE[dtype] * np.abs(expected).max())


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("case", CASES)
def test_pytorch_agrees(case, dtype):
    padding = int(PYTORCH[f"{case} padding"])
    input, weight, bias, grad_output, output = stored(case, dtype, "input", "weight", "bias", "grad_output", "output")
    assert_near(conv2d(input, weight, bias, padding=padding), output, dtype)
    expected_ones = stored(case, dtype, "grad_input", "grad_weight", "grad_bias")
    for gradient, expected in zip(three_gradients(input, weight, grad_output, padding), expected_ones, strict=True):
        assert_near(gradient, expected, dtype)


def test_the_stored_cases_are_worth_the_name():
    assert str(PYTORCH["torch"]).startswith("2.13.")
    assert len(CASES) >= 5
    weights = [PYTORCH[f"float64 {case} weight"].shape for case in CASES]
    inputs = [PYTORCH[f"float64 {case} input"].shape for case in CASES]
    assert any(kh % 2 == 0 and kw % 2 == 0 for *_, kh, kw in weights)
    assert any(n > 1 and h != w for n, _, h, w in inputs)


# --- planted mistakes: each must be noticed by the experiments and, independently, by PyTorch's numbers -----------


def swap_weight_axes(input_size, weight, grad_output, padding):
    """As many channels as needed, taken from the wrong axis."""
    k, c = weight.shape[:2]
    wrong = np.resize(weight.transpose(1, 0, 2, 3), (k, c, *weight.shape[2:]))
    return conv2d_input_grad(input_size, wrong, grad_output, padding=padding)


def without_top_row(grad_output):
    cut = grad_output.copy()
    cut[..., 0, :] = 0
    return cut


MISTAKES = {
    "input: kernel not turned": (
        0, lambda size, w, d, padding: conv2d_input_grad(size, w[..., ::-1, ::-1], d, padding=padding)),
    "input: rows of the kernel not turned": (
        0, lambda size, w, d, padding: conv2d_input_grad(size, w[..., ::-1, :], d, padding=padding)),
    "input: channels swapped": (0, swap_weight_axes),
    "input: top row forgotten": (
        0, lambda size, w, d, padding: conv2d_input_grad(size, w, without_top_row(d), padding=padding)),
    "input: off by one at the border": (
        0, lambda size, w, d, padding: np.roll(conv2d_input_grad(size, w, d, padding=padding), 1, axis=-2)),
    "weight: turned": (
        1, lambda x, size, d, padding: conv2d_weight_grad(x, size, d, padding=padding)[..., ::-1, ::-1]),
    "weight: output channels in the wrong order": (
        1, lambda x, size, d, padding: conv2d_weight_grad(x, size, d[..., ::-1, :, :], padding=padding)),
    "weight: top row forgotten": (
        1, lambda x, size, d, padding: conv2d_weight_grad(x, size, without_top_row(d), padding=padding)),
    "weight: off by one at the border": (
        1, lambda x, size, d, padding: conv2d_weight_grad(np.roll(x, 1, axis=-1), size, d, padding=padding)),
    "weight: batch not summed": (
        1, lambda x, size, d, padding: conv2d_weight_grad(x[:1], size, d[:1], padding=padding)),
    "weight: batch averaged": (
        1, lambda x, size, d, padding: conv2d_weight_grad(x, size, d, padding=padding) / len(x)),
    "bias: summed over channels": (2, lambda d: np.full(d.shape[1], d.sum())),
    "bias: top row forgotten": (2, lambda d: conv2d_bias_grad(without_top_row(d))),
    "bias: batch not summed": (2, lambda d: conv2d_bias_grad(d[:1])),
    "bias: averaged": (2, lambda d: d.mean(axis=(0, 2, 3))),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_planted_mistake_is_noticed_twice(mistake):
    which, wrong = MISTAKES[mistake]
    functions = [wrong if place == which else right for place, right in enumerate(GRADIENTS)]

    *arrays, grad_output, padding = random_layer(2, 3, 5, 4, 2, 3, 2, 1)
    gradients = three_gradients(*arrays[:2], grad_output, padding, functions)
    assert not np.array_equal(gradients[which], by_experiment(arrays, grad_output, padding)[which])

    case, dtype = "batch", "float64"
    input, weight, grad_output = stored(case, dtype, "input", "weight", "grad_output")
    gradients = three_gradients(input, weight, grad_output, int(PYTORCH[f"{case} padding"]), functions)
    [expected] = stored(case, dtype, ["grad_input", "grad_weight", "grad_bias"][which])
    with pytest.raises(AssertionError):
        assert_near(gradients[which], expected, dtype)


# --- refusals ---------------------------------------------------------------------------------------------------

IMAGE, WEIGHT, FLOW = np.zeros((3, 7, 7)), np.zeros((2, 3, 3, 3)), np.zeros((2, 7, 7))
INPUT_GRAD = {"input_size": IMAGE.shape, "weight": WEIGHT, "grad_output": FLOW, "padding": 1}
WEIGHT_GRAD = {"input": IMAGE, "weight_size": WEIGHT.shape, "grad_output": FLOW, "padding": 1}
PADDINGS = [
    ({"padding": -1}, ValueError, ["padding", "0 or more", "-1"]),
    ({"padding": 1.5}, TypeError, ["padding", "int", "1.5"]),
    ({"padding": True}, TypeError, ["padding", "int", "True"]),
    ({"padding": 2}, ValueError, ["grad_output", "(2, 9, 9)", "(2, 7, 7)"]),
]
FLOWS = [
    ({"grad_output": FLOW[0]}, ValueError, ["grad_output", "(2, 7, 7)", "got (7, 7)"]),
    ({"grad_output": FLOW[np.newaxis]}, ValueError, ["grad_output", "(2, 7, 7)", "got (1, 2, 7, 7)"]),
    ({"grad_output": FLOW[:1]}, ValueError, ["grad_output", "(2, 7, 7)", "got (1, 7, 7)"]),
    ({"grad_output": FLOW[:, 1:]}, ValueError, ["grad_output", "(2, 7, 7)", "got (2, 6, 7)"]),
]


def refusal(function, arguments, error, words):
    with pytest.raises(error) as caught:
        function(**arguments)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"input_size": (7, 7)}, ValueError, ["input_size", "(N, C, H, W)", "(C, H, W)", "(7, 7)"]),
        ({"input_size": (1, 1, 3, 7, 7)}, ValueError, ["input_size", "(1, 1, 3, 7, 7)"]),
        ({"input_size": (4, 7, 7)}, ValueError, ["weight", "4 input channels", "(4, 7, 7)", "(2, 3, 3, 3)"]),
        ({"input_size": (5, 3, 7, 7)}, ValueError, ["grad_output", "(5, 2, 7, 7)", "got (2, 7, 7)"]),
        ({"weight": WEIGHT[0]}, ValueError, ["weight", "(K, C, kh, kw)", "(3, 3, 3)"]),
        ({"weight": WEIGHT[:, :2]}, ValueError, ["weight", "3 input channels", "(3, 7, 7)", "(2, 2, 3, 3)"]),
        ({"weight": np.zeros((2, 3, 0, 3))}, ValueError, ["kernel", "(0, 3)"]),
        ({"weight": np.zeros((2, 3, 10, 3))}, ValueError, ["kernel", "(10, 3)", "(7, 7)", "padding 1"]),
        *FLOWS,
        *PADDINGS,
    ],
)
def test_input_grad_refuses_and_says_why(arguments, error, words):
    refusal(conv2d_input_grad, INPUT_GRAD | arguments, error, words)


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"input": IMAGE[0]}, ValueError, ["input", "(N, C, H, W)", "(C, H, W)", "(7, 7)"]),
        ({"input": IMAGE[:2]}, ValueError, ["weight", "2 input channels", "(2, 7, 7)", "(2, 3, 3, 3)"]),
        ({"weight_size": (3, 3)}, ValueError, ["weight_size", "(K, C, kh, kw)", "(3, 3)"]),
        ({"weight_size": (2, 4, 3, 3)}, ValueError, ["weight", "3 input channels", "(2, 4, 3, 3)"]),
        ({"weight_size": (2, 3, 3, 10)}, ValueError, ["kernel", "(3, 10)", "(7, 7)", "padding 1"]),
        ({"weight_size": (3, 3, 3, 3)}, ValueError, ["grad_output", "(3, 7, 7)", "got (2, 7, 7)"]),
        *FLOWS,
        *PADDINGS,
    ],
)
def test_weight_grad_refuses_and_says_why(arguments, error, words):
    refusal(conv2d_weight_grad, WEIGHT_GRAD | arguments, error, words)


@pytest.mark.parametrize("flow", [1.0, FLOW[0, 0], FLOW[0], FLOW[np.newaxis, np.newaxis]])
def test_bias_grad_refuses_and_says_why(flow):
    shape = str(np.shape(flow))
    refusal(conv2d_bias_grad, {"grad_output": flow}, ValueError, ["grad_output", "(N, K, H, W)", "(K, H, W)", shape])
