"""The checker: its three states, its sentences, its hints, and the file of progress."""

import inspect
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from convlib import check as package
from convlib import figures, reference
from convlib.check import checker, exercises, running, verdicts
from convlib.check.checker import check, hint, solution, values
from convlib.check.comparing import difference, same_value, why_not
from convlib.check.diagnosis import Finding
from convlib.check.progress import progress, recall, remember
from convlib.check.running import is_unfinished, run

ROOT = Path(__file__).parents[1]
CODE, VALUES = "ex-checking-code", "ex-checking-compute"
CORNERS = {(0, 0), (0, 6), (6, 0), (6, 6)}
FILE = "convlib-progress.json"


@pytest.fixture(autouse=True)
def apart(tmp_path, monkeypatch):
    """Nobody's hints and nobody's file of progress."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(checker, "_hints_shown", {})
    monkeypatch.delenv("CONVLIB_PROGRESS", raising=False)


def right_look(channel, kernel):
    (H, W), (h, w) = channel.shape, kernel.shape
    output = np.zeros((H - h + 1, W - w + 1), np.result_type(channel, kernel))
    for p in range(H - h + 1):
        for q in range(W - w + 1):
            output[p, q] = (channel[p : p + h, q : q + w] * kernel).sum()
    return output


def said(verdict):
    """All that a verdict says, as one line."""
    return " ".join(str(verdict).split())


# --- not attempted ------------------------------------------------------------------------------------------------


def nothing(channel, kernel):
    ...


def docstring(channel, kernel):
    """What a kernel answers."""


def passes(channel, kernel):
    """What a kernel answers."""
    pass  # noqa: PIE790


def returns(channel, kernel):
    return


def refuses(channel, kernel):
    raise NotImplementedError


def refuses_with_words(channel, kernel):
    raise NotImplementedError("to be done")


def gives_dots(channel, kernel):
    return ...


def look(channel, kernel):
    ...  # your code here


EMPTY = [nothing, docstring, passes, returns, refuses, refuses_with_words, gives_dots, look, ...,
         lambda channel, kernel: None]


@pytest.mark.parametrize("function", EMPTY, ids=lambda each: getattr(each, "__name__", "dots"))
def test_what_is_empty_is_not_attempted(function, tmp_path):
    verdict = check(CODE, function)
    assert verdict.state == "not attempted" and verdict.said == ()
    assert said(verdict) == f"Not attempted yet. Hint: {exercises.exercise(CODE)['hints'][0]}"
    assert list(tmp_path.iterdir()) == []


def test_a_skeleton_that_begins_the_work_is_not_attempted():
    skeleton = "def total(x):\n    padded = np.pad(x, 1)\n    ...  # your code here\n\n\ncheck('ex', total)"

    def total(x):
        """Somebody has added a docstring, which changes nothing."""
        padded = np.pad(x, 1)  # noqa: F841

    def begun(x):
        padded = np.pad(x, 2)  # noqa: F841

    assert is_unfinished(total, skeleton) and not is_unfinished(total) and not is_unfinished(begun, skeleton)


def test_values_that_are_open_are_not_attempted(tmp_path):
    for given in ({}, {"products": ...}, {"products": ..., "corners": ...}, {"products": ..., "corners": [(0, ...)]}):
        verdict = check(VALUES, **given)
        assert (verdict.state, verdict.said) == ("not attempted", ())
    verdict = check(VALUES, products=27)
    assert (verdict.state, verdict.said) == ("not attempted", ("Right so far: `products`; open: `corners`.",))
    assert list(tmp_path.iterdir()) == []
    verdict = check(VALUES, products=28)
    assert (verdict.state, verdict.said) == ("wrong", ("`products`: it is one too many.",))


@pytest.mark.parametrize(("label", "arguments", "given", "sentence"), [
    (VALUES, (27,), {}, "This exercise asks for `products=...`, `corners=...`."),
    (VALUES, (), {"product": 27}, "This exercise asks for `products=...`, `corners=...`."),
    (CODE, (), {"look": right_look}, "This exercise asks for `look`."),
])
def test_an_answer_of_another_kind_is_told_what_is_asked(label, arguments, given, sentence):
    verdict = check(label, *arguments, **given)
    assert (verdict.state, verdict.said) == ("not attempted", (sentence,))


@pytest.mark.parametrize("label", ["ex-checking-cod", "EX-checking-code", 3, None])
def test_an_unknown_label(label):
    with pytest.raises(ValueError, match=r"label: expected that of an exercise, got "):
        check(label)


def test_a_slip_in_a_label_is_answered_with_the_label():
    with pytest.raises(ValueError, match=r"got 'ex-checking-cod'; did you mean ex-checking-code"):
        hint("ex-checking-cod")


# --- values -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("found", "expected"), [
    (27, 27), (27.0, 27), (np.int64(27), 27), (np.array(27), 27), (0.333, 1 / 3), (1 / 3, 0.333), (-0.0, 0),
    (True, True), (np.True_, True), (" Smaller", "smaller"), ((1, 2), [1, 2]), (np.array([1, 2]), (1, 2)),
    ([(6, 0), (0, 6)], {(0, 6), (6, 0)}), ({1.0, 2.0}, {1, 2}), ([[1, 2], [3, 4]], ((1, 2), (3, 4))), (set(), set()),
])
def test_what_is_the_same(found, expected):
    assert same_value(found, expected)


@pytest.mark.parametrize(("found", "expected", "sentence"), [
    (26.999, 27, "it is close: was something rounded on the way?"),
    (1022, 1024, "it is close: was something left out?"),
    (1026, 1024, "it is close: was something counted once too often?"),
    (0.33, 1 / 3, "it is close"),
    (-27, 27, "only the sign is wrong"),
    (28, 27, "it is one too many"),
    (26, 27, "it is one too few"),
    (72, 27, "it has the right digits, in another order"),
    (54, 27, "it is too large by a factor of 2: is something counted twice?"),
    (9, 27, "it is too small by a factor of 3: is something counted once that is there 3 times?"),
    (270, 27, "it is too large by a factor of 10: count the zeros"),
    (4.0, 0.25, "it is too large by a factor of 16"),
    (0.4, 2.5, "it is upside down"),
    (19, 27, "it is too small"),
    (40, 27, "it is too large"),
    (3, 0, "it is too large"),
    (float("nan"), 27, "nan is no finite number"),
    (float("inf"), 27, "inf is no finite number"),
    (10**400, 27, "it is too large"), (-10**400, 0.5, "it is too small"),
    ("27", 27, "expected a number, got the text '27'"),
    (True, 1, "expected a number, got True"),
    (1, True, "expected True or False, got the number 1"),
    (False, True, "it is the other way round"),
    (None, 27, "expected a number, got nothing (None)"),
    (right_look, 27, "expected a number, got a function"),
    (np.zeros(3), 27, "expected a number, got a list of length 3"),
    ("larger", "smaller", "it is not 'larger'"),
    ((1, 2), (2, 1), "the order is reversed"),
    ((1, 3, 2), (2, 1, 3), "these are the right values, in another order"),
    ((1, 1, 2), (2, 1, 2), "position 0 (counted from 0): it is one too few"),
    ((1, 2), (1, 2, 3), "expected 3 values, got 2"),
    ((1, 5), (1, 2), "position 1 (counted from 0): it is too large"),
    ((4, 5), (1, 2), "2 of 2 are wrong; at position 0 (counted from 0): it is too large by a factor of 4"),
    ({1, 2}, (1, 2), "the order counts: expected a tuple, got a set"),
    (3, (1, 2), "expected a tuple, got the number 3"),
    (3, {1, 2}, "expected a set, got the number 3"),
    ({(2, 1)}, {(1, 2)}, "rows and columns are exchanged"),
    ({(1, 1), (1, 7)}, {(0, 0), (0, 6)}, "rows and columns count from 0 here"),
    ({1, 2}, {1, 2, 3, 4}, "2 of 4 are there, 2 missing"),
    ({1, 5}, {1, 2}, "1 of 2 are there, 1 missing and 1 too many"),
    ([1, 1, 2], {1, 2}, "something stands there twice"),
])
def test_what_is_said_about_a_wrong_value(found, expected, sentence):
    assert not same_value(found, expected)
    assert why_not(found, expected).startswith(sentence)


def test_a_foreseen_wrong_value_has_its_own_sentence():
    verdict = check(VALUES, products=9, corners=CORNERS)
    assert verdict.said == ("`products`: These are the products in one channel; the layer has three.",
                            "Right: `corners`.")
    assert check(VALUES, products=27, corners=sorted(CORNERS)).state == "right"


# --- functions: what came and what was expected -------------------------------------------------------------------


GRID = np.array([[1.5, 2.0], [3.0, 4.0]])
WHOLE = np.array([[300, 2], [3, 4]])


@pytest.mark.parametrize(("found", "expected", "kind", "sentence"), [
    (None, GRID, "type", "It returned nothing (None); expected an array of float64 of shape (2, 2). Is a `return`"),
    (GRID.tolist(), GRID, "type", "It returned a list of length 2; expected an array of float64 of shape (2, 2)."),
    ("x", 3, "type", "It returned the text 'x'; expected the number 3."),
    (GRID[0], GRID, "shape", "It returned an array of shape (2,); expected an array of shape (2, 2)."),
    (GRID[0, 0], GRID, "shape", "It returned a single number; expected an array of shape (2, 2)."),
    (GRID[:1], 3.5, "shape", "It returned an array of shape (1, 2); expected a single number."),
    (GRID.astype(object), GRID, "type", "It returned an array of object of shape (2, 2); expected numbers"),
    (GRID.astype(complex), GRID, "type", "It returned an array of complex128 of shape (2, 2); expected numbers"),
    (GRID, GRID > 2, "type", "It returned an array of float64 of shape (2, 2); expected True and False."),
    (GRID.astype(int), GRID, "type", "It returned whole numbers (int64); what stands behind the point is lost."),
    (WHOLE.astype(np.uint8), WHOLE, "type", "It returned uint8, which cannot hold numbers as large as these"),
    (GRID.T, GRID, "numbers", "2 of 4 numbers are wrong, the first at [0, 1]: it is 3."),
    (GRID * np.nan, GRID, "numbers", "4 of 4 numbers are wrong, the first at [0, 0]: it is nan."),
    (7.0, 3.5, "numbers", "It returned 7: it is too large by a factor of 2: is something counted twice?"),
    ((GRID,), (GRID, GRID), "shape", "It returned 1 items; expected 2."),
    (GRID, (GRID, GRID), "type", "It returned an array of float64 of shape (2, 2); expected a tuple of length 2."),
    ((GRID, GRID[0]), (GRID, GRID), "shape", "Item 1 (counted from 0): It returned an array of shape (2,)"),
    ({"a": 1}, {"a": 2}, "numbers", "It returned another dict."),
    (3, {"a": 2}, "type", "It returned the number 3; expected a dict of length 1."),
])
def test_what_differs_is_said(found, expected, kind, sentence):
    different = difference(found, expected)
    assert different.kind == kind and different.sentence.startswith(sentence)


@pytest.mark.parametrize(("found", "expected"), [
    (GRID + 1e-12, GRID), (GRID.astype(np.float32) * 1.00001, GRID), (np.asfortranarray(GRID), GRID), (3, 3.0),
    (np.float32(0.1), 0.1), (WHOLE.astype(float), WHOLE), ([GRID, 2], (GRID, 2)), (np.array(3), 3), (True, np.True_),
    (np.array([np.nan, np.inf]), np.array([np.nan, np.inf])), ({"a": 1}, {"a": 1}),
    (np.zeros((0, 3)), np.zeros((0, 3))),
])
def test_rounding_and_layout_make_no_difference(found, expected):
    assert difference(found, expected) is None


@pytest.mark.parametrize(("found", "expected"), [
    (GRID * (1 + 1e-6), GRID), (GRID.astype(np.float32) * 1.001, GRID), (GRID + [[0, 0], [0, 1e-5]], GRID), (2, 3),
    (np.array([1e9, 0.01]), np.array([1e9, 0.0])), (WHOLE + [[0, 0], [0, 1]], WHOLE), ("a", "b"), (False, True),
    (np.array([np.nan]), np.array([0.0])), (np.array([0.0]), np.array([np.inf])),
])
def test_small_differences_are_seen(found, expected):
    assert difference(found, expected).kind == "numbers"


# --- functions: what happened -------------------------------------------------------------------------------------


def beyond(channel, kernel):
    return channel[channel.shape[0], 0]


def deep(channel, kernel):
    shapes = [channel.shape, kernel.shape]
    return np.broadcast_shapes(*shapes, (7, 7, 7))


def helper(x):
    return x / {}


def through_a_helper(channel, kernel):
    return helper(channel)


def without_words(channel, kernel):
    raise AssertionError


def endless(channel, kernel):
    return endless(channel, kernel)


@pytest.mark.parametrize(("function", "reason", "line"), [
    (beyond, "IndexError: index 5 is out of bounds for axis 0 with size 5.", "return channel[channel.shape[0], 0]"),
    (deep, "ValueError: shape mismatch: objects cannot be broadcast", "return np.broadcast_shapes(*shapes, (7, 7, 7))"),
    (through_a_helper, "TypeError: unsupported operand type(s)", "return x / {}"),
    (without_words, "AssertionError.", "raise AssertionError"),
    (endless, "RecursionError: maximum recursion depth exceeded", "return endless(channel, kernel)"),
])
def test_an_error_is_shown_with_its_line(function, reason, line):
    verdict = check(CODE, function)
    number = next(number for number, text in enumerate(Path(__file__).read_text().split("\n"), start=1)
                  if text == f"    {line}")
    assert verdict.state == "wrong" and len(verdict.said) == 3
    assert verdict.said[0].startswith(f"Your code stopped in line {number} of test_check.py with {reason}")
    assert verdict.said[1:] == (
        f"    {line}", "It was called with `channel` of shape (5, 6), `kernel` of shape (3, 3).")
    assert "Traceback" not in str(verdict) and str(ROOT) not in str(verdict) and len(str(verdict).split("\n")) < 10


def test_a_long_message_is_cut():
    def wordy(channel, kernel):
        raise ValueError("no " * 500)

    assert len(check(CODE, wordy).said[0]) < 300


def test_code_of_a_notebook_has_a_line_without_a_file():
    names = {}
    source = "def look(channel, kernel):\n    return channel[9]\n"
    exec(compile(source, "/nowhere/ipykernel_1/2.py", "exec"), names)
    assert check(CODE, names["look"]).said[0].startswith("Your code stopped in line 2 with IndexError")


def test_a_function_of_the_course_in_a_cell_is_not_the_readers():
    cells, source = dict(vars(reference)), inspect.getsource(reference.general_conv2d)
    exec(compile(source, "/nowhere/ipykernel_1/7.py", "exec"), cells)
    own = "def helped(x):\n    return general_conv2d(x, x)\ndef look(channel, kernel):\n    return helped(channel)\n"
    exec(compile(own, "/nowhere/ipykernel_1/8.py", "exec"), cells)
    assert check(CODE, cells["look"]).said[0].startswith("Your code stopped in line 2 with ValueError: input: expected")


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_an_interruption_is_the_readers(kind, tmp_path):
    def interrupted(channel, kernel):
        raise kind

    with pytest.raises(kind):
        check(CODE, interrupted)
    assert list(tmp_path.iterdir()) == []


def test_arguments_that_were_changed():
    def spoils(channel, kernel):
        answer = right_look(channel, kernel)
        channel[0] = 0
        return answer

    assert check(CODE, spoils).said[0].startswith("The result is right, but your function has changed `channel`, which")


def test_what_should_have_been_changed_in_place():
    def update(parameter):
        parameter -= 1

    def twice(parameter):
        parameter -= 2

    task = checker.Task(update, lambda seed: [{"parameter": np.arange(3.0)}])
    sentence = "The result is right, but `parameter` "
    assert checker.judged("", update, task).state == "right"
    assert checker.judged("", lambda parameter: print(end=""), task).said == (
        f"{sentence}should have been changed in place.",)
    assert checker.judged("", twice, task).said[0].startswith(f"{sentence}was changed in another way. 3 of 3 numbers")


def test_copies_are_handed_over():
    arguments = {"array": np.zeros(3), "list": [1, [2]], "number": 3}

    def spoils(array, list, number):
        array[0] = 1
        list[1][0] = 3

    assert set(run(spoils, arguments).changed) == {"array", "list"}
    assert arguments["array"].tolist() == [0, 0, 0] and arguments["list"] == [1, [2]]


@pytest.mark.parametrize(("function", "sentence"), [
    (lambda x, y: x, "Your function takes other arguments (x, y); expected (channel, kernel)."),
    (lambda channel: channel, "Your function takes other arguments (channel); expected (channel, kernel)."),
    (3, "Expected a function, got the number 3."),
    ("look", "Expected a function, got the text 'look'."),
    (GRID, "Expected a function, got an array of float64 of shape (2, 2)."),
])
def test_what_cannot_be_called(function, sentence):
    assert check(CODE, function).said == (sentence,)


def test_a_case_of_another_seed_is_looked_at():
    first = exercises.cases(exercises.exercise(CODE))

    def learnt_by_heart(channel, kernel):
        known = any(np.array_equal(channel, case["channel"]) for case in first)
        return right_look(channel, kernel) * (1 if known else 2)

    assert check(CODE, right_look).state == "right" and check(CODE, learnt_by_heart).state == "wrong"


def test_what_is_callable_will_do():
    class Looks:
        def __call__(self, channel, kernel):
            return right_look(channel, kernel)

    assert check(CODE, Looks()).state == check(CODE, lambda **given: right_look(**given)).state == "right"


# --- why ----------------------------------------------------------------------------------------------------------


def turned(channel, kernel):
    return right_look(channel, kernel[::-1, ::-1])


def test_a_known_mistake_is_named():
    verdict = check(CODE, turned)
    assert "turned by half a turn" in verdict.said[0] and "12 of 12 numbers are wrong" in verdict.said[1]
    assert verdict.hint and verdict.hint not in exercises.exercise(CODE)["hints"] and verdict.drawing is None


def test_two_known_mistakes_are_not_one():
    def one_or_the_other(channel, kernel):
        return right_look(channel, kernel.T if kernel.shape == (3, 3) else kernel[::-1, ::-1])

    def turned_and_more(channel, kernel):
        return right_look(channel, kernel[::-1, ::-1]) + 1

    close = check(CODE, one_or_the_other).said
    assert close[-1].startswith("This is not one known mistake alone. Some results are those of '")
    far = check(CODE, turned_and_more).said
    assert far[-1] == "This is not one of the known mistakes."
    assert "turned" in far[0] and "The number 1 is added" in far[0]  # the diagnosis finds both


def test_an_unknown_mistake_is_diagnosed_with_its_drawing(monkeypatch):
    asked = []

    def diagnose(function, right, arguments):
        asked.append(arguments["channel"].shape)
        drawing = figures.Figure(["<svg></svg>"], "what it read")
        return Finding("Something is missing.", "Look there.", drawing, "tracing")

    monkeypatch.setattr(checker, "diagnose", diagnose)
    verdict = check(CODE, lambda channel, kernel: right_look(channel, kernel) + 1)
    assert asked == [(5, 6)] and verdict.said[0] == "Something is missing." and verdict.hint == "Look there."
    assert 'role="img" aria-label="what it read"' in verdict._repr_html_()
    check(CODE, turned)
    check(CODE, lambda channel, kernel: right_look(channel, kernel).tolist())
    assert len(asked) == 1  # a mistake with a name needs no diagnosis, and a list is told from an array without one


def test_a_diagnosis_that_fails_does_not_stop_the_reader(monkeypatch):
    def diagnose(function, right, arguments):
        raise IndexError("a gap in the diagnosis")

    monkeypatch.setattr(checker, "diagnose", diagnose)
    verdict = check(CODE, lambda channel, kernel: right_look(channel, kernel) + 1)
    assert verdict.state == "wrong" and verdict.said[0].startswith("12 of 12 numbers are wrong")
    assert verdict.hint == exercises.exercise(CODE)["hints"][0]


def seven_times(channel, kernel):
    return 7 * right_look(channel, kernel)


def test_where_the_diagnosis_has_no_hint_the_exercise_has_one():
    hints = exercises.exercise(CODE)["hints"]
    verdict = check(CODE, seven_times)
    assert "counted 7 times" in verdict.said[0] and verdict.hint == hints[0]
    hint(CODE)
    assert check(CODE, seven_times).hint == hints[1]  # the next one, which the reader has come to
    alone = checker.judged("layer", seven_times, checker.task_of(exercises.exercise(CODE)))
    assert alone.hint.startswith("Compute one output by hand")


def neuron(inputs, weight):
    return (inputs * weight).sum()


def loss(scores):
    return np.exp(scores).mean()


@pytest.mark.parametrize(("right", "wrong", "arguments", "sentence"), [
    (neuron, lambda inputs, weight: neuron(inputs, weight[::-1]), ("inputs", "weight"), "mirrored left to right"),
    (neuron, lambda inputs, weight: float(5 * neuron(inputs, weight)), ("inputs", "weight"), "counted 5 times"),
    (loss, lambda scores: -loss(scores), ("scores",), "have the other sign"),
])
def test_a_single_number_is_diagnosed_too(right, wrong, arguments, sentence):
    case = {name: np.array([1.0, 2, -4]) * (number + 1) + number for number, name in enumerate(arguments)}
    assert type(right(**case)) is np.float64
    verdict = checker.judged("one number", wrong, checker.Task(right, lambda seed: [case]))
    assert verdict.state == "wrong" and sentence in verdict.said[0]


def test_a_readers_own_test_is_graded(monkeypatch):
    record = {"kind": "Code", "hints": ["a", "b", "c"], "skeleton": ["def test(f):", "    ..."], "function": "test",
              "tests": "relu"}
    monkeypatch.setattr(checker, "exercise", lambda label: record)
    values = np.array([[-2.0, 0.0, 3.0], [0.5, -0.5, 7.0]])

    def good(relu):
        given = values.copy()
        assert np.array_equal(relu(given), np.where(values > 0, values, 0)) and np.array_equal(given, values)

    def blind(relu):
        relu(values)

    assert check("ex", good).state == "right"
    assert check("ex", lambda test: ...).state == check("ex").state == "not attempted"
    verdict = check("ex", blind)
    assert verdict.state == "wrong" and len(verdict.said) > 2
    assert check("ex", 3).said == ("Expected a function, got the number 3.",)


# --- the words of a verdict ---------------------------------------------------------------------------------------


def examples():
    """Verdicts of every kind, labelled."""
    return [check(CODE, nothing), check(CODE, beyond), check(CODE, turned), check(CODE, right_look),
            check(VALUES, products=9, corners={(1, 1)}), check(VALUES), check(VALUES, products="<b>" * 60, corners=1)]


def test_a_verdict_is_text_for_a_terminal():
    for verdict in examples():
        assert repr(verdict) == str(verdict) and all(len(line) <= 88 for line in str(verdict).split("\n"))
    assert str(check(CODE, right_look)) == "Right."


def test_a_verdict_is_html_without_scripts_and_colours_of_its_own():
    for verdict in examples():
        html = verdict._repr_html_()
        assert not re.search(r"<script|<style|https?:|#[0-9a-f]{3}|\brgb|\bid=|\bclass=\"(?!convlib)", html)
        assert html.count("<details>") == html.count("</details>") and "currentColor" in html
        assert "<b>" not in html
        assert ("<details>" in html) == (verdict.state == "wrong")
    assert "<code>products</code>" in check(VALUES, products=9)._repr_html_()
    assert "<pre>return channel[channel.shape[0], 0]</pre>" in check(CODE, beyond)._repr_html_()


def test_a_verdict_has_the_same_bytes_each_time(monkeypatch):
    first = [verdict._repr_html_() for verdict in examples()]
    assert [verdict._repr_html_() for verdict in examples()] == first


def test_what_was_expected_is_folded_and_not_in_the_text():
    verdict = check(VALUES, products=9, corners=CORNERS)
    assert "<details><summary>What was expected</summary>" in verdict._repr_html_()
    assert "<code>products = 27</code>, which is <code>3 * 9</code>" in verdict._repr_html_()
    assert "27" not in str(verdict)
    expected = exercises.cases(exercises.exercise(CODE))[0]
    assert str(right_look(**expected)[0, 0]) in check(CODE, turned)._repr_html_()


def test_results_that_are_too_large_are_not_shown():
    assert verdicts.Verdict("x", "wrong", values=checker._shown("Expected", np.zeros((90, 90)))).values == (
        "Expected: 8100 numbers, too many to show.",)


# --- hints, values, solutions -------------------------------------------------------------------------------------


def test_there_are_three_hints_one_after_the_other():
    hints = exercises.exercise(CODE)["hints"]
    assert [" ".join(str(hint(CODE)).split()) for _ in range(4)] == [
        f"Hint {level} of 3: {hints[level - 1]}" for level in (1, 2, 3, 3)]
    assert check(CODE, nothing).hint == hints[2]


def test_a_hint_that_was_shown_is_not_given_again():
    hints = exercises.exercise(CODE)["hints"]
    assert check(CODE, nothing).hint == check(CODE, nothing).hint == hints[0]
    assert hint(CODE).paragraphs[0].endswith(hints[1]) and check(CODE, nothing).hint == hints[1]
    assert check(VALUES).hint == exercises.exercise(VALUES)["hints"][0]


def test_values_on_request():
    assert str(values(VALUES)) == "`products = 27`, which is `3 * 9`\n`corners = {(0, 0), (0, 6), (6, 0), (6, 6)}`"
    assert repr(values(CODE)).startswith("`channel`:\n    [[")
    assert values(CODE)._repr_html_().startswith("<p><code>channel</code>:</p><pre>[[")
    assert values(CODE)._repr_markdown_() is None


def test_a_star_in_a_hint_is_a_star(monkeypatch):
    monkeypatch.setattr(checker, "exercise", lambda label: {"hints": ["`a`*b* <c> __d__"] * 3})
    assert hint("ex")._repr_html_() == "<p>Hint 1 of 3: <code>a</code>*b* &lt;c&gt; __d__</p>"


def test_a_solution_is_text_and_code():
    text = solution(CODE)._repr_markdown_()
    assert solution(CODE)._repr_html_() is None and str(solution(CODE)) == text
    assert text.startswith("A kernel of $h$ rows") and "```python\ndef look(channel, kernel):" in text


def test_an_exercise_without_a_checker_has_a_solution(monkeypatch):
    record = {"kind": "Project", "hints": ["a", "b", "c"], "skeleton": [], "solution": [], "solution_text": ["So."]}
    monkeypatch.setattr(checker, "exercise", lambda label: record)
    for function in (check, values):
        with pytest.raises(ValueError, match=r"label: the exercise ex has no .*; see solution\('ex'\)"):
            function("ex")
    assert str(solution("ex")) == "So."


# --- progress -----------------------------------------------------------------------------------------------------


def test_answers_are_counted_and_nothing_else_is_kept():
    check(CODE, nothing)
    check(CODE, turned)
    check(CODE, beyond)
    check(CODE, right_look)
    check(VALUES, products=9)
    check(VALUES, products=9, keep=False)
    assert json.loads(Path(FILE).read_text()) == {CODE: {"right": 1, "wrong": 2}, VALUES: {"right": 0, "wrong": 1}}
    assert os.listdir() == [FILE]


@pytest.mark.parametrize("content", ["", "{", "[]", "3", "\x00", '{"a": 3}', '{"a": {"right": -1, "wrong": 0}}',
                                     '{"a": {"right": true, "wrong": 0}}', '{"a": {"right": 1}}', "[" * 100_000])
def test_a_damaged_file_is_put_aside(content):
    Path(FILE).write_text(content, encoding="utf-8")
    verdict = check(CODE, right_look)
    assert verdict.state == "right"
    assert verdict.said[-1] == (f"The file of your progress, {FILE}, was damaged. It was put aside as "
                                "convlib-progress.damaged.json; what could be read of it was kept (0 exercises).")
    assert Path("convlib-progress.damaged.json").read_text(encoding="utf-8") == content
    assert recall() == ({CODE: {"right": 1, "wrong": 0}}, ())


def test_what_can_be_read_of_a_damaged_file_is_kept_and_nothing_is_overwritten():
    whole = {"ex-of-tomorrow": {"right": 2, "wrong": 0}}
    for number in range(3):
        Path(FILE).write_text(json.dumps(whole | {"ex": number}))
        assert recall()[0] == whole
    assert sorted(os.listdir()) == ["convlib-progress.damaged.json", "convlib-progress.damaged1.json",
                                    "convlib-progress.damaged2.json", FILE]
    assert json.loads(Path("convlib-progress.damaged1.json").read_text())["ex"] == 1
    remember(CODE, True)
    assert recall() == (whole | {CODE: {"right": 1, "wrong": 0}}, ())


def test_a_file_that_cannot_be_written_leaves_the_old_one(monkeypatch):
    remember(CODE, True)
    before = Path(FILE).read_bytes()
    write = Path.write_text

    def full(path, content, **options):
        write(path, content[:9], **options)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    assert check(CODE, right_look).said == (f"Your progress was not kept. {FILE}: No space left on device.",)
    assert Path(FILE).read_bytes() == before and os.listdir() == [FILE]


def test_a_folder_in_its_place_is_said():
    Path(FILE).mkdir()
    assert check(CODE, right_look).said == (f"Your progress was not kept. {FILE}: Is a directory.",)
    assert progress().alt.endswith(f"{FILE}: Is a directory.")


def test_nothing_is_kept_if_the_reader_says_so(monkeypatch):
    monkeypatch.setenv("CONVLIB_PROGRESS", "off")
    check(CODE, right_look)
    assert os.listdir() == [] and recall() == ({}, ())
    monkeypatch.setenv("CONVLIB_PROGRESS", "mine.json")
    check(CODE, right_look)
    assert os.listdir() == ["mine.json"]


def test_progress_is_drawn_in_words_too():
    remember(CODE, True)
    remember(VALUES, False)
    drawn = progress()
    assert ", 1 answered but not right yet." in drawn.alt
    parts = {record["part"] for record in exercises.exercises().values() if record["skeleton"]}
    assert len(drawn.panels) == len(parts) and all(part in drawn.alt for part in parts)
    squares = "".join(drawn.panels).count("<rect")
    assert squares == sum(bool(record["skeleton"]) for record in exercises.exercises().values())
    to_be_done = [record["part"] for record in exercises.exercises().values() if record["skeleton"]]
    assert progress("Back").alt == (
        f"Your progress. Back matter: 1 of {to_be_done.count('Back matter')} right, 1 answered but not right yet.")
    assert "<script" not in drawn._repr_html_()
    with pytest.raises(ValueError, match=r"part: expected the beginning of a part with exercises, got 'Part IX'"):
        progress("Part IX")


# --- the package --------------------------------------------------------------------------------------------------


def in_a_new_program(code):
    """What a program prints that runs this code."""
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True,
                          env=os.environ | {"PYTHONPATH": str(ROOT)}).stdout.split()


def test_the_library_does_not_import_the_checker():
    code = "import sys, convlib; print(*[name for name in sys.modules if name.startswith('convlib.check')])"
    assert in_a_new_program(code) == []


def test_the_checker_needs_nothing_of_the_book():
    absent = "matplotlib", "sympy", "IPython", "sphinx", "distributed"
    code = f"import sys; sys.modules.update(dict.fromkeys({absent})); import convlib.check as c; print(*c.__all__)"
    assert in_a_new_program(code) == package.__all__


def test_no_library_is_taken_for_the_readers():
    assert all(Path(each).is_absolute() for each in running._LIBRARIES)
    assert str(Path(np.__file__).parent) in running._LIBRARIES and str(ROOT / "convlib") in running._LIBRARIES
