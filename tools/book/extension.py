"""The course's own Sphinx extension: what the pages need and _config.yml cannot say.

Offline maths, badges on exported cells, buttons that wait for the repository's address.
"""

import importlib.resources
import json
from pathlib import Path
from shutil import copyfile

from docutils import nodes

API_PAGE = "chapters/api"

# What a page with formulas can ask for: the TeX to CHTML bundle, its fonts, and what it loads on demand.
MATHJAX_FILES = ("tex-chtml.js", "output/chtml/fonts/woff-v2/*.woff", "input/tex/extensions/*.js")


def use_local_mathjax(app, config):
    """Point the pages at the copy that `copy_mathjax` makes, instead of a CDN."""
    config.mathjax_path = "mathjax/tex-chtml.js"


def copy_mathjax(app, exception):
    """Copy the part of MathJax that is needed (2 MB of 31) from the installed sphinx-mathjax-offline."""
    if exception or app.builder.format != "html":
        return
    source = Path(str(importlib.resources.files("sphinx-mathjax-offline"))) / "static" / "mathjax"
    target = Path(app.outdir) / "_static" / "mathjax"
    for pattern in MATHJAX_FILES:
        files = sorted(source.glob(pattern))
        if not files:
            raise FileNotFoundError(f"sphinx-mathjax-offline has no {pattern}: its layout has changed")
        for file in files:
            copy = target / file.relative_to(source)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copyfile(file, copy)


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


def setup(app):
    app.connect("config-inited", use_local_mathjax)
    app.connect("config-inited", show_repository_buttons)
    app.connect("config-inited", show_title_beside_logo)
    app.connect("doctree-resolved", badge_exported_cells)
    app.connect("build-finished", copy_mathjax)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
