# Exported from chapters/ by tools/export.py: edit the chapter, not this file.
"""Stories: one picture after the other, moved by the reader.

Chapter "How the figures move" builds this module.
"""

from html import escape

from convlib.figures.moving import Moving, _said, _steps
from convlib.figures.numbers import _one_each

__all__ = ["Story", "story"]


# Chapter "How the figures move" (chapters/moving.ipynb)

_TELL = """
    const picture = one("[role=img]"), panels = Array.from(picture.children);
    stepper(start.frames.length, (number) => {
      const frame = start.frames[number];
      panels.forEach((panel, place) => { panel.hidden = !frame.panels.includes(place); });
      picture.setAttribute("aria-label", frame.alt);
      return frame.said;
    });
"""


class Story(Moving):
    """Pictures one after the other, with a slider (chapter "How the figures move")."""

    def __init__(self, pictures, said, still, alt):
        panels = list(dict.fromkeys(panel for picture in pictures for panel in picture.panels))
        self.frames = [
            {"panels": [panels.index(panel) for panel in picture.panels], "alt": picture.alt, "said": words}
            for picture, words in zip(pictures, said, strict=True)
        ]
        self.still = self.frames[still]
        shown = "".join(
            f"<div{'' if place in self.still['panels'] else ' hidden'}>{panel}</div>"
            for place, panel in enumerate(panels)
        )
        picture = f'<div class="convlib-figure stage" role="img" aria-label="{escape(self.still["alt"])}">{shown}</div>'
        parts = [_steps(len(self.frames)), _said(self.still["said"]), picture]
        super().__init__("story", parts, alt, _TELL, {"frames": self.frames})


def story(pictures, said, *, still=None, alt):
    """Show pictures one after the other, moved by the reader.

    Parameters
    ----------
    pictures : sequence of Figure
        One for each step.
    said : sequence of str
        A sentence for each step.
    still : int, optional
        Which picture stands where scripts do not run; by default the last.
    alt : str
        What the whole figure shows, in words.

    Returns
    -------
    Story

    Raises
    ------
    ValueError
        If there is no picture, not one sentence for each, or no picture `still`.

    Notes
    -----
    Source: chapter "How the figures move"; used in the chapter "Layers and models".
    """
    pictures, said = list(pictures), _one_each("said", list(said), len(pictures))
    still = len(pictures) - 1 if still is None else still
    if not 0 <= still < len(pictures):
        raise ValueError(f"still: expected one of {len(pictures)} pictures, got {still}")
    return Story(pictures, said, still, alt)
