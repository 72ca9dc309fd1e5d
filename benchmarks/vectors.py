"""Measure as on a machine with other vectors: not only Numba is told, but everybody who is compared.

    python -m benchmarks.vectors avx2 .venv/bin/python -m benchmarks.zoo     run the command that way, or say why not

All of them look at the processor only once, when they are loaded: so the command is a process of its own. ONNX Runtime
cannot be told: where the vectors are not this machine's own, it is left out.
"""

import os
import platform
import subprocess
import sys

MARK = "CONVLIB_MEASURED_AS"  # says to the process, and to its result, whose vectors it has
# PyTorch, oneDNN and MKL in it, NumPy's OpenBLAS, JAX.
SETTINGS = {
    "avx512": {"ATEN_CPU_CAPABILITY": "avx512", "ONEDNN_MAX_CPU_ISA": "AVX512_CORE", "OPENBLAS_CORETYPE": "SkylakeX",
               "MKL_ENABLE_INSTRUCTIONS": "AVX512", "XLA_FLAGS": "--xla_cpu_max_isa=AVX512"},
    "avx2": {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "OPENBLAS_CORETYPE": "Haswell",
             "MKL_ENABLE_INSTRUCTIONS": "AVX2", "XLA_FLAGS": "--xla_cpu_max_isa=AVX2"},
}
# OpenBLAS's threads look for work for 2**26 cycles or more before they sleep: a tenth of a second, in which whoever is
# measured next has a core less. So they look for 2**20 (half a millisecond), longer than from one call to the next.
WAITING = {"OPENBLAS_THREAD_TIMEOUT": "20"}
TOLD = {"NUMBA_CPU_NAME", "NUMBA_CPU_FEATURES", *SETTINGS["avx2"]}


def own():
    """Return the name of this machine's own vectors; nothing where it has none of those names, or Numba is missing."""
    try:
        from tools import machines
    except ImportError:
        return ""
    return machines.own(*processor())


def processor():
    """Return what tools/machines.py asks for: the kind of this machine, and the features of its processor."""
    import llvmlite.binding

    return platform.machine(), llvmlite.binding.get_host_cpu_features()


def measured_as():
    """Return whose vectors this process has: by its mark, or else this machine's own."""
    return os.environ.get(MARK) or own()


def are_own():
    return measured_as() == own()


def environment(name, given):
    """Return the environment of a process that measures with the named vectors, made from the one that is given.

    With this machine's own nobody is told any vectors, whatever the environment said before.
    """
    plain = {variable: value for variable, value in given.items() if variable not in TOLD} | WAITING
    if name == own():
        return {**plain, MARK: name}
    from tools import machines

    return {**plain, **machines.settings(name), **SETTINGS[name], MARK: name}


def start_plainly():
    """Begin this program anew, so that only we say which vectors to use and how long idle threads wait."""
    if MARK not in os.environ:
        os.execve(sys.executable, sys.orig_argv, environment(own(), os.environ))


def main(arguments):
    """Run the command, or say why not; return the exit code."""
    from tools import machines

    name, *command = arguments or [""]
    if name not in SETTINGS or not command:
        print(f"expected one of {', '.join(SETTINGS)} and a command, got {arguments}", file=sys.stderr)
        return 2
    reason = machines.missing(name, *processor())
    if reason:
        print(f"Measured with {name}: LEFT OUT, {reason}.", flush=True)
        return 0
    return subprocess.run(command, env=environment(name, os.environ)).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
