# Exported from chapters/ by tools/export.py: edit the chapter, not this file.
"""Training: examples go through a model again and again, and its parameters move.

`Trainer` does it, epoch after epoch, and can be stopped, saved, loaded and resumed: the
bits come out the same as without a stop.
"""

import json
import operator
from dataclasses import dataclass, field, fields

import numpy as np

from convlib.layers import _all_inside, load, save

__all__ = ["History", "accuracy", "predict", "Trainer", "fit", "jiggle", "cosine", "save_checkpoint", "load_checkpoint"]


# Chapter "A first deep model on real digits" (chapters/digits.ipynb)

@dataclass
class History:
    """What happened in each epoch; nan where nothing was measured.

    Attributes `losses` and `accuracies` are those of the training examples, measured while
    the model was still moving; `validation_losses` and `validation_accuracies` were
    measured after each epoch. Source: chapter "A first deep model on real digits".
    """

    losses: list = field(default_factory=list)
    accuracies: list = field(default_factory=list)
    validation_losses: list = field(default_factory=list)
    validation_accuracies: list = field(default_factory=list)

    def append(self, *numbers):
        """Add the four numbers of an epoch."""
        for each, number in zip(fields(self), numbers, strict=True):
            getattr(self, each.name).append(float(number))

    def plot(self):
        """Draw losses and accuracies, epoch by epoch; return the figure of matplotlib."""
        import matplotlib.pyplot as plt

        figure, axes = plt.subplots(1, 2, figsize=(8, 2.8), layout="constrained")
        for axis, name in zip(axes, ("losses", "accuracies"), strict=True):
            for kind, prefix in (("training", ""), ("validation", "validation_")):
                numbers = getattr(self, prefix + name)
                axis.plot(range(1, len(numbers) + 1), numbers, label=kind)
            axis.set(xlabel="epoch", title=name)
            axis.legend()
        return figure


def accuracy(scores, labels):
    """Return the share of rows whose largest score is that of the right class.

    Parameters
    ----------
    scores : array of shape (N, C)
        One score for each class.
    labels : array of int, shape (N,)
        The right classes.

    Returns
    -------
    float
        nan if the arrays are not of this kind: then there is nothing to count.

    Notes
    -----
    Source: chapter "A first deep model on real digits".
    """
    scores, labels = np.asarray(scores), np.asarray(labels)
    if scores.ndim != 2 or labels.shape != scores.shape[:1] or labels.dtype.kind not in "iu":
        return float("nan")
    return float(np.mean(scores.argmax(axis=1) == labels))


def predict(model, images, batch_size=256):
    """Return what a model says about images, with nothing left to chance.

    Parameters
    ----------
    model : Layer
        It is put into the state for use (`eval`) meanwhile.
    images : array of shape (N, ...)
        The model's inputs, at least one.
    batch_size : int
        How many of them are in memory at once.

    Returns
    -------
    array of shape (N, ...)

    Raises
    ------
    ValueError, TypeError
        If the images are not floating numbers or there are none, or `batch_size` is not a
        whole number above 0.

    Notes
    -----
    Source: chapter "A first deep model on real digits".
    """
    images, batch_size = _as_images(images), _as_count("batch_size", batch_size)
    was_training = model.training
    model.eval()
    try:
        return np.concatenate([model(images[k:k + batch_size])
                               for k in range(0, len(images), batch_size)])
    finally:
        if was_training:
            model.train()


def _as_images(images):
    """The images as an array of floating numbers that are all finite."""
    images = np.asarray(images)
    if images.dtype.kind != "f":
        raise TypeError(f"images: expected floating numbers, got dtype {images.dtype}")
    if images.ndim < 2 or images.size == 0:
        raise ValueError(f"images: expected at least one, in shape (N, ...), got {images.shape}")
    if not np.isfinite(images).all():
        raise ValueError("images: expected finite numbers, got nan or infinity")
    return images


