# Exported from chapters/ by tools/export.py: edit the chapter, not this file.
"""The block: rows of vectors that stay in registers while everything is multiplied with them.

A block is a tuple of rows, a row a tuple of vectors; its *type* says how many. Numbers of vectors change places, too.
Chapter "Vectors and the block" builds this module.
"""

from numba import types

from convlib.kernels.simd import VectorType, as_first, inlined, primitive
from convlib.kernels.tuning import ROWS, VECTORS

__all__ = ["SHAPE", "multiply", "nought", "spread", "put", "prefetch", "in_order", "take", "together", "share", "dots",
    "slide", "weigh", "every_second", "in_turns", "transpose"]


# Chapter "Vectors and the block" (chapters/block.ipynb)

SHAPE = ((0,) * VECTORS,) * ROWS


def _as_shape(array, *others):
    """A block's type: as high and wide as the last argument."""
    shape = others[-1]
    return types.UniTuple(types.UniTuple(VectorType(array.dtype), len(shape.types[0])), len(shape))


@primitive(as_first)
def multiply(cpu, block, left, i, row_step, right, j):
    """Row r grows by left[i + r * row_step] * right[j ...] (chapter "Vectors and the block")."""
    columns, sums = cpu.load_row(right, j, len(block[0])), []
    places = cpu.places(cpu.anew(i) if len(block[0]) == 1 else i, row_step, len(block))
    for row, place in zip(block, places, strict=True):
        factor = cpu.spread(left, cpu.number(left, place))
        sums.append([cpu.fma(factor, x, s) for x, s in zip(columns, row, strict=True)])
    return sums


@primitive(_as_shape)
def nought(cpu, array, shape):
    """The block of zeros (chapter "Vectors and the block")."""
    return [[cpu.zero(array) for _ in row] for row in shape]


@primitive(_as_shape)
def spread(cpu, array, index, step, shape):
    """Row r holds array[index + r * step] in every lane (chapter "Vectors and the block")."""
    numbers = [cpu.number(array, each) for each in cpu.places(index, step, len(shape))]
    vectors = [cpu.spread(array, number) for number in numbers]
    return [[vector] * len(row) for vector, row in zip(vectors, shape, strict=True)]


@primitive(lambda *_: types.void)
def put(cpu, array, index, row_step, block):
    """Write row r to array[index + r * row_step ...] (chapter "Vectors and the block")."""
    for row, place in zip(block, cpu.places(index, row_step, len(block)), strict=True):
        for vector, each in zip(row, cpu.places(place, cpu.lanes(array), len(row)), strict=True):
            cpu.store(array, each, vector)


@primitive(lambda *_: types.void)
def prefetch(cpu, array, index, row_step, shape):
    """Ask for memory: several rows as for writing, a single one as for reading (chapter "Vectors and the block")."""
    for place in cpu.places(index, row_step, len(shape)):
        cpu.prefetch(array, place, len(shape[0]), len(shape) > 1)


@primitive(lambda *_: types.void)
def in_order(cpu, array):
    """Let the compiler load nothing early: it would wait in registers (chapter "Vectors and the block")."""
    cpu.in_order()


@primitive(_as_shape)
def take(cpu, array, index, row_step, shape):
    """Row r is what lies at array[index + r * row_step ...] (chapter "Vectors and the block")."""
    places = cpu.places(index, row_step, len(shape))
    return [cpu.load_row(array, each, len(row)) for each, row in zip(places, shape, strict=True)]


@primitive(as_first)
def together(cpu, a, b):
    """The sum of two blocks (chapter "Vectors and the block")."""
    return [[cpu.add(x, y) for x, y in zip(*rows, strict=True)] for rows in zip(a, b, strict=True)]


@inlined
def share(job, jobs, count):
    """Which of `count` things are a job's (chapter "Vectors and the block")."""
    return job * count // jobs, (job + 1) * count // jobs


