"""The chapter tool: text to executed notebook and back, without loss and without chance."""

import json
import os
import re
import tempfile
from pathlib import Path

import chapter
import nbformat
import pytest
from hypothesis import given
from hypothesis import strategies as st

TEXT = """\
---
kernelspec:
  name: python3
  display_name: Python 3
  language: python
convlib:
  module: reference
---

# A title

:::{admonition} A note
:class: tip
Text.
:::

$$ a = b \\times c $$ (eq-F01)

+++

A second cell, and a block that is no cell:

```python
not_a_cell = 1
```

+++

:::{exercise-start} Code
:label: some-exercise
:::

```{code-cell} ipython3
:tags: [export, hide-input]

x = 1
```

```{code-cell} ipython3
---
mystnb:
  image:
    alt: Größe × 3
tags: [some-tag]
---
import sys

print("a")
print("error", file=sys.stderr)
print("b")
x
```

```{code-cell} ipython3
:tags: [raises-exception]

import json

json.loads("{")
```

:::{exercise-end}
:::
"""
MARKDOWN = [
    "# A title\n\n:::{admonition} A note\n:class: tip\nText.\n:::\n\n$$ a = b \\times c $$ (eq-F01)",
    "A second cell, and a block that is no cell:\n\n```python\nnot_a_cell = 1\n```",
    ":::{exercise-start} Code\n:label: some-exercise\n:::",
    ":::{exercise-end}\n:::",
]


def text_file(root, content, name="01_one"):
    """Write a chapter's text; return its path."""
    path = root / "_build" / "text" / f"{name}.md"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding="utf-8")
    return path


def code_text(*sources):
    """Return a chapter's text with these code cells."""
    return "# A title\n" + "".join(f"\n```{{code-cell}}\n{source}\n```\n" for source in sources)


def notebook_file(root, *cells, name="01_one"):
    """Write a notebook that was never executed, of cells or the sources of code cells; return its path."""
    cells = [nbformat.v4.new_code_cell(cell, id=f"known-{number}") if isinstance(cell, str) else cell
             for number, cell in enumerate(cells)]
    path = root / "chapters" / f"{name}.ipynb"
    path.parent.mkdir(exist_ok=True)
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)
    return path


def run(root, command, *arguments):
    """Run the tool inside a folder; return its exit code."""
    return chapter.main([command, *map(str, arguments), "--root", str(root)])


def make_newer(path, than):
    """Make one file a second newer than another: file systems differ in how finely they count."""
    os.utime(path, (0, than.stat().st_mtime + 1))


def test_store_text_run_are_byte_identical(tmp_path, capsys):
    text = text_file(tmp_path, TEXT)
    path = tmp_path / "chapters" / "01_one.ipynb"
    assert run(tmp_path, "store", text) == 0
    first = path.read_bytes()
    assert run(tmp_path, "run", path) == 0
    text.unlink()
    assert run(tmp_path, "text", "01_one") == 0
    first_text = text.read_bytes()
    assert run(tmp_path, "store", "01_one") == 0
    assert run(tmp_path, "text", path) == 0
    assert path.read_bytes() == first and text.read_bytes() == first_text
    assert capsys.readouterr().out.splitlines() == [
        "written chapters/01_one.ipynb", "unchanged chapters/01_one.ipynb", "written _build/text/01_one.md",
        "unchanged chapters/01_one.ipynb", "unchanged _build/text/01_one.md"]
    assert [file.name for file in path.parent.iterdir()] == ["01_one.ipynb"]
    assert b"source_hidden" not in first_text and first.endswith(b"}\n") and "Größe ×".encode() in first
    check_stored_form(nbformat.reads(first, as_version=4))


def check_stored_form(notebook):
    """Check what the text above must have become."""
    assert [cell.source for cell in notebook.cells if cell.cell_type == "markdown"] == MARKDOWN
    assert notebook.metadata == {"convlib": {"module": "reference"}, "kernelspec": chapter.KERNEL,
                                 "language_info": chapter.LANGUAGE}
    exported, printing, failing = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in (exported, printing, failing)] == [1, 2, 3]
    assert exported.metadata == {"tags": ["export", "hide-input"], "jupyter": {"source_hidden": True}}
    assert printing.metadata == {"mystnb": {"image": {"alt": "Größe × 3"}}, "tags": ["some-tag"]}
    assert [(each.get("name"), each.get("text")) for each in printing.outputs] == [
        ("stdout", "a\nb\n"), ("stderr", "error\n"), (None, None)]
    traceback = "".join(failing.outputs[0].traceback)
    assert "JSONDecodeError" in traceback and "loads" in traceback and "decoder.py" not in traceback


