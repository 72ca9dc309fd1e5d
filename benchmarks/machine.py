"""Where it was measured, and how long convlib takes to start there. Nothing names the machine or its owner."""

import ctypes
import os
import platform
import statistics
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[1]
# What the names in /proc/cpuinfo say about vectors, on Intel and AMD and on ARM.
VECTORS = ("sse4_2", "avx", "avx2", "fma", "avx512f", "avx512_bf16", "amx_tile", "asimd", "sve", "sve2")
STARTS = 5
# The clock starts inside the new process: what Python itself needs to start is nobody's merit.
START = """
import time
begin = time.perf_counter()
import convlib
imported = time.perf_counter()
from benchmarks.shapes import HOUSE, house_data
data = house_data()
ready = time.perf_counter()
convlib.conv2d(data.input, data.weight, data.bias, 1, 1)
print(imported - begin, time.perf_counter() - ready)
"""


def description(cpuinfo=Path("/proc/cpuinfo")):
    """Return what the speed depends on."""
    about = first_processor(cpuinfo.read_text()) if cpuinfo.exists() else {}
    flags = (about.get("flags") or about.get("Features") or "").split()
    return {
        "cpu": about.get("model name") or platform.processor() or platform.machine(),
        "cores": cores(),
        "vectors": [name for name in VECTORS if name in flags],
        "system": platform.system(),
        "architecture": platform.machine(),
    }


def first_processor(text):
    """Return what Linux says about the first processor."""
    pairs = (line.split(":", 1) for line in text.split("\n\n", 1)[0].splitlines() if ":" in line)
    return {name.strip(): value.strip() for name, value in pairs}


def cores():
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def versions(measured):
    """Return the versions of Python, of what convlib stands on, and of everybody who is measured."""
    found = {"Python": platform.python_version()}
    for package in ("numpy", "numba", "llvmlite"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = None
    return {**found, **{each.name: each.version() for each in measured}}


def keep_freed_memory():
    """Tell glibc to keep what is freed; return whether it will.

    Else it gives large arrays back to the system after some calls and not after others, as chance has it. To get them
    anew takes the system as long as a small layer takes to compute, whoever computes it.
    """
    free_a_large_array()
    mmap_max, trim_threshold, never = -4, -1, 2**31 - 1  # as in malloc.h
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # another C library
        return False
    return bool(mallopt(mmap_max, 0) and mallopt(trim_threshold, never))


def free_a_large_array():
    """Fill and free an array of 31 MB: the largest size from which glibc learns to keep what is freed.

    Until then it asks the system anew for each larger array, and that can take ten times as long as the layer itself.
    So it helps, too, where glibc cannot be told.
    """
    np.ones(31_000_000, np.uint8)


def start_up():
    """Return the median seconds that a new process needs for the import, and for its first call."""
    one_start()  # fills the caches of Python and Numba
    imports, calls = zip(*(one_start() for _ in range(STARTS)), strict=True)
    return {"import": statistics.median(imports), "first_call": statistics.median(calls)}


def one_start():
    """Return the seconds for import and first call in one new process."""
    done = subprocess.run([sys.executable, "-c", START], cwd=ROOT, check=True, capture_output=True, text=True)
    return tuple(map(float, done.stdout.split()))