def _as_examples(images, targets):
    """Images and targets, one target for each image."""
    images, targets = _as_images(images), np.asarray(targets)
    if targets.shape[:1] != images.shape[:1]:
        raise ValueError(f"targets: expected {len(images)}, one for each image, got shape "
                         f"{targets.shape}")
    if targets.dtype.kind == "f" and not np.isfinite(targets).all():
        raise ValueError("targets: expected finite numbers, got nan or infinity")
    return images, targets


def _as_count(name, value):
    """The value as a whole number above 0."""
    try:
        count = operator.index(value)
    except TypeError:
        raise TypeError(f"{name}: expected a whole number, got {value!r}") from None
    if count < 1:
        raise ValueError(f"{name}: expected a whole number above 0, got {count}")
    return count


class Trainer:
    """A model, a loss and an optimizer that belong together, and what they have been through.

    Parameters
    ----------
    model : Layer
        It is trained in place.
    loss, optimizer
        From `convlib.losses` and `convlib.optimizers`.
    batch_size : int
        How many images share a step.
    rng : None, int or numpy.random.Generator
        Where the order of the images, and what `augment` does, comes from.
    augment : callable, optional
        Takes images and a generator, returns other images of that shape.
    schedule : callable, optional
        Takes the number of an epoch, from 0; returns the learning rate for it.

    Raises
    ------
    ValueError, TypeError
        If `batch_size` is not a whole number above 0, or a callable is none.

    Notes
    -----
    Source: chapter "A first deep model on real digits".
    """

    def __init__(self, model, loss, optimizer, *, batch_size=32, rng=None,
                 augment=None, schedule=None):
        for name, given in (("augment", augment), ("schedule", schedule)):
            if given is not None and not callable(given):
                raise TypeError(f"{name}: expected a function or None, got {given!r}")
        self.model, self.loss, self.optimizer = model, loss, optimizer
        self.batch_size = _as_count("batch_size", batch_size)
        self.rng, self.augment, self.schedule = np.random.default_rng(rng), augment, schedule
        self.history = History()

    def fit(self, images, targets, *, epochs, validation=None, progress=True):
        """Train until `epochs` epochs have passed in all, and return the history; see `fit`."""
        held = None if validation is None else _as_examples(*validation)
        return _fit(self, _as_examples(images, targets), _as_count("epochs", epochs), held, progress)


def _fit(trainer, examples, epochs, validation, progress):
    """Train epoch after epoch; the history grows when an epoch has ended."""
    history, unknown = trainer.history, float("nan")
    for epoch in _with_bar(range(len(history.losses), epochs), progress):
        if trainer.schedule:
            trainer.optimizer.lr = _as_rate(trainer.schedule(epoch))
        trainer.model.train()
        seen = _epoch(trainer, *examples)
        checked = _evaluated(trainer, *validation) if validation else (unknown, unknown)
        history.append(*seen, *checked)
    return history


def _epoch(trainer, images, targets):
    """Show each image once, in random order; return the mean loss and accuracy on the way."""
    order, total, right = trainer.rng.permutation(len(images)), 0.0, 0.0
    for start in range(0, len(order), trainer.batch_size):
        chosen = order[start:start + trainer.batch_size]
        batch = images[chosen]
        if trainer.augment:
            batch = trainer.augment(batch, trainer.rng)
        loss, output = _step(trainer, batch, targets[chosen])
        total += loss * len(chosen)
        right += accuracy(output, targets[chosen]) * len(chosen)
    return total / len(order), right / len(order)


def _step(trainer, images, targets):
    """Forward, loss, backward, and a move of all parameters; return the loss and the output."""
    output = trainer.model(images)
    loss = trainer.loss(output, targets)
    if not np.isfinite(loss):
        raise FloatingPointError(f"the loss is {loss} in epoch {len(trainer.history.losses)}: "
                                 "try a smaller learning rate")
    trainer.optimizer.zero_grad()
    trainer.model.backward(trainer.loss.backward(), input_grad=False)
    trainer.optimizer.step()
    return loss, output


