"""Max pooling: against its loops and brute force, compiled and in NumPy, for any layout, ties, NaN, any threads."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import convlib
from convlib import gradcheck, layers, pooling, reference, shapes

HUGE = 10**30


@st.composite
def cases(draw, kinds="fdl"):
    """An image or a batch with many ties, and settings that fit it: odd shapes, windows that overlap and stick out."""
    kernel = draw(st.tuples(st.integers(1, 5), st.integers(1, 5)))
    padding = tuple(draw(st.integers(0, k // 2)) for k in kernel)
    stride = draw(st.none() | st.integers(1, 6) | st.tuples(st.integers(1, 6), st.integers(1, 6)))
    grid = tuple(max(1, k - 2 * p) + draw(st.integers(0, 6)) for k, p in zip(kernel, padding, strict=True))
    front = draw(st.sampled_from([(2,), (0, 3), (1, 1), (3, 2)]))
    random, dtype = np.random.default_rng(draw(st.integers(0, 2**32))), np.dtype(draw(st.sampled_from(kinds)))
    input = random.integers(-2, 3, size=(*front, *grid)).astype(dtype)
    if dtype.kind == "f" and draw(st.booleans()):
        input[random.random(input.shape) < 0.1] = np.nan
        input[random.random(input.shape) < 0.3] = -np.inf
    return input, (kernel, stride, padding), random


@pytest.fixture(params=["compiled", "NumPy"])
def way(request, monkeypatch):
    """Both ways to compute: with Numba, and as if it were missing."""
    if request.param == "NumPy":
        monkeypatch.setattr(pooling, "_compiled", None)


def brute_force(input, kernel, stride, padding):
    """The largest numbers, another way: minus infinity around, windows, and NumPy's own maximum (NaN wins there)."""
    stride = kernel if stride is None else stride
    steps = stride if isinstance(stride, tuple) else (stride, stride)
    around = [(0, 0)] * (input.ndim - 2) + [(p, p) for p in padding]
    padded = np.pad(input.astype(float), around, constant_values=-np.inf)
    windows = np.lib.stride_tricks.sliding_window_view(padded, kernel, axis=(-2, -1))
    return windows[..., :: steps[0], :: steps[1], :, :].max(axis=(-2, -1))


@settings(max_examples=150)
@given(cases())
def test_the_numbers_are_those_of_the_loops_and_of_brute_force(case):
    input, options, _ = case
    output, indices = pooling.max_pool2d(input, *options, return_indices=True)
    assert output.dtype == input.dtype and indices.dtype == np.int64
    np.testing.assert_array_equal(output, reference.max_pool2d(input, *options))
    np.testing.assert_array_equal(output, brute_force(input, *options))
    np.testing.assert_array_equal(pooling.max_pool2d(input, *options), output)
    rows = [each.reshape(*each.shape[:-2], math.prod(each.shape[-2:])) for each in (input, indices)]
    picked = np.take_along_axis(*rows, -1)
    np.testing.assert_array_equal(picked.reshape(output.shape), output)


@settings(max_examples=150)
@given(cases())
def test_the_flow_goes_where_the_loops_send_it(case):
    input, options, random = case
    output, indices = pooling.max_pool2d(input, *options, return_indices=True)
    flow = random.integers(-9, 10, size=output.shape).astype(input.dtype)
    grad_input = pooling.max_pool2d_input_grad(input.shape, indices, flow)
    assert grad_input.dtype == flow.dtype
    np.testing.assert_array_equal(grad_input, reference.max_pool2d_input_grad(input, flow, *options))


@settings(max_examples=100)
@given(cases())
def test_without_numba_the_bits_are_the_same(case):
    input, options, random = case
    results = []
    flow = random.normal(size=pooling.max_pool2d(input, *options).shape).astype("f")
    compiled = pooling._compiled
    try:
        for pooling._compiled in (compiled, None):
            output, indices = pooling.max_pool2d(input, *options, return_indices=True)
            grad = pooling.max_pool2d_input_grad(input.shape, indices, flow)
            results.append([output.tobytes(), indices.tobytes(), grad.tobytes()])
    finally:
        pooling._compiled = compiled
    assert results[0] == results[1]


