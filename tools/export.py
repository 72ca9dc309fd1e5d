"""Export the tagged cells of the chapters into the package convlib.

    python tools/export.py            write every module that changed, delete what no chapter exports
    python tools/export.py --check    write nothing; fail if convlib/ is not exactly what the chapters say

A code cell tagged `export` goes into the module that its notebook's metadata names,
{"convlib": {"module": "reference"}}; a cell tagged `export-datasets` goes into convlib/datasets.py.
Chapters follow each other in the order of _toc.yml. The exercises of the chapters go into
convlib/data/exercises.json (tools/exercises.py). What cannot be exported as it stands is refused, and
then nothing is written.
"""

import argparse
import ast
import json
import keyword
import os
import re
import sys
import textwrap
from dataclasses import dataclass, field
from pathlib import Path

import exercises

REPOSITORY = Path(__file__).resolve().parents[1]
PACKAGE = "convlib"
LINE_LENGTH = 120  # as in pyproject.toml
NOTICE = "# Exported from chapters/ by tools/export.py: edit the chapter, not this file."
TOC_ENTRY = re.compile(r"""^[ \t]*(?:-[ \t]+)?(?:file|root):[ \t]*["']?(chapters/[^\s"'#]+)""", re.MULTILINE)
CAPTION = re.compile(r"""^[ \t]*-[ \t]+caption:[ \t]*["']?(.*?)["']?[ \t]*$""")
TITLE = re.compile(r"^# +(.+?) *$", re.MULTILINE)
MODULE_NAME = re.compile(r"[a-z_][a-z0-9_]*(\.[a-z_][a-z0-9_]*)*")
IMPORTS = (ast.Import, ast.ImportFrom)
DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
ASSIGNMENTS = (ast.Assign, ast.AnnAssign, ast.AugAssign)
BLOCKS = (ast.If, ast.Try, ast.ExceptHandler)
SIMPLE = (ast.Expr, ast.Pass, ast.Raise)  # what a block may hold besides
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)


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
    """A notebook: its path inside the project, its title, its exported cells, and all cells as they stand."""

    path: str
    title: str
    cells: list = field(default_factory=list)
    everything: list = field(default_factory=list)


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
    modules, chapters = {}, read_chapters(root)
    for chapter in chapters:
        for cell in chapter.cells:
            modules.setdefault(cell.module, []).append(cell)
    messages = [message for name, cells in modules.items() for message in problems(name, cells, modules)]
    if messages:
        raise ExportError(*messages)
    files = {file_of(name, modules): module_text(name, cells, modules) for name, cells in modules.items()}
    for path, cells in zip(files, modules.values(), strict=True):
        if problem := python_problem(files[path]):
            addresses = ", ".join(cell.address for cell in cells)
            raise ExportError(f"{path}, made of {addresses}: {problem}")
    for name in modules:
        for package in parents(name):
            files.setdefault(file_of(package, modules), f'{NOTICE}\n"""The package {package}."""\n')
    if text := exercises_of(root, chapters):
        files[exercises.FILE] = text
    return files


def exercises_of(root, chapters):
    """Return the text of the file of all exercises, or None where there are none."""
    parts = parts_of(root)
    try:
        return exercises.exercises_text(
            (Path(chapter.path).stem, chapter.title, parts.get(chapter.path, ""), chapter.path, chapter.everything)
            for chapter in chapters)
    except exercises.ExerciseError as error:
        raise ExportError(str(error)) from error


def parts_of(root):
    """Return the part of the book that each listed notebook belongs to, by its path."""
    parts, part = {}, ""
    for line in (root / "_toc.yml").read_text(encoding="utf-8").split("\n"):
        if caption := CAPTION.match(line):
            part = caption[1]
        if entry := TOC_ENTRY.match(line):
            parts[re.sub(r"(\.ipynb|\.md)?$", ".ipynb", entry[1], count=1)] = part
    return parts


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
    pages = [re.sub(r"(\.ipynb|\.md)?$", "", entry, count=1) for entry in TOC_ENTRY.findall(toc)]
    for page in pages:
        if not any((root / f"{page}{suffix}").exists() for suffix in (".ipynb", ".md")):
            raise ExportError(f"_toc.yml: lists {page}, but there is no {page}.ipynb and no {page}.md")
    return [f"{page}.ipynb" for page in pages if (root / f"{page}.ipynb").exists()]


