# Exported from chapters/ by tools/export.py: edit the chapter, not this file.
"""Mistakes that people make: one wrong function for each, and who agrees with it has made it.

`known_mistake` finds the one that a function agrees with, `describe` puts it into words, and
`grade_test` says which of them a test lets through. Chapter "A catalogue of mistakes" builds
this module.
"""

import copy
import traceback
from collections.abc import Callable
from itertools import combinations
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np

from convlib.check.problems import PROBLEMS

__all__ = ["Mistake", "right", "MISTAKES", "mistakes_of", "known_mistake", "close_to", "describe", "confused", "Grade",
    "grade_test"]


# Chapter "A catalogue of mistakes" (chapters/mistakes.ipynb)

class Mistake(NamedTuple):
    """One row of the catalogue: a wrong function, and the words for it.

    `function` has the arguments of the right one; `sentence` says what it does and where
    that shows, `hint` what to look at next. Source: chapter "A catalogue of mistakes".
    """

    problem: str
    name: str
    function: Callable
    sentence: str
    hint: str


right = SimpleNamespace(**{name: problem.right for name, problem in PROBLEMS.items()})


def _turned(grids):
    """Every grid after half a turn."""
    return grids[..., ::-1, ::-1]


def _swapped(grids):
    """Every grid with rows and columns swapped."""
    return grids.swapaxes(-1, -2)


def _as_square(kernels):
    """The kernels with zeros in the columns that a loop over as many columns as rows does not reach."""
    return kernels * (np.arange(kernels.shape[-1]) < kernels.shape[-2])


def _trimmed(kernels):
    """The kernels with zeros in the last row and the last column."""
    return np.pad(kernels[..., :-1, :-1], [(0, 0)] * (kernels.ndim - 2) + [(0, 1)] * 2)


def _pad(grids, width, mode="constant"):
    """Every grid with a ring around it; two widths are those before and after."""
    return np.pad(grids, [(0, 0)] * (grids.ndim - 2) + [np.broadcast_to(width, 2)] * 2, mode)


def _fitted(grids, rows, columns):
    """Every grid cut, or filled with zeros below and on the right, to this size."""
    grids = grids[..., :rows, :columns]
    missing = [(0, rows - grids.shape[-2]), (0, columns - grids.shape[-1])]
    return np.pad(grids, [(0, 0)] * (grids.ndim - 2) + missing)


def _without_top_row(flow):
    """The flow with zeros in the top row of every grid."""
    return np.where(np.arange(flow.shape[-2])[:, np.newaxis] == 0, 0, flow)


def _only_place(flow, place):
    """The flow with zeros at all places but one."""
    kept = np.zeros_like(flow)
    kept[(..., *place)] = flow[(..., *place)]
    return kept


def _images(array):
    """How many images there are: one, where there is no axis for them."""
    return len(array) if array.ndim == 4 else 1


def _last_image(array):
    """A batch of the last image only."""
    return array[-1:] if array.ndim == 4 else array


def _first_for_all(array):
    """The first image again and again."""
    return np.broadcast_to(array[:1], array.shape) if array.ndim == 4 else array


_LOOKING = (
    ("kernel turned", lambda grid, kernel, padding: (grid, _turned(kernel), padding),
     "The kernel is turned by half a turn: its first weight meets the last neuron of the window.",
     "Which neuron of the window does the upper left weight meet? Compare the signs in front of u and v."),
    ("rows and columns swapped", lambda grid, kernel, padding: (grid, _swapped(kernel), padding),
     "Rows and columns of the kernel are swapped: the weight for the right neighbour meets the lower one.",
     "Read the two indices of the kernel aloud: which one counts rows, and which one columns?"),
    ("zeros outside missing", lambda grid, kernel, padding: (grid, kernel, 0),
     "The zeros around the grid are missing: the kernel stays inside, and the output is too small.",
     "Where may the first window begin if there is a ring of zeros? The padding is not used yet."),
    ("padding taken as 1", lambda grid, kernel, padding: (grid, kernel, 1),
     "The padding is taken as 1, whatever it is: right for the house, wrong for layers with another padding.",
     "Look for a 1 (or a 2) in your code that should be computed from the padding."),
    ("zeros on one side only", lambda grid, kernel, padding: (_pad(grid, (0, 2 * padding)), kernel, 0),
     "All zeros lie below and on the right: the window of output (0, 0) begins inside the grid.",
     "Where should the first window begin, inside the grid or outside?"),
)


_LOOKING_AT_EDGES = (
    ("edge repeated", lambda grid, kernel, padding: (_pad(grid, padding, "edge"), kernel, 0),
     "Outside the grid, the nearest neuron of the edge is repeated instead of a zero.",
     "What does your code read in row -1? Asked for an index outside, it should take nothing."),
    ("grid wraps around", lambda grid, kernel, padding: (_pad(grid, padding, "wrap"), kernel, 0),
     "Outside the grid, the neurons of the other side are read: in Python, index -1 is the last one.",
     "Ask whether row and column lie inside before you read. A negative index raises no error."),
    ("kernel taken as square", lambda grid, kernel, padding: (grid, _as_square(kernel), padding),
     "The kernel is taken as square: columns beyond the number of its rows are never used.",
     "How far does the loop over v run, and where does this limit come from?"),
    ("last row and column of the kernel forgotten",
     lambda grid, kernel, padding: (grid, _trimmed(kernel), padding),
     "The last row and the last column of the kernel are never used: a loop ends one too early.",
     "Which numbers does range(n - 1) give? Count the products of one neuron."),
    ("last row and column of the output missing",
     lambda grid, kernel, padding: (_pad(grid, padding)[..., :-1, :-1], kernel, 0),
     "The output lacks its last row and its last column: one place too few is counted along each axis.",
     "Into a row of 3, a kernel of 3 fits once. Does your count of places give this?"),
)


def _in_both(name, change, sentence, hint):
    """A mistake that can be made with one kernel, and with a layer."""
    def correlate2d(channel, kernel, padding=0):
        return right.correlate2d(*change(channel, kernel, padding))

    def conv2d(image, weight, bias, padding=0):
        image, weight, padding = change(image, weight, padding)
        return right.conv2d(image, weight, bias, padding)

    return [Mistake(each.__name__, name, each, sentence, hint) for each in (correlate2d, conv2d)]


