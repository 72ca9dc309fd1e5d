# Exported from chapters/ by tools/export.py: edit the chapter, not this file.
"""Winograd's algorithm, F(4 x 4, 3 x 3) and F(4 x 4, 5 x 5), with channels as lanes.

Chapter "Tiles in vectors" builds this module; chapter "Fewer multiplications" derives the algorithm
and its matrices. A tile becomes 36 or 64 pieces; they stand as [piece][tile][channel], and what is
to be multiplied is one product of matrices for each piece.

The error at a result is bounded by its tile: by (n + 16) e T W for 3 x 3 and by 4 (n + 32) e T W
for 5 x 5 (measured against float64, on hostile numbers, too). e is 2**-24; n counts the channels, or for the
gradient of the weights the tiles; T is the largest size in the tile, or for the gradient in the channel's images;
W is the sum of the sizes of the other factor. Where T W is more than `ranges.RANGE` times what a result itself
reads, the functions return None: the error stays below RANGE times that bound. Sizes below 2**-126 count as that.
"""

import math
from fractions import Fraction
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numba import types

from convlib import parallel, ranges
from convlib.kernels.blocks import SHAPE, multiply, nought, put, share, take, together
from convlib.kernels.product import turn, turned
from convlib.kernels.simd import all_finite, compiled, inlined, lanes, lanes_of, load, primitive, store
from convlib.kernels.tuning import FEW_PIECES, MANY_PIECES, OUTPUTS, PART, PIECE, ROWS, SECTIONS, TILES, VECTORS
from convlib.phases import gather, phases_of
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
POINTS = {3: (0, _NEAR, -_NEAR, _FAR, -_FAR, math.inf), 5: (0, _HALF, -_HALF, 1, -1, 2, -2, math.inf)}
_CELLS, _WEIGHTS, _FLOW, _OUTPUT, _BIASED, _GRADIENT = ((0,) * kind for kind in range(1, 7))


def _matrices(taps):
    """The matrix of each kind of transform, in that order; _BIASED adds one vector more to all."""
    A, B, G = winograd_matrices(OUTPUTS, taps, POINTS[taps])
    grad_A, _, grad_G = winograd_matrices(taps, OUTPUTS, POINTS[taps])
    return [[list(row) for row in matrix]
            for matrix in (B.T, G, grad_G, A.T, [[*row, 1] for row in A.T], grad_A.T)]  # fmt: skip


_MATRICES = {taps: _matrices(taps) for taps in POINTS}


@primitive(lambda *_: types.void)
def _transform(cpu, numbers, i, step, j, apart, matrix):
    """Multiply some vectors by a matrix, (kind, taps), that is known when this is compiled."""
    rows = _MATRICES[len(matrix[1])][len(matrix[0]) - 1]
    vectors = [cpu.load(numbers, each) for each in cpu.places(i, step, len(rows[0]))]
    places = cpu.places(j, apart, len(rows))
    for place, vector in zip(places, _products(cpu, rows, vectors), strict=True):
        cpu.store(numbers, place, vector)


@compiled
def _carry(matrix, numbers, source, target, count):
    """Transform `count` lines of vectors; a side is (place, step, step to the next line)."""
    (i, step, advance), (j, apart, onward) = source, target
    for _ in range(count):
        _transform(numbers, i, step, j, apart, matrix)
        i += advance
        j += onward


_BY_PIXEL, _BY_CHANNEL, _BY_SUM = range(3)  # how a plan looks at the sizes of cells


