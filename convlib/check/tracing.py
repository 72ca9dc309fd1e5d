# Exported from chapters/ by tools/export.py: edit the chapter, not this file.
"""Numbers that remember which products they are sums of, and the run of a function with them.

Chapter "What your code read" builds this module.
"""

import builtins
import contextlib
import copy
import functools
import inspect
import io
import itertools
import math
import operator
import sys
import types
from typing import NamedTuple

import numpy as np

from convlib import reference

__all__ = ["ROUNDING", "LIMIT", "CannotTrace", "Entry", "Meter", "terms_of", "Sum", "EMPTY", "call", "Traced", "trace",
    "value_of", "measure"]


# Chapter "What your code read" (chapters/tracing.ipynb)

ROUNDING = 1e-13  # a product that is in a sum less often is not in it
LIMIT = 3_000_000  # products that a traced run may touch: about a second


class CannotTrace(TypeError):
    """A function asked for what only a plain number can answer (chapter "What your code read")."""


class Entry(NamedTuple):
    """One entry of an argument: the argument's name and a place (chapter "What your code read")."""

    name: str
    place: tuple

    def __str__(self):
        return f"{self.name}[{', '.join(map(str, self.place))}]" if self.place else self.name


class Meter:
    """The work that a traced run may still do (chapter "What your code read")."""

    def __init__(self, left=LIMIT):
        self.left = left

    def count(self, products):
        """Take some products off; a CannotTrace if none are left."""
        self.left -= products
        if self.left < 0:
            raise CannotTrace("it adds up too many products to follow them all")


def terms_of(value):
    """Return the products that a number is the sum of.

    Parameters
    ----------
    value : Sum or number
        What a traced function computed.

    Returns
    -------
    dict or None
        How often each product is in the sum; None if `value` is not a number.

    Notes
    -----
    Source: chapter "What your code read".
    """
    if isinstance(value, Sum):
        return value.terms
    if not isinstance(value, (int, float, np.integer, np.floating, np.bool_)):
        return None
    return {(): value} if value else {}


def _added(terms, others):
    """The products of a sum of two sums."""
    total = dict(terms)
    for product, times in others.items():
        total[product] = total.get(product, 0) + times
        if total[product] == 0:
            del total[product]
    return total


def _multiplied(terms, others):
    """The products of a product of two sums: each with each."""
    total = {}
    for product, times in terms.items():
        for factor, more in others.items():
            both = tuple(sorted(product + factor))
            total[both] = total.get(both, 0) + times * more
    return {product: times for product, times in total.items() if times}


def _cannot(what):
    """A method for what a sum of products cannot do."""

    def method(self, *_):
        raise CannotTrace(f"it asks a number {what}, and a sum of products cannot tell")

    return method


class _Asked:
    """What only a plain number can answer."""

    __hash__ = None
    __eq__ = __ne__ = __lt__ = __le__ = __gt__ = __ge__ = __bool__ = _cannot("to be compared")
    __abs__ = __round__ = __floor__ = __ceil__ = __trunc__ = _cannot("for its size or a whole number")
    __int__ = __float__ = __index__ = __complex__ = _cannot("to become a plain number")
    __rtruediv__ = __floordiv__ = __rfloordiv__ = __mod__ = __rmod__ = __rpow__ = _cannot("to divide")


def _written(term):
    """One product and how often, as it would be written in code."""
    product, times = term
    factors = [f"{times:g}"] if times != 1 or not product else []
    return " * ".join(factors + [str(entry) for entry in product])


class Sum(_Asked):
    """A number that remembers which products it is the sum of (chapter "What your code read").

    Its `terms` say how often each product is in the sum. A product is a sorted tuple of `Entry`; the
    empty one stands for a plain number. Whatever only a plain number can answer raises CannotTrace.
    """

    __slots__ = ("terms", "meter")

    def __init__(self, terms, meter):
        self.terms, self.meter = terms, meter
        meter.count(1 + len(terms))

    def _with(self, other, combined):
        others = terms_of(other)
        return NotImplemented if others is None else Sum(combined(self.terms, others), self.meter)

    def __add__(self, other):
        return self._with(other, _added)

    def __mul__(self, other):
        return self._with(other, _multiplied)

    def __sub__(self, other):
        return self + -other

    def __rsub__(self, other):
        return -self + other

    def __neg__(self):
        return self * -1

    def __pos__(self):
        return self

    def __truediv__(self, other):
        return other.__rtruediv__(self) if isinstance(other, Sum) else self * (1 / other)

    def __pow__(self, power):
        return functools.reduce(Sum.__mul__, [self] * operator.index(power), Sum({(): 1}, self.meter))

    def __repr__(self):
        return " + ".join(map(_written, self.terms.items())) or "0"

    __radd__, __rmul__, conjugate = __add__, __mul__, __pos__


