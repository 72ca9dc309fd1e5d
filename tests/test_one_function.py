"""The library of Part III by itself: two algorithms and their tables, to which Part V only adds.

It is exported from the chapters up to "One function for every layer" alone, into a folder of its own, and run there
without Numba. tests/test_functional.py and tests/test_choosing.py test the whole library.
"""

import ast
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import export
import pytest

from convlib import algorithms

ROOT = Path(__file__).parents[1]
LAST = "chapters/one_function.ipynb"
SIMPLE = {"numpy", "places"}
EXPORTED = [cell for chapter in export.read_chapters(ROOT) if chapter.path == LAST for cell in chapter.cells]

PROGRAM = """
import json, sys, warnings
sys.modules["numba"] = None
warnings.simplefilter("error")
from types import SimpleNamespace
import numpy as np
from convlib import algorithms, functional, numpy_kernels, parallel, reference, shapes

random, said = np.random.default_rng(5), {"names": [*algorithms.ALGORITHMS], "wrong": []}
layers = [  # input, weight, settings
    ((3, 7, 7), (2, 3, 3, 3), {"padding": 1}),
    ((2, 4, 8, 9), (6, 2, 5, 4), {"groups": 2, "padding": ((0, 2), (3, 0)), "stride": (2, 3)}),
    ((2, 3, 9, 9), (4, 3, 4, 4), {"dilation": 2}),
    ((2, 3, 9, 9), (4, 3, 9, 8), {}),
    ((3, 7, 7), (2, 3, 3, 3), {"padding": 500, "stride": 100}),
    ((2, 4, 30, 30), (4, 1, 2, 2), {"groups": 4, "dilation": 28}),
]

def numbers(size):
    return random.integers(-3, 4, size).astype("d")

def compare(name, x, w, b, settings):
    y = functional.conv2d(x, w, b, **settings, algorithm=name)
    d = numbers(y.shape)
    pairs = [
        (y, reference.general_conv2d(x, w, b, **settings)),
        (functional.conv2d_input_grad(x.shape, w, d, **settings, algorithm=name),
         reference.general_conv2d_input_grad(x.shape, w, d, **settings)),
        (functional.conv2d_weight_grad(x, w.shape, d, **settings, algorithm=name),
         reference.general_conv2d_weight_grad(x, w.shape, d, **settings)),
        (functional.conv2d_bias_grad(d), reference.conv2d_bias_grad(d)),
    ]
    return all(np.array_equal(*pair) for pair in pairs)

for size, weight_size, settings in layers:
    geometry = shapes.conv2d_geometry(size, weight_size, **settings)
    able = [name for name in algorithms.ALGORITHMS if algorithms.suits(name, geometry, np.dtype("d"))]
    for name in (None, *able):
        if not compare(name, numbers(size), numbers(weight_size), numbers(weight_size[0]), settings):
            said["wrong"].append([name, size, weight_size])

def chosen(size, kernel, **settings):
    geometry = shapes.conv2d_geometry((1, *size), (1, 1, *kernel), **settings)
    return [algorithms.choose(each, geometry, np.float32) for each in ("forward", "input_grad", "weight_grad")]

said["one place"] = chosen((1, 1), (1, 1))
said["a quarter"] = chosen((14, 14), (10, 10))  # 25 places, 100 taps
said["more than a quarter"] = chosen((14, 14), (9, 10))  # 30 places, 90 taps
said["64 places"] = chosen((23, 23), (16, 16))
said["65 places"] = chosen((27, 32), (15, 28))  # 420 taps
said["many"] = chosen((7, 7), (3, 3), padding=1)
try:
    functional.conv2d(np.ones((1, 3, 3)), np.ones((1, 1, 2, 2)), algorithm="magic")
except ValueError as error:
    said["refused"] = str(error)
parallel.set_num_threads(3)
said["threads"] = parallel.get_num_threads()

# Somebody adds an algorithm: it steps back from every layer, and whoever is next computes.
asked = []
def step_back(*arguments):
    asked.append("new")
def only_numpy(direction):
    return lambda *arguments: asked.append("numpy") or getattr(numpy_kernels, direction)(*arguments)
parts = "forward", "input_grad", "weight_grad", "bias_grad"
algorithms.ALGORITHMS |= {
    "new": SimpleNamespace(suits=lambda *_: True, **dict.fromkeys(parts, step_back)),
    "numpy": SimpleNamespace(suits=lambda *_: True, **{each: only_numpy(each) for each in parts}),
}
algorithms.LOCAL_ERROR |= {"new": False}
x, w, b = numbers((2, 3, 7, 7)), numbers((2, 3, 3, 3)), numbers(2)
said["stepped back"] = compare("new", x, w, b, {"padding": 1})
algorithms.LOCAL_ERROR["new"] = True  # then nobody is looked for whose error would be local
functional._remembered.cache_clear()
said["stepped back"] &= compare("new", x, w, b, {"padding": 1})
algorithms.LOCAL_ERROR["new"] = False
said["asked"], asked = asked, []
algorithms.RULES |= dict.fromkeys(parts[:3], lambda geometry, can: "new" if can("new") else "numpy")
algorithms._chosen.cache_clear(), functional._remembered.cache_clear()
for local in (False, True, False):
    algorithms._Switch.local = local
    functional.conv2d(x, w, b)
said["with the switch off, on, off"] = asked
said["numba"] = "numba.core" in sys.modules
print(json.dumps(said))
"""


