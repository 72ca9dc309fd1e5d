"""What else a layer costs: memory, and the first call, which compiles. Each is measured in a process of its own.

This module is also the program of these processes:

    python -m benchmarks.costs memory res56 forward 2       bytes that the call needed, besides its result
    python -m benchmarks.costs first_call res56 forward 1   seconds of the first call of a function
"""

import gc
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from itertools import product
from pathlib import Path

from benchmarks.peers import Convlib
from benchmarks.shapes import CASES, TOY, random_data

ROOT = Path(__file__).parents[1]
STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
# Freed memory goes back to the system at once, and nothing is handed out in pieces of megabytes.
EXACT = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "0", "NUMPY_MADVISE_HUGEPAGE": "0"}
# One layer for each way to compute: tiny, in the middle of a network, with a stride, depthwise, with large kernels.
FIRST_CALLS = (TOY, "res56", "s2", "pw56", "k5", "dw56")


def memory(cases, directions, threads):
    """Return the memory that each case needs besides its arrays; nothing where the system does not tell.

    The workspaces that convlib keeps from call to call count: the call that is measured has to make them. The toy is
    left out: there is nothing to see below the size of a page.
    """
    if not CLEAR.exists():
        return []
    rows = []
    for case, direction in product(cases, directions):
        if case.name != TOY:
            extra = in_another_process("memory", case.name, direction, threads, EXACT)
            arrays = arrays_bytes(case)
            rows.append({"case": case.name, "direction": direction, "threads": threads, "extra_bytes": extra,
                         "arrays_bytes": arrays, "ratio": extra / arrays})
    return rows


def arrays_bytes(case):
    """Return the size of input, weights, biases and output in float32; their gradients are as large."""
    return sum(array.nbytes for array in random_data(case))


def own_memory(case, direction, threads):
    """Return by how many bytes this process grows at most during one call, less its result."""
    function = Convlib.prepare(case, random_data(case))[direction]
    Convlib.use_threads(1)
    # Another thread loads the code. Its workspace goes when it ends; the code stays.
    loading = threading.Thread(target=function)
    loading.start()
    loading.join()
    Convlib.use_threads(threads)
    gc.collect()
    CLEAR.write_text("5")  # the peak begins anew
    before = status("VmRSS")
    result = function()
    return max(0, status("VmHWM") - before - sum(array.nbytes for array in Convlib.arrays(result)))


def status(name):
    """Return one number of what Linux says about this process, in bytes."""
    [line] = [line for line in STATUS.read_text().splitlines() if line.startswith(f"{name}:")]
    return int(line.split()[1]) * 1024


def first_calls(cases, directions):
    """Return the seconds of first calls: cold, where everything is compiled, and warm, in the next process."""
    rows = []
    for case, direction in product(cases, directions):
        if case.name in FIRST_CALLS:
            with tempfile.TemporaryDirectory() as empty:
                cold, warm = (in_another_process("first_call", case.name, direction, 1, {"NUMBA_CACHE_DIR": empty})
                              for _ in range(2))
            rows.append({"case": case.name, "direction": direction, "cold": cold, "warm": warm})
    return rows


def own_first_call(case, direction, threads):
    """Return the seconds of the first call in this process, on one core."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    function = Convlib.prepare(case, random_data(case))[direction]
    Convlib.use_threads(threads)
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def in_another_process(what, case, direction, threads, environment):
    command = [sys.executable, "-m", "benchmarks.costs", what, case, direction, str(threads)]
    done = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True,
                          env={**os.environ, **environment})
    return json.loads(done.stdout)


def main(what, name, direction, threads):
    [case] = [case for case in CASES if case.name == name]
    print(json.dumps({"memory": own_memory, "first_call": own_first_call}[what](case, direction, int(threads))))


if __name__ == "__main__":
    main(*sys.argv[1:])
