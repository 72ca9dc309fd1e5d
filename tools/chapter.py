"""Edit a chapter as text and store it again, executed.

    python tools/chapter.py text  chapters/one_kernel.ipynb      notebook -> _build/text/one_kernel.md
    python tools/chapter.py store _build/text/one_kernel.md      text -> executed notebook in chapters/
    python tools/chapter.py run   chapters/one_kernel.ipynb      execute a stored notebook again, in place

A bare name, one_kernel, does for either path.
The text is MyST Markdown. Nothing random or volatile is stored: a second run gives the same bytes. The reading time
that a chapter states is counted anew (tools/reading_time.py).
What is written is read back first. A notebook or a text that would come back as something else is refused, and
then nothing is changed.
"""

import argparse
import hashlib
import itertools
import os
import re
import sys
from collections import Counter, defaultdict, deque
from pathlib import Path

import jupytext
import nbformat
import reading_time
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

REPOSITORY = Path(__file__).resolve().parents[1]
SECONDS_PER_CELL = 300
KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}
# Without the kernel's version, which differs from machine to machine.
LANGUAGE = {
    "file_extension": ".py",
    "mimetype": "text/x-python",
    "name": "python",
    "nbconvert_exporter": "python",
    "pygments_lexer": "ipython3",
}
OWN_NOTEBOOK_METADATA = {"kernelspec", "language_info", "jupytext", "widgets"}
VOLATILE_CELL_METADATA = {"ExecuteTime", "collapsed", "execution", "scrolled", "trusted"}
FOLDING_TAGS = {"hide-input", "hide-cell"}
HEADER = re.compile(r"\A---\n(?:.*\n)*?---\n")
# How a cell begins in a text: its fence, Python or no language, and its options, between two lines of dashes or
# one a line.
CELL_START = re.compile(
    r"^ {0,3}[`~]{3,}(\{(?:code|raw)-cell\})(?: *i?python3?)?[ \t]*\n"
    r"(---\n(?:.*\n)*?---\n|(?:[ \t]*:.*\n)*)",
    re.MULTILINE,
)
OPTION = re.compile(r"^(?:[ \t]*:)?([\w-]+):", re.MULTILINE)
# A directive that begins or ends a solution, and what may stand below the end.
GATE = re.compile(r"^:{3,} *\{solution-(start|end)\}.*\n(?::\w.*\n)*:{3,} *$(\s*\Z)?", re.MULTILINE)
# The first line of what is hidden is what JupyterLab shows of it. So it says, where a solution begins, that this is one
# (for MyST the line is a comment), and nothing further on.
FIRST_LINES = {True: "% Solution (click to open)\n", False: "\n"}
COLOUR_CODE = re.compile(r"\x1b\[[0-9;]*m")


class ChapterError(Exception):
    """What the author has to know; shown without a traceback."""


def command_text(path, root, force):
    """Write a notebook as MyST Markdown into _build/text."""
    text_path = root / "_build" / "text" / f"{path.stem}.md"
    notebook = read_notebook(path)
    if not force and holds_newer_work(text_path, than=path):
        raise ChapterError(
            f"{shown(text_path, root)} holds newer edits than {shown(path, root)}: "
            "store it first, or lose the edits with --force"
        )
    return report(text_path, root, write(text_path, proved_text(notebook, shown(path, root))))


def command_store(path, root, force):
    """Execute a text and write it as a notebook into chapters."""
    notebook_path = root / "chapters" / f"{path.stem}.ipynb"
    notebook = read_text(path)
    if not force and holds_newer_work(notebook_path, than=path):
        raise ChapterError(
            f"{shown(notebook_path, root)} was changed after {shown(path, root)} was written: "
            "turn it into text again, or overwrite it with --force"
        )
    if not force and notebook_path.exists():
        # The text cannot have been made from a notebook that no text can hold.
        proved_text(read_notebook(notebook_path), f"{shown(notebook_path, root)}, overwritten by --force only")
    return store(notebook, notebook_path, root, path)


def command_run(path, root, force):
    """Execute a stored notebook in place."""
    return store(read_notebook(path), path, root)


def store(notebook, path, root, text_path=None):
    """Normalise, execute and write a notebook; a failing cell leaves the old file as it was."""
    known_cells = read_notebook(path).cells if path.exists() else []
    notebook = normalised(notebook, path.stem, known_cells)
    text = proved_text(nbformat.reads(content_of(notebook, path), as_version=4), shown(path, root))
    if text_path:
        check_all_is_read(text_path, text)
    if reading_time.state(notebook):
        notebook = normalised(notebook, path.stem, known_cells)
    path.parent.mkdir(parents=True, exist_ok=True)
    execute(notebook, shown(path, root), path.parent)
    hide_outputs(notebook.cells)
    nbformat.validate(notebook)
    return report(path, root, write(path, content_of(notebook, path)))


