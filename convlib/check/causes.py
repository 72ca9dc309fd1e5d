# Exported from chapters/ by tools/export.py: edit the chapter, not this file.
"""Sentences that point to the cause, for products of the same factors.

Chapter "What your code read" builds this module.
"""

import itertools
import math
from typing import NamedTuple

import numpy as np

from convlib.check.products import View, _best_view, _index, _role_of, _same_as

__all__ = ["EXACT", "Cause", "Size", "Context"]


# Chapter "What your code read" (chapters/tracing.ipynb)

EXACT = 1e-9  # numbers that differ by less, relative to the largest, are the same


class Cause(NamedTuple):
    """A sentence that says what is wrong, and a hint (chapter "What your code read")."""

    sentence: str
    hint: str


_LOOK = {
    "place": "Put 0 for each index of the output by hand: what is read there, and what should be?",
    "shift": "Put the place (0, 0) into the index by hand: which row and column does the first weight meet?",
    "turn": "Follow one product: which weight meets the neuron up to the left of the middle, which yours?",
    "swap": "Say the indices aloud in the order of the axes, and compare with the formula.",
    "step": "Compute the rows that outputs 0 and 1 begin at. How far apart should they be?",
    "channel": "Which loop variable is the channel of this array? Test with unequal numbers of channels.",
    "range": "Print the first and the last value of each loop variable, and how many passes there are.",
    "assign": "A sum grows: it begins at 0 before the loops, and every pass adds to it with +=.",
    "border": "Take an output at the border: which of its products lie inside the grid? The rest are zeros.",
    "factor": "",  # the exercise itself has a better hint
    "bias": "There is one bias for each output channel. Where and how often is it added?",
    "axes": "Which axes should be left in the result? All others are added up.",
    "moved": "Look for the first number of the right result in yours: at which place does it stand?",
    "order": "Compare the first row of your result with the first column of the right one.",
    "empty": "Print both ends of each slice. Where do they lie if the padding is 0?",
    "shape": "Print the shape after each step, and compare it with the one you expect.",
    "memory": "np.zeros begins with zeros, np.empty with whatever the memory held before.",
    "route": "A flow goes back to the input that its output was made of. Which one was that?",
    "general": "",
    "return": "A function hands its result on with return, in its last line.",
    "type": "Look at the dtype of what you return: print(result.dtype).",
    "arguments": "Work on a copy (argument.copy()) if you need to change an array.",
}


def _cause(sentence, look):
    """A sentence with its hint: one of the usual ones, or another."""
    return Cause(sentence, _LOOK.get(look, look))


def _count(number, word):
    """A number with its noun: 1 row, 2 rows."""
    return f"{number} {word}{'' if number == 1 else 's'}"


def _listed(words):
    """Words with commas and an "and"."""
    words = [str(word) for word in words]
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def _span(products, column):
    """The smallest and the largest value of an index."""
    values = products.rows[:, products.columns.index(column)]
    return int(values.min()), int(values.max())


def _owner(column):
    """Whose index it is, in words."""
    return "the output" if column.owner == "output" else column.owner


def _named(column, values):
    """Some values of an index, in words: rows 0 and 6 of image."""
    return f"{column.word}{'s' if len(values) > 1 else ''} {_listed(values)} of {_owner(column)}"


def _reads(view):
    """What is multiplied, and what should be, in code."""
    mine, right = (_spelled(view, formulas) for formulas in (view.found, view.wanted))
    place = [column.letter for column in view.right.columns if column.owner == "output"]
    output = f"output[{', '.join(place)}]" if place else "the output"
    return f"To {output} your function adds {mine}; right is {right}."


def _spelled(view, formulas):
    """The product in code; indices of a kernel keep their letters where they are right."""
    if _role_of(view.name) == "weight":
        formulas = {column: formula for column, formula in formulas.items() if column in view.changed}
    return view.spelled(formulas)


def _line(column):
    """Whether an index counts rows or columns: "row" or "column"; None if it counts something else."""
    return {"r": "row", "p": "row", "u": "row", "s": "column", "q": "column", "v": "column"}.get(
        column.letter
    )


