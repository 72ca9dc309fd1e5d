"""The way back is the transpose of the way there: exactly, on any shape, and in each of its four forms."""

import ast
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from printed_formulas import CHAPTERS

from convlib.gradcheck import adjoint_gap
from convlib.reference import conv2d, conv2d_bias_grad, conv2d_input_grad, conv2d_weight_grad

quick = settings(max_examples=100, deadline=None, derandomize=True)


def chapter_functions(name, *wanted):
    """Functions as a chapter prints them: the reader's code is what is tested."""
    cells = json.loads((CHAPTERS / f"{name}.ipynb").read_text(encoding="utf-8"))["cells"]
    code = [ast.parse("".join(cell["source"])) for cell in cells if cell["cell_type"] == "code"]
    found = [part for cell in code for part in cell.body if isinstance(part, ast.FunctionDef) and part.name in wanted]
    names = {"np": np, "conv2d": conv2d}
    exec(compile(ast.Module(found, type_ignores=[]), name, "exec"), names)
    return [names[each] for each in wanted]


scatter, by_turning, layer_matrix, scatter_at_once, _ = chapter_functions(
    "turn", "scatter", "by_turning", "layer_matrix", "scatter_at_once", "widen"
)


class Layer:
    """A layer of the given shape with random integers: image, weight, flow at the output."""

    def __init__(self, seed, image, weight, padding):
        random = np.random.default_rng(seed)
        self.padding = padding
        self.image = random.integers(-99, 100, size=image)
        self.weight = random.integers(-9, 10, size=weight)
        self.flow = random.integers(-9, 10, size=self.there(self.image).shape)

    def there(self, image):
        return conv2d(image, self.weight, padding=self.padding)

    def back(self, flow):
        return conv2d_input_grad(self.image.shape, self.weight, flow, padding=self.padding)


@st.composite
def layers(draw, batch=True):
    """Even, odd and oblong kernels and images; padding up to two more than the kernel's size minus 1."""
    channels, outputs, rows, columns, kh, kw = (draw(st.integers(1, high)) for high in (3, 3, 5, 5, 4, 4))
    least = max(0, -(-(kh - rows) // 2), -(-(kw - columns) // 2))
    padding = draw(st.integers(least, max(least, max(kh, kw) + 1)))
    first = (draw(st.integers(1, 2)),) if batch and draw(st.booleans()) else ()
    seed = draw(st.integers(0, 2**32 - 1))
    return Layer(seed, (*first, channels, rows, columns), (outputs, channels, kh, kw), padding)


def inner(one, other):
    """The sum of all products, written once more in another way than the library does it."""
    assert one.shape == other.shape
    return sum(int(a) * int(b) for a, b in zip(one.flat, other.flat, strict=True))


@quick
@given(layers())
def test_the_sum_of_all_products_is_the_same_from_both_ends_and_for_the_weights(layer):
    weight_grad = conv2d_weight_grad(layer.image, layer.weight.shape, layer.flow, padding=layer.padding)
    total = inner(layer.there(layer.image), layer.flow)
    assert total == inner(layer.image, layer.back(layer.flow)) == inner(layer.weight, weight_grad)


@quick
@given(layers())
def test_the_bias(layer):
    bias = np.arange(1, len(layer.weight) + 1)
    with_bias = conv2d(layer.image, layer.weight, bias, padding=layer.padding)
    spread = with_bias - layer.there(layer.image)
    assert inner(spread, layer.flow) == inner(bias, conv2d_bias_grad(layer.flow))


@quick
@given(layers(batch=False))
def test_four_forms_one_result(layer):
    gather = layer.back(layer.flow)
    matrix = layer_matrix(layer.image.shape, layer.weight, layer.padding)
    np.testing.assert_array_equal(scatter(layer.image.shape, layer.weight, layer.flow, layer.padding), gather)
    np.testing.assert_array_equal(scatter_at_once(layer.image.shape, layer.weight, layer.flow, layer.padding), gather)
    np.testing.assert_array_equal(by_turning(layer.weight, layer.flow, layer.padding), gather)
    np.testing.assert_array_equal((matrix.T @ layer.flow.ravel()).reshape(gather.shape), gather)
    np.testing.assert_array_equal(matrix @ layer.image.ravel(), layer.there(layer.image).ravel())


@quick
@given(layers(), st.integers(-9, 9), st.integers(-9, 9))
def test_the_way_there_and_the_way_back_are_linear(layer, one, other):
    more_image, more_flow = layer.image[..., ::-1, ::-1] + 3, layer.flow[..., ::-1, ::-1] - 2
    for function, first, second in (
        (layer.there, layer.image, more_image),
        (layer.back, layer.flow, more_flow),
        (lambda x: conv2d_weight_grad(x, layer.weight.shape, layer.flow, padding=layer.padding),
         layer.image, more_image),
    ):  # fmt: skip
        np.testing.assert_array_equal(
            function(one * first + other * second), one * function(first) + other * function(second)
        )


# --- the identity catches mistakes ---------------------------------------------------------------------------


def square_layer(seed):
    """As many input as output channels and padding 1, so that no shape gives a mistake away."""
    return Layer(seed, (2, 3, 6, 5), (3, 3, 3, 3), 1)


def back_with(layer, weight):
    return lambda flow: conv2d_input_grad(layer.image.shape, weight, flow, padding=layer.padding)


MISTAKES = {
    "not turned": lambda layer: back_with(layer, layer.weight[:, :, ::-1, ::-1]),
    "mirrored": lambda layer: back_with(layer, layer.weight[:, :, :, ::-1]),
    "rows and columns swapped": lambda layer: back_with(layer, layer.weight.swapaxes(2, 3)),
    "channels not swapped": lambda layer: back_with(layer, layer.weight.swapaxes(0, 1)),
    "off by one": lambda layer: lambda flow: np.roll(layer.back(flow), 1, axis=-2),
    "padding forgotten": lambda layer: lambda flow: layer.back(np.pad(flow[..., 1:, 1:], [(0, 0)] * 2 + [(1, 0)] * 2)),
    "only the first image": lambda layer: lambda flow: layer.back(flow) * np.array([1, 0]).reshape(2, 1, 1, 1),
    "the other sign": lambda layer: lambda flow: -layer.back(flow),
    "one cell": lambda layer: lambda flow: one_more(layer.back(flow), flow),
}


def one_more(result, flow):
    """The result with one corner wrong, in a way that is still linear."""
    result[0, 0, 0, 0] += flow[0, 0, 0, 0]
    return result


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("mistake", MISTAKES.values(), ids=MISTAKES)
def test_the_identity_catches(mistake, seed):
    layer = square_layer(seed)
    assert adjoint_gap(layer.there, layer.back, layer.image, layer.flow) == 0
    assert adjoint_gap(layer.there, mistake(layer), layer.image, layer.flow) > 1e-6


@pytest.mark.parametrize("mistake", [lambda grad: grad[:, :, ::-1, ::-1], lambda grad: grad.swapaxes(0, 1)])
def test_the_identity_catches_mistakes_in_the_weights(mistake):
    layer = square_layer(0)

    def there(weight):
        return conv2d(layer.image, weight, padding=1)

    def back(flow):
        return conv2d_weight_grad(layer.image, layer.weight.shape, flow, padding=1)

    assert adjoint_gap(there, back, layer.weight, layer.flow) == 0
    assert adjoint_gap(there, lambda flow: mistake(back(flow)), layer.weight, layer.flow) > 1e-6


# --- the function itself ----------------------------------------------------------------------------------------


def times(matrix):
    return lambda x: matrix @ x


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-12), (np.float32, 1e-5), (np.uint8, 0)])
def test_the_gap_in_other_data_types(dtype, tolerance):
    random = np.random.default_rng(4)
    matrix, x, d = (random.uniform(0, 255, size=size).astype(dtype) for size in [(40, 30), 30, 40])
    if tolerance == 0:  # unsigned numbers that would wrap around
        matrix = matrix.astype(np.int64)
    assert adjoint_gap(times(matrix), times(matrix.T), x, d) <= tolerance
    matrix_wrong = matrix.T.copy()
    matrix_wrong[3, 5] += 99
    assert adjoint_gap(times(matrix), times(matrix_wrong), x, d) > max(tolerance, 1e-6)


