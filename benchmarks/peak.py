"""How fast this processor multiplies and adds at most: the measure of every kernel.

Twelve vectors stay in registers, and each is multiplied and added to, over and over. Nothing is read and nothing
is written meanwhile. No layer can be faster than that, unless its algorithm needs fewer multiplications.
"""

import time
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache

import numpy as np

VECTORS = 12  # more than two units with a delay of four or five steps each need


@lru_cache
def kernel():
    """Return the compiled loop, and how many numbers a vector holds; None where Numba is missing."""
    try:
        import numba

        from convlib.kernels.simd import fma, lanes_of, load, store
    except ImportError:
        return None

    @numba.njit(nogil=True)
    def multiply_and_add(numbers, times):
        x, y = load(numbers, 0), load(numbers, 0)
        a, b, c, d, e, f, g, h, i, j, k, m = x, x, x, x, x, x, x, x, x, x, x, x
        for _ in range(times):
            a, b, c, d = fma(a, x, y), fma(b, x, y), fma(c, x, y), fma(d, x, y)
            e, f, g, h = fma(e, x, y), fma(f, x, y), fma(g, x, y), fma(h, x, y)
            i, j, k, m = fma(i, x, y), fma(j, x, y), fma(k, x, y), fma(m, x, y)
        for vector in (a, b, c, d, e, f, g, h, i, j, k, m):
            store(numbers, 0, fma(vector, x, load(numbers, 0)))

    return multiply_and_add, lanes_of(np.float32)


def peak(threads, seconds=0.05, runs=20):
    """Return the most float32 operations per second, in thousand millions (GF/s), that so many threads reach."""
    if kernel() is None:
        return None
    function, lanes = kernel()
    numbers = [np.full(lanes, 0.5, np.float32) for _ in range(threads)]  # 0.5 * 0.5 + 0.5 ... stays below 1
    with ThreadPoolExecutor(threads) as pool:

        def run(times):
            start = time.perf_counter()
            list(pool.map(function, numbers, [times] * threads))
            return time.perf_counter() - start

        run(1)  # compiles
        times = max(1, int(100_000 * seconds / run(100_000)))
        fastest = min(run(times) for _ in range(runs))
    return 2 * VECTORS * lanes * times * threads / fastest / 1e9
