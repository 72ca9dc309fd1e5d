"""Measure convlib beside the frameworks that are installed, and write down what comes out.

    python -m benchmarks.run --output benchmarks/results/latest.json      everything, about half an hour
    python -m benchmarks.run --case res56 s2 --direction forward --quick  a glance, nothing is stored

Everybody gets the same arrays, is checked against exact results first, and gives fresh outputs on every call.
"""

import argparse
import json
import statistics
import sys
from datetime import UTC, datetime
from functools import partial
from itertools import product
from pathlib import Path

import numpy as np

from benchmarks import costs, exact, machine, measure, peak, training, vectors
from benchmarks.peers import PEERS, VARIANTS, Convlib
from benchmarks.shapes import CASES, DIRECTIONS, HOUSE, SEED, TOY, house_data, random_data

FORMAT = 2  # to be counted up when the meaning of a field changes
QUICK = measure.Settings(rounds=3, block_seconds=0.025)
NAMES = tuple(case.name for case in CASES)
# Whether an image costs the same in a batch of any size is measured on these.
BATCHES, IN_BATCHES = (1, 4, 16, 64), ("mnist2", "cifar2", "res28", "pw56")


def main(arguments=None, subject=Convlib, known_peers=PEERS, known_variants=VARIANTS):
    """Measure what the command line asks for; return 1 if that cannot be done."""
    options = parsed(arguments)
    variants = [each for each in known_variants if each.available()]
    return carried_out(options, known_peers, partial(measured, options, subject, variants),
                       lambda document: map(mean_line, document["means"] + document["variant_means"]))


def carried_out(options, known_peers, measured, summary):
    """Measure beside those who are there, print the lines of the summary, store the result; return the exit code."""
    peers, missing = present(known_peers, options.peer)
    if not peers:
        print("nothing to compare with: `make bench` installs PyTorch", file=sys.stderr)
        return 1
    try:
        document = measured(peers, missing)
    except measure.WrongResult as wrong:
        print(f"not timed: {wrong}", file=sys.stderr)
        return 1
    for line in summary(document):
        print(line)
    if options.output:
        options.output.parent.mkdir(parents=True, exist_ok=True)
        options.output.write_text(text_of(document), encoding="utf-8")
    return 0


def present(known_peers, wanted=None):
    """Return the peers that are wanted and can be measured, and the names of those that cannot."""
    reasons = {}
    for each in known_peers:
        if not each.available():
            reasons[each.name] = "is not installed"
        elif getattr(each, "own_vectors", False) and not vectors.are_own():
            reasons[each.name] = f"cannot be told to use {vectors.measured_as()}"
    for name, reason in reasons.items():
        print(f"{name} {reason}: left out")
    peers = [each for each in known_peers if each.name not in reasons and each.name in (wanted or [each.name])]
    return peers, list(reasons)


def parsed(arguments):
    parser = parser_of(__doc__)
    parser.add_argument("--case", nargs="+", choices=NAMES, default=list(NAMES), metavar="NAME",
                        help="of " + ", ".join(NAMES))
    parser.add_argument("--costs", action=argparse.BooleanOptionalAction,
                        help="memory, batches, compiling and start-up, too (the default, unless --quick)")
    options = parser.parse_args(arguments)
    options.costs = not options.quick if options.costs is None else options.costs
    return options


