# Exported from chapters/ by tools/export.py: edit the chapter, not this file.
"""The convolution layer of the course "The Convolution Layer", born in its chapters.

`conv2d` and its three gradients are the layer; `reference` holds the formulas as plain
loops, `shapes` checks sizes and settings, `gradcheck` checks gradients, `layers` remember
and make models, `losses`, `optimizers` and `training` let them learn, `models` holds those
of the course and `datasets` its data, `figures` draws. The page "The library, name by
name" lists all names.
"""

from convlib import datasets, figures, gradcheck, layers, losses, models, optimizers, reference, shapes, training
from convlib.algorithms import get_winograd, set_winograd
from convlib.functional import conv2d, conv2d_bias_grad, conv2d_input_grad, conv2d_weight_grad
from convlib.layers import Conv2d, Dropout, Flatten, Linear, MaxPool2d, ReLU, Sequential
from convlib.parallel import get_num_threads, set_num_threads
from convlib.pooling import max_pool2d, max_pool2d_input_grad

__all__ = ["datasets", "figures", "gradcheck", "layers", "losses", "models", "optimizers", "reference", "shapes",
    "training", "get_winograd", "set_winograd", "conv2d", "conv2d_bias_grad", "conv2d_input_grad", "conv2d_weight_grad",
    "Conv2d", "Dropout", "Flatten", "Linear", "MaxPool2d", "ReLU", "Sequential", "get_num_threads", "set_num_threads",
    "max_pool2d", "max_pool2d_input_grad"]


# Chapter "The library, name by name" (chapters/api.ipynb)

__version__ = "0.1.0"
