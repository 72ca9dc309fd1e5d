"""No kernel reads or writes outside its arrays: tests/check_kernels.py, in a process of its own each time."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from test_functional import COMPILED, REPEATED, SLOW

numba = pytest.importorskip("numba")

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.skipif(SLOW or not COMPILED, reason="about compiled code")


def check(kind, layers):
    done = subprocess.run(
        [sys.executable, "tests/check_kernels.py", kind, str(layers)], cwd=ROOT, capture_output=True, text=True,
        timeout=1800, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, f"exit code {done.returncode}\n{done.stdout[-1000:]}{done.stderr[-3000:]}"
    assert f"{layers} layers computed inside their memory" in done.stdout


def test_what_lies_around_the_arrays_stays_as_it_is():
    check("margins", 200 if REPEATED else 600)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="mprotect as on Linux")
def test_arrays_at_the_edge_of_forbidden_pages():
    check("pages", 200 if REPEATED else 600)


@pytest.mark.skipif(not numba.config.BOUNDSCHECK, reason="this is for make bounds, with a cache of its own")
def test_with_numba_watching_every_index():
    check("margins", 150)