def read_chapter(root, path):
    """Read one notebook and parse its exported cells."""
    try:
        notebook = json.loads((root / path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ExportError(f"{path}: is not a notebook: {error}") from error
    try:
        cells = [(cell["cell_type"], source_of(cell), tags_of(cell)) for cell in notebook["cells"]]
        everything = [(cell["cell_type"], source_of(cell), cell["metadata"]) for cell in notebook["cells"]]
        default = notebook["metadata"].get(PACKAGE, {}).get("module")
    except (AttributeError, KeyError, TypeError) as error:
        raise ExportError(f"{path}: is not a notebook of format 4: {error!r}") from error
    title = TITLE.search("\n".join(source for kind, source, _ in cells if kind == "markdown"))
    chapter = Chapter(path, " ".join(title[1].split()) if title else "", everything=everything)
    for number, (kind, source, tags) in enumerate(cells, start=1):
        if tags and kind != "code":
            raise ExportError(f"{path}, cell {number}: is tagged {tags[0]}, but holds no code ({kind})")
        if tags:
            module = module_name(tags, default, f"{path}, cell {number}")
            chapter.cells.append(parsed_cell(chapter, number, module, source))
    if chapter.cells and not (chapter.title and chapter.title.isprintable()):
        raise ExportError(f"{path}: has cells to export, but no title (a line '# ...' in a Markdown cell)")
    return chapter


def source_of(cell):
    """Return what a cell says. Its line ends may be those of any system; Python counts them all as one."""
    return re.sub("\r\n?", "\n", "".join(cell["source"]))


def tags_of(cell):
    """Return the tags of a cell that ask for an export, right or wrong."""
    return [tag for tag in cell["metadata"].get("tags", []) if re.match(" *export", tag, re.IGNORECASE)]


def module_name(tags, default, address):
    """Return the full name of the module that a cell's tag asks for."""
    if len(tags) > 1:
        raise ExportError(f"{address}: has the tags {', '.join(tags)}; expected only one of them")
    if not re.match("export(-|$)", tags[0]):
        raise ExportError(f"{address}: has the tag {tags[0]!r}; expected export or, for instance, export-datasets")
    name = tags[0].removeprefix("export").removeprefix("-") or default
    if name is None:
        raise ExportError(
            f"{address}: is tagged export, but the notebook's metadata names no module "
            f'(expected {{"{PACKAGE}": {{"module": ...}}}})'
        )
    if not isinstance(name, str) or not MODULE_NAME.fullmatch(name) or any(map(keyword.iskeyword, name.split("."))):
        raise ExportError(f"{address}: {name!r} is no module name (expected reference or kernels.direct)")
    return f"{PACKAGE}.{name}".removesuffix(".__init__")


def parsed_cell(chapter, number, module, source):
    """Parse a cell's code."""
    if problem := python_problem(source, ast.PyCF_ONLY_AST):
        raise ExportError(f"{chapter.path}, cell {number}: {problem}")
    return Cell(chapter, number, module, source.split("\n"), ast.parse(source).body)


def python_problem(source, flags=0):
    """Return why Python cannot compile (or only parse) a piece of code, or None."""
    try:
        compile(source, "", "exec", flags, dont_inherit=True)
    except SyntaxError as error:
        line = source.split("\n")[(error.lineno or 1) - 1].strip()
        return f"is not plain Python ({error.msg}): {line}"
    except (ValueError, RecursionError, MemoryError) as error:
        return f"is not plain Python ({type(error).__name__}: {error})"
    return None


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
    if isinstance(statement, ast.Assign):
        return {name: None for target in statement.targets for name in target_names(target)}
    if isinstance(statement, ast.AnnAssign):
        # `limit: int` says of what type limit would be; it binds nothing.
        return {name: None for name in target_names(statement.target) if statement.value}
    names = {}
    if isinstance(statement, BLOCKS):
        for child in ast.iter_child_nodes(statement):
            for name, origin in bindings(child).items():
                # A fallback for an import is not a definition of ours: the import counts.
                names[name] = names.get(name) or origin
    return names


def target_names(target):
    """Return the names that an assignment to a target binds."""
    if isinstance(target, ast.Name):
        return [target.id]
    parts = [target.value] if isinstance(target, ast.Starred) else getattr(target, "elts", [])
    return [name for part in parts for name in target_names(part)]


def certain(body):
    """Return the names that statements bind whichever way they take, or None if no way leads to their end."""
    names = set()
    for statement in body:
        if isinstance(statement, ast.Raise):
            return None
        ways, last = [set(bindings(statement))], []
        if isinstance(statement, ast.If):
            ways = [certain(statement.body), certain(statement.orelse)]
        elif isinstance(statement, ast.Try):
            ways = [certain(statement.body + statement.orelse), *(certain(each.body) for each in statement.handlers)]
            last = statement.finalbody
        ends = [way for way in ways if way is not None]
        after = certain(last)
        if not ends or after is None:
            return None
        names |= set.intersection(*ends) | after
    return names


def executed(node):
    """Yield a piece of code and those inside it, but not what waits in a function until it is called."""
    yield node
    waiting = node.body if isinstance(node, FUNCTIONS) else []
    waiting = waiting if isinstance(waiting, list) else [waiting]
    for child in ast.iter_child_nodes(node):
        if child not in waiting:
            yield from executed(child)


def inside(block):
    """Yield the statements inside a block, and inside the blocks in it."""
    for child in ast.iter_child_nodes(block):
        if isinstance(child, ast.stmt):
            yield child
        if isinstance(child, BLOCKS):
            yield from inside(child)


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
            message = message or offer_problem(name, statement, modules)
            if message:
                line = cell.lines[statement.lineno - 1].strip()
                messages.append(f"{cell.address}: {message}: {line}")
        # A notebook may await at top level, a module may not: so it is not enough that a cell can be parsed.
        if problem := python_problem(code_of(cell)):
            messages.append(f"{cell.address}: {problem}")
    return messages + own_import_problems(name, cells, modules) + double_definitions(name, cells, modules)


def statement_problem(cell, position, may_be_docstring):
    """Return why a statement cannot be exported, or None."""
    statement = cell.body[position]
    if position > 0 and cell.body[position - 1].end_lineno == statement.lineno:
        return "two statements stand on one line"
    if "__all__" in bindings(statement) or any(getattr(node, "id", "") == "__all__" for node in ast.walk(statement)):
        return "__all__ is written by the exporter"
    if isinstance(statement, IMPORTS):
        if any("#" in line for line in cell.lines[statement.lineno - 1:statement.end_lineno]):
            return "a comment on an import would be lost"
        return import_problem(statement)
    if any(isinstance(node, (ast.NamedExpr, ast.Global)) for node in executed(statement)):
        return "outside a function a name is bound by an assignment, not by := or global"
    if isinstance(statement, BLOCKS):
        return next(filter(None, map(block_problem, inside(statement))), None)
    if isinstance(statement, DEFINITIONS + ASSIGNMENTS) or (may_be_docstring and is_docstring(statement)):
        return None
    return "only imports, functions, classes, assignments, if and try can be exported"


def block_problem(statement):
    """Return why a statement cannot stand inside `if` or `try`, or None."""
    if isinstance(statement, IMPORTS):
        return import_problem(statement)
    if isinstance(statement, DEFINITIONS + ASSIGNMENTS + BLOCKS + SIMPLE):
        return None
    return f"line {statement.lineno} can stand in a function only, not in if or try"


def import_problem(statement):
    """Return why an import does not say which names it binds, or None."""
    if getattr(statement, "level", 0) > 0 or any(alias.name == "*" for alias in statement.names):
        return "an import must spell out its module and its names"
    return None


def offer_problem(name, statement, modules):
    """Return which name a module may offer without having it, or None."""
    missing = set(offered(name, statement, modules)) - (certain([statement]) or set())
    if missing:
        return f"{', '.join(sorted(missing))} would have no value on some ways through this, and is public"
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
    return list(dict.fromkeys(each for _, statement in statements(cells) for each in offered(name, statement, modules)))


def offered(name, statement, modules):
    """Return the names that a statement gives a module to offer."""
    gathers = is_package(name, modules)
    # A package offers what it gathers from its modules; a module only what it defines.
    return [bound for bound, origin in bindings(statement).items() if not bound.startswith("_")
            and (origin is None or (gathers and in_package(origin.module) and origin.name))]


def in_package(module):
    """Tell whether a module is one of ours."""
    return module.split(".")[0] == PACKAGE


def all_text(names):
    """Return the assignment of `__all__`, as many names on a line as fit."""
    text = ", ".join(f'"{name}"' for name in names)
    return textwrap.fill(f"__all__ = [{text}]", LINE_LENGTH, subsequent_indent="    ")


def import_groups(hoisted):
    """Return the import statements, sorted: from the future, standard library, third party, convlib."""
    groups = {}
    for module in sorted({each.module for each in hoisted}):
        lines = import_lines(module, sorted((each for each in hoisted if each.module == module), key=as_sorters_do))
        groups.setdefault(import_rank(module), []).extend(lines)
    # Within a group plain imports come first, as import sorters do.
    ordered = [sorted(groups[rank], key=lambda line: line.startswith("from ")) for rank in sorted(groups)]
    return ["\n".join(lines) for lines in ordered]


def as_sorters_do(each):
    """Order the names of an import as import sorters do: constants, classes, functions."""
    is_constant, is_class = each.name.isupper() and len(each.name) > 1, each.name[:1].isupper()
    return 0 if is_constant else 1 if is_class else 2, each


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
        lines.append(filled(f"from {module} import ", names))
    return lines


def filled(start, names):
    """Return a line with some names, or in parentheses lines with as many of them as fit."""
    text = ", ".join(names)
    if len(start + text) <= LINE_LENGTH:
        return start + text
    return f"{start}(\n" + textwrap.indent(textwrap.fill(f"{text},", LINE_LENGTH - 4), "    ") + "\n)"


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
    present |= {exercises.FILE} if (root / exercises.FILE).exists() else set()
    return found + [("stray", path) for path in sorted(present - set(files))]


def apply(root, files, found):
    """Write and delete files; return the lines that say so. A file that cannot be written leaves all as it was."""
    texts = {root / path: files[path] for kind, path in found if kind != "stray"}
    written = {target: target.with_name(f".{target.name}.{os.getpid()}") for target in texts}
    try:
        for target, temporary in written.items():
            target.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_bytes(texts[target].encode())
        for target, temporary in written.items():
            os.replace(temporary, target)  # in one step, so that nobody imports half a module
    finally:
        for temporary in written.values():
            temporary.unlink(missing_ok=True)
    for kind, path in found:
        if kind == "stray":
            (root / path).unlink()
    return [f"{'deleted' if kind == 'stray' else 'written'} {path}" for kind, path in found]


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
        for line in apply(options.root, files, found):
            print(line)
        if any(path.endswith(".py") for _, path in found):
            forget_compiled(options.root)
        return 0
    for kind, path in found:
        print(f"{kind} {path}", file=sys.stderr)
    if found:
        print("convlib/ differs from the chapters: run tools/export.py", file=sys.stderr)
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
