# Exported from chapters/ by tools/export.py: edit the chapter, not this file.
"""Numbers change places between vectors. Chapter "Vectors and the block" builds this module."""

from numba import types

from convlib.kernels.simd import primitive

__all__ = ["every_second", "in_turns", "transpose"]


# Chapter "Vectors and the block" (chapters/block.ipynb)

def _in_turns(cpu, a, b):
    """The numbers of two vectors in turns, as two vectors."""
    n = cpu.count(a)
    turns = [lane + which * n for lane in range(n) for which in (0, 1)]
    return cpu.pick(a, b, turns[:n]), cpu.pick(a, b, turns[n:])


def _two(a, b):
    return types.UniTuple(a, 2)


@primitive(_two)
def every_second(cpu, a, b):
    """Lanes 0, 2, ... of two vectors behind each other, and 1, 3, ... (chapter "Vectors and the block")."""
    return [cpu.pick(a, b, range(first, 2 * cpu.count(a), 2)) for first in (0, 1)]


@primitive(_two)
def in_turns(cpu, a, b):
    """Two vectors: a[0], b[0], a[1], b[1], and so on (chapter "Vectors and the block")."""
    return _in_turns(cpu, a, b)


@primitive(lambda *_: types.void)
def transpose(cpu, source, s, s_step, target, t, t_step):
    """Read a square, as many rows as a vector has lanes, and write its columns as rows.

    Row r lies at source[s + r * s_step ...], column c goes to target[t + c * t_step ...].
    Source: chapter "Vectors and the block".
    """
    n = cpu.lanes(source)
    rows = [cpu.load(source, each) for each in cpu.places(s, s_step, n)]
    for _ in range(n.bit_length() - 1):  # each time, two rows in turns make two new ones
        pairs = zip(rows[: n // 2], rows[n // 2 :], strict=True)
        rows = [new for a, b in pairs for new in _in_turns(cpu, a, b)]
    for row, place in zip(rows, cpu.places(t, t_step, n), strict=True):
        cpu.store(target, place, row)
