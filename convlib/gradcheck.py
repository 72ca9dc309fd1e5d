# Exported from chapters/ by tools/export.py: edit the chapter, not this file.
"""Numerical gradients: how to check that a gradient written by hand is right.

`check_gradient` compares a gradient with central differences, each number at its own
scale, and refuses a comparison that could not have failed. `check_conv2d_gradients` checks
the three gradients of a convolution layer in this way, in layers of many shapes.
"""

from functools import partial

import numpy as np

from convlib import reference

__all__ = ["relative_error", "numerical_gradient", "check_gradient", "HONEST_LAYERS", "check_conv2d_gradients",
    "adjoint_gap"]


# Chapter "Can we trust it?" (chapters/trust.ipynb)

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
    Source: chapter "Can we trust it?".
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
        place = _where(~np.isfinite(array))
        raise ValueError(
            f"nothing was checked: {name} has numbers that are not finite, "
            f"{array[place]} at {place}"
        )
    return array


def _where(found):
    """The first place where an array is true, as a tuple of whole numbers."""
    return tuple(int(index) for index in np.argwhere(found)[0])


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
        If `grad_output` does not have the shape of the output, or `step` does not move `x`.

    Notes
    -----
    Source: chapter "Can we trust it?".
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
        highest, lowest = up[place], down[place]
        growth = _moved(function, x, place, highest) - _moved(function, x, place, lowest)
        gradient[place] = (growth * grad_output).sum() / (highest - lowest)
    return gradient


def _moved(function, x, place, target):
    """The output when one number of x is replaced by the target."""
    moved = x.copy()
    moved[place] = target
    return np.array(function(moved), dtype=np.float64)  # a copy: it may be reused


_EPSILON = np.finfo(np.float64).eps


def _in_float64(name, value):
    """A float64 copy, if nothing has been lost by fewer digits before."""
    dtype = np.asarray(value).dtype
    if dtype.kind not in "biuf" or dtype in (np.float16, np.float32):
        raise TypeError(
            f"{name}: expected float64, got {dtype}: with fewer digits, differences drown "
            "in rounding; compute the check in float64"
        )
    return _as_checked(name, value)


def _random_ways(x):
    """A random way for each number, once or twice as long as the number is large."""
    random = np.random.default_rng(0)
    lengths = random.uniform(1, 2, x.shape) * random.choice([-1, 1], x.shape)
    return lengths * np.where(x == 0, 1, abs(x))


def _refuse_float32(name, function, x):
    """Refuse a function whose outputs stay where they are although x moves."""
    ways = _random_ways(x) * (x != 0)
    before, near, far = (_in_float64(f"the output of {name}", function(x + step * ways))
                         for step in (0, 2.0**-33, 2.0**-10))
    # A straight line rises on the short way as much as on the long one, over 2**23.
    moving = abs(far - before) / 2**23 > 16 * _EPSILON * abs(before)
    if moving.any() and np.mean((near == before)[moving]) > 0.5:
        raise TypeError(
            f"{name}: expected a function that computes in float64, got one whose outputs "
            "stay the same when x moves by a ten-billionth: differences drown in float32 "
            "rounding; pass float64 numbers, also for what the function keeps inside"
        )


def _rounding(function, x, before):
    """How much each output is rounded: by how much it misses a line, very near to x."""
    places = np.random.default_rng(1).uniform(-1, 1, 9)
    rounding = np.zeros_like(before)
    for step in (2.0**-36, 2.0**-31, 2.0**-26):  # further, where nothing has moved yet
        ends = (x + place * step * _random_ways(x) for place in places)
        rise = np.array([np.asarray(function(end), dtype=float) - before for end in ends])
        rise = rise.reshape(len(places), -1)
        line = np.polynomial.polynomial.polyfit(places, rise, 1)
        missed = abs(rise - np.polynomial.polynomial.polyval(places, line).T).max(axis=0)
        rounding = np.where(rounding == 0, missed.reshape(before.shape), rounding)
        if rounding.all():
            break
    return rounding


def _touched(at, value, before):
    """Which outputs change if a number is moved so far that none can miss it."""
    try:
        touched = at(value + 2.0**40 * max(1, abs(value))) != before
    except (ValueError, ArithmeticError):  # too far for this function
        return np.ones_like(before, dtype=bool)
    return touched if touched.any() else ~touched