def _one_way(view, axes):
    """The first sentence that fits to the formulas of these indices."""
    ways = (_shifted, _turned, _swapped, _strided) if _line(axes[0]) else (_swapped, _channel)
    found = next(filter(None, (way(view, axes) for way in ways)), None)
    return found or _cause(
        f"An index of {_listed(sorted({axis.owner for axis in axes}))} is wrong.", "swap"
    )


def _by_formula(view):
    """Sentences for indices that follow other formulas than they should."""
    groups = [[axis for axis in view.changed if bool(_line(axis)) == grid] for grid in (True, False)]
    causes = [_one_way(view, axes) for axes in groups if axes]
    words = " ".join(cause.sentence for cause in causes)
    return _cause(f"{words} {_reads(view)}", causes[0].hint)


def _shifted(view, axes):
    """Formulas that differ by their constant: the window lies beside its place."""
    words, padding = [], set()
    for axis in axes:
        mine, right = view.found[axis], view.wanted[axis]
        if mine.factors != right.factors:
            return None
        far = mine.constant - right.constant
        ways = {"row": ("down", "up"), "column": ("to the right", "to the left")}[_line(axis)]
        words.append(f"{_count(abs(far), _line(axis))} too far {ways[far < 0]}")
        padding.add(abs(mine.constant) if len(mine.factors) == 2 else None)
    taken = f", as if the padding were {padding.pop()}" if len(axes) == 2 and len(padding) == 1 else ""
    taken = "" if "None" in taken else taken
    kernel = any(_role_of(name) == "weight" for name in view.right.names)
    look = "shift" if kernel and len(view.right.of(view.name)) > 1 else "place"
    return _cause(f"The part of {view.name} that is read lies {_listed(words)}{taken}.", look)


def _turned(view, axes):
    """Formulas in which a sign differs: a kernel, or a flow, is turned or is not."""
    flipped = [_flipped(view.found[axis], view.wanted[axis]) for axis in axes]
    owners = flipped[0]
    if not owners or any(other != owners for other in flipped):
        return None
    ways = {"row": "mirrored top to bottom", "column": "mirrored left to right"}
    way = "turned by half a turn" if len(axes) == 2 else ways[_line(axes[0])]
    if len(owners) == len(view.wanted[axes[0]].factors):
        return _cause(f"{view.name} is read {way}, and should be read as it is.", "turn")
    if any(_role_of(owner) == "weight" for owner in owners):
        backward = any(factor < 0 for _, factor in view.wanted[axes[0]].factors)
        words = (
            f"{'on the way back ' * (_role_of(view.name) == 'flow')}the kernel must be {way}"
            if backward
            else f"the kernel is {way}, and should not be"
        )
        return _cause(f"Every weight meets the neuron opposite: {words}.", "turn")
    whose = _listed(sorted(owners - {"output"})) or "The result"
    return _cause(f"{whose} is {way}, and should not be.", "turn")


def _flipped(mine, right):
    """The owners of the indices that have the other sign, if nothing but signs and the constant differ."""
    mine, right = dict(mine.factors), dict(right.factors)
    if {column: abs(factor) for column, factor in mine.items()} != {
        column: abs(factor) for column, factor in right.items()
    }:
        return set()
    return {column.owner for column in mine if mine[column] != right[column]}


def _swapped(view, axes):
    """Formulas with rows where columns belong, or channels in each other's place."""
    mine, right = (
        [dict(formulas[axis].factors) for axis in axes] for formulas in (view.found, view.wanted)
    )
    moved = [
        {index for index in wrong if index not in good} for wrong, good in zip(mine, right, strict=True)
    ]
    letters = [sorted(index.letter for formula in each for index in formula) for each in (mine, right)]
    if len(axes) != 2 or not all(moved) or letters[0] != letters[1]:
        return None
    if not _line(axes[0]):
        return _cause(f"The channels of {view.name} are mixed up.", "channel")
    owners = {index.owner for each in moved for index in each}
    whose = owners.pop() if len(owners) == 1 else view.name
    kernel = _role_of(whose) == "weight"
    signs = {
        factor > 0
        for each, indices in zip(mine, moved, strict=True)
        for index, factor in each.items()
        if index in indices
    }
    if kernel and len(signs) == 2:
        return _cause("The kernel is turned by a quarter of a turn.", "turn")
    if whose not in (view.name, "output") and not kernel and [set(each) for each in mine] == moved:
        whose = f"{view.name}, or those of {whose},"  # nothing else is in the formulas: both would do it
    return _cause(f"Rows and columns of {'the kernel' if kernel else whose} are swapped.", "swap")


