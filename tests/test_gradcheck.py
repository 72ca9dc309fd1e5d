"""Numerical gradients on known derivatives; the checks on right gradients, on wrong ones, on what they must refuse."""

import numpy as np
import pytest

from convlib import gradcheck, reference
from convlib.gradcheck import check_conv2d_gradients, check_gradient, numerical_gradient, relative_error


def random(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


# --- numerical_gradient and relative_error ----------------------------------------------------------------------


@pytest.mark.parametrize("scale", [1e-6, 1, 1e6])
@pytest.mark.parametrize(
    ("function", "derivative"),
    [(np.square, lambda x: 2 * x), (np.sin, np.cos), (np.tanh, lambda x: 1 / np.cosh(x) ** 2)],
)
def test_known_derivatives(function, derivative, scale):
    x, flow = random(3, 4), random(3, 4, seed=1)
    numerical = numerical_gradient(lambda x: function(x / scale), scale * x, flow)
    if scale == 1e-6:  # the default step is far too large here; one that suits the function can be given
        numerical = numerical_gradient(lambda x: function(x / scale), scale * x, flow, step=6e-12)
    assert relative_error(numerical, derivative(x) * flow / scale) < 1e-8


def test_the_output_may_have_another_shape_than_the_input():
    matrix, flow = random(2, 3), random(2, seed=1)
    np.testing.assert_allclose(numerical_gradient(lambda x: matrix @ x, random(3, seed=2), flow), flow @ matrix)
    numerical = numerical_gradient(lambda x: (x**2).sum(), np.array([1, -3]), 0.5)
    np.testing.assert_allclose(numerical, [1, -3])
    assert numerical_gradient(np.sin, 0.0, 2.0) == pytest.approx(2)


def test_integers_and_float32_are_differentiated_in_float64():
    for x in (np.array([1, 70, 200]), np.array([1, 70, 200], dtype=np.float32), [1, 70, 200]):
        numerical = numerical_gradient(np.square, x, np.ones(3, dtype=np.float32))
        assert numerical.dtype == np.float64
        np.testing.assert_allclose(numerical, [2, 140, 400], rtol=1e-9)


def test_the_step_can_be_chosen():
    assert numerical_gradient(lambda x: x**3, 1.0, 1.0, step=0.5) == 3.25  # Chapter 6, by hand


def test_a_function_may_use_one_buffer_for_all_its_results():
    buffer = np.empty(3)
    numerical = numerical_gradient(lambda x: np.multiply(x, x, out=buffer), [1.0, 2.0, 3.0], np.ones(3))
    np.testing.assert_allclose(numerical, [2, 4, 6])


def spoil(x):
    x += 1
    return x**2


def stop(x):
    x += 1
    raise RuntimeError("half-way")


def test_the_arguments_stay_as_they_were_whatever_the_function_does():
    x, flow = random(2, 3), random(2, 3, seed=1)
    copies = x.copy(), flow.copy()
    check_gradient(spoil, x, 2 * (x + 1) * flow, flow)
    with pytest.raises(RuntimeError, match="half-way"):
        numerical_gradient(stop, x, flow)
    np.testing.assert_array_equal((x, flow), copies)
    x.setflags(write=False)
    numerical_gradient(spoil, x, flow)


@pytest.mark.parametrize("step", [0, -1, np.nan, 1e-20])
def test_a_step_that_does_not_move_x_is_refused(step):
    with pytest.raises(ValueError, match="step: expected a number large enough to move x, got"):
        numerical_gradient(np.sin, np.ones(2), np.ones(2), step)


def test_relative_error():
    assert relative_error([3, 4], [0, 4]) == pytest.approx(1 / 3)
    assert relative_error([1, 2], [1, 2]) == 0
    assert relative_error([[1, 2]], [[-1, -2]]) == 1
    for scale in (1e-300, 1e300):  # whose squares float64 does not have
        assert relative_error(np.array([3, 4]) * scale, np.array([0, 4]) * scale) == pytest.approx(1 / 3)


# --- check_gradient ---------------------------------------------------------------------------------------------

X, FLOW = random(2, 3), random(2, 3, seed=1)
RIGHT = np.cos(X) * FLOW


def test_a_right_gradient_passes_and_its_error_is_returned():
    assert 0 < check_gradient(np.sin, X, RIGHT, FLOW) < 1e-9
    x = X.astype(np.float32)
    assert check_gradient(np.sin, x, (np.cos(x) * FLOW.astype(np.float32)), FLOW.astype(np.float32)) < 1e-7


def test_a_wrong_gradient_is_told_where_and_by_how_much():
    wrong = RIGHT.copy()
    wrong[1, 2] += 0.5
    with pytest.raises(AssertionError) as caught:
        check_gradient(np.sin, X, wrong, FLOW)
    error = relative_error(wrong, RIGHT)
    for word in ("(1, 2)", f"{wrong[1, 2]:.6g}", f"{RIGHT[1, 2]:.6g}", f"{error:.3g}", "1e-06"):
        assert word in str(caught.value)


def test_the_tolerance_decides():
    wrong = RIGHT * (1 + 1e-4)
    assert check_gradient(np.sin, X, wrong, FLOW, tolerance=1e-3) == pytest.approx(5e-5, rel=1e-2)
    with pytest.raises(AssertionError, match="at most 1e-05"):
        check_gradient(np.sin, X, wrong, FLOW, tolerance=1e-5)


EMPTY, NOT_A_NUMBER = np.zeros((0, 3)), np.full((2, 3), np.nan)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"x": EMPTY, "gradient": EMPTY, "grad_output": EMPTY}, "nothing was checked: x of shape (0, 3) is empty"),
        ({"gradient": EMPTY}, "nothing was checked: gradient of shape (0, 3) is empty"),
        ({"grad_output": EMPTY}, "nothing was checked: grad_output of shape (0, 3) is empty"),
        ({"grad_output": 0 * FLOW}, "nothing was checked: grad_output is zero everywhere"),
        ({"function": lambda x: 0 * x, "gradient": 0 * X}, "nothing was checked: both arrays are zero everywhere"),
        ({"x": NOT_A_NUMBER}, "nothing was checked: x has numbers that are not finite"),
        ({"gradient": np.inf * X}, "nothing was checked: gradient has numbers that are not finite"),
        ({"grad_output": NOT_A_NUMBER}, "nothing was checked: grad_output has numbers that are not finite"),
        ({"function": lambda x: x * np.nan}, "nothing was checked: the numerical gradient has numbers"),
        ({"gradient": RIGHT.T}, "gradient: expected shape (2, 3), the shape of x, got (3, 2)"),
        ({"gradient": RIGHT[0]}, "gradient: expected shape (2, 3), the shape of x, got (3,)"),
        ({"grad_output": FLOW[:, :1]}, "grad_output: expected shape (2, 3), the output's shape, got (2, 1)"),
        ({"tolerance": 1}, "tolerance: expected a number in (0, 1), got 1"),  # no error is larger than 1
        ({"tolerance": np.nan}, "tolerance: expected a number in (0, 1), got nan"),
    ],
)
def test_what_could_not_have_failed_is_refused(arguments, words):
    with pytest.raises(ValueError) as caught:
        check_gradient(**{"function": np.sin, "x": X, "gradient": RIGHT, "grad_output": FLOW} | arguments)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("a", "b", "words"),
    [
        ([1, 2], [[1, 2]], r"b: expected shape \(2,\), the shape of a, got \(1, 2\)"),
        ([], [], "nothing was checked: a of shape"),
        ([0, 0], [0, 0], "nothing was checked: both arrays are zero"),
        ([1, 0], [np.nan, 0], "nothing was checked: b has numbers that are not finite"),
    ],
)
def test_relative_error_refuses_to_compare_nothing(a, b, words):
    with pytest.raises(ValueError, match=words):
        relative_error(a, b)