def _evaluated(trainer, images, targets):
    """Loss and accuracy of the model as it is."""
    output = predict(trainer.model, images)
    return trainer.loss(output, targets), accuracy(output, targets)


def _as_rate(value):
    """What a schedule returned, if it can be a learning rate."""
    if not 0 <= value < np.inf:
        raise ValueError(f"schedule: expected to return a number from 0 on, got {value!r}")
    return float(value)


def _with_bar(epochs, progress):
    """The epochs, with a progress bar if it is wanted and tqdm is there."""
    if not progress:
        return epochs
    try:
        from tqdm import tqdm
    except ImportError:
        return epochs
    return tqdm(epochs, unit="epoch")


def fit(model, loss, optimizer, images, targets, *, epochs, validation=None,
        progress=True, **settings):
    """Train a model, and return what happened in each epoch.

    Parameters
    ----------
    model, loss, optimizer
        As for `Trainer`; so are the `settings` batch_size, rng, augment and schedule.
    images : array of floating numbers, shape (N, ...)
        The examples.
    targets : array of shape (N, ...)
        What the loss compares with: one class for each image, or arrays.
    epochs : int
        How often each example is seen.
    validation : (images, targets), optional
        Examples that are only looked at, after each epoch.
    progress : bool
        Whether a progress bar is shown, if tqdm is installed.

    Returns
    -------
    History

    Raises
    ------
    ValueError, TypeError
        If an argument is not as said above; nothing has been trained then.
    FloatingPointError
        If the loss is no longer finite.

    Notes
    -----
    Source: chapter "A first deep model on real digits".
    """
    trainer = Trainer(model, loss, optimizer, **settings)
    return trainer.fit(images, targets, epochs=epochs, validation=validation, progress=progress)


def jiggle(images, rng, *, turn=15.0, shift=0.5, stretch=0.15):
    """Return each image a little turned, moved and stretched, as if written once more.

    Parameters
    ----------
    images : array of floating numbers, shape (N, C, H, W)
        The images.
    rng : numpy.random.Generator
        Where chance comes from.
    turn : float
        Up to so many degrees, to the left or to the right.
    shift : float
        Up to so many pixels, along each axis.
    stretch : float
        Up to this share larger or smaller.

    Returns
    -------
    array of the shape and data type of `images`

    Raises
    ------
    ValueError
        If the images do not have four axes.

    Notes
    -----
    Source: chapter "A first deep model on real digits", formula eq-between.
    """
    if np.ndim(images) != 4:
        raise ValueError(f"images: expected shape (N, C, H, W), got {np.shape(images)}")
    size = (len(images), 1, 1)
    angle = np.deg2rad(rng.uniform(-turn, turn, size))
    scale = 1 + rng.uniform(-stretch, stretch, size)
    down, right = rng.uniform(-shift, shift, (2, *size))
    a, b = np.cos(angle) / scale, np.sin(angle) / scale
    middle, center = ((length - 1) / 2 for length in images.shape[2:])
    p, q = np.indices(images.shape[2:])
    p, q = p - middle, q - center
    rows, columns = a * p - b * q + middle + down, b * p + a * q + center + right
    return _read_between(images, rows, columns)


def _read_between(images, rows, columns):
    """The images' numbers at places between their pixels; outside there are zeros."""
    padded = np.pad(images, ((0, 0), (0, 0), (1, 1), (1, 1)))
    (i, f), (j, g) = (_cell_and_rest(at, length) for at, length
                      in zip((rows, columns), images.shape[2:], strict=True))
    n = np.arange(len(images))[:, np.newaxis, np.newaxis]
    total = 0
    for row, down in ((i, 1 - f), (i + 1, f)):
        for column, right in ((j, 1 - g), (j + 1, g)):
            total = total + (down * right)[..., np.newaxis] * padded[n, :, row, column]
    return np.moveaxis(total, -1, 1).astype(images.dtype)


def _cell_and_rest(places, length):
    """Along one axis of a padded image: the cell before each place, and how far behind it."""
    places = (places + 1).clip(0, length + 1)
    cells = np.minimum(places.astype(np.int64), length)
    return cells, places - cells


