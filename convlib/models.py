# Exported from chapters/ by tools/export.py: edit the chapter, not this file.
"""Models of the course, ready to be trained."""

import numpy as np

from convlib.layers import Conv2d, Dropout, Flatten, Linear, MaxPool2d, ReLU, Sequential

__all__ = ["digit_reader"]


# Chapter "A first deep model on real digits" (chapters/digits.ipynb)

def digit_reader(*, dropout=0.3, dtype=np.float32, rng=None):
    """Return a model that has yet to learn to read digits of 8 x 8 pixels.

    Parameters
    ----------
    dropout : float
        The probability for `Dropout`.
    dtype : data type
        float32 or float64.
    rng : int or numpy.random.Generator, optional
        For the first numbers, and for `Dropout`.

    Returns
    -------
    Sequential
        Called with (N, 1, 8, 8), it returns the scores of the ten digits, (N, 10).

    Notes
    -----
    Source: chapter "A first deep model on real digits".
    """
    rng = np.random.default_rng(rng)
    return Sequential(
        Conv2d(1, 16, 3, padding=1, dtype=dtype, rng=rng), ReLU(), MaxPool2d(2),
        Conv2d(16, 32, 3, padding=1, dtype=dtype, rng=rng), ReLU(),
        Flatten(), Dropout(dropout, rng=rng), Linear(512, 10, dtype=dtype, rng=rng),
    )
