"""The chapter tool: text to executed notebook and back, without loss and without chance."""

import os

import chapter
import nbformat
import pytest

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

:::{solution-start} some-exercise
:class: dropdown
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

:::{solution-end}
:::
"""
MARKDOWN = [
    "# A title\n\n:::{admonition} A note\n:class: tip\nText.\n:::\n\n$$ a = b \\times c $$ (eq-F01)",
    "A second cell, and a block that is no cell:\n\n```python\nnot_a_cell = 1\n```",
    ":::{solution-start} some-exercise\n:class: dropdown\n:::",
    ":::{solution-end}\n:::",
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


def notebook_file(root, *sources, name="01_one"):
    """Write a notebook that was never executed; return its path."""
    cells = [nbformat.v4.new_code_cell(source, id=f"known-{number}") for number, source in enumerate(sources)]
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


@pytest.mark.parametrize(("command", "name", "content", "message"), [
    ("text", "a.md", "", "expected a notebook (.ipynb)"),
    ("run", "a.ipynb", "{", "cannot be read as a notebook"),
    ("run", "a.ipynb", "{}", "cannot be read as a notebook"),
    ("run", "a.ipynb", "[]", "cannot be read as a notebook"),
    ("run", "missing.ipynb", None, "No such file"),
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