class _Array(np.ndarray):
    """An array of numbers that remember: no data type can make them forget."""

    def astype(self, dtype, *args, **settings):
        """A copy of the same numbers."""
        return self.copy() if self.dtype == object else super().astype(dtype, *args, **settings)

    def sum(self, axis=None, dtype=None, **settings):
        """The sum, in no data type."""
        return super().sum(axis=axis, **settings)

    def mean(self, axis=None, dtype=None, **settings):
        """The mean, in no data type."""
        return super().mean(axis=axis, **settings)

    def __array_wrap__(self, array, context=None, return_scalar=False):
        return array[()] if array.ndim == 0 else super().__array_wrap__(array, context)


def _kept(value):
    """What a function of NumPy returns, able to remember."""
    if isinstance(value, (tuple, list)) and type(value) in (tuple, list):
        return type(value)(map(_kept, value))
    return value.view(_Array) if isinstance(value, np.ndarray) and value.dtype == object else value


def _remembers(value):
    """Whether an argument is, or holds, numbers that remember."""
    if isinstance(value, (tuple, list)):
        return any(map(_remembers, value))
    return isinstance(value, Sum) or (isinstance(value, np.ndarray) and value.dtype == object)


def _as_traced(function, meter):
    """A function of NumPy that makes no plain numbers of numbers that remember."""

    def call(*args, **settings):
        if any(map(_remembers, args)) or any(map(_remembers, settings.values())):
            settings.pop("dtype", None)
        return _kept(_with_room(getattr(function, "__name__", ""), function(*args, **settings), meter))

    return call


EMPTY = "np.empty"  # the name of what nobody has written
_ROOM = (
    "zeros",
    "ones",
    "full",
    "empty",
    "zeros_like",
    "ones_like",
    "full_like",
    "empty_like",
    "eye",
    "identity",
)


def _with_room(name, made, meter):
    """A new array in which numbers that remember have room."""
    new = name in _ROOM and made.dtype.kind in "iuf"
    if new or (name in ("array", "asarray") and made.dtype.kind == "f"):
        made = made.astype(object)
    if name in ("empty", "empty_like"):  # what is in this memory, nobody knows
        for place in np.ndindex(made.shape):
            made[place] = Sum({(Entry(EMPTY, place),): 1}, meter)
    return made


class _Module:
    """A module as a traced function sees it."""

    def __init__(self, module, twins):
        self._module, self._twins = module, twins

    def __getattr__(self, name):
        return self._twins.of(getattr(self._module, name))


class _Float(float):
    """What `float` is while a function is traced: it lets numbers that remember pass."""

    def __new__(cls, value=0.0):
        return value if isinstance(value, Sum) else float(value)


_LOOPS = {
    "conv2d": reference.general_conv2d,
    "conv2d_input_grad": reference.general_conv2d_input_grad,
    "conv2d_weight_grad": reference.general_conv2d_weight_grad,
    "conv2d_bias_grad": reference.conv2d_bias_grad,
}


class _Twins:
    """Copies of functions, and of what they call; their NumPy makes room for numbers that remember."""

    def __init__(self, meter):
        self.meter, self.made = meter, {}
        own = {"__import__": self._import, "print": lambda *_, **__: None, "float": _Float}
        self.builtins = {**vars(builtins), **own}

    def _import(self, *args):
        return self.of(__import__(*args))

    def of(self, value):
        """The twin of whatever a name may stand for."""
        if id(value) not in self.made:
            self.made[id(value)] = value, value  # the first keeps the object alive, and so its id its own
            self.made[id(value)] = value, _twin(value, self)
        return self.made[id(value)][1]