def test_the_bits_do_not_depend_on_the_number_of_threads(monkeypatch):
    monkeypatch.setattr(pooling, "_ENOUGH", 50)  # cells: several jobs
    random, before = np.random.default_rng(0), convlib.get_num_threads()
    input = random.normal(size=(3, 7, 30, 31)).astype("f")
    results = set()
    try:
        for threads in (1, 2, 5):
            convlib.set_num_threads(threads)
            output, indices = pooling.max_pool2d(input, 3, 2, 1, return_indices=True)
            flow = np.random.default_rng(1).normal(size=output.shape).astype("f")
            grad = pooling.max_pool2d_input_grad(input.shape, indices, flow)
            results.add((output.tobytes(), indices.tobytes(), grad.tobytes()))
    finally:
        convlib.set_num_threads(before)
    assert len(results) == 1


def test_the_first_of_equals_wins_and_the_last_nan(way):
    input = np.array([[[7.0, 7, 1, np.nan], [7, 7, np.nan, 9]]])
    output, indices = pooling.max_pool2d(input, 2, return_indices=True)
    np.testing.assert_array_equal(output, [[[7, np.nan]]])
    assert indices.tolist() == [[[0, 6]]]
    told = pooling.max_pool2d_input_grad(input.shape, indices, [[[5.0, 3.0]]])
    assert told.tolist() == [[[5, 0, 0, 0], [0, 0, 3, 0]]]


def test_what_lies_outside_never_wins(way):
    for dtype, lowest in (("d", -np.inf), ("l", np.iinfo("l").min), ("d", -5)):
        output, indices = pooling.max_pool2d(np.full((1, 3, 3), lowest, dtype), 3, 2, 1, return_indices=True)
        assert (output == lowest).all() and indices.tolist() == [[[0, 1], [3, 4]]]


def test_windows_that_overlap_add_up_what_they_tell(way):
    input = np.zeros((1, 5, 5))
    input[0, 2, 2] = 1
    _, indices = pooling.max_pool2d(input, 3, 2, 1, return_indices=True)
    assert (indices == 12).sum() == 1
    _, indices = pooling.max_pool2d(input, 3, 1, 1, return_indices=True)
    assert (indices == 12).sum() == 9
    grad = pooling.max_pool2d_input_grad(input.shape, indices, np.arange(25.0).reshape(1, 5, 5))
    assert grad[0, 2, 2] == sum(range(6, 9)) + sum(range(11, 14)) + sum(range(16, 19))
    assert grad.sum() == 300


def test_the_gradient_is_the_numerical_one(way):
    random = np.random.default_rng(3)
    for size, options in (((2, 2, 5, 6), (2,)), ((3, 7, 4), ((3, 2), (2, 1), (1, 1))), ((1, 6, 6), (4, 1, 2))):
        x = random.normal(size=size)
        output, indices = pooling.max_pool2d(x, *options, return_indices=True)
        flow = random.normal(size=output.shape)
        told = pooling.max_pool2d_input_grad(size, indices, flow)
        assert gradcheck.check_gradient(lambda x, o=options: pooling.max_pool2d(x, *o), x, told, flow) < 1e-10


@pytest.mark.parametrize("change", [
    np.asfortranarray, lambda x: x[..., ::-1][..., ::-1], lambda x: np.repeat(x, 2, axis=-1)[..., ::2],
    lambda x: x.astype(x.dtype.newbyteorder()), lambda x: np.lib.stride_tricks.as_strided(x, writeable=False),
    lambda x: x.tolist(),
])  # fmt: skip
def test_any_layout_gives_the_same_and_nothing_is_written_to(way, change):
    input = np.random.default_rng(4).integers(-9, 10, size=(2, 3, 6, 5)).astype(float)
    expected, indices = pooling.max_pool2d(input, 3, 2, 1, return_indices=True)
    flow = np.random.default_rng(5).normal(size=expected.shape)
    given, given_flow, given_indices = change(input), change(flow), change(indices)
    before = np.array(given)
    np.testing.assert_array_equal(pooling.max_pool2d(given, 3, 2, 1), expected)
    np.testing.assert_array_equal(pooling.max_pool2d_input_grad(input.shape, given_indices, given_flow),
                                  pooling.max_pool2d_input_grad(input.shape, indices, flow))
    np.testing.assert_array_equal(given, before)


