"""The words for vectors: what they must not be given is refused when it is compiled; how long a vector is."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

numba = pytest.importorskip("numba")
if numba.config.DISABLE_JIT:
    pytest.skip("about compiled code", allow_module_level=True)

from convlib.kernels import blocks, board, simd  # noqa: E402
from convlib.kernels.simd import compiled  # noqa: E402

ROOT = Path(__file__).parents[1]


def read_only(array):
    array.flags.writeable = False
    return array


@compiled
def store(array, other):
    simd.store(array, 0, simd.load(other, 0))


@compiled
def store_some(array, other):
    simd.store_some(array, 0, simd.load(other, 0), 1)


@compiled
def put(array, other):
    blocks.put(array, 0, 16, ((simd.load(other, 0),), (simd.load(other, 0),)))


@compiled
def transpose(array, other):
    blocks.transpose(other, 0, 16, array, 0, 16)


@compiled
def add(array, other):
    board.add(array, 0, 1)


@compiled
def replace(array, other):
    board.replace(array, 0, 0, 1)


VECTORS = [store, store_some, put, transpose]


@pytest.mark.parametrize("word", VECTORS, ids=lambda word: word.__name__)
def test_words_that_write_refuse_what_they_must_not_write_to(word):
    numbers, other = np.zeros(400), np.zeros(400)
    word(numbers, other)
    name = word.__name__.split("_")[0]  # where every index is checked, one word asks for another
    for wrong in (read_only(np.zeros(400)), np.zeros(800)[::2]):
        with pytest.raises(numba.TypingError, match=rf"{name}\w*: expected an array"):
            word(wrong, other)
    if word is not transpose:
        with pytest.raises(numba.TypingError, match=rf"{name}\w*: expected vectors of float32"):
            word(np.zeros(400, np.float32), other)


@pytest.mark.parametrize("word", [add, replace], ids=lambda word: word.__name__)
def test_words_of_the_board_refuse_what_is_no_board(word):
    word(np.zeros(8, np.int64), 0)
    for wrong in (read_only(np.zeros(8, np.int64)), np.zeros(16, np.int64)[::2], np.zeros(8, np.int32)):
        with pytest.raises(numba.TypingError, match=f"{word.__name__}: expected an array"):
            word(wrong, 0)


def test_words_that_read_refuse_arrays_with_gaps():
    @compiled
    def first(array):
        return simd.total(simd.load(array, 0))

    assert first(np.ones(400)) == simd.REGISTER_BYTES // 8
    with pytest.raises(numba.TypingError, match="load: expected an array without gaps"):
        first(np.ones(800)[::2])


def test_each_word_that_writes_asks_first():
    """Whoever adds a word for the compiler that writes must let it ask, too."""
    writing, asking = {"store", "store_atomic", "atomic_rmw", "cmpxchg"}, {"check_array", "_cell"}
    seen = []
    for path in sorted((ROOT / "convlib" / "kernels").glob("*.py")):
        outer = ast.parse(path.read_text()).body
        outer = [each for node in outer for each in (node.body if isinstance(node, ast.ClassDef) else [node])]
        for function in (each for each in outer if isinstance(each, ast.FunctionDef)):
            calls = [node.func for node in ast.walk(function) if isinstance(node, ast.Call)]
            names = {getattr(each, "attr", getattr(each, "id", "")) for each in calls}
            writes = any(getattr(each, "attr", "") in writing and ast.unparse(each.value).split(".")[-1] in
                         ("builder", "b", "inside") for each in calls)
            words = {node.value for node in ast.walk(function) if isinstance(node, ast.Constant)}
            if writes or any("masked.store" in str(word) for word in words):
                seen.append(function.name)
                assert names & asking, f"{path.name}: {function.name}"
    assert sorted(seen) == ["_pack", "add", "replace", "store"]


PROGRAM = """
import numpy as np
from convlib.kernels import simd
@simd.compiled
def firsts(numbers):
    for x in range(0, numbers.size, simd.lanes(numbers)):
        simd.store(numbers, x, simd.load_between(numbers, x, 0, 1))
