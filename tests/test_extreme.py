"""Settings and numbers of any size: the right answer, in the memory that sizes deserve, or a refusal by name."""

import json
import os
import resource
import subprocess
import sys
import tracemalloc
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_choosing import assert_close
from test_functional import SLOW, examples, numbers, oracle, ours, sums_of_chapter_8

import convlib
from convlib import algorithms, functional, places, reduction, reference, shapes

ROOT = Path(__file__).parents[1]
PLAIN = {"stride": 1, "padding": 0, "dilation": 1, "groups": 1}
pytestmark = [pytest.mark.filterwarnings("ignore::RuntimeWarning")]


def geometry_of(size, weight_size, options):
    return shapes.conv2d_geometry(size, weight_size, **options)


# --- the smaller layer has the same sums ------------------------------------------------------------------------------

ANY = st.sampled_from([1, 1, 2, 3]) | st.integers(1, 40)


@st.composite
def lines(draw):
    """Size, weights, stride, zeros and dilation along one axis, so strange that much can be left out."""
    kernel_size, stride, dilation = draw(st.sampled_from([1, 2, 3, 7])), draw(ANY), draw(ANY)
    zeros = draw(st.tuples(*2 * [st.sampled_from([0, 0, 1, 2]) | st.integers(0, 50)]))
    least = max(0, (kernel_size - 1) * dilation + 1 - sum(zeros))
    size = draw(st.sampled_from([1, 1, 2]) | st.integers(0, 12))
    return max(size, least), kernel_size, stride, zeros, dilation


@st.composite
def strange_layers(draw, dtypes="fdq"):
    (h, kh, sh, rows, dh), (w, kw, sw, columns, dw) = draw(lines()), draw(lines())
    groups, sources, targets = draw(st.sampled_from([1, 1, 2])), draw(st.integers(1, 2)), draw(st.integers(1, 2))
    options = {"stride": (sh, sw), "padding": (rows, columns), "dilation": (dh, dw), "groups": groups}
    size, weight_size = (2, groups * sources, h, w), (groups * targets, sources, kh, kw)
    return numbers(size, weight_size, options, 4 * draw(st.sampled_from(dtypes)), draw(st.integers(0, 99)))


def few_meetings(layer):
    input, weight, _, flow, _ = layer
    return flow[0, 0].size * weight[0, 0].size < 2000


@examples(250)
@given(strange_layers().filter(few_meetings), st.data())
def test_strange_layers_agree_with_the_sums_of_chapter_8(layer, data):
    """As it comes, and by each algorithm that says it can."""
    *arrays, options = layer
    geometry = geometry_of(arrays[0].shape, arrays[1].shape, options)
    dtype = arrays[0].dtype
    able = [name for name in algorithms.ALGORITHMS if algorithms.suits(name, geometry, dtype)]
    name = data.draw(st.sampled_from([None, *able]))
    results = ours(*arrays, options | {"algorithm": name})
    for result, known in zip(results, sums_of_chapter_8(*arrays, options), strict=True):
        assert result.dtype == dtype and result.shape == known.shape and result.flags.carray
    assert_close(results, arrays, options, name or "fft", dtype.char)


@examples(150)
@given(strange_layers("fd").filter(few_meetings), st.sampled_from([np.inf, np.nan]), st.integers(0, 3), st.integers(0))
def test_what_is_left_out_meets_no_infinity(layer, value, which, place):
    *arrays, options = layer
    if arrays[which].size:
        arrays[which].flat[place % arrays[which].size] = value
    expected = sums_of_chapter_8(*arrays, options)
    for result, known in zip(ours(*arrays, options), expected, strict=True):
        np.testing.assert_array_equal(result, known)


@examples(100)
@given(layer=strange_layers())
def test_layers_out_of_proportion_are_left_to_those_who_write_no_zeros(layer):
    """Where every layer counts as out of proportion, NumPy alone computes, tap by tap or place by place."""
    *arrays, options = layer
    before = reduction.WIDE
    try:
        reduction.WIDE = 0
        forget()
        geometry = geometry_of(arrays[0].shape, arrays[1].shape, options)
        chosen = {algorithms.choose(each, geometry, np.float64) for each in algorithms.RULES}
        assert chosen <= {"places", "numpy"}
        results = ours(*arrays, options)
    finally:
        reduction.WIDE = before
        forget()
    for result, known in zip(results, oracle(*arrays, options), strict=True):
        np.testing.assert_array_equal(result, known)


