"""Layers and models: right gradients, clear refusals, states that are whole, files that may come from a stranger."""

import copy
import io
import math
import pickle
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from convlib import gradcheck, layers, reference
from convlib.layers import Conv2d, Flatten, Layer, Linear, MaxPool2d, Parameter, ReLU, Sequential, load, save, summary

DOUBLE = {"dtype": np.float64, "rng": 0}
EVERY_LAYER = {  # a layer, and the shape of an input
    "Conv2d": (lambda **more: Conv2d(2, 4, (3, 2), (1, 2), ((1, 0), (0, 2)), (1, 2), 2, **DOUBLE | more), (2, 5, 6)),
    "Conv2d without bias": (lambda **more: Conv2d(3, 2, 3, padding="same", bias=False, **DOUBLE | more), (3, 4, 5)),
    "ReLU": (lambda: ReLU(), (2, 3, 4)),
    "MaxPool2d": (lambda: MaxPool2d((3, 2), 2, (1, 0)), (2, 6, 5)),
    "Flatten": (lambda: Flatten(), (2, 3, 4)),
    "Linear": (lambda **more: Linear(5, 3, **DOUBLE | more), (5,)),
    "Linear without bias": (lambda **more: Linear(4, 2, bias=False, **DOUBLE | more), (4,)),
}
EVERY = pytest.mark.parametrize(("make", "size"), EVERY_LAYER.values(), ids=EVERY_LAYER)


def small_model(seed=0, dtype=np.float64):
    """A model with a layer of each kind, for images of shape (2, 7, 6)."""
    random = np.random.default_rng(seed)
    return Sequential(
        Conv2d(2, 3, 3, padding=1, dtype=dtype, rng=random), ReLU(), MaxPool2d(2),
        Sequential(Conv2d(3, 4, (2, 3), padding="same", bias=False, dtype=dtype, rng=random), ReLU()),
        Flatten(), Linear(36, 3, dtype=dtype, rng=random),
    )  # fmt: skip


IMAGE = (2, 7, 6)


def numbers(size, seed=1, dtype=np.float64):
    return np.random.default_rng(seed).normal(size=size).astype(dtype)


# --- gradients ---------------------------------------------------------------------------------------------------


def numerically_right(layer, x, flow):
    """Whether the flow and all that the parameters are told are what differences say."""
    layer.zero_grad()
    layer(x)
    grad_input, told = layer.backward(flow), [parameter.grad for parameter in layer.parameters()]
    try:
        gradcheck.check_gradient(layer, x, grad_input, flow)
        for parameter, gradient in zip(layer.parameters(), told, strict=True):
            kept = parameter.data.copy()

            def moved(numbers, parameter=parameter):
                parameter.data[...] = numbers
                return layer(x)

            gradcheck.check_gradient(moved, kept, gradient, flow)
            parameter.data[...] = kept
    except AssertionError:
        return False
    return True


def right_along_a_line(layer, x, flow):
    """Whether all gradients together say how the loss changes along a random line, in a step so small that no kink
    is in its way."""
    random, step = np.random.default_rng(99), 1e-6  # a seed that no flow has: W and its transpose agree along the flow
    layer.zero_grad()
    layer(x)
    parts = [(x, layer.backward(flow))] + [(each.data, each.grad) for each in layer.parameters()]
    ways = [random.normal(size=array.shape) for array, _ in parts]
    slope = sum((gradient * way).sum() for (_, gradient), way in zip(parts, ways, strict=True))
    losses = []
    for sign in (1, -1):
        for (array, _), way in zip(parts, ways, strict=True):
            array += sign * step * way
        losses.append((layer(x) * flow).sum())
        for (array, _), way in zip(parts, ways, strict=True):
            array -= sign * step * way
    return math.isclose(slope, (losses[0] - losses[1]) / (2 * step), rel_tol=1e-6, abs_tol=1e-8)


@pytest.mark.slow
@EVERY
@pytest.mark.parametrize("batch", [(), (3,)], ids=["one", "batch"])
def test_every_gradient_of_every_layer(make, size, batch):
    layer, x = make(), numbers(batch + size)
    flow = numbers(layer(x).shape, 2)
    assert numerically_right(layer, x, flow)
    assert right_along_a_line(layer, x, flow)


@pytest.mark.slow
@pytest.mark.parametrize("batch", [(), (2,)], ids=["one", "batch"])
def test_every_gradient_of_a_whole_model(batch):
    model, x = small_model(), numbers(batch + IMAGE)
    flow = numbers(model(x).shape, 2)
    assert numerically_right(model, x, flow)
    assert right_along_a_line(model, x, flow)


def test_the_layers_are_the_functions_of_the_chapters():
    x, flow = numbers((2, 3, 6, 5)), numbers((2, 4, 6, 5), 2)
    conv = Conv2d(3, 4, 3, padding=1, **DOUBLE)
    w, b = (each.data for each in conv.parameters())
    assert np.allclose(conv(x), reference.conv2d(x, w, b, padding=1))
    assert np.allclose(conv.backward(flow), reference.conv2d_input_grad(x.shape, w, flow, padding=1))
    assert np.allclose(conv.weight.grad, reference.conv2d_weight_grad(x, w.shape, flow, padding=1))
    assert np.allclose(conv.bias.grad, reference.conv2d_bias_grad(flow))
    relu, pool = ReLU(), MaxPool2d(3, 2, 1)
    assert (relu(x) == reference.relu(x)).all()
    assert (pool(x) == reference.max_pool2d(x, 3, 2, 1)).all()
    flows = numbers(x.shape, 3), numbers(pool(x).shape, 4)
    assert (relu.backward(flows[0]) == reference.relu_input_grad(x, flows[0])).all()
    assert np.allclose(pool.backward(flows[1]), reference.max_pool2d_input_grad(x, flows[1], 3, 2, 1))


