"""SGD and the mean of the squares beside PyTorch's: the same numbers after many steps."""

from itertools import product
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from convlib.losses import MSELoss
from convlib.optimizers import SGD

SHAPES = (2, 3, 3, 3), (2,), (4, 5)
STEPS = 50


def by_both(dtype, lr=0.05, **settings):
    """Yield the parameters of convlib and those of PyTorch, after each of 50 steps with the same gradients."""
    random = np.random.default_rng(0)
    start = [random.normal(size=shape).astype(dtype) for shape in SHAPES]
    ours = [SimpleNamespace(data=array.copy(), grad=None) for array in start]
    theirs = [torch.nn.Parameter(torch.from_numpy(array.copy())) for array in start]
    optimizers = SGD(ours, lr, **settings), torch.optim.SGD(theirs, lr, **settings)
    for _ in range(STEPS):
        for own, other in zip(ours, theirs, strict=True):
            own.grad = random.normal(size=own.data.shape).astype(dtype)
            other.grad = torch.from_numpy(own.grad.copy())
        for optimizer in optimizers:
            optimizer.step()
        yield [own.data for own in ours], [other.detach().numpy() for other in theirs]


@pytest.mark.parametrize(("momentum", "weight_decay"), list(product([0, 0.5, 0.9], [0, 0.1])))
@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-14), (np.float32, 1e-5)])
def test_sgd_moves_as_pytorch_does(dtype, tolerance, momentum, weight_decay):
    count = 0
    for ours, theirs in by_both(dtype, momentum=momentum, weight_decay=weight_decay):
        count += 1
        for own, other in zip(ours, theirs, strict=True):
            assert own.dtype == other.dtype == dtype
            assert np.abs(own - other).max() <= tolerance
    assert count == STEPS


@pytest.mark.parametrize("shape", [(1,), (7,), (2, 3), (4, 2, 7, 7)])
def test_the_mean_of_squares_and_its_flow(shape):
    random = np.random.default_rng(1)
    output, target = random.normal(size=(2, *shape))
    loss, variable = MSELoss(), torch.tensor(output, requires_grad=True)
    value = torch.nn.MSELoss()(variable, torch.from_numpy(target))
    value.backward()
    assert loss(output, target) == pytest.approx(value.item(), rel=1e-14)
    np.testing.assert_allclose(loss.backward(), variable.grad.numpy(), rtol=1e-14)
