"""Mistakes planted in the three backward functions: each must fail at least two independent checks.

The checks: numerical gradients of an independent forward pass; the adjoint identity, in whole numbers; the numbers of
the house, found by adding 1 and running the layer again; the formula that the chapter prints, evaluated.
"""

from itertools import product

import numpy as np
import printed_formulas
import pytest
from printed_formulas import evaluate, parse
from test_reference import windows_conv2d

from convlib import datasets, gradcheck, reference

RIGHT = {
    "input_grad": reference.conv2d_input_grad,
    "weight_grad": reference.conv2d_weight_grad,
    "bias_grad": reference.conv2d_bias_grad,
}
FORMULAS = {"input_grad": "eq-F12", "weight_grad": "eq-F18", "bias_grad": "eq-F20"}
K = 7  # the number of the layer: any integer does


# --- the wrong functions: the right ones, fed or read in a wrong way ----------------------------------------------


def without(flow, row=None, column=None):
    """The flow with zeros in one row or one column."""
    flow = flow.copy()
    flow[..., slice(None) if row is None else row, slice(None) if column is None else column] = 0
    return flow


def input_grad_from(change_weight=lambda w: w, change_flow=lambda d: d, change_result=lambda g: g):
    def input_grad(size, weight, flow, *, padding=0):
        flow, weight = change_flow(flow), change_weight(weight)
        return change_result(reference.conv2d_input_grad(size, weight, flow, padding=padding))

    return input_grad


def weight_grad_from(change_input=lambda x: x, change_flow=lambda d: d, change_result=lambda g: g):
    def weight_grad(input, size, flow, *, padding=0):
        flow, input = change_flow(flow), change_input(input)
        return change_result(reference.conv2d_weight_grad(input, size, flow, padding=padding))

    return weight_grad


def turned(array):
    return array[..., ::-1, ::-1]


def transposed(array):
    """Rows and columns swapped where the sides are equal; other shapes stay as they are."""
    return array.swapaxes(-1, -2) if array.shape[-1] == array.shape[-2] else array


def channels_swapped(array):
    """The two channel axes read in the wrong order: the numbers of (C, K, ...) in the shape (K, C, ...)."""
    return array.swapaxes(0, 1).reshape(array.shape)


def shifted(array):
    return np.roll(array, 1, axis=-1)


def reversed_channels(flow):
    return flow[:, ::-1]


def first_for_all(flow):
    return np.repeat(flow[:1], len(flow), axis=0)


def padding_one_input_grad(size, weight, flow, *, padding=0):
    return reference.conv2d_input_grad(size, weight, crop_or_pad(flow, size, weight.shape), padding=1)


def padding_one_weight_grad(input, size, flow, *, padding=0):
    return reference.conv2d_weight_grad(input, size, crop_or_pad(flow, input.shape, size), padding=1)


def crop_or_pad(flow, input_size, weight_size):
    """The flow in the shape that the output would have with padding 1."""
    rows, columns = (input_size[axis] + 3 - weight_size[axis] for axis in (2, 3))
    padded = np.pad(flow, [(0, 0), (0, 0), (0, max(0, rows - flow.shape[2])), (0, max(0, columns - flow.shape[3]))])
    return padded[:, :, :rows, :columns]


def square_kernel_input_grad(size, weight, flow, *, padding=0):
    """The loop over v runs as far as the one over u."""
    columns = np.arange(weight.shape[3]) < weight.shape[2]
    return reference.conv2d_input_grad(size, weight * columns, flow, padding=padding)


