"""Code on the pages: what each fold holds, docstrings put away, lines that wrap with an indent.

A fold says what is in it ("Code: house, House"). In a cell, the part of a docstring below its summary is folded too.
On a page that would be mostly code, the cells that go into the library are folded, so that the idea comes first.
"""

import ast
import re
from html import escape

from docutils import nodes
from myst_nb.sphinx_ import HideCodeCellNode
from sphinx.transforms.post_transforms import SphinxPostTransform

NAMES_SHOWN = 4
# Folding less than this saves nothing.
LEAST_DOCSTRING_LINES = 3
LEAST_CELL_LINES = 6
# How high text and figures stand on a page, in lines of code.
WORDS_PER_LINE = 12
LINES_OF_A_FIGURE = 12
LINES_OF_A_FORMULA = 3

HIGHLIGHTED = re.compile(r'<div class="highlight"><pre>(?:<span></span>)?(.*?)\n?</pre></div>', re.DOTALL)
HEADING = re.compile(r"^ *(\w[\w ]*)\n *-{3,}$", re.MULTILINE)


# --- what a piece of code is about --------------------------------------------------------------------------


def parsed(source):
    """The syntax tree of a cell, without IPython's commands; None if it is not Python."""
    try:
        return ast.parse(re.sub(r"^( *)[%!].*$", r"\1pass", source, flags=re.MULTILINE))
    except SyntaxError:
        return None


def subject(source):
    """Name what a cell defines; else what it sets, calls or imports."""
    tree = parsed(source)
    if tree is None:
        return source.strip().split("\n")[0]
    defined, assigned, imported = [], [], []
    for statement in tree.body:
        if isinstance(statement, ast.FunctionDef | ast.ClassDef):
            defined.append(statement.name)
        elif isinstance(statement, ast.Assign | ast.AnnAssign):
            targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
            assigned += [node.id for target in targets for node in ast.walk(target)
                         if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)]
        elif isinstance(statement, ast.Import | ast.ImportFrom):
            module = getattr(statement, "module", None)
            imported += [module.split(".")[0]] if module else [alias.name.split(".")[0] for alias in statement.names]
    assigned = [name for name in assigned if name != "_"]
    constants = [name for name in assigned if name.isupper() and len(name) > 1]
    if defined or constants:
        return listed(constants + defined)
    if assigned:
        return listed(assigned)
    called = [ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)]
    called = [name for name in called if name.replace(".", "").isidentifier()]
    if called:
        return listed(called)
    return f"imports of {listed(imported)}" if imported else source.strip().split("\n")[0]


def listed(names):
    """Join names, the first few of many."""
    names = list(dict.fromkeys(names))
    shown = ", ".join(names[:NAMES_SHOWN])
    left = len(names) - NAMES_SHOWN
    return f"{shown} and {left} more" if left > 0 else shown


def docstring_folds(source):
    """The docstrings of a cell: for each, the first and the last line below its summary, and what they hold."""
    tree = parsed(source)
    if tree is None:
        return []
    lines = source.split("\n")
    folds = []
    for node in ast.walk(tree):
        if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) or ast.get_docstring(node) is None:
            continue
        text = node.body[0]
        first = next((number for number in range(text.lineno + 1, text.end_lineno)
                      if not lines[number - 1].strip()), None)
        if first is not None and text.end_lineno - first + 1 >= LEAST_DOCSTRING_LINES:
            holds = HEADING.findall("\n".join(lines[first - 1:text.end_lineno]))
            label = listed(holds) if holds else f"{text.end_lineno - first} more lines"
            folds.append((first, text.end_lineno, f"docstring: {label}"))
    return sorted(folds)


# --- folds --------------------------------------------------------------------------------------------------


class NameFolds(SphinxPostTransform):
    """Fold and label: runs after MyST-NB has wrapped what the tags of a cell hide."""

    default_priority = 210
    formats = ("html",)

    def run(self, **kwargs):
        cells = [node for node in self.document.findall(nodes.container) if node.get("nb_element") == "cell_code"]
        for cell in cells:
            for block in code_blocks(cell):
                block["folds"] = docstring_folds(block.astext().lstrip("\n"))
        if mostly_code(self.document, cells):
            for cell in cells:
                fold_exported(cell)
        for cell in cells:
            for fold in cell.findall(HideCodeCellNode):
                fold["label"] = self.label_of(cell, fold)

    def label_of(self, cell, fold):
        blocks, outputs = code_blocks(fold), parts(fold, "cell_code_output")
        figure = self.figure_in(cell)
        if not blocks:
            return f"Output: {figure}" if figure else "Output"
        source = "\n".join(block.astext() for block in blocks)
        what = "Code and output" if outputs else "Code"
        count = source.count("\n") + 1
        lines = f"{count} lines" if count > 1 else "1 line"
        return f"{what}: {f'draws {figure}' if figure else subject(source)} ({lines})"

    def figure_in(self, cell):
        """The numbers of the figures that a cell shows, as the reader knows them: Fig. 3.2."""
        numbers = self.env.toc_fignumbers.get(self.env.docname, {}).get("figure", {})
        shown = [".".join(map(str, numbers[name])) for figure in cell.findall(nodes.figure)
                 for name in figure["ids"][:1] if name in numbers]
        return " and ".join(f"Fig. {number}" for number in shown)


