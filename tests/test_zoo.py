"""The benchmarks of real networks: the table, the samples, the walks, the regrets, on fakes and a clock of our own."""

import itertools
import json
import math
import os
import statistics
import subprocess
import sys
from collections import Counter
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from test_benchmarks import MEAN, NUMBER, ROW, SCHEMA, FakeMachine, peer, problems

import convlib
from benchmarks import measure, networks, peers, regret, run, shapes, vectors, zoo

ROOT = Path(__file__).parents[1]
STORED = sorted((ROOT / "benchmarks" / "results" / "zoo").glob("*.json"))

# --- the table ----------------------------------------------------------------------------------------------

# How many conv layers, and how many thousand million multiplications, the papers and torchvision's pages tell.
KNOWN = {"resnet50": (53, 4.09), "vgg16": (13, 15.35), "resnet18": (20, 1.81), "mobilenet_v2": (52, 0.30),
         "inception_v3": (94, 5.71), "resnext50_32x4d": (53, 4.23), "densenet121": (120, 2.83), "alexnet": (5, 0.66)}


def test_the_table_has_416_layers_of_twenty_networks():
    layers = networks.layers()
    assert len(layers) == len({layer.case[1:] for layer in layers}) == 416
    assert len(networks.names()) == 20
    assert all(layer.counts and min(layer.counts.values()) >= 1 for layer in layers)


@pytest.mark.parametrize("name", KNOWN)
def test_a_network_has_the_layers_and_multiplications_that_are_known_of_it(name):
    layers = networks.network(name)
    count = sum(count for _, count in layers)
    billions = sum(count * case.operations for case, count in layers) / 2e9
    assert (count, round(billions, 2)) == KNOWN[name]


def test_a_layer_follows_on_another():
    """Each input of ResNet-18 but the first is somebody's output, or what pooling leaves of the first."""
    cases = [case for case, _ in networks.network("resnet18")]
    outputs = {case.output_shape[1:] for case in cases} | {(64, 56, 56)}
    assert {case.input_shape[1:] for case in cases} <= outputs | {(3, 224, 224)}


def test_a_row_becomes_a_case_with_one_number_where_both_are_the_same():
    case = networks.case(7, [12, 17, 18, 8, 1, 7, 1, 1, 0, 3, 2, 2, 4])
    assert case == shapes.Case("zoo007", 1, 12, 17, 18, 8, (1, 7), 1, (0, 3), 4, 2)


@pytest.mark.parametrize(("expected", "case"), [
    ("1x1", (8, 5, 5, 4, 1, 1, 0)), ("one pixel", (8, 1, 1, 4, 1, 1, 0)), ("strided", (8, 5, 5, 4, 1, 2, 0)),
    ("3x3", (8, 5, 5, 4, 3, 1, 1)), ("strided", (3, 9, 9, 4, 7, (2, 1), 3)), ("other", (8, 5, 5, 4, (1, 3), 1, 0)),
    ("depthwise", (8, 5, 5, 8, 3, 2, 1, 8)), ("grouped", (8, 5, 5, 4, 3, 1, 1, 4)),
    ("dilated", (8, 5, 5, 4, 3, 1, 2, 1, 2)), ("depthwise", (8, 5, 5, 8, 3, 1, 2, 8, 2)),
])
def test_the_kind_of_a_layer(expected, case):
    assert networks.kind(shapes.Case("x", 1, *case)) == expected


def test_a_network_is_made_of_kinds_by_their_operations(monkeypatch):
    monkeypatch.setattr(networks, "layers", lambda: TINY)
    other, single = 2 * 20 * 18, 20 * 12  # places, then filters and what they see; one of the layers occurs twice
    assert networks.made_of("small") == {"other": other / (other + single), "1x1": single / (other + single)}
    assert networks.made_of("other") == {"1x1": 1.0}


def test_every_kind_occurs():
    assert {layer.kind for layer in networks.layers()} == set(networks.KINDS)


# --- samples ------------------------------------------------------------------------------------------------


def test_a_sample_is_the_same_for_the_same_seed_only():
    one, again, other = (networks.sample(40, seed) for seed in (7, 7, 8))
    assert one == again != other
    assert len({layer.case.name for layer in one}) == len(one) == 40