def test_the_gap_is_relative_and_at_most_1():
    three, minus_three = times(np.array([[3.0]])), times(np.array([[-3.0]]))
    for scale in (1e-100, 1.0, 1e100):
        assert adjoint_gap(three, minus_three, np.array([scale]), np.array([2.0])) == 1
    assert adjoint_gap(times(np.array([[3]])), times(np.array([[1]])), np.array([1]), np.array([1])) == 0.5


def test_integers_are_compared_exactly_however_large():
    large = np.array([2**62, 1])
    assert adjoint_gap(lambda x: x, lambda d: d, large, large) == 0
    gap = adjoint_gap(lambda x: x, lambda d: d - np.array([0, 1]) * (d[1] != 0), large, large)
    assert 0 < gap < 1e-36


def test_functions_may_overwrite_their_argument_or_the_result_they_gave_before():
    workspace = np.zeros(2, dtype=int)

    def in_place(array):
        array *= 2
        return array

    def in_workspace(array):
        np.multiply(array, 2, out=workspace)
        return workspace

    x, d = np.array([1, 2]), np.array([3, 4])
    for forward, backward in ((in_place, times(2 * np.eye(2, dtype=int))), (in_workspace, in_workspace)):
        assert adjoint_gap(forward, backward, x, d) == 0
        assert x.tolist() == [1, 2] and d.tolist() == [3, 4]


def same(x):
    return x


X, D = np.array([1.0, 2.0]), np.array([3.0, 4.0])


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ((same, same, 0 * X, D), ValueError, "nothing was checked"),
        ((same, same, X, 0 * D), ValueError, "nothing was checked"),
        ((same, same, X[:0], D[:0]), ValueError, "nothing was checked"),
        ((lambda x: 0 * x, lambda d: 0 * d, X, D), ValueError, "nothing was checked"),
        ((same, same, [1.0, 0.0], [0.0, 1.0]), ValueError, "nothing was checked"),
        ((lambda x: x + 1, same, X, D), ValueError, "forward: expected a linear function.*leave the bias out"),
        ((same, lambda d: d + 1, X, D), ValueError, "backward: expected a linear function"),
        ((lambda x: x[:1], same, X, D), ValueError, r"forward: expected a result of shape \(2,\), got \(1,\)"),
        ((same, lambda d: d[:1], X, D), ValueError, r"backward: expected a result of shape \(2,\), got \(1,\)"),
        ((same, same, [np.nan, 1.0], D), ValueError, "x: expected finite numbers"),
        ((same, same, X, [np.inf, 1.0]), ValueError, "d: expected finite numbers"),
        ((same, lambda d: d * np.nan, X, D), ValueError, "the result of backward: expected finite numbers"),
        ((same, same, X, ["a", "b"]), TypeError, "d: expected real numbers"),
        ((same, same, X + 1j, D), TypeError, "x: expected real numbers, got data type complex128"),
    ],
)
def test_the_gap_refuses_and_says_why(arguments, error, words):
    with pytest.raises(error, match=words):
        adjoint_gap(*arguments)