@pytest.mark.parametrize(("input", "options", "error", "message"), [
    (np.zeros((4, 4)), (2,), ValueError, r"input: expected shape \(N, C, H, W\) or \(C, H, W\), got \(4, 4\)"),
    (np.zeros((1, 0, 4)), (2,), ValueError, r"input: expected numbers in the image, got shape \(1, 0, 4\)"),
    (np.zeros((1, 4, 4)), (0,), ValueError, "kernel_size: expected a whole number, 1 or more, got 0"),
    (np.zeros((1, 4, 4)), (2.0,), TypeError, "kernel_size: expected a whole number, 1 or more, got 2.0"),
    (np.zeros((1, 4, 4)), (True,), TypeError, "kernel_size: expected a whole number"),
    (np.zeros((1, 4, 4)), ((2, 2, 2),), ValueError, "kernel_size: expected one number or a pair"),
    (np.zeros((1, 4, 4)), (5,), ValueError, "kernel_size: expected to cover at most 4 cells"),
    (np.zeros((1, 4, 4)), (HUGE,), ValueError, "kernel_size: expected to cover at most 4 cells"),
    (np.zeros((1, 4, 4)), (2, 0), ValueError, "stride: expected a whole number, 1 or more, got 0"),
    (np.zeros((1, 4, 4)), (2, 1, 2), ValueError, r"padding: expected at most half of kernel_size \(2, 2\)"),
    (np.zeros((1, 4, 4)), (3, 1, (1, 2)), ValueError, "padding: expected at most half"),
    (np.zeros((1, 4, 4)), (2, 1, -1), ValueError, "padding: expected a whole number, 0 or more, got -1"),
    (np.zeros((1, 4, 4)), (2, 1, "same"), TypeError, "padding: expected a whole number"),
    (np.zeros((1, 4, 4), complex), (2,), TypeError, "input: expected float32, float64 or integers, got complex128"),
    (np.zeros((1, 4, 4), "e"), (2,), TypeError, "input: expected float32, float64 or integers, got float16"),
    (np.ma.masked_equal(np.zeros((1, 4, 4)), 0), (2,), TypeError, "input: expected numbers without a mask"),
    ([[[1, 2], [3]]], (1,), ValueError, "input: expected an array of numbers"),
])  # fmt: skip
def test_refusals(way, input, options, error, message):
    for function in (pooling.max_pool2d, lambda *given: shapes.max_pool2d_geometry(np.shape(given[0]), *given[1:])):
        with pytest.raises(error, match=message):
            function(input, *options)
        if "mask" in message or "float" in message or "array of" in message:
            break  # sizes alone do not tell
    if input is not None and "got float16" not in message and "complex" not in message:
        with pytest.raises((ValueError, TypeError)):
            reference.max_pool2d(input, *options)


SIZE = (2, 3, 4, 4)
GOOD = np.zeros((2, 3, 2, 2), int)


@pytest.mark.parametrize(("size", "indices", "flow", "error", "message"), [
    (SIZE, GOOD, np.zeros((2, 3, 2, 1)), ValueError, r"grad_output: expected shape \(2, 3, 2, 2\), as indices, got"),
    (SIZE, GOOD + 16, GOOD, ValueError, "indices: expected cells from 0 to 15, got 16 to 16"),
    (SIZE, GOOD - 1, GOOD, ValueError, "indices: expected cells from 0 to 15, got -1 to -1"),
    (SIZE, GOOD.astype(np.uint64) + np.uint64(2**63), GOOD, ValueError, "indices: expected cells from 0 to 15"),
    (SIZE, GOOD.astype(float), GOOD, TypeError, "indices: expected whole numbers, got data type float64"),
    (SIZE, GOOD[0], GOOD[0], ValueError, "indices: expected as many channels as input_size"),
    (SIZE, GOOD[:1], GOOD[:1], ValueError, "indices: expected as many channels as input_size"),
    (SIZE, np.zeros((2, 3), int), np.zeros((2, 3)), ValueError, "indices: expected as many channels"),
    (SIZE[1:3], GOOD, GOOD, ValueError, r"input_size: expected shape \(N, C, H, W\) or \(C, H, W\)"),
    (4, GOOD, GOOD, TypeError, "input_size: expected shape"),
    ((2, 3, 4, -4), GOOD, GOOD, ValueError, "input_size shape: expected a whole number, 0 or more"),
])  # fmt: skip
def test_indices_never_lead_outside(way, size, indices, flow, error, message):
    with pytest.raises(error, match=message):
        pooling.max_pool2d_input_grad(size, indices, flow)


def test_an_empty_batch_and_one_image(way):
    output, indices = pooling.max_pool2d(np.zeros((0, 3, 4, 5)), 2, return_indices=True)
    assert output.shape == indices.shape == (0, 3, 2, 2)
    assert pooling.max_pool2d_input_grad((0, 3, 4, 5), indices, output).shape == (0, 3, 4, 5)
    image = np.random.default_rng(0).normal(size=(3, 4, 5))
    np.testing.assert_array_equal(pooling.max_pool2d(image, 2), pooling.max_pool2d(image[np.newaxis], 2)[0])


