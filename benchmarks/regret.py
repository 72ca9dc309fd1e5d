"""How much slower is the algorithm that convlib chooses than the best of those it could have chosen?

All that can compute a layer are asked, through the public functions: `algorithm="..."`. Those that are far slower for a
single image are not measured any further.
"""

import statistics
import time
from itertools import product

import numpy as np

from benchmarks import exact, measure, run
from benchmarks.peers import Convlib, NumPy
from benchmarks.shapes import random_data

FAR = 3.0  # as long as so many times the chosen: not in the race
CALLS = 3


def rows(sampled, options, settings):
    """Measure the chosen algorithm beside all others, for layers with their kinds, in all directions."""
    found = []
    for (case, kind), threads in product(sampled, options.threads):
        data = random_data(case)
        truth = exact.results(case, data)
        Convlib.use_threads(threads)
        if NumPy.available():
            NumPy.use_threads(threads)  # an algorithm may multiply by BLAS
        for direction in options.direction:
            chosen = run.chosen(case, [direction])[direction]
            others = in_the_race(case, direction, chosen)
            found.append({"kind": kind, "case": case.name, "shape": case.text, "images": case.images,
                          "direction": direction, "threads": threads, "chosen": chosen,
                          **race(case, data, others, direction, truth, settings.for_threads(threads))})
            print(row_line(found[-1]), flush=True)
    return run.rounded(found)


def in_the_race(case, direction, chosen):
    """Return the names of the other algorithms that suit, and are not far slower for a single image."""
    from convlib import algorithms

    single = case._replace(images=1)
    data = random_data(single)
    names = [name for name in algorithms.ALGORITHMS
             if name != chosen and algorithms.suits(name, run.geometry_of(case), np.dtype(np.float32))]
    limit = FAR * seconds(Convlib.prepare(single, data)[direction])
    return [name for name in names if seconds(Convlib.prepare(single, data, algorithm=name)[direction]) < limit]


def seconds(function):
    """Return the shortest time of a few calls, after one that may compile."""
    function()
    times = []
    for _ in range(CALLS):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return min(times)


def race(case, data, others, direction, truth, settings):
    """Return the ratios of the others to the choice, the best name, and the regret; no name if the choice was best."""
    chosen = Convlib.prepare(case, data)[direction]
    results = {}
    for name in others:
        function = Convlib.prepare(case, data, algorithm=name)[direction]
        measure.checked_error(f"{name}, {case.text}, {direction}", function, Convlib.arrays, truth[direction])
        results[name] = measure.compare(function, chosen, settings)
    ratios = {name: result.ratio for name, result in results.items()}
    best = max(ratios, key=ratios.get, default=None)
    regret = max(1.0, ratios.get(best, 1.0))
    return {"best": best if regret > 1 else "", "regret": regret, "ratios": ratios,
            "quiet": all(result.quiet for result in results.values())}


def row_line(row):
    better = f", {row['best']} is best" if row["best"] else ""
    return (f"regret, {row['shape']}, {row['direction']}, threads {row['threads']}: {row['regret']:.2f} "
            f"with {row['chosen']}{better}")


def summary(found):
    """Yield the geometric mean of all regrets with each number of threads, and the largest ones."""
    for threads in dict.fromkeys(row["threads"] for row in found):
        regrets = [row["regret"] for row in found if row["threads"] == threads]
        yield (f"regret, threads {threads}, {len(regrets)} choices: chosen / best "
               f"{statistics.geometric_mean(regrets):.3f} in geometric mean, {max(regrets):.2f} at worst")
    for row in sorted(found, key=lambda row: -row["regret"])[:5]:
        if row["best"]:
            yield row_line(row)
