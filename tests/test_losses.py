"""Softmax and cross entropy: right, stable for scores of any size, and clear about what they refuse."""

import math

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from convlib.gradcheck import check_gradient
from convlib.losses import CrossEntropyLoss, log_softmax, softmax

ANY_SCORES = arrays(np.float64, (3, 4), elements=st.floats(-1e300, 1e300))
USUAL_SCORES = arrays(np.float64, (3, 4), elements=st.floats(-40, 40))
CLASSES = arrays(np.int64, (3,), elements=st.integers(0, 3))


def exactly(scores):
    """The probabilities of one row, with 60 digits."""
    with mpmath.workdps(60):
        powers = [mpmath.exp(mpmath.mpf(float(score))) for score in scores]
        return [power / mpmath.fsum(powers) for power in powers]


@given(USUAL_SCORES)
def test_probabilities_and_their_logarithms_are_those_of_the_formula(scores):
    for row, found, logs in zip(scores, softmax(scores), log_softmax(scores), strict=True):
        for probability, number, log in zip(exactly(row), found, logs, strict=True):
            assert number == pytest.approx(float(probability), rel=1e-13, abs=0)
            assert log == pytest.approx(math.log(probability), rel=1e-13, abs=1e-15)


@given(ANY_SCORES, CLASSES)
def test_scores_of_any_size_give_a_finite_loss_and_a_flow_that_adds_up_to_nothing(scores, target):
    loss = CrossEntropyLoss()
    value, flow = loss(scores, target), loss.backward()
    assert np.isfinite(value) and value >= 0
    assert np.isfinite(flow).all() and (abs(flow) <= 1 / 3).all()
    np.testing.assert_allclose(flow.sum(axis=1), 0, atol=1e-15)
    assert (flow[np.arange(3), target] <= 0).all()
    assert np.allclose(softmax(scores).sum(axis=1), 1)


@given(USUAL_SCORES, CLASSES, st.floats(-1000, 1000))
def test_only_differences_of_scores_count(scores, target, more):
    loss = CrossEntropyLoss()
    assert loss(scores + more, target) == pytest.approx(loss(scores, target), rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(1, 2), (6, 10), (3, 1)])
def test_the_loss_is_the_mean_surprise_and_the_flow_probability_minus_target(dtype, shape):
    random, loss = np.random.default_rng(0), CrossEntropyLoss()
    scores = (3 * random.normal(size=shape)).astype(dtype)
    target = random.integers(0, shape[1], shape[0])
    probabilities = np.array([[float(each) for each in exactly(row)] for row in scores])
    rounding = 20 * float(np.finfo(dtype).eps)
    assert loss(scores, target) == pytest.approx(
        -np.log(probabilities[np.arange(shape[0]), target]).mean(), rel=rounding, abs=rounding)
    flow = loss.backward()
    assert flow.dtype == dtype and flow.shape == shape
    np.testing.assert_allclose(flow, (probabilities - np.eye(shape[1])[target]) / shape[0], rtol=0, atol=rounding)


def test_the_flow_is_the_numerical_derivative():
    random, loss = np.random.default_rng(1), CrossEntropyLoss()
    scores, target, weight = random.normal(size=(5, 7)), random.integers(0, 7, 5), np.array([-1.3])
    loss(scores, target)
    flow = weight * loss.backward()
    assert check_gradient(lambda x: np.array([loss(x, target)]), scores, flow, weight) < 1e-9


def test_a_score_of_1000_neither_overflows_nor_loses_what_is_small():
    assert log_softmax(np.array([0.0, 1000.0])).tolist() == [-1000, 0]
    assert CrossEntropyLoss()(np.array([[0.0, 1e5]], dtype=np.float32), [0]) == 1e5


def test_what_is_not_a_number_stays_visible():
    loss = CrossEntropyLoss()
    for bad in (np.nan, np.inf):
        assert np.isnan(loss(np.array([[0.0, bad]]), [0]))
    assert loss(np.array([[0.0, -np.inf]]), [0]) == 0  # a score of minus infinity: an answer that is impossible
    assert loss(np.array([[0.0, -np.inf]]), [1]) == np.inf


def test_a_changed_flow_does_not_change_the_next():
    loss = CrossEntropyLoss()
    loss(np.zeros((2, 3)), [0, 1])
    loss.backward()[:] = 7
    assert loss.backward().max() < 1


@pytest.mark.parametrize(("output", "target", "error", "message"), [
    (np.zeros((2, 3), dtype=int), [0, 1], TypeError, r"output: expected floating numbers, got dtype int64"),
    (np.zeros((0, 3)), np.zeros(0, dtype=int), ValueError, r"output: expected at least one number, got shape \(0, 3\)"),
    (np.zeros(3), [0], ValueError, r"output: expected scores of shape \(N, C\), got \(3,\)"),
    (np.zeros((2, 3, 4)), [0, 1], ValueError, r"output: expected scores of shape \(N, C\), got \(2, 3, 4\)"),
    (np.zeros((2, 3)), [0.0, 1.0], TypeError, r"target: expected whole numbers, one class each, got dtype float64"),
    (np.zeros((2, 3)), [True, False], TypeError, r"target: expected whole numbers, one class each, got dtype bool"),
    (np.zeros((2, 3)), [0, 1, 2], ValueError, r"target: expected shape \(2,\), one class for each row of scores, got"),
    (np.zeros((2, 3)), [[0, 1]], ValueError, r"target: expected shape \(2,\)"),
    (np.zeros((2, 3)), [0, 3], ValueError, r"target: expected classes from 0 to 2, got 3"),
    (np.zeros((2, 3)), [-1, 0], ValueError, r"target: expected classes from 0 to 2, got -1"),
])
def test_refusals_leave_the_last_flow_alone(output, target, error, message):
    loss = CrossEntropyLoss()
    loss(np.zeros((1, 2)), [1])
    with pytest.raises(error, match=message):
        loss(output, target)
    assert loss.backward().tolist() == [[0.5, -0.5]]


def test_backward_before_forward():
    with pytest.raises(RuntimeError, match="CrossEntropyLoss: call the loss before backward"):
        CrossEntropyLoss().backward()
