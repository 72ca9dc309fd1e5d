"""Who is compared. A new peer is a class like these, with one line in PEERS.

A peer has a `name`; `available()` and `version()`; `use_threads(count)`; `prepare(case, data)`, which returns
a function without arguments for each direction that it knows; `arrays(result)`, the result as NumPy arrays.
Every call prepares its weights anew and returns fresh arrays: that is what a training step needs.
"""

import importlib.metadata
import importlib.util


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


PEERS = (PyTorch, PyTorchChannelsLast)