@pytest.mark.parametrize("seed", [0, 7])
def test_a_sample_has_some_of_each_kind_and_else_as_many_as_there_are(seed):
    counts = Counter(layer.kind for layer in networks.sample(40, seed))
    assert min(counts[kind] for kind in networks.KINDS) == networks.LEAST
    assert counts["1x1"] == 20 and counts["3x3"] == 5 and counts["depthwise"] == 4


def test_a_small_sample_has_one_of_each_kind_and_a_large_one_everything():
    assert Counter(layer.kind for layer in networks.sample(8, 7)) == dict.fromkeys(networks.KINDS, 1)
    assert networks.sample(10_000, 7) == networks.layers()


def test_shares_never_take_more_than_there_is():
    assert networks.shares({"a": 100, "b": 1, "c": 0}, 10) == {"a": 9, "b": 1, "c": 0}


def test_each_layer_is_sometimes_in_a_sample():
    seen = {layer.case.name for seed in range(120) for layer in networks.sample(40, seed)}
    assert len(seen) == 416


# --- plain NumPy --------------------------------------------------------------------------------------------


def test_numpy_multiplies_matrices_only_once_in_a_direction(monkeypatch):
    """It is the honest peer: no trick but windows and one product."""
    case = shapes.Case("x", 2, 4, 7, 6, 6, (3, 2), (2, 1), 1, groups=2)
    functions, seen = peers.NumPy.prepare(case, shapes.random_data(case)), []
    monkeypatch.setattr(peers, "turned", lambda case, matrices: seen.append(matrices.shape) or matrices)
    for direction in ("forward", "input_grad", "weight_grad"):
        functions[direction]()
    assert seen[:2] == [(2, 2, 12, 4 * 7), (2, 2, 3, 4 * 7)]  # images, groups, what a place sees, places


@pytest.mark.skipif(peers.openblas_threads() is None, reason="this NumPy was built with another library")
def test_numpy_can_be_told_its_number_of_threads():
    program = """
import os, numpy as np
from benchmarks.peers import NumPy
a = np.ones((1500, 1500), np.float32)
for count in (1, 2):
    NumPy.use_threads(count)
    a @ a
    print(len(os.listdir("/proc/self/task")))
"""
    if not Path("/proc/self/task").exists():
        pytest.skip("this system does not tell")
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True, capture_output=True, text=True,
                          env={**os.environ, "OPENBLAS_NUM_THREADS": "1"})
    assert list(map(int, done.stdout.split())) == [1, 2]


# --- walks through networks ---------------------------------------------------------------------------------


def recorded(*names):
    """Return the functions of layers with these names, and the list in which they write themselves down."""
    record = []
    return [{direction: partial(record.append, (name, direction)) for direction in ("forward", "backward")}
            for name in names], record


def test_a_walk_meets_each_layer_as_often_as_it_occurs_there_and_back():
    (one, two), record = recorded("one", "two")
    zoo.walk([(one, 1), (two, 2)], ("forward", "backward"))()
    there = [("one", "forward"), ("two", "forward"), ("two", "forward")]
    assert record == there + [(name, "backward") for name, _ in reversed(there)]


def test_who_does_not_know_the_way_back_walks_forward_only():
    functions = {"forward": lambda: None}
    assert zoo.walk([(functions, 3)], zoo.PASSES["forward"])
    assert zoo.walk([(functions, 3)], zoo.PASSES["forward and backward"]) is None


def test_a_long_call_begins_after_a_rest_and_not_after_other_calls():
    fake, rests = FakeMachine(), []
    settings = measure.Settings(rounds=2, block_seconds=1.0, lead_seconds=2.0, others=1.0, patience=1)
    ours, theirs = fake.function("a", 3.0), fake.function("b", 0.25)
    measure.compare(ours, theirs, settings, fake.clock, fake.others, rests.append)
    turns = [(name, len(list(group))) for name, group in itertools.groupby(fake.calls)]
    assert turns == [("a", 2), ("b", 4)] + [("a", 1), ("b", 8 + 4)] * 2
    assert rests == [2.0, 2.0]


# --- the whole run ------------------------------------------------------------------------------------------

TINY = [networks.Layer(shapes.Case("zoo000", 1, 2, 5, 4, 3, (1, 3), 1, (0, 1)), {"small": 2}),
        networks.Layer(shapes.Case("zoo001", 1, 3, 5, 4, 4, 1, 1, 0), {"small": 1, "other": 5})]


