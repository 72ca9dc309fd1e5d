"""Every chapter is stored as a reader, the strict output comparison and the exporter need it."""

import ast
import json
import re
from pathlib import Path

import chapter
import export
import nbformat
import pytest

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "chapters").glob("*.ipynb"))
LONGEST_CELL, LONGEST_EXPORTED_CELL = 40, 45
MACHINE_PATH = re.compile(
    r"(?<![\w.~])(?:~|/home|/Users|/root|/tmp|/usr|/opt|/var|/mnt|/work|/private)/\w|\b[A-Z]:\\Users|"
    + re.escape(str(ROOT))
)
OBJECT_ADDRESS = re.compile(r"<[^<>]* at 0x[0-9a-fA-F]+>")
SVG_FOR_ALL = re.compile(r"""<[^>]*(?=[^>]*role="img")[^>]*aria-label="[^"]*\S[^"]*\"""")


def tags(cell):
    """Return a cell's tags."""
    return cell.metadata.get("tags", [])


def is_exported(cell):
    """Tell whether a cell's code goes into convlib."""
    return cell.cell_type == "code" and any(re.match("export(-|$)", tag) for tag in tags(cell))


def code_cells(notebook):
    """Return the code cells that have code, each with its number in the notebook."""
    return [(number, cell) for number, cell in enumerate(notebook.cells, start=1)
            if cell.cell_type == "code" and cell.source.strip()]


def outputs(notebook):
    """Return all outputs, each with its cell and the cell's number."""
    return [(number, cell, output) for number, cell in code_cells(notebook) for output in cell.outputs]


def shown_texts(output):
    """Return all that an output shows, except for pixels."""
    data = [value for kind, value in output.get("data", {}).items() if kind != "image/png"]
    texts = [value if isinstance(value, str) else json.dumps(value) for value in data]
    return [*texts, output.get("text", ""), *output.get("traceback", [])]


# Each check takes a notebook and returns what is wrong with it.


def invalid_format(notebook):
    """Check the notebook against its format, version 4.5."""
    if (notebook.nbformat, notebook.nbformat_minor) != (4, 5):
        return [f"format {notebook.nbformat}.{notebook.nbformat_minor}, expected 4.5"]
    return [error.message for error in nbformat.validator.iter_validate(notebook)]


def wrong_execution_counts(notebook):
    """Check that the code cells are counted 1, 2, 3: nbval does not compare a cell without a count."""
    counts = [cell.execution_count for _, cell in code_cells(notebook)]
    return [] if counts == list(range(1, len(counts) + 1)) else [f"execution counts {counts}"]


def unexpected_errors(notebook):
    """Check that a cell fails only where it is said to."""
    return [f"cell {number}: {output.ename}: {output.evalue}" for number, cell, output in outputs(notebook)
            if output.output_type == "error" and "raises-exception" not in tags(cell)]


def warnings_shown(notebook):
    """Check that no warning is stored: it would hold paths, and a reader would wonder."""
    return [f"cell {number}: {output.text}" for number, _, output in outputs(notebook)
            if output.get("name") == "stderr"]


def repeated_ids(notebook):
    """Check that each cell has an id of its own."""
    ids = [cell.get("id") for cell in notebook.cells]
    wrong = [each for each in set(ids) if each is None or ids.count(each) > 1]
    return [f"id {each} occurs {ids.count(each)} times" for each in wrong]


def volatile_metadata(notebook):
    """Check that the metadata is what tools/chapter.py stores: no timings, no versions, nothing left over."""
    expected = chapter.normalised(notebook, known_cells=notebook.cells)
    for cell, other in zip(expected.cells, notebook.cells, strict=True):
        if other.cell_type == "code":
            cell["outputs"] = other.outputs  # what a solution shows is hidden, too
    chapter.hide_outputs(expected.cells)
    wrong = [] if notebook.metadata == expected.metadata else [f"notebook metadata {notebook.metadata}"]
    pairs = enumerate(zip(notebook.cells, expected.cells, strict=True), start=1)
    return wrong + [f"cell {number}: metadata {cell.metadata}, expected {other.metadata}"
                    for number, (cell, other) in pairs if cell.metadata != other.metadata]