def _strided(view, axes):
    """Formulas in which an index is multiplied by another number: a stride, a dilation."""
    mine, right = dict(view.found[axes[0]].factors), dict(view.wanted[axes[0]].factors)
    changed = [index for index in {**mine, **right} if mine.get(index, 0) != right.get(index, 0)]
    if len(changed) != 1:
        return None
    steps = mine.get(changed[0], 0), right.get(changed[0], 0)
    before = "output" if changed[0].owner == "output" else f"number of {changed[0].owner}"
    words = f"From one {before} to the next, the place in {view.name} moves by {steps[0]}"
    return _cause(f"{words}, and should move by {steps[1]}.", "step")


def _channel(view, axes):
    """An index of a channel or an image that follows something else, or nothing."""
    axis = axes[0]
    mine, right = view.found[axis], view.wanted[axis]
    if not mine.factors:
        words = f"Your function always reads {axis.word} {mine.constant} of {axis.owner}."
    elif _flipped(mine, right):
        words = f"The {axis.word}s of {axis.owner} are read in reverse order."
    else:
        words = f"The index of the {axis.word} of {axis.owner} is {mine}; it should be {right}."
    return _cause(words, "channel")


def _covering(products, chosen):
    """The indices, at most two, that say which products are chosen: pairs of a column and its values."""
    rows = products.rows
    taken = np.array([tuple(row) in chosen for row in rows.tolist()])
    full = {}
    for number, column in enumerate(products.columns):
        values = [value for value in np.unique(rows[:, number]) if taken[rows[:, number] == value].all()]
        if values:
            full[column] = list(map(int, values)), np.isin(rows[:, number], values)
    for size in (1, 2):
        fits = [
            pair
            for pair in itertools.combinations(full, size)
            if (np.logical_or.reduce([full[column][1] for column in pair]) == taken).all()
        ]
        if fits:
            best = min(
                fits,
                key=lambda pair: [
                    (len(full[column][0]), _role_of(column.owner) != "weight") for column in pair
                ],
            )
            return [(column, full[column][0]) for column in best]
    return None


def _keeping(products, kept):
    """The indices that say which products are kept: those of some values, or where two are equal."""
    rows, few = products.rows, {}
    taken = np.array([tuple(row) in kept for row in rows.tolist()])
    for number, column in enumerate(products.columns):
        values = np.unique(rows[taken, number])
        if len(values) < len(np.unique(rows[:, number])):
            few.setdefault(column.owner, []).append((column, list(map(int, values))))
    for chosen in sorted(
        [*few.values(), sum(few.values(), [])], key=lambda each: len(each[0][1]) if each else 0
    ):
        fits = [np.isin(rows[:, products.columns.index(column)], values) for column, values in chosen]
        if chosen and (np.logical_and.reduce(fits) == taken).all():
            return chosen, None
    for first, second in itertools.combinations(range(len(products.columns)), 2):
        if ((rows[:, first] == rows[:, second]) == taken).all():
            return [], (products.columns[first], products.columns[second])
    return [], None


def _lacking(right, mine):
    """Products that are missing, where none is wrong."""
    missing, kept = right.times.keys() - mine.times.keys(), right.times.keys() & mine.times.keys()
    one = _one_each(right, kept)
    if one:
        because = ": each one overwrites the one before" if one == "last" else ""
        words = (
            f"Of the products of each output only the {one} is left, where all should be added up{because}."
        )
        return _cause(words, "assign")
    few, same = _keeping(right, kept)
    if same:
        where = _listed(f"the {index.word} of {index.owner}" for index in same)
        return _cause(
            f"Only the products with {same[0].letter} = {same[1].letter} are there ({where}).", "range"
        )
    cover = _covering(right, missing)
    if cover and cover[0][0].owner == "output":
        return _unfilled(right, cover)
    most = [len(values) > np.ptp(_span(right, column)) / 2 for column, values in cover or ()]
    if few and all(most):
        return _only(right, few)
    return _missed(right, cover) if cover else None


