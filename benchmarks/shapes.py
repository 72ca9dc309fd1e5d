"""What is measured: fourteen layers as they occur in networks, each in three directions."""

import math
from typing import NamedTuple

import numpy as np

SEED = 2022
DIRECTIONS = ("forward", "input_grad", "weight_grad")


def pair(setting):
    """Return a setting for rows and columns: one number stands for both."""
    return setting if isinstance(setting, tuple) else (setting, setting)


class Case(NamedTuple):
    """A layer and the batch it is given. Kernel and settings: one number, or a pair for rows and columns."""

    name: str
    images: int
    channels: int
    height: int
    width: int
    filters: int
    kernel: int | tuple[int, int]
    stride: int | tuple[int, int]
    padding: int | tuple[int, int]
    groups: int = 1
    dilation: int | tuple[int, int] = 1

    @property
    def pairs(self):
        """Kernel, stride, padding and dilation, each for rows and columns."""
        return tuple(map(pair, (self.kernel, self.stride, self.padding, self.dilation)))

    @property
    def input_shape(self):
        return self.images, self.channels, self.height, self.width

    @property
    def weight_shape(self):
        return self.filters, self.channels // self.groups, *pair(self.kernel)

    @property
    def output_shape(self):
        rows, columns = ((side + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1
                         for side, kernel, stride, padding, dilation
                         in zip((self.height, self.width), *self.pairs, strict=True))
        return self.images, self.filters, rows, columns

    @property
    def operations(self):
        """Multiplications and additions of the plain sums: the same number in every direction."""
        return 2 * math.prod(self.output_shape) * math.prod(self.weight_shape[1:])

    @property
    def text(self):
        """The layer in one line, as in "8x64x56x56 -> 128, 3x3, stride 2, padding 1"."""
        kernel, *settings = self.pairs
        more = ["x".join(map(str, kernel))]
        for name, both, plain in zip(("stride", "padding", "dilation"), settings, (1, 0, 1), strict=True):
            if both != (plain, plain):
                more.append(f"{name} {'x'.join(map(str, both[:1] if both[0] == both[1] else both))}")
        more += [f"groups {self.groups}"] if self.groups > 1 else []
        return f"{'x'.join(map(str, self.input_shape))} -> {self.filters}, {', '.join(more)}"


class Data(NamedTuple):
    """The numbers of a case, the same ones for everybody who is measured."""

    input: np.ndarray
    weight: np.ndarray
    bias: np.ndarray
    grad_output: np.ndarray


TOY = "toy"
CASES = (
    Case(TOY, 1, 3, 7, 7, 2, 3, 1, 1),
    Case("mnist1", 64, 1, 28, 28, 8, 3, 1, 1),
    Case("mnist2", 64, 8, 28, 28, 16, 3, 1, 1),
    Case("cifar1", 32, 3, 32, 32, 32, 3, 1, 1),
    Case("cifar2", 32, 32, 32, 32, 64, 3, 1, 1),
    Case("res56", 8, 64, 56, 56, 64, 3, 1, 1),
    Case("res28", 8, 128, 28, 28, 128, 3, 1, 1),
    Case("res14", 8, 256, 14, 14, 256, 3, 1, 1),
    Case("res7", 8, 512, 7, 7, 512, 3, 1, 1),
    Case("stem", 8, 3, 224, 224, 64, 7, 2, 3),
    Case("pw56", 8, 256, 56, 56, 64, 1, 1, 0),
    Case("s2", 8, 64, 56, 56, 128, 3, 2, 1),
    Case("k5", 16, 32, 28, 28, 64, 5, 1, 2),
    Case("dw56", 8, 128, 56, 56, 128, 3, 1, 1, groups=128),
)
# The layer of the course. Not in the table: it is here to see what a single small call costs.
HOUSE = Case("house", 1, 3, 7, 7, 2, 3, 1, 1)


def random_data(case):
    """Return normally distributed numbers, the same on every run."""
    random = np.random.default_rng(SEED)
    shapes = case.input_shape, case.weight_shape, (case.filters,), case.output_shape
    return Data(*(random.standard_normal(shape, dtype=np.float32) for shape in shapes))


def house_data():
    """Return the house, its two roof kernels for every channel, and the learning flow of Part II."""
    from convlib import datasets

    house = datasets.house()
    weight = np.stack([[kernel] * HOUSE.channels for kernel in house.kernels[:HOUSE.filters]])
    flow = datasets.learning_flow()
    arrays = house.image[np.newaxis], weight, house.biases[:HOUSE.filters], flow[np.newaxis]
    return Data(*(np.ascontiguousarray(array, dtype=np.float32) for array in arrays))
