"""Measure convlib on the layers of real networks, beside the frameworks and plain NumPy.

    python -m benchmarks.zoo --seed 7 --layers 40 --threads 1 2   a sample of layers, each in three directions
    python -m benchmarks.zoo --layers all                         every layer of the table
    python -m benchmarks.zoo --networks                           the layers of whole networks, one after the other
    python -m benchmarks.zoo --regret                             beside all its own algorithms: was the choice good?

Several of them may stand together; --quick takes few and short rounds. The layers are those of `zoo_layers.json`.
"""

import statistics
import sys
from functools import partial
from itertools import product

from benchmarks import exact, machine, measure, networks, regret, run, vectors
from benchmarks.peers import PEERS, Convlib
from benchmarks.shapes import SEED, random_data

FORMAT = 1  # to be counted up when the meaning of a field changes
SAMPLE, IMAGES = 40, (4,)  # layers by themselves
BATCHES = (1, 8)  # whole networks
# Every layer is asked for everything, in the order of a step of training.
PASSES = {"forward": ("forward",), "forward and backward": ("forward", "backward")}
BEST = "the best of them"
EVEN, WORST = 0.95, 5


def main(arguments=None, subject=Convlib, known_peers=PEERS):
    """Measure what the command line asks for; return 1 if that cannot be done."""
    options = parsed(arguments)
    return run.carried_out(options, known_peers, partial(measured, options, subject), summary)


def parsed(arguments):
    parser = run.parser_of(__doc__)
    parser.add_argument("--seed", type=int, default=SEED, help="which sample of layers")
    parser.add_argument("--layers", metavar="COUNT", type=lambda text: text if text == "all" else int(text),
                        help=f"how many layers by themselves, or all ({SAMPLE}, if nothing else is asked for)")
    parser.add_argument("--networks", nargs="*", choices=networks.names(), metavar="NAME",
                        help="whole networks, all or of " + ", ".join(networks.names()))
    parser.add_argument("--regret", action="store_true", help="the algorithms of the sampled layers, too")
    parser.add_argument("--batch", nargs="+", type=int, metavar="IMAGES",
                        help=f"images ({IMAGES[0]} for layers, {BATCHES[0]} and {BATCHES[1]} for networks)")
    options = parser.parse_args(arguments)
    if options.layers is None and options.networks is None and not options.regret:
        options.layers = SAMPLE
    if options.networks == []:
        options.networks = networks.names()
    return options


def measured(options, subject, peers, missing):
    """Return the whole result as it is stored."""
    settings = run.settings_of(options)
    sampled = sample(options)
    layers = layer_rows(sampled if options.layers else [], options, settings, subject, peers)
    regrets = regret.rows(sampled if options.regret else [], options, settings)
    whole = network_rows(options, settings, subject, peers)
    prepared = [each.name for each in peers if getattr(each, "prepared", False)]
    return {
        **run.circumstances(options, subject, peers, missing), "format": FORMAT,
        "settings": {**settings._asdict(), "quick": options.quick, "seed": options.seed, "dtype": "float32",
                     "threads": options.threads, "directions": options.direction, "max_error": measure.MAX_ERROR},
        "layer_means": means(layers + best_rows(layers, prepared), ("kind", "direction")),
        "network_means": means(whole + best_rows(whole, prepared), ("images", "pass")),
        "made_of": run.rounded({name: networks.made_of(name) for name in options.networks or []}),
        "layers": layers, "networks": whole, "regret": regrets,
    }


def sample(options):
    """Return the layers that are asked for, with their kinds, in each batch."""
    layers = networks.layers() if options.layers == "all" else networks.sample(options.layers or SAMPLE, options.seed)
    return [(layer.case._replace(images=images), layer.kind)
            for images, layer in product(options.batch or IMAGES, layers)]


# Layers by themselves ---------------------------------------------------------------------------------------


def layer_rows(sampled, options, settings, subject, peers):
    """Measure each layer by itself, in all directions, beside every peer."""
    kinds = {case.name: kind for case, kind in sampled}
    rows, _ = run.all_rows([case for case, _ in sampled], random_data, options, settings, subject, [], peers)
    return [{"kind": kinds[row["case"]], **row} for row in rows]


# Whole networks ---------------------------------------------------------------------------------------------


def network_rows(options, settings, subject, peers):
    """Measure the layers of each network one after the other, in each batch, beside every peer."""
    rows = []
    for name, images in product(options.networks or [], options.batch or BATCHES):
        layers = [(case._replace(images=images), count) for case, count in networks.network(name)]
        run.use_threads(max(options.threads), subject, peers, lambda: None)
        ready, errors = checked(layers, (subject, *peers))
        for threads, which in product(options.threads, PASSES):
            walks = {each: walk(ready[each], PASSES[which]) for each in ready}
            run.use_threads(threads, subject, peers, walks[subject.name])
            for peer in peers:
                if walks[peer.name]:
                    found = {"network": name, "images": images, "pass": which,
                             **network_row(layers, which, (subject, peer), walks, threads, settings),
                             "errors": {each.name: errors[each.name] for each in (subject, peer)}}
                    rows.append(run.rounded(found))
                    print(f"{name} {images} {which}, {run.ratio_text(found)}", flush=True)
    return rows


