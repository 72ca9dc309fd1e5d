# Exported from chapters/ by tools/export.py: edit the chapter, not this file.
"""Drawings of grids of numbers, kernels and layers, as small self-contained SVG pictures.

Chapter "How the figures are drawn" builds this module.
"""

import io
import json
import re
from html import escape

import numpy as np

__all__ = [
    "COLOURS", "NEGATIVE", "Figure", "grids", "picture", "kernel_over", "kernel_at", "Explorer",
    "explore_kernel", "explore_impacts", "meetings", "matrix", "curves", "arrows", "steps", "Story",
    "story", "layer",
]


# Chapter "How the figures are drawn" (chapters/drawing.ipynb)

COLOURS = {
    "input": "#0072B2",   # blue: what a layer receives
    "kernel": "#D55E00",  # vermilion: what a layer is made of
    "output": "#009E73",  # green: what a layer hands on
    "flow": "#CC79A7",    # purple: the learning flow, from Part II on
}
NEGATIVE = "#888888"      # grey: a number below zero


class Figure:
    """A row of SVG panels with an alternative text, shown by Jupyter and by the book.

    Parameters
    ----------
    panels : list of str
        The SVG drawings, each made by `_svg`.
    alt : str
        What the figure shows, in words.

    Raises
    ------
    ValueError
        If `alt` is empty.

    Notes
    -----
    Source: chapter "How the figures are drawn".
    """

    def __init__(self, panels, alt):
        if not isinstance(alt, str) or not alt.strip():
            raise ValueError(f"alt: expected a sentence that says what the figure shows, got {alt!r}")
        self.panels = list(panels)
        self.alt = alt.strip()

    def _repr_html_(self):
        style = "display:flex;flex-wrap:wrap;gap:1rem;align-items:center;justify-content:center"
        return (
            f'<div class="convlib-figure" role="img" aria-label="{escape(self.alt)}" style="{style}">'
            + "".join(self.panels)
            + "</div>"
        )

    def __repr__(self):
        return f"Figure: {self.alt}"


def _svg(width, height, content):
    """One panel: a drawing of the given size that shrinks on a narrow screen."""
    return (
        f'<svg viewBox="0 0 {width:g} {height:g}" width="{width:g}" height="{height:g}" '
        'aria-hidden="true" style="max-width:100%;height:auto" fill="currentColor" '
        'font-family="system-ui, sans-serif" text-anchor="middle" dominant-baseline="central">'
        f"{content}</svg>"
    )


def _rect(x, y, width, height, fill="none", opacity=1.0, stroke="currentColor", line=0.6, extra=""):
    """A rectangle that stands on its own."""
    return (
        f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" fill="{fill}" '
        f'fill-opacity="{opacity:.2g}" stroke="{stroke}" stroke-width="{line:g}"{extra}/>'
    )


def _cells(squares, size, frame=""):
    """Many squares of one size in one group: (x, y, colour, opacity) each. It keeps pages small."""
    return (
        f'<g stroke="currentColor" stroke-width="0.6" stroke-opacity="0.45"{frame}>'
        + "".join(
            f'<rect x="{x:g}" y="{y:g}" width="{size:g}" height="{size:g}" fill="{colour}" '
            f'fill-opacity="{opacity:.2g}"/>'
            for x, y, colour, opacity in squares
        )
        + "</g>"
    )


def _spans(x, y, spans, size, extra=""):
    """Text that is SVG already, centred at (x, y)."""
    return f'<text x="{x:g}" y="{y:g}" font-size="{size:g}"{extra}>{spans}</text>'


def _text(x, y, content, size, extra=""):
    """Words or numbers, centred at (x, y); a title may hold "<" or "&"."""
    return _spans(x, y, escape(str(content), quote=False), size, extra)


def _number(value):
    """A number as a reader would write it: 3 digits, a true minus sign."""
    value = float(value) + 0.0  # no minus sign for a zero
    text = f"{value:.0f}" if abs(value - round(value)) < 1e-9 else f"{value:.3g}"
    return text.replace("-", "\N{MINUS SIGN}")


def _symbol(name, upper="", lower=""):
    """A name with an upper and a lower index, as SVG text spans."""
    spans = f'<tspan font-style="italic">{escape(name)}</tspan>'
    if upper:
        spans += f'<tspan dy="-5" font-size="75%">{escape(upper)}</tspan>'
    if lower:
        spans += f'<tspan dy="{9 if upper else 4}" font-size="75%">{escape(lower)}</tspan>'
    return spans


