# Exported from chapters/ by tools/export.py: edit the chapter, not this file.
"""What is wrong with a result, from its numbers alone.

Chapter "What your code read" builds this module.
"""

import itertools
import math

import numpy as np

from convlib.check.causes import EXACT, Size, _by_factor, _cause, _covering, _listed, _named, _span
from convlib.check.products import _LETTERS, Products, _columns, _index, _word
from convlib.check.results import _other_shape, _shape_words

__all__ = []


# Chapter "What your code read" (chapters/tracing.ipynb)

def _near(first, second):
    """Whether two arrays are the same, up to rounding."""
    return first.shape == second.shape and np.allclose(
        first, second, rtol=1e-7, atol=EXACT * np.abs(second).max()
    )


def _not_finite(found):
    """Results that are no numbers."""
    place = tuple(map(int, np.argwhere(~np.isfinite(found))[0]))
    where = f"output[{', '.join(map(str, place))}]" if place else "The result"
    return _cause(
        f"{where} is {found[place]}: something is divided by 0, or is the logarithm of 0, or grows beyond "
        "what a float can hold (exp of a large number).",
        "general",
    )


def _lengths(arguments):
    """The lengths of the arguments, which a result may be multiplied or divided by."""
    arrays = {name: value for name, value in arguments.items() if isinstance(value, np.ndarray)}
    found = [
        Size(length, f"the length of axis {axis} of {name}")
        for name, value in arrays.items()
        for axis, length in enumerate(value.shape)
        if length > 1
    ]
    found += [Size(value.size, f"the size of {name}") for name, value in arrays.items() if value.ndim > 1]
    return [*found, Size(math.log(2), "the natural logarithm of 2")]


def _moved_numbers(found, expected, arguments):
    """The right numbers at other places."""
    axes = range(expected.ndim)
    ways = {}
    _, counts = np.unique(expected, return_counts=True)
    if len(counts) == 2 and counts.min() < 4:
        return None  # a few marks on an even ground: they need not have been moved
    for first, second in itertools.combinations(axes, 2):
        ways[f"has its axes {first} and {second} swapped (it is transposed)"] = expected.swapaxes(
            first, second
        )
    if expected.ndim >= 2:
        ways["is turned by half a turn"] = expected[..., ::-1, ::-1]
    for axis in axes:
        ways[f"is in reverse order along axis {axis}"] = np.flip(expected, axis)
        for far, word in ((1, "on"), (-1, "back")):
            ways[f"is shifted by one {word} along axis {axis}"] = np.roll(expected, far, axis)
    for words, moved in ways.items():
        if _near(found, moved):
            look = "order" if "transposed" in words else "moved"
            return _cause(f"The numbers are right, but the result {words}.", look)
    for axis in axes:
        for far, word in ((1, "on"), (-1, "back")):
            inner = tuple(slice(1, -1) if axis == other else slice(None) for other in axes)
            part = np.roll(expected, far, axis)[inner]
            if (
                len(np.unique(part)) > 5
                and _near(found[inner], part)
                and not _near(found[inner], expected[inner])
            ):
                return _cause(f"The result is shifted by one {word} along axis {axis}.", "moved")
    return None


def _ratios(found, expected):
    """How many times as large the numbers are, NaN where both are 0; None if that says nothing."""
    if not expected.any() or ((expected == 0) & (np.abs(found) > EXACT)).any():
        return None
    return np.divide(found, expected, out=np.full(found.shape, np.nan), where=expected != 0)


def _scaled_numbers(found, expected, arguments):
    """The right numbers times a factor."""
    ratio = _ratios(found, expected)
    if ratio is None or np.nanmax(ratio) - np.nanmin(ratio) > 1e-7 * np.nanmax(np.abs(ratio)):
        return None
    factor = float(np.nanmean(ratio))
    whole = found.size == 1 and float(found.flat[0]).is_integer()
    if found.size == 1 and factor not in (0, -1) and (whole or not _known_factor(factor, arguments)):
        return None  # one number is always some multiple of another
    words = (
        f"The numbers of the result {_by_factor(factor, _lengths(arguments))}."
        if factor
        else "Every number of the result is 0."
    )
    return _cause(words, "factor")