class _Plan(NamedTuple):
    """What the kernels need to know of a layer; the places are those in the workspace."""

    kernel: int  # taps on both axes
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
    turned: int  # the kernels are read from their last weight to the first
    few: int  # weights
    portion: int  # tile rows at once
    look: int = _BY_PIXEL  # at sizes, or _BY_CHANNEL, or _BY_SUM
    upper: int = 0  # the first row that every tap reads, ...
    lower: int = 0  # ... and behind the last
    sections: int = 1  # of the tiles
    part: int = 0  # sources whose pieces stand together; the last part holds what is left, too
    parts: int = 1
    place: int = 0  # of the pieces of the sources
    step: int = 0  # from tile to tile
    apart: int = 0  # from piece to piece
    weights_place: int = 0
    weights_apart: int = 0
    out_place: int = 0  # of the products
    out_step: int = 0
    out_apart: int = 0
    half: int = 0  # what is transformed on one axis; here the scratch memory begins
    sizes: int = 0  # of pixels
    strip: int = 0  # of images


@inlined
def _bring_rows(images, s, rows, channel, workspace):
    """Write some rows of a vector of channels, channels last, zeros above and below."""
    (image, y, count), n, size = rows, lanes(images), s.height * s.width
    begin, end, line = max(0, y), min(s.height, y + count), s.width * n
    place = (image * s.sources + channel) * size + begin * s.width
    above, below = s.strip + (begin - y) * line, s.strip + (end - y) * line
    turn(images, place, size, workspace, above, n, (n, (end - begin) * s.width))
    workspace[s.strip : above] = 0
    workspace[below : s.strip + count * line] = 0


