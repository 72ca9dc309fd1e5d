# Exported from chapters/ by tools/export.py: edit the chapter, not this file.
"""What is wrong with a traced result as a whole: its kinds of products, its shape, its order.

Chapter "What your code read" builds this module.
"""

import itertools
import math

import numpy as np

from convlib.check.causes import (
    EXACT, Context, _by_factor, _cause, _count, _explain_products, _joined, _listed, _plain_factor, _same, _sizes,
)
from convlib.check.products import Formula, Products, _columns, _formula_of, _index, _letters_of, _products_of, _role_of
from convlib.check.tracing import EMPTY, terms_of

__all__ = []


# Chapter "What your code read" (chapters/tracing.ipynb)

def _missing_kind(products, found):
    """What to say of products that are not there at all."""
    names = products.names
    if len(names) == 1 and _role_of(names[0]) == "bias":
        return _cause("The bias is missing: it is added nowhere.", "bias")
    if len(names) == 1:
        words = f"is there only in products; {names[0]} by itself, which should be added, is missing"
        inside = any(names[0] in other for other in found)
        return _cause(f"{names[0]} {words if inside else 'is nowhere in the result'}.", "general")
    if any(len(other) > len(names) and set(names) <= set(other) for other in found):
        return _cause(
            f"{' * '.join(names)} is there only in longer products; by itself, as in "
            f"{products.output(min(products.times))}, it is missing.",
            "general",
        )
    return _cause(f"There is no product of {' and '.join(names)} in the result.", "general")


def _other_kind(products, wanted, outputs):
    """What to say of products that have no counterpart."""
    names, row = products.names, min(products.times)
    if EMPTY in names:
        return _cause(
            f"{products.output(row)} holds what happened to be in the memory of np.empty: it is added to, or "
            "handed on, before anything was written there.",
            "memory",
        )
    if not names:
        amounts = set(products.times.values())
        amount = f"the number {amounts.pop():.4g}" if len(amounts) == 1 else "a number"
        where = "every output" if len(products.times) == outputs else products.output(row)
        sources = " or ".join(sorted({name for kind in wanted for name in kind}))
        words = f"{amount} is added to {where}; it does not come from {sources}."
        return _cause(words[0].upper() + words[1:], "general")
    lost = [set(kind) - set(names) for kind in wanted if len(kind) == 2 and set(names) < set(kind)]
    if len(names) == 1 and lost:
        return _cause(
            f"{names[0]} is added up without being multiplied by {_listed(lost[0])}: {products.output(row)} "
            f"holds {products.spelled(row)} by itself.",
            "general",
        )
    expected = [" * ".join(kind) for kind in wanted if kind]
    return _cause(
        f"Your function adds {products.spelled(row)} to {products.output(row)}; this formula is a sum of "
        f"{_listed(expected)}.",
        "general",
    )


def _bias_count(right, mine, context):
    """A bias that is added too often, or taken off."""
    if (
        len(right.names) != 1
        or _role_of(right.names[0]) != "bias"
        or right.times.keys() != mine.times.keys()
    ):
        return None
    factors = {mine.times[row] / right.times[row] for row in right.times}
    if len(factors) != 1:
        return None
    factor = factors.pop()
    if factor == -1:
        return _cause("The bias is subtracted instead of added.", "bias")
    usual = ("the number of input channels", "the number of weights of a kernel", "the size of the batch")
    whose = next(
        (
            f": as often as {words} says"
            for value, words in context.sizes
            if value == factor and words in usual
        ),
        "",
    )
    return _cause(f"The bias is added {factor:g} times{whose}. It should be added once.", "bias")


def _plain_number(right, mine):
    """What to say of the plain number in a sum, as the 1 in 1 - a, which is another or is not there."""
    mine = mine.times if mine else {}
    both = {place: (mine.get(place, 0), right.times.get(place, 0)) for place in {*mine, *right.times}}
    place = min([place for place, amounts in both.items() if not math.isclose(*amounts)] or both)
    amount, wanted = both[place]
    return _cause(
        f"To {right.output(place)}, the plain number {wanted:.4g} should be added; yours adds {amount:.4g}.",
        "general",
    )


