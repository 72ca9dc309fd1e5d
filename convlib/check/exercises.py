# Exported from chapters/ by tools/export.py: edit the chapter, not this file.
"""The exercises of the chapters as data: hints, right answers, and cases to compare on.

Chapter "How an answer is checked" builds this module.
"""

import ast
import difflib
import functools
import json
from importlib import resources

import numpy as np

__all__ = ["exercises", "exercise", "right_answers", "known_wrong", "right_function", "cases", "problem_of"]


# Chapter "How an answer is checked" (chapters/checking.ipynb)

@functools.cache
def exercises():
    """Return all exercises of the course, in reading order.

    Returns
    -------
    dict of str to dict
        The record of each exercise, by its label: what ``convlib/data/exercises.json`` holds.

    Notes
    -----
    Source: chapter "How an answer is checked".
    """
    text = resources.files("convlib").joinpath("data", "exercises.json").read_text(encoding="utf-8")
    return json.loads(text)


def exercise(label):
    """Return one exercise.

    Parameters
    ----------
    label : str
        As in ``check("ex-1-code", ...)``.

    Returns
    -------
    dict
        Its record.

    Raises
    ------
    ValueError
        If no exercise has this label.

    Notes
    -----
    Source: chapter "How an answer is checked".
    """
    known = exercises()
    if not isinstance(label, str) or label not in known:
        similar = difflib.get_close_matches(str(label), known, n=3, cutoff=0.5)
        raise ValueError(f"label: expected that of an exercise, got {label!r}"
                         + (f"; did you mean {' or '.join(similar)}?" if similar else ""))
    return known[label]


def right_answers(record):
    """Return the right values of an exercise that is answered by values.

    Parameters
    ----------
    record : dict
        An exercise.

    Returns
    -------
    dict of str to object
        The value of each answer, by its name.

    Notes
    -----
    Source: chapter "How an answer is checked".
    """
    return {name: ast.literal_eval(value) for name, (value, _) in record["answers"].items()}


def known_wrong(record, name):
    """Return the wrong values of an answer that the author of the exercise has foreseen.

    Parameters
    ----------
    record : dict
        An exercise.
    name : str
        One of its answers.

    Returns
    -------
    list of tuple
        Each value, and the sentence that says what went wrong.

    Notes
    -----
    Source: chapter "How an answer is checked".
    """
    return [(ast.literal_eval(value), sentence) for value, sentence in record["wrong"].get(name, [])]


def right_function(record):
    """Return the right function of an exercise that is answered by code, from its solution.

    Parameters
    ----------
    record : dict
        An exercise.

    Returns
    -------
    callable
        The function.

    Notes
    -----
    Source: chapter "How an answer is checked".
    """
    return _names(record)[record["function"]]


def cases(record, seed=0):
    """Return the arguments of each case that an answer in code is compared on.

    Parameters
    ----------
    record : dict
        An exercise.
    seed : int
        Other seeds give other random numbers.

    Returns
    -------
    list of dict
        For each case the arguments, by their names.

    Notes
    -----
    Source: chapter "How an answer is checked".
    """
    return eval(record["cases"], _names(record) | {"random": np.random.default_rng(seed)})


def _names(record):
    """Return the names that the setup and the solution of an exercise bind."""
    names = {"np": np, "__name__": "convlib.check.solution"}
    exec("\n".join([*record["setup"], *record["right"]]), names)
    return names


def problem_of(record, names):
    """Return which function of the course an exercise asks for.

    Parameters
    ----------
    record : dict
        An exercise, perhaps with a ``"problem"`` such as ``"correlate2d(channel, kernel, 0)"``.
    names : collection of str
        The functions of the course.

    Returns
    -------
    str
        The function; empty if the exercise asks for something else.

    Raises
    ------
    ValueError
        If the expression does not name exactly one of them.

    Notes
    -----
    Source: chapter "How an answer is checked".
    """
    expression = record.get("problem", "")
    tree = ast.parse(expression)
    found = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)} & set(names)
    if expression and len(found) != 1:
        raise ValueError(f"problem: expected one function of the course in it, got {expression!r}")
    return found.pop() if found else ""
