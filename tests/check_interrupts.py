"""Interrupt a call at random moments, thousands of times; a crash would end this process, so tests run it in one.

Arguments: who computes (board or alone), and how many interruptions.
"""

import faulthandler
import random
import signal
import sys
import time

import numpy as np

import convlib
from convlib import functional, parallel
from convlib.kernels import board


class Stop(Exception):
    """In place of KeyboardInterrupt."""


def layer(pool):
    """A layer whose jobs go to the board, or all to this thread, as a function without arguments."""
    functional.ENOUGH = 1
    convlib.set_num_threads(1 if pool == "alone" else 3)
    numbers = np.random.default_rng(0)
    x = numbers.integers(-2, 3, (6, 8, 24, 24)).astype("f")
    w = numbers.integers(-2, 3, (9, 8, 3, 3)).astype("f")
    return lambda: convlib.conv2d(x, w, padding=1, algorithm="product")


def interrupted(call, after):
    """Call, and raise Stop after some seconds; return whether that came in time."""
    try:
        signal.setitimer(signal.ITIMER_REAL, after)
        call()
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, signal.SIG_IGN)  # what is on its way already comes here
    except Stop:
        return True
    return False


def computing_handler(call, known):
    """A handler that computes a layer itself before it raises: the interrupted call's memory is its own."""

    def handler(*_):
        assert np.allclose(call(), known, atol=1e-3), "wrong inside a handler"
        raise Stop

    return handler


def raising_handler(*_):
    raise Stop


def main(pool, count):
    call = layer(pool)
    known, random_moments, stopped = call(), random.Random(0), 0
    start = time.perf_counter()
    for _ in range(20):
        call()
    usual = (time.perf_counter() - start) / 20
    for turn in range(count):
        handler = raising_handler if turn % 4 else computing_handler(call, known)
        signal.signal(signal.SIGALRM, handler)
        stopped += interrupted(call, max(1e-6, usual * random_moments.uniform(0, 1.2)))
        signal.signal(signal.SIGALRM, signal.SIG_IGN)
        watched = [np.full(known.shape, 7, known.dtype) for _ in range(2)]  # whoever writes on, writes here
        if turn % 10 == 0:
            time.sleep(usual / 2)
        assert all((each == 7).all() for each in watched), "written after the call had ended"
        assert turn % 10 or np.allclose(call(), known, atol=1e-3), "wrong after an interruption"
    check_nothing_is_left()
    print(f"{count} calls interrupted or not, {stopped} interrupted")
    assert stopped > count // 20


def check_nothing_is_left():
    """No notice, no call that waits, no helper that stays awake."""
    pool, end = parallel._pool, time.monotonic() + 600
    while (pool.board[board.AWAKE] or pool.calls.qsize()) and time.monotonic() < end:
        time.sleep(0.01)
    assert pool.board[board.AWAKE] == 0 and pool.calls.qsize() == 0
    assert not pool.board[board._TAKEN : board.CLOSED : board._NUMBERS].any()


if __name__ == "__main__":
    faulthandler.enable()
    main(sys.argv[1], int(sys.argv[2]))
