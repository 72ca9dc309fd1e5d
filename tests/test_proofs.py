"""Proofs by computer algebra, for the article's own layer: 7 x 7, 3 input and 2 output channels, kernels of 3 x 3.

Every input, weight, bias and flow is a symbol. The layer is put together from the forward formulas as printed in the
chapters, SymPy differentiates the loss with respect to every variable, and each derivative must have exactly the terms
of the formula that the chapters print. SymPy's sparse polynomials are used: they keep each term once, so equal means
equal term by term, and they are fast enough for all 203 variables.
"""

from collections import namedtuple

import numpy as np
import printed_formulas
import pytest
import sympy
from printed_formulas import entry, evaluate, parse

K = 7  # the number of the layer: any integer does
SHAPES = {"X": (3, 7, 7), "Ker": (2, 3, 3, 3), "B": (2,), "D": (2, 7, 7)}
PLACES = [(name, place) for name, shape in SHAPES.items() for place in np.ndindex(*shape)]
RING, *SYMBOLS = sympy.ring([f"{name}_{'_'.join(map(str, place))}" for name, place in PLACES], sympy.QQ)

Layer = namedtuple("Layer", "variables output loss flow")


def symbols():
    """One array of symbols for each name of SHAPES."""
    arrays = {name: np.empty(shape, dtype=object) for name, shape in SHAPES.items()}
    for (name, place), symbol in zip(PLACES, SYMBOLS, strict=True):
        arrays[name][place] = symbol
    return arrays


def forward(equations, variables):
    """The output channels as polynomials, by F02 and F04 as printed."""

    def lookup(name, upper, lower):
        layer_or_o, *channels = upper
        if name == "tmp":
            return temporary[layer_or_o - 1, channels[0] - 1]
        assert layer_or_o == (K - 1 if name == "ch" else K)
        array = variables[{"ch": "X", "ker": "Ker", "b": "B"}[name]]
        return entry(array[tuple(channel - 1 for channel in channels)], lower)

    [[_, neuron]] = parse(equations["eq-F02"])
    temporary = np.empty((2, 3, 7, 7), dtype=object)
    for o, i, p, q in np.ndindex(*temporary.shape):
        temporary[o, i, p, q] = evaluate(neuron, lookup, k=K, o=o + 1, i=i + 1, p=p, q=q)
    return np.array([evaluate(channel, lookup, k=K) for _, channel in parse(equations["eq-F04"])])


@pytest.fixture(scope="module")
def equations():
    return printed_formulas.printed_equations()


def any_loss(equations):
    """A loss whose flow is made of symbols: the sum of flow times output.

    Whatever comes after the layer, this loss has its derivatives.
    """
    variables = symbols()
    output, flow = forward(equations, variables), variables["D"]
    return Layer(variables, output, RING.add(*(flow * output).ravel()), flow)


def half_the_squares(equations):
    """A loss that is not linear: its flow is the output itself, which depends on all inputs, weights and biases."""
    variables = symbols()
    output = forward(equations, variables)
    return Layer(variables, output, RING.add(*(output**2).ravel()) * sympy.QQ(1, 2), output)


@pytest.fixture(scope="module", params=[any_loss, half_the_squares])
def layer(request, equations):
    return request.param(equations)


def told(layer, equations, formula, line=0, **indices):
    """The right side of a formula (of one of its lines) as printed, as a polynomial."""

    def lookup(name, upper, lower):
        if name == "derivative":
            (of, (after, o), place), (by, (here, *channels), by_place) = upper, lower
            assert (of, after, here) == ("X", K + 1, K)
            variable = layer.variables[by][(*(channel - 1 for channel in channels), *by_place)]
            return layer.output[o - 1][place].diff(variable)
        array, its_layer = {
            r"\delta": (layer.flow, K + 1), "ch": (layer.variables["X"], K - 1), "ker": (layer.variables["Ker"], K)
        }[name]  # fmt: skip
        assert upper[0] == its_layer
        return entry(array[tuple(channel - 1 for channel in upper[1:])], lower)

    _, right = parse(equations[f"eq-{formula}"])[line]
    return evaluate(right, lookup, k=K, **indices)


# --- the five formulas of the backward pass, for all the variables ----------------------------------------------