def _one_each(right, kept):
    """ "last" or "first" if of each output just this product is left, and there were more."""
    ends = {}
    axes = len(right.of("output"))
    for row in map(tuple, right.rows.tolist()):
        ends.setdefault(row[:axes], []).append(row)
    if all(len(rows) == 1 for rows in ends.values()) or len(kept) != len(ends):
        return None
    for word, end in (("last", -1), ("first", 0)):
        if kept == {rows[end] for rows in ends.values()}:
            return word
    return None


def _unfilled(right, cover):
    """Places of the output to which nothing is added."""
    what = "Nothing is added up" if len(right.names) > 1 else f"{right.names[0]} is not added"
    words = f"{what} in {_listed(_named(*each) for each in cover)}."
    ends = {value in _span(right, column) for column, values in cover for value in values}
    grid = {column.letter for column, _ in cover} <= set("pqrs")
    if ends == {True} and grid and max(len(values) for _, values in cover) == 2:
        words += " The border needs its products, too: outside the grid there are zeros."
        return _cause(words, "border")
    return _cause(f"{words}{_end(right, *cover[0])}", "range")


def _missed(right, cover):
    """Products that are missing at some values of an index, or of two."""
    where = _listed(_named(*each) for each in cover)
    return _cause(f"The products with {where} are missing.{_end(right, *cover[0])}", "range")


def _end(right, column, values):
    """What missing values of an index say about its loop."""
    first, last = _span(right, column)
    if first < last and values == list(range(values[0], last + 1)) and values[0] > first:
        return f" Does a loop end {_count(len(values), 'pass')} too early?".replace("passs", "passes")
    if first < last and values == list(range(first, values[-1] + 1)):
        return f" Does a loop begin {_count(len(values), 'pass')} too late?".replace("passs", "passes")
    return ""


def _only(right, few):
    """Products of some values of indices only are left."""
    words = f"Only the products with {_listed(_named(*each) for each in few)} are left."
    spans = [(values, _span(right, column)) for column, values in few if column.owner != "output"]
    two = all(last == first + 1 for _, (first, last) in spans)
    if spans and all(values == [last] for values, (_, last) in spans):
        also = " Or does a loop begin too late?" if two else ""
        return _cause(
            f"{words} Each pass of a loop overwrites the one before: = in place of +=.{also}", "assign"
        )
    if spans and all(values == [first] for values, (first, _) in spans):
        also = " Or does the loop end too early?" if two else ""
        words += f" Does the function stop, or return, after the first pass of a loop?{also}"
    return _cause(words, "range")


def _outside(right, mine, context):
    """Products read at the other side, at the edge or in a mirror, where the grid has ended."""
    for name in right.names:
        alone = len(right.names) < 2 or len(set(right.names)) < len(right.names)
        if alone or _role_of(name) == "weight" or not right.of(name):
            continue
        view = View(right, right, name)
        axes = [column for column in view.wanted if column.owner == name]
        if None in view.wanted.values() or any(
            (view.tied[column].of(mine) != mine.rows[:, mine.columns.index(column)]).any()
            for column in view.tied
        ):
            continue
        wanted = np.stack([view.wanted[column].of(mine) for column in axes], axis=1)
        sizes = np.array(context.arguments[name].shape)
        beyond, found = ((wanted < 0) | (wanted >= sizes)).any(axis=1), mine.rows[:, mine.of(name)]
        if not beyond.any():
            steps = np.unique((found - wanted) % sizes, axis=0)
            grid = [column.letter in "rspq" for column in axes]
            mirror = (sizes <= 2).all()  # of two numbers nobody knows whether they went round or were turned
            rolled = len(steps) == 1 and steps[:, grid].any() and not mirror
            if rolled and len(np.unique(found - wanted, axis=0)) > 1:
                return _cause(
                    f"{name} is shifted, and what leaves it on one side comes in on the other (np.roll): "
                    f"where {name}{_index(wanted[0])} is meant, your function reads {name}"
                    f"{_index(found[0])}.",
                    "place",
                )
            continue
        mirrored = np.abs(wanted)
        mirrored = np.where(mirrored >= sizes, 2 * (sizes - 1) - mirrored, mirrored)
        for way, read in (
            ("wrap", wanted % sizes),
            ("edge", np.clip(wanted, 0, sizes - 1)),
            ("mirror", mirrored),
        ):
            if (found == read).all():
                return _beyond(way, name, mine.rows[beyond][0], wanted[beyond][0], mine)
    return None