def test_out_of_proportion_is_refused_to_those_who_write_zeros():
    size, weight_size, options = CASES["places and taps far away"]
    *arrays, options = numbers(size, weight_size, PLAIN | options, "ffff")
    able = {"places", "numpy"}
    for name in algorithms.ALGORITHMS:
        if name in able:
            assert_close(ours(*arrays, options | {"algorithm": name}), arrays, options, name, "f")
        else:
            with pytest.raises(ValueError, match=rf'^algorithm: .*\("numpy", "places"\), got \'{name}\''):
                convlib.conv2d(*arrays[:3], **options, algorithm=name)


def forget():
    functional._remembered.cache_clear()
    algorithms._chosen.cache_clear()


@examples(300)
@given(lines(), lines())
def test_the_smaller_layer_is_a_layer(rows, columns):
    """Its sizes are those that chapter "Stride, padding, dilation, groups" works out, none is
    larger, and nothing is left to leave out at its ends.
    """
    (h, kh, sh, down, dh), (w, kw, sw, across, dw) = rows, columns
    options = {"stride": (sh, sw), "padding": (down, across), "dilation": (dh, dw), "groups": 1}
    full = geometry_of((1, 1, h, w), (1, 1, kh, kw), options)
    found = reduction.reduced(full)
    if found:
        g = found.geometry
        rest = {"stride": g.stride, "padding": g.padding, "dilation": g.dilation, "groups": 1}
        assert geometry_of(g[:4], (1, 1, *g[5:7]), rest) == g
        assert all(small <= large for small, large in zip(g[2:7], full[2:7], strict=True))
        assert g.out_height <= full.out_height and g.out_width <= full.out_width


@pytest.mark.parametrize(
    ("size", "kernel", "options", "left"),
    [  # what is left: height, rows of the kernel, stride, zeros, dilation, rows of the output
        (7, 3, {"padding": 1}, None), (7, 3, {"padding": 1, "stride": 2}, None), (56, 1, {"stride": 2}, None),
        (224, 7, {"padding": 3, "stride": 2}, None), (224, 16, {"stride": 16}, None), (28, 3, {"padding": 2}, None),
        (20, 1, {"padding": 3}, (20, 1, 1, (0, 0), 1, 20)),
        (2, 1, {"padding": 500, "stride": 100}, (1, 1, 1, (0, 0), 1, 1)),
        (7, 3, {"stride": 50, "padding": 1}, (2, 2, 1, (0, 0), 1, 1)),
        (400, 2, {"dilation": 399}, (2, 2, 1, (0, 0), 1, 1)),
        (50, 3, {"dilation": 200, "padding": 200}, (50, 1, 1, (0, 0), 1, 50)),
        (3000, 3, {"stride": 1000}, (9, 3, 3, (0, 0), 1, 3)),
        (3000, 3, {"stride": 1000, "padding": 1}, (8, 3, 3, (1, 0), 1, 3)),
        (400, 2, {"dilation": 390}, (20, 2, 1, (0, 0), 10, 10)), (1, 3, {"padding": 1}, (1, 1, 1, (0, 0), 1, 1)),
        (1, 1, {"padding": (2**70, 0), "stride": (2**70, 1)}, (1, 1, 1, (0, 0), 1, 1)),
        (1, 3, {"padding": (2**70, 0), "dilation": (2**70, 1)}, (1, 1, 1, (0, 0), 1, 1)),
        (3, 2, {"padding": (2**70, 0), "dilation": (2**71, 1)}, (0, 1, 1, (1, 0), 1, 1)),
    ],
)  # fmt: skip
def test_what_is_left_of_a_layer(size, kernel, options, left):
    """In rows; the columns are one."""
    in_columns = {"padding": 0, "stride": 1, "dilation": 1}
    options = {
        key: value if isinstance(value, tuple) else (value, in_columns[key])
        for key, value in options.items()
    }  # fmt: skip
    found = reduction.reduced(geometry_of((1, 1, size, 1), (1, 1, kernel, 1), options))
    if left is None or found is None:
        assert left is found
    else:
        g = found.geometry
        assert (g.height, g.kernel_height, g.stride[0], g.padding[0], g.dilation[0], g.out_height) == left


