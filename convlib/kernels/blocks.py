"""One block of registers: a tuple of rows of vectors. Everything multiplies with it."""

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from convlib.kernels import simd
from convlib.kernels.simd import VectorType, address_of, check_array, check_written, compiled
from convlib.kernels.tuning import ROWS, VECTORS

SHAPE = ((0,) * VECTORS,) * ROWS


def _kind(array, shape):
    """The type of a block as wide and high as `shape`."""
    return types.UniTuple(types.UniTuple(VectorType(array.dtype), shape.dtype.count), shape.count)


def _place(context, builder, array_type, array, index, kind):
    address = address_of(context, builder, array_type, array, index)
    return builder.bitcast(address, kind.as_pointer())


def _spread(builder, number, kind):
    """A vector of one number."""
    empty = ir.Constant(kind, ir.Undefined)
    first = builder.insert_element(empty, number, ir.Constant(ir.IntType(32), 0))
    return builder.shuffle_vector(first, empty, simd._zeros(kind.count))


def _fused(builder, a, b, c):
    suffix = "f32" if isinstance(a.type.element, ir.FloatType) else "f64"
    function = ir.FunctionType(a.type, [a.type] * 3)
    name = f"llvm.fmuladd.v{a.type.count}{suffix}"
    return builder.call(cgutils.get_or_insert_function(builder.module, function, name), [a, b, c])


def _rows(builder, block):
    return [cgutils.unpack_tuple(builder, row) for row in cgutils.unpack_tuple(builder, block)]


def _pack(builder, rows):
    return cgutils.pack_array(builder, [cgutils.pack_array(builder, row) for row in rows])


def _steps(builder, place, step, count):
    places = [place]
    while len(places) < count:
        places.append(builder.add(places[-1], step))
    return places


def _vectors(context, builder, array_type, array, place, count):
    """The addresses of some vectors side by side."""
    kind = context.get_value_type(VectorType(array_type.dtype))
    beside = ir.Constant(place.type, kind.count)
    places = _steps(builder, place, beside, count)
    return [_place(context, builder, array_type, array, each, kind) for each in places]


def _size(vector):
    return vector.dtype.bitwidth // 8


@intrinsic
def spread(typing_context, array, index, step, shape):
    """The block whose rows hold array[index], array[index + step], ... in every lane."""
    block = _kind(array, shape)

    def generate(context, builder, signature, arguments):
        kind = context.get_value_type(block.dtype.dtype)
        rows = []
        for place in _steps(builder, *arguments[1:3], block.count):
            number = builder.load(address_of(context, builder, signature.args[0], arguments[0], place))
            rows.append([_spread(builder, number, kind)] * block.dtype.count)
        return _pack(builder, rows)

    return block(array, types.intp, types.intp, shape), generate


@intrinsic
def nought(typing_context, array, shape):
    """The block of zeros."""
    block = _kind(array, shape)

    def generate(context, builder, signature, arguments):
        zero = ir.Constant(context.get_value_type(block.dtype.dtype), None)
        return _pack(builder, [[zero] * block.dtype.count] * block.count)

    return block(array, shape), generate


@intrinsic
def multiply(typing_context, block, left, i, row_step, right, j):
    """block + left[i + r * row_step] * right[j ...], for every row r."""
    check_array("multiply", left), check_array("multiply", right)
    vector = block.dtype.dtype

    def generate(context, builder, signature, arguments):
        rows = _rows(builder, arguments[0])
        places = _vectors(context, builder, signature.args[4], arguments[4], arguments[5], len(rows[0]))
        columns = [builder.load(place, align=_size(vector)) for place in places]
        sums = []
        for row, place in zip(rows, _steps(builder, *arguments[2:4], len(rows)), strict=True):
            address = address_of(context, builder, signature.args[1], arguments[1], place)
            factor = _spread(builder, builder.load(address), columns[0].type)
            sums.append([_fused(builder, factor, x, s) for x, s in zip(columns, row, strict=True)])
        return _pack(builder, sums)

    return block(block, left, types.intp, types.intp, right, types.intp), generate


@intrinsic
def dots(typing_context, block, left, i, row_step, right, j, table, k):
    """block[r][c] + left[i + r * row_step ...] * right[j + table[k + c] ...], lane by lane."""
    check_array("dots", left), check_array("dots", right)
    vector = block.dtype.dtype

    def generate(context, builder, signature, arguments):
        kind, rows = context.get_value_type(vector), _rows(builder, arguments[0])

        def vectors(which, places):
            return [builder.load(_place(context, builder, signature.args[which], arguments[which], each, kind),
                                 align=_size(vector)) for each in places]

        entries = _steps(builder, arguments[7], ir.Constant(arguments[7].type, 1), len(rows[0]))
        offsets = [builder.load(address_of(context, builder, signature.args[6], arguments[6], each)) for each in entries]
        columns = vectors(4, [builder.add(arguments[5], offset) for offset in offsets])
        lines = vectors(1, _steps(builder, *arguments[2:4], len(rows)))
        return _pack(builder, [[_fused(builder, line, x, s) for x, s in zip(columns, row, strict=True)]
                               for line, row in zip(lines, rows, strict=True)])

    n = types.intp
    return block(block, left, n, n, right, n, table, n), generate