def _alike(wanted, found, context):
    """Kinds of products, two at least, that are counted by the same factor, and their cause."""
    same = {}
    for names, right in wanted.items():
        mine = found.get(names)
        if names and mine and right.times.keys() == mine.times.keys():
            factors = {round(float(mine.times[row] / right.times[row]), 9) for row in right.times}
            if len(factors) == 1 and factors != {1}:
                same.setdefault(factors.pop(), []).append(names)
    factor, kinds = max(same.items(), key=lambda each: len(each[1]), default=(1, []))
    if len(kinds) < 2:
        return [], []
    words = _plain_factor(factor, context.arguments) or _by_factor(factor, context.sizes)
    if factor == -1:
        words += ": is there a + in place of a -, or the other way round?"
    listed = _listed(" * ".join(names) for names in sorted(kinds, key=lambda names: (-len(names), names)))
    return kinds, [_cause(f"The products {listed} {words}.".replace("?.", "?"), "factor")]


def _squared(wanted, found):
    """Factors whose squares are there, and should be there themselves: their kinds, and the causes."""
    kinds, causes = [], []
    for names, products in found.items():
        single = names[:1]
        if names != 2 * single or names in wanted or single not in wanted or single in found:
            continue
        first, second = (products.rows[:, part] for part in _halves(products))
        if (first == second).all():
            row = min(products.times)
            kinds += [names, single]
            words = f"{names[0]} is squared, and should not be: {products.output(row)} holds"
            causes.append(_cause(f"{words} {products.spelled(row)}.", "factor"))
    return kinds, causes


def _halves(products):
    """The numbers of the columns of both factors of a square."""
    start = len(products.of("output"))
    middle = (start + len(products.columns)) // 2
    return range(start, middle), range(middle, len(products.columns))


def _by_kind(wanted, found, context):
    """A cause for each kind of product that differs; None for those that nothing can be said of."""
    (alike, causes), (squares, more) = _alike(wanted, found, context), _squared(wanted, found)
    causes = causes + more
    unweighted = {names for names in found if names and names not in wanted}
    left = {*wanted, *found} - {*alike, *squares}
    for names in sorted(left, key=lambda names: (-len(names), names)):  # the same order in every run
        if not names and names in wanted:
            if names not in found or not _same(wanted[names].times, found[names].times):
                causes.append(_plain_number(wanted[names], found.get(names)))
        elif names not in found:
            if not any(set(other) < set(names) for other in unweighted):
                causes.append(_missing_kind(wanted[names], found))
        elif names not in wanted:
            causes.append(_other_kind(found[names], wanted, math.prod(context.shape)))
        elif not _same(wanted[names].times, found[names].times):
            causes.append(
                _bias_count(wanted[names], found[names], context)
                or _explain_products(wanted[names], found[names], context)
            )
    return causes


def _whole_factor(wanted, found, context):
    """A factor that all products have in common."""
    if wanted.keys() != found.keys():
        return None
    factors = []
    for names, products in wanted.items():
        if products.times.keys() != found[names].times.keys():
            return None
        factors += [found[names].times[row] / times for row, times in products.times.items()]
    if math.isclose(factors[0], 1) or not all(
        math.isclose(factor, factors[0], rel_tol=EXACT) for factor in factors
    ):
        return None
    words = _plain_factor(factors[0], context.arguments) or _by_factor(factors[0], context.sizes)
    return _cause(f"All numbers of the result {words}.", "factor")


def _key(value):
    """What a number is the sum of, to be compared."""
    return frozenset((product, round(float(times), 9)) for product, times in terms_of(value).items())


def _keys(output):
    """What each place is the sum of, by place."""
    return {place: _key(output[place]) for place in np.ndindex(output.shape)}


def _shape_words(right, mine):
    """The shapes, in words."""
    return f"The result has the shape {mine.shape}; it should have {right.shape}."


def _equal(first, second):
    """Whether two traced outputs are the same."""
    return first.shape == second.shape and all(
        mine is right or _key(mine) == _key(right)
        for mine, right in zip(first.flat, second.flat, strict=True)
    )


