# Exported from chapters/ by tools/export.py: edit the chapter, not this file.
"""What a function did otherwise than the right one, in a sentence that points to the cause.

Chapter "What your code read" builds this module.
"""

import contextlib
import copy
import io
from typing import NamedTuple

import numpy as np

from convlib.check import pictures
from convlib.check.causes import EXACT, _cause, _count
from convlib.check.numbers import _explain_numbers
from convlib.check.products import _letters_of, _role_of
from convlib.check.results import _equal, _explain, _general, _shape_words, _worst_place
from convlib.check.tracing import call, measure, terms_of, trace, value_of

__all__ = ["Finding", "Run", "diagnose"]


# Chapter "What your code read" (chapters/tracing.ipynb)

class Finding(NamedTuple):
    """What is wrong with a function (chapter "What your code read")."""

    sentence: str
    hint: str
    drawing: object  # a figures.Figure, or None
    how: str  # "tracing" or "numbers"


class Run(NamedTuple):
    """What a plain run of a function gave (chapter "What your code read")."""

    output: object
    printed: str
    error: Exception | None
    arguments: dict  # as the function left them


def _run(function, arguments):
    """Run a function on copies of the arguments, and keep what it prints."""
    copies, printed = copy.deepcopy(arguments), io.StringIO()
    try:
        with contextlib.redirect_stdout(printed), np.errstate(all="ignore"):
            output = call(function, copies)
    except Exception as error:  # whatever the reader's code does
        return Run(None, printed.getvalue(), error, copies)
    return Run(output, printed.getvalue(), None, copies)


def _as_numbers(output):
    """A result as an array of numbers, or a sentence that says why it is none."""
    if callable(output):
        return "Your function returns a function: are the parentheses of a call missing?"
    if isinstance(output, tuple):
        return (
            f"Your function returns a tuple of {_count(len(output), 'value')}, where one array is expected."
        )
    try:
        array = np.asarray(output)
    except ValueError:
        return "Your function returns a list whose rows have different lengths."
    if array.dtype.kind not in "biuf":
        return (
            f"Your function returns {type(output).__name__} of {array.dtype}, where numbers are expected."
        )
    return array


def _before_numbers(mine, wanted, arguments):
    """What can be said before two results are compared, or None."""
    if mine.error:
        return _cause(f"Your function stops with {type(mine.error).__name__}: {mine.error}.", "general")
    if mine.output is None:
        words = (
            "it prints something, but printing does not hand it on"
            if mine.printed
            else "is there a return?"
        )
        return _cause(f"Your function returns nothing (None): {words}.", "return")
    if mine.output is NotImplemented or mine.output is ...:
        return _cause("Your function returns ... : there is still nothing in it.", "return")
    found = _as_numbers(mine.output)
    if isinstance(found, str):
        return _cause(found, "type")
    for name, value in arguments.items():
        as_it_was = isinstance(value, np.ndarray) and np.array_equal(value, wanted.arguments[name])
        if as_it_was and not np.array_equal(value, mine.arguments[name]):
            words = f"Your function changes its argument {name}: its caller finds other numbers there"
            return _cause(f"{words} afterwards.", "arguments")
    return None


def _unsteady(function, found, arguments):
    """A function that does not give the same result twice."""
    again = _as_numbers(_run(function, arguments).output)
    if (
        isinstance(again, str)
        or again.shape != found.shape
        or not np.array_equal(again, found, equal_nan=True)
    ):
        return _cause(
            "Called a second time with the same arguments, your function gives another result: it draws "
            "random numbers, reads memory that nothing was written to, or keeps something between the calls.",
            "memory",
        )
    return None


def _imprecise(found, expected):
    """Results that differ by rounding, or by whole numbers."""
    if found.shape != expected.shape or not expected.size:
        return None
    kind, name = found.dtype.kind, found.dtype.name
    if kind == "f" and found.dtype.itemsize < 8 and _agree(found.astype(float), expected, found.dtype):
        return _cause(f"The result is right to the precision of {name}, and no further.", "type")
    far = np.abs(found.astype(float) - expected).max()
    if kind in "iu" and (expected != np.rint(expected)).any() and (far < 1 or _same_whole(found, expected)):
        words = f"The result holds whole numbers only ({name}): what stands behind the point is cut off."
        return _cause(words, "type")
    if kind in "iu" and found.dtype.itemsize < 8 and np.array_equal(found, expected.astype(found.dtype)):
        return _cause(f"The numbers run over: the sums do not fit into {name}.", "type")
    return None


def _same_whole(found, expected):
    """Whether the numbers before the point are the same."""
    return np.array_equal(found, np.trunc(expected))


def _agree(found, expected, dtype):
    """Whether two results are the same, up to the rounding of a data type."""
    if found.shape != expected.shape:
        return False
    rounding = 30 * np.finfo(dtype).eps if dtype.kind == "f" else 0
    largest = np.abs(expected).max(initial=0)
    with np.errstate(invalid="ignore"):
        return bool((np.abs(found - expected) <= max(EXACT, rounding) * max(largest, 1e-300)).all())


