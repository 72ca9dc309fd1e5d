# Exported from chapters/ by tools/export.py: edit the chapter, not this file.
"""The base of the pictures that move: boards, panels, controls, a line of words, and the script they share.

Chapter "How the figures move" builds this module.
"""

import json
import re
from html import escape

from convlib.figures.drawing import COLOURS, NEGATIVE, Figure

__all__ = ["Moving"]


# Chapter "How the figures move" (chapters/moving.ipynb)

def _board(svg, words, *, paint=False):
    """A drawing whose cells can be picked, or painted on."""
    kind = "board paint" if paint else "board"
    return f'<div class="convlib-figure {kind}" role="img" aria-label="{escape(words)}">{svg}</div>'


def _panel(svg, words):
    """A drawing that shows an answer."""
    return f'<div class="convlib-figure panel" role="img" aria-label="{escape(words)}">{svg}</div>'


def _stage(*parts):
    """Boards and panels side by side, as far as they fit."""
    return f'<div class="stage">{"".join(parts)}</div>'


def _said(words=""):
    """The line that says what changed; these words stand where scripts do not run."""
    return f'<p class="said">{escape(words)}</p>'


def _controls(*parts):
    """A row of buttons, sliders and the like; hidden where scripts do not run."""
    return f'<div class="controls" hidden>{"".join(parts)}</div>'


def _button(do, words, sign=""):
    """A button; `do` is what the script knows it by, `sign` what is seen instead of the words."""
    label = f' aria-label="{escape(words)}"' if sign else ""
    return f'<button type="button" data-do="{do}"{label}>{escape(sign or words)}</button>'


def _choice(name, words, options):
    """A list to choose from: names, in order."""
    listed = "".join(f"<option>{escape(each)}</option>" for each in options)
    return f'<label>{escape(words)} <select data-name="{name}">{listed}</select></label>'


def _slider(name, words, least, most, value, step=1):
    """A slider with its label in front and its value behind."""
    return (
        f'<label>{escape(words)} <input type="range" data-name="{name}" min="{least:g}" max="{most:g}" '
        f'step="{step:g}" value="{value:g}"> <span class="value">{value:g}</span></label>'
    )


_STYLE = """
.convlib-moving { padding: 4px; text-align: center; }
.convlib-moving .stage { display: flex; flex-wrap: wrap; gap: 0.75rem; align-items: center;
  justify-content: safe center; overflow-x: auto; padding: 4px; }
.convlib-moving .board, .convlib-moving .panel { flex: 0 1 auto; max-width: 100%; }
.convlib-moving :focus-visible { outline: 3px solid currentColor; outline-offset: 1px; border-radius: 3px; }
.convlib-moving svg { display: block; }
.convlib-moving .board svg { touch-action: pan-y pinch-zoom; cursor: pointer; user-select: none; }
.convlib-moving .board.paint svg { touch-action: pinch-zoom; cursor: crosshair; }
.convlib-moving .controls { display: flex; flex-wrap: wrap; gap: 0.5rem; align-items: center;
  justify-content: center; margin: 0.5rem 0; }
.convlib-moving [hidden] { display: none !important; }
.convlib-moving label { display: inline-flex; flex-wrap: wrap; gap: 0.5rem; align-items: center;
  justify-content: center; }
.convlib-moving button, .convlib-moving select, .convlib-moving input { font: inherit; color: inherit;
  min-height: 2.75rem; }
.convlib-moving button, .convlib-moving select, .convlib-moving input[type=number] { min-width: 2.75rem;
  padding: 0 0.6rem; border: 1px solid currentColor; border-radius: 0.3rem; background: transparent; }
.convlib-moving option { color: #000; background: #fff; }
.convlib-moving button[aria-pressed=true] { box-shadow: inset 0 0 0 3px currentColor; }
.convlib-moving input[type=range] { width: min(16rem, 55vw); margin: 0; accent-color: currentColor; }
.convlib-moving input[type=file] { max-width: min(100%, 75vw); }
.convlib-moving .steps input { flex: 0 1 16rem; width: auto; min-width: 5rem; }
.convlib-moving .steps { flex-wrap: nowrap; }
.convlib-moving .steps button { flex: none; }
.convlib-moving .value { min-width: 2.5ch; text-align: left; }
.convlib-moving .said { max-width: 46rem; min-height: 3em; margin: 0.5rem auto; }
@media (prefers-reduced-motion: no-preference) { .convlib-moving .glide { transition: transform 0.15s; } }
"""