# Reading ----------------------------------------------------------------------------------------------------


def read_notebook(path):
    """Read an .ipynb file."""
    if path.suffix != ".ipynb":
        raise ChapterError(f"{path}: expected a notebook (.ipynb)")
    try:
        return valid(nbformat.read(path, as_version=4))
    except Exception as error:  # nbformat lets whatever goes wrong inside pass through
        raise ChapterError(f"{path}: cannot be read as a notebook: {error}") from error


def read_text(path):
    """Read a MyST Markdown file as a notebook without outputs."""
    if path.suffix != ".md":
        raise ChapterError(f"{path}: expected a text (.md) as written by the command 'text'")
    try:
        return from_text(plain(path.read_bytes()))
    except Exception as error:  # the parsers of YAML, Markdown and notebooks share no narrower base class
        raise ChapterError(f"{path}: cannot be read as MyST Markdown: {error}") from error


def plain(content):
    """Return the characters of a text, whatever its line ends, without the mark some editors put in front."""
    return re.sub("\r\n?", "\n", content.decode("utf-8-sig"))


def from_text(text):
    """Return MyST Markdown as a notebook."""
    return valid(jupytext.reads(text, fmt="md:myst"))


def valid(notebook):
    """Return a notebook whose cells and metadata are what the format asks for."""
    nbformat.validate(normalised(notebook))
    return notebook


def to_text(notebook):
    """Return a notebook as MyST Markdown, without what the tool itself adds when it stores."""
    notebook = normalised(notebook)
    show_solutions(notebook.cells)
    for cell in notebook.cells:
        fold(cell, False)
        if cell.cell_type != "markdown" and cell.source.endswith("\n"):
            cell["source"] += "\n"  # the last one belongs to the fence
    # Stated in the header, so that other jupytext clients keep our notebook metadata as well.
    notebook.metadata["jupytext"] = {"notebook_metadata_filter": "all,-language_info"}
    return jupytext.writes(notebook, fmt="md:myst")


def holds_newer_work(path, than):
    """Tell whether a file is newer than its counterpart and says something else."""
    if not path.exists() or path.stat().st_mtime <= than.stat().st_mtime:
        return False
    mine, other = (read_text(each) if each.suffix == ".md" else read_notebook(each) for each in (path, than))
    return normalised(mine) != normalised(other)


# Nothing is lost --------------------------------------------------------------------------------------------


def proved_text(notebook, name):
    """Return a notebook as text, after reading the text back: a ChapterError names what would not come back."""
    try:
        text = to_text(notebook)
        found = from_text(plain(text.encode()))
    except Exception as error:  # of jupytext's choosing
        raise ChapterError(f"{name}: cannot be written as text: {error!r}") from error
    change = first_change(normalised(notebook), normalised(found))
    if change:
        raise ChapterError(f"{name}: {change}")
    return text


def first_change(notebook, found):
    """Return what a text does not give back of a notebook, or None."""
    for number, (cell, other) in enumerate(itertools.zip_longest(notebook.cells, found.cells), start=1):
        change = "is not in the notebook" if cell is None else cell_change(cell, other)
        if change:
            return f"cell {number} {change}"
    same = notebook.metadata == found.metadata
    return None if same else f"the notebook's metadata cannot be kept in a text: {dict(notebook.metadata)}"


def cell_change(cell, other):
    """Return what a text does not give back of a cell, or None."""
    mine, read = (getattr(each, "source", "") for each in (cell, other))
    if not mine.strip() and (other is None or mine != read):
        return f"({cell.cell_type}) is empty: delete it"
    for number, lines in enumerate(itertools.zip_longest(mine.split("\n"), read.split("\n")), start=1):
        if lines[0] != lines[1]:
            return (f"({cell.cell_type}) cannot be kept in a text, from line {number} on: {lines[0]!r} (blank lines at "
                    "the ends of a cell cannot, nor can '+++' and code cells inside Markdown)")
    if cell.cell_type != other.cell_type:
        return f"({cell.cell_type}) would be a cell of {other.cell_type}"
    if cell.get("attachments"):
        return f"holds an image, {', '.join(cell.attachments)}: a text cannot; save it as a file and link to that"
    if cell.metadata != other.metadata:
        return f"({cell.cell_type}) has metadata that cannot be kept in a text: {dict(cell.metadata)}"
    return None


