# Exported from chapters/ by tools/export.py: edit the chapter, not this file.
"""Losses: how wrong a model is, and the learning flow that begins there.

A loss is called with what the model said and what it should have said, and returns one
number. Its `backward` returns the learning flow at the model's output.
"""

import numpy as np

__all__ = ["MSELoss", "log_softmax", "softmax", "CrossEntropyLoss"]


# Chapter "Learning the kernels that were given by hand" (chapters/learning_kernels.ipynb)

class MSELoss:
    """The mean of the squared differences between outputs and targets.

    Notes
    -----
    Source: chapter "Learning the kernels that were given by hand", formulas eq-mse and
    eq-mse-flow.
    """

    def __init__(self):
        self._difference = None

    def __call__(self, output, target):
        """Return the loss, a float, of two arrays of one shape.

        Raises ValueError if the shapes differ or the arrays are empty, TypeError if they
        do not hold real numbers.
        """
        output, target = _as_outputs(output), np.asarray(target)
        if target.dtype.kind not in "biuf":
            raise TypeError(f"target: expected real numbers, got dtype {target.dtype}")
        if target.shape != output.shape:
            raise ValueError(
                f"target: expected shape {output.shape}, as the output, got {target.shape}")
        self._difference = output - target.astype(output.dtype)
        return float(np.mean(self._difference**2, dtype=np.float64))

    def backward(self):
        """Return the flow at the output, in its shape; RuntimeError before any call."""
        if self._difference is None:
            raise RuntimeError("MSELoss: call the loss before backward")
        return self._difference * (2 / self._difference.size)


def _as_outputs(output):
    """What a model said, as an array of floating numbers that holds at least one."""
    output = np.asarray(output)
    if output.dtype.kind != "f":
        raise TypeError(f"output: expected floating numbers, got dtype {output.dtype}")
    if output.size == 0:
        raise ValueError(f"output: expected at least one number, got shape {output.shape}")
    return output


# Chapter "A first deep model on real digits" (chapters/digits.ipynb)

def log_softmax(scores):
    """Return the logarithms of the probabilities that scores stand for, along the last axis.

    The largest score is subtracted first, so that no power overflows. TypeError if the
    scores are not floating numbers, ValueError if there are none. Source: chapter "A first
    deep model on real digits", formula eq-log-softmax.
    """
    scores = _as_outputs(scores)
    with np.errstate(invalid="ignore"):  # infinity - infinity: nan, as it should be
        shifted = scores - scores.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def softmax(scores):
    """Return the probabilities that scores stand for, along the last axis.

    Raises what `log_softmax` raises. Source: chapter "A first deep model on real digits",
    formula eq-softmax.
    """
    return np.exp(log_softmax(scores))


class CrossEntropyLoss:
    """The mean surprise at the right answers, from the scores of all answers.

    Notes
    -----
    Source: chapter "A first deep model on real digits", formulas eq-cross-entropy and
    eq-cross-entropy-flow.
    """

    def __init__(self):
        self._flow = None

    def __call__(self, output, target):
        """Return the loss, a float, of scores (N, C) and the numbers of the classes (N,).

        Raises ValueError if the shapes do not belong together, there are no scores or a
        class does not exist; TypeError if scores are not floating or classes not whole.
        """
        output = _as_outputs(output)
        rows, target = _as_classes(target, output.shape)
        surprise = log_softmax(output)
        flow = np.exp(surprise)
        flow[rows, target] -= 1
        self._flow = flow / len(rows)
        return float(-np.mean(surprise[rows, target], dtype=np.float64))

    def backward(self):
        """Return the flow at the scores, in their shape; RuntimeError before any call."""
        if self._flow is None:
            raise RuntimeError("CrossEntropyLoss: call the loss before backward")
        return self._flow.copy()


def _as_classes(target, shape):
    """The places and the numbers of the right classes, if they fit scores of this shape."""
    target = np.asarray(target)
    if len(shape) != 2:
        raise ValueError(f"output: expected scores of shape (N, C), got {shape}")
    if target.dtype.kind not in "iu":
        raise TypeError(f"target: expected whole numbers, one class each, got dtype {target.dtype}")
    if target.shape != shape[:1]:
        raise ValueError(f"target: expected shape {shape[:1]}, one class for each row of scores, "
                         f"got {target.shape}")
    wrong = target[(target < 0) | (target >= shape[1])]
    if wrong.size:
        raise ValueError(f"target: expected classes from 0 to {shape[1] - 1}, got {wrong[0]}")
    return np.arange(shape[0]), target