_FORWARD = tuple(mistake for row in (*_LOOKING, *_LOOKING_AT_EDGES) for mistake in _in_both(*row))


_LAYER = tuple(Mistake("conv2d", *row) for row in (
    ("channel axes swapped", lambda image, weight, bias, padding=0:
        right.conv2d(image, weight.swapaxes(0, 1), bias, padding),
     "The two channel axes of the weights are swapped: output o finds the kernels of another output.",
     "The shape of the weights is (K, C, kh, kw). Which of your two indices counts output channels?"),
    ("last input channel only", lambda image, weight, bias, padding=0:
        right.conv2d(image[..., -1:, :, :], weight[:, -1:], bias, padding),
     "Only the last input channel arrives in the output: each channel replaces the one before.",
     "Is the grid of a channel added to the output, or does it take its place?"),
    ("first input channel only", lambda image, weight, bias, padding=0:
        right.conv2d(image[..., :1, :, :], weight[:, :1], bias, padding),
     "Only the first input channel is looked at; the others do not change the output.",
     "Which loop goes through the input channels, and does it come to its end?"),
    ("first kernel for all channels", lambda image, weight, bias, padding=0:
        right.conv2d(image, np.broadcast_to(weight[:, :1], weight.shape), bias, padding),
     "All input channels are looked at with the kernel of the first one.",
     "The kernel has two channel indices, o and i. Does your code use both?"),
    ("channels averaged", lambda image, weight, bias, padding=0:
        right.conv2d(image / weight.shape[1], weight, bias, padding),
     "The input channels are averaged instead of added up.",
     "Compare with the formula: is there anything to divide by?"),
    ("bias forgotten", lambda image, weight, bias, padding=0: right.conv2d(image, weight, 0 * bias, padding),
     "The bias is missing: all numbers of an output channel are off by the same amount.",
     "By how much is the output off, and where have you seen this number?"),
    ("bias added for each input channel", lambda image, weight, bias, padding=0:
        right.conv2d(image, weight, weight.shape[1] * bias, padding),
     "The bias is added once for each input channel; it belongs to the output channel, and is added once.",
     "Inside which loop does the bias stand?"),
    ("bias subtracted", lambda image, weight, bias, padding=0: right.conv2d(image, weight, -bias, padding),
     "The bias is subtracted instead of added.",
     "Add the bias as it is. That of the house is below 0 already."),
))


def _input_grad_with(taken):
    """The flow at the input, gathered as with another padding."""
    def input_grad(input_shape, weight, grad_output, padding=0):
        *front, rows, columns = input_shape
        larger = *front, rows + grad_output.shape[-2], columns + grad_output.shape[-1]  # no flow gets lost
        places = (larger[axis] + 2 * taken - weight.shape[axis] + 1 for axis in (-2, -1))
        flow = _fitted(grad_output, *places)
        return right.conv2d_input_grad(larger, weight, flow, taken)[..., :rows, :columns]

    return input_grad


def _ring_not_cut_off(input_shape, weight, grad_output, padding=0):
    """The flow at the padded input."""
    *front, rows, columns = input_shape
    padded = (*front, rows + 2 * padding, columns + 2 * padding)
    return right.conv2d_input_grad(padded, weight, grad_output)


_INPUT_GRAD_PLACES = tuple(Mistake("conv2d_input_grad", *row) for row in (
    ("kernel not turned", lambda input_shape, weight, grad_output, padding=0:
        right.conv2d_input_grad(input_shape, _turned(weight), grad_output, padding),
     "The kernel is not turned: flow goes to the neuron opposite the one that the output has looked at.",
     "Through which weight did output (p, q) see input (r, s)? The same weight carries the flow back."),
    ("flow turned, too", lambda input_shape, weight, grad_output, padding=0:
        right.conv2d_input_grad(input_shape, weight, _turned(grad_output), padding),
     "The grids of the flow are turned: what the last output learns arrives where the first one looked.",
     "How many things are turned in your code? Only the kernel turns."),
    ("padding taken as 1", _input_grad_with(1),
     "The padding is taken as 1, whatever it is: with another padding the flow arrives shifted.",
     "Look for a 1 (or a 2) in your code that should be computed from the padding."),
    ("padding forgotten", _input_grad_with(0),
     "The padding is forgotten: the flow arrives too far down and too far to the right.",
     "With padding 1, which inputs has output (0, 0) looked at? Your code sends its flow elsewhere."),
    ("ring not cut off", _ring_not_cut_off,
     "The result still has the ring of zeros around it: it is the flow at the padded grid, and too large.",
     "What shape must the result have? Nothing is learnt by the zeros outside."),
))


_INPUT_GRAD_TERMS = tuple(Mistake("conv2d_input_grad", *row) for row in (
    ("rows and columns swapped", lambda input_shape, weight, grad_output, padding=0:
        right.conv2d_input_grad(input_shape, _swapped(weight), grad_output, padding),
     "Rows and columns of the kernel are swapped.",
     "Read the last two indices of the weight aloud: which one counts rows, and which one columns?"),
    ("channel axes swapped", lambda input_shape, weight, grad_output, padding=0:
        right.conv2d_input_grad(input_shape, weight.swapaxes(0, 1), grad_output, padding),
     "The two channel axes of the weights are swapped: flow comes back through the wrong kernels.",
     "The shape of the weights is (K, C, kh, kw), on the way back as well. Which index counts outputs?"),
    ("kernel taken as square", lambda input_shape, weight, grad_output, padding=0:
        right.conv2d_input_grad(input_shape, _as_square(weight), grad_output, padding),
     "The kernel is taken as square: columns beyond the number of its rows are never used.",
     "How far does the loop over v run, and where does this limit come from?"),
    ("last row and column of the kernel forgotten", lambda input_shape, weight, grad_output, padding=0:
        right.conv2d_input_grad(input_shape, _trimmed(weight), grad_output, padding),
     "The last row and the last column of the kernel are never used: a loop ends one too early.",
     "Which numbers does range(n - 1) give? Count the products that reach one input."),
    ("top row of the flow forgotten", lambda input_shape, weight, grad_output, padding=0:
        right.conv2d_input_grad(input_shape, weight, _without_top_row(grad_output), padding),
     "The top row of the learning flow is left out: the inputs at the top learn too little.",
     "With which row do the outputs begin? Is row 0 asked to be above 0, or at least 0?"),
    ("last output channel only", lambda input_shape, weight, grad_output, padding=0:
        right.conv2d_input_grad(input_shape, weight[-1:], grad_output[..., -1:, :, :], padding),
     "Only the flow of the last output channel arrives: each channel replaces the one before.",
     "An input has impacts on all output channels. Is what they tell it added up?"),
    ("first image's flow for all", lambda input_shape, weight, grad_output, padding=0:
        right.conv2d_input_grad(input_shape, weight, _first_for_all(grad_output), padding),
     "Every image of the batch gets the learning flow of the first one.",
     "Where does the number of the image stand in your indices?"),
))


