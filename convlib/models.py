# Exported from chapters/ by tools/export.py: edit the chapter, not this file.
"""Models of the course, ready to be trained."""

from importlib.resources import files

import numpy as np

from convlib.datasets import _unpacked
from convlib.layers import Conv2d, Dropout, Flatten, Linear, MaxPool2d, ReLU, Sequential

__all__ = ["digit_reader", "DIGIT_READER_SHA256", "trained_digit_reader"]


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


# Chapter "Figures that learn" (chapters/learning_figures.ipynb)

DIGIT_READER_SHA256 = "b0158794b3a2fd8165d330075c76469cd38c9f3c255d723d2215a39407b97dc2"


def trained_digit_reader():
    """Return a model that has learned to read digits of 8 x 8 pixels; a file of this package holds its numbers.

    Returns
    -------
    Sequential
        `digit_reader`, in float64 and ready for use (`eval`). The weights are multiples of a power of
        two, at most 127 times it, and differ from those of the training by half of it at most.

    Raises
    ------
    ValueError
        If the file is damaged.

    Notes
    -----
    Source: chapter "Figures that learn"; the training is that of chapter "A first deep model on real digits".
    """
    model, state = digit_reader(dtype=np.float64, rng=0), {}
    shapes = {name: array.shape for name, array in model.state_dict().items()}
    path = files("convlib") / "data" / "digit_reader.csv.gz"
    for line in _unpacked(path, DIGIT_READER_SHA256).decode().splitlines():
        name, exponent, *numbers = line.split(",")
        state[name] = np.array(numbers, dtype=np.float64).reshape(shapes[name]) / 2.0 ** int(exponent)
    model.load_state_dict(state)
    model.eval()
    return model
