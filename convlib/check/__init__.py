# Exported from chapters/ by tools/export.py: edit the chapter, not this file.
"""Exercises that say what is wrong: hints, checks of answers, solutions, progress, and your own layer.

Chapters "What your code read", "A catalogue of mistakes" and "How an answer is checked" build this package.
"""

from convlib.check.checker import check, hint, solution, values
from convlib.check.progress import progress
from convlib.check.verdicts import Note, Verdict

__all__ = ["check", "hint", "solution", "values", "progress", "Note", "Verdict"]
