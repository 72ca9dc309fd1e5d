"""The exporter: what it writes, what it refuses, and that it notices when convlib and the chapters part."""

import itertools
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import export
import pytest
from hypothesis import given
from hypothesis import strategies as st

FIRST = '"""Sums as plain loops.\n\nWritten by chapter 1.\n"""'
DATA = '"""Data."""\nfrom convlib.reference import Two, one\n\nlist_of = [one, Two]'
PACKAGE = """\
'A package.'
from convlib.datasets import list_of
from convlib.reference import one

__version__ = "1"
"""
DIRECT = """\
'Direct.'
from convlib.datasets import list_of

last = list_of[-1]
"""


def code(source, *tags):
    """Return a code cell, tagged export unless told otherwise."""
    return {"cell_type": "code", "metadata": {"tags": list(tags or ["export"])}, "source": source}


def write_chapter(root, name, *cells, title="# A title", module="reference"):
    """Write a notebook with a title and the given cells; cell 1 is the title."""
    metadata = {"convlib": {"module": module}} if module else {}
    heading = {"cell_type": "markdown", "metadata": {}, "source": [title, "\n", "Text."]}
    (root / "chapters").mkdir(exist_ok=True)
    notebook = {"cells": [heading, *cells], "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}
    (root / "chapters" / f"{name}.ipynb").write_text(json.dumps(notebook))


def write_toc(root, *names):
    """Write a table of contents with these chapters, the first as its root."""
    entries = "".join(f"      - file: chapters/{name}\n" for name in names[1:])
    text = f"format: jb-book\nroot: chapters/{names[0]}\nparts:\n  - chapters:\n{entries}"
    (root / "_toc.yml").write_text(text)


def exported(root, *cells, **options):
    """Export one chapter with these cells; return the text of the module reference."""
    write_chapter(root, "01_one", *cells, **options)
    write_toc(root, "01_one")
    return export.exported_files(root)["convlib/reference.py"]


def refusal(root, *cells, **options):
    """Return the message with which one chapter of these cells is refused."""
    with pytest.raises(export.ExportError) as caught:
        exported(root, *cells, **options)
    return str(caught.value)


@pytest.fixture
def project(tmp_path):
    """Return a project with two chapters that both feed reference, listed against the alphabet."""
    write_chapter(
        tmp_path, "02_first",
        code(FIRST),
        code("import numpy as np\nimport math\n\n\ndef one(x):\n    # why: to try\n    return math.exp(x)"),
        code("not_exported()", "hide-input"),
        title="# The first",
    )
    write_chapter(
        tmp_path, "01_second",
        code("from convlib.reference import one\nimport numpy as np\n\nLIMIT = np.float64(3)\n_hidden = 1\n"),
        code("class Two:\n    value = one(0)"),
        code(DATA, "export-datasets"),
        title="# The second ",
    )
    write_toc(tmp_path, "02_first", "a_page", "01_second")
    (tmp_path / "chapters" / "a_page.md").write_text("# A page")
    return tmp_path


def test_module_reads_as_if_written_by_hand(project):
    assert export.exported_files(project)["convlib/reference.py"] == '''\
# Exported from chapters/ by tools/export.py: edit the chapter, not this file.
"""Sums as plain loops.

Written by chapter 1.
"""

import math

import numpy as np

__all__ = ["one", "LIMIT", "Two"]


# Chapter "The first" (chapters/02_first.ipynb)

def one(x):
    # why: to try
    return math.exp(x)


# Chapter "The second" (chapters/01_second.ipynb)

LIMIT = np.float64(3)
_hidden = 1


class Two:
    value = one(0)
'''


def test_cell_with_a_named_tag_goes_elsewhere(project):
    assert export.exported_files(project)["convlib/datasets.py"].splitlines()[1:] == [
        '"""Data."""', "", "from convlib.reference import Two, one", "", '__all__ = ["list_of"]', "", "",
        '# Chapter "The second" (chapters/01_second.ipynb)', "", "list_of = [one, Two]",
    ]


def test_exported_package_can_be_imported(project):
    cells = [code(PACKAGE), code(DIRECT, "export-kernels.direct")]
    write_chapter(project, "03_last", *cells, module="__init__")
    write_toc(project, "02_first", "01_second", "03_last")
    assert export.main(["--root", str(project)]) == 0
    program = ("import convlib, convlib.kernels.direct as direct; from convlib import *\n"
               "print(convlib.__all__, convlib.__version__, one(0), direct.last.__name__, direct.__all__)")
    done = subprocess.run([sys.executable, "-c", program], cwd=project, capture_output=True, text=True,
                          env={**os.environ, "PYTHONPATH": str(project)}, check=True)
    assert done.stdout == "['list_of', 'one'] 1 1.0 Two ['last']\n"
    package = (project / "convlib/kernels/__init__.py").read_text()
    assert package.splitlines()[1:] == ['"""The package convlib.kernels."""']


def test_package_may_have_cells_of_its_own(tmp_path):
    kernels = "'Kernels.'\nfrom convlib.kernels.direct import x\nfrom convlib.kernels import direct"
    cells = [code("'Direct.'\nx = 1", "export-kernels.direct"), code(kernels, "export-kernels")]
    write_chapter(tmp_path, "01_one", *cells)
    write_toc(tmp_path, "01_one")
    files = export.exported_files(tmp_path)
    assert set(files) == {"convlib/__init__.py", "convlib/kernels/__init__.py", "convlib/kernels/direct.py"}
    assert '__all__ = ["x", "direct"]' in files["convlib/kernels/__init__.py"]


def test_imports_are_merged_grouped_and_sorted(tmp_path):
    text = exported(
        tmp_path,
        code(FIRST + "\nfrom convlib.shapes import pad, Far, PLACE\nimport os.path\nfrom math import tau\nx = 1"),
        code("import os\nimport numpy as np, abc\nfrom __future__ import annotations"),
        code("from math import pi as p, e"),
        code("import numpy as np\nfrom math import e\nfrom numba import njit"),
    )
    assert text.split('"""\n\n')[1].split("\n\n__all__")[0] == """\
from __future__ import annotations

import abc
import os
import os.path
from math import e, pi as p, tau

import numpy as np
from numba import njit

from convlib.shapes import PLACE, Far, pad"""


def test_long_lists_are_wrapped(tmp_path):
    names = [f"a_rather_long_name_{letter}" for letter in "abcdef"]
    text = exported(tmp_path, code(f"{FIRST}\nfrom convlib.shapes import {', '.join(names)}"),
                    code("\n".join(f"{name}_too = 1" for name in names)))
    assert "from convlib.shapes import (\n    a_rather_long_name_a, a_rather_long_name_b," in text
    assert '__all__ = ["a_rather_long_name_a_too", "a_rather_long_name_b_too",' in text
    assert 100 < max(map(len, text.splitlines())) <= 120
    compile(text, "reference.py", "exec")


def test_a_fallback_for_an_import_is_not_public(tmp_path):
    block = ("try:\n    from numba import njit\n    HAVE_NUMBA = True\nexcept ImportError:\n"
             "    HAVE_NUMBA = False\n    def njit(f):\n        return f")
    assert '__all__ = ["HAVE_NUMBA"]' in exported(tmp_path, code(FIRST), code(block))


def test_a_moved_import_leaves_no_gap(tmp_path):
    text = exported(tmp_path, code(FIRST), code("a = 1\n\n\nimport os\n\n\n# about b\nb = 2\n\n"))
    assert text.endswith("a = 1\n\n\n# about b\nb = 2\n")


def test_commented_toc_entries_do_not_count(project):
    toc = (project / "_toc.yml").read_text()
    (project / "_toc.yml").write_text(toc.replace("- file: chapters/01", "# - file: chapters/01"))
    with pytest.raises(export.ExportError, match=r"chapters/01_second.ipynb: .*_toc.yml does not list it"):
        export.exported_files(project)


@pytest.mark.parametrize(("source", "message"), [
    ("print(3)", "cell 3: only imports, functions, classes, assignments, if and try can be exported: print"),
    ("x = 1\nassert x", "only imports, functions, classes, assignments, if and try can be exported: assert"),
    ('"""A second docstring."""', "cell 3: only imports"),
    ("%matplotlib inline", "cell 3: is not plain Python (invalid syntax): %matplotlib inline"),
    ("__all__ = []", "cell 3: __all__ is written by the exporter"),
    ("__all__ += ['x']", "cell 3: __all__ is written by the exporter"),
    ("from math import *", "cell 3: an import must spell out its module and its names"),
    ("from .shapes import pad", "cell 3: an import must spell out its module and its names"),
    ("import math  # for pi", "cell 3: a comment on an import would be lost: import math  # for pi"),
    ("import math; x = 1", "cell 3: two statements stand on one line: import math; x = 1"),
    ("from convlib.reference import y", "cell 3: goes into convlib.reference itself, where no y is defined"),
    ("y = 1\nfrom convlib.reference import y as z", "cell 3: goes into convlib.reference itself, where no z"),
    ("a = 1\nb, a = 2, 3", "a is defined twice: in chapters/01_one.ipynb, cell 3 and in"),
    ("import numpy as np\nimport numba as np", "np is defined twice"),
    ("from math import pi\ntry:\n    pi = 3\nexcept ValueError:\n    pass", "pi is defined twice"),
    ("from math import pi as __all__", "cell 3: __all__ is written by the exporter: from math"),
    ("def __all__():\n    pass", "cell 3: __all__ is written by the exporter: def"),
    ("y = 1 + (x := 2)", "cell 3: outside a function a name is bound by an assignment, not by := or global: y"),
    ("x = [y := i for i in range(3)]", "not by := or global: x = "),
    ("if x := 3:\n    y = x", "not by := or global: if x"),
    ("def f(a=(x := 3)) -> int:\n    return a", "not by := or global: def f"),
    ("f = lambda a=(x := 3): a", "not by := or global: f = "),
    ("class A:\n    global x\n    x = 3", "not by := or global: class A"),
    ("if True:\n    x = 1\n    for i in x:\n        y = i", "cell 3: line 3 can stand in a function only, not in"),
    ("try:\n    if True:\n        del x\nfinally:\n    pass", "cell 3: line 3 can stand in a function only"),
    ("if True:\n    from math import *", "cell 3: an import must spell out its module and its names: if"),
    ("if False:\n    x = 1\n    _y = 2", "cell 3: x would have no value on some ways through this, and is public"),
    ("try:\n    x = y = z\nexcept NameError:\n    x = 1", "cell 3: y would have no value on some ways"),
    ("import x.await", "cell 3: is not plain Python (invalid syntax): import x.await"),
    ("import math\n\nx = await f()", "cell 3: is not plain Python ('await' outside function): x = await f()"),
    ("if True:\n    x = await f()", "cell 3: is not plain Python ('await' outside function)"),
    ("x = [await y for y in z]", "is not plain Python (asynchronous comprehension outside of an asynchronous"),
    ("x = [y async for y in z]", "is not plain Python (asynchronous comprehension outside of an asynchronous"),
    ("x = yield", "cell 3: is not plain Python ('yield' outside function): x = yield"),
    ("if True:\n    return", "cell 3: line 2 can stand in a function only"),
    ("def f(a, a):\n    pass", "cell 3: is not plain Python (duplicate argument 'a' in function definition)"),
    ("class A:\n    return 3", "cell 3: is not plain Python ('return' outside function)"),
    ("def f():\n    nonlocal x", "cell 3: is not plain Python (no binding for nonlocal 'x' found)"),
    ("from __future__ import braces", "cell 3: is not plain Python (not a chance)"),
    ("x = 1 \\\n", "cell 3: is not plain Python (unexpected EOF while parsing): x = 1"),
    ("x = '\0'", "cell 3: is not plain Python (source code string cannot contain null bytes)"),
    ("x = '\ud800'", "cell 3: is not plain Python (UnicodeEncodeError"),
    ("\ufeffx = 3", "cell 3: is not plain Python (invalid non-printable character U+FEFF)"),
    ("x = " + "-" * 100_000 + "1", "cell 3: is not plain Python ("),
])
def test_refused_cells(tmp_path, source, message):
    assert message in refusal(tmp_path, code(FIRST), code(source))


def test_cells_that_only_together_do_not_compile(tmp_path):
    source = "async def f():\n    x: (await g()) = 3"
    assert "await g()" in exported(tmp_path, code(FIRST), code(source))
    assert refusal(tmp_path, code(FIRST + "\nfrom __future__ import annotations"), code(source)) == (
        "convlib/reference.py, made of chapters/01_one.ipynb, cell 2, chapters/01_one.ipynb, cell 3: is not plain "
        "Python ('await expression' can not be used within an annotation): x: (await g()) = 3")


def test_all_refused_cells_are_reported(tmp_path):
    assert refusal(tmp_path, code(FIRST), code("print(1)"), code("print(2)")).count("only imports") == 2


def test_missing_docstring(tmp_path):
    assert refusal(tmp_path, code("x = 1")) == (
        "chapters/01_one.ipynb, cell 2: is the first cell of convlib.reference and must start "
        "with its docstring")


def test_missing_title_and_module(tmp_path):
    assert "no title" in refusal(tmp_path, code(FIRST), title="Text")
    assert "the notebook's metadata names no module" in refusal(tmp_path, code(FIRST), module=None)


@pytest.mark.parametrize(("tags", "message"), [
    (["export-Not a name"], "'Not a name' is no module name"),
    (["export", "export-other"], "has the tags export, export-other; expected only one"),
    (["exports"], "has the tag 'exports'; expected export or, for instance, export-datasets"),
    (["Export-other"], "has the tag 'Export-other'; expected export"),
    (["export-kernels.class"], "'kernels.class' is no module name"),
])
def test_refused_tags(tmp_path, tags, message):
    assert message in refusal(tmp_path, code(FIRST, *tags))


def test_a_tag_on_a_cell_without_code_is_refused(tmp_path):
    cell = {"cell_type": "raw", "metadata": {"tags": ["export"]}, "source": "x = 1"}
    assert "cell 3: is tagged export, but holds no code (raw)" in refusal(tmp_path, code(FIRST), cell)


@pytest.mark.parametrize("end", ["\r\n", "\r"])
def test_any_line_ends_will_do(tmp_path, end):
    def cells(end):
        sources = [FIRST, "import os\n\nx = 1\n", "# why: to try\n\n\ndef f():\n    '''One.\n\n    Two.\n    '''\n"]
        return [code(source.replace("\n", end)) for source in sources]

    assert exported(tmp_path, *cells(end), title=f"# A title{end}More") == exported(tmp_path, *cells("\n"))


def test_a_title_stays_on_its_line(tmp_path):
    assert '# Chapter "a b c d" (' in exported(tmp_path, code(FIRST + "\nx = 1"), title="# a\u2028b\xa0 c\x0bd")
    assert "no title" in refusal(tmp_path, code(FIRST), title="# a\0b")


def test_what_is_only_annotated_is_not_public(tmp_path):
    source = "limit: int\n\n\ndef f(x):\n    global last\n    last = x"
    assert '__all__ = ["f"]' in exported(tmp_path, code(FIRST), code(source))
    assert '__all__ = ["f", "limit"]' in exported(tmp_path, code(FIRST), code(source + "\n\n\nlimit = 3"))


def test_only_what_an_assignment_binds_is_public(tmp_path):
    source = "a, (b, *c) = 1, (2, 3)\nc[[i for i in [0]][0]] = d = lambda: (e := 4)\nd.x = 1"
    assert '__all__ = ["a", "b", "c", "d"]' in exported(tmp_path, code(FIRST), code(source))


def test_a_name_that_every_way_binds_is_public(tmp_path):
    source = ("try:\n    if FIRST:\n        x = 1\n    else:\n        raise NameError\nexcept NameError:\n    x = 2\n"
              "else:\n    pass\nfinally:\n    y = 1")
    assert '__all__ = ["x", "y"]' in exported(tmp_path, code(FIRST), code(source))


NASTY = [
    "x{0} = {0}", "x{0}: int", "x{0}: int = 3", "x{0} = 1; y{0} = 2", "x{0} = 1 \\\n", "x{0} = \\\n    {0}",
    "x{0} = (\n\n    {0}\n)\n", "x{0} = '\u2028'", "x{0} = '\x0b\x85'", "s{0} = '''\n\n  a  \n\n'''",
    "x{0} = await f()", "x{0} = yield", "x{0} = [(y{0} := i) for i in range(3)]", "x{0} = (y{0} := 3)",
    "a{0}, [*b{0}] = 1, [2]", "b{0} = [0]\nb{0}[0] = 1", "del x{0}", "return", "print()", "x{0}: (yield)",
    "import math", "from math import pi as p", "from os import path, sep", "from math import (\n    tau,\n)",
    "# a comment", "# a \\", "# \u2028", "", "  ", "\t", "\f", "\0", "\ufeff", "pass",
    "def f{0}(a: int = 3):\n    return a", "class C{0}:\n    y = [x for x in (1, 2)]",
    "@staticmethod\ndef g{0}():\n    pass", "async def h{0}():\n    await f()",
    "try:\n    x{0} = 1\nexcept ValueError as error:\n    x{0} = 2", "if True:\n    x{0} = 1\nelse:\n    x{0} = 2",
    "if False:\n    x{0} = 1", "if True:\n    _x{0} = 1", "if True:\n    for x{0} in 'ab':\n        pass",
]
LINE_ENDS = ["\n", "\r\n", "\r"]
NASTY_CELLS = st.lists(st.tuples(st.sampled_from(NASTY), st.sampled_from(LINE_ENDS)), max_size=4)


@given(st.lists(NASTY_CELLS, max_size=3))
def test_a_module_holds_what_its_cells_hold_or_they_are_refused(cells):
    number = itertools.count()
    sources = ["".join(piece.format(next(number)).replace("\n", end) + end for piece, end in cell) for cell in cells]
    with tempfile.TemporaryDirectory() as folder:
        try:
            text = exported(Path(folder), code(FIRST), *map(code, sources))
        except export.ExportError as error:
            assert re.match(r"chapters/01_one.ipynb, cell \d: ", str(error))
            return
    module, notebook = {}, {}
    exec(compile(text, "reference", "exec", dont_inherit=True), module)
    for source in sources:
        exec(compile(source, "cell", "exec", dont_inherit=True), notebook)
    public = module.pop("__all__")
    assert set(public) <= set(module)
    module, notebook = ({name: value for name, value in names.items() if not name.startswith("__")}
                        for names in (module, notebook))
    assert set(module) == set(notebook)
    assert set(public) == {name for name in module if re.match(r"[a-zA-Z]\d", name)}
    for name, value in notebook.items():
        if isinstance(value, (int, str, list)):
            assert module[name] == value


def test_broken_files(tmp_path):
    with pytest.raises(export.ExportError, match=r"_toc.yml, the order of the chapters, cannot be read"):
        export.exported_files(tmp_path)
    write_toc(tmp_path, "01_one")
    with pytest.raises(export.ExportError, match=r"_toc.yml: lists chapters/01_one, but there is no"):
        export.exported_files(tmp_path)
    (tmp_path / "chapters").mkdir()
    for content in ("{", "{}", "[]", '{"cells": [{}]}', '{"cells": []}', '{"cells": ["x"]}'):
        (tmp_path / "chapters" / "01_one.ipynb").write_text(content)
        with pytest.raises(export.ExportError, match=r"chapters/01_one.ipynb: is not a notebook"):
            export.exported_files(tmp_path)


def test_name_defined_by_two_chapters_names_both(project, capsys):
    write_chapter(project, "01_second", code("def one(x):\n    return x"))
    assert export.main(["--check", "--root", str(project)]) == 1
    assert capsys.readouterr().err == ("convlib.reference: one is defined twice: in chapters/02_first.ipynb, "
                                       "cell 3 and in chapters/01_second.ipynb, cell 2\n")


def test_second_run_writes_nothing(project, capsys):
    stray = project / "convlib" / "old" / "stray.py"
    stray.parent.mkdir(parents=True)
    stray.touch()
    assert export.main(["--root", str(project)]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "written convlib/__init__.py", "written convlib/datasets.py", "written convlib/reference.py",
        "deleted convlib/old/stray.py"]
    assert not stray.exists()
    times = {path: path.stat().st_mtime_ns for path in (project / "convlib").iterdir()}
    assert export.main(["--root", str(project)]) == 0
    assert capsys.readouterr().out == ""
    assert times == {path: path.stat().st_mtime_ns for path in (project / "convlib").iterdir()}


def test_check_lists_every_difference_and_writes_nothing(project, capsys):
    assert export.main(["--root", str(project)]) == 0
    assert export.main(["--check", "--root", str(project)]) == 0
    package = project / "convlib"
    (package / "reference.py").write_text("x = 1\n")
    (package / "datasets.py").unlink()
    (package / "stray.py").touch()
    capsys.readouterr()
    assert export.main(["--check", "--root", str(project)]) == 1
    assert capsys.readouterr().err.splitlines()[:3] == [
        "missing convlib/datasets.py", "stale convlib/reference.py", "stray convlib/stray.py"]
    assert (package / "reference.py").read_text() == "x = 1\n"
    assert (package / "stray.py").exists() and not (package / "datasets.py").exists()


def test_an_error_leaves_the_package_alone(project):
    assert export.main(["--root", str(project)]) == 0
    before = {path: path.read_bytes() for path in (project / "convlib").iterdir()}
    write_chapter(project, "01_second", code("print(1)"))
    assert export.main(["--root", str(project)]) == 1
    assert before == {path: path.read_bytes() for path in (project / "convlib").iterdir()}


def test_a_file_that_cannot_be_written_leaves_all_as_it_was(project, monkeypatch):
    assert export.main(["--root", str(project)]) == 0
    before = {path: path.read_bytes() for path in (project / "convlib").rglob("*")}
    write_chapter(project, "01_second", code(DATA + "\nmore = 1", "export-datasets"))
    write = Path.write_bytes

    def full(path, content):
        write(path, content[:9])
        if "reference" in path.name:
            raise OSError("no space left")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="no space left"):
        export.main(["--root", str(project)])
    assert before == {path: path.read_bytes() for path in (project / "convlib").rglob("*")}