@pytest.mark.parametrize(("cell", "message"), [
    ("a = 1\nimport json\njson.loads('{')", "    Cell In[2], line 3\n"),
    ("import os\nos._exit(1)", "the kernel died"),
    ("while True:\n    pass", "no result after 1 seconds"),
])
def test_failing_cell_leaves_the_old_notebook(tmp_path, capsys, monkeypatch, cell, message):
    path = notebook_file(tmp_path, "old = 1")
    before = path.read_bytes()
    text = text_file(tmp_path, code_text("fine = 1", cell, "never = 1"))
    make_newer(text, than=path)
    monkeypatch.setattr(chapter, "SECONDS_PER_CELL", 1)
    assert run(tmp_path, "store", text) == 1
    said = capsys.readouterr().err
    assert said.startswith("chapters/01_one.ipynb: cell 3 failed, the notebook was not written\n      1 | ")
    assert message in said and len(said.splitlines()) < 15
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == ["01_one.ipynb"]


def test_one_failure_does_not_stop_the_other_notebooks(tmp_path, capsys):
    broken, fine = text_file(tmp_path, code_text("1 / 0"), "broken"), text_file(tmp_path, "# Fine", "fine")
    assert run(tmp_path, "store", broken, fine) == 1
    said = capsys.readouterr()
    assert said.out == "written chapters/fine.ipynb\n" and "ZeroDivisionError: division by zero" in said.err


def ids(sources, known=(), name="01_one"):
    """Return the ids that cells of these sources get, known being (id, source) pairs."""
    cells = [nbformat.from_dict({"cell_type": "code", "source": source}) for source in sources]
    old = [nbformat.from_dict({"cell_type": "code", "source": source, "id": known_id})
           for known_id, source in known]
    chapter.give_stable_ids(cells, name, old)
    return [cell.id for cell in cells]


def test_ids_are_kept_when_a_cell_in_the_middle_is_edited():
    known = [("a", "x = 1"), ("b", "x = 2"), ("c", "x = 1"), ("d", "x = 3")]
    edited = ids(["x = 1", "x = 20", "x = 1", "x = 3"], known)
    assert edited[0] == "a" and edited[2:] == ["c", "d"] and edited[1] not in "abcd"
    assert ids(["x = 3", "x = 1", "x = 2"], known) == ["d", "a", "b"]


def test_new_ids_depend_on_name_and_source_and_are_unique():
    first = ids(["x = 1", "x = 1", "x = 2"])
    assert first == ids(["x = 1", "x = 1", "x = 2"]) and len(set(first)) == 3
    assert not set(first) & set(ids(["x = 1", "x = 1", "x = 2"], name="02_two"))
    # A copy of a known cell must not get the id the known cell keeps.
    assert ids(["x = 1", "x = 1"], [(first[0], "x = 1")]) == first[:2]


def test_text_does_not_overwrite_newer_edits(tmp_path, capsys):
    path = notebook_file(tmp_path, "x = 1")
    text = text_file(tmp_path, code_text("x = 2"))
    make_newer(text, than=path)
    assert run(tmp_path, "text", path) == 1
    assert "_build/text/01_one.md holds newer edits than chapters/01_one.ipynb" in capsys.readouterr().err
    assert "x = 2" in text.read_text()
    assert run(tmp_path, "text", path, "--force") == 0
    assert "x = 1" in text.read_text()


def test_a_newer_text_without_edits_may_be_overwritten(tmp_path):
    path = notebook_file(tmp_path, "x = 1")
    assert run(tmp_path, "text", path) == 0
    make_newer(tmp_path / "_build" / "text" / "01_one.md", than=path)
    assert run(tmp_path, "text", path) == 0


def test_store_does_not_overwrite_a_newer_notebook(tmp_path, capsys):
    text = text_file(tmp_path, code_text("x = 2"))
    path = notebook_file(tmp_path, "x = 1")
    before = path.read_bytes()
    make_newer(path, than=text)
    assert run(tmp_path, "store", text) == 1
    assert "chapters/01_one.ipynb was changed after _build/text/01_one.md" in capsys.readouterr().err
    assert path.read_bytes() == before


