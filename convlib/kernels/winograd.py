# Exported from chapters/ by tools/export.py: edit the chapter, not this file.
"""Winograd's algorithm, F(4 x 4, 3 x 3) and F(4 x 4, 5 x 5), with channels as lanes.

Chapter "Tiles in vectors" builds this module; chapter "Fewer multiplications" derives the algorithm
and its matrices.

The error at a result is bounded by its tile: by (n + 16) e T W for 3 x 3 and by 4 (n + 32) e T W
for 5 x 5 (measured against float64, on hostile numbers, too). e is 2**-24; n counts the
channels, or for the gradient of the weights the tiles; T is the largest size in the tile, or
for the gradient in the channel's images; W is the sum of the sizes of the other factor. Where
T W is more than `ranges.RANGE` times the largest number that a result reads, times the sum of
the sizes of what it is multiplied with, the functions return None: the error stays below
RANGE times that bound in terms of what a result reads. Sizes below 2**-126 count as that.
"""

import math
from fractions import Fraction
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from convlib import parallel
from convlib.kernels import ranges, simd
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
from convlib.kernels.reads import TOGETHER, look_at_kernels, look_at_planes, look_at_tiles, room_to_look
from convlib.kernels.shuffles import fetch_early, transpose
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
    "SUMS",
    "SINGLE",
    "NOTHING",
    "SECTIONS",
    "suits",
    "Order",
    "forward",
    "input_grad",
    "weight_grad",
]


# Chapter "Tiles in vectors" (chapters/tiles.ipynb)

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
    """What the kernels need to know of a layer (chapter "Tiles in vectors")."""

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
def _sum_over_sources(block, V, v, v_step, U, u, vectors, ahead):
    """Add V[vector][tile][source] * U[source][target] to a block, over all sources."""
    n = lanes(V)
    for vector in range(vectors):
        place = v + vector * v_step
        for source in range(n):
            if ahead is not None:
                fetch_early(V, place + source * n + ahead)
            block = add_products(block, V, place + source, n, U, u, n)
            u += COLUMNS * n
    return block


@compiled
def _multiply(V, v, v_step, U, u, M, m, vectors, tiles, more, ahead):
    """Write (or, with `more`, add) to M[tile][target] the products of one piece."""
    n, tile = lanes(V), 0
    row = COLUMNS * n
    while tile + TILES <= tiles:
        place = m + tile * row
        block = load_block(M, place, row, MANY) if more else zeros_like(M, MANY)
        block = _sum_over_sources(block, V, v + tile * n, v_step, U, u, vectors, ahead)
        store_block(M, place, row, block)
        tile += TILES
    while tile < tiles:
        place = m + tile * row
        rest = load_block(M, place, row, FEW) if more else zeros_like(M, FEW)
        rest = _sum_over_sources(rest, V, v + tile * n, v_step, U, u, vectors, ahead)
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
    """Compute one job's share of U[panel][t][source] (chapter "Tiles in vectors")."""
    n = lanes(weight)
    vector_size = n * COLUMNS * n
    u_step = s.vectors * vector_size + n
    for item in range(job, s.panels * s.vectors, jobs):
        panel, vector = item // s.vectors, item % s.vectors
        place = panel * s.all_pieces * u_step + vector * vector_size
        _transform_weights(weight, s, panel, vector, vector + 1, U, place, u_step, workspace)


@compiled
def _bias_of_all(bias, target):
    """Write the biases, and zeros behind them up to the last panel's end."""
    fill(target, 0)
    for k in range(bias.size):
        target[k] = bias[k]


