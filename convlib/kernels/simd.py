# Exported from chapters/ by tools/export.py: edit the chapter, not this file.
"""Vectors of numbers inside Numba functions: load, store, broadcast, multiply and add.

A vector holds as many numbers as one register of the processor that Numba compiles for:
16, 8 or 4 in float32, half as many in float64. Chapter "Planes and vectors" builds this module.
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
from llvmlite import ir
from numba import types
from numba.core import caching, cgutils
from numba.core.compiler_lock import global_compiler_lock
from numba.core.errors import TypingError
from numba.core.registry import cpu_target
from numba.extending import intrinsic, models, register_model

__all__ = [
    "REGISTER_BYTES",
    "lanes_of",
    "compiled",
    "VectorType",
    "VectorModel",
    "address_of",
    "check_array",
    "check_written",
    "check_room",
    "lanes",
    "load",
    "store",
    "broadcast",
    "fma",
    "total",
    "all_finite",
    "bytes_before",
    "inlined",
    "load_some",
    "store_some",
]


# Chapter "Planes and vectors" (chapters/planes.ipynb)

def _sample_sum():
    """Assembly text of a function that adds a vector of 64 bytes to itself."""
    module = ir.Module()
    pointer = ir.VectorType(ir.FloatType(), 16).as_pointer()
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), [pointer]), "sample")
    builder, place = ir.IRBuilder(function.append_basic_block()), function.args[0]
    numbers = builder.load(place)
    builder.store(builder.fadd(numbers, numbers), place)
    builder.ret_void()
    triple, name, features = cpu_target.target_context.codegen().magic_tuple()
    target = llvmlite.binding.Target.from_triple(triple)
    machine = target.create_target_machine(cpu=name, features=features)
    return machine.emit_assembly(llvmlite.binding.parse_assembly(str(module)))


def _register_bytes():
    """The size of a vector register of the processor that Numba compiles for."""
    text = _sample_sum()
    if "zmm" in text:  # what processors with AVX-512 call their registers
        return 64
    return 32 if "ymm" in text else 16  # and those with AVX


REGISTER_BYTES = _register_bytes()


def lanes_of(dtype):
    """Return how many numbers of a data type one vector holds (chapter "Planes and vectors")."""
    return REGISTER_BYTES // np.dtype(dtype).itemsize


@cache
def _checksum(*files):
    """A checksum of some files, each given with its time and size."""
    parts = (hashlib.sha256(path.read_bytes()).digest() for path, *_ in files)
    return hashlib.sha256(b"".join(parts)).hexdigest()


def _sources(folder):
    """A checksum of all modules in a folder: a function there may call any of them."""
    paths = sorted(Path(folder).glob("*.py"))
    states = [path.stat() for path in paths]
    return _checksum(*((path, state.st_mtime_ns, state.st_size)
                       for path, state in zip(paths, states, strict=True)))


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


class _Kept(caching.FunctionCache):
    """What Numba asks for kept code; it also looks at a function before it is compiled."""

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
        _refuse_arrays(self._py_func)
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


def _refuse_arrays(function):
    """Raise TypeError if a function uses an array that it is not handed over."""
    for name, value in _outside(function).items():
        if _holds_array(value):
            raise TypeError(
                f"{function.__name__}: expected arrays as arguments, but it uses the array "
                f"{name} as a constant"
            )


def compiled(function, **options):
    """Compile a function with Numba, released from Python's lock and kept on disk.

    Where nothing can be kept (a read-only installation and no home, a full disk), each
    process compiles it anew, and a warning says so once.

    Raises
    ------
    TypeError
        If the function uses an array that is not one of its arguments; it names the array.

    Notes
    -----
    Source: chapter "Planes and vectors".
    """
    _refuse_arrays(function)
    result = numba.njit(nogil=True, **options)(function)
    if result is not function:  # Numba may be told to compile nothing
        result._cache = _Kept(function)
    return result


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


class VectorType(types.Type):
    """The type of a vector inside compiled functions (chapter "Planes and vectors")."""

    def __init__(self, dtype):
        self.dtype = dtype
        self.lanes = REGISTER_BYTES * 8 // dtype.bitwidth
        super().__init__(name=f"Vector({dtype}, {self.lanes})")


@register_model(VectorType)
class VectorModel(models.PrimitiveModel):
    """How a vector is kept: as an LLVM vector, in a register (chapter "Planes and vectors")."""

    def __init__(self, manager, vector):
        number = ir.FloatType() if vector.dtype == types.float32 else ir.DoubleType()
        super().__init__(manager, vector, ir.VectorType(number, vector.lanes))


def address_of(context, builder, array_type, array, index):
    """Return the address of array[index], for LLVM (chapter "Planes and vectors")."""
    data = context.make_array(array_type)(context, builder, array).data
    return builder.gep(data, [index])


def _zeros(count):
    """The constant (0, 0, ...) with which LLVM picks lane 0 for every lane."""
    return ir.Constant(ir.VectorType(ir.IntType(32), count), [0] * count)


def check_array(name, array, written=False):
    """Refuse, when it is compiled, an array with gaps, or one that must not be written.

    Source: chapter "Planes and vectors".
    """
    if not isinstance(array, types.Array) or array.layout != "C":
        raise TypingError(f"{name}: expected an array without gaps, got {array}")
    if written and not array.mutable:
        raise TypingError(f"{name}: expected an array that may be written, got {array}")


def check_written(name, array, vectors):
    """Refuse, when it is compiled, an array that these vectors must not be written to.

    Source: chapter "Planes and vectors".
    """
    check_array(name, array, written=True)
    for vector in vectors if isinstance(vectors, types.BaseTuple) else [vectors]:
        if vector != VectorType(array.dtype):
            raise TypingError(f"{name}: expected vectors of {array.dtype}, got {vector}")


@intrinsic
def _load(typing_context, array, index):
    check_array("load", array)
    vector = VectorType(array.dtype)

    def generate(context, builder, signature, arguments):
        address = address_of(context, builder, signature.args[0], *arguments)
        pointer = context.get_value_type(vector).as_pointer()
        value = builder.load(builder.bitcast(address, pointer))
        value.align = array.dtype.bitwidth // 8
        return value

    return vector(array, types.intp), generate


@intrinsic
def _store(typing_context, array, index, vector):
    check_written("store", array, vector)

    def generate(context, builder, signature, arguments):
        address = address_of(context, builder, signature.args[0], *arguments[:2])
        place = builder.bitcast(address, arguments[2].type.as_pointer())
        builder.store(arguments[2], place, align=array.dtype.bitwidth // 8)
        return context.get_dummy_value()

    return types.void(array, types.intp, vector), generate


@intrinsic
def _broadcast(typing_context, array, index):
    check_array("broadcast", array)
    vector = VectorType(array.dtype)

    def generate(context, builder, signature, arguments):
        number = builder.load(address_of(context, builder, signature.args[0], *arguments))
        empty = ir.Constant(context.get_value_type(vector), ir.Undefined)
        first = builder.insert_element(empty, number, ir.Constant(ir.IntType(32), 0))
        return builder.shuffle_vector(first, empty, _zeros(vector.lanes))

    return vector(array, types.intp), generate


@intrinsic
def _fma(typing_context, a, b, c):
    def generate(context, builder, signature, arguments):
        kind = arguments[0].type
        suffix = "f32" if isinstance(kind.element, ir.FloatType) else "f64"
        function = cgutils.get_or_insert_function(
            builder.module,
            ir.FunctionType(kind, [kind] * 3),
            f"llvm.fmuladd.v{kind.count}{suffix}",
        )
        return builder.call(function, arguments)

    return c(a, b, c), generate


@intrinsic
def _total(typing_context, vector):
    def generate(context, builder, signature, arguments):
        value = arguments[0]
        while value.type.count > 1:  # add the upper half to the lower half
            half = value.type.count // 2
            empty = ir.Constant(value.type, ir.Undefined)
            lanes = ir.VectorType(ir.IntType(32), half)
            halves = [
                builder.shuffle_vector(value, empty, ir.Constant(lanes, list(part)))
                for part in (range(half), range(half, 2 * half))
            ]
            value = builder.fadd(*halves)
        return builder.extract_element(value, ir.Constant(ir.IntType(32), 0))

    return vector.dtype(vector), generate


@intrinsic
def _lanes(typing_context, array):
    count = VectorType(array.dtype).lanes

    def generate(context, builder, signature, arguments):
        return context.get_constant(types.intp, count)

    return types.intp(array), generate


def check_room(array, index, count):
    """Raise IndexError unless `count` numbers lie inside the array.

    Source: chapter "Planes and vectors".
    """
    if index < 0 or index > array.size - count:
        raise IndexError("a vector reaches outside its array")


if numba.config.DISABLE_JIT:

    def lanes(array):
        return lanes_of(array.dtype)

    def load(array, index):
        check_room(array, index, lanes(array))
        return array[index : index + lanes(array)].copy()

    def store(array, index, vector):
        check_room(array, index, lanes(array))
        array[index : index + lanes(array)] = vector

    def broadcast(array, index):
        return np.full(lanes(array), array[index])

    def fma(a, b, c):
        with np.errstate(over="ignore", invalid="ignore"):  # a processor does not warn
            return a * b + c

    def total(vector):
        while len(vector) > 1:
            vector = vector[: len(vector) // 2] + vector[len(vector) // 2 :]
        return vector[0]
else:
    lanes, broadcast, fma, total = _lanes, _broadcast, _fma, _total
    if numba.config.BOUNDSCHECK:
        _check = compiled(check_room)

        @compiled
        def load(array, index):
            _check(array, index, _lanes(array))
            return _load(array, index)

        @compiled
        def store(array, index, vector):
            _check(array, index, _lanes(array))
            _store(array, index, vector)
    else:
        load, store = _load, _store


@compiled
def all_finite(array):
    """Tell whether all numbers of a row are finite: zero times each of them is zero.

    Source: chapter "Planes and vectors".
    """
    zero = sums = broadcast(np.zeros(1, array.dtype), 0)
    whole = array.size // lanes(array) * lanes(array)
    for x in range(0, whole, lanes(array)):
        sums = fma(zero, load(array, x), sums)
    return total(sums) == 0 and np.isfinite(array[whole:]).all()


@compiled
def bytes_before(memory, size):
    """Return how many bytes lie before the next multiple of a size.

    Source: chapter "Planes and vectors".
    """
    return -memory.ctypes.data % size


# Chapter "Thin layers" (chapters/thin.ipynb)

def _first_lanes(builder, count, lanes):
    """A vector of yes and no: yes in the first `count` lanes."""
    kind = ir.VectorType(ir.IntType(32), lanes)
    empty = ir.Constant(kind, ir.Undefined)
    count = builder.trunc(count, ir.IntType(32))
    first = builder.insert_element(empty, count, ir.Constant(ir.IntType(32), 0))
    counts = builder.shuffle_vector(first, empty, _zeros(lanes))
    return builder.icmp_signed("<", ir.Constant(kind, list(range(lanes))), counts)


def _masked(builder, name, result, kind, arguments):
    """Call LLVM's masked load or store for this kind of vector."""
    number = "f32" if isinstance(kind.element, ir.FloatType) else "f64"
    types_of_arguments = [argument.type for argument in arguments]
    function = cgutils.get_or_insert_function(
        builder.module,
        ir.FunctionType(result, types_of_arguments),
        f"llvm.masked.{name}.v{kind.count}{number}.p0",
    )
    return builder.call(function, arguments)


