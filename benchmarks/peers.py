"""Who is compared. A new peer is a class like these, with one line in PEERS.

A peer has a `name`; `available()` and `version()`; `use_threads(count)`; `prepare(case, data)`, which returns
a function without arguments for each direction that it knows, and for "backward", all gradients at once;
`arrays(result)`, the result as NumPy arrays.
Every call prepares its weights anew and returns fresh arrays: that is what a training step needs. A peer that may
prepare them once, in advance, has a true `prepared`: it is shown, but it is not in the same race. A peer that cannot be
told which vectors to use has a true `own_vectors`.
"""

import ctypes
import importlib.metadata
import importlib.util
import math
import os
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view


def with_backward(functions):
    """Return the functions of the directions, and one for both gradients, where one call makes each of them."""
    def backward():
        return functions["input_grad"](), *functions["weight_grad"]()

    return {**functions, "backward": backward}


class Convlib:
    """This library, through its public functions."""

    name = "convlib"

    @staticmethod
    def available():
        return True

    @staticmethod
    def version():
        import convlib

        return convlib.__version__

    @staticmethod
    def use_threads(count):
        import convlib

        convlib.set_num_threads(count)

    @staticmethod
    def prepare(case, data, **named):
        """Return the functions; an algorithm may be named (algorithm=...), else convlib chooses."""
        import convlib

        options = case.stride, case.padding, case.dilation, case.groups
        return with_backward({
            "forward": lambda: convlib.conv2d(data.input, data.weight, data.bias, *options, **named),
            "input_grad": lambda: convlib.conv2d_input_grad(
                case.input_shape, data.weight, data.grad_output, *options, **named),
            "weight_grad": lambda: (
                convlib.conv2d_weight_grad(data.input, case.weight_shape, data.grad_output, *options, **named),
                convlib.conv2d_bias_grad(data.grad_output)),
        })

    @staticmethod
    def arrays(result):
        return result if isinstance(result, tuple) else (result,)


class ConvlibWithoutWinograd(Convlib):
    """The same with Winograd's algorithm switched off: the plain sums, only in another order."""

    name = "convlib without Winograd"

    @staticmethod
    def available():
        import convlib

        return hasattr(convlib, "set_winograd")

    @classmethod
    def prepare(cls, case, data):
        return {direction: cls.switched_off(function) for direction, function in super().prepare(case, data).items()}

    @staticmethod
    def switched_off(function):
        import convlib

        def call():
            convlib.set_winograd(False)
            try:
                return function()
            finally:
                convlib.set_winograd(True)

        return call


class PyTorch:
    """PyTorch on the same memory: its tensors are views of the same arrays."""

    name = "PyTorch"

    @staticmethod
    def available():
        return importlib.util.find_spec("torch") is not None

    @staticmethod
    def version():
        return importlib.metadata.version("torch")

    @staticmethod
    def use_threads(count):
        import torch

        torch.set_num_threads(count)

    @classmethod
    def prepare(cls, case, data):
        import torch

        source, weight, bias, flow = cls.tensors(data)
        stride, padding, dilation = map(list, case.pairs[1:])

        def backward(*wanted):
            # The very operation that autograd calls, without autograd's own cost.
            return torch.ops.aten.convolution_backward(
                flow, source, weight, [case.filters], stride, padding, dilation, False, [0, 0], case.groups,
                wanted)

        return {
            "forward": lambda: torch.nn.functional.conv2d(
                source, weight, bias, stride, padding, dilation, case.groups),
            "input_grad": lambda: backward(True, False, False),
            "weight_grad": lambda: backward(False, True, True),
            "backward": lambda: backward(True, True, True),
        }

    @staticmethod
    def tensors(data):
        import torch

        return [torch.from_numpy(array) for array in data]

    @staticmethod
    def arrays(result):
        tensors = result if isinstance(result, tuple) else (result,)
        return tuple(tensor.numpy() for tensor in tensors if tensor is not None)


class PyTorchChannelsLast(PyTorch):
    """PyTorch with the channels of a pixel side by side in memory; inputs and weights come that way."""

    name = "PyTorch channels_last"

    @classmethod
    def tensors(cls, data):
        import torch

        return [tensor.contiguous(memory_format=torch.channels_last) if tensor.ndim == 4 else tensor
                for tensor in super().tensors(data)]