@compiled
def tiles_outside(job, jobs, weight, images, U, bias, output, checks, s, portion, workspace):
    """Compute one job's share of the tile rows, from the images to the output.

    Source: chapter "Tiles in vectors".
    """
    n, tiles, width = lanes(images), portion * s.tile_columns, s.panels * COLUMNS * lanes(images)
    room, u_step = (tiles + FEW_TILES) * n, s.vectors * COLUMNS * n * n + n
    plus, rest = workspace[:width], workspace[width:]
    _bias_of_all(bias, plus)
    if U.size == 0:
        U, rest = rest[: s.all_pieces * s.panels * u_step], rest[s.all_pieces * s.panels * u_step :]
        transform_all_weights(0, 1, weight, s, U, rest)
    v_step, m_step, check = s.vectors * room + n, s.panels * COLUMNS * room + n, 0.0
    V, rest = rest[: s.all_pieces * v_step], rest[s.all_pieces * v_step :]
    M, scratch = rest[: s.all_pieces * m_step], rest[s.all_pieces * m_step :]
    rows = images.size // (s.sources * s.height * s.width) * s.tile_rows
    first, last = rows * job // jobs, rows * (job + 1) // jobs
    for begin in range(first, last, portion):
        end = min(last, begin + portion)
        tiles = (end - begin) * s.tile_columns
        for vector in range(s.vectors):
            _portion_to_pieces(images, s, begin, end, vector, s.pieces,
                               V, vector * room, v_step, scratch)
        for t in range(s.all_pieces):
            for panel in range(s.panels):
                _multiply(V, t * v_step, room, U, (panel * s.all_pieces + t) * u_step,
                          M, t * m_step + panel * COLUMNS * room, s.vectors, tiles, False, None)
        for panel in range(s.panels):
            check += _pieces_to_portion(M, panel * COLUMNS * room, m_step, s, panel, begin, end,
                                        plus, output, scratch)
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
    """Compute one job's share of V[t][vector][tile] (chapter "Tiles in vectors")."""
    n, batch = lanes(images), images.size // (s.sources * s.height * s.width)
    for item in range(job, batch * s.vectors, jobs):
        image, vector = item // s.vectors, item % s.vectors
        place = vector * room + image * s.tile_rows * s.tile_columns * n
        _transform_images(images, s, image, vector, 0, s.tile_rows, span,
                          V, place, s.vectors * room + n, workspace)


@compiled
def panels_outside(job, jobs, weight, images, V, bias, output, checks, s, room, portion,
                   workspace):
    """Compute one job's panels of targets, from the weights to the output.

    Source: chapter "Tiles in vectors".
    """
    n, width = lanes(weight), s.panels * COLUMNS * lanes(weight)
    v_step, m_step = s.vectors * room + n, COLUMNS * room + n
    u_step = portion * n * COLUMNS * n + n
    plus, rest = workspace[:width], workspace[width:]
    _bias_of_all(bias, plus)
    if V.size == 0:
        V, rest = rest[: s.all_pieces * v_step], rest[s.all_pieces * v_step :]
        transform_all_images(0, 1, images, s, s.pieces, V, room, rest)
    U, rest = rest[: s.all_pieces * u_step], rest[s.all_pieces * u_step :]
    M, scratch, check = rest[: s.all_pieces * m_step], rest[s.all_pieces * m_step :], 0.0
    rows = output.size // (s.targets * s.out_height * s.out_width) * s.tile_rows
    for panel in range(job, s.panels, jobs):
        for first in range(0, s.vectors, portion):
            last = min(s.vectors, first + portion)
            _transform_weights(weight, s, panel, first, last, U, 0, u_step, scratch)
            for t in range(s.all_pieces):
                _multiply(V, t * v_step + first * room, room, U, t * u_step, M, t * m_step,
                          last - first, rows * s.tile_columns, first > 0, v_step)
        check += _pieces_to_portion(M, 0, m_step, s, panel, 0, rows, plus, output, scratch)
    checks[job] = check


SOURCES = lanes_of(np.float32) // 2  # in a block: half a vector of them
BLOCK = (0,) * (SOURCES * COLUMNS)


@compiled
def _multiply_tiles(V, v, D, d, d_step, M, m, tiles, more, ahead):
    """Write (or add) to M[source][target] the sum over tiles of V times D, for one piece."""
    n = lanes(V)
    row = COLUMNS * n
    for source in range(0, n, SOURCES):
        place = m + source * row
        block = load_block(M, place, row, BLOCK) if more else zeros_like(M, BLOCK)
        for tile in range(tiles):
            if ahead is not None:
                fetch_early(V, v + tile * n + ahead)
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
    """Compute one job's sections: sums[section][vector][panel][t] (chapter "Tiles in vectors")."""
    n = lanes(images)
    all_rows = images.size // (s.sources * s.height * s.width) * s.tile_rows
    portions, sections = (all_rows + portion - 1) // portion, sums.shape[0]
    room, block = portion * s.tile_columns * n, n * COLUMNS * n + n
    v_step, d_step = s.vectors * room + n, f.vectors * room + n
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
            tiles = (end - begin) * s.tile_columns
            for t in range(s.all_pieces):
                for vector in range(s.vectors):
                    for panel in range(s.panels):
                        m = ((vector * s.panels + panel) * s.all_pieces + t) * block
                        _multiply_tiles(V, t * v_step + vector * room,
                                        D, t * d_step + panel * COLUMNS * room, room,
                                        sums[section], m, tiles, item > first, None)