def _known_factor(factor, arguments):
    """Whether a factor has a name."""
    return "times as large" not in _by_factor(factor, _lengths(arguments))


def _own_factors(found, expected, arguments):
    """The right numbers times a factor of its own at each index of an axis."""
    ratio = _ratios(found, expected)
    for axis in range(expected.ndim if ratio is not None else 0):
        others = tuple(other for other in range(expected.ndim) if other != axis)
        if not others or expected.shape[axis] == expected.size or np.isnan(ratio).any():
            continue
        if (np.ptp(ratio, axis=others) < 1e-7 * np.abs(ratio).max()).all():
            factors = ", ".join(f"{factor:.4g}" for factor in ratio.mean(axis=others)[:3])
            return _cause(
                f"Along axis {axis}, the numbers have a factor of their own at each index ({factors}, ...): "
                "something that belongs to it is left out, or taken from a wrong axis.",
                "factor",
            )
    return None


def _at_labels(found, expected, arguments):
    """Numbers that are wrong exactly at the labels."""
    for name, value in arguments.items():
        if (
            not isinstance(value, np.ndarray)
            or value.dtype.kind not in "iu"
            or expected.ndim != 2
            or value.shape != expected.shape[:1]
            or value.min() < 0
            or value.max() >= expected.shape[1]
        ):
            continue
        at = np.arange(expected.shape[1]) == value[:, np.newaxis]
        wrong = ~np.isclose(found, expected, rtol=1e-7, atol=EXACT)
        if (wrong == at).all():
            gap = found[at] - expected[at]
            much = f" by {abs(gap[0]):.4g}" if np.allclose(gap, gap[0]) else ""
            return _cause(
                f"The result is wrong at the places of {name} only: there it is too "
                f"{'large' if gap[0] > 0 else 'small'}{much}.",
                "general",
            )
    return None


def _offset_numbers(found, expected, arguments):
    """The right numbers plus something: the same everywhere, or at each index of an axis."""
    gap = found - expected
    tiny = EXACT * max(1, np.abs(expected).max())
    for name, value in arguments.items():
        if not isinstance(value, np.ndarray) or value.ndim != 1 or value.dtype.kind not in "iuf":
            continue
        for axis in range(gap.ndim):
            if gap.shape[axis] != len(value) or not value.any():
                continue
            shaped = value.reshape([-1 if axis == other else 1 for other in range(gap.ndim)])
            times = next((k for k in (-1, -2, *range(1, 10)) if np.abs(gap - k * shaped).max() < tiny), 0)
            if times:
                words = {-1: "is missing", -2: "is subtracted instead of added"}
                return _cause(
                    f"{name} {words.get(times, f'is added {times + 1} times')} along axis {axis}.", "bias"
                )
    if gap.size > 1 and np.ptp(gap) < tiny:
        size = "large" if gap.flat[0] > 0 else "small"
        return _cause(f"Every number of the result is {abs(gap.flat[0]):.4g} too {size}.", "general")
    for axis in range(gap.ndim):
        others = tuple(other for other in range(gap.ndim) if other != axis)
        if others and gap.shape[axis] < gap.size and (np.ptp(gap, axis=others) < tiny).all():
            words = f"Along axis {axis}, a number of its own is added at each index: is a bias wrong there?"
            return _cause(words, "bias")
    return None


def _bent_numbers(found, expected, arguments):
    """The right numbers, put through another function."""
    with np.errstate(all="ignore"):
        ways = {
            "the absolute values of the right ones": np.abs(expected),
            "the squares of the right ones": expected**2,
            "the right ones, with zeros for those below 0": np.maximum(expected, 0),
            "the square roots of the right ones": np.sqrt(expected),
            "the logarithms of the right ones": np.log(expected),
            "the exponentials of the right ones": np.exp(expected),
            "one minus the right ones": 1 - expected,
            "the right ones, rounded": np.rint(expected),
            "the right ones, cut off behind the point": np.trunc(expected),
            "one divided by the right ones": 1 / expected,
        }
        for words, bent in ways.items():
            if np.isfinite(bent).all() and _near(found, bent):
                return _cause(f"The numbers of the result are {words}.", "factor")
    return None


