# Exported from chapters/ by tools/export.py: edit the chapter, not this file.
"""All algorithms that compute a layer, by name, and the rules that choose among them.

Where `LOCAL_ERROR` says True, the error at a result is at most n e S: n counts the products
that the result reads, and one for the bias; e is 2**-24 in float32 and 2**-53 in float64; S is
the sum of their sizes, each at least the smallest normal number. Long sums are cut into short
chains, so it is much less. The others state their bounds in their own modules.

Chapter "One function for every layer" begins this module, with the two algorithms that need
NumPy alone; later chapters add theirs, and their rules.
"""

import warnings
from functools import lru_cache

import numpy as np

from convlib import numpy_kernels
from convlib.kernels import fourier, places
from convlib.reduction import is_wide

__all__ = [
    "ALGORITHMS",
    "LOCAL_ERROR",
    "FALLBACKS",
    "MISSING",
    "suits",
    "work",
    "FEW_PLACES",
    "choose_simply",
    "RULES",
    "only_local",
    "choose",
    "check_algorithm",
    "fourier_work",
    "FEW",
    "FOURIER",
    "FOURIER_ALONE",
    "FOURIER_WEIGHTS",
    "ENOUGH_CHANNELS",
    "PLANES_AT_HAND",
    "choose_forward",
    "choose_input_grad",
    "choose_weight_grad",
    "choose_bias_grad",
    "get_winograd",
    "set_winograd",
]


# Chapter "One function for every layer" (chapters/one_function.ipynb)

ALGORITHMS = {"numpy": numpy_kernels, "places": places}
LOCAL_ERROR = {"numpy": True, "places": True}  # is it bounded by what the result itself reads?
FALLBACKS = ["numpy"]  # who is asked, one after the other, where an algorithm returns None
MISSING = []  # why the table is shorter than it could be


def suits(name, geometry, dtype):
    """Tell whether an algorithm can compute a layer with numbers of a data type.

    Whole numbers, and zeros out of proportion, are for NumPy alone. Source: chapter "One
    function for every layer".
    """
    if name in ("places", "numpy"):
        return ALGORITHMS[name].suits(geometry, dtype)
    if is_wide(geometry):
        return False
    return dtype.char in "fd" and ALGORITHMS[name].suits(geometry, dtype)


@lru_cache(maxsize=1024)
def work(geometry):
    """Return how many multiplications the sums of a layer take.

    Source: chapter "One function for every layer".
    """
    g = geometry
    places = g.batch * g.out_height * g.out_width
    taps = g.in_channels // g.groups * g.kernel_height * g.kernel_width
    return places * g.out_channels * taps


FEW_PLACES = 64  # one by one, if each sees so much that nobody notices the steps in Python