# --- memory follows input, weights and output -------------------------------------------------------------------------

CASES = {
    "padding far away": ((2, 3, 2, 2), (4, 3, 1, 1), {"padding": 10**5, "stride": 10**4}),
    "stride far away": ((1, 2, 3000, 3000), (2, 2, 3, 3), {"stride": 1000, "padding": 1}),
    "taps far away": ((2, 3, 40, 40), (4, 3, 3, 3), {"dilation": 10**5, "padding": 10**5}),
    "places and taps far away": ((1, 1, 2, 2), (1, 1, 40, 40), {"dilation": 999, "stride": 1000, "padding": 39_000}),
    "two steps of any size": ((1, 1, 2, 2), (1, 1, 2, 2), {"stride": 2**70, "dilation": 2**70 + 1, "padding": 2**70}),
    "a stride of any size": ((1, 2, 5, 5), (2, 2, 3, 3), {"stride": 2**70, "padding": 1}),
    "a dilation of any size": ((1, 2, 5, 5), (2, 2, 3, 3), {"dilation": 2**70, "padding": 2**70}),
    "a pixel": ((2, 3, 1, 1), (4, 3, 3, 3), {"padding": 1}),
    "a million channels": ((1, 10**6, 1, 1), (2, 10**6, 1, 1), {}),
    "a million outputs": ((1, 2, 1, 1), (10**6, 2, 1, 1), {}),
    "a million groups": ((1, 10**6, 1, 1), (10**6, 1, 1, 1), {"groups": 10**6}),
    "a kernel as large as the image": ((2, 8, 100, 100), (8, 8, 100, 100), {}),
    "a kernel that is nearly so large": ((2, 8, 99, 99), (8, 8, 100, 100), {"padding": 1}),
    "each channel alone": ((2, 64, 60, 60), (64, 1, 60, 60), {"groups": 64}),
}
WHOLE = {"a kernel of whole numbers": ((1, 1, 500, 500), (1, 1, 499, 500), {})}
MEMORY = 400 * 2**20  # compiling takes some of it; each of the first four cases would fill gigabytes with zeros


def measure():
    """Print what is wrong, and by how much the memory has grown: run by the test below in a process of its own."""
    wrong, before = [], resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for cases, dtype in ((CASES, "f"), (WHOLE, "q")):
        for name, (size, weight_size, options) in cases.items():
            *arrays, options = numbers(size, weight_size, PLAIN | options, 4 * dtype)
            results, again, known = ours(*arrays, options), ours(*arrays, options), oracle(*arrays, options)
            for result, same, expected in zip(results, again, known, strict=True):
                if not (np.array_equal(result, expected) and result.tobytes() == same.tobytes()):
                    wrong.append(name)
    print(json.dumps([wrong, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before]))


@pytest.mark.skipif(SLOW, reason="about memory")
def test_memory_follows_input_weights_and_output():
    done = subprocess.run(
        [sys.executable, "-c", "import test_extreme; test_extreme.measure()"], capture_output=True, text=True,
        timeout=900, env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")])},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    wrong, grown = json.loads(done.stdout)
    assert wrong == []
    assert grown * (1 if sys.platform == "darwin" else 1024) < MEMORY


# --- few places are products of matrices ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "weight_size", "options", "products"),
    [
        ((4, 16, 20, 20), (8, 16, 20, 20), {}, 1), ((4, 16, 20, 20), (16, 4, 20, 20), {"groups": 4}, 1),
        ((64, 512, 1, 1), (10, 512, 3, 3), {"padding": 1}, 0), ((4, 16, 20, 20), (8, 16, 19, 19), {}, 4),
        ((4, 16, 20, 20), (8, 16, 20, 20), {"padding": 1, "stride": 2}, 4),
    ],
)  # fmt: skip
def test_a_kernel_as_large_as_the_image_is_one_product_in_each_pass(size, weight_size, options, products, monkeypatch):
    """Or none here, where only one pixel is left: then `few` asks for it."""
    *arrays, options = numbers(size, weight_size, PLAIN | options, "ffff")
    asked, product = [], places._product
    monkeypatch.setattr(places, "_product", lambda *both: asked.append(1) or product(*both))
    results = ours(*arrays, options)
    assert len(asked) == 3 * products
    for result, known in zip(results, oracle(*arrays, options), strict=True):
        np.testing.assert_array_equal(result, known)


