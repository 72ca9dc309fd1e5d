# Exported from chapters/ by tools/export.py: edit the chapter, not this file.
"""Winograd's algorithm, F(4 x 4, 3 x 3) and F(4 x 4, 5 x 5), with channels as lanes.

Chapter 14 builds this module; Chapter 13 derives the algorithm and its matrices.
"""

import math
from fractions import Fraction
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from convlib import parallel
from convlib.kernels import simd
from convlib.kernels.blocks import (
    COLUMNS,
    add_products,
    add_to_all,
    add_zero_times,
    channels_to_lanes,
    lanes_to_channels,
    linear_map,
    load_block,
    load_many,
    store_block,
    store_many,
    zeros_like,
)
from convlib.kernels.planes import fill
from convlib.kernels.plans import divide_up, round_up
from convlib.kernels.shuffles import transpose
from convlib.kernels.simd import compiled, lanes, lanes_of, load, total
from convlib.kernels.transforms import winograd_matrices

__all__ = [
    "OUTPUTS",
    "HALF",
    "NEAR",
    "FAR",
    "POINTS",
    "TWO",
    "THREE",
    "FOUR",
    "FIVE",
    "SIX",
    "EIGHT",
    "Tiling",
    "TILES",
    "FEW_TILES",
    "MANY",
    "FEW",
    "transform_all_weights",
    "tiles_outside",
    "transform_all_images",
    "panels_outside",
    "SOURCES",
    "BLOCK",
    "sum_sections",
    "add_sections",
    "weights_outside",
    "TILES_AT_ONCE",
    "VECTORS_AT_ONCE",
    "FEW_PIECES",
    "SECTIONS",
    "suits",
    "forward",
    "input_grad",
    "weight_grad",
]


# Chapter "Tiles in vectors" (chapters/14_tiles.ipynb)

OUTPUTS = 4  # of a tile, on one axis
HALF, NEAR, FAR = Fraction(1, 2), Fraction(3, 4), Fraction(3, 2)
POINTS = {
    3: (0, NEAR, -NEAR, FAR, -FAR, math.inf),
    5: (0, HALF, -HALF, 1, -1, 2, -2, math.inf),
}


def _maps(taps):
    """The transforms for kernels of so many taps, and those for the gradient of the weights."""
    A, B, G = winograd_matrices(OUTPUTS, taps, POINTS[taps])
    grad_A, _, grad_G = winograd_matrices(taps, OUTPUTS, POINTS[taps])
    return [linear_map(matrix) for matrix in (B.T, G, A.T, grad_G, grad_A.T)]


_cells_3, _weights_3, _outputs_3, _flow_3, _grad_3 = _maps(3)
_cells_5, _weights_5, _outputs_5, _flow_5, _grad_5 = _maps(5)

TWO, THREE, FOUR, FIVE, SIX, EIGHT = ((0,) * length for length in (2, 3, 4, 5, 6, 8))


class Tiling(NamedTuple):
    """What the kernels need to know of a layer (Chapter 14)."""

    taps: int  # on one axis of a kernel
    pieces: int  # of a tile, on one axis
    all_pieces: int  # on both
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
    vectors: int  # of sources, the last one filled up with zeros
    panels: int  # of targets, COLUMNS vectors each


@compiled
def _to_pieces(taps, length, source, i, step, advance, target, j, target_step,
               target_advance, count):
    """Transform `count` lines of cells, of weights, or of flow (4) to 6 or 8 vectors each."""
    for _ in range(count):
        if taps == 3:
            if length == 6:
                pieces = _cells_3(load_many(source, i, step, SIX))
            elif length == 3:
                pieces = _weights_3(load_many(source, i, step, THREE))
            else:
                pieces = _flow_3(load_many(source, i, step, FOUR))
            store_many(target, j, target_step, pieces)
        else:
            if length == 8:
                more = _cells_5(load_many(source, i, step, EIGHT))
            elif length == 5:
                more = _weights_5(load_many(source, i, step, FIVE))
            else:
                more = _flow_5(load_many(source, i, step, FOUR))
            store_many(target, j, target_step, more)
        i += advance
        j += target_advance