def _twin(value, twins):
    """A copy of a function, or of what leads to one; anything else as it is."""
    root = _root_of(value)
    if isinstance(value, types.ModuleType):
        return _Module(value, twins) if root in ("numpy", "convlib") else value
    if isinstance(value, functools.partial):
        return functools.partial(twins.of(value.func), *value.args, **value.keywords)
    if isinstance(value, types.MethodType):
        return types.MethodType(twins.of(value.__func__), value.__self__)
    if hasattr(value, "py_func"):  # compiled by Numba
        return twins.of(value.py_func)
    if type(value) in _HOLDERS:
        return _held(value, twins)
    if root == "numpy" and callable(value) and not isinstance(value, (type, np.ufunc)):
        return _as_traced(value, twins.meter)
    if not isinstance(value, types.FunctionType):
        return value
    if value.__module__ == "convlib.functional" and value.__name__ in _LOOPS:
        return twins.of(_LOOPS[value.__name__])
    return _copied(value, twins) if _is_own(value, root) else value


_HOLDERS = (list, tuple, dict, set, np.ndarray, types.SimpleNamespace)


def _held(value, twins):
    """A copy of what holds other things, for a function may keep something there; with twins of functions."""
    if isinstance(value, types.SimpleNamespace):
        return types.SimpleNamespace(**_held(vars(value), twins))
    if isinstance(value, dict):
        return {key: _of_held(each, twins) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_of_held(each, twins) for each in value)
    return copy.copy(value)


def _of_held(value, twins):
    """The twin of something inside something else."""
    return twins.of(value) if callable(value) or type(value) in _HOLDERS else value


def _copied(function, twins):
    """A copy of a function: the same code, with twins of all that it names."""
    inside = function.__closure__ or ()
    cells = tuple(types.CellType() for _ in inside)
    names = {"__name__": function.__module__, "__builtins__": twins.builtins}
    twin = types.FunctionType(function.__code__, names, function.__name__, function.__defaults__, cells)
    twin.__kwdefaults__ = function.__kwdefaults__
    twins.made[id(function)] = function, twin  # before its names are looked up: it may call itself
    for cell, original in zip(cells, inside, strict=True):
        with contextlib.suppress(ValueError):  # a cell may still be empty
            cell.cell_contents = twins.of(original.cell_contents)
    for name in _names_in(function.__code__) & function.__globals__.keys():
        names[name] = twins.of(function.__globals__[name])
    return twin


def _root_of(value):
    """The package that a function or a module belongs to."""
    name = value.__name__ if isinstance(value, types.ModuleType) else getattr(value, "__module__", None)
    return str(name).split(".")[0]


def _is_own(function, root):
    """Whether a function is the reader's or the course's, not one of Python's or of another package."""
    if root == "convlib":
        return True
    installed = "-packages" in function.__code__.co_filename  # site-packages, dist-packages
    return root not in sys.stdlib_module_names and not installed


def _names_in(code):
    """The names that a piece of code looks up, and those of the functions inside it."""
    inside = [const for const in code.co_consts if isinstance(const, types.CodeType)]
    return {*code.co_names}.union(*map(_names_in, inside))


def call(function, arguments):
    """Call a function by the names of the arguments, or in their order if it names them otherwise.

    Parameters
    ----------
    function : callable
        What is called.
    arguments : dict
        The arguments by name.

    Returns
    -------
    object
        What the function returns.

    Notes
    -----
    Source: chapter "What your code read".
    """
    try:
        inspect.signature(function).bind(**arguments)
    except (TypeError, ValueError):
        return function(*arguments.values())
    return function(**arguments)


class Traced(NamedTuple):
    """What a traced run gave (chapter "What your code read")."""

    output: np.ndarray | None  # of Sum and plain numbers
    problem: str  # why it could not be traced, or ""


def trace(function, arguments, names=None, limit=LIMIT):
    """Run a function on numbers that remember which products they are sums of.

    Parameters
    ----------
    function : callable
        It is copied, together with the functions that it calls; itself, its globals and its
        arguments stay as they are.
    arguments : dict
        The arguments by name: arrays, and plain values, which stay plain.
    names : collection of str, optional
        The arrays that are traced; all of them if it is left out.
    limit : int
        How many products the run may touch.

    Returns
    -------
    Traced
        Its `output` is an array of `Sum` and plain numbers, or None if the function cannot be
        traced; then `problem` says why.

    Notes
    -----
    Source: chapter "What your code read".
    """
    meter = Meter(limit)
    chosen = arguments if names is None else names
    traced = {
        name: _remembering(name, value, meter) if name in chosen else copy.copy(value)
        for name, value in arguments.items()
    }
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            output = call(_Twins(meter).of(function), traced)
    except CannotTrace as error:
        return Traced(None, str(error))
    except Exception as error:  # whatever the reader's code does with numbers of an unknown kind
        return Traced(None, f"with such numbers it stops with {type(error).__name__}: {error}")
    return _as_output(output)


