"""Wrong answers that nobody had in mind: nine of ten get a sentence that points to the cause."""

import re

import numpy as np
import pytest

from convlib.check.checker import WRONG, Task, judged
from convlib.check.problems import PROBLEMS
from tests.unseen_answers import ANSWERS


def said_of(problem, function):
    """All that the checker says, without the values."""
    asked = PROBLEMS[problem]
    task = Task(asked.right, lambda seed: asked.cases(np.random.default_rng(seed)), problem)
    verdict = judged(problem, function, task)
    return verdict.state, " ".join([*verdict.said, verdict.hint])


@pytest.mark.parametrize(("problem", "function", "pattern"), ANSWERS, ids=[each[1].__name__ for each in ANSWERS])
def test_it_is_wrong_and_something_is_said(problem, function, pattern):
    state, said = said_of(problem, function)
    assert state == WRONG and said
    re.compile(pattern)


@pytest.mark.slow
def test_nine_of_ten_get_a_sentence_that_points_to_the_cause():
    missed = {function.__name__: said for problem, function, pattern in ANSWERS
              if not re.search(pattern, said := said_of(problem, function)[1], re.IGNORECASE)}
    assert len(ANSWERS) >= 60
    assert len(missed) <= len(ANSWERS) // 10, missed