def test_what_numba_kept_is_forgotten_when_a_module_changes(tmp_path):
    write_chapter(tmp_path, "01_one", code(FIRST))
    write_toc(tmp_path, "01_one")
    kept = tmp_path / "convlib" / "__pycache__" / "reference.one-1.py311.nbi"
    kept.parent.mkdir(parents=True)
    kept.touch()
    assert export.main(["--root", str(tmp_path)]) == 0 and not kept.exists()
    kept.touch()
    assert export.main(["--root", str(tmp_path)]) == 0 and kept.exists()


# Exercises --------------------------------------------------------------------------------------------------------


START = ":::{{exercise-start}} {title}\n:label: {label}\n:::\n\nWrite it.\n\n:::{{exercise-end}}\n:::"
HINTS = ["Look.", "Look closer.", "It is `x`."]
VALUES = {"hints": HINTS, "answers": {"corners": "{(6, 0), (0, 6)}", "products": "3 * 9"},
          "wrong": {"products": {"9": "One channel only."}}}
CODED = {"hints": HINTS, "function": "total", "setup": "from convlib import reference",
         "cases": "[{'x': random.integers(0, 9, (2, size))} for size in (3, 4, 5)]", "problem": "relu(x)"}
SKELETON = 'def total(x):\n    ...\n\n\ncheck("ex-a", total)'
SOLUTION = "import math\n\nunused = house\n\n\ndef helper(y):\n    return math.prod(reference.relu(y))\n\n\n" \
           "def total(x):\n    # why\n    return helper(x)\n\n\nassert total([1]) == 1"