@inlined
def _transform_rows(matrix, s, count, place, workspace):
    """Write the pieces of some rows of tiles, of one vector of channels."""
    n, half, strip = lanes(workspace), s.half + s.left * lanes(workspace), s.strip
    line, width = s.width * n, ((s.tile_columns - 1) * OUTPUTS + s.span) * n
    inside = min(s.width, width // n - s.left)
    for _ in range(count):
        _carry(matrix, workspace, (strip, line, n), (half, width, n), inside)
        for a in range(s.pieces):
            _carry(matrix, workspace, (s.half + a * width, n, OUTPUTS * n),
                  (place + s.pieces * a * s.apart, s.apart, s.step), s.tile_columns)
        strip += OUTPUTS * line
        place += s.tile_columns * s.step


@compiled
def _keep_sizes(sizes, place, numbers, i, run, by_sum):
    """Add up sizes, or keep the larger ones, number by number; a run is (count, times, step)."""
    count, times, step = run
    kept = sizes[place : place + count]
    for _ in range(times):
        some = numbers[i : i + count]
        if by_sum:
            for q in range(count):
                kept[q] += abs(some[q])
        else:
            for q in range(count):
                kept[q] = max(kept[q], abs(some[q]))
        i += step


@inlined
def _look_at_cells(images, workspace, s, where, seen):
    """Keep the sizes of a vector of channels, pixel by pixel or channel by channel."""
    (image, channel, y, begin, end), n, by_sum = where, lanes(images), s.look == _BY_SUM
    line, plane = s.width * n, s.height * s.width
    run = (line, 1, 0)
    if s.look == _BY_PIXEL:
        place, run = (image * s.sources + channel) * plane, ((end - begin) * s.width, n, plane)
        _keep_sizes(workspace, s.sizes, images, place + begin * s.width, run, by_sum)
        begin = end
    for row in range(begin, end):  # first the inner rows, then the others
        to = -(-channel // n) * line + (0 if s.upper <= row < s.lower else seen.size // 2)
        _keep_sizes(seen, to, workspace, s.strip + (row - y) * line, run, by_sum)


@compiled
def _transform_images(images, s, matrix, rows, channels, seen, workspace):
    """Write [part][piece][tile][channel] for some tile rows, counted through the images."""
    n, (row, last), place = lanes(images), rows, s.place
    workspace[s.half : s.sizes] = 0
    while row < last:
        image, tile_row = row // s.tile_rows, row % s.tile_rows
        count, y = min(s.tile_rows - tile_row, last - row), tile_row * OUTPUTS - s.top
        lines = (count - 1) * OUTPUTS + s.span
        begin, end = max(0, y), min(s.height, y + lines)
        workspace[s.sizes : s.strip] = 0
        for c in range(channels[0], min(channels[1], s.sources), n):
            channel = min(c, s.sources - n)  # a last vector moves back
            _bring_rows(images, s, (image, y, lines), channel, workspace)
            _look_at_cells(images, workspace, s, (image, channel, y, begin, end), seen)
            part = min(c // s.part, s.parts - 1)
            v = place + part * (s.points * s.apart - s.part)
            # as right factor, whole vectors are multiplied; as left factor, one number at a time
            v += (c if s.span == OUTPUTS else channel) - channels[0]
            _transform_rows(matrix, s, count, v, workspace)
        if s.look == _BY_PIXEL:
            for q in range(s.sizes, s.sizes + (end - begin) * s.width):
                seen[0], seen[1] = min(seen[0], workspace[q]), max(seen[1], workspace[q])
        row += count
        place += count * s.tile_columns * s.step


@inlined
def _line_up(weight, s, k, c, some, workspace):
    """Write [source][tap], a vector of targets each, for some sources."""
    n, count = lanes(weight), s.kernel
    if s.source_step == s.kernel:  # the sources of a target stand together
        some, count = 1, some * s.kernel
    for q in range(some):
        at = k * s.target_step + (c + q) * s.source_step
        fits = at + (n - 1) * s.target_step + n <= weight.size  # a whole square is faster
        size, place = (n, max(count, n) if fits else count), s.half + q * s.kernel * n
        turn(weight, at, s.target_step, workspace, place, n, size)


@inlined
def _transform_weights(weight, s, matrix, panel, where, first_look, sizes, workspace):
    """Write [piece][source][target] of a panel; `where` is the first source, the last, the place of the pieces."""
    (first, last, place), n, taps = where, lanes(weight), len(matrix[1])
    line, square, step = taps * n, s.kernel * n, 1 - 2 * s.turned
    half = s.half + (s.kernel + 1) * n * n
    for vector in range(panel * VECTORS, (panel + 1) * VECTORS):
        k, u = min(vector * n, s.targets - n), place + vector % VECTORS * n
        for c in range(first, last, n):
            some = min(n, last - c)
            _line_up(weight, s, k, c, some, workspace)
            if first_look:
                run = square, some, square
                _keep_sizes(sizes, vector * square, workspace, s.half, run, first_look)
            for b in range(taps):
                tap = s.half + (s.turned * (s.kernel - 1) + step * b) * n
                _carry(matrix, workspace, (tap, step * line, square), (half + b * n, line, s.pieces * line), some)
            for a in range(s.pieces):
                _carry(matrix, workspace, (half + a * line, n, s.pieces * line),
                      (u + s.pieces * a * s.weights_apart, s.weights_apart, VECTORS * n), some)
            u += some * VECTORS * n


@inlined
def _multiply_pieces(numbers, s, left, right, target, sizes, more):
    """Write, or add, a product for each piece: left is (place, step to the next row, along a row).

    right is (place, from piece to piece, step to the next row).
    """
    (v, row_step, along), (u, u_apart, u_step), (points, rows, depth) = left, right, sizes
    for t in range(points):
        for row in range(0, rows, ROWS):
            place, i = target + t * s.out_apart + row * s.out_step, v + t * s.apart + row * row_step
            j = u + t * u_apart
            for begin in range(0, depth, PIECE):
                sums = nought(numbers, SHAPE)
                for _ in range(min(PIECE, depth - begin)):
                    sums = multiply(sums, numbers, i, row_step, numbers, j)
                    i, j = i + along, j + u_step
                if more or begin > 0:
                    sums = together(take(numbers, place, s.out_step, SHAPE), sums)
                put(numbers, place, s.out_step, sums)


@inlined
def _transform_back(s, matrices, rows, panel, bias, output, workspace):
    """Write the outputs of some tile rows and a panel of targets; tell whether all are finite."""
    (row, last), place, n, finite = rows, s.out_place, lanes(workspace), True
    wide, line, size = s.tile_columns * OUTPUTS * n, s.out_width * n, s.out_height * s.out_width
    half, strip = s.half, s.half + (s.pieces + 1) * wide
    while row < last:
        image, tile_row = row // s.tile_rows, row % s.tile_rows
        count, y = min(s.tile_rows - tile_row, last - row), tile_row * OUTPUTS
        places = min(s.out_height - y, count * OUTPUTS) * s.out_width
        for vector in range(panel * VECTORS, min((panel + 1) * VECTORS, -(-s.targets // n))):
            k, i = min(vector * n, s.targets - n), place + vector % VECTORS * n
            for x in range(half + s.pieces * wide, half + s.pieces * wide + line, n):
                store(workspace, x, load(bias, k))
            for r in range(count):
                for a in range(s.pieces):
                    _carry(matrices[0], workspace, (i + s.pieces * a * s.out_apart, s.out_apart, s.out_step),
                          (half + a * wide, n, OUTPUTS * n), s.tile_columns)
                _carry(matrices[1], workspace, (half, wide, n), (strip + r * OUTPUTS * line, line, n), s.out_width)
                i += s.tile_columns * s.out_step
            finite &= all_finite(workspace[strip : strip + places * n])
            at = (image * s.targets + k) * size + y * s.out_width
            turn(workspace, strip, n, output, at, size, (places, n))
        row += count
        place += count * s.tile_columns * s.out_step
    return finite


@compiled
def _correlate(job, jobs, given, results, s, taps, workspace):
    """Compute one job's tile rows of the output, or its panels where weights are many."""
    (images, weight, bias), (output, seen, sizes), n = given, results, lanes(workspace)
    rows, panels = s.batch * s.tile_rows, -(-s.targets // (VECTORS * n))
    mine = share(job, jobs, rows if s.few else panels)
    rows, panels = (mine, (0, panels)) if s.few else ((0, rows), mine)
    for begin in range(rows[0], rows[1], s.portion):
        some = begin, min(rows[1], begin + s.portion)
        size = s.points, (some[1] - begin) * s.tile_columns
        _transform_images(images, s, (_CELLS, taps), some, (0, s.sources), seen[job], workspace)
        for panel in range(panels[0], panels[1]):
            u = s.weights_place + (panel * s.points * s.weights_apart if s.few else 0)
            for part in range(s.parts):
                first = part * s.part
                last = first + s.part if part < s.parts - 1 else s.sources
                if begin == rows[0] or not s.few:
                    _transform_weights(weight, s, (_WEIGHTS, taps), panel, (first, last, u),
                                      begin == 0, sizes, workspace)
                left = s.place + part * s.points * s.apart, s.step, 1
                _multiply_pieces(workspace, s, left, (u, s.weights_apart, VECTORS * n),
                                s.out_place, (*size, last - first), part > 0)
            matrices = (_OUTPUT, taps), (_BIASED, taps)
            if not _transform_back(s, matrices, some, panel, bias, output, workspace):
                seen[job, 2] = 1


@inlined
def _weights_back(s, matrix, panel, channels, place, grad_weight, workspace):
    """Write the gradient of some sources and a panel of targets; tell whether it is finite."""
    n, taps, finite, sources = lanes(workspace), len(matrix[1]), True, channels[1] - channels[0]
    line, count, lined = taps * n, sources * s.kernel, s.half + s.pieces * taps * n * n
    for vector in range(panel * VECTORS, min((panel + 1) * VECTORS, -(-s.targets // n))):
        for c in range(0, sources, n):
            some, i = min(n, sources - c), place + (c * VECTORS + vector % VECTORS) * n
            for a in range(s.pieces):
                _carry(matrix, workspace, (i + s.pieces * a * s.out_apart, s.out_apart, s.out_step),
                      (s.half + a * line, n, s.pieces * line), some)
            for b in range(taps):
                _carry(matrix, workspace, (s.half + b * n, line, s.pieces * line),
                      (lined + (c * s.kernel + b) * n, line, s.kernel * n), some)
        finite &= all_finite(workspace[lined : lined + count * n])
        target = (min(vector * n, s.targets - n) * s.sources + channels[0]) * s.kernel
        turn(workspace, lined, n, grad_weight, target, s.sources * s.kernel, (count, n))
    return finite


@compiled
def _weigh(job, jobs, given, results, plans, taps, workspace):
    """Compute the gradient of one job's sections of tiles, or panels where weights are many."""
    (images, flow), (grads, cells, flows, failed), (s, f) = given, results, plans
    wide, rows, own = VECTORS * lanes(flow), s.batch * s.tile_rows, share(job, jobs, s.sections if s.few else jobs)
    panels, parts = -(-s.targets // wide), max(1, s.sources // s.part)
    for section in range(own[0], own[1]):
        mine = (0, panels) if s.few else share(job, jobs, panels)
        first, last = share(section, s.sections, -(-rows // s.portion)) if s.few else (0, 1)
        for item in range(first, last):
            some = item * s.portion, min(rows, (item + 1) * s.portion)
            _transform_images(flow, f, (_FLOW, taps), some, (mine[0] * wide, mine[1] * wide),
                             flows[section], workspace)
            for c in range(parts):
                channels = c * s.part, (c + 1) * s.part if c < parts - 1 else s.sources
                _transform_images(images, s, (_CELLS, taps), some, channels, cells[section], workspace)
                sizes = s.points, channels[1] - channels[0], (some[1] - some[0]) * s.tile_columns
                for panel in range(mine[0], mine[1]):
                    place = s.out_place + (panel * s.points * s.out_apart if s.few else 0)
                    right = f.place + (panel - mine[0]) * wide, f.apart, f.step
                    _multiply_pieces(workspace, s, (s.place, 1, s.step), right, place, sizes, item > first)
                    grad = grads[section if s.few else 0]
                    if item == last - 1 and not _weights_back(s, (_GRADIENT, taps), panel, channels, place,
                                                             grad, workspace):
                        failed[job] = 1


_SINGLE = np.dtype(np.float32)
N = lanes_of(_SINGLE)
_WIDE = VECTORS * N


def suits(geometry, dtype):
    """Whether there is a vector of channels on each side, and more (chapter "Tiles in vectors")."""
    g, size, (down, across) = geometry, geometry.kernel_height, geometry.dilation
    padded = max(g.padding[0]) <= (size - 1) * down and max(g.padding[1]) <= (size - 1) * across  # not for zeros alone
    known = size == g.kernel_width and size in POINTS and min(g.in_channels, g.out_channels) >= N
    large = min(g.height, g.out_height) >= down and min(g.width, g.out_width) >= across
    return dtype == _SINGLE and g.stride == (1, 1) and g.groups == 1 and padded and known and large


def _up(count, unit):
    """The next multiple of a unit."""
    return -(-count // unit) * unit


def _layout(tiles, channels):
    """Numbers from tile to tile, with a gap, and from piece to piece: at other cache lines each."""
    step = _up(channels, _WIDE) + N
    return step, _up(tiles, ROWS) * step + N


def _plan(g, direction):
    """The plan of a layer; how pieces lie comes later."""
    taps, back = g.kernel_height, direction == "input_grad"
    steps, pieces, points = (taps**2, g.in_channels * taps**2), OUTPUTS + taps - 1, (OUTPUTS + taps - 1) ** 2
    if back:
        g, steps = turned(g), steps[::-1]
    channels, corner = (g.in_channels, g.out_channels), (g.padding[0][0], g.padding[1][0])
    tiles = [-(-places // OUTPUTS) for places in g[-2:]]
    few = points * channels[0] * _up(channels[1], _WIDE) <= FEW_PIECES
    rows, most = g.batch * tiles[0], TILES if few else MANY_PIECES // (points * channels[0])
    portion = -(-rows // -(-rows * tiles[1] // most))
    return _Plan(taps**2, pieces, points, pieces, g.batch, *channels, *g[2:4], *g[-2:], *corner,
                 *tiles, *steps, back, few, portion, part=channels[0])


_RECORD = np.dtype((np.record, [(name, np.int64) for name in _Plan._fields]))


def _with_scratch(s, half):
    """A plan whose scratch memory begins there, as a record, too; and where that ends."""
    lines = (min(s.portion, s.tile_rows) - 1) * OUTPUTS + s.span
    sizes = half + s.pieces * ((s.tile_columns - 1) * OUTPUTS + s.span) * N
    strip = sizes + _up(lines * s.width, N)
    s = s._replace(half=half, sizes=sizes, strip=strip)
    return s, np.array(tuple(s), _RECORD)[()], strip + lines * s.width * N


@lru_cache(maxsize=1024)
def _order(g, direction):
    """The plan of a layer with the places of its pieces; the same as a record; a job's room."""
    s, taps = _plan(g, direction), g.kernel_height
    if not s.few and s.sources > PART:
        s = s._replace(part=PART, parts=s.sources // PART)
    some, tiles = s.sources - (s.parts - 1) * s.part, s.portion * s.tile_columns
    (step, apart), (out_step, out_apart) = _layout(tiles, some), _layout(tiles, _WIDE)
    weights_place, weights_apart = s.points * s.parts * apart, some * _WIDE + N
    panels = -(-s.targets // _WIDE) if s.few else 1
    out_place = weights_place + s.points * panels * weights_apart
    half = out_place + s.points * out_apart
    s = s._replace(step=step, apart=apart, weights_place=weights_place, weights_apart=weights_apart,
                   out_place=out_place, out_step=out_step, out_apart=out_apart)
    s, record, end = _with_scratch(s, half)
    columns, lines = s.tile_columns * OUTPUTS, min(s.portion, s.tile_rows) * OUTPUTS
    back = ((s.pieces + 1) * columns + lines * s.out_width) * N
    weights = (s.kernel + 1 + s.pieces * taps) * N * N
    return s, record, max(end, half + back, half + weights)


@lru_cache(maxsize=1024)
def _weights_order(g, jobs):
    """The plans of images and flow, and both as records; the room that a job needs."""
    s, taps = _plan(g, "forward"), g.kernel_height
    rows = ranges.inner(s.height, s.out_height, taps, s.top)
    all_rows, panels = g.batch * s.tile_rows, -(-s.targets // _WIDE) if s.few else 1
    part, portion, targets = s.sources, -(-s.portion // 2), s.targets  # half: two factors have pieces
    if not s.few:
        part, portion, targets = PART // 2, all_rows, -(-s.targets // (_WIDE * jobs)) * _WIDE
    some = s.sources - (max(1, s.sources // part) - 1) * part
    (step, apart), flow = (_layout(portion * s.tile_columns, each) for each in (some, targets))
    out_place, out_apart = s.points * (apart + flow[1]), _up(some, ROWS) * _WIDE + N
    half = out_place + s.points * out_apart * panels
    s = s._replace(look=_BY_CHANNEL, upper=rows[0][0], lower=rows[0][1], portion=portion,
                   sections=min(SECTIONS, -(-all_rows // portion)) if s.few else 1, part=part, step=step, apart=apart,
                   out_place=out_place, out_step=_WIDE, out_apart=out_apart)
    f = s._replace(span=OUTPUTS, sources=s.targets, part=s.targets, height=s.out_height,
                   width=s.out_width, top=0, left=0, look=_BY_SUM, upper=rows[1][0],
                   lower=rows[1][1], place=s.points * apart, step=flow[0], apart=flow[1])
    plans, records, ends = zip(*(_with_scratch(each, half) for each in (s, f)), strict=True)
    back = (some * s.kernel + N * s.pieces * taps) * N
    return plans, records, max(*ends, half + back)


def _images_at_once(g):
    """All images where the weights are few; else so many that their pieces fit into memory."""
    s = _plan(g, "forward")
    size = s.points * s.tile_rows * s.tile_columns * (PART + s.targets)
    return g.batch if s.few else max(1, 4 * MANY_PIECES // size)


def _by_phases(direction, images, weight, bias, g, output, jobs):
    """Compute outputs from images, phase by phase of a dilation; return them, or None."""
    if g.dilation == (1, 1):
        return output if _compute(direction, images, weight, bias, g, output, jobs) else None
    for layer, *phases in phases_of(g):
        reads, writes = phases[::-1] if direction == "input_grad" else phases
        some = np.empty((layer.batch, *output[writes[0]].shape[1:]), _SINGLE)
        if not _compute(direction, gather(images, reads), weight, bias, layer, some, jobs):
            return None
        for phase, part in zip(writes, np.split(some, len(writes)), strict=True):
            output[phase] = part
    return output


def _compute(direction, images, weight, bias, g, output, jobs):
    """Compute outputs from images; tell whether that is finite and exact enough."""
    s, record, space = _order(g, direction)
    seen = np.zeros((jobs, 3), _SINGLE)  # the least and the largest size of a pixel; a failure
    seen[:, 0] = np.inf
    sizes = np.zeros(_up(s.targets, _WIDE) * s.kernel, _SINGLE)
    given, taps = (images.reshape(-1), weight.reshape(-1), bias), (0,) * g.kernel_height
    results = output.reshape(-1), seen, sizes
    parallel.run(_correlate, jobs, space, _SINGLE, given, results, record, taps)
    return not seen[:, 2].any() and ranges.is_near(s, images, seen, sizes.reshape(-1, *g[5:7], N), bias, output)


def forward(input, weight, bias, geometry, jobs):
    """Return the output, or None if it is not exact enough (chapter "Tiles in vectors")."""
    g = geometry
    output = parallel.aligned((g.batch, g.out_channels, g.out_height, g.out_width), _SINGLE)
    return _by_phases("forward", input, weight, bias, g, output, jobs)


def input_grad(weight, grad_output, geometry, jobs):
    """Return the learning flow, or None, as in `forward` (chapter "Tiles in vectors")."""
    grad_input = parallel.aligned(geometry[:4], _SINGLE)
    bias = np.zeros(geometry.in_channels, _SINGLE)
    return _by_phases("input_grad", grad_output, weight, bias, geometry, grad_input, jobs)


def weight_grad(input, grad_output, geometry, jobs):
    """Return the gradient of the weights, or None, as in `forward` (chapter "Tiles in vectors")."""
    total = None
    for layer, cells, places in phases_of(geometry):
        x, d = gather(input, cells), gather(grad_output, places)
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
    (s, f), records, space = _weights_order(g, jobs)
    kernel, rows = (s.targets, s.sources, *g[5:7]), s.sections if s.few else jobs
    grads, failed = np.empty((s.sections, math.prod(kernel)), _SINGLE), np.zeros(jobs, _SINGLE)
    seen = [np.zeros((rows, 2 * _up(each.sources, N) * each.width), _SINGLE) for each in (s, f)]
    given, results, taps = (input.reshape(-1), grad_output.reshape(-1)), (grads, *seen, failed), (0,) * g.kernel_height
    parallel.run(_weigh, jobs, space, _SINGLE, given, results, records, taps)
    times, inner = 1, ranges.inner(s.width, s.out_width, len(taps), s.left)
    for sizes, plan, each, fold in zip(seen, (s, f), inner, (np.maximum, np.add), strict=True):
        sizes = sizes.reshape(rows, 2, -1, plan.width, N)
        read = sizes[:, :1, :, slice(*each)]
        whole, read = (fold.reduce(fold.reduce(some, (0, 1)), 1, initial=0) for some in (sizes, read))
        times *= max(1, ranges.apart(whole, read))
    if failed.any() or not times <= ranges.RANGE:
        return None
    return (grads[0] if s.sections == 1 else np.add.reduce(grads)).reshape(kernel)
