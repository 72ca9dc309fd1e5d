"""Which numbers a chapter states, and what in the same chapter binds each of them.

What is stated: every number, and every expression of indices such as `p + 1 - u`, in prose, tables, captions and the
typed parts of alt texts. What binds it:

- an assertion, a labelled equation, the code or an output of the same section (a part under a `##` heading; each
  exercise with its solution is one), or an assertion or a labelled equation anywhere in the chapter;
- arithmetic: all sides of `2 + 1 = 3` are computed, and the value must be bound;
- a mark: the metadata of the cell names a piece of its text and says why it stands alone, for instance
  `{"convlib": {"numbers": {"in 2022": "a year"}}}`. A mark whose piece is no longer in the cell is a mistake, too.
  Where the reason is labels of equations, "eq-F02, eq-F12", the expressions in the piece must stand there.

In a self-test, what a wrong choice says is wrong, so nothing can bind it; nor is it looked for where the explanation
below says it again. The question, the right choice and all other numbers are bound like any.

A whole number up to ten is near some other number anywhere, so for it only assertions and equations count, and what the
code in the same section says in so many digits. Numbers that belong together, as in "7 x 7", "row 3, column 4",
"(0, 2)" or an index, must stand side by side where they are bound.

    python tests/bound_numbers.py chapters/one_kernel.ipynb ...     what is not bound
"""

import ast
import html
import json
import math
import re
import sys
from functools import cache, cached_property
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

SMALL = 10
# Digits that are part of a name. (Digits that touch a letter always are: conv2d, float32, F12.)
NAMES = re.compile(
    r"\bAVX-512|\bx86-64|\b(?:Python|NumPy|Numba|PyTorch|MyST|Jupyter Book) \d[\d.]*|\bUTF-8|\bCC BY \d\.\d"
    r"|\b(?:180|90) degrees|\b(?:above|below|than|starts? at|counts? from|counted from) 0(?![\d.])"
    r"|\bLeNet-5|\bResNet-\d+|\bVGG-\d+|\bMobileNetV\d|\bISO [\d-]+|\bF\d\d\b"
)
DIGITS = r"\d{1,3}(?:,\d{3})+(?![\d.])|[1-9]\d{0,2}(?: \d{3})+(?![\d.])|\d+(?:\.\d+)?(?:e-?\d+)?"
NUMBER = re.compile(rf"(?<![\w.^])(?:(?<![\w)\]}}] )(?<![\w)\]}}])-(?=\d))?(?:{DIGITS})(?![A-Za-z_])")
LABELLED = re.compile(r"\$\$((?:(?!\$\$).)+)\$\$ \(([\w-]+)\)", re.DOTALL)
MATH = re.compile(r"\$\$(.+?)\$\$|\$([^$\n]+(?:\n[^$\n]+)?)\$|`([^`\n]+)`", re.DOTALL)
FAMILIES = {
    "flow": r"\\delta|delta|flows?|grad_output|D|d",
    "input": r"ch|X|x|image|images|channel|padded|red|input|line|row",
    "kernel": r"ker|Ker|kernels?|weights?|w",
}
TAGS = re.compile(r"<[^>]+>")
# One choice of a self-test: what can be chosen, and what is said about it.
CHOICE = re.compile(r'<details class="choice"><summary>(.*?)</summary>(.*?)</details>', re.DOTALL)
RIGHT = "Right"  # how the explanation of the right choice begins


class Statement(NamedTuple):
    """A number, numbers side by side, or an expression, as a sentence states it."""

    text: str  # as written
    values: tuple  # alternatives, each a tuple of numbers side by side
    strict: bool = True  # side by side, or each by itself
    expression: object = None
    symbol: str = ""
    place: bool = False  # the number of a row, a channel, ...
    setting: str = ""  # "padding", where the number is what a padding is


class Piece(NamedTuple):
    """A sentence, a row of a table, a caption or an alt text."""

    cell: int
    kind: str
    text: str
    section: int
    wrong: str = ""  # the wrong choice that it explains


# --- reading numbers ------------------------------------------------------------------------------------------


def plain(text):
    """The text with one spelling for each sign."""
    for old, new in (
        (r"\\cdot(?![a-z])|\\times(?![a-z])|[·×]", "*"),
        ("−|(?<!\\d)–(?=\\d)", "-"),
        (r"\\,|\\;|\\!|\{\}", " "),
        (r"\\approx(?![a-z])|≈", "≈"),
        (r"\\left|\\right|\\[bB]igg?[lr]?", ""),
        (r"\{,\}|(?<=\d)[\u00a0\u202f](?=\d)", ","),
        (r"(?<=\d)–(?=\d)", " to "),
        (r"\\lfloor", "floor("),
        (r"\\lceil", "ceil("),
        (r"\\r(?:floor|ceil)", ")"),
        (r"\\%", "%"),
        (r"\\(log|max|min)(?![a-z])", r"\1"),
        (r"\blog ?(\d[\d.]*|\\frac\{\d+\}\{\d+\})", r"log(\1)"),
    ):
        text = re.sub(old, new, text)
    return text


def value_of(text):
    """The number that some digits say."""
    number = float(text.replace(",", "").replace(" ", ""))
    return int(number) if number.is_integer() and abs(number) < 1e15 else number


def numbers_in(text):
    """All numbers of a text, in order."""
    return tuple(value_of(found) for found in NUMBER.findall(plain(text)))


def arithmetic(text):
    """The value of an expression of numbers, or None."""
    text = re.sub(r"\\frac\{([^{}]+)\}\{([^{}]+)\}", r"((\1)/(\2))", text).replace("{", "(").replace("}", ")")
    text = (
        re.sub(r"\\sqrt", "sqrt", re.sub(DIGITS, lambda found: str(value_of(found[0])), text))
        .replace("^", "**")
        .strip()
    )
    if not re.fullmatch(r"(?:[\d.+\-*/() e,]|floor|ceil|sqrt|log|max|min)+", text) or len(text) > 300:
        return None
    try:
        value = compute(ast.parse(text, mode="eval").body)
    except (SyntaxError, ValueError, ZeroDivisionError, OverflowError):
        return None
    return value


