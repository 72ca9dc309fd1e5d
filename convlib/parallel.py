# Exported from chapters/ by tools/export.py: edit the chapter, not this file.
"""How many threads work, and a small pool of them for kernels of the form kernel(job, jobs, ...).

Chapter "One function for every layer" begins this module, chapter "Planes and vectors" builds
the pool. Threads are Python's own: nothing depends on OpenMP, several Python threads may call
the library at once, and a forked process begins with a new pool.
"""

import atexit
import math
import os
import threading
import time
from collections import deque
from queue import SimpleQueue

import numpy as np

__all__ = [
    "get_num_threads",
    "set_num_threads",
    "PATIENCE",
    "CACHE_LINE",
    "BYTE",
    "aligned",
    "KEPT",
    "borrow",
    "give_back",
    "PAGE",
    "run",
]


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


# Chapter "Planes and vectors" (chapters/planes.ipynb)

try:
    from convlib.kernels import board
    from convlib.kernels.simd import bytes_before
except ImportError:  # without Numba
    board = None

    def bytes_before(memory, size):
        return -memory.ctypes.data % size


PATIENCE = 300_000  # looks at the board before a thread falls asleep: some milliseconds


class _Helper(threading.Thread):
    """A thread that does one task after the other, and sleeps while there is none."""

    def __init__(self, tasks):
        super().__init__(name="convlib", daemon=True)
        self.tasks, self.awake = tasks, False

    def run(self):
        while True:
            task = self.tasks.get()
            self.awake = True
            task()
            del task  # keep nothing alive while asleep
            self.awake = False


class _Pool:
    """The threads of this process, started when they are first needed."""

    def __init__(self):
        self.restart()

    def restart(self):
        self.lock, self.tasks, self.helpers = threading.RLock(), SimpleQueue(), []
        self.board = board.new_board() if board else None

    @property
    def awake(self):
        """How many helpers are awake."""
        return sum(helper.awake for helper in self.helpers)

    def call(self, count, task):
        """Ask so many helpers to do a task; there may be fewer of them, or none."""
        with self.lock:
            try:
                while len(self.helpers) < min(self.awake + count, 2 * _processors()):
                    helper = _Helper(self.tasks)
                    helper.start()
                    self.helpers.append(helper)
            except (RuntimeError, MemoryError):  # the system starts no more threads
                pass
        for _ in range(min(count, len(self.helpers))):
            self.tasks.put(task)


_pool = _Pool()
_kept = threading.local()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.restart)


def _serve():
    """Stay awake for a while."""
    board.serve(_pool.board, PATIENCE)


def _wake(count):
    """See to it that so many threads look at the board."""
    missing = count - _pool.awake - _pool.tasks.qsize()
    if missing > 0 and not _pool.board[board.CLOSED]:
        _pool.call(missing, _serve)


@atexit.register
def _close():
    """Send all threads to sleep: when Python ends, the machine code they run is gone."""
    if board:
        _pool.board[board.CLOSED] = 1
    for _ in range(10_000):  # a second or so; then it is too late for any help
        if not _pool.awake:
            break
        time.sleep(0.0001)


CACHE_LINE = 64  # bytes that come from memory together


BYTE = np.dtype(np.uint8)


def aligned(shape, dtype):
    """Return a fresh array, filled with anything, that begins at a cache line.

    Source: chapter "Planes and vectors".
    """
    dtype = np.dtype(dtype)
    memory = np.empty(math.prod(shape) * dtype.itemsize + CACHE_LINE, BYTE)
    return np.ndarray(shape, dtype, memory, bytes_before(memory, CACHE_LINE))


KEPT = 16 * 2**20  # bytes: larger memory is not kept


def borrow(name, size, dtype):
    """Take this thread's own memory of that name, kept from an earlier call.

    It has room for `size` numbers or more, begins at a cache line, and holds whatever was
    left in it. It belongs to the caller until `give_back`: who interrupts a call and calls
    the library, too, gets other memory.

    Notes
    -----
    Source: chapter "Planes and vectors".
    """
    array = _kept.__dict__.pop(name + dtype.char, None)
    if array is None or array.size < size:
        array = None  # give the old one back first
        array = aligned((size,), dtype)
    return array


def give_back(name, array):
    """Keep memory for the next call, unless there is too much of it.

    At most 16 MiB are kept for each name and data type, in each thread that calls the
    library.

    Notes
    -----
    Source: chapter "Planes and vectors".
    """
    if array.nbytes <= KEPT:
        _kept.__dict__[name + array.dtype.char] = array


PAGE = 4096  # bytes: a core fetches no further ahead


def run(kernel, jobs, space, dtype, *arguments):
    """Run kernel(job, jobs, *arguments, workspace) for every job; wait for all.

    Notes
    -----
    Source: chapter "Planes and vectors".
    """
    dtype = np.dtype(dtype)
    line = CACHE_LINE // dtype.itemsize
    room = -(-space // line) * line + PAGE // dtype.itemsize
    spaces = borrow("workspace", jobs * room, dtype)
    if jobs == 1:
        kernel(0, 1, *arguments, spaces[:room])
    elif not hasattr(kernel, "overloads"):  # a plain Python function
        _run_as_tasks(kernel, jobs, spaces, room, arguments)
    elif _run_at_board(kernel, jobs, spaces, room, arguments):
        for job in range(jobs):  # once more, to hear what went wrong
            kernel(job, jobs, *arguments, spaces[job * room : (job + 1) * room])
    give_back("workspace", spaces)


def _run_as_tasks(kernel, jobs, spaces, room, arguments):
    """Run a plain function for every job by this thread and those that are woken for it."""
    left, ended = iter(range(jobs)), SimpleQueue()  # to take the next number is one step

    def work():
        for job in left:
            try:
                kernel(job, jobs, *arguments, spaces[job * room : (job + 1) * room])
                ended.put(None)
            except BaseException as error:
                ended.put(error)

    try:
        _pool.call(jobs - 1, work)
        work()
        mistakes = [ended.get() for _ in range(jobs)]  # nobody works on behind its back
    finally:
        deque(left, 0)  # after an interruption, no other job begins
    for mistake in mistakes:
        if mistake is not None:
            raise mistake


_addresses = {}  # of kernels, with the stamps of their types


def _run_at_board(kernel, jobs, spaces, room, arguments):
    """Run a compiled kernel by this thread and those awake; return whether it must be run again."""
    memory, key = borrow("arguments", board.MEMORY, BYTE), (kernel, spaces.dtype.char)
    _wake(jobs - 1)
    failed = board.OTHER_TYPES
    while failed == board.OTHER_TYPES:
        known = _addresses.get(key, (0, -1))
        failed = board.share(_pool.board, memory, *known, jobs, spaces, room, arguments)
        if failed == board.OTHER_TYPES:  # or not met yet
            _addresses[key] = board.address(kernel, arguments, spaces)
    give_back("arguments", memory)
    return failed != 0  # FULL, too: then this thread does all jobs
