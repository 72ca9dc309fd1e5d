"""The course's own Sphinx extension: what the pages need and _config.yml cannot say.

Here: badges on exported cells, buttons that wait for the repository's address, small repairs of the theme. The rest is
beside it: formulas (MathML), listings (code), heads (what a page says about itself), finding (the search), names (the
page of all names), downloads (the notebooks that a page offers).
"""

import json
import re
from itertools import count

import downloads
import finding
import formulas
import heads
import listings
import names
from docutils import nodes
from names import API_PAGE


def show_repository_buttons(app, config):
    """Show the edit, issue, repository and launch buttons if, and only if, _config.yml names a repository.

    Jupyter Book has one switch for each button and refuses to build if one is on without an address; here the
    address alone decides.
    """
    options = config.html_theme_options
    known = bool(options.get("repository_url"))
    for button in ("use_repository_button", "use_edit_page_button", "use_issues_button"):
        options[button] = known
    if not known:
        options.pop("launch_buttons", None)


def show_title_beside_logo(app, config):
    """Set one theme option. Given in _config.yml, html_theme_options would replace all of Jupyter Book's."""
    config.html_theme_options["logo"] = {"text": config.html_title, "alt_text": "A kernel laid over a grid"}


def module_of(tags, metadata):
    """The module that a cell with these tags is exported to, or None. Same rules as tools/export.py."""
    for tag in tags:
        if tag == "export":
            return metadata.get("module")
        if tag.startswith("export-"):
            return tag.removeprefix("export-")
    return None


def badge_exported_cells(app, doctree, docname):
    """Put "goes into convlib/<module>.py" above the code of every exported cell, linked to the API page."""
    metadata = app.env.metadata[docname].get("convlib", {})
    if isinstance(metadata, str):  # myst-nb hands nested notebook metadata on as JSON text
        metadata = json.loads(metadata)
    for cell in doctree.findall(nodes.container):
        if cell.get("nb_element") != "cell_code":
            continue
        module = module_of(cell["cell_metadata"].get("tags", []), metadata)
        if module:
            cell.insert(0, badge(app, docname, module))


def badge(app, docname, module):
    """A paragraph: "goes into" and the module's file name, a link where there is an API page to link to."""
    label = nodes.literal("", f"convlib/{module.replace('.', '/')}.py")
    if API_PAGE in app.env.found_docs and docname != API_PAGE:
        label = nodes.reference("", "", label, refuri=app.builder.get_relative_uri(docname, API_PAGE),
                                internal=True)
    return nodes.paragraph("", "", nodes.Text("goes into "), label, classes=["export-badge"])


# How matplotlib begins each of its drawings, and how parts of one refer to others.
PLOT = re.compile(r'<svg\b(?:(?!</svg>).)*?<g id="figure_1">.*?</svg>', re.DOTALL)
REFERENCE = re.compile(r'(\bhref="#|url\(#)([\w.-]+)')
# What Sphinx's exercises call their insides, all alike.
SAME_FOR_ALL = {"exercise-content", "solution-content"}


def keep_ids_apart(app, doctree, docname):
    """On a page with two plots, or two exercises, some ids would stand twice."""
    numbers = count(1)
    for node in list(doctree.findall(nodes.raw)):
        if PLOT.search(node.astext()):
            text = PLOT.sub(lambda plot: with_own_ids(plot[0], next(numbers)), node.astext())
            node.replace_self(nodes.raw("", text, **node.attributes))
    for node in doctree.findall(nodes.section):
        if SAME_FOR_ALL & set(node["ids"]):
            node["ids"] = []


def with_own_ids(plot, number):
    """A plot with only those ids that something in it refers to, and a number behind each."""
    wanted = {found[2] for found in REFERENCE.finditer(plot)}
    plot = re.sub(r' id="([^"]*)"', lambda found: f' id="{found[1]}-{number}"' if found[1] in wanted else "", plot)
    return REFERENCE.sub(rf"\g<0>-{number}", plot)


def drop_empty_heads(app, doctree):
    """A Markdown table has a head, even an empty one; a reader of tables announces it."""
    for head in list(doctree.findall(nodes.thead)):
        if not head.astext().strip():
            head.parent.remove(head)


def visit_entry(self, node):
    """A cell without words heads nothing."""
    type(self).visit_entry(self, node)
    if isinstance(node.parent.parent, nodes.thead) and not node.astext().strip():
        self.body[-1] = self.body[-1].replace("<th", "<td", 1)
        self.context[-1] = self.context[-1].replace("</th", "</td", 1)


def depart_entry(self, node):
    type(self).depart_entry(self, node)


def setup(app):
    for part in (downloads, finding, formulas, heads, listings, names):
        part.setup(app)
    app.add_node(nodes.entry, override=True, html=(visit_entry, depart_entry))
    app.connect("config-inited", show_repository_buttons)
    app.connect("config-inited", show_title_beside_logo)
    app.connect("doctree-read", drop_empty_heads)
    app.connect("doctree-resolved", badge_exported_cells)
    app.connect("doctree-resolved", keep_ids_apart)
    return {"parallel_read_safe": True, "parallel_write_safe": False}
