# Exported from chapters/ by tools/export.py: edit the chapter, not this file.
"""Planes: channels written as long rows of numbers with the zeros between them.

Chapter "Planes and vectors" builds this module.
"""

from typing import NamedTuple

from convlib.kernels.simd import compiled

__all__ = ["PlaneLayout", "copy", "fill", "fill_planes", "collect"]


# Chapter "Planes and vectors" (chapters/planes.ipynb)

class PlaneLayout(NamedTuple):
    """How the images of a batch lie in planes.

    Notes
    -----
    Source: chapter "Planes and vectors".
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
def copy(source, target):
    """Copy numbers one by one: for short rows quicker than a slice's assignment.

    Source: chapter "Planes and vectors".
    """
    for q in range(target.size):
        target[q] = source[q]


@compiled
def fill(target, number):
    """Write one number everywhere (chapter "Planes and vectors")."""
    for q in range(target.size):
        target[q] = number


@compiled
def fill_planes(images, first, last, channels, layout, planes):
    """Write channels of some images into planes, with zeros around them.

    Source: chapter "Planes and vectors".
    """
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
                            fill(planes[place : place + layout.width], 0)
                        place += layout.width
                fill(planes[place:end], 0)
                place = end


@compiled
def _fill_row(images, n, c, row, b, layout, planes, place):
    """Write a row's numbers from padded column `b` on, `column_phases` apart."""
    step, left, width = layout.column_phases, layout.left, images.shape[3]
    begin = min(layout.width, max(0, (left - b + step - 1) // step))
    end = max(begin, min(layout.width, (width - 1 + left - b) // step + 1))
    target, source = planes[place : place + layout.width], images[n, c, row]
    fill(target[:begin], 0)
    if step == 1:
        copy(source[begin - left : end - left], target[begin:end])
    else:
        for q in range(begin, end):
            target[q] = source[q * step + b - left]
    fill(target[end:], 0)


@compiled
def collect(planes, place, width, output, n, k, rows, columns):
    """Copy one image's results to the output (chapter "Planes and vectors").

    `rows` and `columns` are (first, step, count): the learning flow of a layer with
    stride fills the input a phase at a time.
    """
    for p in range(rows[2]):
        source, target = planes[place : place + columns[2]], output[n, k, rows[0] + rows[1] * p]
        if columns[1] == 1:
            copy(source, target)
        else:
            for q in range(columns[2]):
                target[columns[0] + columns[1] * q] = source[q]
        place += width
