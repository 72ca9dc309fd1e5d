# Exported from chapters/ by tools/export.py: edit the chapter, not this file.
"""What a function read for one output, drawn over what it should have read.

Chapter "What your code read" builds this module.
"""

import numpy as np

from convlib.check.products import _index
from convlib.check.tracing import terms_of
from convlib.figures import COLOURS, Figure
from convlib.figures.drawing import _rect, _svg, _text

__all__ = ["SIDE", "PANELS", "CELLS", "reads"]


# Chapter "What your code read" (chapters/tracing.ipynb)

SIDE = 40  # of a cell, in pixels
PANELS = 3  # as many channels are drawn, at most
CELLS = 14  # rows and columns of a grid, at most
_SIGNS = {  # for each state of a cell: the legend, and the beginning of a sentence
    "right": ("read as it should be", "Read as it should be"),
    "missing": ("missing: should be read", "Missing"),
    "extra": ("too many: should not be read", "Too many"),
    "paired": ("wrongly paired; in brackets: right", "Wrongly paired"),
    "counted": ("counted otherwise; in brackets: right", "Counted otherwise"),
}


def _states(wanted, found):
    """For each cell that is or should be read: its state, the label read, the right label."""
    states = {}
    for place in sorted({*wanted, *found}):
        mine, right = found.get(place, ""), wanted.get(place, "")
        state = "right" if mine == right else "missing" if not mine else "extra" if not right else "paired"
        if state == "paired" and mine.split("·")[-1] == right.split("·")[-1]:
            state = "counted"
        states[place] = state, mine, right
    return states


def _channels(states):
    """The channels to be drawn: those with mistakes first, in their order."""
    wrong = sorted({place[:-2] for place, (state, *_) in states.items() if state != "right"})
    others = sorted({place[:-2] for place in states} - set(wrong))
    return sorted((wrong + others)[:PANELS])


def _by_cell(terms, letters):
    """The products of one output, by the grid that they read: for each cell, its partner and how often."""
    cells = {}
    for product, times in terms.items():
        grids = [entry for entry in product if len(entry.place) > 1 and entry.name in letters]
        if not grids:
            continue
        entry = max(
            grids, key=lambda entry: [bool(set(letters[entry.name]) & set(of)) for of in ("rs", "pq")]
        )
        partner = next((other for other in product if other != entry), None)
        label = ",".join(map(str, partner.place[-2:])) if partner else "1"
        label = label if times == 1 else f"{times:.2g}·{label}"
        cells.setdefault(entry.name, {}).setdefault(entry.place, []).append(label)
    return {
        name: {place: " ".join(labels) for place, labels in each.items()} for name, each in cells.items()
    }


def _cell(x, y, state, mine, right, role):
    """One cell that is or should be read."""
    middle, inner = x + SIDE / 2, SIDE - 6
    mine, right = _short(mine), _short(right)
    colour = COLOURS[role] if state == "right" else COLOURS["kernel"]
    fill = 0 if state == "missing" else 0.3
    dash = ' stroke-dasharray="4 3"' if state == "missing" else ""
    line = {"right": 0, "paired": 1.2, "counted": 1.2}.get(state, 2.5)
    content = _rect(
        x + 3, y + 3, inner, inner, colour, fill, "none" if not line else "currentColor", line, dash
    )
    if state in ("paired", "counted"):
        bold = ' font-weight="600"'
        return content + _text(middle, y + 12, mine, 11, bold) + _text(middle, y + 26, f"({right})", 11)
    words = {"right": mine, "missing": f"({right})", "extra": mine}[state]
    sign = {"missing": "\N{MINUS SIGN}", "extra": "+"}.get(state)
    if sign:
        content += _text(middle, y + 12, sign, 12, ' font-weight="600"')
    return content + _text(middle, y + (26 if sign else 19), words, 11)


def _short(label):
    """A label that fits into a cell."""
    return label if len(label) <= 6 else label.split("·")[0] + "×" if "·" in label else label[:5] + "…"