def _central(at, value, reach, known):
    """A central difference (value, error by rounding, size), and its parts by output."""
    before, rounding, grad_output, touched = known
    up, down = value + reach, value - reach
    high, low = (_as_checked("the output of function", at(end)) for end in (up, down))
    way, flow = up - down, abs(grad_output)
    noise = 4 * rounding + 2 * _EPSILON * (abs(high) + abs(low))  # of both ends
    shift = abs(high - before) + abs(low - before)
    slopes, bend = (high - low) / way, abs(high + low - 2 * before)
    error = (noise * flow)[touched | (shift > 0)].sum() / way
    size = (shift * flow)[shift > 2 * noise].sum() / way  # of what has visibly moved
    return ((slopes * grad_output).sum(), error, size), (slopes, bend, noise)


def _by_long_step(at, value, reach, known):
    """A central difference with a long step, if all outputs lie on straight lines."""
    measured, (slopes, bend, noise) = _central(at, value, reach, known)
    near = np.cbrt(_EPSILON) * max(1, abs(value))
    bend = np.maximum(bend, abs(at(value + near) - known[0] - near * slopes))
    return measured if (bend <= 2 * noise).all() else None


def _by_two_steps(at, value, reach, known):
    """A central difference; what a step of twice its length changes is an error, too."""
    (wide, _, _), _ = _central(at, value, reach, known)
    (narrow, error, size), _ = _central(at, value, reach / 2, known)
    return narrow, error + abs(wide - narrow), size


_LENGTHS = (  # in cube roots of the machine epsilon, for numbers above 1 times their size
    (_by_long_step, 2.0**28), (_by_long_step, 2.0**28), (_by_long_step, 2.0**14),
    (_by_two_steps, 1), (_by_two_steps, 2.0**7), (_by_two_steps, 2.0**14),
    (_by_two_steps, 2.0**-7), (_by_two_steps, 2.0**-14), (_by_two_steps, 2.0**-21),
)


def _differences(at, value, known, tolerance):
    """Value, error and size of the differences that can be believed, up to a good one."""
    every = touched = np.ones_like(known[0], dtype=bool)
    believed, failure = [], None
    for measure, length in _LENGTHS:
        reach = length * np.cbrt(_EPSILON) * max(1, abs(value))
        try:
            found = measure(at, value, reach, (*known, touched))
        except (ValueError, ArithmeticError) as caught:  # the step left the domain
            found, failure = None, caught
        is_good = found and 0 < found[1] <= tolerance * found[2]
        is_long = measure is _by_long_step
        if found and (is_long or length <= 1 or _agrees(found, believed)):
            believed.append(found)
        if is_good or (is_long and found and touched is not every):
            break
        if touched is every:  # now find out which outputs depend on x, and measure again
            believed, touched = [], _touched(at, value, known[0])
    if not believed:
        raise failure
    return believed, touched


def _agrees(found, believed):
    """Whether a difference agrees with all others, within the errors of both."""
    return bool(believed) and all(
        abs(found[0] - value) <= found[1] + error for value, error, _ in believed)


def _measure(function, x, grad_output, tolerance):
    """For each number of x: its derivative, the error of that, its scale; is it clear?"""
    before = _in_float64("the output of function", function(x.copy()))
    _check_shape("grad_output", grad_output.shape, before.shape, "the output's shape")
    _refuse_float32("function", function, x)
    known = before, _rounding(function, x, before), grad_output
    fields = ("value", float), ("error", float), ("scale", float), ("moves", bool)
    measured = np.zeros(x.shape, dtype=[*fields, ("clear", bool)])
    for place in np.ndindex(*x.shape):
        at = partial(_moved, function, x, place)
        with np.errstate(all="ignore"):  # long steps may overflow
            believed, touched = _differences(at, x[place], known, tolerance)
        value, error, scale = min(believed, key=lambda found: found[1])
        largest = max(size for _, _, size in believed)
        flat = abs(before * grad_output)[touched].sum() / max(1, abs(x[place]))
        flat *= 2**14 * _EPSILON
        if largest == 0:  # nothing moves visibly: what bends below the rounding is hidden
            error = max(error, flat)
        clear = largest == 0 or error <= max(largest / 4, flat)
        measured[place] = value, error, scale, largest > 0, clear
    return measured


