"""SGD: the steps by hand, its state, and what it refuses. PyTorch's steps: tests/parity/test_optimizers.py."""

from types import SimpleNamespace

import numpy as np
import pytest

from convlib.optimizers import SGD


def parameter(data, grad=None, dtype=np.float64):
    """Something with data and grad, as convlib.layers.Parameter is."""
    return SimpleNamespace(data=np.array(data, dtype=dtype), grad=None if grad is None else np.array(grad, dtype))


def after(gradients, start, **settings):
    """Where one number stands after each step."""
    one = parameter([start])
    optimizer, places = SGD([one], **settings), []
    for grad in gradients:
        one.grad = np.array([grad])
        optimizer.step()
        places.append(one.data.item())
    return places


def test_plain_steps():
    assert after([2, -4], 3.0, lr=0.5) == [2, 4]


def test_momentum_keeps_a_part_of_the_last_move():
    # velocities 2, 0.5 * 2 + 2 = 3, 0.5 * 3 - 4 = -2.5
    assert after([2, 2, -4], 10.0, lr=0.5, momentum=0.5) == [9, 7.5, 8.75]


def test_weight_decay_draws_to_zero():
    # moves 0 + 0.5 * 8 = 4, then 0 + 0.5 * 7 = 3.5
    assert after([0, 0], 8.0, lr=0.25, weight_decay=0.5) == [7, 6.125]


def test_momentum_and_weight_decay_together():
    # velocities 1 + 0.25 * 8 = 3, then 0.5 * 3 + 1 + 0.25 * 5 = 3.75
    assert after([1, 1], 8.0, lr=1, momentum=0.5, weight_decay=0.25) == [5, 1.25]


def test_the_numbers_move_in_place_and_keep_their_type():
    one = parameter([1, 2], [1, 1], np.float32)
    data = one.data
    SGD([one], lr=np.float64(0.5), momentum=0.9).step()
    assert one.data is data and data.dtype == np.float32 and data.tolist() == [0.5, 1.5]
    assert one.grad.tolist() == [1, 1]  # what was told is not changed


def test_any_iterable_of_parameters_will_do():
    pair = [parameter([1.0], [1.0]), parameter([[2.0]], [[1.0]])]
    SGD((each for each in pair), lr=1).step()
    assert [each.data.item() for each in pair] == [0, 1]


def test_zero_grad_forgets():
    one = parameter([1.0], [1.0])
    optimizer = SGD([one], lr=1)
    optimizer.zero_grad()
    assert one.grad is None


# --- the state ------------------------------------------------------------------------------------------------------


def walk(optimizer, parameters, random, steps):
    for _ in range(steps):
        for each in parameters:
            each.grad = random.normal(size=each.data.shape).astype(each.data.dtype)
        optimizer.step()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_resumed_walk_has_the_same_bits(dtype, tmp_path):
    settings = {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.01}
    straight = [parameter(np.ones((2, 3)), dtype=dtype), parameter(np.ones(4), dtype=dtype)]
    optimizer, random = SGD(straight, **settings), np.random.default_rng(0)
    walk(optimizer, straight, random, 5)
    np.savez(tmp_path / "state.npz", **optimizer.state_dict())  # as a checkpoint does
    stopped = [parameter(each.data, dtype=dtype) for each in straight]
    walk(optimizer, straight, random, 5)

    resumed, random = SGD(stopped, lr=7), np.random.default_rng(0)
    random.normal(size=5 * 10)
    with np.load(tmp_path / "state.npz") as state:
        resumed.load_state_dict(dict(state))
    assert resumed.lr == 0.1
    walk(resumed, stopped, random, 5)
    for one, other in zip(straight, stopped, strict=True):
        assert (one.data == other.data).all()


def test_the_state_is_a_copy():
    one = parameter([1.0], [1.0])
    optimizer = SGD([one], lr=1, momentum=0.5)
    state = optimizer.state_dict()
    assert list(state) == ["lr", "momentum", "weight_decay", "0.momentum_buffer"]
    optimizer.step()
    assert state["0.momentum_buffer"].tolist() == [0]
    optimizer.load_state_dict(state)
    optimizer.step()
    assert state["0.momentum_buffer"].tolist() == [0]


