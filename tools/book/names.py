"""The page of all names: one line for each, with its summary; the rest unfolds. Chapters and formulas are links."""

import re
from html import escape

from docutils import nodes
from sphinx import addnodes
from sphinx.transforms.post_transforms import SphinxPostTransform

API_PAGE = "chapters/api"
# In a docstring: chapter "The learning flow", formula F12.
SOURCE = re.compile(r"[Cc]hapters?\s+[“\"](?P<chapter>[^”\"]+)[”\"]|(?P<formula>\bF\d\d\b)")


class name_fold(nodes.Element):
    """What unfolds below the line of a name."""


class name_line(nodes.TextElement):
    """The line: the name, and its summary."""


class OneLinePerName(SphinxPostTransform):
    """Fold the descriptions of functions, classes and modules."""

    default_priority = 220
    formats = ("html",)

    def run(self, **kwargs):
        if self.env.docname != API_PAGE:
            return
        for text in list(self.document.findall(nodes.Text)):
            self.link_sources(text)
        for desc in list(self.document.findall(addnodes.desc)):
            if not isinstance(desc.parent, addnodes.desc_content):
                self.fold_description(desc)
        for paragraph in list(self.document.findall(nodes.paragraph)):
            if any(name.startswith("module-") for name in paragraph["ids"]):
                self.fold_module(paragraph)

    def link_sources(self, text):
        """Link the chapters and formulas that a piece of text names."""
        if isinstance(text.parent, nodes.reference | nodes.literal | nodes.literal_block):
            return
        pieces, done = [], 0
        for found in SOURCE.finditer(text):
            page, anchor, shown = self.place(found)
            if page:
                start, end = found.span("formula" if found["formula"] else "chapter")
                uri = self.app.builder.get_relative_uri(API_PAGE, page) + anchor
                pieces += [nodes.Text(text[done:start]), nodes.reference("", shown, refuri=uri, internal=True)]
                done = end
        if pieces:
            text.parent.replace(text, [*pieces, nodes.Text(text[done:])])

    def place(self, found):
        """Where a chapter or a formula is: its page, the anchor there, and how it is called."""
        if found["formula"]:
            equation = self.env.get_domain("math").equations.get(f"eq-{found['formula']}", ("", 0))
            return equation[0], f"#equation-eq-{found['formula'].lower()}", found["formula"]
        name = " ".join(found["chapter"].split())
        titles = {title.astext(): page for page, title in self.env.titles.items()}
        return titles.get(name, ""), "", name

    def fold_description(self, desc):
        content = desc[-1]
        summary = next((node for node in content if isinstance(node, nodes.paragraph)), nodes.paragraph())
        if summary.parent is not None and not list(summary.findall(nodes.reference)):
            content.remove(summary)
        signature = desc[0]
        name = signature["ids"][0].removeprefix(f"{signature.get('module') or ''}.")
        fold = name_fold()
        desc.replace_self(fold)
        fold += [line_of(name, summary), desc]

    def fold_module(self, paragraph):
        """A module's docstring: its first paragraph is the line, those below it unfold."""
        fold = name_fold(ids=paragraph["ids"])
        parent, index = paragraph.parent, paragraph.parent.index(paragraph)
        rest = [paragraph.deepcopy()] if list(paragraph.findall(nodes.reference)) else []
        for node in parent[index + 1:]:
            if not isinstance(node, nodes.paragraph | nodes.bullet_list | nodes.literal_block) or node.get("ids"):
                break
            rest.append(node)
        for node in rest:
            if node.parent is parent:
                parent.remove(node)
        name = paragraph["ids"][0].removeprefix("module-")
        parent[index] = fold
        fold += [line_of(name, paragraph), *rest]


def line_of(name, summary):
    """The line of a name. A link in a line that unfolds cannot be told from it, so the line has none."""
    line = name_line("", "", *summary.deepcopy().children, name=name)
    for link in list(line.findall(nodes.reference)):
        link.replace_self(link.children)
    return line


def open_name(self, node):
    self.body.append(self.starttag(node, "details", CLASS="api-name"))


def close_name(self, node):
    self.body.append("</details>\n")


def open_line(self, node):
    self.body.append(f'<summary><code>{escape(node["name"])}</code> <span>')


def close_line(self, node):
    self.body.append("</span></summary>\n")


def setup(app):
    app.add_node(name_fold, html=(open_name, close_name))
    app.add_node(name_line, html=(open_line, close_line))
    app.add_post_transform(OneLinePerName)
