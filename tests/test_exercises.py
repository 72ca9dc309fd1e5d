"""Every exercise of the chapters: its skeleton is not attempted, its solution passes its own checker."""

import ast
import contextlib
import io

import numpy as np
import pytest

from convlib import check
from convlib.check import checker
from convlib.check.exercises import cases, exercises, right_answers, right_function

RECORDS = exercises()
CHECKED = [label for label, record in RECORDS.items() if record["skeleton"]]
CODED = [label for label in CHECKED if "function" in RECORDS[label]]
ANSWERED = [label for label in CHECKED if "answers" in RECORDS[label]]


@pytest.fixture(autouse=True)
def apart(tmp_path, monkeypatch):
    """Nobody's hints and nobody's file of progress."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(checker, "_hints_shown", {})
    monkeypatch.delenv("CONVLIB_PROGRESS", raising=False)


def run(record):
    """The value of the expression that ends the cell of the skeleton."""
    body = ast.parse("\n".join(record["skeleton"])).body
    names = {"__name__": "__main__", "np": np, "check": check.check}
    exec("\n".join(record.get("setup", [])), names)
    with contextlib.redirect_stdout(io.StringIO()):
        exec(compile(ast.Module(body[:-1], []), "cell", "exec"), names)
    return eval(compile(ast.Expression(body[-1].value), "cell", "eval"), names)


@pytest.mark.parametrize("label", CHECKED)
def test_a_skeleton_is_not_attempted(label, tmp_path):
    verdict = run(RECORDS[label])
    assert verdict.state == "not attempted" and verdict.hint == RECORDS[label]["hints"][0]
    assert " ".join(str(verdict).split()) == " ".join(f"Not attempted yet. Hint: {verdict.hint}".split())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("label", CODED)
def test_a_solution_passes_its_own_checker(label):
    record = RECORDS[label]
    assert check.check(label, right_function(record)).state == "right"
    assert len(cases(record)) >= 3


@pytest.mark.parametrize("label", ANSWERED)
def test_right_values_pass_and_wrong_ones_do_not(label):
    record = RECORDS[label]
    right = right_answers(record)
    assert check.check(label, **right).state == "right"
    for name, known in record["wrong"].items():
        for value, sentence in known:
            verdict = check.check(label, **right | {name: ast.literal_eval(value)})
            assert verdict.state == "wrong" and f"`{name}`: {sentence}" in verdict.said