def checked(layers, everybody):
    """Prepare all layers with everybody, and compare what they give with the exact results.

    Returns, by name, the functions of each layer with the number of times that it occurs, and the largest errors.
    """
    ready, errors = {each.name: [] for each in everybody}, {each.name: 0.0 for each in everybody}
    for case, count in layers:
        data = random_data(case)
        truth = exact.results(case, data)
        for each in everybody:
            functions = each.prepare(case, data)
            for direction in {"forward", "backward"} & set(functions):
                label = f"{each.name}, {case.text}, {direction}"
                error = measure.checked_error(label, functions[direction], each.arrays, truth[direction])
                errors[each.name] = max(errors[each.name], error)
            ready[each.name].append((functions, count))
    return ready, errors


def walk(ready, directions):
    """Return a function that runs through all layers, and back again; None for who does not know the way back."""
    if any(direction not in functions for functions, _ in ready for direction in directions):
        return None
    there, *back = ([functions[direction] for functions, count in ready for _ in range(count)]
                    for direction in directions)
    calls = there + [function for functions in back for function in reversed(functions)]

    def call():
        for function in calls:
            function()

    return call


def network_row(layers, which, both, walks, threads, settings):
    """Time two walks through a network in turns."""
    forward = sum(count * case.operations for case, count in layers)
    operations = forward if which == "forward" else 3 * forward
    return {"layers": sum(count for _, count in layers),
            **run.timed([walks[each.name] for each in both], operations, both, threads, settings)}


# Putting together -------------------------------------------------------------------------------------------


def best_rows(rows, prepared):
    """Return for each case the row beside the fastest of those who prepare nothing, as beside one peer."""
    best = {}
    for row in rows:
        if row["peer"] not in prepared:
            place = tuple(row.get(name) for name in ("case", "network", "images", "direction", "pass", "threads"))
            best[place] = min(best.get(place, row), row, key=lambda each: each["ratio"]["median"])
    return [{**row, "peer": BEST, "fastest": row["peer"]} for row in best.values()]


def means(rows, names):
    """Return the geometric means by peer, threads and two more names; "all" stands for all there are of a name."""
    groups = {}
    for row in rows:
        for key in product(*((row[name], "all") for name in names)):
            groups.setdefault((row["peer"], row["threads"], *key), []).append(row["ratio"]["median"])
    return [{**dict(zip(("peer", "threads", *names), key, strict=True)), "cases": len(ratios),
             "ratio": run.rounded(statistics.geometric_mean(ratios)),
             "below": sum(ratio < EVEN for ratio in ratios), "worst": min(ratios)}
            for key, ratios in groups.items()]


def summary(document):
    """Yield what is worth a look, line by line: the means, how many cases are lost, and the worst of them."""
    for name, names in (("layer_means", ("kind", "direction")), ("network_means", ("images", "pass"))):
        by_peer = {}
        for mean in document[name]:
            by_peer.setdefault((mean["threads"], mean["peer"]), []).append(mean)
        for found in by_peer.values():
            yield from mean_lines(found, names)
    for rows in (document["layers"], document["networks"]):
        for row in worst(best_rows(rows, document["prepared"])):
            yield f"worst: {row_name(row)}, threads {row['threads']}: {row['ratio']['median']:.2f} x {row['fastest']}"
    yield from regret.summary(document["regret"])


def mean_lines(found, names):
    """Yield the means beside one peer, with one number of threads, as a table."""
    down, across = ([*dict.fromkeys(mean[name] for mean in found if mean[name] != "all"), "all"] for name in names)
    cells = {tuple(mean[name] for name in names): mean for mean in found}
    whole = cells["all", "all"]
    yield (f"geometric mean, threads {whole['threads']}, {whole['cases']} cases: {whole['ratio']:.2f} x "
           f"{whole['peer']}, {whole['below'] / whole['cases']:.0%} below {EVEN}, worst {whole['worst']:.2f}")
    yield f"  {names[0]:10}" + "".join(f"{name:>22}" for name in across)
    for each in down:
        ratios = (cells.get((each, name)) for name in across)
        yield f"  {each:<10}" + "".join(f"{mean['ratio']:22.2f}" if mean else f"{'':22}" for mean in ratios)


def row_name(row):
    if "network" in row:
        return f"{row['network']}, {row['images']} images, {row['pass']}"
    return f"{row['kind']}, {row['shape']}, {row['direction']}"


def worst(rows):
    """Return the rows with the smallest ratios, the worst one first."""
    return sorted(rows, key=lambda row: row["ratio"]["median"])[:WORST]


if __name__ == "__main__":
    vectors.start_plainly()
    machine.keep_freed_memory()
    sys.exit(main())
