# Exported from chapters/ by tools/export.py: edit the chapter, not this file.
"""The phases of a dilation: layers without dilation that a layer consists of.

Chapter "Tiles in vectors" builds this module.
"""

import itertools
from functools import lru_cache

import numpy as np

__all__ = ["phases_of", "gather"]


# Chapter "Tiles in vectors" (chapters/tiles.ipynb)

@lru_cache(maxsize=1024)
def phases_of(geometry):
    """Return (layer, cells, places) of each kind of phase (chapter "Tiles in vectors").

    A layer has the phases of all images as its batch; cells and places say where they lie.
    """
    g = geometry
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


def gather(images, phases):
    """Return some phases of the images, one after the other (chapter "Tiles in vectors")."""
    if len(phases) == 1:
        return np.ascontiguousarray(images[phases[0]])
    return np.concatenate([images[phase] for phase in phases])