def compute(node):
    """The value of a parsed expression of numbers."""
    match node:
        case ast.Constant(value=int() | float() as value):
            return value
        case ast.UnaryOp(op=ast.USub(), operand=inner):
            return -compute(inner)
        case ast.Call(func=ast.Name(id="floor" | "ceil" | "sqrt" | "log" as name), args=[inner]):
            return getattr(math, name)(compute(inner))
        case ast.Call(func=ast.Name(id="max" | "min" as name), args=[one, other]):
            return {"max": max, "min": min}[name](compute(one), compute(other))
        case ast.BinOp(left=left, op=operation, right=right):
            one, other = compute(left), compute(right)
            if isinstance(operation, ast.Pow) and abs(other) > 64:
                raise ValueError("too large")
            signs = {
                ast.Add: "__add__",
                ast.Sub: "__sub__",
                ast.Mult: "__mul__",
                ast.Div: "__truediv__",
                ast.Pow: "__pow__",
                ast.FloorDiv: "__floordiv__",
                ast.Mod: "__mod__",
            }
            if type(operation) in signs:
                return getattr(float(one) if isinstance(other, float) else one, signs[type(operation)])(other)
    raise ValueError("not a number")


def polynomial(node):
    """An expression of letters as {product of letters: factor}."""
    match node:
        case ast.Constant(value=int() | float() as value):
            return {(): value}
        case ast.UnaryOp(op=ast.USub(), operand=inner):
            return {key: -value for key, value in polynomial(inner).items()}
        case ast.BinOp(left=left, op=ast.Add() | ast.Sub() as sign, right=right):
            total, factor = dict(polynomial(left)), 1 if isinstance(sign, ast.Add) else -1
            for key, value in polynomial(right).items():
                total[key] = total.get(key, 0) + factor * value
            return {key: value for key, value in total.items() if value}
        case ast.BinOp(left=left, op=ast.Mult(), right=right):
            total = {}
            for one, factor in polynomial(left).items():
                for other, value in polynomial(right).items():
                    key = tuple(sorted(one + other))
                    total[key] = total.get(key, 0) + factor * value
            return {key: value for key, value in total.items() if value}
        case ast.BinOp(left=left, op=ast.Pow(), right=ast.Constant(value=int() as power)) if 0 < power < 6:
            product = node.left
            for _ in range(power - 1):
                product = ast.BinOp(product, ast.Mult(), left)
            return polynomial(product)
    return {(ast.unparse(node),): 1}


def canonical(text):
    """An expression of letters and numbers in one form, or None if it is none."""
    text = re.sub(r"\\frac\{([^{}]+)\}\{([^{}]+)\}", r"((\1)/(\2))", plain(text))
    text = text.replace(r"\boxed", "").strip()
    while text.count("}") > text.count("{") and text.endswith("}"):
        text = text[:-1].strip()
    text = (
        re.sub(r"\\([a-zA-Z]+)", r"\1", text).replace("^", "**").replace("{", "(").replace("}", ")").replace("'", "_")
    )
    text = re.sub(r"(?<![\w.])(\d+) ?(?=[A-Za-z(])", r"\1*", text)
    text = re.sub(r"\b([a-eh-zA-Z]) *(?=\()", r"\1*", text).strip(" .,;")
    try:
        node = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError):
        return None
    return form(node)


def form(node):
    """A parsed expression in one form."""
    return frozenset(polynomial(node).items())


def is_expression(found):
    """Whether a form has a letter, and a sign or a number to get wrong."""
    return (
        bool(found) and any(key for key, _ in found) and (len(found) > 1 or any(abs(v) != 1 or v < 0 for _, v in found))
    )


# --- what a chapter offers --------------------------------------------------------------------------------------


def constant(node):
    """The number that a piece of code is, computed if it is an expression of numbers, or None."""
    try:
        return compute(node)
    except (ValueError, OverflowError, ZeroDivisionError):
        return None


def runs_of(node, kind="code"):
    """The numbers of a piece of code as (kind, numbers side by side), those of alt texts left out.

    Kinds: "assert" for what is compared, "index" inside brackets, "size" for lengths, "named" for settings,
    "code" for all others.
    """
    found, here = [], []

    def look(part, kind):
        number = constant(part)
        if number is not None:
            found.append((kind, (number,)))
            return
        match part:
            case ast.keyword(arg="alt"):
                return
            case ast.keyword(value=value):
                row(value, "named" if kind == "code" else kind)
            case ast.Subscript(value=value, slice=index):
                look(value, kind)
                row(index, "index")
            case ast.Call(func=function, args=arguments):
                name = getattr(function, "id", getattr(function, "attr", ""))
                look(function, kind)
                sized = name in (
                    "range",
                    "zeros",
                    "ones",
                    "empty",
                    "full",
                    "ndindex",
                    "reshape",
                    "symarray",
                    "arange",
                    "broadcast_to",
                )
                inner = "size" if sized else kind
                side(arguments, inner)
                for each in arguments:
                    look(each, inner)
                for each in part.keywords:
                    look(each, kind)
            case ast.Tuple() | ast.List() | ast.Set():
                row(part, kind)
            case ast.BinOp(left=left, op=sign, right=right) if isinstance(sign, ast.Sub) and isinstance(
                right, ast.Constant
            ):
                look(left, kind)
                found.extend([(kind, (constant(right),)), (kind, (-constant(right),))])
            case ast.GeneratorExp(generators=loops) | ast.ListComp(generators=loops) | ast.SetComp(generators=loops):
                lengths = [each.iter.args[-1] for each in loops if isinstance(each.iter, ast.Call) and each.iter.args]
                side(lengths, "size")
                for each in ast.iter_child_nodes(part):
                    look(each, kind)
            case ast.Constant(value=str() as text):
                if kind == "assert":
                    found.append((kind, numbers_in(text)))
            case ast.JoinedStr():
                return
            case _:
                for each in ast.iter_child_nodes(part):
                    look(each, kind)

    def side(parts, kind):
        numbers = [constant(each) for each in parts]
        for start in range(len(numbers)):
            run = tuple(numbers[start : numbers.index(None, start)] if None in numbers[start:] else numbers[start:])
            if len(run) > 1:
                found.append((kind, run))

    def row(part, kind):
        """What stands in one tuple or list, also across the rows of a list of lists."""
        if isinstance(part, ast.Tuple | ast.List | ast.Set):
            numbers = flat(part)
            if numbers:
                found.append((kind, numbers))
                return
            side(part.elts, kind)
            for each in part.elts:
                look(each, kind)
        else:
            look(part, kind)

    look(node, kind)
    return found + here


