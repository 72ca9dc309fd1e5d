"""Whatever interrupts a call: no job writes after it, and the next call is right (tests/check_interrupts.py)."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from test_functional import COMPILED, SLOW

import convlib
from convlib import algorithms, parallel, remember, shapes

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.skipif(SLOW or not COMPILED, reason="about compiled code")


def run(program, *arguments):
    done = subprocess.run(
        [sys.executable, *program, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=3000,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, f"exit code {done.returncode}\n{done.stdout[-1000:]}{done.stderr[-3000:]}"
    return done.stdout


@pytest.mark.skipif(not hasattr(__import__("signal"), "setitimer"), reason="no such timer on this system")
@pytest.mark.parametrize("pool", ["board", "alone"])
def test_signals_at_random_moments(pool):
    assert "2000 calls" in run(["tests/check_interrupts.py"], pool, "2000")


BY_KERNELS = sorted(set(algorithms.ALGORITHMS) - {"numpy", "places", "pixels"})


@pytest.mark.parametrize("name", BY_KERNELS)
def test_a_call_in_the_middle_of_another_has_memory_of_its_own(name, monkeypatch):
    """As in a handler of a signal, between any two kernels of a call."""
    random, run_kernel, inside = np.random.default_rng(0), parallel.run, []

    def results(seed):
        groups, channels = (6, 6) if name == "planes" else (1, 20)
        side, kernel = (1, 1) if name == "few" else (14, 3)
        x = random.standard_normal((3, channels, side, side)).astype("f") + seed
        w = random.standard_normal((channels, channels // groups, kernel, kernel)).astype("f")
        tiled = {"padding": 0, "stride": kernel} if name == "patches" else {"padding": kernel // 2}
        given = {**tiled, "groups": groups, "algorithm": name}
        y = convlib.conv2d(x, w, **given)
        grad_weight = convlib.conv2d_weight_grad(x, w.shape, y, **given)
        return [y, convlib.conv2d_input_grad(x.shape, w, y, **given), grad_weight]

    def run(*arguments):
        if not inside:
            inside.append(True)
            state = random.bit_generator.state
            results(5)
            random.bit_generator.state = state
            inside.pop()
        run_kernel(*arguments)

    state = random.bit_generator.state
    known = results(0)
    random.bit_generator.state = state
    monkeypatch.setattr(parallel, "run", run)
    for one, other in zip(known, results(0), strict=True):
        np.testing.assert_array_equal(one, other)


# --- where no thread can be started -------------------------------------------------------------------------------

LAYERS = """
import sys
import numpy as np
import convlib
from convlib import functional
functional.ENOUGH = 1
def compute():
    x, w = np.ones((4, 8, 20, 20), "f"), np.ones((9, 8, 3, 3), "f")
    for name in ("product", "numpy"):
        assert abs(convlib.conv2d(x, w, padding=1, algorithm=name)[0, 0, 5, 5] - 72) < 0.01
    print("computed", flush=True)
convlib.set_num_threads(1); compute(); convlib.set_num_threads(3)
"""


def test_without_any_new_thread_the_caller_does_the_work():
    assert run(["-c", LAYERS + "import threading; threading.stack_size(1 << 46); compute()"]).count("computed") == 2


def test_at_the_end_of_python():
    """Python starts no thread any more in there; before and after convlib's own handler."""
    program = "import atexit; atexit.register(lambda: compute())" + LAYERS + "atexit.register(compute)"
    assert run(["-c", program]).count("computed") == 3


def test_in_a_thread_that_outlives_the_main_program():
    program = LAYERS + "import threading; threading.Thread(target=compute).start()"
    assert run(["-c", program]).count("computed") == 2


# --- plain functions ----------------------------------------------------------------------------------------------


def test_a_plain_function_does_its_jobs_one_after_the_other():
    done, places = [], []

    def note(job, jobs, workspace):
        done.append((threading.get_ident(), job, jobs))
        places.append(workspace)

    parallel.run(note, 5, 3, np.float32)
    assert done == [(threading.get_ident(), job, 5) for job in range(5)]
    assert not any(np.shares_memory(one, other) for one in places for other in places if one is not other)