def _weight_grad_with(taken):
    """The gradient of the weights, with windows that lie as with another padding."""
    def weight_grad(image, weight_shape, grad_output, padding=0):
        sides = (grad_output.shape[axis] + weight_shape[axis] - 1 for axis in (-2, -1))
        return right.conv2d_weight_grad(_fitted(_pad(image, taken), *sides), weight_shape, grad_output)

    return weight_grad


_WEIGHT_GRAD_PLACES = tuple(Mistake("conv2d_weight_grad", *row) for row in (
    ("result turned", lambda image, weight_shape, grad_output, padding=0:
        _turned(right.conv2d_weight_grad(image, weight_shape, grad_output, padding)),
     "The result is turned by half a turn: each weight gets the gradient of the weight opposite.",
     "Here nothing turns. Which neuron did the upper left weight meet when output (p, q) was computed?"),
    ("flow turned", lambda image, weight_shape, grad_output, padding=0:
        right.conv2d_weight_grad(image, weight_shape, _turned(grad_output), padding),
     "The grids of the flow are turned: the first output's flow meets what the last output has seen.",
     "Here nothing turns. Which part of the image did output (0, 0) look at?"),
    ("rows and columns swapped", lambda image, weight_shape, grad_output, padding=0:
        _swapped(right.conv2d_weight_grad(image, weight_shape, grad_output, padding)),
     "Rows and columns of the result are swapped.",
     "Read the last two indices of the result aloud: which one counts rows, and which one columns?"),
    ("padding taken as 1", _weight_grad_with(1),
     "The padding is taken as 1, whatever it is: with another padding the windows lie elsewhere.",
     "Look for a 1 (or a 2) in your code that should be computed from the padding."),
    ("padding forgotten", _weight_grad_with(0),
     "The padding is forgotten: each flow meets neurons too far down and too far to the right.",
     "Where in the image does the window of output (0, 0) begin? It should begin outside."),
    ("edge repeated", lambda image, weight_shape, grad_output, padding=0:
        right.conv2d_weight_grad(_pad(image, padding, "edge"), weight_shape, grad_output),
     "Outside the image, the nearest neuron of the edge is repeated instead of a zero.",
     "Has the forward pass seen zeros outside? Then the way back must see zeros as well."),
))


_WEIGHT_GRAD_TERMS = tuple(Mistake("conv2d_weight_grad", *row) for row in (
    ("channel axes swapped", lambda image, weight_shape, grad_output, padding=0:
        right.conv2d_weight_grad(image, weight_shape, grad_output, padding).swapaxes(0, 1),
     "The two channel axes of the result are swapped.",
     "The result has the shape of the weights, (K, C, kh, kw). Which index counts output channels?"),
    ("one flow for all kernels", lambda image, weight_shape, grad_output, padding=0:
        right.conv2d_weight_grad(
            image, weight_shape, np.broadcast_to(grad_output[..., :1, :, :], grad_output.shape), padding),
     "The kernels of all output channels get the same gradient: that of the first.",
     "Which channel of the learning flow does a kernel of output channel o listen to?"),
    ("top row of the flow forgotten", lambda image, weight_shape, grad_output, padding=0:
        right.conv2d_weight_grad(image, weight_shape, _without_top_row(grad_output), padding),
     "The top row of the learning flow is left out of the sum.",
     "With which row does the loop over the outputs begin?"),
    ("last place only", lambda image, weight_shape, grad_output, padding=0:
        right.conv2d_weight_grad(image, weight_shape, _only_place(grad_output, (-1, -1)), padding),
     "Only the last output counts: each product replaces the one before.",
     "A weight has an impact on every output of its grid. Are their parts added up?"),
    ("mean instead of sum", lambda image, weight_shape, grad_output, padding=0:
        right.conv2d_weight_grad(image, weight_shape, grad_output, padding) / grad_output[..., 0, :, :].size,
     "The sum over places and images is divided by their number.",
     "If a weight reaches 49 outputs, are their parts averaged, or added up?"),
    ("last image only", lambda image, weight_shape, grad_output, padding=0:
        right.conv2d_weight_grad(_last_image(image), weight_shape, _last_image(grad_output), padding),
     "Only the last image of the batch counts: it replaces what the others have told.",
     "Is the gradient set to zero, or set anew, inside the loop over the images?"),
    ("images averaged", lambda image, weight_shape, grad_output, padding=0:
        right.conv2d_weight_grad(image, weight_shape, grad_output, padding) / _images(image),
     "The sum over the images is divided by their number. If a mean is wanted, the loss has taken it.",
     "Look for a mean, or a division by the number of images."),
))


