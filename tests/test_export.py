"""The exporter: what it writes, what it refuses, and that it notices when convlib and the chapters part."""

import json
import os
import subprocess
import sys

import export
import pytest

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
        code(FIRST + "\nfrom convlib.shapes import pad\nimport os.path\nfrom math import tau\nx = 1"),
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

from convlib.shapes import pad"""


def test_long_lists_are_wrapped(tmp_path):
    names = [f"a_rather_long_name_{letter}" for letter in "abcdef"]
    text = exported(tmp_path, code(f"{FIRST}\nfrom convlib.shapes import {', '.join(names)}"),
                    code("\n".join(f"{name}_too = 1" for name in names)))
    assert "from convlib.shapes import (\n    a_rather_long_name_a,\n" in text
    assert '__all__ = [\n    "a_rather_long_name_a_too",\n' in text
    assert max(map(len, text.splitlines())) <= 110
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
])
def test_refused_cells(tmp_path, source, message):
    assert message in refusal(tmp_path, code(FIRST), code(source))


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
])
def test_refused_tags(tmp_path, tags, message):
    assert message in refusal(tmp_path, code(FIRST, *tags))


def test_broken_files(tmp_path):
    with pytest.raises(export.ExportError, match=r"_toc.yml, the order of the chapters, cannot be read"):
        export.exported_files(tmp_path)
    write_toc(tmp_path, "01_one")
    (tmp_path / "chapters").mkdir()
    for content in ("{", "{}", "[]"):
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


def test_what_numba_kept_is_forgotten_when_a_module_changes(tmp_path):
    write_chapter(tmp_path, "01_one", code(FIRST))
    write_toc(tmp_path, "01_one")
    kept = tmp_path / "convlib" / "__pycache__" / "reference.one-1.py311.nbi"
    kept.parent.mkdir(parents=True)
    kept.touch()
    assert export.main(["--root", str(tmp_path)]) == 0 and not kept.exists()
    kept.touch()
    assert export.main(["--root", str(tmp_path)]) == 0 and kept.exists()
