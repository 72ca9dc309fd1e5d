# Exported from chapters/ by tools/export.py: edit the chapter, not this file.
"""Vectors of numbers inside Numba functions: load, store, broadcast, multiply and add.

A vector holds as many numbers as one register of the processor: 16, 8 or 4 in float32, half as
many in float64. Chapter "How the engine is wired" builds this module.
"""

import operator
from functools import partial, wraps

import llvmlite.binding
import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.errors import TypingError
from numba.core.registry import cpu_target
from numba.extending import intrinsic, models, register_model

from convlib.code_cache import Kept, refuse_arrays

__all__ = [
    "REGISTER_BYTES",
    "lanes_of",
    "VectorType",
    "check_array",
    "check_room",
    "address_of",
    "Computing",
    "Writing",
    "primitive",
    "as_first",
    "lanes",
    "load",
    "load_some",
    "store",
    "store_some",
    "broadcast",
    "fma",
    "total",
    "compiled",
    "inlined",
    "all_finite",
]


# Chapter "How the engine is wired" (chapters/wired.ipynb)

def _register_bytes():
    """The size of a vector register of the processor that Numba compiles for."""
    module = ir.Module()  # with a function that adds a vector of 64 bytes to itself
    pointer = ir.VectorType(ir.FloatType(), 16).as_pointer()
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), [pointer]), "sample")
    builder, place = ir.IRBuilder(function.append_basic_block()), function.args[0]
    numbers = builder.load(place)
    builder.store(builder.fadd(numbers, numbers), place)
    builder.ret_void()
    triple, name, features = cpu_target.target_context.codegen().magic_tuple()
    target = llvmlite.binding.Target.from_triple(triple)
    machine = target.create_target_machine(cpu=name, features=features)
    text = machine.emit_assembly(llvmlite.binding.parse_assembly(str(module)))
    return 64 if "zmm" in text else 32 if "ymm" in text else 16  # names of AVX-512 and AVX


REGISTER_BYTES = _register_bytes()


def lanes_of(dtype):
    """Return how many numbers one vector holds (chapter "How the engine is wired")."""
    return REGISTER_BYTES // np.dtype(dtype).itemsize


class VectorType(types.Type):
    """The type of a vector inside compiled functions (chapter "How the engine is wired")."""

    def __init__(self, dtype):
        self.dtype = dtype
        self.lanes = REGISTER_BYTES * 8 // dtype.bitwidth
        super().__init__(name=f"Vector({dtype}, {self.lanes})")


@register_model(VectorType)
class _VectorModel(models.PrimitiveModel):
    """How a vector is kept: as an LLVM vector (chapter "How the engine is wired")."""

    def __init__(self, manager, vector):
        number = ir.FloatType() if vector.dtype == types.float32 else ir.DoubleType()
        super().__init__(manager, vector, ir.VectorType(number, vector.lanes))


def check_array(name, array, written=False):
    """Refuse an array with gaps, or a read-only one (chapter "How the engine is wired")."""
    if not isinstance(array, types.Array) or array.layout != "C":
        raise TypingError(f"{name}: expected an array without gaps, got {array}")
    if written and not array.mutable:
        raise TypingError(f"{name}: expected an array that may be written, got {array}")


def check_room(array, index, count):
    """Raise IndexError unless numbers lie in the array (chapter "How the engine is wired")."""
    if count > 0 and (index < 0 or index > array.size - count):
        raise IndexError("a vector reaches outside its array")


def address_of(context, builder, array_type, array, index, count=None):
    """Return the address of array[index]; NUMBA_BOUNDSCHECK=1: check that `count` numbers fit.

    Source: chapter "How the engine is wired".
    """
    array = context.make_array(array_type)(context, builder, array)
    if count is not None and numba.config.BOUNDSCHECK:
        some = builder.icmp_signed(">", count, count.type(0))
        below = builder.icmp_signed("<", index, index.type(0))
        above = builder.icmp_signed(">", index, builder.sub(array.nitems, count))
        outside = builder.and_(some, builder.or_(below, above))
        with builder.if_then(outside, likely=False):
            message = ("a vector reaches outside its array",)
            context.call_conv.return_user_exc(builder, IndexError, message)
    return builder.gep(array.data, [index])


