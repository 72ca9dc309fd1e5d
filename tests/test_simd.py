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

from convlib.kernels import blocks, board, shuffles, simd  # noqa: E402
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
def store_block(array, other):
    blocks.store_block(array, 0, 16, (simd.load(other, 0), simd.load(other, 0)))


@compiled
def store_many(array, other):
    blocks.store_many(array, 0, 16, (simd.load(other, 0), simd.load(other, 0)))


@compiled
def transpose(array, other):
    shuffles.transpose(other, 0, 16, array, 0, 16)


@compiled
def put(array, other):
    board.put(array, 0, 1)


@compiled
def add(array, other):
    board.add(array, 0, 1)


@compiled
def replace(array, other):
    board.replace(array, 0, 0, 1)


VECTORS = [store, store_some, store_block, store_many, transpose]


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


@pytest.mark.parametrize("word", [put, add, replace], ids=lambda word: word.__name__)
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
    writing, asking = {"store", "store_atomic", "atomic_rmw", "cmpxchg", "_write"}, {"check_array", "check_written"}
    seen = 0
    for path in sorted((ROOT / "convlib" / "kernels").glob("*.py")):
        for function in ast.parse(path.read_text()).body:
            decorators = getattr(function, "decorator_list", ())
            if not any(getattr(each, "id", "") == "intrinsic" for each in decorators):
                continue
            calls = [node.func for node in ast.walk(function) if isinstance(node, ast.Call)]
            names = {getattr(each, "attr", getattr(each, "id", "")) for each in calls}
            words = {node.value for node in ast.walk(function) if isinstance(node, ast.Constant)}
            if names & writing or {"_masked", "store"} <= names | words:
                seen += 1
                assert names & (asking | {"_check_board"}), f"{path.name}: {function.name}"
    assert seen >= 9


PROGRAM = """
import numpy as np
from convlib.kernels import simd
@simd.compiled
def doubled(numbers):
    for x in range(0, numbers.size, simd.lanes(numbers)):
        y = simd.load(numbers, x)
        simd.store(numbers, x, simd.fma(simd.broadcast(numbers, 0), y, y))
numbers = np.arange(1.0, 65.0)
doubled(numbers)
assert numbers[0] == 2 and numbers[-1] == 2 * 64 + 64
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
