"""How fast this processor multiplies and adds at most: the measure of every kernel.

The vectors of a block stay in registers, and each is multiplied and added to, over and over. Factors come from the
first cache, and nothing is written meanwhile. No layer can be faster than that, unless its algorithm needs fewer
multiplications.
"""

import time
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache

import numpy as np


@lru_cache
def kernel():
    """Return the compiled loop, and how many numbers a block holds; None where Numba is missing."""
    try:
        import numba

        from convlib.kernels.blocks import SHAPE, in_order, multiply, put, take
        from convlib.kernels.simd import lanes_of
    except ImportError:
        return None
    wide = len(SHAPE[0]) * lanes_of(np.float32)

    @numba.njit(nogil=True)
    def multiply_and_add(numbers, times):
        block = take(numbers, 0, wide, SHAPE)
        for _ in range(times):
            in_order(numbers)  # the factors are read each time: kept, they might not leave room for the block
            block = multiply(block, numbers, 0, 1, numbers, 0)
        put(numbers, 0, wide, block)

    return multiply_and_add, len(SHAPE) * wide


def peak(threads, seconds=0.05, runs=20):
    """Return the most float32 operations per second, in thousand millions (GF/s), that so many threads reach."""
    if kernel() is None:
        return None
    function, size = kernel()
    numbers = [np.full(size, 0.5, np.float32) for _ in range(threads)]
    with ThreadPoolExecutor(threads) as pool:

        def run(times):
            start = time.perf_counter()
            list(pool.map(function, numbers, [times] * threads))
            return time.perf_counter() - start

        run(1)  # compiles
        times = max(1, int(100_000 * seconds / run(100_000)))
        fastest = min(run(times) for _ in range(runs))
    return 2 * size * times * threads / fastest / 1e9
