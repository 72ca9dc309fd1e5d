"""Training beside PyTorch: cross entropy, Adam, dropout, and a whole model step by step."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from data.make_pytorch_training import step_losses, twin

from convlib.datasets import load_digits
from convlib.layers import Dropout
from convlib.losses import CrossEntropyLoss
from convlib.models import digit_reader
from convlib.optimizers import Adam
from convlib.training import fit, predict

STORED = json.loads((Path(__file__).parents[1] / "data" / "pytorch_training.json").read_text())
IMAGES, LABELS = load_digits().images[:, np.newaxis] / 16.0, load_digits().labels


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-14), (np.float32, 1e-6)])
@pytest.mark.parametrize("size", [1, 30, 1000])
def test_cross_entropy_and_its_flow(dtype, tolerance, size):
    random, loss = np.random.default_rng(0), CrossEntropyLoss()
    scores, target = (size * random.normal(size=(17, 10))).astype(dtype), random.integers(0, 10, 17)
    variable = torch.tensor(scores, requires_grad=True)
    value = torch.nn.functional.cross_entropy(variable, torch.from_numpy(target))
    value.backward()
    assert loss(scores, target) == pytest.approx(value.item(), rel=tolerance)
    np.testing.assert_allclose(loss.backward(), variable.grad.numpy(), rtol=0, atol=tolerance)


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-13), (np.float32, 1e-5)])
@pytest.mark.parametrize("settings", [
    {}, {"lr": 0.03, "betas": (0.8, 0.95)}, {"eps": 1e-3}, {"weight_decay": 0.1}, {"betas": (0.0, 0.0)},
])
def test_adam_moves_as_pytorch_does(dtype, tolerance, settings):
    random = np.random.default_rng(0)
    start = [random.normal(size=shape).astype(dtype) for shape in ((2, 3, 3, 3), (2,), ())]
    ours = [SimpleNamespace(data=array.copy(), grad=None) for array in start]
    theirs = [torch.nn.Parameter(torch.from_numpy(array.copy())) for array in start]
    optimizers = Adam(ours, **settings), torch.optim.Adam(theirs, **settings)
    for _ in range(50):
        for own, other in zip(ours, theirs, strict=True):
            own.grad = np.asarray(random.normal(size=own.data.shape), dtype=dtype)
            other.grad = torch.from_numpy(own.grad.copy())
        for optimizer in optimizers:
            optimizer.step()
        for own, other in zip(ours, theirs, strict=True):
            assert own.data.dtype == dtype
            np.testing.assert_allclose(own.data, other.detach().numpy(), rtol=0, atol=tolerance)


@pytest.mark.parametrize("p", [0.0, 0.25, 0.7])
def test_what_dropout_keeps_is_as_large_as_pytorchs(p):
    ones = np.ones((50, 60))
    ours, theirs = Dropout(p, rng=0)(ones), torch.nn.Dropout(p)(torch.from_numpy(ones)).numpy()
    assert np.allclose(np.unique(ours), np.unique(theirs), rtol=1e-15)


def test_the_same_model_gives_the_same_scores():
    model, other = digit_reader(dropout=0.3, dtype=np.float64, rng=4), twin(0.3, rng=4)
    other.eval()
    with torch.no_grad():
        expected = other(torch.from_numpy(IMAGES[:100])).numpy()
    np.testing.assert_allclose(predict(model, IMAGES[:100]), expected, rtol=0, atol=1e-13)


def test_the_same_training_gives_the_same_losses_step_by_step():
    steps, _ = step_losses()
    np.testing.assert_allclose(np.concatenate(steps), np.concatenate(STORED["steps"]), rtol=1e-9)
    model, loss, values = digit_reader(dropout=0, dtype=np.float64, rng=0), CrossEntropyLoss(), []

    def listed(output, target):
        values.append(loss(output, target))
        return values[-1]

    listed.backward = loss.backward
    fit(model, listed, Adam(model.parameters(), lr=0.01), IMAGES[:1157], LABELS[:1157], epochs=3, rng=0,
        progress=False)
    np.testing.assert_allclose(values, np.concatenate(steps), rtol=1e-9)
