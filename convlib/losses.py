# Exported from chapters/ by tools/export.py: edit the chapter, not this file.
"""Losses: how wrong a model is, and the learning flow that begins there.

A loss is called with what the model said and what it should have said, and returns one
number. Its `backward` returns the learning flow at the model's output.
"""

import numpy as np

__all__ = ["MSELoss"]


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
