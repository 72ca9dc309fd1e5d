# Exported from chapters/ by tools/export.py: edit the chapter, not this file.
"""Check a reader's own module: the functions of the course, by their names, and a model made of them.

Chapter "How an answer is checked" builds this module.
"""

import argparse
import inspect
import itertools
import sys
import textwrap
from collections import Counter
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np

from convlib import datasets, functional, pooling
from convlib.check.checker import Task, judged
from convlib.check.exercises import exercises
from convlib.check.problems import PROBLEMS
from convlib.check.running import where_it_stopped
from convlib.check.verdicts import NOT_ATTEMPTED, RIGHT, WRONG

__all__ = ["template", "by_chapter", "OwnLayerError", "load", "examined", "as_text", "trained", "courses_own", "main"]


# Chapter "How an answer is checked" (chapters/checking.ipynb)

_DOES = {
    "correlate2d": "Return what a kernel answers at all places of a channel, with zeros around it.",
    "conv2d": "Return the output of a convolution layer, of shape ([N,] K, P, Q).",
    "conv2d_input_grad": "Return the learning flow at the input of a layer, of the shape input_shape.",
    "conv2d_weight_grad": "Return the gradient of the weights of a layer, of the shape weight_shape.",
    "conv2d_bias_grad": "Return the gradient of the biases of a layer, of shape (K,).",
    "relu": "Return the values, with 0 in place of those below 0.",
    "relu_grad": "Return the learning flow at the values, from the one at the output of relu.",
    "max_pool2d": "Return the largest number of each window of kernel_size rows and columns.",
    "max_pool2d_grad": "Return the learning flow at the image, from the one at the output of max_pool2d.",
    "linear": "Return the output of a linear layer: inputs (N, I), weight (O, I), bias (O,).",
    "linear_weight_grad": "Return the gradient of the weight of a linear layer, of shape (O, I).",
    "linear_input_grad": "Return the learning flow at the inputs of a linear layer, of shape (N, I).",
    "softmax": "Return the probabilities that belong to scores, row by row.",
    "cross_entropy": "Return the mean loss of a batch of scores (N, C), given the right classes (N,).",
    "cross_entropy_grad": "Return the gradient of cross_entropy at the scores, of shape (N, C).",
    "sgd_step": "Return the parameter after one step of gradient descent.",
}


def template():
    """Return a module that has all functions of the course, still to be written.

    Returns
    -------
    str
        Its text.

    Notes
    -----
    Source: chapter "How an answer is checked".
    """
    parts = ['"""My own convolution layer, and what a small model needs."""\n\nimport numpy as np\n']
    for chapter, names in by_chapter().items():
        parts.append(f"\n\n# {chapter}\n")
        for name in names:
            signature = inspect.signature(PROBLEMS[name].right)
            parts.append(f'\n\ndef {name}{signature}:\n    """{_DOES[name]}"""\n    ...\n')
    return "".join(parts)


def by_chapter():
    """Return the functions of the course, chapter by chapter.

    Returns
    -------
    dict of str to list of str
        The names of the functions, by the title of the chapter.

    Notes
    -----
    Source: chapter "How an answer is checked".
    """
    chapters = {}
    for name, problem in PROBLEMS.items():
        chapters.setdefault(problem.chapter, []).append(name)
    return chapters


class OwnLayerError(Exception):
    """Why a module could not be checked; a sentence for the reader.

    Notes
    -----
    Source: chapter "How an answer is checked".
    """


def load(path):
    """Run a reader's file as a module.

    Parameters
    ----------
    path : path-like
        The file.

    Returns
    -------
    module

    Raises
    ------
    OwnLayerError
        If it cannot be read, is not Python, or stops with an error.

    Notes
    -----
    Source: chapter "How an answer is checked".
    """
    path = Path(path)
    module = ModuleType(f"own layer in {path.name}")
    module.__file__ = str(path)
    try:
        code = compile(path.read_bytes(), str(path.resolve()), "exec", dont_inherit=True)
    except OSError as error:
        raise OwnLayerError(f"{path}: cannot be read: {error.strerror}.") from error
    except (SyntaxError, ValueError) as error:  # which of them a null byte is depends on the version
        place = f", line {error.lineno}" if getattr(error, "lineno", None) else ""
        line = f"\n    {error.text.strip()}" if getattr(error, "text", None) else ""
        reason = getattr(error, "msg", error)
        raise OwnLayerError(f"{path.name}{place}: is not Python: {reason}.{line}") from error
    sys.modules[module.__name__] = module  # dataclasses look there
    sys.path.insert(0, str(path.resolve().parent))
    try:
        exec(code, module.__dict__)
    except SystemExit as error:
        raise OwnLayerError(f"{path.name}: ends the program (sys.exit) while it is read.") from error
    except Exception as error:
        raise OwnLayerError("\n".join(where_it_stopped(error))) from error
    finally:
        sys.path.pop(0)
    return module


