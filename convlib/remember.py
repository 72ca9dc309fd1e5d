# Exported from chapters/ by tools/export.py: edit the chapter, not this file.
"""What is worked out once for a layer's sizes and settings, and remembered.

Chapter "How the engine is wired" builds this module. It needs no Numba.
"""

from functools import wraps

__all__ = ["REMEMBERED", "remembered"]


# Chapter "How the engine is wired" (chapters/wired.ipynb)

REMEMBERED = 8 * 2**20  # bytes: when the answers of a function need more, they are forgotten


def _bytes_in(value):
    """The memory of the arrays in an answer."""
    if isinstance(value, tuple):
        return sum(map(_bytes_in, value))
    return getattr(value, "nbytes", 0)


def remembered(make):
    """Let a function remember its answers, up to 8 MiB (chapter "How the engine is wired")."""
    answers = {}

    @wraps(make)
    def answer(*arguments):
        made = answers.get(arguments)
        if made is None:
            made = make(*arguments)
            if _bytes_in(made) > REMEMBERED:
                return made
            if _bytes_in((*answers.values(), made)) + 1000 * len(answers) > REMEMBERED:
                answers.clear()  # one needs some 1000 bytes besides its arrays
            answers[arguments] = made
        return made

    answer.cache_clear = answers.clear
    return answer