def _panel(array, name, channel, states, role):
    """One channel as a grid, with what was read and what should be."""
    grid = np.atleast_2d(array[channel])
    rows, columns = grid.shape
    index = ", ".join(map(str, channel))
    title = f"{name}[{index}]" if channel else name
    content = _text(18 + columns * SIDE / 2, 9, title, 12)
    dim = ' fill-opacity="0.75"'
    content += "".join(_text(10, 34 + (row + 0.5) * SIDE, row, 11, dim) for row in range(rows))
    content += "".join(_text(18 + (column + 0.5) * SIDE, 27, column, 11, dim) for column in range(columns))
    for row, column in np.ndindex(rows, columns):
        content += _rect(18 + column * SIDE, 34 + row * SIDE, SIDE, SIDE, extra=' stroke-opacity="0.45"')
    for place, (state, mine, right) in states.items():
        at = (0, *place)[-2:] if array.ndim == 1 else place[-2:]
        if place[:-2] == channel:
            content += _cell(18 + at[1] * SIDE, 34 + at[0] * SIDE, state, mine, right, role)
    return _svg(22 + columns * SIDE, 38 + rows * SIDE, content)


_START = ' text-anchor="start"'


def _legend(states, role, label):
    """What the looks of the cells mean; `label` is the place of the other factor."""
    order = [state for state in _SIGNS if state in states]
    content = _text(0, 8, f"in each cell: what it meets, at {label}", 12, _START) if label != "1" else ""
    for number, state in enumerate(order):
        y = 22 + number * (SIDE + 4)
        content += _cell(2, y, state, label, label, role)
        content += _text(SIDE + 12, y + SIDE / 2, _SIGNS[state][0], 12, _START)
    return _svg(300, 26 + len(order) * (SIDE + 4), content)


def _words(place, name, states):
    """The drawing in words."""
    words = [f"What {f'output{_index(place)}' if place else 'the output'} reads of {name}, cell by cell."]
    for state, (_, start) in _SIGNS.items():
        cells = [(at, mine, right) for at, (each, mine, right) in states.items() if each == state]
        if cells and state == "right":
            words.append(f"{start}: {len(cells)}.")
        elif cells:
            both = state in ("paired", "counted")
            listed = [
                f"({', '.join(map(str, at))}) with {f'{mine} for {right}' if both else mine or right}"
                for at, mine, right in cells[:9]
            ]
            more = f" and {len(cells) - 9} more" if len(cells) > 9 else ""
            words.append(f"{start}: {'; '.join(listed)}{more}.")
    return " ".join(words)


def reads(right, mine, place, letters, arguments):
    """Draw what a function read for one output, over what it should have read.

    Parameters
    ----------
    right, mine : array of Sum and numbers
        What the right function computed from numbers that remember, and the one in question.
    place : tuple of int
        The output.
    letters : dict
        The letters of the axes of "output" and of each argument.
    arguments : dict
        The arguments by name.

    Returns
    -------
    Figure or None
        None if no grid that is small enough is read.

    Notes
    -----
    Source: chapter "What your code read"; the picture is that of the impacts in chapter "The learning
    flow".
    """
    wanted, found = (_by_cell(terms_of(output[place]), letters) for output in (right, mine))
    names = [name for name in {**wanted, **found} if max(arguments[name].shape[-2:]) <= CELLS]
    if not names:
        return None
    name = names[0]
    states = _states(wanted.get(name, {}), found.get(name, {}))
    if len(states) < 2:
        return None
    role = "flow" if set(letters[name]) & set("pq") else "input"
    panels = [_panel(arguments[name], name, channel, states, role) for channel in _channels(states)]
    partners = {
        entry.name
        for output in (right, mine)
        for product in terms_of(output[place])
        for entry in product
        if len(product) == 2
    } & letters.keys() - {name}
    label = ",".join(letters[min(partners)][-2:]) if partners else "1"
    panels.append(_legend({state for state, *_ in states.values()}, role, label))
    return Figure(panels, _words(place, name, states))
