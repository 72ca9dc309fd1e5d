"""The catalogue of mistakes: each is named, none is taken for another, and code as people write it is recognised."""

from itertools import permutations
from types import FunctionType, SimpleNamespace

import numpy as np
import pytest

from convlib.check import catalogue
from convlib.check.catalogue import (
    MISTAKES,
    close_to,
    confused,
    describe,
    grade_test,
    known_mistake,
    mistakes_of,
)
from convlib.check.problems import PROBLEMS


def named(mistake):
    return f"{mistake.problem}: {mistake.name}"


def cases_of(problem):
    return PROBLEMS[problem].cases(np.random.default_rng(0))


# --- the table ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mistake", MISTAKES, ids=named)
def test_a_mistake_is_named(mistake):
    assert known_mistake(mistake.function, mistake.problem) is mistake
    assert describe(mistake.function, mistake.problem) == f"{mistake.sentence} {mistake.hint}"


@pytest.mark.parametrize("mistake", MISTAKES, ids=named)
def test_the_words_for_a_mistake_are_sentences(mistake):
    for text in (mistake.sentence, mistake.hint):
        assert text[0].isupper() and text[-1] in ".?" and "  " not in text
    assert mistake.name[-1] not in ".?" and len(mistake.name) < 50


def test_no_two_mistakes_of_a_problem_have_the_same_name():
    assert len({named(mistake) for mistake in MISTAKES}) == len(MISTAKES)


@pytest.mark.parametrize(
    ("problem", "least"),
    [("correlate2d", 8), ("conv2d", 10), ("conv2d_input_grad", 7), ("conv2d_weight_grad", 7), ("conv2d_bias_grad", 7)]
    + [(name, 4) for name in PROBLEMS if "2d" not in name or "pool" in name],
)
def test_there_are_enough(problem, least):
    assert len(mistakes_of(problem)) >= least


# --- problems -------------------------------------------------------------------------------------------------