def exercise(settings, skeleton, solution="", title="Compute ★", label="ex-a"):
    """Return the cells of an exercise."""
    def markdown(source, **metadata):
        return {"cell_type": "markdown", "metadata": metadata, "source": source}

    cells = [markdown(START.format(title=title, label=label), convlib={"exercise": settings})]
    cells += [code(skeleton, "a-tag")] if skeleton else []
    cells += [markdown(f":::{{solution-start}} {label}\n:class: dropdown\n:::\n\nSo.")]
    cells += [code(solution, "a-tag")] if solution else []
    return [*cells, markdown(":::{solution-end}\n:::\n\nText that belongs to nothing.")]


def exercises_of(root, *cells):
    """Export one chapter with these cells; return the records of its exercises."""
    write_chapter(root, "01_one", *cells)
    write_toc(root, "01_one")
    return json.loads(export.exported_files(root)["convlib/data/exercises.json"])


def test_an_exercise_with_values(tmp_path):
    record = exercises_of(tmp_path, *exercise(VALUES, 'check("ex-a", products=..., corners=...)'))["ex-a"]
    assert record == {
        "chapter": "01_one", "chapter_title": "A title", "part": "", "kind": "Compute", "stars": 1,
        "text": ["Write it."], "hints": HINTS, "skeleton": ['check("ex-a", products=..., corners=...)'],
        "solution_text": ["So."],
        "solution": [], "answers": {"products": ["27", "3 * 9"], "corners": ["{(0, 6), (6, 0)}", "{(6, 0), (0, 6)}"]},
        "wrong": {"products": [["9", "One channel only."]]}}
    assert list(record["answers"]) == ["products", "corners"]  # as in the skeleton