class OnnxRuntime:
    """ONNX Runtime on a model of one Conv node. It knows no gradients.

    Prepared in advance: the session, that is the plan of the computation. Weights and biases are inputs of the
    model, so that nothing is known about them before the call.
    """

    name = "ONNX Runtime"
    fixed = ()  # inputs that are a part of the model instead
    own_vectors = True  # it takes those of the processor, whatever it is told
    threads = 1

    @staticmethod
    def available():
        return all(importlib.util.find_spec(name) is not None for name in ("onnx", "onnxruntime"))

    @staticmethod
    def version():
        return importlib.metadata.version("onnxruntime")

    @classmethod
    def use_threads(cls, count):
        cls.threads = count

    @classmethod
    def prepare(cls, case, data):
        feed = {"input": data.input, "weight": data.weight, "bias": data.bias}
        model = cls.model(case, feed)
        given = {name: array for name, array in feed.items() if name not in cls.fixed}
        sessions = {}  # a session keeps its number of threads for life

        def forward():
            if cls.threads not in sessions:
                sessions[cls.threads] = cls.session(model, cls.threads)
            return sessions[cls.threads].run(None, given)

        return {"forward": forward}

    @classmethod
    def model(cls, case, feed):
        from onnx import TensorProto, helper, numpy_helper

        def described(name, shape):
            return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)

        kernel, strides, padding, dilations = case.pairs
        node = helper.make_node(
            "Conv", list(feed), ["output"], kernel_shape=kernel, strides=strides, pads=padding * 2,
            dilations=dilations, group=case.groups)
        graph = helper.make_graph(
            [node], "layer",
            [described(name, array.shape) for name, array in feed.items() if name not in cls.fixed],
            [described("output", case.output_shape)],
            [numpy_helper.from_array(feed[name], name) for name in cls.fixed])
        # Versions that every ONNX Runtime of the last years reads.
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        return model.SerializeToString()

    @staticmethod
    def session(model, threads):
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        # Its threads must not keep a core busy while the other one is measured.
        options.add_session_config_entry("session.force_spinning_stop", "1")
        return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])

    @staticmethod
    def arrays(result):
        return tuple(result)


class OnnxRuntimeFixed(OnnxRuntime):
    """The same with weights that never change: a part of the model, so they may be prepared once, in advance."""

    name = "ONNX Runtime (weights fixed)"
    fixed = ("weight", "bias")
    prepared = True


class Jax:
    """JAX, compiled for each case. Prepared in advance: the compiled functions, and its own copies of the arrays.

    It reads its number of threads from the environment (NPROC), and only when it starts. So another number means
    to start it anew, and to compile everything anew; neither is timed.
    """

    name = "JAX"
    started = 0

    @staticmethod
    def available():
        return importlib.util.find_spec("jax") is not None

    @staticmethod
    def version():
        return importlib.metadata.version("jax")

    @classmethod
    def use_threads(cls, count):
        if os.environ.get("NPROC") != str(count):
            os.environ["NPROC"] = str(count)
            from jax.extend import backend

            backend.clear_backends()
            cls.started += 1

    @classmethod
    def prepare(cls, case, data):
        kept = {}

        def calling(direction):
            def call():
                if kept.get("started") != cls.started:
                    kept.update(cls.compiled(case, data), started=cls.started)
                return kept[direction]()

            return call

        return {direction: calling(direction) for direction in ("forward", "input_grad", "weight_grad", "backward")}

    @staticmethod
    def compiled(case, data):
        import jax

        _, strides, padding, dilations = case.pairs

        def layer(source, weight, bias):
            output = jax.lax.conv_general_dilated(
                source, weight, strides, [(each, each) for each in padding], rhs_dilation=dilations,
                dimension_numbers=("NCHW", "OIHW", "NCHW"), feature_group_count=case.groups)
            return output + bias[:, None, None]

        def input_grad(source, weight, bias, flow):
            return jax.vjp(lambda source: layer(source, weight, bias), source)[1](flow)

        def weight_grad(source, weight, bias, flow):
            return jax.vjp(lambda weight, bias: layer(source, weight, bias), weight, bias)[1](flow)

        def backward(source, weight, bias, flow):
            return jax.vjp(layer, source, weight, bias)[1](flow)

        arrays = [jax.numpy.asarray(array) for array in data]

        def ready(function, arguments):
            # Compiled, the outputs that a gradient does not need are not computed either.
            function = jax.jit(function)
            return lambda: jax.block_until_ready(function(*arguments))

        return {"forward": ready(layer, arrays[:3]), "input_grad": ready(input_grad, arrays),
                "weight_grad": ready(weight_grad, arrays), "backward": ready(backward, arrays)}

    @staticmethod
    def arrays(result):
        return tuple(np.asarray(array) for array in (result if isinstance(result, tuple) else (result,)))


