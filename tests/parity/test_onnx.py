"""ONNX's own tests of its operator Conv, those with two axes: `make parity`."""

import warnings

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from onnx.backend.test.case.node import collect_testcases
from test_functional import means

import convlib


def cases():
    """The tests of Conv: attributes, inputs, expected output."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the tests of all operators are made first
        collected = collect_testcases("Conv")
    for case in collected:
        (node,) = [*case.model.graph.node]
        if node.op_type == "Conv":
            attributes = {each.name: onnx.helper.get_attribute_value(each) for each in node.attribute}
            for inputs, outputs in case.data_sets:
                arrays = [numpy_helper.to_array(each) if not isinstance(each, np.ndarray) else each
                          for each in (*inputs, *outputs)]  # fmt: skip
                if arrays[0].ndim == 4:
                    yield pytest.param(attributes, arrays[:-1], arrays[-1], id=case.name)


CASES = list(cases())


def settings_of(attributes, input_size, weight_size):
    """ONNX's attributes as convlib's settings."""
    stride, dilation = (tuple(attributes.get(name, (1, 1))) for name in ("strides", "dilations"))
    automatic = attributes.get("auto_pad", b"NOTSET").decode()
    if automatic == "NOTSET":
        top, left, bottom, right = attributes.get("pads", (0, 0, 0, 0))
        padding = (top, bottom), (left, right)
    elif automatic == "VALID":
        padding = "valid"
    else:  # SAME_LOWER and SAME_UPPER: as many places as cells, divided by the stride
        covered = [d * (m - 1) + 1 for d, m in zip(dilation, weight_size[2:], strict=True)]
        zeros = [
            max(0, (-(-size // s) - 1) * s + c - size)
            for size, s, c in zip(input_size[2:], stride, covered, strict=True)
        ]
        less, more = [n // 2 for n in zeros], [n - n // 2 for n in zeros]
        sides = (less, more) if automatic == "SAME_UPPER" else (more, less)
        padding = tuple(zip(*sides, strict=True))
    return {"stride": stride, "padding": padding, "dilation": dilation, "groups": attributes.get("group", 1)}


def test_the_tests_are_there():
    assert len(CASES) >= 5


@pytest.mark.parametrize("algorithm", ["product", None])
@pytest.mark.parametrize(("attributes", "inputs", "expected"), CASES)
def test_onnx_conv(attributes, inputs, expected, algorithm):
    settings = settings_of(attributes, inputs[0].shape, inputs[1].shape)
    with means(algorithm):
        output = convlib.conv2d(*inputs, **settings)
    assert output.dtype == expected.dtype
    np.testing.assert_allclose(output, expected, rtol=1e-6)