numbers = np.arange(1.0, 65.0)
firsts(numbers)
assert numbers[0] == 1 and numbers[-1] == 0 and np.count_nonzero(numbers) == 64 * 8 // simd.REGISTER_BYTES
print(simd.REGISTER_BYTES)
"""


@pytest.mark.skipif(simd.REGISTER_BYTES < 32, reason="this processor has no larger registers")
@pytest.mark.parametrize("name, size", [("x86-64", 16), ("haswell", 32)])
def test_vectors_are_as_long_as_the_registers_of_the_processor_that_is_named(name, size, tmp_path):
    environment = {"NUMBA_CPU_NAME": name, "NUMBA_CPU_FEATURES": "", "NUMBA_CACHE_DIR": str(tmp_path)}
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    done = subprocess.run(
        [sys.executable, str(program)], capture_output=True, text=True, timeout=3000,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [str(size)]


@compiled
def copied(source, target, index, count):
    simd.store_some(target, index, simd.load_between(source, index, 0, count), count)


@pytest.mark.parametrize("dtype", ["f", "d"])
def test_some_lanes_are_read_and_written_and_no_others(dtype):
    source = np.arange(1, 101, dtype=dtype)
    for count in range(-1, simd.lanes_of(dtype) + 3):
        target, some = np.zeros_like(source), max(0, min(count, simd.lanes_of(dtype)))
        copied(source, target, 7, count)
        np.testing.assert_array_equal(target[7 : 7 + some], source[7 : 7 + some])
        assert np.count_nonzero(target) == some
        copied(source, target, 100 - some, count if count < some else some)  # up to the last number
        np.testing.assert_array_equal(target[100 - some :], source[100 - some :])


@pytest.mark.parametrize("dtype", ["f", "d"])
def test_one_number_that_is_not_finite_is_seen_wherever_it_stands(dtype):
    for size in (0, 1, 7, 64, 101):
        numbers = np.full(size, np.finfo(dtype).max, dtype)
        assert simd.all_finite(numbers)
        for place in range(size):
            for wrong in (np.inf, -np.inf, np.nan):
                numbers[place] = wrong
                assert not simd.all_finite(numbers)
            numbers[place] = 1


OUTSIDE = """
import numpy as np
from convlib.kernels import simd
n = simd.lanes_of("f")
@simd.compiled
def load(numbers, index):
    return simd.total(simd.load(numbers, index))
@simd.compiled
def load_some(numbers, index, count):
    return simd.total(simd.load_between(numbers, index, 0, count))
@simd.compiled
def store(numbers, index):
    simd.store(numbers, index, simd.load(numbers, 0))
@simd.compiled
def store_some(numbers, index, count):
    simd.store_some(numbers, index, simd.load(numbers, 0), count)
numbers = np.ones(40, "f")
assert load(numbers, 40 - n) == n and load_some(numbers, 38, 2) == 2 and load_some(numbers, -99, 0) == 0
store(numbers, 40 - n), store_some(numbers, 38, 2), store_some(numbers, 41, -1)
calls = [(load, 41 - n), (load, -1), (load_some, 38, 3), (load_some, -1, 1), (load_some, 41 - n, 99),
         (store, 41 - n), (store, -1), (store_some, 38, 3), (store_some, -1, 1), (store_some, 41 - n, 99)]
for word, *given in calls:
    try:
        word(numbers, *given)
    except IndexError as error:
        assert "outside its array" in str(error)
    else:
        raise AssertionError((word, given))
"""


@pytest.mark.parametrize("setting", ["NUMBA_BOUNDSCHECK", "NUMBA_DISABLE_JIT"])
@pytest.mark.parametrize("name", [None, "x86-64"])
def test_what_reaches_outside_is_noticed_where_indices_are_checked(setting, name, tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "NUMBA_CACHE_DIR": str(tmp_path), setting: "1"}
    if name and simd.REGISTER_BYTES > 16:
        environment |= {"NUMBA_CPU_NAME": name, "NUMBA_CPU_FEATURES": ""}
    program = tmp_path / "program.py"
    program.write_text(OUTSIDE)
    command = [sys.executable, str(program)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=3000)
    assert done.returncode == 0, done.stderr


def test_kernels_do_not_count_who_uses_an_array():
    """Counting takes a word to all other threads, each time that an array is cut or handed on."""

    def cut(array):
        for x in range(array.size):
            part = array[x:]
            part[0] += part.size

    numbers = np.zeros(3)
    compiled(cut)(numbers)
    assert numbers.tolist() == [3, 2, 1]
    asked = compiled(cut).targetoptions
    fresh = numba.njit(**{name: asked[name] for name in ("nogil", "_nrt")})(cut)  # kept code cannot be looked at
    fresh(numbers)
    (text,) = fresh.inspect_llvm().values()
    assert "NRT_incref" not in text and "NRT_decref" not in text
