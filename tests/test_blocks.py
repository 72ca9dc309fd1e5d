"""Each primitive of blocks against NumPy, for any shape; what it must not read, write or be given.

The same tests run compiled, compiled with every index checked (make bounds), and without compiling (make coverage).
"""

import numpy as np
import pytest

numba = pytest.importorskip("numba")

from convlib.kernels import blocks  # noqa: E402
from convlib.kernels.simd import (  # noqa: E402
    REGISTER_BYTES,
    broadcast,
    compiled,
    fma,
    lanes,
    lanes_of,
    load,
    load_between,
    store,
    store_some,
    total,
)

CHECKED = bool(numba.config.DISABLE_JIT or numba.config.BOUNDSCHECK)
ONLY_COMPILED = pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="refused by the compiler")
SHAPES = [(1, 1), (3, 2), (2, 3)]


def shape_of(rows, vectors):
    return ((0,) * vectors,) * rows


@compiled
def width(array, shape):
    return len(shape[0]) * lanes(array)


@compiled
def run_nought(out, shape):
    blocks.put(out, 0, width(out, shape), blocks.nought(out, shape))


@compiled
def run_spread(out, array, shape):
    blocks.put(out, 0, width(out, shape), blocks.spread(array, 1, 3, shape))


@compiled
def run_take(out, array, shape):
    blocks.put(out, 0, width(out, shape), blocks.take(array, 2, width(out, shape) + 1, shape))


@compiled
def run_put(out, array, shape):
    blocks.put(out, 1, width(out, shape) + 2, blocks.take(array, 0, width(out, shape), shape))


@compiled
def run_multiply(out, start, left, right, shape):
    block = blocks.take(start, 0, width(out, shape), shape)
    blocks.put(out, 0, width(out, shape), blocks.multiply(block, left, 1, 3, right, 2))


@compiled
def run_dots(out, start, left, right, table, shape):
    block = blocks.take(start, 0, width(out, shape), shape)
    block = blocks.dots(block, left, (1, lanes(out) + 1), right, 1, table, 2)
    blocks.put(out, 0, width(out, shape), block)


@compiled
def run_together(out, a, b, shape):
    wide = width(out, shape)
    sums = blocks.together(blocks.take(a, 0, wide, shape), blocks.take(b, 0, wide, shape))
    blocks.put(out, 0, wide, sums)


@compiled
def run_load_between(out, array, first, last):
    store(out, 0, load_between(array, 1, first, last))


@compiled
def run_slide(out, start, plane, weights, shape, taps):
    n = lanes(out)
    block = blocks.take(start, 0, n, shape)
    pitch = n + 1
    steps = pitch, 1 + pitch * (len(shape) + len(taps[0]))
    block = blocks.slide(block, plane, 1, steps, blocks.spread(weights, 1, 2, taps[0]), taps)
    blocks.put(out, 0, n, block)


@compiled
def run_weigh(out, start, flows, plane, shape, rows, taps):
    n = lanes(out)
    pitch = n + 1
    steps = pitch, 1 + pitch * (len(rows) + len(taps[0]))
    block = blocks.take(start, 0, n, shape)
    block = blocks.weigh(block, blocks.take(flows, 0, n, rows), plane, 1, steps, taps)
    blocks.put(out, 0, n, block)


@compiled
def run_every_second(out, array):
    even, odd = blocks.every_second(load(array, 0), load(array, lanes(array)))
    store(out, 0, even)
    store(out, lanes(out), odd)


@compiled
def run_prefetch(out, index, row_step, shape):
    blocks.prefetch(out, index, row_step, shape)


@compiled
def run_in_order(array):
    first = array[0]
    blocks.in_order(array)
    return first + array[0]  # read again: something may have changed it


@compiled
def run_in_turns(out, array):
    a, b = blocks.in_turns(load(array, 0), load(array, lanes(array)))
    store(out, 0, a)
    store(out, lanes(out), b)


@compiled
def run_transpose(out, array):
    blocks.transpose(array, 1, lanes(array) + 2, out, 2, lanes(array) + 1)


@compiled
def run_words(out, array, count):
    store(out, 0, load(array, 1))
    store_some(out, lanes(out), load_between(array, 1, 0, count), count)
    store(out, 2 * lanes(out), broadcast(array, 2))
    store(out, 3 * lanes(out), fma(load(array, 0), load(array, 1), broadcast(array, 2)))
    out[4 * lanes(out)] = total(load(array, 1))


