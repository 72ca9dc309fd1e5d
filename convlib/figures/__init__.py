# Exported from chapters/ by tools/export.py: edit the chapter, not this file.
"""The drawings of the course, one call each: small self-contained SVG pictures, still and moving.

Chapters "How the figures are drawn" and "How the figures move" build this package.
"""

from convlib.figures.digit import draw_a_digit
from convlib.figures.drawing import COLOURS, NEGATIVE, Figure, _cells, _fill, _number, _rect, _svg, _text, curves
from convlib.figures.explorers import Explorer, explore_impacts, explore_kernel
from convlib.figures.front import hero
from convlib.figures.layers import arrows, layer, meetings, steps
from convlib.figures.learning import learns
from convlib.figures.moving import Moving
from convlib.figures.numbers import _digits, _grid, grids, kernel_at, kernel_over, matrix, picture
from convlib.figures.own import own_kernel
from convlib.figures.photograph import through_kernels
from convlib.figures.sliders import settings
from convlib.figures.stories import Story, story
from convlib.figures.touching import touches
from convlib.figures.wires import row, three_ways

__all__ = ["COLOURS", "NEGATIVE", "Figure", "curves", "Explorer", "explore_impacts", "explore_kernel", "arrows",
    "layer", "meetings", "steps", "Moving", "grids", "kernel_at", "kernel_over", "matrix", "picture", "Story", "story",
    "own_kernel", "settings", "touches", "row", "three_ways", "draw_a_digit", "hero", "learns", "through_kernels"]
