# Exported from chapters/ by tools/export.py: edit the chapter, not this file.
"""A layer in one dimension, calculations in steps, a whole layer.

Chapter "How the figures are drawn" builds this module.
"""

import numpy as np

from convlib.figures.drawing import COLOURS, Figure, _cells, _fill, _fit, _number, _rect, _spans, _svg, _symbol, _text
from convlib.figures.numbers import _grid, _one_each, _role

__all__ = ["meetings", "arrows", "steps", "layer"]


# Chapter "How the figures are drawn" (chapters/drawing.ipynb)

def meetings(line, kernel, *, stride=1, padding=(0, 0), dilation=1, flow=None, alt):
    """Draw every place of a kernel on one line, one below the other.

    Parameters
    ----------
    line : array of shape (n,)
        The cells; zeros outside.
    kernel : array of shape (m,)
        The weights.
    stride, dilation : int
        The step from place to place, and from weight to weight.
    padding : (int, int)
        Zeros before and after the line.
    flow : array, optional
        The learning flow at the outputs: draw the products and what each cell is told.
    alt : str
        What the figure shows, in words.

    Returns
    -------
    Figure

    Raises
    ------
    ValueError
        If the kernel fits nowhere, or `flow` does not hold one number for each place.

    Notes
    -----
    Source: chapter "How the figures are drawn"; used in chapter "Stride, padding, dilation,
    groups".
    """
    line, kernel = np.asarray(line), np.asarray(kernel)
    places = len(line) + sum(padding)
    starts = range(0, places - dilation * (len(kernel) - 1), stride)
    if not starts or (flow is not None and len(flow) != len(starts)):
        raise ValueError(f"kernel, flow: expected one number for each of {len(starts)} places, got {flow}")
    weights, covered = np.zeros((2, len(starts), places))
    for p, start in enumerate(starts):
        reach = slice(start, start + dilation * (len(kernel) - 1) + 1, dilation)
        weights[p, reach], covered[p, reach] = kernel, 1
    return Figure([_meetings_panel(line, weights, covered, padding[0], flow)], alt)


def _meetings_panel(line, weights, covered, before, flow, size=30):
    """The line above and the outputs beside it; or the flow beside it and what is told below."""
    forward, (count, places) = flow is None, weights.shape
    inside, x, right = slice(before, before + len(line)), 22, 34 + places * size
    top, along = (62, 20) if forward else (24, 34 + count * size)
    strip, side = (line, weights[:, inside] @ line) if forward else (flow @ weights[:, inside], np.asarray(flow))
    role, name = ("kernel", "output") if forward else ("flow", "flow")
    index = ' fill-opacity="0.75"'
    content = "".join(_text(x + (before + c + 0.5) * size, 11, c, 11, index) for c in range(len(line)))
    content += "".join(_text(11, top + (p + 0.5) * size, p, 11, index) for p in range(count))
    content += _text(right + size / 2, top - 11, name, 11)
    content += _grid(strip[None], x + before * size, along, size, "input" if forward else "flow", index=False)
    content += _grid(side[:, None], right, top, size, name, index=False)
    outside = [c for c in range(places) if not inside.start <= c < inside.stop] if forward else []
    content += _cells([(x + c * size, along, "none", 0) for c in outside], size, ' stroke-dasharray="2 3"')
    content += "".join(_text(x + (c + 0.5) * size, along + size / 2, 0, 12, index) for c in outside)
    taps = [(p, c, x + c * size, top + p * size) for p, c in np.argwhere(covered)]
    content += _cells([(*at, COLOURS[role], 0.2) for _, _, *at in taps], size)
    for p, c, left, y in taps:
        written = "×" + _number(weights[p, c]) if forward else _number(weights[p, c] * flow[p])
        content += _text(left + size / 2, y + size / 2, written, _fit(written, size, 11))
    return _svg(right + size + 4, max(top + count * size, along + size) + 4, content)


def _link(start, end, strong):
    """An arrow from one point to another, faint or strong."""
    (x, y), (across, down) = start, (end[0] - start[0], end[1] - start[1])
    length, angle = np.hypot(across, down), np.degrees(np.arctan2(down, across))
    look = f'"{COLOURS["kernel"]}" stroke-width="2.4"' if strong else '"currentColor" stroke-opacity="0.5"'
    return (
        f'<path d="M0 0 h{length:.1f} m-7 -4 l7 4 l-7 4" fill="none" stroke={look} '
        f'transform="translate({x:g} {y:g}) rotate({angle:.1f})"/>'
    )


def _line_of_cells(values, y, step, size, role, index_below):
    """One row of numbers, a gap between the cells, with the places above or below."""
    largest, dim = max(abs(value) for value in values), ' fill-opacity="0.75"'
    middles = [40 + step * place for place in range(len(values))]
    cells = [(x - size / 2, y, *_fill(value, largest, role)) for x, value in zip(middles, values, strict=True)]
    content = _cells(cells, size)
    for place, (x, value) in enumerate(zip(middles, values, strict=True)):
        content += _text(x, y + size / 2, _number(value), _fit(_number(value), size, 15))
        content += _text(x, y + (size + 9 if index_below else -8), place, 11, dim)
    return content


