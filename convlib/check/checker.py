# Exported from chapters/ by tools/export.py: edit the chapter, not this file.
"""Check the answer to an exercise, and say what is wrong with it.

Chapter "How an answer is checked" builds this module.
"""

from numbers import Real
from typing import NamedTuple

import numpy as np

from convlib.check.catalogue import _does, _tried, close_to, grade_test, known_mistake
from convlib.check.comparing import described, difference, ended, same_value, why_not
from convlib.check.diagnosis import diagnose
from convlib.check.exercises import cases, exercise, known_wrong, problem_of, right_answers, right_function
from convlib.check.problems import PROBLEMS
from convlib.check.progress import remember
from convlib.check.running import cannot_be_called, is_unfinished, run
from convlib.check.verdicts import NOT_ATTEMPTED, RIGHT, WRONG, Note, Verdict

__all__ = ["Task", "judged", "check", "task_of", "hint", "solution", "values"]


# Chapter "How an answer is checked" (chapters/checking.ipynb)

_SEEDS = (0, 1, 2)


class Task(NamedTuple):
    """What a function should do, however it was asked for.

    Attributes
    ----------
    right : callable
        The right function.
    cases : callable
        Returns the arguments of each case, for a seed.
    problem : str
        The function of the course that is asked for, or nothing.
    express : str, or None
        What to compute with it, in the names of the arguments; None if it takes them as they are.
    skeleton : str
        The code that the reader has started from.

    Notes
    -----
    Source: chapter "How an answer is checked".
    """

    right: object
    cases: object
    problem: str = ""
    express: object = None
    skeleton: str = ""


def judged(label, function, task):
    """Compare a function with the right one, case by case.

    Parameters
    ----------
    label : str
        What the verdict is about.
    function : callable, or ...
        The reader's.
    task : Task
        What it should do.

    Returns
    -------
    Verdict

    Notes
    -----
    Source: chapter "How an answer is checked".
    """
    if function is ... or is_unfinished(function, task.skeleton):
        return Verdict(label, NOT_ATTEMPTED)
    if not callable(function):
        return Verdict(label, WRONG, (f"Expected a function, got {described(function)}.",))
    for seed in _SEEDS:
        all_cases = task.cases(seed)
        if not_callable := cannot_be_called(function, all_cases[0]):
            return Verdict(label, WRONG, (not_callable,))
        for arguments in all_cases:
            ran, right = run(function, arguments), run(task.right, arguments)
            if ran.result is ...:
                return Verdict(label, NOT_ATTEMPTED)
            if ran.stopped:
                return Verdict(label, WRONG, ran.stopped)
            if different := difference(ran.result, right.result):
                compared = arguments, all_cases, ran.result, right.result
                return _explained(label, different, function, task, compared)
            if not_changed := _changes(ran.changed, right.changed):
                return Verdict(label, WRONG, (not_changed,))
    return Verdict(label, RIGHT)


_BY_HAND = "Compute one output by hand, from two or three numbers, and compare."  # if no hint is better


def _explained(label, different, function, task, compared):
    """Return a verdict with the reason of a difference, as far as it can be found."""
    arguments, all_cases, found, expected = compared
    said, hint, drawing = [], "", None
    mistake = finding = None
    known = function, task.problem, all_cases, task.express
    has_numbers = different.kind != "type"
    if has_numbers and task.problem:
        mistake = known_mistake(*known)
    if mistake:
        said, hint = [mistake.sentence], mistake.hint
    elif has_numbers and isinstance(expected, (np.ndarray, np.generic, Real, tuple)):
        finding = _diagnosed(function, task.right, arguments)
    if finding:
        said, hint, drawing = [finding.sentence], finding.hint or _BY_HAND, finding.drawing
    said.append(different.sentence)
    if has_numbers and task.problem and not mistake:
        said.append(_not_one(known))
    shown = (*_shown_arguments(arguments), *_shown("Expected", expected), *_shown("Returned", found))
    return Verdict(label, WRONG, tuple(said), hint, shown, drawing)


