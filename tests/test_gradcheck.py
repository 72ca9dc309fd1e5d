"""Numerical gradients on known derivatives; the checks on right gradients, on wrong ones, on what they must refuse."""

import re

import numpy as np
import pytest
from test_reference import windows_conv2d

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
    assert numerical_gradient(lambda x: x**3, 1.0, 1.0, step=0.5) == 3.25  # by hand


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
    assert check_gradient(np.sin, X, RIGHT, FLOW) == 0
    assert 1e-9 < check_gradient(np.sin, X, RIGHT * (1 + 1e-8), FLOW, tolerance=1e-6) < 1e-8


def test_a_wrong_gradient_is_told_where_and_by_how_much():
    wrong = RIGHT.copy()
    wrong[1, 2] += 0.5
    with pytest.raises(AssertionError) as caught:
        check_gradient(np.sin, X, wrong, FLOW)
    error = relative_error(wrong[1, 2], RIGHT[1, 2])
    for word in ("(1, 2)", f"{wrong[1, 2]:.6g}", f"{RIGHT[1, 2]:.6g}", f"{error:.3g}", "1e-10"):
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
        ({"function": lambda x: 0 * x, "gradient": 0 * X}, "nothing was checked: x does not move the outputs visibly"),
        ({"function": np.floor, "gradient": 0 * X}, "nothing was checked: x does not move the outputs visibly"),
        ({"function": lambda x: 1 + 1e-30 * x, "gradient": 1e-30 * FLOW}, "nothing was checked: x does not move"),
        ({"x": NOT_A_NUMBER}, "nothing was checked: x has numbers that are not finite, nan at (0, 0)"),
        ({"gradient": np.where(X == X[1, 2], np.inf, X)}, "gradient has numbers that are not finite, inf at (1, 2)"),
        ({"grad_output": NOT_A_NUMBER}, "nothing was checked: grad_output has numbers that are not finite"),
        ({"function": lambda x: x * np.nan}, "the output of function has numbers that are not finite, nan at (0, 0)"),
        ({"function": lambda x: np.where(x == X, x, np.inf)}, "the output of function has numbers that are not finite"),
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


# --- check_gradient: each number at its own scale ----------------------------------------------------------------


def scaled_layer(case, seed=0):
    """A layer whose scales differ: the three functions of one array each, the arrays, their gradients, the flow."""
    x, w, b = random(2, 3, 3, 4, seed=seed), random(3, 3, 2, 2, seed=seed + 1), random(3, seed=seed + 2)
    flow = random(2, 3, 4, 5, seed=seed + 3)
    kind, size = case
    if kind == "input channel":
        w[:, 1] *= size
    elif kind == "output channel":
        w[1] *= size
    elif kind == "flow channel":
        flow[:, 1] *= size
    elif kind == "every number":
        random_sizes = np.random.default_rng(seed)
        x, w, b = (array * size ** random_sizes.uniform(-0.5, 0.5, array.shape) for array in (x, w, b))
    gradients = (
        reference.conv2d_input_grad(x.shape, w, flow, padding=1),
        reference.conv2d_weight_grad(x, w.shape, flow, padding=1),
        reference.conv2d_bias_grad(flow),
    )
    functions = (
        lambda moved: windows_conv2d(moved, w, b, 1),
        lambda moved: windows_conv2d(x, moved, b, 1),
        lambda moved: windows_conv2d(x, w, moved, 1),
    )
    return functions, (x, w, b), gradients, flow


SCALES = [("same", 1)] + [
    (kind, size)
    for kind in ("input channel", "output channel", "flow channel", "every number")
    for size in (1e-12, 1e-8, 1e-6, 1e12)
]


