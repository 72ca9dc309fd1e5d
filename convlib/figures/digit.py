# Exported from chapters/ by tools/export.py: edit the chapter, not this file.
"""A model reads what the reader draws, and the learning flow at the drawing shows the way to another answer.

Chapter "Figures that learn" builds this module.
"""

import base64
from html import escape

import numpy as np

from convlib.figures.drawing import COLOURS, NEGATIVE, _in_words, _rect, _svg, _text
from convlib.figures.moving import Moving, _board, _button, _controls, _panel, _said, _stage
from convlib.losses import CrossEntropyLoss, softmax

__all__ = ["draw_a_digit"]


# Chapter "Figures that learn" (chapters/learning_figures.ipynb)

_SHAPES = {"0.weight": (16, 1, 3, 3), "3.weight": (32, 16, 3, 3), "7.weight": (10, 512)}


def _in_bytes(name, weight):
    """The weights as whole numbers of one byte, and their unit."""
    for exponent in range(21):
        whole = weight * 2.0**exponent
        if abs(whole).max() <= 127 and (whole == np.rint(whole)).all():
            return whole.astype(np.int8).tobytes(), 2.0**-exponent
    raise ValueError(f"model: expected {name} to hold multiples of a power of two, at most 127 times it; "
                     "trained_digit_reader returns such a model")


def _packed(model):
    """The numbers of the model for the script: all weights as text, and units and biases of the three layers."""
    state, packed, layers = model.state_dict(), b"", []
    for name, shape in _SHAPES.items():
        if name not in state or state[name].shape != shape:
            raise ValueError(f"model: expected a digit_reader, with {name} of shape {shape}")
        weight, unit = _in_bytes(name, state[name])
        packed += weight
        biases = 1024 * state[name.replace("weight", "bias")]
        if (biases != np.rint(biases)).any():
            raise ValueError(f"model: expected the biases beside {name} to be multiples of 1/1024")
        layers.append([len(weight), unit, biases.astype(int).tolist()])
    return {"weights": base64.b64encode(packed).decode(), "layers": layers}


_NETWORK = """
    const bytes = atob(start.weights);
    let from = 0;
    const layers = start.layers.map(([count, unit, biases]) => ({ bias: biases.map((bias) => bias / 1024),
      weight: Float64Array.from({ length: count }, () => ((bytes.charCodeAt(from++) ^ 128) - 128) * unit) }));
    function meetings(size, inputs, outputs, act) {
      for (let o = 0; o < outputs; o++) for (let i = 0; i < inputs; i++)
        for (let p = 0; p < size; p++) for (let q = 0; q < size; q++)
          for (let u = 0; u < 3; u++) for (let v = 0; v < 3; v++) {
            const row = p + u - 1, column = q + v - 1;
            if (row >= 0 && row < size && column >= 0 && column < size)
              act((i * size + row) * size + column, ((o * inputs + i) * 3 + u) * 3 + v, (o * size + p) * size + q);
          }
    }
    function convolved(input, size, { weight, bias }) {
      const cells = size * size, output = new Float64Array(bias.length * cells);
      output.forEach((_, y) => { output[y] = bias[Math.floor(y / cells)]; });
      meetings(size, input.length / cells, bias.length, (x, w, y) => { output[y] += input[x] * weight[w]; });
      return output.map((value) => Math.max(0, value));
    }
    function flowBack(flow, size, { weight, bias }) {
      const cells = size * size, inputs = weight.length / bias.length / 9, told = new Float64Array(inputs * cells);
      meetings(size, inputs, bias.length, (x, w, y) => { told[x] += flow[y] * weight[w]; });
      return told;
    }
"""


_READ = """
    function read(pixels) {
      const [early, late, linear] = layers, first = convolved(Float64Array.from(pixels, (ink) => ink / 16), 8, early);
      const winners = Int32Array.from({ length: 256 }, (_, k) => {
        const corner = (k >> 4) * 64 + ((k >> 2) & 3) * 16 + (k & 3) * 2;
        return [1, 8, 9].reduce((best, by) => first[corner + by] > first[best] ? corner + by : best, corner);
      });
      const second = convolved(Float64Array.from(winners, (at) => first[at]), 4, late);
      const scores = linear.bias.map((bias, c) =>
        second.reduce((sum, value, k) => sum + value * linear.weight[512 * c + k], bias));
      const most = Math.max(...scores), powers = scores.map((score) => Math.exp(score - most));
      const total = powers.reduce((sum, power) => sum + power);
      return { first, winners, second, scores, chances: powers.map((power) => power / total) };
    }
    function flowTo({ first, winners, second, chances }, answer) {
      const [early, late, linear] = layers, told = chances.map((chance, c) => chance - (c === answer));
      const above = second.map((value, k) => value > 0
        ? told.reduce((sum, flow, c) => sum + flow * linear.weight[512 * c + k], 0) : 0);
      const pooled = flowBack(above, 4, late), below = new Float64Array(1024);
      winners.forEach((at, k) => { if (first[at] > 0) below[at] += pooled[k]; });
      return flowBack(below, 8, early).map((flow) => flow / 16);
    }
"""