def test_an_exercise_with_code(tmp_path):
    record = exercises_of(tmp_path, *exercise(CODED, SKELETON, SOLUTION, "Code ★★★"))["ex-a"]
    assert (record["kind"], record["stars"], record["function"]) == ("Code", 3, "total")
    assert record["setup"] == ["from convlib import reference"] and record["problem"] == "relu(x)"
    assert "\n".join(record["solution"]) == SOLUTION and "\n".join(record["skeleton"]) == SKELETON
    right = "\n".join(record["right"])
    assert "unused" not in right and "assert" not in right
    assert re.findall(r"^(?:import|def) \w+", right, re.MULTILINE) == ["import math", "def helper", "def total"]


def test_exercises_stand_in_reading_order_with_their_parts(tmp_path):
    for name, label in (("02_first", "ex-b"), ("01_second", "ex-a"), ("03_third", "ex-c")):
        cells = exercise({"hints": HINTS}, "", title="Project ★★", label=label)
        write_chapter(tmp_path, name, *cells, title=f"# {name}")
    (tmp_path / "_toc.yml").write_text(
        "root: chapters/02_first\nparts:\n"
        "  - caption: Part I · Before\n    chapters:\n      - file: chapters/01_second\n"
        "  - caption: 'Part II'\n    chapters:\n      - file: chapters/03_third.ipynb\n")
    records = json.loads(export.exported_files(tmp_path)["convlib/data/exercises.json"])
    assert [(label, record["chapter"], record["part"]) for label, record in records.items()] == [
        ("ex-b", "02_first", ""), ("ex-a", "01_second", "Part I · Before"), ("ex-c", "03_third", "Part II")]


