"""The formulas as printed in the chapters, evaluated with exact integers and compared with the code.

The derivatives in the formulas of Part II are taken by experiment: add 1 to the variable and run the layer again. No
product in the layer holds a variable twice, so a step of 1 gives the exact derivative. `test_proofs.py` has the same
derivatives by computer algebra.
"""

import re
from functools import cache

import numpy as np
import printed_formulas
import pytest
from printed_formulas import entry, evaluate, parse, summed_places

from convlib import datasets, reference

K = 7  # the number of the layer: any integer does, its neighbours are told apart by it


@pytest.fixture(scope="module")
def equations():
    return printed_formulas.printed_equations()


def random_layer():
    """Integers without any symmetry and without zeros: an input, kernels and biases of the article's shapes."""
    random = np.random.default_rng(1)
    input, weight, bias = (random.integers(1, n, size) for n, size in [(99, (3, 7, 7)), (9, (2, 3, 3, 3)), (999, 2)])
    return tuple(random.choice([-1, 1], size=array.shape) * array for array in (input, weight, bias))


def random_flow():
    return np.random.default_rng(2).integers(-99, 100, size=(2, 7, 7))


def house_layer():
    house = datasets.house()
    return house.image, np.stack([[kernel] * 3 for kernel in house.kernels[:2]]), house.biases[:2]


LAYERS = pytest.mark.parametrize("layer", [random_layer, house_layer], ids=["random", "house"])


def counted(array, *numbers):
    """What belongs to layers, channels, ... that are counted from 1: there is no number 0, and none after the last."""
    assert all(1 <= number <= size for number, size in zip(numbers, array.shape, strict=False)), numbers
    return array[tuple(number - 1 for number in numbers)]


def lookup_in(image, weight, bias):
    """What the symbols of Part I stand for."""
    tmp = np.array([[reference.correlate2d(image[i], weight[o, i], 1) for i in range(3)] for o in range(2)])
    output = reference.conv2d(image, weight, bias, padding=1)

    def lookup(name, upper, lower):
        if name == "star":
            return reference.correlate2d(upper, lower, padding=1)
        if name == "ch":
            layer, channel = upper
            return entry(counted({K - 1: image, K: output}[layer], channel), lower)
        if name == "ker":
            layer, o, i = upper
            assert layer == K
            return entry(counted(weight, o, i), lower)
        if name == "b":
            layer, o = upper
            assert layer == K
            return int(counted(bias, o))
        if name == "tmp":
            o, i = upper
            return entry(counted(tmp, o, i), lower)
        raise AssertionError(f"a symbol that Part I does not have: {name}")

    return lookup


@cache
def told():
    """What the symbols of Part II stand for, and the experiment that gives the derivatives."""
    image, weight, bias = random_layer()
    flow = random_flow()
    output = reference.conv2d(image, weight, bias, padding=1)
    flows = {K: reference.conv2d_input_grad(image.shape, weight, flow, padding=1), K + 1: flow}
    grad_weight = reference.conv2d_weight_grad(image, weight.shape, flow, padding=1)
    grad_bias = reference.conv2d_bias_grad(flow)
    part_1 = lookup_in(image, weight, bias)

    @cache
    def growth(variable):
        """How all outputs change when 1 is added to one variable."""
        name, (layer, *channels), place = variable
        assert layer == K
        changed = {"X": image.copy(), "Ker": weight.copy(), "B": bias.copy()}
        changed[name][(*(channel - 1 for channel in channels), *place)] += 1
        return reference.conv2d(*changed.values(), padding=1) - output

    def lookup(name, upper, lower):
        if name == "derivative":
            (of, channel, place), by = upper, lower
            if of == "Loss":
                return int((flow * growth(by)).sum())
            assert of == "X" and channel[0] == K + 1
            return entry(counted(growth(by), channel[1]), place)
        if name == r"\delta":
            layer, channel = upper
            return entry(counted(flows[layer], channel), lower)
        if name == r"\delta ker":
            layer, o, i = upper
            assert layer == K
            return entry(counted(grad_weight, o, i), lower)
        if name == r"\delta b":
            layer, o = upper
            assert layer == K
            return int(counted(grad_bias, o))
        return part_1(name, upper, lower)

    def impacts(*variable):
        """The outputs (channel from 1, row, column) that change with a variable. No weight and no input is zero."""
        return [(o + 1, p, q) for o, p, q in np.argwhere(growth(variable))]

    return lookup, impacts


