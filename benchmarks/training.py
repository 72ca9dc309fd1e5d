"""A step of training of a small network that reads digits, with convlib and with PyTorch.

Convolution 1 -> 8, maximum of 2 x 2, ReLU; convolution 8 -> 16, maximum, ReLU; 784 numbers -> 10; softmax and
cross entropy; all gradients; all weights moved. Beside the convolutions, the steps of the one network are plain
NumPy, those of the other PyTorch's own.

This module is also a program, `python -m benchmarks.training THREADS SETTINGS`: NumPy's products of matrices can be
told their number of threads only before they are loaded.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np

from benchmarks import machine, measure
from benchmarks.peers import Convlib, PyTorch
from benchmarks.shapes import SEED

ROOT = Path(__file__).parents[1]
BATCH, RATE = 64, 0.01
SIZES = {"w1": (8, 1, 3, 3), "b1": (8,), "w2": (16, 8, 3, 3), "b2": (16,), "w3": (10, 784), "b3": (10,)}
QUARTERS = [(..., slice(u, None, 2), slice(v, None, 2)) for u in (0, 1) for v in (0, 1)]


def start():
    """Return images, labels and weights, the same on every run."""
    random = np.random.default_rng(SEED)
    images = random.standard_normal((BATCH, 1, 28, 28), dtype=np.float32)
    weights = {name: 0.1 * random.standard_normal(size, dtype=np.float32) for name, size in SIZES.items()}
    return images, random.integers(0, 10, BATCH), weights


def largest(images):
    """The maximum of each square of 2 x 2, or 0 if that is larger."""
    return np.maximum(np.maximum.reduce([images[each] for each in QUARTERS]), 0)


def largest_grad(images, maxima, flow):
    """The learning flow goes to the first cell that holds the maximum, unless that is 0."""
    grad, open_still = np.zeros_like(images), maxima > 0
    for each in QUARTERS:
        here = open_still & (images[each] == maxima)
        grad[each] = flow * here
        open_still &= ~here
    return grad


class Network:
    """With convlib and NumPy."""

    def __init__(self):
        self.images, self.labels, self.weights = start()

    def step(self):
        """Move all weights by one step; return the loss."""
        import convlib

        x, w = self.images, self.weights
        first = convlib.conv2d(x, w["w1"], w["b1"], 1, 1)
        first_half = largest(first)
        second = convlib.conv2d(first_half, w["w2"], w["b2"], 1, 1)
        second_half = largest(second)
        features = second_half.reshape(BATCH, -1)
        loss, flow = self.loss(features @ w["w3"].T + w["b3"])
        grads = {"w3": flow.T @ features, "b3": flow.sum(axis=0)}
        flow = largest_grad(second, second_half, (flow @ w["w3"]).reshape(second_half.shape))
        grads["w2"] = convlib.conv2d_weight_grad(first_half, w["w2"].shape, flow, 1, 1)
        grads["b2"] = convlib.conv2d_bias_grad(flow)
        flow = convlib.conv2d_input_grad(first_half.shape, w["w2"], flow, 1, 1)
        flow = largest_grad(first, first_half, flow)
        grads["w1"] = convlib.conv2d_weight_grad(x, w["w1"].shape, flow, 1, 1)
        grads["b1"] = convlib.conv2d_bias_grad(flow)
        for name, grad in grads.items():
            w[name] -= np.float32(RATE) * grad
        return loss

    def loss(self, scores):
        """Return the mean cross entropy, and what the scores are told."""
        rows = np.arange(BATCH)
        scores = scores - scores.max(axis=1, keepdims=True)
        chances = np.exp(scores)
        chances /= chances.sum(axis=1, keepdims=True)
        loss = -np.log(chances[rows, self.labels]).mean()
        chances[rows, self.labels] -= 1
        return loss, chances / BATCH


class TorchNetwork:
    """With PyTorch alone."""

    def __init__(self):
        import torch

        images, labels, weights = start()
        self.images, self.labels = torch.from_numpy(images), torch.from_numpy(labels)
        self.tensors = {name: torch.from_numpy(array).requires_grad_() for name, array in weights.items()}
        self.optimizer = torch.optim.SGD(self.tensors.values(), lr=RATE)

    @property
    def weights(self):
        return {name: tensor.detach().numpy() for name, tensor in self.tensors.items()}

    def step(self):
        from torch.nn import functional

        x, w = self.images, self.tensors
        self.optimizer.zero_grad()
        for number in ("1", "2"):
            x = functional.conv2d(x, w["w" + number], w["b" + number], padding=1)
            x = functional.relu(functional.max_pool2d(x, 2))
        loss = functional.cross_entropy(functional.linear(x.flatten(1), w["w3"], w["b3"]), self.labels)
        loss.backward()
        self.optimizer.step()
        return float(loss.detach())


def difference(steps=3):
    """Return the largest difference between the weights of both after some steps, as a part of the largest weight."""
    one, other = Network(), TorchNetwork()
    for _ in range(steps):
        one.step()
        other.step()
    return max(float(abs(array - other.weights[name]).max() / abs(array).max())
               for name, array in one.weights.items())


def rows(counts, settings):
    """Measure a step with each number of threads, in new processes; nothing where PyTorch is missing."""
    if not PyTorch.available():
        return []
    return [in_another_process(count, settings) for count in counts]


def in_another_process(count, settings):
    limits = {f"{library}_NUM_THREADS": str(count) for library in ("OPENBLAS", "OMP", "MKL", "VECLIB_MAXIMUM")}
    command = [sys.executable, "-m", "benchmarks.training", str(count), json.dumps(settings)]
    done = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True,
                          env={**os.environ, **limits})
    return json.loads(done.stdout)


def row(count, settings):
    """Check that both learn the same, then time their steps in turns."""
    Convlib.use_threads(count)
    Network().step()
    PyTorch.use_threads(count)
    apart = difference()
    if not apart <= measure.MAX_ERROR:
        raise measure.WrongResult(f"after some steps of training the weights differ by {apart:.1e}")
    result = measure.compare(Network().step, TorchNetwork().step, settings.for_threads(count))
    return {
        "threads": count, "peer": PyTorch.name, "difference": apart,
        "ratio": {"median": result.ratio, "lower": result.lower_quartile, "upper": result.upper_quartile},
        "seconds": {Convlib.name: result.ours, PyTorch.name: result.theirs},
        "rounds": result.rounds, "dropped": result.dropped, "quiet": result.quiet,
    }


def main(count, settings):
    print(json.dumps(row(int(count), measure.Settings(*json.loads(settings)))))


if __name__ == "__main__":
    machine.keep_freed_memory()
    main(*sys.argv[1:])