def test_f11_the_centre(equations, layer):
    derivative = layer.loss.diff(layer.variables["X"][0, 3, 3])
    assert told(layer, equations, "F11") == derivative
    if layer.flow is layer.variables["D"]:
        assert len(derivative) == 18


def test_f12_all_147_inputs(equations, layer):
    for (i, r, s), variable in np.ndenumerate(layer.variables["X"]):
        assert told(layer, equations, "F12", i=i + 1, r=r, s=s) == layer.loss.diff(variable), (i, r, s)


def test_f17_the_corner_weight(equations, layer):
    derivative = layer.loss.diff(layer.variables["Ker"][0, 0, 0, 0])
    assert told(layer, equations, "F17") == derivative
    if layer.flow is layer.variables["D"]:
        assert len(derivative) == 36


def test_f18_all_54_weights(equations, layer):
    impacts = np.array([[36, 42, 36], [42, 49, 42], [36, 42, 36]])
    for (o, i, u, v), variable in np.ndenumerate(layer.variables["Ker"]):
        derivative = layer.loss.diff(variable)
        assert told(layer, equations, "F18", o=o + 1, i=i + 1, u=u, v=v) == derivative, (o, i, u, v)
        if layer.flow is layer.variables["D"]:
            assert len(derivative) == impacts[u, v]


def test_f20_both_biases(equations, layer):
    for line, variable in enumerate(layer.variables["B"]):
        derivative = layer.loss.diff(variable)
        assert told(layer, equations, "F20", line) == derivative
        if layer.flow is layer.variables["D"]:
            assert len(derivative) == 49


# --- the steps that lead there ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("formula", "name", "place"), [("F09", "X", (0, 3, 3)), ("F15", "Ker", (0, 0, 0, 0))])
def test_f09_and_f15_the_chain_rule(equations, layer, formula, name, place):
    assert told(layer, equations, formula) == layer.loss.diff(layer.variables[name][place])


def test_f10_local_derivatives_by_inputs_are_weights_and_hold_no_input(equations, layer):
    """F10 at all places. The article notes values of the inputs beside these derivatives; nothing depends on them."""
    weights = {*layer.variables["Ker"].ravel(), RING.zero}
    for output in layer.output.ravel():
        assert {output.diff(variable) for variable in layer.variables["X"].ravel()} <= weights
    assert layer.output[0, 2, 2].diff(layer.variables["X"][0, 3, 3]) == told(layer, equations, "F10")


def test_f16_local_derivatives_by_weights_are_the_one_input_they_met(equations, layer):
    """F16 at all places. The article notes the input at (6,6) beside the derivative; it is the one at (5,5)."""
    inputs = {*layer.variables["X"].ravel(), RING.zero}
    for output in layer.output.ravel():
        assert {output.diff(variable) for variable in layer.variables["Ker"].ravel()} <= inputs
    derivative = layer.output[0, 6, 6].diff(layer.variables["Ker"][0, 0, 0, 0])
    assert derivative == told(layer, equations, "F16") == layer.variables["X"][0, 5, 5]


def test_f19_local_derivatives_by_biases_are_one(equations, layer):
    """F19 at all places."""
    for o, channel in enumerate(layer.output):
        for output in channel.ravel():
            assert output.diff(layer.variables["B"][o]) == told(layer, equations, "F19") == 1
            assert output.diff(layer.variables["B"][1 - o]) == 0


# --- the proofs above can fail ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("formula", "printed", "slip", "proof"),
    [
        ("F11", "ker^{k,2,1}_{0,0}", "ker^{k,2,1}_{0,1}", test_f11_the_centre),
        ("F12", "r+1-u", "r+u-1", test_f12_all_147_inputs),
        ("F17", "p-1", "p", test_f17_the_corner_weight),
        ("F18", "_{p=0}^{6}", "_{p=1}^{6}", test_f18_all_54_weights),
        ("F20", r"\delta^{k+1,2}", r"\delta^{k+1,1}", test_f20_both_biases),
        ("F02", "p+u-1", "p+1-u", test_f12_all_147_inputs),
    ],
)
def test_a_slip_is_noticed(equations, formula, printed, slip, proof):
    label = f"eq-{formula}"
    assert printed in equations[label]
    slipped = equations | {label: equations[label].replace(printed, slip)}
    with pytest.raises(AssertionError):
        proof(slipped, any_loss(slipped))
