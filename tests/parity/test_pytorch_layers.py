"""Layers and models with the numbers of PyTorch: outputs, gradients, ties, first numbers, states: `make parity`."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from test_layers import EVERY_LAYER, IMAGE, numbers, small_model
from test_pooling import cases

from convlib import pooling
from convlib.layers import Conv2d, Flatten, Linear, MaxPool2d, ReLU, Sequential, load, save

pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
TOLERANCE = {"f": 2e-5, "d": 1e-11}
T = torch.nn


def twin(layer):
    """The same layer in PyTorch."""
    if isinstance(layer, Sequential):
        return T.Sequential(*map(twin, layer))
    if isinstance(layer, Linear):
        return T.Linear(*layer.weight.shape[::-1], bias=layer.bias is not None)
    if isinstance(layer, MaxPool2d):
        return T.MaxPool2d(*layer._settings)
    if isinstance(layer, Conv2d):
        out, sources, *kernel = layer.weight.shape
        spread = layer._spread
        return T.Conv2d(sources * spread["groups"], out, kernel, bias=layer.bias is not None, **spread)
    return {ReLU: T.ReLU, Flatten: T.Flatten}[type(layer)]()


def as_twins(layer, dtype):
    """The same layer in PyTorch, with the same numbers."""
    other = twin(layer).to(torch.float32 if dtype == "f" else torch.float64)
    other.load_state_dict({name: torch.tensor(array) for name, array in layer.state_dict().items()})
    return other


def assert_same(layer, other, x, dtype):
    """Outputs and all gradients, after two backward passes without zero_grad between them."""
    given = torch.tensor(x, requires_grad=True)
    output, theirs = layer(x), other(given)
    for seed in (2, 3):
        flow = numbers(output.shape, seed, dtype)
        grad_input = layer.backward(flow)
        given.grad = None
        theirs.backward(torch.tensor(flow), retain_graph=True)
    pairs = [(output, theirs), (grad_input, given.grad)]
    pairs += [(mine.grad, its.grad) for mine, its in zip(layer.parameters(), other.parameters(), strict=True)]
    for mine, its in pairs:
        its = its.detach().numpy()
        assert mine.shape == its.shape and mine.dtype == its.dtype == dtype
        np.testing.assert_allclose(mine, its, rtol=0, atol=TOLERANCE[dtype] * max(1, abs(its).max(initial=0)))


LAYERS = {  # without padding on one side only, which PyTorch does not know
    **{name: made for name, made in EVERY_LAYER.items() if name not in ("Conv2d", "Flatten")},
    "Conv2d": (lambda **more: Conv2d(4, 6, (3, 2), (2, 1), (1, 2), (1, 3), 2, **{"rng": 0} | more), (4, 8, 9)),
    "MaxPool2d with a stride": (lambda: MaxPool2d(3, (1, 2), 1), (2, 6, 5)),
}


@pytest.mark.parametrize("dtype", ["f", "d"])
@pytest.mark.parametrize("batch", [(), (3,), (1,)], ids=["one", "batch", "batch of one"])
@pytest.mark.parametrize(("make", "size"), LAYERS.values(), ids=LAYERS)
def test_every_layer(make, size, batch, dtype):
    layer = make(dtype=dtype) if "weight" in vars(make()) else make()
    assert_same(layer, as_twins(layer, dtype), numbers(batch + size, dtype=dtype), dtype)


@pytest.mark.parametrize("dtype", ["f", "d"])
def test_flatten_of_a_batch(dtype):
    assert_same(Flatten(), T.Flatten(), numbers((3, 2, 4, 5), dtype=dtype), dtype)


@pytest.mark.parametrize("dtype", ["f", "d"])
@pytest.mark.parametrize("seed", range(5))
def test_a_whole_model_with_the_same_names(seed, dtype):
    model = small_model(seed, dtype)
    other = as_twins(model, dtype)
    assert list(model.state_dict()) == list(other.state_dict())
    assert [name for name, _ in model.named_parameters()] == [name for name, _ in other.named_parameters()]
    assert_same(model, other, numbers((4, *IMAGE), seed, dtype), dtype)


def test_a_state_of_pytorchs_goes_straight_in_and_back_through_a_file(tmp_path):
    model, other = small_model(0, "f"), twin(small_model())
    model.load_state_dict(other.state_dict())
    x = numbers((2, *IMAGE), dtype="f")
    np.testing.assert_allclose(model(x), other(torch.tensor(x)).detach().numpy(), atol=1e-6)
    save(tmp_path / "state.npz", model.state_dict())
    again = twin(small_model())
    again.load_state_dict({name: torch.from_numpy(array) for name, array in load(tmp_path / "state.npz").items()})
    assert torch.equal(again(torch.tensor(x)), other(torch.tensor(x)))


@settings(max_examples=300)
@given(cases())
def test_ties_nan_and_windows_that_stick_out(case):
    input, options, random = case
    if 0 in input.shape:
        return
    output, indices = pooling.max_pool2d(input, *options, return_indices=True)
    theirs, winners = T.functional.max_pool2d(torch.tensor(input), *options, return_indices=True)
    np.testing.assert_array_equal(output, theirs.numpy())
    np.testing.assert_array_equal(indices, winners.numpy())
    if input.dtype.kind == "f":
        given = torch.tensor(input, requires_grad=True)
        flow = random.integers(-9, 10, size=output.shape).astype(input.dtype)
        T.functional.max_pool2d(given, *options).backward(torch.tensor(flow))
        np.testing.assert_array_equal(pooling.max_pool2d_input_grad(input.shape, indices, flow), given.grad.numpy())


def test_the_corner_of_a_relu_and_nan():
    x = np.array([np.nan, -1, -0.0, 0, 1, np.inf, -np.inf])
    flow = np.array([2, np.inf, 3, np.nan, 5, 7, -np.inf])
    given, gate = torch.tensor(x, requires_grad=True), ReLU()
    theirs = torch.relu(given)
    theirs.backward(torch.tensor(flow))
    np.testing.assert_array_equal(gate(x), theirs.detach().numpy())
    np.testing.assert_array_equal(gate.backward(flow), given.grad.numpy())


FIRST = {
    "Conv2d": (lambda **more: Conv2d(6, 40, (3, 5), groups=2, **more), lambda: T.Conv2d(6, 40, (3, 5), groups=2), 45),
    "Linear": (lambda **more: Linear(30, 200, **more), lambda: T.Linear(30, 200), 30),
}


@pytest.mark.parametrize(("make", "theirs", "fan_in"), FIRST.values(), ids=FIRST)
def test_first_numbers_have_the_same_distribution(make, theirs, fan_in):
    """Both are uniform in the same bounds: the largest gap between two empirical distributions is small."""
    torch.manual_seed(0)
    for name in ("weight", "bias"):
        mine = np.concatenate([getattr(make(rng=seed), name).data.ravel() for seed in range(20)])
        its = np.concatenate([getattr(theirs(), name).detach().numpy().ravel() for _ in range(20)])
        assert mine.shape == its.shape
        bound = np.float32(1 / math.sqrt(fan_in))
        for numbers_of in (mine, its):
            assert abs(numbers_of).max() <= bound and abs(numbers_of).max() > 0.99 * bound
        both = np.sort(np.concatenate([mine, its]))
        gap = abs(np.searchsorted(np.sort(mine), both) - np.searchsorted(np.sort(its), both)).max() / len(mine)
        assert gap < 1.95 * math.sqrt(2 / len(mine))  # the Kolmogorov-Smirnov bound for one mistake in a thousand