# --- mistakes, planted in each function of the way back: two checks must see each of them ------------------------


def flow_read(kind, change):
    """A layer that reads its flow in a wrong way."""
    class Wrong(kind):
        def flow(self, kept, grad_output):
            return super().flow(kept, change(grad_output))
    return Wrong


def flow_written(kind, change):
    """A layer that passes on a wrong flow."""
    class Wrong(kind):
        def flow(self, kept, grad_output):
            return change(super().flow(kept, grad_output))
    return Wrong


def told_wrong(kind, change_kept=lambda x: x, change_flow=lambda d: d):
    """A layer that tells its parameters something wrong."""
    class Wrong(kind):
        def tell(self, kept, grad_output):
            super().tell(change_kept(kept), change_flow(grad_output))
    return Wrong


class GateByFlow(ReLU):
    def flow(self, kept, grad_output):
        return np.where(grad_output > 0, grad_output, 0)


class NoGate(ReLU):
    def flow(self, kept, grad_output):
        return grad_output


class GateTheOtherWay(ReLU):
    def flow(self, kept, grad_output):
        return super().flow(~kept, grad_output)


class ToTheNextCell(MaxPool2d):
    def flow(self, kept, grad_output):
        size, indices = kept
        return super().flow((size, (indices + 1) % math.prod(size[-2:])), grad_output)


class Mean(MaxPool2d):
    def flow(self, kept, grad_output):
        size, indices = kept
        return np.full(size, grad_output.sum() / math.prod(size))


class LastOnly(MaxPool2d):
    """What several windows tell one cell is overwritten instead of added."""

    def flow(self, kept, grad_output):
        size, indices = kept
        grad = np.zeros((math.prod(size[:-2]), math.prod(size[-2:])))
        places, flows = (each.reshape(len(grad), -1) for each in (indices, grad_output))
        np.put_along_axis(grad, places, flows, axis=1)
        return grad.reshape(size)


class ColumnsFirst(Flatten):
    def flow(self, kept, grad_output):
        return grad_output.reshape(*kept[:-2], *kept[:-3:-1]).swapaxes(-1, -2)


class NotTransposed(Linear):
    def flow(self, kept, grad_output):
        return grad_output @ self.weight.data.T


class BiasForgotten(Linear):
    def tell(self, kept, grad_output):
        super().tell(kept, grad_output)
        self.bias.grad = np.zeros(self.bias.shape)


class BiasMeant(Linear):
    def tell(self, kept, grad_output):
        super().tell(kept, grad_output)
        self.bias.grad = self.bias.grad / len(grad_output)


class Swapped(Sequential):
    """On the way back, two layers take each other's turn."""

    def backward(self, grad_output, *, input_grad=True):
        for layer in (self[1], self[2], self[0]):
            grad_output = layer.backward(grad_output)
        return grad_output


def reversed_rows(array):
    return array[..., ::-1]


def of_the_neighbour(array):
    return np.roll(array, 1, axis=0)


