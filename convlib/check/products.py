# Exported from chapters/ by tools/export.py: edit the chapter, not this file.
"""The products of a traced result as tables of indices, and the formulas that these indices follow.

Chapter "What your code read" builds this module.
"""

import itertools
from typing import NamedTuple

import numpy as np

from convlib.check.tracing import terms_of

__all__ = ["Column", "Products", "Formula", "View"]


# Chapter "What your code read" (chapters/tracing.ipynb)

_ROLES = {  # words in the name of an argument, and short names
    "same": (("parameter", "gradient", "grad_weight", "grad_bias", "grad_kernel"), ()),
    "weight": (("weight", "kernel", "filter"), ("w", "k")),
    "bias": (("bias",), ("b",)),
    "flow": (("grad", "delta", "flow", "upstream"), ("d", "g", "dout", "dy")),
}


def _role_of(name):
    """Return what an argument is: "weight", "bias", "flow", "same" (as the result) or "input"."""
    name = name.lower()
    for role, (words, short) in _ROLES.items():
        if name in short or any(word in name for word in words):
            return role
    return "input"


_LETTERS = {  # the names of the axes, by what an array is and how many axes it has
    "input": ("", "s", "rs", "irs", "nirs"),
    "weight": ("", "v", "uv", "iuv", "oiuv"),
    "flow": ("", "q", "pq", "opq", "nopq"),
    "bias": ("", "o"),
    "same": ("", "o", "oi", "irs", "oiuv"),
}
_LINEAR = {"input": ("", "i", "ni"), "weight": ("", "i", "oi"), "flow": ("", "o", "no"), "bias": ("", "o")}
_RESULT = {  # what the result of a product is
    ("input", "weight"): "flow",
    ("flow", "weight"): "input",
    ("flow", "input"): "weight",
    ("flow",): "bias",
}
_WORDS = {
    "n": "image",
    "o": "channel",
    "i": "channel",
    "r": "row",
    "s": "column",
    "p": "row",
    "q": "column",
    "u": "row",
    "v": "column",
}


def _letters_of(output, arguments):
    """Return the letters of the axes of a right output and of the arguments that it is made of."""
    arrays = {name: np.ndim(value) for name, value in arguments.items() if isinstance(value, np.ndarray)}
    names = max(
        (tuple(entry.name for entry in product) for value in output.flat for product in terms_of(value)),
        key=len,
        default=(),
    )
    table = _LINEAR if _is_linear(output, arrays) else _LETTERS
    letters = {name: _word(table, _role_of(name), axes) for name, axes in arrays.items()}
    if len(set(names)) > 2 and {_role_of(name) for name in names} == {"input"}:  # no letter for two indices
        letters.update({name: "xyz"[n % 3] for n, name in enumerate(names) if arrays.get(name) == 1})
    roles = tuple(sorted({_role_of(name) for name in names}))
    result = _RESULT.get(roles)
    if result == "bias" and 1 < output.ndim == arrays[names[0]]:
        result = "input"  # handed back to a grid
    if len(names) == 1 and arguments[names[0]].shape == output.shape:
        result = None  # it is passed on, not added up
    letters["output"] = _word(table, result, output.ndim) if result else _like(output, arguments, letters)
    return letters


def _word(table, role, axes):
    """The letters of an array, or the first ones of the alphabet if it has an unusual number of axes."""
    words = table.get(role, _LETTERS["same"])
    return words[axes] if axes < len(words) else "abcdefgh"[:axes]


def _like(output, arguments, letters):
    """The letters of the argument that has the shape of the output."""
    like = [word for name, word in letters.items() if arguments[name].shape == output.shape]
    return like[0] if like else "abcdefgh"[: output.ndim]


def _is_linear(output, arrays):
    """Whether each index of the output is an index of each product: a layer without places."""
    if not arrays or max(arrays.values()) > 2:
        return False
    products = [
        (place, product)
        for place in np.ndindex(output.shape)
        for product in terms_of(output[place])
        if len(product) == 2
    ]
    if len({tuple(len(entry.place) for entry in product) for _, product in products}) > 1:
        return False
    places = np.array([place + first.place + second.place for place, (first, second) in products])
    axes = range(output.ndim)
    return (
        output.ndim > 0
        and bool(products)
        and all((places[:, [axis]] == places[:, output.ndim :]).all(axis=0).any() for axis in axes)
    )


class Column(NamedTuple):
    """One index of a product: of the output or of a factor (chapter "What your code read")."""

    owner: str  # "output", or the argument's name
    axis: int
    letter: str
    word: str


class Products:
    """The products of the same factors, and how often each was added (chapter "What your code read")."""

    def __init__(self, names, columns, times):
        self.names, self.columns, self.times = names, columns, times
        self.rows = np.array(sorted(times), dtype=int).reshape(len(times), len(columns))

    def within(self, shape):
        """The products of the outputs inside a shape."""
        inside = {
            row: times
            for row, times in self.times.items()
            if all(index < length for index, length in zip(row, shape, strict=False))
        }
        return Products(self.names, self.columns, inside)

    def of(self, owner):
        """The numbers of the columns that belong to the output or to one factor."""
        return [number for number, column in enumerate(self.columns) if column.owner == owner]

    def output(self, row):
        """The output of a product, as code."""
        return "output" + _index(row[: len(self.of("output"))])

    def spelled(self, row):
        """The factors of a product, as code."""
        words, start = [], len(self.of("output"))
        for name in self.names:
            stop = start + len(self.of(name)) // self.names.count(name)
            words.append(name + _index(row[start:stop]))
            start = stop
        return " * ".join(words)


