"""The compile cache is only a cache: whatever happens to its files, results stay right, and one warning says so."""

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

numba = pytest.importorskip("numba")
if numba.config.DISABLE_JIT:
    pytest.skip("about compiled code", allow_module_level=True)

from convlib import code_cache  # noqa: E402
from convlib.kernels import simd  # noqa: E402
from convlib.kernels.simd import compiled  # noqa: E402

ROOT = Path(__file__).parents[1]

# One small function of the library, compiled or taken from the cache.
PROGRAM = """
import json, sys, warnings
warnings.simplefilter("always")
with warnings.catch_warnings(record=True) as caught:
    import numpy as np
    from convlib.kernels import pooling, simd
    {before}
    def added(flow, dtype):
        grad = np.zeros((1, 40), dtype)
        places = np.full((1, 2), 7)
        pooling.max_pool2d_input_grad(0, 1, places, np.full((1, 2), flow, dtype), grad, np.zeros(1, dtype))
        return float(grad[0, 7])
    answers = [added(flow, dtype) for dtype in ("f", "d") for flow in (1.5, np.inf)]
stats = pooling.max_pool2d_input_grad.stats
print(json.dumps({{"answers": answers, "hits": sum(stats.cache_hits.values()),
                   "misses": sum(stats.cache_misses.values()), "warnings": [str(w.message) for w in caught]}}))
"""
RIGHT = [3.0, float("inf")] * 2


def run(folder, before="", path=ROOT, **environment):
    environment = {**os.environ, "PYTHONPATH": str(path), "NUMBA_CACHE_DIR": str(folder), **environment}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(before=before)],
        env=environment, cwd=path, capture_output=True, text=True, timeout=3000,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def kept_files(folder):
    return sorted(folder.rglob("*.nbc"))


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    """A folder with the code of one process."""
    folder = tmp_path_factory.mktemp("code")
    first = run(folder)
    assert first["answers"] == RIGHT and first["misses"] == 2 and not first["warnings"] and len(kept_files(folder)) == 2
    second = run(folder)
    assert second["answers"] == RIGHT and second["hits"] == 2 and second["misses"] == 0 and not second["warnings"]
    return folder


def copy_of(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "copy")
    return tmp_path / "copy"


def middle_byte_flipped(content):
    place = len(content) // 2
    return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


@pytest.mark.parametrize(
    "damage",
    [lambda content: b"", lambda content: content[:20], lambda content: content[:-1], middle_byte_flipped,
     lambda content: b"\0" * len(content), lambda content: content + b"x"],
    ids=["empty", "checksum cut", "one byte short", "one bit turned", "zeros", "one byte more"],
)  # fmt: skip
def test_damaged_files_are_noticed_and_written_anew(filled, tmp_path, damage):
    folder = copy_of(filled, tmp_path)
    for path in kept_files(folder):
        path.write_bytes(damage(path.read_bytes()))
    said = run(folder)
    assert said["answers"] == RIGHT and said["misses"] == 2
    assert len(said["warnings"]) == 1 and "damaged" in said["warnings"][0]
    again = run(folder)
    assert again["answers"] == RIGHT and again["hits"] == 2 and not again["warnings"]


def test_code_for_one_list_of_types_never_serves_another(filled, tmp_path):
    """As after a race of two writers: the files of two data types have changed places."""
    folder = copy_of(filled, tmp_path)
    first, second = kept_files(folder)
    contents = first.read_bytes(), second.read_bytes()
    first.write_bytes(contents[1])
    second.write_bytes(contents[0])
    said = run(folder)
    assert said["answers"] == RIGHT and said["misses"] == 2 and "damaged" in said["warnings"][0]


def test_files_without_permission_or_that_are_folders(filled, tmp_path):
    folder = copy_of(filled, tmp_path)
    for path in kept_files(folder):
        path.unlink()
        path.mkdir()
    said = run(folder)
    assert said["answers"] == RIGHT and len(said["warnings"]) == 1


def test_a_full_disk_is_said_once(tmp_path):
    before = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))"
    if sys.platform == "win32":
        pytest.skip("no such limit on this system")
    said = run(tmp_path, before)
    assert said["answers"] == RIGHT and len(said["warnings"]) == 1 and "could not be kept" in said["warnings"][0]
    assert not kept_files(tmp_path) and not list(tmp_path.rglob("*.tmp"))


