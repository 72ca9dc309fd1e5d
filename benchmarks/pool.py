"""Measure what the board is worth: convlib's own way to share work, beside the executor of the standard library.

    python -m benchmarks.pool                                   a sample of layers, forward, batches of 1 and 4
    python -m benchmarks.pool --layers all --direction forward input_grad weight_grad
    python -m benchmarks.pool --quick                           a glance: few and short rounds

Both run the same compiled kernels on the same jobs, in turns, in one process. A ratio above 1 means that the board is
faster. Layers that are too small to be shared are the same code either way: they are counted, not timed.
"""

import statistics
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import lru_cache

import numpy as np

from benchmarks import machine, measure, run, vectors, zoo
from benchmarks.peers import Convlib
from benchmarks.shapes import SEED, random_data
from convlib import parallel

FORMAT = 1  # to be counted up when the meaning of a field changes
BATCHES = (1, 4)
WINS = 1.05
# Nobody waits awake for longer than a few milliseconds here: so short a lead will do.
SETTINGS = measure.Settings(lead_seconds=0.01)
QUICK = SETTINGS._replace(rounds=3, block_seconds=0.02)


def main(arguments=None):
    """Measure what the command line asks for."""
    options = parsed(arguments)
    if parallel.board is None:
        print("without Numba there is no board", file=sys.stderr)
        return 1
    document = measured(options)
    for line in summary(document):
        print(line)
    if options.output:
        options.output.parent.mkdir(parents=True, exist_ok=True)
        options.output.write_text(run.text_of(document), encoding="utf-8")
    return 0


def parsed(arguments):
    parser = run.parser_of(__doc__)
    parser.set_defaults(threads=[2], direction=["forward"])
    parser.add_argument("--seed", type=int, default=SEED, help="which sample of layers")
    parser.add_argument("--layers", metavar="COUNT", default=zoo.SAMPLE, help=f"how many, or all ({zoo.SAMPLE})",
                        type=lambda text: text if text == "all" else int(text))
    parser.add_argument("--batch", nargs="+", type=int, metavar="IMAGES", default=list(BATCHES))
    return parser.parse_args(arguments)


def measured(options):
    """Return the whole result as it is stored."""
    changed = {name: value for name in ("rounds", "others") if (value := getattr(options, name)) is not None}
    settings = (QUICK if options.quick else SETTINGS)._replace(**changed)
    rows = [row for threads in options.threads if threads > 1 for case, kind in zoo.sample(options)
            for row in case_rows(case, kind, threads, options.direction, settings)]
    return {
        **run.circumstances(options, Convlib, [], []), "format": FORMAT,
        "settings": {**settings._asdict(), "quick": options.quick, "seed": options.seed, "dtype": "float32",
                     "threads": options.threads, "directions": options.direction, "batches": options.batch},
        "costs": run.rounded([costs(name) for name in WAYS]),
        "means": run.rounded(means(rows)),
        "layers": run.rounded(rows),
    }


# The two ways -----------------------------------------------------------------------------------------------


@lru_cache
def executor(threads):
    return ThreadPoolExecutor(threads)


def by_executor(kernel, jobs, spaces, room, arguments):
    """Do all jobs of a kernel: the first by this thread, the others by an executor, if its threads come in time."""
    parts = [spaces[job * room : (job + 1) * room] for job in range(jobs)]
    submit = executor(jobs - 1).submit
    others = [submit(kernel, job, jobs, *arguments, parts[job]) for job in range(1, jobs)]
    kernel(0, jobs, *arguments, parts[0])
    for job, each in enumerate(others, start=1):
        if each.cancel():  # nobody has begun with it
            kernel(job, jobs, *arguments, parts[job])
        else:
            each.result()
    return False


OWN = parallel._failed
WAYS = {"board": OWN, "executor": by_executor}


@contextmanager
def shared(way):
    """Let kernels be shared that way; yield the list of how many jobs each of them had."""
    jobs = []

    def noting(kernel, count, *arguments):
        jobs.append(count)
        return way(kernel, count, *arguments)

    parallel._failed = noting
    try:
        yield jobs
    finally:
        parallel._failed = OWN


def switched(function, way):
    """Return a function that calls another one while work is shared that way."""

    def call():
        parallel._failed = way
        try:
            return function()
        finally:
            parallel._failed = OWN

    return call


# Measuring --------------------------------------------------------------------------------------------------


