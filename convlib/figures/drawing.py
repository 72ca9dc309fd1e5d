# Exported from chapters/ by tools/export.py: edit the chapter, not this file.
"""What every drawing is made of: a row of panels, SVG words, numbers, four colours.

Chapter "How the figures are drawn" builds this module.
"""

import io
import re
from html import escape

__all__ = ["COLOURS", "NEGATIVE", "LEGIBLE", "Figure", "curves"]


# Chapter "How the figures are drawn" (chapters/drawing.ipynb)

COLOURS = {
    "input": "#0072B2",   # blue: what a layer receives
    "kernel": "#D55E00",  # vermilion: what a layer is made of
    "output": "#009E73",  # green: what a layer hands on
    "flow": "#CC79A7",    # purple: the learning flow, from Part II on
}
NEGATIVE = "#646464"      # grey: a number below zero
LEGIBLE = 11              # pixels: smaller words are not shown on any screen


def _in_words(alt):
    """An alternative text, after checking that it is one."""
    if not isinstance(alt, str) or not alt.strip():
        raise ValueError(f"alt: expected a sentence that says what the figure shows, got {alt!r}")
    return alt.strip()


class Figure:
    """A row of SVG panels with an alternative text, shown by Jupyter and by the book.

    Parameters
    ----------
    panels : list of str
        The SVG drawings, each made by `_svg`.
    alt : str
        What the figure shows, in words.

    Raises
    ------
    ValueError
        If `alt` is empty.

    Notes
    -----
    Source: chapter "How the figures are drawn".
    """

    def __init__(self, panels, alt):
        self.panels = list(panels)
        self.alt = _in_words(alt)

    def _repr_html_(self):
        style = "display:flex;flex-wrap:wrap;gap:0.75rem;align-items:center;justify-content:safe center"
        return (
            f'<div class="convlib-figure" role="img" aria-label="{escape(self.alt)}" style="{style}">'
            + "".join(self.panels)
            + "</div>"
        )

    def __repr__(self):
        return f"Figure: {self.alt}"


def _svg(width, height, content):
    """One panel: a drawing that shrinks on a narrow screen, until its smallest words are 11 pixels high."""
    sizes = [float(size) for size in re.findall('font-size="([0-9.]+)"', content)]
    least = width * min(1.0, LEGIBLE / min(sizes)) if sizes else 0
    return (
        f'<svg viewBox="0 0 {width:g} {height:g}" width="{width:g}" height="{height:g}" aria-hidden="true" '
        f'style="max-width:100%;min-width:{least:.0f}px;height:auto" fill="currentColor" '
        'font-family="system-ui, sans-serif" text-anchor="middle" dominant-baseline="central">'
        f"{content}</svg>"
    )


def _rect(x, y, width, height, fill="none", opacity=1.0, stroke="currentColor", line=0.6, extra=""):
    """A rectangle that stands on its own."""
    return (
        f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" fill="{fill}" '
        f'fill-opacity="{opacity:.2g}" stroke="{stroke}" stroke-width="{line:g}"{extra}/>'
    )


def _cells(squares, size, frame=""):
    """Many squares of one size in one group: (x, y, colour, opacity) each. It keeps pages small."""
    common = squares[0][2] if squares else "none"
    return (
        f'<g fill="{common}" stroke="currentColor" stroke-width="0.6" stroke-opacity="0.45"{frame}>'
        + "".join(
            f'<rect x="{x:g}" y="{y:g}" width="{size:g}" height="{size:g}"'
            + (f' fill="{colour}"' if colour != common else "")
            + f' fill-opacity="{opacity:.2g}"/>'
            for x, y, colour, opacity in squares
        )
        + "</g>"
    )


def _spans(x, y, spans, size, extra=""):
    """Text that is SVG already, centred at (x, y)."""
    return f'<text x="{x:g}" y="{y:g}" font-size="{size:g}"{extra}>{spans}</text>'


def _text(x, y, content, size, extra=""):
    """Words or numbers, centred at (x, y); a title may hold "<" or "&"."""
    return _spans(x, y, escape(str(content), quote=False), size, extra)


def _number(value):
    """A number as a reader would write it: 3 digits, a true minus sign."""
    value = float(value) + 0.0  # no minus sign for a zero
    # A touch larger, so that what lies between two numbers goes away from zero, here and in a browser.
    rounded = round(value) if abs(value - round(value)) < 1e-9 else float(f"{value * (1 + 1e-12):.3g}")
    return f"{rounded:.15g}".replace("-", "\N{MINUS SIGN}")


def _length(words):
    """How many digits wide words are; in some fonts a minus sign is wider than a digit."""
    return max(1, len(str(words)) + 0.3 * str(words).count("\N{MINUS SIGN}"))


def _fit(words, width, size):
    """The size at which words fit into a width, at most `size`."""
    return min(size, 1.45 * width / _length(words))


def _fill(value, largest, role):
    """Colour and opacity of a cell: the larger its value, the stronger the fill; never too weak for a dark page."""
    colour = COLOURS[role] if value >= 0 else NEGATIVE
    return colour, 0.12 + 0.43 * min(1.0, abs(value) / largest) if largest and value else 0.0


def _symbol(name, upper="", lower=""):
    """A name with an upper and a lower index, as SVG text spans."""
    spans = f'<tspan font-style="italic">{escape(name)}</tspan>'
    if upper:
        spans += f'<tspan dy="-5" font-size="75%">{escape(upper)}</tspan>'
    if lower:
        spans += f'<tspan dy="{9 if upper else 4}" font-size="75%">{escape(lower)}</tspan>'
    return spans


def curves(figure, *, alt):
    """Take a matplotlib figure into the page: sharp, see-through, in the colour of the text.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
        The finished plot; it is closed.
    alt : str
        What the plot shows, in words.

    Returns
    -------
    Figure

    Notes
    -----
    Source: chapter "How the figures are drawn".
    """
    import matplotlib.pyplot as plt

    for axes in figure.axes:
        if axes.get_legend():
            axes.get_legend().set_frame_on(False)  # its white card would not suit a dark page
    written = io.StringIO()
    with plt.rc_context({"svg.fonttype": "none", "svg.hashsalt": "convlib"}):
        figure.savefig(written, format="svg", transparent=True, bbox_inches="tight", metadata={"Date": None})
    plt.close(figure)
    svg = written.getvalue()
    svg = svg[svg.index("<svg") :].replace("#000000", "currentColor")
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    # Its words are 10 units high: on a narrow screen it shrinks until they are 11 pixels.
    least = LEGIBLE / 10 * float(re.search(r'viewBox="0 0 ([0-9.]+)', svg)[1])
    look = f'fill="currentColor" aria-hidden="true" style="max-width:100%;min-width:{least:.0f}px;height:auto"'
    svg = svg.replace("<svg ", f"<svg {look} ", 1)
    return Figure([svg], alt)