def _diagnosed(function, right, arguments):
    """Return what the diagnosis finds, or None if it fails."""
    try:
        return diagnose(function, right, arguments)
    except Exception:  # it meets code that nobody has foreseen: a gap in it must not stop the reader,
        return None  # who is still told the plain difference


def _not_one(known):
    """Return that not one mistake of the catalogue explains the results, and which come close."""
    function, problem, all_cases, express = known
    close = close_to(*known)
    tried = [(case, result) for case, result, _ in _tried(*known)]
    alike = [each for each in close if all(_does(each, express, case, result) for case, result in tried)]
    names = " or ".join(f"'{mistake.name}'" for mistake in (alike or close)[:3])
    if alike:
        return f"It could be one of several known mistakes, {names}: these cases cannot tell which."
    if close:
        return f"This is not one known mistake alone. Some results are those of {names}: are there two at once?"
    return "This is not one of the known mistakes."


def _changes(found, expected):
    """Return a sentence about arguments that a function has changed, or should have; empty if all is well."""
    for name in found:
        if name not in expected:
            return (f"The result is right, but your function has changed `{name}`, which belongs to "
                    "its caller. Work on a copy, or on an array of your own.")
    for name, value in expected.items():
        if name not in found:
            return f"The result is right, but `{name}` should have been changed in place."
        if different := difference(found[name], value):
            return f"The result is right, but `{name}` was changed in another way. {different.sentence}"
    return ""


def _shown(title, value):
    """Return a value with a title, if it is small enough to be read."""
    if np.size(value) > 150:
        return (f"{title}: {np.size(value)} numbers, too many to show.",)
    text = np.array2string(value, max_line_width=80) if isinstance(value, np.ndarray) else repr(value)
    return (f"{title}:", "    " + text.replace("\n", "\n    "))


def _shown_arguments(arguments):
    """Return the arguments of a case, to be read."""
    return tuple(part for name, value in arguments.items() for part in _shown(f"`{name}`", value))


def _checked_values(label, record, given):
    """Compare values with the right ones."""
    right = right_answers(record)
    open_values = [name for name in right if _is_open(given.get(name, ...))]
    good = [name for name in right if name not in open_values and same_value(given[name], right[name])]
    bad = [name for name in right if name not in open_values and name not in good]
    if bad:
        said = [_about(name, given[name], right[name], record) for name in bad]
        said += [f"Right: {_listed(good)}."] if good else []
        return Verdict(label, WRONG, tuple(said), values=_expressions(record))
    if open_values:
        so_far = f"Right so far: {_listed(good)}; open: {_listed(open_values)}."
        return Verdict(label, NOT_ATTEMPTED, (so_far,) if good else ())
    return Verdict(label, RIGHT)


def _is_open(value):
    """Tell whether a value, or a part of it, is still to be given."""
    return value is ... or isinstance(value, (tuple, list)) and any(map(_is_open, value))


def _about(name, value, right, record):
    """Return what is wrong with a value: what the author has foreseen, or what the value itself tells."""
    for wrong, sentence in known_wrong(record, name):
        if same_value(value, wrong):
            return f"`{name}`: {sentence}"
    return f"`{name}`: {ended(why_not(value, right))}"


def _listed(names):
    """Return names in a row."""
    return ", ".join(f"`{name}`" for name in names)


def _expressions(record):
    """Return the right values, each with the expression that it comes from."""
    return tuple(f"`{name} = {value}`" + (f", which is `{expression}`" if expression != value else "")
                 for name, (value, expression) in record["answers"].items())


def _graded(label, test, record):
    """Grade a reader's test by the mistakes that it catches."""
    if test is ... or is_unfinished(test, "\n".join(record["skeleton"])):
        return Verdict(label, NOT_ATTEMPTED)
    if not callable(test):
        return Verdict(label, WRONG, (f"Expected a function, got {described(test)}.",))
    grade = grade_test(test, record["tests"])
    missed = (f"{mistake.name}: {mistake.sentence}" for mistake in grade.missed)
    return Verdict(label, grade.state, (grade.sentence, *missed))