def _fill(value, largest, role):
    """Colour and opacity of a cell: the larger its value, the stronger the fill."""
    colour = COLOURS[role] if value >= 0 else NEGATIVE
    return colour, 0.5 * min(1.0, abs(value) / largest) if largest else 0.0


def _digits(values, x, y, size):
    """The numbers of a grid, small enough for their cells."""
    written = {(p, q): _number(values[p, q]) for p, q in np.ndindex(values.shape)}
    return "".join(
        _text(x + (q + 0.5) * size, y + (p + 0.5) * size, number, min(0.42, 1.4 / len(number)) * size)
        for (p, q), number in written.items()
    )


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
        dim = ' fill-opacity="0.65"'
        parts += [_text(x - 8, y + (row + 0.5) * size, row, 9, extra=dim) for row in range(rows)]
        parts += [_text(x + (column + 0.5) * size, y - 7, column, 9, extra=dim) for column in range(columns)]
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
        One thick frame a grid: the cell it begins at and its size in cells.
    size : float
        Side of a cell, in pixels.
    digits, same_scale : bool
        Whether the numbers are written; whether equal numbers get equal fills everywhere.

    Returns
    -------
    Figure

    Raises
    ------
    ValueError
        If an array has not two axes, a title or a role is missing, or a role is unknown.

    Notes
    -----
    Source: chapter "How the figures are drawn".
    """
    arrays = _as_grids(arrays)
    titles = _one_each("titles", titles if titles is not None else "", len(arrays))
    roles = _one_each("role", role, len(arrays))
    frames = _one_each("frames", frames, len(arrays)) if frames else [None] * len(arrays)
    largest = max(float(np.abs(array).max()) for array in arrays) if same_scale else None
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
        If the image has not the shape (3, H, W).

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
    dim = ' fill-opacity="0.65"'
    for p, q in np.ndindex(rows + 2, columns + 2):
        x, y = 16 + q * size, 16 + p * size
        if 1 <= p <= rows and 1 <= q <= columns:
            value = channel[p - 1, q - 1]
            inside.append((x, y, *_fill(value, largest, role)))
            parts.append(_text(x + size / 2, y + 0.34 * size, _number(value), 12))
        else:
            outside.append((x, y, "none", 0))
            parts.append(_text(x + size / 2, y + 0.34 * size, 0, 12, dim))
    parts.insert(0, _cells(outside, size, ' stroke-dasharray="2 3"') + _cells(inside, size))
    parts += [_text(8, 16 + (p + 1.5) * size, p, 9, extra=dim) for p in range(rows)]
    parts += [_text(16 + (q + 1.5) * size, 8, q, 9, extra=dim) for q in range(columns)]
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
            parts.append(_text(*place, weight, 10.5, bold))
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
    content += _text(middle, top + 15, _number(products.sum()), 16, ' class="sum"')
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


def _kernel_panels(channel, kernel, row, column, role, size=36):
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


def kernel_at(channel, kernel, places, *, role="kernel", size=36, alt):
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


_LISTEN = """
  function move(down, right) {
    row = Math.min(rows - 1, Math.max(0, row + down));
    column = Math.min(columns - 1, Math.max(0, column + right));
    show();
  }
  var steps = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
  root.addEventListener("keydown", function (event) {
    if (!steps[event.key]) return;
    event.preventDefault();
    event.stopPropagation();
    move(steps[event.key][0], steps[event.key][1]);
  });
  root.querySelectorAll("button").forEach(function (button) {
    button.addEventListener("click", function () { move.apply(null, steps[button.dataset.key]); });
  });
  board.addEventListener("click", function (event) {
    var box = board.getBoundingClientRect(), scale = board.viewBox.baseVal.width / box.width;
    row = Math.floor(((event.clientY - box.top) * scale - top) / size);
    column = Math.floor(((event.clientX - box.left) * scale - left) / size);
    move(0, 0);
  });
  root.querySelector(".controls").hidden = false;
  show();
