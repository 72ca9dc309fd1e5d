"""Machines with other vectors: what Numba compiles for them here is theirs (tools/machines.py), and AArch64 gets code.

The tests of convlib and the chapters run that way in `make machines`. AArch64 code is compiled here, not run.
"""

import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import llvmlite.binding
import machines
import pytest

ROOT = Path(__file__).parents[1]
HERE = platform.machine(), llvmlite.binding.get_host_cpu_features()
ALL = dict.fromkeys(machines.MACHINES["avx512"][1], True)
BYTES = {"avx2": 32, "sse2": 16}
PROGRAM = """
import json, numba, numpy as np
from convlib.kernels import simd

@numba.njit("void(f4[::1])")
def double(array):
    for k in range(array.size):
        array[k] += array[k]

print(json.dumps([double.inspect_asm(double.signatures[0]), simd.REGISTER_BYTES, numba.config.CACHE_DIR]))
"""


def run(*command, **settings):
    """What a program prints; it must have ended well. The limit is against hanging only."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("NUMBA_")}
    done = subprocess.run([sys.executable, *command], cwd=ROOT, capture_output=True, text=True, timeout=3600,
                          env={**environment, "PYTHONPATH": str(ROOT), **settings})  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("name", [name for name in ("avx2", "sse2") if not machines.missing(name, *HERE)])
def test_code_for_another_machine_is_for_its_registers_alone(name):
    assembly, size, folder = json.loads(run("-c", PROGRAM, **machines.settings(name)))
    assert folder == str(ROOT / "_build" / "machines" / name)
    assert "zmm" not in assembly and ("ymm" in assembly) == (name == "avx2")
    assert ("vaddps" in assembly) == (name == "avx2") and "addps" in assembly
    assert size == BYTES[name]  # the vectors of convlib


@pytest.mark.skipif("no x86-64" in machines.missing("sse2", *HERE), reason="LLVM knows other processors here")
@pytest.mark.parametrize("name, size", [("avx512", 64), ("avx2", 32), ("sse2", 16)])
def test_where_nothing_is_compiled_any_machine_can_have_any_vectors(name, size):
    """So `make coverage` asks the same of every machine: it follows the lines that the widest vectors need."""
    program = "from convlib.kernels import simd; print(simd.REGISTER_BYTES)"
    assert int(run("-c", program, **machines.settings(name), NUMBA_DISABLE_JIT="1")) == size
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    widest = f"NUMBA_DISABLE_JIT=1 NUMBA_CPU_NAME={machines.MACHINES['avx512'][0]} NUMBA_CPU_FEATURES= COVERAGE_FILE"
    assert widest in makefile


def test_each_machine_has_code_of_its_own():
    settings = [machines.settings(name) for name in machines.MACHINES]
    for name in ("NUMBA_CACHE_DIR", "NUMBA_CPU_NAME"):
        assert len({each[name] for each in settings}) == 3


@pytest.mark.parametrize("machine, lacking, own, left_out", [
    ("x86_64", [], "avx512", []), ("AMD64", [], "avx512", []), ("x86_64", ["avx512vl"], "avx2", ["avx512"]),
    ("x86_64", ["fma"], "sse2", ["avx512", "avx2"]), ("x86_64", ALL, "sse2", ["avx512", "avx2"]),
    ("aarch64", ALL, "", list(machines.MACHINES)), ("arm64", [], "", list(machines.MACHINES)),
])  # fmt: skip
def test_a_machine_runs_what_it_can_and_says_what_not(monkeypatch, capfd, machine, lacking, own, left_out):
    features = {name: name not in lacking for name in ALL}
    monkeypatch.setattr(machines.platform, "machine", lambda: machine)
    monkeypatch.setattr(machines.llvmlite.binding, "get_host_cpu_features", lambda: features)
    command = [sys.executable, "-c", "import os; print('runs', os.environ['NUMBA_CPU_NAME'])"]
    for name, (processor, _) in machines.MACHINES.items():
        assert machines.main([name, *command]) == 0
        said = capfd.readouterr().out
        if name in left_out:
            assert said.startswith(f"As a machine with {name}: LEFT OUT, this machine ")
        else:
            did = " this is one." if name == own else f"\nruns {processor}"
            assert said == f"As a machine with {name}:{did}\n"


def test_a_command_that_fails_fails_and_a_wrong_name_is_refused(monkeypatch, capsys):
    monkeypatch.setattr(machines, "missing", lambda name, *here: "")
    assert machines.main(["sse2", sys.executable, "-c", "raise SystemExit(3)"]) == 3
    assert machines.main(["avx3", "true"]) == machines.main(["avx2"]) == machines.main([]) == 2
    assert "expected one of avx512, avx2, sse2 and a command, got ['avx3', 'true']" in capsys.readouterr().err


def test_every_kernel_can_be_compiled_for_aarch64(tmp_path):
    """Compiled, not run: no machine here can run it. Vectors of 16 bytes, as AArch64 has them."""
    narrow = {} if machines.missing("sse2", *HERE) else machines.settings("sse2")
    said = json.loads(run("tests/compile_for_aarch64.py", **{**narrow, "NUMBA_CACHE_DIR": str(tmp_path)}))
    rooms = {}
    for name, instructions in said.items():
        rooms.setdefault(name.split(".")[0], []).append(instructions.get("fmla 4s", 0))
    assert {"board", "direct"} <= set(rooms)
    for room in ("planes", "product", "scatter", "weights", "winograd"):
        assert max(rooms[room]) >= 8, (room, rooms[room])  # four numbers multiplied and added at once
    assert any("zip1 4s" in each for each in said.values())  # shuffles are shuffles there, too