CONV, LINEAR = (3, 4, 3), (5, 4)
PLANTED = {  # a wrong layer, and an input
    "ReLU: gate set by the flow": (lambda: GateByFlow(), (3, 4)),
    "ReLU: no gate": (lambda: NoGate(), (3, 4)),
    "ReLU: gate the other way": (lambda: GateTheOtherWay(), (3, 4)),
    "ReLU: flow mirrored": (lambda: flow_read(ReLU, reversed_rows)(), (3, 4)),
    "MaxPool2d: to the next cell": (lambda: ToTheNextCell(2), (2, 3, 6, 5)),
    "MaxPool2d: to all": (lambda: Mean(2), (2, 3, 6, 5)),
    "MaxPool2d: windows from the end": (lambda: flow_read(MaxPool2d, reversed_rows)(2), (2, 3, 6, 5)),
    "MaxPool2d: overwritten": (lambda: LastOnly(3, 1, 1), (2, 3, 6, 5)),
    "MaxPool2d: image of the neighbour": (lambda: flow_read(MaxPool2d, of_the_neighbour)(2), (2, 3, 6, 5)),
    "Flatten: columns first": (lambda: ColumnsFirst(), (2, 3, 4, 5)),
    "Flatten: image of the neighbour": (lambda: flow_written(Flatten, of_the_neighbour)(), (2, 3, 4, 5)),
    "Linear: weights not transposed": (lambda: NotTransposed(4, 4, **DOUBLE), (5, 4)),
    "Linear: flow of the neighbour": (lambda: flow_read(Linear, of_the_neighbour)(4, 3, **DOUBLE), LINEAR),
    "Linear: outputs mirrored": (lambda: told_wrong(Linear, change_flow=reversed_rows)(4, 3, **DOUBLE), LINEAR),
    "Linear: inputs of the neighbour": (lambda: told_wrong(Linear, of_the_neighbour)(4, 3, **DOUBLE), LINEAR),
    "Linear: bias forgotten": (lambda: BiasForgotten(4, 3, **DOUBLE), LINEAR),
    "Linear: bias told the mean": (lambda: BiasMeant(4, 3, **DOUBLE), LINEAR),
    "Linear: output remembered, not input": (
        lambda: told_wrong(Linear, lambda x: np.maximum(x, 0))(4, 3, **DOUBLE), LINEAR),
    "Conv2d: flow mirrored": (lambda: flow_read(Conv2d, reversed_rows)(3, 2, 3, padding=1, **DOUBLE), (2, *CONV)),
    "Conv2d: told with a mirrored flow": (
        lambda: told_wrong(Conv2d, change_flow=reversed_rows)(3, 2, 3, padding=1, **DOUBLE), (2, *CONV)),
    "Conv2d: told the image of the neighbour": (
        lambda: told_wrong(Conv2d, of_the_neighbour)(3, 2, 3, padding=1, **DOUBLE), (2, *CONV)),
    "Sequential: two layers swapped": (
        lambda: Swapped(Linear(4, 4, **DOUBLE), Linear(4, 4, dtype=np.float64, rng=1), Linear(4, 4, **DOUBLE)), LINEAR),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(("make", "size"), PLANTED.values(), ids=PLANTED)
def test_two_checks_see_each_planted_mistake(make, size):
    layer, x = make(), numbers(size)
    flow = numbers(layer(x).shape, 2)
    assert not numerically_right(layer, x, flow)
    assert not right_along_a_line(layer, x, flow)


# --- memory and accumulation -------------------------------------------------------------------------------------


@EVERY
def test_backward_before_forward(make, size):
    layer = make()
    with pytest.raises(RuntimeError, match=f"{type(layer).__name__}.*: backward before forward: call the layer first"):
        layer.backward(numbers((1,)))


def test_a_model_knows_whether_it_remembers():
    model, x = small_model(), numbers(IMAGE)
    with pytest.raises(RuntimeError, match="Sequential: backward before forward"):
        model.backward(numbers(3))
    model(x)
    with pytest.raises(ValueError, match=r"\[0\] Conv2d\(2, 3, kernel_size=3, padding=1\): input: expected shape"):
        model(x[:1])
    with pytest.raises(RuntimeError, match="Sequential: backward before forward"):
        model.backward(numbers(3))
    model(x)
    model[1](x)  # somebody uses a layer in between
    with pytest.raises(RuntimeError, match=r"\[1\] ReLU\(\): has been called by itself"):
        model.backward(numbers(3))
    model(x)
    model[3][0](model[:3](x))
    with pytest.raises(RuntimeError, match=r"\[0\] Conv2d.*has been called by itself"):
        model.backward(numbers(3))


def test_backward_adds_up_until_it_is_forgotten():
    model, x, flow = small_model(), numbers(IMAGE), numbers(3)
    assert all(parameter.grad is None for parameter in model.parameters())
    model(x)
    first = model.backward(flow)
    once = [parameter.grad.copy() for parameter in model.parameters()]
    assert (model.backward(flow) == first).all()  # twice from one memory
    assert all((parameter.grad == 2 * grad).all() for parameter, grad in zip(model.parameters(), once, strict=True))
    model.zero_grad()
    assert all(parameter.grad is None for parameter in model.parameters())


def test_a_batch_tells_what_its_images_tell_together():
    model, batch = small_model(), numbers((3, *IMAGE))
    flows = numbers((3, 3), 2)
    model(batch)
    model.backward(flows)
    together = [parameter.grad for parameter in model.parameters()]
    model.zero_grad()
    for image, flow in zip(batch, flows, strict=True):
        model(image)
        model.backward(flow)
    for parameter, grad in zip(model.parameters(), together, strict=True):
        np.testing.assert_allclose(parameter.grad, grad, rtol=1e-10, atol=1e-12)


def test_what_the_first_layer_passes_on_can_be_left_out():
    model, x, flow = small_model(), numbers(IMAGE), numbers(3)
    model(x)
    model.backward(flow)
    expected = [parameter.grad for parameter in model.parameters()]
    model.zero_grad()
    assert model.backward(flow, input_grad=False) is None
    for parameter, grad in zip(model.parameters(), expected, strict=True):
        np.testing.assert_array_equal(parameter.grad, grad)


def test_told_arrays_are_nobody_elses():
    parameter, gradient = Parameter(np.zeros(3)), np.ones(3)
    parameter.tell(gradient)
    gradient[:] = 9
    assert parameter.grad.tolist() == [1, 1, 1]
    data = np.zeros(3)
    parameter = Parameter(data)
    data[:] = 9
    assert parameter.data.tolist() == [0, 0, 0]


@EVERY
def test_a_wrong_flow_is_refused_and_tells_nobody(make, size):
    layer = make()
    shape = layer(numbers((2, *size))).shape
    for wrong in (numbers(shape[1:]), numbers((*shape[:-1], shape[-1] + 1)), numbers((1, *shape[1:]))):
        with pytest.raises(ValueError, match=rf"{type(layer).__name__}.*: grad_output: expected .*, as the output"):
            layer.backward(wrong)
    with pytest.raises(TypeError, match=f"{type(layer).__name__}.*: grad_output: expected float32, float64"):
        layer.backward(numbers(shape) * 1j)
    assert all(parameter.grad is None for parameter in layer.parameters())
    layer.backward(numbers(shape))  # the memory is still there


# --- inputs of any kind ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("change", [
    np.asfortranarray, lambda x: np.repeat(x, 2, axis=-1)[..., ::2], lambda x: x[::-1].copy()[::-1],
    lambda x: np.lib.stride_tricks.as_strided(x, writeable=False), lambda x: x.astype(">f8"), lambda x: x.tolist(),
])  # fmt: skip
def test_any_layout_gives_the_same_and_nothing_is_written_to(change):
    model, x, flow = small_model(), numbers((2, *IMAGE)), numbers((2, 3), 2)
    expected = model(x).tobytes(), model.backward(flow).tobytes()
    given, given_flow = change(x), change(flow)
    before = np.array(given)
    assert (model(given).tobytes(), model.backward(given_flow).tobytes()) == expected
    np.testing.assert_array_equal(given, before)
    np.testing.assert_array_equal(given_flow, flow)