@compiled
def _from_pieces(taps, length, source, i, step, advance, plus, target, j, target_step,
                 target_advance, count):
    """Transform back, and add a vector; return zero in all lanes if all is finite."""
    check = zeros_like(source, TWO)[0]
    for _ in range(count):
        if taps == 3:
            six = load_many(source, i, step, SIX)
            if length == 4:
                check = _finish(_outputs_3(six), plus, target, j, target_step, check)
            else:
                check = _finish(_grad_3(six), plus, target, j, target_step, check)
        else:
            eight = load_many(source, i, step, EIGHT)
            if length == 4:
                check = _finish(_outputs_5(eight), plus, target, j, target_step, check)
            else:
                check = _finish(_grad_5(eight), plus, target, j, target_step, check)
        i += advance
        j += target_advance
    return check


@compiled
def _finish(vectors, plus, target, j, target_step, check):
    """Add a vector to the results, store them, and see whether they are finite."""
    results = add_to_all(vectors, plus)
    store_many(target, j, target_step, results)
    return add_zero_times(check, results)


@compiled
def _transform_images(images, s, image, vector, first, last, span, V, v, v_step, scratch):
    """Write the pieces V[t][tile] of tile rows `first` to `last` of an image."""
    n, plane = lanes(images), s.height * s.width
    rows, line = (last - first - 1) * OUTPUTS + span, s.width * n
    width = (s.tile_columns - 1) * OUTPUTS + span
    strip, half = scratch[: rows * line], scratch[rows * line :]
    y = first * OUTPUTS - s.top
    begin, end = max(0, y), max(max(0, y), min(s.height, y + rows))
    fill(strip[: (begin - y) * line], 0)
    fill(strip[(end - y) * line :], 0)
    channel = image * s.sources + vector * n
    channels_to_lanes(
        images, channel * plane + begin * s.width, plane, min(n, s.sources - vector * n),
        (end - begin) * s.width, strip, (begin - y) * line,
    )  # fmt: skip
    used = min(s.width, width - s.left)
    for a in range(s.pieces):
        fill(half[a * width * n : (a * width + s.left) * n], 0)
        fill(half[(a * width + s.left + used) * n : (a + 1) * width * n], 0)
    for row in range(last - first):
        _to_pieces(s.taps, span, strip, row * OUTPUTS * line, line, n,
                   half, s.left * n, width * n, n, used)
        for a in range(s.pieces):
            _to_pieces(s.taps, span, half, a * width * n, n, OUTPUTS * n,
                    V, v + s.pieces * a * v_step, v_step, n, s.tile_columns)
        v += s.tile_columns * n


@compiled
def _line_up(weight, s, panel, first, last, lined, side_step):
    """Write lined[side][source][tap], a vector of targets each, for a panel."""
    n, kernel = lanes(weight), s.taps * s.taps
    begin, count = first * n, min(s.sources, last * n) - first * n
    for side in range(COLUMNS):
        k = (panel * COLUMNS + side) * n
        some = max(0, min(n, s.targets - k))
        place = k * s.target_step + begin * s.source_step
        if s.source_step == kernel:  # the sources of a target stand together
            channels_to_lanes(weight, place, s.target_step, some, count * kernel,
                               lined, side * side_step)
        else:
            for c in range(count):
                at, j = place + c * s.source_step, side * side_step + c * kernel * n
                inside = at + (n - 1) * s.target_step + n <= weight.size
                if some == n and kernel < n and inside:  # a square, with more than is needed
                    transpose(weight, at, s.target_step, lined, j, n)
                else:
                    channels_to_lanes(weight, at, s.target_step, some, kernel, lined, j)
        end = (side + 1) * side_step
        fill(lined[end - side_step + count * kernel * n : end], 0)


