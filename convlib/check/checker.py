# Exported from chapters/ by tools/export.py: edit the chapter, not this file.
"""Check the answer to an exercise, and say what is wrong with it.

Chapter "How an answer is checked" builds this module.
"""

import textwrap
from dataclasses import dataclass

import numpy as np

from convlib.check.exercises import cases, exercise, right_answers, right_function

__all__ = ["NOT_ATTEMPTED", "WRONG", "RIGHT", "Verdict", "Note", "check", "hint", "values", "solution"]


# Chapter "How an answer is checked" (chapters/checking.ipynb)

NOT_ATTEMPTED, WRONG, RIGHT = "not attempted", "wrong", "right"
_HEADLINES = {NOT_ATTEMPTED: "Not attempted yet.", WRONG: "Not right yet.", RIGHT: "Right."}
_hints_shown = {}


@dataclass(frozen=True)
class Verdict:
    """What the checker says about an answer.

    Attributes
    ----------
    label : str
        The exercise.
    state : str
        "not attempted", "wrong" or "right".
    sentence : str
        What is wrong, if something is.
    hint : str
        Where to look next; empty if the answer is right.

    Notes
    -----
    Source: chapter "How an answer is checked".
    """

    label: str
    state: str
    sentence: str = ""
    hint: str = ""

    def __str__(self):
        """Return the verdict as text."""
        lines = [" ".join(filter(None, [_HEADLINES[self.state], self.sentence]))]
        if self.hint:
            lines.append(f"Hint: {self.hint}")
        return "\n".join(textwrap.fill(line, 88) for line in lines)

    __repr__ = __str__


@dataclass(frozen=True)
class Note:
    """A text for the reader: a hint, the expected values, or a solution.

    Attributes
    ----------
    text : str
        In Markdown.

    Notes
    -----
    Source: chapter "How an answer is checked".
    """

    text: str

    def __str__(self):
        """Return the text as it stands."""
        return self.text

    __repr__ = __str__

    def _repr_markdown_(self):
        """Return the text for notebooks."""
        return self.text


def check(label, function=..., **answers):
    """Check an answer to an exercise.

    Parameters
    ----------
    label : str
        The exercise.
    function : callable, optional
        Your function, where the exercise asks for code.
    **answers
        Your values, where it asks for values.

    Returns
    -------
    Verdict
        Not attempted, wrong or right.

    Raises
    ------
    ValueError
        If no exercise has this label, or it asks for something else.

    Notes
    -----
    Source: chapter "How an answer is checked".
    """
    record = exercise(label)
    if "function" in record:
        return _checked_function(label, record, function)
    if "answers" in record:
        return _checked_answers(label, record, answers)
    raise ValueError(f"label: {label!r} is an exercise without a checker; solution({label!r}) shows one answer")


def _current_hint(label, record):
    """Return the hint that the reader has come to."""
    level = _hints_shown.setdefault(label, 1)
    return record["hints"][level - 1]


def _checked_function(label, record, function):
    """Compare a function with the right one, case by case."""
    hint = _current_hint(label, record)
    if function is ... or not _does_something(function):
        return Verdict(label, NOT_ATTEMPTED, hint=hint)
    right = right_function(record)
    for arguments in cases(record):
        if not np.allclose(function(**arguments), right(**arguments)):
            return Verdict(label, WRONG, "Other numbers were expected.", hint)
    return Verdict(label, RIGHT)


def _does_something(function):
    """Tell whether a function has a body."""
    return not hasattr(function, "__code__") or bool(function.__code__.co_names or function.__code__.co_nlocals
                                                     > function.__code__.co_argcount)


def _checked_answers(label, record, answers):
    """Compare values with the right ones."""
    hint = _current_hint(label, record)
    right = right_answers(record)
    if any(answers.get(name, ...) is ... for name in right):
        return Verdict(label, NOT_ATTEMPTED, hint=hint)
    for name, value in right.items():
        if answers[name] != value:
            known = dict(record["wrong"].get(name, []))
            return Verdict(label, WRONG, known.get(repr(answers[name]), f"`{name}` is another number."), hint)
    return Verdict(label, RIGHT)


def hint(label):
    """Return the next hint."""
    record = exercise(label)
    level = _hints_shown[label] = min(_hints_shown.get(label, 0) + 1, len(record["hints"]))
    return Note(f"Hint {level} of {len(record['hints'])}: {record['hints'][level - 1]}")


def values(label):
    """Return the expected values."""
    record = exercise(label)
    return Note("\n".join(f"{name} = {expression}" for name, (_, expression) in record["answers"].items()))


def solution(label):
    """Return the solution."""
    record = exercise(label)
    code = "\n".join(record["solution"])
    return Note("\n".join(record["solution_text"]) + f"\n\n```python\n{code}\n```")
