# Exported from chapters/ by tools/export.py: edit the chapter, not this file.
"""A layer of one row, wire by wire: forwards, backwards, across.

Chapter "Figures to play with" builds this module.
"""

import numpy as np

from convlib.figures.drawing import COLOURS, _fit, _number, _rect, _svg, _text
from convlib.figures.moving import Moving, _button, _controls, _panel, _said, _stage, _steps

__all__ = ["STEP", "WIDTH", "TOP", "TITLES", "ROLES", "three_ways", "WAYS", "row"]


# Chapter "Figures to play with" (chapters/playing.ipynb)

STEP, WIDTH = 62, 42  # from cell to cell, and a cell's width
TOP = {"grad_input": 18, "input": 72, "output": 214, "grad_output": 258, "weight": 336, "grad_weight": 380}
TITLES = {
    "grad_input": ("learning flow at the inputs", 9), "input": ("inputs", 62),
    "output": ("outputs", 204), "grad_output": ("learning flow at the outputs", 298),
    "weight": ("weights", 326), "grad_weight": ("what each weight is told", 420),
}
ROLES = {"grad_input": "flow", "input": "input", "output": "output", "grad_output": "flow", "weight": "kernel",
         "grad_weight": "flow"}


def _links(count, taps):
    """The wires of a row with one zero at each end: (input, output, weight)."""
    reach = taps // 2
    return [(p + u - reach, p, u) for p in range(count) for u in range(taps) if 0 <= p + u - reach < count]


def _sums(line, kernel, flow):
    """What the wires make of the numbers, all three ways."""
    sums = {"output": 0 * line, "grad_input": 0 * line, "grad_weight": 0 * kernel}
    for r, p, u in _links(len(line), len(kernel)):
        sums["output"][p] += kernel[u] * line[r]
        sums["grad_input"][r] += kernel[u] * flow[p]
        sums["grad_weight"][u] += flow[p] * line[r]
    return {"input": line, "weight": kernel, "grad_output": flow, **sums}


def _line(name, values, widest):
    """A row of cells, with its title."""
    top, height = TOP[name], 30 if name.startswith("grad") else 36
    shift = 24 + STEP * (widest - len(values)) / 2
    title, y = TITLES[name]
    content = _text(24 + (STEP * (widest - 1) + WIDTH) / 2, y, title, 12)
    for k, value in enumerate(values):
        content += _rect(shift + STEP * k, top, WIDTH, height, COLOURS[ROLES[name]], 0.3)
        words = _number(value)
        place = shift + STEP * k + WIDTH / 2, top + height / 2
        content += _text(*place, words, _fit(words, WIDTH, 15), ' class="number"')
    return f'<g class="{name}">{content}</g>'


def _wire(r, p):
    """A wire from input r to output p, with a head at either end."""
    (x, y), (across, down) = (24 + STEP * r + WIDTH / 2, 111), (STEP * (p - r), 84)
    length, angle = np.hypot(across, down), np.degrees(np.arctan2(down, across))
    return (
        f'<g class="wire" fill="none" stroke="currentColor" stroke-opacity="0.5" '
        f'transform="translate({x:g} {y:g}) rotate({angle:.1f})"><path d="M0 0 h{length:.1f}"/>'
        f'<path class="down" d="M{length - 8:.1f} -4 l8 4 l-8 4"/><path class="up" d="M8 -4 l-8 4 l8 4"/></g>'
    )


def _wires_picture(numbers, names):
    """The whole picture, with these rows."""
    count = len(numbers["input"])
    content = "".join(_wire(r, p) for r, p, _ in _links(count, len(numbers["weight"])))
    content += "".join(_line(name, numbers[name], count) for name in names)
    return _svg(48 + STEP * (count - 1) + WIDTH, 432 if "grad_weight" in names else 376, content)


