"""Two corrections of the article that no printed formula shows (chapters/article.md)."""

import numpy as np

from convlib import datasets, reference

HOUSE = datasets.house()
WEIGHT = np.stack([[kernel] * 3 for kernel in HOUSE.kernels[:2]])


def outputs_of(image, weight):
    return reference.conv2d(image, weight, HOUSE.biases[:2], padding=1)


def test_f13_one_input_channel_does_not_fix_the_derivative():
    """The article takes the derivative of F13 at one input channel. Here that channel stays; the derivative moves."""

    def derivative(image):
        """By the upper left weight, of half the sum of the squared outputs: their flow is the outputs themselves."""
        flow = outputs_of(image, WEIGHT)
        return reference.conv2d_weight_grad(image, WEIGHT.shape, flow, padding=1)[0, 0, 0, 0]

    other = HOUSE.image.copy()
    other[1] += 1
    assert (other[0] == HOUSE.image[0]).all()
    assert derivative(other) != derivative(HOUSE.image)


def test_f14_a_pair_of_0_is_an_impact_too():
    """The article: the pair is 0, so there is no impact. Dark pixels make pairs of 0; in more light all 36 count."""

    def changed_outputs(image):
        """How many outputs change when the upper left weight grows by 1."""
        weight = WEIGHT.copy()
        weight[0, 0, 0, 0] += 1
        return np.count_nonzero(outputs_of(image, weight) != outputs_of(image, WEIGHT))

    dark = np.count_nonzero(HOUSE.image[0, :6, :6] == 0)
    assert dark > 0
    assert changed_outputs(HOUSE.image) == 36 - dark
    assert changed_outputs(HOUSE.image + 1) == 36
