"""The benchmarks measure what they say, on functions and a clock of our own; nothing depends on real time."""

import itertools
import json
import math
import os
import platform
import re
import subprocess
import sys
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import convlib
from benchmarks import costs, exact, machine, measure, peak, peers, run, shapes, training
from benchmarks.peers import Convlib, ConvlibWithoutWinograd
from convlib import reference

ROOT = Path(__file__).parents[1]
STORED = sorted((ROOT / "benchmarks" / "results").glob("*.json"))
SETTINGS = measure.Settings(rounds=3, block_seconds=1.0, lead_seconds=0.0, others=0.25, patience=2)


class FakeMachine:
    """A clock that only the measured functions move, a load that the test decides, a record of all calls."""

    def __init__(self, loads=()):
        self.now, self.used, self.calls = 0.0, 0.0, []
        self.loads, self.asked = iter(loads), itertools.count()

    def clock(self):
        return self.now

    def others(self):
        """Others work between the first and the second question of a round."""
        if next(self.asked) % 2:
            self.used += next(self.loads, 0.0)
        return self.used

    def function(self, name, *seconds):
        """Return a function that takes these times, one after the other and then over again."""
        times = itertools.cycle(seconds)

        def call():
            self.calls.append(name)
            self.now += next(times)

        return call

    def compare(self, ours, theirs, settings=SETTINGS):
        return measure.compare(ours, theirs, settings, self.clock, self.others)


# --- taking turns -------------------------------------------------------------------------------------------


def test_the_two_take_turns_in_blocks_of_the_length_asked_for():
    fake = FakeMachine()
    fake.compare(fake.function("a", 0.25), fake.function("b", 0.5))
    turns = [(name, len(list(group))) for name, group in itertools.groupby(fake.calls)]
    assert turns == [("a", 4), ("b", 2)] * 4  # the warm-up, then three rounds


def test_calls_before_a_block_do_not_count():
    fake = FakeMachine()
    warming = itertools.cycle([9.0, 9.0, 0.0, 0.0, 0.0, 0.0])  # the other's threads disturb the first two calls
    function = fake.function("a", 0.25)

    def ours():
        function()
        if len(fake.calls) > 6:  # behind the warm-up
            fake.now += next(warming)

    result = fake.compare(ours, fake.function("b", 0.5), SETTINGS._replace(lead_seconds=0.5))
    turns = [(name, len(list(group))) for name, group in itertools.groupby(fake.calls)]
    assert turns == [("a", 4), ("b", 2)] + [("a", 6), ("b", 3)] * 3
    assert (result.ours, result.theirs) == (0.25, 0.5)


def test_one_thread_needs_no_calls_before_a_block():
    assert measure.Settings().for_threads(1) == measure.Settings(lead_seconds=0.0)
    assert measure.Settings().for_threads(2) == measure.Settings() and measure.Settings().lead_seconds > 0


def test_a_function_slower_than_a_block_is_called_once_a_block():
    fake = FakeMachine()
    fake.compare(fake.function("a", 5.0), fake.function("b", 3.0))
    assert fake.calls == ["a", "a", "b", "b", *"ababab"]


def test_a_slow_first_call_does_not_shorten_the_blocks():
    fake = FakeMachine()
    compiling = iter([7.0])
    function = fake.function("a", 0.25)

    def ours():
        function()
        fake.now += next(compiling, 0.0)

    fake.compare(ours, fake.function("b", 1.0))
    assert fake.calls.count("a") == 2 + 3 * 4


def test_the_ratio_is_the_median_of_the_rounds_not_the_ratio_of_the_medians():
    rounds = [measure.Round(1, 2, 0), measure.Round(10, 50, 0), measure.Round(4, 12, 0)]
    result = measure.summary(rounds, dropped=0, quiet=True)
    assert (result.ratio, result.lower_quartile, result.upper_quartile) == (3, 2.5, 4)
    assert (result.ours, result.theirs) == (4, 12)


def test_above_one_means_that_ours_is_faster():
    fake = FakeMachine()
    result = fake.compare(fake.function("a", 0.5), fake.function("b", 1.0))
    assert (result.ratio, result.ours, result.theirs) == (2, 0.5, 1)


# --- quiet rounds -------------------------------------------------------------------------------------------


