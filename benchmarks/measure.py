"""How the time is taken: two functions in turns, in one process, and only while the machine is quiet.

Clock and load of the machine are arguments, so that the tests can put their own in place.
"""

import os
import statistics
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np

MAX_ERROR = 1e-4  # of the largest value; a layer that is further off is wrong, however quick


class WrongResult(Exception):
    """Somebody computes something else: there is nothing to compare."""


class Settings(NamedTuple):
    """How long and how strictly is measured."""

    rounds: int = 5
    # Two blocks are a round. /proc/stat counts in hundredths of a second: a round has to last several.
    block_seconds: float = 0.06
    # Before a block, calls that do not count: the other's threads wait awake for a while (OpenMP's up to 80 ms here).
    lead_seconds: float = 0.1
    # A round counts only if other processes used less than this share of one core.
    others: float = 0.12
    # A busy machine may spoil rounds; so many times the rounds asked for are tried.
    patience: int = 3

    def for_threads(self, threads):
        """Return the same for so many threads: where each side has one, nobody waits awake."""
        return self if threads > 1 else self._replace(lead_seconds=0.0)


class Round(NamedTuple):
    """Seconds per call of both functions, and what others used of one core meanwhile (None: unknown)."""

    ours: float
    theirs: float
    others: float | None


class Comparison(NamedTuple):
    """What all quiet rounds say together. A ratio above 1 means that ours is faster."""

    ratio: float
    lower_quartile: float
    upper_quartile: float
    ours: float
    theirs: float
    rounds: int
    dropped: int
    quiet: bool


# Correctness comes first ------------------------------------------------------------------------------------


def largest_error(results, expected):
    """Return the largest error relative to the largest expected value, over all arrays."""
    if [array.shape for array in results] != [array.shape for array in expected]:
        raise WrongResult(f"shapes {[array.shape for array in results]}, "
                          f"expected {[array.shape for array in expected]}")
    return max(float(np.abs(array - right).max() / np.abs(right).max())
               for array, right in zip(results, expected, strict=True))


def checked_error(name, function, arrays_of, expected):
    """Call a function twice and return its error; WrongResult if it is wrong, or keeps its output array."""
    first, second = arrays_of(function()), arrays_of(function())
    if any(np.may_share_memory(one, other) for one, other in zip(first, second, strict=True)):
        raise WrongResult(f"{name}: two calls gave the same memory, expected fresh outputs")
    try:
        error = max(largest_error(arrays, expected) for arrays in (first, second))
    except WrongResult as wrong:
        raise WrongResult(f"{name}: {wrong}") from None
    if not error <= MAX_ERROR:  # written so that it catches nan as well
        raise WrongResult(f"{name}: error {error:.1e} of the largest value, expected at most {MAX_ERROR:.0e}")
    return error


# Taking turns -----------------------------------------------------------------------------------------------


def compare(ours, theirs, settings, clock=time.perf_counter, others=None, rest=time.sleep):
    """Time two functions in turns, round by round, until enough rounds were quiet or patience is over."""
    others = others or others_seconds
    calls = [calls_per_block(function, settings, clock) for function in (ours, theirs)]
    quiet, spoiled = [], []
    for _ in range(settings.rounds * settings.patience):
        each = one_round((ours, theirs), calls, settings, clock, others, rest)
        (quiet if is_quiet(each, settings) else spoiled).append(each)
        if len(quiet) == settings.rounds:
            break
    # With nothing better to show, a spoiled measurement is shown, and says that it is one.
    enough = len(quiet) >= max(1, settings.rounds // 2)
    return summary(quiet if enough else quiet + spoiled, len(spoiled), enough)


def calls_per_block(function, settings, clock):
    """Warm up for the length of one block; return how many calls fill one."""
    seconds, calls = 0.0, 0
    while calls < 2 or seconds < settings.block_seconds:
        start = clock()
        function()
        latest = clock() - start
        seconds, calls = seconds + latest, calls + 1
    # The latest call, not the mean: the first ones may have compiled something.
    return max(1, round(settings.block_seconds / max(latest, 1e-9)))


def one_round(functions, calls, settings, clock, others, rest):
    """Time one block of calls of each function, each after some calls that do not count.

    A function that fills a block with one call is long enough to begin after a rest instead.
    """
    lead = settings.lead_seconds / settings.block_seconds
    used, start, seconds = others(), clock(), []
    for function, count in zip(functions, calls, strict=True):
        if lead and count == 1:
            rest(settings.lead_seconds)
        seconds.append(block(function, count, round(count * lead) if count > 1 else 0, clock))
    elapsed, used_now = clock() - start, others()
    share = None if used is None or used_now is None else max(0.0, used_now - used) / elapsed
    return Round(*seconds, share)


def block(function, calls, lead, clock):
    """Return the seconds per call over one block of calls, after some that do not count."""
    for _ in range(lead):
        function()
    start = clock()
    for _ in range(calls):
        function()
    return (clock() - start) / calls


def is_quiet(each, settings):
    """Tell whether a round counts; where nobody can say what others use, each one does."""
    return each.others is None or each.others <= settings.others


def summary(rounds, dropped, quiet):
    """Return the medians; the ratio is taken round by round, so that a slow moment hits both sides."""
    lower, ratio, upper = np.quantile([each.theirs / each.ours for each in rounds], (0.25, 0.5, 0.75))
    return Comparison(
        float(ratio), float(lower), float(upper),
        ours=statistics.median(each.ours for each in rounds),
        theirs=statistics.median(each.theirs for each in rounds),
        rounds=len(rounds), dropped=dropped, quiet=quiet,
    )


def others_seconds(stat=Path("/proc/stat")):
    """Return the processor seconds that other processes used since the machine started, or None."""
    if not stat.exists():
        return None
    own = time.process_time()
    counts = stat.read_text().split("\n", 1)[0].split()[1:9]
    user, nice, system, _idle, _waiting, *interrupts = map(int, counts)
    # The last of the interrupts is what the host of a virtual machine gave to somebody else.
    return (user + nice + system + sum(interrupts)) / os.sysconf("SC_CLK_TCK") - own
