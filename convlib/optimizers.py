# Exported from chapters/ by tools/export.py: edit the chapter, not this file.
"""Optimizers: how the parameters move when their derivatives are known.

An optimizer is made from the parameters of a model. After `backward` has filled their
gradients, `step` moves them all at once.
"""

import math

import numpy as np

__all__ = ["Optimizer", "SGD", "Adam"]


# Chapter "Learning the kernels that were given by hand" (chapters/learning_kernels.ipynb)

_RANGES = {
    "above 0": lambda number: 0 < number < math.inf,
    "0 or more": lambda number: 0 <= number < math.inf,
    "0 or more and below 1": lambda number: 0 <= number < 1,
}


def _number(name, value, expected):
    """A setting as a float, if it is a real number in its range."""
    number = np.asarray(value)
    if isinstance(value, bool) or number.shape != () or number.dtype.kind not in "iuf":
        raise TypeError(f"{name}: expected a number, got {value!r}")
    if not _RANGES[expected](number):
        raise ValueError(f"{name}: expected a number {expected}, got {value!r}")
    return float(number)


def _as_parameters(parameters):
    """The parameters as a list of different ones, of which there is at least one."""
    try:
        listed = list(parameters)
    except TypeError:
        raise TypeError(f"parameters: expected a list, got {parameters!r}") from None
    for parameter in listed:
        if not (hasattr(parameter, "data") and hasattr(parameter, "grad")):
            kind = type(parameter).__name__
            raise TypeError(f"parameters: expected objects with data and grad, got {kind}")
    if not listed or len({id(parameter) for parameter in listed}) != len(listed):
        raise ValueError(
            f"parameters: expected at least one, each once, got {len(listed)}")
    return listed


class Optimizer:
    """What all optimizers share: parameters, settings, and a memory for each parameter.

    Each kind of optimizer sets `settings` (name: range) and `memories` (names of arrays).
    Source: chapter "Learning the kernels that were given by hand".
    """

    settings, memories = {}, ()

    def __init__(self, parameters, **settings):
        self.parameters = _as_parameters(parameters)
        for name, expected in self.settings.items():
            setattr(self, name, _number(name, settings[name], expected))
        self.memory = {name: [np.zeros_like(parameter.data) for parameter in self.parameters]
                       for name in self.memories}

    def zero_grad(self):
        """Forget the gradients of all parameters."""
        for parameter in self.parameters:
            parameter.grad = None

    def gradients(self):
        """Return all gradients, if there is one of the right shape for each parameter."""
        for k, parameter in enumerate(self.parameters):
            if parameter.grad is None:
                raise RuntimeError(f"parameter {k} has no gradient: call backward first")
            if np.asarray(parameter.grad).dtype.kind not in "iuf":
                raise TypeError(f"the gradient of parameter {k}: expected real numbers")
            if np.shape(parameter.grad) != parameter.data.shape:
                raise ValueError(f"the gradient of parameter {k}: expected shape "
                                 f"{parameter.data.shape}, got {np.shape(parameter.grad)}")
        return [parameter.grad for parameter in self.parameters]

    def state_dict(self):
        """Return a copy of the settings and the memory, by name."""
        arrays = {f"{k}.{name}": array.copy() for name, arrays in self.memory.items()
                  for k, array in enumerate(arrays)}
        return {name: getattr(self, name) for name in self.settings} | arrays

    def load_state_dict(self, state):
        """Take over a state; a ValueError or TypeError leaves everything as it was."""
        numbers, arrays = _checked_state(self, state)
        vars(self).update(numbers)
        for (name, k), array in arrays.items():
            self.memory[name][k][...] = array


