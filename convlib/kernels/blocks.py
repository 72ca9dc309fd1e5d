# Exported from chapters/ by tools/export.py: edit the chapter, not this file.
"""Several vectors at once inside Numba functions: they stay in registers as a tuple.

Chapter "Tiles in vectors" builds this module on the vectors of chapter "Planes and vectors".
"""

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from convlib.kernels.planes import fill
from convlib.kernels.shuffles import transpose
from convlib.kernels.simd import VectorType, address_of, check_array, check_written, compiled, lanes, lanes_of

__all__ = [
    "COLUMNS",
    "zeros_like",
    "load_many",
    "store_many",
    "load_block",
    "store_block",
    "add_products",
    "linear_map",
    "add_to_all",
    "add_zero_times",
    "add_vectors",
    "channels_to_lanes",
    "lanes_to_channels",
]


# Chapter "Tiles in vectors" (chapters/tiles.ipynb)

def _place(context, builder, array_type, array, index, kind):
    """The address of array[index], where a vector begins."""
    address = address_of(context, builder, array_type, array, index)
    return builder.bitcast(address, kind.as_pointer())


def _steps(builder, place, step, count):
    """The places place, place + step, place + 2 * step, ..."""
    places = [place]
    while len(places) < count:
        places.append(builder.add(places[-1], step))
    return places


def _fused(builder, a, b, c):
    """The vector a * b + c."""
    suffix = "f32" if isinstance(a.type.element, ir.FloatType) else "f64"
    function = cgutils.get_or_insert_function(
        builder.module,
        ir.FunctionType(a.type, [a.type] * 3),
        f"llvm.fmuladd.v{a.type.count}{suffix}",
    )
    return builder.call(function, [a, b, c])


