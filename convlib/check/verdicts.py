# Exported from chapters/ by tools/export.py: edit the chapter, not this file.
"""What the checker says: a verdict, as text and as HTML.

Chapter "How an answer is checked" builds this module.
"""

import re
import textwrap
from dataclasses import dataclass
from html import escape

__all__ = ["NOT_ATTEMPTED", "WRONG", "RIGHT", "Verdict", "Note"]


# Chapter "How an answer is checked" (chapters/checking.ipynb)

NOT_ATTEMPTED, WRONG, RIGHT = "not attempted", "wrong", "right"
_HEADLINES = {NOT_ATTEMPTED: "Not attempted yet.", WRONG: "Not right yet.", RIGHT: "Right."}
_WIDTH = 88
_FRAME = "border-left:0.25rem solid currentColor;padding-left:0.75rem"


def _wrapped(text):
    """Return a paragraph in lines; lines of code, which begin with blanks, stay as they are."""
    if text.startswith("    "):
        return "\n".join(line[:_WIDTH] for line in text.split("\n"))
    return textwrap.fill(text, _WIDTH, break_long_words=False, break_on_hyphens=False)


def _html(text):
    """Return a paragraph, or lines of code, as HTML."""
    if text.startswith("    "):
        return f"<pre>{escape(textwrap.dedent(text))}</pre>"
    return "<p>" + _marked(text) + "</p>"


def _marked(text):
    """Return a text as HTML, with what stands between backticks as code."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text, quote=False))


def _folded(summary, paragraphs):
    """Return paragraphs that are shown when they are asked for."""
    return f"<details><summary>{escape(summary)}</summary>{''.join(map(_html, paragraphs))}</details>"


@dataclass(frozen=True)
class Verdict:
    """What the checker says about an answer.

    Attributes
    ----------
    label : str
        The exercise.
    state : str
        "not attempted", "wrong" or "right".
    said : tuple of str
        What is to say, in paragraphs. One that begins with four blanks is code.
    hint : str
        Where to look; empty if the answer is right.
    values : tuple of str
        What was expected and what came, for those who ask.
    drawing : Figure, or None
        What your code read.

    Notes
    -----
    Source: chapter "How an answer is checked".
    """

    label: str
    state: str
    said: tuple = ()
    hint: str = ""
    values: tuple = ()
    drawing: object = None

    def __str__(self):
        """Return the verdict as text."""
        first, *others = self.said or ("",)
        paragraphs = [f"{_HEADLINES[self.state]} {first}".strip(), *others]
        paragraphs += [f"Hint: {self.hint}"] if self.hint else []
        if self.state == WRONG:
            paragraphs.append(f'More: hint("{self.label}"), values("{self.label}")')
        return "\n".join(map(_wrapped, paragraphs))

    __repr__ = __str__

    def _repr_html_(self):
        """Return the verdict for notebooks."""
        return f'<div class="convlib-verdict" style="{_FRAME}">{"".join(_parts(self))}</div>'


def _parts(verdict):
    """Return the parts of a verdict as HTML, one below the other."""
    first, *others = verdict.said or ("",)
    parts = [f"<p><strong>{_HEADLINES[verdict.state]}</strong> {_marked(first)}</p>", *map(_html, others)]
    if verdict.drawing is not None:
        parts.append(verdict.drawing._repr_html_())
    if verdict.hint and verdict.state == NOT_ATTEMPTED:
        parts.append(_html(f"Hint: {verdict.hint}"))
    elif verdict.hint:
        parts.append(_folded("A hint", [verdict.hint]))
    if verdict.values:
        parts.append(_folded("What was expected", verdict.values))
    return parts


@dataclass(frozen=True)
class Note:
    """What the reader has asked for: a hint, the expected values, or a solution.

    Attributes
    ----------
    paragraphs : tuple of str
        Plain text. A paragraph that begins with four blanks is code.
    markdown : str
        Markdown instead.

    Notes
    -----
    Source: chapter "How an answer is checked".
    """

    paragraphs: tuple = ()
    markdown: str = ""

    def __str__(self):
        """Return the note as text."""
        return self.markdown or "\n".join(map(_wrapped, self.paragraphs))

    __repr__ = __str__

    def _repr_html_(self):
        """Return plain text for notebooks."""
        return None if self.markdown else "".join(map(_html, self.paragraphs))

    def _repr_markdown_(self):
        """Return Markdown for notebooks."""
        return self.markdown or None
