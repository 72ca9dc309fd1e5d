# Exported from chapters/ by tools/export.py: edit the chapter, not this file.
"""The small data sets of the course, written out in full: nothing is downloaded.

Chapter "One kernel, one neuron" builds `house`, the picture that accompanies the
reader through the whole course.
"""

import gzip
import hashlib
import operator
import zlib
from importlib.resources import files
from typing import NamedTuple

import numpy as np

__all__ = ["HOUSE_IMAGE", "HOUSE_KERNELS", "HOUSE_BIASES", "House", "house", "HOUSE_STEPS", "house_detector",
    "LEARNING_FLOW", "learning_flow", "Pictures", "house_pictures", "DIGITS_SHA256", "Digits", "load_digits",
    "split_shuffled", "split_last", "PHOTOGRAPH_SHA256", "photograph"]


# Chapter "One kernel, one neuron" (chapters/one_kernel.ipynb)

HOUSE_IMAGE = [
    [  # red
        [0, 0, 0, 147, 0, 0, 0],
        [0, 0, 147, 147, 147, 0, 0],
        [0, 147, 147, 147, 70, 147, 0],
        [147, 147, 147, 70, 70, 147, 147],
        [0, 152, 207, 207, 207, 152, 0],
        [0, 152, 207, 152, 207, 152, 0],
        [0, 152, 207, 152, 207, 152, 0],
    ],
    [  # green
        [57, 57, 57, 146, 57, 57, 57],
        [57, 57, 146, 146, 146, 57, 57],
        [57, 146, 146, 146, 74, 146, 57],
        [146, 146, 146, 74, 74, 146, 146],
        [57, 92, 166, 166, 166, 92, 57],
        [57, 92, 166, 92, 166, 92, 57],
        [57, 92, 166, 92, 166, 92, 57],
    ],
    [  # blue
        [71, 71, 71, 136, 71, 71, 71],
        [71, 71, 136, 136, 136, 71, 71],
        [71, 136, 136, 136, 51, 136, 71],
        [136, 136, 136, 51, 51, 136, 136],
        [71, 57, 121, 121, 121, 57, 71],
        [71, 57, 121, 57, 121, 57, 71],
        [71, 57, 121, 57, 121, 57, 71],
    ],
]


HOUSE_KERNELS = {
    "left_roof": [[0, -1, 1], [-1, 1, 0], [1, 0, 0]],
    "right_roof": [[1, -1, 0], [0, 1, -1], [0, 0, 1]],
    "window": [[1, -1, 1], [-1, -1, 1], [1, 1, 1]],
    "left_wall": [[-1, 1, 1], [-1, 1, 1], [-1, 1, 1]],
    "right_wall": [[1, 1, -1], [1, 1, -1], [1, 1, -1]],
    "inside": [[1, 1, 1], [1, 1, 1], [1, 1, 1]],
}
HOUSE_BIASES = [-1030, -1030, -1990, -2000, -2000, -4059]


class House(NamedTuple):
    """The house and the numbers made by hand for it; see `house`.

    Source: chapter "One kernel, one neuron".
    """

    image: np.ndarray
    channel_names: tuple[str, ...]
    kernels: np.ndarray
    kernel_names: tuple[str, ...]
    biases: np.ndarray


def house():
    """Return the 7 x 7 picture of a house, with the kernels and biases made for it.

    Returns
    -------
    House
        `image`, int64 of shape (3, 7, 7), values 0 to 255; `channel_names`, its 3
        colours; `kernels`, int64 of shape (6, 3, 3); `kernel_names`, what each looks
        for; `biases`, int64 of shape (6,), one for each kernel. The arrays are new on
        every call: change them as you like.

    Notes
    -----
    Source: chapter "One kernel, one neuron". Image, kernels and biases were made by
    J.-F. Reboud for his article "The Second Dimension" (2022).
    """
    return House(
        image=np.array(HOUSE_IMAGE),
        channel_names=("red", "green", "blue"),
        kernels=np.array(list(HOUSE_KERNELS.values())),
        kernel_names=tuple(HOUSE_KERNELS),
        biases=np.array(HOUSE_BIASES),
    )


# Chapter "From grids to a layer" (chapters/the_layer.ipynb)

# Where the single 1 of each kernel stands, in the order of HOUSE_KERNELS.
HOUSE_STEPS = {
    "layer 4": [(1, 0), (1, 2), (1, 1), (2, 0), (2, 2), (2, 1)],
    "layer 5": [(0, 0), (0, 2), (1, 2), (2, 0), (2, 2), (2, 1)],
}