def test_rounds_in_which_others_worked_are_dropped_counted_and_made_up_for():
    # A round lasts two seconds, so others may use half a second of a core.
    fake = FakeMachine(loads=[0.0, 0.6, 0.4, 2.0, 0.5])
    result = fake.compare(fake.function("a", 1.0), fake.function("b", 1.0))
    assert (result.rounds, result.dropped, result.quiet) == (3, 2, True)


def test_what_was_measured_in_a_dropped_round_does_not_count():
    fake = FakeMachine(loads=[9.0])
    result = fake.compare(fake.function("a", 1.0, 1.0, 9.0, 1.0, 1.0, 1.0), fake.function("b", 2.0))
    assert (result.ratio, result.dropped) == (2, 1)


def test_a_machine_that_is_never_quiet_is_said_to_be_so():
    fake = FakeMachine(loads=itertools.repeat(2.0))
    result = fake.compare(fake.function("a", 1.0), fake.function("b", 1.0))
    assert (result.rounds, result.dropped, result.quiet) == (6, 6, False)


def test_where_the_load_is_not_known_every_round_counts():
    fake = FakeMachine()
    ours, theirs = fake.function("a", 1.0), fake.function("b", 1.0)
    result = measure.compare(ours, theirs, SETTINGS, fake.clock, others=lambda: None)
    assert (result.rounds, result.dropped, result.quiet) == (3, 0, True)


FAULTS = """
import ctypes, resource
import numpy as np
from benchmarks import machine
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        several = [np.empty(3_000_000, np.uint8) for _ in range(4)]  # more than glibc keeps, if it has seen only these
        for array in several:
            array[::1024] = 1
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
faults()
{what}
faults()
print(faults())
"""
IS_GLIBC = platform.libc_ver()[0] == "glibc"


@pytest.mark.skipif(not IS_GLIBC, reason="other libraries cannot be told")
@pytest.mark.parametrize(("what", "limits"), [
    # As bad as chance can have it: else 80 times 700 pages.
    ("assert machine.keep_freed_memory()", {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "0"}),
    # As a process begins, and with nobody who tells the library anything.
    ("ctypes.CDLL = None; assert not machine.keep_freed_memory()", {}),
])
def test_freed_memory_stays_with_the_process(what, limits):
    given = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    done = subprocess.run([sys.executable, "-c", FAULTS.format(what=what)], cwd=ROOT, check=True, capture_output=True,
                          text=True, env={**given, **limits})
    assert int(done.stdout) < 100


def test_the_load_of_others_is_that_of_all_less_our_own(tmp_path, monkeypatch):
    stat = tmp_path / "stat"
    stat.write_text("cpu  400 100 300 9000 700 50 25 25 11 12\ncpu0 1 2 3\n")
    monkeypatch.setattr(measure.os, "sysconf", lambda name: 100)
    monkeypatch.setattr(measure.time, "process_time", lambda: 2.5)
    assert measure.others_seconds(stat) == 9.0 - 2.5
    assert measure.others_seconds(tmp_path / "missing") is None


# --- correctness comes first --------------------------------------------------------------------------------


def arrays_of(result):
    return result


def test_the_error_is_relative_to_the_largest_value_and_the_worst_array_counts():
    results = np.array([1.0, -10.0]), np.array([3.5])
    assert measure.largest_error(results, (np.array([2.0, -10.0]), np.array([3.5]))) == 0.1
    assert measure.largest_error(results, (np.array([1.0, -10.0]), np.array([7.0]))) == 0.5


@pytest.mark.parametrize(("wrong", "complaint"), [
    (np.array([1.0, 2.1]), "error 5.0e-02 of the largest value, expected at most 1e-04"),
    (np.array([1.0, np.nan]), "error nan"),
    (np.array([[1.0, 2.0]]), r"shapes \[\(1, 2\)\], expected \[\(2,\)\]"),
])
def test_a_wrong_result_is_refused(wrong, complaint):
    with pytest.raises(measure.WrongResult, match=f"^somebody: {complaint}"):
        measure.checked_error("somebody", lambda: (wrong.copy(),), arrays_of, (np.array([1.0, 2.0]),))


def test_a_result_that_is_right_only_once_is_refused():
    results = iter([np.array([1.0]), np.array([2.0])])
    with pytest.raises(measure.WrongResult, match="error 1.0e"):
        measure.checked_error("somebody", lambda: (next(results),), arrays_of, (np.array([1.0]),))


def test_an_output_array_that_is_used_again_is_refused():
    kept = np.array([1.0, 2.0])
    with pytest.raises(measure.WrongResult, match="the same memory"):
        measure.checked_error("somebody", lambda: (kept,), arrays_of, (kept.copy(),))


