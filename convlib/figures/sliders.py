# Exported from chapters/ by tools/export.py: edit the chapter, not this file.
"""Stride, padding, dilation and groups by sliders: what a layer's settings read.

Chapter "Figures to play with" builds this module.
"""

from convlib.figures.drawing import COLOURS, _cells, _svg, _text
from convlib.figures.moving import Moving, _board, _panel, _said, _slider, _stage
from convlib.shapes import output_size

__all__ = ["SQUARE", "RING", "LIMITS", "settings"]


# Chapter "Figures to play with" (chapters/playing.ipynb)

SQUARE, RING = 20, 3  # a cell's side, and the widest padding
LIMITS = {"stride": (1, 4), "padding": (0, RING), "dilation": (1, 4), "groups": (1, 4)}


_LOOK = """
.convlib-moving .sliders { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(17rem, 100%), 1fr)); }
.convlib-moving .sliders label { flex-wrap: nowrap; }
.convlib-moving .sliders input { flex: 1; width: auto; min-width: 0; }
"""


def _field(count, most, offset, title, role):
    """A field of cells in a drawing with room for more of them."""
    squares = [(2 + (offset + q) * SQUARE, 20 + (offset + p) * SQUARE, COLOURS[role], 0.25)
               for p in range(count) for q in range(count)]
    content = _text(2 + most * SQUARE / 2, 9, title, 12) + f'<g class="field">{_cells(squares, SQUARE)}</g>'
    return _svg(4 + most * SQUARE, 22 + most * SQUARE, content)


def _channels(counts):
    """Input channels on the left, output channels on the right, a wire for each pair."""
    places = [[(20 + 90 * side, 36 + 34 * k) for k in range(count)] for side, count in enumerate(counts)]
    content = _text(65, 9, "channels", 12) + "".join(
        f'<path class="wire" d="M{x + 9} {y} L{over - 9} {down}" stroke="{COLOURS["kernel"]}" stroke-width="2"/>'
        for x, y in places[0] for over, down in places[1]
    )
    for role, column in zip(("input", "output"), places, strict=True):
        content += "".join(f'<circle cx="{x}" cy="{y}" r="9" fill="{COLOURS[role]}" fill-opacity="0.5" '
                           f'stroke="currentColor"/>' for x, y in column)
    return _svg(130, 40 + 34 * max(counts), content)


_READ = """
    const { size, kernel, channels, ring } = start, names = ["stride", "padding", "dilation", "groups"];
    const inputs = names.map((each) => one(`[data-name=${each}]`)), board = one(".board");
    const [field, wires] = all(".panel");
    const across = size + 2 * ring;
    const settings = () => Object.fromEntries(names.map((each, k) => [each, Number(inputs[k].value)]));
    function problem({ padding, dilation, groups }) {
      const room = size + 2 * padding, covered = dilation * (kernel - 1) + 1;
      for (const side of [0, 1]) if (channels[side] % groups) return "groups: expected a number that divides the " +
        `${channels[side]} ${["input", "output"][side]} channels, got ${groups}`;
      if (covered > room) return `weight rows: expected to cover at most ${room} cells (${size} and padding ` +
        `(${padding}, ${padding})), got ${kernel} with dilation ${dilation}, which cover ${covered}`;
      return "";
    }
    function read({ stride, padding, dilation }, p) {
      return Array.from({ length: kernel }, (_, u) => ring + p * stride + u * dilation - padding);
    }
    function square(parent, p, q, role, opacity, padding) {
      const width = start.square, look = { fill: COLOURS[role], "fill-opacity": opacity, stroke: "currentColor",
        "stroke-width": 0.6, "stroke-opacity": 0.5, ...(padding && { "stroke-dasharray": "2 3" }) };
      draw("rect", { x: 2 + q * width, y: 20 + p * width, width, height: width, ...look }, parent);
    }
    function each(from, to, visit) {
      for (let p = from; p < to; p++) for (let q = from; q < to; q++) visit(p, q);
    }
    function groupsOf(groups, fits) {
      wires.querySelectorAll(".wire").forEach((wire, k) => {
        const input = Math.floor(k / channels[1]), output = k % channels[1];
        const same = Math.floor(input * groups / channels[0]) === Math.floor(output * groups / channels[1]);
        wire.style.visibility = fits && same ? "visible" : "hidden";
      });
    }
"""