def check_gradient(function, x, gradient, grad_output, tolerance=1e-10):
    """Check a gradient of sum(function(x) * grad_output), each number at its own scale.

    Parameters
    ----------
    function, x, grad_output
        As for `numerical_gradient`, but all in float64. Take random numbers.
    gradient : array of float64
        What is to be checked, of the shape of `x`.
    tolerance : float
        The largest relative error that is allowed. The error of a number: by how much
        more it differs from a central difference than that may be wrong, divided by
        the number's size plus the sum of the sizes of what it does to the outputs.

    Returns
    -------
    float
        The largest relative error: 0 if all numbers are as right as can be measured.

    Raises
    ------
    AssertionError
        If an error is too large; the message names the worst place and both values.
    TypeError
        If an array, or what `function` computes, has fewer digits than float64.
    ValueError
        If a shape is wrong; or if nothing was checked, because an array is empty or
        not finite, the flow or all effects of `x` are zero, or a number has no measure.

    Notes
    -----
    Source: chapter "Can we trust it?".
    """
    if not 0 < tolerance < 1:
        raise ValueError(f"tolerance: expected a number in (0, 1), got {tolerance}")
    x, gradient = _in_float64("x", x), _in_float64("gradient", gradient)
    _check_shape("gradient", gradient.shape, x.shape, "the shape of x")
    if not _in_float64("grad_output", grad_output).any():
        raise ValueError("nothing was checked: grad_output is zero everywhere")
    measured = _measure(function, x, np.array(grad_output, dtype=np.float64), tolerance)
    return _judge(gradient, measured, tolerance)


def _judge(gradient, measured, tolerance):
    """The largest relative error, if it is small enough and could have been larger."""
    value, error = measured["value"], measured["error"]
    excess = np.maximum(abs(gradient - value) - error, 0)
    scale = abs(gradient) + measured["scale"]
    errors = np.divide(excess, scale, out=np.zeros_like(excess), where=excess > 0)
    if errors.max() > tolerance:
        place = _where(errors == errors.max())
        raise AssertionError(
            f"gradient: relative error {errors.max():.3g}, expected at most "
            f"{tolerance:g}; the worst place is {place}: got {gradient[place]:.6g}, "
            f"numerically {value[place]:.6g}, give or take {error[place]:.1g}"
        )
    if not measured["moves"].any():
        raise ValueError("nothing was checked: x does not move the outputs visibly")
    if not measured["clear"].all():
        place = _where(~measured["clear"])
        raise ValueError(
            f"nothing was checked at {place}: a difference says {value[place]:.3g} there, "
            f"give or take {error[place]:.1g}; the function bends or is rounded too much"
        )
    return float(errors.max())


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
    _refuse_float32("forward", lambda moved: forward(moved, w, b, **settings), x)
    # Each gets copies: a function that writes to its arguments must not fool the check.
    grad_input = input_grad(x.shape, w.copy(), grad_output.copy(), **settings)
    grad_weight = weight_grad(x.copy(), w.shape, grad_output.copy(), **settings)
    grad_bias = bias_grad(grad_output.copy())
    cases = (  # the quick ones first
        ("bias_grad", lambda moved: forward(x, w, moved, **settings), b, grad_bias),
        ("weight_grad", lambda moved: forward(x, moved, b, **settings), w, grad_weight),
        ("input_grad", lambda moved: forward(moved, w, b, **settings), x, grad_input),
    )
    errors = []
    for name, function, array, gradient in cases:
        try:
            error = check_gradient(function, array, gradient, grad_output, tolerance)
        except (AssertionError, TypeError, ValueError) as caught:
            where = f"{name}, input {x.shape}, weight {w.shape}, {settings}"
            raise type(caught)(f"{where}: {caught}") from None
        errors.append(error)
    return max(errors)


def check_conv2d_gradients(input_grad, weight_grad, bias_grad,
                           forward=reference.conv2d, *, layers=HONEST_LAYERS,
                           tolerance=1e-10, seed=0, **settings):
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
    AssertionError, TypeError, ValueError
        As `check_gradient`, naming function and layer; also if `layers` is empty.

    Notes
    -----
    Source: chapter "Can we trust it?".
    """
    gradients = input_grad, weight_grad, bias_grad
    random, errors = np.random.default_rng(seed), []
    for layer in layers:
        parts = _random_layer(forward, layer | settings, random)
        errors.append(_check_layer(gradients, forward, *parts, tolerance))
    if not errors:
        raise ValueError("nothing was checked: there are no layers")
    return max(errors)


# Chapter "Why the kernel turns" (chapters/turn.ipynb)

def adjoint_gap(forward, backward, x, d):
    """Measure how far `backward` is from being the transpose of `forward`.

    Parameters
    ----------
    forward : callable
        A linear function of one array, for instance a layer without its bias.
    backward : callable
        What should be its transpose.
    x : array
        An argument for `forward`. Take random numbers: any symmetry hides mistakes.
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
    that, so prefer integers or float64. Source: chapter "Why the kernel turns", the adjoint
    identity.
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