def _index(place):
    """A place as code: [0, 2, 3]."""
    return f"[{', '.join(map(str, place))}]" if len(place) else ""


def _products_of(output, letters):
    """Return the products of a traced output, by the names of their factors."""
    found = {}
    for place in np.ndindex(output.shape):
        for product, times in terms_of(output[place]).items():
            row = place + tuple(index for entry in product for index in entry.place)
            axes = tuple((entry.name, len(entry.place)) for entry in product)
            found.setdefault(axes, {})[row] = times
    return {
        tuple(name for name, _ in axes): Products(
            tuple(name for name, _ in axes), _columns((("output", output.ndim), *axes), letters), times
        )
        for axes, times in found.items()
    }


def _columns(owners, letters):
    """The columns of products: of the output and of each factor, which have so many axes."""
    columns = []
    for owner, axes in owners:
        word = letters.get(owner, "")
        word = word if len(word) == axes else "abcdefgh"[:axes]
        for axis, letter in enumerate(word):
            alone = axes < 3 and letter in "noi"
            columns.append(Column(owner, axis, letter, "number" if alone else _WORDS.get(letter, "number")))
    return columns


class Formula(NamedTuple):
    """An index as other indices and a constant make it: p + u - 1 (chapter "What your code read")."""

    factors: tuple  # pairs of a column and a whole number
    constant: int

    def of(self, products):
        """Its value for each product."""
        total = np.full(len(products.rows), self.constant)
        for column, factor in self.factors:
            total += factor * products.rows[:, products.columns.index(column)]
        return total

    def __str__(self):
        parts = sorted(
            ((factor, column.letter) for column, factor in self.factors), key=lambda part: part[0] < 0
        )
        parts += [(self.constant, "")] if self.constant or not parts else []
        words = ""
        for factor, letter in parts:
            size = f"{abs(factor)} * " if letter and abs(factor) != 1 else "" if letter else abs(factor)
            sign = "-" if factor < 0 else "+"
            words += f" {sign} {size}{letter}"
        return words[3:] if words.startswith(" + ") else words[1:].replace("- ", "-", 1)


def _formula_of(products, column, among, known=None):
    """Find how an index follows from others, the same way in all products."""
    target = products.rows[:, products.columns.index(column)]
    if known and (known.of(products) == target).all():
        return known
    usual = [other for other, _ in known.factors] if known else []
    supports = [usual, *(list(pair) for size in range(3) for pair in itertools.combinations(among, size))]
    for support in supports:
        values = products.rows[:, [products.columns.index(other) for other in support]]
        table = np.column_stack([values, np.ones(len(target))])
        solved = np.rint(np.linalg.lstsq(table, target, rcond=None)[0]).astype(int)
        if (table @ solved == target).all() and all(solved[:-1]):
            return Formula(tuple(zip(support, map(int, solved), strict=False)), int(solved[-1]))
    return None


class View:
    """How the indices of one factor follow from all others (chapter "What your code read")."""

    def __init__(self, right, mine, name):
        self.name, self.right = name, right
        out = [column for column in right.columns if column.owner == "output"]
        others = [column for column in right.columns if column.owner not in ("output", name)]
        self.tied = {column: formula for column in others if (formula := _beside(right, column, out))}
        among = out + [column for column in others if column not in self.tied]
        asked = [(column, out) for column in self.tied]
        asked += [(column, among) for column in right.columns if column.owner == name]
        self.wanted = {
            column: self.tied.get(column) or _formula_of(right, column, where) for column, where in asked
        }
        self.found = {
            column: _formula_of(mine, column, where, self.wanted[column]) for column, where in asked
        }
        self.changed = [column for column in self.wanted if self.wanted[column] != self.found[column]]

    def holds(self):
        """Whether all indices follow a formula, in both."""
        return None not in self.wanted.values() and None not in self.found.values()

    def spelled(self, formulas):
        """The product in code: weight[o, i, u, v] * image[i, p + u - 1, q + v - 1]."""
        factors = []
        for name in self.right.names:
            indices = [column for column in self.right.columns if column.owner == name]
            factors.append(
                f"{name}[{', '.join(str(formulas.get(column, column.letter)) for column in indices)}]"
            )
        return " * ".join(factors)


def _same_as(products, column, out):
    """The formula of an index that is always one of the output's."""
    for other in out:
        formula = Formula(((other, 1),), 0)
        if (formula.of(products) == products.rows[:, products.columns.index(column)]).all():
            return formula
    return None


def _beside(products, column, out):
    """The formula of an index that is always one of the output's, or the same step away from it."""
    for other in out:
        steps = [products.rows[:, products.columns.index(each)] for each in (column, other)]
        far = np.unique(steps[0] - steps[1])
        if len(far) == 1 and np.ptp(steps[1]):
            return Formula(((other, 1),), int(far[0]))
    return _same_as(products, column, out)


def _best_view(right, mine):
    """Return the view in which the fewest indices are wrong, or None if no formula fits."""
    order = ("input", "flow", "weight", "bias", "same")
    if len(set(right.names)) < len(right.names):
        return None  # of two factors with the same name nobody knows which is which
    views = [
        View(right, mine, name) for name in sorted(right.names, key=lambda name: order.index(_role_of(name)))
    ]
    return min((view for view in views if view.holds()), key=lambda view: len(view.changed), default=None)