def flat(part):
    """All numbers of nested lists that hold nothing else, or ()."""
    numbers = []
    for each in part.elts:
        number = constant(each)
        inner = (number,) if number is not None else flat(each) if isinstance(each, ast.Tuple | ast.List) else ()
        if not inner:
            return ()
        numbers += inner
    return tuple(numbers)


def spans_of(latex):
    """Pieces of a formula that may be expressions: (piece, the symbol whose index it is)."""
    latex = re.sub(r"\\(?:text|mathrm)\{(\w+)\}", r" \1", plain(latex))
    latex = re.sub(r"\\text\{[^}]*\}|\\(begin|end)\{\w+\}|\\\\(\[\w+\])?|&|\\ldots|\\dots|\\cdots", " ; ", latex)
    found = []

    def taken(match):
        symbol = match[1].strip()
        for part in (match[3] or "", match[5] or ""):
            found.extend((index, symbol) for index in part.strip("{}").split(","))
        return " " + (symbol.strip("\\") if symbol not in (r"\sum", r"\prod") else ";") + " "

    index = r"([_^])(\{[^{}]*\}|\w)"
    latex = re.sub(rf"(\\?[A-Za-z]+) *{index}(?: *{index})?", lambda m: taken(m) if keeps(m) else m[0], latex)
    latex = re.sub(r"\(([^(),]*[a-z][^(),]*(?:,[^(),]+)+)\)", r" ; \1 ; ", latex)
    whole = re.split(r"[=;,<>≈:]|\\(?:le|ge|to|leftarrow|ne|in|mid|star|partial|Big|boxed)(?![a-z])", latex)
    return [(part, "") for part in whole] + found


def keeps(match):
    """Whether an upper mark is an index and not a power: powers stay in the expression."""
    marks = match[2] + (match[4] or "")
    return not (marks == "^" and re.fullmatch(r"\{?\d\}?", match[3]))


def family_of(symbol):
    """What a name stands for: the flow, the input or the kernel."""
    return next((family for family, names in FAMILIES.items() if re.fullmatch(names, symbol.strip())), "")


@cache
def section_of_code(source):
    """What the code of one cell offers."""
    found = Section()
    try:
        found.add_statements(ast.parse(source))
    except SyntaxError:  # a command of IPython, for instance
        found.has_code = True
    return found


@cache
def shown_numbers(html):
    """The numbers that a drawing, or a table, shows."""
    if "<svg" in html:
        texts = re.findall(r"<text[^>]*>.*?</text>", html, re.DOTALL)
        return "figure", numbers_in(" ; ".join(TAGS.sub("", each) for each in texts))
    return "output", numbers_in(TAGS.sub(" ; ", html))


