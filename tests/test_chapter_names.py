"""Chapters are spoken of by name, everywhere: their numbers come from _toc.yml alone, so that they can be moved."""

import json
import re
from pathlib import Path

import export
import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = {"chapters": ("ipynb", "md"), "convlib": ("py",), "tools": ("py", "css", "js"), "benchmarks": ("py",)}
TEXTS = [path for folder, suffixes in FOLDERS.items() for suffix in suffixes
         for path in sorted((ROOT / folder).rglob(f"*.{suffix}")) if ".ipynb_checkpoints" not in path.parts]
TEXTS += [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "Makefile", "_config.yml", "pyproject.toml")]
BY_NUMBER = re.compile(r"\b[Cc]hapters?[\s~]+\d|\b\d\d_[a-z]")
NAMED = re.compile(r'\b[Cc]hapters? "([^"]+)"')


def texts_of(path):
    """What a file says. Of a notebook: cells, captions and outputs, but not the drawings."""
    text = path.read_text(encoding="utf-8")
    if path.suffix != ".ipynb":
        return [text]
    cells = json.loads(text)["cells"]
    said = ["".join(cell["source"]) + json.dumps(cell["metadata"], ensure_ascii=False) for cell in cells]
    for output in (output for cell in cells for output in cell.get("outputs", [])):
        said += ["".join(output.get("text", "")), "".join(output.get("data", {}).get("text/plain", ""))]
    return said


def named_by_number(text):
    """The places where a text calls a chapter by its number."""
    return BY_NUMBER.findall(text)


def unknown_names(text, titles):
    """The chapters that a text names and that do not exist. A docstring may break a name into two lines."""
    return {name for name in (" ".join(name.split()) for name in NAMED.findall(text)) if name not in titles}


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_text_calls_a_chapter_by_its_number(path):
    assert [found for text in texts_of(path) for found in named_by_number(text)] == []


def test_no_chapter_has_a_number_in_the_name_of_its_file():
    assert [path.name for path in (ROOT / "chapters").iterdir() if re.match(r"\d", path.name)] == []


@pytest.fixture(scope="module")
def titles():
    return {chapter.title for chapter in export.read_chapters(ROOT)}


@pytest.mark.parametrize("path", sorted((ROOT / "convlib").rglob("*.py")),
                         ids=lambda path: path.relative_to(ROOT).as_posix())
def test_the_library_names_chapters_that_exist(path, titles):
    assert unknown_names(path.read_text(encoding="utf-8"), titles) == set()


@pytest.mark.parametrize("text", ["as in Chapter 3", "Chapters\n3 and 4", "(chapter 12)", "chapters/03_learning_flow"])
def test_a_chapter_called_by_its_number_is_found(text):
    assert len(named_by_number(text)) == 1


def test_a_name_that_no_chapter_has_is_found():
    assert unknown_names('Source: chapter "The weights"; chapter "Planes\n    and wings".', {"The weights"}) == {
        "Planes and wings"}