TAGGED = """\
{{"cells": [{{"cell_type": "raw", "id": "a", "metadata": {{"tags": {}}}, "source": "a"}}],
"metadata": {{}}, "nbformat": 4, "nbformat_minor": 5}}"""


@pytest.mark.parametrize(("command", "name", "content", "message"), [
    ("text", "a.md", "", "expected a notebook (.ipynb)"),
    ("run", "a.ipynb", "{", "cannot be read as a notebook"),
    ("run", "a.ipynb", "{}", "cannot be read as a notebook"),
    ("run", "a.ipynb", "[]", "cannot be read as a notebook"),
    ("run", "missing.ipynb", None, "No such file"),
    ("run", "a.ipynb", TAGGED.format(5), "cannot be read as a notebook"),
    ("text", "a.ipynb", TAGGED.format('["a", "a"]'), "cannot be read as a notebook: ['a', 'a'] has non-unique"),
    ("store", "a.ipynb", "{}", "expected a text (.md)"),
    ("store", "missing", None, "No such file"),
    ("store", "a.md", "---\nkey: [\n---\n", "cannot be read as MyST Markdown"),
    ("store", "a.md", "# T\n\n```{code-cell}\n:tags: x: y: [\n1\n```\n", "Code cell 1 at line 3"),
])
def test_unreadable_input(tmp_path, capsys, command, name, content, message):
    path = tmp_path / name if "." in name else name
    if content is not None:
        path.write_text(content)
    assert run(tmp_path, command, path) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "chapters").exists()


IMAGE = {"image.png": {"image/png": "iVBORw0KGgo="}}


def markdown(source, **parts):
    """Return a Markdown cell."""
    return nbformat.v4.new_markdown_cell(source, **parts)


@pytest.mark.parametrize(("cell", "message"), [
    (markdown("![x](attachment:image.png)", attachments=IMAGE), "cell 2 holds an image, image.png"),
    (markdown("a\n\n```{code-cell}\nx = 1\n```"), "cell 2 (markdown) cannot be kept in a text, from line 2 on: ''"),
    (markdown("```{code-cell}\n```"), "cell 2 (markdown) cannot be kept in a text, from line 1 on: '```{code"),
    (markdown("a\n\n+++\n\nb"), "cell 2 (markdown) cannot be kept in a text, from line 2 on"),
    (markdown("a\n\n+++ b"), "cannot be written as text: MystMetadataParsingError('Markdown cell 2 at line"),
    (markdown("<!-- from here on nothing is seen"), "cell 2 (markdown) cannot be kept in a text, from line 2 on"),
    (markdown("```\nnot closed"), "cell 2 (markdown) cannot be kept in a text, from line 3 on"),
    (markdown("a\u2028b"), "cell 2 (markdown) cannot be kept in a text, from line 1 on: 'a\\u2028b'"),
    (markdown(""), "cell 2 (markdown) is empty: delete it"),
    (markdown("", metadata={"tags": ["a"]}), "cell 2 (markdown) is empty: delete it"),
    (markdown("\na"), "cell 2 (markdown) cannot be kept in a text, from line 1 on: ''"),
    (markdown("a\n"), "cell 2 (markdown) cannot be kept in a text, from line 2 on: ''"),
    (nbformat.v4.new_code_cell("\nx = 1"), "cell 2 (code) cannot be kept in a text, from line 1 on: ''"),
    (nbformat.v4.new_code_cell("  "), "cell 2 (code) is empty: delete it"),
    (nbformat.v4.new_code_cell("a = 1\r\nb = 2"), "cell 2 (code) cannot be kept in a text, from line 1 on"),
    (nbformat.v4.new_code_cell("a = '\x0b'"), "cannot be written as text: ReaderError("),
    (nbformat.v4.new_code_cell("", metadata={"autoscroll": True}), "cell 2 (code) has metadata that cannot"),
    (nbformat.v4.new_raw_cell("a\n\0"), "cannot be written as text: ReaderError("),
])
def test_a_notebook_that_no_text_can_hold_is_refused(tmp_path, capsys, cell, message):
    path = notebook_file(tmp_path, markdown("# A title"), cell, "1 + 1")
    before = path.read_bytes()
    assert run(tmp_path, "text", path) == run(tmp_path, "run", path) == 1
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 2 and all(line.startswith(f"chapters/01_one.ipynb: {message}") for line in said)
    assert not (tmp_path / "_build").exists() and path.read_bytes() == before