def _by_sign(found, expected, arguments):
    """Numbers that are wrong exactly where an argument is below, at or above 0."""
    wrong = ~np.isclose(found, expected, rtol=1e-7, atol=EXACT)
    for name, value in arguments.items():
        if not isinstance(value, np.ndarray) or value.shape != found.shape or value.dtype.kind not in "iuf":
            continue
        signs = {"below 0": value < 0, "0": value == 0, "above 0": value > 0}
        there = [words for words, chosen in signs.items() if (wrong & chosen).any()]
        here = [words for words, chosen in signs.items() if chosen.any()]
        chosen = np.logical_or.reduce([signs[words] for words in there])
        if len(here) == len(there) or wrong.sum() < 0.6 * chosen.sum():
            continue
        first = tuple(np.argwhere(wrong)[0])
        return _cause(
            f"The result is wrong where {name} is {' or '.join(there)}: there it holds {found[first]:.4g} "
            f"where {name} is {value[first]:.4g}, and {expected[first]:.4g} is right.",
            "general",
        )
    return None


def _sums_to_one(found, expected, arguments):
    """Shares that should add up to 1 along one axis, and do along another, or nowhere."""
    for axis in range(expected.ndim):
        if not np.allclose(expected.sum(axis=axis), 1) or (expected < 0).any():
            continue
        words = f"The numbers should be shares that add up to 1 along axis {axis}"
        if (found < 0).any():
            return _cause(f"{words}; some of yours are below 0. Is the exponential missing?", "factor")
        if np.allclose(found.sum(axis=axis), 1):
            return _other_base(found, expected, axis)
        other = next((axis for axis in range(found.ndim) if np.allclose(found.sum(axis=axis), 1)), None)
        if other is not None:
            return _cause(f"{words}; yours do along axis {other}.", "axes")
        if np.isclose(found.sum(), 1):
            return _cause(f"{words}; yours do only all together.", "axes")
        return _cause(f"{words}; yours add up to {found.sum(axis=axis).flat[0]:.4g}.", "factor")
    return None


def _other_base(found, expected, axis):
    """Shares that were made of other powers: of 2, or of scores that were multiplied."""
    if (found <= 0).any():
        return None
    logs = [np.log(shares) for shares in (found, expected)]
    mine, right = (log - log.mean(axis=axis, keepdims=True) for log in logs)
    factor = float((mine * right).sum() / max((right**2).sum(), 1e-300))
    if not np.allclose(mine, factor * right):
        return None
    base = " (powers of 2 instead of e?)" if math.isclose(factor, math.log(2)) else ""
    return _cause(
        f"The shares are those of scores that were multiplied by {factor:.4g} first{base}.", "factor"
    )


def _reduced(found, expected, arguments):
    """Numbers that are the largest, the mean or the like along axes of an argument."""
    ways = {"the sums": np.sum, "the means": np.mean, "the largest": np.max, "the smallest": np.min}
    for name, value in arguments.items():
        if not isinstance(value, np.ndarray) or value.dtype.kind not in "iuf" or found.size < 2:
            continue
        for count, (words, reduce) in itertools.product(range(1, value.ndim + 1), ways.items()):
            for axes in itertools.combinations(range(value.ndim), count):
                made = reduce(value, axis=axes)
                if made.shape == found.shape and np.allclose(made, found):
                    along = "axis" if count == 1 else "axes"
                    return _cause(
                        f"The numbers of the result are {words} of {name} along {along} {_listed(axes)}.",
                        "axes",
                    )
    return None