@intrinsic
def _load_some(typing_context, array, index, count):
    check_array("load_some", array)
    vector = VectorType(array.dtype)

    def generate(context, builder, signature, arguments):
        kind = context.get_value_type(vector)
        address = address_of(context, builder, signature.args[0], *arguments[:2])
        place = builder.bitcast(address, kind.as_pointer())
        align = ir.Constant(ir.IntType(32), array.dtype.bitwidth // 8)
        mask = _first_lanes(builder, arguments[2], kind.count)
        given = [place, align, mask, ir.Constant(kind, None)]  # None: zeros elsewhere
        return _masked(builder, "load", kind, kind, given)

    return vector(array, types.intp, types.intp), generate


@intrinsic
def _store_some(typing_context, array, index, vector, count):
    check_written("store_some", array, vector)

    def generate(context, builder, signature, arguments):
        kind = arguments[2].type
        address = address_of(context, builder, signature.args[0], *arguments[:2])
        place = builder.bitcast(address, kind.as_pointer())
        align = ir.Constant(ir.IntType(32), vector.dtype.bitwidth // 8)
        mask = _first_lanes(builder, arguments[3], kind.count)
        given = [arguments[2], place, align, mask]
        _masked(builder, "store", ir.VoidType(), kind, given)
        return context.get_dummy_value()

    return types.void(array, types.intp, vector, types.intp), generate


def inlined(function):
    """As `compiled`, for a small function whose body takes the place of each call.

    Notes
    -----
    Source: chapter "Thin layers".
    """
    return compiled(function, forceinline=True)


if numba.config.DISABLE_JIT:

    def load_some(array, index, count):
        vector = np.zeros(lanes(array), array.dtype)
        count = max(0, min(count, len(vector)))
        if count > 0:
            check_room(array, index, count)
            vector[:count] = array[index : index + count]
        return vector

    def store_some(array, index, vector, count):
        count = max(0, min(count, len(vector)))
        if count > 0:
            check_room(array, index, count)
            array[index : index + count] = vector[:count]
else:
    if numba.config.BOUNDSCHECK or REGISTER_BYTES == 16:
        _watched = bool(numba.config.BOUNDSCHECK)
        _check_some = compiled(check_room)

        @inlined
        def load_some(array, index, count):
            if _watched and count > 0:
                _check_some(array, index, min(count, lanes(array)))
            if count >= lanes(array):
                return _load(array, index)
            return _load_some(array, index, count)

        @inlined
        def store_some(array, index, vector, count):
            if _watched and count > 0:
                _check_some(array, index, min(count, lanes(array)))
            if count >= lanes(array):
                _store(array, index, vector)
            else:
                _store_some(array, index, vector, count)
    else:
        load_some, store_some = _load_some, _store_some