@pytest.mark.parametrize("case", SCALES)
def test_right_gradients_pass_and_a_single_wrong_number_is_seen_whatever_the_scales(case):
    functions, arrays, gradients, flow = scaled_layer(case)
    picks = np.random.default_rng(1)
    for function, array, gradient in zip(functions, arrays, gradients, strict=True):
        assert check_gradient(function, array, gradient, flow) < 1e-10
        places = [np.unravel_index(abs(gradient).argmin(), gradient.shape)]
        places.append(tuple(picks.integers(0, side) for side in gradient.shape))
        for place, factor in zip(places, (0, 1.01), strict=True):  # the smallest number lost; another 1 % too large
            wrong = gradient.copy()
            wrong[place] *= factor
            with pytest.raises(AssertionError, match=re.escape(str(tuple(map(int, place))))):
                check_gradient(function, array, wrong, flow)


@pytest.mark.parametrize("size", [1e-6, 1e-8])
@pytest.mark.parametrize("channel", [(slice(None), 1), 1], ids=["input channel", "output channel"])
@pytest.mark.parametrize("turn", [lambda k: k.swapaxes(-1, -2), lambda k: k[..., ::-1, ::-1], lambda k: 0 * k])
def test_a_wrong_kernel_of_small_scale_is_seen(size, channel, turn):
    w = random(3, 3, 2, 2, seed=1)
    w[channel] *= size
    x, flow = random(2, 3, 3, 4), random(2, 3, 4, 5, seed=2)
    changed = w.copy()
    changed[channel] = turn(w[channel])
    right, wrong = (reference.conv2d_input_grad(x.shape, kernels, flow, padding=1) for kernels in (w, changed))
    assert relative_error(wrong, right) < 1e-5  # one norm for all does not see it
    check_gradient(lambda moved: windows_conv2d(moved, w, np.zeros(3), 1), x, right, flow)
    with pytest.raises(AssertionError):
        check_gradient(lambda moved: windows_conv2d(moved, w, np.zeros(3), 1), x, wrong, flow)


def test_a_wrong_bias_beside_huge_weights_is_seen():
    """The outputs of the second channel are rounded by more than the bias of the first changes anything."""
    x, w, b, flow = random(2, 3, 3, 4), random(3, 3, 2, 2, seed=1), random(3, seed=2), random(2, 3, 4, 5, seed=3)
    w[1] *= 1e18
    right = reference.conv2d_bias_grad(flow)
    check_gradient(lambda moved: windows_conv2d(x, w, moved, 1), b, right, flow)
    with pytest.raises(AssertionError, match=r"\(0,\)"):
        check_gradient(lambda moved: windows_conv2d(x, w, moved, 1), b, right * [1 + 1e-9, 1, 1], flow)


def test_a_sum_that_cancels_and_a_derivative_that_is_zero_are_right():
    x, flow = random(4), random(4, seed=1)
    matrix = random(4, 4, seed=2)
    matrix[:, 1] -= flow * (matrix[:, 1] @ flow) / (flow @ flow)  # so that the sum of the second column is zero
    matrix[:, 2] = 0
    right = flow @ matrix
    assert abs(right[1]) < 1e-15 and right[2] == 0
    check_gradient(lambda x: matrix @ x, x, right, flow)
    check_gradient(lambda x: 1e9 * (matrix @ x) - 1e9 * (matrix[::-1] @ x)[::-1] + matrix @ x, x, right, flow)
    for place, number in ((1, 1e-8), (2, 1e-9)):
        wrong = right.copy()
        wrong[place] = number
        with pytest.raises(AssertionError, match=rf"\({place},\)"):
            check_gradient(lambda x: matrix @ x, x, wrong, flow)
    for function, slopes in ((np.square, [0, 2]), (np.cos, [0, -np.sin(1)]), (lambda x: x**3, [0, 3])):
        check_gradient(function, [0, 1], slopes, [1, 1])