def test_an_exercise_without_settings_is_left_out(project):
    cells = exercise(VALUES, 'check("ex-a", products=..., corners=...)')
    del cells[0]["metadata"]["convlib"]
    write_chapter(project, "01_second", *cells)
    assert "convlib/data/exercises.json" not in export.exported_files(project)


def changed(settings, **changes):
    """Return settings with changes; None takes one away."""
    return {key: value for key, value in {**settings, **changes}.items() if value is not None}


def one(expression, name="n"):
    """Return the cells of an exercise with one answer."""
    return exercise({"hints": HINTS, "answers": {name: expression}}, f'check("ex-a", {name}=...)')


OPEN = 'check("ex-a", products=..., corners=...)'


@pytest.mark.parametrize(("cells", "message"), [
    (exercise(changed(VALUES, hints=None), OPEN), "has the hints None; expected a list of 3 sentences"),
    (exercise(changed(VALUES, hints=HINTS[:2]), OPEN), "has the hints ['Look.', 'Look closer.']; expected a list of 3"),
    (exercise(changed(VALUES, hints=["a", "b", " "]), OPEN), "expected a list of 3 sentences"),
    (exercise(changed(VALUES, hints=["a", "b", "$x$"]), OPEN), "has a hint with $"),
    (exercise(changed(VALUES, hint="a"), OPEN), "its metadata has ['hint']; expected answers, cases, function, hints"),
    (exercise("hints", OPEN), "its metadata has hints; expected answers"),
    (exercise(changed(VALUES, function="f"), OPEN), "has answers and a function; expected one of them"),
    (exercise({"hints": HINTS, "wrong": {}}, ""), "has wrong, but no answers"),
    (exercise({"hints": HINTS, "cases": "[]"}, ""), "has cases, but no function"),
    (exercise(VALUES, ""), "expected a skeleton that calls check with corners=..., p"),
    (exercise(VALUES, 'check("ex-a", products=...)'), "expected a skeleton that calls check with corners=..., p"),
    (exercise(VALUES, 'check("ex-a", products=27, corners=...)'), "its skeleton says products=27; expected pr"),
    (exercise(VALUES, 'check("ex-b", products=..., corners=...)'), 'calls check, but not check("ex-a", ...)'),
    (exercise(VALUES, "check(products=..."), "the skeleton is not plain Python"),
    (exercise({"hints": HINTS}, OPEN), "its skeleton calls check, but its metadata has neither answers nor function"),
    (exercise(changed(VALUES, answers={}), OPEN), "answers and wrong must be mappings of names, not {}"),
    (one("x"),
     "the answer n is 'x': expected numbers, strings, collections of them and arithmetic, not x"),
    (one("2 +"), "the answer n is not plain Python"),
    (one(3), "the answer n is not plain Python"),
    (one("1 / 0"), "division by zero"),
    (one("1e400"), "the answer n is '1e400': is not"),
    (one("open('x')"), "not open('x')"),
    (one("1", "keep"), "has an answer called keep"),
    (exercise(changed(VALUES, wrong={"n": {"1": "No."}}), OPEN), "has a wrong n, but no answer of this name"),
    (exercise(changed(VALUES, wrong={"products": {"27": "No."}}), OPEN), "the wrong products 27 is right"),
    (exercise(changed(VALUES, wrong={"products": {"9": ""}}), OPEN), "the wrong products 9 has no sentence"),
    (exercise(changed(VALUES, wrong={"products": {"9": "A.", "3 * 3": "B."}}), OPEN), "the same wrong products twice"),
    (exercise(VALUES, OPEN, title="Compute"), "has the title 'Compute'; expected Predict, Compute, Code"),
    (exercise(VALUES, OPEN, title="Compute ★★★★"), "has the title 'Compute ★★★★'"),
    (exercise(VALUES, OPEN)[:2], "no solution found (expected {solution-start} ex-a)"),
    (exercise(VALUES, OPEN, "x ="), "the solution is not plain Python"),
    (exercise(changed(CODED, function="sum_of"), SKELETON, SOLUTION), "the solution does not define sum_of (expected"),
    (exercise(CODED, SKELETON, "total = sum"), "the solution does not define total (expected 'def total'"),
    (exercise(changed(CODED, setup=None), SKELETON, SOLUTION), "solution of total uses reference; expected it in"),
    (exercise(changed(CODED, setup="x ="), SKELETON, SOLUTION), "setup is not plain Python"),
    (exercise(changed(CODED, cases="[house]"), SKELETON, SOLUTION), "cases use house; expected it in setup"),
    (exercise(changed(CODED, cases=None), SKELETON, SOLUTION), "has the cases None; expected a Python expression"),
    (exercise(changed(CODED, tests="relu"), SKELETON, SOLUTION), "expected a Python expression, in a string, or tests"),
    (exercise(changed(CODED, cases="[(]"), SKELETON, SOLUTION), "cases is not plain Python"),
    (exercise(changed(CODED, problem="relu("), SKELETON, SOLUTION), "problem is not plain Python"),
    (exercise(CODED, "", SOLUTION), "expected a skeleton that ends with check(..., total)"),
    (exercise(CODED, SKELETON.replace(", total)", ", x=total)"), SOLUTION), "expected a skeleton that ends with"),
    (exercise(CODED, SKELETON.replace("(x)", "(y)"), SOLUTION), "the same parameters, not (y) and (x)"),
    ([*exercise(VALUES, OPEN), *exercise(VALUES, OPEN)], "exercise ex-a: stands in the chapter 01_one too"),
])
def test_refused_exercises(tmp_path, cells, message):
    with pytest.raises(export.ExportError) as caught:
        exercises_of(tmp_path, *cells)
    assert str(caught.value).startswith("chapters/01_one.ipynb, exercise ex-a: ") and message in str(caught.value)


