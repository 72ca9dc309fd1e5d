"""Numbers that remember, and the sentences that follow from what a function read."""

import builtins
import contextlib
import functools
import io
import re
import types
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import convlib
from convlib import reference
from convlib.check.diagnosis import diagnose
from convlib.check.tracing import CannotTrace, Entry, Meter, Sum, measure, terms_of, trace, value_of
from convlib.datasets import house


def numbers(*shape, seed=0):
    """Whole numbers without any symmetry, as floats; none of them is zero."""
    random = np.random.default_rng([seed, *shape])
    return random.integers(1, 10, shape) * random.choice([-1.0, 1.0], shape)


# --- the problems, and many ways to be right --------------------------------------------------------------------


def pooled(values, kernel_size):
    """The largest number of each window."""
    channels, rows, columns = values.shape
    windows = values.reshape(channels, rows // kernel_size, kernel_size, columns // kernel_size, kernel_size)
    return windows.max(axis=(2, 4))


def pooled_back(values, kernel_size, grad_output):
    """The flow of each window, at its largest number."""
    flow = np.zeros(values.shape)
    for c, p, q in np.ndindex(grad_output.shape):
        top, left = p * kernel_size, q * kernel_size
        window = values[c, top : top + kernel_size, left : left + kernel_size]
        u, v = np.unravel_index(window.argmax(), window.shape)
        flow[c, top + u, left + v] += grad_output[c, p, q]
    return flow


def shares(scores):
    """The softmax of each row."""
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def surprise(scores, labels):
    """The cross entropy."""
    return -np.log(shares(scores)[np.arange(len(labels)), labels]).mean()


def surprise_back(scores, labels):
    """Its gradient."""
    return (shares(scores) - np.eye(scores.shape[1])[labels]) / len(labels)


SCORES = {"scores": np.random.default_rng(1).normal(size=(4, 3)), "labels": np.array([0, 2, 1, 1])}
VALUES = np.random.default_rng(2).permutation(48).reshape(2, 4, 6).astype(float)
SIGNS = {"values": np.array([[3.0, 0, -2, 5], [-7, 0, 4, -1]]), "grad_output": numbers(2, 4)}
PROBLEMS = {
    "conv2d": (
        lambda image, weight, bias, padding: reference.conv2d(image, weight, bias, padding=padding),
        [
            {"image": numbers(3, 5, 6), "weight": numbers(2, 3, 3, 3), "bias": numbers(2), "padding": 1},
            {"image": numbers(4, 4, 7), "weight": numbers(3, 4, 3, 3), "bias": numbers(3), "padding": 1},
        ],
    ),
    "batch": (
        lambda x, w, b: reference.conv2d(x, w, b, padding=1),
        [{"x": numbers(3, 4, 4, 5), "w": numbers(2, 4, 3, 3), "b": numbers(2)}],
    ),
    "correlate2d": (
        lambda channel, kernel: reference.correlate2d(channel, kernel, padding=1),
        [{"channel": numbers(5, 7), "kernel": numbers(3, 3)}],
    ),
    "neuron": (
        lambda channel, kernel, p, q: reference.neuron(channel, kernel, p, q, padding=1),
        [{"channel": numbers(6, 7), "kernel": numbers(3, 3), "p": 2, "q": 3}],
    ),
    "input_grad": (
        lambda weight, grad_output: reference.conv2d_input_grad(
            (weight.shape[1], *grad_output.shape[1:]), weight, grad_output, padding=1),
        [{"weight": numbers(2, 3, 3, 3), "grad_output": numbers(2, 4, 5)}],
    ),
    "weight_grad": (
        lambda image, grad_output: reference.conv2d_weight_grad(
            image, (len(grad_output), len(image), 3, 3), grad_output, padding=1),
        [{"image": numbers(3, 4, 5), "grad_output": numbers(2, 4, 5)}],
    ),
    "bias_grad": (
        reference.conv2d_bias_grad, [{"grad_output": numbers(3, 4, 5)}, {"grad_output": numbers(2, 3, 4, 5)}],
    ),
    "linear": (
        lambda inputs, weight, bias: inputs @ weight.T + bias,
        [{"inputs": numbers(5, 4), "weight": numbers(3, 4), "bias": numbers(3)}],
    ),
    "linear_weight_grad": (
        lambda inputs, grad_output: grad_output.T @ inputs,
        [{"inputs": numbers(5, 4), "grad_output": numbers(5, 3)}],
    ),
    "linear_input_grad": (
        lambda weight, grad_output: grad_output @ weight, [{"weight": numbers(3, 4), "grad_output": numbers(5, 3)}],
    ),
    "sgd_step": (
        lambda parameter, gradient, learning_rate: parameter - learning_rate * gradient,
        [{"parameter": numbers(2, 3, 3, 3), "gradient": numbers(2, 3, 3, 3, seed=1), "learning_rate": 0.05}],
    ),
    "relu": (lambda values: np.maximum(values, 0), [{"values": SIGNS["values"]}]),
    "relu_grad": (lambda values, grad_output: np.where(values > 0, grad_output, 0), [SIGNS]),
    "max_pool2d": (pooled, [{"values": VALUES, "kernel_size": 2}]),
    "max_pool2d_grad": (pooled_back, [{"values": VALUES, "kernel_size": 2, "grad_output": numbers(2, 2, 3)}]),
    "softmax": (shares, [{"scores": SCORES["scores"]}]),
    "cross_entropy": (surprise, [SCORES]),
    "cross_entropy_grad": (surprise_back, [SCORES]),
}


def loops(image, weight, bias, padding):
    """Seven loops."""
    channels, rows, columns = image.shape
    output = np.zeros((len(weight), rows, columns))
    for o in range(len(weight)):
        for p in range(rows):
            for q in range(columns):
                total = 0.0
                for i in range(channels):
                    for u in range(3):
                        for v in range(3):
                            r, s = p + u - padding, q + v - padding
                            if 0 <= r < rows and 0 <= s < columns:
                                total += image[i, r, s] * weight[o, i, u, v]
                output[o, p, q] = float(total) + bias[o]
    return output


def nested_lists(image, weight, bias, padding):
    """No NumPy at all."""
    def at(i, r, s):
        return image[i][r][s] if 0 <= r < len(image[i]) and 0 <= s < len(image[i][0]) else 0

    places = range(len(weight)), range(len(image[0])), range(len(image[0][0]))
    return [[[sum(at(i, p + u - padding, q + v - padding) * weight[o][i][u][v]
                  for i in range(len(image)) for u in range(3) for v in range(3)) + bias[o]
              for q in places[2]] for p in places[1]] for o in places[0]]


def by_shifts(image, weight, bias, padding):
    """Loops over the weights, NumPy over the places."""
    rows, columns = image.shape[1:]
    padded = np.pad(image.astype(np.float64), [(0, 0), (padding, padding), (padding, padding)])
    output = np.zeros((len(weight), rows, columns), dtype=image.dtype)
    output += bias[:, np.newaxis, np.newaxis]
    for u in range(3):
        for v in range(3):
            output += np.einsum("oi,ipq->opq", weight[:, :, u, v], padded[:, u : u + rows, v : v + columns])
    return output


def by_windows(image, weight, bias, padding):
    """Windows and a tensor product, with NumPy imported inside."""
    import numpy
    from numpy.lib.stride_tricks import sliding_window_view

    padded = numpy.zeros((len(image), image.shape[1] + 2 * padding, image.shape[2] + 2 * padding), dtype=float)
    padded[:, padding:-padding, padding:-padding] = image
    windows = sliding_window_view(padded, (3, 3), axis=(1, 2))
    return numpy.tensordot(weight, windows, axes=((1, 2, 3), (0, 3, 4))) + bias.reshape(-1, 1, 1)


def by_matrix(image, weight, bias, padding):
    """The layer as a matrix product."""
    rows, columns = image.shape[1:]
    padded = np.pad(image, ((0, 0), (padding, padding), (padding, padding)), mode="constant")
    parts = np.stack([padded[:, u : u + rows, v : v + columns] for u in range(3) for v in range(3)], axis=1)
    output = weight.reshape(len(weight), -1) @ parts.reshape(-1, rows * columns)
    return output.reshape(len(weight), rows, columns) + np.broadcast_to(bias[:, None, None], (len(weight), 1, 1))


def by_the_engine(image, weight, bias, padding):
    """The compiled layer of the library."""
    return convlib.conv2d(image, weight, bias, padding=padding)


RIGHT = {
    "conv2d": [loops, nested_lists, by_shifts, by_windows, by_matrix, by_the_engine],
    "input_grad": [
        lambda weight, grad_output: reference.conv2d(
            grad_output, weight[:, :, ::-1, ::-1].transpose(1, 0, 2, 3), padding=1),
        lambda weight, grad_output: convlib.conv2d_input_grad(
            (weight.shape[1], *grad_output.shape[1:]), weight, grad_output, padding=1),
    ],
    "weight_grad": [
        lambda x, d: sum(
            np.einsum("o,iuv->oiuv", d[:, p, q], np.pad(x, [(0, 0), (1, 1), (1, 1)])[:, p : p + 3, q : q + 3])
            for p, q in np.ndindex(d.shape[1:])),
    ],
    "bias_grad": [
        lambda d: d.sum(axis=(-1, -2)) if d.ndim == 3 else d.sum(axis=(0, 2, 3)),
        lambda d: np.einsum("nopq->o", d.reshape(-1, *d.shape[-3:])),
        lambda d: d.mean(axis=(-1, -2)).reshape(-1, d.shape[-3]).sum(axis=0) * np.prod(d.shape[-2:]),
    ],
    "linear": [lambda inputs, weight, bias: np.array([weight @ each + bias for each in inputs])],
    "sgd_step": [lambda parameter, gradient, learning_rate: -(learning_rate * gradient - parameter)],
    "relu": [lambda values: values * (values > 0), lambda values: (values + abs(values)) / 2],
    "relu_grad": [lambda values, grad_output: (values > 0) * grad_output],
    "max_pool2d": [lambda values, kernel_size: np.max(
        [values[:, u::kernel_size, v::kernel_size] for u, v in np.ndindex(kernel_size, kernel_size)], axis=0)],
    "softmax": [lambda scores: np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)],
}