@pytest.mark.parametrize("few", [(1, 1, 1, 2000, 2000), (1, 2 * 10**6, 2, 1, 1)])
def test_long_sums_keep_their_digits(few):
    """All numbers the same: what is lost is lost each time in the same direction."""
    batch, channels, targets, *grid = few
    x = np.full((batch, channels, *grid), np.float32(242 / 62 / 62) ** 2)
    y = convlib.conv2d(x, np.ones((targets, channels, *grid), "f"))
    expected = x.astype("d").sum()
    assert abs(y - expected).max() <= 5e-5 * expected
    d = np.full((x.size, 1, 1, 1), x.flat[0])
    told = convlib.conv2d_weight_grad(np.ones_like(d), (1, 1, 1, 1), d)
    assert abs(told - expected).max() <= 5e-5 * expected
    back = convlib.conv2d_input_grad((1, 1, 1, 1), np.ones_like(d), d.reshape(1, -1, 1, 1))
    assert abs(back - expected).max() <= 5e-5 * expected


# --- refusals ---------------------------------------------------------------------------------------------------------

INPUT, WEIGHT, FLOW = np.ones((1, 2, 3, 3)), np.ones((2, 2, 2, 2)), np.ones((1, 2, 2, 2))
HUGE = [2**31 - 1, 2**31, 2**40, 2**63, 2**70, -(2**70), 10**5000]
NAMED = "input", "weight", "bias", "grad_output", "stride", "padding", "dilation", "groups"


def answers(number):
    """Calls with one huge number each, in every place where it may stand."""
    for name in ("stride", "padding", "dilation", "groups"):
        pairs = [] if name == "groups" else [(number, 1), (1, number)]
        pairs += [((0, number), (0, number)), ((number, 0), (number, 0))] if name == "padding" else []
        for value in (number, *pairs):
            yield lambda option={name: value}: convlib.conv2d(INPUT, WEIGHT, **option)
            yield lambda option={name: value}: convlib.conv2d_input_grad(INPUT.shape, WEIGHT, FLOW, **option)
            yield lambda option={name: value}: convlib.conv2d_weight_grad(INPUT, WEIGHT.shape, FLOW, **option)
    flow, step = FLOW[..., :1, :1], max(1, number)
    for axis in range(4):
        size, weight_size = list(INPUT.shape), list(WEIGHT.shape)
        size[axis] = weight_size[axis] = number
        yield lambda size=tuple(size): convlib.conv2d_input_grad(size, WEIGHT, FLOW)
        yield lambda size=tuple(size): convlib.conv2d_input_grad(size, WEIGHT, flow, stride=step)
        yield lambda size=tuple(weight_size): convlib.conv2d_weight_grad(INPUT, size, FLOW)
        yield lambda size=tuple(weight_size): convlib.conv2d_weight_grad(INPUT, size, flow, padding=step)


@pytest.mark.parametrize("number", HUGE, ids=lambda number: f"{number.bit_length()} bits")
def test_huge_numbers_are_answered_or_refused_by_name(number, monkeypatch):
    monkeypatch.setattr(functional, "_memory", lambda: 2**30)
    refused, answered = 0, 0
    for call in answers(3):  # what is compiled, or loaded, on the way takes memory of its own
        with suppress(ValueError):
            call()
    tracemalloc.start()
    try:
        for call in answers(number):
            try:
                answered += call().size < 100
            except ValueError as error:
                assert str(error).split(":")[0].split(" ")[0].removesuffix("_size") in NAMED, error
                refused += 1
        assert tracemalloc.get_traced_memory()[1] < 2**24
    finally:
        tracemalloc.stop()
    assert refused > 20 and (answered >= 3) == (0 < number < 2**1000)