# --- check_conv2d_gradients -------------------------------------------------------------------------------------

GRADIENTS = {
    "input_grad": reference.conv2d_input_grad,
    "weight_grad": reference.conv2d_weight_grad,
    "bias_grad": reference.conv2d_bias_grad,
}
SMALL = [{"input": (2, 1, 3, 4), "weight": (2, 1, 2, 3), "padding": 1}]


def test_the_honest_layers_are_honest():
    layers = [(*layer["input"], *layer["weight"], layer["padding"]) for layer in gradcheck.HONEST_LAYERS]
    assert all(n > 1 and h != w for n, _, h, w, *_ in layers)
    assert any(c > 1 and k > 1 and c != k and kh != kw for _, c, _, _, k, _, kh, kw, _ in layers)
    assert any(kh == kw == 3 for *_, kh, kw, _ in layers)  # fast programs treat it by itself
    assert {padding for *_, padding in layers} == {0, 1, 2}
    assert {side % 2 for *_, kh, kw, _ in layers for side in (kh, kw)} == {0, 1}


def test_the_reference_functions_pass():
    assert 0 < check_conv2d_gradients(**GRADIENTS) < 1e-8


@pytest.mark.parametrize("name", GRADIENTS)
def test_the_function_and_the_layer_that_fail_are_named(name):
    wrong = {name: lambda *arguments, **settings: 2 * GRADIENTS[name](*arguments, **settings)}
    with pytest.raises(AssertionError, match=rf"^{name}, input \(2, 1, 3, 4\), .*'padding': 1.*: relative error 0.333"):
        check_conv2d_gradients(**GRADIENTS | wrong, layers=SMALL)
    wrong = {name: lambda *arguments, **settings: GRADIENTS[name](*arguments, **settings)[:1, ..., np.newaxis]}
    with pytest.raises(ValueError, match=rf"^{name}, .*: gradient: expected shape"):
        check_conv2d_gradients(**GRADIENTS | wrong, layers=SMALL)