@EVERY
def test_one_image_is_a_batch_of_one_and_a_batch_may_be_empty(make, size):
    layer, x = make(), numbers(size)
    one = layer(x)
    flow = numbers(one.shape, 2)
    grad = layer.backward(flow)
    np.testing.assert_allclose(layer(x[np.newaxis])[0], one, rtol=1e-12)
    np.testing.assert_allclose(layer.backward(flow[np.newaxis])[0], grad, rtol=1e-10, atol=1e-12)
    layer.zero_grad()
    nothing = layer(np.zeros((0, *size)))
    assert nothing.shape == (0, *one.shape) == layer.output_shape((0, *size))
    assert layer.backward(nothing).shape == (0, *size)
    assert all((parameter.grad == 0).all() for parameter in layer.parameters())


@EVERY
@pytest.mark.parametrize("dtype", ["f", "d"])
def test_float32_stays_float32(make, size, dtype):
    layer = make(dtype=dtype) if "Conv" in repr(make()) or "Linear" in repr(make()) else make()
    output = layer(numbers(size, dtype=dtype))
    assert output.dtype == dtype
    for flow in (numbers(output.shape, dtype="f"), numbers(output.shape), np.ones(output.shape, int)):
        assert layer.backward(flow).dtype == dtype
    assert all(parameter.data.dtype == parameter.grad.dtype == dtype for parameter in layer.parameters())


def test_integer_images_are_welcome():
    image = np.arange(84).reshape(IMAGE)
    model = small_model()
    np.testing.assert_array_equal(model(image), model(image.astype(float)))
    assert ReLU()(image - 40).dtype == MaxPool2d(2)(image).dtype == np.int64
    gate = ReLU()
    gate([-1, 2])
    assert gate.backward([5, 6]).tolist() == [0, 6]


def test_nan_and_infinity_pass_without_a_warning():
    with np.errstate(all="raise"):
        gate = ReLU()
        output = gate(np.array([np.nan, -np.inf, np.inf, -0.0, 0.0]))
        np.testing.assert_array_equal(output, [np.nan, 0, np.inf, 0, 0])
        np.testing.assert_array_equal(gate.backward(np.array([1, np.inf, np.nan, np.inf, 5])), [1, 0, np.nan, 0, 0])
    model, x = small_model(), numbers(IMAGE)
    x[0, 0, 0] = np.inf
    assert not np.isfinite(model(x)).all()
    model.backward(np.array([np.inf, -np.inf, 1]))
    linear = Linear(2, 1, **DOUBLE)
    linear([np.inf, -np.inf])
    linear.backward([np.inf])


@EVERY
def test_wrong_inputs_are_refused_by_name(make, size):
    layer = make()
    name = type(layer).__name__
    for wrong, error in ((numbers(size) * 1j, TypeError), ([[1, 2], [3]], ValueError), ("abc", TypeError),
                         (np.ma.masked_less(numbers(size), 0), TypeError), (numbers(size).astype("e"), TypeError)):
        with pytest.raises(error, match=rf"^{name}\(.*\): input: expected"):
            layer(wrong)
    if name != "ReLU":
        with pytest.raises(ValueError, match=rf"^{name}\(.*\): input: expected shape"):
            layer(numbers((1, 1, *size, 1, 1)))


def test_wrong_channels_and_features():
    with pytest.raises(ValueError, match=r"input: expected shape \(N, 4, H, W\) or \(4, H, W\), got \(2, 7, 7\)"):
        Conv2d(4, 2, 3, groups=2)(np.zeros((2, 7, 7)))
    with pytest.raises(ValueError, match=r"Linear\(4, 2\): input: expected shape \(N, 4\) or \(4,\), got \(3, 5\)"):
        Linear(4, 2)(np.zeros((3, 5)))
    with pytest.raises(ValueError, match=r"\[3\] \[0\] Conv2d\(3, 4, .*, padding=same, bias=False\): input: exp"):
        Sequential(ReLU(), ReLU(), ReLU(), small_model()[3])(np.zeros((4, 7, 7)))


@pytest.mark.parametrize(("make", "error", "message"), [
    (lambda: Conv2d(0, 1, 3), ValueError, "in_channels: expected a whole number, 1 or more, got 0"),
    (lambda: Conv2d(1, 2.0, 3), TypeError, "out_channels: expected a whole number"),
    (lambda: Conv2d(1, 2, 0), ValueError, "kernel_size: expected a whole number, 1 or more, got 0"),
    (lambda: Conv2d(1, 2, (3, 3, 3)), ValueError, "kernel_size: expected one number or a pair"),
    (lambda: Conv2d(3, 2, 3, groups=2), ValueError, "groups: expected a number that divides the 3 input channels"),
    (lambda: Conv2d(2, 3, 3, groups=2), ValueError, "groups: expected a number that divides the 3 output channels"),
    (lambda: Conv2d(1, 2, 3, groups=2), ValueError, "groups: expected a number that divides the 1 input"),
    (lambda: Conv2d(1, 2, 3, stride=0), ValueError, "stride: expected a whole number, 1 or more"),
    (lambda: Conv2d(1, 2, 3, padding="full"), ValueError, 'padding: expected numbers, "valid" or "same"'),
    (lambda: Conv2d(1, 2, 3, stride=2, padding="same"), ValueError, 'padding: "same" expects stride 1'),
    (lambda: Conv2d(1, 2, 3, dilation=0), ValueError, "dilation: expected a whole number, 1 or more"),
    (lambda: Conv2d(1, 2, 3, dtype=int), TypeError, "dtype: expected float32 or float64, got int64"),
    (lambda: Conv2d(1, 2, 3, rng="seed"), TypeError, "rng: expected a whole number"),
    (lambda: Linear(1, 2, rng=-1), ValueError, "rng: expected a whole number, 0 or more"),
    (lambda: Linear(1, 2, rng=True), TypeError, "rng: expected a whole number"),
    (lambda: Linear(0, 2), ValueError, "in_features: expected a whole number, 1 or more"),
    (lambda: Linear(2, "a"), TypeError, "out_features: expected a whole number"),
    (lambda: Linear(2, 2, dtype="e"), TypeError, "dtype: expected float32 or float64, got float16"),
    (lambda: MaxPool2d(0), ValueError, "kernel_size: expected a whole number, 1 or more"),
    (lambda: MaxPool2d("a"), TypeError, "kernel_size: expected a whole number"),
    (lambda: MaxPool2d(2, padding=2), ValueError, "padding: expected at most half"),
    (lambda: Sequential(ReLU(), 3), TypeError, r"layers\[1\]: expected a Layer, got int"),
    (lambda: Sequential(ReLU, ReLU()), TypeError, r"layers\[0\]: expected a Layer, got type"),
    (lambda: Sequential(*[ReLU()] * 2), ValueError, "layers: expected each layer once"),
    (lambda: (lambda gate: Sequential(gate, Sequential(gate)))(ReLU()), ValueError, "layers: expected each layer once"),
    (lambda: Parameter([1, 2]), TypeError, "data: expected float32 or float64, got int64"),
    (lambda: Parameter(["a"]), TypeError, "data: expected"),
    (lambda: Parameter(np.zeros(2)).tell(np.zeros(3)), ValueError, r"gradient: expected shape \(2,\), got \(3,\)"),
])  # fmt: skip
def test_refusals_when_a_layer_is_made(make, error, message):
    with pytest.raises(error, match=message):
        make()


