# Exported from chapters/ by tools/export.py: edit the chapter, not this file.
"""Compare an answer with the right one, and say in what they differ.

Chapter "How an answer is checked" builds this module.
"""

from numbers import Real
from typing import NamedTuple

import numpy as np

__all__ = ["same_value", "why_not", "described", "ended", "Difference", "difference"]


# Chapter "How an answer is checked" (chapters/checking.ipynb)

_ROUNDED = 0.005  # three digits are enough
_LARGEST = 1e300  # whole numbers know no limit, and beyond this one they are no floats any more


def same_value(found, expected):
    """Tell whether a value is the expected one, as a reader would write it.

    Parameters
    ----------
    found : object
        The reader's value.
    expected : bool, int, float, str, tuple, list or set
        The right one.

    Returns
    -------
    bool

    Notes
    -----
    Source: chapter "How an answer is checked".
    """
    found = _plain(found)
    if isinstance(expected, bool) or isinstance(found, bool):
        return found is expected
    if isinstance(expected, Real):
        allowed = 1e-9 if isinstance(expected, int) else _ROUNDED * abs(expected)
        return isinstance(found, Real) and abs(found) <= _LARGEST and abs(found - expected) <= allowed
    if isinstance(expected, str):
        return isinstance(found, str) and found.strip().casefold() == expected.strip().casefold()
    if not isinstance(found, (tuple, list, set, frozenset)) or len(found) != len(expected):
        return False
    if isinstance(expected, set):
        return not _missing(found, expected) and not _missing(expected, found)
    return not isinstance(found, (set, frozenset)) and all(map(same_value, found, expected))


def _missing(found, expected):
    """Return what is expected and not found."""
    return [each for each in expected if not any(same_value(other, each) for other in found)]


def _plain(value):
    """Return a number or an array of NumPy as Python's own."""
    return value.tolist() if isinstance(value, (np.ndarray, np.generic)) else value


def why_not(found, expected):
    """Return a sentence about a wrong value that points to a cause, as far as the value tells.

    Parameters
    ----------
    found : object
        The reader's value.
    expected : bool, int, float, str, tuple, list or set
        The right one.

    Returns
    -------
    str

    Notes
    -----
    Source: chapter "How an answer is checked".
    """
    found = _plain(found)
    kinds = {bool: "True or False", Real: "a number", str: "a word", set: "a set", (tuple, list): "a tuple"}
    expected_kind = next(kind for kind in kinds if isinstance(expected, kind))
    allowed = (tuple, list, set, frozenset) if expected_kind in (set, (tuple, list)) else expected_kind
    if not isinstance(found, allowed) or isinstance(found, bool) != isinstance(expected, bool):
        return f"expected {kinds[expected_kind]}, got {described(found)}"
    if isinstance(expected, bool):
        return "it is the other way round"
    if isinstance(expected, str):
        return f"it is not {found.strip()!r}"
    if isinstance(expected, Real):
        return _about_number(found, expected)
    if isinstance(expected, set):
        return _about_set(found, expected)
    return _about_tuple(found, expected)


def _about_number(found, expected):
    """Return what a wrong number has to do with the right one."""
    if isinstance(found, float) and not np.isfinite(found):
        return f"{found} is no finite number"
    if abs(found) > _LARGEST:
        return "it is too large" if found > 0 else "it is too small"
    if found == -expected:
        return "only the sign is wrong"
    if abs(found - expected) == 1 and isinstance(expected, int):
        return "it is one too many" if found > expected else "it is one too few"
    digits = [sorted(f"{abs(number):.10g}") for number in (found, expected)]
    if digits[0] == digits[1] and found * expected > 0:
        return "it has the right digits, in another order"
    for many, few, word in ((found, expected, "large"), (expected, found, "small")):
        factor = many / few if few else 0
        if factor in (10, 100, 1000):
            return f"it is too {word} by a factor of {factor:.0f}: count the zeros"
        if 2 <= round(factor) <= 100 and abs(factor - round(factor)) < 1e-6 * factor:
            times = _twice(round(factor), word)
            return f"it is too {word} by a factor of {round(factor)}: is something counted {times}?"
    if expected and abs(found - expected) < 0.02 * abs(expected):
        if found % 1 or expected % 1:
            return "it is close: was something rounded on the way?"
        return f"it is close: was something {'counted once too often' if found > expected else 'left out'}?"
    if expected and abs(found * expected - 1) < _ROUNDED:
        return "it is upside down: one divided by the right number"
    return "it is too large" if found > expected else "it is too small"