def _beyond(way, name, row, wanted, mine):
    """The sentence for products that are read where the grid has ended."""
    output, meant, read = mine.output(row), name + _index(wanted), name + _index(row[mine.of(name)])
    words = {
        "wrap": "reads the other side: Python counts negative indices from the end, and np.roll goes round",
        "edge": "repeats the edge",
        "mirror": "reads a mirror image",
    }[way]
    words = f"Outside the grid there should be zeros, and your function {words}."
    return _cause(f"{words} {output} should meet a zero at {meant}; it meets {read}.", "border")


class Size(NamedTuple):
    """A number that a result may be multiplied or divided by (chapter "What your code read")."""

    value: float
    words: str


_COUNTS = {
    "i": "the number of input channels",
    "n": "the size of the batch",
    "o": "the number of output channels",
    "uv": "the number of weights of a kernel",
    "iuv": "the number of weights of an output channel",
    "pq": "the number of places of an output channel",
    "rs": "the number of places of an input channel",
    "npq": "the number of places in the whole batch",
    "opq": "the number of outputs",
    "nopq": "the number of outputs",
    "no": "the number of outputs",
    "irs": "the number of inputs",
    "p": "the number of rows",
    "q": "the number of columns",
    "u": "the number of rows of the kernel",
    "v": "the number of columns of the kernel",
}


def _sizes(letters, arguments):
    """The sizes that a result may be multiplied or divided by."""
    size = {}
    grids = [name for name in arguments if _role_of(name) == "input" and len(letters.get(name, "")) > 1]
    unknown = grids if len(grids) > 1 else []  # of two inputs nobody knows what their axes count
    for name, word in letters.items():
        if name in arguments and name not in unknown:
            size.update(zip(word, arguments[name].shape, strict=False))
    found = [
        Size(math.prod(map(size.get, key)), words)
        for key, words in _COUNTS.items()
        if set(key) <= set(size)
    ]
    return [each for each in found if each.value > 1]


def _plain_factor(factor, arguments):
    """A factor that is a plain argument, such as the learning rate, in words; or None."""
    for name, value in arguments.items():
        if isinstance(value, float) and abs(value) not in (0, 1):
            named = f"{name} ({value:g})"
            for power, words in (
                (-1, f"lack the factor {named}"),
                (1, f"are multiplied by {named} once too often"),
                (-2, f"are divided by {named} where they should be multiplied by it"),
            ):
                if math.isclose(abs(factor), abs(value) ** power, rel_tol=EXACT):
                    return words + (", and have the other sign" if factor < 0 else "")
    return None