def cosine(lr, epochs):
    """Return a schedule: the learning rate falls from `lr` towards 0 like half a cosine wave.

    Source: chapter "A first deep model on real digits", formula eq-cosine.
    """
    return lambda epoch: lr * 0.5 * (1 + np.cos(np.pi * epoch / epochs))


def save_checkpoint(path, trainer):
    """Write down a training as it stands: model, optimizer, history and all generators.

    Parameters
    ----------
    path : str or path
        The file, in NumPy's format .npz.
    trainer : Trainer
        What `load_checkpoint` gives back to a trainer that was made in the same way.

    Notes
    -----
    Source: chapter "A first deep model on real digits".
    """
    state = {f"model.{name}": array for name, array in trainer.model.state_dict().items()}
    state |= {f"optimizer.{name}": np.asarray(value)
              for name, value in trainer.optimizer.state_dict().items()}
    state |= {f"history.{each.name}": np.array(getattr(trainer.history, each.name), dtype=np.float64)
              for each in fields(History)}
    for k, generator in enumerate(_generators(trainer)):
        text = json.dumps(generator.bit_generator.state, default=np.ndarray.tolist)
        state[f"rng.{k}"] = np.frombuffer(text.encode(), dtype=np.uint8)
    save(path, state)


def load_checkpoint(path, trainer):
    """Bring a trainer to where a training stood when it was written down.

    Parameters
    ----------
    path : str or path
        A file written by `save_checkpoint`.
    trainer : Trainer
        Made in the same way as the one that was saved.

    Raises
    ------
    ValueError
        If the file is damaged or belongs to another kind of trainer; the trainer is as it
        was before.

    Notes
    -----
    Source: chapter "A first deep model on real digits".
    """
    parts = {"model": {}, "optimizer": {}, "history": {}, "rng": {}}
    for key, array in load(path).items():
        part, _, name = key.partition(".")
        if part not in parts:
            raise ValueError(f"{path}: expected a checkpoint, found an array {key!r} in it")
        parts[part][name] = array
    generators = _generators(trainer)
    states = _random_states(path, parts["rng"], generators)
    history = _as_history(path, parts["history"])
    before = trainer.model.state_dict()
    try:
        trainer.model.load_state_dict(parts["model"])
        trainer.optimizer.load_state_dict(parts["optimizer"])
    except (TypeError, ValueError) as error:
        trainer.model.load_state_dict(before)
        raise ValueError(f"{path} does not fit this trainer: {error}") from error
    trainer.history = history
    for generator, state in zip(generators, states, strict=True):
        generator.bit_generator.state = state


def _generators(trainer):
    """The trainer's generator, and those of all layers that leave something to chance."""
    layers = [trainer.model, *_all_inside(trainer.model._children().values())]
    found = [getattr(layer, "rng", None) for layer in layers]
    return [trainer.rng, *(each for each in found if isinstance(each, np.random.Generator))]


def _random_states(path, arrays, generators):
    """The states of the generators, each tried on a generator of the same kind."""
    if set(arrays) != {str(k) for k in range(len(generators))}:
        raise ValueError(f"{path}: expected {len(generators)} random generators, got {sorted(arrays)}")
    states = []
    for k, generator in enumerate(generators):
        try:
            states.append(json.loads(arrays[str(k)].tobytes()))
            type(generator.bit_generator)().state = states[k]
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise ValueError(f"{path}: the state of random generator {k} is none: {error}") from error
    return states


def _as_history(path, arrays):
    """The history that the arrays hold, four numbers for each epoch."""
    expected = [each.name for each in fields(History)]
    good = set(arrays) == set(expected) and len({array.shape for array in arrays.values()}) == 1
    if not good or any(array.ndim != 1 or array.dtype.kind != "f" for array in arrays.values()):
        raise ValueError(f"{path}: expected a history of {', '.join(expected)}, all of one length")
    return History(*(arrays[name].tolist() for name in expected))