MISTAKES = {
    "input_grad": {
        "kernel not turned": input_grad_from(turned),
        "kernel rows and columns swapped": input_grad_from(transposed),
        "channels swapped": input_grad_from(channels_swapped),
        "output channels in reverse order": input_grad_from(change_flow=reversed_channels),
        "flow turned": input_grad_from(change_flow=turned),
        "top row forgotten": input_grad_from(change_flow=lambda d: without(d, row=0)),
        "off by one at the border": input_grad_from(change_flow=lambda d: without(d, column=-1)),
        "off by one everywhere": input_grad_from(change_result=shifted),
        "first image for all": input_grad_from(change_flow=first_for_all),
        "padding taken as 1": padding_one_input_grad,
        "kernel taken as square": square_kernel_input_grad,
        "twice": input_grad_from(change_result=lambda g: 2 * g),
    },
    "weight_grad": {
        "result turned": weight_grad_from(change_result=turned),
        "rows and columns swapped": weight_grad_from(change_result=transposed),
        "channels swapped": weight_grad_from(change_result=channels_swapped),
        "output channels in reverse order": weight_grad_from(change_flow=reversed_channels),
        "flow turned": weight_grad_from(change_flow=turned),
        "top row forgotten": weight_grad_from(change_flow=lambda d: without(d, row=0)),
        "off by one at the border": weight_grad_from(change_flow=lambda d: without(d, column=-1)),
        "off by one everywhere": weight_grad_from(change_input=shifted),
        "last image only": weight_grad_from(lambda x: x[-1:], lambda d: d[-1:]),
        "images averaged": lambda x, *others, **padding: reference.conv2d_weight_grad(x, *others, **padding) / len(x),
        "padding taken as 1": padding_one_weight_grad,
        "twice": weight_grad_from(change_result=lambda g: 2 * g),
    },
    "bias_grad": {
        "summed over channels, not rows": lambda d: d.sum(axis=(0, 1, 2))[: d.shape[1]],
        "summed over channels, too": lambda d: np.full(d.shape[1], d.sum()),
        "output channels in reverse order": lambda d: reference.conv2d_bias_grad(reversed_channels(d)),
        "top row forgotten": lambda d: reference.conv2d_bias_grad(without(d, row=0)),
        "off by one at the border": lambda d: reference.conv2d_bias_grad(without(d, column=-1)),
        "last image only": lambda d: reference.conv2d_bias_grad(d[-1:]),
        "images averaged": lambda d: reference.conv2d_bias_grad(d) / len(d),
        "one flow for all places": lambda d: d[..., 0, 0].sum(axis=0),
        "mean instead of sum": lambda d: d.mean(axis=(0, 2, 3)),
    },
}


# --- the checks: each takes the name of one function and the three functions, and asserts -------------------------


def numerical_gradients(name, gradients):
    gradcheck.check_conv2d_gradients(**gradients, forward=windows_conv2d)


def adjoint_identity(name, gradients):
    """<conv(x), d> = <x, input_grad(d)> = <w, weight_grad(x, d)>; <bias at every place, d> = <b, bias_grad(d)>."""
    random = np.random.default_rng(1)
    for layer in gradcheck.HONEST_LAYERS:
        x, w = (random.integers(-9, 10, size=layer[part]) for part in ("input", "weight"))
        b, padding = random.integers(-9, 10, size=len(w)), layer["padding"]
        output = reference.conv2d(x, w, padding=padding)
        d = random.integers(-9, 10, size=output.shape)
        if name == "input_grad":
            left, right = output, x * gradients[name](x.shape, w, d, padding=padding)
        elif name == "weight_grad":
            left, right = output, w * gradients[name](x, w.shape, d, padding=padding)
        else:
            left, right = reference.conv2d(0 * x, w, b, padding=padding), b * gradients[name](d)
        assert (left * d).sum() == right.sum()


def house_arrays():
    """The layer of the article on the house as a batch of one, and a flow made up by hand."""
    house, flow = datasets.house(), datasets.learning_flow()[np.newaxis]
    weight = np.stack([[kernel] * 3 for kernel in house.kernels[:2]])
    return {"input": house.image[np.newaxis], "weight": weight, "bias": house.biases[:2]}, flow


def told(name, gradients, arrays, flow):
    """What one function tells its numbers, on a layer with padding 1."""
    input, weight = arrays["input"], arrays["weight"]
    if name == "input_grad":
        return gradients[name](input.shape, weight, flow, padding=1)
    if name == "weight_grad":
        return gradients[name](input, weight.shape, flow, padding=1)
    return gradients[name](flow)


