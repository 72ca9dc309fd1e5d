"""What networks are made of: all conv layers of twenty of them, how often each occurs, and of which kind it is.

The table is `zoo_layers.json`; it says itself where it comes from.
"""

import json
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks.shapes import Case

TABLE = Path(__file__).with_name("zoo_layers.json")
KINDS = ("1x1", "one pixel", "depthwise", "grouped", "dilated", "strided", "3x3", "other")
LEAST = 2  # of each kind that many are in a sample, if there is room


class Layer(NamedTuple):
    """A layer with a batch of one image, and how often each network has it."""

    case: Case
    counts: dict

    @property
    def kind(self):
        return kind(self.case)


def layers():
    """Return all layers of the table."""
    rows = json.loads(TABLE.read_text(encoding="utf-8"))["layers"]
    return [Layer(case(number, sizes), counts) for number, (sizes, counts) in enumerate(rows)]


def case(number, sizes):
    """Return a row of the table as a case; one number for rows and columns, wherever it is the same."""
    channels, height, width, filters, *settings, groups = sizes
    pairs = zip(settings[::2], settings[1::2], strict=True)
    kernel, stride, padding, dilation = (rows if rows == columns else (rows, columns) for rows, columns in pairs)
    return Case(f"zoo{number:03}", 1, channels, height, width, filters, kernel, stride, padding, groups, dilation)


def kind(case):
    """Return the first kind that a layer is of: what makes it fast or slow."""
    kernel, stride, _, dilation = case.pairs
    if case.groups > 1:
        return "depthwise" if case.groups == case.channels else "grouped"
    if dilation != (1, 1):
        return "dilated"
    if stride != (1, 1):
        return "strided"
    if kernel == (1, 1):
        return "one pixel" if (case.height, case.width) == (1, 1) else "1x1"
    return "3x3" if kernel == (3, 3) else "other"


def names():
    """Return the names of all networks, those with the most layers last."""
    found = Counter()
    for layer in layers():
        found.update(layer.counts)
    return sorted(found, key=lambda name: (found[name], name))


def network(name):
    """Return the layers of a network, each with the number of times that it occurs."""
    return [(layer.case, layer.counts[name]) for layer in layers() if name in layer.counts]


def made_of(name):
    """Return which part of a network's operations its layers of each kind have, the largest part first."""
    parts = Counter()
    for case, count in network(name):
        parts[kind(case)] += count * case.operations
    total = parts.total()
    return {each: operations / total for each, operations in parts.most_common()}


def sample(count, seed):
    """Return so many layers, drawn kind by kind: a few of each, and else as many as its part of the table."""
    everything = layers()
    by_kind = {each: [layer for layer in everything if layer.kind == each] for each in KINDS}
    taken = shares({each: len(found) for each, found in by_kind.items()}, count)
    random = np.random.default_rng(seed)
    drawn = (random.choice(len(found), taken[each], replace=False) for each, found in by_kind.items())
    chosen = [found[place] for found, places in zip(by_kind.values(), drawn, strict=True) for place in places]
    return sorted(chosen, key=lambda layer: layer.case.name)


def shares(sizes, count):
    """Share out a sample: the next place goes to the kind that lacks most."""
    total = sum(sizes.values())
    taken = dict.fromkeys(sizes, 0)
    for _ in range(min(count, total)):
        left = [each for each in sizes if taken[each] < sizes[each]]
        first = max(left, key=lambda each: (-min(taken[each], LEAST), count * sizes[each] / total - taken[each]))
        taken[first] += 1
    return taken