def _other_shape(right, mine, arguments):
    """Say how a result of another shape belongs to the right one."""
    words, letters = _shape_words(right, mine), _letters_of(right, arguments)["output"]
    if mine.size == right.size and _equal(mine.reshape(right.shape), right):
        return _cause(f"{words} The numbers are right, and only the shape is not.", "shape")
    if not mine.size and right.size:
        return _cause(f"{words} Nothing is left in it: a slice such as [a:-a] is empty where a is 0.", "empty")
    if mine.ndim == right.ndim:
        for order in itertools.permutations(range(mine.ndim)):
            if _equal(mine, right.transpose(order)):
                axes = ", ".join(letters[axis] for axis in order)
                return _cause(
                    f"{words} The numbers are right, but the axes stand in the order {axes}.", "shape"
                )
        return _unrepeated(right, mine, words) or _cut(right, mine, words)
    if mine.ndim == right.ndim + 1:
        return _one_axis_more(right, mine, words, arguments)
    for axis in range(right.ndim if right.ndim == mine.ndim + 1 else 0):
        if _equal(np.asarray(right.sum(axis=axis)), mine):
            return _cause(
                f"{words} Your function also adds up axis {letters[axis]}, which should be left.", "axes"
            )
        for index in range(right.shape[axis]):
            if _equal(np.asarray(right.take(index, axis)), mine):
                which = f"{letters[axis]} = {index}" + (
                    ", the last," if index + 1 == right.shape[axis] else ""
                )
                return _cause(f"{words} Only the result for {which} is left of all.", "assign")
    if cause := _repeated(right, mine, words):
        return cause
    few = "An axis is missing: something is added up, or picked, that should be left."
    return _cause(
        f"{words} {few if mine.ndim < right.ndim else 'Axes are left that should be added up.'}", "axes"
    )


def _one_axis_more(right, mine, words, arguments):
    """A result with an axis that should have been added up, or averaged."""
    for axis in range(mine.ndim):
        summed = np.asarray(mine.sum(axis=axis), dtype=object)
        if _equal(summed, right):
            return _cause(f"{words} Axis {axis} of your result should have been added up.", "axes")
        if mine.shape[axis] and _equal(np.asarray(summed / mine.shape[axis]), right):
            return _cause(f"{words} The mean along axis {axis} of your result is what is wanted.", "axes")
        if summed.shape == right.shape and mine.dtype == object:
            keys = _keys(summed), _keys(right)
            if all(
                {each for each in wanted if len(each[0]) > 1} == {each for each in key if len(each[0]) > 1}
                for key, wanted in zip(*(each.values() for each in keys), strict=True)
            ):
                rest = _explain(right, summed, arguments)
                more = f" Besides: {rest.sentence}" if rest else ""
                return _cause(
                    f"{words} Axis {axis} of your result should have been added up.{more}", "axes"
                )
    return _cause(f"{words} One axis is left too many: it should have been added up.", "axes")


def _repeated(right, mine, words):
    """The right numbers, each several times along axes that should not be there."""
    for axes in itertools.combinations(range(mine.ndim), max(0, mine.ndim - right.ndim)):
        first = tuple(slice(1) if axis in axes else slice(None) for axis in range(mine.ndim))
        if not axes or not right.size or mine[first].size != right.size:
            continue
        whole = np.broadcast_to(mine[first], mine.shape)
        if _equal(mine[first].reshape(right.shape), right) and _equal(whole, mine):
            return _cause(
                f"{words} The numbers are right, but each stands there {mine.size // right.size} times: your "
                f"result should not have the axes {_listed(map(str, axes))}.",
                "axes",
            )
    return None


