"""The public functions: any layer, by whatever means it is computed, against sums that were checked before.

Most layers hold whole numbers, so small that every sum is exact in float32 too: the results must be equal, not close.
The oracle is `convlib.numpy_kernels` in float64 (tests/test_numpy_kernels.py holds it against the
sums of chapter "Stride, padding, dilation, groups"),
and for some hundreds of layers those sums themselves. With NUMBA_DISABLE_JIT=1 there are fewer and smaller layers.
"""

import contextlib
import os
import warnings

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import convlib
from convlib import algorithms, functional, numpy_kernels, reference, shapes

SLOW = os.environ.get("NUMBA_DISABLE_JIT", "0") != "0"
# The runs for other machines and with checked indices repeat the tests: what is compiled differs, and what is drawn
# need not be as much once more.
REPEATED = "NUMBA_CPU_NAME" in os.environ or os.environ.get("NUMBA_BOUNDSCHECK", "0") != "0"
COMPILED = "product" in algorithms.ALGORITHMS
LARGEST = float("inf")
# Vectors reach beyond the last result; what stands there (not collected) may be anything, and plain Python warns of it.
pytestmark = [pytest.mark.filterwarnings("ignore::RuntimeWarning")] if SLOW else []


def examples(number):
    options = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow, HealthCheck.data_too_large]}
    return settings(max_examples=max(8, number // 60) if SLOW else number // 4 if REPEATED else number, **options)


# --- the means: which code computes, with how many threads -----------------------------------------------------------


def always(name):
    """A choice of one algorithm, wherever it can; convlib's own for whole numbers, or with nothing to compute."""
    choose = algorithms.choose

    def chosen(direction, geometry, dtype, local=False):
        usual, dtype = choose(direction, geometry, dtype), np.dtype(dtype)
        if dtype.kind != "f" or 0 in geometry[:4] or name not in algorithms.ALGORITHMS:
            return usual
        return name if algorithms.suits(name, geometry, dtype) else usual

    return chosen


@contextlib.contextmanager
def means(algorithm=None, enough=None, threads=None):
    """Compute by an algorithm where it can, without Winograd; put back afterwards."""
    before = algorithms.choose, functional.ENOUGH, convlib.get_num_threads(), convlib.get_winograd()
    algorithms.choose = always(algorithm)
    functional.ENOUGH = functional.ENOUGH if enough is None else enough
    convlib.set_num_threads(threads or before[2])
    convlib.set_winograd(False)  # it does not compute with whole numbers
    functional._remembered.cache_clear()
    try:
        yield
    finally:
        algorithms.choose, functional.ENOUGH = before[:2]
        convlib.set_num_threads(before[2])
        convlib.set_winograd(before[3])
        functional._remembered.cache_clear()


EVERY_MEANS = {
    "as it comes": {},
    "NumPy": {"algorithm": "numpy"},
    "pixels": {"algorithm": "pixels"},
    "few": {"algorithm": "few", "enough": LARGEST},
    "planes": {"algorithm": "planes", "enough": LARGEST},
    "planes, 2 threads": {"algorithm": "planes", "enough": 1, "threads": 2},
    "product": {"algorithm": "product", "enough": LARGEST},
    "product, 2 threads": {"algorithm": "product", "enough": 1, "threads": 2},
    "product, 3 threads": {"algorithm": "product", "enough": 1, "threads": 3},
}


# --- layers ----------------------------------------------------------------------------------------------------------


def spellings(padding):
    """All ways to write one padding."""
    (top, bottom), (left, right) = padding
    ways = [padding, [[top, bottom], [left, right]], np.array(padding)]
    if top == bottom and left == right:
        ways += [(top, left), [np.int32(top), left], ((top, bottom), left)]
        ways += [top, np.uint8(top)] if top == left else []
        ways += ["valid"] if top == left == 0 else []
    return ways


def two_spellings(pair):
    return [pair, list(pair), np.array(pair)] + ([pair[0], np.int16(pair[0])] if pair[0] == pair[1] else [])


@st.composite
def layers(draw, most=9, more=14, dtypes=("d",), batches=(None, 0, 1, 2, 3)):
    """Input, weight, bias and flow of a layer in whole numbers, and its settings in some spelling."""
    pair = lambda low, high: draw(st.tuples(st.integers(low, high), st.integers(low, high)))  # noqa: E731
    kind = draw(st.sampled_from(["one group", "groups", "depthwise", "multiplier"]))
    groups = 1 if kind == "one group" else draw(st.integers(2, 3 if kind == "groups" else 5))
    sources, targets = draw(st.integers(1, most)), draw(st.sampled_from([*range(1, most + 1), *[35][: most // 9]]))
    sources, targets = {"depthwise": (1, 1), "multiplier": (1, draw(st.integers(1, 5)))}.get(kind, (sources, targets))
    kernel, stride, dilation = pair(1, 5), pair(1, 4), pair(1, 3)
    stride = draw(st.sampled_from([(1, 1), (1, 1), (2, 2), stride]))
    dilation = draw(st.sampled_from([(1, 1), (1, 1), dilation]))
    if stride == (1, 1) and draw(st.integers(0, 4)) == 0:
        padding = "same"
        least = [1, 1]
    else:
        padding = draw(st.sampled_from([((0, 0), (0, 0)), ((1, 1), (1, 1)), (pair(0, 5), pair(0, 5))]))
        least = [d * (m - 1) + 1 - sum(zeros) for d, m, zeros in zip(dilation, kernel, padding, strict=True)]
        padding = draw(st.sampled_from(spellings(padding)))
    grid = [max(each, 1) + extra for each, extra in zip(least, pair(0, more), strict=True)]
    if draw(st.integers(0, 9)) == 0:
        grid[1] += 60  # several blocks of vectors
    batch = draw(st.sampled_from(batches))
    options = {
        "stride": draw(st.sampled_from(two_spellings(stride))),
        "padding": padding,
        "dilation": draw(st.sampled_from(two_spellings(dilation))),
        "groups": groups,
    }
    size = (*(() if batch is None else (batch,)), groups * sources, *grid)
    weight_size = (groups * targets, sources, *kernel)
    return numbers(size, weight_size, options, [draw(st.sampled_from(dtypes)) for _ in range(4)], draw(st.integers(0)))


def numbers(size, weight_size, options, dtypes="dddd", seed=0):
    """Whole numbers from -3 to 3 for everything in a layer."""
    flow_size = shapes.output_shape(shapes.conv2d_geometry(size, weight_size, **options), len(size) == 4)
    random = np.random.default_rng(seed)
    sizes = size, weight_size, weight_size[:1], flow_size
    least = [0 if np.dtype(dtype).kind == "u" else -3 for dtype in dtypes]
    numbers = (random.integers(low, 4, each) for low, each in zip(least, sizes, strict=True))
    arrays = [array.astype(dtype) for array, dtype in zip(numbers, dtypes, strict=True)]
    return *arrays, options


def ours(input, weight, bias, flow, options):
    """Output, and the gradients of input, weights and biases."""
    return (
        convlib.conv2d(input, weight, bias, **options),
        convlib.conv2d_input_grad(np.shape(input), weight, flow, **options),
        convlib.conv2d_weight_grad(input, np.shape(weight), flow, **options),
        convlib.conv2d_bias_grad(flow),
    )


def oracle(input, weight, bias, flow, options):
    """The same from NumPy alone, in float64."""
    geometry = shapes.conv2d_geometry(input.shape, weight.shape, **options)
    batched = input.ndim == 4
    x, d = (array if batched else array[np.newaxis] for array in (input.astype("d"), flow.astype("d")))
    w, b = weight.astype("d"), bias.astype("d")
    output = numpy_kernels.conv2d(x, w, b, geometry)
    grad_input = numpy_kernels.conv2d_input_grad(w, d, geometry)
    grad_weight = numpy_kernels.conv2d_weight_grad(x, d, geometry)
    return (
        output if batched else output[0], grad_input if batched else grad_input[0], grad_weight, d.sum(axis=(0, 2, 3)),
    )  # fmt: skip


def sums_of_chapter_8(input, weight, bias, flow, options):
    x, w, b, d = (array.astype("d") for array in (input, weight, bias, flow))
    return (
        reference.general_conv2d(x, w, b, **options),
        reference.general_conv2d_input_grad(x.shape, w, d, **options),
        reference.general_conv2d_weight_grad(x, w.shape, d, **options),
        reference.conv2d_bias_grad(d),
    )


def common(*dtypes):
    """The data type of the result: NumPy's, and int64 for whole numbers."""
    dtype = np.result_type(*dtypes)
    return dtype if dtype.kind == "f" else np.dtype(np.int64)


def assert_equal(results, expected, message=""):
    for name, result, known in zip(("output", "input", "weight", "bias"), results, expected, strict=True):
        np.testing.assert_array_equal(result, known, err_msg=f"{name}, {message}")


def some_layers(dtype="d"):
    """A few layers by hand: sizes at which blocks, panels, parts and portions have a rest."""
    cases = [
        ((2, 5, 20, 21), (6, 5, 3, 3), {"padding": 1}),
        ((3, 4, 13, 17), (37, 4, 3, 2), {"stride": (2, 3), "padding": ((1, 2), (0, 3)), "dilation": (2, 1)}),
        ((2, 70, 9, 9), (10, 35, 3, 3), {"padding": "same", "groups": 2}),
        ((3, 6, 30, 31), (6, 1, 3, 3), {"padding": 1, "groups": 6}),
        ((2, 3, 20, 20), (9, 1, 5, 4), {"padding": 2, "groups": 3, "stride": 2}),
        ((5, 12, 7, 7), (10, 12, 1, 1), {}),
        ((5, 12, 8, 7), (10, 12, 1, 1), {"stride": 2}),
        ((7, 17, 11), (3, 7, 5, 5), {"padding": 2}),
        ((6, 2, 2, 3), (5, 2, 2, 2), {"padding": (1, 4)}),
    ]
    return [
        numbers(size, weight_size, {"stride": 1, "padding": 0, "dilation": 1, "groups": 1} | options, dtype * 4, seed)
        for seed, (size, weight_size, options) in enumerate(cases)
    ]


# --- right, for any layer, by any means -----------------------------------------------------------------------------


@pytest.mark.slow
@examples(1200)
@given(layers(dtypes="fd"), st.sets(st.sampled_from(sorted(EVERY_MEANS)), min_size=1, max_size=3))
def test_any_layer_by_any_means(layer, some):
    *arrays, options = layer
    expected = oracle(*arrays, options)
    copies = [array.copy() for array in arrays]
    for name in sorted({"product"} | some):
        with means(**EVERY_MEANS[name]):
            results = ours(*arrays, options)
        assert_equal(results, expected, name)
        x, w, b, d = (array.dtype for array in arrays)
        assert [each.dtype for each in results] == [common(x, w, b), common(w, d), common(x, d), common(d)]
    for array, copy in zip(arrays, copies, strict=True):
        np.testing.assert_array_equal(array, copy)


@examples(400)
@given(layers(most=3, more=4, dtypes="fd"))
def test_small_layers_agree_with_the_sums_of_chapter_8(layer):
    *arrays, options = layer
    expected = sums_of_chapter_8(*arrays, options)
    for name in ("few", "planes", "product", "product, 2 threads"):
        with means(**EVERY_MEANS[name]):
            assert_equal(ours(*arrays, options), expected, name)


@pytest.mark.slow
@pytest.mark.parametrize("name", EVERY_MEANS)
@pytest.mark.parametrize("dtype", "fdq")
@pytest.mark.parametrize("index", range(len(some_layers())))
def test_rests_of_blocks_and_portions(index, dtype, name):
    *arrays, options = some_layers(dtype)[index]
    with means(**EVERY_MEANS[name]):
        assert_equal(ours(*arrays, options), oracle(*arrays, options), name)


@pytest.mark.slow
@examples(300)
@given(layers(dtypes="bhilBHIfd", batches=(None, 1, 2)))
def test_data_types_mix_as_in_numpy(layer):
    *arrays, options = layer
    x, w, b, d = (array.dtype for array in arrays)
    types = [common(x, w, b), common(w, d), common(x, d), common(d)]
    expected = oracle(*arrays, options)
    for name in ("as it comes", "product"):
        with means(**EVERY_MEANS[name]):
            results = ours(*arrays, options)
        assert [each.dtype for each in results] == types
        assert_equal(results, expected, name)


@pytest.mark.slow
@pytest.mark.parametrize(("dtype", "tolerance"), [("f", 2e-5), ("d", 1e-12)])
@pytest.mark.parametrize("index", range(len(some_layers())))
@pytest.mark.parametrize("name", ["few", "planes", "product", "product, 2 threads"])
def test_broken_numbers_come_close(index, dtype, tolerance, name):
    *arrays, options = some_layers()[index]
    random = np.random.default_rng(index)
    arrays = [random.normal(size=array.shape).astype(dtype) for array in arrays]
    with means(**EVERY_MEANS[name]):
        results = ours(*arrays, options)
    for result, known in zip(results, oracle(*arrays, options), strict=True):
        assert result.dtype == dtype
        np.testing.assert_allclose(result, known, rtol=0, atol=tolerance * abs(known).max())


@pytest.mark.slow
def test_without_biases_they_are_zeros():
    for input, weight, bias, _, options in some_layers("f")[:3]:
        expected = convlib.conv2d(input, weight, np.zeros_like(bias), **options)
        np.testing.assert_array_equal(convlib.conv2d(input, weight, **options), expected)
        assert convlib.conv2d(input, weight, **options).dtype == np.float32


@pytest.mark.parametrize("algorithm", ["product", None])
@pytest.mark.parametrize("size", [(0, 2, 5, 5), (1, 2, 0, 3), (2, 0, 4), (2, 2, 3, 0)])
def test_nothing_to_compute(size, algorithm):
    *arrays, options = numbers(size, (3, 2, 2, 2), {"padding": 1, "stride": 1, "dilation": 1, "groups": 1})
    with means(algorithm):
        assert_equal(ours(*arrays, options), oracle(*arrays, options))


# --- what the layer is, whatever the numbers -------------------------------------------------------------------------


@pytest.mark.slow
@examples(300)
@given(layers(dtypes="d", batches=(1, 2, 3)))
def test_the_adjoint_identities(layer):
    """Needs no other code: every gradient gives back flow times output."""
    input, weight, bias, flow, options = layer
    for name in ("as it comes", "product"):
        with means(**EVERY_MEANS[name]):
            _, grad_input, grad_weight, grad_bias = ours(input, weight, bias, flow, options)
            output = convlib.conv2d(input, weight, **options)
        told = (flow * output).sum()
        assert told == (grad_input * input).sum() == (grad_weight * weight).sum()
        assert (grad_bias * bias).sum() == (flow * bias[:, np.newaxis, np.newaxis]).sum()


@pytest.mark.slow
@examples(150)
@given(layers(dtypes="d", batches=(1, 2)), st.integers(-5, 5), st.integers(0))
def test_linear_in_each_argument(layer, factor, seed):
    *arrays, options = layer
    random = np.random.default_rng(seed)
    x, w, b, d = arrays
    x2, w2, b2, d2 = (random.integers(-3, 4, array.shape).astype("d") for array in arrays)
    with means("product"):
        out = lambda *given: convlib.conv2d(*given, **options)  # noqa: E731
        zero = np.zeros_like(b)
        np.testing.assert_array_equal(out(x + factor * x2, w, b), out(x, w, b) + factor * out(x2, w, zero))
        np.testing.assert_array_equal(out(x, w + factor * w2, b), out(x, w, b) + factor * out(x, w2, zero))
        np.testing.assert_array_equal(out(x, w, b + factor * b2), out(x, w, b) + factor * out(0 * x, w, b2))
        back = lambda w, d: convlib.conv2d_input_grad(x.shape, w, d, **options)  # noqa: E731
        np.testing.assert_array_equal(back(w, d + factor * d2), back(w, d) + factor * back(w, d2))
        np.testing.assert_array_equal(back(w + factor * w2, d), back(w, d) + factor * back(w2, d))
        told = lambda x, d: convlib.conv2d_weight_grad(x, w.shape, d, **options)  # noqa: E731
        np.testing.assert_array_equal(told(x, d + factor * d2), told(x, d) + factor * told(x, d2))
        np.testing.assert_array_equal(told(x + factor * x2, d), told(x, d) + factor * told(x2, d))


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", ["product", None])
@pytest.mark.parametrize(("stride", "dilation"), [(1, 1), (2, 1), (1, 2), ((2, 3), 1), (3, 2)])
def test_a_moved_image_moves_the_output(stride, dilation, algorithm):
    random = np.random.default_rng(1)
    sh, sw = shapes._two("stride", stride)
    image = np.zeros((2, 3, 50, 50))
    image[:, :, 15:30, 15:30] = random.integers(-3, 4, (2, 3, 15, 15))
    moved = np.roll(image, (2 * sh, 3 * sw), axis=(-2, -1))
    weight = random.integers(-3, 4, (5, 3, 3, 4)).astype("d")
    with means(algorithm):
        before, after = (convlib.conv2d(each, weight, stride=stride, dilation=dilation) for each in (image, moved))
    np.testing.assert_array_equal(np.roll(before, (2, 3), axis=(-2, -1)), after)


@pytest.mark.slow
@examples(150)
@given(layers(dtypes="fd", batches=(2, 3)), st.sampled_from(sorted(EVERY_MEANS)))
def test_a_batch_is_its_images_one_by_one(layer, name):
    *arrays, options = layer
    input, weight, bias, flow = arrays
    with means(**EVERY_MEANS[name]):
        output, grad_input, grad_weight, grad_bias = ours(*arrays, options)
        single = [ours(x, weight, bias, d, options) for x, d in zip(input, flow, strict=True)]
    np.testing.assert_array_equal(output, np.stack([each[0] for each in single]))
    np.testing.assert_array_equal(grad_input, np.stack([each[1] for each in single]))
    np.testing.assert_array_equal(grad_weight, sum(each[2] for each in single))
    np.testing.assert_array_equal(grad_bias, sum(each[3] for each in single))


# --- arrays of any kind ---------------------------------------------------------------------------------------------


def strided(array):
    wide = np.full((*array.shape[:-1], 2 * array.shape[-1] + 3), 99, array.dtype)
    wide[..., 1 : 2 * array.shape[-1] : 2] = array
    return wide[..., 1 : 2 * array.shape[-1] : 2]


def read_only(array):
    array = array.copy()
    array.setflags(write=False)
    return array


def unaligned(array):
    memory = np.empty(array.nbytes + 1, np.uint8)[1:]
    moved = np.frombuffer(memory, array.dtype).reshape(array.shape)
    moved[...] = array
    assert not moved.flags.aligned
    return moved


LAYOUTS = {
    "strided": strided,
    "Fortran": np.asfortranarray,
    "backwards": lambda array: array[..., ::-1].copy()[..., ::-1],
    "channels last": lambda array: np.moveaxis(np.moveaxis(array, 0, -1).copy(), -1, 0),
    "read-only": read_only,
    "lists": lambda array: array.tolist(),
    "unaligned": unaligned,
    "other byte order": lambda array: array.astype(array.dtype.newbyteorder()),
}


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", ["product", None])
@pytest.mark.parametrize("dtype", "fdi")
@pytest.mark.parametrize("layout", LAYOUTS)
def test_any_memory_layout_and_nothing_is_written_to(layout, dtype, algorithm):
    for *arrays, options in some_layers(dtype)[:5]:
        others = [LAYOUTS[layout](array) for array in arrays]
        with means(algorithm):
            results, expected = ours(*others, options), ours(*arrays, options)
        assert_equal(results, expected, layout)
        for other, array in zip(others, arrays, strict=True):
            np.testing.assert_array_equal(other, array)
        for result in results:
            assert result.flags.c_contiguous and result.flags.writeable and result.dtype.isnative
            assert not any(np.shares_memory(result, np.asarray(each)) for each in others)


@pytest.mark.slow
def test_a_result_is_new_memory_each_time():
    for *arrays, options in some_layers("f")[-2:]:
        with means("product"):
            first = ours(*arrays, options)
            copies = [each.copy() for each in first]
            second = ours(*[array + 1 for array in arrays], options)
        assert_equal(first, copies)
        assert not any(np.shares_memory(a, b) for a in first for b in second)


@pytest.mark.parametrize("kind", [tuple, list, np.array])
def test_sizes_may_be_lists_and_arrays(kind):
    input, weight, _, flow, options = some_layers("f")[0]
    options = {"padding": 1}
    for _ in range(2):
        grad_input = convlib.conv2d_input_grad(kind(input.shape), weight, flow, **options)
        grad_weight = convlib.conv2d_weight_grad(input, kind(weight.shape), flow, **options)
        assert grad_input.shape == input.shape and grad_weight.shape == weight.shape


# --- NaN and infinity -------------------------------------------------------------------------------------------------


def finite_places(results):
    return [np.isfinite(result) for result in results]


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@examples(400)
@given(
    layers(most=3, more=6, dtypes="fd", batches=(1, 2)),
    st.sampled_from([np.inf, -np.inf, np.nan]), st.integers(0, 3), st.integers(0),
)  # fmt: skip
def test_nan_and_infinity_arrive_where_they_are_seen(layer, value, which, place):
    """One number in the input, weight, bias or flow is not finite: all results are those of chapter
    "Stride, padding, dilation, groups".
    """
    *arrays, options = layer
    arrays[which].flat[place % arrays[which].size] = value
    expected = sums_of_chapter_8(*arrays, options)
    for name in ("few", "NumPy", "planes", "planes, 2 threads", "product", "product, 2 threads"):
        with means(**EVERY_MEANS[name]):
            assert_equal(ours(*arrays, options), expected, name)


@pytest.mark.skipif(SLOW, reason="NumPy warns")
@pytest.mark.parametrize("algorithm", ["product", None])
def test_infinity_gives_no_warning(algorithm):
    """PyTorch gives none, and a warning may be an error."""
    for which in range(4):
        *arrays, options = some_layers("f")[0]
        arrays[which].flat[:2] = np.inf, -np.inf
        with means(algorithm), warnings.catch_warnings():
            warnings.simplefilter("error")
            convlib.conv2d(*arrays[:3], **options)
            convlib.conv2d_input_grad(arrays[0].shape, arrays[1], arrays[3], **options)
            convlib.conv2d_weight_grad(arrays[0], arrays[1].shape, arrays[3], **options)


# --- refusals -------------------------------------------------------------------------------------------------------

INPUT, WEIGHT, BIAS, FLOW = (np.ones(size) for size in ((2, 4, 5, 6), (6, 4, 3, 3), (6,), (2, 6, 3, 4)))


def call(input=INPUT, weight=WEIGHT, bias=BIAS, **options):
    return convlib.conv2d(input, weight, bias, **options)


def call_input_grad(input=INPUT, weight=WEIGHT, grad_output=FLOW, **options):
    return convlib.conv2d_input_grad(input if isinstance(input, tuple) else input.shape, weight, grad_output, **options)


def call_weight_grad(input=INPUT, weight=WEIGHT, grad_output=FLOW, **options):
    return convlib.conv2d_weight_grad(
        input, weight if isinstance(weight, tuple) else weight.shape, grad_output, **options
    )


FUNCTIONS = [call, call_input_grad, call_weight_grad]
WRONG_FOR_ALL = [
    ({"input": np.ones((5, 6))}, ValueError, r"input: expected shape \(N, C, H, W\) or \(C, H, W\), got .*5, 6"),
    ({"input": np.ones((1, 2, 4, 5, 6))}, ValueError, r"input: expected shape .*, got .*1, 2, 4, 5, 6"),
    ({"weight": np.ones((4, 3, 3))}, ValueError, r"weight: expected shape \(K, C / groups, kh, kw\), got .*4, 3, 3"),
    ({"weight": np.ones((6, 5, 3, 3))}, ValueError, r"weight: expected 4 input channels .* got shape \(6, 5, 3, 3\)"),
    ({"weight": np.ones((6, 0, 3, 3))}, ValueError, r"weight: expected at least 1 of each, got \(6, 0, 3, 3\)"),
    ({"groups": 3}, ValueError, "groups: expected a number that divides the 4 input channels, got 3"),
    ({"groups": 4}, ValueError, "groups: expected a number that divides the 6 output channels, got 4"),
    ({"groups": 2}, ValueError, r"weight: expected 2 input channels .* got shape \(6, 4, 3, 3\)"),
    ({"groups": 0}, ValueError, "groups: expected a whole number, 1 or more, got 0"),
    ({"groups": 1.0}, TypeError, r"groups: expected a whole number, 1 or more, got 1\.0"),
    ({"groups": True}, TypeError, "groups: expected a whole number, 1 or more, got True"),
    ({"weight": np.ones((6, 4, 6, 3))}, ValueError, "weight rows: expected to cover at most 5 cells .* got 6"),
    ({"weight": np.ones((6, 4, 3, 7))}, ValueError, "weight columns: expected to cover at most 6 cells .* got 7"),
    ({"dilation": 3}, ValueError, "weight rows: expected .* got 3 with dilation 3, which cover 7"),
    ({"stride": 0}, ValueError, "stride: expected a whole number, 1 or more, got 0"),
    ({"stride": (1, -1)}, ValueError, r"stride: expected a whole number, 1 or more, got \(1, -1\)"),
    ({"stride": 1.5}, TypeError, r"stride: expected a whole number, 1 or more, got 1\.5"),
    ({"stride": 1.0}, TypeError, r"stride: expected a whole number, 1 or more, got 1\.0"),
    ({"stride": (1.0, 1)}, TypeError, r"stride: expected a whole number, 1 or more, got \(1\.0, 1\)"),
    ({"stride": True}, TypeError, "stride: expected a whole number, 1 or more, got True"),
    ({"stride": (1, True)}, TypeError, r"stride: expected a whole number, 1 or more, got \(1, True\)"),
    ({"stride": np.True_}, TypeError, "stride: expected a whole number, 1 or more, got .*True"),
    ({"stride": np.float64(1)}, TypeError, "stride: expected a whole number, 1 or more, got .*1.0"),
    ({"stride": None}, TypeError, "stride: expected a whole number, 1 or more, got None"),
    ({"stride": "1"}, TypeError, "stride: expected a whole number, 1 or more, got '1'"),
    ({"stride": (1, 1, 1)}, ValueError, r"stride: expected one number or a pair, got \(1, 1, 1\)"),
    ({"dilation": 0}, ValueError, "dilation: expected a whole number, 1 or more, got 0"),
    ({"dilation": -1}, ValueError, "dilation: expected a whole number, 1 or more, got -1"),
    ({"dilation": 1.0}, TypeError, r"dilation: expected a whole number, 1 or more, got 1\.0"),
    ({"dilation": True}, TypeError, "dilation: expected a whole number, 1 or more, got True"),
    ({"padding": -1}, ValueError, "padding: expected a whole number, 0 or more, got -1"),
    ({"padding": (0, (0, -1))}, ValueError, r"padding: expected a whole number, 0 or more, got \(0, \(0, -1\)\)"),
    ({"padding": 0.0}, TypeError, r"padding: expected a whole number, 0 or more, got 0\.0"),
    ({"padding": False}, TypeError, "padding: expected a whole number, 0 or more, got False"),
    ({"padding": ((0, 0), (0, False))}, TypeError, "padding: expected a whole number, 0 or more, got"),
    ({"padding": (0, 0, 0)}, ValueError, r"padding: expected one number or a pair, got \(0, 0, 0\)"),
    ({"padding": "full"}, ValueError, "padding: expected numbers, \"valid\" or \"same\", got 'full'"),
    ({"padding": "same", "stride": 2}, ValueError, r'padding: "same" expects stride 1, got stride \(2, 2\)'),
]  # fmt: skip


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda function: function.__name__)
@pytest.mark.parametrize(("wrong", "error", "message"), WRONG_FOR_ALL)
def test_what_cannot_be_is_refused_by_name(wrong, error, message, function):
    """Twice: after a right call with settings that look the same, which convlib remembers."""
    for _ in range(2):
        with pytest.raises(error, match=message):
            function(**wrong)
        function()


@pytest.mark.parametrize("value", [np.ones, "pqrs", None, 1 + 2j, b"12"])
def test_what_is_not_a_number_is_refused(value):
    array = np.full((2, 4, 5, 6), value)
    calls = {
        "input": [lambda: call(input=array), lambda: call_weight_grad(input=array)],
        "weight": [lambda: call(weight=array), lambda: call_input_grad(weight=array)],
        "bias": [lambda: call(bias=array[0, 0, 0])],
        "grad_output": [
            lambda: call_input_grad(grad_output=array),
            lambda: call_weight_grad(grad_output=array),
            lambda: convlib.conv2d_bias_grad(array),
        ],
    }
    for name, each in calls.items():
        for function in each:
            with pytest.raises(TypeError, match=f"{name}: expected float32, float64 or integers, got {array.dtype}"):
                function()


@pytest.mark.parametrize("dtype", ["e", "g", "F", "D", "M8[s]", "m8[s]"])
def test_other_kinds_of_numbers_are_refused(dtype):
    with pytest.raises(TypeError, match="input: expected float32, float64 or integers, got"):
        call(input=INPUT.astype("i8").astype(dtype))


RAGGED = [[[1, 2], [3]]] * 4
RAGGED_CALLS = {
    "input": [lambda: call(input=RAGGED), lambda: convlib.conv2d_weight_grad(RAGGED, WEIGHT.shape, FLOW)],
    "weight": [lambda: call(weight=RAGGED), lambda: convlib.conv2d_input_grad(INPUT.shape, RAGGED, FLOW)],
    "bias": [lambda: call(bias=RAGGED)],
    "grad_output": [
        lambda: call_input_grad(grad_output=RAGGED),
        lambda: call_weight_grad(grad_output=RAGGED),
        lambda: convlib.conv2d_bias_grad(RAGGED),
    ],
}


@pytest.mark.parametrize("name", RAGGED_CALLS)
def test_lists_with_rows_of_different_lengths_are_refused_by_name(name):
    for function in RAGGED_CALLS[name]:
        with pytest.raises(ValueError, match=f"^{name}: expected an array of numbers, got rows of different lengths"):
            function()


@pytest.mark.parametrize("size", [(2, 6, 4, 4), (2, 5, 3, 4), (6, 3, 4), (1, 6, 3, 4), (2, 6, 3, 4, 1)])
@pytest.mark.parametrize("function", FUNCTIONS[1:], ids=lambda function: function.__name__)
def test_a_flow_of_another_shape_is_refused(size, function):
    named = str(size).replace("(", r"\(").replace(")", r"\)")
    with pytest.raises(ValueError, match=rf"grad_output: expected shape \(2, 6, 3, 4\), .* got {named}"):
        function(grad_output=np.ones(size))


@pytest.mark.parametrize("size", [(5,), (6, 1), (1, 6), ()])
def test_biases_of_another_shape_are_refused(size):
    with pytest.raises(ValueError, match=r"bias: expected shape \(6,\), got \("):
        call(bias=np.ones(size))
    with pytest.raises(ValueError, match=r"grad_output: expected shape \(N, K, H, W\) or \(K, H, W\), got \("):
        convlib.conv2d_bias_grad(np.ones(size))


@pytest.mark.parametrize("size", [(2.0, 4, 5, 6), (2, 4, True, 6), (2, 4, 5, "6"), 5, None, ([2], 4, 5, 6)])
def test_sizes_that_are_no_sizes_are_refused(size):
    for _ in range(2):
        with pytest.raises(TypeError, match="input"):
            convlib.conv2d_input_grad(size, WEIGHT, FLOW)
        call_input_grad()
        convlib.conv2d_input_grad((2, 4, 1, 6), np.ones((2, 4, 1, 1)), np.ones((2, 2, 1, 6)))


@pytest.mark.parametrize("size", [(6.0, 4, 3, 3), (6, 4, np.True_, 3), 3, None, "6433"])
def test_kernel_sizes_that_are_no_sizes_are_refused(size):
    for _ in range(2):
        with pytest.raises(TypeError, match="weight"):
            convlib.conv2d_weight_grad(INPUT, size, FLOW)
        call_weight_grad()


@pytest.mark.parametrize(("threads", "error"), [(0, ValueError), (-1, ValueError), (1.0, TypeError), (True, TypeError)])
def test_numbers_of_threads_that_are_refused(threads, error):
    before = convlib.get_num_threads()
    with pytest.raises(error, match=f"threads: expected .* got {threads}"):
        convlib.set_num_threads(threads)
    assert convlib.get_num_threads() == before
