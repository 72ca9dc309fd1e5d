# Exported from chapters/ by tools/export.py: edit the chapter, not this file.
"""What Numba has compiled, kept on disk: only a cache, so it must never be wrong.

Chapter "How the engine is wired" builds this module.
"""

import dis
import hashlib
import inspect
import os
import pickle
import sys
import warnings
from contextlib import suppress
from functools import cache
from pathlib import Path

import llvmlite.binding
import numba
import numpy as np
from numba.core import caching
from numba.core.compiler_lock import global_compiler_lock

__all__ = ["Kept", "refuse_arrays"]


# Chapter "How the engine is wired" (chapters/wired.ipynb)

@cache
def _checksum(path, changed, size):
    """A checksum of a file, taken anew when its time or size has changed."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _sources(folder):
    """Checksums of all modules in a folder: a function there may call any of them."""
    states = [(path, path.stat()) for path in sorted(Path(folder).glob("*.py"))]
    return "".join(_checksum(path, state.st_mtime_ns, state.st_size) for path, state in states)


def _made_from(function):
    """A checksum of all that a function's code may be made from."""
    kernels, cells = sys.modules.get("convlib.kernels"), function.__globals__.get("In")
    parts = [_sources(folder) for folder in (kernels.__path__ if kernels else ())]
    if isinstance(cells, list):  # a notebook: all cells that have run so far
        parts += map(str, cells)
    else:
        parts.append(_sources(Path(function.__code__.co_filename).parent))
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


class _CodeFiles:
    """Where the code of one function is kept: a file for each list of types and processor."""

    def __init__(self, folder, name, stamp):
        self.folder, self.name, self.stamp = Path(folder), name, stamp

    def _path(self, key):
        key = hashlib.sha256(repr((numba.__version__, np.__version__, key)).encode()).hexdigest()
        return self.folder / f"{self.name}.{self.stamp[:16]}.{key[:24]}.nbc"

    @staticmethod
    def _seal(path, content):
        """A checksum of the content and of the name that it belongs to."""
        return hashlib.sha256(path.name.encode() + content).digest()

    def load(self, key):
        """Return what was kept, or None; refuse what is damaged."""
        path = self._path(key)
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return None
        if self._seal(path, content[32:]) != content[:32]:
            raise ValueError(f"{path.name} is damaged")
        return pickle.loads(content[32:])

    def save(self, key, data):
        """Keep the data, in one step; remove what was made from other sources."""
        content, path = caching.dumps(data), self._path(key)
        temporary = path.with_suffix(f".{os.getpid()}.tmp")
        try:
            temporary.write_bytes(self._seal(path, content) + content)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
        for old in self.folder.glob(f"{self.name}.*.nbc"):
            if not old.name.startswith(f"{self.name}.{self.stamp[:16]}."):
                old.unlink(missing_ok=True)


_reasons = []


def _warn(reason):
    """Say once that compiled code is not kept, and why."""
    _reasons.append(reason)
    if len(_reasons) == 1:
        message = f"some code could not be kept or taken, and is compiled anew: {reason}"
        warnings.warn(message, RuntimeWarning, stacklevel=2)


class Kept(caching.FunctionCache):
    """Whom Numba asks for kept code (chapter "How the engine is wired")."""

    def __init__(self, function):
        try:
            super().__init__(function)
        except RuntimeError:  # so says Numba
            self._py_func, self._cache_path = function, None
            self.disable()
            _warn("there is no folder that can be written to")
        else:
            name, stamp = self._impl.filename_base, _made_from(function)
            self._cache_file = _CodeFiles(self._cache_path, name, stamp)

    def load_overload(self, signature, context):
        refuse_arrays(self._py_func)
        try:
            kept = super().load_overload(signature, context)
        except Exception as error:  # whatever a damaged file can lead to
            _warn(f"{type(error).__name__}: {error}")
            return None
        # A class of a notebook comes back as another one, of the same name.
        return kept if kept is None or kept.signature.args == tuple(signature) else None

    def save_overload(self, signature, data):
        try:
            super().save_overload(signature, data)
        except Exception as error:
            _warn(f"{type(error).__name__}: {error}")


def _holds_array(value):
    """Whether a value is an array, or a tuple or list with one in it."""
    if isinstance(value, (tuple, list)):
        return any(map(_holds_array, value))
    return isinstance(value, np.ndarray)


def _outside(function):
    """What a function uses without being handed it: names, modules' names, defaults."""
    found, before = {"of a default": function.__defaults__}, None
    names, cells = function.__code__.co_freevars, function.__closure__ or ()
    for name, cell in zip(names, cells, strict=True):
        with suppress(ValueError):  # nothing is in it yet
            found[name] = cell.cell_contents
    for step in dis.get_instructions(function):
        if step.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
            found[step.argval] = before = function.__globals__.get(step.argval)
        elif step.opname in ("LOAD_ATTR", "LOAD_METHOD") and inspect.ismodule(before):
            found[step.argval] = before = getattr(before, step.argval, None)
        else:
            before = None
    return found


def refuse_arrays(function):
    """Raise TypeError if a function uses an array that it is not handed over.

    Source: chapter "How the engine is wired".
    """
    for name, value in _outside(function).items():
        if _holds_array(value):
            raise TypeError(
                f"{function.__name__}: expected arrays as arguments, but it uses the array "
                f"{name} as a constant"
            )


_LLVM_LOCK = llvmlite.binding.ffi.lib._lock  # its functions hold it, each for a moment


def _wait_for_compiler():
    """Before a fork: wait until nothing is being compiled, and keep it so."""
    global_compiler_lock.acquire()
    _LLVM_LOCK.__enter__()


def _let_compile():
    """After a fork, in both processes."""
    _LLVM_LOCK.__exit__(None, None, None)
    global_compiler_lock.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_wait_for_compiler, after_in_parent=_let_compile, after_in_child=_let_compile
    )