@compiled
def _transform_weights(weight, s, panel, first, last, U, u, u_step, scratch):
    """Write the pieces U[t][source] of a panel, for some vectors of sources."""
    n, kernel = lanes(weight), s.taps * s.taps
    side_step = ((last - first) * n * kernel + n) * n
    lined, half = scratch[: COLUMNS * side_step], scratch[COLUMNS * side_step :]
    _line_up(weight, s, panel, first, last, lined, side_step)
    tap, step = (kernel - 1, -1) if s.turned else (0, 1)
    line = s.taps * n
    for side in range(COLUMNS):
        for vector in range(last - first):
            at = side * side_step + vector * n * kernel * n
            for b in range(s.taps):
                _to_pieces(s.taps, s.taps, lined, at + (tap + b * step) * n, step * line, kernel * n,
                        half, b * n, line, s.pieces * line, n)
            place = u + (vector * n * COLUMNS + side) * n
            for a in range(s.pieces):
                _to_pieces(s.taps, s.taps, half, a * line, n, s.pieces * line,
                        U, place + s.pieces * a * u_step, u_step, COLUMNS * n, n)


TILES = 14 if simd.REGISTER_BYTES == 64 else 6  # in a block ...
FEW_TILES = 4 if simd.REGISTER_BYTES == 64 else 2  # ... and in one for the rest
MANY, FEW = (0,) * (TILES * COLUMNS), (0,) * (FEW_TILES * COLUMNS)


@compiled
def _sum_over_sources(block, V, v, v_step, U, u, vectors):
    """Add V[vector][tile][source] * U[source][target] to a block, over all sources."""
    n = lanes(V)
    for vector in range(vectors):
        for source in range(v + vector * v_step, v + vector * v_step + n):
            block = add_products(block, V, source, n, U, u, n)
            u += COLUMNS * n
    return block


@compiled
def _multiply(V, v, v_step, U, u, M, m, vectors, tiles, more):
    """Write (or, with `more`, add) to M[tile][target] the products of one piece."""
    n, tile = lanes(V), 0
    row = COLUMNS * n
    while tile + TILES <= tiles:
        place = m + tile * row
        block = load_block(M, place, row, MANY) if more else zeros_like(M, MANY)
        block = _sum_over_sources(block, V, v + tile * n, v_step, U, u, vectors)
        store_block(M, place, row, block)
        tile += TILES
    while tile < tiles:
        place = m + tile * row
        rest = load_block(M, place, row, FEW) if more else zeros_like(M, FEW)
        rest = _sum_over_sources(rest, V, v + tile * n, v_step, U, u, vectors)
        store_block(M, place, row, rest)
        tile += FEW_TILES


@compiled
def _transform_back(M, begin, m_step, s, panel, image, first, last, bias, output, scratch):
    """Write the outputs of some tile rows; return zero if all of them are finite."""
    n, plane = lanes(M), s.out_height * s.out_width
    wide, line = s.tile_columns * OUTPUTS * n, s.out_width * n
    rows = (last - first) * OUTPUTS
    strip, half = scratch[: rows * line], scratch[rows * line :]
    y = first * OUTPUTS
    inside, check = min(s.out_height, y + rows) - y, 0.0
    zero = zeros_like(M, TWO)[0]
    for side in range(COLUMNS):
        k = (panel * COLUMNS + side) * n
        if k >= s.targets:
            break
        plus = load(bias, k)
        for row in range(last - first):
            m = begin + (row * s.tile_columns * COLUMNS + side) * n
            for a in range(s.pieces):
                _from_pieces(s.taps, OUTPUTS, M, m + s.pieces * a * m_step, m_step, COLUMNS * n,
                             zero, half, a * wide, n, OUTPUTS * n, s.tile_columns)
            finite = _from_pieces(s.taps, OUTPUTS, half, 0, wide, n, plus,
                               strip, row * OUTPUTS * line, line, n, s.out_width)
            check += total(finite)
        lanes_to_channels(strip, 0, n, inside * s.out_width, min(n, s.targets - k), output,
                           (image * s.targets + k) * plane + y * s.out_width, plane)
    return check


