# Exported from chapters/ by tools/export.py: edit the chapter, not this file.
"""A small pool of threads for kernels of the form kernel(job, jobs, ...).

Chapter 10 builds this module. Threads are Python's own: nothing depends on OpenMP, several
Python threads may call the library at once, and a forked process begins with a new pool.
"""

import os
import threading
from queue import SimpleQueue

import numpy as np

__all__ = ["get_num_threads", "set_num_threads", "CACHE_LINE", "kept", "run"]


# Chapter "Planes and vectors" (chapters/10_planes.ipynb)

def _processors():
    """How many processors this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not every system can say
        return os.cpu_count() or 1


class _Pool:
    """The threads of this process, started when they are first needed."""

    def __init__(self):
        self.threads = _processors()
        self.restart()

    def restart(self):
        self.lock, self.tasks = threading.Lock(), SimpleQueue()
        self.workers = self.unfinished = 0

    def submit(self, *task):
        """Let a thread do function(job), and then put into `ended` what went wrong, or None."""
        with self.lock:
            if self.workers < min(self.unfinished + 1, 2 * _processors()):
                work = threading.Thread(target=self._work, name="convlib", daemon=True)
                work.start()
                self.workers += 1
            self.unfinished += 1
        self.tasks.put(task)

    def _work(self):
        while True:
            function, job, ended = self.tasks.get()
            mistake = None
            try:
                function(job)
            except BaseException as error:
                mistake = error
            with self.lock:
                self.unfinished -= 1
            ended.put(mistake)
            del function, ended, mistake  # keep nothing alive while waiting


_pool = _Pool()
_kept = threading.local()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.restart)


def get_num_threads():
    """Return how many threads convlib uses at most (Chapter 10)."""
    return _pool.threads


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
    Source: Chapter 10.
    """
    if isinstance(threads, bool) or not isinstance(threads, (int, np.integer)):
        raise TypeError(f"threads: expected a whole number, got {threads!r}")
    if threads < 1:
        raise ValueError(f"threads: expected 1 or more, got {threads}")
    _pool.threads = int(threads)


CACHE_LINE = 64  # bytes that come from memory together


def kept(name, size, dtype):
    """Return this thread's own memory of that name, kept from call to call.

    It has room for `size` numbers or more, begins at a cache line, and holds whatever was
    left in it.

    Notes
    -----
    Source: Chapter 10.
    """
    arrays, key = _kept.__dict__, f"{name} {dtype.char}"
    if key not in arrays or arrays[key].size < size:
        memory = np.empty(size * dtype.itemsize + CACHE_LINE, np.uint8)
        begin = -memory.ctypes.data % CACHE_LINE
        arrays[key] = memory[begin : begin + size * dtype.itemsize].view(dtype)
    return arrays[key]


def run(kernel, jobs, space, dtype, *arguments):
    """Run kernel(job, jobs, *arguments, workspace) for every job; wait for all.

    Notes
    -----
    Source: Chapter 10.
    """

    dtype = np.dtype(dtype)

    def one(job):
        kernel(job, jobs, *arguments, kept("workspace", space, dtype))

    ended, others = SimpleQueue(), 0
    try:
        for job in range(1, jobs):
            _pool.submit(one, job, ended)
            others += 1
        one(0)
    finally:  # wait for all, before a mistake is told: nobody works on behind its back
        mistakes = [ended.get() for _ in range(others)]
    for mistake in mistakes:
        if mistake is not None:
            raise mistake