def house_detector():
    """Return the weights and biases of the house detector that was made by hand.

    Returns
    -------
    list of (weight, bias)
        Three convolution layers with padding 1, to be applied in this order, with a
        ReLU after the first: weights int64 of shapes (6, 3, 3, 3), (6, 6, 3, 3) and (1,
        6, 3, 3), biases of shapes (6,), (6,) and (1,).

    Notes
    -----
    Source: chapter "From grids to a layer". The kernels and biases were made by J.-F.
    Reboud for his article "The Second Dimension" (2022).
    """
    questions = np.array([[kernel] * 3 for kernel in HOUSE_KERNELS.values()])
    move = np.zeros((6, 6, 3, 3), dtype=np.int64)
    gather = np.zeros((1, 6, 3, 3), dtype=np.int64)
    for i in range(6):
        move[(i, i, *HOUSE_STEPS["layer 4"][i])] = 1
        gather[(0, i, *HOUSE_STEPS["layer 5"][i])] = 1
    no_bias = np.zeros(6, dtype=np.int64)
    return [(questions, np.array(HOUSE_BIASES)), (move, no_bias), (gather, no_bias[:1])]


# Chapter "The learning flow" (chapters/learning_flow.ipynb)

LEARNING_FLOW = [
    [
        [3, 1, -2, 2, -3, 2, -3],
        [-3, 2, 0, -1, 3, -2, 2],
        [-3, 1, 2, -1, -1, -2, 3],
        [0, 2, 3, -1, 3, -1, -2],
        [-3, 3, 3, -2, -1, 2, 0],
        [-1, 1, -2, 0, -1, 1, 2],
        [1, -1, 1, -1, 1, -1, -1],
    ],
    [
        [-1, -1, 0, 3, -3, 2, 3],
        [1, 0, -1, 1, 2, -3, 2],
        [-1, 1, -3, 0, -2, -3, -2],
        [-2, 3, -3, 1, 1, 0, 2],
        [2, 2, 2, -1, -1, -3, 3],
        [2, 0, 1, -2, 0, -1, -2],
        [-1, 1, 3, 2, -2, 3, 0],
    ],
]


def learning_flow():
    """Return a made-up learning flow for the two output channels of the house's layer.

    Returns
    -------
    array of int64, shape (2, 7, 7)
        Small numbers, drawn once at random so that they have no symmetry.

    Notes
    -----
    Source: chapter "The learning flow".
    """
    return np.array(LEARNING_FLOW)


# Chapter "Learning the kernels that were given by hand" (chapters/learning_kernels.ipynb)

class Pictures(NamedTuple):
    """Pictures, and whether each shows a house; see `house_pictures`.

    Source: chapter "Learning the kernels that were given by hand".
    """

    images: np.ndarray
    is_house: np.ndarray


def _house_plans():
    """The house as a map of five materials, six maps that are none, and the colours."""
    pixels = np.array(HOUSE_IMAGE).reshape(3, 49).T
    colours, plan = np.unique(pixels, axis=0, return_inverse=True)
    plan = plan.reshape(7, 7)
    roof, walls = plan.copy(), plan.copy()
    roof[4:], walls[:4] = 0, 0  # the sky
    halves = np.hstack([plan[:, 4:], plan[:, :4]])
    others = [plan[::-1], halves, roof, walls, np.vstack([plan[4:], plan[:4]]), plan.T]
    return plan, others, colours


def _check_pictures(count, recolour, light, noise, size):
    """Refuse settings of `house_pictures` that make no picture."""
    for name, number, least in (("count", count, 1), ("size", size, 7)):
        if isinstance(number, bool) or not isinstance(number, (int, np.integer)):
            raise TypeError(f"{name}: expected an int, got {number!r}")
        if number < least:
            raise ValueError(f"{name}: expected at least {least}, got {number}")
    if not 0 <= recolour <= 1:
        raise ValueError(f"recolour: expected a number from 0 to 1, got {recolour!r}")
    if not (len(light) == 2 and 0 <= light[0] <= light[1] < np.inf):
        raise ValueError(f"light: expected the least and the most, at least 0, got {light!r}")
    if not 0 <= noise < np.inf:
        raise ValueError(f"noise: expected a number of at least 0, got {noise!r}")


def house_pictures(count, *, recolour=0.0, light=(1.0, 1.0), noise=0.0, size=11, rng=None):
    """Make pictures of the house at random places, and as many that show none.

    Parameters
    ----------
    count : int
        How many; every other one shows a house.
    recolour : float
        How far the colours go from the published ones (0) to any (1).
    light : (float, float)
        Each picture is multiplied by a random number between these.
    noise : float
        Standard deviation of what is added to each pixel.
    size : int
        Rows and columns of a picture, at least 7.
    rng : int or numpy.random.Generator, optional
        For everything random.

    Returns
    -------
    Pictures
        `images`, int64 of shape (count, 3, size, size), 0 to 255; `is_house`, bool.

    Notes
    -----
    Source: chapter "Learning the kernels that were given by hand".
    """
    _check_pictures(count, recolour, light, noise, size)
    rng, (plan, others, colours) = np.random.default_rng(rng), _house_plans()
    images = np.empty((count, 3, size, size), dtype=np.int64)
    is_house = np.arange(count) % 2 == 0
    for image, true in zip(images, is_house, strict=True):
        row, column = rng.integers(size - 6, size=2)
        shown = plan if true else others[rng.integers(6)]
        grid = np.pad(shown, [(row, size - 7 - row), (column, size - 7 - column)])
        paint = (1 - recolour) * colours + recolour * rng.uniform(0, 255, colours.shape)
        pixels = paint[grid].transpose(2, 0, 1) * rng.uniform(*light)
        image[:] = np.clip(np.rint(pixels + noise * rng.normal(size=image.shape)), 0, 255)
    return Pictures(images, is_house)