def _twice(factor, word):
    """Return how often something was counted that should be counted once, or the other way round."""
    if word == "small":
        return f"once that is there {factor} times"
    return "twice" if factor == 2 else f"{factor} times"


def _about_set(found, expected):
    """Return what a wrong set has to do with the right one."""
    pairs = all(isinstance(each, tuple) and len(each) == 2 for each in (*found, *expected))
    if pairs and same_value({each[::-1] for each in found}, expected):
        return "rows and columns are exchanged"
    if pairs and same_value({(p - 1, q - 1) for p, q in found}, expected):
        return "rows and columns count from 0 here"
    missing, extra = len(_missing(found, expected)), len(_missing(expected, found))
    if not missing and not extra:
        return "something stands there twice"
    parts = [f"{count} {word}" for count, word in ((missing, "missing"), (extra, "too many")) if count]
    return f"{len(found) - extra} of {len(expected)} are there, {' and '.join(parts)}"


def _about_tuple(found, expected):
    """Return what a wrong tuple has to do with the right one."""
    if isinstance(found, (set, frozenset)):
        return "the order counts: expected a tuple, got a set"
    if len(found) != len(expected):
        return f"expected {len(expected)} values, got {len(found)}"
    if same_value(found[::-1], expected):
        return "the order is reversed"
    if _as_often(found, expected):
        return "these are the right values, in another order"
    wrong = [place for place, pair in enumerate(zip(found, expected, strict=True)) if not same_value(*pair)]
    first = f"position {wrong[0]} (counted from 0): {why_not(found[wrong[0]], expected[wrong[0]])}"
    return first if len(wrong) == 1 else f"{len(wrong)} of {len(expected)} are wrong; at {first}"


def _as_often(found, expected):
    """Tell whether each right value is there as often as it should be."""
    among = (sum(same_value(other, each) for other in found) for each in expected)
    return list(among) == [sum(same_value(other, each) for other in expected) for each in expected]


def described(value):
    """Return what a value is, in words.

    Parameters
    ----------
    value : object
        Anything.

    Returns
    -------
    str

    Notes
    -----
    Source: chapter "How an answer is checked".
    """
    if value is None:
        return "nothing (None)"
    if isinstance(value, np.ndarray):
        return f"an array of {value.dtype} of shape {value.shape}"
    if isinstance(value, (bool, np.bool_)):
        return f"{value}"
    if isinstance(value, (Real, np.number)):
        return f"the number {value}"
    if isinstance(value, str):
        return f"the text {value[:40]!r}"
    if isinstance(value, (tuple, list, set, frozenset, dict)):
        return f"a {type(value).__name__} of length {len(value)}"
    name = type(value).__name__
    return f"{'an' if name[:1].lower() in 'aeiou' else 'a'} {name}"


def ended(words):
    """Return words as the end of a sentence.

    Parameters
    ----------
    words : str
        With a question mark, or without any.

    Returns
    -------
    str

    Notes
    -----
    Source: chapter "How an answer is checked".
    """
    return words if words.endswith("?") else f"{words}."


class Difference(NamedTuple):
    """In what a result differs from the right one.

    Attributes
    ----------
    kind : str
        "type", "shape" or "numbers".
    sentence : str
        What came and what was expected; for numbers, where they differ.

    Notes
    -----
    Source: chapter "How an answer is checked".
    """

    kind: str
    sentence: str