_SHOWN = """
    let pixels = [], answer = start.answer, rubbing = false, result, told;
    const size = 36, cursor = one(".cursor");
    const percent = (chance) => chance < 0.0005 ? "less than 0.1 %" : written(Math.round(1000 * chance) / 10) + " %";
    const best = () => result.chances.indexOf(Math.max(...result.chances));
    function showDrawing() {
      const largest = Math.max(...told.map(Math.abs)) || 1, drawn = { ink: "", amounts: "", less: "", more: "" };
      let signs = "";
      pixels.forEach((ink, k) => {
        const x = 4 + size * (k % 8), y = 4 + size * (k >> 3), share = Math.abs(told[k]) / largest;
        if (Math.round(ink)) {
          drawn.ink += `<rect x="${x}" y="${y}" width="36" height="36" fill-opacity="${(0.7 * ink / 16).toFixed(2)}"/>`;
          drawn.amounts += `<text x="${x + 18}" y="${y + 9}">${Math.round(ink)}</text>`;
        }
        if (share < 0.08) return;
        const radius = (10 * Math.sqrt(share)).toFixed(1), loses = told[k] > 0;
        drawn[loses ? "less" : "more"] += `<circle cx="${x + 18}" cy="${y + 23}" r="${radius}"/>`;
        signs += `M${x + 15} ${y + 23}h6` + (loses ? "" : `M${x + 18} ${y + 20}v6`);
      });
      for (const part in drawn) one("." + part).innerHTML = drawn[part];
      one(".signs").setAttribute("d", signs);
    }
    function showMaps(canvas, values, side, across) {
      const cells = side * side, step = side + 1, largest = Math.max(...values) || 1, count = values.length / cells;
      [canvas.width, canvas.height] = [across * step - 1, count / across * step - 1];
      const context = canvas.getContext("2d"), dots = context.createImageData(canvas.width, canvas.height);
      values.forEach((value, k) => {
        const map = Math.floor(k / cells), x = map % across * step + k % side;
        const y = Math.floor(map / across) * step + Math.floor(k % cells / side);
        dots.data.set([0, 158, 115, 30 + 225 * value / largest], 4 * (y * canvas.width + x));
      });
      context.putImageData(dots, 0, 0);
      const awake = new Set();
      values.forEach((value, k) => { if (value > 0) awake.add(Math.floor(k / cells)); });
      canvas.setAttribute("aria-label", `${awake.size} of these ${count} feature maps light up.`);
    }
"""


_ANSWER = """
    const digits = Array.from({ length: 10 }, (_, c) => c);
    function show() {
      result = read(pixels);
      told = flowTo(result, answer);
      showDrawing();
      digits.forEach((c) => {
        all(".bars rect")[c].setAttribute("width", (110 * result.chances[c]).toFixed(1));
        all(".chance text")[c].textContent = Math.round(100 * result.chances[c]) + " %";
        all(".score text")[c].textContent = result.scores[c].toFixed(1).replace("-", MINUS);
      });
      one(".asked").setAttribute("y", 18 + 26 * answer);
      showMaps(all("canvas")[0], result.first, 8, 8);
      showMaps(all("canvas")[1], result.second, 4, 16);
      one(".panel").setAttribute("aria-label", "Probabilities: "
        + digits.map((c) => `${c}: ${percent(result.chances[c])}`).join(", ") + ".");
    }
    function verdict() {
      return `The model reads ${best()} (${percent(result.chances[best()])}). You ask for ${answer}: `
        + `it gives that ${percent(result.chances[answer])}.`;
    }
    function set(p, q, ink) {
      if (p >= 0 && p < 8 && q >= 0 && q < 8) pixels[8 * p + q] = ink(pixels[8 * p + q]);
    }
    function stroke(p, q) {
      set(p, q, () => rubbing ? 0 : 16);
      if (!rubbing) [[-1, 0], [1, 0], [0, -1], [0, 1]].forEach(([down, right]) =>
        set(p + down, q + right, (ink) => Math.max(ink, 3)));
      show();
    }
"""