@pytest.fixture
def small(monkeypatch):
    """A table of two layers, and a clock that moves on by a second with each look at it."""
    seconds = itertools.count()
    timed = partial(measure.compare, clock=lambda: next(seconds), others=lambda: None, rest=lambda seconds: None)
    monkeypatch.setattr(run.measure, "compare", timed)
    monkeypatch.setattr(run.peak, "peak", lambda threads: 100.0 * threads)
    monkeypatch.setattr(networks, "layers", lambda: TINY)


def knowing(name, **changes):
    """Return a peer that knows the exact results, and the way back."""
    return peer(name, directions=(*shapes.DIRECTIONS, "backward"), **changes)


def stored(tmp_path, *arguments, known):
    """Run the command on small fakes; return its status and what it wrote."""
    path = tmp_path / "result.json"
    status = zoo.main([*arguments, "--output", str(path)], knowing("ours"), known)
    return status, json.loads(path.read_text()) if path.exists() else None


REGRET = {"kind": str, "case": str, "shape": str, "images": int, "direction": str, "threads": int, "chosen": str,
          "regret": NUMBER, "ratios": {...: NUMBER}, "quiet": bool, "best": str}
LOST = {"below": int, "worst": NUMBER}
ZOO_MEAN = {name: MEAN[name] for name in ("peer", "threads", "cases", "ratio")} | LOST
WALK = {name: ROW[name] for name in ROW if name not in ("case", "shape", "direction")}
ZOO_SCHEMA = {
    **{name: SCHEMA[name] for name in ("format", "date", "measured_as", "subject", "peers", "prepared", "missing",
                                       "machine", "peak_gflops", "versions")},
    "settings": {**{name: kind for name, kind in SCHEMA["settings"].items() if name != "cases"}, "quick": bool},
    "layer_means": [{**ZOO_MEAN, "kind": str, "direction": str}],
    "network_means": [{**ZOO_MEAN, "images": (int, str), "pass": str}],
    "made_of": {...: {...: NUMBER}},
    "layers": [{**ROW, "kind": str}],
    "networks": [{**WALK, "network": str, "pass": str, "layers": int}],
    "regret": [REGRET],
}


@pytest.mark.usefixtures("small")
def test_what_a_run_of_layers_stores(tmp_path):
    status, document = stored(tmp_path, "--layers", "all", known=[peer("one"), peer("two", directions=["forward"])])
    assert status == 0 and problems(document, ZOO_SCHEMA) == []
    assert document["networks"] == document["regret"] == []
    assert [(row["case"], row["kind"], row["images"], row["threads"], row["direction"], row["peer"])
            for row in document["layers"]] == [
        (case, kind, 4, threads, *both) for case, kind in (("zoo000", "other"), ("zoo001", "1x1"))
        for threads in (1, 2) for both in
        [("forward", "one"), ("forward", "two"), ("input_grad", "one"), ("weight_grad", "one")]]


