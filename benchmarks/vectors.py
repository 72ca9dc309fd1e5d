"""Measure as on a machine with other vectors: not only Numba is told, but everybody who is compared.

    python -m benchmarks.vectors avx2 .venv/bin/python -m benchmarks.zoo     run the command that way, or say why not

All of them look at the processor only once, when they are loaded: so the command is a process of its own. ONNX Runtime
cannot be told: where the vectors are not this machine's own, it is left out.
"""

import os
import platform
import subprocess
import sys

import llvmlite.binding

from tools import machines

MARK = "CONVLIB_MEASURED_AS"  # says to the process, and to its result, whose vectors it has
# PyTorch, oneDNN and MKL in it, NumPy's OpenBLAS, JAX.
SETTINGS = {
    "avx512": {"ATEN_CPU_CAPABILITY": "avx512", "ONEDNN_MAX_CPU_ISA": "AVX512_CORE", "OPENBLAS_CORETYPE": "SkylakeX",
               "MKL_ENABLE_INSTRUCTIONS": "AVX512", "XLA_FLAGS": "--xla_cpu_max_isa=AVX512"},
    "avx2": {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "OPENBLAS_CORETYPE": "Haswell",
             "MKL_ENABLE_INSTRUCTIONS": "AVX2", "XLA_FLAGS": "--xla_cpu_max_isa=AVX2"},
}
TOLD = {"NUMBA_CPU_NAME", "NUMBA_CPU_FEATURES", *SETTINGS["avx2"]}


def here():
    """Return what tools/machines.py asks for: the kind of this machine, and the features of its processor."""
    return platform.machine(), llvmlite.binding.get_host_cpu_features()


def environment(name, given):
    """Return the environment of a process that measures with the named vectors, from the one that is given.

    With this machine's own nobody is told anything, whatever the environment said before.
    """
    plain = {variable: value for variable, value in given.items() if variable not in TOLD}
    told = {} if name == machines.own(*here()) else {**machines.settings(name), **SETTINGS[name]}
    return {**plain, **told, MARK: name}


def measured_as():
    """Return whose vectors this process has: by its mark, or else this machine's own."""
    return os.environ.get(MARK) or machines.own(*here())


def are_own():
    return measured_as() == machines.own(*here())


def start_plainly():
    """Begin this very program anew, if its environment tells somebody which vectors to use, unless this is the plan."""
    if MARK not in os.environ and TOLD & set(os.environ):
        os.execve(sys.executable, sys.orig_argv, environment(machines.own(*here()), os.environ))


def main(arguments):
    """Run the command, or say what can be run; return the exit code."""
    name, *command = arguments or [""]
    if name not in SETTINGS or not command:
        print(f"expected one of {', '.join(SETTINGS)} and a command, got {arguments}", file=sys.stderr)
        return 2
    reason = machines.missing(name, *here())
    if reason:
        print(f"Measured with {name}: LEFT OUT, {reason}.", flush=True)
        return 0
    return subprocess.run(command, env=environment(name, os.environ)).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