def parser_of(description):
    """Return a parser of the options that all commands have."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2], metavar="COUNT")
    parser.add_argument("--direction", nargs="+", choices=DIRECTIONS, default=list(DIRECTIONS))
    parser.add_argument("--peer", nargs="+", choices=[each.name for each in PEERS])
    parser.add_argument("--rounds", type=int, help="quiet rounds for each comparison")
    parser.add_argument("--others", type=float, metavar="SHARE",
                        help="share of a core that other processes may use in a quiet round")
    parser.add_argument("--quick", action="store_true", help="few and short rounds, no costs")
    parser.add_argument("--output", type=Path, help="where to store the result (JSON)")
    return parser


def settings_of(options):
    """Return how to measure: the usual settings, or the quick ones, with what the options change."""
    changed = {name: value for name in ("rounds", "others") if (value := getattr(options, name)) is not None}
    return (QUICK if options.quick else measure.Settings())._replace(**changed)


# Measuring --------------------------------------------------------------------------------------------------


def measured(options, subject, variants, peers, missing):
    """Return the whole result as it is stored."""
    settings = settings_of(options)
    cases = [case for case in CASES if case.name in options.case]
    rows, of_variants = all_rows(cases, random_data, options, settings, subject, variants, peers)
    house, _ = all_rows([HOUSE], lambda _: house_data(), options, settings, subject, [], peers)
    return {
        **circumstances(options, subject, peers, missing),
        "settings": {**settings._asdict(), "seed": SEED, "dtype": "float32", "threads": options.threads,
                     "cases": [case.name for case in cases], "directions": options.direction,
                     "max_error": measure.MAX_ERROR},
        "variants": [each.name for each in variants],
        **measured_costs(cases, options, settings, subject, peers),
        "means": means(rows),
        "variant_means": means(of_variants),
        "algorithms": {case.name: chosen(case, options.direction) for case in cases},
        "cases": rows,
        "variant_cases": of_variants,
        "house": house,
    }


def circumstances(options, subject, peers, missing):
    """Return where, when and beside whom is measured."""
    return {
        "format": FORMAT,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine.description(),
        "measured_as": vectors.measured_as(),
        "peak_gflops": rounded({str(count): peak.peak(count) for count in options.threads}),
        "versions": machine.versions([subject, *peers]),
        "subject": subject.name,
        "peers": [each.name for each in peers],
        "prepared": [each.name for each in peers if getattr(each, "prepared", False)],
        "missing": missing,
    }


def measured_costs(cases, options, settings, subject, peers):
    """Return what a layer costs besides the time of a call, or nothing of it."""
    if not options.costs:
        return {"start_up": None, "first_calls": [], "memory": [], "batches": [], "training": []}
    print("start-up, compiling, memory and training, each in new processes")
    found = {
        "start_up": rounded(machine.start_up()),
        "first_calls": rounded(costs.first_calls(cases, options.direction)),
        "memory": rounded(costs.memory(cases, options.direction, max(options.threads))),
        "training": rounded(training.rows(options.threads, settings)),
    }
    sized = [case._replace(images=images) for case in cases if case.name in IN_BATCHES for images in BATCHES]
    batches, _ = all_rows(sized, random_data, options, settings, subject, [], peers[:1])
    return {**found, "batches": batches}


def chosen(case, directions):
    """Return by which algorithm convlib computes a case, by direction; nothing if it does not say."""
    try:
        from convlib import algorithms
    except ImportError:
        return {}
    return {each: algorithms.choose(each, geometry_of(case), np.float32) for each in directions}


def geometry_of(case):
    """Return a case as convlib describes a layer."""
    from convlib import shapes

    settings = case.stride, case.padding, case.dilation, case.groups
    return shapes.conv2d_geometry(case.input_shape, case.weight_shape, *settings)


def all_rows(cases, data_of, options, settings, subject, variants, peers):
    """Measure all cases in all directions, with each number of threads.

    Returns the rows of the subject, against each peer, and those of its variants, against the first peer.
    """
    rows, of_variants = [], []
    for case in cases:
        data = data_of(case)
        truth = exact.results(case, data)
        ready = {each.name: each.prepare(case, data) for each in (subject, *variants, *peers)}
        for threads, direction in product(options.threads, options.direction):
            use_threads(threads, subject, peers, ready[subject.name][direction])
            for ours, theirs in [*product([subject], peers), *product(variants, peers[:1])]:
                if direction in ready[theirs.name]:
                    found = row(case, direction, threads, ours, theirs, ready, truth, settings)
                    (rows if ours is subject else of_variants).append(found)
                    print(row_line(found), flush=True)
    return rows, of_variants


def use_threads(count, subject, peers, first_call):
    """Set the number of threads everywhere: ours first, since Numba's first launch resets PyTorch's."""
    subject.use_threads(count)
    first_call()
    for peer in peers:
        peer.use_threads(count)


def row(case, direction, threads, subject, peer, ready, truth, settings):
    """Check both sides, then time them."""
    functions, errors = [ready[each.name][direction] for each in (subject, peer)], {}
    for each, function in zip((subject, peer), functions, strict=True):
        label = f"{each.name}, {case.name}, {direction}"
        errors[each.name] = measure.checked_error(label, function, each.arrays, truth[direction])
    return rounded({
        "case": case.name, "shape": case.text, "images": case.images, "direction": direction,
        **timed(functions, case.operations, (subject, peer), threads, settings), "errors": errors,
    })


def timed(functions, operations, both, threads, settings):
    """Return what came out of a comparison, as it is stored."""
    subject, peer = (each.name for each in both)
    result = measure.compare(*functions, settings.for_threads(threads))
    seconds = {subject: result.ours, peer: result.theirs}
    return {
        "operations": operations, "threads": threads, "subject": subject, "peer": peer,
        "ratio": {"median": result.ratio, "lower": result.lower_quartile, "upper": result.upper_quartile},
        "seconds": seconds,
        "gflops": {name: operations / value / 1e9 for name, value in seconds.items()},
        "rounds": result.rounds, "dropped": result.dropped, "quiet": result.quiet,
    }


# Putting together -------------------------------------------------------------------------------------------


def means(rows):
    """Return the geometric means: by subject, peer, threads and direction, with the toy and without."""
    found = []
    key = ("subject", "peer", "threads")
    who = dict.fromkeys(tuple(each[name] for name in key) for each in rows)
    for one, direction, with_toy in product(who, (*DIRECTIONS, "all"), (True, False)):
        ratios = [each["ratio"]["median"] for each in rows
                  if tuple(each[name] for name in key) == one
                  and direction in (each["direction"], "all") and (with_toy or each["case"] != TOY)]
        if ratios:
            found.append({**dict(zip(key, one, strict=True)), "direction": direction, "with_toy": with_toy,
                          "cases": len(ratios), "ratio": rounded(statistics.geometric_mean(ratios))})
    return found


def rounded(value):
    """Return numbers with four digits: the fifth is noise, and every digit is a change in the stored file."""
    if isinstance(value, dict):
        return {name: rounded(each) for name, each in value.items()}
    if isinstance(value, list):
        return [rounded(each) for each in value]
    return float(f"{value:.4g}") if isinstance(value, float) else value


def text_of(document):
    """Return the result as JSON with one line for each row, so that two results can be compared."""
    lines = []
    for name, value in document.items():
        if isinstance(value, list) and value and isinstance(value[0], dict):
            value = "[\n" + ",\n".join(f"  {json.dumps(row)}" for row in value) + "\n ]"
        else:
            value = json.dumps(value)
        lines.append(f" {json.dumps(name)}: {value}")
    return "{\n" + ",\n".join(lines) + "\n}\n"


def row_line(row):
    return f"{row['case']:7} {row['direction']:11} {ratio_text(row)}"


def ratio_text(row):
    ours, theirs = (f"{seconds * 1e3:.4g} ms" for seconds in row["seconds"].values())
    noise = f", {row['dropped']} rounds dropped" if row["dropped"] else ""
    noise += "" if row["quiet"] else ", NOT QUIET"
    return (f"threads {row['threads']}: {row['ratio']['median']:6.2f} x {row['peer']} "
            f"({row['subject']} {ours}, {theirs}{noise})")


def mean_line(mean):
    toy = "with" if mean["with_toy"] else "without"
    return (f"geometric mean, {mean['subject']}, {mean['direction']}, threads {mean['threads']}, {toy} {TOY}, "
            f"{mean['cases']} cases: {mean['ratio']:.2f} x {mean['peer']}")


if __name__ == "__main__":
    vectors.start_plainly()
    machine.keep_freed_memory()
    sys.exit(main())
