"""Find the numbers of the engine on this machine, and what each is worth.

    python -m benchmarks.tune                 every number of convlib/kernels/tuning.py, a few values each
    python -m benchmarks.tune SET BLOCK       only these; BLOCK is ROWS and VECTORS together
    python -m benchmarks.tune SET=25000,400000 DOTS=3x3,2x4 --store mine.json

The numbers are constants when the kernels are compiled. So each value has a process and a folder for compiled code of
its own, and all of them time the same layer in turns. A value below 1 in the table is faster than what convlib has now.
"""

import argparse
import importlib
import importlib.abc
import importlib.util
import itertools
import json
import os
import re
import statistics
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from benchmarks.shapes import Case

ROOT = Path(__file__).parents[1]
MODULE, VARIABLE = "convlib.kernels.tuning", "CONVLIB_TUNING"
SECONDS, ROUNDS = 0.02, 7
FROM = np.float32(0.5)

# The kinds of layers: images, channels, rows, columns, output channels, kernel, stride, padding, groups, dilation.
LAYERS = {case.name: case for case in itertools.starmap(Case, [
    ("1x1", 4, 128, 28, 28, 128, 1, 1, 0), ("narrow", 4, 192, 35, 35, 48, 1, 1, 0),
    ("wide", 4, 64, 56, 56, 256, 1, 1, 0), ("deep", 4, 1024, 14, 14, 256, 1, 1, 0),
    ("few places", 1, 160, 7, 7, 960, 1, 1, 0),
    ("3x3", 4, 128, 28, 28, 128, 3, 1, 1), ("thin 3x3", 4, 16, 56, 56, 16, 3, 1, 1),
    ("small 3x3", 4, 256, 14, 14, 256, 3, 1, 1), ("tiny 3x3", 4, 512, 7, 7, 512, 3, 1, 1),
    ("5x5", 4, 32, 28, 28, 64, 5, 1, 2), ("strided", 4, 64, 56, 56, 128, 3, 2, 1),
    ("small strided", 4, 256, 14, 14, 512, 3, 2, 1), ("thin strided", 4, 16, 56, 56, 16, 3, 2, 1),
    ("stem", 4, 3, 112, 112, 32, 3, 2, 1), ("grouped", 4, 128, 28, 28, 128, 3, 1, 1, 16),
    ("depthwise", 4, 144, 56, 56, 144, 3, 1, 1, 144), ("small depthwise", 4, 384, 14, 14, 384, 3, 1, 1, 384),
    ("one output", 4, 64, 56, 56, 1, 3, 1, 1), ("dilated", 4, 128, 28, 28, 128, 3, 1, 2, 1, 2),
    ("pixel", 4, 512, 1, 1, 128, 1, 1, 0), ("house", 1, 3, 7, 7, 2, 3, 1, 1),
])}  # fmt: skip


def places(names, *directions):
    """Layers and directions: each with each."""
    return [(name, direction) for direction in directions for name in names]