def holds(equation, lookup, **variables):
    """Whether all sides of an equation have the same value."""
    assert isinstance(equation, list), "an update is not an equation"
    values = [np.asarray(evaluate(side, lookup, k=K, **variables)) for side in equation]
    return all((value == values[0]).all() for value in values)


def sums_of(equations):
    """The sides of some equations that are sums."""
    return [side for equation in equations for side in equation if side[0] == "sum"]


# --- Part I -----------------------------------------------------------------------------------------------------


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


@LAYERS
def test_f02_every_neuron_of_every_temporary_grid(equations, layer):
    [equation] = parse(equations["eq-F02"])
    assert summed_places(equation[1]) == list(np.ndindex(3, 3))  # those beyond would add only zeros
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


# --- Part II, learning flow -------------------------------------------------------------------------------------

CENTRE, CORNER_WEIGHT, FIRST_BIAS = ("X", (K, 1), (3, 3)), ("Ker", (K, 1, 1), (0, 0)), ("B", (K, 1), ())


def test_f07_the_learning_flow_is_a_derivative_of_the_loss(equations):
    lookup, _ = told()
    [equation] = parse(equations["eq-F07"])
    assert holds(equation, lookup)


def test_f08_the_impacts_of_the_centre(equations):
    lookup, impacts = told()
    [equation] = parse(equations["eq-F08"])
    assert holds(equation, lookup)
    [count] = sums_of([equation])
    assert summed_places(count) == impacts(*CENTRE)
    assert evaluate(count, lookup) == 18


def test_f09_the_chain_rule(equations):
    lookup, impacts = told()
    [equation] = parse(equations["eq-F09"])
    assert holds(equation, lookup)
    assert summed_places(equation[1]) == impacts(*CENTRE)


def test_f10_a_local_derivative_is_a_weight(equations):
    lookup, _ = told()
    [equation] = parse(equations["eq-F10"])
    assert holds(equation, lookup)


def test_f11_the_learning_flow_at_the_centre(equations):
    lookup, _ = told()
    [equation] = parse(equations["eq-F11"])
    assert equations["eq-F11"].count(r"\cdot") == 18
    assert holds(equation, lookup)


def test_f12_the_learning_flow_at_every_input_neuron(equations):
    lookup, _ = told()
    [equation] = parse(equations["eq-F12"])
    assert summed_places(equation[1]) == [(o + 1, u, v) for o, u, v in np.ndindex(2, 3, 3)]
    for i, r, s in np.ndindex(3, 7, 7):
        assert holds(equation, lookup, i=i + 1, r=r, s=s)


# --- Part II, weights -------------------------------------------------------------------------------------------


def test_f13_what_a_weight_is_told_is_a_derivative_of_the_loss(equations):
    lookup, _ = told()
    [equation] = parse(equations["eq-F13"])
    assert holds(equation, lookup)


def test_f14_the_impacts_of_the_corner_weight(equations):
    lookup, impacts = told()
    counts = parse(equations["eq-F14"])
    for equation in counts:
        assert holds(equation, lookup)
        assert evaluate(equation[0], lookup) == len(impacts(*CORNER_WEIGHT)) == 36
    for count in sums_of(counts):
        assert [(1, *place) for place in summed_places(count)] == impacts(*CORNER_WEIGHT)