@pytest.mark.parametrize(("change", "error", "words"), [
    ({"lr": -1.0}, ValueError, "lr"),
    ({"momentum": "a"}, TypeError, "momentum"),
    ({"1.momentum_buffer": np.zeros(3)}, ValueError, r"1.momentum_buffer.*expected.*\(2,\)"),
    ({"1.momentum_buffer": ["a", "b"]}, ValueError, "1.momentum_buffer"),
    ({"2.momentum_buffer": np.zeros(2)}, ValueError, "unknown.*2.momentum_buffer"),
    ({"lr": None}, TypeError, "lr"),
])  # fmt: skip
def test_a_wrong_state_changes_nothing(change, error, words):
    pair = [parameter([1.0], [1.0]), parameter([1.0, 2.0], [1.0, 1.0])]
    optimizer = SGD(pair, lr=1, momentum=0.5)
    optimizer.step()
    before = optimizer.state_dict()
    wrong = {name: np.asarray(value) + 0.25 for name, value in before.items()} | change
    with pytest.raises(error, match=words):
        optimizer.load_state_dict(wrong)
    unchanged = optimizer.state_dict()
    assert all(np.array_equal(unchanged[name], value) for name, value in before.items())


def test_a_state_that_lacks_something():
    optimizer = SGD([parameter([1.0])], lr=1)
    state = optimizer.state_dict()
    del state["0.momentum_buffer"]
    with pytest.raises(ValueError, match="missing.*0.momentum_buffer"):
        optimizer.load_state_dict(state)


# --- refusals -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("settings", "error", "words"), [
    ({"lr": 0}, ValueError, "lr: expected a number above 0, got 0"),
    ({"lr": -0.1}, ValueError, "lr"),
    ({"lr": float("nan")}, ValueError, "lr"),
    ({"lr": float("inf")}, ValueError, "lr"),
    ({"lr": "0.1"}, TypeError, "lr"),
    ({"lr": True}, TypeError, "lr"),
    ({"lr": [0.1]}, TypeError, "lr"),
    ({"lr": 1, "momentum": 1}, ValueError, "momentum: expected a number 0 or more and below 1"),
    ({"lr": 1, "momentum": -0.1}, ValueError, "momentum"),
    ({"lr": 1, "momentum": float("nan")}, ValueError, "momentum"),
    ({"lr": 1, "weight_decay": -1}, ValueError, "weight_decay"),
    ({"lr": 1, "weight_decay": 1j}, TypeError, "weight_decay"),
])  # fmt: skip
def test_refused_settings(settings, error, words):
    with pytest.raises(error, match=words):
        SGD([parameter([1.0])], **settings)


def test_refused_parameters():
    one = parameter([1.0])
    with pytest.raises(ValueError, match="at least one"):
        SGD([], lr=1)
    with pytest.raises(ValueError, match="each once"):
        SGD([one, one], lr=1)
    with pytest.raises(TypeError, match="parameters: expected objects with data and grad, got ndarray"):
        SGD([np.ones(3)], lr=1)
    with pytest.raises(TypeError, match="parameters"):
        SGD(one, lr=1)


@pytest.mark.parametrize(("grad", "error", "words"), [
    (None, RuntimeError, "parameter 1 has no gradient: call backward"),
    (np.ones(3), ValueError, r"the gradient of parameter 1: expected shape \(2,\), got \(3,\)"),
    (np.ones(()), ValueError, "parameter 1"),
    (np.ones(2, complex), TypeError, "the gradient of parameter 1"),
])  # fmt: skip
def test_a_missing_gradient_moves_nothing(grad, error, words):
    pair = [parameter([1.0], [1.0]), parameter([1.0, 2.0])]
    optimizer = SGD(pair, lr=1, momentum=0.5)
    pair[1].grad = grad
    with pytest.raises(error, match=words):
        optimizer.step()
    assert pair[0].data.tolist() == [1]
    assert optimizer.state_dict()["0.momentum_buffer"].tolist() == [0]
