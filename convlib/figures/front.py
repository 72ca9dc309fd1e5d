# Exported from chapters/ by tools/export.py: edit the chapter, not this file.
"""The picture of the front page: a kernel goes over the house and learns.

Chapter "Figures that learn" builds this module.
"""

import numpy as np

from convlib.figures.drawing import COLOURS, _in_words, _number, _rect, _svg, _text
from convlib.figures.learning import _LEARN, _as_task, _curve, _learned, _named_grid
from convlib.figures.moving import Moving, _button, _controls, _panel, _said, _stage
from convlib.figures.numbers import _padded_grid
from convlib.reference import conv2d

__all__ = ["hero"]


# Chapter "Figures that learn" (chapters/learning_figures.ipynb)

_PASS = _LEARN + """
    const places = seen.length, columns = start.channel[0].length, size = 30;
    const wanted = seen.map((cells) => answer(start.kernel, cells));
    const largest = Math.max(...wanted.map(Math.abs));
    let weights, answers, errors, place, timer = null;
    const finished = () => errors.length === start.passes;
    function begin() {
      [weights, answers, errors, place] = [start.weights, wanted.map(() => 0), [], 0];
      answers[0] = answer(weights, seen[0]);
      go(columns + 2);  // the first corner is all sky
    }
    function go(count) {
      for (; count > 0 && !finished(); count--) {
        if (place + 1 < places) place += 1;
        else {
          const now = learn(weights, start.rate);
          errors.push(now.error);
          if (finished()) return;
          [weights, place] = [now.weights, 0];
        }
        answers[place] = answer(weights, seen[place]);
      }
    }
"""


_SHOW = """
    const pixels = (value) => written(Math.round(255 * value));
    function show() {
      const p = Math.floor(place / columns), q = place % columns;
      const products = seen[place].map((cell, k) => cell * weights[k]);
      one(".window").setAttribute("transform", `translate(${16 + q * size} ${16 + p * size})`);
      fill("weights", weights, 1);
      fill("products", products.map((product) => Math.round(255 * product)), 255 * Math.max(...products.map(Math.abs)));
      fill("answers", answers, largest);
      const sum = `sum ${pixels(answers[place])}, wanted ${pixels(wanted[place])}`;
      one(".sum").textContent = sum;
      one(".run").setAttribute("d", "");
      one(".curve").setAttribute("d", errors.length ? along(errors, 260, 70, start.passes - 1) : "");
      const number = Math.min(errors.length + 1, start.passes), last = errors.length - 1;
      const learned = last < 0 ? "The weights are random; the first step comes after this pass."
        : `The error of the last whole pass: ${written(errors[last])}; of the first: ${written(errors[0])}.`;
      return `Pass ${number} of ${start.passes}, row ${p}, column ${q}: ${sum}. ${learned}`;
    }
"""


_PLAY = """
    const play = one("[data-do=play]"), press = (what, act) => one(`[data-do=${what}]`).addEventListener("click", act);
    function pause() {
      clearTimeout(timer);
      timer = null;
      play.textContent = finished() ? "Play again" : "Play";
      said.setAttribute("aria-live", "polite");
      const words = show();
      all(".panel").forEach((panel) => panel.setAttribute("aria-label", words));
      say(words);
    }
    function tick() {
      const done = errors.length;
      go(done < 2 ? 1 : done < 8 ? columns + 1 : places);
      if (finished()) return pause();
      say(show());
      timer = setTimeout(tick, done < 1 ? 110 : done < 2 ? 40 : 90);
    }
    press("play", () => {
      if (timer) return pause();
      if (finished()) begin();
      play.textContent = "Pause";
      said.setAttribute("aria-live", "off");
      timer = setTimeout(tick, 150);
    });
    press("place", () => { go(1); pause(); });
    press("pass", () => { go(places - place); pause(); });
    press("again", () => { begin(); pause(); });
    play.hidden = calm;
    begin();
    pause();
    root.computed = { pass: () => { go(places - place); return { weights, errors, answers, wanted }; } };
"""


def hero(channel, kernel, start, *, rate, passes, alt):
    """Draw a 3 x 3 kernel that goes over a channel and learns after each pass.

    Parameters
    ----------
    channel : array of int of shape (H, W)
        What the kernel looks at, from 0 to 255.
    kernel : array of shape (3, 3)
        The weights that it should find: its answers are the targets.
    start : array of shape (3, 3)
        The weights that it starts with.
    rate : float
        The learning rate.
    passes : int
        How often it goes over the channel.
    alt : str
        What the figure shows, in words; the first and the last error are added.

    Returns
    -------
    Moving

    Raises
    ------
    ValueError
        If an array has the wrong shape.

    Notes
    -----
    Source: chapter "Figures that learn"; used on the front page.
    """
    channel, kernel, start = _as_task(channel, kernel, start)
    run = _learned(channel, kernel, start, rate, passes)
    words = f"{_in_words(alt)} In {passes} passes the error falls from {run[0][1]:.3g} to {run[-1][1]:.2g}."
    buttons = [("play", "Play"), ("place", "Next place"), ("pass", "Next pass"), ("again", "Start again")]
    data = {"channel": channel.tolist(), "kernel": kernel.ravel().tolist(), "weights": start.ravel().tolist(),
            "rate": rate, "passes": passes}
    stage = _stage(*(_panel(panel, words) for panel in _hero_panels(channel, kernel, run)))
    parts = [_controls(*(_button(*button) for button in buttons)), stage, _said(words)]
    return Moving("hero", parts, words, _PASS + _SHOW + _PLAY, data)


def _hero_panels(channel, kernel, run):
    """The channel with the kernel's frame; and weights, products, answers and the curve of the error."""
    size, (rows, columns), image = 30, channel.shape, channel[np.newaxis] / 255
    weight, target = (each.astype(float)[np.newaxis, np.newaxis] for each in (run[-1][0], kernel))
    answers, wanted = (conv2d(image, each, padding=1)[0] for each in (weight, target))
    p, q = rows // 2, columns // 2
    products = np.pad(channel, 1)[p : p + 3, q : q + 3] * run[-1][0]
    frame = _rect(0, 0, 3 * size, 3 * size, COLOURS["kernel"], 0.12, COLOURS["kernel"], 3)
    move = f"translate({16 + q * size} {16 + p * size})"
    grid = _padded_grid(channel, size, "input") + f'<g class="window" transform="{move}">{frame}</g>'
    side = _text(68, 9, "the weights", 13) + _text(214, 9, "the products", 13)
    side += _named_grid("weights", run[-1][0], (2, 20), 44, "kernel", 1)
    side += _named_grid("products", np.rint(products), (148, 20), 44, "output", np.abs(products).max())
    sums = [f"{255 * each[p, q]:.0f}".replace("-", "\N{MINUS SIGN}") for each in (answers, wanted)]
    side += _text(141, 170, f"sum {sums[0]}, wanted {sums[1]}", 15, ' class="sum" font-weight="600"')
    largest, cell = np.abs(wanted).max(), 98 / max(rows, columns)
    boards = {"answers": ("all its answers", 19, answers), "wanted": ("all that is wanted", 165, wanted)}
    for name, (words, x, values) in boards.items():
        side += _text(x + 49, 194, words, 13)
        side += _named_grid(name, values, (x, 206), cell, "output", largest, digits=False)
    side += _text(141, 324, f"the error, pass by pass; it begins at {_number(run[0][1])}", 13)
    side += _curve([error for _, error in run], (11, 334), 260, 70, len(run) - 1)
    return [_svg(20 + (columns + 2) * size, 20 + (rows + 2) * size, grid), _svg(282, 408, side)]
