"""Every algorithm by name, the rules that choose among them, and what is refused.

The oracle and the layers are those of tests/test_functional.py. An algorithm whose results are rounded (values at many
points, Winograd's tiles) must come close to it; the others must meet it exactly.
"""

import json
import os
import subprocess
import sys
import threading
import tracemalloc
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_functional import COMPILED, SLOW, examples, layers, means, numbers, oracle, ours, some_layers

import convlib
from convlib import algorithms, functional, shapes
from convlib.kernels import fourier

ROOT = Path(__file__).parents[1]
NAMES = tuple(algorithms.ALGORITHMS)
ROUNDED = {"fft": {"f": 5e-6, "d": 1e-13}, "winograd": {"f": 1e-4}}  # of the largest value
DIRECTIONS = "forward", "input_grad", "weight_grad"
pytestmark = [pytest.mark.filterwarnings("ignore::RuntimeWarning")] if SLOW else []


def geometry_of(arrays, options):
    return shapes.conv2d_geometry(arrays[0].shape, arrays[1].shape, **options)


def suits(name, arrays, options):
    return algorithms.suits(name, geometry_of(arrays, options), np.result_type(*arrays))


def assert_close(results, arrays, options, name, dtype):
    """Equal where the sums are whole numbers all the way, close where something is rounded.

    Close: a part of the largest sum without signs. Numbers may cancel, but not what was rounded on the way.
    """
    limit = ROUNDED.get(name, {}).get(dtype, 0)
    expected, sizes = oracle(*arrays, options), oracle(*map(abs, arrays), options)
    for part, result, known, size in zip(("output", "input", "weight"), results, expected, sizes, strict=False):
        largest = size.max(initial=9)  # a single product of numbers up to 3
        np.testing.assert_allclose(result, known, rtol=0, atol=limit * largest, err_msg=f"{part}, {name}")


# --- every algorithm, by name -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
@examples(150)
@given(layers(), st.sampled_from("fd"), st.sampled_from([1, 3]))
def test_every_algorithm_by_name(name, layer, dtype, threads):
    *arrays, options = layer
    arrays = [array.astype(dtype) for array in arrays]
    if suits(name, arrays, options):
        with means(enough=1, threads=threads):
            results = ours(*arrays, options | {"algorithm": name})
        assert_close(results, arrays, options, name, dtype)
        assert all(result.dtype == dtype for result in results)


@examples(150)
@given(layers(most=5, more=8, batches=(1, 2, 5)), st.sampled_from("fd"), st.sampled_from([1, 2]), st.data())
def test_values_in_small_portions(layer, dtype, jobs, data):
    """Portions of images, rows of points, channels and products that are cut short."""
    *arrays, options = layer
    arrays = [array.astype(dtype) for array in arrays]
    small = {name: data.draw(st.sampled_from(sizes), name) for name, sizes in {
        "VALUES_AT_ONCE": (1, 2**21), "VALUES_NEARBY": (1, 500, 2**16), "KERNEL_VALUES": (1, 300, 2**18),
        "ROWS_AT_ONCE": (1, 5, 32), "SMALL_PRODUCT": (1, 90, 2**16)}.items()}  # fmt: skip
    before = {name: getattr(fourier, name) for name in small}
    try:
        for name, value in small.items():
            setattr(fourier, name, value)
        with means(enough=1, threads=jobs):
            assert_close(ours(*arrays, options | {"algorithm": "fft"}), arrays, options, "fft", dtype)
    finally:
        for name, value in before.items():
            setattr(fourier, name, value)