def numbers(count, dtype, seed=0):
    """Whole numbers, so that all sums are exact."""
    return np.random.default_rng(seed).integers(-9, 10, count).astype(dtype)


def rows_at(array, first, step, count, wide):
    return np.array([array[first + r * step :][:wide] for r in range(count)])


def of_shapes(name, dtype, rows, vectors):
    """A primitive of blocks: the arrays that it needs, each as small as can be; the result."""
    n, wide = lanes_of(dtype), vectors * lanes_of(dtype)
    a, b = numbers(rows * wide, dtype), numbers(rows * wide, dtype, 1)
    first, second = a.reshape(rows, wide), b.reshape(rows, wide)
    left = numbers(2 + 3 * (rows - 1), dtype, 2)
    factors = left[1::3][:, np.newaxis]
    right, gaps = numbers(2 + wide, dtype, 3), numbers(2 + wide + (rows - 1) * (wide + 1), dtype, 4)
    lines, table = numbers(1 + rows * (n + 1) - 1, dtype, 5), np.array([99, 99, *range(3, 3 + vectors)])
    beside = numbers(1 + 3 + vectors - 1 + n, dtype, 6)
    columns = np.array([beside[1 + 3 + c :][:n] for c in range(vectors)])
    return {
        "nought": ([], np.zeros((rows, wide))),
        "spread": ([left], np.broadcast_to(factors, (rows, wide))),
        "take": ([gaps], rows_at(gaps, 2, wide + 1, rows, wide)),
        "multiply": ([a, left, right], first + factors * right[2:]),
        "dots": ([a, lines, beside, table], first + np.concatenate(
            [rows_at(lines, 1, n + 1, rows, n) * column for column in columns], axis=1)),
        "together": ([a, b], first + second),
    }[name]  # fmt: skip


SHAPED = ["nought", "spread", "take", "multiply", "dots", "together"]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("rows, vectors", SHAPES)
@pytest.mark.parametrize("name", SHAPED)
def test_a_primitive_of_any_shape_does_what_it_says_and_reads_nothing_else(name, rows, vectors, dtype):
    arrays, expected = of_shapes(name, dtype, rows, vectors)
    out, function = np.full(rows * vectors * lanes_of(dtype), np.nan, dtype), globals()[f"run_{name}"]
    function(out, *arrays, shape_of(rows, vectors))
    assert np.array_equal(out.reshape(rows, -1), expected)
    short_of_one(function, [out, *arrays], shape_of(rows, vectors))


def short_of_one(function, arrays, *others):
    """Where indices are checked, each array is needed to its last number."""
    if CHECKED:
        for which in range(len(arrays)):
            short = [array[:-1] if k == which else array for k, array in enumerate(arrays)]
            with pytest.raises(IndexError):
                function(*short, *others)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("rows, vectors", SHAPES)
def test_put_writes_its_rows_and_nothing_between_them(rows, vectors, dtype):
    wide = vectors * lanes_of(dtype)
    array, out = numbers(rows * wide, dtype), np.full(1 + rows * (wide + 2) - 2, 77, dtype)
    run_put(out, array, shape_of(rows, vectors))
    expected = np.full(rows * (wide + 2), 77, dtype).reshape(rows, -1)
    expected[:, :wide] = array.reshape(rows, wide)
    assert out[0] == 77 and np.array_equal(out[1:], expected.ravel()[:-2])
    short_of_one(run_put, [out, array], shape_of(rows, vectors))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_load_between_reads_only_its_lanes(dtype):
    n = lanes_of(dtype)
    array, out = numbers(1 + n, dtype), np.empty(n, dtype)
    for first in range(-2, n + 2):
        for last in range(-1, n + 3):
            expected = np.zeros(n, dtype)
            low, high = max(first, 0), min(last, n)
            if low < high:
                expected[low:high] = array[1 + low : 1 + high]
            needed = array[: 1 + high] if low < high else array[:0]
            run_load_between(out, needed, first, last)
            assert np.array_equal(out, expected), (first, last)
            if CHECKED and low < high:
                with pytest.raises(IndexError):
                    run_load_between(out, needed[:-1], first, last)


