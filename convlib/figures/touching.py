# Exported from chapters/ by tools/export.py: edit the chapter, not this file.
"""Whom does this number touch? The links of a layer, in the grids, in the formula and in the code.

Chapter "Figures to play with" builds this module.
"""

import numpy as np

from convlib.figures.drawing import COLOURS, _svg, _text
from convlib.figures.moving import Moving, _board, _controls, _panel, _said, _stage
from convlib.figures.numbers import _grid
from convlib.reference import correlate2d

__all__ = ["SIDE", "RULES", "touches"]


# Chapter "Figures to play with" (chapters/playing.ipynb)

SIDE = 33  # of a cell
RULES = {  # for each way: the formula and the line of code, in parts
    "made of": [
        ("output", "tmp<sup>o</sup><sub>p,q</sub>"), ("", " = Σ<sub>u</sub> Σ<sub>v</sub> "),
        ("input", "ch<sub>p+u−1, q+v−1</sub>"), ("", " · "), ("weight", "ker<sup>o</sup><sub>u,v</sub>"),
        ("output", "output[o, p, q]"), ("", " += "), ("input", "input[p + u - 1, q + v - 1]"), ("", " * "),
        ("weight", "weight[o, u, v]"),
    ],
    "touches": [
        ("output", "tmp<sup>o</sup><sub>r+1−u, s+1−v</sub>"), ("", " holds "),
        ("input", "ch<sub>r,s</sub>"), ("", " · "), ("weight", "ker<sup>o</sup><sub>u,v</sub>"),
        ("output", "output[o, r + 1 - u, s + 1 - v]"), ("", " += "), ("input", "input[r, s]"), ("", " * "),
        ("weight", "weight[o, u, v]"),
    ],
}


def _rule(way):
    """The formula and the line of code of one way; their parts can have the focus."""
    colours = {**COLOURS, "weight": COLOURS["kernel"]}
    spans = [
        f'<span class="part" data-part="{part}" style="--colour:{colours[part]}">{words}</span>'
        if part else words for part, words in RULES[way]
    ]
    split = len(spans) - 5
    formula, code = "".join(spans[:split]), "".join(spans[split:])
    return f'<div class="rule" data-way="{way}"><p><i>{formula}</i></p><p><code>{code}</code></p></div>'


_LINKS = """
    const { rows, columns, weight, size } = start, boards = all(".board"), kernels = all(".panel");
    const terms = one(".terms"), range = [0, 1, 2], inside = (p, q) => p >= 0 && p < rows && q >= 0 && q < columns;
    let links = [], from = { way: start.way, channel: 0, p: start.row, q: start.column };
    function found({ way, channel, p, q }) {
      const list = [];
      weight.forEach((_, o) => range.forEach((u) => range.forEach((v) => {
        if (way === "touches" && inside(p + 1 - u, q + 1 - v))
          list.push({ o, u, v, output: [p + 1 - u, q + 1 - v], input: [p, q] });
        if (way === "made of" && o === channel && inside(p + u - 1, q + v - 1))
          list.push({ o, u, v, output: [p, q], input: [p + u - 1, q + v - 1] });
      })));
      return list;
    }
    const value = ({ input: [r, s] }) => start.input[r][s], factor = ({ o, u, v }) => weight[o][u][v];
    const product = (link) => value(link) * factor(link);
    const signed = (number) => (number < 0 ? `(${written(number)})` : written(number));
    const sum = (link) => `${written(value(link))} · ${signed(factor(link))} = ${written(product(link))}`;
    function place(link, part) {
      if (part === "input") return [boards[0], ...link.input];
      return part === "output" ? [boards[link.o + 1], ...link.output] : [kernels[link.o], link.u, link.v];
    }
    function mark(list, part, look) {
      const marked = new Map(list.map((link) => place(link, part)).map((at) => [kernels.concat(boards).indexOf(at[0]) +
        "," + at.slice(1), at]));  // a cell with several links is marked once
      marked.forEach(([board, p, q]) => {
        const group = board.querySelector(".marks");
        draw("rect", { x: 18 + q * size, y: 34 + p * size, width: size, height: size, ...look }, group);
      });
    }
    function sentence(link) {
      const { o, u, v, output: [p, q], input: [r, s] } = link;
      return `output[${o}, ${p}, ${q}] += input[${r}, ${s}] * weight[${o}, ${u}, ${v}]: ${sum(link)}`;
    }
"""


_LIGHT = """
    function words() {
      const where = `row ${from.p}, column ${from.q}`;
      if (from.way === "made of") {
        const total = links.reduce((before, link) => before + product(link), 0);
        return `Output channel ${from.channel + 1}, ${where} is made of ${links.length} inputs: ${written(total)}.`;
      }
      return `The input in ${where} touches ${links.length} outputs.`;
    }
    function light(term = null, part = null) {
      const strong = term === null ? [] : [links[term]], frame = { fill: "none", stroke: "currentColor" };
      all(".marks").forEach((group) => group.replaceChildren());
      for (const name of ["input", "output", "weight"]) {
        const look = { fill: COLOURS.kernel, "fill-opacity": part === name ? 0.5 : 0.25, "stroke": "none" };
        mark(links, name, look);
        mark(strong, name, { ...frame, "stroke-width": 4 });
      }
      mark(links.slice(0, 1), from.way === "touches" ? "input" : "output", { ...frame, "stroke-width": 2.5 });
      terms.querySelectorAll("button").forEach((button, k) => button.setAttribute("aria-pressed", k === term));
      all(".rule").forEach((rule) => rule.classList.toggle("on", rule.dataset.way === from.way));
      all(".part").forEach((span) => {
        const here = span.closest(".rule").dataset.way === from.way;
        span.classList.toggle("on", here && (term !== null || span.dataset.part === part));
      });
      say(term === null ? words() : sentence(links[term]));
    }
    function choose(next) {
      from = next;
      links = found(from);
      terms.replaceChildren(...links.map((link, k) => {
        const button = document.createElement("button");
        button.type = "button";
        button.textContent = sum(link);
        button.setAttribute("aria-label", sentence(link));
        for (const event of ["mouseenter", "focus", "click"]) button.addEventListener(event, () => light(k));
        for (const event of ["mouseleave", "blur"]) button.addEventListener(event, () => light());
        return button;
      }));
      light();
      return words();
    }
"""