@compiled
def transform_all_weights(job, jobs, weight, s, U, workspace):
    """Compute one job's share of U[t][panel][source] (Chapter 14)."""
    n = lanes(weight)
    vector_size = n * COLUMNS * n
    size = s.vectors * vector_size
    for item in range(job, s.panels * s.vectors, jobs):
        panel, vector = item // s.vectors, item % s.vectors
        _transform_weights(weight, s, panel, vector, vector + 1, U,
                           panel * size + vector * vector_size, s.panels * size, workspace)


@compiled
def tiles_outside(job, jobs, images, U, bias, output, checks, s, portion, workspace):
    """Compute one job's portions of tile rows, from the images to the output (Chapter 14)."""
    n = lanes(images)
    all_rows = images.size // (s.sources * s.height * s.width) * s.tile_rows
    room = (portion * s.tile_columns + FEW_TILES) * n
    v_step, m_step, size = s.vectors * room, s.panels * COLUMNS * room, s.vectors * COLUMNS * n * n
    V, rest = workspace[: s.all_pieces * v_step], workspace[s.all_pieces * v_step :]
    M, scratch, check = rest[: s.all_pieces * m_step], rest[s.all_pieces * m_step :], 0.0
    for begin in range(job * portion, all_rows, jobs * portion):
        end = min(all_rows, begin + portion)
        for vector in range(s.vectors):
            _portion_to_pieces(images, s, begin, end, vector, s.pieces,
                               V, vector * room, v_step, scratch)
        for t in range(s.all_pieces):
            for panel in range(s.panels):
                _multiply(V, t * v_step, room, U, (t * s.panels + panel) * size,
                          M, t * m_step + panel * COLUMNS * room,
                          s.vectors, (end - begin) * s.tile_columns, False)
        for panel in range(s.panels):
            check += _pieces_to_portion(M, panel * COLUMNS * room, m_step, s, panel, begin, end,
                                        bias, output, scratch)
    checks[job] = check


@compiled
def _portion_to_pieces(images, s, begin, end, vector, span, V, v, v_step, scratch):
    """Transform tile rows `begin` to `end`, counted through all images."""
    row = begin
    while row < end:
        image, first = row // s.tile_rows, row % s.tile_rows
        last = min(s.tile_rows, first + end - row)
        place = v + (row - begin) * s.tile_columns * lanes(images)
        _transform_images(images, s, image, vector, first, last, span, V, place, v_step, scratch)
        row += last - first


@compiled
def _pieces_to_portion(M, m, m_step, s, panel, begin, end, bias, output, scratch):
    """Transform the same rows back; return zero if all results are finite."""
    row, check = begin, 0.0
    while row < end:
        image, first = row // s.tile_rows, row % s.tile_rows
        last = min(s.tile_rows, first + end - row)
        place = m + (row - begin) * s.tile_columns * COLUMNS * lanes(M)
        check += _transform_back(M, place, m_step, s, panel, image, first, last, bias, output,
                                 scratch)
        row += last - first
    return check


@compiled
def transform_all_images(job, jobs, images, s, span, V, room, workspace):
    """Compute one job's share of V[t][vector][tile] (Chapter 14)."""
    n, batch = lanes(images), images.size // (s.sources * s.height * s.width)
    for item in range(job, batch * s.vectors, jobs):
        image, vector = item // s.vectors, item % s.vectors
        place = vector * room + image * s.tile_rows * s.tile_columns * n
        _transform_images(images, s, image, vector, 0, s.tile_rows, span,
                          V, place, s.vectors * room, workspace)


@compiled
def panels_outside(job, jobs, weight, V, bias, output, checks, s, room, portion, workspace):
    """Compute one job's panels of targets, from the weights to the output (Chapter 14)."""
    n = lanes(weight)
    rows = output.size // (s.targets * s.out_height * s.out_width) * s.tile_rows
    v_step, m_step, u_step = s.vectors * room, COLUMNS * room, portion * n * COLUMNS * n + n
    U, rest = workspace[: s.all_pieces * u_step], workspace[s.all_pieces * u_step :]
    M, scratch, check = rest[: s.all_pieces * m_step], rest[s.all_pieces * m_step :], 0.0
    for panel in range(job, s.panels, jobs):
        for first in range(0, s.vectors, portion):
            last = min(s.vectors, first + portion)
            _transform_weights(weight, s, panel, first, last, U, 0, u_step, scratch)
            for t in range(s.all_pieces):
                _multiply(V, t * v_step + first * room, room, U, t * u_step, M, t * m_step,
                          last - first, rows * s.tile_columns, first > 0)
        check += _pieces_to_portion(M, 0, m_step, s, panel, 0, rows, bias, output, scratch)
    checks[job] = check