def _read(context, builder, array_type, array, places, vector):
    """The vectors that begin at some places of an array."""
    kind = context.get_value_type(vector)
    vectors = []
    for place in places:
        address = _place(context, builder, array_type, array, place, kind)
        vectors.append(builder.load(address, align=vector.dtype.bitwidth // 8))
    return vectors


def _write(context, builder, array_type, array, places, vectors):
    """Write vectors to some places of an array."""
    for place, value in zip(places, vectors, strict=True):
        address = _place(context, builder, array_type, array, place, value.type)
        builder.store(value, address, align=array_type.dtype.bitwidth // 8)


def _block_places(builder, place, row_step, count, lanes):
    """The places of a block's vectors: COLUMNS side by side in each row."""
    rows = _steps(builder, place, row_step, count // COLUMNS)
    beside = ir.Constant(place.type, lanes)
    return [each for row in rows for each in _steps(builder, row, beside, COLUMNS)]


@intrinsic
def _load_block(typing_context, array, place, row_step, like):
    check_array("load_block", array)
    vector = VectorType(array.dtype)

    def generate(context, builder, signature, arguments):
        places = _block_places(builder, *arguments[1:3], like.count, vector.lanes)
        kind = signature.args[0]
        vectors = _read(context, builder, kind, arguments[0], places, vector)
        return cgutils.pack_array(builder, vectors)

    return types.UniTuple(vector, like.count)(array, types.intp, types.intp, like), generate


@intrinsic
def _store_block(typing_context, array, place, row_step, block):
    check_written("store_block", array, block)

    def generate(context, builder, signature, arguments):
        lanes = block.dtype.lanes
        places = _block_places(builder, *arguments[1:3], block.count, lanes)
        values = cgutils.unpack_tuple(builder, arguments[3])
        _write(context, builder, signature.args[0], arguments[0], places, values)
        return context.get_dummy_value()

    return types.void(array, types.intp, types.intp, block), generate


@intrinsic
def _load_many(typing_context, array, place, step, like):
    check_array("load_many", array)
    vector = VectorType(array.dtype)

    def generate(context, builder, signature, arguments):
        places = _steps(builder, *arguments[1:3], like.count)
        kind = signature.args[0]
        vectors = _read(context, builder, kind, arguments[0], places, vector)
        return cgutils.pack_array(builder, vectors)

    return types.UniTuple(vector, like.count)(array, types.intp, types.intp, like), generate


@intrinsic
def _store_many(typing_context, array, place, step, vectors):
    check_written("store_many", array, vectors)

    def generate(context, builder, signature, arguments):
        places = _steps(builder, *arguments[1:3], vectors.count)
        values = cgutils.unpack_tuple(builder, arguments[3])
        _write(context, builder, signature.args[0], arguments[0], places, values)
        return context.get_dummy_value()

    return types.void(array, types.intp, types.intp, vectors), generate


COLUMNS = 2  # vectors in a row of a block


@intrinsic
def _add_products(typing_context, block, left, i, left_step, right, j, right_step):
    check_array("add_products", left), check_array("add_products", right)
    vector = block.dtype

    def generate(context, builder, signature, arguments):
        results = cgutils.unpack_tuple(builder, arguments[0])
        kind = context.get_value_type(vector)
        empty = ir.Constant(kind, ir.Undefined)
        first = ir.Constant(ir.VectorType(ir.IntType(32), vector.lanes), [0] * vector.lanes)
        places = _steps(builder, *arguments[5:], COLUMNS)
        columns = _read(context, builder, signature.args[4], arguments[4], places, vector)
        sums = []
        for place in _steps(builder, *arguments[2:4], len(results) // COLUMNS):
            number = builder.load(
                address_of(context, builder, signature.args[1], arguments[1], place)
            )
            lane = builder.insert_element(empty, number, ir.Constant(ir.IntType(32), 0))
            row = builder.shuffle_vector(lane, empty, first)
            for column in columns:
                sums.append(_fused(builder, row, column, results[len(sums)]))
        return cgutils.pack_array(builder, sums)

    numbers = types.intp
    return block(block, left, numbers, numbers, right, numbers, numbers), generate


def _combination(builder, coefficients, vectors):
    """The sum of coefficient * vector; zeros and ones cost nothing."""
    terms = [term for term in zip(coefficients, vectors, strict=True) if term[0] != 0]
    terms.sort(key=lambda term: (term[0] != 1, term[0] != -1))
    total = None
    for coefficient, x in terms:
        factor = ir.Constant(x.type, [float(coefficient)] * x.type.count)
        if total is None:
            total = x if coefficient == 1 else builder.fmul(x, factor)
        elif coefficient == 1:
            total = builder.fadd(total, x)
        elif coefficient == -1:
            total = builder.fsub(total, x)
        else:
            total = _fused(builder, x, factor, total)
    return total


def _is_pair(row, other):
    """Whether two rows agree in even places and differ in sign in odd ones."""
    even, odd = row[::2] == other[::2], [-x for x in row[1::2]] == other[1::2]
    return even and odd and any(row[::2]) and any(row[1::2])


def _products(builder, matrix, vectors):
    """The vectors matrix * vectors."""
    results = []
    while len(results) < len(matrix):
        row, *others = matrix[len(results) :]
        if others and _is_pair(row, others[0]):
            even = _combination(builder, row[::2], vectors[::2])
            odd = _combination(builder, row[1::2], vectors[1::2])
            results += [builder.fadd(even, odd), builder.fsub(even, odd)]
        else:
            results.append(_combination(builder, row, vectors))
    return results


@intrinsic
def _zeros_like(typing_context, array, like):
    vector = VectorType(array.dtype)

    def generate(context, builder, signature, arguments):
        zero = ir.Constant(context.get_value_type(vector), None)
        return cgutils.pack_array(builder, [zero] * like.count)

    return types.UniTuple(vector, like.count)(array, like), generate


@intrinsic
def _add_to_all(typing_context, vectors, vector):
    def generate(context, builder, signature, arguments):
        values = cgutils.unpack_tuple(builder, arguments[0])
        return cgutils.pack_array(builder, [builder.fadd(x, arguments[1]) for x in values])

    return vectors(vectors, vector), generate


@intrinsic
def _add_vectors(typing_context, vectors, others):
    def generate(context, builder, signature, arguments):
        pairs = zip(*(cgutils.unpack_tuple(builder, each) for each in arguments), strict=True)
        return cgutils.pack_array(builder, [builder.fadd(x, y) for x, y in pairs])

    return vectors(vectors, others), generate


@intrinsic
def _add_zero_times(typing_context, check, vectors):
    def generate(context, builder, signature, arguments):
        result = arguments[0]
        zero = ir.Constant(result.type, None)
        for value in cgutils.unpack_tuple(builder, arguments[1]):
            result = _fused(builder, value, zero, result)
        return result

    return check(check, vectors), generate


def _linear_map(matrix):
    rows = [list(row) for row in matrix]

    @intrinsic
    def apply(typing_context, vectors):
        def generate(context, builder, signature, arguments):
            values = cgutils.unpack_tuple(builder, arguments[0])
            return cgutils.pack_array(builder, _products(builder, rows, values))

        return types.UniTuple(vectors.dtype, len(rows))(vectors), generate

    return apply


def _check_vectors(array, place, step, count, numbers):
    """Raise IndexError unless `count` pieces of so many numbers lie inside the array."""
    for start in (place, place + (count - 1) * step):
        if start < 0 or start > array.size - numbers:
            raise IndexError("a vector reaches outside its array")


def _quiet(function):
    """A processor does not warn of infinity."""

    def quietly(*arguments):
        with np.errstate(over="ignore", invalid="ignore"):
            return function(*arguments)

    return quietly


def _plain_load(array, place, step, like):
    numbers = lanes_of(array.dtype)
    _check_vectors(array, place, step, len(like), numbers)
    places = [place + k * step for k in range(len(like))]
    return tuple(array[at : at + numbers].copy() for at in places)


def _plain_store(array, place, step, vectors):
    _check_vectors(array, place, step, len(vectors), len(vectors[0]))
    for k, vector in enumerate(vectors):
        array[place + k * step : place + k * step + len(vector)] = vector


def _plain_load_block(array, place, row_step, like):
    rows = [place + k * row_step for k in range(len(like) // COLUMNS)]
    return sum((_plain_load(array, row, lanes_of(array.dtype), (0,) * COLUMNS)
                for row in rows), ())


def _plain_store_block(array, place, row_step, block):
    for k in range(0, len(block), COLUMNS):
        row = place + k // COLUMNS * row_step
        _plain_store(array, row, len(block[0]), block[k : k + COLUMNS])


def _plain_add_products(block, left, i, left_step, right, j, right_step):
    columns = _plain_load(right, j, right_step, (0,) * COLUMNS)
    rows = len(block) // COLUMNS
    _check_vectors(left, i, left_step, rows, 1)
    numbers = [left[i + k * left_step] for k in range(rows)]
    products = [number * column for number in numbers for column in columns]
    return tuple(x + y for x, y in zip(block, products, strict=True))


def _plain_map(matrix):
    rows = [[float(number) for number in row] for row in matrix]

    def row_times(row, vectors):
        products = [
            vector * vector.dtype.type(number)
            for number, vector in zip(row, vectors, strict=True)
            if number
        ]
        return sum(products[1:], products[0])

    return _quiet(lambda vectors: tuple(row_times(row, vectors) for row in rows))


def _plain_zeros(array, like):
    return tuple(np.zeros(lanes_of(array.dtype), array.dtype) for _ in like)


def _plain_add(vectors, vector):
    return tuple(each + vector for each in vectors)


def _plain_add_vectors(vectors, others):
    return tuple(x + y for x, y in zip(vectors, others, strict=True))


def _plain_add_zero_times(check, vectors):
    return check + sum(0 * each for each in vectors)


if numba.config.DISABLE_JIT:
    zeros_like, load_many, store_many = _plain_zeros, _plain_load, _plain_store
    load_block, store_block = _plain_load_block, _plain_store_block
    add_products, linear_map = _quiet(_plain_add_products), _plain_map
    add_to_all, add_zero_times = _quiet(_plain_add), _quiet(_plain_add_zero_times)
    add_vectors = _quiet(_plain_add_vectors)
else:
    zeros_like, linear_map = _zeros_like, _linear_map
    add_to_all, add_vectors, add_zero_times = _add_to_all, _add_vectors, _add_zero_times
    if numba.config.BOUNDSCHECK:
        _check = compiled(_check_vectors)

        @compiled
        def load_many(array, place, step, like):
            _check(array, place, step, len(like), lanes(array))
            return _load_many(array, place, step, like)

        @compiled
        def store_many(array, place, step, vectors):
            _check(array, place, step, len(vectors), lanes(array))
            _store_many(array, place, step, vectors)

        @compiled
        def load_block(array, place, row_step, like):
            _check(array, place, row_step, len(like) // COLUMNS, COLUMNS * lanes(array))
            return _load_block(array, place, row_step, like)

        @compiled
        def store_block(array, place, row_step, block):
            _check(array, place, row_step, len(block) // COLUMNS, COLUMNS * lanes(array))
            _store_block(array, place, row_step, block)

        @compiled
        def add_products(block, left, i, left_step, right, j, right_step):
            _check(left, i, left_step, len(block) // COLUMNS, 1)
            _check(right, j, right_step, COLUMNS, lanes(right))
            return _add_products(block, left, i, left_step, right, j, right_step)
    else:
        load_many, store_many = _load_many, _store_many
        load_block, store_block, add_products = _load_block, _store_block, _add_products


@compiled
def channels_to_lanes(source, i, step, rows, columns, target, j):
    """Write source[i + row * step + column] to target[j + column * lanes + row].

    Rows that are missing in a vector become zeros (chapter "Tiles in vectors").
    """
    n = lanes(source)
    if rows == n and columns >= n:
        for begin in range(0, columns, n):
            c = min(begin, columns - n)
            transpose(source, i + c, step, target, j + c * n, n)
    else:
        for c in range(columns):
            for r in range(rows):
                target[j + c * n + r] = source[i + r * step + c]
            fill(target[j + c * n + rows : j + (c + 1) * n], 0)


@compiled
def lanes_to_channels(source, i, place_step, places, channels, target, j, step):
    """Write source[i + place * place_step + channel] to target[j + channel * step + place].

    The way back (chapter "Tiles in vectors").
    """
    n = lanes(source)
    if channels == n and places >= n:
        for begin in range(0, places, n):
            p = min(begin, places - n)
            transpose(source, i + p * place_step, place_step, target, j + p, step)
    else:
        for c in range(channels):
            for p in range(places):
                target[j + c * step + p] = source[i + p * place_step + c]