def lost_as_text(notebook):
    """Check that the notebook comes back from its text form as it went in."""
    stored = chapter.normalised(notebook)
    returned = chapter.normalised(chapter.jupytext.reads(chapter.to_text(notebook), fmt="md:myst"))
    if len(stored.cells) != len(returned.cells):
        return [f"{len(stored.cells)} cells, but {len(returned.cells)} after editing as text"]
    pairs = enumerate(zip(stored.cells, returned.cells, strict=True), start=1)
    return [f"cell {number}: changes when edited as text" for number, (one, other) in pairs if one != other]


def machine_traces(notebook):
    """Check that nothing tells where, or at which address, the notebook was run."""
    texts = [(number, text) for number, _, output in outputs(notebook) for text in shown_texts(output)]
    texts += [(number, cell.source) for number, cell in enumerate(notebook.cells, start=1)]
    return [f"cell {number}: shows {match[0]}" for number, text in texts
            for pattern in (MACHINE_PATH, OBJECT_ADDRESS) for match in pattern.finditer(text)]


def long_cells(notebook):
    """Check that a cell fits on a screen."""
    wrong = []
    for number, cell in code_cells(notebook):
        length = len(cell.source.splitlines())
        limit = LONGEST_EXPORTED_CELL if is_exported(cell) else LONGEST_CELL
        if length > limit:
            wrong.append(f"cell {number}: {length} lines, expected at most {limit}")
    return wrong


def images_without_text(notebook):
    """Check that each picture says in words what it shows."""
    wrong = []
    for number, cell, output in outputs(notebook):
        data = output.get("data", {})
        alt = cell.metadata.get("mystnb", {}).get("image", {}).get("alt", "")
        if not data.keys().isdisjoint({"image/png", "image/svg+xml"}) and not alt.strip():
            wrong.append(f"cell {number}: an image without mystnb.image.alt")
        html = data.get("text/html", "")
        if "<svg" in html and not SVG_FOR_ALL.search(html):
            wrong.append(f'cell {number}: a drawing without role="img" and aria-label')
    return wrong


def unplaced_docstrings(notebook):
    """Check that the docstring of each exported function and class names a chapter."""
    wrong = []
    for number, cell in code_cells(notebook):
        for node in ast.parse(cell.source).body if is_exported(cell) else []:
            is_public = isinstance(node, export.DEFINITIONS) and not node.name.startswith("_")
            if is_public and not re.search("[Cc]hapter", ast.get_docstring(node) or ""):
                wrong.append(f"cell {number}: the docstring of {node.name} names no chapter")
    return wrong


CHECKS = [
    invalid_format, wrong_execution_counts, unexpected_errors, warnings_shown, repeated_ids,
    volatile_metadata, lost_as_text, machine_traces, long_cells, images_without_text, unplaced_docstrings,
]


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_chapter(path, check):
    assert check(nbformat.read(path, as_version=4)) == []


def test_convlib_is_what_the_chapters_export(capsys):
    assert export.main(["--check"]) == 0, capsys.readouterr().err


# The checks themselves: each must pass a good notebook and find what was planted in a bad one.


def notebook_of(source="x = 1", outputs=(), count=1, **metadata):
    """Return a notebook of one executed code cell, otherwise stored as it should be."""
    cell = nbformat.v4.new_code_cell(source, id="one", outputs=list(outputs), metadata=metadata,
                                     execution_count=count)
    about = {"kernelspec": chapter.KERNEL, "language_info": chapter.LANGUAGE}
    return nbformat.from_dict(nbformat.v4.new_notebook(cells=[cell], metadata=about))


def display(kind, content):
    """Return an output of one kind."""
    return nbformat.v4.new_output("display_data", data={kind: content})


def stream(name, text):
    """Return a stream output."""
    return nbformat.v4.new_output("stream", name=name, text=text)