def test_the_geometry_counts_windows():
    g = shapes.max_pool2d_geometry((2, 3, 7, 8), (3, 2), None, (1, 0))
    assert g == (2, 3, 7, 8, (3, 2), (3, 2), (1, 0), 3, 4)
    assert all(type(each) is int for each in (*g[:4], *g[-2:], *g.kernel_size, *g.stride, *g.padding))
    assert math.prod(g[-2:]) == 12


@settings(max_examples=50)
@given(cases(kinds="d"))
def test_relu_and_its_flow_in_loops(case):
    input, _, random = case
    np.testing.assert_array_equal(reference.relu(input), np.maximum(input, 0))
    flow = random.normal(size=input.shape)
    np.testing.assert_array_equal(reference.relu_input_grad(input, flow), np.where(input <= 0, 0, flow))


def test_relu_refuses_another_shape():
    with pytest.raises(ValueError, match=r"grad_output: expected shape \(2, 3\), got \(3, 2\)"):
        reference.relu_input_grad(np.zeros((2, 3)), np.zeros((3, 2)))
    with pytest.raises(ValueError, match=r"grad_output: expected shape \(1, 2, 2\), got \(1, 2, 1\)"):
        reference.max_pool2d_input_grad(np.zeros((1, 4, 4)), np.zeros((1, 2, 1)), 2)


# --- mistakes, planted in the loops of the way back: two checks must see each of them -----------------------------


def relu_grad_from(change_input=lambda x: x, change_flow=lambda d: d, change_result=lambda g: g):
    return lambda x, d: change_result(reference.relu_input_grad(change_input(x), change_flow(d)))


def pool_grad_from(change_input=lambda x: x, change_flow=lambda d: d, change_result=lambda g: g):
    return lambda x, d: change_result(reference.max_pool2d_input_grad(change_input(x), change_flow(d), 3, 2, 1))


def mirrored(array):
    return array[..., ::-1]


def next_channel(array):
    return np.roll(array, 1, axis=0)


def mean_of_ways(flow):
    return np.full_like(flow, flow.mean())


def relu_flow(x, d):
    gate = layers.ReLU()
    gate(x)
    return gate.backward(d)


def pool_flow(x, d):
    _, indices = pooling.max_pool2d(x, 3, 2, 1, return_indices=True)
    return pooling.max_pool2d_input_grad(x.shape, indices, d)


LOOPS = {
    "relu": (reference.relu, relu_flow, relu_grad_from()),
    "pool": (lambda x: reference.max_pool2d(x, 3, 2, 1), pool_flow, pool_grad_from()),
}
PLANTED = {
    "relu: gate by the flow": ("relu", lambda x, d: reference.relu_input_grad(d, d)),
    "relu: gate the other way": ("relu", relu_grad_from(lambda x: -x)),
    "relu: flow mirrored": ("relu", relu_grad_from(change_flow=mirrored)),
    "relu: gate of the next channel": ("relu", relu_grad_from(next_channel)),
    "relu: told mirrored": ("relu", relu_grad_from(change_result=mirrored)),
    "relu: no gate": ("relu", lambda x, d: d),
    "pool: smallest wins": ("pool", pool_grad_from(lambda x: -x)),
    "pool: windows from the end": ("pool", pool_grad_from(change_flow=mirrored)),
    "pool: winners of the next channel": ("pool", pool_grad_from(next_channel)),
    "pool: told mirrored": ("pool", pool_grad_from(change_result=mirrored)),
    "pool: everyone told the mean": ("pool", pool_grad_from(change_flow=mean_of_ways)),
    "pool: rows and columns swapped": ("pool", pool_grad_from(lambda x: x.swapaxes(-1, -2))),
}


def checks(kind, function):
    """Whether a way back passes each of the checks: numerical gradients, and the library's own way back."""
    forward, other, _ = LOOPS[kind]
    random = np.random.default_rng(8)
    x = random.normal(size=(2, 6, 6))
    d = random.normal(size=forward(x).shape)
    told = function(x, d)
    try:
        gradcheck.check_gradient(forward, x, told, d)
        numerically = True
    except AssertionError:
        numerically = False
    return numerically, np.allclose(told, other(x, d))


@pytest.mark.parametrize("kind", LOOPS)
def test_the_right_loops_pass_both_checks(kind):
    assert checks(kind, LOOPS[kind][2]) == (True, True)


@pytest.mark.parametrize(("kind", "wrong"), PLANTED.values(), ids=PLANTED)
def test_two_checks_see_each_planted_mistake(kind, wrong):
    assert checks(kind, wrong) == (False, False)