def _has_few_places(geometry):
    """Whether the output has one place, or a few that see many taps."""
    number = geometry.out_height * geometry.out_width
    taps = geometry.kernel_height * geometry.kernel_width
    return number == 1 or number <= min(FEW_PLACES, taps // 4)


def choose_simply(geometry, can):
    """Name the simplest algorithm: place by place, or else tap by tap.

    Source: chapter "One function for every layer".
    """
    return "places" if _has_few_places(geometry) else "numpy"


RULES = {
    "forward": choose_simply,
    "input_grad": choose_simply,
    "weight_grad": choose_simply,
    "bias_grad": lambda size: "numpy",
}


class _Switch:
    """Whether only algorithms may be chosen whose error is local: one for all threads."""

    local = False


def only_local():
    """Tell whether only algorithms may be chosen whose error is local.

    Source: chapter "One function for every layer".
    """
    return _Switch.local


def _first(names, can):
    """The first of several algorithms that can; NumPy always can."""
    return next((name for name in names if can(name)), "numpy")


@lru_cache(maxsize=4096)
def _chosen(direction, geometry, char, local):
    """The name, remembered for the layers that come again and again."""
    dtype = np.dtype(char)
    if 0 in geometry[:4]:  # nothing to compute
        return "numpy"
    if dtype.kind != "f" or is_wide(geometry):
        return _first(("places",), lambda name: suits(name, geometry, dtype))

    def can(name):
        if local and not LOCAL_ERROR[name]:
            return False
        return name in ALGORITHMS and suits(name, geometry, dtype)

    return RULES[direction](geometry, can)


def choose(direction, geometry, dtype, local=False):
    """Return the name of the algorithm that is chosen for a layer.

    Parameters
    ----------
    direction : "forward", "input_grad" or "weight_grad"
        What is to be computed.
    geometry : Geometry
        The layer, from `convlib.shapes.conv2d_geometry`.
    dtype : data type
        Of the numbers.
    local : bool
        Whether only those may be chosen whose error is local, wherever the switch stands.

    Returns
    -------
    str

    Notes
    -----
    Source: chapter "One function for every layer".
    """
    local = bool(local) or only_local()
    return _chosen(direction, geometry, np.dtype(dtype).char, local)


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
    Source: chapter "One function for every layer".
    """
    able = [name for name in ALGORITHMS if suits(name, geometry, np.dtype(dtype))]
    if not isinstance(algorithm, str) or algorithm not in ALGORITHMS:
        expected = ", ".join(f'"{name}"' for name in ALGORITHMS)
        without = f" ({', '.join(MISSING)})" if MISSING else ""
        raise ValueError(
            f"algorithm: expected None or one of {expected}{without}, got {algorithm!r}"
        )
    if algorithm not in able:
        expected = ", ".join(f'"{name}"' for name in able)
        raise ValueError(
            f"algorithm: expected one that can compute this layer in {np.dtype(dtype)} "
            f"({expected}), got {algorithm!r}"
        )


# Chapter "Choosing" (chapters/choosing.ipynb)

try:
    from convlib.kernels import (
        channels,
        depthwise,
        direct,
        gemm,
        loops,
        small,
        thin,
        winograd,
    )

    ALGORITHMS |= {
        "tiny": small, "thin": thin, "depthwise": depthwise, "winograd": winograd,
        "channels": channels, "gemm": gemm, "direct": direct, "loops": loops,
    }  # fmt: skip
except ImportError:
    MISSING += ["Numba is missing"]
    warnings.warn("Numba is missing: convlib computes with NumPy alone", stacklevel=2)

ALGORITHMS |= {"fft": fourier}
LOCAL_ERROR |= {
    "tiny": True, "thin": True, "depthwise": True, "channels": True, "gemm": True,
    "direct": True, "loops": True, "winograd": False, "fft": False,
}  # fmt: skip
FALLBACKS[:] = "direct", "loops", "numpy"


def fourier_work(geometry):
    """Return how many multiplications values at many points take (chapter "Choosing")."""
    g = geometry
    rows, columns = fourier.points(g)
    half, number = columns // 2 + 1, rows * columns
    kernels = g.out_channels * g.in_channels // g.groups
    transforms = 2 * g.batch * (g.in_channels + g.out_channels) * number * np.log2(number)
    kernel_values = 4 * kernels * rows * g.kernel_width * (g.kernel_height + half)
    products = 4 * g.batch * kernels * rows * half
    return int(transforms + kernel_values + products)


FEW = 20_000  # up to so many multiplications, tiny planes are best
FOURIER = 8  # a multiplication of the values takes as long as so many of the sums,
FOURIER_ALONE = 5  # or so many, where each channel is alone,
FOURIER_WEIGHTS = 1.5  # times this for the gradient of the weights
ENOUGH_CHANNELS = 16  # on both sides: transforms and packing are shared by so many, and pay
PLANES_AT_HAND = 64  # the planes of so many channels stay near: rows straight into the output


def _fourier_pays(geometry, factor=1):
    """Whether values at many points take less time than sums."""
    alone = geometry.in_channels == geometry.groups
    factor *= FOURIER_ALONE if alone else FOURIER
    return factor * fourier_work(geometry) < work(geometry)


def _is_thin(geometry):
    """Whether one side has few channels."""
    g = geometry
    return min(g.in_channels, g.out_channels) // g.groups < ENOUGH_CHANNELS


def _choose_correlation(sources, geometry, can):
    """Name the algorithm that makes images from the images of so many channels."""
    if work(geometry) <= FEW and can("tiny"):
        return "tiny"
    if _has_few_places(geometry):
        return "places"
    if not _is_thin(geometry) and can("winograd"):
        return "winograd"
    if _fourier_pays(geometry) and can("fft"):
        return "fft"
    if can("depthwise"):
        return "depthwise"
    single = geometry.kernel_height * geometry.kernel_width == 1
    few_planes = sources // geometry.groups <= PLANES_AT_HAND
    at_hand = few_planes and not single and geometry.stride == (1, 1)
    if (_is_thin(geometry) or at_hand) and can("thin"):
        return "thin"
    if _is_thin(geometry) or single:
        return _first(("gemm", "direct"), can)
    return _first(("channels", "gemm", "direct"), can)


def choose_forward(geometry, can):
    """Name the algorithm for an output (chapter "Choosing")."""
    return _choose_correlation(geometry.in_channels, geometry, can)


def choose_input_grad(geometry, can):
    """Name the algorithm for a learning flow (chapter "Choosing")."""
    return _choose_correlation(geometry.out_channels, geometry, can)


def choose_weight_grad(geometry, can):
    """Name the algorithm for the gradient of the weights (chapter "Choosing")."""
    if work(geometry) <= FEW and can("tiny"):
        return "tiny"
    if _has_few_places(geometry):
        return "places"
    if not _is_thin(geometry) and can("winograd"):
        return "winograd"
    if _fourier_pays(geometry, FOURIER_WEIGHTS) and can("fft"):
        return "fft"
    if can("depthwise"):
        return "depthwise"
    if _is_thin(geometry) and can("thin"):
        return "thin"
    return _first(("gemm", "direct"), can)


def choose_bias_grad(size):
    """Name the algorithm for the gradient of the biases, from so many values (chapter "Choosing")."""
    name = "tiny" if size <= FEW else "thin"
    return name if name in ALGORITHMS else "numpy"


RULES |= {
    "forward": choose_forward,
    "input_grad": choose_input_grad,
    "weight_grad": choose_weight_grad,
    "bias_grad": choose_bias_grad,
}


def get_winograd():
    """Return whether Winograd's algorithm, and the FFT, may be chosen (chapter "Choosing")."""
    return not only_local()


def set_winograd(on):
    """Allow Winograd's algorithm and the FFT, or switch both off, for the whole process.

    They are faster than the others where they are chosen, and a little less exact: their error
    at a result may be as large as about 1e-4 (float32) of the largest number that it reads,
    times the sum of its weights; where it would be larger, the call falls back. Without them,
    the error is bounded by the products that the result itself reads
    (`convlib.algorithms.LOCAL_ERROR`). Both are on at first. A call that names
    `algorithm="winograd"` or `"fft"` gets it in any case.

    Parameters
    ----------
    on : bool
        False: no call chooses an algorithm whose error is not local. True: as at first.

    Raises
    ------
    TypeError
        If `on` is neither True nor False.

    Notes
    -----
    Source: chapter "Choosing".
    """
    if not isinstance(on, (bool, np.bool_)):
        raise TypeError(f"on: expected True or False, got {on!r}")
    _Switch.local = not on