def test_a_change_in_any_module_makes_all_kept_code_stale(tmp_path):
    shutil.copytree(ROOT / "convlib", tmp_path / "convlib", ignore=shutil.ignore_patterns("__pycache__"))
    folder = tmp_path / "code"
    assert run(folder, path=tmp_path)["misses"] == 2
    with (tmp_path / "convlib" / "kernels" / "few.py").open("a") as file:
        file.write("\n# another line\n")
    said = run(folder, path=tmp_path)
    assert said["answers"] == RIGHT and said["misses"] == 2 and len(kept_files(folder)) == 2  # the old ones are gone


def test_code_for_another_processor_is_not_taken(filled, tmp_path):
    folder = copy_of(filled, tmp_path)
    said = run(folder, NUMBA_CPU_NAME="x86-64", NUMBA_CPU_FEATURES="") if simd.REGISTER_BYTES > 16 else None
    assert said is None or said["answers"] == RIGHT and said["misses"] == 2 and len(kept_files(folder)) == 4


def test_many_writers_at_once(tmp_path):
    said = []
    threads = [threading.Thread(target=lambda: said.append(run(tmp_path))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [each["answers"] for each in said] == [RIGHT] * 3 and not any(each["warnings"] for each in said)
    assert run(tmp_path)["hits"] == 2


def test_a_cell_of_a_notebook_is_compiled_anew_after_another_cell_changed():
    """Two sessions with the same cell, after different ones: their code has different names."""
    stamps = []
    for first in ("STEP = 1", "STEP = 2"):
        session = {"In": ["", first]}
        exec("def step(number):\n    return number + STEP", session | {"STEP": 1}, session)
        function = type(session["step"])(session["step"].__code__, session)
        stamps.append(code_cache._made_from(function))
    assert stamps[0] != stamps[1]


NAMED_TUPLE = """
from typing import NamedTuple
import numpy as np
from convlib import parallel
from convlib.kernels.simd import compiled
class Plan(NamedTuple):
    step: int
@compiled
def kernel(job, jobs, plan, sums, workspace):
    sums[job] += plan.step
sums = np.zeros(3)
for _ in range(5):
    parallel.run(kernel, 3, 1, np.float32, Plan(2), sums)
assert sums.tolist() == [10] * 3
"""


def test_a_class_of_a_program_is_another_one_in_the_next_process(tmp_path):
    """So code that was kept for it must not be taken for that of this process."""
    program = tmp_path / "program.py"
    program.write_text(NAMED_TUPLE)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "NUMBA_CACHE_DIR": str(tmp_path / "code")}
    for _ in range(3):
        command = [sys.executable, str(program)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=3000)
        assert done.returncode == 0, done.stderr


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_forked_while_another_thread_compiles():
    from test_processes import in_a_forked_child

    def compile_again():
        assert compiled(lambda number: number + 1)(1) == 2

    def keep_compiling():
        while not stop.is_set():
            compile_again()

    stop, thread = threading.Event(), threading.Thread(target=lambda: keep_compiling(), daemon=True)
    thread.start()
    try:
        codes = []
        for _ in range(100):
            time.sleep(0.01)
            codes.append(in_a_forked_child(compile_again, timeout=300))
    finally:
        stop.set()
        thread.join(timeout=600)
    assert codes == [0] * 100


# --- what is refused ----------------------------------------------------------------------------------------------

table, pair = np.zeros(8), (1, np.zeros(2))


class Holder:
    """In place of a module that holds an array."""


def uses_global(numbers):
    numbers[0] = table[0]


def uses_tuple(numbers):
    numbers[0] = pair[0]


def uses_module(numbers):
    numbers[0] = sys_of_arrays.table[0]


def uses_default(numbers, other=np.zeros(3)):  # noqa: B008
    numbers[0] = other[0]


sys_of_arrays = sys.modules[__name__]


@pytest.mark.parametrize("function", [uses_global, uses_tuple, uses_module, uses_default])
def test_an_array_that_is_no_argument_is_refused(function):
    with pytest.raises(TypeError, match=f"^{function.__name__}: expected arrays as arguments"):
        compiled(function)


def test_an_array_of_the_function_around_is_refused():
    numbers = np.zeros(3)
    with pytest.raises(TypeError, match="uses the array numbers as a constant"):
        compiled(lambda: numbers[0])


def test_an_array_that_comes_later_is_refused_when_it_is_compiled(monkeypatch):
    namespace = {"__file__": __file__, "__name__": __name__}
    exec(compile("def late():\n    return numbers[0]", __file__, "exec"), namespace)
    function = compiled(namespace["late"])
    namespace["numbers"] = np.zeros(3)
    with pytest.raises(TypeError, match="late: .* uses the array numbers"):
        function()
