# Exported from chapters/ by tools/export.py: edit the chapter, not this file.
"""All algorithms that compute a layer, by name, and the rules that choose among them.

Chapter 14 builds this module.
"""

import warnings
from functools import lru_cache

import numpy as np

from convlib import numpy_kernels
from convlib.kernels import fourier

__all__ = [
    "ALGORITHMS",
    "FEW",
    "work",
    "choose_forward",
    "choose_input_grad",
    "choose_weight_grad",
    "get_winograd",
    "set_winograd",
    "RULES",
    "choose",
    "check_algorithm",
]


# Chapter "Choosing" (chapters/14_choosing.ipynb)

try:
    from convlib.kernels import direct, loops, small

    _compiled = {"tiny": small, "direct": direct, "loops": loops}
except ImportError:
    _compiled = {}
    warnings.warn("Numba is missing: convlib computes with NumPy alone", stacklevel=2)

ALGORITHMS = _compiled | {"fft": fourier, "numpy": numpy_kernels}


FEW = 20_000  # up to so many multiplications, tiny planes are best


@lru_cache(maxsize=1024)
def work(geometry):
    """Return how many multiplications the sums of a layer take (Chapter 14)."""
    g = geometry
    places = g.batch * g.out_height * g.out_width
    taps = g.in_channels // g.groups * g.kernel_height * g.kernel_width
    return places * g.out_channels * taps


def choose_forward(geometry, can):
    """Name the algorithm for an output (Chapter 14)."""
    if work(geometry) <= FEW and can("tiny"):
        return "tiny"
    return "direct" if can("direct") else "numpy"


choose_input_grad = choose_weight_grad = choose_forward


class _Switch:
    """Whether Winograd's algorithm may be chosen: one for all threads."""

    winograd = True


def get_winograd():
    """Return whether Winograd's algorithm may be chosen (Chapter 14)."""
    return _Switch.winograd


def set_winograd(on):
    """Allow Winograd's algorithm in float32, or switch it off, for the whole process.

    It is faster than the others and a little less exact. It is on at first; float64 never
    uses it. A call that names `algorithm="winograd"` gets it in any case.

    Parameters
    ----------
    on : bool
        False: no call chooses Winograd's algorithm any more. True: as at first.

    Raises
    ------
    TypeError
        If `on` is neither True nor False.

    Notes
    -----
    Source: Chapter 14.
    """
    if not isinstance(on, (bool, np.bool_)):
        raise TypeError(f"on: expected True or False, got {on!r}")
    _Switch.winograd = bool(on)


RULES = {"forward": choose_forward, "input_grad": choose_input_grad, "weight_grad": choose_weight_grad}


@lru_cache(maxsize=4096)
def _chosen(direction, geometry, char, winograd):
    """The name, remembered for the layers that come again and again."""
    if char not in "fd" or 0 in geometry[:4]:  # whole numbers, or nothing to compute
        return "numpy"

    def can(name):
        if name == "winograd" and not winograd:
            return False
        return name in ALGORITHMS and ALGORITHMS[name].suits(geometry, np.dtype(char))

    return RULES[direction](geometry, can)


def choose(direction, geometry, dtype):
    """Return the name of the algorithm that is chosen for a layer.

    Parameters
    ----------
    direction : "forward", "input_grad" or "weight_grad"
        What is to be computed.
    geometry : Geometry
        The layer, from `convlib.shapes.conv2d_geometry`.
    dtype : data type
        Of the numbers.

    Returns
    -------
    str

    Notes
    -----
    Source: Chapter 14.
    """
    return _chosen(direction, geometry, np.dtype(dtype).char, _Switch.winograd)


def check_algorithm(algorithm, geometry, dtype):
    """Refuse the name of an algorithm that does not exist or cannot compute a layer.

    Parameters
    ----------
    algorithm : str
        A name of the table `ALGORITHMS`.
    geometry : Geometry
        The layer.
    dtype : data type
        Of the numbers.

    Raises
    ------
    ValueError
        It names those that could.

    Notes
    -----
    Source: Chapter 14.
    """
    able = [name for name, each in ALGORITHMS.items() if each.suits(geometry, np.dtype(dtype))]
    if not isinstance(algorithm, str) or algorithm not in ALGORITHMS:
        expected = ", ".join(f'"{name}"' for name in ALGORITHMS)
        without = "" if _compiled else " (Numba is missing)"
        raise ValueError(
            f"algorithm: expected None or one of {expected}{without}, got {algorithm!r}"
        )
    if algorithm not in able:
        expected = ", ".join(f'"{name}"' for name in able)
        raise ValueError(
            f"algorithm: expected one that can compute this layer in {np.dtype(dtype)} "
            f"({expected}), got {algorithm!r}"
        )