# Where a number matters. A number that is not named here is tried on all of ANYWHERE.
EVERY = "forward", "input_grad", "weight_grad"
ANYWHERE = places(["1x1", "3x3", "strided", "depthwise"], *EVERY)
PRODUCTS = places(["1x1", "wide", "deep", "strided"], "forward")
WINOGRAD = places(["3x3", "small 3x3", "tiny 3x3", "5x5", "dilated"], *EVERY)
WEIGHTS = places(["1x1", "wide", "strided", "small strided"], "weight_grad")
PLANES = places(["stem", "grouped", "depthwise", "small depthwise"], "forward", "input_grad")
SUMS = places(["depthwise", "grouped", "stem", "thin 3x3"], "weight_grad")
WHERE = {
    "BLOCK": [*PRODUCTS, ("1x1", "input_grad"), ("1x1", "weight_grad")],
    **dict.fromkeys(["PIECE", "SET"], [*PRODUCTS, ("strided", "input_grad")]),
    **dict.fromkeys(["IN_PLACE", "APART", "WAYS", "KEPT"], [("narrow", "forward"), ("wide", "input_grad")]),
    "ABREAST": [("small depthwise", direction) for direction in EVERY],
    "AHEAD": places(["1x1", "deep"], "forward"),
    "UNPACKED": places(["few places", "1x1", "deep"], "input_grad"),
    "AT_ONCE": places(["1x1", "deep", "strided"], "input_grad"),
    "PIXELS": WEIGHTS,
    **dict.fromkeys(["PLANE", "SHARES"], places(["strided", "small strided"], "input_grad")),
    **dict.fromkeys(["SPAN", "TALL", "BUNCH", "LINES"], PLANES),
    **dict.fromkeys(["FLOW", "NEARBY", "DOTS", "SUMS", "SETS"], SUMS),
    **dict.fromkeys(["OUTPUTS", "TILES", "PART", "FEW_PIECES", "MANY_PIECES", "SECTIONS"], WINOGRAD),
    **dict.fromkeys(["TRANSFORM", "PREPARED"], places(["3x3", "tiny 3x3", "5x5"], "forward", "input_grad")),
    "TRANSFORM_WEIGHTS": places(["3x3", "small 3x3", "tiny 3x3"], "weight_grad"),
    **dict.fromkeys(["SMALL", "EACH"], places(["pixel", "house"], *EVERY)),
    "SPARSE": places(["dilated"], *EVERY),
    **dict.fromkeys(["LONG", "PACKED", "GATHERED", "NEAR"], places(["grouped", "strided", "stem"], "forward")),
    "PACKED_BACK": places(["grouped", "thin 3x3"], "input_grad"),
    "CHANNELS_PLANES": places(["thin 3x3", "one output", "5x5"], "forward", "input_grad"),
    "CHANNELS_PLANES_STRIDED": places(["thin strided", "strided"], "input_grad"),
    "CHANNELS_PLANES_WEIGHTS": places(["thin 3x3", "thin strided"], "weight_grad"),
}
BLOCKS = [(4, 1), (8, 1), (4, 2), (6, 2), (8, 2), (12, 2), (3, 3), (4, 3)]


