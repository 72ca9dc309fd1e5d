"""Threads, processes, and machines on which something is missing: convlib computes the same there."""

import itertools
import json
import os
import shutil
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from test_functional import COMPILED, SLOW, assert_equal, means, oracle, ours, some_layers

import convlib
from convlib import parallel

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.skipif(SLOW, reason="about compiled code")
compiled_only = pytest.mark.skipif(not COMPILED, reason="Numba is missing")

# A small program: a layer as a product, by two threads, and by planes, forward and back.
PROGRAM = """
import json, sys, warnings
import numpy as np
{before}
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    import convlib
    from convlib import algorithms, functional, parallel
functional.ENOUGH = 1
convlib.set_num_threads(2)
sums = []
for name in ("product", "planes") if "product" in algorithms.ALGORITHMS else (None, None):
    options = {{"padding": 1, "algorithm": name}}
    for dtype in ("f", "d"):
        random = np.random.default_rng(0)
        x, w, d = (random.integers(-3, 4, size).astype(dtype) for size in ((2, 4, 9, 9), (6, 4, 3, 3), (2, 6, 9, 9)))
        y, gx = convlib.conv2d(x, w, **options), convlib.conv2d_input_grad(x.shape, w, d, **options)
        gw = convlib.conv2d_weight_grad(x, w.shape, d, **options)
        sums += [float((result * np.arange(result.size).reshape(result.shape)).sum()) for result in (y, gx, gw)]
hits = misses = kept = 0
if "product" in algorithms.ALGORITHMS:
    from convlib.kernels import planes, product, weights
    for dispatcher in (product._product, product.pack, weights._weight_product, planes._meet_planes):
        hits += sum(dispatcher.stats.cache_hits.values())
        misses += sum(dispatcher.stats.cache_misses.values())
        kept += dispatcher.stats.cache_path is not None
print(json.dumps({{"sums": sums, "warnings": [str(each.message) for each in caught], "hits": hits,
                   "misses": misses, "kept": kept, "file": convlib.__file__}}))
"""


def in_another_process(before="", path=ROOT, **environment):
    """What the program says, run with other settings."""
    environment = {**os.environ, "PYTHONPATH": str(path), "PYTHONDONTWRITEBYTECODE": "1", **environment}
    program = PROGRAM.format(before=textwrap.dedent(before))
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=path, env=environment, capture_output=True, text=True, timeout=1800
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def sums_here():
    """What the program must say, from the oracle."""
    sums = []
    random = np.random.default_rng(0)
    x, w, d = (random.integers(-3, 4, size).astype("d") for size in ((2, 4, 9, 9), (6, 4, 3, 3), (2, 6, 9, 9)))
    for result in oracle(x, w, np.zeros(6), d, {"padding": 1})[:3]:
        sums.append(float((result * np.arange(result.size).reshape(result.shape)).sum()))
    return 4 * sums


