# Exported from chapters/ by tools/export.py: edit the chapter, not this file.
"""How many threads work, and a small pool of them for kernels of the form kernel(job, jobs, ...).

Chapter "One function for every layer" begins this module, chapter "How the engine is
wired" builds the pool. Threads are Python's own: nothing depends on OpenMP, several Python threads may call
the library at once, and a forked process begins with a new pool.
"""

import atexit
import ctypes
import math
import os
import threading
import time
from functools import cache
from queue import SimpleQueue

import numpy as np

__all__ = ["get_num_threads", "set_num_threads", "PATIENCE", "CACHE_LINE", "BYTE", "aligned", "KEPT", "borrow",
    "give_back", "PAGE", "run"]


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


# Chapter "How the engine is wired" (chapters/wired.ipynb)

try:
    from convlib.kernels import board
except ModuleNotFoundError as error:
    if (error.name or "").partition(".")[0] not in ("numba", "llvmlite"):
        raise
    board = None  # without Numba no kernel is compiled, and no helper wanted


PATIENCE = 0.001  # seconds that a helper looks at the board in vain before it falls asleep


@cache
def _looks():
    """How many looks at the board take so long."""
    trial, seconds = board.new_board(board.LOOKS), []
    for _ in range(20):  # the quickest counts: another thread may have held Python's lock
        start = time.perf_counter()
        board.serve(trial)
        seconds.append(time.perf_counter() - start)
    return int(board.LOOKS * PATIENCE / max(min(seconds), 1e-6))


def _help(calls, notices):
    """What a helper does: asleep until it is called, then at the board until that is in vain."""
    notices[board.PATIENCE] = _looks()
    while True:
        calls.get()
        board.serve(notices)


class _Pool:
    """The helpers of this process, started when they are first needed, and their board."""

    def restart(self):
        """Begin anew, as after a fork: no other thread comes along."""
        self.calls, self.helpers, self.board = SimpleQueue(), [], board.new_board()

    def wake(self, count):
        """See to it that so many helpers look at the board; there may be fewer, or none."""
        missing = count - self.board[board.AWAKE] - self.calls.qsize()
        if missing <= 0 or self.board[board.CLOSED]:
            return
        try:
            while len(self.helpers) < min(count, 2 * _processors()):
                given = self.calls, self.board
                helper = threading.Thread(None, _help, "convlib", given, daemon=True)
                helper.start()
                self.helpers.append(helper)
        except (RuntimeError, MemoryError):  # the system starts no more threads
            pass
        for _ in range(min(missing, len(self.helpers))):
            self.calls.put(None)

    def close(self):
        """Send all helpers to sleep: when Python ends, the machine code they run is gone."""
        self.board[board.CLOSED] = 1
        for _ in range(10_000):  # a second or so; then it is too late for any help
            if self.board[board.AWAKE] == 0:
                break
            time.sleep(0.0001)


if board:
    _pool = _Pool()
    _pool.restart()
    atexit.register(_pool.close)
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=_pool.restart)


CACHE_LINE = 64  # bytes that come from memory together
BYTE = np.dtype(np.uint8)


def aligned(shape, dtype):
    """Return a fresh array, filled with anything, that begins at a cache line.

    Source: chapter "How the engine is wired".
    """
    dtype = np.dtype(dtype)
    memory = np.empty(math.prod(shape) * dtype.itemsize + CACHE_LINE, BYTE)
    before = -ctypes.addressof(ctypes.c_char.from_buffer(memory)) % CACHE_LINE
    return np.ndarray(shape, dtype, memory, before)


KEPT = 16 * 2**20  # bytes: larger memory is not kept
_kept = threading.local()


def borrow(name, size, dtype):
    """Take this thread's own memory of that name, kept from an earlier call.

    It has room for `size` numbers or more, begins at a cache line, and holds whatever was
    left in it. It belongs to the caller until `give_back`: who interrupts a call and calls
    the library, too, gets other memory. Source: chapter "How the engine is wired".
    """
    array = _kept.__dict__.pop(name + dtype.char, None)
    if array is None or array.size < size:
        array = None  # give the old one back first
        array = aligned((size,), dtype)
    return array


def give_back(name, array):
    """Keep memory for the next call, unless there is too much of it.

    At most 16 MiB are kept for each name and data type, in each thread that calls the
    library. Source: chapter "How the engine is wired".
    """
    if array.nbytes <= KEPT:
        _kept.__dict__[name + array.dtype.char] = array


PAGE = 4096  # bytes: a core fetches no further ahead


def run(kernel, jobs, space, dtype, *arguments):
    """Run kernel(job, jobs, *arguments, workspace) for every job; wait for all.

    Source: chapter "How the engine is wired".
    """
    dtype = np.dtype(dtype)
    line = CACHE_LINE // dtype.itemsize
    room = -(-space // line) * line + PAGE // dtype.itemsize
    spaces = borrow("workspace", jobs * room, dtype)
    if jobs == 1:
        kernel(0, 1, *arguments, spaces[:room])
    elif not hasattr(kernel, "overloads") or _failed(kernel, jobs, spaces, room, arguments):
        for job in range(jobs):  # a plain function; or once more, to hear what went wrong
            kernel(job, jobs, *arguments, spaces[job * room : (job + 1) * room])
    give_back("workspace", spaces)


_addresses = {}  # for each kernel, its addresses, one for each list of types


def _failed(kernel, jobs, spaces, room, arguments):
    """Let this thread and its helpers do all jobs; return whether that failed, or found no room."""
    memory = borrow("arguments", board.MEMORY, BYTE)
    known = _addresses.setdefault((kernel, spaces.dtype.char), [])
    _pool.wake(jobs - 1)
    for address in (*known, None):
        if address is None:  # these types were not met yet
            address = board.address(kernel, arguments, spaces)
            known.append(address)
        failed = board.share(_pool.board, memory, address, jobs, spaces, room, arguments)
        if failed != board.OTHER_TYPES:
            break
    give_back("arguments", memory)
    return failed != 0