@pytest.mark.parametrize(("problem", "function"), [(name, each) for name in RIGHT for each in RIGHT[name]])
def test_what_is_right_is_right_however_it_is_written(problem, function):
    right, cases = PROBLEMS[problem]
    for arguments in cases:
        assert diagnose(function, right, arguments) is None


@pytest.mark.parametrize("problem", PROBLEMS)
def test_each_problem_agrees_with_itself(problem):
    right, cases = PROBLEMS[problem]
    assert all(diagnose(right, right, arguments) is None for arguments in cases)


@pytest.mark.parametrize("function", RIGHT["conv2d"])
def test_no_way_to_write_the_layer_escapes_the_tracing(function):
    for arguments in PROBLEMS["conv2d"][1]:
        traced = trace(function, arguments)
        assert traced.problem == ""
        assert np.allclose(value_of(traced.output, arguments), function(**arguments))


# --- many ways to be wrong --------------------------------------------------------------------------------------


def layer(down=0, across=0, *, first=0, last=3, begin=0, end=0, channels=slice(None), times=1, turned=False, stride=1,
          step=1, bias_times=1, inside=False, clipped=False, checked=True, add=True):
    """A layer in loops, spoilt in one way."""
    def function(image, weight, bias, padding):
        rows, columns = image.shape[1:]
        output = np.zeros((len(weight), rows, columns))
        for o, p, q in np.ndindex(len(weight), rows - end, columns):
            if p < begin:
                continue
            total = 0
            for i in range(len(image))[channels]:
                for u, v in np.ndindex(last, 3):
                    r, s = p * stride + u * step - padding + down, q * stride + v * step - padding + across
                    if clipped:
                        r, s = min(max(r, 0), rows - 1), min(max(s, 0), columns - 1)
                    if u < first or r >= rows or s >= columns or (checked and (r < 0 or s < 0)):
                        continue
                    weighed = image[i, r, s] * (weight[o, i, 2 - u, 2 - v] if turned else weight[o, i, u, v])
                    total = total + times * weighed if add else weighed
                if inside:
                    total = total + bias[o]
            output[o, p, q] = total + (0 if inside else bias_times * bias[o])
        return output

    return function


def conv(change_image=lambda image: image, change_weight=lambda weight: weight, change=lambda output: output):
    """The right layer, with something spoilt before or after."""
    return lambda image, weight, bias, padding: change(
        reference.conv2d(change_image(image), change_weight(weight), bias, padding=padding))


def padded_by(before, after, **mode):
    """A layer whose image is padded in another way."""
    return lambda image, weight, bias, padding: reference.conv2d(
        np.pad(image, [(0, 0), (before, after), (before, after)], **mode), weight, bias)


def unwritten(image, weight, bias, padding):
    """Adds to memory that nothing was written to."""
    output = np.empty((len(weight), *image.shape[1:]))
    output += reference.conv2d(image, weight, bias, padding=padding)
    return output


def last_product(image, weight, bias, padding):
    """Overwrites in the two inner loops."""
    rows, columns = image.shape[1:]
    padded = np.pad(image, [(0, 0), (1, 1), (1, 1)])
    for u, v in np.ndindex(3, 3):
        output = np.einsum("oi,ipq->opq", weight[:, :, u, v], padded[:, u : u + rows, v : v + columns])
    return output + bias[:, None, None]


def summed_first(image, weight, bias, padding):
    """Adds up the channels of the image before they meet their kernels."""
    same = np.broadcast_to(image.sum(axis=0), image.shape)
    return reference.conv2d(same, weight, bias, padding=padding)


def rolled_layer(image, weight, bias, padding):
    """Goes round the border."""
    moved = {(u, v): np.roll(image, (1 - u, 1 - v), axis=(1, 2)) for u, v in np.ndindex(3, 3)}
    output = sum(np.einsum("oi,ipq->opq", weight[:, :, u, v], part) for (u, v), part in moved.items())
    return output + bias[:, None, None]


def back(spoil=lambda weight: weight, flow=lambda flow: flow, change=lambda result: result):
    """The right input gradient, spoilt."""
    right = PROBLEMS["input_grad"][0]
    return lambda weight, grad_output: change(right(spoil(weight), flow(grad_output)))


def weighed(image=lambda image: image, flow=lambda flow: flow, change=lambda result: result):
    """The right weight gradient, spoilt."""
    right = PROBLEMS["weight_grad"][0]
    return lambda image_, grad_output: change(right(image(image_), flow(grad_output)))