@compiled
def add_sections(job, jobs, sums, s, grad_weight, checks, workspace):
    """Add up one job's share of the sections and transform it back (chapter "Tiles in vectors")."""
    n, check = lanes(grad_weight), 0.0
    block = n * COLUMNS * n + n
    for item in range(job, s.vectors * s.panels, jobs):
        place = item * s.all_pieces * block
        for section in range(1, sums.shape[0]):
            for m in range(place, place + s.all_pieces * block, block):
                whole, part = sums[0, m : m + block - n], sums[section, m : m + block - n]
                for q in range(block - n):  # in the gaps stands anything
                    whole[q] += part[q]
        check += _weights_back(sums[0], place, block, s, item // s.panels, item % s.panels,
                               grad_weight, workspace)
    checks[job] = check


@compiled
def weights_outside(job, jobs, images, flow, V, grad_weight, checks, s, f, room, portion,
                    workspace):
    """Compute one job's panels, for layers with many weights (chapter "Tiles in vectors")."""
    n, rest = lanes(flow), workspace
    block = n * COLUMNS * n
    rows = flow.size // (f.sources * f.height * f.width) * s.tile_rows
    v_step, d_step, m_step = s.vectors * room + n, COLUMNS * room + n, portion * block + n
    if V.size == 0:
        V, rest = rest[: s.all_pieces * v_step], rest[s.all_pieces * v_step :]
        transform_all_images(0, 1, images, s, s.pieces, V, room, rest)
    D, rest = rest[: s.all_pieces * d_step], rest[s.all_pieces * d_step :]
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
                                    rows * s.tile_columns, False, v_step)
            for vector in range(first, last):
                check += _weights_back(M, (vector - first) * block, m_step, s, vector, panel,
                                       grad_weight, scratch)
    checks[job] = check


TILES_AT_ONCE = 56  # in a portion: their pieces stay in the cache
VECTORS_AT_ONCE = 4  # of sources, likewise
FEW_PIECES = 800_000  # of weights: these stay in the cache, too
SUMS = 1_300_000  # of the pieces of all sections together
SINGLE = np.dtype(np.float32)
NOTHING = np.empty(0, SINGLE)
SECTIONS = 4  # of the tiles, at most


