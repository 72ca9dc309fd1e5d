# Exported from chapters/ by tools/export.py: edit the chapter, not this file.
"""Explorers: pick a cell of one grid, and see what belongs to it in others.

Chapter "How the figures move" builds this module.
"""

import numpy as np

from convlib.figures.drawing import COLOURS, _cells, _fit, _in_words, _rect, _svg, _text
from convlib.figures.moving import Moving, _board, _button, _controls, _panel, _said, _stage
from convlib.figures.numbers import _check_place, _kernel_panels, _role

__all__ = ["Explorer", "explore_kernel", "explore_impacts"]


# Chapter "How the figures move" (chapters/moving.ipynb)

_EXPLORE = """
    const panels = all("svg"), board = panels[0];
    let row = start.row, column = start.column;
    @SHOW@
    const explorer = pickable(one(".board"), { rows, columns, size, left, top, row, column,
      label: start.label || "the picked cell",
      pick(p, q) {
        row = p;
        column = q;
        const words = show() || said.textContent;
        all(".panel").forEach((panel) => panel.setAttribute("aria-label", words));
        return words;
      } });
    say(explorer.choose(row, column));
    all("[data-do^=Arrow]").forEach((button) => button.addEventListener("click", () => {
      const cell = keys({ key: button.dataset.do }, ...explorer.chosen(), { rows, columns });
      say(explorer.choose(...(cell || explorer.chosen())));
    }));
"""


class Explorer(Moving):
    """A figure whose reader picks a cell of its first panel (chapter "How the figures move").

    Parameters
    ----------
    kind, alt, data
        As for `Moving`; `data` holds the row and the column that are picked at first.
    panels : list of str
        The drawings; the cell is picked in the first.
    script : str
        The JavaScript that defines `rows`, `columns`, `size`, `left`, `top` and `show`.
    """

    def __init__(self, kind, panels, alt, script, data):
        signs = {"Left": "←", "Up": "↑", "Down": "↓", "Right": "→"}
        buttons = [_button(f"Arrow{word}", f"move {word.lower()}", sign) for word, sign in signs.items()]
        alt = _in_words(alt)
        stage = _stage(_board(panels[0], alt), *(_panel(panel, alt) for panel in panels[1:]))
        parts = [stage, _controls(*buttons), _said()]
        super().__init__(f"explore-{kind}", parts, alt, _EXPLORE.replace("@SHOW@", script.strip()), data)


_MOVE_KERNEL = """
    const rows = start.channel.length, columns = start.channel[0].length, size = 33, left = 49, top = 49;
    const frame = board.querySelector(".window"), cells = panels[1].querySelectorAll("rect");
    const texts = panels[1].querySelectorAll("text");
    frame.classList.add("glide");
    function show() {
      const products = [];
      for (let u = 0; u < 3; u++) for (let v = 0; v < 3; v++) {
        const line = start.channel[row + u - 1] || [];
        products.push((line[column + v - 1] || 0) * start.kernel[u][v]);
      }
      const largest = Math.max(...products.map(Math.abs)), sum = products.reduce((one, other) => one + other);
      products.forEach((product, place) => {
        write(texts[place + 1], written(product), 46, 19);
        paint(cells[place], product, largest, start.role);
      });
      write(panels[1].querySelector(".sum"), written(sum), 64, 16);
      frame.setAttribute("transform", `translate(${16 + column * size} ${16 + row * size})`);
      return `The kernel's centre at row ${row}, column ${column}: the sum is ${written(sum)}.`;
    }
"""


def explore_kernel(channel, kernel, row, column, *, role="input", alt):
    """Draw a 3 x 3 kernel over a channel so that the reader can move it.

    Parameters
    ----------
    channel : array of shape (H, W)
        The grid the kernel looks at.
    kernel : array of shape (3, 3)
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
    Source: chapter "How the figures move"; the sum is that of chapter "One kernel, one neuron", formula F01.
    """
    channel, kernel = _check_place(channel, kernel, row, column)
    data = {"channel": channel.tolist(), "kernel": kernel.tolist(), "row": row, "column": column,
            "role": "flow" if role == "flow" else "output", "label": "the kernel's place"}
    panels = _kernel_panels(channel, kernel, row, column, role)
    return Explorer("kernel", panels, alt, _MOVE_KERNEL, data)