"""


class Explorer(Figure):
    """A figure the reader moves through (chapter "How the figures are drawn").

    Parameters
    ----------
    kind : str
        Which script moves it.
    panels, alt
        As for `Figure`; the reader moves through the first panel.
    script : str
        The JavaScript that defines `show` and the place of the cells.
    data : dict
        What the script needs to know.
    """

    def __init__(self, kind, panels, alt, script, data):
        super().__init__(panels, alt)
        self.kind, self.script, self.data = kind, script, data

    def _repr_html_(self):
        name = f"convlib-explore-{self.kind}"
        data = json.dumps(self.data, separators=(",", ":"))
        arrows = {"Left": "←", "Up": "↑", "Down": "↓", "Right": "→"}
        buttons = "".join(
            f'<button type="button" data-key="Arrow{word}" aria-label="move {word.lower()}" '
            f'style="min-width:2.5rem;min-height:2.5rem">{arrow}</button> '
            for word, arrow in arrows.items()
        )
        return (
            f'<div class="convlib-explore {name}" tabindex="0" role="group" data-start="{escape(data)}" '
            f'aria-label="{escape(self.alt)} Move with the arrow keys.">{super()._repr_html_()}'
            f'<div class="controls" style="text-align:center" hidden>{buttons}'
            '<output style="display:block" aria-live="polite"></output></div></div>'
            f'<script>document.querySelectorAll(".{name}:not([data-ready])").forEach(function (root) {{\n'
            '  root.dataset.ready = "yes";\n  var start = JSON.parse(root.dataset.start);\n'
            '  var said = root.querySelector("output"), panels = root.querySelectorAll("svg");\n'
            f"  var board = panels[0], row = start.row, column = start.column;{self.script}{_LISTEN}}});</script>"
        )


_MOVE_KERNEL = """
  var rows = start.channel.length, columns = start.channel[0].length, size = 36, left = 52, top = 52;
  var frame = board.querySelector(".window"), cells = panels[1].querySelectorAll("rect");
  var texts = panels[1].querySelectorAll("text");
  function written(value) { return String(value).replace("-", "\\u2212"); }
  function show() {
    var sum = 0, products = [];
    for (var u = 0; u < 3; u++) for (var v = 0; v < 3; v++) {
      var line = start.channel[row + u - 1] || [];
      var product = (line[column + v - 1] || 0) * start.kernel[u][v];
      products.push(product);
      sum += product;
    }
    var largest = Math.max.apply(null, products.map(Math.abs)) || 1;
    products.forEach(function (product, place) {
      texts[place + 1].textContent = written(product);
      cells[place].setAttribute("fill", product < 0 ? "NEGATIVE" : start.colour);
      cells[place].setAttribute("fill-opacity", (0.5 * Math.abs(product) / largest).toFixed(2));
    });
    panels[1].querySelector(".sum").textContent = written(sum);
    frame.setAttribute("transform", "translate(" + (16 + column * size) + " " + (16 + row * size) + ")");
    said.textContent = "centre at (" + row + ", " + column + "): sum " + written(sum);
  }
""".replace("NEGATIVE", NEGATIVE)


def explore_kernel(channel, kernel, row, column, *, role="input", alt):
    """Draw a 3 x 3 kernel over a channel so that the reader can move it.

    Parameters
    ----------
    channel : array of int of shape (H, W)
        The grid the kernel looks at.
    kernel : array of int of shape (3, 3)
        The weights.
    row, column : int
        Where the kernel's centre sits at first.
    role : {"input", "kernel", "output", "flow"}
        What the grid holds; it sets its colour.
    alt : str
        What the figure shows, in words.

    Returns
    -------
    Explorer

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
    colour = COLOURS["flow" if role == "flow" else "output"]
    data = {"channel": channel.tolist(), "kernel": kernel.tolist(), "row": row, "column": column, "colour": colour}
    panels = _kernel_panels(channel, kernel, row, column, role)
    return Explorer("kernel", panels, alt, _MOVE_KERNEL, data)


_SHOW_IMPACTS = """
  var rows = start.rows, columns = start.columns, size = 28, left = 18, top = 34;
  var picked = board.querySelector(".picked"), boards = Array.prototype.slice.call(panels, 1);
  function show() {
    var touched = start.impacts[row * columns + column];
    picked.setAttribute("transform", "translate(" + (left + column * size) + " " + (top + row * size) + ")");
    boards.forEach(function (other) {
      var cells = other.querySelectorAll("rect"), notes = other.querySelectorAll(".note");
      cells.forEach(function (cell) { cell.setAttribute("fill-opacity", "0"); });
      notes.forEach(function (note) { note.textContent = ""; });
      touched.forEach(function (impact) {
        cells[impact[0]].setAttribute("fill-opacity", "0.4");
        notes[impact[0]].textContent = impact[1];
      });
    });
    said.textContent = "(" + row + ", " + column + ") touches " + touched.length * boards.length;
  }
"""