# --- threads ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_several_python_threads_at_once(threads):
    """Each with its own layers, over and over, all starting together."""
    cases = [layer for dtype in "fd" for layer in some_layers(dtype)]
    expected = [oracle(*arrays, options) for *arrays, options in cases]
    start, wrong = threading.Barrier(6), []

    def work(first):
        try:
            start.wait(timeout=600)
            for index in range(first, first + 2 * len(cases)):
                *arrays, options = cases[index % len(cases)]
                assert_equal(ours(*arrays, options), expected[index % len(cases)])
        except BaseException as error:
            wrong.append(error)

    with means("product", enough=1, threads=threads):
        workers = [threading.Thread(target=work, args=(7 * k,), daemon=True) for k in range(6)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join(timeout=600)
    assert not any(worker.is_alive() for worker in workers)
    assert not wrong, wrong


def test_each_thread_and_data_type_has_its_own_workspace():
    seen = []
    parallel.run(lambda job, jobs, workspace: (time.sleep(0.1), seen.append(workspace)), 3, 10, np.float64)
    assert not any(np.shares_memory(a, b) for n, a in enumerate(seen) for b in seen[:n])
    assert all(each.dtype == np.float64 and each.size >= 10 for each in seen) and len(seen) == 3
    places = sorted(each.ctypes.data for each in seen)  # what a core fetches ahead ends with its page
    assert all(b - a >= 10 * 8 + parallel.PAGE and a % parallel.CACHE_LINE == 0 for a, b in itertools.pairwise(places))


def test_kept_memory_has_a_name_and_grows():
    double, single = np.dtype(np.float64), np.dtype(np.float32)

    def borrowed_and_given_back(name, size, dtype):
        array = parallel.borrow(name, size, dtype)
        parallel.give_back(name, array)
        return array

    first = borrowed_and_given_back("some test", 10, double)
    assert borrowed_and_given_back("some test", 5, double) is first and first.size == 10
    assert borrowed_and_given_back("some test", 10, single).dtype == single
    others = [borrowed_and_given_back("another test", 10, double), borrowed_and_given_back("some test", 1000, double)]
    assert not any(np.shares_memory(first, other) for other in others) and others[1].size == 1000
    assert all(each.ctypes.data % parallel.CACHE_LINE == 0 for each in (first, *others))


def test_borrowed_memory_belongs_to_one_call_at_a_time():
    dtype = np.dtype(np.float64)
    first = parallel.borrow("some test", 10, dtype)
    other = parallel.borrow("some test", 10, dtype)  # a call that interrupts the first one
    assert not np.shares_memory(first, other)
    parallel.give_back("some test", other)
    parallel.give_back("some test", first)
    assert parallel.borrow("some test", 10, dtype) is first


# --- fork ---------------------------------------------------------------------------------------------------------


def in_a_forked_child(function, timeout=600):
    """Exit code of a child that runs the function; -1 if it hangs."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            function()
            code = 0
        finally:
            os._exit(code)
    end = time.monotonic() + timeout
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    os.kill(child, 9)
    os.waitpid(child, 0)
    return -1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("busy", [False, True], ids=["quiet", "while other threads compute"])
def test_a_forked_child_computes_with_threads_of_its_own(busy):
    *arrays, options = some_layers("f")[0]
    expected = oracle(*arrays, options)
    stop = threading.Event()

    def check():
        for _ in range(3):
            assert_equal(ours(*arrays, options), expected)

    def keep_busy():
        while not stop.is_set():
            ours(*arrays, options)

    with means("product", enough=1, threads=3):
        check()  # the parent's threads exist
        others = [threading.Thread(target=keep_busy, daemon=True) for _ in range(2 * busy)]
        for other in others:
            other.start()
        try:
            codes = [in_a_forked_child(check) for _ in range(5 if busy else 2)]
        finally:
            stop.set()
            for other in others:
                other.join(timeout=600)
        assert codes == [0] * len(codes)
        check()  # and still work


def test_numbers_of_threads():
    with means(threads=3):
        assert convlib.get_num_threads() == 3
        convlib.set_num_threads(np.int64(2))
        assert type(convlib.get_num_threads()) is int and convlib.get_num_threads() == 2


def test_a_system_that_cannot_say_which_processors(monkeypatch):
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    assert parallel._processors() == (os.cpu_count() or 1)
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert parallel._processors() == 1


# --- without Numba ------------------------------------------------------------------------------------------------

NO_NUMBA = "sys.modules['numba'] = None"


def test_without_numba_one_warning_and_the_same_results(sums_here):
    said = in_another_process(NO_NUMBA)
    assert said["warnings"] == ["Numba is missing: convlib computes with NumPy alone"]
    assert said["sums"] == sums_here


@compiled_only
def test_the_public_functions_pass_their_tests_without_numba():
    program = f"""
import sys, warnings
{NO_NUMBA}
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import convlib
import pytest
sys.exit(pytest.main(["-q", "-p", "no:cacheprovider", "-p", "no:cov", "tests/test_functional.py",
                      "tests/test_same_bits.py", "-k",
                      "any_layer or data_types or rests or nothing or adjoint or layout or bits or infinity"]))
"""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=1800,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert " passed" in done.stdout


# --- compiled once, kept on disk ----------------------------------------------------------------------------------


@compiled_only
def test_the_second_process_compiles_nothing(tmp_path, sums_here):
    first = in_another_process(NUMBA_CACHE_DIR=str(tmp_path))
    kept = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.nb*")}
    assert first["misses"] > 0 and first["hits"] == 0 and first["kept"] == 4
    assert any(path.suffix == ".nbc" for path in kept)
    second = in_another_process(NUMBA_CACHE_DIR=str(tmp_path))
    assert second["misses"] == 0 and second["hits"] == first["misses"]
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.nb*")} == kept
    assert first["sums"] == second["sums"] == sums_here
    assert first["warnings"] == second["warnings"] == []


@compiled_only
def test_where_nothing_can_be_kept_convlib_compiles_anew(tmp_path, sums_here):
    """A read-only installation and no home; to the administrator nothing is read-only, so files stand in the way."""
    shutil.copytree(ROOT / "convlib", tmp_path / "convlib", ignore=shutil.ignore_patterns("__pycache__"))
    for folder in (tmp_path / "convlib" / "kernels", tmp_path / "convlib"):
        (folder / "__pycache__").write_text("not a folder")
    (tmp_path / "file").write_text("not a folder")
    nowhere = str(tmp_path / "file")
    said = in_another_process(path=tmp_path, HOME=nowhere, XDG_CACHE_HOME=nowhere, NUMBA_CACHE_DIR="")
    assert said["file"].startswith(str(tmp_path))
    assert said["sums"] == sums_here and said["kept"] == 0
    assert len(said["warnings"]) == 1 and "no folder that can be written to" in said["warnings"][0]
