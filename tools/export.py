"""Export the tagged cells of the chapters into the package convlib.

    python tools/export.py            write every module that changed, delete what no chapter exports
    python tools/export.py --check    write nothing; fail if convlib/ is not exactly what the chapters say

A code cell tagged `export` goes into the module that its notebook's metadata names,
{"convlib": {"module": "reference"}}; a cell tagged `export-datasets` goes into convlib/datasets.py.
Chapters follow each other in the order of _toc.yml.
"""

import argparse
import ast
import json
import os
import re
import sys
from dataclasses import dataclass, field
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
PACKAGE = "convlib"
LINE_LENGTH = 110
NOTICE = "# Exported from chapters/ by tools/export.py: edit the chapter, not this file."
TOC_ENTRY = re.compile(r"""^[ \t]*(?:-[ \t]+)?(?:file|root):[ \t]*["']?(chapters/[^\s"'#]+)""", re.MULTILINE)
TITLE = re.compile(r"^# +(.+?) *$", re.MULTILINE)
MODULE_NAME = re.compile(r"[a-z_][a-z0-9_]*(\.[a-z_][a-z0-9_]*)*")
IMPORTS = (ast.Import, ast.ImportFrom)
DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
ASSIGNMENTS = (ast.Assign, ast.AnnAssign, ast.AugAssign)
BLOCKS = (ast.If, ast.Try, ast.ExceptHandler)


class ExportError(Exception):
    """Everything that is wrong with the chapters, one message each."""

    def __init__(self, *messages):
        """Keep the messages."""
        super().__init__("\n".join(messages))


@dataclass(frozen=True, order=True)
class Import:
    """One imported name: `from module import name as alias`, or `import module as alias` without a name."""

    module: str
    name: str
    alias: str

    def is_own(self, module, modules):
        """Tell whether a module imports from itself something that is not a module below it."""
        return self.module == module and self.name != "" and f"{module}.{self.name}" not in modules


@dataclass(frozen=True)
class Chapter:
    """A notebook: its path inside the project, its title and its exported cells."""

    path: str
    title: str
    cells: list = field(default_factory=list)


@dataclass(frozen=True)
class Cell:
    """An exported cell: where it stands, the module it feeds, and its code."""

    chapter: Chapter
    number: int
    module: str
    lines: list
    body: list

    def text_of(self, statement):
        """Return the lines of a statement as they stand."""
        return "\n".join(self.lines[statement.lineno - 1:statement.end_lineno])

    @property
    def address(self):
        """Return the place to name in messages."""
        return f"{self.chapter.path}, cell {self.number}"


def exported_files(root):
    """Return the text of every file of convlib, by its path inside the project."""
    modules = {}
    for chapter in read_chapters(root):
        for cell in chapter.cells:
            modules.setdefault(cell.module, []).append(cell)
    messages = [message for name, cells in modules.items() for message in problems(name, cells, modules)]
    if messages:
        raise ExportError(*messages)
    files = {file_of(name, modules): module_text(name, cells, modules) for name, cells in modules.items()}
    for name in modules:
        for package in parents(name):
            files.setdefault(file_of(package, modules), f'{NOTICE}\n"""The package {package}."""\n')
    return files


def parents(name):
    """Return the packages around a module: convlib and convlib.kernels for convlib.kernels.direct."""
    parts = name.split(".")
    return [".".join(parts[:count]) for count in range(1, len(parts))]


def is_package(name, modules):
    """Tell whether a module has modules below it."""
    return name == PACKAGE or any(name in parents(other) for other in modules)


def file_of(name, modules):
    """Return the file of a module."""
    path = name.replace(".", "/")
    return f"{path}/__init__.py" if is_package(name, modules) else f"{path}.py"


# Reading the chapters ---------------------------------------------------------------------------------------


def read_chapters(root):
    """Return the chapters in the order of the table of contents."""
    listed = listed_notebooks(root)
    present = [path.relative_to(root).as_posix() for path in sorted((root / "chapters").rglob("*.ipynb"))
               if ".ipynb_checkpoints" not in path.parts]
    for path in present:
        if path not in listed and read_chapter(root, path).cells:
            raise ExportError(f"{path}: has cells to export, but _toc.yml does not list it")
    return [read_chapter(root, path) for path in listed]


