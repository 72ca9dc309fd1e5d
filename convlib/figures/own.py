# Exported from chapters/ by tools/export.py: edit the chapter, not this file.
"""Your own kernel on your own drawing: everything that a neuron computes, while you change it.

Chapter "Figures to play with" builds this module.
"""

import numpy as np

from convlib.figures.drawing import COLOURS, _rect, _svg, _text
from convlib.figures.moving import Moving, _board, _choice, _controls, _panel, _said, _stage
from convlib.figures.numbers import _check_place, _grid, _products
from convlib.reference import correlate2d

__all__ = ["FILE", "LOOK", "SMALL", "LARGE", "own_kernel"]


# Chapter "Figures to play with" (chapters/playing.ipynb)

FILE = ('<label>a photograph of your own (it stays on this machine) '
        '<input type="file" accept="image/*" data-name="photograph"></label>')
LOOK = f"""
.convlib-moving .weights {{ display: grid; grid-template-columns: repeat(3, 4.25rem); }}
.convlib-moving .weights b {{ grid-column: 1 / -1; font-weight: normal; }}
.convlib-moving .weights input {{ border: 2px solid {COLOURS["kernel"]}; }}
"""
SMALL, LARGE = 28, 36  # sides of a cell: of the drawing, and of the output with its longer numbers