def check_all_is_read(path, text_after):
    """Make sure that each line of a text is in the notebook read from it, and so in that notebook's text."""
    text = plain(path.read_bytes())
    for block in (*HEADER.finditer(text), *CELL_START.finditer(text)):
        for option, times in Counter(OPTION.findall(block[0])).items():
            if times > 1:  # YAML would take the last and say nothing
                number = text.count("\n", 0, block.start()) + 1
                raise ChapterError(f"{path}: {option} stands {times} times in the options that begin in line {number}")
    lost = said(text) - said(text_after)
    if lost:
        found = (number for number, line in enumerate(text.split("\n"), start=1) if line.strip() in lost)
        raise ChapterError(f"{path}: would be lost, from line {next(found, 1)} on: {', '.join(lost)}")


def said(text):
    """Return how often each line stands in a text, but for its header, options of cells, fences and blank lines."""
    lines = CELL_START.sub(r"\1\n", HEADER.sub("", text + "\n")).split("\n")
    return Counter(line.strip() for line in lines if line.strip(" \t`~+"))


# The stored form --------------------------------------------------------------------------------------------


def normalised(notebook, name="", known_cells=()):
    """Return a notebook without outputs and volatile metadata, each cell with a stable id."""
    kept = {key: value for key, value in notebook.metadata.items() if key not in OWN_NOTEBOOK_METADATA}
    cells = [normalised_cell(cell) for cell in notebook.cells]
    hide_solutions(cells)
    give_stable_ids(cells, name, known_cells)
    return nbformat.from_dict({
        "cells": cells,
        "metadata": {**kept, "kernelspec": KERNEL, "language_info": LANGUAGE},
        "nbformat": 4,
        "nbformat_minor": 5,
    })


def normalised_cell(cell):
    """Return a cell without its outputs and volatile metadata, folded if its tags say so."""
    metadata = {key: value for key, value in cell.metadata.items() if key not in VOLATILE_CELL_METADATA}
    clean = nbformat.from_dict({"cell_type": cell.cell_type, "metadata": metadata, "source": cell.source})
    if cell.get("attachments"):
        clean["attachments"] = cell.attachments
    if cell.cell_type == "code":
        clean.update(execution_count=None, outputs=[])
        fold(clean, not FOLDING_TAGS.isdisjoint(metadata.get("tags", [])))
    return clean


def fold(cell, hidden):
    """Hide or show a cell's source in JupyterLab, which knows nothing of the book's tags."""
    settings = dict(cell.metadata.pop("jupyter", {}))
    settings.pop("source_hidden", None)
    if hidden:
        settings["source_hidden"] = True
    if settings:
        cell.metadata["jupyter"] = settings


def solution_cells(cells):
    """Yield each cell that holds nothing but a solution, or a part of one, and whether a solution begins there.

    What holds nothing but the end of one is left out: there is nothing to hide.
    """
    inside = False
    for cell in cells:
        kind, source = said_by(cell)
        gates = list(GATE.finditer(source)) if kind == "markdown" else []
        begins = bool(gates) and gates[0][1] == "start" and gates[0].start() == 0
        ends = bool(gates) and gates[-1][1] == "end"
        belongs = begins or inside and bool(gates[0].start() if gates else source)
        belongs = belongs and (not ends or gates[-1][2] is not None)
        inside = (inside or bool(gates)) and not ends
        if belongs:
            yield cell, begins


def hide_solutions(cells):
    """Hide solutions in JupyterLab until somebody opens them; the book folds them by its own directives."""
    show_solutions(cells)
    for cell, begins in solution_cells(cells):
        fold(cell, True)
        cell["source"] = FIRST_LINES[begins] + cell.source


def hide_outputs(cells):
    """Hide what the code of solutions shows, as soon as it is known whether it shows anything."""
    for cell, _ in solution_cells(cells):
        if cell.get("outputs"):
            cell.metadata["jupyter"] = cell.metadata.get("jupyter", {}) | {"outputs_hidden": True}


def show_solutions(cells):
    """Take back what hides solutions."""
    for cell, begins in solution_cells(cells):
        cell.metadata.get("jupyter", {}).pop("outputs_hidden", None)
        fold(cell, False)
        cell["source"] = cell.source.removeprefix(FIRST_LINES[begins])


def give_stable_ids(cells, name, known_cells):
    """Keep the id of every cell that is already known; derive the others from what they say."""
    known_ids = defaultdict(deque)
    for cell in known_cells:
        if "id" in cell:
            known_ids[said_by(cell)].append(cell.id)
    for cell in cells:
        same = known_ids[said_by(cell)]
        cell["id"] = same.popleft() if same else None
    taken = {cell.id for cell in cells}
    for cell in cells:
        if cell.id is None:
            cell["id"] = new_id(name, cell.source, taken)
            taken.add(cell.id)


def said_by(cell):
    """Return what a cell is known by, whether or not it stands in a solution."""
    return cell.cell_type, cell.source.removeprefix(FIRST_LINES[True]).lstrip("\n")