# --- parameters, modes, names ------------------------------------------------------------------------------------


def test_names_and_order_are_pytorchs():
    model = small_model()
    names = ["0.weight", "0.bias", "3.0.weight", "5.weight", "5.bias"]
    assert [name for name, _ in model.named_parameters()] == names == list(model.state_dict())
    assert [each.shape for each in model.parameters()] == [(3, 2, 3, 3), (3,), (4, 3, 2, 3), (3, 36), (3,)]
    assert [each for _, each in model.named_parameters()] == model.parameters()


def test_a_model_can_be_taken_apart():
    model = small_model()
    assert len(model) == 6 and list(model)[1] is model[1] and model[-1] is model[5]
    assert isinstance(model[:2], Sequential) and model[:2][0] is model[0]
    with pytest.raises(IndexError):
        model[6]
    x = numbers((2, *IMAGE))
    np.testing.assert_array_equal(model[3:](model[:3](x)), model(x))
    np.testing.assert_array_equal(Sequential()(x), x)


def test_modes_reach_all_layers():
    model = small_model()
    assert model.training and model.eval() is model
    assert not (model.training or model[0].training or model[3][1].training)
    assert model.train() is model and model[3][1].training


def test_what_a_layer_calls_itself():
    assert repr(Conv2d(4, 6, (3, 2), stride=2, padding=(1, 0), groups=2, bias=False)) == (
        "Conv2d(4, 6, kernel_size=(3, 2), stride=2, padding=(1, 0), groups=2, bias=False)")
    assert repr(Sequential(Linear(2, 1), ReLU(), MaxPool2d(3, 2, 1), MaxPool2d(2), Flatten())) == (
        "Sequential(Linear(2, 1), ReLU(), MaxPool2d(3, stride=2, padding=1), MaxPool2d(2, stride=2, padding=0), "
        "Flatten())")


def test_a_layer_of_ones_own_may_hold_others():
    class Twice(Layer):
        def __init__(self):
            self.inner, self.scale = Linear(3, 3, **DOUBLE), Parameter(np.array([2.0]))

        def compute(self, input):
            output = self.inner(input)
            return self.scale.data * output, output

        def flow(self, kept, grad_output):
            return self.inner.backward(self.scale.data * grad_output)

        def tell(self, kept, grad_output):
            self.scale.tell(np.array([(kept * grad_output).sum()]))

    model = Sequential(Twice(), ReLU())
    assert [name for name, _ in model.named_parameters()] == ["0.scale", "0.inner.weight", "0.inner.bias"]
    assert model.eval() and not model[0].inner.training
    assert numerically_right(model, numbers((4, 3)), numbers((4, 3), 2))


@pytest.mark.parametrize("make", [lambda **w: Conv2d(6, 40, 3, groups=2, **w), lambda **w: Linear(27, 200, **w)])
@pytest.mark.parametrize("dtype", ["f", "d"])
def test_first_numbers(make, dtype):
    layer, bound = make(dtype=dtype, rng=7), 1 / math.sqrt(27)
    for parameter in layer.parameters():
        assert abs(parameter.data).max() <= np.dtype(dtype).type(bound)
        assert parameter.data.dtype == dtype
    values = layer.weight.data.ravel() / bound  # uniform between -1 and 1: variance 1/3
    assert abs(values).max() > 0.98 and abs(values.mean()) < 0.06 and abs((values**2).mean() - 1 / 3) < 0.04
    again, other = make(dtype=dtype, rng=7), make(dtype=dtype, rng=8)
    np.testing.assert_array_equal(layer.weight.data, again.weight.data)
    assert (layer.weight.data != other.weight.data).any()
    assert (make(dtype=dtype).weight.data != make(dtype=dtype).weight.data).any()  # no seed: never the same
    generator = np.random.default_rng(7)
    first, second = make(dtype=dtype, rng=generator), make(dtype=dtype, rng=generator)
    np.testing.assert_array_equal(first.bias.data, layer.bias.data)
    assert (second.weight.data != first.weight.data).any()


