# Exported from chapters/ by tools/export.py: edit the chapter, not this file.
"""The exercises of the chapters, as data: hints, right answers, and cases to compare on.

Chapter "How an answer is checked" builds this module.
"""

import ast
import difflib
import functools
import json
from importlib import resources

import numpy as np

__all__ = ["exercises", "exercise", "right_answers", "right_function", "cases"]


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
    file = resources.files("convlib").joinpath("data", "exercises.json")
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}


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
        If no exercise has this label; the message names similar ones.

    Notes
    -----
    Source: chapter "How an answer is checked".
    """
    known = exercises()
    if not isinstance(label, str) or label not in known:
        similar = difflib.get_close_matches(str(label), known, n=3, cutoff=0.5)
        hint = f"; similar: {', '.join(similar)}" if similar else ""
        raise ValueError(f"label: no exercise is called {label!r}{hint}")
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
    """Return the arguments of each case that an answer by code is compared on.

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
    """Return the names that setup and solution of an exercise bind."""
    names = {"np": np, "__name__": "convlib.check.solution"}
    exec("\n".join([*record["setup"], *record["right"]]), names)
    return names