def listed_notebooks(root):
    """Return the notebooks that _toc.yml lists; other pages export nothing."""
    try:
        toc = (root / "_toc.yml").read_text(encoding="utf-8")
    except OSError as error:
        raise ExportError(f"_toc.yml, the order of the chapters, cannot be read: {error}") from error
    notebooks = [re.sub(r"(\.ipynb|\.md)?$", ".ipynb", entry, count=1) for entry in TOC_ENTRY.findall(toc)]
    return [path for path in notebooks if (root / path).exists()]


def read_chapter(root, path):
    """Read one notebook and parse its exported cells."""
    try:
        notebook = json.loads((root / path).read_text(encoding="utf-8"))
    except ValueError as error:
        raise ExportError(f"{path}: is not a notebook: {error}") from error
    if not isinstance(notebook, dict) or "cells" not in notebook:
        raise ExportError(f"{path}: is not a notebook of format 4: it has no list of cells")
    texts = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "markdown"]
    title = TITLE.search("\n".join(texts))
    chapter = Chapter(path, title[1] if title else "")
    default = notebook["metadata"].get(PACKAGE, {}).get("module")
    for number, cell in enumerate(notebook["cells"], start=1):
        tags = [tag for tag in cell["metadata"].get("tags", []) if re.match("export(-|$)", tag)]
        if cell["cell_type"] == "code" and tags:
            module = module_name(tags, default, f"{path}, cell {number}")
            chapter.cells.append(parsed_cell(chapter, number, module, "".join(cell["source"])))
    if chapter.cells and not chapter.title:
        raise ExportError(f"{path}: has cells to export, but no title (a line '# ...' in a Markdown cell)")
    return chapter


def module_name(tags, default, address):
    """Return the full name of the module that a cell's tag asks for."""
    if len(tags) > 1:
        raise ExportError(f"{address}: has the tags {', '.join(tags)}; expected only one of them")
    name = tags[0].removeprefix("export").removeprefix("-") or default
    if name is None:
        raise ExportError(
            f"{address}: is tagged export, but the notebook's metadata names no module "
            f'(expected {{"{PACKAGE}": {{"module": ...}}}})'
        )
    if not isinstance(name, str) or not MODULE_NAME.fullmatch(name):
        raise ExportError(f"{address}: {name!r} is no module name (expected reference or kernels.direct)")
    return f"{PACKAGE}.{name}".removesuffix(".__init__")


def parsed_cell(chapter, number, module, source):
    """Parse a cell's code."""
    try:
        body = ast.parse(source).body
    except SyntaxError as error:
        reason = f"is not plain Python ({error.msg}): {(error.text or '').strip()}"
        raise ExportError(f"{chapter.path}, cell {number}: {reason}") from error
    return Cell(chapter, number, module, source.split("\n"), body)


# What a statement says --------------------------------------------------------------------------------------


def imports(statement):
    """Return the names that an import statement imports."""
    if isinstance(statement, ast.ImportFrom):
        return [Import(statement.module, alias.name, alias.asname or alias.name) for alias in statement.names]
    return [Import(alias.name, "", alias.asname or "") for alias in statement.names]


def bindings(statement):
    """Return the names a top-level statement binds, each with its import, or with None if defined here."""
    if isinstance(statement, IMPORTS):
        return {each.alias or each.module.split(".")[0]: each for each in imports(statement)}
    if isinstance(statement, DEFINITIONS):
        return {statement.name: None}
    if isinstance(statement, (ast.Assign, ast.AnnAssign)):
        targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
        nodes = [node for target in targets for node in ast.walk(target) if isinstance(node, ast.Name)]
        return {node.id: None for node in nodes if isinstance(node.ctx, ast.Store)}
    names = {}
    if isinstance(statement, BLOCKS):
        for child in ast.iter_child_nodes(statement):
            for name, origin in bindings(child).items():
                # A fallback for an import is not a definition of ours: the import counts.
                names[name] = names.get(name) or origin
    return names


def is_docstring(statement):
    """Tell whether a statement is nothing but a string."""
    return (isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
            and isinstance(statement.value.value, str))


# What a module may hold -------------------------------------------------------------------------------------


def problems(name, cells, modules):
    """Return what is wrong with the cells of a module."""
    messages = []
    if not (cells[0].body and is_docstring(cells[0].body[0])):
        messages.append(f"{cells[0].address}: is the first cell of {name} and must start with its docstring")
    for cell in cells:
        for position, statement in enumerate(cell.body):
            message = statement_problem(cell, position, may_be_docstring=cell is cells[0] and position == 0)
            if message:
                line = cell.lines[statement.lineno - 1].strip()
                messages.append(f"{cell.address}: {message}: {line}")
    return messages + own_import_problems(name, cells, modules) + double_definitions(name, cells, modules)


