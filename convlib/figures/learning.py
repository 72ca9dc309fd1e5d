# Exported from chapters/ by tools/export.py: edit the chapter, not this file.
"""A kernel learns: its weights and its error, step by step, for the learning rate that the reader chooses.

Chapter "Figures that learn" builds this module.
"""

import numpy as np

from convlib import reference
from convlib.figures.drawing import COLOURS, _in_words, _number, _svg, _text
from convlib.figures.moving import Moving, _controls, _panel, _said, _slider, _stage
from convlib.figures.numbers import _grid

__all__ = ["learns"]


# Chapter "Figures that learn" (chapters/learning_figures.ipynb)

def _learned(channel, kernel, start, rate, steps):
    """The weights before each of so many steps, and the error of their answers: (weights, error) pairs."""
    image = channel[np.newaxis] / 255
    weight = start.astype(float)[np.newaxis, np.newaxis]
    wanted = reference.conv2d(image, kernel.astype(float).reshape(weight.shape), padding=1)
    found = []
    for _ in range(steps):
        gap = reference.conv2d(image, weight, padding=1) - wanted
        found.append((weight[0, 0], float(np.mean(gap**2))))
        flow = 2 / gap.size * gap
        weight = weight - rate * reference.conv2d_weight_grad(image, weight.shape, flow, padding=1)
    return found


def _as_task(channel, kernel, start):
    """The three arrays, if they are a grid and two kernels of 3 x 3."""
    arrays = [np.asarray(given) for given in (channel, kernel, start)]
    if arrays[0].ndim != 2 or arrays[0].size == 0:
        raise ValueError(f"channel: expected shape (H, W), got {arrays[0].shape}")
    for name, array in zip(("kernel", "start"), arrays[1:], strict=True):
        if array.shape != (3, 3):
            raise ValueError(f"{name}: expected shape (3, 3), got {array.shape}")
    return arrays


_LEARN = """
    const near = [-1, 0, 1], seen = [];
    start.channel.forEach((line, p) => line.forEach((_, q) => seen.push(near.flatMap(
      (u) => near.map((v) => ((start.channel[p + u] || [])[q + v] || 0) / 255)))));
    const answer = (weights, cells) => cells.reduce((sum, cell, k) => sum + cell * weights[k], 0);
    function learn(weights, rate) {
      const told = weights.map(() => 0);
      let error = 0;
      seen.forEach((cells) => {
        const gap = answer(weights, cells) - answer(start.kernel, cells);
        error += gap * gap / seen.length;
        cells.forEach((cell, k) => { told[k] += 2 / seen.length * gap * cell; });
      });
      return { error, weights: weights.map((weight, k) => weight - rate * told[k]) };
    }
    const brief = (value) => Math.abs(value) < 1000 ? written(Math.round(100 * value) / 100)
      : value.toExponential(0).replace("e+", "e").replace("-", MINUS);
    function fill(name, values, largest) {
      const grid = one(`[data-grid=${name}]`), { role, size } = grid.dataset, texts = grid.querySelectorAll("text");
      grid.querySelectorAll("rect").forEach((cell, k) => {
        paint(cell, values[k], largest, role);
        if (texts.length) write(texts[k], brief(values[k]), size, 0.36 * size);
      });
    }
    const along = (errors, width, height, count) => "M" + errors.map((error, k) => [width * k / count,
      height - 0.8 * height * Math.min(9, error / errors[0])].map((place) => place.toFixed(1)).join(" ")).join("L");
"""


def _named_grid(name, values, place, size, role, largest, digits=True):
    """A grid that the script finds by its name; its numbers have two digits behind the point."""
    grid = _grid(np.round(values, 2), *place, size, role, largest, digits=digits, index=False)
    return f'<g data-grid="{name}" data-role="{role}" data-size="{size}">{grid}</g>'


def _along(errors, width, height, count):
    """The path of a curve through the errors; the first stands at four fifths of the height."""
    return "M" + "L".join(
        f"{width * k / count:.1f} {height - 0.8 * height * min(9, error / errors[0]):.1f}"
        for k, error in enumerate(errors)
    )


def _curve(errors, place, width, height, count):
    """A box with the curve of the errors, cut off at its edges."""
    look = f'fill="none" stroke="{COLOURS["output"]}" stroke-width="2.5"'
    return (
        f'<svg aria-hidden="true" x="{place[0]}" y="{place[1]}" width="{width}" height="{height}">'
        f'<path d="M0.5 0V{height - 0.5}H{width}" fill="none" stroke="currentColor"/>'
        f'<path class="run" d="{_along(errors, width, height, count)}" {look} stroke-opacity="0.5"/>'
        f'<path class="curve" d="{_along(errors, width, height, count)}" {look}/></svg>'
    )


