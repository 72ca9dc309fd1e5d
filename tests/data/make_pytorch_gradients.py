"""Make pytorch_gradients.npz: convolution layers and their three gradients, as PyTorch computes them.

The tests read the file and need no PyTorch. To make it again, in an environment of its own:

    python3 -m venv /tmp/torchenv
    /tmp/torchenv/bin/pip install numpy torch==2.13.0 --extra-index-url https://download.pytorch.org/whl/cpu
    /tmp/torchenv/bin/python tests/data/make_pytorch_gradients.py

For each case and data type the file holds input, weight, bias, grad_output (drawn at random, with a fixed seed) and
output, grad_input, grad_weight, grad_bias (from PyTorch), under names such as "float32 batch grad_weight".
"""

from pathlib import Path

import numpy as np
import torch

CASES = {  # N, C, H, W, K, kh, kw, padding
    "article": (1, 3, 7, 7, 2, 3, 3, 1),
    "batch": (3, 2, 5, 8, 4, 3, 2, 1),
    "even kernel": (2, 3, 6, 4, 2, 2, 4, 2),
    "no padding": (1, 4, 9, 5, 3, 5, 3, 0),
    "more padding than kernel": (2, 1, 3, 4, 2, 2, 1, 3),
    "one by one": (2, 5, 3, 2, 4, 1, 1, 0),
}


def layer_and_gradients(shape, dtype, random):
    """One case: four random arrays, and what PyTorch makes of them."""
    n, c, h, w, k, kh, kw, padding = shape
    sizes = (n, c, h, w), (k, c, kh, kw), (k,), (n, k, h + 2 * padding - kh + 1, w + 2 * padding - kw + 1)
    input, weight, bias, grad_output = (torch.tensor(random.standard_normal(size), dtype=dtype) for size in sizes)
    parameters = input.requires_grad_(), weight.requires_grad_(), bias.requires_grad_()
    output = torch.nn.functional.conv2d(*parameters, padding=padding)
    output.backward(grad_output)
    return {
        "input": input, "weight": weight, "bias": bias, "grad_output": grad_output, "output": output,
        "grad_input": input.grad, "grad_weight": weight.grad, "grad_bias": bias.grad,
    }  # fmt: skip


def main():
    torch.set_num_threads(1)
    random = np.random.default_rng(2026)
    arrays = {"torch": np.array(torch.__version__.split("+")[0])}
    for case, shape in CASES.items():
        arrays[f"{case} padding"] = np.array(shape[-1])
        for dtype in (torch.float32, torch.float64):
            for name, tensor in layer_and_gradients(shape, dtype, random).items():
                arrays[f"{str(dtype).removeprefix('torch.')} {case} {name}"] = tensor.detach().numpy()
    np.savez_compressed(Path(__file__).parent / "pytorch_gradients.npz", **arrays)


if __name__ == "__main__":
    main()