def _remembering(name, value, meter):
    """An array, or a list, of numbers that remember their own place; anything else as it is."""
    if not _holds_numbers(value):
        return copy.copy(value)
    array = np.empty(np.shape(value), dtype=object)
    for place in np.ndindex(array.shape):
        array[place] = Sum({(Entry(name, place),): 1}, meter)
    return array.tolist() if isinstance(value, list) else array.view(_Array)


def _holds_numbers(value):
    """Whether an argument is an array or a list of real numbers."""
    if isinstance(value, list):
        with contextlib.suppress(ValueError):
            return np.array(value).dtype.kind in "iuf"
        return False
    return isinstance(value, np.ndarray) and value.dtype.kind in "iuf"


def _as_output(output):
    """What a function returned, as an array of numbers."""
    try:
        array = np.array(output, dtype=object)
    except ValueError as error:
        return Traced(None, f"what it returns is no array: {error}")
    for place in np.ndindex(array.shape):
        terms = terms_of(array[place])
        if terms is None:
            return Traced(None, "what it returns holds something else than numbers")
        if isinstance(array[place], Sum):  # what should have cancelled may be left over by rounding
            array[place].terms = {
                product: times for product, times in terms.items() if abs(times) > ROUNDING
            }
    return Traced(array, "")


def value_of(output, arguments):
    """Return the plain numbers that a traced output stands for.

    Parameters
    ----------
    output : array of Sum and numbers
        What a traced function returned.
    arguments : dict
        The plain arguments by name.

    Returns
    -------
    array of float64
        NaN where memory was read that nothing had been written to.

    Notes
    -----
    Source: chapter "What your code read".
    """
    arrays = {name: np.asarray(value) for name, value in arguments.items()}
    values = np.zeros(output.shape)
    for place in np.ndindex(output.shape):
        for product, times in terms_of(output[place]).items():
            factors = [float(arrays[name][at]) if name in arrays else np.nan for name, at in product]
            values[place] += times * math.prod(factors)
    return values


def measure(function, arguments, limit=1000):
    """Find the products of a function that cannot be traced, by putting in ones among zeros.

    Parameters
    ----------
    function : callable
        What is asked. It is taken to be a sum of products of at most two entries; whoever asks
        should compare the values.
    arguments : dict
        The arguments by name; plain values stay as they are.
    limit : int
        How often the function may be called.

    Returns
    -------
    Traced

    Notes
    -----
    Source: chapter "What your code read".
    """
    shapes = {name: np.shape(value) for name, value in arguments.items() if _holds_numbers(value)}
    entries = [Entry(name, place) for name, shape in shapes.items() for place in np.ndindex(shape)]
    pairs = [pair for pair in itertools.combinations(entries, 2) if pair[0].name != pair[1].name]
    if 1 + len(entries) + len(pairs) > limit:
        return Traced(None, "it would have to be called too often")
    found = {}
    try:
        for chosen in [(), *((entry,) for entry in entries), *pairs]:
            parts = [
                found[part] for size in range(len(chosen)) for part in itertools.combinations(chosen, size)
            ]
            found[chosen] = _answer(function, arguments, shapes, chosen) - sum(parts)
    except Exception as error:  # whatever the reader's code does with zeros and ones
        return Traced(None, f"asked with zeros and ones, it stops with {type(error).__name__}: {error}")
    return Traced(_summed(found), "")


def _answer(function, arguments, shapes, chosen):
    """What a function says if all numbers are zeros, but for some ones."""
    given = {
        name: np.zeros(shapes[name]) if name in shapes else copy.copy(value)
        for name, value in arguments.items()
    }
    for name, place in chosen:
        given[name][place] = 1
    with contextlib.redirect_stdout(io.StringIO()), np.errstate(all="ignore"):
        answer = np.asarray(call(function, given), dtype=float)
    if not np.isfinite(answer).all():
        raise ValueError("it gives no number")
    return answer


def _summed(found):
    """The sums of products that belong to what was answered."""
    output, meter = np.empty(found[()].shape, dtype=object), Meter()
    for place in np.ndindex(output.shape):
        terms = {tuple(sorted(product)): float(times[place]) for product, times in found.items()}
        output[place] = Sum(
            {product: times for product, times in terms.items() if abs(times) > ROUNDING}, meter
        )
    return output
