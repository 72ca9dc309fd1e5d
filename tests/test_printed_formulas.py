"""The formulas as printed in the chapters, evaluated with exact integers and compared with the code."""

import numpy as np
import printed_formulas
import pytest
from printed_formulas import evaluate, parse

from convlib import datasets, reference

K = 7  # the number of the layer: any integer does, its neighbours are told apart by it


@pytest.fixture(scope="module")
def equations():
    return printed_formulas.printed_equations()


def random_layer():
    """Integers without any symmetry: an input, kernels and biases of the article's shapes."""
    random = np.random.default_rng(1)
    return (
        random.integers(-99, 100, size=(3, 7, 7)),
        random.integers(-9, 10, size=(2, 3, 3, 3)),
        random.integers(-999, 1000, size=2),
    )


def house_layer():
    house = datasets.house()
    return house.image, np.stack([[kernel] * 3 for kernel in house.kernels[:2]]), house.biases[:2]


LAYERS = pytest.mark.parametrize("layer", [random_layer, house_layer], ids=["random", "house"])


def entry(array, lower):
    """A cell of a grid, zero outside; the grid itself when no place is given."""
    if not lower:
        return array
    inside = all(0 <= index < size for index, size in zip(lower, array.shape, strict=True))
    return int(array[lower]) if inside else 0


def lookup_in(image, weight, bias):
    """What the symbols of Part I stand for."""
    tmp = np.array([[reference.correlate2d(image[i], weight[o, i], 1) for i in range(3)] for o in range(2)])
    output = reference.conv2d(image, weight, bias, padding=1)

    def lookup(name, upper, lower):
        if name == "star":
            return reference.correlate2d(upper, lower, padding=1)
        if name == "ch":
            layer, channel = upper
            return entry({K - 1: image, K: output}[layer][channel - 1], lower)
        if name == "ker":
            layer, o, i = upper
            assert layer == K
            return entry(weight[o - 1, i - 1], lower)
        if name == "b":
            layer, o = upper
            assert layer == K
            return int(bias[o - 1])
        if name == "tmp":
            o, i = upper
            return entry(tmp[o - 1, i - 1], lower)
        raise AssertionError(f"a symbol that Part I does not have: {name}")

    return lookup


def holds(equation, lookup, **variables):
    """Whether all sides of an equation have the same value."""
    values = [np.asarray(evaluate(side, lookup, k=K, **variables)) for side in equation]
    return all((value == values[0]).all() for value in values)


@LAYERS
def test_f01_one_neuron(equations, layer):
    image, weight, _ = layer()
    [equation] = parse(equations["eq-F01"])
    for channel in image:
        for kernel in weight.reshape(-1, 3, 3):
            grids = {"ch": channel, "ker": kernel}

            def lookup(name, upper, lower, grids=grids):
                assert not upper
                if name == "tmp":
                    return reference.neuron(grids["ch"], grids["ker"], *lower, padding=1)
                return entry(grids[name], lower)

            assert holds(equation, lookup)


def test_f01_is_not_the_neuron_that_the_article_prints(equations):
    image, weight, _ = house_layer()
    [[left, right]] = parse(equations["eq-F01"])
    assert [index[1] for index in left[3]] == [3, 3]
    grids = {"ch": image[0], "ker": weight[0, 0]}
    value = evaluate(right, lambda name, upper, lower: entry(grids[name], lower))
    assert value == 53 != reference.neuron(image[0], weight[0, 0], 4, 4, padding=1)


@LAYERS
def test_f02_every_neuron_of_every_temporary_grid(equations, layer):
    [equation] = parse(equations["eq-F02"])
    lookup = lookup_in(*layer())
    for o, i, p, q in np.ndindex(2, 3, 7, 7):
        assert holds(equation, lookup, o=o + 1, i=i + 1, p=p, q=q)


@LAYERS
def test_f03_the_six_pairs(equations, layer):
    pairs = parse(equations["eq-F03"])
    assert sorted(tuple(index[1] for index in left[2]) for left, _ in pairs) == [
        (1, 1), (1, 2), (1, 3), (2, 1), (2, 2), (2, 3)
    ]  # fmt: skip
    assert all(holds(pair, lookup_in(*layer())) for pair in pairs)


@LAYERS
def test_f04_the_output_channels(equations, layer):
    boxed = parse(equations["eq-F04"])
    assert len(boxed) == 2
    assert all(holds(equation, lookup_in(*layer())) for equation in boxed)


@LAYERS
def test_f05_one_output_neuron_in_full(equations, layer):
    [equation] = parse(equations["eq-F05"])
    assert equations["eq-F05"].count(r"\cdot") == 27
    assert holds(equation, lookup_in(*layer()))


def test_f06_counting(equations):
    _, weight, bias = house_layer()
    kernels, parameters = parse(equations["eq-F06"])
    assert holds(kernels, None) and holds(parameters, None)
    assert evaluate(kernels[0], None) == weight.shape[0] * weight.shape[1]
    assert evaluate(parameters[0], None) == weight.size + bias.size


@pytest.mark.parametrize(
    "slip",
    [
        (r"ch^{k-1,i}_{p+u-1,\,q+v-1}", r"ch^{k-1,i}_{p+u,\,q+v-1}"),  # a shifted centre
        (r"ker^{k,o,i}_{u,v}", r"ker^{k,o,i}_{2-u,2-v}"),  # a turned kernel
        (r"ker^{k,o,i}_{u,v}", r"ker^{k,o,i}_{v,u}"),  # rows and columns swapped
        (r"_{u=0}^{2}", r"_{u=1}^{2}"),  # a row forgotten
    ],
)
def test_a_slip_in_the_printed_formula_is_noticed(equations, slip):
    assert slip[0] in equations["eq-F02"]
    [equation] = parse(equations["eq-F02"].replace(*slip))
    lookup = lookup_in(*random_layer())
    places = np.ndindex(2, 3, 7, 7)
    assert not all(holds(equation, lookup, o=o + 1, i=i + 1, p=p, q=q) for o, i, p, q in places)


def test_the_parser_refuses_what_it_does_not_know():
    with pytest.raises(ValueError, match="cannot read"):
        parse(r"a = \frobnicate")