def test_after_an_interruption_memory_is_nobody_elses():
    """It may still be in use somewhere: only what a call gave back is lent again."""
    seen = []

    def kernel(job, jobs, workspace):
        seen.append(workspace)
        raise KeyboardInterrupt

    for jobs in (1, 3):
        with pytest.raises(KeyboardInterrupt):
            parallel.run(kernel, jobs, 10, np.float32)
    others = [parallel.borrow("workspace", 1, np.dtype(np.float32)) for _ in range(3)]
    assert len(seen) == 2 and not any(np.shares_memory(one, other) for one in others for other in seen)


# --- memory is given back -----------------------------------------------------------------------------------------

MEMORY = """
import ctypes, gc, sys
import numpy as np
import convlib
from convlib import algorithms, parallel, shapes
def resident():
    getattr(ctypes.CDLL(None), "malloc_trim", lambda room: None)(0)  # what the C library keeps is not ours
    return int(open("/proc/self/statm").read().split()[1]) * 4096 / 2**20
def passes(name, size, weight_size, options):
    d = np.ones(shapes.output_shape(shapes.conv2d_geometry(size, weight_size, **options)), "f")
    x, w = np.ones(size, "f"), np.ones(weight_size, "f")
    given = options | {"algorithm": name}
    yield lambda: convlib.conv2d(x, w, **given)
    yield lambda: convlib.conv2d_input_grad(size, w, d, **given)
    yield lambda: convlib.conv2d_weight_grad(x, weight_size, d, **given)
convlib.set_num_threads(2)
for name in algorithms.ALGORITHMS:
    for channels, groups, side in ((1, 1, 2400), (16, 1, 600), (16, 16, 600)):
        sizes = lambda side: ((1, channels, side, side), (channels, channels // groups, 3, 3))
        options = {"padding": 1, "groups": groups}
        dtype = np.dtype("f")
        if not algorithms.suits(name, shapes.conv2d_geometry(*sizes(side), **options), dtype):
            continue
        for large in passes(name, *sizes(side), options):  # compile, or load what was compiled
            large()
        vars(parallel._kept).clear()
        before = resident()
        for large in passes(name, *sizes(side + 24), options):
            large()
        del large
        gc.collect()
        kept = resident() - before
        held = sum(array.nbytes for array in vars(parallel._kept).values()) / 2**20
        print(name, channels, groups, f"{kept:.0f} MB kept, {held:.0f} of them held")
        assert held <= 4 * 16, name
        assert kept < held + 12, name  # one image is 23
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="memory as Linux counts it")
def test_memory_of_large_calls_is_given_back():
    """Images of 23 MB: what stays is what convlib says it keeps, and a few megabytes of the system's own."""
    assert run(["-c", MEMORY]).count("kept") >= 10


def test_what_is_kept_has_a_bound():
    dtype = np.dtype(np.float64)
    large = parallel.borrow("some test", parallel.KEPT // 8 + 1, dtype)
    parallel.give_back("some test", large)
    assert "some testd" not in vars(parallel._kept)


def test_plans_are_forgotten_when_there_are_too_many():
    made = []

    @remember.remembered
    def plan(number):
        made.append(number)
        return (np.zeros(number // 8), (number,))

    assert plan(800) is plan(800) and made == [800]
    plan(remember.REMEMBERED * 2)
    plan(remember.REMEMBERED * 2)  # never kept
    assert plan(800) is plan(800) and made == [800, *[remember.REMEMBERED * 2] * 2]
    for number in range(8, 8 * 9, 8):
        plan(remember.REMEMBERED // 5 // 8 * 8 + number)
    assert plan(800) is plan(800) and made.count(800) == 2  # it made room for others


def test_plans_of_large_kernels_are_not_kept():
    """A table has an entry for each tap: without a limit by bytes, hundreds of such plans would stay."""
    from convlib.kernels import planes, scatter, weights

    g = shapes.conv2d_geometry((1, 4, 600, 600), (4, 2, 600, 600), 2, 1, 1, 2)
    assert planes._plan(g, "forward", "f") is not planes._plan(g, "forward", "f")
    for make in (scatter._scattering, weights._sides):
        assert make(g, 16) is not make(g, 16), make