class _Processor:
    """What both processors can do: count places."""

    def places(self, place, step, count):
        """Some places, `step` apart."""
        found = [place]
        while len(found) < count:
            found.append(self.plus(found[-1], step))
        return found

    def load_row(self, array, place, count):
        """Some vectors side by side."""
        return [self.load(array, each) for each in self.places(place, self.lanes(array), count)]


class Computing(_Processor):
    """Does at once what it is told, with NumPy (chapter "How the engine is wired")."""

    plus, first = staticmethod(operator.add), staticmethod(operator.itemgetter(0))

    def lanes(self, array):
        return lanes_of(array.dtype)

    def count(self, vector):
        return vector.size

    def number(self, array, place):
        return self.load_lanes(array, place, 0, 1)[0]

    def load_lanes(self, array, place, first=0, last=REGISTER_BYTES):
        vector, first = self.zero(array), max(first, 0)
        last = max(first, min(last, vector.size))
        check_room(array, place + first, last - first)
        vector[first:last] = array[place + first : place + last]
        return vector

    load = load_lanes  # of all lanes

    def store(self, array, place, vector, count=REGISTER_BYTES):
        count = max(0, min(count, vector.size))
        check_room(array, place, count)
        array[place : place + count] = vector[:count]

    def zero(self, array):
        return np.zeros(self.lanes(array), array.dtype)

    def spread(self, array, number):
        return np.full(self.lanes(array), number)

    def pick(self, a, b, lanes):
        return np.concatenate([a, b])[list(lanes)]

    def add(self, a, b):
        return self.fma(a, 1, b)

    def fma(self, a, b, c):
        with np.errstate(over="ignore", invalid="ignore"):  # a processor does not warn
            return a * b + c


def _call(builder, name, vector, result, arguments):
    """Call LLVM's function of that name for this kind of vector."""
    number = "f32" if vector.element == ir.FloatType() else "f64"
    kind = ir.FunctionType(result, [each.type for each in arguments])
    name = "llvm." + name.format(f"v{vector.count}{number}")
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), arguments)


class _Registers(_Processor):
    """Writes down, for LLVM, what is to be done in registers."""

    def __init__(self, name, context, builder):
        self.name, self.context, self.builder = name, context, builder

    def vector(self, array):
        """The type of a vector of an array's numbers, for LLVM."""
        if not isinstance(array[0].dtype, types.Float):
            raise TypingError(f"{self.name}: expected floating-point numbers, got {array[0]}")
        return self.context.get_value_type(VectorType(array[0].dtype))

    def plus(self, place, step):
        return self.builder.add(place, place.type(step) if isinstance(step, int) else step)

    def lanes(self, array):
        return self.vector(array).count

    def count(self, vector):
        return vector.type.count

    def first(self, vector):
        return self.builder.extract_element(vector, ir.IntType(32)(0))

    def zero(self, array):
        return self.vector(array)(None)

    def spread(self, array, number):
        empty = ir.VectorType(number.type, self.lanes(array))(ir.Undefined)
        first = self.builder.insert_element(empty, number, ir.IntType(32)(0))
        return self.pick(first, empty, [0] * self.lanes(array))

    def pick(self, a, b, lanes):
        lanes = ir.VectorType(ir.IntType(32), len(lanes))(list(lanes))
        return self.builder.shuffle_vector(a, b, lanes)

    def add(self, a, b):
        return self.builder.fadd(a, b)

    def fma(self, a, b, c):
        if not a.type == b.type == c.type:
            kinds = f"{a.type}, {b.type}, {c.type}"
            raise TypingError(f"{self.name}: expected numbers of one type, got {kinds}")
        return _call(self.builder, "fmuladd.{}", a.type, a.type, [a, b, c])


