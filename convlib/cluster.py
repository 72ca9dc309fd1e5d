# Exported from chapters/ by tools/export.py: edit the chapter, not this file.
"""Share the gradient of a batch among workers: the same bits for any number of them.

`connect` starts workers on this machine, or joins those of a cluster. `shared_gradient`
has them compute a model's gradient. Dask sends, starts, and starts again; it comes with
the extra `cluster`: pip install 'convlib-course[cluster]'.
"""

import copy
import logging
import os
import pickle
import tempfile
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import pairwise

import numpy as np

from convlib.layers import Layer, _all_inside
from convlib.parallel import set_num_threads
from convlib.training import _as_count, _as_examples

__all__ = ["cut", "add_in_pairs", "connect", "dask_setup", "shared_gradient"]


# Chapter "Many workers, one gradient" (chapters/workers.ipynb)

def cut(count, shares):
    """Return the slices that cut so many images into shares, as equal as possible.

    There are never more shares than images. Source: chapter "Many workers, one gradient",
    formula eq-shares.
    """
    ends = [count * t // shares for t in range(shares + 1)]
    return [slice(start, end) for start, end in pairwise(ends) if start < end]


def _left_to_chance(model):
    """The layers that leave something to chance now, each by its own generator."""
    return [each for each in _all_inside([model])
            if each.training
            and isinstance(getattr(each, "rng", None), np.random.Generator)]


def _part_of_gradient(model, loss, images, targets, fraction, seeds):
    """A share's part of the loss, and of the derivatives for each parameter."""
    for layer, seed in zip(_left_to_chance(model), seeds, strict=True):
        layer.rng = np.random.default_rng(seed)
    value = loss(model(images), targets) * fraction
    model.backward(loss.backward() * fraction, input_grad=False)
    return [value, *(np.zeros_like(each.data) if each.grad is None else each.grad
                     for each in model.parameters())]


def add_in_pairs(terms, add):
    """Add terms in pairs, their sums in pairs again, and so on: always in this order.

    Parameters
    ----------
    terms : sequence
        What is added, at least one; a term without a partner waits for the next round.
    add : callable
        Takes two terms, returns their sum.

    Returns
    -------
    The sum.

    Notes
    -----
    Source: chapter "Many workers, one gradient", formula eq-shares.
    """
    terms = list(terms)
    while len(terms) > 1:
        neighbours = zip(terms[0::2], terms[1::2], strict=False)
        pairs = [add(one, other) for one, other in neighbours]
        terms = pairs + terms[2 * len(pairs):]
    return terms[0]


@contextmanager
def connect(address=None, *, workers=2):
    """Start workers on this machine, or join those of a cluster: `with connect() as client:`.

    Parameters
    ----------
    address : str, optional
        Where the scheduler of a cluster listens, such as "tcp://scheduler:8786".
    workers : int
        Without an address: how many processes are started, with one thread each. They
        are gone when the block ends. A program that is a file, and no notebook, must do
        this below `if __name__ == "__main__":`, since each process reads the file again.

    Yields
    ------
    distributed.Client

    Raises
    ------
    ImportError
        If Dask is not installed.
    TypeError, ValueError
        If `workers` is not a whole number above 0, or `address` no address.
    OSError
        If no scheduler answers at the address.

    Notes
    -----
    Source: chapter "Many workers, one gradient".
    """
    workers = _as_count("workers", workers)
    with ExitStack() as stack:
        if address is None:
            address = stack.enter_context(_local_cluster(workers))
        yield stack.enter_context(_distributed().Client(address))


def _distributed():
    """Dask's package for several processes, if it is there."""
    try:
        import distributed
    except ImportError as error:
        raise ImportError("Dask is missing: pip install 'convlib-course[cluster]'") from error
    return distributed


def dask_setup(worker):
    """Dask calls this in a worker that was started with `--preload convlib.cluster`.

    Each of its tasks then uses one thread. Source: chapter "Many workers, one gradient".
    """
    set_num_threads(1)


@contextmanager
def _local_cluster(workers):
    """Processes on this machine, and nothing of them left afterwards."""
    settings = {"n_workers": workers, "threads_per_worker": 1, "processes": True, "memory_limit": None,
                "dashboard_address": "127.0.0.1:0", "scheduler_kwargs": {"dashboard": False},
                "silence_logs": logging.CRITICAL, "preload": "convlib.cluster"}
    cluster, before, changed = _distributed().LocalCluster, dict(os.environ), []
    import dask

    try:
        with (dask.config.set({"distributed.worker.profile.enabled": False}),
              tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder,
              cluster(local_directory=folder, **settings) as started):
            changed += [name for name, value in os.environ.items() if before.get(name) != value]
            yield started
    finally:
        for name in changed:
            os.environ.pop(name, None)
            os.environ.update({name: before[name]} if name in before else {})


def shared_gradient(client, model, loss, images, targets, *, shares=8):
    """Compute a model's gradient on a batch with the help of workers.

    The bits depend on `shares`, and not on the workers: how many there are, which of them
    computes what, or whether one dies; as long as all machines are of one kind.

    Parameters
    ----------
    client : distributed.Client, or None
        From `connect`. None: the same shares one after the other, here, without Dask.
    model : Layer
        Its parameters' `grad` grows as by `model.backward`. Else nothing in it changes,
        but that layers such as `Dropout` give a seed to each share.
    loss
        From `convlib.losses`: a mean over the images.
    images, targets : arrays of shape (N, ...)
        The batch.
    shares : int
        Into how many shares the batch is cut; never more than there are images.

    Returns
    -------
    float
        The loss.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as said above, or model and loss cannot be sent.
    distributed.KilledWorker
        If a share kills every worker that tries it.

    Notes
    -----
    An error in a share is raised here, with a note that says in which; no derivative has
    been added then. Source: chapter "Many workers, one gradient", formulas eq-shares and
    eq-fractions.
    """
    images, targets, parts = _checked(client, model, images, targets, shares)
    tasks = _tasks(model, images, targets, parts)
    run = _run_here if client is None else _run_on(client)
    value, *grads = run(_without_memories(model, loss), tasks)
    for parameter, grad in zip(model.parameters(), grads, strict=True):
        parameter.tell(grad)
    return value


def _share(luggage, number, *task):
    """Unpack a model and a loss, and compute one share."""
    try:
        packed = isinstance(luggage, bytes)
        model, loss = pickle.loads(luggage) if packed else copy.deepcopy(luggage)
        return _part_of_gradient(model, loss, *task)
    except Exception as error:
        error.add_note(f"in share {number} of the batch")
        raise


def _add(one, other):
    """What two shares say together."""
    return [mine + yours for mine, yours in zip(one, other, strict=True)]


def _run_here(luggage, tasks):
    """All shares one after the other, added in the same order as by workers."""
    return add_in_pairs([_share(luggage, *task) for task in tasks], _add)


_WARN_OF_LARGE = "distributed.admin.large-graph-warning-threshold"


def _run_on(client):
    """A function that has a client's workers do the same."""
    import cloudpickle
    import dask

    def submit(*task):
        return client.submit(*task, pure=False)  # pure: results may be old ones

    def run(luggage, tasks):
        try:
            packed = cloudpickle.dumps(luggage)
        except Exception as error:
            reason = f"model, loss: cannot be sent to the workers: {error}"
            raise TypeError(reason) from error
        with dask.config.set({_WARN_OF_LARGE: "1 PB"}):
            sent = submit(bytes, packed)
            parts = [submit(_share, sent, *task) for task in tasks]
            total = add_in_pairs(parts, partial(submit, _add))
        return total.result()

    return run


def _without_memories(model, loss):
    """A copy of both, without what the layers remember and without derivatives."""
    memories = [each._memory for each in _all_inside([model])]
    memories += [each.grad for each in model.parameters()]
    known = {id(each): () for each in memories if each is not None}
    try:
        model, loss = copy.deepcopy((model, loss), known)  # what is known is not copied
    except Exception as error:
        raise TypeError(f"model, loss: cannot be copied for the workers: {error}") from error
    for each in _all_inside([model]):
        each._memory = None
    model.zero_grad()
    return model, loss


def _tasks(model, images, targets, parts):
    """For each share: its number, its images and targets, its fraction, and its seeds."""
    chance = _left_to_chance(model)
    return [(number, images[part], targets[part], (part.stop - part.start) / len(images),
             [int(each.rng.integers(2**63)) for each in chance])
            for number, part in enumerate(parts, start=1)]


def _checked(client, model, images, targets, shares):
    """The batch as arrays in one piece, and its shares, if all is as it should be."""
    if client is not None:
        if not isinstance(client, _distributed().Client):
            raise TypeError(f"client: expected one from connect, or None, got {client!r}")
        if client.status != "running" or client.asynchronous:
            raise ValueError(f"client: expected a running one that can wait, got {client.status}")
    if not isinstance(model, Layer):
        raise TypeError(f"model: expected a Layer, got {type(model).__name__}")
    images, targets = (np.ascontiguousarray(each) for each in _as_examples(images, targets))
    return images, targets, cut(len(images), _as_count("shares", shares))
