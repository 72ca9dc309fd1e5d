# Exported from chapters/ by tools/export.py: edit the chapter, not this file.
"""What a reader has answered so far: kept in one small file, and drawn.

Chapter "How an answer is checked" builds this module.
"""

import itertools
import json
import os
from collections import Counter
from pathlib import Path

from convlib.check.exercises import exercises
from convlib.figures.drawing import COLOURS, Figure, _rect, _svg, _text

__all__ = ["FILE", "recall", "remember", "progress"]


# Chapter "How an answer is checked" (chapters/checking.ipynb)

FILE = "convlib-progress.json"


def _place():
    """Return where the progress is kept, or None."""
    wanted = os.environ.get("CONVLIB_PROGRESS") or FILE
    return None if wanted.lower() == "off" else Path(wanted)


def _is_count(entry):
    """Tell whether an entry counts right and wrong answers."""
    return isinstance(entry, dict) and entry.keys() == {"right", "wrong"} and all(
        type(count) is int and count >= 0 for count in entry.values())


def recall():
    """Return what has been answered so far.

    Returns
    -------
    counts : dict of str to dict
        For each exercise how many answers were right and wrong.
    said : tuple of str
        What the reader has to know about the file; empty if it is in order.

    Notes
    -----
    Source: chapter "How an answer is checked".
    """
    place = _place()
    if place is None or not place.exists():
        return {}, ()
    content = place.read_bytes()
    try:
        found = json.loads(content)
        entries = found if isinstance(found, dict) else {}
    except (ValueError, RecursionError):
        found, entries = None, {}
    counts = {label: entry for label, entry in entries.items() if _is_count(entry)}
    if counts == found:
        return counts, ()
    names = (f"{place.stem}.damaged{number or ''}{place.suffix}" for number in itertools.count())
    aside = next(place.with_name(name) for name in names if not place.with_name(name).exists())
    os.replace(place, aside)
    _write(place, counts)
    return counts, (f"The file of your progress, {place.name}, was damaged. It was put aside as "
                    f"{aside.name}; what could be read of it was kept ({len(counts)} exercises).",)


def _write(place, counts):
    """Write the file in one step."""
    temporary = place.with_name(f".{place.name}.{os.getpid()}")
    try:
        temporary.write_text(json.dumps(counts, indent=1, sort_keys=True) + "\n", encoding="utf-8")
        os.replace(temporary, place)
    finally:
        temporary.unlink(missing_ok=True)


def remember(label, right):
    """Count an answer.

    Parameters
    ----------
    label : str
        The exercise.
    right : bool
        Whether the answer was right.

    Returns
    -------
    tuple of str
        What the reader has to know about the file; empty if all went well.

    Notes
    -----
    Source: chapter "How an answer is checked".
    """
    place = _place()
    if place is None:
        return ()
    try:
        counts, said = recall()
        entry = counts.setdefault(label, {"right": 0, "wrong": 0})
        entry["right" if right else "wrong"] += 1
        _write(place, counts)
    except OSError as error:
        return (f"Your progress was not kept. {_trouble(place, error)}",)
    return said


def _trouble(place, error):
    """Return what is wrong with the file, in a sentence."""
    return f"{place.name}: {error.strerror or type(error).__name__}."


_SQUARE, _ROW, _TITLES = 16, 24, 236


def _state(counts, label):
    """Return whether an exercise was answered, and rightly."""
    entry = counts.get(label, {"right": 0, "wrong": 0})
    return "right" if entry["right"] else "wrong" if entry["wrong"] else "open"


def _square(x, y, state):
    """Draw the square of an exercise."""
    if state == "open":
        return _rect(x, y, _SQUARE, _SQUARE)
    colour, mark = (COLOURS["output"], "h3l3 4l6 -9") if state == "right" else (COLOURS["kernel"], "h10")
    stroke = f'<path d="M{x + 3} {y + 8}{mark}" fill="none" stroke="currentColor" stroke-width="2"/>'
    return _rect(x, y, _SQUARE, _SQUARE, colour, 0.3) + stroke


def _panel(part, chapters, counts):
    """Draw the panel of a part: its name, and a row for each chapter."""
    drawn = [_text(0, 10, part, 14, ' text-anchor="start" font-weight="bold"')]
    for row, (title, labels) in enumerate(chapters.items(), start=1):
        title = title if len(title) <= 38 else title[:36].rstrip() + "…"
        drawn.append(_text(0, _ROW * row + 12, title, 12, ' text-anchor="start"'))
        drawn += [_square(_TITLES + 20 * place, _ROW * row + 4, _state(counts, label))
                  for place, label in enumerate(labels)]
    widest = max(map(len, chapters.values()))
    return _svg(_TITLES + 20 * widest, _ROW * (len(chapters) + 1), "".join(drawn))


def progress(part="", counts=None):
    """Draw what has been answered so far, part by part.

    Parameters
    ----------
    part : str
        Only the parts of the book whose names begin like this, for instance "Part II ".
    counts : dict of str to dict, optional
        For each exercise how many answers were right and wrong; by default what the file says.

    Returns
    -------
    Figure

    Raises
    ------
    ValueError
        If no part begins like this.

    Notes
    -----
    Source: chapter "How an answer is checked".
    """
    said = ()
    if counts is None:
        try:
            counts, said = recall()
        except OSError as error:
            counts, said = {}, (_trouble(_place(), error),)
    parts = {}
    for label, record in exercises().items():
        if record["skeleton"] and record["part"].startswith(part):
            parts.setdefault(record["part"], {}).setdefault(record["chapter_title"], []).append(label)
    if not parts:
        raise ValueError(f"part: expected the beginning of a part with exercises, got {part!r}")
    words = []
    for part, chapters in parts.items():
        states = Counter(_state(counts, label) for labels in chapters.values() for label in labels)
        not_yet = f", {states['wrong']} answered but not right yet" if states["wrong"] else ""
        words.append(f"{part}: {states['right']} of {states.total()} right{not_yet}.")
    panels = [_panel(part, chapters, counts) for part, chapters in parts.items()]
    return Figure(panels, " ".join(["Your progress.", *words, *said]))