# Numbers that the chapters work out by hand: the centre and the corner, one weight, both biases.
WORKED = {
    "input_grad": {(0, 0, 3, 3): 1, (0, 0, 0, 0): 3},
    "weight_grad": {(0, 0, 0, 0): 620},
    "bias_grad": {(0,): 5, (1,): 5},
}
# Where the layer is run again, besides: a corner, an edge; a weight of each kind; all biases.
TRIED = {
    "input_grad": [(0, 2, 0, 6), (0, 1, 6, 3), (0, 0, 2, 6), (0, 0, 4, 1)],
    "weight_grad": [(0, 0, 2, 2), (1, 2, 0, 1), (0, 1, 1, 0), (1, 0, 1, 2)],
    "bias_grad": [],
}


def numbers_of_the_house(name, gradients):
    arrays, flow = house_arrays()
    gradient = told(name, gradients, arrays, flow)
    assert gradient.shape == arrays[name.removesuffix("_grad")].shape
    for place, number in WORKED[name].items():
        assert gradient[place] == grown_loss(name, place, arrays, flow) == number
    for place in TRIED[name]:
        assert gradient[place] == grown_loss(name, place, arrays, flow)


def grown_loss(name, place, arrays, flow):
    """By how much the loss grows when 1 is added to one number: exact, for the layer is linear in each number."""
    before = reference.conv2d(*arrays.values(), padding=1)
    part = name.removesuffix("_grad")
    moved = arrays | {part: arrays[part].copy()}
    moved[part][place] += 1
    return ((reference.conv2d(*moved.values(), padding=1) - before) * flow).sum()


@pytest.fixture(scope="module")
def equations():
    return printed_formulas.printed_equations()


def printed_formula(equations):
    """The check against the formula of the chapter, on numbers without symmetry."""
    random = np.random.default_rng(2)
    sizes = {"input": (1, 3, 7, 7), "weight": (2, 3, 3, 3), "bias": (2,)}
    arrays = {part: random.integers(-9, 10, size=size) for part, size in sizes.items()}
    flow = random.integers(-9, 10, size=(1, 2, 7, 7))

    def check(name, gradients):
        gradient = told(name, gradients, arrays, flow)
        known = {("ch", K - 1): arrays["input"][0], (r"\delta", K + 1): flow[0], ("ker", K): arrays["weight"]}
        wanted = {"input_grad": r"\delta", "weight_grad": r"\delta ker", "bias_grad": r"\delta b"}[name]
        known[wanted, K] = gradient[0] if name == "input_grad" else gradient

        def lookup(symbol, upper, lower):
            layer, *channels = upper
            place = (*(channel - 1 for channel in channels), *lower)
            grid = known[symbol, layer]
            inside = all(0 <= index < size for index, size in zip(place, grid.shape, strict=True))
            return grid[place] if inside else 0

        for equation in parse(equations[FORMULAS[name]]):
            free = sorted(letters(equation[0]) - {"k"})
            ranges = {"o": (1, 2), "i": (1, 2, 3)} | dict.fromkeys("pqrs", range(7)) | dict.fromkeys("uv", range(3))
            for values in product(*(ranges[letter] for letter in free)):
                variables = dict(zip(free, values, strict=True)) | {"k": K}
                left, *others = (evaluate(side, lookup, **variables) for side in equation)
                assert all(other == left for other in others)

    return check


def letters(symbol):
    """The letters among the indices of a parsed symbol."""
    _, _, upper, lower = symbol
    return {index[1] for index in upper + lower if index[0] == "symbol"}


def checks_of(name, equations):
    return [numerical_gradients, adjoint_identity, numbers_of_the_house, printed_formula(equations)]


def fails(check, name, gradients):
    """Whether a check notices something: by its assertion, or because the wrong function's shape is refused."""
    try:
        check(name, gradients)
    except (AssertionError, ValueError):
        return True
    return False


@pytest.mark.parametrize("name", RIGHT)
def test_the_right_functions_pass_every_check(name, equations):
    checks = checks_of(name, equations)
    assert FORMULAS["input_grad"] in equations
    for check in checks:
        check(name, RIGHT)


@pytest.mark.parametrize(
    ("name", "mistake"), [(name, mistake) for name, family in MISTAKES.items() for mistake in family]
)
def test_a_planted_mistake_fails_at_least_two_checks(name, mistake, equations):
    gradients = RIGHT | {name: MISTAKES[name][mistake]}
    failed = [check.__name__ for check in checks_of(name, equations) if fails(check, name, gradients)]
    assert len(failed) >= 2