def test_what_does_not_fit_into_memory_is_refused_by_name():
    """On this machine, whatever it has."""
    some = np.ones((1, 1, 1, 1))
    calls = {
        "padding": lambda: convlib.conv2d(some, some, padding=2**40),
        "input_size": lambda: convlib.conv2d_input_grad((1, 1, 2**40, 2**40), some, some, stride=2**40),
        "weight_size": lambda: convlib.conv2d_weight_grad(some, (1, 1, 2**40, 1), some, padding=((2**40 - 1, 0), 0)),
        "input": lambda: convlib.conv2d(np.broadcast_to(some, (1, 1, 2**28, 2**28)), some),
        "weight": lambda: convlib.conv2d(some, np.broadcast_to(some, (2**58, 1, 1, 1))),
        "grad_output": lambda: convlib.conv2d_bias_grad(np.broadcast_to(some, (1, 1, 2**28, 2**28))),
    }  # fmt: skip
    for name, call in calls.items():
        with pytest.raises(ValueError, match=f"^{name}: expected sizes that fit into the memory of this machine, got"):
            call()


def test_a_machine_that_does_not_say_how_much_memory_it_has(monkeypatch):
    for size in (lambda name: -1, lambda name: os.no_such_name):
        monkeypatch.setattr(os, "sysconf", size)
        functional._memory.cache_clear()
        assert functional._memory() == sys.maxsize
    monkeypatch.undo()
    functional._memory.cache_clear()
    assert 2**20 < functional._memory() <= sys.maxsize


# --- numbers that come in ---------------------------------------------------------------------------------------------


class Foreign:
    """An array of another library."""

    def __init__(self, array):
        self.array = array

    def __array__(self, dtype=None, copy=None):
        if isinstance(self.array, Exception):
            raise self.array
        return self.array


def calls_with(foreign):
    """Every argument of every function that takes arrays, replaced by `foreign(array)`."""
    x, w, b, d = INPUT, WEIGHT, np.ones(2), FLOW
    return [
        ("input", lambda: convlib.conv2d(foreign(x), w, b)), ("weight", lambda: convlib.conv2d(x, foreign(w), b)),
        ("weight", lambda: convlib.conv2d(x, foreign(w))), ("bias", lambda: convlib.conv2d(x, w, foreign(b))),
        ("weight", lambda: convlib.conv2d_input_grad(x.shape, foreign(w), d)),
        ("grad_output", lambda: convlib.conv2d_input_grad(x.shape, w, foreign(d))),
        ("input", lambda: convlib.conv2d_weight_grad(foreign(x), w.shape, d)),
        ("grad_output", lambda: convlib.conv2d_weight_grad(x, w.shape, foreign(d))),
        ("grad_output", lambda: convlib.conv2d_bias_grad(foreign(d))),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (RuntimeError("it requires grad"), TypeError), (TypeError("unsupported type"), TypeError),
        (BufferError("in use"), TypeError), (ValueError("no data"), ValueError), (KeyError("x"), TypeError),
        (NotImplementedError(), TypeError), (OverflowError("too large"), ValueError),
    ],
)  # fmt: skip
def test_what_cannot_be_converted_is_refused_by_name_and_reason(error, kind):
    for name, call in calls_with(lambda array: Foreign(error)):
        with pytest.raises(kind, match=f"^{name}: expected an array of numbers, got Foreign") as caught:
            call()
        assert str(error) in str(caught.value) and caught.value.__cause__ is error


@pytest.mark.parametrize("make", [lambda array: array, lambda array: [*array], Foreign, lambda array: (*array,)])
def test_masked_numbers_are_refused_by_name(make):
    def masked(array):
        return make(np.ma.masked_array(array, np.arange(array.size).reshape(array.shape) == array.size - 1))

    for name, call in calls_with(masked):
        with pytest.raises(TypeError, match=f"^{name}: expected numbers without a mask"):
            call()


def without_masked_ones(array):
    return np.ma.masked_array(array, np.zeros(array.shape))


@pytest.mark.parametrize("make", [np.ma.masked_array, without_masked_ones, Foreign, memoryview, lambda array: [*array]])
def test_other_arrays_are_welcome(make):
    for (_, call), (_, known) in zip(calls_with(make), calls_with(np.asarray), strict=True):
        result = call()
        assert type(result) is np.ndarray
        np.testing.assert_array_equal(result, known())


BIG = 2**53 + 1