_WIRES = """
    const { numbers, links, plans } = start, wires = all(".wire");
    const target = { forwards: "output", backwards: "grad_input", across: "grad_weight" };
    const sources = { forwards: ["weight", "input"], backwards: ["weight", "grad_output"],
      across: ["input", "grad_output"] };
    const where = (name, [r, p, u]) => (name.endsWith("weight") ? u : name.endsWith("output") ? p : r);
    const factors = (way, link) => sources[way].map((name) => numbers[name][where(name, link)]);
    let plan = plans[0];
    function after(steps) {
      const sums = { output: [], grad_input: [], grad_weight: [] };
      steps.forEach(({ way, wires: taken }) => taken.forEach((k) => {
        const [one, other] = factors(way, links[k]), place = where(target[way], links[k]);
        sums[target[way]][place] = (sums[target[way]][place] || 0) + one * other;
      }));
      return sums;
    }
    function sentence({ way, wires: taken }, sums) {
      const link = links[taken[0]], name = target[way], place = where(name, link), sum = written(sums[name][place]);
      const products = taken.map((k) => factors(way, links[k]).map(written).join(" · "));
      if (taken.length > 1) return `${name}[${place}] = ${products.join(" + ")} = ${sum}.`;
      const parts = sources[way].map((source) => `${source}[${where(source, link)}]`);
      return `${name}[${place}] += ${parts.join(" * ")}, that is ${products[0]}: now ${sum}.`;
    }
    function thick(name, place) {
      const cell = root.querySelectorAll(`.${name} rect`)[place];
      if (cell) cell.setAttribute("stroke-width", 3);
    }
"""


_STEP_ON = """
    function show(number) {
      const done = plan.steps.slice(0, number), now = done[number - 1], sums = after([...plan.before, ...done]);
      all(".panel rect").forEach((cell) => cell.setAttribute("stroke-width", 0.6));
      for (const name in sums) root.querySelectorAll(`.${name} .number`).forEach((text, place) => {
        write(text, place in sums[name] ? written(sums[name][place]) : "", 42, 15);
      });
      const used = new Set(done.filter((step) => !now || step.way === now.way).flatMap((step) => step.wires));
      const way = (now || plan.steps[0]).way;
      wires.forEach((wire, k) => {
        const strong = Boolean(now) && now.wires.includes(k);
        wire.setAttribute("stroke", strong ? COLOURS[way === "forwards" ? "kernel" : "flow"] : "currentColor");
        wire.setAttribute("stroke-width", strong ? 3.5 : used.has(k) ? 1.6 : 1);
        wire.setAttribute("stroke-opacity", strong ? 1 : used.has(k) ? 0.8 : 0.4);
        wire.querySelector(".down").style.display = way === "forwards" ? "" : "none";
        wire.querySelector(".up").style.display = way === "backwards" ? "" : "none";
      });
      const rows = [target[way], ...sources[way]];
      if (now) now.wires.forEach((k) => rows.forEach((each) => thick(each, where(each, links[k]))));
      const words = now ? sentence(now, sums) : plan.said;
      one(".panel").setAttribute("aria-label", words);
      return words;
    }
    const go = stepper(plan.steps.length + 1, show), ways = all("[data-do^=way]"), orders = all("[data-do^=order]");
    function change(way, order) {
      plan = plans[2 * way + order];
      ways.forEach((button, k) => button.setAttribute("aria-pressed", k === way));
      orders.forEach((button, k) => button.setAttribute("aria-pressed", k === order));
      say(go(1));
      ways.forEach((button, k) => { button.onclick = () => change(k, order); });
      orders.forEach((button, k) => { button.onclick = () => change(way, k); });
    }
    if (ways.length) change(0, 0);
"""