def _unrepeated(right, mine, words):
    """The right numbers, each once where it should stand several times in a row."""
    lengths = list(zip(right.shape, mine.shape, strict=True))
    if not mine.size or any(wanted % length or wanted > length == 1 for wanted, length in lengths):
        return None
    times = [wanted // length for wanted, length in lengths]
    repeated = mine
    for axis, count in enumerate(times):
        repeated = repeated.repeat(count, axis=axis)
    if not _equal(repeated, right):
        return None
    along = _listed(f"{count} times along axis {axis}" for axis, count in enumerate(times) if count > 1)
    return _cause(f"{words} Each number of yours should stand there {along}.", "shape")


def _cut(right, mine, words):
    """A result that is a part of the right one, or that holds it."""
    window = any(len(product) > 1 for value in right.flat for product in terms_of(value))
    reach = [range(-4, 5) if mine.shape[axis] != right.shape[axis] else (0,) for axis in range(mine.ndim)]
    for offset in sorted(itertools.product(*reach), key=lambda far: sum(map(abs, far))):
        first, second = [], []
        for far, length, wanted in zip(offset, mine.shape, right.shape, strict=True):
            start, stop = max(0, -far), min(length, wanted - far)
            first.append(slice(start, max(start, stop)))
            second.append(slice(start + far, max(start, stop) + far))
        part = mine[tuple(first)]
        if part.shape == tuple(map(min, mine.shape, right.shape)) and _equal(part, right[tuple(second)]):
            here, there = ([one.start for one in slices] for slices in (first, second))
            if part.size < min(mine.size, right.size):
                stands = f"your output{_index(here)} is what belongs to output{_index(there)}"
                more = "too large along one axis and too small along another"
                return _cause(f"{words} It is {more}: {stands}.", "shape")
            return _cause(
                f"{words} {_cut_words(part.size == mine.size, here, there, window)}",
                "border" if window else "shape",
            )
    for stride, (large, small) in itertools.product((2, 3, 4), ((mine, right), (right, mine))):
        thinned = large[..., ::stride, ::stride] if large.ndim > 1 else large[::stride]
        if small.size and _equal(thinned[tuple(map(slice, small.shape))], small):
            moves = (1, stride) if large is mine else (stride, 1)
            return _cause(
                f"{words} From one output to the next, the window moves by {moves[0]}, and should move by "
                f"{moves[1]}.",
                "step",
            )
    return None


def _cut_words(smaller, here, there, window):
    """What a result of another size is; a formula without a window knows no padding."""
    if here == there:
        return (
            "What is there is right, but the end is missing: does a loop end too early?"
            if smaller
            else ("It goes on where the right one ends: does a loop end too late?")
        )
    stands = f"your output{_index(here)} is what belongs to output{_index(there)}"
    if not window:
        return f"{'A part of it is missing' if smaller else 'It is too large'}: {stands}."
    if smaller:
        return f"The border is missing: {stands}. Are the zeros outside (the padding) missing?"
    return f"It is too large: {stands}. Are there more zeros outside than the padding says?"


def _rearranged(right, mine, letters):
    """The right sums at wrong places."""
    known = {}
    for place, key in _keys(right).items():
        known.setdefault(key, []).append(place)
    times, moves = {}, _keys(mine)
    if len(known) < right.size:
        return None
    for place, key in moves.items():
        source = known.get(key)
        if key and source:
            times[place + source[0]] = 1
    if len(times) < right.size:
        return None
    output = ", ".join(letters["output"])
    columns = _columns([("output", mine.ndim)], letters)
    columns += [column._replace(owner="right") for column in columns]
    products = Products((), columns, times)
    out = columns[: mine.ndim]
    formulas = [
        _formula_of(products, column, out, Formula(((column._replace(owner="output"), 1),), 0))
        for column in columns[mine.ndim :]
    ]
    if None in formulas:
        return None
    source, words = ", ".join(map(str, formulas)), _order_words(formulas, out)
    return _cause(
        f"{words}: your output[{output}] is what belongs to output[{source}].",
        "order" if "transposed" in words else "moved",
    )


def _order_words(formulas, out):
    """In words, how a result is rearranged."""
    changed = [
        number for number, formula in enumerate(formulas) if formula != Formula(((out[number], 1),), 0)
    ]
    signs = [factor for number in changed for _, factor in formulas[number].factors]
    names = [out[number].letter for number in changed]
    fixed = [number for number in changed if not formulas[number].factors]
    if fixed and len(fixed) == len(changed):
        return f"The result is the same for every {_listed(out[number].letter for number in fixed)}"
    own = all([column for column, _ in formulas[number].factors] == [out[number]] for number in changed)
    if own and set(signs) == {-1}:
        if len(changed) == 2 and not set(names) & set("noi"):
            return "The result is turned by half a turn"
        words = [f"{out[number].letter} ({out[number].word}s)" for number in changed]
        return f"The result is in reverse order along {_listed(words)}"
    if len(changed) == 2 and set(signs) == {1} and not own:
        if set(names) <= set("rspquv"):
            return "Rows and columns of the result are swapped (it is transposed)"
        return f"The axes {_listed(names)} of the result are swapped"
    return "The right numbers stand at wrong places"


def _rolled(right, mine, letters):
    """A result that is shifted: most of its numbers stand a fixed step from where they belong."""
    known, steps = {key: place for place, key in _keys(right).items() if key}, []
    for place, key in _keys(mine).items():
        if key in known:
            steps.append(np.subtract(known[key], place))
    if len(steps) < 0.5 * right.size:
        return None
    kinds, counts = np.unique(steps, axis=0, return_counts=True)
    step = kinds[counts.argmax()]
    if counts.max() < 0.5 * right.size or not step.any():
        return None
    words = []
    for far, column in zip(map(int, step), _columns([("output", mine.ndim)], letters), strict=True):
        if far:
            ways = {"row": ("up", "down"), "column": ("to the left", "to the right")}.get(
                column.word, ("back", "on")
            )
            words.append(f"{_count(abs(far), column.word)} {ways[far < 0]}")
    return _cause(
        f"The result is shifted by {_listed(words)}: most numbers stand beside the place where they belong.",
        "moved",
    )


def _listed_products(keys, limit=3):
    """Some products, as code."""
    words = [" * ".join(str(entry) for entry in product) or "a number" for product in sorted(keys)]
    more = [f"{len(words) - limit} more"] if len(words) > limit else []
    return _listed(words[:limit] + more)


def _worst_place(right, mine):
    """Return the place of the output at which most products differ; the first of them."""

    def differing(place):
        wanted, found = terms_of(right[place]), terms_of(mine[place])
        return sum(
            not math.isclose(wanted.get(product, 0), found.get(product, 0), rel_tol=EXACT)
            for product in {*wanted, *found}
        )

    return max(np.ndindex(right.shape), key=differing)


def _general(right, mine):
    """What is missing and what is too many at one output."""
    place = _worst_place(right, mine)
    wanted, found = terms_of(right[place]), terms_of(mine[place])
    missing, extra = wanted.keys() - found.keys(), found.keys() - wanted.keys()
    words = [f"lacks {_listed_products(missing)}"] if missing else []
    if extra:
        words.append(f"holds {_listed_products(extra)}, which should not be there")
    if len(found) > len(wanted):
        words.append(
            f"is a sum of {len(found)} products where {len(wanted)} are right; is something added up "
            "too early, or a matrix product (@) taken instead of *?"
        )
    if not words:
        product = next(each for each in sorted(wanted) if not math.isclose(wanted[each], found[each]))
        words.append(
            f"counts {_listed_products([product])} {found[product]:.4g} times where {wanted[product]:.4g} "
            "is right"
        )
    return _cause(f"output{_index(place)} {'; it '.join(words)}.".replace("?.", "?"), "general")


def _explain(right, mine, arguments):
    """Say how a traced output differs from the right one."""
    letters = _letters_of(right, arguments)
    context = Context(arguments, _sizes(letters, arguments), right.shape)
    wanted, found = _products_of(right, letters), _products_of(mine, letters)
    memory = [
        _other_kind(products, wanted, mine.size) for names, products in found.items() if EMPTY in names
    ]
    if memory:
        return memory[0]
    if mine.shape != right.shape:
        cause = _other_shape(right, mine, arguments)
        if cause or mine.ndim != right.ndim:
            return cause
        wanted, found = (
            {
                names: inside
                for names, products in kinds.items()
                if (inside := products.within(np.minimum(mine.shape, right.shape))).times
            }
            for kinds in (wanted, found)
        )
    else:
        cause = _whole_factor(wanted, found, context) or _rearranged(right, mine, letters)
        if cause:
            return cause
    causes = _by_kind(wanted, found, context)
    if mine.shape == right.shape:
        return _rolled(right, mine, letters) if None in causes else _joined(causes)
    cause = _joined(list(filter(None, causes)))
    return _cause(f"{_shape_words(right, mine)} {cause.sentence}", cause.hint) if cause else None
