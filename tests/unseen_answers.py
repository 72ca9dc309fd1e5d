"""Sixty wrong answers, written without a look at the catalogue or the diagnosis; what a sentence must say of each.

They are as readers write: loops, slices, einsum, a sign, a size. `ANSWERS` holds the function that was asked for, the
wrong one, and a pattern; a sentence points to the cause if it matches the pattern. `test_unseen_answers.py` counts.
"""

import numpy as np


def padded(image, by):
    return np.pad(image, [(0, 0)] * (image.ndim - 2) + [(by, by)] * 2)


ANSWERS = []


def wrong(problem, pattern):
    """Add a function to the list."""
    def add(function):
        ANSWERS.append((problem, function, pattern))
        return function
    return add


# --- one channel, one kernel ----------------------------------------------------------------------------------


@wrong("correlate2d", r"left and right|mirror|column|flip|turned|opposite")
def mirrored_kernel(channel, kernel, padding=0):
    x = padded(channel, padding)
    h, w = kernel.shape
    return np.array([[(x[p:p + h, q:q + w] * kernel[:, ::-1]).sum() for q in range(x.shape[1] - w + 1)]
                     for p in range(x.shape[0] - h + 1)])


@wrong("correlate2d", r"last row|one row|row.*missing|too few rows|shape|size")
def a_row_too_few(channel, kernel, padding=0):
    x = padded(channel, padding)
    h, w = kernel.shape
    return np.array([[(x[p:p + h, q:q + w] * kernel).sum() for q in range(x.shape[1] - w + 1)]
                     for p in range(x.shape[0] - h)])


