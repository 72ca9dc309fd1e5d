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
from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from convlib import numpy_kernels, places
from convlib.numpy_kernels import _meeting
from convlib.reduction import is_wide

__all__ = ["ALGORITHMS", "LOCAL_ERROR", "MISSING", "suits", "work", "FEW_PLACES", "choose_simply", "RULES",
    "only_local", "choose", "check_algorithm", "Algorithm", "meetings", "tile_products", "tiles_pay", "direct_pays",
    "choose_forward", "choose_input_grad", "choose_weight_grad", "get_winograd", "set_winograd"]


# Chapter "One function for every layer" (chapters/one_function.ipynb)

ALGORITHMS = {"numpy": numpy_kernels, "places": places}
LOCAL_ERROR = {"numpy": True, "places": True}  # is it bounded by what the result itself reads?
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


FEW_PLACES = 64  # one by one, if each sees so much that the steps in Python hardly count


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

class Algorithm(NamedTuple):
    """How an algorithm is called: the contract of the table.

    Source: chapter "Choosing".
    """

    suits: Callable
    forward: Callable
    input_grad: Callable
    weight_grad: Callable


try:
    from convlib import patches, pixels
    from convlib.kernels import direct, few, planes, product, scatter, tuning, weights, winograd

    ALGORITHMS |= {
        "pixels": pixels,
        "few": few,
        "planes": planes,
        "direct": Algorithm(direct.suits, direct.forward, direct.input_grad, planes.weight_grad),
        "product": Algorithm(
            product.suits, product.forward, scatter.input_grad, weights.weight_grad
        ),
        "patches": patches,
        "winograd": winograd,
    }
except ModuleNotFoundError as error:
    if error.name.split(".")[0] not in ("numba", "llvmlite"):
        raise
    MISSING += ["Numba is missing"]
    warnings.warn("Numba is missing: convlib computes with NumPy alone", stacklevel=2)

LOCAL_ERROR |= dict.fromkeys(("pixels", "few", "planes", "direct", "product", "patches"), True)
LOCAL_ERROR["winograd"] = False


def meetings(geometry):
    """Return how many pairs of a place and a tap meet a cell, not padding (chapter "Choosing")."""
    g, count = geometry, 1
    axes = (g.height, g.out_height, g.kernel_height), (g.width, g.out_width, g.kernel_width)
    for axis, (size, outputs, taps) in enumerate(axes):
        shifts = (tap * g.dilation[axis] - g.padding[axis][0] for tap in range(taps))
        places = (_meeting(shift, g.stride[axis], size, outputs)[1] for shift in shifts)
        count *= sum(each.stop - each.start for each in places)
    return count