def case_rows(case, kind, threads, directions, settings):
    """Yield what came out for a layer in each direction."""
    Convlib.use_threads(threads)
    functions = Convlib.prepare(case, random_data(case))
    for direction in directions:
        both = {name: switched(functions[direction], way) for name, way in WAYS.items()}
        row = {"kind": kind, "case": case.name, "shape": case.text, "images": case.images, "direction": direction,
               "threads": threads, "kernels": same_bits(functions[direction])}
        if row["kernels"]:
            result = measure.compare(*both.values(), settings)
            row |= {"seconds": {"board": result.ours, "executor": result.theirs}, "quiet": result.quiet,
                    "ratio": {"median": result.ratio, "lower": result.lower_quartile, "upper": result.upper_quartile}}
        print(row_line(row), flush=True)
        yield row


def same_bits(function):
    """Check that both ways give the same bits; return how many kernels of a call are shared."""
    results = []
    for way in WAYS.values():
        with shared(way) as jobs:
            results.append(Convlib.arrays(function()))
    if not all(np.array_equal(one, other, equal_nan=True) for one, other in zip(*results, strict=True)):
        raise measure.WrongResult("the executor gives other numbers than the board")
    return len(jobs)


def costs(name, calls=2000, pause=0.02):
    """Return what it costs to share two empty jobs that way, and the most processor time burned in a pause after it."""
    empty, array = empty_kernel(), np.zeros(2)
    seconds, burned = [], []
    with shared(WAYS[name]):
        parallel.run(empty, 2, 1, np.float32, array)
        for _ in range(calls):
            start = time.perf_counter()
            parallel.run(empty, 2, 1, np.float32, array)
            seconds.append(time.perf_counter() - start)
        for _ in range(20):
            parallel.run(empty, 2, 1, np.float32, array)
            start = time.process_time()
            time.sleep(pause)
            burned.append(time.process_time() - start)
    return {"way": name, "call": statistics.median(seconds), "burned": max(burned)}


@lru_cache
def empty_kernel():
    from numba import njit

    return njit(nogil=True)(lambda job, jobs, array, workspace: None)


# Putting together -------------------------------------------------------------------------------------------


def means(rows):
    """Return the geometric mean of the ratios, and how many are won and lost: of all, by batch and by direction."""
    groups = {}
    for row in rows:
        for key in {("all", "all"), (row["images"], "all"), ("all", row["direction"])}:
            groups.setdefault(key, []).append(row.get("ratio", {}).get("median"))
    found = []
    for (images, direction), ratios in sorted(groups.items(), key=str):
        timed = [ratio for ratio in ratios if ratio is not None]
        found.append({
            "images": images, "direction": direction, "layers": len(ratios), "shared": len(timed),
            "ratio": statistics.geometric_mean(timed) if timed else 1.0,
            "ratio_of_all": statistics.geometric_mean([ratio or 1.0 for ratio in ratios]),
            "won": sum(ratio >= WINS for ratio in timed), "lost": sum(ratio <= 1 / WINS for ratio in timed),
            "worst": min(timed, default=1.0),
        })  # fmt: skip
    return found


def summary(document):
    """Yield what it says, line by line."""
    for cost in document["costs"]:
        yield (f"two empty jobs by {cost['way']}: {cost['call'] * 1e6:.1f} us; "
               f"afterwards at most {cost['burned'] * 1e3:.2f} ms of processor time are burned")
    for mean in document["means"]:
        won = mean["won"] / max(1, mean["shared"])
        yield (f"images {mean['images']}, {mean['direction']}: board {mean['ratio']:.3f} x executor on "
               f"{mean['shared']} layers that are shared ({mean['ratio_of_all']:.3f} on all {mean['layers']}); "
               f"at least {WINS:.2f} on {won:.0%}, at most {1 / WINS:.2f} on {mean['lost']}, worst {mean['worst']:.2f}")


def row_line(row):
    name = f"{row['kind']}, {row['shape']}, {row['images']} images, {row['direction']}, threads {row['threads']}"
    if not row["kernels"]:
        return f"{name}: too small to be shared"
    times = ", ".join(f"{way} {seconds * 1e3:.4g} ms" for way, seconds in row["seconds"].items())
    return f"{name}: {row['ratio']['median']:.2f} ({times}{'' if row['quiet'] else ', NOT QUIET'})"


if __name__ == "__main__":
    vectors.start_plainly()
    machine.keep_freed_memory()
    sys.exit(main())