def turned(case, matrices):
    """Where each image has one column, all of them make one matrix; turned twice, they are as they were."""
    return matrices.swapaxes(0, 3) if math.prod(case.output_shape[2:]) == 1 else matrices


class NumPy:
    """Plain NumPy: all windows as the columns of one matrix for each image and group, and one product of matrices."""

    name = "NumPy"

    @staticmethod
    def available():
        """Tell whether NumPy multiplies by the library that its wheels bring, which can be told its threads."""
        return openblas_threads() is not None

    @staticmethod
    def version():
        return np.__version__

    @staticmethod
    def use_threads(count):
        openblas_threads()(count)

    @classmethod
    def prepare(cls, case, data):
        weight = data.weight.reshape(case.groups, case.filters // case.groups, -1)
        flow = data.grad_output.reshape(case.images, *weight.shape[:2], -1)
        return with_backward({
            "forward": lambda: cls.forward(case, data, weight),
            "input_grad": lambda: cls.input_grad(case, weight, flow),
            "weight_grad": lambda: cls.weight_grad(case, data, flow),
        })

    @classmethod
    def forward(cls, case, data, weight):
        output = turned(case, weight @ turned(case, cls.columns(case, data.input))).reshape(case.output_shape)
        output += data.bias[:, np.newaxis, np.newaxis]
        return output

    @classmethod
    def input_grad(cls, case, weight, flow):
        """Each column goes back to where it came from; where windows overlap, they add up."""
        columns = turned(case, weight.swapaxes(1, 2) @ turned(case, flow))
        kernel, strides, ring, _ = case.pairs
        if (*kernel, *strides, *ring) == (1, 1, 1, 1, 0, 0):
            return columns.reshape(case.input_shape)
        padded = np.zeros((*case.input_shape[:2], case.height + 2 * ring[0], case.width + 2 * ring[1]), np.float32)
        windows = cls.windows(case, padded)
        columns = columns.reshape(windows.shape)
        for u, v in np.ndindex(kernel):
            windows[:, :, u, v] += columns[:, :, u, v]
        return padded[:, :, ring[0]:ring[0] + case.height, ring[1]:ring[1] + case.width]

    @classmethod
    def weight_grad(cls, case, data, flow):
        columns = turned(case, cls.columns(case, data.input))
        grad = (turned(case, flow) @ columns.swapaxes(2, 3)).sum(axis=0)
        return grad.reshape(case.weight_shape), data.grad_output.sum(axis=(0, 2, 3))

    @classmethod
    def columns(cls, case, images):
        """Return for each image and group a matrix: a column is what one place of the output sees."""
        top, left = case.pairs[2]
        padded = np.pad(images, ((0, 0), (0, 0), (top, top), (left, left))) if top or left else images
        return cls.windows(case, padded).reshape(case.images, case.groups, math.prod(case.weight_shape[1:]), -1)

    @staticmethod
    def windows(case, padded):
        """Return a view of images with their ring: first the places in the kernel, then those of the output."""
        kernel, (down, across), _, (rows, columns) = case.pairs
        reach = [step * (size - 1) + 1 for step, size in zip((rows, columns), kernel, strict=True)]
        windows = sliding_window_view(padded, reach, (2, 3), writeable=True)
        return windows[:, :, ::down, ::across, ::rows, ::columns].transpose(0, 1, 4, 5, 2, 3)

    arrays = Convlib.arrays


@lru_cache
def openblas_threads():
    """Return the function that sets the number of threads of NumPy's own OpenBLAS; None if there is none."""
    near = Path(np.__file__).parent
    for folder in (near.parent / "numpy.libs", near / ".dylibs"):
        for path in folder.glob("*openblas*"):
            library = ctypes.CDLL(str(path))
            for name in ("scipy_openblas_set_num_threads64_", "openblas_set_num_threads64_"):
                if hasattr(library, name):
                    return getattr(library, name)
    return None


PEERS = (PyTorch, PyTorchChannelsLast, OnnxRuntime, OnnxRuntimeFixed, Jax, NumPy)
# Other ways to run the subject itself, measured beside the first peer.
VARIANTS = (ConvlibWithoutWinograd,)
