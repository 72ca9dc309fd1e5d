"""The mean of the squares: its value and its flow, and what it refuses."""

import numpy as np
import pytest

from convlib import gradcheck
from convlib.losses import MSELoss


def test_value_and_flow_by_hand():
    loss = MSELoss()
    assert loss(np.array([3.0, 1.0, 4.0]), np.array([1.0, 1.0, 5.0])) == (4 + 0 + 1) / 3
    np.testing.assert_allclose(loss.backward(), [4 / 3, 0, -2 / 3], rtol=1e-15)


@pytest.mark.parametrize("shape", [(1,), (5,), (2, 3), (2, 2, 4, 5)])
def test_the_flow_is_the_numerical_gradient(shape):
    output, target = np.random.default_rng(0).normal(size=(2, *shape))
    loss = MSELoss()
    loss(output, target)
    numerical = gradcheck.numerical_gradient(lambda x: np.array(MSELoss()(x, target)), output, np.array(1.0))
    np.testing.assert_allclose(loss.backward(), numerical, rtol=1e-6, atol=1e-9)


def test_the_flow_has_the_output_s_type_and_the_loss_is_a_float():
    loss = MSELoss()
    assert type(loss(np.ones((2, 3), np.float32), np.zeros((2, 3)))) is float
    assert loss.backward().dtype == np.float32 and loss.backward().shape == (2, 3)


def test_what_is_done_to_the_output_afterwards_does_not_matter():
    output, loss = np.array([3.0, 1.0]), MSELoss()
    loss(output, [1, 1])
    output[:] = 0
    loss.backward()[:] = 7
    assert loss.backward().tolist() == [2, 0]


def test_float32_is_summed_in_float64():
    output = np.random.default_rng(2).normal(size=2**16).astype(np.float32)
    expected = float(np.mean((output**2).astype(np.float64)))
    assert MSELoss()(output, np.zeros(2**16)) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(("output", "target", "error", "words"), [
    (np.ones((2, 3)), np.ones((3, 2)), ValueError, r"target: expected shape \(2, 3\)"),
    (np.ones((2, 1)), np.ones(2), ValueError, r"target: .* got \(2,\)"),
    (np.ones((0, 3)), np.ones((0, 3)), ValueError, r"output: expected at least one number"),
    (np.ones(2, int), np.ones(2), TypeError, "output: expected floating numbers, got dtype int"),
    (np.ones(2, complex), np.ones(2), TypeError, "output"),
    (np.ones(2), np.ones(2, complex), TypeError, "target: expected real numbers"),
    (np.ones(2), ["a", "b"], TypeError, "target"),
])  # fmt: skip
def test_refusals(output, target, error, words):
    with pytest.raises(error, match=words):
        MSELoss()(output, target)


def test_backward_needs_a_call_before():
    with pytest.raises(RuntimeError, match="before backward"):
        MSELoss().backward()


def test_a_refused_call_leaves_the_last_one_in_place():
    loss = MSELoss()
    loss(np.array([3.0, 1.0]), [1, 1])
    with pytest.raises(ValueError):
        loss(np.ones(2), np.ones(3))
    assert loss.backward().tolist() == [2, 0]


# --- planted mistakes: each must fail two independent checks --------------------------------------------------------

MISTAKES = {
    "the 2 forgotten": lambda loss: loss.backward() / 2,
    "target minus output": lambda loss: -loss.backward(),
    "not divided by the number of outputs": lambda loss: loss.backward() * loss.backward().size,
    "divided by the number of images only": lambda loss: loss.backward() * loss.backward()[0].size,
    "sign instead of difference": lambda loss: np.sign(loss.backward()),
    "shifted by one place": lambda loss: np.roll(loss.backward(), 1, axis=-1),
    "images in reverse order": lambda loss: loss.backward()[::-1],
}


def numbers_by_hand(backward):
    """The flow of two images of two numbers each, computed by hand."""
    loss = MSELoss()
    loss(np.array([[3.0, 1.0], [4.0, 2.0]]), np.array([[1.0, 1.0], [5.0, 5.0]]))
    return np.allclose(backward(loss), [[1, 0], [-0.5, -1.5]])


def numerical_check(backward):
    """The flow beside central differences of the loss."""
    output, target = np.random.default_rng(3).normal(size=(2, 3, 2, 4))
    loss = MSELoss()
    numerical = gradcheck.numerical_gradient(lambda x: np.array(MSELoss()(x, target)), output, np.array(1.0))
    loss(output, target)
    return np.allclose(backward(loss), numerical, rtol=1e-6, atol=1e-9)


CHECKS = [numbers_by_hand, numerical_check]


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_the_checks_accept_the_right_flow(check):
    assert check(MSELoss.backward)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_planted_mistake_fails_each_check(mistake, check):
    assert not check(MISTAKES[mistake])