def suits(geometry, dtype):
    """Return whether Winograd's algorithm can compute a layer: float32, 3 x 3 or 5 x 5.

    Notes
    -----
    Source: chapter "Tiles in vectors".
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


class Order(NamedTuple):
    """In which order a layer is computed, and in how much memory (chapter "Tiles in vectors")."""

    tiling: Tiling
    panels_outside: bool
    pieces: int  # shared by the jobs, or 0: each one makes its own
    making: int  # numbers in the workspace, to make shared pieces, ...
    space: int  # ... and to use them
    room: int  # numbers of a vector of sources for all tiles
    portion: int  # of tile rows, or of vectors of sources
    sections: int = 1  # of the tiles, for the gradient of the weights


@lru_cache(maxsize=1024)
def _order(g, backward):
    """The order that pays: what is small is made once."""
    s, n = _backward_tiling(g) if backward else _forward_tiling(g), lanes_of(SINGLE)
    tiles, width = g.batch * s.tile_rows * s.tile_columns, s.panels * COLUMNS * n
    room, u_step = (tiles + FEW_TILES) * n, s.vectors * n * COLUMNS * n + n
    U, V = s.all_pieces * s.panels * u_step, s.all_pieces * (s.vectors * room + n)
    if U <= max(FEW_PIECES, V):
        portion, making = _portion(s, g.batch * s.tile_rows, 1), _weights_scratch(s, 1)
        own, tiles = U <= FEW_PIECES, portion * s.tile_columns + FEW_TILES
        space = s.all_pieces * (tiles * (s.vectors * n + width) + 2 * n) + _scratch(s, portion)
        space = width + U * own + max(making, space)
        return Order(s, False, 0 if own else U, making, space, room, portion)
    portion, making = min(s.vectors, VECTORS_AT_ONCE), _scratch(s, s.tile_rows)
    own, u_step = V <= s.sources * s.targets * s.taps**2, portion * n * COLUMNS * n + n
    space = s.all_pieces * (u_step + COLUMNS * room + n) + making + _weights_scratch(s, portion)
    return Order(s, True, 0 if own else V, making, width + V * own + space, room, portion)


def _correlate_near(weight, images, bias, order, output, jobs):
    """Compute outputs from images in the order that pays; return whether all is finite."""
    s, pieces, checks = order.tiling, NOTHING, np.empty(jobs, SINGLE)
    if order.pieces:
        pieces = parallel.borrow("pieces", order.pieces, SINGLE)
    given = weight, images, pieces, bias, output, checks, s
    if order.panels_outside:
        if order.pieces:
            parallel.run(transform_all_images, jobs, order.making, SINGLE,
                         images, s, s.pieces, pieces, order.room)  # fmt: skip
        parallel.run(panels_outside, jobs, order.space, SINGLE, *given, order.room, order.portion)
    else:
        if order.pieces:
            parallel.run(transform_all_weights, jobs, order.making, SINGLE, weight, s, pieces)
        parallel.run(tiles_outside, jobs, order.space, SINGLE, *given, order.portion)
    if order.pieces:
        parallel.give_back("pieces", pieces)
    return np.count_nonzero(checks) == 0


def _is_near(direction, weight, images, s, geometry, reads, jobs):
    """Whether all results read about what their tiles hold; and whether some read only zeros."""
    rows, columns = ranges.enough_read(direction, geometry, 0)
    tiles, kernels = np.empty((2, jobs), SINGLE), np.ones(jobs, SINGLE)
    parallel.run(look_at_tiles, jobs, room_to_look(s), SINGLE, images, s, reads, tiles)
    if rows.least * columns.least < s.taps**2:
        room = max(TOGETHER, s.targets) * s.taps**2
        parallel.run(look_at_kernels, jobs, room, SINGLE, weight, s, rows.sets, columns.sets,
                     kernels)
    apart = float(tiles[0].max()) * float(kernels.max())
    return apart <= ranges.RANGE, tiles[1].any()


def _inner(size, places, taps, zeros):
    """The cells that every tap reads, and the places that every tap reads, on one axis."""
    first = min(size, max(0, taps - 1 - zeros[0]))
    cells = first, max(first, min(size, places - zeros[0]))
    return cells, (min(places, zeros[0]), max(min(places, zeros[0]), places - zeros[1]))


def _planes_are_near(input, grad_output, geometry, jobs):
    """Whether every tap reads about as much of each channel as there is."""
    g, apart = geometry, 1
    rows = _inner(g.height, g.out_height, g.kernel_height, g.padding[0])
    columns = _inner(g.width, g.out_width, g.kernel_width, g.padding[1])
    for k, array in enumerate((input, grad_output)):
        found = np.empty(jobs, SINGLE)
        room = array[0, 0].size + 2 * array.shape[3]
        parallel.run(look_at_planes, jobs, room, SINGLE, array.reshape(-1), array.shape,
                     (*rows[k], *columns[k]), k == 1, found)
        apart *= max(1, float(found.max()))
    return apart <= ranges.RANGE


def _correlate(direction, images, weight, bias, geometry, output, jobs):
    """Compute outputs from images, if that is exact enough; return whether it is, and finite."""
    order = _order(geometry, direction == "input_grad")
    flat = weight.reshape(-1), images.reshape(-1)
    reads = np.empty(output[:, 0].size, SINGLE)
    near, silent = _is_near(direction, *flat, order.tiling, geometry, reads, jobs)
    finite = near and _correlate_near(*flat, bias, order, output.reshape(-1), jobs)
    if finite and silent:
        zeros = reads.reshape(len(output), 1, *output.shape[2:]) == 0
        told = bias[:, np.newaxis, np.newaxis] if bias.size else SINGLE.type(0)
        np.copyto(output, told, where=zeros)
    return finite


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
    array of shape (N, K, H', W'), or None if something in it is not finite or not exact enough

    Notes
    -----
    Source: chapter "Tiles in vectors"; chapter "Fewer multiplications" derives the algorithm.
    """
    g = geometry
    output = parallel.aligned((g.batch, g.out_channels, g.out_height, g.out_width), SINGLE)
    finite = _correlate("forward", input, weight, bias, g, output, jobs)
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
    array of shape (N, C, H, W), or None if something in it is not finite or not exact enough

    Notes
    -----
    Source: chapter "Tiles in vectors"; chapter "Fewer multiplications" derives the algorithm.
    """
    g = geometry
    grad_input = parallel.aligned((g.batch, g.in_channels, g.height, g.width), SINGLE)
    finite = _correlate("input_grad", grad_output, weight, NOTHING, g, grad_input, jobs)
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
    array of shape (K, C, r, r), or None if something in it is not finite or not exact enough

    Notes
    -----
    Source: chapter "Tiles in vectors"; chapter "Fewer multiplications" derives the algorithm.
    """
    if not _planes_are_near(input, grad_output, geometry, jobs):
        return None
    order, s = _weights_order(geometry), _forward_tiling(geometry)
    grad_weight = np.empty((s.targets, s.sources, s.taps, s.taps), SINGLE)
    arrays, checks = (input.reshape(-1), grad_output.reshape(-1)), np.empty(jobs, SINGLE)
    compute = _in_panels if order.panels_outside else _in_sections
    compute(*arrays, grad_weight.reshape(-1), s, _flow_tiling(geometry), order, checks)
    return grad_weight if np.count_nonzero(checks) == 0 else None