_CHOOSE = _LEARN + """
    const runs = start.rates.map((rate) => {
      const run = [];
      let weights = start.weights;
      for (let k = 0; k <= start.steps; k++) {
        const now = learn(weights, rate);
        run.push({ weights, error: now.error });
        weights = now.weights;
      }
      return run;
    });
    const steps = one("[data-name=steps]"), rates = one("[data-name=rates]"), picture = one(".panel");
    const raised = (power) => power.replace(/./g, (digit) => "⁰¹²³⁴⁵⁶⁷⁸⁹"[digit]);
    const size = (error) => error < 1e6 ? written(error)
      : error.toExponential(0).replace(/e.(\\d+)/, (_, power) => " · 10" + raised(power));
    function judged(first, last) {
      if (last > first) return "This learning rate is too large: after " + start.steps + " steps the error is "
        + size(last) + ". Each step jumps across the valley and lands higher up.";
      if (last > first / 100) return "This learning rate is small: after " + start.steps + " steps the error is still "
        + written(last) + ".";
      return "After " + start.steps + " steps the error is " + written(last) + ".";
    }
    function show() {
      const rate = start.rates[rates.value], run = runs[rates.value], k = Number(steps.value), now = run[k];
      const errors = run.map((each) => each.error), first = errors[0];
      const away = Math.max(...now.weights.map((weight, place) => Math.abs(weight - start.kernel[place])));
      fill("weights", now.weights, 1);
      one(".run").setAttribute("d", along(errors, 280, 150, start.steps));
      one(".curve").setAttribute("d", along(errors.slice(0, k + 1), 280, 150, start.steps));
      name(steps, `${k} of ${start.steps}`);
      name(rates, written(rate));
      const words = `Learning rate ${written(rate)}, step ${k}: the error is ${size(now.error)}, at the start it was `
        + `${written(first)}; no weight is further than ${brief(away)} from the wanted one. `;
      picture.setAttribute("aria-label", words);
      return words + judged(first, errors[start.steps]);
    }
    [steps, rates].forEach((slider) => slider.addEventListener("input", () => say(show())));
    say(show());
    root.computed = { runs };
"""


def learns(channel, kernel, start, rates, *, steps=100, picked=0, alt):
    """Draw a 3 x 3 kernel that learns, with sliders for the steps and for the learning rate.

    Parameters
    ----------
    channel : array of int of shape (H, W)
        What the kernel looks at, from 0 to 255.
    kernel : array of shape (3, 3)
        The weights that it should find: its answers are the targets.
    start : array of shape (3, 3)
        The weights that it starts with.
    rates : sequence of float
        The learning rates that can be chosen, in ascending order.
    steps : int
        How many steps there are.
    picked : int
        Which of the rates is chosen at first.
    alt : str
        What the figure shows, in words; the first and the last error are added.

    Returns
    -------
    Moving

    Raises
    ------
    ValueError
        If an array has the wrong shape, or there is no rate `picked`.

    Notes
    -----
    Source: chapter "Figures that learn"; used in the chapter "Learning the kernels that were given by hand".
    """
    channel, kernel, start = _as_task(channel, kernel, start)
    if not 0 <= picked < len(rates):
        raise ValueError(f"picked: expected one of {len(rates)} rates, got {picked}")
    run = _learned(channel, kernel, start, rates[picked], steps + 1)
    words = (f"{_in_words(alt)} With the learning rate {rates[picked]:g} the error falls from {run[0][1]:.3g} "
             f"to {run[-1][1]:.2g} in {steps} steps.")
    controls = _controls(_slider("rates", "learning rate", 0, len(rates) - 1, picked),
                         _slider("steps", "step", 0, steps, 0))
    data = {"channel": channel.tolist(), "kernel": kernel.ravel().tolist(), "weights": start.ravel().tolist(),
            "rates": list(rates), "steps": steps}
    parts = [controls, _stage(_panel(_learning_panel(kernel, run), words)), _said(words)]
    return Moving("learns", parts, words, _CHOOSE, data)


def _learning_panel(kernel, run):
    """The kernel as it is, the wanted one, and the curve of the error."""
    content = _text(76, 9, "the kernel", 13) + _text(240, 9, "the wanted one", 13)
    content += _named_grid("weights", run[-1][0], (4, 20), 48, "kernel", 1)
    content += _named_grid("wanted", kernel, (168, 20), 48, "kernel", 1)
    content += _text(158, 188, f"the error, step by step; it begins at {_number(run[0][1])}", 13)
    content += _curve([error for _, error in run], (18, 200), 280, 150, len(run) - 1)
    return _svg(316, 354, content)
