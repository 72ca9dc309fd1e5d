# Exported from chapters/ by tools/export.py: edit the chapter, not this file.
"""Vectors of numbers inside Numba functions: load, store, broadcast, multiply and add.

A vector holds as many numbers as one register of the processor: 16, 8 or 4 in float32, half as
many in float64. Chapter "How the engine is wired" builds this module.
"""

import operator
from functools import partial, wraps

import numba
import numpy as np
from llvmlite import binding, ir
from numba import types
from numba.core import cgutils
from numba.core.errors import TypingError
from numba.core.registry import cpu_target
from numba.extending import intrinsic, models, register_model

from convlib.code_cache import Kept, refuse_arrays

__all__ = ["REGISTER_BYTES", "lanes_of", "VectorType", "check_array", "Computing", "primitive", "as_first", "lanes",
    "load", "load_between", "store", "store_some", "broadcast", "fma", "total", "compiled", "inlined", "all_finite"]


# Chapter "How the engine is wired" (chapters/wired.ipynb)

def _register_bytes():
    """The size of a vector register of the processor that Numba compiles for."""
    kind = "<16 x float>"  # 64 bytes
    code = f"define {kind} @twice({kind} %x) {{ %y = fadd {kind} %x, %x ret {kind} %y }}"
    triple, name, features = cpu_target.target_context.codegen().magic_tuple()
    target = binding.Target.from_triple(triple)
    machine = target.create_target_machine(cpu=name, features=features)
    text = machine.emit_assembly(binding.parse_assembly(code))
    return 64 if "zmm" in text else 32 if "ymm" in text else 16  # names of AVX-512 and AVX


REGISTER_BYTES = _register_bytes()


def lanes_of(dtype):
    """Return how many numbers one vector holds (chapter "How the engine is wired")."""
    return REGISTER_BYTES // np.dtype(dtype).itemsize


class VectorType(types.Type):
    """The type of a vector inside compiled functions (chapter "How the engine is wired")."""

    def __init__(self, dtype):
        self.dtype, self.lanes = dtype, REGISTER_BYTES * 8 // dtype.bitwidth
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


_OUTSIDE = "a vector reaches outside its array"


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

    def prefetch(self, array, place, count, write):
        """Ask for the memory of some vectors; who does not do so loses only time."""

    def in_order(self):
        """Load nothing before its turn; who computes at once never does."""


class Computing(_Processor):
    """Does at once what it is told, with NumPy (chapter "How the engine is wired")."""

    plus, first, count, anew = operator.add, operator.itemgetter(0), operator.attrgetter("size"), operator.pos

    def lanes(self, array):
        return lanes_of(array.dtype)

    def number(self, array, place):
        return self.load(array, place, 0, 1)[0]

    def inside(self, array, place, first, last):
        """Which lanes are meant, and which numbers; these must lie in the array."""
        first, last = max(first, 0), min(last, self.lanes(array))
        if first < last and (place + first < 0 or place + last > array.size):
            raise IndexError(_OUTSIDE)
        last = max(first, last)
        return slice(first, last), slice(place + first, place + last)

    def load(self, array, place, first=0, last=REGISTER_BYTES):
        vector, (lanes, numbers) = self.zero(array), self.inside(array, place, first, last)
        vector[lanes] = array[numbers]
        return vector

    load_lanes = load  # only some of them

    def store(self, array, place, vector, count=REGISTER_BYTES):
        lanes, numbers = self.inside(array, place, 0, count)
        array[numbers] = vector[lanes]

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
        self.name, self.context, self.builder, self.add = name, context, builder, builder.fadd

    def vector(self, array):
        """The type of a vector of an array's numbers, for LLVM."""
        if not isinstance(array[0].dtype, types.Float):
            raise TypingError(f"{self.name}: expected floating-point numbers, got {array[0]}")
        return self.context.get_value_type(VectorType(array[0].dtype))

    def plus(self, place, step):
        return self.builder.add(place, place.type(step) if isinstance(step, int) else step)

    def anew(self, place):  # no instruction: LLVM does not look into it, and finds no chain of places
        kind = ir.FunctionType(place.type, [place.type])
        return self.builder.asm(kind, "", "=r,0", [place], False) if REGISTER_BYTES == 64 else place

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

    def fma(self, a, b, c):
        if not a.type == b.type == c.type:
            kinds = f"{a.type}, {b.type}, {c.type}"
            raise TypingError(f"{self.name}: expected numbers of one type, got {kinds}")
        return _call(self.builder, "fmuladd.{}", a.type, a.type, [a, b, c])


