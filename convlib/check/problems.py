# Exported from chapters/ by tools/export.py: edit the chapter, not this file.
"""The problems that the exercises come back to: a right function for each, and cases to try it on.

Chapter "A catalogue of mistakes" builds this module.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from convlib import layers, losses, optimizers, reference
from convlib.datasets import house, learning_flow

__all__ = ["Problem", "SMALL_LAYERS", "PROBLEMS"]


# Chapter "A catalogue of mistakes" (chapters/mistakes.ipynb)

class Problem(NamedTuple):
    """A function to be written.

    `right` is a function that does it, `cases(random)` a list of its arguments, each a dict,
    made with a generator of random numbers; `chapter` is where it is taught. Source: chapter
    "A catalogue of mistakes".
    """

    name: str
    right: Callable
    cases: Callable
    chapter: str


# Shapes of image and weight, and the padding. Sizes that could be confused differ in at least one of them.
SMALL_LAYERS = (
    ((2, 5, 4), (2, 2, 3, 2), 0),
    ((2, 3, 5, 4), (2, 3, 2, 3), 1),
    ((1, 3, 4), (3, 1, 3, 4), 2),
    ((3, 2, 4, 5), (2, 2, 3, 3), 1),
)


def _numbers(random, *shape):
    """Small whole numbers, as floats."""
    return random.integers(-9, 10, shape).astype(float)


def _layer_cases(random):
    """The house and the small layers: all that a problem of a convolution layer may ask for."""
    picture = house()
    weight = np.array([[kernel] * 3 for kernel in picture.kernels[:2]])
    found = [(picture.image, weight, picture.biases[:2], learning_flow(), 1)]
    for image_shape, weight_shape, padding in SMALL_LAYERS:
        image, weight = _numbers(random, *image_shape), _numbers(random, *weight_shape)
        flow = _numbers(random, *reference.conv2d(image, weight, padding=padding).shape)
        found.append((image, weight, _numbers(random, len(weight)), flow, padding))
    return [
        {"image": image.astype(float), "weight": weight.astype(float), "bias": bias.astype(float),
         "grad_output": flow.astype(float), "padding": padding,
         "input_shape": image.shape, "weight_shape": weight.shape}
        for image, weight, bias, flow, padding in found
    ]


def _with(*names):
    """The cases of a layer with these arguments only."""
    return lambda random: [{name: case[name] for name in names} for case in _layer_cases(random)]


def _channel_cases(random):
    """The red channel of the house and its first kernel; then other sizes."""
    shapes = ((5, 4), (3, 2), 0), ((4, 6), (2, 3), 2), ((6, 5), (3, 3), 1), ((5, 6), (3, 3), 0)
    red, left_roof = (array[0].astype(float) for array in (house().image, house().kernels))
    return [{"channel": red, "kernel": left_roof, "padding": 1}] + [
        {"channel": _numbers(random, *channel), "kernel": _numbers(random, *kernel), "padding": padding}
        for channel, kernel, padding in shapes
    ]


def _relu_cases(random):
    """Numbers below 0, above 0, and 0 itself."""
    shapes = (6,), (3, 4), (2, 5, 4), (2, 2, 3, 4)
    values = [np.append(random.integers(-3, 4, np.prod(shape) - 1), 0).reshape(shape) for shape in shapes]
    return [{"values": each.astype(float), "grad_output": _numbers(random, *each.shape)} for each in values]


def _pooling_cases(random):
    """The house; grids that windows do not fill; windows below 0, and with several largest numbers."""
    made = (
        (house().image, 2),
        (random.integers(-9, 0, (2, 6, 4)), 2),
        (random.integers(0, 3, (1, 7, 9)), 3),
        (random.integers(-2, 3, (2, 2, 5, 8)), 2),
        (random.integers(-9, 10, (2, 6, 10)), 3),
    )
    cases = [{"image": image.astype(float), "kernel_size": size} for image, size in made]
    for case in cases:
        *front, rows, columns = case["image"].shape
        places = rows // case["kernel_size"], columns // case["kernel_size"]
        case["grad_output"] = _numbers(random, *front, *places)
    return cases


def _without_flow(cases):
    """The same cases for the way forward."""
    return lambda random: [
        {name: value for name, value in case.items() if name != "grad_output"} for case in cases(random)]


def _score_cases(random):
    """Scores and the right classes; the last scores are so large that their powers overflow."""
    cases = []
    for rows, classes, start in (4, 3, 0), (3, 5, 0), (6, 2, 0), (1, 4, 0), (3, 4, 1000):
        scores = start + random.integers(-3, 4, (rows, classes)).astype(float)
        cases.append({"scores": scores, "labels": random.integers(0, classes, rows)})
    return cases


def _softmax_cases(random):
    """Batches of scores, and the scores of one image."""
    scores = [case["scores"] for case in _score_cases(random)]
    return [{"scores": each} for each in (*scores, scores[1][0])]


def _linear_cases(random):
    """Batches of inputs, weights, biases and flows; one weight is square, one batch holds one image."""
    sizes = (4, 3, 2), (2, 5, 3), (5, 3, 3), (1, 4, 2)
    return [
        {"inputs": _numbers(random, rows, sources), "weight": _numbers(random, outputs, sources),
         "bias": _numbers(random, outputs), "grad_output": _numbers(random, rows, outputs)}
        for rows, sources, outputs in sizes
    ]


def _linear_with(*names):
    """The cases of a linear layer with these arguments only."""
    return lambda random: [{name: case[name] for name in names} for case in _linear_cases(random)]


def _step_cases(random):
    """Parameters of several shapes, their gradients, and a learning rate."""
    sizes = ((3,), 0.5), ((2, 3), 0.1), ((2, 1, 3, 2), 2.0), ((4,), 0.01)
    return [
        {"parameter": _numbers(random, *shape), "gradient": _numbers(random, *shape), "learning_rate": rate}
        for shape, rate in sizes
    ]


def _linear(weight, bias):
    """A linear layer with these numbers."""
    layer = layers.Linear(*np.shape(weight)[::-1], dtype=np.float64, rng=0)
    layer.load_state_dict({"weight": weight, "bias": bias})
    return layer


def _linear_back(weight, inputs, grad_output):
    """The learning flow at the inputs of a linear layer, and the gradient of its weights."""
    layer = _linear(weight, np.zeros(len(weight)))
    layer(inputs)
    return layer.backward(grad_output), layer.weight.grad


def _cross_entropy(scores, labels):
    """The loss of these scores, and the learning flow at them."""
    loss = losses.CrossEntropyLoss()
    return loss(np.asarray(scores, dtype=float), labels), loss.backward()


def _moved(parameter, gradient, learning_rate):
    """The parameter after one step of gradient descent."""
    moved = layers.Parameter(np.asarray(parameter, dtype=float))
    moved.tell(np.asarray(gradient))
    optimizers.SGD([moved], lr=learning_rate).step()
    return moved.data


_CONVOLUTION = (
    Problem("correlate2d", lambda channel, kernel, padding=0:
            reference.correlate2d(channel, kernel, padding),
            _channel_cases, "From grids to a layer"),
    Problem("conv2d", lambda image, weight, bias, padding=0:
            reference.conv2d(image, weight, bias, padding=padding),
            _with("image", "weight", "bias", "padding"), "From grids to a layer"),
    Problem("conv2d_input_grad", lambda input_shape, weight, grad_output, padding=0:
            reference.conv2d_input_grad(input_shape, weight, grad_output, padding=padding),
            _with("input_shape", "weight", "grad_output", "padding"), "The learning flow"),
    Problem("conv2d_weight_grad", lambda image, weight_shape, grad_output, padding=0:
            reference.conv2d_weight_grad(image, weight_shape, grad_output, padding=padding),
            _with("image", "weight_shape", "grad_output", "padding"), "The weights"),
    Problem("conv2d_bias_grad", lambda grad_output: reference.conv2d_bias_grad(grad_output),
            _with("grad_output"), "The biases and the update"),
)
_AROUND = (
    Problem("relu", lambda values: reference.relu(values),
            _without_flow(_relu_cases), "Layers and models"),
    Problem("relu_grad", lambda values, grad_output: reference.relu_input_grad(values, grad_output),
            _relu_cases, "Layers and models"),
    Problem("max_pool2d", lambda image, kernel_size: reference.max_pool2d(image, kernel_size),
            _without_flow(_pooling_cases), "Layers and models"),
    Problem("max_pool2d_grad", lambda image, kernel_size, grad_output:
            reference.max_pool2d_input_grad(image, grad_output, kernel_size),
            _pooling_cases, "Layers and models"),
    Problem("linear", lambda inputs, weight, bias: _linear(weight, bias)(inputs),
            _linear_with("inputs", "weight", "bias"), "Layers and models"),
    Problem("linear_weight_grad", lambda inputs, grad_output:
            _linear_back(np.zeros((grad_output.shape[1], inputs.shape[1])), inputs, grad_output)[1],
            _linear_with("inputs", "grad_output"), "Layers and models"),
    Problem("linear_input_grad", lambda weight, grad_output:
            _linear_back(weight, np.zeros((len(grad_output), weight.shape[1])), grad_output)[0],
            _linear_with("weight", "grad_output"), "Layers and models"),
)


_LEARNING = (
    Problem("softmax", lambda scores: losses.softmax(np.asarray(scores, dtype=float)),
            _softmax_cases, "A first deep model on real digits"),
    Problem("cross_entropy", lambda scores, labels: _cross_entropy(scores, labels)[0],
            _score_cases, "A first deep model on real digits"),
    Problem("cross_entropy_grad", lambda scores, labels: _cross_entropy(scores, labels)[1],
            _score_cases, "A first deep model on real digits"),
    Problem("sgd_step", _moved, _step_cases, "The biases and the update"),
)
PROBLEMS = {problem.name: problem for problem in (*_CONVOLUTION, *_AROUND, *_LEARNING)}