_DRAW = """
    const load = (number) => { pixels = Array.from(start.drawings[number], (ink) => parseInt(ink, 17)); show(); };
    const drawings = one("[data-name=drawing]"), asked = one("[data-name=answer]"), rub = one("[data-do=rub]");
    load(0);
    const cells = pickable(one(".board"), { rows: 8, columns: 8, size, left: 4, top: 4, row: 0, column: 0,
      label: "the pen", press: stroke, drag: stroke,
      pick(p, q) {
        cursor.setAttribute("transform", `translate(${4 + size * q} ${4 + size * p})`);
        return `Row ${p}, column ${q}: ink ${Math.round(pixels[8 * p + q])}. ${verdict()}`;
      },
      key(event) {
        if (event.key !== " ") return false;
        set(...cells.chosen(), (ink) => ink > 11 ? 8 : ink > 3 ? 0 : 16);
        show();
        say(cells.choose(...cells.chosen()));
        return true;
      } });
    const changed = (words) => { cells.choose(...cells.chosen()); say(words + verdict()); };
    drawings.addEventListener("change", () => { load(drawings.selectedIndex); changed("Another drawing. "); });
    asked.addEventListener("change", () => { answer = Number(asked.value); show(); changed(""); });
    one("[data-do=clear]").addEventListener("click", () => {
      pixels = pixels.map(() => 0);
      show();
      changed("No ink. ");
    });
    rub.addEventListener("click", () => {
      rubbing = !rubbing;
      rub.setAttribute("aria-pressed", rubbing);
      say(rubbing ? "The pen takes ink away." : "The pen draws.");
    });
    one("[data-do=step]").addEventListener("click", () => {
      const before = result.chances[answer], largest = Math.max(...told.map(Math.abs)) || 1, old = pixels;
      pixels = pixels.map((ink, k) => limit(ink - 1.6 * told[k] / largest, 0, 16));
      show();
      const moved = pixels.filter((ink, k) => Math.abs(ink - old[k]) > 0.1).length;
      changed(`${moved} pixels moved; ${answer} was given ${percent(before)}. `);
    });
    say(verdict());
    root.computed = { read, flowTo, pixels: () => pixels };
"""


def draw_a_digit(model, drawings, labels, answer, *, alt):
    """Draw a grid on which the reader draws a digit, and what the model says to it.

    Parameters
    ----------
    model : Sequential
        A `digit_reader` whose weights are rounded, as `trained_digit_reader` returns it.
    drawings : array of int of shape (N, 8, 8)
        Drawings to begin with, from 0 to 16; the first is shown first.
    labels : sequence of N str
        What they are called.
    answer : int
        The digit that is asked for at first.
    alt : str
        What the figure shows, in words; what the model says about the first drawing is added.

    Returns
    -------
    Moving

    Raises
    ------
    ValueError
        If the model is another one, or drawings, labels or answer are not as said above.

    Notes
    -----
    Source: chapter "Figures that learn"; used in the chapter "A first deep model on real digits". The flow at the
    drawing is that of formula F12, layer after layer.
    """
    drawings, data = _as_drawings(drawings, labels, answer), _packed(model)
    scores, told = _read(model, drawings[0], answer)
    chances = softmax(scores)
    said = f"The model reads the first drawing as {chances.argmax()}, with {chances.max():.0%}"
    words = f"{_in_words(alt)} {said}; asked for {answer}, it gives that {chances[answer]:.0%}."
    data["drawings"] = ["".join("0123456789abcdefg"[ink] for ink in drawing.ravel()) for drawing in drawings]
    data["answer"] = answer
    stage = _stage(_board(_drawing_panel(drawings[0], told), "The drawing and its flow.", paint=True),
                   _panel(_bars_panel(scores, chances, answer), "Ten bars: the probabilities of the digits."))
    parts = [_choices(labels, answer), stage, _said(words), _MAPS]
    return Moving("digit", parts, words, _NETWORK + _READ + _SHOWN + _ANSWER + _DRAW, data)


def _as_drawings(drawings, labels, answer):
    """The drawings as an array, after checking that all belongs together."""
    drawings = np.asarray(drawings)
    if drawings.ndim != 3 or drawings.shape[1:] != (8, 8) or len(drawings) == 0:
        raise ValueError(f"drawings: expected shape (N, 8, 8), got {drawings.shape}")
    if drawings.dtype.kind not in "iu" or drawings.min() < 0 or drawings.max() > 16:
        raise ValueError("drawings: expected whole numbers from 0 to 16")
    if len(labels) != len(drawings):
        raise ValueError(f"labels: expected {len(drawings)}, one for each drawing, got {len(labels)}")
    if answer not in range(10):
        raise ValueError(f"answer: expected a digit from 0 to 9, got {answer}")
    return drawings