_BIAS_GRAD = tuple(Mistake("conv2d_bias_grad", *row) for row in (
    ("wrong axis", lambda grad_output: grad_output.sum(axis=tuple(range(grad_output.ndim - 1))),
     "The sum runs over the wrong axes: there is one number for each column, not for each output channel.",
     "Which axis of the flow counts output channels? It is the one that must stay."),
    ("channels added, too", lambda grad_output: np.full(grad_output.shape[-3], grad_output.sum()),
     "The output channels are added up, too: every bias gets the same number.",
     "Each channel has a bias of its own. Which places does it have an impact on?"),
    ("channels in reverse order", lambda grad_output: right.conv2d_bias_grad(grad_output[..., ::-1, :, :]),
     "The channels come in reverse order: the first bias gets what the last one should.",
     "Compare the indices of channels on both sides."),
    ("mean instead of sum", lambda grad_output:
        right.conv2d_bias_grad(grad_output) / grad_output[..., 0, :, :].size,
     "The flow is averaged over places and images; it should be added up.",
     "A bias has an impact on every place of its grid. Does a larger grid teach it more, or the same?"),
    ("images averaged", lambda grad_output: right.conv2d_bias_grad(grad_output) / _images(grad_output),
     "The sum over the images is divided by their number. If a mean is wanted, the loss has taken it.",
     "Look for a mean, or a division by the number of images."),
    ("images kept apart", lambda grad_output: grad_output.sum(axis=(-2, -1)),
     "The images of a batch are kept apart: there is a row for each, where one for all is wanted.",
     "All images share the same biases. Which axis is still there?"),
    ("last image only", lambda grad_output: right.conv2d_bias_grad(_last_image(grad_output)),
     "Only the last image of the batch counts: it replaces what the others have told.",
     "Is the gradient set to zero, or set anew, inside the loop over the images?"),
    ("last place only", lambda grad_output: right.conv2d_bias_grad(_only_place(grad_output, (-1, -1))),
     "Only the last place of each grid counts: each number replaces the one before.",
     "Are the numbers of a grid added up, or does each take the place of the one before?"),
    ("first place only", lambda grad_output: right.conv2d_bias_grad(_only_place(grad_output, (0, 0))),
     "Only the first place of each grid counts.",
     "Does your loop come to its end? Look at how far a return or a line is indented."),
    ("top row of the flow forgotten", lambda grad_output:
        right.conv2d_bias_grad(_without_top_row(grad_output)),
     "The top row of the flow is left out of the sum.",
     "With which row does the loop begin?"),
))


_RELU = tuple(Mistake("relu", *row) for row in (
    ("nothing replaced", lambda values: values,
     "Nothing is replaced: numbers below 0 come out as they went in.",
     "What should become of -3?"),
    ("sign dropped", lambda values: abs(values),
     "Numbers below 0 lose their sign: -3 becomes 3.",
     "What should become of -3?"),
    ("wrong half kept", lambda values: -right.relu(-values),
     "The numbers below 0 are kept, and those above are replaced by 0.",
     "Try it with 3 and with -3. Which of the two must survive?"),
    ("only 0 and 1", lambda values: (values > 0) * 1.0,
     "The result says whether a number is above 0, with 1 or 0, but not which number it is.",
     "A comparison gives true or false. What is still to be done with that?"),
    ("cut at 1", lambda values: values * (values > 1),
     "Numbers up to 1 are replaced by 0; the border is 0.",
     "Which number stands in your comparison?"),
    ("leaky", lambda values: np.where(values < 0, 0.01 * values, values),
     "Numbers below 0 become small, but not 0.",
     "That is another layer, the leaky ReLU. Here, nothing gets through."),
))
_RELU_GRAD = tuple(Mistake("relu_grad", *row) for row in (
    ("flow lets through at 0", lambda values, grad_output: np.where(values >= 0, grad_output, 0),
     "The flow gets through where the input is exactly 0; by the convention of the course it stops there.",
     "What does your comparison say about 0 itself?"),
    ("flow's own sign", lambda values, grad_output: right.relu(grad_output),
     "The flow is cut where it is below 0 itself; what counts is the input.",
     "Who decided on the way forward what gets through? The same one decides on the way back."),
    ("both signs", lambda values, grad_output: right.relu_grad(values, right.relu(grad_output)),
     "The flow gets through only where input and flow are both above 0.",
     "May a learning flow be below 0? Then it must get through as well."),
    ("gate instead of flow", lambda values, grad_output: right.relu_grad(values, np.ones_like(grad_output)),
     "The result says where the flow gets through, with 1 and 0; the flow itself is missing.",
     "This is the local derivative. What is it multiplied with?"),
    ("input instead of flow", lambda values, grad_output: right.relu(values),
     "What gets through is the input, not the flow.",
     "Two arrays come in: one decides, the other one flows."),
    ("wrong half", lambda values, grad_output: np.where(values <= 0, grad_output, 0),
     "The flow gets through just where the input was replaced by 0, and nowhere else.",
     "Turn the comparison round in your mind: for which inputs does the output move?"),
    ("nothing stopped", lambda values, grad_output: grad_output,
     "The whole flow gets through.",
     "If the input is -3 and moves a little, does the output move?"),
))


def _windows(image, kernel_size):
    """All complete windows: their numbers stand on the last two axes."""
    *front, rows, columns = image.shape
    rows, columns = rows // kernel_size, columns // kernel_size
    whole = image[..., :rows * kernel_size, :columns * kernel_size]
    return whole.reshape(*front, rows, kernel_size, columns, kernel_size).swapaxes(-3, -2)


def _put_back(windows, shape):
    """An image of this shape made of windows, with zeros where no window lies."""
    *front, rows, columns, side, _ = windows.shape
    return _fitted(windows.swapaxes(-3, -2).reshape(*front, rows * side, columns * side), *shape[-2:])


_MAX_POOL = tuple(Mistake("max_pool2d", *row) for row in (
    ("mean instead of maximum", lambda image, kernel_size: _windows(image, kernel_size).mean(axis=(-2, -1)),
     "The mean of each window is handed on; the largest number is wanted.",
     "What does a max pooling layer do with the numbers that are not the largest?"),
    ("smallest instead of largest", lambda image, kernel_size: -right.max_pool2d(-image, kernel_size),
     "The smallest number of each window is handed on.",
     "Look at your comparison: when does a number replace the best one so far?"),
    ("best begins at 0", lambda image, kernel_size: right.relu(right.max_pool2d(image, kernel_size)),
     "Windows with nothing above 0 give 0: the search for the largest number begins at 0.",
     "Which number can be the best one so far before any has been read?"),
    ("largest by size", lambda image, kernel_size: right.max_pool2d(abs(image), kernel_size),
     "The sign is ignored: -9 wins against 3.",
     "Which of -9 and 3 is larger?"),
    ("stride taken as 1", lambda image, kernel_size: np.lib.stride_tricks.sliding_window_view(
        image, (kernel_size, kernel_size), axis=(-2, -1)).max(axis=(-2, -1)),
     "The windows overlap: each begins one neuron after the one before, and the output is too large.",
     "How far is it from the start of one window to the next?"),
    ("incomplete windows kept", lambda image, kernel_size: right.max_pool2d(
        np.pad(image, [(0, 0)] * (image.ndim - 2) + [(0, -side % kernel_size) for side in image.shape[-2:]],
               constant_values=-np.inf), kernel_size),
     "Windows that stick out at the end are kept: where sides do not divide evenly, the output is too large.",
     "How many complete windows of 2 fit into a row of 7?"),
    ("last row and column of the window forgotten", lambda image, kernel_size:
        _windows(image, kernel_size)[..., :-1, :-1].max(axis=(-2, -1)),
     "The last row and the last column of each window are never looked at.",
     "How many numbers of each window does your code compare?"),
    ("channels mixed", lambda image, kernel_size: right.max_pool2d(
        np.broadcast_to(image.max(axis=-3, keepdims=True), image.shape), kernel_size),
     "The largest number of all channels is handed on in each of them.",
     "Each channel is pooled by itself. Over which axes is the maximum taken?"),
))