@pytest.mark.usefixtures("small")
def test_what_a_run_of_networks_stores(tmp_path):
    status, document = stored(tmp_path, "--networks", "small", "--threads", "2",
                              known=[knowing("one"), peer("two", directions=["forward"], change=1e-6)])
    assert status == 0 and problems(document, ZOO_SCHEMA) == []
    assert document["layers"] == []
    rows = document["networks"]
    assert [(row["network"], row["images"], row["pass"], row["threads"], row["peer"]) for row in rows] == [
        ("small", images, which, 2, name) for images in (1, 8)
        for which, name in [("forward", "one"), ("forward", "two"), ("forward and backward", "one")]]
    forward = 2 * 20 * (2 * 3 * 2 * 3 + 4 * 3)  # places, then filters and what they see, one layer twice
    assert [row["operations"] for row in rows[::2]] == [forward, 3 * forward, 8 * forward]
    assert {row["layers"] for row in rows} == {3}
    assert rows[1]["errors"]["ours"] == 0 < rows[1]["errors"]["two"] < 1e-5


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("what", [["--layers", "all"], ["--networks", "small"]])
def test_who_is_wrong_is_not_timed(what, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(run.measure, "compare", lambda *_: pytest.fail("a wrong result was timed"))
    assert stored(tmp_path, *what, known=[knowing("one", change=0.5)]) == (1, None)
    assert "not timed: one, " in capsys.readouterr().err


def test_without_a_wish_a_sample_of_layers_is_measured():
    assert zoo.parsed([]).layers == zoo.SAMPLE
    assert zoo.parsed(["--networks"]).layers is None and zoo.parsed(["--regret"]).layers is None
    assert zoo.parsed(["--networks"]).networks == networks.names()
    sampled = zoo.sample(zoo.parsed(["--regret", "--seed", "7", "--batch", "1", "8"]))
    names = [layer.case.name for layer in networks.sample(zoo.SAMPLE, 7)]
    assert [(case.images, case.name) for case, _ in sampled] == [(images, name) for images in (1, 8) for name in names]


def row(ratio, name="one", kind="1x1", direction="forward", threads=1):
    return {"case": kind, "shape": "a layer", "images": 4, "kind": kind, "direction": direction, "threads": threads,
            "peer": name, "ratio": {"median": ratio}}


def test_beside_the_best_is_beside_the_fastest_of_each_case_who_prepares_nothing():
    rows = [row(2.0), row(0.5, "two"), row(0.1, "prepared"), row(3.0, kind="3x3"), row(4.0, "two", kind="3x3")]
    best = zoo.best_rows(rows, ["prepared"])
    assert [(each["ratio"]["median"], each["peer"], each["fastest"]) for each in best] == [
        (0.5, zoo.BEST, "two"), (3.0, zoo.BEST, "one")]


def test_means_are_geometric_and_count_what_is_lost():
    found = {(mean["kind"], mean["direction"]): mean for mean in zoo.means(
        [row(0.5), row(2.0, kind="3x3"), row(0.949, direction="input_grad"), row(0.951, direction="input_grad")],
        ("kind", "direction"))}
    assert found["all", "forward"]["ratio"] == 1.0 and found["1x1", "forward"]["cases"] == 1
    assert found["1x1", "all"]["ratio"] == run.rounded(statistics.geometric_mean([0.5, 0.949, 0.951]))
    assert (found["all", "all"]["below"], found["all", "all"]["worst"]) == (2, 0.5)


def test_the_summary_shows_means_losses_and_the_worst_five():
    rows = [row(ratio, kind=f"kind {ratio}") for ratio in (0.9, 0.5, 0.7, 3.0, 0.6, 0.8, 2.0)]
    names = "kind", "direction"
    document = {"layer_means": zoo.means(rows, names), "network_means": [], "layers": rows, "networks": [],
                "prepared": [], "regret": []}
    lines = list(zoo.summary(document))
    assert "threads 1, 7 cases: " in lines[0] and "x one, 71% below 0.95, worst 0.50" in lines[0]
    assert [line.split()[0] for line in lines[1:3]] == ["kind", "kind"] and lines[2].split()[-2:] == ["0.90", "0.90"]
    found = [line for line in lines if line.startswith("worst: ")]
    assert [line.split()[-3] for line in found] == ["0.50", "0.60", "0.70", "0.80", "0.90"]


# --- regret -------------------------------------------------------------------------------------------------


@pytest.fixture
def three_ways(monkeypatch):
    """A library that can choose among algorithms of 1, 1.6, 2 and 100 seconds, and chooses that of 2."""
    fake, compare = FakeMachine(), measure.compare
    took = {"fair": 1.6, "quick": 1.0, "slow": 2.0, "hopeless": 100.0, None: 2.0}

    def prepare(case, data, algorithm=None):
        function = fake.function(algorithm, took[algorithm])
        return {"forward": lambda: function() or np.ones(1)}

    monkeypatch.setattr(regret, "Convlib", SimpleNamespace(
        prepare=prepare, use_threads=lambda count: None, arrays=lambda result: (result.copy(),)))
    monkeypatch.setattr(regret.exact, "results", lambda case, data: {"forward": (np.ones(1),)})
    monkeypatch.setattr(regret.time, "perf_counter", fake.clock)
    monkeypatch.setattr(measure, "compare", lambda *both: compare(*both, fake.clock, fake.others))
    monkeypatch.setattr(run, "chosen", lambda case, directions: {"forward": "slow"})
    from convlib import algorithms

    monkeypatch.setattr(algorithms, "ALGORITHMS", dict.fromkeys(("slow", "fair", "quick", "hopeless", "unable")))
    monkeypatch.setattr(algorithms, "suits", lambda name, geometry, dtype: name != "unable")
    return fake


OPTIONS = SimpleNamespace(threads=[1], direction=["forward"])


def test_a_planted_slow_choice_is_regretted(three_ways):
    [found] = regret.rows([(TINY[0].case._replace(images=4), "other")], OPTIONS, measure.Settings(rounds=2))
    assert (found["chosen"], found["best"], found["regret"]) == ("slow", "quick", 2.0)
    assert found["ratios"] == {"fair": 1.25, "quick": 2.0}
    assert problems(found, REGRET) == []
    [mean, worst] = regret.summary([found])
    assert "chosen / best 2.000 in geometric mean, 2.00 at worst" in mean and "quick is best" in worst


def test_the_best_choice_is_not_regretted(three_ways, monkeypatch):
    monkeypatch.setattr(run, "chosen", lambda case, directions: {"forward": "quick"})
    prepare = regret.Convlib.prepare
    monkeypatch.setattr(regret.Convlib, "prepare",
                        lambda case, data, algorithm="quick": prepare(case, data, algorithm))
    [found] = regret.rows([(TINY[0].case, "other")], OPTIONS, measure.Settings(rounds=2))
    assert (found["best"], found["regret"], found["ratios"]) == ("", 1.0, {"slow": 0.5, "fair": 0.625})
    assert list(regret.summary([found]))[1:] == []


def test_a_wrong_algorithm_is_not_timed(three_ways, monkeypatch):
    monkeypatch.setattr(regret.exact, "results", lambda case, data: {"forward": (np.full(1, 2.0),)})
    with pytest.raises(measure.WrongResult, match="^fair, 1x2x5x4 -> 3, .*, forward: error"):
        regret.rows([(TINY[0].case, "other")], OPTIONS, measure.Settings(rounds=2))


def test_the_algorithms_of_the_library_are_asked_for_by_their_names(monkeypatch):
    """With the real library, on a small layer; two algorithms are enough, as each has to be compiled."""
    from convlib import algorithms

    case, asked = TINY[1].case, []
    chosen = run.chosen(case, ["forward"])["forward"]
    monkeypatch.setattr(algorithms, "ALGORITHMS", {name: algorithms.ALGORITHMS[name] for name in {chosen, "numpy"}})
    monkeypatch.setattr(regret, "FAR", math.inf)
    conv2d = convlib.conv2d
    monkeypatch.setattr(convlib, "conv2d", lambda *them, **named: asked.append(named) or conv2d(*them, **named))
    [found] = regret.rows([(case, "x")], OPTIONS, measure.Settings(1, 0.001, others=math.inf))
    assert found["chosen"] == chosen and list(found["ratios"]) == ["numpy"]
    assert {} in asked and {"algorithm": "numpy"} in asked


# --- machines with other vectors ----------------------------------------------------------------------------


@pytest.fixture
def wide(monkeypatch):
    """A machine with AVX-512, whatever this one is."""
    machines = pytest.importorskip("tools.machines")
    features = dict.fromkeys(machines.MACHINES["avx512"][1], True)
    monkeypatch.setattr(vectors, "processor", lambda: ("x86_64", features))


@pytest.mark.usefixtures("wide")
def test_everybody_is_told_the_vectors_and_what_was_told_before_is_forgotten():
    given = {"PATH": "p", "OPENBLAS_CORETYPE": "Prescott", "NUMBA_CPU_NAME": "x"}
    assert vectors.environment("avx512", given) == {"PATH": "p", vectors.MARK: "avx512"} | vectors.WAITING
    told = vectors.environment("avx2", given)
    assert (told["NUMBA_CPU_NAME"], told["NUMBA_CPU_FEATURES"]) == ("haswell", "")
    assert told["OPENBLAS_CORETYPE"] == "Haswell" and told["ATEN_CPU_CAPABILITY"] == "avx2"
    assert told["ONEDNN_MAX_CPU_ISA"] == "AVX2" and told["PATH"] == "p"


@pytest.mark.usefixtures("wide")
def test_who_cannot_be_told_is_left_out_where_the_vectors_are_others(monkeypatch, capsys):
    deaf = peer("deaf")
    deaf.own_vectors = True
    monkeypatch.delenv(vectors.MARK, raising=False)
    assert run.present([peer("one"), deaf])[1] == []
    monkeypatch.setenv(vectors.MARK, "avx2")
    assert vectors.measured_as() == "avx2"
    assert run.present([peer("one"), deaf])[1] == ["deaf"]
    assert "deaf cannot be told to use avx2: left out" in capsys.readouterr().out


def test_what_this_machine_cannot_run_is_left_out(monkeypatch, capsys):
    pytest.importorskip("tools.machines")
    monkeypatch.setattr(vectors, "processor", lambda: ("arm64", {}))
    assert vectors.main(["avx2", "false"]) == 0
    assert "Measured with avx2: LEFT OUT, this machine is arm64" in capsys.readouterr().out
    assert vectors.main(["mmx", "false"]) == 2


PROGRAM = """
import os, sys
from benchmarks import vectors
vectors.start_plainly()
told = os.environ.get("OPENBLAS_CORETYPE"), os.environ["OPENBLAS_THREAD_TIMEOUT"]
print(*told, vectors.measured_as() == vectors.own(), sys.argv[1:])
"""


@pytest.mark.skipif(not hasattr(os, "execve") or sys.platform == "win32", reason="a process cannot begin anew")
def test_a_program_begins_anew_without_what_the_environment_told(tmp_path):
    script = tmp_path / "program.py"
    script.write_text(PROGRAM)
    done = subprocess.run([sys.executable, str(script), "a", "b"], check=True, capture_output=True, text=True,
                          env={**os.environ, "OPENBLAS_CORETYPE": "Prescott", "PYTHONPATH": str(ROOT)})
    assert done.stdout.split("\n")[0] == "None 20 True ['a', 'b']"


@pytest.mark.skipif("avx2" not in run.machine.description()["vectors"], reason="this machine has no AVX2")
def test_a_process_with_other_vectors_has_them_everywhere():
    program = """
import ctypes, json, os
import numpy as np
from benchmarks import peers, vectors
from convlib.kernels.simd import REGISTER_BYTES
found = [vectors.measured_as(), REGISTER_BYTES, os.environ["OPENBLAS_CORETYPE"]]
if peers.PyTorch.available():
    import torch
    found.append(torch.backends.cpu.get_cpu_capability())
print(json.dumps(found))
"""
    if vectors.own() == "avx2":
        pytest.skip("these are its own")
    given = {name: value for name, value in os.environ.items() if not name.startswith("NUMBA_")}
    done = subprocess.run([sys.executable, "-m", "benchmarks.vectors", "avx2", sys.executable, "-c", program], cwd=ROOT,
                          check=True, capture_output=True, text=True, env={**given, "PYTHONPATH": str(ROOT)})
    found = json.loads(done.stdout)
    assert found[:3] == ["avx2", 32, "Haswell"] and found[3:] in ([], ["AVX2"])


# --- what is stored -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", STORED, ids=lambda path: path.stem)
class TestStored:
    """Each stored result is complete, right, and says of itself what can be counted again."""

    def test_has_the_form_that_the_page_reads(self, path):
        document = json.loads(path.read_text(encoding="utf-8"))
        assert document["format"] == zoo.FORMAT, "run `make bench`"
        assert problems(document, ZOO_SCHEMA) == []

    def test_speaks_of_the_table_as_it_is_now(self, path):
        document = json.loads(path.read_text(encoding="utf-8"))
        table = {layer.case.name: layer for layer in networks.layers()}
        for each in document["layers"]:
            layer = table[each["case"]]
            case = layer.case._replace(images=each["images"])
            assert (each["shape"], each["operations"], each["kind"]) == (case.text, case.operations, layer.kind)
        if document["networks"]:
            assert {each["network"] for each in document["networks"]} == set(networks.names())
        assert document["made_of"] == run.rounded({name: networks.made_of(name) for name in document["made_of"]})

    def test_holds_no_wrong_result(self, path):
        document = json.loads(path.read_text(encoding="utf-8"))
        rows = document["layers"] + document["networks"]
        assert max((error for each in rows for error in each["errors"].values()), default=0) <= measure.MAX_ERROR

    def test_was_measured_on_a_quiet_machine_unless_it_is_a_glance(self, path):
        document = json.loads(path.read_text(encoding="utf-8"))
        noisy = [each for name in ("layers", "networks", "regret") for each in document[name] if not each["quiet"]]
        assert document["settings"]["quick"] or noisy == [], "run `make bench` again when nothing else is running"

    def test_holds_the_means_of_its_own_ratios(self, path):
        document = json.loads(path.read_text(encoding="utf-8"))
        for name, means, names in (("layers", "layer_means", ("kind", "direction")),
                                   ("networks", "network_means", ("images", "pass"))):
            rows = document[name] + zoo.best_rows(document[name], document["prepared"])
            assert document[means] == zoo.means(rows, names)