def examined(module, chapter=None):
    """Check the functions of a module.

    Parameters
    ----------
    module : module
        The reader's.
    chapter : str, optional
        Only the functions of one chapter: its title, or the name of its file.

    Returns
    -------
    dict of str to Verdict
        By the names of the functions; one that is missing is not attempted.

    Raises
    ------
    OwnLayerError
        If no function belongs to a chapter of this name.

    Notes
    -----
    Source: chapter "How an answer is checked".
    """
    chapters = by_chapter()
    titles = {record["chapter"]: record["chapter_title"] for record in exercises().values()}
    chapter = titles.get(chapter, chapter)
    if chapter is not None and chapter not in chapters:
        expected = "; ".join(chapters)
        raise OwnLayerError(f"--chapter: no function belongs to {chapter!r}; expected one of: {expected}.")
    verdicts = {}
    for name in chapters[chapter] if chapter else itertools.chain(*chapters.values()):
        problem = PROBLEMS[name]
        task = Task(problem.right, lambda seed, cases=problem.cases: cases(np.random.default_rng(seed)), name)
        verdicts[name] = judged(name, getattr(module, name, ...), task)
    return verdicts


def as_text(verdicts):
    """Return what holds, what is wrong and why, chapter by chapter.

    Parameters
    ----------
    verdicts : dict of str to Verdict
        By the names of the functions.

    Returns
    -------
    str

    Notes
    -----
    Source: chapter "How an answer is checked".
    """
    words = {NOT_ATTEMPTED: "not yet", WRONG: "WRONG", RIGHT: "holds"}
    lines, chapter = [], None
    for name, verdict in verdicts.items():
        if PROBLEMS[name].chapter != chapter:
            chapter = PROBLEMS[name].chapter
            lines.append(chapter)
        lines.append(f"  {words[verdict.state]:8} {name}")
        said = [*verdict.said, *([f"Hint: {verdict.hint}"] if verdict.hint else [])]
        lines += [textwrap.indent(textwrap.fill(each, 77, break_on_hyphens=False), " " * 11) for each in said]
    states = Counter(verdict.state for verdict in verdicts.values())
    lines += ["", f"{states[RIGHT]} hold, {states[WRONG]} wrong, {states[NOT_ATTEMPTED]} not yet."]
    return "\n".join(lines)


_TRAINING, _REST, _EPOCHS, _BATCH, _RATE = 300, 200, 5, 10, 0.1


def _parameters(random):
    """Return the parameters that the model starts from."""
    shapes = {"first": (4, 1, 3, 3), "second": (8, 4, 3, 3), "last": (10, 32)}
    model = {}
    for name, shape in shapes.items():
        model[name] = random.normal(0, np.sqrt(2 / np.prod(shape[1:])), shape)
        model[f"{name} bias"] = np.zeros(shape[0])
    return model


def _scores(own, model, images):
    """Return the scores of some images, and all that was computed on the way."""
    kept = [images]
    for name in ("first", "second"):
        kept.append(own.conv2d(kept[-1], model[name], model[f"{name} bias"], 1))
        kept.append(own.relu(kept[-1]))
        kept.append(own.max_pool2d(kept[-1], 2))
    return own.linear(kept[-1].reshape(len(images), -1), model["last"], model["last bias"]), kept


def _gradients(own, model, images, labels):
    """Return the loss of a batch, and the gradient of each parameter."""
    scores, kept = _scores(own, model, images)
    told = {}
    flow = own.cross_entropy_grad(scores, labels)
    told["last"] = own.linear_weight_grad(kept[-1].reshape(len(images), -1), flow)
    told["last bias"] = flow.sum(0)
    flow = own.linear_input_grad(model["last"], flow).reshape(kept[-1].shape)
    for name, (before, output, active) in (("second", kept[3:6]), ("first", kept[0:3])):
        flow = own.relu_grad(output, own.max_pool2d_grad(active, 2, flow))
        told[name] = own.conv2d_weight_grad(before, model[name].shape, flow, 1)
        told[f"{name} bias"] = own.conv2d_bias_grad(flow)
        if name == "second":
            flow = own.conv2d_input_grad(before.shape, model[name], flow, 1)
    return own.cross_entropy(scores, labels), told