def tile_products(geometry):
    """Return how many products tiles take, for a pair of channels.

    With a dilation, each phase of the places has its own tiles. Source: chapter "Choosing".
    """
    g, count = geometry, 1
    axes = (g.out_height, g.kernel_height), (g.out_width, g.kernel_width)
    for (outputs, taps), spread in zip(axes, g.dilation, strict=True):
        of_a_phase = -(-outputs // spread)  # rounded up
        count *= spread * -(-of_a_phase // tuning.OUTPUTS) * (tuning.OUTPUTS + taps - 1)
    return count


def tiles_pay(geometry, weights=False):
    """Whether transforms and products take less time than plain sums (chapter "Choosing")."""
    g, pairs = geometry, geometry.in_channels * geometry.out_channels
    transform = tuning.TRANSFORM_WEIGHTS if weights else tuning.TRANSFORM
    points = (tuning.OUTPUTS + g.kernel_height - 1) * (tuning.OUTPUTS + g.kernel_width - 1)
    tiles = g.batch * tile_products(g)
    counted = (tiles + tuning.PREPARED * points) * pairs + tiles * transform * (g.in_channels + g.out_channels)
    return counted < g.batch * meetings(g) * pairs


def _choose_first(geometry, can, weights=False):
    """Name the algorithm for a layer that is small, or that tiles compute; else return None."""
    if can("pixels") or can("few"):
        return _first(("pixels", "few"), can)
    if _has_few_places(geometry):
        return "places"
    if can("winograd") and tiles_pay(geometry, weights):
        return "winograd"
    return None


def _is_sparse(geometry):
    """Whether many of an output's taps meet no cell."""
    g = geometry
    return meetings(g) < tuning.SPARSE * g.out_height * g.out_width * g.kernel_height * g.kernel_width


def _filled(count, unit):
    """The part that is filled, if so many things are put into whole units."""
    return count / (-(-count // unit) * unit)


def direct_pays(geometry, planes, back=False):
    """Whether direct convolution fills its blocks better than planes or the product (chapter "Choosing")."""
    g, lanes = geometry, tuning.REGISTER_BYTES // 4
    rows, every, strip = g.out_channels // g.groups, g.batch * g.out_height * g.out_width, tuning.VECTORS * lanes
    taps, packed = g.kernel_height * g.kernel_width, tuning.PACKED_BACK if back else tuning.PACKED
    long = g.in_channels // g.groups * taps >= tuning.LONG
    if tuning.REGISTERS < 32 or taps == 1 or not long or _is_sparse(g):
        return False
    blocks = _filled(g.out_width, tuning.TALL) * _filled(rows, lanes) * every / (every + packed)
    if planes:  # are the rival
        line = g.out_width + max(g.padding[1])
        strips = g.out_width / line * _filled(g.out_height * line, strip) * _filled(rows, tuning.ROWS)
    else:
        strips = _filled(every, strip) * rows / (rows + tuning.GATHERED)
    return blocks > strips


def _choose_planes(channels, most, geometry, can):
    """Name planes, if no more than `most` channels of a group must stay near, or the product."""
    single = geometry.kernel_height * geometry.kernel_width == geometry.groups == 1
    if can("planes") and not single and channels // geometry.groups <= most:
        return _first(("patches", "planes"), can)
    return _first(("product", "planes"), can)


def choose_forward(geometry, can):
    """Name the algorithm for an output (chapter "Choosing")."""
    g, first = geometry, _choose_first(geometry, can)
    name = first or _choose_planes(g.in_channels, tuning.CHANNELS_PLANES, g, can)
    if name == "product" and _is_sparse(g):
        return "numpy"
    return "direct" if not first and can("direct") and direct_pays(g, can("planes")) else name


def choose_input_grad(geometry, can):
    """Name the algorithm for a learning flow (chapter "Choosing")."""
    first, channels, most = _choose_first(geometry, can), geometry.out_channels, tuning.CHANNELS_PLANES
    layer = product.turned(geometry)
    if not first and layer and can("direct") and direct_pays(layer, can("planes"), back=True):
        return "direct"
    if geometry.stride != (1, 1):
        channels, most = min(geometry.in_channels, channels), tuning.CHANNELS_PLANES_STRIDED
    return first or _choose_planes(channels, most, geometry, can)


def choose_weight_grad(geometry, can):
    """Name the algorithm for the gradient of the weights (chapter "Choosing")."""
    first, channels = _choose_first(geometry, can, weights=True), min(geometry.in_channels, geometry.out_channels)
    return first or _choose_planes(channels, tuning.CHANNELS_PLANES_WEIGHTS, geometry, can)


if not MISSING:
    RULES |= {
        "forward": choose_forward,
        "input_grad": choose_input_grad,
        "weight_grad": choose_weight_grad,
    }


def get_winograd():
    """Return whether Winograd's algorithm may be chosen (chapter "Choosing")."""
    return not only_local()


def set_winograd(on):
    """Allow Winograd's algorithm or switch it off, for the whole process.

    It is faster than the others where it is chosen, and a little less exact: its error at a
    result may be as large as about 1e-4 (float32) of the largest number that the result reads,
    times the sum of its weights; where it would be larger, the call falls back. Without it, the
    error is bounded by the products that the result itself reads
    (`convlib.algorithms.LOCAL_ERROR`). It is on at first. A call that names
    `algorithm="winograd"` gets it in any case.

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