def test_models_can_be_copied_and_pickled():
    model, x = small_model(), numbers(IMAGE)
    expected = model(x)
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        np.testing.assert_array_equal(other(x), expected)
        other[0].weight.data[...] = 0
    np.testing.assert_array_equal(model(x), expected)


# --- summary -----------------------------------------------------------------------------------------------------


@EVERY
@pytest.mark.parametrize("batch", [(), (3,)])
def test_a_shape_is_known_before_it_is_computed(make, size, batch):
    layer = make()
    assert layer.output_shape(batch + size) == layer(numbers(batch + size)).shape
    assert layer.output_shape(list(batch + size)) == layer.output_shape(batch + size)
    assert layer.multiplications((2, *size)) == 2 * layer.multiplications((1, *size))
    if "Conv" in repr(layer) or "Linear" in repr(layer):
        sums = math.prod(layer.output_shape(batch + size))
        assert layer.multiplications(batch + size) == sums * math.prod(layer.weight.shape[1:])
    else:
        assert layer.multiplications(batch + size) == 0


def test_summary_of_a_model():
    model = small_model()
    table = summary(model, IMAGE)
    assert [row.output_shape for row in table.rows] == [(3, 7, 6), (3, 7, 6), (3, 3, 3), (4, 3, 3), (36,), (3,)]
    assert [row.parameters for row in table.rows] == [57, 0, 0, 72, 0, 111]
    assert [row.multiplications for row in table.rows] == [2268, 0, 0, 648, 0, 108]
    assert table.parameters == 240 == sum(each.data.size for each in model.parameters())
    assert table.multiplications == 3024 == model.multiplications(IMAGE)
    assert summary(model, (5, *IMAGE)).multiplications == 5 * 3024
    lines = str(table).splitlines()
    assert len(lines) == 8 and len({len(line) for line in lines}) == 1
    assert lines[0].split() == ["layer", "output", "shape", "parameters", "multiplications"]
    assert lines[-1].split() == ["all", "240", "3,024"]
    assert table._repr_html_().count("<tr>") == 8
    assert model(numbers(IMAGE)).shape == table.rows[-1].output_shape == model.output_shape(IMAGE)


def test_summary_of_one_layer_and_of_what_does_not_fit():
    assert summary(Linear(4, 2), (4,)).rows == [("Linear(4, 2)", (2,), 10, 8)]
    with pytest.raises(ValueError, match=r"\[5\] Linear\(36, 3\): input: expected shape \(N, 36\) or \(36,\), got "):
        summary(small_model(), (2, 8, 9))
    with pytest.raises(ValueError, match=r"^\[1\] \[0\] Linear\(1, 2\): input: expected shape"):
        summary(Sequential(ReLU(), Sequential(Linear(1, 2))), (3,))
    with pytest.raises(ValueError, match=r"\[0\] Conv2d.*: input: expected shape \(N, 2, H, W\)"):
        summary(small_model(), (3, 7, 6))

    with pytest.raises(TypeError, match="input_size: expected a shape, got 7"):
        summary(small_model(), 7)
    with pytest.raises(TypeError, match="input_size: expected a whole number, 0 or more, got 7.0"):
        summary(small_model(), (2, 7.0, 6))
    assert str(summary(small_model(), list(np.array(IMAGE)))) == str(summary(small_model(), IMAGE))

    class Odd(Layer):
        def __repr__(self):
            return "<b>"

    assert "&lt;b&gt;" in summary(Odd(), (1,))._repr_html_()


# --- states ------------------------------------------------------------------------------------------------------