def trained(own, say=print):
    """Train a small model of digits with the functions of a module.

    Parameters
    ----------
    own : module
        The functions, by the course's names.
    say : callable
        Is called with a line for each pass over the digits.

    Returns
    -------
    read : int
        How many of the other digits the model reads.
    asked : int
        How many it was asked.

    Notes
    -----
    Source: chapter "How an answer is checked".
    """
    random = np.random.default_rng(0)
    digits = datasets.load_digits()
    order = random.permutation(len(digits.labels))[:_TRAINING + _REST]
    images, labels = digits.images[order].astype(float), digits.labels[order]
    images = images.reshape(-1, 1, 8, 8) / images.max()
    model = _parameters(random)
    for epoch in range(_EPOCHS):
        losses = []
        for batch in random.permutation(_TRAINING).reshape(-1, _BATCH):
            loss, told = _gradients(own, model, images[batch], labels[batch])
            model = {name: own.sgd_step(value, told[name], _RATE) for name, value in model.items()}
            losses.append(loss)
        say(f"  pass {epoch + 1} of {_EPOCHS}: loss {np.mean(losses):.3f}")
    scores, _ = _scores(own, model, images[_TRAINING:])
    return int((scores.argmax(1) == labels[_TRAINING:]).sum()), _REST


def courses_own():
    """Return the functions of the course, the fast ones where there are such.

    Returns
    -------
    SimpleNamespace

    Notes
    -----
    Source: chapter "How an answer is checked".
    """
    own = SimpleNamespace(**{name: problem.right for name, problem in PROBLEMS.items()})
    own.conv2d = lambda image, weight, bias, padding: functional.conv2d(image, weight, bias, padding=padding)
    own.conv2d_input_grad = lambda shape, weight, flow, padding: functional.conv2d_input_grad(
        shape, weight, flow, padding=padding)
    own.conv2d_weight_grad = lambda image, shape, flow, padding: functional.conv2d_weight_grad(
        image, shape, flow, padding=padding)
    own.max_pool2d = pooling.max_pool2d
    own.max_pool2d_grad = lambda image, size, flow: pooling.max_pool2d_input_grad(
        image.shape, pooling.max_pool2d(image, size, return_indices=True)[1], flow)
    return own


def main(arguments=None):
    """Check a reader's module from the command line.

    Parameters
    ----------
    arguments : list of str, optional
        Those of the command; by default what the program was called with.

    Returns
    -------
    int
        0 if all functions hold, 1 if not, 2 if the module could not be checked.

    Notes
    -----
    Source: chapter "How an answer is checked".
    """
    parser = argparse.ArgumentParser(prog="python -m convlib.check", description="Check your own layer.")
    parser.add_argument("module", nargs="?", help="the file with your functions, for instance my_layer.py")
    parser.add_argument("--chapter", help='only the functions of one chapter, for instance "The weights"')
    parser.add_argument("--template", action="store_true", help="print a file to start from")
    options = parser.parse_args(arguments)
    if options.template:
        print(template(), end="")
        return 0
    if options.module is None:
        parser.error("which file? For one to start from: --template > my_layer.py")
    try:
        module = load(options.module)
        verdicts = examined(module, options.chapter)
    except OwnLayerError as error:
        print(error, file=sys.stderr)
        return 2
    print(as_text(verdicts))
    if any(verdict.state != RIGHT for verdict in verdicts.values()):
        return 1
    return 0 if options.chapter else _shown_learning(module)


def _shown_learning(module):
    """Train the model with a reader's functions, and print how it went."""
    print(f"\nAll of them hold. So they can learn: a model of your functions sees {_TRAINING} digits, "
          f"{_EPOCHS} times.")
    try:
        read, asked = trained(module)
    except Exception as error:
        print("\n".join(where_it_stopped(error)))
        return 1
    expected, _ = trained(courses_own(), say=lambda line: None)
    print(f"It reads {read} of {asked} digits that it has not seen. With the course's own functions it is "
          f"{expected}.")
    return 0