def test_notebook_metadata_that_no_text_can_hold_is_refused(tmp_path, capsys):
    path = notebook_file(tmp_path, "x = 1")
    book = nbformat.read(path, as_version=4)
    nbformat.write(nbformat.from_dict({**book, "metadata": {"convlib": {"module": float("nan")}}}), path)
    assert run(tmp_path, "text", path) == 1
    assert "the notebook's metadata cannot be kept in a text: {'convlib'" in capsys.readouterr().err


def test_an_image_in_the_stored_notebook_is_not_overwritten(tmp_path, capsys):
    path = notebook_file(tmp_path, markdown("![x](attachment:image.png)", attachments=IMAGE))
    before = path.read_bytes()
    text = text_file(tmp_path, "![x](attachment:image.png)\n")
    make_newer(text, than=path)
    assert run(tmp_path, "store", text) == 1
    assert "chapters/01_one.ipynb, overwritten by --force only: cell 1 holds an image" in capsys.readouterr().err
    assert path.read_bytes() == before
    assert run(tmp_path, "store", text, "--force") == 0


@pytest.mark.parametrize(("content", "message"), [
    ("# T\n\n+++ {\"a\": 1}\n\n```{code-cell}\nx = 1\n```\n", 'would be lost, from line 3 on: +++ {"a": 1}'),
    ("# T\n\n```{code-cell} julia\nx = 1\n```\n", "would be lost, from line 3 on: ```{code-cell} julia"),
    ("# T\n\na\u2028b\n\n```{code-cell}\nx = 1\n```\n", "would be lost, from line 3 on: a\u2028b"),
    ("# T\n\n```{code-cell}\n:tags: [export]\n:tags: [b]\nx = 1\n```\n", "tags stands 2 times in the options"),
    ("---\nconvlib: {module: a}\nconvlib:\n  module: b\n---\n# T\n", "convlib stands 2 times in the options"),
    ("# T\n\n```{code-cell}\n:day: 2020-01-01\n\nx = 1\n```\n", "cannot be stored as a notebook: Object of"),
    ("# T\n\n```{code-cell}\n:tags: hide-input\n\nx = 1\n```\n", "cannot be read as MyST Markdown: 'hide-"),
    ("# T\n\n```{code-cell}\n:tags:\n\nx = 1\n```\n", "cannot be read as MyST Markdown: "),
    ("# T\n\n```{code-cell}\n:tags\n\nx = 1\n```\n", "cannot be read as MyST Markdown: "),
    ("# T\n\n```{code-cell}\n\n\nx = 1\n```\n", "cell 2 (code) cannot be kept in a text, from line 1 on"),
])
def test_a_text_that_would_not_be_stored_whole_is_refused(tmp_path, capsys, content, message):
    assert run(tmp_path, "store", text_file(tmp_path, content)) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "chapters").exists()


@pytest.mark.parametrize("change", [
    lambda text: text.replace("\n", "\r\n"),
    lambda text: text.replace("\n", "\r"),
    lambda text: "\ufeff" + text,
    lambda text: text.replace(":tags: [export, hide-input]", "---\ntags:\n- export\n- hide-input\n---"),
    lambda text: text.replace("```{code-cell} ipython3", "~~~~{code-cell}").replace("x = 1\n```", "x = 1\n~~~~"),
    lambda text: text.replace("\n+++\n", "\n\n+++  \n\n+++\n\n"),
])
def test_the_same_text_in_other_clothes_is_the_same_notebook(tmp_path, monkeypatch, change):
    monkeypatch.setattr(chapter, "execute", lambda *_: None)
    text = TEXT[:TEXT.index("```{code-cell} ipython3\n---")]
    path = tmp_path / "chapters" / "01_one.ipynb"
    stored = []
    for content in (text, change(text)):
        written = text_file(tmp_path, "")
        written.write_bytes(content.encode())
        assert run(tmp_path, "store", written, "--force") == 0
        stored.append(path.read_bytes())
    assert text != change(text) and stored[0] == stored[1] and b"A second cell" in stored[0]


# Solutions are hidden in JupyterLab ---------------------------------------------------------------------------

START = ":::{solution-start} ex-a\n:class: dropdown\n:::"
END = ":::{solution-end}\n:::"
FIRST = "% Solution (click to open)\n"
SOLVED = [
    markdown(":::{exercise-start} Code\n:::\n\nWrite it.\n\n:::{exercise-end}\n:::"), "...",
    markdown(START), markdown("Twice."), "y = 2", markdown(END), "z = 3",
    markdown(f"{START}\n\nThree.\n\n{END}"), markdown("And on."),
]


