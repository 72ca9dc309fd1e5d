"""Reads the formulas as they are printed in the chapters and evaluates them.

The course writes its formulas in a small part of LaTeX: indexed symbols, sums with limits, products written with
`\\cdot`, derivatives of one symbol by another. This module parses exactly that part, so a test can put numbers or
SymPy symbols into the formula that the reader sees, rather than into a copy of it.
"""

import json
import re
from pathlib import Path

CHAPTERS = Path(__file__).parents[1] / "chapters"
LABELLED = re.compile(r"\$\$((?:(?!\$\$).)+)\$\$ \((eq-F\d\d)\)", re.DOTALL)
LAYOUT = re.compile(
    r"\\begin\{(aligned|matrix)\}|\\end\{(aligned|matrix)\}|\\\\(\[\w+\])?|\\boxed|\\qquad|\\quad|\\[,;!]|&|\{\}"
    r"|\\text\{[^}]*\}|\\[lr]?[bB]igl?[lr]?(?=[()])|\\(left|right)(?![a-z])"
)
TOKEN = re.compile(
    r"(?P<frac>\\frac)|(?P<becomes>\\leftarrow)|(?P<sum>\\sum)|(?P<times>\\cdot|\\star)|(?P<partial>\\partial)"
    r"|(?P<number>\d+)|(?P<name>(?:\\delta\s+(?:ker|b)|\\delta|\\eta|ch|ker|tmp|Ker|Loss|[a-zA-Z])(?![a-zA-Z]))"
    r"|(?P<mark>[-+=(){}^_,])|(?P<space>\s+)"
)


def printed_equations():
    """All formulas of the article as the chapters print them: label -> LaTeX."""
    found = {}
    for path in sorted(CHAPTERS.glob("*.ipynb")):
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
            if cell["cell_type"] == "markdown":
                for latex, label in LABELLED.findall("".join(cell["source"])):
                    assert label not in found, f"{label} is printed twice"
                    found[label] = latex
    return found


def parse(latex):
    """The equations of one displayed formula, each a list of the expressions between its signs of equality.

    An update `a \\leftarrow b` is no equation: it is returned as ("\\leftarrow", a, b).
    """
    return _Parser(latex).equations()


def names_in(latex):
    """What a reader must look up in the notation: the symbols of a formula, and its signs beyond + - = and the dot."""
    wanted = ("name", "sum", "partial", "becomes", "\\star")
    return {text for kind, text in _Parser(latex).tokens if kind in wanted or text in wanted}


def summed_places(tree, **variables):
    """The values that the indices of a sum, or of several sums inside each other, run through together."""
    if tree[0] != "sum":
        return [()]
    _, name, first, last, body = tree
    return [
        (value, *inner)
        for value in range(evaluate(first, None, **variables), evaluate(last, None, **variables) + 1)
        for inner in summed_places(body, **variables | {name: value})
    ]


class _Parser:
    def __init__(self, latex):
        plain, self.tokens, position = LAYOUT.sub(" ", latex), [], 0
        while position < len(plain):
            match = TOKEN.match(plain, position)
            if match is None:
                raise ValueError(f"cannot read the formula at {plain[position:position + 30]!r}")
            if match.lastgroup != "space":
                self.tokens.append((match.lastgroup, " ".join(match.group().split())))
            position = match.end()
        self.tokens.append(("end", ""))

    def next_is(self, *texts):
        return self.tokens[0][1] in texts or self.tokens[0][0] in texts

    def take(self, expected=None):
        kind, text = self.tokens.pop(0)
        if expected is not None and expected not in (kind, text):
            raise ValueError(f"expected {expected!r}, got {text!r}")
        return text

    def equations(self):
        listed = []
        while not self.next_is("end"):
            if self.next_is("{"):  # what is left of \boxed{...}
                self.take()
                continue
            sides = [self.expression()]
            while self.next_is("="):
                self.take()
                sides.append(self.expression())
            if len(sides) == 1:
                sides = (self.take("becomes"), *sides, self.expression())
            listed.append(sides)
            while self.next_is("}", ","):
                self.take()
        return listed

    def expression(self):
        negative = self.next_is("-") and self.take()
        value = self.term()
        value = ("-", ("number", 0), value) if negative else value
        while self.next_is("+", "-"):
            value = (self.take(), value, self.term())
        return value

    def term(self):
        value = self.factor()
        while self.next_is("times"):
            value = (self.take(), value, self.factor())
        return value

    def factor(self):
        if self.next_is("number"):
            return ("number", int(self.take()))
        if self.next_is("("):
            self.take()
            value = self.expression()
            self.take(")")
            return value
        if self.next_is("sum"):
            return self.sum()
        if self.next_is("frac"):
            return self.derivative()
        return self.symbol()

    def sum(self):
        self.take("sum")
        self.take("_")
        self.take("{")
        ranges = [(self.take("name"), self.take("=") and self.expression())]
        self.take("}")
        self.take("^")
        self.take("{")
        last = self.expression()
        self.take("}")
        name, first = ranges[0]
        return ("sum", name, first, last, self.term())

    def derivative(self):
        self.take("frac")
        parts = []
        for _ in range(2):
            self.take("{")
            self.take("partial")
            parts.append(self.symbol())
            self.take("}")
        return ("derivative", *parts)

    def symbol(self):
        name, upper, lower = self.take("name"), (), ()
        while self.next_is("^", "_"):
            if self.take() == "^":
                upper = self.indices()
            else:
                lower = self.indices()
        return ("symbol", name, upper, lower)

    def indices(self):
        if not self.next_is("{"):
            return (self.factor(),)
        self.take()
        listed = [self.expression()]
        while self.next_is(","):
            self.take()
            listed.append(self.expression())
        self.take("}")
        return tuple(listed)


def evaluate(tree, lookup, **variables):
    """The value of a parsed expression.

    `lookup(name, upper, lower)` gives the value of an indexed symbol; `variables` those of the plain letters. A
    derivative asks `lookup("derivative", (name, upper, lower) of the upper symbol, the same of the lower one)`.
    """
    kind = tree[0]
    if kind == "number":
        return tree[1]
    if kind in ("+", "-", "\\cdot", "\\star"):
        left, right = (evaluate(part, lookup, **variables) for part in tree[1:])
        if kind == "\\star":
            return lookup("star", left, right)
        return left + right if kind == "+" else left - right if kind == "-" else left * right
    if kind == "sum":
        _, name, first, last, body = tree
        limits = [evaluate(part, lookup, **variables) for part in (first, last)]
        return sum(evaluate(body, lookup, **variables | {name: value}) for value in range(limits[0], limits[1] + 1))
    if kind == "derivative":
        return lookup("derivative", *(_indexed(part, lookup, variables) for part in tree[1:]))
    name, upper, lower = _indexed(tree, lookup, variables)
    if not upper and not lower and name in variables:
        return variables[name]
    return lookup(name, upper, lower)


def _indexed(symbol, lookup, variables):
    """Name and evaluated indices of a symbol."""
    _, name, upper, lower = symbol
    return name, *(tuple(evaluate(index, lookup, **variables) for index in part) for part in (upper, lower))


def entry(array, place):
    """A cell of a grid, zero outside; the grid itself when no place is given."""
    if not place:
        return array
    inside = all(0 <= index < size for index, size in zip(place, array.shape, strict=True))
    return array[place] if inside else 0