@pytest.fixture(scope="module")
def part_three(tmp_path_factory):
    """A folder with the library that the chapters up to this one export."""
    root = tmp_path_factory.mktemp("part_three")
    listed = export.listed_notebooks(ROOT)
    listed = listed[: listed.index(LAST) + 1]
    (root / "chapters").mkdir()
    for path in listed:
        shutil.copy(ROOT / path, root / path)
    (root / "_toc.yml").write_text("".join(f"- file: {path}\n" for path in listed), encoding="utf-8")
    assert export.main(["--root", str(root)]) == 0
    return root


@pytest.fixture(scope="module")
def said(part_three):
    """What the program says that runs with this library alone."""
    environment = {key: value for key, value in os.environ.items() if key != "NUMBA_DISABLE_JIT"}
    done = subprocess.run([sys.executable, "-c", PROGRAM], cwd=part_three, capture_output=True, text=True, timeout=600,
                          env=environment | {"PYTHONPATH": str(part_three)})  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_part_three_computes_any_layer_by_itself(said):
    assert said["names"] == ["numpy", "places"] and said["wrong"] == [] and not said["numba"]
    assert said["refused"] == "algorithm: expected None or one of \"numpy\", \"places\", got 'magic'"
    assert said["threads"] == 3


def test_the_simple_rules_count_places_and_taps(said):
    few = {"one place": 3, "a quarter": 3, "more than a quarter": 0, "64 places": 3, "65 places": 0, "many": 0}
    assert {case: said[case].count("places") for case in few} == few
    assert all(set(said[case]) <= SIMPLE for case in few)


def test_whoever_steps_back_is_followed_by_the_fallbacks(said):
    """In all three directions, whatever its error; the biases are NumPy's all along."""
    assert said["stepped back"] is True
    assert said["asked"] == 2 * (["new", "numpy"] * 3 + ["numpy"])


def test_remembered_plans_follow_the_switch(said):
    assert said["with the switch off, on, off"] == ["new", "numpy", "numpy", "new", "numpy"]


def test_nothing_here_names_an_algorithm_of_part_five():
    """Neither the public functions nor the table as it begins: who is added later adds all that is about him."""
    later = {*algorithms.LOCAL_ERROR, *algorithms.ALGORITHMS} - SIMPLE
    assert {"few", "planes", "product", "direct", "winograd"} <= later
    found = [(cell.address, node.value) for cell in EXPORTED for statement in cell.body
             for node in ast.walk(statement) if isinstance(node, ast.Constant) and isinstance(node.value, str)
             and later & set(re.findall(r"\w+", node.value))
             and (node.value in later or cell.module == "convlib.functional")]
    assert found == []


def test_the_public_functions_use_only_what_the_table_had_at_first():
    born = {name for cell in EXPORTED if cell.module == "convlib.algorithms"
            for statement in cell.body for name in export.bindings(statement)}
    used = {node.attr for cell in EXPORTED if cell.module == "convlib.functional" for statement in cell.body
            for node in ast.walk(statement)
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "algorithms"}
    assert {"ALGORITHMS", "LOCAL_ERROR", "RULES", "choose", "only_local"} <= used <= born
