# Exported from chapters/ by tools/export.py: edit the chapter, not this file.
"""Numerical gradients: how to check that a gradient written by hand is right.

`check_gradient` compares a gradient with central differences, and refuses a comparison
that could not have failed. `check_conv2d_gradients` checks the three gradients of a
convolution layer in this way, in layers of many shapes.
"""

import numpy as np

from convlib import reference

__all__ = [
    "relative_error",
    "numerical_gradient",
    "check_gradient",
    "HONEST_LAYERS",
    "check_conv2d_gradients",
    "adjoint_gap",
]


# Chapter "Can we trust it?" (chapters/06_trust.ipynb)

def relative_error(a, b):
    """Compute the norm of the difference of two arrays, compared with their norms.

    Parameters
    ----------
    a, b : array
        The arrays, of the same shape.

    Returns
    -------
    float
        ||a - b|| / (||a|| + ||b||): 0 if they are equal, 1 at worst.

    Raises
    ------
    ValueError
        If the shapes differ; or if nothing would be compared, because the arrays are
        empty, both zero everywhere, or hold numbers that are not finite.

    Notes
    -----
    Source: Chapter 6.
    """
    a, b = _as_checked("a", a), _as_checked("b", b)
    _check_shape("b", b.shape, a.shape, "the shape of a")
    largest = max(abs(a).max(), abs(b).max())
    if largest == 0:
        raise ValueError("nothing was checked: both arrays are zero everywhere")
    a, b = a / largest, b / largest  # so that no square is too large or too small
    difference = np.linalg.norm(a - b)
    return float(difference / (np.linalg.norm(a) + np.linalg.norm(b)))


def _as_checked(name, value):
    """A float64 copy of the argument, if there is anything in it to check."""
    array = np.array(value, dtype=np.float64)
    if array.size == 0:
        raise ValueError(f"nothing was checked: {name} of shape {array.shape} is empty")
    if not np.isfinite(array).all():
        raise ValueError(f"nothing was checked: {name} has numbers that are not finite")
    return array


def _check_shape(name, shape, expected, reason):
    """Refuse a shape that is not the expected one."""
    if shape != expected:
        raise ValueError(f"{name}: expected shape {expected}, {reason}, got {shape}")


def numerical_gradient(function, x, grad_output, step=None):
    """Compute the gradient of sum(function(x) * grad_output) by central differences.

    Parameters
    ----------
    function : callable
        Takes an array of the shape of `x` and returns an array.
    x : array
        Where the gradient is wanted; the function gets float64 copies of it.
    grad_output : array
        The learning flow at the function's output, of the output's shape.
    step : float, optional
        How far to go to each side. By default the cube root of the machine epsilon,
        for numbers above 1 times their size.

    Returns
    -------
    array of float64, of the shape of `x`

    Raises
    ------
    ValueError
        If `grad_output` has not the shape of the output, or `step` does not move `x`.

    Notes
    -----
    Source: Chapter 6.
    """
    x = np.array(x, dtype=np.float64)
    grad_output = np.asarray(grad_output, dtype=np.float64)
    output_shape = np.shape(function(x.copy()))
    _check_shape("grad_output", grad_output.shape, output_shape, "the output's shape")
    if step is None:
        step = np.cbrt(np.finfo(np.float64).eps) * np.maximum(1, abs(x))
    up, down = x + step, x - step
    if not (up > down).all():
        raise ValueError(f"step: expected a number large enough to move x, got {step}")
    gradient = np.empty_like(x)
    for place in np.ndindex(*x.shape):
        growth = _moved(function, x, place, up) - _moved(function, x, place, down)
        gradient[place] = (growth * grad_output).sum() / (up[place] - down[place])
    return gradient


def _moved(function, x, place, target):
    """The output when one number of x is replaced by its target."""
    moved = x.copy()
    moved[place] = target[place]
    return np.array(function(moved), dtype=np.float64)  # a copy: it may be reused