def _wires_arguments(line, kernel, flow):
    """The three arguments as arrays, after checking that the drawing can be made."""
    line, kernel, flow = (np.asarray(each) for each in (line, kernel, flow))
    if line.ndim != 1 or not 1 <= len(line) <= 8 or flow.shape != line.shape:
        raise ValueError(f"line, flow: expected two rows of up to 8 numbers, got shapes {line.shape} and {flow.shape}")
    if kernel.ndim != 1 or len(kernel) % 2 == 0 or len(kernel) > len(line):
        raise ValueError(f"kernel: expected an odd number of weights, at most {len(line)}, got shape {kernel.shape}")
    return line, kernel, flow


def three_ways(line, kernel, flow, *, alt):
    """Draw a layer of one row, wire by wire: forwards, backwards and across; the reader steps.

    Parameters
    ----------
    line : array of shape (n,), n at most 8
        The inputs; zeros outside.
    kernel : array of shape (m,), m odd
        The weights.
    flow : array of shape (n,)
        The learning flow at the outputs.
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
    Source: chapter "Figures to play with"; the sums are those of F04, F12 and F18, in one dimension.
    """
    line, kernel, flow = _wires_arguments(line, kernel, flow)
    ways = [_button(f"way-{way}", way) for way in WAYS]
    orders = [_button(f"order-{order}", order) for order in ("gather", "scatter")]
    return _wires(line, kernel, flow, _all_plans(len(line), len(kernel)), [*ways, *orders], alt)


WAYS = {  # who receives and who sends: places in a link (input, output, weight)
    "forwards": (1, 0),
    "backwards": (0, 1),
    "across": (2, 1),
}


def _all_plans(count, taps):
    """For each way and each order: what has been done before, and the steps."""
    links, plans, before = _links(count, taps), [], []
    for way, (receiver, sender) in WAYS.items():
        for order, key in (("gather", receiver), ("scatter", sender)):
            ranked = sorted(range(len(links)), key=lambda k, key=key: links[k][key])
            said = {"gather": "one receiver after the other", "scatter": "one sender after the other"}[order]
            plans.append({"said": f"{way}, {order}: {said}.", "before": list(before),
                          "steps": [{"way": way, "wires": [k]} for k in ranked]})
        before.append({"way": way, "wires": list(range(len(links)))})
    return plans


def _wires(line, kernel, flow, plans, buttons, alt):
    """The picture, its controls and its script."""
    numbers = _sums(line, kernel, flow)
    names = [name for name in TOP if buttons or name != "grad_weight"]
    data = {"numbers": {name: numbers[name].tolist() for name in ("input", "weight", "grad_output")},
            "links": _links(len(line), len(kernel)), "plans": plans}
    said = "All sums: " + "; ".join(f"{name} {', '.join(map(_number, numbers[name]))}" for name in names
                                    if name in ("output", "grad_input", "grad_weight")) + "."
    parts = [_controls(*buttons)] if buttons else []
    parts += [_steps(len(plans[0]["steps"]) + 1), _said(said),
              _stage(_panel(_wires_picture(numbers, names), said))]
    return Moving("wires", parts, alt, _WIRES + _STEP_ON, data)


def row(line, kernel, flow, *, alt):
    """Draw a layer of one row, cell by cell: forward, then backward; the reader steps.

    Parameters
    ----------
    line : array of shape (n,), n at most 8
        The inputs; zeros outside.
    kernel : array of shape (m,), m odd
        The weights.
    flow : array of shape (n,)
        The learning flow at the outputs.
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
    Source: chapter "Figures to play with"; the sums are those of F01 and F12, in one dimension.
    """
    line, kernel, flow = _wires_arguments(line, kernel, flow)
    links = _links(len(line), len(kernel))
    steps = [{"way": way, "wires": [k for k, link in enumerate(links) if link[receiver] == place]}
             for way, (receiver, _) in list(WAYS.items())[:2] for place in range(len(line))]
    weights = ", ".join(map(_number, kernel))
    plan = {"said": f"Weights {weights}, from left to right.", "before": [], "steps": steps}
    return _wires(line, kernel, flow, [plan], [], alt)