def statement_problem(cell, position, may_be_docstring):
    """Return why a statement cannot be exported, or None."""
    statement = cell.body[position]
    if position > 0 and cell.body[position - 1].end_lineno == statement.lineno:
        return "two statements stand on one line"
    if isinstance(statement, IMPORTS):
        return import_problem(cell, statement)
    if any(isinstance(node, ast.Name) and node.id == "__all__" for node in ast.walk(statement)):
        return "__all__ is written by the exporter"
    if isinstance(statement, DEFINITIONS + ASSIGNMENTS + BLOCKS):
        return None
    if may_be_docstring and is_docstring(statement):
        return None
    return "only imports, functions, classes, assignments, if and try can be exported"


def import_problem(cell, statement):
    """Return why an import cannot be moved to the top of the module, or None."""
    if any("#" in line for line in cell.lines[statement.lineno - 1:statement.end_lineno]):
        return "a comment on an import would be lost"
    if getattr(statement, "level", 0) > 0 or any(alias.name == "*" for alias in statement.names):
        return "an import must spell out its module and its names"
    return None


def own_import_problems(name, cells, modules):
    """Return what is wrong with a module's imports from itself, which the exporter leaves out."""
    defined = {bound for _, statement in statements(cells) for bound, origin in bindings(statement).items()
               if not (origin and origin.is_own(name, modules))}
    messages = []
    for cell, statement in statements(cells, IMPORTS):
        for each in imports(statement):
            if each.is_own(name, modules) and (each.name not in defined or each.alias != each.name):
                messages.append(f"{cell.address}: goes into {name} itself, where no {each.alias} is defined: "
                                f"{ast.unparse(statement)}")
    return messages


def double_definitions(name, cells, modules):
    """Return a message for each name that a module defines, or imports from different places, twice."""
    messages, first = [], {}
    for cell, statement in statements(cells):
        for bound, origin in bindings(statement).items():
            if origin and origin.is_own(name, modules):
                continue
            known_cell, known_statement, known_origin = first.setdefault(bound, (cell, statement, origin))
            if known_statement is statement or same_import(statement, origin, known_statement, known_origin):
                continue
            places = f"in {known_cell.address} and in {cell.address}"
            messages.append(f"{name}: {bound} is defined twice: {places}")
    return messages


def same_import(statement, origin, known_statement, known_origin):
    """Tell whether two plain imports bind a name to the same thing."""
    if not (isinstance(statement, IMPORTS) and isinstance(known_statement, IMPORTS)):
        return False
    if origin == known_origin:
        return True
    # `import os` and `import os.path` both bind os.
    return not (origin.alias or known_origin.alias)


def statements(cells, kinds=ast.stmt):
    """Return all top-level statements of a module's cells, each with its cell."""
    return [(cell, statement) for cell in cells for statement in cell.body if isinstance(statement, kinds)]


# Writing a module -------------------------------------------------------------------------------------------


def module_text(name, cells, modules):
    """Return a module as a person would have written it."""
    docstring = cells[0].text_of(cells[0].body[0])
    hoisted = {each for _, statement in statements(cells, IMPORTS) for each in imports(statement)
               if not each.is_own(name, modules)}
    head = [f"{NOTICE}\n{docstring}", *import_groups(hoisted), all_text(public_names(name, cells, modules))]
    return "\n\n".join(head) + "\n" + "".join(f"\n\n{block}\n" for block in code_blocks(cells))


def public_names(name, cells, modules):
    """Return the names a module offers, in the order of their definition."""
    names = {}
    for _, statement in statements(cells):
        for bound, origin in bindings(statement).items():
            # A package offers what it gathers from its modules; a module only what it defines.
            gathered = origin and is_package(name, modules) and in_package(origin.module) and origin.name
            if not bound.startswith("_") and (origin is None or gathered):
                names[bound] = None
    return list(names)


def in_package(module):
    """Tell whether a module is one of ours."""
    return module.split(".")[0] == PACKAGE


def all_text(names):
    """Return the assignment of `__all__`."""
    return wrapped("__all__ = [", [f'"{name}"' for name in names], "]")