# Chapter "A first deep model on real digits" (chapters/digits.ipynb)

DIGITS_SHA256 = "6ebb3d2fee246a4e99363262ddf8a00a3c41bee6014c373ed9d9216ba7f651b8"


class Digits(NamedTuple):
    """Drawings of digits, and the digits they are meant to be; see `load_digits`.

    Source: chapter "A first deep model on real digits".
    """

    images: np.ndarray
    labels: np.ndarray


def load_digits():
    """Return 1,797 handwritten digits of 8 x 8 pixels, read from a file of this package.

    Returns
    -------
    Digits
        `images`, uint8 of shape (1797, 8, 8), values 0 to 16; `labels`, int64 of shape
        (1797,), values 0 to 9. The arrays are new on every call: change them as you like.

    Raises
    ------
    ValueError
        If the file is damaged.

    Notes
    -----
    Source: chapter "A first deep model on real digits". Optical Recognition of Handwritten
    Digits (test part), E. Alpaydin and C. Kaynak, 1998, https://doi.org/10.24432/C50P49,
    CC BY 4.0.
    """
    lines = _unpacked(files("convlib") / "data" / "digits.csv.gz", DIGITS_SHA256).splitlines()
    rows = np.array([line.split(b",") for line in lines]).astype(np.uint8)
    return Digits(rows[:, :64].reshape(-1, 8, 8).copy(), rows[:, 64].astype(np.int64))


def _unpacked(path, expected):
    """The bytes of a packed file, if they are the ones it was made from."""
    try:
        content = gzip.decompress(path.read_bytes())
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"{path} is damaged: {error}") from error
    found = hashlib.sha256(content).hexdigest()
    if found != expected:
        raise ValueError(f"{path} is damaged: expected the hash {expected}, got {found}")
    return content


def split_shuffled(labels, held_out=360, rng=0):
    """Split examples at random, each class in the same proportion.

    Parameters
    ----------
    labels : array of int, shape (N,)
        The class of each example.
    held_out : int
        How many examples are held out, above 0 and below N.
    rng : int or numpy.random.Generator
        Where chance begins.

    Returns
    -------
    training, held_out : arrays of int
        The places of both parts, each in ascending order.

    Raises
    ------
    ValueError, TypeError
        If `labels` does not have one axis, or `held_out` is no whole number between 0 and N.

    Notes
    -----
    Source: chapter "A first deep model on real digits".
    """
    labels, held_out = _as_split(labels, held_out)
    rng = np.random.default_rng(rng)
    classes, counts = np.unique(labels, return_counts=True)
    shares = counts * held_out / labels.size
    taken = shares.astype(int)
    largest_rest = np.argsort(taken - shares, kind="stable")
    taken[largest_rest[:held_out - taken.sum()]] += 1
    held = [rng.permutation(np.flatnonzero(labels == each))[:count]
            for each, count in zip(classes, taken, strict=True)]
    held = np.sort(np.concatenate(held))
    return np.setdiff1d(np.arange(labels.size), held), held


def split_last(labels, held_out=360):
    """Hold out the last examples of a file: in `load_digits`, other writers' digits.

    Parameters and results are those of `split_shuffled`, without chance. Source: chapter
    "A first deep model on real digits".
    """
    labels, held_out = _as_split(labels, held_out)
    places = np.arange(labels.size)
    return places[:-held_out], places[-held_out:]


def _as_split(labels, held_out):
    """The labels as an array, and how many of them to hold out."""
    labels = np.asarray(labels)
    if labels.ndim != 1:
        raise ValueError(f"labels: expected shape (N,), got {labels.shape}")
    try:
        held_out = operator.index(held_out)
    except TypeError:
        raise TypeError(f"held_out: expected a whole number, got {held_out!r}") from None
    if not 0 < held_out < labels.size:
        raise ValueError(f"held_out: expected a number between 0 and {labels.size}, got {held_out}")
    return labels, held_out


# Chapter "Figures that learn" (chapters/learning_figures.ipynb)

PHOTOGRAPH_SHA256 = "f7bd268324a1227f5f94bf258451fa4407edeb851808440c0c008a4d802d0226"


def photograph():
    """Return a small grey photograph, read from a file of this package.

    Returns
    -------
    array of int64, shape (90, 90)
        From 0 (black) to 255 (white). The array is new on every call: change it as you like.

    Raises
    ------
    ValueError
        If the file is damaged.

    Notes
    -----
    Source: chapter "Figures that learn". The official portrait of Grace Hopper, United States
    Navy, 1984; public domain.
    """
    path = files("convlib") / "data" / "photograph.csv.gz"
    lines = _unpacked(path, PHOTOGRAPH_SHA256).splitlines()
    return np.array([line.split(b",") for line in lines]).astype(np.int64)
