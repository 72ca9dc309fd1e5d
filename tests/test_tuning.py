"""The table of numbers is complete, and benchmarks/tune.py changes what it says, in processes of their own."""

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("numba")

from benchmarks import tune  # noqa: E402
from convlib.kernels import blocks, tuning  # noqa: E402
from convlib.kernels.simd import REGISTER_BYTES  # noqa: E402

ROOT = Path(__file__).parents[1]
NOW = {"ROWS": 6, "VECTORS": 2, "SET": 1000, "DOTS": (1, 4)}


def test_a_block_leaves_registers_for_what_it_is_multiplied_with():
    assert REGISTER_BYTES != 64 or tuning.REGISTERS == 32
    assert tuning.ROWS * tuning.VECTORS + tuning.VECTORS + 1 <= tuning.REGISTERS
    assert len(blocks.SHAPE) == tuning.ROWS and {len(row) for row in blocks.SHAPE} == {tuning.VECTORS}


def test_every_number_has_a_sentence():
    """Each assignment of the table ends with a comment, or follows one."""
    lines = (ROOT / "convlib" / "kernels" / "tuning.py").read_text().splitlines()
    for node in ast.parse("\n".join(lines)).body:
        if isinstance(node, ast.Assign) and "__all__" not in ast.unparse(node.targets):
            above = lines[node.lineno - 2]
            assert above.startswith("# ") or "  # " in lines[node.end_lineno - 1], ast.unparse(node)


def test_where_a_number_matters_names_numbers_and_layers_that_there_are():
    assert set(tune.WHERE) <= {"BLOCK", *tune.current()}
    for name, where in {**tune.WHERE, "anywhere": tune.ANYWHERE}.items():
        assert where and all(layer in tune.LAYERS and direction in tune.EVERY for layer, direction in where), name


def test_other_values_are_found_for_every_number_of_the_engine():
    now = tune.current()
    for name, value in now.items():
        settings = tune.settings_of(name, [], now)[1:]
        assert settings and all(each.startswith(f"{name}=") for each in settings), name
        tried = [tune.number_of(each.partition("=")[2]) for each in settings]
        assert value not in tried, name


def test_values_to_try_leave_out_the_present_one_and_are_possible():
    assert tune.settings_of("SET", [], NOW) == ["", "SET=250", "SET=500", "SET=2000", "SET=4000"]
    assert tune.settings_of("SET", [1000, 7], NOW) == ["", "SET=7"]
    assert tune.settings_of("DOTS", [], NOW) == ["", "DOTS=1x3", "DOTS=2x4", "DOTS=1x5"]
    assert tune.settings_of("SPARSE", [], {"SPARSE": 0.5}) == ["", *(f"SPARSE={x}" for x in (0.25, 0.375, 0.625, 0.75))]
    assert tune.number_of("0.25") == 0.25 and tune.number_of("3x4") == (3, 4) and tune.number_of("7") == 7
    assert "ROWS=6,VECTORS=2" not in tune.settings_of("BLOCK", [], NOW)
    assert all("ROWS" in each and "VECTORS" in each for each in tune.settings_of("BLOCK", [], NOW)[1:])
    with pytest.raises(ValueError, match="expected BLOCK or one of ROWS, VECTORS, SET, DOTS, got NOTHING"):
        tune.settings_of("NOTHING", [], NOW)


class Fake:
    """A process that takes so many seconds for each layer, and more at its first call; it answers in order."""

    def __init__(self, seconds):
        self.seconds_of, self.asked, self.answers = seconds, [], []

    def ask(self, *question):
        first = question not in self.asked
        self.asked.append(question)
        self.answers.append(self.seconds_of[question[0]] + 9 * first)

    def seconds(self):
        return self.answers.pop(0)


def test_times_are_compared_in_turns_and_the_first_call_does_not_count():
    children = [Fake({"1x1": 2.0, "3x3": 4.0}), Fake({"1x1": 1.0, "3x3": 8.0})]
    relative = tune.compare(children, [("1x1", "forward"), ("3x3", "forward")], rounds=3)
    assert relative == [{"1x1 forward": 1.0, "3x3 forward": 1.0}, {"1x1 forward": 0.5, "3x3 forward": 2.0}]
    assert len(children[0].asked) == len(children[1].asked) == 2 * (1 + 3)
    assert children[0].answers == children[1].answers == []


def test_the_table_says_what_each_value_is_worth_and_which_is_best():
    lines = tune.table("SET", ["", "SET=7"], [{"a": 1.0, "b": 1.0}, {"a": 0.5, "b": 0.98}], NOW)
    assert lines[0] == "SET: relative time on a, b"
    assert lines[1].split() == ["now", "1000", "1.00", "(1.00", "1.00)"]
    assert lines[2].split() == ["SET=7", "0.70", "(0.50", "0.98)", "best"]


def in_a_process(setting, program, folder):
    return subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=3000, cwd=ROOT,
        env={**os.environ, tune.VARIABLE: setting, "NUMBA_CACHE_DIR": str(folder), "PYTHONPATH": str(ROOT)},
    )  # fmt: skip


PROGRAM = f"""
import os
from benchmarks import tune
tune.patch(os.environ[{tune.VARIABLE!r}])
import json
from convlib.kernels import blocks, tuning
print(json.dumps([len(blocks.SHAPE), len(blocks.SHAPE[0]), tuning.ROWS, tuning.SET]))
"""


def test_a_process_has_the_numbers_that_its_environment_names(tmp_path):
    done = in_a_process("ROWS=3,VECTORS=5", PROGRAM, tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [3, 5, 3, tuning.SET]


def test_a_number_that_the_table_does_not_have_is_refused(tmp_path):
    done = in_a_process("NOTHING=3", PROGRAM, tmp_path)
    assert done.returncode != 0 and "expected a name of convlib.kernels.tuning, got NOTHING" in done.stderr


def test_numbers_in_use_are_not_changed():
    with pytest.raises(RuntimeError, match="its numbers are in use"):
        tune.patch("SET=3")


def test_a_child_computes_and_says_how_long():
    with tune.Child("") as child:
        child.ask("tiny 3x3", "forward")
        assert 0 < child.seconds() < 100