def import_groups(hoisted):
    """Return the import statements, sorted: from the future, standard library, third party, convlib."""
    groups = {}
    for module in sorted({each.module for each in hoisted}):
        lines = import_lines(module, sorted(each for each in hoisted if each.module == module))
        groups.setdefault(import_rank(module), []).extend(lines)
    # Within a group plain imports come first, as import sorters do.
    ordered = [sorted(groups[rank], key=lambda line: line.startswith("from ")) for rank in sorted(groups)]
    return ["\n".join(lines) for lines in ordered]


def import_rank(module):
    """Return the number of the group that an import belongs to."""
    if in_package(module):
        return 3
    top = module.split(".")[0]
    if top in sys.stdlib_module_names:
        return 0 if top == "__future__" else 1
    return 2


def import_lines(module, wanted):
    """Return the statements that import a module, and names from it."""
    lines, names = [], []
    for each in wanted:
        if each.name:
            names.append(each.name if each.name == each.alias else f"{each.name} as {each.alias}")
        else:
            lines.append(f"import {module} as {each.alias}" if each.alias else f"import {module}")
    if names:
        lines.append(wrapped(f"from {module} import ", names, "", "(", ")"))
    return lines


def wrapped(start, items, end, opening="", closing=""):
    """Return a list of items on one line, or one item a line if that is too long."""
    line = f"{start}{', '.join(items)}{end}"
    if len(line) <= LINE_LENGTH:
        return line
    return f"{start}{opening}\n" + "".join(f"    {item},\n" for item in items) + f"{closing}{end}"


def code_blocks(cells):
    """Return the code of the cells, the first of each chapter below a comment that names the chapter."""
    blocks, chapter = [], None
    for cell in cells:
        code = code_of(cell)
        if code and cell.chapter is not chapter:
            chapter = cell.chapter
            code = f'# Chapter "{chapter.title}" ({chapter.path})\n\n{code}'
        if code:
            blocks.append(code)
    return blocks


def code_of(cell):
    """Return a cell's code as it stands, without docstring and imports."""
    moved = {number for statement in cell.body if isinstance(statement, IMPORTS) or is_docstring(statement)
             for number in range(statement.lineno, statement.end_lineno + 1)}
    kept = []
    for number, line in enumerate(cell.lines, start=1):
        # The blank lines below a moved statement go with it, unless they separate what is kept.
        closes_gap = number - 1 in moved and not line.strip() and (not kept or not kept[-1].strip())
        if closes_gap:
            moved.add(number)
        if number not in moved:
            kept.append(line)
    return "\n".join(kept).strip("\n").rstrip()


# Comparing and writing --------------------------------------------------------------------------------------


def differences(root, files):
    """Return what is missing, stale and stray in convlib, as (kind, path) pairs."""
    found = []
    for path, text in sorted(files.items()):
        if not (root / path).exists():
            found.append(("missing", path))
        elif (root / path).read_bytes() != text.encode():
            found.append(("stale", path))
    present = {path.relative_to(root).as_posix() for path in (root / PACKAGE).rglob("*.py")}
    return found + [("stray", path) for path in sorted(present - set(files))]


def apply(root, files, kind, path):
    """Write or delete one file; return the line that says so."""
    target = root / path
    if kind == "stray":
        target.unlink()
        return f"deleted {path}"
    target.parent.mkdir(parents=True, exist_ok=True)
    # In one step, so that nobody imports half a module.
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    temporary.write_bytes(files[path].encode())
    os.replace(temporary, target)
    return f"written {path}"


def forget_compiled(root):
    """Delete what Numba has kept on disk: it does not notice that a function from another file has changed."""
    for kept in (root / PACKAGE).rglob("*.nb[ic]"):
        kept.unlink()


def main(arguments=None):
    """Export, or check the export; return 1 if something is wrong."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true", help="write nothing, fail if anything would change")
    parser.add_argument("--root", type=Path, default=REPOSITORY, help="the folder that holds chapters/")
    options = parser.parse_args(arguments)
    try:
        files = exported_files(options.root)
    except ExportError as error:
        print(error, file=sys.stderr)
        return 1
    found = differences(options.root, files)
    if not options.check:
        for kind, path in found:
            print(apply(options.root, files, kind, path))
        if found:
            forget_compiled(options.root)
        return 0
    for kind, path in found:
        print(f"{kind} {path}", file=sys.stderr)
    if found:
        print("convlib/ differs from the chapters: run tools/export.py", file=sys.stderr)
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