def test_f15_the_chain_rule(equations):
    lookup, impacts = told()
    [equation] = parse(equations["eq-F15"])
    assert holds(equation, lookup)
    assert [(1, *place) for place in summed_places(equation[1])] == impacts(*CORNER_WEIGHT)


def test_f16_a_local_derivative_is_an_input(equations):
    lookup, _ = told()
    [equation] = parse(equations["eq-F16"])
    assert holds(equation, lookup)


def test_f17_what_the_corner_weight_is_told(equations):
    lookup, impacts = told()
    [equation] = parse(equations["eq-F17"])
    assert holds(equation, lookup)
    assert [(1, *place) for place in summed_places(equation[1])] == impacts(*CORNER_WEIGHT)


def test_f18_what_every_weight_is_told(equations):
    lookup, _ = told()
    [equation] = parse(equations["eq-F18"])
    assert summed_places(equation[1]) == list(np.ndindex(7, 7))
    for o, i, u, v in np.ndindex(2, 3, 3, 3):
        assert holds(equation, lookup, o=o + 1, i=i + 1, u=u, v=v)


# --- Part II, biases and update ---------------------------------------------------------------------------------


def test_f19_the_impacts_of_a_bias(equations):
    lookup, impacts = told()
    derivative, count = parse(equations["eq-F19"])
    for _, p, q in impacts(*FIRST_BIAS):
        assert holds(derivative, lookup, p=p, q=q)
    assert holds(count, lookup)
    assert [(1, *place) for place in summed_places(count[0])] == impacts(*FIRST_BIAS)


def test_f20_what_the_two_biases_are_told(equations):
    lookup, _ = told()
    boxed = parse(equations["eq-F20"])
    assert [[evaluate(index, None, k=K) for index in left[2]] for left, _ in boxed] == [[K, 1], [K, 2]]
    assert all(summed_places(flows) == list(np.ndindex(7, 7)) for _, flows in boxed)
    assert all(holds(equation, lookup) for equation in boxed)


def test_f21_the_update_makes_the_loss_smaller(equations):
    """With this loss, linear in the parameters, a step lowers it by exactly eta times the squared gradient."""
    image, weight, bias = random_layer()
    grad_weight = reference.conv2d_weight_grad(image, weight.shape, random_flow(), padding=1)
    grad_bias = reference.conv2d_bias_grad(random_flow())
    squares = (grad_weight**2).sum() + (grad_bias**2).sum()
    assert loss_after(equations["eq-F21"], eta=5) - loss_after(equations["eq-F21"], eta=0) == -5 * squares


def loss_after(update, eta):
    """The loss after the update, as printed, of every weight and every bias."""
    lookup, _ = told()
    image, weight, bias = random_layer()
    new = {"ker": weight.copy(), "b": bias.copy()}
    indices = {"ker": "oiuv", "b": "o"}
    for arrow, (_, name, *_), right in parse(update):
        assert arrow == r"\leftarrow"
        for place in np.ndindex(*new[name].shape):
            counted = {index: n + (index in "oi") for index, n in zip(indices[name], place, strict=True)}
            new[name][place] = evaluate(right, lookup, **{"k": K, r"\eta": eta} | counted)
    return (random_flow() * reference.conv2d(image, new["ker"], new["b"], padding=1)).sum()


# --- what the article prints is not true ------------------------------------------------------------------------


@pytest.mark.parametrize("formula", ["eq-F01", "eq-F05"])
def test_the_article_prints_f01_and_f05_for_another_neuron(equations, formula):
    image, weight, bias = house_layer()
    [[left, right]] = parse(equations[formula])
    assert [index[1] for index in left[3]] == [3, 3]
    if formula == "eq-F01":
        grids = {"ch": image[0], "ker": weight[0, 0]}
        value = evaluate(right, lambda name, upper, lower: entry(grids[name], lower))
        assert value == 53 != reference.neuron(image[0], weight[0, 0], 4, 4, padding=1)
    else:
        value = evaluate(right, lookup_in(image, weight, bias), k=K)
        assert value == -1004 != reference.conv2d(image, weight, bias, padding=1)[0, 4, 4]


