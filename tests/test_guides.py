"""The pages that guide: what they say about the course, its commands and its failures is so."""

import ast
import functools
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import export
import nbformat
import numpy as np
import pytest
import reading_time
import yaml

ROOT = Path(__file__).parents[1]
PAGES = {name: (ROOT / "chapters" / f"{name}.md").read_text(encoding="utf-8")
         for name in ("working", "teaching", "troubleshooting")}  # fmt: skip
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
TOC = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
PARTS = {part["caption"]: [Path(chapter["file"]).name for chapter in part["chapters"]]
         for part in TOC["parts"] if part.get("numbered")}  # fmt: skip
NUMBERED = [name for names in PARTS.values() for name in names]
STATES = ("not attempted", "wrong", "right")
PUBLIC = re.compile(r"from convlib\.check import .*")


def code_in(text):
    """All that a page shows as code: in a line, and in blocks."""
    return re.findall(r"`([^`\n]+)`", text) + re.findall(r"^```\w*\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


@functools.cache
def chapter(name):
    """The title of a chapter, the titles of its sections, and all its Markdown."""
    cells = json.loads((ROOT / "chapters" / f"{name}.ipynb").read_text(encoding="utf-8"))["cells"]
    text = "\n\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    return re.search("^# (.*)", text, re.MULTILINE)[1], re.findall("^## (.*)", text, re.MULTILINE), text


# --- commands and files ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PAGES)
def test_the_commands_and_files_that_a_page_names_are_there(name):
    assert missing("\n".join(code_in(PAGES[name]))) == []


def missing(text):
    """The make targets, files and programs that a text names and that are not there."""
    targets = re.findall(r"\bmake (?:[A-Z]+=\S+ )*([a-z-]+)", text)
    files = re.findall(r"(?<![\w/.])(?:chapters|tools|tests|\.ci)/[\w./]+[\w]", text)
    return [target for target in targets if not re.search(rf"^{target}:", MAKEFILE, re.MULTILINE)] + [
        file for file in files if not (ROOT / file).exists()
    ]


def test_what_is_not_there_is_found():
    assert missing("make book, make PYTHON=python3.12 book, make cake, tools/export.py, tools/cake.py") == [
        "cake",
        "tools/cake.py",
    ]


def test_the_first_page_and_the_readme_lead_to_the_guides():
    introduction = chapter("introduction")[2]
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for name in PAGES:
        assert f"({name}.md)" in introduction and f"(chapters/{name}.md)" in readme


# --- how to work through this ------------------------------------------------------------------------------------


def test_the_time_of_each_part_is_the_sum_of_its_chapters(tmp_path):
    """If this fails: python tools/reading_time.py writes the table."""
    page = tmp_path / "working.md"
    page.write_text(PAGES["working"], encoding="utf-8")
    assert not reading_time.write_table(page)
    rows = re.findall(r"^\| (Part .*?) \| (\d+) \| (\d+) h (\d+) min \|", PAGES["working"], re.MULTILINE)
    minutes = [
        sum(int(re.search(r"Reading time:\*\* (\d+)", chapter(name)[2])[1]) for name in names)
        for names in PARTS.values()
    ]
    assert [title for title, *_ in rows] == list(PARTS)
    assert [60 * int(hours) + int(rest) for _, _, hours, rest in rows] == minutes


def test_what_a_part_needs_is_what_its_chapters_need():
    rows = re.findall(r"^\| (Part [IV]+) \| (.*?) \|", PAGES["working"], re.MULTILINE)
    needs = {part: re.findall(r"Part [IV]+", needed) for part, needed in rows}
    part_of = {name: caption.split(" · ")[0] for caption, names in PARTS.items() for name in names}
    assert list(needs) == list(dict.fromkeys(part_of.values()))

    def all_before(part):
        return {part}.union(*(all_before(each) for each in needs[part]))

    for name, part in part_of.items():
        asked = re.search(r"\*\*Before you start:\*\*(.*?)\*\*Reading", chapter(name)[2], re.DOTALL)[1]
        for other in re.findall(r"\((\w+)\.ipynb\)", asked):
            assert part_of.get(other, part) in all_before(part), (name, other)


def test_a_table_that_is_out_of_date_is_written_anew(tmp_path):
    page = tmp_path / "working.md"
    page.write_text(re.sub(r"\d+ min", "99 min", PAGES["working"]), encoding="utf-8")
    assert reading_time.write_table(page) and page.read_text(encoding="utf-8") == PAGES["working"]


def test_the_page_speaks_of_the_checker_as_it_is():
    from convlib.check import Verdict, progress

    page = PAGES["working"]
    [line] = PUBLIC.findall(page)
    exec(line, names := {})
    for name in names.keys() - {"__builtins__"}:
        assert re.search(rf"`{name}\(|`{name}`", page)
    said = re.findall(r"^\| ([A-Z][a-z ]+\.) \|", page, re.MULTILINE)
    assert set(said) == {str(Verdict("ex", state)).split("\n")[0] for state in STATES}
    source = Path(progress.__code__.co_filename).read_text(encoding="utf-8")
    assert {"convlib-progress.json", "CONVLIB_PROGRESS=off"} <= set(code_in(page))
    assert '"convlib-progress.json"' in source and '"CONVLIB_PROGRESS"' in source and '"off"' in source


def test_the_options_of_the_checker_are_those_that_it_has():
    done = subprocess.run([sys.executable, "-m", "convlib.check", "--help"], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0
    for option in re.findall(r"--[a-z]+", " ".join(each for each in code_in(PAGES["working"]))):
        assert option in done.stdout


# --- for those who teach this ------------------------------------------------------------------------------------


def entries():
    """(part, title, file, text) for each chapter on the page for those who teach."""
    found = []
    for part in re.split(r"^## ", PAGES["teaching"], flags=re.MULTILINE)[1:]:
        for each in re.split(r"^### ", part, flags=re.MULTILINE)[1:]:
            title, file = re.match(r"\[(.*)\]\((\w+)\.ipynb\)", each).groups()
            found.append((part.split("\n")[0], title, file, each))
    return found


def test_every_chapter_stands_on_the_page_for_teachers_in_its_part():
    assert [(part, file) for part, _, file, _ in entries()] == [
        (part, name) for part, names in PARTS.items() for name in names
    ]
    for _, title, file, text in entries():
        assert title == chapter(file)[0]
        for heading in ("**Goal.**", "**Ask.**", f"<!-- checker: {file} -->", "**Short of time:**"):
            assert heading in text


@pytest.mark.parametrize("file", NUMBERED)
def test_what_may_be_left_out_is_a_section(file):
    [text] = [text for _, _, each, text in entries() if each == file]
    for title in re.findall(r"\*([^*]+)\*", text.split("**Short of time:**")[1]):
        assert any(section.startswith(title) for section in chapter(file)[1]), title


@pytest.mark.parametrize("file", NUMBERED)
def test_numbers_on_the_page_for_teachers_are_numbers_of_their_chapter(file):
    [text] = [text for _, _, each, text in entries() if each == file]
    own = re.sub(r"<!-- checker.*<!-- end -->", "", text, flags=re.DOTALL)
    for number in re.findall(r"\d+", own.split("\n", 1)[1]):
        assert re.search(rf"\b{number}\b", chapter(file)[2])


def test_what_nothing_needs_is_needed_by_nothing():
    assert "nothing later needs it" in [text for _, _, file, text in entries() if file == "workers"][0]
    later = NUMBERED[NUMBERED.index("workers") + 1 :]
    for name in later:
        needs = re.search(r"\*\*Before you start:\*\*(.*?)\*\*Reading", chapter(name)[2], re.DOTALL)[1]
        assert "workers.ipynb" not in needs


def test_the_mistakes_that_the_checker_knows_are_listed():
    """If this fails: python tools/teaching.py writes the lists."""
    import teaching

    assert teaching.with_lists(PAGES["teaching"]) == PAGES["teaching"]
    assert PAGES["teaching"].count("What the checker knows:") >= 5
    known = teaching.known_mistakes()
    assert set(known) <= {path.stem for path in (ROOT / "chapters").glob("*.ipynb")}
    emptied = teaching.LIST.sub(r"\1\3", PAGES["teaching"])
    assert emptied != PAGES["teaching"] and teaching.with_lists(emptied) == PAGES["teaching"]


# --- when something fails ----------------------------------------------------------------------------------------


def failures():
    """(title, text) of each entry."""
    parts = re.split(r"^### ", PAGES["troubleshooting"], flags=re.MULTILINE)[1:]
    return {part.split("\n")[0]: part.split("\n## ")[0] for part in parts}


@functools.cache
def sources():
    """What the programs of the course can say."""
    files = [*ROOT.glob("convlib/**/*.py"), *ROOT.glob("tools/*.py"), ROOT / "Makefile", ROOT / ".ci" / "run"]
    return "\n".join(file.read_text(encoding="utf-8") for file in [*files, ROOT / "tests" / "browser" / "served.py"])


def source_of(test):
    """The source of a named test, with what its module binds at the top."""
    file, name = test.split("::")
    text = (ROOT / file).read_text(encoding="utf-8")
    nodes = ast.parse(text).body
    [function] = [node for node in nodes if isinstance(node, ast.FunctionDef) and node.name == name]
    bound = [node for node in nodes if isinstance(node, ast.Assign)]
    return "\n".join(ast.get_source_segment(text, node) for node in [*bound, function])


@pytest.mark.parametrize("title", failures())
def test_each_failure_is_described_and_tried(title):
    text = failures()[title]
    seen = re.search(r"^\*\*You see:\*\* (.*)", text, re.MULTILINE)[1]
    assert re.search(r"^\*\*Why:\*\* \S", text, re.MULTILINE) and re.search(r"^\*\*Do:\*\* \S", text, re.MULTILINE)
    tests = re.findall(r"`(tests/\w+\.py::\w+)`", text.split("*Tried:*")[1])
    said = sources() + "".join(source_of(test) for test in tests)
    for words in re.findall(r"`([^`]+)`", seen):
        if not words.startswith("make ") and not (ROOT / words).exists():
            assert words in said, words


def fake_python(folder, body):
    """A program that answers in place of python3."""
    folder.mkdir(exist_ok=True)
    path = folder / "python"
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return path


def make_with(folder, body):
    """What `make` says that has to do with such a Python."""
    for name in ("Makefile", "_toc.yml", "pyproject.toml"):
        shutil.copy(ROOT / name, folder / name)
    done = subprocess.run(["make", f"PYTHON={fake_python(folder / 'bin', body)}", ".venv/.installed"], cwd=folder,
                          capture_output=True, text=True)  # fmt: skip
    assert done.returncode != 0 and not (folder / ".venv").exists()
    return done.stderr


needs_make = pytest.mark.skipif(not shutil.which("make"), reason="no make")


@needs_make
def test_make_refuses_an_old_python(tmp_path):
    assert "Python 3.11 or newer is needed" in make_with(tmp_path, 'case "$2" in *version_info*) exit 1;; esac')


@needs_make
def test_make_says_which_package_is_missing(tmp_path):
    said = make_with(tmp_path, 'case "$2" in *ensurepip*) exit 1;; esac')
    assert "has no venv; on Debian or Ubuntu: apt install python3-venv" in said


def python(program, *options, folder=ROOT):
    """What another Python says, run with a program in a folder."""
    return subprocess.run([sys.executable, *options, "-c", program], cwd=folder, capture_output=True, text=True)


def test_without_convlib_python_says_so(tmp_path):
    said = python("import convlib", "-I", "-S", folder=tmp_path).stderr
    assert "ModuleNotFoundError: No module named 'convlib'" in said


def test_another_convlib_is_recognised(tmp_path):
    (tmp_path / "convlib").mkdir()
    (tmp_path / "convlib" / "__init__.py").touch()
    said = python("import convlib\nprint(convlib.__file__)\nconvlib.conv2d", folder=tmp_path)
    assert "module 'convlib' has no attribute 'conv2d'" in said.stderr and str(tmp_path) in said.stdout
    assert 'name = "convlib-course"' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")


def test_a_numpy_that_numba_does_not_know():
    pytest.importorskip("numba")
    said = python("import numpy\nnumpy.__version__ = '99.0.0'\nimport convlib").stderr
    assert re.search("ImportError: Numba needs NumPy .* or less", said)


def test_a_cell_without_those_above_it_fails_with_a_name():
    cells = json.loads((ROOT / "chapters" / "one_kernel.ipynb").read_text(encoding="utf-8"))["cells"]
    code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    loop = next(source for source in code if source.startswith("total = 0"))
    with pytest.raises(NameError, match="name 'red' is not defined"):
        exec(loop, {})


def test_each_drawing_has_words_for_those_who_may_not_see_it():
    outputs = [output.get("data", {}) for name in NUMBERED
               for cell in nbformat.read(ROOT / "chapters" / f"{name}.ipynb", as_version=4).cells
               for output in cell.get("outputs", [])]  # fmt: skip
    drawings = [data for data in outputs if "<svg" in data.get("text/html", "")]
    assert len(drawings) > 50
    assert all(data["text/plain"].startswith("Figure:") for data in drawings)
    lab = re.search(r"^lab:.*\n((?:\t.*\n)+)", MAKEFILE, re.MULTILINE)[1]
    assert "jupyter trust chapters/*.ipynb" in lab


def test_a_loop_that_checks_its_indices_says_so():
    numba = pytest.importorskip("numba")
    if numba.config.DISABLE_JIT:
        pytest.skip("about compiled code")

    @numba.njit(boundscheck=True)
    def last(numbers):
        return numbers[len(numbers)]

    with pytest.raises(IndexError):
        last(np.zeros(3))


def test_a_cell_that_shows_something_else_is_named(tmp_path):
    cell = nbformat.v4.new_code_cell("3 * 9", execution_count=1)
    cell.outputs = [nbformat.v4.new_output("execute_result", {"text/plain": "28"}, execution_count=1)]
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), tmp_path / "one.ipynb")
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "tools.kernel_watch", "--nbval",
               "--nbval-current-env", "--color=no", f"--rootdir={tmp_path}", str(tmp_path)]  # fmt: skip
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 1
    for words in ("Cell 0", "one.ipynb", "3 * 9", "27", "28"):
        assert words in done.stdout


def test_jupyterlab_is_held_below_the_one_that_refuses_the_extension():
    lab = re.search(r"^lab = (.*?\])", (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE)[1]
    assert ",<4.6" in lab and "jupyterlab-myst>=2.6,<3" in lab
    [text] = [text for title, text in failures().items() if title.startswith("Directives")]
    assert "JupyterLab 4.6 refuses its version 2.7" in text
    assert ":::{exercise-start}" in chapter("one_kernel")[2]


def test_the_page_for_teachers_names_the_licences_that_there_are():
    assert "CC BY 4.0" in PAGES["teaching"] and "CC BY 4.0" in (ROOT / "LICENSE-TEXT.md").read_text(encoding="utf-8")
    assert export.read_chapters(ROOT)[0].title == "The Convolution Layer"
