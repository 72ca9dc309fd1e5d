# Exported from chapters/ by tools/export.py: edit the chapter, not this file.
"""Winograd's algorithm, F(4 x 4, 3 x 3) and F(4 x 4, 5 x 5), with channels as lanes.

Chapter "Tiles in vectors" builds this module; chapter "Fewer multiplications" derives the algorithm
and its matrices. A tile becomes 36 or 64 pieces; they stand as [piece][tile][channel], and what is
to be multiplied is one product of matrices for each piece.

The error at a result is bounded by its tile: by (n + 16) e T W for 3 x 3 and by 4 (n + 32) e T W
for 5 x 5 (measured against float64, on hostile numbers, too). e is 2**-24; n counts the
channels, or for the gradient of the weights the tiles; T is the largest size in the tile, or
for the gradient in the channel's images; W is the sum of the sizes of the other factor. Where
T W is more than `ranges.RANGE` times the largest number that a result reads, times the sum of
the sizes of what it is multiplied with, the functions return None: the error stays below
RANGE times that bound in terms of what a result reads. Sizes below 2**-126 count as that.
"""

import itertools
import math
from fractions import Fraction
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numba import types

from convlib import parallel
from convlib.kernels import ranges
from convlib.kernels.blocks import SHAPE, multiply, nought, primitive, put, share, take, together
from convlib.kernels.shuffles import transpose
from convlib.kernels.simd import all_finite, compiled, lanes, lanes_of, load, store
from convlib.kernels.tuning import (
    FEW_PIECES,
    MANY_PIECES,
    OUTPUTS,
    PART,
    PIECE,
    ROWS,
    SECTIONS,
    TILES,
    VECTORS,
)
from convlib.transforms import winograd_matrices

__all__ = ["POINTS", "N", "suits", "forward", "input_grad", "weight_grad"]


# Chapter "Tiles in vectors" (chapters/tiles.ipynb)

def _constant(vector, number):
    """A vector like another one, of one number."""
    if isinstance(vector, np.ndarray):
        return np.full_like(vector, number)
    return vector.type([float(number)] * vector.type.count)


def _combination(cpu, coefficients, vectors):
    """The sum of coefficient * vector; what is zero costs nothing."""
    terms = [term for term in zip(coefficients, vectors, strict=True) if term[0] != 0]
    (first, total), *others = sorted(terms, key=lambda term: term[0] != 1)
    if first != 1:
        total = cpu.fma(_constant(total, first), total, _constant(total, 0))
    for coefficient, x in others:
        total = cpu.fma(_constant(x, coefficient), x, total)
    return total


def _is_pair(row, other):
    """Whether two rows agree in even places and differ in sign in odd ones."""
    even, odd = row[::2] == other[::2], [-x for x in row[1::2]] == other[1::2]
    return even and odd and any(row[::2]) and any(row[1::2])


def _products(cpu, rows, vectors):
    """The vectors matrix * vectors, row by row."""
    while rows:
        row, *rows = rows
        if rows and _is_pair(row, rows[0]):  # half of the work is the same
            even = _combination(cpu, row[::2], vectors[::2])
            odd = _combination(cpu, row[1::2], vectors[1::2])
            yield from (cpu.add(even, odd), cpu.fma(_constant(odd, -1), odd, even))
            rows = rows[1:]
        else:
            yield _combination(cpu, row, vectors)


_HALF, _NEAR, _FAR = Fraction(1, 2), Fraction(3, 4), Fraction(3, 2)
POINTS = {
    3: (0, _NEAR, -_NEAR, _FAR, -_FAR, math.inf),
    5: (0, _HALF, -_HALF, 1, -1, 2, -2, math.inf),
}
_CELLS, _WEIGHTS, _FLOW, _OUTPUT, _BIASED, _GRADIENT = ((0,) * kind for kind in range(1, 7))


def _matrices(taps):
    """The matrix of each kind of transform, in that order; _BIASED adds one vector more to all."""
    A, B, G = winograd_matrices(OUTPUTS, taps, POINTS[taps])
    grad_A, _, grad_G = winograd_matrices(taps, OUTPUTS, POINTS[taps])
    return [[list(row) for row in matrix]
            for matrix in (B.T, G, grad_G, A.T, [[*row, 1] for row in A.T], grad_A.T)]  # fmt: skip


