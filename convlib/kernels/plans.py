# Exported from chapters/ by tools/export.py: edit the chapter, not this file.
"""Plans: where rows, zeros, shifts and phases lie for a layer's geometry.

Chapter "Planes and vectors" builds this module.
"""

from typing import NamedTuple

import numpy as np

from convlib.kernels.planes import PlaneLayout
from convlib.kernels.remember import remembered
from convlib.kernels.simd import lanes_of

__all__ = [
    "NUMBERS_IN_A_PLANE",
    "TAPS_AT_ONCE",
    "PLACES_AT_ONCE",
    "SECTIONS",
    "SUMS",
    "CorrelationPlan",
    "WeightGradPlan",
    "divide_up",
    "round_up",
    "plane_axis",
    "forward_plan",
    "weight_grad_plan",
    "backward_axis",
    "input_grad_plan",
]


# Chapter "Planes and vectors" (chapters/planes.ipynb)

NUMBERS_IN_A_PLANE = 1000  # small images share a plane until it has about so many
TAPS_AT_ONCE = 300  # the planes of so many taps stay in the cache
PLACES_AT_ONCE = 192  # the flow at so many places stays in the cache
SECTIONS = 4  # of the images, for the gradient of the weights ...
SUMS = 4_000_000  # ... if all their sums are no more than this


class CorrelationPlan(NamedTuple):
    """What `correlate_images` needs to know (chapter "Planes and vectors")."""

    layout: PlaneLayout
    shifts: np.ndarray  # of each tap
    phases: np.ndarray  # first and last tap, first weight, place and size of the results
    group_weights: int  # packed weights of a group
    portion: int  # taps at once
    parts: int  # parts of the output channels, to be shared out among jobs


class WeightGradPlan(NamedTuple):
    """What `weight_grad_images` needs to know (chapter "Planes and vectors")."""

    layout: PlaneLayout
    shifts: np.ndarray  # of each tap of a channel
    portion: int  # places at once


