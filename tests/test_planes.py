"""Channels by themselves, and the least layers: right, with the same bits for any number of jobs, and guarded."""

import numpy as np
import pytest

from benchmarks.peers import openblas_threads
from convlib import numpy_kernels, pixels
from convlib.kernels import few, planes
from convlib.kernels.simd import lanes_of
from convlib.kernels.tuning import BUNCH, DOTS, EACH, PIECE, ROWS, SETS, SMALL, TALL
from convlib.shapes import conv2d_geometry, output_shape

PASSES = "forward", "input_grad", "weight_grad"
ORACLES = numpy_kernels.conv2d, numpy_kernels.conv2d_input_grad, numpy_kernels.conv2d_weight_grad


def layer(input_size, weight_size, *settings):
    return conv2d_geometry(input_size, weight_size, *settings)


def numbers(g, dtype, seed=0, whole=True):
    """Input, weight, bias and flow; whole numbers give sums without rounding."""
    rng = np.random.default_rng(seed)
    sizes = g[:4], (g.out_channels, g.in_channels // g.groups, *g[5:7]), (g.out_channels,), output_shape(g)
    some = (lambda size: rng.integers(-3, 4, size)) if whole else rng.standard_normal
    return [some(size).astype(dtype) for size in sizes]


def arguments(g, dtype, seed=0, whole=True):
    x, w, b, d = numbers(g, dtype, seed, whole)
    return dict(zip(PASSES, ((x, w, b), (w, d), (x, d)), strict=True))


def check(module, g, dtype="f", seed=0):
    """All passes are exactly right, with one job and with three."""
    assert module.suits(g, np.dtype(dtype))
    for (name, given), oracle in zip(arguments(g, dtype, seed).items(), ORACLES, strict=True):
        expected = oracle(*given, g)
        before = [each.copy() for each in given]
        for jobs in (1, 3):
            result = getattr(module, name)(*given, g, jobs)
            assert result.dtype == np.dtype(dtype) and result.shape == expected.shape, (name, g)
            assert np.array_equal(result, expected), (name, jobs, g)
        assert all(map(np.array_equal, before, given)), (name, "wrote to what it was given")


DEPTHWISE = {
    f"{size} cells, {kernel}x{kernel}, stride {stride}":
        layer((2, 3, size, size + 1), (3, 1, kernel, kernel), stride, kernel // 2, 1, 3)
    for size, kernel in [(1, 3), (TALL - 1, 3), (TALL, 3), (TALL + 1, 3), (17, 3), (17, 2), (12, 5), (TALL, 7)]
    for stride in (1, 2)
}  # fmt: skip

AWKWARD = {
    "more images than fit": layer((5, 2, 40, 50), (2, 1, 3, 3), 1, 1, 1, 2),
    "small planes brought together": layer((3, 70, 5, 5), (70, 1, 3, 3), 1, 1, 1, 70),
    "two kernels a channel": layer((2, 3, 9, 8), (6, 1, 3, 3), 2, 1, 1, 3),
    "dilated depthwise": layer((2, 3, 11, 12), (3, 1, 3, 3), 1, 2, 2, 3),
    "dilated and strided": layer((2, 4, 12, 13), (4, 2, 3, 2), (2, 3), (2, 1), (2, 3), 2),
    "a line for a kernel": layer((2, 4, 3, 20), (4, 1, 1, 5), 1, ((0, 0), (4, 0)), 1, 4),
    "one column": layer((2, 4, 20, 1), (4, 1, 3, 1), (2, 1), ((1, 1), (0, 0)), 1, 4),
    "stride larger than the kernel": layer((2, 3, 11, 10), (3, 1, 1, 2), 3, 0, 1, 3),
    "steps of two over one tap": layer((2, 3, 11, 10), (3, 1, 1, 1), 2, 0, 1, 3),
    "unequal zeros": layer((1, 4, 9, 9), (8, 2, 3, 3), 1, ((3, 0), (0, 4)), 1, 2),
    "zeros all around a cell": layer((1, 2, 1, 1), (2, 1, 3, 3), 1, 3, 1, 2),
    "some rows more than a block": layer((2, 3, 10, 9), (ROWS + 3, 3, 3, 3), 1, 1),
    "rows for several blocks": layer((1, 2, 9, 30), (2 * ROWS + 1, 2, 5, 5), 2, 2),
    "three rows": layer((2, 2, 8, 8), (3, 2, 3, 3), 1, 1),
    "one row": layer((2, 4, 8, 8), (1, 4, 3, 3), 1, 1),
    "deeper than a chain": layer((1, 16, 8, 9), (4, 16, 7, 7), 1, 3),
    "a patch": layer((2, 3, 16, 16), (5, 3, 4, 4), 4),
    "lines longer than what is made at a time": layer((1, 1, 4, 1500), (2, 1, 3, 3), 1, 1),
    "more taps than sums are kept for": layer((1, 8, 12, 12), (DOTS[0] * 6 + 1, 8, 11, 11), 1, 5),
}


@pytest.mark.parametrize("name", DEPTHWISE)
def test_depthwise_layers_are_right(name):
    check(planes, DEPTHWISE[name])


@pytest.mark.slow
@pytest.mark.parametrize("dtype", "fd")
@pytest.mark.parametrize("name", AWKWARD)
def test_awkward_layers_are_right(name, dtype):
    check(planes, AWKWARD[name], dtype)


@pytest.mark.slow
def test_some_layers_need_several_bunches_and_chunks():
    """The layers above are as awkward as their names say."""
    sheet = planes._plan(AWKWARD["more images than fit"], "weight_grad", "f")[0]
    assert sheet.bunch < sheet.batch
    sheet = planes._plan(AWKWARD["small planes brought together"], "weight_grad", "d")[0]
    assert 1 < sheet.bunch <= sheet.batch and sheet.bunch * sheet.image <= BUNCH
    g = layer((1, 1, 64, 900), (2, 1, 3, 3), 1, 1)
    assert planes._plan(g, "forward", "f")[0].lines < 64
    check(planes, g)
    assert AWKWARD["deeper than a chain"].in_channels * 49 > PIECE


@pytest.mark.parametrize("seed", [*(pytest.param(each, marks=pytest.mark.slow) for each in range(5)), *range(5, 12)])
def test_random_layers_have_small_errors(seed):
    rng = np.random.default_rng(seed)
    groups = int(rng.choice([1, 2, 7]))
    C, K, kernel = int(rng.integers(1, 5)), int(rng.integers(1, 20)), rng.integers(1, 6, 2).tolist()
    stride, dilation, zeros = (rng.integers(1, 4, 2).tolist() for _ in range(3))
    grid = [int(d * (k - 1) + rng.integers(1, 30)) for d, k in zip(dilation, kernel, strict=True)]
    sizes = (int(rng.integers(1, 4)), groups * C, *grid), (groups * K, C, *kernel)
    g = conv2d_geometry(*sizes, tuple(stride), tuple(zeros), tuple(dilation), groups)
    for (name, given), oracle in zip(arguments(g, "f", seed, whole=False).items(), ORACLES, strict=True):
        expected = oracle(*(each.astype(float) for each in given), g)
        result, again = (getattr(planes, name)(*given, g, jobs) for jobs in (1, 2))
        assert np.array_equal(result, again), (name, g)
        assert np.abs(result - expected).max() <= 3e-6 * max(1, np.abs(expected).max()), (name, g)


@pytest.mark.slow
@pytest.mark.parametrize("groups", [2, 1], ids=["depthwise", "dots"])
def test_long_sums_are_cut(groups):
    """164,000 products of a tenth: one chain in each lane would lose four digits."""
    g = layer((1, groups, 400, 410), (2, 1, 3, 3), 1, 1, 1, groups)
    x, d = np.full(g[:4], 0.1, np.float32), np.full(output_shape(g), 0.1, np.float32)
    expected = numpy_kernels.conv2d_weight_grad(x.astype(float), d.astype(float), g)
    limit = 5e-6 * 16 / lanes_of("f")  # with fewer lanes, each has more to add up
    assert np.abs(planes.weight_grad(x, d, g, 1) / expected - 1).max() < limit


@pytest.mark.parametrize("module, g", [
    (planes, layer((2, 3, 9, 9), (3, 1, 3, 3), 1, 1, 1, 3)), (planes, layer((2, 3, 9, 9), (3, 1, 3, 3), 2, 1, 1, 3)),
    (planes, layer((2, 17, 9, 2), (17, 1, 3, 3), 1, 1, 1, 17)),  # channels side by side, at any number of lanes
    (planes, layer((2, 4, 9, 9), (6, 2, 3, 3), 2, 1, 1, 2)), (planes, layer((2, 3, 9, 9), (9, 3, 3, 3), 1, 1)),
    (few, layer((1, 3, 7, 7), (2, 3, 3, 3), 1, 1)), (few, layer((3, 5, 1, 1), (4, 5, 1, 1))),
])  # fmt: skip
@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
@np.errstate(invalid="ignore")
def test_what_is_not_finite_comes_out_as_tap_by_tap_or_is_given_up(module, g, value):
    answered = 0
    for name, given in arguments(g, "f").items():
        for which in range(len(given)):
            for place in (0, given[which].size // 2, -1):
                some = [each.copy() for each in given]
                some[which].reshape(-1)[place] = value
                result = getattr(module, name)(*some, g, 1)
                if result is None:
                    assert name == "weight_grad" or which == (name == "forward"), (name, which, "gave up")
                else:
                    answered += 1
                    expected = getattr(numpy_kernels, name)(*some, g, 1)
                    assert np.array_equal(result, expected, equal_nan=True), (name, which)
    assert answered >= 6  # inputs, flows and biases at least


LEAST = {
    "the house": layer((1, 3, 7, 7), (2, 3, 3, 3), 1, 1),
    "a line": layer((3, 2, 1, 37), (3, 2, 1, 4), 1, ((0, 0), (3, 0))),
    "a column": layer((3, 2, 37, 1), (3, 2, 4, 1)),
    "unequal zeros": layer((3, 2, 6, 7), (2, 2, 3, 2), 1, ((0, 2), (1, 0))),
    "more zeros than the kernel reaches": layer((2, 2, 5, 6), (2, 2, 2, 3), 1, 3),
    "one pixel": layer((3, 20, 1, 1), (30, 20, 1, 1)),
    "one pixel, image by image": layer((EACH, 100, 1, 1), (90, 100, 1, 1)),
    "one pixel, at once": layer((EACH + 1, 300, 1, 1), (400, 300, 1, 1)),
}


@pytest.mark.parametrize("dtype", "fd")
@pytest.mark.parametrize("name", [*list(LEAST)[:-1], pytest.param(list(LEAST)[-1], marks=pytest.mark.slow)])
def test_the_least_layers_are_right(name, dtype):
    check(pixels if "pixel" in name else few, LEAST[name], dtype)


def test_few_takes_the_least_layers_only():
    single, double = np.dtype("f"), np.dtype("d")
    assert few.suits(LEAST["the house"], single) and few.suits(LEAST["the house"], double)
    assert not few.suits(layer((1, 3, 7, 7), (2, 3, 3, 3), 2, 1), single), "strided"
    assert not few.suits(layer((1, 4, 7, 7), (4, 1, 3, 3), 1, 1, 1, 4), single), "groups"
    assert not few.suits(layer((1, 2, 9, 9), (2, 2, 3, 3), 1, 2, 2), single), "dilated"
    assert not few.suits(layer((1, 4, 28, 28), (8, 4, 3, 3), 1, 1), single), "large"
    assert 49 * 8 * 54 > SMALL and not few.suits(layer((1, 6, 7, 7), (8, 6, 3, 3), 1, 1), single)
    assert not few.suits(LEAST["one pixel, at once"], single), "large"


def test_pixels_takes_images_of_one_pixel_only():
    single = np.dtype("f")
    assert pixels.suits(LEAST["one pixel"], single) and pixels.suits(LEAST["one pixel, at once"], single)
    assert not pixels.suits(LEAST["the house"], single)
    assert not pixels.suits(layer((2, 1, 1, 1), (1, 1, 1, 1)), single), "a single weight: BLAS would only scale"
    assert not pixels.suits(layer((1, 4, 1, 1), (4, 4, 1, 1), 2, ((1, 0), (1, 0))), single), "a pixel that no tap meets"
    assert not pixels.suits(layer((1, 4, 1, 1), (4, 2, 1, 1), 1, 0, 1, 2), single), "groups"
    assert not pixels.suits(layer((1, 2**14 + 1, 1, 1), (4, 2**14 + 1, 1, 1)), single), "too many products for one sum"


@pytest.mark.parametrize("images", [2, EACH, EACH + 1, pytest.param(100, marks=pytest.mark.slow)])
def test_a_single_channel_is_multiplied_too(images):
    """BLAS may leave out a factor of zero, and with it what zero times infinity is."""
    g = layer((images, 1, 1, 1), (2**14, 1, 1, 1))
    x, w = np.ones(g[:4], "f"), np.zeros((g.out_channels, 1, 1, 1), "f")
    x[0] = np.inf
    assert pixels.suits(g, x.dtype)
    output = pixels.forward(x, w, w[:, 0, 0, 0], g, 1)
    assert np.isnan(output[0]).all() and not output[1:].any()
    assert np.isnan(pixels.forward(w[:images], np.full_like(w, np.inf), w[:, 0, 0, 0], g, 1)).all()


@pytest.mark.slow
@pytest.mark.parametrize("images", [EACH + 1, 32])
def test_many_images_of_one_pixel_have_the_same_bits_for_any_number_of_threads(images):
    """BLAS's own threads, too: how it shares a product changes the last bits."""
    use = openblas_threads() or pytest.skip("NumPy has no OpenBLAS of its own")
    for channels, rows in ((960, 240), (240, 960), (513, 1000)):
        g = layer((images, channels, 1, 1), (rows, channels, 1, 1))
        given, found = arguments(g, "f", whole=False)["forward"], []
        for threads in (1, 2, 3):
            use(threads)
            found.append(pixels.forward(*given, g, threads))
        assert all(np.array_equal(each, found[0]) for each in found)


@pytest.mark.slow
@pytest.mark.parametrize("width", [1, 2, 3, *(2 * lanes_of("f") * k + d for k in (1, 2) for d in (-1, 0, 1))])
@pytest.mark.parametrize("left", [0, 1, 2])
def test_even_and_odd_cells_go_to_their_planes(width, left):
    """With a stride of 2, both phases of a line are filled together."""
    for channels, weight in ((3, (3, 1, 3, 3)), (4, (6, 2, 3, 3))):
        groups = channels // weight[1]
        g = layer((3, channels, 7, width), weight, 2, ((1, 2), (left, 3)), 1, groups)
        check(planes, g, "f")


def test_planes_takes_groups_and_few_channels():
    assert planes.suits(AWKWARD["dilated depthwise"], np.dtype("f"))
    assert planes.suits(layer((1, 3, 9, 9), (64, 3, 7, 7), 2, 3), np.dtype("f"))
    assert not planes.suits(layer((1, 64, 9, 9), (64, 64, 3, 3), 1, 1), np.dtype("f"))


@pytest.mark.parametrize("weight", [(64, 3, 7, 7), (64, 3, 3, 3), (32, 3, 3, 3)])
def test_the_gradient_of_a_stem_is_shared_among_threads(weight):
    """One group is several jobs: else all threads but one would wait."""
    sheet = planes._plan(conv2d_geometry((4, 3, 64, 64), weight, 2, 1), "weight_grad", "f")[0]
    assert -(-sheet.rows // sheet.panel) >= SETS


@pytest.mark.slow
@pytest.mark.parametrize("dtype", "fd")
@pytest.mark.parametrize("kernel, stride, more", [
    (2, 2, 3), (3, 1, 0), (5, 1, 1), (3, 2, 5), (7, 1, 2)])
def test_channels_lie_side_by_side_where_lines_are_short(kernel, stride, more, dtype):
    """The last vector of channels is moved back. Wider lines, or fewer channels, are lines as ever."""
    n = lanes_of(dtype)
    widths = sorted({int(n * vectors) + wider for vectors in planes.ABREAST for wider in (0, 1)})
    for width, channels in (*((width, n + more) for width in widths), (n - 1, n), (n // 2, n - 1)):
        size = channels, 2 * n + 1, width * stride - (kernel + 1) % 2
        g = layer((2, *size), (channels, 1, kernel, kernel), stride, kernel // 2, 1, channels)
        assert g.out_width == width
        short, shorter = (width <= n * planes.ABREAST[k + stride - 1] and n <= channels for k in (0, 2))
        assert planes._abreast(g, "forward", n) == (n if short else 1)
        assert planes._abreast(g, "input_grad", n) == (n if short and stride == 1 else 1)
        assert planes._abreast(g, "weight_grad", n) == (n if shorter else 1)
        check(planes, g, dtype)
        outputs = [planes.forward(*arguments(g, dtype, 1, whole=False)["forward"], g, jobs) for jobs in (1, 2, 5)]
        assert all(np.array_equal(output, outputs[0]) for output in outputs)


@pytest.mark.parametrize("rows, channels, kernel", [
    (7, 3, 3), *(pytest.param(*each, marks=pytest.mark.slow) for each in ((40, 3, 3), (64, 3, 7), (300, 16, 5)))])
def test_a_job_brings_the_planes_once_for_all_its_sets(rows, channels, kernel):
    """How many sets a job has depends on the jobs, and on the room for their sums; what comes out does not."""
    g = conv2d_geometry((3, channels, 29, 30), (rows, channels, kernel, kernel), 2, 1)
    sheet, data = planes._plan(g, "weight_grad", "f")[0], arguments(g, "f", whole=False)["weight_grad"]
    assert 1 <= sheet.sets <= -(-sheet.rows // sheet.panel)
    assert (sheet.sets == -(-sheet.rows // sheet.panel)) == (channels == 3)
    results = [planes.weight_grad(*data, g, jobs) for jobs in (1, 2, 3, 4, 7)]
    assert all(np.array_equal(result, results[0]) for result in results)
    check(planes, g)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", "fd")
@pytest.mark.parametrize("stride", [1, 2])
def test_a_flow_whose_lines_are_whole_vectors_is_not_copied(stride, dtype):
    """With a line more or less it is copied: the sums are the same."""
    for lines, width, kernel in ((71, 64, 3), (64, 64, 3), (71, 63, 3), (71, 64, 7)):
        places = (1, 3, (lines - 1) * stride + 1, (width - 1) * stride + 1)
        g = layer(places, (12, 3, kernel, kernel), stride, kernel // 2)
        sheet = planes._plan(g, "weight_grad", dtype)[0]
        assert (sheet.room == 0) == (width == 64)
        assert sheet.bunch == 1 and (g.out_height, g.out_width) == (lines, width)
        check(planes, g, dtype)