def _by_factor(factor, sizes):
    """What a constant factor is, in words: how the numbers came to be that much larger or smaller."""
    if not math.isfinite(factor) or not factor:
        return f"are multiplied by {factor:g}"
    if math.isclose(factor, -1):
        return "have the other sign"
    sign, factor = "have the other sign, and " if factor < 0 else "", abs(factor)
    if math.isclose(factor, 2):
        return f"{sign}are counted twice"
    for value, words in sizes:
        if math.isclose(factor * value, 1, rel_tol=EXACT):
            mean = " (a mean instead of a sum?)" if isinstance(value, int) else ""
            return f"{sign}are divided by {value:.4g}, {words}{mean}"
        if math.isclose(factor, value, rel_tol=EXACT):
            mean = " (counted too often, or a sum instead of a mean?)" if isinstance(value, int) else ""
            return f"{sign}are multiplied by {value:.4g}, {words}{mean}"
    if math.isclose(factor, round(factor), rel_tol=EXACT):
        return f"{sign}are counted {round(factor)} times"
    if math.isclose(1 / factor, round(1 / factor), rel_tol=EXACT):
        return f"{sign}are divided by {round(1 / factor)}"
    for mine, right in itertools.permutations(sizes, 2):
        if math.isclose(factor * mine.value, right.value, rel_tol=EXACT):
            words = f"{sign}are divided by {mine.value:g}, {mine.words}"
            return f"{words}, where {right.value:g}, {right.words}, is meant"
    return f"{sign}are {factor:.4g} times as large as they should be"


def _weighted(right, mine, context):
    """Products that are all there, but counted otherwise."""
    common = [row for row in right.times if row in mine.times]
    ratio = {row: mine.times[row] / right.times[row] for row in common}
    wrong = {row: factor for row, factor in ratio.items() if not math.isclose(factor, 1, rel_tol=EXACT)}
    if not wrong:
        return None
    factors, axes = list(wrong.values()), len(right.of("output"))
    what = (
        "The products " + " * ".join(right.names)
        if len(right.names) > 1
        else "The numbers of " + right.names[0]
    )
    if all(math.isclose(factor, factors[0], rel_tol=EXACT) for factor in factors):
        words = _plain_factor(factors[0], context.arguments) or _by_factor(factors[0], context.sizes)
        if math.isclose(factors[0], -1):
            ways = (
                "are added where they should be subtracted",
                "are subtracted where they should be added",
            )
            words = ways[bool(next(iter(right.times.values())) > 0)]
        cover = [] if len(wrong) == len(right.times) else _covering(right, wrong.keys())
        if cover is not None:
            where = f" with {_listed(_named(*each) for each in cover)}" if cover else ""
            return _cause(f"{what}{where} {words}.", "factor")
    count = {}
    for row in right.times:
        count[row[:axes]] = count.get(row[:axes], 0) + 1
    if all(math.isclose(factor * count[row[:axes]], 1) for row, factor in ratio.items()):
        return _cause(
            f"{what} are averaged: each output is divided by the number of its products.", "factor"
        )
    for name, value in context.arguments.items():
        if isinstance(value, np.ndarray) and value.shape == context.shape and all(
            math.isclose(factor, value[row[:axes]], rel_tol=EXACT) for row, factor in ratio.items()
        ):
            return _cause(f"{what} are multiplied by {name}, too.", "factor")
    row = next(iter(wrong))
    return _cause(
        f"In {right.output(row)}, {right.spelled(row)} is counted {mine.times[row]:.4g} times, where "
        f"{right.times[row]:.4g} is right.",
        "factor",
    )


def _same(right, mine):
    """Whether two collections of products are the same, up to rounding."""
    return right.keys() == mine.keys() and all(
        math.isclose(times, mine[row], rel_tol=EXACT) for row, times in right.items()
    )


def _kept_axes(right, mine):
    """A sum over some axes that leaves the wrong ones."""
    if len(right.names) != 1 or right.columns[-1].owner == "output":
        return None
    out = [column for column in right.columns if column.owner == "output"]
    inner = [column for column in right.columns if column.owner != "output"]
    tied = []
    for products in (right, mine):
        tied.append([column for column in inner if _same_as(products, column, out)])
    if tied[0] == tied[1] or not tied[1] or len(tied[0]) != len(tied[1]):
        return None
    wrong, good = (
        [f"{column.letter} (axis {column.axis})" for column in columns] for columns in tied[::-1]
    )
    return _cause(
        f"Your function adds up {right.names[0]} over the wrong axes: a number is left for each "
        f"{_listed(wrong)}, and there should be one for each {_listed(good)}.",
        "axes",
    )