def divide_up(number, step):
    """Return how many steps reach a number, the last one whole (chapter "Planes and vectors")."""
    return -(-number // step)


def round_up(number, step):
    """Return the next multiple of a step (chapter "Planes and vectors")."""
    return divide_up(number, step) * step


def _images_together(batch, numbers, jobs):
    """How many small images share a plane; every job gets some."""
    return max(1, min(NUMBERS_IN_A_PLANE // max(1, numbers), -(-batch // jobs)))


def _layout(images, rows, width, corner, phases, results, farthest, step):
    """The layout for results of so many rows and columns, computed `step` at a time."""
    used = ((images - 1) * rows + results[0] - 1) * width + results[1]
    computed = max(round_up(used, step), images * rows * width)
    length = round_up(computed + farthest, 16)
    return PlaneLayout(
        images, rows, width, *corner, *phases, length, round_up(computed, 16)
    )


def plane_axis(size, padding, stride, out_size):
    """Return the rows of an image in a plane, or its numbers in a row (chapter "Planes and vectors").

    Neighbours share their zeros.
    """
    before, after = padding
    if stride == 1:
        return max(size + max(before, after), out_size)
    return -(-(before + size + after) // stride)


def _forward_layout(geometry, images_of, step):
    """The layout of the forward pass, and phase and shift of each tap (u, v)."""
    g = geometry
    (sh, sw), (dh, dw) = g.stride, g.dilation
    rows = plane_axis(g.height, g.padding[0], sh, g.out_height)
    width = plane_axis(g.width, g.padding[1], sw, g.out_width)
    u, v = np.indices((g.kernel_height, g.kernel_width)).reshape(2, -1)
    shift = u * dh // sh * width + v * dw // sw
    layout = _layout(
        images_of(rows * width), rows, width, (g.padding[0][0], g.padding[1][0]),
        g.stride, (g.out_height, g.out_width), int(shift.max()), step,
    )
    return layout, (u * dh % sh) * sw + v * dw % sw, shift


@remembered
def forward_plan(geometry, dtype, jobs):
    """Return the plan of a forward pass, its taps, and sizes of weights and workspace.

    Notes
    -----
    Source: chapter "Planes and vectors".
    """
    g = geometry
    sources, targets = g.in_channels // g.groups, g.out_channels // g.groups
    step = lanes_of(dtype) * (6 if targets == 1 else 3)
    layout, phase, shift = _forward_layout(
        g, lambda numbers: _images_together(g.batch, numbers, jobs), step
    )
    channel = np.arange(sources)[:, np.newaxis] * (g.stride[0] * g.stride[1])
    shifts = ((channel + phase) * layout.length + shift).ravel()
    taps = np.tile(np.arange(phase.size), sources)
    phases = [(0, len(taps), 0, 0, 0, 1, 1, g.out_height, g.out_width)]
    return _correlation_plan(layout, shifts, phases, taps, sources, targets, g, jobs)


@remembered
def weight_grad_plan(geometry, dtype):
    """Return the plan of the gradient of the weights, its sections, and the workspace's size.

    Notes
    -----
    Source: chapter "Planes and vectors".
    """
    g, lanes = geometry, lanes_of(dtype)
    sources, targets = g.in_channels // g.groups, g.out_channels // g.groups
    layout, phase, shift = _forward_layout(
        g, lambda numbers: _images_together(g.batch, numbers, 1), lanes
    )
    shifts = (phase * layout.length + shift).astype(np.int64)
    panels = 1 if targets == 1 else round_up(targets, 2 * lanes)
    planes = sources * g.stride[0] * g.stride[1] * layout.length
    space = planes + panels * (layout.result_length + sources * shifts.size + 5)
    sets = -(-g.batch // layout.images)
    sections = max(1, min(SECTIONS, sets, SUMS // (g.out_channels * sources * shifts.size)))
    return WeightGradPlan(layout, shifts, PLACES_AT_ONCE), sections, space


def _correlation_plan(layout, shifts, phases, taps, sources, targets, geometry, jobs):
    """The plan, after the weights of the phases have got their places."""
    phases = np.array(phases, dtype=np.int64)
    panel = 1 if targets == 1 else round_up(targets, 4)
    sizes = (phases[:, 1] - phases[:, 0]) * panel
    phases[:, 2] = np.cumsum(sizes) - sizes
    items = -(-geometry.batch // layout.images) * geometry.groups
    parts = 1 if targets <= 4 or items >= jobs else jobs
    of_a_channel = max(1, len(taps) // (sources * len(phases)))
    portion = max(1, TAPS_AT_ONCE // of_a_channel) * of_a_channel
    plan = CorrelationPlan(
        layout, np.array(shifts, dtype=np.int64), phases, int(sizes.sum()), portion, parts
    )
    planes = sources * layout.row_phases * layout.column_phases * layout.length
    space = planes + panel * layout.result_length
    taps = np.array(taps, dtype=np.int64)
    return plan, taps, plan.group_weights * geometry.groups, space


def backward_axis(size, kernel_size, stride, before, dilation, out_size):
    """Return one axis of the learning flow: its phases, zeros before, and its size.

    Each phase is (first input row, number of rows, [(weight, shift), ...]).

    Notes
    -----
    Source: chapter "Planes and vectors".
    """
    phases = []
    for first in range(min(stride, size)):
        distance = [first + before - u * dilation for u in range(kernel_size)]
        taps = [(u, at // stride) for u, at in enumerate(distance) if at % stride == 0]
        phases.append((first, -(-(size - first) // stride), taps))
    lowest = min((shift for _, _, taps in phases for _, shift in taps), default=0)
    highest = max((count - 1 + shift for _, count, taps in phases for _, shift in taps),
                  default=0)
    zeros = max(0, -lowest)
    beyond = max(0, highest - (out_size - 1))
    return phases, zeros, max(out_size + max(zeros, beyond), phases[0][1])


@remembered
def input_grad_plan(geometry, dtype, jobs):
    """Return the plan of the learning flow, its taps, and sizes of weights and workspace.

    Notes
    -----
    Source: chapter "Planes and vectors".
    """
    g = geometry
    sources, targets = g.out_channels // g.groups, g.in_channels // g.groups
    down, top, rows = backward_axis(g.height, g.kernel_height, g.stride[0],
                                     g.padding[0][0], g.dilation[0], g.out_height)
    across, left, width = backward_axis(g.width, g.kernel_width, g.stride[1],
                                         g.padding[1][0], g.dilation[1], g.out_width)
    step = lanes_of(dtype) * (6 if targets == 1 else 3)
    farthest = (max((a for _, _, taps in down for _, a in taps), default=0) + top) * width
    farthest += max((b for _, _, taps in across for _, b in taps), default=0) + left
    layout = _layout(_images_together(g.batch, rows * width, jobs), rows, width, (top, left),
                     (1, 1), (down[0][1], across[0][1]), farthest, step)
    return _backward_plan(g, layout, down, across, sources, targets, jobs)


def _backward_plan(geometry, layout, down, across, sources, targets, jobs):
    """Every combination of a phase of the rows and one of the columns."""
    taps, shifts, phases = [], [], []
    for row, height, us in down:
        for column, width, vs in across:
            places = [
                (u * geometry.kernel_width + v,
                 (a + layout.top) * layout.width + b + layout.left)
                for u, a in us for v, b in vs
            ]  # fmt: skip
            begin = len(taps)
            for source in range(sources):
                taps += [tap for tap, _ in places]
                shifts += [source * layout.length + shift for _, shift in places]
            phases.append((begin, len(taps), 0, row, column, *geometry.stride, height, width))
    return _correlation_plan(layout, shifts, phases, taps, sources, targets, geometry, jobs)