def _to_last_winner(image, kernel_size, grad_output):
    """The flow to the last of equals: the first, if every window is turned before and after."""
    turned = _put_back(_turned(_windows(image, kernel_size)), image.shape)
    grad = right.max_pool2d_grad(turned, kernel_size, grad_output)
    return _put_back(_turned(_windows(grad, kernel_size)), image.shape)


def _shared(share):
    """The flow in shares: what each number of a window gets of it."""
    def max_pool2d_grad(image, kernel_size, grad_output):
        windows = _windows(image, kernel_size)
        return _put_back(share(windows) * grad_output[..., np.newaxis, np.newaxis], image.shape)

    return max_pool2d_grad


_MAX_POOL_GRAD = tuple(Mistake("max_pool2d_grad", *row) for row in (
    ("all ties get the flow", _shared(lambda windows: windows == windows.max(axis=(-2, -1), keepdims=True)),
     "Where several numbers of a window are the largest, each of them gets the whole flow.",
     "One output hands its flow to one input. Which of equals has won on the way forward?"),
    ("last of ties", _to_last_winner,
     "Where several numbers of a window are the largest, the flow goes to the last, not to the first.",
     "What does your comparison do with a number that is equal to the best one so far?"),
    ("flow shared equally", _shared(lambda windows: np.ones_like(windows) / windows.shape[-1] ** 2),
     "Every number of a window gets an equal share of the flow: so does the mean, not the maximum.",
     "If a number that is not the largest moves a little, does the output move?"),
    ("whole flow for all", _shared(np.ones_like),
     "Every number of a window gets the whole flow.",
     "If a number that is not the largest moves a little, does the output move?"),
    ("flow to the first place",
     _shared(lambda windows: _fitted(np.ones_like(windows[..., :1, :1]), *windows.shape[-2:])),
     "The flow always goes to the upper left number of the window, whichever is the largest.",
     "Where has the largest number stood? The way back must find this place again."),
    ("flow to the smallest", lambda image, kernel_size, grad_output:
        right.max_pool2d_grad(-image, kernel_size, grad_output),
     "The flow goes to the smallest number of the window.",
     "Which number of the window was handed on?"),
    ("gate instead of flow", lambda image, kernel_size, grad_output:
        right.max_pool2d_grad(image, kernel_size, np.ones_like(grad_output)),
     "The winners are marked by 1; the flow itself is missing.",
     "This is the local derivative. What is it multiplied with?"),
    ("largest number instead of flow", lambda image, kernel_size, grad_output:
        right.max_pool2d_grad(image, kernel_size, right.max_pool2d(image, kernel_size)),
     "The winner gets its own number back, not the flow.",
     "Two arrays come in: one decides, the other one flows."),
))


_LINEAR = tuple(Mistake("linear", *row) for row in (
    ("weight not transposed", lambda inputs, weight, bias: inputs @ weight + bias,
     "The weights are used with their axes swapped: it fits only where there are as many inputs as outputs.",
     "A row of the weights belongs to one output. Which axis must meet the inputs?"),
    ("bias forgotten", lambda inputs, weight, bias: right.linear(inputs, weight, 0 * bias),
     "The biases are missing: each output is off by the same amount for all images.",
     "By how much is the output off, and where have you seen this number?"),
    ("bias added for each input", lambda inputs, weight, bias:
        right.linear(inputs, weight, weight.shape[1] * bias),
     "The bias is added once for each input; it belongs to the output, and is added once.",
     "Inside which loop does the bias stand?"),
    ("bias subtracted", lambda inputs, weight, bias: right.linear(inputs, weight, -bias),
     "The bias is subtracted instead of added.",
     "Look at the sign in front of the bias."),
    ("last input only", lambda inputs, weight, bias: right.linear(inputs[:, -1:], weight[:, -1:], bias),
     "Only the last input arrives: each product replaces the one before.",
     "Is a product added to the output, or does it take its place?"),
    ("mean instead of sum", lambda inputs, weight, bias: right.linear(inputs / weight.shape[1], weight, bias),
     "The products are averaged instead of added up.",
     "Compare with the formula: is there anything to divide by?"),
    ("cut at 0", lambda inputs, weight, bias: right.relu(right.linear(inputs, weight, bias)),
     "Outputs below 0 are replaced by 0: that is a ReLU behind the layer, not the layer.",
     "May a score be below 0?"),
))


_LINEAR_GRADS = tuple(Mistake(*row) for row in (
    ("linear_weight_grad", "transposed", lambda inputs, grad_output:
        right.linear_weight_grad(inputs, grad_output).T,
     "The axes of the result are swapped: a row for each input, where a row for each output is wanted.",
     "The result has the shape of the weights, (outputs, inputs)."),
    ("linear_weight_grad", "images averaged", lambda inputs, grad_output:
        right.linear_weight_grad(inputs, grad_output) / len(inputs),
     "The sum over the images is divided by their number. If a mean is wanted, the loss has taken it.",
     "Look for a mean, or a division by the number of images."),
    ("linear_weight_grad", "last image only", lambda inputs, grad_output:
        right.linear_weight_grad(inputs[-1:], grad_output[-1:]),
     "Only the last image of the batch counts: it replaces what the others have told.",
     "Is the gradient set to zero, or set anew, inside the loop over the images?"),
    ("linear_weight_grad", "sums multiplied", lambda inputs, grad_output:
        np.outer(grad_output.sum(axis=0), inputs.sum(axis=0)),
     "Inputs and flows are added up first and multiplied then: the flow of one image meets other images.",
     "Which comes first, the product of an image, or the sum over the images?"),
    ("linear_input_grad", "weight transposed", lambda weight, grad_output: grad_output @ weight.T,
     "The weights are used as on the way forward: it fits only where there are as many inputs as outputs.",
     "Which axis of the weights must meet the flow of the outputs?"),
    ("linear_input_grad", "last output only", lambda weight, grad_output:
        right.linear_input_grad(weight[-1:], grad_output[:, -1:]),
     "Only the flow of the last output arrives: each output replaces the one before.",
     "An input has impacts on all outputs. Is what they tell it added up?"),
    ("linear_input_grad", "images added up", lambda weight, grad_output: np.broadcast_to(
        right.linear_input_grad(weight, grad_output).sum(axis=0), (len(grad_output), weight.shape[1])),
     "The flows of all images are added up, and each image gets the sum. Only parameters add up.",
     "Has one image an impact on the outputs of another?"),
    ("linear_input_grad", "images averaged", lambda weight, grad_output:
        right.linear_input_grad(weight, grad_output) / len(grad_output),
     "The flow is divided by the number of images. If a mean is wanted, the loss has taken it.",
     "Look for a mean, or a division by the number of images."),
))