def test_the_article_omits_a_pair_of_f03_that_f04_needs(equations):
    listed, added = (set(re.findall(r"tmp\^{\d,\d}", equations[formula])) for formula in ("eq-F03", "eq-F04"))
    assert added == listed
    assert "tmp^{1,2}" in added


def test_the_article_names_one_bias_of_f04_twice(equations):
    lookup = lookup_in(*random_layer())
    _, second = parse(equations["eq-F04"].replace("b^{k,2}", "b^{k,1}"))
    assert not holds(second, lookup)


def test_the_article_prints_f10_without_a_d(equations):
    as_in_the_article = equations["eq-F10"].replace(r"}{\partial X", "}{X")
    with pytest.raises(ValueError, match="expected 'partial', got 'X'"):
        parse(as_in_the_article)


def test_the_article_calls_the_learning_flow_of_f12_by_another_name(equations):
    lookup, _ = told()
    [[_, everywhere]], [[flow, derivative]], [[_, centre]] = (parse(equations[f"eq-F{n}"]) for n in ("12", "07", "11"))
    # What the article once calls "information flow" is the quantity it has defined as the learning flow.
    value = evaluate(everywhere, lookup, k=K, i=1, r=3, s=3)
    assert value == evaluate(flow, lookup, k=K) == evaluate(derivative, lookup, k=K) == evaluate(centre, lookup, k=K)


def test_the_article_calls_the_gradient_of_f21_the_opposite_direction(equations):
    """The gradient is opposite to the direction to follow: along it the loss grows, hence the minus in the update."""
    along = equations["eq-F21"].replace(r"- \eta", r"+ \eta")
    assert loss_after(equations["eq-F21"], eta=1) < loss_after(along, eta=0) < loss_after(along, eta=1)


# --- the tests above do find what they look for -----------------------------------------------------------------

TESTS = {name[5:8].upper(): test for name, test in globals().items() if re.match(r"test_f\d\d_", name)}