_SHOW_IMPACTS = """
    const { rows, columns } = start, size = 27, left = 18, top = 34;
    const chosen = board.querySelector(".picked"), boards = panels.slice(1);
    function show() {
      const found = start.impacts[row * columns + column], count = found.length * boards.length;
      chosen.setAttribute("transform", `translate(${left + column * size} ${top + row * size})`);
      boards.forEach((other) => {
        const cells = other.querySelectorAll("rect"), notes = other.querySelectorAll(".note");
        cells.forEach((cell) => cell.setAttribute("fill-opacity", 0));
        notes.forEach((note) => { note.textContent = ""; });
        found.forEach(([place, note]) => {
          cells[place].setAttribute("fill-opacity", 0.5);
          write(notes[place], note, size, 11);
        });
      });
      return `Row ${row}, column ${column} ${start.verb} ${count} cell${count === 1 ? "" : "s"}.`;
    }
"""


def _noted_grid(shape, touched, role, title, picked=None):
    """A panel of empty cells, but for the `touched` ones (row, column, note) and the `picked` one."""
    (rows, columns), size = shape, 27  # three grids of the house stand side by side
    notes = {(p, q): note for p, q, note in touched}
    dim = ' fill-opacity="0.75"'
    content = _text(18 + columns * size / 2, 9, title, 12)
    content += "".join(_text(10, 34 + (p + 0.5) * size, p, 11, dim) for p in range(rows))
    content += "".join(_text(18 + (q + 0.5) * size, 27, q, 11, dim) for q in range(columns))
    places = {(p, q): (18 + q * size, 34 + p * size) for p, q in np.ndindex(rows, columns)}
    content += _cells([(*xy, COLOURS[role], 0.5 * (at in notes)) for at, xy in places.items()], size)
    content += "".join(
        _text(x + size / 2, y + size / 2, notes.get(at, ""), _fit(notes.get(at) or "0", size, 11), ' class="note"')
        for at, (x, y) in places.items()
    )
    if picked:
        move = "translate({} {})".format(*places[picked])
        content += f'<g class="picked" transform="{move}">{_rect(0, 0, size, size, COLOURS[role], 0.5, line=2.5)}</g>'
    return _svg(20 + columns * size, 36 + rows * size, content)


def explore_impacts(impacts, target_shape, row, column, *, titles, roles=("input", "output"), verb="touches", alt):
    """Draw which cells of other grids belong to each cell of a grid; the reader picks the cell.

    Parameters
    ----------
    impacts : list of list of list of (int, int, str)
        For each row and column of the first grid: the cells that belong to it (row, column) and a note for each.
    target_shape : (int, int)
        Shape of the other grids.
    row, column : int
        The cell that is picked at first.
    titles : sequence of str
        The title of the first grid, then one for each other grid; in each, the same cells belong to it.
    roles : (str, str)
        What the first grid and the others hold; it sets the colours.
    verb : str
        What the picked cell does to the others: "touches", or "is made of".
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
    Source: chapter "How the figures move"; used in the chapters "The learning flow" (F08) and "The weights" (F14).
    """
    shape = (len(impacts), len(impacts[0]))
    if not (0 <= row < shape[0] and 0 <= column < shape[1]):
        raise ValueError(f"row, column: expected a cell of a grid of shape {shape}, got ({row}, {column})")
    source, target = (_role(name) for name in roles)
    panels = [_noted_grid(shape, [], source, titles[0], picked=(row, column))]
    panels += [_noted_grid(target_shape, impacts[row][column], target, title) for title in titles[1:]]
    flat = [[[p * target_shape[1] + q, note] for p, q, note in found] for line in impacts for found in line]
    data = {"rows": shape[0], "columns": shape[1], "row": row, "column": column, "impacts": flat, "verb": verb}
    return Explorer("impacts", panels, alt, _SHOW_IMPACTS, data)