def with_cells(notebook, *cells):
    """Return a notebook with more cells."""
    notebook.cells.extend(cells)
    return notebook


ERROR = nbformat.v4.new_output("error", ename="ValueError", evalue="no", traceback=["File /home/x/a.py:3"])
ALT = {"image": {"alt": "A house."}}
DRAWING = '<div><svg viewBox="0 0 1 1" role="img" aria-label="A house."></svg></div>'
FUNCTION = 'def f():\n    """Do it (chapter "One kernel, one neuron")."""\n\n\ndef _hidden():\n    pass'
VERSIONED = nbformat.v4.new_notebook(metadata={"language_info": {"name": "python", "version": "3.12.1"}})
OLD = nbformat.from_dict({**nbformat.v4.new_notebook(), "nbformat_minor": 4})


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("notebook", [
    notebook_of(),
    notebook_of("f", [nbformat.v4.new_output("error", ename="E", evalue="", traceback=[])],
                tags=["raises-exception"]),
    notebook_of("print(a)", [stream("stdout", "ratio 1/home, https://a.org/home/x, a/tmp/b at 0x1f")]),
    notebook_of("show()", [display("image/png", "iVBO/tmp/aaa")], mystnb=ALT),
    notebook_of("show()", [display("text/html", DRAWING)]),
    notebook_of(FUNCTION + "\n" * 38 + "x = 1", tags=["export-datasets"]),
])
def test_checks_accept_good_notebooks(check, notebook):
    assert check(notebook) == []


@pytest.mark.parametrize(("check", "notebook"), [
    (invalid_format, OLD),
    (invalid_format, with_cells(notebook_of(), nbformat.from_dict({"cell_type": "code", "id": "two"}))),
    (wrong_execution_counts, notebook_of(count=2)),
    (wrong_execution_counts, notebook_of(count=None)),
    (unexpected_errors, notebook_of(outputs=[ERROR])),
    (warnings_shown, notebook_of(outputs=[stream("stderr", "careful")])),
    (repeated_ids, with_cells(notebook_of(), *notebook_of().cells)),
    (repeated_ids, with_cells(notebook_of(), nbformat.from_dict({"cell_type": "markdown", "source": "a"}))),
    (volatile_metadata, notebook_of(execution={"iopub.execute_input": "2026-01-01T00:00:00Z"})),
    (volatile_metadata, notebook_of(tags=["hide-input"])),
    (volatile_metadata, VERSIONED),
    (lost_as_text, with_cells(notebook_of(), nbformat.v4.new_markdown_cell("```{code-cell}\n1\n```"))),
    (machine_traces, notebook_of(outputs=[ERROR])),
    (machine_traces, notebook_of(outputs=[display("text/html", "<a title='/tmp/x'>")])),
    (machine_traces, notebook_of(outputs=[display("text/plain", "<Figure object at 0x7f3a5c>")])),
    (machine_traces, notebook_of(f"open('{ROOT}')")),
    (machine_traces, notebook_of("open('~/data')")),
    (long_cells, notebook_of("x = 1\n" * 41)),
    (long_cells, notebook_of("x = 1\n" * 46, tags=["export"])),
    (images_without_text, notebook_of(outputs=[display("image/png", "iVBO")])),
    (images_without_text, notebook_of(outputs=[display("image/svg+xml", "<svg/>")], mystnb={"image": {}})),
    (images_without_text, notebook_of(outputs=[display("text/html", "<svg></svg>")])),
    (images_without_text, notebook_of(outputs=[display("text/html", DRAWING.replace("A house.", ""))])),
    (images_without_text, notebook_of(outputs=[display("text/html", DRAWING.replace("img", "none"))])),
    (unplaced_docstrings, notebook_of("def f():\n    pass", tags=["export"])),
    (unplaced_docstrings, notebook_of('class C:\n    """Nowhere."""', tags=["export-layers"])),
])
def test_checks_find_what_is_wrong(check, notebook):
    assert len(check(notebook)) == 1