@pytest.mark.parametrize("size", [7, 11, 15])
@pytest.mark.parametrize("groups", [1, 2, 8])
def test_large_kernels_with_broken_numbers(size, groups):
    """Values at many points are as exact as the best of the sums, or nearly."""
    if SLOW:
        pytest.skip("takes long where nothing is compiled")
    random = np.random.default_rng(size)
    options = {"padding": ((size // 2, 1), (3, size // 2)), "groups": groups}
    *arrays, options = numbers((2, 8, 40, 37), (16, 8 // groups, size, size), options)
    arrays = [random.normal(size=array.shape).astype("f") for array in arrays]
    expected = oracle(*arrays, options)
    for name in NAMES:
        if suits(name, arrays, options):
            limit = {"winograd": 1e-4, "fft": 2e-6}.get(name, 1e-5)
            for result, known in zip(ours(*arrays, options | {"algorithm": name})[:3], expected, strict=False):
                assert abs(result - known).max() <= limit * abs(known).max(), name


def test_values_leave_blas_in_this_thread(monkeypatch):
    """A larger product would start BLAS's own threads, which wait for each other on a busy machine."""
    matmul, sizes = np.matmul, []

    def watched(a, b, out):
        sizes.append(a.shape[-2] * a.shape[-1] * b.shape[-1])
        return matmul(a, b, out=out)

    monkeypatch.setattr(np, "matmul", watched)
    for size, weight_size, groups in (
        ((3, 4, 40, 90), (4, 1, 31, 31), 4), ((3, 40, 30, 30), (50, 40, 21, 21), 1),
        ((1, 300, 9, 9), (300, 300, 7, 7), 1),
    ):  # fmt: skip
        layer = numbers(size, weight_size, {"padding": weight_size[2] // 2, "groups": groups}, "ffff")
        ours(*layer[:-1], layer[-1] | {"algorithm": "fft"})
    assert len(sizes) > 100 and max(sizes) <= 2**16


@pytest.mark.parametrize("direction", range(3))
@pytest.mark.parametrize("groups", [1, 24])
def test_values_need_no_more_memory_for_more_images(direction, groups):
    """Beyond the result itself."""
    needed = []
    for batch in (32, 64):
        options = {"padding": 4, "groups": groups, "algorithm": "fft"}
        x, w = np.ones((batch, 24, 48, 48), "f"), np.ones((24, 24 // groups, 9, 9), "f")
        call = [
            lambda x, w, options: convlib.conv2d(x, w, **options),
            lambda x, w, options: convlib.conv2d_input_grad(x.shape, w, x, **options),
            lambda x, w, options: convlib.conv2d_weight_grad(x, w.shape, x, **options),
        ][direction]
        with means(threads=1):
            call(x, w, options)
            tracemalloc.start()
            result = call(x, w, options)
            needed.append(tracemalloc.get_traced_memory()[1] - result.nbytes)
            tracemalloc.stop()
    assert needed[1] < 1.1 * needed[0] + 100_000
    assert needed[1] < 1.5 * (2 * x.nbytes + w.nbytes)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.skipif(not COMPILED, reason="NumPy alone multiplies the zeros of the padding too")
@pytest.mark.parametrize("name", NAMES)
@examples(100)
@given(layers(most=3, more=6, batches=(1, 2)), st.sampled_from("fd"), st.sampled_from([np.inf, -np.inf, np.nan]),
       st.integers(0, 3), st.integers(0))  # fmt: skip
def test_what_is_not_finite_arrives_where_it_is_seen(name, layer, dtype, value, which, place):
    *arrays, options = layer
    arrays = [array.astype(dtype) for array in arrays]
    arrays[which].flat[place % arrays[which].size] = value
    if suits(name, arrays, options):
        results, expected = (ours(*arrays, options | {"algorithm": each}) for each in (name, "loops"))
        for result, known in zip(results, expected, strict=True):
            np.testing.assert_array_equal(np.isnan(result), np.isnan(known))
            np.testing.assert_array_equal(result[np.isinf(known)], known[np.isinf(known)])
            np.testing.assert_array_equal(np.isinf(result), np.isinf(known))
        # Where infinity has been, all others are still right.
        for result, known in zip(results, expected, strict=True):
            finite = np.isfinite(known)
            limit = 10 * ROUNDED.get(name, {}).get(dtype, 0) * abs(known[finite]).max(initial=1)
            np.testing.assert_allclose(result[finite], known[finite], rtol=0, atol=limit)


@pytest.mark.skipif(SLOW, reason="plain Python warns")
@pytest.mark.parametrize("name", NAMES)
def test_no_algorithm_warns_of_infinity(name):
    for case in ("3 x 3", "each channel alone"):
        for which in range(4):
            *arrays, options = layer_of(case)
            arrays[which].flat[:2] = np.inf, -np.inf
            if suits(name, arrays, options):
                with warnings.catch_warnings():
                    warnings.simplefilter("error")
                    ours(*arrays, options | {"algorithm": name})


# --- the rules ------------------------------------------------------------------------------------------------------

# Layers that reach each rule: input, weight, options; all in float32, stride 1 and half the padding.
LAYERS = {
    "a house": ((1, 3, 7, 7), (2, 3, 3, 3), {}),
    "nothing": ((0, 3, 7, 7), (2, 3, 3, 3), {}),
    "3 x 3": ((2, 32, 30, 30), (32, 32, 3, 3), {}),
    "large kernels": ((8, 16, 40, 40), (16, 16, 21, 21), {}),
    "large kernels, each channel alone": ((16, 3, 60, 60), (3, 1, 41, 41), {"groups": 3}),
    "each channel alone": ((2, 32, 30, 30), (32, 1, 3, 3), {"groups": 32}),
    "few outputs": ((2, 32, 30, 30), (3, 32, 3, 3), {}),
    "few inputs": ((2, 3, 30, 30), (32, 3, 3, 3), {}),
    "few outputs, stride 2": ((2, 32, 30, 30), (3, 32, 5, 5), {"stride": 2}),
    "many weights, few inputs": ((2, 3, 30, 30), (32, 3, 7, 7), {"stride": 2}),
    "1 x 1": ((2, 32, 30, 30), (32, 32, 1, 1), {}),
    "1 x 1, many channels": ((2, 80, 30, 30), (96, 80, 1, 1), {}),
    "many channels, stride 2": ((2, 80, 16, 16), (96, 80, 3, 3), {"stride": 2}),
    "3 x 3, stride 2": ((2, 32, 30, 30), (32, 32, 3, 3), {"stride": 2}),
    "as large as the image": ((4, 16, 12, 12), (8, 16, 12, 12), {"padding": 0}),
    "few places": ((4, 16, 12, 12), (8, 16, 12, 12), {"padding": ((0, 1), (2, 0))}),
}
# What the rules name, in all three directions, as far as the algorithm exists; otherwise the next that does.
EXPECTED = {
    "a house": "tiny", "nothing": "numpy", "3 x 3": "winograd", "large kernels": "fft",
    "large kernels, each channel alone": "fft", "each channel alone": "depthwise", "few outputs": "thin",
    "few inputs": "thin", "few outputs, stride 2": "thin", "many weights, few inputs": "thin",
    "1 x 1": "gemm", "1 x 1, many channels": "gemm", "3 x 3, stride 2": ("channels", "channels", "gemm"),
    "many channels, stride 2": ("channels", "channels", "gemm"), "as large as the image": "places",
    "few places": "places",
}  # fmt: skip
INSTEAD = {"winograd": "channels", "depthwise": "thin", "thin": "gemm", "channels": "gemm", "gemm": "direct"}
INSTEAD |= {"tiny": "numpy", "direct": "numpy"}  # without Numba


def layer_of(case, dtype="f"):
    size, weight_size, options = LAYERS[case]
    options = {"stride": 1, "padding": weight_size[2] // 2, "dilation": 1, "groups": 1} | options
    return numbers(size, weight_size, options, dtype * 4)


def in_each_direction(case):
    """The names that the rules give for output, learning flow and gradient of the weights."""
    return EXPECTED[case] if isinstance(EXPECTED[case], tuple) else 3 * (EXPECTED[case],)


def expected_name(name):
    while name not in NAMES:
        name = INSTEAD[name]
    return name


@pytest.mark.parametrize("case", LAYERS)
def test_each_rule_names_its_algorithm(case):
    *arrays, options = layer_of(case)
    for direction, name in zip(DIRECTIONS, in_each_direction(case), strict=True):
        chosen = algorithms.choose(direction, geometry_of(arrays, options), np.float32)
        assert chosen == expected_name(name), direction


def test_every_rule_of_the_table_is_expected_somewhere():
    reached = {expected_name(name) for case in EXPECTED for name in in_each_direction(case)}
    never = {"loops"} | ({"direct"} if "gemm" in NAMES else set())  # they come when others give up
    assert set(NAMES) - reached <= never


@pytest.mark.parametrize("case", LAYERS)
@pytest.mark.parametrize("dtype", "fdq")
def test_whoever_is_chosen_computes_and_is_right(case, dtype, monkeypatch):
    """Through the public functions; a spy on the algorithms sees who was asked."""
    *arrays, options = layer_of(case, dtype)
    if SLOW and arrays[0].size > 1000:
        pytest.skip("takes long where nothing is compiled")
    asked, geometry = [], geometry_of(arrays, options)

    class Spy:
        def __init__(self, name, module):
            self.name, self.module = name, module

        def __getattr__(self, direction):
            asked.append((direction, self.name))
            return getattr(self.module, direction)

    chosen = [(direction, algorithms.choose(direction, geometry, arrays[0].dtype)) for direction in DIRECTIONS]
    table = {name: Spy(name, module) for name, module in algorithms.ALGORITHMS.items()}
    monkeypatch.setattr(algorithms, "ALGORITHMS", table)
    results = ours(*arrays, options)
    monkeypatch.undo()
    chosen_twice = dtype == "q"  # once for the sizes of the sums
    expected = [each for each in chosen for _ in range(1 + chosen_twice)]
    assert [each for each in asked if each[0] in DIRECTIONS] == expected
    for (_, name), result, known in zip(chosen, results, oracle(*arrays, options), strict=False):
        limit = ROUNDED.get(name, {}).get(dtype, 0) * abs(known).max(initial=1)
        np.testing.assert_allclose(result, known, rtol=0, atol=limit, err_msg=name)


def test_at_the_thresholds(monkeypatch):
    """One multiplication more or less: the rules change where they say."""
    geometry = shapes.conv2d_geometry((1, 32, 20, 20), (32, 32, 5, 5))
    everything = lambda name: True  # noqa: E731
    rules = [algorithms.RULES[direction] for direction in DIRECTIONS]
    for offset, expected in ((0, "tiny"), (-1, "winograd")):
        monkeypatch.setattr(algorithms, "FEW", algorithms.work(geometry) + offset)
        assert [rule(geometry, everything) for rule in rules] == [expected] * 3
    for channels, expected in ((32, "winograd"), (33, "depthwise")):
        monkeypatch.setattr(algorithms, "ENOUGH_CHANNELS", channels)
        assert [rule(geometry, everything) for rule in rules] == [expected] * 3
    equal = algorithms.work(geometry) / algorithms.fourier_work(geometry)
    for factor, expected in ((0.999 * equal, "fft"), (1.001 * equal, "depthwise")):
        monkeypatch.setattr(algorithms, "FOURIER", factor)
        monkeypatch.setattr(algorithms, "FOURIER_WEIGHTS", 1)
        assert [rule(geometry, everything) for rule in rules] == [expected] * 3
    monkeypatch.setattr(algorithms, "FOURIER", 0.7 * equal)
    monkeypatch.setattr(algorithms, "FOURIER_WEIGHTS", 1.5)
    assert [rule(geometry, everything) for rule in rules] == ["fft", "fft", "depthwise"]
    monkeypatch.setattr(algorithms, "FOURIER_WEIGHTS", 1)
    alone = shapes.conv2d_geometry((1, 32, 20, 20), (32, 1, 5, 5), groups=32)
    equal = algorithms.work(alone) / algorithms.fourier_work(alone)
    monkeypatch.setattr(algorithms, "FEW", 0)
    for factor, expected in ((0.999 * equal, "fft"), (1.001 * equal, "depthwise")):
        monkeypatch.setattr(algorithms, "FOURIER_ALONE", factor)
        assert [rule(alone, everything) for rule in rules] == [expected] * 3
    others = {"thin", "channels", "gemm", "direct"}.__contains__
    assert [rule(geometry, others) for rule in rules] == ["thin"] * 3
    monkeypatch.setattr(algorithms, "ENOUGH_CHANNELS", 32)
    for planes, expected in ((32, ["thin", "thin", "gemm"]), (31, ["channels", "channels", "gemm"])):
        monkeypatch.setattr(algorithms, "PLANES_AT_HAND", planes)
        assert [rule(geometry, others) for rule in rules] == expected
    monkeypatch.setattr(algorithms, "PLANES_AT_HAND", 32)
    steps = shapes.conv2d_geometry((1, 32, 20, 20), (32, 32, 5, 5), stride=(1, 2))
    assert [rule(steps, others) for rule in rules] == ["channels", "channels", "gemm"]
    single = shapes.conv2d_geometry((1, 32, 20, 20), (32, 32, 1, 1))
    assert [rule(single, others) for rule in rules] == ["gemm"] * 3
    monkeypatch.setattr(algorithms, "ENOUGH_CHANNELS", 33)
    assert [rule(single, others) for rule in rules] == ["thin"] * 3
    assert [rule(single, {"channels", "gemm"}.__contains__) for rule in rules] == ["gemm"] * 3
    assert [rule(geometry, {"direct"}.__contains__) for rule in rules] == ["direct"] * 3
    assert [rule(geometry, lambda name: False) for rule in rules] == ["numpy"] * 3


def test_the_biases_have_a_rule_of_their_own(monkeypatch):
    rule, few = algorithms.RULES["bias_grad"], algorithms.FEW
    for size in (few, few + 1):
        assert hasattr(algorithms.ALGORITHMS[rule(size)], "bias_grad")
    for table, expected in ((("tiny", "thin"), ["tiny", "tiny", "thin"]), ((), ["numpy"] * 3)):
        monkeypatch.setattr(algorithms, "ALGORITHMS", dict.fromkeys(table))
        assert [rule(size) for size in (0, few, few + 1)] == expected


@pytest.mark.parametrize("case", LAYERS)
def test_a_plan_ends_with_those_who_are_always_right(case):
    """First who is chosen; if its error is not local, the next best whose error is; then the list of the table."""
    *arrays, options = layer_of(case)
    geometry, settings = geometry_of(arrays, options), tuple(options.values())
    for direction, name in zip(DIRECTIONS, in_each_direction(case), strict=True):
        sizes = {"forward": [0, 1, 2], "input_grad": [0, 1, 3], "weight_grad": [0, 1, 3]}[direction]
        names = functional._make_plan(direction, None, np.dtype("f"), [arrays[k].shape for k in sizes], settings).names
        first = [expected_name(name)]
        if first[0] in ROUNDED:
            first.append(algorithms.choose(direction, geometry, np.float32, local=True))
            assert first[1] not in ROUNDED
        last = [each for each in ("direct", "loops", "numpy") if each in NAMES]
        assert list(names) == list(dict.fromkeys(first + last)), direction


def test_the_work_is_that_of_the_sums():
    for *arrays, options in some_layers():
        geometry = geometry_of(arrays, options)
        ones = [np.ones_like(array) for array in arrays]
        valid = options | {"padding": 0}
        if geometry.padding == ((0, 0), (0, 0)):
            assert algorithms.work(geometry) == convlib.conv2d(*ones[:2], **valid).sum()


# --- the switch -----------------------------------------------------------------------------------------------------


@pytest.fixture
def winograd_as_before():
    before = convlib.get_winograd()
    yield
    convlib.set_winograd(before)


class PretendedWinograd:
    """Says that it can, for float32 alone."""

    def suits(self, geometry, dtype):
        return np.dtype(dtype) == np.float32


def test_winograd_is_on_for_float32_and_can_be_switched_off(winograd_as_before, monkeypatch):
    if "winograd" not in NAMES:
        monkeypatch.setitem(algorithms.ALGORITHMS, "winograd", PretendedWinograd())
    algorithms._chosen.cache_clear()
    *arrays, options = layer_of("3 x 3")
    geometry = geometry_of(arrays, options)
    assert convlib.get_winograd() is True
    for on in (True, False, np.True_):
        convlib.set_winograd(on)
        assert convlib.get_winograd() is bool(on)
        for direction in DIRECTIONS:
            assert (algorithms.choose(direction, geometry, np.float32) == "winograd") == on
            assert algorithms.choose(direction, geometry, np.float64) != "winograd"
    convlib.set_winograd(False)
    algorithms.check_algorithm("winograd", geometry, np.float32)  # by name it is there all the same
    with pytest.raises(ValueError, match=r'algorithm: expected one that can .* in float64 \(.*\), got \'winograd\''):
        algorithms.check_algorithm("winograd", geometry, np.float64)
    algorithms._chosen.cache_clear()


def test_the_switch_holds_for_all_threads(winograd_as_before):
    convlib.set_winograd(False)
    seen = []
    thread = threading.Thread(target=lambda: seen.append(convlib.get_winograd()))
    thread.start()
    thread.join()
    assert seen == [False]


@pytest.mark.parametrize("on", [1, 0, None, "off", [False]])
def test_switches_that_are_refused(on, winograd_as_before):
    with pytest.raises(TypeError, match="on: expected True or False, got"):
        convlib.set_winograd(on)
    assert convlib.get_winograd() is True


# --- refusals -------------------------------------------------------------------------------------------------------


def calls(arrays, options):
    x, w, b, d = arrays
    return (
        lambda name: convlib.conv2d(x, w, b, **options, algorithm=name),
        lambda name: convlib.conv2d_input_grad(x.shape, w, d, **options, algorithm=name),
        lambda name: convlib.conv2d_weight_grad(x, w.shape, d, **options, algorithm=name),
    )


@pytest.mark.parametrize("name", ["fast", "", "FFT", 3, True, b"fft", ["fft"], np.float32])
@pytest.mark.parametrize("case", ["a house", "nothing", "3 x 3"])
def test_names_that_are_none_are_refused(name, case):
    *arrays, options = layer_of(case)
    known = ", ".join(f'"{each}"' for each in NAMES)
    for call in calls(arrays, options):
        with pytest.raises(ValueError, match=f"algorithm: expected None or one of {known}") as refusal:
            call(name)
        assert str(refusal.value).endswith(f"got {name!r}")


@pytest.mark.parametrize("name", [name for name in NAMES if name != "numpy"])
def test_whole_numbers_are_for_numpy_alone(name):
    *arrays, options = layer_of("a house", "q")
    for call in calls(arrays, options):
        call("numpy")
        with pytest.raises(ValueError, match=rf'algorithm: expected one that can .* int64 \("numpy"\), got \'{name}\''):
            call(name)


@pytest.mark.parametrize("name", NAMES)
def test_what_an_algorithm_does_not_suit_is_refused(name):
    """Before anything is computed, whatever the reason; all that suits is computed."""
    for dtype in "fd":
        for *arrays, options in some_layers(dtype)[:5] if not SLOW else [layer_of("a house", dtype)]:
            for call in calls(arrays, options):
                if suits(name, arrays, options):
                    call(name)
                else:
                    with pytest.raises(ValueError, match=f"algorithm: expected one that can .* got '{name}'"):
                        call(name)


def test_the_keyword_has_no_place():
    """Arguments after `groups` would not be understood by PyTorch's readers."""
    *arrays, _ = layer_of("a house")
    with pytest.raises(TypeError):
        convlib.conv2d(*arrays[:3], 1, 1, 1, 1, "fft")


def test_nothing_to_compute_by_any_name():
    *arrays, options = layer_of("nothing")
    for name in NAMES:
        if suits(name, arrays, options):
            results = ours(*arrays, options | {"algorithm": name})
            assert [each.shape for each in results[:3]] == [(0, 2, 7, 7), (0, 3, 7, 7), (2, 3, 3, 3)]
            assert not results[2].any()


def test_a_remembered_plan_follows_the_switch_and_the_threads(winograd_as_before, monkeypatch):
    """The same call again and again: it is planned anew when the state of the library is another one."""
    x, w, asked = np.ones((8, 32, 40, 40), "f"), np.ones((32, 32, 3, 3), "f"), []
    monkeypatch.setattr(functional, "_compute", lambda _, plan, arrays: asked.append((plan.names[0], plan.jobs)))
    before = convlib.get_num_threads()
    functional._remembered.cache_clear()
    try:
        for on, threads in ((True, 1), (True, 2), (False, 2), (False, 1), (True, 1), (True, 1)):
            convlib.set_winograd(on), convlib.set_num_threads(threads)
            convlib.conv2d(x, w, padding=1)
    finally:
        convlib.set_num_threads(before)
    fast, plain = asked[0][0], asked[2][0]
    assert asked == [(fast, 1), (fast, 2), (plain, 2), (plain, 1), (fast, 1), (fast, 1)]
    assert ("winograd" in NAMES) == (fast == "winograd") and plain != "winograd"
    assert functional._remembered.cache_info().misses == 4


# --- without Numba ----------------------------------------------------------------------------------------------------

PROGRAM = """
import json, sys, warnings
sys.modules["numba"] = None
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import convlib
import numpy as np
from convlib import algorithms, shapes
said = {"names": [*algorithms.ALGORITHMS], "chosen": []}
for size in (1, 21):
    geometry = shapes.conv2d_geometry((8, 16, 40, 40), (16, 16, size, size), padding=size // 2)
    said["chosen"] += [algorithms.choose(each, geometry, np.float32)
                       for each in ("forward", "input_grad", "weight_grad")]
x, w = np.ones((1, 1, 5, 5)), np.ones((1, 1, 3, 3))
said["middle"] = [float(convlib.conv2d(x, w, algorithm=name)[0, 0, 1, 1]) for name in (None, "fft", "numpy")]
w[0, 0, 0, 0] = np.inf
said["infinite"] = [str(convlib.conv2d(x, w, algorithm=name)[0, 0, 1, 1]) for name in (None, "fft", "numpy")]
try:
    convlib.conv2d(x, w, algorithm="direct")
except ValueError as error:
    said["refused"] = str(error)
print(json.dumps(said))
"""


@pytest.mark.skipif(SLOW, reason="about missing Numba")
def test_without_numba_the_names_are_fewer():
    done = subprocess.run([sys.executable, "-c", PROGRAM], cwd=ROOT, capture_output=True, text=True, timeout=1800,
                          env={**os.environ, "PYTHONPATH": str(ROOT)})  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "names": ["numpy", "places", "fft"], "chosen": ["numpy"] * 3 + ["fft"] * 3,
        "middle": [9.0, 9.0, 9.0], "infinite": ["inf", "inf", "inf"],
        "refused": "algorithm: expected None or one of \"numpy\", \"places\", \"fft\" (Numba is missing), got 'direct'",
    }  # fmt: skip


def test_threads_are_started_for_work_alone():
    """The jobs of a layer: as many as threads for a large one, one for the house."""
    *_, options = layer_of("a house")
    small = shapes.conv2d_geometry((1, 3, 7, 7), (2, 3, 3, 3), **options)
    large = shapes.conv2d_geometry((8, 64, 56, 56), (64, 64, 3, 3), **options)
    with means(threads=3):
        assert functional._jobs(small) == 1 and functional._jobs(large) == 3