_MATRICES = {taps: _matrices(taps) for taps in POINTS}


@primitive(lambda *_: types.void)
def _transform(cpu, source, i, step, target, j, apart, matrix):
    """Multiply some vectors by a matrix, (kind, taps), that is known when this is compiled."""
    rows = _MATRICES[len(matrix[1])][len(matrix[0]) - 1]
    vectors = [cpu.load(source, each) for each in cpu.places(i, step, len(rows[0]))]
    places = cpu.places(j, apart, len(rows))
    for place, vector in zip(places, _products(cpu, rows, vectors), strict=True):
        cpu.store(target, place, vector)


@compiled
def _carry(matrix, source, target, count):
    """Transform `count` lines of vectors: (numbers, place, step, step to the next line)."""
    (numbers, i, step, advance), (results, j, apart, onward) = source, target
    for _ in range(count):
        _transform(numbers, i, step, results, j, apart, matrix)
        i += advance
        j += onward


_BY_PIXEL, _BY_CHANNEL, _BY_SUM = range(3)  # how a plan looks at the sizes of cells


class _Plan(NamedTuple):
    """What the kernels need to know of a layer."""

    taps: tuple  # as long as a kernel has taps on one axis: a type, for the compiler
    pieces: int  # of a tile, on one axis
    points: int  # on both
    span: int  # cells of a tile that are read, on one axis
    batch: int
    sources: int  # channels
    targets: int
    height: int  # of the source images
    width: int
    out_height: int
    out_width: int
    top: int  # zeros above the source images
    left: int
    tile_rows: int  # of one image
    tile_columns: int
    source_step: int  # between the weights of two sources
    target_step: int
    turned: bool  # the kernels are read from their last weight to the first
    inner: tuple  # first and last row, first and last column that every tap reads
    look: int  # at sizes _BY_PIXEL, _BY_CHANNEL or _BY_SUM
    few: bool  # weights
    sections: int  # of the tiles
    portion: int  # tile rows at once
    part: int  # sources whose pieces stand together; the last part holds what is left, too
    parts: int
    step: int  # numbers from tile to tile in the pieces of the sources
    apart: int  # from piece to piece
    out_step: int  # the same for the products
    out_apart: int


@compiled
def _to_lanes(source, i, step, columns, target, j):
    """Write source[i + lane * step + column] to target[j + column * lanes + lane], in squares."""
    n = lanes(source)
    if i + (n - 1) * step + max(columns, n) <= source.size:
        for begin in range(0, columns, n):
            c = min(begin, max(0, columns - n))
            transpose(source, i + c, step, target, j + c * n, n)
    else:  # a square would reach over the end
        for c in range(columns):
            for lane in range(n):
                target[j + c * n + lane] = source[i + lane * step + c]


@compiled
def _from_lanes(source, places, target, j, step):
    """Write source[place * lanes + lane] to target[j + lane * step + place]."""
    n = lanes(source)
    if places >= n:
        for begin in range(0, places, n):
            p = min(begin, places - n)
            transpose(source, p * n, n, target, j + p, step)
    else:
        for p in range(places):
            for lane in range(n):
                target[j + lane * step + p] = source[p * n + lane]


@compiled
def _bring_rows(images, s, rows, channel, strip):
    """Write some rows of a vector of channels, channels last, zeros above and below."""
    (image, y, count), line = rows, s.width * lanes(images)
    begin, end = max(0, y), min(s.height, y + count)
    place = ((image * s.sources + channel) * s.height + begin) * s.width
    _to_lanes(images, place, s.height * s.width, (end - begin) * s.width,
             strip, (begin - y) * line)
    strip[: (begin - y) * line] = 0
    strip[(end - y) * line : count * line] = 0