class Section:
    """What a part of a chapter offers: numbers side by side, and expressions."""

    def __init__(self):
        self.runs = {kind: [] for kind in ("assert", "size", "named", "index", "code", "equation", "figure", "output")}
        self.named = {}  # name of a setting -> the numbers it is given
        self.symbols = set()  # symbols at places in numbers
        self.expressions = set()  # (family, form)
        self.displays = []  # (formula without a label, its expressions)
        self.has_code = False

    def add_section(self, other):
        """Take over what another section offers."""
        for kind, runs in other.runs.items():
            self.runs[kind] += runs
        for name, numbers in other.named.items():
            self.named.setdefault(name, set()).update(numbers)
        self.expressions |= other.expressions
        self.has_code = self.has_code or other.has_code

    def add_statements(self, tree):
        """Take over what parsed code says."""
        self.has_code = True
        for node in ast.walk(tree):
            if isinstance(node, ast.stmt) and not getattr(node, "body", None):
                for kind, numbers in runs_of(node, "assert" if isinstance(node, ast.Assert) else "code"):
                    self.add(kind, numbers)
            for part in ("iter", "test") if isinstance(node, ast.For | ast.If | ast.While) else ():
                for kind, numbers in runs_of(getattr(node, part)) if hasattr(node, part) else ():
                    self.add(kind, numbers)
            self.add_expressions(node)

    def add_expressions(self, node):
        """Take over what one node says about names and indices."""
        match node:
            case ast.Assign(targets=[target, *_], value=value):
                self.add_names(target, value)
            case ast.Compare(left=left, ops=[ast.Eq(), *_], comparators=[right, *_]):
                self.add_names(left, right)
            case ast.keyword(arg=str() as name, value=value):
                self.named.setdefault(name.rstrip("s"), set()).update(n for _, run in runs_of(value) for n in run)
            case ast.BinOp():
                self.expressions.add(("", form(node)))
            case ast.Subscript(value=value, slice=index):
                name = getattr(value, "id", getattr(value, "attr", ""))
                parts = [part for part in ast.walk(index) if isinstance(part, ast.BinOp)]
                self.expressions |= {(family_of(name), form(part)) for part in parts}

    def add_outputs(self, outputs):
        """Take over the numbers that outputs show, but not those of a drawing's own words."""
        for output in outputs:
            data = output.get("data", {})
            self.add(*shown_numbers("".join(data.get("text/html", ""))))
            texts = [output.get("text", ""), data.get("text/plain", ""), data.get("text/markdown", "")]
            for text in ("".join(each) for each in texts):
                for line in [] if text.startswith(("Figure:", "<")) else text.splitlines():
                    self.add("output", numbers_in(line))

    def add_names(self, target, value):
        """Note that a name is, or must be, a number."""
        pairs = (
            zip(target.elts, value.elts, strict=False)
            if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple)
            else [(target, value)]
        )
        for one, other in pairs:
            if isinstance(one, ast.Name) and constant(other) is not None:
                self.named.setdefault(one.id, set()).add(constant(other))

    def add_equation(self, latex):
        self.symbols |= {re.sub(r"\s", "", match[0]) for match in INDEXED.finditer(plain(latex))}
        text = re.sub(r"\\\\(\[\w+\])?", " ; ", plain(latex))
        for _, channels, place in places_of(text):
            for run in (channels, place, (*(each - 1 for each in channels), *place)):
                self.add("index", run)
        text = INDEXED.sub(" ; ", text)
        for index in re.findall(r"[_^] ?(\{[^{}]*\}|\d)", text):
            self.add("index", numbers_in(index.strip("{}").replace("=", " = ")))
        self.add("equation", numbers_in(re.sub(r"[_^] ?(\{[^{}]*\}|\w)", " ; ", text)))
        limits = re.findall(r"\\sum ?_\{\w ?= ?(\d+)\} ?\^ ?\{?(\d+)\}?", text)
        for low, high in limits:
            self.add("equation", (int(low), int(high)))
        for part in re.split(r"\\\\|=", latex):
            value = arithmetic(re.sub(r"\\text\{[^}]*\}|&", " ", plain(part)))
            if value is not None:
                self.add("equation", [value])
        for part, symbol in spans_of(latex):
            self.expressions |= {(family_of(symbol), canonical(part)), (f"={symbol}", canonical(part))}

    def add(self, kind, numbers):
        if len(numbers):
            self.runs[kind].append(tuple(numbers))

    @cached_property
    def values(self):
        return {kind: {number for run in runs for number in run} for kind, runs in self.runs.items()}

    @cache  # noqa: B019  (a handful of sections, as long as the program runs)
    def beside(self, kind, length, longest):
        """All numbers that stand side by side, `length` of them, in rows of at most `longest`."""
        return {
            run[start : start + length]
            for run in self.runs[kind]
            if len(run) <= longest
            for start in range(len(run) - length + 1)
        }


def cells_of(path):
    """The cells of a notebook, or of a chapter as text (which has no outputs)."""
    if path.suffix == ".ipynb":
        return json.loads(path.read_text(encoding="utf-8"))["cells"]
    import jupytext

    return jupytext.reads(path.read_text(encoding="utf-8"), fmt="md:myst").cells