def _powers_over_their_sum(scores):
    """The formula of softmax as it is printed, with nothing done against large scores."""
    with np.errstate(over="ignore", invalid="ignore"):
        powers = np.exp(scores)
        return powers / powers.sum(axis=-1, keepdims=True)


def _powers(scores):
    """The powers alone."""
    with np.errstate(over="ignore"):
        return np.exp(scores)


_SOFTMAX = tuple(Mistake("softmax", *row) for row in (
    ("wrong axis", lambda scores: right.softmax(scores.T).T,
     "The probabilities add up to 1 over the images, not over the classes.",
     "Which axis counts the classes? It is the last one."),
    ("whole batch at once", lambda scores: right.softmax(scores.ravel()).reshape(scores.shape),
     "All probabilities of the batch together add up to 1; each image should have its own.",
     "Over how many numbers does the sum below the fraction run?"),
    ("not shifted", _powers_over_their_sum,
     "Large scores overflow: the powers become infinite, and the result is not a number.",
     "What may be subtracted from all scores of an image without changing the result?"),
    ("powers not divided", _powers,
     "The powers are not divided by their sum: the results do not add up to 1.",
     "What do the probabilities of one image add up to?"),
    ("divided by the largest", lambda scores:
        right.softmax(scores) / right.softmax(scores).max(axis=-1, keepdims=True),
     "The powers are divided by the largest one, not by their sum: the best class always gets 1.",
     "After the shift one more step is missing. What do the results add up to?"),
    ("scores divided by their sum", lambda scores: np.divide(
        scores, scores.sum(axis=-1, keepdims=True), where=scores.sum(axis=-1, keepdims=True) != 0,
        out=np.zeros_like(scores)),
     "The scores themselves are divided by their sum: some results are below 0.",
     "What makes a score of -3 a number above 0?"),
    ("logarithm left in", lambda scores: np.log(right.softmax(scores)),
     "The results are the logarithms of the probabilities.",
     "Are your results above or below 0? One step is missing."),
    ("sign turned", lambda scores: right.softmax(-scores),
     "The largest score gets the smallest probability.",
     "Look for a minus in front of the scores."),
    ("powers of 2", lambda scores: right.softmax(np.log(2) * scores),
     "The powers are those of 2, not of e: the probabilities lie too close together.",
     "Which number is raised to the power of the score?"),
))


def _at(values, labels):
    """The number of the right class in each row."""
    return values[np.arange(len(labels)), labels]


_CROSS_ENTROPY = tuple(Mistake("cross_entropy", *row) for row in (
    ("scores instead of logarithms", lambda scores, labels: -np.mean(_at(scores, labels)),
     "The surprise is taken from the scores themselves: they have not become probabilities yet.",
     "What happens to the scores before the logarithm?"),
    ("probability instead of logarithm", lambda scores, labels: -np.mean(_at(right.softmax(scores), labels)),
     "The logarithm is missing: the loss lies between -1 and 0.",
     "How large is the surprise if a probability is nearly 0?"),
    ("minus missing", lambda scores, labels: -right.cross_entropy(scores, labels),
     "The minus is missing: the loss is below 0, and better answers make it larger.",
     "The logarithm of a probability is below 0. May a surprise be?"),
    ("sum instead of mean", lambda scores, labels: right.cross_entropy(scores, labels) * len(labels),
     "The surprises are added up; their mean is wanted.",
     "What happens to the loss if each image comes twice?"),
    ("mean over classes, too", lambda scores, labels: right.cross_entropy(scores, labels) / scores.shape[1],
     "The sum is divided by the number of all scores, not by the number of images.",
     "How many surprises does a batch have?"),
    ("first class for all", lambda scores, labels: right.cross_entropy(scores, 0 * labels),
     "The surprise at class 0 is taken for all images; the labels are not used.",
     "Where do the labels stand in your indices?"),
    ("best class for all", lambda scores, labels: right.cross_entropy(scores, scores.argmax(axis=1)),
     "The surprise at the model's own answer is taken; that at the right answer is wanted.",
     "Who says which class is the right one?"),
    ("logarithm to base 2", lambda scores, labels: right.cross_entropy(scores, labels) / np.log(2),
     "The logarithm is that to base 2: all losses are too large by the same factor.",
     "Which logarithm undoes the powers of softmax?"),
    ("softmax over the wrong axis", lambda scores, labels:
        -np.mean(np.log(_at(right.softmax(scores.T).T, labels))),
     "The probabilities add up to 1 over the images, not over the classes.",
     "Which axis counts the classes?"),
    ("not shifted", lambda scores, labels: -np.mean(np.log(_at(_powers_over_their_sum(scores), labels))),
     "Large scores overflow: the powers become infinite, and the loss is not a number.",
     "What may be subtracted from all scores of an image without changing the result?"),
))


def _less(values, *places):
    """The values, with 1 subtracted at some places."""
    values = values.copy()
    values[places] -= 1
    return values


