# Exported from chapters/ by tools/export.py: edit the chapter, not this file.
"""Planes: channels written as long rows of numbers with the zeros between them.

Chapter 10 builds this module.
"""

from typing import NamedTuple

from convlib.kernels.simd import compiled

__all__ = ["PlaneLayout", "fill_planes", "collect"]


# Chapter "Planes and vectors" (chapters/10_planes.ipynb)

class PlaneLayout(NamedTuple):
    """How the images of a batch lie in planes.

    Notes
    -----
    Source: Chapter 10.
    """

    images: int  # so many images follow each other in one plane
    rows: int  # rows of one image in a plane, zeros included
    width: int  # numbers in a row, zeros included
    top: int  # rows of zeros before the first row of an image
    left: int  # zeros before the first number of a row
    row_phases: int  # the stride: a channel is dealt out to so many planes
    column_phases: int
    length: int  # numbers in a plane
    result_length: int  # numbers in a plane of results


@compiled
def fill_planes(images, first, last, channels, layout, planes):
    """Write channels of some images into planes, with zeros around them (Chapter 10)."""
    place = 0
    for c in range(channels[0], channels[1]):
        for a in range(layout.row_phases):
            for b in range(layout.column_phases):
                end = place + layout.length
                for n in range(first, last):
                    for r in range(layout.rows):
                        row = r * layout.row_phases + a - layout.top
                        if 0 <= row < images.shape[2]:
                            _fill_row(images, n, c, row, b, layout, planes, place)
                        else:
                            planes[place : place + layout.width] = 0
                        place += layout.width
                planes[place:end] = 0
                place = end


@compiled
def _fill_row(images, n, c, row, b, layout, planes, place):
    """Write a row's numbers from padded column `b` on, `column_phases` apart."""
    step, left, width = layout.column_phases, layout.left, images.shape[3]
    begin = min(layout.width, max(0, (left - b + step - 1) // step))
    end = max(begin, min(layout.width, (width - 1 + left - b) // step + 1))
    for q in range(begin):
        planes[place + q] = 0
    if step == 1:  # said apart, so that the compiler copies vectors
        for q in range(begin, end):
            planes[place + q] = images[n, c, row, q - left]
    else:
        for q in range(begin, end):
            planes[place + q] = images[n, c, row, q * step + b - left]
    for q in range(end, layout.width):
        planes[place + q] = 0


@compiled
def collect(planes, place, width, output, n, k, rows, columns):
    """Copy one image's results to the output (Chapter 10).

    `rows` and `columns` are (first, step, count): the learning flow of a layer with
    stride fills the input a phase at a time.
    """
    for p in range(rows[2]):
        row = rows[0] + rows[1] * p
        if columns[1] == 1:
            for q in range(columns[2]):
                output[n, k, row, q] = planes[place + q]
        else:
            for q in range(columns[2]):
                output[n, k, row, columns[0] + columns[1] * q] = planes[place + q]
        place += width