def parts_of(path):
    """Return of each cell its source, and what is hidden of it."""
    return [(cell.source, sorted(cell.metadata.get("jupyter", {}))) for cell in nbformat.read(path, as_version=4).cells]


def test_a_solution_is_hidden_and_says_nothing_but_that_it_is_one(tmp_path, monkeypatch):
    monkeypatch.setattr(chapter, "execute", lambda *_: None)
    path = notebook_file(tmp_path, *SOLVED)
    known = [cell.id for cell in nbformat.read(path, as_version=4).cells]
    assert run(tmp_path, "run", path) == 0
    assert parts_of(path)[1:] == [
        ("...", []),
        (FIRST + START, ["source_hidden"]),
        ("\nTwice.", ["source_hidden"]),
        ("\ny = 2", ["source_hidden"]),
        (END, []),
        ("z = 3", []),
        (f"{FIRST}{START}\n\nThree.\n\n{END}", ["source_hidden"]),
        ("And on.", []),
    ]
    assert [cell.id for cell in nbformat.read(path, as_version=4).cells] == known
    stored = path.read_bytes()
    assert run(tmp_path, "run", path) == 0 and path.read_bytes() == stored


def test_what_a_solution_shows_is_hidden_too(tmp_path):
    path = notebook_file(tmp_path, markdown(START), "y = 2", "y", markdown(f"Two.\n\n{END}"), "y + 1")
    assert run(tmp_path, "run", path) == 0
    assert [hidden for _, hidden in parts_of(path)] == [
        ["source_hidden"], ["source_hidden"], ["outputs_hidden", "source_hidden"], ["source_hidden"], []]
    stored = path.read_bytes()
    assert run(tmp_path, "text", path) == run(tmp_path, "run", path) == 0 and path.read_bytes() == stored


def test_in_the_text_of_a_chapter_nothing_hides_a_solution(tmp_path, monkeypatch):
    monkeypatch.setattr(chapter, "execute", lambda *_: None)
    path = notebook_file(tmp_path, *SOLVED)
    assert run(tmp_path, "run", path) == run(tmp_path, "text", path) == 0
    stored, text = path.read_bytes(), tmp_path / "_build" / "text" / "01_one.md"
    assert "% Solution" not in text.read_text() and "hidden" not in text.read_text()
    assert "Twice.\n\n```{code-cell} ipython3\ny = 2" in text.read_text()
    assert run(tmp_path, "store", text, "--force") == 0 and path.read_bytes() == stored


def test_a_cell_that_is_no_solution_any_more_is_shown(tmp_path, monkeypatch):
    monkeypatch.setattr(chapter, "execute", lambda *_: None)
    path = notebook_file(tmp_path, *SOLVED)
    assert run(tmp_path, "run", path) == run(tmp_path, "text", path) == 0
    text = tmp_path / "_build" / "text" / "01_one.md"
    text.write_text(text.read_text().replace(START, "").replace(END, ""))
    assert run(tmp_path, "store", text, "--force") == 0
    assert not any(hidden or source.startswith(("%", "\n")) for source, hidden in parts_of(path))


def test_what_is_no_solution_is_not_hidden_with_one(tmp_path, monkeypatch):
    monkeypatch.setattr(chapter, "execute", lambda *_: None)
    mixed = markdown(f"Write it.\n\n{START}"), "y = 2", markdown(f"{END}\n\nThe next one.")
    path = notebook_file(tmp_path, *mixed)
    assert run(tmp_path, "run", path) == 0
    assert [hidden for _, hidden in parts_of(path)] == [[], ["source_hidden"], []]


@pytest.mark.parametrize("path", sorted((chapter.REPOSITORY / "chapters").glob("*.ipynb")), ids=lambda path: path.stem)
def test_each_solution_of_a_chapter_has_cells_of_its_own(path):
    cells = chapter.read_notebook(path).cells
    for cell in cells:
        cell["belongs"] = False
    for cell, _ in chapter.solution_cells(cells):
        cell["belongs"] = True
    assert [cell.source for cell in cells if cell.cell_type == "markdown" and not cell.belongs
            and re.search(r"\{solution-(start|end)\}", cell.source) and cell.source.strip() != END] == []