def without_row(array, row):
    """Zeros in one row of every grid."""
    return np.where(np.arange(array.shape[-2])[:, None] == row, 0, array)


def one_more(image, weight, bias, padding):
    """Changes its argument."""
    image += 1
    return reference.conv2d(image, weight, bias, padding=padding)


WRONG = [
    ("conv2d", layer(down=1), "1 row too far down", "image[i, p + u, q + v - 1]"),
    ("conv2d", layer(down=-1, across=1), "1 row too far up and 1 column too far to the right"),
    ("conv2d", layer(turned=True), "Every weight meets the neuron opposite", "turned by half a turn"),
    ("conv2d", layer(first=1), "row 0 of weight are missing", "begin 1 pass too late"),
    ("conv2d", layer(last=2), "row 2 of weight are missing", "end 1 pass too early"),
    ("conv2d", layer(begin=1), "Nothing is added up in row 0 of the output", "too late"),
    ("conv2d", layer(end=1), "Nothing is added up in row", "of the output", "too early"),
    ("conv2d", layer(channels=slice(-1, None)), "Only the products with channel", "overwrites"),
    ("conv2d", layer(channels=slice(1)), "Only the products with channel 0", "first pass"),
    ("conv2d", layer(add=False), "only the last is left", "overwrites"),
    ("conv2d", layer(times=2), "counted twice"),
    ("conv2d", layer(times=-1), "subtracted where they should be added"),
    ("conv2d", layer(times=1 / 9), "divided by 9, the number of weights of a kernel"),
    ("conv2d", layer(stride=2), "From one output to the next", "moves by 2"),
    ("conv2d", layer(step=2), "From one number of weight to the next", "moves by 2"),
    ("conv2d", layer(bias_times=0), "The bias is missing"),
    ("conv2d", layer(bias_times=-1), "The bias is subtracted"),
    ("conv2d", layer(inside=True), "The bias is added", "the number of input channels"),
    ("conv2d", layer(clipped=True), "zeros", "repeats the edge"),
    ("conv2d", layer(checked=False), "zeros", "reads the other side", "should meet a zero at image[0, "),
    ("conv2d", layer(turned=True, bias_times=0), "half a turn", "The bias is missing"),
    ("conv2d", rolled_layer, "reads the other side", "np.roll"),
    ("conv2d", padded_by(1, 1, mode="edge"), "repeats the edge"),
    ("conv2d", padded_by(1, 1, mode="reflect"), "mirror image"),
    ("conv2d", padded_by(1, 1, mode="wrap"), "reads the other side"),
    ("conv2d", padded_by(0, 2), "1 row too far down and 1 column too far to the right", "padding were 0"),
    ("conv2d", padded_by(2, 0), "padding were 2"),
    ("conv2d", padded_by(0, 0), "shape", "The border is missing", "zeros"),
    ("conv2d", padded_by(2, 2), "shape", "too large"),
    ("conv2d", conv(change_weight=lambda weight: weight.swapaxes(2, 3)), "Rows and columns of the kernel are swapped"),
    ("conv2d", conv(change_weight=lambda weight: np.rot90(weight, axes=(2, 3))), "quarter of a turn"),
    ("conv2d", conv(change_weight=lambda weight: weight[:, :, ::-1]), "mirrored top to bottom"),
    ("conv2d", conv(change_weight=lambda weight: weight[:, ::-1]), "channels", "reverse order"),
    ("conv2d", conv(change_weight=lambda w: w[:, :1].repeat(w.shape[1], axis=1)), "always reads channel 0"),
    ("conv2d", conv(lambda image: image[:1].repeat(len(image), axis=0)), "always reads channel 0 of image"),
    ("conv2d", conv(lambda image: image.swapaxes(1, 2)), "shape", "Rows and columns of image are swapped"),
    ("conv2d", conv(lambda image: image[:, ::-1, ::-1]), "image is read turned by half a turn"),
    ("conv2d", conv(lambda image: image**2), "image[0, 0, 0] * image[0, 0, 0]"),
    ("conv2d", conv(lambda image: image / 255), "divided by 255"),
    ("conv2d", summed_first, "Every channel of image meets every channel of weight"),
    ("conv2d", lambda image, weight, bias, padding: reference.conv2d(
        image, np.ones(weight.shape), bias, padding=padding), "image is added up without being multiplied by weight"),
    ("conv2d", lambda image, weight, bias, padding: reference.conv2d(
        image, weight, bias[::-1], padding=padding), "bias are read in reverse order"),
    ("conv2d", conv(change=lambda output: output[::-1]), "reverse order along o"),
    ("conv2d", conv(change=lambda output: output.transpose(1, 2, 0)), "shape", "order p, q, o"),
    ("conv2d", conv(change=lambda output: output.sum(axis=0)), "also adds up axis o"),
    ("conv2d", conv(change=lambda output: output[-1]), "o = ", "the last"),
    ("conv2d", conv(change=lambda output: np.roll(output, 1, axis=1)), "shifted by 1 row down"),
    ("conv2d", conv(change=lambda output: output[:, ::-1, ::-1]), "result is turned by half a turn"),
    ("conv2d", conv(change=lambda output: output + 1), "number 1 is added to every output"),
    ("conv2d", conv(change=lambda output: output / 4), "divided by 4"),
    ("conv2d", conv(change=lambda output: output[..., None].repeat(2, axis=3)), "mean along axis 3"),
    ("conv2d", lambda image, weight, bias, padding: np.array(
        [[reference.correlate2d(channel, kernel, padding) for channel, kernel in zip(image, kernels, strict=True)]
         for kernels in weight]), "Axis 1 of your result should have been added up", "The bias is missing"),
    ("conv2d", last_product, "row 2 of weight and column 2 of weight are left", "overwrites"),
    ("conv2d", unwritten, "memory of np.empty"),
    ("conv2d", one_more, "changes its argument image"),
    ("conv2d", lambda image, weight, bias, padding: print(image), "returns nothing (None)", "printing does not"),
    ("conv2d", lambda image, weight, bias, padding: None, "returns nothing (None)"),
    ("conv2d", lambda image, weight, bias, padding: (image, weight), "a tuple of 2 values"),
    ("conv2d", lambda image, weight, bias, padding: np.sum, "returns a function"),
    ("conv2d", lambda image, weight, bias, padding: image[len(image)], "stops with IndexError"),
    ("conv2d", conv(change=lambda output: output + np.random.default_rng().normal()), "called a second time"),
    ("conv2d", conv(change=lambda output: output.astype(np.int8)), "do not fit into int8"),
    ("conv2d", conv(change=lambda output: np.maximum(output, 0)), "zeros for those below 0", "could not be traced"),
    ("batch", lambda x, w, b: np.stack([reference.conv2d(x[0], w, b, padding=1)] * len(x)), "the same for every n"),
    ("batch", lambda x, w, b: reference.conv2d(x[::-1], w, b, padding=1), "reverse order along n"),
    ("batch", lambda x, w, b: [reference.conv2d(each, w, b, padding=1) for each in x][-1], "n = 2, the last"),
    ("batch", lambda x, w, b: reference.conv2d(x, w, b, padding=1).swapaxes(0, 1), "shape", "order o, n, p, q"),
    ("batch", lambda x, w, b: convlib.conv2d(x, w, b, stride=2, padding=1), "moves by 2"),
    ("correlate2d", lambda channel, kernel: reference.correlate2d(channel, kernel.T, padding=1), "swapped"),
    ("correlate2d", lambda channel, kernel: reference.correlate2d(channel, kernel), "border is missing"),
    ("neuron", lambda channel, kernel, p, q: (channel[p : p + 3, q : q + 3] * kernel).sum(), "1 row too far down"),
    ("neuron", lambda channel, kernel, p, q: (channel[p - 1 : p + 2, q - 1 : q + 2] @ kernel).sum(), "(@)"),
    ("neuron", lambda channel, kernel, p, q: sum(channel[p - 1 : p + 2, q - 1 : q + 2] * kernel),
     "Axis 0 of your result should have been added up"),
    ("neuron", lambda channel, kernel, p, q: channel[p - 1 : p + 1, q - 1 : q + 2].ravel() @ kernel[:2].ravel(),
     "row 2 of kernel are missing"),
    ("input_grad", back(lambda weight: weight[:, :, ::-1, ::-1]), "on the way back the kernel must be turned"),
    ("input_grad", back(lambda weight: weight[:, :, :, ::-1]), "must be mirrored left to right"),
    ("input_grad", back(lambda weight: weight.swapaxes(2, 3)), "Rows and columns of the kernel are swapped"),
    ("input_grad", back(flow=lambda flow: flow[:, ::-1, ::-1]), "grad_output is read turned"),
    ("input_grad", back(flow=lambda flow: flow[::-1]), "channels of grad_output are read in reverse order"),
    ("input_grad", back(flow=lambda flow: np.roll(flow, 1, axis=1)), "grad_output is shifted", "np.roll"),
    ("input_grad", back(flow=lambda flow: without_row(flow, 0)), "row 0 of grad_output are missing", "too late"),
    ("input_grad", back(flow=np.ones_like), "weight is added up without being multiplied by grad_output"),
    ("input_grad", back(change=lambda result: result.swapaxes(1, 2)), "shape", "order i, s, r"),
    ("input_grad", back(change=lambda result: -result), "other sign"),
    ("input_grad", back(change=lambda result: result[:1].repeat(3, axis=0)), "the same for every i"),
    ("input_grad", back(change=lambda result: result[:, 1:-1, 1:-1]), "border is missing"),
    ("weight_grad", weighed(change=lambda result: result[:, :, ::-1, ::-1]), "result is turned by half a turn"),
    ("weight_grad", weighed(change=lambda result: result.swapaxes(2, 3)), "transposed"),
    ("weight_grad", weighed(change=lambda result: result.swapaxes(0, 1)), "order i, o, u, v"),
    ("weight_grad", weighed(change=lambda result: result / 20), "divided by 20, the number of places", "mean"),
    ("weight_grad", weighed(flow=lambda flow: flow[:, ::-1, ::-1]), "grad_output is turned by half a turn"),
    ("weight_grad", weighed(flow=lambda flow: without_row(flow, 3)), "row 3 of grad_output are missing", "too early"),
    ("weight_grad", weighed(flow=lambda flow: flow**2), "grad_output[0, 1, 1] * grad_output[0, 1, 1]"),
    ("weight_grad", weighed(lambda image: np.roll(image, 1, axis=2)), "image is shifted"),
    ("weight_grad", weighed(lambda image: image.sum(axis=0, keepdims=True).repeat(3, axis=0)), "Every channel"),
    ("bias_grad", lambda grad_output: grad_output.sum(axis=tuple(range(grad_output.ndim - 1))), "over the wrong axes"),
    ("bias_grad", lambda d: np.full(d.shape[-3], d.sum()), "meets every channel of grad_output"),
    ("bias_grad", lambda grad_output: grad_output.sum(), "also adds up axis o"),
    ("bias_grad", lambda grad_output: reference.conv2d_bias_grad(grad_output)[::-1], "reverse order"),
    ("bias_grad", lambda grad_output: reference.conv2d_bias_grad(grad_output) / 20, "divided by 20", "mean"),
    ("bias_grad", lambda grad_output: grad_output.reshape(-1, *grad_output.shape[-3:])[0, :, 0, 0], "only the first"),
    ("bias_grad", lambda d: np.einsum("nopp->o", d.reshape(-1, *d.shape[-3:])[..., :4]), "p = q"),
    ("linear", lambda inputs, weight, bias: inputs @ weight.T, "The bias is missing"),
    ("linear", lambda inputs, weight, bias: (inputs @ weight.T + bias).T, "order o, n"),
    ("linear", lambda inputs, weight, bias: inputs[:, 1:] @ weight[:, 1:].T + bias, "0 of", "missing", "too late"),
    ("linear", lambda inputs, weight, bias: np.repeat(inputs[:1] @ weight.T + bias, 5, axis=0), "same for every n"),
    ("linear_weight_grad", lambda inputs, grad_output: inputs.T @ grad_output, "order i, o"),
    ("linear_weight_grad", lambda x, d: d.T @ x / 5, "divided by 5, the size of the batch"),
    ("linear_weight_grad", lambda inputs, grad_output: np.outer(grad_output[-1], inputs[-1]), "only the last"),
    ("linear_input_grad", lambda weight, grad_output: np.outer(grad_output[:, 0], weight[0]), "only the first"),
    ("sgd_step", lambda parameter, gradient, learning_rate: parameter + learning_rate * gradient,
     "gradient are added where they should be subtracted"),
    ("sgd_step", lambda parameter, gradient, learning_rate: parameter - gradient, "lack the factor learning_rate"),
    ("sgd_step", lambda parameter, gradient, learning_rate: -learning_rate * gradient, "parameter is nowhere"),
    ("sgd_step", lambda parameter, gradient, learning_rate: learning_rate * (parameter - gradient), "once too often"),
    ("sgd_step", lambda w, d, learning_rate: w - d / learning_rate, "divided by learning_rate"),
    ("sgd_step", lambda parameter, gradient, learning_rate: parameter - learning_rate * gradient[:, :, ::-1, ::-1],
     "gradient is read turned"),
    ("relu", abs, "wrong where values is below 0"),
    ("relu", lambda values: np.where(values > 0, 1, 0), "wrong where values is above 0"),
    ("relu", lambda values: np.minimum(values, 0), "values is"),
    ("relu_grad", lambda values, grad_output: grad_output.copy(), "nowhere", "values[0, 1] is 0"),
    ("relu_grad", lambda values, grad_output: np.where(values >= 0, grad_output, 0), "nowhere", "values[0, 1] is 0"),
    ("relu_grad", lambda x, d: np.where(x > 0, x * d, 0), "multiplied by values, too"),
    ("relu_grad", lambda values, grad_output: np.where(values > 0, 1, 0), "grad_output is nowhere in the result"),
    ("relu_grad", lambda values, grad_output: np.where(grad_output > 0, grad_output, 0), "values is", "grad_output is"),
    ("max_pool2d", lambda values, kernel_size: values.reshape(2, 2, 2, 3, 2).mean(axis=(2, 4)), "no entry of values"),
    ("max_pool2d", lambda values, kernel_size: values.reshape(2, 2, 2, 3, 2).min(axis=(2, 4)), "never larger"),
    ("max_pool2d", lambda values, kernel_size: values[:, ::2, ::2], "which is values[0, 0, 0]"),
    ("max_pool2d", lambda values, kernel_size: np.max(
        [values[:, u : u + 3, v : v + 5] for u, v in np.ndindex(2, 2)], axis=0), "moves by 1, and should move by 2"),
    ("max_pool2d_grad", lambda x, size, d: d.repeat(size, axis=1).repeat(size, axis=2), "should arrive at", "and"),
    ("max_pool2d_grad", lambda x, size, d: np.kron(d, [[1, 0], [0, 0]]), "should arrive at output", "yours arrives at"),
    ("softmax", lambda scores: shares(scores.T).T, "along axis 1", "yours do along axis 0"),
    ("softmax", lambda scores: np.exp(scores), "along axis 1; yours add up to"),
    ("softmax", lambda scores: np.exp(scores) / np.exp(scores).sum(), "only all together"),
    ("softmax", lambda scores: scores / scores.sum(axis=1, keepdims=True), "exponential"),
    ("softmax", lambda scores: 2**scores / (2**scores).sum(axis=1, keepdims=True), "powers of 2"),
    ("softmax", lambda scores: np.log(shares(scores)), "the logarithms of the right ones"),
    ("softmax", lambda scores: scores.max(axis=1), "shape"),
    ("cross_entropy", lambda scores, labels: 4 * surprise(scores, labels), "multiplied by 4", "instead of a mean"),
    ("cross_entropy", lambda scores, labels: -surprise(scores, labels), "other sign"),
    ("cross_entropy", lambda scores, labels: surprise(scores, labels) / np.log(2), "logarithm of 2"),
    ("cross_entropy", lambda scores, labels: -np.log(shares(scores)[np.arange(4), labels]), "The mean along axis 0"),
    ("cross_entropy_grad", lambda scores, labels: shares(scores) / 4, "at the places of labels only", "large by 0.25"),
    ("cross_entropy_grad", lambda scores, labels: 4 * surprise_back(scores, labels), "multiplied by 4"),
    ("cross_entropy_grad", lambda scores, labels: 4 / 3 * surprise_back(scores, labels), "divided by 3", "where 4"),
]


