# Exported from chapters/ by tools/export.py: edit the chapter, not this file.
"""Run a reader's function, and say where it stopped or what it changed.

Chapter "How an answer is checked" builds this module.
"""

import copy
import dis
import inspect
import linecache
import sys
import sysconfig
from numbers import Number
from pathlib import Path
from types import CodeType
from typing import NamedTuple

import numpy as np

import convlib

__all__ = ["Run", "run", "where_it_stopped", "is_unfinished", "cannot_be_called"]


# Chapter "How an answer is checked" (chapters/checking.ipynb)

# Where code lives that no reader has written. (In a notebook there is no __file__.)
_LIBRARIES = (*map(sysconfig.get_path, ("stdlib", "purelib", "platlib")),
              *(str(Path(module.__file__).parent) for module in (np, convlib)))
_LONGEST = 200


class Run(NamedTuple):
    """What happened when a function was called.

    Attributes
    ----------
    result : object
        What it returned.
    changed : dict
        The arguments that it has written into, as they are now.
    stopped : tuple of str
        Where and why it stopped, in paragraphs; empty if it did not.

    Notes
    -----
    Source: chapter "How an answer is checked".
    """

    result: object = None
    changed: dict = {}
    stopped: tuple = ()


def run(function, arguments):
    """Call a function with copies of its arguments.

    Parameters
    ----------
    function : callable
        The reader's.
    arguments : dict of str to object
        Its arguments, by their names.

    Returns
    -------
    Run
        What it returned, which arguments it changed, or where it stopped.

    Notes
    -----
    Source: chapter "How an answer is checked".
    """
    given = copy.deepcopy(arguments)
    try:
        result = function(**given)
    except NotImplementedError:
        return Run(...)
    except Exception as error:
        return Run(stopped=where_it_stopped(error, arguments))
    changed = {name: value for name, value in given.items() if not _untouched(value, arguments[name])}
    return Run(result, changed)


def _untouched(value, before):
    """Tell whether an argument is still what it was."""
    if isinstance(before, np.ndarray):
        return np.array_equal(value, before, equal_nan=before.dtype.kind == "f")
    if isinstance(before, (list, tuple)):
        return len(value) == len(before) and all(map(_untouched, value, before))
    # Objects of other kinds, such as a generator of random numbers, need not say when they are equal.
    return not isinstance(before, (dict, set, Number, str)) or value == before or value != value


def where_it_stopped(error, arguments=None):
    """Return where and why a reader's code stopped.

    Parameters
    ----------
    error : Exception
        What it raised.
    arguments : dict of str to object, optional
        With which it was called.

    Returns
    -------
    tuple of str
        A sentence, the line of code, and the arguments.

    Notes
    -----
    Source: chapter "How an answer is checked".
    """
    message = " ".join(str(error).split())
    message = message[:_LONGEST] + "..." if len(message) > _LONGEST else message
    reason = f"{type(error).__name__}: {message}" if message else type(error).__name__
    place, line = _last_own_line(error)
    paragraphs = [f"Your code stopped{place} with {reason}" + ("" if reason[-1] in ".?!" else ".")]
    if line:
        paragraphs.append(f"    {line}")
    if arguments:
        called = ", ".join(map(_argument, arguments, arguments.values()))
        paragraphs.append(f"It was called with {called}.")
    return tuple(paragraphs)


def _last_own_line(error):
    """Return the last place in the reader's own code that an error has passed, and its line of code."""
    place, line, trace = "", "", error.__traceback__
    while trace is not None:
        file = trace.tb_frame.f_code.co_filename
        # What begins with "<", like "<frozen importlib>", was not read from a file.
        own = not file.startswith("<") and not file.startswith(_LIBRARIES)
        if own and not (place and _is_of_the_course(trace.tb_frame.f_code)):
            name = f" of {Path(file).name}" if Path(file).exists() else ""
            place = f" in line {trace.tb_lineno}{name}"
            line = linecache.getline(file, trace.tb_lineno).strip()
        trace = trace.tb_next
    return place, line


def _is_of_the_course(code):
    """Tell whether code is that of a function of the library, though a cell of a chapter has made it."""
    modules = [module for name, module in list(sys.modules.items()) if name.startswith("convlib.")]
    twins = (inspect.unwrap(vars(module).get(code.co_name)) for module in modules)
    return any(_instructions(twin.__code__) == _instructions(code) for twin in twins if inspect.isfunction(twin))


def _argument(name, value):
    """Return an argument in words: its name, and its shape or value."""
    if isinstance(value, np.ndarray):
        return f"`{name}` of shape {value.shape}"
    text = repr(value)
    return f"`{name}`" if len(text) > 40 else f"`{name} = {text}`"


_SILENT = {"RESUME", "NOP", "PUSH_NULL", "PRECALL", "EXTENDED_ARG"}


def _nothing():
    ...


def is_unfinished(function, skeleton=""):
    """Tell whether a function is still empty.

    Parameters
    ----------
    function : callable
        The reader's.
    skeleton : str
        The code that the reader has started from.

    Returns
    -------
    bool

    Notes
    -----
    Source: chapter "How an answer is checked".
    """
    code = getattr(getattr(function, "py_func", function), "__code__", None)
    if code is None:
        return False
    empty = [_nothing.__code__]
    if skeleton:
        constants = compile(skeleton, "skeleton", "exec").co_consts
        empty += [each for each in constants if isinstance(each, CodeType) and each.co_name == code.co_name]
    return any(_instructions(code) == _instructions(each) for each in empty)


def _instructions(code):
    """Return what a piece of code does, whatever its lines, its docstring and the cell that it stands in."""
    found = []
    for each in dis.get_instructions(code):
        # How a function of a module is called depends on whether the module is imported in the same cell.
        name = each.opname.replace("LOAD_METHOD", "LOAD_ATTR")
        value = _instructions(each.argval) if isinstance(each.argval, CodeType) else each.argval
        if name not in _SILENT:
            found.append((name, None if each.opcode in (*dis.hasjrel, *dis.hasjabs) else value))
    return found


def cannot_be_called(function, arguments):
    """Return why a function cannot be called with these arguments, or nothing.

    Parameters
    ----------
    function : callable
        The reader's.
    arguments : dict of str to object
        The arguments of a case.

    Returns
    -------
    str
        A sentence; empty if it can.

    Notes
    -----
    Source: chapter "How an answer is checked".
    """
    try:
        signature = inspect.signature(function)
        signature.bind(**arguments)
    except (TypeError, ValueError):
        taken = f" ({', '.join(signature.parameters)})" if "signature" in locals() else ""
        return f"Your function takes other arguments{taken}; expected ({', '.join(arguments)})."
    return ""