def _too_many(right, mine):
    """Products that are too many, where the indices of the others are right."""
    extra = mine.times.keys() - right.times.keys()
    if right.times.keys() - mine.times.keys():
        return None
    tied = next(
        (
            pair
            for pair in itertools.combinations(right.columns, 2)
            if pair[0].owner != pair[1].owner
            and _always_equal(right, pair)
            and _all_pairs(mine, pair)
        ),
        None,
    )
    if tied:
        first, second = (f"{column.word} of {_owner(column)}" for column in tied)
        return _cause(
            f"Every {first} meets every {second}; only those with the same number belong together.", "axes"
        )
    row, cover = min(extra), _covering(mine, extra)
    where = f", those with {_listed(_named(*each) for each in cover)}" if cover else ""
    return _cause(
        f"There are products too many{where}: {mine.output(row)} also holds {mine.spelled(row)}.", "range"
    )


def _always_equal(products, pair):
    """Whether two indices are the same in all products."""
    first, second = (products.rows[:, products.columns.index(column)] for column in pair)
    return bool((first == second).all())


def _all_pairs(products, pair):
    """Whether each value of an index comes with each of another, and there are several."""
    columns = [products.rows[:, products.columns.index(column)] for column in pair]
    first, second = (len(np.unique(column)) for column in columns)
    return len(np.unique(columns, axis=1).T) == first * second > max(first, second)


def _routed(right, mine, context):
    """A flow that arrives at other inputs than it should, or at more."""
    if len(right.names) != 1 or _role_of(right.names[0]) != "flow" or right.columns[0].letter in "o":
        return None
    axes = len(right.of("output"))
    ways = []
    for products in (right, mine):
        arrives = {}
        for row in sorted(products.times):
            arrives.setdefault(row[axes:], []).append(row[:axes])
        ways.append(arrives)
    if any(len(places) > 1 for places in ways[0].values()):
        return None
    flow = next(flow for flow in sorted({*ways[0], *ways[1]}) if ways[0].get(flow) != ways[1].get(flow))
    right_one, yours = ([f"output{_index(place)}" for place in way.get(flow, [])] for way in ways)
    place = ways[0].get(flow, ways[1].get(flow))[0]
    beside = [
        f"{name}{_index(place)} is {value[place]:.4g}"
        for name, value in context.arguments.items()
        if name != right.names[0] and isinstance(value, np.ndarray) and value.shape == context.shape
    ]
    because = f" ({_listed(beside)})" if beside and right.columns[0].letter != "o" else ""
    return _cause(
        f"{right.names[0]}{_index(flow)} should arrive {_where(right_one)}{because}; yours arrives "
        f"{_where(yours)}.",
        "route",
    )


def _where(places):
    """Where something arrives, in words."""
    return f"at {_listed(places)}" if places else "nowhere"


class Context(NamedTuple):
    """What surrounds the products that are compared (chapter "What your code read")."""

    arguments: dict
    sizes: list
    shape: tuple  # of the right output


def _explain_products(right, mine, context):
    """Say how products of the same factors differ from what they should be."""
    if mine.times.keys() <= right.times.keys():
        found = [_lacking(right, mine)] if mine.times.keys() < right.times.keys() else []
        found.append(_weighted(right, mine, context))
        return None if None in found[:-1] else _joined(list(filter(None, found)))
    cause = _outside(right, mine, context) or _kept_axes(right, mine) or _routed(right, mine, context)
    if cause:
        return cause
    if right.times.keys() < mine.times.keys():
        return _too_many(right, mine)
    view = _best_view(right, mine)
    if view is None or not view.changed:
        return _too_many(right, mine)
    cause = _by_formula(view)
    shared = set(mine.times.values())
    if set(right.times.values()) == {1} and len(shared) == 1 and shared != {1}:
        cause = _cause(
            f"{cause.sentence} And the products {_by_factor(shared.pop(), context.sizes)}.", cause.hint
        )
    return cause


def _joined(causes):
    """Several causes as one."""
    if len(causes) < 2:
        return causes[0] if causes else None
    sentences = [cause.sentence for cause in causes]
    hint = next((cause.hint for cause in causes if cause.hint), "")
    return _cause(" Besides: ".join(dict.fromkeys(sentences)), hint)