@pytest.mark.parametrize(
    ("x", "w"),
    [
        (np.uint64(BIG), np.int64(1)), (np.int64(BIG), np.uint64(1)), (np.uint64(BIG), np.uint64(1)),
        (np.uint64(2**63 - 2**44), np.int8(1)), (np.uint64(2**62), np.bool_(1)), (np.int64(-BIG), np.uint8(3)),
    ],
)  # fmt: skip
def test_whole_numbers_give_whole_numbers(x, w):
    x, w = np.full((1, 1, 1), x), np.full((1, 1, 1, 1), w)
    expected = int(x.item()) * int(w.item())
    results = (
        convlib.conv2d(x, w), convlib.conv2d(x, w, np.zeros(1, np.uint64)), convlib.conv2d_bias_grad(x),
        convlib.conv2d_input_grad((1, 1, 1), w, x), convlib.conv2d_weight_grad(x, (1, 1, 1, 1), w[0]),
        reference.conv2d(x, w), reference.conv2d_input_grad((1, 1, 1), w, x),
        reference.general_conv2d(x, w), reference.general_conv2d_weight_grad(x, (1, 1, 1, 1), w[0]),
    )  # fmt: skip
    for k, result in enumerate(results):
        assert result.dtype == np.int64 and result.item() == (x.item() if k == 2 else expected)


def test_lists_of_whole_numbers_do_not_become_floats():
    mixed = [[[np.uint64(BIG), np.int64(-BIG)]]]
    assert np.asarray(mixed).dtype == np.float64  # NumPy would lose a digit
    assert convlib.conv2d(mixed, [[[[1]]]]).tolist() == [[[BIG, -BIG]]]
    with pytest.raises(ValueError, match="^input: expected an array of numbers, got list"):
        convlib.conv2d([[[2**63, -1]]], [[[[1]]]])
    assert convlib.conv2d([[[2**63, -1.0]]], [[[[1]]]]).tolist() == [[[2.0**63, -1.0]]]


@pytest.mark.parametrize("number", [2**63, 2**64 - 1])
def test_whole_numbers_that_int64_does_not_hold_are_refused_by_name(number):
    x, w = np.full((1, 1, 1), number, np.uint64), np.ones((1, 1, 1, 1), int)
    for name, call in (
        ("input", lambda: convlib.conv2d(x, w)), ("weight", lambda: convlib.conv2d(w[0], x[np.newaxis])),
        ("bias", lambda: convlib.conv2d(w[0], w, x[0, 0])),
        ("grad_output", lambda: convlib.conv2d_input_grad((1, 1, 1), w, x)),
        ("grad_output", lambda: convlib.conv2d_bias_grad(x)),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=rf"^{name}: expected whole numbers below 2\*\*63, got {number}"):
            call()
    assert convlib.conv2d(x, w, np.ones(1, "f")).dtype == np.float64  # beside a float, as in NumPy


def test_sums_of_whole_numbers_that_would_wrap_are_refused_by_name():
    large, one = np.full((1, 4, 4), 2**62), np.ones((1, 1, 2, 2), int)
    largest = np.full((1, 1, 1, 1), 2**62)
    calls = {
        "input": [
            lambda: convlib.conv2d(large, one),
            lambda: convlib.conv2d(large, one, stride=2**70),
            lambda: convlib.conv2d_weight_grad(large, (1, 1, 2, 2), np.ones((1, 3, 3), int)),
        ],
        "weight": [
            lambda: convlib.conv2d(one[0], one * 2**61),
            lambda: convlib.conv2d_input_grad((1, 1, 1), largest, 2 * one[0, :, :1, :1]),
        ],
        "bias": [lambda: convlib.conv2d(one[0], one, np.array([2**63 - 4]))],
        "grad_output": [
            lambda: convlib.conv2d_input_grad((1, 5, 5), one, large),
            lambda: convlib.conv2d_bias_grad(large),
        ],
    }
    for name, each in calls.items():
        for call in each:
            with pytest.raises(ValueError, match=f"^{name}: expected whole numbers whose sums"):
                call()
    assert (convlib.conv2d(large // 8, one) == 2**61).all()
    assert convlib.conv2d_bias_grad(large // 16).item() == 2**62