@pytest.mark.parametrize(("problem", "function", "words"), [(each[0], each[1], each[2:]) for each in WRONG])
def test_the_sentence_points_to_the_cause(problem, function, words):
    right, cases = PROBLEMS[problem]
    for arguments in cases:
        finding = diagnose(function, right, arguments)
        assert finding is not None
        missing = [word for word in words if word.lower() not in finding.sentence.lower()]
        assert not missing, finding.sentence
        assert finding.sentence.endswith((".", "?", ".)")) and (not finding.hint or finding.hint[-1] in ".?=")


def test_no_two_sentences_are_alike_where_the_mistakes_are_not():
    right, cases = PROBLEMS["conv2d"]
    sentences = [diagnose(function, right, cases[0]).sentence for problem, function, *_ in WRONG[:20]]
    assert len(set(sentences)) == 20


def test_an_index_that_is_right_is_not_blamed_where_little_was_read():
    right, cases = PROBLEMS["conv2d"]
    sentence = diagnose(layer(turned=True, channels=slice(1)), right, cases[0]).sentence
    assert "turned by half a turn" in sentence and "always reads" not in sentence


def test_an_unknown_mistake_gets_the_first_place_and_its_products():
    def odd(image, weight, bias, padding):
        output = reference.conv2d(image, weight, bias, padding=padding)
        output[1, 2, 3] += image[0, 0, 0] * weight[0, 1, 2, 2] - image[2, 1, 2] * weight[1, 2, 0, 0]
        return output

    right, cases = PROBLEMS["conv2d"]
    sentence = diagnose(odd, right, cases[0]).sentence
    assert "output[1, 2, 3]" in sentence
    assert "lacks image[2, 1, 2] * weight[1, 2, 0, 0]" in sentence
    assert "holds image[0, 0, 0] * weight[0, 1, 2, 2]" in sentence