class _Places(_Registers):
    """Says where numbers lie, and reads whole vectors."""

    line = 64  # bytes that come from memory together

    def address(self, array, place, count=None):
        """The address of array[place]; where indices are checked, `count` numbers must fit."""
        check_array(self.name, array[0])
        b, context = self.builder, self.context
        held = context.make_array(array[0])(context, b, array[1])
        if count is not None and numba.config.BOUNDSCHECK:
            count = place.type(count) if isinstance(count, int) else count
            some = b.icmp_signed(">", count, count.type(0))
            below = b.icmp_signed("<", place, place.type(0))
            above = b.icmp_signed(">", place, b.sub(held.nitems, count))
            with b.if_then(b.and_(some, b.or_(below, above)), likely=False):
                context.call_conv.return_user_exc(b, IndexError, (_OUTSIDE,))
        return b.gep(held.data, [place])

    def vector_at(self, array, place, count=None):
        """The address of a vector, and how it may be taken: number by number."""
        address, pointer = self.address(array, place, count), self.vector(array).as_pointer()
        return self.builder.bitcast(address, pointer), array[0].dtype.bitwidth // 8

    def number(self, array, place):
        return self.builder.load(self.address(array, place, 1))

    def prefetch(self, array, place, count, write):
        i32, lines = ir.IntType(32), -(-count * REGISTER_BYTES // self.line)
        for each in self.places(place, self.line * 8 // array[0].dtype.bitwidth, lines):
            address = self.builder.bitcast(self.address(array, each), ir.IntType(8).as_pointer())
            given = [address, i32(int(write)), i32(3), i32(1)]  # to be written? to be kept near; numbers
            _call(self.builder, "prefetch.p0", self.vector(array), ir.VoidType(), given)

    def in_order(self):  # no instruction, but it might change memory: so LLVM reads nothing across it
        self.builder.asm(ir.FunctionType(ir.VoidType(), []), "", "~{memory}", [], True)

    def load(self, array, place):
        address, align = self.vector_at(array, place, self.lanes(array))
        return self.builder.load(address, align=align)


class _Masks(_Places):
    """Reads some of the lanes, and no others."""

    def some_lanes(self, array, place, first, last):
        """What a masked load or store is told, and whether these are all lanes."""
        b, n, i32 = self.builder, self.lanes(array), ir.IntType(32)
        first = place.type(first) if isinstance(first, int) else first
        zero, end, lane = place.type(0), place.type(n), ir.VectorType(i32, n)(list(range(n)))
        low = b.select(b.icmp_signed("<", first, zero), zero, first)
        high = b.select(b.icmp_signed(">", last, end), end, last)
        self.address(array, b.add(place, low), b.sub(high, low))  # looks whether they are there
        limits = [self.spread(array, b.trunc(each, i32)) for each in (low, high)]  # short: fewer registers
        inside = b.and_(b.icmp_signed(">=", lane, limits[0]), b.icmp_signed("<", lane, limits[1]))
        whole = b.and_(b.icmp_signed("==", low, zero), b.icmp_signed("==", high, end))
        address, align = self.vector_at(array, place)
        return [address, i32(align), inside], whole

    def either(self, whole, *ways):
        """The way of whole vectors or the one with a mask; no other where registers are longer."""
        if REGISTER_BYTES > 16:
            return ways[1]()
        b, results = self.builder, []
        with b.if_else(whole) as sides:
            for way, side in zip(ways, sides, strict=True):
                with side:
                    results.append((way(), b.block))
        if results[0][0] is None:  # stored
            return None
        merged = b.phi(results[0][0].type)
        for result in results:
            merged.add_incoming(*result)
        return merged

    def load_lanes(self, array, place, first, last):
        given, whole = self.some_lanes(array, place, first, last)
        kind = self.vector(array)
        given.append(kind(None))  # zeros elsewhere
        masked = partial(_call, self.builder, "masked.load.{}.p0", kind, kind, given)
        return self.either(whole, partial(self.load, array, place), masked)


class _Writing(_Masks):
    """Writes down, for LLVM, what is to be read and written, too."""

    def store(self, array, place, vector, count=None):
        check_array(self.name, array[0], written=True)
        if self.vector(array) != vector.type:
            expected = f"expected vectors of {array[0].dtype}"
            raise TypingError(f"{self.name}: {expected}, got {vector.type}")
        if count is not None:
            given, whole = self.some_lanes(array, place, 0, count)
            given, kind = [vector, *given], ir.VoidType()
            masked = partial(_call, self.builder, "masked.store.{}.p0", vector.type, kind, given)
            return self.either(whole, partial(self.store, array, place, vector), masked)
        address, align = self.vector_at(array, place, self.lanes(array))
        self.builder.store(vector, address, align=align)

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


def _plain(kind):
    """The type in which a number, or a tuple of numbers, is handed over."""
    if isinstance(kind, types.BaseTuple):
        return types.Tuple([_plain(each) for each in kind])
    return types.intp if isinstance(kind, types.Integer) else kind


def primitive(result):
    """Make a primitive out of the steps that a processor shall take.

    The steps are written once. Compiled functions have them written down for LLVM; where Numba compiles nothing,
    NumPy takes them. `result` tells a result's type from the arguments'. Source: chapter "How the engine is wired".
    """

    def made_of(steps):
        @wraps(steps)
        def at_once(*arguments):
            return steps(Computing(), *arguments)

        @wraps(steps)
        def written(typing_context, *kinds):
            kinds = [_plain(each) for each in kinds]

            def generate(context, builder, signature, arguments):
                cpu = _Writing(steps.__name__, context, builder)
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
def load_between(cpu, array, index, first, last):
    """Its lanes first .. last - 1, and zeros (chapter "How the engine is wired")."""
    return cpu.load_lanes(array, index, first, last)


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
    while half := cpu.count(vector) // 2:
        lower, upper = (cpu.pick(vector, vector, range(k, k + half)) for k in (0, half))
        vector = cpu.add(lower, upper)
    return cpu.first(vector)


def compiled(function, **options):
    """Compile a function with Numba, released from Python's lock and kept on disk.

    Where nothing can be kept (no home, a full disk), each process compiles it anew, and a warning says so once. A
    TypeError names an array that it uses and is not handed. Source: chapter "How the engine is wired".
    """
    refuse_arrays(function)
    result = numba.njit(nogil=True, no_cfunc_wrapper=True, _nrt=False, **options)(function)
    if result is not function:  # Numba may be told to compile nothing
        result._cache = Kept(function)
    return result


def inlined(function):
    """As `compiled`; the body takes each call's place (chapter "How the engine is wired")."""
    return compiled(function, inline="always")


@compiled
def all_finite(array):
    """Tell whether all numbers of a row are finite (chapter "How the engine is wired")."""
    finite = True
    for x in range(array.size):
        finite &= np.isfinite(array[x])
    return finite