@wrong("correlate2d", r"middle|centre|weight|misses|lack|missing")
def centre_forgotten(channel, kernel, padding=0):
    x = padded(channel, padding)
    h, w = kernel.shape
    out = np.zeros((x.shape[0] - h + 1, x.shape[1] - w + 1))
    for p, q in np.ndindex(*out.shape):
        for u, v in np.ndindex(h, w):
            if (u, v) != (h // 2, w // 2):
                out[p, q] += x[p + u, q + v] * kernel[u, v]
    return out


@wrong("correlate2d", r"mean|average|divid|times as|factor|9|too small|ratio")
def mean_of_products(channel, kernel, padding=0):
    x = padded(channel, padding)
    h, w = kernel.shape
    return np.array([[(x[p:p + h, q:q + w] * kernel).mean() for q in range(x.shape[1] - w + 1)]
                     for p in range(x.shape[0] - h + 1)])


@wrong("correlate2d", r"edge|border|outside|zeros|repeat|padding")
def wrapped_around(channel, kernel, padding=0):
    x = np.pad(channel, padding, mode="wrap")
    h, w = kernel.shape
    return np.array([[(x[p:p + h, q:q + w] * kernel).sum() for q in range(x.shape[1] - w + 1)]
                     for p in range(x.shape[0] - h + 1)])


@wrong("correlate2d", r"only the (top|first)|left|padding|zeros|row|shift|column")
def padded_at_one_side(channel, kernel, padding=0):
    x = np.pad(channel, [(2 * padding, 0), (2 * padding, 0)])
    h, w = kernel.shape
    return np.array([[(x[p:p + h, q:q + w] * kernel).sum() for q in range(x.shape[1] - w + 1)]
                     for p in range(x.shape[0] - h + 1)])


@wrong("correlate2d", r"plus|sum|add|product|multipl|weights")
def sums_for_products(channel, kernel, padding=0):
    x = padded(channel, padding)
    h, w = kernel.shape
    return np.array([[(x[p:p + h, q:q + w] + kernel).sum() for q in range(x.shape[1] - w + 1)]
                     for p in range(x.shape[0] - h + 1)])


@wrong("correlate2d", r"absolute|sign|negative|below")
def without_signs(channel, kernel, padding=0):
    x = padded(channel, padding)
    h, w = kernel.shape
    return np.abs(np.array([[(x[p:p + h, q:q + w] * kernel).sum() for q in range(x.shape[1] - w + 1)]
                            for p in range(x.shape[0] - h + 1)]))


# --- the layer ------------------------------------------------------------------------------------------------


def windows(image, weight, padding):
    return np.lib.stride_tricks.sliding_window_view(padded(image, padding), weight.shape[2:], axis=(1, 2))


@wrong("conv2d", r"bias.*(times|factor|twice|half|2)|twice.*bias|(twice|double)")
def bias_twice(image, weight, bias, padding=0):
    out = np.einsum("ipquv,oiuv->opq", windows(image, weight, padding), weight) + bias[:, None, None]
    return out + bias[:, None, None]


@wrong("conv2d", r"bias.*(sign|subtract|minus)|(sign|subtract|minus).*bias")
def bias_subtracted(image, weight, bias, padding=0):
    return np.einsum("ipquv,oiuv->opq", windows(image, weight, padding), weight) - bias[:, None, None]


@wrong("conv2d", r"channel|bias")
def first_bias_for_all(image, weight, bias, padding=0):
    return np.einsum("ipquv,oiuv->opq", windows(image, weight, padding), weight) + bias[0]


@wrong("conv2d", r"channel")
def first_input_channel_only(image, weight, bias, padding=0):
    out = np.zeros((len(weight), *windows(image, weight, padding).shape[1:3]))
    for o in range(len(weight)):
        out[o] = np.einsum("pquv,uv->pq", windows(image, weight, padding)[0], weight[o, 0]) + bias[o]
    return out


@wrong("conv2d", r"first (output|kernel|filter)|kernel.*(same|all|output)|channel")
def one_filter_for_all(image, weight, bias, padding=0):
    out = np.einsum("ipquv,iuv->pq", windows(image, weight, padding), weight[0])
    return out + bias[:, None, None]


@wrong("conv2d", r"negative|below 0|below zero|ReLU|0 (instead|where)|clipped|cut")
def with_a_relu(image, weight, bias, padding=0):
    out = np.einsum("ipquv,oiuv->opq", windows(image, weight, padding), weight) + bias[:, None, None]
    return np.maximum(out, 0)


@wrong("conv2d", r"stride|every (other|second)|shape|size|rows")
def every_second_place(image, weight, bias, padding=0):
    out = np.einsum("ipquv,oiuv->opq", windows(image, weight, padding), weight) + bias[:, None, None]
    return out[:, ::2, ::2]


@wrong("conv2d", r"axes|order|last|transpos|shape|channel")
def channels_last(image, weight, bias, padding=0):
    return np.einsum("ipquv,oiuv->pqo", windows(image, weight, padding), weight) + bias


@wrong("conv2d", r"channel|every kernel|kernels|weights")
def sum_of_channels_first(image, weight, bias, padding=0):
    grey = image.sum(axis=0, keepdims=True).repeat(len(image), axis=0)
    return np.einsum("ipquv,oiuv->opq", windows(grey, weight, padding), weight) + bias[:, None, None]


@wrong("conv2d", r"whole|round|integer|decimals|int")
def in_whole_numbers(image, weight, bias, padding=0):
    out = np.einsum("ipquv,oiuv->opq", windows(image, weight, padding), weight / 2) * 2
    return (out / 4).astype(int) * 4 + bias[:, None, None]


@wrong("conv2d", r"row.*column|column.*row|transpos|swapped|shape")
def output_transposed(image, weight, bias, padding=0):
    out = np.einsum("ipquv,oiuv->opq", windows(image, weight, padding), weight) + bias[:, None, None]
    return out.swapaxes(1, 2)


@wrong("conv2d", r"padding|zeros|outside|shape|size|rows")
def padding_forgotten(image, weight, bias, padding=0):
    return np.einsum("ipquv,oiuv->opq", windows(image, weight, 0), weight) + bias[:, None, None]


@wrong("conv2d", r"last column|column|lack|missing")
def loop_over_columns_too_short(image, weight, bias, padding=0):
    view = windows(image, weight, padding)
    out = np.zeros((len(weight), *view.shape[1:3]))
    for o, p, q in np.ndindex(*out.shape):
        for v in range(weight.shape[3] - 1):
            out[o, p, q] += (view[:, p, q, :, v] * weight[o, :, :, v]).sum()
        out[o, p, q] += bias[o]
    return out


# --- the learning flow ----------------------------------------------------------------------------------------


def scattered(input_shape, weight, grad_output, padding):
    """The right flow, by spreading; also with the edges that padding added."""
    h, w = weight.shape[2:]
    wide = np.zeros((input_shape[0], input_shape[1] + 2 * padding, input_shape[2] + 2 * padding))
    for p, q in np.ndindex(*grad_output.shape[1:]):
        wide[:, p:p + h, q:q + w] += np.einsum("o,oiuv->iuv", grad_output[:, p, q], weight)
    return wide


@wrong("conv2d_input_grad", r"shape|size|padding|rows|crop|cut")
def edges_kept(input_shape, weight, grad_output, padding=0):
    return scattered(input_shape, weight, grad_output, padding)


@wrong("conv2d_input_grad", r"shift|start|one (row|place|too)|row|too far|padding")
def cut_from_the_corner(input_shape, weight, grad_output, padding=0):
    return scattered(input_shape, weight, grad_output, padding)[:, :input_shape[1], :input_shape[2]]


@wrong("conv2d_input_grad", r"channel|output")
def last_output_channel_only(input_shape, weight, grad_output, padding=0):
    wide = scattered(input_shape, weight[-1:], grad_output[-1:], padding)
    return wide[:, padding:padding + input_shape[1], padding:padding + input_shape[2]]


@wrong("conv2d_input_grad", r"overwr|assign|instead of add|only the last|replaces")
def spread_without_adding(input_shape, weight, grad_output, padding=0):
    h, w = weight.shape[2:]
    wide = np.zeros((input_shape[0], input_shape[1] + 2 * padding, input_shape[2] + 2 * padding))
    for p, q in np.ndindex(*grad_output.shape[1:]):
        wide[:, p:p + h, q:q + w] = np.einsum("o,oiuv->iuv", grad_output[:, p, q], weight)
    return wide[:, padding:padding + input_shape[1], padding:padding + input_shape[2]]


@wrong("conv2d_input_grad", r"sign|minus|negative|-1")
def flow_with_minus(input_shape, weight, grad_output, padding=0):
    wide = scattered(input_shape, weight, -grad_output, padding)
    return wide[:, padding:padding + input_shape[1], padding:padding + input_shape[2]]


@wrong("conv2d_input_grad", r"mean|average|divid|factor|half|times")
def mean_over_outputs(input_shape, weight, grad_output, padding=0):
    wide = scattered(input_shape, weight, grad_output, padding) / len(weight)
    return wide[:, padding:padding + input_shape[1], padding:padding + input_shape[2]]


@wrong("conv2d_input_grad", r"column|mirror|flip|turn|opposite|left")
def turned_in_rows_only(input_shape, weight, grad_output, padding=0):
    wide = scattered(input_shape, weight[..., ::-1], grad_output, padding)
    return wide[:, padding:padding + input_shape[1], padding:padding + input_shape[2]]


@wrong("conv2d_input_grad", r"channel")
def input_channels_backwards(input_shape, weight, grad_output, padding=0):
    wide = scattered(input_shape, weight, grad_output, padding)[::-1]
    return wide[:, padding:padding + input_shape[1], padding:padding + input_shape[2]]


@wrong("conv2d_input_grad", r"last row|row|lack|missing")
def last_row_of_the_flow_unused(input_shape, weight, grad_output, padding=0):
    flow = grad_output.copy()
    flow[:, -1] = 0
    wide = scattered(input_shape, weight, flow, padding)
    return wide[:, padding:padding + input_shape[1], padding:padding + input_shape[2]]


# --- the gradient of the weights ------------------------------------------------------------------------------


def gathered(image, weight_shape, grad_output, padding):
    """The right gradient."""
    x = padded(image, padding)
    rows, columns = grad_output.shape[1:]
    grad = np.zeros(weight_shape)
    for u, v in np.ndindex(*weight_shape[2:]):
        grad[:, :, u, v] = np.einsum("opq,ipq->oi", grad_output, x[:, u:u + rows, v:v + columns])
    return grad


@wrong("conv2d_weight_grad", r"channel|swap")
def channels_swapped_in_the_gradient(image, weight_shape, grad_output, padding=0):
    right = gathered(image, weight_shape, grad_output, padding)
    return right.transpose(1, 0, 2, 3)[:weight_shape[0], :weight_shape[1]]


@wrong("conv2d_weight_grad", r"column|mirror|flip|turn|opposite")
def gradient_mirrored(image, weight_shape, grad_output, padding=0):
    return gathered(image, weight_shape, grad_output, padding)[..., ::-1]


@wrong("conv2d_weight_grad", r"mean|average|divid|factor|number of|times")
def mean_over_places(image, weight_shape, grad_output, padding=0):
    return gathered(image, weight_shape, grad_output, padding) / grad_output[0].size


@wrong("conv2d_weight_grad", r"same|channel|sum")
def one_gradient_for_all_inputs(image, weight_shape, grad_output, padding=0):
    right = gathered(image, weight_shape, grad_output, padding)
    return np.broadcast_to(right.sum(axis=1, keepdims=True), weight_shape).copy()


@wrong("conv2d_weight_grad", r"row|shift|start|too far|place|window")
def one_row_too_low(image, weight_shape, grad_output, padding=0):
    x = np.pad(image, [(0, 0), (padding, padding + 1), (padding, padding)])[:, 1:]
    rows, columns = grad_output.shape[1:]
    grad = np.zeros(weight_shape)
    for u, v in np.ndindex(*weight_shape[2:]):
        grad[:, :, u, v] = np.einsum("opq,ipq->oi", grad_output, x[:, u:u + rows, v:v + columns])
    return grad


@wrong("conv2d_weight_grad", r"corner|first|only|lack|missing|place")
def one_place_only(image, weight_shape, grad_output, padding=0):
    x = padded(image, padding)
    grad = np.zeros(weight_shape)
    for o, i, u, v in np.ndindex(*weight_shape):
        grad[o, i, u, v] = grad_output[o, 0, 0] * x[i, u, v]
    return grad


@wrong("conv2d_weight_grad", r"flow|turn|opposite|backward|mirror|pair")
def flow_turned(image, weight_shape, grad_output, padding=0):
    return gathered(image, weight_shape, grad_output[:, ::-1, ::-1], padding)


@wrong("conv2d_weight_grad", r"square|twice|grad_output|flow")
def flow_squared(image, weight_shape, grad_output, padding=0):
    return gathered(image, weight_shape, grad_output * np.abs(grad_output), padding)


# --- the biases -----------------------------------------------------------------------------------------------


@wrong("conv2d_bias_grad", r"mean|average|divid|factor|number of|times")
def bias_mean(grad_output):
    return grad_output.mean(axis=(1, 2))


@wrong("conv2d_bias_grad", r"axis|axes|channel|shape")
def bias_over_channels(grad_output):
    return grad_output.sum(axis=0)


@wrong("conv2d_bias_grad", r"square")
def bias_of_squares(grad_output):
    return (grad_output**2).sum(axis=(1, 2))


@wrong("conv2d_bias_grad", r"first|edge|row|column|lack|missing|border")
def without_the_border(grad_output):
    return grad_output[:, 1:, 1:].sum(axis=(1, 2))


@wrong("conv2d_bias_grad", r"all|total|one number|same|channel|shape")
def total_of_everything(grad_output):
    return np.full(len(grad_output), grad_output.sum())


# --- around the layer -----------------------------------------------------------------------------------------


@wrong("relu", r"absolute|negative|below|sign")
def relu_as_absolute(values):
    return np.abs(values)


@wrong("relu", r"1|above|larger|sign|cut|yes|0 or")
def relu_as_step(values):
    return (values > 0).astype(float)


@wrong("relu", r"negative|below|sign|wrong (side|way)|above|positive")
def relu_upside_down(values):
    return np.minimum(values, 0)


@wrong("relu_grad", r"flow|grad_output|chain|multipl")
def relu_slope_only(values, grad_output):
    return (values > 0) * 1.0


@wrong("relu_grad", r"flow|grad_output|values|input")
def relu_asks_the_flow(values, grad_output):
    return grad_output * (grad_output > 0)


@wrong("max_pool2d", r"mean|average|largest|max")
def pooled_by_mean(image, kernel_size):
    k = kernel_size
    rows, columns = image.shape[-2] // k, image.shape[-1] // k
    cut = image[..., :rows * k, :columns * k]
    return cut.reshape(*image.shape[:-2], rows, k, columns, k).mean(axis=(-3, -1))


@wrong("max_pool2d", r"0|zero|negative|below")
def pooled_from_zero(image, kernel_size):
    k = kernel_size
    rows, columns = image.shape[-2] // k, image.shape[-1] // k
    out = np.zeros((*image.shape[:-2], rows, columns))
    for a, b in np.ndindex(k, k):
        out = np.maximum(out, image[..., a:rows * k:k, b:columns * k:k])
    return out


@wrong("max_pool2d_grad", r"all|every|share|whole window|largest|max")
def flow_to_the_whole_window(image, kernel_size, grad_output):
    k = kernel_size
    grad = np.zeros(image.shape)
    rows, columns = grad_output.shape[-2:]
    grad[..., :rows * k, :columns * k] = grad_output.repeat(k, axis=-2).repeat(k, axis=-1)
    return grad


@wrong("softmax", r"1|sum|divid|normal|total")
def only_exponentials(scores):
    return np.exp(scores - scores.max(axis=-1, keepdims=True))


@wrong("softmax", r"all|whole|image|row|axis|each")
def over_the_whole_batch(scores):
    powers = np.exp(scores - scores.max())
    return powers / powers.sum()


@wrong("softmax", r"power|base")
def powers_of_two(scores):
    powers = 2.0 ** (scores - scores.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def chances(scores):
    powers = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


@wrong("cross_entropy", r"sum|divid|mean|average|number of|times|factor")
def loss_of_the_sum(scores, labels):
    return -np.log(chances(scores)[np.arange(len(labels)), labels]).sum()


@wrong("cross_entropy", r"log|base|2|factor|times")
def loss_in_bits(scores, labels):
    return -np.log2(chances(scores)[np.arange(len(labels)), labels]).mean()


@wrong("cross_entropy_grad", r"sign|minus|negative|other way")
def flow_uphill(scores, labels):
    return (np.eye(scores.shape[1])[labels] - chances(scores)) / len(labels)


@wrong("cross_entropy_grad", r"label|right class|one-hot|subtract|1")
def labels_forgotten(scores, labels):
    return chances(scores) / len(labels)


@wrong("linear", r"transpos|swap")
def weight_the_other_way(inputs, weight, bias):
    square = weight if weight.shape[0] != weight.shape[1] else weight.T
    return inputs @ square.T + bias


@wrong("linear_weight_grad", r"transpos|shape|swap|axes|order")
def gradient_lying_down(inputs, grad_output):
    return inputs.T @ grad_output


@wrong("linear_input_grad", r"mean|average|divid|batch|number of|factor|times")
def flow_per_image(weight, grad_output):
    return grad_output @ weight / len(grad_output)


@wrong("sgd_step", r"gradient|sign|direction|length|size|1")
def step_by_sign(parameter, gradient, learning_rate):
    return parameter - learning_rate * np.sign(gradient)


@wrong("sgd_step", r"decay|shrink|multipl|factor")
def step_that_shrinks(parameter, gradient, learning_rate):
    return (1 - learning_rate) * parameter - learning_rate * gradient
