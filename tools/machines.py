"""Run a command as on a machine with other vectors: Numba compiles for that machine, and this one computes.

    python tools/machines.py avx2 COMMAND     run the command as an AVX2 machine would, or say why not

A machine can stand for those with narrower vectors. What this one cannot run, or compiles anyway, is left out, and that
is said. Compiled code is kept in _build/machines, apart from that of this machine.
"""

import os
import platform
import subprocess
import sys
from pathlib import Path

import llvmlite.binding

ROOT = Path(__file__).parents[1]
# From wide vectors to narrow ones: the name under which LLVM knows such a processor, and what this machine must have to
# run what is compiled for it.
AVX2 = frozenset("avx avx2 bmi bmi2 f16c fma lzcnt movbe popcnt".split())
MACHINES = {
    "avx512": ("skylake-avx512", AVX2 | frozenset("avx512f avx512bw avx512cd avx512dq avx512vl".split())),
    "avx2": ("haswell", AVX2),
    "sse2": ("x86-64", frozenset()),
}


def missing(name, machine, features):
    """Return what a machine lacks to run code for the named one, in words; nothing if it can."""
    if machine.lower() not in ("x86_64", "amd64"):
        return f"this machine is {machine}, no x86-64"
    lacking = sorted(feature for feature in MACHINES[name][1] if not features.get(feature))
    return f"this machine lacks {', '.join(lacking)}" if lacking else ""


def own(*machine):
    """Return the name of the first machine whose code this one can run: its own kind; nothing if there is none."""
    return next((name for name in MACHINES if not missing(name, *machine)), "")


def settings(name):
    """Return the settings of Numba for the named machine.

    Without features of its own, Numba would add all those of this machine to the named processor.
    """
    folder = ROOT / "_build" / "machines" / name
    return {"NUMBA_CPU_NAME": MACHINES[name][0], "NUMBA_CPU_FEATURES": "", "NUMBA_CACHE_DIR": str(folder)}


def main(arguments):
    """Run the command, or say what can be run; return the exit code."""
    name, *command = arguments or [""]
    if name not in MACHINES or not command:
        print(f"expected one of {', '.join(MACHINES)} and a command, got {arguments}", file=sys.stderr)
        return 2
    here = platform.machine(), llvmlite.binding.get_host_cpu_features()
    reason = missing(name, *here)
    if reason:
        print(f"As a machine with {name}: LEFT OUT, {reason}.", flush=True)
        return 0
    if name == own(*here):
        print(f"As a machine with {name}: this is one.", flush=True)
        return 0
    print(f"As a machine with {name}:", flush=True)
    return subprocess.run(command, env={**os.environ, **settings(name)}).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