def new_id(name, source, taken):
    """Return a cell id derived from the notebook's name and the cell's source."""
    candidates = (
        hashlib.sha256(f"{name}\n{counter}\n{source}".encode()).hexdigest()[:12]
        for counter in itertools.count()
    )
    return next(candidate for candidate in candidates if candidate not in taken)


def content_of(notebook, path):
    """Return the bytes, as a string, that a notebook is stored as."""
    try:
        content = nbformat.writes(notebook, indent=1, ensure_ascii=False, sort_keys=True)
        content.encode()
    except (TypeError, ValueError) as error:
        raise ChapterError(f"{path}: cannot be stored as a notebook: {error}") from error
    return content.rstrip("\n") + "\n"


# Execution --------------------------------------------------------------------------------------------------


def execute(notebook, name, folder):
    """Execute all cells on a fresh kernel; the first failing cell raises a ChapterError."""
    client = NotebookClient(
        notebook,
        timeout=SECONDS_PER_CELL,
        kernel_name=KERNEL["name"],
        record_timing=False,
        resources={"metadata": {"path": str(folder)}},
        extra_arguments=["--log-level=ERROR"],
    )
    with client.setup_kernel():
        for index, cell in enumerate(notebook.cells):
            try:
                client.execute_cell(cell, index)
            except CellExecutionError as error:
                reason = f"{where(cell)}{error.ename}: {error.evalue}"
                raise ChapterError(failure(name, index, cell, reason)) from error
            except CellTimeoutError as error:
                reason = f"no result after {SECONDS_PER_CELL} seconds"
                raise ChapterError(failure(name, index, cell, reason)) from error
            except DeadKernelError as error:
                raise ChapterError(failure(name, index, cell, "the kernel died")) from error
            if cell.cell_type == "code":
                cell["outputs"] = [stable_output(output) for output in merged_streams(cell.outputs)]


def failure(name, index, cell, reason):
    """Return the report on a failed cell: which one, what it says, what went wrong."""
    lines = [f"    {number:3} | {line}" for number, line in enumerate(cell.source.splitlines(), start=1)]
    return "\n".join([f"{name}: cell {index + 1} failed, the notebook was not written", *lines, reason])


def where(cell):
    """Return the places a failing cell's traceback names, without the code it quotes."""
    entries = [COLOUR_CODE.sub("", entry) for output in cell.outputs for entry in output.get("traceback", [])]
    places = [entry.splitlines()[0] for entry in entries if entry.startswith(("Cell In", "File "))]
    return "".join(f"    {place}\n" for place in places)


def merged_streams(outputs):
    """Merge neighbouring stream outputs, stdout first: how a stream is cut and mixed is chance."""
    merged = []
    for is_stream, group in itertools.groupby(outputs, key=lambda output: output.output_type == "stream"):
        if not is_stream:
            merged.extend(group)
            continue
        texts = defaultdict(str)
        for output in group:
            texts[output.name] += output.text
        merged.extend(nbformat.v4.new_output("stream", name=stream, text=texts[stream])
                      for stream in ("stdout", "stderr") if stream in texts)
    return merged


def stable_output(output):
    """Cut an expected error's traceback down to the notebook's own cells: other frames hold machine paths."""
    if output.output_type == "error":
        output["traceback"] = [entry for entry in output.traceback
                               if not COLOUR_CODE.sub("", entry).startswith("File ")]
    return output


# Writing ----------------------------------------------------------------------------------------------------


def write(path, content):
    """Write a file in one step; return whether that changed it."""
    if path.exists() and path.read_bytes() == content.encode():
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_bytes(content.encode())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return True


def report(path, root, changed):
    """Return the line that says what happened to a file."""
    return f"{'written' if changed else 'unchanged'} {shown(path, root)}"


def shown(path, root):
    """Return a path as short as possible."""
    path = path.resolve()
    return path.relative_to(root) if path.is_relative_to(root) else path


def located(path, command, root):
    """Return the file that a path, or the bare name of a chapter, stands for."""
    if path.suffix or path.name != str(path):
        return path
    if command == "store":
        return root / "_build" / "text" / f"{path}.md"
    return root / "chapters" / f"{path}.ipynb"


COMMANDS = {"text": command_text, "store": command_store, "run": command_run}


def main(arguments=None):
    """Run one command over all files; return 1 if any of them failed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("command", choices=COMMANDS)
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--force", action="store_true", help="overwrite newer work")
    parser.add_argument("--root", type=Path, default=REPOSITORY, help="the folder that holds chapters/")
    options = parser.parse_args(arguments)
    root = options.root.resolve()
    failed = False
    for path in options.files:
        try:
            path = located(path, options.command, root)
            print(COMMANDS[options.command](path, root, options.force), flush=True)
        except ChapterError as error:
            print(error, file=sys.stderr, flush=True)
            failed = True
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
