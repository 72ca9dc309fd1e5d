"""The notebooks that a page offers to download: what the book's own syntax says, in plain Markdown.

A notebook that has left the repository meets no Sphinx and no convlib. So it begins with where to get the library, its
exercises are headings, its solutions folded, and its references the numbers that the pages show.
"""

import re
from pathlib import Path

import nbformat
from docutils import nodes

WHERE = """*This is a chapter of the course **{title}**, to be run by itself.* Its code imports `convlib`, the library
that comes out of the chapters. Install it from {repository}: `pip install {source}`.
The name `convlib` on PyPI belongs to another project, so do not install that one. On the pages of the course the
figures and formulas are numbered, and exercises and solutions have boxes of their own."""
NO_ADDRESS = "the course's repository, in the folder that holds `pyproject.toml`", "."
GATE = re.compile(r"^:::\{(exercise|solution)-(start|end)\} *(.*)\n(?::.*\n)*:::$", re.MULTILINE)
COMMENT = re.compile(r"^% .*\n?", re.MULTILINE)
BOX = re.compile(r"^(:::+)\{admonition\} *([^\n]*)\n((?::[^\n]*\n)*)(.*?)\n\1$", re.MULTILINE | re.DOTALL)
LABEL = re.compile(r"\n\$\$ *\(([\w-]+)\)")
ROLE = re.compile(r"\{(eq|numref|ref)\}`([^`]+)`")
DIRECTIVE = re.compile(r"^(```+)\{eval-rst\}.*?^\1$", re.MULTILINE | re.DOTALL)


def plain(notebook, numbers, where):
    """Rewrite a notebook in place: no directives, no roles; `numbers` gives the number for each label."""
    inside, cells = False, [nbformat.v4.new_markdown_cell(where, id="where-to-get-convlib")]
    for cell in notebook.cells:
        if cell.cell_type == "code":
            if inside:
                cell.metadata["jupyter"] = {"source_hidden": True, "outputs_hidden": True}
        else:
            gates = GATE.findall(cell.source)
            cell.source = plain_text(cell.source, numbers, inside)
            inside = gates[-1][:2] == ("solution", "start") if gates else inside
            cell.metadata.pop("jupyter", None)  # what is folded need not be hidden as well
        if cell.source:
            cells.append(cell)
    notebook.cells = cells


def plain_text(text, numbers, inside=False):
    """A Markdown text without the book's own syntax; `inside`: it begins within a solution."""
    text = DIRECTIVE.sub("*(On the pages of the course, the descriptions of these names stand here.)*", text)
    text = BOX.sub(lambda found: re.sub("^", "> ", f"**{found[2]}**\n\n{found[4].strip()}", flags=re.MULTILINE), text)
    text = "\n\n".join(part for part in without_gates(COMMENT.sub("", text), inside) if part)
    text = LABEL.sub(lambda found: rf" \tag{{{numbers[found[1]]}}}" + "\n$$" if found[1] in numbers else "\n$$", text)
    return ROLE.sub(lambda found: reference(found[1], found[2], numbers), text).strip()


def without_gates(text, inside):
    """Yield the parts between the gates of exercises and solutions: titles for exercises, folds for solutions."""
    position = 0
    for gate in GATE.finditer(text):
        yield folded(text[position:gate.start()].strip(), inside)
        position = gate.end()
        inside = gate[1] == "solution" and gate[2] == "start"
        if gate[1] == "exercise" and gate[2] == "start":
            yield f"**Exercise: {gate[3]}**"
        if inside and not text[position:].strip():
            yield "**Solution**, folded below:"
    yield folded(text[position:].strip(), inside)


def folded(text, folds):
    """A text, in a fold if it belongs to a solution."""
    return f"<details><summary>Solution</summary>\n\n{text}\n\n</details>" if folds and text else text


def reference(role, label, numbers):
    """The number of a formula or a figure, as a page shows it."""
    if role == "eq":
        return f"({numbers.get(label, label.removeprefix('eq-'))})"
    return f"Fig. {numbers[label]}" if label in numbers else f"“{label}”"


def numbers_of(app):
    """The numbers of all formulas and figures, by their labels."""
    places = {label: (page, nodes.make_id(f"equation-{label}"), "displaymath")
              for label, (page, _) in app.env.get_domain("math").equations.items()}
    places |= {label: (page, anchor, "figure")
               for label, (page, anchor) in app.env.get_domain("std").anonlabels.items()}
    numbers = {}
    for label, (page, anchor, kind) in places.items():
        number = app.env.toc_fignumbers.get(page, {}).get(kind, {}).get(anchor)
        if number:
            numbers.setdefault(label, ".".join(map(str, number)))
    return numbers


def rewrite_downloads(app, exception):
    if exception or app.builder.format != "html":
        return
    address = app.config.html_theme_options.get("repository_url")
    repository, source = (f"[its repository]({address})", f"git+{address}") if address else NO_ADDRESS
    where = WHERE.format(title=app.config.html_title, repository=repository, source=source)
    numbers = numbers_of(app)
    for path in sorted(Path(app.outdir, "_sources").rglob("*.ipynb")):
        notebook = nbformat.read(path, as_version=4)
        plain(notebook, numbers, where)
        path.write_text(nbformat.writes(notebook, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def setup(app):
    app.connect("build-finished", rewrite_downloads)
