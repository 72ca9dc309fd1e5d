# Exported from chapters/ by tools/export.py: edit the chapter, not this file.
"""Grids of numbers, an image in colour, a kernel laid over a grid, a large matrix.

Chapter "How the figures are drawn" builds this module.
"""

import numpy as np

from convlib.figures.drawing import COLOURS, NEGATIVE, Figure, _cells, _fill, _fit, _length, _number, _rect, _svg, _text

__all__ = ["grids", "picture", "kernel_over", "kernel_at", "matrix"]


# Chapter "How the figures are drawn" (chapters/drawing.ipynb)

def _digits(values, x, y, size):
    """The numbers of a grid, small enough for their cells; the usual size is written once, for all."""
    written = {(p, q): _number(values[p, q]) for p, q in np.ndindex(values.shape)}
    content = "".join(
        _text(x + (q + 0.5) * size, y + (p + 0.5) * size, number, _fit(number, size, 0.42 * size))
        for (p, q), number in written.items()
    )
    usual = f' font-size="{0.42 * size:g}"'
    return f"<g{usual}>{content.replace(usual, '')}</g>"


def _grid(values, x, y, size, role, largest=None, digits=True, index=True, marked=()):
    """A grid with its row and column numbers; `marked` cells get a thick frame."""
    values = np.asarray(values)
    rows, columns = values.shape
    largest = float(np.abs(values).max()) if largest is None else largest
    squares = [(x + q * size, y + p * size, *_fill(values[p, q], largest, role)) for p, q in np.ndindex(rows, columns)]
    parts = [_cells(squares, size)]
    if digits:
        parts.append(_digits(values, x, y, size))
    if index:
        dim = ' fill-opacity="0.75"'
        parts += [_text(x - 8, y + (row + 0.5) * size, row, 11, extra=dim) for row in range(rows)]
        parts += [_text(x + (column + 0.5) * size, y - 7, column, 11, extra=dim) for column in range(columns)]
    for row, column in marked:
        parts.append(_rect(x + column * size, y + row * size, size, size, line=2.5))
    return "".join(parts)


def grids(arrays, titles=None, *, alt, role="input", marked=(), frames=None, size=28, digits=True, same_scale=True):
    """Draw one or more grids of numbers side by side.

    Parameters
    ----------
    arrays : array of shape (H, W), or sequence of such arrays
        The grids.
    titles : str or sequence of str, optional
        One title a grid.
    alt : str
        What the figure shows, in words.
    role : {"input", "kernel", "output", "flow"} or sequence of these
        What the numbers are; it sets the colour.
    marked : sequence of (row, column)
        Cells that get a thick frame, in every grid.
    frames : sequence of (row, column, rows, columns), optional
        One thick frame a grid: the cell it begins at, and its size.
    size : float
        Side of a cell, in pixels; more if a number is too long for it.
    digits, same_scale : bool
        Whether the numbers are written; whether equal numbers get equal fills everywhere.

    Returns
    -------
    Figure

    Raises
    ------
    ValueError
        If an array does not have two axes, a title or a role is missing, or a role is unknown.

    Notes
    -----
    Source: chapter "How the figures are drawn".
    """
    arrays = _as_grids(arrays)
    titles, roles = _one_each("titles", titles or "", len(arrays)), _one_each("role", role, len(arrays))
    frames = _one_each("frames", frames, len(arrays)) if frames else [None] * len(arrays)
    largest = max(float(np.abs(array).max()) for array in arrays) if same_scale else None
    size = max(size, 7 * max(map(_longest, arrays))) if digits else size
    panels = [
        _panel(array, title, size, _grid(array, 18, 34, size, _role(name), largest, digits, marked=marked), frame)
        for array, title, name, frame in zip(arrays, titles, roles, frames, strict=True)
    ]
    return Figure(panels, alt)


def _panel(array, title, size, content, frame=None):
    """One grid with its title, and a thick frame around some of its cells."""
    rows, columns = array.shape
    if title:
        content = _text(18 + columns * size / 2, 9, title, 12) + content
    if frame:
        row, column, height, width = frame
        content += _rect(18 + column * size, 34 + row * size, width * size, height * size, line=3)
    return _svg(20 + columns * size, 36 + rows * size, content)


def _longest(array):
    """The length of the longest number of a grid."""
    return max(_length(_number(value)) for value in array.flat)


def _as_grids(arrays):
    """The arguments as a list of arrays with two axes each."""
    first = np.asarray(arrays[0])
    listed = [np.asarray(arrays)] if first.ndim == 1 else [np.asarray(array) for array in arrays]
    for array in listed:
        if array.ndim != 2 or array.size == 0:
            raise ValueError(f"arrays: expected grids of shape (H, W), got an array of shape {array.shape}")
    return listed


def _one_each(name, given, count):
    """A single word for all the grids, or one for each."""
    listed = [given] * count if isinstance(given, str) else list(given)
    if len(listed) != count:
        raise ValueError(f"{name}: expected {count}, one for each grid, got {len(listed)}")
    return listed