def _pictures(image):
    """Ready pictures as large as the given one, by name."""
    p, q = np.indices(image.shape)
    middle, ink = image.shape[1] // 2, image.max()
    return {
        "as at first": image,
        "an upright edge": ink * (q >= middle),
        "a level edge": ink * (p >= image.shape[0] // 2),
        "a slope": ink * (p + q == image.shape[0] - 1),
        "a single dot": ink * ((p == image.shape[0] // 2) & (q == middle)),
        "blank": 0 * image,
    }


def _kernels(kernel):
    """Ready kernels, by name."""
    return {
        "as at first": kernel,
        "copy": np.array([[0, 0, 0], [0, 1, 0], [0, 0, 0]]),
        "all nine together": np.ones((3, 3), int),
        "upright edges": np.array([[-1, 0, 1]] * 3),
        "level edges": np.array([[-1] * 3, [0] * 3, [1] * 3]),
    }


def _framed_grid(values, title, role, size, margin, frame):
    """A grid with a title and a frame (row, column, cells) that may hang over into the margin."""
    rows, columns = values.shape
    left, top, (row, column, cells) = 18 + margin, 34 + margin, frame
    move = f"translate({left + column * size:g} {top + row * size:g})"
    look = _rect(0, 0, cells * size, cells * size, COLOURS["kernel"], 0.12, COLOURS["kernel"], 3)
    content = _grid(values, left, top, size, role) + _text(left + columns * size / 2, 9, title, 12)
    content += f'<g class="frame glide" transform="{move}">{look}</g>'
    return _svg(left + columns * size + margin + 2, top + rows * size + margin + 2, content)


def _weights(kernel):
    """Nine boxes for numbers."""
    boxes = "".join(
        f'<input type="number" step="any" value="{float(kernel[u, v]):.12g}" aria-label="weight, row {u}, column {v}">'
        for u, v in np.ndindex(3, 3)
    )
    group = 'class="controls weights" role="group" aria-label="the nine weights" hidden'
    return f"<div {group}><b>the kernel</b>{boxes}</div>"


_COMPUTE = """
    const { rows, columns, ink, small, large } = start, count = rows * columns;
    const copy = (grid) => grid.map((line) => line.slice());
    const [drawing, output] = all(".board"), [, products] = all(".panel"), boxes = all(".weights input");
    let image = copy(start.pictures[0]), kernel = copy(start.kernels[0]), brush = 0, typed = "", last = "";
    const under = (p, q, u, v) => (image[p + u - 1] || [])[q + v - 1] || 0;
    const nine = (p, q) => kernel.flatMap((line, u) => line.map((weight, v) => weight * under(p, q, u, v)));
    const neuron = (p, q) => nine(p, q).reduce((sum, product) => sum + product, 0);
    const whole = () => image.map((line, p) => line.map((_, q) => neuron(p, q)));
    function show(place, values, role, size, first = 0) {
      const cells = place.querySelectorAll("rect"), texts = place.querySelectorAll("text");
      const largest = Math.max(...values.map(Math.abs));
      values.forEach((value, k) => {
        paint(cells[k], value, largest, role);
        write(texts[k + first], written(value), size, 0.42 * size);
      });
    }
    function frame(place, p, q, size, margin) {
      const move = `translate(${18 + margin + q * size} ${34 + margin + p * size})`;
      place.querySelector(".frame").setAttribute("transform", move);
    }
    function look(p, q) {
      const sum = neuron(p, q);
      show(products, nine(p, q), "output", 46, 1);
      write(products.querySelector(".sum"), written(sum), 64, 16);
      frame(drawing, p - 1, q - 1, small, small);
      frame(output, p, q, large, 0);
      products.setAttribute("aria-label", "nine products: " + nine(p, q).map(written).join(", "));
      return `Row ${p}, column ${q} holds ${written(image[p][q])}. The nine products add up to ${written(sum)}.`;
    }
    function refresh() {
      show(drawing, image.flat(), "input", small);
      show(output, whole().flat(), "output", large);
    }
"""


_PLAY = """
    let chosen = [start.row, start.column];
    const settle = (p, q) => { chosen = [p, q]; };
    const put = (p, q, value) => { image[p][q] = value; refresh(); };
    function key(event) {
      const [p, q] = cells.chosen(), place = p + "," + q;
      if (place !== last) typed = "";
      last = place;
      if (event.key === " " || event.key === "Enter") typed = image[p][q] ? "" : String(ink);
      else if (event.key === "Delete" || event.key === "Backspace") typed = "";
      else if (event.key >= "0" && event.key <= "9") typed = (typed + event.key).slice(-3);
      else return false;
      put(p, q, Number(typed));
      say(cells.choose(p, q));
      return true;
    }
    const cells = pickable(drawing, { rows, columns, row: start.row, column: start.column, size: small,
      left: 18 + small, top: 34 + small, label: "your drawing", pick: look, key, settle,
      press(p, q) { brush = image[p][q] ? 0 : ink; put(p, q, brush); },
      drag(p, q) { put(p, q, brush); } });
    const answer = pickable(output, { rows, columns, row: start.row, column: start.column, size: large,
      left: 18, top: 34, label: "the output", pick: look, settle });
    for (const [place, its] of [[drawing, cells], [output, answer]]) {  // both know the cell that was chosen last
      place.addEventListener("pointerenter", () => its.choose(...chosen));
      place.addEventListener("focus", () => { if (place.matches(":focus-visible")) say(its.choose(...chosen)); });
    }
    const again = () => { refresh(); say(cells.choose(...chosen)); };
    boxes.forEach((box, k) => box.addEventListener("input", () => {
      kernel[Math.floor(k / 3)][k % 3] = Number(box.value) || 0;
      again();
    }));
    one("[data-name=picture]").addEventListener("change", (event) => {
      image = copy(start.pictures[event.target.selectedIndex]);
      again();
    });
    one("[data-name=kernel]").addEventListener("change", (event) => {
      kernel = copy(start.kernels[event.target.selectedIndex]);
      boxes.forEach((box, k) => { box.value = kernel[Math.floor(k / 3)][k % 3]; });
      again();
    });
    one(".still").hidden = true;
    again();
"""


_PHOTOGRAPH = """
    function reduced(bitmap) {
      const fine = 16, canvas = document.createElement("canvas"), pen = canvas.getContext("2d");
      const side = Math.min(bitmap.width / columns, bitmap.height / rows);
      canvas.width = columns * fine;
      canvas.height = rows * fine;
      pen.fillStyle = "#fff";
      pen.fillRect(0, 0, canvas.width, canvas.height);
      pen.imageSmoothingQuality = "high";
      pen.drawImage(bitmap, (bitmap.width - columns * side) / 2, (bitmap.height - rows * side) / 2,
        columns * side, rows * side, 0, 0, canvas.width, canvas.height);
      const points = pen.getImageData(0, 0, canvas.width, canvas.height).data, sums = new Array(count).fill(0);
      for (let k = 0; k < points.length / 4; k++) {
        const p = Math.floor(k / canvas.width / fine), q = Math.floor(k % canvas.width / fine);
        sums[p * columns + q] += 0.299 * points[4 * k] + 0.587 * points[4 * k + 1] + 0.114 * points[4 * k + 2];
      }
      const bright = sums.map((sum) => Math.round(sum / fine / fine));
      return image.map((_, p) => bright.slice(p * columns, (p + 1) * columns));
    }
    one("[data-name=photograph]").addEventListener("change", async (event) => {
      const file = event.target.files[0];
      if (!file) return;
      try {
        image = reduced(await createImageBitmap(file));
        again();
      } catch {
        say("Your browser cannot read this file as a picture.");
      }
    });
"""


def own_kernel(image, kernel, *, alt):
    """Draw an image, a kernel and all that the kernel computes there; the reader changes both.

    Parameters
    ----------
    image : array of shape (H, W)
        The grid that is drawn at first.
    kernel : array of shape (3, 3)
        The weights at first.
    alt : str
        What the figure shows, in words.

    Returns
    -------
    Moving

    Raises
    ------
    ValueError
        If an array has the wrong shape.

    Notes
    -----
    Source: chapter "Figures to play with"; the sums are those of chapter "One kernel, one neuron", formula F01.
    """
    image, kernel = _check_place(image, kernel, 0, 0)
    output, (rows, columns) = correlate2d(image, kernel, padding=1), image.shape
    row, column = rows // 2, columns // 2
    drawing = _framed_grid(image, "your drawing", "input", SMALL, SMALL, (row - 1, column - 1, 3))
    answer = _framed_grid(output, "the whole output", "output", LARGE, 0, (row, column, 1))
    weights = _svg(104, 120, _grid(kernel, 18, 34, SMALL, "kernel") + _text(60, 9, "the kernel", 12))
    still = f'<div class="still">{_panel(weights, "the nine weights")}</div>'
    parts = [
        _controls(_choice("picture", "picture", _pictures(image)), _choice("kernel", "kernel", _kernels(kernel)), FILE),
        _stage(_board(drawing, "your drawing", paint=True), still, _weights(kernel),
               _panel(_products(image, kernel, row, column, "output", 46), "nine products and their sum"),
               _board(answer, "the whole output")),
        _said(f"The nine products at row {row}, column {column} add up to {output[row, column]}."),
    ]
    data = {"rows": rows, "columns": columns, "row": row, "column": column, "small": SMALL, "large": LARGE,
            "ink": image.max().item() or 1, "pictures": [each.tolist() for each in _pictures(image).values()],
            "kernels": [each.tolist() for each in _kernels(kernel).values()]}
    return Moving("own-kernel", parts, alt, _COMPUTE + _PLAY + _PHOTOGRAPH, data, LOOK)
