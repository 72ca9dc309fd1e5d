"""What is measured: fourteen layers as they occur in networks, each in three directions."""

from typing import NamedTuple

import numpy as np

SEED = 2022
DIRECTIONS = ("forward", "input_grad", "weight_grad")


class Case(NamedTuple):
    """A layer with square kernels, and the batch it is given."""

    name: str
    images: int
    channels: int
    height: int
    width: int
    filters: int
    kernel: int
    stride: int
    padding: int
    groups: int = 1

    @property
    def input_shape(self):
        return self.images, self.channels, self.height, self.width

    @property
    def weight_shape(self):
        return self.filters, self.channels // self.groups, self.kernel, self.kernel

    @property
    def output_shape(self):
        rows, columns = ((side + 2 * self.padding - self.kernel) // self.stride + 1
                         for side in (self.height, self.width))
        return self.images, self.filters, rows, columns

    @property
    def operations(self):
        """Multiplications and additions of the plain sums: the same number in every direction."""
        images, filters, rows, columns = self.output_shape
        return 2 * images * filters * rows * columns * self.channels // self.groups * self.kernel**2

    @property
    def text(self):
        """The layer in one line, as in "8x64x56x56 -> 128, 3x3, stride 2, padding 1"."""
        more = [f"{self.kernel}x{self.kernel}"]
        more += [f"stride {self.stride}"] if self.stride > 1 else []
        more += [f"padding {self.padding}"] if self.padding else []
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