SLIPS = [
    ("F01", "ch_{2,3}", "ch_{3,2}"),
    ("F02", r"ch^{k-1,i}_{p+u-1,\,q+v-1}", r"ch^{k-1,i}_{p+u,\,q+v-1}"),  # a shifted centre
    ("F02", "ker^{k,o,i}_{u,v}", "ker^{k,o,i}_{2-u,2-v}"),  # a turned kernel
    ("F02", "ker^{k,o,i}_{u,v}", "ker^{k,o,i}_{v,u}"),  # rows and columns swapped
    ("F02", "_{u=0}^{2}", "_{u=1}^{2}"),  # a row forgotten
    ("F02", "_{v=0}^{2}", "_{v=0}^{8}"),  # adds only zeros
    ("F03", "ker^{k,1,2}", "ker^{k,2,1}"),
    ("F04", "tmp^{2,3}", "tmp^{1,3}"),
    ("F04", "tmp^{2,3}", "tmp^{0,3}"),  # channels count from 1; in Python, -1 would be the last
    ("F05", "ker^{k,1,3}_{2,1}", "ker^{k,1,3}_{1,2}"),
    ("F06", "56", "55"),
    ("F07", r"\partial X^{k,1}_{3,3}", r"\partial X^{k,2}_{3,3}"),
    ("F07", r"\delta^{k,1}_{3,3}", r"\delta^{k+1,1}_{3,3}"),
    ("F08", "_{p=2}^{4}", "_{p=1}^{3}"),  # the same number of impacts, at another place
    ("F08", "2 \\cdot 9", "2 \\cdot 6"),
    ("F09", "_{q=2}^{4}", "_{q=2}^{3}"),
    ("F09", "_{q=2}^{4}", "_{q=2}^{5}"),  # adds only zeros
    ("F09", r"\delta^{k+1,o}", r"\delta^{k+1,1}"),
    ("F10", "ker^{k,1,1}_{2,2}", "ker^{k,1,1}_{0,0}"),
    ("F10", r"\partial X^{k+1,1}", r"\partial X^{k+1,2}"),
    ("F11", "ker^{k,1,1}_{2,1}", "ker^{k,1,1}_{0,1}"),
    ("F11", "ker^{k,2,1}_{0,0}", "ker^{k,1,2}_{0,0}"),  # the two channels in the wrong order
    ("F11", r"\delta^{k+1,2}_{2,2}", r"\delta^{k+1,1}_{2,2}"),
    ("F12", "r+1-u", "r+u-1"),  # the kernel not turned
    ("F12", "r+1-u", "r-u"),
    ("F12", r"_{r+1-u,\,s+1-v}", r"_{s+1-v,\,r+1-u}"),  # rows and columns swapped
    ("F12", "_{o=1}^{2}", "_{o=1}^{1}"),
    ("F12", "ker^{k,o,i}_{u,v}", "ker^{k,o,i}_{v,u}"),
    ("F13", r"\partial Ker^{k,1,1}_{0,0}", r"\partial Ker^{k,1,1}_{2,2}"),
    ("F14", "36", "42"),
    ("F15", "_{p=1}^{6}", "_{p=0}^{6}"),  # adds only zeros
    ("F15", "_{p=1}^{6}", "_{p=1}^{5}"),
    ("F15", r"\delta^{k+1,1}_{p,q}", r"\delta^{k+1,1}_{q,p}"),
    ("F16", "ch^{k-1,1}_{5,5}", "ch^{k-1,1}_{6,6}"),  # the place that the article names beside the derivative
    ("F17", "p-1", "p+1"),
    ("F17", "_{q=1}^{6}", "_{q=0}^{6}"),  # adds only zeros
    ("F17", "_{q=1}^{6}", "_{q=1}^{5}"),
    ("F18", "p+u-1", "p+1-u"),
    ("F18", "ch^{k-1,i}", "ch^{k-1,1}"),
    ("F18", "_{p=0}^{6}", "_{p=1}^{6}"),  # the top row forgotten
    ("F19", "_{p=0}^{6}", "_{p=1}^{6}"),
    ("F19", "49", "36"),
    ("F19", "= 1", "= 0"),
    ("F20", "b^{k,2}", "b^{k,1}"),
    ("F20", r"\delta^{k+1,2}", r"\delta^{k+1,1}"),
    ("F20", "_{q=0}^{6}", "_{q=0}^{5}"),
    ("F21", r"- \eta", r"+ \eta"),
    ("F21", r"\delta ker^{k,o,i}_{u,v}", r"\delta ker^{k,o,i}_{v,u}"),
    ("F21", r"\delta b^{k,o}", r"\delta b^{k,1}"),
]


@pytest.mark.parametrize(("formula", "printed", "slip"), SLIPS)
def test_a_slip_in_a_printed_formula_is_noticed(equations, formula, printed, slip):
    label, test = f"eq-{formula}", TESTS[formula]
    assert printed in equations[label]
    slipped = equations | {label: equations[label].replace(printed, slip)}
    with pytest.raises(AssertionError):
        test(*(slipped, random_layer)[: test.__code__.co_argcount])


def test_every_formula_has_a_test_and_a_slip():
    numbers = [f"F{number:02}" for number in range(1, 22)]
    assert sorted(TESTS) == sorted({formula for formula, _, _ in SLIPS}) == numbers


@pytest.mark.parametrize("latex", [r"a = \frobnicate", "a", r"a = b \quad c", r"\frac{\partial a}{b} = 1"])
def test_the_parser_refuses_what_it_does_not_know(latex):
    with pytest.raises(ValueError, match="cannot read|expected"):
        parse(latex)