def softmax(scores):
    powers = np.exp(scores - scores.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def cross_entropy_grad(scores, labels):
    return (softmax(scores) - np.eye(scores.shape[1])[labels]) / len(labels)


def max_pool2d(image, kernel_size):
    rows, columns = (side // kernel_size for side in image.shape[-2:])
    starts = [(slice(u, u + rows * kernel_size, kernel_size), slice(v, v + columns * kernel_size, kernel_size))
              for u, v in np.ndindex(kernel_size, kernel_size)]
    return np.max([np.pad(image, [(0, 0)] * (image.ndim - 2) + [(0, kernel_size)] * 2)[..., u, v][..., :rows, :columns]
                   for u, v in starts], axis=0)


IN_ONE_LINE = {
    "conv2d_bias_grad": lambda grad_output: grad_output.sum((-2, -1)).reshape(-1, grad_output.shape[-3]).sum(0),
    "relu": lambda values: np.maximum(values, 0),
    "relu_grad": lambda values, grad_output: grad_output * (values > 0),
    "max_pool2d": max_pool2d,
    "linear": lambda inputs, weight, bias: np.einsum("nj,oj->no", inputs, weight) + bias,
    "linear_weight_grad": lambda inputs, grad_output: np.einsum("nj,no->oj", inputs, grad_output),
    "linear_input_grad": lambda weight, grad_output: np.einsum("oj,no->nj", weight, grad_output),
    "softmax": softmax,
    "cross_entropy": lambda scores, labels: -np.mean(
        [row[label] - np.logaddexp.reduce(row) for row, label in zip(scores, labels, strict=True)]),
    "cross_entropy_grad": cross_entropy_grad,
    "sgd_step": lambda parameter, gradient, learning_rate: parameter - learning_rate * gradient,
}


@pytest.mark.parametrize("problem", IN_ONE_LINE)
def test_a_right_function_is_right_in_other_words_as_well(problem):
    assert describe(IN_ONE_LINE[problem], problem).startswith("Right, in all")
    assert known_mistake(IN_ONE_LINE[problem], problem) is None


@pytest.mark.parametrize("problem", PROBLEMS.values(), ids=lambda problem: problem.name)
def test_a_right_function_has_made_no_mistake(problem):
    assert known_mistake(problem.right, problem.name) is None
    assert close_to(problem.right, problem.name) == ()
    count = len(problem.cases(np.random.default_rng(0)))
    assert count >= 4
    assert describe(problem.right, problem.name) == f"Right, in all {count} cases in which it returned numbers."


@pytest.mark.parametrize("problem", PROBLEMS)
def test_cases_are_of_different_sizes_and_the_same_each_time(problem):
    one, other = cases_of(problem), cases_of(problem)
    assert len({tuple(map(np.shape, case.values())) for case in one}) >= 4
    for case, twin in zip(one, other, strict=True):
        assert case.keys() == twin.keys()
        for value, same in zip(case.values(), twin.values(), strict=True):
            np.testing.assert_array_equal(value, same)


# --- no two are confused --------------------------------------------------------------------------------------


@pytest.mark.parametrize("problem", PROBLEMS)
def test_no_two_are_confused(problem):
    assert confused(problem, cases_of(problem)) == []


def test_what_cannot_be_told_apart_is_not_named():
    (house, *_) = cases_of("conv2d_bias_grad")
    wrong_axis = next(each for each in mistakes_of("conv2d_bias_grad") if each.name == "wrong axis")
    assert known_mistake(wrong_axis.function, "conv2d_bias_grad", [house]) is wrong_axis
    pair = {"nothing stopped", "flow lets through at 0"}  # the same where every input is 0
    cases = [{"values": np.zeros(3), "grad_output": np.array([1.0, -2.0, 3.0])}]
    agreeing = {each.name for each in close_to(lambda values, grad_output: grad_output, "relu_grad", cases)}
    assert pair < agreeing
    assert known_mistake(lambda values, grad_output: grad_output, "relu_grad", cases) is None


def test_a_right_function_is_not_named_by_the_one_mistake_that_these_cases_cannot_show():
    small, *_ = cases_of("softmax")
    (unseen,) = (pair for pair in confused("softmax", [small]) if "right" in pair)
    assert unseen == ("right", "not shifted")
    assert known_mistake(PROBLEMS["softmax"].right, "softmax", [small]) is None


# --- two at once ----------------------------------------------------------------------------------------------


def both(outer, inner):
    """A function with two mistakes: where the outer one calls the right function, it finds the inner one."""
    spoilt = SimpleNamespace(**vars(catalogue.right) | {inner.problem: inner.function})
    names = vars(catalogue) | {"right": spoilt}
    function = outer.function
    return FunctionType(function.__code__, names, argdefs=function.__defaults__, closure=function.__closure__)


def calls_the_right_function(mistake):
    return {"right", mistake.problem} <= set(mistake.function.__code__.co_names)


PAIRS = [(outer, inner) for name in PROBLEMS for outer, inner in permutations(mistakes_of(name), 2)
         if calls_the_right_function(outer)]


def small_cases(problem, seed=0):
    """Without the first: the house takes long, and the others tell all mistakes apart."""
    return PROBLEMS[problem].cases(np.random.default_rng(seed))[1:]


def does_the_same(function, other, problem):
    """Whether two functions agree with other numbers, too, than those that gave the one its name."""
    results = ([catalogue._result(each, case) for case in small_cases(problem, seed=2)] for each in (function, other))
    return all(one is None or catalogue._agree(one, same) for one, same in zip(*results, strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("problem", PROBLEMS)
def test_two_at_once_are_not_taken_for_one(problem):
    assert confused(problem, small_cases(problem)) == []
    said = []
    for outer, inner in PAIRS:
        if outer.problem != problem:
            continue
        function = both(outer, inner)
        found = known_mistake(function, problem, small_cases(problem))
        said.append(found is None)
        # Some two are one: the last of the images, averaged over one image, is the last of the images.
        assert found is None or does_the_same(function, found.function, problem), (outer.name, inner.name)
    assert len(said) >= 5 and np.mean(said) >= 0.5


def test_two_at_once_may_be_betrayed_by_a_case_that_shows_one():
    def turned_without_zeros(image, weight, bias, padding):
        return PROBLEMS["conv2d"].right(image, weight[:, :, ::-1, ::-1], bias, 0)

    assert [each.name for each in close_to(turned_without_zeros, "conv2d")] == ["kernel turned"]
    assert describe(turned_without_zeros, "conv2d") == (
        "This is not one known mistake. Some of its results are those of 'kernel turned': "
        "perhaps there are two mistakes at once.")


def test_two_at_once_of_which_no_case_shows_one_are_said_not_to_be_known():
    def turned_without_bias(image, weight, bias, padding):
        return PROBLEMS["conv2d"].right(image, weight[:, :, ::-1, ::-1], 0 * bias, padding)

    assert close_to(turned_without_bias, "conv2d") == ()
    assert describe(turned_without_bias, "conv2d") == "This is not one known mistake."


# --- as people write it ---------------------------------------------------------------------------------------

CONV2D = """
def conv2d(image, weight, bias, padding):
    if image.ndim == 4:
        return np.array([conv2d(each, weight, bias, padding) for each in image])
    outputs, inputs, rows, columns = weight.shape
    padded = np.pad(image, [(0, 0), (padding, padding), (padding, padding)])
    height, width = padded.shape[1] - rows + 1, padded.shape[2] - columns + 1
    output = np.zeros((outputs, height, width))
    for o in range(outputs):
        for i in range(inputs):
            grid = np.zeros((height, width))
            for p, q in np.ndindex(height, width):
                for u in range(rows):
                    for v in range(columns):
                        grid[p, q] += padded[i, p + u, q + v] * weight[o, i, u, v]
            output[o] += grid
        output[o] += bias[o]
    return output
"""
INPUT_GRAD = """
def conv2d_input_grad(input_shape, weight, grad_output, padding):
    if len(input_shape) == 4:
        return np.array([conv2d_input_grad(input_shape[1:], weight, each, padding) for each in grad_output])
    grad = np.zeros(input_shape)
    outputs, inputs, kernel_rows, kernel_columns = weight.shape
    for o, i in np.ndindex(outputs, inputs):
        for r, s in np.ndindex(*input_shape[1:]):
            for u in range(kernel_rows):
                for v in range(kernel_columns):
                    p, q = r + padding - u, s + padding - v
                    if 0 <= p < grad_output.shape[1] and 0 <= q < grad_output.shape[2]:
                        grad[i, r, s] += weight[o, i, u, v] * grad_output[o, p, q]
    return grad
"""
WEIGHT_GRAD = """
def conv2d_weight_grad(image, weight_shape, grad_output, padding):
    grad = np.zeros(weight_shape)
    if image.ndim == 3:
        image, grad_output = image[np.newaxis], grad_output[np.newaxis]
    for x, d in zip(image, grad_output):
        padded = np.pad(x, [(0, 0), (padding, padding), (padding, padding)])
        for o, i, u, v in np.ndindex(*weight_shape):
            for p in range(d.shape[1]):
                for q in range(d.shape[2]):
                    grad[o, i, u, v] += padded[i, p + u, q + v] * d[o, p, q]
    return grad
"""
MAX_POOL = """
def max_pool2d_grad(image, kernel_size, grad_output):
    grad = np.zeros(image.shape)
    for place in np.ndindex(*grad_output.shape):
        *front, p, q = place
        best, winner = -np.inf, None
        for u in range(kernel_size):
            for v in range(kernel_size):
                here = (*front, p * kernel_size + u, q * kernel_size + v)
                if image[here] > best:
                    best, winner = image[here], here
        grad[winner] += grad_output[place]
    return grad
"""
LOSS = """
def cross_entropy_grad(scores, labels):
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    flow = powers / powers.sum(axis=1, keepdims=True)
    flow[np.arange(len(labels)), labels] -= 1
    return flow / len(labels)
"""
CHANNEL = """
def correlate2d(channel, kernel, padding):
    rows, columns = kernel.shape
    height, width = channel.shape[0] + 2 * padding - rows + 1, channel.shape[1] + 2 * padding - columns + 1
    output = np.zeros((height, width))
    for p, q in np.ndindex(height, width):
        for u in range(rows):
            for v in range(columns):
                row, column = p + u - padding, q + v - padding
                if 0 <= row < channel.shape[0] and 0 <= column < channel.shape[1]:
                    output[p, q] += channel[row, column] * kernel[u, v]
    return output
"""
SLIPS = [  # the code, what is written instead of what in it, and the name it must get
    (CHANNEL, "kernel[u, v]", "kernel[-1 - u, -1 - v]", "kernel turned"),
    (CHANNEL, "kernel[u, v]", "kernel[rows - u - 1, columns - v - 1]", "kernel turned"),
    (CHANNEL, "kernel[u, v]", "kernel[v, u]", "rows and columns swapped"),
    (CHANNEL, "p + u - padding, q + v - padding", "p + u - 1, q + v - 1", None),  # the size knows the padding
    (CHANNEL, "p + u - padding, q + v - padding", "p + u, q + v", "zeros on one side only"),
    (CHANNEL, "range(columns)", "range(rows)", "kernel taken as square"),
    (CHANNEL, "height, width = channel.shape[0] + 2 * padding - rows + 1, channel.shape[1] + 2 * padding - columns + 1",
     "height, width = channel.shape[0] + 2 * padding - rows, channel.shape[1] + 2 * padding - columns",
     "last row and column of the output missing"),
    (CHANNEL, "if 0 <= row < channel.shape[0] and 0 <= column < channel.shape[1]:",
     "row, column = row % channel.shape[0], column % channel.shape[1]\n                if True:", "grid wraps around"),
    (CHANNEL, "if 0 <= row < channel.shape[0] and 0 <= column < channel.shape[1]:",
     "row, column = np.clip(row, 0, channel.shape[0] - 1), np.clip(column, 0, channel.shape[1] - 1)\n"
     "                if True:", "edge repeated"),
    (CONV2D, "weight[o, i, u, v]", "weight[o, i, v, u]", "rows and columns swapped"),
    (CONV2D, "weight[o, i, u, v]", "weight[i, o, u, v]", "channel axes swapped"),
    (CONV2D, "weight[o, i, u, v]", "weight[o, 0, u, v]", "first kernel for all channels"),
    (CONV2D, "weight[o, i, u, v]", "weight[o, i, rows - 1 - u, columns - 1 - v]", "kernel turned"),
    (CONV2D, "output[o] += grid", "output[o] = grid", "last input channel only"),
    (CONV2D, "        output[o] += bias[o]", "            output[o] += bias[o]", "bias added for each input channel"),
    (CONV2D, "        output[o] += bias[o]", "", "bias forgotten"),
    (CONV2D, "output[o] += bias[o]", "output[o] -= bias[o]", "bias subtracted"),
    (CONV2D, "[(0, 0), (padding, padding), (padding, padding)]", "[(0, 0), (1, 1), (1, 1)]", "padding taken as 1"),
    (CONV2D, "[(0, 0), (padding, padding), (padding, padding)]", "0", "zeros outside missing"),
    (CONV2D, "(padding, padding)])", '(padding, padding)], mode="edge")', "edge repeated"),
    (CONV2D, "(padding, padding)])", '(padding, padding)], mode="wrap")', "grid wraps around"),
    (CONV2D, "range(rows)", "range(columns)", None),  # the loop over u: nobody has taken the kernel as square this way
    (CONV2D, "output[o] += grid", "output[o] += grid / inputs", "channels averaged"),
    (CONV2D, "    outputs, inputs, rows, columns = weight.shape",
     "    weight = weight[:, :, ::-1, ::-1]\n    outputs, inputs, rows, columns = weight.shape", "kernel turned"),
    (INPUT_GRAD, "weight[o, i, u, v]", "weight[o, i, -1 - u, -1 - v]", "kernel not turned"),
    (INPUT_GRAD, "weight[o, i, u, v]", "weight[i, o, u, v]", "channel axes swapped"),
    (INPUT_GRAD, "weight[o, i, u, v]", "weight[o, i, v, u]", "rows and columns swapped"),
    (INPUT_GRAD, "r + padding - u, s + padding - v", "r + 1 - u, s + 1 - v", "padding taken as 1"),
    (INPUT_GRAD, "r + padding - u, s + padding - v", "r - u, s - v", "padding forgotten"),
    (INPUT_GRAD, "if 0 <= p <", "if 0 < p <", "top row of the flow forgotten"),
    (INPUT_GRAD, "range(kernel_columns)", "range(kernel_rows)", "kernel taken as square"),
    (INPUT_GRAD, "each, padding) for each in grad_output", "grad_output[0], padding) for each in grad_output",
     "first image's flow for all"),
    (INPUT_GRAD, "for o, i in np.ndindex(outputs, inputs):\n",
     "for o, i in np.ndindex(outputs, inputs):\n        grad[i] = 0\n", "last output channel only"),
    (WEIGHT_GRAD, "grad[o, i, u, v] +=", "grad[o, i, -1 - u, -1 - v] +=", "result turned"),
    (WEIGHT_GRAD, "grad[o, i, u, v] +=", "grad[o, i, v, u] +=", "rows and columns swapped"),
    (WEIGHT_GRAD, "d[o, p, q]", "d[0, p, q]", "one flow for all kernels"),
    (WEIGHT_GRAD, "range(d.shape[1])", "range(1, d.shape[1])", "top row of the flow forgotten"),
    (WEIGHT_GRAD, "        padded = ", "        grad[:] = 0\n        padded = ", "last image only"),
    (WEIGHT_GRAD, "return grad", "return grad / len(image)", "images averaged"),
    (WEIGHT_GRAD, "return grad", "return grad / d[0].size / len(image)", "mean instead of sum"),
    (WEIGHT_GRAD, "(padding, padding)])", '(padding, padding)], mode="edge")', "edge repeated"),
    (WEIGHT_GRAD, "[(0, 0), (padding, padding), (padding, padding)]", "[(0, 0), (1, 5), (1, 5)]", "padding taken as 1"),
    (WEIGHT_GRAD, "[(0, 0), (padding, padding), (padding, padding)]", "[(0, 0), (0, 5), (0, 5)]", "padding forgotten"),
    (MAX_POOL, "image[here] > best", "image[here] >= best", "last of ties"),
    (MAX_POOL, "image[here] > best", "image[here] < -best", None),  # a comparison that compares nothing sensible
    (MAX_POOL, "best, winner = -np.inf, None", "best, winner = -np.inf, (*front, p * kernel_size, q * kernel_size)\n"
     "        grad[winner] += grad_output[place]\n        continue", "flow to the first place"),
    (MAX_POOL, "+= grad_output[place]", "+= 1", "gate instead of flow"),
    (MAX_POOL, "+= grad_output[place]", "+= best", "largest number instead of flow"),
    (LOSS, "flow[np.arange(len(labels)), labels]", "flow[:, labels]", "columns instead of places"),
    (LOSS, "flow / len(labels)", "flow", "not divided by the images"),
    (LOSS, "flow / len(labels)", "flow / flow.size", "divided by all scores"),
    (LOSS, "-= 1", "-= 0", "1 not subtracted"),
    (LOSS, "axis=1", "axis=0", "softmax over the wrong axis"),
]


def written(code):
    """The function that a piece of code defines, and its name."""
    names = {"np": np}
    exec(code, names)
    return list(names.values())[-1], list(names)[-1]


@pytest.mark.parametrize("code", [CHANNEL, CONV2D, INPUT_GRAD, WEIGHT_GRAD, MAX_POOL, LOSS],
                         ids=lambda code: code.split("(")[0].split()[-1])
def test_without_a_slip_the_code_is_right(code):
    function, problem = written(code)
    assert describe(function, problem) == f"Right, in all {len(cases_of(problem))} cases in which it returned numbers."


@pytest.mark.parametrize(("code", "right", "slip", "name"), SLIPS,
                         ids=[f"{code.split('(')[0].split()[-1]}: {slip.strip()[:40]}" for code, _, slip, _ in SLIPS])
def test_a_slip_of_the_pen_is_named(code, right, slip, name):
    assert right in code
    function, problem = written(code.replace(right, slip))
    found = known_mistake(function, problem)
    assert (found and found.name) == name
    assert not describe(function, problem).startswith("Right")


# --- other people's functions ---------------------------------------------------------------------------------


def test_a_function_that_knows_no_batches_is_named_by_the_other_cases():
    def one_image_only(image, weight, bias, padding):
        channels, rows, columns = image.shape
        return PROBLEMS["conv2d"].right(image, weight, 0 * bias, padding)

    assert known_mistake(one_image_only, "conv2d").name == "bias forgotten"


@pytest.mark.parametrize("useless", [None, "a word", [[1, 2], [3]], 1j, print])
def test_a_function_that_returns_no_numbers_is_not_named(useless):
    assert known_mistake(lambda values: useless, "relu") is None
    assert close_to(lambda values: useless, "relu") == ()
    assert describe(lambda values: useless, "relu") == "In no case did it return numbers."


def test_a_function_may_write_into_its_arguments():
    def in_place(values):
        values[values < 0] *= -1
        return values

    cases = cases_of("relu")
    assert known_mistake(in_place, "relu", cases).name == "sign dropped"
    assert min(case["values"].min() for case in cases) < 0


def test_a_problem_that_does_not_exist_is_refused():
    for asked in (known_mistake, describe, close_to):
        with pytest.raises(ValueError, match="problem: expected one of correlate2d, .*, got 'conv3d'"):
            asked(np.abs, "conv3d")
    with pytest.raises(ValueError, match="problem: expected one of"):
        grade_test(lambda function: None, "conv3d")


# --- a problem in disguise ------------------------------------------------------------------------------------

EXPRESS = "conv2d_input_grad((weight.shape[1], *grad_output.shape[1:]), weight, grad_output, padding=1)"


def cases_in_disguise():
    random = np.random.default_rng(3)
    sizes = ((2, 3, 3, 3), (2, 7, 7)), ((3, 1, 3, 3), (3, 4, 5)), ((2, 2, 3, 3), (2, 5, 4))
    return [{"weight": random.integers(-9, 10, weight), "grad_output": random.integers(-9, 10, flow)}
            for weight, flow in sizes]


def flow_by_turning(weight, grad_output, turn=-1, axes=(1, 0, 2, 3)):
    turned = weight[:, :, ::turn, ::turn].transpose(axes)
    return PROBLEMS["conv2d"].right(grad_output, turned, np.zeros(len(turned)), 1)


def test_a_problem_in_disguise_is_judged_as_what_it_is():
    told = "conv2d_input_grad", cases_in_disguise(), EXPRESS
    assert describe(flow_by_turning, *told) == "Right, in all 3 cases in which it returned numbers."
    for slip, name in (({"turn": 1}, "kernel not turned"), ({"axes": (0, 1, 2, 3)}, "channel axes swapped"),
                       ({"axes": (1, 0, 3, 2)}, "rows and columns swapped")):
        assert known_mistake(lambda weight, grad_output, slip=slip: flow_by_turning(weight, grad_output, **slip),
                             *told).name == name


# --- tests are graded -----------------------------------------------------------------------------------------


def honest_test(problem):
    """A test that compares with the right function in all cases of a problem."""
    def test(function):
        for case in cases_of(problem):
            np.testing.assert_allclose(function(**case), PROBLEMS[problem].right(**case), atol=1e-9)

    return test


@pytest.mark.parametrize("problem", PROBLEMS)
def test_an_honest_test_is_graded_right(problem):
    grade = grade_test(honest_test(problem), problem)
    count = len(mistakes_of(problem))
    assert grade.state == "right" and grade.missed == ()
    assert repr(grade) == f"The right {problem} passes; {count} of {count} mistakes are caught."


def test_a_test_that_never_calls_the_function_is_not_attempted():
    def skeleton(function):
        ...

    assert grade_test(skeleton, "conv2d").state == "not attempted"
    assert str(grade_test(skeleton, "conv2d")).startswith("Not attempted yet")


def test_a_false_alarm_is_said():
    def too_strict(relu):
        assert relu(np.array([-1.0, 2.0])).tolist() == [0, 1], "it should be 1"

    grade = grade_test(too_strict, "relu")
    assert grade.state == "wrong" and grade.missed == ()
    assert str(grade).startswith("A false alarm: the right relu does not pass. AssertionError: it should be 1")
    assert "`assert relu(np.array([-1.0, 2.0])).tolist() == [0, 1]" in str(grade)


def test_a_false_alarm_without_a_message_names_its_line():
    def too_strict(relu):
        found = relu(np.array([-1.0, 2.0]))
        assert found.size == 3

    line = too_strict.__code__.co_firstlineno + 2
    sentence = "A false alarm: the right relu does not pass. AssertionError"
    assert grade_test(too_strict, "relu").sentence.startswith(sentence)
    assert grade_test(too_strict, "relu").sentence.endswith(f" (line {line}: `assert found.size == 3`)")


def test_a_test_that_returns_false_is_told_to_raise():
    def polite(relu):
        return (relu(np.array([-1.0, 2.0])) == [0, 2]).all()

    grade = grade_test(polite, "relu")
    assert grade.state == "wrong" and "must raise an error" in grade.sentence
    assert "must raise" not in grade_test(lambda relu: print(relu(np.ones(1))), "relu").sentence


@pytest.mark.parametrize("problem", PROBLEMS)
def test_a_test_that_only_calls_catches_nothing_and_is_told_what_would(problem):
    def careless(function):
        function(**cases_of(problem)[-1])

    grade = grade_test(careless, problem)
    assert grade.state == "wrong"
    assert grade.missed and set(grade.missed) <= set(mistakes_of(problem))
    text = str(grade)
    for mistake in grade.missed:
        assert f"{mistake.name}: {mistake.sentence}\n    It shows with " in text


def test_the_case_that_is_named_shows_the_mistake():
    mistake = next(each for each in mistakes_of("conv2d_weight_grad") if each.name == "last image only")
    assert catalogue._shown_by(mistake) == (
        "image of shape (2, 3, 5, 4), weight_shape (2, 3, 2, 3), grad_output of shape (2, 2, 6, 4), padding 1")