class Chapter:
    """A notebook as statements and sections."""

    def __init__(self, path, cells=None):
        self.path = Path(path).absolute()
        self.folder = self.path.parent if self.path.suffix == ".ipynb" else self.path.parents[2] / "chapters"
        self.cells = cells_of(self.path) if cells is None else cells
        self.sections, self.pieces, self.figures, self.whole, self.equations, self.labels = (
            [Section()],
            [],
            {},
            Section(),
            {},
            {},
        )
        for number, cell in enumerate(self.cells):
            source = "".join(cell["source"])
            if cell["cell_type"] == "markdown":
                for part in re.split(r"^(?=## |:::+ *\{exercise-start\})", source, flags=re.MULTILINE):
                    if re.match(r"## |:::+ *\{exercise-start\}", part):
                        self.sections.append(Section())
                    self.read_prose(number, part)
            elif cell["cell_type"] == "code":
                self.read_code(number, cell, source)

    def read_prose(self, number, text):
        for latex, label in LABELLED.findall(text):
            self.labels.setdefault(label, Section()).add_equation(latex)
            self.sections[-1].add_equation(latex)
            self.equations.setdefault(number, Section()).add_equation(latex)
            self.whole.add_equation(latex)
        here = len(self.sections) - 1
        self.pieces += [Piece(number, "prose", each, here) for each in sentences(CHOICE.sub("\n\n", text))]
        for choice, explanation in CHOICE.findall(text):
            choice, explanation = as_markdown(choice), as_markdown(explanation)
            right = explanation.startswith(RIGHT)
            for each in sentences(f"{choice}\n\n{explanation}" if right else explanation):
                self.pieces.append(Piece(number, "prose", each, here, "" if right else choice))
        for latex in re.findall(r"\$\$((?:(?!\$\$).)+)\$\$", LABELLED.sub(" ", text), re.DOTALL):
            shown = Section()
            shown.add_equation(latex)
            self.sections[-1].displays.append((" ".join(latex.split()), shown.expressions))

    def read_code(self, number, cell, source):
        said_in_code, own = section_of_code(source), Section()
        own.add_section(said_in_code)
        own.add_outputs(cell.get("outputs", []))
        self.figures[number] = own
        self.sections[-1].add_section(own)
        self.whole.runs["assert"] += said_in_code.runs["assert"]
        self.whole.expressions |= said_in_code.expressions
        for name, numbers in said_in_code.named.items():
            self.whole.named.setdefault(name, set()).update(numbers)
        here = len(self.sections) - 1
        settings = cell["metadata"].get("mystnb", {})
        said = [
            ("caption", settings.get("figure", {}).get("caption", "")),
            ("alt text", settings.get("image", {}).get("alt", "")),
        ]
        said += [("alt text", text) for text in alt_texts(source)]
        self.pieces += [Piece(number, kind, " ".join(text.split()), here) for kind, text in said if text]

    def marks(self, cell):
        """Pieces of a cell's text that stand alone, with the reason."""
        return self.cells[cell]["metadata"].get("convlib", {}).get("numbers", {})

    def offers(self, piece):
        """Sections that may bind what a piece says, each with the kinds that count for small numbers."""
        section, own = self.sections[piece.section], self.figures.get(piece.cell)
        offered = [(section, ("assert", "equation", "size"))]
        if own is not None:
            offered.append((own, ("assert", "size", "code", "named")))
        if not section.has_code:
            offered.append((self.whole, ("assert", "equation")))
        return offered

    def binds(self, piece, statement):
        """Whether something in the chapter binds a statement."""
        if statement.expression is not None:
            return self.binds_expression(piece, statement)
        if statement.symbol in article_symbols(self.folder):
            return True
        return any(self.binds_numbers(piece, values, statement) for values in statement.values)

    def binds_numbers(self, piece, values, statement):
        offered = [*self.offers(piece), (self.whole, ("assert", "equation"))]
        if len(values) > 1:
            size = re.search(r" (x|by) ", statement.text)
            for section, kinds in offered:
                if section is not self.figures.get(piece.cell):
                    kinds = {*kinds, "size", "named"} if size else {*kinds, "index", "named"} - {"size"}
                    if len(values) > 2:
                        kinds |= {"code", "figure", "output"}
                elif len(values) > 2:
                    kinds = {*kinds, "figure"}
                longest = 5 if size else 10**9
                if any(values in section.beside(kind, len(values), longest) for kind in kinds):
                    return True
            return not statement.strict and all(self.binds_numbers(piece, (value,), statement) for value in values)
        [value] = values
        if value == 0:  # whatever is zero somewhere in the section
            return any(0 in found for section, _ in offered for found in section.values.values())
        if isinstance(value, int) and abs(value) <= SMALL:
            if statement.place:
                offered = [(section, ("index", "code", *kinds)) for section, kinds in offered]
            if statement.setting.startswith("="):
                known = self.sections[piece.section].named.get(statement.setting[1:], ())
                if known:
                    return value in known
            elif statement.setting:
                return any(
                    value in section.named.get(statement.setting, ())
                    for section in (self.sections[piece.section], self.whole)
                )
            return any(value in section.values[kind] for section, kinds in offered[:-1] for kind in kinds)
        known = {found for section, _ in offered for kind in section.values for found in section.values[kind]}
        return value in known or not isinstance(value, int) and any(rounds_to(found, value) for found in known)

    def binds_expression(self, piece, statement):
        """The same expression as an index of the same array, or in an equation or code, without a twin."""
        known = self.whole.expressions | self.sections[piece.section].expressions
        if {letter for product, _ in statement.expression for letter in product} == {"k"} and statement.symbol:
            return (f"={statement.symbol}", statement.expression) in article(self.folder)
        family, twins = family_of(statement.symbol), twins_of(statement.expression)
        if (
            family
            and (family, statement.expression) in known
            or statement.symbol
            and (f"={statement.symbol}", statement.expression) in article(self.folder)
        ):
            return True
        if family and any((family, twin) in known for twin in twins):
            return False
        in_sentence = [self.forms_in(label) for label in re.findall(r"\{eq\}`([\w-]+)`", piece.text)]
        in_cell = [forms_of(self.equations.get(piece.cell, Section()).expressions)]
        shown = set().union(
            *(found for latex, found in self.sections[piece.section].displays if latex not in piece.text)
        )
        for forms in (*in_sentence, *in_cell, forms_of(known), forms_of(known | shown)):
            if statement.expression in forms and not twins & forms:
                return True
        return False

    def forms_in(self, label):
        """The expressions of one labelled equation, of this chapter or another."""
        return forms_of(self.labels[label].expressions if label in self.labels else article(self.folder, label))

    def unbound(self):
        """(piece, statement) for everything that nothing binds and no mark names."""
        return [(piece, statement) for piece in self.pieces for statement in self.unbound_in(piece)]

    def unbound_in(self, piece):
        """The statements of one piece that nothing binds and no mark names."""
        text, wrong = piece.text, []
        for mark, reason in self.marks(piece.cell).items():
            mark, labels = " ".join(mark.split()), reason.split(", ")
            if mark in text and all(self.forms_in(label) for label in labels):
                stated = [each for each in statements(mark) if each.expression is not None]
                labels = labels if len(labels) == len(stated) else [labels[0]] * len(stated)
                wrong += [
                    each
                    for each, label in zip(stated, labels, strict=True)
                    if each.expression not in self.forms_in(label)
                ]
            text = text.replace(mark, " … ", 1)
        stated = [each for each in statements(text) if not repeats(each, piece.wrong)]
        return wrong + [each for each in stated if not self.binds(piece, each)]

    def stale_marks(self):
        """(cell, mark) for marks that name nothing in their cell."""
        said = {}
        for piece in self.pieces:
            said[piece.cell] = said.get(piece.cell, "") + " " + piece.text
        return [
            (cell, mark)
            for cell in range(len(self.cells))
            for mark, reason in self.marks(cell).items()
            if " ".join(mark.split()) not in said.get(cell, "") or not reason.strip()
        ]


def rounds_to(found, value):
    """Whether a number with more digits is this one, rounded as it is written."""
    places = len(f"{value:.12f}".rstrip("0").split(".")[1])
    return abs(found - value) <= 0.5 * 10.0**-places * 1.0001 and abs(found - value) < abs(value) * 0.2


