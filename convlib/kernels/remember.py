# Exported from chapters/ by tools/export.py: edit the chapter, not this file.
"""What is worked out once for a layer's sizes and settings, and remembered.

Chapter "Planes and vectors" builds this module. It needs no Numba.
"""

from functools import wraps

__all__ = ["REMEMBERED", "remembered"]


# Chapter "Planes and vectors" (chapters/planes.ipynb)

REMEMBERED = 8 * 2**20  # bytes: when plans need more than that, they are forgotten


def _bytes_in(value):
    """The memory of the arrays in a plan."""
    if isinstance(value, tuple):
        return sum(map(_bytes_in, value))
    return getattr(value, "nbytes", 0)


def remembered(make):
    """Let a function remember what it made, up to 8 MiB of it.

    Notes
    -----
    Source: chapter "Planes and vectors".
    """
    plans, room = {}, REMEMBERED

    def forget():
        nonlocal room
        plans.clear()
        room = REMEMBERED

    @wraps(make)
    def plan(*arguments):
        nonlocal room
        made = plans.get(arguments)
        if made is None:
            made = make(*arguments)
            size = _bytes_in(made) + 1000  # for what a plan needs besides
            if room < size <= REMEMBERED:
                forget()
            if size <= room:
                plans[arguments] = made
                room -= size
        return made

    plan.cache_clear = forget
    return plan
