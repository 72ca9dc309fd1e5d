"""Who is compared. A new peer is a class like these, with one line in PEERS.

A peer has a `name`; `available()` and `version()`; `use_threads(count)`; `prepare(case, data)`, which returns
a function without arguments for each direction that it knows; `arrays(result)`, the result as NumPy arrays.
Every call prepares its weights anew and returns fresh arrays: that is what a training step needs. A peer that may
prepare them once, in advance, has a true `prepared`: it is shown, but it is not in the same race.
"""

import importlib.metadata
import importlib.util
import os

import numpy as np


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
    def prepare(case, data):
        import convlib

        options = case.stride, case.padding, 1, case.groups
        return {
            "forward": lambda: convlib.conv2d(data.input, data.weight, data.bias, *options),
            "input_grad": lambda: convlib.conv2d_input_grad(
                case.input_shape, data.weight, data.grad_output, *options),
            "weight_grad": lambda: (
                convlib.conv2d_weight_grad(data.input, case.weight_shape, data.grad_output, *options),
                convlib.conv2d_bias_grad(data.grad_output)),
        }

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
        stride, padding = [case.stride] * 2, [case.padding] * 2

        def backward(*wanted):
            # The very operation that autograd calls, without autograd's own cost.
            return torch.ops.aten.convolution_backward(
                flow, source, weight, [case.filters], stride, padding, [1, 1], False, [0, 0], case.groups,
                wanted)

        return {
            "forward": lambda: torch.nn.functional.conv2d(
                source, weight, bias, stride, padding, 1, case.groups),
            "input_grad": lambda: backward(True, False, False),
            "weight_grad": lambda: backward(False, True, True),
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

        node = helper.make_node(
            "Conv", list(feed), ["output"], kernel_shape=[case.kernel] * 2, strides=[case.stride] * 2,
            pads=[case.padding] * 4, group=case.groups)
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

        return {direction: calling(direction) for direction in ("forward", "input_grad", "weight_grad")}

    @staticmethod
    def compiled(case, data):
        import jax

        def layer(source, weight, bias):
            output = jax.lax.conv_general_dilated(
                source, weight, [case.stride] * 2, [(case.padding, case.padding)] * 2,
                dimension_numbers=("NCHW", "OIHW", "NCHW"), feature_group_count=case.groups)
            return output + bias[:, None, None]

        def input_grad(source, weight, bias, flow):
            return jax.vjp(lambda source: layer(source, weight, bias), source)[1](flow)

        def weight_grad(source, weight, bias, flow):
            return jax.vjp(lambda weight, bias: layer(source, weight, bias), weight, bias)[1](flow)

        arrays = [jax.numpy.asarray(array) for array in data]

        def ready(function, arguments):
            # Compiled, the outputs that a gradient does not need are not computed either.
            function = jax.jit(function)
            return lambda: jax.block_until_ready(function(*arguments))

        return {"forward": ready(layer, arrays[:3]), "input_grad": ready(input_grad, arrays),
                "weight_grad": ready(weight_grad, arrays)}

    @staticmethod
    def arrays(result):
        return tuple(np.asarray(array) for array in (result if isinstance(result, tuple) else (result,)))


PEERS = (PyTorch, PyTorchChannelsLast, OnnxRuntime, OnnxRuntimeFixed, Jax)
# Other ways to run the subject itself, measured beside the first peer.
VARIANTS = (ConvlibWithoutWinograd,)
