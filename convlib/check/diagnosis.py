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
from convlib.check.tracing import call, trace, value_of

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


def _before_numbers(function, mine, wanted, arguments):
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
        if isinstance(value, np.ndarray) and not np.array_equal(
            wanted.arguments[name], mine.arguments[name]
        ):
            return _cause(
                f"Your function changes its argument {name}: whoever calls it finds other numbers there "
                "afterwards.",
                "arguments",
            )
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
    largest = np.abs(expected).max()
    far = np.abs(found - expected).max()
    if (
        found.dtype.kind == "f"
        and found.dtype.itemsize < 8
        and far < 30 * np.finfo(found.dtype).eps * largest
    ):
        return _cause(
            f"The result is right to the precision of {found.dtype}, and no further: float64 is expected.",
            "type",
        )
    whole = found.dtype.kind in "iu" and (expected != np.rint(expected)).any()
    if whole and (far < 1 or np.array_equal(found, np.trunc(expected))):
        return _cause(
            f"The result holds whole numbers only ({found.dtype}): what stands behind the point is cut off.",
            "type",
        )
    bits = 8 * found.dtype.itemsize
    if found.dtype.kind in "iu" and bits < 64 and np.array_equal(found, expected.astype(found.dtype)):
        return _cause(
            f"The numbers run over: {found.dtype} has {bits} bits, and the sums need more.", "type"
        )
    return None


def _agree(found, expected):
    """Whether two results are the same, up to rounding."""
    if found.shape != expected.shape:
        return False
    largest = np.abs(expected).max(initial=0) if expected.size else 0
    with np.errstate(invalid="ignore"):
        return bool(np.all(np.abs(found - expected) <= EXACT * max(largest, 1e-300)))


def _both_traced(function, right, arguments, found, expected):
    """The traced outputs of both functions, or why there are none."""
    arrays = [name for name, value in arguments.items() if isinstance(value, np.ndarray)]
    flows = [name for name in arrays if _role_of(name) == "flow"]
    problem = ""
    for names in (None, flows) if flows and len(flows) < len(arrays) else (None,):
        wanted, mine = trace(right, arguments, names), trace(function, arguments, names)
        if wanted.problem:
            problem = problem or "this formula is no sum of products"
        elif mine.problem:
            problem = problem or f"your function could not be traced, since {mine.problem}"
        if mine.output is None or wanted.output is None:
            continue
        values = value_of(mine.output, arguments), value_of(wanted.output, arguments)
        if _agree(values[1], expected) and (np.isnan(values[0]).any() or _agree(values[0], found)):
            return wanted.output, mine.output
        problem = (
            problem or "traced, your function gives other numbers, perhaps because it keeps whole numbers"
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
        None if both give the same. `how` is "tracing", or "numbers" where that was not possible.

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
    early = _before_numbers(function, mine, wanted, arguments)
    if early:
        return Finding(*early, None, "numbers")
    found, expected = np.asarray(mine.output), np.asarray(wanted.output)
    equal = _agree(found, expected)
    precise = None if equal else _imprecise(found, expected)
    if precise:
        return Finding(*precise, None, "numbers")
    traced = _both_traced(function, right, arguments, found, expected)
    if not isinstance(traced, str):
        return _traced_finding(*traced, arguments, equal)
    if equal:
        return None
    cause = _unsteady(function, found, arguments) or _explain_numbers(found, expected, arguments)
    return Finding(
        f"{cause.sentence} (Said from the numbers alone: {traced}.)", cause.hint, None, "numbers"
    )
