# Exported from chapters/ by tools/export.py: edit the chapter, not this file.
"""How much less than its tile, or its kernel, a result reads: compiled, for Winograd.

Chapter "Tiles in vectors" builds this module.
"""

import numpy as np

from convlib.kernels.planes import fill
from convlib.kernels.simd import compiled

__all__ = ["BAND", "TOGETHER", "look_at_tiles", "room_to_look", "look_at_kernels", "look_at_planes"]


# Chapter "Tiles in vectors" (chapters/tiles.ipynb)

BAND = 4096  # numbers of a plane that are looked at together: they stay in the nearest cache
TOGETHER = 32  # kernels side by side are added up together


@compiled
def _keep_larger(sizes, numbers):
    """Keep the larger of two sizes, number by number."""
    for q in range(sizes.size):
        size = abs(numbers[q])
        sizes[q] = size if size > sizes[q] else sizes[q]


@compiled
def _add_sizes(sizes, numbers):
    """Add the sizes, number by number."""
    for q in range(sizes.size):
        sizes[q] += abs(numbers[q])


@compiled
def _largest_in_rows(band, s, rows, y, target):
    """The largest of some rows, column by column, zeros around; the band begins at row y."""
    fill(target, 0)
    used = min(s.width, target.size - s.left)
    for row in range(max(rows[0], y), min(rows[1], y + band.size // s.width)):
        place = (row - y) * s.width
        _keep_larger(target[s.left : s.left + used], band[place : place + used])


@compiled
def _look_at_row(band, s, y, top, reads, memory):
    """Write what the results of a row of tiles read; tell how far apart, and whether nothing."""
    outputs, width, silent = s.pieces - s.taps + 1, s.out_width, False
    tiles, seen, least = memory[0], memory[1], memory[2]
    _largest_in_rows(band, s, (top, top + s.pieces), y, tiles)
    fill(least, np.inf)
    for p in range(min(outputs, reads.size // width)):
        _largest_in_rows(band, s, (top + p, top + p + s.taps), y, seen)
        row = reads[p * width : (p + 1) * width]
        fill(row, 0)
        for v in range(s.taps):
            _keep_larger(row, seen[v : v + width])
        for q in range(width):
            least[q] = row[q] if 0 < row[q] < least[q] else least[q]
            silent |= row[q] == 0
    apart = 0.0
    for x in range(0, s.tile_columns * outputs, outputs):
        apart = max(apart, tiles[x : x + s.pieces].max() / least[x : x + outputs].min())
    return apart, silent


@compiled
def look_at_tiles(job, jobs, images, s, reads, found, workspace):
    """Compute one job's share of what the results read, and how far apart.

    Source: chapter "Tiles in vectors".
    """
    outputs, plane = s.pieces - s.taps + 1, s.height * s.width
    step, batch = max(1, BAND // (outputs * s.width)), images.size // (s.sources * plane)
    bands, wide = (s.tile_rows + step - 1) // step, (s.tile_columns - 1) * outputs + s.pieces
    memory, largest = workspace[: 3 * wide].reshape(3, wide), workspace[3 * wide :]
    found[0, job] = found[1, job] = 0
    for item in range(job, batch * bands, jobs):
        image, first = item // bands, item % bands * step
        last = min(s.tile_rows, first + step)
        y = max(0, first * outputs - s.top)
        end = max(y, min(s.height, (last - 1) * outputs + s.pieces - s.top))
        band = largest[: (end - y) * s.width]
        fill(band, 0)
        for c in range(s.sources):
            place = (image * s.sources + c) * plane + y * s.width
            _keep_larger(band, images[place : place + band.size])
        behind = (image + 1) * s.out_height * s.out_width
        for row in range(first, last):
            begin = (image * s.out_height + row * outputs) * s.out_width
            apart, silent = _look_at_row(band, s, y, row * outputs - s.top, reads[begin:behind],
                                         memory)
            found[0, job] = max(found[0, job], apart)
            if silent:
                found[1, job] = 1


def room_to_look(s):
    """Return how much memory `look_at_tiles` needs (chapter "Tiles in vectors")."""
    outputs = s.pieces - s.taps + 1
    rows = max(1, BAND // (outputs * s.width)) * outputs + s.pieces
    return 3 * ((s.tile_columns - 1) * outputs + s.pieces) + rows * s.width


@compiled
def _apart(whole, read):
    """How many times what is read there is."""
    return 0.0 if whole == 0 else whole / read if read > 0 else np.inf


@compiled
def _least_apart(sums, taps, rows, columns):
    """How many times the sum of some rows and columns of taps, the least, that of all is."""
    whole, least = 0.0, np.inf
    for t in range(taps * taps):
        whole += sums[t]
    for r in range(rows.shape[0]):
        for c in range(columns.shape[0]):
            read = 0.0
            for u in range(taps):
                for v in range(taps):
                    if rows[r, u] * columns[c, v] > 0:  # infinity times zero is no number
                        read += sums[u * taps + v]
            least = min(least, read)
    return _apart(whole, least)


@compiled
def look_at_kernels(job, jobs, weight, s, rows, columns, found, workspace):
    """Compute, for one job's kernels, how far apart are all taps and those read.

    Source: chapter "Tiles in vectors".
    """
    kernel, worst = s.taps * s.taps, 0.0
    first, last = s.targets * job // jobs, s.targets * (job + 1) // jobs
    if s.source_step == kernel:  # the sources of a target stand together
        sums = workspace[: TOGETHER * kernel]
        for k in range(first, last):
            fill(sums, 0)
            end = (k + 1) * s.target_step
            for place in range(k * s.target_step, end, sums.size):
                some = weight[place : min(end, place + sums.size)]
                _add_sizes(sums[: some.size], some)
            for i in range(kernel, sums.size):
                sums[i % kernel] += sums[i]
            worst = max(worst, _least_apart(sums, s.taps, rows, columns))
    else:  # the targets of a source do
        sums = workspace[: (last - first) * kernel]
        fill(sums, 0)
        for c in range(s.sources):
            place = c * s.source_step + first * kernel
            _add_sizes(sums, weight[place : place + sums.size])
        for place in range(0, sums.size, kernel):
            of_one = sums[place : place + kernel]
            worst = max(worst, _least_apart(of_one, s.taps, rows, columns))
    found[job] = worst


@compiled
def _take(by_sum, sizes, numbers):
    """Add the sizes, or keep the larger ones."""
    if by_sum:
        _add_sizes(sizes, numbers)
    else:
        _keep_larger(sizes, numbers)


@compiled
def _fold(by_sum, sizes):
    """The sum of sizes, or else the largest."""
    result = 0.0
    for q in range(sizes.size):
        result = result + sizes[q] if by_sum else max(result, sizes[q])
    return result


@compiled
def look_at_planes(job, jobs, images, size, inner, by_sum, found, workspace):
    """Compute, for one job's channels, how far apart are all numbers and the inner (chapter "Tiles in vectors").

    They are compared by the sum of their sizes, or else by the largest.
    """
    batch, channels, height, width = size
    top, bottom, left, right = inner
    plane, lines = workspace[: height * width], workspace[height * width :]
    inside, around = lines[:width], lines[width : 2 * width]
    found[job] = 0
    for c in range(job, channels, jobs):
        fill(workspace[: (height + 2) * width], 0)
        for n in range(batch):
            place = (n * channels + c) * plane.size
            _take(by_sum, plane, images[place : place + plane.size])
        for row in range(height):
            target = inside if top <= row < bottom else around
            _take(by_sum, target, plane[row * width : (row + 1) * width])
        _take(by_sum, around[:left], inside[:left])
        _take(by_sum, around[right:], inside[right:])
        read, rim = _fold(by_sum, inside[left:right]), _fold(by_sum, around)
        found[job] = max(found[job], _apart(rim + read if by_sum else max(rim, read), read))