_CROSS_ENTROPY_GRAD = tuple(Mistake("cross_entropy_grad", *row) for row in (
    ("1 not subtracted", lambda scores, labels: right.softmax(scores) / len(labels),
     "Nothing is subtracted at the right class: all scores are pushed down, the right one as well.",
     "What should the flow of an image add up to? The right class is missing in it."),
    ("not divided by the images", lambda scores, labels:
        right.cross_entropy_grad(scores, labels) * len(labels),
     "The flow is too large by the number of images: the loss is a mean.",
     "By how much does a mean move if one of its terms moves by 1?"),
    ("divided by all scores", lambda scores, labels:
        right.cross_entropy_grad(scores, labels) / scores.shape[1],
     "The flow is divided by the number of all scores, not by the number of images.",
     "How many surprises does the loss take the mean of?"),
    ("sign turned", lambda scores, labels: -right.cross_entropy_grad(scores, labels),
     "The sign is turned: a step against this flow makes the answers worse.",
     "If the score of the right class grows, does the loss grow?"),
    ("scores instead of probabilities", lambda scores, labels:
        _less(scores, np.arange(len(labels)), labels) / len(labels),
     "The 1 is subtracted from the scores; it belongs to the probabilities.",
     "Which function lies between the scores and the loss?"),
    ("right class only", lambda scores, labels: np.where(
        np.arange(scores.shape[1]) == labels[:, np.newaxis], right.cross_entropy_grad(scores, labels), 0),
     "Only the score of the right class gets a flow; the others should be pushed down.",
     "Does the probability of the right class change if the score of another one grows?"),
    ("columns instead of places", lambda scores, labels:
        _less(right.softmax(scores), slice(None), labels) / len(labels),
     "The 1 is subtracted in whole columns: the labels choose columns for all images.",
     "From how many numbers should 1 be subtracted? Each row has its own column."),
    ("softmax over the wrong axis", lambda scores, labels:
        _less(right.softmax(scores.T).T, np.arange(len(labels)), labels) / len(labels),
     "The probabilities add up to 1 over the images, not over the classes.",
     "What does the flow of one image add up to? It should be 0."),
))


_SGD_STEP = tuple(Mistake("sgd_step", *row) for row in (
    ("climbs", lambda parameter, gradient, learning_rate:
        right.sgd_step(parameter, -gradient, learning_rate),
     "The step goes up: the loss grows.",
     "The gradient points to where the loss grows. Which way do you want to go?"),
    ("learning rate forgotten", lambda parameter, gradient, learning_rate:
        right.sgd_step(parameter, gradient, 1.0),
     "The learning rate is not used: the step is as long as the gradient.",
     "What makes the step small?"),
    ("learning rate squared", lambda parameter, gradient, learning_rate:
        right.sgd_step(parameter, gradient, learning_rate**2),
     "The learning rate is multiplied twice.",
     "Follow the learning rate through your code: how often does it come in?"),
    ("divided by the learning rate", lambda parameter, gradient, learning_rate:
        right.sgd_step(parameter, gradient, 1 / learning_rate),
     "The gradient is divided by the learning rate: a smaller rate makes a longer step.",
     "Should a smaller learning rate make a longer step, or a shorter one?"),
    ("step instead of parameter", lambda parameter, gradient, learning_rate: -learning_rate * gradient,
     "The step itself is returned; the moved parameter is wanted.",
     "Where does the step begin?"),
    ("sign of the gradient only", lambda parameter, gradient, learning_rate:
        right.sgd_step(parameter, np.sign(gradient), learning_rate),
     "All numbers move by the same length: only the sign of the gradient is used.",
     "Should a steep direction get a longer step?"),
    ("step times parameter", lambda parameter, gradient, learning_rate:
        right.sgd_step(parameter, gradient * parameter, learning_rate),
     "The step is multiplied by the parameter, too: a parameter that is 0 never moves.",
     "Which two numbers does the length of the step depend on?"),
))
MISTAKES = (
    *_FORWARD, *_LAYER, *_INPUT_GRAD_PLACES, *_INPUT_GRAD_TERMS, *_WEIGHT_GRAD_PLACES, *_WEIGHT_GRAD_TERMS,
    *_BIAS_GRAD, *_RELU, *_RELU_GRAD, *_MAX_POOL, *_MAX_POOL_GRAD, *_LINEAR, *_LINEAR_GRADS, *_SOFTMAX,
    *_CROSS_ENTROPY, *_CROSS_ENTROPY_GRAD, *_SGD_STEP,
)


def mistakes_of(problem):
    """Return the catalogue's mistakes for one problem; ValueError if there is no such problem.

    Source: chapter "A catalogue of mistakes".
    """
    if problem not in PROBLEMS:
        raise ValueError(f"problem: expected one of {', '.join(PROBLEMS)}, got {problem!r}")
    return tuple(mistake for mistake in MISTAKES if mistake.problem == problem)


def _result(function, case):
    """What a function returns, as an array; None if it stops with an error or returns no numbers."""
    try:
        with np.errstate(all="ignore"):
            result = np.asarray(function(**copy.deepcopy(case)))
    except Exception:  # of any kind: the function is somebody else's
        return None
    return result if result.dtype.kind in "biuf" else None


def _agree(one, other):
    """Whether two results are the same numbers in the same shape, but for rounding."""
    return (one is not None and other is not None and one.shape == other.shape
            and np.allclose(one, other, rtol=1e-6, atol=1e-9, equal_nan=True))


def _expressed(function, problem, express):
    """The function itself; or an expression that names the problem, with the function in its place."""
    if express is None:
        return function
    names = {"np": np} | vars(right) | {problem: function}
    return lambda **arguments: eval(express, names | arguments)


def _tried(function, problem, cases, express):
    """For each case in which the function returns numbers: the case, the numbers, the right ones.

    The small cases come first: most mistakes can be ruled out by them.
    """
    mistakes_of(problem)  # refuses a problem that does not exist
    if cases is None:
        cases = PROBLEMS[problem].cases(np.random.default_rng(0))
    judge = _expressed(getattr(right, problem), problem, express)
    results = [(case, _result(function, case)) for case in cases]
    tried = [(case, result, _result(judge, case)) for case, result in results if result is not None]
    return sorted(tried, key=lambda each: each[1].size)


def _wrong(tried):
    """The cases with a wrong result."""
    return [(case, result) for case, result, expected in tried if not _agree(result, expected)]


def _does(mistake, express, case, result):
    """Whether a mistake gives this result in this case."""
    return _agree(result, _result(_expressed(mistake.function, mistake.problem, express), case))