def _picked(found, expected, arguments):
    """Numbers that are picked from an argument, at a wrong place or not at all."""
    for name, value in arguments.items():
        if (
            not isinstance(value, np.ndarray)
            or value.dtype.kind not in "iuf"
            or not 1 < expected.size < value.size
            or expected.ndim != value.ndim
        ):
            continue
        if not np.isin(expected, value).all() or len(np.unique(value)) < 2:
            continue
        place = tuple(map(int, np.argwhere(~np.isclose(found, expected))[0]))
        words = f"output{_index(place)} should be {_entry(name, value, expected[place])}; it is "
        if not np.isin(found, value).all():
            return _cause(
                f"{words}{found[place]:.4g}, which is no entry of {name}: one should be chosen, not mixed.",
                "general",
            )
        ways = ((found <= expected).all(), (found >= expected).all())
        rule = {
            (True, False): "Yours are never larger than the right ones.",
            (False, True): "Yours are never smaller than the right ones.",
        }.get(ways, "")
        return _cause(f"{words}{_entry(name, value, found[place])}. {rule}".strip(), "general")
    return None


def _entry(name, value, number):
    """A number as the entry of an argument, if it stands there only once."""
    places = np.argwhere(value == number)
    return f"{number:.4g}" + (
        f", which is {name}{_index(places[0])}" if len(places) == 1 else f", an entry of {name}"
    )


def _which_places(found, expected, arguments):
    """Where a result is wrong, if nothing else can be said."""
    wrong = ~np.isclose(found, expected, rtol=1e-7, atol=EXACT * np.abs(expected).max())
    if found.ndim == 0 or not wrong.any():
        return _cause(f"The result is {found.flat[0]:.6g}; {expected.flat[0]:.6g} is right.", "general")
    first = tuple(map(int, np.argwhere(wrong)[0]))
    beside = [
        f"{name} is {value[first]:.4g}"
        for name, value in arguments.items()
        if isinstance(value, np.ndarray) and value.shape == found.shape
    ]
    where = f" where {_listed(beside)}" if beside else ""
    example = f"output{_index(first)} is {found[first]:.6g}{where}; {expected[first]:.6g} is right."
    if wrong.all():
        return _cause(f"No number of the result is right. {example}", "general")
    cover = None if beside else _covered(wrong)
    if cover:
        return _cause(f"{cover} {example}", "range")
    some = f"{wrong.sum()} of {found.size} numbers {'is' if wrong.sum() == 1 else 'are'} wrong."
    return _cause(f"{some} {example}", "general")


def _covered(wrong):
    """Which rows, columns or channels are wrong, if just these are."""
    letters = _word(_LETTERS, "flow", wrong.ndim) if wrong.ndim > 1 else "q"
    columns = _columns([("output", wrong.ndim)], {"output": letters})
    places = Products((), columns, dict.fromkeys(np.ndindex(wrong.shape), 1))
    cover = _covering(places, set(map(tuple, np.argwhere(wrong).tolist())))
    if not cover:
        return None
    edge = {value in _span(places, column) for column, values in cover for value in values} == {True}
    grid = {column.letter for column, _ in cover} <= set("pq") and wrong.ndim > 1
    border = " The border is treated otherwise than it should be." if edge and grid else ""
    one = len(cover) == 1 and len(cover[0][1]) == 1
    return f"Only {_listed(_named(*each) for each in cover)} {'is' if one else 'are'} wrong.{border}"


def _explain_numbers(found, expected, arguments):
    """Say how a result differs from the right one, from the numbers alone."""
    found, expected = found.astype(float), expected.astype(float)
    if found.shape != expected.shape:
        return _other_shape(expected, found, arguments) or _cause(_shape_words(expected, found), "shape")
    if not np.isfinite(found).all():
        return _not_finite(found)
    ways = (
        _moved_numbers,
        _scaled_numbers,
        _bent_numbers,
        _sums_to_one,
        _at_labels,
        _own_factors,
        _offset_numbers,
        _by_sign,
        _reduced,
        _picked,
    )
    cause = next(filter(None, (way(found, expected, arguments) for way in ways)), None)
    return cause or _which_places(found, expected, arguments)