CURVES = {  # a function, its derivative, numbers to try it at
    "tanh": (np.tanh, lambda x: 1 / np.cosh(x) ** 2, random(40)),
    "tanh, all but flat": (np.tanh, lambda x: 1 / np.cosh(x) ** 2, 6 * random(40)),
    "relu": (lambda x: np.maximum(x, 0), lambda x: 1.0 * (x > 0), random(40)),
    "exp of any size": (np.exp, np.exp, 10 * random(40)),
    "log near its border": (np.log, lambda x: 1 / x, np.exp(3 * random(40))),
    "sqrt near its border": (np.sqrt, lambda x: 0.5 / np.sqrt(x), np.exp(2 * random(40))),
    "a narrow bump": (lambda x: np.exp(-(1e6 * x**2)), lambda x: -2e6 * x * np.exp(-(1e6 * x**2)), 1e-3 * random(320)),
    "quick waves": (lambda x: np.sin(50 * x), lambda x: 50 * np.cos(50 * x), random(40)),
    "waves too quick for the usual step": (lambda x: np.sin(1e6 * x), lambda x: 1e6 * np.cos(1e6 * x), X[0] / 1e6),
    "a line with ripples": (lambda x: x + 1e-6 * np.tanh(x), lambda x: 1 + 1e-6 / np.cosh(x) ** 2, random(40)),
    "a bump that a one hides": (lambda x: 1 + np.exp(-(x**2)), lambda x: -2 * x * np.exp(-(x**2)), 6 * random(40)),
    "digits lost": (lambda x: (np.sin(x) + 1e4) - 1e4, np.cos, random(40)),
    "more digits lost": (lambda x: (np.sin(x) + 2e5) - 2e5, np.cos, random(320)),
}


@pytest.mark.parametrize("name", CURVES)
def test_curves_are_checked_number_by_number(name):
    function, derivative, x = CURVES[name]
    flow = random(len(x), seed=1)
    places = (0, len(x) // 2, len(x) - 1)
    right = derivative(x) * flow
    assert check_gradient(function, x, right, flow) < 1e-10
    for place in places:
        if abs(right[place]) > 1e-6 * abs(function(x[place])):
            wrong = right.copy()
            wrong[place] *= 1.01
            with pytest.raises(AssertionError, match=rf"\({place},\)"):
                check_gradient(function, x, wrong, flow)


@pytest.mark.parametrize("size", [1e-300, 1, 1e300])
def test_the_largest_and_the_smallest_numbers(size):
    right = size * np.cos(X) * FLOW
    check_gradient(lambda x: size * np.sin(x), X, right, FLOW)
    check_gradient(lambda x: 2 * x, size * X, 2 * FLOW, FLOW)
    with pytest.raises(AssertionError, match="relative error 1, "):
        check_gradient(lambda x: size * np.sin(x), X, -right, FLOW)


def test_one_number_alone_and_numbers_that_no_output_hears():
    check_gradient(np.sin, 0.5, 2 * np.cos(0.5), 2.0)
    check_gradient(lambda x: float((x**2).sum()), [1, -3], [1, -3], 0.5)
    check_gradient(lambda x: x[::2], random(3), [1, 0, 2], [1, 2])
    with pytest.raises(AssertionError, match=r"\(1,\): got 1e-09, numerically 0"):
        check_gradient(lambda x: x[::2], random(3), [1, 1e-9, 2], [1, 2])


def test_a_small_curve_beside_a_large_number_is_measured_with_a_longer_step():
    x, flow = random(6), random(6, seed=1)
    right = 1e-5 * np.cos(x) * flow
    check_gradient(lambda x: 1 + 1e-5 * np.sin(x), x, right, flow)
    with pytest.raises(AssertionError):
        check_gradient(lambda x: 1 + 1e-5 * np.sin(x), x, right * (1 + 2e-6), flow)


def test_the_worst_place_is_the_worst_at_its_own_scale():
    with pytest.raises(AssertionError, match=r"worst place is \(1,\): got 2, numerically 1"):
        check_gradient(lambda x: x * [1e6, 1], random(2), [1e6 + 100, 2], [1, 1])


def strict_log(x):
    if (x <= 0).any():
        raise ValueError("only what is above zero has a logarithm")
    return np.log(x)


def test_a_function_may_refuse_numbers_that_a_long_step_reaches():
    x, flow = np.array([0.01, 1, 300]), random(3)
    check_gradient(strict_log, x, flow / x, flow)
    with pytest.raises(ValueError, match="only what is above zero"):
        check_gradient(strict_log, x * [0, 1, 1] + [1e-300, 0, 0], flow, flow)


def test_what_no_difference_can_tell_is_not_called_right():
    noise = np.random.default_rng(0)
    with pytest.raises(ValueError, match=r"nothing was checked at \(\d, \d\): a difference says"):
        check_gradient(lambda x: np.sin(x) + 0.01 * noise.standard_normal(x.shape), X, RIGHT, FLOW)


def sums_in_float32(x):
    return np.float64(x.astype(np.float32) @ np.ones((3, 3), dtype=np.float32))


IN_FLOAT32 = {
    "output": (lambda x: np.sin(x).astype(np.float32), X, "the output of function: expected float64, got float32"),
    "input": (lambda x: np.sin(x.astype(np.float32)).astype(np.float64), X, "function: expected a function that"),
    "inside": (lambda x: np.pi * np.float64(np.float32(np.sin(x))), X, "function: expected a function that"),
    "float16": (lambda x: np.sin(x.astype(np.float16)).astype(np.float64), X, "function: expected a function that"),
    "small sums": (sums_in_float32, 1e-20 * X, "function: expected a function that"),
    "large sums": (sums_in_float32, 1e20 * X, "function: expected a function that"),
}


@pytest.mark.parametrize("name", IN_FLOAT32)
def test_a_right_function_in_float32_is_told_the_cause(name):
    function, x, words = IN_FLOAT32[name]
    with pytest.raises(TypeError) as caught:
        check_gradient(function, x, RIGHT, FLOW)
    assert str(caught.value).startswith(words) and "rounding" in str(caught.value)


@pytest.mark.parametrize("name", ["x", "gradient", "grad_output"])
@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.complex128])
def test_an_array_of_fewer_digits_is_named(name, dtype):
    arguments = {"function": np.sin, "x": X, "gradient": RIGHT, "grad_output": FLOW}
    arguments[name] = arguments[name].astype(dtype)
    with pytest.raises(TypeError, match=f"^{name}: expected float64, got {np.dtype(dtype)}"):
        check_gradient(**arguments)