def _named(problem, express, tried):
    """The one mistake that gives all these results; None if none or several do."""
    found = [mistake for mistake in mistakes_of(problem)
             if all(_does(mistake, express, case, result) for case, result, _ in tried)]
    return found[0] if len(found) == 1 else None


def _close(problem, express, wrong):
    """The mistakes that give one of these results at least."""
    return tuple(mistake for mistake in mistakes_of(problem)
                 if any(_does(mistake, express, case, result) for case, result in wrong))


def known_mistake(function, problem, cases=None, express=None):
    """Find the one mistake of the catalogue that a function makes.

    Parameters
    ----------
    function : callable
        Takes the arguments of the cases, by name.
    problem : str
        Which problem it should solve, a name of `PROBLEMS`.
    cases : list of dict, optional
        The arguments to try it with; by default the problem's own.
    express : str, optional
        What the function should compute, if it is not the problem itself: an expression of
        the arguments that names the problem.

    Returns
    -------
    Mistake, or None
        None if the function is right, or if none or several of the mistakes agree with it.
        Cases in which it stops with an error are left out.

    Raises
    ------
    ValueError
        If there is no such problem.

    Notes
    -----
    Source: chapter "A catalogue of mistakes".
    """
    tried = _tried(function, problem, cases, express)
    return _named(problem, express, tried) if _wrong(tried) else None


def close_to(function, problem, cases=None, express=None):
    """Return the mistakes that give a function's wrong results in some cases, perhaps not in all.

    The arguments are those of `known_mistake`. Source: chapter "A catalogue of mistakes".
    """
    return _close(problem, express, _wrong(_tried(function, problem, cases, express)))


def describe(function, problem, cases=None, express=None):
    """Say in words what the catalogue knows about a function.

    The arguments are those of `known_mistake`. Source: chapter "A catalogue of mistakes".
    """
    tried = _tried(function, problem, cases, express)
    if not tried:
        return "In no case did it return numbers."
    wrong = _wrong(tried)
    if not wrong:
        return f"Right, in all {len(tried)} cases in which it returned numbers."
    mistake = _named(problem, express, tried)
    if mistake:
        return f"{mistake.sentence} {mistake.hint}"
    names = " or ".join(f"'{each.name}'" for each in _close(problem, express, wrong))
    both = f" Some of its results are those of {names}: perhaps there are two mistakes at once."
    return f"This is not one known mistake.{both if names else ''}"


def confused(problem, cases):
    """Return the pairs of names of a problem's mistakes that these cases do not tell apart.

    The right function takes part, as "right". A case in which one of the two functions stops
    with an error is no difference: `known_mistake` leaves it out as well. Source: chapter "A
    catalogue of mistakes".
    """
    functions = {"right": PROBLEMS[problem].right}
    functions |= {mistake.name: mistake.function for mistake in mistakes_of(problem)}
    results = {name: [_result(function, case) for case in cases] for name, function in functions.items()}
    return [
        pair for pair in combinations(results, 2)
        if all(one is None or other is None or _agree(one, other)
               for one, other in zip(*map(results.get, pair), strict=True))
    ]


class Grade(NamedTuple):
    """What a test is worth; made by `grade_test`.

    `state` is "not attempted", "wrong" or "right"; `missed` holds the mistakes that got
    through. Source: chapter "A catalogue of mistakes".
    """

    state: str
    sentence: str
    missed: tuple = ()

    def __repr__(self):
        lines = [f"{mistake.name}: {mistake.sentence}\n    It shows with {_shown_by(mistake)}."
                 for mistake in self.missed]
        return "\n".join([self.sentence, *lines])


def _shown_by(mistake):
    """The smallest case of the problem in which a mistake can be seen, in words."""
    problem = PROBLEMS[mistake.problem]
    cases = sorted(problem.cases(np.random.default_rng(0)), key=lambda case: sum(map(np.size, case.values())))
    case = next(case for case in cases if _wrong(_tried(mistake.function, problem.name, [case], None)))
    return ", ".join(f"{name} of shape {value.shape}" if isinstance(value, np.ndarray) else f"{name} {value}"
                     for name, value in case.items())


def _complaint(test, function):
    """The error by which a test complains about a function, or None."""
    try:
        with np.errstate(all="ignore"):
            test(function)
    except Exception as error:  # of any kind: a function that stops with an error is caught, too
        return error
    return None


def _where(test, error):
    """The line of a test in which it has stopped; empty if the test is not written in Python."""
    file = getattr(getattr(test, "__code__", None), "co_filename", None)
    lines = [each for each in traceback.extract_tb(error.__traceback__) if each.filename == file]
    return f" (line {lines[-1].lineno}: `{lines[-1].line}`)" if lines and lines[-1].line else ""


def grade_test(test, problem):
    """Grade a test by the mistakes that it catches.

    Parameters
    ----------
    test : callable
        Takes a function with the arguments of the problem, and raises an error if that
        function is wrong.
    problem : str
        Which problem the function should solve, a name of `PROBLEMS`.

    Returns
    -------
    Grade
        "right" if the right function passes and no mistake of the catalogue does; "not
        attempted" if the test never calls the function.

    Raises
    ------
    ValueError
        If there is no such problem.

    Notes
    -----
    Source: chapter "A catalogue of mistakes".
    """
    mistakes, calls = mistakes_of(problem), []

    def watched(*values, **named):
        calls.append(True)
        return getattr(right, problem)(*values, **named)

    alarm = _complaint(test, watched)
    if alarm is None and not calls:
        return Grade("not attempted", "Not attempted yet: the test never calls the function it is given.")
    if alarm is not None:
        reason = f"{type(alarm).__name__}: {alarm}".removesuffix(": ")
        return Grade("wrong", f"A false alarm: the right {problem} does not pass. {reason}{_where(test, alarm)}")
    missed = tuple(each for each in mistakes if _complaint(test, each.function) is None)
    count = f"{len(mistakes) - len(missed)} of {len(mistakes)}"
    caught = f"The right {problem} passes; {count} mistakes are caught."
    if missed and isinstance(test(watched), (bool, np.bool_)):
        caught += " Your test returns True or False, which nobody reads: it must raise an error, as `assert` does."
    return Grade("wrong", f"{caught} These get through:", missed) if missed else Grade("right", caught)