def _links(links, picked, upwards, step, top, bottom):
    """The arrows from the line `top` to the line `bottom`, or upwards: faint ones, strong ones, labels."""
    content, labels = ["", ""], ""
    for above, below, label in links:
        ends = (40 + step * above, top), (40 + step * below, bottom)
        start, end = ends[::-1] if upwards else ends
        strong = picked == (above if upwards else below)
        content[strong] += _link(start, end, strong)
        if strong:
            x, y = (0.77 * first + 0.23 * last for first, last in zip(start, end, strict=True))
            labels += _text(x + 7, y, label, 13, ' font-weight="600" text-anchor="start"')
    return "".join(content) + labels


def _check_links(links, picked, above, below, upwards):
    """Make sure that each arrow leads from a cell to a cell, and that the picked cell exists."""
    ends = [(picked, above if upwards else below)]
    for link in links:
        ends += [(link[0], above), (link[1], below)]
    for place, row in ends:
        if not 0 <= place < len(row):
            raise ValueError(f"links, picked: expected a place in a row of {len(row)} cells, got {place}")


def arrows(above, below, links, picked, *, upwards=False, titles=("", ""), roles=("input", "output"), alt):
    """Draw two rows of numbers and the arrows between them; those of one cell are strong.

    Parameters
    ----------
    above, below : sequence of numbers
        The two rows.
    links : sequence of (int, int, str)
        A place above, a place below, and the label of the arrow between them.
    picked : int
        The cell at which the strong arrows end.
    upwards : bool
        Whether the arrows point up, and so end above.
    titles, roles : (str, str)
        The titles of the rows, and what they hold; it sets their colours.
    alt : str
        What the figure shows, in words.

    Returns
    -------
    Figure

    Raises
    ------
    ValueError
        If a role is unknown or a place does not exist.

    Notes
    -----
    Source: chapter "How the figures are drawn"; used in the chapter on why the kernel turns.
    """
    _check_links(links, picked, above, below, upwards)
    step, size, top, bottom = 62, 40, 36, 196
    content = _links(links, picked, upwards, step, top + size + 3, bottom - 3)
    content += _line_of_cells(above, top, step, size, _role(roles[0]), False)
    content += _line_of_cells(below, bottom, step, size, _role(roles[1]), True)
    content += _rect(40 + step * picked - size / 2, top if upwards else bottom, size, size, line=2.5)
    width = 80 + step * (max(len(above), len(below)) - 1)
    content += _text(width / 2, 9, titles[0], 12) + _text(width / 2, bottom + size + 27, titles[1], 12)
    return Figure([_svg(width, bottom + size + 38, content)], alt)


def _step_arrow(start, end, minus):
    """An arrow that adds, or a dashed one that subtracts."""
    (x, y), (across, down) = start, (end[0] - start[0], end[1] - start[1])
    length, angle = np.hypot(across, down), np.degrees(np.arctan2(down, across))
    dashes = ' stroke-dasharray="5 4"' if minus else ""
    look = 'fill="none" stroke="currentColor" stroke-opacity="0.6" stroke-width="1.4"'
    return (
        f'<g {look} transform="translate({x:g} {y:g}) rotate({angle:.1f})">'
        f'<path d="M0 0 h{length:.1f}"{dashes}/><path d="M{length - 7:.1f} -4 l7 4 l-7 4"/></g>'
    )


def _step_row(row, middles, top, size, role):
    """A row of numbers in cells of their own, around these middles."""
    pairs, largest = list(zip(middles, row, strict=True)), max(abs(value) for value in row)
    cells = [(x - size / 2, top, *_fill(value, largest, role)) for x, value in pairs]
    return _cells(cells, size) + "".join(
        _text(x, top + size / 2, _number(value), _fit(_number(value), size, 14)) for x, value in pairs
    )


def _between(gap, above, below, top, bottom, upwards):
    """What stands between two rows: arrows, or one sign in each column."""
    if isinstance(gap, str):
        return "".join(_text(x, (top + bottom) / 2, gap, 15) for x in above)
    content = ""
    for first, second, sign in gap:
        ends = (above[first], top + 3), (below[second], bottom - 3)
        content += _step_arrow(*(ends[::-1] if upwards else ends), sign < 0)
    return content