def meetings(height, stride, rows, dtype):
    """A plane in phases, exactly large enough: line L is line L // stride of phase L % stride; its lines; its place."""
    n = lanes_of(dtype)
    pitch, phase = n + 1, 1 + (n + 1) * (rows + height)
    place = [1 + L % stride * phase + L // stride * pitch for L in range((rows - 1) * stride + height)]
    plane = numbers(max(place) + n, dtype, 1)
    return plane, np.array([plane[at : at + n] for at in place])


MEETINGS = pytest.mark.parametrize("height, stride, rows", [(3, 1, 4), (5, 2, 3), (1, 2, 2), (2, 3, 2)])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@MEETINGS
def test_slide_adds_a_column_of_taps_to_each_row(height, stride, rows, dtype):
    n, (plane, cells) = lanes_of(dtype), meetings(height, stride, rows, dtype)
    start, weights = numbers(rows * n, dtype), numbers(2 + 2 * (height - 1), dtype, 2)
    out, arguments = np.empty(rows * n, dtype), (shape_of(rows, 1), (shape_of(height, 1), (0,) * stride))
    run_slide(out, start, plane, weights, *arguments)
    added = [(weights[1::2, np.newaxis] * cells[r * stride :][:height]).sum(axis=0) for r in range(rows)]
    assert np.array_equal(out.reshape(rows, n), start.reshape(rows, n) + added)
    short_of_one(run_slide, [out, start, plane, weights], *arguments)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@MEETINGS
def test_weigh_adds_to_each_tap_what_its_lines_and_the_flow_make(height, stride, rows, dtype):
    n, (plane, cells) = lanes_of(dtype), meetings(height, stride, rows, dtype)
    start, flows = numbers(height * n, dtype), numbers(rows * n, dtype, 2)
    out, taps = np.empty(height * n, dtype), ((0,) * height, (0,) * stride)
    run_weigh(out, start, flows, plane, shape_of(height, 1), shape_of(rows, 1), taps)
    added = [(flows.reshape(rows, n) * cells[u::stride][:rows]).sum(axis=0) for u in range(height)]
    assert np.array_equal(out.reshape(height, n), start.reshape(height, n) + added)
    short_of_one(run_weigh, [out, start, flows, plane], shape_of(height, 1), shape_of(rows, 1), taps)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("count", [-1, 0, 1, 2, 99])
def test_words_for_one_vector(count, dtype):
    n = lanes_of(dtype)
    array, out = numbers(1 + max(3, n), dtype), np.full(4 * n + 1, 77, dtype)
    run_words(out, array, count)
    count = min(max(count, 0), n)
    assert np.array_equal(out[:n], array[1 : 1 + n])
    assert np.array_equal(out[n : 2 * n], [*array[1 : 1 + count], *[77] * (n - count)])
    assert (out[2 * n : 3 * n] == array[2]).all()
    assert np.array_equal(out[3 * n : 4 * n], array[:n] * array[1 : 1 + n] + array[2])
    assert out[4 * n] == array[1 : 1 + n].sum()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_shuffles_move_each_number_to_its_place(dtype):
    n = lanes_of(dtype)
    array, two = np.arange(2 * n, dtype=dtype), np.empty(2 * n, dtype)
    run_every_second(two, array)
    assert np.array_equal(two, [*array[::2], *array[1::2]])
    run_in_turns(two, array)
    assert np.array_equal(two, array.reshape(2, n).T.ravel())


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [((0, 0),) * 8, ((0,) * 4,), ((0,),)])
def test_prefetch_asks_for_each_line_of_a_block_and_changes_nothing(shape, dtype):
    out = np.arange(1000, dtype=dtype)
    for index in (0, 3, 999, -5, 10**9):  # it is a hint: it may go anywhere
        run_prefetch(out, index, 100, shape)
    assert np.array_equal(out, np.arange(1000))
    if not numba.config.DISABLE_JIT:
        fresh = numba.njit(run_prefetch.py_func)  # kept code cannot be looked at
        fresh(out, 0, 100, shape)
        (text,), lines = fresh.inspect_asm().values(), -(-len(shape[0]) * REGISTER_BYTES // 64)
        assert text.count("\tprefetch") + text.count("\tprfm") == len(shape) * lines
        (llvm,), written = fresh.inspect_llvm().values(), int(len(shape) > 1)  # a single row is to be read
        assert llvm.count(f"i32 {written}, i32 3, i32 1)") == len(shape) * lines


def test_nothing_is_read_across_in_order():
    array = np.arange(3, 6, dtype=np.float32)
    assert run_in_order(array) == 6 and array.tolist() == [3, 4, 5]
    if not numba.config.DISABLE_JIT and not numba.config.BOUNDSCHECK:
        fresh = numba.njit(run_in_order.py_func)
        fresh(array)
        (text,) = fresh.inspect_llvm().values()
        before, after = text.split("~{memory}")  # a call to an empty piece of code
        assert before.count("load float") == after.split("ret i32")[0].count("load float") == 1


@ONLY_COMPILED
@pytest.mark.parametrize("shape", [shape_of(16, 1), shape_of(8, 2)])
def test_places_of_narrow_blocks_and_columns_begin_anew_with_each_step(shape):
    fresh, array = numba.njit(run_multiply.py_func), np.ones(2000, np.float32)
    fresh(array, array.copy(), array.copy(), array.copy(), shape)
    (text,) = fresh.inspect_llvm().values()
    assert ('asm "", "=r,0"' in text) == (len(shape[0]) == 1 and REGISTER_BYTES == 64)
    fresh, column = numba.njit(run_slide.py_func), shape_of(3, 1)
    fresh(array, array.copy(), array.copy(), array.copy(), column, (column, (0,)))
    (text,) = fresh.inspect_llvm().values()
    assert ('asm "", "=r,0"' in text) == (REGISTER_BYTES == 64)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_transpose_writes_columns_as_rows(dtype):
    n = lanes_of(dtype)
    array = np.arange(1 + n * (n + 2) - 2, dtype=dtype)
    out = np.full(2 + n * (n + 1) - 1, -1, dtype)
    run_transpose(out, array)
    assert np.array_equal(rows_at(out, 2, n + 1, n, n), rows_at(array, 1, n + 2, n, n).T)
    assert (out[:2] == -1).all() and (out[2 + n :: n + 1] == -1).all()
    short_of_one(run_transpose, [out, array])


@pytest.mark.parametrize("count", [0, 1, 2, 7, 100])
@pytest.mark.parametrize("jobs", [1, 2, 3, 8])
def test_shares_are_all_things_once_in_order(count, jobs):
    parts = [range(*blocks.share(job, jobs, count)) for job in range(jobs)]
    assert [each for part in parts for each in part] == list(range(count))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


@pytest.mark.skipif(not CHECKED, reason="indices are not checked")
def test_nothing_before_an_array_is_read_or_written():
    @compiled
    def number(array, place, shape):
        return blocks.spread(array, place, 1, shape)[0][0]

    @compiled
    def copy(array, out, place, to, shape):
        blocks.put(out, to, 0, blocks.take(array, place, 0, shape))

    array, shape = np.zeros(100, np.float32), shape_of(1, 1)
    copy(array, array.copy(), 0, 0, shape)
    for place, to in ((-1, 0), (0, -1)):
        with pytest.raises(IndexError):
            copy(array, array.copy(), place, to, shape)
    with pytest.raises(IndexError):
        copy_number(number, array, -1, shape)


def copy_number(number, array, place, shape):
    """A vector cannot leave compiled code, but inside of it can be stored."""

    @compiled
    def stored(array, out, place, shape):
        store(out, 0, number(array, place, shape))

    stored(array, np.zeros(lanes_of(array.dtype), array.dtype), place, shape)


def read_only(array):
    array.flags.writeable = False
    return array


@ONLY_COMPILED
@pytest.mark.parametrize("name", ["put", "transpose"])
def test_what_must_not_be_written_is_refused_when_it_is_compiled(name):
    function, shape = globals()[f"run_{name}"], [shape_of(1, 1)] if name == "put" else []
    for out in (read_only(np.zeros(999)), np.zeros(999)[::2]):
        with pytest.raises(numba.TypingError, match=f"{name}: expected an array"):
            function(out, np.zeros(999), *shape)
    with pytest.raises(numba.TypingError, match=f"{name}: expected vectors of float32"):
        function(np.zeros(999, np.float32), np.zeros(999), *shape)


@ONLY_COMPILED
@pytest.mark.parametrize("which", [1, 2, 3])
def test_numbers_of_two_kinds_are_not_multiplied(which):
    arrays = [np.zeros(999) for _ in range(4)]
    arrays[which] = np.zeros(999, np.float32)
    with pytest.raises(numba.TypingError, match="multiply: expected numbers of one type"):
        run_multiply(*arrays, shape_of(2, 1))
    arrays[which] = np.zeros(999)[::2]
    with pytest.raises(numba.TypingError, match="expected an array without gaps"):
        run_multiply(*arrays, shape_of(2, 1))


@ONLY_COMPILED
def test_whole_numbers_are_no_vectors():
    for name in ("take", "spread"):
        with pytest.raises(numba.TypingError, match=f"{name}: expected floating-point numbers"):
            globals()[f"run_{name}"](np.zeros(99), np.zeros(99, np.int64), shape_of(1, 1))