def _role(name):
    if name not in COLOURS:
        raise ValueError(f"role: expected one of {', '.join(COLOURS)}, got {name!r}")
    return name


def picture(image, *, alt, size=24):
    """Draw an image of three channels (red, green, blue) as coloured squares.

    Parameters
    ----------
    image : array of shape (3, H, W)
        Values from 0 to 255.
    alt : str
        What the picture shows, in words.
    size : float
        Side of a pixel, in screen pixels.

    Returns
    -------
    Figure

    Raises
    ------
    ValueError
        If the image does not have the shape (3, H, W).

    Notes
    -----
    Source: chapter "How the figures are drawn".
    """
    image = np.asarray(image)
    if image.ndim != 3 or image.shape[0] != 3:
        raise ValueError(f"image: expected shape (3, H, W), got {image.shape}")
    _, rows, columns = image.shape
    squares = [
        _rect(2 + q * size, 2 + p * size, size, size, "#{:02x}{:02x}{:02x}".format(*image[:, p, q]), line=0)
        for p in range(rows)
        for q in range(columns)
    ]
    return Figure([_svg(4 + columns * size, 4 + rows * size, "".join(squares))], alt)


def _padded_grid(channel, size, role):
    """The channel inside a ring of dashed zeros; numbers sit high, to leave room for the weights."""
    rows, columns = channel.shape
    largest = float(np.abs(channel).max())
    inside, outside, parts = [], [], []
    dim = ' fill-opacity="0.75"'
    for p, q in np.ndindex(rows + 2, columns + 2):
        x, y = 16 + q * size, 16 + p * size
        if 1 <= p <= rows and 1 <= q <= columns:
            value = channel[p - 1, q - 1]
            inside.append((x, y, *_fill(value, largest, role)))
            parts.append(_text(x + size / 2, y + 0.34 * size, _number(value), _fit(_number(value), size, 12)))
        else:
            outside.append((x, y, "none", 0))
            parts.append(_text(x + size / 2, y + 0.34 * size, 0, 12, dim))
    parts.insert(0, _cells(outside, size, ' stroke-dasharray="2 3"') + _cells(inside, size))
    parts += [_text(8, 16 + (p + 1.5) * size, p, 11, extra=dim) for p in range(rows)]
    parts += [_text(16 + (q + 1.5) * size, 8, q, 11, extra=dim) for q in range(columns)]
    return "".join(parts)


def _window(kernel, size, role="kernel"):
    """The kernel as a frame with its weights, to be moved over the grid."""
    rows, columns = kernel.shape
    parts = [_rect(0, 0, columns * size, rows * size, COLOURS[role], 0.12, COLOURS[role], 3)]
    bold = ' font-weight="600"'
    for u in range(rows):
        for v in range(columns):
            weight = "×" + _number(kernel[u, v])
            place = (v + 0.5) * size, (u + 0.74) * size
            parts.append(_text(*place, weight, _fit(weight, size, 11), bold))
    return "".join(parts)