def _both_traced(function, right, arguments, found, expected):
    """The traced outputs of both functions, and how; or why there are none."""
    arrays = [name for name, value in arguments.items() if isinstance(value, (np.ndarray, list))]
    flows = [name for name in arrays if _role_of(name) == "flow"]
    problem = ""
    for names in (None, flows) if flows and len(flows) < len(arrays) else (None,):
        wanted, mine = trace(right, arguments, names), trace(function, arguments, names)
        if wanted.problem:
            problem = problem or "this formula is no sum of products"
        elif mine.problem:
            problem = problem or f"your function could not be traced, since {mine.problem}"
        if names is None and (wanted.problem or mine.problem):  # ask those that cannot be traced
            wanted, mine = (
                measure(each, arguments) if one.problem else one
                for each, one in ((right, wanted), (function, mine))
            )
        if wanted.output is None or mine.output is None:
            continue
        if not any(any(terms_of(value)) for value in wanted.output.flat):
            problem = problem or "the right result holds plain numbers only"
            continue
        values = value_of(mine.output, arguments), value_of(wanted.output, arguments)
        empty = np.isnan(values[0]).any()  # memory that nothing was written to
        if _agree(values[1], expected, expected.dtype) and (empty or _agree(values[0], found, found.dtype)):
            return wanted.output, mine.output
        problem = (
            problem or "traced, your function gives other numbers, perhaps since it keeps whole numbers"
        )
    return problem


def _traced_finding(right, mine, arguments, equal):
    """The finding for two traced outputs, with its drawing."""
    if _equal(right, mine):
        return None
    cause = _explain(right, mine, arguments)
    if cause is None:
        cause = (
            _general(right, mine)
            if right.shape == mine.shape
            else _cause(_shape_words(right, mine), "shape")
        )
    sentence = (
        f"On these numbers the result is right, but by luck only. {cause.sentence}"
        if equal
        else cause.sentence
    )
    drawing = None
    if right.shape == mine.shape:
        drawing = pictures.reads(
            right, mine, _worst_place(right, mine), _letters_of(right, arguments), arguments
        )
    return Finding(sentence, cause.hint, drawing, "tracing")


def diagnose(function, right, arguments):
    """Say what a function did otherwise than the right one.

    Parameters
    ----------
    function, right : callable
        The function in question and the right one; they are called with copies.
    arguments : dict
        Small arrays and plain values, by name.

    Returns
    -------
    Finding or None
        None if both give the same; `how` is "numbers" where tracing was not possible.

    Raises
    ------
    ValueError
        If the right function itself stops with an error.

    Notes
    -----
    Source: chapter "What your code read".
    """
    wanted, mine = _run(right, arguments), _run(function, arguments)
    if wanted.error:
        names = ", ".join(arguments)
        raise ValueError(f"right: expected to work with {names}, got {wanted.error!r}") from wanted.error
    if isinstance(wanted.output, tuple) and not mine.error:
        return _of_several(function, right, arguments, mine.output, len(wanted.output))
    early = _before_numbers(mine, wanted, arguments)
    if early:
        return Finding(*early, None, "numbers")
    return _compared(function, right, arguments, np.asarray(mine.output), np.asarray(wanted.output))


def _compared(function, right, arguments, found, expected):
    """The finding for two arrays."""
    equal = _agree(found.astype(float), expected.astype(float), expected.dtype)
    if not equal and (precise := _imprecise(found, expected)):
        return Finding(*precise, None, "numbers")
    traced = _both_traced(function, right, arguments, found, expected)
    arrays = {
        name: np.array(value) if isinstance(value, list) else value for name, value in arguments.items()
    }
    if not isinstance(traced, str):
        return _traced_finding(*traced, arrays, equal)
    if equal:
        return None
    if unsteady := _unsteady(function, found, arguments):
        return Finding(*unsteady, None, "numbers")
    cause = _explain_numbers(found, expected, arrays)
    return Finding(
        f"{cause.sentence} (Said from the numbers alone: {traced}.)", cause.hint, None, "numbers"
    )


def _of_several(function, right, arguments, output, count):
    """The first finding for functions that return several results."""
    if not isinstance(output, tuple) or len(output) != count:
        found = f"{len(output)} results" if isinstance(output, tuple) else type(output).__name__
        return Finding(
            *_cause(f"Expected {count} results in a tuple, got {found}.", "return"), None, "numbers"
        )
    for number in range(count):
        finding = diagnose(_one_of(function, number), _one_of(right, number), arguments)
        if finding:
            return finding._replace(sentence=f"Result {number + 1} of {count}: {finding.sentence}")
    return None


def _one_of(function, number):
    """The function that returns only one of several results."""
    return lambda **arguments: call(function, arguments)[number]