def test_what_is_right_by_luck_is_said_to_be():
    image, _, kernels, _, _ = house()
    arguments = {"channel": image[0].astype(float), "kernel": kernels[0].astype(float)}
    finding = diagnose(lambda channel, kernel: reference.correlate2d(channel, kernel.T, padding=1),
                       PROBLEMS["correlate2d"][0], arguments)
    assert finding.sentence.startswith("On these numbers the result is right, but by luck only.")
    assert "swapped" in finding.sentence


def test_several_results_are_looked_at_one_by_one():
    def step(weight, bias, grad_weight, grad_bias, rate):
        return weight - rate * grad_weight, bias - rate * grad_bias

    def forgetful(weight, bias, grad_weight, grad_bias, rate):
        return weight - rate * grad_weight, bias

    arguments = {"weight": numbers(2, 3), "bias": numbers(2), "grad_weight": numbers(2, 3, seed=1),
                 "grad_bias": numbers(2, seed=1), "rate": 0.5}
    assert diagnose(step, step, arguments) is None
    sentence = diagnose(forgetful, step, arguments).sentence
    assert sentence.startswith("Result 2 of 2: ") and "grad_bias is nowhere in the result" in sentence
    assert "Expected 2 results in a tuple, got 1" in diagnose(lambda *each: each[:1], step, arguments).sentence


def test_lists_of_numbers_are_traced_too():
    def right(row, kernel):
        return [sum(row[p + u - 1] * kernel[u] for u in range(3) if 0 <= p + u - 1 < 5) for p in range(5)]

    def turned(row, kernel):
        return right(row, kernel[::-1])

    arguments = {"row": [1, 3, 2, 1, 4], "kernel": [5, 6, 7]}
    assert diagnose(right, right, arguments) is None
    finding = diagnose(turned, right, arguments)
    assert finding.how == "tracing" and "the kernel is mirrored left to right" in finding.sentence


def test_the_right_function_must_work():
    with pytest.raises(ValueError, match="right: expected to work with image.*IndexError"):
        diagnose(lambda image: image, lambda image: image[99], {"image": numbers(3, 3)})


# --- any shape --------------------------------------------------------------------------------------------------

SIZES = st.fixed_dictionaries({
    "image": st.tuples(st.integers(2, 3), st.integers(3, 5), st.integers(3, 5)),
    "kernels": st.integers(2, 3), "seed": st.integers(0, 99),
})


def drawn(sizes):
    """Arguments of a drawn size."""
    channels = sizes["image"][0]
    return {"image": numbers(*sizes["image"], seed=sizes["seed"]), "padding": 1,
            "weight": numbers(sizes["kernels"], channels, 3, 3), "bias": numbers(sizes["kernels"])}


@settings(max_examples=25, deadline=None)
@given(SIZES)
def test_for_any_size_the_trace_holds_the_values_and_right_is_right(sizes):
    arguments = drawn(sizes)
    assert np.allclose(value_of(trace(by_shifts, arguments).output, arguments), by_shifts(**arguments))
    assert diagnose(by_shifts, PROBLEMS["conv2d"][0], arguments) is None


@settings(max_examples=25, deadline=None)
@given(SIZES, st.sampled_from([
    (layer(turned=True), "turned by half a turn"), (layer(down=1), "1 row too far down"),
    (layer(bias_times=0), "bias is missing"), (layer(last=2), "row 2 of weight are missing"),
    (conv(change_weight=lambda weight: weight.swapaxes(2, 3)), "Rows and columns of the kernel are swapped"),
]))
def test_for_any_size_the_cause_is_found(sizes, mistake):
    function, words = mistake
    assert words in diagnose(function, PROBLEMS["conv2d"][0], drawn(sizes)).sentence