_PICK = """
    const cells = boards.map((place, k) => pickable(place, {
      rows, columns, size, left: 18, top: 34, row: start.row, column: start.column,
      label: k ? `output channel ${k}` : "input channel",
      pick: (p, q) => choose({ way: k ? "made of" : "touches", channel: Math.max(0, k - 1), p, q }),
      hover(cell) {
        const which = cell ? links.findIndex((link) => {
          const [r, s] = k ? link.output : link.input;
          return (!k || link.o === k - 1) && r === cell[0] && s === cell[1];
        }) : -1;
        const own = k ? from.way === "touches" : from.way === "made of";
        light(own && which >= 0 ? which : null);
      },
    }));
    all(".part").forEach((span) => {
      span.tabIndex = 0;
      span.setAttribute("role", "button");
      const way = span.closest(".rule").dataset.way;
      for (const event of ["mouseenter", "focus", "click"]) span.addEventListener(event, () => {
        if (way !== from.way) choose({ ...from, way });
        light(null, span.dataset.part);
      });
      for (const event of ["mouseleave", "blur"]) span.addEventListener(event, () => light());
    });
    cells[start.way === "touches" ? 0 : 1].choose(start.row, start.column);
"""


def touches(channel, weight, row, column, *, way="touches", alt):
    """Draw the links between an input channel and the outputs that are computed from it, both ways.

    Parameters
    ----------
    channel : array of shape (H, W)
        One input channel; zeros outside.
    weight : array of shape (K, 3, 3)
        Its kernel for each output channel.
    row, column : int
        The cell that is picked at first.
    way : {"touches", "made of"}
        Whether it is an input, or an output of the first channel.
    alt : str
        What the figure shows, in words.

    Returns
    -------
    Moving

    Raises
    ------
    ValueError
        If an array has the wrong shape, the cell is outside, or the way is unknown.

    Notes
    -----
    Source: chapter "Figures to play with"; the links are those of chapter "The learning flow", formula F08.
    """
    channel, weight = np.asarray(channel), np.asarray(weight)
    if channel.ndim != 2 or weight.ndim != 3 or weight.shape[1:] != (3, 3):
        raise ValueError("channel, weight: expected shapes (H, W) and (K, 3, 3), "
                         f"got {channel.shape} and {weight.shape}")
    if not (0 <= row < channel.shape[0] and 0 <= column < channel.shape[1]):
        raise ValueError(f"row, column: expected a cell of a grid of shape {channel.shape}, got ({row}, {column})")
    if way not in RULES:
        raise ValueError(f"way: expected one of {', '.join(RULES)}, got {way!r}")
    return Moving("touches", _touches_parts(channel, weight), alt, _LINKS + _LIGHT + _PICK, {
        "rows": channel.shape[0], "columns": channel.shape[1], "row": row, "column": column, "way": way,
        "input": channel.tolist(), "weight": weight.tolist(), "size": SIDE}, _LOOK)


_LOOK = """
.convlib-moving .terms { display: flex; flex-wrap: wrap; gap: 0.25rem; justify-content: center; }
.convlib-moving .terms button { min-width: 6.5rem; }
.convlib-moving .rule { text-align: left; border-left: 3px solid transparent; padding-left: 0.5rem; }
.convlib-moving .rule.on { border-color: currentColor; }
.convlib-moving .rule p { margin: 0.25rem 0; }
.convlib-moving .part { border-bottom: 3px solid var(--colour); padding: 0.1em; cursor: pointer; }
.convlib-moving .part.on { box-shadow: inset 0 0 0 2px var(--colour); }
"""


def _marked_grid(values, title, role):
    """A grid with a title, and room for marks."""
    rows, columns = values.shape
    content = _text(18 + columns * SIDE / 2, 9, title, 12) + _grid(values, 18, 34, SIDE, role)
    return _svg(22 + columns * SIDE, 38 + rows * SIDE, content + '<g class="marks"></g>')


def _touches_parts(channel, weight):
    """The grids, the kernels, the products, the formulas and the code."""
    outputs = [correlate2d(channel, kernel, padding=1) for kernel in weight]
    boards = [_board(_marked_grid(channel, "input channel", "input"), "input channel")]
    boards += [_board(_marked_grid(output, f"output channel {o}", "output"), f"output channel {o}")
               for o, output in enumerate(outputs, start=1)]
    kernels = [_panel(_marked_grid(kernel, f"kernel {o}", "kernel"), f"kernel {o}")
               for o, kernel in enumerate(weight, start=1)]
    terms = '<div class="terms" role="group" aria-label="the products"></div>'
    rules = f'<div class="rules">{"".join(map(_rule, RULES))}</div>'
    said = "Press on a cell to see what it is linked with."
    return [_stage(boards[0], *kernels), _stage(*boards[1:]), rules, _said(said), _controls(terms)]
