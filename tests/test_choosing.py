"""Every algorithm by name, the rules that choose among them, and what is refused.

The oracle and the layers are those of tests/test_functional.py. An algorithm whose results are rounded (Winograd's
tiles) must come close to it; the others must meet it exactly.
"""

import json
import os
import subprocess
import sys
import threading
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_functional import COMPILED, SLOW, examples, layers, means, numbers, oracle, ours, some_layers

import convlib
from convlib import algorithms, functional, shapes

ROOT = Path(__file__).parents[1]
NAMES = tuple(algorithms.ALGORITHMS)
ROUNDED = {"winograd": {"f": 1e-4}}  # of the largest value
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


@pytest.mark.slow
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


@pytest.mark.parametrize("size", [7, 11, 15])
@pytest.mark.parametrize("groups", [1, 2, 8])
def test_large_kernels_with_broken_numbers(size, groups):
    """Long sums, with edges that are cut, by all that can."""
    if SLOW:
        pytest.skip("takes long where nothing is compiled")
    random = np.random.default_rng(size)
    options = {"padding": ((size // 2, 1), (3, size // 2)), "groups": groups}
    *arrays, options = numbers((2, 8, 40, 37), (16, 8 // groups, size, size), options)
    arrays = [random.normal(size=array.shape).astype("f") for array in arrays]
    expected = oracle(*arrays, options)
    for name in NAMES:
        if suits(name, arrays, options):
            limit = {"winograd": 1e-4}.get(name, 1e-5)
            for result, known in zip(ours(*arrays, options | {"algorithm": name})[:3], expected, strict=False):
                assert abs(result - known).max() <= limit * abs(known).max(), name


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
        results, expected = (ours(*arrays, options | {"algorithm": each}) for each in (name, "numpy"))
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

# The name of direct convolution, where registers are many enough for it.
DIRECT = "direct" if "direct" in NAMES and algorithms.tuning.REGISTERS == 32 else ""

# Layers that reach each rule: input, weight, options; all in float32, stride 1 and half the padding.
LAYERS = {
    "a house": ((1, 3, 7, 7), (2, 3, 3, 3), {}),
    "nothing": ((0, 3, 7, 7), (2, 3, 3, 3), {}),
    "3 x 3": ((2, 48, 30, 30), (48, 48, 3, 3), {}),
    "5 x 5": ((2, 32, 30, 30), (32, 32, 5, 5), {}),
    "large kernels": ((8, 16, 40, 40), (16, 16, 21, 21), {}),
    "each channel alone": ((2, 32, 30, 30), (32, 1, 3, 3), {"groups": 32}),
    "each channel alone, stride 2": ((2, 32, 30, 30), (32, 1, 3, 3), {"groups": 32, "stride": 2}),
    "few outputs": ((2, 16, 30, 30), (3, 16, 3, 3), {}),
    "few inputs": ((2, 3, 30, 30), (32, 3, 3, 3), {}),
    "few inputs, stride 2": ((2, 3, 30, 30), (32, 3, 7, 7), {"stride": 2}),
    "1 x 1": ((2, 32, 30, 30), (32, 32, 1, 1), {}),
    "1 x 1, stride 2": ((2, 80, 30, 30), (96, 80, 1, 1), {"stride": 2}),
    "many channels, stride 2": ((2, 160, 16, 16), (192, 160, 3, 3), {"stride": 2}),
    "taps over the edge": ((2, 128, 14, 14), (128, 128, 3, 3), {"padding": 12, "dilation": 12}),
    "one pixel": ((2, 32, 1, 1), (16, 32, 1, 1), {}),
    "as large as the image": ((4, 16, 12, 12), (8, 16, 12, 12), {"padding": 0}),
    "patches": ((4, 3, 41, 43), (24, 3, 8, 8), {"stride": 8, "padding": 0}),
    "few places": ((4, 16, 12, 12), (8, 16, 12, 12), {"padding": ((0, 1), (2, 0))}),
    "groups of many channels": ((2, 256, 14, 14), (256, 32, 3, 3), {"groups": 8}),
    "lines of fourteen, stride 2": ((2, 64, 28, 28), (128, 64, 3, 3), {"stride": 2}),
}
# What the rules name, in all three directions, as far as the algorithm exists; otherwise NumPy.
EXPECTED = {
    "a house": "few", "nothing": "numpy", "3 x 3": "winograd", "5 x 5": "winograd",
    "large kernels": (DIRECT or "planes", DIRECT or "planes", "product"), "each channel alone": "planes",
    "each channel alone, stride 2": "planes", "few outputs": "planes", "few inputs": "planes",
    "few inputs, stride 2": "planes", "1 x 1": "product", "1 x 1, stride 2": "product",
    "many channels, stride 2": "product", "taps over the edge": ("numpy", "product", "product"),
    "one pixel": "pixels", "as large as the image": "places",
    "few places": "places", "patches": "patches",
    "groups of many channels": (DIRECT or "planes", DIRECT or "planes", "product"),
    "lines of fourteen, stride 2": (DIRECT or "product", "product", "product"),
}  # fmt: skip


def layer_of(case, dtype="f"):
    size, weight_size, options = LAYERS[case]
    options = {"stride": 1, "padding": weight_size[2] // 2, "dilation": 1, "groups": 1} | options
    return numbers(size, weight_size, options, dtype * 4)


def in_each_direction(case):
    """The names that the rules give for output, learning flow and gradient of the weights."""
    return EXPECTED[case] if isinstance(EXPECTED[case], tuple) else 3 * (EXPECTED[case],)


def expected_name(case, name):
    """The name, or without Numba what the simple rule says."""
    return name if name in NAMES else "places" if case == "one pixel" else "numpy"


@pytest.mark.parametrize("case", LAYERS)
def test_each_rule_names_its_algorithm(case):
    *arrays, options = layer_of(case)
    for direction, name in zip(DIRECTIONS, in_each_direction(case), strict=True):
        chosen = algorithms.choose(direction, geometry_of(arrays, options), np.float32)
        assert chosen == expected_name(case, name), direction


def test_every_rule_of_the_table_is_expected_somewhere():
    reached = {expected_name(case, name) for case in EXPECTED for name in in_each_direction(case)}
    assert set(NAMES) - reached <= (set() if DIRECT else {"direct"})


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


@pytest.mark.skipif(not COMPILED, reason="without Numba there are no such rules")
@pytest.mark.parametrize("kernel", [3, 5])
def test_weights_are_transformed_once_for_a_batch(kernel, monkeypatch):
    """As many tiles as that takes are counted once more, however many images there are."""
    layer = shapes.conv2d_geometry((7, 32, 21, 20), (40, 32, kernel, kernel), padding=1)
    can = lambda name: name in ("winograd", "planes", "product")  # noqa: E731
    spare = 7 * (algorithms.meetings(layer) - algorithms.tile_products(layer)) / (kernel + 3) ** 2
    for weights, mine, other in ((False, "TRANSFORM", "TRANSFORM_WEIGHTS"), (True, "TRANSFORM_WEIGHTS", "TRANSFORM")):
        monkeypatch.setattr(algorithms.tuning, mine, 0)
        monkeypatch.setattr(algorithms.tuning, other, 1e9)
        for factor in (0.999, 1.001):
            monkeypatch.setattr(algorithms.tuning, "PREPARED", factor * spare)
            assert algorithms.tiles_pay(layer, weights) == (factor < 1)
            rules = {direction: algorithms.RULES[direction](layer, can) for direction in DIRECTIONS}
            expected = {direction for direction in DIRECTIONS if (direction == "weight_grad") == weights and factor < 1}
            assert {direction for direction, name in rules.items() if name == "winograd"} == expected
            assert algorithms.tiles_pay(layer._replace(batch=8), weights)
            assert not algorithms.tiles_pay(layer._replace(batch=6), weights)
            assert not algorithms.tiles_pay(layer._replace(batch=0), weights)


@pytest.mark.skipif(not COMPILED, reason="without Numba there are no such rules")
def test_at_the_thresholds(monkeypatch):
    """One channel more or less: the rules change where they say."""
    can = lambda name: name not in ("pixels", "few", "patches", "direct")  # noqa: E731
    others = lambda name: name in ("planes", "product")  # noqa: E731
    rules = [algorithms.RULES[direction] for direction in DIRECTIONS]
    named = lambda geometry, can: [rule(geometry, can) for rule in rules]  # noqa: E731
    tuning = algorithms.tuning
    monkeypatch.setattr(tuning, "PREPARED", 0)
    for threshold in ("CHANNELS_PLANES", "CHANNELS_PLANES_STRIDED", "CHANNELS_PLANES_WEIGHTS"):
        monkeypatch.setattr(tuning, threshold, 32)
    for kernel, spread in ((3, 1), (5, 1), (3, 2)):
        layer = shapes.conv2d_geometry((1, 32, 21, 20), (40, 32, kernel, kernel), padding=1, dilation=spread)
        equal = algorithms.meetings(layer) / algorithms.tile_products(layer) - 1  # of all products
        for factor, expected in ((0.999, ["winograd"] * 3), (1.001, ["planes", "product", "planes"])):
            for transform in ("TRANSFORM", "TRANSFORM_WEIGHTS"):
                monkeypatch.setattr(tuning, transform, factor * equal * 32 * 40 / (32 + 40))
            assert named(layer, can) == expected
        assert named(layer, lambda name: True) == ["pixels"] * 3
        assert named(layer, lambda name: name != "pixels") == ["few"] * 3
    assert named(shapes.conv2d_geometry((1, 40, 5, 5), (40, 40, 5, 5)), can) == ["places"] * 3
    for stride in (1, 2):
        layer = shapes.conv2d_geometry((1, 33, 20, 20), (32, 33, 3, 3), stride=stride)
        assert named(layer, others) == ["product", "planes", "planes"]
        layer = shapes.conv2d_geometry((1, 32, 20, 20), (33, 32, 3, 3), stride=stride)
        assert named(layer, others) == ["planes", "product" if stride == 1 else "planes", "planes"]
        layer = shapes.conv2d_geometry((1, 33, 20, 20), (33, 33, 3, 3), stride=stride)
        assert named(layer, others) == ["product"] * 3
        grouped = shapes.conv2d_geometry((1, 66, 20, 20), (64, 33, 3, 3), stride=stride, groups=2)
        assert named(grouped, others) == ["product", "planes", "planes"]  # those of one group
    sparse = shapes.conv2d_geometry((1, 40, 20, 20), (40, 40, 3, 1), padding=(18, 0), dilation=(18, 1))
    share = algorithms.meetings(sparse) / (20 * 20 * 3)
    assert algorithms.meetings(sparse) == (2 + 20 + 2) * 20
    for factor, expected in ((0.999, "product"), (1.001, "numpy")):
        monkeypatch.setattr(tuning, "SPARSE", factor * share)
        assert named(sparse, others) == [expected, "product", "product"]
        assert named(sparse, lambda name: name == "planes") == ["planes"] * 3
    layer = shapes.conv2d_geometry((1, 32, 20, 20), (32, 32, 3, 3))
    for threshold, plain, stepping in (("", [0, 1], [0]), ("_STRIDED", [], [1]), ("_WEIGHTS", [2], [2])):
        with monkeypatch.context() as patch:
            patch.setattr(tuning, "CHANNELS_PLANES" + threshold, 31)
            assert [k for k, name in enumerate(named(layer, others)) if name == "product"] == plain
            steps = shapes.conv2d_geometry((1, 32, 20, 20), (32, 32, 3, 3), stride=(1, 2))
            assert [k for k, name in enumerate(named(steps, others)) if name == "product"] == stepping
    single = shapes.conv2d_geometry((1, 32, 20, 20), (32, 32, 1, 1))
    assert named(single, others) == ["product"] * 3
    assert named(shapes.conv2d_geometry((1, 32, 20, 20), (32, 16, 1, 1), groups=2), others) == ["planes"] * 3
    for left in ("planes", "product"):
        assert named(single, lambda name: name == left) == [left] * 3  # noqa: B023
    assert named(layer, lambda name: False) == ["numpy"] * 3


def test_meetings_are_counted_one_by_one():
    for *arrays, options in some_layers():
        g = geometry_of(arrays, options)
        if 0 not in g[:4] and COMPILED:
            channels = g.groups, g.in_channels // g.groups
            ones, weight = np.ones((1, g.groups, *g[2:4])), np.ones((g.groups, 1, g.kernel_height, g.kernel_width))
            assert algorithms.meetings(g) == convlib.conv2d(ones, weight, **options).sum() / g.groups, channels


def test_the_biases_are_left_to_numpy():
    rule = algorithms.RULES["bias_grad"]
    assert {rule(size) for size in (0, 1, 10**9)} == {"numpy"} and hasattr(algorithms.ALGORITHMS["numpy"], "bias_grad")


@pytest.mark.parametrize("case", LAYERS)
def test_a_plan_ends_with_those_who_are_always_right(case):
    """First who is chosen; if its error is not local, the next best whose error is; then the list of the table."""
    *arrays, options = layer_of(case)
    geometry, settings = geometry_of(arrays, options), tuple(options.values())
    for direction, name in zip(DIRECTIONS, in_each_direction(case), strict=True):
        sizes = {"forward": [0, 1, 2], "input_grad": [0, 1, 3], "weight_grad": [0, 1, 3]}[direction]
        names = functional._make_plan(direction, None, np.dtype("f"), [arrays[k].shape for k in sizes], settings).names
        first = [expected_name(case, name)]
        if first[0] in ROUNDED:
            first.append(algorithms.choose(direction, geometry, np.float32, local=True))
            assert first[1] not in ROUNDED
        assert list(names) == list(dict.fromkeys([*first, "numpy"])), direction


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


@pytest.mark.parametrize("name", ["fast", "", "fft", "Product", 3, True, b"numpy", ["numpy"], np.float32])
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
        convlib.conv2d(*arrays[:3], 1, 1, 1, 1, "numpy")


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
said["middle"] = [float(convlib.conv2d(x, w, algorithm=name)[0, 0, 1, 1]) for name in (None, "numpy")]
w[0, 0, 0, 0] = np.inf
said["infinite"] = [str(convlib.conv2d(x, w, algorithm=name)[0, 0, 1, 1]) for name in (None, "numpy")]
try:
    convlib.conv2d(x, w, algorithm="product")
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
        "names": ["numpy", "places"], "chosen": ["numpy"] * 6, "middle": [9.0, 9.0], "infinite": ["inf", "inf"],
        "refused": "algorithm: expected None or one of \"numpy\", \"places\" (Numba is missing), got 'product'",
    }  # fmt: skip


def test_threads_are_started_for_work_alone():
    """The jobs of a layer: as many as threads for a large one, one for the house."""
    *_, options = layer_of("a house")
    small = shapes.conv2d_geometry((1, 3, 7, 7), (2, 3, 3, 3), **options)
    large = shapes.conv2d_geometry((8, 64, 56, 56), (64, 64, 3, 3), **options)
    with means(threads=3):
        assert functional._jobs(small) == 1 and functional._jobs(large) == 3