# --- numbers that remember --------------------------------------------------------------------------------------


def number(name, *place):
    """One entry that remembers itself."""
    return Sum({(Entry(name, place),): 1}, Meter())


def test_sums_and_products_remember():
    x, w = number("image", 0, 2), number("weight", 1)
    assert terms_of(x * w + w * x) == {(Entry("image", (0, 2)), Entry("weight", (1,))): 2}
    assert terms_of((x + 1) * (x - 1)) == {(Entry("image", (0, 2)),) * 2: 1, (): -1}
    assert terms_of(sum([x, -x, 0.5])) == {(): 0.5} and terms_of(x / 4 - x * 0.25) == {}
    assert terms_of(np.float64(3) * x) == terms_of(3 * x) == {(Entry("image", (0, 2)),): 3}
    assert terms_of("3") is None and terms_of(0) == {} and str(x**2) == "image[0, 2] * image[0, 2]"


@pytest.mark.parametrize("ask", [
    lambda x: x > 0, lambda x: x == x, lambda x: max(x, 0), bool, abs, int, float, round, lambda x: 1 / x,
    lambda x: x / x,
    lambda x: x // 2, lambda x: x % 2, lambda x: [1, 2][x], lambda x: np.maximum(np.array([x]), 0), lambda x: 2**x,
    lambda x: np.array([x, x]).argmax(),
])
def test_what_a_sum_of_products_cannot_tell_is_refused(ask):
    with pytest.raises(CannotTrace, match="it asks a number .*, and a sum of products cannot tell"):
        ask(number("image", 0))


@pytest.mark.parametrize("function", [
    lambda image: np.maximum(image, 0), lambda image: image / image.sum(), lambda image: np.exp(image),
    lambda image: sorted(image.ravel()), lambda image: {"image": image},
    lambda image: np.where(image > 0, image, 0), lambda image: [image, image[:1]], lambda image: image.argmax(),
])
def test_what_cannot_be_traced_says_why(function):
    traced = trace(function, {"image": numbers(3, 4)})
    assert traced.output is None and traced.problem


def test_a_function_that_compares_falls_back_to_the_numbers():
    right, cases = PROBLEMS["conv2d"]
    finding = diagnose(conv(change=lambda output: np.where(output > 0, -output, -output)), right, cases[0])
    assert finding.how == "numbers" and finding.drawing is None
    assert "the other sign" in finding.sentence
    assert "(Said from the numbers alone: your function could not be traced, since it asks" in finding.sentence


def test_too_much_work_is_given_up():
    arguments = PROBLEMS["conv2d"][1][0]
    assert "too many products" in trace(loops, arguments, limit=500).problem
    assert trace(loops, arguments).problem == ""


def by_a_class(inputs, weight, bias):
    """A linear layer of the library, whose arrays have no room for numbers that remember."""
    layer = convlib.layers.Linear(*weight.shape[::-1], dtype=np.float64, rng=0)
    layer.load_state_dict({"weight": weight, "bias": bias})
    return layer(inputs)


def test_what_cannot_be_traced_is_asked_with_zeros_and_ones():
    right, [arguments] = PROBLEMS["linear"]
    assert trace(by_a_class, arguments).problem
    asked, traced = measure(by_a_class, arguments).output, trace(right, arguments).output
    assert all(terms_of(one) == terms_of(other) for one, other in zip(asked.flat, traced.flat, strict=True))
    finding = diagnose(lambda inputs, weight, bias: by_a_class(inputs, weight, 0 * bias), by_a_class, arguments)
    assert finding.how == "tracing" and "The bias is missing" in finding.sentence
    assert diagnose(right, by_a_class, arguments) is None is diagnose(by_a_class, right, arguments)