def _covered(channel, kernel, row, column):
    """The part of the channel under a kernel centred at (row, column), zeros outside the grid."""
    padded = np.pad(channel, [(size // 2, size // 2) for size in kernel.shape])
    return padded[row : row + kernel.shape[0], column : column + kernel.shape[1]]


def _products(channel, kernel, row, column, role, size):
    """The panel with the products and their sum."""
    products = _covered(channel, kernel, row, column) * kernel
    rows, columns = kernel.shape
    content = _text(4 + columns * size / 2, 9, "the products", 12)
    content += _grid(products, 4, 20, size, role, index=False)
    content += _text(4 + columns * size / 2, 36 + rows * size, "their sum", 12)
    middle, top, colour = 4 + columns * size / 2, 46 + rows * size, COLOURS[role]
    content += _rect(middle - 32, top, 64, 30, colour, 0.3, colour, 2)
    total = _number(products.sum())
    content += _text(middle, top + 15, total, _fit(total, 64, 16), ' class="sum"')
    return _svg(8 + columns * size, 80 + rows * size, content)


def _check_place(channel, kernel, row, column):
    """The channel and the kernel as arrays, after checking that the drawing can be made."""
    channel, kernel = np.asarray(channel), np.asarray(kernel)
    for name, array in (("channel", channel), ("kernel", kernel)):
        if array.ndim != 2:
            raise ValueError(f"{name}: expected shape (H, W), got {array.shape}")
    if kernel.shape != (3, 3):
        raise ValueError(f"kernel: this drawing has room for the shape (3, 3), got {kernel.shape}")
    if not (0 <= row < channel.shape[0] and 0 <= column < channel.shape[1]):
        raise ValueError(f"row, column: expected a cell of a grid of shape {channel.shape}, got ({row}, {column})")
    return channel, kernel


def _kernel_panels(channel, kernel, row, column, role, size=33):
    """The two panels of a kernel laid over a grid: the grid, the products."""
    rows, columns = channel.shape
    window = f'<g class="window" transform="translate({16 + column * size} {16 + row * size})">'
    content = _padded_grid(channel, size, _role(role)) + window + _window(kernel, size) + "</g>"
    grid = _svg(20 + (columns + 2) * size, 20 + (rows + 2) * size, content)
    result = "flow" if role == "flow" else "output"  # flow times weights is flow again
    return [grid, _products(channel, kernel, row, column, result, 46)]


def kernel_over(channel, kernel, row, column, *, role="input", alt):
    """Draw a 3 x 3 kernel laid over a channel, with the nine products and their sum.

    Parameters
    ----------
    channel : array of shape (H, W)
        The grid the kernel looks at.
    kernel : array of shape (3, 3)
        The weights.
    row, column : int
        Where the kernel's centre sits.
    role : {"input", "kernel", "output", "flow"}
        What the grid holds; it sets its colour.
    alt : str
        What the figure shows, in words.

    Returns
    -------
    Figure

    Raises
    ------
    ValueError
        If an array has the wrong shape or the place is outside the grid.

    Notes
    -----
    Source: chapter "How the figures are drawn"; the sum is that of chapter "One kernel, one
    neuron", formula F01.
    """
    channel, kernel = _check_place(channel, kernel, row, column)
    return Figure(_kernel_panels(channel, kernel, row, column, role), alt)


def kernel_at(channel, kernel, places, *, role="kernel", size=33, alt):
    """Draw a kernel laid over a channel at one or more places.

    Parameters
    ----------
    channel : array of shape (H, W)
        The grid the kernel looks at.
    kernel : array of shape (kh, kw), both odd
        The weights.
    places : sequence of (row, column)
        Where the kernel's centre sits; it may hang over the border by one cell.
    role : {"input", "kernel", "output", "flow"}
        What the kernel's numbers are; it sets their colour.
    size : float
        Side of a cell, in pixels.
    alt : str
        What the figure shows, in words.

    Returns
    -------
    Figure

    Raises
    ------
    ValueError
        If an array has the wrong shape, or the kernel hangs over by more than one cell.

    Notes
    -----
    Source: chapter "How the figures are drawn"; used in chapter "The weights", F14 and F18.
    """
    channel, kernel = _as_grids([channel, kernel])
    content = _padded_grid(channel, size, "input")
    for row, column in places:
        top, left = row - kernel.shape[0] // 2 + 1, column - kernel.shape[1] // 2 + 1
        room = [length + 2 - width for length, width in zip(channel.shape, kernel.shape, strict=True)]
        if not (0 <= top <= room[0] and 0 <= left <= room[1]):
            raise ValueError(f"places: a kernel of {kernel.shape} hangs over by more than one cell at {row, column}")
        move = f"translate({16 + left * size:g} {16 + top * size:g})"
        content += f'<g transform="{move}">{_window(kernel, size, _role(role))}</g>'
    rows, columns = channel.shape
    return Figure([_svg(20 + (columns + 2) * size, 20 + (rows + 2) * size, content)], alt)


def matrix(values, *, alt, role="kernel", size=6, lines=None):
    """Draw a large matrix: a coloured square where it is not zero.

    Parameters
    ----------
    values : array of shape (rows, columns)
        The matrix.
    alt : str
        What the figure shows, in words.
    role : {"input", "kernel", "output", "flow"}
        What the numbers are; it sets the colour.
    size : float
        Side of a cell, in pixels.
    lines : int, optional
        Draw a thin line after so many rows and columns.

    Returns
    -------
    Figure

    Raises
    ------
    ValueError
        If `values` does not have two axes, or the role is unknown.

    Notes
    -----
    Source: chapter "How the figures are drawn"; used in the chapter on why the kernel turns.
    """
    [values] = _as_grids([values])
    largest = float(np.abs(values).max())
    content = _rect(1, 1, values.shape[1] * size, values.shape[0] * size)
    for row, column in zip(*np.nonzero(values), strict=True):
        value = values[row, column]
        colour = COLOURS[_role(role)] if value > 0 else NEGATIVE
        strength = 0.25 + 0.75 * abs(value) / largest
        content += _rect(1 + column * size, 1 + row * size, size, size, colour, strength, "none", 0)
    width, height = (length * size for length in values.shape[::-1])
    for k in range(lines or 0, max(values.shape), lines or max(values.shape)):
        if 0 < k < values.shape[1]:
            content += f'<path d="M{1 + k * size:g} 1 v{height:g}" stroke="currentColor" stroke-width="0.3"/>'
        if 0 < k < values.shape[0]:
            content += f'<path d="M1 {1 + k * size:g} h{width:g}" stroke="currentColor" stroke-width="0.3"/>'
    return Figure([_svg(width + 2, height + 2, content)], alt)