def check_gradient(function, x, gradient, grad_output, tolerance=1e-6):
    """Check a gradient of sum(function(x) * grad_output) against central differences.

    Parameters
    ----------
    function, x, grad_output
        As for `numerical_gradient`. Take random numbers for `x` and `grad_output`.
    gradient : array
        What is to be checked, of the shape of `x`.
    tolerance : float
        The largest relative error that is allowed.

    Returns
    -------
    float
        The relative error.

    Raises
    ------
    AssertionError
        If the error is too large; the message names the worst place and both values.
    ValueError
        If a shape is wrong; or if nothing was checked, because an array is empty or
        not finite, or both gradients or `grad_output` are zero everywhere.

    Notes
    -----
    Source: Chapter 6.
    """
    if not 0 < tolerance < 1:
        raise ValueError(f"tolerance: expected a number in (0, 1), got {tolerance}")
    x, gradient = _as_checked("x", x), _as_checked("gradient", gradient)
    _check_shape("gradient", gradient.shape, x.shape, "the shape of x")
    if not _as_checked("grad_output", grad_output).any():
        raise ValueError("nothing was checked: grad_output is zero everywhere")
    expected = numerical_gradient(function, x, grad_output)
    error = relative_error(gradient, _as_checked("the numerical gradient", expected))
    if error > tolerance:
        raise AssertionError(_worst_place(gradient, expected, error, tolerance))
    return error


def _worst_place(gradient, expected, error, tolerance):
    """The message for a wrong gradient."""
    worst = np.unravel_index(abs(gradient - expected).argmax(), gradient.shape)
    place = tuple(int(index) for index in worst)
    return (
        f"gradient: relative error {error:.3g}, expected at most {tolerance:g}; the "
        f"worst place is {place}: got {gradient[worst]:.6g}, "
        f"numerically {expected[worst]:.6g}"
    )


HONEST_LAYERS = (
    {"input": (2, 3, 5, 4), "weight": (2, 3, 3, 2), "padding": 1},
    {"input": (3, 2, 4, 5), "weight": (3, 2, 2, 3), "padding": 0},
    {"input": (2, 1, 3, 4), "weight": (2, 1, 4, 3), "padding": 2},
    {"input": (2, 2, 5, 4), "weight": (3, 2, 3, 3), "padding": 1},
)


def _random_layer(forward, layer, random):
    """Input, weight and bias, the flow at the output, and the settings of a layer."""
    settings = dict(layer)
    input_size, weight_size = settings.pop("input"), settings.pop("weight")
    sizes = input_size, weight_size, weight_size[:1]
    arrays = [random.standard_normal(size) for size in sizes]
    flow = random.standard_normal(np.shape(forward(*arrays, **settings)))
    return arrays, flow, settings


def _check_layer(gradients, forward, arrays, grad_output, settings, tolerance):
    """The largest relative error of the three gradients in one layer."""
    x, w, b = arrays
    input_grad, weight_grad, bias_grad = gradients
    # Each gets copies: a function that writes to its arguments must not fool the check.
    told_input = input_grad(x.shape, w.copy(), grad_output.copy(), **settings)
    told_weight = weight_grad(x.copy(), w.shape, grad_output.copy(), **settings)
    told_bias = bias_grad(grad_output.copy())
    cases = (  # the quick ones first
        ("bias_grad", lambda moved: forward(x, w, moved, **settings), b, told_bias),
        ("weight_grad", lambda moved: forward(x, moved, b, **settings), w, told_weight),
        ("input_grad", lambda moved: forward(moved, w, b, **settings), x, told_input),
    )
    errors = []
    for name, function, array, gradient in cases:
        try:
            error = check_gradient(function, array, gradient, grad_output, tolerance)
        except (AssertionError, ValueError) as caught:
            where = f"{name}, input {x.shape}, weight {w.shape}, {settings}"
            raise type(caught)(f"{where}: {caught}") from None
        errors.append(error)
    return max(errors)