SOURCES = lanes_of(np.float32) // 2  # in a block: half a vector of them
BLOCK = (0,) * (SOURCES * COLUMNS)


@compiled
def _multiply_tiles(V, v, D, d, d_step, M, m, tiles, more):
    """Write (or add) to M[source][target] the sum over tiles of V times D, for one piece."""
    n = lanes(V)
    row = COLUMNS * n
    for source in range(0, n, SOURCES):
        place = m + source * row
        block = load_block(M, place, row, BLOCK) if more else zeros_like(M, BLOCK)
        for tile in range(tiles):
            block = add_products(block, V, v + tile * n + source, 1, D, d + tile * n, d_step)
        store_block(M, place, row, block)


@compiled
def _weights_back(M, m, m_step, s, vector, panel, grad_weight, scratch):
    """Write the gradient for a vector of sources and a panel of targets; zero if finite."""
    n, kernel = lanes(M), s.taps * s.taps
    line, some = s.taps * n, min(n, s.sources - vector * n)
    half, lined = scratch[: s.pieces * line * n], scratch[s.pieces * line * n :]
    zero, check = zeros_like(M, TWO)[0], 0.0
    for side in range(COLUMNS):
        k = (panel * COLUMNS + side) * n
        if k >= s.targets:
            break
        for a in range(s.pieces):
            _from_pieces(s.taps, s.taps, M, m + side * n + s.pieces * a * m_step, m_step,
                         COLUMNS * n, zero, half, a * line, n, s.pieces * line, n)
        for b in range(s.taps):
            # lanes of missing sources hold nothing: they are left out
            finite = _from_pieces(s.taps, s.taps, half, b * n, line, s.pieces * line, zero,
                                  lined, b * n, line, kernel * n, some)
            check += total(finite)
        lanes_to_channels(lined, 0, n, some * kernel, min(n, s.targets - k), grad_weight,
                           (k * s.sources + vector * n) * kernel, s.sources * kernel)
    return check