def _noted_grid(shape, touched, role, title, picked=None):
    """A panel of empty cells, but for the `touched` ones (row, column, note) and the `picked` one."""
    (rows, columns), size = shape, 28
    notes = {(p, q): note for p, q, note in touched}
    dim = ' fill-opacity="0.65"'
    content = _text(18 + columns * size / 2, 9, title, 12)
    content += "".join(_text(10, 34 + (p + 0.5) * size, p, 9, dim) for p in range(rows))
    content += "".join(_text(18 + (q + 0.5) * size, 27, q, 9, dim) for q in range(columns))
    places = {(p, q): (18 + q * size, 34 + p * size) for p, q in np.ndindex(rows, columns)}
    content += _cells([(*xy, COLOURS[role], 0.4 * (at in notes)) for at, xy in places.items()], size)
    content += "".join(
        _text(x + size / 2, y + size / 2, notes.get(at, ""), 11, ' class="note"')
        for at, (x, y) in places.items()
    )
    if picked:
        move = "translate({} {})".format(*places[picked])
        content += f'<g class="picked" transform="{move}">{_rect(0, 0, size, size, COLOURS[role], 0.5, line=2.5)}</g>'
    return _svg(20 + columns * size, 36 + rows * size, content)


def explore_impacts(impacts, target_shape, row, column, *, titles, roles=("input", "output"), alt):
    """Draw which cells of other grids each cell of a grid touches; the reader picks the cell.

    Parameters
    ----------
    impacts : list of list of list of (int, int, str)
        For each row and column of the first grid: the cells it touches (row, column) and a note for each.
    target_shape : (int, int)
        Shape of the grids that are touched.
    row, column : int
        The cell that is picked at first.
    titles : sequence of str
        The title of the first grid, then one for each grid that is touched, all in the same way.
    roles : (str, str)
        What the first grid and the others hold; it sets the colours.
    alt : str
        What the figure shows, in words.

    Returns
    -------
    Explorer

    Raises
    ------
    ValueError
        If a role is unknown, or the cell that is picked at first is outside the grid.

    Notes
    -----
    Source: chapter "How the figures are drawn"; used in the chapters on the learning flow (F08)
    and the weights (F14).
    """
    shape = (len(impacts), len(impacts[0]))
    if not (0 <= row < shape[0] and 0 <= column < shape[1]):
        raise ValueError(f"row, column: expected a cell of a grid of shape {shape}, got ({row}, {column})")
    source, target = (_role(name) for name in roles)
    panels = [_noted_grid(shape, [], source, titles[0], picked=(row, column))]
    panels += [_noted_grid(target_shape, impacts[row][column], target, title) for title in titles[1:]]
    flat = [[[p * target_shape[1] + q, note] for p, q, note in touched] for line in impacts for touched in line]
    data = {"rows": shape[0], "columns": shape[1], "row": row, "column": column, "impacts": flat}
    return Explorer("impacts", panels, alt, _SHOW_IMPACTS, data)


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
        If the kernel fits nowhere, or `flow` has not one number for each place.

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
    index = ' fill-opacity="0.65"'
    content = "".join(_text(x + (before + c + 0.5) * size, 11, c, 9, index) for c in range(len(line)))
    content += "".join(_text(11, top + (p + 0.5) * size, p, 9, index) for p in range(count))
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
        content += _text(left + size / 2, y + size / 2, written, 11)
    return _svg(right + size + 4, max(top + count * size, along + size) + 4, content)


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
        If `values` has not two axes, or the role is unknown.

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


def curves(figure, *, alt):
    """Take a matplotlib figure into the page: sharp, see-through, in the colour of the text.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
        The finished plot; it is closed.
    alt : str
        What the plot shows, in words.

    Returns
    -------
    Figure

    Notes
    -----
    Source: chapter "How the figures are drawn".
    """
    import matplotlib.pyplot as plt

    for axes in figure.axes:
        if axes.get_legend():
            axes.get_legend().set_frame_on(False)  # its white card would not suit a dark page
    written = io.StringIO()
    with plt.rc_context({"svg.fonttype": "none", "svg.hashsalt": "convlib"}):
        figure.savefig(written, format="svg", transparent=True, bbox_inches="tight", metadata={"Date": None})
    plt.close(figure)
    svg = written.getvalue()
    svg = svg[svg.index("<svg") :].replace("#000000", "currentColor")
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = svg.replace("<svg ", '<svg fill="currentColor" aria-hidden="true" style="max-width:100%;height:auto" ', 1)
    return Figure([svg], alt)


def _link(start, end, strong):
    """An arrow from one point to another, faint or strong."""
    (x, y), (across, down) = start, (end[0] - start[0], end[1] - start[1])
    length, angle = np.hypot(across, down), np.degrees(np.arctan2(down, across))
    look = f'"{COLOURS["kernel"]}" stroke-width="2.4"' if strong else '"currentColor" stroke-opacity="0.3"'
    return (
        f'<path d="M0 0 h{length:.1f} m-7 -4 l7 4 l-7 4" fill="none" stroke={look} '
        f'transform="translate({x:g} {y:g}) rotate({angle:.1f})"/>'
    )