@intrinsic
def together(typing_context, a, b):
    """The sum of two blocks."""

    def generate(context, builder, signature, arguments):
        pairs = zip(*(_rows(builder, each) for each in arguments), strict=True)
        return _pack(builder, [[builder.fadd(x, y) for x, y in zip(*rows, strict=True)] for rows in pairs])

    return a(a, b), generate


@intrinsic
def put(typing_context, array, index, row_step, block):
    """Write the rows of a block to array[index ...], array[index + row_step ...], ..."""
    check_written("put", array, block.dtype)

    def generate(context, builder, signature, arguments):
        rows = _rows(builder, arguments[3])
        for row, place in zip(rows, _steps(builder, *arguments[1:3], len(rows)), strict=True):
            places = _vectors(context, builder, signature.args[0], arguments[0], place, len(row))
            for value, each in zip(row, places, strict=True):
                builder.store(value, each, align=_size(block.dtype.dtype))
        return context.get_dummy_value()

    return types.void(array, types.intp, types.intp, block), generate


@intrinsic
def load_between(typing_context, array, index, first, last):
    """The vector at array[index ...], zero outside the lanes first .. last - 1, which alone are read."""
    check_array("load_between", array)
    vector = VectorType(array.dtype)

    def generate(context, builder, signature, arguments):
        kind = context.get_value_type(vector)
        place = _place(context, builder, signature.args[0], *arguments[:2], kind)
        before, until = (simd._first_lanes(builder, each, kind.count) for each in arguments[2:])
        mask = builder.and_(builder.not_(before), until)
        align = ir.Constant(ir.IntType(32), _size(vector))
        return simd._masked(builder, "load", kind, kind, [place, align, mask, ir.Constant(kind, None)])

    return vector(array, types.intp, types.intp, types.intp), generate


@intrinsic
def take(typing_context, array, index, row_step, shape):
    """The block at array[index ...], array[index + row_step ...], ..."""
    check_array("take", array)
    block = _kind(array, shape)

    def generate(context, builder, signature, arguments):
        rows = []
        for place in _steps(builder, *arguments[1:3], block.count):
            places = _vectors(context, builder, signature.args[0], arguments[0], place, block.dtype.count)
            rows.append([builder.load(each, align=_size(block.dtype.dtype)) for each in places])
        return _pack(builder, rows)

    return block(array, types.intp, types.intp, shape), generate


@intrinsic
def slide(typing_context, block, plane, place, steps, weights, i, taps):
    """Add a column of taps to rows below each other: each line of the plane is read once.

    steps is (from line to line, from phase to phase, from tap to tap); taps is a tuple (taps, stride) of tuples of
    that length: block[r] + weights[i + u * steps[2]] * line r * stride + u, for all u.
    """
    check_array("slide", plane), check_array("slide", weights)
    vector, (height, stride) = block.dtype.dtype, (each.count for each in taps)

    def generate(context, builder, signature, arguments):
        kind = context.get_value_type(vector)
        sums = [row[0] for row in _rows(builder, arguments[0])]
        pitch, phase, tap = cgutils.unpack_tuple(builder, arguments[3])
        factors = []
        for each in _steps(builder, arguments[5], tap, height):
            number = builder.load(address_of(context, builder, signature.args[4], arguments[4], each))
            factors.append(_spread(builder, number, kind))
        starts = _steps(builder, arguments[2], phase, stride)
        for line in range((len(sums) - 1) * stride + height):
            at = starts[line % stride]
            starts[line % stride] = builder.add(at, pitch)
            cells = builder.load(_place(context, builder, signature.args[1], arguments[1], at, kind), align=_size(vector))
            for u in range(line % stride, height, stride):
                r = (line - u) // stride
                if 0 <= r < len(sums):
                    sums[r] = _fused(builder, factors[u], cells, sums[r])
        return _pack(builder, [[each] for each in sums])

    n = types.intp
    return block(block, plane, n, steps, weights, n, taps), generate


@compiled
def row_of(block, r):
    """The first vector of a row."""
    return block[r][0]


@compiled
def share(job, jobs, count):
    """Which of `count` things are a job's."""
    return job * count // jobs, (job + 1) * count // jobs