def test_a_state_travels():
    one, other, x = small_model(0), small_model(1), numbers(IMAGE)
    assert (one(x) != other(x)).any()
    state = one.state_dict()
    other.load_state_dict(state)
    np.testing.assert_array_equal(one(x), other(x))
    for array in state.values():
        array[...] = 0  # copies, on both ways
    np.testing.assert_array_equal(one(x), other(x))
    kept = [each.data for each in other.parameters()]
    other.load_state_dict({name: array.tolist() for name, array in small_model(2).state_dict().items()})
    assert all(now.data is before for now, before in zip(other.parameters(), kept, strict=True))
    half = small_model(3, np.float32)
    half.load_state_dict(one.state_dict())
    assert half[0].weight.data.dtype == np.float32
    np.testing.assert_allclose(half(x), one(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("change", "error", "message"), [
    (lambda s: s.pop("5.bias"), ValueError, "missing: '5.bias'; unexpected: none"),
    (lambda s: s.update({"6.bias": np.zeros(1)}), ValueError, "missing: none; unexpected: '6.bias'"),
    (lambda s: s.update({3: 1}), ValueError, "unexpected: 3"),
    (lambda s: s.update({"5.bias": np.zeros(4)}), ValueError, r"5.bias: expected shape \(3,\), got \(4,\)"),
    (lambda s: s.update({"5.bias": np.zeros((3, 1))}), ValueError, r"5.bias: expected shape \(3,\), got \(3, 1\)"),
    (lambda s: s.update({"5.bias": 0.0}), ValueError, r"5.bias: expected shape \(3,\), got \(\)"),
    (lambda s: s.update({"5.bias": ["a"] * 3}), TypeError, "5.bias: expected float32, float64 or integers"),
    (lambda s: s.update({"5.bias": np.zeros(3) * 1j}), TypeError, "5.bias: expected float32, float64 or integers"),
    (lambda s: s.update({"5.bias": np.array([{}, 1, 2])}), TypeError, "5.bias: expected float32, float64"),
    (lambda s: s.update({"5.bias": np.full(3, 1e300)}), ValueError, "5.bias: expected numbers that fit into float32"),
])  # fmt: skip
def test_a_wrong_state_changes_nothing(change, error, message):
    model, state = small_model(0, np.float32), small_model(1).state_dict()
    before = model.state_dict()
    change(state)
    with pytest.raises(error, match=message):
        model.load_state_dict(state)
    for name, array in model.state_dict().items():
        np.testing.assert_array_equal(array, before[name])


def test_a_state_is_a_mapping():
    with pytest.raises(TypeError, match="state: expected names and arrays, got list"):
        small_model().load_state_dict([1, 2])


# --- files -------------------------------------------------------------------------------------------------------


NPY_MAGIC = b"\x93NUMPY\x01\x00"


def npy(header, content=b""):
    """The bytes of an array as NumPy writes it, with any header."""
    text = header.encode("latin1") if isinstance(header, str) else header
    return NPY_MAGIC + len(text).to_bytes(2, "little") + text + content


def header(descr="<f8", shape=(2,), fortran=False):
    return f"{{'descr': {descr!r}, 'fortran_order': {fortran}, 'shape': {shape}, }}\n"


def archive(*entries, compression=zipfile.ZIP_STORED):
    """The bytes of an archive with these entries."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as written:
        for name, content in entries:
            written.writestr(zipfile.ZipInfo(name) if compression == zipfile.ZIP_STORED else name, content)
    return file.getvalue()


TWO = np.array([1.0, 2.0])
GOOD = npy(header(), TWO.tobytes())


def test_saved_and_loaded_is_the_same(tmp_path):
    state = {
        "0.weight": numbers((2, 3, 4)), "fortran": np.asfortranarray(numbers((3, 4))), "strided": numbers(8)[::2],
        "float32": numbers(3, dtype="f"), "number": np.float64(0.1), "empty": np.zeros((0, 3)), "ints": np.arange(3),
        "bytes": np.arange(5, dtype=np.uint8), "bools": np.array([True, False]), "big": np.array([1.5], ">f4"),
        "nan": np.array([np.nan, -np.inf, -0.0]), "größe": TWO, "file": TWO, "list": [1.0, 2.0],
    }  # fmt: skip
    path = tmp_path / "state.npz"
    save(path, state)
    loaded = load(path)
    assert list(loaded) == list(state)
    for name, array in loaded.items():
        np.testing.assert_array_equal(array, state[name])
        assert array.dtype.isnative and array.flags.c_contiguous and array.flags.writeable
        assert array.dtype == np.asarray(state[name]).dtype.newbyteorder("=")
    with np.load(path, allow_pickle=False) as others:  # NumPy reads it, too
        assert set(others) == set(state)
        np.testing.assert_array_equal(others["0.weight"], state["0.weight"])
    np.savez(tmp_path / "numpys.npz", **{"0.weight": TWO, "f": np.asfortranarray(numbers((2, 3)))})
    theirs = load(str(tmp_path / "numpys.npz"))
    assert theirs["0.weight"].tolist() == [1, 2] and (theirs["f"] == numbers((2, 3))).all()
    save(path, {})
    assert load(path) == {}


def test_the_same_state_gives_the_same_bytes(tmp_path):
    for name in "ab":
        save(tmp_path / name, small_model().state_dict())
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize(("state", "error", "message"), [
    ({3: TWO}, TypeError, "state: expected names, got 3"),
    ({"": TWO}, ValueError, "state: expected short names"),
    ({"../a": TWO}, ValueError, "state: expected short names without slashes"),
    ({"a\\b": TWO}, ValueError, "state: expected short names without slashes"),
    ({"a\0b": TWO}, ValueError, "state: expected short names"),
    ({"a" * 201: TWO}, ValueError, "state: expected short names"),
    ({"a": TWO * 1j}, TypeError, "a: expected real numbers, got data type complex128"),
    ({"a": np.array([{}])}, TypeError, "a: expected real numbers, got data type object"),
    ({"a": "text"}, TypeError, "a: expected real numbers, got data type <U4"),
    ({"a": np.zeros(2, "f8,i4")}, TypeError, "a: expected real numbers"),
])  # fmt: skip
def test_what_cannot_be_saved_leaves_the_old_file(tmp_path, state, error, message):
    path = tmp_path / "state.npz"
    save(path, {"old": TWO})
    with pytest.raises(error, match=message):
        save(path, {"good": TWO} | state)
    assert list(load(path)) == ["old"] and [each.name for each in tmp_path.iterdir()] == ["state.npz"]


def test_an_interrupted_save_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "state.npz"
    save(path, {"old": TWO})
    write = np.lib.format.write_array

    def full(file, array, **more):
        write(file, array, **more)
        raise OSError("no space left")

    monkeypatch.setattr(np.lib.format, "write_array", full)
    with pytest.raises(OSError, match="no space left"):
        save(path, {"a": TWO, "b": TWO})
    monkeypatch.undo()
    assert list(load(path)) == ["old"] and [each.name for each in tmp_path.iterdir()] == ["state.npz"]
    with pytest.raises(FileNotFoundError):
        save(tmp_path / "nowhere" / "state.npz", {"a": TWO})


def test_no_file_is_an_error_of_the_system(tmp_path):
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "nothing.npz")
    with pytest.raises(OSError):
        load(tmp_path)


OBJECTS = io.BytesIO()
np.save(OBJECTS, np.array([{"a": 1}], object), allow_pickle=True)
HOSTILE = {
    "empty": b"",
    "text": b"hello",
    "an array, no archive": GOOD,
    "no end": archive(("a.npy", GOOD))[:-30],
    "no beginning": archive(("a.npy", GOOD))[30:],
    "a pickle": pickle.dumps({"a": [1]}),
    "objects": archive(("a.npy", OBJECTS.getvalue())),
    "objects by header": archive(("a.npy", npy(header("|O"), bytes(16)))),
    "text numbers": archive(("a.npy", npy(header("<U2"), bytes(16)))),
    "records": archive(("a.npy", npy(header([("x", "<f8")]), bytes(16)))),
    "complex": archive(("a.npy", npy(header("<c8"), bytes(16)))),
    "a date": archive(("a.npy", npy(header("<M8[s]"), bytes(16)))),
    "too short": archive(("a.npy", npy(header(), bytes(15)))),
    "too long": archive(("a.npy", npy(header(), bytes(17)))),
    "a thousand million million": archive(("a.npy", npy(header(shape=(10**15,)), bytes(16)))),
    "more than can be counted": archive(("a.npy", npy(header(shape=(10**30, 10**30)), bytes(16)))),
    "zero times huge": archive(("a.npy", npy(header(shape=(0, 10**30))))),
    "negative": archive(("a.npy", npy(header(shape=(-1, -2)), bytes(16)))),
    "a hundred axes": archive(("a.npy", npy(header(shape=(1,) * 100), bytes(8)))),
    "no tuple": archive(("a.npy", npy(header(shape=[2]), bytes(16)))),
    "no header": archive(("a.npy", NPY_MAGIC)),
    "half a header": archive(("a.npy", npy(header(), bytes(16))[:20])),
    "a header that is code": archive(("a.npy", npy("__import__('os').system('echo gone')\n", bytes(16)))),
    "a deep header": archive(("a.npy", npy("(" * 9000 + "\n"))),
    "a long header": archive(("a.npy", npy("{" + " " * 60000 + "}\n"))),
    "another format": archive(("a.npy", b"\x93NUMPY\x02\x00" + (100).to_bytes(4, "little") + bytes(100))),
    "a strange format": archive(("a.npy", b"\x93NUMPY\x09\x09" + bytes(100))),
    "no array": archive(("a.npy", b"hello")),
    "no .npy": archive(("a.txt", GOOD)),
    "a folder": archive(("a/b.npy", GOOD)),
    "upwards": archive(("../a.npy", GOOD)),
    "no name": archive((".npy", GOOD)),
    "compressed": archive(("a.npy", npy(header(shape=(10**6,)), bytes(8 * 10**6))), compression=zipfile.ZIP_DEFLATED),
}


@pytest.mark.parametrize("content", HOSTILE.values(), ids=HOSTILE)
def test_a_damaged_or_hostile_file_is_one_kind_of_error(tmp_path, content):
    path = tmp_path / "state.npz"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="^.*state.npz: expected a file of parameters, but "):
        load(path)


@pytest.mark.parametrize("compression", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
@pytest.mark.parametrize("content", [GOOD, npy(header(shape=(10**6,)), bytes(8 * 10**6))], ids=["small", "large"])
def test_a_compressed_array_is_refused_before_it_is_read(tmp_path, compression, content):
    path = tmp_path / "state.npz"
    path.write_bytes(archive(("a.npy", content), compression=compression))
    with pytest.raises(ValueError, match="an array in it is compressed"):
        load(path)


def test_a_name_twice(tmp_path):
    path = tmp_path / "state.npz"
    with pytest.warns(UserWarning, match="Duplicate name"):
        path.write_bytes(archive(("a.npy", GOOD), ("a.npy", GOOD)))
    with pytest.raises(ValueError, match="stands there twice"):
        load(path)


def test_entries_that_overlap_get_no_more_memory_than_the_file_has(tmp_path):
    """A hundred names for the same megabyte: the directory of the archive points to it again and again."""
    size = 10**6
    whole = archive(("0.npy", npy(header("|u1", (size,)), bytes(size))))
    start = int.from_bytes(whole[-6:-2], "little")
    entry, end = whole[start:-22], whole[-22:]
    entries = b"".join(entry.replace(b"0.npy", b"%c.npy" % (48 + k)) for k in range(50))
    count = (50).to_bytes(2, "little")
    end = end[:8] + count + count + len(entries).to_bytes(4, "little") + end[16:]
    path = tmp_path / "state.npz"
    path.write_bytes(whole[:start] + entries + end)
    with zipfile.ZipFile(path) as opened:
        assert len(opened.infolist()) == 50
    with pytest.raises(ValueError, match="it claims to hold more than it does"):
        load(path)


@settings(max_examples=100)
@given(st.data())
def test_any_damage_is_noticed_or_harmless(tmp_path_factory, data):
    """One byte changed, or the file cut: a ValueError, or an answer that still has names and numbers."""
    path = tmp_path_factory.mktemp("damage") / "state.npz"
    save(path, {"0.weight": numbers((2, 3)), "0.bias": TWO})
    content = bytearray(path.read_bytes())
    place = data.draw(st.integers(0, len(content) - 1))
    if data.draw(st.booleans()):
        content[place] ^= data.draw(st.integers(1, 255))
    else:
        del content[place:]
    path.write_bytes(content)
    try:
        loaded = load(path)
    except ValueError as error:
        assert str(error).startswith(f"{path}: expected a file of parameters, but ")
    else:
        assert all(isinstance(name, str) and array.dtype.kind in "biuf" for name, array in loaded.items())
        assert sum(array.nbytes for array in loaded.values()) <= len(content)


def test_a_damaged_number_is_noticed(tmp_path):
    """The archive keeps a checksum of each array."""
    path = tmp_path / "state.npz"
    save(path, {"a": TWO})
    content = path.read_bytes()
    path.write_bytes(content.replace(TWO.tobytes(), np.array([1.0, 3.0]).tobytes()))
    with pytest.raises(ValueError, match="Bad CRC-32"):
        load(path)


def test_everything_the_chapter_promises_is_there():
    for name in layers.__all__:
        assert "Layers and models" in getattr(layers, name).__doc__, name