_SET = """
    const options = { rows: 1, columns: 1, size: start.square, left: 2, top: 20, label: "the output", pick };
    function pick(row, column) {
      const now = settings(), wrong = problem(now), { padding, groups } = now;
      const room = size + 2 * padding - now.dilation * (kernel - 1) - 1;
      const count = wrong ? 0 : Math.floor(room / now.stride) + 1;
      const every = new Set(Array.from({ length: count }, (_, p) => read(now, p)).flat());
      const rows = wrong ? [] : read(now, row), columns = wrong ? [] : read(now, column);
      options.rows = options.columns = Math.max(1, count);
      const [image, output] = [field, board].map((place) => place.querySelector(".field"));
      image.replaceChildren();
      output.replaceChildren();
      each(ring - padding, across - ring + padding, (p, q) => {
        const here = rows.includes(p) && columns.includes(q), some = every.has(p) && every.has(q);
        const outside = Math.min(p, q) < ring || Math.max(p, q) >= across - ring;
        square(image, p, q, here ? "kernel" : "input", here ? 0.6 : some ? 0.25 : 0, outside);
      });
      each(0, count, (p, q) => square(output, p, q, "output", p === row && q === column ? 0.7 : 0.25));
      groupsOf(groups, !wrong);
      field.setAttribute("aria-label", `the input, padding ${padding}; strong: what ${row}, ${column} reads`);
      if (wrong) return `This does not fit. ${wrong}.`;
      const real = (list) => list.filter((each) => each >= ring && each < across - ring).length;
      const shared = channels[0] / groups, weights = channels[1] * shared * kernel * kernel;
      const found = `${real(rows) * real(columns)} cells of the image in ${shared} of ${channels[0]} channels`;
      return `The output has ${count} × ${count} cells in ${channels[1]} channels. Row ${row}, column ${column} ` +
        `reads ${found}. The layer has ${weights} weights.`;
    }
    const cells = pickable(board, options);
    inputs.forEach((input) => input.addEventListener("input", () => {
      name(input, input.value);
      pick(0, 0);
      say(cells.choose(...cells.chosen()));
    }));
    inputs.forEach((input) => name(input, input.value));
    say(cells.choose(0, 0));
"""


def settings(size=7, kernel_size=3, channels=(4, 4), *, alt):
    """Draw which cells a layer reads, with sliders for stride, padding, dilation and groups.

    Parameters
    ----------
    size : int
        Rows and columns of the input.
    kernel_size : int
        Rows and columns of the kernel.
    channels : (int, int)
        Input and output channels.
    alt : str
        What the figure shows, in words.

    Returns
    -------
    Moving

    Raises
    ------
    ValueError
        If the kernel is larger than the input.

    Notes
    -----
    Source: chapter "Figures to play with"; used in chapter "Stride, padding, dilation, groups".
    """
    output_size(size, kernel_size)  # refuses what does not fit
    across, most = size + 2 * RING, output_size(size, kernel_size, padding=RING)
    sliders = "".join(_slider(name, name, *ends, ends[0]) for name, ends in LIMITS.items())
    parts = [
        f'<div class="controls sliders" hidden>{sliders}</div>',
        _said("Stride, padding, dilation and groups decide which cells an output reads."),
        _stage(_panel(_field(size, across, RING, "input, with padding", "input"), "the input, with padding"),
               _board(_field(output_size(size, kernel_size), most, 0, "output", "output"), "the output"),
               _panel(_channels(channels), "input and output channels")),
    ]
    data = {"size": size, "kernel": kernel_size, "channels": list(channels), "ring": RING, "square": SQUARE}
    return Moving("settings", parts, alt, _READ + _SET, data, _LOOK)