def test_a_label_of_two_chapters_and_all_that_is_wrong_is_named(tmp_path):
    for name in ("01_one", "02_two"):
        write_chapter(tmp_path, name, *exercise(VALUES, OPEN), *exercise({}, "", label="ex-b"), title=f"# {name}")
    write_toc(tmp_path, "01_one", "02_two")
    with pytest.raises(export.ExportError) as caught:
        export.exported_files(tmp_path)
    assert str(caught.value).splitlines() == [
        "chapters/01_one.ipynb, exercise ex-b: has the hints None; expected a list of 3 sentences",
        "chapters/02_two.ipynb, exercise ex-a: stands in the chapter 01_one too",
        "chapters/02_two.ipynb, exercise ex-b: has the hints None; expected a list of 3 sentences"]


@pytest.mark.parametrize(("expression", "literal"), [
    ("3 * 9", "27"), ("-2 ** 3 // 3", "-3"), ("7 / 2", "3.5"), ("sum([1, 2, 3]) % 4", "2"), ("'left' + 's'", "'lefts'"),
    ("(1,)", "(1,)"), ("()", "()"), ("((1, 2), [3])", "((1, 2), [3])"), ("{3, 1}", "{1, 3}"), ("True", "True"),
    ("1 / 3", "0.3333333333333333"), ("[{(1, 2), (0, 5)}]", "[{(0, 5), (1, 2)}]"),
])
def test_an_answer_is_computed_and_written_as_a_literal(tmp_path, expression, literal):
    record = exercises_of(tmp_path, *one(expression))["ex-a"]
    assert record["answers"] == {"n": [literal, expression]}


def test_check_notices_exercises_that_changed(project, capsys):
    write_chapter(project, "01_second", *exercise(VALUES, OPEN))
    assert export.main(["--root", str(project)]) == 0
    file = project / "convlib" / "data" / "exercises.json"
    kept = project / "convlib" / "__pycache__" / "reference.one-1.py311.nbi"
    kept.parent.mkdir()
    kept.touch()
    write_chapter(project, "01_second", *exercise(changed(VALUES, hints=["a", "b", "c"]), OPEN))
    assert export.main(["--check", "--root", str(project)]) == 1
    assert "stale convlib/data/exercises.json" in capsys.readouterr().err
    assert export.main(["--root", str(project)]) == 0 and kept.exists()  # no code has changed
    assert json.loads(file.read_text(encoding="utf-8"))["ex-a"]["hints"] == ["a", "b", "c"]
    write_chapter(project, "01_second")
    assert export.main(["--check", "--root", str(project)]) == 1
    assert "stray convlib/data/exercises.json" in capsys.readouterr().err
    assert export.main(["--root", str(project)]) == 0 and not file.exists()