_hints_shown = {}  # how many hints of each exercise the reader has seen in this session


def check(label, function=..., *, keep=True, **answers):
    """Check an answer to an exercise.

    Parameters
    ----------
    label : str
        The exercise.
    function : callable, optional
        Your function, where the exercise asks for code.
    keep : bool
        Whether a right or wrong answer is noted in the file of your progress.
    **answers
        Your values, where the exercise asks for values.

    Returns
    -------
    Verdict
        Not attempted, wrong or right.

    Raises
    ------
    ValueError
        If no exercise has this label, or it has no checker.

    Notes
    -----
    Source: chapter "How an answer is checked".
    """
    record = exercise(label)
    unknown = answers.keys() - record.get("answers", {}).keys()
    if not record["skeleton"]:
        raise ValueError(f"label: the exercise {label} has no checker; see solution({label!r})")
    if unknown or "answers" in record and function is not ...:
        asked = [f"{name}=..." for name in record["answers"]] if "answers" in record else [record["function"]]
        verdict = Verdict(label, NOT_ATTEMPTED, (f"This exercise asks for {_listed(asked)}.",))
    elif "answers" in record:
        verdict = _checked_values(label, record, answers)
    elif "tests" in record:
        verdict = _graded(label, function, record)
    else:
        verdict = judged(label, function, task_of(record))
    return _completed(verdict, record, keep)


def task_of(record):
    """Return what the function of an exercise should do.

    Parameters
    ----------
    record : dict
        An exercise that is answered by code.

    Returns
    -------
    Task

    Notes
    -----
    Source: chapter "How an answer is checked".
    """
    return Task(right_function(record), lambda seed: cases(record, seed),
                problem_of(record, PROBLEMS), record.get("problem"), "\n".join(record["skeleton"]))


def _completed(verdict, record, keep):
    """Return a verdict with the hint that the reader has come to, after keeping what came out."""
    said = verdict.said
    if keep and verdict.state != NOT_ATTEMPTED:
        said += remember(verdict.label, verdict.state == RIGHT)
    if verdict.state == RIGHT:
        return Verdict(verdict.label, RIGHT, said)
    level = _hints_shown.setdefault(verdict.label, 1)
    hint = record["hints"][level - 1] if verdict.hint in ("", _BY_HAND) else verdict.hint
    return Verdict(verdict.label, verdict.state, said, hint, verdict.values, verdict.drawing)


def hint(label):
    """Return the next hint.

    Parameters
    ----------
    label : str
        The exercise.

    Returns
    -------
    Note
        The last one again, if there is no other.

    Notes
    -----
    Source: chapter "How an answer is checked".
    """
    hints = exercise(label)["hints"]
    level = _hints_shown[label] = min(_hints_shown.get(label, 0) + 1, len(hints))
    return Note((f"Hint {level} of {len(hints)}: {hints[level - 1]}",))


def solution(label):
    """Return the solution.

    Parameters
    ----------
    label : str
        The exercise.

    Returns
    -------
    Note
        Its text and its code.

    Notes
    -----
    Source: chapter "How an answer is checked".
    """
    record = exercise(label)
    code = ["```python", *record["solution"], "```"] if record["solution"] else []
    return Note(markdown="\n".join([*record["solution_text"], "", *code]).strip())


def values(label):
    """Return the expected values: the right answers, or the first case with what the right function returns.

    Parameters
    ----------
    label : str
        The exercise.

    Returns
    -------
    Note

    Raises
    ------
    ValueError
        If the exercise is not checked by values.

    Notes
    -----
    Source: chapter "How an answer is checked".
    """
    record = exercise(label)
    if "answers" in record:
        return Note(_expressions(record))
    if "cases" not in record:
        raise ValueError(f"label: the exercise {label} has no expected values; see solution({label!r})")
    task = task_of(record)
    arguments = task.cases(_SEEDS[0])[0]
    return Note((*_shown_arguments(arguments), *_shown("Expected", run(task.right, arguments).result)))