_WORDS = """
  const MINUS = "\\u2212", COLOURS = @COLOURS@, NEGATIVE = "@NEGATIVE@";
  const calm = window.matchMedia("(prefers-reduced-motion: reduce)").matches;
  const limit = (value, least, most) => Math.min(most, Math.max(least, value));
  function written(value) {
    const whole = Math.round(value);
    const number = Math.abs(value - whole) < 1e-9 ? whole + 0 : Number((value * (1 + 1e-12)).toPrecision(3));
    return String(number).replace(/-/g, MINUS);
  }
  function write(text, words, width, size) {
    const length = String(words).length + 0.3 * String(words).split(MINUS).length - 0.3;
    text.textContent = words;
    text.setAttribute("font-size", Math.min(size, 1.45 * width / Math.max(1, length)));
  }
  function paint(cell, value, largest, role) {
    cell.setAttribute("fill", value < 0 ? NEGATIVE : COLOURS[role]);
    cell.setAttribute("fill-opacity", value ? 0.12 + 0.43 * Math.min(1, Math.abs(value) / largest) : 0);
  }
  function draw(tag, attributes, parent) {
    const drawn = parent.appendChild(document.createElementNS(parent.namespaceURI, tag));
    for (const name in attributes) drawn.setAttribute(name, attributes[name]);
    return drawn;
  }
  function name(slider, words) {
    const value = slider.parentElement.querySelector(".value");
    slider.setAttribute("aria-valuetext", words);
    if (value) value.textContent = words;
  }
"""


_BOARD = """
  function pickable(place, options) {
    const svg = place.querySelector("svg");
    let row = options.row || 0, column = options.column || 0, dragging = false, shown = null;
    function show(p, q) {
      shown = [p, q];
      return options.pick(p, q);
    }
    function choose(p, q) {
      row = limit(p, 0, options.rows - 1);
      column = limit(q, 0, options.columns - 1);
      const words = show(row, column);
      if (options.settle) options.settle(row, column);
      place.setAttribute("aria-valuemax", options.rows * options.columns - 1);
      place.setAttribute("aria-valuenow", row * options.columns + column);
      place.setAttribute("aria-valuetext", words);
      return words;
    }
    function below(event) {
      const box = svg.getBoundingClientRect(), scale = svg.viewBox.baseVal.width / box.width;
      const x = (event.clientX - box.left) * scale, y = (event.clientY - box.top) * scale;
      if (options.at) return options.at(x, y);
      const p = Math.floor((y - options.top) / options.size), q = Math.floor((x - options.left) / options.size);
      return p >= 0 && p < options.rows && q >= 0 && q < options.columns ? [p, q] : null;
    }
    const same = (cell) => shown && cell && cell[0] === shown[0] && cell[1] === shown[1];
    place.setAttribute("role", "slider");
    place.setAttribute("aria-label", options.label);
    place.setAttribute("aria-valuemin", 0);
    place.tabIndex = 0;
    listen(place, svg, { below, same, choose, show, options, chosen: () => [row, column],
      drag: (state) => (state === undefined ? dragging : (dragging = state)) });
    choose(row, column);
    return { choose, chosen: () => [row, column] };
  }
"""


_LISTEN = """
  function keys(event, row, column, { rows, columns }) {
    const across = { ArrowLeft: [row, column - 1], ArrowRight: [row, column + 1], Home: [row, 0],
      End: [row, columns - 1] };
    const down = { ArrowUp: [row - 1, column], ArrowDown: [row + 1, column], PageUp: [0, column],
      PageDown: [rows - 1, column] };
    return (columns > 1 && across[event.key]) || (rows > 1 && down[event.key]) || null;
  }
  function listen(place, svg, it) {
    const { options } = it;
    place.addEventListener("keydown", (event) => {
      if (event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) return;
      const cell = keys(event, ...it.chosen(), options);
      if (cell) say(it.choose(...cell));
      else if (!(options.key && options.key(event))) return;
      event.preventDefault();
      event.stopPropagation();
    });
    svg.addEventListener("pointerdown", (event) => {
      const cell = it.below(event);
      if (!cell || event.button) return;
      it.drag(true);
      svg.setPointerCapture(event.pointerId);
      if (options.press) options.press(...cell);
      say(it.choose(...cell));
    });
    svg.addEventListener("pointermove", (event) => {
      const cell = it.below(event);
      if (options.hover && !it.drag()) return options.hover(cell);
      if (!cell || it.same(cell)) return;
      if (it.drag() && options.drag) options.drag(...cell);
      if (it.drag()) say(it.choose(...cell));
      else if (event.pointerType === "mouse") say(it.show(...cell));
    });
    for (const end of ["pointerup", "pointercancel"]) svg.addEventListener(end, () => it.drag(false));
    svg.addEventListener("pointerleave", () => {
      if (options.hover) options.hover(null);
      else if (!it.drag() && !it.same(it.chosen())) say(it.show(...it.chosen()));
    });
  }
"""