class _Patched(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds the table of numbers where it is, and changes some of them as soon as it has run."""

    def __init__(self, values):
        self.values = values

    def find_spec(self, name, path, target=None):
        if name != MODULE:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        self.loader, spec.loader = spec.loader, self
        return spec

    def exec_module(self, module):
        self.loader.exec_module(module)
        for name in self.values:
            if not hasattr(module, name):
                raise ValueError(f"expected a name of {MODULE}, got {name}")
        vars(module).update(self.values)


def number_of(text):
    """A number, or a tuple of numbers: 3x3."""
    numbers = tuple(float(part) if "." in part else int(part) for part in text.split("x"))
    return numbers if len(numbers) > 1 else numbers[0]


def text_of(value):
    return "x".join(map(str, value)) if isinstance(value, tuple) else str(value)


def patch(text):
    """Let the kernels of this process be compiled with other numbers: "SET=50000,DOTS=3x3"."""
    if MODULE in sys.modules:
        raise RuntimeError(f"{MODULE} is loaded already: its numbers are in use")
    pairs = (pair.split("=") for pair in text.split(",") if pair)
    sys.meta_path.insert(0, _Patched({name: number_of(value) for name, value in pairs}))


def call_of(case, direction):
    """Return a function without arguments that computes a layer in one direction."""
    from convlib import functional

    rng = np.random.default_rng(0)
    x, weight = (rng.random(shape, np.float32) - FROM for shape in (case.input_shape, case.weight_shape))
    flow = rng.random(case.output_shape, np.float32) - FROM
    settings = *case.pairs[1:], case.groups
    return {
        "forward": lambda: functional.conv2d(x, weight, None, *settings),
        "input_grad": lambda: functional.conv2d_input_grad(x.shape, weight, flow, *settings),
        "weight_grad": lambda: functional.conv2d_weight_grad(x, weight.shape, flow, *settings),
    }[direction]


def answer():
    """Be the process of one value: for each question on the input, a layer and a direction, print seconds per call."""
    from convlib import parallel

    parallel.set_num_threads(1)
    np.empty(31 * 2**20, np.uint8).fill(0)  # from now on large arrays are not mapped anew each time
    calls = {}
    for line in sys.stdin:
        name, direction = json.loads(line)
        if (name, direction) not in calls:
            calls[name, direction] = call_of(LAYERS[name], direction)
            calls[name, direction]()  # compiles
        count, start = 0, time.thread_time()
        while count == 0 or time.thread_time() - start < SECONDS:
            calls[name, direction]()
            count += 1
        print((time.thread_time() - start) / count, flush=True)


class Child:
    """A process whose kernels have other numbers; "" stands for those of convlib."""

    def __init__(self, setting):
        folder = ROOT / "_build" / "tune" / (re.sub(r"\W+", "-", setting) or "now")
        environment = {**os.environ, VARIABLE: setting, "NUMBA_CACHE_DIR": str(folder)}
        self.process = subprocess.Popen([sys.executable, "-m", "benchmarks.tune", "--answer"], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True, cwd=ROOT, env=environment)  # fmt: skip

    def ask(self, *question):
        self.process.stdin.write(json.dumps(question) + "\n")
        self.process.stdin.flush()

    def seconds(self):
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError("a process with other numbers ended; its message is above")
        return float(line)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        with self.process:  # waits, and closes what it was asked and answered through
            self.process.stdin.close()


def compare(children, where, rounds=ROUNDS):
    """For each child: the relative time on each layer, the first one's being 1; medians of paired times."""
    relative = [{} for _ in children]
    for question in where:
        for child in children:  # all of them compile now, side by side
            child.ask(*question)
        for child in children:
            child.seconds()
        ratios = [[] for _ in children]
        for _ in range(rounds):
            times = []
            for child in children:
                child.ask(*question)
                times.append(child.seconds())
            for found, each in zip(ratios, times, strict=True):
                found.append(each / times[0])
        for found, ratio in zip(relative, ratios, strict=True):
            found[" ".join(question)] = statistics.median(ratio)
    return relative


def current():
    """The numbers of convlib as they are."""
    module = importlib.import_module(MODULE)
    return {name: value for name, value in vars(module).items() if name.isupper() and is_number(value)}


def is_number(value):
    """Whether it is a number, or a tuple of them; the shape of a block is neither."""
    numbers = value if isinstance(value, tuple) else (value,)
    return bool(numbers) and all(type(each) in (int, float) for each in numbers)


def some_values(value):
    """What to try beside a value: parts and multiples; of a tuple, each number one less and one more."""
    if isinstance(value, tuple):
        near = ((*value[:k], value[k] + step, *value[k + 1 :]) for step in (-1, 1) for k in range(len(value)))
        return [each for each in near if min(each) > 0]
    if isinstance(value, float):
        return [value / 2, value * 0.75, value * 1.25, value * 1.5]
    return sorted({max(1, value // 4), max(1, value // 2), value * 2, value * 4})


def settings_of(name, values, now):
    """The settings to try for one number, each as text, that of convlib first as ""."""
    if name == "BLOCK":
        pairs = [pair for pair in BLOCKS if pair != (now["ROWS"], now["VECTORS"])]
        return ["", *(f"ROWS={rows},VECTORS={vectors}" for rows, vectors in pairs)]
    if name not in now:
        raise ValueError(f"expected BLOCK or one of {', '.join(now)}, got {name}")
    return ["", *(f"{name}={text_of(value)}" for value in values or some_values(now[name]) if value != now[name])]


def table(name, settings, relative, now):
    """The lines of one number: value, geometric mean of its times, each layer's time, and which is best."""
    means = [statistics.geometric_mean(each.values()) for each in relative]
    label = f"now {now['ROWS']} x {now['VECTORS']}" if name == "BLOCK" else f"now {text_of(now[name])}"
    lines = [f"{name}: relative time on {', '.join(relative[0])}"]
    for setting, each, mean in zip(settings, relative, means, strict=True):
        best = "  best" if mean == min(means) else ""
        parts = " ".join(f"{ratio:.2f}" for ratio in each.values())
        lines.append(f"  {setting or label:22} {mean:5.2f}  ({parts}){best}")
    return lines


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("numbers", nargs="*", help="names, or NAME=VALUE,VALUE; none: all of them")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--store", type=Path, help="write the result to this file, as JSON")
    parser.add_argument("--answer", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.answer:
        patch(os.environ[VARIABLE])
        return answer()
    now, found = current(), {}
    tuned = [name for name in now if name not in ("REGISTERS", "REGISTER_BYTES", "ROWS", "VECTORS")]
    for each in options.numbers or ["BLOCK", *tuned]:
        name, _, values = each.partition("=")
        settings = settings_of(name, [number_of(value) for value in values.split(",") if value], now)
        with ExitStack() as stack:
            children = [stack.enter_context(Child(setting)) for setting in settings]
            relative = compare(children, WHERE.get(name, ANYWHERE), options.rounds)
        print(*table(name, settings, relative, now), sep="\n", flush=True)
        found[name] = dict(zip([setting or "now" for setting in settings], relative, strict=True))
    if options.store:
        options.store.write_text(json.dumps({"numbers": now, "relative times": found}, indent=1) + "\n")
    return None


if __name__ == "__main__":
    sys.exit(main())
