# Exported from chapters/ by tools/export.py: edit the chapter, not this file.
"""How many threads work, and a small pool of them for kernels of the form kernel(job, jobs, ...).

Chapter "One function for every layer" begins this module, chapter "How the engine is
wired" builds the pool. Threads are Python's own: nothing depends on OpenMP, several Python threads may call
the library at once, and a forked process begins with a new pool.
"""

import os

import numpy as np

__all__ = ["get_num_threads", "set_num_threads"]


# Chapter "One function for every layer" (chapters/one_function.ipynb)

def _processors():
    """How many processors this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not every system can say
        return os.cpu_count() or 1


class _Limit:
    """How many threads a call uses at most: one number for all callers."""

    threads = _processors()


def get_num_threads():
    """Return how many threads convlib uses at most.

    Source: chapter "One function for every layer".
    """
    return _Limit.threads


def set_num_threads(threads):
    """Set how many threads convlib uses at most; the results do not depend on it.

    Parameters
    ----------
    threads : int
        1 or more.

    Raises
    ------
    TypeError, ValueError
        If `threads` is not a whole number, or less than 1.

    Notes
    -----
    Source: chapter "One function for every layer".
    """
    if isinstance(threads, bool) or not isinstance(threads, (int, np.integer)):
        raise TypeError(f"threads: expected a whole number, got {threads!r}")
    if threads < 1:
        raise ValueError(f"threads: expected 1 or more, got {threads}")
    _Limit.threads = int(threads)
