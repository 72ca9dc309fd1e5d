"""A chapter whose kernel dies or hangs ends the run soon, and notebook and cell are named (tools/kernel_watch.py).

The limits are there against hanging only: without the plugin, nbval waits for the whole time of a cell.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).parents[1]
NOTEBOOKS = {
    "fine": ["x = 1", "x + 1"],
    "killed": [
        "x = 1",
        "import os, signal\nprint('a last word', flush=True)\nos.kill(os.getpid(), signal.SIGKILL)",
        "x + 1",
        "x + 2",
    ],
    "writes_to_nowhere": ["import ctypes\nctypes.memset(8, 0, 1)", "1 + 1"],
    "leaves": ["import os\nos._exit(3)", "1 + 1"],
    "loops": ["1 + 1", "while True:\n    pass", "1 + 1"],
    "waits": ["import threading\nlock = threading.Lock()\nlock.acquire(), lock.acquire()", "1 + 1"],
    "talks_and_does_not_listen": [
        "while True:\n    try:\n        while True:\n            display(1)\n"
        "    except KeyboardInterrupt:\n        pass",
        "1 + 1",
    ],
}


def report(folder, names, *options):
    """What pytest says about these notebooks; it must have failed, as its exit code tells."""
    for name in names:
        cells = [nbformat.v4.new_code_cell(source, execution_count=n) for n, source in enumerate(NOTEBOOKS[name], 1)]
        for cell in cells:
            if re.fullmatch(r"\w \+ 1", cell.source):
                cell.outputs = [nbformat.v4.new_output("execute_result", {"text/plain": "2"})]
        nbformat.write(nbformat.v4.new_notebook(cells=cells), folder / f"{name}.ipynb")
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "tools.kernel_watch", "--nbval",
               "--nbval-current-env", "--color=no", f"--rootdir={folder}", *options, str(folder)]  # fmt: skip
    environment = {key: value for key, value in os.environ.items() if key != "CI"}  # there, pytest says causes twice
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600, env=environment)
    assert done.returncode == 1, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("options", [[], ["--numprocesses=2", "--dist=loadfile"]], ids=["alone", "by two workers"])
def test_a_kernel_that_dies(tmp_path, options):
    """Whatever ends it; nbval itself would wait for more than the half hour that a cell is given here."""
    said = report(tmp_path, ["fine", "killed", "writes_to_nowhere", "leaves"], "--nbval-cell-timeout=2000", *options)
    assert sorted(re.findall(r"^FAILED (?:\S*/)?(\w+\.ipynb::Cell \d+)", said, re.MULTILINE)) == [
        "killed.ipynb::Cell 1", "leaves.ipynb::Cell 0", "writes_to_nowhere.ipynb::Cell 0",
    ]  # fmt: skip
    for cell, cause in (("Cell 1", "SIGKILL"), ("Cell 0", "SIGSEGV"), ("Cell 0", "exit code 3")):
        assert f"{cell}: the kernel died: {cause}" in said
    assert "os.kill(os.getpid(), signal.SIGKILL)" in said  # the cell is shown
    assert "3 failed, 3 passed, 4 xfailed" in said  # what follows a dead kernel fails at once


def test_a_kernel_that_hangs(tmp_path):
    """In a loop, waiting for what never comes, or deaf to interrupts while it goes on printing."""
    names = ["loops", "waits", "talks_and_does_not_listen"]
    said = report(tmp_path, names, "--nbval-cell-timeout=10", "--numprocesses=3", "--dist=loadfile")
    assert sorted(re.findall(r"^FAILED (?:\S*/)?(\w+\.ipynb::Cell \d+)", said, re.MULTILINE)) == [
        "loops.ipynb::Cell 1", "talks_and_does_not_listen.ipynb::Cell 0", "waits.ipynb::Cell 0",
    ]  # fmt: skip
    assert len(re.findall("Cell .: Timeout of 10 seconds exceeded", said)) == 3
    assert "3 failed, 1 passed, 3 xfailed" in said


def test_every_run_of_the_chapters_is_watched_and_has_a_limit():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    runs = [line for line in makefile.splitlines() if "--nbval " in line]
    assert runs and all("-p tools.kernel_watch" in line for line in runs)
    limits = [int(seconds) for seconds in re.findall(r"--nbval-cell-timeout=(\d+)", makefile)]
    assert len(limits) == len(runs) and all(60 <= seconds <= 120 for seconds in limits)