_STEPPER = """
  function stepper(count, show) {
    const input = one(".steps input"), play = one("[data-do=play]");
    let timer = null;
    function go(number) {
      number = limit(number, 1, count);
      const words = number + " of " + count + ": " + show(number - 1);
      input.value = number;
      name(input, words);
      return words;
    }
    function stop() {
      clearInterval(timer);
      timer = null;
      play.textContent = "play";
    }
    const step = (by) => say(go(Number(input.value) + by));
    input.addEventListener("input", () => { stop(); say(go(Number(input.value))); });
    one("[data-do=back]").addEventListener("click", () => { stop(); step(-1); });
    one("[data-do=next]").addEventListener("click", () => { stop(); step(1); });
    play.hidden = calm;
    play.addEventListener("click", () => {
      if (timer) return stop();
      if (Number(input.value) === count) say(go(1));
      play.textContent = "stop";
      timer = setInterval(() => { step(1); if (Number(input.value) === count) stop(); }, 1200);
    });
    say(go(1));
    return go;
  }
"""


def _steps(count):
    """The controls of a story in steps."""
    return (
        '<div class="controls steps" hidden>' + _button("back", "step back", "←")
        + f'<input type="range" min="1" max="{count}" value="1" aria-label="step">'
        + _button("next", "next step", "→") + _button("play", "play") + "</div>"
    )


_FRAME = """(function () {@SHARED@
  document.querySelectorAll(".convlib-@KIND@:not([data-ready])").forEach((root) => {
    root.dataset.ready = "yes";
    const start = JSON.parse(root.dataset.start), said = root.querySelector(".said");
    const one = (part) => root.querySelector(part), all = (part) => Array.from(root.querySelectorAll(part));
    const say = (words) => { if (said.textContent !== words) said.textContent = words; };
    @TOOLS@
    @SCRIPT@
    all(".controls").forEach((part) => { part.hidden = false; });
    all(".stage").forEach((stage) => {  // what scrolls must be within reach of the keys
      if (stage.scrollWidth > stage.clientWidth && !stage.querySelector("[tabindex]")) stage.tabIndex = 0;
    });
    said.setAttribute("aria-live", "polite");
  });
})();"""


def _script(kind, script):
    """The script of one kind of picture, with the tools that it uses."""
    tools = {"pickable(": _BOARD, "stepper(": _STEPPER}
    used = "".join(text for name, text in tools.items() if name in script)
    used += _LISTEN if _BOARD in used else ""
    words = _WORDS.replace("@COLOURS@", json.dumps(COLOURS)).replace("@NEGATIVE@", NEGATIVE)
    whole = _FRAME.replace("@KIND@", kind).replace("@SHARED@", words)
    whole = whole.replace("@TOOLS@", used).replace("@SCRIPT@", script)
    return re.sub("\n[ \n]*", "\n", whole)  # a page has no use for the indents


class Moving(Figure):
    """A figure that the reader moves (chapter "How the figures move").

    Parameters
    ----------
    kind : str
        The name of this kind of figure; pictures of one kind share a script.
    parts : sequence of str
        What it is made of, from top to bottom: `_stage`, `_controls`, `_steps`, one `_said`.
    alt : str
        What the figure shows, in words.
    script : str
        The JavaScript of this kind.
    data : dict
        The numbers that the script needs; they become `start`.
    style : str
        More CSS, for what only this kind has; its rules begin with `.convlib-moving`.
    """

    def __init__(self, kind, parts, alt, script, data, style=""):
        super().__init__(parts, alt)
        self.kind, self.script, self.data, self.style = kind, script, data, style

    def _repr_html_(self):
        data = json.dumps(self.data, separators=(",", ":"))
        # For this kind only, and stronger than the shared style, which other figures of the page repeat.
        style = _STYLE + self.style.replace(".convlib-moving", f".convlib-moving.convlib-{self.kind}")
        return (
            f'<div class="convlib-moving convlib-{self.kind}" role="group" '
            f'aria-label="{escape(self.alt)}" data-start="{escape(data)}"><style>{style}</style>'
            f'{"".join(self.panels)}</div>'
            f"<script>{_script(self.kind, self.script)}</script>"
        )
