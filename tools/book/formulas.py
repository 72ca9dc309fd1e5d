"""Formulas as MathML, made when the book is built: they need no script, and no page waits for them.

math-core translates; it refuses what it does not know. The font is STIX Two Math, which ziamath brings, cut down to the
signs that formulas need.
"""

import importlib.util
import re
from html import escape
from pathlib import Path

from docutils import nodes
from fontTools import subset
from math_core import LatexError, LatexToMathML
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.util import logging
from sphinx.util.math import get_node_equation_number

LOGGER = logging.getLogger(__name__)
# Found without importing ziamath, of which nothing else is needed.
FONT = Path(importlib.util.find_spec("ziamath").origin).parent / "fonts" / "STIXTwoMath-Regular.ttf"
# ASCII, Greek, and the italic letters that browsers show for a single letter; the sign that they draw for a root.
SIGNS = {*range(0x20, 0x7F), *range(0x391, 0x3D7), *range(0x1D434, 0x1D468), *range(0x1D6E2, 0x1D71C), 0x210E, 0x221A}


# What math-core does not know: room between two rows.
ROW_WITH_ROOM = re.compile(r"\\\\\[[^]]*\]")
# A sign that begins a row, as TeX has it: with nothing on both sides. Browsers would set it close to what follows.
BETWEEN_NOTHING = re.compile(r"<mrow></mrow><mo>([+−])</mo><mrow></mrow>")
CLOSING = re.compile(r"[.,;:!?)\]’”]+")
# The font's prime is small and raised already. As an exponent it would be so twice.
PRIME = re.compile(r"<msup>(<mi[^>]*>[^<]*</mi>)<mo[^>]*>([′″‴])</mo></msup>")
BOXED = re.compile(r'<menclose notation="box">(.*)</menclose>', re.DOTALL)


def mathml(tex, display):
    """Translate a formula; `display` says whether it stands by itself."""
    if r"\\" in tex and r"\begin" not in tex:
        tex = rf"\begin{{aligned}}{tex}\end{{aligned}}"
    tex = ROW_WITH_ROOM.sub(r"\\\\ \\\\", tex)
    result = LatexToMathML().convert_with_local_state(tex, displaystyle=display)
    result = BETWEEN_NOTHING.sub(r'<mo>\1</mo><mspace width="0.2222em"></mspace>', result)
    result = PRIME.sub(r'<mrow>\1<mo lspace="0" rspace="0">\2</mo></mrow>', result)
    return BOXED.sub(r'<mrow class="boxed">\1</mrow>', result)


def visit_math(self, node):
    self.body.append(self.starttag(node, "span", "", CLASS="math notranslate nohighlight"))
    self.body.append(typeset(self, node.astext(), display=False) + "</span>")
    raise nodes.SkipNode


class KeepPunctuation(SphinxPostTransform):
    """No line begins with the full stop that follows a formula: browsers would break it off."""

    default_priority = 900

    def run(self):
        for formula in list(self.document.findall(nodes.math)):
            after = formula.next_node(descend=False, siblings=True)
            mark = CLOSING.match(after.astext()) if isinstance(after, nodes.Text) else None
            if mark:
                parent, place = formula.parent, formula.parent.index(formula)
                pair = nodes.inline("", "", formula, nodes.Text(mark[0]), classes=["together"])
                parent[place : place + 2] = [pair, nodes.Text(after.astext()[mark.end() :])]


def visit_displaymath(self, node):
    self.body.append(self.starttag(node, "div", CLASS="math notranslate nohighlight"))
    if node.get("number"):
        self.body.append(f'<span class="eqno">({get_node_equation_number(self, node)})')
        self.add_permalink_ref(node, "Link to this equation")
        self.body.append("</span>")
    self.body.append(f'<div class="display">{typeset(self, node.astext(), display=True)}</div></div>\n')
    raise nodes.SkipNode


def typeset(self, tex, display):
    """Translate, and remember the signs for the font."""
    try:
        result = mathml(tex.strip(), display)
    except LatexError as error:
        LOGGER.warning("a formula that cannot be translated: %s: %s", tex, error)
        return escape(tex)
    app = self.builder.app
    app.signs_of_formulas = getattr(app, "signs_of_formulas", set()) | set(map(ord, re.sub("<[^>]*>", "", result)))
    return result


def write_font(app, exception):
    """Cut the font down: 70 kB in place of a megabyte."""
    if exception or app.builder.format != "html":
        return
    options = subset.Options(flavor="woff", layout_features=["ssty", "kern"], hinting=False)
    font = subset.load_font(str(FONT), options)
    cutter = subset.Subsetter(options)
    cutter.populate(unicodes=SIGNS | getattr(app, "signs_of_formulas", set()))
    cutter.subset(font)
    folder = Path(app.outdir) / "_static" / "fonts"
    folder.mkdir(parents=True, exist_ok=True)
    subset.save_font(font, str(folder / "book-math.woff"), options)


def setup(app):
    app.add_html_math_renderer("mathml", (visit_math, None), (visit_displaymath, None))
    app.add_post_transform(KeepPunctuation)
    app.connect("build-finished", write_font)
