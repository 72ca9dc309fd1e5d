"""The matrices of Winograd's algorithm, in exact fractions: nothing here is rounded."""

import math
from fractions import Fraction

import numpy as np
import pytest

from convlib import reference
from convlib.transforms import as_array, winograd_matrices

SIZES = [(m, r) for m in range(1, 8) for r in range(1, 8) if m + r <= 9]
HALF = Fraction(1, 2)


def all_products(A, B, G):
    """The factor of (flow p) (cell c) (weight u) in the sum over the products, for every p, c and u."""
    return np.einsum("jp,cj,ju->pcu", A, B, G)


def expected_products(outputs, taps):
    """In a line of cells, output p meets cell c with weight u where c = p + u, and nowhere else."""
    return np.array([[[int(c == p + u) for u in range(taps)] for c in range(outputs + taps - 1)]
                     for p in range(outputs)])


@pytest.fixture(params=[(2, 3), (4, 3), (3, 4), (2, 5), (6, 3)], ids=lambda sizes: "F({}, {})".format(*sizes))
def sizes(request):
    return request.param


@pytest.fixture
def random():
    return np.random.default_rng(13)


@pytest.mark.parametrize(("outputs", "taps"), SIZES)
def test_the_products_are_those_of_the_layer_and_no_others(outputs, taps):
    A, B, G = winograd_matrices(outputs, taps)
    count = outputs + taps - 1
    assert (A.shape, B.shape, G.shape) == ((count, outputs), (count, count), (count, taps))
    assert (all_products(A, B, G) == expected_products(outputs, taps)).all()


@pytest.mark.parametrize("points", [
    (0, 1, -1, HALF, -HALF, math.inf),
    (math.inf, 3, -2, 7, Fraction(-5, 3), 0),
    (0, 1, 2, 3, 4, 5),
    (0.5, 1, -1, 0.25, -0.25, math.inf),
])
def test_any_points_do(points):
    for outputs, taps in ((4, 3), (3, 4), (2, 5), (6, 1)):
        products = all_products(*winograd_matrices(outputs, taps, points))
        assert (products == expected_products(outputs, taps)).all()


def test_every_number_is_an_exact_fraction(sizes):
    for matrix in winograd_matrices(*sizes, points=[*range(sum(sizes) - 2), math.inf]):
        assert {type(number) for number in matrix.flat} == {Fraction}


def test_f_4_3_is_as_lavin_and_gray_print_it():
    A, B, G = winograd_matrices(4, 3)
    assert A.T.tolist() == [[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]]
    assert B.T.tolist() == [[4, 0, -5, 0, 1, 0], [0, -4, -4, 1, 1, 0], [0, 4, -4, -1, 1, 0],
                            [0, -2, -1, 2, 1, 0], [0, 2, -1, -2, 1, 0], [0, 4, 0, -5, 0, 1]]
    assert (24 * G).tolist() == [[6, 0, 0], [-4, -4, -4], [-4, 4, -4], [1, 2, 4], [1, -2, 4], [0, 0, 24]]


def test_two_dimensions_are_one_after_the_other(sizes, random):
    (A, B, G), count = winograd_matrices(*sizes), sum(sizes) - 1
    cells = random.integers(-9, 10, size=(count, count))
    kernel = random.integers(-9, 10, size=(sizes[1], sizes[1]))
    outputs = A.T @ ((G @ kernel @ G.T) * (B.T @ cells @ B)) @ A
    assert (outputs == reference.correlate2d(cells, kernel)).all()


def test_rows_and_columns_may_be_of_different_kinds(random):
    (A, B, G), (A2, B2, G2) = winograd_matrices(4, 3), winograd_matrices(2, 5)
    cells, kernel = random.integers(-9, 10, size=(6, 6)), random.integers(-9, 10, size=(3, 5))
    outputs = A.T @ ((G @ kernel @ G2.T) * (B.T @ cells @ B2)) @ A2
    assert (outputs == reference.correlate2d(cells, kernel)).all()


def test_the_transposes_give_both_gradients(sizes, random):
    (A, B, G), count = winograd_matrices(*sizes), sum(sizes) - 1
    cells = random.integers(-9, 10, size=(count, count))
    kernel = random.integers(-9, 10, size=(sizes[1], sizes[1]))
    flow = random.integers(-9, 10, size=(sizes[0], sizes[0]))
    U, V, D = G @ kernel @ G.T, B.T @ cells @ B, A @ flow @ A.T
    weight, image = kernel[np.newaxis, np.newaxis], cells[np.newaxis]
    told = reference.conv2d_weight_grad(image, weight.shape, flow[np.newaxis])
    assert (G.T @ (D * V) @ G == told[0, 0]).all()
    back = reference.conv2d_input_grad(image.shape, weight, flow[np.newaxis])
    assert (B @ (D * U) @ B.T == back[0]).all()


def test_the_cells_are_transformed_alike_whatever_is_output_and_what_is_weight():
    B = winograd_matrices(4, 3)[1]
    for outputs, taps in ((3, 4), (2, 5), (5, 2)):
        assert (winograd_matrices(outputs, taps)[1] == B).all()


def test_the_weights_gradient_is_f_3_4_with_the_denominators_elsewhere():
    A, _, G = winograd_matrices(4, 3)
    A_turned, _, G_turned = winograd_matrices(3, 4)
    one, other = np.einsum("ju,jp->jup", G, A), np.einsum("ju,jp->jup", A_turned, G_turned)
    assert (one == other).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_an_array_is_the_nearest_that_the_data_type_can_hold(dtype):
    _, B, G = winograd_matrices(4, 3)
    rounded = as_array(G, dtype)
    assert rounded.dtype == dtype and rounded[3, 0] == dtype(1 / 24)
    turned = as_array(B, dtype)
    assert turned.flags.c_contiguous and turned[1].tolist() == [0, -4, 4, -2, 2, 4]


@pytest.mark.parametrize(("arguments", "message"), [
    ((0, 3), "outputs, taps: expected at least 1, got 0 and 3"),
    ((4, -1), "outputs, taps: expected at least 1, got 4 and -1"),
    ((2, 3, (0, 1, -1)), r"points: expected 4 different ones, got \['0', '1', '-1'\]"),
    ((2, 3, (0, 1, HALF, 0.5)), "points: expected 4 different ones, got .*'1/2', '1/2'"),
    ((7, 3), "points: expected 9 different ones"),
])
def test_points_that_do_not_do_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        winograd_matrices(*arguments)