def repeats(statement, choice):
    """Whether a statement only says again what stands in a wrong choice."""
    said = statements(choice)
    if statement.expression is not None:
        return any(statement.expression == each.expression for each in said)
    numbers = {*numbers_in(choice), *(number for each in said for values in each.values for number in values)}
    return bool(statement.values) and numbers.issuperset(statement.values[0])


def twins_of(expression):
    """The expressions with other signs: two terms exchange theirs."""
    terms = sorted(expression, key=str)
    twins = set()
    for one in terms:
        for other in terms:
            if one[1] > 0 > other[1]:
                twins.add(frozenset((key, -value if (key, value) in (one, other) else value) for key, value in terms))
    return twins - {expression}


@cache
def equations(folder):
    """All labelled equations of the chapters in a folder."""
    found = {}
    for path in sorted(folder.glob("*.ipynb")):
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
            for latex, name in LABELLED.findall("".join(cell["source"])) if cell["cell_type"] == "markdown" else ():
                found.setdefault(name, Section()).add_equation(latex)
    return found


@cache
def article(folder, label=None):
    """The expressions of one labelled equation of the book, or of all."""
    if label is None:
        return set().union(*(section.expressions for section in equations(folder).values()))
    return equations(folder).get(label, Section()).expressions


@cache
def article_symbols(folder):
    """The symbols at places in numbers in all labelled equations of the book."""
    return set().union(*(section.symbols for section in equations(folder).values()))


def forms_of(expressions):
    """The expressions, whatever array they are an index of."""
    return {form for _, form in expressions}


def alt_texts(source):
    """The typed parts of alt texts in code; what is inserted becomes an ellipsis."""
    try:
        tree = ast.parse(source)
    except SyntaxError:
        return []
    return [typed(node.value) for node in ast.walk(tree) if isinstance(node, ast.keyword) and node.arg == "alt"]


def typed(node):
    """The typed parts of an expression that makes a text."""
    match node:
        case ast.Constant(value=str() as text):
            return text
        case ast.JoinedStr(values=parts):
            return "".join(part.value if isinstance(part, ast.Constant) else "…" for part in parts)
        case ast.BinOp(left=left, right=right):
            return typed(left) + typed(right)
    return "…"


def sentences(text):
    """The sentences, rows of tables and unlabelled formulas of a Markdown cell, without what is no prose."""
    text = re.sub(r"^```.*?^```|^<!--.*?-->|^% [^\n]*$", " ", LABELLED.sub(" ", text), flags=re.MULTILINE | re.DOTALL)
    text = re.sub(r"^:{3,}.*$|^ *:[\w-]+:.*$|^\(\w[\w-]*\)=$", "", text, flags=re.MULTILINE)
    text = re.sub(r"\*\*Reading time:\*\*[^\n]*|<[a-z/][^>]*>", " ", re.sub(r"!?\[([^\]]*)\]\([^)\s]*\)", r"\1", text))
    text = re.sub(r"^ *(?:[-*]|\d+\.) ", "\n\n", text, flags=re.MULTILINE)
    text = re.sub(r"^(#+ .*|\|.*)$", r"\n\1\n", text, flags=re.MULTILINE)
    paragraphs = [" ".join(each.split()) for each in re.split(r"\n\s*\n", text)]
    return [
        each
        for paragraph in paragraphs
        for each in re.split(r"(?<=[.!?])\**\)? (?=[A-Z*$(`\[])", paragraph)
        if each.strip()
    ]


SYMBOLS = {"δ": r"\delta"}
SCRIPTS = re.compile(r"(\w+)((?:<sup>.*?</sup>)?(?:<sub>.*?</sub>)?)")


def as_markdown(text):
    """What stands in a choice, which is plain HTML, as it would be written in Markdown."""

    def formula(found):
        name, marks = found.groups()
        for tag, mark in (("sup", "^"), ("sub", "_")):
            marks = re.sub(f"<{tag}>(.*?)</{tag}>", rf"{mark}{{\1}}", marks)
        return f"${SYMBOLS.get(name, name)}{marks}$" if marks else name

    text = SCRIPTS.sub(formula, re.sub("</?em>", "", text))
    return html.unescape(re.sub(r"</?code>", "`", text)).strip()


# --- statements of a sentence -----------------------------------------------------------------------------------

COUNTED = {"thousand": 1000, "million": 1_000_000, "billion": 1_000_000_000}
SIDE = r"[\d.+\-*/() ,^{}\\a-z]*?"


def statements(text):
    """All that one sentence states with digits."""
    text = re.sub(r"\{(?:eq|numref|ref|doc|term|func|class|mod|cite|prf:ref)(?::\w)?\}`[^`]*`", " ", text)
    text = re.sub(r"(?:^| )\(\d\) (?=[A-Z])", " ", NAMES.sub(" name ", plain(text)))
    found = []

    def math_or_code(match):
        inner = next(part for part in match.groups() if part is not None)
        rest = formula(inner, found, is_code=match[3] is not None)
        return f" {rest} "

    text = MATH.sub(math_or_code, text)
    for match in re.finditer(r"(?<![\w'.])(?:[b-z]|\d+)(?: ?[-+*] ?\(?(?:[b-z]|\d+)(?![\w'])\)?)+(?![\w'])", text):
        known = canonical(match[0])
        if known and len(known) > 1 and any(key for key, _ in known):
            found.append(Statement(match[0], (), expression=known))
            text = text.replace(match[0], " " * (len(match[0]) - 1) + ";", 1)
    text = equalities(text, found)
    text = side_by_side(text, found)
    text = fractions(text, found)
    for match in NUMBER.finditer(text):
        found.append(single(match, text))
    return found


