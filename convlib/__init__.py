# Exported from chapters/ by tools/export.py: edit the chapter, not this file.
"""The convolution layer of the course "The Convolution Layer", born in its chapters.

`conv2d` and its three gradients are the layer; `reference` holds the formulas as plain
loops, `shapes` checks sizes and settings, `gradcheck` checks gradients, `datasets` holds
the small data of the course, `figures` draws. The page "The library, name by name" lists
all names.
"""

from convlib import datasets, figures, gradcheck, reference, shapes
from convlib.algorithms import get_winograd, set_winograd
from convlib.functional import conv2d, conv2d_bias_grad, conv2d_input_grad, conv2d_weight_grad
from convlib.parallel import get_num_threads, set_num_threads

__all__ = [
    "datasets",
    "figures",
    "gradcheck",
    "reference",
    "shapes",
    "get_winograd",
    "set_winograd",
    "conv2d",
    "conv2d_bias_grad",
    "conv2d_input_grad",
    "conv2d_weight_grad",
    "get_num_threads",
    "set_num_threads",
]


# Chapter "The library, name by name" (chapters/api.ipynb)

__version__ = "0.1.0"