def parts(node, element):
    """The containers of one kind below a node."""
    return [found for found in node.findall(nodes.container) if found.get("nb_element") == element]


def code_blocks(node):
    """The blocks of code, not of output, below a node."""
    return [block for part in parts(node, "cell_code_source") for block in part.findall(nodes.literal_block)]


def is_exported(cell):
    tags = cell["cell_metadata"].get("tags", [])
    return any(tag == "export" or tag.startswith("export-") for tag in tags)


def lines_shown(block):
    """How many lines of code a reader sees before unfolding anything."""
    return block.astext().lstrip("\n").count("\n") + 1 - sum(last - first for first, last, _ in block.get("folds", ()))


def mostly_code(document, cells):
    """Whether more than half of a page is code that stands open."""
    shown = sum(lines_shown(block) for cell in cells if not list(cell.findall(HideCodeCellNode))
                for block in code_blocks(cell))
    words = sum(len(node.astext().split()) for node in document.findall(nodes.paragraph))
    figures = len(list(document.findall(nodes.figure)))
    formulas = len(list(document.findall(nodes.math_block)))
    return shown > words / WORDS_PER_LINE + LINES_OF_A_FIGURE * figures + LINES_OF_A_FORMULA * formulas


def fold_exported(cell):
    """Fold the code of a cell that goes into the library, unless it is folded or short."""
    sources = [child for child in cell.children if child.get("nb_element") == "cell_code_source"]
    if not is_exported(cell) or not sources:
        return
    if sum(lines_shown(block) for block in code_blocks(cell)) >= LEAST_CELL_LINES:
        fold = HideCodeCellNode(classes=["above-input"])
        cell.replace(sources[0], fold)
        fold.append(sources[0])


def open_fold(self, node):
    classes = " ".join(["admonition", "hide", *node["classes"]])
    self.body.append(f'<details class="{classes}">\n<summary>{escape(node["label"])}</summary>\n')


def close_fold(self, node):
    self.body.append("</details>\n")


# --- lines --------------------------------------------------------------------------------------------------


def visit_literal_block(self, node):
    """Write a block of code as Sphinx does, then take it apart into lines and folds; outputs stay as they are."""
    start = len(self.body)
    try:
        type(self).visit_literal_block(self, node)
    finally:  # Sphinx leaves by an exception when it has written the block
        inside_output = any(isinstance(parent, nodes.container) and parent.get("nb_element") == "cell_code_output"
                            for parent in ancestors(node))
        if not inside_output:
            self.body[start:] = [in_lines("".join(self.body[start:]), node.get("folds", ()))]


def depart_literal_block(self, node):
    type(self).depart_literal_block(self, node)


def ancestors(node):
    while node.parent is not None:
        node = node.parent
        yield node


def in_lines(html, folds):
    """Put each line of a highlighted block into a box of its own, which wraps with an indent; fold some of them."""
    return HIGHLIGHTED.sub(lambda found: boxed(found[1].split("\n"), folds), html)


def boxed(lines, folds):
    lines = [line_box(line) for line in lines]
    if not folds:
        return f'<div class="highlight"><pre>{"".join(lines)}</pre></div>'
    pieces, done = [], 0
    for first, last, label in folds:
        pieces.append(f"<pre>{''.join(lines[done:first - 1])}</pre>")
        pieces.append(f'<details class="docstring"><summary>{escape(label)}</summary>'
                      f"<pre>{''.join(lines[first - 1:last])}</pre></details>")
        done = last
    pieces.append(f"<pre>{''.join(lines[done:])}</pre>")
    return f'<div class="highlight"><div class="listing">{"".join(pieces)}</div></div>'


def line_box(line):
    """One line. The line break stands after the box: copied text has it, and a grid of boxes shows nothing for it.

    An empty box would be lost when it is selected; so it holds a break of its own.
    """
    text = re.sub("<[^>]*>", "", line)
    indent = len(text) - len(text.lstrip(" "))
    style = f' style="--in:{indent}"' if indent else ""
    return f'<span class="line"{style}>{line if text else "<br>"}</span>\n'


def setup(app):
    app.add_post_transform(NameFolds)
    app.add_node(HideCodeCellNode, override=True, html=(open_fold, close_fold))
    app.add_node(nodes.literal_block, override=True, html=(visit_literal_block, depart_literal_block))
