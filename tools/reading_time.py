"""How long a chapter takes to read, from its words and its lines of code.

    python tools/reading_time.py [chapters/one_kernel.ipynb ...]      write the minutes into the chapters

A chapter states them once, as "**Reading time:** 20 minutes." tests/test_book.py compares; tools/chapter.py writes
them whenever it stores a chapter. Only the words of one Markdown cell change, so nothing has to run again.
Whatever is named, the table of all parts is written into chapters/working.md; tests/test_guides.py compares.
"""

import ast
import re
import sys
from pathlib import Path

import nbformat
import yaml

WORDS_PER_MINUTE = 150  # with formulas among them
LINES_PER_MINUTE = 15
STEP = 5  # nobody reads to the minute
STATED = re.compile(r"(\*\*Reading time:\*\* )(\d+)( minutes)")
TAG = re.compile(r"</?(?:details|summary|code|sub|em)\b[^>]*>")
FOLDED = {"hide-input", "hide-cell", "remove-input", "remove-cell"}
ROOT = Path(__file__).resolve().parents[1]
CHAPTERS, PAGE = ROOT / "chapters", ROOT / "chapters" / "working.md"
EXERCISE = re.compile(r"^:{3,} *\{exercise-start\}", re.MULTILINE)
TABLE = re.compile(r"(<!-- time -->\n)(?:.*\n)*?(<!-- end -->)")


def minutes(notebook):
    """The minutes for all words and for the code that does not stand folded, docstrings counted by their summary."""
    words = sum(words_of(cell.source) for cell in notebook.cells if cell.cell_type == "markdown")
    lines = sum(lines_of(cell.source) for cell in notebook.cells
                if cell.cell_type == "code" and FOLDED.isdisjoint(cell.metadata.get("tags", [])))
    exact = words / WORDS_PER_MINUTE + lines / LINES_PER_MINUTE
    return max(STEP, STEP * round(exact / STEP))


def words_of(source):
    """The words and numbers of a Markdown cell, without the names of HTML tags."""
    return len(re.findall(r"\w+", TAG.sub(" ", source)))


def lines_of(source):
    """The lines of a cell that hold something, without what docstrings say below their first line."""
    lines = {number for number, line in enumerate(source.split("\n"), start=1) if line.strip()}
    try:
        tree = ast.parse(source)
    except SyntaxError:  # a command of IPython
        return len(lines)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
            lines -= set(range(node.body[0].lineno + 1, node.body[0].end_lineno + 1))
    return len(lines)


def stated(notebook):
    """The minutes that a chapter states, or None."""
    found = [STATED.search(cell.source) for cell in notebook.cells if cell.cell_type == "markdown"]
    return next((int(match[2]) for match in found if match), None)


def state(notebook):
    """Write the minutes into a notebook that states some; return whether that changed it."""
    for cell in notebook.cells:
        if cell.cell_type == "markdown" and STATED.search(cell.source):
            before = cell.source
            cell.source = STATED.sub(rf"\g<1>{minutes(notebook)}\g<3>", before)
            return cell.source != before
    return False


def table_of_parts():
    """Rows for each numbered part: its chapters, the minutes that they state, and their exercises; then the sums."""
    parts = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))["parts"]
    rows = ["| | chapters | reading time | exercises |", "| --- | --- | --- | --- |"]
    sums = [0, 0, 0]
    for part in (part for part in parts if part.get("numbered")):
        notebooks = [nbformat.read(ROOT / f"{chapter['file']}.ipynb", as_version=4) for chapter in part["chapters"]]
        cells = [cell for notebook in notebooks for cell in notebook.cells if cell.cell_type == "markdown"]
        counts = [len(notebooks), sum(stated(notebook) for notebook in notebooks),
                  sum(len(EXERCISE.findall(cell.source)) for cell in cells)]
        rows.append(row(part["caption"], counts))
        sums = [one + other for one, other in zip(sums, counts, strict=True)]
    return "\n".join([*rows, row("**All**", sums)]) + "\n"


def row(title, counts):
    chapters, time, exercises = counts
    return f"| {title} | {chapters} | {time // 60} h {time % 60} min | {exercises} |"


def write_table(page=PAGE):
    """Write the table into the page on how to work through the course; return whether that changed it."""
    before = page.read_text(encoding="utf-8")
    after = TABLE.sub(lambda found: f"{found[1]}\n{table_of_parts()}\n{found[2]}", before)
    page.write_text(after, encoding="utf-8")
    return after != before


def main(paths):
    for path in paths or sorted(CHAPTERS.glob("*.ipynb")):
        notebook = nbformat.read(path, as_version=4)
        if state(notebook):
            content = nbformat.writes(notebook, indent=1, ensure_ascii=False, sort_keys=True)
            Path(path).write_text(content.rstrip("\n") + "\n", encoding="utf-8")
            print(f"{path}: {stated(notebook)} minutes")
    if write_table():
        print(f"{PAGE}: the time of each part")


if __name__ == "__main__":
    main(sys.argv[1:])
