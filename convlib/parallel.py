# Exported from chapters/ by tools/export.py: edit the chapter, not this file.
"""A small pool of threads for kernels of the form kernel(job, jobs, ...).

Chapter 10 builds this module. Threads are Python's own: nothing depends on OpenMP, several
Python threads may call the library at once, and a forked process begins with a new pool.
"""

import atexit
import math
import os
import threading
import time
from queue import SimpleQueue

import numpy as np

__all__ = [
    "PATIENCE",
    "get_num_threads",
    "set_num_threads",
    "CACHE_LINE",
    "BYTE",
    "aligned",
    "kept",
    "PAGE",
    "run",
]


# Chapter "Planes and vectors" (chapters/10_planes.ipynb)

try:
    from convlib.kernels import board
    from convlib.kernels.simd import bytes_before
except ImportError:  # without Numba
    board = None

    def bytes_before(memory, size):
        return -memory.ctypes.data % size


def _processors():
    """How many processors this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not every system can say
        return os.cpu_count() or 1


PATIENCE = 300_000  # looks at the board before a thread falls asleep: some milliseconds


class _Pool:
    """The threads of this process, started when they are first needed."""

    def __init__(self):
        self.threads = _processors()
        self.restart()

    def restart(self):
        self.lock, self.tasks = threading.Lock(), SimpleQueue()
        self.workers = self.unfinished = self.awake = 0
        self.board = board.new_board() if board else None

    def submit(self, *task):
        """Let a thread do function(argument), then put into `ended` what went wrong, or None."""
        with self.lock:
            if self.workers < min(self.unfinished + 1, 2 * _processors()):
                work = threading.Thread(target=self._work, name="convlib", daemon=True)
                work.start()
                self.workers += 1
            self.unfinished += 1
        self.tasks.put(task)

    def _work(self):
        while True:
            function, argument, ended = self.tasks.get()
            mistake = None
            try:
                function(argument)
            except BaseException as error:
                mistake = error
            with self.lock:
                self.unfinished -= 1
            if ended:
                ended.put(mistake)
            del function, argument, ended, mistake  # keep nothing alive while waiting


_pool = _Pool()
_kept = threading.local()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.restart)


def _serve(notices):
    """Stay awake for a while."""
    try:
        board.serve(notices, PATIENCE)
    finally:
        with _pool.lock:
            _pool.awake -= 1


def _wake(count):
    """See to it that so many threads look at the board."""
    with _pool.lock:
        missing = max(0, count - _pool.awake)
        _pool.awake += missing
    for _ in range(missing):
        _pool.submit(_serve, _pool.board, None)


@atexit.register
def _close():
    """Send all threads to sleep: when Python ends, the machine code they run is gone."""
    if board:
        _pool.board[board.CLOSED] = 1
    for _ in range(10_000):  # a second or so; then it is too late for any help
        if not _pool.awake:
            break
        time.sleep(0.0001)


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


BYTE = np.dtype(np.uint8)


def aligned(shape, dtype):
    """Return a fresh array, filled with anything, that begins at a cache line (Chapter 10)."""
    dtype = np.dtype(dtype)
    memory = np.empty(math.prod(shape) * dtype.itemsize + CACHE_LINE, BYTE)
    return np.ndarray(shape, dtype, memory, bytes_before(memory, CACHE_LINE))


def kept(name, size, dtype):
    """Return this thread's own memory of that name, kept from call to call.

    It has room for `size` numbers or more, begins at a cache line, and holds whatever was
    left in it.

    Notes
    -----
    Source: Chapter 10.
    """
    arrays, key = _kept.__dict__, name + dtype.char
    array = arrays.get(key)
    if array is None or array.size < size:
        array = arrays[key] = None  # give the old one back first
        array = arrays[key] = aligned((size,), dtype)
    return array


PAGE = 4096  # bytes: a core fetches no further ahead


def run(kernel, jobs, space, dtype, *arguments):
    """Run kernel(job, jobs, *arguments, workspace) for every job; wait for all.

    Notes
    -----
    Source: Chapter 10.
    """
    dtype = np.dtype(dtype)
    line = CACHE_LINE // dtype.itemsize
    room = -(-space // line) * line + PAGE // dtype.itemsize
    spaces = kept("workspace", jobs * room, dtype)
    if jobs == 1:
        kernel(0, 1, *arguments, spaces[:room])
    elif not hasattr(kernel, "overloads"):  # a plain Python function
        _run_at_queue(kernel, jobs, spaces, room, arguments)
    elif _run_at_board(kernel, jobs, spaces, room, arguments):
        for job in range(jobs):  # once more, to hear what went wrong
            kernel(job, jobs, *arguments, spaces[job * room : (job + 1) * room])


def _run_at_queue(kernel, jobs, spaces, room, arguments):
    """Run a kernel for every job by threads that are woken for it."""
    ended, others = SimpleQueue(), 0

    def one(job):
        kernel(job, jobs, *arguments, spaces[job * room : (job + 1) * room])

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


_addresses = {}  # of kernels, with the stamps of their types


def _run_at_board(kernel, jobs, spaces, room, arguments):
    """Run a compiled kernel by this thread and those awake; return whether a job failed."""
    memory, notices, key = kept("arguments", board.MEMORY, BYTE), _pool.board, (kernel, spaces.dtype.char)
    if _pool.awake < jobs - 1:
        _wake(jobs - 1)
    notice, patience = board.OTHER_TYPES, PATIENCE // 10
    while notice == board.OTHER_TYPES:
        known = _addresses.get(key, (0, -1))
        notice, failed = board.share(notices, memory, *known, jobs, spaces, room, arguments, patience)
        if notice == board.OTHER_TYPES:  # or not met yet
            _addresses[key] = board.address(kernel, arguments, spaces)
    if notice == board.FULL:  # as if a job had failed, this thread does them all
        return True
    if failed == board.WORKING:
        failed = _wait(notices, notice, jobs, patience)
    return failed > 0


def _wait(notices, notice, jobs, patience):
    """Wait for the others and take the notice down; return how many jobs went wrong."""
    try:
        while not board.all_ended(notices, notice, jobs, patience):
            time.sleep(0)  # another thread of this processor may need it
    finally:
        failed = board.take_down(notices, notice, jobs)
    return failed