def _read(model, drawing, answer):
    """The scores of a drawing, and the flow at its pixels as if this answer were right."""
    loss, scores = CrossEntropyLoss(), model(drawing[np.newaxis, np.newaxis] / 16)
    loss(scores, [answer])
    return scores[0], model.backward(loss.backward())[0, 0] / 16


def _drawing_panel(drawing, told, size=36):
    """The drawing as numbers and ink, the flow as circles with signs, and the frame of the pen."""
    drawn, signs, largest = dict.fromkeys(("ink", "less", "more", "amounts"), ""), "", abs(told).max()
    for (p, q), ink in np.ndenumerate(drawing):
        x, y, flow = 4 + size * q, 4 + size * p, told[p, q]
        if ink:
            drawn["ink"] += f'<rect x="{x}" y="{y}" width="36" height="36" fill-opacity="{0.7 * ink / 16:.2f}"/>'
            drawn["amounts"] += f'<text x="{x + 18}" y="{y + 9}">{ink}</text>'
        if abs(flow) >= 0.08 * largest > 0:
            radius = 10 * (abs(flow) / largest) ** 0.5
            drawn["less" if flow > 0 else "more"] += f'<circle cx="{x + 18}" cy="{y + 23}" r="{radius:.1f}"/>'
            signs += f"M{x + 15} {y + 23}h6" + ("" if flow > 0 else f"M{x + 18} {y + 20}v6")
    looks = {"ink": f'fill="{COLOURS["input"]}"', "less": f'fill="{COLOURS["flow"]}" fill-opacity="0.6"',
             "more": f'fill="{NEGATIVE}" fill-opacity="0.6"', "amounts": 'font-size="11"'}
    content = "".join(f'<g class="{name}" {looks[name]}>{parts}</g>' for name, parts in drawn.items())
    content += f'<path class="signs" d="{signs}" stroke="currentColor" stroke-width="1.5"/>'
    lines = "".join(f"M4 {at}h{8 * size}M{at} 4v{8 * size}" for at in range(4, 5 + 8 * size, size))
    content += f'<path d="{lines}" stroke="currentColor" stroke-width="0.6" stroke-opacity="0.45"/>'
    content += f'<g class="cursor" transform="translate(4 4)">{_rect(0, 0, size, size, line=2.5)}</g>'
    return _svg(8 + 8 * size, 8 + 8 * size, content)


def _bars_panel(scores, chances, answer):
    """Ten bars: the probabilities of the digits; beside them their scores. A frame around the one asked for."""
    bars, columns = "", dict.fromkeys(("digit", "chance", "score"), "")
    for c, (score, chance) in enumerate(zip(scores, chances, strict=True)):
        y, shown = 30 + 26 * c, f"{score:.1f}".replace("-", "\N{MINUS SIGN}")
        bars += f'<rect x="24" y="{y - 8}" width="{110 * chance:.1f}" height="16"/>'
        columns["digit"] += f'<text x="12" y="{y}">{c}</text>'
        columns["chance"] += f'<text x="168" y="{y}">{100 * chance:.0f} %</text>'
        columns["score"] += f'<text x="216" y="{y}">{shown}</text>'
    content = _text(85, 8, "probability", 13) + _text(216, 8, "score", 13)
    content += f'<g class="bars" fill="{COLOURS["output"]}" fill-opacity="0.5" stroke="currentColor">{bars}</g>'
    content += "".join(f'<g class="{name}" font-size="13">{column}</g>' for name, column in columns.items())
    content += _rect(1, 18 + 26 * answer, 240, 24, stroke=COLOURS["flow"], line=2.5, extra=' class="asked"')
    return _svg(242, 280, content)


def _choices(labels, answer):
    """The drawings to begin with, the digit to ask for, and the buttons."""
    drawings = "".join(f"<option>{escape(label)}</option>" for label in labels)
    answers = "".join(f"<option{' selected' if digit == answer else ''}>{digit}</option>" for digit in range(10))
    return _controls(
        f'<label>begin with <select data-name="drawing">{drawings}</select></label>',
        f'<label>ask for <select data-name="answer">{answers}</select></label>',
        _button("step", "Apply one step"), _button("rub", "Rub out"), _button("clear", "Clear"),
    )


_MAPS = _controls(
    "<span>What the 16 kernels of the first convolution answer, and the 32 of the second:</span>",
    *('<canvas role="img" aria-label="" style="width:min(100%,34rem);image-rendering:pixelated"></canvas>',) * 2,
)