@compiled
def sum_sections(job, jobs, images, flow, sums, s, f, portion, workspace):
    """Compute one job's sections: sums[section][t][vector][panel] (Chapter 14)."""
    n = lanes(images)
    all_rows = images.size // (s.sources * s.height * s.width) * s.tile_rows
    portions, sections = (all_rows + portion - 1) // portion, sums.shape[0]
    room, block = portion * s.tile_columns * n, n * COLUMNS * n
    v_step, d_step = s.vectors * room, f.vectors * room
    V, rest = workspace[: s.all_pieces * v_step], workspace[s.all_pieces * v_step :]
    D, scratch = rest[: s.all_pieces * d_step], rest[s.all_pieces * d_step :]
    for section in range(job, sections, jobs):
        first = portions * section // sections
        for item in range(first, portions * (section + 1) // sections):
            begin, end = item * portion, min(all_rows, (item + 1) * portion)
            for vector in range(s.vectors):
                _portion_to_pieces(images, s, begin, end, vector, s.pieces,
                                   V, vector * room, v_step, scratch)
            for vector in range(f.vectors):
                _portion_to_pieces(flow, f, begin, end, vector, OUTPUTS,
                                   D, vector * room, d_step, scratch)
            tiles, m = (end - begin) * s.tile_columns, 0
            for t in range(s.all_pieces):
                for vector in range(s.vectors):
                    for panel in range(s.panels):
                        _multiply_tiles(V, t * v_step + vector * room,
                                        D, t * d_step + panel * COLUMNS * room, room,
                                        sums[section], m, tiles, item > first)
                        m += block


@compiled
def add_sections(job, jobs, sums, s, grad_weight, checks, workspace):
    """Add up one job's share of the sections and transform it back (Chapter 14)."""
    n, check = lanes(grad_weight), 0.0
    block = n * COLUMNS * n
    m_step = s.vectors * s.panels * block
    for item in range(job, s.vectors * s.panels, jobs):
        for t in range(s.all_pieces):
            m = t * m_step + item * block
            for section in range(1, sums.shape[0]):
                for q in range(m, m + block):
                    sums[0, q] += sums[section, q]
        check += _weights_back(sums[0], item * block, m_step, s, item // s.panels,
                               item % s.panels, grad_weight, workspace)
    checks[job] = check


@compiled
def weights_outside(job, jobs, flow, V, grad_weight, checks, s, f, room, portion, workspace):
    """Compute one job's panels of targets, for layers with many weights (Chapter 14)."""
    block = lanes(flow) * COLUMNS * lanes(flow)
    rows = flow.size // (f.sources * f.height * f.width) * s.tile_rows
    v_step, d_step, m_step = s.vectors * room, COLUMNS * room, portion * block
    D, rest = workspace[: s.all_pieces * d_step], workspace[s.all_pieces * d_step :]
    M, scratch, check = rest[: s.all_pieces * m_step], rest[s.all_pieces * m_step :], 0.0
    for panel in range(job, s.panels, jobs):
        for side in range(COLUMNS):
            _portion_to_pieces(flow, f, 0, rows, panel * COLUMNS + side, OUTPUTS,
                               D, side * room, d_step, scratch)
        for first in range(0, s.vectors, portion):
            last = min(s.vectors, first + portion)
            for t in range(s.all_pieces):
                for vector in range(first, last):
                    _multiply_tiles(V, t * v_step + vector * room, D, t * d_step, room,
                                    M, t * m_step + (vector - first) * block,
                                    rows * s.tile_columns, False)
            for vector in range(first, last):
                check += _weights_back(M, (vector - first) * block, m_step, s, vector, panel,
                                       grad_weight, scratch)
    checks[job] = check


TILES_AT_ONCE = 56  # in a portion: their pieces stay in the cache
VECTORS_AT_ONCE = 4  # of sources, likewise
FEW_PIECES = 800_000  # of weights: these stay in the cache, too
SECTIONS = 4  # of the tiles, at most


def suits(geometry, dtype):
    """Return whether Winograd's algorithm can compute a layer: float32, 3 x 3 or 5 x 5.

    Notes
    -----
    Source: Chapter 14.
    """
    g = geometry
    size = g.kernel_height
    plain = g.stride == g.dilation == (1, 1) and g.groups == 1
    # more padding than this gives results that see nothing but zeros
    return (
        dtype == np.float32 and plain and size == g.kernel_width and size in (3, 5)
        and max(g.padding[0] + g.padding[1]) < size
    )  # fmt: skip


def _tiling(taps, channels, size, out_size, corner, steps, turned):
    """The tiling of a layer from (sources, targets), heights, widths and the corner's zeros."""
    n = lanes_of(np.float32)
    tiles = divide_up(out_size[0], OUTPUTS), divide_up(out_size[1], OUTPUTS)
    vectors, panels = divide_up(channels[0], n), divide_up(channels[1], COLUMNS * n)
    pieces = OUTPUTS + taps - 1
    return Tiling(taps, pieces, pieces**2, *channels, *size, *out_size, *corner, *tiles,
                  *steps, turned, vectors, panels)


@lru_cache(maxsize=1024)
def _forward_tiling(g):
    """The images are read, the outputs written."""
    kernel = g.kernel_height**2
    steps, corner = (kernel, g.in_channels * kernel), (g.padding[0][0], g.padding[1][0])
    return _tiling(g.kernel_height, (g.in_channels, g.out_channels), (g.height, g.width),
                   (g.out_height, g.out_width), corner, steps, False)


@lru_cache(maxsize=1024)
def _backward_tiling(g):
    """The learning flow is read, and the flow at the input written."""
    kernel = g.kernel_height**2
    steps = (g.in_channels * kernel, kernel)
    corner = g.kernel_height - 1 - g.padding[0][0], g.kernel_height - 1 - g.padding[1][0]
    return _tiling(g.kernel_height, (g.out_channels, g.in_channels),
                   (g.out_height, g.out_width), (g.height, g.width), corner, steps, True)


@lru_cache(maxsize=1024)
def _flow_tiling(g):
    """The tiles of the learning flow, side by side, as many panels as the weights have."""
    s = _forward_tiling(g)
    size = g.out_height, g.out_width
    f = _tiling(s.taps, (s.targets, s.targets), size, size, (0, 0), (0, 0), False)
    return f._replace(vectors=s.panels * COLUMNS)


def _scratch(s, rows):
    """The room that transforming so many tile rows takes."""
    n, span = lanes_of(np.float32), s.pieces
    wide = s.tile_columns * OUTPUTS + span
    there = (rows * OUTPUTS + span) * s.width + s.pieces * wide
    back = rows * OUTPUTS * s.out_width + s.pieces * wide
    return max(there, back) * n


def _weights_scratch(s, vectors):
    """The room that transforming the weights of so many vectors of sources takes."""
    n = lanes_of(np.float32)
    return (COLUMNS * (vectors * n * s.taps**2 + n) + n * s.pieces * s.taps) * n


def _portion(s, rows, shares):
    """Tile rows at once: about TILES_AT_ONCE tiles, and as many portions for each share."""
    portions = round_up(divide_up(rows * s.tile_columns, TILES_AT_ONCE), shares)
    return divide_up(rows, portions)


def _correlate(images, weight, bias, s, output, jobs):
    """Compute outputs from images in the order that pays; return whether all is finite."""
    n, dtype = lanes_of(np.float32), np.dtype(np.float32)
    batch = len(images)
    padded = np.zeros(s.panels * COLUMNS * n, dtype)
    padded[: s.targets] = bias
    images, weight, output = images.reshape(-1), weight.reshape(-1), output.reshape(-1)
    tiles = batch * s.tile_rows * s.tile_columns
    pieces, checks = s.all_pieces * s.panels * COLUMNS * n * s.vectors * n, np.empty(jobs, dtype)
    if pieces <= max(FEW_PIECES, s.all_pieces * tiles * s.vectors * n):
        portion = _portion(s, batch * s.tile_rows, jobs)
        U = parallel.kept("pieces", pieces, dtype)
        space = _weights_scratch(s, 1)
        parallel.run(transform_all_weights, jobs, space, dtype, weight, s, U)
        room = portion * s.tile_columns + FEW_TILES
        space = s.all_pieces * room * n * (s.vectors + COLUMNS * s.panels) + _scratch(s, portion)
        parallel.run(tiles_outside, jobs, space, dtype,
                     images, U, padded, output, checks, s, portion)
    else:
        room = (tiles + FEW_TILES) * n
        V = parallel.kept("pieces", s.all_pieces * s.vectors * room, dtype)
        space = _scratch(s, s.tile_rows)
        parallel.run(transform_all_images, jobs, space, dtype, images, s, s.pieces, V, room)
        portion = min(s.vectors, VECTORS_AT_ONCE)
        u_step = (portion * n * COLUMNS + 1) * n
        space = s.all_pieces * (u_step + COLUMNS * room) + space + _weights_scratch(s, portion)
        parallel.run(panels_outside, jobs, space, dtype,
                     weight, V, padded, output, checks, s, room, portion)
    return not checks.any()


def forward(input, weight, bias, geometry, jobs):
    """Compute the output of a layer by Winograd's algorithm.

    Parameters
    ----------
    input, weight, bias : float32 arrays in one piece, (N, C, H, W), (K, C, r, r) and (K,)
    geometry : convlib.shapes.Geometry
        A layer that `suits`.
    jobs : int
        How many threads share the work; the result does not depend on it.

    Returns
    -------
    array of shape (N, K, H', W'), or None if something in it is not finite

    Notes
    -----
    Source: Chapter 14; Chapter 13 derives the algorithm.
    """
    g = geometry
    output = parallel.aligned((g.batch, g.out_channels, g.out_height, g.out_width), np.float32)
    finite = _correlate(input, weight, bias, _forward_tiling(g), output, jobs)
    return output if finite else None


def input_grad(weight, grad_output, geometry, jobs):
    """Compute the learning flow at the input by Winograd's algorithm.

    Parameters
    ----------
    weight, grad_output : float32 arrays in one piece, (K, C, r, r) and (N, K, H', W')
    geometry, jobs
        As in `forward`.

    Returns
    -------
    array of shape (N, C, H, W), or None if something in it is not finite

    Notes
    -----
    Source: Chapter 14; Chapter 13 derives the algorithm.
    """
    g = geometry
    grad_input = parallel.aligned((g.batch, g.in_channels, g.height, g.width), np.float32)
    finite = _correlate(grad_output, weight, 0, _backward_tiling(g), grad_input, jobs)
    return grad_input if finite else None


def weight_grad(input, grad_output, geometry, jobs):
    """Compute the gradient of the weights by Winograd's algorithm.

    Parameters
    ----------
    input, grad_output : float32 arrays in one piece, (N, C, H, W) and (N, K, H', W')
    geometry, jobs
        As in `forward`.

    Returns
    -------
    array of shape (K, C, r, r), or None if something in it is not finite

    Notes
    -----
    Source: Chapter 14; Chapter 13 derives the algorithm.
    """
    g, dtype = geometry, np.dtype(np.float32)
    s, f = _forward_tiling(g), _flow_tiling(g)
    grad_weight = np.empty((g.out_channels, g.in_channels, s.taps, s.taps), dtype)
    checks = np.empty(jobs, dtype)
    arrays = input.reshape(-1), grad_output.reshape(-1), grad_weight.reshape(-1)
    if s.all_pieces * s.vectors * s.panels * COLUMNS * lanes_of(dtype) ** 2 <= FEW_PIECES:
        _in_sections(*arrays, s, f, g.batch * s.tile_rows, checks)
    else:
        _in_panels(*arrays, s, f, g.batch * s.tile_rows, checks)
    return None if checks.any() else grad_weight


def _in_sections(images, flow, grad_weight, s, f, rows, checks):
    """Few weights: the tiles pass by, in sections."""
    n, dtype, jobs = lanes_of(np.float32), grad_weight.dtype, len(checks)
    size = s.all_pieces * s.vectors * s.panels * COLUMNS * n * n
    portion = _portion(s, rows, SECTIONS)
    sections = max(1, min(SECTIONS, divide_up(rows, portion), FEW_PIECES * 3 // 2 // size))
    sums = parallel.kept("pieces", sections * size, dtype)[: sections * size]
    sums = sums.reshape(sections, size)
    room = portion * s.tile_columns * n
    space = s.all_pieces * room * (s.vectors + f.vectors) + max(_scratch(s, portion), _scratch(f, portion))
    parallel.run(sum_sections, jobs, space, dtype, images, flow, sums, s, f, portion)
    space = _weights_scratch(s, 1)
    parallel.run(add_sections, jobs, space, dtype, sums, s, grad_weight, checks)


def _in_panels(images, flow, grad_weight, s, f, rows, checks):
    """Many weights: a panel of targets after the other."""
    n, dtype, jobs = lanes_of(np.float32), grad_weight.dtype, len(checks)
    room = rows * s.tile_columns * n
    V = parallel.kept("pieces", s.all_pieces * s.vectors * room, dtype)
    space = max(_scratch(s, s.tile_rows), _scratch(f, s.tile_rows))
    parallel.run(transform_all_images, jobs, space, dtype, images, s, s.pieces, V, room)
    portion = min(s.vectors, VECTORS_AT_ONCE)
    space += s.all_pieces * COLUMNS * (room + portion * n * n) + _weights_scratch(s, 1)
    parallel.run(weights_outside, jobs, space, dtype,
                 flow, V, grad_weight, checks, s, f, room, portion)