@compiled
def _transform_rows(kind, s, count, strip, half, pieces):
    """Write the pieces of some rows of tiles, of one vector of channels."""
    (V, v), n = pieces, lanes(strip)
    line, width = s.width * n, ((s.tile_columns - 1) * OUTPUTS + s.span) * n
    inside = min(s.width, width // n - s.left)
    for row in range(count):
        _carry((kind, s.taps), (strip, row * OUTPUTS * line, line, n),
              (half, s.left * n, width, n), inside)
        for a in range(s.pieces):
            _carry((kind, s.taps), (half, a * width, n, OUTPUTS * n),
                  (V, v + s.pieces * a * s.apart, s.apart, s.step), s.tile_columns)
        v += s.tile_columns * s.step


@compiled
def _keep_sizes(sizes, numbers, by_sum):
    """Add up sizes, or keep the larger ones, number by number."""
    for q in range(numbers.size):
        size = abs(numbers[q])
        if by_sum:
            sizes[q] += size
        elif size > sizes[q]:
            sizes[q] = size


@compiled
def _look_at_cells(images, strip, s, where, sizes, seen):
    """Keep the sizes of a vector of channels, pixel by pixel or channel by channel."""
    (image, channel, y, begin, end), n = where, lanes(images)
    if s.look == _BY_PIXEL:
        for c in range(channel, channel + n):
            at = ((image * s.sources + c) * s.height + begin) * s.width
            count = (end - begin) * s.width
            _keep_sizes(sizes[:count], images[at : at + count], False)
    else:  # first the inner rows, then the others
        line = s.width * n
        for row in range(begin, end):
            to = 0 if s.inner[0] <= row < s.inner[1] else seen.size // 2
            to, at = to + -(-channel // n) * line, (row - y) * line
            _keep_sizes(seen[to : to + line], strip[at : at + line], s.look == _BY_SUM)


@compiled
def _transform_images(images, s, rows, channels, V, seen, scratch):
    """Write V[part][piece][tile][channel] for some tile rows, counted through the images."""
    n, (row, last), v = lanes(images), rows, 0
    wide = s.pieces * ((s.tile_columns - 1) * OUTPUTS + s.span) * n
    lines = (min(s.portion, s.tile_rows) - 1) * OUTPUTS + s.span
    pixels = -(-lines * s.width // n) * n
    half, sizes, strip = scratch[:wide], scratch[wide : wide + pixels], scratch[wide + pixels :]
    half[:] = 0
    while row < last:
        image, tile_row = row // s.tile_rows, row % s.tile_rows
        count, y = min(s.tile_rows - tile_row, last - row), tile_row * OUTPUTS - s.top
        begin, end = max(0, y), min(s.height, y + (count - 1) * OUTPUTS + s.span)
        sizes[:] = 0
        for c in range(channels[0], min(channels[1], s.sources), n):
            channel = min(c, s.sources - n)  # a last vector moves back
            _bring_rows(images, s, (image, y, (count - 1) * OUTPUTS + s.span), channel, strip)
            _look_at_cells(images, strip, s, (image, channel, y, begin, end), sizes, seen)
            part = min(c // s.part, s.parts - 1)
            place = v + part * (s.points * s.apart - s.part)
            if s.span == OUTPUTS:  # as right factor, whole vectors are multiplied
                _transform_rows(_FLOW, s, count, strip, half, (V, place + c))
            else:  # as left factor, one number at a time
                _transform_rows(_CELLS, s, count, strip, half, (V, place + channel))
        if s.look == _BY_PIXEL:
            for size in sizes[: (end - begin) * s.width]:
                seen[0], seen[1] = min(seen[0], size), max(seen[1], size)
        row += count
        v += count * s.tile_columns * s.step


@compiled
def _line_up(weight, s, k, c, some, lined):
    """Write lined[source][tap], a vector of targets each, for some sources."""
    n, kernel = lanes(weight), len(s.taps) ** 2
    place = k * s.target_step + c * s.source_step
    if s.source_step == kernel:  # the sources of a target stand together
        _to_lanes(weight, place, s.target_step, some * kernel, lined, 0)
    else:
        for q in range(some):
            at = place + q * s.source_step
            _to_lanes(weight, at, s.target_step, kernel, lined, q * kernel * n)


@compiled
def _transform_weights(weight, s, panel, sources, pieces, sizes, scratch):
    """Write U[piece][source][target] of a panel of targets; add up sizes, tap by tap."""
    (U, u, apart), n, kernel = pieces, lanes(weight), len(s.taps) ** 2
    lined, half = scratch[: (kernel + 1) * n * n], scratch[(kernel + 1) * n * n :]
    line = len(s.taps) * n
    tap, step = (kernel - 1, -1) if s.turned else (0, 1)
    for side in range(VECTORS):
        k, here = min((panel * VECTORS + side) * n, s.targets - n), sizes[side * kernel * n :]
        for c in range(sources[0], sources[1], n):
            some, place = min(n, sources[1] - c), u + ((c - sources[0]) * VECTORS + side) * n
            _line_up(weight, s, k, c, some, lined)
            for q in range(some if sizes.size else 0):
                _keep_sizes(here, lined[q * kernel * n : (q + 1) * kernel * n], True)
            for b in range(len(s.taps)):
                _carry((_WEIGHTS, s.taps),
                      (lined, (tap + b * step) * n, step * line, kernel * n),
                      (half, b * n, line, s.pieces * line), some)
            for a in range(s.pieces):
                _carry((_WEIGHTS, s.taps), (half, a * line, n, s.pieces * line),
                      (U, place + s.pieces * a * apart, apart, VECTORS * n), some)


@compiled
def _multiply_pieces(left, right, target, sizes, more):
    """Write, or add, a product for each piece: (numbers, place, apart, row step, step)."""
    (V, v, v_apart, row_step, v_step), (U, u, u_apart, u_step) = left, right
    (M, m, m_apart, m_step), (points, rows, depth) = target, sizes
    for t in range(points):
        for row in range(0, rows, ROWS):
            place = m + t * m_apart + row * m_step
            i, j = v + t * v_apart + row * row_step, u + t * u_apart
            sums = take(M, place, m_step, SHAPE) if more else nought(M, SHAPE)
            for begin in range(0, depth, PIECE):
                part = nought(V, SHAPE)
                for _ in range(min(PIECE, depth - begin)):
                    part = multiply(part, V, i, row_step, U, j)
                    i += v_step
                    j += u_step
                sums = together(sums, part)
            put(M, place, m_step, sums)


@compiled
def _transform_back(M, s, rows, panel, results, scratch):
    """Write the outputs of some tile rows and a panel of targets; tell whether all are finite."""
    (bias, output), (row, last), m, n, finite = results, rows, 0, lanes(M), True
    wide, line = s.tile_columns * OUTPUTS * n, s.out_width * n
    half, strip = scratch[: (s.pieces + 1) * wide], scratch[(s.pieces + 1) * wide :]
    while row < last:
        image, tile_row = row // s.tile_rows, row % s.tile_rows
        count, y = min(s.tile_rows - tile_row, last - row), tile_row * OUTPUTS
        places = min(s.out_height - y, count * OUTPUTS) * s.out_width
        for vector in range(panel * VECTORS, min((panel + 1) * VECTORS, -(-s.targets // n))):
            k, i = min(vector * n, s.targets - n), m + vector % VECTORS * n
            for x in range(0, line, n):
                store(half, s.pieces * wide + x, load(bias, k))
            for r in range(count):
                for a in range(s.pieces):
                    _carry((_OUTPUT, s.taps),
                          (M, i + s.pieces * a * s.out_apart, s.out_apart, s.out_step),
                          (half, a * wide, n, OUTPUTS * n), s.tile_columns)
                _carry((_BIASED, s.taps), (half, 0, wide, n),
                      (strip, r * OUTPUTS * line, line, n), s.out_width)
                i += s.tile_columns * s.out_step
            finite &= all_finite(strip[: places * n])
            place = ((image * s.targets + k) * s.out_height + y) * s.out_width
            _from_lanes(strip, places, output, place, s.out_height * s.out_width)
        row += count
        m += count * s.tile_columns * s.out_step
    return finite


@compiled
def _sources_of(s, part):
    """The first source whose pieces stand together, and how many they are."""
    return part * s.part, s.part if part < s.parts - 1 else s.sources - part * s.part


@compiled
def _correlate(job, jobs, given, results, s, workspace):
    """Compute one job's tile rows of the output, or its panels where weights are many."""
    (images, weight, bias), (output, seen, sizes), n = given, results, lanes(given[0])
    rows, panels, wide = (0, s.batch * s.tile_rows), (0, len(sizes)), VECTORS * n
    v_size, u_apart = s.points * s.apart, _sources_of(s, s.parts - 1)[1] * wide + n
    V, rest = workspace[: s.parts * v_size], workspace[s.parts * v_size :]
    u_size, nowhere = s.points * u_apart, sizes[0, :0]
    kept = u_size * (len(sizes) if s.few else 1)
    U, rest = rest[:kept], rest[kept:]
    M, scratch = rest[: s.points * s.out_apart], rest[s.points * s.out_apart :]
    if s.few:
        rows = share(job, jobs, rows[1])
        for panel in range(len(sizes)):
            _transform_weights(weight, s, panel, (0, s.sources), (U, panel * u_size, u_apart),
                              nowhere if job else sizes[panel], scratch)
    else:
        panels = share(job, jobs, len(sizes))
    for begin in range(rows[0], rows[1], s.portion):
        some = begin, min(rows[1], begin + s.portion)
        _transform_images(images, s, some, (0, s.sources), V, seen[job], scratch)
        for panel in range(panels[0], panels[1]):
            for part in range(s.parts):
                first, count = _sources_of(s, part)
                if not s.few:
                    _transform_weights(weight, s, panel, (first, first + count), (U, 0, u_apart),
                                      nowhere if begin else sizes[panel], scratch)
                _multiply_pieces((V, part * v_size, s.apart, s.step, 1),
                                (U, panel * u_size if s.few else 0, u_apart, wide),
                                (M, 0, s.out_apart, s.out_step),
                                (s.points, (some[1] - begin) * s.tile_columns, count), part > 0)
            if not _transform_back(M, s, some, panel, (bias, output), scratch):
                seen[job, 2] = 1


@compiled
def _weights_back(M, m, s, panel, grad_weight, scratch):
    """Write the gradient of a panel of targets; tell whether it is finite."""
    n, kernel, line, finite = lanes(M), len(s.taps) ** 2, len(s.taps) * lanes(M), True
    half, lined = scratch[: s.pieces * line * n], scratch[s.pieces * line * n :]
    count = s.sources * kernel
    for vector in range(panel * VECTORS, min((panel + 1) * VECTORS, -(-s.targets // n))):
        for c in range(0, s.sources, n):
            some, i = min(n, s.sources - c), m + (c * VECTORS + vector % VECTORS) * n
            for a in range(s.pieces):
                _carry((_GRADIENT, s.taps),
                      (M, i + s.pieces * a * s.out_apart, s.out_apart, s.out_step),
                      (half, a * line, n, s.pieces * line), some)
            for b in range(len(s.taps)):
                _carry((_GRADIENT, s.taps), (half, b * n, line, s.pieces * line),
                      (lined, (c * kernel + b) * n, line, kernel * n), some)
        finite &= all_finite(lined[: count * n])
        _from_lanes(lined, count, grad_weight, min(vector * n, s.targets - n) * count, count)
    return finite


@compiled
def _weigh(job, jobs, given, results, plans, workspace):
    """Compute the gradient of one job's sections of tiles, or panels where weights are many."""
    (images, flow), (grads, cells, flows, failed), (s, f) = given, results, plans
    rows, wide = s.batch * s.tile_rows, VECTORS * lanes(flow)
    panels = -(-s.targets // wide)
    V, rest = workspace[: s.points * s.apart], workspace[s.points * s.apart :]
    D, rest = rest[: s.points * f.apart], rest[s.points * f.apart :]
    size = s.points * s.out_apart
    kept = size * (panels if s.few else 1)
    M, scratch = rest[:kept], rest[kept:]
    for section in range(job, s.sections if s.few else jobs, jobs):
        mine = (0, panels) if s.few else share(job, jobs, panels)
        first, last = share(section, s.sections, -(-rows // s.portion)) if s.few else (0, 1)
        for item in range(first, last):
            some = item * s.portion, min(rows, (item + 1) * s.portion)
            _transform_images(images, s, some, (0, s.sources), V, cells[section], scratch)
            channels = mine[0] * wide, mine[1] * wide
            _transform_images(flow, f, some, channels, D, flows[section], scratch)
            tiles = (some[1] - some[0]) * s.tile_columns
            for panel in range(mine[0], mine[1]):
                m = panel * size if s.few else 0
                _multiply_pieces((V, 0, s.apart, 1, s.step), (D, panel * wide, f.apart, f.step),
                                (M, m, s.out_apart, s.out_step),
                                (s.points, s.sources, tiles), item > first)
                if item == last - 1:
                    grad = grads[section if s.few else 0]
                    if not _weights_back(M, m, s, panel, grad, scratch):
                        failed[job] = 1


_SINGLE = np.dtype(np.float32)
N = lanes_of(_SINGLE)
_WIDE = VECTORS * N


def suits(geometry, dtype):
    """Return whether Winograd's algorithm can compute a layer.

    In float32, for 3 x 3 and 5 x 5 kernels without stride and groups, if there is at least a
    vector of channels on each side, and a cell and a place for each phase of a dilation.

    Source: chapter "Tiles in vectors".
    """
    g, size, (down, across) = geometry, geometry.kernel_height, geometry.dilation
    # more padding than this gives results that see nothing but zeros
    return (
        dtype == _SINGLE and g.stride == (1, 1) and g.groups == 1
        and size == g.kernel_width and size in POINTS and min(g.in_channels, g.out_channels) >= N
        and max(g.padding[0]) <= (size - 1) * down and max(g.padding[1]) <= (size - 1) * across
        and min(g.height, g.out_height) >= down and min(g.width, g.out_width) >= across
    )  # fmt: skip


def _up(count, unit):
    """The next multiple of a unit."""
    return -(-count // unit) * unit


def _layout(tiles, channels):
    """Numbers from tile to tile, with a gap, and from piece to piece: at other cache lines each."""
    step = _up(channels, _WIDE) + N
    return step, _up(tiles, ROWS) * step + N


def _plan(g, direction):
    """The plan of a layer, and how many pieces its weights have; how pieces lie comes later."""
    taps, kernel, channels = g.kernel_height, g.kernel_height**2, (g.in_channels, g.out_channels)
    size, out_size, corner = g[2:4], g[-2:], (g.padding[0][0], g.padding[1][0])
    steps, turned = (kernel, g.in_channels * kernel), direction == "input_grad"
    pieces, points = OUTPUTS + taps - 1, (OUTPUTS + taps - 1) ** 2
    if turned:
        size, out_size, channels, steps = out_size, size, channels[::-1], steps[::-1]
        corner = taps - 1 - corner[0], taps - 1 - corner[1]
    tiles = [-(-places // OUTPUTS) for places in out_size]
    few = points * channels[0] * _up(channels[1], _WIDE) <= FEW_PIECES
    rows, most = g.batch * tiles[0], TILES if few else MANY_PIECES // (points * channels[0])
    portion = -(-rows // -(-rows * tiles[1] // most))
    return _Plan((0,) * taps, pieces, points, pieces, g.batch, *channels, *size, *out_size, *corner,
                 *tiles, *steps, turned, (0,) * 4, _BY_PIXEL, few, 1, portion, channels[0], 1,
                 *[0] * 4)


def _scratch(s):
    """The room that transforming a portion of images takes."""
    lines = (min(s.portion, s.tile_rows) - 1) * OUTPUTS + s.span
    half = s.pieces * ((s.tile_columns - 1) * OUTPUTS + s.span) * N
    square = N * N if min(s.height, lines - s.top) * s.width < N else 0
    return half + _up(lines * s.width, N) + lines * s.width * N + square


@lru_cache(maxsize=1024)
def _order(g, direction):
    """The plan of a layer with the places of its pieces; the room that a job needs."""
    s = _plan(g, direction)
    parts, tiles = 1 if s.few else max(1, s.sources // PART), s.portion * s.tile_columns
    some = s.sources if parts == 1 else s.sources - (parts - 1) * PART
    s = s._replace(part=s.sources if parts == 1 else PART, parts=parts)
    (step, apart), (out_step, out_apart) = _layout(tiles, some), _layout(tiles, _WIDE)
    s = s._replace(step=step, apart=apart, out_step=out_step, out_apart=out_apart)
    U = (some * _WIDE + N) * (-(-s.targets // _WIDE) if s.few else 1)
    columns, lines = s.tile_columns * OUTPUTS, min(s.portion, s.tile_rows) * OUTPUTS
    back = ((s.pieces + 1) * columns + lines * s.out_width) * N
    weights = (len(s.taps) ** 2 + 1 + s.pieces * len(s.taps)) * N * N
    space = s.points * (parts * apart + U + out_apart)
    return s, space + max(_scratch(s), back, weights)


@lru_cache(maxsize=1024)
def _weights_order(g):
    """The plans of images and flow with the places of their pieces; the room that a job needs."""
    s = _plan(g, "forward")
    rows = ranges.inner(s.height, s.out_height, len(s.taps), s.top)
    columns = ranges.inner(s.width, s.out_width, len(s.taps), s.left)
    all_rows, panels = g.batch * s.tile_rows, -(-s.targets // _WIDE)
    portion = s.portion if s.few else all_rows
    step, apart = _layout(portion * s.tile_columns, s.sources)
    s = s._replace(look=_BY_CHANNEL, inner=rows[0] + columns[0], portion=portion,
                   sections=min(SECTIONS, -(-all_rows // portion)) if s.few else 1,
                   step=step, apart=apart,
                   out_step=_WIDE, out_apart=_up(s.sources, ROWS) * _WIDE + N)
    step, apart = _layout(portion * s.tile_columns, s.targets)
    f = s._replace(span=OUTPUTS, sources=s.targets, part=s.targets, height=s.out_height,
                   width=s.out_width, top=0, left=0, look=_BY_SUM, inner=rows[1] + columns[1],
                   step=step, apart=apart)
    M = s.out_apart * (panels if s.few else 1)
    back = (s.sources * len(s.taps) ** 2 + N * s.pieces * len(s.taps)) * N
    space = s.points * (s.apart + f.apart + M)
    return s, f, space + max(_scratch(s), _scratch(f), back)


def _images_at_once(g):
    """All images where the weights are few; else so many that their pieces fit into memory."""
    s = _plan(g, "forward")
    size = s.points * s.tile_rows * s.tile_columns * (s.sources + s.targets)
    return g.batch if s.few else max(1, 4 * MANY_PIECES // size)


@lru_cache(maxsize=1024)
def _phases(g):
    """The layers without dilation that a layer consists of: (layer, cells, places) of phases."""
    axes, layers = [], {}
    for size, places, step, (before, _) in zip(g[2:4], g[-2:], g.dilation, g.padding, strict=True):
        axes.append([])
        for place in range(step):
            cell = (place - before) % step
            count, some = len(range(cell, size, step)), len(range(place, places, step))
            first = (before + cell - place) // step
            zeros = first, some + g.kernel_height - 1 - first - count
            phase = slice(cell, None, step), slice(place, None, step)
            axes[-1].append((count, some, zeros, *phase))
    for rows, columns in itertools.product(*axes):
        layer = g._replace(height=rows[0], width=columns[0], padding=(rows[2], columns[2]),
                           out_height=rows[1], out_width=columns[1], dilation=(1, 1))
        cells, places = layers.setdefault(layer, ([], []))
        cells.append((..., rows[3], columns[3]))
        places.append((..., rows[4], columns[4]))
    return [(layer._replace(batch=g.batch * len(cells)), cells, places)
            for layer, (cells, places) in layers.items()]  # fmt: skip


def _gather(images, phases):
    """Some phases of the images, one after the other."""
    if len(phases) == 1:
        return np.ascontiguousarray(images[phases[0]])
    return np.concatenate([images[phase] for phase in phases])


def _by_phases(direction, images, weight, bias, g, output, jobs):
    """Compute outputs from images, phase by phase of a dilation; return them, or None."""
    if g.dilation == (1, 1):
        return output if _compute(direction, images, weight, bias, g, output, jobs) else None
    for layer, *phases in _phases(g):
        reads, writes = phases[::-1] if direction == "input_grad" else phases
        some = np.empty((layer.batch, *output[writes[0]].shape[1:]), _SINGLE)
        if not _compute(direction, _gather(images, reads), weight, bias, layer, some, jobs):
            return None
        for phase, part in zip(writes, np.split(some, len(writes)), strict=True):
            output[phase] = part
    return output


def _compute(direction, images, weight, bias, g, output, jobs):
    """Compute outputs from images; tell whether that is finite and exact enough."""
    s, space = _order(g, direction)
    seen = np.zeros((jobs, 3), _SINGLE)  # the least and the largest size of a pixel; a failure
    seen[:, 0] = np.inf
    sizes = np.zeros((-(-s.targets // _WIDE), VECTORS * len(s.taps) ** 2 * N), _SINGLE)
    given = images.reshape(-1), weight.reshape(-1), bias
    parallel.run(_correlate, jobs, space, _SINGLE, given, (output.reshape(-1), seen, sizes), s)
    return not seen[:, 2].any() and _is_near(s, images, seen, sizes, bias, output)


def _is_near(s, images, seen, sizes, bias, output):
    """Whether all results read about what their tiles hold; those that read only zeros are zero."""
    taps, turn = len(s.taps), -1 if s.turned else 1
    rows = ranges.sets_read(s.height, s.out_height, taps, s.top)[:, ::turn]
    columns = ranges.sets_read(s.width, s.out_width, taps, s.left)[:, ::turn]
    far = ranges.kernels_apart(sizes.reshape(-1, taps, taps, N), rows, columns)
    if far * seen[:, 1].max() <= ranges.RANGE * seen[:, 0].min():
        return True
    tiles, size = (s.tile_rows, s.tile_columns), (s.out_height, s.out_width)
    times, reads = ranges.tiles_apart(images, tiles, taps, (s.top, s.left), size)
    np.copyto(output, bias[:, np.newaxis, np.newaxis], where=reads[:, np.newaxis] == 0)
    return far * times <= ranges.RANGE


def forward(input, weight, bias, geometry, jobs):
    """Compute the output of a layer, (N, K, H', W'), or return None if it is not exact enough.

    Source: chapter "Tiles in vectors".
    """
    g = geometry
    output = parallel.aligned((g.batch, g.out_channels, g.out_height, g.out_width), _SINGLE)
    return _by_phases("forward", input, weight, bias, g, output, jobs)


def input_grad(weight, grad_output, geometry, jobs):
    """Compute the learning flow at the input, (N, C, H, W), or return None, as in `forward`.

    Source: chapter "Tiles in vectors".
    """
    grad_input = parallel.aligned(geometry[:4], _SINGLE)
    bias = np.zeros(geometry.in_channels, _SINGLE)
    return _by_phases("input_grad", grad_output, weight, bias, geometry, grad_input, jobs)


def weight_grad(input, grad_output, geometry, jobs):
    """Compute the gradient of the weights, (K, C, r, r), or return None, as in `forward`.

    Source: chapter "Tiles in vectors".
    """
    total = None
    for layer, cells, places in _phases(geometry):
        x, d = _gather(input, cells), _gather(grad_output, places)
        some = _images_at_once(layer)
        for first in range(0, layer.batch, some):
            x_part, d_part = x[first : first + some], d[first : first + some]
            part = _sum_up(x_part, d_part, layer._replace(batch=len(x_part)), jobs)
            if part is None:
                return None
            total = part if total is None else np.add(total, part, out=total)
    return total


def _sum_up(input, grad_output, g, jobs):
    """Compute the gradient of the weights of a layer without dilation, or return None."""
    s, f, space = _weights_order(g)
    kernel, rows = (s.targets, s.sources, *g[5:7]), s.sections if s.few else jobs
    grads, failed = np.empty((s.sections, math.prod(kernel)), _SINGLE), np.zeros(jobs, _SINGLE)
    seen = [np.zeros((rows, 2 * _up(each.sources, N) * each.width), _SINGLE) for each in (s, f)]
    given = input.reshape(-1), grad_output.reshape(-1)
    parallel.run(_weigh, jobs, space, _SINGLE, given, (grads, *seen, failed), (s, f))
    times = 1
    for sizes, plan, fold in zip(seen, (s, f), (np.maximum, np.add), strict=True):
        sizes = sizes.reshape(rows, 2, -1, plan.width, N)
        inner = sizes[:, :1, :, plan.inner[2] : plan.inner[3]]
        whole, read = (fold.reduce(some, axis=(0, 1, 3), initial=0) for some in (sizes, inner))
        times *= max(1, ranges.apart(whole, read))
    if failed.any() or not times <= ranges.RANGE:
        return None
    return (grads[0] if s.sections == 1 else np.add.reduce(grads)).reshape(kernel)