NASTY_LINES = [
    "W b", "", " ", "  W", "W  ", "\tW", "+++", '+++ {"a": "W"}', "+++ W", "---", "a: W", ":tags: [W]", ":a: W", "```",
    "````", "~~~", "```{code-cell}", "```{code-cell} ipython3", "````{code-cell} W", "```{raw-cell}", "```W", ":::{W}",
    ":::", "- W", "> W", "    W", "<W>", "<!--", "-->", "$$", "# W", "% W", "|W|", "W\r", "\rW", "W\x0cb",
    "W\u2028b", "W\x85", "\\", "\ufeffW", "W\0", "[W]: b", "W\n===",
]
SOURCES = st.lists(st.sampled_from(NASTY_LINES), max_size=5).map("\n".join)
METADATA = st.sampled_from(4 * [{}] + [
    {"tags": ["a", "b"]}, {"mystnb": {"image": {"alt": "x: 'y'"}}}, {"a": "1", "b": "yes"}, {"a": None},
    {"a": "x\ny  "}, {"a b": [{"c": 1.5}]}, {"a": []}, {"autoscroll": True}, {"1": "2020-01-01"}, {"a": "\u2028"},
])
CELLS = st.one_of(
    st.builds(nbformat.v4.new_code_cell, SOURCES, metadata=METADATA),
    st.builds(nbformat.v4.new_raw_cell, SOURCES, metadata=METADATA),
    st.builds(nbformat.v4.new_markdown_cell, SOURCES, metadata=METADATA),
    st.builds(nbformat.v4.new_markdown_cell, SOURCES, attachments=st.sampled_from([{}, IMAGE])),
)


def without_ids(notebook):
    """Return what must not get lost of a notebook."""
    parts = ("cell_type", "source", "metadata", "attachments")
    return notebook.metadata, [[cell.get(part) or None for part in parts] for cell in notebook.cells]


def test_blank_lines_at_the_end_of_code_are_kept(tmp_path):
    path = notebook_file(tmp_path, "x = 1\n", nbformat.v4.new_raw_cell("a\n\n"), "", ":x", "---\nx")
    assert run(tmp_path, "text", path) == 0
    text = chapter.read_text(tmp_path / "_build" / "text" / "01_one.md")
    assert [cell.source for cell in text.cells] == ["x = 1\n", "a\n\n", "", ":x", "---\nx"]


@given(st.lists(CELLS, max_size=4), METADATA)
def test_a_notebook_comes_back_from_its_text_or_is_refused(cells, metadata):
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(chapter, "execute", lambda *_: None)
        root = Path(folder)
        path = notebook_file(root, *cells)
        book = nbformat.read(path, as_version=4)
        known = {"kernelspec": chapter.KERNEL, "language_info": chapter.LANGUAGE}
        book["metadata"] = nbformat.from_dict({**metadata, **known})
        nbformat.write(book, path)
        before, wanted = path.read_bytes(), without_ids(nbformat.read(path, as_version=4))
        if run(root, "text", path) == 0:
            assert run(root, "store", "--force", "01_one") == 0
            assert without_ids(nbformat.read(path, as_version=4)) == wanted
        else:
            assert not (root / "_build").exists() and path.read_bytes() == before


@given(st.lists(st.sampled_from(NASTY_LINES), max_size=12))
def test_every_word_of_a_text_is_in_the_notebook_or_it_is_refused(lines):
    lines = [line.replace("W", f"word{number}") for number, line in enumerate(lines)]
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(chapter, "execute", lambda *_: None)
        root = Path(folder)
        text = text_file(root, "")
        text.write_bytes("\n".join(lines).encode())
        path = root / "chapters" / "01_one.ipynb"
        if run(root, "store", text) == 0:
            stored = json.loads(path.read_bytes())
            for word in re.findall(r"word\d+", "\n".join(lines)):
                assert re.search(rf"{word}\b", json.dumps(stored["cells"] + [stored["metadata"]]))
            assert run(root, "text", path, "--force") == run(root, "store", text, "--force") == 0
            assert json.loads(path.read_bytes()) == stored
        else:
            assert not path.exists()


@pytest.mark.parametrize("path", sorted((chapter.REPOSITORY / "chapters").glob("*.ipynb")), ids=lambda path: path.stem)
def test_every_chapter_can_be_edited_as_text(path):
    assert chapter.proved_text(chapter.read_notebook(path), path.name)