SMALL = [
    shapes.Case("plain", 2, 3, 5, 4, 2, 3, 1, 1),
    shapes.Case("strided", 2, 2, 6, 7, 3, 3, 2, 1),  # the last row and the last column meet no kernel
    shapes.Case("pointwise", 1, 4, 3, 3, 2, 1, 1, 0),
    shapes.Case("grouped", 2, 4, 5, 5, 6, 3, 2, 2, groups=2),
    shapes.Case("pairs", 2, 2, 9, 8, 4, (3, 2), (2, 1), (1, 2), groups=2, dilation=(2, 3)),
    shapes.Case("one place", 3, 4, 1, 1, 5, 1, 1, 0),
    shapes.Case("depthwise", 1, 3, 5, 6, 3, (1, 3), 1, (0, 1), groups=3),
]


@pytest.mark.parametrize("case", SMALL, ids=lambda case: case.name)
def test_the_exact_results_are_those_of_seven_loops(case):
    data = shapes.random_data(case)
    truth = exact.results(case, data)
    for direction, expected in seven_loops(case, data).items():
        assert measure.largest_error(truth[direction], expected) < 1e-14, direction


def seven_loops(case, data):
    """Return all three directions, index by index: stride and groups are more than reference.py knows."""
    x, w, b, d = (array.astype(float) for array in data)
    _, (down, across), (top, left), (high, wide) = case.pairs
    x = np.pad(x, [(0, 0), (0, 0), (top, top), (left, left)])
    y, dx, dw = np.zeros(d.shape), np.zeros_like(x), np.zeros_like(w)
    y += b[:, None, None]
    outputs, inputs = (count // case.groups for count in (case.filters, case.channels))
    for (n, o, p, q), (i, u, v) in itertools.product(np.ndindex(d.shape), np.ndindex(w.shape[1:])):
        source = n, o // outputs * inputs + i, p * down + u * high, q * across + v * wide
        y[n, o, p, q] += w[o, i, u, v] * x[source]
        dx[source] += w[o, i, u, v] * d[n, o, p, q]
        dw[o, i, u, v] += x[source] * d[n, o, p, q]
    dx = dx[..., top:top + case.height, left:left + case.width]
    db = d.sum(axis=(0, 2, 3))
    return {"forward": (y,), "input_grad": (dx,), "weight_grad": (dw, db), "backward": (dx, dw, db)}


# --- who is compared ----------------------------------------------------------------------------------------

EVERYBODY = (Convlib, *peers.PEERS, *peers.VARIANTS)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("one", EVERYBODY, ids=lambda one: one.name)
@pytest.mark.filterwarnings("ignore")  # of other libraries
def test_everybody_who_is_installed_computes_the_same(one, threads):
    if not one.available():
        pytest.skip(f"{one.name} is not installed")
    assert isinstance(one.version(), str)
    one.use_threads(threads)
    for case in SMALL:
        data = shapes.random_data(case)
        truth = exact.results(case, data)
        for direction, function in one.prepare(case, data).items():
            assert measure.checked_error(one.name, function, one.arrays, truth[direction]) < 1e-5, direction


def test_the_variant_switches_winograd_off_for_its_own_calls_only(monkeypatch):
    settings, seen = [True], []
    monkeypatch.setattr(convlib, "set_winograd", settings.append, raising=False)
    monkeypatch.setattr(Convlib, "prepare", lambda case, data: {"forward": lambda: seen.append(settings[-1])})
    assert ConvlibWithoutWinograd.available()
    ConvlibWithoutWinograd.prepare(None, None)["forward"]()
    assert (seen, settings) == ([False], [True, False, True])


# --- what else it costs -------------------------------------------------------------------------------------


A_CALL = """
import numpy as np
from benchmarks import costs
from benchmarks.peers import Convlib
from benchmarks.shapes import CASES

megabytes = 2**20


def call():
    np.ones(40 * megabytes, np.uint8)
    needed = np.ones(70 * megabytes, np.uint8)
    return needed[:20 * megabytes].copy()


Convlib.prepare = lambda case, data: {"forward": call}
print(costs.own_memory(CASES[0], "forward", 1) / megabytes)
"""


@pytest.mark.skipif(not costs.CLEAR.exists(), reason="this system does not tell")
def test_memory_is_what_a_call_needs_at_most_besides_its_result():
    # In a process of its own, as the benchmarks do it: what other tests have freed may still lie in this one.
    done = subprocess.run([sys.executable, "-c", A_CALL], cwd=costs.ROOT, check=True, stdout=subprocess.PIPE, text=True,
                          env={**os.environ, **costs.EXACT})
    assert abs(float(done.stdout) - 70) < 2


def test_memory_is_told_beside_the_size_of_the_arrays(monkeypatch):
    asked = []
    monkeypatch.setattr(costs, "CLEAR", Path(__file__))
    monkeypatch.setattr(costs, "in_another_process", lambda *what: asked.append(what) or 1000)
    [row] = costs.memory([shapes.CASES[0], shapes.CASES[1]], ["forward"], 2)
    arrays = 4 * (64 * 28 * 28 + 8 * 9 + 8 + 64 * 8 * 28 * 28)
    assert row == {"case": "mnist1", "direction": "forward", "threads": 2, "extra_bytes": 1000,
                   "arrays_bytes": arrays, "ratio": 1000 / arrays}
    assert asked == [("memory", "mnist1", "forward", 2, costs.EXACT)]


def test_where_the_system_does_not_tell_there_is_no_memory(monkeypatch, tmp_path):
    monkeypatch.setattr(costs, "CLEAR", tmp_path / "missing")
    assert costs.memory(shapes.CASES, ["forward"], 2) == []


def test_a_first_call_is_cold_in_an_empty_cache_and_warm_in_the_next_process(monkeypatch):
    caches = []

    def in_another_process(what, case, direction, threads, environment):
        caches.append(environment["NUMBA_CACHE_DIR"])
        return 5.0 if caches.count(caches[-1]) == 1 else 0.5

    monkeypatch.setattr(costs, "in_another_process", in_another_process)
    rows = costs.first_calls(shapes.CASES[:2], ["forward", "weight_grad"])
    assert rows == [{"case": "toy", "direction": each, "cold": 5.0, "warm": 0.5}
                    for each in ("forward", "weight_grad")]
    assert len(set(caches)) == 2


def test_another_process_tells_a_number():
    """With a fresh cache it would have to compile; the one of this machine will do."""
    assert 0 < costs.in_another_process("first_call", "toy", "forward", 1, {}) < 60


def test_the_maximum_of_a_square_is_told_and_nobody_else():
    images = np.array([[1, 5, -1, -2], [5, 2, -3, -4]], np.float32)
    maxima = training.largest(images)
    assert maxima.tolist() == [[5, 0]]
    flow = np.array([[7, 9]], np.float32)
    assert training.largest_grad(images, maxima, flow).tolist() == [[0, 7, 0, 0], [0, 0, 0, 0]]


def test_the_network_learns_along_its_gradients(monkeypatch):
    """A small step along the gradient lowers the loss by the square of its length, divided by the rate."""
    monkeypatch.setattr(training, "RATE", 0.001)
    network = training.Network()
    before = {name: array.astype(float) for name, array in network.weights.items()}
    first = network.step()
    square = sum(((before[name] - array) ** 2).sum() for name, array in network.weights.items())
    assert first - network.step() == pytest.approx(square / training.RATE, rel=0.05)


@pytest.mark.filterwarnings("ignore")
def test_both_networks_learn_the_same():
    pytest.importorskip("torch")
    assert training.difference() < 1e-6


def test_without_pytorch_no_training_is_measured(monkeypatch):
    monkeypatch.setattr(training.PyTorch, "available", lambda: False)
    assert training.rows([1, 2], measure.Settings()) == []


def test_a_step_of_training_is_timed_in_turns(monkeypatch):
    fake, compare = FakeMachine(), measure.compare
    monkeypatch.setattr(training, "Network", lambda: SimpleNamespace(step=fake.function("a", 0.5)))
    monkeypatch.setattr(training, "TorchNetwork", lambda: SimpleNamespace(step=fake.function("b", 1.0)))
    monkeypatch.setattr(training.PyTorch, "use_threads", lambda count: None)
    monkeypatch.setattr(training.measure, "compare", lambda *both: compare(*both, fake.clock, fake.others))
    monkeypatch.setattr(training, "difference", lambda: 1e-7)
    found = training.row(1, SETTINGS)
    assert (found["threads"], found["ratio"]["median"], found["seconds"]) == (1, 2, {"convlib": 0.5, "PyTorch": 1})
    monkeypatch.setattr(training, "difference", lambda: np.nan)
    with pytest.raises(measure.WrongResult, match="weights differ by nan"):
        training.row(1, SETTINGS)


@pytest.mark.skipif(peak.kernel() is None, reason="Numba is missing")
def test_the_kernel_of_the_peak_multiplies_and_adds_in_each_of_its_vectors():
    function, size = peak.kernel()
    numbers = np.full(size, 0.5, np.float32)
    function(numbers, 3)
    assert (numbers == 0.5 + 3 * 0.25).all()


@pytest.mark.skipif(peak.kernel() is None, reason="Numba is missing")
def test_the_peak_counts_operations_in_all_threads(monkeypatch):
    seconds = itertools.count()
    monkeypatch.setattr(peak.time, "perf_counter", lambda: next(seconds))
    monkeypatch.setattr(peak, "kernel", lambda: (lambda numbers, times: None, 192))
    # Each run seems to take one second: half a second makes 50 000 times.
    assert peak.peak(2, seconds=0.5) == pytest.approx(2 * 192 * 50_000 * 2 / 1e9)


def test_without_numba_there_is_no_peak(monkeypatch):
    monkeypatch.setattr(peak, "kernel", lambda: None)
    assert peak.peak(1) is None


# --- the table ----------------------------------------------------------------------------------------------


def test_there_are_forty_two_cases():
    assert len(shapes.CASES) * len(shapes.DIRECTIONS) == 42
    assert len({case.name for case in shapes.CASES}) == len(shapes.CASES)


def test_a_case_says_what_it_is():
    texts = {case.name: case.text for case in shapes.CASES}
    assert texts["stem"] == "8x3x224x224 -> 64, 7x7, stride 2, padding 3"
    assert texts["pw56"] == "8x256x56x56 -> 64, 1x1"
    assert texts["dw56"] == "8x128x56x56 -> 128, 3x3, padding 1, groups 128"
    [uneven] = [case.text for case in SMALL if case.name == "pairs"]
    assert uneven == "2x2x9x8 -> 4, 3x2, stride 2x1, padding 1x2, dilation 2x3, groups 2"


def test_operations_are_counted_as_the_seven_loops_run():
    case = SMALL[3]
    loops = math.prod(case.output_shape) * math.prod(case.weight_shape[1:])
    assert case.operations == 2 * loops


def test_the_house_is_the_layer_of_the_course():
    data = shapes.house_data()
    image, weight, bias, _ = (array.astype(int) for array in data)
    expected = reference.conv2d(image[0], weight, bias, padding=1)
    assert np.array_equal(exact.results(shapes.HOUSE, data)["forward"][0][0], expected)


# --- the whole run ------------------------------------------------------------------------------------------


def peer(name, available=True, directions=shapes.DIRECTIONS, change=0.0):
    """Return a peer that knows the exact results, changed if it shall be wrong."""

    def prepare(case, data):
        truth = exact.results(case, data)
        return {each: lambda arrays=truth[each]: tuple(array + change for array in arrays)
                for each in directions}

    return SimpleNamespace(name=name, available=lambda: available, version=lambda: "1.2", prepare=prepare,
                           use_threads=lambda count: None, arrays=arrays_of)


@pytest.fixture
def no_waiting(monkeypatch):
    """Take the time by a clock that moves on by a second with each look at it."""
    seconds = itertools.count()
    measured = partial(measure.compare, clock=lambda: next(seconds), others=lambda: None,
                       rest=lambda seconds: None)
    monkeypatch.setattr(run.measure, "compare", measured)
    monkeypatch.setattr(run.machine, "start_up", lambda: {"import": 0.123456, "first_call": 0.5})
    monkeypatch.setattr(run.peak, "peak", lambda threads: 100.0 * threads)
    monkeypatch.setattr(run.costs, "in_another_process", lambda *what: 123456)
    monkeypatch.setattr(run.training, "rows", lambda counts, settings: [])
    monkeypatch.setattr(run.costs, "FIRST_CALLS", ["toy"])
    monkeypatch.setattr(run, "BATCHES", (1, 2))
    monkeypatch.setattr(run, "IN_BATCHES", ["toy"])


def stored(tmp_path, *arguments, peers, variants=()):
    """Run the command on small fakes; return its status and what it wrote."""
    path = tmp_path / "new" / "result.json"
    status = run.main([*arguments, "--case", "toy", "--output", str(path)], peer("ours"), peers, variants)
    return status, json.loads(path.read_text()) if path.exists() else None


@pytest.mark.usefixtures("no_waiting")
def test_what_a_run_stores(tmp_path):
    peers = [peer("one"), peer("two", directions=["forward"]), peer("three", available=False)]
    status, document = stored(tmp_path, peers=peers)
    assert status == 0
    assert problems(document) == []
    assert document["versions"]["one"] == "1.2"
    assert document["start_up"] == {"import": 0.1235, "first_call": 0.5}
    assert document["peak_gflops"] == {"1": 100.0, "2": 200.0}
    assert document["first_calls"][0] == {"case": "toy", "direction": "forward", "cold": 123456, "warm": 123456}
    assert document["variants"] == document["variant_cases"] == document["variant_means"] == []
    assert [(row["threads"], row["direction"], row["peer"]) for row in document["cases"]] == [
        (threads, *both) for threads in (1, 2) for both in
        [("forward", "one"), ("forward", "two"), ("input_grad", "one"), ("weight_grad", "one")]]


@pytest.mark.usefixtures("no_waiting")
def test_variants_are_measured_beside_the_first_peer(tmp_path):
    variants = [peer("other way"), peer("no way", available=False)]
    _, document = stored(tmp_path, peers=[peer("one"), peer("two")], variants=variants)
    assert document["variants"] == ["other way"]
    assert {(row["subject"], row["peer"]) for row in document["cases"]} == {("ours", "one"), ("ours", "two")}
    assert [(row["subject"], row["peer"], row["threads"], row["direction"]) for row in document["variant_cases"]] == [
        ("other way", "one", *both) for both in itertools.product((1, 2), shapes.DIRECTIONS)]
    assert {mean["subject"] for mean in document["variant_means"]} == {"other way"}
    assert problems(document) == []


@pytest.mark.usefixtures("no_waiting")
def test_batches_of_several_sizes_are_measured_beside_the_first_peer(tmp_path):
    _, document = stored(tmp_path, peers=[peer("one"), peer("two")])
    assert [(row["case"], row["images"], row["threads"], row["direction"], row["peer"])
            for row in document["batches"]] == [
        ("toy", images, *both, "one") for images in (1, 2)
        for both in itertools.product((1, 2), shapes.DIRECTIONS)]


@pytest.mark.usefixtures("no_waiting")
def test_a_quick_run_leaves_the_costs_out_unless_it_is_told(tmp_path):
    _, document = stored(tmp_path, "--quick", peers=[peer("one")])
    assert (document["start_up"], document["first_calls"], document["memory"], document["batches"]) == (
        None, [], [], [])
    _, document = stored(tmp_path, "--quick", "--costs", peers=[peer("one")])
    assert document["start_up"] and document["first_calls"] and document["batches"]


@pytest.mark.usefixtures("no_waiting")
def test_who_prepares_the_weights_in_advance_is_named(tmp_path):
    fixed = peer("two")
    fixed.prepared = True
    _, document = stored(tmp_path, peers=[peer("one"), fixed])
    assert document["prepared"] == ["two"]


def test_the_algorithms_are_named_where_convlib_tells(monkeypatch):
    asked = []
    told = SimpleNamespace(choose=lambda direction, geometry, dtype: asked.append((geometry, dtype)) or "winograd")
    monkeypatch.setitem(sys.modules, "convlib.algorithms", told)
    monkeypatch.setattr(convlib, "algorithms", told, raising=False)
    assert run.chosen(SMALL[1], ["forward"]) == {"forward": "winograd"}
    assert (asked[0][0].stride, asked[0][0].out_height, asked[0][1]) == ((2, 2), 3, np.float32)


@pytest.mark.usefixtures("no_waiting")
def test_a_peer_that_is_not_installed_is_left_out_and_named(tmp_path, capsys):
    _, document = stored(tmp_path, peers=[peer("one"), peer("two", available=False)])
    assert (document["peers"], document["missing"]) == (["one"], ["two"])
    assert "two" not in document["versions"]
    assert "two is not installed: left out" in capsys.readouterr().out


def test_without_any_peer_nothing_is_measured(tmp_path, capsys):
    assert stored(tmp_path, peers=[peer("one", available=False)]) == (1, None)
    assert "nothing to compare with" in capsys.readouterr().err


@pytest.mark.usefixtures("no_waiting")
def test_who_is_wrong_is_not_timed(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(run.measure, "compare", lambda *_: pytest.fail("a wrong result was timed"))
    assert stored(tmp_path, peers=[peer("one", change=0.5)]) == (1, None)
    assert "not timed: one, toy, forward: error" in capsys.readouterr().err


def test_our_threads_are_set_before_our_first_call_and_those_of_the_others_after_it():
    events = []
    ours, other = (SimpleNamespace(use_threads=lambda count, name=name: events.append((name, count)))
                   for name in ("ours", "other"))
    run.use_threads(2, ours, [other], lambda: events.append("first call"))
    assert events == [("ours", 2), "first call", ("other", 2)]


def test_the_quick_settings_can_be_changed():
    options = run.parsed(["--quick", "--others", "0.5"])
    assert run.settings_of(options) == run.QUICK._replace(others=0.5)
    assert run.settings_of(run.parsed(["--rounds", "4"])) == measure.Settings(rounds=4)


def rows_of(*ratios):
    """Return rows of one peer and one thread: the toy forward first, then other cases in other directions."""
    places = [("toy", "forward"), ("s2", "forward"), ("k5", "forward"), ("s2", "input_grad")]
    return [{"case": case, "direction": direction, "subject": "ours", "peer": "one", "threads": 1,
             "ratio": {"median": ratio}}
            for (case, direction), ratio in zip(places, ratios, strict=True)]


def test_the_means_are_geometric():
    found = {(mean["direction"], mean["with_toy"]): (mean["ratio"], mean["cases"])
             for mean in run.means(rows_of(64.0, 0.5, 2.0, 8.0))}
    assert found == {
        ("forward", True): (4.0, 3), ("forward", False): (1.0, 2), ("input_grad", True): (8.0, 1),
        ("input_grad", False): (8.0, 1), ("all", True): (4.757, 4), ("all", False): (2.0, 3)}


# --- where it was measured ----------------------------------------------------------------------------------


def test_the_machine_is_described_without_its_name(tmp_path):
    cpuinfo = tmp_path / "cpuinfo"
    one = "processor\t: 0\nmodel name\t: A Processor\nflags\t\t: fpu avx2 fma\n"
    cpuinfo.write_text(one + "\n" + one.replace("A", "B"))
    found = machine.description(cpuinfo)
    assert (found["cpu"], found["vectors"]) == ("A Processor", ["avx2", "fma"])
    assert set(found) == {"cpu", "cores", "vectors", "system", "architecture"}


def test_a_machine_without_cpuinfo_is_described_too(tmp_path):
    found = machine.description(tmp_path / "missing")
    assert found["cpu"] and found["vectors"] == [] and found["cores"] >= 1


# --- what is stored -----------------------------------------------------------------------------------------

NUMBER, COUNT = (int, float), int
MEAN = {"subject": str, "peer": str, "threads": COUNT, "direction": str, "with_toy": bool, "cases": COUNT,
        "ratio": NUMBER}
ROW = {
    "case": str, "shape": str, "images": COUNT, "operations": COUNT, "direction": str, "threads": COUNT,
    "subject": str, "peer": str,
    "ratio": {"median": NUMBER, "lower": NUMBER, "upper": NUMBER},
    "seconds": {...: NUMBER}, "gflops": {...: NUMBER}, "errors": {...: NUMBER},
    "rounds": COUNT, "dropped": COUNT, "quiet": bool,
}
SCHEMA = {
    "format": COUNT, "date": str, "measured_as": str, "subject": str, "variants": [str], "peers": [str],
    "prepared": [str], "missing": [str],
    "machine": {"cpu": str, "cores": COUNT, "vectors": [str], "system": str, "architecture": str},
    "peak_gflops": {...: NUMBER},
    "versions": {...: str},
    "settings": {
        "rounds": COUNT, "block_seconds": NUMBER, "lead_seconds": NUMBER, "others": NUMBER, "patience": COUNT,
        "seed": COUNT, "dtype": str, "threads": [COUNT], "cases": [str], "directions": [str],
        "max_error": NUMBER},
    "start_up": {"import": NUMBER, "first_call": NUMBER},
    "first_calls": [{"case": str, "direction": str, "cold": NUMBER, "warm": NUMBER}],
    "memory": [{"case": str, "direction": str, "threads": COUNT, "extra_bytes": COUNT, "arrays_bytes": COUNT,
                "ratio": NUMBER}],
    "training": [{"threads": COUNT, "peer": str, "difference": NUMBER,
                  **{name: ROW[name] for name in ("ratio", "seconds", "rounds", "dropped", "quiet")}}],
    "batches": [ROW], "means": [MEAN], "variant_means": [MEAN],
    "algorithms": {...: {...: str}},
    "cases": [ROW], "variant_cases": [ROW], "house": [ROW],
}



def problems(value, schema=SCHEMA, where="result"):
    """Return where a stored value is not what the schema says; `...` stands for any name."""
    if isinstance(schema, list):
        if not isinstance(value, list):
            return [f"{where}: {value!r}"]
        return [each for place, item in enumerate(value)
                for each in problems(item, schema[0], f"{where}[{place}]")]
    if isinstance(schema, dict):
        if not isinstance(value, dict) or ... not in schema and set(value) != set(schema):
            return [f"{where}: {value!r}"]
        return [each for name, item in value.items()
                for each in problems(item, schema.get(name, schema.get(...)), f"{where}.{name}")]
    if isinstance(value, bool) and schema is not bool or not isinstance(value, schema):
        return [f"{where}: {value!r}"]
    if isinstance(value, str) and re.search(r"^[/~]|[A-Z]:\\|/(home|root)/", value):
        return [f"{where}: shows a path, {value}"]
    return [] if isinstance(value, str) or math.isfinite(value) else [f"{where}: {value}"]


@pytest.mark.parametrize(("value", "schema"), [
    ({"a": 1}, {"b": int}), ({"a": 1}, {"a": int, "b": int}), ([1, "2"], [int]), (True, int),
    (math.nan, NUMBER), ("/home/somebody/x", str), (None, NUMBER), ({"x": "1"}, {...: NUMBER}), (1, [int]),
])
def test_the_check_of_what_is_stored_finds_what_is_wrong(value, schema):
    assert len(problems(value, schema)) == 1


@pytest.mark.parametrize("path", STORED, ids=lambda path: path.stem)
class TestStored:
    """Each stored result is complete, quiet, right, and says of itself what can be counted again."""

    def test_has_the_form_that_the_page_reads(self, path):
        document = read(path)
        assert document["format"] == run.FORMAT, "run `make bench`"
        assert problems(document) == []

    def test_has_the_costs_the_peak_and_the_algorithms(self, path):
        document = read(path)
        for name in ("first_calls", "memory", "training", "batches", "variant_cases"):
            assert document[name], name
        assert list(document["peak_gflops"]) == ["1", "2"]
        assert list(document["algorithms"]) == list(run.NAMES)

    def test_has_every_case_of_the_table_once(self, path):
        document = read(path)
        settings = document["settings"]
        assert settings["cases"] == list(run.NAMES)
        assert settings["directions"] == list(shapes.DIRECTIONS)
        assert settings["threads"] == [1, 2]
        of_first_peer = [(row["case"], row["direction"], row["threads"]) for row in document["cases"]
                         if row["peer"] == document["peers"][0]]
        expected = itertools.product(settings["cases"], settings["directions"], settings["threads"])
        assert sorted(of_first_peer) == sorted(expected)

    def test_is_one_of_this_library_with_the_usual_settings(self, path):
        document, usual = read(path), run.QUICK if path.stem == "glance" else measure.Settings()
        found = document["subject"], {name: document["settings"][name] for name in usual._fields}
        assert found == (Convlib.name, usual._asdict()), "not a result of `make bench`: run it"

    def test_was_measured_on_a_quiet_machine_unless_it_is_a_glance(self, path):
        noisy = [(row["case"], row["direction"], row["threads"])
                 for row in read(path)["cases"] if not row["quiet"]]
        few = len(noisy) <= len(read(path)["cases"]) // 20
        assert few if path.stem == "glance" else not noisy, "run `make bench` again when nothing else is running"

    def test_speaks_of_the_table_as_it_is_now(self, path):
        table = {case.name: (case.text, case.operations) for case in (*shapes.CASES, shapes.HOUSE)}
        document = read(path)
        for row in document["cases"] + document["house"]:
            assert (row["shape"], row["operations"]) == table[row["case"]]

    def test_holds_no_wrong_result(self, path):
        document = read(path)
        errors = [error for row in document["cases"] + document["house"] for error in row["errors"].values()]
        assert max(errors) <= measure.MAX_ERROR

    def test_holds_the_means_of_its_own_ratios(self, path):
        document = read(path)
        assert document["means"] == run.means(document["cases"])
        assert document["variant_means"] == run.means(document["variant_cases"])


def read(path):
    return json.loads(path.read_text(encoding="utf-8"))