def difference(found, expected):
    """Compare what a function returned with what the right one returns.

    Parameters
    ----------
    found, expected : object
        The results: arrays, numbers, words, or tuples of them.

    Returns
    -------
    Difference, or None
        None if they are the same, but for rounding.

    Notes
    -----
    Source: chapter "How an answer is checked".
    """
    if isinstance(expected, (tuple, list)):
        return _items_difference(found, expected)
    if not isinstance(expected, (np.ndarray, np.generic, Real)):
        if not isinstance(found, type(expected)):
            return Difference("type", f"It returned {described(found)}; expected {described(expected)}.")
        other = Difference("numbers", f"It returned another {type(expected).__name__}.")
        return None if found == expected else other
    if not isinstance(found, (np.ndarray, np.generic, Real)):
        missing = " Is a `return` missing?" if found is None else ""
        return Difference("type", f"It returned {described(found)}; expected {described(expected)}.{missing}")
    return _array_difference(np.asarray(found), np.asarray(expected))


def _items_difference(found, expected):
    """Compare a tuple or a list with the right one, item by item."""
    if not isinstance(found, (tuple, list)):
        return Difference("type", f"It returned {described(found)}; expected {described(expected)}.")
    if len(found) != len(expected):
        return Difference("shape", f"It returned {len(found)} items; expected {len(expected)}.")
    for position, pair in enumerate(zip(found, expected, strict=True)):
        if different := difference(*pair):
            return different._replace(sentence=f"Item {position} (counted from 0): {different.sentence}")
    return None


def _array_difference(found, expected):
    """Compare an array, or a number, with the right one."""
    if found.shape != expected.shape:
        return Difference("shape", f"It returned {_shaped(found)}; expected {_shaped(expected)}.")
    if found.dtype.kind not in ("b" if expected.dtype == bool else "iuf"):
        wanted = "True and False" if expected.dtype == bool else "numbers (integers or floats)"
        return Difference("type", f"It returned {described(found)}; expected {wanted}.")
    if np.array_equal(found, expected):
        return None
    if found.dtype.kind in "iu" and expected.size and not _fits(expected, np.iinfo(found.dtype)):
        return Difference("type", f"It returned {found.dtype}, which cannot hold numbers as large as these: "
                                  "they have overflowed.")
    if found.dtype.kind in "iu" and expected.dtype.kind == "f" and np.array_equal(found, np.trunc(expected)):
        return Difference("type", f"It returned whole numbers ({found.dtype}); what stands behind the "
                                  f"point is lost. Expected {expected.dtype}.")
    wrong = ~_close(found, expected)
    if not wrong.any():
        return None
    if found.ndim == 0:
        why = ended(why_not(found[()], expected.tolist()))
        return Difference("numbers", f"It returned {_brief(found[()])}: {why}")
    first = tuple(map(int, np.argwhere(wrong)[0]))
    what = f"{wrong.sum()} of {wrong.size} numbers are wrong" if wrong.size > 1 else "The number is wrong"
    return Difference("numbers", f"{what}, the first at {list(first)}: it is {_brief(found[first])}.")


def _close(found, expected):
    """Tell for each number whether it is the expected one but for rounding."""
    if found.dtype.kind in "iub" and expected.dtype.kind in "iub":
        return found == expected
    single = any(array.dtype.kind == "f" and array.dtype.itemsize < 8 for array in (found, expected))
    relative, absolute = (1e-4, 1e-5) if single else (1e-7, 1e-12)
    finite = np.abs(expected[np.isfinite(expected)])
    largest = finite.max() if finite.size else 0
    return np.isclose(found, expected, rtol=relative, atol=absolute * largest, equal_nan=True)


def _fits(array, limits):
    """Tell whether all numbers lie within the limits of a type."""
    return bool(np.nanmin(array) >= limits.min and np.nanmax(array) <= limits.max)


def _brief(number):
    """Return a number as text; six digits are enough to recognise it."""
    return f"{number:.6g}" if isinstance(number, np.floating) else f"{number}"


def _shaped(array):
    """Return an array in words, by its shape."""
    return f"an array of shape {array.shape}" if array.ndim else "a single number"
