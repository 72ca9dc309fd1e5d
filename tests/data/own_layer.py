"""A reader's own module: every function of the course, written with NumPy and nothing of convlib."""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view


def correlate2d(channel, kernel, padding=0):
    windows = sliding_window_view(np.pad(channel, padding), kernel.shape)
    return np.einsum("pquv,uv->pq", windows, kernel)


def padded(image, padding):
    return np.pad(image, [(0, 0)] * (image.ndim - 2) + [(padding, padding)] * 2)


def conv2d(image, weight, bias, padding=0):
    windows = sliding_window_view(padded(image, padding), weight.shape[2:], axis=(-2, -1))
    return np.einsum("...ipquv,oiuv->...opq", windows, weight) + bias[:, None, None]


def conv2d_input_grad(input_shape, weight, grad_output, padding=0):
    rows, columns = weight.shape[2:]
    ring = [(0, 0)] * (grad_output.ndim - 2) + [(rows - 1, rows - 1), (columns - 1, columns - 1)]
    windows = sliding_window_view(np.pad(grad_output, ring), (rows, columns), axis=(-2, -1))
    grad = np.einsum("...orsuv,oiuv->...irs", windows, weight[:, :, ::-1, ::-1])
    return grad[..., padding : padding + input_shape[-2], padding : padding + input_shape[-1]]


def conv2d_weight_grad(image, weight_shape, grad_output, padding=0):
    image, grad_output = (each.reshape(-1, *each.shape[-3:]) for each in (image, grad_output))
    windows = sliding_window_view(padded(image, padding), grad_output.shape[2:], axis=(-2, -1))
    return np.einsum("niuvpq,nopq->oiuv", windows, grad_output)


def conv2d_bias_grad(grad_output):
    return grad_output.reshape(-1, *grad_output.shape[-3:]).sum((0, 2, 3))


def relu(values):
    return np.maximum(values, 0)


def relu_grad(values, grad_output):
    return np.where(values > 0, grad_output, 0)


def windows_of(image, size):
    *front, rows, columns = image.shape
    rows, columns = rows // size, columns // size
    cut = image[..., : rows * size, : columns * size].reshape(*front, rows, size, columns, size)
    return cut.swapaxes(-3, -2).reshape(*front, rows, columns, size * size)


def max_pool2d(image, kernel_size):
    return windows_of(image, kernel_size).max(-1)


def max_pool2d_grad(image, kernel_size, grad_output):
    windows = windows_of(image, kernel_size)
    told = np.where(np.arange(kernel_size**2) == windows.argmax(-1)[..., None], grad_output[..., None], 0.0)
    *front, rows, columns, _ = windows.shape
    told = told.reshape(*front, rows, columns, kernel_size, kernel_size).swapaxes(-3, -2)
    grad = np.zeros(image.shape)
    grad[..., : rows * kernel_size, : columns * kernel_size] = told.reshape(
        *front, rows * kernel_size, columns * kernel_size)
    return grad


def linear(inputs, weight, bias):
    return inputs @ weight.T + bias


def linear_weight_grad(inputs, grad_output):
    return grad_output.T @ inputs


def linear_input_grad(weight, grad_output):
    return grad_output @ weight


def softmax(scores):
    powers = np.exp(scores - scores.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def cross_entropy(scores, labels):
    shifted = scores - scores.max(-1, keepdims=True)
    chosen = shifted[np.arange(len(labels)), labels]
    return (np.log(np.exp(shifted).sum(-1)) - chosen).mean()


def cross_entropy_grad(scores, labels):
    return (softmax(scores) - np.eye(scores.shape[1])[labels]) / len(labels)


def sgd_step(parameter, gradient, learning_rate):
    return parameter - learning_rate * gradient