def steps(rows, gaps, *, titles, roles, upwards=False, alt):
    """Draw a calculation in rows of numbers, and what leads from each to the next.

    Parameters
    ----------
    rows : sequence of sequences of numbers
        The rows, from top to bottom.
    gaps : sequence of str or of sequences of (int, int, int)
        What stands between two rows. A sign, for instance "×", or the arrows: a place
        above, a place below, and 1 (added) or -1 (subtracted, a dashed arrow).
    titles, roles : sequence of str
        One for each row.
    upwards : bool
        Whether the arrows point up.
    alt : str
        What the figure shows, in words.

    Returns
    -------
    Figure

    Raises
    ------
    ValueError
        If titles, roles or gaps are too few or too many, or a role is unknown.

    Notes
    -----
    Source: chapter "How the figures are drawn".
    """
    titles, roles = (_one_each("titles, roles", given, len(rows)) for given in (titles, roles))
    step, size, top, content, widest = 58, 38, 4, "", max(map(len, rows))
    if len(gaps) != len(rows) - 1:
        raise ValueError(f"gaps: expected {len(rows) - 1}, one less than rows, got {len(gaps)}")
    middles = [[24 + step * (k + (widest - len(row)) / 2) for k in range(len(row))] for row in rows]
    for place, (row, title, role) in enumerate(zip(rows, titles, roles, strict=True)):
        content += _step_row(row, middles[place], top, size, _role(role))
        content += _text(step * widest, top + size / 2, title, 13, ' text-anchor="start"')
        if place < len(gaps):
            top, bottom = top + size, top + size + (22 if isinstance(gaps[place], str) else 84)
            content += _between(gaps[place], *middles[place : place + 2], top, bottom, upwards)
            top = bottom
    return Figure([_svg(step * widest + 8 * max(map(len, titles)), top + size + 4, content)], alt)


def _small_grid(values, x, y, size, role, label, dashed):
    """A grid without digits, its symbol above it."""
    content = _grid(values, x, y, size, role, digits=False, index=False)
    rows, columns = np.asarray(values).shape
    dash = ' stroke-dasharray="5 3"' if dashed else ""
    content += _rect(x, y, columns * size, rows * size, stroke=COLOURS[role], line=2, extra=dash)
    return content + _spans(x + columns * size / 2, y - 10, label, 12)


def _arrow(x, y, length, across=True):
    """An arrow to the right, or down."""
    turn = "" if across else f' transform="rotate(90 {x:g} {y:g})"'
    return (
        f'<path d="M{x:g} {y:g} h{length:g} m-5 -4 l5 4 l-5 4" fill="none" stroke="currentColor" '
        f'stroke-width="1.2"{turn}/>'
    )


def _layer_column(image, weight, temporary, output, o, x):
    """Everything of output channel `o`: kernels, temporary grids, plus signs, the output channel."""
    size, step, dashed = 12, 128, o == 1
    content = ""
    for i in range(image.shape[0]):
        y = 24 + i * step
        label = _symbol("ker", f"k,{o + 1},{i + 1}")
        content += _small_grid(weight[o, i], x, y + 24, size, "kernel", label, dashed)
        content += _arrow(x + 42, y + 42, 20)
        label = _symbol("tmp", f"{o + 1},{i + 1}")
        content += _small_grid(temporary[o][i], x + 68, y, size, "output", label, dashed)
        sign = "+" if i < image.shape[0] - 1 else "+ " + _symbol("b", f"k,{o + 1}")
        content += _spans(x + 110 - (30 if i == image.shape[0] - 1 else 0), y + 97, sign, 16)
    y = 34 + image.shape[0] * step
    content += _arrow(x + 110, y - 48, 22, across=False)
    return content + _small_grid(output[o], x + 68, y, size, "output", _symbol("ch", f"k,{o + 1}"), dashed)


def layer(image, weight, temporary, output, *, alt):
    """Draw a convolution layer with all its grids.

    Parameters
    ----------
    image : array of shape (3, 7, 7)
        The input channels.
    weight : array of shape (2, 3, 3, 3)
        The kernels, output channel first.
    temporary : array of shape (2, 3, 7, 7)
        The temporary grids, output channel first.
    output : array of shape (2, 7, 7)
        The output channels.
    alt : str
        What the figure shows, in words.

    Returns
    -------
    Figure

    Raises
    ------
    ValueError
        If an array has another shape.

    Notes
    -----
    Source: chapter "How the figures are drawn"; the layer is that of chapter "From grids to a
    layer", formulas F03 and F04.
    """
    arrays = {"image": image, "weight": weight, "temporary": temporary, "output": output}
    shapes = {"image": (3, 7, 7), "weight": (2, 3, 3, 3), "temporary": (2, 3, 7, 7), "output": (2, 7, 7)}
    for name, shape in shapes.items():
        if np.shape(arrays[name]) != shape:
            raise ValueError(f"{name}: expected shape {shape}, got {np.shape(arrays[name])}")
    content = ""
    for i in range(3):
        label = _symbol("ch", f"k\N{MINUS SIGN}1,{i + 1}")
        content += _small_grid(image[i], 8, 24 + i * 128, 12, "input", label, False)
        content += _arrow(98, 66 + i * 128, 18)
    for o in range(2):
        content += _layer_column(image, weight, temporary, output, o, 124 + o * 178)
    return Figure([_svg(464, 510, content)], alt)