class _Memory(_Registers):
    """Writes down what is to be read and written."""

    def address(self, array, place, count):
        """The address of some numbers; where indices are checked, they must lie in the array."""
        count = place.type(count) if isinstance(count, int) else count
        return address_of(self.context, self.builder, *array, place, count)

    def vector_at(self, array, place, count):
        """The address of a vector, and how it may be taken: number by number."""
        check_array(self.name, array[0])
        pointer, address = self.vector(array).as_pointer(), self.address(array, place, count)
        return self.builder.bitcast(address, pointer), array[0].dtype.bitwidth // 8

    def number(self, array, place):
        check_array(self.name, array[0])
        return self.builder.load(self.address(array, place, 1))

    def load(self, array, place):
        address, align = self.vector_at(array, place, self.lanes(array))
        return self.builder.load(address, align=align)

    def store(self, array, place, vector, count=None):
        check_array(self.name, array[0], written=True)
        if self.vector(array) != vector.type:
            expected = f"expected vectors of {array[0].dtype}"
            raise TypingError(f"{self.name}: {expected}, got {vector.type}")
        if count is not None:
            given, whole = self.some_lanes(array, place, 0, count)
            masked = partial(_call, self.builder, "masked.store.{}.p0", vector.type, ir.VoidType())
            whole_vector = partial(self.store, array, place, vector)
            return self.either(whole, whole_vector, partial(masked, [vector, *given]))
        address, align = self.vector_at(array, place, self.lanes(array))
        self.builder.store(vector, address, align=align)


class _Lanes(_Memory):
    """Writes down what is to be done with some lanes of a vector."""

    def some_lanes(self, array, place, first, last):
        """What a masked load or store is told, and whether these are all lanes."""
        b, n = self.builder, self.lanes(array)
        first = place.type(first) if isinstance(first, int) else first
        zero, end, lane = place.type(0), place.type(n), ir.VectorType(place.type, n)(list(range(n)))
        low = b.select(b.icmp_signed("<", first, zero), zero, first)
        high = b.select(b.icmp_signed(">", last, end), end, last)
        self.address(array, b.add(place, low), b.sub(high, low))  # looks whether they are there
        inside = b.and_(b.icmp_signed(">=", lane, self.spread(array, low)),
                        b.icmp_signed("<", lane, self.spread(array, high)))  # fmt: skip
        whole = b.and_(b.icmp_signed("==", low, zero), b.icmp_signed("==", high, end))
        address, align = self.vector_at(array, place, None)
        return [address, ir.IntType(32)(align), inside], whole

    def either(self, whole, plain, masked):
        """One of two ways, where registers have 16 bytes; else the one with a mask."""
        if REGISTER_BYTES > 16:
            return masked()
        b = self.builder
        with b.if_else(whole) as (then, otherwise):
            with then:
                ways = [(plain(), b.block)]
            with otherwise:
                ways.append((masked(), b.block))
        if ways[0][0] is None:
            return None
        result = b.phi(ways[0][0].type)
        for value, block in ways:
            result.add_incoming(value, block)
        return result

    def load_lanes(self, array, place, first, last):
        given, whole = self.some_lanes(array, place, first, last)
        vector = self.vector(array)
        given.append(vector(None))  # zeros elsewhere
        masked = partial(_call, self.builder, "masked.load.{}.p0", vector, vector, given)
        return self.either(whole, partial(self.load, array, place), masked)


class Writing(_Lanes):
    """Writes down what it is told, for LLVM to compile (chapter "How the engine is wired")."""

    def unpacked(self, kind, value):
        """Tuples as lists; an array together with its type."""
        if isinstance(kind, types.BaseTuple):
            values = cgutils.unpack_tuple(self.builder, value)
            return [self.unpacked(*pair) for pair in zip(kind, values, strict=True)]
        return (kind, value) if isinstance(kind, types.Array) else value

    def packed(self, kind, value):
        """Lists as tuples again, and plain numbers as LLVM's."""
        if kind == types.void:
            return self.context.get_dummy_value()
        if isinstance(value, int):
            return self.context.get_constant(kind, value)
        if isinstance(kind, types.BaseTuple):
            values = [self.packed(*pair) for pair in zip(kind, value, strict=True)]
            return self.context.make_tuple(self.builder, kind, values)
        return value