@lru_cache(maxsize=1024)
def _weights_order(g):
    """The same for the gradient of the weights; shared pieces are sums, or those of all images."""
    s, f, n = _forward_tiling(g), _flow_tiling(g), lanes_of(SINGLE)
    rows, size = g.batch * s.tile_rows, s.all_pieces * s.vectors * s.panels * (COLUMNS * n * n + n)
    if size <= FEW_PIECES:
        portion = _portion(s, rows, SECTIONS)
        sections = max(1, min(SECTIONS, divide_up(rows, portion), SUMS // size))
        room = portion * s.tile_columns * n
        space = s.all_pieces * (room * (s.vectors + f.vectors) + 2 * n)
        space += max(_scratch(s, portion), _scratch(f, portion))
        return Order(s, False, sections * size, _weights_scratch(s, 1), space, room, portion,
                     sections)
    portion, room = min(s.vectors, VECTORS_AT_ONCE), rows * s.tile_columns * n
    making = max(_scratch(s, s.tile_rows), _scratch(f, s.tile_rows))
    V = s.all_pieces * (s.vectors * room + n)
    own = V <= s.sources * s.targets * s.taps**2
    space = s.all_pieces * (COLUMNS * room + n + portion * COLUMNS * n * n + n)
    space += making + _weights_scratch(s, 1)
    return Order(s, True, 0 if own else V, making, V * own + space, room, portion)


def _in_sections(images, flow, grad_weight, s, f, order, checks):
    """Few weights: the tiles pass by, in sections."""
    jobs, pieces = len(checks), parallel.borrow("pieces", order.pieces, SINGLE)
    sums = pieces[: order.pieces].reshape(order.sections, -1)
    parallel.run(sum_sections, jobs, order.space, SINGLE,
                 images, flow, sums, s, f, order.portion)  # fmt: skip
    parallel.run(add_sections, jobs, order.making, SINGLE, sums, s, grad_weight, checks)
    parallel.give_back("pieces", pieces)


def _in_panels(images, flow, grad_weight, s, f, order, checks):
    """Many weights: a panel of targets after the other."""
    jobs, V = len(checks), NOTHING
    if order.pieces:
        V = parallel.borrow("pieces", order.pieces, SINGLE)
        parallel.run(transform_all_images, jobs, order.making, SINGLE,
                     images, s, s.pieces, V, order.room)  # fmt: skip
    parallel.run(weights_outside, jobs, order.space, SINGLE,
                 images, flow, V, grad_weight, checks, s, f, order.room, order.portion)  # fmt: skip
    if order.pieces:
        parallel.give_back("pieces", V)