def test_settings_replace_those_of_the_layers():
    paddings = set()

    def forward(input, weight, bias, padding):
        paddings.add(padding)
        return reference.conv2d(input, weight, bias, padding=padding)

    check_conv2d_gradients(**GRADIENTS, forward=forward, layers=SMALL, padding=2)
    assert paddings == {2}


def test_no_layers_are_no_check():
    with pytest.raises(ValueError, match="nothing was checked: there are no layers"):
        check_conv2d_gradients(**GRADIENTS, layers=[])


@pytest.mark.parametrize(
    ("name", "position"), [("input_grad", 1), ("input_grad", 2), ("weight_grad", 0), ("weight_grad", 2)]
)
def test_a_function_that_changes_its_arguments_cannot_fool_the_check(name, position):
    """It is right for the turned argument; if it turned everybody's, it would pass."""

    def turn_in_place(*arguments, **settings):
        arguments[position][:] = arguments[position][:, :, ::-1, ::-1].copy()
        return GRADIENTS[name](*arguments, **settings)

    with pytest.raises(AssertionError, match=f"^{name}"):
        check_conv2d_gradients(**GRADIENTS | {name: turn_in_place}, layers=SMALL)


def strided(input, weight, bias, padding, stride):
    return reference.conv2d(input, weight, bias, padding=padding)[:, :, ::stride, ::stride]


def spread(grad_output, like, stride):
    """The flow at the outputs that a stride leaves, and zero at those it skips."""
    flow = np.zeros(like)
    flow[:, :, ::stride, ::stride] = grad_output
    return flow


def test_other_settings_reach_forward_and_backward():
    def full_size(input_size, weight_size, padding):
        return reference.conv2d(np.zeros(input_size), np.zeros(weight_size), padding=padding).shape

    def input_grad(input_size, weight, grad_output, padding, stride):
        flow = spread(grad_output, full_size(input_size, weight.shape, padding), stride)
        return reference.conv2d_input_grad(input_size, weight, flow, padding=padding)

    def weight_grad(input, weight_size, grad_output, padding, stride):
        flow = spread(grad_output, full_size(input.shape, weight_size, padding), stride)
        return reference.conv2d_weight_grad(input, weight_size, flow, padding=padding)

    assert check_conv2d_gradients(input_grad, weight_grad, reference.conv2d_bias_grad, strided, stride=2) < 1e-8