def _tuples(value):
    """Lists as tuples."""
    return tuple(map(_tuples, value)) if isinstance(value, (list, tuple)) else value


def _plain(kind):
    """The type in which a number, or a tuple of numbers, is handed over."""
    if isinstance(kind, types.BaseTuple):
        return types.Tuple([_plain(each) for each in kind])
    return types.intp if isinstance(kind, types.Integer) else kind


def primitive(result):
    """Make a primitive out of the steps that a processor shall take.

    The steps are written once. Compiled functions have them written down for LLVM; where Numba
    compiles nothing, NumPy takes them. `result` is a function that gives the type of the result,
    given those of the arguments. Source: chapter "How the engine is wired".
    """

    def made_of(steps):
        @wraps(steps)
        def at_once(*arguments):
            return _tuples(steps(Computing(), *arguments))

        @wraps(steps)
        def written(typing_context, *kinds):
            kinds = [_plain(each) for each in kinds]

            def generate(context, builder, signature, arguments):
                cpu = Writing(steps.__name__, context, builder)
                pairs = zip(signature.args, arguments, strict=True)
                given = [cpu.unpacked(*pair) for pair in pairs]
                return cpu.packed(signature.return_type, steps(cpu, *given))

            return result(*kinds)(*kinds), generate

        return at_once if numba.config.DISABLE_JIT else intrinsic(written)

    return made_of


def as_first(first, *others):
    """A result of the first argument's type (chapter "How the engine is wired")."""
    return first


def _vector(array, *others):
    return VectorType(array.dtype)


@primitive(lambda array: types.intp)
def lanes(cpu, array):
    """Numbers in a vector (chapter "How the engine is wired")."""
    return cpu.lanes(array)


@primitive(_vector)
def load(cpu, array, index):
    """The vector at array[index ...] (chapter "How the engine is wired")."""
    return cpu.load(array, index)


@primitive(_vector)
def load_some(cpu, array, index, count):
    """Its first lanes, and zeros (chapter "How the engine is wired")."""
    return cpu.load_lanes(array, index, 0, count)


@primitive(lambda *_: types.void)
def store(cpu, array, index, vector):
    """array[index ...] = vector (chapter "How the engine is wired")."""
    cpu.store(array, index, vector)


@primitive(lambda *_: types.void)
def store_some(cpu, array, index, vector, count):
    """Only the first lanes (chapter "How the engine is wired")."""
    cpu.store(array, index, vector, count)


@primitive(_vector)
def broadcast(cpu, array, index):
    """array[index] in every lane (chapter "How the engine is wired")."""
    return cpu.spread(array, cpu.number(array, index))


@primitive(as_first)
def fma(cpu, a, b, c):
    """a * b + c, lane by lane (chapter "How the engine is wired")."""
    return cpu.fma(a, b, c)


@primitive(lambda vector: vector.dtype)
def total(cpu, vector):
    """The sum of all lanes (chapter "How the engine is wired")."""
    while cpu.count(vector) > 1:
        half = cpu.count(vector) // 2
        lower, upper = (cpu.pick(vector, vector, range(k, k + half)) for k in (0, half))
        vector = cpu.add(lower, upper)
    return cpu.first(vector)


def compiled(function, **options):
    """Compile a function with Numba, released from Python's lock and kept on disk.

    Where nothing can be kept (a read-only installation and no home, a full disk), each
    process compiles it anew, and a warning says so once. Source: chapter "How the engine is
    wired".

    Raises
    ------
    TypeError
        If the function uses an array that is not one of its arguments; it names the array.
    """
    refuse_arrays(function)
    result = numba.njit(nogil=True, **options)(function)
    if result is not function:  # Numba may be told to compile nothing
        result._cache = Kept(function)
    return result


def inlined(function):
    """As `compiled`; the body takes each call's place (chapter "How the engine is wired")."""
    return compiled(function, forceinline=True)


@compiled
def all_finite(array):
    """Tell whether all numbers of a row are finite (chapter "How the engine is wired")."""
    finite = True
    for x in range(array.size):
        finite &= np.isfinite(array[x])
    return finite