def test_asking_is_given_up_where_it_takes_too_long_or_fails():
    arguments = PROBLEMS["linear"][1][0]
    assert "too often" in measure(by_a_class, arguments, limit=20).problem
    assert "stops with ZeroDivisionError" in measure(lambda inputs: 1 // int(inputs[0]), {"inputs": np.ones(2)}).problem
    assert "no number" in measure(lambda inputs: inputs / inputs, {"inputs": np.ones(2)}).problem


def test_what_was_asked_is_believed_only_if_the_values_agree():
    arguments = {"values": np.array([3.0, -2, 5])}
    finding = diagnose(lambda values: np.maximum(values, 0), lambda values: values, arguments)
    assert finding.how == "numbers" and "zeros for those below 0" in finding.sentence


def test_only_some_arguments_are_traced_if_others_are_compared():
    traced = trace(PROBLEMS["relu_grad"][0], SIGNS, names=["grad_output"])
    assert terms_of(traced.output[0, 0]) == {(Entry("grad_output", (0, 0)),): 1} and terms_of(traced.output[0, 1]) == {}


def test_memory_that_nothing_was_written_to_is_seen():
    def careless(image):
        output = np.empty_like(image)
        output[0] = image[0]
        return output

    traced = trace(careless, {"image": numbers(2, 2)}).output
    assert "np.empty[1, 0]" in str(traced[1, 0]) and str(traced[0, 1]) == "image[0, 1]"


# --- the reader's own things stay as they are -------------------------------------------------------------------

KEPT = {"calls": [], "table": np.zeros(3)}
COUNT = 0


def helper(image, depth=2):
    """Calls itself."""
    return helper(image, depth - 1) if depth else image.sum()


def with_globals(image):
    """Keeps things outside, calls helpers."""
    global COUNT
    COUNT += 1
    np.zeros(2)[0] = 1
    total = helper(image)
    return np.zeros(2) + total


def test_globals_arguments_and_numpy_are_left_alone():
    image = numbers(2, 3)
    arguments, before = {"image": image}, image.copy()
    names, count, zeros = dict(with_globals.__globals__), COUNT, np.zeros
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        traced = trace(with_globals, arguments)
        trace(lambda image: print(image), arguments)
    assert len(terms_of(traced.output[0])) == 6 and printed.getvalue() == ""
    assert with_globals.__globals__ == names and count == COUNT and np.zeros is zeros
    assert arguments["image"] is image and (image == before).all() and image.dtype == float
    assert builtins.float is float and helper.__globals__["np"] is np


def test_lists_and_tables_of_the_reader_are_copied():
    kept, table = [], {}

    def remembering(image):
        kept.append(image)
        table["last"] = image
        return image * len(kept)

    assert trace(remembering, {"image": numbers(2)}).problem == ""
    assert kept == [] and table == {}


def test_arguments_are_not_changed_by_a_diagnosis():
    right, cases = PROBLEMS["conv2d"]
    arguments = {name: np.copy(value) if isinstance(value, np.ndarray) else value for name, value in cases[0].items()}
    for function in (one_more, layer(turned=True)):
        diagnose(function, right, arguments)
    assert all(np.array_equal(arguments[name], cases[0][name]) for name in arguments)


class Scaled:
    """A callable in many forms; what Numba makes has a `py_func`, too."""

    def __init__(self, factor):
        self.factor = factor
        self.py_func = functools.partial(scaled, factor=factor)

    def forward(self, image):
        """A method."""
        return np.zeros(image.shape) + self.factor * image


def scaled(image, factor):
    """A function with two arguments."""
    return np.ones_like(image, dtype=float) * image * factor


COMPILED = Scaled(3)
SHELF, TABLE = types.SimpleNamespace(scaled=scaled), {"scaled": [scaled]}


@pytest.mark.parametrize("function", [
    Scaled(3).forward, functools.partial(scaled, factor=3), COMPILED, lambda image: COMPILED(image), Scaled(3).py_func,
    lambda image: SHELF.scaled(image, 3), lambda image: TABLE["scaled"][0](image, 3),
])
def test_whatever_can_be_called_can_be_traced(function):
    traced = trace(function, {"image": numbers(2)})
    assert traced.problem == "" and terms_of(traced.output[1]) == {(Entry("image", (1,)),): 3}


def test_code_without_a_module_is_traced():
    names = {"np": np}
    exec("def f(image):\n    out = np.zeros(2)\n    out[0] = image[1]\n    return out", names)
    traced = trace(names["f"], {"image": numbers(2)})
    assert str(traced.output[0]) == "image[1]"


def test_arguments_may_have_other_names():
    right, cases = PROBLEMS["correlate2d"]
    assert diagnose(lambda grid, weights: reference.correlate2d(grid, weights, 1), right, cases[0]) is None
    assert "turned" in diagnose(lambda grid, weights: reference.correlate2d(grid, weights[::-1, ::-1], 1), right,
                                cases[0]).sentence


# --- the picture ------------------------------------------------------------------------------------------------


def drawing_of(function, problem="conv2d"):
    right, cases = PROBLEMS[problem]
    return diagnose(function, right, cases[0]).drawing


def test_the_picture_says_what_was_read_and_what_should_be():
    drawing = drawing_of(layer(turned=True))
    assert drawing.alt.startswith("What output[0, 1, 1] reads of image, cell by cell. Read as it should be: 3.")
    assert "Wrongly paired: (0, 0, 0) with 2,2 for 0,0; (0, 0, 1) with 2,1 for 0,1" in drawing.alt
    missing = drawing_of(layer(last=2))
    assert "Missing: (0, 1, 0) with 2,0; (0, 1, 1) with 2,1" in missing.alt and "Wrongly" not in missing.alt
    extra = drawing_of(rolled_layer)
    assert "Too many: " in extra.alt and "Missing" not in extra.alt
    assert "Too many: (0, 0, 5) with 1,0" in extra.alt or "(0, 4, " in extra.alt
    assert "Counted otherwise: (0, 0, 0) with 2·0,0 for 0,0" in drawing_of(layer(times=2)).alt


def test_of_many_channels_those_with_mistakes_are_drawn():
    def function(image, weight, bias, padding):
        turned = weight.copy()
        turned[:, 4] = weight[:, 4, ::-1]
        return reference.conv2d(image, turned, bias, padding=padding)

    arguments = {"image": numbers(5, 4, 5), "weight": numbers(2, 5, 3, 3), "bias": numbers(2), "padding": 1}
    drawing = diagnose(function, PROBLEMS["conv2d"][0], arguments).drawing._repr_html_()
    assert drawing.count("<svg") == 4 and all(f"image[{channel}]" in drawing for channel in (0, 1, 4))


@pytest.mark.parametrize("function", [layer(turned=True), layer(last=2), rolled_layer, layer(times=2)])
def test_the_picture_is_well_formed_legible_and_the_same_every_time(function):
    html = drawing_of(function)._repr_html_()
    ElementTree.fromstring(html)
    assert html == drawing_of(function)._repr_html_()
    assert min(map(float, re.findall(r'font-size="([0-9.]+)"', html))) >= 11
    colours = set(re.findall(r'(?:fill|stroke)="([^"]+)"', html))
    assert colours <= {"none", "currentColor", *convlib.figures.COLOURS.values()}


def test_there_is_a_picture_for_the_way_back_and_none_where_nothing_is_read_in_a_grid():
    assert "reads of grad_output" in drawing_of(back(lambda weight: weight[:, :, ::-1, ::-1]), "input_grad").alt
    assert "reads of image" in drawing_of(weighed(flow=lambda flow: flow[:, ::-1, ::-1]), "weight_grad").alt
    assert drawing_of(lambda parameter, gradient, learning_rate: parameter - gradient, "sgd_step") is None


# --- no answer may stop the diagnosis ---------------------------------------------------------------------------


def both_missed(caught):
    return (1 - caught).T @ (1 - caught)


CAUGHT = np.array([[1.0, 0], [0, 0], [0, 1], [1, 0]])
NEVER = [  # a right function, an answer that once ended in an error, arguments, words of the sentence
    (both_missed, lambda caught: (1 - caught) @ (1 - caught).T, {"caught": CAUGHT}, "it should have (2, 2)"),
    (both_missed, lambda caught: caught.T @ caught, {"caught": CAUGHT},
     "To output[0, 0], the plain number 4 should be added; yours adds 0."),
    (lambda x: x + np.array([1, 1, 2]), lambda x: x + 4, {"x": numbers(3)},
     "To output[0], the plain number 1 should be added; yours adds 4."),
    (lambda x: 1 - x.sum(), lambda x: 2 - x.sum(), {"x": numbers(3)}, "the plain number 1 should be added"),
    (lambda x, step: step * x[:2].sum(), lambda x, step: step * x.sum(), {"x": numbers(3), "step": np.array(3)},
     "There are products too many"),
    (lambda x: x**2, lambda x: np.outer(x[0], x[0]), {"x": numbers(3, 3)}, "output[0, 1]"),
    (lambda x, d: (x + d) ** 2, lambda x, d: np.float64(2), {"x": numbers(3), "d": np.array(2.0)}, "shape ()"),
    (lambda x: x.T, lambda x: np.zeros((2, 0, 3)), {"x": numbers(3, 3)}, "shape (2, 0, 3)"),
    (lambda x: x.mean(), lambda x: 2 - x.mean(), {"x": numbers(3)}, "subtracted where they should be added"),
]


@pytest.mark.parametrize(("right", "function", "arguments", "words"), NEVER)
def test_no_answer_stops_the_diagnosis(right, function, arguments, words):
    assert words in diagnose(function, right, arguments).sentence


def test_an_argument_that_the_right_function_changes_too_is_not_blamed():
    def right(parameter, step):
        parameter -= step
        return parameter * step

    def twice(parameter, step):
        parameter -= step
        return 2 * parameter * step

    def wrong(parameter, step):
        parameter -= step
        step += 1
        return parameter * (step - 1)

    arguments = {"parameter": numbers(3), "step": numbers(3, seed=1)}
    assert "counted twice" in diagnose(twice, right, arguments).sentence
    assert "changes its argument step" in diagnose(wrong, right, arguments).sentence
    otherwise = diagnose(lambda parameter, step: right(2 * parameter, step), right, arguments)
    assert "changes its argument" not in otherwise.sentence


def learned(kernel, x, target, sign=-1, bias=3):
    gradient = 2 * (kernel * x + bias - target) * x
    return kernel + sign * 0.5 * gradient


def one_tap(image, weight, u=0, v=1, seen=None):
    r, s = seen or (u, v)
    rows, columns = image.shape[1] - 1, image.shape[2] - 1
    part = image[:, r : r + rows, s : s + columns].reshape(len(image), -1)
    return (weight[:, :, u, v] @ part).reshape(-1, rows, columns)


def both_passes(image, down, along):
    rows, columns = image.shape[0] - len(down) + 1, image.shape[1] - len(along) + 1
    between = sum(down[u] * image[u : u + rows] for u in range(len(down)))
    return sum(along[v] * between[:, v : v + columns] for v in range(len(along)))


TAPPED = {"image": numbers(2, 4, 5), "weight": numbers(3, 2, 2, 2)}
LEARNED = {"kernel": numbers(4), "x": numbers(4, seed=1), "target": numbers(4, seed=2)}
def test_a_mark_at_a_wrong_place_has_not_been_moved_by_a_rule():
    def marks(image, row=1, column=1):
        found = (image > 100).astype(int)  # nothing here
        found[row, column] = 1
        return found

    def many(image):
        return (image > np.median(image)).astype(int)

    image = numbers(5, 6)
    finding = diagnose(lambda image: marks(image, 3, 4), marks, {"image": image})  # the middle, turned
    assert "numbers alone" in finding.sentence and "turned" not in finding.sentence
    finding = diagnose(lambda image: many(image)[::-1, ::-1], many, {"image": image})
    assert "turned by half a turn" in finding.sentence


def blocks(flow):
    return flow.repeat(2, axis=0).repeat(2, axis=1)


def corners(flow):
    found = np.zeros((2 * flow.shape[0], 2 * flow.shape[1]), dtype=int)
    found[::2, ::2] = flow
    return found


def convolution(channel, kernel):
    return reference.correlate2d(channel, kernel[::-1, ::-1], padding=1)


def with_bias(kernel, x, bias_learns=True, bias=3):
    told = kernel * x + bias * x
    return np.array([*(told * x), told.sum() if bias_learns else bias])


WORDS = [  # a right function, an answer, arguments, what is said, what is not said, a word of the hint or nothing
    (learned, lambda kernel, x, target: learned(kernel, x, target, sign=1), LEARNED,
     "The products kernel * x * x, target * x and x have the other sign: is there a + in place of a -, or the other "
     "way round?", "Besides", ""),
    (learned, lambda kernel, x, target: learned(kernel, x, target, bias=0), LEARNED,
     "x is there only in products; x by itself, which should be added, is missing.", "nowhere", ""),
    (lambda x: x + 1, lambda x: np.zeros(3) + 1, {"x": numbers(3)}, "x is nowhere in the result.", "only", ""),
    (lambda flow: flow[1:4, 1:4] * 1, lambda flow: flow[0:-0], {"flow": numbers(5, 5)},
     "Nothing is left in it: a slice such as [a:-a] is empty where a is 0.", "loop", "slice"),
    (lambda grad_output: grad_output.sum(axis=1), lambda grad_output: (grad_output**2).sum(axis=1),
     {"grad_output": numbers(3, 4)}, "grad_output is squared, and should not be: output[0] holds", "Besides", ""),
    (lambda x: np.stack([x, x]), lambda x: x[None], {"x": numbers(3, 4)}, "the end is missing", "[0, 0, 0]", ""),
    (blocks, lambda flow: flow.repeat(2, axis=0), {"flow": numbers(3, 2)},
     "Each number of yours should stand there 2 times along axis 1.", "padding", "Print the shape"),
    (blocks, lambda flow: flow, {"flow": numbers(3, 2)}, "2 times along axis 0 and 2 times along axis 1", "missing",
     ""),
    (blocks, corners, {"flow": numbers(3, 2)},
     "flow is not added in rows 1, 3 and 5 of the output and columns 1 and 3 of the output.", "number", ""),
    (lambda values: values[2:] - values[:-2], lambda values: np.gradient(2 * values), {"values": numbers(7)},
     "It is too large: your output[1] is what belongs to output[0].", "padding", "Print the shape"),
    (lambda values: values[2:] - values[:-2], lambda values: (values[2:] - values[:-2])[1:-1], {"values": numbers(9)},
     "A part of it is missing: your output[0] is what belongs to output[1].", "padding", ""),
    (convolution, lambda channel, kernel: reference.correlate2d(channel, kernel, padding=1),
     {"channel": numbers(5, 4), "kernel": numbers(3, 3, seed=1)}, "the kernel must be turned by half a turn",
     "on the way back", ""),
    (lambda flow: flow.sum(axis=(1, 2)), lambda flow: np.repeat(flow.sum(axis=(1, 2)), 2).reshape(3, 2, 1, 1),
     {"flow": numbers(3, 4, 2)}, "each stands there 2 times: your result should not have the axes 1, 2 and 3.",
     "added up", ""),
    (with_bias, lambda kernel, x: with_bias(kernel, x, bias_learns=False),
     {"kernel": numbers(4), "x": numbers(4, seed=1)},
     "kernel * x is there only in longer products; by itself, as in output[4], it is missing.", "no product", ""),
    (with_bias, lambda kernel, x: with_bias(kernel, x, bias_learns=False),
     {"kernel": numbers(4), "x": numbers(4, seed=1)},
     "The number 3 is added to output[4]; it does not come from kernel or x.", "arguments", ""),
    (lambda x: x[1:4] * 1, lambda x: x[2:5] * 1, {"x": numbers(6)}, "1 column too far to the right", "row",
     "Put 0 for each index"),
    (lambda x: x[::-1] * 1, lambda x: x * 1, {"x": numbers(6)}, "in reverse order", "row", "first number"),
    (lambda x: x.T * 1, lambda x: x * 1, {"x": numbers(4, 4)}, "transposed", "shift", "first column"),
    (lambda x, w: (x * w).sum(), lambda x, w: 2 * (x * w).sum(), {"x": numbers(4), "w": numbers(4, seed=1)},
     "counted twice", "Besides", ""),
    (one_tap, lambda image, weight: sum(one_tap(image, weight, u, v) for u, v in np.ndindex(2, 2)), TAPPED,
     "There are products too many, those with row 1 of weight and column 0 of weight", "moves by", "loop"),
    (one_tap, lambda image, weight: one_tap(image, weight, seen=(1, 0)), TAPPED,
     "The part of image that is read lies 1 row too far down and 1 column too far to the left.", "part of weight", ""),
    (both_passes, lambda image, down, along: both_passes(image, down[::-1], along[::-1]),
     {"image": numbers(5, 5), "down": numbers(3), "along": numbers(2)}, "along are read in reverse", "np.roll", ""),
    (lambda grad_output: grad_output.repeat(2, axis=0), lambda grad_output: grad_output, {"grad_output": numbers(3)},
     "Each number of yours should stand there 2 times along axis 0.", "window", ""),
    (lambda grad_output: grad_output * 1, lambda grad_output: np.append(5, grad_output), {"grad_output": numbers(3)},
     "It is too large: your output[1] is what belongs to output[0].", "padding", ""),
    (lambda d: d.repeat(2, axis=1).repeat(2, axis=2), lambda d: d.repeat(2, axis=0).repeat(2, axis=1),
     {"d": numbers(1, 4, 2)}, "It is too large along one axis and too small along another", "padding", ""),
    (lambda values, flow: np.where(values > 0, flow, 0), lambda values, flow: values + 1,
     {"values": np.arange(1.0, 4), "flow": numbers(3)}, "it does not come from flow.", "from the arguments", ""),
]


@pytest.mark.parametrize(("right", "function", "arguments", "words", "never", "hint"), WORDS)
def test_sentences_and_hints_fit_what_is_wrong(right, function, arguments, words, never, hint):
    finding = diagnose(function, right, arguments)
    assert words in finding.sentence and never not in finding.sentence
    assert hint in finding.hint and "by hand, from" not in finding.hint
    assert hint or "one output by hand" not in finding.hint