def single(match, text):
    """A number by itself, in all its readings."""
    value, after = value_of(match[0]), text[match.end() : match.end() + 12]
    values = [(value,)]
    if re.match(r" ?%", after):
        values.append((value / 100,))
    for word, factor in COUNTED.items():
        if re.match(rf" {word}", after):
            values = [(value_of(str(value * factor)),)]
    if " " in match[0]:
        values.append(tuple(value_of(each) for each in match[0].split()))
    place = re.search(
        r"(?i)\b(?:rows?|columns?|channels?|places?|cells?|layers?|outputs?|indices|index|axis|axes) \(?$",
        text[: match.start()],
    )
    if place and re.match("(?i)channel|layer|output", place[0]):
        values.append((value - 1,))  # counted from one
    setting = re.search(r"(?i)\b(padding|stride|dilation|groups?)(?: of| is|:)? \(?$", text[: match.start()])
    return Statement(
        match[0], tuple(values), place=bool(place), setting=setting[1].lower().rstrip("s") if setting else ""
    )


def formula(inner, found, is_code):
    """Put the expressions of a formula into `found`; return what is left of it."""
    if not is_code:
        inner = re.sub(r"\\(?:begin|end)\{\w+\}|&", " ", re.sub(r"\\\\(?:\[\w+\])?|\\q?quad(?![a-z])", " ; ", inner))
        if ";" in inner:
            return " ; ".join(formula(part, found, False) for part in inner.split(";"))
    sides = inner.split("=")
    if len(sides) > 1 and identical(sides):
        return " "
    if not is_code:
        inner = plain(inner)
        for match in re.finditer(r"\\sum ?_\{\w ?= ?(\d+)\} ?\^ ?\{?(\d+)\}?", inner):
            found.append(Statement(match[0], ((int(match[1]), int(match[2])),)))
        inner = re.sub(r"\\sum ?_\{\w ?= ?\d+\} ?\^ ?(?:\{\d+\}|\d)", " ; ", inner)
        inner = re.sub(r"\\(?:text|mathrm|operatorname)\{(\w+)\}", r" \1", inner)
        inner = re.sub(r"\\(?:text|mathrm|operatorname)\{[^}]*\}", " ", inner)
        inner = equalities(inner, found)
        inner = indexed(inner, found)
        for part, symbol in spans_of(inner):
            known = canonical(part)
            if re.search(r"[a-z] ?[+-] ?0(?!\d|\.)", part):
                found.append(Statement(part.strip(), ()))
            if known and len(known) > 1 and re.search(r"[+\-\d]", part):
                found.append(Statement(part.strip(), (), expression=known, symbol=symbol))
                inner = plain(inner).replace(part, " ; ", 1)
        inner = re.sub(
            r"(\\?[A-Za-z]+|\)) ?\^ ?(\d+|\{-?\d+\})(?! ?_)", r" \1 ", inner
        )  # a power without a base that is a number
        for match in re.finditer(r"(?<![\\\w])([a-zA-Z]) = (-?\d+(?:\.\d+)?)(?![\w.*+-])(?! ?[-+*/^])", inner):
            found.append(Statement(match[0], ((value_of(match[2]),),), setting="=" + match[1]))
            inner = inner.replace(match[0], " ; ", 1)
        inner = re.sub(r"(?<=[a-zA-Z])_(?:\d|\{\d\})(?!\w)", " ", inner)  # a name
        for mark in re.finditer(r"[_^]\{([^{}]*)\}|[_^](\d)", inner):
            numbers = tuple(value_of(each) for each in re.findall(r"(?<![\w.])-?\d+", mark[1] or mark[2]))
            if numbers and not re.search(r"\d ?$", inner[: mark.start()]):
                found.append(Statement(mark[0].strip("_^{}"), (numbers,)))
        inner = re.sub(r"(?<!\d)(?<!\d )[_^](?:\{[^{}]*\}|\w)", " ; ", inner)
        return re.sub(r"\\[a-zA-Z]+(?![a-zA-Z{])", " ", inner) if "frac" not in inner else inner
    try:
        tree = ast.parse(inner, mode="eval")
    except SyntaxError:
        return inner
    numbers = tuple(number for _, run in runs_of(tree)[-1:] for number in run)
    for node, symbol in outermost(tree):
        if is_expression(form(node)):
            found.append(Statement(ast.unparse(node), (), expression=form(node), symbol=symbol))
    if len(numbers) and not any(isinstance(node, ast.BinOp) for node in ast.walk(tree)):
        found.append(Statement(inner, (numbers,)))
    return " "


def outermost(node, symbol=""):
    """The expressions in a piece of code that are no part of others, each with the array whose index it is."""
    if isinstance(node, ast.BinOp):
        yield node, symbol
    elif isinstance(node, ast.Subscript):
        yield from outermost(node.value, symbol)
        yield from outermost(node.slice, getattr(node.value, "id", ""))
    else:
        for each in ast.iter_child_nodes(node):
            yield from outermost(each, symbol)


INDEXED = re.compile(r"(\\?[A-Za-z]+)(?: ?\^ ?\{(k(?: ?[+-] ?1)?),((?: ?\d,?)+)\})? ?_ ?\{(\d(?:, ?\d)*)\}")


def places_of(text):
    """(match, channels, place) for every symbol at a place in numbers."""
    for match in list(INDEXED.finditer(text)):
        yield match, *(tuple(int(each) for each in re.findall(r"\d+", part or "")) for part in (match[3], match[4]))


def indexed(inner, found):
    """Take out symbols at a place in numbers, such as `X^{k,1}_{3,3}`."""
    for match, channels, place in places_of(inner):
        counted = (*(channel - 1 for channel in channels), *place)
        if re.search("[+-]", match[2] or ""):
            found.append(Statement(match[2], (), expression=canonical(match[2]), symbol=match[1]))
        if len(counted) > 1:
            found.append(Statement(match[0], (counted,), place=True, symbol=re.sub(r"\s", "", match[0])))
            inner = inner.replace(match[0], " ; ", 1)
    return inner