# --- relative_error ---------------------------------------------------------------------------------------------


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


@pytest.mark.slow
def test_the_reference_functions_pass():
    assert check_conv2d_gradients(**GRADIENTS) < 1e-10


@pytest.mark.parametrize("name", GRADIENTS)
def test_the_function_and_the_layer_that_fail_are_named(name):
    wrong = {name: lambda *arguments, **settings: 2 * GRADIENTS[name](*arguments, **settings)}
    with pytest.raises(AssertionError, match=rf"^{name}, input \(2, 1, 3, 4\), .*'padding': 1.* error 0\.[23]"):
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


def test_float32_is_named_with_the_function_it_comes_from():
    def forward(input, weight, bias, padding):
        arrays = (array.astype(np.float32) for array in (input, weight, bias))
        return reference.conv2d(*arrays, padding=padding).astype(np.float64)

    with pytest.raises(TypeError, match="^forward: expected a function that computes in float64"):
        check_conv2d_gradients(**GRADIENTS, forward=forward, layers=SMALL)
    rounded = {"bias_grad": lambda flow: reference.conv2d_bias_grad(flow).astype(np.float32)}
    with pytest.raises(TypeError, match="^bias_grad, input .*: gradient: expected float64, got float32"):
        check_conv2d_gradients(**GRADIENTS | rounded, layers=SMALL)


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


@pytest.mark.slow
def test_other_settings_reach_forward_and_backward():
    def full_size(input_size, weight_size, padding):
        return reference.conv2d(np.zeros(input_size), np.zeros(weight_size), padding=padding).shape

    def input_grad(input_size, weight, grad_output, padding, stride):
        flow = spread(grad_output, full_size(input_size, weight.shape, padding), stride)
        return reference.conv2d_input_grad(input_size, weight, flow, padding=padding)

    def weight_grad(input, weight_size, grad_output, padding, stride):
        flow = spread(grad_output, full_size(input.shape, weight_size, padding), stride)
        return reference.conv2d_weight_grad(input, weight_size, flow, padding=padding)

    assert check_conv2d_gradients(input_grad, weight_grad, reference.conv2d_bias_grad, strided, stride=2) < 1e-10
