# Exported from chapters/ by tools/export.py: edit the chapter, not this file.
"""The matrices of Winograd's algorithm, derived in exact fractions.

Chapter "Fewer multiplications" builds this module.
"""

import math
from fractions import Fraction

import numpy as np

__all__ = ["POINTS", "winograd_matrices", "as_array"]


# Chapter "Fewer multiplications" (chapters/winograd.ipynb)

POINTS = (0, 1, -1, 2, -2, Fraction(1, 2), Fraction(-1, 2))


def _powers(point, count):
    """By what `count` coefficients are multiplied in a polynomial's value at a point."""
    if point == math.inf:  # only the highest power counts there
        return [Fraction(0)] * (count - 1) + [Fraction(1)]
    return [Fraction(point) ** power for power in range(count)]


def _polynomial_with_zeros(zeros):
    """The coefficients of the product of all (x - zero), the constant first."""
    coefficients = [Fraction(1)]
    for zero in zeros:
        times_x = [Fraction(0), *coefficients]
        times_zero = [zero * coefficient for coefficient in coefficients] + [Fraction(0)]
        coefficients = [a - b for a, b in zip(times_x, times_zero, strict=True)]
    return coefficients


def winograd_matrices(outputs, taps, points=None):
    """Derive the matrices A, B and G of Winograd's F(outputs, taps).

    Parameters
    ----------
    outputs : int
        How many neighbouring outputs are computed together.
    taps : int
        Number of weights of the kernel, on one line.
    points : sequence of whole numbers, fractions or math.inf, optional
        The outputs + taps - 1 points at which the polynomials are multiplied, all
        different. By default 0, 1, -1, 2, -2, 1/2, -1/2, as many as needed, and infinity.

    Returns
    -------
    A : array of Fraction, shape (outputs + taps - 1, outputs)
    B : array of Fraction, shape (outputs + taps - 1, outputs + taps - 1)
    G : array of Fraction, shape (outputs + taps - 1, taps)
        With cells d and weights g, the outputs are A^T [(G g) * (B^T d)].

    Raises
    ------
    ValueError
        If a size is below 1, or the points are too few, too many or not different.

    Notes
    -----
    Source: chapter "Fewer multiplications". The names are those of Lavin and Gray (2016).
    """
    points = _checked_points(outputs, taps, points)
    A, B, G = [], [], []
    for point in points:
        others = [other for other in points if other not in (point, math.inf)]
        selector = _polynomial_with_zeros(others)
        selector += [Fraction(0)] * (len(points) - len(selector))
        powers = _powers(point, len(points))
        value = sum(a * b for a, b in zip(selector, powers, strict=True))
        A.append(_powers(point, outputs))
        B.append(selector)
        G.append([power / value for power in _powers(point, taps)])
    return np.array(A), np.array(B).T, np.array(G)


def _checked_points(outputs, taps, points):
    """The points, after checking that they are as many as needed, and all different."""
    if outputs < 1 or taps < 1:
        raise ValueError(f"outputs, taps: expected at least 1, got {outputs} and {taps}")
    count = outputs + taps - 1
    points = (*POINTS[: count - 1], math.inf) if points is None else points
    points = [point if point == math.inf else Fraction(point) for point in points]
    if len(points) != count or len(set(points)) != count:
        raise ValueError(f"points: expected {count} different ones, got {[*map(str, points)]}")
    return points


def as_array(matrix, dtype):
    """Round a matrix of fractions to an array of floating-point numbers.

    Parameters
    ----------
    matrix : array of Fraction
        One of the matrices of `winograd_matrices`, or its transpose.
    dtype : data type
        float32 or float64.

    Returns
    -------
    array of `dtype`, C-contiguous

    Notes
    -----
    Source: chapter "Fewer multiplications".
    """
    return np.array(matrix).astype(dtype, order="C")