def check_conv2d_gradients(input_grad, weight_grad, bias_grad,
                           forward=reference.conv2d, *, layers=HONEST_LAYERS,
                           tolerance=1e-6, seed=0, **settings):
    """Check the three gradients of a convolution layer, in layers of many shapes.

    Parameters
    ----------
    input_grad, weight_grad, bias_grad : callable
        Called as `conv2d_input_grad(input_size, weight, grad_output, **settings)`,
        `conv2d_weight_grad(input, weight_size, grad_output, **settings)` and
        `conv2d_bias_grad(grad_output)`.
    forward : callable
        The layer, called as `conv2d(input, weight, bias, **settings)`.
    layers : sequence of dict
        The shapes "input" and "weight" of each layer, and its own settings.
    tolerance, seed
        The largest relative error that is allowed; the seed of the random numbers.
    **settings
        Settings for all layers, for instance padding; they replace the layers' own.

    Returns
    -------
    float
        The largest relative error.

    Raises
    ------
    AssertionError, ValueError
        As `check_gradient`, naming function and layer; also if `layers` is empty.

    Notes
    -----
    Source: Chapter 6.
    """
    gradients = input_grad, weight_grad, bias_grad
    random, errors = np.random.default_rng(seed), []
    for layer in layers:
        parts = _random_layer(forward, layer | settings, random)
        errors.append(_check_layer(gradients, forward, *parts, tolerance))
    if not errors:
        raise ValueError("nothing was checked: there are no layers")
    return max(errors)


# Chapter "Why the kernel turns" (chapters/07_turn.ipynb)

def adjoint_gap(forward, backward, x, d):
    """Measure how far `backward` is from being the transpose of `forward`.

    Parameters
    ----------
    forward : callable
        A linear function of one array, for instance a layer without its bias.
    backward : callable
        What shall be its transpose.
    x : array
        An argument for `forward`. Take random numbers: symmetric ones hide mistakes.
    d : array
        An argument for `backward`, of the shape of `forward(x)`. Random, too.

    Returns
    -------
    float
        The difference between <forward(x), d> and <x, backward(d)>, divided by the sum
        of the sizes of all their products: 0 if they agree, and never more than 1.

    Raises
    ------
    ValueError
        If a result has the wrong shape, a number is not finite, a function makes
        something of zeros (a bias was left in), or nothing was checked because all
        products are zero.
    TypeError
        If an array holds anything but real numbers.

    Notes
    -----
    Integers are compared exactly, however large. In float64 expect less than 1e-12, in
    float32 less than 1e-5; one wrong number in a large float32 array can hide below
    that, so prefer integers or float64. Source: Chapter 7, the adjoint identity.
    """
    x, d = _real_numbers("x", x), _real_numbers("d", d)
    there = _linear_result("forward", forward, x, d.shape)
    back = _linear_result("backward", backward, d, x.shape)
    by_end, by_start = _products(there, d), _products(x, back)
    sizes = abs(by_end).sum() + abs(by_start).sum()
    if sizes == 0:
        raise ValueError("nothing was checked: all products are zero")
    return float(abs(by_end.sum() - by_start.sum()) / sizes)


def _real_numbers(name, value):
    """A copy of an array, if it holds nothing but finite real numbers."""
    array = np.array(value)
    if array.dtype.kind not in "biuf":
        raise TypeError(f"{name}: expected real numbers, got data type {array.dtype}")
    if not np.isfinite(array).all():
        raise ValueError(f"{name}: expected finite numbers, got nan or infinity")
    return array


def _linear_result(name, function, argument, shape):
    """What a function makes of an argument, if it is linear and the shape is right."""
    result = _real_numbers(f"the result of {name}", function(argument.copy()))
    if result.shape != shape:
        raise ValueError(
            f"{name}: expected a result of shape {shape}, got {result.shape}"
        )
    if np.any(function(np.zeros_like(argument))):
        raise ValueError(
            f"{name}: expected a linear function, got one that makes something of "
            "zeros: leave the bias out"
        )
    return result


def _products(one, other):
    """Two arrays multiplied entry by entry: integers exactly, all else in float64."""
    exact = one.dtype.kind in "biu" and other.dtype.kind in "biu"
    dtype = object if exact else np.float64  # Python's integers do not overflow
    return one.astype(dtype) * other.astype(dtype)