@primitive(as_first)
def dots(cpu, block, left, rows, right, j, table, k):
    """block[r][c] + left[row r ...] * right[j + table[k + c] ...], lane by lane.

    rows is (place of row 0, from row to row). Source: chapter "Vectors and the block".
    """
    entries = cpu.places(k, 1, len(block[0]))
    columns = [cpu.load(right, cpu.plus(j, cpu.number(table, each))) for each in entries]
    lines = [cpu.load(left, each) for each in cpu.places(*rows, len(block))]
    return [[cpu.fma(line, x, s) for x, s in zip(columns, row, strict=True)]
            for line, row in zip(lines, block, strict=True)]  # fmt: skip


def _meetings(cpu, plane, place, steps, rows, taps):
    """Each line of a plane, read once, with all rows r and taps u that meet on it."""
    height, stride = map(len, taps[:2])
    starts = cpu.places(place, steps[1], stride)
    for line in range((rows - 1) * stride + height):
        at = starts[line % stride]
        starts[line % stride], cells = cpu.plus(at, steps[0]), cpu.load(plane, at)
        for u in range(line % stride, height, stride):
            if 0 <= line - u < rows * stride:
                yield cells, (line - u) // stride, u


def _grown(cpu, block, products):
    """A column of sums, and what is to be added: (row, factor, cells)."""
    sums = [row[0] for row in block]
    for r, (factor,), cells in products:
        sums[r] = cpu.fma(factor, cells, sums[r])
    return [[each] for each in sums]


@primitive(as_first)
def slide(cpu, block, plane, place, steps, factors, taps):
    """Row r grows by factors[u] * line r * stride + u of a plane, for all taps u.

    steps is (from line to line, from phase to phase); taps is a tuple (taps, stride) of tuples of
    that length. Source: chapter "Vectors and the block".
    """
    meetings = _meetings(cpu, plane, cpu.anew(place), steps, len(block), taps)
    return _grown(cpu, block, ((r, factors[u], cells) for cells, r, u in meetings))


@primitive(as_first)
def weigh(cpu, block, flows, plane, place, steps, taps):
    """Row u grows by flows[r] * line r * stride + u, for all r; else as `slide` (chapter "Vectors and the block")."""
    meetings = _meetings(cpu, plane, place, steps, len(flows), taps)
    return _grown(cpu, block, ((u, flows[r], cells) for cells, r, u in meetings))


def _in_turns(cpu, a, b):
    """The numbers of two vectors in turns, as two vectors."""
    n = cpu.count(a)
    turns = [lane + which * n for lane in range(n) for which in (0, 1)]
    return cpu.pick(a, b, turns[:n]), cpu.pick(a, b, turns[n:])


@primitive(lambda a, b: types.UniTuple(a, 2))
def every_second(cpu, a, b):
    """Lanes 0, 2, ... of two vectors behind each other, and 1, 3, ... (chapter "Vectors and the block")."""
    return [cpu.pick(a, b, range(first, 2 * cpu.count(a), 2)) for first in (0, 1)]


@primitive(lambda a, b: types.UniTuple(a, 2))
def in_turns(cpu, a, b):
    """Two vectors: a[0], b[0], a[1], b[1], and so on (chapter "Vectors and the block")."""
    return _in_turns(cpu, a, b)


@primitive(lambda *_: types.void)
def transpose(cpu, source, s, s_step, target, t, t_step):
    """Read a square, as many rows as a vector has lanes, and write its columns as rows.

    Row r lies at source[s + r * s_step ...], column c goes to target[t + c * t_step ...].
    Source: chapter "Vectors and the block".
    """
    n = cpu.lanes(source)
    rows = [cpu.load(source, each) for each in cpu.places(s, s_step, n)]
    for _ in range(n.bit_length() - 1):  # each time, two rows in turns make two new ones
        pairs = zip(rows[: n // 2], rows[n // 2 :], strict=True)
        rows = [new for a, b in pairs for new in _in_turns(cpu, a, b)]
    for row, place in zip(rows, cpu.places(t, t_step, n), strict=True):
        cpu.store(target, place, row)