def _checked_state(optimizer, state):
    """The numbers and the arrays of a state that fits an optimizer."""
    expected, places = optimizer.state_dict(), {}
    for name, arrays in optimizer.memory.items():
        places |= {f"{k}.{name}": (name, k) for k in range(len(arrays))}
    if set(state) != set(expected):
        missing, unknown = sorted(set(expected) - set(state)), sorted(set(state) - set(expected))
        raise ValueError(f"state: missing {missing}, unknown {unknown}")
    numbers = {name: _number(name, state[name], settings)
               for name, settings in optimizer.settings.items()}
    arrays = {place: np.asarray(state[key]) for key, place in places.items()}
    for key, (name, k) in places.items():
        wanted, given = optimizer.memory[name][k], arrays[name, k]
        if given.shape != wanted.shape or given.dtype.kind not in "iuf":
            raise ValueError(f"state[{key!r}]: expected numbers of shape {wanted.shape}, "
                             f"got shape {given.shape} of dtype {given.dtype}")
    return numbers, arrays


class SGD(Optimizer):
    """Gradient descent with momentum and weight decay.

    Parameters
    ----------
    parameters : iterable of Parameter
        What is moved, in place.
    lr : float
        The learning rate, above 0.
    momentum : float
        How much of the last move is kept, at least 0 and below 1.
    weight_decay : float
        How strongly each parameter is drawn to 0, at least 0.

    Raises
    ------
    ValueError
        If a number is out of its range, or there are no parameters or one twice.
    TypeError
        If a number is none, or the parameters are no list of parameters.

    Notes
    -----
    Source: chapter "Learning the kernels that were given by hand", formula eq-sgd.
    """

    settings = {"lr": "above 0", "momentum": "0 or more and below 1",
                "weight_decay": "0 or more"}
    memories = ("momentum_buffer",)

    def __init__(self, parameters, lr, momentum=0.0, weight_decay=0.0):
        super().__init__(parameters, lr=lr, momentum=momentum, weight_decay=weight_decay)

    def step(self):
        """Move all parameters: RuntimeError or ValueError if a gradient is missing."""
        moves = zip(self.parameters, self.gradients(), self.memory["momentum_buffer"], strict=True)
        for parameter, grad, velocity in moves:
            velocity *= self.momentum
            velocity += grad + self.weight_decay * parameter.data
            parameter.data[...] -= self.lr * velocity


# Chapter "A first deep model on real digits" (chapters/digits.ipynb)

class Adam(Optimizer):
    """Steps of about the same size for every parameter, however steep it is there.

    Parameters
    ----------
    parameters : iterable of Parameter
        What is moved, in place.
    lr : float
        The learning rate, above 0: about the size of a step.
    betas : (float, float)
        How much of both means is kept; at least 0 and below 1.
    eps, weight_decay : float
        What is added to the divisor; how strongly each parameter is drawn to 0.

    Raises
    ------
    ValueError, TypeError
        If a number is out of its range, or the parameters are no list of different ones.

    Notes
    -----
    Source: chapter "A first deep model on real digits", formula eq-adam.
    """

    settings = {"lr": "above 0", "eps": "above 0", "weight_decay": "0 or more",
                "beta1": "0 or more and below 1", "beta2": "0 or more and below 1", "steps": "0 or more"}
    memories = ("exp_avg", "exp_avg_sq")

    def __init__(self, parameters, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0):
        if np.shape(betas) != (2,):
            raise ValueError(f"betas: expected two numbers, got {betas!r}")
        super().__init__(parameters, lr=lr, beta1=betas[0], beta2=betas[1], eps=eps,
                         weight_decay=weight_decay, steps=0)

    def step(self):
        """Move all parameters: RuntimeError or ValueError if a gradient is missing."""
        moves = zip(self.parameters, self.gradients(), *self.memory.values(), strict=True)
        self.steps += 1
        for parameter, grad, mean, square in moves:
            _adam_step(self, parameter.data, grad, mean, square)


def _adam_step(adam, data, grad, mean, square):
    """Move the data of one parameter, and what is remembered of its gradients."""
    if adam.weight_decay:
        grad = grad + adam.weight_decay * data
    mean += (1 - adam.beta1) * (grad - mean)
    square *= adam.beta2
    square += (1 - adam.beta2) * grad * grad
    divisor = np.sqrt(square / (1 - adam.beta2**adam.steps))
    divisor += adam.eps
    data -= adam.lr / (1 - adam.beta1**adam.steps) * (mean / divisor)
