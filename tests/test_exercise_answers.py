"""The right answers of the exercises are what the solutions compute, not what an author has typed."""

import ast

import bound_numbers
import pytest

from convlib.check.exercises import exercises, right_answers

ANSWERED = [label for label, record in exercises().items() if "answers" in record]


def pieces(value):
    """The numbers and strings that a value is made of."""
    if isinstance(value, (tuple, list, set)):
        return {piece for each in value for piece in pieces(each)}
    return {value}


def asserted(code):
    """The numbers and strings that the assertions of a solution name, arithmetic included."""
    found = set()
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Assert):
            for part in ast.walk(node.test):
                number = bound_numbers.constant(part)
                found |= {number} if number is not None else set()
                found |= {part.value} if isinstance(part, ast.Constant) and isinstance(part.value, str) else set()
    return found


def not_asserted(answers, code):
    """The answers with a piece that no assertion of the solution names."""
    known = {round(each, 9) if isinstance(each, float) else each for each in asserted(code)}
    return [name for name, value in answers.items()
            if not {round(each, 9) if isinstance(each, float) else each for each in pieces(value)} <= known]


@pytest.mark.parametrize("label", ANSWERED)
def test_the_solution_asserts_each_answer(label):
    record = exercises()[label]
    assert not_asserted(right_answers(record), "\n".join(record["solution"])) == []


def test_an_answer_that_no_solution_computes_is_found():
    code = "assert count == 3 * 9 == 27\nassert names == {'left', 'right'}\nother = 5"
    assert not_asserted({"count": 27, "names": {"left"}, "places": [(3, 9)]}, code) == []
    assert not_asserted({"count": 28, "other": 5, "names": {"middle"}}, code) == ["count", "other", "names"]