def _line_of_cells(values, y, step, size, role, index_below):
    """One row of numbers, a gap between the cells, with the places above or below."""
    largest, dim = max(abs(value) for value in values), ' fill-opacity="0.65"'
    middles = [40 + step * place for place in range(len(values))]
    cells = [(x - size / 2, y, *_fill(value, largest, role)) for x, value in zip(middles, values, strict=True)]
    content = _cells(cells, size)
    for place, (x, value) in enumerate(zip(middles, values, strict=True)):
        content += _text(x, y + size / 2, _number(value), 15)
        content += _text(x, y + (size + 9 if index_below else -8), place, 9, dim)
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
    return _cells(cells, size) + "".join(_text(x, top + size / 2, _number(value), 14) for x, value in pairs)


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


_TELL = """
  var slider = root.querySelector("input"), frames = JSON.parse(root.dataset.frames);
  var picture = root.querySelector("[role=img]"), panels = picture.children, said = root.querySelector("p");
  function show(number) {
    number = Math.min(frames.length, Math.max(1, number));
    var frame = frames[number - 1];
    for (var k = 0; k < panels.length; k++) panels[k].hidden = frame.panels.indexOf(k) < 0;
    picture.setAttribute("aria-label", frame.alt);
    said.textContent = number + " of " + frames.length + ": " + frame.said;
    slider.value = number;
    slider.setAttribute("aria-valuetext", said.textContent);
  }
  slider.addEventListener("input", function () { show(Number(slider.value)); });
  root.querySelectorAll("button").forEach(function (button) {
    button.addEventListener("click", function () { show(Number(slider.value) + Number(button.dataset.step)); });
  });
  root.querySelector(".controls").hidden = false;
  show(1);
"""


class Story(Figure):
    """Pictures one after the other, with a slider (chapter "How the figures are drawn")."""

    def __init__(self, pictures, said, still, alt):
        super().__init__(dict.fromkeys(panel for picture in pictures for panel in picture.panels), alt)
        self.frames = [
            {"panels": [self.panels.index(panel) for panel in picture.panels], "alt": picture.alt, "said": words}
            for picture, words in zip(pictures, said, strict=True)
        ]
        self.still = self.frames[still]

    def _repr_html_(self):
        shown = [
            f"<div{'' if place in self.still['panels'] else ' hidden'}>{panel}</div>"
            for place, panel in enumerate(self.panels)
        ]
        data, size = json.dumps(self.frames, separators=(",", ":")), "min-width:2.5rem;min-height:2.5rem"
        back, forth = (
            f'<button type="button" data-step="{step}" aria-label="{name}" style="{size}">{arrow}</button>'
            for step, name, arrow in ((-1, "step back", "←"), (1, "next step", "→"))
        )
        slider = (
            f'<input type="range" min="1" max="{len(self.frames)}" value="1" aria-label="step" '
            'style="width:min(24rem,55%);min-height:2.5rem;vertical-align:middle">'
        )
        return (
            f'<div class="convlib-story" role="group" data-frames="{escape(data)}" '
            f'aria-label="{escape(self.alt)} Move with the slider.">'
            f'<div class="controls" style="text-align:center" hidden>{back} {slider} {forth}</div>'
            f'<p style="text-align:center;min-height:3.2em">{escape(self.still["said"])}</p>'
            f'{Figure(shown, self.still["alt"])._repr_html_()}</div>'
            '<script>document.querySelectorAll(".convlib-story:not([data-ready])").forEach(function (root) {\n'
            f'  root.dataset.ready = "yes";{_TELL}}});</script>'
        )


def story(pictures, said, *, still=None, alt):
    """Show pictures one after the other, moved by the reader.

    Parameters
    ----------
    pictures : sequence of Figure
        One for each step.
    said : sequence of str
        A sentence for each step.
    still : int, optional
        Which picture stands where scripts do not run; by default the last.
    alt : str
        What the whole figure shows, in words.

    Returns
    -------
    Story

    Raises
    ------
    ValueError
        If there is no picture, not one sentence for each, or no picture `still`.

    Notes
    -----
    Source: chapter "How the figures are drawn"; used in the chapter "Layers and models".
    """
    pictures, said = list(pictures), _one_each("said", list(said), len(pictures))
    still = len(pictures) - 1 if still is None else still
    if not 0 <= still < len(pictures):
        raise ValueError(f"still: expected one of {len(pictures)} pictures, got {still}")
    return Story(pictures, said, still, alt)


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