def identical(sides):
    """Whether all sides of an equation of letters are the same polynomial."""
    forms = [canonical(side) for side in sides]
    return None not in forms and all(one == other for one, other in pairwise(forms)) and any(key for key, _ in forms[0])


def equalities(text, found):
    """Compute every `2 + 1 = 3`; one that is not true is a statement that nothing can bind."""
    part = r"(?:[\d.,+\-*/() ^{}]|\\frac|\\sqrt|floor|ceil|log|max|min)+"
    for match in re.finditer(rf"{part}(?:[=≈]{part})+", text):
        whole, sides, start = match[0], [], match.start()
        for side in re.split(r"([=≈])", whole):
            sides.append(side)
        values = [arithmetic(side.strip(" ,.")) for side in sides[::2]]
        if re.search(r"/ ?0(?![\d.])|/0\)", re.sub(r"\\frac\{([^{}]+)\}\{([^{}]+)\}", r"\1/\2", whole)):
            found.append(Statement(whole, ()))
        known = [(value, side) for value, side in zip(values, sides[::2], strict=True) if value is not None]
        if (
            len(known) < 2
            or start
            and re.match(r"[\w}\]^]", text[start - 1])
            and known[0][1] == sides[0]
            and not sides[0].strip(" ,.(-")[:1].isdigit()
        ):
            continue
        if (
            values[0] is None
            or start
            and re.search(r"[\w)}\]] ?[-+*/^]? ?$", text[:start])
            and re.match(r" ?[-+*/^]", whole)
        ):
            known = known[1:] if values[0] is not None else known
        if len(known) < 2:
            continue
        last, written = known[-1][0], known[-1][1].strip(" ,.")
        exact = "≈" not in whole
        true = all(
            math.isclose(value, last, rel_tol=1e-12, abs_tol=1e-12)
            if exact
            else math.isclose(value, last, rel_tol=0.05) or rounds_to(value, last)
            for value, _ in known
        )
        number = int(last) if float(last).is_integer() else last
        found.append(Statement(whole.strip() if not true else written, ((number,),) if true else ()))
        text = text.replace(whole, " " * (len(whole) - 1) + ";", 1)
    return text


def side_by_side(text, found):
    """Take out numbers that belong together: sizes, places, tuples, lists, products."""
    number = rf"-?(?:{DIGITS})"
    patterns = [
        (
            rf"(?<![\w.-])({number})(?: ?(?:x|by) ?{number}){{1,3}}(?![\w])",
            True,
        ),
        (rf"[Rr]ows? ({number}),? (?:and )?columns? ({number})", True),
        (rf"[\[(]({number}), ?({number})(?:, ?({number}))?(?:, ?({number}))?(?:, ?({number}))?[\])]", True),
        (rf"(?<![\w.-])({number}(?: ?\* ?\(?{number}\)?)+)(?![\w.])", "product"),
        (
            rf"(?<![\w.-]){number}(?:[,;] {number}){{0,3}},? (?:and|or|to) {number}(?![\w.]\w)",
            "list",
        ),
        (rf"(?<![\w.*+/^-])({number})-(\d+)(?![\w.-]\w| ?[=*])", "list"),
        (rf"(?<![\w.-])({number})(?:[,;] ({number}))(?:[,;] ({number}))+(?![\w.]\w)", True),
        (rf"(?<![\w.-])({number})(?: ({number}))(?: ({number}))+(?![\w.]\w)", True),
    ]
    for pattern, strict in patterns:
        for match in list(re.finditer(pattern, text)):
            if strict == "product":
                numbers = numbers_in(match[1].replace("*", " ; ").replace("(", " ").replace(")", " "))
                value = arithmetic(match[1])
                values = (numbers, *([] if value is None else [(value,)]))
            else:
                numbers = tuple(
                    value_of(each) for each in re.findall(rf"(?<![\w.-])(?:-(?=\d))?(?:{DIGITS})", match[0])
                )
                values = (numbers,)
            if len(numbers) > 1:
                found.append(
                    Statement(match[0], values, strict=strict is True or strict == "product" or len(numbers) > 3)
                )
                text = text.replace(match[0], ";" + " " * (len(match[0]) - 1), 1)
    return text


def fractions(text, found):
    """Take out fractions, powers of numbers, and what else can be computed."""
    part = (
        r"(?:\d[\d.]* ?[-+*/^] ?)+\d+(?:\.\d+)?|\d[\d.]*\^\{-?\d+\}|\d[\d.]* ?\* ?10\^\{-?\d+\}"
        r"|\\frac\{\d+\}\{\d+\}|\\sqrt\{?\d+\}?|10\*\*-?\d+"
    )
    for match in list(re.finditer(rf"(?<![\w.])(?:{part})(?![\w.]\w)", text)):
        value = arithmetic(match[0])
        if value is not None:
            numbers = tuple(value_of(each) for each in re.findall(r"\d+(?:\.\d+)?", match[0]))
            number = int(value) if float(value).is_integer() else value
            found.append(Statement(match[0], ((number,), numbers)))
            text = text.replace(match[0], " " * len(match[0]), 1)
    return text


# --- the command ---------------------------------------------------------------------------------------------------


def report(path):
    """What is wrong in one chapter, a line each."""
    chapter = Chapter(path)
    lines = [
        f"{chapter.path.stem}, cell {piece.cell}, {piece.kind}: nothing binds {statement.text.strip()!r} in: "
        f"{piece.text}"
        for piece, statement in chapter.unbound()
    ]
    return lines + [
        f"{chapter.path.stem}, cell {cell}: the mark {mark!r} names nothing, or gives no reason"
        for cell, mark in chapter.stale_marks()
    ]


def main(paths):
    """Print what is not bound."""
    problems = [line for path in paths for line in report(Path(path))]
    print("\n".join(problems) or "Every number is bound or marked.")
    return bool(problems)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
